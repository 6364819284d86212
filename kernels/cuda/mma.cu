/*
 * cu_mma(): products on the tensor cores with weights of any form, experts'
 * too; mma.cuh has the kernel and says how it works.  Plain weights' copies of
 * it are here.
 */

#include "kernels/cuda/mma.cuh"

#define CU_MMA_FEW 16 /* rows of a tile of the smaller kernel */


template <typename T>
static int
cu_mma_type(cu_type_t w, cu_mma_t *p, int few, uint32_t y, uint32_t sms, cu_stream_t s)
{
    switch (w) {
    case CU_F32:
        return cu_mma_rows<T, cu_mma_plain<T, float>>(p, few, y, sms, s);
    case CU_F16:
        return cu_mma_rows<T, cu_mma_plain<T, __half>>(p, few, y, sms, s);
    case CU_BF16:
        return cu_mma_rows<T, cu_mma_plain<T, __nv_bfloat16>>(p, few, y, sms, s);
    case CU_F8:
        return cu_mma_rows<T, cu_mma_plain<T, uint8_t>>(p, few, y, sms, s);
    }
    return -EINVAL;
}


/* The weights' geometry. */
static int
cu_mma_weights(cu_mma_t *m, const cu_mul_t *p)
{
    uint32_t size;

    static const uint8_t sizes[] = {4, 2, 2, 1};

    if (p->w->form != CU_W_PLAIN) {
        m->odd = 0;
        return cu_quant_view(p->w->form, p->w->cols, p->w->plane[0], &m->w);
    }

    if (p->w->type > CU_F8) {
        return -EINVAL;
    }

    size = sizes[p->w->type];
    m->w.base = (const uint8_t *) p->w->data;
    m->w.stride = p->w->cols * size;
    m->w.pieces = (p->w->cols + CU_PIECE - 1) / CU_PIECE;
    m->odd = m->w.stride % 16 != 0 || p->w->cols % 8 != 0 || (uintptr_t) p->w->data % 16 != 0
             || (uintptr_t) p->x % 16 != 0;

    return 0;
}


int
cu_mma(cu_type_t t, const cu_mul_t *p, const cu_step_t *step, cu_stream_t s)
{
    int      few;
    cu_mma_t m = {};
    uint32_t y, sms, size, active;

    if (cu_out_of(&m.out, t, p) != 0 || cu_mma_weights(&m, p) != 0) {
        return -EINVAL;
    }

    m.x = p->x;
    m.step = step;
    m.n = p->w->rows;
    m.cols = p->w->cols;
    m.x_div = 1;

    few = p->rows <= CU_MMA_FEW;
    size = few ? CU_MMA_FEW : 64;
    y = (p->rows + size - 1) / size;

    if (p->slots != NULL) {
        m.experts = p->w->experts;
        if (m.experts == 0 || m.experts > 1024 || p->w->rows % m.experts != 0 || p->x_div == 0
            || p->n_slots == 0) {
            return -EINVAL;
        }
        m.slots = p->slots;
        m.first = p->first;
        m.x_div = p->x_div;
        m.n = p->w->rows / m.experts;

        /* As many tiles as there can be: a partly full one for each expert. */
        few = p->n_slots / m.experts < CU_MMA_FEW;
        size = few ? CU_MMA_FEW : 64;
        active = p->n_slots < m.experts ? p->n_slots : m.experts;
        y = active + (p->n_slots - active) / size;
    }

    sms = cu_sms();
    if (sms == 0) {
        return -EIO;
    }

    if (p->w->form != CU_W_PLAIN) {
        return (t == CU_F16 ? cu_mma_f16 : cu_mma_bf16)(p->w->form, &m, few, y, sms, s);
    }
    return t == CU_F16 ? cu_mma_type<__half>(p->w->type, &m, few, y, sms, s)
                       : cu_mma_type<__nv_bfloat16>(p->w->type, &m, few, y, sms, s);
}
