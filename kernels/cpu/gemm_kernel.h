/*
 * Inside gemm.h: the packed form, the table of formats, and what an ISA's
 * files must provide.  Included by the kernels only.
 *
 * THE PACKED FORM.  L = `lanes` consecutive rows (8; 16 for AVX-512) make a
 * group, groups are a multiple of K_ALIGN; the last is padded with rows of
 * zeros.  A group is its RECORDS in order; a record holds `blocks` blocks of
 * 32 columns (1; 8 for the formats of 256) of the L rows:
 *
 *     d       f16 [L]   scale; MXFP4: u8 [L], the exponent as in the file
 *     m       f16 [L]   formats with a minimum; Q2_K, Q4_K, Q5_K: -dmin (the
 *                       sign is flipped), so that it is always added
 *     sub     [blocks] of what `sub` says:
 *                 K_SUB_NONE  nothing
 *                 K_SUB_MIN   u8 scale [L], u8 minimum [L]     Q4_K, Q5_K
 *                 K_SUB_ONE   s8 scale [L]                     IQ4_XS
 *                 K_SUB_TWO   s8 scale [L][2]                  Q3_K, Q6_K
 *                 K_SUB_PAIR  u8 [L][2]: scale, low nibble;
 *                             minimum, high nibble             Q2_K
 *             [2]: of elements 0-15 and of elements 16-31
 *     planes  [blocks] of `bits` planes u8 [L][4]
 *
 * No piece is padded.  Elements of a block are 8 vectors: byte (r, j) of
 * VECTOR v is element 4v + j of row r, an unsigned integer of `bits` bits.
 * Byte (r, j) of PLANE p holds bits of the same byte of the vectors; a.b
 * means bit b of vector a, listed from bit 0 up:
 *
 *     2 bits  p = 0, 1: vectors 4p, 4p + 1, 4p + 2, 4p + 3
 *     3       0: 0.0-2 1.0-2 6.0-1    1: 2.0-2 3.0-2 7.0-1
 *             2: 4.0-2 5.0-2 6.2 7.2
 *     4       p = 0 .. 3: vector p (low nibble), vector 4 + p (high nibble)
 *     5       p = 0 .. 4: vector p in bits 0-4; bits 5-7 of plane
 *             0: 5.0-2    1: 5.3-4 7.3    2: 6.0-2    3: 6.3-4 7.4
 *             4: 7.0-2
 *     6       p = 0 .. 5: vector p in bits 0-5; bits 6-7 of plane
 *             0: 6.0-1    1: 6.2-3    2: 6.4-5
 *             3: 7.0-1    4: 7.2-3    5: 7.4-5
 *     8       p = 0 .. 7: vector p.  Q8_0 is signed: with 8 lanes s8 as in
 *             the file, with 16 lanes u8, the value + 128
 *
 * so that a vector is a plane shifted right and masked, but for the last few.
 *
 * THE ELEMENT is the integer q = map[u] - off (map: K_MAP_NONE is u itself;
 * else k_map_iq4[u], k_map_mxfp4[u]) times scale, plus minimum, each rounded
 * to f32: scale = d, or d * sub scale; minimum = m, or m * sub minimum.
 * MXFP4's scale is 2^(e - 128), also where that is subnormal (e = 0, 1); the
 * values are doubled.
 *
 * THE PRODUCT of a block with 32 int8 of x (k_q8_t), the same operations on
 * every ISA:
 *
 *     K_SUB_NONE, _MIN, _ONE:
 *         S   = sum of q * x                 exact, below 2^24
 *         acc = fma(minimum, dsum, acc)      formats with a minimum
 *     K_SUB_TWO, _PAIR; i = 0, 1: the halves of the block; scale = d:
 *         S   = sum over i of sub scale[i] * (sum of q * x in half i)
 *                                            exact, below 2^24
 *         M   = sum over i of sub minimum[i] * (sum of x in half i)
 *         acc = fma(M, m * d of x, acc)      _PAIR
 *     then
 *         acc = fma(S, scale * d of x, acc)
 *
 * with products of two floats rounded to f32 before fma takes them.  How the
 * offset is subtracted is the kernel's choice, as long as S is exact.
 */

#ifndef LLM_KERNELS_CPU_GEMM_KERNEL_H
#define LLM_KERNELS_CPU_GEMM_KERNEL_H

#include "kernels/cpu/gemm.h"

#define K_BLOCK     32 /* of activations, and of records */
#define K_LANES_MAX 16
#define K_TILE_MAX  64     /* most rows of an activation tile */
#define K_AMAX_MIN  1e-30f /* a block with no larger element is zeros */


/* See above: what a block of 32 has beside its planes. */
typedef enum {
    K_SUB_NONE = 0,
    K_SUB_MIN,
    K_SUB_ONE,
    K_SUB_TWO,
    K_SUB_PAIR
} k_sub_t;

typedef enum { K_MAP_NONE = 0, K_MAP_IQ4, K_MAP_MXFP4 } k_map_t;

typedef struct {
    k_type_t type;
    uint16_t bytes;  /* of a source block */
    uint8_t  blocks; /* of 32 in a source block; 0: floats, one by one */
    uint8_t  bits;   /* planes of a block */
    uint8_t  off;    /* subtracted from what is stored */
    uint8_t  d;      /* bytes of the scale: 2, or 1 for an exponent */
    uint8_t  min;    /* has m */
    k_sub_t  sub;
    k_map_t  map;
} k_format_t;

extern const int8_t k_map_iq4[16];
extern const int8_t k_map_mxfp4[16];


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
 * One source block of an integer format taken apart, 32 elements at a time:
 * v[i] is element i as stored (Q8_0: signed).  d, m: f16 bits, or MXFP4's
 * exponent, as in the packed form.
 */
typedef struct {
    uint8_t  v[32];
    uint16_t d;
    uint16_t m;
    uint8_t  sub[2]; /* as in the packed form: [0] and [1] of a row */
} k_unit_t;

/* Units b = 0 .. blocks - 1 of the source block at src. */
void k_unit_read(const k_format_t *f, const uint8_t *src, uint32_t b,
                 k_unit_t *u);


/* Block b of one row (`lane`) of a record, as integers and scales. */
typedef struct {
    int8_t q[32];
    float  d;
    float  m;
    int    sub[2]; /* of the halves; equal where there is one, or 1 */
    int    min[2];
} k_block_t;

void k_block_read(const k_format_t *f, uint32_t lanes, const uint8_t *rec,
                  uint32_t b, uint32_t lane, k_block_t *out);

/* Its 32 elements, as GGUF defines them. */
void k_block_floats(const k_format_t *f, const k_block_t *u, float *out);


/* Bytes from the start of a record; k_record_planes(): of block b. */

static inline uint32_t
k_record_min(const k_format_t *f, uint32_t lanes)
{
    return f->d * lanes;
}


static inline uint32_t
k_sub_bytes(const k_format_t *f)
{
    return f->sub == K_SUB_NONE ? 0 : f->sub == K_SUB_ONE ? 1 : 2;
}


static inline uint32_t
k_record_sub(const k_format_t *f, uint32_t lanes, uint32_t b)
{
    return (f->d + 2u * f->min + b * k_sub_bytes(f)) * lanes;
}


static inline uint32_t
k_record_planes(const k_format_t *f, uint32_t lanes, uint32_t b)
{
    return k_record_sub(f, lanes, f->blocks) + b * f->bits * 4 * lanes;
}


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


/* MXFP4's scale: 2^(e - 128). */
static inline float
k_e8m0(uint32_t e)
{
    return k_f32_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
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


static inline const uint8_t *
k_group(const k_matrix_t *w, uint32_t row)
{
    return w->data + (size_t) (row / w->lanes) * w->group;
}

#endif /* LLM_KERNELS_CPU_GEMM_KERNEL_H */
