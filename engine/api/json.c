/*
 * What all parsers of a dialect do with JSON: its text, members of objects by
 * name and type, faults that name the parameter.  Any thread.
 */

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/api/api_priv.h"

static int  json_clamp(char *text, size_t len);
static void json_number(char *s, size_t len, int negative);


json_t *
api_json(const char *text, size_t len, size_t flags, json_error_t *error)
{
    json_t *v;
    char   *copy;

    v = json_loadb(text, len, flags, error);

    if (v || json_error_code(error) != json_error_numeric_overflow) {
        return v;
    }

    copy = malloc(len + 1);
    if (copy == NULL) {
        return NULL;
    }

    memcpy(copy, text, len);
    copy[len] = 0;

    if (json_clamp(copy, len)) {
        v = json_loadb(copy, len, flags, error);
    }

    free(copy);

    return v;
}


size_t
api_json_at(const json_error_t *error, const char *text)
{
    size_t      at = error->position > 0 ? (size_t) error->position : 0, n;
    const char *near = strstr(error->text, " near '");

    if (near == NULL) {
        return at;
    }

    near += sizeof(" near '") - 1;
    n = near[0] ? strlen(near) - 1 : 0;

    return n <= at && memcmp(text + at - n, near, n) == 0 ? at - n : at;
}


/* Numbers out of Jansson's range, in place: positions stay. */

static int
json_clamp(char *text, size_t len)
{
    size_t i, n;
    int    quoted = 0, found = 0;

    for (i = 0; i < len; i += n) {
        n = 1;

        if (quoted) {
            n += text[i] == '\\';
            quoted = text[i] != '"';

        } else if (text[i] == '"') {
            quoted = 1;

        } else if (text[i] >= '0' && text[i] <= '9') {
            n = strspn(text + i, "0123456789.eE+-");
            json_number(text + i, n, i > 0 && text[i - 1] == '-');
            found = 1;
        }
    }

    return found;
}


/*
 * An integer of 19 digits or more becomes a decimal, one beyond all doubles a
 * large one: neither is longer than it was.
 */

static void
json_number(char *s, size_t len, int negative)
{
    char   text[32];
    double d;
    size_t n = strspn(s, "0123456789");
    int    written;

    errno = 0;

    if (n == len && (n < 19 || (strtoll(s - negative, NULL, 10), errno == 0))) {
        return;
    }

    /* JSON's grammar has no other spelling that strtod() takes from here. */
    d = strtod(s, NULL);

    if (isinf(d)) {
        written = snprintf(text, sizeof(text), "9e307");

    } else if (n == len) {
        written = snprintf(text, sizeof(text), "%.*e",
                           len < 23 ? (int) len - 6 : 17, d);

    } else {
        return;
    }

    if (written > 0 && (size_t) written <= len) {
        memcpy(s, text, (size_t) written);
        memset(s + written, ' ', len - (size_t) written);
    }
}


const char *
api_param(parse_t *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p->error->param_buf, sizeof(p->error->param_buf), fmt, ap);
    va_end(ap);

    return p->error->param_buf;
}


void
api_path(char *path, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(path, API_PATH, fmt, ap);
    va_end(ap);
}


static const char *
json_at(parse_t *p, const char *at, const char *name)
{
    char where[API_PATH];

    /* It may stand in the very buffer. */
    snprintf(where, sizeof(where), "%s", at);

    return api_param(p, "%s%s%s", where, where[0] ? "." : "", name);
}


int
api_member(parse_t *p, const char *at, json_t *object, const char *name,
           int type, json_t **v)
{
    *v = json_object_get(object, name);

    if (*v == NULL || json_is_null(*v)) {
        *v = NULL;
        return 0;
    }

    return api_type(p, json_at(p, at, name), *v, type);
}


int
api_need(parse_t *p, const char *at, json_t *object, const char *name, int type,
         json_t **v)
{
    LLM_TRY(api_member(p, at, object, name, type, v));

    return *v ? 0 : api_missing(p, json_at(p, at, name));
}


int
api_word(parse_t *p, const char *at, json_t *object, const char *name,
         const char *const *words, int *word)
{
    json_t *v;
    char    list[128] = "";
    int     i;

    LLM_TRY(api_need(p, at, object, name, API_STRING, &v));

    for (i = 0; words[i]; i++) {
        if (str_eq(api_str(v), str_of(words[i]))) {
            *word = i;
            return 0;
        }

        strncat(list, i ? ", " : "", sizeof(list) - strlen(list) - 1);
        strncat(list, words[i], sizeof(list) - strlen(list) - 1);
    }

    at = json_at(p, at, name);

    return gen_error(p->error, 400, "invalid_value", at,
                     "Invalid value: '%.64s'. Supported values of '%s' are: "
                     "%s.",
                     json_string_value(v), at, list);
}


int
api_type(parse_t *p, const char *param, json_t *v, int type)
{
    static const char *const names[] = {
        [API_STRING] = "a string",
        [API_OBJECT] = "an object",
        [API_ARRAY] = "an array",
        [API_BOOLEAN] = "a boolean",
        [API_SCHEMA] = "a JSON Schema (an object or a boolean)"};
    int good = 0;

    switch (type) {

    case API_STRING:
        good = json_is_string(v);
        break;

    case API_OBJECT:
        good = json_is_object(v);
        break;

    case API_ARRAY:
        good = json_is_array(v);
        break;

    case API_BOOLEAN:
        good = json_is_boolean(v);
        break;

    case API_SCHEMA:
        good = json_is_object(v) || json_is_boolean(v);
        break;
    }

    return good ? 0 : api_wrong_type(p, param, names[type], v);
}


int
api_wrong_type(parse_t *p, const char *param, const char *want, json_t *got)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",  [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a decimal",   [JSON_TRUE] = "a boolean",
        [JSON_FALSE] = "a boolean",  [JSON_NULL] = "null"};

    return gen_error(p->error, 400, "invalid_type", param,
                     "Invalid type for '%s': expected %s, but got %s instead.",
                     param, want, names[json_typeof(got)]);
}


int
api_missing(parse_t *p, const char *param)
{
    return gen_error(p->error, 400, "missing_required_parameter", param,
                     "Missing required parameter: '%s'.", param);
}


int
api_no_memory(parse_t *p)
{
    return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
}


str_t
api_str(json_t *string)
{
    return (str_t){json_string_value(string), json_string_length(string)};
}
