/*
 * The CPU backend's arena: one mapping, reserved at open, out of which come
 * weights, KV pages and scratch.  Its pages are touched only when used, and
 * a freed range is given back to the system.
 *
 * Ranges are whole 4 KiB pages.  Free ranges stand in a list by address, with
 * neighbours joined, so freeing everything leaves one range.  The list's nodes
 * come from malloc(): the arena is not used while a step runs.
 *
 * Any thread may call any of these; one lock guards the list.
 */

#ifndef LLM_KERNELS_CPU_ARENA_H
#define LLM_KERNELS_CPU_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct k_arena_s k_arena_t;


/* Reserves size bytes (rounded up to pages).  -ENOMEM or -EINVAL. */
int  k_arena_new(k_arena_t **arena, uint64_t size);
void k_arena_destroy(k_arena_t *arena);

/*
 * size bytes, aligned to 4 KiB, filled with zeros.  NULL: does not fit.  The
 * caller owns them and gives the same size to k_arena_free().
 */
void *k_arena_alloc(k_arena_t *arena, uint64_t size);
void  k_arena_free(k_arena_t *arena, void *p, uint64_t size);

/* Bytes in all, bytes handed out, largest range that is free. */
void k_arena_stat(k_arena_t *arena, uint64_t *size, uint64_t *used,
                  uint64_t *largest);

#endif /* LLM_KERNELS_CPU_ARENA_H */
