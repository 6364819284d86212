/*
 * Tensors of a weight file into the backend: whole, or the rows of a fused
 * one; as they are, or quantised on the way.  What went into the backend is
 * what the model's fingerprint is of.  Loader threads; see model_priv.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "engine/base.h"
#include "engine/model/hf.h"
#include "engine/model/model_priv.h"

/* Rows of a tensor that go through a buffer of the backend's. */
typedef struct {
    quant_reader_t quant;
    uint32_t       row; /* the first one */
    size_t         row_bytes;
    XXH3_state_t  *hash;
} tensor_rows_t;

static int  tensor_shape(load_t *l, const load_want_t *want,
                         const gguf_tensor_t *t);
static int  tensor_give(load_t *l, const load_want_t *want,
                        const gguf_tensor_t *t, uint32_t type, k_weight_t **w);
static int  tensor_to_f8(const load_t *l, const load_want_t *want,
                         const gguf_tensor_t *t);
static int  tensor_read(void *ctx, uint32_t row, uint32_t n, void *out);
static void tensor_name(const load_want_t *want, char *full, size_t size);


int
load_tensor(load_t *l, const load_want_t *want, const k_weight_t **w)
{
    const gguf_tensor_t *t;
    k_weight_t          *own;
    uint64_t             rows, bytes;
    uint32_t             type;
    char                 full[96];

    if (want->name == NULL) {
        return 0;
    }

    tensor_name(want, full, sizeof(full));

    t = gguf_tensor_find(l->file, full);
    if (t == NULL) {
        return want->name[0] == '?'
                   ? 0
                   : load_fail(l, -EINVAL, "tensor %s is missing", full);
    }

    LLM_TRY(tensor_shape(l, want, t));

    type = want->role == K_ROLE_VECTOR || want->role == K_ROLE_VECTORS
               ? t->type
               : quant_type(l->params->quant, l->file, t);

    LLM_TRY(tensor_give(l, want, t, type, &own));

    load_tensor_used(l, t);

    *w = own;
    l->m->weights[l->m->n_weights++] = own;

    rows = want->rows * (uint64_t) (want->experts ? want->experts : 1);
    bytes = t->size / (t->dims[1] * t->dims[2]) * rows;

    l->m->n_params += rows * want->cols;
    l->m->weight_bytes += bytes;
    l->bytes_done += bytes;

    if (want->layer >= 0 && type < GGML_TYPES) {
        l->type_bytes[type] += bytes;
    }

    /* Of a fused one the last rows. */
    if (want->of == 0 || want->row + want->rows == want->of) {
        gguf_tensor_drop(l->file, t);
    }

    if (l->params->progress
        && l->params->progress(l->params->data, (double) l->bytes_done
                                                    / (double) l->bytes_all)) {
        return load_fail(l, -ECANCELED, "loading was given up");
    }

    return 0;
}


static void
tensor_name(const load_want_t *want, char *full, size_t size)
{
    const char *name = want->name + (want->name[0] == '?');

    if (want->layer < 0) {
        snprintf(full, size, "%s.%s", name, want->suffix);
    } else {
        snprintf(full, size, "blk.%d.%s.%s", want->layer, name, want->suffix);
    }
}


static int
tensor_shape(load_t *l, const load_want_t *want, const gguf_tensor_t *t)
{
    uint64_t dims[GGUF_MAX_DIMS] = {want->cols,
                                    want->of ? want->of : want->rows, 1, 1};

    if (want->role == K_ROLE_EXPERTS) {
        dims[2] = want->experts;
    } else if (want->role == K_ROLE_VECTORS) {
        dims[1] = want->experts;
    }

    if (memcmp(dims, t->dims, sizeof(dims)) == 0) {
        return 0;
    }

    return load_fail(l, -EINVAL,
                     "tensor %s is %" PRIu64 " x %" PRIu64 " x %" PRIu64
                     ", not %" PRIu64 " x %" PRIu64 " x %" PRIu64,
                     t->name, t->dims[0], t->dims[1], t->dims[2], dims[0],
                     dims[1], dims[2]);
}


/* Hands it to the backend: where it lies, or row by row. */

static int
tensor_give(load_t *l, const load_want_t *want, const gguf_tensor_t *t,
            uint32_t type, k_weight_t **w)
{
    const gguf_type_t *info = gguf_type(type);
    tensor_rows_t      rows;
    k_source_t         src;
    size_t             row_bytes;
    int                rc;

    row_bytes = want->cols / info->block_elems * info->block_bytes;

    src = (k_source_t){.type = (k_type_t) type,
                       .role = want->role,
                       .rows = want->rows * (want->experts ? want->experts : 1),
                       .cols = want->cols,
                       .experts =
                           want->role == K_ROLE_EXPERTS ? want->experts : 0,
                       .to_f8 = tensor_to_f8(l, want, t),
                       .name = t->name};

    XXH3_128bits_update(l->hash, t->name, strlen(t->name));

    if (t->data && type == t->type) {
        src.data = (const char *) t->data + want->row * row_bytes;
        XXH3_128bits_update(l->hash, src.data, src.rows * row_bytes);

        return l->m->ops->weights_load(l->m->be, &src, w, l->err);
    }

    rows = (tensor_rows_t){.row = want->row,
                           .row_bytes = row_bytes,
                           .hash = l->hash};

    rc = quant_reader_init(&rows.quant, l->file, t, type);
    if (rc < 0) {
        return load_fail(l, rc, "tensor %s cannot be made %s", t->name,
                         gguf_type_name(type));
    }

    src.read = tensor_read;
    src.ctx = &rows;

    rc = l->m->ops->weights_load(l->m->be, &src, w, l->err);
    quant_reader_free(&rows.quant);

    return rc;
}


/* Asked for; or it was E4M3 in its folder, and the backend has that. */

static int
tensor_to_f8(const load_t *l, const load_want_t *want, const gguf_tensor_t *t)
{
    bool was = false;

    if (want->role != K_ROLE_MATRIX && want->role != K_ROLE_EXPERTS) {
        return 0;
    }

    (void) gguf_get_bool(l->file, HF_KEY_FP8, &was);

    return (l->params->quant == QUANT_FP8
            || (l->params->quant == QUANT_NONE && was && t->type == GGML_F32
                && l->params->ops->f8))
           && quant_is_matrix(t);
}


static int
tensor_read(void *ctx, uint32_t row, uint32_t n, void *out)
{
    tensor_rows_t *r = ctx;

    LLM_TRY(quant_reader_rows(&r->quant, r->row + row, n, out));
    XXH3_128bits_update(r->hash, out, n * r->row_bytes);

    return 0;
}


void
load_tensor_used(load_t *l, const gguf_tensor_t *t)
{
    l->used[t - gguf_tensor_at(l->file, 0)] = 1;
}


int
load_leftovers(load_t *l)
{
    size_t i;

    for (i = 0; i < gguf_tensor_n(l->file); i++) {
        if (!l->used[i]) {
            return load_fail(l, -ENOTSUP,
                             "tensor %s is not known to architecture %s",
                             gguf_tensor_at(l->file, i)->name, l->arch->name);
        }
    }

    return 0;
}
