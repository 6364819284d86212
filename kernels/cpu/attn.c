/*
 * Attention: keys and values into their pages, and softmax(q k) v over them.
 * All compute threads run it inside a step; the plan is made before by the
 * step loop's thread alone.
 *
 * WORK.  Rows of a sequence are cut into tiles of a few rows; a unit is a
 * tile and a KV head, so K and V are read once for all query heads that
 * share them.  Where there are fewer units than threads want, a tile is split
 * further, one unit for each span of K_ATTN_SPAN positions.
 *
 * DETERMINISM.  A span's sums always start from nothing and spans are merged
 * in rising order, whether one thread walks them or many: the split changes
 * who computes, not what.
 */

#include <errno.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"


/* What one thread needs to do a phase's work for all. */
typedef struct {
    k_exec_t        *e;
    const k_op_t    *op;
    const k_tiles_t *list;
    const float     *rope;
} k_meet_t;


static void     k_plan_groups(k_exec_t *e, const k_batch_seq_t *s);
static void     k_plan_all(k_exec_t *e, const k_batch_seq_t *s);
static void     k_plan_last(k_exec_t *e);
static void     k_plan_units(k_exec_t *e, k_tiles_t *list);
static uint32_t k_tile_rows(const k_exec_t *e);
static void     k_rope_group(k_exec_t *e, const k_op_t *op, const float *rope,
                             const k_group_t *g, uint32_t head, k_scratch_t *s);
static void     k_rope_store(const k_exec_t *e, uint8_t *k, uint8_t *v,
                             const float *key, const float *value, uint16_t *half);
static void     k_attn_unit(k_exec_t *e, const k_op_t *op, const k_tile_t *t,
                            uint32_t head, uint32_t span, k_scratch_t *s);
static void     k_attn_span(k_exec_t *e, const k_op_t *op, const k_tile_t *t,
                            uint32_t head, uint32_t span, k_attn_t *a);
static void     k_attn_load(k_exec_t *e, const k_op_t *op, const k_tile_t *t,
                            uint32_t head, k_attn_t *a);
static uint32_t k_attn_first(const k_op_t *op, const k_tile_t *t,
                             uint32_t unit);
static void     k_attn_store(k_exec_t *e, const k_op_t *op, const k_tile_t *t,
                             uint32_t head, const float *o, const float *m,
                             const float *l);
static float    k_attn_factor(float m, float l, float sink);
static void     k_attn_join(k_exec_t *e, const k_op_t *op, const k_tile_t *t,
                            uint32_t head, k_scratch_t *s);
static void     k_rope_all(void *arg, uint32_t thread);
static void     k_join_all(void *arg, uint32_t thread);
static void     k_join_unit(const k_meet_t *all, uint32_t unit, k_scratch_t *s);
static float   *k_attn_part(k_exec_t *e, const k_tile_t *t, uint32_t head,
                            uint32_t span);


/* A batch's units; its rows and pages have been checked. */
void
k_attn_plan(k_exec_t *e)
{
    uint32_t i;

    e->n_groups = 0;
    e->all.n = 0;
    e->last.n = 0;

    for (i = 0; i < e->batch->n_seqs; i++) {
        k_plan_groups(e, &e->batch->seqs[i]);
        k_plan_all(e, &e->batch->seqs[i]);
    }

    k_plan_last(e);

    k_plan_units(e, &e->all);
    k_plan_units(e, &e->last);
}


static void
k_plan_groups(k_exec_t *e, const k_batch_seq_t *s)
{
    uint32_t   i, n, pos;
    k_group_t *g;

    for (i = 0; i < s->n; i += n) {
        pos = s->pos + i;
        n = K_PAGE_TOKENS - pos % K_PAGE_TOKENS;
        n = n < s->n - i ? n : s->n - i;

        g = &e->groups[e->n_groups++];
        g->row = s->row + i;
        g->n = n;
        g->page = s->pages[pos / K_PAGE_TOKENS];
        g->slot = pos % K_PAGE_TOKENS;
    }
}


static void
k_plan_all(k_exec_t *e, const k_batch_seq_t *s)
{
    uint32_t  i, n;
    k_tile_t *t;

    for (i = 0; i < s->n; i += n) {
        n = k_tile_rows(e);
        n = n < s->n - i ? n : s->n - i;

        t = &e->all.tiles[e->all.n++];
        t->pages = s->pages;
        t->row = s->row + i;
        t->out = t->row;
        t->n = n;
        t->pos = s->pos + i;
    }
}


/* Rows with logits, neighbours together; A holds them without gaps. */
static void
k_plan_last(k_exec_t *e)
{
    uint32_t             i, row;
    k_tile_t            *t;
    const k_batch_seq_t *s;

    t = NULL;
    s = e->batch->seqs;

    for (i = 0; i < e->batch->n_logits; i++) {
        row = e->batch->logit_rows[i];

        if (t != NULL && row == t->row + t->n && row < s->row + s->n
            && t->n < k_tile_rows(e)) {
            t->n++;
            continue;
        }

        while (row >= s->row + s->n) {
            s++;
        }

        t = &e->last.tiles[e->last.n++];
        t->pages = s->pages;
        t->row = row;
        t->out = i;
        t->n = 1;
        t->pos = s->pos + row - s->row;
    }
}


static void
k_plan_units(k_exec_t *e, k_tiles_t *list)
{
    int       split;
    uint32_t  i, spans, threads;
    uint64_t  used, need;
    k_tile_t *t;

    threads = k_pool_size(e->pool);
    split = threads > 1 && list->n * e->prog.n_kv < 4 * threads;
    used = 0;

    list->n_units = 0;
    list->split = 0;

    for (i = 0; i < list->n; i++) {
        t = &list->tiles[i];
        t->unit = list->n_units;
        t->spans = 1;

        if (split) {
            spans = (t->pos + t->n - 1) / K_ATTN_SPAN + 1;
            need =
                (uint64_t) spans * t->n * e->prog.n_head * (e->kv->hd_pad + 2);

            if (spans > 1 && used + need <= e->n_parts) {
                t->spans = spans;
                t->part = (uint32_t) used;
                used += need;
                list->split = used;
            }
        }

        list->n_units += t->spans * e->prog.n_kv;
    }
}


static uint32_t
k_tile_rows(const k_exec_t *e)
{
    uint32_t n;

    n = K_ATTN_PAIRS / (e->prog.n_head / e->prog.n_kv);
    return n != 0 ? n : 1;
}


/*
 * Norm and rope of q and k in e->q; k and v into the pages.  Begins with a
 * barrier.
 */
int
k_op_rope_kv(k_exec_t *e, const k_op_t *op, uint32_t thread, const float *rope)
{
    uint32_t i, n;
    k_meet_t all = {e, op, NULL, rope};

    if ((uint64_t) e->batch->n_rows * e->qkv_dim <= K_MEET_WORK) {
        k_pool_meet(e->pool, k_rope_all, &all, thread);
        return 1;
    }

    k_pool_barrier(e->pool);
    n = e->n_groups * e->prog.n_kv;

    for (i = k_pool_next(e->pool); i < n; i = k_pool_next(e->pool)) {
        k_rope_group(e, op, rope, &e->groups[i / e->prog.n_kv],
                     i % e->prog.n_kv, &e->scratch[thread]);
    }

    return 0;
}


/* The same by one thread. */
static void
k_rope_all(void *arg, uint32_t thread)
{
    uint32_t  i;
    k_exec_t *e;
    k_meet_t *all;

    all = arg;
    e = all->e;

    for (i = 0; i < e->n_groups * e->prog.n_kv; i++) {
        k_rope_group(e, all->op, all->rope, &e->groups[i / e->prog.n_kv],
                     i % e->prog.n_kv, &e->scratch[thread]);
    }
}


static void
k_rope_group(k_exec_t *e, const k_op_t *op, const float *rope,
             const k_group_t *g, uint32_t head, k_scratch_t *s)
{
    float       *q;
    size_t       group;
    uint8_t     *k, *v;
    uint32_t     i, j, hd;
    const float *cs, *src;

    hd = e->prog.head_dim;
    group = e->prog.n_head / e->prog.n_kv;

    k = e->kv->mem + g->page * e->kv->page
        + ((uint64_t) op->layer * e->kv->n_kv + head) * e->kv->tile;
    v = k
        + ((size_t) hd * K_PAGE_TOKENS + (size_t) g->slot * e->kv->hd_pad)
              * e->kv->elem;
    k += (size_t) g->slot * e->kv->elem;

    for (i = 0; i < g->n; i++) {
        cs = rope ? rope + (size_t) (g->row + i) * 2 * op->n_rot : NULL;
        q = e->q + (size_t) (g->row + i) * e->qkv_dim;

        src = q + e->q_dim + (size_t) head * hd;
        if (op->norm_k != NULL) {
            e->simd->norm(s->head, src, op->norm_k->vector, hd, op->eps);
        } else {
            memcpy(s->head, src, hd * sizeof(float));
        }
        if (cs != NULL) {
            e->simd->rope(s->head, op->n_rot, op->rope, cs);
        }
        k_rope_store(e, k + (size_t) i * e->kv->elem,
                     v + (size_t) i * e->kv->hd_pad * e->kv->elem, s->head,
                     q + e->q_dim + e->kv_dim + (size_t) head * hd, s->half);

        for (j = 0; j < group; j++) {
            float *h = q + (head * group + j) * hd;

            if (op->norm_q != NULL) {
                e->simd->norm(h, h, op->norm_q->vector, hd, op->eps);
            }
            if (cs != NULL) {
                e->simd->rope(h, op->n_rot, op->rope, cs);
            }
        }
    }
}


/* A token's key and value, one head, into its page. */
static void
k_rope_store(const k_exec_t *e, uint8_t *k, uint8_t *v, const float *key,
             const float *value, uint16_t *half)
{
    float    *kf;
    uint16_t *kh;
    uint32_t  d, hd;

    hd = e->prog.head_dim;

    if (e->kv->elem == sizeof(float)) {
        kf = (float *) (void *) k;
        for (d = 0; d < hd; d++) {
            kf[(size_t) d * K_PAGE_TOKENS] = key[d];
        }
        memcpy(v, value, hd * sizeof(float));
        return;
    }

    kh = (uint16_t *) (void *) k;
    e->simd->half(half, key, hd);
    for (d = 0; d < hd; d++) {
        kh[(size_t) d * K_PAGE_TOKENS] = half[d];
    }
    e->simd->half((uint16_t *) (void *) v, value, hd);
}


/* A = attention; `last`: of rows with logits only.  Has barriers inside. */
int
k_op_attn(k_exec_t *e, const k_op_t *op, uint32_t thread, int last)
{
    k_meet_t         all;
    uint32_t         i, u, local;
    k_scratch_t     *s;
    const k_tile_t  *t;
    const k_tiles_t *list;

    list = last ? &e->last : &e->all;
    s = &e->scratch[thread];
    i = list->n;

    /* Backwards: a chunk's last rows see most and are begun first. */
    for (u = k_pool_next(e->pool); u < list->n_units;
         u = k_pool_next(e->pool)) {
        local = list->n_units - 1 - u;
        while (i == list->n || list->tiles[i].unit > local) {
            i--;
        }
        t = &list->tiles[i];
        local -= t->unit;
        k_attn_unit(e, op, t, local / t->spans, local % t->spans, s);
    }

    if (!list->split) {
        return 0;
    }

    all = (k_meet_t){e, op, list, NULL};

    if (list->split <= K_MEET_WORK) {
        k_pool_meet(e->pool, k_join_all, &all, thread);
        return 1;
    }

    k_pool_barrier(e->pool);

    for (u = k_pool_next(e->pool); u < list->n * e->prog.n_kv;
         u = k_pool_next(e->pool)) {
        k_join_unit(&all, u, s);
    }

    return 0;
}


static void
k_join_all(void *arg, uint32_t thread)
{
    uint32_t  i;
    k_meet_t *all;

    all = arg;

    for (i = 0; i < all->list->n * all->e->prog.n_kv; i++) {
        k_join_unit(all, i, &all->e->scratch[thread]);
    }
}


static void
k_join_unit(const k_meet_t *all, uint32_t unit, k_scratch_t *s)
{
    uint32_t        n_kv;
    const k_tile_t *t;

    n_kv = all->e->prog.n_kv;
    t = &all->list->tiles[unit / n_kv];

    if (t->spans > 1) {
        k_attn_join(all->e, all->op, t, unit % n_kv, s);
    }
}


static void
k_attn_unit(k_exec_t *e, const k_op_t *op, const k_tile_t *t, uint32_t head,
            uint32_t span, k_scratch_t *s)
{
    float    *o, *m, *l;
    uint32_t  p, first, end, pad;
    k_attn_t *a;

    a = &s->attn;
    pad = a->hd_pad;
    first = k_attn_first(op, t, K_ATTN_SPAN);

    if (t->spans > 1 && span < first) {
        return; /* behind the window of every row; k_attn_join() knows */
    }

    k_attn_load(e, op, t, head, a);

    if (t->spans > 1) {
        k_attn_span(e, op, t, head, span, a);
        o = k_attn_part(e, t, head, span);
        memcpy(o, a->o, (size_t) a->pairs * pad * sizeof(float));
        o += (size_t) a->pairs * pad;
        memcpy(o, a->m, a->pairs * sizeof(float));
        memcpy(o + a->pairs, a->l, a->pairs * sizeof(float));
        return;
    }

    end = (t->pos + t->n - 1) / K_ATTN_SPAN + 1;

    if (end - first == 1) {
        k_attn_span(e, op, t, head, first, a);
        k_attn_store(e, op, t, head, a->o, a->m, a->l);
        return;
    }

    o = s->total;
    m = o + (size_t) a->pairs * pad;
    l = m + a->pairs;
    memset(l, 0, a->pairs * sizeof(float));

    for (; first < end; first++) {
        k_attn_span(e, op, t, head, first, a);
        for (p = 0; p < a->pairs; p++) {
            e->simd->attn_merge(&m[p], &l[p], o + (size_t) p * pad, a->m[p],
                                a->l[p], a->o + (size_t) p * pad, pad);
        }
    }

    k_attn_store(e, op, t, head, o, m, l);
}


/* The first page or span that a row of the tile sees, of `unit` positions. */
static uint32_t
k_attn_first(const k_op_t *op, const k_tile_t *t, uint32_t unit)
{
    if (op->window == 0 || t->pos < op->window) {
        return 0;
    }

    return (t->pos - op->window + 1) / unit;
}


/* m, l and o of one span, from nothing. */
static void
k_attn_span(k_exec_t *e, const k_op_t *op, const k_tile_t *t, uint32_t head,
            uint32_t span, k_attn_t *a)
{
    uint32_t       p, page, end, low;
    uint64_t       off;
    const uint8_t *k;

    for (p = 0; p < a->pairs; p++) {
        a->m[p] = -INFINITY;
        a->l[p] = 0;
    }
    memset(a->o, 0, (size_t) a->pairs * a->hd_pad * sizeof(float));

    page = span * (K_ATTN_SPAN / K_PAGE_TOKENS);
    end = page + K_ATTN_SPAN / K_PAGE_TOKENS;

    p = (t->pos + t->n - 1) / K_PAGE_TOKENS + 1;
    end = end < p ? end : p;

    low = k_attn_first(op, t, K_PAGE_TOKENS);
    page = page > low ? page : low;

    off = ((uint64_t) op->layer * e->kv->n_kv + head) * e->kv->tile;

    for (; page < end; page++) {
        k = e->kv->mem + t->pages[page] * e->kv->page + off;
        e->simd->attn_page(
            a, k, k + (size_t) a->head_dim * K_PAGE_TOKENS * e->kv->elem,
            page * K_PAGE_TOKENS);
    }
}


static void
k_attn_load(k_exec_t *e, const k_op_t *op, const k_tile_t *t, uint32_t head,
            k_attn_t *a)
{
    float       *q;
    uint32_t     r, d, n;
    const float *src;

    a->pairs = t->n * a->group;
    a->pos = t->pos;
    a->window = op->window;
    a->f32 = e->kv->elem == sizeof(float);
    a->cap = op->soft_cap;

    q = a->q;
    n = a->group * a->head_dim;

    for (r = 0; r < t->n; r++) {
        src = e->q + (size_t) (t->row + r) * e->qkv_dim + (size_t) head * n;
        for (d = 0; d < n; d++) {
            *q++ = src[d] * op->scale;
        }
    }
}


/* A = o / (l + the sink's share) */
static void
k_attn_store(k_exec_t *e, const k_op_t *op, const k_tile_t *t, uint32_t head,
             const float *o, const float *m, const float *l)
{
    float       *out, mul;
    uint32_t     r, g, d, hd, pad, group;
    const float *sinks;

    hd = e->prog.head_dim;
    pad = e->kv->hd_pad;
    group = e->prog.n_head / e->prog.n_kv;
    sinks = op->sinks != NULL ? op->sinks->vector + head * group : NULL;

    for (r = 0; r < t->n; r++) {
        out = e->a + (size_t) (t->out + r) * e->q_dim
              + (size_t) head * group * hd;

        for (g = 0; g < group; g++, m++, l++) {
            mul = sinks != NULL ? k_attn_factor(*m, *l, sinks[g]) : 1.0f / *l;
            for (d = 0; d < hd; d++) {
                *out++ = o[d] * mul;
            }
            o += pad;
        }
    }
}


/* 1 / (l + exp(sink - m)), when the sink is the largest score too. */
static float
k_attn_factor(float m, float l, float sink)
{
    float f;

    if (sink > m) {
        f = expf(m - sink);
        return f / (l * f + 1.0f);
    }

    return 1.0f / (l + expf(sink - m));
}


static void
k_attn_join(k_exec_t *e, const k_op_t *op, const k_tile_t *t, uint32_t head,
            k_scratch_t *s)
{
    float       *o, *m, *l;
    uint32_t     i, p, pad, pairs;
    const float *part;

    pad = e->kv->hd_pad;
    pairs = t->n * (e->prog.n_head / e->prog.n_kv);

    o = s->total;
    m = o + (size_t) pairs * pad;
    l = m + pairs;
    memset(l, 0, pairs * sizeof(float));

    for (i = k_attn_first(op, t, K_ATTN_SPAN); i < t->spans; i++) {
        part = k_attn_part(e, t, head, i);
        for (p = 0; p < pairs; p++) {
            e->simd->attn_merge(&m[p], &l[p], o + (size_t) p * pad,
                                part[(size_t) pairs * pad + p],
                                part[(size_t) pairs * (pad + 1) + p],
                                part + (size_t) p * pad, pad);
        }
    }

    k_attn_store(e, op, t, head, o, m, l);
}


static float *
k_attn_part(k_exec_t *e, const k_tile_t *t, uint32_t head, uint32_t span)
{
    size_t size;

    size =
        (size_t) t->n * (e->prog.n_head / e->prog.n_kv) * (e->kv->hd_pad + 2);

    return e->parts + t->part + ((size_t) head * t->spans + span) * size;
}
