/*
 * What the tests of attention share: a world of sequences over a pool of KV
 * pages, what attention over it is (double precision, inputs rounded to their
 * types), and the launchers held against that.
 *
 * Pages are numbered at random; everything in the pool that no row may see is
 * NaN: slots not yet written, positions behind the window, another layer, pages
 * of nobody.  A is NaN before each run, and stays so in rows of no work item.
 */

#ifndef LLM_T_CUDA_ATTN_REF_H
#define LLM_T_CUDA_ATTN_REF_H

#include "t/cuda/cu_test.h"

#define ATTN_SEQS   8
#define ATTN_WORK   256
#define ATTN_PAGES  512
#define ATTN_LAYERS 2 /* of a page; the second is the one that is used */

typedef struct {
    uint32_t pos;     /* of the first row */
    uint32_t n;       /* rows: 1 is decode */
    uint32_t n_split; /* decode; at most pages */
} attn_seq_t;

typedef struct {
    const char *name;
    cu_type_t   t;
    cu_type_t   kv;
    uint32_t    n_head;
    uint32_t    n_kv;
    uint32_t    head_dim;
    uint32_t    window;
    float       soft_cap;
    float       q_size; /* of Q's elements; 0: 1 */
    int         sinks;
    uint32_t    slack; /* work items that the grid has and the step not */
    attn_seq_t  seqs[ATTN_SEQS]; /* n == 0: no more */
} attn_case_t;

typedef struct {
    const attn_case_t *c;
    uint32_t           rows;
    uint32_t           n_seqs;
    uint32_t           first[ATTN_SEQS]; /* row of a sequence's first */
    uint32_t           page[ATTN_SEQS];  /* its first in pages */
    uint32_t           pages[ATTN_PAGES];
    uint32_t           n_pages;
    uint32_t           n_pool;
    uint32_t           n_decode;
    uint32_t           n_prefill;
    cu_attn_work_t     decode[ATTN_WORK];
    cu_attn_work_t     prefill[ATTN_WORK];
    double            *q;
    double            *kv; /* the pool's elements */
    double            *want;
    double            *size; /* sum of p |v|: what rounding is measured by */
    double             top;  /* largest |score| */
    void              *dev_q;
    void              *dev_kv;
    void              *dev_sinks;
    void              *parts;
    void              *tickets;
    void              *a;
    float              sinks[64];
    cu_step_t         *step;
    cu_attn_t          arg;
} attn_world_t;


/* Element of the pool: which 0: K, 1: V. */
DEV_UNUSED size_t
attn_at_(const attn_case_t *c, uint32_t page, uint32_t layer, uint32_t which,
         uint32_t head, uint32_t slot)
{
    size_t heads = (size_t) page * ATTN_LAYERS * 2 + layer * 2 + which;

    return ((heads * c->n_kv + head) * K_PAGE_TOKENS + slot) * c->head_dim;
}


/* Pages by chance, none twice; K and V of what some row sees. */
DEV_UNUSED void
attn_fill_(attn_world_t *w, uint32_t *seed)
{
    const attn_case_t *c = w->c;
    uint32_t           s, i, j, k, h, d, last, seen, page, t;
    size_t             n;

    w->n_pool = w->n_pages + 3;
    for (i = 0; i < w->n_pool; i++) {
        w->pages[i] = i;
    }
    for (i = 0; i < w->n_pages; i++) {
        j = i + test_rand(seed) % (w->n_pool - i);
        t = w->pages[i];
        w->pages[i] = w->pages[j];
        w->pages[j] = t;
    }

    n = attn_at_(c, w->n_pool, 0, 0, 0, 0);
    w->kv = malloc(n * sizeof(*w->kv));
    for (i = 0; i < n; i++) {
        w->kv[i] = NAN;
    }

    for (s = 0; s < w->n_seqs; s++) {
        last = c->seqs[s].pos + c->seqs[s].n - 1;
        seen = c->window > 0 && c->seqs[s].pos + 1 > c->window
                   ? c->seqs[s].pos + 1 - c->window
                   : 0;

        for (k = seen; k <= last; k++) {
            page = w->pages[w->page[s] + k / K_PAGE_TOKENS];
            for (h = 0; h < c->n_kv; h++) {
                for (d = 0; d < c->head_dim; d++) {
                    w->kv[attn_at_(c, page, 1, 0, h, k % K_PAGE_TOKENS) + d] =
                        test_normal(seed);
                    w->kv[attn_at_(c, page, 1, 1, h, k % K_PAGE_TOKENS) + d] =
                        test_normal(seed);
                }
            }
        }
    }

    w->dev_kv = dev_typed(c->kv, w->kv, n);
}


/* One row and head: w->want, w->size. */
DEV_UNUSED void
attn_row_(attn_world_t *w, uint32_t seq, uint32_t i, uint32_t head)
{
    const attn_case_t *c = w->c;
    uint32_t           row = w->first[seq] + i, pos = c->seqs[seq].pos + i;
    uint32_t           hd = c->head_dim, kvh = head / (c->n_head / c->n_kv);
    uint32_t           from, k, d, page;
    size_t             out = ((size_t) row * c->n_head + head) * hd;
    const double      *q = w->q + (size_t) row * w->arg.q_ld + head * hd, *e;
    double            *p = malloc((pos + 1) * sizeof(*p)), m = -INFINITY, l = 0;

    from = c->window > 0 && pos + 1 > c->window ? pos + 1 - c->window : 0;

    for (k = from; k <= pos; k++) {
        page = w->pages[w->page[seq] + k / K_PAGE_TOKENS];
        e = w->kv + attn_at_(c, page, 1, 0, kvh, k % K_PAGE_TOKENS);
        p[k] = 0;
        for (d = 0; d < hd; d++) {
            p[k] += q[d] * e[d];
        }
        p[k] *= w->arg.scale;
        if (fabs(p[k]) > w->top) {
            w->top = fabs(p[k]);
        }
        if (c->soft_cap > 0) {
            p[k] = c->soft_cap * tanh(p[k] / c->soft_cap);
        }
        m = fmax(m, p[k]);
    }

    if (c->sinks) {
        m = fmax(m, w->sinks[head]);
        l = exp(w->sinks[head] - m);
    }
    for (k = from; k <= pos; k++) {
        p[k] = exp(p[k] - m);
        l += p[k];
    }

    for (d = 0; d < hd; d++) {
        w->want[out + d] = 0;
        w->size[out + d] = 0;
    }
    for (k = from; k <= pos; k++) {
        page = w->pages[w->page[seq] + k / K_PAGE_TOKENS];
        e = w->kv + attn_at_(c, page, 1, 1, kvh, k % K_PAGE_TOKENS);
        for (d = 0; d < hd; d++) {
            w->want[out + d] += p[k] / l * e[d];
            w->size[out + d] += p[k] / l * fabs(e[d]);
        }
    }

    free(p);
}


/* Work items: splits of whole pages, as even as can be; pieces of 64 rows. */
DEV_UNUSED void
attn_plan_(attn_world_t *w)
{
    const attn_seq_t *q;
    cu_attn_work_t    k;
    uint32_t          s, i, pages, split;

    for (s = 0; s < w->n_seqs; s++) {
        q = &w->c->seqs[s];

        if (q->n > 1) {
            for (i = 0; i < q->n; i += CU_PREFILL_ROWS) {
                k = (cu_attn_work_t){.row = w->first[s] + i,
                                     .n = q->n - i < CU_PREFILL_ROWS
                                              ? q->n - i
                                              : CU_PREFILL_ROWS,
                                     .pos = q->pos + i,
                                     .pages = w->page[s]};
                w->prefill[w->n_prefill++] = k;
            }
            continue;
        }

        pages = q->pos / K_PAGE_TOKENS + 1;
        split = q->n_split == 0 ? 1 : q->n_split;
        for (i = 0; i < split; i++) {
            k = (cu_attn_work_t){.row = w->first[s],
                                 .n = 1,
                                 .pos = q->pos,
                                 .pages = w->page[s],
                                 .begin = pages * i / split * K_PAGE_TOKENS,
                                 .end = pages * (i + 1) / split * K_PAGE_TOKENS,
                                 .split = i,
                                 .n_split = split};
            if (i + 1 == split) {
                k.end = q->pos + 1;
            }
            w->decode[w->n_decode++] = k;
        }
    }
}


DEV_UNUSED void
attn_new(attn_world_t *w, const attn_case_t *c, uint32_t seed)
{
    uint32_t s, i, h, ld = (c->n_head + 2 * c->n_kv) * c->head_dim;
    uint32_t work;
    size_t   n, elem;

    memset(w, 0, sizeof(*w));
    w->c = c;

    for (s = 0; s < ATTN_SEQS && c->seqs[s].n > 0; s++) {
        w->first[s] = w->rows;
        w->page[s] = w->n_pages;
        w->rows += c->seqs[s].n;
        w->n_pages += (c->seqs[s].pos + c->seqs[s].n - 1) / K_PAGE_TOKENS + 1;
        w->n_seqs++;
    }

    attn_plan_(w);
    attn_fill_(w, &seed);

    n = (size_t) w->rows * ld;
    w->q = malloc(n * sizeof(*w->q));
    for (i = 0; i < n; i++) {
        w->q[i] = test_normal(&seed) * (c->q_size > 0 ? c->q_size : 1);
    }
    w->dev_q = dev_typed(c->t, w->q, n);

    for (h = 0; h < c->n_head; h++) {
        w->sinks[h] = (float) (test_normal(&seed) * 2 + 1);
    }
    w->dev_sinks = dev_of(w->sinks, c->n_head * sizeof(float));

    work = (w->n_decode > w->n_prefill ? w->n_decode : w->n_prefill) + c->slack;
    w->parts = dev_new((size_t) work * c->n_head * (c->head_dim + 2) * 4);
    w->tickets = dev_new((size_t) work * c->n_head * 4);
    CU_OK(cudaMemset(w->tickets, 0, (size_t) work * c->n_head * 4));
    w->a = dev_new((size_t) w->rows * c->n_head * c->head_dim * 2);
    w->step = dev_step(&(dev_step_conf_t){.n_rows = w->rows,
                                          .n_decode = w->n_decode,
                                          .n_prefill = w->n_prefill,
                                          .n_pages = w->n_pages,
                                          .decode = w->decode,
                                          .prefill = w->prefill,
                                          .pages = w->pages});

    elem = dev_type_size(c->kv);
    w->arg = (cu_attn_t){.q = w->dev_q,
                         .q_ld = ld,
                         .a = w->a,
                         .kv = (uint8_t *) w->dev_kv
                               + attn_at_(c, 0, 1, 0, 0, 0) * elem,
                         .kv_type = c->kv,
                         .kv_page = attn_at_(c, 1, 0, 0, 0, 0) * elem,
                         .kv_v = attn_at_(c, 0, 0, 1, 0, 0) * elem,
                         .n_head = c->n_head,
                         .n_kv = c->n_kv,
                         .head_dim = c->head_dim,
                         .scale = 1 / sqrtf((float) c->head_dim),
                         .soft_cap = c->soft_cap,
                         .window = c->window,
                         .sinks = c->sinks ? w->dev_sinks : NULL,
                         .parts = w->parts,
                         .max_work = work,
                         .max_rows = w->rows};

    n = (size_t) w->rows * c->n_head * c->head_dim;
    w->want = malloc(n * sizeof(*w->want));
    w->size = malloc(n * sizeof(*w->size));
    for (s = 0; s < w->n_seqs; s++) {
        for (i = 0; i < c->seqs[s].n; i++) {
            for (h = 0; h < c->n_head; h++) {
                attn_row_(w, s, i, h);
            }
        }
    }
}


DEV_UNUSED void
attn_free(attn_world_t *w)
{
    dev_free(w->dev_q);
    dev_free(w->dev_kv);
    dev_free(w->dev_sinks);
    dev_free(w->parts);
    dev_free(w->tickets);
    dev_free(w->a);
    dev_step_free(w->step);
    free(w->q);
    free(w->kv);
    free(w->want);
    free(w->size);
}


DEV_UNUSED void
attn_poison(attn_world_t *w)
{
    const attn_case_t *c = w->c;

    CU_OK(cudaDeviceSynchronize());
    CU_OK(
        cudaMemset(w->a, 0xff, (size_t) w->rows * c->n_head * c->head_dim * 2));
    CU_OK(cudaMemset(w->parts, 0xff,
                     (size_t) w->arg.max_work * c->n_head * (c->head_dim + 2)
                         * 4));
    CU_OK(cudaDeviceSynchronize());
}


/*
 * Rows of decode (1), of prefill (2), or both (3) are right, and all others
 * untouched.  What may differ, of unit u of T: half of u of the result; with
 * P rounded to T (`rounded`) half of u of sum p |v|; F32's error in scores.
 */
DEV_UNUSED void
attn_check(const attn_world_t *w, int which, int rounded, const char *what)
{
    const attn_case_t *c = w->c;
    size_t             n = (size_t) c->n_head * c->head_dim, i, k, bad = 0;
    double            *got = malloc(w->rows * n * sizeof(*got)), worst = 0;
    double             u = c->t == CU_F16 ? 0x1p-10 : 0x1p-7, err, may;
    uint32_t           s, r;
    int                mine;

    dev_read(c->t, got, w->a, w->rows * n);

    for (s = 0; s < w->n_seqs; s++) {
        mine = which & (c->seqs[s].n > 1 ? 2 : 1);

        for (r = 0; r < c->seqs[s].n; r++) {
            for (i = 0; i < n; i++) {
                k = (w->first[s] + r) * n + i;
                if (!mine) {
                    bad += !isnan(got[k]);
                    continue;
                }
                err = fabs(got[k] - w->want[k]);
                may =
                    0.51 * u * fabs(w->want[k]) + 1e-6
                    + w->size[k] * ((rounded ? 0.5 * u : 0) + w->top * 0x1p-20);
                if (!(err <= may)) {
                    if (bad++ == 0) {
                        diag("row %u, head %zu, element %zu: %g, want %g",
                             w->first[s] + r, i / c->head_dim, i % c->head_dim,
                             got[k], w->want[k]);
                    }
                }
                worst = fmax(worst, err / may);
            }
        }
    }

    ok(bad == 0, "%s: %s (worst %.2f of what may be)", c->name, what, worst);
    free(got);
}

#endif /* LLM_T_CUDA_ATTN_REF_H */
