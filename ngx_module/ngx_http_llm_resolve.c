/*
 * What can be said only once the whole http block was read: names resolved,
 * manifests made, advice given.  Runs at configuration time only, in the
 * cycle's pool; every complaint names the file and line that it is about.
 */

#include "ngx_module/ngx_http_llm_module.h"


static ngx_int_t ngx_http_llm_resolve_engine(ngx_conf_t               *cf,
                                             ngx_http_llm_main_conf_t *lmcf,
                                             ngx_uint_t                n);
static ngx_int_t ngx_http_llm_resolve_model(ngx_conf_t               *cf,
                                            ngx_http_llm_main_conf_t *lmcf,
                                            ngx_http_llm_model_t     *m);
static ngx_int_t ngx_http_llm_resolve_place(ngx_conf_t               *cf,
                                            ngx_http_llm_main_conf_t *lmcf,
                                            ngx_http_llm_loc_conf_t  *llcf);
static ngx_int_t ngx_http_llm_manifest(ngx_conf_t            *cf,
                                       ngx_http_llm_engine_t *e);
static u_char   *ngx_http_llm_json_string(u_char *p, ngx_str_t *s);
static size_t    ngx_http_llm_json_len(ngx_str_t *s);
static void      ngx_http_llm_warn_status(ngx_conf_t              *cf,
                                          ngx_http_llm_loc_conf_t *llcf,
                                          const char *module, const char *directive);


ngx_http_llm_engine_t *
ngx_http_llm_engine_find(ngx_http_llm_main_conf_t *lmcf, ngx_str_t *name)
{
    ngx_uint_t              i;
    ngx_http_llm_engine_t **e;

    e = lmcf->engines.elts;

    for (i = 0; i < lmcf->engines.nelts; i++) {
        if (e[i]->name.len == name->len
            && ngx_strncmp(e[i]->name.data, name->data, name->len) == 0) {
            return e[i];
        }
    }

    return NULL;
}


ngx_http_llm_model_t *
ngx_http_llm_model_find(ngx_http_llm_main_conf_t *lmcf, ngx_str_t *name)
{
    ngx_str_t             *s;
    ngx_uint_t             i, j;
    ngx_http_llm_model_t **m;

    m = lmcf->models.elts;

    for (i = 0; i < lmcf->models.nelts; i++) {
        if (m[i]->name.len == name->len
            && ngx_strncmp(m[i]->name.data, name->data, name->len) == 0) {
            return m[i];
        }

        s = m[i]->names.elts;

        for (j = 0; j < m[i]->names.nelts; j++) {
            if (s[j].len == name->len
                && ngx_strncmp(s[j].data, name->data, name->len) == 0) {
                return m[i];
            }
        }
    }

    return NULL;
}


/* Models to engines, locations to both; the manifests. */

ngx_int_t
ngx_http_llm_resolve(ngx_conf_t *cf)
{
    ngx_uint_t                i;
    ngx_http_llm_model_t    **m;
    ngx_http_llm_engine_t   **e;
    ngx_http_llm_loc_conf_t **place;
    ngx_http_llm_main_conf_t *lmcf;

    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_llm_module);

    m = lmcf->models.elts;

    for (i = 0; i < lmcf->models.nelts; i++) {
        if (ngx_http_llm_resolve_model(cf, lmcf, m[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    place = lmcf->places.elts;

    for (i = 0; i < lmcf->places.nelts; i++) {
        if (ngx_http_llm_resolve_place(cf, lmcf, place[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    e = lmcf->engines.elts;

    for (i = 0; i < lmcf->engines.nelts; i++) {
        e[i]->stall_timeout = lmcf->stall_timeout;

        if (ngx_http_llm_resolve_engine(cf, lmcf, i) != NGX_OK
            || ngx_http_llm_manifest(cf, e[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* An engine of its own for each socket. */

static ngx_int_t
ngx_http_llm_resolve_engine(ngx_conf_t *cf, ngx_http_llm_main_conf_t *lmcf,
                            ngx_uint_t n)
{
    ngx_uint_t              i;
    ngx_http_llm_engine_t **e;

    e = lmcf->engines.elts;

    for (i = 0; i < n; i++) {
        if (e[i]->path.len == e[n]->path.len
            && ngx_strncmp(e[i]->path.data, e[n]->path.data, e[n]->path.len)
                   == 0) {
            ngx_log_error(
                NGX_LOG_EMERG, cf->log, 0,
                "llm_engine \"%V\" has the socket of \"%V\" in %s:%ui",
                &e[n]->name, &e[i]->name, e[n]->place.file, e[n]->place.line);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_resolve_model(ngx_conf_t *cf, ngx_http_llm_main_conf_t *lmcf,
                           ngx_http_llm_model_t *m)
{
    ngx_http_llm_model_t  **mp;
    ngx_http_llm_engine_t **e;

    if (m->engine_name.len) {
        m->engine = ngx_http_llm_engine_find(lmcf, &m->engine_name);

        if (m->engine == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown engine \"%V\" in llm_model \"%V\" in %s:%ui",
                          &m->engine_name, &m->name, m->place.file,
                          m->place.line);
            return NGX_ERROR;
        }

    } else if (lmcf->engines.nelts == 1) {
        e = lmcf->engines.elts;
        m->engine = e[0];

    } else {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "llm_model \"%V\" must name its \"engine\", as there %s "
                      "in %s:%ui",
                      &m->name,
                      lmcf->engines.nelts ? "are several llm_engine"
                                          : "is no llm_engine",
                      m->place.file, m->place.line);
        return NGX_ERROR;
    }

    mp = ngx_array_push(&m->engine->models);
    if (mp == NULL) {
        return NGX_ERROR;
    }

    *mp = m;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_resolve_place(ngx_conf_t *cf, ngx_http_llm_main_conf_t *lmcf,
                           ngx_http_llm_loc_conf_t *llcf)
{
    const char             *what;
    ngx_str_t               name;
    ngx_http_llm_engine_t **e;

    if (llcf->handler != NGX_HTTP_LLM_PASS
        && llcf->handler != NGX_HTTP_LLM_METRICS) {
        return NGX_OK;
    }

    what = llcf->handler == NGX_HTTP_LLM_PASS ? "llm_pass" : "llm_metrics";
    e = lmcf->engines.elts;
    name = llcf->param;

    if (name.len == 0) {

        if (lmcf->engines.nelts == 1) {
            llcf->engine = e[0];
            return NGX_OK;
        }

        ngx_log_error(
            NGX_LOG_EMERG, cf->log, 0, "\"%s\" %s in %s:%ui", what,
            lmcf->engines.nelts == 0
                ? "needs an \"llm_engine\""
                : "needs a parameter, as there are several llm_engine",
            llcf->place.file, llcf->place.line);
        return NGX_ERROR;
    }

    if (llcf->handler == NGX_HTTP_LLM_METRICS
        || (name.len > 7 && ngx_strncmp(name.data, "engine=", 7) == 0)) {
        if (llcf->handler == NGX_HTTP_LLM_PASS) {
            name.data += 7;
            name.len -= 7;
        }

        llcf->engine = ngx_http_llm_engine_find(lmcf, &name);

        if (llcf->engine == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown engine \"%V\" in \"%s\" in %s:%ui", &name,
                          what, llcf->place.file, llcf->place.line);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    llcf->model = ngx_http_llm_model_find(lmcf, &name);

    if (llcf->model == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "unknown model \"%V\" in \"llm_pass\" in %s:%ui", &name,
                      llcf->place.file, llcf->place.line);
        return NGX_ERROR;
    }

    llcf->model_name = name;
    llcf->engine = llcf->model->engine;

    return NGX_OK;
}


/*
 * {"models":[{"name":..,"weights":..,"names":[..],"context":N,"options":{}}]};
 * options: {"quant":"q4_k","tool_format":"hermes"}
 */

static ngx_int_t
ngx_http_llm_manifest(ngx_conf_t *cf, ngx_http_llm_engine_t *e)
{
    u_char                *p;
    size_t                 len;
    ngx_str_t             *name;
    ngx_uint_t             i, j;
    ngx_http_llm_model_t **m;

    m = e->models.elts;
    len = sizeof("{\"models\":[]}");

    for (i = 0; i < e->models.nelts; i++) {
        len += sizeof("{\"name\":,\"weights\":,\"names\":[],"
                      "\"context\":,\"options\":{}},")
               + sizeof("\"quant\":") + sizeof(",\"tool_format\":")
               + NGX_INT_T_LEN + ngx_http_llm_json_len(&m[i]->tool_format)
               + ngx_http_llm_json_len(&m[i]->name)
               + ngx_http_llm_json_len(&m[i]->weights)
               + ngx_http_llm_json_len(&m[i]->quant);

        name = m[i]->names.elts;

        for (j = 0; j < m[i]->names.nelts; j++) {
            len += ngx_http_llm_json_len(&name[j]) + 1;
        }
    }

    if (len > LLM_MANIFEST_MAX) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "the models of llm_engine \"%V\" are too many in %s:%ui",
                      &e->name, e->place.file, e->place.line);
        return NGX_ERROR;
    }

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    e->manifest.data = p;
    p = ngx_cpymem(p, "{\"models\":[", sizeof("{\"models\":[") - 1);

    for (i = 0; i < e->models.nelts; i++) {
        p = ngx_sprintf(p, "%s{\"name\":", i ? "," : "");
        p = ngx_http_llm_json_string(p, &m[i]->name);
        p = ngx_sprintf(p, ",\"weights\":");
        p = ngx_http_llm_json_string(p, &m[i]->weights);
        p = ngx_sprintf(p, ",\"names\":[");

        name = m[i]->names.elts;

        for (j = 0; j < m[i]->names.nelts; j++) {
            p = ngx_sprintf(p, "%s", j ? "," : "");
            p = ngx_http_llm_json_string(p, &name[j]);
        }

        p = ngx_sprintf(p, "],\"context\":%ui,\"options\":{", m[i]->context);

        if (m[i]->quant.len) {
            p = ngx_sprintf(p, "\"quant\":");
            p = ngx_http_llm_json_string(p, &m[i]->quant);
        }

        if (m[i]->tool_format.len) {
            p = ngx_sprintf(p,
                            "%s\"tool_format\":", m[i]->quant.len ? "," : "");
            p = ngx_http_llm_json_string(p, &m[i]->tool_format);
        }

        p = ngx_cpymem(p, "}}", 2);
    }

    p = ngx_cpymem(p, "]}", 2);
    e->manifest.len = p - e->manifest.data;

    return NGX_OK;
}


static size_t
ngx_http_llm_json_len(ngx_str_t *s)
{
    return 2 + s->len + ngx_escape_json(NULL, s->data, s->len);
}


static u_char *
ngx_http_llm_json_string(u_char *p, ngx_str_t *s)
{
    *p++ = '"';
    p = (u_char *) ngx_escape_json(p, s->data, s->len);
    *p++ = '"';

    return p;
}


/*
 * Advice for a location with llm_pass: NGINX's defaults that are wrong for an
 * API.  An explicit setting that equals the default cannot be told from it.
 */

void
ngx_http_llm_warn(ngx_conf_t *cf, ngx_http_llm_loc_conf_t *llcf)
{
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->client_max_body_size == 1 * 1024 * 1024) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"client_max_body_size\" is 1m, the default: too small "
                      "for long prompts, \"client_max_body_size 32m\" is "
                      "recommended beside \"llm_pass\" in %s:%ui",
                      llcf->place.file, llcf->place.line);
    }

    ngx_http_llm_warn_status(cf, llcf, "ngx_http_limit_req_module",
                             "limit_req_status");
    ngx_http_llm_warn_status(cf, llcf, "ngx_http_limit_conn_module",
                             "limit_conn_status");
}


/*
 * These modules may be absent, and their configuration is private: it is found
 * by the name of the module and the offset in its table of directives.
 */

static void
ngx_http_llm_warn_status(ngx_conf_t *cf, ngx_http_llm_loc_conf_t *llcf,
                         const char *module, const char *directive)
{
    u_char              *conf;
    ngx_uint_t           i, used;
    ngx_module_t        *m;
    ngx_command_t       *cmd;
    ngx_list_part_t     *part;
    ngx_shm_zone_t      *zone;
    ngx_http_conf_ctx_t *ctx;

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (ngx_strcmp(cf->cycle->modules[i]->name, module) == 0) {
            break;
        }
    }

    m = cf->cycle->modules[i];
    if (m == NULL) {
        return;
    }

    /* a limit needs a zone, and the zone knows its module */

    used = 0;
    part = &cf->cycle->shared_memory.part;
    zone = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            zone = part->elts;
            i = 0;
        }

        if (zone[i].tag == m) {
            used = 1;
            break;
        }
    }

    for (cmd = m->commands; used && cmd && cmd->name.len; cmd++) {

        if (ngx_strcmp(cmd->name.data, directive) != 0
            || cmd->set != ngx_conf_set_num_slot) {
            continue;
        }

        ctx = cf->ctx;
        conf = ctx->loc_conf[m->ctx_index];

        if (*(ngx_int_t *) (conf + cmd->offset)
            == NGX_HTTP_SERVICE_UNAVAILABLE) {
            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "\"%s\" is 503, the default: clients of an API "
                          "expect 429, \"%s 429\" is recommended beside "
                          "\"llm_pass\" in %s:%ui",
                          directive, directive, llcf->place.file,
                          llcf->place.line);
        }
    }
}
