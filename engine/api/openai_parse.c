/*
 * OpenAI's requests -> gen_request_t: /chat/completions and /completions.
 *
 * A table says for each member which requests know it and what is done with
 * it.  Members that no row names are tolerated.  null is the same as absent,
 * as in OpenAI's SDKs.  Any thread; everything made here belongs to the
 * request.
 */

#include <errno.h>
#include "engine/api/fields.h"

#define PARSE_VALUES_MAX (4u << 20) /* of a body: 48 bytes each and more */

static int parse_check(parse_t *p);
static int parse_keep(gen_request_t *req, str_t *s);
static int parse_values(const char *body, size_t len);

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

    /* What may be called, and what the content must be. */
    {"tools", CHAT, parse_tools, 0, 0, 0, NULL},
    {"functions", CHAT, parse_functions, 0, 0, 0, NULL},
    {"tool_choice", CHAT, parse_choice, 0, 0, 0, NULL},
    {"function_call", CHAT, parse_choice, 0, 0, 0, NULL},
    {"parallel_tool_calls", CHAT, parse_bool, AT(parallel), 0, 0, NULL},
    {"response_format", BOTH, parse_format, 0, 0, 0, NULL},
    {"json_schema", BOTH, parse_schema, 0, 0, 0, NULL},
    {"grammar", BOTH, parse_source, GEN_FORMAT_GBNF, 0, 0, NULL},
    {"guided_json", BOTH, parse_schema, 0, 0, 0, NULL},
    {"guided_regex", BOTH, parse_source, GEN_FORMAT_REGEX, 0, 0, NULL},
    {"guided_choice", BOTH, parse_list, 0, 0, 0, NULL},
    {"guided_grammar", BOTH, parse_source, 0, 0, 0, NULL},
    {"structured_outputs", BOTH, parse_structured, 0, 0, 0, NULL},
    {"reasoning_effort", CHAT, parse_effort, 0, 0, 0, NULL},
    {"thinking_budget", CHAT, parse_budget, 0, 0, 0, NULL},
    {"thinking_token_budget", CHAT, parse_budget, 0, 0, 0, NULL},
    {"thinking_budget_tokens", CHAT, parse_budget, 0, 0, 0, NULL},
    {"reasoning_budget_tokens", CHAT, parse_budget, 0, 0, 0, NULL},

    /* Honoured because we can do nothing else: other values are refused. */
    {"reasoning_format", CHAT, parse_word, 0, 0, 0, "auto deepseek"},
    {"include_reasoning", CHAT, parse_one, 1, 0, 0, NULL},
    {"parse_tool_calls", CHAT, parse_one, 1, 0, 0, NULL},
    {"modalities", CHAT, parse_modalities, 0, 0, 0, NULL},
    {"metadata", CHAT, parse_metadata, 0, 0, 0, NULL},
    {"verbosity", CHAT, parse_word, 0, 0, 0, "medium"},
    {"service_tier", BOTH, parse_word, 0, 0, 0, "auto default"},
    {"prompt_cache_retention", CHAT, parse_word, 0, 0, 0,
     "in-memory in_memory"},
    {"prompt_cache_key", CHAT, parse_string, SIZE_MAX, 0, 0, NULL},
    {"best_of", BOTH, parse_one, 0, 0, 0, NULL},
    {"length_penalty", BOTH, parse_one, 0, 0, 0, NULL},
    {"add_generation_prompt", CHAT, parse_one, 1, 0, 0, NULL},
    {"skip_special_tokens", BOTH, parse_one, 1, 0, 0, NULL},

    /* Refused unless they say nothing: null, false, 0, "", [], {}. */
    {"tools", COMP, parse_refuse, 0, 0, 0, NULL},
    {"functions", COMP, parse_refuse, 0, 0, 0, NULL},
    {"tool_choice", COMP, parse_refuse, 0, 0, 0, NULL},
    {"function_call", COMP, parse_refuse, 0, 0, 0, NULL},
    {"audio", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"prediction", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"store", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"web_search_options", CHAT, parse_refuse, 1, 0, 0, NULL},
    {"moderation", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"prompt_cache_options", CHAT, parse_refuse, 0, 0, 0, NULL},
    {"suffix", COMP, parse_refuse, 0, 0, 0, NULL},
    {"echo", CHAT, parse_refuse, 0, 0, 0, NULL},
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
    {"guided_whitespace_pattern", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"guided_decoding_backend", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"typical_p", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"mirostat", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"xtc_probability", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"dry_multiplier", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"dynatemp_range", BOTH, parse_refuse, 0, 0, 0, NULL},
    {"top_n_sigma", BOTH, parse_refuse, 0, 0, 0, NULL},
};

int
api_parse_root(parse_t *p, const char *body, size_t len)
{
    json_error_t je;

    if (len == 0) {
        return gen_error(p->error, 400, "invalid_json", NULL,
                         "The body of your request is empty.");
    }

    /* JSON's tree is many times larger than its text can be. */
    if (parse_values(body, len) > (int) PARSE_VALUES_MAX) {
        return gen_error(p->error, 400, "invalid_json", NULL,
                         "The body of your request has more than %u values.",
                         PARSE_VALUES_MAX);
    }

    p->req->body = api_json(body, len, JSON_ALLOW_NUL, &je);

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

    *req = (gen_request_t){.kind = kind, .n = 1, .parallel = 1};
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

    api_parse_end(&p);

    if (rc < 0) {
        api_request_free(req);
    }

    return rc;
}


void
api_parse_end(parse_t *p)
{
    json_decref(p->names);
    json_decref(p->calls);
    p->names = p->calls = NULL;
}


int
api_request_settle(gen_request_t *req)
{
    uint32_t i;

    LLM_TRY(parse_keep(req, &req->model));
    LLM_TRY(parse_keep(req, &req->user));

    for (i = 0; i < req->n_stops; i++) {
        LLM_TRY(parse_keep(req, &req->stops[i]));
    }

    for (i = 0; i < req->n_offers; i++) {
        LLM_TRY(parse_keep(req, &req->offers[i].name));
        req->offers[i].definition = (str_t){0};
    }

    json_decref(req->messages);
    json_decref(req->tools);
    json_decref(req->body);
    req->messages = req->body = req->tools = req->template_args = NULL;
    req->format_text = (str_t){0};
    req->format_list = NULL;
    req->n_format_list = 0;

    for (i = 0; i < req->n_prompts; i++) {
        req->prompts[i].text = (str_t){0};
    }

    return 0;
}


/* A string of the body into the arena. */

static int
parse_keep(gen_request_t *req, str_t *s)
{
    s->s = arena_str(&req->arena, s->s, s->len);

    return s->s ? 0 : -ENOMEM;
}


void
api_request_free(gen_request_t *req)
{
    json_decref(req->messages);
    json_decref(req->tools);
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

    LLM_TRY(parse_calls(p));

    if (req->effort == GEN_EFFORT_NONE && !req->has_budget) {
        req->has_budget = 1;
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


/* At least as many as there are values, of whatever is no JSON too. */

static int
parse_values(const char *body, size_t len)
{
    size_t i;
    int    n = 1, quoted = 0;

    for (i = 0; i < len && n <= (int) PARSE_VALUES_MAX; i++) {
        switch (body[i]) {

        case '\\':
            i += quoted;
            break;

        case '"':
            quoted = !quoted;
            break;

        case ',':
        case '[':
        case '{':
            n += !quoted;
            break;
        }
    }

    return n;
}
