/*
 * llm-bench: models without files: the shapes of published ones, with weights
 * that the backend makes up where they lie.  What they compute means nothing,
 * and takes as long as the real ones.
 *
 * Built by bench_synthetic(); the model_t and what hangs on it are freed by
 * bench_synthetic_free().  One thread.
 */

#ifndef LLM_UTIL_BENCH_SYNTHETIC_H
#define LLM_UTIL_BENCH_SYNTHETIC_H

#include <math.h>

#include "util/tool.h"

#define BS_LAYERS 128

typedef struct {
    const char *name;
    uint32_t    n_embd;
    uint32_t    n_layer;
    uint32_t    n_head;
    uint32_t    n_kv;
    uint32_t    head_dim;
    uint32_t    n_ff;
    uint32_t    n_vocab;
    int         tied;
} bs_shape_t;

/* Of matrices, of the output matrix, of the embedding. */
typedef struct {
    const char *name;
    k_type_t    matrix;
    k_type_t    head;
    k_type_t    embed;
} bs_dtype_t;

typedef struct {
    model_t           m;
    const bs_shape_t *shape;
    const bs_dtype_t *dtype;
    k_op_t           *ops;
    k_weight_t       *w[BS_LAYERS * 9 + 4];
    uint32_t          n_w;
    float             inv_freq[256];
    uint64_t          step_bytes; /* weights that a step reads */
    double            step_flops; /* of a row, without attention */
} bs_model_t;

static const bs_shape_t bs_shapes[] = {
    {"llama-3.1-8b", 4096, 32, 32, 8, 128, 14336, 128256, 0},
    {"llama-3.2-1b", 2048, 16, 32, 8, 64, 8192, 128256, 1},
    {"tiny", 256, 2, 4, 2, 64, 512, 320, 0},
};

static const bs_dtype_t bs_dtypes[] = {
    {"bf16", K_BF16, K_BF16, K_BF16},   {"f16", K_F16, K_F16, K_F16},
    {"fp8", K_F8_E4M3, K_BF16, K_BF16}, {"q8_0", K_Q8_0, K_Q8_0, K_BF16},
    {"q4_k", K_Q4_K, K_Q6_K, K_BF16},   {"q4_0", K_Q4_0, K_Q6_K, K_BF16},
};


static double
bs_bits(k_type_t type)
{
    switch (type) {
    case K_BF16:
    case K_F16:
        return 16;
    case K_F8_E4M3:
        return 8;
    case K_Q8_0:
        return 8.5;
    case K_Q6_K:
        return 6.5625;
    default:
        return 4.5;
    }
}


static const k_weight_t *
bs_weight(bs_model_t *b, k_role_t role, k_type_t type, uint32_t rows,
          uint32_t cols)
{
    k_source_t src = {.type = type,
                      .role = role,
                      .rows = rows,
                      .cols = cols,
                      .name = "synthetic",
                      .synthetic = b->n_w + 1,
                      .limit = sqrtf(3.0f / (float) cols)};
    float     *ones = NULL;
    uint32_t   i;
    char       err[K_ERR_MAX] = "";

    if (role == K_ROLE_VECTOR) {
        ones = malloc(cols * sizeof(float));
        for (i = 0; ones && i < cols; i++) {
            ones[i] = 1;
        }
        src.data = ones;
        src.synthetic = 0;
    }

    if (b->m.ops->weights_load(b->m.be, &src, &b->w[b->n_w], err) < 0) {
        tool_die(1, "synthetic weights: %s", err);
    }

    free(ones);

    if (role == K_ROLE_MATRIX || role == K_ROLE_LOGITS
        || role == K_ROLE_EMBED_LOGITS) {
        b->step_bytes += (uint64_t) ((double) rows * cols * bs_bits(type) / 8);
        b->step_flops += 2.0 * rows * cols;
        b->m.n_params += (uint64_t) rows * cols;
    }

    return b->w[b->n_w++];
}


static void
bs_layer(bs_model_t *b, k_op_t *op, uint32_t layer)
{
    const bs_shape_t *s = b->shape;
    k_type_t          t = b->dtype->matrix;
    uint32_t i, q = s->n_head * s->head_dim, kv = s->n_kv * s->head_dim;
    static const k_op_kind_t kinds[] = {K_OP_QKV, K_OP_ATTN, K_OP_OUT,
                                        K_OP_GATE_UP, K_OP_DOWN};

    for (i = 0; i < 5; i++) {
        op[i] = (k_op_t){.kind = kinds[i],
                         .layer = layer,
                         .eps = 1e-5f,
                         .scale = 1,
                         .w_scale = 1};
    }

    op[0].norm = bs_weight(b, K_ROLE_VECTOR, K_F32, 1, s->n_embd);
    op[0].w[0] = bs_weight(b, K_ROLE_MATRIX, t, q, s->n_embd);
    op[0].w[1] = bs_weight(b, K_ROLE_MATRIX, t, kv, s->n_embd);
    op[0].w[2] = bs_weight(b, K_ROLE_MATRIX, t, kv, s->n_embd);
    op[0].rope = K_ROPE_PAIRS;
    op[0].inv_freq = b->inv_freq;
    op[0].rope_mul = 1;
    op[0].n_rot = s->head_dim;
    op[1].scale = 1 / sqrtf((float) s->head_dim);
    op[2].w[0] = bs_weight(b, K_ROLE_MATRIX, t, s->n_embd, q);
    op[3].norm = bs_weight(b, K_ROLE_VECTOR, K_F32, 1, s->n_embd);
    op[3].w[0] = bs_weight(b, K_ROLE_MATRIX, t, s->n_ff, s->n_embd);
    op[3].w[1] = bs_weight(b, K_ROLE_MATRIX, t, s->n_ff, s->n_embd);
    op[4].w[0] = bs_weight(b, K_ROLE_MATRIX, t, s->n_embd, s->n_ff);
}


/* Its weights, and steps of at most `limits` over KV pages of `tokens`. */

static void
bench_synthetic(bs_model_t *b, const k_backend_ops_t *ops, k_backend_t *be,
                const char *shape, const char *dtype, const k_limits_t *limits,
                uint64_t tokens)
{
    const bs_shape_t *s;
    k_op_t           *op;
    uint32_t          i;
    char              err[K_ERR_MAX] = "";
    k_type_t          head;

    for (i = 0; i < llm_countof(bs_shapes); i++) {
        if (strcmp(bs_shapes[i].name, shape) == 0) {
            b->shape = &bs_shapes[i];
        }
    }

    for (i = 0; i < llm_countof(bs_dtypes); i++) {
        if (strcmp(bs_dtypes[i].name, dtype) == 0) {
            b->dtype = &bs_dtypes[i];
        }
    }

    if (b->shape == NULL || b->dtype == NULL) {
        tool_die(2,
                 b->shape ? "--dtype: there is no \"%s\""
                          : "--synthetic: there is no \"%s\"",
                 b->shape ? dtype : shape);
    }

    s = b->shape;
    b->m.ops = ops;
    b->m.be = be;
    b->ops = calloc(2 + 5 * (size_t) s->n_layer, sizeof(k_op_t));
    if (b->ops == NULL) {
        tool_die(1, "no memory");
    }

    for (i = 0; i < s->head_dim / 2; i++) {
        b->inv_freq[i] =
            powf(500000.0f, -2.0f * (float) i / (float) s->head_dim);
    }

    head = b->dtype->head;
    op = b->ops;
    op[0] = (k_op_t){.kind = K_OP_EMBED, .scale = 1};
    op[0].w[0] =
        bs_weight(b, s->tied ? K_ROLE_EMBED_LOGITS : K_ROLE_EMBED,
                  s->tied ? head : b->dtype->embed, s->n_vocab, s->n_embd);

    for (i = 0; i < s->n_layer; i++) {
        bs_layer(b, op + 1 + 5 * i, i);
        fprintf(stderr, "\r%s: weights of layer %u of %u", tool_name, i + 1,
                s->n_layer);
    }

    fprintf(stderr, "\r%60s\r", "");

    op += 1 + 5 * s->n_layer;
    *op = (k_op_t){.kind = K_OP_LOGITS, .eps = 1e-5f, .scale = 1};
    op->norm = bs_weight(b, K_ROLE_VECTOR, K_F32, 1, s->n_embd);
    op->w[0] = s->tied
                   ? b->ops[0].w[0]
                   : bs_weight(b, K_ROLE_LOGITS, head, s->n_vocab, s->n_embd);

    b->m.prog = (k_program_t){.n_embd = s->n_embd,
                              .n_layer = s->n_layer,
                              .n_head = s->n_head,
                              .n_kv = s->n_kv,
                              .head_dim = s->head_dim,
                              .n_ff = s->n_ff,
                              .n_vocab = s->n_vocab,
                              .n_ops = 2 + 5 * s->n_layer,
                              .ops = b->ops};

    b->m.limits = *limits;
    b->m.n_pages = (uint32_t) ((tokens + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS);
    b->m.page_bytes = ops->kv_layout(be, &b->m.prog);
    b->m.context = 131072;
    b->m.weight_bytes = b->step_bytes;
    snprintf(b->m.arch, sizeof(b->m.arch), "llama");
    snprintf(b->m.file_type, sizeof(b->m.file_type), "%s", b->dtype->name);

    if (ops->kv_new(be, &b->m.prog, b->m.n_pages, &b->m.kv, err) < 0
        || ops->program_prepare(be, &b->m.prog, b->m.kv, limits, &b->m.exec,
                                err)
               < 0) {
        tool_die(1, "%s", err);
    }
}


static void
bench_synthetic_free(bs_model_t *b)
{
    uint32_t i;

    b->m.ops->program_free(b->m.exec);
    b->m.ops->kv_free(b->m.be, b->m.kv);

    for (i = 0; i < b->n_w; i++) {
        b->m.ops->weights_free(b->m.be, b->w[i]);
    }

    free(b->ops);
}

#endif /* LLM_UTIL_BENCH_SYNTHETIC_H */
