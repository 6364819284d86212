/*
 * Schemas: documents, resources and nodes; see js_schema.h.  One thread opens
 * a schema, then nothing writes to it.  All memory is the schema's arena,
 * but for compiled patterns and the array of documents.
 *
 * Recursion over nodes is recursion over the text's nesting, which js_parse()
 * has bounded; references are followed by a list, never by recursion.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/js_schema_priv.h"
#include "engine/grammar/js_uri.h"

#define DRAFTS_OLD (JS_DRAFT_4 | JS_DRAFT_6 | JS_DRAFT_7)

static int  js_document_read(js_schema_t *schema, str_t text,
                             js_document_t *doc);
static int  js_node_identify(js_schema_t *schema, js_node_t *node,
                             js_resource_t *resource);
static int  js_node_id(js_schema_t *schema, js_node_t *node,
                       const js_value_t *id);
static int  js_node_anchors(js_schema_t *schema, js_node_t *node);
static int  js_node_keywords(js_schema_t *schema, js_node_t *node);
static void js_node_merge(js_node_t *node);
static void js_exclusive_merge(js_node_t *node, uint32_t kw, uint32_t bound);
static const js_value_t *js_id_of(const js_value_t *value, uint32_t draft);


int
js_schema_open(const char *text, size_t len, const js_schema_options_t *options,
               js_schema_t **out, char *err, size_t err_size)
{
    js_schema_t *schema;
    uint32_t     draft;
    str_t        uri;
    int          rc;

    schema = calloc(1, sizeof(js_schema_t));
    if (schema == NULL) {
        return -ENOMEM;
    }

    if (options) {
        schema->options = *options;
    }

    if (schema->options.max_arena == 0) {
        schema->options.max_arena = 256u << 20;
    }

    schema->err = err;
    schema->err_size = err_size;
    schema->refs_end = &schema->refs;
    arena_init(&schema->arena, schema->options.max_arena);
    schema->names = arena_get(&schema->arena, JS_NAMES * sizeof(js_name_t *));
    uri = schema->options.uri;
    draft = schema->options.draft ? schema->options.draft : JS_DRAFT_NONE;

    if (uri.s == NULL) {
        uri = str_lit("");
    }

    if (schema->names == NULL) {
        rc = -ENOMEM;

    } else {
        rc = js_document_add(schema, uri, (str_t){text, len}, draft,
                             &schema->root);
    }

    if (rc == 0) {
        rc = js_refs_resolve(schema);
    }

    schema->options.remotes = NULL;
    schema->options.n_remotes = 0;

    if (rc == -ENOMEM && schema->arena.total > schema->options.max_arena / 2) {
        rc = js_schema_fail(schema, -E2BIG, NULL,
                            "the schema takes too much memory", str_of(NULL));
    }

    schema->err_size = 0;

    if (rc < 0) {
        js_schema_close(schema);
        return rc;
    }

    *out = schema;

    return 0;
}


void
js_schema_close(js_schema_t *schema)
{
    if (schema == NULL) {
        return;
    }

    js_patterns_free(schema->compiled);
    free(schema->documents);
    arena_free(&schema->arena);
    free(schema);
}


js_node_t *
js_schema_root(const js_schema_t *schema)
{
    return schema->root;
}


const js_keyword_t *
js_node_get(const js_node_t *node, uint32_t kw)
{
    uint32_t i;

    if ((node->has >> kw & 1) == 0) {
        return NULL;
    }

    for (i = 0; i < node->n; i++) {
        if (node->keywords[i].kw == kw) {
            return &node->keywords[i];
        }
    }

    return NULL;
}


void
js_node_path(buf_t *buf, const js_node_t *node, const js_value_t *value)
{
    if (node->resource->document != 0) {
        buf_add(buf, node->resource->uri.s, node->resource->uri.len);
    }

    buf_str(buf, "#");
    js_path(buf, value);
}


int
js_schema_fail(js_schema_t *schema, int rc, const js_value_t *at,
               const char *what, str_t a)
{
    buf_t path = {0};

    if (at) {
        js_path(&path, at);
    }

    if (schema->err_size > 0) {
        snprintf(schema->err, schema->err_size, "%s%s%.*s%s at #%.*s", what,
                 a.len ? " \"" : "", (int) (a.len > 200 ? 200 : a.len),
                 a.len ? a.s : "", a.len ? "\"" : "",
                 (int) (path.len > 500 ? 500 : path.len),
                 path.len ? path.data : "");
    }

    buf_free(&path);

    return rc;
}


int
js_document_add(js_schema_t *schema, str_t uri, str_t text, uint32_t draft,
                js_node_t **node)
{
    js_document_t  doc = {.uri = uri}, *docs;
    js_resource_t *resource;
    uint32_t       n = schema->n_documents;

    LLM_TRY(js_document_read(schema, text, &doc));

    docs = realloc(schema->documents, (n + 1) * sizeof(js_document_t));
    resource = arena_get(&schema->arena, sizeof(js_resource_t));

    if (docs) {
        schema->documents = docs;
    }

    if (docs == NULL || resource == NULL) {
        return js_schema_fail(schema, -ENOMEM, NULL, "no memory", str_of(NULL));
    }

    docs[n] = doc;
    schema->n_documents++;
    resource->document = n;
    resource->uri = uri;
    resource->draft = draft;
    resource->vocabularies = JS_VOCAB_ALL;

    return js_node_make(schema, doc.root, resource, node);
}


static int
js_document_read(js_schema_t *schema, str_t text, js_document_t *doc)
{
    js_limits_t limits = schema->options.limits;
    uint32_t    n;

    limits.duplicates = JS_DUPLICATE_LAST;

    LLM_TRY(js_parse(&schema->arena, text.s, text.len, &limits, &doc->root, &n,
                     schema->err, schema->err_size));

    doc->nodes = arena_get(&schema->arena, n * sizeof(js_node_t *));
    if (doc->nodes == NULL) {
        return js_schema_fail(schema, -ENOMEM, NULL, "no memory", str_of(NULL));
    }

    return 0;
}


int
js_node_make(js_schema_t *schema, const js_value_t *value,
             js_resource_t *resource, js_node_t **out)
{
    js_node_t **slot, *node;

    slot = &schema->documents[resource->document].nodes[value->index];

    if (*slot) {
        *out = *slot;
        return 0;
    }

    if (value->type != JS_OBJECT && value->type != JS_BOOLEAN) {
        return js_schema_fail(schema, -EINVAL, value, "not a schema",
                              str_of(NULL));
    }

    node = arena_get(&schema->arena, sizeof(js_node_t));
    if (node == NULL) {
        return js_schema_fail(schema, -ENOMEM, value, "no memory",
                              str_of(NULL));
    }

    *slot = *out = node;
    node->value = value;
    node->resource = resource;

    if (value->type == JS_BOOLEAN) {
        node->boolean = 1;
        node->truth = value->truth;

        if (value->parent) {
            return 0;
        }
    }

    LLM_TRY(js_node_identify(schema, node, resource));

    return node->boolean ? 0 : js_node_keywords(schema, node);
}


/* Its resource, and its names. */
static int
js_node_identify(js_schema_t *schema, js_node_t *node, js_resource_t *resource)
{
    const js_value_t *value = node->value, *id, *dialect;
    int               top = value->parent == NULL;

    if (top) {
        resource->node = node;
        LLM_TRY(js_name_add(schema, resource->uri, str_of(NULL), node));
    }

    dialect = js_get(value, "$schema");

    if (dialect && dialect->type == JS_STRING && top) {
        LLM_TRY(js_dialect_set(schema, resource, js_str(dialect), dialect));
    }

    if (value->type != JS_OBJECT
        || ((resource->draft & DRAFTS_OLD) && js_get(value, "$ref"))) {
        return 0;
    }

    id = js_id_of(value, resource->draft);

    if (id) {
        LLM_TRY(js_node_id(schema, node, id));

        if (dialect && dialect->type == JS_STRING && !top
            && node->resource != resource) {
            LLM_TRY(js_dialect_set(schema, node->resource, js_str(dialect),
                                   dialect));
        }
    }

    return js_node_anchors(schema, node);
}


static const js_value_t *
js_id_of(const js_value_t *value, uint32_t draft)
{
    const js_value_t *id = js_get(value, draft == JS_DRAFT_4 ? "id" : "$id");

    return id && id->type == JS_STRING ? id : NULL;
}


static int
js_node_id(js_schema_t *schema, js_node_t *node, const js_value_t *id)
{
    js_resource_t *resource = node->resource, *own;
    str_t          uri, base, anchor = {NULL, 0};

    uri = js_uri_resolve(&schema->arena, resource->uri, js_str(id));
    if (uri.s == NULL) {
        return js_schema_fail(schema, -ENOMEM, id, "no memory", str_of(NULL));
    }

    base = js_uri_base(uri);

    if (base.len + 1 < uri.len) {
        anchor = (str_t){uri.s + base.len + 1, uri.len - base.len - 1};
    }

    /* Up to draft 7 "#name" is an anchor; a pointer there says nothing. */

    if (anchor.len && (resource->draft & (DRAFTS_OLD | JS_DRAFT_NONE)) == 0) {
        return js_schema_fail(schema, -EINVAL, id, "$id with a fragment",
                              js_str(id));
    }

    if (id->n > 0 && id->s[0] != '#' && !str_eq(base, resource->uri)) {
        if (resource->node == node) {

            /* The document's own: known by both names. */

            resource->uri = base;

        } else {
            own = arena_get(&schema->arena, sizeof(js_resource_t));
            if (own == NULL) {
                return js_schema_fail(schema, -ENOMEM, id, "no memory",
                                      str_of(NULL));
            }

            *own = *resource;
            own->uri = base;
            own->node = node;
            own->dynamic = NULL;
            own->recursive = 0;
            node->resource = own;
        }

        LLM_TRY(js_name_add(schema, base, str_of(NULL), node));
    }

    if (anchor.len && anchor.s[0] != '/') {
        return js_name_add(schema, base, anchor, node);
    }

    return 0;
}


static int
js_node_anchors(js_schema_t *schema, js_node_t *node)
{
    js_resource_t    *resource = node->resource;
    js_dynamic_t     *dynamic;
    const js_value_t *v;

    if (resource->draft & DRAFTS_OLD) {
        return 0;
    }

    v = js_get(node->value, "$anchor");

    if (v && v->type == JS_STRING) {
        LLM_TRY(js_name_add(schema, resource->uri, js_str(v), node));
    }

    v = js_get(node->value, "$recursiveAnchor");

    if (v && v->truth && resource->draft != JS_DRAFT_2020
        && resource->node == node) {
        resource->recursive = 1;
    }

    v = js_get(node->value, "$dynamicAnchor");

    if (v == NULL || v->type != JS_STRING || resource->draft == JS_DRAFT_2019) {
        return 0;
    }

    dynamic = arena_get(&schema->arena, sizeof(js_dynamic_t));
    if (dynamic == NULL) {
        return js_schema_fail(schema, -ENOMEM, v, "no memory", str_of(NULL));
    }

    dynamic->name = js_str(v);
    dynamic->node = node;
    dynamic->next = resource->dynamic;
    resource->dynamic = dynamic;

    return js_name_add(schema, resource->uri, js_str(v), node);
}


static int
js_node_keywords(js_schema_t *schema, js_node_t *node)
{
    const js_value_t *value = node->value;
    js_keyword_t     *keywords, k;
    js_need_t        *need;
    uint32_t          i, j;
    int               rc;

    keywords = arena_get(&schema->arena, (value->n + 1) * sizeof(*keywords));
    if (keywords == NULL) {
        return js_schema_fail(schema, -ENOMEM, value, "no memory",
                              str_of(NULL));
    }

    node->keywords = keywords;

    for (i = 0; i < value->n; i++) {
        k = (js_keyword_t){0};
        rc = js_keyword_read(schema, node, &value->items[i], &k);

        if (rc < 0) {
            return rc;
        }

        if (rc == 0) {
            continue;
        }

        for (j = node->n; j > 0 && keywords[j - 1].kw > k.kw; j--) {
            keywords[j] = keywords[j - 1];
        }

        keywords[j] = k;
        node->n++;
        node->has |= 1ull << k.kw;
    }

    js_node_merge(node);

    for (i = 0; i < node->n; i++) {
        if (keywords[i].kw > JS_KW_DYNAMIC_REF
            && keywords[i].patterns == NULL) {
            continue;
        }

        need = arena_get(&schema->arena, sizeof(js_need_t));
        if (need == NULL) {
            return js_schema_fail(schema, -ENOMEM, value, "no memory",
                                  str_of(NULL));
        }

        need->keyword = &keywords[i];
        need->node = node;

        if (keywords[i].patterns) {
            need->next = schema->patterns;
            schema->patterns = need;

        } else {
            *schema->refs_end = need;
            schema->refs_end = &need->next;
        }
    }

    return 0;
}


/* Draft 4's exclusive bounds become the later drafts' ones. */
static void
js_node_merge(js_node_t *node)
{
    uint32_t i, n = 0;

    js_exclusive_merge(node, JS_KW_EXCLUSIVE_MINIMUM, JS_KW_MINIMUM);
    js_exclusive_merge(node, JS_KW_EXCLUSIVE_MAXIMUM, JS_KW_MAXIMUM);

    node->has = 0;

    for (i = 0; i < node->n; i++) {
        if (node->keywords[i].kw < JS_KW_COUNT) {
            node->keywords[n++] = node->keywords[i];
            node->has |= 1ull << node->keywords[i].kw;
        }
    }

    node->n = n;
}


static void
js_exclusive_merge(js_node_t *node, uint32_t kw, uint32_t bound)
{
    js_keyword_t *own = (js_keyword_t *) js_node_get(node, kw);
    js_keyword_t *plain = (js_keyword_t *) js_node_get(node, bound);

    if (own == NULL || own->value->type != JS_BOOLEAN) {
        return;
    }

    if (plain && own->value->truth) {
        own->value = plain->value;
        plain->kw = JS_KW_COUNT;

    } else {
        own->kw = JS_KW_COUNT;
    }
}
