/*
 * From tokens to text: stop strings, characters over several tokens, echo and
 * logprobs.  Every way to cut a text into tokens gives the same answer, and
 * however the step loop groups its events, the same bytes.
 */

#include "t/serve/rig.h"


/* The text of choice 0 out of either form; its token strings after a '|'. */

static void
req_text(req_t *r, buf_t *text, buf_t *tokens, const char **finish)
{
    char   *p = r->out.data, *end = p + r->out.len, *next;
    json_t *root, *ch, *t, *list;
    size_t  i;

    buf_reset(text);
    buf_reset(tokens);
    *finish = "";

    for (; p < end; p = next) {
        next = r->request.stream
                   ? (char *) memmem(p, (size_t) (end - p), "\n\n", 2) + 2
                   : end;
        p += r->request.stream ? 6 : 0;
        root = json_loadb(p, (size_t) (next - p),
                          JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, NULL);
        ch = json_array_get(json_object_get(root, "choices"), 0);

        if (ch && json_integer_value(json_object_get(ch, "index")) == 0) {
            t = json_object_get(ch, "text");
            buf_add(text, json_string_value(t), json_string_length(t));
            list = json_object_get(json_object_get(ch, "logprobs"), "tokens");

            json_array_foreach(list, i, t)
            {
                buf_add(tokens, json_string_value(t), json_string_length(t));
            }

            if (json_string_value(json_object_get(ch, "finish_reason"))) {
                *finish =
                    *json_string_value(json_object_get(ch, "finish_reason"))
                            == 's'
                        ? "stop"
                        : "length";
            }
        }

        json_decref(root);
    }

    buf_add(text, "", 1);
    text->len--;
    buf_add(tokens, "", 1);
    tokens->len--;
}


typedef struct {
    const char *text;
    const char *stops; /* JSON */
    const char *want;
    const char *finish;
} case_t;

static const case_t cases[] = {
    {"Hello, world", "null", "Hello, world", "length"},
    {"Hello, world", "\"lo, w\"", "Hel", "stop"},
    {"Hello, world", "[\"xx\",\"world\"]", "Hello, ", "stop"},
    {"Hello, world", "\"worlds\"", "Hello, world", "length"},
    {"Hello, world", "[\"o, w\",\", \"]", "Hello", "stop"},
    {"Hello, world", "[\"Hello, w\",\"o\"]", "Hell", "stop"},
    {"aaaaabaaab", "\"aaab\"", "aa", "stop"},
    {"aababaabaabb", "\"aabaabb\"", "aabab", "stop"},
    {"abcabcabcabd", "\"abcabd\"", "abcabc", "stop"},
    {"x\xe2\x82\xacy\xf0\x9f\x98\x80z\xc3\xa9", "null",
     "x\xe2\x82\xacy\xf0\x9f\x98\x80z\xc3\xa9", "length"},
    {"x\xe2\x82\xacy\xf0\x9f\x98\x80z\xc3\xa9", "\"\xf0\x9f\x98\x80\"",
     "x\xe2\x82\xacy", "stop"},
    {"x\xe2\x82\xacy\xf0\x9f\x98\x80z\xc3\xa9", "\"z\xc3\xa8\"",
     "x\xe2\x82\xacy\xf0\x9f\x98\x80z\xc3\xa9", "length"},
    {"ab\xff"
     "cd\xe2\x82",
     "null",
     "ab\xef\xbf\xbd"
     "cd\xef\xbf\xbd",
     "length"},
    {"ab\xff"
     "cd\xe2\x82 e",
     "\"cd\"", "ab\xef\xbf\xbd", "stop"},
};


static void
test_cuts(void)
{
    static const char *const forms[] = {"", ",\"stream\":true",
                                        ",\"logprobs\":1",
                                        ",\"stream\":true,\"logprobs\":0"};
    const char              *finish;
    int32_t                  ids[TOKENS];
    buf_t                    text = {0}, tokens = {0};
    uint32_t                 cut, n, f, tried;
    size_t                   i;
    char                     body[256];
    req_t                   *r;
    int                      good;

    for (i = 0; i < llm_countof(cases); i++) {
        const case_t *t = &cases[i];

        good = 1;
        tried = 0;

        for (f = 0; f < llm_countof(forms); f++) {
            snprintf(body, sizeof(body), "{\"prompt\":\"x\",\"stop\":%s%s}",
                     t->stops, forms[f]);

            for (cut = 0; cut < 1u << (strlen(t->text) - 1); cut += 1 + f) {
                n = cut_make(t->text, cut, ids);
                if (n == 0) {
                    continue;
                }

                r = req_make(GEN_COMPLETION, body, ids, 1);
                req_run(r, ids, n, 1000);
                req_text(r, &text, &tokens, &finish);
                tried++;

                if (strcmp(text.data, t->want) || strcmp(finish, t->finish)
                    || (r->request.logprobs && !strstr(t->text, "\xff")
                        && !memmem(t->text, strlen(t->text), "\xc3", 1)
                        && strncmp(tokens.data, t->want, strlen(t->want)))) {
                    if (good) {
                        diag("cut %x%s: '%s' %s, tokens '%s'", cut, forms[f],
                             text.data, finish, tokens.data);
                    }
                    good = 0;
                }

                req_drop(r);
            }
        }

        ok(good, "'%s', stop %s: the same by %u cuts", t->text, t->stops,
           tried);
    }

    buf_free(&text);
    buf_free(&tokens);
}


static void
test_groups(void)
{
    static const char body[] =
        "{\"prompt\":\"x\",\"n\":2,\"stream\":true,\"logprobs\":2,\"stop\":"
        "\"ld!\",\"stream_options\":{\"include_obfuscation\":true}}";
    int32_t  ids[TOKENS];
    uint32_t n, group;
    buf_t    first = {0};
    req_t   *r;
    int      same = 1;

    n = cut_make("Hello, world", 0x2d5, ids);

    for (group = 1; group < 30; group++) {
        r = req_make(GEN_COMPLETION, body, ids, 1);
        req_run(r, ids, n, group);

        if (group == 1) {
            buf_add(&first, r->out.data, r->out.len);
        }

        same &= first.len == r->out.len
                && memcmp(first.data, r->out.data, first.len) == 0;
        req_drop(r);
    }

    ok(same && first.len > 1000, "the same %zu bytes however grouped",
       first.len);
    buf_free(&first);
}


static void
test_echo(void)
{
    static const char *const bodies[] = {
        "{\"prompt\":\"x\",\"echo\":true}",
        "{\"prompt\":\"x\",\"echo\":true,\"stream\":true}",
        "{\"prompt\":\"x\",\"echo\":true,\"logprobs\":1}",
        "{\"prompt\":\"x\",\"echo\":true,\"logprobs\":1,\"stream\":true}"};
    const char  *finish;
    back_event_t be;
    int32_t      prompt[TOKENS], ids[TOKENS];
    buf_t        text = {0}, tokens = {0};
    uint32_t     n_prompt, n, i, k;
    req_t       *r;

    n_prompt = cut_make("Hello, ", 0x15, prompt);
    n = cut_make("world", 0x5, ids);

    for (i = 0; i < llm_countof(bodies); i++) {
        r = req_make(GEN_COMPLETION, bodies[i], prompt, n_prompt);

        for (k = 0; r->request.logprobs && k < n_prompt; k++) {
            be = event(r, SCHED_EV_PROMPT, 0, prompt[k], k);
            back_take(&serve, &be, 1);
        }

        req_run(r, ids, n, 3);
        req_text(r, &text, &tokens, &finish);
        is_str(text.data, "Hello, world", "echo: %s", bodies[i]);

        if (r->request.logprobs) {
            is_str(tokens.data, "Hello, world", "... with all tokens");
        }

        is_int(r->usage.completion_tokens, n, "... of which ours count");
        req_drop(r);
    }

    buf_free(&text);
    buf_free(&tokens);
}


int
main(void)
{
    const char *texts[llm_countof(cases) + 1];
    size_t      i;

    for (i = 0; i < llm_countof(cases); i++) {
        texts[i] = cases[i].text;
    }
    texts[i++] = "Hello, ";

    toy_make(texts, i);
    version.vocab.tokenizer = toy.tok;
    metrics_init(&serve.metrics);

    test_cuts();
    test_groups();
    test_echo();

    is_int(serve.live, 0, "nothing is left");
    is_int(atomic_load(&version.refs), 0, "... nor held");

    text_tokenizer_free(toy.tok);
    while (toy.n) {
        free(toy.bytes[--toy.n]);
    }

    return tap_done();
}
