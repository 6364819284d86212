/*
 * MODEL_STATE's JSON, as the worker reads it.  Pure C: knows neither NGINX nor
 * the engine, so that it can be fuzzed alone.
 *
 *   {"models":[{"name":"smollm2","state":"loading","progress":0.37,
 *               "error":null,"serving":false, ...}, ...]}
 *
 * Unknown members are skipped.  The text comes from another process and is
 * not trusted: depth is bounded, numbers and strings are checked, strings are
 * decoded in place.
 */

#ifndef NGX_HTTP_LLM_STATE_H
#define NGX_HTTP_LLM_STATE_H

#include <stddef.h>

#define NGX_HTTP_LLM_STATE_DEPTH     16
#define NGX_HTTP_LLM_STATE_ERROR_MAX 256

enum {
    NGX_HTTP_LLM_STATE_UNKNOWN = 0,
    NGX_HTTP_LLM_STATE_LOADING,
    NGX_HTTP_LLM_STATE_READY,
    NGX_HTTP_LLM_STATE_FAILED
};

/* Strings point into the text, end at len, and are valid in the callback. */

typedef struct {
    const char *name;
    size_t      name_len;
    const char *error;
    size_t      error_len; /* 0: none */
    unsigned    state;     /* NGX_HTTP_LLM_STATE_* */
    unsigned    progress;  /* thousandths */
    unsigned    serving;
} ngx_http_llm_model_state_t;

typedef void (*ngx_http_llm_state_pt)(void                             *data,
                                      const ngx_http_llm_model_state_t *state);

/*
 * Parses `len` bytes at `text`, which are changed, and calls `fn` for each
 * model that has a name.  0, or -1 if it is not such a text; models that came
 * before the defect have been reported.
 */
int ngx_http_llm_state_parse(char *text, size_t len, ngx_http_llm_state_pt fn,
                             void *data);

#endif /* NGX_HTTP_LLM_STATE_H */
