/*
 * URI references as schemas use them: RFC 3986's resolution, on strings,
 * and JSON pointers in fragments.  Nothing is fetched, ever.
 */

#ifndef LLM_GRAMMAR_JS_URI_H
#define LLM_GRAMMAR_JS_URI_H

#include "engine/base.h"

typedef struct {
    str_t scheme;    /* without ":"; s is NULL where there is none */
    str_t authority; /* without "//"; likewise */
    str_t path;
    str_t query;    /* without "?"; likewise */
    str_t fragment; /* without "#"; likewise */
} js_uri_t;

/* Splits any string: it always succeeds (RFC 3986, appendix B). */
void js_uri_split(str_t s, js_uri_t *uri);

/* ref against base (section 5.2), in the arena; s NULL: no memory. */
str_t js_uri_resolve(arena_t *arena, str_t base, str_t ref);

/* The part before "#". */
str_t js_uri_base(str_t uri);

/* s with its %XX decoded, in the arena; s NULL: no memory or a bad %XX. */
str_t js_uri_decode(arena_t *arena, str_t s);

#endif /* LLM_GRAMMAR_JS_URI_H */
