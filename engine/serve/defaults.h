/*
 * A model's own sampling parameters: what its makers wrote into its file
 * (generation_config.json of a Hugging Face folder, general.sampling.* of a
 * GGUF).  They count wherever a request does not say otherwise.
 */

#ifndef LLM_DEFAULTS_H
#define LLM_DEFAULTS_H

#include "engine/model/gguf.h"

typedef struct {
    float    temperature; /* 1 unless the file says otherwise */
    float    top_p;       /* 1 */
    float    min_p;       /* 0 */
    float    repetition;  /* 1 */
    uint32_t top_k;       /* 0: off */
} defaults_t;

/*
 * Fills *out.  A value that makes no sense is left out and named in the log,
 * with the model's name.  Loader threads.
 */
void defaults_read(const gguf_t *g, const char *name, defaults_t *out);

/* Compares with what counts without a file's word: nothing of its own. */
int defaults_are_plain(const defaults_t *d);

#endif /* LLM_DEFAULTS_H */
