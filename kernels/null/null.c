/*
 * The null backend: no weights, no arithmetic, tokens at once.  It measures
 * the path around a model, and it tests the scheduler: every batch is checked
 * as strictly as a real backend would need it.  Instead of keys and values a
 * page holds a digest of each prefix that was written through it, so that a
 * page of another prefix, a gap or a page written by two sequences is found
 * when it is read: such a step is refused with -EINVAL and describe() tells.
 *
 * sample() draws a pure function of (seed, position, choice) out of tokens
 * 32 .. 4095, the next one up where the mask or an infinite bias forbids it;
 * so it never draws an end-of-generation token that has a low or a high id.
 * Logprobs are functions of the prefix that the pages hold.
 *
 * Threads: as backend.h says.  Nothing is allocated in a step.
 */

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/null/null.h"

#define NULL_TOKEN_MIN 32
#define NULL_TOKEN_MAX 4096

struct k_backend_s {
    uint64_t         memory;
    _Atomic uint64_t used;
    char             line[K_ERR_MAX];
};

struct k_weight_s {
    uint64_t bytes;
};

typedef struct {
    uint64_t start; /* of the prefix before this page */
    uint64_t digest[K_PAGE_TOKENS];
    uint32_t filled;
    uint32_t writer; /* sequence of the batch `step` that writes it */
    uint64_t step;
} null_page_t;

struct k_kv_s {
    k_backend_t *be;
    uint32_t     n_pages;
    uint64_t     bytes;
    null_page_t *pages;
};

struct k_exec_s {
    k_backend_t *be;
    k_kv_t      *kv;
    k_limits_t   limits;
    uint32_t     n_vocab;
    uint32_t     n_logits;
    uint64_t    *logits; /* digests of the rows whose logits are wanted */
    uint64_t    *rows;   /* digests of all rows */
    uint64_t     step;
};

static int  null_open(const k_config_t *conf, k_backend_t **be, char *err);
static void null_close(k_backend_t *be);
static const char *null_describe(k_backend_t *be);
static void        null_memory(k_backend_t *be, uint64_t *size, uint64_t *used);
static int         null_weights_load(k_backend_t *be, const k_source_t *src,
                                     k_weight_t **w, char *err);
static void        null_weights_free(k_backend_t *be, k_weight_t *w);
static uint64_t    null_kv_layout(k_backend_t *be, const k_program_t *prog);
static int         null_kv_new(k_backend_t *be, const k_program_t *prog,
                               uint32_t n_pages, k_kv_t **kv, char *err);
static void        null_kv_free(k_backend_t *be, k_kv_t *kv);
static void        null_kv_copy(k_backend_t *be, k_kv_t *kv, uint32_t dst,
                                uint32_t src, uint32_t n);
static int  null_program_prepare(k_backend_t *be, const k_program_t *prog,
                                 k_kv_t *kv, const k_limits_t *limits,
                                 k_exec_t **exec, char *err);
static void null_program_free(k_exec_t *exec);
static int  null_step_submit(k_exec_t *exec, const k_batch_t *batch);
static int  null_step_wait(k_exec_t *exec);
static int  null_sample(k_exec_t *exec, uint32_t n, const k_sample_t *req,
                        k_sampled_t *out);
static int  null_logits(k_exec_t *exec, uint32_t i, float *out);
static int  null_refuse(k_exec_t *exec, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int  null_check_batch(k_exec_t *exec, const k_batch_t *batch);
static int  null_check_seq(k_exec_t *exec, const k_batch_t *batch, uint32_t i);
static int  null_check_chain(k_exec_t *exec, const k_batch_t *batch, uint32_t i,
                             uint64_t *digest);
static void null_write_seq(k_exec_t *exec, const k_batch_t *batch, uint32_t i,
                           uint64_t digest);
static int32_t  null_draw(const k_exec_t *exec, const k_sample_t *req);
static int      null_allowed(const k_sample_t *req, int32_t token);
static uint64_t null_mix(uint64_t x);


const k_backend_ops_t k_backend_null = {
    .name = "null",
    .open = null_open,
    .close = null_close,
    .describe = null_describe,
    .memory = null_memory,
    .weights_load = null_weights_load,
    .weights_free = null_weights_free,
    .kv_layout = null_kv_layout,
    .kv_new = null_kv_new,
    .kv_free = null_kv_free,
    .kv_copy = null_kv_copy,
    .program_prepare = null_program_prepare,
    .program_free = null_program_free,
    .step_submit = null_step_submit,
    .step_wait = null_step_wait,
    .sample = null_sample,
    .logits = null_logits,
};


static int
null_open(const k_config_t *conf, k_backend_t **be, char *err)
{
    k_backend_t *b;

    b = calloc(1, sizeof(k_backend_t));
    if (b == NULL) {
        snprintf(err, K_ERR_MAX, "no memory");
        return -ENOMEM;
    }

    b->memory = conf->memory;
    snprintf(b->line, sizeof(b->line), "null: no weights, no arithmetic");
    *be = b;

    return 0;
}


static void
null_close(k_backend_t *be)
{
    free(be);
}


static const char *
null_describe(k_backend_t *be)
{
    return be->line;
}


static void
null_memory(k_backend_t *be, uint64_t *size, uint64_t *used)
{
    *size = be->memory;
    *used = atomic_load_explicit(&be->used, memory_order_relaxed);
}


/* A weight takes nothing: its bytes are not even read. */

static int
null_weights_load(k_backend_t *be, const k_source_t *src, k_weight_t **w,
                  char *err)
{
    *w = calloc(1, sizeof(k_weight_t));
    if (*w == NULL) {
        snprintf(err, K_ERR_MAX, "no memory for \"%s\"", src->name);
        return -ENOMEM;
    }

    return 0;
}


static void
null_weights_free(k_backend_t *be, k_weight_t *w)
{
    free(w);
}


/* What such a page would take at 16 bits a number; 0 without dimensions. */

static uint64_t
null_kv_layout(k_backend_t *be, const k_program_t *prog)
{
    return (uint64_t) K_PAGE_TOKENS * 2 * 2 * prog->n_layer * prog->n_kv
           * prog->head_dim;
}


static int
null_kv_new(k_backend_t *be, const k_program_t *prog, uint32_t n_pages,
            k_kv_t **kv, char *err)
{
    k_kv_t  *k;
    uint64_t bytes, used;

    bytes = null_kv_layout(be, prog) * n_pages;
    used = atomic_load_explicit(&be->used, memory_order_relaxed);

    if (bytes > be->memory || used > be->memory - bytes) {
        snprintf(err, K_ERR_MAX, "%llu bytes do not fit: %llu of %llu are used",
                 (unsigned long long) bytes, (unsigned long long) used,
                 (unsigned long long) be->memory);
        return -ENOMEM;
    }

    k = calloc(1, sizeof(k_kv_t));
    if (k != NULL) {
        k->pages = calloc(n_pages ? n_pages : 1, sizeof(null_page_t));
    }

    if (k == NULL || k->pages == NULL) {
        free(k);
        snprintf(err, K_ERR_MAX, "no memory for %u pages", n_pages);
        return -ENOMEM;
    }

    k->be = be;
    k->n_pages = n_pages;
    k->bytes = bytes;
    atomic_fetch_add_explicit(&be->used, bytes, memory_order_relaxed);
    *kv = k;

    return 0;
}


static void
null_kv_free(k_backend_t *be, k_kv_t *kv)
{
    if (kv == NULL) {
        return;
    }

    atomic_fetch_sub_explicit(&be->used, kv->bytes, memory_order_relaxed);
    free(kv->pages);
    free(kv);
}


/* Copying tokens that are not there leaves a page that no step accepts. */

static void
null_kv_copy(k_backend_t *be, k_kv_t *kv, uint32_t dst, uint32_t src,
             uint32_t n)
{
    null_page_t *d = &kv->pages[dst], *s = &kv->pages[src];

    d->filled = n <= s->filled && n <= K_PAGE_TOKENS ? n : 0;
    d->start = s->start;
    memcpy(d->digest, s->digest, d->filled * sizeof(d->digest[0]));
}


static int
null_program_prepare(k_backend_t *be, const k_program_t *prog, k_kv_t *kv,
                     const k_limits_t *limits, k_exec_t **exec, char *err)
{
    k_exec_t *e;

    e = calloc(1, sizeof(k_exec_t));
    if (e != NULL) {
        e->logits = calloc(limits->logits + 1, sizeof(uint64_t));
        e->rows = calloc(limits->rows + 1, sizeof(uint64_t));
    }

    if (e == NULL || e->logits == NULL || e->rows == NULL) {
        null_program_free(e);
        snprintf(err, K_ERR_MAX, "no memory for a program");
        return -ENOMEM;
    }

    e->be = be;
    e->kv = kv;
    e->limits = *limits;
    e->n_vocab = prog->n_vocab;
    *exec = e;

    return 0;
}


static void
null_program_free(k_exec_t *exec)
{
    if (exec == NULL) {
        return;
    }

    free(exec->logits);
    free(exec->rows);
    free(exec);
}


static int
null_step_submit(k_exec_t *exec, const k_batch_t *batch)
{
    uint64_t digest = K_NULL_SEED;
    uint32_t i;
    int      rc;

    exec->step++;
    exec->n_logits = 0;

    rc = null_check_batch(exec, batch);
    if (rc < 0) {
        return rc;
    }

    for (i = 0; i < batch->n_seqs; i++) {
        rc = null_check_chain(exec, batch, i, &digest);
        if (rc < 0) {
            return rc;
        }

        null_write_seq(exec, batch, i, digest);
    }

    for (i = 0; i < batch->n_logits; i++) {
        exec->logits[i] = exec->rows[batch->logit_rows[i]];
    }

    exec->n_logits = batch->n_logits;

    return 0;
}


static int
null_step_wait(k_exec_t *exec)
{
    return 0;
}


static int
null_sample(k_exec_t *exec, uint32_t n, const k_sample_t *req, k_sampled_t *out)
{
    uint64_t digest;
    uint32_t i, t;

    for (i = 0; i < n; i++) {
        if (req[i].logit >= exec->n_logits) {
            return null_refuse(exec, "draw %u of %u: no logits %u", i, n,
                               req[i].logit);
        }

        if (req[i].n_top > K_TOP_MAX
            || (req[i].scored
                && (req[i].score < 0
                    || req[i].score >= (int32_t) exec->n_vocab))) {
            return null_refuse(exec, "draw %u of %u: out of range", i, n);
        }

        digest = exec->logits[req[i].logit];
        memset(&out[i], 0, sizeof(out[i]));
        out[i].token = req[i].scored ? req[i].score : null_draw(exec, &req[i]);

        if (!req[i].logprob || out[i].token < 0) {
            continue;
        }

        out[i].logprob = k_null_logprob(digest, out[i].token);
        out[i].n_top =
            req[i].n_top < exec->n_vocab ? req[i].n_top : exec->n_vocab;

        for (t = 0; t < out[i].n_top; t++) {
            out[i].top[t].token = (int32_t) ((digest + t) % exec->n_vocab);
            out[i].top[t].logprob = -0.5f * (float) t;
        }
    }

    return 0;
}


/* The digest, cut in two that floats hold, then zeros. */

static int
null_logits(k_exec_t *exec, uint32_t i, float *out)
{
    if (i >= exec->n_logits) {
        return -EINVAL;
    }

    memset(out, 0, exec->n_vocab * sizeof(float));

    if (exec->n_vocab >= 2) {
        out[0] = (float) (exec->logits[i] & 0xffffff);
        out[1] = (float) (exec->logits[i] >> 24 & 0xffffff);
    }

    return 0;
}


static int
null_refuse(k_exec_t *exec, const char *fmt, ...)
{
    va_list ap;
    size_t  len;

    len = (size_t) snprintf(exec->be->line, sizeof(exec->be->line),
                            "null: refused: ");
    va_start(ap, fmt);
    vsnprintf(exec->be->line + len, sizeof(exec->be->line) - len, fmt, ap);
    va_end(ap);

    return -EINVAL;
}


/* Shapes; then notes who writes which page, for null_check_chain(). */

static int
null_check_batch(k_exec_t *exec, const k_batch_t *batch)
{
    uint32_t i, row = 0;

    if (batch->n_rows == 0 || batch->n_rows > exec->limits.rows
        || batch->n_seqs == 0 || batch->n_seqs > exec->limits.seqs
        || batch->n_logits > exec->limits.logits) {
        return null_refuse(exec, "%u rows, %u sequences, %u logits",
                           batch->n_rows, batch->n_seqs, batch->n_logits);
    }

    for (i = 0; i < batch->n_rows; i++) {
        if (batch->tokens[i] < 0
            || batch->tokens[i] >= (int32_t) exec->n_vocab) {
            return null_refuse(exec, "row %u: token %d", i, batch->tokens[i]);
        }
    }

    for (i = 0; i < batch->n_logits; i++) {
        if (batch->logit_rows[i] >= batch->n_rows
            || (i > 0 && batch->logit_rows[i] <= batch->logit_rows[i - 1])) {
            return null_refuse(exec, "logits %u: row %u", i,
                               batch->logit_rows[i]);
        }
    }

    for (i = 0; i < batch->n_seqs; i++) {
        if (batch->seqs[i].row != row || batch->seqs[i].n == 0
            || batch->seqs[i].n > batch->n_rows - row) {
            return null_refuse(exec, "sequence %u: rows %u + %u at %u", i,
                               batch->seqs[i].row, batch->seqs[i].n, row);
        }

        row += batch->seqs[i].n;

        if (null_check_seq(exec, batch, i) < 0) {
            return -EINVAL;
        }
    }

    if (row != batch->n_rows) {
        return null_refuse(exec, "rows %u of %u", row, batch->n_rows);
    }

    return 0;
}


static int
null_check_seq(k_exec_t *exec, const k_batch_t *batch, uint32_t i)
{
    null_page_t         *page;
    const k_batch_seq_t *s = &batch->seqs[i];
    uint32_t             p, end;

    end = (s->pos + s->n + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS;

    for (p = 0; p < end; p++) {
        if (s->pages[p] >= exec->kv->n_pages) {
            return null_refuse(exec, "sequence %u: page %u is %u", i, p,
                               s->pages[p]);
        }

        if (p < s->pos / K_PAGE_TOKENS) {
            continue;
        }

        page = &exec->kv->pages[s->pages[p]];
        if (page->step == exec->step) {
            return null_refuse(exec, "page %u is written by %u and %u",
                               s->pages[p], page->writer, i);
        }

        page->step = exec->step;
        page->writer = i;
    }

    return 0;
}


/*
 * What was written before position `pos` must be there, all of it, of one
 * prefix.  The whole chain is walked when a page is begun or a chunk comes,
 * else its last two pages.
 */

static int
null_check_chain(k_exec_t *exec, const k_batch_t *batch, uint32_t i,
                 uint64_t *digest)
{
    null_page_t         *page;
    const k_batch_seq_t *s = &batch->seqs[i];
    uint32_t             p, last, offset, want;
    uint64_t             before = K_NULL_SEED;
    int                  again;

    last = s->pos / K_PAGE_TOKENS;
    offset = s->pos % K_PAGE_TOKENS;
    p = 0;

    if (s->n == 1 && offset != 0 && last > 0) {
        p = last - 1;
        before = exec->kv->pages[s->pages[p]].start;
    }

    for (/* void */; p <= last; p++) {
        want = p < last ? K_PAGE_TOKENS : offset;
        if (want == 0) {
            break;
        }

        page = &exec->kv->pages[s->pages[p]];

        if (p < last && page->step == exec->step) {
            return null_refuse(exec, "page %u is read by %u, written by %u",
                               s->pages[p], i, page->writer);
        }

        /* The last row may come once more. */
        again = p == last && page->filled == want + 1;

        if ((page->filled != want && !again) || page->start != before) {
            return null_refuse(exec,
                               "sequence %u at %u: page %u of it (%u) holds %u "
                               "tokens, not %u%s",
                               i, s->pos, p, s->pages[p], page->filled, want,
                               page->start != before ? ", of another prefix"
                                                     : "");
        }

        before = page->digest[want - 1];
    }

    *digest = before;

    return 0;
}


static void
null_write_seq(k_exec_t *exec, const k_batch_t *batch, uint32_t i,
               uint64_t digest)
{
    null_page_t         *page;
    const k_batch_seq_t *s = &batch->seqs[i];
    uint32_t             k, pos;

    for (k = 0; k < s->n; k++) {
        pos = s->pos + k;
        page = &exec->kv->pages[s->pages[pos / K_PAGE_TOKENS]];

        if (pos % K_PAGE_TOKENS == 0) {
            page->start = digest;
        }

        digest = k_null_digest(digest, batch->tokens[s->row + k]);
        page->digest[pos % K_PAGE_TOKENS] = digest;
        page->filled = pos % K_PAGE_TOKENS + 1;
        exec->rows[s->row + k] = digest;
    }
}


static int32_t
null_draw(const k_exec_t *exec, const k_sample_t *req)
{
    int32_t  token, first;
    uint32_t i;

    first = k_null_token(exec->n_vocab, req->seed, req->position, req->choice);
    token = first;

    for (i = 0; i < exec->n_vocab; i++) {
        if (null_allowed(req, token)) {
            return token;
        }

        token = token + 1 < (int32_t) exec->n_vocab ? token + 1 : 0;
    }

    return -1;
}


static int
null_allowed(const k_sample_t *req, int32_t token)
{
    uint32_t i;

    if (req->mask && !(req->mask[token / 32] >> (token % 32) & 1)) {
        return 0;
    }

    for (i = 0; i < req->n_bias; i++) {
        if (req->bias[i].token == token && req->bias[i].value == -INFINITY) {
            return 0;
        }
    }

    return 1;
}


int32_t
k_null_token(uint32_t n_vocab, uint64_t seed, uint32_t position,
             uint32_t choice)
{
    uint32_t from, to;
    uint64_t x;

    to = n_vocab < NULL_TOKEN_MAX ? n_vocab : NULL_TOKEN_MAX;
    from = to > NULL_TOKEN_MIN ? NULL_TOKEN_MIN : 0;
    x = null_mix(seed ^ null_mix((uint64_t) choice << 32 | position));

    return (int32_t) (from + x % (to - from));
}


uint64_t
k_null_digest(uint64_t prefix, int32_t token)
{
    return null_mix(prefix ^ (uint64_t) (uint32_t) token);
}


float
k_null_logprob(uint64_t prefix, int32_t token)
{
    return -(float) (k_null_digest(prefix, token) % 65536) / 4096.0f;
}


/* The finaliser of splitmix64. */

static uint64_t
null_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;

    return x ^ x >> 31;
}
