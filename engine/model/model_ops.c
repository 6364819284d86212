/*
 * Compiles an architecture's row into a step program: for each operation its
 * numbers out of the metadata and its tensors, with the shapes they must
 * have.  Loader threads; see model_priv.h.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/base.h"
#include "engine/model/model_priv.h"

static int  ops_layer(load_t *l, int layer);
static int  ops_add(load_t *l, const arch_op_t *src, int layer);
static void ops_numbers(const load_t *l, k_op_t *op);
static int  ops_head(load_t *l, const arch_op_t *src, k_op_t *op);
static int ops_matrices(load_t *l, const arch_op_t *src, int layer, k_op_t *op);
static int ops_experts(load_t *l, const arch_op_t *src, int layer, k_op_t *op);
static int ops_norms(load_t *l, const arch_op_t *src, int layer, k_op_t *op);
static void ops_shape(const k_program_t *p, k_op_kind_t kind, int i,
                      load_want_t *want);


int
load_ops(load_t *l)
{
    k_program_t *p = &l->m->prog;
    uint32_t     i;

    /* A tensor may be fused: three weights of one. */
    l->m->ops_own =
        calloc(2 + (size_t) p->n_layer * ARCH_OPS_MAX, sizeof(k_op_t));
    l->m->weights =
        calloc(gguf_tensor_n(l->file) * 3 + 1, sizeof(k_weight_t *));

    if (l->m->ops_own == NULL || l->m->weights == NULL) {
        return load_fail(l, -ENOMEM, "no memory");
    }

    p->ops = l->m->ops_own;

    LLM_TRY(ops_add(l, &l->arch->head, -1));

    for (i = 0; i < p->n_layer; i++) {
        LLM_TRY(ops_layer(l, (int) i));
    }

    return ops_add(l, &l->arch->tail, -1);
}


static int
ops_layer(load_t *l, int layer)
{
    int i;

    for (i = 0; i < ARCH_ATTN_OPS; i++) {
        LLM_TRY(ops_add(l, &l->arch->attn[i], layer));
    }

    if (l->meta.n_expert) {
        return ops_add(l, &l->arch->moe, layer);
    }

    for (i = 0; i < ARCH_FFN_OPS; i++) {
        LLM_TRY(ops_add(l, &l->arch->ffn[i], layer));
    }

    return 0;
}


static int
ops_add(load_t *l, const arch_op_t *src, int layer)
{
    k_op_t     *op = &l->m->ops_own[l->m->prog.n_ops];
    load_want_t sinks = {.name = src->sinks,
                         .suffix = "weight",
                         .layer = layer,
                         .role = K_ROLE_VECTOR,
                         .rows = 1,
                         .cols = l->m->prog.n_head};

    *op =
        (k_op_t){.kind = src->kind, .layer = layer < 0 ? 0 : (uint32_t) layer};

    ops_numbers(l, op);

    switch (src->kind) {
    case K_OP_EMBED:
    case K_OP_LOGITS:
        LLM_TRY(ops_head(l, src, op));
        break;
    case K_OP_MOE:
        LLM_TRY(ops_experts(l, src, layer, op));
        break;
    default:
        LLM_TRY(ops_matrices(l, src, layer, op));
        break;
    }

    LLM_TRY(load_tensor(l, &sinks, &op->sinks));
    LLM_TRY(ops_norms(l, src, layer, op));

    l->m->prog.n_ops++;

    return 0;
}


static void
ops_numbers(const load_t *l, k_op_t *op)
{
    const model_meta_t *meta = &l->meta;
    uint32_t            every = l->arch->nope_every;
    int                 local = l->local[op->layer];

    op->eps = meta->eps;
    op->fn = l->arch->fn;
    op->scale = 1;

    switch (op->kind) {
    case K_OP_EMBED:
        op->scale = meta->embed_scale;
        break;

    case K_OP_QKV:
        op->rope =
            every && (op->layer + 1) % every == 0 ? K_ROPE_NONE : l->arch->rope;
        op->n_rot = l->m->n_rot;
        op->inv_freq = l->m->inv_freq + (local ? l->m->n_rot / 2 : 0);
        op->rope_mul = local ? meta->rope_mul_local : meta->rope_mul;
        break;

    case K_OP_ATTN:
        op->scale = meta->attn_scale;
        op->soft_cap = meta->attn_cap;
        op->window = local ? meta->window : 0;
        break;

    case K_OP_MOE:
        op->gate = meta->gate;
        op->n_expert = meta->n_expert;
        op->n_used = meta->n_used;
        op->n_ff = meta->n_ff_expert;
        op->w_scale = meta->expert_scale;
        op->scale = meta->residual_scale;
        break;

    case K_OP_OUT:
    case K_OP_DOWN:
        op->scale = meta->residual_scale;
        break;

    case K_OP_LOGITS:
        op->scale = meta->logit_scale;
        op->soft_cap = meta->logit_cap;
        break;

    default:
        break;
    }
}


/* The embedding table, and the output matrix or the same table again. */

static int
ops_head(load_t *l, const arch_op_t *src, k_op_t *op)
{
    load_want_t want;
    int         tied;

    tied = gguf_tensor_find(l->file, "output.weight") == NULL;

    if (op->kind == K_OP_LOGITS && tied) {
        op->w[0] = l->m->ops_own[0].w[0];
        return 0;
    }

    want = (load_want_t){.name = src->w[0],
                         .suffix = "weight",
                         .layer = -1,
                         .role = op->kind == K_OP_LOGITS ? K_ROLE_LOGITS
                                 : tied                  ? K_ROLE_EMBED_LOGITS
                                                         : K_ROLE_EMBED,
                         .rows = l->m->prog.n_vocab,
                         .cols = l->m->prog.n_embd};

    return load_tensor(l, &want, &op->w[0]);
}


static int
ops_matrices(load_t *l, const arch_op_t *src, int layer, k_op_t *op)
{
    load_want_t want[3], bias;
    uint32_t    row = 0;
    int         i;

    for (i = 0; i < 3; i++) {
        want[i] = (load_want_t){.name = src->w[i],
                                .suffix = "weight",
                                .layer = layer,
                                .role = K_ROLE_MATRIX};
        ops_shape(&l->m->prog, src->kind, i, &want[i]);
        want[i].row = row;
        row += src->w[i] ? want[i].rows : 0;
    }

    for (i = 0; i < 3; i++) {
        want[i].row = src->fused ? want[i].row : 0;
        want[i].of = src->fused ? row : 0;
        LLM_TRY(load_tensor(l, &want[i], &op->w[i]));

        bias = (load_want_t){.name = src->bias[i],
                             .suffix = "bias",
                             .layer = layer,
                             .role = K_ROLE_VECTOR,
                             .rows = 1,
                             .cols = want[i].rows};
        LLM_TRY(load_tensor(l, &bias, &op->bias[i]));
    }

    return 0;
}


/* The router, then the experts' gates, ups and downs. */

static int
ops_experts(load_t *l, const arch_op_t *src, int layer, k_op_t *op)
{
    load_want_t want, bias;
    uint32_t    n_embd = l->m->prog.n_embd, n = op->n_expert;
    int         i;

    for (i = 0; i < 4; i++) {
        want = (load_want_t){.name = src->w[i],
                             .suffix = "weight",
                             .layer = layer,
                             .role = i == 0 ? K_ROLE_MATRIX : K_ROLE_EXPERTS,
                             .rows = i == 0   ? n
                                     : i == 3 ? n_embd
                                              : op->n_ff,
                             .cols = i == 3 ? op->n_ff : n_embd,
                             .experts = i == 0 ? 0 : n};

        bias = (load_want_t){.name = src->bias[i],
                             .suffix = "bias",
                             .layer = layer,
                             .role = i == 0 ? K_ROLE_VECTOR : K_ROLE_VECTORS,
                             .rows = 1,
                             .cols = want.rows,
                             .experts = want.experts};

        LLM_TRY(load_tensor(l, &want, &op->w[i]));
        LLM_TRY(load_tensor(l, &bias, &op->bias[i]));
    }

    return 0;
}


static int
ops_norms(load_t *l, const arch_op_t *src, int layer, k_op_t *op)
{
    struct {
        const char        *name;
        uint32_t           cols;
        const k_weight_t **w;
    } norms[] = {{src->norm, l->m->prog.n_embd, &op->norm},
                 {src->post_norm, l->m->prog.n_embd, &op->post_norm},
                 {src->norm_q, l->m->prog.head_dim, &op->norm_q},
                 {src->norm_k, l->m->prog.head_dim, &op->norm_k}};

    load_want_t want;
    size_t      i;

    for (i = 0; i < llm_countof(norms); i++) {
        want = (load_want_t){.name = norms[i].name,
                             .suffix = "weight",
                             .layer = layer,
                             .role = K_ROLE_VECTOR,
                             .rows = 1,
                             .cols = norms[i].cols};
        LLM_TRY(load_tensor(l, &want, norms[i].w));
    }

    return 0;
}


/* Shape of an operation's i-th matrix, as backend.h writes the products. */

static void
ops_shape(const k_program_t *p, k_op_kind_t kind, int i, load_want_t *want)
{
    uint32_t q = p->n_head * p->head_dim, kv = p->n_kv * p->head_dim;

    switch (kind) {
    case K_OP_QKV:
        want->rows = i == 0 ? q : kv;
        want->cols = p->n_embd;
        break;
    case K_OP_OUT:
        want->rows = p->n_embd;
        want->cols = q;
        break;
    case K_OP_GATE_UP:
        want->rows = p->n_ff;
        want->cols = p->n_embd;
        break;
    default: /* K_OP_DOWN */
        want->rows = p->n_embd;
        want->cols = p->n_ff;
        break;
    }
}
