/*
 * A step of one model: who begins, which rows are computed.
 *
 * Every running sequence whose tokens are computed but for the last gets its
 * row.  The others share the rows that are left, evenly; who needs less than
 * an even share gets all it needs, so that a short prompt does not wait for a
 * long one.  How many rows are left: max_rows, or `chunk` if others decode,
 * and no more than the model has computed in SCHED_STEP_NS lately.  Tokens
 * that a grammar forced are computed like a short prompt.
 *
 * Threads: the step loop's.
 */

#include <errno.h>
#include "engine/sched/sched_priv.h"

static void     admit_group(sched_req_t *r, sched_seq_t *q);
static uint32_t batch_decode(sched_model_t *m);
static void     batch_prefill(sched_model_t *m, uint32_t n_decode);
static void     batch_share(sched_model_t *m, uint32_t rows, uint32_t spare);
static uint32_t batch_wants(const sched_seq_t *q, uint32_t *spare);
static int      batch_full(const sched_seq_t *q);
static void     batch_rows(sched_model_t *m);
static void     batch_logits(sched_model_t *m, sched_seq_t *q, uint32_t row);
static void     batch_done(sched_model_t *m);
static void     batch_idle(sched_model_t *m);
static void     batch_fail(sched_model_t *m, int rc);


/* Lets sequences run while there are places and pages: the oldest first. */

void
sched_admit(sched_model_t *m)
{
    sched_req_t *r;
    sched_seq_t *q;

    while (m->n_run < m->max_seqs && m->wait.first) {
        if (!sched_seq_admit(m->wait.first)) {
            return;
        }
    }

    while (m->n_run < m->max_seqs) {
        r = sched_queue_first(m);
        if (r == NULL) {
            return;
        }

        for (q = r->seqs; q->state == SCHED_SEQ_DONE; q++) {
            /* void */
        }

        r->age = m->sched->ages + 1;

        if (!sched_seq_admit(q)) {
            return;
        }

        admit_group(r, q);
    }
}


static void
admit_group(sched_req_t *r, sched_seq_t *q)
{
    sched_t       *s = r->model->sched;
    sched_group_t *g = r->group;

    s->ages++;
    sched_queue_drop(r);
    sched_queue_served(r, g->n_tokens - q->computed);
    r->state = SCHED_REQ_ACTIVE;
    r->started = 1;

    atomic_fetch_add_explicit(&s->stats.prompt_tokens, g->n_tokens,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&s->stats.prefix_queries, g->n_tokens,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&s->stats.prefix_hits, q->computed,
                              memory_order_relaxed);

    sched_event(s, &(sched_event_t){.kind = SCHED_EV_START,
                                    .group = g,
                                    .cached = q->computed});

    if (g->prompt_logprobs) {
        /* Nothing is before the first token: no logprob. */
        sched_event(s, &(sched_event_t){.kind = SCHED_EV_PROMPT,
                                        .group = g,
                                        .token = g->tokens[0]});
        r->scored = 1;
    }
}


/* 0, or -errno of the backend: then all sequences of the batch failed. */

int
sched_batch_run(sched_model_t *m)
{
    sched_t *s = m->sched;
    uint64_t start = s->now;
    int      rc, could = sched_ahead_could(m);

    if (could || m->n_flights) {
        return sched_ahead_run(m, could);
    }

    sched_gram_want(m);
    sched_batch_build(m);

    if (m->batch.n_rows == 0) {
        batch_idle(m);
        return 0;
    }

    rc = m->model->ops->step_submit(m->model->exec, &m->batch);

    if (rc == 0) {
        sched_draw_late(m);
        rc = m->n_draws ? 0 : m->model->ops->step_wait(m->model->exec);
    }

    if (rc == 0) {
        batch_done(m);
        rc = sched_draw(m);
    }

    s->now = sched_now(s);

    if (rc < 0) {
        batch_fail(m, rc);
    } else {
        sched_batch_pace(m, s->now - start);
    }

    sched_batch_count(s, m->batch.n_rows, s->now - start);

    return rc;
}


void
sched_batch_count(sched_t *s, uint32_t rows, uint64_t ns)
{
    atomic_fetch_add_explicit(&s->stats.steps, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->stats.busy_ns, ns, memory_order_relaxed);
    atomic_store_explicit(&s->stats.rows_last, rows, memory_order_relaxed);
}


/* Who computes how many rows in the next step, and the batch of it. */

void
sched_batch_build(sched_model_t *m)
{
    batch_prefill(m, batch_decode(m));
    batch_rows(m);
}


/* All that run wait for an answer of their grammar. */

static void
batch_idle(sched_model_t *m)
{
    uint32_t i, n = 0;

    for (i = 0; i < m->n_run; i++) {
        if (m->run[i]->job) {
            m->waits[n++] = m->run[i]->job;
        }
    }

    sched_masks_wait(m->sched, m->waits, n, 1);
    sched_gram_settle(m->sched);
}


/* A row for each that decodes, and its page; returns how many. */

static uint32_t
batch_decode(sched_model_t *m)
{
    sched_seq_t *q;
    uint32_t     i, n = 0;

    for (i = 0; i < m->n_run; i++) {
        m->run[i]->rows = 0;
    }

    for (i = 0; i < m->n_run; i++) {
        q = m->run[i];

        if (sched_gram_held(q) || batch_full(q)) {
            continue;
        }

        if (!sched_seq_grow(q)) {
            /* It is the youngest; only older ones are left. */
            sched_seq_preempt(q);
            break;
        }

        if (sched_seq_known(q) - q->computed == 1) {
            q->rows = 1;
            n++;
        }
    }

    return n;
}


static void
batch_prefill(sched_model_t *m, uint32_t n_decode)
{
    uint32_t rows, spare;

    m->prefill_rows = 0;

    if (n_decode == m->n_run) {
        return;
    }

    rows = n_decode ? m->chunk : m->max_rows;
    rows = rows < m->cap ? rows : m->cap;

    if (rows > m->max_rows - n_decode) {
        rows = m->max_rows - n_decode;
    }

    spare = m->model->limits.logits - m->n_run;
    batch_share(m, rows, spare);
}


/* Even shares, but no more than needed; the odd rows go in turn. */

static void
batch_share(sched_model_t *m, uint32_t rows, uint32_t spare)
{
    sched_seq_t *q;
    uint32_t     i, k, want, share, left, fixed;

    /* The batch is not built yet: seqs[i].n holds what run[i] wants. */
    left = 0;

    for (i = 0; i < m->n_run; i++) {
        q = m->run[i];
        m->seqs[i].n = q->rows ? 0 : batch_wants(q, &spare);
        left += m->seqs[i].n > 0;
    }

    if (left == 0) {
        return;
    }

    do {
        share = rows / left;
        fixed = 0;

        for (i = 0; i < m->n_run; i++) {
            want = m->seqs[i].n;

            if (want > 0 && want <= share) {
                m->run[i]->rows = want;
                m->prefill_rows += want;
                m->seqs[i].n = 0;
                rows -= want;
                left--;
                fixed = 1;
            }
        }
    } while (fixed && left > 0);

    if (left == 0) {
        return;
    }

    share = rows / left;
    rows %= left;
    m->turn++;

    for (k = 0; k < m->n_run; k++) {
        i = (m->turn + k) % m->n_run;

        if (m->seqs[i].n > 0) {
            m->run[i]->rows = share + (rows > 0);
            m->prefill_rows += m->run[i]->rows;
            rows -= rows > 0;
        }
    }
}


/*
 * Rows that a prefill can use; those with wanted logits take from *spare,
 * beyond one that each sequence has.
 */

static uint32_t
batch_wants(const sched_seq_t *q, uint32_t *spare)
{
    uint32_t want, plain, judged;

    if (sched_gram_held(q) || batch_full(q)) {
        return 0;
    }

    want = sched_seq_known(q) - q->computed - (q->reason != 0);
    judged = sched_seq_unjudged(q);

    if (judged == SCHED_NONE) {
        return want;
    }

    plain = judged - 1 > q->computed ? judged - 1 - q->computed : 0;

    if (want > plain + 1) {
        want = want < plain + 1 + *spare ? want : plain + 1 + *spare;
        *spare -= want - plain - 1;
    }

    return want;
}


/* The last token that it may have is under way: it has no more rows. */

static int
batch_full(const sched_seq_t *q)
{
    return q->flying && q->n_out + q->flying == q->req->max_out;
}


static void
batch_rows(sched_model_t *m)
{
    sched_seq_t *q;
    k_batch_t   *b = &m->batch;
    uint32_t     i;

    b->n_rows = 0;
    b->n_seqs = 0;
    b->n_logits = 0;
    m->n_draws = 0;

    for (i = 0; i < m->n_run; i++) {
        q = m->run[i];

        if (q->rows == 0) {
            continue;
        }

        if (q->flying) {
            /* All else is computed: its row is of the newest token. */
            m->tokens[b->n_rows] = K_TOKEN_OF(q->draw);
        } else {
            sched_seq_tokens(q, q->computed, q->rows, m->tokens + b->n_rows);
        }

        batch_logits(m, q, b->n_rows);

        m->seqs[b->n_seqs] = (k_batch_seq_t){
            .row = b->n_rows,
            .n = q->rows,
            .pos = q->computed,
            .pages = q->pages,
        };
        m->members[b->n_seqs++] = q;
        b->n_rows += q->rows;
    }
}


/* Which rows' logits are wanted, and what for. */

static void
batch_logits(sched_model_t *m, sched_seq_t *q, uint32_t row)
{
    const sched_group_t *g = q->req->group;
    uint32_t             t, end, judged = sched_seq_unjudged(q);
    uint32_t             known = sched_seq_known(q);
    sched_draw_t        *d;

    /* A row's logits are about the token after it. */
    end = q->computed + q->rows;
    t = judged > q->computed + 1 ? judged : q->computed + 1;
    t = t < end ? t : end;

    for (/* void */; t <= end; t++) {
        if (t == known ? q->reason != 0 : t < judged) {
            continue;
        }

        if (t < g->n_tokens ? !g->prompt_logprobs
                            : t < known && !g->sampling.logprobs) {
            continue;
        }

        d = &m->draws[m->n_draws++];
        d->seq = q;
        d->from = NULL;
        d->logit = m->batch.n_logits;
        d->judged = t < known ? t : 0;
        m->logit_rows[m->batch.n_logits++] = row + t - 1 - q->computed;
    }
}


/* The rows are computed. */

static void
batch_done(sched_model_t *m)
{
    sched_seq_t *q;
    uint32_t     i, from;

    for (i = 0; i < m->batch.n_seqs; i++) {
        q = m->members[i];
        from = q->computed;
        q->computed += q->rows - (uint32_t) q->late;
        q->late = 0;
        sched_seq_cache(q, from, q->computed);
    }
}


/* The backend failed: groups of the batch end; the loop lives on. */

static void
batch_fail(sched_model_t *m, int rc)
{
    sched_seq_t *q;
    uint32_t     i;

    sched_batch_failed(m, m->batch.n_rows, rc);

    for (i = 0; i < m->batch.n_seqs; i++) {
        q = m->members[i];

        if (q->state == SCHED_SEQ_RUNNING) {
            sched_req_finish(q->req, SCHED_FAILED);
        }
    }
}


void
sched_batch_failed(sched_model_t *m, uint32_t rows, int rc)
{
    log_error("a step of %u rows failed: %s: %s; its sequences end", rows,
              strerror(-rc), m->model->ops->describe(m->model->be));

    if (rc == -EIO && m->sched->config.device_lost) {
        m->sched->config.device_lost(m->sched->config.data);
    }
}


/* Prefill chunks double while steps are short and halve if one is long. */

void
sched_batch_pace(sched_model_t *m, uint64_t ns)
{
    uint32_t rows = m->prefill_rows;

    if (ns > SCHED_STEP_NS && rows > SCHED_CAP_MIN) {
        m->cap = rows / 2 > SCHED_CAP_MIN ? rows / 2 : SCHED_CAP_MIN;

    } else if (ns < SCHED_STEP_NS / 2 && rows >= m->cap) {
        m->cap = m->cap * 2 < m->max_rows ? m->cap * 2 : m->max_rows;
    }
}
