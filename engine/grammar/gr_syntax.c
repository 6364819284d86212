/*
 * What front ends of rules share (gr_syntax.h): the source, its nodes and
 * rules.  How they become an expression of a program is in gr_syntax_emit.c.
 * Whoever compiles is the only thread here; memory is the gs_t's arena.
 */

#include <errno.h>
#include <stdio.h>
#include "engine/grammar/gr_syntax.h"
#include "engine/grammar/js_value.h"

#define MAX_ARENA (128u << 20)

static uint32_t name_hash(str_t name);
static int      rules_grow(gs_t *gs);


int
gs_open(gs_t *gs, gr_t *gr, const char *text, size_t len, char *err,
        size_t err_size)
{
    *gs = (gs_t){.gr = gr,
                 .set = gr_re(gr),
                 .s = text,
                 .len = len,
                 .err = err,
                 .err_size = err_size};
    arena_init(&gs->arena, MAX_ARENA);

    if (err_size) {
        err[0] = '\0';
    }

    if (len > GS_MAX_SOURCE) {
        return gs_fail(gs, -E2BIG, 0, "the grammar is too long");
    }

    return 0;
}


void
gs_free(gs_t *gs)
{
    arena_free(&gs->arena);
}


int
gs_fail(gs_t *gs, int rc, size_t at, const char *fmt, ...)
{
    uint32_t line = 1, column = 1;
    va_list  ap;
    size_t   i;
    int      n;

    if (gs->err_size == 0) {
        return rc;
    }

    for (i = 0; i < at && i < gs->len; i++) {
        if (gs->s[i] == '\n') {
            line++;
            column = 1;

        } else {
            column += ((uint8_t) gs->s[i] & 0xc0) != 0x80;
        }
    }

    n = snprintf(gs->err, gs->err_size, "line %u, column %u: ", line, column);

    if (n > 0 && (size_t) n < gs->err_size) {
        va_start(ap, fmt);
        vsnprintf(gs->err + n, gs->err_size - (size_t) n, fmt, ap);
        va_end(ap);
    }

    return rc;
}


int
gs_check(gs_t *gs)
{
    const char *msg = NULL;
    int         rc;

    rc = gr_check_time(gs->gr);
    rc = gr_failed(gs->gr, &msg) ? gr_failed(gs->gr, NULL) : rc;

    if (rc != 0 && gs->err_size && gs->err[0] == '\0') {
        snprintf(gs->err, gs->err_size, "%s",
                 msg ? msg : "the grammar takes too long");
    }

    return rc;
}


int
gs_node(gs_t *gs, int kind, gs_node_t **node)
{
    *node = arena_get(&gs->arena, sizeof(gs_node_t));

    if (*node == NULL) {
        return gs_fail(gs, -E2BIG, gs->at, "the grammar is too large");
    }

    (*node)->kind = kind;

    return 0;
}


int
gs_leaf(gs_t *gs, re_t re, gs_node_t **node)
{
    LLM_TRY(gs_node(gs, GS_RE, node));
    (*node)->re = re;

    return 0;
}


void
gs_add(gs_node_t *to, gs_node_t *child)
{
    if (to->last) {
        to->last->next = child;

    } else {
        to->first = child;
    }

    to->last = child;
    to->depth = to->depth > child->depth ? to->depth : child->depth + 1;
}


int
gs_repeat(gs_t *gs, gs_node_t **node, uint32_t min, uint32_t max)
{
    gs_node_t *n;

    /* "a**...*" does not nest. */

    if ((*node)->kind == GS_REPEAT && max == RE_INF && min <= 1
        && (*node)->max == RE_INF && (*node)->min <= 1) {
        (*node)->min = (*node)->min && min;
        return 0;
    }

    if ((*node)->kind == GS_REPEAT && min == 0 && max == 1
        && (*node)->min <= 1) {
        (*node)->min = 0;
        return 0;
    }

    if ((*node)->depth >= GS_MAX_NODE) {
        return gs_fail(gs, -E2BIG, gs->at, "nested too deep");
    }

    LLM_TRY(gs_node(gs, GS_REPEAT, &n));
    n->min = min;
    n->max = max;
    gs_add(n, *node);
    *node = n;

    return 0;
}


int
gs_rule(gs_t *gs, str_t name, size_t at, uint32_t *rule)
{
    uint32_t i;

    if (gs->n_rules == gs->cap_rules) {
        LLM_TRY(rules_grow(gs));
    }

    for (i = name_hash(name) & (gs->n_slots - 1); gs->slots[i];
         i = (i + 1) & (gs->n_slots - 1)) {
        if (str_eq(gs->rules[gs->slots[i] - 1].name, name)) {
            *rule = gs->slots[i] - 1;
            return 0;
        }
    }

    if (gs->n_rules >= GS_MAX_RULES) {
        return gs_fail(gs, -E2BIG, at, "more than %d rules", GS_MAX_RULES);
    }

    *rule = gs->n_rules++;
    gs->rules[*rule].name = name;
    gs->rules[*rule].at = at;
    gs->slots[i] = *rule + 1;

    return 0;
}


/* Twice as many rules, four slots for each. */
static int
rules_grow(gs_t *gs)
{
    uint32_t   i, k, cap;
    gs_rule_t *rules;

    cap = gs->cap_rules ? gs->cap_rules * 2 : 64;
    rules = arena_get(&gs->arena, cap * sizeof(gs_rule_t));
    gs->n_slots = cap * 4;
    gs->slots = arena_get(&gs->arena, gs->n_slots * sizeof(uint32_t));

    if (rules == NULL || gs->slots == NULL) {
        return gs_fail(gs, -E2BIG, gs->at, "the grammar is too large");
    }

    for (i = 0; i < gs->n_rules; i++) {
        rules[i] = gs->rules[i];

        for (k = name_hash(rules[i].name) & (gs->n_slots - 1); gs->slots[k];
             k = (k + 1) & (gs->n_slots - 1)) { /* void */
        }

        gs->slots[k] = i + 1;
    }

    gs->rules = rules;
    gs->cap_rules = cap;

    return 0;
}


static uint32_t
name_hash(str_t name)
{
    uint32_t h = 2166136261u;
    size_t   i;

    for (i = 0; i < name.len; i++) {
        h = (h ^ (uint8_t) name.s[i]) * 16777619u;
    }

    return h ^ h >> 15;
}


int
gs_looking_at(const gs_t *gs, const char *s)
{
    size_t n = strlen(s);

    return gs->len - gs->at >= n && memcmp(gs->s + gs->at, s, n) == 0;
}


int
gs_code_point(gs_t *gs, uint32_t *cp)
{
    size_t n;

    if (gs->at == gs->len) {
        return gs_fail(gs, -EINVAL, gs->at, "unexpected end");
    }

    n = js_utf8(gs->s + gs->at, gs->s + gs->len, cp);

    if (n == 0) {
        return gs_fail(gs, -EINVAL, gs->at, "invalid UTF-8");
    }

    gs->at += n;

    return 0;
}


int
gs_count(gs_t *gs, uint32_t *count)
{
    size_t   at = gs->at;
    uint32_t v;
    int      c;

    for (v = 0; (c = gs_peek(gs, 0)) >= '0' && c <= '9'; gs->at++) {
        v = v > GS_MAX_COUNT ? v : v * 10 + (uint32_t) (c - '0');
    }

    if (gs->at == at) {
        return gs_fail(gs, -EINVAL, at, "a number is missing");
    }

    if (v > GS_MAX_COUNT) {
        return gs_fail(gs, -E2BIG, at, "a repeat count above %d", GS_MAX_COUNT);
    }

    *count = v;

    return 0;
}


int
gs_hex(gs_t *gs, int digits, uint32_t *cp)
{
    size_t at = gs->at;
    int    c, i;

    for (*cp = 0, i = 0; i < digits; i++) {
        c = gs_peek(gs, 0);

        if (c >= '0' && c <= '9') {
            c -= '0';

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            c = (c | 0x20) - 'a' + 10;

        } else {
            return gs_fail(gs, -EINVAL, at, "%d hex digits are wanted", digits);
        }

        *cp = *cp << 4 | (uint32_t) c;
        gs->at++;
    }

    if (*cp > 0x10ffff) {
        return gs_fail(gs, -EINVAL, at, "no such code point");
    }

    return 0;
}
