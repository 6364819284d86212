/*
 * Regular expressions: derivatives, and the search for a string.  The owner
 * of the set is the only thread here.
 *
 * Derivatives of compound expressions are remembered for (expression, byte).
 * They recurse as deep as an expression's depth, which re_intern() bounds.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/re_priv.h"

#define SEARCH_MAX  5000
#define SEARCH_LOOK 32

/* An expression met by a search, and the one it was met from. */
typedef struct {
    re_t     re;
    uint32_t from;
    uint8_t  byte;
} found_t;

typedef struct {
    re_set_t *set;
    found_t  *found;
    uint32_t *queue; /* of found; taken from both ends */
    uint32_t *seen;  /* hash of re -> found + 1 */
    uint32_t  n, head, tail, cap;
    uint32_t  last;  /* what search_add() added or met again */
    uint32_t  goal;  /* with a string */
    int       whole; /* down to the string: known answers do not end it */
} search_t;

static re_t       deriv(re_set_t *set, re_t a, uint8_t byte);
static int        spells_other(const re_set_t *set, re_t a, uint8_t byte);
static re_t       deriv_concat(re_set_t *set, re_t a, uint8_t byte);
static re_t       deriv_list(re_set_t *set, re_t a, uint8_t byte);
static uint32_t   memo_hash(re_t a, uint8_t byte);
static re_memo_t *memo_find(re_set_t *set, re_t a, uint8_t byte);
static void       memo_add(re_set_t *set, re_t a, uint8_t byte, re_t to);
static int        search(re_set_t *set, re_t a, uint32_t max, buf_t *out);
static int        search_add(search_t *s, re_t a, uint32_t from, uint8_t byte);
static int        search_room(search_t *s);
static uint32_t   search_best(search_t *s);
static uint32_t   misses(const re_set_t *set, re_t a);
static int        search_step(search_t *s, uint32_t at);
static void       search_mark(search_t *s, int rc);
static int        has_multiple(re_set_t *set, re_t a);
static re_t       reduce(const re_set_t *set, re_t a);


re_t
re_deriv(re_set_t *set, re_t a, uint8_t byte)
{
    re_t r;

    if (set->rc != 0) {
        return RE_NONE;
    }

    r = deriv(set, a, byte);

    return set->rc != 0 || re_is_void(set, r) ? RE_NONE : r;
}


re_t
re_deriv_str(re_set_t *set, re_t a, const void *s, size_t len)
{
    const uint8_t *p = s;

    for (; len > 0 && a != RE_NONE; len--) {
        a = re_deriv(set, a, *p++);
    }

    return a;
}


int
re_match(re_set_t *set, re_t a, const void *s, size_t len)
{
    a = re_deriv_str(set, a, s, len);

    return set->rc == 0 && re_nullable(set, a);
}


static re_t
deriv(re_set_t *set, re_t a, uint8_t byte)
{
    re_node_t  n = set->nodes[a];
    re_memo_t *memo;
    re_t       r;

    switch (n.kind) {
    case RE_KIND_NONE:
    case RE_KIND_EMPTY:
        return RE_NONE;

    case RE_KIND_CLASS:
        return re_bit(re_bits(set, a), byte) ? RE_EMPTY : RE_NONE;

    case RE_KIND_RUN:
        if (set->blob[n.a] != byte) {
            return RE_NONE;
        }

        return re_run_at(set, n.a + 1, n.b - 1, n.c);

    case RE_KIND_CONCAT:
        if (RE_KIND(set, n.a) == RE_KIND_CLASS) {
            return re_bit(re_bits(set, n.a), byte) ? n.b : RE_NONE;
        }

        if (spells_other(set, n.a, byte)) {
            return RE_NONE;
        }

        break;

    case RE_KIND_QUOTED:
        if (spells_other(set, a, byte)) {
            return RE_NONE;
        }

        break;
    }

    memo = memo_find(set, a, byte);

    if (memo) {
        return memo->to;
    }

    if (!re_step(set, 1)) {
        return RE_NONE;
    }

    set->derivs++;

    switch (n.kind) {
    case RE_KIND_CONCAT:
        r = deriv_concat(set, a, byte);
        break;

    case RE_KIND_NOT:
        r = re_not(set, deriv(set, n.a, byte));
        break;

    case RE_KIND_REPEAT:
        r = deriv(set, n.a, byte);

        if (r != RE_NONE) {
            n.b = n.b ? n.b - 1 : 0;
            n.c = n.c == RE_INF ? RE_INF : n.c - 1;
            r = re_concat(set, r, re_repeat(set, n.a, n.b, n.c));
        }

        break;

    case RE_KIND_REMAINDER:
        r = re_remainder_deriv(set, a, byte);
        break;

    case RE_KIND_QUOTED:
        r = re_quoted_deriv(set, a, byte);
        break;

    default:
        r = deriv_list(set, a, byte);
    }

    if (set->rc == 0) {
        memo_add(set, a, byte, r);
    }

    return set->rc == 0 ? r : RE_NONE;
}


/*
 * A spelling of a literal that begins with another byte: of many members of
 * an enum nearly all, and not worth remembering.
 */
static int
spells_other(const re_set_t *set, re_t a, uint8_t byte)
{
    const re_node_t *n = &set->nodes[a];
    const re_node_t *run = &set->nodes[n->a];

    return n->kind == RE_KIND_QUOTED && n->b == 0 && byte != '\\'
           && run->kind == RE_KIND_RUN && set->blob[run->a] != byte;
}


/* Down a chain as long as its links may be empty: no recursion for it. */
static re_t
deriv_concat(re_set_t *set, re_t a, uint8_t byte)
{
    uint32_t  base = set->n_stack;
    re_node_t n;
    re_t      r;

    for (;;) {
        n = set->nodes[a];

        if (n.kind != RE_KIND_CONCAT) {
            re_push(set, deriv(set, a, byte));
            break;
        }

        r = deriv(set, n.a, byte);

        if (r != RE_NONE) {
            re_push(set, re_concat(set, r, n.b));
        }

        if (set->rc != 0 || !RE_IS(set, n.a, RE_F_NULLABLE)) {
            break;
        }

        a = n.b;
    }

    if (set->n_stack == base) {
        return RE_NONE;
    }

    if (set->n_stack == base + 1) {
        r = set->stack[base];

    } else {
        r = set->stack[base];

        for (a = base + 1; a < set->n_stack; a++) {
            r = re_or(set, r, set->stack[a]);
        }
    }

    set->n_stack = base;

    return r;
}


static re_t
deriv_list(re_set_t *set, re_t a, uint8_t byte)
{
    uint32_t i, n, base, k;
    re_t    *list, r, d;
    int and;

    and = RE_KIND(set, a) == RE_KIND_AND;
    n = set->nodes[a].b;
    base = set->n_stack;

    if (!re_step(set, n / 16)) {
        return RE_NONE;
    }

    for (i = 0; i < n && set->rc == 0; i++) {
        d = deriv(set, re_list(set, a)[i], byte);

        if (re_is_void(set, d)) {
            if (and) {
                set->n_stack = base;
                return RE_NONE;
            }

            continue;
        }

        re_push(set, d);
    }

    k = set->n_stack - base;

    if (set->rc != 0 || k == 0) {
        set->n_stack = base;
        return RE_NONE;
    }

    if (k == 1) {
        r = set->stack[base];
        set->n_stack = base;
        return r;
    }

    /* The constructors put theirs on the same stack, which may move. */

    list = malloc(k * sizeof(re_t));
    if (list == NULL) {
        return re_fail(set, -ENOMEM, "no memory for regular expressions");
    }

    memcpy(list, set->stack + base, k * sizeof(re_t));
    set->n_stack = base;
    r = and? re_and_n(set, list, k) : re_or_n(set, list, k);
    free(list);

    return r;
}


/* From the high bits of a product: many are asked for one byte in turn. */
static uint32_t
memo_hash(re_t a, uint8_t byte)
{
    return (uint32_t) ((((uint64_t) a << 8 | byte) * 0x9e3779b97f4a7c15ull)
                       >> 32);
}


static re_memo_t *
memo_find(re_set_t *set, re_t a, uint8_t byte)
{
    uint32_t i;

    if (set->cap_memo == 0) {
        return NULL;
    }

    i = memo_hash(a, byte);

    for (i &= set->cap_memo - 1; set->memo[i].node;
         i = (i + 1) & (set->cap_memo - 1)) {
        if (set->memo[i].node == a && set->memo[i].byte == byte) {
            return &set->memo[i];
        }
    }

    return NULL;
}


static void
memo_add(re_set_t *set, re_t a, uint8_t byte, re_t to)
{
    re_memo_t *old = set->memo;
    uint32_t   cap, i, k;

    if (set->n_memo * 2 >= set->cap_memo) {
        cap = 0;
        set->memo = NULL;

        if (!re_grow(set, &set->memo, &cap,
                     set->cap_memo ? set->cap_memo * 2ull : 1024,
                     sizeof(re_memo_t))) {
            set->memo = old;
            return;
        }

        memset(set->memo, 0, cap * sizeof(re_memo_t));
        k = set->cap_memo;
        set->cap_memo = cap;
        set->n_memo = 0;

        for (i = 0; i < k; i++) {
            if (old[i].node) {
                memo_add(set, old[i].node, (uint8_t) old[i].byte, old[i].to);
            }
        }

        set->bytes -= k * sizeof(re_memo_t);
        free(old);
    }

    i = memo_hash(a, byte);

    for (i &= set->cap_memo - 1; set->memo[i].node;
         i = (i + 1) & (set->cap_memo - 1)) { /* void */
    }

    set->memo[i] = (re_memo_t){a, byte, to};
    set->n_memo++;
}


int
re_is_none(re_set_t *set, re_t a, uint32_t max)
{
    if (set->rc != 0) {
        return RE_UNKNOWN;
    }

    if (re_is_void(set, a)) {
        return RE_YES;
    }

    if (RE_IS(set, a, RE_F_SOME)) {
        return RE_NO;
    }

    if (RE_IS(set, a, RE_F_UNSURE) && max <= SEARCH_MAX) {
        return RE_UNKNOWN;
    }

    if (has_multiple(set, a)) {
        set->nodes[a].flags |= RE_F_SOME;
        return RE_NO;
    }

    return search(set, a, max ? max : SEARCH_MAX, NULL);
}


int
re_disjoint(re_set_t *set, re_t a, re_t b, uint32_t max)
{
    return re_is_none(set, re_and(set, a, b), max);
}


int
re_subset(re_set_t *set, re_t a, re_t b, uint32_t max)
{
    return re_is_none(set, re_minus(set, a, b), max);
}


int
re_example(re_set_t *set, re_t a, uint32_t max, buf_t *out)
{
    if (set->rc != 0) {
        return RE_UNKNOWN;
    }

    return search(set, a, max ? max : SEARCH_MAX, out);
}


/*
 * Looks for a string through derivatives, taking the oldest and the best of
 * the newest in turn: the one finds short strings, the other those that a
 * count or many conditions demand.
 * out: appends the string found; then known answers are no short cut.
 */
static int
search(re_set_t *set, re_t a, uint32_t max, buf_t *out)
{
    search_t s = {.set = set, .whole = out != NULL};
    uint32_t at, i, len;
    re_t     start;
    char    *p;
    int      rc;

    s.goal = 0;
    start = out ? a : reduce(set, a);
    rc = RE_IS(set, start, out ? RE_F_NULLABLE : RE_F_SOME) ? RE_NO : RE_YES;

    if (!re_is_void(set, start) && search_add(&s, start, 0, 0) != RE_YES) {
        rc = RE_UNKNOWN;
    }

    for (i = 0; rc == RE_YES && s.head < s.tail; i++) {
        at = i & 1 && !out ? search_best(&s) : s.queue[s.head++];
        rc = search_step(&s, at);

        if (rc == RE_YES && s.n > max) {
            rc = RE_UNKNOWN;
        }
    }

    if (set->rc != 0) {
        rc = RE_UNKNOWN;
    }

    if (out == NULL) {
        search_mark(&s, rc);

        if (rc == RE_YES) {
            set->nodes[a].flags |= RE_F_VOID;

        } else {
            set->nodes[a].flags |= rc == RE_NO    ? RE_F_SOME
                                   : set->rc == 0 ? RE_F_UNSURE
                                                  : 0;
        }

    } else if (rc == RE_NO) {
        for (len = 0, at = s.goal; at; at = s.found[at].from) {
            len++;
        }

        p = len ? buf_room(out, len) : NULL;

        for (i = len, at = s.goal; p && at; at = s.found[at].from) {
            p[--i] = (char) s.found[at].byte;
        }

        out->len += p ? len : 0;
    }

    free(s.found);
    free(s.queue);
    free(s.seen);

    return rc;
}


/* RE_YES: goes on; RE_UNKNOWN: no memory. */
static int
search_add(search_t *s, re_t a, uint32_t from, uint8_t byte)
{
    uint32_t i, mask;

    if (!search_room(s)) {
        re_fail(s->set, -ENOMEM, "no memory for regular expressions");
        return RE_UNKNOWN;
    }

    mask = s->cap * 2 - 1;

    for (i = a * 0x9e3779b1u & mask; s->seen[i]; i = (i + 1) & mask) {
        if (s->found[s->seen[i] - 1].re == a) {
            s->last = s->seen[i] - 1;
            return RE_YES;
        }
    }

    s->last = s->n;
    s->found[s->n] = (found_t){a, from, byte};
    s->queue[s->tail++] = s->n++;
    s->seen[i] = s->n;

    return RE_YES;
}


static int
search_room(search_t *s)
{
    uint32_t cap, i, k, mask;
    void    *p;

    if (s->n < s->cap && s->tail < s->cap) {
        return 1;
    }

    if (s->head > 0) {
        memmove(s->queue, s->queue + s->head,
                (s->tail - s->head) * sizeof(uint32_t));
        s->tail -= s->head;
        s->head = 0;

        if (s->n < s->cap) {
            return 1;
        }
    }

    cap = s->cap ? s->cap * 2 : 64;

    p = realloc(s->found, cap * sizeof(found_t));
    if (p == NULL) {
        return 0;
    }

    s->found = p;

    p = realloc(s->queue, cap * sizeof(uint32_t));
    if (p == NULL) {
        return 0;
    }

    s->queue = p;

    p = calloc(cap * 2, sizeof(uint32_t));
    if (p == NULL) {
        return 0;
    }

    free(s->seen);
    s->seen = p;
    s->cap = cap;
    mask = cap * 2 - 1;

    for (k = 0; k < s->n; k++) {
        for (i = s->found[k].re * 0x9e3779b1u & mask; s->seen[i];
             i = (i + 1) & mask) { /* void */
        }

        s->seen[i] = k + 1;
    }

    return 1;
}


/* Of the newest, the one with the fewest conditions to meet yet. */
static uint32_t
search_best(search_t *s)
{
    uint32_t i, n, best, least, at;

    best = s->tail - 1;
    least = UINT32_MAX;

    for (i = s->tail; i > s->head && s->tail - i < SEARCH_LOOK; i--) {
        n = misses(s->set, s->found[s->queue[i - 1]].re);

        if (n < least) {
            least = n;
            best = i - 1;
        }
    }

    at = s->queue[best];
    s->queue[best] = s->queue[--s->tail];

    return at;
}


/* How many of what must hold do not hold for the empty string. */
static uint32_t
misses(const re_set_t *set, re_t a)
{
    uint32_t i, n;

    if (RE_KIND(set, a) != RE_KIND_AND) {
        return !RE_IS(set, a, RE_F_NULLABLE);
    }

    for (i = 0, n = 0; i < set->nodes[a].b; i++) {
        n += !RE_IS(set, re_list(set, a)[i], RE_F_NULLABLE);
    }

    return n;
}


static int
search_step(search_t *s, uint32_t at)
{
    re_set_t *set = s->set;
    uint64_t  done[4] = {0};
    uint8_t   map[256];
    re_t      a, d;
    int       b;

    a = s->found[at].re;
    re_classes(set, a, map);

    for (b = 0; b < 256; b++) {
        if (re_bit(done, map[b])) {
            continue;
        }

        re_bit_set(done, map[b]);
        d = re_deriv(set, a, (uint8_t) b);

        if (set->rc != 0) {
            return RE_UNKNOWN;
        }

        d = s->whole ? d : reduce(set, d);

        if (re_is_void(set, d)) {
            continue;
        }

        if (search_add(s, d, at, (uint8_t) b) != RE_YES) {
            return RE_UNKNOWN;
        }

        if (RE_IS(set, d, s->whole ? RE_F_NULLABLE : RE_F_SOME)) {
            s->goal = s->last;
            return RE_NO;
        }
    }

    return RE_YES;
}


/* A string: all on the way to it have one.  None: nothing met has one. */
static void
search_mark(search_t *s, int rc)
{
    uint32_t i;

    if (rc == RE_NO) {
        for (i = s->goal; i > 0; i = s->found[i].from) {
            s->set->nodes[s->found[i].re].flags |= RE_F_SOME;
        }

        s->set->nodes[s->found[0].re].flags |= RE_F_SOME;

    } else if (rc == RE_YES) {
        for (i = 0; i < s->n; i++) {
            s->set->nodes[s->found[i].re].flags |= RE_F_VOID;
        }
    }
}


/* The part of a that decides whether it has a string. */
static re_t
reduce(const re_set_t *set, re_t a)
{
    const re_node_t *n;

    for (;;) {
        n = &set->nodes[a];

        if (n->flags & (RE_F_SOME | RE_F_VOID)) {
            return a;
        }

        switch (n->kind) {
        case RE_KIND_RUN:
            a = n->c;
            break;

        case RE_KIND_CONCAT:
            if (re_is_void(set, n->a) || re_is_void(set, n->b)) {
                return RE_NONE;
            }

            if (RE_IS(set, n->b, RE_F_SOME)) {
                a = n->a;
                break;
            }

            if (!RE_IS(set, n->a, RE_F_SOME)) {
                return a;
            }

            a = n->b;
            break;

        case RE_KIND_REPEAT:
            a = n->a;
            break;

        case RE_KIND_QUOTED:
            if (n->b != 0) {
                return a;
            }

            a = n->a;
            break;

        default:
            return a;
        }
    }
}


/*
 * For a remainder among other conditions: numbers of a few more digits that
 * the divisor divides are tried, as a search through digits would have to
 * meet them by chance.
 */
static int
has_multiple(re_set_t *set, re_t a)
{
    unsigned __int128 rest;
    uint64_t          room, v;
    re_rem_t          r;
    uint32_t          i;
    char              s[24];
    int               k, tries;

    if (RE_KIND(set, a) != RE_KIND_AND) {
        return 0;
    }

    for (i = 0; i < set->nodes[a].b; i++) {
        if (RE_KIND(set, re_list(set, a)[i]) == RE_KIND_REMAINDER) {
            break;
        }
    }

    if (i == set->nodes[a].b) {
        return 0;
    }

    memcpy(&r, set->blob + set->nodes[re_list(set, a)[i]].a, sizeof(r));
    rest = r.rest;

    for (k = 1, room = 10; k <= 18; k++, room *= 10) {
        rest = rest * 10 % r.divisor;
        v = (r.divisor - (uint64_t) rest) % r.divisor;

        for (tries = 0; tries < 10 && v < room; tries++, v += r.divisor) {
            snprintf(s, sizeof(s), "%0*llu", k, (unsigned long long) v);

            if (re_match(set, a, s, (size_t) k)) {
                return 1;
            }
        }
    }

    return 0;
}
