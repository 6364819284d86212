/*
 * A step program checked against its weights, and given all the memory that
 * its steps will ever use.  Called between steps by the step loop's thread.
 *
 * The scratch comes out of the arena in one range: first its pieces are
 * measured, then laid out, by the same function.  After k_exec_prepare()
 * nothing about the program can make a step read or write out of bounds; what
 * a batch can do wrong is checked by k_step_submit().
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"


typedef struct {
    uint8_t *base; /* NULL: only measure */
    uint64_t at;
} k_layout_t;


static int   k_check(k_exec_t *e, char *err);
static int   k_check_op(k_exec_t *e, uint32_t i, char *err);
static int   k_check_qkv(k_exec_t *e, uint32_t i, char *err);
static int   k_check_matrix(const k_weight_t *w, uint32_t rows, uint32_t cols);
static int   k_check_vector(const k_weight_t *w, uint32_t n);
static int   k_fail(char *err, uint32_t op, const char *fmt, ...);
static int   k_tables(k_exec_t *e);
static void  k_lay(k_exec_t *e, k_layout_t *l);
static void  k_lay_thread(k_exec_t *e, k_layout_t *l, k_scratch_t *s);
static void *k_piece(k_layout_t *l, uint64_t n, uint64_t size);
static uint32_t k_most(uint32_t a, uint32_t b);


int
k_exec_prepare(k_backend_t *be, const k_program_t *prog, k_kv_t *kv,
               const k_limits_t *limits, k_exec_t **out, char *err)
{
    int        rc;
    k_exec_t  *e;
    uint64_t   all, used, most;
    k_layout_t l;

    e = calloc(1, sizeof(k_exec_t));
    if (e == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }

    e->be = be;
    e->simd = be->simd;
    e->pool = be->pool;
    e->prog = *prog;
    e->limits = *limits;
    e->kv = kv;

    rc = k_check(e, err);
    if (rc != 0) {
        k_exec_free(e);
        return rc;
    }

    rc = k_tables(e);
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "out of memory");
        k_exec_free(e);
        return rc;
    }

    memset(&l, 0, sizeof(l));
    k_lay(e, &l);
    e->size = l.at;

    e->mem = k_arena_alloc(be->arena, e->size);
    if (e->mem == NULL) {
        k_arena_stat(be->arena, &all, &used, &most);
        snprintf(err, K_ERR_MAX,
                 "scratch for %u rows and %u rows of logits: needs %llu bytes; "
                 "of %llu are %llu in use",
                 limits->rows, limits->logits, (unsigned long long) e->size,
                 (unsigned long long) all, (unsigned long long) used);
        k_exec_free(e);
        return -ENOMEM;
    }

    l.base = e->mem;
    l.at = 0;
    k_lay(e, &l);

    /* Touched now, so that no step waits for a page. */
    memset(e->mem, 0, e->size);

    *out = e;
    return 0;
}


void
k_exec_free(k_exec_t *e)
{
    if (e == NULL) {
        return;
    }

    k_arena_free(e->be->arena, e->mem, e->size);
    free(e->table);
    free(e);
}


static int
k_check(k_exec_t *e, char *err)
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
        if (op->soft_cap < 0) {
            return k_fail(err, i, "soft cap is negative");
        }
        ok = 1;
        break;

    case K_OP_OUT:
        ok = k_check_matrix(op->w[0], p->n_embd, e->q_dim)
             && k_check_vector(op->bias[0], p->n_embd);
        break;

    case K_OP_GATE_UP:
        ok = k_check_matrix(op->w[0], p->n_ff, p->n_embd)
             && k_check_matrix(op->w[1], p->n_ff, p->n_embd)
             && k_check_vector(op->bias[0], p->n_ff)
             && k_check_vector(op->bias[1], p->n_ff) && op->fn <= K_FN_GELU_ERF;
        break;

    case K_OP_DOWN:
        ok = k_check_matrix(op->w[0], p->n_embd, p->n_ff)
             && k_check_vector(op->bias[0], p->n_embd);
        break;

    case K_OP_LOGITS:
        ok = k_check_matrix(op->w[0], p->n_vocab, p->n_embd)
             && k_check_vector(op->bias[0], p->n_vocab);
        if (op->soft_cap < 0) {
            return k_fail(err, i, "soft cap is negative");
        }
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
k_check_matrix(const k_weight_t *w, uint32_t rows, uint32_t cols)
{
    return w != NULL && w->vector == NULL && w->rows == rows && w->cols == cols;
}


/* A vector may be absent. */
static int
k_check_vector(const k_weight_t *w, uint32_t n)
{
    return w == NULL || (w->vector != NULL && w->cols == n);
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


/* Small tables of the plan; they live as long as the exec. */
static int
k_tables(k_exec_t *e)
{
    size_t   rows, n_scratch, n_groups, n_tiles, n_last;
    uint8_t *p;

    rows = e->limits.rows;
    n_scratch = k_pool_size(e->pool) * sizeof(k_scratch_t);
    n_groups = rows * sizeof(k_group_t);
    n_tiles = rows * sizeof(k_tile_t);
    n_last = ((size_t) e->limits.logits + 1) * sizeof(k_tile_t);

    p = calloc(1, n_scratch + n_groups + n_tiles + n_last + e->prog.n_ops);
    if (p == NULL) {
        return -ENOMEM;
    }

    e->scratch = (k_scratch_t *) (void *) p;
    p += n_scratch;
    e->all.tiles = (k_tile_t *) (void *) p;
    p += n_tiles;
    e->last.tiles = (k_tile_t *) (void *) p;
    p += n_last;
    e->groups = (k_group_t *) (void *) p;
    p += n_groups;
    memcpy(p, e->op_rope, e->prog.n_ops);

    free(e->op_rope);
    e->op_rope = p;
    e->table = e->scratch;

    return 0;
}


static void
k_lay(k_exec_t *e, k_layout_t *l)
{
    uint32_t           i, most;
    uint64_t           rows;
    const k_program_t *p;

    p = &e->prog;
    rows = k_most(e->limits.rows, e->limits.logits);
    most = k_most(k_most(p->n_embd, e->q_dim), p->n_ff);

    e->x = k_piece(l, rows * p->n_embd, sizeof(float));
    e->norm = k_piece(l, rows * p->n_embd, sizeof(float));
    e->q = k_piece(l, rows * e->qkv_dim, sizeof(float));
    e->a = k_piece(l, rows * e->q_dim, sizeof(float));
    e->h = k_piece(l, rows * p->n_ff, sizeof(float));
    e->u = k_piece(l, rows * k_most(p->n_ff, p->n_embd), sizeof(float));
    e->l = k_piece(l, (uint64_t) e->limits.logits * e->vocab_ld, sizeof(float));
    e->act = k_piece(l, k_act_size((uint32_t) rows, most), 1);

    e->n_parts =
        (uint64_t) K_ATTN_PARTS * p->n_head * (((p->head_dim + 15) & ~15u) + 2);
    e->parts = k_piece(l, e->n_parts, sizeof(float));

    for (i = 0; i < e->n_ropes; i++) {
        e->ropes[i].table =
            k_piece(l, rows * 2 * e->ropes[i].n_rot, sizeof(float));
    }

    for (i = 0; i < k_pool_size(e->pool); i++) {
        k_lay_thread(e, l, &e->scratch[i]);
    }
}


static void
k_lay_thread(k_exec_t *e, k_layout_t *l, k_scratch_t *s)
{
    size_t             act, size;
    uint32_t           pad, pairs, group, n, most, blocks;
    k_attn_t          *a;
    const k_program_t *p;

    p = &e->prog;
    n = p->n_vocab;
    blocks = (n + K_SLAB - 1) / K_SLAB;
    most = k_most(k_most(p->n_embd, e->q_dim), p->n_ff);

    s->norm = k_piece(l, k_most(most, K_SOLO_WORK), sizeof(float));
    act = k_act_size(k_solo_rows(p->n_embd), p->n_embd);
    size = k_act_size(k_solo_rows(e->q_dim), e->q_dim);
    act = size > act ? size : act;
    size = p->n_ff ? k_act_size(k_solo_rows(p->n_ff), p->n_ff) : 0;
    act = size > act ? size : act;
    s->act = k_piece(l, act, 1);

    group = p->n_head / p->n_kv;
    pairs = k_most(K_ATTN_PAIRS / group, 1) * group;
    pad = (p->head_dim + 15) & ~15u;

    a = &s->attn;
    a->head_dim = p->head_dim;
    a->hd_pad = pad;
    a->group = group;
    a->q = k_piece(l, (uint64_t) pairs * p->head_dim, sizeof(float));
    a->s = k_piece(l, (uint64_t) pairs * K_PAGE_TOKENS, sizeof(float));
    a->o = k_piece(l, (uint64_t) pairs * pad, sizeof(float));
    a->m = k_piece(l, pairs + 15, sizeof(float));
    a->l = k_piece(l, pairs, sizeof(float));
    a->top = k_piece(l, pairs + 15, sizeof(float));
    a->kf = k_piece(l, (uint64_t) p->head_dim * K_PAGE_TOKENS, sizeof(float));
    a->vf = k_piece(l, (uint64_t) pad * K_PAGE_TOKENS, sizeof(float));
    s->total = k_piece(l, (uint64_t) pairs * (pad + 2), sizeof(float));
    s->head = k_piece(l, pad, sizeof(float));
    s->half = k_piece(l, pad, sizeof(uint16_t));

    s->logits = k_piece(l, n, sizeof(float));
    s->probs = k_piece(l, n, sizeof(float));
    s->ids = k_piece(l, n, sizeof(uint32_t));
    s->keys = k_piece(l, n, sizeof(uint32_t));
    s->weights = k_piece(l, n, sizeof(float));
    s->order = k_piece(l, n, sizeof(uint32_t));
    s->maxima = k_piece(l, blocks, sizeof(float));
    s->sums = k_piece(l, blocks, sizeof(float));
}


static void *
k_piece(k_layout_t *l, uint64_t n, uint64_t size)
{
    void *p;

    p = l->base != NULL ? l->base + l->at : NULL;
    l->at += (n * size + K_ALIGN - 1) & ~(uint64_t) (K_ALIGN - 1);

    return p;
}


static uint32_t
k_most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}
