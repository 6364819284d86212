/*
 * The prefix cache: which pages hold which tokens.  A cached page is known by
 * its parent (the page with the tokens before it; none for the first page,
 * whose salt counts then) and its own tokens; all are compared on a hit, so a
 * hash only says where to look.  A parent's number stays valid because a page
 * never goes before its children do (pages.c).
 *
 * Two indexes: whole pages by everything, for walking down a prompt; and all
 * pages by parent and first token, for the page that shares most with what is
 * left (its tokens are copied, not shared).  A page that was not full when
 * its sequence ended is in the second only.
 *
 * Threads: the step loop's.
 */

#include "engine/sched/sched_priv.h"

static uint64_t prefix_hash(const sched_pages_t *p, uint32_t parent,
                            const uint8_t *salt, const int32_t *tokens,
                            uint32_t n);
static uint32_t prefix_bucket(const sched_pages_t *p, uint32_t parent,
                              const uint8_t *salt, int32_t token);
static int      prefix_of(const sched_page_t *g, uint32_t parent,
                          const uint8_t *salt);
static uint64_t prefix_mix(uint64_t h, uint64_t x);


/* The page that holds just these K_PAGE_TOKENS tokens, or SCHED_NONE. */

uint32_t
sched_prefix_find(sched_pages_t *p, uint32_t parent, const uint8_t *salt,
                  const int32_t *tokens)
{
    const sched_page_t *g;
    uint64_t            hash;
    uint32_t            page;

    hash = prefix_hash(p, parent, salt, tokens, K_PAGE_TOKENS);
    page = p->full[hash & p->mask];

    while (page != SCHED_NONE) {
        g = &p->pages[page];

        if (g->hash == hash && prefix_of(g, parent, salt)
            && memcmp(g->tokens, tokens, sizeof(g->tokens)) == 0) {
            break;
        }

        page = g->full_next;
    }

    return page;
}


/* The page whose first *len tokens are these, *len <= n as long as can be. */

uint32_t
sched_prefix_part(sched_pages_t *p, uint32_t parent, const uint8_t *salt,
                  const int32_t *tokens, uint32_t n, uint32_t *len)
{
    const sched_page_t *g;
    uint32_t            page, best, same, looked;

    best = SCHED_NONE;
    *len = 0;

    if (n == 0) {
        return best;
    }

    page = p->part[prefix_bucket(p, parent, salt, tokens[0])];

    for (looked = 0; page != SCHED_NONE && looked < SCHED_SCAN_MAX; looked++) {
        g = &p->pages[page];

        if (prefix_of(g, parent, salt)) {
            for (same = 0; same < n && same < g->n; same++) {
                if (g->tokens[same] != tokens[same]) {
                    break;
                }
            }

            if (same > *len) {
                *len = same;
                best = page;
            }

            if (same == n) {
                break;
            }
        }

        page = g->part_next;
    }

    return best;
}


/*
 * Makes a page known that holds n tokens.  Another page may hold them already:
 * then nothing changes and that one's number is returned.
 */

uint32_t
sched_prefix_add(sched_pages_t *p, uint32_t page, uint32_t parent,
                 const uint8_t *salt, const int32_t *tokens, uint32_t n)
{
    sched_page_t *g = &p->pages[page];
    uint32_t      other, len, *bucket;

    if (n == K_PAGE_TOKENS) {
        other = sched_prefix_find(p, parent, salt, tokens);
        if (other != SCHED_NONE) {
            return other;
        }

    } else {
        other = sched_prefix_part(p, parent, salt, tokens, n, &len);
        if (len == n) {
            return other;
        }
    }

    g->state = SCHED_PAGE_CACHED;
    g->parent = parent;
    g->n = n;
    memcpy(g->salt, salt, sizeof(g->salt));
    memcpy(g->tokens, tokens, n * sizeof(int32_t));

    if (n == K_PAGE_TOKENS) {
        g->hash = prefix_hash(p, parent, salt, tokens, n);
        bucket = &p->full[g->hash & p->mask];
        g->full_next = *bucket;
        *bucket = page;
    }

    bucket = &p->part[prefix_bucket(p, parent, salt, tokens[0])];
    g->part_prev = SCHED_NONE;
    g->part_next = *bucket;

    if (*bucket != SCHED_NONE) {
        p->pages[*bucket].part_prev = page;
    }

    *bucket = page;

    return page;
}


void
sched_prefix_forget(sched_pages_t *p, uint32_t page)
{
    sched_page_t *g = &p->pages[page];
    uint32_t     *link;

    if (g->n == K_PAGE_TOKENS) {
        link = &p->full[g->hash & p->mask];
        while (*link != page) {
            link = &p->pages[*link].full_next;
        }

        *link = g->full_next;
    }

    if (g->part_prev != SCHED_NONE) {
        p->pages[g->part_prev].part_next = g->part_next;
    } else {
        p->part[prefix_bucket(p, g->parent, g->salt, g->tokens[0])] =
            g->part_next;
    }

    if (g->part_next != SCHED_NONE) {
        p->pages[g->part_next].part_prev = g->part_prev;
    }
}


static int
prefix_of(const sched_page_t *g, uint32_t parent, const uint8_t *salt)
{
    return g->parent == parent
           && (parent != SCHED_NONE
               || memcmp(g->salt, salt, sizeof(g->salt)) == 0);
}


static uint64_t
prefix_hash(const sched_pages_t *p, uint32_t parent, const uint8_t *salt,
            const int32_t *tokens, uint32_t n)
{
    uint64_t h, half[2];
    uint32_t i;

    h = prefix_mix(p->key, parent);

    if (parent == SCHED_NONE) {
        memcpy(half, salt, sizeof(half));
        h = prefix_mix(prefix_mix(h, half[0]), half[1]);
    }

    for (i = 0; i < n; i++) {
        h = prefix_mix(h, (uint32_t) tokens[i]);
    }

    return h;
}


static uint32_t
prefix_bucket(const sched_pages_t *p, uint32_t parent, const uint8_t *salt,
              int32_t token)
{
    return (uint32_t) prefix_hash(p, parent, salt, &token, 1) & p->mask;
}


static uint64_t
prefix_mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15ull;

    return h ^ h >> 29;
}
