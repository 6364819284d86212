/*
 * Weights of the CPU backend: a source's rows packed into the arena, or
 * widened to F32 (vectors).
 *
 * A loader's thread may be here while steps run; what is shared is the arena,
 * which has a lock.  A source that is read in pieces goes through a buffer of
 * W_PIECE bytes or of one granule of rows, whichever is more, that lives as
 * long as the call.
 *
 * Each of an expert weight's matrices stands packed for itself: no group of
 * interleaved rows holds rows of two experts, so their rows need be no
 * multiple of anything.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

#define W_PIECE (2u << 20) /* bytes that are read at a time */


/* The rows of a source, in order. */
typedef struct {
    const k_source_t *src;
    uint64_t          row;  /* bytes of one */
    uint8_t          *buf;  /* NULL: the source lies in memory */
    uint32_t          most; /* rows that fit into it */
} w_input_t;


static int  w_vectors(k_backend_t *be, const k_source_t *src, k_weight_t *w,
                      char *err);
static void w_widen(float *out, const uint8_t *src, k_type_t type, size_t n);
static int  w_matrices(k_backend_t *be, const k_source_t *src, k_weight_t *w,
                       char *err);
static int  w_pack(w_input_t *in, k_matrix_t *m, uint32_t first, char *err);
static int  w_open(w_input_t *in, const k_source_t *src, uint64_t row,
                   uint32_t granule, char *err);
static const uint8_t *w_rows(w_input_t *in, uint32_t row, uint32_t n, int *rc,
                             char *err);


int
k_cpu_weights_load(k_backend_t *be, const k_source_t *src, k_weight_t **out,
                   char *err)
{
    int         rc;
    k_weight_t *w;

    if (src->rows == 0 || src->cols == 0 || src->cols > K_MAX_DIM
        || (src->data == NULL && src->read == NULL)) {
        snprintf(err, K_ERR_MAX, "%s: no weight of %u x %u", src->name,
                 src->rows, src->cols);
        return -ENOTSUP;
    }

    if (src->to_f8 || src->type == K_F8_E4M3) {
        snprintf(err, K_ERR_MAX, "%s: fp8 needs a GPU", src->name);
        return -ENOTSUP;
    }

    w = calloc(1, sizeof(k_weight_t));
    if (w == NULL) {
        snprintf(err, K_ERR_MAX, "%s: out of memory", src->name);
        return -ENOMEM;
    }

    w->role = src->role;
    w->type = src->type;
    w->rows = src->rows;
    w->cols = src->cols;

    if (src->role == K_ROLE_VECTOR || src->role == K_ROLE_VECTORS) {
        rc = w_vectors(be, src, w, err);
    } else {
        rc = w_matrices(be, src, w, err);
    }

    if (rc != 0) {
        k_cpu_weights_free(be, w);
        return rc;
    }

    *out = w;
    return 0;
}


void
k_cpu_weights_free(k_backend_t *be, k_weight_t *w)
{
    if (w == NULL) {
        return;
    }

    k_arena_free(be->arena, w->mem, w->size);
    free(w->experts);
    free(w);
}


static int
w_vectors(k_backend_t *be, const k_source_t *src, k_weight_t *w, char *err)
{
    int            rc;
    uint32_t       row, n;
    w_input_t      in;
    const uint8_t *p;

    if (src->role == K_ROLE_VECTOR && src->rows != 1) {
        snprintf(err, K_ERR_MAX, "%s: not a vector: %u x %u", src->name,
                 src->rows, src->cols);
        return -ENOTSUP;
    }

    if (src->type != K_F32 && src->type != K_F16 && src->type != K_BF16) {
        snprintf(err, K_ERR_MAX, "%s: type %d is not supported for a vector",
                 src->name, (int) src->type);
        return -ENOTSUP;
    }

    w->size = (uint64_t) src->rows * src->cols * sizeof(float);
    w->mem = k_cpu_alloc(be, w->size, src->name, err);
    if (w->mem == NULL) {
        return -ENOMEM;
    }
    w->vector = w->mem;

    rc = w_open(&in, src, (uint64_t) src->cols * (src->type == K_F32 ? 4 : 2),
                1, err);
    if (rc != 0) {
        return rc;
    }

    for (row = 0; row < src->rows && rc == 0; row += n) {
        n = src->rows - row < in.most ? src->rows - row : in.most;
        p = w_rows(&in, row, n, &rc, err);
        if (p != NULL) {
            w_widen(w->vector + (size_t) row * src->cols, p, src->type,
                    (size_t) n * src->cols);
        }
    }

    free(in.buf);

    return rc;
}


/* The source may lie at any address. */
static void
w_widen(float *out, const uint8_t *src, k_type_t type, size_t n)
{
    size_t   i;
    uint16_t h;
    uint32_t u;

    if (type == K_F32) {
        memcpy(out, src, n * sizeof(float));
        return;
    }

    for (i = 0; i < n; i++) {
        memcpy(&h, src + 2 * i, 2);
        if (type == K_F16) {
            out[i] = k_float(h);
        } else {
            u = (uint32_t) h << 16;
            memcpy(&out[i], &u, 4);
        }
    }
}


static int
w_matrices(k_backend_t *be, const k_source_t *src, k_weight_t *w, char *err)
{
    int         rc;
    int64_t     size;
    uint32_t    i, n, rows;
    w_input_t   in;
    k_matrix_t *m;

    n = src->role == K_ROLE_EXPERTS ? src->experts : 1;
    if (n == 0 || src->rows % n != 0) {
        snprintf(err, K_ERR_MAX, "%s: %u rows of %u experts", src->name,
                 src->rows, n);
        return -ENOTSUP;
    }

    rows = src->rows / n;
    size = k_matrix_size(src->type, be->isa, rows, src->cols);
    size = size > INT64_MAX / n - K_ALIGN ? -EOVERFLOW : size;

    if (size < 0) {
        snprintf(err, K_ERR_MAX,
                 "%s: type %d with %u x %u is not supported: %s", src->name,
                 (int) src->type, src->rows, src->cols, strerror((int) -size));
        return -ENOTSUP;
    }

    if (src->role == K_ROLE_EXPERTS) {
        w->n_experts = n;
        w->experts = calloc(n, sizeof(k_matrix_t));
        if (w->experts == NULL) {
            snprintf(err, K_ERR_MAX, "%s: out of memory", src->name);
            return -ENOMEM;
        }
    }

    size = (size + K_ALIGN - 1) / K_ALIGN * K_ALIGN;
    w->size = (uint64_t) size * n;
    w->mem = k_cpu_alloc(be, w->size, src->name, err);
    if (w->mem == NULL) {
        return -ENOMEM;
    }

    m = w->experts != NULL ? w->experts : &w->matrix;

    for (i = 0; i < n; i++) {
        rc = k_matrix_init(&m[i], src->type, be->isa, rows, src->cols,
                           (uint8_t *) w->mem + (uint64_t) size * i);
        if (rc != 0) {
            snprintf(err, K_ERR_MAX, "%s: type %d: %s", src->name,
                     (int) src->type, strerror(-rc));
            return rc;
        }
    }

    rc = w_open(&in, src, k_matrix_source_row(m), k_matrix_granule(m), err);

    for (i = 0; i < n && rc == 0; i++) {
        rc = w_pack(&in, &m[i], i * rows, err);
    }

    free(in.buf);

    return rc;
}


/* The source's rows from `first` on become m's. */
static int
w_pack(w_input_t *in, k_matrix_t *m, uint32_t first, char *err)
{
    int            rc;
    uint32_t       row, n;
    const uint8_t *p;

    rc = 0;

    for (row = 0; row < m->rows; row += n) {
        n = m->rows - row < in->most ? m->rows - row : in->most;
        p = w_rows(in, first + row, n, &rc, err);
        if (p == NULL) {
            return rc;
        }
        k_matrix_pack(m, p, row, row + n);
    }

    return 0;
}


/* in->buf is the caller's to free, whatever is returned. */
static int
w_open(w_input_t *in, const k_source_t *src, uint64_t row, uint32_t granule,
       char *err)
{
    uint64_t n;

    in->src = src;
    in->row = row;
    in->buf = NULL;
    in->most = src->rows;

    if (src->data != NULL) {
        return 0;
    }

    n = W_PIECE / row / granule * granule;
    n = n > granule ? n : granule;
    if (n < src->rows) {
        in->most = (uint32_t) n;
    }

    in->buf = malloc(in->most * row);
    if (in->buf == NULL) {
        snprintf(err, K_ERR_MAX, "%s: out of memory", src->name);
        return -ENOMEM;
    }

    return 0;
}


static const uint8_t *
w_rows(w_input_t *in, uint32_t row, uint32_t n, int *rc, char *err)
{
    const k_source_t *src;

    src = in->src;

    if (src->data != NULL) {
        return (const uint8_t *) src->data + row * in->row;
    }

    *rc = src->read(src->ctx, row, n, in->buf);
    if (*rc >= 0) {
        *rc = 0;
        return in->buf;
    }

    snprintf(err, K_ERR_MAX, "%s: cannot read rows %u to %u: %s", src->name,
             row, row + n - 1, strerror(-*rc));

    return NULL;
}
