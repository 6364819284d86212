/*
 * A worker's connection to an engine: made at the worker's start, watched,
 * thrown away at the first doubt, made again.
 *
 *   DOWN   the timer tries again, after a pause that grows from 50 ms to 1 s
 *   ASKED  HELLO is out; an answer within LLM_HELLO_MS or DOWN again
 *   UP     records flow
 *
 * All work on the rings happens in ngx_http_llm_engine_turn(): on a doorbell,
 * or posted by whoever has something to send.  The connection's structures
 * belong to the worker; what fails here is logged here, once.
 */

#include "ngx_module/ngx_http_llm_module.h"


#define NGX_HTTP_LLM_PAUSE_MIN 50
#define NGX_HTTP_LLM_PAUSE_MAX 1000


static void       ngx_http_llm_engine_connect(ngx_http_llm_engine_t *e);
static ngx_uint_t ngx_http_llm_engine_level(ngx_http_llm_engine_t *e, int why);
static void       ngx_http_llm_engine_refused(ngx_http_llm_engine_t *e, int rc);
static const char       *ngx_http_llm_engine_refusal(int rc);
static void              ngx_http_llm_engine_retry(ngx_http_llm_engine_t *e);
static void              ngx_http_llm_engine_up(ngx_http_llm_engine_t *e);
static void              ngx_http_llm_engine_lost(ngx_http_llm_engine_t *e);
static void              ngx_http_llm_engine_close(ngx_http_llm_engine_t *e);
static ngx_connection_t *ngx_http_llm_engine_fd(ngx_http_llm_engine_t *e,
                                                ngx_socket_t           fd,
                                                ngx_event_handler_pt   handler);
static void              ngx_http_llm_engine_fd_close(ngx_connection_t **cp);
static void              ngx_http_llm_engine_sock_handler(ngx_event_t *ev);
static void              ngx_http_llm_engine_bell_handler(ngx_event_t *ev);
static void              ngx_http_llm_engine_timer_handler(ngx_event_t *ev);
static void              ngx_http_llm_engine_watch_handler(ngx_event_t *ev);
static void              ngx_http_llm_engine_turn_handler(ngx_event_t *ev);
static void              ngx_http_llm_engine_turn(ngx_http_llm_engine_t *e);
static void              ngx_http_llm_engine_publish(ngx_http_llm_engine_t *e,
                                                     ngx_uint_t             again);
static void              ngx_http_llm_shutdown_handler(ngx_event_t *ev);


void
ngx_http_llm_engine_start(ngx_http_llm_engine_t *e, ngx_cycle_t *cycle)
{
    if (e->started) {
        return;
    }

    e->started = 1;
    e->log = cycle->log;
    e->state = NGX_HTTP_LLM_DOWN;
    e->pause = NGX_HTTP_LLM_PAUSE_MIN;

    llm_ipc_init(&e->ipc);

    ngx_queue_init(&e->waiting);
    ngx_queue_init(&e->active);
    ngx_queue_init(&e->sending);
    ngx_queue_init(&e->dirty);

    e->timer.handler = ngx_http_llm_engine_timer_handler;
    e->timer.data = e;
    e->timer.log = e->log;
    e->timer.cancelable = 1;

    e->watch.handler = ngx_http_llm_engine_watch_handler;
    e->watch.data = e;
    e->watch.log = e->log;
    e->watch.cancelable = 1;

    e->turn.handler = ngx_http_llm_engine_turn_handler;
    e->turn.data = e;
    e->turn.log = e->log;

    ngx_http_llm_engine_connect(e);
}


void
ngx_http_llm_engine_stop(ngx_http_llm_engine_t *e)
{
    if (!e->started) {
        return;
    }

    /* CANCELs of requests that a fast shutdown cuts: the end says it all */

    ngx_http_llm_engine_close(e);

    if (e->timer.timer_set) {
        ngx_del_timer(&e->timer);
    }

    if (e->watch.timer_set) {
        ngx_del_timer(&e->watch);
    }

    e->started = 0;
}


static void
ngx_http_llm_engine_connect(ngx_http_llm_engine_t *e)
{
    int        rc;
    ngx_uint_t level;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, e->log, 0,
                   "llm engine \"%V\": connect to unix:%V", &e->name, &e->path);

    rc = llm_ipc_connect(&e->ipc, (char *) e->path.data, e->submit_ring,
                         e->complete_ring);

    if (rc != 0) {
        level = ngx_http_llm_engine_level(e, rc);
        ngx_log_error(level, e->log, -rc,
                      "llm engine \"%V\": connect to unix:%V failed", &e->name,
                      &e->path);
        ngx_http_llm_engine_retry(e);
        return;
    }

    e->sock = ngx_http_llm_engine_fd(e, e->ipc.sock,
                                     ngx_http_llm_engine_sock_handler);
    if (e->sock == NULL) {
        ngx_http_llm_engine_close(e);
        ngx_http_llm_engine_retry(e);
        return;
    }

    e->state = NGX_HTTP_LLM_ASKED;
    ngx_add_timer(&e->timer, LLM_HELLO_MS);
}


/* What is wrong is worth one line, not one for each attempt. */

static ngx_uint_t
ngx_http_llm_engine_level(ngx_http_llm_engine_t *e, int why)
{
    if (e->complaint == why) {
        return NGX_LOG_INFO;
    }

    e->complaint = why;

    return NGX_LOG_ERR;
}


static void
ngx_http_llm_engine_retry(ngx_http_llm_engine_t *e)
{
    /* jitter, so that all workers do not come at once */

    ngx_add_timer(&e->timer, e->pause / 2 + ngx_random() % e->pause);

    e->pause *= 2;
    e->pause = ngx_min(e->pause, NGX_HTTP_LLM_PAUSE_MAX);
}


static void
ngx_http_llm_engine_up(ngx_http_llm_engine_t *e)
{
    e->bell = ngx_http_llm_engine_fd(e, e->ipc.efd_rx,
                                     ngx_http_llm_engine_bell_handler);

    if (e->bell == NULL || ngx_http_llm_slots_create(e) != NGX_OK) {
        ngx_http_llm_engine_lost(e);
        return;
    }

    if (e->timer.timer_set) {
        ngx_del_timer(&e->timer);
    }

    /*
     * An idle connection's handler is called when a graceful shutdown begins;
     * that is how the module learns of it.
     */

    e->bell->idle = 1;

    e->state = NGX_HTTP_LLM_UP;
    e->pause = NGX_HTTP_LLM_PAUSE_MIN;
    e->complaint = 0;
    e->manifest_sent = 0;
    e->states = 0;
    e->steps_time = ngx_current_msec;

    ngx_log_error(NGX_LOG_NOTICE, e->log, 0,
                  "llm engine \"%V\": connected, pid %P, %uD slots", &e->name,
                  e->ipc.peer, e->slots_n);

    ngx_http_llm_engine_wake(e);
}


/* The next turn gives the connection up; nothing is written meanwhile. */

void
ngx_http_llm_engine_broken(ngx_http_llm_engine_t *e, const char *what)
{
    if (e->broken) {
        return;
    }

    ngx_log_error(NGX_LOG_ERR, e->log, 0, "llm engine \"%V\": %s", &e->name,
                  what);

    e->broken = 1;
    ngx_http_llm_engine_wake(e);
}


/*
 * The end of a connection that was UP or ASKED.  Requests are told; those of
 * which nothing was sent wait for the next connection.
 */

static void
ngx_http_llm_engine_lost(ngx_http_llm_engine_t *e)
{
    ngx_queue_t        *q;
    ngx_uint_t          up;
    ngx_http_llm_ctx_t *ctx;

    up = (e->state == NGX_HTTP_LLM_UP);

    ngx_http_llm_engine_close(e);

    if (up) {
        ngx_http_llm_stat(NGX_HTTP_LLM_STAT_DEATHS);
    }

    /* in their order, before those that never were submitted */

    while (!ngx_queue_empty(&e->active)) {
        q = ngx_queue_last(&e->active);
        ctx = ngx_queue_data(q, ngx_http_llm_ctx_t, queue);
        ngx_http_llm_lost(ctx);
    }

    for (q = ngx_queue_head(&e->waiting); q != ngx_queue_sentinel(&e->waiting);
         q = ngx_queue_next(q)) {
        ctx = ngx_queue_data(q, ngx_http_llm_ctx_t, queue);
        ctx->connect = ngx_current_msec;
        ngx_http_llm_timer_set(ctx);
    }

    if (up) {
        /* an engine that was replaced is there again in no time */
        e->pause = NGX_HTTP_LLM_PAUSE_MIN;
    }

    ngx_http_llm_engine_retry(e);

    ngx_http_llm_dirty_run(e);
}


static void
ngx_http_llm_engine_close(ngx_http_llm_engine_t *e)
{
    ngx_uint_t             i;
    ngx_http_llm_model_t **m;

    /* the descriptors are closed with their connections */

    if (e->sock) {
        ngx_http_llm_engine_fd_close(&e->sock);
        e->ipc.sock = -1;
    }

    if (e->bell) {
        ngx_http_llm_engine_fd_close(&e->bell);
        e->ipc.efd_rx = -1;
    }

    llm_ipc_close(&e->ipc);

    ngx_http_llm_slots_destroy(e);

    if (e->state_buf) {
        ngx_free(e->state_buf);
        e->state_buf = NULL;
    }

    if (e->turn.posted) {
        ngx_delete_posted_event(&e->turn);
    }

    if (e->timer.timer_set) {
        ngx_del_timer(&e->timer);
    }

    m = e->models.elts;

    for (i = 0; i < e->models.nelts; i++) {
        m[i]->state = NGX_HTTP_LLM_STATE_UNKNOWN;
        m[i]->serving = 0;
        m[i]->error.len = 0;
    }

    e->state_len = 0;
    e->state = NGX_HTTP_LLM_DOWN;
    e->broken = 0;
    e->states = 0;
    e->credits = 0;
}


static ngx_connection_t *
ngx_http_llm_engine_fd(ngx_http_llm_engine_t *e, ngx_socket_t fd,
                       ngx_event_handler_pt handler)
{
    ngx_int_t         flags;
    ngx_connection_t *c;

    c = ngx_get_connection(fd, e->log);
    if (c == NULL) {
        return NULL;
    }

    c->data = e;
    c->log = e->log;
    c->read->log = e->log;
    c->write->log = e->log;
    c->read->handler = handler;

    /* not a client's: the checks at a worker's exit leave it alone */

    c->read->channel = 1;
    c->write->channel = 1;

    flags = (ngx_event_flags & NGX_USE_CLEAR_EVENT) ? NGX_CLEAR_EVENT : 0;

    if (ngx_add_event(c->read, NGX_READ_EVENT, flags) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        return NULL;
    }

    return c;
}


static void
ngx_http_llm_engine_fd_close(ngx_connection_t **cp)
{
    ngx_connection_t *c = *cp;

    *cp = NULL;
    c->idle = 0;

    /*
     * The engine has the eventfd open as well: its close here would leave it
     * in epoll's set, to speak for whoever gets the connection next.
     */

    (void) ngx_del_event(c->read, NGX_READ_EVENT, 0);

    ngx_close_connection(c);
}


/* HELLO's answer, and the end. */

static void
ngx_http_llm_engine_sock_handler(ngx_event_t *ev)
{
    int                    rc;
    ngx_connection_t      *c;
    ngx_http_llm_engine_t *e;

    c = ev->data;
    e = c->data;

    if (e->state == NGX_HTTP_LLM_ASKED) {

        rc = llm_ipc_connected(&e->ipc);

        if (rc == -EAGAIN) {
            return;
        }

        if (rc != 0) {
            ngx_http_llm_engine_refused(e, rc);
            return;
        }

        ngx_http_llm_engine_up(e);

        /* its death may have come by the same edge: look on */
    }

    if (e->state != NGX_HTTP_LLM_UP || !llm_ipc_dead(&e->ipc)) {
        return;
    }

    if (!e->broken) {
        ngx_log_error(NGX_LOG_ERR, e->log, 0,
                      "llm engine \"%V\": connection closed by engine",
                      &e->name);
    }

    /* what it wrote before it died still counts */

    while (!e->broken && ngx_http_llm_drain(e) == NGX_AGAIN) {
        /* void */
    }

    ngx_http_llm_dirty_run(e);

    ngx_http_llm_engine_lost(e);
}


static void
ngx_http_llm_engine_refused(ngx_http_llm_engine_t *e, int rc)
{
    ngx_uint_t level;

    level = ngx_http_llm_engine_level(e, rc);
    ngx_log_error(level, e->log, 0, "llm engine \"%V\": refused on unix:%V: %s",
                  &e->name, &e->path, ngx_http_llm_engine_refusal(rc));
    ngx_http_llm_engine_lost(e);
}


static const char *
ngx_http_llm_engine_refusal(int rc)
{
    switch (rc) {
    case -EPROTONOSUPPORT:
        return "it speaks another version of the ring, install module and "
               "engine of one release";
    case -EBADMSG:
        return "it does not accept the shared region";
    case -EUSERS:
        return "it has too many connections";
    case -EPIPE:
        return "it closed the connection";
    default:
        return "it is no engine";
    }
}


static void
ngx_http_llm_engine_bell_handler(ngx_event_t *ev)
{
    ngx_connection_t      *c;
    ngx_http_llm_engine_t *e;

    c = ev->data;
    e = c->data;

    if (c->close) {
        c->close = 0;
        c->idle = 0;
        ngx_http_llm_shutdown_begin();
        return;
    }

    /* an edge needs no read: each write makes a new one */

    if (!(ngx_event_flags & NGX_USE_CLEAR_EVENT)) {
        llm_ipc_drain(&e->ipc);
    }

    ngx_http_llm_engine_turn(e);
}


static void
ngx_http_llm_engine_timer_handler(ngx_event_t *ev)
{
    ngx_http_llm_engine_t *e = ev->data;

    ngx_uint_t level;

    if (e->state == NGX_HTTP_LLM_DOWN) {
        ngx_http_llm_engine_connect(e);
        return;
    }

    if (e->state == NGX_HTTP_LLM_ASKED) {
        level = ngx_http_llm_engine_level(e, -NGX_ETIMEDOUT);
        ngx_log_error(level, e->log, NGX_ETIMEDOUT,
                      "llm engine \"%V\": no answer on unix:%V", &e->name,
                      &e->path);
        ngx_http_llm_engine_lost(e);
    }
}


/* Runs while there are requests in the engine: does it still move? */

void
ngx_http_llm_engine_watch(ngx_http_llm_engine_t *e)
{
    ngx_msec_t tick;

    if (e->stall_timeout == 0 || e->watch.timer_set
        || ngx_queue_empty(&e->active)) {
        return;
    }

    tick = e->stall_timeout / 4;
    tick = ngx_max(tick, 10);
    tick = ngx_min(tick, 1000);

    ngx_add_timer(&e->watch, tick);
}


static void
ngx_http_llm_engine_watch_handler(ngx_event_t *ev)
{
    ngx_http_llm_engine_t *e = ev->data;

    llm_status_t status;

    if (e->state != NGX_HTTP_LLM_UP || e->broken
        || ngx_queue_empty(&e->active)) {
        e->steps_time = ngx_current_msec;
        return;
    }

    llm_ipc_status_read(&e->ipc, &status);

    if (status.steps != e->steps || status.running + status.waiting == 0) {
        e->steps = status.steps;
        e->steps_time = ngx_current_msec;
    }

    if (ngx_current_msec - e->steps_time >= e->stall_timeout) {
        ngx_http_llm_stat(NGX_HTTP_LLM_STAT_STALLS);
        ngx_http_llm_engine_broken(e, "stalled: work waits, no step is made");
        return;
    }

    if (ngx_http_llm_engine_heartbeat_age(e) >= e->stall_timeout) {
        ngx_http_llm_stat(NGX_HTTP_LLM_STAT_STALLS);
        ngx_http_llm_engine_broken(e, "stalled: its heartbeat stands still");
        return;
    }

    ngx_http_llm_engine_watch(e);
}


/* Since the heartbeat, or since the connection, whichever is later; ms. */

ngx_msec_t
ngx_http_llm_engine_heartbeat_age(ngx_http_llm_engine_t *e)
{
    uint64_t        now;
    llm_status_t    status;
    struct timespec ts;

    llm_ipc_status_read(&e->ipc, &status);

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;

    if (status.heartbeat == 0) {
        return ngx_current_msec - e->steps_time;
    }

    return status.heartbeat > now ? 0 : (ngx_msec_t) (now - status.heartbeat);
}


/* There is something to do at the end of this turn of the event loop. */

void
ngx_http_llm_engine_wake(ngx_http_llm_engine_t *e)
{
    if (e->state == NGX_HTTP_LLM_UP) {
        ngx_post_event(&e->turn, &ngx_posted_events);
    }
}


static void
ngx_http_llm_engine_turn_handler(ngx_event_t *ev)
{
    ngx_http_llm_engine_turn(ev->data);
}


static void
ngx_http_llm_engine_turn(ngx_http_llm_engine_t *e)
{
    ngx_uint_t again;

    if (e->state != NGX_HTTP_LLM_UP) {
        return;
    }

    /* may have been called before the posted event ran */

    if (e->turn.posted) {
        ngx_delete_posted_event(&e->turn);
    }

    again = 0;

    if (!e->broken && ngx_http_llm_drain(e) == NGX_AGAIN) {
        again = 1;
    }

    if (!e->broken && ngx_http_llm_feed(e) == NGX_AGAIN) {
        again = 1;
    }

    ngx_http_llm_dirty_run(e);

    if (e->broken) {
        ngx_http_llm_engine_lost(e);
        return;
    }

    ngx_http_llm_engine_publish(e, again);
}


static void
ngx_http_llm_engine_publish(ngx_http_llm_engine_t *e, ngx_uint_t again)
{
    int ring;

    ring = llm_ring_flush(&e->ipc.tx);
    ring |= llm_ring_release(&e->ipc.rx);

    if (ring) {
        llm_ipc_ring(&e->ipc);
    }

    /* not posted again in this turn: others want to run, too */

    if (again || llm_ring_arm(&e->ipc.rx)) {
        ngx_post_event(&e->turn, &ngx_posted_next_events);
    }
}


/*
 * A graceful shutdown began.  Where worker_shutdown_timeout is set, the core
 * will cut what is left when it expires; just before, streams get their error
 * event.
 */

void
ngx_http_llm_shutdown_begin(void)
{
    ngx_msec_t                timeout, before;
    ngx_core_conf_t          *ccf;
    ngx_http_llm_main_conf_t *lmcf;

    ccf =
        (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx, ngx_core_module);
    timeout = ccf->shutdown_timeout;

    lmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_llm_module);

    if (timeout == 0 || lmcf->shutdown.timer_set) {
        return;
    }

    lmcf->shutdown.handler = ngx_http_llm_shutdown_handler;
    lmcf->shutdown.data = lmcf;
    lmcf->shutdown.log = ngx_cycle->log;
    lmcf->shutdown.cancelable = 1;

    before = timeout / 10 + 1;
    before = ngx_min(before, 100);

    ngx_add_timer(&lmcf->shutdown, timeout - before);
}


static void
ngx_http_llm_shutdown_handler(ngx_event_t *ev)
{
    ngx_http_llm_main_conf_t *lmcf = ev->data;

    ngx_uint_t              i;
    ngx_http_llm_engine_t **e;

    e = lmcf->engines.elts;

    for (i = 0; i < lmcf->engines.nelts; i++) {
        ngx_http_llm_shutdown(e[i]);
    }
}
