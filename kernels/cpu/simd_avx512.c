/*
 * The operations of simd.h over AVX-512.  Any compute thread calls
 * them, on memory of its own; chosen at run time by k_simd_table().
 */

#include "kernels/cpu/simd_512.h"

/* clang-format off: the vectors come first */
#include "kernels/cpu/simd_ops.inc"
#include "kernels/cpu/simd_attn.inc"
/* clang-format on */


const k_simd_t k_simd_avx512 = {
    .norm = v_norm,
    .mad = v_mad,
    .act = v_act,
    .scale = v_scale,
    .rope = v_rope,
    .half = v_half,
    .attn_page = v_attn_page,
    .attn_merge = v_attn_merge,
    .blocks = v_blocks,
    .mask = v_mask,
    .exps = v_exps,
    .collect = v_collect,
    .above = v_above,
};
