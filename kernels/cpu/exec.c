/*
 * A step program is given all the memory that its steps will ever use.
 * Called between steps by the step loop's thread.
 *
 * The scratch comes out of the arena in one range: first its pieces are
 * measured, then laid out, by the same function.  What a batch can do wrong is
 * checked by k_step_submit().
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"


typedef struct {
    uint8_t *base; /* NULL: only measure */
    uint64_t at;
} k_layout_t;


static int      k_tables(k_exec_t *e);
static void     k_lay(k_exec_t *e, k_layout_t *l);
static void     k_lay_moe(k_exec_t *e, k_layout_t *l);
static void     k_lay_moe_own(k_exec_t *e, k_layout_t *l, k_moe_own_t *o);
static void     k_lay_thread(k_exec_t *e, k_layout_t *l, k_scratch_t *s);
static void    *k_piece(k_layout_t *l, uint64_t n, uint64_t size);
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

    rc = k_exec_check(e, err);
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

    if (e->moe.experts != 0) {
        k_lay_moe(e, l);
    }

    for (i = 0; i < k_pool_size(e->pool); i++) {
        k_lay_thread(e, l, &e->scratch[i]);
        if (e->moe.experts != 0) {
            k_lay_moe_own(e, l, &e->scratch[i].moe);
        }
    }
}


static void
k_lay_moe(k_exec_t *e, k_layout_t *l)
{
    uint64_t rows, slots;
    k_moe_t *m;

    m = &e->moe;
    rows = e->limits.rows;
    slots = rows * m->used;

    m->router = k_piece(l, rows * m->experts, sizeof(float));
    m->ids = k_piece(l, slots, sizeof(uint32_t));
    m->gates = k_piece(l, slots, sizeof(float));
    m->h = k_piece(l, slots * m->n_ff, sizeof(float));
    m->y = k_piece(l, slots * e->prog.n_embd, sizeof(float));
}


static void
k_lay_moe_own(k_exec_t *e, k_layout_t *l, k_moe_own_t *o)
{
    uint32_t       n, few;
    uint64_t       slots, blocks;
    const k_moe_t *m;

    m = &e->moe;
    slots = (uint64_t) e->limits.rows * m->used;
    n = slots < K_MOE_ROWS ? (uint32_t) slots : K_MOE_ROWS;
    few = e->limits.rows < K_MOE_FEW ? e->limits.rows : K_MOE_FEW;

    /* Each expert has one block that is not full. */
    blocks = slots / K_MOE_ROWS + (slots < m->experts ? slots : m->experts);

    o->first = k_piece(l, m->experts + 1, sizeof(uint32_t));
    o->slots = k_piece(l, slots, sizeof(uint32_t));
    o->places = k_piece(l, slots, sizeof(uint32_t));
    o->blocks = k_piece(l, blocks, sizeof(k_moe_block_t));
    o->ids = k_piece(l, few * m->used, sizeof(uint32_t));
    o->gates = k_piece(l, few * m->used, sizeof(float));
    o->mem = k_piece(l, k_act_size(n, k_most(e->prog.n_embd, m->n_ff)), 1);
    o->x = m->wide ? k_piece(l, (uint64_t) n * e->prog.n_embd, sizeof(float))
                   : NULL;
    o->u = k_piece(l, (uint64_t) n * m->n_ff, sizeof(float));
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
