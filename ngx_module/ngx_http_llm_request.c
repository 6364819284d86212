/*
 * The life of a request between its body and its last byte: the context, its
 * one timer, what becomes of it when the engine dies, and its end.
 *
 *   start -> waiting -> submitted -> admitted -> headed -> ended
 *               ^___________|___________|__________|   the engine died and
 *                                                      no DATA went out
 *
 * A context lives in its request's pool.  `attached` says that the engine's
 * queues or the timer may know it: from ngx_http_llm_start() to
 * ngx_http_llm_detach(), which every way out passes, at the latest by the
 * request's cleanup handler.  The timer is not cancelable, so a worker that
 * shuts down waits for its requests.
 */

#include "ngx_module/ngx_http_llm_module.h"
#include <ngx_sha1.h>
#include <sys/random.h>


#define NGX_HTTP_LLM_IDLE   3600000 /* ms: the timer, where nothing is due */
#define NGX_HTTP_LLM_SCRAPE 2000    /* ms: for the engine's part of /metrics */


static void      ngx_http_llm_anchor(void *data);
static void      ngx_http_llm_cleanup(void *data);
static void      ngx_http_llm_random(ngx_http_llm_ctx_t *ctx);
static void      ngx_http_llm_hex(u_char *dst, u_char *src, size_t n);
static ngx_int_t ngx_http_llm_strings(ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_string(ngx_http_request_t *r, ngx_str_t *s);
static ngx_int_t ngx_http_llm_request_id(ngx_http_llm_ctx_t *ctx);
static void      ngx_http_llm_timer_handler(ngx_event_t *ev);
static const ngx_http_llm_error_t *ngx_http_llm_due(ngx_http_llm_ctx_t *ctx,
                                                    ngx_msec_t         *next);
static void       ngx_http_llm_due_one(ngx_msec_t passed, ngx_msec_t limit,
                                       const ngx_http_llm_error_t  *what,
                                       const ngx_http_llm_error_t **due,
                                       ngx_msec_t                  *next);
static ngx_uint_t ngx_http_llm_pings(ngx_http_llm_ctx_t *ctx);
static void       ngx_http_llm_process(ngx_http_llm_ctx_t *ctx);


ngx_http_llm_ctx_t *
ngx_http_llm_ctx_create(ngx_http_request_t *r, ngx_uint_t op)
{
    ngx_http_cleanup_t      *cln;
    ngx_pool_cleanup_t      *anchor;
    ngx_http_llm_ctx_t      *ctx;
    ngx_http_llm_loc_conf_t *llcf;

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_llm_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ctx->request = r;
    ctx->conf = llcf;
    ctx->engine = llcf->engine;
    ctx->op = op;
    ctx->start = ngx_current_msec;

    if (llcf->model) {
        ctx->model = llcf->model_name;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_llm_cleanup;
    cln->data = ctx;

    /* by which the log phase finds it after an internal redirect */

    anchor = ngx_pool_cleanup_add(r->pool, 0);
    if (anchor == NULL) {
        return NULL;
    }

    anchor->handler = ngx_http_llm_anchor;
    anchor->data = ctx;

    ngx_http_set_ctx(r, ctx, ngx_http_llm_module);

    return ctx;
}


/* The latest context of the request, or NULL. */

ngx_http_llm_ctx_t *
ngx_http_llm_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t *cln;
    ngx_http_llm_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    if (ctx == NULL && (r->internal || r->filter_finalize)) {

        for (cln = r->pool->cleanup; cln; cln = cln->next) {
            if (cln->handler == ngx_http_llm_anchor) {
                return cln->data;
            }
        }
    }

    return ctx;
}


static void
ngx_http_llm_anchor(void *data)
{
}


static void
ngx_http_llm_cleanup(void *data)
{
    ngx_http_llm_ctx_t *ctx = data;

    static const ngx_uint_t stages[] = {NGX_HTTP_LLM_STAT_ABORT_WAIT,
                                        NGX_HTTP_LLM_STAT_ABORT_QUEUE,
                                        NGX_HTTP_LLM_STAT_ABORT_PREFILL,
                                        NGX_HTTP_LLM_STAT_ABORT_DECODE};

    if (!ctx->attached) {
        return;
    }

    /* nobody ended it: the client is gone, or the core gave it up */

    ctx->aborted =
        ngx_exiting && ctx->request->connection->close ? "shutdown" : "client";

    ngx_http_llm_stat(stages[ctx->first       ? 3
                             : ctx->admitted  ? 2
                             : ctx->submitted ? 1
                                              : 0]);

    ngx_http_llm_detach(ctx);
}


/*
 * The body is there: off to the engine, or into the queue.  The request may
 * be finalized on return.
 */

void
ngx_http_llm_start(ngx_http_llm_ctx_t *ctx)
{
    ngx_chain_t                *cl;
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    const ngx_http_llm_error_t *error;

    r = ctx->request;
    c = r->connection;

    ctx->start = ngx_current_msec;
    ctx->connect = ngx_current_msec;
    ctx->last = ngx_current_msec;
    ctx->created = ngx_time();

    if (ctx->op != LLM_OP_MODELS && ctx->op != LLM_OP_METRICS
        && r->request_body) {
        for (cl = r->request_body->bufs; cl; cl = cl->next) {
            ctx->body_len += ngx_buf_size(cl->buf);
        }
    }

    if (ngx_http_llm_strings(ctx) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_http_llm_random(ctx);

    ctx->timer.handler = ngx_http_llm_timer_handler;
    ctx->timer.data = c;
    ctx->timer.log = c->log;

    ngx_http_llm_engine_start(ctx->engine, (ngx_cycle_t *) ngx_cycle);

    ctx->attached = 1;

    r->write_event_handler = ngx_http_llm_write_handler;

    if (!r->discard_body) {
        r->read_event_handler = ctx->conf->ignore_client_abort
                                    ? ngx_http_block_reading
                                    : ngx_http_test_reading;
    }

    error = ngx_http_llm_enqueue(ctx);

    if (error) {
        ngx_http_llm_fail(ctx, error);
        return;
    }

    ngx_http_llm_timer_set(ctx);

    /* the end of the connection may have come with the body */

    if (ctx->conf->ignore_client_abort) {
        return;
    }

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_http_llm_finalize(ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}


/* Tenant, salt and request id, evaluated once. */

static ngx_int_t
ngx_http_llm_strings(ngx_http_llm_ctx_t *ctx)
{
    ngx_http_request_t      *r;
    ngx_http_llm_loc_conf_t *llcf;

    r = ctx->request;
    llcf = ctx->conf;

    if (llcf->tenant
        && ngx_http_complex_value(r, llcf->tenant, &ctx->tenant) != NGX_OK) {
        return NGX_ERROR;
    }

    if (llcf->cache_salt == NULL) {
        ctx->salt = ctx->tenant;

    } else if (ngx_http_complex_value(r, llcf->cache_salt, &ctx->salt)
               != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_llm_string(r, &ctx->tenant) != NGX_OK
        || ngx_http_llm_string(r, &ctx->salt) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_llm_request_id(ctx);
}


/* What is too long for a record ends in a digest of all of it. */

static ngx_int_t
ngx_http_llm_string(ngx_http_request_t *r, ngx_str_t *s)
{
    u_char    *p, digest[20];
    ngx_sha1_t sha1;

    if (s->len <= LLM_STRING_MAX) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, LLM_STRING_MAX);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, s->data, s->len);
    ngx_sha1_final(digest, &sha1);

    ngx_memcpy(p, s->data, LLM_STRING_MAX - 40);
    ngx_http_llm_hex(p + LLM_STRING_MAX - 40, digest, 20);

    s->data = p;
    s->len = LLM_STRING_MAX;

    return NGX_OK;
}


/*
 * For the engine's log: $request_id, and behind a space what the client calls
 * the request, made printable.
 */

static ngx_int_t
ngx_http_llm_request_id(ngx_http_llm_ctx_t *ctx)
{
    u_char                    *p;
    size_t                     len;
    ngx_uint_t                 i;
    ngx_list_part_t           *part;
    ngx_table_elt_t           *h, *client;
    ngx_http_request_t        *r;
    ngx_http_variable_value_t *vv;
    ngx_http_llm_main_conf_t  *lmcf;

    static ngx_str_t name = ngx_string("x-client-request-id");

    r = ctx->request;
    lmcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    vv = ngx_http_get_indexed_variable(r, lmcf->request_id);
    if (vv == NULL || vv->not_found || vv->len != sizeof(ctx->id)) {
        return NGX_ERROR;
    }

    ngx_memcpy(ctx->id, vv->data, sizeof(ctx->id));

    client = NULL;
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; client == NULL; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (i < part->nelts && h[i].key.len == name.len
            && ngx_strncasecmp(h[i].key.data, name.data, name.len) == 0) {
            client = &h[i];
        }
    }

    len = client ? ngx_min(client->value.len, 256) : 0;

    p = ngx_pnalloc(r->pool, vv->len + 1 + len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->request_id.data = p;
    p = ngx_cpymem(p, vv->data, vv->len);

    if (len) {
        *p++ = ' ';
    }

    for (i = 0; i < len; i++) {
        *p++ = client->value.data[i] > ' ' && client->value.data[i] < 0x7f
                   ? client->value.data[i]
                   : '?';
    }

    ctx->request_id.len = p - ctx->request_id.data;

    return NGX_OK;
}


static void
ngx_http_llm_random(ngx_http_llm_ctx_t *ctx)
{
    if (getrandom(&ctx->seed, sizeof(ctx->seed), GRND_NONBLOCK)
        != (ssize_t) sizeof(ctx->seed)) {
        ctx->seed = (uint64_t) ngx_random() << 32 ^ (uint64_t) ngx_random();
    }
}


static void
ngx_http_llm_hex(u_char *dst, u_char *src, size_t n)
{
    (void) ngx_hex_dump(dst, src, n);
}


/* There is something for the client: at the end of the engine's turn. */

void
ngx_http_llm_dirty(ngx_http_llm_ctx_t *ctx)
{
    if (ctx->is_dirty) {
        return;
    }

    ctx->is_dirty = 1;
    ngx_queue_insert_tail(&ctx->engine->dirty, &ctx->dirty);
}


void
ngx_http_llm_dirty_run(ngx_http_llm_engine_t *e)
{
    ngx_queue_t        *q;
    ngx_connection_t   *c;
    ngx_http_llm_ctx_t *ctx;

    while (!ngx_queue_empty(&e->dirty)) {

        q = ngx_queue_head(&e->dirty);
        ngx_queue_remove(q);

        ctx = ngx_queue_data(q, ngx_http_llm_ctx_t, dirty);
        ctx->is_dirty = 0;

        c = ctx->request->connection;

        ngx_http_set_log_request(c->log, ctx->request);

        ngx_http_llm_process(ctx);
        ngx_http_run_posted_requests(c);
    }
}


static void
ngx_http_llm_process(ngx_http_llm_ctx_t *ctx)
{
    if (ctx->error) {
        ngx_http_llm_fail(ctx, ctx->error);
        return;
    }

    if (ctx->stream) {
        ngx_http_llm_pump(ctx);
        return;
    }

    if (ctx->ended) {
        ngx_http_llm_answer(ctx);
    }
}


/* The nearest of all that may become due; always set. */

void
ngx_http_llm_timer_set(ngx_http_llm_ctx_t *ctx)
{
    ngx_msec_t next;

    (void) ngx_http_llm_due(ctx, &next);

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    ngx_add_timer(&ctx->timer, next);
}


static void
ngx_http_llm_timer_handler(ngx_event_t *ev)
{
    ngx_msec_t                  next;
    ngx_connection_t           *c;
    ngx_http_llm_ctx_t         *ctx;
    const ngx_http_llm_error_t *error;

    ctx = (ngx_http_llm_ctx_t *) ((u_char *) ev
                                  - offsetof(ngx_http_llm_ctx_t, timer));
    c = ctx->request->connection;

    ngx_http_set_log_request(c->log, ctx->request);

    error = ngx_http_llm_due(ctx, &next);

    if (error) {
        ngx_http_llm_fail(ctx, error);
        ngx_http_run_posted_requests(c);
        return;
    }

    if (ngx_http_llm_pings(ctx)
        && ngx_current_msec - ctx->last >= ctx->conf->ping_interval
        && ngx_http_llm_ping(ctx) != NGX_OK) {
        ngx_http_run_posted_requests(c);
        return;
    }

    ngx_http_llm_timer_set(ctx);
}


/* An error that is due, or NULL and in how many ms to look again. */

static const ngx_http_llm_error_t *
ngx_http_llm_due(ngx_http_llm_ctx_t *ctx, ngx_msec_t *next)
{
    ngx_msec_t                  passed;
    ngx_http_llm_loc_conf_t    *llcf;
    const ngx_http_llm_error_t *due, *why;

    llcf = ctx->conf;
    passed = ngx_current_msec - ctx->start;

    due = NULL;
    *next = NGX_HTTP_LLM_IDLE;

    ngx_http_llm_due_one(passed, llcf->request_timeout,
                         &ngx_http_llm_err_request_timeout, &due, next);

    if (ctx->op == LLM_OP_METRICS) {
        ngx_http_llm_due_one(passed, NGX_HTTP_LLM_SCRAPE,
                             &ngx_http_llm_err_request_timeout, &due, next);
    }

    if (ctx->first == 0) {
        ngx_http_llm_due_one(passed, llcf->first_token_timeout,
                             &ngx_http_llm_err_first_timeout, &due, next);
    }

    if (!ctx->admitted && !ctx->headed) {
        ngx_http_llm_due_one(passed, llcf->queue_timeout,
                             &ngx_http_llm_err_queue_timeout, &due, next);
    }

    if (ctx->waiting) {
        why = ngx_http_llm_usable(ctx);

        if (why && llcf->connect_timeout == 0) {
            due = why;

        } else {
            passed = ngx_current_msec - ctx->connect;

            /* else it waits for a slot or space: look now and then */

            ngx_http_llm_due_one(why ? passed : 0, llcf->connect_timeout, why,
                                 &due, next);
        }
    }

    if (ngx_http_llm_pings(ctx)) {
        passed = ngx_current_msec - ctx->last;
        passed = passed < llcf->ping_interval ? llcf->ping_interval - passed
                                              : llcf->ping_interval;
        *next = ngx_min(*next, passed);
    }

    *next = ngx_max(*next, 1);

    return due;
}


/* From admission on, whether or not HEAD is there. */

static ngx_uint_t
ngx_http_llm_pings(ngx_http_llm_ctx_t *ctx)
{
    return ctx->stream && ctx->conf->ping_interval
           && (ctx->admitted || ctx->request->header_sent);
}


static void
ngx_http_llm_due_one(ngx_msec_t passed, ngx_msec_t limit,
                     const ngx_http_llm_error_t  *what,
                     const ngx_http_llm_error_t **due, ngx_msec_t *next)
{
    if (limit == 0) {
        return;
    }

    if (passed >= limit) {
        *due = what;
        return;
    }

    passed = limit - passed;
    *next = ngx_min(*next, passed);
}


/*
 * The engine's connection ended with this request in it, in engine->active.
 * If no DATA went to the client, it starts again from its body; else it ends.
 */

void
ngx_http_llm_lost(ngx_http_llm_ctx_t *ctx)
{
    ngx_log_t *log;

    log = ctx->request->connection->log;

    if (ctx->passed || ctx->error || ctx->op == LLM_OP_METRICS
        || ++ctx->deaths >= NGX_HTTP_LLM_DEATHS) {
        ngx_queue_remove(&ctx->queue);
        ctx->submitted = 0;

        if (ctx->body_sending) {
            ngx_queue_remove(&ctx->sending);
            ctx->body_sending = 0;
        }

        if (ctx->error == NULL) {
            ctx->error = ctx->passed || ctx->deaths < NGX_HTTP_LLM_DEATHS
                             ? &ngx_http_llm_err_lost
                             : &ngx_http_llm_err_failed;
        }

        ngx_http_llm_dirty(ctx);
        return;
    }

    ngx_log_error(NGX_LOG_WARN, log, 0,
                  "llm engine \"%V\" lost, request waits to be sent again",
                  &ctx->engine->name);

    ngx_http_llm_stat(NGX_HTTP_LLM_STAT_RESUBMITTED);

    if (ctx->is_dirty) {
        ngx_queue_remove(&ctx->dirty);
        ctx->is_dirty = 0;
    }

    ngx_http_llm_forget(ctx);
    ngx_http_llm_requeue(ctx);

    log->action = "waiting for engine";

    ctx->admitted = 0;
    ctx->headed = 0;
    ctx->late_error = 0;
    ctx->first = 0;
    ctx->stream = ctx->request->header_sent;
    ctx->boundary = 1;
    ctx->connect = ngx_current_msec;

    ngx_http_llm_timer_set(ctx);
}


/* Nothing knows the context any more; CANCEL, where the engine has it. */

void
ngx_http_llm_detach(ngx_http_llm_ctx_t *ctx)
{
    if (!ctx->attached) {
        return;
    }

    ctx->attached = 0;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    ngx_http_llm_release(ctx);
}


void
ngx_http_llm_finalize(ngx_http_llm_ctx_t *ctx, ngx_int_t rc)
{
    ngx_http_request_t *r;

    r = ctx->request;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "llm finalize: %i", rc);

    ngx_http_llm_detach(ctx);

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    r->connection->log->action = "sending to client";

    ngx_http_finalize_request(r, rc);
}


/* worker_shutdown_timeout is about to expire: says so while it can be said. */

void
ngx_http_llm_shutdown(ngx_http_llm_engine_t *e)
{
    ngx_uint_t          i;
    ngx_queue_t        *q, *queues[2];
    ngx_http_llm_ctx_t *ctx;

    if (!e->started) {
        return;
    }

    queues[0] = &e->active;
    queues[1] = &e->waiting;

    for (i = 0; i < 2; i++) {

        for (q = ngx_queue_head(queues[i]); q != ngx_queue_sentinel(queues[i]);
             q = ngx_queue_next(q)) {
            ctx = ngx_queue_data(q, ngx_http_llm_ctx_t, queue);
            ctx->error = &ngx_http_llm_err_shutdown;
            ngx_http_llm_dirty(ctx);
        }
    }

    ngx_http_llm_dirty_run(e);
}
