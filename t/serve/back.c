/*
 * From tokens to text: stop strings, characters over several tokens, echo and
 * logprobs.  Every way to cut a text into tokens gives the same answer, and
 * however the step loop groups its events, the same bytes.
 */

#include "engine/sched/sched_priv.h"
#include "engine/serve/serve.h"
#include "t/lib/tap.h"

#define CUT    4 /* longest token, in bytes */
#define TOKENS 64

typedef struct {
    text_tokenizer_t *tok;
    char             *bytes[4096];
    text_str_t        spelled[4096];
    uint32_t          n;
} toy_t;

static serve_t   serve;
static version_t version;
static toy_t     toy;


/* A byte in GPT-2's spelling. */

static void
toy_spell(buf_t *b, unsigned char byte)
{
    unsigned c = byte, k, next = 256;

    for (k = 0; k <= byte; k++) {
        if (k < 0x21 || (k > 0x7e && k < 0xa1) || k == 0xad) {
            c = next++;
        } else {
            c = k;
        }
    }

    if (c < 0x80) {
        buf_add(b, (char[]){(char) c}, 1);
    } else {
        buf_add(b, (char[]){(char) (0xc0 | c >> 6), (char) (0x80 | (c & 63))},
                2);
    }
}


static void
toy_add(const char *s, size_t len)
{
    buf_t    b = {0};
    size_t   i;
    uint32_t k;

    for (i = 0; i < len; i++) {
        toy_spell(&b, (unsigned char) s[i]);
    }

    for (k = 0; k < toy.n; k++) {
        if (toy.spelled[k].len == b.len
            && memcmp(toy.spelled[k].data, b.data, b.len) == 0) {
            buf_free(&b);
            return;
        }
    }

    toy.bytes[toy.n] = b.data;
    toy.spelled[toy.n++] = (text_str_t){b.data, b.len};
}


/* All bytes, and all pieces of these texts up to CUT bytes. */

static void
toy_make(const char *const *texts, size_t n)
{
    text_vocab_t v = {.model = {"gpt2", 4}, .pre = {"gpt-2", 5}};
    size_t       i, at, len;
    char         err[256], byte;
    int          c;

    for (c = 0; c < 256; c++) {
        byte = (char) c;
        toy_add(&byte, 1);
    }

    for (i = 0; i < n; i++) {
        for (at = 0; texts[i][at]; at++) {
            for (len = 2; len <= CUT && at + len <= strlen(texts[i]); len++) {
                toy_add(texts[i] + at, len);
            }
        }
    }

    v.n_tokens = toy.n;
    v.tokens = toy.spelled;
    v.bos = v.eos = v.eot = v.unk = v.pad = -1;

    if (text_tokenizer_new(&v, &toy.tok, err, sizeof(err)) < 0) {
        ok(0, "tokenizer: %s", err);
        exit(1);
    }
}


static int32_t
toy_id(const char *s, size_t len)
{
    return text_token_find_any(toy.tok, s, len);
}


/* A request in the step loop's hands, with no connection. */

static req_t *
req_make(const char *body, const int32_t *prompt, uint32_t n_prompt)
{
    req_t        *r = calloc(1, sizeof(req_t));
    gen_error_t   e = {0};
    sched_slot_t *slot = calloc(1, sizeof(sched_slot_t));

    r->serve = &serve;
    r->owner = NULL;
    r->phase = PHASE_RUN;
    r->version = &version;
    serve.live++;
    atomic_fetch_add(&version.refs, 1);

    if (api_openai_parse(GEN_COMPLETION, body, strlen(body), &r->request, &e)
        < 0) {
        ok(0, "%s: %s", body, e.message);
        exit(1);
    }

    r->has_request = 1;
    r->n_prompts = 1;
    r->n_choices = r->request.n;
    r->max_tokens = 1000;
    r->prompt_tokens = n_prompt;
    r->prompts = calloc(1, sizeof(prompt_t));
    r->prompts->req = r;
    r->prompts->tokens = calloc(n_prompt + 1, sizeof(int32_t));
    memcpy(r->prompts->tokens, prompt, n_prompt * sizeof(int32_t));
    r->prompts->group = (sched_group_t){.tokens = r->prompts->tokens,
                                        .n_tokens = n_prompt,
                                        .data = r->prompts,
                                        .priv = slot,
                                        .priv_gen = 99};
    memcpy(r->id, "0123456789abcdef0123456789abcdef", 33);
    r->identity = (gen_identity_t){.id = r->id,
                                   .created = 1,
                                   .model = {"m", 1},
                                   .fingerprint = "fp_0",
                                   .seed = 3};
    r->writer = api_writer_new(&r->request, &r->identity, r->n_choices);
    back_begin(r);

    return r;
}


static void
req_drop(req_t *r)
{
    free(r->prompts->group.priv);
    req_release(r);
}


static back_event_t
event(req_t *r, int kind, uint32_t choice, int32_t token, uint32_t index)
{
    back_event_t be = {.ev = {.kind = kind,
                              .group = &r->prompts->group,
                              .choice = choice,
                              .token = token,
                              .index = index,
                              .reason = SCHED_LENGTH,
                              .now_ns = 5}};

    be.has_sampled =
        r->request.logprobs && (kind == SCHED_EV_TOKEN || index > 0);
    be.sampled.token = token;
    be.sampled.logprob = -1.5f;

    return be;
}


/* The tokens of a cut, to the end; `group`: events at a time. */

static void
req_run(req_t *r, const int32_t *ids, uint32_t n, uint32_t group)
{
    static back_event_t ev[TOKENS * 8];
    uint32_t            i, c, k = 0;

    for (i = 0; i <= n; i++) {
        for (c = 0; c < r->n_choices; c++) {
            ev[k++] = i < n ? event(r, SCHED_EV_TOKEN, c, ids[i], i)
                            : event(r, SCHED_EV_FINISH, c, 0, 0);
        }
    }

    for (i = 0; i < k; i += group) {
        back_take(&serve, ev + i, k - i < group ? k - i : group);
    }
}


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


/* Cut `cut`: bit i set ends a token behind byte i.  0: one is too long. */

static uint32_t
cut_make(const char *text, uint32_t cut, int32_t *ids)
{
    size_t   i, from = 0, len = strlen(text);
    uint32_t n = 0;

    for (i = 0; i < len; i++) {
        if (i + 1 == len || cut >> i & 1) {
            if (i + 1 - from > CUT) {
                return 0;
            }
            ids[n++] = toy_id(text + from, i + 1 - from);
            from = i + 1;
        }
    }

    return n;
}


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

                r = req_make(body, ids, 1);
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
        r = req_make(body, ids, 1);
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
        r = req_make(bodies[i], prompt, n_prompt);

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
