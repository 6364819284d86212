/*
 * For tests of types: a schema with its types, whether a value is in a form,
 * and whether that is what the validator says.  One test, one thread.
 */

#ifndef LLM_T_JT_MODEL_H
#define LLM_T_JT_MODEL_H

#include <errno.h>
#include "engine/grammar/js_type.h"
#include "engine/grammar/js_validate.h"
#include "t/lib/tap.h"

#define MAX_TIMES 20000

typedef struct {
    uint32_t schemas, refused, agree, disagree, weaker;
    uint32_t stuck; /* a valid value that feasibility calls dead */
    uint32_t n_times;
    double   times[MAX_TIMES]; /* to expand all, us */
} tally_t;

typedef struct {
    gr_t            *gr;
    jt_t            *jt;
    js_schema_t     *schema;
    const js_node_t *root;
    jt_type_t        type;
    uint32_t         n_types;
    uint8_t         *memo; /* of a value and type */
    uint32_t         n_values;
    int              stuck;
} model_t;

static tally_t tally;
static char    err[512];

static int match(model_t *m, jt_type_t type, const js_value_t *v);


/* Is the value one of the shape, and could each part of it be finished? */
static int
match_array(model_t *m, const jt_array_t *a, const js_value_t *v)
{
    jt_array_so_far_t so_far = {0};
    uint32_t          i, j, met[64] = {0};
    int64_t           steps = 1000000;
    re_t              re;
    buf_t             text = {0};

    if (v->n < a->min || v->n > a->max || a->n_contains > 64) {
        return 0;
    }

    for (i = 0; i < v->n; i++) {
        if (!match(m, i < a->n_prefix ? a->prefix[i] : a->rest, &v->items[i])) {
            return 0;
        }

        for (j = 0; a->unique && j < i; j++) {
            if (js_compare(&v->items[i], &v->items[j], &steps) == 0) {
                return 0;
            }
        }
    }

    for (j = 0; j < a->n_contains; j++) {
        for (i = a->contains[j].from; i < v->n; i++) {
            if (match(m, a->contains[j].type, &v->items[i])) {
                met[j]++;

            } else if (a->contains[j].max != RE_INF
                       && !match(m,
                                 jt_minus(m->jt, JT_ANY, a->contains[j].type),
                                 &v->items[i])) {

                /* A spelling with an exponent that is in neither. */

                return 0;
            }
        }

        if (met[j] < a->contains[j].min || met[j] > a->contains[j].max) {
            return 0;
        }
    }

    memset(met, 0, sizeof(met));
    so_far.met = met;

    for (i = 0; i <= v->n && i < 50; i++) {
        so_far.count = i;

        if (jt_array_feasible(m->jt, a, &so_far) != 1) {
            m->stuck++;
        }

        for (j = 0; i < v->n && j < a->n_contains; j++) {
            if (i >= a->contains[j].from) {
                met[j] +=
                    (uint32_t) match(m, a->contains[j].type, &v->items[i]);
            }
        }

        if (i < v->n && a->unique) {
            buf_reset(&text);
            js_print(&text, &v->items[i]);
            re = re_run(gr_re(m->gr), text.data, text.len, RE_EMPTY);

            if (v->items[i].type == JS_NUMBER) {
                so_far.numbers = re_or(gr_re(m->gr), so_far.numbers, re);

            } else if (v->items[i].type == JS_STRING) {
                re = re_run(gr_re(m->gr), v->items[i].s, v->items[i].n,
                            RE_EMPTY);
                so_far.strings = re_or(gr_re(m->gr), so_far.strings, re);

            } else {
                so_far.literals |= v->items[i].type == JS_NULL ? JT_NULL
                                   : v->items[i].truth         ? JT_TRUE
                                                               : JT_FALSE;
            }
        }
    }

    buf_free(&text);

    return 1;
}


static int
match_object(model_t *m, const jt_object_t *o, const js_value_t *v)
{
    jt_object_so_far_t so_far = {.taken = RE_NONE};
    const js_value_t  *item;
    re_set_t          *re = gr_re(m->gr);
    jt_type_t          type;
    str_t              name;
    uint32_t           i, j, met = 0, n = 0;
    uint8_t           *seen;

    if (v->n < o->min || v->n > o->max) {
        return 0;
    }

    for (i = 0; i < o->n_members; i++) {
        item = js_member(v, o->members[i].name.s, o->members[i].name.len);

        if (item == NULL) {
            if (o->members[i].required) {
                return 0;
            }

            continue;
        }

        n++;

        if (!match(m, o->members[i].type, item)) {
            return 0;
        }
    }

    /* Names of no member; and what some member has to be. */

    for (i = 0; i < v->n; i++) {
        item = &v->items[i];
        name = (str_t){item->key, item->key_len};

        for (j = 0; n < v->n && j < o->n_members; j++) {
            if (str_eq(o->members[j].name, name)) {
                break;
            }
        }

        if (n < v->n && j == o->n_members) {
            if (!re_match(re, o->others, name.s, name.len)
                || jt_other(m->jt, o, name, &type) < 0
                || !match(m, type, item)) {
                return 0;
            }
        }

        for (j = 0; j < o->n_somes; j++) {
            if ((met >> j & 1) == 0
                && re_match(re, o->somes[j].keys, name.s, name.len)
                && match(m, o->somes[j].type, item)) {
                met |= 1u << j;
            }
        }
    }

    if (o->n_somes
        && met != (o->n_somes == 32 ? UINT32_MAX : (1u << o->n_somes) - 1)) {
        return 0;
    }

    seen = calloc(1, o->n_members + 1);
    so_far.seen = seen;

    for (i = 0; i <= v->n && i < 50; i++) {
        so_far.count = i;

        if (jt_object_feasible(m->jt, o, &so_far) != 1) {
            m->stuck++;
        }

        if (i == v->n) {
            break;
        }

        item = &v->items[i];
        name = (str_t){item->key, item->key_len};

        for (j = 0; j < o->n_members; j++) {
            if (str_eq(o->members[j].name, name)) {
                seen[j] = 1;
                break;
            }
        }

        if (j == o->n_members) {
            so_far.taken =
                re_or(re, so_far.taken, re_run(re, name.s, name.len, RE_EMPTY));
        }

        for (j = 0; j < o->n_somes; j++) {
            if (re_match(re, o->somes[j].keys, name.s, name.len)
                && match(m, o->somes[j].type, item)) {
                so_far.met |= 1u << j;
            }
        }
    }

    free(seen);

    return 1;
}


static int
match(model_t *m, jt_type_t type, const js_value_t *v)
{
    const jt_form_t *form;
    uint8_t         *memo = NULL;
    uint32_t         i;
    int              is = 0;

    if (v->index < m->n_values && type < 4000 && v->type >= JS_ARRAY) {
        memo = &m->memo[(size_t) v->index * 4000 + type];

        if (*memo) {
            return *memo - 1;
        }
    }

    if (jt_form(m->jt, type, &form) < 0) {
        return 0;
    }

    switch (v->type) {
    case JS_NULL:
        return (form->literals & JT_NULL) != 0;

    case JS_BOOLEAN:
        return (form->literals & (v->truth ? JT_TRUE : JT_FALSE)) != 0;

    case JS_NUMBER:
        return re_match(gr_re(m->gr), form->number, v->s, v->n);

    case JS_STRING:
        return re_match(gr_re(m->gr), form->string, v->s, v->n);

    case JS_ARRAY:
        for (i = 0; i < form->n_arrays && !is; i++) {
            is = match_array(m, &form->arrays[i], v);
        }

        break;

    default:
        for (i = 0; i < form->n_objects && !is; i++) {
            is = match_object(m, &form->objects[i], v);
        }
    }

    if (memo) {
        *memo = (uint8_t) (is + 1);
    }

    return is;
}


static void
reach(jt_type_t **list, uint32_t *n, uint32_t *cap, uint8_t **seen,
      uint32_t *n_seen, jt_type_t type)
{
    if (type >= *n_seen) {
        *seen = realloc(*seen, type * 2 + 64);
        memset(*seen + *n_seen, 0, type * 2 + 64 - *n_seen);
        *n_seen = type * 2 + 64;
    }

    if ((*seen)[type]) {
        return;
    }

    (*seen)[type] = 1;

    if (*n == *cap) {
        *cap = *cap * 2 + 64;
        *list = realloc(*list, *cap * sizeof(jt_type_t));
    }

    (*list)[(*n)++] = type;
}


/* Every type that can be reached: 0 or the first failure. */
static int
expand(model_t *m)
{
    jt_type_t       *list = NULL;
    uint32_t         i, j, k, n = 0, cap = 0, n_seen = 0;
    uint8_t         *seen = NULL;
    const jt_form_t *form;
    int              rc = 0;

#define REACH(t) reach(&list, &n, &cap, &seen, &n_seen, (t))

    REACH(m->type);

    for (i = 0; i < n && rc == 0; i++) {
        rc = jt_form(m->jt, list[i], &form);

        for (j = 0; rc == 0 && j < form->n_arrays; j++) {
            for (k = 0; k < form->arrays[j].n_prefix; k++) {
                REACH(form->arrays[j].prefix[k]);
            }

            for (k = 0; k < form->arrays[j].n_contains; k++) {
                REACH(form->arrays[j].contains[k].type);
            }

            REACH(form->arrays[j].rest);
        }

        for (j = 0; rc == 0 && j < form->n_objects; j++) {
            for (k = 0; k < form->objects[j].n_members; k++) {
                REACH(form->objects[j].members[k].type);
            }

            for (k = 0; k < form->objects[j].n_rules; k++) {
                REACH(form->objects[j].rules[k].type);
            }

            for (k = 0; k < form->objects[j].n_somes; k++) {
                REACH(form->objects[j].somes[k].type);
            }

            if (form->objects[j].others != RE_NONE) {
                REACH(JT_ANY);
            }
        }
    }

    m->n_types = n;
    free(list);
    free(seen);

    return rc;
}


/* 0; < 0: err. */
static int
model_open(model_t *m, const char *text, size_t len,
           const js_schema_options_t *options, int formats)
{
    jt_options_t how = {.formats_off = !formats};
    int          rc;

    memset(m, 0, sizeof(*m));
    rc = js_schema_open(text, len, options, &m->schema, err, sizeof(err));

    if (rc < 0) {
        return rc;
    }

    m->root = js_schema_root(m->schema);

    if (gr_new(NULL, &m->gr) < 0
        || jt_new(m->gr, m->schema, &how, &m->jt) < 0) {
        return -ENOMEM;
    }

    m->type = jt_of_node(m->jt, m->root);
    rc = expand(m);

    if (rc < 0) {
        snprintf(err, sizeof(err), "%s", jt_error(m->jt));
    }

    return rc;
}


static void
model_close(model_t *m)
{
    jt_free(m->jt);
    gr_free(m->gr);
}


static int
has_exponent(const js_value_t *v)
{
    uint32_t i;

    if (v->type == JS_NUMBER) {
        return memchr(v->s, 'e', v->n) || memchr(v->s, 'E', v->n);
    }

    for (i = 0; v->type >= JS_ARRAY && i < v->n; i++) {
        if (has_exponent(&v->items[i])) {
            return 1;
        }
    }

    return 0;
}


static uint32_t
count_values(const js_value_t *v)
{
    uint32_t i, n = v->index + 1, c;

    for (i = 0; v->type >= JS_ARRAY && i < v->n; i++) {
        c = count_values(&v->items[i]);
        n = c > n ? c : n;
    }

    return n;
}


static void
model_check(model_t *m, const js_value_t *v, int formats, const char *where)
{
    js_validate_options_t how = {.formats = formats};
    js_result_t           result;
    buf_t                 text = {0};
    int                   valid, is;

    valid = js_validate(m->schema, NULL, v, &how, &result);

    if (valid < 0) {
        return;
    }

    m->n_values = count_values(v);

    if (m->n_values > 5000) {
        m->n_values = 0;
    }

    m->memo = calloc(4000, m->n_values + 1);
    m->stuck = 0;
    is = match(m, m->type, v);
    free(m->memo);
    m->n_values = 0;

    if (m->stuck) {
        js_print(&text, v);
        tally.stuck++;
        diag("%s: stuck: %.200s %s", where, text.data, jt_error(m->jt));
    }

    if (is == valid) {
        tally.agree++;

    } else if (valid
               && (has_exponent(v) || strncmp(where, "hostname.json", 13) == 0
                   || strncmp(where, "ecmascript-regex.json", 21) == 0)) {

        /* js_format_re() and numbers say what they leave out. */

        tally.weaker++;

    } else {
        buf_reset(&text);
        js_print(&text, v);
        tally.disagree++;
        diag("%s: validator %d, type %d: %.200s %s %s", where, valid, is,
             text.data, result.keyword, jt_error(m->jt));
    }

    buf_free(&text);
}

#endif /* LLM_T_JT_MODEL_H */
