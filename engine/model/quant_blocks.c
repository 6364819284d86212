/*
 * Blocks of GGUF's formats out of floats: the layouts are told in
 * kernels/cpu/quant_read.c, the search for scales in quant_search.inc.
 *
 * Pure functions; any thread.  The search is compiled twice, for AVX2 and for
 * any CPU, out of the same vectors of 8 lanes without fused products: both
 * give the same bytes.
 */

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "engine/model/gguf.h"
#include "engine/model/quant_priv.h"

/* Vectors stay inside this file: their calling convention is no matter. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define QB_INLINE static inline __attribute__((always_inline))

typedef float   qv_t __attribute__((vector_size(32)));
typedef int32_t qm_t __attribute__((vector_size(32)));

/* A format with one scale for 32 elements, or a scale and a minimum. */
typedef struct {
    uint32_t type;
    uint32_t elems;
    uint32_t bytes;
    void (*base)(const float *x, uint8_t *out);
    void (*avx2)(const float *x, uint8_t *out);
} qb_format_t;

static const qb_format_t *qb_find(uint32_t type);
static void               qb_put_half(uint8_t *p, float f);
static void               qb_put_nibbles(uint8_t *out, const uint8_t *q);
static void               qb_put_q5(uint8_t *out, const uint8_t *q);
static void qb_indexes(const float *x, float id, const float *mid, int n,
                       uint8_t *q);
static void qb_put_scales(uint8_t *out, const int *s, const int *m);
static void qb_put_k(uint8_t *out, const uint8_t *q, int high);
static void qb_put_q6(uint8_t *out, const uint8_t *q);

/* The values of IQ4_NL and, twice those of MXFP4, what is between them. */
static const float qb_nl[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
static const float qb_nl_mid[] = {-115.5f, -93.5f, -74,   -57, -42,
                                  -28.5f,  -16,    -4.5f, 7,   19,
                                  31.5f,   45.5f,  61,    79,  101};
static const float qb_mx[] = {-12, -8, -6, -4, -3, -2, -1, 0,
                              1,   2,  3,  4,  6,  8,  12};
static const float qb_mx_mid[] = {-10,  -7,   -5,   -3.5f, -2.5f, -1.5f, -0.5f,
                                  0.5f, 1.5f, 2.5f, 3.5f,  5,     7,     10};

/* Number of a value of qb_mx: bit 3 is its sign. */
static const uint8_t qb_mx_code[] = {15, 14, 13, 12, 11, 10, 9, 0,
                                     1,  2,  3,  4,  5,  6,  7};

#define QB(name) qb_##name##_base
#include "engine/model/quant_search.inc"
#undef QB

#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx2")
#define QB(name) qb_##name##_avx2
#define QB_AVX2  1
#include "engine/model/quant_search.inc"
#undef QB_AVX2
#undef QB
#pragma GCC pop_options

#define QB_BOTH(name) qb_##name##_base, qb_##name##_avx2

#else

#define QB_BOTH(name) qb_##name##_base, qb_##name##_base

#endif

static const qb_format_t qb_formats[] = {
    {GGML_Q8_0, 32, 34, QB_BOTH(q8_0)},
    {GGML_Q4_0, 32, 18, QB_BOTH(q4_0)},
    {GGML_Q4_1, 32, 20, QB_BOTH(q4_1)},
    {GGML_Q5_0, 32, 22, QB_BOTH(q5_0)},
    {GGML_Q5_1, 32, 24, QB_BOTH(q5_1)},
    {GGML_Q4_K, 256, 144, QB_BOTH(q4_k)},
    {GGML_Q5_K, 256, 176, QB_BOTH(q5_k)},
    {GGML_Q6_K, 256, 210, QB_BOTH(q6_k)},
    {GGML_IQ4_NL, 32, 18, QB_BOTH(iq4_nl)},
    {GGML_MXFP4, 32, 17, QB_BOTH(mxfp4)},
};


int
quant_blocks_known(uint32_t type)
{
    return qb_find(type) != NULL;
}


void
quant_blocks(uint32_t type, const float *x, uint64_t n, uint8_t *out)
{
    uint64_t           i;
    const qb_format_t *f = qb_find(type);
    void (*put)(const float *, uint8_t *);

    put = f->base;

#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        put = f->avx2;
    }
#endif

    for (i = 0; i < n; i += f->elems, out += f->bytes) {
        put(x + i, out);
    }
}


static const qb_format_t *
qb_find(uint32_t type)
{
    size_t i;

    for (i = 0; i < sizeof(qb_formats) / sizeof(qb_formats[0]); i++) {
        if (qb_formats[i].type == type) {
            return &qb_formats[i];
        }
    }

    return NULL;
}


uint16_t
quant_half(float f)
{
    uint32_t bits, sign, man, shift;
    int      exp;

    memcpy(&bits, &f, 4);
    sign = bits >> 16 & 0x8000;
    exp = (int) (bits >> 23 & 255) - 112;
    man = bits & 0x7fffff;

    if (exp >= 31) {
        /* NaN stays one; what is too large becomes infinite. */
        return (uint16_t) (sign | 0x7c00
                           | ((bits >> 23 & 255) == 255 && man ? 0x200 : 0));
    }

    if (exp <= 0) {
        if (exp < -10) {
            return (uint16_t) sign;
        }

        man |= 0x800000;
        shift = (uint32_t) (14 - exp);
        bits = man >> shift;
        man &= (1u << shift) - 1;
        bits +=
            man > 1u << (shift - 1) || (man == 1u << (shift - 1) && (bits & 1));

        return (uint16_t) (sign | bits);
    }

    bits = (uint32_t) exp << 10 | man >> 13;
    man &= 0x1fff;
    bits += man > 0x1000 || (man == 0x1000 && (bits & 1));

    return (uint16_t) (sign | bits);
}


float
quant_half_float(uint16_t h)
{
    uint32_t bits, exp = h >> 10 & 31, man = h & 0x3ff;
    float    f;

    if (exp == 0) {
        f = (float) man * 0x1p-24f;
        return h & 0x8000 ? -f : f;
    }

    exp = exp == 31 ? 255 : exp + 112;
    bits = (uint32_t) (h & 0x8000) << 16 | exp << 23 | man << 13;
    memcpy(&f, &bits, 4);

    return f;
}


/* Of 32 elements: how many of the n rising bounds are below. */

static void
qb_indexes(const float *x, float id, const float *mid, int n, uint8_t *q)
{
    int i, k;

    for (i = 0; i < 32; i++) {
        for (k = 0; k < n && x[i] * id > mid[k]; k++) {
            /* the next one */
        }

        q[i] = (uint8_t) k;
    }
}


static void
qb_put_half(uint8_t *p, float f)
{
    uint16_t h = quant_half(f);

    p[0] = (uint8_t) h;
    p[1] = (uint8_t) (h >> 8);
}


/* 32 numbers below 16: element i low, 16 + i high. */

static void
qb_put_nibbles(uint8_t *out, const uint8_t *q)
{
    int i;

    for (i = 0; i < 16; i++) {
        out[i] = (uint8_t) ((q[i] & 15) | (q[i + 16] & 15) << 4);
    }
}


static void
qb_put_q5(uint8_t *out, const uint8_t *q)
{
    uint32_t high = 0;
    int      i;

    for (i = 0; i < 32; i++) {
        high |= (uint32_t) (q[i] >> 4) << i;
    }

    for (i = 0; i < 4; i++) {
        out[i] = (uint8_t) (high >> 8 * i);
    }

    qb_put_nibbles(out + 4, q);
}


/* Eight scales and eight minima of six bits. */

static void
qb_put_scales(uint8_t *out, const int *s, const int *m)
{
    int i;

    for (i = 0; i < 4; i++) {
        out[i] = (uint8_t) (s[i] | s[i + 4] >> 4 << 6);
        out[i + 4] = (uint8_t) (m[i] | m[i + 4] >> 4 << 6);
        out[i + 8] = (uint8_t) ((s[i + 4] & 15) | (m[i + 4] & 15) << 4);
    }
}


/* 256 numbers of four bits; of five where `high`, their fifth bits first. */

static void
qb_put_k(uint8_t *out, const uint8_t *q, int high)
{
    int i, b;

    if (high) {
        for (i = 0; i < 32; i++) {
            out[i] = 0;

            for (b = 0; b < 8; b++) {
                out[i] |= (uint8_t) ((q[32 * b + i] >> 4 & 1) << b);
            }
        }

        out += 32;
    }

    for (b = 0; b < 4; b++, out += 32, q += 64) {
        for (i = 0; i < 32; i++) {
            out[i] = (uint8_t) ((q[i] & 15) | (q[i + 32] & 15) << 4);
        }
    }
}


/* 256 numbers of six bits: 128 bytes of low halves, 64 of the high bits. */

static void
qb_put_q6(uint8_t *out, const uint8_t *q)
{
    uint8_t *high = out + 128;
    int      i, h;

    for (h = 0; h < 2; h++, out += 64, high += 32, q += 128) {
        for (i = 0; i < 32; i++) {
            out[i] = (uint8_t) ((q[i] & 15) | (q[i + 64] & 15) << 4);
            out[i + 32] = (uint8_t) ((q[i + 32] & 15) | (q[i + 96] & 15) << 4);
            high[i] = (uint8_t) (q[i] >> 4 | q[i + 32] >> 4 << 2
                                 | q[i + 64] >> 4 << 4 | q[i + 96] >> 4 << 6);
        }
    }
}
