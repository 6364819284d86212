/*
 * Tokens → expression nodes, with jinja2's grammar and precedence: filters,
 * tests and operators.  See jinja_parse_primary.c for the bounds.
 */

#include "jinja_ast.h"

static jinja_node_t *parse_math1(jinja_parser_t *p);


/* The name of a filter or test, which may have dots. */

static const jinja_str_t *
parse_dotted(jinja_parser_t *p)
{
    jinja_buf_t        b = {0};
    const jinja_str_t *name = jinja_tok_need(p, JTOK_NAME)->v.u.s;

    if (!jinja_tok_is(p, '.')) {
        return name;
    }

    jinja_buf_str(p->j, &b, name);

    while (jinja_tok_skip(p, '.')) {
        jinja_buf_char(p->j, &b, '.', true);
        jinja_buf_str(p->j, &b, jinja_tok_need(p, JTOK_NAME)->v.u.s);
    }

    return jinja_buf_end(p->j, &b).u.s;
}


jinja_node_t *
jinja_parse_filter(jinja_parser_t *p, jinja_node_t *a, bool start_inline)
{
    jinja_node_t *n = a;

    while (start_inline || jinja_tok_skip(p, '|')) {
        start_inline = false;
        n = jinja_node(p, JN_FILTER, jinja_tok(p)->line, n, NULL);
        n->name = parse_dotted(p);

        if (jinja_tok_is(p, '(')) {
            n->args = jinja_parse_args(p, n);
        }
    }

    return n;
}


static jinja_node_t *
parse_test(jinja_parser_t *p, jinja_node_t *a)
{
    bool          negated;
    uint32_t      line = jinja_tok(p)->line;
    jinja_tok_t  *t;
    jinja_node_t *n, *arg;

    p->at++;
    negated = jinja_tok_skip_name(p, "not");
    n = jinja_node(p, JN_TEST, line, a, NULL);
    n->name = parse_dotted(p);
    t = jinja_tok(p);

    if (jinja_tok_is(p, '(')) {
        n->args = jinja_parse_args(p, n);

    } else if ((t->type == JTOK_NAME && !jinja_tok_name(p, "else")
                && !jinja_tok_name(p, "or") && !jinja_tok_name(p, "and"))
               || t->type == JTOK_STRING || t->type == JTOK_INT
               || t->type == JTOK_FLOAT || jinja_tok_is(p, '[')
               || jinja_tok_is(p, '{')) {
        if (jinja_tok_name(p, "is")) {
            jinja_syntax(p->j, line, "You cannot chain multiple tests with is");
        }

        arg = jinja_parse_postfix(p, jinja_parse_primary(p, false));
        n->args = jinja_alloc(p->j, sizeof(jinja_call_args_t));
        jinja_nodes_add(p, &n->args->pos, arg);
        jinja_node_over(p, n, arg);
    }

    return negated ? jinja_node(p, JN_NOT, line, n, NULL) : n;
}


jinja_node_t *
jinja_parse_unary(jinja_parser_t *p, bool with_filter)
{
    jinja_tok_t  *t = jinja_tok(p);
    jinja_node_t *n;

    if (++p->depth > JINJA_AST_DEPTH) {
        jinja_syntax(p->j, t->line, "nested too deeply");
    }

    if (jinja_tok_is(p, '-') || jinja_tok_is(p, '+')) {
        p->at++;
        n = jinja_node(p, JN_UNARY, t->line, jinja_parse_unary(p, false), NULL);
        n->op = (uint8_t) t->op;
    } else {
        n = jinja_parse_primary(p, false);
    }

    n = jinja_parse_postfix(p, n);

    while (with_filter) {
        if (jinja_tok_is(p, '|')) {
            n = jinja_parse_filter(p, n, false);
        } else if (jinja_tok_name(p, "is")) {
            n = parse_test(p, n);
        } else if (jinja_tok_is(p, '(')) {
            n = jinja_parse_call(p, n);
        } else {
            break;
        }
    }

    p->depth--;

    return n;
}


static jinja_node_t *
parse_binary(jinja_parser_t *p, jinja_node_t *a, char op, jinja_node_t *b,
             uint32_t line)
{
    jinja_node_t *n = jinja_node(p, JN_BINARY, line, a, b);

    n->op = (uint8_t) op;

    return n;
}


static jinja_node_t *
parse_pow(jinja_parser_t *p)
{
    uint32_t      line = jinja_tok(p)->line;
    jinja_node_t *n = jinja_parse_unary(p, true);

    while (jinja_tok_skip(p, JINJA_TWO('*', '*'))) {
        n = parse_binary(p, n, '^', jinja_parse_unary(p, true), line);
    }

    return n;
}


static jinja_node_t *
parse_math2(jinja_parser_t *p)
{
    char          op;
    uint32_t      line = jinja_tok(p)->line;
    jinja_node_t *n = parse_pow(p);

    for (;;) {
        op = jinja_tok_is(p, '*')                   ? '*'
             : jinja_tok_is(p, '/')                 ? '/'
             : jinja_tok_is(p, '%')                 ? '%'
             : jinja_tok_is(p, JINJA_TWO('/', '/')) ? 'd'
                                                    : 0;
        if (op == 0) {
            return n;
        }
        p->at++;
        n = parse_binary(p, n, op, parse_pow(p), line);
    }
}


static jinja_node_t *
parse_concat(jinja_parser_t *p)
{
    jinja_node_t *n, *a = parse_math2(p);

    if (!jinja_tok_is(p, '~')) {
        return a;
    }

    n = jinja_node(p, JN_CONCAT, a->line, NULL, NULL);
    jinja_node_add(p, n, &n->list, a);

    while (jinja_tok_skip(p, '~')) {
        jinja_node_add(p, n, &n->list, parse_math2(p));
    }

    return n;
}


static jinja_node_t *
parse_math1(jinja_parser_t *p)
{
    char          op;
    uint32_t      line = jinja_tok(p)->line;
    jinja_node_t *n = parse_concat(p);

    while (jinja_tok_is(p, '+') || jinja_tok_is(p, '-')) {
        op = (char) jinja_tok(p)->op;
        p->at++;
        n = parse_binary(p, n, op, parse_concat(p), line);
    }

    return n;
}


static int
compare_op(jinja_parser_t *p)
{
    static const struct {
        uint16_t tok;
        int      op;
    } ops[] = {
        {JINJA_TWO('=', '='), JINJA_OP_EQ},
        {JINJA_TWO('!', '='), JINJA_OP_NE},
        {JINJA_TWO('<', '='), JINJA_OP_LE},
        {JINJA_TWO('>', '='), JINJA_OP_GE},
        {'<', JINJA_OP_LT},
        {'>', JINJA_OP_GT},
    };

    size_t       i;
    jinja_tok_t *next = &p->toks[p->at + 1];

    for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (jinja_tok_skip(p, ops[i].tok)) {
            return ops[i].op;
        }
    }

    if (jinja_tok_skip_name(p, "in")) {
        return JINJA_OP_IN;
    }

    if (jinja_tok_name(p, "not") && next->type == JTOK_NAME
        && jinja_str_is(next->v.u.s, "in")) {
        p->at += 2;
        return JINJA_OP_NOTIN;
    }

    return -1;
}


static jinja_node_t *
parse_compare(jinja_parser_t *p)
{
    int           op;
    uint32_t      line = jinja_tok(p)->line;
    jinja_node_t *a = parse_math1(p), *n = NULL, *operand;

    while ((op = compare_op(p)) >= 0) {
        if (n == NULL) {
            n = jinja_node(p, JN_COMPARE, line, a, NULL);
        }
        operand = jinja_node(p, JN_OPERAND, line, parse_math1(p), NULL);
        operand->op = (uint8_t) op;
        jinja_node_add(p, n, &n->list, operand);
    }

    return n ? n : a;
}


static jinja_node_t *
parse_not(jinja_parser_t *p)
{
    jinja_node_t *n;
    uint32_t      line = jinja_tok(p)->line;

    if (!jinja_tok_skip_name(p, "not")) {
        return parse_compare(p);
    }

    if (++p->depth > JINJA_AST_DEPTH) {
        jinja_syntax(p->j, line, "nested too deeply");
    }

    n = jinja_node(p, JN_NOT, line, parse_not(p), NULL);
    p->depth--;

    return n;
}


static jinja_node_t *
parse_and(jinja_parser_t *p)
{
    uint32_t      line = jinja_tok(p)->line;
    jinja_node_t *n = parse_not(p);

    while (jinja_tok_skip_name(p, "and")) {
        n = jinja_node(p, JN_AND, line, n, parse_not(p));
    }

    return n;
}


static jinja_node_t *
parse_or(jinja_parser_t *p)
{
    uint32_t      line = jinja_tok(p)->line;
    jinja_node_t *n = parse_and(p);

    while (jinja_tok_skip_name(p, "or")) {
        n = jinja_node(p, JN_OR, line, n, parse_and(p));
    }

    return n;
}


jinja_node_t *
jinja_parse_expr(jinja_parser_t *p, bool with_cond)
{
    uint32_t      line = jinja_tok(p)->line;
    jinja_node_t *n, *cond;

    if (++p->depth > JINJA_AST_DEPTH) {
        jinja_syntax(p->j, line, "nested too deeply");
    }

    n = parse_or(p);

    while (with_cond && jinja_tok_skip_name(p, "if")) {
        cond = jinja_node(p, JN_COND, line, n, parse_or(p));
        if (jinja_tok_skip_name(p, "else")) {
            cond->c = jinja_parse_expr(p, true);
            jinja_node_over(p, cond, cond->c);
        }
        n = cond;
    }

    p->depth--;

    return n;
}
