/*
 * Messages of a chat: checked, and brought into the form that chat templates
 * expect: text parts become one string, "developer" becomes "system".
 */

#include <stdio.h>
#include "engine/api/api_priv.h"

#define MESSAGES_MAX 65536

typedef struct {
    const char *name;
    const char *as;      /* NULL: refused for now */
    int         content; /* must have one */
} role_t;

static const role_t roles[] = {
    {"system", "system", 1}, {"developer", "system", 1},
    {"user", "user", 1},     {"assistant", "assistant", 0},
    {"tool", NULL, 1},       {"function", NULL, 1},
};

static int message_parse(parse_t *p, size_t i, json_t *m);
static int message_content(parse_t *p, size_t i, json_t *v, buf_t *text);
static int message_part(parse_t *p, size_t i, size_t j, json_t *part,
                        buf_t *text);
static const char *message_param(parse_t *p, size_t i, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));


int
parse_messages_field(parse_t *p, const struct field_s *f, json_t *v)
{
    json_t *m;
    size_t  i;

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

    json_array_foreach(v, i, m)
    {
        LLM_TRY(message_parse(p, i, m));
    }

    return 0;
}


/* "messages[i]...", in the error's own buffer. */

static const char *
message_param(parse_t *p, size_t i, const char *fmt, ...)
{
    char   *text = p->error->param_buf;
    size_t  size = sizeof(p->error->param_buf);
    int     n;
    va_list ap;

    n = snprintf(text, size, "messages[%zu]", i);
    va_start(ap, fmt);
    vsnprintf(text + n, size - (size_t) n, fmt, ap);
    va_end(ap);

    return text;
}


static int
message_parse(parse_t *p, size_t i, json_t *m)
{
    const role_t *role = NULL;
    const char   *name, *param;
    json_t       *out, *v;
    size_t        k;
    buf_t         text = {0};
    int           rc;

    if (!json_is_object(m)) {
        return api_wrong_type(p, message_param(p, i, "%s", ""), "an object", m);
    }

    v = json_object_get(m, "role");
    name = json_string_value(v);
    param = message_param(p, i, ".role");

    if (v == NULL) {
        return gen_error(p->error, 400, "missing_required_parameter", param,
                         "Missing required parameter: '%s'.", param);
    }

    for (k = 0; name && k < llm_countof(roles); k++) {
        if (strcmp(roles[k].name, name) == 0) {
            role = &roles[k];
        }
    }

    if (role == NULL || role->as == NULL) {
        return gen_error(p->error, 400, "invalid_value", param,
                         "Invalid value for '%s': %s%.32s%s.", param,
                         role ? "messages of role '" : "'",
                         name ? name : "(not a string)",
                         role ? "' are not supported by this server"
                              : "' is not a role");
    }

    for (k = 0; k < 3; k++) {
        static const char *const refused[] = {"tool_calls", "function_call",
                                              "audio"};

        v = json_object_get(m, refused[k]);
        if (v && !json_is_null(v)
            && !(json_is_array(v) && json_array_size(v) == 0)) {
            param = message_param(p, i, ".%s", refused[k]);
            return gen_error(p->error, 400, "unsupported_parameter", param,
                             "Unsupported parameter: '%s' is not supported by "
                             "this server.",
                             param);
        }
    }

    v = json_object_get(m, "content");

    /* An assistant that refused said that. */
    if ((v == NULL || json_is_null(v)) && !role->content) {
        json_t *refusal = json_object_get(m, "refusal");

        if (json_is_string(refusal)) {
            v = refusal;
        }
    }

    if ((v == NULL || json_is_null(v)) && role->content) {
        param = message_param(p, i, ".content");
        return gen_error(p->error, 400, "missing_required_parameter", param,
                         "Missing required parameter: '%s'.", param);
    }

    rc = v && !json_is_null(v) ? message_content(p, i, v, &text) : 0;
    if (rc < 0) {
        buf_free(&text);
        return rc;
    }

    out = json_object();
    json_object_set_new(out, "role", json_string(role->as));
    json_object_set_new(out, "content",
                        json_stringn_nocheck(text.data ? text.data : "",
                                             text.len));
    buf_free(&text);

    v = json_object_get(m, "name");
    if (json_is_string(v)) {
        json_object_set(out, "name", v);
    }

    v = json_object_get(m, "reasoning_content");
    if (json_is_string(v)) {
        json_object_set(out, "reasoning_content", v);
    }

    if (json_array_append_new(p->req->messages, out) < 0) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    return 0;
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
        return api_wrong_type(p, message_param(p, i, ".content"),
                              "a string or an array of parts", v);
    }

    if (text->failed) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    return 0;
}


/* Text parts are lines of one text, as other servers have it. */

static int
message_part(parse_t *p, size_t i, size_t j, json_t *part, buf_t *text)
{
    const char *type, *param;
    json_t     *v;

    if (!json_is_object(part)) {
        return api_wrong_type(p, message_param(p, i, ".content[%zu]", j),
                              "an object", part);
    }

    type = json_string_value(json_object_get(part, "type"));
    param = message_param(p, i, ".content[%zu].type", j);

    if (type == NULL) {
        return gen_error(p->error, 400, "missing_required_parameter", param,
                         "Missing required parameter: '%s'.", param);
    }

    if (strcmp(type, "text") != 0 && strcmp(type, "refusal") != 0) {
        return gen_error(p->error, 400, "unsupported_value", param,
                         "Invalid value: '%.32s' at '%s': this server takes "
                         "text parts only.",
                         type, param);
    }

    v = json_object_get(part, type);
    if (!json_is_string(v)) {
        param = message_param(p, i, ".content[%zu].%s", j, type);
        return gen_error(p->error, 400, "missing_required_parameter", param,
                         "Missing required parameter: '%s'.", param);
    }

    if (text->len) {
        buf_add(text, "\n", 1);
    }

    buf_add(text, json_string_value(v), json_string_length(v));

    return 0;
}
