/*
 * What a call takes, as its format writes it.
 *
 * JSON: the schema as it is.  Other formats write an object's members one by
 * one: in declared order, required ones always, and none that the schema does
 * not name.  Each value is then a grammar of its own: a string as the format
 * writes strings, what is in no other way to be written as JSON.  Keywords
 * that bind members to each other cannot be kept so and are refused by name.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/js_schema.h"
#include "engine/grammar/js_type.h"
#include "engine/grammar/re_ecma.h"
#include "engine/serve/front_grammar_priv.h"

#define ARGS_MEMBERS_MAX 1024

/* A tool's parameters on their way to members. */
typedef struct {
    fg_t             *g;
    const gen_tool_t *tool;
    const js_value_t *root;   /* the schema */
    const js_value_t *object; /* what it says of the object */
    json_t           *json;   /* the schema, for the parser's question */
    str_t             names[ARGS_MEMBERS_MAX];
    gr_node_t         values[ARGS_MEMBERS_MAX];
    uint8_t           required[ARGS_MEMBERS_MAX];
    uint32_t          n;
} args_t;

static int  args_json(fg_t *g, const gen_tool_t *tool, const js_value_t *schema,
                      gr_node_t *node);
static void args_object_text(const js_value_t *schema, buf_t *text);
static int  args_refuse(fg_t *g, const gen_tool_t *tool, int rc);
static int  args_members(args_t *a);
static int  args_object(args_t *a);
static int  args_keywords(args_t *a);
static int  args_member(args_t *a, str_t name, const js_value_t *schema,
                        int required);
static int  args_sub_text(args_t *a, const js_value_t *schema, int nested,
                          buf_t *text);
static int  args_refs(args_t *a, const js_value_t *value, int depth);
static int  args_value(args_t *a, const js_value_t *schema, str_t name,
                       gr_node_t *node);
static int  args_form(args_t *a, const buf_t *text, const jt_form_t **form,
                      jt_t **jt);
static int  value_tagged(args_t *a, str_t name, const jt_form_t *form,
                         gr_node_t json, gr_node_t *node);
static gr_node_t value_quoted(args_t *a, const jt_form_t *form, gr_node_t json);
static gr_node_t args_assemble(args_t *a);
static gr_node_t tagged_param(fg_t *g, str_t name, gr_node_t value);
static gr_node_t list_param(fg_t *g, str_t name, gr_node_t value);
static re_t      tagged_text(fg_t *g, re_t texts, int mixed);
static re_t      text_without(fg_t *g, re_t texts, const char *s, size_t len);
static int       name_fits(const fg_t *g, str_t name);
static int       custom_text(fg_t *g, const gen_tool_t *tool, int quoted,
                             gr_node_t *node);


int
fg_args(fg_t *g, const gen_tool_t *tool, const js_value_t *schema,
        gr_node_t *node)
{
    args_t *a;
    char   *text;
    buf_t   buf = {0};
    int     rc;

    g->err[0] = '\0';

    if (g->f->args == CHAT_ARGS_JSON) {
        rc = args_json(g, tool, schema, node);
        return rc < 0 ? args_refuse(g, tool, rc) : 0;
    }

    a = arena_get(&g->arena, sizeof(*a));
    if (a == NULL) {
        return args_refuse(g, tool, -ENOMEM);
    }

    *a = (args_t){.g = g, .tool = tool, .root = schema, .object = schema};

    if (schema) {
        js_print(&buf, schema);
        text = buf.data;
        a->json = text ? json_loadb(text, buf.len, JSON_ALLOW_NUL, NULL) : NULL;
        buf_free(&buf);
    }

    rc = args_members(a);
    json_decref(a->json);

    if (rc < 0) {
        return args_refuse(g, tool, rc);
    }

    *node = args_assemble(a);

    return 0;
}


static int
args_refuse(fg_t *g, const gen_tool_t *tool, int rc)
{
    char what[128];

    snprintf(what, sizeof(what), "schema for function '%.64s'", tool->name.s);

    return fg_refuse_at(g, rc, tool->schema.s ? tool->schema : tool->at, what);
}


static int
args_json(fg_t *g, const gen_tool_t *tool, const js_value_t *schema,
          gr_node_t *node)
{
    buf_t text = {0};
    int   rc;

    (void) tool;

    args_object_text(schema, &text);

    rc = text.failed ? -ENOMEM
                     : gr_json_schema(g->gr, text.data, text.len, &g->json,
                                      node, g->err, sizeof(g->err));
    buf_free(&text);

    return rc;
}


/* The schema, of objects only. */

static void
args_object_text(const js_value_t *schema, buf_t *text)
{
    uint32_t i;

    if (schema && schema->type == JS_BOOLEAN && !schema->truth) {
        buf_str(text, "false");
        return;
    }

    buf_str(text, "{\"type\":\"object\"");

    for (i = 0; schema && schema->type == JS_OBJECT && i < schema->n; i++) {
        const js_value_t *v = &schema->items[i];

        if (str_eq((str_t){v->key, v->key_len}, str_lit("type"))) {
            continue;
        }

        buf_str(text, ",");
        buf_json(text, v->key, v->key_len);
        buf_str(text, ":");
        js_print(text, v);
    }

    buf_str(text, "}");
}


/*
 * MEMBERS
 */

static int
args_members(args_t *a)
{
    const js_value_t *properties, *required, *more, *v;
    uint32_t          i, k;
    str_t             name;

    if (a->object == NULL || a->object->type == JS_BOOLEAN) {
        return a->object && !a->object->truth ? -ENOENT : 0;
    }

    LLM_TRY(args_object(a));
    LLM_TRY(args_keywords(a));

    properties = js_get(a->object, "properties");
    required = js_get(a->object, "required");
    more = js_get(a->object, "additionalProperties");

    for (i = 0; properties && i < properties->n; i++) {
        v = &properties->items[i];
        name = (str_t){v->key, v->key_len};

        for (k = 0; required && required->type == JS_ARRAY && k < required->n;
             k++) {
            if (str_eq(js_str(&required->items[k]), name)) {
                break;
            }
        }

        LLM_TRY(args_member(a, name, v,
                            required && required->type == JS_ARRAY
                                && k < required->n));
    }

    /* Names that are only required. */
    for (k = 0; required && required->type == JS_ARRAY && k < required->n;
         k++) {
        name = js_str(&required->items[k]);

        if (properties == NULL
            || js_member(properties, name.s, name.len) == NULL) {
            LLM_TRY(args_member(a, name, more, 1));
        }
    }

    return gr_failed(a->g->gr, NULL);
}


/* Parameters that are a reference and nothing else. */

static int
args_object(args_t *a)
{
    const js_value_t *ref, *defs;
    const char       *s;
    int               i;

    for (i = 0; i < 16; i++) {
        ref = js_get(a->object, "$ref");
        if (ref == NULL || ref->type != JS_STRING) {
            return 0;
        }

        s = ref->s;
        defs = strncmp(s, "#/$defs/", 8) == 0 ? js_get(a->root, "$defs")
               : strncmp(s, "#/definitions/", 14) == 0
                   ? js_get(a->root, "definitions")
                   : NULL;
        s = strrchr(s, '/');

        if (defs == NULL || defs->type != JS_OBJECT
            || js_get(a->object, "properties")
            || (a->object = js_get(defs, s + 1)) == NULL
            || a->object->type != JS_OBJECT) {
            break;
        }
    }

    snprintf(a->g->err, sizeof(a->g->err),
             "#/$ref: the form of this model's calls takes objects with "
             "properties, not references");

    return -ENOTSUP;
}


static int
args_keywords(args_t *a)
{
    static const char *const no[] = {"patternProperties",
                                     "propertyNames",
                                     "dependencies",
                                     "dependentRequired",
                                     "dependentSchemas",
                                     "allOf",
                                     "anyOf",
                                     "oneOf",
                                     "not",
                                     "if",
                                     "const",
                                     "enum",
                                     "minProperties",
                                     "maxProperties",
                                     "$dynamicRef",
                                     "$recursiveRef",
                                     "unevaluatedProperties"};
    const js_value_t        *v;
    size_t                   i;

    for (i = 0; i < llm_countof(no); i++) {
        v = js_get(a->object, no[i]);

        /* Nothing is written that is not named. */
        if (v == NULL || (strcmp(no[i], "unevaluatedProperties") == 0)) {
            continue;
        }

        snprintf(a->g->err, sizeof(a->g->err),
                 "#/%s: cannot be kept in the form of this model's calls (%s)",
                 no[i], chat_format_name(a->g->f));
        return -ENOTSUP;
    }

    return 0;
}


static int
args_member(args_t *a, str_t name, const js_value_t *schema, int required)
{
    gr_node_t value = GR_NONE;
    int       rc;

    if (schema && schema->type == JS_BOOLEAN && !schema->truth) {
        if (required) {
            snprintf(a->g->err, sizeof(a->g->err),
                     "#/required: no value is allowed for '%.64s'", name.s);
        }
        return required ? -ENOENT : 0;
    }

    if (!name_fits(a->g, name)) {
        snprintf(a->g->err, sizeof(a->g->err),
                 "#/properties: the name '%.64s' cannot be written in the form "
                 "of this model's calls",
                 name.s);
        return -ENOTSUP;
    }

    if (a->n == ARGS_MEMBERS_MAX) {
        snprintf(a->g->err, sizeof(a->g->err),
                 "#/properties: more than %d properties", ARGS_MEMBERS_MAX);
        return -E2BIG;
    }

    rc = args_value(a, schema, name, &value);

    /* A property that cannot be is left out. */
    if (rc == -ENOENT && !required) {
        a->g->err[0] = '\0';
        return 0;
    }

    LLM_TRY(rc);

    a->names[a->n] = name;
    a->values[a->n] = value;
    a->required[a->n++] = required != 0;

    return 0;
}


/*
 * VALUES
 */

static int
args_value(args_t *a, const js_value_t *schema, str_t name, gr_node_t *node)
{
    const jt_form_t *form;
    gr_node_t        json = GR_NONE;
    buf_t            text = {0};
    jt_t            *jt = NULL;
    fg_t            *g = a->g;
    int              rc, need, quoted = g->f->args != CHAT_ARGS_TAGGED;

    rc = args_sub_text(a, schema, 0, &text);
    if (rc == 0) {
        rc = args_form(a, &text, &form, &jt);
    }

    if (rc == 0) {
        need = quoted ? form->n_arrays || form->n_objects
                      : chat_format_types(a->json, name.s, name.len)
                            != CHAT_TYPE_STRING;

        buf_reset(&text);
        rc = need ? args_sub_text(a, schema, quoted, &text) : 0;

        if (rc == 0 && need) {
            rc = gr_json_schema(g->gr, text.data, text.len, &g->json, &json,
                                g->err, sizeof(g->err));
        }
    }

    if (rc == 0) {
        if (quoted) {
            *node = value_quoted(a, form, json);
        } else {
            rc = value_tagged(a, name, form, json, node);
        }
    }

    if (jt) {
        jt_free(jt);
    }

    buf_free(&text);

    return rc;
}


/*
 * A property's schema as a text of its own, with the definitions that it may
 * refer to.  nested: of arrays and objects only.
 */

static int
args_sub_text(args_t *a, const js_value_t *schema, int nested, buf_t *text)
{
    static const char *const keep[] = {"$schema", "$defs", "definitions"};
    const js_value_t        *v;
    int                      refs, first = 1;
    uint32_t                 i;

    refs = schema ? args_refs(a, schema, 0) : 0;
    LLM_TRY(refs);

    buf_str(text, "{");

    for (i = 0; i < llm_countof(keep); i++) {
        v = js_get(a->root, keep[i]);
        if (v == NULL || (i && !refs)) {
            continue;
        }

        if (i) {
            LLM_TRY(args_refs(a, v, 0));

            if (js_get(schema, keep[i])) {
                snprintf(a->g->err, sizeof(a->g->err),
                         "#/properties: definitions within a property, with "
                         "references, cannot be kept in the form of this "
                         "model's calls");
                return -ENOTSUP;
            }
        }

        buf_str(text, first ? "" : ",");
        buf_json(text, keep[i], strlen(keep[i]));
        buf_str(text, ":");
        js_print(text, v);
        first = 0;
    }

    if (nested) {
        buf_str(text, first ? "" : ",");
        buf_str(text, "\"type\":[\"array\",\"object\"],\"allOf\":[");
        if (schema) {
            js_print(text, schema);
        } else {
            buf_str(text, "true");
        }
        buf_str(text, "]");

    } else if (schema && schema->type == JS_OBJECT) {
        for (i = 0; i < schema->n; i++) {
            v = &schema->items[i];

            if (str_eq((str_t){v->key, v->key_len}, str_lit("$schema"))) {
                continue;
            }

            buf_str(text, first ? "" : ",");
            buf_json(text, v->key, v->key_len);
            buf_str(text, ":");
            js_print(text, v);
            first = 0;
        }
    }

    buf_str(text, "}");

    return text->failed ? -ENOMEM : 0;
}


/* 1: there are references, and they lead into definitions; 0: none. */

static int
args_refs(args_t *a, const js_value_t *value, int depth)
{
    uint32_t i;
    int      rc, any = 0;

    if (value->type != JS_OBJECT && value->type != JS_ARRAY) {
        if (value->type != JS_STRING || value->key_len < 4 || value->key == NULL
            || value->key[0] != '$'
            || !(str_eq((str_t){value->key, value->key_len}, str_lit("$ref"))
                 || str_eq((str_t){value->key, value->key_len},
                           str_lit("$dynamicRef"))
                 || str_eq((str_t){value->key, value->key_len},
                           str_lit("$recursiveRef")))) {
            return 0;
        }

        if (strncmp(value->s, "#/$defs/", 8) == 0
            || strncmp(value->s, "#/definitions/", 14) == 0) {
            return 1;
        }

        snprintf(a->g->err, sizeof(a->g->err),
                 "%.*s '%.100s': only references to #/$defs/ and "
                 "#/definitions/ can be kept in the form of this model's calls",
                 (int) value->key_len, value->key, value->s);
        return -ENOTSUP;
    }

    if (depth > 512) {
        return -E2BIG;
    }

    for (i = 0; i < value->n; i++) {
        rc = args_refs(a, &value->items[i], depth + 1);
        LLM_TRY(rc);
        any |= rc;
    }

    return any;
}


static int
args_form(args_t *a, const buf_t *text, const jt_form_t **form, jt_t **jt)
{
    fg_t        *g = a->g;
    jt_options_t options = {0};
    js_schema_t *schema;
    jt_type_t    type;
    int          rc;

    LLM_TRY(js_schema_open(text->data, text->len, NULL, &schema, g->err,
                           sizeof(g->err)));
    rc = jt_new(g->gr, schema, &options, jt);
    LLM_TRY(rc);

    type = jt_of_node(*jt, js_schema_root(schema));
    rc = jt_empty(*jt, type);

    if (rc == 1) {
        snprintf(g->err, sizeof(g->err), "no value satisfies it");
        return -ENOENT;
    }

    if (rc == 0) {
        rc = jt_form(*jt, type, form);
    }

    if (rc < 0) {
        snprintf(g->err, sizeof(g->err), "%s", jt_error(*jt));
    }

    return rc;
}


/* A string as it is, all else as JSON; the parser tells them apart. */

static int
value_tagged(args_t *a, str_t name, const jt_form_t *form, gr_node_t json,
             gr_node_t *node)
{
    fg_t       *g = a->g;
    unsigned    types = chat_format_types(a->json, name.s, name.len);
    int         typed = strstr(g->f->param, "%t") != NULL;
    int         others = (types & ~(unsigned) CHAT_TYPE_STRING) != 0;
    gr_node_t   list[2];
    uint32_t    n = 0;
    const char *open = strstr(g->f->param, "string=") ? "true" : "string";
    re_t        word;

    if ((types & CHAT_TYPE_STRING) && form->string != RE_NONE) {
        list[n] =
            gr_text(g->gr, tagged_text(g, form->string, others && !typed));
        if (list[n] != GR_NONE) {
            n++;
        }
    }

    if (n && typed) {
        gr_node_t pair[2] = {gr_literal(g->gr, open, strlen(open)), list[0]};

        /* What stands between %t and %v. */
        const char *s = strstr(g->f->param, "%t") + 2;
        gr_node_t   all[3] = {pair[0],
                              gr_text(g->gr, fg_tag(g, s, strcspn(s, "%"), NULL)),
                              pair[1]};

        list[0] = gr_seq(g->gr, all, 3);
    }

    if (others && json != GR_NONE) {
        if (typed) {
            const char *s = strstr(g->f->param, "%t") + 2;
            gr_node_t   all[3];

            if (open[0] == 't') {
                word = re_str(g->re, "false");
            } else {
                word = RE_NONE;
                if (types & CHAT_TYPE_NUMBER) {
                    word = re_or(g->re, word, re_str(g->re, "number"));
                }
                if (types & CHAT_TYPE_BOOLEAN) {
                    word = re_or(g->re, word, re_str(g->re, "boolean"));
                }
                if (types & CHAT_TYPE_NULL) {
                    word = re_or(g->re, word, re_str(g->re, "null"));
                }
                if (types & CHAT_TYPE_OBJECT) {
                    word = re_or(g->re, word, re_str(g->re, "object"));
                }
                if (types & CHAT_TYPE_ARRAY) {
                    word = re_or(g->re, word, re_str(g->re, "array"));
                }
            }

            all[0] = gr_text(g->gr, word);
            all[1] = gr_text(g->gr, fg_tag(g, s, strcspn(s, "%"), NULL));
            all[2] = json;
            json = gr_seq(g->gr, all, 3);
        }

        list[n++] = json;
    }

    if (n == 0) {
        snprintf(g->err, sizeof(g->err),
                 "#/properties/%.64s: no value of it can be written in the "
                 "form of this model's calls",
                 name.s);
        return -ENOENT;
    }

    *node = gr_alt(g->gr, list, n);

    return 0;
}


/* Python's literals, or values in braces: strings have quotes there. */

static gr_node_t
value_quoted(args_t *a, const jt_form_t *form, gr_node_t json)
{
    fg_t       *g = a->g;
    int         python = g->f->args == CHAT_ARGS_PYTHON;
    const char *quote = python ? "\"" : g->f->quote;
    re_t        scalars = form->number, text, tag;
    gr_node_t   list[2];
    uint32_t    n = 0;

    if (form->string != RE_NONE) {
        if (python) {
            text = re_quoted(g->re, form->string);
            tag = re_str(g->re, "\"");
        } else {
            text = text_without(g, form->string, quote, strlen(quote));
            tag = fg_tag(g, quote, strlen(quote), NULL);
        }

        scalars = re_or(g->re, scalars,
                        re_concat(g->re, tag, re_concat(g->re, text, tag)));
    }

    if (form->literals & JT_NULL) {
        scalars =
            re_or(g->re, scalars, re_str(g->re, python ? "None" : "null"));
    }

    if (form->literals & JT_TRUE) {
        scalars =
            re_or(g->re, scalars, re_str(g->re, python ? "True" : "true"));
    }

    if (form->literals & JT_FALSE) {
        scalars =
            re_or(g->re, scalars, re_str(g->re, python ? "False" : "false"));
    }

    if (scalars != RE_NONE) {
        list[n++] = gr_text(g->gr, scalars);
    }

    if (json != GR_NONE) {
        list[n++] = json;
    }

    return gr_alt(g->gr, list, n);
}


/*
 * ASSEMBLY
 */

static gr_node_t
args_assemble(args_t *a)
{
    fg_t       *g = a->g;
    gr_node_t   first, next, with[2], ways[2], one;
    int         tagged = g->f->args == CHAT_ARGS_TAGGED;
    const char *comma = g->f->args == CHAT_ARGS_PYTHON ? ", " : ",";
    const char *close = g->f->args == CHAT_ARGS_BRACE ? "}" : "";
    uint32_t    i = a->n, rule;

    /* From the last member to the first: what may follow, when nothing has
     * come yet and when something has. */
    first = next = gr_literal(g->gr, close, strlen(close));

    while (i-- > 0) {
        one = tagged ? tagged_param(g, a->names[i], a->values[i])
                     : list_param(g, a->names[i], a->values[i]);

        rule = gr_rule_new(g->gr);
        gr_rule_set(g->gr, rule, next);
        next = gr_rule(g->gr, rule);

        with[0] = one;
        with[1] = next;
        ways[0] = gr_seq(g->gr, with, 2);
        ways[1] = first;
        first = gr_alt(g->gr, ways, a->required[i] ? 1 : 2);

        if (tagged) {
            next = first;
            continue;
        }

        with[0] = gr_literal(g->gr, comma, strlen(comma));
        with[1] = ways[0];
        ways[0] = gr_seq(g->gr, with, 2);
        ways[1] = next;
        next = gr_alt(g->gr, ways, a->required[i] ? 1 : 2);
    }

    if (g->f->args != CHAT_ARGS_BRACE) {
        return first;
    }

    with[0] = gr_literal(g->gr, "{", 1);
    with[1] = first;

    return gr_seq(g->gr, with, 2);
}


/* One parameter; with %t its type is in the value's node. */

static gr_node_t
tagged_param(fg_t *g, str_t name, gr_node_t value)
{
    const char *s = g->f->param, *end;
    gr_node_t   list[16];
    uint32_t    n = 0;
    size_t      len;

    while (*s && n + 2 < llm_countof(list)) {
        len = strcspn(s, "%");
        if (len) {
            list[n++] = gr_text(g->gr, fg_tag(g, s, len, NULL));
            s += len;
            continue;
        }

        if (s[1] == 'k') {
            list[n++] = gr_literal(g->gr, name.s, name.len);

        } else {
            list[n++] = value;
            end = strstr(s, "%v");
            s = end ? end : s;
        }

        s += 2;
    }

    return gr_seq(g->gr, list, n);
}


static gr_node_t
list_param(fg_t *g, str_t name, gr_node_t value)
{
    gr_node_t list[3];

    list[0] = gr_literal(g->gr, name.s, name.len);
    list[1] = gr_literal(g->gr, g->f->args == CHAT_ARGS_PYTHON ? "=" : ":", 1);
    list[2] = value;

    return gr_seq(g->gr, list, 3);
}


/*
 * Texts that can stand between a parameter's tags.  mixed: other types may
 * stand there too, so what looks like one is not a string.
 */

static re_t
tagged_text(fg_t *g, re_t texts, int mixed)
{
    static const uint64_t space[4] = {1ull << ' ' | 1ull << '\t' | 1ull << '\n'
                                      | 1ull << '\r'};
    static const uint64_t open[4] = {1ull << '"',
                                     1ull << ('{' - 64) | 1ull << ('[' - 64)};
    re_number_t           any = {.flags = RE_NUMBER_EXPONENT};
    const char           *s = strstr(g->f->param, "%v") + 2;
    re_t                  gap, scalars, number = RE_NONE;
    size_t                len = strcspn(s, "%");
    char                  err[64];

    while (len && strchr(" \n", *s)) {
        s++;
        len--;
    }

    while (len && strchr(" \n", s[len - 1])) {
        len--;
    }

    texts = text_without(g, texts, s, len);

    if (g->f->cdata) {
        texts = re_and(g->re, texts,
                       re_not(g->re, re_run(g->re, "<![CDATA[", 9, RE_ALL)));
    }

    if (!mixed) {
        return texts;
    }

    gap = re_repeat(g->re, re_class(g->re, space), 0, RE_INF);

    if (re_number(g->re, &any, &number, err, sizeof(err)) < 0) {
        return RE_NONE;
    }

    scalars = re_or(g->re, number, re_str(g->re, "null"));
    scalars = re_or(g->re, scalars, re_str(g->re, "true"));
    scalars = re_or(g->re, scalars, re_str(g->re, "false"));
    scalars = re_concat(g->re, gap, re_concat(g->re, scalars, gap));
    scalars = re_or(g->re, scalars,
                    re_concat(g->re, gap,
                              re_concat(g->re, re_class(g->re, open), RE_ALL)));

    return re_and(g->re, texts, re_not(g->re, scalars));
}


static re_t
text_without(fg_t *g, re_t texts, const char *s, size_t len)
{
    re_t has = re_concat(g->re, RE_ALL, re_run(g->re, s, len, RE_ALL));

    return re_and(g->re, texts, re_not(g->re, has));
}


/* Can the name stand where the format has names? */

static int
name_fits(const fg_t *g, str_t name)
{
    const char *s = g->f->param ? strstr(g->f->param, "%k") + 2 : NULL;
    size_t      i, len;

    if (name.len == 0 || name.len > 1000) {
        return 0;
    }

    if (s) {
        len = strcspn(s, "% \n");
        return memmem(name.s, name.len, s, len) == NULL
               && memchr(name.s, s[0], name.len) == NULL;
    }

    for (i = 0; i < name.len; i++) {
        if ((uint8_t) name.s[i] <= ' ' || strchr("()[]{},:=\"'<>", name.s[i])) {
            return 0;
        }
    }

    return 1;
}


/*
 * CUSTOM TOOLS: a text, or what a grammar makes, as the one argument "input".
 */

int
fg_custom(fg_t *g, const gen_tool_t *tool, gr_node_t *node)
{
    static const str_t input = str_lit("input");
    const char        *quote = "\"";
    gr_node_t          list[3];
    str_t              at;
    buf_t              pointer = {0};
    re_t               tag;
    int                rc, quoted;

    quoted = g->f->args == CHAT_ARGS_JSON || g->f->args == CHAT_ARGS_PYTHON;
    g->err[0] = '\0';
    rc = custom_text(g, tool, quoted, &list[1]);

    if (rc < 0) {
        buf_add(&pointer, tool->at.s, tool->at.len);
        buf_str(&pointer, "/custom/format/grammar/definition");
        at = (str_t){pointer.data, pointer.len};
        rc = fg_refuse_at(g, rc, at, "grammar");
        buf_free(&pointer);
        return rc;
    }

    if (g->f->args == CHAT_ARGS_TAGGED) {
        if (strstr(g->f->param, "%t")) {
            const char *s = strstr(g->f->param, "%t") + 2;

            list[2] = list[1];
            list[0] = strstr(g->f->param, "string=")
                          ? gr_literal(g->gr, "true", 4)
                          : gr_literal(g->gr, "string", 6);
            list[1] = gr_text(g->gr, fg_tag(g, s, strcspn(s, "%"), NULL));
            list[1] = gr_seq(g->gr, list, 3);
        }

        *node = tagged_param(g, input, list[1]);
        return 0;
    }

    if (g->f->args == CHAT_ARGS_BRACE) {
        quote = g->f->quote;
    }

    tag = fg_tag(g, quote, strlen(quote), NULL);
    list[0] = gr_text(
        g->gr,
        re_concat(g->re,
                  re_str(g->re, g->f->args == CHAT_ARGS_JSON
                                    ? (g->json.space == GR_SPACE_COMPACT
                                           ? "{\"input\":"
                                           : "{\"input\": ")
                                : g->f->args == CHAT_ARGS_PYTHON ? "input="
                                                                 : "{input:"),
                  tag));
    list[2] = gr_text(g->gr, re_concat(g->re, tag,
                                       g->f->args == CHAT_ARGS_PYTHON
                                           ? RE_EMPTY
                                           : re_str(g->re, "}")));
    *node = gr_seq(g->gr, list, 3);

    return 0;
}


/*
 * The text.  Where it stands in tags or quotes that cannot be escaped, a text
 * with them in it cannot be said; of a Lark grammar it is not known whether
 * it has one.
 */

static int
custom_text(fg_t *g, const gen_tool_t *tool, int quoted, gr_node_t *node)
{
    const char *s = g->f->quote;
    re_t        texts = RE_TEXT;
    int         rc;

    if (tool->syntax == GEN_SYNTAX_LARK) {
        gr_quoting(g->gr, quoted);
        rc = gr_lark(g->gr, tool->definition.s, tool->definition.len, node,
                     g->err, sizeof(g->err));
        gr_quoting(g->gr, 0);

        return rc < 0 ? rc : gr_failed(g->gr, NULL);
    }

    if (tool->syntax == GEN_SYNTAX_REGEX) {
        LLM_TRY(re_ecma_whole(g->re, tool->definition.s, tool->definition.len,
                              &texts, g->err, sizeof(g->err)));
    }

    if (quoted) {
        texts = re_quoted(g->re, texts);

    } else if (g->f->args == CHAT_ARGS_TAGGED) {
        texts = tagged_text(g, texts, 0);

    } else {
        texts = text_without(g, texts, s, strlen(s));
    }

    if (re_is_none(g->re, texts, 0) == RE_YES) {
        snprintf(g->err, sizeof(g->err), "no text satisfies it");
        return -ENOENT;
    }

    *node = gr_text(g->gr, texts);

    return 0;
}
