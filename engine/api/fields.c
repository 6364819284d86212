/*
 * The parsers that rows of a dialect's table name: a JSON value, checked
 * against the row's bounds, into a member of gen_request_t.  Any thread.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/api/fields.h"

#define PARSE_STOP_MAX 1024 /* bytes of a stop string */
#define PARSE_BIAS_MAX 4096
#define PARSE_META_MAX 16

static int  parse_refused(parse_t *p, const char *param);
static void parse_has(gen_request_t *req, size_t offset);


/* Doubles whose default is the model's: has_* is set when they are given. */

static void
parse_has(gen_request_t *req, size_t offset)
{
    req->has_temperature |= offset == AT(temperature);
    req->has_top_p |= offset == AT(top_p);
    req->has_min_p |= offset == AT(min_p);
    req->has_repetition |= offset == AT(repetition);
}


int
parse_bool(parse_t *p, const field_t *f, json_t *v)
{
    int on = json_is_true(v);

    if (!json_is_boolean(v)) {
        return api_wrong_type(p, f->name, "a boolean", v);
    }

    if (f->offset != SIZE_MAX) {
        memcpy((char *) p->req + f->offset, &on, sizeof(on));
    }

    return 0;
}


int
parse_double(parse_t *p, const field_t *f, json_t *v)
{
    double d;

    if (!json_is_number(v)) {
        return api_wrong_type(p, f->name, "a number", v);
    }

    d = json_number_value(v);

    if (!(d >= f->min && d <= f->max)) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid '%s': %g is not between %g and %g.", f->name,
                         d, f->min, f->max);
    }

    memcpy((char *) p->req + f->offset, &d, sizeof(d));
    parse_has(p->req, f->offset);

    return 0;
}


int
parse_uint(parse_t *p, const field_t *f, json_t *v)
{
    json_int_t i;
    uint32_t   u;

    if (!json_is_integer(v)) {
        return api_wrong_type(p, f->name, "an integer", v);
    }

    i = json_integer_value(v);

    if (i < (json_int_t) f->min || i > (json_int_t) f->max) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid '%s': %lld is not between %g and %g.",
                         f->name, (long long) i, f->min, f->max);
    }

    u = (uint32_t) i;
    memcpy((char *) p->req + f->offset, &u, sizeof(u));

    return 0;
}


int
parse_string(parse_t *p, const field_t *f, json_t *v)
{
    str_t s;

    if (!json_is_string(v)) {
        return api_wrong_type(p, f->name, "a string", v);
    }

    s = (str_t){json_string_value(v), json_string_length(v)};

    if (f->max > 0 && s.len > (size_t) f->max) {
        return gen_error(p->error, 400, "string_above_max_length", f->name,
                         "Invalid '%s': longer than %g bytes.", f->name,
                         f->max);
    }

    if (f->offset != SIZE_MAX) {
        memcpy((char *) p->req + f->offset, &s, sizeof(s));
    }

    return 0;
}


/* max_completion_tokens, offset 1, stands above its deprecated alias. */

int
parse_max(parse_t *p, const field_t *f, json_t *v)
{
    json_int_t i;

    if (!json_is_integer(v)) {
        return api_wrong_type(p, f->name, "an integer", v);
    }

    i = json_integer_value(v);

    if (i < (p->req->kind == GEN_CHAT)) {
        return gen_error(p->error, 400, "integer_below_min_value", f->name,
                         "Invalid '%s': %lld is too small.", f->name,
                         (long long) i);
    }

    p->req->max_tokens = i > UINT32_MAX ? UINT32_MAX : (uint32_t) i;
    p->req->has_max = 1;

    return 0;
}


/* 0 and -1 are "off", as in vLLM. */

int
parse_top_k(parse_t *p, const field_t *f, json_t *v)
{
    json_int_t i;

    if (!json_is_integer(v)) {
        return api_wrong_type(p, f->name, "an integer", v);
    }

    i = json_integer_value(v);

    if (i < -1 || i > INT32_MAX) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid '%s': %lld is not -1, 0 or more.", f->name,
                         (long long) i);
    }

    p->req->top_k = i > 0 ? (uint32_t) i : 0;
    p->req->has_top_k = 1;

    return 0;
}


int
parse_seed(parse_t *p, const field_t *f, json_t *v)
{
    if (!json_is_integer(v)) {
        return api_wrong_type(p, f->name, "an integer", v);
    }

    p->req->seed = (uint64_t) json_integer_value(v);
    p->req->has_seed = 1;

    return 0;
}


int
parse_stop(parse_t *p, const field_t *f, json_t *v)
{
    size_t  i, n = json_is_array(v) ? json_array_size(v) : 1;
    json_t *s;

    if (!json_is_array(v) && !json_is_string(v)) {
        return api_wrong_type(p, f->name, "a string or an array", v);
    }

    if (n > GEN_STOPS_MAX) {
        return gen_error(p->error, 400, "array_above_max_length", f->name,
                         "Invalid 'stop': %zu strings, at most %d.", n,
                         GEN_STOPS_MAX);
    }

    for (i = 0; i < n; i++) {
        s = json_is_array(v) ? json_array_get(v, i) : v;

        if (!json_is_string(s)) {
            return api_wrong_type(p, f->name, "an array of strings", s);
        }

        if (json_string_length(s) == 0
            || json_string_length(s) > PARSE_STOP_MAX) {
            return gen_error(p->error, 400, "invalid_value", f->name,
                             "Invalid 'stop': a string of %zu bytes, not 1 to "
                             "%d.",
                             json_string_length(s), PARSE_STOP_MAX);
        }

        p->req->stops[p->req->n_stops++] =
            (str_t){json_string_value(s), json_string_length(s)};
    }

    return 0;
}


int
parse_bias(parse_t *p, const field_t *f, json_t *v)
{
    const char *key;
    json_t     *value;
    double      d;
    char       *end;
    long        id;

    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    if (json_object_size(v) > PARSE_BIAS_MAX) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid 'logit_bias': more than %d tokens.",
                         PARSE_BIAS_MAX);
    }

    p->req->bias = arena_get(&p->req->arena,
                             (json_object_size(v) + 1) * sizeof(gen_bias_t));
    if (p->req->bias == NULL) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    json_object_foreach(v, key, value)
    {
        errno = 0;
        id = strtol(key, &end, 10);

        if (errno || *key < '0' || *key > '9' || *end || id > INT32_MAX) {
            return gen_error(p->error, 400, "invalid_value", f->name,
                             "Invalid 'logit_bias': '%.32s' is not a token id.",
                             key);
        }

        if (!json_is_number(value)) {
            return api_wrong_type(p, f->name, "an object of numbers", value);
        }

        d = json_number_value(value);
        if (!(d >= -100 && d <= 100)) {
            return gen_error(p->error, 400, "invalid_value", f->name,
                             "Invalid 'logit_bias': %g is not between -100 "
                             "and 100.",
                             d);
        }

        p->req->bias[p->req->n_bias++] = (gen_bias_t){(int32_t) id, (float) d};
    }

    return 0;
}


/* Chat: a boolean.  Completions: how many, 0 to 5. */

int
parse_logprobs(parse_t *p, const field_t *f, json_t *v)
{
    const field_t n = {f->name, COMP, NULL, AT(n_top), 0, 5, NULL};
    const field_t b = {f->name, CHAT, NULL, AT(logprobs), 0, 0, NULL};

    if (p->req->kind == GEN_CHAT) {
        return parse_bool(p, &b, v);
    }

    p->req->logprobs = 1;

    return parse_uint(p, &n, v);
}


int
parse_stream_options(parse_t *p, const field_t *f, json_t *v)
{
    static const field_t options[] = {
        {"include_usage", BOTH, parse_bool, AT(include_usage), 0, 0, NULL},
        {"include_obfuscation", BOTH, parse_bool, AT(obfuscation), 0, 0, NULL}};
    json_t *o;
    size_t  i;

    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    p->has_stream_options = 1;

    for (i = 0; i < llm_countof(options); i++) {
        o = json_object_get(v, options[i].name);
        if (o && !json_is_null(o)) {
            LLM_TRY(options[i].fn(p, &options[i], o));
        }
    }

    return 0;
}


int
api_parse_ids(parse_t *p, const char *param, json_t *v, gen_prompt_t *out)
{
    size_t   i, n = json_array_size(v);
    int32_t *ids;
    json_t  *id;

    ids = arena_get(&p->req->arena, (n + 1) * sizeof(int32_t));
    if (ids == NULL) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    json_array_foreach(v, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0
            || json_integer_value(id) > INT32_MAX) {
            return gen_error(p->error, 400, "invalid_type", param,
                             "Invalid type for '%s': item %zu is not a token "
                             "id.",
                             param, i);
        }

        ids[i] = (int32_t) json_integer_value(id);
    }

    *out = (gen_prompt_t){.tokens = ids, .n_tokens = n};

    return 0;
}


/* A string, strings, token ids, or arrays of token ids. */

int
parse_prompt(parse_t *p, const field_t *f, json_t *v)
{
    gen_request_t *req = p->req;
    size_t         i, n = 1;
    json_t        *item;
    int            many;

    many = json_is_array(v) && !json_is_integer(json_array_get(v, 0));

    if (many) {
        n = json_array_size(v);
    } else if (!json_is_array(v) && !json_is_string(v)) {
        return api_wrong_type(p, f->name, "a string or an array", v);
    }

    if (n == 0 || n > GEN_PROMPTS_MAX) {
        return gen_error(p->error, 400, "invalid_value", f->name,
                         "Invalid 'prompt': %zu prompts, not 1 to %d.", n,
                         GEN_PROMPTS_MAX);
    }

    req->prompts = arena_get(&req->arena, n * sizeof(gen_prompt_t));
    if (req->prompts == NULL) {
        return gen_error(p->error, 500, NULL, NULL, "Out of memory.");
    }

    for (i = 0; i < n; i++) {
        item = many ? json_array_get(v, i) : v;

        if (json_is_array(item)) {
            LLM_TRY(api_parse_ids(p, f->name, item, &req->prompts[i]));

        } else if (json_is_string(item)) {
            req->prompts[i].text =
                (str_t){json_string_value(item), json_string_length(item)};

        } else {
            return api_wrong_type(p, f->name,
                                  "an array of strings or of token ids", item);
        }
    }

    req->n_prompts = (uint32_t) n;

    return 0;
}


int
parse_object(parse_t *p, const field_t *f, json_t *v)
{
    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    memcpy((char *) p->req + f->offset, &v, sizeof(v));

    return 0;
}


static int
parse_refused(parse_t *p, const char *param)
{
    return gen_error(p->error, 400, "unsupported_parameter", param,
                     "Unsupported parameter: '%s' is not supported by this "
                     "server.",
                     param);
}


int
parse_modalities(parse_t *p, const field_t *f, json_t *v)
{
    const char *s;
    json_t     *item;
    size_t      i;

    if (!json_is_array(v)) {
        return api_wrong_type(p, f->name, "an array", v);
    }

    json_array_foreach(v, i, item)
    {
        s = json_string_value(item);
        if (s == NULL || strcmp(s, "text") != 0) {
            return parse_refused(p, f->name);
        }
    }

    return 0;
}


/* Tags of stored completions: nothing is stored, so nothing is lost. */

int
parse_metadata(parse_t *p, const field_t *f, json_t *v)
{
    const char *key;
    json_t     *value;

    if (!json_is_object(v)) {
        return api_wrong_type(p, f->name, "an object", v);
    }

    if (json_object_size(v) > PARSE_META_MAX) {
        return gen_error(p->error, 400, "object_above_max_properties", f->name,
                         "Invalid 'metadata': more than %d pairs.",
                         PARSE_META_MAX);
    }

    json_object_foreach(v, key, value)
    {
        if (!json_is_string(value)) {
            return api_wrong_type(p, f->name, "an object of strings", value);
        }
    }

    return 0;
}


/* An enumeration of which we can honour these words only. */

int
parse_word(parse_t *p, const field_t *f, json_t *v)
{
    const char *s = json_string_value(v), *w;
    size_t      n;

    if (s == NULL) {
        return json_is_object(v) ? parse_refused(p, f->name)
                                 : api_wrong_type(p, f->name, "a string", v);
    }

    for (w = f->words; *w; w += n + (w[n] == ' ')) {
        n = strcspn(w, " ");

        if (strlen(s) == n && memcmp(s, w, n) == 0) {
            return 0;
        }
    }

    return gen_error(p->error, 400, "unsupported_value", f->name,
                     "Unsupported value: '%s' does not support '%.64s' here; "
                     "supported: %s.",
                     f->name, s, f->words);
}


/* 1 (offset 1: true) is what we do; anything else is refused. */

int
parse_one(parse_t *p, const field_t *f, json_t *v)
{
    if (f->offset ? json_is_true(v)
                  : json_is_number(v) && json_number_value(v) == 1) {
        return 0;
    }

    return parse_refused(p, f->name);
}


/* offset 1: any value but null says something. */

int
parse_refuse(parse_t *p, const field_t *f, json_t *v)
{
    int empty = json_is_false(v)
                || (json_is_number(v) && json_number_value(v) == 0)
                || (json_is_string(v) && json_string_length(v) == 0)
                || (json_is_array(v) && json_array_size(v) == 0)
                || (json_is_object(v) && json_object_size(v) == 0);

    return empty && f->offset == 0 ? 0 : parse_refused(p, f->name);
}
