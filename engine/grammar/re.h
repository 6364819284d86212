/*
 * Regular languages over bytes: hash-consed expressions and derivatives.
 *
 * A re_set_t owns every expression made in it; an expression is a handle
 * (re_t), equal handles are equal languages (not the reverse), and all go at
 * once with re_free().  Constructors normalise (unions are sorted, merged
 * and factored into tries; counts stay counts), so that the derivatives of
 * one expression are few.  One thread at a time uses a set.
 *
 * The language of a handle is a set of byte strings.  RE_NONE is no string,
 * RE_EMPTY the empty one, RE_ALL every byte string, RE_TEXT every string of
 * well-formed UTF-8, RE_CHAR one code point of it (surrogates are none).
 *
 * FAILURE is sticky: past a limit, or when a caller made a mistake,
 * constructors and derivatives return RE_NONE and re_failed() says why;
 * whoever compiles asks once at the end.  A set that ran out of steps
 * (-ETIME) goes on after re_fuel(); one that ran out of space (-E2BIG,
 * -ENOMEM) does not: what it holds can still be read.  No result of a failed
 * operation is remembered.
 */

#ifndef LLM_GRAMMAR_RE_H
#define LLM_GRAMMAR_RE_H

#include "engine/base.h"

typedef struct re_set_s re_set_t;

typedef uint32_t re_t;

#define RE_NONE  0u
#define RE_EMPTY 1u
#define RE_ALL   2u
#define RE_CHAR  3u
#define RE_TEXT  4u

#define RE_INF UINT32_MAX

/* A limit of 0 takes the default. */
typedef struct {
    uint32_t max_nodes; /* expressions; 1,000,000 */
    size_t   max_bytes; /* memory of the set; 256 MiB */
    uint64_t max_steps; /* one a node made, visited or derived; 50,000,000 */
    uint32_t max_depth; /* of what one derivative walks into; 1,000 */
} re_limits_t;

/* What re_is_none() and re_disjoint() answer. */
enum { RE_NO = 0, RE_YES = 1, RE_UNKNOWN = 2 };


/* NULL: no memory.  limits may be NULL. */
re_set_t *re_new(const re_limits_t *limits);
void      re_free(re_set_t *set);

/* 0, or the -errno of the first failure; *msg (may be NULL) explains it. */
int re_failed(const re_set_t *set, const char **msg);

/* Steps from now on; takes back an -ETIME. */
void re_fuel(re_set_t *set, uint64_t steps);

/* Steps used, nodes made, bytes held since re_new(). */
typedef struct {
    uint64_t steps;
    uint64_t derivs; /* derivatives worked out, of nodes and their parts */
    uint32_t nodes;
    size_t   bytes;
} re_stats_t;

void re_stats(const re_set_t *set, re_stats_t *stats);


/*
 * CONSTRUCTORS.  Handles of the same set; none keeps what it is given.
 */

/* One byte of the set: bit b of bytes[b / 64]. */
re_t re_class(re_set_t *set, const uint64_t bytes[4]);
re_t re_byte_range(re_set_t *set, uint8_t lo, uint8_t hi);

/* s[len], then tail.  RE_EMPTY as tail: s alone. */
re_t re_run(re_set_t *set, const void *s, size_t len, re_t tail);
re_t re_str(re_set_t *set, const char *s);

re_t re_concat(re_set_t *set, re_t a, re_t b);

/* The strings that are in any (all) of list[n]; n = 0: RE_NONE (RE_ALL). */
re_t re_or(re_set_t *set, re_t a, re_t b);
re_t re_or_n(re_set_t *set, const re_t *list, size_t n);
re_t re_and(re_set_t *set, re_t a, re_t b);
re_t re_and_n(re_set_t *set, const re_t *list, size_t n);

/* Every BYTE string that is not in a; for texts: re_minus(RE_TEXT, a). */
re_t re_not(re_set_t *set, re_t a);
re_t re_minus(re_set_t *set, re_t a, re_t b);

/* min to max (RE_INF: no end) of a.  Counts are kept, never expanded. */
re_t re_repeat(re_set_t *set, re_t a, uint32_t min, uint32_t max);

/* Texts of min to max code points: RE_CHAR so many times. */
re_t re_length(re_set_t *set, uint32_t min, uint32_t max);

/* One code point from lo to hi; surrogates are left out. */
re_t re_range(re_set_t *set, uint32_t lo, uint32_t hi);

/* One code point of ranges[n], sorted, without overlap. */
typedef struct {
    uint32_t lo, hi;
} re_range_t;

re_t re_ranges(re_set_t *set, const re_range_t *ranges, size_t n);

/*
 * The JSON spellings (without the quotes) of the texts in a: every code
 * point as itself or \uXXXX (a surrogate pair above U+FFFF; hex digits of
 * either case), and the short escapes \" \\ \/ \b \f \n \r \t.  Control
 * characters, '"' and '\' only escaped; no lone surrogate.  What in a is no
 * well-formed UTF-8 has no spelling.
 */
re_t re_quoted(re_set_t *set, re_t a);

/*
 * "-"? digits ("." digits)? whose value times 10^scale is a multiple of
 * divisor (1 to 10^18); scale <= 400.  Leading zeros are not ruled out: And
 * it with a number's shape.  Whether anything is left of it within bounds is
 * exact while the divisor is small; just below a bound, one of more than some
 * thousands may stay RE_UNKNOWN.
 */
re_t re_remainder(re_set_t *set, uint64_t divisor, uint32_t scale);


/*
 * QUESTIONS
 */

int re_nullable(const re_set_t *set, re_t a);

/* What may follow byte: { s : byte s is in a }. */
re_t re_deriv(re_set_t *set, re_t a, uint8_t byte);
re_t re_deriv_str(re_set_t *set, re_t a, const void *s, size_t len);

/* 1 if s[len] is in a, 0 if not or on failure. */
int re_match(re_set_t *set, re_t a, const void *s, size_t len);

/*
 * Bytes that a cannot tell apart get the same number in map[256]; returns
 * how many numbers there are (1..256).  Numbers are in order of first byte.
 */
int re_classes(re_set_t *set, re_t a, uint8_t map[256]);

/* The same for what list[n] cannot tell apart; stride: bytes between them. */
int re_classes_n(re_set_t *set, const re_t *list, size_t n, size_t stride,
                 uint8_t map[256]);

/*
 * RE_YES: a has no string; RE_NO: it has; RE_UNKNOWN: not found out within
 * max expressions (0: 5,000), or the set has failed.  Answers are kept, and
 * an expression found to be none is RE_NONE wherever it is used afterwards.
 * Free of cost where neither And, Not nor remainder is inside.
 */
int re_is_none(re_set_t *set, re_t a, uint32_t max);
int re_disjoint(re_set_t *set, re_t a, re_t b, uint32_t max);
int re_subset(re_set_t *set, re_t a, re_t b, uint32_t max); /* a in b? */

/* A string of a (shortest first, not promised), for messages and tests. */
int re_example(re_set_t *set, re_t a, uint32_t max, buf_t *out);


/*
 * How an expression is made, for rules that look inside (slices of a
 * vocabulary, say).  RE_KIND_RUN: bytes[len], then a.  RE_KIND_CONCAT: a, b;
 * a is neither a run nor a concat.  RE_KIND_OR, _AND: list[n].
 * RE_KIND_REPEAT: a from min to max times.  RE_KIND_QUOTED: a; min is 0
 * between characters, anything else within an escape.  Pointers hold until
 * the next constructor.
 */
enum {
    RE_KIND_NONE = 0,
    RE_KIND_EMPTY,
    RE_KIND_CLASS,
    RE_KIND_RUN,
    RE_KIND_CONCAT,
    RE_KIND_OR,
    RE_KIND_AND,
    RE_KIND_NOT,
    RE_KIND_REPEAT,
    RE_KIND_REMAINDER,
    RE_KIND_QUOTED
};

typedef struct {
    int             kind;
    re_t            a, b;
    uint32_t        min, max;
    const re_t     *list;
    size_t          n;
    const uint8_t  *bytes;
    size_t          len;
    const uint64_t *set; /* RE_KIND_CLASS */
} re_view_t;

void re_view(const re_set_t *set, re_t a, re_view_t *view);

/* An expression in words, cut at about 2,000 bytes: for tests and logs. */
void re_print(const re_set_t *set, re_t a, buf_t *out);


/*
 * NUMBERS (re_number.c): legal JSON spellings of decimal values.
 *
 * Bounds are JSON numbers as they were spelled ("1e-7", "9007199254740993"),
 * NULL for none; up to 1,100 digits when written out, else -E2BIG.  Without
 * bounds (or with bounds of zero only) exponents are in; with others they
 * are not, as such sets are not regular: 1500 is, 1.5e3 is not.
 * Integers: digits, with RE_NUMBER_FRACTION also ".0...", with
 * RE_NUMBER_EXPONENT (where no bound but zero) also an exponent that cannot
 * make it less than whole (2e3, 2.0E+3; never 20e-1).  "-0" spells 0.  An
 * exponent has up to two digits, or three below 300: what programs can read.
 */
enum {
    RE_NUMBER_INTEGER = 1,  /* whole values only */
    RE_NUMBER_FRACTION = 2, /* integers: 1.0 too.  Others always have it */
    RE_NUMBER_EXPONENT = 4  /* 1e2 too, where that can be exact */
};

typedef struct {
    unsigned flags;
    str_t    min, max; /* s NULL: none */
    int      min_open, max_open;
    str_t    multiple; /* s NULL: none; above zero */
} re_number_t;

/* 0; -EINVAL: not a JSON number, or multiple <= 0; -E2BIG. */
int re_number(re_set_t *set, const re_number_t *number, re_t *re, char *err,
              size_t err_size);


/*
 * ECMA-262 PATTERNS (re_ecma.c), u-mode: the texts (UTF-8) in which a match
 * is found anywhere.  -EINVAL: not a pattern; -ENOTSUP: a back-reference,
 * look-around in a loop, and the like, by name; -E2BIG: too large, too deep.
 * err has the byte position.
 */
int re_ecma(re_set_t *set, const char *pattern, size_t len, re_t *re, char *err,
            size_t err_size);

/* The same, but the whole text must match (a regex grammar). */
int re_ecma_whole(re_set_t *set, const char *pattern, size_t len, re_t *re,
                  char *err, size_t err_size);

#endif /* LLM_GRAMMAR_RE_H */
