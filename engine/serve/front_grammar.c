/*
 * A request's grammar.
 *
 * The answer is [thoughts]? and then, as the request has it, text with calls
 * behind it, calls alone, or content of a form.  In text the model is free
 * but for the strings by which the format's parser would know a call, a
 * thought or another message: from there on it is held to the format, to the
 * names on offer and to their schemas.  So all that the parser finds is valid.
 *
 * Schemas are read from the body's own text, as every digit counts in them:
 * of the body only the members that have some are looked at.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/serve/front_grammar_priv.h"

static void key_str(buf_t *key, str_t s);
static int  is_thinking(const req_t *r);
static int  make_limits(const req_t *r, gr_limits_t *limits);
static int  make(fg_t *g);
static int  content(fg_t *g, gr_node_t *node);
static int  content_form(fg_t *g, gr_node_t *node);


int
front_grammar_key(req_t *r, buf_t *key)
{
    gen_request_t *req = &r->request;
    fg_t           g = {.r = r, .req = req};
    uint32_t       i;
    int            rc;

    buf_reset(key);

    if (req->calls == GEN_CALLS_NONE && req->format == GEN_FORMAT_TEXT
        && !is_thinking(r)) {
        return 0;
    }

    rc = fg_members(&g);
    if (rc < 0) {
        return rc;
    }

    if (r->dialog && r->dialog->format) {
        buf_str(key, chat_format_name(r->dialog->format));
    }

    buf_fmt(key, " %d %d %d %d %d %d %d %d %d %u\n", r->prompt_at,
            r->dialog ? r->dialog->reasons : 0, req->calls, req->parallel,
            req->format, req->order_free, req->space, req->has_budget,
            req->effort == GEN_EFFORT_NONE, req->n_offers);

    for (i = 0; req->calls != GEN_CALLS_NONE && i < req->n_offers; i++) {
        if (req->offers[i].offered) {
            buf_fmt(key, "%d %u ", req->offers[i].kind, i);
            key_str(key, req->offers[i].name);
        }

        if (req->offers[i].offered && req->offers[i].kind == GEN_TOOL_CUSTOM) {
            buf_fmt(key, "%d", req->offers[i].syntax);
            key_str(key, req->offers[i].definition);
        }
    }

    key_str(key, req->format_at);
    key_str(key, req->format_text);

    for (i = 0; i < req->n_format_list; i++) {
        key_str(key, req->format_list[i]);
    }

    for (i = 0; i < g.n_members; i++) {
        key_str(key, g.members[i].name);
        key_str(key, g.members[i].text);
    }

    return 1;
}


static void
key_str(buf_t *key, str_t s)
{
    buf_fmt(key, "%zu:", s.len);
    buf_add(key, s.s, s.len);
}


/* A budget is kept by a grammar, where there is a thought at all. */

static int
is_thinking(const req_t *r)
{
    return r->request.has_budget && r->dialog && r->dialog->reasons
           && (r->prompt_at == CHAT_AT_START
               || r->prompt_at == CHAT_AT_THOUGHT);
}


int
front_grammar_make(req_t *r, grammar_t **grammar)
{
    gr_t *gr;
    int   rc;

    *grammar = NULL;

    LLM_TRY(front_grammar_program(r, &gr));

    rc = grammar_new(r->version->grammars, gr, grammar);

    return rc < 0 ? front_no_memory(r) : 0;
}


int
front_grammar_program(req_t *r, gr_t **gr)
{
    fg_t        g = {.r = r, .req = &r->request};
    gr_limits_t limits;
    int         rc;

    *gr = NULL;
    make_limits(r, &limits);
    arena_init(&g.arena, (size_t) 256 << 20);

    if (gr_new(&limits, &g.gr) < 0
        || (g.scratch = text_scratch_new()) == NULL) {
        gr_free(g.gr);
        return front_no_memory(r);
    }

    g.re = gr_re(g.gr);
    g.f = r->dialog ? r->dialog->format : NULL;

    rc = fg_members(&g);
    if (rc == 0) {
        rc = make(&g);
    }

    text_scratch_free(g.scratch);
    arena_free(&g.arena);

    if (rc == 0) {
        *gr = g.gr;
        return 0;
    }

    gr_free(g.gr);

    /* What no parameter was blamed for. */
    if (r->error.status == 0) {
        gen_error(&r->error, rc == -ENOMEM ? 500 : 400, "invalid_value",
                  r->request.calls ? "tools" : r->request.format_param,
                  "The grammar of this request: %s",
                  g.err[0] ? g.err : "nothing can satisfy it");
    }

    return rc;
}


static int
make_limits(const req_t *r, gr_limits_t *limits)
{
    const serve_options_t *opt = &r->serve->opt;

    *limits = (gr_limits_t){0};

    if (opt->grammar_ms) {
        limits->max_ns = (uint64_t) opt->grammar_ms * 1000000;
    }

    if (opt->grammar_memory) {
        limits->max_bytes = opt->grammar_memory;
        limits->re.max_bytes = opt->grammar_memory;
    }

    return 0;
}


static int
make(fg_t *g)
{
    gr_node_t   node = GR_NONE;
    const char *msg = NULL;
    int         rc;

    /* Calls: what is not declared is no argument. */
    g->json = (gr_json_options_t){
        .plain = GR_PLAIN_NAMES | GR_PLAIN_INTEGERS,
        .closed = 1,
        .order = g->req->order_free ? GR_ORDER_FREE : GR_ORDER_DECLARED,
        .space = g->req->space                               ? g->req->space
                 : g->f && g->f->space == CHAT_SPACE_COMPACT ? GR_SPACE_COMPACT
                                                             : GR_SPACE_SINGLE};

    LLM_TRY(content(g, &node));

    if (g->req->calls != GEN_CALLS_NONE) {
        LLM_TRY(fg_calls(g));
    }

    node = g->f ? fg_answer(g, node) : node;

    rc = gr_failed(g->gr, &msg);
    if (rc == 0) {
        rc = gr_finish(g->gr, node);
        gr_failed(g->gr, &msg);
    }

    if (rc < 0) {
        snprintf(g->err, sizeof(g->err), "%s",
                 msg ? msg : "nothing can satisfy it");
    }

    return rc;
}


/*
 * CONTENT, where a form is asked for: GR_NONE for text.
 */

static int
content(fg_t *g, gr_node_t *node)
{
    int rc;

    *node = GR_NONE;

    if (g->req->format == GEN_FORMAT_TEXT) {
        return 0;
    }

    g->err[0] = '\0';
    rc = content_form(g, node);

    return rc < 0 ? fg_refuse(g, rc, g->req->format_param, "format") : 0;
}


static int
content_form(fg_t *g, gr_node_t *node)
{
    const gen_request_t *req = g->req;
    gr_json_options_t    json = {.order = req->order_free ? GR_ORDER_FREE
                                                          : GR_ORDER_DECLARED,
                                 .space = req->space,
                                 .plain = GR_PLAIN_NAMES | GR_PLAIN_INTEGERS};
    const js_value_t    *schema;
    buf_t                schema_text = {0};
    int                  rc;

    switch (req->format) {

    case GEN_FORMAT_JSON_OBJECT:
        return gr_json_object(g->gr, &json, node, g->err, sizeof(g->err));

    case GEN_FORMAT_JSON_SCHEMA:
        /* guided_json may be a schema's text. */
        if (req->format_at.s == NULL) {
            return gr_json_schema(g->gr, req->format_text.s,
                                  req->format_text.len, &json, node, g->err,
                                  sizeof(g->err));
        }

        LLM_TRY(fg_value(g, req->format_at, &schema));
        js_print(&schema_text, schema);
        rc = schema_text.failed
                 ? -ENOMEM
                 : gr_json_schema(g->gr, schema_text.data, schema_text.len,
                                  &json, node, g->err, sizeof(g->err));
        buf_free(&schema_text);
        return rc;

    case GEN_FORMAT_GBNF:
        return gr_gbnf(g->gr, req->format_text.s, req->format_text.len, node,
                       g->err, sizeof(g->err));

    case GEN_FORMAT_LARK:
        return gr_lark(g->gr, req->format_text.s, req->format_text.len, node,
                       g->err, sizeof(g->err));

    case GEN_FORMAT_REGEX:
        return gr_regex(g->gr, req->format_text.s, req->format_text.len, node,
                        g->err, sizeof(g->err));

    default:
        return gr_choice(g->gr, req->format_list, req->n_format_list, node,
                         g->err, sizeof(g->err));
    }
}
