/*
 * Loads a weight file: metadata -> dimensions -> a step program out of the
 * architecture's table -> tensors into the backend -> a pool of KV pages.
 *
 * Runs on a loader thread, once a model.  Everything taken is noted in the
 * model_t as it is taken, so that model_free() undoes a half-finished load.
 * A file must hold exactly the tensors that the table knows: one that is
 * missing, left over, or of another shape is refused by its name.
 */

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include "engine/base.h"
#include "engine/model/arch.h"
#include "engine/model/model.h"

#define MODEL_DIM_MAX   (1u << 20)
#define MODEL_LAYER_MAX 1024
#define MODEL_PAGES_MIN 4
/* Without kv_bytes: pages for so many whole contexts, if the arena has them. */
#define MODEL_KV_CONTEXTS 16

typedef struct {
    const gguf_t         *file;
    const model_params_t *params;
    const arch_t         *arch;
    model_t              *m;
    uint8_t              *used; /* a flag for each tensor of the file */
    uint64_t              bytes_done;
    uint64_t              bytes_all;
    float                 eps;
    float                 attn_scale;
    XXH3_state_t         *hash;
    char                 *err;
} load_t;

static int  load_dims(load_t *l);
static int  load_dim(load_t *l, const char *name, uint32_t fallback,
                     uint32_t *value);
static int  load_rope(load_t *l);
static int  load_ops(load_t *l);
static int  load_op(load_t *l, const arch_op_t *src, int layer);
static int  load_tensor(load_t *l, const char *name, const char *suffix,
                        int layer, k_role_t role, uint32_t rows, uint32_t cols,
                        const k_weight_t **w);
static int  load_head(load_t *l, k_op_t *op);
static int  load_leftovers(load_t *l);
static int  load_kv(load_t *l);
static void load_shape(const k_program_t *p, k_op_kind_t kind, int i,
                       uint32_t *rows, uint32_t *cols);
static void model_file_type(load_t *l);


static int
load_fail(load_t *l, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l->err, K_ERR_MAX, fmt, ap);
    va_end(ap);

    return rc;
}


int
model_load(const gguf_t *file, const model_params_t *params, model_t **model,
           char *err)
{
    gguf_str_t arch;
    model_t   *m;
    load_t     l;
    size_t     i;
    int        rc;

    l = (load_t){.file = file, .params = params, .err = err};

    if (gguf_get_str(file, "general.architecture", &arch) < 0) {
        return load_fail(&l, -EINVAL, "no general.architecture in the file");
    }

    l.arch = arch_find(arch.data, arch.len);
    if (l.arch == NULL) {
        return load_fail(&l, -ENOTSUP, "architecture \"%.*s\" is not supported",
                         (int) (arch.len > 64 ? 64 : arch.len), arch.data);
    }

    m = calloc(1, sizeof(model_t));
    l.m = m;
    l.used = calloc(gguf_tensor_n(file) + 1, 1);
    l.hash = XXH3_createState();

    if (m == NULL || l.used == NULL || l.hash == NULL) {
        rc = load_fail(&l, -ENOMEM, "no memory");
        goto done;
    }

    XXH3_128bits_reset(l.hash);

    m->ops = params->ops;
    m->be = params->be;
    m->limits = params->limits;
    snprintf(m->arch, sizeof(m->arch), "%s", l.arch->name);

    for (i = 0; i < gguf_tensor_n(file); i++) {
        l.bytes_all += gguf_tensor_at(file, i)->size;
    }

    rc = load_dims(&l);
    if (rc == 0) {
        rc = load_rope(&l);
    }
    if (rc == 0) {
        rc = load_ops(&l);
    }
    if (rc == 0) {
        rc = load_leftovers(&l);
    }
    if (rc == 0) {
        rc = load_kv(&l);
    }

done:

    if (rc == 0) {
        XXH128_canonical_t canon;

        XXH128_canonicalFromHash(&canon, XXH3_128bits_digest(l.hash));
        memcpy(m->fingerprint, &canon, sizeof(canon));
        model_file_type(&l);
        *model = m;

    } else {
        model_free(m);
    }

    free(l.used);
    XXH3_freeState(l.hash);

    return rc;
}


int
model_load_null(const model_params_t *params, uint32_t n_vocab, model_t **model,
                char *err)
{
    model_t *m;
    load_t   l = {.params = params, .err = err};
    int      rc;

    m = calloc(1, sizeof(model_t));
    if (m == NULL) {
        return load_fail(&l, -ENOMEM, "no memory");
    }

    l.m = m;
    m->ops = params->ops;
    m->be = params->be;
    m->limits = params->limits;
    m->prog.n_vocab = n_vocab;
    m->trained = 8192;
    m->context = params->context ? params->context : m->trained;
    snprintf(m->arch, sizeof(m->arch), "null");
    snprintf(m->file_type, sizeof(m->file_type), "none");

    rc = load_kv(&l);
    if (rc < 0) {
        model_free(m);
        return rc;
    }

    *model = m;

    return 0;
}


void
model_free(model_t *m)
{
    uint32_t i;

    if (m == NULL) {
        return;
    }

    if (m->exec) {
        m->ops->program_free(m->exec);
    }

    if (m->kv) {
        m->ops->kv_free(m->be, m->kv);
    }

    for (i = 0; i < m->n_weights; i++) {
        m->ops->weights_free(m->be, m->weights[i]);
    }

    free(m->weights);
    free(m->ops_own);
    free(m->inv_freq);
    free(m);
}


/* A dimension: "<arch>.<name>"; fallback 0 means that it must be there. */

static int
load_dim(load_t *l, const char *name, uint32_t fallback, uint32_t *value)
{
    char     key[128];
    uint32_t v = fallback;
    int      rc;

    snprintf(key, sizeof(key), "%s.%s", l->arch->name, name);

    rc = gguf_get_u32(l->file, key, &v);
    if (rc == -ENOENT && fallback == 0) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is missing", key);
    }

    if (rc == -EINVAL) {
        return load_fail(l, -ENOTSUP, "metadata \"%s\" is not a single number",
                         key);
    }

    if (v == 0 || v > MODEL_DIM_MAX) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is %" PRIu32, key, v);
    }

    *value = v;

    return 0;
}


static int
load_dims(load_t *l)
{
    static const char *const refused[] = {
        "expert_count",   "attention.sliding_window", "attention.clamp_kqv",
        "logit_scale",    "residual_scale",           "embedding_scale",
        "attention.scale"};
    const gguf_tensor_t *embd;
    k_program_t         *p = &l->m->prog;
    uint32_t             value_dim;
    char                 key[128];
    size_t               i;
    float                f;

    for (i = 0; i < llm_countof(refused); i++) {
        snprintf(key, sizeof(key), "%s.%s", l->arch->name, refused[i]);

        if (gguf_get_f32(l->file, key, &f) != -ENOENT && f != 0) {
            return load_fail(l, -ENOTSUP, "metadata \"%s\" is not supported",
                             key);
        }
    }

    LLM_TRY(load_dim(l, "block_count", 0, &p->n_layer));
    LLM_TRY(load_dim(l, "embedding_length", 0, &p->n_embd));
    LLM_TRY(load_dim(l, "feed_forward_length", 0, &p->n_ff));
    LLM_TRY(load_dim(l, "attention.head_count", 0, &p->n_head));
    LLM_TRY(load_dim(l, "attention.head_count_kv", p->n_head, &p->n_kv));
    LLM_TRY(load_dim(l, "context_length", 0, &l->m->trained));

    if (p->n_layer > MODEL_LAYER_MAX || p->n_head % p->n_kv) {
        return load_fail(l, -EINVAL,
                         "%" PRIu32 " layers, %" PRIu32 " heads, %" PRIu32
                         " KV heads do not make a model",
                         p->n_layer, p->n_head, p->n_kv);
    }

    if (p->n_embd % p->n_head == 0) {
        p->head_dim = p->n_embd / p->n_head;
    }

    LLM_TRY(load_dim(l, "attention.key_length", p->head_dim, &p->head_dim));
    LLM_TRY(load_dim(l, "attention.value_length", p->head_dim, &value_dim));

    if (value_dim != p->head_dim) {
        return load_fail(l, -ENOTSUP,
                         "keys of %" PRIu32 " and values of %" PRIu32
                         " elements are not supported",
                         p->head_dim, value_dim);
    }

    embd = gguf_tensor_find(l->file, "token_embd.weight");
    if (embd == NULL || embd->dims[1] > MODEL_DIM_MAX * 4ull) {
        return load_fail(l, -EINVAL, "tensor token_embd.weight is %s",
                         embd ? "too large" : "missing");
    }

    p->n_vocab = (uint32_t) embd->dims[1];

    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon",
             l->arch->name);
    if (gguf_get_f32(l->file, key, &l->eps) < 0 || !(l->eps > 0)) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is missing", key);
    }

    l->attn_scale = 1.0f / sqrtf((float) p->head_dim);

    l->m->context = l->params->context ? l->params->context : l->m->trained;
    if (l->m->context > l->m->trained) {
        return load_fail(l, -EINVAL,
                         "context %" PRIu32 " is more than the %" PRIu32
                         " that the model was trained for",
                         l->m->context, l->m->trained);
    }

    return 0;
}


/*
 * Inverse frequencies: base^(-2i/n), divided by the factors of Llama 3.x
 * (tensor rope_freqs) or by a linear scale.  arXiv 2104.09864, 2306.15595.
 */

static int
load_rope(load_t *l)
{
    const gguf_tensor_t *factors;
    gguf_str_t           type;
    uint32_t             n_rot, i;
    model_t             *m = l->m;
    float                base = 10000.0f, linear = 1.0f;
    char                 key[128];

    LLM_TRY(load_dim(l, "rope.dimension_count", m->prog.head_dim, &n_rot));

    if (n_rot % 2 || n_rot > m->prog.head_dim) {
        return load_fail(l, -EINVAL, "rope.dimension_count is %" PRIu32, n_rot);
    }

    snprintf(key, sizeof(key), "%s.rope.freq_base", l->arch->name);
    if (gguf_get_f32(l->file, key, &base) == -EINVAL || !(base > 0)) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is broken", key);
    }

    snprintf(key, sizeof(key), "%s.rope.scaling.type", l->arch->name);
    if (gguf_get_str(l->file, key, &type) == 0) {
        if (type.len == 6 && memcmp(type.data, "linear", 6) == 0) {
            snprintf(key, sizeof(key), "%s.rope.scaling.factor", l->arch->name);
            if (gguf_get_f32(l->file, key, &linear) < 0 || !(linear > 0)) {
                return load_fail(l, -EINVAL, "metadata \"%s\" is broken", key);
            }

        } else if (type.len != 4 || memcmp(type.data, "none", 4) != 0) {
            return load_fail(l, -ENOTSUP,
                             "rope scaling \"%.*s\" is not "
                             "supported",
                             (int) (type.len > 32 ? 32 : type.len), type.data);
        }
    }

    factors = gguf_tensor_find(l->file, "rope_freqs.weight");
    if (factors) {
        if (factors->type != GGML_F32 || factors->dims[0] != n_rot / 2
            || factors->dims[1] != 1) {
            return load_fail(l, -ENOTSUP,
                             "tensor rope_freqs.weight has an "
                             "unknown form");
        }

        for (i = 0; i < gguf_tensor_n(l->file); i++) {
            if (gguf_tensor_at(l->file, i) == factors) {
                l->used[i] = 1;
            }
        }
    }

    m->inv_freq = calloc(n_rot / 2, sizeof(float));
    if (m->inv_freq == NULL) {
        return load_fail(l, -ENOMEM, "no memory");
    }

    for (i = 0; i < n_rot / 2; i++) {
        double f = pow(base, -2.0 * i / n_rot) / linear;
        float  by = 1;

        if (factors) {
            memcpy(&by, (const char *) factors->data + i * sizeof(by),
                   sizeof(by));
            if (!(by > 0)) {
                return load_fail(l, -EINVAL,
                                 "tensor rope_freqs.weight holds "
                                 "%g",
                                 (double) by);
            }
        }

        m->inv_freq[i] = (float) (f / by);
    }

    m->n_rot = n_rot;

    return 0;
}


static int
load_ops(load_t *l)
{
    k_program_t *p = &l->m->prog;
    uint32_t     i;
    int          j;

    l->m->ops_own =
        calloc(2 + (size_t) p->n_layer * ARCH_OPS_MAX, sizeof(k_op_t));
    l->m->weights = calloc(gguf_tensor_n(l->file) + 1, sizeof(k_weight_t *));

    if (l->m->ops_own == NULL || l->m->weights == NULL) {
        return load_fail(l, -ENOMEM, "no memory");
    }

    p->ops = l->m->ops_own;

    LLM_TRY(load_op(l, &l->arch->head, -1));

    for (i = 0; i < p->n_layer; i++) {
        for (j = 0; j < ARCH_OPS_MAX && l->arch->layer[j].kind; j++) {
            LLM_TRY(load_op(l, &l->arch->layer[j], (int) i));
        }
    }

    return load_op(l, &l->arch->tail, -1);
}


static int
load_op(load_t *l, const arch_op_t *src, int layer)
{
    k_program_t *p = &l->m->prog;
    k_op_t      *op = &l->m->ops_own[p->n_ops];
    uint32_t     rows, cols, norm;
    int          i;

    *op = (k_op_t){.kind = src->kind,
                   .layer = layer < 0 ? 0 : (uint32_t) layer,
                   .fn = l->arch->fn,
                   .eps = l->eps,
                   .scale = src->kind == K_OP_ATTN ? l->attn_scale : 1.0f,
                   .rope = l->arch->rope,
                   .inv_freq = l->m->inv_freq,
                   .rope_mul = 1.0f,
                   .n_rot = l->m->n_rot};

    if (src->kind == K_OP_EMBED || src->kind == K_OP_LOGITS) {
        LLM_TRY(load_head(l, op));

    } else {
        for (i = 0; i < 3; i++) {
            load_shape(p, src->kind, i, &rows, &cols);
            LLM_TRY(load_tensor(l, src->w[i], "weight", layer, K_ROLE_MATRIX,
                                rows, cols, &op->w[i]));
            LLM_TRY(load_tensor(l, src->bias[i], "bias", layer, K_ROLE_VECTOR,
                                1, rows, &op->bias[i]));
        }
    }

    norm = p->n_embd;
    LLM_TRY(load_tensor(l, src->norm, "weight", layer, K_ROLE_VECTOR, 1, norm,
                        &op->norm));
    LLM_TRY(load_tensor(l, src->post_norm, "weight", layer, K_ROLE_VECTOR, 1,
                        norm, &op->post_norm));
    LLM_TRY(load_tensor(l, src->norm_q, "weight", layer, K_ROLE_VECTOR, 1,
                        p->head_dim, &op->norm_q));
    LLM_TRY(load_tensor(l, src->norm_k, "weight", layer, K_ROLE_VECTOR, 1,
                        p->head_dim, &op->norm_k));

    p->n_ops++;

    return 0;
}


/* The embedding table, and the output matrix or the same table again. */

static int
load_head(load_t *l, k_op_t *op)
{
    k_program_t *p = &l->m->prog;
    int          tied;

    tied = gguf_tensor_find(l->file, "output.weight") == NULL;

    if (op->kind == K_OP_LOGITS && tied) {
        op->w[0] = l->m->ops_own[0].w[0];
        return 0;
    }

    return load_tensor(l, op->kind == K_OP_EMBED ? "token_embd" : "output",
                       "weight", -1,
                       op->kind == K_OP_LOGITS ? K_ROLE_LOGITS
                       : tied                  ? K_ROLE_EMBED_LOGITS
                                               : K_ROLE_EMBED,
                       p->n_vocab, p->n_embd, &op->w[0]);
}


/* Shape of an operation's i-th matrix, as backend.h writes the products. */

static void
load_shape(const k_program_t *p, k_op_kind_t kind, int i, uint32_t *rows,
           uint32_t *cols)
{
    uint32_t q = p->n_head * p->head_dim, kv = p->n_kv * p->head_dim;

    switch (kind) {
    case K_OP_QKV:
        *rows = i == 0 ? q : kv;
        *cols = p->n_embd;
        break;
    case K_OP_OUT:
        *rows = p->n_embd;
        *cols = q;
        break;
    case K_OP_GATE_UP:
        *rows = p->n_ff;
        *cols = p->n_embd;
        break;
    default: /* K_OP_DOWN */
        *rows = p->n_embd;
        *cols = p->n_ff;
        break;
    }
}


static int
load_tensor(load_t *l, const char *name, const char *suffix, int layer,
            k_role_t role, uint32_t rows, uint32_t cols, const k_weight_t **w)
{
    const gguf_tensor_t *t;
    k_weight_t          *own;
    k_source_t           src;
    size_t               i;
    char                 full[96];
    int                  rc, optional;

    if (name == NULL) {
        return 0;
    }

    optional = name[0] == '?';
    name += optional;

    if (layer < 0) {
        snprintf(full, sizeof(full), "%s.%s", name, suffix);
    } else {
        snprintf(full, sizeof(full), "blk.%d.%s.%s", layer, name, suffix);
    }

    t = gguf_tensor_find(l->file, full);
    if (t == NULL) {
        return optional ? 0
                        : load_fail(l, -EINVAL, "tensor %s is missing", full);
    }

    if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1
        || t->dims[3] != 1) {
        return load_fail(l, -EINVAL,
                         "tensor %s is %" PRIu64 " x %" PRIu64 ", not %" PRIu32
                         " x %" PRIu32,
                         full, t->dims[0], t->dims[1], cols, rows);
    }

    for (i = 0; i < gguf_tensor_n(l->file); i++) {
        if (gguf_tensor_at(l->file, i) == t) {
            l->used[i] = 1;
        }
    }

    src = (k_source_t){.type = (k_type_t) t->type,
                       .role = role,
                       .rows = rows,
                       .cols = cols,
                       .data = t->data,
                       .name = t->name};

    rc = l->m->ops->weights_load(l->m->be, &src, &own, l->err);
    if (rc < 0) {
        return rc;
    }

    XXH3_128bits_update(l->hash, t->name, strlen(t->name));
    XXH3_128bits_update(l->hash, t->data, t->size);
    gguf_tensor_drop(l->file, t);

    *w = own;
    l->m->weights[l->m->n_weights++] = own;
    l->m->n_params += (uint64_t) rows * cols;
    l->m->weight_bytes += t->size;
    l->bytes_done += t->size;

    if (l->params->progress
        && l->params->progress(l->params->data, (double) l->bytes_done
                                                    / (double) l->bytes_all)) {
        return load_fail(l, -ECANCELED, "loading was given up");
    }

    return 0;
}


static int
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


static int
load_kv(load_t *l)
{
    uint64_t size, used, bytes, want;
    model_t *m = l->m;

    m->page_bytes = m->ops->kv_layout(m->be, &m->prog);
    m->ops->memory(m->be, &size, &used);

    want = (m->context + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS;
    want *= m->page_bytes * MODEL_KV_CONTEXTS;

    bytes = l->params->kv_bytes;
    if (bytes == 0) {
        /* Leave a share for models to come: half of what is left. */
        bytes = size > used ? (size - used) / 2 : 0;
        bytes = bytes > want ? want : bytes;
    }

    if (m->page_bytes) {
        m->n_pages = (uint32_t) (bytes / m->page_bytes);

    } else {
        /* The null backend's pages take nothing. */
        m->n_pages = MODEL_KV_CONTEXTS
                     * ((m->context + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS);
    }

    if (m->n_pages < MODEL_PAGES_MIN) {
        return load_fail(l, -ENOMEM,
                         "no memory for KV pages: %" PRIu64 " of %" PRIu64
                         " bytes are used, one page of %d tokens takes %" PRIu64
                         "; raise --memory",
                         used, size, K_PAGE_TOKENS, m->page_bytes);
    }

    LLM_TRY(m->ops->kv_new(m->be, &m->prog, m->n_pages, &m->kv, l->err));

    return m->ops->program_prepare(m->be, &m->prog, m->kv, &m->limits, &m->exec,
                                   l->err);
}


/* Names the type that most bytes of the matrices have. */

static void
model_file_type(load_t *l)
{
    uint64_t bytes[GGML_TYPES] = {0};
    uint32_t type, best = 0;
    size_t   i;

    for (i = 0; i < gguf_tensor_n(l->file); i++) {
        const gguf_tensor_t *t = gguf_tensor_at(l->file, i);

        if (t->type < GGML_TYPES && strncmp(t->name, "blk.", 4) == 0) {
            bytes[t->type] += t->size;
        }
    }

    for (type = 0; type < GGML_TYPES; type++) {
        if (bytes[type] > bytes[best]) {
            best = type;
        }
    }

    snprintf(l->m->file_type, sizeof(l->m->file_type), "%s",
             gguf_type_name(best));
}
