/*
 * The front part of a list of tokens in the order (logit falling, id rising):
 * by a number of tokens (top_k) or by their weight (top_p), without a sort.
 * For sampling, on any compute thread; all memory is the caller's.
 */

#ifndef LLM_KERNELS_CPU_SELECT_H
#define LLM_KERNELS_CPU_SELECT_H

#include <stdint.h>

#include "kernels/cpu/simd.h"


/* A list of tokens: ids rising, with keys and perhaps weights. */
typedef struct {
    uint32_t  n;
    uint32_t *ids;
    uint32_t *keys;
    float    *weights;
} k_list_t;


/* The list's keys from the logits x of its ids. */
void k_list_keys(k_list_t *list, const float *x);

/*
 * Keeps the shortest front part of the list, never empty, that counts or
 * weighs `target` or more; the whole list if none does.  Tokens that weigh
 * `sure` or more are known to belong to it (INFINITY: nothing is known), and
 * to weigh less than target together.  order: list->n words of scratch.
 */
void k_list_cut(k_list_t *list, double target, int by_weight, float sure,
                uint32_t *order);

/*
 * A logit that no fewer than k tokens reach, from the maxima of n slabs of
 * logits; as low as can be if k > n.  keys, order: n words of scratch.
 */
float k_bound(const float *maxima, uint32_t n, uint32_t k, uint32_t *keys,
              uint32_t *order);

/*
 * For the front part of n probabilities (the largest is 1) that weighs
 * target: raises *least as long as what reaches it weighs target or more, and
 * sets *sure to what does not.
 */
void k_narrow(const k_simd_t *simd, const float *probs, uint32_t n,
              double target, float *least, float *sure);

#endif /* LLM_KERNELS_CPU_SELECT_H */
