/*
 * The operation MOE: a router picks n_used of the experts for each row, and
 * the row's result is the sum of what these make of it.  All compute threads
 * run it inside a step.
 *
 *     1  rows normed, quantised              solo, or a phase
 *     2  the router's products               a phase; with many rows the
 *        choice of experts and their gates   threads share the rows here
 *     3  rows sorted by expert; act(gate) * up, a block of rows of one
 *        expert and a range of outputs at a time
 *     4  down, the same way
 *     5  the weighted sum into X
 *
 * What is cheap enough, each thread does for itself, which saves barriers:
 * the choice for few rows, the sorting, and in 3 and 4 the activations of
 * the block it works on (rows that are gathered from 1; rows of H that are
 * quantised).
 *
 * DETERMINISM.  A row's router products, choice, gates and each expert's
 * outputs depend on the row alone (see gemm.h), and the sum runs from the
 * largest gate to the smallest.  Which rows share a block changes nothing.
 */

#include <math.h>
#include <string.h>

#include "kernels/cpu/gemm_kernel.h"
#include "kernels/cpu/product.h"

#define K_MOE_ROUTE 32  /* rows that one piece of phase 2 takes, at most */
#define K_MOE_SUM   256 /* columns of a piece of phase 5 for few rows */
#define K_MOE_MEET  (4 * K_MEET_WORK) /* floats that one thread sums for all */


/* Phase 5. */
typedef struct {
    k_exec_t     *e;
    const k_op_t *op;
    const float  *gates;
    uint32_t      rows;
} k_moe_sum_t;


static void k_moe_router(k_exec_t *e, const k_op_t *op, k_product_t *p,
                         uint32_t thread);
static void k_moe_choose(k_exec_t *e, const k_op_t *op, uint32_t row,
                         uint32_t *ids, float *gates);
static void k_moe_gates(const k_op_t *op, const float *r, const uint32_t *ids,
                        float *gates);
static void k_moe_up(k_exec_t *e, const k_op_t *op, const k_act_t *act,
                     k_moe_own_t *o, uint32_t block, uint32_t n0, uint32_t n1);
static void k_moe_sort(const k_op_t *op, const uint32_t *ids, uint32_t n,
                       k_moe_own_t *o);
static uint32_t k_moe_width(const k_exec_t *e, uint32_t blocks, uint32_t slots,
                            uint32_t outputs, uint32_t cols);
static void k_moe_gather(const k_op_t *op, const k_act_t *act, k_moe_own_t *o,
                         const k_moe_block_t *b);
static void k_moe_down(k_exec_t *e, const k_op_t *op, k_moe_own_t *o,
                       uint32_t block, uint32_t n0, uint32_t n1);
static void k_moe_sum_all(void *arg, uint32_t thread);
static void k_moe_sum(const k_moe_sum_t *all, uint32_t row, uint32_t n0,
                      uint32_t n1, uint32_t thread);
static const float *k_moe_bias(const k_weight_t *w, uint32_t expert);
static uint32_t     k_moe_block(uint32_t n);


int
k_op_moe(k_exec_t *e, const k_op_t *op, uint32_t rows, uint32_t thread)
{
    float       *gates;
    k_moe_sum_t  all;
    uint32_t     i, n, d, per, width, slots, *ids;
    k_product_t  p;
    k_moe_own_t *o;

    o = &e->scratch[thread].moe;
    d = e->prog.n_embd;
    slots = rows * op->n_used;

    p.rows = rows;
    k_moe_router(e, op, &p, thread);

    ids = e->moe.ids;
    gates = e->moe.gates;

    if (rows <= K_MOE_FEW) {
        ids = o->ids;
        gates = o->gates;
        for (i = 0; i < rows; i++) {
            k_moe_choose(e, op, i, ids + i * op->n_used,
                         gates + i * op->n_used);
        }
    }

    k_moe_sort(op, ids, slots, o);

    width = k_moe_width(e, o->n_blocks, slots, op->n_ff, d);
    per = (op->n_ff + width - 1) / width;

    for (i = k_pool_next(e->pool); i < o->n_blocks * per;
         i = k_pool_next(e->pool)) {
        n = i % per * width;
        k_moe_up(e, op, &p.act, o, i / per, n,
                 op->n_ff - n < width ? op->n_ff : n + width);
    }

    k_pool_barrier(e->pool);

    o->held = UINT32_MAX;
    width = k_moe_width(e, o->n_blocks, slots, d, op->n_ff);
    per = (d + width - 1) / width;

    for (i = k_pool_next(e->pool); i < o->n_blocks * per;
         i = k_pool_next(e->pool)) {
        n = i % per * width;
        k_moe_down(e, op, o, i / per, n, d - n < width ? d : n + width);
    }

    all.e = e;
    all.op = op;
    all.gates = gates;
    all.rows = rows;

    if ((uint64_t) slots * d <= K_MOE_MEET) {
        k_pool_meet(e->pool, k_moe_sum_all, &all, thread);
        return 1;
    }

    k_pool_barrier(e->pool);

    /* A norm needs the row; else few rows are cut. */
    width = op->post_norm != NULL || rows > K_MOE_FEW ? d : K_MOE_SUM;
    per = (d + width - 1) / width;

    for (i = k_pool_next(e->pool); i < rows * per; i = k_pool_next(e->pool)) {
        n = i % per * width;
        k_moe_sum(&all, i / per, n, d - n < width ? d : n + width, thread);
    }

    return 0;
}


/*
 * p->act, and the router's products; for many rows the choice as well.  Ends
 * with a barrier.
 */
static void
k_moe_router(k_exec_t *e, const k_op_t *op, k_product_t *p, uint32_t thread)
{
    uint32_t        i, j, m0, m1, n0, n1, piece, n;
    const float    *bias;
    const k_part_t *part;

    n = op->n_expert;
    p->n_parts = 0;
    p->flags = 0;
    k_part(p, op->w[0], op->bias[0], e->moe.router, n);
    k_cut(e, p);
    k_activate(e, p, op, op->norm, e->x, e->prog.n_embd, NULL, thread);

    if (p->rows <= K_MOE_FEW) {
        while (k_piece_next(e, p, &part, &m0, &m1, &n0, &n1)) {
            k_product_piece(p, part, m0, m1, n0, n1);
        }
        k_pool_barrier(e->pool);
        return;
    }

    piece = p->rows / (2 * k_pool_size(e->pool)) + 1;
    piece = piece < K_MOE_ROUTE ? piece : K_MOE_ROUTE;
    bias = op->bias[0] != NULL ? op->bias[0]->vector : NULL;

    for (i = k_pool_next(e->pool); i * piece < p->rows;
         i = k_pool_next(e->pool)) {
        m0 = i * piece;
        m1 = p->rows - m0 < piece ? p->rows : m0 + piece;

        k_gemm(&op->w[0]->matrix, &p->act, m0, m1, 0, n, e->moe.router, n, bias,
               0);

        for (j = m0; j < m1; j++) {
            k_moe_choose(e, op, j, e->moe.ids + (size_t) j * op->n_used,
                         e->moe.gates + (size_t) j * op->n_used);
        }
    }

    k_pool_barrier(e->pool);
}


/*
 * The n_used largest of the router's products, falling; the lower number
 * first among equals.  A NaN counts as the largest of all: its row becomes
 * NaN rather than something that looks right.
 */
static void
k_moe_choose(k_exec_t *e, const k_op_t *op, uint32_t row, uint32_t *ids,
             float *gates)
{
    float        x, keys[K_MAX_USED];
    uint32_t     i, j, n;
    const float *r;

    n = 0;
    r = e->moe.router + (size_t) row * op->n_expert;

    for (i = 0; i < op->n_expert; i++) {
        x = isnan(r[i]) ? INFINITY : r[i];

        if (n < op->n_used) {
            j = n++;
        } else if (x > keys[n - 1]) {
            j = n - 1;
        } else {
            continue;
        }

        for (; j > 0 && x > keys[j - 1]; j--) {
            keys[j] = keys[j - 1];
            ids[j] = ids[j - 1];
        }

        keys[j] = x;
        ids[j] = i;
    }

    k_moe_gates(op, r, ids, gates);
}


static void
k_moe_gates(const k_op_t *op, const float *r, const uint32_t *ids, float *gates)
{
    float    max, sum;
    uint32_t i;

    sum = 0;
    max = r[ids[0]];

    for (i = 0; i < op->n_used; i++) {
        gates[i] = expf(r[ids[i]] - max);
        sum += gates[i];
    }

    if (op->gate == K_GATE_SOFTMAX) {
        sum = 0;
        for (i = 0; i < op->n_expert; i++) {
            sum += expf(r[i] - max);
        }
    }

    for (i = 0; i < op->n_used; i++) {
        gates[i] = gates[i] / sum * op->w_scale;
    }
}


/* Counting sort of n slots by their experts, and the blocks of it. */
static void
k_moe_sort(const k_op_t *op, const uint32_t *ids, uint32_t n, k_moe_own_t *o)
{
    uint32_t       i, j, at, count, size;
    k_moe_block_t *b;

    memset(o->first, 0, (op->n_expert + 1) * sizeof(uint32_t));

    for (i = 0; i < n; i++) {
        o->first[ids[i]]++;
    }

    at = 0;
    o->n_blocks = 0;
    o->held = UINT32_MAX;

    for (i = 0; i < op->n_expert; i++) {
        count = o->first[i];
        o->first[i] = at;
        size = k_moe_block(count);

        for (j = 0; j < count; j += b->n) {
            b = &o->blocks[o->n_blocks++];
            b->expert = i;
            b->first = at + j;
            b->n = count - j < size ? count - j : size;
        }

        at += count;
    }

    for (i = 0; i < n; i++) {
        at = o->first[ids[i]]++;
        o->slots[at] = i;
        o->places[i] = at;
    }
}


/* Rows of a block of an expert that has n: the same in each, about. */
static uint32_t
k_moe_block(uint32_t n)
{
    uint32_t blocks;

    if (n <= K_MOE_ROWS) {
        return K_MOE_ROWS;
    }

    blocks = (n + K_MOE_ROWS - 1) / K_MOE_ROWS;
    return ((n + blocks - 1) / blocks + 7) & ~7u;
}


/* Outputs of a piece: about K_PIECES of them for each thread, not too small. */
static uint32_t
k_moe_width(const k_exec_t *e, uint32_t blocks, uint32_t slots,
            uint32_t outputs, uint32_t cols)
{
    uint64_t width, least, most, work;

    width = (uint64_t) outputs * blocks / (k_pool_size(e->pool) * K_PIECES) + 1;

    work = (uint64_t) (slots + blocks - 1) / blocks * cols;
    least = K_PIECE_WORK / work;
    width = width > least ? width : least;

    most = slots > blocks ? K_COLS_PIECE : K_COLS_ALONE;
    width = width < most ? width : most;

    return (uint32_t) ((width + K_COLS_GRANULE - 1) / K_COLS_GRANULE
                       * K_COLS_GRANULE);
}


/* H = act(gate) * up: outputs [n0, n1) of a block's rows. */
static void
k_moe_up(k_exec_t *e, const k_op_t *op, const k_act_t *act, k_moe_own_t *o,
         uint32_t block, uint32_t n0, uint32_t n1)
{
    float               *h;
    size_t               at;
    uint32_t             i;
    const k_moe_block_t *b;

    b = &o->blocks[block];

    if (o->held != block) {
        k_moe_gather(op, act, o, b);
        o->held = block;
    }

    h = e->moe.h + (size_t) b->first * op->n_ff;

    k_gemm(&op->w[1]->experts[b->expert], &o->act, 0, b->n, n0, n1, h, op->n_ff,
           k_moe_bias(op->bias[1], b->expert), 0);
    k_gemm(&op->w[2]->experts[b->expert], &o->act, 0, b->n, n0, n1, o->u,
           op->n_ff, k_moe_bias(op->bias[2], b->expert), 0);

    for (i = 0; i < b->n; i++) {
        at = (size_t) i * op->n_ff + n0;
        e->simd->act(op->fn, h + at, o->u + at, n1 - n0);
    }
}


/* A block's rows in the forms that its expert's matrices read. */
static void
k_moe_gather(const k_op_t *op, const k_act_t *act, k_moe_own_t *o,
             const k_moe_block_t *b)
{
    int           q, x;
    size_t        from, to;
    k_q8_t       *dst;
    uint32_t      i, j, row, blocks;
    k_act_mode_t  gate, up;
    const k_q8_t *src;

    gate = k_matrix_mode(op->w[1]->experts, act->mode);
    up = k_matrix_mode(op->w[2]->experts, act->mode);
    q = gate == K_ACT_INT8 || up == K_ACT_INT8;
    x = gate == K_ACT_F32 || up == K_ACT_F32;
    blocks = act->cols / K_BLOCK;

    k_act_init(&o->act, act->mode, o->mem, b->n, act->cols, o->x, act->cols);

    for (i = 0; i < b->n; i++) {
        row = o->slots[b->first + i] / op->n_used;

        if (x) {
            memcpy(o->x + (size_t) i * act->cols, act->x + row * act->ld,
                   act->cols * sizeof(float));
        }

        if (!q) {
            continue;
        }

        src = k_act_at(act, row, 0);
        dst = k_act_at(&o->act, i, 0);
        from = (size_t) (k_act_at(act, row, 1) - src);
        to = (size_t) (k_act_at(&o->act, i, 1) - dst);

        for (j = 0; j < blocks; j++) {
            dst[j * to] = src[j * from];
        }
    }
}


/* Y: outputs [n0, n1) of a block's rows. */
static void
k_moe_down(k_exec_t *e, const k_op_t *op, k_moe_own_t *o, uint32_t block,
           uint32_t n0, uint32_t n1)
{
    const k_moe_block_t *b;

    b = &o->blocks[block];

    if (o->held != block) {
        k_act_init(&o->act, e->be->conf.act, o->mem, b->n, op->n_ff,
                   e->moe.h + (size_t) b->first * op->n_ff, op->n_ff);
        k_act_quantize(&o->act, e->be->isa, 0, b->n);
        o->held = block;
    }

    k_gemm(&op->w[3]->experts[b->expert], &o->act, 0, b->n, n0, n1,
           e->moe.y + (size_t) b->first * e->prog.n_embd, e->prog.n_embd,
           k_moe_bias(op->bias[3], b->expert), 0);
}


static void
k_moe_sum_all(void *arg, uint32_t thread)
{
    uint32_t     i;
    k_moe_sum_t *all;

    all = arg;

    for (i = 0; i < all->rows; i++) {
        k_moe_sum(all, i, 0, all->e->prog.n_embd, thread);
    }
}


/* X += scale * post_norm(sum of gate * y): columns [n0, n1) of a row. */
static void
k_moe_sum(const k_moe_sum_t *all, uint32_t row, uint32_t n0, uint32_t n1,
          uint32_t thread)
{
    float          *x, *y, *sum;
    size_t          slot;
    uint32_t        i, d;
    k_exec_t       *e;
    const k_op_t   *op;
    const uint32_t *places;

    e = all->e;
    op = all->op;
    d = e->prog.n_embd;
    sum = e->scratch[thread].norm;
    places = e->scratch[thread].moe.places;

    memset(sum, 0, (n1 - n0) * sizeof(float));

    for (i = 0; i < op->n_used; i++) {
        slot = (size_t) row * op->n_used + i;
        y = e->moe.y + (size_t) places[slot] * d + n0;
        e->simd->mad(sum, y, all->gates[slot], n1 - n0);
    }

    if (op->post_norm != NULL) {
        e->simd->norm(sum, sum, op->post_norm->vector, n1 - n0, op->eps);
    }

    x = e->x + (size_t) row * d + n0;
    e->simd->mad(x, sum, op->scale, n1 - n0);
}


static const float *
k_moe_bias(const k_weight_t *w, uint32_t expert)
{
    return w != NULL ? w->vector + (size_t) expert * w->cols : NULL;
}
