/*
 * The CUDA backend's memory: one cudaMalloc() at open, handed out from both
 * ends.  Any thread may call any of these; one lock guards the list, which
 * lies in host memory: no call here waits for the device.
 *
 * The low end is the matrices': a request follows the one before it directly
 * where there is room, so that the matrices of one product lie side by side;
 * else it takes the lowest range that fits.  The high end has the rest, from
 * the top down.  What is handed out is not cleared.
 *
 * Invariants: the list is sorted by offset; no two ranges touch; ranges are
 * multiples of CU_ALIGN; the sum of free ranges and of `used` is `size`.
 */

#include <errno.h>
#include <stdlib.h>

#include "kernels/cuda/cu.h"


typedef struct range_s range_t;

struct range_s {
    range_t *next;
    uint64_t off;
    uint64_t size;
};

struct cu_arena_s {
    pthread_mutex_t lock;
    uint8_t        *base; /* device memory */
    uint64_t        size;
    uint64_t        used;
    uint64_t        low; /* where the last low request ended */
    range_t        *free;
};


static uint64_t  round_up(uint64_t size);
static range_t **find_low(cu_arena_t *a, uint64_t size);
static range_t **find_high(cu_arena_t *a, uint64_t size);
static uint64_t  take(cu_arena_t *a, range_t **link, uint64_t off, uint64_t size, range_t **spare);


int
cu_arena_new(cu_arena_t **arena, uint64_t size)
{
    void       *base;
    cudaError_t rc;
    cu_arena_t *a;

    if (size < CU_ALIGN || size > (uint64_t) 1 << 46) {
        return -EINVAL;
    }

    a = calloc(1, sizeof(cu_arena_t));
    if (a == NULL) {
        return -ENOMEM;
    }

    a->size = size / CU_ALIGN * CU_ALIGN;
    a->free = calloc(1, sizeof(range_t));
    if (a->free == NULL) {
        free(a);
        return -ENOMEM;
    }
    a->free->size = a->size;

    rc = cudaMalloc(&base, a->size);
    if (rc != cudaSuccess) {
        free(a->free);
        free(a);

        /* How much there is, the caller says. */
        if (rc == cudaErrorMemoryAllocation) {
            (void) cudaGetLastError();
            return -ENOMEM;
        }
        return cu_check(rc, "cudaMalloc of the arena");
    }

    a->base = base;
    pthread_mutex_init(&a->lock, NULL);
    *arena = a;

    return 0;
}


void
cu_arena_free_all(cu_arena_t *a)
{
    range_t *r, *next;

    if (a == NULL) {
        return;
    }

    (void) cudaFree(a->base);

    for (r = a->free; r != NULL; r = next) {
        next = r->next;
        free(r);
    }

    pthread_mutex_destroy(&a->lock);
    free(a);
}


void *
cu_arena_alloc(cu_arena_t *a, uint64_t size, int high)
{
    uint64_t  off;
    range_t **link, *spare;

    if (size == 0 || size > a->size) {
        return NULL;
    }

    size = round_up(size);

    /* A range may fall in two. */
    spare = malloc(sizeof(range_t));
    if (spare == NULL) {
        return NULL;
    }

    pthread_mutex_lock(&a->lock);

    link = high ? find_high(a, size) : find_low(a, size);
    if (link == NULL) {
        pthread_mutex_unlock(&a->lock);
        free(spare);
        return NULL;
    }

    if (high) {
        off = (*link)->off + (*link)->size - size;
    } else {
        off = (*link)->off;
        if (a->low > off && a->low + size <= off + (*link)->size) {
            off = a->low;
        }
        a->low = off + size;
    }

    off = take(a, link, off, size, &spare);

    pthread_mutex_unlock(&a->lock);
    free(spare);

    return a->base + off;
}


void
cu_arena_free(cu_arena_t *a, void *p, uint64_t size)
{
    uint64_t off;
    range_t *prev, *next, *spare;

    if (p == NULL) {
        return;
    }

    size = round_up(size);
    off = (uint64_t) ((uint8_t *) p - a->base);
    spare = malloc(sizeof(range_t));

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
        *spare = (range_t){.next = next, .off = off, .size = size};
        if (prev != NULL) {
            prev->next = spare;
        } else {
            a->free = spare;
        }
        spare = NULL;

    } else {
        /* No node: the range is lost until close. */
        a->used += size;
    }

    /* What comes next fills the holes. */
    a->low = 0;

    pthread_mutex_unlock(&a->lock);
    free(spare);
}


void
cu_arena_stat(cu_arena_t *a, uint64_t *size, uint64_t *used, uint64_t *largest)
{
    uint64_t most;
    range_t *r;

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
round_up(uint64_t size)
{
    return (size + CU_ALIGN - 1) & ~(uint64_t) (CU_ALIGN - 1);
}


/* The range that holds a->low, if there is room behind that; or the lowest. */
static range_t **
find_low(cu_arena_t *a, uint64_t size)
{
    range_t *r, **link, **first;

    first = NULL;

    for (link = &a->free; *link != NULL; link = &(*link)->next) {
        r = *link;
        if (a->low >= r->off && a->low + size <= r->off + r->size) {
            return link;
        }
        if (first == NULL && r->size >= size) {
            first = link;
        }
    }

    return first;
}


/* The highest that fits. */
static range_t **
find_high(cu_arena_t *a, uint64_t size)
{
    range_t **link, **last;

    last = NULL;

    for (link = &a->free; *link != NULL; link = &(*link)->next) {
        if ((*link)->size >= size) {
            last = link;
        }
    }

    return last;
}


/* [off, off + size) leaves the range; what is left of it, before and behind. */
static uint64_t
take(cu_arena_t *a, range_t **link, uint64_t off, uint64_t size, range_t **spare)
{
    uint64_t before, behind;
    range_t *r;

    r = *link;
    before = off - r->off;
    behind = r->size - before - size;
    a->used += size;

    if (before == 0 && behind == 0) {
        *link = r->next;
        free(r);

    } else if (before == 0) {
        r->off += size;
        r->size = behind;

    } else {
        r->size = before;

        if (behind != 0) {
            **spare = (range_t){.next = r->next, .off = off + size, .size = behind};
            r->next = *spare;
            *spare = NULL;
        }
    }

    return off;
}
