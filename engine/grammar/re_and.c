/*
 * Regular expressions: intersections in a normal form.  The owner of the set
 * is the only thread here; scratch is the set's stack, as in re_bool.c.
 *
 * An INTERSECTION is flat and sorted; its complements are one, its classes
 * and its counts of characters too.  Where it holds texts only, complements
 * of lengths and of complements are written out.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/re_priv.h"

static re_t and_list(re_set_t *set, uint32_t base);
static void and_nots(re_set_t *set, uint32_t base);
static int  and_texts(re_set_t *set, uint32_t base);
static int  and_text(re_set_t *set, re_t a, int put);
static void and_length(re_set_t *set, uint32_t min, uint32_t max);
static void and_pairs(re_set_t *set, uint32_t base);
static int  and_pair(re_set_t *set, re_t a, re_t b, re_t *r);
static int  and_repeats(re_set_t *set, const re_node_t *x, const re_node_t *y,
                        re_t *r);
static re_t and_runs(re_set_t *set, re_node_t x, re_node_t y);


re_t
re_and(re_set_t *set, re_t a, re_t b)
{
    re_t list[2] = {a, b};

    if (set->rc != 0) {
        return RE_NONE;
    }

    return a == b ? a : re_and_n(set, list, 2);
}


re_t
re_and_n(re_set_t *set, const re_t *list, size_t n)
{
    uint32_t base = set->n_stack;
    size_t   i;
    re_t     r;

    if (!re_enter(set)) {
        return RE_NONE;
    }

    r = n ? list[0] : RE_ALL;

    for (i = 0; i < n; i++) {
        if (re_is_void(set, list[i])) {
            r = RE_NONE;
            break;
        }

        re_gather(set, list[i], RE_KIND_AND);
    }

    if (r != RE_NONE) {
        r = and_list(set, base);
    }

    set->n_stack = base;
    re_leave(set);

    return set->rc ? RE_NONE : r;
}


static re_t
and_list(re_set_t *set, uint32_t base)
{
    re_node_t n = {.kind = RE_KIND_AND};
    uint32_t  i, k;
    int       text, null;

    if (!re_step(set, set->n_stack - base)) {
        return RE_NONE;
    }

    do {
        and_nots(set, base);
    } while (and_texts(set, base));

    re_sort_unique(set, base);
    re_drop(set, base, RE_ALL);
    re_merge_quoted(set, base, RE_KIND_AND);
    and_pairs(set, base);
    re_sort_unique(set, base);

    if (set->rc != 0 || re_has(set, base, RE_NONE)
        || re_has_opposites(set, base)) {
        return RE_NONE;
    }

    text = 0;
    null = 1;

    for (i = base; i < set->n_stack; i++) {
        text |=
            set->stack[i] != RE_TEXT && RE_IS(set, set->stack[i], RE_F_TEXT);
        null &= RE_IS(set, set->stack[i], RE_F_NULLABLE);
    }

    if (re_has(set, base, RE_EMPTY)) {
        return null ? RE_EMPTY : RE_NONE;
    }

    if (text) {
        re_drop(set, base, RE_TEXT);
    }

    k = set->n_stack - base;

    if (k < 2) {
        return k ? set->stack[base] : RE_ALL;
    }

    n.b = k;

    return re_intern(set, &n, set->stack + base, k * sizeof(re_t));
}


/* Not x and Not y is Not (x or y). */
static void
and_nots(re_set_t *set, uint32_t base)
{
    uint32_t i, k, mark, nots;
    re_t     a, r;

    nots = 0;

    for (i = base; i < set->n_stack; i++) {
        nots += RE_KIND(set, set->stack[i]) == RE_KIND_NOT
                && set->stack[i] != RE_ALL;
    }

    if (nots < 2 || !re_enter(set)) {
        return;
    }

    mark = set->n_stack;

    for (i = base, k = base; i < mark; i++) {
        a = set->stack[i];

        if (RE_KIND(set, a) == RE_KIND_NOT && a != RE_ALL) {
            re_gather(set, set->nodes[a].a, RE_KIND_OR);

        } else {
            set->stack[k++] = a;
        }
    }

    r = re_not(set, re_or_list(set, mark));
    re_leave(set);
    set->n_stack = k;
    re_push(set, r);
}


/*
 * Among texts, not of some lengths is of the others, for which a search need
 * not count; and not (a text that is not x) is x.  1: something has changed.
 */
static int
and_texts(re_set_t *set, uint32_t base)
{
    uint32_t i, k, at, mark, top;
    re_t     a, r;

    for (i = base, k = 0, at = set->n_stack; i < set->n_stack; i++) {
        a = set->stack[i];
        k |= RE_IS(set, a, RE_F_TEXT);
        at = RE_KIND(set, a) == RE_KIND_NOT && a != RE_ALL ? i : at;
    }

    if (!k || at == set->n_stack || !re_enter(set)) {
        return 0;
    }

    /* Parts of the complement: what stays, then from top on what does not. */

    mark = set->n_stack;
    re_gather(set, set->nodes[set->stack[at]].a, RE_KIND_OR);
    top = set->n_stack;

    for (i = mark; i < top && set->rc == 0; i++) {
        a = set->stack[i];

        if (and_text(set, a, 0)) {
            re_push(set, a);
        }
    }

    if (top == set->n_stack || set->rc != 0) {
        set->n_stack = mark;
        re_leave(set);
        return 0;
    }

    /* The others, as a union above them. */

    k = set->n_stack;

    for (i = mark; i < top && set->rc == 0; i++) {
        if (!and_text(set, set->stack[i], 0)) {
            re_push(set, set->stack[i]);
        }
    }

    r = re_not(set, re_or_list(set, k));
    set->n_stack = k;
    set->stack[at] = r;

    /* What takes the place of the first ones lies where they all began. */

    for (i = top; i < k && set->rc == 0; i++) {
        and_text(set, set->stack[i], 1);
    }

    if (set->rc == 0) {
        memmove(set->stack + mark, set->stack + k,
                (set->n_stack - k) * sizeof(re_t));
        set->n_stack -= k - mark;
    }

    re_leave(set);

    return set->rc == 0;
}


/* 1: among texts, what is not in a has a form of its own; puts it there. */
static int
and_text(re_set_t *set, re_t a, int put)
{
    re_node_t n = set->nodes[a];
    re_t      x;

    if (n.kind == RE_KIND_REPEAT && n.a == RE_CHAR) {
        if (put) {
            and_length(set, n.b, n.c);
        }

        return 1;
    }

    if (n.kind != RE_KIND_AND || n.b != 2) {
        return 0;
    }

    /* Sorted: RE_TEXT is of the least. */

    x = re_list(set, a)[1];

    if (re_list(set, a)[0] != RE_TEXT || RE_KIND(set, x) != RE_KIND_NOT) {
        return 0;
    }

    if (put) {
        re_gather(set, set->nodes[x].a, RE_KIND_AND);
    }

    return 1;
}


/* Onto the stack: texts of less than min or more than max characters. */
static void
and_length(re_set_t *set, uint32_t min, uint32_t max)
{
    re_t less, more;

    less = min == 0 ? RE_NONE : re_repeat(set, RE_CHAR, 0, min - 1);
    more =
        max >= RE_INF - 1 ? RE_NONE : re_repeat(set, RE_CHAR, max + 1, RE_INF);
    re_push(set, re_or(set, less, more));
}


/* Pairs that are known to be one, or none. */
static void
and_pairs(re_set_t *set, uint32_t base)
{
    uint32_t i, j;
    re_t     r;

    for (i = base; i + 1 < set->n_stack; i++) {
        for (j = i + 1; j < set->n_stack && set->rc == 0; j++) {
            if (!re_step(set, 1)
                || !and_pair(set, set->stack[i], set->stack[j], &r)) {
                continue;
            }

            /* The last fills the gap; the result starts again. */

            set->stack[j] = set->stack[--set->n_stack];
            set->stack[i] = r;
            j = i;

            if (r == RE_NONE) {
                return;
            }
        }
    }
}


static int
and_pair(re_set_t *set, re_t a, re_t b, re_t *r)
{
    re_node_t x = set->nodes[a], y = set->nodes[b];
    uint64_t  bits[4];
    int       i;

    if (x.kind == RE_KIND_CLASS && y.kind == RE_KIND_CLASS) {
        for (i = 0; i < 4; i++) {
            bits[i] = re_bits(set, a)[i] & re_bits(set, b)[i];
        }

        *r = re_class(set, bits);
        return 1;
    }

    if (x.kind == RE_KIND_RUN && y.kind == RE_KIND_RUN) {
        *r = and_runs(set, x, y);
        return 1;
    }

    if ((a == RE_CHAR && (y.flags & RE_F_CHAR))
        || (b == RE_CHAR && (x.flags & RE_F_CHAR))) {
        *r = a == RE_CHAR ? b : a;
        return 1;
    }

    if ((x.kind == RE_KIND_NOT && x.a == RE_TEXT && (y.flags & RE_F_TEXT))
        || (y.kind == RE_KIND_NOT && y.a == RE_TEXT && (x.flags & RE_F_TEXT))) {
        *r = RE_NONE;
        return 1;
    }

    return x.kind == RE_KIND_REPEAT && y.kind == RE_KIND_REPEAT
           && and_repeats(set, &x, &y, r);
}


/*
 * Where the things repeated are code points, counts are lengths: both must
 * hold.
 */
static int
and_repeats(re_set_t *set, const re_node_t *x, const re_node_t *y, re_t *r)
{
    re_t one;

    if (!RE_IS(set, x->a, RE_F_CHAR) || !RE_IS(set, y->a, RE_F_CHAR)) {
        return 0;
    }

    if (x->a != y->a && x->a != RE_CHAR && y->a != RE_CHAR) {
        return 0;
    }

    one = x->a == RE_CHAR ? y->a : x->a;
    *r = re_repeat(set, one, x->b > y->b ? x->b : y->b,
                   x->c < y->c ? x->c : y->c);

    return 1;
}


/* Two runs agree in their common length, or there is nothing. */
static re_t
and_runs(re_set_t *set, re_node_t x, re_node_t y)
{
    uint32_t n = x.b < y.b ? x.b : y.b;
    re_t     s, t;

    if (memcmp(set->blob + x.a, set->blob + y.a, n) != 0) {
        return RE_NONE;
    }

    s = re_run_at(set, x.a + n, x.b - n, x.c);
    t = re_run_at(set, y.a + n, y.b - n, y.c);

    return re_run_at(set, x.a, n, re_and(set, s, t));
}
