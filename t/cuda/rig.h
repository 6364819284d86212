/*
 * Toy models (t/kernels/toy.h) on any backend, for tests of whole steps: in
 * all types of weights, with batches put together by a few calls, and logits
 * held against the model in double precision.
 *
 * A rig is a backend, a model, KV pages and an exec.  toy.h makes matrices in
 * F32; rig_load() stands between it and the backend, makes them `type` and
 * tells toy.h what their numbers have become, so that the reference computes
 * with what the device has.  One rig at a time is being made.
 */

#ifndef LLM_T_CUDA_RIG_H
#define LLM_T_CUDA_RIG_H

#include "engine/model/quant.h"
#include "t/cuda/cu_test.h"

/* Only its t_element() is wanted. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include "t/kernels/formats.h"
#pragma GCC diagnostic pop

#include "t/kernels/toy.h"

#define RIG_PAGES  64
#define RIG_SEQS   16
#define RIG_TOKENS 320 /* of one sequence: ten pages */

#define RIG_UNUSED __attribute__((unused)) static

typedef struct {
    const k_backend_ops_t *ops;
    k_backend_ops_t        hooked;
    k_type_t               type; /* of matrices */
    k_backend_t           *be;
    toy_t                  toy;
    k_kv_t                *kv;
    k_exec_t              *exec;
    k_limits_t             limits;
    uint64_t               used; /* of memory, before there was a model */
} rig_t;

/* A batch that is being put together. */
typedef struct {
    k_batch_t     b;
    int32_t       tokens[1024];
    uint32_t      logit_rows[1024];
    k_batch_seq_t seqs[RIG_TOKENS];
} rig_batch_t;

static rig_t *rig_making;


/* rows x cols of f in `type`: *out (malloc) for the file, f what it means. */
RIG_UNUSED void
rig_convert(k_type_t type, double *f, const float *in, uint32_t rows,
            uint32_t cols, void **out, float *scales)
{
    float           most;
    size_t          i, j, at, row;
    uint8_t        *b;
    const t_type_t *t;

    b = malloc((size_t) rows * cols * 4 + 512);

    if (type == K_F8_E4M3) {
        for (i = 0; i < rows; i++) {
            most = 1e-9f;
            for (j = 0; j < cols; j++) {
                at = i * cols + j;
                most = fabsf(in[at]) > most ? fabsf(in[at]) : most;
            }
            scales[i] = most / 448;
            for (j = 0; j < cols; j++) {
                at = i * cols + j;
                b[at] = to_f8(in[at] / scales[i]);
                f[at] = (double) f8_of(b[at]) * (double) scales[i];
            }
        }
        *out = b;
        return;
    }

    for (t = t_types; t->type != type; t++) {
        /* void */
    }

    if (quant_rows((uint32_t) type, in, rows, cols, b) != 0) {
        printf("Bail out! %s of %u x %u\n", t->name, rows, cols);
        exit(1);
    }

    row = (size_t) cols / t->block * t->bytes;
    for (i = 0; i < rows; i++) {
        for (j = 0; j < cols; j++) {
            f[i * cols + j] = t_element(t, b + i * row, (uint32_t) j);
        }
    }
    *out = b;
}


RIG_UNUSED int
rig_load(k_backend_t *be, const k_source_t *src, k_weight_t **w, char *err)
{
    int           rc;
    void         *bytes;
    float        *scales;
    rig_t        *r;
    k_source_t    s;
    toy_weight_t *tw;

    r = rig_making;

    /* Vectors and routers stay as they are. */
    if (src->role == K_ROLE_VECTOR || src->role == K_ROLE_VECTORS
        || r->type == K_F32
        || (src->role == K_ROLE_MATRIX && src->rows == r->toy.conf.n_expert)) {
        return r->ops->weights_load(be, src, w, err);
    }

    tw = &r->toy.weights[r->toy.n_weights - 1];
    scales = malloc(src->rows * sizeof(float));
    s = *src;
    s.type = r->type;

    /* Look-ups have no use for E4M3. */
    if (r->type == K_F8_E4M3
        && (src->role == K_ROLE_EMBED || src->role == K_ROLE_EMBED_LOGITS)) {
        s.type = K_BF16;
    }
    rig_convert(s.type, tw->f, src->data, src->rows, src->cols, &bytes, scales);
    s.data = bytes;
    if (s.type == K_F8_E4M3) {
        s.scales = scales;
        s.n_scales = src->rows;
    }

    rc = r->ops->weights_load(be, &s, w, err);
    free(bytes);
    free(scales);

    return rc;
}


/* Opens a backend and makes the model; a failure ends the test. */
RIG_UNUSED void
rig_open(rig_t *r, const k_backend_ops_t *ops, const toy_conf_t *c,
         k_type_t type, const k_limits_t *limits, int kv_f8)
{
    int        rc;
    char       err[K_ERR_MAX];
    uint64_t   size;
    k_config_t conf;
    toy_conf_t toy;

    memset(r, 0, sizeof(*r));
    memset(&conf, 0, sizeof(conf));
    conf.threads = 1;
    conf.act = K_ACT_F32;
    conf.memory = 192u << 20;
    conf.kv_f8 = kv_f8;

    r->ops = ops;
    r->hooked = *ops;
    r->hooked.weights_load = rig_load;
    r->type = type;
    r->limits = *limits;
    rig_making = r;

    rc = ops->open(&conf, &r->be, err);
    if (rc != 0) {
        printf("Bail out! open: %s\n", err);
        exit(1);
    }

    ops->memory(r->be, &size, &r->used);

    toy = *c;
    toy.type = K_F32;
    toy_make(&r->toy, &r->hooked, r->be, &toy);

    rc = c->bare ? 0 : ops->kv_new(r->be, &r->toy.prog, RIG_PAGES, &r->kv, err);
    if (rc == 0) {
        rc = ops->program_prepare(r->be, &r->toy.prog, r->kv, limits, &r->exec,
                                  err);
    }
    if (rc != 0) {
        printf("Bail out! prepare: %s\n", err);
        exit(1);
    }
}


/* Everything must be given back. */
RIG_UNUSED void
rig_close(rig_t *r)
{
    uint64_t size, used;

    r->ops->program_free(r->exec);
    if (r->kv != NULL) {
        r->ops->kv_free(r->be, r->kv);
    }
    toy_free(&r->toy);

    r->ops->memory(r->be, &size, &used);
    if (used != r->used) {
        ok(0, "%llu bytes are still in use", (unsigned long long) used);
    }
    r->ops->close(r->be);
}


RIG_UNUSED void
rig_batch(rig_batch_t *b)
{
    memset(b, 0, sizeof(*b));
    b->b.tokens = b->tokens;
    b->b.seqs = b->seqs;
    b->b.logit_rows = b->logit_rows;
}


/* n tokens of a sequence, at position pos; of the last `logits` rows L. */
RIG_UNUSED void
rig_add(rig_batch_t *b, const int32_t *tokens, uint32_t pos, uint32_t n,
        const uint32_t *pages, uint32_t logits)
{
    uint32_t       i;
    k_batch_seq_t *s;

    s = &b->seqs[b->b.n_seqs++];
    s->row = b->b.n_rows;
    s->n = n;
    s->pos = pos;
    s->pages = pages;

    for (i = 0; i < n; i++) {
        if (i + logits >= n) {
            b->logit_rows[b->b.n_logits++] = b->b.n_rows;
        }
        b->tokens[b->b.n_rows++] = tokens[i];
    }
}


RIG_UNUSED void
rig_step(rig_t *r, const rig_batch_t *b)
{
    int rc;

    rc = r->ops->step_submit(r->exec, &b->b);
    rc = rc == 0 ? r->ops->step_wait(r->exec) : rc;
    if (rc != 0) {
        printf("Bail out! step: %d\n", rc);
        exit(1);
    }
}


/* Logits of the last step's row i into out, and their distance from want. */
RIG_UNUSED double
rig_error(rig_t *r, uint32_t i, const double *want, float *out)
{
    int      rc;
    double   diff, norm;
    uint32_t j;

    rc = r->ops->logits(r->exec, i, out);
    if (rc != 0) {
        return INFINITY;
    }

    diff = norm = 0;
    for (j = 0; j < r->toy.conf.n_vocab; j++) {
        diff += ((double) out[j] - want[j]) * ((double) out[j] - want[j]);
        norm += want[j] * want[j];
    }
    diff = sqrt(diff / norm);

    return diff == diff ? diff : INFINITY;
}


RIG_UNUSED void
rig_tokens(const rig_t *r, uint32_t seed, int32_t *tokens, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        tokens[i] = (int32_t) (toy_rand(&seed) % r->toy.conf.n_vocab);
    }
}

#endif /* LLM_T_CUDA_RIG_H */
