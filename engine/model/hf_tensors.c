/*
 * How a folder's tensors make GGUF's: what the forms of hf_names.c mean, which
 * scales go with which.  See hf_priv.h.
 *
 * Shapes are checked here as far as rows are computed from them; whether they
 * are those of the model is checked by who loads it.  Every tensor of the
 * shards must be used, or be known to say nothing.  Loader threads.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/model/hf_priv.h"

#define HF_MX_ELEMS 32
#define HF_MX_BYTES 16

/* A tensor of a shard under the name that it would have without a wrapper. */
typedef struct {
    const char        *name;
    const st_tensor_t *t;
    const st_file_t   *file;
    int                used;
} hf_entry_t;

typedef struct {
    hf_model_t  *m;
    hf_config_t *c;
    hf_entry_t  *all;
    hf_entry_t **sorted; /* by name */
    size_t       n;
    size_t       left_out; /* of a part that sees */
} hf_tensors_t;


static int tensors_list(hf_tensors_t *x);
static int tensors_one(hf_tensors_t *x, hf_entry_t *e);
static int tensors_global(hf_tensors_t *x, hf_entry_t *e, const hf_map_t *map);
static int tensors_vocab(hf_tensors_t *x, const hf_entry_t *e);
static int tensors_expert(hf_tensors_t *x, hf_entry_t *e, const char *name,
                          uint32_t expert);
static int tensors_many(hf_tensors_t *x, hf_entry_t *e, hf_form_t form,
                        const char *name, const char *other);
static int tensors_form(hf_tensors_t *x, hf_entry_t *e, hf_form_t form,
                        hf_tensor_t *t, int second);
static int tensors_rope(hf_tensors_t *x);
static int tensors_values(hf_tensors_t *x, const char *name, const float *v);
static int tensors_check(const hf_tensors_t *x);
static int tensors_src(hf_tensors_t *x, hf_entry_t *e, hf_tensor_t *t,
                       hf_src_t *s);
static int tensors_scale(hf_tensors_t *x, hf_entry_t *e, hf_tensor_t *t,
                         hf_src_t *s);
static int tensors_blocks(hf_tensors_t *x, hf_entry_t *e, hf_tensor_t *t);
static hf_tensor_t *tensors_new(hf_tensors_t *x, const char *name);
static hf_tensor_t *tensors_find(const hf_tensors_t *x, const char *name);
static hf_entry_t  *tensors_entry(const hf_tensors_t *x, const char *name);
static uint32_t     tensors_type(const char *name, const st_tensor_t *t,
                                 uint32_t n_dims);
static int  tensors_shape_fail(const hf_tensors_t *x, const hf_entry_t *e);
static int  tensors_no_memory(const hf_tensors_t *x);
static void tensors_put(const hf_tensors_t *x, gguf_writer_t *w);
static int  entry_cmp(const void *a, const void *b);
static int  entry_find(const void *name, const void *entry);

int
hf_tensors_map(hf_model_t *m, gguf_writer_t *w)
{
    hf_tensors_t x = {.m = m, .c = &m->config};
    size_t       i;

    LLM_TRY(tensors_list(&x));
    LLM_TRY(tensors_rope(&x));

    for (i = 0; i < x.n; i++) {
        LLM_TRY(tensors_one(&x, &x.all[i]));
    }

    LLM_TRY(tensors_check(&x));

    if (x.left_out) {
        log_notice("%zu tensors for images are left out: text only",
                   x.left_out);
    }

    tensors_put(&x, w);

    return 0;
}


/* All shards' tensors, under plain names, those once each. */

static int
tensors_list(hf_tensors_t *x)
{
    const st_tensor_t *t;
    const st_file_t   *f;
    hf_entry_t        *e;
    size_t             s, i, n = 0;
    char               buf[ST_MAX_NAME + 32];

    for (s = 0; s < x->m->n_shards; s++) {
        n += st_n(x->m->shards[s]);
    }

    if (n > ST_MAX_TENSORS) {
        return hf_fail(x->c, -EINVAL, "%zu tensors are too many", n);
    }

    x->all = arena_get(&x->m->arena, (n + 1) * sizeof(hf_entry_t));
    x->sorted = arena_get(&x->m->arena, (n + 1) * sizeof(hf_entry_t *));
    if (x->all == NULL || x->sorted == NULL) {
        return tensors_no_memory(x);
    }

    for (s = 0; s < x->m->n_shards; s++) {
        f = x->m->shards[s];

        for (i = 0; i < st_n(f); i++) {
            t = st_at(f, i);
            e = &x->all[x->n];
            e->name = hf_name_plain(x->c, t->name, buf, sizeof(buf));
            e->t = t;
            e->file = f;

            if (e->name == buf) {
                e->name = arena_str(&x->m->arena, buf, strlen(buf));
                if (e->name == NULL) {
                    return tensors_no_memory(x);
                }
            }

            x->sorted[x->n++] = e;
        }
    }

    qsort(x->sorted, x->n, sizeof(hf_entry_t *), entry_cmp);

    for (i = 1; i < x->n; i++) {
        if (strcmp(x->sorted[i - 1]->name, x->sorted[i]->name) == 0) {
            return hf_fail(x->c, -EINVAL, "tensor '%s' is there twice",
                           x->sorted[i]->name);
        }
    }

    return 0;
}


static int
tensors_one(hf_tensors_t *x, hf_entry_t *e)
{
    const hf_map_t *map;
    uint32_t        layer, expert;
    char            name[GGUF_MAX_NAME], other[GGUF_MAX_NAME];

    if (hf_name_sees(x->c, e->name)) {
        e->used = 1;
        x->left_out++;
        return 0;
    }

    map = hf_name_find(x->c, e->name, &layer, &expert);
    if (map == NULL) {
        return 0; /* it may be a scale */
    }

    e->used = 1;

    if (layer == HF_NO_LAYER) {
        return tensors_global(x, e, map);
    }

    if (layer >= x->c->n_layer) {
        return hf_fail(x->c, -EINVAL,
                       "tensor '%s': there are %" PRIu32 " layers", e->name,
                       x->c->n_layer);
    }

    snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", layer, map->to);

    if (map->form == HF_FORM_EXPERT) {
        return tensors_expert(x, e, name, expert);
    }

    snprintf(other, sizeof(other), "blk.%" PRIu32 ".%s", layer,
             map->other ? map->other : "");

    return tensors_many(x, e, map->form, name, map->other ? other : NULL);
}


/* Those of no layer. */

static int
tensors_global(hf_tensors_t *x, hf_entry_t *e, const hf_map_t *map)
{
    const hf_config_t *c = x->c;

    if (strcmp(map->to, "token_embd.weight") == 0) {
        LLM_TRY(tensors_vocab(x, e));
    }

    /* The embeddings again. */
    if (strcmp(map->to, "output.weight") == 0
        && (c->tied > 0 || (c->tied < 0 && (c->family->family & HF_GEMMAS)))) {
        return 0;
    }

    return tensors_many(x, e, map->form, map->to, NULL);
}


/* Who reads the tokenizer wants to know how many rows there are. */

static int
tensors_vocab(hf_tensors_t *x, const hf_entry_t *e)
{
    if (e->t->n_dims != 2 || e->t->dims[0] == 0 || e->t->dims[0] > HF_DIM_MAX) {
        return tensors_shape_fail(x, e);
    }

    if (x->c->n_vocab && x->c->n_vocab != e->t->dims[0]) {
        return hf_fail(x->c, -EINVAL,
                       "tensor '%s' has %" PRIu64
                       " rows, vocab_size is %" PRIu32,
                       e->name, e->t->dims[0], x->c->n_vocab);
    }

    x->c->n_vocab = (uint32_t) e->t->dims[0];

    return json_object_set_new(x->c->config, "vocab_size",
                               json_integer((json_int_t) x->c->n_vocab))
                   == 0
               ? 0
               : tensors_no_memory(x);
}


/* One of n_expert matrices; the first one that comes makes the tensor. */

static int
tensors_expert(hf_tensors_t *x, hf_entry_t *e, const char *name,
               uint32_t expert)
{
    hf_tensor_t *t;
    uint32_t     n = x->c->n_expert;

    if (e->t->n_dims != 2 || e->t->elems == 0) {
        return tensors_shape_fail(x, e);
    }

    if (expert >= n) {
        return hf_fail(x->c, -EINVAL,
                       "tensor '%s': there are %" PRIu32 " experts", e->name,
                       n);
    }

    t = tensors_find(x, name);

    if (t == NULL) {
        t = tensors_new(x, name);
        if (t == NULL) {
            return tensors_no_memory(x);
        }

        t->src = arena_get(&x->m->arena, n * sizeof(hf_src_t));
        if (t->src == NULL) {
            return tensors_no_memory(x);
        }

        t->n = n;
        t->n_src = n;
        t->rows = e->t->dims[0];
        t->cols = e->t->dims[1];
        t->row_step = t->cols;
        t->col_step = 1;
        t->n_dims = 3;
        t->dims[0] = t->cols;
        t->dims[1] = t->rows;
        t->dims[2] = n;
        t->type = tensors_type(name, e->t, 3);
    }

    if (e->t->dims[0] != t->rows || e->t->dims[1] != t->cols
        || t->type != tensors_type(name, e->t, 3) || t->src[expert].t) {
        return hf_fail(x->c, -EINVAL,
                       "tensor '%s' is not as the other experts'", e->name);
    }

    return tensors_src(x, e, t, &t->src[expert]);
}


/* One tensor, or two of one. */

static int
tensors_many(hf_tensors_t *x, hf_entry_t *e, hf_form_t form, const char *name,
             const char *other)
{
    hf_tensor_t *t;
    int          i;

    for (i = 0; i < (other ? 2 : 1); i++) {
        t = tensors_new(x, i ? other : name);
        if (t == NULL) {
            return tensors_no_memory(x);
        }

        t->src = arena_get(&x->m->arena, sizeof(hf_src_t));
        if (t->src == NULL) {
            return tensors_no_memory(x);
        }

        t->n = 1;
        t->n_src = 1;
        t->col_step = 1;

        LLM_TRY(tensors_form(x, e, form, t, i));

        if (t->type != GGML_MXFP4) {
            t->type = tensors_type(t->name, e->t, t->n_dims);
        }

        LLM_TRY(tensors_src(x, e, t, &t->src[0]));
    }

    return 0;
}


/* Shape and steps; `second` of a pair. */

static int
tensors_form(hf_tensors_t *x, hf_entry_t *e, hf_form_t form, hf_tensor_t *t,
             int second)
{
    const uint64_t *d = e->t->dims;
    uint32_t        n_dims = e->t->n_dims;
    int             half = form == HF_FORM_HALVES || form == HF_FORM_TURNED_2
               || form == HF_FORM_BIAS_2 || form == HF_FORM_BLOCKS_2;

    if (e->t->elems == 0) {
        return tensors_shape_fail(x, e);
    }

    switch (form) {
    case HF_FORM_PLAIN:
    case HF_FORM_NORM:
    case HF_FORM_Q:
    case HF_FORM_K:
        if (n_dims == 0 || n_dims > 2
            || (form == HF_FORM_NORM && n_dims != 1)) {
            return tensors_shape_fail(x, e);
        }

        /* A vector is rows of one value, of which heads can be turned too. */
        t->is_flat = n_dims == 1;
        t->rows = d[0];
        t->cols = n_dims == 1 ? 1 : d[1];
        t->row_step = t->cols;
        t->add =
            form == HF_FORM_NORM && (x->c->family->family & HF_GEMMAS) ? 1 : 0;

        if ((form == HF_FORM_Q || form == HF_FORM_K)
            && (x->c->family->family & HF_PAIRS)) {
            t->heads = form == HF_FORM_Q ? x->c->n_head : x->c->n_kv;

            if (t->rows != t->heads * x->c->head_dim) {
                return tensors_shape_fail(x, e);
            }
        }

        t->n_dims = n_dims;
        t->dims[0] = n_dims == 1 ? t->rows : t->cols;
        t->dims[1] = n_dims == 1 ? 1 : t->rows;
        return 0;

    case HF_FORM_BIAS_2:
        if (n_dims != 2 || d[1] % 2) {
            return tensors_shape_fail(x, e);
        }

        t->rows = d[0];
        t->cols = d[1] / 2;
        t->first = (uint64_t) second;
        t->row_step = d[1];
        t->col_step = 2;
        t->n_dims = 2;
        t->dims[0] = t->cols;
        t->dims[1] = t->rows;
        return 0;

    case HF_FORM_BLOCKS:
    case HF_FORM_BLOCKS_2:
        if (n_dims != 4 || d[3] != HF_MX_BYTES || e->t->dtype != ST_U8) {
            return tensors_shape_fail(x, e);
        }

        t->type = GGML_MXFP4;
        t->cols = d[2] * HF_MX_ELEMS;
        t->rows = d[1];
        break;

    default:
        if (n_dims != 3) {
            return tensors_shape_fail(x, e);
        }

        t->cols =
            form == HF_FORM_TURNED || form == HF_FORM_TURNED_2 ? d[1] : d[2];
        t->rows =
            form == HF_FORM_TURNED || form == HF_FORM_TURNED_2 ? d[2] : d[1];
        break;
    }

    if (d[0] != x->c->n_expert || (half && t->rows % 2)) {
        return tensors_shape_fail(x, e);
    }

    t->n = d[0];
    t->expert_step = t->rows * t->cols;
    t->row_step = t->cols;

    if (form == HF_FORM_TURNED || form == HF_FORM_TURNED_2) {
        t->row_step = 1;
        t->col_step = t->rows;
    }

    if (half) {
        t->rows /= 2;

        if (form == HF_FORM_HALVES) {
            t->first = second ? t->rows * t->row_step : 0;
        } else {
            t->first = second ? t->row_step : 0;
            t->row_step *= 2;
        }
    }

    t->n_dims = 3;
    t->dims[0] = t->cols;
    t->dims[1] = t->rows;
    t->dims[2] = t->n;

    return 0;
}


/* The values' dtype, and the scales that it needs. */

static int
tensors_src(hf_tensors_t *x, hf_entry_t *e, hf_tensor_t *t, hf_src_t *s)
{
    s->t = e->t;
    s->file = e->file;

    if (t->type == GGML_MXFP4) {
        return tensors_blocks(x, e, t);
    }

    if (e->t->dtype == ST_F8_E4M3) {
        return tensors_scale(x, e, t, s);
    }

    if (!hf_rows_can(e->t->dtype) || e->t->dtype == ST_F8_E8M0) {
        return hf_fail(x->c, -ENOTSUP, "tensor '%s': dtype %s is not supported",
                       e->name, st_dtype_name(e->t->dtype));
    }

    return 0;
}


/*
 * The scale of FP8 weights: one for all, one a row, or one a block of rows and
 * columns; the last block of a row or column may be a part of one.
 */

static int
tensors_scale(hf_tensors_t *x, hf_entry_t *e, hf_tensor_t *t, hf_src_t *s)
{
    static const char *const ends[] = {"_scale_inv", "_scale"};
    const hf_config_t       *c = x->c;
    hf_entry_t              *scale = NULL;
    uint64_t                 rows, cols = t->cols, of, wide, high;
    size_t                   i;
    char                     name[ST_MAX_NAME + 16];

    for (i = 0; i < llm_countof(ends) && scale == NULL; i++) {
        snprintf(name, sizeof(name), "%s%s", e->name, ends[i]);
        scale = tensors_entry(x, name);
    }

    if (c->packed != HF_FP8 || scale == NULL) {
        return hf_fail(c, -ENOTSUP, "tensor '%s' is F8_E4M3 without %s",
                       e->name,
                       scale ? "a quantization_config that says fp8"
                             : "a scale");
    }

    if (t->col_step != 1 || t->is_flat || !hf_rows_can(scale->t->dtype)
        || scale->t->elems == 0) {
        return hf_fail(c, -ENOTSUP, "tensor '%s': this scale is not supported",
                       name);
    }

    scale->used = 1;
    s->scale = scale->t;
    of = t->n_src > 1 ? 1 : t->n;
    rows = of > 1 ? t->expert_step / t->row_step : t->rows;

    if (scale->t->elems == 1) {
        s->scale_rows = UINT32_MAX;
        s->scale_cols = UINT32_MAX;
        s->scale_width = 1;
        return 0;
    }

    wide = c->block_cols ? (cols + c->block_cols - 1) / c->block_cols : 1;
    high = c->block_rows ? (rows + c->block_rows - 1) / c->block_rows : rows;

    if (c->block_rows && scale->t->n_dims == e->t->n_dims
        && scale->t->dims[scale->t->n_dims - 1] == wide
        && scale->t->dims[scale->t->n_dims - 2] == high
        && scale->t->elems == of * high * wide) {
        s->scale_rows = c->block_rows;
        s->scale_cols = c->block_cols;
        s->scale_width = wide;
        return 0;
    }

    if (c->block_rows == 0 && scale->t->elems == of * rows
        && (scale->t->n_dims == e->t->n_dims - 1
            || scale->t->dims[scale->t->n_dims - 1] == 1)) {
        s->scale_rows = 1;
        s->scale_cols = UINT32_MAX;
        s->scale_width = 1;
        return 0;
    }

    return tensors_shape_fail(x, scale);
}


static int
tensors_blocks(hf_tensors_t *x, hf_entry_t *e, hf_tensor_t *t)
{
    static const char end[] = "_blocks";
    hf_entry_t       *scale;
    char              name[ST_MAX_NAME + 16];

    if (x->c->packed != HF_MXFP4) {
        return hf_fail(x->c, -ENOTSUP,
                       "tensor '%s' without a quantization_config that says "
                       "mxfp4",
                       e->name);
    }

    snprintf(name, sizeof(name), "%.*s_scales",
             (int) (strlen(e->name) - (sizeof(end) - 1)), e->name);

    scale = tensors_entry(x, name);
    if (scale == NULL) {
        return hf_fail(x->c, -EINVAL, "tensor '%s' is missing", name);
    }

    if (scale->t->dtype != ST_U8 || scale->t->n_dims != 3
        || memcmp(scale->t->dims, e->t->dims, 3 * sizeof(uint64_t)) != 0) {
        return tensors_shape_fail(x, scale);
    }

    scale->used = 1;
    t->src[0].scale = scale->t;

    return 0;
}


static int
tensors_rope(hf_tensors_t *x)
{
    LLM_TRY(tensors_values(x, "rope_freqs.weight", x->c->rope_freqs));
    LLM_TRY(tensors_values(x, "rope_factors_long.weight", x->c->rope_long));

    return tensors_values(x, "rope_factors_short.weight", x->c->rope_short);
}


static int
tensors_values(hf_tensors_t *x, const char *name, const float *v)
{
    hf_tensor_t *t;

    if (v == NULL) {
        return 0;
    }

    t = tensors_new(x, name);
    if (t == NULL) {
        return tensors_no_memory(x);
    }

    t->type = GGML_F32;
    t->n_dims = 1;
    t->dims[0] = x->c->n_rot / 2;
    t->n = 1;
    t->rows = 1;
    t->cols = t->dims[0];
    t->values = v;

    return 0;
}


/* All experts are there, nothing is left over, the head is what it is said. */

static int
tensors_check(const hf_tensors_t *x)
{
    const hf_tensor_t *t;
    size_t             i, k;

    for (i = 0; i < x->m->n_tensors; i++) {
        t = x->m->tensors[i];

        for (k = 0; k < t->n_src; k++) {
            if (t->src[k].t == NULL) {
                return hf_fail(x->c, -EINVAL,
                               "tensor of expert %zu for %s is missing", k,
                               t->name);
            }
        }
    }

    for (i = 0; i < x->n; i++) {
        if (!x->all[i].used && !hf_name_is_harmless(x->all[i].name)) {
            return hf_fail(x->c, -ENOTSUP, "tensor '%s' is not known to %s",
                           x->all[i].name, x->c->family->name);
        }
    }

    if (x->c->tied == 0 && tensors_find(x, "output.weight") == NULL) {
        return hf_fail(x->c, -EINVAL, "tensor 'lm_head.weight' is missing");
    }

    return 0;
}


static void
tensors_put(const hf_tensors_t *x, gguf_writer_t *w)
{
    static const struct {
        uint32_t type;
        uint32_t file_type;
    } file_types[] = {{GGML_F32, 0}, {GGML_F16, 1}, {GGML_BF16, 32}};

    const hf_tensor_t *t;
    size_t             i;

    t = tensors_find(x, "token_embd.weight");

    for (i = 0; t && x->c->packed != HF_MXFP4 && i < llm_countof(file_types);
         i++) {
        if (file_types[i].type == t->type) {
            gguf_put_u32(w, "general.file_type", file_types[i].file_type);
        }
    }

    for (i = 0; i < x->m->n_tensors; i++) {
        t = x->m->tensors[i];
        gguf_put_tensor(w, t->name, t->type, t->n_dims, t->dims);
    }
}


/* Vectors, norms, biases and routers are F32, matrices stay what they are. */

static uint32_t
tensors_type(const char *name, const st_tensor_t *t, uint32_t n_dims)
{
    if (n_dims == 1 || hf_name_ends(name, "_norm.weight")
        || hf_name_ends(name, "ffn_gate_inp.weight")
        || !hf_name_ends(name, ".weight")) {
        return GGML_F32;
    }

    return t->dtype == ST_F16    ? GGML_F16
           : t->dtype == ST_BF16 ? GGML_BF16
                                 : GGML_F32;
}


static hf_tensor_t *
tensors_new(hf_tensors_t *x, const char *name)
{
    hf_model_t  *m = x->m;
    hf_tensor_t *t, **more;
    size_t       cap;

    if (m->n_tensors == m->cap_tensors) {
        cap = m->cap_tensors ? m->cap_tensors * 2 : 256;
        more = realloc(m->tensors, cap * sizeof(hf_tensor_t *));
        if (more == NULL) {
            return NULL;
        }

        m->tensors = more;
        m->cap_tensors = cap;
    }

    t = arena_get(&m->arena, sizeof(hf_tensor_t));
    if (t == NULL) {
        return NULL;
    }

    snprintf(t->name, sizeof(t->name), "%s", name);
    t->dims[1] = t->dims[2] = t->dims[3] = 1;
    m->tensors[m->n_tensors++] = t;

    return t;
}


/* From the end: experts of a layer stand near each other. */

static hf_tensor_t *
tensors_find(const hf_tensors_t *x, const char *name)
{
    size_t i;

    for (i = x->m->n_tensors; i > 0; i--) {
        if (strcmp(x->m->tensors[i - 1]->name, name) == 0) {
            return x->m->tensors[i - 1];
        }
    }

    return NULL;
}


static hf_entry_t *
tensors_entry(const hf_tensors_t *x, const char *name)
{
    hf_entry_t **e;

    e = bsearch(name, x->sorted, x->n, sizeof(hf_entry_t *), entry_find);

    return e ? *e : NULL;
}


static int
tensors_shape_fail(const hf_tensors_t *x, const hf_entry_t *e)
{
    char     shape[128];
    size_t   at = 0;
    uint32_t i;

    shape[0] = '\0';

    for (i = 0; i < e->t->n_dims && i < 4; i++) {
        at += (size_t) snprintf(shape + at, sizeof(shape) - at, "%s%" PRIu64,
                                i ? ", " : "", e->t->dims[i]);
    }

    return hf_fail(x->c, -EINVAL,
                   "tensor '%s' has an impossible shape: %s [%s]", e->name,
                   st_dtype_name(e->t->dtype), shape);
}


static int
tensors_no_memory(const hf_tensors_t *x)
{
    return hf_fail(x->c, -ENOMEM, "no memory");
}


static int
entry_cmp(const void *a, const void *b)
{
    return strcmp((*(hf_entry_t *const *) a)->name,
                  (*(hf_entry_t *const *) b)->name);
}


static int
entry_find(const void *name, const void *entry)
{
    return strcmp(name, (*(hf_entry_t *const *) entry)->name);
}
