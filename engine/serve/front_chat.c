/*
 * Calls and thoughts between requests and chat templates: messages in the form
 * that the model's template takes, tools for templates that know none, and how
 * the answer is to be read.  Front threads.
 *
 * What a template wants is the format's to say (engine/chat): nothing is
 * found out by trying.
 */

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include "engine/chat/format_table.h"
#include "engine/serve/front.h"

#define CHAT_ID_SHORT 9

typedef struct {
    const dialog_t *dialog;
    chat_history_t  history;
    json_t         *in;
    json_t         *out;     /* owned */
    json_t         *results; /* the last message, if results are in it */
} chat_t;

static int     chat_plain(const chat_t *c);
static void    chat_assistant(chat_t *c, json_t *m);
static void    chat_lost(chat_t *c, json_t *m);
static size_t  chat_split(chat_t *c, size_t i);
static json_t *chat_calls(const chat_t *c, json_t *calls);
static json_t *chat_call(const chat_t *c, json_t *call);
static void    chat_result(chat_t *c, json_t *m);
static json_t *chat_id(const chat_t *c, json_t *id);
static void    chat_user(chat_t *c, const char *s, size_t len);
static int     read_schemas(req_t *r, str_t *schemas);


/* A new reference to the messages as the template takes them, or NULL. */

json_t *
front_messages(const dialog_t *dialog, json_t *messages)
{
    chat_t      c = {.dialog = dialog, .in = messages};
    const char *role;
    json_t     *m;
    size_t      i, n = json_array_size(messages);

    chat_format_history(dialog->format, &c.history);

    if (chat_plain(&c)) {
        return json_incref(messages);
    }

    c.out = json_array();
    if (c.out == NULL) {
        return NULL;
    }

    for (i = 0; i < n; i++) {
        m = json_array_get(messages, i);
        role = json_string_value(json_object_get(m, "role"));

        if (strcmp(role, "assistant") == 0) {
            if (c.history.one_call && !c.history.calls_lost
                && json_array_size(json_object_get(m, "tool_calls")) > 1) {
                i = chat_split(&c, i);
            } else {
                chat_assistant(&c, m);
            }

        } else if (strcmp(role, "tool") == 0) {
            chat_result(&c, m);

        } else if (strcmp(role, "user") == 0 && c.results) {
            m = json_object_get(m, "content");
            chat_user(&c, json_string_value(m), json_string_length(m));
            c.results = NULL;

        } else {
            json_array_append(c.out, m);
            c.results = NULL;
        }
    }

    return c.out;
}


/* Nothing of what is changed here is there. */

static int
chat_plain(const chat_t *c)
{
    json_t *m;
    size_t  i;

    json_array_foreach(c->in, i, m)
    {
        if (json_object_get(m, "tool_calls")
            || json_object_get(m, "tool_call_id")
            || json_object_get(m, "reasoning_content")) {
            return 0;
        }
    }

    return 1;
}


static void
chat_assistant(chat_t *c, json_t *m)
{
    json_t *calls, *v, *copy = json_copy(m);

    v = json_object_get(m, "reasoning_content");
    if (v && c->history.reasoning_key) {
        json_object_set(copy, c->history.reasoning_key, v);
    }

    calls = json_object_get(m, "tool_calls");
    if (calls) {
        json_object_set_new(copy, "tool_calls", chat_calls(c, calls));

        if (c->history.calls_lost || !c->dialog->shows_tools) {
            chat_lost(c, copy);
        }
    }

    json_array_append_new(c->out, copy);
    c->results = NULL;
}


/* Calls as the model would have written them, behind what else it said. */

static void
chat_lost(chat_t *c, json_t *m)
{
    json_t *content = json_object_get(m, "content");
    buf_t   text = {0};

    buf_add(&text, json_string_value(content), json_string_length(content));
    if (text.len) {
        buf_str(&text, "\n");
    }

    chat_format_write_calls(c->dialog->format, json_object_get(m, "tool_calls"),
                            &text);
    json_object_set_new(m, "content",
                        json_stringn_nocheck(text.data ? text.data : "",
                                             text.len));
    json_object_del(m, "tool_calls");
    buf_free(&text);
}


/*
 * The template takes one call a message: as many messages, each with its own
 * results.  Returns the last message that is done.
 */

static size_t
chat_split(chat_t *c, size_t i)
{
    json_t *m = json_array_get(c->in, i), *calls, *call, *copy, *result, *id;
    size_t  k, j, last = i;
    json_t *used = json_object();
    char    key[24];

    calls = json_object_get(m, "tool_calls");

    while ((result = json_array_get(c->in, last + 1))
           && json_object_get(result, "tool_call_id")) {
        last++;
    }

    json_array_foreach(calls, k, call)
    {
        copy = json_copy(m);
        json_object_set_new(copy, "tool_calls", json_array());
        json_array_append(json_object_get(copy, "tool_calls"), call);

        if (k) {
            json_object_set_new(copy, "content", json_string(""));
            json_object_del(copy, "reasoning_content");
        }

        chat_assistant(c, copy);
        json_decref(copy);
        id = json_object_get(call, "id");

        for (j = i + 1; j <= last; j++) {
            result = json_array_get(c->in, j);
            snprintf(key, sizeof(key), "%zu", j);

            if (json_equal(id, json_object_get(result, "tool_call_id"))
                && json_object_get(used, key) == NULL) {
                chat_result(c, result);
                json_object_set_new(used, key, json_true());
            }
        }
    }

    /* Results of earlier calls. */
    for (j = i + 1; j <= last; j++) {
        snprintf(key, sizeof(key), "%zu", j);
        if (json_object_get(used, key) == NULL) {
            chat_result(c, json_array_get(c->in, j));
        }
    }

    json_decref(used);

    return last;
}


static json_t *
chat_calls(const chat_t *c, json_t *calls)
{
    json_t *out = json_array(), *call;
    size_t  i;

    json_array_foreach(calls, i, call)
    {
        json_array_append_new(out, chat_call(c, call));
    }

    return out;
}


static json_t *
chat_call(const chat_t *c, json_t *call)
{
    json_t *copy = json_copy(call), *function;
    char   *text;

    json_object_set_new(copy, "id", chat_id(c, json_object_get(call, "id")));

    if (!c->history.args_string || c->history.calls_lost) {
        return copy;
    }

    function = json_copy(json_object_get(call, "function"));
    text = json_dumps(json_object_get(function, "arguments"), JSON_ENCODE_ANY);

    if (text) {
        json_object_set_new(function, "arguments", json_string(text));
        free(text);
    }

    json_object_set_new(copy, "function", function);

    return copy;
}


/* Another role's text to a template that knows no tools. */

static void
chat_result(chat_t *c, json_t *m)
{
    json_t *content = json_object_get(m, "content"), *copy;
    buf_t   text = {0};

    if (c->dialog->shows_tools) {
        copy = json_copy(m);
        json_object_set_new(copy, "tool_call_id",
                            chat_id(c, json_object_get(m, "tool_call_id")));
        json_array_append_new(c->out, copy);
        return;
    }

    chat_format_write_result(json_string_value(content),
                             json_string_length(content), &text);
    chat_user(c, text.data ? text.data : "", text.len);
    buf_free(&text);
}


/*
 * To a template without tools results are the user's, and the user's next
 * words belong to them: many templates want roles to alternate.
 */

static void
chat_user(chat_t *c, const char *s, size_t len)
{
    json_t *m = c->results, *content;
    buf_t   text = {0};

    if (m) {
        content = json_object_get(m, "content");
        buf_add(&text, json_string_value(content), json_string_length(content));
        buf_str(&text, "\n");

    } else {
        m = c->results = json_object();
        json_object_set_new(m, "role", json_string("user"));
        json_array_append_new(c->out, m);
    }

    buf_add(&text, s, len);
    json_object_set_new(m, "content",
                        json_stringn_nocheck(text.data ? text.data : "",
                                             text.len));
    buf_free(&text);
}


/* As it is; or one of the short kind, always the same. */

static json_t *
chat_id(const chat_t *c, json_t *id)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz";
    const char       *s = json_string_value(id);
    size_t            i, len = json_string_length(id);
    uint64_t          hash;
    char              text[CHAT_ID_SHORT];

    if (!c->dialog->id_short
        || (len == CHAT_ID_SHORT && strspn(s, letters) == len)) {
        return json_incref(id);
    }

    hash = XXH3_64bits(s, len);

    for (i = 0; i < sizeof(text); i++) {
        text[i] = letters[hash % 62];
        hash /= 62;
    }

    return json_stringn(text, sizeof(text));
}


/*
 * Tools for a template that knows none: a system text in front of all, within
 * the client's own if there is one.  `user`: into the user's first message,
 * for templates that know no system either.  A new array, or NULL.
 */

json_t *
front_generic(const dialog_t *dialog, json_t *messages, json_t *tools, int user)
{
    json_t *out = json_copy(messages), *m, *v;
    size_t  i = 0;
    buf_t   text = {0};

    if (out == NULL) {
        return NULL;
    }

    m = json_array_get(out, 0);
    v = json_object_get(m, "role");

    if (strcmp(json_string_value(v), "system") == 0) {
        v = json_object_get(m, "content");
        buf_add(&text, json_string_value(v), json_string_length(v));
        buf_str(&text, "\n\n");
        json_array_remove(out, 0);
    }

    chat_format_prompt(dialog->format, tools, &text);

    while (user && (m = json_array_get(out, i))
           && strcmp(json_string_value(json_object_get(m, "role")), "user")) {
        i++;
    }

    if (user && m) {
        v = json_object_get(m, "content");
        buf_str(&text, "\n\n");
        buf_add(&text, json_string_value(v), json_string_length(v));
        m = json_copy(m);
        json_array_set_new(out, i, m);

    } else {
        m = json_object();
        json_object_set_new(m, "role", json_string("system"));
        json_array_insert_new(out, 0, m);
    }

    json_object_set_new(m, "content",
                        json_stringn_nocheck(text.data, text.len));
    buf_free(&text);

    return out;
}


/*
 * What reasoning_effort means to templates that do not read it: how many
 * tokens of thought; 0: as many as the model likes.
 */

static const uint32_t efforts[] = {
    [GEN_EFFORT_MINIMAL] = 512, [GEN_EFFORT_LOW] = 2048,
    [GEN_EFFORT_MEDIUM] = 8192, [GEN_EFFORT_HIGH] = 0,
    [GEN_EFFORT_XHIGH] = 0,     [GEN_EFFORT_MAX] = 0};


/*
 * The variables that templates have for it, unless the client set them.  The
 * names of efforts are OpenAI's; harmony knows three of them.
 */

int
front_effort(req_t *r, gen_request_t *req, const dialog_t *d, json_t *vars)
{
    static const char *const words[] = {
        [GEN_EFFORT_NONE] = "none", [GEN_EFFORT_MINIMAL] = "minimal",
        [GEN_EFFORT_LOW] = "low",   [GEN_EFFORT_MEDIUM] = "medium",
        [GEN_EFFORT_HIGH] = "high", [GEN_EFFORT_XHIGH] = "xhigh",
        [GEN_EFFORT_MAX] = "max"};
    int         on = req->effort > GEN_EFFORT_NONE;
    const char *word;

    if (req->effort == GEN_EFFORT_DEFAULT) {
        return 0;
    }

    if (on && !d->reasons && !d->effort) {
        return gen_error(&r->error, 400, "unsupported_parameter",
                         "reasoning_effort",
                         "Unsupported parameter: 'reasoning_effort' is not "
                         "supported with this model: it does not reason.");
    }

    word = words[req->effort];

    if (strcmp(chat_format_name(d->format), "harmony") == 0) {
        word = req->effort <= GEN_EFFORT_LOW    ? "low"
               : req->effort >= GEN_EFFORT_HIGH ? "high"
                                                : "medium";
    }

    json_object_set_new(vars, "reasoning_effort", json_string(word));
    json_object_set_new(vars, "enable_thinking", json_boolean(on));
    json_object_set_new(vars, "thinking", json_boolean(on));
    json_object_set_new(vars, "thinking_mode",
                        json_string(on ? "enabled" : "disabled"));

    if (!req->has_budget && !d->effort && efforts[req->effort]) {
        req->has_budget = 1;
        req->think_budget = efforts[req->effort];
    }

    return 0;
}


/*
 * How the answer is to be read, for the life of the request.  A format without
 * calls on offer, thoughts or tags of its own leaves the text as it is.
 */

int
front_reading(req_t *r)
{
    gen_request_t  *req = &r->request;
    const dialog_t *d = r->dialog;
    chat_parse_t   *parse = &r->parse;
    str_t          *names, *schemas;
    uint8_t        *custom;
    uint32_t        i, n = 0;

    *parse = (chat_parse_t){0};

    if (d == NULL
        || (req->calls == GEN_CALLS_NONE && !d->reasons
            && d->format->content == NULL)) {
        return 0;
    }

    parse->format = d->format;
    parse->calls = req->calls != GEN_CALLS_NONE;
    parse->reasoning = d->reasons;
    parse->thinking = r->prompt_at == CHAT_AT_THOUGHT;
    parse->content = r->prompt_at == CHAT_AT_CONTENT;

    names = arena_get(&req->arena, (req->n_offers + 1) * sizeof(str_t));
    schemas = arena_get(&req->arena, (req->n_offers + 1) * sizeof(str_t));
    custom = arena_get(&req->arena, req->n_offers + 1);

    if (names == NULL || schemas == NULL || custom == NULL) {
        return front_no_memory(r);
    }

    for (i = 0; i < req->n_offers; i++) {
        if (req->offers[i].offered) {
            names[n].s = arena_str(&req->arena, req->offers[i].name.s,
                                   req->offers[i].name.len);
            names[n].len = req->offers[i].name.len;
            custom[n] = req->offers[i].kind == GEN_TOOL_CUSTOM;

            if (names[n++].s == NULL) {
                return front_no_memory(r);
            }
        }
    }

    parse->names = names;
    parse->custom = custom;
    parse->schemas = schemas;
    parse->n_names = n;

    return d->format->args == CHAT_ARGS_TAGGED ? read_schemas(r, schemas) : 0;
}


/* Of the tools on offer: the format writes values of which only they say
 * whether they are text. */

static int
read_schemas(req_t *r, str_t *schemas)
{
    gen_request_t *req = &r->request;
    json_t        *tool, *schema;
    uint32_t       i, n = 0;
    char          *text;

    for (i = 0; i < req->n_offers; i++) {
        if (!req->offers[i].offered) {
            continue;
        }

        tool = json_array_get(req->tools, i);
        schema =
            json_object_get(json_object_get(tool, "function"), "parameters");
        text = json_dumps(schema, JSON_COMPACT);
        if (text == NULL) {
            return front_no_memory(r);
        }

        schemas[n].len = strlen(text);
        schemas[n].s = arena_str(&req->arena, text, schemas[n].len);
        free(text);

        if (schemas[n++].s == NULL) {
            return front_no_memory(r);
        }
    }

    return 0;
}
