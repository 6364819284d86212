/*
 * Regular expressions: counts.  The owner of the set is the only thread here.
 */

#include <errno.h>
#include "engine/grammar/re_priv.h"

/* Links of a chain that are looked at for a count. */
#define MAX_LINKS 8

/* Members of a union that are compared with each other. */
#define MAX_MEMBERS 48

static int  re_repeat_flat(const re_node_t *x, uint32_t *min, uint32_t *max);
static int  is_counted(const re_set_t *set, re_t a);
static re_t merge_counts(re_set_t *set, re_t a, re_t b, int links);


/*
 * x{p,q}{r,s} is x{pr,qs} where the counts leave no gap between k times and
 * k + 1: the first one is the widest.
 */
static int
re_repeat_flat(const re_node_t *x, uint32_t *min, uint32_t *max)
{
    uint64_t lo = (uint64_t) x->b * *min, hi = (uint64_t) x->c * *max;
    int      whole;

    if (x->c == RE_INF) {
        whole = *min > 0 || x->b <= 1;

    } else {
        whole = *min == *max || (uint64_t) *min * (x->c - x->b) + 1 >= x->b;
    }

    if (x->c == RE_INF || *max == RE_INF) {
        hi = RE_INF;

    } else if (hi >= RE_INF) {
        return 0;
    }

    if (!whole || lo >= RE_INF) {
        return 0;
    }

    *min = (uint32_t) lo;
    *max = (uint32_t) hi;

    return 1;
}


re_t
re_repeat(re_set_t *set, re_t a, uint32_t min, uint32_t max)
{
    re_node_t n = {.kind = RE_KIND_REPEAT};
    re_node_t x;

    if (set->rc != 0 || min > max) {
        return RE_NONE;
    }

    if (max == 0 || a == RE_EMPTY) {
        return RE_EMPTY;
    }

    if (re_is_void(set, a)) {
        return min == 0 ? RE_EMPTY : RE_NONE;
    }

    if (min == 1 && max == 1) {
        return a;
    }

    if (a == RE_ALL || a == RE_TEXT) {
        return a;
    }

    x = set->nodes[a];

    if (x.flags & RE_F_NULLABLE) {
        min = 0;
    }

    if (x.kind == RE_KIND_REPEAT && re_repeat_flat(&x, &min, &max)) {
        return re_repeat(set, x.a, min, max);
    }

    n.a = a;
    n.b = min;
    n.c = max;

    return re_intern(set, &n, NULL, 0);
}


re_t
re_length(re_set_t *set, uint32_t min, uint32_t max)
{
    return re_repeat(set, RE_CHAR, min, max);
}


/*
 * Members of a union that differ in one count only, and leave no gap, are
 * one: what (a|aa){0,9} leads to stays small.  1: some were; the result is on
 * the stack in place of each.
 */
int
re_or_counts(re_set_t *set, uint32_t base)
{
    uint32_t i, k, n, at[MAX_MEMBERS];
    int      changed = 0;
    re_t     r;

    for (i = base, n = 0; i < set->n_stack; i++) {
        if (is_counted(set, set->stack[i])) {
            if (n == MAX_MEMBERS) {
                return 0;
            }

            at[n++] = i;
        }
    }

    for (i = 0; i + 1 < n; i++) {
        for (k = i + 1; k < n && set->rc == 0; k++) {
            r = merge_counts(set, set->stack[at[i]], set->stack[at[k]],
                             MAX_LINKS);

            if (r == RE_NONE) {
                continue;
            }

            /* The other is nothing from now on; this one starts again. */

            set->stack[at[i]] = r;
            set->stack[at[k]] = r;
            at[k] = at[--n];
            k = i;
            changed = 1;
        }
    }

    return changed;
}


static int
is_counted(const re_set_t *set, re_t a)
{
    const re_node_t *n;
    int              i;

    for (i = 0; i < MAX_LINKS; i++) {
        n = &set->nodes[a];

        switch (n->kind) {
        case RE_KIND_REPEAT:
            return n->c != RE_INF || n->b > 1;

        case RE_KIND_RUN:
            a = n->c;
            break;

        case RE_KIND_CONCAT:
            if (is_counted(set, n->a)) {
                return 1;
            }

            a = n->b;
            break;

        default:
            return 0;
        }
    }

    return 0;
}


/* a or b where they differ in one count; RE_NONE: they do not, or a gap. */
static re_t
merge_counts(re_set_t *set, re_t a, re_t b, int links)
{
    re_node_t x = set->nodes[a], y = set->nodes[b];
    re_t      r;

    if (x.kind == RE_KIND_REPEAT && y.kind == RE_KIND_REPEAT) {
        if (x.a != y.a || (x.c < y.b && x.c + 1 != y.b)
            || (y.c < x.b && y.c + 1 != x.b)) {
            return RE_NONE;
        }

        return re_repeat(set, x.a, x.b < y.b ? x.b : y.b,
                         x.c > y.c ? x.c : y.c);
    }

    if (x.kind != y.kind || links == 0) {
        return RE_NONE;
    }

    if (x.kind == RE_KIND_RUN) {
        if (x.b != y.b || memcmp(set->blob + x.a, set->blob + y.a, x.b) != 0) {
            return RE_NONE;
        }

        r = merge_counts(set, x.c, y.c, links - 1);

        return r == RE_NONE ? r : re_run_at(set, x.a, x.b, r);
    }

    if (x.kind != RE_KIND_CONCAT) {
        return RE_NONE;
    }

    if (x.a == y.a) {
        r = merge_counts(set, x.b, y.b, links - 1);

        return r == RE_NONE ? r : re_concat(set, x.a, r);
    }

    if (x.b != y.b) {
        return RE_NONE;
    }

    r = merge_counts(set, x.a, y.a, links - 1);

    return r == RE_NONE ? r : re_concat(set, r, x.b);
}
