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
#include "engine/serve/front_grammar_priv.h"

static int       args_refuse(fg_t *g, const gen_tool_t *tool, int rc);
static int       args_members(args_t *a);
static int       args_object(args_t *a);
static int       args_keywords(args_t *a);
static int       args_member(args_t *a, str_t name, const js_value_t *schema,
                             int required);
static int       args_is_note(const js_value_t *v);
static int       args_refs(args_t *a, const js_value_t *value, int depth);
static gr_node_t args_assemble(args_t *a);
static gr_node_t list_param(fg_t *g, str_t name, gr_node_t value);
static int       name_fits(const fg_t *g, str_t name);


int
fg_args(fg_t *g, const gen_tool_t *tool, const js_value_t *schema, str_t text,
        gr_node_t *node)
{
    args_t *a;
    int     rc;

    g->err[0] = '\0';

    if (g->f->args == CHAT_ARGS_JSON) {
        rc = gr_json_schema(g->gr, text.s, text.len, &g->json, node, g->err,
                            sizeof(g->err));
        return rc < 0 ? args_refuse(g, tool, rc) : 0;
    }

    if (g->args == NULL) {
        g->args = arena_get(&g->arena, sizeof(*a));
        if (g->args == NULL) {
            return args_refuse(g, tool, -ENOMEM);
        }
    }

    a = g->args;
    a->g = g;
    a->tool = tool;
    a->root = a->object = schema;
    a->n = 0;
    a->json = json_loadb(text.s, text.len, JSON_ALLOW_NUL, NULL);

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


/* The schema, of objects only. */

void
fg_args_text(const js_value_t *schema, buf_t *text)
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

    if (a->n == FG_ARGS_MAX) {
        snprintf(a->g->err, sizeof(a->g->err),
                 "#/properties: more than %d properties", FG_ARGS_MAX);
        return -E2BIG;
    }

    rc = fg_argument(a, schema, name, &value);

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
 * A property's schema as a text of its own, with the definitions that it may
 * refer to.  nested: of arrays and objects only.
 */

int
fg_argument_text(args_t *a, const js_value_t *schema, int nested, buf_t *text)
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

            if (args_is_note(v)) {
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


/* Members of a schema that say nothing about values; $schema is the root's. */

static int
args_is_note(const js_value_t *v)
{
    static const char *const notes[] = {"$schema", "description", "title",
                                        "default", "examples",    "$comment"};
    size_t                   i;

    for (i = 0; i < llm_countof(notes); i++) {
        if (str_eq((str_t){v->key, v->key_len}, str_of(notes[i]))) {
            return 1;
        }
    }

    return 0;
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
        one = tagged ? fg_parameter(g, a->names[i], a->values[i])
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

gr_node_t
fg_parameter(fg_t *g, str_t name, gr_node_t value)
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
