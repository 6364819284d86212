/*
 * Architectures as data: which operations a layer has, which tensors feed
 * them, and the few facts that are not in the file's metadata.  model.c
 * compiles a row into a step program; nothing else knows an architecture.
 */

#ifndef LLM_MODEL_ARCH_H
#define LLM_MODEL_ARCH_H

#include "kernels/backend.h"

/*
 * One operation.  Tensor names stand without ".weight"/".bias" and, in a
 * layer, without "blk.N."; a leading '?' marks one that a file may lack.
 */
typedef struct {
    k_op_kind_t kind;
    const char *w[3];
    const char *bias[3];
    const char *norm;
    const char *norm_q;
    const char *norm_k;
    const char *post_norm;
} arch_op_t;

#define ARCH_OPS_MAX 6

typedef struct {
    const char *name; /* general.architecture */
    k_rope_t    rope;
    k_fn_t      fn;
    arch_op_t   head;
    arch_op_t   layer[ARCH_OPS_MAX]; /* ends at kind 0 */
    arch_op_t   tail;
} arch_t;

/* The row of that name, or NULL. */
const arch_t *arch_find(const char *name, size_t len);

#endif /* LLM_MODEL_ARCH_H */
