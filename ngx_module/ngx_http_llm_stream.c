/*
 * From the engine to the client: DATA is kept in buffers of the request's
 * pool, and goes out at once, flushed, if it is a stream, or at END with its
 * length if it is not.
 *
 * A stream's unsent bytes never exceed the request's credit: what leaves is
 * given back to the engine, and while the client's socket is full nothing is
 * passed on, so that small pieces share buffers.
 */

#include "ngx_module/ngx_http_llm_module.h"


static ngx_buf_t *ngx_http_llm_buf(ngx_http_llm_ctx_t *ctx, size_t n);
static ngx_int_t  ngx_http_llm_stream_header(ngx_http_llm_ctx_t *ctx);
static void       ngx_http_llm_late(ngx_http_llm_ctx_t *ctx);
static void       ngx_http_llm_left(ngx_http_llm_ctx_t *ctx);
static ngx_int_t  ngx_http_llm_write_wait(ngx_http_llm_ctx_t *ctx);
static ngx_int_t  ngx_http_llm_time_header(ngx_http_llm_ctx_t *ctx);


/* Copies bytes of DATA behind those that wait.  NGX_ERROR: too many. */

ngx_int_t
ngx_http_llm_append(ngx_http_llm_ctx_t *ctx, const u_char *p, size_t n)
{
    size_t     part;
    ngx_buf_t *b;

    ctx->total += n;
    ctx->held += n;

    if (!ctx->stream && ctx->total > NGX_HTTP_LLM_RESPONSE_MAX) {
        return NGX_ERROR;
    }

    while (n) {
        b = ngx_http_llm_buf(ctx, n);
        if (b == NULL) {
            return NGX_ERROR;
        }

        part = b->end - b->last;
        part = ngx_min(part, n);
        b->last = ngx_cpymem(b->last, p, part);
        p += part;
        n -= part;
    }

    return NGX_OK;
}


/* A buffer with space: the last one that waits, or one more. */

static ngx_buf_t *
ngx_http_llm_buf(ngx_http_llm_ctx_t *ctx, size_t n)
{
    size_t       size;
    ngx_buf_t   *b;
    ngx_chain_t *cl;

    if (ctx->out_last && ctx->out_last->buf->last < ctx->out_last->buf->end) {
        return ctx->out_last->buf;
    }

    cl = ngx_chain_get_free_buf(ctx->request->pool, &ctx->free);
    if (cl == NULL) {
        return NULL;
    }

    b = cl->buf;

    if (b->start == NULL) {

        /* those of a stream are used again; the others grow with the answer */

        size = NGX_HTTP_LLM_BUF_SIZE;

        if (!ctx->stream) {
            size = (size_t) ctx->total / 2;
            size = ngx_min(size, NGX_HTTP_LLM_BUF_MAX);
            size = ngx_max(size, NGX_HTTP_LLM_BUF_SIZE);
            size = ngx_max(size, n);
        }

        b->start = ngx_palloc(ctx->request->pool, size);
        if (b->start == NULL) {
            return NULL;
        }

        b->pos = b->start;
        b->last = b->start;
        b->end = b->start + size;
        b->temporary = 1;
        b->tag = (ngx_buf_tag_t) &ngx_http_llm_module;
    }

    b->flush = 0;
    b->last_buf = 0;
    b->last_in_chain = 0;

    cl->next = NULL;

    if (ctx->out_last) {
        ctx->out_last->next = cl;

    } else {
        ctx->out = cl;
    }

    ctx->out_last = cl;

    return b;
}


/* What came and was not passed on is void: the engine died. */

void
ngx_http_llm_forget(ngx_http_llm_ctx_t *ctx)
{
    ngx_chain_t *cl, *next;

    for (cl = ctx->out; cl; cl = next) {
        next = cl->next;

        cl->buf->pos = cl->buf->start;
        cl->buf->last = cl->buf->start;
        cl->next = ctx->free;
        ctx->free = cl;
    }

    ctx->out = NULL;
    ctx->out_last = NULL;
    ctx->held = 0;
    ctx->give = 0;
    ctx->total = 0;
}


/* A stream: sends what there is, and ends it if that is all. */

void
ngx_http_llm_pump(ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t           rc;
    ngx_connection_t   *c;
    ngx_http_request_t *r;

    r = ctx->request;
    c = r->connection;

    if (!r->header_sent) {

        if (!ctx->headed) {

            if (ctx->ended) {
                ngx_http_llm_answer(ctx);
            }

            return;
        }

        rc = ngx_http_llm_stream_header(ctx);

        if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
            ngx_http_llm_finalize(ctx, rc);
            return;
        }
    }

    if (ctx->ended && !ctx->boundary) {

        /* cut within an event: the client has to see that it is not whole */

        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "llm engine \"%V\" ended a stream within an event",
                      &ctx->engine->name);
        ctx->aborted = "engine";
        (void) ngx_http_output_filter(r, ctx->out);
        ngx_http_llm_finalize(ctx, NGX_ERROR);
        return;
    }

    if (ctx->ended && (ctx->end.outcome == LLM_END_CANCELLED || !ctx->headed)) {
        ngx_http_llm_fail(ctx, &ngx_http_llm_err_lost);
        return;
    }

    rc = NGX_OK;

    if (ctx->out && (ctx->ended || ctx->busy == NULL || !c->buffered)) {

        ctx->out_last->buf->flush = 1;

        if (ctx->ended) {
            ctx->out_last->buf->last_buf = (r == r->main);
            ctx->out_last->buf->last_in_chain = 1;
        }

        ctx->passed = 1;
        ctx->flush_pending = 0;
        ctx->last = ngx_current_msec;

        rc = ngx_http_output_filter(r, ctx->out);

        ngx_chain_update_chains(r->pool, &ctx->free, &ctx->busy, &ctx->out,
                                (ngx_buf_tag_t) &ngx_http_llm_module);
        ctx->out_last = NULL;

    } else if (ctx->ended) {
        rc = ngx_http_send_special(r, NGX_HTTP_LAST);

    } else if (ctx->flush_pending) {
        ctx->flush_pending = 0;
        rc = ngx_http_send_special(r, NGX_HTTP_FLUSH);
    }

    if (rc == NGX_ERROR) {
        ctx->aborted = "client";
        ngx_http_llm_finalize(ctx, NGX_ERROR);
        return;
    }

    if (ctx->ended) {
        ngx_http_llm_finalize(ctx, rc);
        return;
    }

    ngx_http_llm_left(ctx);

    if (ngx_http_llm_write_wait(ctx) != NGX_OK) {
        ngx_http_llm_finalize(ctx, NGX_ERROR);
    }
}


/* The client's socket can take more. */

void
ngx_http_llm_write_handler(ngx_http_request_t *r)
{
    ngx_int_t           rc;
    ngx_chain_t        *sent;
    ngx_event_t        *wev;
    ngx_connection_t   *c;
    ngx_http_llm_ctx_t *ctx;

    c = r->connection;
    wev = c->write;

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT, "client timed out");
        c->timedout = 1;
        ctx->aborted = "client";
        ngx_http_llm_finalize(ctx, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (!ctx->stream || !r->header_sent) {
        return;
    }

    if (c->buffered || ctx->busy) {

        rc = ngx_http_output_filter(r, NULL);

        if (rc == NGX_ERROR) {
            ctx->aborted = "client";
            ngx_http_llm_finalize(ctx, NGX_ERROR);
            return;
        }

        /* not &ctx->out: what is there has not been given to the filters yet */

        sent = NULL;
        ngx_chain_update_chains(r->pool, &ctx->free, &ctx->busy, &sent,
                                (ngx_buf_tag_t) &ngx_http_llm_module);
    }

    ngx_http_llm_pump(ctx);
}


/* Credit for what has left since. */

static void
ngx_http_llm_left(ngx_http_llm_ctx_t *ctx)
{
    size_t       left;
    ngx_chain_t *cl;

    left = 0;

    for (cl = ctx->busy; cl; cl = cl->next) {
        left += ngx_buf_size(cl->buf);
    }

    for (cl = ctx->out; cl; cl = cl->next) {
        left += ngx_buf_size(cl->buf);
    }

    if (left < ctx->held) {
        left = ctx->held - left;
        ctx->held -= left;
        ngx_http_llm_credit(ctx, left);
    }
}


/* send_timeout runs while the socket is full, unless limit_rate holds back. */

static ngx_int_t
ngx_http_llm_write_wait(ngx_http_llm_ctx_t *ctx)
{
    ngx_event_t              *wev;
    ngx_http_request_t       *r;
    ngx_http_core_loc_conf_t *clcf;

    r = ctx->request;
    wev = r->connection->write;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (r->connection->buffered || ctx->busy) {

        if (!wev->delayed) {
            ngx_add_timer(wev, clcf->send_timeout);
        }

    } else if (wev->timer_set && !wev->delayed) {
        ngx_del_timer(wev);
    }

    return ngx_handle_write_event(wev, clcf->send_lowat);
}


/* A comment, if the client is between two events and has all of the first. */

ngx_int_t
ngx_http_llm_ping(ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t           rc;
    ngx_buf_t          *b;
    ngx_chain_t         out;
    ngx_http_request_t *r;

    static u_char ping[] = ": ping\n\n";

    r = ctx->request;
    ctx->last = ngx_current_msec;

    if (!r->header_sent) {

        /* admitted, but the engine takes its time: what comes is a stream */

        ctx->early = 1;
        rc = ngx_http_llm_stream_header(ctx);

        if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
            ngx_http_llm_finalize(ctx, rc);
            return NGX_ERROR;
        }
    }

    if (!ctx->boundary || ctx->out || ctx->busy || r->connection->buffered) {
        return NGX_OK;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        ngx_http_llm_finalize(ctx, NGX_ERROR);
        return NGX_ERROR;
    }

    b->memory = 1;
    b->flush = 1;
    b->pos = ping;
    b->last = ping + sizeof(ping) - 1;

    out.buf = b;
    out.next = NULL;

    rc = ngx_http_output_filter(r, &out);

    if (rc == NGX_ERROR || ngx_http_llm_write_wait(ctx) != NGX_OK) {
        ctx->aborted = "client";
        ngx_http_llm_finalize(ctx, NGX_ERROR);
        return NGX_ERROR;
    }

    ngx_http_llm_stat(NGX_HTTP_LLM_STAT_PINGS);

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_stream_header(ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_str_t                 value;
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_core_loc_conf_t *clcf;

    r = ctx->request;
    c = r->connection;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_type_len = sizeof("text/event-stream") - 1;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_lowcase = NULL;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);

    ngx_str_set(&value, "no-cache, no-transform");

    if (ngx_http_llm_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_str_set(&value, "no");

    if (ngx_http_llm_header(r, "X-Accel-Buffering", &value) != NGX_OK
        || ngx_http_llm_time_header(ctx) != NGX_OK) {
        return NGX_ERROR;
    }

#if (NGX_HTTP_GZIP)
    r->gzip_tested = 1;
    r->gzip_ok = 0;
#endif

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->tcp_nodelay && ngx_tcp_nodelay(c) != NGX_OK) {
        return NGX_ERROR;
    }

    c->log->action = "reading from engine, sending to client";

    rc = ngx_http_send_header(r);

    ctx->flush_pending = 1;
    ctx->last = ngx_current_msec;

    ngx_http_llm_timer_set(ctx);

    return rc;
}


/* Not a stream, and all of it is here. */

void
ngx_http_llm_answer(ngx_http_llm_ctx_t *ctx)
{
    ngx_uint_t          status;
    ngx_chain_t        *out;
    const char         *type;
    ngx_http_request_t *r;

    r = ctx->request;

    if (!ctx->headed || ctx->end.outcome == LLM_END_CANCELLED) {
        ngx_http_llm_fail(ctx, ctx->end.outcome == LLM_END_TIMEOUT
                                   ? &ngx_http_llm_err_request_timeout
                                   : &ngx_http_llm_err_no_answer);
        return;
    }

    if (ctx->late_error) {
        ngx_http_llm_late(ctx);
        return;
    }

    status = ctx->head.status;
    out = ctx->out;

    if (ctx->end.outcome == LLM_END_TIMEOUT) {
        ctx->aborted = "timeout";
    }

    if (ctx->op == LLM_OP_METRICS) {
        ngx_http_llm_detach(ctx);
        ngx_http_llm_metrics_send(r, status == NGX_HTTP_OK ? out : NULL);
        return;
    }

    if (ngx_http_llm_retry_headers(r, ctx->head.retry_ms, ctx->head.no_retry)
            != NGX_OK
        || ngx_http_llm_time_header(ctx) != NGX_OK) {
        ngx_http_llm_finalize(ctx, NGX_ERROR);
        return;
    }

    if (status >= NGX_HTTP_BAD_REQUEST
        && ngx_http_llm_error_intercepted(r, status)) {
        ngx_http_llm_finalize(ctx, status);
        return;
    }

    type = ctx->head.kind == LLM_KIND_TEXT ? "text/plain; charset=utf-8"
                                           : "application/json";

    ngx_http_llm_finalize(ctx, ngx_http_llm_send(r, status, type, out));
}


/*
 * An error's JSON for a stream whose header is out: one event, on one line.
 */

static void
ngx_http_llm_late(ngx_http_llm_ctx_t *ctx)
{
    u_char             *p;
    ngx_int_t           rc;
    ngx_buf_t          *b;
    ngx_chain_t        *cl, out;
    ngx_http_request_t *r;

    r = ctx->request;

    b = ngx_create_temp_buf(r->pool, ctx->total + sizeof("data: \n\n"));
    if (b == NULL) {
        ngx_http_llm_finalize(ctx, NGX_ERROR);
        return;
    }

    b->last = ngx_cpymem(b->last, "data: ", sizeof("data: ") - 1);

    for (cl = ctx->out; cl; cl = cl->next) {
        for (p = cl->buf->pos; p < cl->buf->last; p++) {
            *b->last++ = (*p == '\n' || *p == '\r') ? ' ' : *p;
        }
    }

    b->last = ngx_cpymem(b->last, "\n\n", 2);
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;
    b->flush = 1;

    out.buf = b;
    out.next = NULL;

    rc = ngx_http_output_filter(r, &out);

    ngx_http_llm_finalize(ctx, rc);
}


static ngx_int_t
ngx_http_llm_time_header(ngx_http_llm_ctx_t *ctx)
{
    return ngx_http_llm_header_number(ctx->request, "openai-processing-ms",
                                      ngx_current_msec - ctx->start);
}


ngx_int_t
ngx_http_llm_header(ngx_http_request_t *r, const char *key, ngx_str_t *value)
{
    ngx_table_elt_t *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t)); /* `next`, since 1.23.0 */

    h->hash = 1;
    h->key.data = (u_char *) key;
    h->key.len = ngx_strlen(key);
    h->value = *value;

    return NGX_OK;
}


ngx_int_t
ngx_http_llm_header_number(ngx_http_request_t *r, const char *key, ngx_uint_t n)
{
    ngx_str_t value;

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%ui", n) - value.data;

    return ngx_http_llm_header(r, key, &value);
}


/* When the client may try again: whole seconds, at least one, and exactly. */

ngx_int_t
ngx_http_llm_retry_headers(ngx_http_request_t *r, ngx_uint_t ms,
                           ngx_uint_t no_retry)
{
    ngx_str_t value;

    if (ms
        && (ngx_http_llm_header_number(r, "Retry-After", (ms + 999) / 1000)
                != NGX_OK
            || ngx_http_llm_header_number(r, "retry-after-ms", ms) != NGX_OK)) {
        return NGX_ERROR;
    }

    if (no_retry) {
        ngx_str_set(&value, "false");
        return ngx_http_llm_header(r, "x-should-retry", &value);
    }

    return NGX_OK;
}
