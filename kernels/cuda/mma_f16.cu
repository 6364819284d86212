/* Products of block forms with X in F16: see mma.cuh. */

#include "kernels/cuda/mma.cuh"


int
cu_mma_f16(cu_form_t form, cu_mma_t *p, int few, uint32_t y, uint32_t sms, cu_stream_t s)
{
    return cu_mma_form<__half>(form, p, few, y, sms, s);
}
