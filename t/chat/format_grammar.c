/*
 * Grammars of requests with tools against the parser of the same format: for
 * every format random answers, made byte by byte of what the grammar allows,
 * are read by the parser.  Its calls must be of tools on offer, their
 * arguments valid under the tools' schemas (by the validator, which shares
 * nothing with the grammar), and content what was asked for.
 */

#include <jansson.h>
#include "engine/chat/format_table.h"
#include "engine/grammar/gr_parse.h"
#include "engine/grammar/js_validate.h"
#include "engine/serve/front.h"
#include "engine/serve/front_grammar.h"
#include "t/lib/tap.h"

#define CONTROLS_MAX 64
#define ANSWER_MAX   6000
#define CALLS_MAX    16

typedef struct {
    char       spelled[256][3];
    text_str_t tokens[256 + CONTROLS_MAX];
    int32_t    types[256 + CONTROLS_MAX];
    char       names[CONTROLS_MAX][64];
    uint32_t   n;
} words_t;

typedef struct {
    buf_t    content;
    buf_t    reasoning;
    buf_t    names[CALLS_MAX];
    buf_t    inputs[CALLS_MAX];
    uint32_t calls;
} answer_t;

static uint64_t seed = 88172645463325252u;
static int      rounds = 20; /* LLM_ROUNDS: more of them, otherwise drawn */


static uint32_t
draw(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) (seed >> 20) % n;
}


/*
 * A vocabulary of bytes and of those tags of the format that look like
 * control tokens.
 */

static void
words_add(words_t *w, const char *s)
{
    static const char *const pairs[][2] = {
        {"<|", "|>"},         {"<｜", "｜>"},
        {"[TOOL_CALLS", "]"}, {"[ARGS", "]"},
        {"[CALL_ID", "]"},    {"[THINK", "]"},
        {"[/THINK", "]"},     {"<tool_call", "|>"},
        {"<|tool_call", ">"}, {"<|\"", "|>"},
        {"<|channel", ">"},   {"<channel", "|>"},
        {"<escape", ">"},     {"<start_function_call", ">"}};
    const char *at, *end;
    size_t      i, k, len;

    for (i = 0; s && i < llm_countof(pairs); i++) {
        for (at = strstr(s, pairs[i][0]); at;
             at = strstr(at + 1, pairs[i][0])) {
            end = strstr(at + strlen(pairs[i][0]), pairs[i][1]);
            if (end == NULL) {
                break;
            }

            len = (size_t) (end - at) + strlen(pairs[i][1]);
            if (len >= sizeof(w->names[0]) || memchr(at, '%', len)
                || memchr(at, ' ', len) || memchr(at + 1, '<', len - 1)) {
                continue;
            }

            for (k = 0; k < w->n; k++) {
                if (strlen(w->names[k]) == len
                    && memcmp(w->names[k], at, len) == 0) {
                    break;
                }
            }

            if (k == w->n && w->n < CONTROLS_MAX) {
                memcpy(w->names[w->n], at, len);
                w->names[w->n++][len] = '\0';
            }
        }
    }
}


static text_tokenizer_t *
words_make(words_t *w, const chat_format_t *f, int controls)
{
    text_vocab_t      v = {0};
    text_tokenizer_t *tok = NULL;
    char              err[256];
    unsigned          b, c, next = 256;
    uint32_t          i;

    memset(w, 0, sizeof(*w));

    if (controls) {
        words_add(w, f->section);
        words_add(w, f->section_end);
        words_add(w, f->call);
        words_add(w, f->param);
        words_add(w, f->quote);
        words_add(w, f->content);
        words_add(w, f->content_end);
        words_add(w, f->preamble);
        words_add(w, f->think);
        words_add(w, f->think_end);
    }

    strcpy(w->names[w->n++], "<|eos|>");

    for (b = 0; b < 256; b++) {
        c = b;

        if (b < 0x21 || (b > 0x7e && b < 0xa1) || b == 0xad) {
            c = next++;
        }

        w->spelled[b][0] = (char) (c < 0x80 ? c : 0xc0 | c >> 6);
        w->spelled[b][1] = (char) (c < 0x80 ? 0 : 0x80 | (c & 0x3f));
        w->tokens[b] = (text_str_t){w->spelled[b], c < 0x80 ? 1 : 2};
        w->types[b] = TEXT_NORMAL;
    }

    for (i = 0; i < w->n; i++) {
        w->tokens[256 + i] = (text_str_t){w->names[i], strlen(w->names[i])};
        w->types[256 + i] = TEXT_CONTROL;
    }

    v.model = (text_str_t){"gpt2", 4};
    v.pre = (text_str_t){"gpt-2", 5};
    v.n_tokens = 256 + w->n;
    v.tokens = w->tokens;
    v.types = w->types;
    v.bos = v.eot = v.unk = v.pad = -1;
    v.eos = (int32_t) (255 + w->n);
    v.nfc = v.ignore_merges = -1;

    if (text_tokenizer_new(&v, &tok, err, sizeof(err)) < 0) {
        printf("# %s\n", err);
    }

    return tok;
}


/*
 * ANSWERS
 */

static int
push_all(gr_parse_t *p, buf_t *text, const char *s, const words_t *w)
{
    size_t   i, len = strlen(s), k;
    uint32_t done = 0, c;
    char     byte;

    for (i = 0; i < len; i++) {
        for (c = 0; c < w->n; c++) {
            k = strlen(w->names[c]);
            if (k <= len - i && memcmp(s + i, w->names[c], k) == 0) {
                if (gr_parse_push(p, 0xff) != 1) {
                    goto failed;
                }
                done++;
                byte = (char) 0xff;
                buf_add(text, &byte, 1);
                break;
            }
        }

        if (s[i] == '%') {
            break;
        }

        if (gr_parse_push(p, (uint8_t) s[i]) != 1) {
            goto failed;
        }

        done++;
        buf_add(text, s + i, 1);
    }

    return 1;

failed:

    gr_parse_pop(p, done);
    text->len -= done;

    return 0;
}


/* Bytes, some likelier than others: values shall end. */

static int
step(gr_parse_t *p, buf_t *text)
{
    static const char likely[] =
        "\"\"\"}}]]),:0123ab<>/ \ntfn_-\\u\xc3\xa9\xff";
    uint8_t byte, from;
    int     i, rc;

    for (i = 0; i < 12; i++) {
        byte = (uint8_t) likely[draw(sizeof(likely) - 1)];
        rc = gr_parse_push(p, byte);
        if (rc == 1) {
            buf_add(text, &byte, 1);
            return 1;
        }
    }

    from = (uint8_t) draw(256);

    for (i = 0; i < 256; i++) {
        byte = (uint8_t) (from + i);
        rc = gr_parse_push(p, byte);
        if (rc == 1) {
            buf_add(text, &byte, 1);
            return 1;
        }
        if (rc < 0) {
            printf("# push: %d\n", rc);
            return rc;
        }
    }

    return 0;
}


/* One answer: 1 if the grammar let it end. */

static int
answer(gr_t *gr, const chat_format_t *f, const words_t *w, buf_t *text)
{
    const char *tags[] = {
        f->section,     f->call,  chat_format_think_close(f),
        f->content_end, f->quote, f->param ? strstr(f->param, "%v") + 2 : NULL};
    gr_parse_t *p;
    unsigned    marks;
    int         rc = 1, open, len = 0;
    uint32_t    most = 40 + draw(1200);

    buf_reset(text);

    if (gr_parse_new(gr, NULL, &p) < 0) {
        return -1;
    }

    gr_parse_fuel(p, UINT64_MAX);

    while (text->len < ANSWER_MAX) {
        marks = gr_parse_marks(p);
        open = (marks & GR_MARK_FREE) != 0;
        len = open ? len + 1 : 0;

        if (gr_parse_complete(p) && draw(open ? 40 : 3) == 0
            && text->len > most / 8) {
            break;
        }

        if (open && (len > 30 || draw(8) == 0)) {
            const char *s = tags[draw(4)];

            if (s && push_all(p, text, s, w)) {
                continue;
            }
        }

        if (!open && tags[4 + (f->param != NULL)] && draw(12) == 0
            && push_all(p, text, tags[4 + (f->param != NULL)], w)) {
            continue;
        }

        rc = step(p, text);
        if (rc != 1) {
            break;
        }
    }

    rc = rc < 0                    ? rc
         : gr_parse_complete(p)    ? 1
         : text->len >= ANSWER_MAX ? 2
                                   : 0;
    gr_parse_free(p);

    return rc;
}


static void
take(void *data, const chat_part_t *part)
{
    answer_t *a = data;

    switch (part->kind) {

    case CHAT_PART_CONTENT:
        buf_add(&a->content, part->text.s, part->text.len);
        return;

    case CHAT_PART_REASONING:
        buf_add(&a->reasoning, part->text.s, part->text.len);
        return;

    case CHAT_PART_CALL:
        if (a->calls < CALLS_MAX) {
            buf_add(&a->names[a->calls], part->text.s, part->text.len);
        }
        a->calls++;
        return;

    default:
        if (part->call < CALLS_MAX) {
            buf_add(&a->inputs[part->call], part->text.s, part->text.len);
        }
    }
}


static void
answer_free(answer_t *a)
{
    int i;

    buf_free(&a->content);
    buf_free(&a->reasoning);

    for (i = 0; i < CALLS_MAX; i++) {
        buf_free(&a->names[i]);
        buf_free(&a->inputs[i]);
    }
}


static void
read_answer(const chat_parse_t *parse, const words_t *w, const buf_t *text,
            answer_t *a)
{
    chat_parser_t *p = chat_parser_new(parse, take, a);
    size_t         i = 0, n, len;
    uint32_t       c;

    memset(a, 0, sizeof(*a));

    while (i < text->len) {
        if ((uint8_t) text->data[i] == 0xff) {
            for (c = 0, len = 0; c < w->n; c++) {
                n = strlen(w->names[c]);
                if (n > len && n <= text->len - i - 1
                    && memcmp(text->data + i + 1, w->names[c], n) == 0) {
                    len = n;
                }
            }

            chat_parser_control(p, text->data + i + 1, len);
            i += len + 1;
            continue;
        }

        for (n = 1; i + n < text->len && n < 1 + draw(9)
                    && (uint8_t) text->data[i + n] != 0xff;
             n++) {
            /* void */
        }

        chat_parser_text(p, text->data + i, n);
        i += n;
    }

    chat_parser_end(p);
    chat_parser_free(p);
}


/*
 * REQUESTS
 */

static const char tools[] =
    "["
    "{\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
    "\"parameters\":{\"type\":\"object\",\"additionalProperties\":false,"
    "\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":"
    "\"integer\",\"minimum\":1,\"maximum\":20},\"unit\":{\"enum\":[\"C\",\"F\"]"
    "}"
    ",\"note\":{\"anyOf\":[{\"type\":\"string\",\"maxLength\":8},{\"type\":"
    "\"null\"}]},\"on\":{\"type\":\"boolean\"}},\"required\":[\"city\",\"on\"]}"
    "}}"
    ","
    "{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":"
    "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/$defs/n\"},"
    "\"list\":{\"type\":\"array\",\"maxItems\":2,\"items\":{\"$ref\":"
    "\"#/$defs/"
    "n\"}},\"o\":{\"type\":\"object\",\"properties\":{\"s\":{\"type\":"
    "\"string\",\"pattern\":\"^[a-z<>\\\\\\\\/]*$\"}},\"required\":[\"s\"],"
    "\"additionalProperties\":false},\"mix\":{\"type\":[\"string\",\"integer\","
    "\"array\"],\"items\":{\"type\":\"boolean\"},\"maxLength\":9}},\"$defs\":"
    "{\"n\":{\"type\":\"number\",\"exclusiveMinimum\":-1.5,\"maximum\":100}},"
    "\"required\":[\"a\"],\"additionalProperties\":false}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"never\"}}]";

static const char customs[] =
    "[{\"type\":\"custom\",\"custom\":{\"name\":\"digits\",\"format\":{"
    "\"type\":"
    "\"grammar\",\"grammar\":{\"syntax\":\"regex\",\"definition\":"
    "\"[0-9\\\"]{2,5}\"}}}},"
    "{\"type\":\"custom\",\"custom\":{\"name\":\"sum\",\"format\":{\"type\":"
    "\"grammar\",\"grammar\":{\"syntax\":\"lark\",\"definition\":"
    "\"start: n (\\\"+\\\" n)*\\nn: /[0-9]+/ | \\\"(\\\" start \\\")\\\" | "
    "\\\"\\\\\\\"\\\"\"}}}},"
    "{\"type\":\"custom\",\"custom\":{\"name\":\"any\"}}]";

typedef struct {
    const char *name;
    const char *tools;
    const char *more;    /* of the body */
    int         content; /* 1: JSON object; 2: none */
    int         calls;   /* at least */
    int         most;    /* 0: any */
} kind_t;

static const kind_t kinds[] = {
    {"required", tools,
     ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":"
     "\"required\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":"
     "\"get_weather\"}},{\"type\":\"function\",\"function\":{\"name\":\"add\"}}"
     ","
     "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]}}",
     2, 1, 0},
    {"named", tools,
     ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"add\"}},"
     "\"parallel_tool_calls\":false",
     2, 1, 1},
    {"auto", tools, "", 0, 0, 0},
    {"auto, JSON", tools, ",\"response_format\":{\"type\":\"json_object\"}", 1,
     0, 0},
    {"custom", customs, ",\"tool_choice\":\"required\"", 2, 1, 0},
    {"JSON", NULL, ",\"response_format\":{\"type\":\"json_object\"}", 1, 0, 0},
};


static int
valid(const char *schema_text, size_t schema_len, const buf_t *text)
{
    js_validate_options_t options = {.formats = 1};
    const js_value_t     *value;
    js_schema_t          *schema = NULL;
    arena_t               arena;
    char                  err[256] = "";
    int                   rc;

    arena_init(&arena, 0);
    rc = js_schema_open(schema_text, schema_len, NULL, &schema, err,
                        sizeof(err));
    if (rc == 0) {
        rc = js_parse(&arena, text->data ? text->data : "", text->len, NULL,
                      &value, NULL, err, sizeof(err));
    }

    if (rc == 0) {
        rc = js_validate(schema, NULL, value, &options, NULL) == 1 ? 0 : -1;
    }

    if (rc < 0) {
        printf("# invalid: %.*s %s\n", (int) text->len,
               text->data ? text->data : "", err);
    }

    js_schema_close(schema);
    arena_free(&arena);

    return rc == 0;
}


static int
sum_is(const char **s, const char *end)
{
    do {
        if (*s < end && **s == '(') {
            ++*s;
            if (!sum_is(s, end) || *s == end || *(*s)++ != ')') {
                return 0;
            }
        } else if (*s < end && **s == '"') {
            ++*s;
        } else {
            if (*s == end || **s < '0' || **s > '9') {
                return 0;
            }
            while (*s < end && **s >= '0' && **s <= '9') {
                ++*s;
            }
        }
    } while (*s < end && **s == '+' && ++*s);

    return 1;
}


/* A call's input is what it must be. */

static int
call_is_good(const req_t *r, const buf_t *name, const buf_t *input)
{
    const gen_tool_t *tool;
    json_t           *all = json_loads(tools, 0, NULL), *schema;
    const char       *s = input->data ? input->data : "", *end = s + input->len;
    char             *text;
    uint32_t          i;
    int               good;

    for (i = 0; i < r->request.n_offers; i++) {
        tool = &r->request.offers[i];
        if (str_eq(tool->name, (str_t){name->data, name->len})) {
            break;
        }
    }

    if (i == r->request.n_offers || !tool->offered) {
        json_decref(all);
        return 0;
    }

    if (tool->kind == GEN_TOOL_CUSTOM) {
        json_decref(all);

        if (tool->syntax == GEN_SYNTAX_REGEX) {
            return input->len >= 2 && input->len <= 5
                   && strspn(s, "0123456789\"") >= input->len;
        }

        return tool->syntax != GEN_SYNTAX_LARK || (sum_is(&s, end) && s == end);
    }

    schema =
        json_object_get(json_object_get(json_array_get(all, i), "function"),
                        "parameters");
    text = schema ? json_dumps(schema, 0) : strdup("{\"type\":\"object\"}");
    good = valid(text, strlen(text), input);
    free(text);
    json_decref(all);

    return good;
}


static void
show(const buf_t *text, const char *why)
{
    size_t i;

    printf("# %s: ", why);
    for (i = 0; i < text->len; i++) {
        printf((uint8_t) text->data[i] == 0xff ? "^"
               : text->data[i] == '\n'         ? "\\n"
                                               : "%c",
               text->data[i]);
    }
    printf("\n");
}


static int
check(const req_t *r, const kind_t *kind, const answer_t *a)
{
    uint32_t i;

    for (i = 0; i < a->calls && i < CALLS_MAX; i++) {
        if (!call_is_good(r, &a->names[i], &a->inputs[i])) {
            printf("# call %.*s\n", (int) a->names[i].len, a->names[i].data);
            return 0;
        }
    }

    if ((int) a->calls < kind->calls
        || (kind->most && (int) a->calls > kind->most)) {
        printf("# %u calls\n", a->calls);
        return 0;
    }

    if (kind->content == 2 && a->content.len) {
        return 0;
    }

    return kind->content != 1 || (a->calls && a->content.len == 0)
           || valid("{\"type\":\"object\"}", 17, &a->content);
}


static void
format(const chat_format_t *f, const kind_t *kind, int at, int controls)
{
    static words_t words;
    serve_t       *serve = calloc(1, sizeof(serve_t));
    version_t      version = {0};
    dialog_t       dialog = {.format = f, .shows_tools = 1, .reasons = 1};
    req_t          r = {.serve = serve,
                        .version = &version,
                        .dialog = &dialog,
                        .prompt_at = at};
    answer_t       a;
    buf_t          text = {0}, key = {0};
    gr_t          *gr = NULL;
    int            i, rc, bad = 0, ends = 0, cut = 0, calls = 0;

    version.vocab.tokenizer = words_make(&words, f, controls);
    version.vocab.eog[0] = (int32_t) (255 + words.n);
    version.vocab.n_eog = 1;

    buf_fmt(&r.body,
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
            "\"content\":\"Hi [\\\"{\"}]%s%s%s}",
            kind->tools ? ",\"tools\": " : "", kind->tools ? kind->tools : "",
            kind->more);

    rc = api_openai_parse(GEN_CHAT, r.body.data, r.body.len, &r.request,
                          &r.error);
    if (rc == 0) {
        rc = front_reading(&r);
    }
    if (rc == 0) {
        rc = front_grammar_key(&r, &key) == 1 && key.len ? 0 : -1;
    }
    if (rc == 0) {
        rc = front_grammar_program(&r, &gr);
    }

    if (rc < 0) {
        ok(0, "%s, %s, at %d: %d %s", f->name, kind->name, at, rc,
           r.error.message);
    }

    for (i = 0; rc == 0 && i < rounds; i++) {
        rc = answer(gr, f, &words, &text);
        if (rc != 1) {
            cut += rc == 2;
            bad += rc != 2;
            if (rc != 2) {
                show(&text, "dead end");
            }
            rc = rc < 0 ? rc : 0;
            continue;
        }

        rc = 0;
        ends++;
        read_answer(&r.parse, &words, &text, &a);
        calls += (int) a.calls;

        if (!check(&r, kind, &a)) {
            bad++;
            show(&text, "bad answer");
            printf("# content '%.*s' reasoning '%.*s'\n", (int) a.content.len,
                   a.content.data ? a.content.data : "", (int) a.reasoning.len,
                   a.reasoning.data ? a.reasoning.data : "");
        }

        answer_free(&a);
        if (bad > 2) {
            break;
        }
    }

    ok(rc == 0 && bad == 0 && ends,
       "%s, %s, at %d%s: %d answers, %d calls, %d cut", f->name, kind->name, at,
       controls ? "" : ", no control tokens", ends, calls, cut);

    gr_free(gr);
    buf_free(&text);
    buf_free(&key);
    buf_free(&r.body);
    api_request_free(&r.request);
    text_tokenizer_free(version.vocab.tokenizer);
    free(serve);
}


/* What cannot be kept to is refused, and the parameter named. */

static void
refusals(void)
{
    static const struct {
        const char *format, *more, *param, *says;
    } rows[] = {
        {"hermes",
         "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\"}},"
         "{\"type\":\"function\",\"function\":{\"name\":\"b\","
         "\"parameters\":{\"type\":\"object\",\"required\":[\"x\"],"
         "\"additionalProperties\":false}}}]",
         "tools[1].function.parameters", "'b'"},
        {"hermes",
         "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
         "{\"name\":\"n\",\"schema\":{\"type\":\"integer\",\"minimum\":2,"
         "\"maximum\":1}}}",
         "response_format.json_schema.schema", ""},
        {"hermes",
         "\"tools\":[{\"type\":\"custom\",\"custom\":{\"name\":\"c\","
         "\"format\":{\"type\":\"grammar\",\"grammar\":{\"syntax\":"
         "\"lark\",\"definition\":\"start: x\"}}}}]",
         "tools[0].custom.format.grammar.definition", ""},
        {"qwen3-coder",
         "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\","
         "\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{}},"
         "\"minProperties\":1}}}]",
         "tools[0].function.parameters", "minProperties"},
        {"qwen3-coder",
         "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\","
         "\"parameters\":{\"type\":\"object\",\"properties\":{\"x>y\":{}}"
         "}}}]",
         "tools[0].function.parameters", "x>y"},
    };
    static words_t words;
    size_t         i;

    for (i = 0; i < llm_countof(rows); i++) {
        const chat_format_t *f =
            chat_format_find(rows[i].format, strlen(rows[i].format));
        serve_t  *serve = calloc(1, sizeof(serve_t));
        version_t version = {0};
        dialog_t  dialog = {.format = f, .shows_tools = 1};
        req_t     r = {.serve = serve,
                       .version = &version,
                       .dialog = &dialog,
                       .prompt_at = CHAT_AT_START};
        gr_t     *gr = NULL;
        int       rc;

        version.vocab.tokenizer = words_make(&words, f, 1);

        buf_fmt(&r.body,
                "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
                "\"model\":\"m\", %s }",
                rows[i].more);
        rc = api_openai_parse(GEN_CHAT, r.body.data, r.body.len, &r.request,
                              &r.error);

        ok(rc == 0 || i > 9, "%zu: parsed%s", i, rc < 0 ? r.error.message : "");
        rc = front_grammar_program(&r, &gr);
        ok(rc < 0 && gr == NULL && r.error.status == 400, "... refused: %s",
           r.error.message);
        is_str(r.error.param, rows[i].param, "... by its parameter");
        ok(strstr(r.error.message, rows[i].says) != NULL, "... it says '%s'",
           rows[i].says);

        gr_free(gr);
        buf_free(&r.body);
        api_request_free(&r.request);
        text_tokenizer_free(version.vocab.tokenizer);
        free(serve);
    }
}


int
main(int argc, char **argv)
{
    size_t i, k;

    if (getenv("LLM_ROUNDS")) {
        rounds = atoi(getenv("LLM_ROUNDS"));
        seed += (uint64_t) rounds << 7;
    }

    refusals();

    for (i = 0; i < chat_formats_n; i++) {
        if (argc > 1 && strcmp(argv[1], chat_formats[i].name)) {
            continue;
        }

        for (k = 0; k < llm_countof(kinds); k++) {
            format(&chat_formats[i], &kinds[k], CHAT_AT_ANSWER, 1);
        }

        format(&chat_formats[i], &kinds[0], CHAT_AT_THOUGHT, 1);
        format(&chat_formats[i], &kinds[0], CHAT_AT_START, 1);
        format(&chat_formats[i], &kinds[2], CHAT_AT_START, 1);
        format(&chat_formats[i], &kinds[0], CHAT_AT_ANSWER, 0);
        format(&chat_formats[i], &kinds[2], CHAT_AT_ANSWER, 0);
    }

    return tap_done();
}
