/*
 * ECMA-262 patterns of schemas: the seam between the validator and the
 * engine's own regular expressions.  A pattern is searched for anywhere in a
 * string, which is UTF-8 and may hold U+0000.
 *
 * A set owns the patterns of one schema, and what they learn as they are
 * matched, within fixed limits of memory; it has a lock, any thread may use
 * it.  Patterns go with their set.
 */

#ifndef LLM_GRAMMAR_JS_PATTERN_H
#define LLM_GRAMMAR_JS_PATTERN_H

#include "engine/base.h"

typedef struct js_patterns_s js_patterns_t;
typedef struct js_pattern_s  js_pattern_t;

/* NULL: no memory. */
js_patterns_t *js_patterns_new(void);
void           js_patterns_free(js_patterns_t *patterns);

/* 0; -EINVAL: no pattern; -ENOTSUP: cannot be done; -E2BIG; -ENOMEM. */
int js_pattern_new(js_patterns_t *patterns, str_t source,
                   js_pattern_t **pattern, char *err, size_t err_size);

/* 1, 0; -E2BIG: too much work; -ENOMEM.  *steps goes down by the work. */
int js_pattern_match(js_pattern_t *pattern, str_t s, int64_t *steps);

/* 0, or -EINVAL where it is no pattern of ECMA-262. */
int js_pattern_check(str_t source);

#endif /* LLM_GRAMMAR_JS_PATTERN_H */
