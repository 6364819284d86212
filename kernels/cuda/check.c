/*
 * A step program checked against its weights, its KV pages and what the
 * kernels can do.  Called by program_prepare(), on the step loop's thread.
 */

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "kernels/cuda/exec.h"

#define CU_NORM_MAX 32768 /* columns of a norm: cu_norm() */
#define CU_HEAD_MAX 512   /* of a head: cu_rope(), attention */


static int cu_check_sizes(const k_exec_t *e, char *err);
static int cu_check_op(const k_exec_t *e, uint32_t i, char *err);
static int cu_check_qkv(const k_exec_t *e, uint32_t i, char *err);
static int cu_check_moe(const k_exec_t *e, uint32_t i, char *err);
static int cu_check_matrix(const k_weight_t *w, uint32_t rows, uint32_t cols);
static int cu_check_experts(const k_weight_t *w, uint32_t n, uint32_t rows, uint32_t cols);
static int cu_check_vector(const k_weight_t *w, uint32_t n);
static int cu_check_vectors(const k_weight_t *w, uint32_t rows, uint32_t n);
static int cu_check_fail(char *err, int rc, uint32_t op, const char *fmt, ...);


int
cu_exec_check(const k_exec_t *e, char *err)
{
    int                rc;
    uint32_t           i;
    const k_program_t *p;

    p = &e->prog;

    rc = cu_check_sizes(e, err);
    if (rc != 0) {
        return rc;
    }

    for (i = 0; i < p->n_ops; i++) {
        rc = cu_check_op(e, i, err);
        if (rc != 0) {
            return rc;
        }
    }

    if (p->ops[0].kind != K_OP_EMBED) {
        return cu_check_fail(err, -EINVAL, 0, "is no look-up of tokens");
    }
    if (p->ops[p->n_ops - 1].kind != K_OP_LOGITS && e->limits.logits != 0) {
        return cu_check_fail(err, -EINVAL, p->n_ops - 1, "logits are wanted, not made");
    }

    return 0;
}


static int
cu_check_sizes(const k_exec_t *e, char *err)
{
    const k_kv_t      *kv;
    const k_program_t *p;

    p = &e->prog;
    kv = e->kv;

    if (p->n_embd == 0 || p->n_embd > CU_MAX_DIM || p->n_vocab == 0 || p->n_vocab > 1u << 24
        || p->n_ff > CU_MAX_DIM || p->n_ops == 0 || p->n_ops > 1u << 16 || p->ops == NULL) {
        snprintf(err, K_ERR_MAX, "program: sizes out of range");
        return -EINVAL;
    }

    if (p->n_layer > 1u << 16 || p->n_head == 0 || p->n_head > 4096 || p->n_kv == 0
        || p->n_head % p->n_kv != 0 || p->head_dim == 0 || p->head_dim % 2 != 0
        || p->head_dim > 4096 || (uint64_t) p->n_head * p->head_dim > CU_MAX_DIM) {
        snprintf(err, K_ERR_MAX, "program: %u heads, %u KV heads of %u", p->n_head, p->n_kv,
                 p->head_dim);
        return -EINVAL;
    }

    if (e->limits.rows == 0 || e->limits.rows > 1u << 20 || e->limits.seqs == 0
        || e->limits.logits > 1u << 20) {
        snprintf(err, K_ERR_MAX, "limits: %u rows, %u sequences, %u logits", e->limits.rows,
                 e->limits.seqs, e->limits.logits);
        return -EINVAL;
    }

    if (kv != NULL
        && (kv->n_layer < p->n_layer || kv->n_kv != p->n_kv || kv->head_dim != p->head_dim)) {
        snprintf(err, K_ERR_MAX, "program: KV pages are of another shape");
        return -EINVAL;
    }

    /* What the kernels' grids and rows are made for. */
    if (e->limits.rows > CU_ROWS_MAX || e->limits.logits > CU_ROWS_MAX) {
        snprintf(err, K_ERR_MAX, "limits: more than %u rows a step", CU_ROWS_MAX);
        return -ENOTSUP;
    }
    if (p->n_embd > CU_NORM_MAX || p->n_embd % 2 != 0) {
        snprintf(err, K_ERR_MAX, "the CUDA backend has no norm of %u columns", p->n_embd);
        return -ENOTSUP;
    }
    if (kv != NULL && (p->head_dim > CU_HEAD_MAX || p->head_dim % 8 != 0)) {
        snprintf(err, K_ERR_MAX, "the CUDA backend has no attention for heads of %u", p->head_dim);
        return -ENOTSUP;
    }

    return 0;
}


static int
cu_check_op(const k_exec_t *e, uint32_t i, char *err)
{
    int                ok;
    uint32_t           q;
    const k_op_t      *op;
    const k_program_t *p;

    p = &e->prog;
    op = &p->ops[i];
    q = p->n_head * p->head_dim;

    if (!cu_check_vector(op->norm, p->n_embd)) {
        return cu_check_fail(err, -EINVAL, i, "norm is no vector of %u", p->n_embd);
    }
    if (!cu_check_vector(op->post_norm, p->n_embd)) {
        return cu_check_fail(err, -EINVAL, i, "post_norm is no vector of %u", p->n_embd);
    }

    if (op->kind != K_OP_QKV && op->kind != K_OP_GATE_UP
        && (op->scale == 0 || !isfinite(op->scale))) {
        return cu_check_fail(err, -EINVAL, i, "kind %d: scale is %g", (int) op->kind,
                             (double) op->scale);
    }
    if (!(op->soft_cap >= 0)) {
        return cu_check_fail(err, -EINVAL, i, "soft cap is negative");
    }

    switch (op->kind) {

    case K_OP_EMBED:
        if (i != 0) {
            return cu_check_fail(err, -EINVAL, i, "tokens are looked up first, and once");
        }
        ok = cu_check_matrix(op->w[0], p->n_vocab, p->n_embd);
        break;

    case K_OP_QKV:
        return cu_check_qkv(e, i, err);

    case K_OP_ATTN:
        if (e->kv == NULL || op->layer >= p->n_layer) {
            return cu_check_fail(err, -EINVAL, i, "layer %u has no KV pages", op->layer);
        }
        ok = cu_check_vector(op->sinks, p->n_head);
        if (op->scale < 0) {
            return cu_check_fail(err, -ENOTSUP, i, "attention's scale is negative");
        }
        break;

    case K_OP_OUT:
        if (e->kv == NULL) {
            return cu_check_fail(err, -EINVAL, i, "there is no attention");
        }
        ok = cu_check_matrix(op->w[0], p->n_embd, q) && cu_check_vector(op->bias[0], p->n_embd);
        break;

    case K_OP_GATE_UP:
        if ((unsigned) op->fn > K_FN_SWIGLU_OAI) {
            return cu_check_fail(err, -EINVAL, i, "function %d is not supported", (int) op->fn);
        }
        ok = cu_check_matrix(op->w[0], p->n_ff, p->n_embd)
             && cu_check_matrix(op->w[1], p->n_ff, p->n_embd)
             && cu_check_vector(op->bias[0], p->n_ff) && cu_check_vector(op->bias[1], p->n_ff);
        break;

    case K_OP_DOWN:
        ok = cu_check_matrix(op->w[0], p->n_embd, p->n_ff)
             && cu_check_vector(op->bias[0], p->n_embd);
        break;

    case K_OP_MOE:
        return cu_check_moe(e, i, err);

    case K_OP_LOGITS:
        ok = cu_check_matrix(op->w[0], p->n_vocab, p->n_embd)
             && cu_check_vector(op->bias[0], p->n_vocab);
        if (i + 1 != p->n_ops) {
            return cu_check_fail(err, -EINVAL, i, "logits are not the last operation");
        }
        if (op->bias[0] != NULL && op->scale != 1.0f) {
            return cu_check_fail(err, -ENOTSUP, i, "logits have a bias and a scale");
        }
        break;

    default:
        return cu_check_fail(err, -EINVAL, i, "kind %d is not supported", (int) op->kind);
    }

    if (!ok) {
        return cu_check_fail(err, -EINVAL, i, "kind %d: a weight's shape does not fit",
                             (int) op->kind);
    }

    return 0;
}


static int
cu_check_qkv(const k_exec_t *e, uint32_t i, char *err)
{
    uint32_t           q, kv;
    const k_op_t      *op;
    const k_program_t *p;

    p = &e->prog;
    op = &p->ops[i];
    q = p->n_head * p->head_dim;
    kv = p->n_kv * p->head_dim;

    if (e->kv == NULL || op->layer >= p->n_layer) {
        return cu_check_fail(err, -EINVAL, i, "layer %u has no KV pages", op->layer);
    }

    if (!cu_check_matrix(op->w[0], q, p->n_embd) || !cu_check_matrix(op->w[1], kv, p->n_embd)
        || !cu_check_matrix(op->w[2], kv, p->n_embd) || !cu_check_vector(op->bias[0], q)
        || !cu_check_vector(op->bias[1], kv) || !cu_check_vector(op->bias[2], kv)
        || !cu_check_vector(op->norm_q, p->head_dim) || !cu_check_vector(op->norm_k, p->head_dim)) {
        return cu_check_fail(err, -EINVAL, i, "qkv: a weight's shape does not fit");
    }

    if (op->rope == K_ROPE_NONE) {
        return 0;
    }

    if ((unsigned) op->rope > K_ROPE_HALVES || op->inv_freq == NULL || op->n_rot == 0
        || op->n_rot % 2 != 0 || op->n_rot > p->head_dim) {
        return cu_check_fail(err, -EINVAL, i, "qkv: rope over %u of %u", op->n_rot, p->head_dim);
    }

    return 0;
}


static int
cu_check_moe(const k_exec_t *e, uint32_t i, char *err)
{
    uint32_t           n, d, f;
    const k_op_t      *op;
    const k_program_t *p;

    p = &e->prog;
    op = &p->ops[i];
    n = op->n_expert;
    d = p->n_embd;
    f = op->n_ff;

    if (n == 0 || op->n_used == 0 || op->n_used > n || f == 0 || f > CU_MAX_DIM) {
        return cu_check_fail(err, -EINVAL, i, "moe: %u of %u experts, %u wide", op->n_used, n, f);
    }
    if (n > CU_MAX_EXPERTS || op->n_used > CU_MAX_USED) {
        return cu_check_fail(err, -ENOTSUP, i, "moe: %u of %u experts: at most %u of %u are done",
                             op->n_used, n, CU_MAX_USED, CU_MAX_EXPERTS);
    }

    if ((unsigned) op->fn > K_FN_SWIGLU_OAI || (unsigned) op->gate > K_GATE_SOFTMAX
        || op->w_scale == 0 || !isfinite(op->w_scale)) {
        return cu_check_fail(err, -EINVAL, i, "moe: function %d, gate %d times %g", (int) op->fn,
                             (int) op->gate, (double) op->w_scale);
    }

    if (!cu_check_matrix(op->w[0], n, d) || !cu_check_vector(op->bias[0], n)) {
        return cu_check_fail(err, -EINVAL, i, "moe: the router's shape does not fit");
    }

    if (!cu_check_experts(op->w[1], n, f, d) || !cu_check_experts(op->w[2], n, f, d)
        || !cu_check_experts(op->w[3], n, d, f) || !cu_check_vectors(op->bias[1], n, f)
        || !cu_check_vectors(op->bias[2], n, f) || !cu_check_vectors(op->bias[3], n, d)) {
        return cu_check_fail(err, -EINVAL, i, "moe: an experts' weight has another shape");
    }

    return 0;
}


static int
cu_check_matrix(const k_weight_t *w, uint32_t rows, uint32_t cols)
{
    return w != NULL && w->vector == NULL && w->role != K_ROLE_EXPERTS && w->rows == rows
           && w->cols == cols;
}


/* The weight's rows are all experts'. */
static int
cu_check_experts(const k_weight_t *w, uint32_t n, uint32_t rows, uint32_t cols)
{
    return w != NULL && w->role == K_ROLE_EXPERTS && w->m.experts == n
           && w->rows == (uint64_t) n * rows && w->cols == cols;
}


/* A vector may be absent. */
static int
cu_check_vector(const k_weight_t *w, uint32_t n)
{
    return cu_check_vectors(w, 1, n);
}


static int
cu_check_vectors(const k_weight_t *w, uint32_t rows, uint32_t n)
{
    return w == NULL || (w->vector != NULL && w->rows == rows && w->cols == n);
}


static int
cu_check_fail(char *err, int rc, uint32_t op, const char *fmt, ...)
{
    int     n;
    va_list ap;

    n = snprintf(err, K_ERR_MAX, "program: operation %u: ", op);
    va_start(ap, fmt);
    vsnprintf(err + n, (size_t) (K_ERR_MAX - n), fmt, ap);
    va_end(ap);

    return rc;
}
