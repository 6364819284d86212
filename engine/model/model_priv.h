/*
 * A model while it is loaded: shared by model*.c only.
 *
 *     model.c          the order of things, the pool of KV pages, the end
 *     model_meta.c     metadata: dimensions, factors, windows, what is refused
 *     model_rope.c     inverse frequencies
 *     model_ops.c      the architecture's row into a step program
 *     model_tensor.c   tensors into the backend
 */

#ifndef LLM_MODEL_PRIV_H
#define LLM_MODEL_PRIV_H

#include <xxhash.h>
#include "engine/model/arch.h"
#include "engine/model/model.h"

#define MODEL_DIM_MAX   (1u << 20)
#define MODEL_LAYER_MAX 1024
/* So that rows of all experts still fit in 32 bits. */
#define MODEL_EXPERT_MAX 2048
#define MODEL_KEY_MAX    128

/* What the metadata say, and is the same in every layer. */
typedef struct {
    float    eps;
    float    attn_scale;
    float    embed_scale;
    float    residual_scale;
    float    logit_scale; /* a factor */
    float    attn_cap;
    float    logit_cap;
    uint32_t n_expert; /* 0: none */
    uint32_t n_used;
    uint32_t n_ff_expert;
    float    expert_scale;
    k_gate_t gate;
    uint32_t window; /* 0: none */
    float    rope_mul;
    float    rope_mul_local;
} model_meta_t;

typedef struct {
    const gguf_t         *file;
    const model_params_t *params;
    const arch_t         *arch;
    model_t              *m;
    model_meta_t          meta;
    uint8_t              *used;  /* a flag for each tensor of the file */
    uint8_t              *local; /* a flag for each layer: it has a window */
    uint64_t              bytes_done;
    uint64_t              bytes_all;
    uint64_t              type_bytes[GGML_TYPES]; /* layers', as loaded */
    XXH3_state_t         *hash;
    char                 *err;
} load_t;

/* One tensor that an operation wants. */
typedef struct {
    const char *name;   /* as in arch_op_t; NULL: nothing is wanted */
    const char *suffix; /* "weight", "bias" */
    int         layer;  /* -1: of no layer */
    k_role_t    role;
    uint32_t    rows; /* of one expert */
    uint32_t    cols;
    uint32_t    experts; /* K_ROLE_EXPERTS, K_ROLE_VECTORS; else 0 */
    uint32_t    row;     /* a fused tensor: where its rows begin */
    uint32_t    of;      /* of so many rows; 0: not fused */
} load_want_t;

__attribute__((format(printf, 3, 4))) int load_fail(load_t *l, int rc,
                                                    const char *fmt, ...);

/* model_meta.c: fills m->prog's dimensions, m->context, l->meta, l->local. */
int load_meta(load_t *l);

/* "<arch>.<name>" into key. */
void load_key(const load_t *l, const char *name, char key[MODEL_KEY_MAX]);

/* A number; *value stays where the file does not say; -errno with err. */
int load_float(load_t *l, const char *name, float *value);

/* A dimension, 1 .. MODEL_DIM_MAX; fallback 0: it must be there. */
int load_dim(load_t *l, const char *name, uint32_t fallback, uint32_t *value);

/* model_rope.c: m->inv_freq, of all layers and then of those with windows. */
int load_rope(load_t *l);

/* How far rope scaling stretches the trained context: most positions. */
int load_rope_context(load_t *l, uint64_t *most);

/* model_ops.c */
int load_ops(load_t *l);

/* model_tensor.c: *w stays where an optional tensor is missing. */
int load_tensor(load_t *l, const load_want_t *want, const k_weight_t **w);

/* The flag of a tensor that was used otherwise. */
void load_tensor_used(load_t *l, const gguf_tensor_t *t);

/* Refuses what nothing has used. */
int load_leftovers(load_t *l);

#endif /* LLM_MODEL_PRIV_H */
