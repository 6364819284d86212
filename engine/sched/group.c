/*
 * A group in the scheduler: its memory, which its submitter allocates in one
 * piece, and its end, which comes exactly once.
 */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include "engine/sched/sched_priv.h"

static uint32_t group_bias(const sched_group_t *g, k_bias_t *bias);
static int      group_is_eog(const sched_group_t *g, int32_t token);
static void     group_counts(sched_req_t *r);
static void     group_bury(sched_req_t *r);


/*
 * On the submitter's thread: everything that the group will ever need, sized
 * for its longest output.  What is not used is never touched, so the system
 * gives no memory for it.
 */

int
sched_req_new(sched_model_t *m, sched_group_t *group, sched_req_t **req)
{
    const sched_sampling_t *sp = &group->sampling;

    sched_req_t *r;
    sched_seq_t *q;
    char        *p;
    size_t       head, bias, jobs, think, mask, out, pages, counts, index;
    uint64_t     room, distinct;
    uint32_t     i, n = group->n_choices, entries;
    int          rc;

    room = (uint64_t) m->model->n_pages * K_PAGE_TOKENS;
    room = room < m->model->context ? room : m->model->context;
    room -= group->n_tokens;
    room = room < group->max_tokens ? room : group->max_tokens;

    entries = 0;
    distinct = 0;

    if (sp->repetition != 1 || sp->frequency != 0 || sp->presence != 0) {
        distinct = room + (sp->repetition != 1 ? group->n_tokens : 0);
        if (distinct > m->model->prog.n_vocab) {
            distinct = m->model->prog.n_vocab;
        }

        for (entries = 16; entries < 2 * distinct; entries *= 2) {
            /* void */
        }
    }

    jobs = group->grammar ? n * sizeof(sched_job_t) : 0;
    mask = group->grammar ? (m->model->prog.n_vocab + 31) / 32 * 4ull : 0;
    think = group->grammar ? group->n_think_end * sizeof(int32_t) : 0;

    head = sizeof(sched_req_t) + n * sizeof(sched_seq_t);
    bias = ((size_t) sp->n_bias + (sp->ignore_eos ? group->n_eog : 0))
           * sizeof(k_bias_t);
    out = room * sizeof(int32_t);
    pages = (room + group->n_tokens + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS
            * sizeof(uint32_t);
    counts = distinct * sizeof(k_count_t);
    index = entries * sizeof(uint32_t);

    r = calloc(1, head + bias + jobs + think
                      + n * (counts + out + pages + index + mask));
    if (r == NULL) {
        return -ENOMEM;
    }

    r->group = group;
    r->model = m;
    r->n_choices = n;
    r->n_live = n;
    r->max_out = (uint32_t) room;
    r->index_mask = entries ? entries - 1 : 0;

    p = (char *) r + head;

    if (group->grammar) {
        r->grammar = group->grammar;
        r->jobs = (sched_job_t *) p;
        p += jobs;
        r->think_budget = group->think_budget;
        r->n_think_end = group->n_think_end;
        r->think_end = (int32_t *) p;

        if (think) {
            memcpy(p, group->think_end, think);
            p += think;
        }
    }

    r->bias = (k_bias_t *) p;
    r->n_bias = group_bias(group, (k_bias_t *) p);
    p += bias;

    for (i = 0; i < n; i++) {
        q = &r->seqs[i];
        q->req = r;
        q->choice = i;
        q->out = (int32_t *) p;
        q->pages = (uint32_t *) (p + out);
        p += out + pages;

        if (entries) {
            q->counts = (k_count_t *) p;
            q->index = (uint32_t *) (p + counts);
            p += counts + index;
        }

        if (r->grammar) {
            r->jobs[i].mask = (uint32_t *) p;
            p += mask;
        }
    }

    if (r->grammar) {
        rc = sched_gram_new(r);
        if (rc < 0) {
            sched_req_free(r);
            return rc;
        }
    }

    if (sp->repetition != 1) {
        group_counts(r);
    }

    *req = r;

    return 0;
}


/* It was never the loop's, or the loop is done with it. */

void
sched_req_free(sched_req_t *r)
{
    sched_gram_free(r);
    free(r);
}


/* The caller's bias, and with ignore_eos: no token that ends the output. */

static uint32_t
group_bias(const sched_group_t *g, k_bias_t *bias)
{
    const sched_sampling_t *sp = &g->sampling;
    uint32_t                i, n = 0;

    for (i = 0; i < sp->n_bias; i++) {
        if (!sp->ignore_eos || !group_is_eog(g, sp->bias[i].token)) {
            bias[n++] = sp->bias[i];
        }
    }

    for (i = 0; sp->ignore_eos && i < g->n_eog; i++) {
        bias[n++] = (k_bias_t){g->eog[i], -INFINITY};
    }

    return n;
}


static int
group_is_eog(const sched_group_t *g, int32_t token)
{
    uint32_t i;

    for (i = 0; i < g->n_eog; i++) {
        if (g->eog[i] == token) {
            return 1;
        }
    }

    return 0;
}


/* The prompt's tokens count for repetition: the same for all choices. */

static void
group_counts(sched_req_t *r)
{
    sched_seq_t *q = &r->seqs[0];
    uint32_t     i;

    for (i = 0; i < r->group->n_tokens; i++) {
        sched_seq_count(q, r->group->tokens[i], 0);
    }

    for (i = 1; i < r->n_choices; i++) {
        r->seqs[i].n_counts = q->n_counts;
        memcpy(r->seqs[i].counts, q->counts, q->n_counts * sizeof(k_count_t));
        memcpy(r->seqs[i].index, q->index,
               ((size_t) r->index_mask + 1) * sizeof(uint32_t));
    }
}


void
sched_req_finish(sched_req_t *r, int reason)
{
    uint32_t i;

    for (i = 0; i < r->n_choices; i++) {
        if (r->seqs[i].state != SCHED_SEQ_DONE) {
            sched_seq_finish(&r->seqs[i], reason);
        }
    }
}


void
sched_req_pause(sched_req_t *r, int pause)
{
    uint32_t i;

    if (r->paused == pause) {
        return;
    }

    r->paused = pause;
    sched_queue_hold(r, pause);

    for (i = 0; i < r->n_choices; i++) {
        switch (r->seqs[i].state) {

        case SCHED_SEQ_RUNNING:
        case SCHED_SEQ_WAITING:
            sched_seq_pause(&r->seqs[i]);
            break;

        case SCHED_SEQ_PAUSED:
            sched_seq_wait(&r->seqs[i]);
            break;

        default:
            break;
        }
    }
}


/* All choices are done.  Its memory lives to the end of the step. */

void
sched_req_gone(sched_req_t *r)
{
    sched_t      *s = r->model->sched;
    sched_slot_t *slot = r->slot;
    uint64_t      gen;
    uint32_t      i;

    if (r->state == SCHED_REQ_QUEUED || r->state == SCHED_REQ_HELD) {
        sched_queue_drop(r);
    }

    sched_queue_release(r);
    r->state = SCHED_REQ_GONE;

    if (r->live_prev) {
        r->live_prev->live_next = r->live_next;
    } else {
        s->live = r->live_next;
    }

    if (r->live_next) {
        r->live_next->live_prev = r->live_prev;
    } else {
        s->live_last = r->live_prev;
    }

    /* From now on late calls do nothing. */
    slot->req = NULL;
    gen = (uint32_t) ((atomic_load(&slot->words[0]) >> 32) + 1);

    for (i = 0; i < SCHED_WORDS; i++) {
        atomic_store(&slot->words[i], gen << 32);
    }

    sched_event(s, &(sched_event_t){.kind = SCHED_EV_GONE, .group = r->group});
    r->group = NULL;
    r->gone_next = s->gone;
    s->gone = r;
}


void
sched_event(sched_t *s, const sched_event_t *ev)
{
    if (s->n_events == s->max_events) {
        sched_events_send(s);
    }

    s->events[s->n_events] = *ev;
    s->events[s->n_events++].now_ns = s->now;
}


void
sched_events_send(sched_t *s)
{
    uint32_t n = s->n_events;

    if (n) {
        s->n_events = 0;
        s->config.events(s->config.data, s->events, n);
    }
}


/*
 * After the events of a step: what is gone may be freed, by others; but not
 * while a mask thread works in it, or a step under way knows it.
 */

void
sched_gone_release(sched_t *s)
{
    sched_req_t *r, **link;

    while (s->gone) {
        r = s->gone;
        s->gone = r->gone_next;
        r->gone_next = s->lingering;
        s->lingering = r;
    }

    for (link = &s->lingering; (r = *link) != NULL; /* void */) {
        if (sched_gram_busy(r) || r->flights) {
            link = &r->gone_next;
            continue;
        }

        *link = r->gone_next;
        group_bury(r);
    }
}


static void
group_bury(sched_req_t *r)
{
    sched_model_t *m = r->model;
    sched_slot_t  *slot = r->slot, *back;
    sched_t       *s = m->sched;
    sched_req_t   *head;

    head = atomic_load(&s->dead);
    do {
        r->gone_next = head;
    } while (!atomic_compare_exchange_weak(&s->dead, &head, r));

    back = atomic_load(&s->slots_back);
    do {
        slot->next = back;
    } while (!atomic_compare_exchange_weak(&s->slots_back, &back, slot));

    atomic_fetch_sub(&m->users, 1);
}


/* Frees what the loop is done with: any thread, with the lock. */

void
sched_bury(sched_t *s)
{
    sched_req_t   *r, *next;
    sched_slot_t  *slot, *back;
    sched_model_t *m, *other;

    if (atomic_load(&s->dead)) {
        for (r = atomic_exchange(&s->dead, NULL); r; r = next) {
            next = r->gone_next;
            sched_req_free(r);
        }
    }

    if (atomic_load(&s->slots_back)) {
        for (slot = atomic_exchange(&s->slots_back, NULL); slot; slot = back) {
            back = slot->next;
            slot->next = s->slots_free;
            s->slots_free = slot;
        }
    }

    if (atomic_load(&s->dead_models)) {
        for (m = atomic_exchange(&s->dead_models, NULL); m; m = other) {
            other = m->dead_next;
            sched_model_free(m);
        }
    }
}
