/*
 * What the files of the front threads share: front.c leads a request through,
 * front_text.c has the steps between text and tokens.
 */

#ifndef LLM_SERVE_FRONT_H
#define LLM_SERVE_FRONT_H

#include "engine/serve/serve.h"

/* A front thread's own memory. */
typedef struct {
    text_scratch_t *scratch;
    int32_t        *ids;
    size_t          cap;
} front_t;


/* All: 0, or negative with r->error filled (-EAGAIN: the model loads). */

int front_model(req_t *r, str_t asked);
int front_render(req_t *r, gen_request_t *req, int generation,
                 chat_text_t *text);
int front_encode(front_t *f, req_t *r, str_t text, const uint8_t *trusted,
                 int bos, size_t *n);
int front_ids(req_t *r, const int32_t *ids, size_t n, const char *param);
int front_tokenize(front_t *f, req_t *r);
int front_detokenize(req_t *r);
int front_no_memory(req_t *r);

#endif /* LLM_SERVE_FRONT_H */
