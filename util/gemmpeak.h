/*
 * For llm-gemmbench: what the CPU gives at most, from registers alone.
 */

#ifndef LLM_UTIL_GEMMPEAK_H
#define LLM_UTIL_GEMMPEAK_H

#include "kernels/backend.h"

/*
 * Integer dot products u8 * s8 into 32 bits, from registers: 2 operations a
 * product.  10 independent chains.
 */

#if defined(__x86_64__)

#define GB_ROUNDS 4000

#define gb_ten(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9)

#define gb_vnni(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #n "\n\t"
#define gb_madd(n)                                                             \
    "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n\t"                                 \
    "vpmaddwd %%ymm12, %%ymm13, %%ymm12\n\t"                                   \
    "vpaddd %%ymm12, %%ymm" #n ", %%ymm" #n "\n\t"
#define gb_madd16(n)                                                           \
    "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n\t"                                 \
    "vpaddw %%ymm12, %%ymm" #n ", %%ymm" #n "\n\t"

#define gb_fma(n)    "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n\t"
#define gb_fma512(n) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #n "\n\t"

#define gb_low                                                                 \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",    \
        "xmm9", "xmm12"


__attribute__((target("avx512f"))) static double
gb_peak_vnni(void)
{
    int i;

    for (i = 0; i < GB_ROUNDS; i++) {
        __asm__ volatile(gb_ten(gb_vnni)::: gb_low);
    }

    return 2.0 * 64 * 10 * GB_ROUNDS;
}


__attribute__((target("avx2"))) static double
gb_peak_madd(void)
{
    int i;

    for (i = 0; i < GB_ROUNDS; i++) {
        __asm__ volatile(gb_ten(gb_madd)::: gb_low);
    }

    return 2.0 * 32 * 10 * GB_ROUNDS;
}


__attribute__((target("avx2"))) static double
gb_peak_madd16(void)
{
    int i;

    for (i = 0; i < GB_ROUNDS; i++) {
        __asm__ volatile(gb_ten(gb_madd16)::: gb_low);
    }

    return 2.0 * 32 * 10 * GB_ROUNDS;
}


/* Products in f32: 8 lanes, two operations each. */
__attribute__((target("avx2,fma"))) static double
gb_peak_fma(void)
{
    int i;

    for (i = 0; i < GB_ROUNDS; i++) {
        __asm__ volatile(gb_ten(gb_fma)::: gb_low);
    }

    return 2.0 * 8 * 10 * GB_ROUNDS;
}


/* The same of 16 lanes. */
__attribute__((target("avx512f"))) static double
gb_peak_fma512(void)
{
    int i;

    for (i = 0; i < GB_ROUNDS; i++) {
        __asm__ volatile(gb_ten(gb_fma512)::: gb_low);
    }

    return 2.0 * 16 * 10 * GB_ROUNDS;
}

#endif


/*
 * Operations done, some microseconds' worth: dot products u8 * s8 into 32
 * bits; the same with sums in 16 bits first, as 4-bit weights can (AVX2
 * only); products in f32.  0: not known for this ISA.
 */

static double
gb_peak_int(k_isa_t isa)
{
#if defined(__x86_64__)
    if (isa != K_ISA_SCALAR) {
        return isa == K_ISA_AVX512 ? gb_peak_vnni() : gb_peak_madd();
    }
#endif

    return 0;
}


static double
gb_peak_int16(k_isa_t isa)
{
#if defined(__x86_64__)
    if (isa == K_ISA_AVX2) {
        return gb_peak_madd16();
    }
#endif

    return 0;
}


static double
gb_peak_f32(k_isa_t isa)
{
#if defined(__x86_64__)
    if (isa != K_ISA_SCALAR) {
        return isa == K_ISA_AVX512 ? gb_peak_fma512() : gb_peak_fma();
    }
#endif

    return 0;
}

#endif /* LLM_UTIL_GEMMPEAK_H */
