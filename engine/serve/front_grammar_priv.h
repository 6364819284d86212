/*
 * What the files that make a request's grammar share: front_grammar.c puts it
 * together, front_grammar_tags.c has texts and tags, front_grammar_args.c what
 * calls take.  One grammar at a time, on one thread.
 */

#ifndef LLM_SERVE_FRONT_GRAMMAR_PRIV_H
#define LLM_SERVE_FRONT_GRAMMAR_PRIV_H

#include "engine/chat/format_table.h"
#include "engine/grammar/gr_front.h"
#include "engine/grammar/js_value.h"
#include "engine/serve/front.h"
#include "engine/serve/front_grammar.h"

#define FG_MEMBERS_MAX 4
#define FG_ERR         400
#define FG_ARGS_MAX    1024 /* properties of a tool */
#define FG_TAGS_KNOWN  64
#define FG_VALUES_MAX  4096 /* a power of two */

/* A member of the body that schemas are in, as it was written. */
typedef struct {
    str_t             name;
    str_t             text;
    const js_value_t *value; /* once it was needed */
} fg_member_t;

typedef struct args_s args_t;

/* What a value may be, by its schema's text: tools have many of a kind. */
typedef struct {
    uint64_t  hash;
    str_t     text; /* s NULL: no entry */
    unsigned  types;
    gr_node_t node;
} fg_known_t;

/* A format's string, by its address. */
typedef struct {
    const char *s;
    size_t      len;
    re_t        re;
    int         ended;
} fg_tag_t;

typedef struct {
    req_t               *r;
    const gen_request_t *req;
    const chat_format_t *f; /* NULL: no chat */
    gr_t                *gr;
    re_set_t            *re;
    arena_t              arena; /* JSON values, lists */
    text_scratch_t      *scratch;
    fg_member_t          members[FG_MEMBERS_MAX];
    uint32_t             n_members;
    gr_json_options_t    json;  /* of arguments */
    fg_known_t          *known; /* [FG_VALUES_MAX], or NULL */
    uint32_t             n_known;
    fg_tag_t             tags[FG_TAGS_KNOWN];
    uint32_t             n_tags;
    args_t              *args; /* used again for each tool */
    gr_node_t            body; /* of a call, from its name on */
    char                 err[FG_ERR];
} fg_t;

/* front_grammar_answer.c */

/* Everything that calls are made of; 0, or negative with r->error. */
int fg_calls(fg_t *g);

/* The whole answer; content GR_NONE: text. */
gr_node_t fg_answer(fg_t *g, gr_node_t content);

/* front_grammar_body.c: finds the members that schemas are in. */
int fg_members(fg_t *g);

/* The value at a pointer into the body; 0 or r->error. */
int fg_value(fg_t *g, str_t pointer, const js_value_t **value);

/* r->error for what a front end returned, err in g->err; returns negative. */
int fg_refuse(fg_t *g, int rc, const char *param, const char *what);

/* ... with the parameter that a pointer into the body means. */
int fg_refuse_at(fg_t *g, int rc, str_t pointer, const char *what);

/* front_grammar_tags.c */

/*
 * A string of the format: control tokens of the vocabulary where they are
 * spelt, text elsewhere.  *ended (or NULL): a token that ends the output is
 * in it; what follows is left out.
 */
re_t fg_tag(fg_t *g, const char *s, size_t len, int *ended);

/* All that the parser takes for it: spelt as text or not, white space loose. */
re_t fg_tag_read(fg_t *g, const char *s, size_t len);

/* Everything that has none of the tags in it; nor begins with `start`. */
re_t fg_free(fg_t *g, const re_t *tags, size_t n, re_t start);

/* A tag behind the prompt's end, which wrote `prime` already if first. */
re_t fg_tag_at(fg_t *g, const char *s, int first, int *ended);

/* A tool's parameters on their way to members. */
struct args_s {
    fg_t             *g;
    const gen_tool_t *tool;
    const js_value_t *root;   /* the schema */
    const js_value_t *object; /* what it says of the object */
    json_t           *json;   /* the schema, for the parser's question */
    str_t             names[FG_ARGS_MAX];
    gr_node_t         values[FG_ARGS_MAX];
    uint8_t           required[FG_ARGS_MAX];
    uint32_t          n;
};

/* front_grammar_args.c */

/* A schema (NULL: none) as a text, of objects only. */
void fg_args_text(const js_value_t *schema, buf_t *text);
int  fg_args(fg_t *g, const gen_tool_t *tool, const js_value_t *schema,
             str_t text, gr_node_t *node);

/* One parameter in tags; where its type is told, that is in value. */
gr_node_t fg_parameter(fg_t *g, str_t name, gr_node_t value);

/*
 * A property's schema as a text of its own, with the definitions that it may
 * refer to.  nested: of arrays and objects only.
 */
int fg_argument_text(args_t *a, const js_value_t *schema, int nested,
                     buf_t *text);

/* front_grammar_value.c */
int fg_argument(args_t *a, const js_value_t *schema, str_t name,
                gr_node_t *node);

/* A custom tool's text. */
int fg_custom(fg_t *g, const gen_tool_t *tool, gr_node_t *node);

#endif /* LLM_SERVE_FRONT_GRAMMAR_PRIV_H */
