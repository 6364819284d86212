/*
 * The CPU backend's arena, see arena.h.
 *
 * Called by the loader's thread and by the step loop outside of steps.  The
 * mapping is private and anonymous, not reserved in swap and not prefaulted;
 * huge pages are asked for, as weights and KV tiles are read in streams.
 *
 * Invariants: the list is sorted by offset; no two ranges touch; ranges hold
 * whole pages; the sum of free ranges and of `used` is `size`.
 *
 * In a build with AddressSanitizer what is free is poisoned, and so is the
 * rest of a range's last page.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kernels/cpu/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define k_poison(p, n)   __asan_poison_memory_region(p, n)
#define k_unpoison(p, n) __asan_unpoison_memory_region(p, n)
#else
#define k_poison(p, n)   ((void) (p), (void) (n))
#define k_unpoison(p, n) ((void) (p), (void) (n))
#endif

#define K_ARENA_PAGE 4096u
#define K_ARENA_HUGE (2u << 20)


typedef struct k_range_s k_range_t;

struct k_range_s {
    k_range_t *next;
    uint64_t   off;
    uint64_t   size;
};

struct k_arena_s {
    pthread_mutex_t lock;
    uint8_t        *base; /* aligned to a huge page */
    void           *map;
    size_t          map_size;
    uint64_t        size;
    uint64_t        used;
    k_range_t      *free;
};


static uint64_t k_arena_round(uint64_t size);


int
k_arena_new(k_arena_t **arena, uint64_t size)
{
    uintptr_t  p;
    k_arena_t *a;

    if (size == 0 || size > (uint64_t) 1 << 46) {
        return -EINVAL;
    }

    a = calloc(1, sizeof(k_arena_t));
    if (a == NULL) {
        return -ENOMEM;
    }

    a->size = k_arena_round(size);
    a->map_size = a->size + K_ARENA_HUGE;

    a->free = calloc(1, sizeof(k_range_t));
    if (a->free == NULL) {
        free(a);
        return -ENOMEM;
    }
    a->free->size = a->size;

    a->map = mmap(NULL, a->map_size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (a->map == MAP_FAILED) {
        free(a->free);
        free(a);
        return -ENOMEM;
    }

    p = ((uintptr_t) a->map + K_ARENA_HUGE - 1)
        & ~((uintptr_t) K_ARENA_HUGE - 1);
    a->base = (uint8_t *) p;

    /* Advice only: a system without huge pages serves as well. */
    (void) madvise(a->base, a->size, MADV_HUGEPAGE);
    (void) madvise(a->base, a->size, MADV_DONTDUMP);
    k_poison(a->base, a->size);

    pthread_mutex_init(&a->lock, NULL);
    *arena = a;

    return 0;
}


void
k_arena_destroy(k_arena_t *a)
{
    k_range_t *r, *next;

    if (a == NULL) {
        return;
    }

    k_unpoison(a->base, a->size);
    munmap(a->map, a->map_size);

    for (r = a->free; r != NULL; r = next) {
        next = r->next;
        free(r);
    }

    pthread_mutex_destroy(&a->lock);
    free(a);
}


void *
k_arena_alloc(k_arena_t *a, uint64_t size)
{
    void      *p;
    uint64_t   want;
    k_range_t *r, **link, **best;

    if (size == 0 || size > a->size) {
        return NULL;
    }

    want = k_arena_round(size);
    best = NULL;

    pthread_mutex_lock(&a->lock);

    /* The smallest that fits keeps large ranges whole for KV pools. */
    for (link = &a->free; *link != NULL; link = &(*link)->next) {
        if ((*link)->size < want) {
            continue;
        }
        if (best == NULL || (*link)->size < (*best)->size) {
            best = link;
        }
    }

    if (best == NULL) {
        pthread_mutex_unlock(&a->lock);
        return NULL;
    }

    r = *best;
    p = a->base + r->off;
    r->off += want;
    r->size -= want;
    a->used += want;

    if (r->size == 0) {
        *best = r->next;
        free(r);
    }

    pthread_mutex_unlock(&a->lock);
    k_unpoison(p, size);

    return p;
}


void
k_arena_free(k_arena_t *a, void *ptr, uint64_t size)
{
    uint64_t   off;
    k_range_t *r, *prev, *next, *spare;

    if (ptr == NULL) {
        return;
    }

    size = k_arena_round(size);
    off = (uint64_t) ((uint8_t *) ptr - a->base);

    /* Zeroes as well: the next owner finds what k_arena_alloc() promises. */
    k_unpoison(ptr, size);
    (void) madvise(ptr, size, MADV_DONTNEED);
    k_poison(ptr, size);

    spare = malloc(sizeof(k_range_t));

    pthread_mutex_lock(&a->lock);

    prev = NULL;
    for (next = a->free; next != NULL && next->off < off; next = next->next) {
        prev = next;
    }

    a->used -= size;

    if (prev != NULL && prev->off + prev->size == off) {
        prev->size += size;

        if (next != NULL && prev->off + prev->size == next->off) {
            prev->size += next->size;
            prev->next = next->next;
            free(next);
        }

    } else if (next != NULL && off + size == next->off) {
        next->off = off;
        next->size += size;

    } else if (spare != NULL) {
        r = spare;
        spare = NULL;
        r->off = off;
        r->size = size;
        r->next = next;
        if (prev != NULL) {
            prev->next = r;
        } else {
            a->free = r;
        }

    } else {
        /* No node: the range is lost, its memory is with the system. */
        a->used += size;
    }

    pthread_mutex_unlock(&a->lock);
    free(spare);
}


void
k_arena_stat(k_arena_t *a, uint64_t *size, uint64_t *used, uint64_t *largest)
{
    uint64_t   most;
    k_range_t *r;

    most = 0;
    pthread_mutex_lock(&a->lock);

    for (r = a->free; r != NULL; r = r->next) {
        most = r->size > most ? r->size : most;
    }

    *size = a->size;
    *used = a->used;
    *largest = most;

    pthread_mutex_unlock(&a->lock);
}


static uint64_t
k_arena_round(uint64_t size)
{
    return (size + K_ARENA_PAGE - 1) & ~(uint64_t) (K_ARENA_PAGE - 1);
}
