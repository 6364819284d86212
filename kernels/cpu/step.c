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

#include "kernels/cpu/cpu.h"

#define K_ROWS_PIECE   8    /* rows that are normed or looked up at a time */
#define K_ROWS_BLOCK   128  /* rows of a product at a time */
#define K_COLS_PIECE   128  /* outputs of a product at a time, at most */
#define K_COLS_ALONE   512  /* the same where there is one row */
#define K_COLS_GRANULE 16   /* a multiple of every k_matrix_granule() */
#define K_PIECES       6    /* of a product for each thread, at least */
#define K_PIECE_WORK   8192 /* multiply-adds that are worth a piece */


/* One matrix of a product phase. */
typedef struct {
    const k_weight_t *w;
    const k_weight_t *bias;
    float            *out;
    size_t            ld;
    uint32_t          pieces; /* along its outputs */
    uint32_t          width;  /* outputs of a piece */
} k_part_t;

/* A phase of products over the same activations. */
typedef struct {
    k_part_t parts[3];
    uint32_t n_parts;
    uint32_t rows;
    uint32_t row_piece;
    uint32_t row_pieces;
    uint32_t pieces; /* of all parts, for one piece of rows */
    unsigned flags;
    k_act_t  act;
} k_product_t;


static int  k_step_check(const k_exec_t *e, const k_batch_t *b);
static void k_step_run(void *arg, uint32_t thread);
static void k_op_embed(k_exec_t *e, const k_op_t *op);
static void k_embed_rope(k_exec_t *e, const k_rope_table_t *r, uint32_t row,
                         uint32_t pos);
static void k_op_qkv(k_exec_t *e, const k_op_t *op, uint32_t i,
                     uint32_t thread);
static void k_op_residual(k_exec_t *e, const k_op_t *op, uint32_t rows,
                          const float *in, uint32_t cols, uint32_t thread);
static void k_op_gate_up(k_exec_t *e, const k_op_t *op, uint32_t rows,
                         uint32_t thread);
static void k_op_logits(k_exec_t *e, const k_op_t *op, int cut,
                        uint32_t thread);
static void k_compact(k_exec_t *e);
static void k_activate(k_exec_t *e, k_product_t *p, const k_op_t *op,
                       const k_weight_t *norm, const float *x, uint32_t cols,
                       const uint32_t *map, uint32_t thread);
static void k_activate_rows(k_exec_t *e, const k_op_t *op,
                            const k_weight_t *norm, const float *x, float *out,
                            uint32_t cols, const uint32_t *map, uint32_t from,
                            uint32_t to);
static void k_cut(k_exec_t *e, k_product_t *p);
static int  k_piece_next(k_exec_t *e, const k_product_t *p,
                         k_part_t const **part, uint32_t *m0, uint32_t *m1,
                         uint32_t *n0, uint32_t *n1);
static void k_product_piece(const k_product_t *p, const k_part_t *part,
                            uint32_t m0, uint32_t m1, uint32_t n0, uint32_t n1);
static void k_part(k_product_t *p, const k_weight_t *w, const k_weight_t *bias,
                   float *out, size_t ld);


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
    uint32_t      i, rows;
    k_exec_t     *e;
    const k_op_t *op;

    e = arg;

    for (i = 0; i < e->prog.n_ops; i++) {
        op = &e->prog.ops[i];
        rows = i > e->cut ? e->batch->n_logits : e->batch->n_rows;

        if (i >= e->cut && e->batch->n_logits == 0) {
            return;
        }

        switch (op->kind) {

        case K_OP_EMBED:
            k_op_embed(e, op);
            break;

        case K_OP_QKV:
            k_op_qkv(e, op, i, thread);
            break;

        case K_OP_ATTN:
            if (i == e->cut && thread == 0) {
                k_compact(e);
            }
            k_op_attn(e, op, thread, i == e->cut);
            break;

        case K_OP_OUT:
            k_op_residual(e, op, rows, e->a, e->q_dim, thread);
            break;

        case K_OP_GATE_UP:
            k_op_gate_up(e, op, rows, thread);
            break;

        case K_OP_DOWN:
            k_op_residual(e, op, rows, e->h, e->prog.n_ff, thread);
            break;

        case K_OP_MOE:
            break;

        case K_OP_LOGITS:
            if (e->batch->n_logits != 0) {
                k_op_logits(e, op, i > e->cut, thread);
            }
            break;
        }

        k_pool_barrier(e->pool);
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


static void
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
    k_pool_barrier(e->pool);

    rope = op->rope == K_ROPE_NONE ? NULL : e->ropes[e->op_rope[i]].table;
    k_op_rope_kv(e, op, thread, rope);
}


/* X += post_norm(w in + bias): OUT and DOWN. */
static void
k_op_residual(k_exec_t *e, const k_op_t *op, uint32_t rows, const float *in,
              uint32_t cols, uint32_t thread)
{
    float          *u;
    uint32_t        i, m0, m1, n0, n1, n;
    k_product_t     p;
    const k_part_t *part;

    n = e->prog.n_embd;
    p.n_parts = 0;
    p.rows = rows;
    p.flags = op->post_norm ? 0 : K_GEMM_ADD;
    k_part(&p, op->w[0], op->bias[0], op->post_norm ? e->u : e->x, n);
    k_cut(e, &p);
    k_activate(e, &p, op, NULL, in, cols, NULL, thread);

    while (k_piece_next(e, &p, &part, &m0, &m1, &n0, &n1)) {
        k_product_piece(&p, part, m0, m1, n0, n1);
    }

    if (op->post_norm == NULL) {
        return;
    }

    k_pool_barrier(e->pool);

    for (i = k_pool_next(e->pool); i < rows; i = k_pool_next(e->pool)) {
        u = e->u + (size_t) i * n;
        e->simd->norm(u, u, op->post_norm->vector, n, op->eps);
        e->simd->add(e->x + (size_t) i * n, u, n);
    }
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


/*
 * p->act: the rows of x (those of `map`, if there is one), normed if there is
 * a norm, and quantised.  Ends with a barrier unless it was done solo.
 */
static void
k_activate(k_exec_t *e, k_product_t *p, const k_op_t *op,
           const k_weight_t *norm, const float *x, uint32_t cols,
           const uint32_t *map, uint32_t thread)
{
    int          solo;
    float       *copy;
    void        *mem;
    size_t       ld;
    uint32_t     i, piece, row, end;
    k_scratch_t *s;

    s = &e->scratch[thread];
    solo = p->rows <= k_solo_rows(cols);
    copy = NULL;
    ld = cols;

    if (norm != NULL || map != NULL) {
        copy = solo ? s->norm : e->norm;
    }
    mem = solo ? s->act : e->act;

    k_act_init(&p->act, e->be->conf.act, mem, p->rows, cols,
               copy != NULL ? copy : x, ld);

    if (solo) {
        k_activate_rows(e, op, norm, x, copy, cols, map, 0, p->rows);
        k_act_quantize(&p->act, e->be->isa, 0, p->rows);
        return;
    }

    /* A piece is a multiple of the rows that lie together. */
    piece = K_ROWS_PIECE;
    if (p->act.tile > 1) {
        piece = (piece + p->act.tile - 1) / p->act.tile * p->act.tile;
    }

    for (i = k_pool_next(e->pool); i * piece < p->rows;
         i = k_pool_next(e->pool)) {
        row = i * piece;
        end = p->rows - row < piece ? p->rows : row + piece;
        k_activate_rows(e, op, norm, x, copy, cols, map, row, end);
        k_act_quantize(&p->act, e->be->isa, row, end);
    }

    k_pool_barrier(e->pool);
}


static void
k_activate_rows(k_exec_t *e, const k_op_t *op, const k_weight_t *norm,
                const float *x, float *out, uint32_t cols, const uint32_t *map,
                uint32_t from, uint32_t to)
{
    float       *dst;
    uint32_t     i;
    const float *src;

    for (i = from; out != NULL && i < to; i++) {
        src = x + (size_t) (map != NULL ? map[i] : i) * cols;
        dst = out + (size_t) i * cols;

        if (norm != NULL) {
            e->simd->norm(dst, src, norm->vector, cols, op->eps);
        } else {
            memcpy(dst, src, cols * sizeof(float));
        }
    }
}


static void
k_part(k_product_t *p, const k_weight_t *w, const k_weight_t *bias, float *out,
       size_t ld)
{
    k_part_t *part;

    part = &p->parts[p->n_parts++];
    part->w = w;
    part->bias = bias;
    part->out = out;
    part->ld = ld;
}


/* Cuts the parts' outputs into pieces of about the same work. */
static void
k_cut(k_exec_t *e, k_product_t *p)
{
    uint32_t  i, n, width, least, most;
    uint64_t  work;
    k_part_t *part;

    p->row_pieces = (p->rows + K_ROWS_BLOCK - 1) / K_ROWS_BLOCK;
    p->row_piece = (p->rows + p->row_pieces - 1) / p->row_pieces;
    p->row_piece = (p->row_piece + 15) & ~15u;
    p->row_pieces = (p->rows + p->row_piece - 1) / p->row_piece;

    n = 0;
    for (i = 0; i < p->n_parts; i++) {
        n += p->parts[i].w->rows;
    }

    width = n * p->row_pieces / (k_pool_size(e->pool) * K_PIECES) + 1;

    work = (uint64_t) (p->rows < p->row_piece ? p->rows : p->row_piece)
           * p->parts[0].w->cols;
    least = (uint32_t) (K_PIECE_WORK / work);
    width = width > least ? width : least;

    most = p->rows > 1 ? K_COLS_PIECE : K_COLS_ALONE;
    width = width < most ? width : most;

    width = (width + K_COLS_GRANULE - 1) / K_COLS_GRANULE * K_COLS_GRANULE;
    p->pieces = 0;

    for (i = 0; i < p->n_parts; i++) {
        part = &p->parts[i];
        part->width = width;
        part->pieces = (part->w->rows + part->width - 1) / part->width;
        p->pieces += part->pieces;
    }
}


/* The next piece for this thread; 0: none is left. */
static int
k_piece_next(k_exec_t *e, const k_product_t *p, k_part_t const **part,
             uint32_t *m0, uint32_t *m1, uint32_t *n0, uint32_t *n1)
{
    uint32_t        i;
    const k_part_t *w;

    i = k_pool_next(e->pool);
    if (i >= p->pieces * p->row_pieces) {
        return 0;
    }

    *m0 = i / p->pieces * p->row_piece;
    *m1 = p->rows - *m0 < p->row_piece ? p->rows : *m0 + p->row_piece;

    i %= p->pieces;
    for (w = p->parts; i >= w->pieces; w++) {
        i -= w->pieces;
    }

    *part = w;
    *n0 = i * w->width;
    *n1 = w->w->rows - *n0 < w->width ? w->w->rows : *n0 + w->width;

    return 1;
}


static void
k_product_piece(const k_product_t *p, const k_part_t *part, uint32_t m0,
                uint32_t m1, uint32_t n0, uint32_t n1)
{
    k_gemm(&part->w->matrix, &p->act, m0, m1, n0, n1, part->out, part->ld,
           part->bias != NULL ? part->bias->vector : NULL, p->flags);
}
