/*
 * The blocks llm_engine and llm_model, and llm_cors's parameters, as they are
 * read.  Runs at configuration time only, in the cycle's pool; every complaint
 * names the file and line that it is about.
 */

#include "ngx_module/ngx_http_llm_module.h"


typedef char *(*ngx_http_llm_member_pt)(ngx_conf_t *cf, void *obj);

typedef struct {
    ngx_str_t              name;
    ngx_uint_t             args_min; /* the directive's name not counted */
    ngx_uint_t             args_max;
    ngx_http_llm_member_pt set;
} ngx_http_llm_member_t;


static char *ngx_http_llm_block(ngx_conf_t *cf, ngx_conf_handler_pt handler,
                                void *obj);
static char *ngx_http_llm_member(ngx_conf_t *cf, ngx_http_llm_member_t *m,
                                 const char *block);
static char *ngx_http_llm_engine_member(ngx_conf_t *cf, ngx_command_t *dummy,
                                        void *conf);
static char *ngx_http_llm_model_member(ngx_conf_t *cf, ngx_command_t *dummy,
                                       void *conf);

static char *ngx_http_llm_engine_socket(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_engine_submit_ring(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_engine_complete_ring(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_engine_queue(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_model_engine(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_model_weights(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_model_names(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_model_context(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_model_quant(ngx_conf_t *cf, void *obj);
static char *ngx_http_llm_model_tool_format(ngx_conf_t *cf, void *obj);

static char     *ngx_http_llm_ring_size(ngx_conf_t *cf, size_t *size);
static ngx_int_t ngx_http_llm_name_check(ngx_conf_t *cf, ngx_str_t *name);
static ngx_int_t ngx_http_llm_name_taken(ngx_conf_t               *cf,
                                         ngx_http_llm_main_conf_t *lmcf,
                                         ngx_http_llm_model_t     *self,
                                         ngx_str_t                *name);
static ngx_int_t ngx_http_llm_origin_check(ngx_str_t *s);


static ngx_http_llm_member_t ngx_http_llm_engine_members[] = {
    {ngx_string("socket"), 1, 1, ngx_http_llm_engine_socket},
    {ngx_string("submit_ring"), 1, 1, ngx_http_llm_engine_submit_ring},
    {ngx_string("complete_ring"), 1, 1, ngx_http_llm_engine_complete_ring},
    {ngx_string("queue"), 1, 1, ngx_http_llm_engine_queue},
    {ngx_null_string, 0, 0, NULL}};

static ngx_http_llm_member_t ngx_http_llm_model_members[] = {
    {ngx_string("engine"), 1, 1, ngx_http_llm_model_engine},
    {ngx_string("weights"), 1, 1, ngx_http_llm_model_weights},
    {ngx_string("names"), 1, 64, ngx_http_llm_model_names},
    {ngx_string("context"), 1, 1, ngx_http_llm_model_context},
    {ngx_string("quant"), 1, 1, ngx_http_llm_model_quant},
    {ngx_string("tool_format"), 1, 1, ngx_http_llm_model_tool_format},
    {ngx_null_string, 0, 0, NULL}};


char *
ngx_http_llm_engine_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_main_conf_t *lmcf = conf;

    char                  *rv;
    ngx_str_t             *value;
    ngx_http_llm_engine_t *e, **ep;

    value = cf->args->elts;

    if (ngx_http_llm_name_check(cf, &value[1]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_llm_engine_find(lmcf, &value[1]) != NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "duplicate llm_engine \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    e = ngx_pcalloc(cf->pool, sizeof(ngx_http_llm_engine_t));
    if (e == NULL) {
        return NGX_CONF_ERROR;
    }

    e->name = value[1];
    e->queue_max = NGX_CONF_UNSET_UINT;
    ngx_http_llm_place(cf, &e->place);

    if (ngx_array_init(&e->models, cf->pool, 4, sizeof(ngx_http_llm_model_t *))
        != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_llm_block(cf, ngx_http_llm_engine_member, e);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (e->path.len == 0) {
        e->path.data = (u_char *) NGX_HTTP_LLM_SOCKET + 5;
        e->path.len = sizeof(NGX_HTTP_LLM_SOCKET) - 6;
    }

    if (e->submit_ring == 0) {
        e->submit_ring = LLM_RING_DEFAULT;
    }

    if (e->complete_ring == 0) {
        e->complete_ring = LLM_RING_DEFAULT;
    }

    ngx_conf_init_uint_value(e->queue_max, 512);

    ep = ngx_array_push(&lmcf->engines);
    if (ep == NULL) {
        return NGX_CONF_ERROR;
    }

    *ep = e;

    return NGX_CONF_OK;
}


char *
ngx_http_llm_model_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_main_conf_t *lmcf = conf;

    char                 *rv;
    ngx_str_t            *value, *name;
    ngx_uint_t            i;
    ngx_http_llm_model_t *m, **mp;

    value = cf->args->elts;

    if (ngx_http_llm_name_check(cf, &value[1]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    m = ngx_pcalloc(cf->pool, sizeof(ngx_http_llm_model_t));
    if (m == NULL) {
        return NGX_CONF_ERROR;
    }

    m->name = value[1];
    ngx_http_llm_place(cf, &m->place);

    if (ngx_http_llm_name_taken(cf, lmcf, NULL, &m->name) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_array_init(&m->names, cf->pool, 2, sizeof(ngx_str_t)) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_llm_block(cf, ngx_http_llm_model_member, m);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (m->weights.len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "llm_model \"%V\" has no \"weights\" in %s:%ui", &m->name,
                      m->place.file, m->place.line);
        return NGX_CONF_ERROR;
    }

    name = m->names.elts;

    for (i = 0; i < m->names.nelts; i++) {
        if (ngx_http_llm_name_taken(cf, lmcf, m, &name[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    mp = ngx_array_push(&lmcf->models);
    if (mp == NULL) {
        return NGX_CONF_ERROR;
    }

    *mp = m;

    return NGX_CONF_OK;
}


char *
ngx_http_llm_cors_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_loc_conf_t *llcf = conf;

    ngx_str_t *value, *origin;
    ngx_uint_t i;

    if (llcf->cors != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    llcf->cors_same = 0;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        llcf->cors = NGX_HTTP_LLM_CORS_OFF;
        return NGX_CONF_OK;
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "*") == 0) {
        llcf->cors = NGX_HTTP_LLM_CORS_ANY;
        return NGX_CONF_OK;
    }

    llcf->cors = NGX_HTTP_LLM_CORS_LIST;
    llcf->cors_origins = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
    if (llcf->cors_origins == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "same") == 0) {
            llcf->cors_same = 1;
            continue;
        }

        if (ngx_http_llm_origin_check(&value[i]) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\" of \"llm_cors\", it must "
                               "be \"off\" or \"*\" alone, \"same\", or like "
                               "\"https://app.example.com:8443\"",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        origin = ngx_array_push(llcf->cors_origins);
        if (origin == NULL) {
            return NGX_CONF_ERROR;
        }

        *origin = value[i];
    }

    return NGX_CONF_OK;
}


void
ngx_http_llm_place(ngx_conf_t *cf, ngx_http_llm_place_t *place)
{
    place->file = cf->conf_file->file.name.data;
    place->line = cf->conf_file->line;
}


/* Reads a block whose members are told apart by `handler`. */

static char *
ngx_http_llm_block(ngx_conf_t *cf, ngx_conf_handler_pt handler, void *obj)
{
    char      *rv;
    ngx_conf_t save;

    save = *cf;
    cf->handler = handler;
    cf->handler_conf = obj;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    return rv;
}


static char *
ngx_http_llm_engine_member(ngx_conf_t *cf, ngx_command_t *dummy, void *conf)
{
    return ngx_http_llm_member(cf, ngx_http_llm_engine_members, "llm_engine");
}


static char *
ngx_http_llm_model_member(ngx_conf_t *cf, ngx_command_t *dummy, void *conf)
{
    return ngx_http_llm_member(cf, ngx_http_llm_model_members, "llm_model");
}


static char *
ngx_http_llm_member(ngx_conf_t *cf, ngx_http_llm_member_t *m, const char *block)
{
    char      *rv;
    ngx_str_t *value;
    ngx_uint_t n;

    value = cf->args->elts;
    n = cf->args->nelts - 1;

    for (/* void */; m->name.len; m++) {

        if (m->name.len != value[0].len
            || ngx_strncmp(m->name.data, value[0].data, m->name.len) != 0) {
            continue;
        }

        if (n < m->args_min || n > m->args_max) {
            ngx_conf_log_error(
                NGX_LOG_EMERG, cf, 0,
                "invalid number of arguments in \"%V\" of \"%s\"", &value[0],
                block);
            return NGX_CONF_ERROR;
        }

        rv = m->set(cf, cf->handler_conf);

        if (rv != NGX_CONF_OK && rv != NGX_CONF_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" of \"%s\" %s",
                               &value[0], block, rv);
            return NGX_CONF_ERROR;
        }

        return rv;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "unknown \"%V\" in \"%s\"",
                       &value[0], block);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_llm_engine_socket(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_engine_t *e = obj;

    ngx_str_t *value;

    if (e->path.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len < 7 || ngx_strncmp(value[1].data, "unix:/", 6) != 0) {
        return "must be \"unix:\" and an absolute path";
    }

    if (value[1].len - 5 >= sizeof(((struct sockaddr_un *) 0)->sun_path)) {
        return "is too long for a Unix socket";
    }

    e->path.data = value[1].data + 5;
    e->path.len = value[1].len - 5;

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_engine_submit_ring(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_engine_t *e = obj;

    return ngx_http_llm_ring_size(cf, &e->submit_ring);
}


static char *
ngx_http_llm_engine_complete_ring(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_engine_t *e = obj;

    return ngx_http_llm_ring_size(cf, &e->complete_ring);
}


static char *
ngx_http_llm_ring_size(ngx_conf_t *cf, size_t *size)
{
    ssize_t    n;
    ngx_str_t *value;

    if (*size) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_parse_size(&value[1]);

    if (n == NGX_ERROR || n < (ssize_t) LLM_RING_MIN
        || n > (ssize_t) LLM_RING_MAX || (n & (n - 1)) != 0) {
        return "must be a power of two between 64k and 1024m";
    }

    *size = n;

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_engine_queue(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_engine_t *e = obj;

    ngx_int_t  n;
    ngx_str_t *value;

    if (e->queue_max != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_atoi(value[1].data, value[1].len);
    if (n == NGX_ERROR) {
        return "must be a number";
    }

    e->queue_max = n;

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_model_engine(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_model_t *m = obj;

    ngx_str_t *value;

    if (m->engine_name.len) {
        return "is duplicate";
    }

    value = cf->args->elts;
    m->engine_name = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_model_weights(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_model_t *m = obj;

    ngx_str_t *value;

    if (m->weights.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "must not be empty";
    }

    m->weights = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_model_names(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_model_t *m = obj;

    ngx_str_t *value, *name;
    ngx_uint_t i, j;

    if (m->names.nelts) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_http_llm_name_check(cf, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        for (j = 1; j < i; j++) {
            if (value[j].len == value[i].len
                && ngx_strcmp(value[j].data, value[i].data) == 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "name \"%V\" stands twice in \"names\"",
                                   &value[i]);
                return NGX_CONF_ERROR;
            }
        }

        name = ngx_array_push(&m->names);
        if (name == NULL) {
            return NGX_CONF_ERROR;
        }

        *name = value[i];
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_model_context(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_model_t *m = obj;

    ssize_t    n;
    ngx_str_t *value;

    if (m->context) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_parse_size(&value[1]);
    if (n == NGX_ERROR || n < 1 || n > 0x7fffffff) {
        return "must be a number of tokens";
    }

    m->context = n;

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_model_quant(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_model_t *m = obj;

    ngx_str_t *value;

    if (m->quant.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    m->quant = value[1];

    if (ngx_strcmp(value[1].data, "none") == 0) {
        m->quant.len = 0;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "q8_0") != 0
        && ngx_strcmp(value[1].data, "q4_k") != 0
        && ngx_strcmp(value[1].data, "fp8") != 0) {
        return "must be \"q8_0\", \"q4_k\", \"fp8\" or \"none\"";
    }

    return NGX_CONF_OK;
}


/* Which formats there are is the engine's to know. */

static char *
ngx_http_llm_model_tool_format(ngx_conf_t *cf, void *obj)
{
    ngx_http_llm_model_t *m = obj;

    ngx_str_t *value;

    if (m->tool_format.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    m->tool_format = value[1];

    if (ngx_strcmp(value[1].data, "auto") == 0) {
        m->tool_format.len = 0;
        return NGX_CONF_OK;
    }

    if (ngx_http_llm_name_check(cf, &value[1]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* Names stand in logs, labels and JSON: nothing there that needs escaping. */

static ngx_int_t
ngx_http_llm_name_check(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char     c;
    ngx_uint_t i;

    if (name->len == 0 || name->len > 255) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "name \"%V\" must have 1 to 255 characters", name);
        return NGX_ERROR;
    }

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9')
            || (c && ngx_strchr("._:/@+-", c) != NULL)) {
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid character in name \"%V\"", name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_name_taken(ngx_conf_t *cf, ngx_http_llm_main_conf_t *lmcf,
                        ngx_http_llm_model_t *self, ngx_str_t *name)
{
    ngx_http_llm_model_t *m;

    m = ngx_http_llm_model_find(lmcf, name);

    if (m == NULL && self != NULL && self->name.len == name->len
        && ngx_strncmp(self->name.data, name->data, name->len) == 0) {
        m = self;
    }

    if (m == NULL) {
        return NGX_OK;
    }

    if (self == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "llm_model name \"%V\" is taken by llm_model \"%V\"",
                           name, &m->name);

    } else {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "name \"%V\" of llm_model \"%V\" is taken by "
                      "llm_model \"%V\" in %s:%ui",
                      name, &self->name, &m->name, self->place.file,
                      self->place.line);
    }

    return NGX_ERROR;
}


/* scheme "://" host [ ":" port ], as browsers write it. */

static ngx_int_t
ngx_http_llm_origin_check(ngx_str_t *s)
{
    u_char *p, *last;

    last = s->data + s->len;
    p = ngx_strlchr(s->data, last, ':');

    if (p == NULL || p == s->data || last - p < 4 || p[1] != '/'
        || p[2] != '/') {
        return NGX_ERROR;
    }

    for (p += 3; p < last; p++) {
        if (*p <= ' ' || *p >= 0x7f || ngx_strchr("/?#*,;\"\\", *p) != NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
