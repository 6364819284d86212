/*
 * Block weights on the host's side: which form a GGUF type has on the device,
 * how many bytes it takes and where its parts lie (quant.h).  Pure functions,
 * any thread.
 */

#include <errno.h>

#include "kernels/cuda/quant.h"


typedef struct {
    uint32_t block; /* weights, in the file */
    uint32_t bytes; /* of a block, in the file */
    uint32_t part[CU_PLANES];
} cu_quant_size_t;

#define CU_QUANT_SIZE(name, block, bytes, q, high, scale, super)                                   \
    [CU_W_##name] = {block, bytes, {q, high, scale, super}},

static const cu_quant_size_t cu_quant_sizes[CU_W_FORMS] = {CU_QUANT_TABLE(CU_QUANT_SIZE)};

static const struct {
    k_type_t  type;
    cu_form_t form;
} cu_quant_types[] = {{K_Q8_0, CU_W_Q8_0},     {K_Q4_0, CU_W_Q4_0},     {K_Q4_1, CU_W_Q4_1},
                      {K_Q5_0, CU_W_Q5_0},     {K_Q5_1, CU_W_Q5_1},     {K_Q4_K, CU_W_Q4_K},
                      {K_Q5_K, CU_W_Q5_K},     {K_Q6_K, CU_W_Q6_K},     {K_MXFP4, CU_W_MXFP4},
                      {K_IQ4_NL, CU_W_IQ4_NL}, {K_IQ4_XS, CU_W_IQ4_XS}, {K_Q3_K, CU_W_Q3_K}};


int
cu_quant_form(k_type_t type, cu_form_t *form)
{
    size_t i;

    for (i = 0; i < sizeof(cu_quant_types) / sizeof(cu_quant_types[0]); i++) {
        if (cu_quant_types[i].type == type) {
            *form = cu_quant_types[i].form;
            return 0;
        }
    }

    return -ENOTSUP;
}


uint64_t
cu_quant_source_row(cu_form_t form, uint32_t cols)
{
    const cu_quant_size_t *size;

    if (form <= CU_W_PLAIN || form >= CU_W_FORMS) {
        return 0;
    }

    size = &cu_quant_sizes[form];

    return cols % size->block ? 0 : (uint64_t) (cols / size->block) * size->bytes;
}


int
cu_quant_view(cu_form_t form, uint32_t cols, const void *base, cu_quant_view_t *v)
{
    uint32_t               i;
    uint64_t               at, n;
    const cu_quant_size_t *size;

    /* so many columns that offsets in a row stay below 2^32 */
    if (cu_quant_source_row(form, cols) == 0 || cols > 1u << 30) {
        return -EINVAL;
    }

    size = &cu_quant_sizes[form];
    v->base = base;
    v->pieces = cols / CU_PIECE;
    at = 0;

    for (i = 0; i < CU_PLANES; i++) {
        v->at[i] = (uint32_t) at;
        n = i == CU_PART_SUPER ? v->pieces / 8 : v->pieces;
        at = (at + n * size->part[i] + 15) / 16 * 16;
    }

    v->stride = (uint32_t) ((at + 31) / 32 * 32);

    return 0;
}


uint64_t
cu_quant_row(cu_form_t form, uint32_t cols)
{
    cu_quant_view_t v;

    return cu_quant_view(form, cols, NULL, &v) == 0 ? v.stride : 0;
}


uint64_t
cu_quant_layout(cu_matrix_t *w, void *base)
{
    uint32_t        i;
    cu_quant_view_t v;

    if (cu_quant_view(w->form, w->cols, base, &v) != 0) {
        return 0;
    }

    w->data = base;

    for (i = 0; i < CU_PLANES; i++) {
        w->plane[i] =
            base != NULL && cu_quant_sizes[w->form].part[i] != 0 ? v.base + v.at[i] : NULL;
    }

    return (uint64_t) w->rows * v.stride;
}
