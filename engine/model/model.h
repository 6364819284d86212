/*
 * A model: a weight file made into a step program, its weights in a backend's
 * arena, its pool of KV pages.  A loader thread makes it; after that it is
 * immutable but for what the backend does inside exec, which belongs to the
 * step loop's thread.  Whoever loaded it frees it, once no sequence uses it.
 */

#ifndef LLM_MODEL_MODEL_H
#define LLM_MODEL_MODEL_H

#include "engine/model/gguf.h"
#include "engine/model/quant.h"
#include "kernels/backend.h"

#define MODEL_NAME_MAX 128
#define MODEL_EOG_MAX  32

typedef struct {
    const k_backend_ops_t *ops;
    k_backend_t           *be;
    uint32_t               context;  /* tokens; 0: the file's own */
    uint64_t               kv_bytes; /* for KV pages; 0: a share of the arena */
    k_limits_t             limits;   /* of a step */
    quant_t                quant;    /* of matrices that are F32, F16, BF16 */
    /* Progress, 0..1, from the loader's thread; a value other than 0 stops. */
    int (*progress)(void *data, double done);
    void *data;
} model_params_t;

typedef struct model_s {
    const k_backend_ops_t *ops;
    k_backend_t           *be;

    k_program_t prog;
    k_kv_t     *kv;
    k_exec_t   *exec;
    k_limits_t  limits;
    uint32_t    n_pages;    /* KV pages of K_PAGE_TOKENS tokens */
    uint64_t    page_bytes; /* of one */
    uint32_t    context;    /* most positions of a sequence */
    uint32_t    trained;    /* what the file says */

    char     arch[32];
    char     file_type[32]; /* the most frequent matrix type: "Q4_1" */
    uint64_t n_params;
    uint64_t weight_bytes; /* in the file */
    uint8_t  fingerprint[32];

    /* Private to engine/model. */
    k_op_t      *ops_own;
    k_weight_t **weights;
    uint32_t     n_weights;
    float       *inv_freq;
    uint32_t     n_rot;
} model_t;


/*
 * Loads the tensors of an opened file.  0, or -errno with a line in err:
 * -ENOTSUP (architecture, tensor type or metadata by name), -ENOMEM (with the
 * numbers), -EINVAL (a broken file), -ECANCELED (progress said so).  The file
 * may be closed afterwards.
 */
int model_load(const gguf_t *file, const model_params_t *params,
               model_t **model, char *err);

/*
 * A model without weights over the null backend, for measuring the path: its
 * program is empty but for its vocabulary.
 */
int model_load_null(const model_params_t *params, uint32_t n_vocab,
                    model_t **model, char *err);

void model_free(model_t *model);

#endif /* LLM_MODEL_MODEL_H */
