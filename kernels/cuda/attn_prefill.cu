/* Prefill attention in BF16, and which of the two; attn_prefill.cuh is it. */

#include "kernels/cuda/attn_prefill.cuh"


int
cu_attn_prefill_bf16(const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    return prefill_dispatch<__nv_bfloat16>(p, step, s);
}


int
cu_attn_prefill_fits(cu_type_t t, const cu_attn_t *p)
{
    static const uint32_t dims[] = {64, 80, 96, 128, 256};

    for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++) {
        if (p->head_dim == dims[i]) {
            return cu_attn_wide(t, p);
        }
    }

    return 0;
}


int
cu_attn_prefill(cu_type_t t, const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    if (!cu_attn_prefill_fits(t, p)) {
        return -EINVAL;
    }

    if (p->max_work == 0) {
        return 0;
    }

    return t == CU_F16 ? cu_attn_prefill_f16(p, step, s) : cu_attn_prefill_bf16(p, step, s);
}
