/*
 * Lark's grammars to an expression of a program: the part of the notation
 * that OpenAI's custom tools take, as llguidance documents it.
 *
 *     statement = ["!"|"?"] rule ["." priority] ":" alts
 *               | TERMINAL ":" alts | "%ignore" alts
 *               | "%import" "common" ("." NAME ["->" NAME] | "(" NAME,... ")")
 *     alts      = alt ("|" alt)*             also on the lines that follow
 *     alt       = and ("&" and)* ["->" alias]
 *     and       = (value [op])*
 *     op        = "?" | "*" | "+" | "~" n [".." m] | "{" [n] ["," [m]] "}"
 *     value     = name | "text" ["i"] | "a".."z" | /regex/flags
 *               | "(" alts ")" | "[" alts "]" | "~" value
 *               | <token> | %json { schema }
 *     comment   = ("//" | "#") to the end of the line
 *
 * THE LANGUAGE is the mathematical one: a text belongs to it if it can be cut
 * into terminals, with what is ignored between them, before the first and
 * after the last, so that the rules allow it.  Lark's own parsers may accept
 * less: its lexers take the longest or the first terminal that matches and
 * do not look for another way ("if" is then no NAME where IF could be meant).
 * With parser='earley', lexer='dynamic_complete' it is the same.  What could
 * only change which way is found changes nothing here: rules' priorities,
 * aliases, "!" and "?".  Terminals' priorities would, and are refused.
 *
 * A terminal's expression is Python's (re_ecma.h: ECMA_PYTHON) and sees the
 * terminal only: anchors are refused.  ESCAPED_STRING and C_COMMENT end at
 * the first end that they have, as their lazy expressions say.
 *
 * Refused by name: templates, %declare, %override, %extend, %regex, %lark,
 * imports from elsewhere, attributes, parameters, tokens by number.
 *
 * Whoever compiles is the only thread here; nothing of the source is kept.
 */

#include <errno.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/gr_lark.h"
#include "engine/grammar/re_ecma.h"

static int   source(lark_t *lark, gr_node_t *node);
static int   root(lark_t *lark, gr_node_t *node);
static int   statement(lark_t *lark);
static int   definition(lark_t *lark);
static int   priority(lark_t *lark);
static int   define(lark_t *lark, str_t name, size_t at, gs_node_t *body);
static int   end_of_line(lark_t *lark);
static int   directive(lark_t *lark);
static int   ignore(lark_t *lark);
static int   import(lark_t *lark);
static int   import_list(lark_t *lark);
static int   import_name(lark_t *lark, str_t from, str_t to, size_t at);
static int   options(lark_t *lark);
static int   alts(lark_t *lark, int nested, gs_node_t **node);
static int   alt(lark_t *lark, int nested, gs_node_t **node);
static int   conjunct(lark_t *lark, int nested, gs_node_t **node);
static int   expr(lark_t *lark, int nested, gs_node_t **node);
static int   operator(lark_t *lark, int nested, gs_node_t **node);
static int   range(lark_t *lark, uint32_t *min, uint32_t *max);
static int   braces(lark_t *lark, uint32_t *min, uint32_t *max);
static int   atom(lark_t *lark, gs_node_t **node);
static int   group(lark_t *lark, int close, gs_node_t **node);
static int   complement(lark_t *lark, gs_node_t **node);
static int   reference(lark_t *lark, gs_node_t **node);
static int   then_ignored(lark_t *lark, gs_node_t **node);
static str_t name(lark_t *lark);
static int   name_byte(const gs_t *gs, size_t ahead, int upper);
static int   is_terminal(str_t name);


int
gr_lark(gr_t *gr, const char *text, size_t len, gr_node_t *node, char *err,
        size_t err_size)
{
    lark_t lark = {0};
    int    rc;

    rc = gs_open(&lark.gs, gr, text, len, err, err_size);
    rc = rc ? rc : source(&lark, node);
    gs_free(&lark.gs);

    return rc;
}


static int
source(lark_t *lark, gr_node_t *node)
{
    gs_t *gs = &lark->gs;

    LLM_TRY(gs_rule(gs, str_lit("%ignore"), 0, &lark->ignore));
    gs->rules[lark->ignore].terminal = 1;

    for (lark_space(lark, 1); gs->at < gs->len; lark_space(lark, 1)) {
        LLM_TRY(gr_check_time(gs->gr));
        LLM_TRY(statement(lark));
    }

    return root(lark, node);
}


/* What is ignored, then `start`. */
static int
root(lark_t *lark, gr_node_t *node)
{
    gs_t      *gs = &lark->gs;
    uint32_t   start, all;
    gs_node_t *n, *body;

    LLM_TRY(gs_rule(gs, str_lit("start"), 0, &start));

    if (gs->rules[start].body == NULL) {
        return gs_fail(gs, -EINVAL, gs->rules[start].at,
                       "there is no rule \"start\"");
    }

    if (lark->ignored) {
        LLM_TRY(gs_repeat(gs, &lark->ignored, 0, RE_INF));

    } else {
        LLM_TRY(gs_leaf(gs, RE_EMPTY, &lark->ignored));
    }

    gs->rules[lark->ignore].body = lark->ignored;

    LLM_TRY(gs_node(gs, GS_SEQ, &body));
    LLM_TRY(gs_node(gs, GS_RULE, &n));
    n->rule = lark->ignore;
    gs_add(body, n);
    LLM_TRY(gs_node(gs, GS_RULE, &n));
    n->rule = start;
    gs_add(body, n);
    LLM_TRY(gs_rule(gs, str_lit("%root"), 0, &all));
    gs->rules[all].body = body;

    return gs_finish(gs, all, node);
}


static int
statement(lark_t *lark)
{
    return gs_peek(&lark->gs, 0) == '%' ? directive(lark) : definition(lark);
}


static int
definition(lark_t *lark)
{
    gs_t      *gs = &lark->gs;
    gs_node_t *body;
    size_t     at;
    str_t      s;

    while (gs_peek(gs, 0) == '!' || gs_peek(gs, 0) == '?') {
        gs->at++;
    }

    at = gs->at;
    s = name(lark);

    if (s.len == 0) {
        return gs_fail(gs, -EINVAL, at, "a rule or a terminal is wanted");
    }

    lark->terminal = is_terminal(s);

    switch (gs_peek(gs, 0)) {
    case '{':
        return gs_fail(gs, -ENOTSUP, gs->at, "templates");

    case '[':
        return gs_fail(gs, -ENOTSUP, gs->at, "attributes of a rule");

    case '.':
        LLM_TRY(priority(lark));
    }

    lark_space(lark, 0);

    if (gs_looking_at(gs, "::")) {
        return gs_fail(gs, -ENOTSUP, gs->at, "parameters of a rule");
    }

    if (gs_peek(gs, 0) != ':') {
        return gs_fail(gs, -EINVAL, gs->at, "\":\" is wanted");
    }

    gs->at++;
    LLM_TRY(alts(lark, 0, &body));
    LLM_TRY(define(lark, s, at, body));

    return end_of_line(lark);
}


/* Of a rule it only chooses between ways to read a text. */
static int
priority(lark_t *lark)
{
    gs_t    *gs = &lark->gs;
    size_t   at = gs->at++;
    uint32_t n;

    gs->at += gs_peek(gs, 0) == '-' || gs_peek(gs, 0) == '+';
    LLM_TRY(gs_count(gs, &n));

    if (lark->terminal && n != 0) {
        return gs_fail(gs, -ENOTSUP, at, "the priority of a terminal");
    }

    return 0;
}


static int
define(lark_t *lark, str_t s, size_t at, gs_node_t *body)
{
    gs_t    *gs = &lark->gs;
    uint32_t rule;

    LLM_TRY(gs_rule(gs, s, at, &rule));

    if (gs->rules[rule].body) {
        return gs_fail(gs, -EINVAL, at, "\"%.*s\" is defined twice",
                       (int) (s.len & 0xff), s.s);
    }

    gs->rules[rule].body = body;
    gs->rules[rule].terminal = is_terminal(s);

    return 0;
}


static int
end_of_line(lark_t *lark)
{
    gs_t *gs = &lark->gs;
    int   c;

    lark_space(lark, 0);
    c = gs_peek(gs, 0);

    if (c >= 0 && c != '\n' && c != '\r') {
        return gs_fail(gs, -EINVAL, gs->at, "unexpected '%c'",
                       c > 0x20 && c < 0x7f ? c : '?');
    }

    return 0;
}


static int
directive(lark_t *lark)
{
    static const struct {
        const char *word;
        int (*read)(lark_t *lark);
    } known[] = {{"%ignore", ignore},      {"%import", import},
                 {"%llguidance", options}, {"%declare", NULL},
                 {"%override", NULL},      {"%extend", NULL},
                 {"%json", NULL},          {"%regex", NULL},
                 {"%lark", NULL}};
    gs_t  *gs = &lark->gs;
    size_t i;

    for (i = 0; i < llm_countof(known); i++) {
        if (!gs_looking_at(gs, known[i].word)
            || name_byte(gs, strlen(known[i].word), 0)) {
            continue;
        }

        if (known[i].read == NULL) {
            return gs_fail(gs, -ENOTSUP, gs->at, "%s", known[i].word);
        }

        gs->at += strlen(known[i].word);
        LLM_TRY(known[i].read(lark));

        return end_of_line(lark);
    }

    return gs_fail(gs, -EINVAL, gs->at, "unknown directive");
}


static int
ignore(lark_t *lark)
{
    gs_t      *gs = &lark->gs;
    gs_node_t *body;

    lark->terminal = 1;
    LLM_TRY(alts(lark, 0, &body));

    if (lark->ignored == NULL) {
        LLM_TRY(gs_node(gs, GS_ALT, &lark->ignored));
    }

    gs_add(lark->ignored, body);

    return 0;
}


static int
import(lark_t *lark)
{
    gs_t  *gs = &lark->gs;
    size_t at;
    str_t  from, to;

    lark_space(lark, 0);
    at = gs->at;
    from = name(lark);

    if (!str_eq(from, str_lit("common"))) {
        return gs_fail(gs, -ENOTSUP, at, "an import that is not of \"common\"");
    }

    lark_space(lark, 0);

    if (gs_peek(gs, 0) == '(') {
        return import_list(lark);
    }

    if (gs_peek(gs, 0) != '.') {
        return gs_fail(gs, -EINVAL, gs->at, "\".\" or \"(\" is wanted");
    }

    at = ++gs->at;
    from = to = name(lark);
    lark_space(lark, 0);

    if (gs_looking_at(gs, "->")) {
        gs->at += 2;
        lark_space(lark, 0);
        to = name(lark);
    }

    return import_name(lark, from, to, at);
}


static int
import_list(lark_t *lark)
{
    gs_t  *gs = &lark->gs;
    size_t at;
    str_t  s;

    do {
        gs->at++;
        lark_space(lark, 1);
        at = gs->at;
        s = name(lark);
        LLM_TRY(import_name(lark, s, s, at));
        lark_space(lark, 1);
    } while (gs_peek(gs, 0) == ',');

    if (gs_peek(gs, 0) != ')') {
        return gs_fail(gs, -EINVAL, gs->at, "\",\" or \")\" is wanted");
    }

    gs->at++;

    return 0;
}


static int
import_name(lark_t *lark, str_t from, str_t to, size_t at)
{
    const char *pattern;
    gs_node_t  *body;
    re_t        re;

    pattern = lark_common(from);

    if (pattern == NULL) {
        return gs_fail(&lark->gs, -EINVAL, at,
                       "there is no such terminal in \"common\"");
    }

    if (to.len == 0 || !is_terminal(to)) {
        return gs_fail(&lark->gs, -EINVAL, at, "a terminal's name is wanted");
    }

    LLM_TRY(lark_pattern(lark, at, pattern, strlen(pattern), 0, &re));
    LLM_TRY(gs_leaf(&lark->gs, re, &body));

    return define(lark, to, at, body);
}


/* %llguidance {}: nothing but that it is one. */
static int
options(lark_t *lark)
{
    gs_t  *gs = &lark->gs;
    size_t at = gs->at;

    lark_space(lark, 0);

    if (gs_peek(gs, 0) == '{') {
        gs->at++;
        lark_space(lark, 1);

        if (gs_peek(gs, 0) == '}') {
            gs->at++;
            return 0;
        }
    }

    return gs_fail(gs, -ENOTSUP, at, "options of %%llguidance");
}


static int
alts(lark_t *lark, int nested, gs_node_t **node)
{
    gs_t      *gs = &lark->gs;
    gs_node_t *list, *one;
    size_t     end;

    if (++gs->depth > GS_MAX_DEPTH) {
        return gs_fail(gs, -E2BIG, gs->at, "groups nested too deep");
    }

    LLM_TRY(gs_node(gs, GS_ALT, &list));

    for (;;) {
        LLM_TRY(alt(lark, nested, &one));
        gs_add(list, one);

        end = gs->at;
        lark_space(lark, 1);

        if (gs_peek(gs, 0) != '|') {
            gs->at = nested ? gs->at : end;
            break;
        }

        gs->at++;
    }

    *node = list->first == list->last ? list->first : list;
    gs->depth--;

    return 0;
}


static int
alt(lark_t *lark, int nested, gs_node_t **node)
{
    gs_t      *gs = &lark->gs;
    gs_node_t *all, *one;

    LLM_TRY(conjunct(lark, nested, node));

    if (gs_peek(gs, 0) == '&') {
        if (!lark->terminal) {
            return gs_fail(gs, -ENOTSUP, gs->at, "\"&\" outside of terminals");
        }

        LLM_TRY(gs_node(gs, GS_AND, &all));
        gs_add(all, *node);
        *node = all;

        while (gs_peek(gs, 0) == '&') {
            gs->at++;
            LLM_TRY(conjunct(lark, nested, &one));
            gs_add(all, one);
        }
    }

    if (gs_looking_at(gs, "->")) {
        if (lark->terminal) {
            return gs_fail(gs, -EINVAL, gs->at, "an alias in a terminal");
        }

        gs->at += 2;
        lark_space(lark, nested);

        if (name(lark).len == 0) {
            return gs_fail(gs, -EINVAL, gs->at, "an alias is wanted");
        }
    }

    return 0;
}


static int
conjunct(lark_t *lark, int nested, gs_node_t **node)
{
    gs_node_t *list, *one;
    int        rc;

    LLM_TRY(gs_node(&lark->gs, GS_SEQ, &list));

    for (;;) {
        lark_space(lark, nested);
        rc = expr(lark, nested, &one);
        LLM_TRY(rc);

        if (rc == 0) {
            break;
        }

        gs_add(list, one);
    }

    *node = list->first && list->first == list->last ? list->first : list;

    return 0;
}


/* 1: a value and what repeats it; 0: there is none. */
static int
expr(lark_t *lark, int nested, gs_node_t **node)
{
    int rc;

    LLM_TRY(gr_check_time(lark->gs.gr));
    rc = atom(lark, node);

    if (rc <= 0) {
        return rc;
    }

    LLM_TRY(operator(lark, nested, node));

    return 1;
}


static int
operator(lark_t *lark, int nested, gs_node_t **node)
{
    gs_t    *gs = &lark->gs;
    size_t   at = gs->at;
    uint32_t min = 0, max = RE_INF;

    lark_space(lark, nested);

    switch (gs_peek(gs, 0)) {
    case '?':
        max = 1;
        gs->at++;
        break;

    case '+':
        min = 1;
        gs->at++;
        break;

    case '*':
        gs->at++;
        break;

    case '~':
        gs->at++;
        lark_space(lark, 0);

        if (gs_peek(gs, 0) < '0' || gs_peek(gs, 0) > '9') {
            gs->at = at; /* the complement of what comes next */
            return 0;
        }

        LLM_TRY(range(lark, &min, &max));
        break;

    case '{':
        LLM_TRY(braces(lark, &min, &max));
        break;

    default:
        return 0;
    }

    return gs_repeat(gs, node, min, max);
}


static int
range(lark_t *lark, uint32_t *min, uint32_t *max)
{
    gs_t  *gs = &lark->gs;
    size_t at = gs->at;

    LLM_TRY(gs_count(gs, min));
    *max = *min;
    lark_space(lark, 0);

    if (gs_looking_at(gs, "..")) {
        gs->at += 2;
        lark_space(lark, 0);
        LLM_TRY(gs_count(gs, max));
    }

    if (*min > *max) {
        return gs_fail(gs, -EINVAL, at, "numbers out of order");
    }

    return 0;
}


static int
braces(lark_t *lark, uint32_t *min, uint32_t *max)
{
    gs_t  *gs = &lark->gs;
    size_t at = gs->at++;

    lark_space(lark, 0);
    *min = 0;

    if (gs_peek(gs, 0) != ',') {
        LLM_TRY(gs_count(gs, min));
        lark_space(lark, 0);
    }

    *max = *min;

    if (gs_peek(gs, 0) == ',') {
        gs->at++;
        lark_space(lark, 0);
        *max = RE_INF;

        if (gs_peek(gs, 0) != '}') {
            LLM_TRY(gs_count(gs, max));
            lark_space(lark, 0);
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


/* 1: one; 0: there is none. */
static int
atom(lark_t *lark, gs_node_t **node)
{
    gs_t *gs = &lark->gs;
    int   rc;

    switch (gs_peek(gs, 0)) {
    case '(':
        return group(lark, ')', node);

    case '[':
        rc = group(lark, ']', node);
        LLM_TRY(rc);
        LLM_TRY(gs_repeat(gs, node, 0, 1));
        return 1;

    case '~':
        return complement(lark, node);

    case '*':
    case '+':
    case '?':
    case '{':
        return gs_fail(gs, -EINVAL, gs->at, "nothing to repeat");
    }

    rc = lark_value(lark, node);
    LLM_TRY(rc);

    if (rc == 0) {
        return reference(lark, node);
    }

    LLM_TRY(then_ignored(lark, node));

    return 1;
}


static int
group(lark_t *lark, int close, gs_node_t **node)
{
    gs_t  *gs = &lark->gs;
    size_t at = gs->at++;

    LLM_TRY(alts(lark, 1, node));

    if (gs_peek(gs, 0) < 0) {
        return gs_fail(gs, -EINVAL, at, "an unclosed group");
    }

    if (gs_peek(gs, 0) != close) {
        return gs_fail(gs, -EINVAL, gs->at, "'%c' is wanted", close);
    }

    gs->at++;

    return 1;
}


static int
complement(lark_t *lark, gs_node_t **node)
{
    gs_t      *gs = &lark->gs;
    gs_node_t *n;
    size_t     at = gs->at++;
    int        rc;

    if (!lark->terminal) {
        return gs_fail(gs, -ENOTSUP, at, "\"~\" outside of terminals");
    }

    if (++gs->depth > GS_MAX_DEPTH) {
        return gs_fail(gs, -E2BIG, gs->at, "groups nested too deep");
    }

    lark_space(lark, 0);
    LLM_TRY(gs_node(gs, GS_NOT, &n));
    rc = atom(lark, node);
    LLM_TRY(rc);
    gs->depth--;

    if (rc == 0) {
        return gs_fail(gs, -EINVAL, at, "\"~\" of nothing");
    }

    gs_add(n, *node);
    *node = n;

    return 1;
}


/* 1: a rule's or a terminal's name; 0: there is none. */
static int
reference(lark_t *lark, gs_node_t **node)
{
    gs_t    *gs = &lark->gs;
    size_t   at = gs->at;
    uint32_t rule;
    str_t    s;
    int      c;

    s = name(lark);

    if (s.len == 0) {
        return 0;
    }

    if (gs_looking_at(gs, "::")) {
        return gs_fail(gs, -ENOTSUP, at, "parameters of a rule");
    }

    if (gs_peek(gs, 0) == '{') {
        gs->at++;
        lark_space(lark, 0);
        c = gs_peek(gs, 0);
        gs->at = (size_t) (s.s - gs->s) + s.len;

        if (c != ',' && !(c >= '0' && c <= '9')) {
            return gs_fail(gs, -ENOTSUP, at, "templates");
        }
    }

    if (lark->terminal && !is_terminal(s)) {
        return gs_fail(gs, -EINVAL, at, "a rule in a terminal");
    }

    LLM_TRY(gs_rule(gs, s, at, &rule));
    LLM_TRY(gs_node(gs, GS_RULE, node));
    (*node)->rule = rule;

    if (is_terminal(s)) {
        LLM_TRY(then_ignored(lark, node));
    }

    return 1;
}


/* A terminal in a rule: then what is ignored. */
static int
then_ignored(lark_t *lark, gs_node_t **node)
{
    gs_node_t *list, *n;

    if (lark->terminal) {
        return 0;
    }

    LLM_TRY(gs_node(&lark->gs, GS_SEQ, &list));
    LLM_TRY(gs_node(&lark->gs, GS_RULE, &n));
    n->rule = lark->ignore;
    gs_add(list, *node);
    gs_add(list, n);
    *node = list;

    return 0;
}


/* [_]a... or [_]A..., letters of one case, digits, "_", "-" within. */
static str_t
name(lark_t *lark)
{
    gs_t  *gs = &lark->gs;
    size_t at = gs->at;
    int    c, upper;

    c = gs_peek(gs, gs_peek(gs, 0) == '_');
    upper = c >= 'A' && c <= 'Z';

    if (!upper && !(c >= 'a' && c <= 'z')) {
        return (str_t){NULL, 0};
    }

    while (name_byte(gs, 0, upper)
           || (gs_peek(gs, 0) == '-' && name_byte(gs, 1, upper))) {
        gs->at++;
    }

    return (str_t){gs->s + at, gs->at - at};
}


static int
name_byte(const gs_t *gs, size_t ahead, int upper)
{
    int c = gs_peek(gs, ahead);

    return c == '_' || (c >= '0' && c <= '9')
           || (upper ? c >= 'A' && c <= 'Z' : c >= 'a' && c <= 'z');
}


static int
is_terminal(str_t s)
{
    char c = s.len > 1 && s.s[0] == '_' ? s.s[1] : s.s[0];

    return c >= 'A' && c <= 'Z';
}
