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
#include <xxhash.h>
#include "engine/grammar/re_ecma.h"
#include "engine/serve/front_grammar_priv.h"

#define FG_TAGS_MAX 32

/* Tools whose arguments are the same: their names. */
typedef struct {
    uint64_t  hash;
    str_t     text; /* of the schema; s NULL: a custom tool, never shared */
    gr_node_t args;
    re_t      names; /* each with what stands between it and the arguments */
} group_t;

static int       is_thinking(const req_t *r);
static int       members_find(fg_t *g);
static int       members_add(fg_t *g, str_t pointer);
static int       members_scan(fg_t *g);
static size_t    skip_value(const char *s, size_t len, size_t at);
static size_t    skip_space(const char *s, size_t len, size_t at);
static void      key_str(buf_t *key, str_t s);
static int       make(fg_t *g);
static int       make_limits(const req_t *r, gr_limits_t *limits);
static int       content(fg_t *g, gr_node_t *node);
static int       content_form(fg_t *g, gr_node_t *node);
static int       calls_body(fg_t *g);
static int       calls_tool(fg_t *g, const gen_tool_t *tool, group_t *groups,
                            uint32_t *n);
static re_t      call_part(fg_t *g, const char *s, size_t len, str_t name,
                           int *ended);
static gr_node_t call(fg_t *g, int first);
static gr_node_t calls(fg_t *g, int first);
static gr_node_t text(fg_t *g, int first);
static size_t    tags(fg_t *g, re_t *list);
static gr_node_t rest(fg_t *g, gr_node_t content, int first);
static gr_node_t rest_tagged(fg_t *g, gr_node_t content, int first);
static gr_node_t thought(fg_t *g, int first);
static gr_node_t answer(fg_t *g, gr_node_t content);
static gr_node_t optional(fg_t *g, gr_node_t node);
static gr_node_t seq2(fg_t *g, gr_node_t a, gr_node_t b);
static gr_node_t tag_node(fg_t *g, const char *s, int first);


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

    rc = members_find(&g);
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

    rc = members_find(&g);
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

    g->json = (gr_json_options_t){
        .order = g->req->order_free ? GR_ORDER_FREE : GR_ORDER_DECLARED,
        .space = g->req->space                               ? g->req->space
                 : g->f && g->f->space == CHAT_SPACE_COMPACT ? GR_SPACE_COMPACT
                                                             : GR_SPACE_SINGLE};

    LLM_TRY(content(g, &node));

    if (g->req->calls != GEN_CALLS_NONE) {
        LLM_TRY(calls_body(g));
    }

    node = g->f ? answer(g, node) : node;

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
                                 .space = req->space};
    const js_value_t    *schema;
    buf_t                schema_text = {0};
    int                  rc;

    switch (req->format) {

    case GEN_FORMAT_JSON_OBJECT:
        return gr_json_object(g->gr, &json, node, g->err, sizeof(g->err));

    case GEN_FORMAT_JSON_SCHEMA:
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


/*
 * CALLS
 */

/* What stands in a call from its name on to its arguments' end: g->body. */

static int
calls_body(fg_t *g)
{
    const gen_request_t *req = g->req;
    group_t             *groups;
    gr_node_t           *list;
    uint32_t             i, n = 0;

    groups = arena_get(&g->arena, (req->n_offers + 1) * sizeof(group_t));
    list = arena_get(&g->arena, (req->n_offers + 1) * sizeof(gr_node_t));
    if (groups == NULL || list == NULL) {
        return -ENOMEM;
    }

    for (i = 0; i < req->n_offers; i++) {
        if (req->offers[i].offered) {
            LLM_TRY(calls_tool(g, &req->offers[i], groups, &n));
        }
    }

    for (i = 0; i < n; i++) {
        list[i] = seq2(g, gr_text(g->gr, groups[i].names), groups[i].args);
    }

    g->body = gr_alt(g->gr, list, n);

    return gr_failed(g->gr, NULL);
}


static int
calls_tool(fg_t *g, const gen_tool_t *tool, group_t *groups, uint32_t *n)
{
    const char       *name = strstr(g->f->call, "%n") + 2;
    const char       *args = strstr(g->f->call, "%a");
    const js_value_t *schema = NULL;
    group_t          *group = &groups[*n];
    buf_t             schema_text = {0};
    re_t              between;
    uint32_t          i;

    between =
        re_run(g->re, tool->name.s, tool->name.len,
               call_part(g, name, (size_t) (args - name), tool->name, NULL));
    *group = (group_t){.names = between};

    if (tool->kind == GEN_TOOL_CUSTOM) {
        ++*n;
        return fg_custom(g, tool, &group->args);
    }

    if (tool->schema.s) {
        LLM_TRY(fg_value(g, tool->schema, &schema));
        js_print(&schema_text, schema);
        group->text.s = arena_str(&g->arena, schema_text.data, schema_text.len);
        group->text.len = schema_text.len;
        buf_free(&schema_text);

        if (group->text.s == NULL) {
            return -ENOMEM;
        }

    } else {
        group->text = str_lit("{}");
    }

    group->hash = XXH3_64bits(group->text.s, group->text.len);

    for (i = 0; i < *n; i++) {
        if (groups[i].hash == group->hash
            && str_eq(groups[i].text, group->text)) {
            groups[i].names = re_or(g->re, groups[i].names, between);
            return 0;
        }
    }

    ++*n;

    return fg_args(g, tool, schema, &group->args);
}


/* A piece of `call` without arguments in it. */

static re_t
call_part(fg_t *g, const char *s, size_t len, str_t name, int *ended)
{
    re_t   out = RE_EMPTY, piece;
    size_t i = 0, n;
    char   err[64];

    while (i < len) {
        for (n = 0; i + n < len && s[i + n] != '%'; n++) {
            /* void */
        }

        if (n) {
            piece = fg_tag(g, s + i, n, ended);
            out = re_concat(g->re, out, piece);
            i += n;

            if (ended && *ended) {
                return out;
            }

            continue;
        }

        if (s[i + 1] == 'N') {
            out = re_concat(g->re, out,
                            re_run(g->re, name.s, name.len, RE_EMPTY));

        } else if (g->f->star && g->f->star[0]) {
            if (re_ecma_whole(g->re, g->f->star, strlen(g->f->star), &piece,
                              err, sizeof(err))
                < 0) {
                return RE_NONE;
            }
            out = re_concat(g->re, out, piece);
        }

        i += 2;
    }

    return out;
}


/* One call.  first: nothing but the prompt is before it. */

static gr_node_t
call(fg_t *g, int first)
{
    const char *s = g->f->call, *name, *end;
    const char *prime = first && g->f->section == NULL ? g->f->prime : NULL;
    gr_node_t   list[3];
    int         ended = 0;

    if (prime && strncmp(s, prime, strlen(prime)) == 0) {
        s += strlen(prime);
    }

    name = strstr(s, "%n");
    end = strstr(s, "%a") + 2;

    list[0] =
        gr_text(g->gr, call_part(g, s, (size_t) (name - s), (str_t){0}, NULL));
    list[1] = g->body;
    list[2] =
        gr_text(g->gr, call_part(g, end, strlen(end), (str_t){0}, &ended));

    return gr_seq(g->gr, list, 3);
}


static gr_node_t
calls(fg_t *g, int first)
{
    const chat_format_t *f = g->f;
    gr_node_t            list[4], more;

    list[0] = f->section ? tag_node(g, f->section, first) : GR_EMPTY;
    list[1] = call(g, first);
    list[2] = GR_EMPTY;
    list[3] = f->section_end ? tag_node(g, f->section_end, 0) : GR_EMPTY;

    if (g->req->parallel && !f->single) {
        more = seq2(g, f->separator ? tag_node(g, f->separator, 0) : GR_EMPTY,
                    call(g, 0));
        list[2] = gr_repeat(g->gr, more, 0, RE_INF);
    }

    return gr_seq(g->gr, list, 4);
}


/*
 * TEXT
 */

/* What the parser would see something in. */

static size_t
tags(fg_t *g, re_t *list)
{
    const chat_format_t *f = g->f;
    const char          *s;
    size_t               n = 0;
    int                  i;

    if (g->req->calls != GEN_CALLS_NONE && f->section) {
        list[n++] = fg_tag_read(g, f->section, strlen(f->section));

    } else if (g->req->calls != GEN_CALLS_NONE && !f->start) {
        for (i = 0; i < CHAT_READS_MAX; i++) {
            s = i == 0 && f->reads[0] == NULL ? f->call : f->reads[i];
            if (s) {
                list[n++] = fg_tag_read(g, s, strcspn(s, "%"));
            }
        }
    }

    for (i = 0; i < CHAT_OTHERS_MAX; i++) {
        if (f->others[i]) {
            list[n++] = fg_tag_read(g, f->others[i], strlen(f->others[i]));
        }

        if (f->drops[i]) {
            list[n++] = fg_tag_read(g, f->drops[i], strlen(f->drops[i]));
        }
    }

    if (f->content) {
        list[n++] = fg_tag_read(g, f->content, strlen(f->content));
    }

    if (f->content_end) {
        list[n++] = fg_tag_read(g, f->content_end, strlen(f->content_end));
    }

    if (f->rethink) {
        s = chat_format_think(f);
        list[n++] = fg_tag_read(g, s, strlen(s));
    }

    return n;
}


static gr_node_t
text(fg_t *g, int first)
{
    const chat_format_t *f = g->f;
    re_t                 list[FG_TAGS_MAX], start = RE_NONE;
    const char          *s;
    size_t               n = tags(g, list);
    int                  i;

    if (g->req->calls != GEN_CALLS_NONE && f->start) {
        for (i = 0; i < CHAT_READS_MAX && f->reads[i]; i++) {
            s = f->reads[i];
            start = re_or(g->re, start, fg_tag_read(g, s, strcspn(s, "%")));
        }
    }

    if (first && g->r->dialog->reasons && !f->rethink) {
        s = chat_format_think(f);
        start = re_or(g->re, start, fg_tag_read(g, s, strlen(s)));
    }

    return gr_text_marked(g->gr, fg_free(g, list, n, start), GR_MARK_FREE);
}


/* Everything behind a thought, or without one. */

static gr_node_t
rest(fg_t *g, gr_node_t content_, int first)
{
    gr_node_t list[2];

    if (g->f->content) {
        return rest_tagged(g, content_, first);
    }

    list[0] = content_ != GR_NONE ? content_ : text(g, first);

    if (g->req->calls == GEN_CALLS_NONE) {
        return list[0];
    }

    list[1] = calls(g, first);

    if (g->req->calls == GEN_CALLS_REQUIRED) {
        return list[1];
    }

    /* Content of a form, or calls; text, and perhaps calls behind it. */
    if (content_ != GR_NONE || g->f->start) {
        return gr_alt(g->gr, list, 2);
    }

    list[1] = optional(g, list[1]);

    return gr_seq(g->gr, list, 2);
}


/* The same where content has tags of its own. */

static gr_node_t
rest_tagged(fg_t *g, gr_node_t content_, int first)
{
    const chat_format_t *f = g->f;
    const char          *end = f->content_end;
    int                  open = g->r->prompt_at == CHAT_AT_CONTENT;
    gr_node_t            list[4], ways[3];
    uint32_t             n = 0;

    list[0] = open ? GR_EMPTY : tag_node(g, f->content, first);
    list[1] = content_ != GR_NONE ? content_ : text(g, 0);
    list[2] = end ? optional(g, tag_node(g, end, 0)) : GR_EMPTY;

    if (g->req->calls != GEN_CALLS_REQUIRED) {
        ways[n++] = gr_seq(g->gr, list, 3);
    }

    if (g->req->calls == GEN_CALLS_NONE) {
        return ways[0];
    }

    if (open) {
        list[0] = content_ == GR_NONE && n ? text(g, 0) : GR_EMPTY;
        list[1] = end ? tag_node(g, end, 0) : GR_EMPTY;
        list[2] = calls(g, 0);
        ways[n++] = gr_seq(g->gr, list, 3);
        return gr_alt(g->gr, ways, n);
    }

    ways[n++] = calls(g, first);

    if (f->preamble && content_ == GR_NONE) {
        end = f->preamble_end ? f->preamble_end : end;
        list[0] = tag_node(g, f->preamble, first);
        list[1] = text(g, 0);
        list[2] = end ? tag_node(g, end, 0) : GR_EMPTY;
        list[3] = calls(g, 0);
        ways[n++] = gr_seq(g->gr, list, 4);
    }

    return gr_alt(g->gr, ways, n);
}


/*
 * THOUGHTS
 */

/* One from its opening tag on (first: behind the prompt) to its end. */

static gr_node_t
thought(fg_t *g, int first)
{
    static const uint64_t space[4] = {1ull << ' ' | 1ull << '\n'};
    const char           *end = chat_format_think_close(g->f);
    gr_node_t             list[4];
    re_t                  stop = fg_tag_read(g, end, strlen(end));

    list[0] = g->r->prompt_at == CHAT_AT_THOUGHT && first
                  ? GR_EMPTY
                  : tag_node(g, chat_format_think(g->f), first);
    list[1] = gr_text_marked(g->gr, fg_free(g, &stop, 1, RE_NONE),
                             GR_MARK_FREE | GR_MARK_THINK);
    list[2] = gr_text(g->gr, fg_tag(g, end, strlen(end), NULL));

    /* Models put a line or two between a thought and what follows. */
    list[3] =
        g->f->content || g->f->rethink
            ? GR_EMPTY
            : gr_text(g->gr, re_repeat(g->re, re_class(g->re, space), 0, 2));

    return gr_seq(g->gr, list, 4);
}


static gr_node_t
answer(fg_t *g, gr_node_t content_)
{
    int       at = g->r->prompt_at, none = g->req->effort == GEN_EFFORT_NONE;
    gr_node_t list[3], ways[2];

    if (g->req->kind != GEN_CHAT) {
        return content_;
    }

    if (!g->r->dialog->reasons || at == CHAT_AT_ANSWER || at == CHAT_AT_CONTENT
        || (at == CHAT_AT_START && none)) {
        return rest(g, content_, at != CHAT_AT_CONTENT);
    }

    list[0] = thought(g, 1);
    list[1] =
        g->f->rethink ? gr_repeat(g->gr, thought(g, 0), 0, RE_INF) : GR_EMPTY;
    list[2] = rest(g, content_, 0);
    ways[0] = gr_seq(g->gr, list, 3);

    if (at == CHAT_AT_THOUGHT) {
        return ways[0];
    }

    ways[1] = rest(g, content_, 1);

    return gr_alt(g->gr, ways, 2);
}


static gr_node_t
optional(fg_t *g, gr_node_t node)
{
    return gr_repeat(g->gr, node, 0, 1);
}


static gr_node_t
seq2(fg_t *g, gr_node_t a, gr_node_t b)
{
    gr_node_t list[2] = {a, b};

    return gr_seq(g->gr, list, 2);
}


static gr_node_t
tag_node(fg_t *g, const char *s, int first)
{
    int ended = 0;

    return gr_text(g->gr, fg_tag_at(g, s, first, &ended));
}


/*
 * THE BODY
 */

static int
members_find(fg_t *g)
{
    const gen_request_t *req = g->req;
    uint32_t             i;

    for (i = 0; req->calls != GEN_CALLS_NONE && i < req->n_offers; i++) {
        if (req->offers[i].offered && req->offers[i].schema.s) {
            LLM_TRY(members_add(g, req->offers[i].schema));
        }
    }

    if (req->format == GEN_FORMAT_JSON_SCHEMA) {
        LLM_TRY(members_add(g, req->format_at));
    }

    return g->n_members ? members_scan(g) : 0;
}


static int
members_add(fg_t *g, str_t pointer)
{
    str_t    name;
    uint32_t i;

    if (pointer.len < 2 || pointer.s[0] != '/') {
        return gen_error(&g->r->error, 500, NULL, NULL,
                         "A schema has no place in the body.");
    }

    name.s = pointer.s + 1;
    for (name.len = 0; name.len + 1 < pointer.len && name.s[name.len] != '/';
         name.len++) {
        /* void */
    }

    for (i = 0; i < g->n_members; i++) {
        if (str_eq(g->members[i].name, name)) {
            return 0;
        }
    }

    if (g->n_members == FG_MEMBERS_MAX) {
        return gen_error(&g->r->error, 500, NULL, NULL,
                         "Schemas are in too many places of the body.");
    }

    g->members[g->n_members++].name = name;

    return 0;
}


/* The body is an object, and valid: Jansson has read it. */

static int
members_scan(fg_t *g)
{
    const char *s = g->r->body.data;
    size_t      len = g->r->body.len, at = skip_space(s, len, 0), key, end;
    uint32_t    i, n = 0;
    int         escaped = 0;

    at = skip_space(s, len, at + 1);

    while (at < len && s[at] == '"') {
        key = at;
        end = skip_value(s, len, at);
        at = skip_space(s, len, end);
        at = skip_space(s, len, at + 1); /* the colon */
        escaped |= memchr(s + key, '\\', end - key) != NULL;

        for (i = 0; i < g->n_members; i++) {
            if (str_eq(g->members[i].name,
                       (str_t){s + key + 1, end - key - 2})) {
                n += g->members[i].text.s == NULL;
                g->members[i].text.s = s + at;
                g->members[i].text.len = skip_value(s, len, at) - at;
            }
        }

        at = skip_space(s, len, skip_value(s, len, at));
        at = skip_space(s, len, at + 1); /* the comma */
    }

    if (n == g->n_members) {
        return 0;
    }

    return gen_error(&g->r->error, 400, "invalid_value", NULL,
                     "The body spells the name of a parameter with %s.",
                     escaped ? "escapes" : "what is none");
}


static size_t
skip_space(const char *s, size_t len, size_t at)
{
    while (
        at < len
        && (s[at] == ' ' || s[at] == '\n' || s[at] == '\r' || s[at] == '\t')) {
        at++;
    }

    return at;
}


/* Behind the value at `at` of a valid JSON text. */

static size_t
skip_value(const char *s, size_t len, size_t at)
{
    size_t depth = 0;

    while (at < len) {
        switch (s[at]) {

        case '"':
            for (at++; at < len && s[at] != '"'; at++) {
                at += s[at] == '\\';
            }
            at++;
            break;

        case '{':
        case '[':
            depth++;
            at++;
            continue;

        case '}':
        case ']':
            if (depth == 0) {
                return at;
            }
            depth--;
            at++;
            break;

        case ',':
        case ':':
        case ' ':
        case '\n':
        case '\r':
        case '\t':
            at++;
            continue;

        default:
            while (at < len && strchr(",}] \n\r\t", s[at]) == NULL) {
                at++;
            }
        }

        if (depth == 0) {
            return at < len ? at : len;
        }
    }

    return len;
}


int
fg_value(fg_t *g, str_t pointer, const js_value_t **value)
{
    js_limits_t limits = {.max_bytes = SERVE_BODY_MAX, .max_values = 4u << 20};
    const char *s = pointer.s + 1, *end = pointer.s + pointer.len;
    const js_value_t *at = NULL;
    fg_member_t      *m = NULL;
    char              name[256];
    size_t            n;
    uint32_t          i;
    int               rc;

    for (i = 0; i < g->n_members; i++) {
        n = g->members[i].name.len;
        if (n <= (size_t) (end - s) && (s + n == end || s[n] == '/')
            && memcmp(g->members[i].name.s, s, n) == 0) {
            m = &g->members[i];
        }
    }

    if (m && m->value == NULL) {
        rc = js_parse(&g->arena, m->text.s, m->text.len, &limits, &m->value,
                      NULL, g->err, sizeof(g->err));
        if (rc < 0) {
            return fg_refuse_at(g, rc, (str_t){pointer.s, m->name.len + 1},
                                "value");
        }
    }

    at = m ? m->value : NULL;
    s += m ? m->name.len : 0;

    while (at && s < end) {
        for (s++, n = 0; s < end && *s != '/' && n + 1 < sizeof(name); n++) {
            name[n] = *s++;
            if (name[n] == '~' && s < end) {
                name[n] = *s++ == '0' ? '~' : '/';
            }
        }

        name[n] = '\0';

        if (at->type == JS_ARRAY) {
            i = (uint32_t) strtoul(name, NULL, 10);
            at = i < at->n ? &at->items[i] : NULL;
        } else {
            at = at->type == JS_OBJECT ? js_member(at, name, n) : NULL;
        }
    }

    *value = at;

    return at ? 0
              : gen_error(&g->r->error, 500, NULL, NULL,
                          "A schema is not where it was in the body.");
}


/*
 * REFUSALS
 */

int
fg_refuse(fg_t *g, int rc, const char *param, const char *what)
{
    const char *msg = NULL;

    if (g->r->error.status) {
        return rc;
    }

    if (rc == -ENOMEM) {
        return front_no_memory(g->r);
    }

    if (g->err[0] == '\0') {
        gr_failed(g->gr, &msg);
        snprintf(g->err, sizeof(g->err), "%s",
                 msg ? msg : "it cannot be kept to");
    }

    gen_error(&g->r->error, 400,
              rc == -ENOTSUP ? "unsupported_value" : "invalid_value", param,
              "Invalid %s%s%s%s: %s", what, param ? " in '" : "",
              param ? param : "", param ? "'" : "", g->err);

    return rc;
}


int
fg_refuse_at(fg_t *g, int rc, str_t pointer, const char *what)
{
    gen_error_t *e = &g->r->error;
    char         param[sizeof(e->param_buf)];
    size_t       i, n = 0;
    int          number = 0;

    for (i = 0; i < pointer.len && n + 2 < sizeof(param); i++) {
        if (pointer.s[i] != '/') {
            param[n++] = pointer.s[i];
            continue;
        }

        if (number) {
            param[n++] = ']';
        }

        number = i + 1 < pointer.len && pointer.s[i + 1] >= '0'
                 && pointer.s[i + 1] <= '9';

        if (number || i) {
            param[n++] = number ? '[' : '.';
        }
    }

    if (number) {
        param[n++] = ']';
    }

    param[n] = '\0';

    rc = fg_refuse(g, rc, param, what);

    if (e->param == param) {
        memcpy(e->param_buf, param, n + 1);
        e->param = e->param_buf;
    }

    return rc;
}
