/*
 * The io thread's loop: it waits for the listening socket, connections, their
 * doorbells, the mailbox and signals, and leads what comes to its place.
 *
 * Nothing here blocks but epoll_wait().  Idle, it wakes once a second for the
 * heartbeat.  After each turn every connection with new records is rung once,
 * so that a step costs one doorbell, not one a token.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "engine/serve/serve.h"

#define SERVE_EVENTS  64
#define SERVE_TICK_MS 500 /* the heartbeat: at least once a second */
#define SERVE_BUSY_MS 50  /* while something has a deadline */

static int  serve_open(serve_t *s);
static void serve_sandbox(const serve_t *s);
static void serve_close(serve_t *s);
static int  serve_watch(serve_t *s, int fd);
static void serve_loop(serve_t *s);
static void serve_event(serve_t *s, uint64_t what);
static void serve_mail(serve_t *s);
static int  serve_idle_ms(serve_t *s);
static int  serve_manifest_file(serve_t *s);
static void serve_device_lost(void *data);


int
serve_run(const serve_options_t *opt)
{
    serve_t *s;
    int      rc;

    s = calloc(1, sizeof(serve_t));
    if (s == NULL) {
        return -ENOMEM;
    }

    s->opt = *opt;
    s->epoll = s->listen = s->wake = s->signals = -1;
    s->slots = LLM_SLOTS_DEFAULT;

    rc = serve_open(s);
    if (rc == 0) {
        serve_loop(s);
    }

    serve_close(s);
    free(s);

    return rc;
}


static int
serve_open(serve_t *s)
{
    sched_config_t sc;
    sigset_t       set;
    int            rc;

    pthread_mutex_init(&s->mail_lock, NULL);
    pthread_cond_init(&s->events_cond, NULL);
    pthread_mutex_init(&s->front_lock, NULL);
    pthread_mutex_init(&s->grammar_lock, NULL);
    pthread_cond_init(&s->grammar_cond, NULL);
    s->grammar_tail = &s->grammar_head;
    pthread_mutex_init(&s->models_lock, NULL);
    pthread_cond_init(&s->front_cond, NULL);
    s->front_tail = &s->front_head;
    metrics_init(&s->metrics);
    models_init(s);

    if (getrandom(&s->boot, sizeof(s->boot), 0) != sizeof(s->boot)) {
        s->boot = llm_now_ns();
    }

    /* Every thread inherits the mask: signals come by the descriptor only. */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);

    LLM_TRY(serve_backend(s));

    sc = (sched_config_t){.max_seqs = s->opt.batch,
                          .max_rows = s->opt.rows,
                          .chunk = s->opt.chunk,
                          .max_queue = s->opt.queue,
                          .mask_threads = s->opt.mask_threads,
                          .mask_wait_us = s->opt.mask_wait_us,
                          .events = back_events,
                          .device_lost = serve_device_lost,
                          .data = s};

    LLM_TRY(sched_new(&sc, &s->sched));

    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

    if (s->epoll < 0 || s->wake < 0 || s->signals < 0) {
        rc = -errno;
        log_error("epoll, eventfd or signalfd failed: %s", strerror(-rc));
        return rc;
    }

    LLM_TRY(front_start(s));
    LLM_TRY(grammars_start(s));
    LLM_TRY(sched_start(s->sched));
    LLM_TRY(serve_manifest_file(s));

    s->listen = llm_ipc_listen(s->opt.socket, s->opt.socket_mode);
    if (s->listen < 0) {
        rc = s->listen;
        s->listen = -1;
        log_error("listening on %s failed: %s%s", s->opt.socket, strerror(-rc),
                  rc == -EADDRINUSE ? "; another engine answers there" : "");
        return rc;
    }

    LLM_TRY(serve_watch(s, s->listen));
    LLM_TRY(serve_watch(s, s->wake));
    LLM_TRY(serve_watch(s, s->signals));
    serve_sandbox(s);

    log_notice("engine %d listens on %s", (int) getpid(), s->opt.socket);

    return 0;
}


/*
 * Nothing of this process can compute any more, so it ends at once, as if it
 * had been killed: the workers see that, and what was not answered waits for
 * the engine that somebody starts next.  The step loop's thread.
 */

static void
serve_device_lost(void *data)
{
    log_error("the device has failed: engine %d ends", (int) getpid());
    _exit(70);
}


/* Where the kernel has it; an engine without goes on and says so. */

static void
serve_sandbox(const serve_t *s)
{
    int rc;

    if (!s->opt.seccomp) {
        return;
    }

    rc = sandbox_enter();
    if (rc < 0) {
        log_warn("no seccomp: %s; --seccomp off says no more of it",
                 strerror(-rc));
    } else {
        log_info("seccomp filter is in force");
    }
}


static int
serve_watch(serve_t *s, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = SERVE_FD(fd)};

    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int rc = -errno;

        log_error("epoll_ctl failed: %s", strerror(-rc));
        return rc;
    }

    return 0;
}


/* --manifest: as if a worker had named these models and stayed. */

static int
serve_manifest_file(serve_t *s)
{
    char  err[K_ERR_MAX];
    buf_t text = {0};
    FILE *f;
    char *p;
    int   rc;

    s->local.serve = s;

    if (s->opt.manifest == NULL) {
        return 0;
    }

    f = fopen(s->opt.manifest, "re");
    if (f == NULL) {
        rc = -errno;
        log_error("%s: %s", s->opt.manifest, strerror(-rc));
        return rc;
    }

    while ((p = buf_room(&text, 4096)) != NULL) {
        size_t n = fread(p, 1, 4096, f);

        text.len += n;
        if (n == 0 || text.len > LLM_MANIFEST_MAX) {
            break;
        }
    }

    fclose(f);

    rc = manifest_read(&s->local, text.data ? text.data : "", text.len, err);
    if (rc < 0) {
        log_error("%s: %s", s->opt.manifest, err);
    }

    buf_free(&text);

    return rc;
}


/*
 * The name goes first, so that a successor can have it.  Then the fronts end,
 * and after them the grammar threads to whom they give work; every connection and with it every request is given up, the step loop ends,
 * and what they had left in the mailbox is settled.
 */

static void
serve_close(serve_t *s)
{
    conn_t *c;

    atomic_store(&s->stopping, 1);

    if (s->listen >= 0) {
        unlink(s->opt.socket);
        close(s->listen);
    }

    front_stop(s);
    grammars_stop(s);

    for (c = s->conns; c; c = c->next) {
        if (!c->dead) {
            conn_kill(c, NULL, 0);
        }
    }

    if (s->sched) {
        /* Nobody takes events while the loop is joined: it must not wait. */
        pthread_mutex_lock(&s->mail_lock);
        s->events_free = 1;
        pthread_cond_broadcast(&s->events_cond);
        pthread_mutex_unlock(&s->mail_lock);

        sched_end(s->sched); /* joins the loop: no event comes after this */
        s->sched = NULL;
    }

    serve_mail(s);
    models_free(s);
    conn_sweep(s);

    if (s->live || s->conns || s->bodies) {
        log_error("%u requests, %u connections, %llu bytes were left over",
                  s->live, s->n_conns, (unsigned long long) s->bodies);
    }

    if (s->be) {
        s->ops->close(s->be);
    }

    if (s->epoll >= 0) {
        close(s->epoll);
    }
    if (s->wake >= 0) {
        close(s->wake);
    }
    if (s->signals >= 0) {
        close(s->signals);
    }

    free(s->events);
    free(s->events_spare);

    pthread_mutex_destroy(&s->mail_lock);
    pthread_cond_destroy(&s->events_cond);
    pthread_mutex_destroy(&s->front_lock);
    pthread_mutex_destroy(&s->grammar_lock);
    pthread_cond_destroy(&s->grammar_cond);
    pthread_mutex_destroy(&s->models_lock);
    pthread_cond_destroy(&s->front_cond);

    log_notice("engine %d ends", (int) getpid());
}


static void
serve_loop(serve_t *s)
{
    struct epoll_event ev[SERVE_EVENTS];
    uint64_t           now, tick = 0;
    int                i, n;

    while (!atomic_load(&s->stopping)) {
        n = epoll_wait(s->epoll, ev, SERVE_EVENTS, serve_idle_ms(s));
        if (n < 0 && errno != EINTR) {
            log_error("epoll_wait failed: %s", strerror(errno));
            return;
        }

        conn_again(s);

        for (i = 0; i < n; i++) {
            serve_event(s, ev[i].data.u64);
        }

        serve_mail(s);

        now = llm_now_ns();
        if (now - tick > SERVE_BUSY_MS * 1000000ull) {
            tick = now;
            req_expire(s, now);
            models_tick(s, now);
            conn_tick(s, now);
        }

        send_flush(s);
        conn_sweep(s);
    }
}


static void
serve_event(serve_t *s, uint64_t what)
{
    struct signalfd_siginfo si;
    uint64_t                count;
    conn_t                 *c;

    if (what == SERVE_FD(s->listen)) {
        conn_accept(s);

    } else if (what == SERVE_FD(s->wake)) {
        if (read(s->wake, &count, sizeof(count)) < 0) {
            return;
        }

    } else if (what == SERVE_FD(s->signals)) {
        while (read(s->signals, &si, sizeof(si)) == sizeof(si)) {
            log_notice("signal %u: shutting down", si.ssi_signo);
            atomic_store(&s->stopping, 1);
        }

    } else {
        /* A connection: its lowest bit tells socket from doorbell. */
        c = (conn_t *) (uintptr_t) (what & ~(uint64_t) 1);

        if (c->dead) {
            return;
        }

        if (what & 1) {
            conn_socket(c);
        } else {
            conn_read(c);
        }
    }
}


static int
serve_idle_ms(serve_t *s)
{
    if (s->again) {
        return 0;
    }

    return s->live || s->state_ns || s->deaf_ns ? SERVE_BUSY_MS : SERVE_TICK_MS;
}


void
serve_wake(serve_t *s)
{
    uint64_t one = 1;

    /* Pairs with the store in serve_mail(): one write a turn is enough. */
    if (atomic_exchange(&s->woken, 1) == 0) {
        if (write(s->wake, &one, sizeof(one)) < 0) {
            return;
        }
    }
}


static void
serve_mail(serve_t *s)
{
    back_event_t *events;
    version_t    *v, *vnext;
    uint32_t      n, cap;
    req_t        *r, *next, *rev;

    /*
     * After the eventfd was read, before the mail is taken: whoever posts
     * from here on writes to it again.  The other way round a post between
     * the two would be neither seen nor told.
     */
    atomic_store(&s->woken, 0);

    pthread_mutex_lock(&s->mail_lock);

    r = s->mail;
    s->mail = NULL;
    v = s->mail_loaded;
    s->mail_loaded = NULL;

    events = s->events;
    n = s->n_events;
    cap = s->cap_events;
    s->events = s->events_spare;
    s->cap_events = s->cap_spare;
    s->n_events = 0;
    s->events_spare = events;
    s->cap_spare = cap;

    /* Pairs with the wait in back_events(). */
    pthread_cond_broadcast(&s->events_cond);
    pthread_mutex_unlock(&s->mail_lock);

    back_take(s, events, n);

    for (rev = NULL; r; r = next) {
        next = r->next;
        r->next = rev;
        rev = r;
    }

    for (r = rev; r; r = next) {
        next = r->next;
        r->next = NULL;
        req_front_done(r);
    }

    for (; v; v = vnext) {
        vnext = v->mail_next;
        v->mail_next = NULL;
        models_loaded(v);
    }
}
