/*
 * OpenAI's bytes: every order of events, with any bytes as tokens, gives
 * events or one object that parse as JSON, hold the text again, and do not
 * depend on how the events were grouped or how choices were mixed.
 */

#include <math.h>
#include "engine/api/api.h"
#include "t/lib/tap.h"

#define CHOICES 3
#define PIECES  40
#define LOAD    (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

typedef struct {
    int         kind;
    const char *more; /* members of the request */
} form_t;

static const form_t forms[] = {
    {GEN_CHAT, ""},
    {GEN_CHAT, ",\"logprobs\":true,\"top_logprobs\":3"},
    {GEN_CHAT, ",\"stream\":true"},
    {GEN_CHAT, ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":20,"
               "\"stream_options\":{\"include_usage\":true}"},
    {GEN_CHAT, ",\"stream\":true,\"stream_options\":"
               "{\"include_obfuscation\":true,\"include_usage\":true}"},
    {GEN_COMPLETION, ""},
    {GEN_COMPLETION, ",\"logprobs\":0"},
    {GEN_COMPLETION, ",\"logprobs\":5"},
    {GEN_COMPLETION, ",\"stream\":true"},
    {GEN_COMPLETION, ",\"stream\":true,\"logprobs\":5,\"stream_options\":"
                     "{\"include_usage\":true,\"include_obfuscation\":true}"},
};

static const gen_identity_t identity = {.id =
                                            "0123456789abcdef0123456789abcdef",
                                        .created = 1700000000,
                                        .model = {"mo\"del\n", 7},
                                        .fingerprint = "fp_0123456789",
                                        .seed = 7};

static uint32_t random_state;


static uint32_t
random_next(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;

    return (uint32_t) (((uint64_t) random_state * n) >> 32);
}


/* What a choice says: pieces of valid UTF-8, tokens of any bytes. */

typedef struct {
    char        text[PIECES][16];
    char        bytes[PIECES][4][6];
    gen_token_t tokens[PIECES][4];
    uint32_t    n_tokens[PIECES];
} script_t;

static script_t scripts[CHOICES];


static void
script_make(void)
{
    static const char *const texts[] = {
        "a",   " the", "\n",           "\"",         "\\",   "\t\x01",
        "</s", "é",    "\u20ac",       "\U0001f600", "\x7f", "\xef\xbf\xbd",
        "",    "{}",   "\xe2\x80\xa8", "data: x\n\n"};
    gen_token_t *t;
    uint32_t     c, i, k, j, n;

    random_state = 5;

    for (c = 0; c < CHOICES; c++) {
        for (i = 0; i < PIECES; i++) {
            script_t *s = &scripts[c];

            strcpy(s->text[i], texts[random_next(llm_countof(texts))]);
            s->n_tokens[i] = random_next(5);
            if (s->n_tokens[i] > 4) {
                s->n_tokens[i] = 4;
            }

            for (k = 0; k < s->n_tokens[i]; k++) {
                t = &s->tokens[i][k];
                n = random_next(6);
                for (j = 0; j < n; j++) {
                    s->bytes[i][k][j] = (char) random_next(256);
                }
                *t =
                    (gen_token_t){.token = 5,
                                  .text = {s->bytes[i][k], n},
                                  .logprob = k == 2   ? -INFINITY
                                             : k == 1 ? -0.0f
                                                      : -1.0f / (float) (i + 3),
                                  .has_logprob = i + k > 0,
                                  .n_top = random_next(6)};
                for (j = 0; j < t->n_top; j++) {
                    t->top[j] =
                        (gen_alt_t){{s->bytes[i][k], random_next(n + 1)},
                                    j == 4 ? NAN : -(float) j};
                }
            }
        }
    }
}


/* Writes all; `order` picks whose turn it is; out is emptied as told. */

static void
run(const form_t *form, uint32_t n, unsigned order, int group, buf_t *all)
{
    gen_request_t req;
    gen_usage_t   usage = {10, 4, 30, 0};
    api_writer_t *w;
    gen_error_t   e;
    gen_text_t    text;
    uint32_t      at[CHOICES] = {0}, c, done = 0;
    char          body[512];
    buf_t         out = {0};

    snprintf(body, sizeof(body), "{\"n\":%u,%s%s}", n,
             form->kind == GEN_CHAT
                 ? "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
                 : "\"prompt\":\"x\"",
             form->more);

    if (api_openai_parse(form->kind, body, strlen(body), &req, &e) < 0) {
        ok(0, "%s: %s", body, e.message);
        return;
    }

    api_request_settle(&req);
    w = api_writer_new(&req, &identity, n);
    api_writer_begin(w, &out);
    random_state = order;

    while (done < n) {
        c = order ? random_next(n) : done;

        if (at[c] > PIECES) {
            continue;
        }

        if (at[c] == PIECES) {
            api_writer_finish(w, c, c % 2 ? GEN_FINISH_STOP : GEN_FINISH_LENGTH,
                              &out);
            done++;
            at[c]++;

        } else {
            text = (gen_text_t){.choice = c,
                                .text = str_of(scripts[c].text[at[c]])};
            if (req.logprobs) {
                text.tokens = scripts[c].tokens[at[c]];
                text.n_tokens = scripts[c].n_tokens[at[c]];
            }
            api_writer_text(w, &text, &out);
            at[c]++;
        }

        if (group && random_next(3) == 0) {
            buf_add(all, out.data, out.len);
            buf_reset(&out);
        }
    }

    api_writer_end(w, &usage, &out);
    buf_add(all, out.data, out.len);
    buf_add(all, "", 1);
    all->len--;
    buf_free(&out);
    api_writer_free(w);
    api_request_free(&req);
}


/* Checks a choice's object; its text is added to texts[index]. */

static int
choice_check(const form_t *form, json_t *root, json_t *ch, int streamed,
             buf_t *texts, uint32_t *tokens)
{
    json_t  *t, *lp, *list, *item, *lists[4];
    uint32_t index =
        (uint32_t) json_integer_value(json_object_get(ch, "index"));
    size_t i;

    if (index >= CHOICES || json_object_get(ch, "logprobs") == NULL
        || json_object_get(ch, "finish_reason") == NULL) {
        return 0;
    }

    t = form->kind == GEN_COMPLETION
            ? json_object_get(ch, "text")
            : json_object_get(
                json_object_get(ch, streamed ? "delta" : "message"), "content");
    buf_add(&texts[index], json_string_value(t), json_string_length(t));

    lp = json_object_get(ch, "logprobs");
    if (json_is_null(lp)) {
        return 1;
    }

    if (form->kind == GEN_CHAT) {
        list = json_object_get(lp, "content");
        json_array_foreach(list, i, item)
        {
            if (!json_is_number(json_object_get(item, "logprob"))
                || !json_is_array(json_object_get(item, "bytes"))
                || !json_is_array(json_object_get(item, "top_logprobs"))) {
                return 0;
            }
        }
        tokens[index] += (uint32_t) json_array_size(list);
        return json_object_get(lp, "refusal") != NULL;
    }

    lists[0] = json_object_get(lp, "tokens");
    lists[1] = json_object_get(lp, "token_logprobs");
    lists[2] = json_object_get(lp, "text_offset");
    lists[3] = json_object_get(lp, "top_logprobs");
    tokens[index] += (uint32_t) json_array_size(lists[0]);

    for (i = 0; i < 4; i++) {
        if (json_array_size(lists[i]) != json_array_size(lists[0])
            && !(i == 3 && json_is_null(lists[i]))) {
            return 0;
        }
    }

    (void) root;

    return 1;
}


static int
object_check(const form_t *form, json_t *root, int streamed, buf_t *texts,
             uint32_t *tokens)
{
    json_t *ch;
    size_t  i;

    if (root == NULL
        || strcmp(json_string_value(json_object_get(root, "object")),
                  form->kind == GEN_COMPLETION ? "text_completion"
                  : streamed                   ? "chat.completion.chunk"
                                               : "chat.completion")
        || strcmp(json_string_value(json_object_get(root, "model")),
                  identity.model.s)) {
        return 0;
    }

    json_array_foreach(json_object_get(root, "choices"), i, ch)
    {
        if (!choice_check(form, root, ch, streamed, texts, tokens)) {
            return 0;
        }
    }

    return 1;
}


/* Everything parses, and the texts are the scripts'. */

static int
check(const form_t *form, uint32_t n, buf_t *all)
{
    const char *p, *end;
    uint32_t    c, i, want, tokens[CHOICES] = {0};
    json_t     *root;
    buf_t       texts[CHOICES] = {{0}}, say = {0};
    int         streamed = strstr(form->more, "\"stream\":true") != NULL;
    int         good = 1, padded = strstr(form->more, "obfusc") != NULL;

    if (!streamed) {
        root = json_loadb(all->data, all->len, LOAD, NULL);
        good = object_check(form, root, 0, texts, tokens)
               && json_is_object(json_object_get(root, "usage"));
        json_decref(root);
    }

    for (p = all->data; streamed && good && *p; p = end + 2) {
        end = strstr(p, "\n\n");
        if (end == NULL || strncmp(p, "data: ", 6)) {
            good = 0;
            break;
        }

        if (strncmp(p, "data: [DONE]", 12) == 0) {
            good = end[2] == '\0';
            break;
        }

        root = json_loadb(p + 6, (size_t) (end - p - 6), LOAD, NULL);
        good = object_check(form, root, 1, texts, tokens)
               && (!padded || (end + 2 - p) % 64 == 0);
        json_decref(root);
    }

    for (c = 0; c < n && good; c++) {
        say.len = 0;
        for (i = want = 0; i < PIECES; i++) {
            buf_str(&say, scripts[c].text[i]);
            want += scripts[c].n_tokens[i];
        }
        good = say.len == texts[c].len
               && memcmp(say.data, texts[c].data, say.len) == 0
               && tokens[c] == (strstr(form->more, "logprobs") ? want : 0);
    }

    for (c = 0; c < CHOICES; c++) {
        buf_free(&texts[c]);
    }
    buf_free(&say);

    return good;
}


/* A stream's events of one choice, in their order. */

static void
events_of(const char *p, uint32_t choice, buf_t *out)
{
    const char *end;
    char        mark[32];

    snprintf(mark, sizeof(mark), "\"choices\":[{\"index\":%u,", choice);

    for (; (end = strstr(p, "\n\n")) != NULL; p = end + 2) {
        if (memmem(p, (size_t) (end - p), mark, strlen(mark))) {
            buf_add(out, p, (size_t) (end - p));
        }
    }
}


static void
test_error(void)
{
    gen_error_t e = {0};
    json_t     *root, *o;
    buf_t       out = {0};

    gen_error(&e, 400, NULL, "a\"b", "bad \xff \n \"%s\"", "\xc3");
    api_error_write(&e, &out);
    root = json_loadb(out.data, out.len, 0, NULL);
    o = json_object_get(root, "error");
    ok(json_is_string(json_object_get(o, "message"))
           && json_is_string(json_object_get(o, "type"))
           && json_is_string(json_object_get(o, "param"))
           && json_is_string(json_object_get(o, "code")),
       "an error object, whatever its text");
    json_decref(root);

    buf_reset(&out);
    api_error_event(&e, &out);
    ok(strncmp(out.data, "data: {\"error\":{", 16) == 0
           && memcmp(out.data + out.len - 2, "\n\n", 2) == 0,
       "... as an event");
    buf_free(&out);
}


int
main(void)
{
    uint32_t i, n, order, c;
    buf_t    all, other, a, b;
    int      good, pure;

    script_make();

    for (i = 0; i < llm_countof(forms); i++) {
        good = pure = 1;

        for (n = 1; n <= CHOICES; n++) {
            for (order = 0; order < 6; order++) {
                all = other = (buf_t){0};
                run(&forms[i], n, order, 0, &all);
                run(&forms[i], n, order, 1, &other);

                if (!check(&forms[i], n, &all)) {
                    if (good) {
                        diag("n %u, order %u: %.400s", n, order, all.data);
                    }
                    good = 0;
                }

                pure &= all.len > 0;
                if (order == 0) {
                    /* group: random draws change nothing without an order */
                    pure &= all.len == other.len
                            && memcmp(all.data, other.data, all.len) == 0;
                }

                for (c = 0; c < n; c++) {
                    buf_free(&other);
                    run(&forms[i], n, 0, 0, &other);
                    a = b = (buf_t){0};
                    events_of(all.data, c, &a);
                    events_of(other.data, c, &b);
                    pure &=
                        a.len == b.len
                        && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
                    buf_free(&a);
                    buf_free(&b);
                }

                buf_free(&all);
                buf_free(&other);
            }
        }

        ok(good, "%s%s: JSON with the text in it",
           forms[i].kind == GEN_CHAT ? "chat" : "completions", forms[i].more);
        ok(pure, "... whatever the grouping and the order of choices");
    }

    test_error();

    return tap_done();
}
