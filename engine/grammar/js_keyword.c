/*
 * Keywords: their names, drafts, vocabularies and the form of their values;
 * see js_schema.h.  Called while a schema is opened, by its thread.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/js_format.h"
#include "engine/grammar/js_schema_priv.h"

/* Walked for what lies in them, or become another keyword. */
#define KW_DEFS             (JS_KW_COUNT)
#define KW_ADDITIONAL_ITEMS (JS_KW_COUNT + 1)

#define D4  JS_DRAFT_4
#define D6  JS_DRAFT_6
#define D7  JS_DRAFT_7
#define D19 JS_DRAFT_2019
#define D20 JS_DRAFT_2020
#define ANY JS_DRAFT_NONE

#define ALL     (D4 | D6 | D7 | D19 | D20 | ANY)
#define OLD     (D4 | D6 | D7 | ANY)
#define SINCE6  (D6 | D7 | D19 | D20 | ANY)
#define SINCE7  (D7 | D19 | D20 | ANY)
#define SINCE19 (D19 | D20 | ANY)

typedef int (*js_keyword_fn)(js_schema_t *schema, js_node_t *node,
                             js_keyword_t *k);

typedef struct {
    const char   *name;
    js_keyword_fn read;
    uint8_t       kw;
    uint8_t       drafts;
    uint8_t       vocabulary;
} js_keyword_def_t;

static int js_kw_any(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_bool(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_bound(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_count(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_defs(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_deps(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_format(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_items(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_list(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_map(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_more(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_number(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_one(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_pattern(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_patterns(js_schema_t *schema, js_node_t *node,
                          js_keyword_t *k);
static int js_kw_ref(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_requires(js_schema_t *schema, js_node_t *node,
                          js_keyword_t *k);
static int js_kw_strings(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_type(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_values(js_schema_t *schema, js_node_t *node, js_keyword_t *k);

static int js_kw_bad(js_schema_t *schema, const js_keyword_t *k,
                     const char *what);
static int js_kw_nodes(js_schema_t *schema, js_node_t *node, js_keyword_t *k);
static int js_kw_compile(js_schema_t *schema, js_keyword_t *k, uint32_t i,
                         str_t source);
static int js_keyword_order(const void *name, const void *def);

#define V_C JS_VOCAB_CORE
#define V_A JS_VOCAB_APPLICATOR
#define V_U JS_VOCAB_UNEVALUATED
#define V_V JS_VOCAB_VALIDATION
#define V_F JS_VOCAB_FORMAT

/* By name, in the order of bytes. */
static const js_keyword_def_t js_keywords[] = {
    {"$defs", js_kw_defs, KW_DEFS, SINCE19, V_C},
    {"$dynamicRef", js_kw_ref, JS_KW_DYNAMIC_REF, D20 | ANY, V_C},
    {"$recursiveRef", js_kw_ref, JS_KW_RECURSIVE_REF, D19 | ANY, V_C},
    {"$ref", js_kw_ref, JS_KW_REF, ALL, V_C},
    {"additionalItems", js_kw_more, KW_ADDITIONAL_ITEMS, OLD | D19, V_A},
    {"additionalProperties", js_kw_one, JS_KW_ADDITIONAL_PROPERTIES, ALL, V_A},
    {"allOf", js_kw_list, JS_KW_ALL_OF, ALL, V_A},
    {"anyOf", js_kw_list, JS_KW_ANY_OF, ALL, V_A},
    {"const", js_kw_any, JS_KW_CONST, SINCE6, V_V},
    {"contains", js_kw_one, JS_KW_CONTAINS, SINCE6, V_A},
    {"definitions", js_kw_defs, KW_DEFS, ALL, V_C},
    {"dependencies", js_kw_deps, JS_KW_DEPENDENCIES, OLD, V_A},
    {"dependentRequired", js_kw_requires, JS_KW_DEPENDENT_REQUIRED, SINCE19,
     V_V},
    {"dependentSchemas", js_kw_map, JS_KW_DEPENDENT_SCHEMAS, SINCE19, V_A},
    {"else", js_kw_one, JS_KW_ELSE, SINCE7, V_A},
    {"enum", js_kw_values, JS_KW_ENUM, ALL, V_V},
    {"exclusiveMaximum", js_kw_bound, JS_KW_EXCLUSIVE_MAXIMUM, ALL, V_V},
    {"exclusiveMinimum", js_kw_bound, JS_KW_EXCLUSIVE_MINIMUM, ALL, V_V},
    {"format", js_kw_format, JS_KW_FORMAT, ALL, V_F},
    {"if", js_kw_one, JS_KW_IF, SINCE7, V_A},
    {"items", js_kw_items, JS_KW_ITEMS, ALL, V_A},
    {"maxContains", js_kw_count, JS_KW_MAX_CONTAINS, SINCE19, V_V},
    {"maxItems", js_kw_count, JS_KW_MAX_ITEMS, ALL, V_V},
    {"maxLength", js_kw_count, JS_KW_MAX_LENGTH, ALL, V_V},
    {"maxProperties", js_kw_count, JS_KW_MAX_PROPERTIES, ALL, V_V},
    {"maximum", js_kw_number, JS_KW_MAXIMUM, ALL, V_V},
    {"minContains", js_kw_count, JS_KW_MIN_CONTAINS, SINCE19, V_V},
    {"minItems", js_kw_count, JS_KW_MIN_ITEMS, ALL, V_V},
    {"minLength", js_kw_count, JS_KW_MIN_LENGTH, ALL, V_V},
    {"minProperties", js_kw_count, JS_KW_MIN_PROPERTIES, ALL, V_V},
    {"minimum", js_kw_number, JS_KW_MINIMUM, ALL, V_V},
    {"multipleOf", js_kw_number, JS_KW_MULTIPLE_OF, ALL, V_V},
    {"not", js_kw_one, JS_KW_NOT, ALL, V_A},
    {"oneOf", js_kw_list, JS_KW_ONE_OF, ALL, V_A},
    {"pattern", js_kw_pattern, JS_KW_PATTERN, ALL, V_V},
    {"patternProperties", js_kw_patterns, JS_KW_PATTERN_PROPERTIES, ALL, V_A},
    {"prefixItems", js_kw_list, JS_KW_PREFIX_ITEMS, D20 | ANY, V_A},
    {"properties", js_kw_map, JS_KW_PROPERTIES, ALL, V_A},
    {"propertyNames", js_kw_one, JS_KW_PROPERTY_NAMES, SINCE6, V_A},
    {"required", js_kw_strings, JS_KW_REQUIRED, ALL, V_V},
    {"then", js_kw_one, JS_KW_THEN, SINCE7, V_A},
    {"type", js_kw_type, JS_KW_TYPE, ALL, V_V},
    {"unevaluatedItems", js_kw_one, JS_KW_UNEVALUATED_ITEMS, SINCE19, V_U},
    {"unevaluatedProperties", js_kw_one, JS_KW_UNEVALUATED_PROPERTIES, SINCE19,
     V_U},
    {"uniqueItems", js_kw_bool, JS_KW_UNIQUE_ITEMS, ALL, V_V},
};


static int
js_keyword_order(const void *name, const void *def)
{
    return strcmp(name, ((const js_keyword_def_t *) def)->name);
}


int
js_keyword_read(js_schema_t *schema, js_node_t *node, const js_value_t *member,
                js_keyword_t *k)
{
    const js_keyword_def_t *def;
    const js_resource_t    *resource = node->resource;

    if (strlen(member->key) != member->key_len) {
        return 0;
    }

    def = bsearch(member->key, js_keywords, llm_countof(js_keywords),
                  sizeof(js_keyword_def_t), js_keyword_order);

    if (def == NULL || (def->drafts & resource->draft) == 0
        || (def->vocabulary & resource->vocabularies) == 0) {
        return 0;
    }

    /* Up to draft 7 a $ref is alone, but for what others may refer to. */

    if ((resource->draft & (D4 | D6 | D7)) && def->kw != JS_KW_REF
        && def->kw != KW_DEFS && js_get(node->value, "$ref")
        && js_get(node->value, "$ref")->type == JS_STRING) {
        return 0;
    }

    k->kw = def->kw;
    k->value = member;

    return def->read(schema, node, k);
}


static int
js_kw_bad(js_schema_t *schema, const js_keyword_t *k, const char *what)
{
    return js_schema_fail(schema, -EINVAL, k->value, what, str_of(NULL));
}


static int
js_kw_any(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    return 1;
}


static int
js_kw_bool(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    if (k->value->type != JS_BOOLEAN) {
        return js_kw_bad(schema, k, "not true or false");
    }

    return k->value->truth;
}


static int
js_kw_number(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    const js_value_t *v = k->value;

    if (v->type != JS_NUMBER) {
        return js_kw_bad(schema, k, "not a number");
    }

    if (k->kw == JS_KW_MULTIPLE_OF
        && (v->decimal->n == 0 || v->decimal->negative)) {
        return js_kw_bad(schema, k, "not above 0");
    }

    return 1;
}


static int
js_kw_bound(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    uint32_t draft = node->resource->draft;

    if (k->value->type == JS_BOOLEAN && (draft & (D4 | ANY))) {
        return 1;
    }

    return js_kw_number(schema, node, k);
}


static int
js_kw_count(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    if (k->value->type != JS_NUMBER
        || js_decimal_u64(k->value->decimal, &k->count) < 0) {
        return js_kw_bad(schema, k, "not a non-negative integer");
    }

    return 1;
}


static int
js_kw_ref(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    if (k->value->type != JS_STRING) {
        return js_kw_bad(schema, k, "not a string");
    }

    return 1;
}


static int
js_kw_type(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    static const struct {
        const char *name;
        uint32_t    bits;
    } types[] = {{"null", 1u << JS_NULL},     {"boolean", 1u << JS_BOOLEAN},
                 {"number", 1u << JS_NUMBER}, {"string", 1u << JS_STRING},
                 {"array", 1u << JS_ARRAY},   {"object", 1u << JS_OBJECT},
                 {"integer", JS_TYPE_INTEGER}};
    const js_value_t *v = k->value, *item;
    uint32_t          i, t, n;

    n = v->type == JS_ARRAY ? v->n : 1;

    for (i = 0; i < n; i++) {
        item = v->type == JS_ARRAY ? &v->items[i] : v;

        for (t = 0; t < llm_countof(types); t++) {
            if (js_is(item, types[t].name)) {
                k->count |= types[t].bits;
                break;
            }
        }

        if (t == llm_countof(types)) {
            return js_schema_fail(schema, -EINVAL, item, "not a type",
                                  item->type == JS_STRING ? js_str(item)
                                                          : str_of(NULL));
        }
    }

    return 1;
}


static int
js_kw_values(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    return k->value->type == JS_ARRAY ? 1 : js_kw_bad(schema, k, "not a list");
}


static int
js_kw_strings(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    const js_value_t *v = k->value;
    uint32_t          i;

    if (v->type != JS_ARRAY) {
        return js_kw_bad(schema, k, "not a list of strings");
    }

    for (i = 0; i < v->n; i++) {
        if (v->items[i].type != JS_STRING) {
            return js_kw_bad(schema, k, "not a list of strings");
        }
    }

    return 1;
}


static int
js_kw_requires(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    js_keyword_t one = {0};
    uint32_t     i;

    if (k->value->type != JS_OBJECT) {
        return js_kw_bad(schema, k, "not an object");
    }

    for (i = 0; i < k->value->n; i++) {
        one.value = &k->value->items[i];
        LLM_TRY(js_kw_strings(schema, node, &one));
    }

    return 1;
}


static int
js_kw_format(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    if (k->value->type != JS_STRING) {
        return js_kw_bad(schema, k, "not a string");
    }

    k->count = (uint64_t) js_format_find(js_str(k->value));

    return k->count > 0;
}


static int
js_kw_one(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    LLM_TRY(js_node_make(schema, k->value, node->resource, &k->node));

    return 1;
}


static int
js_kw_nodes(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    const js_value_t *v = k->value;
    uint32_t          i;

    k->n = v->n;
    k->nodes = arena_get(&schema->arena, v->n * sizeof(js_node_t *) + 1);
    if (k->nodes == NULL) {
        return js_schema_fail(schema, -ENOMEM, v, "no memory", str_of(NULL));
    }

    for (i = 0; i < v->n; i++) {
        if (k->kw == JS_KW_DEPENDENCIES && v->items[i].type == JS_ARRAY) {
            continue;
        }

        LLM_TRY(
            js_node_make(schema, &v->items[i], node->resource, &k->nodes[i]));
    }

    return 1;
}


static int
js_kw_list(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    if (k->value->type != JS_ARRAY) {
        return js_kw_bad(schema, k, "not a list of schemas");
    }

    return js_kw_nodes(schema, node, k);
}


static int
js_kw_map(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    if (k->value->type != JS_OBJECT) {
        return js_kw_bad(schema, k, "not an object of schemas");
    }

    return js_kw_nodes(schema, node, k);
}


static int
js_kw_deps(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    const js_value_t *v = k->value;
    js_keyword_t      one = {0};
    uint32_t          i;

    LLM_TRY(js_kw_map(schema, node, k));

    for (i = 0; i < v->n; i++) {
        one.value = &v->items[i];

        if (one.value->type == JS_ARRAY) {
            LLM_TRY(js_kw_strings(schema, node, &one));
        }
    }

    return 1;
}


/* Only what is a schema: others matter to those who refer to them. */
static int
js_kw_defs(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    const js_value_t *v = k->value;
    js_node_t        *child;
    uint32_t          i;

    if (v->type != JS_OBJECT) {
        return 0;
    }

    for (i = 0; i < v->n; i++) {
        if (v->items[i].type == JS_OBJECT || v->items[i].type == JS_BOOLEAN) {
            LLM_TRY(js_node_make(schema, &v->items[i], node->resource, &child));
        }
    }

    return 0;
}


static int
js_kw_items(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    if (k->value->type == JS_ARRAY && node->resource->draft != D20) {
        k->kw = JS_KW_PREFIX_ITEMS;
        return js_kw_nodes(schema, node, k);
    }

    return js_kw_one(schema, node, k);
}


/* additionalItems: beside a list of items only. */
static int
js_kw_more(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    const js_value_t *items = js_get(node->value, "items");

    LLM_TRY(js_kw_one(schema, node, k));
    k->kw = JS_KW_ITEMS;

    return items && items->type == JS_ARRAY;
}


static int
js_kw_compile(js_schema_t *schema, js_keyword_t *k, uint32_t i, str_t source)
{
    char err[160] = "pattern cannot be used";
    int  rc;

    if (schema->compiled == NULL) {
        schema->compiled = js_patterns_new();

        if (schema->compiled == NULL) {
            return js_schema_fail(schema, -ENOMEM, k->value, "no memory",
                                  str_of(NULL));
        }
    }

    rc = js_pattern_new(schema->compiled, source, &k->patterns[i], err,
                        sizeof(err));

    if (rc == 0) {
        return 1;
    }

    k->patterns[i] = NULL;

    if (k->missing == NULL) {
        k->missing = arena_str(&schema->arena, err, strlen(err));
    }

    return k->missing ? 1 : -ENOMEM;
}


static int
js_kw_pattern(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    if (k->value->type != JS_STRING) {
        return js_kw_bad(schema, k, "not a string");
    }

    k->patterns = arena_get(&schema->arena, sizeof(js_pattern_t *));
    if (k->patterns == NULL) {
        return js_schema_fail(schema, -ENOMEM, k->value, "no memory",
                              str_of(NULL));
    }

    k->n = 1;

    return js_kw_compile(schema, k, 0, js_str(k->value));
}


static int
js_kw_patterns(js_schema_t *schema, js_node_t *node, js_keyword_t *k)
{
    const js_value_t *v = k->value;
    uint32_t          i;

    LLM_TRY(js_kw_map(schema, node, k));

    k->patterns = arena_get(&schema->arena, v->n * sizeof(js_pattern_t *) + 1);
    if (k->patterns == NULL) {
        return js_schema_fail(schema, -ENOMEM, v, "no memory", str_of(NULL));
    }

    for (i = 0; i < v->n; i++) {
        LLM_TRY(js_kw_compile(schema, k, i,
                              (str_t){v->items[i].key, v->items[i].key_len}));
    }

    return 1;
}
