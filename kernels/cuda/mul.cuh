/*
 * What products with our own kernels share: E4M3 as it comes from memory, and
 * how a finished number goes to Y (cu_mul_t).
 */

#ifndef LLM_KERNELS_CUDA_MUL_CUH
#define LLM_KERNELS_CUDA_MUL_CUH

#include <type_traits>

#include "kernels/cuda/cu_device.cuh"

/* The part of cu_mul_t that concerns Y, as kernels take it. */
typedef struct {
    const float *scales; /* of the matrix's rows, or NULL */
    const float *bias;   /* or NULL */
    void        *y;
    uint32_t     y_ld;
    uint32_t     rows;
    uint8_t      y_f32; /* else T */
    uint8_t      add;
    uint8_t      logits;
} cu_out_t;


/*
 * Bytes `Hi` and `Lo` of a word, E4M3, exactly as they are in F16: Lo in the
 * low half.  Without the instruction (before sm_89): a byte moved into F16's
 * place of sign, exponent and fraction is the number times 2^-8, subnormals
 * too; NaN is 480 there.
 */
template <int Lo, int Hi>
__device__ static inline __half2
cu_f8_half2(uint32_t w)
{
#if !defined(CU_EMULATED) && __CUDA_ARCH__ >= 890
    static_assert(Hi == Lo + 1 && Lo % 2 == 0, "a half of the word");

    return __half2(__nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t) (w >> Lo * 8), __NV_E4M3));
#else
    uint32_t a, b, h;
    __half2  v;

    a = w >> Lo * 8 << 8 & 0xff00u;
    b = w >> Hi * 8 << 24;
    h = a | b;
    h = (h & 0x80008000u) | (h >> 1 & 0x3f803f80u);
    memcpy((void *) &v, &h, 4);
    return __hmul2(v, __float2half2_rn(256.0f));
#endif
}


__device__ static inline float
cu_float(uint8_t f8)
{
    return __low2float(cu_f8_half2<0, 1>(f8));
}


/* Two of T as F32, with one instruction each. */
template <typename T>
__device__ static inline float2
cu_floats(uint32_t w)
{
    if constexpr (std::is_same<T, __nv_bfloat16>::value) {
        return make_float2(__uint_as_float(w << 16), __uint_as_float(w & 0xffff0000u));
    } else {
        return cu_unpack<T>(w);
    }
}


/* How many of the bucket's rows the step has. */
__device__ static inline uint32_t
cu_out_rows(const cu_out_t *o, const cu_step_t *step)
{
    return min(o->rows, o->logits ? step->n_logits : step->n_rows);
}


/* What is added to number i of `row`: to be asked for before it is needed. */
__device__ static inline float
cu_out_base(const cu_out_t *o, uint32_t row, uint32_t i, uint32_t bias)
{
    float v = 0;

    if (o->bias != NULL) {
        v = o->bias[bias];
    }
    if (o->add) {
        v += ((const float *) o->y)[(size_t) row * o->y_ld + i];
    }
    return v;
}


template <typename T>
__device__ static inline void
cu_out_put(const cu_out_t *o, uint32_t row, uint32_t i, float v)
{
    size_t at = (size_t) row * o->y_ld + i;

    if (o->y_f32) {
        ((float *) o->y)[at] = v;
    } else {
        ((T *) o->y)[at] = cu_to<T>(v);
    }
}


/* 0 or -EINVAL: what does not depend on the weights' form. */
static inline int
cu_out_of(cu_out_t *o, cu_type_t t, const cu_mul_t *p)
{
    if ((t != CU_F16 && t != CU_BF16) || (p->y_type != t && p->y_type != CU_F32)
        || (p->add && p->y_type != CU_F32) || p->rows == 0 || p->w->rows == 0 || p->w->cols == 0) {
        return -EINVAL;
    }

    o->scales = p->w->form == CU_W_PLAIN && p->w->type == CU_F8 ? p->w->scales : NULL;
    o->bias = p->bias;
    o->y = p->y;
    o->y_ld = p->y_ld;
    o->rows = p->rows;
    o->y_f32 = p->y_type == CU_F32;
    o->add = p->add != 0;
    o->logits = p->logits != 0;

    return 0;
}


/* Multiprocessors of the current device; 0: there is none. */
static inline uint32_t
cu_sms(void)
{
    int device, n;

    if (cudaGetDevice(&device) != cudaSuccess
        || cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
        return 0;
    }
    return (uint32_t) n;
}

#endif /* LLM_KERNELS_CUDA_MUL_CUH */
