/*
 * A step of one model: who begins, which rows are computed, what is drawn.
 *
 * Every running sequence whose tokens are computed but for the last gets its
 * row.  The others share the rows that are left, evenly; who needs less than
 * an even share gets all it needs, so that a short prompt does not wait for a
 * long one.  How many rows are left: max_rows, or `chunk` if others decode,
 * and no more than the model has computed in SCHED_STEP_NS lately.
 *
 * Threads: the step loop's.
 */

#include "engine/sched/sched_priv.h"

static void     admit_group(sched_req_t *r, sched_seq_t *q);
static uint32_t batch_decode(sched_model_t *m);
static void     batch_prefill(sched_model_t *m, uint32_t n_decode);
static void     batch_share(sched_model_t *m, uint32_t rows, uint32_t spare);
static uint32_t batch_wants(const sched_seq_t *q, uint32_t *spare);
static void     batch_build(sched_model_t *m);
static void     batch_logits(sched_model_t *m, sched_seq_t *q, uint32_t row);
static void     batch_done(sched_model_t *m);
static int      batch_draw(sched_model_t *m);
static void     batch_siblings(sched_model_t *m);
static void     batch_sample(sched_model_t *m, uint32_t i);
static void     batch_prompt(sched_model_t *m, const sched_draw_t *d,
                             const k_sampled_t *sampled);
static void     batch_token(sched_model_t *m, const sched_draw_t *d,
                            const k_sampled_t *sampled);
static void     batch_orphans(sched_req_t *r);
static int      batch_is_end(const sched_group_t *g, int32_t token);
static void     batch_fail(sched_model_t *m, int rc);
static void     batch_pace(sched_model_t *m, uint64_t ns);


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
    int      rc;

    batch_prefill(m, batch_decode(m));
    batch_build(m);

    if (m->batch.n_rows == 0) {
        return 0;
    }

    rc = m->model->ops->step_submit(m->model->exec, &m->batch);
    if (rc == 0) {
        rc = m->model->ops->step_wait(m->model->exec);
    }

    if (rc == 0) {
        batch_done(m);
        rc = batch_draw(m);
    }

    s->now = sched_now(s);

    if (rc < 0) {
        batch_fail(m, rc);
    } else {
        batch_pace(m, s->now - start);
    }

    atomic_fetch_add_explicit(&s->stats.steps, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->stats.busy_ns, s->now - start,
                              memory_order_relaxed);
    atomic_store_explicit(&s->stats.rows_last, m->batch.n_rows,
                          memory_order_relaxed);

    return rc;
}


/* A row for each that decodes, and the page for it; returns how many. */

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

        if (sched_seq_known(q) - q->computed > 1) {
            continue;
        }

        if (sched_seq_grow(q)) {
            q->rows = 1;
            n++;
            continue;
        }

        /* It is the youngest; only older ones are left. */
        sched_seq_preempt(q);
        break;
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


/* Rows that a prefill can use; those with wanted logits take from *spare. */

static uint32_t
batch_wants(const sched_seq_t *q, uint32_t *spare)
{
    const sched_req_t *r = q->req;
    uint32_t           want;

    want = sched_seq_known(q) - q->computed;

    if (r->group->prompt_logprobs && r->scored < r->group->n_tokens) {
        want = want < 1 + *spare ? want : 1 + *spare;
        *spare -= want - 1;
    }

    return want;
}


static void
batch_build(sched_model_t *m)
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

        sched_seq_tokens(q, q->computed, q->rows, m->tokens + b->n_rows);
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
    sched_req_t *r = q->req;
    uint32_t     pos, end = q->computed + q->rows;
    uint32_t     first = end - 1;

    if (r->group->prompt_logprobs && r->scored < r->group->n_tokens) {
        first = q->computed > r->scored - 1 ? q->computed : r->scored - 1;
    }

    for (pos = first; pos < end; pos++) {
        if (pos + 1 == sched_seq_known(q)) {
            m->draws[m->n_draws].prompt = 0;

        } else if (r->group->prompt_logprobs && pos + 1 >= r->scored
                   && pos + 1 < r->group->n_tokens) {
            m->draws[m->n_draws].prompt = pos + 1;

        } else {
            continue;
        }

        m->draws[m->n_draws].seq = q;
        m->draws[m->n_draws].from = NULL;
        m->draws[m->n_draws].logit = m->batch.n_logits;
        m->n_draws++;
        m->logit_rows[m->batch.n_logits++] = row + pos - q->computed;
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
        q->computed += q->rows;
        sched_seq_cache(q, from);
    }
}


static int
batch_draw(sched_model_t *m)
{
    uint32_t i, n, own = m->n_draws, limit = m->model->limits.logits;
    int      rc;

    batch_siblings(m);

    for (i = 0; i < m->n_draws; i++) {
        batch_sample(m, i);
    }

    for (i = 0; i < m->n_draws; i += n) {
        n = m->n_draws - i < limit ? m->n_draws - i : limit;

        rc = m->model->ops->sample(m->model->exec, n, m->samples + i,
                                   m->sampled + i);
        if (rc < 0) {
            return rc;
        }
    }

    m->sched->now = sched_now(m->sched);

    for (i = 0; i < own; i++) {
        if (m->draws[i].prompt) {
            batch_prompt(m, &m->draws[i], &m->sampled[i]);
        }
    }

    /* Siblings first: their leader may end by its token. */
    for (i = own; i < m->n_draws; i++) {
        batch_token(m, &m->draws[i], &m->sampled[i]);
    }

    for (i = 0; i < own; i++) {
        if (m->draws[i].prompt == 0) {
            batch_token(m, &m->draws[i], &m->sampled[i]);
        }
    }

    return 0;
}


/*
 * Where a prompt is done that other choices share, they draw from the same
 * logits, before their leader does (who may end by it).  Those for whom there
 * is no room in the step recompute the last token later.
 */

static void
batch_siblings(sched_model_t *m)
{
    sched_req_t *r;
    uint32_t     i, k, own = m->n_draws;
    sched_draw_t lead;

    for (i = 0; i < own; i++) {
        lead = m->draws[i];
        r = lead.seq->req;

        if (lead.prompt || r->n_live == 1) {
            continue;
        }

        for (k = 0; k < r->n_choices && m->n_draws < m->max_draws; k++) {
            if (r->seqs[k].state == SCHED_SEQ_PENDING) {
                m->draws[m->n_draws] = lead;
                m->draws[m->n_draws].from = lead.seq;
                m->draws[m->n_draws++].seq = &r->seqs[k];
            }
        }
    }
}


static void
batch_sample(sched_model_t *m, uint32_t i)
{
    sched_draw_t           *d = &m->draws[i];
    sched_seq_t            *q = d->seq;
    const sched_sampling_t *sp = &q->req->group->sampling;

    m->samples[i] = (k_sample_t){
        .logit = d->logit,
        .temperature = sp->temperature,
        .top_p = sp->top_p,
        .min_p = sp->min_p,
        .top_k = sp->top_k,
        .repetition = sp->repetition,
        .frequency = sp->frequency,
        .presence = sp->presence,
        .n_counts = q->n_counts,
        .counts = q->counts,
        .n_bias = q->req->n_bias,
        .bias = q->req->bias,
        .seed = sp->seed,
        .position = sched_seq_known(q),
        .choice = q->choice,
        .logprob = sp->logprobs,
        .n_top = sp->n_top,
    };

    if (d->prompt) {
        m->samples[i].scored = 1;
        m->samples[i].score = q->req->group->tokens[d->prompt];
        m->samples[i].position = d->prompt;
        m->samples[i].logprob = 1;
    }
}


static void
batch_prompt(sched_model_t *m, const sched_draw_t *d,
             const k_sampled_t *sampled)
{
    sched_req_t *r = d->seq->req;

    sched_event(m->sched, &(sched_event_t){.kind = SCHED_EV_PROMPT,
                                           .group = r->group,
                                           .token = r->group->tokens[d->prompt],
                                           .index = d->prompt,
                                           .sampled = sampled});
    r->scored = d->prompt + 1;
}


/* A choice has a new token: it may end by it, or begin with it. */

static void
batch_token(sched_model_t *m, const sched_draw_t *d, const k_sampled_t *sampled)
{
    sched_seq_t   *q = d->seq;
    sched_req_t   *r = q->req;
    sched_group_t *g = r->group;

    if (d->from == NULL) {
        batch_orphans(r);
    }

    if (sampled->token < 0
        || sampled->token >= (int32_t) m->model->prog.n_vocab) {
        log_error("no token can be drawn: logits are not finite, or all "
                  "tokens are forbidden");
        sched_seq_finish(q, SCHED_FAILED);
        return;
    }

    sched_event(m->sched,
                &(sched_event_t){.kind = SCHED_EV_TOKEN,
                                 .group = g,
                                 .choice = q->choice,
                                 .token = sampled->token,
                                 .index = q->n_out,
                                 .sampled =
                                     g->sampling.logprobs ? sampled : NULL});
    atomic_fetch_add_explicit(&m->sched->stats.generated_tokens, 1,
                              memory_order_relaxed);
    sched_queue_served(r, 1);
    sched_seq_count(q, sampled->token, 1);
    q->out[q->n_out++] = sampled->token;
    r->has_token = 1;

    if (batch_is_end(g, sampled->token)) {
        sched_seq_finish(q, SCHED_STOP);

    } else if (q->n_out == r->max_out) {
        sched_seq_finish(q, SCHED_LENGTH);

    } else if (d->from) {
        sched_seq_fork(q, d->from);
    }
}


/* Choices that found no room in the step in which they could have drawn. */

static void
batch_orphans(sched_req_t *r)
{
    uint32_t i;

    for (i = 0; r->n_live > 1 && i < r->n_choices; i++) {
        if (r->seqs[i].state == SCHED_SEQ_PENDING) {
            sched_seq_wait(&r->seqs[i]);
        }
    }
}


static int
batch_is_end(const sched_group_t *g, int32_t token)
{
    uint32_t i;

    for (i = 0; !g->sampling.ignore_eos && i < g->n_eog; i++) {
        if (g->eog[i] == token) {
            return 1;
        }
    }

    return 0;
}


/* The backend failed: groups of the batch end; the loop lives on. */

static void
batch_fail(sched_model_t *m, int rc)
{
    sched_seq_t *q;
    uint32_t     i;

    log_error("a step of %u rows failed: %s: %s; its sequences end",
              m->batch.n_rows, strerror(-rc),
              m->model->ops->describe(m->model->be));

    for (i = 0; i < m->batch.n_seqs; i++) {
        q = m->members[i];

        if (q->state == SCHED_SEQ_RUNNING) {
            sched_req_finish(q->req, SCHED_FAILED);
        }
    }
}


/* Prefill chunks double while steps are short and halve if one is long. */

static void
batch_pace(sched_model_t *m, uint64_t ns)
{
    uint32_t rows = m->prefill_rows;

    if (ns > SCHED_STEP_NS && rows > SCHED_CAP_MIN) {
        m->cap = rows / 2 > SCHED_CAP_MIN ? rows / 2 : SCHED_CAP_MIN;

    } else if (ns < SCHED_STEP_NS / 2 && rows >= m->cap) {
        m->cap = m->cap * 2 < m->max_rows ? m->cap * 2 : m->max_rows;
    }
}
