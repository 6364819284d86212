/*
 * An answer as a grammar, out of a format's strings: calls, text that is none,
 * thoughts before them.  See front_grammar.c.
 */

#include <errno.h>
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


static int       calls_tool(fg_t *g, const gen_tool_t *tool, group_t *groups,
                            uint32_t *n);
static re_t      call_part(fg_t *g, const char *s, size_t len, str_t name,
                           int *ended);
static gr_node_t call(fg_t *g, int first);
static gr_node_t calls(fg_t *g, int first);
static size_t    tags(fg_t *g, re_t *list);
static gr_node_t text(fg_t *g, int first);
static gr_node_t rest(fg_t *g, gr_node_t content_, int first);
static gr_node_t rest_tagged(fg_t *g, gr_node_t content_, int first);
static gr_node_t thought(fg_t *g, int first);
static void      thought_text(fg_t *g, int first, gr_node_t list[2]);
static gr_node_t optional(fg_t *g, gr_node_t node);
static gr_node_t seq2(fg_t *g, gr_node_t a, gr_node_t b);
static gr_node_t tag_node(fg_t *g, const char *s, int first);


/*
 * CALLS
 */

/* What stands in a call from its name on to its arguments' end: g->body. */

int
fg_calls(fg_t *g)
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
    }

    fg_args_text(schema, &schema_text);
    group->text.s = arena_str(&g->arena, schema_text.data, schema_text.len);
    group->text.len = schema_text.len;
    buf_free(&schema_text);

    if (group->text.s == NULL) {
        return -ENOMEM;
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

    return fg_args(g, tool, schema, group->text, &group->args);
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

    if (f->preamble && content_ == GR_NONE
        && g->req->calls != GEN_CALLS_REQUIRED) {
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

    thought_text(g, first, list);
    list[2] = gr_text(g->gr, fg_tag(g, end, strlen(end), NULL));

    /* Models put a line or two between a thought and what follows. */
    list[3] =
        g->f->content || g->f->rethink
            ? GR_EMPTY
            : gr_text(g->gr, re_repeat(g->re, re_class(g->re, space), 0, 2));

    return gr_seq(g->gr, list, 4);
}


/* Its opening tag, and what is thought. */

static void
thought_text(fg_t *g, int first, gr_node_t list[2])
{
    const char *end = chat_format_think_close(g->f);
    const char *section = g->f->section;
    re_t        stop = fg_tag_read(g, end, strlen(end)), think;
    size_t      i, len;

    think = RE_ALL;

    if (g->f->in_think && g->req->calls != GEN_CALLS_NONE) {
        len = strlen(section);
        stop = re_or(g->re, stop, fg_tag_read(g, section, len));

        /* Nor may one tag's beginning be the other one's end. */
        for (i = 1; i < len; i++) {
            if (strncmp(section + i, end, len - i) == 0) {
                think = re_concat(g->re, RE_ALL, fg_tag_read(g, section, i));
                think = re_not(g->re, think);
            }
        }
    }

    think = re_and(g->re, think, fg_free(g, &stop, 1, RE_NONE));

    list[0] = g->r->prompt_at == CHAT_AT_THOUGHT && first
                  ? GR_EMPTY
                  : tag_node(g, chat_format_think(g->f), first);
    list[1] = gr_text_marked(g->gr, think, GR_MARK_FREE | GR_MARK_THINK);
}


gr_node_t
fg_answer(fg_t *g, gr_node_t content_)
{
    int       at = g->r->prompt_at, none = g->req->effort == GEN_EFFORT_NONE;
    gr_node_t list[3], ways[3];
    uint32_t  n = 1;

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

    if (g->f->in_think && g->req->calls != GEN_CALLS_NONE) {
        thought_text(g, 1, list);
        list[2] = calls(g, 0);
        ways[n++] = gr_seq(g->gr, list, 3);
    }

    if (at != CHAT_AT_THOUGHT) {
        ways[n++] = rest(g, content_, 1);
    }

    return gr_alt(g->gr, ways, n);
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
