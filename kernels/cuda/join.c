/*
 * Matrices of one product that are one matrix: where the loader has put them
 * side by side they are joined as they lie; else they are moved together once,
 * when a program is prepared.
 *
 * Called by the loader's thread; works on the loader's stream under load_lock.
 * The memory of merged matrices is their common property: the last one that is
 * freed gives it back.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cu.h"
#include "kernels/cuda/quant.h"

#define JOIN_MAX 8 /* matrices of a product */


struct cu_shared_s {
    uint32_t refs; /* atomic */
    void    *mem;
    uint64_t size;
    void    *scales;
    uint64_t size_scales;
};


static uint64_t row_bytes(const cu_matrix_t *m);
static int      alike(const cu_matrix_t *a, const cu_matrix_t *b);
static int      copy(k_backend_t *be, k_weight_t *const *w, uint32_t n, const cu_shared_t *s);
static void     rebase(k_backend_t *be, k_weight_t *const *w, uint32_t n, cu_shared_t *s);


void
cu_shared_drop(k_backend_t *be, cu_shared_t *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }

    cu_arena_free(be->arena, s->mem, s->size);
    cu_arena_free(be->arena, s->scales, s->size_scales);
    free(s);
}


int
cu_weights_join(const cu_matrix_t *const *m, uint32_t n, cu_matrix_t *all)
{
    uint32_t           i;
    uint64_t           rows, row;
    const cu_matrix_t *a;

    if (n == 0) {
        return 0;
    }

    a = m[0];
    *all = *a;
    row = row_bytes(a);
    rows = a->rows;

    for (i = 1; i < n; i++) {
        if (!alike(a, m[i])
            || (const uint8_t *) m[i]->data != (const uint8_t *) a->data + rows * row
            || (a->scales != NULL && m[i]->scales != a->scales + rows)) {
            return 0;
        }
        rows += m[i]->rows;
    }

    if (rows > UINT32_MAX) {
        return 0;
    }

    all->rows = (uint32_t) rows;

    return 1;
}


int
cu_weights_merge(k_backend_t *be, k_weight_t *const *w, uint32_t n)
{
    int                rc;
    uint32_t           i;
    uint64_t           rows;
    cu_matrix_t        all;
    cu_shared_t       *s;
    const cu_matrix_t *m[JOIN_MAX];

    if (n == 0 || n > JOIN_MAX) {
        return -ENOTSUP;
    }

    rows = 0;

    for (i = 0; i < n; i++) {
        m[i] = &w[i]->m;
        rows += m[i]->rows;
        if (!alike(m[0], m[i])) {
            return -ENOTSUP;
        }
    }

    if (cu_weights_join(m, n, &all)) {
        return 0;
    }

    rc = cu_bind(be);
    if (rc != 0) {
        return rc;
    }

    s = calloc(1, sizeof(cu_shared_t));
    if (s == NULL) {
        return -ENOMEM;
    }

    s->refs = n;
    s->size = rows * row_bytes(m[0]);
    s->mem = cu_arena_alloc(be->arena, s->size, 0);

    if (m[0]->scales != NULL) {
        s->size_scales = rows * sizeof(float);
        s->scales = cu_arena_alloc(be->arena, s->size_scales, 1);
    }

    if (s->mem == NULL || (m[0]->scales != NULL && s->scales == NULL)) {
        rc = -ENOMEM;
    } else {
        rc = copy(be, w, n, s);
    }

    if (rc != 0) {
        s->refs = 1;
        cu_shared_drop(be, s);
        return rc;
    }

    rebase(be, w, n, s);

    return 0;
}


static int
copy(k_backend_t *be, k_weight_t *const *w, uint32_t n, const cu_shared_t *s)
{
    int                rc, end;
    float             *scales;
    uint8_t           *to;
    uint32_t           i;
    uint64_t           size;
    const cu_matrix_t *m;

    rc = 0;
    to = s->mem;
    scales = s->scales;

    pthread_mutex_lock(&be->load_lock);

    for (i = 0; i < n && rc == 0; i++) {
        m = &w[i]->m;
        size = m->rows * row_bytes(m);
        rc = cu_check(cudaMemcpyAsync(to, m->data, size, cudaMemcpyDeviceToDevice, be->load_stream),
                      "moving weights");
        to += size;

        if (rc == 0 && scales != NULL) {
            rc = cu_check(cudaMemcpyAsync(scales, m->scales, m->rows * sizeof(float),
                                          cudaMemcpyDeviceToDevice, be->load_stream),
                          "moving scales");
            scales += m->rows;
        }
    }

    end = cu_check(cudaStreamSynchronize(be->load_stream), "moving weights");

    pthread_mutex_unlock(&be->load_lock);

    return rc != 0 ? rc : end;
}


/* They are where the copies are; where they were is free. */
static void
rebase(k_backend_t *be, k_weight_t *const *w, uint32_t n, cu_shared_t *s)
{
    float       *scales;
    uint8_t     *to;
    uint32_t     i, j;
    cu_matrix_t *m;

    to = s->mem;
    scales = s->scales;

    for (i = 0; i < n; i++) {
        m = &w[i]->m;

        for (j = 0; j < CU_PLANES; j++) {
            if (m->plane[j] != NULL) {
                m->plane[j] = to + ((const uint8_t *) m->plane[j] - (const uint8_t *) m->data);
            }
        }

        m->data = to;
        to += m->rows * row_bytes(m);

        if (scales != NULL) {
            m->scales = scales;
            scales += m->rows;
        }

        cu_arena_free(be->arena, w[i]->mem, w[i]->size);
        cu_arena_free(be->arena, w[i]->mem_scales, w[i]->size_scales);
        cu_shared_drop(be, w[i]->shared);
        w[i]->mem = NULL;
        w[i]->mem_scales = NULL;
        w[i]->shared = s;
    }
}


static uint64_t
row_bytes(const cu_matrix_t *m)
{
    static const uint8_t elem[] = {[CU_F32] = 4, [CU_F16] = 2, [CU_BF16] = 2, [CU_F8] = 1};

    return m->form == CU_W_PLAIN ? (uint64_t) m->cols * elem[m->type]
                                 : cu_quant_row(m->form, m->cols);
}


/* 1: they could be rows of one matrix. */
static int
alike(const cu_matrix_t *a, const cu_matrix_t *b)
{
    return a->form == b->form && (a->form != CU_W_PLAIN || a->type == b->type) && a->cols == b->cols
           && a->experts <= 1 && b->experts <= 1 && (a->scales == NULL) == (b->scales == NULL);
}
