/*
 * For tests of the matrix products: the formats, written down a second time
 * (element by element, in double), and random rows of them.
 */

#ifndef LLM_T_KERNELS_FORMATS_H
#define LLM_T_KERNELS_FORMATS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/gemm_kernel.h"

typedef struct {
    k_type_t    type;
    const char *name;
    uint32_t    block; /* elements */
    uint32_t    bytes;
} t_type_t;

static const t_type_t t_types[] = {
    {K_F32, "F32", 1, 4},           {K_F16, "F16", 1, 2},
    {K_BF16, "BF16", 1, 2},         {K_Q4_0, "Q4_0", 32, 18},
    {K_Q4_1, "Q4_1", 32, 20},       {K_Q5_0, "Q5_0", 32, 22},
    {K_Q5_1, "Q5_1", 32, 24},       {K_Q8_0, "Q8_0", 32, 34},
    {K_Q4_K, "Q4_K", 256, 144},     {K_Q5_K, "Q5_K", 256, 176},
    {K_Q6_K, "Q6_K", 256, 210},     {K_Q2_K, "Q2_K", 256, 84},
    {K_Q3_K, "Q3_K", 256, 110},     {K_IQ4_NL, "IQ4_NL", 32, 18},
    {K_IQ4_XS, "IQ4_XS", 256, 136}, {K_MXFP4, "MXFP4", 32, 17},
};

#define T_TYPES (sizeof(t_types) / sizeof(t_types[0]))

static uint64_t t_state = 88172645463325252ull;


static uint32_t
t_random(void)
{
    t_state ^= t_state << 13;
    t_state ^= t_state >> 7;
    t_state ^= t_state << 17;

    return (uint32_t) (t_state >> 16);
}


/* In (-1, 1), most near zero, as activations are. */

static float
t_float(void)
{
    float a, b;

    a = (float) (t_random() & 0xffff) / 32768.0f - 1.0f;
    b = (float) (t_random() & 0xffff) / 65536.0f;

    return a * b;
}


static void *
t_alloc(size_t size)
{
    void *p;

    if (posix_memalign(&p, K_ALIGN, size ? size : 1) != 0) {
        abort();
    }

    memset(p, 0xa5, size);

    return p;
}


static uint16_t
t_to_f16(float v)
{
    uint32_t u, man;
    int      e;

    u = k_bits_f32(v);
    e = (int) (u >> 23 & 255) - 112;
    man = u >> 13 & 0x3ff;

    return (uint16_t) (u >> 16 & 0x8000)
           | (uint16_t) (e <= 0 ? 0 : (uint32_t) e << 10 | man);
}


static void
t_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t) v;
    p[1] = (uint8_t) (v >> 8);
}


/* One row: bytes `fill`, or random if negative; with scales of a sane size. */

static void
t_weights_of(const t_type_t *t, uint8_t *p, uint32_t cols, int fill)
{
    float    v;
    uint32_t i, j;

    for (i = 0; i < cols / t->block; i++, p += t->bytes) {
        for (j = 0; j < t->bytes; j++) {
            p[j] = (uint8_t) (fill < 0 ? t_random() : (uint32_t) fill);
        }

        v = 0.01f + (float) (t_random() & 255) / 4096.0f;

        switch (t->type) {
        case K_F32:
            v = t_float();
            memcpy(p, &v, 4);
            break;
        case K_BF16:
            t_put16(p, (uint16_t) (k_bits_f32(t_float()) >> 16));
            break;
        case K_F16:
            t_put16(p, t_to_f16(t_float()));
            break;
        case K_Q6_K:
            t_put16(p + 208, t_to_f16(v / 64));
            break;
        case K_Q3_K:
            t_put16(p + 108, t_to_f16(v / 16));
            break;
        case K_Q2_K:
            t_put16(p + 80, t_to_f16(v / 8));
            t_put16(p + 82, t_to_f16(v / 8));
            break;
        case K_IQ4_XS:
            t_put16(p, t_to_f16(v / 128));
            break;
        case K_MXFP4:
            p[0] = (uint8_t) (118 + t_random() % 8);
            break;
        case K_Q4_1:
        case K_Q5_1:
            t_put16(p, t_to_f16(v));
            t_put16(p + 2, t_to_f16(-8 * v));
            break;
        case K_Q4_K:
        case K_Q5_K:
            t_put16(p, t_to_f16(v / 32));
            t_put16(p + 2, t_to_f16(v / 4));
            break;
        default:
            t_put16(p, t_to_f16(t_random() & 1 ? v : -v));
            break;
        }
    }
}


static void
t_weights(const t_type_t *t, uint8_t *p, uint32_t cols)
{
    t_weights_of(t, p, cols, -1);
}


static double
t_half(const uint8_t *p)
{
    int      e;
    double   v;
    uint32_t h;

    h = p[0] | (uint32_t) p[1] << 8;
    e = (int) (h >> 10 & 31);
    v = e ? ldexp(1024 + (h & 1023), e - 25) : ldexp(h & 1023, -24);

    return h & 0x8000 ? -v : v;
}


/* Element i of a block of Q2_K or Q3_K. */

static double
t_element_23(const t_type_t *t, const uint8_t *b, uint32_t i)
{
    int            q, is, sc;
    const uint8_t *s;

    /* halves of 128; in each, four runs of 32 share the bytes */
    s = b + (t->type == K_Q2_K ? 16 : 32);
    q = s[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
    is = (int) i / 16;

    if (t->type == K_Q2_K) {
        return t_half(b + 80) * (b[is] % 16) * q
               - t_half(b + 82) * (b[is] / 16);
    }

    s = b + 96;
    sc = is < 8 ? s[is] % 16 : s[is - 8] / 16;
    sc += (s[8 + is % 4] >> is / 4 * 2 & 3) * 16;
    q -= b[i % 32] >> i / 32 & 1 ? 0 : 4;

    return t_half(b + 108) * (sc - 32) * q;
}


/* Element i of a block whose nibbles are looked up. */

static double
t_element_map(const t_type_t *t, const uint8_t *b, uint32_t i)
{
    static const double iq4[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
    static const double e2m1[] = {0, .5, 1, 1.5, 2, 3, 4, 6};

    int            q, sc;
    const uint8_t *s;

    s = b
        + (t->type == K_MXFP4    ? 1
           : t->type == K_IQ4_NL ? 2
                                 : 8 + i / 32 * 16);
    q = i % 32 < 16 ? s[i % 16] % 16 : s[i % 16] / 16;

    if (t->type == K_MXFP4) {
        return ldexp(q & 8 ? -e2m1[q & 7] : e2m1[q], b[0] - 127);
    }

    if (t->type == K_IQ4_NL) {
        return t_half(b) * iq4[q];
    }

    i /= 32;
    sc = i % 2 ? b[4 + i / 2] / 16 : b[4 + i / 2] % 16;
    sc += ((b[2] | b[3] << 8) >> 2 * i & 3) * 16;

    return t_half(b) * (sc - 32) * iq4[q];
}


/* Element k of a row, by the format's definition; finite scales. */

static double
t_element(const t_type_t *t, const uint8_t *row, uint32_t k)
{
    int            q, is, sc, mn, j;
    float          f;
    uint32_t       i;
    const uint8_t *b, *s;

    b = row + (size_t) k / t->block * t->bytes;
    i = k % t->block;

    switch (t->type) {

    case K_F32:
        memcpy(&f, b, 4);
        return f;

    case K_F16:
        return t_half(b);

    case K_BF16:
        return k_f32_bits((uint32_t) b[1] << 24 | (uint32_t) b[0] << 16);

    case K_Q8_0:
        return t_half(b) * (int8_t) b[2 + i];

    case K_Q4_0:
        q = i < 16 ? b[2 + i] % 16 : b[2 + i - 16] / 16;
        return t_half(b) * (q - 8);

    case K_Q4_1:
        q = i < 16 ? b[4 + i] % 16 : b[4 + i - 16] / 16;
        return t_half(b) * q + t_half(b + 2);

    case K_Q5_0:
        q = i < 16 ? b[6 + i] % 16 : b[6 + i - 16] / 16;
        q += b[2 + i / 8] >> i % 8 & 1 ? 16 : 0;
        return t_half(b) * (q - 16);

    case K_Q5_1:
        q = i < 16 ? b[8 + i] % 16 : b[8 + i - 16] / 16;
        q += b[4 + i / 8] >> i % 8 & 1 ? 16 : 0;
        return t_half(b) * q + t_half(b + 2);

    case K_Q4_K:
    case K_Q5_K:
        /* 64 elements share 32 bytes: low nibbles first */
        s = b + (t->type == K_Q4_K ? 16 : 48) + i / 64 * 32;
        q = i % 64 < 32 ? s[i % 32] % 16 : s[i % 32] / 16;
        is = (int) i / 32;

        if (t->type == K_Q5_K) {
            q += b[16 + i % 32] >> is & 1 ? 16 : 0;
        }

        s = b + 4;
        j = is % 4;
        sc = is < 4 ? s[j] % 64 : s[j + 8] % 16 + s[j] / 64 * 16;
        mn = is < 4 ? s[j + 4] % 64 : s[j + 8] / 16 + s[j + 4] / 64 * 16;

        return t_half(b) * sc * q - t_half(b + 2) * mn;

    case K_Q6_K:
        /* halves of 128; in each, four runs of 32 */
        j = (int) i % 128 / 32;
        s = b + i / 128 * 64 + j % 2 * 32;
        q = j < 2 ? s[i % 32] % 16 : s[i % 32] / 16;
        q += (b[128 + i / 128 * 32 + i % 32] >> 2 * j & 3) * 16;
        return t_half(b + 208) * (int8_t) b[192 + i / 16] * (q - 32);

    case K_Q2_K:
    case K_Q3_K:
        return t_element_23(t, b, i);

    case K_IQ4_NL:
    case K_IQ4_XS:
    case K_MXFP4:
        return t_element_map(t, b, i);

    default:
        return 0;
    }
}

#endif /* LLM_T_KERNELS_FORMATS_H */
