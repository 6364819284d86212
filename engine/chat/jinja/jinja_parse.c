/*
 * Tokens → statement nodes.  Tags that make no sense in a chat template
 * (inheritance, includes, autoescape) are errors that name their line.
 */

#include "jinja_ast.h"

typedef struct {
    const char *name;
    jinja_node_t *(*parse)(jinja_parser_t *p, jinja_node_t *n);
    jinja_node_kind_t kind;
} tag_t;

static jinja_nodes_t parse_body(jinja_parser_t *p, jinja_node_t *n,
                                const char *const *ends);
static jinja_nodes_t parse_until(jinja_parser_t *p, jinja_node_t *n,
                                 const char *const *ends);
static jinja_node_t *parse_set(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_for(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_if(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_macro(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_call_block(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_filter_block(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_with(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_print(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_generation(jinja_parser_t *p, jinja_node_t *n);
static jinja_node_t *parse_loop_control(jinja_parser_t *p, jinja_node_t *n);

static const tag_t tags[] = {
    {"set", parse_set, JN_SET},
    {"for", parse_for, JN_FOR},
    {"if", parse_if, JN_IF},
    {"macro", parse_macro, JN_MACRO},
    {"call", parse_call_block, JN_CALLBLOCK},
    {"filter", parse_filter_block, JN_FILTERBLOCK},
    {"with", parse_with, JN_WITH},
    {"print", parse_print, JN_OUTPUT},
    {"generation", parse_generation, JN_CALLBLOCK},
    {"break", parse_loop_control, JN_BREAK},
    {"continue", parse_loop_control, JN_CONTINUE},
};

static const char *const unsupported[] = {
    "block", "extends", "include", "import", "from", "autoescape", NULL,
};


/* A name is in a list that ends with NULL. */

static bool
among(const jinja_str_t *name, const char *const *list)
{
    for (; list && *list; list++) {
        if (jinja_str_is(name, *list)) {
            return true;
        }
    }

    return false;
}


static void
check_target(jinja_parser_t *p, jinja_node_t *n, jinja_ctx_t ctx)
{
    uint32_t i;

    if (n->kind == JN_TUPLE) {
        for (i = 0; i < n->list.n; i++) {
            check_target(p, n->list.v[i], ctx);
        }
        return;
    }

    if (n->kind != JN_NAME && n->kind != JN_NSREF) {
        jinja_syntax(p->j, n->line, "can't assign to this expression");
    }

    n->op = (uint8_t) ctx;
}


static jinja_node_t *
parse_target(jinja_parser_t *p, const char *end, bool with_ns)
{
    jinja_node_t *n = jinja_parse_tuple(p, true, true, end, false, with_ns);

    check_target(p, n, JINJA_STORE);

    return n;
}


static jinja_node_t *
copy_target(jinja_parser_t *p, const jinja_node_t *from)
{
    uint32_t      i;
    jinja_node_t *n = jinja_node(p, from->kind, from->line, NULL, NULL);

    n->op = from->op;
    n->name = from->name;
    n->value = from->value;

    for (i = 0; i < from->list.n; i++) {
        jinja_nodes_add(p, &n->list, copy_target(p, from->list.v[i]));
    }

    return n;
}


static const jinja_str_t *
parse_name(jinja_parser_t *p)
{
    jinja_node_t *n;

    if (jinja_tok(p)->type != JTOK_NAME) {
        jinja_tok_bad(p);
    }

    n = jinja_parse_primary(p, false);
    check_target(p, n, JINJA_STORE);

    return n->name;
}


static jinja_node_t *
parse_set(jinja_parser_t *p, jinja_node_t *n)
{
    static const char *const end[] = {"endset", NULL};

    n->a = parse_target(p, NULL, true);

    if (jinja_tok_skip(p, '=')) {
        n->b = jinja_parse_tuple(p, false, true, NULL, false, false);
        jinja_node_over(p, n, n->b);
        return n;
    }

    n->kind = JN_SETBLOCK;

    if (jinja_tok_is(p, '|')) {
        n->b = jinja_parse_filter(p, NULL, false);
        jinja_node_over(p, n, n->b);
    }

    n->list = parse_body(p, n, end);
    p->at++;

    return n;
}


static jinja_node_t *
parse_for(jinja_parser_t *p, jinja_node_t *n)
{
    static const char *const ends[] = {"endfor", "else", NULL};

    n->a = parse_target(p, "in", false);

    if (!jinja_tok_skip_name(p, "in")) {
        jinja_tok_bad(p);
    }

    n->b = jinja_parse_tuple(p, false, false, "recursive", false, false);
    jinja_node_over(p, n, n->b);

    if (jinja_tok_skip_name(p, "if")) {
        n->c = jinja_parse_expr(p, true);
        jinja_node_over(p, n, n->c);
        n->test_target = copy_target(p, n->a);
    }

    n->recursive = jinja_tok_skip_name(p, "recursive");
    p->loops++;
    n->list = parse_body(p, n, ends);
    p->loops--;

    if (jinja_tok_skip_name(p, "else")) {
        n->list2 = parse_body(p, n, &(const char *const[]){"endfor", NULL}[0]);
    }

    p->at++;

    return n;
}


static jinja_node_t *
parse_if(jinja_parser_t *p, jinja_node_t *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const end[] = {"endif", NULL};

    jinja_node_t *cond = n;

    for (;;) {
        cond->a = jinja_parse_tuple(p, false, false, NULL, false, false);
        jinja_node_over(p, n, cond->a);
        cond->list = parse_body(p, n, ends);

        if (!jinja_tok_skip_name(p, "elif")) {
            break;
        }

        cond->elif = jinja_node(p, JN_IF, jinja_tok(p)->line, NULL, NULL);
        cond = cond->elif;
    }

    if (jinja_tok_skip_name(p, "else")) {
        n->list2 = parse_body(p, n, end);
    }

    p->at++;

    return n;
}


static void
parse_signature(jinja_parser_t *p, jinja_node_t *n)
{
    jinja_node_t *name;

    jinja_tok_expect(p, '(');

    while (!jinja_tok_is(p, ')')) {
        if (n->params.n) {
            jinja_tok_expect(p, ',');
        }

        name = jinja_node(p, JN_NAME, jinja_tok(p)->line, NULL, NULL);
        name->name = parse_name(p);
        name->op = JINJA_PARAM;
        jinja_nodes_add(p, &n->params, name);

        if (jinja_tok_skip(p, '=')) {
            jinja_nodes_add(p, &n->defaults, jinja_parse_expr(p, true));
            jinja_node_over(p, n, n->defaults.v[n->defaults.n - 1]);
        } else if (n->defaults.n) {
            jinja_syntax(p->j, n->line,
                         "non-default argument follows default argument");
        }
    }

    jinja_tok_expect(p, ')');
}


/* The body of a function: loops around it do not count. */

static void
parse_function(jinja_parser_t *p, jinja_node_t *n, const char *end)
{
    uint32_t loops = p->loops;

    p->loops = 0;
    n->list = parse_body(p, n, (const char *const[]){end, NULL});
    p->at++;
    p->loops = loops;
}


static jinja_node_t *
parse_macro(jinja_parser_t *p, jinja_node_t *n)
{
    n->name = parse_name(p);
    parse_signature(p, n);
    parse_function(p, n, "endmacro");

    return n;
}


static jinja_node_t *
parse_call_block(jinja_parser_t *p, jinja_node_t *n)
{
    if (jinja_tok_is(p, '(')) {
        parse_signature(p, n);
    }

    n->a = jinja_parse_expr(p, true);
    jinja_node_over(p, n, n->a);

    if (n->a->kind != JN_CALL) {
        jinja_syntax(p->j, n->line, "expected call");
    }

    parse_function(p, n, "endcall");

    return n;
}


static jinja_node_t *
parse_generation(jinja_parser_t *p, jinja_node_t *n)
{
    parse_function(p, n, "endgeneration");

    return n;
}


static jinja_node_t *
parse_filter_block(jinja_parser_t *p, jinja_node_t *n)
{
    static const char *const end[] = {"endfilter", NULL};

    n->b = jinja_parse_filter(p, NULL, true);
    jinja_node_over(p, n, n->b);
    n->list = parse_body(p, n, end);
    p->at++;

    return n;
}


static jinja_node_t *
parse_with(jinja_parser_t *p, jinja_node_t *n)
{
    static const char *const end[] = {"endwith", NULL};

    jinja_node_t *target, *value;

    n->args = jinja_alloc(p->j, sizeof(jinja_call_args_t));

    while (jinja_tok(p)->type != JTOK_BLOCK_END) {
        if (n->list2.n) {
            jinja_tok_expect(p, ',');
        }

        /* not parse_target(): a comma ends this one */
        target = jinja_parse_primary(p, false);
        check_target(p, target, JINJA_PARAM);
        jinja_nodes_add(p, &n->list2, target);
        jinja_tok_expect(p, '=');
        value = jinja_parse_expr(p, true);
        jinja_nodes_add(p, &n->args->pos, value);
        jinja_node_over(p, n, value);
    }

    n->list = parse_body(p, n, end);
    p->at++;

    return n;
}


static jinja_node_t *
parse_print(jinja_parser_t *p, jinja_node_t *n)
{
    do {
        jinja_nodes_add(p, &n->list, jinja_parse_expr(p, true));
        jinja_node_over(p, n, n->list.v[n->list.n - 1]);
    } while (jinja_tok_skip(p, ','));

    return n;
}


static jinja_node_t *
parse_loop_control(jinja_parser_t *p, jinja_node_t *n)
{
    if (p->loops == 0) {
        jinja_syntax(p->j, n->line, "'%s' outside loop",
                     n->kind == JN_BREAK ? "break" : "continue");
    }

    return n;
}


static jinja_node_t *
parse_statement(jinja_parser_t *p)
{
    size_t             i;
    jinja_tok_t       *t = jinja_tok_need(p, JTOK_NAME);
    const jinja_str_t *name = t->v.u.s;
    int                len = name->len > 60 ? 60 : (int) name->len;

    for (i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        if (jinja_str_is(name, tags[i].name)) {
            return tags[i].parse(p, jinja_node(p, tags[i].kind, t->line, NULL,
                                               NULL));
        }
    }

    if (among(name, unsupported)) {
        jinja_syntax(p->j, t->line, "unsupported tag '%.*s'", len, name->text);
    }

    jinja_syntax(p->j, t->line, "encountered unknown tag '%.*s'", len,
                 name->text);
}


/* From behind the tag's name to one of ends, which is then the token. */

static jinja_nodes_t
parse_body(jinja_parser_t *p, jinja_node_t *n, const char *const *ends)
{
    (void) jinja_tok_skip(p, ':');
    (void) jinja_tok_need(p, JTOK_BLOCK_END);

    return parse_until(p, n, ends);
}


static void
body_add(jinja_parser_t *p, jinja_node_t *over, jinja_nodes_t *body,
         jinja_node_t *kid)
{
    jinja_nodes_add(p, body, kid);

    if (over) {
        jinja_node_over(p, over, kid);
    }
}


static jinja_nodes_t
parse_until(jinja_parser_t *p, jinja_node_t *n, const char *const *ends)
{
    jinja_tok_t  *t;
    jinja_node_t *kid;
    jinja_nodes_t body = {0};

    if (++p->depth > JINJA_AST_DEPTH) {
        jinja_syntax(p->j, jinja_tok(p)->line, "nested too deeply");
    }

    for (;;) {
        t = jinja_tok(p);

        switch (t->type) {

        case JTOK_EOF:
            if (ends) {
                jinja_syntax(p->j, t->line,
                             "unexpected end of template: '%s' of line %u is "
                             "missing",
                             ends[0], (unsigned) n->line);
            }
            p->depth--;
            return body;

        case JTOK_DATA:
            p->at++;
            kid = jinja_node(p, JN_DATA, t->line, NULL, NULL);
            kid->value = t->v;
            body_add(p, n, &body, kid);
            break;

        case JTOK_VAR_BEGIN:
            p->at++;
            kid = jinja_parse_tuple(p, false, true, NULL, false, false);
            kid = jinja_node(p, JN_OUTPUT, t->line, NULL, kid);
            jinja_nodes_add(p, &kid->list, kid->b);
            (void) jinja_tok_need(p, JTOK_VAR_END);
            body_add(p, n, &body, kid);
            break;

        default:
            (void) jinja_tok_need(p, JTOK_BLOCK_BEGIN);
            if (jinja_tok(p)->type == JTOK_NAME
                && among(jinja_tok(p)->v.u.s, ends)) {
                p->depth--;
                return body;
            }
            body_add(p, n, &body, parse_statement(p));
            (void) jinja_tok_need(p, JTOK_BLOCK_END);
        }
    }
}


jinja_nodes_t
jinja_parse(jinja_parser_t *p)
{
    return parse_until(p, NULL, NULL);
}
