/*
 * The step loop, and the models that take turns in it.  A step serves one
 * model's batch; the next one begins with the model after it.
 *
 * With nothing to do the loop sleeps until a note comes or the next deadline.
 * It runs at nice 10: NGINX and the threads that speak to it come first.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "engine/sched/sched_priv.h"

static void    *sched_loop(void *data);
static void     sched_finish_all(sched_t *s);
static int      sched_turn(sched_t *s);
static void     sched_settle(sched_t *s);
static void     sched_publish(sched_t *s);
static int      model_alloc(sched_model_t *m);
static uint32_t least(uint32_t a, uint32_t b);


int
sched_new(const sched_config_t *config, sched_t **sched)
{
    sched_t *s;
    int      rc;

    if (config->max_seqs == 0 || config->max_rows == 0 || config->chunk == 0
        || config->events == NULL) {
        return -EINVAL;
    }

    s = calloc(1, sizeof(sched_t));
    if (s == NULL) {
        return -ENOMEM;
    }

    s->config = *config;
    s->deadline = UINT64_MAX;
    s->max_events = 1024 + 4 * config->max_seqs;
    s->events = calloc(s->max_events, sizeof(sched_event_t));
    if (s->events == NULL) {
        free(s);
        return -ENOMEM;
    }

    atomic_store(&s->awake, 1);
    pthread_mutex_init(&s->lock, NULL);
    s->now = sched_now(s);

    rc = sched_masks_start(s, config->mask_threads);
    if (rc < 0) {
        sched_end(s);
        return rc;
    }

    *sched = s;

    return 0;
}


int
sched_start(sched_t *s)
{
    sigset_t all, old;
    int      rc;

    /* Signals are the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&s->thread, NULL, sched_loop, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (rc != 0) {
        return -rc;
    }

    s->started = 1;

    return 0;
}


void
sched_end(sched_t *s)
{
    sched_model_t *m;
    sched_slot_t  *slot;

    if (s->started) {
        atomic_store(&s->ending, 1);
        sched_mail_wake(s);
        pthread_join(s->thread, NULL);

    } else {
        sched_finish_all(s);
    }

    sched_bury(s);

    while (s->models_all) {
        m = s->models_all;
        sched_model_free(m);
    }

    while (s->slots_all) {
        slot = s->slots_all;
        s->slots_all = slot->all;
        free(slot);
    }

    pthread_cond_destroy(&s->masks.work);
    pthread_cond_destroy(&s->masks.done);
    pthread_mutex_destroy(&s->masks.lock);
    pthread_mutex_destroy(&s->lock);
    free(s->events);
    free(s);
}


static void *
sched_loop(void *data)
{
    sched_t *s = data;

    pthread_setname_np(pthread_self(), "llm-steps");
    /* Of this thread only; a failure costs politeness, nothing else. */
    (void) setpriority(PRIO_PROCESS, 0, SCHED_NICE);

    while (!atomic_load_explicit(&s->ending, memory_order_acquire)) {
        if (sched_step(s) == 0) {
            sched_mail_sleep(s, s->deadline);
        }
    }

    sched_finish_all(s);

    return NULL;
}


static void
sched_finish_all(sched_t *s)
{
    sched_model_t *m;

    s->now = sched_now(s);
    sched_mail_take(s);

    while (s->live) {
        sched_req_finish(s->live, SCHED_CANCELLED);
    }

    for (m = s->models; m; m = m->next == s->models ? NULL : m->next) {
        sched_ahead_drain(m);
    }

    /* No mask thread works in what is gone. */
    sched_masks_stop(s);

    sched_events_send(s);
    sched_gone_release(s);
    sched_settle(s);
    sched_publish(s);
}


int
sched_step(sched_t *s)
{
    int rc, did;

    s->now = sched_now(s);
    did = atomic_load_explicit(&s->mail, memory_order_relaxed) != NULL;
    sched_mail_take(s);
    sched_queue_expire(s);
    sched_gram_settle(s);
    rc = sched_turn(s);
    did |= s->n_events > 0;

    sched_events_send(s);
    sched_gone_release(s);
    sched_settle(s);
    sched_publish(s);

    return rc ? rc : did;
}


/* One step of the next model that has something to run. */

static int
sched_turn(sched_t *s)
{
    sched_model_t *m, *first = s->models;
    int            rc;

    m = first;

    while (m) {
        sched_admit(m);

        if (m->n_run || m->n_flights) {
            s->models = m->next;
            rc = sched_batch_run(m);
            return rc < 0 ? rc : 1;
        }

        m = m->next;
        if (m == first) {
            break;
        }
    }

    return 0;
}


/* Models that are to go and that nobody uses any more. */

static void
sched_settle(sched_t *s)
{
    sched_model_t *m, *prev, *head, *last = s->models;
    uint32_t       n = 0;

    if (s->removing == 0) {
        return;
    }

    for (m = last; m && (n == 0 || m != last); m = m->next) {
        n++;
    }

    for (prev = s->models; n > 0; n--) {
        m = prev->next;

        if (!m->leaving || atomic_load(&m->users) > 0) {
            prev = m;
            continue;
        }

        prev->next = m->next;
        s->models = m == prev ? NULL : prev;
        s->removing--;
        m->gone(m->gone_data);

        head = atomic_load(&s->dead_models);
        do {
            m->dead_next = head;
        } while (!atomic_compare_exchange_weak(&s->dead_models, &head, m));
    }
}


static void
sched_publish(sched_t *s)
{
    sched_model_t *m = s->models;
    uint64_t       running = 0, paused = 0, pages = 0, pages_free = 0;

    while (m) {
        running += m->n_run;
        paused += m->paused.n;
        pages += m->pages.n;
        pages_free += m->pages.n_free + m->pages.n_lru;

        m = m->next;
        if (m == s->models) {
            break;
        }
    }

    atomic_store_explicit(&s->stats.running, running, memory_order_relaxed);
    atomic_store_explicit(&s->stats.paused, paused, memory_order_relaxed);
    atomic_store_explicit(&s->stats.pages, pages, memory_order_relaxed);
    atomic_store_explicit(&s->stats.pages_free, pages_free,
                          memory_order_relaxed);
}


void
sched_stats(sched_t *s, sched_stats_t *st)
{
    *st = (sched_stats_t){
        .steps = atomic_load(&s->stats.steps),
        .running = (uint32_t) atomic_load(&s->stats.running),
        .waiting = atomic_load(&s->waiting),
        .paused = (uint32_t) atomic_load(&s->stats.paused),
        .pages = atomic_load(&s->stats.pages),
        .pages_free = atomic_load(&s->stats.pages_free),
        .prompt_tokens = atomic_load(&s->stats.prompt_tokens),
        .generated_tokens = atomic_load(&s->stats.generated_tokens),
        .prefix_queries = atomic_load(&s->stats.prefix_queries),
        .prefix_hits = atomic_load(&s->stats.prefix_hits),
        .preemptions = atomic_load(&s->stats.preemptions),
        .busy_ns = atomic_load(&s->stats.busy_ns),
        .rows_last = (uint32_t) atomic_load(&s->stats.rows_last),
        .masks = atomic_load(&s->stats.masks),
        .mask_us = atomic_load(&s->stats.mask_ns) / 1000,
        .mask_max_us = atomic_load(&s->stats.mask_max_ns) / 1000,
        .masks_late = atomic_load(&s->stats.masks_late),
        .forced = atomic_load(&s->stats.forced),
        .redrawn = atomic_load(&s->stats.redrawn),
    };
}


uint64_t
sched_now(sched_t *s)
{
    return s->config.now ? s->config.now(s->config.data) : llm_now_ns();
}


int
sched_model_add(sched_t *s, model_t *model, sched_model_t **handle)
{
    sched_model_t *m;
    int            rc;

    m = calloc(1, sizeof(sched_model_t));
    if (m == NULL) {
        return -ENOMEM;
    }

    m->sched = s;
    m->model = model;
    m->mail.kind = SCHED_MAIL_MODEL;
    m->max_rows = least(s->config.max_rows, model->limits.rows);
    m->max_seqs = least(least(s->config.max_seqs, model->limits.seqs),
                        least(model->limits.logits, m->max_rows));
    m->chunk = least(s->config.chunk, m->max_rows);
    m->cap = least(SCHED_CAP_MIN, m->max_rows);
    atomic_store(&m->idle, m->max_seqs);

    if (m->max_seqs == 0 || model->n_pages == 0) {
        free(m);
        return -EINVAL;
    }

    rc = model_alloc(m);

    pthread_mutex_lock(&s->lock);
    m->all_next = s->models_all;
    s->models_all = m;

    if (rc < 0) {
        sched_model_free(m);
    }

    pthread_mutex_unlock(&s->lock);

    if (rc < 0) {
        return rc;
    }

    *handle = m;
    sched_mail_post(s, &m->mail);

    return 0;
}


static int
model_alloc(sched_model_t *m)
{
    uint32_t logits = m->model->limits.logits;
    uint32_t buckets;

    m->max_draws = logits + m->max_seqs + SCHED_CHOICES_MAX;
    m->run = calloc(m->max_seqs, sizeof(m->run[0]));
    m->tokens = calloc(m->max_rows, sizeof(m->tokens[0]));
    m->seqs = calloc(m->max_seqs, sizeof(m->seqs[0]));
    m->logit_rows = calloc(logits, sizeof(m->logit_rows[0]));
    m->members = calloc(m->max_seqs, sizeof(m->members[0]));
    m->samples = calloc(m->max_draws, sizeof(m->samples[0]));
    m->sampled = calloc(m->max_draws, sizeof(m->sampled[0]));
    m->draws = calloc(m->max_draws, sizeof(m->draws[0]));
    m->waits = calloc(m->max_draws, sizeof(sched_job_t *));
    m->flights[0].riders = calloc(m->max_seqs, sizeof(sched_rider_t));
    m->flights[1].riders = calloc(m->max_seqs, sizeof(sched_rider_t));

    m->n_tenants =
        m->sched->config.max_queue + m->max_seqs + SCHED_TENANTS_IDLE;

    for (buckets = 64; buckets < m->n_tenants; buckets *= 2) {
        /* void */
    }

    m->tenants_mask = buckets - 1;
    m->tenants = calloc(m->n_tenants, sizeof(m->tenants[0]));
    m->tenants_hash = calloc(buckets, sizeof(m->tenants_hash[0]));

    if (m->run == NULL || m->tokens == NULL || m->seqs == NULL
        || m->logit_rows == NULL || m->members == NULL || m->samples == NULL
        || m->sampled == NULL || m->draws == NULL || m->waits == NULL
        || m->tenants == NULL || m->tenants_hash == NULL
        || m->flights[0].riders == NULL || m->flights[1].riders == NULL) {
        return -ENOMEM;
    }

    m->batch.tokens = m->tokens;
    m->batch.seqs = m->seqs;
    m->batch.logit_rows = m->logit_rows;

    return sched_pages_new(&m->pages, m->model->n_pages);
}


void
sched_model_remove(sched_t *s, sched_model_t *m, void (*gone)(void *data),
                   void *data)
{
    m->gone = gone;
    m->gone_data = data;
    atomic_store(&m->removing, 1);
    sched_mail_post(s, &m->mail);
}


/* Mail of a model: it is new, or it is to go. */

void
sched_model_settle(sched_model_t *m)
{
    sched_t *s = m->sched;

    if (!m->added) {
        m->added = 1;

        if (s->models) {
            m->next = s->models->next;
            s->models->next = m;
        } else {
            m->next = m;
            s->models = m;
        }
    }

    if (!m->leaving && atomic_load(&m->removing)) {
        m->leaving = 1;
        s->removing++;
    }
}


/* Off the scheduler's list, with the lock or alone; its memory. */

void
sched_model_free(sched_model_t *m)
{
    sched_model_t **link;

    for (link = &m->sched->models_all; *link != m; link = &(*link)->all_next) {
        /* void */
    }

    *link = m->all_next;

    sched_pages_free(&m->pages);
    free(m->run);
    free(m->tokens);
    free(m->seqs);
    free(m->logit_rows);
    free(m->members);
    free(m->samples);
    free(m->sampled);
    free(m->draws);
    free(m->waits);
    free(m->flights[0].riders);
    free(m->flights[1].riders);
    free(m->tenants);
    free(m->tenants_hash);
    free(m);
}


static uint32_t
least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}
