/*
 * Reasoning, content and calls between tokens and bytes: every cut of a text
 * into tokens gives the same message, streamed or whole; stop strings cut free
 * content and nothing else; logprobs are the content's.
 */

#include "t/api/gather.h"
#include "t/serve/rig.h"

#define TOKENS_MAX 400
#define HEAD       "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
#define TOOLS                                                                  \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"        \
    "{\"type\":\"function\",\"function\":{\"name\":\"get_it\"}}]"
#define F1                                                                     \
    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"b\"}}\n"          \
    "</tool_call>"
#define F2                                                                     \
    "<tool_call>\n{\"name\": \"get_it\", \"arguments\": {}}\n"                 \
    "</tool_call>"
#define CALL1                                                                  \
    "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"       \
    "\"{\\\"a\\\": \\\"b\\\"}\"}}"
#define CALL2                                                                  \
    "{\"type\":\"function\",\"function\":{\"name\":\"get_it\",\"arguments\":"  \
    "\"{}\"}}"

typedef struct {
    const char *name;
    const char *more; /* members of the body */
    const char *text;
    int         reason; /* the step loop's */
    const char *message;
    const char *finish;
    uint32_t    calls;
} case_t;

static const case_t cases[] = {
    {"text alone", TOOLS, "Just t\xe2\x82\xacxt < tool", SCHED_STOP,
     "\"content\":\"Just t\xe2\x82\xacxt < tool\"", "stop", 0},
    {"a call alone", TOOLS, F1, SCHED_STOP,
     "\"content\":null,\"tool_calls\":[" CALL1 "]", "tool_calls", 1},
    {"thoughts, text, two calls", TOOLS,
     "<think>Hm, f?</think>Well: " F1 "\n" F2, SCHED_STOP,
     "\"reasoning_content\":\"Hm, f?\",\"content\":\"Well:\","
     "\"tool_calls\":[" CALL1 "," CALL2 "]",
     "tool_calls", 2},
    {"no stop string is looked for in them", TOOLS ",\"stop\":[\"Hm\",\"b\"]",
     "<think>Hm, f?</think>Well: " F1, SCHED_STOP,
     "\"reasoning_content\":\"Hm, f?\",\"content\":\"Well:\","
     "\"tool_calls\":[" CALL1 "]",
     "tool_calls", 1},
    {"... nor across them", TOOLS ",\"stop\":\"ab\"", "a" F1 "b", SCHED_STOP,
     "\"content\":\"ab\",\"tool_calls\":[" CALL1 "]", "tool_calls", 1},
    {"... but in content", TOOLS ",\"stop\":\"ll:\"",
     "<think>all: f</think>Well: " F1, SCHED_STOP,
     "\"reasoning_content\":\"all: f\",\"content\":\"We\"", "stop", 0},
    {"... that is free",
     TOOLS ",\"stop\":\"a\",\"response_format\":"
           "{\"type\":\"json_object\"}",
     "{\"a\":\"aa\"}", SCHED_STOP, "\"content\":\"{\\\"a\\\":\\\"aa\\\"}\"",
     "stop", 0},
    {"cut in a call", TOOLS,
     "<tool_call>\n{\"name\": \"f\", \"arguments\": "
     "{\"a\": \"b",
     SCHED_LENGTH,
     "\"content\":null,\"tool_calls\":[{\"type\":\"function\",\"function\":"
     "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": \\\"b\"}}]",
     "length", 1},
    {"cut in a thought", TOOLS, "<think>Hm</thi", SCHED_LENGTH,
     "\"reasoning_content\":\"Hm</thi\",\"content\":\"\"", "length", 0},
    {"calls that nobody may make", "\"n\":1", "a" F1, SCHED_STOP,
     "\"content\":\"a<tool_call>\\n{\\\"name\\\": \\\"f\\\", "
     "\\\"arguments\\\": {\\\"a\\\": \\\"b\\\"}}\\n</tool_call>\"",
     "stop", 0},
    {"the legacy form", "\"functions\":[{\"name\":\"f\"}]", F1, SCHED_STOP,
     "\"content\":null,\"function_call\":{\"name\":\"f\",\"arguments\":"
     "\"{\\\"a\\\": \\\"b\\\"}\"}",
     "function_call", 1},
};

static uint32_t random_state;


static uint32_t
random_next(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;

    return (uint32_t) (((uint64_t) random_state * n) >> 32);
}


/* A cut of the text: bytes; pieces of one size; pieces of any. */

static uint32_t
cut_random(const char *text, uint32_t cut, int32_t *ids)
{
    size_t   len = strlen(text), at, n;
    uint32_t k = 0;

    random_state = cut;

    for (at = 0; at < len; at += n) {
        n = cut < CUT ? cut + 1 : 1 + random_next(CUT);
        n = n < len - at ? n : len - at;
        ids[k++] = toy_id(text + at, n);
    }

    return k;
}


static void
run(req_t *r, const int32_t *ids, uint32_t n, uint32_t group)
{
    static back_event_t ev[TOKENS_MAX];
    uint32_t            i;

    for (i = 0; i <= n; i++) {
        ev[i] = i < n ? event(r, SCHED_EV_TOKEN, 0, ids[i], i)
                      : event(r, SCHED_EV_FINISH, 0, 0, 0);
    }

    for (i = 0; i <= n; i += group) {
        back_take(&serve, ev + i, n + 1 - i < group ? n + 1 - i : group);
    }
}


/* The message of an answer in either form, without ids; its finish. */

static json_t *
message(req_t *r, const char **finish)
{
    json_t *root, *choice, *m;

    buf_add(&r->out, "", 1);
    r->out.len--;

    if (r->request.stream) {
        m = gather(r->out.data, 0, finish);

    } else {
        root = json_loads(r->out.data, JSON_REJECT_DUPLICATES, NULL);
        choice = json_array_get(json_object_get(root, "choices"), 0);
        m = json_incref(json_object_get(choice, "message"));
        *finish = json_string_value(json_object_get(choice, "finish_reason"));
        *finish = *finish[0] == 't'   ? "tool_calls"
                  : *finish[0] == 'f' ? "function_call"
                  : *finish[0] == 'l' ? "length"
                                      : "stop";
        json_decref(root);
    }

    if (!ids(m)) {
        ok(0, "ids");
    }

    return m;
}


static void
test_case(const case_t *t)
{
    static const char *const forms[] = {"", ",\"stream\":true",
                                        ",\"logprobs\":true"};
    const char              *finish = "";
    int32_t                  tokens[TOKENS_MAX] = {0};
    uint32_t                 cut, n, f, good = 0, tried = 0;
    json_t                  *want, *m;
    req_t                   *r;
    char                     body[1024], *text;

    snprintf(body, sizeof(body),
             "{\"role\":\"assistant\",%s,\"refusal\":null,\"annotations\":[]}",
             t->message);
    want = json_loads(body, 0, NULL);
    finish_reason = t->reason;

    for (f = 0; f < llm_countof(forms); f++) {
        snprintf(body, sizeof(body), HEAD "%s%s}", t->more, forms[f]);

        for (cut = 0; cut < 300; cut++) {
            n = cut_random(t->text, cut, tokens);
            r = req_make(GEN_CHAT, body, tokens, 1);
            run(r, tokens, n, 1 + cut % 7);
            m = message(r, &finish);
            tried++;

            if (json_equal(m, want) && strcmp(finish, t->finish) == 0
                && r->n_calls == t->calls) {
                good++;

            } else if (good + 1 == tried) {
                text = json_dumps(m, JSON_COMPACT);
                diag("cut %u%s: %s %s, %u calls", cut, forms[f], text, finish,
                     r->n_calls);
                free(text);
            }

            json_decref(m);
            req_drop(r);
        }
    }

    is_int(good, tried, "%s: the same by all cuts", t->name);
    json_decref(want);
}


/* Of single bytes: which tokens are content's, and how many reasoning's. */

static void
test_tokens(void)
{
    static const char text[] =
        "<think>Hm \xe2\x82\xac</think>W\xe2\x82\xac: " F1 " end";
    static const char body[] = HEAD TOOLS ",\"logprobs\":true}";
    const char                     *s;
    int32_t                         tokens[TOKENS_MAX] = {0};
    json_t                         *root, *list, *item, *b;
    buf_t                           bytes = {0};
    req_t                          *r;
    size_t                          i, k;
    char                            c;

    finish_reason = SCHED_STOP;
    r = req_make(GEN_CHAT, body, tokens, 0);
    run(r, tokens, cut_random(text, 0, tokens), 5);
    root = json_loadb(r->out.data, r->out.len, 0, NULL);
    list = json_array_get(json_object_get(root, "choices"), 0);
    s = json_string_value(
        json_object_get(json_object_get(list, "message"), "content"));
    list = json_object_get(json_object_get(list, "logprobs"), "content");

    json_array_foreach(list, i, item)
    {
        json_array_foreach(json_object_get(item, "bytes"), k, b)
        {
            c = (char) json_integer_value(b);
            buf_add(&bytes, &c, 1);
        }
    }

    buf_add(&bytes, "", 1);
    is_str(bytes.data, s, "logprobs are of the content's tokens");
    ok(s && strncmp(s, "W\xe2\x82\xac: ", 6) == 0, "... which is there");
    is_int(r->usage.completion_tokens, strlen(text), "all tokens count");
    is_int(r->usage.reasoning_tokens, strlen("<think>Hm \xe2\x82\xac"),
           "... reasoning's apart");

    json_decref(root);
    buf_free(&bytes);
    req_drop(r);
}


int
main(void)
{
    const char *texts[llm_countof(cases) + 1];
    size_t      i;

    for (i = 0; i < llm_countof(cases); i++) {
        texts[i] = cases[i].text;
    }
    texts[i++] = "<think>Hm \xe2\x82\xac</think>W\xe2\x82\xac: " F1 " end";

    toy_make(texts, i);
    version.vocab.tokenizer = toy.tok;
    version.dialog.format = chat_format_find("hermes", 6);
    version.dialog.reasons = 1;
    version.dialog.shows_tools = 1;
    metrics_init(&serve.metrics);

    for (i = 0; i < llm_countof(cases); i++) {
        test_case(&cases[i]);
    }

    test_tokens();

    is_int(serve.live, 0, "nothing is left");
    is_int(atomic_load(&version.refs), 0, "... nor held");

    text_tokenizer_free(toy.tok);
    while (toy.n) {
        free(toy.bytes[--toy.n]);
    }

    return tap_done();
}
