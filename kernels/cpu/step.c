/*
 * A step: every compute thread walks the program's operations over the
 * batch's rows, meeting the others at a barrier after each phase.  Within a
 * phase work is dealt out in pieces by k_pool_next(), so a thread that the
 * system has taken away for a while holds nobody up for longer than a piece.
 *
 * An operation that begins with a norm or reads int8 activations has a phase
 * for them first; with few rows every thread does that for itself in memory
 * of its own, and the phase and its barrier fall away.
 *
 * Nothing here allocates.  What a thread computes in a piece does not depend
 * on how the pieces are cut, see gemm.h and attn.c.
 */

#include <errno.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/product.h"


/* What one thread needs to do a phase's work for all. */
typedef struct {
    k_exec_t     *e;
    const k_op_t *op;
    uint32_t      rows;
} k_meet_t;


static int  k_step_check(const k_exec_t *e, const k_batch_t *b);
static void k_step_run(void *arg, uint32_t thread);
static void k_op_embed(k_exec_t *e, const k_op_t *op);
static void k_embed_rope(k_exec_t *e, const k_rope_table_t *r, uint32_t row,
                         uint32_t pos);
static int k_op_qkv(k_exec_t *e, const k_op_t *op, uint32_t i, uint32_t thread);
static int k_op_residual(k_exec_t *e, const k_op_t *op, uint32_t rows,
                         const float *in, uint32_t cols, uint32_t thread);
static void k_post_norm_all(void *arg, uint32_t thread);
static void k_post_norm(k_exec_t *e, const k_op_t *op, uint32_t row);
static void k_op_gate_up(k_exec_t *e, const k_op_t *op, uint32_t rows,
                         uint32_t thread);
static void k_op_logits(k_exec_t *e, const k_op_t *op, int cut,
                        uint32_t thread);
static void k_compact(k_exec_t *e);


/*
 * Runs the step; the batch is borrowed until it returns, which is when the
 * step is done.  -EINVAL: the batch breaks a rule of backend.h; nothing was
 * computed.
 */
int
k_step_submit(k_exec_t *e, const k_batch_t *batch)
{
    int rc;

    e->n_logits = 0;

    rc = k_step_check(e, batch);
    if (rc != 0) {
        return rc;
    }

    e->batch = batch;
    if (e->kv != NULL) {
        k_attn_plan(e);
    }

    k_pool_run(e->pool, k_step_run, e);

    e->batch = NULL;
    e->n_logits = batch->n_logits;

    return 0;
}


static int
k_step_check(const k_exec_t *e, const k_batch_t *b)
{
    uint32_t             i, j, row, pages;
    const k_batch_seq_t *s;

    if (b->n_rows == 0 || b->n_rows > e->limits.rows || b->n_seqs == 0
        || b->n_seqs > e->limits.seqs || b->n_logits > e->limits.logits
        || b->n_logits > b->n_rows) {
        return -EINVAL;
    }

    for (i = 0; i < b->n_rows; i++) {
        if (b->tokens[i] < 0 || (uint32_t) b->tokens[i] >= e->prog.n_vocab) {
            return -EINVAL;
        }
    }

    for (i = 0; i < b->n_logits; i++) {
        if (b->logit_rows[i] >= b->n_rows
            || (i > 0 && b->logit_rows[i] <= b->logit_rows[i - 1])) {
            return -EINVAL;
        }
    }

    row = 0;

    for (i = 0; i < b->n_seqs; i++) {
        s = &b->seqs[i];
        if (s->row != row || s->n == 0 || s->n > b->n_rows - row
            || s->pos > (1u << 30)) {
            return -EINVAL;
        }
        row += s->n;

        if (e->kv == NULL) {
            continue;
        }
        if (s->pages == NULL) {
            return -EINVAL;
        }
        pages = (s->pos + s->n - 1) / K_PAGE_TOKENS + 1;
        for (j = 0; j < pages; j++) {
            if (s->pages[j] >= e->kv->n_pages) {
                return -EINVAL;
            }
        }
    }

    return row == b->n_rows ? 0 : -EINVAL;
}


/* One thread's walk. */
static void
k_step_run(void *arg, uint32_t thread)
{
    int           met; /* the operation ended with a barrier */
    uint32_t      i, rows;
    k_exec_t     *e;
    const k_op_t *op;

    e = arg;

    for (i = 0; i < e->prog.n_ops; i++) {
        op = &e->prog.ops[i];
        rows = i > e->cut ? e->batch->n_logits : e->batch->n_rows;
        met = 0;

        if (i >= e->cut && e->batch->n_logits == 0) {
            return;
        }

        switch (op->kind) {

        case K_OP_EMBED:
            k_op_embed(e, op);
            break;

        case K_OP_QKV:
            met = k_op_qkv(e, op, i, thread);
            break;

        case K_OP_ATTN:
            if (i == e->cut && thread == 0) {
                k_compact(e);
            }
            met = k_op_attn(e, op, thread, i == e->cut);
            break;

        case K_OP_OUT:
            met = k_op_residual(e, op, rows, e->a, e->q_dim, thread);
            break;

        case K_OP_GATE_UP:
            k_op_gate_up(e, op, rows, thread);
            break;

        case K_OP_DOWN:
            met = k_op_residual(e, op, rows, e->h, e->prog.n_ff, thread);
            break;

        case K_OP_MOE:
            met = k_op_moe(e, op, rows, thread);
            break;

        case K_OP_LOGITS:
            if (e->batch->n_logits != 0) {
                k_op_logits(e, op, i > e->cut, thread);
            }
            break;
        }

        if (!met) {
            k_pool_barrier(e->pool);
        }
    }
}


/* Rows of the table into X; the step's sines. */
static void
k_op_embed(k_exec_t *e, const k_op_t *op)
{
    float               *x;
    uint32_t             i, j, d, row, end;
    const k_batch_t     *b;
    const k_batch_seq_t *s;

    b = e->batch;

    for (i = k_pool_next(e->pool); i * K_ROWS_PIECE < b->n_rows;
         i = k_pool_next(e->pool)) {
        row = i * K_ROWS_PIECE;
        end = b->n_rows - row < K_ROWS_PIECE ? b->n_rows : row + K_ROWS_PIECE;

        for (s = b->seqs; row >= s->row + s->n; s++) {
            /* void */
        }

        for (; row < end; row++) {
            x = e->x + (size_t) row * e->prog.n_embd;
            k_matrix_row(&op->w[0]->matrix, (uint32_t) b->tokens[row], x);

            if (op->scale != 1.0f) {
                for (d = 0; d < e->prog.n_embd; d++) {
                    x[d] *= op->scale;
                }
            }

            s += row == s->row + s->n;
            for (j = 0; j < e->n_ropes; j++) {
                k_embed_rope(e, &e->ropes[j], row, s->pos + row - s->row);
            }
        }
    }
}


/*
 * The angle is rounded to F32, as where models were trained; its sine and
 * cosine are exact to F32 whatever the angle's size.
 */
static void
k_embed_rope(k_exec_t *e, const k_rope_table_t *r, uint32_t row, uint32_t pos)
{
    float   *c, *s, angle, sn, cs;
    uint32_t i;

    c = r->table + (size_t) row * 2 * r->n_rot;
    s = c + r->n_rot;

    for (i = 0; i < r->n_rot / 2; i++) {
        angle = (float) pos * r->inv_freq[i];
        sn = (float) (sin((double) angle) * (double) r->mul);
        cs = (float) (cos((double) angle) * (double) r->mul);

        if (r->mode == K_ROPE_PAIRS) {
            c[2 * i] = c[2 * i + 1] = cs;
            s[2 * i] = -sn;
            s[2 * i + 1] = sn;
        } else {
            c[i] = cs;
            s[i] = sn;
        }
    }
}


static int
k_op_qkv(k_exec_t *e, const k_op_t *op, uint32_t i, uint32_t thread)
{
    float          *rope;
    uint32_t        m0, m1, n0, n1;
    k_product_t     p;
    const k_part_t *part;

    p.n_parts = 0;
    p.rows = e->batch->n_rows;
    p.flags = 0;
    k_part(&p, op->w[0], op->bias[0], e->q, e->qkv_dim);
    k_part(&p, op->w[1], op->bias[1], e->q + e->q_dim, e->qkv_dim);
    k_part(&p, op->w[2], op->bias[2], e->q + e->q_dim + e->kv_dim, e->qkv_dim);
    k_cut(e, &p);
    k_activate(e, &p, op, op->norm, e->x, e->prog.n_embd, NULL, thread);

    while (k_piece_next(e, &p, &part, &m0, &m1, &n0, &n1)) {
        k_product_piece(&p, part, m0, m1, n0, n1);
    }

    rope = op->rope == K_ROPE_NONE ? NULL : e->ropes[e->op_rope[i]].table;
    return k_op_rope_kv(e, op, thread, rope);
}


/* X += scale * post_norm(w in + bias): OUT and DOWN. */
static int
k_op_residual(k_exec_t *e, const k_op_t *op, uint32_t rows, const float *in,
              uint32_t cols, uint32_t thread)
{
    int             direct;
    size_t          at;
    k_meet_t        all;
    uint32_t        i, m, m0, m1, n0, n1, n;
    k_product_t     p;
    const k_part_t *part;

    n = e->prog.n_embd;
    direct = op->post_norm == NULL && op->scale == 1.0f;

    p.n_parts = 0;
    p.rows = rows;
    p.flags = direct ? K_GEMM_ADD : 0;
    k_part(&p, op->w[0], op->bias[0], direct ? e->x : e->u, n);
    k_cut(e, &p);
    k_activate(e, &p, op, NULL, in, cols, NULL, thread);

    while (k_piece_next(e, &p, &part, &m0, &m1, &n0, &n1)) {
        k_product_piece(&p, part, m0, m1, n0, n1);

        for (m = m0; !direct && op->post_norm == NULL && m < m1; m++) {
            at = (size_t) m * n + n0;
            e->simd->mad(e->x + at, e->u + at, op->scale, n1 - n0);
        }
    }

    if (op->post_norm == NULL) {
        return 0;
    }

    all.e = e;
    all.op = op;
    all.rows = rows;

    if ((uint64_t) rows * n <= K_MEET_WORK) {
        k_pool_meet(e->pool, k_post_norm_all, &all, thread);
        return 1;
    }

    k_pool_barrier(e->pool);

    for (i = k_pool_next(e->pool); i < rows; i = k_pool_next(e->pool)) {
        k_post_norm(e, op, i);
    }

    return 0;
}


static void
k_post_norm_all(void *arg, uint32_t thread)
{
    uint32_t  i;
    k_meet_t *all;

    all = arg;

    for (i = 0; i < all->rows; i++) {
        k_post_norm(all->e, all->op, i);
    }
}


static void
k_post_norm(k_exec_t *e, const k_op_t *op, uint32_t row)
{
    float   *u;
    uint32_t n;

    n = e->prog.n_embd;
    u = e->u + (size_t) row * n;

    e->simd->norm(u, u, op->post_norm->vector, n, op->eps);
    e->simd->mad(e->x + (size_t) row * n, u, op->scale, n);
}


/* H = act(gate) * up, piece by piece while both are in the cache. */
static void
k_op_gate_up(k_exec_t *e, const k_op_t *op, uint32_t rows, uint32_t thread)
{
    size_t          at;
    uint32_t        m, m0, m1, n0, n1;
    k_part_t        up;
    k_product_t     p;
    const k_part_t *part;

    p.n_parts = 0;
    p.rows = rows;
    p.flags = 0;
    k_part(&p, op->w[1], op->bias[1], e->u, e->prog.n_ff);
    up = p.parts[0];

    p.n_parts = 0;
    k_part(&p, op->w[0], op->bias[0], e->h, e->prog.n_ff);
    k_cut(e, &p);
    k_activate(e, &p, op, op->norm, e->x, e->prog.n_embd, NULL, thread);

    while (k_piece_next(e, &p, &part, &m0, &m1, &n0, &n1)) {
        k_product_piece(&p, part, m0, m1, n0, n1);
        k_product_piece(&p, &up, m0, m1, n0, n1);

        for (m = m0; m < m1; m++) {
            at = (size_t) m * e->prog.n_ff + n0;
            e->simd->act(op->fn, e->h + at, e->u + at, n1 - n0);
        }
    }
}


static void
k_op_logits(k_exec_t *e, const k_op_t *op, int cut, uint32_t thread)
{
    uint32_t        m, m0, m1, n0, n1;
    k_product_t     p;
    const k_part_t *part;

    p.n_parts = 0;
    p.rows = e->batch->n_logits;
    p.flags = 0;
    k_part(&p, op->w[0], op->bias[0], e->l, e->vocab_ld);
    k_cut(e, &p);
    k_activate(e, &p, op, op->norm, e->x, e->prog.n_embd,
               cut ? NULL : e->batch->logit_rows, thread);

    while (k_piece_next(e, &p, &part, &m0, &m1, &n0, &n1)) {
        k_product_piece(&p, part, m0, m1, n0, n1);

        if (op->scale == 1.0f && op->soft_cap == 0) {
            continue;
        }
        for (m = m0; m < m1; m++) {
            e->simd->scale(e->l + (size_t) m * e->vocab_ld + n0, n1 - n0,
                           op->scale, op->soft_cap);
        }
    }
}


/* Rows with logits come first in X; attention does the same in A. */
static void
k_compact(k_exec_t *e)
{
    uint32_t i, n, row;

    n = e->prog.n_embd;

    for (i = 0; i < e->batch->n_logits; i++) {
        row = e->batch->logit_rows[i];
        if (row != i) {
            memcpy(e->x + (size_t) i * n, e->x + (size_t) row * n,
                   n * sizeof(float));
        }
    }
}
