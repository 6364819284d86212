/*
 * JSON texts as immutable trees, for schemas and their instances.
 *
 * Unlike Jansson's, these keep what a schema's meaning hangs on: the order
 * of members, the exact value of every number (a decimal of any length, no
 * double anywhere), U+0000 in strings, and where in the tree a value lies.
 *
 * A tree lives in its caller's arena and dies with it; it does not refer to
 * the text.  Nothing writes to a tree once js_parse() has returned, so any
 * thread may read it.
 *
 * ACCEPTED is RFC 8259, strictly: UTF-8 without a byte order mark, no lone
 * surrogates, any value at the top.  Strings are UTF-8, ended by a 0 that is
 * not counted in their length.
 */

#ifndef LLM_GRAMMAR_JS_VALUE_H
#define LLM_GRAMMAR_JS_VALUE_H

#include <stddef.h>
#include <stdint.h>
#include "engine/base.h"

enum { JS_NULL = 0, JS_BOOLEAN, JS_NUMBER, JS_STRING, JS_ARRAY, JS_OBJECT };

/* What two members of one name in an object mean. */
enum {
    JS_DUPLICATE_LAST = 0, /* the last value, in the first one's place */
    JS_DUPLICATE_ERROR     /* -EINVAL */
};

/*
 * A number: (negative ? -1 : 1) * digits * 10^exp, its digits '0' to '9'
 * without zeros at either end; none: 0, which is never negative.
 */
typedef struct {
    const char *digits;
    uint32_t    n;
    uint32_t    negative;
    int64_t     exp;
} js_decimal_t;

typedef struct js_value_s js_value_t;

struct js_value_s {
    uint8_t  type;
    uint8_t  truth;   /* of a boolean */
    uint32_t n;       /* bytes of a string or spelling; items or members */
    uint32_t index;   /* number in its tree, below the root's n_values */
    uint32_t key_len; /* of a member of an object */

    const char       *key;
    const js_value_t *parent;

    union {
        const char       *s;     /* a string, or a number as it was spelt */
        const js_value_t *items; /* of an array, members of an object */
    };
    union {
        const uint32_t     *sorted;  /* an object's members by their keys */
        const js_decimal_t *decimal; /* a number */
    };
};

/* 0 in a field: the default in brackets. */
typedef struct {
    size_t   max_bytes;  /* of the text [4 MiB] */
    uint32_t max_depth;  /* of nesting [512] */
    uint32_t max_values; /* in the tree [1 << 20] */
    int      duplicates;
} js_limits_t;

/*
 * Parses text[len] into the arena.  n_values (or NULL) is set to how many
 * values the tree has.  0; -EINVAL: not JSON, err says what and at which
 * byte; -E2BIG: a limit, by name; -ENOMEM.
 */
int js_parse(arena_t *arena, const char *text, size_t len,
             const js_limits_t *limits, const js_value_t **root,
             uint32_t *n_values, char *err, size_t err_size);

/* The member of that name, or NULL. */
const js_value_t *js_member(const js_value_t *object, const char *key,
                            size_t len);

/* The same of a C string; NULL too if the value is no object. */
const js_value_t *js_get(const js_value_t *value, const char *key);

/*
 * A total order whose 0 is JSON Schema's equality: numbers by their values,
 * objects whatever the order of their members.  *steps goes down by what it
 * costs; at 0 it stops, and the result means nothing.
 */
int js_compare(const js_value_t *a, const js_value_t *b, int64_t *steps);

/* The value's JSON pointer, from the root of its tree. */
void js_path(buf_t *buf, const js_value_t *value);

/* One reference token of a JSON pointer: "/" and the name, escaped. */
void js_path_add(buf_t *buf, const char *name, size_t len);

/* The value as compact JSON, numbers as they were spelt. */
void js_print(buf_t *buf, const js_value_t *value);

static inline str_t
js_str(const js_value_t *value)
{
    return (str_t){value->s, value->n};
}


static inline int
js_is(const js_value_t *value, const char *s)
{
    return value->type == JS_STRING && str_eq(js_str(value), str_of(s));
}


/* The order of names and strings: by bytes, then by length. */
static inline int
js_bytes_compare(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t n = n_a < n_b ? n_a : n_b;
    int    order = n ? memcmp(a, b, n) : 0;

    return order ? order : (n_a > n_b) - (n_a < n_b);
}


/* Decimals (js_decimal.c). */

/* Reads a number in JSON's grammar; -EINVAL, -E2BIG, -ENOMEM. */
int js_decimal_read(arena_t *arena, const char *s, size_t len,
                    js_decimal_t *decimal);

/* < 0, 0, > 0. */
int js_decimal_compare(const js_decimal_t *a, const js_decimal_t *b);

/* 1 if there is no fraction. */
int js_decimal_integer(const js_decimal_t *a);

/* 1 if a / b is an integer; 0; -E2BIG: too much work, or b is 0: -EDOM. */
int js_decimal_multiple(const js_decimal_t *a, const js_decimal_t *b);

/* A non-negative integer, UINT64_MAX for all above; -EDOM if it is none. */
int js_decimal_u64(const js_decimal_t *a, uint64_t *value);


/* The scalar value at p in *cp and its length, or 0: not UTF-8. */
size_t js_utf8(const char *p, const char *end, uint32_t *cp);

/* Unicode scalar values in a valid UTF-8 string. */
size_t js_utf8_count(const char *s, size_t len);

/* Writes cp at p, returns its length (4 at most). */
size_t js_utf8_put(char *p, uint32_t cp);

#endif /* LLM_GRAMMAR_JS_VALUE_H */
