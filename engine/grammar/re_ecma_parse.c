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

static ecma_node_t *node_new(ecma_parser_t *p, int kind);
static void         node_add(ecma_node_t *to, ecma_node_t *child);
static int          parse_alt(ecma_parser_t *p, ecma_node_t **node);
static int          parse_seq(ecma_parser_t *p, ecma_node_t **node);
static void         verbose(ecma_parser_t *p);
static int          parse_quantifier(ecma_parser_t *p, ecma_node_t **node);
static int read_quantifier(ecma_parser_t *p, uint32_t *min, uint32_t *max);
static int read_braces(ecma_parser_t *p, uint32_t *min, uint32_t *max);
static int read_count(ecma_parser_t *p, size_t *at, uint32_t *count);
static int parse_atom(ecma_parser_t *p, ecma_node_t **node);
static int parse_group(ecma_parser_t *p, ecma_node_t **node);
static int any_char(ecma_parser_t *p, ecma_node_t *n);
static int anchor(ecma_parser_t *p, ecma_node_t *n);
static int other_dialect(const ecma_parser_t *p);
static int group_start(ecma_parser_t *p);
static int group_flags(ecma_parser_t *p);
static int group_name(ecma_parser_t *p, size_t open);
static int parse_escape(ecma_parser_t *p, ecma_node_t **node);
static int octal(const ecma_parser_t *p);

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

    if (ecma_peek(p, 0) == '|') {
        alt = node_new(p, ECMA_ALT);
        if (alt == NULL) {
            return ecma_fail(p, -E2BIG, p->at, "too large");
        }

        node_add(alt, *node);

        while (ecma_peek(p, 0) == '|') {
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
    ecma_node_t *seq, *n = NULL;
    int          c, rc;

    seq = node_new(p, ECMA_SEQ);
    if (seq == NULL) {
        return ecma_fail(p, -E2BIG, p->at, "too large");
    }

    for (;;) {
        verbose(p);
        c = ecma_peek(p, 0);

        if (c < 0 || c == '|' || c == ')') {
            break;
        }

        rc = parse_atom(p, &n);
        LLM_TRY(rc);

        if (rc == 0) {
            verbose(p);
            LLM_TRY(parse_quantifier(p, &n));
            node_add(seq, n);
        }
    }

    *node = seq;

    return 0;
}


/* With the flag x: spaces and comments. */
static void
verbose(ecma_parser_t *p)
{
    int c;

    for (; p->how & ECMA_X; p->at++) {
        c = ecma_peek(p, 0);

        if (c == '#') {
            for (; c >= 0 && c != '\n'; c = ecma_peek(p, 0)) {
                p->at++;
            }
        }

        if (c != ' ' && !(c >= '\t' && c <= '\r')) {
            break;
        }
    }
}


static int
parse_quantifier(ecma_parser_t *p, ecma_node_t **node)
{
    ecma_node_t *n;
    uint32_t     min, max;
    size_t       at = p->at;
    int          rc, lazy;

    rc = read_quantifier(p, &min, &max);
    if (rc <= 0) {
        return rc;
    }

    if ((*node)->kind >= ECMA_START && (*node)->kind != ECMA_AHEAD) {
        return ecma_fail(p, -EINVAL, at, "nothing to repeat");
    }

    /* Lazy is the same language, of a whole text. */

    lazy = ecma_peek(p, 0) == '?';

    if (lazy) {
        p->lazy = 1;
        p->at++;

    } else if (ecma_peek(p, 0) == '+' && (p->how & ECMA_EXTRA)) {
        return ecma_fail(p, -ENOTSUP, p->at, "possessive repeats");
    }

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
    n->lazy = lazy;
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
    switch (ecma_peek(p, 0)) {
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
        if (!(p->how & ECMA_PYTHON) || at >= p->len || p->s[at] != ',') {
            return 0;
        }

        *min = 0;
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

    c = ecma_peek(p, 0);

    switch (c) {
    case '(':
        return parse_group(p, node);

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
                    : c == '[' ? ECMA_CLASS
                               : ECMA_CHAR);
    if (n == NULL) {
        return ecma_fail(p, -E2BIG, p->at, "too large");
    }

    *node = n;

    if (c == '[') {
        return ecma_class(p, n);
    }

    if (c == '.') {
        p->at++;
        return any_char(p, n);
    }

    if (c == '^' || c == '$') {
        p->at++;
        return anchor(p, n);
    }

    return ecma_char(p, n);
}


/* "." */
static int
any_char(ecma_parser_t *p, ecma_node_t *n)
{
    n->ranges = (re_range_t *) (uintptr_t) line_ends;
    n->n_ranges = p->how & ECMA_S        ? 0
                  : p->how & ECMA_PYTHON ? 1
                                         : llm_countof(line_ends);

    if (ecma_ranges_tidy(p->arena, &n->ranges, &n->n_ranges, 1) < 0) {
        return ecma_fail(p, -ENOMEM, n->at, "no memory");
    }

    return 0;
}


/* What asks about the place where it stands. */
static int
anchor(ecma_parser_t *p, ecma_node_t *n)
{
    if ((p->how & ECMA_PYTHON) && !p->looking) {
        return ecma_fail(p, -ENOTSUP, n->at,
                         "an anchor or a word's edge in a part of a text");
    }

    if ((p->how & ECMA_M) && (n->kind == ECMA_START || n->kind == ECMA_END)) {
        return ecma_fail(p, -ENOTSUP, n->at, "^ and $ with the flag m");
    }

    return 0;
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
    unsigned     how = p->how;
    size_t       at = p->at, i;
    int          rc;

    n = node_new(p, ECMA_SEQ);
    if (n == NULL) {
        return ecma_fail(p, -E2BIG, at, "too large");
    }

    for (i = 0; i < llm_countof(looks); i++) {
        if (ecma_looking_at(p, looks[i].open)) {
            p->at += strlen(looks[i].open);
            n->kind = looks[i].kind;
            n->negative = looks[i].negative;
            break;
        }
    }

    if (i == llm_countof(looks)) {
        rc = group_start(p);

        if (rc != 0) {
            return rc;
        }
    }

    p->looking += n->kind != ECMA_SEQ;
    LLM_TRY(parse_alt(p, &inner));

    if (ecma_peek(p, 0) != ')') {
        return ecma_fail(p, -EINVAL, at, "unclosed group");
    }

    p->at++;
    p->how = how;
    p->looking -= n->kind != ECMA_SEQ;
    n->plain = n->kind == ECMA_SEQ;
    node_add(n, inner);
    *node = n;

    return 0;
}


/* What other dialects have is no pattern of ECMA-262. */
static int
other_dialect(const ecma_parser_t *p)
{
    return p->how & ECMA_EXTRA ? -ENOTSUP : -EINVAL;
}


/*
 * After "(" of a group that is no look-around: 0: its contents are next; 1:
 * it was flags or a comment.
 */
static int
group_start(ecma_parser_t *p)
{
    static const struct {
        const char *open, *what;
        int         name;
    } known[] = {{"(?<", "", 3},
                 {"(?P<", "Python's names of groups", 4},
                 {"(?#", "comments", 0},
                 {"(?>", "atomic groups", 0},
                 {"(?(", "conditional groups", 0},
                 {"(?|", "branch resets", 0},
                 {"(?P=", "back-references", 0},
                 {"(?P>", "recursion", 0},
                 {"(?&", "recursion", 0}};
    size_t at = p->at, i;

    if (!ecma_looking_at(p, "(?")) {
        p->at++;
        return 0;
    }

    for (i = 0; i < llm_countof(known); i++) {
        if (!ecma_looking_at(p, known[i].open)) {
            continue;
        }

        if (known[i].name && (i == 0 || (p->how & ECMA_EXTRA))) {
            return group_name(p, (size_t) known[i].name);
        }

        if (known[i].open[2] != '#' || !(p->how & ECMA_EXTRA)) {
            return ecma_fail(p, other_dialect(p), at, known[i].what);
        }

        while (ecma_peek(p, 0) >= 0 && ecma_peek(p, 0) != ')') {
            p->at++;
        }

        if (ecma_peek(p, 0) < 0) {
            return ecma_fail(p, -EINVAL, at, "unclosed group");
        }

        p->at++;
        return 1;
    }

    return group_flags(p);
}


/* (?is-m) for the rest of the group around it; (?is-m: for its own. */
static int
group_flags(ecma_parser_t *p)
{
    static const struct {
        char     letter;
        unsigned flag, needs;
    } flags[] = {{'i', ECMA_I, 0},          {'m', ECMA_M, 0},
                 {'s', ECMA_S, 0},          {'x', ECMA_X, ECMA_EXTRA},
                 {'a', ECMA_A, ECMA_EXTRA}, {'u', 0, ECMA_PYTHON}};
    size_t   at = p->at, i;
    int      c, off = 0, bytes = 0;
    unsigned how = p->how;

    for (p->at += 2; (c = ecma_peek(p, 0)) != ')' && c != ':'; p->at++) {
        for (i = 0; i < llm_countof(flags) && flags[i].letter != c; i++) {
            /* void */
        }

        if (c == '-' && !off) {
            off = 1;
            continue;
        }

        if (i == llm_countof(flags)) {
            return ecma_fail(p,
                             (c | 0x20) >= 'a' && (c | 0x20) <= 'z'
                                 ? other_dialect(p)
                                 : -EINVAL,
                             at, "an unknown group or flag");
        }

        if (flags[i].needs && !(how & flags[i].needs)) {
            return ecma_fail(p, other_dialect(p), at, "an inline flag");
        }

        bytes |= off && (flags[i].flag & ~(ECMA_A - 1u) || !flags[i].flag);
        how = off ? how & ~flags[i].flag : how | flags[i].flag;
    }

    if (c == ')' && !(p->how & ECMA_EXTRA)) {
        return ecma_fail(p, -EINVAL, at, "inline flags without a group");
    }

    if (bytes || (how & (ECMA_I | ECMA_A)) == (ECMA_I | ECMA_A)) {
        return ecma_fail(p, -ENOTSUP, at, "these inline flags");
    }

    if (p->at == at + 2 + (size_t) off) {
        return ecma_fail(p, -EINVAL, at, "flags are wanted");
    }

    p->how = how;
    p->at++;

    return c == ')';
}


static int
group_name(ecma_parser_t *p, size_t open)
{
    size_t at = p->at;

    for (p->at += open; ecma_peek(p, 0) >= 0 && ecma_peek(p, 0) != '>';
         p->at++) {
        if (ecma_peek(p, 0) < 0x80 && ecma_peek(p, 0) != '_'
            && ecma_peek(p, 0) != '$'
            && !((ecma_peek(p, 0) | 0x20) >= 'a'
                 && (ecma_peek(p, 0) | 0x20) <= 'z')
            && !(ecma_peek(p, 0) >= '0' && ecma_peek(p, 0) <= '9')) {
            break;
        }
    }

    if (ecma_peek(p, 0) != '>' || p->at == at + open) {
        return ecma_fail(p, -EINVAL, at, "invalid group name");
    }

    p->at++;

    return 0;
}


static int
parse_escape(ecma_parser_t *p, ecma_node_t **node)
{
    static const struct {
        char letter;
        int  kind, needs;
    } anchors[] = {{'b', ECMA_WORD_EDGE, 0},
                   {'B', ECMA_NOT_WORD_EDGE, 0},
                   {'A', ECMA_START, ECMA_EXTRA},
                   {'z', ECMA_END, ECMA_EXTRA},
                   {'Z', ECMA_END, ECMA_EXTRA}};
    ecma_node_t *n;
    size_t       at = p->at, i;
    int          c;

    c = ecma_peek(p, 1);
    n = node_new(p, ECMA_CHAR);
    if (n == NULL) {
        return ecma_fail(p, -E2BIG, at, "too large");
    }

    *node = n;

    for (i = 0; i < llm_countof(anchors); i++) {
        if (c != anchors[i].letter) {
            continue;
        }

        if (anchors[i].needs && !(p->how & ECMA_EXTRA)) {
            return ecma_fail(p, -EINVAL, at, "\\A, \\Z and \\z");
        }

        n->kind = anchors[i].kind;
        n->plain = 0;
        p->at += 2;

        /* Lines do not matter to those that are letters. */

        return (p->how & ECMA_PYTHON) ? anchor(p, n) : 0;
    }

    if ((c >= '1' && c <= '9' && !octal(p))
        || (c == 'k' && ecma_peek(p, 2) == '<')) {
        return ecma_fail(p, -ENOTSUP, at, "back-references");
    }

    return ecma_escape(p, n);
}


/* Three digits are no reference to Python. */
static int
octal(const ecma_parser_t *p)
{
    int i;

    for (i = 1; i <= 3; i++) {
        if (ecma_peek(p, (size_t) i) < '0' || ecma_peek(p, (size_t) i) > '7') {
            return 0;
        }
    }

    return (p->how & ECMA_PYTHON) != 0;
}
