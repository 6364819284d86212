/*
 * Weights of the CUDA backend: a source's rows on their way to the device.
 *
 *     file -> pinned memory -> the matrix            F32, F16, BF16, E4M3
 *     file -> pinned memory -> raw -> cu_repack()    GGUF's blocks
 *     file -> F32 in pinned memory -> the vector     vectors
 *     file -> BF16 in pinned memory -> the matrix    blocks that no kernel
 *                                                    knows: made plain here
 *     file -> pinned memory -> raw -> cu_to_f8()     to_f8
 *     cu_synthetic()                                 of no file
 *
 * A loader's thread is here while steps run on theirs: it works on a stream of
 * its own, of the lowest priority, waits for nothing but that, and holds
 * load_lock, which no step takes.  weight_rows.c brings the rows.
 *
 * When cu_weights_load() returns the weight is on the device; when it fails
 * nothing of it is left.  Weights are freed without waiting: backend.h
 * promises that no step uses them any more.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cuda/weight.h"

#define W_COLS_MAX (1u << 20)


static int      load_vector(cu_load_t *l);
static int      load_matrix(cu_load_t *l);
static int      plain_type(k_type_t type, cu_type_t *t, uint32_t *elem);
static int      load_scales(cu_load_t *l);
static int      make_up(cu_load_t *l);
static int      not_supported(const cu_load_t *l, const char *why);
static void     count(k_backend_t *be, int64_t size);
static uint64_t rounded(uint64_t size);


int
cu_weights_load(k_backend_t *be, const k_source_t *src, k_weight_t **out, char *err)
{
    int         rc;
    cu_load_t   l;
    k_weight_t *w;

    if (src->rows == 0 || src->cols == 0 || src->cols > W_COLS_MAX
        || (src->data == NULL && src->read == NULL && src->synthetic == 0)) {
        snprintf(err, K_ERR_MAX, "%s: no weight of %u x %u", src->name, src->rows, src->cols);
        return -ENOTSUP;
    }

    rc = cu_bind(be);
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "%s: the device has failed", src->name);
        return rc;
    }

    w = calloc(1, sizeof(k_weight_t));
    if (w == NULL) {
        snprintf(err, K_ERR_MAX, "%s: out of memory", src->name);
        return -ENOMEM;
    }

    w->be = be;
    w->role = src->role;
    w->type = src->type;
    w->rows = src->rows;
    w->cols = src->cols;

    l = (cu_load_t){.be = be, .src = src, .w = w, .err = err};

    if (src->role == K_ROLE_VECTOR || src->role == K_ROLE_VECTORS) {
        rc = load_vector(&l);
    } else {
        rc = load_matrix(&l);
    }

    if (rc != 0) {
        cu_weights_free(be, w);
        return rc;
    }

    *out = w;
    return 0;
}


void
cu_weights_free(k_backend_t *be, k_weight_t *w)
{
    if (w == NULL) {
        return;
    }

    cu_shared_drop(be, w->shared);
    cu_arena_free(be->arena, w->mem, w->size);
    cu_arena_free(be->arena, w->mem_scales, w->size_scales);
    count(be, -(int64_t) w->counted);
    free(w);
}


static int
load_vector(cu_load_t *l)
{
    cu_type_t         t;
    uint32_t          elem;
    k_weight_t       *w;
    const k_source_t *src;

    w = l->w;
    src = l->src;

    if (src->role == K_ROLE_VECTOR && src->rows != 1) {
        return not_supported(l, "not a vector");
    }

    if (plain_type(src->type, &t, &elem) != 0 || t == CU_F8 || src->to_f8
        || (src->data == NULL && src->read == NULL)) {
        return not_supported(l, "not supported for a vector");
    }

    w->size = (uint64_t) src->rows * src->cols * sizeof(float);
    w->mem = cu_alloc(l->be, w->size, src->name, l->err);
    if (w->mem == NULL) {
        return -ENOMEM;
    }
    w->vector = w->mem;

    l->way = t == CU_F32 ? CU_LOAD_COPY : CU_LOAD_WIDEN;
    l->out = w->mem;
    l->row = (uint64_t) src->cols * elem;
    l->staged = (uint64_t) src->cols * sizeof(float);

    return cu_load_rows(l);
}


static int
load_matrix(cu_load_t *l)
{
    int               rc;
    uint32_t          elem, block, bytes, experts;
    cu_matrix_t      *m;
    k_weight_t       *w;
    const k_source_t *src;

    w = l->w;
    src = l->src;
    m = &w->m;

    experts = src->role == K_ROLE_EXPERTS ? src->experts : 1;
    if (experts == 0 || src->rows % experts != 0) {
        snprintf(l->err, K_ERR_MAX, "%s: %u rows of %u experts", src->name, src->rows, experts);
        return -ENOTSUP;
    }

    m->rows = src->rows;
    m->cols = src->cols;
    m->experts = experts;

    if (plain_type(src->type, &m->type, &elem) == 0) {
        l->way = CU_LOAD_COPY;
        l->row = (uint64_t) src->cols * elem;
        l->staged = l->row;
        w->size = l->row * src->rows;

        if (src->to_f8 && m->type != CU_F8) {
            l->way = CU_LOAD_TO_F8;
            l->type = m->type;
            m->type = CU_F8;
            w->size = (uint64_t) src->cols * src->rows;
        }

    } else if (src->to_f8) {
        return not_supported(l, "not to be made E4M3");

    } else if (cu_quant_form(src->type, &m->form) == 0) {
        l->way = CU_LOAD_REPACK;
        l->row = cu_quant_source_row(m->form, src->cols);
        l->staged = l->row;
        w->size = cu_quant_layout(m, NULL);

    } else if (k_type_block(src->type, &block, &bytes) == 0 && src->cols % block == 0) {
        m->type = CU_BF16;
        l->way = CU_LOAD_PLAIN;
        l->row = (uint64_t) src->cols / block * bytes;
        l->staged = (uint64_t) src->cols * sizeof(uint16_t);
        w->size = l->staged * src->rows;

    } else {
        return not_supported(l, "not supported");
    }

    if (w->size == 0 || l->row == 0) {
        return not_supported(l, "not whole blocks");
    }

    w->mem = cu_alloc_low(l->be, w->size, src->name, l->err);
    if (w->mem == NULL) {
        return -ENOMEM;
    }

    w->counted = rounded(w->size);
    count(l->be, (int64_t) w->counted);

    l->out = w->mem;
    m->data = w->mem;
    if (m->form != CU_W_PLAIN) {
        (void) cu_quant_layout(m, w->mem);
        m->data = m->plane[0];
    }

    rc = load_scales(l);
    if (rc != 0) {
        return rc;
    }

    return src->data == NULL && src->read == NULL ? make_up(l) : cu_load_rows(l);
}


/* Types that lie on the device as they do in files. */
static int
plain_type(k_type_t type, cu_type_t *t, uint32_t *elem)
{
    static const struct {
        k_type_t  type;
        cu_type_t t;
        uint32_t  elem;
    } types[] = {
        {K_F32, CU_F32, 4},
        {K_F16, CU_F16, 2},
        {K_BF16, CU_BF16, 2},
        {K_F8_E4M3, CU_F8, 1},
    };

    size_t i;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].type == type) {
            *t = types[i].t;
            *elem = types[i].elem;
            return 0;
        }
    }

    return -ENOTSUP;
}


/* E4M3: one for each row, also where the source has one for all. */
static int
load_scales(cu_load_t *l)
{
    int               rc;
    float            *scales;
    uint32_t          i;
    k_weight_t       *w;
    const k_source_t *src;

    w = l->w;
    src = l->src;

    if (w->m.type != CU_F8 || (src->type == K_F8_E4M3 && src->scales == NULL && !src->synthetic)) {
        return 0;
    }

    w->size_scales = (uint64_t) src->rows * sizeof(float);
    w->mem_scales = cu_alloc(l->be, w->size_scales, src->name, l->err);
    if (w->mem_scales == NULL) {
        return -ENOMEM;
    }
    w->m.scales = w->mem_scales;

    /* The device finds them. */
    if (src->scales == NULL || src->type != K_F8_E4M3) {
        return 0;
    }

    if (src->n_scales != 1 && src->n_scales != src->rows) {
        snprintf(l->err, K_ERR_MAX, "%s: %u scales for %u rows", src->name, src->n_scales,
                 src->rows);
        return -ENOTSUP;
    }

    scales = malloc(w->size_scales);
    if (scales == NULL) {
        snprintf(l->err, K_ERR_MAX, "%s: out of memory", src->name);
        return -ENOMEM;
    }

    for (i = 0; i < src->rows; i++) {
        scales[i] = src->scales[src->n_scales == 1 ? 0 : i];
    }

    pthread_mutex_lock(&l->be->load_lock);

    rc = cu_check(cudaMemcpyAsync(w->mem_scales, scales, w->size_scales, cudaMemcpyHostToDevice,
                                  l->be->load_stream),
                  "loading scales");
    if (rc == 0) {
        rc = cu_check(cudaStreamSynchronize(l->be->load_stream), "loading scales");
    }

    pthread_mutex_unlock(&l->be->load_lock);

    if (rc != 0) {
        snprintf(l->err, K_ERR_MAX, "%s: the device has failed", src->name);
    }

    free(scales);

    return rc;
}


/* Weights of no file, for benches. */
static int
make_up(cu_load_t *l)
{
    int          rc, end;
    k_backend_t *be;

    be = l->be;

    pthread_mutex_lock(&be->load_lock);

    rc = cu_synthetic(&l->w->m, l->src->synthetic, l->src->limit, be->load_stream);
    end = cu_check(cudaStreamSynchronize(be->load_stream), "making weights up");

    pthread_mutex_unlock(&be->load_lock);

    rc = rc != 0 ? rc : end;
    if (rc != 0) {
        snprintf(l->err, K_ERR_MAX, "%s: type %d cannot be made up: %s", l->src->name,
                 (int) l->src->type, strerror(-rc));
    }

    return rc;
}


static int
not_supported(const cu_load_t *l, const char *why)
{
    snprintf(l->err, K_ERR_MAX, "%s: type %d with %u x %u: %s", l->src->name, (int) l->src->type,
             l->src->rows, l->src->cols, why);
    return -ENOTSUP;
}


/* For cu_plan(); matrices only, vectors count as buffers. */
static void
count(k_backend_t *be, int64_t size)
{
    (void) __atomic_add_fetch(&be->used_weights, (uint64_t) size, __ATOMIC_RELAXED);
}


static uint64_t
rounded(uint64_t size)
{
    return (size + CU_ALIGN - 1) & ~(uint64_t) (CU_ALIGN - 1);
}
