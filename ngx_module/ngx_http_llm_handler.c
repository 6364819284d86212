/*
 * The content handler of llm_pass: which operation the URI means, whether the
 * method fits, and the body, which NGINX reads as for any request.
 */

#include "ngx_module/ngx_http_llm_module.h"


typedef struct {
    ngx_str_t  path;
    ngx_uint_t op; /* LLM_OP_* */
    ngx_uint_t methods;
    ngx_uint_t prefix; /* what follows is an argument */
} ngx_http_llm_route_t;


static ngx_int_t ngx_http_llm_route(ngx_http_request_t    *r,
                                    ngx_http_llm_route_t **route,
                                    ngx_str_t             *arg);
static ngx_int_t ngx_http_llm_route_match(ngx_http_llm_route_t *route,
                                          ngx_str_t *rest, ngx_str_t *arg);
static ngx_int_t ngx_http_llm_route_search(ngx_http_llm_route_t *route,
                                           ngx_str_t *uri, ngx_str_t *arg);
static ngx_int_t ngx_http_llm_unknown(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_method(ngx_http_request_t   *r,
                                     ngx_http_llm_route_t *route);
static ngx_int_t ngx_http_llm_refuse(ngx_http_request_t *r, ngx_uint_t op,
                                     const ngx_http_llm_error_t *error,
                                     ngx_str_t                  *message);
static void      ngx_http_llm_refuse_handler(ngx_http_request_t *r);
static void      ngx_http_llm_body_handler(ngx_http_request_t *r);


#define NGX_HTTP_LLM_READ (NGX_HTTP_GET | NGX_HTTP_HEAD)

static ngx_http_llm_route_t ngx_http_llm_routes[] = {
    {ngx_string("chat/completions"), LLM_OP_CHAT, NGX_HTTP_POST, 0},
    {ngx_string("completions"), LLM_OP_COMPLETION, NGX_HTTP_POST, 0},
    {ngx_string("models"), LLM_OP_MODELS, NGX_HTTP_LLM_READ, 0},
    {ngx_string("models/"), LLM_OP_MODELS, NGX_HTTP_LLM_READ, 1},
    {ngx_string("tokenize"), LLM_OP_TOKENIZE, NGX_HTTP_POST, 0},
    {ngx_string("detokenize"), LLM_OP_DETOKENIZE, NGX_HTTP_POST, 0},
    {ngx_null_string, 0, 0, 0}};


ngx_int_t
ngx_http_llm_pass_handler(ngx_http_request_t *r)
{
    ngx_int_t             rc;
    ngx_str_t             arg;
    ngx_http_llm_ctx_t   *ctx;
    ngx_http_llm_route_t *route;

    if (ngx_http_llm_route(r, &route, &arg) != NGX_OK) {
        return ngx_http_llm_unknown(r);
    }

    if (!(r->method & route->methods)) {
        return ngx_http_llm_method(r, route);
    }

    ctx = ngx_http_llm_ctx_create(r, route->op);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (route->op == LLM_OP_MODELS) {
        ctx->model = arg;

        rc = ngx_http_discard_request_body(r);
        if (rc != NGX_OK) {
            return rc;
        }

        r->main->count++;
        ngx_http_llm_start(ctx);

        return NGX_DONE;
    }

    r->connection->log->action = "reading client request body";

    rc = ngx_http_read_client_request_body(r, ngx_http_llm_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static void
ngx_http_llm_body_handler(ngx_http_request_t *r)
{
    ngx_http_llm_start(ngx_http_get_module_ctx(r, ngx_http_llm_module));
}


/* /metrics asks the engine for its part: a request without a body. */

ngx_int_t
ngx_http_llm_metrics_start(ngx_http_request_t *r)
{
    ngx_http_llm_ctx_t *ctx;

    ctx = ngx_http_llm_ctx_create(r, LLM_OP_METRICS);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->main->count++;
    ngx_http_llm_start(ctx);

    return NGX_DONE;
}


/*
 * What follows the location's prefix.  Where nothing does, as in exact,
 * regular-expression and named locations, the end of the URI.
 */

static ngx_int_t
ngx_http_llm_route(ngx_http_request_t *r, ngx_http_llm_route_t **route,
                   ngx_str_t *arg)
{
    ngx_str_t                 rest;
    ngx_http_llm_route_t     *p;
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    rest = r->uri;

    if (clcf->name.len < r->uri.len
        && ngx_strncmp(clcf->name.data, r->uri.data, clcf->name.len) == 0) {
        rest.data += clcf->name.len;
        rest.len -= clcf->name.len;

        while (rest.len && rest.data[0] == '/') {
            rest.data++;
            rest.len--;
        }

        if (rest.len > 3 && ngx_strncmp(rest.data, "v1/", 3) == 0) {
            rest.data += 3;
            rest.len -= 3;
        }

        for (p = ngx_http_llm_routes; p->path.len; p++) {
            if (ngx_http_llm_route_match(p, &rest, arg) == NGX_OK) {
                *route = p;
                return NGX_OK;
            }
        }

        return NGX_DECLINED;
    }

    for (p = ngx_http_llm_routes; p->path.len; p++) {
        if (ngx_http_llm_route_search(p, &rest, arg) == NGX_OK) {
            *route = p;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_llm_route_match(ngx_http_llm_route_t *route, ngx_str_t *rest,
                         ngx_str_t *arg)
{
    size_t len;

    len = route->path.len;

    if (rest->len < len
        || ngx_strncmp(rest->data, route->path.data, len) != 0) {
        return NGX_DECLINED;
    }

    arg->data = rest->data + len;
    arg->len = rest->len - len;

    if (!route->prefix) {
        return arg->len == 0 ? NGX_OK : NGX_DECLINED;
    }

    return arg->len && arg->len <= LLM_STRING_MAX ? NGX_OK : NGX_DECLINED;
}


/* At any slash of the URI; the first that fits is the longest. */

static ngx_int_t
ngx_http_llm_route_search(ngx_http_llm_route_t *route, ngx_str_t *uri,
                          ngx_str_t *arg)
{
    size_t    i;
    ngx_str_t rest;

    for (i = 0; i < uri->len; i++) {

        if (uri->data[i] != '/') {
            continue;
        }

        rest.data = uri->data + i + 1;
        rest.len = uri->len - i - 1;

        if (ngx_http_llm_route_match(route, &rest, arg) == NGX_OK) {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_llm_unknown(ngx_http_request_t *r)
{
    u_char   *p;
    size_t    len;
    ngx_str_t message;

    len = ngx_min(r->uri.len, 512);

    p = ngx_pnalloc(r->pool, sizeof("Unknown request URL:  .")
                                 + r->method_name.len + len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    message.data = p;
    p = ngx_sprintf(p, "Unknown request URL: %V %*s.", &r->method_name, len,
                    r->uri.data);
    message.len = p - message.data;

    return ngx_http_llm_refuse(r, 0, &ngx_http_llm_err_unknown_url, &message);
}


static ngx_int_t
ngx_http_llm_method(ngx_http_request_t *r, ngx_http_llm_route_t *route)
{
    ngx_str_t allow, message;

    if (route->methods == NGX_HTTP_POST) {
        ngx_str_set(&allow, "POST");
        ngx_str_set(&message, "Only POST requests are accepted here.");

    } else {
        ngx_str_set(&allow, "GET, HEAD");
        ngx_str_set(&message, "Only GET requests are accepted here.");
    }

    if (ngx_http_llm_header(r, "Allow", &allow) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_llm_refuse(r, route->op, &ngx_http_llm_err_method,
                               &message);
}


/*
 * An answer that does not depend on the body.  In HTTP/1 what is left of it is
 * discarded beside the answer; in later versions that is a RST_STREAM, at
 * which some clients forget the answer: there the body is read before.
 */

static ngx_int_t
ngx_http_llm_refuse(ngx_http_request_t *r, ngx_uint_t op,
                    const ngx_http_llm_error_t *error, ngx_str_t *message)
{
    ngx_int_t           rc;
    ngx_http_llm_ctx_t *ctx;

    if (r->http_version < NGX_HTTP_VERSION_20) {

        rc = ngx_http_discard_request_body(r);
        if (rc != NGX_OK) {
            return rc;
        }

        return ngx_http_llm_error_send(r, error, message);
    }

    ctx = ngx_http_llm_ctx_create(r, op);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->error = error;
    ctx->message = *message;

    rc = ngx_http_read_client_request_body(r, ngx_http_llm_refuse_handler);

    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}


static void
ngx_http_llm_refuse_handler(ngx_http_request_t *r)
{
    ngx_int_t           rc;
    ngx_http_llm_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    rc = ngx_http_llm_error_send(r, ctx->error, &ctx->message);

    ngx_http_finalize_request(r, rc);
}
