/*
 * The host's side of sampling: requests to the device, kernels, results back.
 * One drawer belongs to one exec and is used by its thread (the step loop's).
 *
 * There are two pinned blocks (`parity` 0 and 1), so that two steps may be
 * under way, and ONE block on the device: run() takes the same pointers for
 * every step, and one captured graph serves both parities.  A step is
 *
 *     put(parity, ...)    checks, fills pinned block `parity`, enqueues its
 *                         upload on copy_stream (any stream), records
 *                         `uploaded` behind it
 *     run(...)            kernels; may be captured.  The stream must have
 *                         waited for `uploaded` and for the logits
 *     fetch(parity, ...)  not captured: enqueues the copy of the results to
 *                         pinned memory, and marks the device's block as free
 *     take(parity, ...)   once the stream is known to be past the fetch
 *
 * in this order for each step; put() of the next step may come right after
 * fetch() of this one: its upload waits on the device until this step's draws
 * are done, which is before the next step's forward pass begins.  A pinned
 * block may be put again after its take().
 *
 * CAPACITY.  Everything is allocated by new(): max_draws draws, each with a
 * mask, CU_DRAW_COUNTS counts and CU_DRAW_BIAS biases each on average, and no
 * less than one draw with the whole vocabulary in both.  Requests beyond that
 * make put() answer -E2BIG; then rounds() does the step's draws instead of
 * put() and run(), several at a time, and waits in between: slow, and right.
 *
 * A draw whose lists name a token twice is done as the CPU does it, entry by
 * entry, by one thread: slow, and right.
 */

#ifndef LLM_KERNELS_CUDA_DRAW_H
#define LLM_KERNELS_CUDA_DRAW_H

#include "kernels/cuda/cu.h"

#define CU_DRAW_COUNTS 2048
#define CU_DRAW_BIAS   64

typedef struct cu_drawer_s cu_drawer_t;

/* -ENOMEM, -EIO, -EINVAL (n_vocab beyond what kernels do) with a line in err.
   Device memory comes from the arena's high end. */
int  cu_draw_new(k_backend_t *be, uint32_t max_draws, uint32_t n_vocab, cu_drawer_t **draw,
                 char *err);
void cu_draw_free(cu_drawer_t *draw); /* nothing is under way; or NULL */

/* Bytes of device and of pinned memory that new() takes: for the plan. */
uint64_t cu_draw_size(uint32_t max_draws, uint32_t n_vocab, uint64_t *pinned);

/*
 * Requests may change after it.  -EINVAL: one is out of range (n_logits: rows
 * of logits that there are), nothing was enqueued; -E2BIG: see CAPACITY,
 * nothing was enqueued; -EIO.  n may be 0.  `uploaded` may be NULL where
 * copy_stream is the stream of run().
 */
int cu_draw_put(cu_drawer_t *draw, uint32_t parity, uint32_t n, const k_sample_t *req,
                uint32_t n_logits, cudaStream_t copy_stream, cudaEvent_t uploaded);

/* l: [rows][ld] on the device.  Draws up to `bucket` (>= n, <= max_draws). */
int cu_draw_run(cu_drawer_t *draw, const float *l, uint32_t ld, uint32_t bucket,
                cudaStream_t stream);

int cu_draw_fetch(cu_drawer_t *draw, uint32_t parity, uint32_t n, cudaStream_t stream);

void cu_draw_take(cu_drawer_t *draw, uint32_t parity, uint32_t n, k_sampled_t *out);

/*
 * After put() said -E2BIG: all n draws in as many rounds as it takes, behind
 * what `stream` has to do; waits for them.  The results are where fetch()
 * would have put them, and in drawn(): take() next.  -EINVAL: as put(); and one
 * request's lists alone are too much, which only tokens named twice can do.
 */
int cu_draw_rounds(cu_drawer_t *draw, uint32_t parity, uint32_t n, const k_sample_t *req,
                   uint32_t n_logits, const float *l, uint32_t ld, cudaStream_t stream);

/* [max_draws] on the device: what the last step has drawn, 0 for -1; for
   cu_step_t.  Stays as it is until the next run(). */
const int32_t *cu_draw_drawn(const cu_drawer_t *draw);

#endif /* LLM_KERNELS_CUDA_DRAW_H */
