/*
 * Messages of a chat: checked, and brought into the form that chat templates
 * expect, which is transformers': text parts become one string, "developer"
 * becomes "system", arguments of calls become objects, a result knows the
 * name of what was called; custom tools are functions of one string, and the
 * legacy function_call is a call like any other.
 */

#include <stdio.h>
#include "engine/api/api_priv.h"

#define MESSAGES_MAX 65536

typedef struct message_s message_t;

/* What a role has beside its content. */
typedef int (*message_fn_t)(parse_t *p, message_t *m);

typedef struct {
    const char  *name;
    const char  *as;
    int          content; /* must have one */
    message_fn_t fn;
} role_t;

struct message_s {
    size_t        i;
    json_t       *in;
    json_t       *out;
    const role_t *role;
};

static int message_parse(parse_t *p, size_t i, json_t *in);
static int message_role(parse_t *p, message_t *m);
static int message_text(parse_t *p, message_t *m);
static int message_content(parse_t *p, size_t i, json_t *v, buf_t *text);
static int message_part(parse_t *p, size_t i, size_t j, json_t *part,
                        buf_t *text);
static int message_assistant(parse_t *p, message_t *m);
static int message_tool(parse_t *p, message_t *m);
static int message_function(parse_t *p, message_t *m);
static int call_parse(parse_t *p, const char *at, json_t *call, json_t *list);
static int call_legacy(parse_t *p, message_t *m, json_t *call);
static int call_name(parse_t *p, const char *at, json_t *object, json_t **name);
static int call_arguments(parse_t *p, const char *at, json_t *function,
                          json_t **arguments);
static int call_add(parse_t *p, json_t *list, json_t *id, json_t *name,
                    json_t *arguments);

static const role_t roles[] = {
    {"system", "system", 1, NULL},
    {"developer", "system", 1, NULL},
    {"user", "user", 1, NULL},
    {"assistant", "assistant", 0, message_assistant},
    {"tool", "tool", 1, message_tool},
    {"function", "tool", 0, message_function},
};


int
parse_messages_field(parse_t *p, const struct field_s *f, json_t *v)
{
    json_t *m;
    size_t  i;

    (void) f;

    if (!json_is_array(v)) {
        return api_wrong_type(p, "messages", "an array of objects", v);
    }

    if (json_array_size(v) == 0 || json_array_size(v) > MESSAGES_MAX) {
        return gen_error(p->error, 400,
                         json_array_size(v) ? "array_above_max_length"
                                            : "empty_array",
                         "messages",
                         "Invalid 'messages': %zu messages, not 1 to %d.",
                         json_array_size(v), MESSAGES_MAX);
    }

    p->req->messages = json_array();
    p->calls = json_object();

    if (p->req->messages == NULL || p->calls == NULL) {
        return api_no_memory(p);
    }

    json_array_foreach(v, i, m)
    {
        LLM_TRY(message_parse(p, i, m));
    }

    return 0;
}


static int
message_parse(parse_t *p, size_t i, json_t *in)
{
    static const char *const copied[] = {"name", "reasoning_content"};
    message_t                m = {.i = i, .in = in};
    json_t                  *v;
    size_t                   k;

    LLM_TRY(api_type(p, api_param(p, "messages[%zu]", i), in, API_OBJECT));
    LLM_TRY(message_role(p, &m));

    v = json_object_get(in, "audio");
    if (v && !json_is_null(v)) {
        const char *param = api_param(p, "messages[%zu].audio", i);

        return gen_error(p->error, 400, "unsupported_parameter", param,
                         "Unsupported parameter: '%s' is not supported by "
                         "this server.",
                         param);
    }

    m.out = json_object();

    if (json_array_append_new(p->req->messages, m.out) < 0) {
        return api_no_memory(p);
    }

    json_object_set_new(m.out, "role", json_string(m.role->as));
    LLM_TRY(message_text(p, &m));

    for (k = 0; k < llm_countof(copied); k++) {
        v = json_object_get(in, copied[k]);
        if (json_is_string(v)) {
            json_object_set(m.out, copied[k], v);
        }
    }

    return m.role->fn ? m.role->fn(p, &m) : 0;
}


static int
message_role(parse_t *p, message_t *m)
{
    const char *name, *param;
    json_t     *v = json_object_get(m->in, "role");
    size_t      k;

    name = json_string_value(v);
    param = api_param(p, "messages[%zu].role", m->i);

    if (v == NULL) {
        return api_missing(p, param);
    }

    for (k = 0; name && k < llm_countof(roles); k++) {
        if (strcmp(roles[k].name, name) == 0) {
            m->role = &roles[k];
            return 0;
        }
    }

    return gen_error(p->error, 400, "invalid_value", param,
                     "Invalid value for '%s': '%.32s' is not a role.", param,
                     name ? name : "(not a string)");
}


/* content as one string; an assistant's may be missing, and is "" then. */

static int
message_text(parse_t *p, message_t *m)
{
    json_t *v = json_object_get(m->in, "content");
    buf_t   text = {0};
    int     rc;

    /* An assistant that refused said that. */
    if ((v == NULL || json_is_null(v)) && !m->role->content) {
        json_t *refusal = json_object_get(m->in, "refusal");

        if (json_is_string(refusal)) {
            v = refusal;
        }
    }

    if (v == NULL || json_is_null(v)) {
        if (m->role->content) {
            return api_missing(p, api_param(p, "messages[%zu].content", m->i));
        }

        json_object_set_new(m->out, "content", json_string(""));
        return 0;
    }

    rc = message_content(p, m->i, v, &text);
    if (rc == 0) {
        json_object_set_new(m->out, "content",
                            json_stringn_nocheck(text.data ? text.data : "",
                                                 text.len));
    }

    buf_free(&text);

    return rc;
}


static int
message_content(parse_t *p, size_t i, json_t *v, buf_t *text)
{
    json_t *part;
    size_t  j;

    if (json_is_string(v)) {
        buf_add(text, json_string_value(v), json_string_length(v));

    } else if (json_is_array(v)) {
        json_array_foreach(v, j, part)
        {
            LLM_TRY(message_part(p, i, j, part, text));
        }

    } else {
        return api_wrong_type(p, api_param(p, "messages[%zu].content", i),
                              "a string or an array of parts", v);
    }

    return text->failed ? api_no_memory(p) : 0;
}


/* Text parts are lines of one text, as other servers have it. */

static int
message_part(parse_t *p, size_t i, size_t j, json_t *part, buf_t *text)
{
    const char *type, *param;
    json_t     *v;

    if (!json_is_object(part)) {
        return api_wrong_type(p,
                              api_param(p, "messages[%zu].content[%zu]", i, j),
                              "an object", part);
    }

    type = json_string_value(json_object_get(part, "type"));
    param = api_param(p, "messages[%zu].content[%zu].type", i, j);

    if (type == NULL) {
        return api_missing(p, param);
    }

    if (strcmp(type, "text") != 0 && strcmp(type, "refusal") != 0) {
        return gen_error(p->error, 400, "unsupported_value", param,
                         "Invalid value: '%.32s' at '%s': this server takes "
                         "text parts only.",
                         type, param);
    }

    v = json_object_get(part, type);
    if (!json_is_string(v)) {
        return api_missing(p, api_param(p, "messages[%zu].content[%zu].%s", i,
                                        j, type));
    }

    if (text->len) {
        buf_add(text, "\n", 1);
    }

    buf_add(text, json_string_value(v), json_string_length(v));

    return 0;
}


static int
message_assistant(parse_t *p, message_t *m)
{
    char    at[API_PATH];
    json_t *calls, *call, *list, *v;
    size_t  k;

    api_path(at, "messages[%zu]", m->i);

    /* vLLM's newer name of the same. */
    v = json_object_get(m->in, "reasoning");
    if (json_is_string(v)
        && json_object_get(m->out, "reasoning_content") == NULL) {
        json_object_set(m->out, "reasoning_content", v);
    }

    LLM_TRY(api_member(p, at, m->in, "function_call", API_OBJECT, &v));
    if (v) {
        return call_legacy(p, m, v);
    }

    LLM_TRY(api_member(p, at, m->in, "tool_calls", API_ARRAY, &calls));
    if (calls == NULL || json_array_size(calls) == 0) {
        return 0;
    }

    list = json_array();
    json_object_set_new(m->out, "tool_calls", list);

    json_array_foreach(calls, k, call)
    {
        api_path(at, "messages[%zu].tool_calls[%zu]", m->i, k);
        LLM_TRY(api_type(p, api_param(p, "%s", at), call, API_OBJECT));
        LLM_TRY(call_parse(p, at, call, list));
    }

    return 0;
}


static int
call_parse(parse_t *p, const char *at, json_t *call, json_t *list)
{
    static const char *const types[] = {"function", "custom", NULL};
    char                     where[API_PATH];
    json_t                  *id, *body, *name, *arguments, *input;
    int                      type, rc;

    LLM_TRY(api_need(p, at, call, "id", API_STRING, &id));
    LLM_TRY(api_word(p, at, call, "type", types, &type));
    LLM_TRY(api_need(p, at, call, types[type], API_OBJECT, &body));

    api_path(where, "%s.%s", at, types[type]);
    LLM_TRY(call_name(p, where, body, &name));

    if (type == 0) {
        LLM_TRY(call_arguments(p, where, body, &arguments));

    } else {
        LLM_TRY(api_need(p, where, body, "input", API_STRING, &input));
        arguments = json_object();
        json_object_set(arguments, "input", input);
    }

    rc = call_add(p, list, id, name, arguments);
    json_decref(arguments);

    return rc;
}


static int
call_name(parse_t *p, const char *at, json_t *object, json_t **name)
{
    LLM_TRY(api_need(p, at, object, "name", API_STRING, name));

    if (json_string_length(*name) == 0) {
        const char *param = api_param(p, "%s.name", at);

        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid '%s': an empty string.", param);
    }

    return 0;
}


/* A new value: the object that the client's string holds. */

static int
call_arguments(parse_t *p, const char *at, json_t *function, json_t **arguments)
{
    json_error_t error;
    const char  *param;
    json_t      *v;
    str_t        text;

    LLM_TRY(api_need(p, at, function, "arguments", API_STRING, &v));

    text = api_str(v);
    param = api_param(p, "%s.arguments", at);

    /* Some clients write nothing where there are none. */
    if (text.len == 0) {
        *arguments = json_object();
        return *arguments ? 0 : api_no_memory(p);
    }

    *arguments =
        api_json(text.s, text.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);

    if (*arguments == NULL) {
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid '%s': %s: not JSON: %.160s at byte %zu.",
                         param, param, error.text, api_json_at(&error, text.s));
    }

    if (json_is_null(*arguments)) {
        json_decref(*arguments);
        *arguments = json_object();
    }

    if (!json_is_object(*arguments)) {
        json_decref(*arguments);
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid '%s': %s: JSON, but not an object, at byte "
                         "0.",
                         param, param);
    }

    return 0;
}


static int
call_add(parse_t *p, json_t *list, json_t *id, json_t *name, json_t *arguments)
{
    json_t *call = json_object(), *function = json_object();

    json_object_set(function, "name", name);
    json_object_set(function, "arguments", arguments);
    json_object_set(call, "id", id);
    json_object_set_new(call, "type", json_string("function"));
    json_object_set_new(call, "function", function);

    if (json_array_append_new(list, call) < 0) {
        return api_no_memory(p);
    }

    /* Ids may come again: the last one that had it is meant. */
    if (json_object_setn(p->calls, json_string_value(id),
                         json_string_length(id), name)
        < 0) {
        return api_no_memory(p);
    }

    return 0;
}


/* {"name", "arguments"}: a call with an id of our own. */

static int
call_legacy(parse_t *p, message_t *m, json_t *call)
{
    char    at[API_PATH], text[API_PATH];
    json_t *list, *name, *arguments, *id;
    int     rc;

    api_path(at, "messages[%zu].function_call", m->i);
    LLM_TRY(call_name(p, at, call, &name));
    LLM_TRY(call_arguments(p, at, call, &arguments));

    list = json_array();
    json_object_set_new(m->out, "tool_calls", list);
    api_path(text, "call_%zu", m->i);
    id = json_string(text);
    rc = call_add(p, list, id, name, arguments);

    /* What its result finds it by: no name has a space. */
    api_path(at, " %.*s", API_PATH - 2, json_string_value(name));
    json_object_set(p->calls, at, id);
    json_decref(arguments);
    json_decref(id);

    return rc;
}


static int
message_tool(parse_t *p, message_t *m)
{
    char        at[API_PATH];
    const char *param;
    json_t     *id, *name;

    api_path(at, "messages[%zu]", m->i);
    LLM_TRY(api_need(p, at, m->in, "tool_call_id", API_STRING, &id));

    name = json_object_getn(p->calls, json_string_value(id),
                            json_string_length(id));
    if (name == NULL) {
        param = api_param(p, "%s.tool_call_id", at);
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid parameter: '%s' '%.64s' is not the id of any "
                         "call of 'tool_calls' in a preceding message.",
                         param, json_string_value(id));
    }

    json_object_set(m->out, "tool_call_id", id);
    json_object_set(m->out, "name", name);

    return 0;
}


/* The legacy result: of the last call of that name. */

static int
message_function(parse_t *p, message_t *m)
{
    char        at[API_PATH];
    const char *param;
    json_t     *name, *id;

    api_path(at, "messages[%zu]", m->i);
    LLM_TRY(call_name(p, at, m->in, &name));

    api_path(at, " %.*s", API_PATH - 2, json_string_value(name));
    id = json_object_get(p->calls, at);

    if (id == NULL) {
        param = api_param(p, "messages[%zu].name", m->i);
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid parameter: no preceding message has a "
                         "'function_call' of '%.64s'.",
                         json_string_value(name));
    }

    json_object_set(m->out, "tool_call_id", id);
    json_object_set(m->out, "name", name);

    return 0;
}
