/*
 * ngx_http_llm_filter_module: what every answer in a location of ours gets,
 * whoever made it.  x-request-id and CORS headers; and the page of an error
 * that NGINX's core or another module raised becomes JSON, its status kept.
 *
 * An answer is taken for such a page if the core set its status (err_status),
 * no error_page led elsewhere, and it has no content type of somebody's.
 */

#include "ngx_module/ngx_http_llm_module.h"


typedef struct {
    ngx_str_t body; /* sent instead */
    unsigned  sent : 1;
} ngx_http_llm_filter_ctx_t;


static ngx_int_t  ngx_http_llm_filter_init(ngx_conf_t *cf);
static ngx_int_t  ngx_http_llm_header_filter(ngx_http_request_t *r);
static ngx_int_t  ngx_http_llm_body_filter(ngx_http_request_t *r,
                                           ngx_chain_t        *in);
static ngx_int_t  ngx_http_llm_filter_headers(ngx_http_request_t      *r,
                                              ngx_http_llm_loc_conf_t *llcf);
static ngx_uint_t ngx_http_llm_filter_page(ngx_http_request_t *r);
static ngx_int_t  ngx_http_llm_filter_replace(ngx_http_request_t *r);


/* clang-format off */

static ngx_http_module_t ngx_http_llm_filter_module_ctx = {
    NULL,                     /* preconfiguration */
    ngx_http_llm_filter_init, /* postconfiguration */

    NULL,                     /* create main configuration */
    NULL,                     /* init main configuration */

    NULL,                     /* create server configuration */
    NULL,                     /* merge server configuration */

    NULL,                     /* create location configuration */
    NULL                      /* merge location configuration */
};


ngx_module_t ngx_http_llm_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_llm_filter_module_ctx, /* module context */
    NULL,                            /* module directives */
    NGX_HTTP_MODULE,                 /* module type */
    NULL,                            /* init master */
    NULL,                            /* init module */
    NULL,                            /* init process */
    NULL,                            /* init thread */
    NULL,                            /* exit thread */
    NULL,                            /* exit process */
    NULL,                            /* exit master */
    NGX_MODULE_V1_PADDING
};

/* clang-format on */


static ngx_http_output_header_filter_pt ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt   ngx_http_next_body_filter;


static ngx_int_t
ngx_http_llm_filter_init(ngx_conf_t *cf)
{
    ngx_http_llm_main_conf_t *lmcf;

    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_llm_module);

    if (lmcf->places.nelts == 0) {
        return NGX_OK;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_llm_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_llm_body_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_header_filter(ngx_http_request_t *r)
{
    ngx_http_llm_loc_conf_t *llcf;

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (llcf->handler == NGX_HTTP_LLM_NO_HANDLER || r != r->main
        || r->header_sent) {
        return ngx_http_next_header_filter(r);
    }

    if (ngx_http_llm_filter_page(r)
        && ngx_http_llm_filter_replace(r) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_llm_filter_headers(r, llcf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_llm_filter_headers(ngx_http_request_t      *r,
                            ngx_http_llm_loc_conf_t *llcf)
{
    ngx_str_t                  value;
    ngx_http_variable_value_t *vv;
    ngx_http_llm_main_conf_t  *lmcf;

    if (llcf->handler == NGX_HTTP_LLM_PASS) {

        lmcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

        vv = ngx_http_get_indexed_variable(r, lmcf->request_id);
        if (vv == NULL) {
            return NGX_ERROR;
        }

        value.data = vv->data;
        value.len = vv->len;

        if (!vv->not_found
            && ngx_http_llm_header(r, "x-request-id", &value) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_str_set(&value, "2020-10-01");

        if (ngx_http_llm_header(r, "openai-version", &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_http_llm_cors_headers(r, llcf);
}


/* Is it a page of ngx_http_special_response_handler() for an error? */

static ngx_uint_t
ngx_http_llm_filter_page(ngx_http_request_t *r)
{
    static const ngx_str_t html = ngx_string("text/html");

    if (r->err_status < NGX_HTTP_BAD_REQUEST
        || r->headers_out.status != r->err_status) {
        return 0;
    }

    if (r->headers_out.content_type.len == 0) {
        return r->headers_out.content_length_n <= 0;
    }

    return r->headers_out.content_type.len == html.len
           && ngx_strncmp(r->headers_out.content_type.data, html.data, html.len)
                  == 0;
}


static ngx_int_t
ngx_http_llm_filter_replace(ngx_http_request_t *r)
{
    ngx_str_t                  value;
    ngx_uint_t                 status;
    ngx_table_elt_t           *h;
    ngx_http_llm_filter_ctx_t *ctx;

    status = r->headers_out.status;

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_llm_filter_ctx_t));
    if (ctx == NULL
        || ngx_http_llm_core_error(r, status, &ctx->body) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_llm_filter_module);

    r->headers_out.content_length_n = ctx->body.len;
    r->headers_out.content_type_len = sizeof("application/json") - 1;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_lowcase = NULL;

    if (status == NGX_HTTP_TOO_MANY_REQUESTS
        || status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        return ngx_http_llm_header_number(r, "Retry-After", 1);
    }

    if (status == NGX_HTTP_UNAUTHORIZED
        && r->headers_out.www_authenticate == NULL) {
        ngx_str_set(&value, "Bearer");

        if (ngx_http_llm_header(r, "WWW-Authenticate", &value) != NGX_OK) {
            return NGX_ERROR;
        }

        h = r->headers_out.headers.last->elts;
        h += r->headers_out.headers.last->nelts - 1;

        r->headers_out.www_authenticate = h;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t                 *b;
    ngx_chain_t               *cl, out;
    ngx_http_llm_filter_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_filter_module);

    if (ctx == NULL || in == NULL || r->header_only) {
        return ngx_http_next_body_filter(r, in);
    }

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
    }

    if (ctx->sent) {
        return ngx_http_next_body_filter(r, NULL);
    }

    ctx->sent = 1;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->memory = 1;
    b->pos = ctx->body.data;
    b->last = ctx->body.data + ctx->body.len;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_next_body_filter(r, &out);
}
