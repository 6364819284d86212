/*
 * Calls and reasoning in OpenAI's bytes: what a stream's deltas add up to is
 * the message that one piece would be, however its parts were cut.
 */

#include "t/api/gather.h"

#define HEAD "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2,"
#define TOOLS                                                                  \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"        \
    "{\"type\":\"custom\",\"custom\":{\"name\":\"g\"}}]"
#define LEGACY "\"functions\":[{\"name\":\"f\"}]"

typedef struct {
    uint32_t    choice;
    int         part;
    uint32_t    call;
    const char *text;
} event_t;

typedef struct {
    const char    *name;
    const char    *body;
    const event_t *events;
    size_t         n;
    int            finish;
    const char    *message; /* of choice 0, without its ids */
    const char    *finished;
} case_t;

static const event_t both[] = {{0, GEN_PART_REASONING, 0, "Hm, \"f\"\n"},
                               {1, GEN_PART_CONTENT, 0, "no"},
                               {0, GEN_PART_CONTENT, 0, "I call. "},
                               {0, GEN_PART_CALL, 0, "f"},
                               {0, GEN_PART_INPUT, 0,
                                "{\"a\":\"\xe2\x82\xac\\n\"}"},
                               {0, GEN_PART_CONTENT, 0, "And "},
                               {0, GEN_PART_CALL, 1, "g"},
                               {0, GEN_PART_INPUT, 1, "x = \"1\"\n"},
                               {1, GEN_PART_CONTENT, 0, "ne"},
                               {0, GEN_PART_CALL, 2, "f"},
                               {0, GEN_PART_INPUT, 2, "{}"},
                               {0, GEN_PART_CONTENT, 0, "done"}};

static const event_t only[] = {{0, GEN_PART_CALL, 0, "f"},
                               {0, GEN_PART_INPUT, 0, "{\"a\":1}"}};

static const event_t empty[] = {{0, GEN_PART_CALL, 0, "f"}};

static const event_t thought[] = {{0, GEN_PART_REASONING, 0, "Hm"}};

static const case_t cases[] = {
    {"calls between texts", TOOLS, both, llm_countof(both),
     GEN_FINISH_TOOL_CALLS,
     "{\"role\":\"assistant\",\"reasoning_content\":\"Hm, \\\"f\\\"\\n\","
     "\"content\":\"I call. And done\",\"tool_calls\":["
     "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
     "\"{\\\"a\\\":\\\"\xe2\x82\xac\\\\n\\\"}\"}},"
     "{\"type\":\"custom\",\"custom\":{\"name\":\"g\",\"input\":"
     "\"x = \\\"1\\\"\\n\"}},"
     "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
     "\"{}\"}}],\"refusal\":null,\"annotations\":[]}",
     "tool_calls"},
    {"a call alone", TOOLS, only, llm_countof(only), GEN_FINISH_TOOL_CALLS,
     "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
     "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
     "\"{\\\"a\\\":1}\"}}],\"refusal\":null,\"annotations\":[]}",
     "tool_calls"},
    {"a call cut short", TOOLS, empty, llm_countof(empty), GEN_FINISH_LENGTH,
     "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
     "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
     "\"\"}}],\"refusal\":null,\"annotations\":[]}",
     "length"},
    {"the legacy form", LEGACY, only, llm_countof(only), GEN_FINISH_TOOL_CALLS,
     "{\"role\":\"assistant\",\"content\":null,\"function_call\":"
     "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"},\"refusal\":null,"
     "\"annotations\":[]}",
     "function_call"},
    {"a thought cut short", TOOLS, thought, llm_countof(thought),
     GEN_FINISH_LENGTH,
     "{\"role\":\"assistant\",\"reasoning_content\":\"Hm\",\"content\":\"\","
     "\"refusal\":null,\"annotations\":[]}",
     "length"},
};

static const gen_identity_t identity = {.id =
                                            "0123456789abcdef0123456789abcdef",
                                        .model = {"m", 1},
                                        .fingerprint = "fp_0"};


/* All bytes; pieces of at most `cut` characters. */

static buf_t
run(const case_t *t, int stream, size_t cut)
{
    gen_request_t req;
    gen_usage_t   usage = {0};
    gen_error_t   e;
    gen_text_t    text;
    api_writer_t *w;
    buf_t         out = {0};
    char          body[512];
    size_t        i, at, n, len;

    snprintf(body, sizeof(body), HEAD "%s%s}", t->body,
             stream ? ",\"stream\":true" : "");
    if (api_openai_parse(GEN_CHAT, body, strlen(body), &req, &e) < 0) {
        ok(0, "%s: %s", body, e.message);
        return out;
    }

    api_request_settle(&req);
    w = api_writer_new(&req, &identity, 2);
    api_writer_begin(w, &out);

    for (i = 0; i < t->n; i++) {
        text = (gen_text_t){.choice = t->events[i].choice,
                            .part = t->events[i].part,
                            .call = t->events[i].call};
        len = strlen(t->events[i].text);

        for (at = 0; at < len; at += n) {
            n = text.part == GEN_PART_CALL || len - at < cut ? len - at : cut;
            while ((t->events[i].text[at + n] & 0xc0) == 0x80) {
                n++;
            }
            text.text = (str_t){t->events[i].text + at, n};
            api_writer_text(w, &text, &out);
        }
    }

    api_writer_finish(w, 0, t->finish, &out);
    api_writer_finish(w, 1, GEN_FINISH_STOP, &out);
    api_writer_end(w, &usage, &out);
    buf_add(&out, "", 1);
    api_writer_free(w);
    api_request_free(&req);

    return out;
}


static void
test_case(const case_t *t)
{
    const char *finish = NULL;
    json_t     *root, *message, *choice, *streamed, *want;
    size_t      cut;
    buf_t       out, again;
    char       *text;

    out = run(t, 0, 1000);
    root = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
    ok(root != NULL, "%s: one object", t->name);

    choice = json_array_get(json_object_get(root, "choices"), 0);
    message = json_object_get(choice, "message");
    is_str(json_string_value(json_object_get(choice, "finish_reason")),
           t->finished, "... its finish");

    for (cut = 1; cut < 6; cut++) {
        again = run(t, 0, cut);
        ok(again.len == out.len && memcmp(again.data, out.data, out.len) == 0,
           "... the same of pieces of %zu", cut);
        buf_free(&again);

        again = run(t, 1, cut);
        streamed = gather(again.data, 0, &finish);
        ok(json_equal(streamed, message), "... streamed, in pieces of %zu",
           cut);
        is_str(finish, t->finished, "... its finish");
        json_decref(streamed);
        buf_free(&again);
    }

    ok(ids(message), "... ids, each its own");
    text = json_dumps(message, JSON_COMPACT);
    want = json_loads(t->message, 0, NULL);
    ok(json_equal(message, want), "... as it should be");
    if (!json_equal(message, want)) {
        diag("got %s", text);
    }

    free(text);
    json_decref(want);
    json_decref(root);
    buf_free(&out);
}


static void
test_first(void)
{
    buf_t out = run(&cases[0], 1, 1000);

    ok(strstr(out.data,
              "\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_")
           && strstr(out.data, "\"type\":\"function\",\"function\":{\"name\":"
                               "\"f\",\"arguments\":\"\"}}]}"),
       "the first delta has it all, with no arguments");
    ok(strstr(out.data, "\"delta\":{\"tool_calls\":[{\"index\":2,\"function\":{"
                        "\"arguments\":\"{}\"}}]}"),
       "the others have arguments only");
    ok(strstr(out.data, "\"type\":\"custom\",\"custom\":{\"name\":\"g\","
                        "\"input\":\"\"}}]}")
           && strstr(out.data, "{\"index\":1,\"custom\":{\"input\":\"x = "),
       "a custom tool has an input");
    ok(strstr(out.data, "\"delta\":{\"reasoning_content\":\"Hm, "),
       "reasoning is beside the content");
    buf_free(&out);

    out = run(&cases[3], 1, 1000);
    ok(strstr(out.data, "\"delta\":{\"function_call\":{\"name\":\"f\","
                        "\"arguments\":\"\"}}")
           && strstr(out.data,
                     "\"delta\":{\"function_call\":{\"arguments\":\"{"),
       "the legacy form has no index");
    buf_free(&out);
}


/* Logprobs are the content's only. */

static void
test_logprobs(void)
{
    static const char body[] = HEAD TOOLS ",\"logprobs\":true}";
    gen_token_t   token = {.text = {"t", 1}, .has_logprob = 1};
    gen_usage_t   usage = {0};
    gen_request_t req;
    gen_error_t   e;
    gen_text_t    text = {.text = {"f", 1}, .tokens = &token, .n_tokens = 1};
    api_writer_t *w;
    json_t       *root, *v;
    buf_t         out = {0};
    int           part;

    api_openai_parse(GEN_CHAT, body, sizeof(body) - 1, &req, &e);
    w = api_writer_new(&req, &identity, 2);

    for (part = GEN_PART_CONTENT; part <= GEN_PART_INPUT; part++) {
        text.part = part;
        api_writer_text(w, &text, &out);
    }

    api_writer_finish(w, 0, GEN_FINISH_STOP, &out);
    api_writer_finish(w, 1, GEN_FINISH_STOP, &out);
    api_writer_end(w, &usage, &out);
    root = json_loadb(out.data, out.len, 0, NULL);
    v = json_array_get(json_object_get(root, "choices"), 0);
    v = json_object_get(json_object_get(v, "logprobs"), "content");
    is_int(json_array_size(v), 1, "logprobs of content tokens only");

    json_decref(root);
    buf_free(&out);
    api_writer_free(w);
    api_request_free(&req);
}


int
main(void)
{
    size_t i;

    for (i = 0; i < llm_countof(cases); i++) {
        test_case(&cases[i]);
    }

    test_first();
    test_logprobs();

    return tap_done();
}
