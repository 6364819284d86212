/*
 * KV pages of one model: who uses which, and which one goes next.  A page is
 * free, or filled by one sequence, or holds a cached prefix that any number
 * of sequences read; cached pages that nobody uses stand in a list, the least
 * recently used first, and count as free.
 *
 * The list's order keeps this: a page never stands before a cached page that
 * continues it (its child), because whoever uses a child uses its parents, and
 * pages are dropped from the last to the first.  So the first of the list has
 * no children and can go.
 *
 * Threads: the step loop's; made by a loader's.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include "engine/sched/sched_priv.h"

static void page_unlink(sched_pages_t *p, uint32_t page);
static void page_append(sched_pages_t *p, uint32_t page);


int
sched_pages_new(sched_pages_t *p, uint32_t n)
{
    uint32_t i, buckets;

    for (buckets = 64; buckets < n && buckets < 1u << 30; buckets *= 2) {
        /* void */
    }

    p->n = n;
    p->mask = buckets - 1;
    p->pages = calloc(n, sizeof(sched_page_t));
    p->full = malloc(buckets * sizeof(uint32_t));
    p->part = malloc(buckets * sizeof(uint32_t));

    if (p->pages == NULL || p->full == NULL || p->part == NULL) {
        sched_pages_free(p);
        return -ENOMEM;
    }

    if (getrandom(&p->key, sizeof(p->key), 0) != sizeof(p->key)) {
        sched_pages_free(p);
        return -EIO;
    }

    memset(p->full, 0xff, buckets * sizeof(uint32_t));
    memset(p->part, 0xff, buckets * sizeof(uint32_t));
    p->lru_first = SCHED_NONE;
    p->lru_last = SCHED_NONE;
    p->free = SCHED_NONE;

    for (i = n; i-- > 0; /* void */) {
        p->pages[i].next = p->free;
        p->free = i;
    }

    p->n_free = n;

    return 0;
}


void
sched_pages_free(sched_pages_t *p)
{
    free(p->pages);
    free(p->full);
    free(p->part);
    p->pages = NULL;
    p->full = NULL;
    p->part = NULL;
}


/* A page for one sequence to fill: a free one, else the oldest cached one. */

uint32_t
sched_page_take(sched_pages_t *p)
{
    uint32_t page;

    if (p->free != SCHED_NONE) {
        page = p->free;
        p->free = p->pages[page].next;
        p->n_free--;

    } else if (p->lru_first != SCHED_NONE) {
        page = p->lru_first;
        page_unlink(p, page);
        sched_prefix_forget(p, page);

    } else {
        return SCHED_NONE;
    }

    p->pages[page].state = SCHED_PAGE_USED;
    p->pages[page].refs = 1;

    return page;
}


void
sched_page_hold(sched_pages_t *p, uint32_t page)
{
    if (p->pages[page].refs++ == 0) {
        page_unlink(p, page);
    }
}


void
sched_page_drop(sched_pages_t *p, uint32_t page)
{
    sched_page_t *g = &p->pages[page];

    if (--g->refs > 0) {
        return;
    }

    if (g->state == SCHED_PAGE_CACHED) {
        page_append(p, page);
        return;
    }

    g->state = SCHED_PAGE_FREE;
    g->next = p->free;
    p->free = page;
    p->n_free++;
}


static void
page_unlink(sched_pages_t *p, uint32_t page)
{
    sched_page_t *g = &p->pages[page];

    if (g->prev != SCHED_NONE) {
        p->pages[g->prev].next = g->next;
    } else {
        p->lru_first = g->next;
    }

    if (g->next != SCHED_NONE) {
        p->pages[g->next].prev = g->prev;
    } else {
        p->lru_last = g->prev;
    }

    p->n_lru--;
}


static void
page_append(sched_pages_t *p, uint32_t page)
{
    sched_page_t *g = &p->pages[page];

    g->prev = p->lru_last;
    g->next = SCHED_NONE;

    if (p->lru_last != SCHED_NONE) {
        p->pages[p->lru_last].next = page;
    } else {
        p->lru_first = page;
    }

    p->lru_last = page;
    p->n_lru++;
}
