/*
 * Sequences: their states, and the pages that they hold.
 *
 * Age decides: groups by admission, choices of a group by number.  Pages that
 * are neither free nor cached are taken first from those that do not run (the
 * youngest paused one, then waiting ones younger than who asks), then, for a
 * running sequence only, from the youngest running one if it is younger.  So
 * the oldest that runs is never preempted, and it can always end: submission
 * bounds what a sequence may need to the whole pool.
 *
 * Who loses its pages leaves its tokens in the prefix cache; if nobody needs
 * the pages meanwhile, recomputing costs nothing.
 *
 * Threads: the step loop's.
 */

#include "engine/sched/sched_priv.h"

static int      seq_before(const sched_seq_t *a, const sched_seq_t *b);
static uint32_t seq_pages(uint32_t tokens);
static void     seq_match(sched_seq_t *q, uint32_t limit);
static uint32_t seq_match_part(sched_seq_t *q, uint32_t limit, uint32_t need,
                               uint32_t *len);
static void     seq_ground(sched_seq_t *q);
static int      seq_evict(sched_seq_t *q);
static int      seq_preempt(sched_seq_t *q);
static void     seq_run(sched_seq_t *q);
static void     seq_run_remove(sched_seq_t *q);
static void     seqs_insert(sched_seqs_t *list, sched_seq_t *q);
static void     seqs_remove(sched_seqs_t *list, sched_seq_t *q);


/* Tokens known: prompt and output, and those under way. */

uint32_t
sched_seq_known(const sched_seq_t *q)
{
    return q->req->group->n_tokens + q->n_out + q->flying;
}


/*
 * The first token known, of prompt or output, whose logprob is wanted and not
 * yet told, so that the row before it is to be computed; or SCHED_NONE.
 */

uint32_t
sched_seq_unjudged(const sched_seq_t *q)
{
    const sched_group_t *g = q->req->group;

    if (g->prompt_logprobs && q->req->scored < g->n_tokens) {
        return q->req->scored;
    }

    if (g->sampling.logprobs && q->told < q->n_out) {
        return g->n_tokens + q->told;
    }

    return SCHED_NONE;
}


void
sched_seq_tokens(const sched_seq_t *q, uint32_t from, uint32_t n,
                 int32_t *tokens)
{
    const sched_group_t *g = q->req->group;
    uint32_t             part = 0;

    if (from < g->n_tokens) {
        part = g->n_tokens - from;
        part = part < n ? part : n;
        memcpy(tokens, g->tokens + from, part * sizeof(int32_t));
    }

    if (part < n) {
        memcpy(tokens + part, q->out + (from + part - g->n_tokens),
               (n - part) * sizeof(int32_t));
    }
}


/*
 * Gives a sequence that waits (or whose group does) its pages, cached ones
 * first, and lets it run.  0: there are not enough now; nothing changed.
 * Without a reserve for those that run it would be preempted soon.
 */

int
sched_seq_admit(sched_seq_t *q)
{
    sched_req_t   *r = q->req;
    sched_model_t *m = r->model;
    uint32_t       limit, judged, need, fresh, part, len = 0;

    limit = sched_seq_known(q) - 1;
    judged = sched_seq_unjudged(q);

    if (judged != SCHED_NONE) {
        /* Rows whose logits are still wanted are to be computed. */
        limit = judged ? judged - 1 : 0;
    }

    fresh = q->n_pages == 0;

    if (fresh) {
        seq_match(q, limit);
    }

    need = seq_pages(sched_seq_known(q)) - q->n_pages;

    while (m->pages.n_free + m->pages.n_lru < need + m->n_run) {
        if (!seq_evict(q)) {
            if (fresh) {
                sched_seq_release(q, 0);
            }

            return 0;
        }
    }

    part = fresh && limit > q->computed ? seq_match_part(q, limit, need, &len)
                                        : SCHED_NONE;

    while (need-- > 0) {
        q->pages[q->n_pages++] = sched_page_take(&m->pages);
    }

    if (part != SCHED_NONE) {
        m->model->ops->kv_copy(m->model->be, m->model->kv,
                               q->pages[q->computed / K_PAGE_TOKENS], part,
                               len);
        q->computed += len;
        sched_page_drop(&m->pages, part);
    }

    sched_seq_leave(q);
    seq_run(q);

    return 1;
}


/* Whole pages that the cache holds of the first `limit` tokens. */

static void
seq_match(sched_seq_t *q, uint32_t limit)
{
    sched_pages_t *p = &q->req->model->pages;
    int32_t        tokens[K_PAGE_TOKENS];
    uint32_t       page, parent = SCHED_NONE;

    while (q->computed + K_PAGE_TOKENS <= limit) {
        sched_seq_tokens(q, q->computed, K_PAGE_TOKENS, tokens);

        page = sched_prefix_find(p, parent, q->req->group->salt, tokens);
        if (page == SCHED_NONE) {
            return;
        }

        sched_page_hold(p, page);
        q->pages[q->n_pages++] = page;
        q->computed += K_PAGE_TOKENS;
        parent = page;
    }
}


/*
 * The page that shares most with the first one to be computed, *len tokens;
 * held, so that it is not among the `need` pages that are taken next.
 */

static uint32_t
seq_match_part(sched_seq_t *q, uint32_t limit, uint32_t need, uint32_t *len)
{
    sched_pages_t *p = &q->req->model->pages;
    int32_t        tokens[K_PAGE_TOKENS];
    uint32_t       n, page, at = q->computed / K_PAGE_TOKENS;

    n = limit - q->computed;
    n = n < K_PAGE_TOKENS ? n : K_PAGE_TOKENS;
    sched_seq_tokens(q, q->computed, n, tokens);

    page = sched_prefix_part(p, at ? q->pages[at - 1] : SCHED_NONE,
                             q->req->group->salt, tokens, n, len);
    if (page == SCHED_NONE) {
        return page;
    }

    sched_page_hold(p, page);

    if (p->n_free + p->n_lru < need) {
        sched_page_drop(p, page);
        return SCHED_NONE;
    }

    return page;
}


/*
 * A running sequence gets the pages that the rows of what is known go to.  0:
 * others need all of them more.
 */

int
sched_seq_grow(sched_seq_t *q)
{
    sched_model_t *m = q->req->model;
    uint32_t       page;

    while (q->n_pages < seq_pages(sched_seq_known(q))) {
        page = sched_page_take(&m->pages);

        if (page != SCHED_NONE) {
            q->pages[q->n_pages++] = page;

        } else if (!seq_evict(q) && !seq_preempt(q)) {
            return 0;
        }
    }

    return 1;
}


/*
 * A choice goes on from the prompt that `from` has computed: whole pages are
 * shared, the last one is copied.  Without a place or a page it waits.
 */

void
sched_seq_fork(sched_seq_t *q, const sched_seq_t *from)
{
    sched_model_t *m = q->req->model;
    uint32_t       i, page, shared, rest;

    shared = from->computed / K_PAGE_TOKENS;
    rest = from->computed % K_PAGE_TOKENS;
    page = SCHED_NONE;

    if (m->n_run < m->max_seqs && rest) {
        page = sched_page_take(&m->pages);
    }

    if (m->n_run == m->max_seqs || (rest && page == SCHED_NONE)) {
        sched_seq_wait(q);
        return;
    }

    for (i = 0; i < shared; i++) {
        q->pages[i] = from->pages[i];
        sched_page_hold(&m->pages, q->pages[i]);
    }

    if (rest) {
        q->pages[i] = page;
        m->model->ops->kv_copy(m->model->be, m->model->kv, page, from->pages[i],
                               rest);
        i++;
    }

    q->n_pages = i;
    q->computed = from->computed;
    seq_run(q);
}


/*
 * Pages that became full when tokens from .. to - 1 were computed enter the
 * prefix cache.  Where another sequence was faster, its page replaces ours.
 */

void
sched_seq_cache(sched_seq_t *q, uint32_t from, uint32_t to)
{
    sched_pages_t *p = &q->req->model->pages;
    int32_t        tokens[K_PAGE_TOKENS];
    uint32_t       i, page;

    for (i = from / K_PAGE_TOKENS; (i + 1) * K_PAGE_TOKENS <= to; i++) {
        sched_seq_tokens(q, i * K_PAGE_TOKENS, K_PAGE_TOKENS, tokens);

        page =
            sched_prefix_add(p, q->pages[i], i ? q->pages[i - 1] : SCHED_NONE,
                             q->req->group->salt, tokens, K_PAGE_TOKENS);

        if (page != q->pages[i]) {
            sched_page_hold(p, page);
            sched_page_drop(p, q->pages[i]);
            q->pages[i] = page;
        }
    }
}


/* All pages go, from the last to the first; keep: the last one is cached. */

void
sched_seq_release(sched_seq_t *q, int keep)
{
    sched_pages_t *p = &q->req->model->pages;
    int32_t        tokens[K_PAGE_TOKENS];
    uint32_t       at, n;

    seq_ground(q);
    at = q->computed / K_PAGE_TOKENS;
    n = q->computed % K_PAGE_TOKENS;

    if (keep && n && at < q->n_pages) {
        sched_seq_tokens(q, at * K_PAGE_TOKENS, n, tokens);
        sched_prefix_add(p, q->pages[at], at ? q->pages[at - 1] : SCHED_NONE,
                         q->req->group->salt, tokens, n);
    }

    while (q->n_pages > 0) {
        sched_page_drop(p, q->pages[--q->n_pages]);
    }

    q->computed = 0;
}


/* What is under way is given up: back to what is told. */

static void
seq_ground(sched_seq_t *q)
{
    q->computed -= q->ahead;
    q->ahead = 0;
    q->flying = 0;
    q->ticket++;
}


/* Takes the pages of one that does not run.  0: there is none. */

static int
seq_evict(sched_seq_t *q)
{
    sched_model_t *m = q->req->model;
    sched_seq_t   *v;

    for (v = m->paused.last; v; v = v->prev) {
        if (v->n_pages) {
            sched_seq_release(v, 1);
            return 1;
        }
    }

    for (v = m->wait.last; v && v != q && seq_before(q, v); v = v->prev) {
        if (v->n_pages) {
            sched_seq_release(v, 1);
            return 1;
        }
    }

    return 0;
}


/* Takes the pages of the youngest that runs, if it is younger than q. */

static int
seq_preempt(sched_seq_t *q)
{
    sched_model_t *m = q->req->model;
    sched_seq_t   *v = m->run[m->n_run - 1];

    if (!seq_before(q, v)) {
        return 0;
    }

    sched_seq_preempt(v);

    return 1;
}


void
sched_seq_preempt(sched_seq_t *q)
{
    atomic_fetch_add_explicit(&q->req->model->sched->stats.preemptions, 1,
                              memory_order_relaxed);
    sched_seq_release(q, 1);
    sched_seq_wait(q);
}


void
sched_seq_wait(sched_seq_t *q)
{
    sched_seq_leave(q);

    if (q->req->paused) {
        sched_seq_pause(q);
        return;
    }

    q->state = SCHED_SEQ_WAITING;
    seqs_insert(&q->req->model->wait, q);
}


void
sched_seq_pause(sched_seq_t *q)
{
    sched_seq_leave(q);
    q->state = SCHED_SEQ_PAUSED;
    seqs_insert(&q->req->model->paused, q);
}


/* Out of whatever list or table it stands in: pending. */

void
sched_seq_leave(sched_seq_t *q)
{
    sched_model_t *m = q->req->model;

    switch (q->state) {

    case SCHED_SEQ_WAITING:
        seqs_remove(&m->wait, q);
        break;

    case SCHED_SEQ_PAUSED:
        seqs_remove(&m->paused, q);
        break;

    case SCHED_SEQ_RUNNING:
        seq_run_remove(q);
        seq_ground(q);
        break;

    default:
        break;
    }

    q->state = SCHED_SEQ_PENDING;
}


/*
 * A choice is done.  If it was to compute the prompt for others, the next of
 * them takes that over; what is computed is in the cache.
 */

void
sched_seq_finish(sched_seq_t *q, int reason)
{
    sched_req_t *r = q->req;
    sched_seq_t *pending = NULL;
    uint32_t     i;

    if (q->job) {
        sched_gram_drop(q);
    }

    sched_seq_leave(q);
    sched_seq_release(q, reason != SCHED_FAILED);
    q->state = SCHED_SEQ_DONE;

    sched_event(r->model->sched, &(sched_event_t){.kind = SCHED_EV_FINISH,
                                                  .group = r->group,
                                                  .choice = q->choice,
                                                  .index = q->told,
                                                  .reason = reason});

    if (--r->n_live == 0) {
        sched_req_gone(r);
        return;
    }

    if (r->state != SCHED_REQ_ACTIVE) {
        return;
    }

    for (i = r->n_choices; i-- > 0; /* void */) {
        switch (r->seqs[i].state) {

        case SCHED_SEQ_PENDING:
            pending = &r->seqs[i];
            break;

        case SCHED_SEQ_DONE:
            break;

        default:
            return;
        }
    }

    if (pending) {
        sched_seq_wait(pending);
    }
}


/* Counts a token for the penalties; in_output 0: it is in the prompt. */

void
sched_seq_count(sched_seq_t *q, int32_t token, int in_output)
{
    uint32_t i, mask = q->req->index_mask;

    if (q->counts == NULL) {
        return;
    }

    for (i = (uint32_t) token * 2654435761u & mask; q->index[i];
         i = (i + 1) & mask) {
        if (q->counts[q->index[i] - 1].token == token) {
            q->counts[q->index[i] - 1].count += in_output != 0;
            return;
        }
    }

    q->counts[q->n_counts].token = token;
    q->counts[q->n_counts].count = in_output != 0;
    q->index[i] = ++q->n_counts;
}


/* Its output has one more token, which is not told yet. */

void
sched_seq_enter(sched_seq_t *q, int32_t token)
{
    atomic_fetch_add_explicit(&q->req->model->sched->stats.generated_tokens, 1,
                              memory_order_relaxed);
    sched_queue_served(q->req, 1);
    sched_seq_count(q, token, 1);
    q->out[q->n_out++] = token;
}


/* The event of the next token that is not told. */

void
sched_seq_tell(sched_seq_t *q, const k_sampled_t *sampled)
{
    sched_req_t   *r = q->req;
    sched_group_t *g = r->group;

    sched_event(r->model->sched,
                &(sched_event_t){.kind = SCHED_EV_TOKEN,
                                 .group = g,
                                 .choice = q->choice,
                                 .token = q->out[q->told],
                                 .index = q->told,
                                 .sampled =
                                     g->sampling.logprobs ? sampled : NULL});
    q->told++;
    r->has_token = 1;
}


/* Tells what waits for no logprob; ends what was only waiting to be told. */

void
sched_seq_flush(sched_seq_t *q)
{
    const sched_group_t *g = q->req->group;

    if (g->prompt_logprobs && q->req->scored < g->n_tokens) {
        return;
    }

    while (q->told < q->n_out && !g->sampling.logprobs) {
        sched_seq_tell(q, NULL);
    }

    if (q->reason && q->told == q->n_out) {
        sched_seq_finish(q, q->reason);
    }
}


/* A token that ends the output; a grammar gives it only where it must. */

int
sched_seq_is_end(const sched_seq_t *q, int32_t token)
{
    const sched_group_t *g = q->req->group;
    uint32_t             i, n;

    n = g->sampling.ignore_eos && q->job == NULL ? 0 : g->n_eog;

    for (i = 0; i < n; i++) {
        if (g->eog[i] == token) {
            return 1;
        }
    }

    return 0;
}


static int
seq_before(const sched_seq_t *a, const sched_seq_t *b)
{
    return a->req->age != b->req->age ? a->req->age < b->req->age
                                      : a->choice < b->choice;
}


static uint32_t
seq_pages(uint32_t tokens)
{
    return (tokens + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS;
}


static void
seq_run(sched_seq_t *q)
{
    sched_model_t *m = q->req->model;
    uint32_t       i;

    for (i = m->n_run; i > 0 && seq_before(q, m->run[i - 1]); i--) {
        m->run[i] = m->run[i - 1];
    }

    m->run[i] = q;
    m->n_run++;
    q->state = SCHED_SEQ_RUNNING;
    atomic_store_explicit(&m->idle, m->max_seqs - m->n_run,
                          memory_order_relaxed);
}


static void
seq_run_remove(sched_seq_t *q)
{
    sched_model_t *m = q->req->model;
    uint32_t       i;

    for (i = 0; m->run[i] != q; i++) {
        /* void */
    }

    m->n_run--;
    memmove(&m->run[i], &m->run[i + 1], (m->n_run - i) * sizeof(m->run[0]));
    atomic_store_explicit(&m->idle, m->max_seqs - m->n_run,
                          memory_order_relaxed);
}


/* By age. */

static void
seqs_insert(sched_seqs_t *list, sched_seq_t *q)
{
    sched_seq_t *after;

    for (after = list->last; after && seq_before(q, after);
         after = after->prev) {
        /* void */
    }

    q->prev = after;
    q->next = after ? after->next : list->first;

    if (q->next) {
        q->next->prev = q;
    } else {
        list->last = q;
    }

    if (after) {
        after->next = q;
    } else {
        list->first = q;
    }

    list->n++;
}


static void
seqs_remove(sched_seqs_t *list, sched_seq_t *q)
{
    if (q->prev) {
        q->prev->next = q->next;
    } else {
        list->first = q->next;
    }

    if (q->next) {
        q->next->prev = q->prev;
    } else {
        list->last = q->prev;
    }

    list->n--;
}
