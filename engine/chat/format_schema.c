/*
 * What a schema says about a value that a format writes untyped: only as much
 * as tells a string from what is none.  Pure; any thread.
 */

#include <string.h>
#include "engine/chat/format.h"

#define TYPES_DEPTH 16
#define TYPES_WORK  2000 /* schemas looked at */

static unsigned types_of(const json_t *root, const json_t *schema, int depth,
                         int *work);
static unsigned types_word(const json_t *type);
static unsigned types_value(const json_t *value);
static unsigned types_list(const json_t *root, const json_t *list, int all,
                           int depth, int *work);
static const json_t *types_ref(const json_t *root, const char *ref);


unsigned
chat_format_types(const json_t *schema, const char *name, size_t len)
{
    const json_t *at = schema, *ref;
    json_t       *member;
    int           i, work = TYPES_WORK;

    /* Parameters that are a reference as a whole. */
    for (i = 0; i < TYPES_DEPTH; i++) {
        ref = json_object_get(at, "$ref");
        if (!json_is_string(ref)) {
            break;
        }

        at = types_ref(schema, json_string_value(ref));
    }

    member = json_object_getn(json_object_get(at, "properties"),
                              name ? name : "", len);

    return member ? types_of(schema, member, 0, &work) : CHAT_TYPE_ANY;
}


static unsigned
types_of(const json_t *root, const json_t *schema, int depth, int *work)
{
    unsigned      types = CHAT_TYPE_ANY, bits;
    const json_t *v;
    size_t        i;

    if (depth > TYPES_DEPTH || --*work < 0 || !json_is_object(schema)) {
        return CHAT_TYPE_ANY;
    }

    v = json_object_get(schema, "type");
    if (json_is_string(v)) {
        types &= types_word(v);

    } else if (json_is_array(v)) {
        for (bits = 0, i = 0; i < json_array_size(v); i++) {
            bits |= types_word(json_array_get(v, i));
        }
        types &= bits;
    }

    v = json_object_get(schema, "const");
    if (v) {
        types &= types_value(v);
    }

    v = json_object_get(schema, "enum");
    if (json_is_array(v)) {
        for (bits = 0, i = 0; i < json_array_size(v); i++) {
            bits |= types_value(json_array_get(v, i));
        }
        types &= bits;
    }

    v = json_object_get(schema, "$ref");
    if (json_is_string(v)) {
        types &= types_of(root, types_ref(root, json_string_value(v)),
                          depth + 1, work);
    }

    types &= types_list(root, json_object_get(schema, "anyOf"), 0, depth, work);
    types &= types_list(root, json_object_get(schema, "oneOf"), 0, depth, work);
    types &= types_list(root, json_object_get(schema, "allOf"), 1, depth, work);

    return types;
}


static unsigned
types_list(const json_t *root, const json_t *list, int all, int depth,
           int *work)
{
    unsigned types = all ? CHAT_TYPE_ANY : 0, one;
    size_t   i, n = json_array_size(list);

    if (n == 0 || n > 256) {
        return CHAT_TYPE_ANY;
    }

    for (i = 0; i < n; i++) {
        one = types_of(root, json_array_get(list, i), depth + 1, work);
        types = all ? types & one : types | one;
    }

    return types;
}


static unsigned
types_word(const json_t *type)
{
    static const struct {
        const char *word;
        unsigned    type;
    } words[] = {{"string", CHAT_TYPE_STRING},  {"number", CHAT_TYPE_NUMBER},
                 {"integer", CHAT_TYPE_NUMBER}, {"boolean", CHAT_TYPE_BOOLEAN},
                 {"null", CHAT_TYPE_NULL},      {"object", CHAT_TYPE_OBJECT},
                 {"array", CHAT_TYPE_ARRAY}};
    const char *s = json_string_value(type);
    size_t      i;

    for (i = 0; s && i < llm_countof(words); i++) {
        if (strcmp(s, words[i].word) == 0) {
            return words[i].type;
        }
    }

    return CHAT_TYPE_ANY;
}


static unsigned
types_value(const json_t *value)
{
    switch (json_typeof(value)) {

    case JSON_STRING:
        return CHAT_TYPE_STRING;

    case JSON_INTEGER:
    case JSON_REAL:
        return CHAT_TYPE_NUMBER;

    case JSON_TRUE:
    case JSON_FALSE:
        return CHAT_TYPE_BOOLEAN;

    case JSON_NULL:
        return CHAT_TYPE_NULL;

    case JSON_OBJECT:
        return CHAT_TYPE_OBJECT;

    default:
        return CHAT_TYPE_ARRAY;
    }
}


/* "#/$defs/x": through objects only, escapes undone; else NULL. */

static const json_t *
types_ref(const json_t *root, const char *ref)
{
    const json_t *at = root;
    char          name[256];
    size_t        n;

    if (*ref++ != '#') {
        return NULL;
    }

    while (*ref == '/') {
        ref++;

        for (n = 0; *ref && *ref != '/' && n + 1 < sizeof(name); n++) {
            if (ref[0] == '~' && (ref[1] == '0' || ref[1] == '1')) {
                name[n] = ref[1] == '0' ? '~' : '/';
                ref += 2;
                continue;
            }
            name[n] = *ref++;
        }

        name[n] = '\0';
        at = json_object_get(at, name);
    }

    return *ref == '\0' ? at : NULL;
}
