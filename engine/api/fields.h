/*
 * Members of a request's body by tables: a row says which requests know the
 * member, what parses it, and its bounds.  fields.c has the parsers.
 */

#ifndef LLM_API_FIELDS_H
#define LLM_API_FIELDS_H

#include "engine/api/api_priv.h"

typedef struct field_s field_t;

typedef int (*field_fn_t)(parse_t *p, const field_t *f, json_t *v);

struct field_s {
    const char *name;
    unsigned    kinds; /* 1 << GEN_CHAT | 1 << GEN_COMPLETION */
    field_fn_t  fn;
    size_t      offset; /* in gen_request_t; of the value */
    double      min;
    double      max;
    const char *words; /* for enumerations: those that we can honour */
};

#define CHAT (1u << GEN_CHAT)
#define COMP (1u << GEN_COMPLETION)
#define BOTH (CHAT | COMP)

#define AT(member) offsetof(gen_request_t, member)

/* Each: 0, or negative with p->error filled. */

int parse_bool(parse_t *p, const field_t *f, json_t *v);
int parse_double(parse_t *p, const field_t *f, json_t *v);
int parse_uint(parse_t *p, const field_t *f, json_t *v);
int parse_string(parse_t *p, const field_t *f, json_t *v);
int parse_max(parse_t *p, const field_t *f, json_t *v);
int parse_top_k(parse_t *p, const field_t *f, json_t *v);
int parse_seed(parse_t *p, const field_t *f, json_t *v);
int parse_stop(parse_t *p, const field_t *f, json_t *v);
int parse_bias(parse_t *p, const field_t *f, json_t *v);
int parse_logprobs(parse_t *p, const field_t *f, json_t *v);
int parse_stream_options(parse_t *p, const field_t *f, json_t *v);
int parse_prompt(parse_t *p, const field_t *f, json_t *v);
int parse_object(parse_t *p, const field_t *f, json_t *v);
int parse_modalities(parse_t *p, const field_t *f, json_t *v);
int parse_metadata(parse_t *p, const field_t *f, json_t *v);
int parse_word(parse_t *p, const field_t *f, json_t *v);
int parse_one(parse_t *p, const field_t *f, json_t *v);
int parse_refuse(parse_t *p, const field_t *f, json_t *v);

/* tools.c */
int parse_tools(parse_t *p, const field_t *f, json_t *v);
int parse_functions(parse_t *p, const field_t *f, json_t *v);
int parse_choice(parse_t *p, const field_t *f, json_t *v);
/* Once all members are known: what tool_choice and its like say. */
int parse_calls(parse_t *p);

/* formats.c */
int parse_format(parse_t *p, const field_t *f, json_t *v);
int parse_schema(parse_t *p, const field_t *f, json_t *v);
int parse_source(parse_t *p, const field_t *f, json_t *v);
int parse_list(parse_t *p, const field_t *f, json_t *v);
int parse_structured(parse_t *p, const field_t *f, json_t *v);
int parse_effort(parse_t *p, const field_t *f, json_t *v);
int parse_budget(parse_t *p, const field_t *f, json_t *v);

#endif /* LLM_API_FIELDS_H */
