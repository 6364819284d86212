/*
 * Arguments of a call, and calls as JSON objects.  See format_priv.h.
 */

#include <string.h>
#include "engine/chat/format_priv.h"

enum {
    ARGS_START = 0,
    ARGS_OBJECT, /* JSON, as it is */
    ARGS_STRING, /* a JSON text in a JSON string */
    ARGS_VALUE,  /* to be turned into JSON, or the text in it */
    ARGS_KEY,    /* Python: before a name or the end */
    ARGS_NAME,
    ARGS_IS /* before the value */
};

enum {
    JSON_START = 0,
    JSON_MEMBER,
    JSON_KEY,
    JSON_COLON,
    JSON_VALUE,
    JSON_NAME,
    JSON_ARGS,
    JSON_KEEP, /* arguments that came before the name */
    JSON_SKIP
};

static int args_json(chat_parser_t *p, unsigned sym);
static int args_brace(chat_parser_t *p, unsigned sym);
static int args_python(chat_parser_t *p, unsigned sym);
static int args_python_key(chat_parser_t *p, unsigned c);
static int args_custom(const chat_parser_t *p);
static int json_value(chat_parser_t *p, unsigned sym);
static int json_name(chat_parser_t *p, unsigned sym);
static int json_skip(chat_parser_t *p, unsigned c);
static int json_is(const chat_parser_t *p, const char *key);


int
args_step(chat_parser_t *p, unsigned sym)
{
    if (!p->begun) {
        return STEP_BROKEN;
    }

    switch (p->f->args) {

    case CHAT_ARGS_TAGGED:
        return tagged_step(p, sym);

    case CHAT_ARGS_PYTHON:
        return args_python(p, sym);

    case CHAT_ARGS_BRACE:
        return args_brace(p, sym);

    default:
        return args_custom(p) ? args_brace(p, sym) : args_json(p, sym);
    }
}


static int
args_custom(const chat_parser_t *p)
{
    return p->opt.custom && p->opt.custom[p->tool];
}


/* An object as it stands; or, as some models have it, in a string. */

static int
args_json(chat_parser_t *p, unsigned sym)
{
    uint8_t byte = (uint8_t) sym, out[8];
    int     n;

    if (sym & PARSE_CONTROL) {
        return p->args == ARGS_START ? STEP_BROKEN : STEP_MORE;
    }

    switch (p->args) {

    case ARGS_START:
        if (parse_space(byte)) {
            return STEP_MORE;
        }

        if (byte != '{' && byte != '"') {
            return STEP_BROKEN;
        }

        p->un = (unescape_t){0};
        p->args = byte == '{' ? ARGS_OBJECT : ARGS_STRING;
        p->depth = 1;
        p->in_string = 0;

        if (byte == '{') {
            parse_give(p, CHAT_PART_INPUT, &byte, 1);
        }

        return STEP_MORE;

    case ARGS_STRING:
        n = unescape(&p->un, byte, '"', out);
        if (n < 0) {
            return STEP_DONE;
        }

        if (n) {
            parse_give(p, CHAT_PART_INPUT, out, (size_t) n);
        }

        return STEP_MORE;

    default:
        parse_give(p, CHAT_PART_INPUT, &byte, 1);

        if (p->in_string) {
            p->in_string = p->in_string == 2 ? 1
                           : byte == '\\'    ? 2
                           : byte == '"'     ? 0
                                             : 1;
            return STEP_MORE;
        }

        p->in_string = byte == '"';
        p->depth += byte == '{' || byte == '[';
        p->depth -= byte == '}' || byte == ']';

        return p->depth == 0 ? STEP_DONE : STEP_MORE;
    }
}


/* Braces of any kind: Gemma's, and JSON around a custom tool's text. */

static int
args_brace(chat_parser_t *p, unsigned sym)
{
    if (p->args == ARGS_START) {
        if (parse_space(sym)) {
            return STEP_MORE;
        }

        if (sym != '{') {
            return STEP_BROKEN;
        }

        p->args = ARGS_VALUE;
        value_begin(&p->value, p->f->quote, args_custom(p));
    }

    return value_step(p, &p->value, sym);
}


/* name=value, name=value): the bracket is not ours. */

static int
args_python(chat_parser_t *p, unsigned sym)
{
    unsigned c = sym & 0xff;
    int      rc;

    if (sym & PARSE_CONTROL) {
        return STEP_BROKEN;
    }

    switch (p->args) {

    case ARGS_START:
        if (!args_custom(p)) {
            parse_give(p, CHAT_PART_INPUT, "{", 1);
        }

        p->args = ARGS_KEY;
        p->n_params = 0;
        /* fall through */

    case ARGS_KEY:
    case ARGS_NAME:
        return args_python_key(p, c);

    case ARGS_IS:
        if (parse_space(c)) {
            return STEP_MORE;
        }

        value_begin(&p->value, NULL, args_custom(p));
        p->value.found = args_custom(p) && p->n_params > 1;
        p->args = ARGS_VALUE;
        /* fall through */

    default:
        rc = value_step(p, &p->value, sym);

        if (rc == STEP_MORE || rc == STEP_BROKEN) {
            return rc;
        }

        p->args = ARGS_KEY;

        return rc == STEP_AFTER ? args_python_key(p, c) : STEP_MORE;
    }
}


static int
args_python_key(chat_parser_t *p, unsigned c)
{
    uint8_t byte = (uint8_t) c;

    if (p->args == ARGS_KEY) {
        if (parse_space(c) || c == ',') {
            return STEP_MORE;
        }

        if (c == ')') {
            if (!args_custom(p)) {
                parse_give(p, CHAT_PART_INPUT, "}", 1);
            }
            return STEP_AFTER;
        }

        buf_reset(&p->key);
        p->args = ARGS_NAME;
    }

    if (c == '=') {
        p->n_params++;
        p->args = ARGS_IS;

        if (!args_custom(p)) {
            parse_give(p, CHAT_PART_INPUT, ",\"", p->n_params > 1 ? 2 : 0);
            if (p->n_params == 1) {
                parse_give(p, CHAT_PART_INPUT, "\"", 1);
            }
            value_string(p, p->key.data, p->key.len);
            parse_give(p, CHAT_PART_INPUT, "\":", 2);
        }

        return STEP_MORE;
    }

    if (parse_space(c)) {
        return STEP_MORE;
    }

    if (strchr("()[]{},\"'", (int) c) || p->key.len >= PARSE_NAME_MAX) {
        return STEP_BROKEN;
    }

    buf_add(&p->key, &byte, 1);

    return STEP_MORE;
}


/*
 * {"name": ..., "arguments": ...}: members in any order, others skipped;
 * {"function": {...}} is looked into.
 */

int
json_step(chat_parser_t *p, unsigned sym)
{
    unsigned c = sym & 0xff;
    uint8_t  out[8];
    int      n;

    if (p->json != JSON_ARGS && sym & PARSE_CONTROL) {
        return STEP_BROKEN;
    }

    switch (p->json) {

    case JSON_KEY:
        n = unescape(&p->un, (uint8_t) c, '"', out);
        if (n < 0) {
            p->json = JSON_COLON;
        } else if (p->key.len < PARSE_NAME_MAX) {
            buf_add(&p->key, out, (size_t) n);
        }
        return STEP_MORE;

    case JSON_NAME:
        return json_name(p, sym);

    case JSON_ARGS:
        n = args_step(p, sym);
        if (n == STEP_DONE) {
            p->json = JSON_MEMBER;
        }
        return n == STEP_BROKEN ? n : STEP_MORE;

    case JSON_KEEP:
    case JSON_SKIP:
        return json_skip(p, c);

    default:
        break;
    }

    if (parse_space(c)) {
        return STEP_MORE;
    }

    switch (p->json) {

    case JSON_START:
        p->json = JSON_MEMBER;
        p->json_depth = 1;
        p->json_done = 0;
        buf_reset(&p->json_args);
        return c == '{' ? STEP_MORE : STEP_BROKEN;

    case JSON_MEMBER:
        if (c == ',') {
            return STEP_MORE;
        }

        if (c == '}') {
            if (--p->json_depth) {
                return STEP_MORE;
            }
            return p->begun ? STEP_DONE : STEP_BROKEN;
        }

        buf_reset(&p->key);
        p->un = (unescape_t){0};
        p->json = JSON_KEY;
        return c == '"' ? STEP_MORE : STEP_BROKEN;

    case JSON_COLON:
        p->json = JSON_VALUE;
        return c == ':' ? STEP_MORE : STEP_BROKEN;

    default:
        return json_value(p, sym);
    }
}


static int
json_value(chat_parser_t *p, unsigned sym)
{
    unsigned c = sym & 0xff;

    if (!p->begun
        && (json_is(p, p->f->name_key ? p->f->name_key : "name")
            || json_is(p, "name"))) {
        buf_reset(&p->name);
        p->un = (unescape_t){0};
        p->json = JSON_NAME;
        return c == '"' ? STEP_MORE : STEP_BROKEN;
    }

    if (c == '{' && json_is(p, "function") && p->json_depth < 2) {
        p->json_depth++;
        p->json = JSON_MEMBER;
        return STEP_MORE;
    }

    p->depth = 0;
    p->in_string = 0;
    p->json = JSON_SKIP;

    if (!p->json_done
        && (json_is(p, p->f->args_key ? p->f->args_key : "arguments")
            || json_is(p, "arguments") || json_is(p, "parameters"))) {
        p->json_done = 1;

        if (p->begun) {
            p->json = JSON_ARGS;
            p->args = ARGS_START;
            return json_step(p, sym);
        }

        p->json = JSON_KEEP;
    }

    return json_skip(p, c);
}


static int
json_name(chat_parser_t *p, unsigned sym)
{
    uint8_t out[8];
    size_t  i;
    int     n = unescape(&p->un, (uint8_t) sym, '"', out);

    if (n >= 0) {
        buf_add(&p->name, out, (size_t) n);
        return p->name.len > PARSE_NAME_MAX ? STEP_BROKEN : STEP_MORE;
    }

    if (parse_call(p) == STEP_BROKEN) {
        return STEP_BROKEN;
    }

    p->json = JSON_MEMBER;
    p->args = ARGS_START;

    for (i = 0; i < p->json_args.len; i++) {
        if (args_step(p, (uint8_t) p->json_args.data[i]) == STEP_BROKEN) {
            return STEP_BROKEN;
        }
    }

    return STEP_MORE;
}


/* A value of no interest, or kept as it is. */

static int
json_skip(chat_parser_t *p, unsigned c)
{
    uint8_t byte = (uint8_t) c;

    if (!p->in_string && p->depth == 0 && strchr(",}", (int) c) && c) {
        p->json = JSON_MEMBER;
        return json_step(p, c);
    }

    if (p->json == JSON_KEEP) {
        buf_add(&p->json_args, &byte, 1);
    }

    if (p->in_string) {
        p->in_string = p->in_string == 2 ? 1 : c == '\\' ? 2 : c == '"' ? 0 : 1;
    } else {
        p->in_string = c == '"';
        p->depth += c == '{' || c == '[';
        p->depth -= c == '}' || c == ']';
    }

    return p->depth < 0 ? STEP_BROKEN : STEP_MORE;
}


static int
json_is(const chat_parser_t *p, const char *key)
{
    return str_eq((str_t){p->key.data, p->key.len}, str_of(key));
}
