/*
 * The compute pool: `n` threads, of which the caller of k_pool_run() is one.
 *
 *     k_pool_run(pool, fn, arg)     fn(arg, 0) here, fn(arg, 1..n-1) in the
 *                                   workers; returns when all are done
 *     k_pool_barrier(pool)          inside fn: all have arrived
 *     k_pool_meet(pool, fn, arg, i) a barrier; the last to arrive calls
 *                                   fn(arg, i) first, i being its number:
 *                                   for what is too small to be shared
 *     k_pool_next(pool)             inside fn: 0, 1, 2, ... each number once,
 *                                   from 0 again after every barrier
 *
 * Every thread calls the same barriers.  A waiting thread spins for 20 us at
 * most, then sleeps on a futex: on a machine with few cores a spinning pool
 * delays everybody else by milliseconds.  Between runs workers sleep and cost
 * nothing.  One k_pool_run() at a time; it allocates nothing.
 *
 * What is written before a barrier is seen by all after it.
 */

#ifndef LLM_KERNELS_CPU_THREADS_H
#define LLM_KERNELS_CPU_THREADS_H

#include <stdint.h>

#define K_POOL_MAX 256

typedef struct k_pool_s k_pool_t;

typedef void (*k_pool_fn_t)(void *arg, uint32_t thread);


/* n: 0 is one per physical core.  nice: of the workers.  -errno. */
int  k_pool_new(k_pool_t **pool, uint32_t n, int nice);
void k_pool_destroy(k_pool_t *pool);

uint32_t k_pool_size(const k_pool_t *pool);
void     k_pool_run(k_pool_t *pool, k_pool_fn_t fn, void *arg);
void     k_pool_barrier(k_pool_t *pool);
void k_pool_meet(k_pool_t *pool, k_pool_fn_t fn, void *arg, uint32_t thread);
uint32_t k_pool_next(k_pool_t *pool);

/*
 * Physical cores that this process may use: those of its affinity mask, no
 * more than its control group's CPU quota; at least 1.
 */
uint32_t k_cores(void);

#endif /* LLM_KERNELS_CPU_THREADS_H */
