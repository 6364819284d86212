/*
 * Block weights for tests of the CUDA backend: random GGUF rows on the host,
 * what they are worth by the formats' definitions (t/kernels/formats.h, in
 * double), and the same rows as a matrix in device memory.
 */

#ifndef LLM_CU_QUANT_REF_H
#define LLM_CU_QUANT_REF_H

#include <errno.h>

#include "kernels/cuda/quant.h"
#include "t/cuda/cu_test.h"
#include "t/kernels/formats.h"

typedef struct {
    const t_type_t *type;
    uint32_t        rows;
    uint32_t        cols;
    size_t          row; /* bytes in the file */
    uint8_t        *src;
    double         *w; /* [rows][cols] */
    cu_matrix_t     m;
    void           *mem;
} quant_t;


DEV_UNUSED const t_type_t *
quant_type(k_type_t type)
{
    size_t i;

    for (i = 0; t_types[i].type != type; i++) {
    }

    return &t_types[i];
}


/* Random rows; `experts` as in cu_matrix_t. */
DEV_UNUSED void
quant_new(quant_t *q, k_type_t type, uint32_t rows, uint32_t cols,
          uint32_t experts)
{
    void    *src;
    size_t   i, k;
    uint64_t size;

    memset(q, 0, sizeof(*q));
    q->type = quant_type(type);
    q->rows = rows;
    q->cols = cols;
    q->row = (size_t) cols / q->type->block * q->type->bytes;
    q->src = malloc(rows * q->row);
    q->w = malloc((size_t) rows * cols * sizeof(double));

    for (i = 0; i < rows; i++) {
        t_weights(q->type, q->src + i * q->row, cols);

        for (k = 0; k < cols; k++) {
            q->w[i * cols + k] =
                t_element(q->type, q->src + i * q->row, (uint32_t) k);
        }
    }

    q->m.rows = rows;
    q->m.cols = cols;
    q->m.experts = experts;

    if (cu_quant_form(type, &q->m.form) != 0) {
        printf("Bail out! no form of %s\n", q->type->name);
        exit(2);
    }

    size = cu_quant_layout(&q->m, NULL);
    q->mem = dev_new(size);
    cu_quant_layout(&q->m, q->mem);

    /* in two pieces, as from a file */
    src = dev_of(q->src, rows * q->row);
    k = rows / 3;
    is_int(cu_repack(&q->m, 0, (uint32_t) k, src, NULL), 0, "%s: repacked",
           q->type->name);
    is_int(cu_repack(&q->m, (uint32_t) k, rows - (uint32_t) k,
                     (uint8_t *) src + k * q->row, NULL),
           0, "%s: repacked to the end", q->type->name);
    CU_OK(cudaDeviceSynchronize());
    dev_free(src);
}


DEV_UNUSED void
quant_free(quant_t *q)
{
    dev_free(q->mem);
    free(q->src);
    free(q->w);
}

#endif /* LLM_CU_QUANT_REF_H */
