/* Prefill attention in F16; a file of its own to be compiled side by side. */

#include "kernels/cuda/attn_prefill.cuh"


int
cu_attn_prefill_f16(const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    return prefill_dispatch<__half>(p, step, s);
}
