/*
 * Fuzz target: a weight file's metadata and its tensors' names, types and
 * shapes, as model_load() reads them.  The tensors' data are made up.
 *
 * What loads runs a step of two tokens in a small arena.
 */

#include "engine/model/model.h"

#include <stdlib.h>
#include <string.h>

#define FUZZ_ARENA (4u << 20)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int  made_up_rows(void *ctx, size_t i, uint64_t row, uint64_t n,
                         void *out);
static void use_model(const model_t *m);

/* The one that is open; there is no other thread. */
static gguf_t *opened;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const gguf_source_t source = {.rows = made_up_rows};

    k_config_t     conf = {.threads = 1, .memory = FUZZ_ARENA};
    model_params_t params = {.ops = &k_backend_cpu,
                             .kv_bytes = FUZZ_ARENA / 4,
                             .limits = {4, 1, 1}};
    model_t       *m;
    void          *head;
    char           err[K_ERR_MAX];

    head = malloc(size + 1);
    if (head == NULL) {
        return 0;
    }

    memcpy(head, data, size);

    if (gguf_open_source(head, size, &source, &opened, err, sizeof(err)) != 0) {
        return 0;
    }

    if (k_backend_cpu.open(&conf, &params.be, err) == 0) {
        params.quant = size % 3 == 0   ? QUANT_NONE
                       : size % 3 == 1 ? QUANT_Q8_0
                                       : QUANT_Q4_K;

        if (model_load(opened, &params, &m, err) == 0) {
            use_model(m);
            model_free(m);
        }

        k_backend_cpu.close(params.be);
    }

    gguf_close(opened);

    return 0;
}


static int
made_up_rows(void *ctx, size_t i, uint64_t row, uint64_t n, void *out)
{
    const gguf_tensor_t *t = gguf_tensor_at(opened, i);
    const gguf_type_t   *info = gguf_type(t->type);
    uint8_t             *p = out;
    size_t               k, bytes;

    bytes = t->dims[0] / info->block_elems * info->block_bytes * n;

    /* 1.0 in F32's high bytes; some number in every type. */
    for (k = 0; k < bytes; k++) {
        p[k] = k % 4 == 3 ? 0x3f : k % 4 == 2 ? 0x80 : (uint8_t) row;
    }

    return 0;
}


static void
use_model(const model_t *m)
{
    static const int32_t  tokens[] = {0, 0};
    static const uint32_t pages[] = {0}, wanted[] = {1};

    k_batch_seq_t seq = {.n = 2, .pages = pages};
    k_batch_t     batch = {.n_rows = 2,
                           .n_seqs = 1,
                           .n_logits = 1,
                           .tokens = tokens,
                           .seqs = &seq,
                           .logit_rows = wanted};

    if (m->ops->step_submit(m->exec, &batch) == 0) {
        (void) m->ops->step_wait(m->exec);
    }
}


#define MUTATIONS 400
#include "t/fuzz/replay.h"
