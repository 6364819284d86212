/*
 * What must hold between two steps.  For tests: it takes time and memory.
 */

#include <stdlib.h>
#include "engine/sched/sched_priv.h"

static const char *check_model(sched_model_t *m, uint32_t *refs,
                               uint32_t *order);
static const char *check_lists(const sched_pages_t *p, uint32_t *order);
static const char *check_pages(sched_pages_t *p, const uint32_t *refs,
                               const uint32_t *order);
static const char *check_seqs(const sched_model_t *m);
static const char *check_list(const sched_seqs_t *list,
                              sched_seq_state_t   state);
static const char *check_req(const sched_req_t *r);
static const char *check_seq(const sched_seq_t *q, uint32_t *refs);
static const char *check_tenants(const sched_model_t *m);


/* NULL, or what does not hold.  Only while no step runs. */

const char *
sched_check(sched_t *s)
{
    sched_model_t *m = s->models;
    sched_req_t   *r;
    const char    *bad = NULL;
    uint32_t      *refs, queued = 0, i;

    if (s->n_events || s->gone) {
        return "events were not delivered";
    }

    for (r = s->live; r; r = r->live_next) {
        queued += r->state == SCHED_REQ_QUEUED || r->state == SCHED_REQ_HELD;
    }

    if (queued > atomic_load(&s->waiting)) {
        return "more groups wait than were counted";
    }

    while (m && bad == NULL) {
        refs = calloc(2 * (size_t) m->pages.n, sizeof(uint32_t));
        if (refs == NULL) {
            return "no memory";
        }

        for (r = s->live; r && bad == NULL; r = r->live_next) {
            for (i = 0; r->model == m && i < r->n_choices && !bad; i++) {
                bad = check_seq(&r->seqs[i], refs);
            }

            bad = bad ? bad : check_req(r);
        }

        bad = bad ? bad : check_model(m, refs, refs + m->pages.n);
        free(refs);

        m = m->next;
        if (m == s->models) {
            break;
        }
    }

    return bad;
}


static const char *
check_model(sched_model_t *m, uint32_t *refs, uint32_t *order)
{
    const char *bad;

    bad = check_seqs(m);
    bad = bad ? bad : check_lists(&m->pages, order);
    bad = bad ? bad : check_pages(&m->pages, refs, order);

    return bad ? bad : check_tenants(m);
}


/* order: place in the list of unused cached pages, from 1 on. */

static const char *
check_lists(const sched_pages_t *p, uint32_t *order)
{
    uint32_t i, n = 0;

    for (i = p->free; i != SCHED_NONE; i = p->pages[i].next) {
        if (p->pages[i].state != SCHED_PAGE_FREE || ++n > p->n) {
            return "the free list is broken";
        }
    }

    if (n != p->n_free) {
        return "free pages are miscounted";
    }

    n = 0;

    for (i = p->lru_first; i != SCHED_NONE; i = p->pages[i].next) {
        if (p->pages[i].state != SCHED_PAGE_CACHED || p->pages[i].refs
            || ++n > p->n) {
            return "the list of unused pages is broken";
        }

        order[i] = n;
    }

    return n != p->n_lru ? "unused pages are miscounted" : NULL;
}


static const char *
check_pages(sched_pages_t *p, const uint32_t *refs, const uint32_t *order)
{
    sched_page_t *g;
    uint32_t      i, held = 0;

    for (i = 0; i < p->n; i++) {
        g = &p->pages[i];
        held += g->state != SCHED_PAGE_FREE && g->refs > 0;

        if (refs[i] != (g->state == SCHED_PAGE_FREE ? 0 : g->refs)) {
            return "a page's references are miscounted";
        }

        if (g->state == SCHED_PAGE_USED && g->refs != 1) {
            return "a page that is being filled is not one sequence's";
        }

        if (g->state != SCHED_PAGE_CACHED) {
            continue;
        }

        if ((g->refs == 0) != (order[i] > 0)) {
            return "a cached page is in the wrong list";
        }

        if (g->n == K_PAGE_TOKENS
            && sched_prefix_find(p, g->parent, g->salt, g->tokens) != i) {
            return "a cached page is not found";
        }

        if (g->parent == SCHED_NONE) {
            continue;
        }

        if (p->pages[g->parent].state != SCHED_PAGE_CACHED
            || p->pages[g->parent].n != K_PAGE_TOKENS
            || (p->pages[g->parent].refs == 0
                && (g->refs > 0 || order[g->parent] < order[i]))) {
            return "a page would go before what continues it";
        }
    }

    return held + p->n_free + p->n_lru != p->n ? "pages are lost" : NULL;
}


static const char *
check_seqs(const sched_model_t *m)
{
    const sched_seq_t *q;
    const char        *bad;
    uint32_t           i;

    if (m->n_run > m->max_seqs
        || atomic_load(&m->idle) != m->max_seqs - m->n_run) {
        return "running sequences are miscounted";
    }

    for (i = 0; i < m->n_run; i++) {
        q = m->run[i];

        if (q->state != SCHED_SEQ_RUNNING || q->req->paused
            || (i > 0 && m->run[i - 1]->req->age > q->req->age)) {
            return "the running table is broken";
        }
    }

    bad = check_list(&m->wait, SCHED_SEQ_WAITING);

    return bad ? bad : check_list(&m->paused, SCHED_SEQ_PAUSED);
}


static const char *
check_list(const sched_seqs_t *list, sched_seq_state_t state)
{
    const sched_seq_t *q;
    uint32_t           n = 0;

    for (q = list->first; q; q = q->next) {
        n++;

        if (q->state != state || (q->next == NULL) != (q == list->last)
            || (q->prev == NULL) != (q == list->first)
            || (q->prev && q->prev->req->age > q->req->age)) {
            return "a list of sequences is broken";
        }
    }

    return n != list->n ? "a list of sequences is miscounted" : NULL;
}


static const char *
check_req(const sched_req_t *r)
{
    uint32_t i, n[5] = {0};

    for (i = 0; i < r->n_choices; i++) {
        n[r->seqs[i].state]++;
    }

    if (r->n_live == 0 || n[SCHED_SEQ_DONE] != r->n_choices - r->n_live) {
        return "a group's choices are miscounted";
    }

    if (r->state != SCHED_REQ_ACTIVE) {
        return n[SCHED_SEQ_PENDING] != r->n_live ? "a choice began in a queue"
                                                 : NULL;
    }

    if (n[SCHED_SEQ_PENDING]
        && n[SCHED_SEQ_WAITING] + n[SCHED_SEQ_RUNNING] + n[SCHED_SEQ_PAUSED]
               != 1) {
        return "nobody computes the prompt for others";
    }

    return NULL;
}


static const char *
check_seq(const sched_seq_t *q, uint32_t *refs)
{
    const sched_pages_t *p = &q->req->model->pages;
    const sched_page_t  *g;
    uint32_t             i;

    if (q->state == SCHED_SEQ_DONE || q->state == SCHED_SEQ_PENDING) {
        return q->n_pages ? "who does not run has pages" : NULL;
    }

    if ((q->ahead || q->flying) && q->state != SCHED_SEQ_RUNNING) {
        return "steps are under way for who does not run";
    }

    if (q->computed >= sched_seq_known(q) + (q->job && q->job->probing)
        || q->computed > q->n_pages * K_PAGE_TOKENS) {
        return "more is computed than can be";
    }

    if (q->told > q->n_out || q->n_out > q->req->max_out || q->late
        || (sched_seq_unjudged(q) < sched_seq_known(q)
            && q->computed >= sched_seq_unjudged(q))) {
        return "a token is not told, and its row is computed";
    }

    if (q->job && q->reason && q->told == q->n_out
        && sched_seq_unjudged(q) == SCHED_NONE) {
        return "who has come to its end goes on";
    }

    for (i = 0; i < q->n_pages; i++) {
        g = &p->pages[q->pages[i]];
        refs[q->pages[i]]++;

        if ((i + 1) * K_PAGE_TOKENS > q->computed - q->ahead) {
            if (g->state != SCHED_PAGE_USED) {
                return "a page to be filled is cached";
            }

        } else if (g->state != SCHED_PAGE_CACHED
                   || g->parent != (i ? q->pages[i - 1] : SCHED_NONE)) {
            return "a full page is not cached";
        }
    }

    return NULL;
}


static const char *
check_tenants(const sched_model_t *m)
{
    const sched_tenant_t *t;
    const sched_req_t    *r;

    for (t = m->queued.first; t; t = t->next) {
        if (t->first == NULL || t->users == 0) {
            return "a tenant without work is in the queue";
        }

        for (r = t->first; r; r = r->next) {
            if (r->state != SCHED_REQ_QUEUED || r->tenant != t
                || (r->next && r->next->number < r->number)) {
                return "a tenant's queue is broken";
            }
        }
    }

    for (t = m->idle_tenants.first; t; t = t->next) {
        if (t->users) {
            return "a tenant with work is idle";
        }
    }

    return NULL;
}
