/*
 * ECMA-262 patterns of schemas: the seam between the validator and the
 * engine's own regular expressions.  A pattern is searched for anywhere in a
 * string, which is UTF-8 and may hold U+0000; it is immutable, of any thread.
 */

#ifndef LLM_GRAMMAR_JS_PATTERN_H
#define LLM_GRAMMAR_JS_PATTERN_H

#include "engine/base.h"

typedef struct js_pattern_s js_pattern_t;

/* 0; -EINVAL: no pattern; -ENOTSUP: cannot be done; -E2BIG; -ENOMEM. */
int  js_pattern_new(str_t source, js_pattern_t **pattern, char *err,
                    size_t err_size);
void js_pattern_free(js_pattern_t *pattern);

/* 1, 0; -E2BIG: too much work; -ENOMEM. */
int js_pattern_match(const js_pattern_t *pattern, str_t s);

/* 0, or -EINVAL where it is no pattern of ECMA-262. */
int js_pattern_check(str_t source);

#endif /* LLM_GRAMMAR_JS_PATTERN_H */
