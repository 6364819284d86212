/*
 * For gemm_avx512.c: blocks of 16 rows x 32 inputs out of the packed form
 * (gemm_kernel.h) into registers.  A format is a constant (k_shape_t), by
 * which the compiler makes code of its own for each.
 *
 * Elements come as unsigned bytes u; the element is u - off.  What a look-up
 * gives is signed: its table has 128 added, as has Q8_0 in the packed form.
 */

#ifndef LLM_KERNELS_CPU_GEMM_AVX512_H
#define LLM_KERNELS_CPU_GEMM_AVX512_H

#include <string.h>

#include "kernels/cpu/gemm_kernel.h"
#include "kernels/cpu/vec512.h"

#define K_LANES  16
#define K_ALWAYS __attribute__((always_inline))
#define k_inline static inline K_ALWAYS

/* 1.5 * 2^23: float and integer bits; plus n, the bits of that many more. */
#define K_MAGIC      12582912.0f
#define K_MAGIC_BITS 0x4b400000

/* Two s16 as one lane. */
#define k_pair(a, b)                                                           \
    ((int) ((uint32_t) (uint16_t) (a) | (uint32_t) (uint16_t) (b) << 16))

#define k_is_halved(s) ((s).sub == K_SUB_TWO || (s).sub == K_SUB_PAIR)


typedef struct {
    int     bits; /* planes of a block */
    int     off;
    int     blocks; /* of a record */
    int     min;
    int     e8m0; /* the scale is an exponent */
    k_sub_t sub;
    k_map_t map;
} k_shape_t;

/* How a block meets rows of x: formats that differ in unpacking only share
   it. */
typedef enum {
    K_ROWS_OFF = 0, /* -off * sum of x */
    K_ROWS_MIN,
    K_ROWS_TWO, /* K_SUB_TWO, and an offset */
    K_ROWS_PAIR
} k_rows_t;

#define k_rows_halved(kind) ((kind) == K_ROWS_TWO || (kind) == K_ROWS_PAIR)

/* Scales of a record, as floats. */
typedef struct {
    v5f d;
    v5f m;
} k_head_t;

/* A block. */
typedef struct {
    v5i u[8];
    v5f d;      /* times the sub scale, where that is of the whole block */
    v5f m;      /* likewise */
    v5f sub[2]; /* of the halves, if k_is_halved() */
    v5f bias;   /* -sub[0] * K_MAGIC, exact */
    v5i off[2]; /* pairs of s16, for the sums of x: -off in each half */
    v5i minima; /* K_SUB_PAIR: of the halves, two s16 */
} k_regs_t;


k_inline k_rows_t
k_shape_rows(const k_shape_t s)
{
    return s.sub == K_SUB_PAIR  ? K_ROWS_PAIR
           : s.sub == K_SUB_TWO ? K_ROWS_TWO
           : s.min              ? K_ROWS_MIN
                                : K_ROWS_OFF;
}


/* Bytes of a record before its blocks' sub scales; of a block's. */

k_inline uint32_t
k_shape_sub(const k_shape_t s)
{
    return (uint32_t) ((s.e8m0 ? 1 : 2) + 2 * s.min) * K_LANES;
}


k_inline uint32_t
k_shape_sub_size(const k_shape_t s)
{
    return s.sub == K_SUB_NONE ? 0 : s.sub == K_SUB_ONE ? K_LANES : 2 * K_LANES;
}


k_inline uint32_t
k_shape_planes(const k_shape_t s)
{
    return k_shape_sub(s) + (uint32_t) s.blocks * k_shape_sub_size(s);
}


/* 2^(e - 128): for e = 0 and 1 subnormal, elsewhere the larger of the two. */

k_inline v5f
k_exponents(const uint8_t *p)
{
    v5i e, small, normal;

    e = v5i_load_u8(p);
    small = v5i_add(v5i_shl(e, 21), v5i_set32(1 << 21));
    normal = v5i_sub(v5i_shl(e, 23), v5i_set32(1 << 23));

    return v5f_from_bits(v5i_max(small, normal));
}


k_inline void
k_load_head(const uint8_t *rec, const k_shape_t s, k_head_t *h)
{
    h->d = s.e8m0 ? k_exponents(rec) : v5f_load_f16(rec);
    h->m = s.min ? v5f_load_f16(rec + 2 * K_LANES) : h->d;
}


/* The sub scales at p of a block, and d, m. */

k_inline void
k_load_sub(const uint8_t *p, const k_shape_t s, const k_head_t *h, k_regs_t *r)
{
    v5i v, low;

    r->d = h->d;
    r->m = h->m;

    switch (s.sub) {

    case K_SUB_MIN:
        r->d = v5f_mul(h->d, v5f_from_i(v5i_load_u8(p)));
        r->m = v5f_mul(h->m, v5f_from_i(v5i_load_u8(p + K_LANES)));
        return;

    case K_SUB_ONE:
        r->d = v5f_mul(h->d, v5f_from_i(v5i_load_s8(p)));
        return;

    case K_SUB_TWO:
        v = v5i_load_s8x2(p);
        r->sub[0] = v5f_from_i(v5i_sar(v5i_shl(v, 16), 16));
        r->sub[1] = v5f_from_i(v5i_sar(v, 16));
        break;

    case K_SUB_PAIR:
        v = v5i_load_u8x2(p);
        low = v5i_set32(k_pair(15, 15));
        r->minima = v5i_and(v5i_shr(v, 4), low);
        v = v5i_and(v, low);
        r->sub[0] = v5f_from_i(v5i_and(v, v5i_set32(15)));
        r->sub[1] = v5f_from_i(v5i_shr(v, 16));
        break;

    default:
        return;
    }

    r->bias = v5f_mul(r->sub[0], v5f_set(-K_MAGIC));
}


/* bits of a, shifted into place, where the mask has ones; else of b. */
#define k_pick(mask, a, b) v5i_pick(v5i_set32((mask) *0x01010101), a, b)
#define k_mask(mask, a)    v5i_and(a, v5i_set32((mask) *0x01010101))


k_inline void
k_load_2(const uint8_t *p, v5i *u)
{
    int i;
    v5i v;

#pragma GCC unroll 2
    for (i = 0; i < 2; i++) {
        v = v5i_load(p + i * 64);
        u[i * 4] = k_mask(3, v);
        u[i * 4 + 1] = k_mask(3, v5i_shr(v, 2));
        u[i * 4 + 2] = k_mask(3, v5i_shr(v, 4));
        u[i * 4 + 3] = k_mask(3, v5i_shr(v, 6));
    }
}


k_inline void
k_load_3(const uint8_t *p, v5i *u)
{
    v5i a, b, c;

    a = v5i_load(p);
    b = v5i_load(p + 64);
    c = v5i_load(p + 128);
    u[0] = k_mask(7, a);
    u[1] = k_mask(7, v5i_shr(a, 3));
    u[2] = k_mask(7, b);
    u[3] = k_mask(7, v5i_shr(b, 3));
    u[4] = k_mask(7, c);
    u[5] = k_mask(7, v5i_shr(c, 3));
    u[6] = k_mask(7, k_pick(3, v5i_shr(a, 6), v5i_shr(c, 4)));
    u[7] = k_mask(7, k_pick(3, v5i_shr(b, 6), v5i_shr(c, 5)));
}


k_inline void
k_load_4(const uint8_t *p, v5i *u)
{
    int i;
    v5i v;

#pragma GCC unroll 4
    for (i = 0; i < 4; i++) {
        v = v5i_load(p + i * 64);
        u[i] = k_mask(15, v);
        u[i + 4] = k_mask(15, v5i_shr(v, 4));
    }
}


k_inline void
k_load_5(const uint8_t *p, v5i *u)
{
    int i;
    v5i v[5], t;

#pragma GCC unroll 5
    for (i = 0; i < 5; i++) {
        v[i] = v5i_load(p + i * 64);
        u[i] = k_mask(31, v[i]);
    }

    u[5] = k_mask(31, k_pick(7, v5i_shr(v[0], 5), v5i_shr(v[1], 2)));
    u[6] = k_mask(31, k_pick(7, v5i_shr(v[2], 5), v5i_shr(v[3], 2)));
    t = k_pick(8, v5i_shr(v[1], 4), v5i_shr(v[3], 3));
    u[7] = k_mask(31, k_pick(7, v5i_shr(v[4], 5), t));
}


k_inline void
k_load_6(const uint8_t *p, v5i *u)
{
    int i;
    v5i v[6], t;

#pragma GCC unroll 6
    for (i = 0; i < 6; i++) {
        v[i] = v5i_load(p + i * 64);
        u[i] = k_mask(63, v[i]);
    }

    t = k_pick(12, v5i_shr(v[1], 4), v5i_shr(v[2], 2));
    u[6] = k_mask(63, k_pick(3, v5i_shr(v[0], 6), t));
    t = k_pick(12, v5i_shr(v[4], 4), v5i_shr(v[5], 2));
    u[7] = k_mask(63, k_pick(3, v5i_shr(v[3], 6), t));
}


/* The elements at p, as unsigned bytes. */

k_inline void
k_load_planes(const uint8_t *p, const k_shape_t s, v5i *u)
{
    int i;
    v5i table;

    switch (s.bits) {

    case 2:
        k_load_2(p, u);
        break;

    case 3:
        k_load_3(p, u);
        break;

    case 4:
        k_load_4(p, u);
        break;

    case 5:
        k_load_5(p, u);
        break;

    case 6:
        k_load_6(p, u);
        break;

    default:
#pragma GCC unroll 8
        for (i = 0; i < 8; i++) {
            u[i] = v5i_load(p + i * 64);
        }
    }

    if (s.map != K_MAP_NONE) {
        table = v5i_load_table(s.map == K_MAP_IQ4 ? k_map_iq4 : k_map_mxfp4);
        table = v5i_xor(table, v5i_set32((int) 0x80808080));

#pragma GCC unroll 8
        for (i = 0; i < 8; i++) {
            u[i] = v5i_look(table, u[i]);
        }
    }
}


/* Block b of the record at rec, whose scales are h. */

k_inline void
k_load_block(const uint8_t *rec, uint32_t b, const k_shape_t s,
             const k_head_t *h, k_regs_t *r)
{
    k_load_planes(rec + k_shape_planes(s) + b * (uint32_t) s.bits * 4 * K_LANES,
                  s, r->u);
    k_load_sub(rec + k_shape_sub(s) + b * k_shape_sub_size(s), s, h, r);

    if (k_is_halved(s)) {
        r->off[0] = v5i_set32(k_pair(-s.off, 0));
        r->off[1] = v5i_set32(k_pair(0, -s.off));

    } else {
        r->off[0] = v5i_set32(k_pair(-s.off, -s.off));
    }
}

#endif /* LLM_KERNELS_CPU_GEMM_AVX512_H */
