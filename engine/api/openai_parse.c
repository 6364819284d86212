/*
 * OpenAI's requests -> gen_request_t: /chat/completions and /completions.
 *
 * A table says for each member which requests know it and what is done with
 * it.  Members that no row names are tolerated.  null is the same as absent,
 * as in OpenAI's SDKs.  Any thread; everything made here belongs to the
 * request.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/api/api_priv.h"

#define PARSE_STOP_MAX 1024 /* bytes of a stop string */
#define PARSE_BIAS_MAX 4096
#define PARSE_META_MAX 16

typedef struct field_s field_t;

typedef int (*field_fn_t)(parse_t *p, const field_t *f, json_t *v);

struct field_s {
    const char *name;
    unsigned    kinds; /* 1 << GEN_CHAT | 1 << GEN_COMPLETION */
    field_fn_t  fn;
    size_t      offset; /* in gen_request_t; of the value */
    double      min;
    double      max;
    const char *words; /* for enumerations: those that we can honour */
};

#define CHAT (1u << GEN_CHAT)
#define COMP (1u << GEN_COMPLETION)
#define BOTH (CHAT | COMP)

static int parse_bool(parse_t *p, const field_t *f, json_t *v);
static int parse_double(parse_t *p, const field_t *f, json_t *v);
static int parse_uint(parse_t *p, const field_t *f, json_t *v);
static int parse_string(parse_t *p, const field_t *f, json_t *v);
static int parse_max(parse_t *p, const field_t *f, json_t *v);
static int parse_top_k(parse_t *p, const field_t *f, json_t *v);
static int parse_seed(parse_t *p, const field_t *f, json_t *v);
static int parse_stop(parse_t *p, const field_t *f, json_t *v);
static int parse_bias(parse_t *p, const field_t *f, json_t *v);
static int parse_logprobs(parse_t *p, const field_t *f, json_t *v);
static int parse_stream_options(parse_t *p, const field_t *f, json_t *v);
static int parse_prompt(parse_t *p, const field_t *f, json_t *v);
static int parse_object(parse_t *p, const field_t *f, json_t *v);
static int parse_format(parse_t *p, const field_t *f, json_t *v);
static int parse_modalities(parse_t *p, const field_t *f, json_t *v);
static int parse_metadata(parse_t *p, const field_t *f, json_t *v);
static int parse_word(parse_t *p, const field_t *f, json_t *v);
static int parse_one(parse_t *p, const field_t *f, json_t *v);
static int parse_refuse(parse_t *p, const field_t *f, json_t *v);
static int parse_check(parse_t *p);

#define AT(member) offsetof(gen_request_t, member)

static const field_t fields[] = {
    {"model", BOTH, parse_string, AT(model), 0, 0, NULL},
    {"messages", CHAT, parse_messages_field, 0, 0, 0, NULL},
    {"prompt", COMP, parse_prompt, 0, 0, 0, NULL},
    {"max_tokens", BOTH, parse_max, 0, 0, 0, NULL},
    {"max_completion_tokens", CHAT, parse_max, 1, 0, 0, NULL},
    {"temperature", BOTH, parse_double, AT(temperature), 0, 2, NULL},
    {"top_p", BOTH, parse_double, AT(top_p), 0, 1, NULL},
    {"min_p", BOTH, parse_double, AT(min_p), 0, 1, NULL},
    {"top_k", BOTH, parse_top_k, 0, 0, 0, NULL},
    {"repetition_penalty", BOTH, parse_double, AT(repetition), 0.01, 100, NULL},
    {"frequency_penalty", BOTH, parse_double, AT(frequency), -2, 2, NULL},
    {"presence_penalty", BOTH, parse_double, AT(presence), -2, 2, NULL},
    {"n", BOTH, parse_uint, AT(n), 1, GEN_CHOICES_MAX, NULL},
    {"seed", BOTH, parse_seed, 0, 0, 0, NULL},
    {"stop", BOTH, parse_stop, 0, 0, 0, NULL},
    {"logit_bias", BOTH, parse_bias, 0, 0, 0, NULL},
    {"logprobs", BOTH, parse_logprobs, 0, 0, 0, NULL},
    {"top_logprobs", CHAT, parse_uint, AT(n_top), 0, GEN_TOP_MAX, NULL},
    {"ignore_eos", BOTH, parse_bool, AT(ignore_eos), 0, 0, NULL},
    {"echo", COMP, parse_bool, AT(echo), 0, 0, NULL},
    {"stream", BOTH, parse_bool, AT(stream), 0, 0, NULL},
    {"stream_options", BOTH, parse_stream_options, 0, 0, 0, NULL},
    {"user", BOTH, parse_string, AT(user), 0, 0, NULL},
    {"safety_identifier", CHAT, parse_string, AT(user), 0, 64, NULL},
    {"chat_template_kwargs", CHAT, parse_object, AT(template_args), 0, 0, NULL},

    /* Honoured because we can do nothing else: other values are refused. */
    {"response_format", CHAT, parse_format, 0, 0, 0, NULL},
    {"modalities", CHAT, parse_modalities, 0, 0, 0, NULL},
    {"metadata", CHAT, parse_metadata, 0, 0, 0, NULL},
    {"tool_choice", CHAT, parse_word, 0, 0, 0, "none auto"},
    {"function_call", CHAT, parse_word, 0, 0, 0, "none auto"},
    {"reasoning_effort", CHAT, parse_word, 0, 0, 0, "none"},
    {"verbosity", CHAT, parse_word, 0, 0, 0, "medium"},
    {"service_tier", BOTH, parse_word, 0, 0, 0, "auto default"},
    {"prompt_cache_retention", CHAT, parse_word, 0, 0, 0,
     "in-memory in_memory"},
    {"prompt_cache_key", CHAT, parse_string, SIZE_MAX, 0, 0, NULL},
    {"parallel_tool_calls", CHAT, parse_bool, SIZE_MAX, 0, 0, NULL},
    {"best_of", BOTH, parse_one, 0, 0, 0, NULL},
    {"length_penalty", BOTH, parse_one, 0, 0, 0, NULL},
    {"add_generation_prompt", CHAT, parse_one, 1, 0, 0, NULL},
    {"skip_special_tokens", BOTH, parse_one, 1, 0, 0, NULL},

    /* Refused unless they say nothing: null, false, 0, "", [], {}. */
    {"tools", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"functions", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"audio", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"prediction", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"store", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"web_search_options", CHAT, parse_refuse, 1, 0, 0, NULL},
    {"moderation", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"prompt_cache_options", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"suffix", COMP, parse_refuse, 0, 0, 0, NULL},
    {"echo", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"response_format", COMP, parse_refuse, 0, 0, 0, NULL},
    {"continue_final_message", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"chat_template", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"documents", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"min_tokens", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"stop_token_ids", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"bad_words", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"include_stop_str_in_output", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"use_beam_search", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"prompt_logprobs", BOTH, parse_refuse, 1, 0, 0, NULL},
    {"truncate_prompt_tokens", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"grammar", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"json_schema", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"structured_outputs", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"guided_json", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"guided_regex", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"guided_choice", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"guided_grammar", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"typical_p", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"mirostat", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"xtc_probability", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"dry_multiplier", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"dynatemp_range", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"top_n_sigma", BOTH, parse_refuse, 0, 0, 0, NULL},
};

/* Doubles whose default is the model's: has_* is set when they are given. */

static void
parse_has(gen_request_t *req, size_t offset)
{
    req->has_temperature |= offset == AT(temperature);
    req->has_top_p |= offset == AT(top_p);
    req->has_min_p |= offset == AT(min_p);
    req->has_repetition |= offset == AT(repetition);
}


int
api_parse_root(parse_t *p, const char *body, size_t len)
{
    json_error_t je;

    if (len == 0) {
        return gen_error(p->error, 400, "invalid_json", NULL,
                         "The body of your request is empty.");
    }

    p->req->body = json_loadb(body, len, JSON_ALLOW_NUL, &je);

    if (p->req->body == NULL) {
        return gen_error(p->error, 400, "invalid_json", NULL,
                         "We could not parse the JSON body of your request: "
                         "%s at line %d, column %d",
                         je.text, je.line, je.column);
    }

    if (!json_is_object(p->req->body)) {
        return gen_error(p->error, 400, "invalid_json", NULL,
                         "The body of your request is not a JSON object.");
    }

    return 0;
}


int
api_openai_parse(int kind, const char *body, size_t len, gen_request_t *req,
                 gen_error_t *error)
{
    parse_t p = {.req = req, .error = error};
    json_t *v;
    size_t  i;
    int     rc;

    *req = (gen_request_t){.kind = kind, .n = 1};
    arena_init(&req->arena, 0);

    rc = api_parse_root(&p, body, len);

    for (i = 0; rc == 0 && i < llm_countof(fields); i++) {
        v = json_object_get(req->body, fields[i].name);

        if (v == NULL || json_is_null(v) || !(fields[i].kinds & 1u << kind)) {
            continue;
        }

        rc = fields[i].fn(&p, &fields[i], v);
    }

    if (rc == 0) {
        rc = parse_check(&p);
    }

    if (rc < 0) {
        api_request_free(req);
    }

    return rc;
}


void
api_request_free(gen_request_t *req)
{
    json_decref(req->messages);
    json_decref(req->body);
    arena_free(&req->arena);
    *req = (gen_request_t){0};
}


/* What concerns several members at once. */

static int
parse_check(parse_t *p)
{
    gen_request_t *req = p->req;
    const char    *needed = req->kind == GEN_CHAT ? "messages" : "prompt";

    if (req->kind == GEN_CHAT ? req->messages == NULL : req->n_prompts == 0) {
        return gen_error(p->error, 400, "missing_required_parameter", needed,
                         "Missing required parameter: '%s'.", needed);
    }

    if (req->kind == GEN_CHAT && req->n_top && !req->logprobs) {
        return gen_error(p->error, 400, "invalid_value", "top_logprobs",
                         "'top_logprobs' needs 'logprobs' to be true.");
    }

    if (p->has_stream_options && !req->stream) {
        return gen_error(p->error, 400, "invalid_value", "stream_options",
                         "'stream_options' is only allowed when 'stream' is "
                         "true.");
    }

    if (req->n_prompts * req->n > GEN_CHOICES_MAX) {
        return gen_error(p->error, 400, "invalid_value", "n",
                         "%u prompts with n %u are more than %d choices",
                         req->n_prompts, req->n, GEN_CHOICES_MAX);
    }

    if (req->kind == GEN_COMPLETION) {
        if (!req->has_max) {
            req->has_max = 1;
            req->max_tokens = 16; /* OpenAI's default */
        }

        if (req->max_tokens == 0 && !req->echo) {
            return gen_error(p->error, 400, "invalid_value", "max_tokens",
                             "'max_tokens' 0 makes sense with 'echo' only.");
        }
    }

    return 0;
}


int
api_wrong_type(parse_t *p, const char *param, const char *want, json_t *got)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",  [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a decimal",   [JSON_TRUE] = "a boolean",
        [JSON_FALSE] = "a boolean",  [JSON_NULL] = "null"};

    return gen_error(p->error, 400, "invalid_type", param,
                     "Invalid type for '%s': expected %s, but got %s instead.",
                     param, want, names[json_typeof(got)]);
}


static int
parse_bool(parse_t *p, const field_t *f, json_t *v)
{
    int on = json_is_true(v);

    if (!json_is_boolean(v)) {
        return api_wrong_type(p, f->name, "a boolean", v);
    }

    if (f->offset != SIZE_MAX) {
        memcpy((char *) p->req + f->offset, &on, sizeof(on));
    }

    return 0;
}


static int
parse_double(parse_t *p, const field_t *f, json_t *v)
{
    double d;

    if (!json_is_number(v)) {
        return api_wrong_type(p, f->name, "a number", v);
    }

    d = json_number_value(v);

    if (!(d >= f->min && d <= f->max)) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid '%s': %g is not between %g and %g.", f->name,
                         d, f->min, f->max);
    }

    memcpy((char *) p->req + f->offset, &d, sizeof(d));
    parse_has(p->req, f->offset);

    return 0;
}


static int
parse_uint(parse_t *p, const field_t *f, json_t *v)
{
    json_int_t i;
    uint32_t   u;

    if (!json_is_integer(v)) {
        return api_wrong_type(p, f->name, "an integer", v);
    }

    i = json_integer_value(v);

    if (i < (json_int_t) f->min || i > (json_int_t) f->max) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid '%s': %lld is not between %g and %g.",
                         f->name, (long long) i, f->min, f->max);
    }

    u = (uint32_t) i;
    memcpy((char *) p->req + f->offset, &u, sizeof(u));

    return 0;
}


static int
parse_string(parse_t *p, const field_t *f, json_t *v)
{
    str_t s;

    if (!json_is_string(v)) {
        return api_wrong_type(p, f->name, "a string", v);
    }

    s = (str_t){json_string_value(v), json_string_length(v)};

    if (f->max > 0 && s.len > (size_t) f->max) {
        return gen_error(p->error, 400, "string_above_max_length", f->name,
                         "Invalid '%s': longer than %g bytes.", f->name,
                         f->max);
    }

    if (f->offset != SIZE_MAX) {
        memcpy((char *) p->req + f->offset, &s, sizeof(s));
    }

    return 0;
}


/* max_completion_tokens, offset 1, stands above its deprecated alias. */

static int
parse_max(parse_t *p, const field_t *f, json_t *v)
{
    json_int_t i;

    if (!json_is_integer(v)) {
        return api_wrong_type(p, f->name, "an integer", v);
    }

    i = json_integer_value(v);

    if (i < (p->req->kind == GEN_CHAT)) {
        return gen_error(p->error, 400, "integer_below_min_value", f->name,
                         "Invalid '%s': %lld is too small.", f->name,
                         (long long) i);
    }

    p->req->max_tokens = i > UINT32_MAX ? UINT32_MAX : (uint32_t) i;
    p->req->has_max = 1;

    return 0;
}


/* 0 and -1 are "off", as in vLLM. */

static int
parse_top_k(parse_t *p, const field_t *f, json_t *v)
{
    json_int_t i;

    if (!json_is_integer(v)) {
        return api_wrong_type(p, f->name, "an integer", v);
    }

    i = json_integer_value(v);

    if (i < -1 || i > INT32_MAX) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid '%s': %lld is not -1, 0 or more.", f->name,
                         (long long) i);
    }

    p->req->top_k = i > 0 ? (uint32_t) i : 0;
    p->req->has_top_k = 1;

    return 0;
}


static int
parse_seed(parse_t *p, const field_t *f, json_t *v)
{
    if (!json_is_integer(v)) {
        return api_wrong_type(p, f->name, "an integer", v);
    }

    p->req->seed = (uint64_t) json_integer_value(v);
    p->req->has_seed = 1;

    return 0;
}


static int
parse_stop(parse_t *p, const field_t *f, json_t *v)
{
    size_t  i, n = json_is_array(v) ? json_array_size(v) : 1;
    json_t *s;

    if (!json_is_array(v) && !json_is_string(v)) {
        return api_wrong_type(p, f->name, "a string or an array", v);
    }

    if (n > GEN_STOPS_MAX) {
        return gen_error(p->error, 400, "array_above_max_length", f->name,
                         "Invalid 'stop': %zu strings, at most %d.", n,
                         GEN_STOPS_MAX);
    }

    for (i = 0; i < n; i++) {
        s = json_is_array(v) ? json_array_get(v, i) : v;

        if (!json_is_string(s)) {
            return api_wrong_type(p, f->name, "an array of strings", s);
        }

        if (json_string_length(s) == 0
            || json_string_length(s) > PARSE_STOP_MAX) {
            return gen_error(p->error, 400, "invalid_value", f->name,
                             "Invalid 'stop': a string of %zu bytes, not 1 to "
                             "%d.",
                             json_string_length(s), PARSE_STOP_MAX);
        }

        p->req->stops[p->req->n_stops++] =
            (str_t){json_string_value(s), json_string_length(s)};
    }

    return 0;
}


static int
parse_bias(parse_t *p, const field_t *f, json_t *v)
{
    const char *key;
    json_t     *value;
    double      d;
    char       *end;
    long        id;

    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    if (json_object_size(v) > PARSE_BIAS_MAX) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid 'logit_bias': more than %d tokens.",
                         PARSE_BIAS_MAX);
    }

    p->req->bias = arena_get(&p->req->arena,
                             (json_object_size(v) + 1) * sizeof(gen_bias_t));
    if (p->req->bias == NULL) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    json_object_foreach(v, key, value)
    {
        errno = 0;
        id = strtol(key, &end, 10);

        if (errno || end == key || *end || id < 0 || id > INT32_MAX) {
            return gen_error(p->error, 400, "invalid_value", f->name,
                             "Invalid 'logit_bias': '%.32s' is not a token id.",
                             key);
        }

        if (!json_is_number(value)) {
            return api_wrong_type(p, f->name, "an object of numbers", value);
        }

        d = json_number_value(value);
        if (!(d >= -100 && d <= 100)) {
            return gen_error(p->error, 400, "invalid_value", f->name,
                             "Invalid 'logit_bias': %g is not between -100 "
                             "and 100.",
                             d);
        }

        p->req->bias[p->req->n_bias++] = (gen_bias_t){(int32_t) id, (float) d};
    }

    return 0;
}


/* Chat: a boolean.  Completions: how many, 0 to 5. */

static int
parse_logprobs(parse_t *p, const field_t *f, json_t *v)
{
    const field_t n = {f->name, COMP, NULL, AT(n_top), 0, 5, NULL};
    const field_t b = {f->name, CHAT, NULL, AT(logprobs), 0, 0, NULL};

    if (p->req->kind == GEN_CHAT) {
        return parse_bool(p, &b, v);
    }

    p->req->logprobs = 1;

    return parse_uint(p, &n, v);
}


static int
parse_stream_options(parse_t *p, const field_t *f, json_t *v)
{
    static const field_t options[] = {
        {"include_usage", BOTH, parse_bool, AT(include_usage), 0, 0, NULL},
        {"include_obfuscation", BOTH, parse_bool, AT(obfuscation), 0, 0, NULL}};
    json_t *o;
    size_t  i;

    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    p->has_stream_options = 1;

    for (i = 0; i < llm_countof(options); i++) {
        o = json_object_get(v, options[i].name);
        if (o && !json_is_null(o)) {
            LLM_TRY(options[i].fn(p, &options[i], o));
        }
    }

    return 0;
}


int
api_parse_ids(parse_t *p, const char *param, json_t *v, gen_prompt_t *out)
{
    size_t   i, n = json_array_size(v);
    int32_t *ids;
    json_t  *id;

    ids = arena_get(&p->req->arena, (n + 1) * sizeof(int32_t));
    if (ids == NULL) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    json_array_foreach(v, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0
            || json_integer_value(id) > INT32_MAX) {
            return gen_error(p->error, 400, "invalid_type", param,
                             "Invalid type for '%s': item %zu is not a token "
                             "id.",
                             param, i);
        }

        ids[i] = (int32_t) json_integer_value(id);
    }

    *out = (gen_prompt_t){.tokens = ids, .n_tokens = n};

    return 0;
}


/* A string, strings, token ids, or arrays of token ids. */

static int
parse_prompt(parse_t *p, const field_t *f, json_t *v)
{
    gen_request_t *req = p->req;
    size_t         i, n = 1;
    json_t        *item;
    int            many;

    many = json_is_array(v) && !json_is_integer(json_array_get(v, 0));

    if (many) {
        n = json_array_size(v);
    } else if (!json_is_array(v) && !json_is_string(v)) {
        return api_wrong_type(p, f->name, "a string or an array", v);
    }

    if (n == 0 || n > GEN_PROMPTS_MAX) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid 'prompt': %zu prompts, not 1 to %d.", n,
                         GEN_PROMPTS_MAX);
    }

    req->prompts = arena_get(&req->arena, n * sizeof(gen_prompt_t));
    if (req->prompts == NULL) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    for (i = 0; i < n; i++) {
        item = many ? json_array_get(v, i) : v;

        if (json_is_array(item)) {
            LLM_TRY(api_parse_ids(p, f->name, item, &req->prompts[i]));

        } else if (json_is_string(item)) {
            req->prompts[i].text =
                (str_t){json_string_value(item), json_string_length(item)};

        } else {
            return api_wrong_type(p, f->name,
                                  "an array of strings or of token ids", item);
        }
    }

    req->n_prompts = (uint32_t) n;

    return 0;
}


static int
parse_object(parse_t *p, const field_t *f, json_t *v)
{
    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    memcpy((char *) p->req + f->offset, &v, sizeof(v));

    return 0;
}


static int
parse_refused(parse_t *p, const char *param)
{
    return gen_error(p->error, 400, "unsupported_parameter", param,
                     "Unsupported parameter: '%s' is not supported by this "
                     "server.",
                     param);
}


static int
parse_format(parse_t *p, const field_t *f, json_t *v)
{
    const char *type;

    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    type = json_string_value(json_object_get(v, "type"));

    if (type == NULL) {
        return gen_error(p->error, 400, "missing_required_parameter",
                         "response_format.type",
                         "Missing required parameter: "
                         "'response_format.type'.");
    }

    return strcmp(type, "text") == 0 ? 0 : parse_refused(p, f->name);
}


static int
parse_modalities(parse_t *p, const field_t *f, json_t *v)
{
    const char *s;
    json_t     *item;
    size_t      i;

    if (!json_is_array(v)) {
        return api_wrong_type(p, f->name, "an array", v);
    }

    json_array_foreach(v, i, item)
    {
        s = json_string_value(item);
        if (s == NULL || strcmp(s, "text") != 0) {
            return parse_refused(p, f->name);
        }
    }

    return 0;
}


/* Tags of stored completions: nothing is stored, so nothing is lost. */

static int
parse_metadata(parse_t *p, const field_t *f, json_t *v)
{
    const char *key;
    json_t     *value;

    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    if (json_object_size(v) > PARSE_META_MAX) {
        return gen_error(p->error, 400, "object_above_max_properties", f->name,
                         "Invalid 'metadata': more than %d pairs.",
                         PARSE_META_MAX);
    }

    json_object_foreach(v, key, value)
    {
        if (!json_is_string(value)) {
            return api_wrong_type(p, f->name, "an object of strings", value);
        }
    }

    return 0;
}


/* An enumeration of which we can honour these words only. */

static int
parse_word(parse_t *p, const field_t *f, json_t *v)
{
    const char *s = json_string_value(v), *w;
    size_t      n;

    if (s == NULL) {
        return json_is_object(v) ? parse_refused(p, f->name)
                                 : api_wrong_type(p, f->name, "a string", v);
    }

    for (w = f->words; *w; w += n + (w[n] == ' ')) {
        n = strcspn(w, " ");

        if (strlen(s) == n && memcmp(s, w, n) == 0) {
            return 0;
        }
    }

    return gen_error(p->error, 400, "unsupported_value", f->name,
                     "Unsupported value: '%s' does not support '%.64s' here; "
                     "supported: %s.",
                     f->name, s, f->words);
}


/* 1 (offset 1: true) is what we do; anything else is refused. */

static int
parse_one(parse_t *p, const field_t *f, json_t *v)
{
    if (f->offset ? json_is_true(v)
                  : json_is_number(v) && json_number_value(v) == 1) {
        return 0;
    }

    return parse_refused(p, f->name);
}


/* offset 1: any value but null says something. */

static int
parse_refuse(parse_t *p, const field_t *f, json_t *v)
{
    int empty = json_is_false(v)
                || (json_is_number(v) && json_number_value(v) == 0)
                || (json_is_string(v) && json_string_length(v) == 0)
                || (json_is_array(v) && json_array_size(v) == 0)
                || (json_is_object(v) && json_object_size(v) == 0);

    return empty && f->offset == 0 ? 0 : parse_refused(p, f->name);
}
