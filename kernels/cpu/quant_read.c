/*
 * GGUF's integer formats, one source block taken apart into units of 32
 * elements.  Pure functions; any bytes are valid input.
 *
 *     Q4_0  f16 d, u8 qs[16]                     d * (q - 8)
 *     Q4_1  f16 d, f16 m, u8 qs[16]              d * q + m
 *     Q5_0  f16 d, u32 qh, u8 qs[16]             d * (q - 16)
 *     Q5_1  f16 d, f16 m, u32 qh, u8 qs[16]      d * q + m
 *     Q8_0  f16 d, s8 q[32]                      d * q
 *
 * Nibbles: byte i holds elements i (low) and 16 + i; bit i of qh is bit 4 of
 * element i.  Blocks of 256 elements, eight units of 32, unit b:
 *
 *     Q4_K  f16 d, f16 dmin, u8 s[12], u8 qs[128]
 *           d * scale[b] * q - dmin * min[b]; scale, min: 6 bits (below);
 *           q: bytes 32 (b / 2) + i, low nibble for even b, high for odd
 *     Q5_K  f16 d, f16 dmin, u8 s[12], u8 qh[32], u8 qs[128]
 *           as Q4_K; bit b of qh[i] is bit 4 of element i
 *     Q6_K  u8 ql[128], u8 qh[64], s8 scale[16], f16 d
 *           d * scale[2 b + (i >= 16)] * (q - 32); with h = b / 4, c = b % 4:
 *           q's low bits in ql[64 h + 32 (c % 2) + i], nibble c / 2; its high
 *           two in qh[32 h + i] >> 2 c
 */

#include <string.h>

#include "kernels/cpu/gemm_kernel.h"


static uint32_t k_half(const uint8_t *p);
static void     k_unit_q5(const uint8_t *qh, const uint8_t *qs, int off,
                          k_unit_t *u);
static void     k_unit_k_scales(const uint8_t *src, uint32_t b, k_unit_t *u);
static void     k_unit_q4_k(const uint8_t *src, uint32_t b, k_unit_t *u);
static void     k_unit_q5_k(const uint8_t *src, uint32_t b, k_unit_t *u);
static void     k_unit_q6_k(const uint8_t *src, uint32_t b, k_unit_t *u);


void
k_unit_read(const k_format_t *f, const uint8_t *src, uint32_t b, k_unit_t *u)
{
    switch (f->type) {

    case K_Q4_0:
        u->scale[0] = k_half(src);
        memcpy(u->v, src + 2, 16);
        return;

    case K_Q4_1:
        u->scale[0] = k_half(src);
        u->min = k_half(src + 2);
        memcpy(u->v, src + 4, 16);
        return;

    case K_Q5_0:
        u->scale[0] = k_half(src);
        k_unit_q5(src + 2, src + 6, 16, u);
        return;

    case K_Q5_1:
        u->scale[0] = k_half(src);
        u->min = k_half(src + 2);
        k_unit_q5(src + 4, src + 8, 0, u);
        return;

    case K_Q8_0:
        u->scale[0] = k_half(src);
        memcpy(u->v, src + 2, 32);
        return;

    case K_Q4_K:
        k_unit_q4_k(src, b, u);
        return;

    case K_Q5_K:
        k_unit_q5_k(src, b, u);
        return;

    case K_Q6_K:
        k_unit_q6_k(src, b, u);
        return;

    default:
        return;
    }
}


static uint32_t
k_half(const uint8_t *p)
{
    return p[0] | (uint32_t) p[1] << 8;
}


static void
k_unit_q5(const uint8_t *qh, const uint8_t *qs, int off, k_unit_t *u)
{
    uint32_t i, high;

    high = k_half(qh) | k_half(qh + 2) << 16;

    for (i = 0; i < 16; i++) {
        u->v[i] = (uint8_t) (((qs[i] & 15) | (high >> i & 1) << 4) - off);
        u->v[i + 16] =
            (uint8_t) ((qs[i] >> 4 | (high >> (i + 16) & 1) << 4) - off);
    }
}


/*
 * Scales and minima of Q4_K and Q5_K, 6 bits each: those of units 0-3 in the
 * low bits of s[0..3] and s[4..7]; those of units 4-7 have their low four in
 * s[8..11] (scale low nibble, minimum high) and their upper two in the top
 * bits of s[0..3] and s[4..7].
 */

static void
k_unit_k_scales(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    uint32_t       scale, min;
    const uint8_t *s;

    s = src + 4;

    if (b < 4) {
        scale = s[b] & 63;
        min = s[b + 4] & 63;

    } else {
        scale = (s[b + 4] & 15) | (s[b - 4] >> 6) << 4;
        min = s[b + 4] >> 4 | (s[b] >> 6) << 4;
    }

    u->scale[0] = k_bits_f32(k_f16((uint16_t) k_half(src)) * (float) scale);
    u->min = k_bits_f32(-(k_f16((uint16_t) k_half(src + 2)) * (float) min));
}


static void
k_unit_q4_k(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    uint32_t       i, shift;
    const uint8_t *q;

    k_unit_k_scales(src, b, u);

    q = src + 16 + 32 * (b / 2);
    shift = b % 2 * 4;

    for (i = 0; i < 16; i++) {
        u->v[i] =
            (uint8_t) ((q[i] >> shift & 15) | (q[i + 16] >> shift & 15) << 4);
    }
}


static void
k_unit_q5_k(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    uint32_t       i, shift;
    const uint8_t *q, *high;

    k_unit_k_scales(src, b, u);

    high = src + 16;
    q = src + 48 + 32 * (b / 2);
    shift = b % 2 * 4;

    for (i = 0; i < 32; i++) {
        u->v[i] = (uint8_t) ((q[i] >> shift & 15) | (high[i] >> b & 1) << 4);
    }
}


static void
k_unit_q6_k(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    float          d;
    uint32_t       i, c;
    const uint8_t *low, *high;

    c = b % 4;
    low = src + 64 * (b / 4) + 32 * (c % 2);
    high = src + 128 + 32 * (b / 4);

    for (i = 0; i < 32; i++) {
        u->v[i] = (uint8_t) (((low[i] >> c / 2 * 4 & 15)
                              | (high[i] >> 2 * c & 3) << 4)
                             - 32);
    }

    d = k_f16((uint16_t) k_half(src + 208));

    for (i = 0; i < 2; i++) {
        u->scale[i] = k_bits_f32(d * (float) (int8_t) src[192 + 2 * b + i]);
    }
}
