/*
 * Names of schemas and references to them; see js_schema.h.  Called while a
 * schema is opened, by its thread.
 *
 * References are resolved in the order in which they were met; reading a
 * remote document, or a place that no keyword had led to, adds to the list.
 * Each value becomes a node once, so that the list ends.
 */

#include <errno.h>
#include <stdio.h>
#include "engine/grammar/js_schema_priv.h"
#include "engine/grammar/js_uri.h"

/* Documents that one schema may draw in. */
#define REF_DOCUMENTS 64

static uint32_t js_name_hash(str_t uri, str_t anchor);
static int      js_name_is(const js_name_t *name, str_t uri, str_t anchor);
static int      js_ref_resolve(js_schema_t *schema, js_need_t *need);
static int      js_ref_document(js_schema_t *schema, js_need_t *need, str_t uri,
                                js_node_t **node);
static int js_ref_pointer(js_schema_t *schema, js_need_t *need, js_node_t *from,
                          str_t pointer);
static const js_value_t *js_ref_step(const js_value_t *v, char *token,
                                     size_t len);
static int               js_ref_missing(js_schema_t *schema, js_need_t *need,
                                        const char *what, str_t name);
static int js_vocabulary_set(js_schema_t *schema, js_resource_t *resource,
                             const js_value_t *list);

static const struct {
    const char *uri;
    uint32_t    draft;
} js_drafts[] = {
    {"json-schema.org/draft-04/schema", JS_DRAFT_4},
    {"json-schema.org/draft-06/schema", JS_DRAFT_6},
    {"json-schema.org/draft-07/schema", JS_DRAFT_7},
    {"json-schema.org/draft/2019-09/schema", JS_DRAFT_2019},
    {"json-schema.org/draft/2020-12/schema", JS_DRAFT_2020},
};

/* Bit 31: known and of no meaning to a validator. */
#define VOCAB_NOTE (1u << 31)

static const struct {
    const char *name;
    uint32_t    bits;
} js_vocabularies[] = {
    {"core", JS_VOCAB_CORE},
    {"applicator", JS_VOCAB_APPLICATOR},
    {"unevaluated", JS_VOCAB_UNEVALUATED},
    {"validation", JS_VOCAB_VALIDATION},
    {"format", JS_VOCAB_FORMAT},
    {"format-annotation", JS_VOCAB_FORMAT},
    {"format-assertion", JS_VOCAB_FORMAT},
    {"meta-data", VOCAB_NOTE},
    {"content", VOCAB_NOTE},
};


static uint32_t
js_name_hash(str_t uri, str_t anchor)
{
    uint32_t h = 2166136261u;
    size_t   i;

    for (i = 0; i < uri.len; i++) {
        h = (h ^ (unsigned char) uri.s[i]) * 16777619u;
    }

    for (i = 0; i < anchor.len; i++) {
        h = (h ^ (unsigned char) anchor.s[i]) * 16777619u;
    }

    return h;
}


/* key is uri, or uri, "#" and anchor. */
static int
js_name_is(const js_name_t *name, str_t uri, str_t anchor)
{
    size_t n = uri.len;
    str_t  key = name->key;

    if (key.len != n + (anchor.len ? 1 + anchor.len : 0)
        || (n > 0 && memcmp(key.s, uri.s, n) != 0)) {
        return 0;
    }

    return anchor.len == 0
           || (key.s[n] == '#'
               && memcmp(key.s + n + 1, anchor.s, anchor.len) == 0);
}


/* The first of a name keeps it. */
int
js_name_add(js_schema_t *schema, str_t uri, str_t anchor, js_node_t *node)
{
    js_name_t *name, **slot;
    char      *key;
    uint32_t   hash;

    if (js_name_find(schema, uri, anchor)) {
        return 0;
    }

    hash = js_name_hash(uri, anchor);
    name = arena_get(&schema->arena, sizeof(js_name_t));
    key = arena_get(&schema->arena, uri.len + anchor.len + 2);

    if (name == NULL || key == NULL) {
        return js_schema_fail(schema, -ENOMEM, node->value, "no memory",
                              str_of(NULL));
    }

    memcpy(key, uri.s, uri.len);
    name->key = (str_t){key, uri.len};

    if (anchor.len) {
        key[uri.len] = '#';
        memcpy(key + uri.len + 1, anchor.s, anchor.len);
        name->key.len += 1 + anchor.len;
    }

    slot = &schema->names[hash % JS_NAMES];
    name->hash = hash;
    name->node = node;
    name->next = *slot;
    *slot = name;

    return 0;
}


js_node_t *
js_name_find(const js_schema_t *schema, str_t uri, str_t anchor)
{
    const js_name_t *name;
    uint32_t         hash = js_name_hash(uri, anchor);

    for (name = schema->names[hash % JS_NAMES]; name; name = name->next) {
        if (name->hash == hash && js_name_is(name, uri, anchor)) {
            return name->node;
        }
    }

    return NULL;
}


uint32_t
js_draft_find(str_t uri)
{
    size_t i;

    uri = js_uri_base(uri);

    for (i = 0; i < 2; i++) {
        str_t scheme = i ? str_lit("https://") : str_lit("http://");

        if (uri.len > scheme.len && memcmp(uri.s, scheme.s, scheme.len) == 0) {
            uri = (str_t){uri.s + scheme.len, uri.len - scheme.len};
            break;
        }
    }

    for (i = 0; i < llm_countof(js_drafts); i++) {
        if (str_eq(uri, str_of(js_drafts[i].uri))) {
            return js_drafts[i].draft;
        }
    }

    return 0;
}


/*
 * A $schema that nobody knows says nothing, but for draft 3: its "required"
 * and "type" mean other things.
 */
int
js_dialect_set(js_schema_t *schema, js_resource_t *resource, str_t uri,
               const js_value_t *at)
{
    const js_value_t *root, *v;
    js_limits_t       limits = schema->options.limits;
    uint32_t          draft = js_draft_find(uri);
    str_t             base = js_uri_base(uri), text;

    if (draft) {
        resource->draft = draft;
        resource->vocabularies = JS_VOCAB_ALL;
        return 0;
    }

    if (base.len >= 33
        && (memcmp(base.s + base.len - 16, "/draft-03/schema", 16) == 0)) {
        return js_schema_fail(schema, -ENOTSUP, at, "draft not supported", uri);
    }

    text = js_remote_find(schema, base);

    if (text.s == NULL) {
        return 0;
    }

    limits.duplicates = JS_DUPLICATE_LAST;
    LLM_TRY(js_parse(&schema->arena, text.s, text.len, &limits, &root, NULL,
                     schema->err, schema->err_size));

    v = js_get(root, "$schema");
    draft = v && v->type == JS_STRING ? js_draft_find(js_str(v)) : 0;

    if (draft) {
        resource->draft = draft;
    }

    v = js_get(root, "$vocabulary");

    if (v == NULL || v->type != JS_OBJECT) {
        return 0;
    }

    return js_vocabulary_set(schema, resource, v);
}


static int
js_vocabulary_set(js_schema_t *schema, js_resource_t *resource,
                  const js_value_t *list)
{
    static const char prefix[] = "https://json-schema.org/draft/20";
    const js_value_t *v;
    const char       *name;
    uint32_t          i, bits;
    size_t            j;

    resource->vocabularies = JS_VOCAB_CORE;

    for (i = 0; i < list->n; i++) {
        v = &list->items[i];
        bits = 0;
        name = strstr(v->key, "/vocab/");

        if (name && strncmp(v->key, prefix, sizeof(prefix) - 1) == 0) {
            name += 7;

            for (j = 0; j < llm_countof(js_vocabularies); j++) {
                if (strcmp(name, js_vocabularies[j].name) == 0) {
                    bits = js_vocabularies[j].bits;
                }
            }
        }

        if (bits == 0 && v->truth) {
            return js_schema_fail(schema, -ENOTSUP, v,
                                  "vocabulary not supported",
                                  (str_t){v->key, v->key_len});
        }

        /* In 2019-09 unevaluated* are applicators. */

        if (bits == JS_VOCAB_APPLICATOR && resource->draft == JS_DRAFT_2019) {
            bits |= JS_VOCAB_UNEVALUATED;
        }

        if (bits == JS_VOCAB_FORMAT
            && (strcmp(name, "format-assertion") == 0
                || (strcmp(name, "format") == 0 && v->truth))) {
            resource->assert_format = 1;
        }

        resource->vocabularies |= bits & JS_VOCAB_ALL;
    }

    return 0;
}


str_t
js_remote_find(const js_schema_t *schema, str_t uri)
{
    const js_remote_t *remote;
    uint32_t           i;

    for (i = 0; i < schema->options.n_remotes; i++) {
        remote = &schema->options.remotes[i];

        if (str_eq(js_uri_base(remote->uri), uri)) {
            return remote->text;
        }
    }

    return js_meta_find(uri);
}


int
js_refs_resolve(js_schema_t *schema)
{
    js_need_t *need;

    for (need = schema->refs; need; need = need->next) {
        LLM_TRY(js_ref_resolve(schema, need));
    }

    return 0;
}


static int
js_ref_resolve(js_schema_t *schema, js_need_t *need)
{
    js_keyword_t *k = need->keyword;
    js_dynamic_t *d;
    js_node_t    *node;
    str_t         uri, base, fragment = {NULL, 0};

    uri = js_uri_resolve(&schema->arena, need->node->resource->uri,
                         js_str(k->value));
    if (uri.s == NULL) {
        return js_schema_fail(schema, -ENOMEM, k->value, "no memory",
                              str_of(NULL));
    }

    base = js_uri_base(uri);

    if (base.len + 1 < uri.len) {
        fragment =
            js_uri_decode(&schema->arena, (str_t){uri.s + base.len + 1,
                                                  uri.len - base.len - 1});

        if (fragment.s == NULL) {
            return js_ref_missing(schema, need, "bad fragment in", uri);
        }
    }

    node = js_name_find(schema, base, str_of(NULL));

    if (node == NULL) {
        LLM_TRY(js_ref_document(schema, need, base, &node));
    }

    if (node == NULL) {
        return js_ref_missing(schema, need, "nobody has", uri);
    }

    if (fragment.len == 0) {
        k->node = node;
        return 0;
    }

    if (fragment.s[0] == '/') {
        return js_ref_pointer(schema, need, node, fragment);
    }

    k->node = js_name_find(schema, base, fragment);

    if (k->node == NULL) {
        return js_ref_missing(schema, need, "no such anchor as", uri);
    }

    if (k->kw == JS_KW_DYNAMIC_REF) {
        for (d = k->node->resource->dynamic; d; d = d->next) {
            if (d->node == k->node && str_eq(d->name, fragment)) {
                k->anchor = d->name;
            }
        }
    }

    return 0;
}


static int
js_ref_document(js_schema_t *schema, js_need_t *need, str_t uri,
                js_node_t **node)
{
    str_t text = js_remote_find(schema, uri);

    if (text.s == NULL) {
        return 0;
    }

    if (schema->n_documents == REF_DOCUMENTS) {
        return js_schema_fail(schema, -E2BIG, need->keyword->value,
                              "too many documents, with", uri);
    }

    return js_document_add(schema, uri, text, need->node->resource->draft,
                           node);
}


/* To anywhere in a resource; what it finds is a schema from now on. */
static int
js_ref_pointer(js_schema_t *schema, js_need_t *need, js_node_t *from,
               str_t pointer)
{
    js_resource_t    *resource = from->resource;
    js_node_t       **nodes = schema->documents[resource->document].nodes;
    const js_value_t *v = from->value;
    char             *token;
    size_t            i, n;

    for (i = 0; i < pointer.len; i += n) {
        for (n = 1; i + n < pointer.len && pointer.s[i + n] != '/'; n++) {
            /* void */
        }

        token = arena_str(&schema->arena, pointer.s + i + 1, n - 1);
        if (token == NULL) {
            return js_schema_fail(schema, -ENOMEM, need->keyword->value,
                                  "no memory", str_of(NULL));
        }

        v = js_ref_step(v, token, n - 1);

        if (v == NULL) {
            return js_ref_missing(schema, need, "nothing at",
                                  js_str(need->keyword->value));
        }

        if (nodes[v->index]) {
            resource = nodes[v->index]->resource;
        }
    }

    if (v->type != JS_OBJECT && v->type != JS_BOOLEAN) {
        return js_ref_missing(schema, need, "no schema at",
                              js_str(need->keyword->value));
    }

    return js_node_make(schema, v, resource, &need->keyword->node);
}


/* token is unescaped in its place. */
static const js_value_t *
js_ref_step(const js_value_t *v, char *token, size_t len)
{
    uint64_t at = 0;
    size_t   i, n = 0;

    if (v->type == JS_ARRAY) {
        if (len == 0 || len > 9 || (len > 1 && token[0] == '0')) {
            return NULL;
        }

        for (i = 0; i < len; i++) {
            if (token[i] < '0' || token[i] > '9') {
                return NULL;
            }

            at = at * 10 + (uint64_t) (token[i] - '0');
        }

        return at < v->n ? &v->items[at] : NULL;
    }

    if (v->type != JS_OBJECT) {
        return NULL;
    }

    for (i = 0; i < len; i++) {
        if (token[i] == '~' && i + 1 < len
            && (token[i + 1] == '0' || token[i + 1] == '1')) {
            token[n++] = token[++i] == '0' ? '~' : '/';

        } else {
            token[n++] = token[i];
        }
    }

    return js_member(v, token, n);
}


static int
js_ref_missing(js_schema_t *schema, js_need_t *need, const char *what,
               str_t name)
{
    char *text;

    text = arena_get(&schema->arena, strlen(what) + name.len + 32);
    if (text == NULL) {
        return js_schema_fail(schema, -ENOMEM, need->keyword->value,
                              "no memory", str_of(NULL));
    }

    sprintf(text, "%s \"%.*s\"", what, (int) name.len, name.s);
    need->keyword->missing = text;

    return 0;
}
