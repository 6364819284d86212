/*
 * Errors as the API's clients want them: JSON bodies, Retry-After, and in a
 * started stream an event.  The tables here are all that the module ever says
 * of its own; what the engine says passes through.
 */

#include "ngx_module/ngx_http_llm_module.h"


#define NGX_HTTP_LLM_INVALID     "invalid_request_error"
#define NGX_HTTP_LLM_UNAVAILABLE "service_unavailable_error"

const ngx_http_llm_error_t ngx_http_llm_err_unknown_url = {
    NGX_HTTP_NOT_FOUND,
    NGX_HTTP_LLM_INVALID,
    "unknown_url",
    NULL,
    0,
    0,
    NGX_HTTP_LLM_STAT_NONE,
    NULL};

const ngx_http_llm_error_t ngx_http_llm_err_method = {NGX_HTTP_NOT_ALLOWED,
                                                      NGX_HTTP_LLM_INVALID,
                                                      "method_not_supported",
                                                      NULL,
                                                      0,
                                                      0,
                                                      NGX_HTTP_LLM_STAT_NONE,
                                                      NULL};

const ngx_http_llm_error_t ngx_http_llm_err_unavailable = {
    NGX_HTTP_SERVICE_UNAVAILABLE,
    NGX_HTTP_LLM_UNAVAILABLE,
    "engine_unavailable",
    "The engine is not available. Try again later.",
    2000,
    0,
    NGX_HTTP_LLM_STAT_REJ_UNAVAILABLE,
    "engine"};

const ngx_http_llm_error_t ngx_http_llm_err_loading = {
    NGX_HTTP_SERVICE_UNAVAILABLE,
    NGX_HTTP_LLM_UNAVAILABLE,
    "model_loading",
    "The model is still loading. Try again later.",
    5000,
    0,
    NGX_HTTP_LLM_STAT_REJ_LOADING,
    "engine"};

const ngx_http_llm_error_t ngx_http_llm_err_overloaded = {
    NGX_HTTP_SERVICE_UNAVAILABLE,
    NGX_HTTP_LLM_UNAVAILABLE,
    "server_is_overloaded",
    "Too many requests wait. Try again later.",
    1000,
    0,
    NGX_HTTP_LLM_STAT_REJ_OVERLOADED,
    NULL};

const ngx_http_llm_error_t ngx_http_llm_err_queue_timeout = {
    NGX_HTTP_SERVICE_UNAVAILABLE,
    NGX_HTTP_LLM_UNAVAILABLE,
    "server_is_overloaded",
    "The request waited too long. Try again later.",
    1000,
    0,
    NGX_HTTP_LLM_STAT_TIMEOUTS,
    "timeout"};

const ngx_http_llm_error_t ngx_http_llm_err_first_timeout = {
    NGX_HTTP_GATEWAY_TIME_OUT,           "timeout", "first_token_timeout",
    "The answer did not begin in time.", 0,         0,
    NGX_HTTP_LLM_STAT_TIMEOUTS,          "timeout"};

const ngx_http_llm_error_t ngx_http_llm_err_request_timeout = {
    NGX_HTTP_GATEWAY_TIME_OUT,
    "timeout",
    "request_timeout",
    "The answer was not complete in time.",
    0,
    0,
    NGX_HTTP_LLM_STAT_TIMEOUTS,
    "timeout"};

const ngx_http_llm_error_t ngx_http_llm_err_shutdown = {
    NGX_HTTP_SERVICE_UNAVAILABLE,
    NGX_HTTP_LLM_UNAVAILABLE,
    "shutting_down",
    "The server is shutting down. Try again.",
    1000,
    0,
    NGX_HTTP_LLM_STAT_NONE,
    "shutdown"};

const ngx_http_llm_error_t ngx_http_llm_err_lost = {
    NGX_HTTP_SERVICE_UNAVAILABLE,
    "server_error",
    "engine_lost",
    "The engine stopped before the answer was complete.",
    1000,
    0,
    NGX_HTTP_LLM_STAT_NONE,
    "engine"};

const ngx_http_llm_error_t ngx_http_llm_err_failed = {
    NGX_HTTP_INTERNAL_SERVER_ERROR,
    "server_error",
    "engine_failed",
    "The engine failed repeatedly with this request.",
    0,
    1,
    NGX_HTTP_LLM_STAT_NONE,
    "engine"};

const ngx_http_llm_error_t ngx_http_llm_err_no_answer = {
    NGX_HTTP_INTERNAL_SERVER_ERROR,
    "server_error",
    NULL,
    "The engine gave no answer.",
    0,
    0,
    NGX_HTTP_LLM_STAT_NONE,
    "engine"};

const ngx_http_llm_error_t ngx_http_llm_err_too_large = {
    NGX_HTTP_INTERNAL_SERVER_ERROR,
    "server_error",
    NULL,
    "The answer is too large. Ask for a stream.",
    0,
    1,
    NGX_HTTP_LLM_STAT_NONE,
    "engine"};

const ngx_http_llm_error_t ngx_http_llm_err_body = {
    NGX_HTTP_INTERNAL_SERVER_ERROR,
    "server_error",
    NULL,
    "The request's body could not be read.",
    0,
    0,
    NGX_HTTP_LLM_STAT_NONE,
    NULL};


/* Errors of NGINX's core and of other modules. */

typedef struct {
    ngx_uint_t  status; /* 0: all other 4xx, and the end */
    const char *type;
    const char *code;
    const char *message;
} ngx_http_llm_core_error_t;

static const ngx_http_llm_core_error_t ngx_http_llm_core_errors[] = {
    {400, NGX_HTTP_LLM_INVALID, NULL, "Bad request."},
    {401, "authentication_error", "invalid_api_key",
     "Authentication is required, or the credentials are wrong."},
    {403, "permission_error", NULL, "Access denied."},
    {404, NGX_HTTP_LLM_INVALID, NULL, "Not found."},
    {405, NGX_HTTP_LLM_INVALID, NULL, "Method not allowed."},
    {408, "timeout", NULL, "The request did not come in time."},
    {409, "conflict", NULL, "Conflict."},
    {411, NGX_HTTP_LLM_INVALID, NULL, "Content-Length is required."},
    {413, NGX_HTTP_LLM_INVALID, "request_too_large",
     "The request's body is too large."},
    {414, NGX_HTTP_LLM_INVALID, NULL, "The request's URI is too long."},
    {415, NGX_HTTP_LLM_INVALID, NULL, "Unsupported media type."},
    {429, "rate_limit_error", "rate_limit_exceeded",
     "Too many requests. Try again later."},
    {500, "server_error", NULL, "Internal server error."},
    {502, "server_error", NULL, "Bad gateway."},
    {503, NGX_HTTP_LLM_UNAVAILABLE, "server_is_overloaded",
     "The service is not available. Try again later."},
    {504, "timeout", NULL, "Gateway timeout."},
    {0, NGX_HTTP_LLM_INVALID, NULL, "The request was refused."}};


static ngx_int_t ngx_http_llm_error_event(ngx_http_llm_ctx_t         *ctx,
                                          const ngx_http_llm_error_t *error);


/* {"error":{...}}, of the request's pool. */

ngx_int_t
ngx_http_llm_error_body(ngx_http_request_t *r, ngx_str_t *body,
                        const char *type, const char *code, ngx_str_t *message)
{
    u_char *p;
    size_t  len;

    len = sizeof("{\"error\":{\"message\":\"\",\"type\":\"\",\"param\":null,"
                 "\"code\":\"\"}}")
          + sizeof("null") + ngx_strlen(type) + (code ? ngx_strlen(code) : 0)
          + message->len + ngx_escape_json(NULL, message->data, message->len);

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    p = ngx_sprintf(p, "{\"error\":{\"message\":\"");
    p = (u_char *) ngx_escape_json(p, message->data, message->len);
    p = ngx_sprintf(p, "\",\"type\":\"%s\",\"param\":null,\"code\":", type);
    p = code ? ngx_sprintf(p, "\"%s\"}}", code) : ngx_sprintf(p, "null}}");

    body->len = p - body->data;

    return NGX_OK;
}


/*
 * A whole response with this error, its own message or another.  Returns what
 * is to be finalized with: bypasses error_page unless llm_intercept_errors.
 */

ngx_int_t
ngx_http_llm_error_send(ngx_http_request_t         *r,
                        const ngx_http_llm_error_t *error, ngx_str_t *message)
{
    ngx_buf_t   *b;
    ngx_str_t    body, text;
    ngx_chain_t *out;

    ngx_http_llm_stat(error->stat);

    if (ngx_http_llm_error_note(r, error->type) != NGX_OK
        || ngx_http_llm_retry_headers(r, error->retry_ms, error->no_retry)
               != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_llm_error_intercepted(r, error->status)) {
        return error->status;
    }

    if (message == NULL) {
        text.data = (u_char *) error->message;
        text.len = ngx_strlen(error->message);
        message = &text;
    }

    if (ngx_http_llm_error_body(r, &body, error->type, error->code, message)
        != NGX_OK) {
        return NGX_ERROR;
    }

    b = ngx_calloc_buf(r->pool);
    out = ngx_alloc_chain_link(r->pool);

    if (b == NULL || out == NULL) {
        return NGX_ERROR;
    }

    b->memory = 1;
    b->pos = body.data;
    b->last = body.data + body.len;

    out->buf = b;
    out->next = NULL;

    return ngx_http_llm_send(r, error->status, "application/json", out);
}


/* Is there an error_page that would take it, and shall it? */

ngx_uint_t
ngx_http_llm_error_intercepted(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_uint_t                i;
    ngx_http_err_page_t      *page;
    ngx_http_llm_loc_conf_t  *llcf;
    ngx_http_core_loc_conf_t *clcf;

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!llcf->intercept_errors || clcf->error_pages == NULL || r->error_page
        || r->uri_changes == 0) {
        return 0;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == (ngx_int_t) status) {
            return 1;
        }
    }

    return 0;
}


/*
 * Ends the request with an error, in whatever form it still can be told; the
 * request may be gone on return.
 */

void
ngx_http_llm_fail(ngx_http_llm_ctx_t *ctx, const ngx_http_llm_error_t *error)
{
    ngx_int_t           rc;
    ngx_http_request_t *r;

    r = ctx->request;

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "llm request failed: %s%s%s", error->code ? error->code : "",
                  error->code ? ", " : "", error->message);

    ctx->aborted = error->aborted;

    /* CANCEL goes before anything that may fail */

    ngx_http_llm_detach(ctx);

    (void) ngx_http_llm_error_note(r, error->type);

    if (ctx->op == LLM_OP_METRICS) {
        ngx_http_llm_metrics_send(r, NULL);
        return;
    }

    if (!r->header_sent) {
        rc = ngx_http_llm_header_number(r, "openai-processing-ms",
                                        ngx_current_msec - ctx->start);

        if (rc == NGX_OK) {
            rc = ngx_http_llm_error_send(r, error, NULL);
        }

        ngx_http_llm_finalize(ctx, rc);
        return;
    }

    ngx_http_llm_stat(error->stat);

    ngx_http_llm_finalize(ctx, ngx_http_llm_error_event(ctx, error));
}


/*
 * The last event of a started stream.  Within an event nothing can be said:
 * the connection's end tells the client that the stream is not whole.
 */

static ngx_int_t
ngx_http_llm_error_event(ngx_http_llm_ctx_t         *ctx,
                         const ngx_http_llm_error_t *error)
{
    ngx_buf_t          *b;
    ngx_str_t           body, message;
    ngx_chain_t        *cl, **last;
    ngx_http_request_t *r;

    r = ctx->request;

    for (last = &ctx->out; *last; last = &(*last)->next) { /* void */
    }

    if (!ctx->boundary) {
        (void) ngx_http_output_filter(r, ctx->out);
        return NGX_ERROR;
    }

    message.data = (u_char *) error->message;
    message.len = ngx_strlen(error->message);

    if (ngx_http_llm_error_body(r, &body, error->type, error->code, &message)
        != NGX_OK) {
        return NGX_ERROR;
    }

    b = ngx_create_temp_buf(r->pool, body.len + sizeof("data: \n\n"));
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->last = ngx_sprintf(b->last, "data: %V\n\n", &body);
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;
    b->flush = 1;

    cl->buf = b;
    cl->next = NULL;
    *last = cl;

    return ngx_http_output_filter(r, ctx->out);
}


/* The body for an error that is not ours. */

ngx_int_t
ngx_http_llm_core_error(ngx_http_request_t *r, ngx_uint_t status,
                        ngx_str_t *body)
{
    ngx_str_t                        message;
    const ngx_http_llm_core_error_t *e;

    for (e = ngx_http_llm_core_errors; e->status; e++) {
        if (e->status == status
            || (e->status == NGX_HTTP_INTERNAL_SERVER_ERROR && status > 504)) {
            break;
        }
    }

    if (e->status == 0 && status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
        while (e->status != NGX_HTTP_INTERNAL_SERVER_ERROR) {
            e--;
        }
    }

    message.data = (u_char *) e->message;
    message.len = ngx_strlen(e->message);

    if (ngx_http_llm_error_note(r, e->type) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_llm_error_body(r, body, e->type, e->code, &message);
}


/* For $llm_error_type, of requests that never came to the handler, too. */

ngx_int_t
ngx_http_llm_error_note(ngx_http_request_t *r, const char *type)
{
    ngx_http_llm_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    if (ctx == NULL) {
        ctx = ngx_http_llm_ctx_create(r, 0);
        if (ctx == NULL) {
            return NGX_ERROR;
        }
    }

    if (ctx->error_type.len == 0) {
        ctx->error_type.data = (u_char *) type;
        ctx->error_type.len = ngx_strlen(type);
    }

    return NGX_OK;
}


/* A whole response of ours with its length; `out` may be NULL. */

ngx_int_t
ngx_http_llm_send(ngx_http_request_t *r, ngx_uint_t status, const char *type,
                  ngx_chain_t *out)
{
    off_t        len;
    ngx_int_t    rc;
    ngx_chain_t *cl, *last;

    len = 0;
    last = NULL;

    for (cl = out; cl; cl = cl->next) {
        len += ngx_buf_size(cl->buf);
        last = cl;
    }

    r->headers_out.status = status;
    r->headers_out.content_length_n = len;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = strcspn(type, ";");
    r->headers_out.content_type_lowcase = NULL;

    if (r->headers_out.content_length) {
        r->headers_out.content_length->hash = 0;
        r->headers_out.content_length = NULL;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    if (last == NULL) {
        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    last->buf->last_buf = (r == r->main);
    last->buf->last_in_chain = 1;

    return ngx_http_output_filter(r, out);
}
