/*
 * Steps ahead, for backends that compute beside the CPU: while a step is under
 * way the next one is built and handed over, so that the device never waits
 * for us.  What its rows need of the step before are tokens that nobody knows
 * yet: the backend puts them in (K_TOKEN_OF).
 *
 * A step is launched as if every sequence of the one before went on.  Whoever
 * has ended by its token, or was stopped meanwhile, has computed one row in
 * vain; its page may be somebody else's by then, whose rows come later in the
 * device's order, so no harm is done.
 *
 * Only plain sequences do that.  If one that runs has a grammar or penalties
 * (which depend on the token), shares its prompt with choices that wait for
 * it, or wants logprobs of known tokens, then the steps of its model are taken
 * one at a time.  Tokens are the same either way: draws are counted by
 * position.
 *
 * Threads: the step loop's.
 */

#include <errno.h>
#include "engine/sched/sched_priv.h"

static int  ahead_plain(const sched_seq_t *q);
static int  ahead_launch(sched_model_t *m, int *rc);
static void ahead_board(sched_model_t *m, sched_flight_t *f);
static int  ahead_land(sched_model_t *m);
static void ahead_settle(sched_flight_t *f);
static void ahead_tell(sched_model_t *m, const sched_flight_t *f);
static void ahead_lost(sched_model_t *m, const sched_flight_t *f, int rc);


/* 1: all that run may take their next step ahead. */

int
sched_ahead_could(const sched_model_t *m)
{
    uint32_t i;

    if (m->model->ops->ahead_submit == NULL) {
        return 0;
    }

    for (i = 0; i < m->n_run; i++) {
        if (!ahead_plain(m->run[i])) {
            return 0;
        }
    }

    return m->n_run > 0;
}


static int
ahead_plain(const sched_seq_t *q)
{
    const sched_req_t *r = q->req;
    uint32_t           i;

    if (q->job || q->counts || q->reason
        || sched_seq_unjudged(q) != SCHED_NONE) {
        return 0;
    }

    for (i = 0; r->n_live > 1 && i < r->n_choices; i++) {
        if (r->seqs[i].state == SCHED_SEQ_PENDING) {
            return 0;
        }
    }

    return 1;
}


/*
 * Launches a step if it could; then, unless this was the first of a row of
 * them, waits for the oldest and tells what came of it.
 */

int
sched_ahead_run(sched_model_t *m, int could)
{
    int rc = 0, first = m->n_flights == 0, launched;

    launched = could && ahead_launch(m, &rc);

    if (m->n_flights && !(first && launched)) {
        int landed = ahead_land(m);

        rc = rc < 0 ? rc : landed;
    }

    return rc;
}


/* At the end: nothing is under way any more. */

void
sched_ahead_drain(sched_model_t *m)
{
    while (m->n_flights) {
        (void) ahead_land(m);
    }
}


/* 1: a step more is under way. */

static int
ahead_launch(sched_model_t *m, int *rc)
{
    sched_flight_t *f = &m->flights[(m->flight + m->n_flights) % 2];
    uint32_t        i;

    sched_batch_build(m);

    if (m->batch.n_rows == 0) {
        return 0;
    }

    for (i = 0; i < m->n_draws; i++) {
        sched_draw_sample(m, i);
    }

    f->start = sched_now(m->sched);
    ahead_board(m, f);

    *rc = m->model->ops->ahead_submit(m->model->exec, &m->batch, m->n_draws,
                                      m->samples);
    if (*rc < 0) {
        ahead_settle(f);
        ahead_lost(m, f, *rc);
        return 0;
    }

    m->n_flights++;

    return 1;
}


/* From now on its rows are computed and its tokens known, to all others. */

static void
ahead_board(sched_model_t *m, sched_flight_t *f)
{
    sched_rider_t *rider;
    sched_seq_t   *q;
    uint32_t       i, draw = 0;

    f->n = m->batch.n_seqs;
    f->n_draws = m->n_draws;
    f->n_rows = m->batch.n_rows;
    f->prefill_rows = m->prefill_rows;

    for (i = 0; i < f->n; i++) {
        q = m->members[i];
        rider = &f->riders[i];

        *rider = (sched_rider_t){
            .seq = q,
            .ticket = q->ticket,
            .from = q->computed,
            .to = q->computed + q->rows,
            .draws = draw < m->n_draws && m->draws[draw].seq == q,
        };

        q->computed += q->rows;
        q->ahead += q->rows;
        q->req->flights++;

        if (rider->draws) {
            q->flying++;
            q->draw = draw++;
        }
    }
}


/* Waits for the oldest step.  0, or -errno: then its sequences failed. */

static int
ahead_land(sched_model_t *m)
{
    sched_t        *s = m->sched;
    sched_flight_t *f = &m->flights[m->flight];
    uint64_t        start;
    int             rc;

    m->flight = (m->flight + 1) % 2;
    m->n_flights--;

    rc = m->model->ops->ahead_collect(m->model->exec, f->n_draws, m->sampled);

    s->now = sched_now(s);
    start = f->start > m->landed ? f->start : m->landed;
    m->landed = s->now;

    ahead_settle(f);

    if (rc < 0) {
        ahead_lost(m, f, rc);
    } else {
        ahead_tell(m, f);
        m->prefill_rows = f->prefill_rows;
        sched_batch_pace(m, s->now - start);
    }

    sched_batch_count(s, f->n_rows, s->now - start);

    return rc;
}


/* What was under way is so no more; whole pages enter the prefix cache. */

static void
ahead_settle(sched_flight_t *f)
{
    sched_rider_t *rider;
    sched_seq_t   *q;

    for (rider = f->riders; rider < f->riders + f->n; rider++) {
        q = rider->seq;
        q->req->flights--;

        if (q->ticket == rider->ticket) {
            q->ahead -= rider->to - rider->from;
            q->flying -= (uint32_t) rider->draws;
        }
    }
}


static void
ahead_tell(sched_model_t *m, const sched_flight_t *f)
{
    const sched_rider_t *rider;
    uint32_t             draw = 0;

    for (rider = f->riders; rider < f->riders + f->n; rider++) {
        if (rider->seq->ticket == rider->ticket) {
            sched_seq_cache(rider->seq, rider->from, rider->to);
        }
    }

    for (rider = f->riders; rider < f->riders + f->n; rider++) {
        if (!rider->draws) {
            continue;
        }

        if (rider->seq->ticket == rider->ticket) {
            sched_draw_token(m, rider->seq, &m->sampled[draw]);
        }

        draw++;
    }
}


/* The backend failed: groups of the step end; the loop lives on. */

static void
ahead_lost(sched_model_t *m, const sched_flight_t *f, int rc)
{
    const sched_rider_t *rider;

    sched_batch_failed(m, f->n_rows, rc);

    for (rider = f->riders; rider < f->riders + f->n; rider++) {
        if (rider->seq->ticket == rider->ticket
            && rider->seq->state == SCHED_SEQ_RUNNING) {
            sched_req_finish(rider->seq->req, SCHED_FAILED);
        }
    }
}
