/*
 * The tree that a template compiles to, and the passes that make it: lexer →
 * parser → scope.  Nodes live in the template's arena and never change once
 * jinja_compile() has returned; many threads evaluate them at once.
 *
 * Names are resolved at compile time the way jinja2 does it: each function
 * (the template, a macro, a call block, a recursive loop, a loop's `if`) has
 * an array of slots; a name is `hops` functions up and a slot there.  A frame
 * (those, and loop bodies, set and filter blocks, `with`) says at its start
 * which slots are loaded from the context, aliased or unset.
 */

#ifndef LLM_CHAT_JINJA_AST_H
#define LLM_CHAT_JINJA_AST_H

#include "jinja.h"

typedef enum {
    JN_CONST,
    JN_NAME,
    JN_NSREF,
    JN_TUPLE,
    JN_LIST,
    JN_DICT, /* list: keys, list2: values */
    JN_ATTR,
    JN_ITEM,
    JN_SLICE, /* only as b of ITEM; a, b, c may be NULL */
    JN_CALL,
    JN_FILTER, /* a is NULL in blocks: the text before it */
    JN_TEST,
    JN_NOT,
    JN_UNARY,
    JN_AND,
    JN_OR,
    JN_BINARY,
    JN_CONCAT,
    JN_COMPARE, /* a, then list of OPERAND */
    JN_OPERAND,
    JN_COND, /* a if b else c; c may be NULL */
    JN_OUTPUT,
    JN_DATA,
    JN_FOR, /* target a, items b, test c, body list, else list2 */
    JN_IF,  /* test a, body list, else list2; elif: chain */
    JN_MACRO,
    JN_CALLBLOCK, /* call a, NULL for `generation` */
    JN_FILTERBLOCK,
    JN_SET,
    JN_SETBLOCK, /* target a, filter b or NULL */
    JN_WITH,     /* list2: targets, then args->pos: values; list: body */
    JN_BREAK,
    JN_CONTINUE,
} jinja_node_kind_t;

typedef enum { JINJA_LOAD, JINJA_STORE, JINJA_PARAM } jinja_ctx_t;

typedef enum {
    JINJA_OP_EQ,
    JINJA_OP_NE,
    JINJA_OP_LT,
    JINJA_OP_LE,
    JINJA_OP_GT,
    JINJA_OP_GE,
    JINJA_OP_IN,
    JINJA_OP_NOTIN,
} jinja_cmp_op_t;

typedef struct {
    jinja_node_t **v;
    uint32_t       n;
    uint32_t       cap;
} jinja_nodes_t;

typedef struct {
    jinja_nodes_t       pos;
    jinja_nodes_t       kw;
    const jinja_str_t **names;
    uint32_t            names_cap;
    jinja_node_t       *dyn_pos;
    jinja_node_t       *dyn_kw;
} jinja_call_args_t;

typedef enum { JINJA_BY_NAME, JINJA_BY_ALIAS, JINJA_UNSET } jinja_load_kind_t;

typedef struct {
    const jinja_str_t *name;
    uint16_t           slot;
    uint16_t           hops;
    uint16_t           from;
    uint8_t            kind;
} jinja_load_t;

typedef struct {
    jinja_load_t *loads;
    uint16_t     *clear; /* slots unset at the end */
    uint32_t      nloads;
    uint32_t      nclear;
} jinja_frame_t;

typedef struct {
    uint32_t nslots;
} jinja_func_t;

struct jinja_node_s {
    uint8_t            kind;
    uint8_t            op; /* operator, or jinja_ctx_t of a name */
    bool               recursive;
    bool               takes_caller, takes_kwargs, takes_varargs;
    uint16_t           hops;
    uint16_t           slot;
    uint16_t           loop_slot;
    uint16_t           caller_slot, kwargs_slot, varargs_slot;
    uint32_t           line;
    uint32_t           depth;
    jinja_node_t      *a, *b, *c;
    jinja_node_t      *test_target; /* FOR: a copy of a, for the test */
    jinja_node_t      *elif;        /* IF: the next condition */
    jinja_nodes_t      list, list2;
    const jinja_str_t *name;
    jinja_val_t        value;
    jinja_call_args_t *args;
    const jinja_def_t *def;
    jinja_nodes_t      params;   /* MACRO, CALLBLOCK: names */
    jinja_nodes_t      defaults; /* of the last params */
    jinja_frame_t      frame;
    jinja_frame_t      else_frame;
    jinja_frame_t      test_frame;
    jinja_func_t      *func;
    jinja_func_t      *test_func;
};

typedef enum {
    JTOK_EOF,
    JTOK_DATA,
    JTOK_VAR_BEGIN,
    JTOK_VAR_END,
    JTOK_BLOCK_BEGIN,
    JTOK_BLOCK_END,
    JTOK_NAME,
    JTOK_STRING,
    JTOK_INT,
    JTOK_FLOAT,
    JTOK_OP, /* op: one or two characters */
} jinja_tok_type_t;

/* Operators of two characters are named by these. */
#define JINJA_TWO(a, b) ((a) << 8 | (b))

typedef struct {
    uint8_t     type;
    uint16_t    op;
    uint32_t    line;
    jinja_val_t v; /* DATA, NAME and STRING: a string; INT, FLOAT */
} jinja_tok_t;

typedef struct {
    jinja_t      *j;
    jinja_tok_t  *toks;
    size_t        n, cap, at;
    uint32_t      depth;
    uint32_t      loops; /* around the statement, within its function */
    jinja_dict_t *names; /* interned: equal names are one pointer */
} jinja_parser_t;

struct jinja_env_s {
    jinja_env_t *up;
    jinja_val_t  slots[];
};

#define JINJA_AST_DEPTH 300

_Noreturn void jinja_syntax(jinja_t *j, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* jinja_lexer.c */
void jinja_lex(jinja_parser_t *p, const char *src, size_t len);

/* jinja_parse_primary.c, jinja_parse_expr.c */
jinja_call_args_t *jinja_parse_args(jinja_parser_t *p, jinja_node_t *n);
jinja_node_t      *jinja_parse_call(jinja_parser_t *p, jinja_node_t *a);
jinja_node_t      *jinja_parse_postfix(jinja_parser_t *p, jinja_node_t *n);
void jinja_node_add(jinja_parser_t *p, jinja_node_t *n, jinja_nodes_t *list,
                    jinja_node_t *kid);
jinja_node_t *jinja_parse_expr(jinja_parser_t *p, bool with_cond);
jinja_node_t *jinja_parse_primary(jinja_parser_t *p, bool with_ns);
jinja_node_t *jinja_parse_tuple(jinja_parser_t *p, bool simplified,
                                bool with_cond, const char *end, bool parens,
                                bool with_ns);
jinja_node_t *jinja_parse_filter(jinja_parser_t *p, jinja_node_t *a,
                                 bool start_inline);
jinja_node_t *jinja_parse_unary(jinja_parser_t *p, bool with_filter);
jinja_node_t *jinja_node(jinja_parser_t *p, jinja_node_kind_t kind,
                         uint32_t line, jinja_node_t *a, jinja_node_t *b);
void jinja_nodes_add(jinja_parser_t *p, jinja_nodes_t *list, jinja_node_t *n);
void jinja_node_over(jinja_parser_t *p, jinja_node_t *n, jinja_node_t *kid);

static inline jinja_tok_t *
jinja_tok(jinja_parser_t *p)
{
    return &p->toks[p->at];
}

bool           jinja_tok_is(jinja_parser_t *p, uint16_t op);
bool           jinja_tok_name(jinja_parser_t *p, const char *name);
bool           jinja_tok_skip(jinja_parser_t *p, uint16_t op);
bool           jinja_tok_skip_name(jinja_parser_t *p, const char *name);
void           jinja_tok_expect(jinja_parser_t *p, uint16_t op);
jinja_tok_t   *jinja_tok_need(jinja_parser_t *p, jinja_tok_type_t type);
_Noreturn void jinja_tok_bad(jinja_parser_t *p);

/* jinja_parse.c */
jinja_nodes_t jinja_parse(jinja_parser_t *p);

/* jinja_scope.c: resolves names, checks filters and tests */
void jinja_scope(jinja_t *j, jinja_node_t *root);

/* jinja_eval.c, jinja_exec.c */
jinja_val_t  jinja_eval(jinja_t *j, jinja_env_t *env, const jinja_node_t *n);
jinja_val_t  jinja_eval_filter(jinja_t *j, jinja_env_t *env,
                               const jinja_node_t *n, jinja_val_t self);
void         jinja_eval_args(jinja_t *j, jinja_env_t *env,
                             const jinja_call_args_t *from, const jinja_val_t *caller,
                             jinja_args_t *args);
jinja_env_t *jinja_env_new(jinja_t *j, const jinja_func_t *func,
                           jinja_env_t *up);
void         jinja_frame_enter(jinja_t *j, jinja_env_t *env,
                               const jinja_frame_t *frame);
void         jinja_frame_leave(jinja_env_t *env, const jinja_frame_t *frame);
void         jinja_assign(jinja_t *j, jinja_env_t *env, const jinja_node_t *n,
                          jinja_val_t v);

#define JINJA_FLOW_NEXT  0
#define JINJA_FLOW_BREAK 1
#define JINJA_FLOW_CONT  2

int         jinja_exec(jinja_t *j, jinja_env_t *env, const jinja_nodes_t *body,
                       jinja_buf_t *out);
jinja_val_t jinja_macro_call(jinja_t *j, jinja_macro_t *macro,
                             const jinja_args_t *args);

static inline jinja_val_t *
jinja_slot(jinja_env_t *env, const jinja_node_t *n)
{
    for (unsigned i = n->hops; i > 0; i--) {
        env = env->up;
    }

    return &env->slots[n->slot];
}

#endif /* LLM_CHAT_JINJA_AST_H */
