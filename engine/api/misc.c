/*
 * The small ones: errors, models, tokenize, detokenize.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include "engine/api/fields.h"

typedef struct {
    int         status;
    const char *type;
    const char *code; /* where the caller names none */
    int         rc;
} status_t;

static const status_t statuses[] = {
    {400, "invalid_request_error", "invalid_value", -EINVAL},
    {404, "invalid_request_error", "not_found", -ENOENT},
    {413, "invalid_request_error", "request_too_large", -EFBIG},
    {429, "rate_limit_error", "rate_limit_exceeded", -EBUSY},
    {500, "server_error", "internal_error", -EIO},
    {503, "service_unavailable_error", "server_is_overloaded", -EBUSY},
    {504, "server_error", "timeout", -ETIMEDOUT},
};

static int  tokenize_bool(parse_t *p, const char *name, int *value);
static int  tokenize_model(parse_t *p);
static int  tokenize_fields(parse_t *p);
static void model_write(const api_model_t *m, buf_t *out);


int
gen_error(gen_error_t *e, int status, const char *code, const char *param,
          const char *fmt, ...)
{
    const status_t *s = &statuses[4];
    va_list         ap;
    size_t          i;

    for (i = 0; i < llm_countof(statuses); i++) {
        if (statuses[i].status == status) {
            s = &statuses[i];
        }
    }

    e->status = s->status;
    e->type = s->type;
    e->code = code ? code : s->code;
    e->param = param;

    va_start(ap, fmt);
    vsnprintf(e->message, sizeof(e->message), fmt, ap);
    va_end(ap);

    return s->rc;
}


void
api_error_write(const gen_error_t *e, buf_t *out)
{
    buf_str(out, "{\"error\":{\"message\":");
    buf_json(out, e->message, strlen(e->message));
    buf_fmt(out, ",\"type\":\"%s\",\"param\":", e->type);

    if (e->param) {
        buf_json(out, e->param, strlen(e->param));
    } else {
        buf_str(out, "null");
    }

    buf_str(out, ",\"code\":");

    if (e->code) {
        buf_json(out, e->code, strlen(e->code));
    } else {
        buf_str(out, "null");
    }

    buf_str(out, "}}");
}


void
api_error_event(const gen_error_t *e, buf_t *out)
{
    buf_str(out, "data: ");
    api_error_write(e, out);
    buf_str(out, "\n\n");
}


static void
model_write(const api_model_t *m, buf_t *out)
{
    buf_str(out, "{\"id\":");
    buf_json(out, m->id.s, m->id.len);
    buf_fmt(out,
            ",\"object\":\"model\",\"created\":%lld,"
            "\"owned_by\":\"ngx_llm\"",
            (long long) m->created);

    if (m->context) {
        buf_fmt(out, ",\"max_model_len\":%u", m->context);
    }

    buf_str(out, "}");
}


void
api_model_write(const api_model_t *model, buf_t *out)
{
    model_write(model, out);
}


void
api_models_write(const api_model_t *models, size_t n, buf_t *out)
{
    size_t i;

    buf_str(out, "{\"object\":\"list\",\"data\":[");

    for (i = 0; i < n; i++) {
        buf_str(out, i ? "," : "");
        model_write(&models[i], out);
    }

    buf_str(out, "]}");
}


static int
tokenize_bool(parse_t *p, const char *name, int *value)
{
    json_t *v = json_object_get(p->req->body, name);

    if (v == NULL || json_is_null(v)) {
        return 0;
    }

    if (!json_is_boolean(v)) {
        return api_wrong_type(p, name, "a boolean", v);
    }

    *value = json_is_true(v);

    return 0;
}


static int
tokenize_model(parse_t *p)
{
    json_t *v = json_object_get(p->req->body, "model");

    if (v == NULL || json_is_null(v)) {
        return 0;
    }

    if (!json_is_string(v)) {
        return api_wrong_type(p, "model", "a string", v);
    }

    p->req->model = (str_t){json_string_value(v), json_string_length(v)};

    return 0;
}


/* What a chat's prompt hangs on beside its messages. */

static int
tokenize_fields(parse_t *p)
{
    static const field_t fields[] = {
        {"tools", CHAT, parse_tools, 0, 0, 0, NULL},
        {"functions", CHAT, parse_functions, 0, 0, 0, NULL},
        {"tool_choice", CHAT, parse_choice, 0, 0, 0, NULL},
        {"function_call", CHAT, parse_choice, 0, 0, 0, NULL},
        {"reasoning_effort", CHAT, parse_effort, 0, 0, 0, NULL}};
    json_t *v;
    size_t  i;

    for (i = 0; i < llm_countof(fields); i++) {
        v = json_object_get(p->req->body, fields[i].name);
        if (v && !json_is_null(v)) {
            LLM_TRY(fields[i].fn(p, &fields[i], v));
        }
    }

    return parse_calls(p);
}


static int
tokenize_parse(parse_t *p, api_tokenize_t *t, const char *body, size_t len)
{
    gen_request_t *req = p->req;
    json_t        *v;

    LLM_TRY(api_parse_root(p, body, len));
    LLM_TRY(tokenize_model(p));
    LLM_TRY(tokenize_bool(p, "add_special_tokens", &t->add_special));
    LLM_TRY(
        tokenize_bool(p, "add_generation_prompt", &t->add_generation_prompt));
    LLM_TRY(tokenize_bool(p, "return_token_strs", &t->token_strs));

    LLM_TRY(tokenize_fields(p));

    v = json_object_get(req->body, "chat_template_kwargs");
    if (v && !json_is_null(v)) {
        if (!json_is_object(v)) {
            return api_wrong_type(p, "chat_template_kwargs", "an object", v);
        }

        req->template_args = v;
    }

    v = json_object_get(req->body, "messages");
    if (v && !json_is_null(v)) {
        return parse_messages_field(p, NULL, v);
    }

    v = json_object_get(req->body, "prompt");
    if (v == NULL || json_is_null(v)) {
        return gen_error(p->error, 400, "missing_required_parameter", "prompt",
                         "Missing required parameter: 'prompt' (or "
                         "'messages').");
    }

    if (!json_is_string(v)) {
        return api_wrong_type(p, "prompt", "a string", v);
    }

    req->prompts = arena_get(&req->arena, sizeof(gen_prompt_t));
    if (req->prompts == NULL) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    req->prompts[0].text = (str_t){json_string_value(v), json_string_length(v)};
    req->n_prompts = 1;

    return 0;
}


int
api_tokenize_parse(const char *body, size_t len, api_tokenize_t *t,
                   gen_error_t *error)
{
    parse_t p = {.req = &t->req, .error = error};
    int     rc;

    *t = (api_tokenize_t){.req = {.kind = GEN_COMPLETION, .n = 1},
                          .add_special = 1,
                          .add_generation_prompt = 1};
    arena_init(&t->req.arena, 0);

    rc = tokenize_parse(&p, t, body, len);
    api_parse_end(&p);

    if (rc < 0) {
        api_request_free(&t->req);
    }

    return rc;
}


void
api_tokenize_write(const api_tokenize_t *req, const int32_t *tokens, size_t n,
                   const str_t *strs, uint32_t max_model_len, buf_t *out)
{
    size_t i;

    buf_fmt(out, "{\"count\":%zu,\"max_model_len\":%u,\"tokens\":[", n,
            max_model_len);

    for (i = 0; i < n; i++) {
        buf_fmt(out, i ? ",%d" : "%d", tokens[i]);
    }

    buf_str(out, "]");

    if (req->token_strs) {
        buf_str(out, ",\"token_strs\":[");

        for (i = 0; i < n; i++) {
            buf_str(out, i ? "," : "");
            buf_json(out, strs[i].s ? strs[i].s : "", strs[i].len);
        }

        buf_str(out, "]");
    }

    buf_str(out, "}");
}


int
api_detokenize_parse(const char *body, size_t len, gen_request_t *req,
                     gen_error_t *error)
{
    parse_t p = {.req = req, .error = error};
    json_t *v;
    int     rc;

    *req = (gen_request_t){.kind = GEN_COMPLETION, .n = 1};
    arena_init(&req->arena, 0);

    rc = api_parse_root(&p, body, len);
    if (rc == 0) {
        rc = tokenize_model(&p);
    }

    if (rc == 0) {
        v = json_object_get(req->body, "tokens");
        req->prompts = arena_get(&req->arena, sizeof(gen_prompt_t));
        req->n_prompts = 1;

        if (v == NULL || json_is_null(v)) {
            rc = gen_error(error, 400, "missing_required_parameter", "tokens",
                           "Missing required parameter: 'tokens'.");

        } else if (!json_is_array(v)) {
            rc = api_wrong_type(&p, "tokens", "an array of integers", v);

        } else if (req->prompts == NULL) {
            rc = gen_error(error, 500, NULL, NULL, "Out of memory.");

        } else {
            rc = api_parse_ids(&p, "tokens", v, &req->prompts[0]);
        }
    }

    if (rc < 0) {
        api_request_free(req);
    }

    return rc;
}


void
api_detokenize_write(str_t text, buf_t *out)
{
    buf_str(out, "{\"prompt\":");
    buf_json(out, text.s ? text.s : "", text.len);
    buf_str(out, "}");
}
