/*
 * What the content must be: OpenAI's response_format, with Fireworks' and
 * llama-server's forms of it, and the members that vLLM and llama-server have
 * beside it.  All come to one GEN_FORMAT_*; two of them are one too many.
 * And how much a model may think before.  Any thread.
 *
 * Extensions of ours, where JSON is written: "order" declared or free (of
 * properties), "whitespace" compact, single or any.
 */

#include <stdio.h>
#include "engine/api/fields.h"

#define FORMAT_CHOICES_MAX 65536
#define FORMAT_NAME_MAX    64

enum { SOURCE_GUESS = 0 }; /* a grammar of either syntax */

static int format_set(parse_t *p, const char *param, int format);
static int format_schema(parse_t *p, const char *param, const char *pointer,
                         json_t *v);
static int format_source(parse_t *p, const char *param, int format, json_t *v);
static int format_choice(parse_t *p, const char *param, json_t *v);
static int format_named(parse_t *p, json_t *v);
static int format_options(parse_t *p, const char *at, json_t *v);
static int format_object(parse_t *p, json_t *v);


int
parse_format(parse_t *p, const field_t *f, json_t *v)
{
    static const char *const types[] = {"text", "json_object", "json_schema",
                                        "grammar", NULL};
    json_t                  *w;
    int                      type;

    LLM_TRY(api_type(p, f->name, v, API_OBJECT));
    LLM_TRY(api_word(p, f->name, v, "type", types, &type));

    switch (type) {

    case 0:
        return 0;

    case 1:
        LLM_TRY(format_options(p, f->name, v));
        return format_object(p, v);

    case 2:
        LLM_TRY(format_options(p, f->name, v));
        return format_named(p, v);

    default: /* Fireworks': in GBNF */
        LLM_TRY(api_need(p, f->name, v, "grammar", API_STRING, &w));
        return format_source(p, "response_format.grammar", GEN_FORMAT_GBNF, w);
    }
}


/* json_object; with a schema, as llama-server has it, of that schema. */

static int
format_object(parse_t *p, json_t *v)
{
    json_t *schema;

    LLM_TRY(api_member(p, "response_format", v, "schema", API_SCHEMA, &schema));

    return schema ? format_schema(p, "response_format.schema",
                                  "/response_format/schema", schema)
                  : format_set(p, "response_format", GEN_FORMAT_JSON_OBJECT);
}


/* OpenAI's json_schema; or the schema with no name around it. */

static int
format_named(parse_t *p, json_t *v)
{
    static const char at[] = "response_format.json_schema";
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    json_t           *named, *w;
    str_t             name;

    LLM_TRY(
        api_member(p, "response_format", v, "json_schema", API_OBJECT, &named));

    if (named == NULL && json_object_get(v, "schema")) {
        return format_object(p, v);
    }

    if (named == NULL) {
        return api_missing(p, at);
    }

    LLM_TRY(api_need(p, at, named, "name", API_STRING, &w));
    name = api_str(w);

    if (name.len == 0 || name.len > FORMAT_NAME_MAX
        || strspn(name.s, letters) < name.len) {
        return gen_error(p->error, 400, "invalid_value",
                         "response_format.json_schema.name",
                         "Invalid 'response_format.json_schema.name': expected "
                         "1 to %d of a-z, A-Z, 0-9, _ and -.",
                         FORMAT_NAME_MAX);
    }

    LLM_TRY(api_member(p, at, named, "description", API_STRING, &w));
    LLM_TRY(api_member(p, at, named, "strict", API_BOOLEAN, &w));
    LLM_TRY(format_options(p, at, named));
    LLM_TRY(api_need(p, at, named, "schema", API_SCHEMA, &w));

    return format_schema(p, "response_format.json_schema.schema",
                         "/response_format/json_schema/schema", w);
}


/* guided_json: the schema, or its text; json_schema: llama-server's. */

int
parse_schema(parse_t *p, const field_t *f, json_t *v)
{
    /* llama-server's front end sends {} where there is none. */
    if (json_is_object(v) && json_object_size(v) == 0 && f->name[0] == 'j') {
        return 0;
    }

    return format_schema(p, f->name,
                         f->name[0] == 'j' ? "/json_schema" : "/guided_json",
                         v);
}


/* A grammar or a regex; an empty text says nothing. */

int
parse_source(parse_t *p, const field_t *f, json_t *v)
{
    return format_source(p, f->name, (int) f->offset, v);
}


int
parse_list(parse_t *p, const field_t *f, json_t *v)
{
    return format_choice(p, f->name, v);
}


/* vLLM's: {json | regex | choice | grammar | json_object} */

int
parse_structured(parse_t *p, const field_t *f, json_t *v)
{
    static const char *const refused[] = {"disable_any_whitespace",
                                          "disable_additional_properties",
                                          "whitespace_pattern",
                                          "structural_tag", "backend"};
    const char              *param;
    json_t                  *w;
    size_t                   i;

    LLM_TRY(api_type(p, f->name, v, API_OBJECT));

    for (i = 0; i < llm_countof(refused); i++) {
        w = json_object_get(v, refused[i]);
        if (w && !json_is_null(w) && !json_is_false(w)) {
            param = api_param(p, "%s.%s", f->name, refused[i]);
            return gen_error(p->error, 400, "unsupported_parameter", param,
                             "Unsupported parameter: '%s' is not supported by "
                             "this server.",
                             param);
        }
    }

    LLM_TRY(format_options(p, f->name, v));

    w = json_object_get(v, "json");
    if (w && !json_is_null(w)) {
        LLM_TRY(format_schema(p, "structured_outputs.json",
                              "/structured_outputs/json", w));
    }

    LLM_TRY(api_member(p, f->name, v, "regex", API_STRING, &w));
    if (w) {
        LLM_TRY(
            format_source(p, "structured_outputs.regex", GEN_FORMAT_REGEX, w));
    }

    LLM_TRY(api_member(p, f->name, v, "grammar", API_STRING, &w));
    if (w) {
        LLM_TRY(
            format_source(p, "structured_outputs.grammar", SOURCE_GUESS, w));
    }

    w = json_object_get(v, "choice");
    if (w && !json_is_null(w)) {
        LLM_TRY(format_choice(p, "structured_outputs.choice", w));
    }

    LLM_TRY(api_member(p, f->name, v, "json_object", API_BOOLEAN, &w));
    if (w && json_is_true(w)) {
        LLM_TRY(format_set(p, "structured_outputs.json_object",
                           GEN_FORMAT_JSON_OBJECT));
    }

    return 0;
}


static int
format_set(parse_t *p, const char *param, int format)
{
    if (p->req->format != GEN_FORMAT_TEXT) {
        return gen_error(p->error, 400, "invalid_value", param,
                         "'%s' and '%s' cannot be used together.", param,
                         p->req->format_param);
    }

    p->req->format = format;
    p->req->format_param = param;

    return 0;
}


/* A schema in the body, or the text of one. */

static int
format_schema(parse_t *p, const char *param, const char *pointer, json_t *v)
{
    json_error_t error;
    json_t      *schema;

    if (!json_is_string(v)) {
        LLM_TRY(api_type(p, param, v, API_SCHEMA));
        LLM_TRY(format_set(p, param, GEN_FORMAT_JSON_SCHEMA));
        p->req->format_at = str_of(pointer);
        return 0;
    }

    schema = api_json(json_string_value(v), json_string_length(v),
                      JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);

    if (schema == NULL) {
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid '%s': not JSON: %.120s at byte %zu.", param,
                         error.text, api_json_at(&error, json_string_value(v)));
    }

    json_decref(schema);
    LLM_TRY(format_set(p, param, GEN_FORMAT_JSON_SCHEMA));
    p->req->format_text = api_str(v);

    return 0;
}


static int
format_source(parse_t *p, const char *param, int format, json_t *v)
{
    str_t text;

    LLM_TRY(api_type(p, param, v, API_STRING));
    text = api_str(v);

    if (text.len == 0) {
        return 0;
    }

    /* vLLM takes both syntaxes under one name; only GBNF has "::=". */
    if (format == SOURCE_GUESS) {
        format = memmem(text.s, text.len, "::=", 3) ? GEN_FORMAT_GBNF
                                                    : GEN_FORMAT_LARK;
    }

    LLM_TRY(format_set(p, param, format));
    p->req->format_text = text;

    return 0;
}


static int
format_choice(parse_t *p, const char *param, json_t *v)
{
    json_t *item;
    str_t  *list;
    size_t  i, n;

    LLM_TRY(api_type(p, param, v, API_ARRAY));
    n = json_array_size(v);

    if (n == 0 || n > FORMAT_CHOICES_MAX) {
        return gen_error(p->error, 400,
                         n ? "array_above_max_length" : "empty_array", param,
                         "Invalid '%s': %zu choices, not 1 to %d.", param, n,
                         FORMAT_CHOICES_MAX);
    }

    list = arena_get(&p->req->arena, n * sizeof(str_t));
    if (list == NULL) {
        return api_no_memory(p);
    }

    json_array_foreach(v, i, item)
    {
        if (!json_is_string(item)) {
            return api_wrong_type(p, api_param(p, "%s[%zu]", param, i),
                                  "a string", item);
        }

        list[i] = api_str(item);
    }

    LLM_TRY(format_set(p, param, GEN_FORMAT_CHOICE));
    p->req->format_list = list;
    p->req->n_format_list = (uint32_t) n;

    return 0;
}


static int
format_options(parse_t *p, const char *at, json_t *v)
{
    static const char *const orders[] = {"declared", "free", NULL};
    static const char *const spaces[] = {"compact", "single", "any", NULL};
    json_t                  *w = json_object_get(v, "order");

    if (w && !json_is_null(w)) {
        LLM_TRY(api_word(p, at, v, "order", orders, &p->req->order_free));
    }

    w = json_object_get(v, "whitespace");
    if (w && !json_is_null(w)) {
        LLM_TRY(api_word(p, at, v, "whitespace", spaces, &p->req->space));
    }

    return 0;
}


int
parse_effort(parse_t *p, const field_t *f, json_t *v)
{
    static const char *const words[] = {"none", "minimal", "low", "medium",
                                        "high", "xhigh",   "max", NULL};
    int                      word;

    (void) v;
    LLM_TRY(api_word(p, "", p->req->body, f->name, words, &word));
    p->req->effort = GEN_EFFORT_NONE + word;

    return 0;
}


/* Tokens; -1: as many as the model likes. */

int
parse_budget(parse_t *p, const field_t *f, json_t *v)
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

    p->req->has_budget = i >= 0;
    p->req->think_budget = i >= 0 ? (uint32_t) i : 0;

    return 0;
}
