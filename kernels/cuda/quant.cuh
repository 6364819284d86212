/*
 * Block weights (quant.h) in a kernel's hands: a piece of 32 as signed bytes
 * for dp4a and int8 mma, as exact integers in pairs of T for 16-bit mma, as
 * scales in F32, as single values.
 *
 * All of it works on cu_quant_row_t, pointers to the four parts of a row: of
 * global memory, or of wherever a kernel has copied the bytes (pieces count
 * from where the pointers point; formats of 256 need a multiple of 8 there).
 *
 *     s8     F::unpack(w, h0, h1, j, &lo, &hi)   8 weights, times 2^SHIFT
 *     pairs  cu_quant_pairs<F, T>(...)           8 weights, integers i in T
 *     scale  cu_quant_scales<F>(row, p)          value = s[k / 16] * i + m
 *     value  cu_quant_value(w, row, col)         one, any form, slow
 *
 * Costs of 8 weights (a word), beside loads: s8 3 operations for 4 bits, 7
 * for 5 and 6, 11 for tables; pairs 6 more and 4 of packed T arithmetic.
 */

#ifndef LLM_KERNELS_CUDA_QUANT_CUH
#define LLM_KERNELS_CUDA_QUANT_CUH

#include "kernels/cuda/cu_device.cuh"
#include "kernels/cuda/quant.h"


/* How a form keeps its scales. */
typedef enum {
    CU_SCALE_D = 0, /* f16 d */
    CU_SCALE_DM,    /* f16 d, m */
    CU_SCALE_KM,    /* u8 s, m and super f16 d, e */
    CU_SCALE_K1,    /* s8 s and super f16 d */
    CU_SCALE_K2,    /* s8 s[2] and super f16 d */
    CU_SCALE_E      /* u8 exponent */
} cu_scale_t;

/* Bytes of a piece in each part. */
template <cu_form_t F> struct cu_quant_bytes;

#define CU_QUANT_BYTES(name, block, bytes, q, high, scale, super)                                  \
    template <> struct cu_quant_bytes<CU_W_##name> {                                               \
        static const int Q = q;                                                                    \
        static const int HIGH = high;                                                              \
        static const int SCALE = scale;                                                            \
        static const int SUPER = super; /* of 8 pieces */                                          \
        static const int BLOCK = block; /* the file's */                                           \
        static const int BYTES = bytes;                                                            \
    };
CU_QUANT_TABLE(CU_QUANT_BYTES)
#undef CU_QUANT_BYTES


/*
 * A form's weights.
 *
 *     KIND    cu_scale_t
 *     MIN     1: value = s * i + m, else s * i
 *     SHIFT   unpack() gives i * 2^SHIFT
 *     BIAS    biased() gives i + BIAS, 0 .. 255
 *     WIDE    1: biased() is above 127 somewhere
 *
 * unpack(), biased(): word j of a piece (LO[j] and HI[j]); w is the word, w2
 * is word 4 + j (Q8_0), h0 and h1 the words of `high` (those that there are).
 */
template <cu_form_t F> struct cu_quant;

/* Plain unsigned bits. */
template <> struct cu_quant<CU_W_Q4_1> : cu_quant_bytes<CU_W_Q4_1> {
    static const cu_scale_t KIND = CU_SCALE_DM;
    static const int        MIN = 1, SHIFT = 0, BIAS = 0, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t, uint32_t, uint32_t, int, uint32_t *lo, uint32_t *hi)
    {
        *lo = w & 0x0f0f0f0f;
        *hi = w >> 4 & 0x0f0f0f0f;
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        unpack(w, w2, h0, h1, j, lo, hi);
    }
};

template <> struct cu_quant<CU_W_Q4_K> : cu_quant_bytes<CU_W_Q4_K> {
    static const cu_scale_t KIND = CU_SCALE_KM;
    static const int        MIN = 1, SHIFT = 0, BIAS = 0, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        cu_quant<CU_W_Q4_1>::unpack(w, w2, h0, h1, j, lo, hi);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        unpack(w, w2, h0, h1, j, lo, hi);
    }
};

template <> struct cu_quant<CU_W_Q5_1> : cu_quant_bytes<CU_W_Q5_1> {
    static const cu_scale_t KIND = CU_SCALE_DM;
    static const int        MIN = 1, SHIFT = 0, BIAS = 0, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t, uint32_t h0, uint32_t, int j, uint32_t *lo, uint32_t *hi)
    {
        *lo = (w & 0x0f0f0f0f) | (h0 << (4 - j) & 0x10101010);
        *hi = (w >> 4 & 0x0f0f0f0f) | (h0 >> j & 0x10101010);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        unpack(w, w2, h0, h1, j, lo, hi);
    }
};

template <> struct cu_quant<CU_W_Q5_K> : cu_quant_bytes<CU_W_Q5_K> {
    static const cu_scale_t KIND = CU_SCALE_KM;
    static const int        MIN = 1, SHIFT = 0, BIAS = 0, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        cu_quant<CU_W_Q5_1>::unpack(w, w2, h0, h1, j, lo, hi);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        unpack(w, w2, h0, h1, j, lo, hi);
    }
};

/* Bits whose top one is inverted: signed when they stand at a byte's top. */
template <> struct cu_quant<CU_W_Q4_0> : cu_quant_bytes<CU_W_Q4_0> {
    static const cu_scale_t KIND = CU_SCALE_D;
    static const int        MIN = 0, SHIFT = 4, BIAS = 8, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t, uint32_t, uint32_t, int, uint32_t *lo, uint32_t *hi)
    {
        *lo = w << 4 & 0xf0f0f0f0;
        *hi = w & 0xf0f0f0f0;
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t, uint32_t, uint32_t, int, uint32_t *lo, uint32_t *hi)
    {
        *lo = (w & 0x0f0f0f0f) ^ 0x08080808;
        *hi = (w >> 4 & 0x0f0f0f0f) ^ 0x08080808;
    }
};

template <> struct cu_quant<CU_W_Q3_K> : cu_quant_bytes<CU_W_Q3_K> {
    static const cu_scale_t KIND = CU_SCALE_K2;
    static const int        MIN = 0, SHIFT = 4, BIAS = 8, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        cu_quant<CU_W_Q4_0>::unpack(w, w2, h0, h1, j, lo, hi);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        cu_quant<CU_W_Q4_0>::biased(w, w2, h0, h1, j, lo, hi);
    }
};

template <> struct cu_quant<CU_W_Q5_0> : cu_quant_bytes<CU_W_Q5_0> {
    static const cu_scale_t KIND = CU_SCALE_D;
    static const int        MIN = 0, SHIFT = 3, BIAS = 16, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t, uint32_t h0, uint32_t, int j, uint32_t *lo, uint32_t *hi)
    {
        *lo = (w << 3 & 0x78787878) | (h0 << (7 - j) & 0x80808080);
        *hi = (w >> 1 & 0x78787878) | (h0 << (3 - j) & 0x80808080);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        cu_quant<CU_W_Q5_1>::unpack(w, w2, h0, h1, j, lo, hi);
        *lo ^= 0x10101010;
        *hi ^= 0x10101010;
    }
};

template <> struct cu_quant<CU_W_Q6_K> : cu_quant_bytes<CU_W_Q6_K> {
    static const cu_scale_t KIND = CU_SCALE_K2;
    static const int        MIN = 0, SHIFT = 2, BIAS = 32, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        *lo = (w << 2 & 0x3c3c3c3c) | (h0 << (6 - 2 * j) & 0xc0c0c0c0);
        *hi = (w >> 2 & 0x3c3c3c3c) | (h1 << (6 - 2 * j) & 0xc0c0c0c0);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        *lo = ((w & 0x0f0f0f0f) | (h0 >> 2 * j & 0x03030303) << 4) ^ 0x20202020;
        *hi = ((w >> 4 & 0x0f0f0f0f) | (h1 >> 2 * j & 0x03030303) << 4) ^ 0x20202020;
    }
};

template <> struct cu_quant<CU_W_Q8_0> : cu_quant_bytes<CU_W_Q8_0> {
    static const cu_scale_t KIND = CU_SCALE_D;
    static const int        MIN = 0, SHIFT = 0, BIAS = 128, WIDE = 1;

    __device__ static inline void
    unpack(uint32_t w, uint32_t w2, uint32_t, uint32_t, int, uint32_t *lo, uint32_t *hi)
    {
        *lo = w;
        *hi = w2;
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t, uint32_t, int, uint32_t *lo, uint32_t *hi)
    {
        *lo = w ^ 0x80808080;
        *hi = w2 ^ 0x80808080;
    }
};


/*
 * A table of 16 bytes, looked up for each nibble of w: two permutations take
 * from its halves by the nibbles' low three bits, a third one chooses.
 */
__device__ static inline void
cu_quant_look(uint32_t w, const uint32_t t[4], uint32_t *lo, uint32_t *hi)
{
    uint32_t at, which;

    /* nibbles' places in a half; 0x3210, or 0x7654 where it is the upper one */
    at = w & 0x77777777;
    which = (w >> 1 & 0x44444444) | 0x32103210;
    *lo = cu_prmt(cu_prmt(t[0], t[1], at), cu_prmt(t[2], t[3], at), which);
    at >>= 16;
    *hi = cu_prmt(cu_prmt(t[0], t[1], at), cu_prmt(t[2], t[3], at), which >> 16);
}

/* 0, 1, 2, 3, 4, 6, 8, 12 and the same negative. */
template <> struct cu_quant<CU_W_MXFP4> : cu_quant_bytes<CU_W_MXFP4> {
    static const cu_scale_t KIND = CU_SCALE_E;
    static const int        MIN = 0, SHIFT = 0, BIAS = 16, WIDE = 0;

    __device__ static inline void
    unpack(uint32_t w, uint32_t, uint32_t, uint32_t, int, uint32_t *lo, uint32_t *hi)
    {
        const uint32_t t[4] = {0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc};

        cu_quant_look(w, t, lo, hi);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t, uint32_t, uint32_t, int, uint32_t *lo, uint32_t *hi)
    {
        const uint32_t t[4] = {0x13121110, 0x1c181614, 0x0d0e0f10, 0x04080a0c};

        cu_quant_look(w, t, lo, hi);
    }
};

/* -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113 */
template <> struct cu_quant<CU_W_IQ4_NL> : cu_quant_bytes<CU_W_IQ4_NL> {
    static const cu_scale_t KIND = CU_SCALE_D;
    static const int        MIN = 0, SHIFT = 0, BIAS = 128, WIDE = 1;

    __device__ static inline void
    unpack(uint32_t w, uint32_t, uint32_t, uint32_t, int, uint32_t *lo, uint32_t *hi)
    {
        const uint32_t t[4] = {0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535};

        cu_quant_look(w, t, lo, hi);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        unpack(w, w2, h0, h1, j, lo, hi);
        *lo ^= 0x80808080;
        *hi ^= 0x80808080;
    }
};


/* As IQ4_NL. */
template <> struct cu_quant<CU_W_IQ4_XS> : cu_quant_bytes<CU_W_IQ4_XS> {
    static const cu_scale_t KIND = CU_SCALE_K1;
    static const int        MIN = 0, SHIFT = 0, BIAS = 128, WIDE = 1;

    __device__ static inline void
    unpack(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        cu_quant<CU_W_IQ4_NL>::unpack(w, w2, h0, h1, j, lo, hi);
    }

    __device__ static inline void
    biased(uint32_t w, uint32_t w2, uint32_t h0, uint32_t h1, int j, uint32_t *lo, uint32_t *hi)
    {
        cu_quant<CU_W_IQ4_NL>::biased(w, w2, h0, h1, j, lo, hi);
    }
};


/* --- a row, and the words of a piece --- */

typedef struct {
    const uint8_t *q;
    const uint8_t *high;
    const uint8_t *scale;
    const uint8_t *super;
} cu_quant_row_t;

__device__ static inline cu_quant_row_t
cu_quant_at(const cu_quant_view_t &v, uint32_t row)
{
    const uint8_t *p = v.base + (size_t) row * v.stride;

    return {p + v.at[CU_PART_Q], p + v.at[CU_PART_HIGH], p + v.at[CU_PART_SCALE],
            p + v.at[CU_PART_SUPER]};
}


typedef struct {
    uint32_t w;
    uint32_t w2;
    uint32_t h0;
    uint32_t h1;
} cu_quant_word_t;

/* What unpack() and biased() want of word j of piece p. */
template <cu_form_t F>
__device__ static inline cu_quant_word_t
cu_quant_word(const cu_quant_row_t &r, uint32_t p, int j)
{
    typedef cu_quant<F> Q;

    cu_quant_word_t v = {0, 0, 0, 0};

    v.w = *(const uint32_t *) (r.q + p * Q::Q + j * 4);
    if constexpr (Q::Q == 32) {
        v.w2 = *(const uint32_t *) (r.q + p * Q::Q + 16 + j * 4);
    }
    if constexpr (Q::HIGH == 4) {
        v.h0 = *(const uint32_t *) (r.high + p * 4);
    }
    if constexpr (Q::HIGH == 8) {
        v.h0 = *(const uint32_t *) (r.high + p * 8);
        v.h1 = *(const uint32_t *) (r.high + p * 8 + 4);
    }
    return v;
}


/* --- scales --- */

typedef struct {
    float s[2]; /* of k < 16 and of the rest; equal but for KIND K2 */
    float m;    /* added; 0 where the form has none */
} cu_quant_scale_t;

__device__ static inline float
cu_quant_half(uint32_t h)
{
    return __half2float(__ushort_as_half((unsigned short) h));
}


/* 2^(e - 128), subnormal for e = 0 and 1. */
__device__ static inline float
cu_quant_e8m0(uint32_t e)
{
    return __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}


/*
 * From what stands in the parts: `scale`, the piece's 1, 2 or 4 bytes, and
 * `super`, the 2 or 4 of its eight, each as a little-endian number.  Products
 * are exact.
 */
template <cu_form_t F>
__device__ static inline cu_quant_scale_t
cu_quant_scale_of(uint32_t scale, uint32_t super)
{
    const cu_scale_t K = cu_quant<F>::KIND;

    float            d;
    cu_quant_scale_t v;

    if constexpr (K == CU_SCALE_E) {
        d = cu_quant_e8m0(scale);
        v = {{d, d}, 0.0f};
    } else if constexpr (K == CU_SCALE_D) {
        d = cu_quant_half(scale);
        v = {{d, d}, 0.0f};
    } else if constexpr (K == CU_SCALE_DM) {
        d = cu_quant_half(scale & 0xffff);
        v = {{d, d}, cu_quant_half(scale >> 16)};
    } else if constexpr (K == CU_SCALE_KM) {
        d = cu_quant_half(super & 0xffff) * (float) (scale & 0xff);
        v = {{d, d}, -cu_quant_half(super >> 16) * (float) (scale >> 8)};
    } else if constexpr (K == CU_SCALE_K1) {
        d = cu_quant_half(super) * (float) (int8_t) scale;
        v = {{d, d}, 0.0f};
    } else {
        d = cu_quant_half(super);
        v = {{d * (float) (int8_t) scale, d * (float) (int8_t) (scale >> 8)}, 0.0f};
    }
    return v;
}


template <cu_form_t F>
__device__ static inline cu_quant_scale_t
cu_quant_scales(const cu_quant_row_t &r, uint32_t p)
{
    typedef cu_quant<F> Q;

    uint32_t scale, super = 0;

    if constexpr (Q::SCALE == 1) {
        scale = r.scale[p];
    } else if constexpr (Q::SCALE == 2) {
        scale = *(const uint16_t *) (r.scale + p * 2);
    } else {
        scale = *(const uint32_t *) (r.scale + p * 4);
    }
    if constexpr (Q::SUPER == 2) {
        super = *(const uint16_t *) (r.super + p / 8 * 2);
    } else if constexpr (Q::SUPER == 4) {
        super = *(const uint32_t *) (r.super + p / 8 * 4);
    }
    return cu_quant_scale_of<F>(scale, super);
}


/* --- pairs of T --- */

/*
 * Four bytes, 0 .. 255, less BIAS, as two pairs of T, exactly.  A byte set
 * into the fraction of 1024 (F16) or 128 (BF16, bytes below 128 only) is added
 * to it; above that BF16 goes by way of F32 and 2^23.
 */
template <int BIAS, int WIDE>
__device__ static inline void
cu_quant_pair(uint32_t u, uint32_t out[2], __half)
{
    __half2  c = __float2half2_rn((float) (1024 + BIAS)), v[2];
    uint32_t b[2];

    b[0] = cu_prmt(u, 0x64646464, 0x4140);
    b[1] = cu_prmt(u, 0x64646464, 0x4342);
    memcpy(v, b, 8);
    v[0] = __hsub2(v[0], c);
    v[1] = __hsub2(v[1], c);
    memcpy(out, v, 8);
}


template <int BIAS, int WIDE>
__device__ static inline void
cu_quant_pair(uint32_t u, uint32_t out[2], __nv_bfloat16)
{
    if constexpr (WIDE) {
        const float c = (float) (8388608 + BIAS);

        out[0] = cu_pack<__nv_bfloat16>(__uint_as_float(cu_prmt(u, 0x4b000000, 0x7440)) - c,
                                        __uint_as_float(cu_prmt(u, 0x4b000000, 0x7441)) - c);
        out[1] = cu_pack<__nv_bfloat16>(__uint_as_float(cu_prmt(u, 0x4b000000, 0x7442)) - c,
                                        __uint_as_float(cu_prmt(u, 0x4b000000, 0x7443)) - c);
    } else {
        __nv_bfloat162 c = __float2bfloat162_rn((float) (128 + BIAS)), v[2];
        uint32_t       b[2];

        b[0] = cu_prmt(u, 0x43434343, 0x4140);
        b[1] = cu_prmt(u, 0x43434343, 0x4342);
        memcpy(v, b, 8);
        v[0] = __hsub2(v[0], c);
        v[1] = __hsub2(v[1], c);
        memcpy(out, v, 8);
    }
}


/*
 * The eight weights of word j as integers i in T, exact:
 *
 *     out[0] = i of k = 4j, 4j + 1         out[1] = 4j + 2, 4j + 3
 *     out[2] = 16 + 4j, 17 + 4j            out[3] = 18 + 4j, 19 + 4j
 *
 * With j = lane % 4 and row = lane / 4 these are, for two m16n8k16 whose k are
 * taken in the order (4j, 4j+1 | 4j+2, 4j+3), rows 0-7 of A (a[0] and a[2] of
 * the first: out[0], out[1]; of the second: out[2], out[3]), or B (b[0] and
 * b[1]).  The other operand is read in the same order: thread j takes the four
 * consecutive numbers at 4j, and at 16 + 4j.
 */
template <cu_form_t F, typename T>
__device__ static inline void
cu_quant_pairs(const cu_quant_word_t &v, int j, uint32_t out[4])
{
    typedef cu_quant<F> Q;

    uint32_t lo, hi;

    Q::biased(v.w, v.w2, v.h0, v.h1, j, &lo, &hi);
    cu_quant_pair<Q::BIAS, Q::WIDE>(lo, out, T());
    cu_quant_pair<Q::BIAS, Q::WIDE>(hi, out + 2, T());
}


/* The same weights' values in that order, F32: s * i + m, rounded once. */
template <cu_form_t F>
__device__ static inline void
cu_quant_floats(const cu_quant_word_t &v, int j, const cu_quant_scale_t &s, float out[8])
{
    typedef cu_quant<F> Q;

    int      i;
    float    c;
    uint32_t u[2];

    Q::biased(v.w, v.w2, v.h0, v.h1, j, &u[0], &u[1]);

    c = (float) (8388608 + Q::BIAS);
#pragma unroll
    for (i = 0; i < 8; i++) {
        out[i] = __uint_as_float(cu_prmt(u[i / 4], 0x4b000000, 0x7440 + i % 4)) - c;
        out[i] = Q::MIN ? fmaf(out[i], s.s[i / 4], s.m) : out[i] * s.s[i / 4];
    }
}


/* And in T, in cu_quant_pairs()' order. */
template <cu_form_t F, typename T>
__device__ static inline void
cu_quant_values(const cu_quant_word_t &v, int j, const cu_quant_scale_t &s, uint32_t out[4])
{
    int   i;
    float f[8];

    cu_quant_floats<F>(v, j, s, f);
#pragma unroll
    for (i = 0; i < 4; i++) {
        out[i] = cu_pack<T>(f[2 * i], f[2 * i + 1]);
    }
}


/* --- one value --- */

template <cu_form_t F>
__device__ static inline float
cu_quant_one(const cu_quant_view_t &view, uint32_t row, uint32_t col)
{
    typedef cu_quant<F> Q;

    int              i, k, j;
    uint32_t         lo, hi;
    cu_quant_row_t   r;
    cu_quant_word_t  w;
    cu_quant_scale_t s;

    r = cu_quant_at(view, row);
    k = (int) (col % CU_PIECE);
    j = k % 16 / 4;
    w = cu_quant_word<F>(r, col / CU_PIECE, j);
    s = cu_quant_scales<F>(r, col / CU_PIECE);
    Q::biased(w.w, w.w2, w.h0, w.h1, j, &lo, &hi);
    i = (int) ((k < 16 ? lo : hi) >> k % 4 * 8 & 0xff) - Q::BIAS;

    return fmaf((float) i, k < 16 ? s.s[0] : s.s[1], s.m);
}


/* The geometry, from the planes that the host has set. */
__device__ static inline cu_quant_view_t
cu_quant_view_of(const cu_matrix_t &w)
{
    int             i;
    uint32_t        at = 0, q = 0, high = 0, scale = 0, super = 0;
    cu_quant_view_t v;

    v.base = (const uint8_t *) w.plane[0];
    v.pieces = w.cols / CU_PIECE;

#define CU_QUANT_BYTES(name, block, bytes, nq, nh, ns, nu)                                         \
    if (w.form == CU_W_##name) {                                                                   \
        q = nq;                                                                                    \
        high = nh;                                                                                 \
        scale = ns;                                                                                \
        super = nu;                                                                                \
    }
    CU_QUANT_TABLE(CU_QUANT_BYTES)
#undef CU_QUANT_BYTES

    const uint32_t n[CU_PLANES] = {v.pieces * q, v.pieces * high, v.pieces * scale,
                                   v.pieces / 8 * super};
    for (i = 0; i < CU_PLANES; i++) {
        v.at[i] = at;
        at = (at + n[i] + 15) / 16 * 16;
    }
    v.stride = (at + 31) / 32 * 32;
    return v;
}


/* Element [row][col] of a matrix of any block form. */
__device__ static inline float
cu_quant_value(const cu_matrix_t &w, uint32_t row, uint32_t col)
{
    cu_quant_view_t v = cu_quant_view_of(w);

#define CU_QUANT_ONE(name, block, bytes, nq, nh, ns, nu)                                           \
    if (w.form == CU_W_##name) {                                                                   \
        return cu_quant_one<CU_W_##name>(v, row, col);                                             \
    }
    CU_QUANT_TABLE(CU_QUANT_ONE)
#undef CU_QUANT_ONE

    return 0.0f;
}

#endif /* LLM_KERNELS_CUDA_QUANT_CUH */
