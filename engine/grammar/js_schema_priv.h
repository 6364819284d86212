/*
 * Inside the schema reader: js_schema.c (documents, nodes), js_keyword.c
 * (one keyword), js_ref.c (names and references).
 */

#ifndef LLM_GRAMMAR_JS_SCHEMA_PRIV_H
#define LLM_GRAMMAR_JS_SCHEMA_PRIV_H

#include "engine/grammar/js_schema.h"

#define JS_NAMES 1024

enum {
    JS_VOCAB_CORE = 1,
    JS_VOCAB_APPLICATOR = 2,
    JS_VOCAB_UNEVALUATED = 4,
    JS_VOCAB_VALIDATION = 8,
    JS_VOCAB_FORMAT = 16,
    JS_VOCAB_ALL = 31
};

typedef struct {
    str_t             uri;
    const js_value_t *root;
    js_node_t       **nodes; /* by index of value */
} js_document_t;

/* A name: a resource's URI, or that, "#", and an anchor. */
typedef struct js_name_s js_name_t;

struct js_name_s {
    uint32_t   hash;
    str_t      key;
    js_node_t *node;
    js_name_t *next;
};

/* A reference or pattern, in the order in which they were met. */
typedef struct js_need_s js_need_t;

struct js_need_s {
    js_keyword_t *keyword;
    js_node_t    *node;
    js_need_t    *next;
};

struct js_schema_s {
    arena_t             arena;
    js_schema_options_t options;
    js_document_t      *documents; /* of the heap */
    uint32_t            n_documents;
    js_name_t         **names;
    js_node_t          *root;
    js_need_t          *refs; /* of all nodes */
    js_need_t         **refs_end;
    js_need_t          *patterns;
    js_patterns_t      *compiled; /* NULL until one is */
    char               *err;
    size_t              err_size;
};

/* Writes "what (a) at #/path" to err and returns rc; any may be NULL. */
int js_schema_fail(js_schema_t *schema, int rc, const js_value_t *at,
                   const char *what, str_t a);

/* Parses text as a document of that URI and makes its root's node. */
int js_document_add(js_schema_t *schema, str_t uri, str_t text, uint32_t draft,
                    js_node_t **node);

/* The node of a value, made with all below it if there is none yet. */
int js_node_make(js_schema_t *schema, const js_value_t *value,
                 js_resource_t *resource, js_node_t **node);

/* Reads the member as a keyword of the node: 1 and *keyword, or 0: none. */
int js_keyword_read(js_schema_t *schema, js_node_t *node,
                    const js_value_t *member, js_keyword_t *keyword);

/* The draft that $schema's URI says, or 0. */
uint32_t js_draft_find(str_t uri);

/* Of a resource whose $schema is uri: draft, vocabularies, assert_format. */
int js_dialect_set(js_schema_t *schema, js_resource_t *resource, str_t uri,
                   const js_value_t *at);

/* The text of another document: the caller's, else a meta-schema. */
str_t js_remote_find(const js_schema_t *schema, str_t uri);

int js_name_add(js_schema_t *schema, str_t uri, str_t anchor, js_node_t *node);
js_node_t *js_name_find(const js_schema_t *schema, str_t uri, str_t anchor);

/* Resolves every reference there is, reading remotes as they are met. */
int js_refs_resolve(js_schema_t *schema);

#endif /* LLM_GRAMMAR_JS_SCHEMA_PRIV_H */
