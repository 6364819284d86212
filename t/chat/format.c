/*
 * Tool-call formats: which one each published template is of; examples of
 * each; and that what the parser gives does not depend on how the text was
 * cut.  Examples are arrays in formats/NAME/: those of format_goldens.py, and
 * by hand (x-*.json) with
 *
 *     text        what the model says; or
 *     prompt      the end of the prompt; `thinking`: 0 or 1 instead
 *     content, reasoning, calls [{name, arguments | input}]
 *     raw         1: arguments are compared as text
 *     calls_off   1: no tools were offered
 *     end         0: the text is cut
 */

#include <dirent.h>
#include <jansson.h>
#include "engine/chat/format.h"
#include "t/lib/tap.h"

#define CALLS_MAX 8

typedef struct {
    buf_t    content;
    buf_t    reasoning;
    buf_t    names[CALLS_MAX];
    buf_t    inputs[CALLS_MAX];
    uint32_t calls;
    size_t   end;
    int      wrong;
} result_t;

static const char weather[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},"
    "\"opts\":{\"type\":\"object\"},\"note\":{\"type\":[\"string\",\"null\"]},"
    "\"any\":{},\"list\":{\"type\":\"array\"},\"on\":{\"type\":\"boolean\"}}}";
static const char add[] =
    "{\"properties\":{\"a\":{\"$ref\":\"#/$defs/n\"},\"b\":{\"anyOf\":"
    "[{\"type\":\"number\"},{\"type\":\"null\"}]}},"
    "\"$defs\":{\"n\":{\"type\":\"number\"}}}";

static const str_t   names[] = {str_lit("get_weather"), str_lit("add"),
                                str_lit("sql")};
static const uint8_t custom[] = {0, 0, 1};
static const str_t   schemas[] = {{weather, sizeof(weather) - 1},
                                  {add, sizeof(add) - 1},
                                  {NULL, 0}};

static int failures;


static void
result_free(result_t *r)
{
    int i;

    buf_free(&r->content);
    buf_free(&r->reasoning);
    for (i = 0; i < CALLS_MAX; i++) {
        buf_free(&r->names[i]);
        buf_free(&r->inputs[i]);
    }

    memset(r, 0, sizeof(*r));
}


static void
take(void *data, const chat_part_t *part)
{
    result_t *r = data;

    r->wrong |= part->text.len == 0 || part->end < r->end;
    r->end = part->end;

    switch (part->kind) {

    case CHAT_PART_CONTENT:
        buf_add(&r->content, part->text.s, part->text.len);
        return;

    case CHAT_PART_REASONING:
        buf_add(&r->reasoning, part->text.s, part->text.len);
        return;

    case CHAT_PART_CALL:
        r->wrong |= part->call != r->calls;
        r->calls++;
        if (part->call < CALLS_MAX) {
            buf_add(&r->names[part->call], part->text.s, part->text.len);
        }
        return;

    default:
        r->wrong |= part->call + 1 != r->calls;
        if (part->call < CALLS_MAX) {
            buf_add(&r->inputs[part->call], part->text.s, part->text.len);
        }
    }
}


static int
same(const buf_t *a, const buf_t *b)
{
    return a->len == b->len
           && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}


static int
result_same(const result_t *a, const result_t *b)
{
    uint32_t i;

    if (!same(&a->content, &b->content) || !same(&a->reasoning, &b->reasoning)
        || a->calls != b->calls || a->wrong || b->wrong) {
        return 0;
    }

    for (i = 0; i < a->calls && i < CALLS_MAX; i++) {
        if (!same(&a->names[i], &b->names[i])
            || !same(&a->inputs[i], &b->inputs[i])) {
            return 0;
        }
    }

    return 1;
}


/* The length of a control token's name at s, or 0. */

static size_t
control_at(const char *s, size_t len)
{
    static const char *const names_[] = {
        "[TOOL_CALLS]", "[ARGS]",       "[CALL_ID]",    "[THINK]",
        "[/THINK]",     "<tool_call|>", "<|tool_call>", "<|\"|>",
        "<|channel>",   "<channel|>",   "<escape>"};
    const char *end;
    size_t      i, n;

    for (i = 0; i < llm_countof(names_); i++) {
        n = strlen(names_[i]);
        if (n <= len && memcmp(s, names_[i], n) == 0) {
            return n;
        }
    }

    if (len > 4 && s[0] == '<' && s[1] == '|') {
        end = memmem(s, len, "|>", 2);
        return end && end - s < 40 ? (size_t) (end - s) + 2 : 0;
    }

    if (len > 8 && memcmp(s, "<｜", 4) == 0) {
        end = memmem(s, len, "｜>", 4);
        return end && end - s < 60 ? (size_t) (end - s) + 4 : 0;
    }

    return 0;
}


/* Parses s cut at a and b; controls: names of control tokens apart. */

static void
run(const chat_parse_t *opt, const char *s, size_t len, size_t a, size_t b,
    int controls, int end, result_t *r)
{
    chat_parser_t *p;
    size_t         i, n, step;

    memset(r, 0, sizeof(*r));
    p = chat_parser_new(opt, take, r);

    for (i = 0; i < len; i += n) {
        n = controls ? control_at(s + i, len - i) : 0;
        if (n) {
            chat_parser_control(p, s + i, n);
            continue;
        }

        if (a == 0) {
            n = 1;
        } else {
            step = i < a ? a : i < b ? b : len;
            n = (step < len ? step : len) - i;
        }

        if (controls && n > 1) {
            for (step = 1; step < n; step++) {
                if (control_at(s + i + step, len - i - step)) {
                    n = step;
                }
            }
        }

        chat_parser_text(p, s + i, n);
    }

    if (end) {
        chat_parser_end(p);
    }

    r->wrong |= r->calls != chat_parser_calls(p);
    chat_parser_free(p);
}


static const char *
text_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));

    return s ? s : "";
}


static void
complain(const char *where, const char *what, const char *text,
         const result_t *r)
{
    uint32_t i;

    printf("# %s: %s\n#   text: ", where, what);
    for (; *text; text++) {
        printf(*text == '\n' ? "\\n" : "%c", *text);
    }
    printf("\n#   content: '%.*s'\n#   reasoning: '%.*s'\n",
           (int) r->content.len, r->content.data ? r->content.data : "",
           (int) r->reasoning.len, r->reasoning.data ? r->reasoning.data : "");
    for (i = 0; i < r->calls && i < CALLS_MAX; i++) {
        printf("#   call: %.*s %.*s\n", (int) r->names[i].len, r->names[i].data,
               (int) r->inputs[i].len,
               r->inputs[i].data ? r->inputs[i].data : "");
    }
    failures++;
}


static int
buf_is(const buf_t *buf, const char *s)
{
    return buf->len == strlen(s)
           && memcmp(buf->data ? buf->data : "", s, buf->len) == 0;
}


static int
expected(const json_t *row, const result_t *r)
{
    json_t     *calls = json_object_get(row, "calls"), *call, *want, *got;
    const char *input;
    size_t      i;
    int         good;

    if (!buf_is(&r->content, text_of(row, "content"))
        || !buf_is(&r->reasoning, text_of(row, "reasoning"))
        || r->calls != json_array_size(calls) || r->wrong) {
        return 0;
    }

    json_array_foreach(calls, i, call)
    {
        if (!buf_is(&r->names[i], text_of(call, "name"))) {
            return 0;
        }

        input = json_string_value(json_object_get(call, "input"));
        if (input) {
            if (!buf_is(&r->inputs[i], input)) {
                return 0;
            }
            continue;
        }

        want = json_object_get(call, "arguments");
        got = json_loadb(r->inputs[i].data ? r->inputs[i].data : "",
                         r->inputs[i].len, JSON_ALLOW_NUL, NULL);
        good = got && json_equal(want, got);
        json_decref(got);

        if (!good) {
            return 0;
        }
    }

    return 1;
}


static void
example(const chat_format_t *f, const char *where, const json_t *row)
{
    const char  *text = text_of(row, "text"), *prompt = text_of(row, "prompt");
    const char  *rest = text_of(row, "rest");
    chat_parse_t opt = {
        .format = f,
        .calls = !json_is_true(json_object_get(row, "calls_off")),
        .reasoning = !json_is_true(json_object_get(row, "reasoning_off")),
        .names = names,
        .custom = custom,
        .schemas = schemas,
        .n_names = 3};
    size_t   len = strlen(text), i;
    result_t one, r;
    int      at, end = !json_is_false(json_object_get(row, "end"));

    at = *rest ? CHAT_AT_START : chat_format_at(f, prompt, strlen(prompt));
    opt.thinking =
        at == CHAT_AT_THOUGHT || json_is_true(json_object_get(row, "thinking"));
    opt.content = at == CHAT_AT_CONTENT;

    run(&opt, text, len, len + 1, len + 1, 0, end, &one);

    if (!expected(row, &one)) {
        complain(where, "not as expected", text, &one);
    }

    for (i = 0; i < len; i++) {
        run(&opt, text, len, i, len + 1, 0, end, &r);
        if (!result_same(&one, &r)) {
            complain(where, i ? "two pieces" : "bytes", text, &r);
            i = len;
        }
        result_free(&r);
    }

    for (i = 0; i < 2; i++) {
        run(&opt, text, len, i ? len + 1 : 0, len + 1, 1, end, &r);
        if (!result_same(&one, &r)) {
            complain(where, "control tokens", text, &r);
        }
        result_free(&r);
    }

    result_free(&one);
}


static void
examples(const char *folder, const char *name)
{
    const chat_format_t *f = chat_format_find(name, strlen(name));
    char                 path[512], where[600];
    struct dirent      **list = NULL;
    json_t              *rows, *row;
    size_t               i, done = 0;
    int                  n, k;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    n = scandir(path, &list, NULL, alphasort);
    failures = f == NULL;

    for (k = 0; k < n && f; k++) {
        snprintf(path, sizeof(path), "%s/%s/%s", folder, name, list[k]->d_name);

        if (strstr(list[k]->d_name, ".json")) {
            rows = json_load_file(path, 0, NULL);
            failures += rows == NULL;

            json_array_foreach(rows, i, row)
            {
                snprintf(where, sizeof(where), "%s %s", list[k]->d_name,
                         text_of(row, "name"));
                example(f, where, row);
                done++;
            }

            json_decref(rows);
        }
    }

    while (n-- > 0) {
        free(list[n]);
    }

    free(list);
    ok(failures == 0, "%s: %zu examples", name, done);
}


static void
templates(const char *folder)
{
    json_t     *all = json_load_file("t/chat/format_templates.json", 0, NULL);
    json_t     *row;
    const char *key;
    char        path[512];
    char       *source;
    size_t      len;
    FILE       *file;
    int         n = 0;

    const chat_format_t *f;

    ok(json_object_size(all) == 68, "all templates are listed");

    json_object_foreach(all, key, row)
    {
        snprintf(path, sizeof(path), "%s/%s.jinja", folder, key);
        file = fopen(path, "r");
        if (file == NULL) {
            continue;
        }

        source = malloc(1 << 20);
        len = fread(source, 1, 1 << 20, file);
        fclose(file);

        f = chat_format_detect(source, len);
        is_str(chat_format_name(f), text_of(row, "format"), "%s: format", key);
        is_int(chat_format_reasons(f, source, len),
               json_integer_value(json_object_get(row, "reasons")),
               "%s: reasons", key);
        is_int(chat_format_shows_tools(source, len),
               json_integer_value(json_object_get(row, "tools")),
               "%s: shows tools", key);
        n++;
        free(source);
    }

    if (n == 0) {
        ok(1, "formats of templates # SKIP %s is not there", folder);
    }

    json_decref(all);
}


static void
types(void)
{
    static const struct {
        const char *schema;
        unsigned    types;
    } rows[] = {
        {"{\"properties\":{\"x\":{\"type\":\"string\"}}}", CHAT_TYPE_STRING},
        {"{\"properties\":{\"x\":{\"enum\":[\"a\",null]}}}",
         CHAT_TYPE_STRING | CHAT_TYPE_NULL},
        {"{\"properties\":{\"x\":{\"enum\":[\"a\",1],\"type\":\"string\"}}}",
         CHAT_TYPE_STRING},
        {"{\"properties\":{\"x\":{\"allOf\":[{\"type\":[\"string\",\"array\"]},"
         "{\"type\":\"array\"}]}}}",
         CHAT_TYPE_ARRAY},
        {"{\"properties\":{\"x\":{\"$ref\":\"#/definitions/a~1b\"}},"
         "\"definitions\":{\"a/b\":{\"const\":true}}}",
         CHAT_TYPE_BOOLEAN},
        {"{\"$ref\":\"#/$defs/p\",\"$defs\":{\"p\":{\"properties\":{\"x\":"
         "{\"type\":\"object\"}}}}}",
         CHAT_TYPE_OBJECT},
        {"{\"properties\":{\"x\":{\"$ref\":\"#/properties/x\"}}}",
         CHAT_TYPE_ANY},
        {"{\"properties\":{\"x\":true}}", CHAT_TYPE_ANY},
        {"{}", CHAT_TYPE_ANY},
    };
    json_t *schema;
    size_t  i;

    for (i = 0; i < llm_countof(rows); i++) {
        schema = json_loads(rows[i].schema, 0, NULL);
        is_int(chat_format_types(schema, "x", 1), rows[i].types, "%s",
               rows[i].schema);
        json_decref(schema);
    }
}


static void
tokens(void)
{
    static const char *const yes[] = {"<tool_call>",
                                      "</seed:think>",
                                      "[ARGS]",
                                      "<escape>",
                                      "<｜tool▁sep｜>",
                                      "[/THINK]",
                                      "</minimax:tool_call>",
                                      "<arg_key>"};
    static const char *const no[] = {"<br>", "[1]",    "tool_call", "<",
                                     "><",   "<html>", "[]"};
    size_t                   i;

    for (i = 0; i < llm_countof(yes); i++) {
        ok(chat_format_token(yes[i], strlen(yes[i])), "%s is named", yes[i]);
    }

    for (i = 0; i < llm_countof(no); i++) {
        ok(!chat_format_token(no[i], strlen(no[i])), "%s is not", no[i]);
    }
}


int
main(void)
{
    struct dirent **list;
    int             i, n;

    tokens();
    templates("../shared/data/chat-templates");
    types();

    n = scandir("t/chat/formats", &list, NULL, alphasort);
    for (i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.') {
            examples("t/chat/formats", list[i]->d_name);
        }
        free(list[i]);
    }

    free(list);

    return tap_done();
}
