/*
 * Calls as a model writes them, for templates that do not: a prompt that
 * tells how, and the calls of a conversation.  Pure; any thread.
 */

#include <stdlib.h>
#include <string.h>
#include "engine/chat/format_table.h"

static void write_call(const chat_format_t *f, const char *name, json_t *args,
                       buf_t *out);
static void write_args(const chat_format_t *f, json_t *args, buf_t *out);
static void write_params(const chat_format_t *f, json_t *args, buf_t *out);
static void write_value(const chat_format_t *f, json_t *v, buf_t *out);
static void write_json(const json_t *v, size_t flags, buf_t *out);


void
chat_format_prompt(const chat_format_t *format, const json_t *tools, buf_t *out)
{
    json_t *tool, *args = json_object();
    size_t  i;

    buf_str(out, "# Tools\n\nYou may call one or more functions to assist with "
                 "the user query.\n\nYou are provided with function signatures "
                 "within <tools></tools> XML tags:\n<tools>\n");

    json_array_foreach((json_t *) tools, i, tool)
    {
        write_json(tool, 0, out);
        buf_str(out, "\n");
    }

    buf_str(out, "</tools>\n\nTo call a function, write its name and its "
                 "arguments in exactly this form:\n");

    json_object_set_new(args, "argument-name", json_string("value"));

    if (format->section) {
        buf_str(out, format->section);
    }

    write_call(format, "function-name", args, out);

    if (format->section) {
        buf_str(out, format->section_end);
    }

    json_decref(args);
    buf_str(out, "\n\nIf no function is needed, answer the user directly.");
}


void
chat_format_write_calls(const chat_format_t *format, const json_t *calls,
                        buf_t *out)
{
    json_t     *call, *function, *args;
    const char *name, *text;
    size_t      i;

    if (format->section) {
        buf_str(out, format->section);
    }

    json_array_foreach((json_t *) calls, i, call)
    {
        if (i && format->separator) {
            buf_str(out, format->separator);
        }

        function = json_object_get(call, "function");
        function = function ? function : call;
        name = json_string_value(json_object_get(function, "name"));
        args = json_object_get(function, "arguments");
        text = json_string_value(args);
        args =
            text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_incref(args);

        if (!json_is_object(args)) {
            json_decref(args);
            args = json_object();
        }

        write_call(format, name ? name : "", args, out);
        json_decref(args);
    }

    if (format->section) {
        buf_str(out, format->section_end);
    }
}


void
chat_format_write_result(const char *text, size_t len, buf_t *out)
{
    buf_str(out, "<tool_response>\n");
    buf_add(out, text, len);
    buf_str(out, "\n</tool_response>");
}


static void
write_call(const chat_format_t *f, const char *name, json_t *args, buf_t *out)
{
    const char *s = f->call;
    size_t      n;

    for (;;) {
        n = strcspn(s, "%");
        buf_add(out, s, n);
        s += n;

        if (*s == '\0') {
            return;
        }

        switch (s[1]) {

        case 'n':
        case 'N':
            buf_str(out, name);
            break;

        case 'a':
            write_args(f, args, out);
            break;

        default:
            buf_str(out, f->example_id ? f->example_id : "");
        }

        s += 2;
    }
}


static void
write_args(const chat_format_t *f, json_t *args, buf_t *out)
{
    const char *key;
    json_t     *v;
    int         first = 1;

    switch (f->args) {

    case CHAT_ARGS_TAGGED:
        write_params(f, args, out);
        return;

    case CHAT_ARGS_PYTHON:
        json_object_foreach(args, key, v)
        {
            buf_str(out, first ? "" : ", ");
            buf_str(out, key);
            buf_str(out, "=");
            write_value(f, v, out);
            first = 0;
        }
        return;

    case CHAT_ARGS_BRACE:
        write_value(f, args, out);
        return;

    default:
        write_json(args, f->space == CHAT_SPACE_COMPACT ? JSON_COMPACT : 0,
                   out);
    }
}


static void
write_params(const chat_format_t *f, json_t *args, buf_t *out)
{
    const char *key, *s;
    json_t     *v;
    size_t      n;

    json_object_foreach(args, key, v)
    {
        for (s = f->param; *s; s += 2) {
            n = strcspn(s, "%");
            buf_add(out, s, n);
            s += n;

            if (*s == '\0') {
                break;
            }

            if (s[1] == 'k') {
                buf_str(out, key);

            } else if (s[1] == 't') {
                buf_str(out, strstr(f->param, "string=")
                                 ? (json_is_string(v) ? "true" : "false")
                             : json_is_string(v)  ? "string"
                             : json_is_number(v)  ? "number"
                             : json_is_boolean(v) ? "boolean"
                             : json_is_null(v)    ? "null"
                             : json_is_array(v)   ? "array"
                                                  : "object");

            } else if (json_is_string(v)) {
                buf_add(out, json_string_value(v), json_string_length(v));

            } else {
                write_json(v, 0, out);
            }
        }
    }
}


/* Python's literals, or values in braces. */

static void
write_value(const chat_format_t *f, json_t *v, buf_t *out)
{
    const char *key;
    json_t     *item;
    size_t      i;
    int         first = 1;

    if (f->args == CHAT_ARGS_PYTHON
        || (!json_is_string(v) && !json_is_object(v) && !json_is_array(v))) {
        if (f->args == CHAT_ARGS_PYTHON
            && (json_is_boolean(v) || json_is_null(v))) {
            buf_str(out, json_is_true(v)    ? "True"
                         : json_is_false(v) ? "False"
                                            : "None");
        } else {
            write_json(v, 0, out);
        }
        return;
    }

    if (json_is_string(v)) {
        buf_str(out, f->quote);
        buf_add(out, json_string_value(v), json_string_length(v));
        buf_str(out, f->quote);
        return;
    }

    buf_str(out, json_is_object(v) ? "{" : "[");

    json_object_foreach(v, key, item)
    {
        buf_str(out, first ? "" : ",");
        buf_str(out, key);
        buf_str(out, ":");
        write_value(f, item, out);
        first = 0;
    }

    json_array_foreach(v, i, item)
    {
        buf_str(out, first ? "" : ",");
        write_value(f, item, out);
        first = 0;
    }

    buf_str(out, json_is_object(v) ? "}" : "]");
}


static void
write_json(const json_t *v, size_t flags, buf_t *out)
{
    char *text = json_dumps(v, flags | JSON_ENCODE_ANY);

    if (text == NULL) {
        out->failed = 1;
        return;
    }

    buf_str(out, text);
    free(text);
}
