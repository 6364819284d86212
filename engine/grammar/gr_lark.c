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

static int source(lark_t *lark, gr_node_t *node);
static int root(lark_t *lark, gr_node_t *node);
static int statement(lark_t *lark);
static int definition(lark_t *lark);
static int priority(lark_t *lark);
static int define(lark_t *lark, str_t name, size_t at, gs_node_t *body);
static int end_of_line(lark_t *lark);
static int directive(lark_t *lark);
static int ignore(lark_t *lark);
static int import(lark_t *lark);
static int import_list(lark_t *lark);
static int import_name(lark_t *lark, str_t from, str_t to, size_t at);
static int options(lark_t *lark);


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
        LLM_TRY(gs_check(gs));
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
    s = lark_name(lark);

    if (s.len == 0) {
        return gs_fail(gs, -EINVAL, at, "a rule or a terminal is wanted");
    }

    lark->terminal = lark_is_terminal(s);

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
    LLM_TRY(lark_alts(lark, 0, &body));
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
    gs->rules[rule].terminal = lark_is_terminal(s);

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
            || lark_name_byte(gs, strlen(known[i].word), 0)) {
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
    LLM_TRY(lark_alts(lark, 0, &body));

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
    from = lark_name(lark);

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
    from = to = lark_name(lark);
    lark_space(lark, 0);

    if (gs_looking_at(gs, "->")) {
        gs->at += 2;
        lark_space(lark, 0);
        to = lark_name(lark);
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
        s = lark_name(lark);
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

    if (to.len == 0 || !lark_is_terminal(to)) {
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
