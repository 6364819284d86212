/*
 * What the files of OpenAI's writer share.
 */

#ifndef LLM_API_WRITE_PRIV_H
#define LLM_API_WRITE_PRIV_H

#include "engine/api/api.h"

/* A choice of an answer that is being written. */
typedef struct {
    buf_t       text;      /* not streamed: all of it, */
    buf_t       reasoning; /* all of that, */
    buf_t       calls;     /* and the calls, the last one's string open */
    uint32_t    n_calls;
    int         custom;   /* the last call is a custom tool's */
    buf_t       lp;       /* logprobs: items, or the tokens array */
    buf_t       lp_value; /* completions: token_logprobs, */
    buf_t       lp_top;   /* top_logprobs */
    buf_t       lp_off;   /* and text_offset */
    uint32_t    n_lp;
    size_t      chars; /* code points given out, for text_offset */
    uint64_t    pad;   /* obfuscation's generator */
    const char *finish;
} write_choice_t;

/* openai_logprobs.c: notes of a piece of content; what was noted since. */
void write_note(const gen_request_t *req, write_choice_t *c,
                const gen_text_t *text);
void write_logprobs(const gen_request_t *req, buf_t *out, write_choice_t *c);

#endif /* LLM_API_WRITE_PRIV_H */
