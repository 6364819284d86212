/*
 * Threads that make masks while a step computes, and their queue.
 *
 * A job has two stages: the tokens that a sequence got are accepted, and it is
 * found out what follows (nothing, forced tokens, free text); then, where one
 * is needed, its mask is made.  All first stages go before all second ones:
 * the loop waits for them before it builds the next step.
 *
 * The loop helps while it waits.  Nobody ever waits for a grammar: who looks
 * for work passes over jobs whose grammar somebody else works in.
 *
 * A job that nobody wants any more leaves the queue; if it is in work, its
 * memory must stay until it is not (sched_gram_busy()): the thread then tells
 * the loop.
 *
 * The queue is under a lock which is held for moments only.  Nothing is
 * allocated here.
 */

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include "engine/sched/sched_priv.h"

static void        *mask_main(void *data);
static void         jobs_add(sched_jobs_t *list, sched_job_t *job);
static sched_job_t *jobs_take(sched_masks_t *p, sched_jobs_t *list);
static int          jobs_remove(sched_jobs_t *list, sched_job_t *job);
static int          mask_is_busy(const sched_masks_t *p, const grammar_t *g);
static int          mask_work(sched_masker_t *t, int accepts_only);
static int          mask_after(sched_masks_t *p, sched_job_t *job, int stage);
static void         mask_accept(sched_job_t *job);
static int          mask_ask(sched_job_t *job);
static int          mask_think(sched_job_t *job);
static int          mask_forced(sched_job_t *job);
static int          mask_take(sched_job_t *job, int32_t token);
static void         mask_make(sched_t *s, sched_job_t *job);
static int          mask_pending(const sched_job_t *job, int accepted);


int
sched_masks_start(sched_t *s, uint32_t n)
{
    sched_masks_t     *p = &s->masks;
    pthread_condattr_t attr;
    sigset_t           all, old;
    uint32_t           i;
    int                rc = 0;

    p->sched = s;
    p->accepts.tail = &p->accepts.first;
    p->makes.tail = &p->makes.first;

    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, &attr);
    pthread_condattr_destroy(&attr);

    for (i = 0; i <= SCHED_MASKERS_MAX; i++) {
        p->maskers[i].masks = p;
    }

    /* Signals are the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);

    for (i = 0; i < n && i < SCHED_MASKERS_MAX && rc == 0; i++) {
        rc = pthread_create(&p->maskers[i].thread, NULL, mask_main,
                            &p->maskers[i]);
        p->n += rc == 0;
    }

    pthread_sigmask(SIG_SETMASK, &old, NULL);

    return -rc;
}


/* Ends the threads; jobs that are queued stay undone.  May be called twice. */

void
sched_masks_stop(sched_t *s)
{
    sched_masks_t *p = &s->masks;
    uint32_t       i;

    pthread_mutex_lock(&p->lock);
    p->stopping = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);

    for (i = 0; i < p->n; i++) {
        pthread_join(p->maskers[i].thread, NULL);
    }

    p->n = 0;
}


static void *
mask_main(void *data)
{
    sched_masker_t *t = data;
    sched_masks_t  *p = t->masks;

    pthread_setname_np(pthread_self(), "llm-mask");
    /* Of this thread only; a failure costs politeness, nothing else. */
    (void) setpriority(PRIO_PROCESS, 0, SCHED_NICE);

    pthread_mutex_lock(&p->lock);

    while (!p->stopping) {
        if (!mask_work(t, 0)) {
            pthread_cond_wait(&p->work, &p->lock);
        }
    }

    pthread_mutex_unlock(&p->lock);

    return NULL;
}


/* The step loop: tokens of a sequence are to be accepted. */

void
sched_mask_post(sched_job_t *job)
{
    sched_masks_t *p = &job->seq->req->model->sched->masks;

    pthread_mutex_lock(&p->lock);

    atomic_store_explicit(&job->stage, SCHED_JOB_ACCEPT, memory_order_relaxed);
    jobs_add(&p->accepts, job);

    if (p->n) {
        pthread_cond_signal(&p->work);
    }

    pthread_mutex_unlock(&p->lock);
}


/* The step loop: nobody wants it any more. */

void
sched_mask_drop(sched_job_t *job)
{
    sched_masks_t *p = &job->seq->req->model->sched->masks;

    pthread_mutex_lock(&p->lock);

    job->dropped = 1;

    if (jobs_remove(&p->accepts, job) || jobs_remove(&p->makes, job)) {
        atomic_store_explicit(&job->stage, SCHED_JOB_IDLE,
                              memory_order_release);
    }

    pthread_mutex_unlock(&p->lock);
}


/*
 * The step loop: helps until none of these jobs is before the end of its first
 * stage (accepted), or of both; or until mask_wait_us have passed.
 * Returns how many are still in work.
 */

int
sched_masks_wait(sched_t *s, sched_job_t **jobs, uint32_t n, int accepted)
{
    sched_masks_t  *p = &s->masks;
    struct timespec ts;
    uint64_t        end;
    uint32_t        i = 0, late;

    while (i < n && !mask_pending(jobs[i], accepted)) {
        i++;
    }

    if (i == n) {
        return 0;
    }

    end = llm_now_ns() + s->config.mask_wait_us * 1000ull;
    ts.tv_sec = (time_t) (end / 1000000000u);
    ts.tv_nsec = (long) (end % 1000000000u);

    pthread_mutex_lock(&p->lock);
    p->waiting = 1;

    for (;;) {
        while (i < n && !mask_pending(jobs[i], accepted)) {
            i++;
        }

        if (i == n || (p->n && llm_now_ns() >= end)) {
            break;
        }

        if (mask_work(&p->maskers[SCHED_MASKERS_MAX], accepted)) {
            continue;
        }

        if (pthread_cond_timedwait(&p->done, &p->lock, &ts) == ETIMEDOUT) {
            break;
        }
    }

    p->waiting = 0;

    /* What was passed over for a grammar in which the loop worked. */
    if (p->n && (p->accepts.first || p->makes.first)) {
        pthread_cond_broadcast(&p->work);
    }

    pthread_mutex_unlock(&p->lock);

    for (late = 0; i < n; i++) {
        late += (uint32_t) mask_pending(jobs[i], accepted);
    }

    return (int) late;
}


static int
mask_pending(const sched_job_t *job, int accepted)
{
    switch (atomic_load_explicit(&job->stage, memory_order_acquire)) {

    case SCHED_JOB_ACCEPT:
    case SCHED_JOB_ACCEPT_BUSY:
        return 1;

    case SCHED_JOB_MASK:
    case SCHED_JOB_MASK_BUSY:
        return !accepted;

    default:
        return 0;
    }
}


/* With the lock: does a piece of work, without it.  0: there is none. */

static int
mask_work(sched_masker_t *t, int accepts_only)
{
    sched_masks_t *p = t->masks;
    sched_job_t   *job;
    int            gone, stage = SCHED_JOB_ACCEPT_BUSY;

    job = jobs_take(p, &p->accepts);

    if (job == NULL && !accepts_only) {
        job = jobs_take(p, &p->makes);
        stage = SCHED_JOB_MASK_BUSY;
    }

    if (job == NULL) {
        return 0;
    }

    atomic_store_explicit(&job->stage, stage, memory_order_relaxed);
    t->grammar = job->grammar;
    pthread_mutex_unlock(&p->lock);

    if (stage == SCHED_JOB_ACCEPT_BUSY) {
        mask_accept(job);
    } else {
        mask_make(p->sched, job);
    }

    pthread_mutex_lock(&p->lock);
    t->grammar = NULL;
    gone = mask_after(p, job, stage);

    if (p->waiting) {
        pthread_cond_signal(&p->done);
    }

    if (gone) {
        /* Its request waits for this only; the loop may be asleep. */
        sched_mail_wake(p->sched);
    }

    return 1;
}


/* The next stage; 1: it was dropped meanwhile, and its memory may go now. */

static int
mask_after(sched_masks_t *p, sched_job_t *job, int stage)
{
    if (job->dropped) {
        stage = SCHED_JOB_IDLE;

    } else if (stage == SCHED_JOB_MASK_BUSY) {
        stage = job->mask_rc < 0 ? SCHED_JOB_IDLE : SCHED_JOB_READY;

    } else if (job->rc < 0 || job->ended || job->free
               || (!job->refused && job->room == 0)
               || job->n_forced == SCHED_FORCED_MAX) {
        stage = SCHED_JOB_IDLE;

    } else {
        stage = SCHED_JOB_MASK;
        jobs_add(&p->makes, job);
    }

    atomic_store_explicit(&job->stage, stage, memory_order_release);

    return stage == SCHED_JOB_IDLE && job->dropped;
}


/* Accepts what is new, then asks what may follow. */

static void
mask_accept(sched_job_t *job)
{
    int32_t token;

    job->rc = 0;
    job->refused = 0;
    job->ended = 0;
    job->free = 0;
    job->n_forced = 0;

    while (job->accepted < job->n && job->rc == 0) {
        job->rc = mask_take(job, job->seq->out[job->accepted]);
    }

    if (job->rc == 0 && job->probing) {
        token = job->probe;
        job->rc = mask_take(job, token);

        if (job->rc == -EINVAL) {
            job->rc = 0;
            job->refused = 1;
            return;
        }
    }

    if (job->rc == 0) {
        job->rc = mask_ask(job);
    }
}


/* What may follow: the end, what is forced, free text, or a mask's tokens. */

static int
mask_ask(sched_job_t *job)
{
    uint32_t n;
    int      rc;

    do {
        n = job->n_forced;

        if (grammar_state_complete(job->state) == 2) {
            job->ended = 1;
            return 0;
        }

        if (job->room == 0) {
            return 0;
        }

        rc = mask_think(job);
        if (rc < 0) {
            return rc;
        }

        if (grammar_state_free_text(job->state)) {
            job->free = job->n_forced < SCHED_FORCED_MAX;
            return 0;
        }

        rc = mask_forced(job);
        if (rc < 0) {
            return rc;
        }
    } while (job->n_forced > n && job->n_forced < SCHED_FORCED_MAX);

    return 0;
}


/*
 * Reasoning that has used up its budget ends.  Where the grammar does not take
 * the whole of think_end, what it takes has been said, and it goes on.
 */

static int
mask_think(sched_job_t *job)
{
    sched_req_t *r = job->seq->req;
    uint32_t     i;
    int          rc;

    if (job->budgeted || r->n_think_end == 0 || job->thought < r->think_budget
        || !grammar_state_thinking(job->state)
        || job->n_forced + r->n_think_end > SCHED_FORCED_MAX) {
        return 0;
    }

    job->budgeted = 1;

    for (i = 0; i < r->n_think_end && job->room > 0; i++) {
        rc = mask_take(job, r->think_end[i]);
        if (rc < 0) {
            return rc == -EINVAL ? 0 : rc;
        }

        job->forced[job->n_forced++] = r->think_end[i];
        job->room--;
    }

    return 0;
}


static int
mask_forced(sched_job_t *job)
{
    int32_t *tokens = job->forced + job->n_forced;
    uint32_t cap = SCHED_FORCED_MAX - job->n_forced;
    int      i, n, rc;

    cap = cap < job->room ? cap : job->room;
    if (cap == 0) {
        return 0;
    }

    n = grammar_state_forced(job->state, tokens, cap);

    for (i = 0; i < n; i++) {
        rc = mask_take(job, tokens[i]);
        if (rc < 0) {
            return rc;
        }

        job->n_forced++;
        job->room--;
    }

    return n < 0 ? n : 0;
}


static int
mask_take(sched_job_t *job, int32_t token)
{
    int rc, thinking = grammar_state_thinking(job->state);

    rc = grammar_state_accept(job->state, token);
    if (rc == 0) {
        job->accepted++;
        job->thought += thinking != 0;
    }

    return rc;
}


static void
mask_make(sched_t *s, sched_job_t *job)
{
    uint64_t ns, max, start = llm_now_ns();

    job->mask_rc = grammar_state_mask(job->state, job->mask);

    ns = llm_now_ns() - start;
    atomic_fetch_add_explicit(&s->stats.masks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->stats.mask_ns, ns, memory_order_relaxed);
    max = atomic_load_explicit(&s->stats.mask_max_ns, memory_order_relaxed);

    while (ns > max
           && !atomic_compare_exchange_weak_explicit(&s->stats.mask_max_ns,
                                                     &max, ns,
                                                     memory_order_relaxed,
                                                     memory_order_relaxed)) {
        /* void */
    }
}


static void
jobs_add(sched_jobs_t *list, sched_job_t *job)
{
    job->next = NULL;
    *list->tail = job;
    list->tail = &job->next;
}


/* The first one whose grammar nobody works in. */

static sched_job_t *
jobs_take(sched_masks_t *p, sched_jobs_t *list)
{
    sched_job_t *job;

    for (job = list->first; job; job = job->next) {
        if (!mask_is_busy(p, job->grammar)) {
            jobs_remove(list, job);
            return job;
        }
    }

    return NULL;
}


static int
jobs_remove(sched_jobs_t *list, sched_job_t *job)
{
    sched_job_t **link;

    for (link = &list->first; *link; link = &(*link)->next) {
        if (*link == job) {
            *link = job->next;

            if (list->tail == &job->next) {
                list->tail = link;
            }

            return 1;
        }
    }

    return 0;
}


static int
mask_is_busy(const sched_masks_t *p, const grammar_t *g)
{
    uint32_t i;

    for (i = 0; i < p->n; i++) {
        if (p->maskers[i].grammar == g) {
            return 1;
        }
    }

    return p->maskers[SCHED_MASKERS_MAX].grammar == g;
}
