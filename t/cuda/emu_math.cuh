/*
 * CUDA's device-only arithmetic for g++, part of emu.cuh: bits, conversions,
 * integer instructions, fast functions, and the half and bfloat16 arithmetic
 * that CUDA's headers keep from host compilers.  Fast functions are the exact
 * ones here: tests of kernels have tolerances, not bits.
 */

#ifndef LLM_T_CUDA_EMU_MATH_CUH
#define LLM_T_CUDA_EMU_MATH_CUH

/* --- bits --- */

#define EMU_BITS(NAME, TO, FROM)                                                                   \
    EMU_INLINE TO NAME(FROM v)                                                                     \
    {                                                                                              \
        TO w;                                                                                      \
                                                                                                   \
        static_assert(sizeof(TO) == sizeof(FROM), "of one size");                                  \
        memcpy(&w, &v, sizeof(w));                                                                 \
        return w;                                                                                  \
    }

EMU_BITS(__float_as_uint, unsigned, float)
EMU_BITS(__uint_as_float, float, unsigned)
EMU_BITS(__float_as_int, int, float)
EMU_BITS(__int_as_float, float, int)
EMU_BITS(__double_as_longlong, long long, double)
EMU_BITS(__longlong_as_double, double, long long)


EMU_INLINE int
__double2hiint(double v)
{
    return (int) (__double_as_longlong(v) >> 32);
}


EMU_INLINE int
__double2loint(double v)
{
    return (int) __double_as_longlong(v);
}


EMU_INLINE double
__hiloint2double(int hi, int lo)
{
    return __longlong_as_double((long long) ((uint64_t) (uint32_t) hi << 32 | (uint32_t) lo));
}


EMU_INLINE int
__popc(unsigned v)
{
    return __builtin_popcount(v);
}


EMU_INLINE int
__popcll(unsigned long long v)
{
    return __builtin_popcountll(v);
}


EMU_INLINE int
__ffs(int v)
{
    return __builtin_ffs(v);
}


EMU_INLINE int
__ffsll(long long v)
{
    return __builtin_ffsll(v);
}


EMU_INLINE int
__clz(int v)
{
    return v == 0 ? 32 : __builtin_clz((unsigned) v);
}


EMU_INLINE int
__clzll(long long v)
{
    return v == 0 ? 64 : __builtin_clzll((unsigned long long) v);
}


EMU_INLINE unsigned
__brev(unsigned v)
{
    unsigned w = 0;

    for (int i = 0; i < 32; i++) {
        w |= (v >> i & 1) << (31 - i);
    }
    return w;
}


/* prmt.b32: selector nibbles; bit 3 spreads the byte's sign. */
EMU_INLINE unsigned
__byte_perm(unsigned a, unsigned b, unsigned s)
{
    uint64_t from = (uint64_t) b << 32 | a;
    unsigned out = 0;

    for (int i = 0; i < 4; i++) {
        unsigned pick = s >> (4 * i) & 15;
        unsigned byte = (unsigned) (from >> (8 * (pick & 7))) & 255;

        if (pick & 8) {
            byte = byte & 128 ? 255 : 0;
        }
        out |= byte << (8 * i);
    }
    return out;
}


EMU_INLINE unsigned
__funnelshift_l(unsigned lo, unsigned hi, unsigned n)
{
    return (unsigned) (((uint64_t) hi << 32 | lo) << (n & 31) >> 32);
}


EMU_INLINE unsigned
__funnelshift_r(unsigned lo, unsigned hi, unsigned n)
{
    return (unsigned) (((uint64_t) hi << 32 | lo) >> (n & 31));
}


EMU_INLINE unsigned
__umulhi(unsigned a, unsigned b)
{
    return (unsigned) ((uint64_t) a * b >> 32);
}


EMU_INLINE int
__mulhi(int a, int b)
{
    return (int) ((int64_t) a * b >> 32);
}


EMU_INLINE unsigned long long
__umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long) ((unsigned __int128) a * b >> 64);
}


EMU_INLINE int
__mul24(int a, int b)
{
    return (int) ((unsigned) (a << 8 >> 8) * (unsigned) (b << 8 >> 8));
}


EMU_INLINE unsigned
__umul24(unsigned a, unsigned b)
{
    return (a & 0xffffff) * (b & 0xffffff);
}


/* Four products of bytes; sums wrap. */
EMU_INLINE int
__dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++) {
        c = (int) ((unsigned) c
                   + (unsigned) ((int) (int8_t) ((unsigned) a >> (8 * i))
                                 * (int) (int8_t) ((unsigned) b >> (8 * i))));
    }
    return c;
}


EMU_INLINE unsigned
__dp4a(unsigned a, unsigned b, unsigned c)
{
    for (int i = 0; i < 4; i++) {
        c += (a >> (8 * i) & 255) * (b >> (8 * i) & 255);
    }
    return c;
}


/* Bytes apart from each other. */
#define EMU_BYTES(NAME, EXPR)                                                                      \
    EMU_INLINE unsigned NAME(unsigned a, unsigned b)                                               \
    {                                                                                              \
        unsigned out = 0;                                                                          \
                                                                                                   \
        for (int i = 0; i < 4; i++) {                                                              \
            int x = (int) (a >> (8 * i) & 255), y = (int) (b >> (8 * i) & 255);                    \
            int sx = (int8_t) x, sy = (int8_t) y;                                                  \
                                                                                                   \
            (void) sx;                                                                             \
            (void) sy;                                                                             \
            out |= ((unsigned) (EXPR) &255) << (8 * i);                                            \
        }                                                                                          \
        return out;                                                                                \
    }

#define EMU_CLAMP8(V) ((V) < -128 ? -128 : (V) > 127 ? 127 : (V))

EMU_BYTES(__vadd4, x + y)
EMU_BYTES(__vsub4, x - y)
EMU_BYTES(__vaddss4, EMU_CLAMP8(sx + sy))
EMU_BYTES(__vsubss4, EMU_CLAMP8(sx - sy))
EMU_BYTES(__vmaxs4, sx > sy ? sx : sy)
EMU_BYTES(__vmins4, sx < sy ? sx : sy)
EMU_BYTES(__vmaxu4, x > y ? x : y)
EMU_BYTES(__vminu4, x < y ? x : y)
EMU_BYTES(__vcmpeq4, x == y ? 255 : 0)
EMU_BYTES(__vcmpne4, x != y ? 255 : 0)
EMU_BYTES(__vabsdiffu4, x > y ? x - y : y - x)


/* --- smaller and larger of two --- */

#define EMU_MINMAX(T)                                                                              \
    EMU_INLINE T min(T a, T b)                                                                     \
    {                                                                                              \
        return b < a ? b : a;                                                                      \
    }                                                                                              \
    EMU_INLINE T max(T a, T b)                                                                     \
    {                                                                                              \
        return a < b ? b : a;                                                                      \
    }

EMU_MINMAX(int)
EMU_MINMAX(unsigned)
EMU_MINMAX(long)
EMU_MINMAX(unsigned long)
EMU_MINMAX(long long)
EMU_MINMAX(unsigned long long)

EMU_INLINE unsigned
min(int a, unsigned b)
{
    return min((unsigned) a, b);
}


EMU_INLINE unsigned
min(unsigned a, int b)
{
    return min(a, (unsigned) b);
}


EMU_INLINE unsigned
max(int a, unsigned b)
{
    return max((unsigned) a, b);
}


EMU_INLINE unsigned
max(unsigned a, int b)
{
    return max(a, (unsigned) b);
}


EMU_INLINE float
min(float a, float b)
{
    return fminf(a, b);
}


EMU_INLINE float
max(float a, float b)
{
    return fmaxf(a, b);
}


EMU_INLINE double
min(double a, double b)
{
    return fmin(a, b);
}


EMU_INLINE double
max(double a, double b)
{
    return fmax(a, b);
}


/* --- single precision --- */

/* The C library has some of these names, as functions of its own. */
#define __expf     emu_expf
#define __exp10f   emu_exp10f
#define __logf     emu_logf
#define __log2f    emu_log2f
#define __log10f   emu_log10f
#define __sinf     emu_sinf
#define __cosf     emu_cosf
#define __tanf     emu_tanf
#define __tanhf    emu_tanhf
#define __powf     emu_powf
#define __sincosf  emu_sincosf
#define rsqrtf     emu_rsqrtf
#define rsqrt      emu_rsqrt
#define sinpif     emu_sinpif
#define cospif     emu_cospif
#define __fdividef emu_fdividef

#define EMU_F32(NAME, ARGS, EXPR)                                                                  \
    EMU_INLINE float NAME ARGS                                                                     \
    {                                                                                              \
        return EXPR;                                                                               \
    }

EMU_F32(emu_expf, (float x), exp2f(x * 1.442695041f))
EMU_F32(emu_exp10f, (float x), exp2f(x * 3.321928095f))
EMU_F32(emu_logf, (float x), log2f(x) * 0.6931471806f)
EMU_F32(emu_log2f, (float x), log2f(x))
EMU_F32(emu_log10f, (float x), log2f(x) * 0.3010299957f)
EMU_F32(emu_sinf, (float x), sinf(x))
EMU_F32(emu_cosf, (float x), cosf(x))
EMU_F32(emu_tanf, (float x), tanf(x))
EMU_F32(emu_tanhf, (float x), tanhf(x))
EMU_F32(emu_powf, (float x, float y), exp2f(y *log2f(x)))
EMU_F32(emu_rsqrtf, (float x), (float) (1.0 / sqrt((double) x)))
EMU_F32(emu_sinpif, (float x), (float) sin(3.141592653589793 * fmod((double) x, 2.0)))
EMU_F32(emu_cospif, (float x), (float) cos(3.141592653589793 * fmod((double) x, 2.0)))
EMU_F32(emu_fdividef, (float x, float y), fabsf(y) > 0x1p126f ? 0.0f * x : x / y)
EMU_F32(__saturatef, (float x), x > 0 ? (x < 1 ? x : 1.0f) : 0.0f)
EMU_F32(__frcp_rn, (float x), 1.0f / x)
EMU_F32(__fsqrt_rn, (float x), sqrtf(x))
EMU_F32(__frsqrt_rn, (float x), (float) (1.0 / sqrt((double) x)))
EMU_F32(__fadd_rn, (float x, float y), x + y)
EMU_F32(__fsub_rn, (float x, float y), x - y)
EMU_F32(__fmul_rn, (float x, float y), x *y)
EMU_F32(__fdiv_rn, (float x, float y), x / y)
EMU_F32(__fmaf_rn, (float x, float y, float z), fmaf(x, y, z))


EMU_INLINE double
emu_rsqrt(double x)
{
    return 1.0 / sqrt(x);
}


EMU_INLINE void
emu_sincosf(float x, float *s, float *c)
{
    *s = sinf(x);
    *c = cosf(x);
}


EMU_INLINE double
__dadd_rn(double x, double y)
{
    return x + y;
}


EMU_INLINE double
__dsub_rn(double x, double y)
{
    return x - y;
}


EMU_INLINE double
__dmul_rn(double x, double y)
{
    return x * y;
}


EMU_INLINE double
__ddiv_rn(double x, double y)
{
    return x / y;
}


EMU_INLINE double
__fma_rn(double x, double y, double z)
{
    return fma(x, y, z);
}


/* Conversions saturate and NaN is 0, as cvt does. */
template <typename T>
static inline T
emu_int(double x)
{
    if (x != x) {
        return 0;
    }
    if (x <= (double) std::numeric_limits<T>::min()) {
        return std::numeric_limits<T>::min();
    }
    if (x >= (double) std::numeric_limits<T>::max()) {
        return std::numeric_limits<T>::max();
    }
    return (T) x;
}

#define EMU_CVT(NAME, TO, FROM, EXPR)                                                              \
    EMU_INLINE TO NAME(FROM x)                                                                     \
    {                                                                                              \
        return EXPR;                                                                               \
    }

EMU_CVT(__float2int_rn, int, float, emu_int<int>(rint((double) x)))
EMU_CVT(__float2int_rz, int, float, emu_int<int>(trunc((double) x)))
EMU_CVT(__float2int_rd, int, float, emu_int<int>(floor((double) x)))
EMU_CVT(__float2int_ru, int, float, emu_int<int>(ceil((double) x)))
EMU_CVT(__float2uint_rn, unsigned, float, emu_int<unsigned>(rint((double) x)))
EMU_CVT(__float2uint_rz, unsigned, float, emu_int<unsigned>(trunc((double) x)))
EMU_CVT(__float2uint_rd, unsigned, float, emu_int<unsigned>(floor((double) x)))
EMU_CVT(__float2ll_rn, long long, float, emu_int<long long>(rint((double) x)))
EMU_CVT(__double2int_rn, int, double, emu_int<int>(rint(x)))
EMU_CVT(__double2int_rz, int, double, emu_int<int>(trunc(x)))
EMU_CVT(__double2ll_rn, long long, double, emu_int<long long>(rint(x)))
EMU_CVT(__int2float_rn, float, int, (float) x)
EMU_CVT(__uint2float_rn, float, unsigned, (float) x)
EMU_CVT(__ll2float_rn, float, long long, (float) x)
EMU_CVT(__ull2float_rn, float, unsigned long long, (float) x)
EMU_CVT(__double2float_rn, float, double, (float) x)
EMU_CVT(__int2double_rn, double, int, (double) x)
EMU_CVT(__uint2double_rn, double, unsigned, (double) x)
EMU_CVT(__ull2double_rn, double, unsigned long long, (double) x)


/* --- half and bfloat16: what is for nvcc only --- */

/* Through double, whose product and sum of two halves' product and a half
   are exact enough to be rounded once. */
#define __hfma      emu_hfma
#define __hfma2     emu_hfma2
#define __hfma_sat  emu_hfma_sat
#define __hfma_relu emu_hfma_relu
#define hexp        emu_hexp
#define hexp2       emu_hexp2
#define hlog        emu_hlog
#define hlog2       emu_hlog2
#define hsqrt       emu_hsqrt
#define hrsqrt      emu_hrsqrt
#define hrcp        emu_hrcp
#define htanh       emu_htanh
#define h2exp       emu_h2exp
#define h2exp2      emu_h2exp2
#define h2sqrt      emu_h2sqrt
#define h2rsqrt     emu_h2rsqrt
#define h2rcp       emu_h2rcp
#define h2tanh      emu_h2tanh

EMU_INLINE __half
emu_hfma(__half a, __half b, __half c)
{
    return __double2half((double) __half2float(a) * (double) __half2float(b)
                         + (double) __half2float(c));
}


EMU_INLINE __nv_bfloat16
emu_hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c)
{
    return __double2bfloat16((double) __bfloat162float(a) * (double) __bfloat162float(b)
                             + (double) __bfloat162float(c));
}


EMU_INLINE __half2
emu_hfma2(__half2 a, __half2 b, __half2 c)
{
    return __halves2half2(emu_hfma(__low2half(a), __low2half(b), __low2half(c)),
                          emu_hfma(__high2half(a), __high2half(b), __high2half(c)));
}


EMU_INLINE __nv_bfloat162
emu_hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c)
{
    return __halves2bfloat162(emu_hfma(__low2bfloat16(a), __low2bfloat16(b), __low2bfloat16(c)),
                              emu_hfma(__high2bfloat16(a), __high2bfloat16(b), __high2bfloat16(c)));
}


template <typename T>
static inline T
emu_hfma_relu(T a, T b, T c)
{
    T v = emu_hfma(a, b, c);

    return (float) v < 0 ? T(0.0f) : v;
}


template <typename T>
static inline T
emu_hfma_sat(T a, T b, T c)
{
    T v = emu_hfma(a, b, c);

    return (float) v > 0 ? ((float) v < 1 ? v : T(1.0f)) : T(0.0f);
}

#define EMU_HALF(NAME, NAME2, EXPR)                                                                \
    EMU_INLINE float NAME##_f(float x)                                                             \
    {                                                                                              \
        return EXPR;                                                                               \
    }                                                                                              \
    EMU_INLINE __half NAME(__half a)                                                               \
    {                                                                                              \
        return __float2half_rn(NAME##_f(__half2float(a)));                                         \
    }                                                                                              \
    EMU_INLINE __nv_bfloat16 NAME(__nv_bfloat16 a)                                                 \
    {                                                                                              \
        return __float2bfloat16_rn(NAME##_f(__bfloat162float(a)));                                 \
    }                                                                                              \
    EMU_INLINE __half2 NAME2(__half2 a)                                                            \
    {                                                                                              \
        return __halves2half2(NAME(__low2half(a)), NAME(__high2half(a)));                          \
    }                                                                                              \
    EMU_INLINE __nv_bfloat162 NAME2(__nv_bfloat162 a)                                              \
    {                                                                                              \
        return __halves2bfloat162(NAME(__low2bfloat16(a)), NAME(__high2bfloat16(a)));              \
    }

EMU_HALF(emu_hexp, emu_h2exp, expf(x))
EMU_HALF(emu_hexp2, emu_h2exp2, exp2f(x))
EMU_HALF(emu_hlog, emu_h2log, logf(x))
EMU_HALF(emu_hlog2, emu_h2log2, log2f(x))
EMU_HALF(emu_hsqrt, emu_h2sqrt, sqrtf(x))
EMU_HALF(emu_hrsqrt, emu_h2rsqrt, 1.0f / sqrtf(x))
EMU_HALF(emu_hrcp, emu_h2rcp, 1.0f / x)
EMU_HALF(emu_htanh, emu_h2tanh, tanhf(x))


#define __half2int_rn  emu_half2int_rn
#define __half2uint_rn emu_half2uint_rn

EMU_CVT(emu_half2int_rn, int, __half, __float2int_rn(__half2float(x)))
EMU_CVT(emu_half2uint_rn, unsigned, __half, __float2uint_rn(__half2float(x)))

#endif /* LLM_T_CUDA_EMU_MATH_CUH */
