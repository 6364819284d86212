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

/* front.c: r->grammar is there; the last that is to be done: 0 or negative. */
int front_settle(req_t *r);

/* A request that is done with: to the io thread. */
void front_post(req_t *r);

/* front_chat.c: calls and thoughts in prompts, and in answers to read. */
int front_effort(req_t *r, gen_request_t *req, const dialog_t *d, json_t *vars);
int front_reading(req_t *r);

/* Messages for a template, new; NULL: no memory. */
json_t *front_messages(const dialog_t *dialog, json_t *messages);
json_t *front_generic(const dialog_t *dialog, json_t *messages, json_t *tools,
                      int user);

#endif /* LLM_SERVE_FRONT_H */
