/*
 * What a client makes of a stream's chunks: a choice's message.
 */

#ifndef LLM_T_API_GATHER_H
#define LLM_T_API_GATHER_H

#include "engine/api/api.h"
#include "t/lib/tap.h"


static void
join(json_t *to, const char *key, json_t *piece)
{
    const char *was = json_string_value(json_object_get(to, key));
    buf_t       b = {0};

    if (piece == NULL || !json_is_string(piece)) {
        return;
    }

    buf_str(&b, was ? was : "");
    buf_str(&b, json_string_value(piece));
    json_object_set_new(to, key, json_stringn(b.data ? b.data : "", b.len));
    buf_free(&b);
}


static void
join_call(json_t *calls, json_t *delta)
{
    json_t     *call, *body, *v;
    const char *key;
    void       *next;
    size_t i = (size_t) json_integer_value(json_object_get(delta, "index"));

    call = json_array_get(calls, i);
    if (call == NULL) {
        call = json_object();
        json_array_append_new(calls, call);
        json_object_set(call, "id", json_object_get(delta, "id"));
        json_object_set(call, "type", json_object_get(delta, "type"));
    }

    json_object_foreach_safe(delta, next, key, v)
    {
        if (!json_is_object(v)) {
            continue;
        }

        body = json_object_get(call, key);
        if (body == NULL) {
            body = json_object();
            json_object_set_new(call, key, body);
        }

        join(body, "name", json_object_get(v, "name"));
        join(body, "arguments", json_object_get(v, "arguments"));
        join(body, "input", json_object_get(v, "input"));
    }
}


/* What the SDK makes of a stream: a choice's message and its finish. */

static json_t *
gather(const char *stream, size_t choice, const char **finish)
{
    json_t     *m = json_object(), *root, *c, *delta, *v, *d;
    const char *p, *end;
    size_t      i;

    json_object_set_new(m, "role", json_string("assistant"));

    for (p = stream; (p = strstr(p, "data: {")); p = end) {
        p += 6;
        end = strstr(p, "\n\n");
        root = json_loadb(p, (size_t) (end - p), JSON_REJECT_DUPLICATES, NULL);
        c = json_array_get(json_object_get(root, "choices"), 0);

        if (root == NULL) {
            ok(0, "JSON: %.*s", (int) (end - p), p);
        }

        if (json_integer_value(json_object_get(c, "index"))
            != (json_int_t) choice) {
            json_decref(root);
            continue;
        }

        delta = json_object_get(c, "delta");
        join(m, "reasoning_content",
             json_object_get(delta, "reasoning_content"));
        join(m, "content", json_object_get(delta, "content"));

        v = json_object_get(delta, "tool_calls");
        if (v && json_object_get(m, "tool_calls") == NULL) {
            json_object_set_new(m, "tool_calls", json_array());
        }
        json_array_foreach(v, i, d)
        {
            join_call(json_object_get(m, "tool_calls"), d);
        }

        v = json_object_get(delta, "function_call");
        if (v) {
            if (json_object_get(m, "function_call") == NULL) {
                json_object_set_new(m, "function_call", json_object());
            }
            d = json_object_get(m, "function_call");
            join(d, "name", json_object_get(v, "name"));
            join(d, "arguments", json_object_get(v, "arguments"));
        }

        v = json_object_get(c, "finish_reason");
        if (json_is_string(v)) {
            *finish = json_string_value(v)[0] == 't'   ? "tool_calls"
                      : json_string_value(v)[0] == 'f' ? "function_call"
                      : json_string_value(v)[0] == 'l' ? "length"
                                                       : "stop";
        }

        json_decref(root);
    }

    /* A stream cannot say null after "". */
    if (json_object_get(m, "tool_calls")
        || json_object_get(m, "function_call")) {
        v = json_object_get(m, "content");
        if (v && json_string_length(v) == 0) {
            json_object_set_new(m, "content", json_null());
        }
    }

    json_object_set_new(m, "refusal", json_null());
    json_object_set_new(m, "annotations", json_array());

    return m;
}


/* Takes ids out of a message, and looks at them. */

static int
ids(json_t *message)
{
    const char *id, *other;
    json_t     *calls = json_object_get(message, "tool_calls"), *call;
    size_t      i, k;
    int         good = 1;

    json_array_foreach(calls, i, call)
    {
        id = json_string_value(json_object_get(call, "id"));
        good &= id && strncmp(id, "call_", 5) == 0 && strlen(id) == 29;

        for (k = 0; good && k < i; k++) {
            other = json_string_value(
                json_object_get(json_array_get(calls, k), "id"));
            good &= strcmp(id, other) != 0;
        }
    }

    json_array_foreach(calls, i, call)
    {
        json_object_del(call, "id");
    }

    return good;
}

#endif /* LLM_T_API_GATHER_H */
