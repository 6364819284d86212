/*
 * Architectures as data: which operations a layer has, which tensors feed
 * them, and the few facts that are not in the file's metadata.  model_ops.c
 * compiles a row into a step program; nothing else knows an architecture.
 */

#ifndef LLM_MODEL_ARCH_H
#define LLM_MODEL_ARCH_H

#include <stdbool.h>
#include "kernels/backend.h"

/*
 * One operation.  Tensor names stand without ".weight"/".bias" and, in a
 * layer, without "blk.N."; a leading '?' marks one that a file may lack.
 */
typedef struct {
    k_op_kind_t kind;
    bool        fused; /* w[1], w[2] are rows of w[0], after its own */
    const char *w[4];
    const char *bias[4];
    const char *sinks;
    const char *norm;
    const char *norm_q;
    const char *norm_k;
    const char *post_norm;
} arch_op_t;

#define ARCH_ATTN_OPS 3
#define ARCH_FFN_OPS  2
#define ARCH_OPS_MAX  (ARCH_ATTN_OPS + ARCH_FFN_OPS)

/*
 * Which layers attention.sliding_window is for, where the file does not say
 * (attention.sliding_window_pattern): n > 1 is all but every n-th.
 */
#define ARCH_WINDOW_UNKNOWN 0 /* a window without a pattern is refused */
#define ARCH_WINDOW_ALL     1

typedef struct {
    const char *name; /* general.architecture */
    k_rope_t    rope;
    k_fn_t      fn;

    uint32_t window;         /* ARCH_WINDOW_*, n */
    uint32_t window_default; /* its size where the file does not say */
    uint32_t nope_every;     /* every n-th layer has no rope; 0: all have */

    /* Of layers with a window, where the file does not say; 0: as others. */
    float local_base;
    bool  local_unscaled; /* rope scaling is not for them */

    bool embed_sqrt;     /* EMBED is scaled by sqrt(n_embd) */
    bool logit_divides;  /* logit_scale is a divisor; else not known here */
    bool rope_switch;    /* rope.scaling.finetuned false: no rope; refused */
    bool context_scaled; /* context_length is that after rope scaling */
    bool yarn_exact;     /* YaRN's ramp starts and ends between dimensions */

    /*
     * The model of so many layers scales queries by the root of n_embd /
     * n_head, which is not its head_dim.
     */
    uint32_t wide_layers;

    arch_op_t head;
    arch_op_t attn[ARCH_ATTN_OPS];
    arch_op_t ffn[ARCH_FFN_OPS]; /* without expert_count; kind 0: none */
    arch_op_t moe;               /* with it; kind 0: none */
    arch_op_t tail;
} arch_t;

/* The row of that name, or NULL. */
const arch_t *arch_find(const char *name, size_t len);

#endif /* LLM_MODEL_ARCH_H */
