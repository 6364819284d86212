/*
 * Sequences under a grammar: the step loop's side.  What a mask thread found
 * is looked at in one place, sched_gram_settle(), which enters forced tokens
 * and ends what has come to its end; a step's draws ask for no more than
 * whether there is a mask.
 *
 * Choices that share their leader's prompt do nothing of their own until they
 * have drawn: what is forced at the beginning is entered for all of them, and
 * they draw with the leader's mask.  Their own state follows with their first
 * job, as any state can be made again of the tokens.
 *
 * Threads: the step loop's; _new() and _free() are submitters'.
 */

#include <errno.h>
#include "engine/sched/sched_priv.h"

static void gram_post(sched_seq_t *q);
static void gram_unlist(sched_job_t *job);
static void gram_fail(sched_seq_t *q, int rc);
static void gram_late(sched_seq_t *q);
static void gram_forced(sched_seq_t *q, const sched_job_t *job, int reason);
static int  gram_stage(const sched_seq_t *q);


/* On the submitter's thread: a state for each choice. */

int
sched_gram_new(sched_req_t *r)
{
    uint32_t i;
    int      rc;

    grammar_hold(r->grammar);

    for (i = 0; i < r->n_choices; i++) {
        r->jobs[i].seq = &r->seqs[i];
        r->jobs[i].grammar = r->grammar;
        r->seqs[i].job = &r->jobs[i];

        rc = grammar_state_new(r->grammar, &r->jobs[i].state);
        if (rc < 0) {
            return rc;
        }
    }

    return 0;
}


void
sched_gram_free(sched_req_t *r)
{
    uint32_t i;

    if (r->grammar == NULL) {
        return;
    }

    for (i = 0; i < r->n_choices; i++) {
        if (r->jobs[i].state) {
            grammar_state_free(r->jobs[i].state);
        }
    }

    grammar_release(r->grammar);
}


/* Whether a mask thread works in its memory: it must stay then. */

int
sched_gram_busy(sched_req_t *r)
{
    uint32_t i;
    int      busy = 0;

    if (r->grammar == NULL) {
        return 0;
    }

    pthread_mutex_lock(&r->model->sched->masks.lock);

    for (i = 0; i < r->n_choices; i++) {
        busy |= gram_stage(&r->seqs[i]) != SCHED_JOB_IDLE
                && gram_stage(&r->seqs[i]) != SCHED_JOB_READY;
    }

    pthread_mutex_unlock(&r->model->sched->masks.lock);

    return busy;
}


static int
gram_stage(const sched_seq_t *q)
{
    return atomic_load_explicit(&q->job->stage, memory_order_acquire);
}


/* It has no row to compute until its job is done. */

int
sched_gram_held(const sched_seq_t *q)
{
    return q->job
           && (q->job->probing || (q->n_out == q->req->max_out && !q->reason));
}


/*
 * There is a mask, or it needs none; and nothing is known that would change
 * what there is to draw.
 */

int
sched_gram_can_draw(const sched_seq_t *q)
{
    const sched_job_t *job = q->job;
    int                stage;

    if (job == NULL) {
        return 1;
    }

    stage = gram_stage(q);

    if (stage != SCHED_JOB_READY && stage != SCHED_JOB_IDLE) {
        return 0;
    }

    if (job->news && (job->rc < 0 || job->ended || job->n_forced)) {
        return 0;
    }

    return job->free || stage == SCHED_JOB_READY;
}


/*
 * Whoever runs and has neither a mask nor a job gets one: those that begin,
 * mostly.  What is forced at the beginning is computed with the prompt.
 */

void
sched_gram_want(sched_model_t *m)
{
    sched_seq_t *q;
    uint32_t     i, n = 0;

    for (i = 0; i < m->n_run; i++) {
        q = m->run[i];

        if (q->job && gram_stage(q) == SCHED_JOB_IDLE && !q->job->news
            && !q->job->free && q->job->mask_rc == 0 && !q->reason) {
            gram_post(q);
            m->waits[n++] = q->job;
        }
    }

    if (n) {
        sched_masks_wait(m->sched, m->waits, n, 1);
        sched_gram_settle(m->sched);
    }
}


static void
gram_post(sched_seq_t *q)
{
    sched_t     *s = q->req->model->sched;
    sched_job_t *job = q->job;

    job->n = q->n_out;
    job->room = q->req->max_out - q->n_out - (job->probing ? 1 : 0);
    job->mask_rc = 0;
    job->news = 1;

    if (!job->listed) {
        job->listed = 1;
        job->list_prev = NULL;
        job->list_next = s->jobs;

        if (s->jobs) {
            s->jobs->list_prev = job;
        }

        s->jobs = job;
    }

    sched_mask_post(job);
}


static void
gram_unlist(sched_job_t *job)
{
    if (!job->listed) {
        return;
    }

    job->listed = 0;

    if (job->list_prev) {
        job->list_prev->list_next = job->list_next;
    } else {
        job->seq->req->model->sched->jobs = job->list_next;
    }

    if (job->list_next) {
        job->list_next->list_prev = job->list_prev;
    }
}


/* In free text a token was drawn: may it be?  The answer comes by the job. */

void
sched_gram_probe(sched_seq_t *q, const k_sampled_t *sampled)
{
    q->job->probing = 1;
    q->job->probe = sampled->token;
    q->job->turn ^= 1;
    q->job->sampled[q->job->turn] = *sampled;
    gram_post(q);
}


/* 1: it may, or the grammar failed; -1: it may not; 0: not known yet. */

int
sched_gram_answer(const sched_seq_t *q)
{
    switch (gram_stage(q)) {

    case SCHED_JOB_ACCEPT:
    case SCHED_JOB_ACCEPT_BUSY:
        return 0;

    default:
        return q->job->refused ? -1 : 1;
    }
}


/* The answer was no: 1: the mask is there to draw again; 0: not yet. */

int
sched_gram_refused(sched_seq_t *q)
{
    if (sched_gram_answer(q) >= 0 || gram_stage(q) != SCHED_JOB_READY) {
        return 0;
    }

    q->job->probing = 0;
    q->job->news = 0;
    gram_unlist(q->job);
    atomic_fetch_add_explicit(&q->req->model->sched->stats.redrawn, 1,
                              memory_order_relaxed);

    return 1;
}


/* It has a new token, which its mask (or its leader's) allowed. */

void
sched_gram_drawn(sched_seq_t *q)
{
    atomic_store_explicit(&q->job->stage, SCHED_JOB_IDLE, memory_order_relaxed);
    gram_post(q);
}


/* The choice is done: nobody wants its mask. */

void
sched_gram_drop(sched_seq_t *q)
{
    gram_unlist(q->job);
    sched_mask_drop(q->job);
    q->job->news = 0;
}


/* Looks at what jobs have found: any time but between a batch and its draws. */

void
sched_gram_settle(sched_t *s)
{
    sched_job_t *job, *next;
    int          stage;

    for (job = s->jobs; job; job = next) {
        next = job->list_next;
        stage = atomic_load_explicit(&job->stage, memory_order_acquire);

        if (stage == SCHED_JOB_ACCEPT || stage == SCHED_JOB_ACCEPT_BUSY) {
            continue;
        }

        if (job->news) {
            sched_gram_news(job->seq);
        }

        if (stage == SCHED_JOB_MASK || stage == SCHED_JOB_MASK_BUSY) {
            continue;
        }

        if (job->mask_rc < 0 && job->seq->state != SCHED_SEQ_DONE) {
            gram_fail(job->seq, job->mask_rc);
        }

        gram_unlist(job);
    }
}


/* What the first stage of its job has found. */

void
sched_gram_news(sched_seq_t *q)
{
    sched_job_t *job = q->job;
    int          reason = 0;

    job->news = 0;

    if (job->rc < 0) {
        gram_fail(q, job->rc);
        return;
    }

    if (job->probing) {
        job->probing = 0;

        if (job->refused) {
            gram_late(q);
            return;
        }

        sched_seq_enter(q, job->probe);
        sched_seq_tell(q, &job->sampled[job->turn]);

        if (sched_seq_is_end(q, job->probe)) {
            sched_seq_finish(q, SCHED_STOP);
            return;
        }
    }

    if (job->ended) {
        reason = SCHED_STOP;

    } else if (q->n_out + job->n_forced == q->req->max_out
               && job->n_forced < SCHED_FORCED_MAX) {
        reason = SCHED_LENGTH;
    }

    if (job->n_forced || reason) {
        gram_forced(q, job, reason);
    }
}


static void
gram_fail(sched_seq_t *q, int rc)
{
    log_error("a sequence fails after %u tokens: its grammar %s", q->n_out,
              rc == -EINVAL  ? "refused a token of its mask"
              : rc == -E2BIG ? "needs more memory or work than it may"
              : rc == -ETIME ? "took too long"
                             : strerror(-rc));
    sched_seq_finish(q, SCHED_GRAMMAR);
}


/*
 * The answer came after its step, and it is no: the logits are gone, so that
 * the last row is computed again, with pages from the cache.
 */

static void
gram_late(sched_seq_t *q)
{
    atomic_fetch_add_explicit(&q->req->model->sched->stats.redrawn, 1,
                              memory_order_relaxed);

    if (q->computed < sched_seq_known(q)) {
        return;
    }

    sched_seq_release(q, 1);

    if (q->state == SCHED_SEQ_RUNNING) {
        sched_seq_wait(q);
    }
}


/* For those, too, that share its prompt and have drawn nothing yet. */

static void
gram_forced(sched_seq_t *q, const sched_job_t *job, int reason)
{
    sched_req_t *r = q->req;
    sched_seq_t *c;
    uint32_t     i, k, first = q->n_out;

    /* Itself last: with its end its job may be somebody else's. */
    for (i = 0; i <= r->n_choices; i++) {
        c = i < r->n_choices ? &r->seqs[i] : q;

        if (i < r->n_choices
            && (c->state != SCHED_SEQ_PENDING || c == q || c->n_out != first)) {
            continue;
        }

        for (k = 0; k < job->n_forced; k++) {
            sched_seq_enter(c, job->forced[k]);
        }

        atomic_fetch_add_explicit(&r->model->sched->stats.forced, job->n_forced,
                                  memory_order_relaxed);
        c->job->budgeted = job->budgeted;
        c->reason = reason;
        sched_seq_flush(c);
    }
}
