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
} parse_t;

struct field_s;

/* The body as JSON into req->body. */
int api_parse_root(parse_t *p, const char *body, size_t len);

/* messages.c: req->messages, a new array in the templates' form. */
int parse_messages_field(parse_t *p, const struct field_s *f, json_t *v);

/* An array of token ids. */
int api_parse_ids(parse_t *p, const char *param, json_t *v, gen_prompt_t *out);

int api_wrong_type(parse_t *p, const char *param, const char *want,
                   json_t *got);

#endif /* LLM_API_PRIV_H */
