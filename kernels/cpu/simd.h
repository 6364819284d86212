/*
 * What the CPU backend does beside matrix products, a table for each ISA:
 * the scalar one is the reference, the others are the same text (simd_*.inc)
 * over vectors of 8 and 16 floats.
 *
 * Within one ISA the bits of a result depend on the arguments only, for
 * norms on n, for attention on absolute positions.  Pointers need no
 * alignment but that of their type.  No function allocates or keeps state.
 */

#ifndef LLM_KERNELS_CPU_SIMD_H
#define LLM_KERNELS_CPU_SIMD_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"

#define K_SLAB 64 /* logits that share a maximum and a sum in sampling */


/*
 * One tile of attention: `pairs` pairs of (row, query head) that share a KV
 * head and walk over pages.  Pair p is row p / group, head p % group of the
 * group; rows are neighbours in position.  m, l, o are the online softmax:
 * largest score, sum of exp(score - m), sum of exp(score - m) * v.
 *
 * A page's tile, for one layer and KV head, in F16 (or, for the reference
 * mode, F32):
 *
 *     K  [head_dim][32]   transposed: a vector holds tokens
 *     V  [32][hd_pad]     hd_pad: head_dim up to a multiple of 16
 */
typedef struct {
    uint32_t head_dim;
    uint32_t hd_pad;
    uint32_t pairs;
    uint32_t group;
    uint32_t pos;    /* of row 0 */
    uint32_t window; /* 0: all */
    int      f32;    /* pages hold F32 */
    float    cap;    /* 0: none */
    float   *q;      /* [pairs][head_dim], times scale */
    float   *s;      /* [pairs][32] scratch */
    float   *o;      /* [pairs][hd_pad] */
    float   *m;      /* [pairs], with room for 15 more */
    float   *l;      /* [pairs] */
    float   *top;    /* [pairs] scratch, with room for 15 more */
    float   *kf;     /* [head_dim][32] scratch */
    float   *vf;     /* [32][hd_pad] scratch */
} k_attn_t;


typedef struct {
    /* out = x * rsqrt(mean(x^2) + eps) * w; w may be NULL; out may be x. */
    void (*norm)(float *out, const float *x, const float *w, uint32_t n,
                 float eps);

    /* out += x * mul */
    void (*mad)(float *out, const float *x, float mul, uint32_t n);

    /* h = act(h) * u, see k_fn_t */
    void (*act)(k_fn_t fn, float *h, const float *u, uint32_t n);

    /* x = cap(x * scale); cap 0: none */
    void (*scale)(float *x, uint32_t n, float scale, float cap);

    /*
     * Rotates n_rot elements.  cs: n_rot cosines, n_rot sines; for pairs each
     * stands twice and the first sine is negative; for halves n_rot / 2 count.
     */
    void (*rope)(float *x, uint32_t n_rot, k_rope_t mode, const float *cs);

    /* To F16, nearest even; beyond its range the largest, NaN stays. */
    void (*half)(uint16_t *out, const float *x, uint32_t n);

    /*
     * Takes a page's tile into m, l, o.  base: position of its token 0.  Reads
     * V of visible tokens only (and of those before the last visible one).
     */
    void (*attn_page)(const k_attn_t *a, const void *k, const void *v,
                      uint32_t base);

    /*
     * (m, l, o) and (m2, l2, o2), each of one pair, into the first.  l = 0:
     * nothing is there yet, m and o count for nothing.  n: hd_pad.
     */
    void (*attn_merge)(float *m, float *l, float *o, float m2, float l2,
                       const float *o2, uint32_t n);

    /*
     * Sampling, over n logits.  blocks: the maximum of each block of K_SLAB
     * into max; returns 1 if all x are finite or -infinity.  mask: x of tokens
     * that are not allowed becomes -infinity.  exps: out = exp((x - max) * t)
     * and the sum of each block into sum.  collect: ids of x >= least, rising;
     * returns their number.  above: the sum of all x >= least, within a
     * relative 1e-6.
     */
    int (*blocks)(const float *x, uint32_t n, float *max);
    void (*mask)(float *x, uint32_t n, const uint32_t *mask);
    void (*exps)(float *out, const float *x, uint32_t n, float max, float t,
                 float *sum);
    uint32_t (*collect)(const float *x, uint32_t n, float least, uint32_t *ids);
    double (*above)(const float *x, uint32_t n, float least);
} k_simd_t;


extern const k_simd_t k_simd_scalar;
extern const k_simd_t k_simd_avx2;
extern const k_simd_t k_simd_avx512;

const k_simd_t *k_simd_table(k_isa_t isa);

/* F16, F32 and BF16 one by one. */
uint16_t k_half(float x);
float    k_float(uint16_t h);

#endif /* LLM_KERNELS_CPU_SIMD_H */
