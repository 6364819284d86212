/*
 * OpenAI's request bodies: which are taken, with what fields, and which are
 * refused, naming what.
 */

#include "engine/api/api.h"
#include "t/lib/tap.h"

#define M "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
#define P "\"prompt\":\"x\""

enum { C = GEN_CHAT, T = GEN_COMPLETION };

typedef struct {
    int         kind;
    const char *body;
    const char *param; /* NULL: null in the error object */
    const char *code;
} refused_t;

static const refused_t refused[] = {
    {C, "", NULL, "invalid_json"},
    {C, "{", NULL, "invalid_json"},
    {C, "[]", NULL, "invalid_json"},
    {C, "{} x", NULL, "invalid_json"},
    {C, "{" M ",\"seed\":99999999999999999999}", "seed", "invalid_type"},
    {C, "{" M ",\"temperature\":1e999}", "temperature", "invalid_value"},
    {C, "{\"a\":99999999999999999999,}", NULL, "invalid_json"},
    {C, "{\"a\":\"\xc3\"}", NULL, "invalid_json"},
    {C, "{}", "messages", "missing_required_parameter"},
    {T, "{}", "prompt", "missing_required_parameter"},
    {C, "{\"messages\":[]}", "messages", "empty_array"},
    {C, "{\"messages\":{}}", "messages", "invalid_type"},
    {C, "{\"messages\":[[]]}", "messages[0]", "invalid_type"},
    {C, "{\"messages\":[{\"content\":\"x\"}]}", "messages[0].role",
     "missing_required_parameter"},
    {C, "{\"messages\":[{\"role\":5}]}", "messages[0].role", "invalid_value"},
    {C, "{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content",
     "missing_required_parameter"},
    {C, "{\"messages\":[{\"role\":\"user\",\"content\":[5]}]}",
     "messages[0].content[0]", "invalid_type"},
    {C,
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
     "messages[0].content[0].text", "missing_required_parameter"},
    {C,
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\"}]}]}",
     "messages[0].content[0].type", "unsupported_value"},
    {C, "{" M ",\"model\":5}", "model", "invalid_type"},
    {C, "{" M ",\"temperature\":2.01}", "temperature", "invalid_value"},
    {C, "{" M ",\"temperature\":true}", "temperature", "invalid_type"},
    {C, "{" M ",\"top_p\":-1}", "top_p", "invalid_value"},
    {C, "{" M ",\"n\":0}", "n", "invalid_value"},
    {C, "{" M ",\"n\":1.0}", "n", "invalid_type"},
    {C, "{" M ",\"n\":4294967297}", "n", "invalid_value"},
    {C, "{" M ",\"top_k\":-2}", "top_k", "invalid_value"},
    {C, "{" M ",\"max_tokens\":0}", "max_tokens", "integer_below_min_value"},
    {C, "{" M ",\"max_completion_tokens\":0}", "max_completion_tokens",
     "integer_below_min_value"},
    {C, "{" M ",\"stop\":[\"\"]}", "stop", "invalid_value"},
    {C, "{" M ",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", "stop",
     "array_above_max_length"},
    {C, "{" M ",\"logit_bias\":{\" 5\":1}}", "logit_bias", "invalid_value"},
    {C, "{" M ",\"logit_bias\":{\"+5\":1}}", "logit_bias", "invalid_value"},
    {C, "{" M ",\"logit_bias\":{\"5x\":1}}", "logit_bias", "invalid_value"},
    {C, "{" M ",\"logit_bias\":{\"99999999999\":1}}", "logit_bias",
     "invalid_value"},
    {C, "{" M ",\"logit_bias\":{\"5\":-100.5}}", "logit_bias", "invalid_value"},
    {C, "{" M ",\"logit_bias\":{\"5\":\"1\"}}", "logit_bias", "invalid_type"},
    {C, "{" M ",\"logprobs\":1}", "logprobs", "invalid_type"},
    {C, "{" M ",\"top_logprobs\":2}", "top_logprobs", "invalid_value"},
    {C, "{" M ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs",
     "invalid_value"},
    {C, "{" M ",\"stream_options\":{}}", "stream_options", "invalid_value"},
    {C, "{" M ",\"stream\":true,\"stream_options\":{\"include_usage\":1}}",
     "include_usage", "invalid_type"},
    {C, "{" M ",\"web_search_options\":{}}", "web_search_options",
     "unsupported_parameter"},
    {C, "{" M ",\"modalities\":[\"audio\"]}", "modalities",
     "unsupported_parameter"},
    {C, "{" M ",\"metadata\":{\"a\":1}}", "metadata", "invalid_type"},
    {C, "{" M ",\"echo\":true}", "echo", "unsupported_parameter"},
    {C, "{" M ",\"chat_template_kwargs\":[]}", "chat_template_kwargs",
     "invalid_type"},
    {T, "{\"prompt\":5}", "prompt", "invalid_type"},
    {T, "{\"prompt\":[]}", "prompt", "invalid_value"},
    {T, "{\"prompt\":[1,\"a\"]}", "prompt", "invalid_type"},
    {T, "{\"prompt\":[-1]}", "prompt", "invalid_type"},
    {T, "{\"prompt\":[4294967296]}", "prompt", "invalid_type"},
    {T, "{\"prompt\":[[1],{}]}", "prompt", "invalid_type"},
    {T, "{" P ",\"best_of\":2}", "best_of", "unsupported_parameter"},
    {T, "{" P ",\"suffix\":\"x\"}", "suffix", "unsupported_parameter"},
    {T, "{" P ",\"logprobs\":6}", "logprobs", "invalid_value"},
    {T, "{" P ",\"logprobs\":true}", "logprobs", "invalid_type"},
    {T, "{" P ",\"max_tokens\":0}", "max_tokens", "invalid_value"},
    {T, "{\"prompt\":[\"a\",\"b\"],\"n\":65}", "n", "invalid_value"},
};


static void
test_refused(void)
{
    gen_request_t req;
    gen_error_t   e;
    size_t        i, good = 0;
    int           rc;

    for (i = 0; i < llm_countof(refused); i++) {
        const refused_t *t = &refused[i];

        e = (gen_error_t){0};
        rc = api_openai_parse(t->kind, t->body, strlen(t->body), &req, &e);

        if (rc >= 0 || e.status != 400 || e.code == NULL
            || strcmp(e.code, t->code)
            || (t->param == NULL) != (e.param == NULL)
            || (t->param && strcmp(t->param, e.param))) {
            ok(0, "%s", t->body);
            diag("%d, %d, %s, %s: %s", rc, e.status, e.param ? e.param : "null",
                 e.code ? e.code : "null", e.message);
            if (rc >= 0) {
                api_request_free(&req);
            }
            continue;
        }

        good++;
    }

    is_int(good, llm_countof(refused), "what is refused names it");
}


static gen_request_t
parse(int kind, const char *body)
{
    gen_request_t req;
    gen_error_t   e = {0};

    if (api_openai_parse(kind, body, strlen(body), &req, &e) < 0) {
        ok(0, "%s: %s", body, e.message);
        memset(&req, 0, sizeof(req));
    }

    return req;
}


static void
test_fields(void)
{
    gen_request_t r;

    r = parse(C, "{" M "}");
    is_int(r.n, 1, "defaults: one choice");
    is_int(r.has_max, 0, "... as long as the context");
    ok(!r.has_temperature && !r.has_seed && !r.has_top_k && !r.stream
           && !r.logprobs && r.n_stops == 0 && r.n_bias == 0,
       "... and nothing else");
    api_request_free(&r);

    r = parse(T, "{" P "}");
    is_int(r.max_tokens, 16, "completions: 16 tokens");
    is_int(r.n_prompts, 1, "... of one prompt");
    api_request_free(&r);

    r = parse(C, "{" M ",\"model\":\"m\\u0000x\",\"temperature\":0.5,"
                 "\"top_p\":0.25,\"top_k\":7,\"min_p\":0.125,"
                 "\"frequency_penalty\":-1.5,\"presence_penalty\":2,"
                 "\"repetition_penalty\":1.5,\"n\":3,\"seed\":-2,"
                 "\"stop\":[\"a\",\"bc\"],\"logit_bias\":{\"5\":-3,"
                 "\"07\":2.5},\"logprobs\":true,\"top_logprobs\":20,"
                 "\"max_tokens\":9,\"max_completion_tokens\":5,"
                 "\"stream\":true,\"stream_options\":{\"include_usage\":true,"
                 "\"include_obfuscation\":true},\"user\":\"u\","
                 "\"ignore_eos\":true,\"nosuch\":[1]}");
    is_int(r.model.len, 3, "a model's name with a NUL keeps it");
    ok(r.temperature == 0.5 && r.top_p == 0.25 && r.top_k == 7
           && r.min_p == 0.125 && r.frequency == -1.5 && r.presence == 2
           && r.repetition == 1.5,
       "numbers");
    ok(r.has_temperature && r.has_top_p && r.has_top_k && r.has_min_p
           && r.has_repetition && r.has_seed,
       "... that were given");
    ok(r.n == 3 && r.seed == (uint64_t) -2 && r.max_tokens == 5 && r.has_max,
       "n, seed, max_completion_tokens above max_tokens");
    ok(r.n_stops == 2 && r.stops[1].len == 2, "stops");
    ok(r.n_bias == 2 && r.bias[0].token + r.bias[1].token == 12
           && r.bias[0].value + r.bias[1].value == -0.5f,
       "logit_bias");
    ok(r.logprobs && r.n_top == 20 && r.stream && r.include_usage
           && r.obfuscation && r.ignore_eos && r.user.len == 1,
       "flags");

    is_int(api_request_settle(&r), 0, "without its body");
    ok(r.body == NULL && r.messages == NULL && r.model.len == 3
           && memcmp(r.model.s, "m\0x", 3) == 0 && r.stops[0].s[0] == 'a'
           && r.user.s[0] == 'u',
       "... what a writer needs is there");
    api_request_free(&r);

    r = parse(C, "{" M ",\"n\":null,\"stop\":null,\"seed\":null,\"top_k\":-1,"
                 "\"tools\":[],\"tool_choice\":\"none\",\"store\":false}");
    ok(r.n == 1 && !r.has_seed && r.has_top_k && r.top_k == 0,
       "null is absent, -1 is off");
    api_request_free(&r);

    r = parse(T, "{\"prompt\":[[1,2],[3]],\"logprobs\":0,\"echo\":true,"
                 "\"max_tokens\":0}");
    ok(r.n_prompts == 2 && r.prompts[0].n_tokens == 2
           && r.prompts[1].tokens[0] == 3,
       "prompts of ids");
    ok(r.logprobs && r.n_top == 0 && r.echo && r.has_max && r.max_tokens == 0,
       "logprobs 0 is logprobs; echo alone");
    api_request_free(&r);

    r = parse(T, "{\"prompt\":[5,6,7]}");
    ok(r.n_prompts == 1 && r.prompts[0].n_tokens == 3, "one prompt of ids");
    api_request_free(&r);

    r = parse(C, "{\"messages\":[{\"role\":\"developer\",\"content\":"
                 "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
                 "\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":null,"
                 "\"refusal\":\"no\"}]}");
    is_str(json_string_value(
               json_object_get(json_array_get(r.messages, 0), "role")),
           "system", "a developer is the system");
    is_str(json_string_value(
               json_object_get(json_array_get(r.messages, 0), "content")),
           "a\nb", "parts are lines");
    is_str(json_string_value(
               json_object_get(json_array_get(r.messages, 1), "content")),
           "no", "a refusal was said");
    api_request_free(&r);
}


/* A body of so many values, as text. */

static int
many(size_t n, gen_error_t *e)
{
    gen_request_t req;
    buf_t         b = {0};
    size_t        i;
    int           rc;

    buf_str(&b, "{" M ",\"x\":[1");
    for (i = 1; i < n; i++) {
        buf_str(&b, ",1");
    }
    buf_str(&b, "]}");

    rc = api_openai_parse(C, b.data, b.len, &req, e);
    if (rc == 0) {
        api_request_free(&req);
    }
    buf_free(&b);

    return rc;
}


static void
test_limits(void)
{
    gen_request_t req;
    gen_error_t   e = {0};
    char         *text;
    size_t        n = 9u << 20;

    ok(many(100000, &e) == 0, "100,000 values are taken");
    ok(many(5000000, &e) < 0 && strstr(e.message, "values"),
       "5 million are not");

    text = malloc(n);
    memset(text, ',', n);
    memcpy(text, "{" M ",\"x\":\"", sizeof("{" M ",\"x\":\"") - 1);
    memcpy(text + n - 2, "\"}", 2);
    ok(api_openai_parse(C, text, n, &req, &e) == 0,
       "commas in strings do not count");
    api_request_free(&req);

    memset(text, '[', n);
    memcpy(text, "{\"a\":", 5);
    ok(api_openai_parse(C, text, 100000, &req, &e) < 0, "deep nesting is not");
    memset(text, '\\', n);
    memcpy(text, "{\"", 2);
    ok(api_openai_parse(C, text, 4097, &req, &e) < 0, "backslashes to the end");
    free(text);
}


static void
test_small(void)
{
    static const char body[] = "{\"model\":\"m\",\"prompt\":\"x\","
                               "\"add_special_tokens\":false,"
                               "\"return_token_strs\":true}";
    static const char detok[] = "{\"tokens\":[1,2,3]}";
    static const char bad[] = "{\"tokens\":\"x\"}";
    api_tokenize_t    t;
    gen_request_t     req;
    gen_error_t       e = {0};

    is_int(api_tokenize_parse(body, sizeof(body) - 1, &t, &e), 0, "tokenize");
    ok(!t.add_special && t.token_strs && t.add_generation_prompt
           && t.req.n_prompts == 1,
       "... its fields");
    api_request_free(&t.req);
    ok(api_tokenize_parse("{}", 2, &t, &e) < 0 && !strcmp(e.param, "prompt"),
       "... without a prompt");

    is_int(api_detokenize_parse(detok, sizeof(detok) - 1, &req, &e), 0,
           "detokenize");
    is_int(req.prompts[0].n_tokens, 3, "... three tokens");
    api_request_free(&req);
    ok(api_detokenize_parse(bad, sizeof(bad) - 1, &req, &e) < 0
           && !strcmp(e.param, "tokens"),
       "... of no array");
}


int
main(void)
{
    test_refused();
    test_fields();
    test_limits();
    test_small();

    return tap_done();
}
