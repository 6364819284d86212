/*
 * A batch made into a step's metadata (cu_step_t): on the step loop's thread,
 * while the device may still be busy with the step before.  It is a few walks
 * over the batch, writes to pinned memory and calls nothing of CUDA.
 *
 *     cu_step_t | logit_rows | tokens | pos | slot | decode | prefill | pages
 *
 * Each array begins at a multiple of 16 bytes and is as long as this step
 * needs; the struct's pointers say where.  Only logit_rows has a fixed place,
 * because kernels get its address as an argument.
 *
 * ATTENTION'S PLAN.  Sequences with one row are `decode` work, in parts where
 * they are long (the rule is in attn.cuh); those with more are `prefill` work
 * in pieces of CU_PREFILL_ROWS rows.  Long items come first: the last block to
 * begin should be a short one.
 */

#include <errno.h>
#include <string.h>

#include "kernels/cuda/exec.h"

#define CU_LEVELS    8  /* lengths that the order of work tells apart */
#define CU_SPLIT_MAX 64 /* parts of one sequence */
#define CU_SPLIT_MIN 2  /* pages of a part */

#define cu_meta_round(n) (((uint64_t) (n) + 15) & ~(uint64_t) 15)


/* The metadata being written. */
typedef struct {
    const k_exec_t  *e;
    const k_batch_t *b;
    uint8_t         *out;
    uint64_t         at; /* bytes written */
    cu_step_t       *step;
} cu_meta_t;


static int         cu_meta_check(const k_exec_t *e, const k_batch_t *b, uint32_t n_drawn);
static void       *cu_meta_array(cu_meta_t *m, uint64_t n, uint32_t size);
static const void *cu_meta_there(const cu_meta_t *m, const void *p);
static void        cu_meta_rows(cu_meta_t *m);
static void        cu_meta_decode(cu_meta_t *m);
static uint32_t    cu_meta_cuts(cu_meta_t *m, uint32_t first[CU_LEVELS]);
static void        cu_meta_prefill(cu_meta_t *m);
static uint32_t    cu_meta_level(uint32_t pages, uint32_t most);
static int         cu_meta_pages(cu_meta_t *m);
static uint32_t    cu_meta_seen(const k_exec_t *e, uint32_t pos);
static uint32_t    cu_meta_held(const k_batch_seq_t *s);


uint32_t
cu_bucket(uint32_t rows)
{
    uint32_t step;

    step = rows <= 8 ? 1 : rows <= 64 ? 8 : rows <= 512 ? 64 : 128;

    return (rows + step - 1) / step * step;
}


/* 1 2 4 8 16 24 32 48 64 96 128 192 256 384 ... */
uint32_t
cu_bucket_graph(uint32_t rows)
{
    uint32_t step;

    if (rows <= 4) {
        return rows == 3 ? 4 : rows;
    }

    step = 8;
    while (rows > 4 * step) {
        step *= 2;
    }

    return (rows + step - 1) / step * step;
}


/* By the rule's rounding: no more than a part for each row on top. */
uint32_t
cu_meta_work(const k_exec_t *e, uint32_t rows)
{
    uint32_t n_kv;

    n_kv = e->prog.n_kv;

    if (e->kv == NULL || !e->fast_attn) {
        return e->kv == NULL ? 0 : rows;
    }

    return rows + (2 * (uint32_t) e->be->sms + n_kv - 1) / n_kv + 1;
}


uint64_t
cu_meta_size(const k_exec_t *e)
{
    return cu_meta_round(sizeof(cu_step_t)) + cu_meta_round(e->limits.logits * sizeof(uint32_t))
           + 3 * cu_meta_round(e->limits.rows * sizeof(uint32_t))
           + ((uint64_t) e->max_decode + e->max_prefill) * sizeof(cu_attn_work_t)
           + cu_meta_round(e->max_pages * sizeof(uint32_t));
}


const uint32_t *
cu_meta_logit_rows(const k_exec_t *e)
{
    return (const uint32_t *) ((const uint8_t *) e->step + cu_meta_round(sizeof(cu_step_t)));
}


int
cu_meta(const k_exec_t *e, const k_batch_t *b, uint32_t n_drawn, uint8_t *out, uint64_t *bytes,
        cu_bucket_t *shape)
{
    int       rc;
    void     *p;
    cu_meta_t m;

    rc = cu_meta_check(e, b, n_drawn);
    if (rc != 0) {
        return rc;
    }

    m.e = e;
    m.b = b;
    m.out = out;
    m.at = cu_meta_round(sizeof(cu_step_t));
    m.step = (cu_step_t *) (void *) out;

    memset(m.step, 0, sizeof(*m.step));
    m.step->n_rows = b->n_rows;
    m.step->n_logits = b->n_logits;
    m.step->drawn = e->draw != NULL ? cu_draw_drawn(e->draw) : NULL;

    p = cu_meta_array(&m, b->n_logits, sizeof(uint32_t));
    m.step->logit_rows = cu_meta_there(&m, p);
    if (b->n_logits != 0) {
        memcpy(p, b->logit_rows, b->n_logits * sizeof(uint32_t));
    }
    p = cu_meta_array(&m, b->n_rows, sizeof(int32_t));
    m.step->tokens = cu_meta_there(&m, p);
    memcpy(p, b->tokens, b->n_rows * sizeof(int32_t));

    cu_meta_rows(&m);

    if (e->kv != NULL) {
        cu_meta_decode(&m);
        cu_meta_prefill(&m);
        rc = cu_meta_pages(&m);
        if (rc != 0) {
            return rc;
        }
    }

    *bytes = m.at;

    memset(shape, 0, sizeof(*shape));

    if (b->n_rows == b->n_seqs && b->n_logits != 0) {
        shape->rows = cu_bucket_graph(b->n_rows);
        shape->logits = cu_bucket_graph(b->n_logits);
        shape->decode = cu_meta_work(e, shape->rows);
        shape->fixed = 1;
        return 0;
    }

    shape->rows = cu_bucket(b->n_rows);
    shape->logits = cu_bucket(b->n_logits);
    shape->decode = m.step->n_decode;
    shape->prefill = m.step->n_prefill;

    return 0;
}


/* All rules of backend.h but those about page numbers. */
static int
cu_meta_check(const k_exec_t *e, const k_batch_t *b, uint32_t n_drawn)
{
    int32_t              t, low, high;
    uint32_t             i, row;
    uint64_t             pages;
    const k_batch_seq_t *s;

    if (b->n_rows == 0 || b->n_rows > e->limits.rows || b->n_seqs == 0 || b->n_seqs > e->limits.seqs
        || b->n_logits > e->limits.logits || b->n_logits > b->n_rows) {
        return -EINVAL;
    }

    low = high = 0;
    for (i = 0; i < b->n_rows; i++) {
        t = b->tokens[i];
        low = t < low ? t : low;
        high = t > high ? t : high;
    }
    if ((uint32_t) high >= e->prog.n_vocab || -(int64_t) low > n_drawn) {
        return -EINVAL;
    }

    for (i = 0; i < b->n_logits; i++) {
        if (b->logit_rows[i] >= b->n_rows || (i > 0 && b->logit_rows[i] <= b->logit_rows[i - 1])) {
            return -EINVAL;
        }
    }

    row = 0;
    pages = 0;

    for (i = 0; i < b->n_seqs; i++) {
        s = &b->seqs[i];
        if (s->row != row || s->n == 0 || s->n > b->n_rows - row || s->pos > (1u << 30)
            || (e->kv != NULL && s->pages == NULL)) {
            return -EINVAL;
        }
        row += s->n;
        pages += cu_meta_held(s);
    }

    if (row != b->n_rows || (e->kv != NULL && pages > e->max_pages)) {
        return -EINVAL;
    }

    return 0;
}


/* Room for n elements. */
static void *
cu_meta_array(cu_meta_t *m, uint64_t n, uint32_t size)
{
    void *p;

    p = m->out + m->at;
    m->at += cu_meta_round(n * size);

    return p;
}


/* Where it will lie on the device. */
static const void *
cu_meta_there(const cu_meta_t *m, const void *p)
{
    return (const uint8_t *) m->e->step + ((const uint8_t *) p - m->out);
}


/* Positions, and where K and V go. */
static void
cu_meta_rows(cu_meta_t *m)
{
    uint32_t             i, j, at, *pos, *slot;
    const k_batch_seq_t *s;

    pos = cu_meta_array(m, m->b->n_rows, sizeof(uint32_t));
    m->step->pos = cu_meta_there(m, pos);
    slot = cu_meta_array(m, m->b->n_rows, sizeof(uint32_t));
    m->step->slot = cu_meta_there(m, slot);

    for (i = 0; i < m->b->n_seqs; i++) {
        s = &m->b->seqs[i];

        for (j = 0; j < s->n; j++) {
            at = s->pos + j;
            *pos++ = at;
            *slot++ = m->e->kv == NULL
                          ? 0
                          : s->pages[at / K_PAGE_TOKENS] * K_PAGE_TOKENS + at % K_PAGE_TOKENS;
        }
    }
}


static void
cu_meta_decode(cu_meta_t *m)
{
    uint32_t             i, j, n, end, first[CU_LEVELS];
    const cu_cut_t      *c;
    cu_attn_work_t      *w, *all;
    const k_batch_seq_t *s;

    n = cu_meta_cuts(m, first);
    m->step->n_decode = n;
    all = cu_meta_array(m, n, sizeof(*all));
    m->step->decode = cu_meta_there(m, all);

    for (i = 0; i < m->b->n_seqs; i++) {
        s = &m->b->seqs[i];
        c = &m->e->cuts[i];

        if (s->n != 1) {
            continue;
        }

        w = all + first[c->level];
        first[c->level] += c->n;
        end = s->pos + 1;

        for (j = 0; j < c->n; j++, w++) {
            w->row = s->row;
            w->n = 1;
            w->pos = s->pos;
            w->pages = c->pages;
            w->begin = (c->begin + j * c->each) * K_PAGE_TOKENS;
            w->end = j + 1 < c->n ? w->begin + c->each * K_PAGE_TOKENS : end;
            w->split = j;
            w->n_split = c->n;
        }
    }
}


/*
 * Cuts all sequences with one row; first[]: where the items of each level
 * begin.  The number of all items.
 */
static uint32_t
cu_meta_cuts(cu_meta_t *m, uint32_t first[CU_LEVELS])
{
    uint32_t             i, n, seen, held, each, blocks, count[CU_LEVELS];
    uint64_t             all, part;
    cu_cut_t            *c;
    const k_batch_seq_t *s;

    memset(count, 0, sizeof(count));
    all = 0;

    for (i = 0; i < m->b->n_seqs; i++) {
        s = &m->b->seqs[i];
        all += s->n == 1 ? s->pos / K_PAGE_TOKENS + 1 - cu_meta_seen(m->e, s->pos) : 0;
    }

    blocks = 2 * (uint32_t) m->e->be->sms;
    part = (all * m->e->prog.n_kv + blocks - 1) / blocks;
    part = part < CU_SPLIT_MIN ? CU_SPLIT_MIN : part;

    if (!m->e->fast_attn) {
        part = 1u << 31;
    }

    held = 0;

    for (i = 0; i < m->b->n_seqs; i++) {
        s = &m->b->seqs[i];
        c = &m->e->cuts[i];
        c->pages = held;
        held += cu_meta_held(s);

        if (s->n != 1) {
            continue;
        }

        c->begin = cu_meta_seen(m->e, s->pos);
        seen = s->pos / K_PAGE_TOKENS + 1 - c->begin;
        n = (uint32_t) ((seen + part / 2) / part);
        n = n < 1 ? 1 : n > CU_SPLIT_MAX ? CU_SPLIT_MAX : n;
        each = (seen + n - 1) / n;

        c->each = each;
        c->n = (seen + each - 1) / each;
        c->level = cu_meta_level(each, (uint32_t) part);
        count[c->level] += c->n;
    }

    n = 0;
    for (i = 0; i < CU_LEVELS; i++) {
        first[i] = n;
        n += count[i];
    }

    return n;
}


/* Two walks over the pieces: how many of each level, and then the pieces. */
static void
cu_meta_prefill(cu_meta_t *m)
{
    uint32_t             i, j, n, level, most, walk, end, first[CU_LEVELS + 1];
    cu_attn_work_t      *w, *all;
    const k_batch_seq_t *s;

    memset(first, 0, sizeof(first));
    all = NULL;
    most = 1;

    for (i = 0; i < m->b->n_seqs; i++) {
        s = &m->b->seqs[i];
        most = s->n > 1 && cu_meta_held(s) > most ? cu_meta_held(s) : most;
    }

    for (walk = 0; walk < 2; walk++) {
        for (i = 0; i < m->b->n_seqs; i++) {
            s = &m->b->seqs[i];

            for (j = 0; s->n > 1 && j < s->n; j += n) {
                n = s->n - j < CU_PREFILL_ROWS ? s->n - j : CU_PREFILL_ROWS;
                end = (s->pos + j + n - 1) / K_PAGE_TOKENS + 1;
                level = cu_meta_level(end, most);

                if (walk == 0) {
                    first[level + 1]++;
                    continue;
                }

                w = all + first[level]++;
                memset(w, 0, sizeof(*w));
                w->row = s->row + j;
                w->n = n;
                w->pos = s->pos + j;
                w->pages = m->e->cuts[i].pages;
                w->n_split = 1;
            }
        }

        if (walk == 0) {
            for (i = 0; i < CU_LEVELS; i++) {
                first[i + 1] += first[i];
            }
            m->step->n_prefill = first[CU_LEVELS];
            all = cu_meta_array(m, first[CU_LEVELS], sizeof(*all));
            m->step->prefill = cu_meta_there(m, all);
        }
    }
}


/* 0: the longest. */
static uint32_t
cu_meta_level(uint32_t pages, uint32_t most)
{
    uint64_t part;

    part = (uint64_t) pages * CU_LEVELS / ((uint64_t) most + 1);

    return part >= CU_LEVELS ? 0 : CU_LEVELS - 1 - (uint32_t) part;
}


/* All sequences' page numbers, which are checked on the way. */
static int
cu_meta_pages(cu_meta_t *m)
{
    uint32_t             i, j, n, worst, *p;
    uint64_t             all;
    const k_batch_seq_t *s;

    all = 0;
    for (i = 0; i < m->b->n_seqs; i++) {
        all += cu_meta_held(&m->b->seqs[i]);
    }

    p = cu_meta_array(m, all, sizeof(uint32_t));
    m->step->pages = cu_meta_there(m, p);
    worst = 0;

    for (i = 0; i < m->b->n_seqs; i++) {
        s = &m->b->seqs[i];
        n = cu_meta_held(s);

        for (j = 0; j < n; j++) {
            p[j] = s->pages[j];
            worst = p[j] > worst ? p[j] : worst;
        }
        p += n;
    }

    return worst < m->e->kv->n_pages ? 0 : -EINVAL;
}


/* The first page that a row at this position sees in any layer. */
static uint32_t
cu_meta_seen(const k_exec_t *e, uint32_t pos)
{
    return e->window == 0 || pos < e->window ? 0 : (pos + 1 - e->window) / K_PAGE_TOKENS;
}


/* Pages of a sequence, up to its last row. */
static uint32_t
cu_meta_held(const k_batch_seq_t *s)
{
    return (s->pos + s->n - 1) / K_PAGE_TOKENS + 1;
}
