/*
 * llm_cors: preflights, answered before limits and authentication, which a
 * browser's preflight cannot pass, and the headers that let a page read the
 * answers, errors included.
 */

#include "ngx_module/ngx_http_llm_module.h"


#define NGX_HTTP_LLM_CORS_HEADERS_MAX 2048


static ngx_int_t        ngx_http_llm_cors_allowed(ngx_http_request_t      *r,
                                                  ngx_http_llm_loc_conf_t *llcf,
                                                  ngx_str_t               *origin);
static ngx_int_t        ngx_http_llm_cors_is_same(ngx_http_request_t *r,
                                                  ngx_str_t          *origin);
static ngx_table_elt_t *ngx_http_llm_header_in(ngx_http_request_t *r,
                                               const char         *name);
static ngx_int_t ngx_http_llm_cors_value(ngx_http_request_t *r, const char *key,
                                         const char *value);


/* In the rewrite phase. */

ngx_int_t
ngx_http_llm_cors_preflight(ngx_http_request_t *r)
{
    ngx_str_t                origin;
    ngx_table_elt_t         *h;
    ngx_http_llm_loc_conf_t *llcf;

    if (r->method != NGX_HTTP_OPTIONS || r != r->main) {
        return NGX_DECLINED;
    }

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (llcf->handler == NGX_HTTP_LLM_NO_HANDLER
        || llcf->cors == NGX_HTTP_LLM_CORS_OFF
        || ngx_http_llm_header_in(r, "origin") == NULL
        || ngx_http_llm_header_in(r, "access-control-request-method") == NULL) {
        return NGX_DECLINED;
    }

    /* what goes with every answer is added by the filter */

    if (ngx_http_llm_cors_allowed(r, llcf, &origin) == NGX_OK) {

        if (ngx_http_llm_cors_value(r, "Access-Control-Allow-Methods",
                                    "GET, POST, OPTIONS")
                != NGX_OK
            || ngx_http_llm_cors_value(r, "Access-Control-Max-Age", "7200")
                   != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        h = ngx_http_llm_header_in(r, "access-control-request-headers");

        if (h && h->value.len <= NGX_HTTP_LLM_CORS_HEADERS_MAX
            && ngx_http_llm_header(r, "Access-Control-Allow-Headers", &h->value)
                   != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return NGX_HTTP_NO_CONTENT;
}


/* With every answer in a location of ours, before its header goes out. */

ngx_int_t
ngx_http_llm_cors_headers(ngx_http_request_t *r, ngx_http_llm_loc_conf_t *llcf)
{
    ngx_int_t rc;
    ngx_str_t origin;

    if (llcf->cors == NGX_HTTP_LLM_CORS_OFF) {
        return NGX_OK;
    }

    if (llcf->cors == NGX_HTTP_LLM_CORS_LIST
        && ngx_http_llm_cors_value(r, "Vary", "Origin") != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_http_llm_cors_allowed(r, llcf, &origin);

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_OK : NGX_ERROR;
    }

    if (ngx_http_llm_header(r, "Access-Control-Allow-Origin", &origin)
        != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_llm_cors_value(r, "Access-Control-Expose-Headers",
                                   "x-request-id, openai-processing-ms, "
                                   "openai-version, retry-after, "
                                   "retry-after-ms, x-should-retry");
}


/* NGX_OK and what to allow, or NGX_DECLINED. */

static ngx_int_t
ngx_http_llm_cors_allowed(ngx_http_request_t *r, ngx_http_llm_loc_conf_t *llcf,
                          ngx_str_t *origin)
{
    ngx_str_t       *allowed;
    ngx_uint_t       i;
    ngx_table_elt_t *h;

    if (llcf->cors == NGX_HTTP_LLM_CORS_ANY) {
        ngx_str_set(origin, "*");
        return NGX_OK;
    }

    h = ngx_http_llm_header_in(r, "origin");

    if (h == NULL || h->value.len == 0) {
        return NGX_DECLINED;
    }

    *origin = h->value;
    allowed = llcf->cors_origins->elts;

    for (i = 0; i < llcf->cors_origins->nelts; i++) {
        if (allowed[i].len == origin->len
            && ngx_strncasecmp(allowed[i].data, origin->data, origin->len)
                   == 0) {
            return NGX_OK;
        }
    }

    return llcf->cors_same ? ngx_http_llm_cors_is_same(r, origin)
                           : NGX_DECLINED;
}


/* "http" [ "s" ] "://" and the request's Host. */

static ngx_int_t
ngx_http_llm_cors_is_same(ngx_http_request_t *r, ngx_str_t *origin)
{
    u_char   *p;
    ngx_str_t host;

    if (r->headers_in.host) {
        host = r->headers_in.host->value;

    } else {
        host = r->headers_in.server; /* of HTTP/2 and HTTP/3 */
    }

    p = ngx_strnstr(origin->data, "://", origin->len);

    if (p == NULL || host.len == 0) {
        return NGX_DECLINED;
    }

    p += 3;

    if ((size_t) (origin->data + origin->len - p) != host.len
        || ngx_strncasecmp(p, host.data, host.len) != 0) {
        return NGX_DECLINED;
    }

#if (NGX_HTTP_SSL)
    if (r->connection->ssl) {
        return ngx_strncasecmp(origin->data, (u_char *) "https:", 6) == 0
                   ? NGX_OK
                   : NGX_DECLINED;
    }
#endif

    return ngx_strncasecmp(origin->data, (u_char *) "http:", 5) == 0
               ? NGX_OK
               : NGX_DECLINED;
}


/* Of the request; `name` in lower case. */

static ngx_table_elt_t *
ngx_http_llm_header_in(ngx_http_request_t *r, const char *name)
{
    size_t           len;
    ngx_uint_t       i;
    ngx_list_part_t *part;
    ngx_table_elt_t *h;

    len = ngx_strlen(name);

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len == len
                && ngx_strncasecmp(h[i].key.data, (u_char *) name, len) == 0) {
                return &h[i];
            }
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_llm_cors_value(ngx_http_request_t *r, const char *key,
                        const char *value)
{
    ngx_str_t s;

    s.data = (u_char *) value;
    s.len = ngx_strlen(value);

    return ngx_http_llm_header(r, key, &s);
}
