/*
 * Matrix products of the CPU backend: weights [rows = outputs N][cols =
 * inputs K] in one of GGUF's formats, repacked once at load; activations
 * quantised to int8 a step; out[m][n] = sum over k of x[m][k] * w[n][k].
 *
 * HOW TO USE IT
 *
 *     at load    k_isa_resolve(conf->isa, &isa)
 *                size = k_matrix_size(type, isa, rows, cols)
 *                k_matrix_init(&w, type, isa, rows, cols, mem)
 *                k_matrix_pack(&w, src, from, to)  (in pieces, any thread)
 *     a step     k_act_init(&a, mode, mem, rows, cols, x, ld)
 *                k_act_quantize(&a, isa, from, to) (threads share the rows)
 *                -- barrier --
 *                k_gemm(&w, &a, 0, rows, n_from, n_to, out, ld, bias, flags)
 *                                                  (threads share n)
 *
 * One activation (the normed row, say) serves any number of matrices of the
 * same K (q, k, v; gate, up), whatever their types.  A thread may as well
 * have an activation of its own and quantise a single row for itself: for
 * M = 1 that is cheaper than a barrier.
 *
 * DETERMINISM.  The bits of an output element depend on its row of x and its
 * row of w only: not on the number of rows M, not on the slices (m or n), not
 * on the threads; and not on the ISA either: every ISA does the same
 * operations in the same order.  In integers, for each block b of 32 in
 * rising order:
 *
 *     S    = sum of w[k] * q[k]             exact, w: the format's integer
 *     acc  = fma(min[b], d[b] * sum of q[k], acc)   formats with a minimum
 *     acc  = fma(S, scale[b] * d[b], acc)           d: the activation's scale
 *
 * Formats with scales of 16 (Q2_K, Q3_K, Q6_K) apply them, which are
 * integers, within S, and the scale of the 256 to that: see gemm_kernel.h.
 * With f32 activations: acc = fma(w[k], x[k], acc) for rising k, w[k] as GGUF
 * defines it in f32.
 *
 * Not finite numbers are never undefined behaviour: a block of x with a NaN
 * or an infinity gives NaN; scales of w that are not finite give NaN or
 * infinities in their own outputs.
 *
 * Errors are -errno.  No function allocates, locks or keeps anything.
 */

#ifndef LLM_KERNELS_CPU_GEMM_H
#define LLM_KERNELS_CPU_GEMM_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"

#define K_ALIGN 64 /* of every piece of memory that the caller supplies */


typedef struct k_gemm_ops_s k_gemm_ops_t; /* one ISA's kernels */

/*
 * A packed matrix.  Plain data: copy it freely; the memory stays the
 * caller's and is read only after packing.
 */
typedef struct {
    const k_gemm_ops_t *ops;
    uint8_t            *data;
    k_type_t            type;
    k_isa_t             isa;
    uint32_t            rows;   /* N */
    uint32_t            cols;   /* K */
    uint32_t            lanes;  /* rows that are interleaved: 8 or 16 */
    uint32_t            record; /* bytes of a K block of `lanes` rows */
    size_t              group;  /* bytes of `lanes` rows */
} k_matrix_t;


/* 32 activations of one row: x = d * q. */
typedef struct {
    int8_t  q[32];
    float   d;
    float   dsum; /* d * the sum of q, rounded */
    int32_t sum8; /* 8 * the sum of q: what an offset of 8 comes to */
    int16_t h[2]; /* sums of q's halves */
} k_q8_t;


/* Activations: M rows of K.  Plain data. */
typedef struct {
    k_act_mode_t mode;
    uint32_t     rows; /* M */
    uint32_t     cols; /* K */
    uint32_t     tile; /* rows that lie together in q */
    k_q8_t      *q;    /* [rows / tile][K / 32][tile]: the caller's memory */
    const float *x;    /* [rows][ld]: borrowed while the activation is used */
    size_t       ld;
} k_act_t;


/* Flags of k_gemm(). */
#define K_GEMM_ADD 0x01 /* out += product (+ bias), instead of out = */


/*
 * The best ISA that this CPU has and this build knows; never K_ISA_AUTO.
 */
k_isa_t k_isa_detect(void);

/*
 * What is wanted (K_ISA_AUTO: the best) against what there is.  0, or
 * -ENOTSUP if the CPU lacks it.
 */
int k_isa_resolve(k_isa_t want, k_isa_t *isa);

/* "scalar", "avx2", "avx512". */
const char *k_isa_name(k_isa_t isa);


/*
 * Weights of `cols` elements in blocks of this type: elements and bytes of
 * a block.  -ENOTSUP: the type is unknown here.
 */
int k_type_block(k_type_t type, uint32_t *elements, uint32_t *bytes);

/*
 * Bytes of memory that a packed matrix needs, or -ENOTSUP (type unknown
 * here), -EINVAL (cols is no multiple of the type's block, or a zero),
 * -EOVERFLOW.  The source's size, within 4 %.
 */
int64_t k_matrix_size(k_type_t type, k_isa_t isa, uint32_t rows, uint32_t cols);

/*
 * Sets up *w over k_matrix_size() bytes at `mem`, aligned to K_ALIGN.  `isa`
 * must be resolved.  Errors as k_matrix_size().
 */
int k_matrix_init(k_matrix_t *w, k_type_t type, k_isa_t isa, uint32_t rows,
                  uint32_t cols, void *mem);

/*
 * Packs rows [from, to) out of `src`, the GGUF blocks of row `from` on, read
 * once from front to back (so their pages may be let go).  `from` is a
 * multiple of k_matrix_granule(); `to` too, or the last row.  Pieces may be
 * packed by several threads.  Any bytes are accepted.
 */
void k_matrix_pack(k_matrix_t *w, const void *src, uint32_t from, uint32_t to);

/* Bytes of one row in the source's format. */
size_t k_matrix_source_row(const k_matrix_t *w);

/*
 * Slices of outputs that threads take are multiples of this (the last may be
 * shorter).  Best are multiples of four times this: products in f32 take so
 * many groups at once, and AVX-512 two.
 */
uint32_t k_matrix_granule(const k_matrix_t *w);

/* How x enters products with w: K_ACT_INT8 only if w's type is an integer
   format and the mode says so. */
k_act_mode_t k_matrix_mode(const k_matrix_t *w, k_act_mode_t mode);

/*
 * Dequantises row `row` (< rows) out of the packed form: `cols` floats, as
 * GGUF defines them, bit for bit.  For tied embeddings.
 */
void k_matrix_row(const k_matrix_t *w, uint32_t row, float *out);


/* Bytes of memory for the int8 form of `rows` x `cols` activations. */
size_t k_act_size(uint32_t rows, uint32_t cols);

/*
 * Sets up *a; touches neither x nor mem.  mem: k_act_size() bytes aligned to
 * K_ALIGN, or NULL if mode is K_ACT_F32.  x: `rows` rows, ld floats apart.
 * mode is the backend's; matrices of F32, F16, BF16 read x in either mode.
 */
void k_act_init(k_act_t *a, k_act_mode_t mode, void *mem, uint32_t rows,
                uint32_t cols, const float *x, size_t ld);

/*
 * Quantises rows [from, to) of x, each for itself.  Rounds to nearest even.
 * Nothing to do (but harmless) in mode K_ACT_F32, or where cols is no
 * multiple of 32.  Needed before k_gemm() with a matrix whose
 * k_matrix_mode() is K_ACT_INT8.
 */
void k_act_quantize(const k_act_t *a, k_isa_t isa, uint32_t from, uint32_t to);


/*
 * out[m][n] = x[m] . w[n] for m in [m_from, m_to), n in [n_from, n_to):
 *
 *     out     f32; element (m, n) is at out[m * ld + n].  Nothing outside
 *             the slice is touched.
 *     n_from  a multiple of k_matrix_granule(); n_to too, or w->rows
 *     bias    NULL, or f32[w->rows], added to the product
 *     flags   K_GEMM_ADD: added to what out holds (residual), after bias
 *
 * w->cols == a->cols.  Any number of threads at once on slices that do not
 * overlap.
 */
void k_gemm(const k_matrix_t *w, const k_act_t *a, uint32_t m_from,
            uint32_t m_to, uint32_t n_from, uint32_t n_to, float *out,
            size_t ld, const float *bias, unsigned flags);

#endif /* LLM_KERNELS_CPU_GEMM_H */
