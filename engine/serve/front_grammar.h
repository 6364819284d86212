/*
 * What an answer must be, as a grammar: reasoning, calls in the model's
 * format, the response_format.
 *
 * front_grammar_key() runs on front threads, front_grammar_make() on grammar
 * threads; a request belongs to one thread at a time.
 */

#ifndef LLM_SERVE_FRONT_GRAMMAR_H
#define LLM_SERVE_FRONT_GRAMMAR_H

#include "engine/serve/serve.h"

/*
 * 1: the request needs a grammar, key holds all that it is made of (but for
 * the version's vocabulary); 0: it needs none; negative with r->error.
 */
int front_grammar_key(req_t *r, buf_t *key);

/*
 * Makes it, to be released by the caller.  0, or negative with r->error: a
 * 400 that names the parameter.  Reads the schemas in the body's own text.
 */
int front_grammar_make(req_t *r, grammar_t **grammar);

/* The program alone, finished; the caller frees it.  The same returns. */
int front_grammar_program(req_t *r, gr_t **gr);

#endif /* LLM_SERVE_FRONT_GRAMMAR_H */
