/*
 * Classes, escapes and characters of patterns (re_ecma.h).  Any thread;
 * memory is the caller's arena.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/re_ecma.h"

/* What a class holds while it is read. */
typedef struct {
    re_range_t *list;
    size_t      n, cap;
} ranges_t;

static int class_range(ecma_parser_t *p, ranges_t *r, ranges_t *sets);
static int class_refused(ecma_parser_t *p);
static int class_end(ecma_parser_t *p, ecma_node_t *n, ranges_t *r,
                     ranges_t *sets, int negative);
static int class_atom(ecma_parser_t *p, ranges_t *sets, uint32_t *cp);
static int class_set(ecma_parser_t *p, ranges_t *sets);
static int property(ecma_parser_t *p, re_range_t **list, size_t *n);
static int ranges_add(ecma_parser_t *p, ranges_t *r, uint32_t lo, uint32_t hi);
static int char_fold(ecma_parser_t *p, ecma_node_t *n);
static int char_escape(ecma_parser_t *p, uint32_t *cp);
static int octal(ecma_parser_t *p, uint32_t *cp);
static int hex_escape(ecma_parser_t *p, int digits, uint32_t *cp);
static int braced(ecma_parser_t *p, uint32_t *cp);
static int unicode_escape(ecma_parser_t *p, uint32_t *cp);
static int code_point(ecma_parser_t *p, uint32_t *cp);
static int range_cmp(const void *a, const void *b);

static const re_range_t digit[] = {{'0', '9'}};
static const re_range_t word[] = {
    {'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const re_range_t ascii_space[] = {{9, 13}, {0x20, 0x20}};
static const re_range_t space[] = {{9, 13},          {0x20, 0x20},
                                   {0xa0, 0xa0},     {0x1680, 0x1680},
                                   {0x2000, 0x200a}, {0x2028, 0x2029},
                                   {0x202f, 0x202f}, {0x205f, 0x205f},
                                   {0x3000, 0x3000}, {0xfeff, 0xfeff}};


int
ecma_class(ecma_parser_t *p, ecma_node_t *n)
{
    ranges_t r = {0}, sets = {0};
    int      negative, first;

    p->at++;
    negative = ecma_peek(p, 0) == '^';
    p->at += negative;

    /* To Python a bracket that comes first is a character. */

    for (first = (p->how & ECMA_PYTHON) != 0; first || ecma_peek(p, 0) != ']';
         first = 0) {
        if (ecma_peek(p, 0) < 0) {
            return ecma_fail(p, -EINVAL, n->at, "unclosed class");
        }

        LLM_TRY(class_refused(p));
        LLM_TRY(class_range(p, &r, &sets));
    }

    p->at++;

    return class_end(p, n, &r, &sets, negative);
}


/* What is one thing to Python and another to Rust. */
static int
class_refused(ecma_parser_t *p)
{
    static const char *const refused[] = {"[:", "&&", "--", "~~", "||"};
    size_t                   i;

    for (i = 0; i < llm_countof(refused) && (p->how & ECMA_PYTHON); i++) {
        if (ecma_looking_at(p, refused[i])) {
            return ecma_fail(p, -ENOTSUP, p->at, "a class of several meanings");
        }
    }

    return 0;
}


/* An atom, or two with a dash in between. */
static int
class_range(ecma_parser_t *p, ranges_t *r, ranges_t *sets)
{
    uint32_t lo, hi;
    size_t   dash;
    int      first, second;

    first = class_atom(p, sets, &lo);
    LLM_TRY(first);
    dash = p->at;
    LLM_TRY(class_refused(p));

    if (ecma_peek(p, 0) != '-' || ecma_peek(p, 1) == ']'
        || ecma_peek(p, 1) < 0) {
        return first == 0 ? ranges_add(p, r, lo, lo) : 0;
    }

    p->at++;
    second = class_atom(p, sets, &hi);
    LLM_TRY(second);

    if (first == 0 && second == 0) {
        if (lo > hi) {
            return ecma_fail(p, -EINVAL, dash, "range out of order");
        }

        return ranges_add(p, r, lo, hi);
    }

    /* A set cannot be an end of a range: the dash is itself. */

    LLM_TRY(ranges_add(p, r, '-', '-'));

    if (first == 0) {
        LLM_TRY(ranges_add(p, r, lo, lo));
    }

    return second == 0 ? ranges_add(p, r, hi, hi) : 0;
}


static int
class_end(ecma_parser_t *p, ecma_node_t *n, ranges_t *r, ranges_t *sets,
          int negative)
{
    size_t i;

    if ((p->how & ECMA_I) && ecma_ranges_fold(p, &r->list, &r->n) < 0) {
        return ecma_fail(p, -ENOMEM, n->at, "no memory");
    }

    for (i = 0, r->cap = r->n; i < sets->n; i++) {
        LLM_TRY(ranges_add(p, r, sets->list[i].lo, sets->list[i].hi));
    }

    n->ranges = r->list;
    n->n_ranges = r->n;

    if (ecma_ranges_tidy(p->arena, &n->ranges, &n->n_ranges, negative) < 0) {
        return ecma_fail(p, -ENOMEM, n->at, "no memory");
    }

    return 0;
}


/* 0: one code point; 1: a set, added already. */
static int
class_atom(ecma_parser_t *p, ranges_t *sets, uint32_t *cp)
{
    int rc;

    if (ecma_peek(p, 0) != '\\') {
        return code_point(p, cp);
    }

    if (ecma_peek(p, 1) == 'b') {
        p->at += 2;
        *cp = '\b';
        return 0;
    }

    if ((p->how & ECMA_PYTHON) && ecma_peek(p, 1) >= '1'
        && ecma_peek(p, 1) <= '7') {
        p->at++;
        return octal(p, cp);
    }

    rc = class_set(p, sets);

    return rc ? rc : char_escape(p, cp);
}


/* \d \D \s \S \w \W \p{} \P{}, in the case at hand; 0: none of them. */
static int
class_set(ecma_parser_t *p, ranges_t *sets)
{
    const re_range_t *known = NULL;
    re_range_t       *list;
    size_t            n, i;
    int               c, negative;

    c = ecma_peek(p, 1);
    negative = c == 'D' || c == 'S' || c == 'W' || c == 'P';

    switch (c | 0x20) {
    case 'd':
    case 's':
    case 'w':
        p->at += 2;

        if ((c | 0x20) == 's' && (p->how & ECMA_A)) {
            known = ascii_space;
            n = llm_countof(ascii_space);

        } else if ((p->how & ECMA_PYTHON) && !(p->how & ECMA_A)) {
            ecma_unicode_class((char) (c | 0x20), &known, &n);

        } else {
            ecma_escape_class((char) (c | 0x20), &known, &n);
        }

        list = (re_range_t *) (uintptr_t) known;
        break;

    case 'p':
        if (negative && (p->how & ECMA_I)) {
            return ecma_fail(p, -ENOTSUP, p->at, "\\P ignoring case");
        }

        LLM_TRY(property(p, &list, &n));
        break;

    default:
        return 0;
    }

    /* To Python they are the same in any case. */

    if ((p->how & ECMA_I) && (known == NULL || !(p->how & ECMA_PYTHON))
        && ecma_ranges_fold(p, &list, &n) < 0) {
        return ecma_fail(p, -ENOMEM, p->at, "no memory");
    }

    if (c < 0 || ecma_ranges_tidy(p->arena, &list, &n, negative) < 0) {
        return ecma_fail(p, -ENOMEM, p->at, "no memory");
    }

    for (i = 0; i < n; i++) {
        LLM_TRY(ranges_add(p, sets, list[i].lo, list[i].hi));
    }

    return 1;
}


static int
property(ecma_parser_t *p, re_range_t **list, size_t *n)
{
    size_t at = p->at, i;
    str_t  name;

    p->at += 2;

    if ((p->how & ECMA_EXTRA) && ecma_peek(p, 0) >= 'A'
        && ecma_peek(p, 0) <= 'Z') {
        name = (str_t){p->s + p->at++, 1};
        return ecma_property(p, name, list, n);
    }

    if (ecma_peek(p, 0) != '{') {
        return ecma_fail(p, -EINVAL, at, "\\p without a property");
    }

    for (i = ++p->at; ecma_peek(p, 0) >= 0 && ecma_peek(p, 0) != '}'; p->at++) {
        /* void */
    }

    name = (str_t){p->s + i, p->at - i};

    if (ecma_peek(p, 0) != '}') {
        return ecma_fail(p, -EINVAL, at, "\\p without a property");
    }

    p->at++;

    return ecma_property(p, name, list, n);
}


int
ecma_escape(ecma_parser_t *p, ecma_node_t *n)
{
    ranges_t sets = {0};
    int      rc;

    rc = class_set(p, &sets);
    LLM_TRY(rc);

    if (rc == 0) {
        LLM_TRY(char_escape(p, &n->min));
        return char_fold(p, n);
    }

    n->kind = ECMA_CLASS;
    n->ranges = sets.list;
    n->n_ranges = sets.n;

    return 0;
}


int
ecma_char(ecma_parser_t *p, ecma_node_t *n)
{
    LLM_TRY(code_point(p, &n->min));

    return char_fold(p, n);
}


static int
char_fold(ecma_parser_t *p, ecma_node_t *n)
{
    re_range_t one = {n->min, n->min}, *list = &one;
    size_t     count = 1;

    if (!(p->how & ECMA_I)) {
        return 0;
    }

    if (ecma_ranges_fold(p, &list, &count) < 0) {
        return ecma_fail(p, -ENOMEM, n->at, "no memory");
    }

    if (count > 1 || list[0].lo < list[0].hi) {
        n->kind = ECMA_CLASS;
        n->ranges = list;
        n->n_ranges = count;
    }

    return 0;
}


static int
ranges_add(ecma_parser_t *p, ranges_t *r, uint32_t lo, uint32_t hi)
{
    re_range_t *list;
    size_t      cap;

    if (r->n == r->cap) {
        cap = r->cap ? r->cap * 2 : 8;
        list = arena_get(p->arena, cap * sizeof(re_range_t));

        if (list == NULL) {
            return ecma_fail(p, -E2BIG, p->at, "too large");
        }

        if (r->n) {
            memcpy(list, r->list, r->n * sizeof(re_range_t));
        }

        r->list = list;
        r->cap = cap;
    }

    r->list[r->n++] = (re_range_t){lo, hi};

    return 0;
}


static int
char_escape(ecma_parser_t *p, uint32_t *cp)
{
    static const char controls[] = "t\tn\nv\vf\fr\r";
    size_t            at = p->at;
    int               c, i;

    c = ecma_peek(p, 1);

    if (c < 0) {
        return ecma_fail(p, -EINVAL, at, "\\ at the end");
    }

    p->at += 2;

    for (i = 0; controls[i]; i += 2) {
        if (c == controls[i]) {
            *cp = (uint8_t) controls[i + 1];
            return 0;
        }
    }

    if (p->how & ECMA_EXTRA) {
        if (c == 'a') {
            *cp = 7;
            return 0;
        }

        if (c == 'x' && ecma_peek(p, 0) == '{') {
            return braced(p, cp);
        }

        if (c == 'U') {
            LLM_TRY(hex_escape(p, 8, cp));
            return *cp > 0x10ffff
                       ? ecma_fail(p, -EINVAL, at, "no such code point")
                       : 0;
        }

        if (c == 'N') {
            return ecma_fail(p, -ENOTSUP, at, "a character by its name");
        }
    }

    if (c >= '0' && c <= '7' && (p->how & ECMA_PYTHON)) {
        p->at--;
        return octal(p, cp);
    }

    if (c == 'x') {
        return hex_escape(p, 2, cp);
    }

    if (c == 'u') {
        return unicode_escape(p, cp);
    }

    if (c == 'c' && !(p->how & ECMA_PYTHON) && (ecma_peek(p, 0) | 0x20) >= 'a'
        && (ecma_peek(p, 0) | 0x20) <= 'z') {
        *cp = (uint32_t) ecma_peek(p, 0) & 31;
        p->at++;
        return 0;
    }

    if (c == '0' && (ecma_peek(p, 0) < '0' || ecma_peek(p, 0) > '9')) {
        *cp = 0;
        return 0;
    }

    if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) {
        return ecma_fail(p, -EINVAL, at, "unknown escape");
    }

    p->at--;

    return code_point(p, cp);
}


/* One to three digits, as Python counts them. */
static int
octal(ecma_parser_t *p, uint32_t *cp)
{
    size_t at = p->at;

    for (*cp = 0;
         p->at < at + 3 && ecma_peek(p, 0) >= '0' && ecma_peek(p, 0) <= '7';
         p->at++) {
        *cp = *cp << 3 | ((uint32_t) ecma_peek(p, 0) - '0');
    }

    return *cp > 0377 ? ecma_fail(p, -EINVAL, at, "no such code point") : 0;
}


static int
hex_escape(ecma_parser_t *p, int digits, uint32_t *cp)
{
    int c;

    for (*cp = 0; digits > 0; digits--) {
        c = ecma_peek(p, 0);

        if (c >= '0' && c <= '9') {
            c -= '0';

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            c = (c | 0x20) - 'a' + 10;

        } else {
            return ecma_fail(p, -EINVAL, p->at, "a hex digit is missing");
        }

        *cp = *cp << 4 | (uint32_t) c;
        p->at++;
    }

    return 0;
}


/* {X...} */
static int
braced(ecma_parser_t *p, uint32_t *cp)
{
    size_t   at = p->at++;
    uint32_t d;

    for (*cp = 0; ecma_peek(p, 0) != '}';) {
        LLM_TRY(hex_escape(p, 1, &d));
        *cp = *cp << 4 | d;

        if (*cp > 0x10ffff) {
            return ecma_fail(p, -EINVAL, at, "no such code point");
        }
    }

    if (p->at == at + 1) {
        return ecma_fail(p, -EINVAL, at, "a hex digit is missing");
    }

    p->at++;

    return 0;
}


/* After \u: XXXX, a pair of them, or {X...}. */
static int
unicode_escape(ecma_parser_t *p, uint32_t *cp)
{
    size_t   at = p->at;
    uint32_t low;

    if (ecma_peek(p, 0) == '{') {
        return braced(p, cp);
    }

    LLM_TRY(hex_escape(p, 4, cp));

    if (*cp >= 0xd800 && *cp <= 0xdbff && ecma_looking_at(p, "\\u")) {
        at = p->at;
        p->at += 2;

        if (hex_escape(p, 4, &low) == 0 && low >= 0xdc00 && low <= 0xdfff) {
            *cp = 0x10000 + ((*cp - 0xd800) << 10) + low - 0xdc00;
            return 0;
        }

        p->at = at;
    }

    return 0;
}


/* A code point as itself. */
static int
code_point(ecma_parser_t *p, uint32_t *cp)
{
    int c, n, i;

    c = ecma_peek(p, 0);
    n = c < 0x80   ? 1
        : c < 0xc2 ? 0
        : c < 0xe0 ? 2
        : c < 0xf0 ? 3
        : c < 0xf5 ? 4
                   : 0;
    *cp = n > 1 ? (uint32_t) c & (0xffu >> (n + 1)) : (uint32_t) c;

    for (i = 1; i < n; i++) {
        c = ecma_peek(p, (size_t) i);

        if (c < 0x80 || c > 0xbf) {
            n = 0;
            break;
        }

        *cp = *cp << 6 | ((uint32_t) c & 0x3f);
    }

    if (n == 0) {
        return ecma_fail(p, -EINVAL, p->at, "invalid UTF-8");
    }

    p->at += (size_t) n;

    return 0;
}


void
ecma_escape_class(char letter, const re_range_t **ranges, size_t *n)
{
    switch (letter) {
    case 'd':
        *ranges = digit;
        *n = llm_countof(digit);
        break;

    case 's':
        *ranges = space;
        *n = llm_countof(space);
        break;

    default:
        *ranges = word;
        *n = llm_countof(word);
    }
}


int
ecma_ranges_tidy(arena_t *arena, re_range_t **ranges, size_t *n, int negative)
{
    re_range_t *in, *out;
    uint32_t    next;
    size_t      i, k;

    in = arena_get(arena, (*n + 1) * sizeof(re_range_t));
    out = arena_get(arena, (*n + 1) * sizeof(re_range_t));

    if (in == NULL || out == NULL) {
        return -ENOMEM;
    }

    if (*n) {
        memcpy(in, *ranges, *n * sizeof(re_range_t));
        qsort(in, *n, sizeof(re_range_t), range_cmp);
    }

    for (i = 0, k = 0; i < *n; i++) {
        if (k > 0 && in[i].lo <= in[k - 1].hi + 1) {
            in[k - 1].hi = in[i].hi > in[k - 1].hi ? in[i].hi : in[k - 1].hi;

        } else {
            in[k++] = in[i];
        }
    }

    *ranges = in;
    *n = k;

    if (!negative) {
        return 0;
    }

    for (i = 0, k = 0, next = 0; i < *n; i++) {
        if (in[i].lo > next) {
            out[k++] = (re_range_t){next, in[i].lo - 1};
        }

        next = in[i].hi + 1;
    }

    if (next <= 0x10ffff) {
        out[k++] = (re_range_t){next, 0x10ffff};
    }

    *ranges = out;
    *n = k;

    return 0;
}


static int
range_cmp(const void *a, const void *b)
{
    const re_range_t *x = a, *y = b;

    return x->lo < y->lo ? -1 : x->lo > y->lo;
}
