/*
 * The validator: does a JSON value satisfy a schema?  Complete for drafts 4
 * to 2020-12 (see js_schema.h); content* says nothing, as the drafts have it,
 * and neither does an unknown keyword or format.
 *
 * Any number of threads may validate against one schema.  Work is bounded by
 * steps, recursion by depth; a reference that leads back to itself without
 * going deeper into the value is an error, not a loop.
 */

#ifndef LLM_GRAMMAR_JS_VALIDATE_H
#define LLM_GRAMMAR_JS_VALIDATE_H

#include "engine/grammar/js_schema.h"

typedef struct {
    int      formats;   /* 1: format is an assertion */
    uint32_t max_depth; /* of schemas within schemas [2048] */
    int64_t  max_steps; /* [10,000,000] */
} js_validate_options_t;

/* Why not: JSON pointers, cut where they are too long. */
typedef struct {
    char instance[256]; /* into the value's tree: "" is its root */
    char keyword[512];  /* into the schema, "#/properties/a/type" */
    char reason[256];   /* of an error */
} js_result_t;

/*
 * 1: valid; 0: not, result says where; -E2BIG: too many steps, too deep;
 * -ELOOP: a reference to itself; -ENOTSUP: a reference or pattern that cannot
 * be had decides; -ENOMEM.  node NULL: the schema's root; dynamic references
 * below another node see the schemas from that node on.  options and result
 * may be NULL.  The default depth takes less than 512 KiB of stack.
 */
int js_validate(const js_schema_t *schema, const js_node_t *node,
                const js_value_t *value, const js_validate_options_t *options,
                js_result_t *result);

#endif /* LLM_GRAMMAR_JS_VALIDATE_H */
