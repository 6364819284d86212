/*
 * GBNF, llama.cpp's notation of grammars, to an expression of a program.
 *
 *     source   = space-or-lines (rule space-or-lines)*
 *     rule     = name "::=" space-or-lines alts end-of-line
 *     alts     = seq ("|" space-or-lines seq)*
 *     seq      = (item ("*" | "+" | "?" | "{" n ["," [m]] "}")*)*
 *     item     = '"' char* '"' | "[" "^"? (char ("-" char)?)* "]" | "."
 *              | name | "(" alts ")" | "<" token ">"
 *     char     = any but the delimiter, or \n \t \r \\ \" \[ \] \xNN \uNNNN
 *                \UNNNNNNNN, all of which are code points
 *     comment  = "#" to the end of the line
 *
 * A line's end is space within parentheses and after "::=" and "|".  Of two
 * rules of one name the last counts; "[]" and "" are the empty text, "."
 * and "[^...]" any code point; "<name>" is a control token.  All that is
 * llama.cpp's.  More than it: left recursion, counts to 10^6, "_" in names, a
 * line that begins with "|" goes on with the rule before.  Refused by name:
 * tokens by number and "!": they are of one vocabulary, not of a text.
 *
 * Whoever compiles is the only thread here; nothing of the source is kept.
 */

#include <errno.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/gr_syntax.h"
#include "engine/grammar/js_value.h"
#include "engine/grammar/re_ecma.h"

static int source(gs_t *gs, gr_node_t *node);
static int rule_def(gs_t *gs);
static int alts(gs_t *gs, int nested, gs_node_t **node);
static int seq(gs_t *gs, int nested, gs_node_t **node);
static int item(gs_t *gs, int nested, gs_node_t **node);
static int postfix(gs_t *gs, int nested, gs_node_t **node);
static int braces(gs_t *gs, int nested, uint32_t *min, uint32_t *max);
static int literal(gs_t *gs, gs_node_t **node);
static int class(gs_t *gs, gs_node_t **node);
static int   class_range(gs_t *gs, buf_t *list);
static int   group(gs_t *gs, gs_node_t **node);
static int   token(gs_t *gs, gs_node_t **node);
static int   reference(gs_t *gs, gs_node_t **node);
static int   character(gs_t *gs, uint32_t *cp);
static void  space(gs_t *gs, int lines);
static str_t name(gs_t *gs);


int
gr_gbnf(gr_t *gr, const char *text, size_t len, gr_node_t *node, char *err,
        size_t err_size)
{
    gs_t gs;
    int  rc;

    rc = gs_open(&gs, gr, text, len, err, err_size);
    rc = rc ? rc : source(&gs, node);
    gs_free(&gs);

    return rc;
}


static int
source(gs_t *gs, gr_node_t *node)
{
    uint32_t root;

    for (space(gs, 1); gs->at < gs->len; space(gs, 1)) {
        LLM_TRY(gs_check(gs));
        LLM_TRY(rule_def(gs));
    }

    LLM_TRY(gs_rule(gs, str_lit("root"), 0, &root));

    if (gs->rules[root].body == NULL) {
        return gs_fail(gs, -EINVAL, gs->rules[root].at,
                       "there is no rule \"root\"");
    }

    return gs_finish(gs, root, node);
}


static int
rule_def(gs_t *gs)
{
    gs_node_t *body;
    uint32_t   rule;
    size_t     at = gs->at;
    str_t      s;
    int        c;

    s = name(gs);

    if (s.len == 0) {
        return gs_fail(gs, -EINVAL, at, "a rule's name is wanted");
    }

    LLM_TRY(gs_rule(gs, s, at, &rule));
    space(gs, 0);

    if (!gs_looking_at(gs, "::=")) {
        return gs_fail(gs, -EINVAL, gs->at, "\"::=\" is wanted");
    }

    gs->at += 3;
    space(gs, 1);
    LLM_TRY(alts(gs, 0, &body));
    gs->rules[rule].body = body;
    c = gs_peek(gs, 0);

    if (c >= 0 && c != '\n' && c != '\r') {
        return gs_fail(gs, -EINVAL, gs->at, "unexpected '%c'",
                       c > 0x20 && c < 0x7f ? c : '?');
    }

    return 0;
}


static int
alts(gs_t *gs, int nested, gs_node_t **node)
{
    gs_node_t *alt, *one;
    size_t     end;

    if (++gs->depth > GS_MAX_DEPTH) {
        return gs_fail(gs, -E2BIG, gs->at, "groups nested too deep");
    }

    LLM_TRY(gs_node(gs, GS_ALT, &alt));

    for (;;) {
        LLM_TRY(seq(gs, nested, &one));
        gs_add(alt, one);

        /* Another line that begins with "|", or else the rule's end. */

        end = gs->at;
        space(gs, 1);

        if (gs_peek(gs, 0) != '|') {
            gs->at = nested ? gs->at : end;
            break;
        }

        gs->at++;
        space(gs, 1);
    }

    *node = alt->first == alt->last ? alt->first : alt;
    gs->depth--;

    return 0;
}


static int
seq(gs_t *gs, int nested, gs_node_t **node)
{
    gs_node_t *list, *one;
    int        rc;

    LLM_TRY(gs_node(gs, GS_SEQ, &list));

    for (;;) {
        rc = item(gs, nested, &one);
        LLM_TRY(rc);

        if (rc == 0) {
            break;
        }

        space(gs, nested);
        LLM_TRY(postfix(gs, nested, &one));
        gs_add(list, one);
    }

    *node = list->first && list->first == list->last ? list->first : list;

    return 0;
}


/* 1: an item; 0: there is none. */
static int
item(gs_t *gs, int nested, gs_node_t **node)
{
    int c = gs_peek(gs, 0), rc;

    switch (c) {
    case '"':
        rc = literal(gs, node);
        break;

    case '[':
        rc = class(gs, node);
        break;

    case '(':
        rc = group(gs, node);
        break;

    case '.':
        gs->at++;
        rc = gs_leaf(gs, RE_CHAR, node);
        break;

    case '<':
    case '!':
        rc = token(gs, node);
        break;

    case '*':
    case '+':
    case '?':
    case '{':
        return gs_fail(gs, -EINVAL, gs->at, "nothing to repeat");

    default:
        rc = reference(gs, node);
        return rc;
    }

    return rc < 0 ? rc : 1;
}


/* All that repeats *node. */
static int
postfix(gs_t *gs, int nested, gs_node_t **node)
{
    uint32_t min, max;

    for (;; space(gs, nested)) {
        switch (gs_peek(gs, 0)) {
        case '*':
            min = 0;
            max = RE_INF;
            gs->at++;
            break;

        case '+':
            min = 1;
            max = RE_INF;
            gs->at++;
            break;

        case '?':
            min = 0;
            max = 1;
            gs->at++;
            break;

        case '{':
            LLM_TRY(braces(gs, nested, &min, &max));
            break;

        default:
            return 0;
        }

        LLM_TRY(gs_repeat(gs, node, min, max));
    }
}


static int
braces(gs_t *gs, int nested, uint32_t *min, uint32_t *max)
{
    size_t at = gs->at++;
    int    c;

    space(gs, nested);
    LLM_TRY(gs_count(gs, min));
    space(gs, nested);
    *max = *min;

    if (gs_peek(gs, 0) == ',') {
        gs->at++;
        space(gs, nested);
        c = gs_peek(gs, 0);
        *max = RE_INF;

        if (c >= '0' && c <= '9') {
            LLM_TRY(gs_count(gs, max));
            space(gs, nested);
        }
    }

    if (gs_peek(gs, 0) != '}') {
        return gs_fail(gs, -EINVAL, gs->at, "\"}\" is wanted");
    }

    gs->at++;

    if (*min > *max) {
        return gs_fail(gs, -EINVAL, at, "numbers out of order");
    }

    return 0;
}


static int
literal(gs_t *gs, gs_node_t **node)
{
    size_t   at = gs->at++;
    buf_t    text = {0};
    uint32_t cp;
    uint8_t  s[4];
    int      rc, n;

    for (rc = 0; rc == 0 && gs_peek(gs, 0) >= 0 && gs_peek(gs, 0) != '"';) {
        rc = character(gs, &cp);

        if (rc == 0 && cp >= 0xd800 && cp <= 0xdfff) {
            rc = gs_fail(gs, -EINVAL, gs->at, "half a surrogate pair");
        }

        if (rc == 0) {
            n = (int) js_utf8_put((char *) s, cp);
            buf_add(&text, s, (size_t) n);
        }
    }

    if (rc == 0 && gs_peek(gs, 0) != '"') {
        rc = gs_fail(gs, -EINVAL, at, "an unclosed literal");
    }

    if (rc == 0 && text.failed) {
        rc = gs_fail(gs, -ENOMEM, at, "no memory");
    }

    if (rc == 0) {
        gs->at++;
        rc = gs_leaf(
            gs, re_run(gs->set, text.len ? text.data : "", text.len, RE_EMPTY),
            node);
    }

    buf_free(&text);

    return rc;
}


static int class(gs_t *gs, gs_node_t **node)
{
    size_t      at = gs->at++, n;
    buf_t       list = {0};
    re_range_t *ranges;
    int         negative, rc;

    negative = gs_peek(gs, 0) == '^';
    gs->at += negative;

    for (rc = 0; rc == 0 && gs_peek(gs, 0) >= 0 && gs_peek(gs, 0) != ']';) {
        rc = class_range(gs, &list);
    }

    if (rc == 0 && gs_peek(gs, 0) < 0) {
        rc = gs_fail(gs, -EINVAL, at, "an unclosed class");
    }

    ranges = (re_range_t *) (void *) list.data;
    n = list.len / sizeof(re_range_t);

    if (rc == 0
        && (list.failed
            || ecma_ranges_tidy(&gs->arena, &ranges, &n, negative) < 0)) {
        rc = gs_fail(gs, -E2BIG, at, "the grammar is too large");
    }

    if (rc == 0) {
        gs->at++;
        rc = gs_leaf(gs, list.len ? re_ranges(gs->set, ranges, n) : RE_EMPTY,
                     node);
    }

    buf_free(&list);

    return rc;
}


static int
class_range(gs_t *gs, buf_t *list)
{
    re_range_t range;
    size_t     at = gs->at;

    LLM_TRY(character(gs, &range.lo));
    range.hi = range.lo;

    if (gs_peek(gs, 0) == '-' && gs_peek(gs, 1) != ']') {
        gs->at++;
        LLM_TRY(character(gs, &range.hi));
    }

    if (range.lo > range.hi) {
        return gs_fail(gs, -EINVAL, at, "range out of order");
    }

    buf_add(list, &range, sizeof(range));

    return 0;
}


static int
group(gs_t *gs, gs_node_t **node)
{
    size_t at = gs->at++;

    space(gs, 1);
    LLM_TRY(alts(gs, 1, node));

    if (gs_peek(gs, 0) < 0) {
        return gs_fail(gs, -EINVAL, at, "an unclosed group");
    }

    if (gs_peek(gs, 0) != ')') {
        return gs_fail(gs, -EINVAL, gs->at, "\")\" is wanted");
    }

    gs->at++;

    return 0;
}


/* A control token by its text. */
static int
token(gs_t *gs, gs_node_t **node)
{
    size_t at = gs->at;

    if (gs_peek(gs, 0) == '!') {
        return gs_fail(gs, -ENOTSUP, at, "any token but one");
    }

    if (gs_peek(gs, 1) == '[') {
        return gs_fail(gs, -ENOTSUP, at, "a token by its number");
    }

    while (gs_peek(gs, 0) >= 0 && gs_peek(gs, 0) != '>'
           && gs_peek(gs, 0) != '\n') {
        gs->at++;
    }

    if (gs_peek(gs, 0) != '>' || gs->at == at + 1) {
        return gs_fail(gs, -EINVAL, at, "a token's name in \"<\" and \">\"");
    }

    gs->at++;
    LLM_TRY(gs_node(gs, GS_NODE, node));
    (*node)->node = gr_special(gs->gr, gs->s + at, gs->at - at);

    return 0;
}


/* 1: a rule's name; 0: there is none. */
static int
reference(gs_t *gs, gs_node_t **node)
{
    size_t   at = gs->at;
    uint32_t rule;
    str_t    s;

    s = name(gs);

    if (s.len == 0) {
        return 0;
    }

    LLM_TRY(gs_rule(gs, s, at, &rule));
    LLM_TRY(gs_node(gs, GS_RULE, node));
    (*node)->rule = rule;

    return 1;
}


static int
character(gs_t *gs, uint32_t *cp)
{
    static const char escapes[] = "n\nt\tr\r\\\\\"\"[[]]";
    size_t            at = gs->at;
    int               c, i;

    if (gs_peek(gs, 0) != '\\') {
        return gs_code_point(gs, cp);
    }

    c = gs_peek(gs, 1);
    gs->at += 2;

    switch (c) {
    case 'x':
        return gs_hex(gs, 2, cp);

    case 'u':
        return gs_hex(gs, 4, cp);

    case 'U':
        return gs_hex(gs, 8, cp);
    }

    for (i = 0; escapes[i]; i += 2) {
        if (c == escapes[i]) {
            *cp = (uint8_t) escapes[i + 1];
            return 0;
        }
    }

    gs->at = at;

    return gs_fail(gs, -EINVAL, at, "unknown escape");
}


/* Spaces and comments, and lines' ends if they are no more than that. */
static void
space(gs_t *gs, int lines)
{
    int c;

    for (;; gs->at++) {
        c = gs_peek(gs, 0);

        if (c == '#') {
            for (; c >= 0 && c != '\n' && c != '\r'; c = gs_peek(gs, 0)) {
                gs->at++;
            }
        }

        if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r'))) {
            return;
        }
    }
}


static str_t
name(gs_t *gs)
{
    size_t at = gs->at;
    int    c;

    for (;; gs->at++) {
        c = gs_peek(gs, 0);

        if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && !(c >= '0' && c <= '9')
            && c != '-' && c != '_') {
            return (str_t){gs->s + at, gs->at - at};
        }
    }
}
