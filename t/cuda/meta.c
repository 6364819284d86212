/*
 * A step's metadata, read back as the kernels read it: for random batches each
 * array must say what the batch says, and attention's work must cover every
 * position of every sequence once, in parts as attn.cuh wants them.
 */

#include "kernels/cuda/exec.h"
#include "t/cuda/rig.h"

#define ROUNDS 400

/* The metadata where the host has written it. */
typedef struct {
    const uint8_t   *host;
    const k_exec_t  *e;
    const cu_step_t *step;
} seen_t;


static void        buckets(void);
static void        round_of(rig_t *r, uint32_t *rng, uint8_t *meta);
static const void *at(const seen_t *s, const void *device, uint64_t n);
static int         rows_right(const seen_t *s, const k_batch_t *b);
static int         decode_right(const seen_t *s, const k_batch_t *b);
static int         prefill_right(const seen_t *s, const k_batch_t *b);
static uint32_t    below(uint32_t *rng, uint32_t n);

static int rounds_bad[4];


int
main(void)
{
    rig_t    r;
    uint8_t *meta;
    uint32_t i, rng;

    static const toy_conf_t toy = {
        64,           1,         4, 2,         64, 64, 50, 64, 0, K_F32,
        K_ROPE_PAIRS, K_FN_SILU, 0, .seed = 31};
    static const k_limits_t limits = {600, 40, 100};

    buckets();

    rig_open(&r, &k_backend_cuda, &toy, K_BF16, &limits, 0);
    meta = malloc(r.exec->meta_size + 64);
    memset(meta + r.exec->meta_size, 0xa5, 64);
    rng = 12345;

    for (i = 0; i < ROUNDS; i++) {
        /* Half of them as if every layer had a window. */
        r.exec->window = i % 2 ? 1 + below(&rng, 200) : 0;
        round_of(&r, &rng, meta);
    }

    is_int(rounds_bad[0], 0, "%d batches are taken", ROUNDS);
    is_int(rounds_bad[1], 0, "tokens, positions, slots, rows of logits, pages");
    is_int(rounds_bad[2], 0, "work of sequences with one row");
    is_int(rounds_bad[3], 0, "work of sequences with more");
    for (i = 0; i < 64 && meta[r.exec->meta_size + i] == 0xa5; i++) {
        /* void */
    }
    is_int((int) i, 64, "nothing is written beyond the block");

    free(meta);
    r.exec->window = 0;
    rig_close(&r);

    return tap_done();
}


static void
buckets(void)
{
    uint32_t i, bad;

    bad = 0;
    for (i = 1; i < 70000; i++) {
        bad += cu_bucket(i) < i || cu_bucket_graph(i) < i;
        bad += cu_bucket(cu_bucket(i)) != cu_bucket(i);
        bad += cu_bucket_graph(cu_bucket_graph(i)) != cu_bucket_graph(i);
        bad += cu_bucket(i + 1) < cu_bucket(i);
        bad += cu_bucket_graph(i + 1) < cu_bucket_graph(i);
        bad += cu_bucket(i) - i > i / 4 + 64;
        bad += cu_bucket_graph(i) > 8 && cu_bucket_graph(i) - i > i / 2 + 4;
    }
    is_int((int) bad, 0, "buckets hold their rows, and not many more");
    is_int((int) (cu_bucket(0) + cu_bucket_graph(0)), 0,
           "of none there is none");
}


static void
round_of(rig_t *r, uint32_t *rng, uint8_t *meta)
{
    int         rc;
    int32_t     tokens[256];
    uint32_t    i, j, n, pos, seqs, mixed, held, pages[40][100];
    uint64_t    bytes;
    seen_t      s;
    rig_batch_t b;
    cu_bucket_t bucket;

    rig_batch(&b);
    seqs = 1 + below(rng, 40);
    mixed = below(rng, 3);

    for (i = 0; i < seqs; i++) {
        n = mixed == 0 || (mixed == 1 && below(rng, 2)) ? 1
                                                        : 1 + below(rng, 200);
        if (b.b.n_rows + n > 560) {
            n = 1;
        }
        pos = below(rng, 4) == 0 ? below(rng, 1800) : below(rng, 80);
        held = (pos + n - 1) / K_PAGE_TOKENS + 1;
        for (j = 0; j < held; j++) {
            pages[i][j] = below(rng, RIG_PAGES);
        }
        for (j = 0; j < n; j++) {
            tokens[j] = (int32_t) below(rng, 50);
        }
        rig_add(&b, tokens, pos, n, pages[i],
                below(rng, 5) != 0 && b.b.n_logits + 2 < 100 ? 1 : 0);
    }

    rc = cu_meta(r->exec, &b.b, 0, meta, &bytes, &bucket);
    if (rc != 0 || bytes > r->exec->meta_size || bucket.rows < b.b.n_rows
        || bucket.logits < b.b.n_logits || bucket.rows > r->exec->max_rows
        || bucket.logits > r->exec->max_logits) {
        rounds_bad[0]++;
        return;
    }

    s.host = meta;
    s.e = r->exec;
    s.step = (const cu_step_t *) (const void *) meta;
    rounds_bad[1] += !rows_right(&s, &b.b);
    rounds_bad[2] += !decode_right(&s, &b.b) || s.step->n_decode > bucket.decode
                     || bucket.decode > r->exec->max_decode;
    rounds_bad[3] += !prefill_right(&s, &b.b)
                     || s.step->n_prefill > r->exec->max_prefill
                     || (!bucket.fixed && bucket.prefill != s.step->n_prefill);
}


/* Where an array lies on the host; NULL: not in the block, or not aligned. */
static const void *
at(const seen_t *s, const void *device, uint64_t n)
{
    uint64_t offset;

    offset =
        (uint64_t) ((const uint8_t *) device - (const uint8_t *) s->e->step);

    return offset % 16 != 0 || offset + n > s->e->meta_size ? NULL
                                                            : s->host + offset;
}


static int
rows_right(const seen_t *s, const k_batch_t *b)
{
    uint32_t             i, j, p, page;
    const int32_t       *tokens;
    const uint32_t      *pos, *slot, *rows;
    const k_batch_seq_t *q;

    tokens = at(s, s->step->tokens, b->n_rows * 4);
    pos = at(s, s->step->pos, b->n_rows * 4);
    slot = at(s, s->step->slot, b->n_rows * 4);
    rows = at(s, s->step->logit_rows, b->n_logits * 4);

    if (s->step->n_rows != b->n_rows || s->step->n_logits != b->n_logits
        || !tokens || !pos || !slot || !rows
        || s->step->logit_rows != cu_meta_logit_rows(s->e)
        || memcmp(tokens, b->tokens, b->n_rows * 4) != 0
        || memcmp(rows, b->logit_rows, b->n_logits * 4) != 0) {
        return 0;
    }

    for (i = 0; i < b->n_seqs; i++) {
        q = &b->seqs[i];
        for (j = 0; j < q->n; j++) {
            p = q->pos + j;
            page = q->pages[p / K_PAGE_TOKENS];
            if (pos[q->row + j] != p
                || slot[q->row + j]
                       != page * K_PAGE_TOKENS + p % K_PAGE_TOKENS) {
                return 0;
            }
        }
    }

    return 1;
}


static int
decode_right(const seen_t *s, const k_batch_t *b)
{
    uint32_t              i, j, n, from, done[40];
    const uint32_t       *pages;
    const cu_attn_work_t *w;
    const k_batch_seq_t  *q;

    memset(done, 0, sizeof(done));
    n = s->step->n_decode;
    w = at(s, s->step->decode, n * sizeof(*w));
    pages = at(s, s->step->pages, 0);
    if (w == NULL || pages == NULL) {
        return 0;
    }

    for (j = 0; j < n; j += w[j].n_split) {
        for (i = 0; i < b->n_seqs && b->seqs[i].row != w[j].row; i++) {
            /* void */
        }
        if (i == b->n_seqs || b->seqs[i].n != 1 || done[i] || w[j].n_split == 0
            || w[j].n_split > n - j) {
            return 0;
        }
        q = &b->seqs[i];
        done[i] = 1;

        if (memcmp(pages + w[j].pages, q->pages,
                   (q->pos / K_PAGE_TOKENS + 1) * 4)
            != 0) {
            return 0;
        }

        /* Neighbours, one after the other, none of them empty. */
        from = w[j].begin;
        for (i = 0; i < w[j].n_split; i++) {
            const cu_attn_work_t *p = &w[j + i];

            if (p->row != q->row || p->n != 1 || p->pos != q->pos
                || p->pages != w[j].pages || p->split != i
                || p->n_split != w[j].n_split || p->begin != from
                || p->begin % K_PAGE_TOKENS != 0 || p->end <= p->begin) {
                return 0;
            }
            from = p->end;
        }
        if (from != q->pos + 1) {
            return 0;
        }

        /* What no layer sees is left out, and nothing else. */
        i = s->e->window == 0 || q->pos + 1 <= s->e->window
                ? 0
                : (q->pos + 1 - s->e->window) / K_PAGE_TOKENS * K_PAGE_TOKENS;
        if (w[j].begin != i) {
            return 0;
        }
    }

    for (i = 0; i < b->n_seqs; i++) {
        if (done[i] != (b->seqs[i].n == 1)) {
            return 0;
        }
    }

    return 1;
}


static int
prefill_right(const seen_t *s, const k_batch_t *b)
{
    uint8_t               rows[600];
    uint32_t              i, j, k, last;
    const uint32_t       *pages;
    const cu_attn_work_t *w;
    const k_batch_seq_t  *q;

    memset(rows, 0, sizeof(rows));
    w = at(s, s->step->prefill, s->step->n_prefill * sizeof(*w));
    pages = at(s, s->step->pages, 0);
    if (w == NULL || pages == NULL) {
        return 0;
    }

    last = UINT32_MAX;

    for (j = 0; j < s->step->n_prefill; j++) {
        for (i = 0; i < b->n_seqs
                    && (w[j].row < b->seqs[i].row
                        || w[j].row >= b->seqs[i].row + b->seqs[i].n);
             i++) {
            /* void */
        }
        if (i == b->n_seqs || b->seqs[i].n == 1 || w[j].n == 0
            || w[j].n > CU_PREFILL_ROWS) {
            return 0;
        }
        q = &b->seqs[i];

        if (w[j].row + w[j].n > q->row + q->n
            || w[j].pos != q->pos + w[j].row - q->row
            || memcmp(pages + w[j].pages, q->pages,
                      ((q->pos + q->n - 1) / K_PAGE_TOKENS + 1) * 4)
                   != 0) {
            return 0;
        }
        for (k = 0; k < w[j].n; k++) {
            if (rows[w[j].row + k]++) {
                return 0;
            }
        }

        /* Long ones first, but for an eighth of the longest. */
        k = w[j].pos + w[j].n;
        if (last != UINT32_MAX && k > last + 2000 / 8 + 32) {
            return 0;
        }
        last = k < last ? k : last;
    }

    for (i = 0; i < b->n_seqs; i++) {
        for (k = 0; b->seqs[i].n > 1 && k < b->seqs[i].n; k++) {
            if (rows[b->seqs[i].row + k] != 1) {
                return 0;
            }
        }
    }

    return 1;
}


static uint32_t
below(uint32_t *rng, uint32_t n)
{
    return toy_rand(rng) % n;
}
