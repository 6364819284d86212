/*
 * What the null backend answers, as functions that tests can ask too.
 */

#ifndef LLM_KERNELS_NULL_H
#define LLM_KERNELS_NULL_H

#include "kernels/backend.h"

#define K_NULL_SEED 0x6e756c6cull /* the digest of an empty prefix */

/* The digest of a prefix and one more token. */
uint64_t k_null_digest(uint64_t prefix, int32_t token);

/* The token drawn where nothing is forbidden: a pure function. */
int32_t k_null_token(uint32_t n_vocab, uint64_t seed, uint32_t position,
                     uint32_t choice);

/* The "logprob" of a token after a prefix: tells whether KV pages held it. */
float k_null_logprob(uint64_t prefix, int32_t token);

#endif /* LLM_KERNELS_NULL_H */
