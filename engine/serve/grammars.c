/*
 * Grammar threads: what answers must be, compiled, beside fronts that have
 * requests to answer in the meantime.  They run at nice 15, each grammar under
 * limits of time and memory.
 *
 * A request in this queue is still in PHASE_FRONT: it belongs to the queue or
 * to its grammar thread, but for `cancelled`, and comes back to the io thread
 * as from a front.  Of several that want the same grammar one is made for all:
 * who has the key of one in work waits for it.  What was made is remembered
 * by the vocabulary (grammar_cache_add()), whoever has gone meanwhile.
 *
 * A compilation in work is not broken off: shutdown waits for it, no longer
 * than its limit of time.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "engine/serve/front.h"
#include "engine/serve/front_grammar.h"

#define GRAMMARS_NICE 15

static void  *grammars_main(void *data);
static req_t *grammars_pick(serve_t *s);
static int    grammars_is_now(const serve_t *s, const req_t *r);
static int    grammars_run(req_t *r);


int
grammars_start(serve_t *s)
{
    uint32_t i;
    int      rc;

    for (i = 0; i < s->opt.grammar_threads && i < SERVE_GRAMMARS_MAX; i++) {
        rc = pthread_create(&s->grammar_threads[i], NULL, grammars_main, s);
        if (rc) {
            log_error("pthread_create failed: %s", strerror(rc));
            return -rc;
        }

        s->n_grammar_threads++;
    }

    return 0;
}


/* After the fronts' end.  What is in the queue goes back as cancelled. */

void
grammars_stop(serve_t *s)
{
    uint32_t i;

    pthread_mutex_lock(&s->grammar_lock);
    s->grammar_stop = 1;
    pthread_cond_broadcast(&s->grammar_cond);
    pthread_mutex_unlock(&s->grammar_lock);

    for (i = 0; i < s->n_grammar_threads; i++) {
        pthread_join(s->grammar_threads[i], NULL);
    }

    s->n_grammar_threads = 0;
}


/* A front thread: 0: it is taken; or negative, with r->error filled. */

int
grammars_push(serve_t *s, req_t *r)
{
    int full;

    r->next = NULL;

    pthread_mutex_lock(&s->grammar_lock);

    full = s->grammar_waiting >= SERVE_GRAMMARS_WAIT;

    if (!full) {
        s->grammar_waiting++;
        atomic_fetch_add(&s->grammars, 1);
        *s->grammar_tail = r;
        s->grammar_tail = &r->next;
        pthread_cond_signal(&s->grammar_cond);
    }

    pthread_mutex_unlock(&s->grammar_lock);

    if (full) {
        gen_error(&r->error, 503, "server_is_overloaded", NULL,
                  "The server is overloaded: %d requests wait for their "
                  "grammars already.",
                  SERVE_GRAMMARS_WAIT);
        r->error.retry_ms = 1000;
        return -EBUSY;
    }

    return 0;
}


static void *
grammars_main(void *data)
{
    serve_t *s = data;
    req_t   *r;
    uint32_t number = atomic_fetch_add(&s->grammar_number, 1);

    pthread_setname_np(pthread_self(), "llm-grammar");
    (void) setpriority(PRIO_PROCESS, (id_t) gettid(), GRAMMARS_NICE);

    for (;;) {
        pthread_mutex_lock(&s->grammar_lock);

        while ((r = grammars_pick(s)) == NULL
               && !(s->grammar_stop && s->grammar_head == NULL)) {
            pthread_cond_wait(&s->grammar_cond, &s->grammar_lock);
        }

        s->grammar_now[number] = r;
        pthread_mutex_unlock(&s->grammar_lock);

        if (r == NULL) {
            return NULL;
        }

        r->rc = grammars_run(r);

        pthread_mutex_lock(&s->grammar_lock);
        s->grammar_now[number] = NULL;
        pthread_cond_broadcast(&s->grammar_cond);
        pthread_mutex_unlock(&s->grammar_lock);

        atomic_fetch_sub(&s->grammars, 1);
        front_post(r);
    }
}


/* With the lock: the first whose grammar is not in work already, or NULL. */

static req_t *
grammars_pick(serve_t *s)
{
    req_t **link, *r;

    for (link = &s->grammar_head; (r = *link) != NULL; link = &r->next) {
        if (grammars_is_now(s, r)) {
            continue;
        }

        *link = r->next;

        if (s->grammar_tail == &r->next) {
            s->grammar_tail = link;
        }

        r->next = NULL;
        s->grammar_waiting--;

        return r;
    }

    return NULL;
}


static int
grammars_is_now(const serve_t *s, const req_t *r)
{
    const req_t *other;
    uint32_t     i;

    for (i = 0; i < SERVE_GRAMMARS_MAX; i++) {
        other = s->grammar_now[i];

        if (other && other->version == r->version
            && other->grammar_key.len == r->grammar_key.len
            && memcmp(other->grammar_key.data, r->grammar_key.data,
                      r->grammar_key.len)
                   == 0) {
            return 1;
        }
    }

    return 0;
}


static int
grammars_run(req_t *r)
{
    serve_t   *s = r->serve;
    uint64_t   start;
    grammar_t *grammar;
    int        rc;

    if (atomic_load(&s->stopping) || atomic_load(&r->cancelled)) {
        gen_error(&r->error, 503, "engine_unavailable", NULL,
                  "The engine is shutting down.");
        return -ECANCELED;
    }

    /* Somebody may have been faster. */
    grammar = grammar_cache_find(r->version->grammars, r->grammar_key.data,
                                 r->grammar_key.len);
    if (grammar) {
        atomic_fetch_add(&s->grammar_stats.found, 1);

    } else {
        start = llm_now_ns();
        rc = front_grammar_make(r, &grammar);
        atomic_fetch_add(&s->grammar_stats.ns, llm_now_ns() - start);

        if (rc < 0) {
            atomic_fetch_add(&s->grammar_stats.refused, 1);
            return rc;
        }

        atomic_fetch_add(&s->grammar_stats.made, 1);
        grammar_cache_add(r->version->grammars, r->grammar_key.data,
                          r->grammar_key.len, grammar);
    }

    r->grammar = grammar;

    return front_settle(r);
}
