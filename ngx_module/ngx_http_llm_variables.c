/*
 * $llm_*: what is known of a request, for log_format and everything else that
 * takes variables.  Not found until known; never cached, as it changes while
 * a stream runs.  Read in the request's own worker, from its context.
 */

#include "ngx_module/ngx_http_llm_module.h"


/* Which; the data of a variable. */

enum {
    NGX_HTTP_LLM_VAR_API = 0,
    NGX_HTTP_LLM_VAR_ENGINE,
    NGX_HTTP_LLM_VAR_MODEL,
    NGX_HTTP_LLM_VAR_ASKED,
    NGX_HTTP_LLM_VAR_REQUEST_ID,
    NGX_HTTP_LLM_VAR_TENANT,
    NGX_HTTP_LLM_VAR_USER,
    NGX_HTTP_LLM_VAR_FINISH,
    NGX_HTTP_LLM_VAR_ABORTED,
    NGX_HTTP_LLM_VAR_ERROR,

    NGX_HTTP_LLM_VAR_STREAM,
    NGX_HTTP_LLM_VAR_PROMPT,
    NGX_HTTP_LLM_VAR_COMPLETION,
    NGX_HTTP_LLM_VAR_TOTAL,
    NGX_HTTP_LLM_VAR_CACHE_READ,
    NGX_HTTP_LLM_VAR_CACHE_WRITE,
    NGX_HTTP_LLM_VAR_REASONING,
    NGX_HTTP_LLM_VAR_FIRST,
    NGX_HTTP_LLM_VAR_TOOLS,
    NGX_HTTP_LLM_VAR_TOOL_CALLS,

    NGX_HTTP_LLM_VAR_QUEUE_TIME,
    NGX_HTTP_LLM_VAR_PREFILL_TIME,
    NGX_HTTP_LLM_VAR_DECODE_TIME,
    NGX_HTTP_LLM_VAR_RATE
};


static ngx_int_t ngx_http_llm_variable_text(ngx_http_request_t        *r,
                                            ngx_http_variable_value_t *v,
                                            uintptr_t                  data);
static ngx_int_t ngx_http_llm_variable_number(ngx_http_request_t        *r,
                                              ngx_http_variable_value_t *v,
                                              uintptr_t                  data);
static ngx_int_t ngx_http_llm_variable_time(ngx_http_request_t        *r,
                                            ngx_http_variable_value_t *v,
                                            uintptr_t                  data);
static ngx_int_t ngx_http_llm_variable_tenant(ngx_http_request_t        *r,
                                              ngx_http_variable_value_t *v,
                                              uintptr_t                  data);
static ngx_int_t ngx_http_llm_variable_id(ngx_http_request_t *r,
                                          ngx_http_llm_ctx_t *ctx,
                                          ngx_str_t          *s);
static void      ngx_http_llm_text(ngx_str_t *s, const char *text);
static ngx_int_t ngx_http_llm_set(ngx_http_variable_value_t *v, ngx_str_t *s);


const char *const ngx_http_llm_op_names[LLM_OP_MAX] = {
    [LLM_OP_CHAT] = "chat",
    [LLM_OP_COMPLETION] = "completions",
    [LLM_OP_MODELS] = "models",
    [LLM_OP_TOKENIZE] = "tokenize",
    [LLM_OP_DETOKENIZE] = "detokenize",
    [LLM_OP_METRICS] = "metrics"};

static const char *const ngx_http_llm_finishes[LLM_FINISH_MAX] = {
    [LLM_FINISH_STOP] = "stop",
    [LLM_FINISH_LENGTH] = "length",
    [LLM_FINISH_TOOL_CALLS] = "tool_calls",
    [LLM_FINISH_CONTENT_FILTER] = "content_filter"};


#define NGX_HTTP_LLM_VAR(name, handler, which)                                 \
    {                                                                          \
        ngx_string(name), NULL, handler, which, NGX_HTTP_VAR_NOCACHEABLE, 0    \
    }

static ngx_http_variable_t ngx_http_llm_vars[] = {
    NGX_HTTP_LLM_VAR("llm_api", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_API),
    NGX_HTTP_LLM_VAR("llm_engine", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_ENGINE),
    NGX_HTTP_LLM_VAR("llm_model", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_MODEL),
    NGX_HTTP_LLM_VAR("request_llm_model", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_ASKED),
    NGX_HTTP_LLM_VAR("llm_request_id", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_REQUEST_ID),
    NGX_HTTP_LLM_VAR("llm_tenant", ngx_http_llm_variable_tenant,
                     NGX_HTTP_LLM_VAR_TENANT),
    NGX_HTTP_LLM_VAR("llm_end_user_id", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_USER),
    NGX_HTTP_LLM_VAR("llm_finish_reason", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_FINISH),
    NGX_HTTP_LLM_VAR("llm_aborted", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_ABORTED),
    NGX_HTTP_LLM_VAR("llm_error_type", ngx_http_llm_variable_text,
                     NGX_HTTP_LLM_VAR_ERROR),

    NGX_HTTP_LLM_VAR("llm_stream", ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_STREAM),
    NGX_HTTP_LLM_VAR("llm_prompt_tokens", ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_PROMPT),
    NGX_HTTP_LLM_VAR("llm_completion_tokens", ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_COMPLETION),
    NGX_HTTP_LLM_VAR("llm_total_tokens", ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_TOTAL),
    NGX_HTTP_LLM_VAR("llm_cache_read_input_tokens",
                     ngx_http_llm_variable_number, NGX_HTTP_LLM_VAR_CACHE_READ),
    NGX_HTTP_LLM_VAR("llm_cache_creation_input_tokens",
                     ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_CACHE_WRITE),
    NGX_HTTP_LLM_VAR("llm_reasoning_tokens", ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_REASONING),
    NGX_HTTP_LLM_VAR("llm_time_to_first_token", ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_FIRST),
    NGX_HTTP_LLM_VAR("llm_tool_count", ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_TOOLS),
    NGX_HTTP_LLM_VAR("llm_has_tool_calls", ngx_http_llm_variable_number,
                     NGX_HTTP_LLM_VAR_TOOL_CALLS),

    NGX_HTTP_LLM_VAR("llm_queue_time", ngx_http_llm_variable_time,
                     NGX_HTTP_LLM_VAR_QUEUE_TIME),
    NGX_HTTP_LLM_VAR("llm_prefill_time", ngx_http_llm_variable_time,
                     NGX_HTTP_LLM_VAR_PREFILL_TIME),
    NGX_HTTP_LLM_VAR("llm_decode_time", ngx_http_llm_variable_time,
                     NGX_HTTP_LLM_VAR_DECODE_TIME),
    NGX_HTTP_LLM_VAR("llm_tokens_per_second", ngx_http_llm_variable_time,
                     NGX_HTTP_LLM_VAR_RATE),

    ngx_http_null_variable};


ngx_int_t
ngx_http_llm_variables_add(ngx_conf_t *cf)
{
    ngx_http_variable_t *var, *v;

    for (v = ngx_http_llm_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_variable_text(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                           uintptr_t data)
{
    ngx_str_t           s;
    ngx_http_llm_ctx_t *ctx;

    ngx_str_null(&s);

    ctx = ngx_http_llm_ctx(r);

    if (ctx == NULL) {
        return ngx_http_llm_set(v, &s);
    }

    switch (data) {

    case NGX_HTTP_LLM_VAR_API:
        ngx_http_llm_text(&s, ngx_http_llm_op_names[ctx->op]);
        break;

    case NGX_HTTP_LLM_VAR_ENGINE:
        if (ctx->engine) {
            s = ctx->engine->name;
        }
        break;

    case NGX_HTTP_LLM_VAR_MODEL:
        s = ctx->answering;
        break;

    case NGX_HTTP_LLM_VAR_ASKED:
        s = ctx->asked.len ? ctx->asked : ctx->model;
        break;

    case NGX_HTTP_LLM_VAR_REQUEST_ID:
        if (ngx_http_llm_variable_id(r, ctx, &s) != NGX_OK) {
            return NGX_ERROR;
        }
        break;

    case NGX_HTTP_LLM_VAR_USER:
        s = ctx->user;
        break;

    case NGX_HTTP_LLM_VAR_FINISH:
        ngx_http_llm_text(&s, ngx_http_llm_finishes[ctx->end.finish]);
        break;

    case NGX_HTTP_LLM_VAR_ABORTED:
        ngx_http_llm_text(&s, ctx->aborted);
        break;

    default: /* NGX_HTTP_LLM_VAR_ERROR */
        s = ctx->error_type;
    }

    return ngx_http_llm_set(v, &s);
}


/* As the response's id, which the engine makes of the same digits. */

static ngx_int_t
ngx_http_llm_variable_id(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
                         ngx_str_t *s)
{
    u_char     *p;
    const char *prefix;

    if (ctx->id[0] == '\0') {
        return NGX_OK;
    }

    prefix = ctx->op == LLM_OP_CHAT         ? "chatcmpl-"
             : ctx->op == LLM_OP_COMPLETION ? "cmpl-"
                                            : "";

    p = ngx_pnalloc(r->pool, ngx_strlen(prefix) + sizeof(ctx->id));
    if (p == NULL) {
        return NGX_ERROR;
    }

    s->data = p;
    p = ngx_cpymem(p, prefix, ngx_strlen(prefix));
    p = ngx_cpymem(p, ctx->id, sizeof(ctx->id));
    s->len = p - s->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_variable_tenant(ngx_http_request_t        *r,
                             ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                s;
    ngx_http_llm_loc_conf_t *llcf;

    ngx_str_null(&s);

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (llcf->tenant && ngx_http_complex_value(r, llcf->tenant, &s) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_llm_set(v, &s);
}


static ngx_int_t
ngx_http_llm_variable_number(ngx_http_request_t        *r,
                             ngx_http_variable_value_t *v, uintptr_t data)
{
    uint64_t            n;
    ngx_str_t           s;
    ngx_uint_t          known;
    ngx_http_llm_ctx_t *ctx;

    ngx_str_null(&s);

    ctx = ngx_http_llm_ctx(r);

    if (ctx == NULL) {
        return ngx_http_llm_set(v, &s);
    }

    known = ctx->ended;
    n = 0;

    switch (data) {

    case NGX_HTTP_LLM_VAR_STREAM:
        known = ctx->admitted || ctx->headed;
        n = ctx->stream;
        break;

    case NGX_HTTP_LLM_VAR_PROMPT:
        known = ctx->ended || ctx->admitted;
        n = ctx->ended ? ctx->end.prompt_tokens : ctx->admit.prompt_tokens;
        break;

    case NGX_HTTP_LLM_VAR_COMPLETION:
        n = ctx->end.completion_tokens;
        break;

    case NGX_HTTP_LLM_VAR_TOTAL:
        n = (uint64_t) ctx->end.prompt_tokens + ctx->end.completion_tokens;
        break;

    case NGX_HTTP_LLM_VAR_CACHE_READ:
        known = ctx->ended || ctx->admitted;
        n = ctx->ended ? ctx->end.cached_tokens : ctx->admit.cached_tokens;
        break;

    case NGX_HTTP_LLM_VAR_CACHE_WRITE:
        n = ctx->end.cache_write_tokens;
        break;

    case NGX_HTTP_LLM_VAR_REASONING:
        n = ctx->end.reasoning_tokens;
        break;

    case NGX_HTTP_LLM_VAR_FIRST:
        known = ctx->first != 0;
        n = ctx->first;
        break;

    case NGX_HTTP_LLM_VAR_TOOLS:
        n = ctx->end.tool_count;
        break;

    default: /* NGX_HTTP_LLM_VAR_TOOL_CALLS */
        n = ctx->end.tool_calls != 0;
    }

    if (!known) {
        return ngx_http_llm_set(v, &s);
    }

    s.data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (s.data == NULL) {
        return NGX_ERROR;
    }

    s.len = ngx_sprintf(s.data, "%uL", n) - s.data;

    return ngx_http_llm_set(v, &s);
}


/* Seconds with milliseconds, and tokens a second. */

static ngx_int_t
ngx_http_llm_variable_time(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                           uintptr_t data)
{
    uint64_t            ms;
    ngx_str_t           s;
    ngx_http_llm_ctx_t *ctx;

    ngx_str_null(&s);

    ctx = ngx_http_llm_ctx(r);

    if (ctx == NULL || !ctx->ended) {
        return ngx_http_llm_set(v, &s);
    }

    switch (data) {

    case NGX_HTTP_LLM_VAR_QUEUE_TIME:
        ms = ctx->end.queue_us / 1000;
        break;

    case NGX_HTTP_LLM_VAR_PREFILL_TIME:
        ms = ctx->end.prefill_us / 1000;
        break;

    case NGX_HTTP_LLM_VAR_DECODE_TIME:
        ms = ctx->end.decode_us / 1000;
        break;

    default: /* NGX_HTTP_LLM_VAR_RATE: thousandths of a token a second */

        if (ctx->end.decode_us == 0 || ctx->end.completion_tokens < 2) {
            return ngx_http_llm_set(v, &s);
        }

        ms = (uint64_t) (ctx->end.completion_tokens - 1) * 1000000000
             / ctx->end.decode_us;
    }

    s.data = ngx_pnalloc(r->pool, NGX_INT64_LEN + 4);
    if (s.data == NULL) {
        return NGX_ERROR;
    }

    s.len = ngx_sprintf(s.data, "%uL.%03uL", ms / 1000, ms % 1000) - s.data;

    return ngx_http_llm_set(v, &s);
}


static void
ngx_http_llm_text(ngx_str_t *s, const char *text)
{
    s->data = (u_char *) text;
    s->len = text ? ngx_strlen(text) : 0;
}


static ngx_int_t
ngx_http_llm_set(ngx_http_variable_value_t *v, ngx_str_t *s)
{
    if (s->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = s->data;
    v->len = s->len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
