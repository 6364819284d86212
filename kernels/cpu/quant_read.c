/*
 * GGUF's integer formats, one source block taken apart into units of 32
 * elements.  Pure functions; any bytes are valid input.
 *
 *     Q4_0   f16 d, u8 qs[16]                     d * (q - 8)
 *     Q4_1   f16 d, f16 m, u8 qs[16]              d * q + m
 *     Q5_0   f16 d, u32 qh, u8 qs[16]             d * (q - 16)
 *     Q5_1   f16 d, f16 m, u32 qh, u8 qs[16]      d * q + m
 *     Q8_0   f16 d, s8 q[32]                      d * q
 *     IQ4_NL f16 d, u8 qs[16]                     d * k_map_iq4[q]
 *     MXFP4  u8 e, u8 qs[16]                      2^(e - 128) * k_map_mxfp4[q]
 *
 * Nibbles: byte i holds elements i (low) and 16 + i; bit i of qh is bit 4 of
 * element i.  Blocks of 256 elements, eight units of 32, unit b; h = b / 4,
 * c = b % 4:
 *
 *     Q2_K   u8 s[16], u8 qs[64], f16 d, f16 dmin
 *            halves of a unit have s[2 b], s[2 b + 1]: d * (s & 15) * q -
 *            dmin * (s >> 4); q: qs[32 h + i] >> 2 c, 2 bits
 *     Q3_K   u8 hm[32], u8 qs[64], u8 s[12], f16 d
 *            d * (scale[2 b + (i >= 16)] - 32) * (q - 4); q: low bits as
 *            Q2_K, bit b of hm[i] is bit 2; scale j, 6 bits: low four in
 *            s[j % 8], nibble j / 8; high two in s[8 + j % 4] >> 2 (j / 4)
 *     Q4_K   f16 d, f16 dmin, u8 s[12], u8 qs[128]
 *            d * scale[b] * q - dmin * min[b]; scale, min: 6 bits (below);
 *            q: bytes 32 (b / 2) + i, low nibble for even b, high for odd
 *     Q5_K   f16 d, f16 dmin, u8 s[12], u8 qh[32], u8 qs[128]
 *            as Q4_K; bit b of qh[i] is bit 4 of element i
 *     Q6_K   u8 ql[128], u8 qh[64], s8 scale[16], f16 d
 *            d * scale[2 b + (i >= 16)] * (q - 32); q's low bits in
 *            ql[64 h + 32 (c % 2) + i], nibble c / 2; its high two in
 *            qh[32 h + i] >> 2 c
 *     IQ4_XS f16 d, u16 sh, u8 sl[4], u8 qs[128]
 *            d * (scale[b] - 32) * k_map_iq4[q]; scale, 6 bits: low four in
 *            sl[b / 2], nibble b % 2; high two in sh >> 2 b; q: nibbles of
 *            bytes 16 b .., as Q4_0
 */

#include <string.h>

#include "kernels/cpu/gemm_kernel.h"


static uint16_t k_half(const uint8_t *p);
static void     k_unit_32(const k_format_t *f, const uint8_t *src, k_unit_t *u);
static uint64_t k_eight(const uint8_t *p, uint32_t right, uint64_t mask);
static void     k_unit_nibbles(const uint8_t *qs, k_unit_t *u);
static void     k_unit_bit4(const uint8_t *qh, k_unit_t *u);
static void     k_unit_crumbs(const uint8_t *q, uint32_t b, k_unit_t *u);
static void     k_unit_min(const uint8_t *src, uint32_t b, k_unit_t *u);
static void     k_unit_q2_k(const uint8_t *src, uint32_t b, k_unit_t *u);
static void     k_unit_q3_k(const uint8_t *src, uint32_t b, k_unit_t *u);
static void     k_unit_q45_k(const uint8_t *q, const uint8_t *high, uint32_t b,
                             k_unit_t *u);
static void     k_unit_q6_k(const uint8_t *src, uint32_t b, k_unit_t *u);
static void     k_unit_iq4_xs(const uint8_t *src, uint32_t b, k_unit_t *u);


void
k_unit_read(const k_format_t *f, const uint8_t *src, uint32_t b, k_unit_t *u)
{
    switch (f->type) {

    case K_Q2_K:
        k_unit_q2_k(src, b, u);
        return;

    case K_Q3_K:
        k_unit_q3_k(src, b, u);
        return;

    case K_Q4_K:
        k_unit_min(src, b, u);
        k_unit_q45_k(src + 16, NULL, b, u);
        return;

    case K_Q5_K:
        k_unit_min(src, b, u);
        k_unit_q45_k(src + 48, src + 16, b, u);
        return;

    case K_Q6_K:
        k_unit_q6_k(src, b, u);
        return;

    case K_IQ4_XS:
        k_unit_iq4_xs(src, b, u);
        return;

    default:
        k_unit_32(f, src, u);
        return;
    }
}


static uint16_t
k_half(const uint8_t *p)
{
    return (uint16_t) (p[0] | p[1] << 8);
}


static void
k_unit_32(const k_format_t *f, const uint8_t *src, k_unit_t *u)
{
    if (f->type == K_MXFP4) {
        u->d = src[0];
        k_unit_nibbles(src + 1, u);
        return;
    }

    u->d = k_half(src);

    switch (f->type) {

    case K_Q4_1:
        u->m = k_half(src + 2);
        k_unit_nibbles(src + 4, u);
        return;

    case K_Q5_0:
        k_unit_nibbles(src + 6, u);
        k_unit_bit4(src + 2, u);
        return;

    case K_Q5_1:
        u->m = k_half(src + 2);
        k_unit_nibbles(src + 8, u);
        k_unit_bit4(src + 4, u);
        return;

    case K_Q8_0:
        memcpy(u->v, src + 2, 32);
        return;

    default:
        /* Q4_0, IQ4_NL */
        k_unit_nibbles(src + 2, u);
        return;
    }
}


/* Eight bytes at once, shifted right within each and masked. */

static uint64_t
k_eight(const uint8_t *p, uint32_t right, uint64_t mask)
{
    uint64_t v;

    memcpy(&v, p, 8);

    return v >> right & mask * 0x0101010101010101u;
}


static void
k_unit_nibbles(const uint8_t *qs, k_unit_t *u)
{
    uint32_t i;
    uint64_t v[2];

    for (i = 0; i < 16; i += 8) {
        v[0] = k_eight(qs + i, 0, 15);
        v[1] = k_eight(qs + i, 4, 15);
        memcpy(u->v + i, &v[0], 8);
        memcpy(u->v + 16 + i, &v[1], 8);
    }
}


/* Bit i of qh is bit 4 of element i. */

static void
k_unit_bit4(const uint8_t *qh, k_unit_t *u)
{
    uint32_t i;
    uint64_t v;

    for (i = 0; i < 4; i++) {
        /* byte j keeps bit j, which then carries into its top */
        v = qh[i] * 0x0101010101010101u & 0x8040201008040201u;
        v = (v + 0x7f7f7f7f7f7f7f7fu) >> 3 & 0x1010101010101010u;
        v |= k_eight(u->v + i * 8, 0, 255);
        memcpy(u->v + i * 8, &v, 8);
    }
}


/* Two bits each: unit b of Q2_K and Q3_K. */

static void
k_unit_crumbs(const uint8_t *q, uint32_t b, k_unit_t *u)
{
    uint32_t i;
    uint64_t v;

    q += b / 4 * 32;

    for (i = 0; i < 32; i += 8) {
        v = k_eight(q + i, b % 4 * 2, 3);
        memcpy(u->v + i, &v, 8);
    }
}


static void
k_unit_q2_k(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    u->d = k_half(src + 80);
    u->m = k_half(src + 82) ^ 0x8000;
    u->sub[0] = src[2 * b];
    u->sub[1] = src[2 * b + 1];
    k_unit_crumbs(src + 16, b, u);
}


static void
k_unit_q3_k(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    uint32_t       i, j;
    uint64_t       v;
    const uint8_t *s;

    u->d = k_half(src + 108);
    s = src + 96;

    for (i = 0; i < 2; i++) {
        j = 2 * b + i;
        u->sub[i] = (uint8_t) (((s[j % 8] >> j / 8 * 4 & 15)
                                | (s[8 + j % 4] >> j / 4 * 2 & 3) << 4)
                               - 32);
    }

    k_unit_crumbs(src + 32, b, u);

    for (i = 0; i < 32; i += 8) {
        v = k_eight(u->v + i, 0, 3) | k_eight(src + i, b, 1) << 2;
        memcpy(u->v + i, &v, 8);
    }
}


/*
 * Scales and minima of Q4_K and Q5_K, 6 bits each: those of units 0-3 in the
 * low bits of s[0..3] and s[4..7]; those of units 4-7 have their low four in
 * s[8..11] (scale low nibble, minimum high) and their upper two in the top
 * bits of s[0..3] and s[4..7].
 */

static void
k_unit_min(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    const uint8_t *s;

    u->d = k_half(src);
    u->m = k_half(src + 2) ^ 0x8000;
    s = src + 4;

    if (b < 4) {
        u->sub[0] = s[b] & 63;
        u->sub[1] = s[b + 4] & 63;

    } else {
        u->sub[0] = (uint8_t) ((s[b + 4] & 15) | (s[b - 4] >> 6) << 4);
        u->sub[1] = (uint8_t) (s[b + 4] >> 4 | (s[b] >> 6) << 4);
    }
}


/* Elements of Q4_K and, with the high bits, Q5_K. */

static void
k_unit_q45_k(const uint8_t *q, const uint8_t *high, uint32_t b, k_unit_t *u)
{
    uint32_t i;
    uint64_t v;

    q += b / 2 * 32;

    for (i = 0; i < 32; i += 8) {
        v = k_eight(q + i, b % 2 * 4, 15);
        v |= high ? k_eight(high + i, b, 1) << 4 : 0;
        memcpy(u->v + i, &v, 8);
    }
}


static void
k_unit_q6_k(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    uint32_t       i, c;
    uint64_t       v;
    const uint8_t *low, *high;

    c = b % 4;
    low = src + 64 * (b / 4) + 32 * (c % 2);
    high = src + 128 + 32 * (b / 4);

    for (i = 0; i < 32; i += 8) {
        v = k_eight(low + i, c / 2 * 4, 15) | k_eight(high + i, 2 * c, 3) << 4;
        memcpy(u->v + i, &v, 8);
    }

    u->d = k_half(src + 208);
    u->sub[0] = src[192 + 2 * b];
    u->sub[1] = src[192 + 2 * b + 1];
}


static void
k_unit_iq4_xs(const uint8_t *src, uint32_t b, k_unit_t *u)
{
    u->d = k_half(src);
    u->sub[0] = (uint8_t) (((src[4 + b / 2] >> b % 2 * 4 & 15)
                            | (k_half(src + 2) >> 2 * b & 3) << 4)
                           - 32);
    k_unit_nibbles(src + 8 + 16 * b, u);
}
