/*
 * The JSON machine: arrays.  See gr_json_priv.h.
 *
 * A state counts items as far as a bound, a prefix or a condition is near,
 * and what each `contains` has met.  Where a condition has a maximum, an item
 * is either of its type or of the complement; where it has none, an item of
 * its type need not be counted, which costs nothing.
 *
 * UNIQUE arrays have scalars only; each item is captured and left out of the
 * languages of those that follow.  If that could leave too few for what must
 * still come, the values that are scarce are tried one by one.
 *
 * The holder of the program's lock runs this; shapes live in the arena.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_json_priv.h"

#define MAX_SCARCE 4096u

static int array_make(gj_t *gj, gj_array_t *ar);
static int key_read(gj_t *gj, const void *key, size_t len, gj_array_t **ar,
                    gj_key_array_t *k);
static int can_close(const gj_array_t *ar, const gj_key_array_t *k);
static jt_type_t item_type(const gj_array_t *ar, uint32_t i);
static uint32_t  waiting(const gj_array_t *ar, const gj_key_array_t *k);
static int item_of(gj_t *gj, const gj_array_t *ar, const gj_key_array_t *k,
                   uint32_t waits, uint32_t counts, jt_type_t *type,
                   gj_key_array_t *next);
static int items(gj_t *gj, gj_array_t *ar, const gj_key_array_t *k,
                 gr_edges_t *out, int *any);
static int item_edges(gj_t *gj, gj_array_t *ar, const gj_key_array_t *next,
                      jt_type_t type, uint32_t counts, gr_edges_t *out);
static gr_state_t state(gj_t *gj, const gj_array_t *ar, uint32_t kind,
                        gj_key_array_t *k);
static int feasible(gj_t *gj, const gj_array_t *ar, const gj_key_array_t *k,
                    const gj_scalars_t *more);

static int unused(gj_t *gj, gj_array_t *ar, const gj_key_array_t *next,
                  jt_type_t type, gj_scalars_t *s);
static int narrow(gj_t *gj, gj_array_t *ar, const gj_key_array_t *next,
                  gj_scalars_t *s);
static int scarce(gj_t *gj, const gj_array_t *ar, const gj_key_array_t *next,
                  gj_scalars_t *s);
static int scarce_type(gj_t *gj, jt_type_t type, uint32_t n, gj_scalars_t *s);
static int one_of(gj_t *gj, const gj_scalars_t *s, gj_scalars_t *one);
static int minus(gj_t *gj, gj_scalars_t *s, const gj_scalars_t *less);
static int is_none(const gj_scalars_t *s);
static int scalar_read(gj_t *gj, const uint8_t *text, size_t n,
                       gj_scalars_t *one);


int
gj_array(gj_t *gj, jt_type_t type, uint32_t shape, gj_array_t **array)
{
    gj_array_t *ar;
    gj_type_t  *t;

    LLM_TRY(gj_type(gj, type, &t));

    if (t->arrays[shape]) {
        *array = t->arrays[shape];
        return 0;
    }

    ar = arena_get(gj->arena, sizeof(gj_array_t));
    if (ar == NULL) {
        return -ENOMEM;
    }

    ar->a = &t->form->arrays[shape];
    ar->type = type;
    ar->shape = shape;

    LLM_TRY(array_make(gj, ar));
    *array = t->arrays[shape] = ar;

    return 0;
}


static int
array_make(gj_t *gj, gj_array_t *ar)
{
    const jt_array_t *a = ar->a;
    uint32_t          i;
    int               some = 1;

    if (a->n_contains > GJ_MAX_CONDITIONS) {
        gj->error = "too many conditions on an array's items";
        return -E2BIG;
    }

    ar->min = a->min;
    ar->max = a->max;

    /* The first place for which there is no value ends the array. */

    for (i = 0; i < a->n_prefix && i < ar->max; i++) {
        some = gj_has_value(gj, a->prefix[i]);

        if (some < 0) {
            return some;
        }

        if (!some) {
            ar->max = i;
        }
    }

    if (ar->max > a->n_prefix) {
        some = gj_has_value(gj, a->rest);

        if (some < 0) {
            return some;
        }

        if (!some) {
            ar->max = a->n_prefix;
        }
    }

    ar->cap = ar->min > a->n_prefix ? ar->min : a->n_prefix;

    for (i = 0; i < a->n_contains; i++) {
        if (a->contains[i].from > ar->cap) {
            ar->cap = a->contains[i].from;
        }
    }

    ar->needed = ar->cap;

    for (i = 0; i < a->n_contains; i++) {
        ar->needed +=
            a->contains[i].min < MAX_SCARCE ? a->contains[i].min : MAX_SCARCE;
    }

    if (ar->max != RE_INF) {
        ar->cap = RE_INF;
    }

    ar->key_len =
        offsetof(gj_key_array_t, met) + a->n_contains * sizeof(uint32_t);

    return 0;
}


int
gj_array_walk(gj_t *gj, gj_array_t *ar, gj_walk_t each, void *data)
{
    const jt_array_t *a = ar->a;
    gj_key_array_t    k = {0}, next;
    jt_type_t         type;
    uint32_t          i, m, all = (1u << a->n_contains) - 1;
    int               some;

    for (i = 0; i <= a->n_prefix && i < ar->max; i++) {
        k.count = i;

        for (m = 0; m <= all; m++) {
            some = item_of(gj, ar, &k, all, m, &type, &next);

            if (some < 0) {
                return some;
            }

            if (some) {
                LLM_TRY(each(gj, type, data));
            }
        }

        /* Once a condition holds its complement is no matter any more. */

        LLM_TRY(each(gj, item_type(ar, i), data));
    }

    return 0;
}


/*
 * STATES
 */

gr_state_t
gj_array_first(gj_t *gj, gj_array_t *ar)
{
    gj_key_array_t k = {0};

    return state(gj, ar, GJ_ARRAY_FIRST, &k);
}


static gr_state_t
state(gj_t *gj, const gj_array_t *ar, uint32_t kind, gj_key_array_t *k)
{
    k->kind = kind;
    k->type = ar->type;
    k->shape = ar->shape;

    return gr_state(gj->gr, gj->machine, k, ar->key_len);
}


static int
key_read(gj_t *gj, const void *key, size_t len, gj_array_t **ar,
         gj_key_array_t *k)
{
    if (len > sizeof(gj_key_array_t)) {
        return -EINVAL;
    }

    memset(k, 0, sizeof(gj_key_array_t));
    memcpy(k, key, len);

    return gj_array(gj, k->type, k->shape, ar);
}


static int
can_close(const gj_array_t *ar, const gj_key_array_t *k)
{
    uint32_t i;

    for (i = 0; i < ar->a->n_contains; i++) {
        if (k->met[i] < ar->a->contains[i].min) {
            return 0;
        }
    }

    return k->count >= ar->min;
}


static jt_type_t
item_type(const gj_array_t *ar, uint32_t i)
{
    return i < ar->a->n_prefix ? ar->a->prefix[i] : ar->a->rest;
}


/* The conditions that the next item may matter to. */
static uint32_t
waiting(const gj_array_t *ar, const gj_key_array_t *k)
{
    const jt_contains_t *c;
    uint32_t             i, waits = 0;

    for (i = 0; i < ar->a->n_contains; i++) {
        c = &ar->a->contains[i];

        if (k->count >= c->from && (c->max != RE_INF || k->met[i] < c->min)) {
            waits |= 1u << i;
        }
    }

    return waits;
}


/*
 * The next item if it counts for the conditions `counts` among those that
 * wait: its type and the state after it.  1; 0: there is none; -errno.
 */
static int
item_of(gj_t *gj, const gj_array_t *ar, const gj_key_array_t *k, uint32_t waits,
        uint32_t counts, jt_type_t *type, gj_key_array_t *next)
{
    const jt_contains_t *c;
    uint32_t             i;

    *next = *k;
    *type = item_type(ar, k->count);

    if (next->count < ar->cap) {
        next->count++;
    }

    for (i = 0; i < ar->a->n_contains; i++) {
        c = &ar->a->contains[i];

        if (counts >> i & 1) {
            if (k->met[i] >= c->max) {
                return 0;
            }

            next->met[i]++;
            *type = jt_and(gj->jt, *type, c->type);

        } else if (waits >> i & 1 && (c->max != RE_INF || ar->a->unique)) {

            /* Unique items must be counted: their values get fewer. */

            *type = jt_minus(gj->jt, *type, c->type);
        }
    }

    return gj_has_value(gj, *type);
}


/*
 * EDGES
 */

int
gj_array_expand(gj_t *gj, const void *key, size_t len, gr_edges_t *out)
{
    gj_key_array_t k;
    gj_array_t    *ar;
    int            any;

    LLM_TRY(key_read(gj, key, len, &ar, &k));

    if (k.kind != GJ_ARRAY_ITEM && can_close(ar, &k)) {
        gr_edge_lexeme(out,
                       k.kind == GJ_ARRAY_FIRST ? gj->close_empty
                                                : gj->close_array,
                       gj->end);
    }

    if (k.kind != GJ_ARRAY_NEXT) {
        return items(gj, ar, &k, out, &any);
    }

    LLM_TRY(items(gj, ar, &k, NULL, &any));

    if (any) {
        gr_edge_lexeme(out, gj->comma, state(gj, ar, GJ_ARRAY_ITEM, &k));
    }

    return 0;
}


/* The edges for the next item; out NULL: only whether there are any. */
static int
items(gj_t *gj, gj_array_t *ar, const gj_key_array_t *k, gr_edges_t *out,
      int *any)
{
    gj_key_array_t next;
    jt_type_t      type;
    uint32_t       waits, m;
    int            some;

    *any = 0;

    if (k->count >= ar->max) {
        return 0;
    }

    waits = waiting(ar, k);

    for (m = waits;; m = (m - 1) & waits) {
        some = item_of(gj, ar, k, waits, m, &type, &next);

        if (some > 0) {
            some = item_edges(gj, ar, &next, type, m, out);
        }

        if (some < 0) {
            return some;
        }

        *any |= some;

        if (m == 0 || (out == NULL && *any)) {
            return 0;
        }
    }
}


/* 1 if there are edges. */
static int
item_edges(gj_t *gj, gj_array_t *ar, const gj_key_array_t *next, jt_type_t type,
           uint32_t counts, gr_edges_t *out)
{
    gj_key_array_t k = *next;
    gj_scalars_t   s;
    int            some;

    if (!ar->a->unique) {
        some = feasible(gj, ar, next, NULL);

        if (some > 0 && out) {
            LLM_TRY(gj_value(gj, type, state(gj, ar, GJ_ARRAY_NEXT, &k), out));
        }

        return some;
    }

    LLM_TRY(unused(gj, ar, next, type, &s));

    if (out && s.strings != RE_NONE) {
        gr_edge_capture(out, gr_lexeme(gj->gr, gj_quote(gj, s.strings), 0),
                        counts);
    }

    s.numbers = re_or(gj->re, s.numbers, gj_literals(gj, s.literals));

    if (out && s.numbers != RE_NONE) {
        gr_edge_capture(out, gr_lexeme(gj->gr, s.numbers, 0), counts);
    }

    return s.strings != RE_NONE || s.numbers != RE_NONE;
}


int
gj_array_capture(gj_t *gj, const void *key, size_t len, uint32_t arg,
                 const uint8_t *text, size_t n, gr_state_t *to)
{
    gj_key_array_t k, next;
    gj_scalars_t   one;
    gj_array_t    *ar;
    jt_type_t      type;
    int            some;

    LLM_TRY(scalar_read(gj, text, n, &one));
    LLM_TRY(key_read(gj, key, len, &ar, &k));

    some = item_of(gj, ar, &k, waiting(ar, &k), arg, &type, &next);

    if (some <= 0) {
        return some < 0 ? some : -EINVAL;
    }

    LLM_TRY(gj_set_add(gj, k.used, one, &next.used));
    *to = state(gj, ar, GJ_ARRAY_NEXT, &next);

    return 0;
}


/* Can the array be finished, with more among its items? */
static int
feasible(gj_t *gj, const gj_array_t *ar, const gj_key_array_t *k,
         const gj_scalars_t *more)
{
    jt_array_so_far_t so_far = {.count = k->count, .met = k->met};

    if (can_close(ar, k) || (ar->a->n_contains == 0 && !ar->a->unique)) {
        return 1;
    }

    so_far.strings = gj->sets[k->used].all.strings;
    so_far.numbers = gj->sets[k->used].all.numbers;
    so_far.literals = gj->sets[k->used].all.literals;

    if (more) {
        so_far.strings = re_or(gj->re, so_far.strings, more->strings);
        so_far.numbers = re_or(gj->re, so_far.numbers, more->numbers);
        so_far.literals |= more->literals;
    }

    return jt_array_feasible(gj->jt, ar->a, &so_far);
}


/*
 * UNIQUE ITEMS
 */

/* The values of type that may come and are not there yet. */
static int
unused(gj_t *gj, gj_array_t *ar, const gj_key_array_t *next, jt_type_t type,
       gj_scalars_t *s)
{
    gj_type_t *t;

    LLM_TRY(gj_type(gj, type, &t));

    s->strings = t->form->string;
    s->numbers = re_and(gj->re, t->form->number, gj->unique_number);
    s->literals = t->form->literals;

    LLM_TRY(minus(gj, s, &gj->sets[next->used].all));

    return can_close(ar, next) ? 0 : narrow(gj, ar, next, s);
}


/*
 * Leaves those of s after which the array can be finished.  A set that has
 * as many values as the array needs items cannot run out; only values of
 * smaller ones are worth a look, all others are alike.
 */
static int
narrow(gj_t *gj, gj_array_t *ar, const gj_key_array_t *next, gj_scalars_t *s)
{
    gj_scalars_t few = {0}, good = {0}, one, rest;
    uint32_t     i;
    int          some;

    LLM_TRY(scarce(gj, ar, next, &few));

    rest = *s;
    LLM_TRY(minus(gj, &rest, &few));
    few.strings = re_and(gj->re, few.strings, s->strings);
    few.numbers = re_and(gj->re, few.numbers, s->numbers);
    few.literals &= s->literals;
    LLM_TRY(minus(gj, &few, &(gj_scalars_t){0}));

    if (!is_none(&rest)) {
        LLM_TRY(one_of(gj, &rest, &one));
        some = feasible(gj, ar, next, &one);

        if (some < 0) {
            return some;
        }

        good = some ? rest : good;
    }

    for (i = 0; !is_none(&few); i++) {
        if (i == MAX_SCARCE) {
            gj->error = "too many values that must be unique";
            return -E2BIG;
        }

        LLM_TRY(one_of(gj, &few, &one));
        LLM_TRY(minus(gj, &few, &one));
        some = feasible(gj, ar, next, &one);

        if (some < 0) {
            return some;
        }

        if (some) {
            one.numbers = re_and(gj->re, one.numbers, s->numbers);
            good.strings = re_or(gj->re, good.strings, one.strings);
            good.numbers = re_or(gj->re, good.numbers, one.numbers);
            good.literals |= one.literals;
        }
    }

    *s = good;

    return 0;
}


/* All values of those sets that could run out before the array is whole. */
static int
scarce(gj_t *gj, const gj_array_t *ar, const gj_key_array_t *next,
       gj_scalars_t *s)
{
    const jt_array_t *a = ar->a;
    uint32_t          i;

    for (i = next->count; i < a->n_prefix && i < ar->max; i++) {
        LLM_TRY(scarce_type(gj, a->prefix[i], ar->needed, s));
    }

    if (ar->max > a->n_prefix) {
        LLM_TRY(scarce_type(gj, a->rest, ar->needed, s));
    }

    for (i = 0; i < a->n_contains; i++) {
        if (next->met[i] < a->contains[i].min) {
            LLM_TRY(scarce_type(gj, a->contains[i].type, ar->needed, s));
        }
    }

    return 0;
}


static int
scarce_type(gj_t *gj, jt_type_t type, uint32_t n, gj_scalars_t *s)
{
    gj_type_t *t;
    uint32_t   count;

    LLM_TRY(jt_count(gj->jt, type, n, &count));

    if (count >= n) {
        return 0;
    }

    LLM_TRY(gj_type(gj, type, &t));
    s->strings = re_or(gj->re, s->strings, t->form->string);
    s->numbers = re_or(gj->re, s->numbers, t->form->number);
    s->literals |= t->form->literals;

    return 0;
}


/* Some value of s, with all its spellings. */
static int
one_of(gj_t *gj, const gj_scalars_t *s, gj_scalars_t *one)
{
    re_t from = s->strings != RE_NONE ? s->strings : s->numbers;

    *one = (gj_scalars_t){0};

    if (s->literals) {
        one->literals = s->literals & -s->literals;
        return 0;
    }

    buf_reset(&gj->text);

    if (re_example(gj->re, from, 0, &gj->text) != RE_NO) {
        gj->error = "an item is too complex";
        return -E2BIG;
    }

    if (gj->text.failed) {
        return -ENOMEM;
    }

    if (s->strings == RE_NONE) {
        return gj_number(gj, (const uint8_t *) gj->text.data, gj->text.len,
                         &one->numbers);
    }

    one->strings = re_run(gj->re, gj->text.data, gj->text.len, RE_EMPTY);

    return 0;
}


/* Languages that become empty are RE_NONE. */
static int
minus(gj_t *gj, gj_scalars_t *s, const gj_scalars_t *less)
{
    s->strings = re_minus(gj->re, s->strings, less->strings);
    s->numbers = re_minus(gj->re, s->numbers, less->numbers);
    s->literals &= ~less->literals;

    LLM_TRY(gj_some_string(gj, &s->strings));

    return gj_some_string(gj, &s->numbers);
}


static int
is_none(const gj_scalars_t *s)
{
    return s->strings == RE_NONE && s->numbers == RE_NONE && s->literals == 0;
}


static int
scalar_read(gj_t *gj, const uint8_t *text, size_t n, gj_scalars_t *one)
{
    *one = (gj_scalars_t){0};

    switch (text[0]) {
    case '"':
        LLM_TRY(gj_decode(gj, text, n));
        one->strings = re_run(gj->re, gj->text.data, gj->text.len, RE_EMPTY);
        return 0;

    case 'n':
        one->literals = JT_NULL;
        return 0;

    case 't':
        one->literals = JT_TRUE;
        return 0;

    case 'f':
        one->literals = JT_FALSE;
        return 0;

    default:
        return gj_number(gj, text, n, &one->numbers);
    }
}
