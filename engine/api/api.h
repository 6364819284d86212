/*
 * Dialects: JSON of a request -> gen_request_t, and events of its answer ->
 * bytes.  A dialect never sees a token's number but as numbers of the client's
 * (logit_bias, prompts of ids), never a ring, never a model.
 *
 * PARSERS take the whole body.  0, or a negative with *error filled: a 4xx
 * that names the parameter.  Unknown members are tolerated; known ones that
 * cannot be honoured are refused.  On failure nothing is kept.
 *
 * WRITERS append to a buffer which the caller empties.  A streamed answer's
 * bytes are whole events after every call.  A non-streamed one is written by
 * api_writer_end() in one piece.  All choices may interleave.
 */

#ifndef LLM_API_API_H
#define LLM_API_API_H

#include "engine/request.h"

typedef struct api_writer_s api_writer_t;

/* POST /chat/completions (kind GEN_CHAT) and /completions. */
int api_openai_parse(int kind, const char *body, size_t len, gen_request_t *req,
                     gen_error_t *error);
void api_request_free(gen_request_t *req);

/*
 * Once its prompts are tokens: lets go of the body and of all that only the
 * prompts needed; what a writer wants of the request stays.  0 or -ENOMEM.
 */
int api_request_settle(gen_request_t *req);

/* POST /tokenize: {model, prompt | messages, add_special_tokens?,
 * return_token_strs?, tools?, tool_choice?, reasoning_effort?,
 * chat_template_kwargs?, add_generation_prompt?} */
typedef struct {
    gen_request_t req; /* model, messages or one prompt */
    int           add_special;
    int           add_generation_prompt;
    int           token_strs;
} api_tokenize_t;

int  api_tokenize_parse(const char *body, size_t len, api_tokenize_t *req,
                        gen_error_t *error);
void api_tokenize_write(const api_tokenize_t *req, const int32_t *tokens,
                        size_t n, const str_t *strs, uint32_t max_model_len,
                        buf_t *out);

/* POST /detokenize: {model, tokens} -> {prompt} */
int  api_detokenize_parse(const char *body, size_t len, gen_request_t *req,
                          gen_error_t *error); /* prompts[0].tokens */
void api_detokenize_write(str_t text, buf_t *out);

/* GET /models, /models/{id} */
typedef struct {
    str_t    id;
    int64_t  created;
    uint32_t context;
} api_model_t;

void api_models_write(const api_model_t *models, size_t n, buf_t *out);
void api_model_write(const api_model_t *model, buf_t *out);

/* The error object as a response's body, or as a stream's event. */
void api_error_write(const gen_error_t *error, buf_t *out);
void api_error_event(const gen_error_t *error, buf_t *out);

/*
 * A writer for one request.  Borrows req and identity for its life.  NULL: no
 * memory.  n_choices counts all: of all prompts.
 */
api_writer_t *api_writer_new(const gen_request_t  *req,
                             const gen_identity_t *identity,
                             uint32_t              n_choices);
void          api_writer_free(api_writer_t *w);

/* Once, before anything else (streams: the first delta of each choice). */
void api_writer_begin(api_writer_t *w, buf_t *out);
void api_writer_text(api_writer_t *w, const gen_text_t *text, buf_t *out);
void api_writer_finish(api_writer_t *w, uint32_t choice, int finish,
                       buf_t *out);
/* After the last choice: usage, [DONE]; or the whole object. */
void api_writer_end(api_writer_t *w, const gen_usage_t *usage, buf_t *out);

#endif /* LLM_API_API_H */
