/*
 * llm_health: live, which says that NGINX answers, and ready, which says that
 * every engine is there and every model can answer.  From what this worker
 * knows, at once.
 */

#include "ngx_module/ngx_http_llm_module.h"


typedef struct {
    const char *status;
    const char *code; /* NULL: ready */
    ngx_str_t   message;
} ngx_http_llm_verdict_t;


static ngx_int_t  ngx_http_llm_health_verdict(ngx_http_request_t       *r,
                                              ngx_http_llm_main_conf_t *lmcf,
                                              ngx_http_llm_verdict_t   *v);
static ngx_int_t  ngx_http_llm_health_say(ngx_http_request_t     *r,
                                          ngx_http_llm_verdict_t *v,
                                          const char *status, const char *code,
                                          const char *what, ngx_str_t *name,
                                          const char *how);
static ngx_uint_t ngx_http_llm_health_up(ngx_http_llm_engine_t *e);
static ngx_buf_t *ngx_http_llm_health_body(ngx_http_request_t       *r,
                                           ngx_http_llm_main_conf_t *lmcf,
                                           ngx_http_llm_verdict_t   *v);
static u_char    *ngx_http_llm_health_model(u_char *p, ngx_http_llm_model_t *m);


static const char *const ngx_http_llm_states[] = {"unknown", "loading", "ready",
                                                  "failed"};


ngx_int_t
ngx_http_llm_health_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_str_t                 value;
    ngx_buf_t                *b;
    ngx_chain_t              *out;
    ngx_http_llm_verdict_t    v;
    ngx_http_llm_loc_conf_t  *llcf;
    ngx_http_llm_main_conf_t *lmcf;

    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    lmcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    v.status = "ok";
    v.code = NULL;

    if (llcf->handler == NGX_HTTP_LLM_HEALTH_READY) {

        if (ngx_http_llm_health_verdict(r, lmcf, &v) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        b = ngx_http_llm_health_body(r, lmcf, &v);

    } else {
        b = ngx_create_temp_buf(r->pool, sizeof("{\"status\":\"ok\"}\n"));

        if (b) {
            b->last = ngx_sprintf(b->last, "{\"status\":\"ok\"}\n");
        }
    }

    out = ngx_alloc_chain_link(r->pool);

    if (b == NULL || out == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    out->buf = b;
    out->next = NULL;

    ngx_str_set(&value, "no-store");

    if (ngx_http_llm_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (v.code == NULL) {
        return ngx_http_llm_send(r, NGX_HTTP_OK, "application/json", out);
    }

    if (ngx_http_llm_header_number(r, "Retry-After", 2) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_llm_send(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                             "application/json", out);
}


/* The first that is not as it should be, the worst first. */

static ngx_int_t
ngx_http_llm_health_verdict(ngx_http_request_t       *r,
                            ngx_http_llm_main_conf_t *lmcf,
                            ngx_http_llm_verdict_t   *v)
{
    ngx_uint_t              i;
    ngx_http_llm_model_t  **m;
    ngx_http_llm_engine_t **e;

    e = lmcf->engines.elts;

    for (i = 0; i < lmcf->engines.nelts; i++) {
        if (!ngx_http_llm_health_up(e[i])) {
            return ngx_http_llm_health_say(r, v, "unavailable",
                                           "engine_unavailable", "engine",
                                           &e[i]->name, "is not available");
        }
    }

    m = lmcf->models.elts;

    for (i = 0; i < lmcf->models.nelts; i++) {
        if (!m[i]->serving && m[i]->state == NGX_HTTP_LLM_STATE_FAILED) {
            return ngx_http_llm_health_say(r, v, "failed", "model_failed",
                                           "model", &m[i]->name,
                                           "failed to load");
        }
    }

    for (i = 0; i < lmcf->models.nelts; i++) {
        if (!m[i]->serving) {
            return ngx_http_llm_health_say(r, v, "loading", "model_loading",
                                           "model", &m[i]->name, "is loading");
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_health_say(ngx_http_request_t *r, ngx_http_llm_verdict_t *v,
                        const char *status, const char *code, const char *what,
                        ngx_str_t *name, const char *how)
{
    u_char *p;

    v->status = status;
    v->code = code;

    p = ngx_pnalloc(r->pool,
                    ngx_strlen(what) + name->len + ngx_strlen(how) + 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->message.data = p;
    p = ngx_sprintf(p, "%s %V %s", what, name, how);
    v->message.len = p - v->message.data;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_llm_health_up(ngx_http_llm_engine_t *e)
{
    return e->state == NGX_HTTP_LLM_UP && !e->broken
           && (e->stall_timeout == 0
               || ngx_http_llm_engine_heartbeat_age(e) < e->stall_timeout);
}


static ngx_buf_t *
ngx_http_llm_health_body(ngx_http_request_t *r, ngx_http_llm_main_conf_t *lmcf,
                         ngx_http_llm_verdict_t *v)
{
    u_char                 *p;
    size_t                  len;
    ngx_str_t               error;
    ngx_buf_t              *b;
    ngx_uint_t              i;
    ngx_http_llm_model_t  **m;
    ngx_http_llm_engine_t **e;

    error.len = 0;

    if (v->code
        && ngx_http_llm_error_body(r, &error, "service_unavailable_error",
                                   v->code, &v->message)
               != NGX_OK) {
        return NULL;
    }

    e = lmcf->engines.elts;
    m = lmcf->models.elts;

    len = sizeof("{\"status\":\"unavailable\",\"engines\":[],\"models\":[]}\n")
          + error.len;

    for (i = 0; i < lmcf->engines.nelts; i++) {
        len += sizeof("{\"name\":\"\",\"up\":false},") + e[i]->name.len;
    }

    for (i = 0; i < lmcf->models.nelts; i++) {
        len += sizeof("{\"name\":\"\",\"engine\":\"\",\"state\":\"loading\","
                      "\"progress\":1.00,\"serving\":false,\"error\":\"\"},")
               + m[i]->name.len + m[i]->engine->name.len
               + 6 * NGX_HTTP_LLM_STATE_ERROR_MAX;
    }

    b = ngx_create_temp_buf(r->pool, len);
    if (b == NULL) {
        return NULL;
    }

    p = b->last;
    *p++ = '{';

    if (error.len) {
        /* its members, without the braces around them */
        p = ngx_cpymem(p, error.data + 1, error.len - 2);
        *p++ = ',';
    }

    p = ngx_sprintf(p, "\"status\":\"%s\",\"engines\":[", v->status);

    for (i = 0; i < lmcf->engines.nelts; i++) {
        p = ngx_sprintf(p, "%s{\"name\":\"%V\",\"up\":%s}", i ? "," : "",
                        &e[i]->name,
                        ngx_http_llm_health_up(e[i]) ? "true" : "false");
    }

    p = ngx_sprintf(p, "],\"models\":[");

    for (i = 0; i < lmcf->models.nelts; i++) {

        if (i) {
            *p++ = ',';
        }

        p = ngx_http_llm_health_model(p, m[i]);
    }

    b->last = ngx_sprintf(p, "]}\n");

    return b;
}


static u_char *
ngx_http_llm_health_model(u_char *p, ngx_http_llm_model_t *m)
{
    p = ngx_sprintf(p,
                    "{\"name\":\"%V\",\"engine\":\"%V\",\"state\":\"%s\","
                    "\"progress\":%ui.%02ui,\"serving\":%s,\"error\":",
                    &m->name, &m->engine->name, ngx_http_llm_states[m->state],
                    m->progress / 1000, m->progress % 1000 / 10,
                    m->serving ? "true" : "false");

    if (m->error.len == 0) {
        return ngx_cpymem(p, "null}", 5);
    }

    *p++ = '"';
    p = (u_char *) ngx_escape_json(p, m->error.data, m->error.len);

    return ngx_cpymem(p, "\"}", 2);
}
