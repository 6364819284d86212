/*
 * Types: what has no value, and how many values there are; see jt_priv.h.
 *
 * A type has a value if a finite one can be built: the least fixpoint.  A
 * type that is asked about while it is being looked at is taken for empty;
 * an answer "empty" that rests on such an assumption is not remembered,
 * unless the assumption was about the type itself.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/jt_priv.h"

/* Expressions that counting words looks at. */
#define COUNT_STATES 4000

typedef struct {
    re_t     re;
    uint32_t paths; /* that lead here, capped */
} count_state_t;

static int jt_hollow_look(jt_t *jt, jt_type_t type);
static int jt_hollow_object(jt_t *jt, const jt_raw_object_t *shape);
static int jt_quick_look(jt_t *jt, const jt_raw_t *raw, unsigned kinds,
                         int depth);
static int jt_count_level(jt_t *jt, const count_state_t *from, uint32_t n,
                          count_state_t *to, uint32_t *m, uint32_t cap);
static int jt_words_walk(jt_t *jt, re_t re, uint8_t *text, uint32_t n,
                         uint32_t *left, jt_word_fn fn, void *data);


int
jt_empty(jt_t *jt, jt_type_t type)
{
    LLM_TRY(jt->rc);
    jt->low = UINT32_MAX;

    return jt_hollow(jt, type);
}


int
jt_hollow(jt_t *jt, jt_type_t type)
{
    jt_def_t *def = jt->types[type];
    uint32_t  low = jt->low, own;
    int       rc;

    if (def->empty != JT_UNKNOWN) {
        return def->empty == JT_IS_EMPTY;
    }

    if (def->visiting) {
        jt->low = def->visiting < jt->low ? def->visiting : jt->low;
        return 1;
    }

    if (jt->depth >= JT_DEPTH) {
        return jt_fail(jt, -E2BIG, NULL, NULL, "schemas are nested too deeply");
    }

    own = ++jt->depth;
    def->visiting = own;
    jt->low = UINT32_MAX;
    rc = jt_hollow_look(jt, type);
    jt->depth--;
    def = jt->types[type];
    def->visiting = 0;
    LLM_TRY(rc);

    if (rc == 0) {
        def->empty = JT_HAS_VALUE;
        jt->low = low;
        return 0;
    }

    if (jt->low >= own) {
        def->empty = JT_IS_EMPTY;
        jt->low = low;

    } else if (low < jt->low) {
        jt->low = low;
    }

    return 1;
}


static int
jt_hollow_look(jt_t *jt, jt_type_t type)
{
    jt_raw_t  *raw;
    jt_array_t array;
    uint32_t   i;
    int        rc;

    LLM_TRY(jt_raw(jt, type, &raw));

    if (raw == NULL) {
        return jt_fail(jt, -E2BIG, NULL, NULL,
                       "schemas that depend on each other's values");
    }

    if (raw->literals || raw->string != RE_NONE || raw->number != RE_NONE) {
        return 0;
    }

    for (i = 0; i < raw->n_arrays; i++) {
        if (raw->arrays[i].min == 0 && raw->arrays[i].n_contains == 0) {
            return 0;
        }
    }

    for (i = 0; i < raw->n_objects; i++) {
        rc = jt_hollow_object(jt, &raw->objects[i]);

        if (rc <= 0) {
            return rc;
        }
    }

    for (i = 0; i < raw->n_arrays; i++) {
        rc = jt_array_trim(jt, &raw->arrays[i], &array);
        LLM_TRY(rc);

        if (rc) {
            return 0;
        }
    }

    return 1;
}


/* Most need no more than what is required. */
static int
jt_hollow_object(jt_t *jt, const jt_raw_object_t *shape)
{
    jt_object_t object;
    uint32_t    i, n = 0;
    int         rc;

    for (i = 0; i < shape->n_members; i++) {
        if (!shape->members[i].required) {
            continue;
        }

        n++;
        rc = jt_hollow(jt, shape->members[i].type);

        if (rc != 0) {
            return rc;
        }
    }

    if (n > shape->max) {
        return 1;
    }

    if (shape->n_somes == 0 && shape->min <= n) {
        return 0;
    }

    rc = jt_object_trim(jt, shape, &object);

    return rc < 0 ? rc : !rc;
}


int
jt_quick(jt_t *jt, jt_type_t type, unsigned kinds, int depth)
{
    jt_def_t *def = jt->types[type];
    jt_raw_t *raw = NULL;
    int       rc;

    if (def->empty == JT_IS_EMPTY) {
        return 1;
    }

    if (type == JT_ANY || depth < 0 || (def->tried & kinds) == kinds
        || jt->rc) {
        return 0;
    }

    if ((jt_mask_type(jt, type) & kinds) == 0) {
        return 1;
    }

    if (def->raw == NULL && jt->looked > JT_LOOKS) {
        return 0;
    }

    jt->quick++;
    rc = jt_raw(jt, type, &raw);
    jt->quick--;

    if (rc < 0) {

        /* What a combination that nobody asked for comes to is no error. */

        if (rc != -ENOMEM && re_failed(jt->re, NULL) == 0) {
            jt->rc = 0;
            jt->err[0] = '\0';
        }

        return 0;
    }

    if (raw == NULL) {
        return 0;
    }

    if (!jt_quick_look(jt, raw, kinds, depth)) {
        if (depth > 1) {
            def->tried |= (uint8_t) kinds;
        }

        return 0;
    }

    if (kinds == JT_K_ALL) {
        def->empty = JT_IS_EMPTY;
    }

    return 1;
}


static int
jt_quick_look(jt_t *jt, const jt_raw_t *raw, unsigned kinds, int depth)
{
    uint32_t i;

    if ((raw->literals & JT_NULL && kinds & JT_K_NULL)
        || (raw->literals & ~JT_NULL && kinds & JT_K_BOOL)
        || (raw->string && kinds & JT_K_STRING)
        || (raw->number && kinds & JT_K_NUMBER)) {
        return 0;
    }

    for (i = 0; kinds & JT_K_ARRAY && i < raw->n_arrays; i++) {
        if (!jt_quick_array(jt, &raw->arrays[i], depth)) {
            return 0;
        }
    }

    for (i = 0; kinds & JT_K_OBJECT && i < raw->n_objects; i++) {
        if (!jt_quick_object(jt, &raw->objects[i], depth)) {
            return 0;
        }
    }

    return 1;
}


int
jt_quick_object(jt_t *jt, const jt_raw_object_t *shape, int depth)
{
    uint32_t i;

    for (i = 0; i < shape->n_members; i++) {
        if (shape->members[i].required
            && jt_quick(jt, shape->members[i].type, JT_K_ALL, depth - 1)) {
            return 1;
        }
    }

    for (i = 0; i < shape->n_somes; i++) {
        if (jt_quick(jt, shape->somes[i].type, JT_K_ALL, depth - 1)) {
            return 1;
        }
    }

    return 0;
}


int
jt_quick_array(jt_t *jt, const jt_array_t *shape, int depth)
{
    uint32_t i;

    for (i = 0; i < shape->n_prefix && i < shape->min; i++) {
        if (jt_quick(jt, shape->prefix[i], JT_K_ALL, depth - 1)) {
            return 1;
        }
    }

    if (shape->min > shape->n_prefix
        && jt_quick(jt, shape->rest, JT_K_ALL, depth - 1)) {
        return 1;
    }

    for (i = 0; i < shape->n_contains; i++) {
        if (shape->contains[i].min > 0
            && jt_quick(jt, shape->contains[i].type, JT_K_ALL, depth - 1)) {
            return 1;
        }
    }

    return 0;
}


int
jt_count(jt_t *jt, jt_type_t type, uint32_t max, uint32_t *count)
{
    const jt_form_t *form;
    re_t             numbers;
    uint32_t         n;

    LLM_TRY(jt_form(jt, type, &form));

    if (form->n_arrays || form->n_objects) {
        *count = UINT32_MAX;
        return 0;
    }

    *count = (form->literals & JT_NULL ? 1 : 0)
             + (form->literals & JT_TRUE ? 1 : 0)
             + (form->literals & JT_FALSE ? 1 : 0);
    LLM_TRY(jt_re_count(jt, form->string, max, &n));
    *count = *count + n > max ? max : *count + n;
    LLM_TRY(jt_number_values(jt, form->number, &numbers));
    LLM_TRY(jt_re_count(jt, numbers, max, &n));
    *count = *count + n > max ? max : *count + n;

    return jt->rc;
}


/* Level by level: words of one length at a time. */
int
jt_re_count(jt_t *jt, re_t re, uint32_t cap, uint32_t *count)
{
    count_state_t *list[2];
    uint32_t       i, n, level = 0;
    uint64_t       words = 0, paths;
    int            rc;

    *count = 0;
    rc = jt_re_none(jt, re);
    LLM_TRY(rc);

    if (rc || cap == 0) {
        return 0;
    }

    list[0] = calloc(2 * COUNT_STATES, sizeof(count_state_t));
    if (list[0] == NULL) {
        return jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
    }

    list[1] = list[0] + COUNT_STATES;
    list[0][0] = (count_state_t){re, 1};
    n = 1;
    rc = 0;

    while (n > 0 && rc == 0) {
        for (i = 0, paths = 0; i < n; i++) {
            paths += list[level & 1][i].paths;

            if (re_nullable(jt->re, list[level & 1][i].re)) {
                words += list[level & 1][i].paths;
            }
        }

        /* Every path here goes on to a word. */

        if (paths >= cap || words >= cap) {
            words = cap;
            break;
        }

        if (level > 20000) {
            rc = jt_fail(jt, -E2BIG, NULL, NULL,
                         "a language too large to count");
            break;
        }

        rc =
            jt_count_level(jt, list[level & 1], n, list[!(level & 1)], &n, cap);
        level++;
    }

    free(list[0]);
    *count = words > cap ? cap : (uint32_t) words;

    return rc;
}


static int
jt_count_level(jt_t *jt, const count_state_t *from, uint32_t n,
               count_state_t *to, uint32_t *out, uint32_t cap)
{
    uint8_t  map[256], first[256];
    uint32_t i, j, k, classes, size[256], m = 0;
    uint64_t paths;
    re_t     next;
    int      rc;

    for (i = 0; i < n; i++) {
        classes = (uint32_t) re_classes(jt->re, from[i].re, map);
        memset(size, 0, sizeof(size));

        for (j = 256; j > 0; j--) {
            first[map[j - 1]] = (uint8_t) (j - 1);
            size[map[j - 1]]++;
        }

        for (j = 0; j < classes; j++) {
            next = re_deriv(jt->re, from[i].re, first[j]);

            if (next == RE_NONE) {
                continue;
            }

            rc = jt_re_none(jt, next);
            LLM_TRY(rc);

            if (rc) {
                continue;
            }

            for (k = 0; k < m && to[k].re != next; k++) { /* void */
            }

            if (k == COUNT_STATES) {
                return jt_fail(jt, -E2BIG, NULL, NULL,
                               "a language too large to count");
            }

            if (k == m) {
                to[m++] = (count_state_t){next, 0};
            }

            paths = to[k].paths + (uint64_t) from[i].paths * size[j];
            to[k].paths = paths > cap ? cap : (uint32_t) paths;
        }
    }

    *out = m;

    return jt->rc;
}


int
jt_re_words(jt_t *jt, re_t re, uint32_t max, jt_word_fn fn, void *data)
{
    uint8_t  text[1024];
    uint32_t left = max;

    return jt_words_walk(jt, re, text, 0, &left, fn, data);
}


static int
jt_words_walk(jt_t *jt, re_t re, uint8_t *text, uint32_t n, uint32_t *left,
              jt_word_fn fn, void *data)
{
    uint32_t c;
    re_t     next;
    int      rc;

    rc = jt_re_none(jt, re);

    if (rc != 0 || *left == 0) {
        return rc < 0 ? rc : 0;
    }

    if (n == 1024) {
        return jt_fail(jt, -E2BIG, NULL, NULL, "a text too long to compare");
    }

    if (re_nullable(jt->re, re)) {
        (*left)--;
        LLM_TRY(fn(data, text, n));
    }

    for (c = 0; c < 256 && *left > 0; c++) {
        next = re_deriv(jt->re, re, (uint8_t) c);

        if (next != RE_NONE) {
            text[n] = (uint8_t) c;
            LLM_TRY(jt_words_walk(jt, next, text, n + 1, left, fn, data));
        }
    }

    return 0;
}
