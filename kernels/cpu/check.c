/*
 * A step program checked against its weights and KV pages.  Called by
 * k_exec_prepare() on the step loop's thread, between steps.
 *
 * After it nothing about the program can make a step read or write out of
 * bounds, whatever the numbers in its weights are.
 */

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/cpu.h"


static int k_check_op(k_exec_t *e, uint32_t i, char *err);
static int k_check_qkv(k_exec_t *e, uint32_t i, char *err);
static int k_check_moe(k_exec_t *e, uint32_t i, char *err);
static int k_check_matrix(const k_weight_t *w, uint32_t rows, uint32_t cols);
static int k_check_experts(const k_weight_t *w, uint32_t n, uint32_t rows,
                           uint32_t cols);
static int k_check_vector(const k_weight_t *w, uint32_t n);
static int k_check_vectors(const k_weight_t *w, uint32_t rows, uint32_t n);
static int k_fail(char *err, uint32_t op, const char *fmt, ...);


/*
 * Sets what of the exec follows from the program alone: dimensions, ropes, the
 * cut, what MOE needs.  0, or -EINVAL with the reason in err.
 */
int
k_exec_check(k_exec_t *e, char *err)
{
    int                rc;
    uint32_t           i;
    const k_kv_t      *kv;
    const k_program_t *p;

    p = &e->prog;
    kv = e->kv;

    if (p->n_embd == 0 || p->n_embd > K_MAX_DIM || p->n_vocab == 0
        || p->n_vocab > 1u << 24 || p->n_ff > K_MAX_DIM || p->n_ops == 0
        || p->n_ops > 1u << 16 || p->ops == NULL) {
        snprintf(err, K_ERR_MAX, "program: sizes out of range");
        return -EINVAL;
    }

    if (p->n_layer > 1u << 16 || p->n_head == 0 || p->n_head > 4096
        || p->n_kv == 0 || p->n_head % p->n_kv != 0 || p->head_dim == 0
        || p->head_dim % 2 != 0 || p->head_dim > 4096) {
        snprintf(err, K_ERR_MAX, "program: %u heads, %u KV heads of %u",
                 p->n_head, p->n_kv, p->head_dim);
        return -EINVAL;
    }

    if (e->limits.rows == 0 || e->limits.rows > 1u << 20 || e->limits.seqs == 0
        || e->limits.logits > 1u << 20) {
        snprintf(err, K_ERR_MAX, "limits: %u rows, %u sequences, %u logits",
                 e->limits.rows, e->limits.seqs, e->limits.logits);
        return -EINVAL;
    }

    if (kv != NULL
        && (kv->n_layer < p->n_layer || kv->n_kv != p->n_kv
            || kv->head_dim != p->head_dim)) {
        snprintf(err, K_ERR_MAX, "program: KV pages are of another shape");
        return -EINVAL;
    }

    e->q_dim = p->n_head * p->head_dim;
    e->kv_dim = p->n_kv * p->head_dim;
    e->qkv_dim = e->q_dim + 2 * e->kv_dim;
    e->vocab_ld = (p->n_vocab + 15) & ~15u;

    if (e->q_dim > K_MAX_DIM) {
        snprintf(err, K_ERR_MAX, "program: heads are too wide");
        return -EINVAL;
    }

    e->op_rope = calloc(p->n_ops, 1);
    e->table = e->op_rope;
    if (e->op_rope == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }

    e->cut = p->n_ops;

    for (i = 0; i < p->n_ops; i++) {
        rc = k_check_op(e, i, err);
        if (rc != 0) {
            return rc;
        }

        /* From the last attention on only rows with logits matter. */
        if (p->ops[i].kind == K_OP_ATTN) {
            e->cut = i;
        } else if (p->ops[i].kind == K_OP_QKV) {
            e->cut = p->n_ops;
        }
    }

    if (p->ops[0].kind != K_OP_EMBED) {
        return k_fail(err, 0, "is no look-up of tokens");
    }

    if (p->ops[p->n_ops - 1].kind != K_OP_LOGITS) {
        if (e->limits.logits != 0) {
            return k_fail(err, p->n_ops - 1, "logits are wanted, not made");
        }
        e->cut = p->n_ops;
    }

    return 0;
}


static int
k_check_op(k_exec_t *e, uint32_t i, char *err)
{
    int                ok;
    const k_op_t      *op;
    const k_program_t *p;

    p = &e->prog;
    op = &p->ops[i];

    if (!k_check_vector(op->norm, p->n_embd)) {
        return k_fail(err, i, "norm is no vector of %u", p->n_embd);
    }
    if (!k_check_vector(op->post_norm, p->n_embd)) {
        return k_fail(err, i, "post_norm is no vector of %u", p->n_embd);
    }

    if (op->kind != K_OP_QKV && op->kind != K_OP_GATE_UP
        && (op->scale == 0 || !isfinite(op->scale))) {
        return k_fail(err, i, "kind %d: scale is %g", (int) op->kind,
                      (double) op->scale);
    }
    if (!(op->soft_cap >= 0)) {
        return k_fail(err, i, "soft cap is negative");
    }

    switch (op->kind) {

    case K_OP_EMBED:
        if (i != 0) {
            return k_fail(err, i, "tokens are looked up first, and once");
        }
        ok = k_check_matrix(op->w[0], p->n_vocab, p->n_embd);
        break;

    case K_OP_QKV:
        return k_check_qkv(e, i, err);

    case K_OP_ATTN:
        if (e->kv == NULL || op->layer >= p->n_layer) {
            return k_fail(err, i, "layer %u has no KV pages", op->layer);
        }
        ok = k_check_vector(op->sinks, p->n_head);
        break;

    case K_OP_OUT:
        ok = k_check_matrix(op->w[0], p->n_embd, e->q_dim)
             && k_check_vector(op->bias[0], p->n_embd);
        break;

    case K_OP_GATE_UP:
        if (op->fn > K_FN_SWIGLU_OAI) {
            return k_fail(err, i, "function %d is not supported", (int) op->fn);
        }
        ok = k_check_matrix(op->w[0], p->n_ff, p->n_embd)
             && k_check_matrix(op->w[1], p->n_ff, p->n_embd)
             && k_check_vector(op->bias[0], p->n_ff)
             && k_check_vector(op->bias[1], p->n_ff);
        break;

    case K_OP_DOWN:
        ok = k_check_matrix(op->w[0], p->n_embd, p->n_ff)
             && k_check_vector(op->bias[0], p->n_embd);
        break;

    case K_OP_MOE:
        return k_check_moe(e, i, err);

    case K_OP_LOGITS:
        ok = k_check_matrix(op->w[0], p->n_vocab, p->n_embd)
             && k_check_vector(op->bias[0], p->n_vocab);
        if (i + 1 != p->n_ops) {
            return k_fail(err, i, "logits are not the last operation");
        }
        break;

    default:
        return k_fail(err, i, "kind %d is not supported", (int) op->kind);
    }

    if (!ok) {
        return k_fail(err, i, "kind %d: a weight's shape does not fit",
                      (int) op->kind);
    }

    return 0;
}


static int
k_check_qkv(k_exec_t *e, uint32_t i, char *err)
{
    uint32_t           j;
    const k_op_t      *op;
    k_rope_table_t    *r;
    const k_program_t *p;

    p = &e->prog;
    op = &p->ops[i];

    if (e->kv == NULL || op->layer >= p->n_layer) {
        return k_fail(err, i, "layer %u has no KV pages", op->layer);
    }

    if (!k_check_matrix(op->w[0], e->q_dim, p->n_embd)
        || !k_check_matrix(op->w[1], e->kv_dim, p->n_embd)
        || !k_check_matrix(op->w[2], e->kv_dim, p->n_embd)
        || !k_check_vector(op->bias[0], e->q_dim)
        || !k_check_vector(op->bias[1], e->kv_dim)
        || !k_check_vector(op->bias[2], e->kv_dim)
        || !k_check_vector(op->norm_q, p->head_dim)
        || !k_check_vector(op->norm_k, p->head_dim)) {
        return k_fail(err, i, "qkv: a weight's shape does not fit");
    }

    if (op->rope == K_ROPE_NONE) {
        e->op_rope[i] = K_MAX_ROPES;
        return 0;
    }

    if (op->rope > K_ROPE_HALVES || op->inv_freq == NULL || op->n_rot == 0
        || op->n_rot % 2 != 0 || op->n_rot > p->head_dim) {
        return k_fail(err, i, "qkv: rope over %u of %u", op->n_rot,
                      p->head_dim);
    }

    /* Layers that rotate alike share one table of sines a step. */
    for (j = 0; j < e->n_ropes; j++) {
        r = &e->ropes[j];
        if (r->inv_freq == op->inv_freq && r->n_rot == op->n_rot
            && r->mode == op->rope && r->mul == op->rope_mul) {
            break;
        }
    }

    if (j == e->n_ropes) {
        if (j == K_MAX_ROPES) {
            return k_fail(err, i, "qkv: more than %d different ropes",
                          K_MAX_ROPES);
        }
        r = &e->ropes[e->n_ropes++];
        r->inv_freq = op->inv_freq;
        r->n_rot = op->n_rot;
        r->mode = op->rope;
        r->mul = op->rope_mul;
    }

    e->op_rope[i] = (uint8_t) j;

    return 0;
}


static int
k_check_moe(k_exec_t *e, uint32_t i, char *err)
{
    uint32_t           j, n, d, f;
    k_moe_t           *m;
    const k_op_t      *op;
    const k_program_t *p;

    p = &e->prog;
    op = &p->ops[i];
    n = op->n_expert;
    d = p->n_embd;
    f = op->n_ff;

    if (n == 0 || n > K_MAX_EXPERTS || op->n_used == 0 || op->n_used > n
        || op->n_used > K_MAX_USED || f == 0 || f > K_MAX_DIM) {
        return k_fail(err, i, "moe: %u of %u experts, %u wide", op->n_used, n,
                      f);
    }

    if ((uint64_t) e->limits.rows * op->n_used > K_MAX_SLOTS) {
        return k_fail(err, i, "moe: %u rows for %u experts each are too many",
                      e->limits.rows, op->n_used);
    }

    if (op->fn > K_FN_SWIGLU_OAI || op->gate > K_GATE_SOFTMAX
        || op->w_scale == 0 || !isfinite(op->w_scale)) {
        return k_fail(err, i, "moe: function %d, gate %d times %g",
                      (int) op->fn, (int) op->gate, (double) op->w_scale);
    }

    if (!k_check_matrix(op->w[0], n, d) || !k_check_vector(op->bias[0], n)) {
        return k_fail(err, i, "moe: the router's shape does not fit");
    }

    if (!k_check_experts(op->w[1], n, f, d)
        || !k_check_experts(op->w[2], n, f, d)
        || !k_check_experts(op->w[3], n, d, f)
        || !k_check_vectors(op->bias[1], n, f)
        || !k_check_vectors(op->bias[2], n, f)
        || !k_check_vectors(op->bias[3], n, d)) {
        return k_fail(err, i, "moe: an experts' weight has another shape");
    }

    m = &e->moe;
    m->experts = m->experts > n ? m->experts : n;
    m->used = m->used > op->n_used ? m->used : op->n_used;
    m->n_ff = m->n_ff > f ? m->n_ff : f;

    for (j = 1; j <= 2; j++) {
        m->wide |=
            k_matrix_mode(op->w[j]->experts, e->be->conf.act) == K_ACT_F32;
    }

    return 0;
}


static int
k_check_matrix(const k_weight_t *w, uint32_t rows, uint32_t cols)
{
    return w != NULL && w->vector == NULL && w->experts == NULL
           && w->rows == rows && w->cols == cols;
}


static int
k_check_experts(const k_weight_t *w, uint32_t n, uint32_t rows, uint32_t cols)
{
    return w != NULL && w->n_experts == n && w->experts[0].rows == rows
           && w->cols == cols;
}


/* A vector may be absent. */
static int
k_check_vector(const k_weight_t *w, uint32_t n)
{
    return k_check_vectors(w, 1, n);
}


static int
k_check_vectors(const k_weight_t *w, uint32_t rows, uint32_t n)
{
    return w == NULL || (w->vector != NULL && w->rows == rows && w->cols == n);
}


static int
k_fail(char *err, uint32_t op, const char *fmt, ...)
{
    int     n;
    va_list ap;

    n = snprintf(err, K_ERR_MAX, "program: operation %u: ", op);
    va_start(ap, fmt);
    vsnprintf(err + n, (size_t) (K_ERR_MAX - n), fmt, ap);
    va_end(ap);

    return -EINVAL;
}
