/*
 * Sets of tokens (mask_priv.h): made once, then only read and counted, by
 * any thread.  The vocabulary's caches of them have its lock.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/mask_priv.h"

#define SHARED_BYTES (64u << 20)
#define SHARED_LISTS 4096

#define SORT_MOST 4096

/* More tokens than this are rather kept as a mask. */
#define LONG_LIST(core) ((core)->words / 4)

typedef struct mask_share_s mask_share_t;

struct mask_share_s {
    mask_share_t *next; /* in its list */
    mask_share_t *newer, *older;
    mask_digest_t digest;
    mask_set_t   *set;
};

struct mask_shared_s {
    mask_share_t *lists[SHARED_LISTS];
    mask_share_t *newest, *oldest;
    size_t        bytes;
};

static mask_set_t *base_new(mask_core_t *core, unsigned groups, uint32_t chars);
static int  set_lists(mask_core_t *core, mask_set_t *set, mask_scratch_t *s);
static void set_cross(mask_set_t *set, const mask_scratch_t *s,
                      uint32_t n_groups);
static int  set_runs(const mask_core_t *core, mask_set_t *set);
static int  by_end(const void *a, const void *b);
static void copy_words(uint32_t *to, const uint32_t *from, uint32_t n);
static void put_on(const mask_core_t *core, const mask_set_t *set,
                   uint32_t *bits);
static void share_unlink(struct mask_shared_s *shared, mask_share_t *e);
static void share_first(struct mask_shared_s *shared, mask_share_t *e);
static void share_drop(struct mask_shared_s *shared, mask_share_t *e);


mask_set_t *
mask_set_base(mask_core_t *core, unsigned groups, uint32_t chars)
{
    mask_set_t *set, *old;
    size_t      i, k;

    pthread_mutex_lock(&core->lock);

    for (i = 0, k = 0; i < llm_countof(core->bases); i++) {
        if (core->bases[i].set && core->bases[i].groups == groups
            && core->bases[i].chars == chars) {
            core->bases[i].used = ++core->clock;
            set = core->bases[i].set;
            mask_set_hold(set);
            pthread_mutex_unlock(&core->lock);

            return set;
        }

        if (core->bases[i].used < core->bases[k].used) {
            k = i;
        }
    }

    set = base_new(core, groups, chars);
    old = NULL;

    if (set) {
        old = core->bases[k].set;
        core->bases[k].set = set;
        core->bases[k].groups = groups;
        core->bases[k].chars = chars;
        core->bases[k].used = ++core->clock;
        mask_set_hold(set);
    }

    pthread_mutex_unlock(&core->lock);
    mask_set_release(old);

    return set;
}


static mask_set_t *
base_new(mask_core_t *core, unsigned groups, uint32_t chars)
{
    mask_set_t     *set = calloc(1, sizeof(mask_set_t));
    const uint32_t *upto = core->upto[chars];
    uint32_t       *bits, i, g;

    bits = malloc(core->words * sizeof(uint32_t));

    if (set == NULL || bits == NULL) {
        free(set);
        free(bits);
        return NULL;
    }

    memset(bits, 0, core->words * sizeof(uint32_t));

    for (g = 0; g < MASK_GROUPS; g++) {
        if (!(groups >> g & 1)) {
            for (i = 0; i < core->words; i++) {
                bits[i] |= core->has[g][i];
            }
        }
    }

    for (i = 0; i < core->words; i++) {
        bits[i] = upto[i] & ~bits[i];
    }

    atomic_init(&set->refs, 1);
    set->bits = bits;
    set->bytes = sizeof(mask_set_t) + core->words * sizeof(uint32_t);

    return set;
}


mask_set_t *
mask_set_new(mask_core_t *core, mask_set_t *parent_take, mask_scratch_t *s,
             uint32_t n_groups)
{
    mask_set_t *set = calloc(1, sizeof(mask_set_t));

    if (set == NULL) {
        mask_set_release(parent_take);
        return NULL;
    }

    atomic_init(&set->refs, 1);
    set->parent = parent_take;
    set->bytes = sizeof(mask_set_t);
    set->n_groups = n_groups;
    set->n_cross = s->n_ends;
    set->first = calloc((size_t) n_groups + 1, sizeof(uint32_t));
    set->cross = malloc(((size_t) s->n_ends + 1) * sizeof(mask_cross_t));

    if (set->first == NULL || set->cross == NULL
        || set_lists(core, set, s) != 0) {
        mask_set_release(set);
        return NULL;
    }

    set_cross(set, s, n_groups);

    if (set_runs(core, set) != 0) {
        mask_set_release(set);
        return NULL;
    }

    set->bytes += s->n_ends * (sizeof(mask_cross_t) + sizeof(uint32_t));

    return set;
}


/* Tokens as a list, or as a mask of their own. */
static int
set_lists(mask_core_t *core, mask_set_t *set, mask_scratch_t *s)
{
    size_t   size = core->words * sizeof(uint32_t);
    uint32_t i;

    if (s->n_tokens + s->n_dels <= LONG_LIST(core)) {
        set->add = malloc((s->n_tokens + 1) * sizeof(uint32_t));
        set->del = malloc((s->n_dels + 1) * sizeof(uint32_t));

        if (set->add == NULL || set->del == NULL) {
            return -ENOMEM;
        }

        set->n_add = s->n_tokens;
        set->n_del = s->n_dels;

        if (s->n_tokens) {
            memcpy(set->add, s->tokens, s->n_tokens * sizeof(uint32_t));
        }
        if (s->n_dels) {
            memcpy(set->del, s->dels, s->n_dels * sizeof(uint32_t));
        }

        set->bytes += (s->n_tokens + s->n_dels) * sizeof(uint32_t);

        return 0;
    }

    set->bits = calloc(1, size);
    if (set->bits == NULL) {
        return -ENOMEM;
    }

    if (set->parent) {
        put_on(core, set->parent, set->bits);
    }

    for (i = 0; i < s->n_dels; i++) {
        set->bits[s->dels[i] / 32] &= ~(1u << (s->dels[i] % 32));
    }

    for (i = 0; i < s->n_tokens; i++) {
        mask_bit(set->bits, s->tokens[i]);
    }

    mask_set_release(set->parent);
    set->parent = NULL;
    set->bytes += size;

    return 0;
}


/* Group after group. */
static void
set_cross(mask_set_t *set, const mask_scratch_t *s, uint32_t n_groups)
{
    uint32_t i, k, n;

    for (i = 0; i < s->n_ends; i++) {
        set->first[s->ends[i].group]++;
    }

    for (i = 0, k = 0; i <= n_groups; i++) {
        n = set->first[i];
        set->first[i] = k;
        k += n;
    }

    for (i = 0; i < s->n_ends; i++) {
        k = set->first[s->ends[i].group]++;
        set->cross[k] = (mask_cross_t){s->ends[i].child, s->ends[i].end};
    }

    for (i = n_groups; i > 0; i--) {
        set->first[i] = set->first[i - 1];
    }

    set->first[0] = 0;

    /* By their ends, for groups whose ends must be told apart. */

    for (i = 0; i < n_groups && s->n_ends <= SORT_MOST; i++) {
        qsort(set->cross + set->first[i], set->first[i + 1] - set->first[i],
              sizeof(mask_cross_t), by_end);
    }
}


/* Children of each group by their bytes. */
static int
set_runs(const mask_core_t *core, mask_set_t *set)
{
    const mask_node_t *node = core->trie.node;
    uint32_t           count[256], g, i, b, n = 0, sum;

    set->nodes = malloc(((size_t) set->n_cross + 1) * sizeof(uint32_t));
    set->first_run = malloc(((size_t) set->n_groups + 1) * sizeof(uint32_t));
    sum = set->n_groups < UINT32_MAX / 256 ? set->n_groups * 256 : UINT32_MAX;
    sum = sum < set->n_cross ? sum : set->n_cross;
    set->runs = malloc(((size_t) sum + 1) * sizeof(mask_run_t));

    if (set->nodes == NULL || set->first_run == NULL || set->runs == NULL) {
        return -ENOMEM;
    }

    for (g = 0; g < set->n_groups; g++) {
        memset(count, 0, sizeof(count));
        set->first_run[g] = n;

        for (i = set->first[g]; i < set->first[g + 1]; i++) {
            count[node[set->cross[i].child].byte]++;
        }

        for (b = 0, sum = set->first[g]; b < 256; b++) {
            if (count[b]) {
                set->runs[n++] = (mask_run_t){sum, (uint8_t) b};
                sum += count[b];
                count[b] = sum - count[b];
            }
        }

        for (i = set->first[g]; i < set->first[g + 1]; i++) {
            set->nodes[count[node[set->cross[i].child].byte]++] =
                set->cross[i].child;
        }
    }

    set->first_run[g] = n;
    set->runs[n].first = set->n_cross;

    return 0;
}


static int
by_end(const void *a, const void *b)
{
    const mask_cross_t *x = a, *y = b;

    if (x->end != y->end) {
        return x->end < y->end ? -1 : 1;
    }

    return x->child < y->child ? -1 : x->child > y->child;
}


void
mask_set_hold(mask_set_t *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
}


void
mask_set_release(mask_set_t *set)
{
    mask_set_t *parent;

    for (; set; set = parent) {
        if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel)
            != 1) {
            return;
        }

        parent = set->parent;
        free(set->bits);
        free(set->add);
        free(set->del);
        free(set->cross);
        free(set->first);
        free(set->nodes);
        free(set->runs);
        free(set->first_run);
        free(set);
    }
}


void
mask_set_apply(const mask_core_t *core, const mask_set_t *set, uint32_t *bits,
               int first, mask_scratch_t *s)
{
    uint32_t i;

    if (first) {
        put_on(core, set, bits);
        return;
    }

    if (set->parent == NULL && set->bits == NULL) {
        for (i = 0; i < set->n_add; i++) {
            mask_bit(bits, set->add[i]);
        }

        return;
    }

    /* What it takes away may be another's. */

    if (set->bits == NULL) {
        put_on(core, set, s->bits);
    }

    for (i = 0; i < core->words; i++) {
        bits[i] |= set->bits ? set->bits[i] : s->bits[i];
    }
}


static void
put_on(const mask_core_t *core, const mask_set_t *set, uint32_t *bits)
{
    uint32_t i;

    if (set->bits) {
        copy_words(bits, set->bits, core->words);
        return;
    }

    if (set->parent) {
        put_on(core, set->parent, bits);
    } else {
        memset(bits, 0, core->words * sizeof(uint32_t));
    }

    for (i = 0; i < set->n_del; i++) {
        bits[set->del[i] / 32] &= ~(1u << (set->del[i] % 32));
    }

    for (i = 0; i < set->n_add; i++) {
        mask_bit(bits, set->add[i]);
    }
}


/*
 * Masks are as long as what memcpy() does with "rep movsb", which takes ten
 * times as long on some machines where the two are badly aligned.
 */
__attribute__((optimize("no-tree-loop-distribute-patterns"))) static void
copy_words(uint32_t *to, const uint32_t *from, uint32_t n)
{
    uint64_t a, b, c, d;
    uint32_t i;

    for (i = 0; i + 8 <= n; i += 8) {
        memcpy(&a, from + i, 8);
        memcpy(&b, from + i + 2, 8);
        memcpy(&c, from + i + 4, 8);
        memcpy(&d, from + i + 6, 8);
        memcpy(to + i, &a, 8);
        memcpy(to + i + 2, &b, 8);
        memcpy(to + i + 4, &c, 8);
        memcpy(to + i + 6, &d, 8);
    }

    for (; i < n; i++) {
        to[i] = from[i];
    }
}


mask_scratch_t *
mask_scratch_get(mask_core_t *core)
{
    mask_scratch_t *s;

    pthread_mutex_lock(&core->lock);

    s = core->scratch;

    if (s) {
        core->scratch = s->next;
    }

    pthread_mutex_unlock(&core->lock);

    if (s == NULL) {
        s = calloc(1, sizeof(mask_scratch_t));
        if (s == NULL) {
            return NULL;
        }

        s->bits = malloc(core->words * sizeof(uint32_t));
        if (s->bits == NULL) {
            free(s);
            return NULL;
        }
    }

    s->n_tokens = 0;
    s->n_dels = 0;
    s->n_ends = 0;
    s->n_forest = 0;
    s->n_states = 0;

    return s;
}


void
mask_scratch_put(mask_core_t *core, mask_scratch_t *s)
{
    pthread_mutex_lock(&core->lock);
    s->next = core->scratch;
    core->scratch = s;
    pthread_mutex_unlock(&core->lock);
}


int
mask_grow(void *list, uint32_t *cap, uint32_t n, size_t size)
{
    void   **at = list, *p;
    uint32_t want = *cap ? *cap : 256;

    while (want <= n) {
        if (want > UINT32_MAX / 4) {
            return -ENOMEM;
        }

        want *= 2;
    }

    p = realloc(*at, want * size);
    if (p == NULL) {
        return -ENOMEM;
    }

    *at = p;
    *cap = want;

    return 0;
}


mask_set_t *
mask_shared_find(mask_core_t *core, const mask_digest_t *digest)
{
    mask_share_t *e = NULL;
    mask_set_t   *set = NULL;

    pthread_mutex_lock(&core->lock);

    if (core->shared) {
        e = core->shared->lists[digest->lo % SHARED_LISTS];

        while (e
               && (e->digest.lo != digest->lo || e->digest.hi != digest->hi)) {
            e = e->next;
        }
    }

    if (e) {
        set = e->set;
        mask_set_hold(set);

        if (core->shared->newest != e) {
            share_unlink(core->shared, e);
            share_first(core->shared, e);
        }
    }

    pthread_mutex_unlock(&core->lock);

    return set;
}


void
mask_shared_add(mask_core_t *core, const mask_digest_t *digest, mask_set_t *set)
{
    struct mask_shared_s *shared;
    mask_share_t         *e = calloc(1, sizeof(mask_share_t));

    if (e == NULL) {
        return;
    }

    pthread_mutex_lock(&core->lock);

    if (core->shared == NULL) {
        core->shared = calloc(1, sizeof(struct mask_shared_s));
    }

    shared = core->shared;

    if (shared == NULL) {
        pthread_mutex_unlock(&core->lock);
        free(e);
        return;
    }

    /* Another may have been faster: the older one is found no more. */

    e->digest = *digest;
    e->set = set;
    mask_set_hold(set);
    e->next = shared->lists[digest->lo % SHARED_LISTS];
    shared->lists[digest->lo % SHARED_LISTS] = e;
    shared->bytes += set->bytes + sizeof(mask_share_t);
    share_first(shared, e);

    while (shared->bytes > SHARED_BYTES && shared->oldest != e) {
        share_drop(shared, shared->oldest);
    }

    pthread_mutex_unlock(&core->lock);
}


void
mask_shared_free(mask_core_t *core)
{
    if (core->shared) {
        while (core->shared->oldest) {
            share_drop(core->shared, core->shared->oldest);
        }

        free(core->shared);
    }
}


static void
share_unlink(struct mask_shared_s *shared, mask_share_t *e)
{
    if (e->newer) {
        e->newer->older = e->older;
    } else {
        shared->newest = e->older;
    }

    if (e->older) {
        e->older->newer = e->newer;
    } else {
        shared->oldest = e->newer;
    }
}


static void
share_first(struct mask_shared_s *shared, mask_share_t *e)
{
    e->newer = NULL;
    e->older = shared->newest;

    if (e->older) {
        e->older->newer = e;
    } else {
        shared->oldest = e;
    }

    shared->newest = e;
}


static void
share_drop(struct mask_shared_s *shared, mask_share_t *e)
{
    mask_share_t **at = &shared->lists[e->digest.lo % SHARED_LISTS];

    while (*at != e) {
        at = &(*at)->next;
    }

    *at = e->next;
    share_unlink(shared, e);
    shared->bytes -= e->set->bytes + sizeof(mask_share_t);
    mask_set_release(e->set);
    free(e);
}
