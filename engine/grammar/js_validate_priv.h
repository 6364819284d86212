/*
 * Inside the validator: js_validate.c (the walk, combinations, references),
 * js_validate_value.c (assertions on one value), js_validate_items.c
 * (objects and arrays).
 */

#ifndef LLM_GRAMMAR_JS_VALIDATE_PRIV_H
#define LLM_GRAMMAR_JS_VALIDATE_PRIV_H

#include "engine/grammar/js_validate.h"

/*
 * Which items or members of the value at hand have been evaluated: what
 * unevaluatedItems and unevaluatedProperties ask for.  NULL: nobody asks.
 */
typedef struct {
    uint8_t *items; /* 0 or 1 for each */
} js_seen_t;

/* The schemas being checked, the innermost first. */
typedef struct js_frame_s js_frame_t;

struct js_frame_s {
    const js_node_t  *node;
    const js_value_t *value;
    const js_frame_t *up;
    uint32_t          depth;
};

typedef struct {
    js_validate_options_t options;
    int64_t               steps;
    const js_value_t     *at; /* the last failure */
    const js_value_t     *keyword;
    const js_node_t      *node;
    const char           *reason;
    arena_t               arena; /* of js_seen_t */
} js_check_t;

/* 1, 0, or an error, like all below. */
int js_check_node(js_check_t *check, const js_frame_t *up,
                  const js_node_t *node, const js_value_t *value,
                  js_seen_t *seen);

/* A schema on the frame's value: what it evaluated counts if it passes. */
int js_check_in_place(js_check_t *check, const js_frame_t *frame,
                      const js_node_t *node, js_seen_t *seen);

/* Remembers where and returns 0. */
int js_check_fail(js_check_t *check, const js_frame_t *frame,
                  const js_keyword_t *k);

/* Says why and returns rc. */
int js_check_error(js_check_t *check, const js_frame_t *frame,
                   const js_keyword_t *k, int rc, const char *reason);

/* type to required: what does not need other schemas. */
int js_check_value(js_check_t *check, const js_frame_t *frame,
                   const js_keyword_t *k);

/* propertyNames to dependentSchemas, and unevaluated*. */
int js_check_items(js_check_t *check, const js_frame_t *frame,
                   const js_keyword_t *k, js_seen_t *seen);

/* A set of the value's own; an error: -ENOMEM. */
int js_seen_new(js_check_t *check, const js_value_t *value, js_seen_t *seen);

/* One pattern against a string. */
int js_check_pattern(js_check_t *check, const js_frame_t *frame,
                     const js_keyword_t *k, uint32_t i, str_t s);

#endif /* LLM_GRAMMAR_JS_VALIDATE_PRIV_H */
