/*
 * The lazy automaton of re_dfa.h.  Belongs, like its set of expressions, to
 * one thread at a time.
 *
 * States are found by their items in a hash table.  What a state points to
 * is in the automaton's arena; maps of byte classes are shared, as most
 * states have one of a few.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/re_dfa.h"

#define MAX_STATES 100000

typedef struct map_s map_t;

struct map_s {
    map_t   *next;
    uint8_t  bytes[256];
    uint32_t classes;
};

typedef struct {
    re_dfa_state_t pub;
    uint32_t       hash;
} state_t;

struct re_dfa_s {
    re_set_t *set;
    arena_t   arena;
    state_t **states;
    uint32_t  n, cap, max, max_search;
    uint32_t *table;
    uint32_t  n_table;
    map_t    *maps[64];

    re_dfa_item_t *items; /* scratch */
    uint32_t       cap_items;
};

static int      room_for_items(re_dfa_t *dfa, size_t n);
static int32_t  find(re_dfa_t *dfa, const re_dfa_item_t *items, size_t n,
                     uint32_t unsure);
static int32_t  add(re_dfa_t *dfa, const re_dfa_item_t *items, uint32_t n,
                    uint32_t hash, uint32_t unsure);
static int      grow(re_dfa_t *dfa);
static map_t   *map_of(re_dfa_t *dfa, const re_dfa_item_t *items, uint32_t n);
static int      by_tag(const void *a, const void *b);
static uint32_t hash_of(const void *data, size_t size);


re_dfa_t *
re_dfa_new(re_set_t *set, uint32_t max_states, uint32_t max_search)
{
    re_dfa_t *dfa = calloc(1, sizeof(re_dfa_t));

    if (dfa == NULL) {
        return NULL;
    }

    dfa->set = set;
    dfa->max = max_states ? max_states : MAX_STATES;
    dfa->max_search = max_search;
    arena_init(&dfa->arena, 0);

    if (find(dfa, NULL, 0, 0) != RE_DFA_DEAD) {
        re_dfa_free(dfa);
        return NULL;
    }

    return dfa;
}


void
re_dfa_free(re_dfa_t *dfa)
{
    if (dfa == NULL) {
        return;
    }

    arena_free(&dfa->arena);
    free(dfa->states);
    free(dfa->table);
    free(dfa->items);
    free(dfa);
}


const re_dfa_state_t *
re_dfa_get(const re_dfa_t *dfa, int32_t state)
{
    return &dfa->states[state]->pub;
}


const re_dfa_state_t *const *
re_dfa_table(const re_dfa_t *dfa)
{
    /* pub is a state's first member. */

    return (const re_dfa_state_t *const *) (const void *) dfa->states;
}


uint32_t
re_dfa_count(const re_dfa_t *dfa)
{
    return dfa->n;
}


size_t
re_dfa_bytes(const re_dfa_t *dfa)
{
    return dfa->arena.total + dfa->n_table * sizeof(uint32_t)
           + dfa->cap_items * sizeof(re_dfa_item_t)
           + dfa->n_table / 2 * sizeof(state_t *);
}


int32_t
re_dfa_state(re_dfa_t *dfa, const re_dfa_item_t *items, size_t n)
{
    uint32_t unsure;
    size_t   i, k;
    int      rc, sorted;

    LLM_TRY(room_for_items(dfa, n));

    unsure = 0;
    sorted = 1;

    for (i = 0, k = 0; i < n; i++) {
        rc = re_is_none(dfa->set, items[i].re, dfa->max_search);

        if (rc != RE_YES) {
            unsure |= rc == RE_UNKNOWN;
            sorted &= k == 0 || dfa->items[k - 1].tag < items[i].tag;
            dfa->items[k++] = items[i];
        }
    }

    LLM_TRY(re_failed(dfa->set, NULL));

    if (!sorted) {
        qsort(dfa->items, k, sizeof(re_dfa_item_t), by_tag);
    }

    return find(dfa, dfa->items, k, unsure);
}


int32_t
re_dfa_make(re_dfa_t *dfa, int32_t state, uint8_t byte)
{
    const re_dfa_state_t *s = &dfa->states[state]->pub;
    uint32_t              i, k, unsure;
    int32_t               to;
    re_t                  d;
    int                   rc;

    if (s->next[s->map[byte]] >= 0) {
        return s->next[s->map[byte]];
    }

    LLM_TRY(room_for_items(dfa, s->n));

    unsure = 0;

    for (i = 0, k = 0; i < s->n; i++) {
        d = re_deriv(dfa->set, s->items[i].re, byte);

        if (d == RE_NONE) {
            continue;
        }

        rc = re_is_none(dfa->set, d, dfa->max_search);

        if (rc != RE_YES) {
            unsure |= rc == RE_UNKNOWN;
            dfa->items[k++] = (re_dfa_item_t){s->items[i].tag, d};
        }
    }

    LLM_TRY(re_failed(dfa->set, NULL));

    to = find(dfa, dfa->items, k, unsure);

    if (to >= 0) {
        s->next[s->map[byte]] = to;
    }

    return to;
}


int
re_dfa_allowed(re_dfa_t *dfa, int32_t state, uint64_t bytes[4])
{
    int32_t to;
    int     b;

    memset(bytes, 0, 4 * sizeof(uint64_t));

    for (b = 0; b < 256; b++) {
        to = re_dfa_next(dfa, state, (uint8_t) b);
        LLM_TRY(to);

        if (to != RE_DFA_DEAD) {
            bytes[b / 64] |= (uint64_t) 1 << (b % 64);
        }
    }

    return 0;
}


int
re_dfa_forced(re_dfa_t *dfa, int32_t state)
{
    int32_t to;
    int     b, only;

    only = 256;

    for (b = 0; b < 256; b++) {
        to = re_dfa_next(dfa, state, (uint8_t) b);
        LLM_TRY(to);

        if (to == RE_DFA_DEAD) {
            continue;
        }

        if (only != 256) {
            return 256;
        }

        only = b;
    }

    return only;
}


static int
room_for_items(re_dfa_t *dfa, size_t n)
{
    void *p;

    if (n <= dfa->cap_items) {
        return 0;
    }

    if (n > UINT32_MAX / 2) {
        return -E2BIG;
    }

    p = realloc(dfa->items, n * sizeof(re_dfa_item_t));
    if (p == NULL) {
        return -ENOMEM;
    }

    dfa->items = p;
    dfa->cap_items = (uint32_t) n;

    return 0;
}


/* The state of these items, which are sorted. */
static int32_t
find(re_dfa_t *dfa, const re_dfa_item_t *items, size_t n, uint32_t unsure)
{
    const re_dfa_state_t *s;
    uint32_t              hash, i;
    int32_t               to;

    if (dfa->n * 2 >= dfa->n_table) {
        LLM_TRY(grow(dfa));
    }

    hash = hash_of(items, n * sizeof(re_dfa_item_t));

    for (i = hash & (dfa->n_table - 1); dfa->table[i];
         i = (i + 1) & (dfa->n_table - 1)) {
        s = &dfa->states[dfa->table[i] - 1]->pub;

        if (dfa->states[dfa->table[i] - 1]->hash == hash && s->n == n
            && (n == 0
                || memcmp(s->items, items, n * sizeof(re_dfa_item_t)) == 0)) {
            return (int32_t) dfa->table[i] - 1;
        }
    }

    to = add(dfa, items, (uint32_t) n, hash, unsure);

    if (to >= 0) {
        dfa->table[i] = (uint32_t) to + 1;
    }

    return to;
}


static int32_t
add(re_dfa_t *dfa, const re_dfa_item_t *items, uint32_t n, uint32_t hash,
    uint32_t unsure)
{
    re_dfa_item_t *own;
    uint32_t      *accepts, i, k;
    state_t       *s;
    map_t         *map;

    if (dfa->n >= dfa->max) {
        return -E2BIG;
    }

    map = map_of(dfa, items, n);
    LLM_TRY(re_failed(dfa->set, NULL));

    s = arena_get(&dfa->arena, sizeof(state_t));
    own = arena_get(&dfa->arena, n * sizeof(re_dfa_item_t));
    accepts = arena_get(&dfa->arena, n * sizeof(uint32_t));

    if (map == NULL || s == NULL || own == NULL || accepts == NULL) {
        return -ENOMEM;
    }

    s->pub.next = arena_get(&dfa->arena, map->classes * sizeof(int32_t));
    if (s->pub.next == NULL) {
        return -ENOMEM;
    }

    for (i = 0, k = 0; i < n; i++) {
        own[i] = items[i];

        if (re_nullable(dfa->set, items[i].re)) {
            accepts[k++] = items[i].tag;
        }
    }

    s->hash = hash;
    s->pub.items = own;
    s->pub.n = n;
    s->pub.accepts = accepts;
    s->pub.n_accepts = k;
    s->pub.map = map->bytes;
    s->pub.classes = map->classes;
    s->pub.unsure = unsure;

    /* From the dead state everything leads back to it. */

    memset(s->pub.next, n ? 0xff : 0, map->classes * sizeof(int32_t));
    dfa->states[dfa->n] = s;

    return (int32_t) dfa->n++;
}


static int
grow(re_dfa_t *dfa)
{
    uint32_t *table, cap, i, k;
    void     *p;

    cap = dfa->n_table ? dfa->n_table * 2 : 256;

    p = realloc(dfa->states, cap / 2 * sizeof(state_t *));
    if (p == NULL) {
        return -ENOMEM;
    }

    dfa->states = p;

    table = calloc(cap, sizeof(uint32_t));
    if (table == NULL) {
        return -ENOMEM;
    }

    for (k = 0; k < dfa->n; k++) {
        for (i = dfa->states[k]->hash & (cap - 1); table[i];
             i = (i + 1) & (cap - 1)) { /* void */
        }

        table[i] = k + 1;
    }

    free(dfa->table);
    dfa->table = table;
    dfa->n_table = cap;

    return 0;
}


/* Classes of all items together. */
static map_t *
map_of(re_dfa_t *dfa, const re_dfa_item_t *items, uint32_t n)
{
    uint8_t map[256] = {0};
    int     classes = 1;
    map_t **list, *m;

    if (n) {
        classes =
            re_classes_n(dfa->set, &items->re, n, sizeof(re_dfa_item_t), map);
    }

    list = &dfa->maps[hash_of(map, sizeof(map)) % llm_countof(dfa->maps)];

    for (m = *list; m; m = m->next) {
        if (memcmp(m->bytes, map, sizeof(map)) == 0) {
            return m;
        }
    }

    m = arena_get(&dfa->arena, sizeof(map_t));

    if (m) {
        memcpy(m->bytes, map, sizeof(map));
        m->classes = (uint32_t) classes;
        m->next = *list;
        *list = m;
    }

    return m;
}


static int
by_tag(const void *a, const void *b)
{
    const re_dfa_item_t *x = a, *y = b;

    return x->tag < y->tag ? -1 : x->tag > y->tag;
}


static uint32_t
hash_of(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t       h = 0x9e3779b97f4a7c15ull;
    uint64_t       w;

    for (; size >= 8; size -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ (h >> 31) ^ w) * 0xff51afd7ed558ccdull;
    }

    return (uint32_t) (h >> 32);
}
