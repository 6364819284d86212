/*
 * GGUF's block types as they lie in device memory.  Plain C and CUDA C++;
 * constants and pure functions.
 *
 * A ROW of a matrix is one record; rows lie one after the other, cu_quant_row()
 * bytes apart, so matrices of one form and width that lie side by side are one
 * matrix of all their rows.  A record is up to four PARTS, in this order, each
 * beginning at a multiple of 16 bytes, the record's size a multiple of 32:
 *
 *     q       bits of each weight: the low 4, or all 8
 *     high    the other bits, where there are 5 or 6
 *     scale   of each piece
 *     super   of each 8 pieces: formats of 256
 *
 * plane[i] of cu_matrix_t points to part i of row 0, or is NULL.  A PIECE is
 * 32 weights of a row, k = 0 .. 31, the same number of bytes in every part
 * (CU_QUANT_TABLE), so that lanes that take pieces one after the other read
 * whole lines.  Nothing is rounded and nothing is lost: the parts are the
 * file's bits in another order, some of them inverted.
 *
 * WORDS.  The q of a piece is 4 words of 32 bits (Q8_0: 8), little endian.
 * Word j has eight weights, as two vectors of four bytes:
 *
 *     LO[j]   k = 4j + 0 .. 3           byte i: k = 4j + i
 *     HI[j]   k = 16 + 4j + 0 .. 3
 *
 * which are natural-order int8x4, as they stand in activations, and what a
 * thread holds in the fragments of mma.m16n8k32 (int8) and, as two pairs each,
 * of two m16n8k16: thread t = lane % 4 has word t.
 *
 *     Q8_0    words 0 .. 3 are LO, words 4 .. 7 HI: the file's bytes
 *     tables  (MXFP4, IQ4_*) nibble i of the word is LO[j][i], nibble 4 + i
 *             is HI[j][i]: selectors of a byte permutation
 *     others  byte i: LO[j][i] in the low nibble, HI[j][i] in the high one
 *
 * HIGH.  5 bits: one word; bit j of byte i is bit 4 of LO[j][i], bit 4 + j
 * that of HI[j][i].  6 bits: two words; bits 2j, 2j + 1 of byte i of the first
 * are bits 4, 5 of LO[j][i], of the second those of HI[j][i].
 *
 * INVERTED is the top bit of each weight of formats that subtract 2^(bits - 1)
 * (Q4_0, Q5_0, Q6_K; Q3_K, whose q - 4 is kept as 4 bits of q + 4): shifted to the top of a byte, the weight is then a
 * signed integer without its offset, times 2^(8 - bits).
 *
 * SCALES, and the value of a weight whose integer is i:
 *
 *     Q8_0, Q4_0, Q5_0, IQ4_NL   f16 d                     d * i
 *     Q4_1, Q5_1                 f16 d, m                  d * i + m
 *     Q4_K, Q5_K                 u8 s, m; super f16 d, e   d * s * i - e * m
 *     Q6_K, Q3_K                 s8 s[2]; super f16 d      d * s[k / 16] * i
 *     IQ4_XS                     s8 s; super f16 d         d * s * i
 *     MXFP4                      u8 e                      2^(e - 128) * i
 *
 * with i = q - 2^(bits - 1) or q, or from the table (MXFP4's is doubled).
 */

#ifndef LLM_KERNELS_CUDA_QUANT_H
#define LLM_KERNELS_CUDA_QUANT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cuda/cu_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CU_PIECE 32 /* weights */

/*
 * Form, weights and bytes of a block in the file, bytes of a piece in q, high
 * and scale, bytes of eight pieces in super.
 */
#define CU_QUANT_TABLE(X)                                                                          \
    X(Q8_0, 32, 34, 32, 0, 2, 0)                                                                   \
    X(Q4_0, 32, 18, 16, 0, 2, 0)                                                                   \
    X(Q4_1, 32, 20, 16, 0, 4, 0)                                                                   \
    X(Q5_0, 32, 22, 16, 4, 2, 0)                                                                   \
    X(Q5_1, 32, 24, 16, 4, 4, 0)                                                                   \
    X(Q4_K, 256, 144, 16, 0, 2, 4)                                                                 \
    X(Q5_K, 256, 176, 16, 4, 2, 4)                                                                 \
    X(Q6_K, 256, 210, 16, 8, 2, 2)                                                                 \
    X(MXFP4, 32, 17, 16, 0, 1, 0)                                                                  \
    X(IQ4_NL, 32, 18, 16, 0, 2, 0)                                                                 \
    X(IQ4_XS, 256, 136, 16, 0, 1, 2)                                                               \
    X(Q3_K, 256, 110, 16, 0, 2, 2)

enum { CU_PART_Q = 0, CU_PART_HIGH, CU_PART_SCALE, CU_PART_SUPER };

/* A matrix as kernels see it; row r's part i is at base + r * stride + at[i]. */
typedef struct {
    const uint8_t *base;
    uint32_t       stride;
    uint32_t       at[CU_PLANES];
    uint32_t       pieces; /* of a row */
} cu_quant_view_t;

/*
 * The geometry of `cols` columns: at[], stride, pieces; base as given.  0, or
 * -EINVAL: not a block form, or cols is not a multiple of its block, or 0.
 */
int cu_quant_view(cu_form_t form, uint32_t cols, const void *base, cu_quant_view_t *v);

/* Bytes from row to row, 0 on an error as above. */
uint64_t cu_quant_row(cu_form_t form, uint32_t cols);

/* cu_synthetic() of block forms. */
int cu_synthetic_quant(const cu_matrix_t *w, uint32_t seed, float limit, cu_stream_t s);

#ifdef __cplusplus
}
#endif

#endif /* LLM_KERNELS_CUDA_QUANT_H */
