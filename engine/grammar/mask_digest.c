/*
 * Digests of expressions, equal in every re_set_t: what the sets of tokens
 * that grammars share are found by.  Belongs to a grammar, under its lock.
 *
 * The digest is of how an expression is made, lists in any order.  How often
 * something is repeated, beyond the longest token's bytes, no token can tell,
 * so that all such counts are equal; but for what stands in an And or a Not,
 * where counts decide whether anything is left.
 *
 * 128 bits of two multiply-mix chains that begin with a secret of the
 * vocabulary: equal digests by chance are out of the question, and nobody can
 * make a schema whose digest is that of another's.
 */

#include <stdlib.h>
#include "engine/grammar/mask_priv.h"

/* What one state may cost: more is not worth it. */
#define DIGEST_NODES 400
#define DIGEST_DEPTH 200
#define DIGEST_LIST  64
#define DIGEST_RUN   4096

/* Two digests of each expression: with counts as they are, and without. */
typedef struct {
    uint32_t      key; /* 0: free */
    mask_digest_t digest;
} digest_memo_t;

struct mask_digests_s {
    uint64_t       seed;
    digest_memo_t *memo;
    uint32_t       n, cap;
};

typedef struct {
    mask_digests_t *digests;
    const re_set_t *set;
    uint32_t        max_len;
    uint32_t        nodes, depth;
} mask_digesting_t;

static int digest_of(mask_digesting_t *d, re_t re, int exact,
                     mask_digest_t *out);
static int digest_list(mask_digesting_t *d, const re_t *list, size_t n,
                       int exact, mask_digest_t *out);
static digest_memo_t *digest_slot(mask_digests_t *digests, uint32_t key);
static int            digest_grow(mask_digests_t *digests);
static void           digest_add(mask_digest_t *digest, uint64_t word);
static void digest_bytes(mask_digest_t *digest, const uint8_t *s, size_t len);
static void digest_sort(mask_digest_t *list, size_t n);


mask_digests_t *
mask_digests_new(uint64_t seed)
{
    mask_digests_t *digests = calloc(1, sizeof(mask_digests_t));

    if (digests) {
        digests->seed = seed;
    }

    return digests;
}


void
mask_digests_free(mask_digests_t *digests)
{
    if (digests) {
        free(digests->memo);
        free(digests);
    }
}


void
mask_digest_state(mask_digests_t *digests, const re_set_t *set,
                  const re_dfa_state_t *state, uint32_t max_len,
                  mask_digest_t *out)
{
    mask_digesting_t d = {digests, set, max_len, 0, 0};
    re_t             list[DIGEST_LIST];
    uint32_t         i;

    *out = (mask_digest_t){0, 0};

    if (state->n > DIGEST_LIST || state->unsure) {
        return;
    }

    for (i = 0; i < state->n; i++) {
        list[i] = state->items[i].re;
    }

    if (digest_list(&d, list, state->n, 0, out) != 0) {
        *out = (mask_digest_t){0, 0};
    }
}


/* 0, or -1: none. */
static int
digest_of(mask_digesting_t *d, re_t re, int exact, mask_digest_t *out)
{
    uint32_t       limit = exact ? RE_INF : d->max_len + 1;
    uint32_t       key = (re << 1 | (uint32_t) exact) + 1;
    digest_memo_t *memo;
    mask_digest_t  sub = {0, 0}, tail = {0, 0};
    re_view_t      v;
    int            rc, i;

    if (d->digests->cap) {
        memo = digest_slot(d->digests, key);

        if (memo->key) {
            *out = memo->digest;
            return 0;
        }
    }

    if (++d->nodes > DIGEST_NODES || d->depth >= DIGEST_DEPTH) {
        return -1;
    }

    d->depth++;
    re_view(d->set, re, &v);
    *out = (mask_digest_t){d->digests->seed, 0xc2b2ae3d27d4eb4full};
    digest_add(out, (uint64_t) v.kind);
    rc = 0;

    switch (v.kind) {
    case RE_KIND_NONE:
    case RE_KIND_EMPTY:
        break;

    case RE_KIND_CLASS:
        for (i = 0; i < 4; i++) {
            digest_add(out, v.set[i]);
        }
        break;

    case RE_KIND_RUN:
        rc = v.len > DIGEST_RUN ? -1 : digest_of(d, v.a, exact, &sub);
        re_view(d->set, re, &v);
        digest_bytes(out, v.bytes, v.len);
        break;

    case RE_KIND_CONCAT:
        rc = digest_of(d, v.a, exact, &sub);
        rc = rc ? rc : digest_of(d, v.b, exact, &tail);
        break;

    case RE_KIND_OR:
        rc = digest_list(d, v.list, v.n, exact, &sub);
        break;

    case RE_KIND_AND:
        rc = digest_list(d, v.list, v.n, 1, &sub);
        break;

    case RE_KIND_NOT:
        rc = digest_of(d, v.a, 1, &sub);
        break;

    case RE_KIND_REPEAT:
        digest_add(out, v.min < limit ? v.min : limit);
        digest_add(out, v.max < limit ? v.max : limit);
        rc = digest_of(d, v.a, exact, &sub);
        break;

    case RE_KIND_QUOTED:
        digest_add(out, v.min);
        rc = digest_of(d, v.a, exact, &sub);
        break;

    default:
        rc = -1;
    }

    d->depth--;

    if (rc != 0 || digest_grow(d->digests) != 0) {
        return -1;
    }

    digest_add(out, sub.lo);
    digest_add(out, sub.hi);
    digest_add(out, tail.lo);
    digest_add(out, tail.hi);
    out->lo |= 1;
    memo = digest_slot(d->digests, key);
    d->digests->n += memo->key == 0;
    memo->key = key;
    memo->digest = *out;

    return 0;
}


/* In any order. */
static int
digest_list(mask_digesting_t *d, const re_t *list, size_t n, int exact,
            mask_digest_t *out)
{
    mask_digest_t all[DIGEST_LIST];
    size_t        i;

    if (n > DIGEST_LIST) {
        return -1;
    }

    for (i = 0; i < n; i++) {
        if (digest_of(d, list[i], exact, &all[i]) != 0) {
            return -1;
        }
    }

    digest_sort(all, n);
    *out = (mask_digest_t){d->digests->seed ^ 0x165667b19e3779f9ull, n};

    for (i = 0; i < n; i++) {
        digest_add(out, all[i].lo);
        digest_add(out, all[i].hi);
    }

    out->lo |= 1;

    return 0;
}


static digest_memo_t *
digest_slot(mask_digests_t *digests, uint32_t key)
{
    uint32_t i = (key * 0x9e3779b1u) >> 7 & (digests->cap - 1);

    while (digests->memo[i].key && digests->memo[i].key != key) {
        i = (i + 1) & (digests->cap - 1);
    }

    return &digests->memo[i];
}


/* Room for one more. */
static int
digest_grow(mask_digests_t *digests)
{
    digest_memo_t *old = digests->memo;
    uint32_t       cap = digests->cap, i;

    if (digests->n * 2 < cap) {
        return 0;
    }

    digests->memo = calloc(cap ? (size_t) cap * 2 : 128, sizeof(digest_memo_t));

    if (digests->memo == NULL) {
        digests->memo = old;
        return -1;
    }

    digests->cap = cap ? cap * 2 : 128;

    for (i = 0; i < cap; i++) {
        if (old[i].key) {
            *digest_slot(digests, old[i].key) = old[i];
        }
    }

    free(old);

    return 0;
}


static void
digest_add(mask_digest_t *digest, uint64_t word)
{
    __uint128_t p;

    p = (__uint128_t) (digest->lo ^ word) * 0x9e3779b97f4a7c15ull;
    digest->lo = (uint64_t) p ^ (uint64_t) (p >> 64) ^ digest->hi;
    p = (__uint128_t) (digest->hi + word) * 0xff51afd7ed558ccdull;
    digest->hi = (uint64_t) p + (uint64_t) (p >> 64) + (digest->lo >> 7);
}


static void
digest_bytes(mask_digest_t *digest, const uint8_t *s, size_t len)
{
    uint64_t word;

    digest_add(digest, len);

    for (; len; s += 8, len -= len < 8 ? len : 8) {
        word = 0;
        memcpy(&word, s, len < 8 ? len : 8);
        digest_add(digest, word);
    }
}


static void
digest_sort(mask_digest_t *list, size_t n)
{
    mask_digest_t x;
    size_t        i, k;

    for (i = 1; i < n; i++) {
        x = list[i];

        for (k = i; k > 0
                    && (list[k - 1].lo > x.lo
                        || (list[k - 1].lo == x.lo && list[k - 1].hi > x.hi));
             k--) {
            list[k] = list[k - 1];
        }

        list[k] = x;
    }
}
