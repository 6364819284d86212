/*
 * Expressions in Lark's grammars (gr_lark.c has the notation): alternatives,
 * operators, groups, names.  Whoever compiles is the only thread here.
 */

#include <errno.h>
#include "engine/grammar/gr_lark.h"

static int alt(lark_t *lark, int nested, gs_node_t **node);
static int conjunct(lark_t *lark, int nested, gs_node_t **node);
static int expr(lark_t *lark, int nested, gs_node_t **node);
static int operator(lark_t *lark, int nested, gs_node_t **node);
static int range(lark_t *lark, uint32_t *min, uint32_t *max);
static int braces(lark_t *lark, uint32_t *min, uint32_t *max);
static int atom(lark_t *lark, gs_node_t **node);
static int group(lark_t *lark, int close, gs_node_t **node);
static int complement(lark_t *lark, gs_node_t **node);
static int reference(lark_t *lark, gs_node_t **node);
static int then_ignored(lark_t *lark, gs_node_t **node);


int
lark_alts(lark_t *lark, int nested, gs_node_t **node)
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

        if (lark_name(lark).len == 0) {
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

    LLM_TRY(gs_check(&lark->gs));
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

    LLM_TRY(lark_alts(lark, 1, node));

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

    s = lark_name(lark);

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

    if (lark->terminal && !lark_is_terminal(s)) {
        return gs_fail(gs, -EINVAL, at, "a rule in a terminal");
    }

    LLM_TRY(gs_rule(gs, s, at, &rule));
    LLM_TRY(gs_node(gs, GS_RULE, node));
    (*node)->rule = rule;

    if (lark_is_terminal(s)) {
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


str_t
lark_name(lark_t *lark)
{
    gs_t  *gs = &lark->gs;
    size_t at = gs->at;
    int    c, upper;

    c = gs_peek(gs, gs_peek(gs, 0) == '_');
    upper = c >= 'A' && c <= 'Z';

    if (!upper && !(c >= 'a' && c <= 'z')) {
        return (str_t){NULL, 0};
    }

    while (lark_name_byte(gs, 0, upper)
           || (gs_peek(gs, 0) == '-' && lark_name_byte(gs, 1, upper))) {
        gs->at++;
    }

    return (str_t){gs->s + at, gs->at - at};
}


int
lark_name_byte(const gs_t *gs, size_t ahead, int upper)
{
    int c = gs_peek(gs, ahead);

    return c == '_' || (c >= '0' && c <= '9')
           || (upper ? c >= 'A' && c <= 'Z' : c >= 'a' && c <= 'z');
}


int
lark_is_terminal(str_t s)
{
    char c = s.len > 1 && s.s[0] == '_' ? s.s[1] : s.s[0];

    return c >= 'A' && c <= 'Z';
}
