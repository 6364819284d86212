/*
 * What the parsers of a dialect share.
 */

#ifndef LLM_API_PRIV_H
#define LLM_API_PRIV_H

#include "engine/api/api.h"

typedef struct {
    gen_request_t *req;
    gen_error_t   *error;
    int            has_stream_options;
    json_t        *names;  /* tools: name -> number in req->offers */
    json_t        *calls;  /* in messages so far: id -> name */
    json_t        *choice; /* tool_choice or function_call, or NULL */
    const char    *choice_param;
} parse_t;

struct field_s;

/* The body as JSON into req->body. */
int api_parse_root(parse_t *p, const char *body, size_t len);

/* Lets go of what only the parse needed. */
void api_parse_end(parse_t *p);

/* messages.c: req->messages, a new array in the templates' form. */
int parse_messages_field(parse_t *p, const struct field_s *f, json_t *v);

/* An array of token ids. */
int api_parse_ids(parse_t *p, const char *param, json_t *v, gen_prompt_t *out);


/* json.c */

/*
 * JSON as Jansson reads it; a number beyond its range becomes the nearest
 * decimal instead of a fault of the whole text.  NULL and *error: not JSON.
 */
json_t *api_json(const char *text, size_t len, size_t flags,
                 json_error_t *error);

/* The byte where the token begins that Jansson says it stumbled over. */
size_t api_json_at(const json_error_t *error, const char *text);

/* A parameter's name, in the error's own buffer. */
const char *api_param(parse_t *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The same in the caller's own: char[API_PATH]. */
#define API_PATH 80
void api_path(char *path, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

enum {
    API_STRING = 0,
    API_OBJECT,
    API_ARRAY,
    API_BOOLEAN,
    API_SCHEMA /* an object or a boolean */
};

/*
 * A member of the object at `at`, of that type: 0 and *v, NULL if it is not
 * there or null.  _need(): a 400 if it is not there.
 */
int api_member(parse_t *p, const char *at, json_t *object, const char *name,
               int type, json_t **v);
int api_need(parse_t *p, const char *at, json_t *object, const char *name,
             int type, json_t **v);

/* A member that is one of a list (which ends with NULL): its number. */
int api_word(parse_t *p, const char *at, json_t *object, const char *name,
             const char *const *words, int *word);

/* The value itself is of that type, or a 400. */
int api_type(parse_t *p, const char *param, json_t *v, int type);

int api_wrong_type(parse_t *p, const char *param, const char *want,
                   json_t *got);
int api_missing(parse_t *p, const char *param);
int api_no_memory(parse_t *p);

str_t api_str(json_t *string);

#endif /* LLM_API_PRIV_H */
