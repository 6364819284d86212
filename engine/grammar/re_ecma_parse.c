/*
 * The parser of ECMA-262 patterns (see re_ecma.h): u-mode, but as lenient as
 * the web where u-mode refuses and the meaning is clear ("a{", "]", "\-").
 * Groups nest to ECMA_MAX_DEPTH, so that recursion is bounded.  Any thread;
 * memory is the caller's arena.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/re_ecma.h"

#define ECMA_MAX_DEPTH 200
#define ECMA_MAX_NODES 200000
#define ECMA_MAX_COUNT 100000000u

/* What a class holds while it is read. */
typedef struct {
    re_range_t *list;
    size_t      n, cap;
} ranges_t;

static ecma_node_t *node_new(ecma_parser_t *p, int kind);
static void         node_add(ecma_node_t *to, ecma_node_t *child);
static int          parse_alt(ecma_parser_t *p, ecma_node_t **node);
static int          parse_seq(ecma_parser_t *p, ecma_node_t **node);
static int          parse_quantifier(ecma_parser_t *p, ecma_node_t **node);
static int read_quantifier(ecma_parser_t *p, uint32_t *min, uint32_t *max);
static int read_braces(ecma_parser_t *p, uint32_t *min, uint32_t *max);
static int read_count(ecma_parser_t *p, size_t *at, uint32_t *count);
static int parse_atom(ecma_parser_t *p, ecma_node_t **node);
static int parse_group(ecma_parser_t *p, ecma_node_t **node);
static int group_name(ecma_parser_t *p);
static int parse_escape(ecma_parser_t *p, ecma_node_t **node);
static int parse_class(ecma_parser_t *p, ecma_node_t **node);
static int class_atom(ecma_parser_t *p, ranges_t *r, uint32_t *cp);
static int class_set(ecma_parser_t *p, ranges_t *r);
static int ranges_add(ecma_parser_t *p, ranges_t *r, uint32_t lo, uint32_t hi);
static int char_escape(ecma_parser_t *p, uint32_t *cp);
static int hex_escape(ecma_parser_t *p, int digits, uint32_t *cp);
static int unicode_escape(ecma_parser_t *p, uint32_t *cp);
static int code_point(ecma_parser_t *p, uint32_t *cp);
static int peek(const ecma_parser_t *p, size_t ahead);
static int looking_at(const ecma_parser_t *p, const char *s);
static int range_cmp(const void *a, const void *b);

static const re_range_t digit[] = {{'0', '9'}};
static const re_range_t word[] = {
    {'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const re_range_t space[] = {{9, 13},          {0x20, 0x20},
                                   {0xa0, 0xa0},     {0x1680, 0x1680},
                                   {0x2000, 0x200a}, {0x2028, 0x2029},
                                   {0x202f, 0x202f}, {0x205f, 0x205f},
                                   {0x3000, 0x3000}, {0xfeff, 0xfeff}};
static const re_range_t line_ends[] = {{'\n', '\n'},
                                       {'\r', '\r'},
                                       {0x2028, 0x2029}};


int
ecma_parse(ecma_parser_t *p, ecma_node_t **node)
{
    LLM_TRY(parse_alt(p, node));

    if (p->at < p->len) {
        return ecma_fail(p, -EINVAL, p->at, "unmatched ')'");
    }

    return 0;
}


int
ecma_fail(ecma_parser_t *p, int rc, size_t at, const char *msg)
{
    if (p->err_size) {
        snprintf(p->err, p->err_size, "%s at byte %zu of the pattern", msg, at);
    }

    return rc;
}


static ecma_node_t *
node_new(ecma_parser_t *p, int kind)
{
    ecma_node_t *n;

    if (p->nodes >= ECMA_MAX_NODES) {
        return NULL;
    }

    n = arena_get(p->arena, sizeof(ecma_node_t));

    if (n) {
        n->kind = kind;
        n->at = p->at;
        n->plain = kind < ECMA_START;
        p->nodes++;
    }

    return n;
}


static void
node_add(ecma_node_t *to, ecma_node_t *child)
{
    child->prev = to->last;
    child->next = NULL;

    if (to->last) {
        to->last->next = child;

    } else {
        to->first = child;
    }

    to->last = child;
    to->plain &= child->plain;
}


static int
parse_alt(ecma_parser_t *p, ecma_node_t **node)
{
    ecma_node_t *alt, *seq;

    if (++p->depth > ECMA_MAX_DEPTH) {
        return ecma_fail(p, -E2BIG, p->at, "groups nested too deep");
    }

    LLM_TRY(parse_seq(p, node));

    if (peek(p, 0) == '|') {
        alt = node_new(p, ECMA_ALT);
        if (alt == NULL) {
            return ecma_fail(p, -E2BIG, p->at, "too large");
        }

        node_add(alt, *node);

        while (peek(p, 0) == '|') {
            p->at++;
            LLM_TRY(parse_seq(p, &seq));
            node_add(alt, seq);
        }

        *node = alt;
    }

    p->depth--;

    return 0;
}


static int
parse_seq(ecma_parser_t *p, ecma_node_t **node)
{
    ecma_node_t *seq, *n;
    int          c;

    seq = node_new(p, ECMA_SEQ);
    if (seq == NULL) {
        return ecma_fail(p, -E2BIG, p->at, "too large");
    }

    for (c = peek(p, 0); c >= 0 && c != '|' && c != ')'; c = peek(p, 0)) {
        LLM_TRY(parse_atom(p, &n));
        LLM_TRY(parse_quantifier(p, &n));
        node_add(seq, n);
    }

    *node = seq;

    return 0;
}


static int
parse_quantifier(ecma_parser_t *p, ecma_node_t **node)
{
    ecma_node_t *n;
    uint32_t     min, max;
    size_t       at = p->at;
    int          rc;

    rc = read_quantifier(p, &min, &max);
    if (rc <= 0) {
        return rc;
    }

    if ((*node)->kind >= ECMA_START && (*node)->kind != ECMA_AHEAD) {
        return ecma_fail(p, -EINVAL, at, "nothing to repeat");
    }

    /* Lazy is the same language. */

    p->at += peek(p, 0) == '?';

    n = node_new(p, ECMA_REPEAT);
    if (n == NULL) {
        return ecma_fail(p, -E2BIG, p->at, "too large");
    }

    /* To look twice is to look once. */

    if ((*node)->kind == ECMA_AHEAD) {
        max = max > 1 ? 1 : max;
        min = min > 1 ? 1 : min;
    }

    n->at = at;
    n->min = min;
    n->max = max;
    node_add(n, *node);
    *node = n;
    at = p->at;

    if (read_quantifier(p, &min, &max) != 0) {
        return ecma_fail(p, -EINVAL, at, "nothing to repeat");
    }

    return 0;
}


/* 1: read one; 0: there is none. */
static int
read_quantifier(ecma_parser_t *p, uint32_t *min, uint32_t *max)
{
    switch (peek(p, 0)) {
    case '*':
        *min = 0;
        *max = RE_INF;
        break;

    case '+':
        *min = 1;
        *max = RE_INF;
        break;

    case '?':
        *min = 0;
        *max = 1;
        break;

    case '{':
        return read_braces(p, min, max);

    default:
        return 0;
    }

    p->at++;

    return 1;
}


/* {n}, {n,} or {n,m}; anything else is a literal brace. */
static int
read_braces(ecma_parser_t *p, uint32_t *min, uint32_t *max)
{
    size_t at = p->at + 1;

    if (!read_count(p, &at, min)) {
        return 0;
    }

    *max = *min;

    if (at < p->len && p->s[at] == ',') {
        at++;
        *max = RE_INF;
        (void) read_count(p, &at, max);
    }

    if (at >= p->len || p->s[at] != '}') {
        return 0;
    }

    if (*min > *max) {
        return ecma_fail(p, -EINVAL, p->at, "numbers out of order");
    }

    if (*min > ECMA_MAX_COUNT || (*max != RE_INF && *max > ECMA_MAX_COUNT)) {
        return ecma_fail(p, -E2BIG, p->at, "a repeat count is too large");
    }

    p->at = at + 1;

    return 1;
}


static int
read_count(ecma_parser_t *p, size_t *at, uint32_t *count)
{
    size_t   from = *at;
    uint32_t v;

    for (v = 0; *at < p->len && p->s[*at] >= '0' && p->s[*at] <= '9'; ++*at) {
        v = v > ECMA_MAX_COUNT ? v : v * 10 + (uint32_t) (p->s[*at] - '0');
    }

    if (*at > from) {
        *count = v;
    }

    return *at > from;
}


static int
parse_atom(ecma_parser_t *p, ecma_node_t **node)
{
    ecma_node_t *n;
    size_t       at = p->at;
    uint32_t     min, max;
    int          c;

    c = peek(p, 0);

    switch (c) {
    case '(':
        return parse_group(p, node);

    case '[':
        return parse_class(p, node);

    case '\\':
        return parse_escape(p, node);

    case '*':
    case '+':
    case '?':
        return ecma_fail(p, -EINVAL, at, "nothing to repeat");

    case '{':
        if (read_braces(p, &min, &max) != 0) {
            return ecma_fail(p, -EINVAL, at, "nothing to repeat");
        }
    }

    n = node_new(p, c == '^'   ? ECMA_START
                    : c == '$' ? ECMA_END
                    : c == '.' ? ECMA_CLASS
                               : ECMA_CHAR);
    if (n == NULL) {
        return ecma_fail(p, -E2BIG, p->at, "too large");
    }

    *node = n;

    if (c == '.') {
        n->ranges = (re_range_t *) (uintptr_t) line_ends;
        n->n_ranges = llm_countof(line_ends);

        if (ecma_ranges_tidy(p->arena, &n->ranges, &n->n_ranges, 1) < 0) {
            return ecma_fail(p, -ENOMEM, at, "no memory");
        }
    }

    if (c == '.' || c == '^' || c == '$') {
        p->at++;
        return 0;
    }

    return code_point(p, &n->min);
}


static int
parse_group(ecma_parser_t *p, ecma_node_t **node)
{
    static const struct {
        const char *open;
        int         kind, negative;
    } looks[] = {{"(?=", ECMA_AHEAD, 0},
                 {"(?!", ECMA_AHEAD, 1},
                 {"(?<=", ECMA_BEHIND, 0},
                 {"(?<!", ECMA_BEHIND, 1},
                 {"(?:", ECMA_SEQ, 0}};
    ecma_node_t *n, *inner;
    size_t       at = p->at, i;

    n = node_new(p, ECMA_SEQ);
    if (n == NULL) {
        return ecma_fail(p, -E2BIG, at, "too large");
    }

    for (i = 0; i < llm_countof(looks); i++) {
        if (looking_at(p, looks[i].open)) {
            p->at += strlen(looks[i].open);
            n->kind = looks[i].kind;
            n->negative = looks[i].negative;
            break;
        }
    }

    if (i == llm_countof(looks)) {
        if (looking_at(p, "(?<")) {
            LLM_TRY(group_name(p));

        } else if (looking_at(p, "(?")) {
            return ecma_fail(p,
                             peek(p, 2) == 'i' || peek(p, 2) == 'm'
                                     || peek(p, 2) == 's' || peek(p, 2) == '-'
                                 ? -ENOTSUP
                                 : -EINVAL,
                             at, "inline flags or an unknown group");

        } else {
            p->at++;
        }
    }

    LLM_TRY(parse_alt(p, &inner));

    if (peek(p, 0) != ')') {
        return ecma_fail(p, -EINVAL, at, "unclosed group");
    }

    p->at++;
    n->plain = n->kind == ECMA_SEQ;
    node_add(n, inner);
    *node = n;

    return 0;
}


static int
group_name(ecma_parser_t *p)
{
    size_t at = p->at;

    for (p->at += 3; peek(p, 0) >= 0 && peek(p, 0) != '>'; p->at++) {
        if (peek(p, 0) < 0x80 && peek(p, 0) != '_' && peek(p, 0) != '$'
            && !((peek(p, 0) | 0x20) >= 'a' && (peek(p, 0) | 0x20) <= 'z')
            && !(peek(p, 0) >= '0' && peek(p, 0) <= '9')) {
            break;
        }
    }

    if (peek(p, 0) != '>' || p->at == at + 3) {
        return ecma_fail(p, -EINVAL, at, "invalid group name");
    }

    p->at++;

    return 0;
}


static int
parse_escape(ecma_parser_t *p, ecma_node_t **node)
{
    ranges_t     r = {0};
    ecma_node_t *n;
    size_t       at = p->at;
    int          c, rc;

    c = peek(p, 1);
    n = node_new(p, c == 'b'   ? ECMA_WORD_EDGE
                    : c == 'B' ? ECMA_NOT_WORD_EDGE
                               : ECMA_CHAR);
    if (n == NULL) {
        return ecma_fail(p, -E2BIG, at, "too large");
    }

    *node = n;

    if (n->kind != ECMA_CHAR) {
        p->at += 2;
        return 0;
    }

    if ((c >= '1' && c <= '9') || (c == 'k' && peek(p, 2) == '<')) {
        return ecma_fail(p, -ENOTSUP, at, "back-references");
    }

    rc = class_set(p, &r);
    LLM_TRY(rc);

    if (rc == 0) {
        return char_escape(p, &n->min);
    }

    n->kind = ECMA_CLASS;
    n->ranges = r.list;
    n->n_ranges = r.n;

    return 0;
}


static int
parse_class(ecma_parser_t *p, ecma_node_t **node)
{
    ranges_t     r = {0};
    ecma_node_t *n;
    uint32_t     lo, hi;
    size_t       at = p->at, dash;
    int          negative, first, second;

    n = node_new(p, ECMA_CLASS);
    if (n == NULL) {
        return ecma_fail(p, -E2BIG, at, "too large");
    }

    p->at++;
    negative = peek(p, 0) == '^';
    p->at += negative;

    while (peek(p, 0) != ']') {
        if (peek(p, 0) < 0) {
            return ecma_fail(p, -EINVAL, at, "unclosed class");
        }

        first = class_atom(p, &r, &lo);
        LLM_TRY(first);
        dash = p->at;

        if (peek(p, 0) != '-' || peek(p, 1) == ']' || peek(p, 1) < 0) {
            if (first == 0) {
                LLM_TRY(ranges_add(p, &r, lo, lo));
            }

            continue;
        }

        p->at++;
        second = class_atom(p, &r, &hi);
        LLM_TRY(second);

        if (first == 0 && second == 0) {
            if (lo > hi) {
                return ecma_fail(p, -EINVAL, dash, "range out of order");
            }

            LLM_TRY(ranges_add(p, &r, lo, hi));
            continue;
        }

        /* A set cannot be an end of a range: the dash is itself. */

        LLM_TRY(ranges_add(p, &r, '-', '-'));

        if (first == 0) {
            LLM_TRY(ranges_add(p, &r, lo, lo));
        }

        if (second == 0) {
            LLM_TRY(ranges_add(p, &r, hi, hi));
        }
    }

    p->at++;
    n->ranges = r.list;
    n->n_ranges = r.n;
    *node = n;

    if (ecma_ranges_tidy(p->arena, &n->ranges, &n->n_ranges, negative) < 0) {
        return ecma_fail(p, -ENOMEM, at, "no memory");
    }

    return 0;
}


/* 0: one code point; 1: a set, added already. */
static int
class_atom(ecma_parser_t *p, ranges_t *r, uint32_t *cp)
{
    int rc;

    if (peek(p, 0) != '\\') {
        return code_point(p, cp);
    }

    if (peek(p, 1) == 'b') {
        p->at += 2;
        *cp = '\b';
        return 0;
    }

    rc = class_set(p, r);

    return rc ? rc : char_escape(p, cp);
}


/* \d \D \s \S \w \W \p{} \P{}; 0: none of them. */
static int
class_set(ecma_parser_t *p, ranges_t *r)
{
    const re_range_t *known;
    re_range_t       *list;
    size_t            at = p->at, n, i;
    str_t             name;
    int               c, negative;

    c = peek(p, 1);
    negative = c == 'D' || c == 'S' || c == 'W' || c == 'P';

    switch (c | 0x20) {
    case 'd':
    case 's':
    case 'w':
        ecma_escape_class((char) (c | 0x20), &known, &n);
        list = (re_range_t *) (uintptr_t) known;
        p->at += 2;
        break;

    case 'p':
        if (peek(p, 2) != '{') {
            return ecma_fail(p, -EINVAL, at, "\\p without a property");
        }

        for (i = p->at += 3; peek(p, 0) >= 0 && peek(p, 0) != '}'; p->at++) {
            /* void */
        }

        name = (str_t){p->s + i, p->at - i};

        if (peek(p, 0) != '}') {
            return ecma_fail(p, -EINVAL, at, "\\p without a property");
        }

        p->at++;
        LLM_TRY(ecma_property(p, name, &list, &n));
        break;

    default:
        return 0;
    }

    if (c < 0 || ecma_ranges_tidy(p->arena, &list, &n, negative) < 0) {
        return ecma_fail(p, -ENOMEM, at, "no memory");
    }

    for (i = 0; i < n; i++) {
        LLM_TRY(ranges_add(p, r, list[i].lo, list[i].hi));
    }

    return 1;
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

    c = peek(p, 1);

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

    if (c == 'x') {
        return hex_escape(p, 2, cp);
    }

    if (c == 'u') {
        return unicode_escape(p, cp);
    }

    if (c == 'c' && (peek(p, 0) | 0x20) >= 'a' && (peek(p, 0) | 0x20) <= 'z') {
        *cp = (uint32_t) peek(p, 0) & 31;
        p->at++;
        return 0;
    }

    if (c == '0' && (peek(p, 0) < '0' || peek(p, 0) > '9')) {
        *cp = 0;
        return 0;
    }

    if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) {
        return ecma_fail(p, -EINVAL, at, "unknown escape");
    }

    p->at--;

    return code_point(p, cp);
}


static int
hex_escape(ecma_parser_t *p, int digits, uint32_t *cp)
{
    int c;

    for (*cp = 0; digits > 0; digits--) {
        c = peek(p, 0);

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


/* After \u: XXXX, a pair of them, or {X...}. */
static int
unicode_escape(ecma_parser_t *p, uint32_t *cp)
{
    size_t   at = p->at;
    uint32_t low, d;

    if (peek(p, 0) == '{') {
        p->at++;

        for (*cp = 0; peek(p, 0) != '}';) {
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

    LLM_TRY(hex_escape(p, 4, cp));

    if (*cp >= 0xd800 && *cp <= 0xdbff && looking_at(p, "\\u")) {
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

    c = peek(p, 0);
    n = c < 0x80   ? 1
        : c < 0xc2 ? 0
        : c < 0xe0 ? 2
        : c < 0xf0 ? 3
        : c < 0xf5 ? 4
                   : 0;
    *cp = n > 1 ? (uint32_t) c & (0xffu >> (n + 1)) : (uint32_t) c;

    for (i = 1; i < n; i++) {
        c = peek(p, (size_t) i);

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


static int
peek(const ecma_parser_t *p, size_t ahead)
{
    return p->len - p->at > ahead ? (uint8_t) p->s[p->at + ahead] : -1;
}


static int
looking_at(const ecma_parser_t *p, const char *s)
{
    size_t n = strlen(s);

    return p->len - p->at >= n && memcmp(p->s + p->at, s, n) == 0;
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
