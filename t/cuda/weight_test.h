/*
 * What tests of weights share: a backend, sources of every type, and the
 * device's values against the formats' own definitions.
 */

#ifndef LLM_T_CUDA_WEIGHT_TEST_H
#define LLM_T_CUDA_WEIGHT_TEST_H

#include <errno.h>

#include "t/cuda/cu_test.h"
#include "t/kernels/formats.h"
#include "kernels/cuda/cu.h"

#define MIB (1u << 20)

/* What read() is called with, and its checks. */
typedef struct {
    const uint8_t *data;
    size_t         row;
    uint32_t       next;
    uint32_t       fail; /* the row that cannot be read */
    int            wrong;
} reader_t;

static k_backend_t *be;
static uint64_t     empty; /* bytes in use before anything is loaded */
static uint32_t     seed = 3;


DEV_UNUSED void
open_backend(void)
{
    char       err[K_ERR_MAX];
    uint64_t   size;
    k_config_t c;

    setenv("NGX_LLM_CACHE", "", 1);
    memset(&c, 0, sizeof(c));
    c.memory = 256 * MIB;
    if (k_backend_cuda.open(&c, &be, err) != 0) {
        printf("Bail out! open: %s\n", err);
        exit(2);
    }
    k_backend_cuda.memory(be, &size, &empty);
}


DEV_UNUSED uint64_t
used(void)
{
    uint64_t size, n;

    k_backend_cuda.memory(be, &size, &n);
    return n - empty;
}


DEV_UNUSED int
read_rows(void *ctx, uint32_t row, uint32_t n, void *out)
{
    reader_t *r = ctx;

    r->wrong += row != r->next || n == 0;
    r->next = row + n;

    if (r->fail >= row && r->fail < row + n) {
        return -EIO;
    }

    memcpy(out, r->data + row * r->row, n * r->row);
    return (int) n;
}


/* Random rows of a type, one byte off any alignment; owned by the caller. */
DEV_UNUSED uint8_t *
make(const t_type_t *t, uint32_t rows, uint32_t cols)
{
    size_t   row = cols / t->block * t->bytes;
    uint8_t *p = t_alloc(rows * row + 1);
    uint32_t i;

    for (i = 0; i < rows; i++) {
        t_weights(t, p + 1 + i * row, cols);
    }

    return p;
}


DEV_UNUSED k_source_t
source(const t_type_t *t, k_role_t role, const uint8_t *data, uint32_t rows,
       uint32_t cols)
{
    return (k_source_t){.type = t->type,
                        .role = role,
                        .rows = rows,
                        .cols = cols,
                        .data = data,
                        .name = t->name};
}


/* The device's values of rows [row, row + n). */
DEV_UNUSED double *
values(const cu_matrix_t *m, uint32_t row, uint32_t n)
{
    static const uint32_t elem[] = {
        [CU_F32] = 4, [CU_F16] = 2, [CU_BF16] = 2, [CU_F8] = 1};

    void     *dev;
    double   *v;
    cu_type_t type;

    v = malloc(n * m->cols * sizeof(double));
    type = m->form == CU_W_PLAIN ? m->type : CU_F16;

    if (m->form == CU_W_PLAIN) {
        dev_read(type, v,
                 (const uint8_t *) m->data
                     + (size_t) row * m->cols * elem[type],
                 n * m->cols);
        return v;
    }

    dev = dev_new(n * m->cols * 2);
    if (cu_dequant(CU_F16, m, row, n, dev, NULL) != 0) {
        printf("Bail out! cu_dequant\n");
        exit(2);
    }
    dev_read(type, v, dev, n * m->cols);
    dev_free(dev);

    return v;
}


/* How many are not the source's, within what T or BF16 can say. */
DEV_UNUSED int
differ(const cu_matrix_t *m, const t_type_t *t, const uint8_t *data,
       uint32_t from)
{
    int      bad;
    double  *v, want, most;
    size_t   row;
    uint32_t i, k;

    v = values(m, 0, m->rows);
    row = m->cols / t->block * t->bytes;
    most = m->form != CU_W_PLAIN ? 0x1p-10 : t->block > 1 ? 0x1p-8 : 0;
    bad = 0;

    for (i = 0; i < m->rows; i++) {
        for (k = 0; k < m->cols; k++) {
            want = t_element(t, data + (from + i) * row, k);
            bad += !(fabs(v[i * m->cols + k] - want)
                     <= most * fabs(want) + (most ? 1e-6 : 0));
        }
    }

    free(v);

    return bad;
}

#endif /* LLM_T_CUDA_WEIGHT_TEST_H */
