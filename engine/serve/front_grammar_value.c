/*
 * A value as its format writes it: what the schema says, in other clothes.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include "engine/grammar/js_schema.h"
#include "engine/grammar/js_type.h"
#include "engine/grammar/re_ecma.h"
#include "engine/serve/front_grammar_priv.h"

static fg_known_t *args_known(fg_t *g, str_t text, unsigned types);
static int       args_value_new(args_t *a, const js_value_t *schema, str_t name,
                                unsigned types, const buf_t *text, gr_node_t *node);
static int       args_form(args_t *a, const buf_t *text, const jt_form_t **form,
                           jt_t **jt);
static int       value_tagged(args_t *a, str_t name, unsigned types,
                              const jt_form_t *form, gr_node_t json, gr_node_t *node);
static gr_node_t value_typed(fg_t *g, re_t type, gr_node_t value);
static re_t      value_type(fg_t *g, unsigned types);
static gr_node_t value_quoted(args_t *a, const jt_form_t *form, gr_node_t json);
static re_t      tagged_text(fg_t *g, re_t texts, int mixed);
static re_t      text_without(fg_t *g, re_t texts, const char *s, size_t len);
static int       custom_text(fg_t *g, const gen_tool_t *tool, int quoted,
                             gr_node_t *node);


/*
 * VALUES
 */

int
fg_argument(args_t *a, const js_value_t *schema, str_t name, gr_node_t *node)
{
    fg_t       *g = a->g;
    fg_known_t *known;
    buf_t       text = {0};
    unsigned    types = CHAT_TYPE_ANY;
    int         rc;

    if (g->f->args == CHAT_ARGS_TAGGED) {
        types = chat_format_types(a->json, name.s, name.len);
    }

    rc = fg_argument_text(a, schema, 0, &text);
    if (rc < 0) {
        buf_free(&text);
        return rc;
    }

    known = args_known(g, (str_t){text.data, text.len}, types);

    if (known && known->text.s) {
        *node = known->node;
        buf_free(&text);
        return 0;
    }

    rc = args_value_new(a, schema, name, types, &text, node);

    if (rc == 0 && known && g->n_known < FG_VALUES_MAX / 2) {
        known->text.s = arena_str(&g->arena, text.data, text.len);
        known->text.len = text.len;
        known->node = *node;
        g->n_known += known->text.s != NULL;
    }

    buf_free(&text);

    return rc;
}


/* The text's place in the table: what is known, or where it is to be put. */

static fg_known_t *
args_known(fg_t *g, str_t text, unsigned types)
{
    uint64_t hash = XXH3_64bits_withSeed(text.s, text.len, types);
    uint32_t i = (uint32_t) hash & (FG_VALUES_MAX - 1);

    if (g->known == NULL) {
        g->known = arena_get(&g->arena, FG_VALUES_MAX * sizeof(fg_known_t));
        if (g->known == NULL) {
            return NULL;
        }
    }

    while (g->known[i].text.s
           && (g->known[i].hash != hash || g->known[i].types != types
               || !str_eq(g->known[i].text, text))) {
        i = (i + 1) & (FG_VALUES_MAX - 1);
    }

    if (g->known[i].text.s == NULL) {
        g->known[i].hash = hash;
        g->known[i].types = types;
    }

    return &g->known[i];
}


static int
args_value_new(args_t *a, const js_value_t *schema, str_t name, unsigned types,
               const buf_t *text, gr_node_t *node)
{
    const jt_form_t *form;
    gr_node_t        json = GR_NONE;
    fg_t            *g = a->g;
    jt_t            *jt = NULL;
    buf_t            nested = {0};
    int              rc, quoted = g->f->args != CHAT_ARGS_TAGGED;

    rc = args_form(a, text, &form, &jt);

    if (rc == 0 && !quoted && types != CHAT_TYPE_STRING) {
        rc = gr_json_schema(g->gr, text->data, text->len, &g->json, &json,
                            g->err, sizeof(g->err));
    }

    if (rc == 0 && quoted && (form->n_arrays || form->n_objects)) {
        rc = fg_argument_text(a, schema, 1, &nested);
        if (rc == 0) {
            rc = gr_json_schema(g->gr, nested.data, nested.len, &g->json, &json,
                                g->err, sizeof(g->err));
        }
    }

    if (rc == 0) {
        if (quoted) {
            *node = value_quoted(a, form, json);
        } else {
            rc = value_tagged(a, name, types, form, json, node);
        }
    }

    if (jt) {
        jt_free(jt);
    }

    buf_free(&nested);

    return rc;
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
value_tagged(args_t *a, str_t name, unsigned types, const jt_form_t *form,
             gr_node_t json, gr_node_t *node)
{
    fg_t     *g = a->g;
    int       typed = strstr(g->f->param, "%t") != NULL;
    unsigned  others = types & ~(unsigned) CHAT_TYPE_STRING;
    gr_node_t list[2];
    uint32_t  n = 0;

    if ((types & CHAT_TYPE_STRING) && form->string != RE_NONE) {
        list[n] =
            gr_text(g->gr, tagged_text(g, form->string, others && !typed));
        if (list[n] != GR_NONE && typed) {
            list[n] = value_typed(g, value_type(g, CHAT_TYPE_STRING), list[n]);
        }

        n += list[n] != GR_NONE;
    }

    if (others && json != GR_NONE) {
        list[n++] = typed ? value_typed(g, value_type(g, others), json) : json;
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


/* Where the type is told: it, what stands behind it, and the value. */

static gr_node_t
value_typed(fg_t *g, re_t type, gr_node_t value)
{
    const char *s = strstr(g->f->param, "%t") + 2;
    gr_node_t   list[2];

    list[0] = gr_text(g->gr, re_concat(g->re, type,
                                       fg_tag(g, s, strcspn(s, "%"), NULL)));
    list[1] = value;

    return gr_seq(g->gr, list, 2);
}


static re_t
value_type(fg_t *g, unsigned types)
{
    static const struct {
        unsigned    type;
        const char *word;
    } words[] = {{CHAT_TYPE_STRING, "string"},   {CHAT_TYPE_NUMBER, "number"},
                 {CHAT_TYPE_BOOLEAN, "boolean"}, {CHAT_TYPE_NULL, "null"},
                 {CHAT_TYPE_OBJECT, "object"},   {CHAT_TYPE_ARRAY, "array"}};
    re_t   re = RE_NONE;
    size_t i;

    if (strstr(g->f->param, "string=\"")) {
        return re_str(g->re, types == CHAT_TYPE_STRING ? "true" : "false");
    }

    for (i = 0; i < llm_countof(words); i++) {
        if (types & words[i].type) {
            re = re_or(g->re, re, re_str(g->re, words[i].word));
        }
    }

    return re;
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
            list[1] = value_typed(g, value_type(g, CHAT_TYPE_STRING), list[1]);
        }

        *node = fg_parameter(g, input, list[1]);
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
