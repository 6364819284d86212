/*
 * JSON Schemas, read and resolved: drafts 4, 6, 7, 2019-09 and 2020-12.
 *
 * A schema text becomes NODES, one for each place where a schema stands, each
 * with its keywords in the order in which they are to be looked at.  What
 * drafts spell differently is one keyword here:
 *
 *     items: [...]           JS_KW_PREFIX_ITEMS     (up to 2019-09)
 *     additionalItems        JS_KW_ITEMS            (beside those)
 *     exclusiveMinimum: true JS_KW_EXCLUSIVE_MINIMUM with minimum's value
 *
 * and what a draft does not know, or a vocabulary leaves out, is not there.
 * Without $schema the rules are 2020-12's, and every older spelling counts.
 *
 * REFERENCES are resolved when the schema is opened: keyword->node.  One that
 * leads nowhere has node NULL and says so in keyword->missing; it is an error
 * for who needs it only, as published schemas are full of dead ones.  Nothing
 * is fetched: other documents are the caller's remotes and the meta-schemas.
 *
 * A schema owns all of it, is immutable once open, and may be used by any
 * number of threads.
 */

#ifndef LLM_GRAMMAR_JS_SCHEMA_H
#define LLM_GRAMMAR_JS_SCHEMA_H

#include "engine/grammar/js_pattern.h"
#include "engine/grammar/js_value.h"

enum {
    JS_DRAFT_4 = 1,
    JS_DRAFT_6 = 2,
    JS_DRAFT_7 = 4,
    JS_DRAFT_2019 = 8,
    JS_DRAFT_2020 = 16,
    JS_DRAFT_NONE = 32 /* not said */
};

/* In the order in which a validator looks: fewer than 64. */
enum {
    JS_KW_REF = 0,
    JS_KW_RECURSIVE_REF,
    JS_KW_DYNAMIC_REF,
    JS_KW_TYPE,
    JS_KW_CONST,
    JS_KW_ENUM,
    JS_KW_MINIMUM,
    JS_KW_MAXIMUM,
    JS_KW_EXCLUSIVE_MINIMUM,
    JS_KW_EXCLUSIVE_MAXIMUM,
    JS_KW_MULTIPLE_OF,
    JS_KW_MIN_LENGTH,
    JS_KW_MAX_LENGTH,
    JS_KW_PATTERN,
    JS_KW_FORMAT,
    JS_KW_MIN_ITEMS,
    JS_KW_MAX_ITEMS,
    JS_KW_UNIQUE_ITEMS,
    JS_KW_MIN_PROPERTIES,
    JS_KW_MAX_PROPERTIES,
    JS_KW_REQUIRED,
    JS_KW_DEPENDENT_REQUIRED,
    JS_KW_PROPERTY_NAMES,
    JS_KW_PROPERTIES,
    JS_KW_PATTERN_PROPERTIES,
    JS_KW_ADDITIONAL_PROPERTIES,
    JS_KW_PREFIX_ITEMS,
    JS_KW_ITEMS, /* what follows prefixItems */
    JS_KW_CONTAINS,
    JS_KW_MIN_CONTAINS,
    JS_KW_MAX_CONTAINS,
    JS_KW_DEPENDENCIES,
    JS_KW_DEPENDENT_SCHEMAS,
    JS_KW_ALL_OF,
    JS_KW_ANY_OF,
    JS_KW_ONE_OF,
    JS_KW_NOT,
    JS_KW_IF,
    JS_KW_THEN,
    JS_KW_ELSE,
    JS_KW_UNEVALUATED_ITEMS,
    JS_KW_UNEVALUATED_PROPERTIES,
    JS_KW_COUNT
};

/* Bits of JS_KW_TYPE's count; integers have no other bit than theirs. */
#define JS_TYPE_INTEGER (1u << 6) /* others: 1u << JS_NULL ... */

typedef struct js_schema_s   js_schema_t;
typedef struct js_node_s     js_node_t;
typedef struct js_resource_s js_resource_t;

typedef struct {
    uint8_t           kw;
    uint32_t          n;     /* of nodes and patterns: as value has members */
    const js_value_t *value; /* where it stands: js_path() names it */
    js_node_t        *node;  /* the schema it holds or refers to */
    js_node_t       **nodes; /* of a list or map, in the value's order; NULL
                              * in dependencies where strings stand */
    js_pattern_t    **patterns; /* of pattern, one; of patternProperties */
    uint64_t          count;  /* of min* and max*; bits of type; js_format id */
    str_t             anchor; /* of a $dynamicRef that is dynamic */
    const char       *missing; /* of a reference or pattern: cannot be had */
} js_keyword_t;

struct js_node_s {
    const js_value_t *value;
    js_resource_t    *resource;
    js_keyword_t     *keywords; /* by kw, ascending */
    uint32_t          n;
    uint8_t           truth; /* of a boolean schema: 1, 0 */
    uint8_t           boolean;
    uint64_t          has; /* bit of each keyword */
};

typedef struct js_dynamic_s js_dynamic_t;

struct js_dynamic_s {
    str_t         name;
    js_node_t    *node;
    js_dynamic_t *next;
};

/* A schema with a URI of its own, and what lies in it but in no other one. */
struct js_resource_s {
    str_t         uri; /* absolute if anything said so; no fragment */
    js_node_t    *node;
    uint32_t      draft;
    uint32_t      vocabularies;
    uint32_t      recursive; /* $recursiveAnchor: true at its root */
    uint32_t      assert_format;
    js_dynamic_t *dynamic; /* its $dynamicAnchors */
    uint32_t      document;
};

/* A document that references may lead to.  Borrowed while it is opened. */
typedef struct {
    str_t uri; /* absolute, no fragment */
    str_t text;
} js_remote_t;

typedef struct {
    js_limits_t        limits;    /* of each document */
    size_t             max_arena; /* bytes [256 MiB] */
    uint32_t           draft;     /* where $schema is not; 0: JS_DRAFT_NONE */
    const js_remote_t *remotes;
    uint32_t           n_remotes;
    str_t              uri; /* of the text, if it has one */
} js_schema_options_t;

/*
 * Opens the schema in text[len]; options may be NULL.  0; -EINVAL: not JSON
 * or not a schema, err says what and where; -ENOTSUP: a draft or vocabulary
 * that is not known, by name; -E2BIG: a limit; -ENOMEM.
 */
int  js_schema_open(const char *text, size_t len,
                    const js_schema_options_t *options, js_schema_t **schema,
                    char *err, size_t err_size);
void js_schema_close(js_schema_t *schema);

js_node_t *js_schema_root(const js_schema_t *schema);

/* NULL where the node has no such keyword. */
const js_keyword_t *js_node_get(const js_node_t *node, uint32_t kw);

/* The place in the schema: "#/a/b", with the URI if it is another document. */
void js_node_path(buf_t *buf, const js_node_t *node, const js_value_t *value);

/* A meta-schema of a draft by its URI without fragment (js_meta.c). */
str_t js_meta_find(str_t uri);

#endif /* LLM_GRAMMAR_JS_SCHEMA_H */
