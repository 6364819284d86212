/*
 * Directives and life cycle of ngx_http_llm_module: the command table, the
 * configuration's creation and merging, and the workers' start and end.
 * The master and the configuration test run only what parses; init_process
 * and exit_process run in workers, which own the connections.
 */

#include "ngx_module/ngx_http_llm_module.h"


static ngx_int_t ngx_http_llm_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_llm_postconfiguration(ngx_conf_t *cf);
static void     *ngx_http_llm_create_main_conf(ngx_conf_t *cf);
static char     *ngx_http_llm_init_main_conf(ngx_conf_t *cf, void *conf);
static void     *ngx_http_llm_create_loc_conf(ngx_conf_t *cf);
static char     *ngx_http_llm_merge_loc_conf(ngx_conf_t *cf, void *parent,
                                             void *child);
static ngx_int_t ngx_http_llm_init_process(ngx_cycle_t *cycle);
static void      ngx_http_llm_exit_process(ngx_cycle_t *cycle);

static char *ngx_http_llm_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_llm_health(ngx_conf_t *cf, ngx_command_t *cmd,
                                 void *conf);
static char *ngx_http_llm_metrics(ngx_conf_t *cf, ngx_command_t *cmd,
                                  void *conf);
static char *ngx_http_llm_buffer_size(ngx_conf_t *cf, void *post, void *data);
static char *ngx_http_llm_handler_set(ngx_conf_t *cf, ngx_command_t *cmd,
                                      ngx_http_llm_loc_conf_t *llcf,
                                      ngx_uint_t               handler);


static ngx_conf_post_t ngx_http_llm_buffer_size_post = {
    ngx_http_llm_buffer_size};


#define NGX_HTTP_LLM_ALL                                                       \
    (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF)

/* clang-format off */

static ngx_command_t ngx_http_llm_commands[] = {

    { ngx_string("llm_engine"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_llm_engine_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_model"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_llm_model_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_pass"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_HTTP_LMT_CONF
          |NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_llm_pass,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_llm_health,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_llm_metrics,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_connect_timeout"),
      NGX_HTTP_LLM_ALL|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, connect_timeout),
      NULL },

    { ngx_string("llm_queue_timeout"),
      NGX_HTTP_LLM_ALL|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, queue_timeout),
      NULL },

    { ngx_string("llm_first_token_timeout"),
      NGX_HTTP_LLM_ALL|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, first_token_timeout),
      NULL },

    { ngx_string("llm_request_timeout"),
      NGX_HTTP_LLM_ALL|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, request_timeout),
      NULL },

    { ngx_string("llm_stall_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_llm_main_conf_t, stall_timeout),
      NULL },

    { ngx_string("llm_ping_interval"),
      NGX_HTTP_LLM_ALL|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, ping_interval),
      NULL },

    { ngx_string("llm_buffer_size"),
      NGX_HTTP_LLM_ALL|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, buffer_size),
      &ngx_http_llm_buffer_size_post },

    { ngx_string("llm_ignore_client_abort"),
      NGX_HTTP_LLM_ALL|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, ignore_client_abort),
      NULL },

    { ngx_string("llm_intercept_errors"),
      NGX_HTTP_LLM_ALL|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, intercept_errors),
      NULL },

    { ngx_string("llm_tenant"),
      NGX_HTTP_LLM_ALL|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, tenant),
      NULL },

    { ngx_string("llm_cache_salt"),
      NGX_HTTP_LLM_ALL|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, cache_salt),
      NULL },

    { ngx_string("llm_cors"),
      NGX_HTTP_LLM_ALL|NGX_CONF_1MORE,
      ngx_http_llm_cors_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t ngx_http_llm_module_ctx = {
    ngx_http_llm_preconfiguration,  /* preconfiguration */
    ngx_http_llm_postconfiguration, /* postconfiguration */

    ngx_http_llm_create_main_conf,  /* create main configuration */
    ngx_http_llm_init_main_conf,    /* init main configuration */

    NULL,                           /* create server configuration */
    NULL,                           /* merge server configuration */

    ngx_http_llm_create_loc_conf,   /* create location configuration */
    ngx_http_llm_merge_loc_conf     /* merge location configuration */
};


ngx_module_t ngx_http_llm_module = {
    NGX_MODULE_V1,
    &ngx_http_llm_module_ctx,       /* module context */
    ngx_http_llm_commands,          /* module directives */
    NGX_HTTP_MODULE,                /* module type */
    NULL,                           /* init master */
    NULL,                           /* init module */
    ngx_http_llm_init_process,      /* init process */
    NULL,                           /* init thread */
    NULL,                           /* exit thread */
    ngx_http_llm_exit_process,      /* exit process */
    NULL,                           /* exit master */
    NGX_MODULE_V1_PADDING
};

/* clang-format on */


static ngx_int_t
ngx_http_llm_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_llm_variables_add(cf);
}


static ngx_int_t
ngx_http_llm_postconfiguration(ngx_conf_t *cf)
{
    ngx_str_t                  name;
    ngx_http_handler_pt       *h;
    ngx_http_llm_main_conf_t  *lmcf;
    ngx_http_core_main_conf_t *cmcf;

    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_llm_module);

    ngx_str_set(&name, "request_id");

    lmcf->request_id = ngx_http_get_variable_index(cf, &name);
    if (lmcf->request_id == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (lmcf->places.nelts == 0 && lmcf->engines.nelts == 0) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    /* later handlers of a phase run first: before rewrite's own */

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_llm_cors_preflight;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_llm_log_handler;

    return ngx_http_llm_stats_init(cf, lmcf);
}


static void *
ngx_http_llm_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_llm_main_conf_t *lmcf;

    lmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_llm_main_conf_t));
    if (lmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&lmcf->engines, cf->pool, 2,
                       sizeof(ngx_http_llm_engine_t *))
            != NGX_OK
        || ngx_array_init(&lmcf->models, cf->pool, 4,
                          sizeof(ngx_http_llm_model_t *))
               != NGX_OK
        || ngx_array_init(&lmcf->places, cf->pool, 4,
                          sizeof(ngx_http_llm_loc_conf_t *))
               != NGX_OK) {
        return NULL;
    }

    lmcf->stall_timeout = NGX_CONF_UNSET_MSEC;

    return lmcf;
}


/* Runs once the http block was read, before anything is merged. */

static char *
ngx_http_llm_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_llm_main_conf_t *lmcf = conf;

    ngx_conf_init_msec_value(lmcf->stall_timeout, 30000);

    if (ngx_http_llm_resolve(cf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_llm_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_llm_loc_conf_t *llcf;

    llcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_llm_loc_conf_t));
    if (llcf == NULL) {
        return NULL;
    }

    llcf->connect_timeout = NGX_CONF_UNSET_MSEC;
    llcf->queue_timeout = NGX_CONF_UNSET_MSEC;
    llcf->first_token_timeout = NGX_CONF_UNSET_MSEC;
    llcf->request_timeout = NGX_CONF_UNSET_MSEC;
    llcf->ping_interval = NGX_CONF_UNSET_MSEC;
    llcf->buffer_size = NGX_CONF_UNSET_SIZE;
    llcf->ignore_client_abort = NGX_CONF_UNSET;
    llcf->intercept_errors = NGX_CONF_UNSET;
    llcf->cors = NGX_CONF_UNSET_UINT;
    llcf->cors_same = NGX_CONF_UNSET;
    llcf->tenant = NGX_CONF_UNSET_PTR;
    llcf->cache_salt = NGX_CONF_UNSET_PTR;

    return llcf;
}


static char *
ngx_http_llm_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_llm_loc_conf_t *prev = parent;
    ngx_http_llm_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t *clcf;

    ngx_conf_merge_msec_value(conf->connect_timeout, prev->connect_timeout,
                              2000);
    ngx_conf_merge_msec_value(conf->queue_timeout, prev->queue_timeout, 0);
    ngx_conf_merge_msec_value(conf->first_token_timeout,
                              prev->first_token_timeout, 0);
    ngx_conf_merge_msec_value(conf->request_timeout, prev->request_timeout, 0);
    ngx_conf_merge_msec_value(conf->ping_interval, prev->ping_interval, 15000);
    ngx_conf_merge_size_value(conf->buffer_size, prev->buffer_size, 64 * 1024);
    ngx_conf_merge_value(conf->ignore_client_abort, prev->ignore_client_abort,
                         0);
    ngx_conf_merge_value(conf->intercept_errors, prev->intercept_errors, 0);
    ngx_conf_merge_ptr_value(conf->tenant, prev->tenant, NULL);
    ngx_conf_merge_ptr_value(conf->cache_salt, prev->cache_salt, NULL);

    if (conf->cors == NGX_CONF_UNSET_UINT) {
        conf->cors_origins = prev->cors_origins;
        conf->cors_same = prev->cors_same;
    }

    ngx_conf_merge_uint_value(conf->cors, prev->cors, NGX_HTTP_LLM_CORS_OFF);
    ngx_conf_merge_value(conf->cors_same, prev->cors_same, 0);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* "if" and "limit_except" inside a location go on with its handler */

    if ((clcf->noname || clcf->lmt_excpt) && clcf->handler == NULL
        && conf->handler == NGX_HTTP_LLM_NO_HANDLER
        && prev->handler == NGX_HTTP_LLM_PASS) {
        conf->handler = prev->handler;
        conf->param = prev->param;
        conf->place = prev->place;
        conf->engine = prev->engine;
        conf->model = prev->model;
        conf->model_name = prev->model_name;

        clcf->handler = ngx_http_llm_pass_handler;

        return NGX_CONF_OK;
    }

    if (conf->handler == NGX_HTTP_LLM_PASS) {
        ngx_http_llm_warn(cf, conf);
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_llm_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_http_llm_engine_t   **e;
    ngx_http_llm_main_conf_t *lmcf;

    /* cache manager and loader come here, too */

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE) {
        return NGX_OK;
    }

    lmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_llm_module);
    if (lmcf == NULL) {
        return NGX_OK;
    }

    e = lmcf->engines.elts;

    for (i = 0; i < lmcf->engines.nelts; i++) {
        ngx_http_llm_engine_start(e[i], cycle);
    }

    return NGX_OK;
}


static void
ngx_http_llm_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_http_llm_engine_t   **e;
    ngx_http_llm_main_conf_t *lmcf;

    lmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_llm_module);
    if (lmcf == NULL) {
        return;
    }

    e = lmcf->engines.elts;

    for (i = 0; i < lmcf->engines.nelts; i++) {
        ngx_http_llm_engine_stop(e[i]);
    }
}


static char *
ngx_http_llm_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_loc_conf_t *llcf = conf;

    char                     *rv;
    ngx_http_core_loc_conf_t *clcf;

    rv = ngx_http_llm_handler_set(cf, cmd, llcf, NGX_HTTP_LLM_PASS);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    clcf->handler = ngx_http_llm_pass_handler;

    if (clcf->name.len && clcf->name.data[clcf->name.len - 1] == '/') {
        clcf->auto_redirect = 1;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_loc_conf_t *llcf = conf;

    char                     *rv;
    ngx_uint_t                handler;
    ngx_str_t                *value;
    ngx_http_core_loc_conf_t *clcf;

    value = cf->args->elts;
    handler = NGX_HTTP_LLM_HEALTH_READY;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "ready") != 0) {

        if (ngx_strcmp(value[1].data, "live") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" of \"llm_health\", "
                               "it must be \"live\" or \"ready\"",
                               &value[1]);
            return NGX_CONF_ERROR;
        }

        handler = NGX_HTTP_LLM_HEALTH_LIVE;
    }

    rv = ngx_http_llm_handler_set(cf, cmd, llcf, handler);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_llm_health_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_metrics(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_loc_conf_t *llcf = conf;

    char                     *rv;
    ngx_http_core_loc_conf_t *clcf;

    rv = ngx_http_llm_handler_set(cf, cmd, llcf, NGX_HTTP_LLM_METRICS);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_llm_metrics_handler;

    return NGX_CONF_OK;
}


/* What the three have in common; their parameter is resolved later. */

static char *
ngx_http_llm_handler_set(ngx_conf_t *cf, ngx_command_t *cmd,
                         ngx_http_llm_loc_conf_t *llcf, ngx_uint_t handler)
{
    ngx_str_t                *value;
    ngx_http_llm_loc_conf_t **place;
    ngx_http_llm_main_conf_t *lmcf;

    if (llcf->handler == handler) {
        return "is duplicate";
    }

    if (llcf->handler != NGX_HTTP_LLM_NO_HANDLER) {
        return "stands beside another llm handler in the same location";
    }

    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_llm_module);

    place = ngx_array_push(&lmcf->places);
    if (place == NULL) {
        return NGX_CONF_ERROR;
    }

    *place = llcf;

    value = cf->args->elts;

    llcf->handler = handler;
    ngx_http_llm_place(cf, &llcf->place);

    if (cf->args->nelts == 2) {
        llcf->param = value[1];
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_buffer_size(ngx_conf_t *cf, void *post, void *data)
{
    size_t *size = data;

    if (*size < 4096 || *size > LLM_RING_MAX) {
        return "must be between 4k and 1g";
    }

    return NGX_CONF_OK;
}
