/*
 * Inside gemm.h: the packed form, the table of formats, and what an ISA's
 * file must provide.  Included by the kernels only.
 *
 * THE PACKED FORM.  `lanes` consecutive rows (8; 16 for AVX-512) make a
 * group; a group is the records of its K blocks of 32 in order; the last
 * group is padded with zeros.  A record of an integer format:
 *
 *     nibbles   u8  [4][lanes][4]   byte (v, r, j): low nibble is element
 *                                   4v + j of row r, high one 16 + 4v + j
 *     or bytes  s8  [8][lanes][4]   byte (v, r, j): element 4v + j of row r;
 *                                   with 16 lanes u8, the value + 128
 *     scales    f16 or f32 [subs][lanes]   one a block of 32 / subs
 *     minima    as scales [lanes]          formats with a minimum
 *
 * and of a float format: [32][lanes] elements as in the source (zeros beyond
 * K).  Element = scale * (stored - off) or scale * stored + minimum.
 */

#ifndef LLM_KERNELS_CPU_GEMM_KERNEL_H
#define LLM_KERNELS_CPU_GEMM_KERNEL_H

#include "kernels/cpu/gemm.h"

#define K_BLOCK     32 /* of activations, and of records */
#define K_LANES_MAX 16
#define K_TILE_MAX  64     /* most rows of an activation tile */
#define K_AMAX_MIN  1e-30f /* a block with no larger element is zeros */


typedef enum { K_PLAIN = 0, K_NIBBLES, K_BYTES } k_store_t;

typedef struct {
    k_type_t  type;
    k_store_t store;
    uint8_t   elements; /* of a source block, / 32; 0: single elements */
    uint16_t  bytes;    /* of a source block */
    uint8_t   off;      /* K_NIBBLES: subtracted from what is stored */
    uint8_t   subs;     /* scales in 32 elements */
    uint8_t   wide;     /* scales are f32 */
    uint8_t   min;      /* has minima */
} k_format_t;


/* One call of k_gemm(), cut to one tile of activations. */
typedef struct {
    const k_matrix_t *w;
    const k_q8_t     *q;      /* first row; block b is at q + b * stride */
    size_t            stride; /* K_ACT_INT8: rows of the tile */
    const float      *x;      /* K_ACT_F32: first row */
    size_t            x_ld;
    uint32_t          m; /* rows, 1 .. K_TILE_MAX */
    uint32_t          n_from;
    uint32_t          n_to;
    float            *out; /* of the first row */
    size_t            ld;
    const float      *bias;
    unsigned          flags;
} k_job_t;


struct k_gemm_ops_s {
    k_isa_t  isa;
    uint32_t lanes;

    void (*int8)(const k_job_t *job); /* integer formats only */
    void (*f32)(const k_job_t *job);
    void (*quantize)(const k_act_t *a, uint32_t from, uint32_t to);
};

extern const k_gemm_ops_t k_gemm_scalar;
#if defined(__x86_64__)
extern const k_gemm_ops_t k_gemm_avx2;
extern const k_gemm_ops_t k_gemm_avx512;
#endif


/* NULL: unknown. */
const k_format_t *k_format(k_type_t type);

/*
 * One source block of an integer format taken apart: 32 elements as signed
 * bytes or as nibbles (as GGUF pairs them: byte i holds elements i and
 * 16 + i), scales and minimum; as f16 bits or f32 bits, as the format's
 * `wide` says.
 */
typedef struct {
    uint8_t  v[32];
    uint32_t scale[2];
    uint32_t min;
} k_unit_t;

/* Units b = 0 .. elements / 32 - 1 of the source block at src. */
void k_unit_read(const k_format_t *f, const uint8_t *src, uint32_t b,
                 k_unit_t *u);


static inline float
k_f32_bits(uint32_t u)
{
    float f;

    __builtin_memcpy(&f, &u, 4);
    return f;
}


static inline uint32_t
k_bits_f32(float f)
{
    uint32_t u;

    __builtin_memcpy(&u, &f, 4);
    return u;
}


/* Half precision by integers: exact, NaNs stay NaNs. */
static inline float
k_f16(uint16_t h)
{
    uint32_t sign, exp, man;

    sign = (uint32_t) (h & 0x8000) << 16;
    exp = (h >> 10) & 31;
    man = h & 0x3ff;

    if (exp == 31) {
        return k_f32_bits(sign | 0x7f800000 | man << 13);
    }

    if (exp == 0) {
        /* man * 2^-24, exact */
        return k_f32_bits(k_bits_f32((float) man * 0x1p-24f) | sign);
    }

    return k_f32_bits(sign | (exp + 112) << 23 | man << 13);
}


static inline float
k_bf16(uint16_t h)
{
    return k_f32_bits((uint32_t) h << 16);
}


/* Block b of row m. */
static inline k_q8_t *
k_act_at(const k_act_t *a, uint32_t m, uint32_t b)
{
    uint32_t first, rows;

    first = m - m % a->tile;
    rows = a->rows - first < a->tile ? a->rows - first : a->tile;

    return a->q + (size_t) first * (a->cols / K_BLOCK) + (size_t) b * rows
           + (m - first);
}


/* Bytes of a record's elements, before the scales. */
static inline uint32_t
k_record_scales(const k_format_t *f, uint32_t lanes)
{
    return (f->store == K_NIBBLES ? 16 : 32) * lanes;
}


static inline const uint8_t *
k_group(const k_matrix_t *w, uint32_t row)
{
    return w->data + (size_t) (row / w->lanes) * w->group;
}

#endif /* LLM_KERNELS_CPU_GEMM_KERNEL_H */
