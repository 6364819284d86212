/*
 * What came of a step: the logprobs of tokens that were known, and new tokens.
 *
 * A sequence under a grammar draws with its mask.  In free text it draws
 * without one, and asks; where the answer is no, it draws once more from the
 * same logits, with the mask.  The answer to all draws of a step is awaited
 * for a bounded time only: one that comes later is seen to by gram.c.
 *
 * Threads: the step loop's.
 */

#include "engine/sched/sched_priv.h"

static int  draw_rows(sched_model_t *m);
static int  draw_again(sched_model_t *m);
static void draw_siblings(sched_model_t *m);
static void draw_probes(sched_model_t *m);
static int  draw_refused(sched_model_t *m);
static void draw_judged(sched_model_t *m, const sched_draw_t *d,
                        const k_sampled_t *sampled);
static void draw_prompt(sched_model_t *m, const sched_draw_t *d,
                        const k_sampled_t *sampled);
static void draw_token(sched_model_t *m, const sched_draw_t *d,
                       const k_sampled_t *sampled);
static void draw_probed(const sched_draw_t *d);
static void draw_orphans(sched_req_t *r);
static void draw_settle(sched_model_t *m);


/*
 * After the forward pass: waits for masks, a little.  Draws for which there is
 * none are left out, and their rows will be computed again.
 */

void
sched_draw_late(sched_model_t *m)
{
    sched_draw_t *d;
    uint32_t      i, n = 0, kept = 0;

    for (i = 0; i < m->n_draws; i++) {
        d = &m->draws[i];

        if (d->judged == 0 && d->seq->job) {
            m->waits[n++] = d->seq->job;
        }
    }

    if (n == 0) {
        return;
    }

    sched_masks_wait(m->sched, m->waits, n, 0);

    for (i = 0; i < m->n_draws; i++) {
        d = &m->draws[i];

        if (d->judged == 0 && !sched_gram_can_draw(d->seq)) {
            d->seq->late = 1;
            atomic_fetch_add_explicit(&m->sched->stats.masks_late, 1,
                                      memory_order_relaxed);
            continue;
        }

        m->draws[kept++] = *d;
    }

    m->n_draws = kept;
}


int
sched_draw(sched_model_t *m)
{
    uint32_t i, own = m->n_draws;
    int      rc;

    draw_siblings(m);

    for (i = 0; i < m->n_draws; i++) {
        sched_draw_sample(m, i);
    }

    rc = draw_rows(m);
    if (rc == 0) {
        rc = draw_again(m);
    }

    if (rc < 0) {
        return rc;
    }

    m->sched->now = sched_now(m->sched);

    for (i = 0; i < own; i++) {
        if (m->draws[i].judged) {
            draw_judged(m, &m->draws[i], &m->sampled[i]);
        }
    }

    draw_probes(m);

    rc = draw_refused(m);
    if (rc < 0) {
        return rc;
    }

    /* Siblings first: their leader may end by its token. */
    for (i = own; i < m->n_draws; i++) {
        draw_token(m, &m->draws[i], &m->sampled[i]);
    }

    for (i = 0; i < own; i++) {
        if (m->draws[i].judged == 0) {
            draw_token(m, &m->draws[i], &m->sampled[i]);
        }
    }

    draw_settle(m);

    return 0;
}


static int
draw_rows(sched_model_t *m)
{
    uint32_t i, n, limit = m->model->limits.logits;
    int      rc;

    for (i = 0; i < m->n_draws; i += n) {
        n = m->n_draws - i < limit ? m->n_draws - i : limit;

        rc = m->model->ops->sample(m->model->exec, n, m->samples + i,
                                   m->sampled + i);
        if (rc < 0) {
            return rc;
        }
    }

    return 0;
}


/* A bias may forbid all that a mask allows: the mask is the stronger. */

static int
draw_again(sched_model_t *m)
{
    uint32_t i;
    int      rc;

    for (i = 0; i < m->n_draws; i++) {
        if (m->sampled[i].token >= 0 || m->samples[i].mask == NULL
            || m->samples[i].n_bias == 0) {
            continue;
        }

        m->samples[i].n_bias = 0;
        rc = m->model->ops->sample(m->model->exec, 1, m->samples + i,
                                   m->sampled + i);
        if (rc < 0) {
            return rc;
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
draw_siblings(sched_model_t *m)
{
    sched_req_t *r;
    uint32_t     i, k, own = m->n_draws;
    sched_draw_t lead;

    for (i = 0; i < own; i++) {
        lead = m->draws[i];
        r = lead.seq->req;

        if (lead.judged || r->n_live == 1) {
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


/* What the backend is asked for draw i. */

void
sched_draw_sample(sched_model_t *m, uint32_t i)
{
    sched_draw_t           *d = &m->draws[i];
    sched_seq_t            *q = d->seq;
    const sched_job_t      *job = d->from ? d->from->job : q->job;
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
        .mask = job && !job->free ? job->mask : NULL,
        .seed = sp->seed,
        .position = sched_seq_known(q),
        .choice = q->choice,
        .logprob = sp->logprobs,
        .n_top = sp->n_top,
    };

    if (d->judged) {
        m->samples[i].scored = 1;
        sched_seq_tokens(q, d->judged, 1, &m->samples[i].score);
        m->samples[i].position = d->judged;
        m->samples[i].mask = NULL;
        m->samples[i].logprob = 1;
    }
}


/* What was drawn in free text: is it allowed?  Mask threads know. */

static void
draw_probes(sched_model_t *m)
{
    sched_draw_t *d;
    uint32_t      i, n = 0;

    for (i = 0; i < m->n_draws; i++) {
        d = &m->draws[i];

        if (d->judged || d->seq->job == NULL || m->samples[i].mask
            || m->sampled[i].token < 0) {
            continue;
        }

        sched_gram_probe(d->seq, &m->sampled[i]);
        m->waits[n++] = d->seq->job;
    }

    if (n) {
        sched_masks_wait(m->sched, m->waits, n, 1);
    }
}


/* Those that it refused draw once more, with their masks. */

static int
draw_refused(sched_model_t *m)
{
    sched_draw_t *d;
    uint32_t      i, n = 0;
    int           rc;

    for (i = 0; i < m->n_draws; i++) {
        d = &m->draws[i];

        if (d->judged == 0 && d->seq->job && d->seq->job->probing
            && sched_gram_answer(d->seq) < 0) {
            m->waits[n++] = d->seq->job;
        }
    }

    if (n == 0) {
        return 0;
    }

    sched_masks_wait(m->sched, m->waits, n, 0);

    for (i = 0; i < m->n_draws; i++) {
        d = &m->draws[i];

        if (d->judged || d->seq->job == NULL || !d->seq->job->probing
            || !sched_gram_refused(d->seq)) {
            continue;
        }

        m->samples[i].mask = d->seq->job->mask;
        rc = m->model->ops->sample(m->model->exec, 1, m->samples + i,
                                   m->sampled + i);
        if (rc < 0) {
            return rc;
        }
    }

    return draw_again(m);
}


/* A token of the output that was forced has its logprob, or the prompt's. */

static void
draw_judged(sched_model_t *m, const sched_draw_t *d, const k_sampled_t *sampled)
{
    sched_req_t *r = d->seq->req;
    uint32_t     i;

    if (d->judged < r->group->n_tokens) {
        draw_prompt(m, d, sampled);
        return;
    }

    /* For those, too, that share its beginning; itself last: it may end. */
    for (i = 0; i < r->n_choices; i++) {
        if (r->seqs[i].state == SCHED_SEQ_PENDING) {
            sched_seq_tell(&r->seqs[i], sampled);
            sched_seq_flush(&r->seqs[i]);
        }
    }

    sched_seq_tell(d->seq, sampled);
    sched_seq_flush(d->seq);
}


static void
draw_prompt(sched_model_t *m, const sched_draw_t *d, const k_sampled_t *sampled)
{
    sched_req_t *r = d->seq->req;
    uint32_t     i;

    sched_event(m->sched, &(sched_event_t){.kind = SCHED_EV_PROMPT,
                                           .group = r->group,
                                           .token = r->group->tokens[d->judged],
                                           .index = d->judged,
                                           .sampled = sampled});
    r->scored = d->judged + 1;

    if (r->scored < r->group->n_tokens) {
        return;
    }

    for (i = 0; i < r->n_choices; i++) {
        if (r->seqs[i].state == SCHED_SEQ_PENDING) {
            sched_seq_flush(&r->seqs[i]);
        }
    }

    sched_seq_flush(d->seq);
}


/* A choice has a new token: it may end by it, or begin with it. */

static void
draw_token(sched_model_t *m, const sched_draw_t *d, const k_sampled_t *sampled)
{
    sched_seq_t *q = d->seq;

    if (d->from == NULL) {
        draw_orphans(q->req);
    }

    if (q->job && q->job->probing) {
        draw_probed(d);
        return;
    }

    sched_draw_token(m, q, sampled);

    if (q->state == SCHED_SEQ_DONE) {
        return;
    }

    if (d->from) {
        sched_seq_fork(q, d->from);
    }

    if (q->job) {
        sched_gram_drawn(q);
    }
}


/* It is entered and told; it may be the end. */

void
sched_draw_token(sched_model_t *m, sched_seq_t *q, const k_sampled_t *sampled)
{
    if (sampled->token < 0
        || sampled->token >= (int32_t) m->model->prog.n_vocab) {
        log_error("no token can be drawn: logits are not finite, or all "
                  "tokens are forbidden");
        sched_seq_finish(q, SCHED_FAILED);
        return;
    }

    sched_seq_enter(q, sampled->token);
    sched_seq_tell(q, sampled);

    if (sched_seq_is_end(q, sampled->token)) {
        sched_seq_finish(q, SCHED_STOP);
        return;
    }

    if (q->n_out == q->req->max_out && q->job == NULL) {
        sched_seq_finish(q, SCHED_LENGTH);
    }
}


/* It was drawn in free text; perhaps nobody knows yet whether it may be. */

static void
draw_probed(const sched_draw_t *d)
{
    sched_seq_t *q = d->seq;

    if (sched_gram_answer(q) > 0) {
        if (d->from) {
            sched_seq_fork(q, d->from);
        }

        sched_gram_news(q);

    } else if (d->from) {
        sched_seq_wait(q);
    }
}


/* Choices that found no room in the step in which they could have drawn. */

static void
draw_orphans(sched_req_t *r)
{
    uint32_t i;

    for (i = 0; r->n_live > 1 && i < r->n_choices; i++) {
        if (r->seqs[i].state == SCHED_SEQ_PENDING) {
            sched_seq_wait(&r->seqs[i]);
        }
    }
}


/*
 * What may follow the new tokens is wanted before the next step is built: the
 * end, or tokens that are forced.
 */

static void
draw_settle(sched_model_t *m)
{
    uint32_t i, n = 0;

    for (i = 0; i < m->n_run; i++) {
        if (m->run[i]->job) {
            m->waits[n++] = m->run[i]->job;
        }
    }

    if (n) {
        sched_masks_wait(m->sched, m->waits, n, 1);
        sched_gram_settle(m->sched);
    }
}
