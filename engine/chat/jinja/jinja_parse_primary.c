/*
 * Tokens → the tight end of expressions: literals, names, tuples, calls and
 * subscripts; and the helpers by which all of the parser reads tokens and
 * makes nodes.  Depth is bounded twice: by recursion and by the height of the
 * tree, which the later passes walk.
 */

#include "jinja_ast.h"


bool
jinja_tok_is(jinja_parser_t *p, uint16_t op)
{
    return jinja_tok(p)->type == JTOK_OP && jinja_tok(p)->op == op;
}


bool
jinja_tok_name(jinja_parser_t *p, const char *name)
{
    return jinja_tok(p)->type == JTOK_NAME
           && jinja_str_is(jinja_tok(p)->v.u.s, name);
}


bool
jinja_tok_skip(jinja_parser_t *p, uint16_t op)
{
    bool is = jinja_tok_is(p, op);

    p->at += is;

    return is;
}


bool
jinja_tok_skip_name(jinja_parser_t *p, const char *name)
{
    bool is = jinja_tok_name(p, name);

    p->at += is;

    return is;
}


void
jinja_tok_bad(jinja_parser_t *p)
{
    jinja_tok_t       *t = jinja_tok(p);
    static const char *names[] = {
        [JTOK_EOF] = "end of template",
        [JTOK_DATA] = "text",
        [JTOK_VAR_BEGIN] = "begin of print statement",
        [JTOK_VAR_END] = "end of print statement",
        [JTOK_BLOCK_BEGIN] = "begin of statement block",
        [JTOK_BLOCK_END] = "end of statement block",
        [JTOK_STRING] = "string",
        [JTOK_INT] = "integer",
        [JTOK_FLOAT] = "float",
    };

    if (t->type == JTOK_NAME) {
        jinja_syntax(p->j, t->line, "unexpected '%.*s'",
                     t->v.u.s->len > 60 ? 60 : (int) t->v.u.s->len,
                     t->v.u.s->text);
    }

    if (t->type == JTOK_OP) {
        jinja_syntax(p->j, t->line, "unexpected '%s%c'",
                     t->op >> 8 ? (char[2]){(char) (t->op >> 8), 0} : "",
                     t->op & 0xff);
    }

    jinja_syntax(p->j, t->line, "unexpected %s", names[t->type]);
}


void
jinja_tok_expect(jinja_parser_t *p, uint16_t op)
{
    if (!jinja_tok_skip(p, op)) {
        jinja_tok_bad(p);
    }
}


jinja_tok_t *
jinja_tok_need(jinja_parser_t *p, jinja_tok_type_t type)
{
    jinja_tok_t *t = jinja_tok(p);

    if (t->type != type) {
        jinja_tok_bad(p);
    }

    p->at++;

    return t;
}


/* Kid hangs below n: the height of n follows. */

void
jinja_node_over(jinja_parser_t *p, jinja_node_t *n, jinja_node_t *kid)
{
    if (kid && kid->depth >= n->depth) {
        n->depth = kid->depth + 1;
    }

    if (n->depth > JINJA_AST_DEPTH) {
        jinja_syntax(p->j, n->line, "nested too deeply");
    }
}


jinja_node_t *
jinja_node(jinja_parser_t *p, jinja_node_kind_t kind, uint32_t line,
           jinja_node_t *a, jinja_node_t *b)
{
    jinja_node_t *n = jinja_alloc(p->j, sizeof(jinja_node_t));

    jinja_step(p->j, 1);
    n->kind = (uint8_t) kind;
    n->line = line;
    n->a = a;
    n->b = b;
    jinja_node_over(p, n, a);
    jinja_node_over(p, n, b);

    return n;
}


void
jinja_nodes_add(jinja_parser_t *p, jinja_nodes_t *list, jinja_node_t *n)
{
    uint32_t       cap;
    jinja_node_t **grown;

    if (list->n == list->cap) {
        cap = list->cap ? list->cap * 2 : 4;
        grown = jinja_alloc(p->j, cap * sizeof(*grown));
        if (list->n) {
            memcpy(grown, list->v, list->n * sizeof(*grown));
        }
        list->v = grown;
        list->cap = cap;
    }

    list->v[list->n++] = n;
}


void
jinja_node_add(jinja_parser_t *p, jinja_node_t *n, jinja_nodes_t *list,
               jinja_node_t *kid)
{
    jinja_nodes_add(p, list, kid);
    jinja_node_over(p, n, kid);
}


static jinja_node_t *
parse_string(jinja_parser_t *p)
{
    jinja_node_t *n = jinja_node(p, JN_CONST, jinja_tok(p)->line, NULL, NULL);
    jinja_buf_t   b = {0};

    n->value = jinja_tok(p)->v;

    if (p->toks[p->at + 1].type != JTOK_STRING) {
        p->at++;
        return n;
    }

    while (jinja_tok(p)->type == JTOK_STRING) {
        jinja_buf_str(p->j, &b, jinja_tok(p)->v.u.s);
        p->at++;
    }

    n->value = jinja_buf_end(p->j, &b);

    return n;
}


static jinja_node_t *
parse_name(jinja_parser_t *p, bool with_ns)
{
    static const struct {
        const char *name;
        int         value;
    } consts[] = {{"true", 1},  {"True", 1},  {"false", 0},
                  {"False", 0}, {"none", -1}, {"None", -1}};

    size_t        i;
    jinja_tok_t  *t = jinja_tok(p);
    jinja_node_t *n = jinja_node(p, JN_NAME, t->line, NULL, NULL);

    p->at++;
    n->name = t->v.u.s;

    for (i = 0; i < sizeof(consts) / sizeof(consts[0]); i++) {
        if (jinja_str_is(n->name, consts[i].name)) {
            n->kind = JN_CONST;
            n->value = consts[i].value < 0 ? jinja_none()
                                           : jinja_bool(consts[i].value);
            return n;
        }
    }

    if (with_ns && jinja_tok_skip(p, '.')) {
        n->kind = JN_NSREF;
        n->value = jinja_tok_need(p, JTOK_NAME)->v;
    }

    return n;
}


static jinja_node_t *
parse_list(jinja_parser_t *p)
{
    jinja_node_t *n = jinja_node(p, JN_LIST, jinja_tok(p)->line, NULL, NULL);

    p->at++;

    while (!jinja_tok_is(p, ']')) {
        if (n->list.n) {
            jinja_tok_expect(p, ',');
            if (jinja_tok_is(p, ']')) {
                break;
            }
        }
        jinja_node_add(p, n, &n->list, jinja_parse_expr(p, true));
    }

    jinja_tok_expect(p, ']');

    return n;
}


static jinja_node_t *
parse_dict(jinja_parser_t *p)
{
    jinja_node_t *n = jinja_node(p, JN_DICT, jinja_tok(p)->line, NULL, NULL);

    p->at++;

    while (!jinja_tok_is(p, '}')) {
        if (n->list.n) {
            jinja_tok_expect(p, ',');
            if (jinja_tok_is(p, '}')) {
                break;
            }
        }
        jinja_node_add(p, n, &n->list, jinja_parse_expr(p, true));
        jinja_tok_expect(p, ':');
        jinja_node_add(p, n, &n->list2, jinja_parse_expr(p, true));
    }

    jinja_tok_expect(p, '}');

    return n;
}


jinja_node_t *
jinja_parse_primary(jinja_parser_t *p, bool with_ns)
{
    jinja_node_t *n;
    jinja_tok_t  *t = jinja_tok(p);

    switch (t->type) {

    case JTOK_NAME:
        return parse_name(p, with_ns);

    case JTOK_STRING:
        return parse_string(p);

    case JTOK_INT:
    case JTOK_FLOAT:
        p->at++;
        n = jinja_node(p, JN_CONST, t->line, NULL, NULL);
        n->value = t->v;
        return n;

    case JTOK_OP:
        if (t->op == '(') {
            p->at++;
            n = jinja_parse_tuple(p, false, true, NULL, true, false);
            jinja_tok_expect(p, ')');
            return n;
        }
        if (t->op == '[') {
            return parse_list(p);
        }
        if (t->op == '{') {
            return parse_dict(p);
        }
    }

    jinja_tok_bad(p);
}


static bool
tuple_ends(jinja_parser_t *p, const char *end)
{
    jinja_tok_type_t type = jinja_tok(p)->type;

    return type == JTOK_VAR_END || type == JTOK_BLOCK_END
           || jinja_tok_is(p, ')') || (end && jinja_tok_name(p, end));
}


/* An expression or, with commas, a tuple; simplified: only primaries. */

jinja_node_t *
jinja_parse_tuple(jinja_parser_t *p, bool simplified, bool with_cond,
                  const char *end, bool parens, bool with_ns)
{
    bool          tuple = false;
    jinja_node_t *n = jinja_node(p, JN_TUPLE, jinja_tok(p)->line, NULL, NULL);

    for (;;) {
        if (n->list.n) {
            jinja_tok_expect(p, ',');
        }

        if (tuple_ends(p, end)) {
            break;
        }

        jinja_node_add(p, n, &n->list,
                       simplified ? jinja_parse_primary(p, with_ns)
                                  : jinja_parse_expr(p, with_cond));

        if (!jinja_tok_is(p, ',')) {
            break;
        }

        tuple = true;
    }

    if (!tuple && n->list.n) {
        return n->list.v[0];
    }

    if (!tuple && !parens) {
        jinja_syntax(p->j, jinja_tok(p)->line, "expected an expression");
    }

    return n;
}


jinja_call_args_t *
jinja_parse_args(jinja_parser_t *p, jinja_node_t *n)
{
    bool               bad, comma = false;
    jinja_node_t      *kid;
    jinja_call_args_t *args = jinja_alloc(p->j, sizeof(*args));

    jinja_tok_expect(p, '(');

    while (!jinja_tok_is(p, ')')) {
        if (comma) {
            jinja_tok_expect(p, ',');
            if (jinja_tok_is(p, ')')) {
                break;
            }
        }

        comma = true;

        if (jinja_tok_skip(p, '*')) {
            bad = args->dyn_pos || args->dyn_kw;
            kid = args->dyn_pos = jinja_parse_expr(p, true);

        } else if (jinja_tok_skip(p, JINJA_TWO('*', '*'))) {
            bad = args->dyn_kw != NULL;
            kid = args->dyn_kw = jinja_parse_expr(p, true);

        } else if (jinja_tok(p)->type == JTOK_NAME
                   && p->toks[p->at + 1].type == JTOK_OP
                   && p->toks[p->at + 1].op == '=') {
            const jinja_str_t *name = jinja_tok(p)->v.u.s, **grown;

            bad = args->dyn_kw != NULL;
            p->at += 2;
            kid = jinja_parse_expr(p, true);
            jinja_nodes_add(p, &args->kw, kid);

            if (args->kw.n > args->names_cap) {
                grown = jinja_alloc(p->j, args->kw.cap * sizeof(*grown));
                if (args->names_cap) {
                    memcpy(grown, args->names,
                           args->names_cap * sizeof(*grown));
                }
                args->names = grown;
                args->names_cap = args->kw.cap;
            }

            args->names[args->kw.n - 1] = name;

        } else {
            bad = args->dyn_pos || args->dyn_kw || args->kw.n;
            kid = jinja_parse_expr(p, true);
            jinja_nodes_add(p, &args->pos, kid);
        }

        if (bad) {
            jinja_syntax(p->j, jinja_tok(p)->line,
                         "invalid syntax for function call expression");
        }

        jinja_node_over(p, n, kid);
    }

    jinja_tok_expect(p, ')');

    return args;
}


static jinja_node_t *
parse_subscribed(jinja_parser_t *p)
{
    jinja_node_t *n, *a = NULL;

    if (!jinja_tok_is(p, ':')) {
        a = jinja_parse_expr(p, true);
        if (!jinja_tok_is(p, ':')) {
            return a;
        }
    }

    p->at++;
    n = jinja_node(p, JN_SLICE, jinja_tok(p)->line, a, NULL);

    if (!jinja_tok_is(p, ':') && !jinja_tok_is(p, ']')
        && !jinja_tok_is(p, ',')) {
        n->b = jinja_parse_expr(p, true);
        jinja_node_over(p, n, n->b);
    }

    if (jinja_tok_skip(p, ':') && !jinja_tok_is(p, ']')
        && !jinja_tok_is(p, ',')) {
        n->c = jinja_parse_expr(p, true);
        jinja_node_over(p, n, n->c);
    }

    return n;
}


static jinja_node_t *
parse_subscript(jinja_parser_t *p, jinja_node_t *a)
{
    jinja_node_t *n, *kid;
    jinja_tok_t  *t = jinja_tok(p);

    p->at++;

    if (t->op == '.') {
        if (jinja_tok(p)->type == JTOK_INT) {
            kid = jinja_parse_primary(p, false);
            return jinja_node(p, JN_ITEM, t->line, a, kid);
        }

        n = jinja_node(p, JN_ATTR, t->line, a, NULL);
        n->name = jinja_tok_need(p, JTOK_NAME)->v.u.s;
        return n;
    }

    kid = parse_subscribed(p);

    if (jinja_tok_is(p, ',')) {
        n = jinja_node(p, JN_TUPLE, t->line, NULL, NULL);
        jinja_node_add(p, n, &n->list, kid);

        while (jinja_tok_skip(p, ',')) {
            kid = parse_subscribed(p);
            if (kid->kind == JN_SLICE) {
                jinja_syntax(p->j, t->line, "unsupported slice in a tuple");
            }
            jinja_node_add(p, n, &n->list, kid);
        }

        if (n->list.v[0]->kind == JN_SLICE) {
            jinja_syntax(p->j, t->line, "unsupported slice in a tuple");
        }
        kid = n;
    }

    jinja_tok_expect(p, ']');

    return jinja_node(p, JN_ITEM, t->line, a, kid);
}


jinja_node_t *
jinja_parse_call(jinja_parser_t *p, jinja_node_t *a)
{
    jinja_node_t *n = jinja_node(p, JN_CALL, jinja_tok(p)->line, a, NULL);

    n->args = jinja_parse_args(p, n);

    return n;
}


jinja_node_t *
jinja_parse_postfix(jinja_parser_t *p, jinja_node_t *n)
{
    for (;;) {
        if (jinja_tok_is(p, '.') || jinja_tok_is(p, '[')) {
            n = parse_subscript(p, n);
        } else if (jinja_tok_is(p, '(')) {
            n = jinja_parse_call(p, n);
        } else {
            return n;
        }
    }
}
