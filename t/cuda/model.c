/*
 * Whole step programs on the CUDA backend against the same models in double
 * precision (t/kernels/toy.h): every kind of operation, every type of weights,
 * sequences as one prefill, in chunks, token by token, among others, on pages
 * in any order and after a prefix was copied.
 *
 * Activations are BF16 or F16, which is nearly all of the error; `limit` of
 * each model is about three times what rounding comes to.
 */

#include "kernels/cuda/exec.h"
#include "t/cuda/rig.h"

#define TOKENS 75

typedef struct {
    const char *name;
    k_type_t    type;
    double      limit;
    toy_conf_t  conf;
    int         kv_f8;
    int         all;   /* all ways, not only the first three */
    int         close; /* some tokens' experts are so close that rounding
                          decides between them: one in six may be wrong */
} model_t;

/* How the same tokens get into the model. */
typedef struct {
    const char *name;
    uint32_t    chunk; /* 0: all */
    uint32_t    from;  /* from here on token by token */
    uint32_t    first; /* number of the first page, */
    uint32_t    step;  /* and from each to the next */
    uint32_t    others;
    uint32_t    prefix; /* copied from another sequence */
} way_t;


static void   model_run(const model_t *m);
static double way_run(rig_t *r, const way_t *w, const int32_t *tokens,
                      const double *want, int close);
static int    by_size(const void *a, const void *b);
static void   prefix_copy(rig_t *r, const way_t *w, const int32_t *tokens,
                          const uint32_t *pages);


/* Each type of weights, each feature; two layers unless windows want more. */
static const model_t models[] = {
    /* clang-format off */
    {"llama, bf16", K_BF16, 3e-2,
     {256, 2, 4, 2, 64, 256, 131, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .seed = 1}, .all = 1},
    {"tied, f16, biases, norms of q and k, gelu", K_F16, 5e-3,
     {96, 2, 4, 2, 80, 160, 77, 20, 0, K_F32, K_ROPE_HALVES, K_FN_GELU_TANH, 0,
      0, .bias = 1, .qk_norm = 1, .tied = 1, .seed = 2}, .close = 0},
    {"gemma, q8_0: caps, windows, post-norms, erf", K_Q8_0, 5e-2,
     {128, 3, 2, 2, 128, 64, 200, 128, 20, K_F32, K_ROPE_HALVES, K_FN_GELU_ERF,
      5.0f, 8.0f, .post_norm = 1, .tied = 1, .seed = 3}, .close = 0},
    {"f32 weights, one KV head of seven", K_F32, 3e-2,
     {64, 3, 7, 1, 32, 96, 99, 24, 33, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .bias = 1, .qk_norm = 1, .post_norm = 1, .seed = 4}, .close = 0},
    {"q4_0, no rope, a window of one", K_Q4_0, 5e-2,
     {64, 2, 6, 1, 16, 96, 64, 0, 1, K_F32, K_ROPE_NONE, K_FN_SILU, 30.0f, 0,
      .qk_norm = 1, .seed = 5}, .all = 1},
    {"q4_1, residual factor, sinks, every other layer without rope", K_Q4_1,
     5e-2,
     {96, 2, 2, 1, 96, 64, 50, 48, 0, K_F32, K_ROPE_HALVES, K_FN_SILU, 0, 0,
      .sinks = 1, .nope = 1, .residual = 0.3f, .seed = 6}, .close = 0},
    {"q4_k", K_Q4_K, 5e-2,
     {256, 2, 4, 2, 64, 256, 70, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .seed = 7}, .close = 0},
    {"q5_k, E4M3 pages", K_Q5_K, 8e-2,
     {256, 2, 4, 1, 64, 256, 70, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .seed = 8}, .kv_f8 = 1, .all = 1},
    {"q6_k, tied", K_Q6_K, 5e-2,
     {256, 2, 2, 2, 128, 256, 70, 128, 0, K_F32, K_ROPE_HALVES, K_FN_SILU, 0, 0,
      .tied = 1, .seed = 9}, .close = 0},
    {"E4M3, biases", K_F8_E4M3, 2e-1,
     {128, 2, 4, 2, 64, 192, 80, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .bias = 1, .seed = 10}, .close = 0},
    {"E4M3, post-norms, a vocabulary of odd size, tied", K_F8_E4M3, 2e-1,
     {128, 2, 2, 2, 64, 96, 83, 64, 0, K_F32, K_ROPE_HALVES, K_FN_GELU_TANH, 0,
      0, .post_norm = 1, .tied = 1, .seed = 11}, .close = 0},
    {"gpt-oss, mxfp4: experts, sinks, biases, windows", K_MXFP4, 5e-2,
     {64, 2, 8, 2, 64, 96, 131, 64, 16, K_F32, K_ROPE_HALVES,
      K_FN_SWIGLU_OAI, 0, 0, .bias = 1, .sinks = 1, .seed = 12, .n_expert = 32,
      .n_used = 4}, .close = 1},
    {"experts, bf16, gates of all, a dense layer first", K_BF16, 4e-2,
     {128, 3, 4, 1, 128, 32, 77, 128, 25, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .qk_norm = 1, .post_norm = 1, .tied = 1, .seed = 13, .n_expert = 5,
      .n_used = 2, .gate = K_GATE_SOFTMAX, .dense = 1, .nope = 1,
      .residual = 0.22f}, .close = 0},
    {"experts, q4_k", K_Q4_K, 5e-2,
     {256, 1, 4, 2, 64, 256, 50, 64, 0, K_F32, K_ROPE_HALVES, K_FN_SILU, 0, 0,
      .seed = 14, .n_expert = 6, .n_used = 3}, .close = 1},
    {"experts, f16, biases, odd widths", K_F16, 8e-3,
     {64, 2, 3, 1, 64, 40, 60, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_GELU_TANH, 0, 0,
      .bias = 1, .seed = 17, .n_expert = 9, .n_used = 3}, .close = 0},
    {"heads of 40: attention's slow way", K_F16, 5e-3,
     {80, 2, 3, 1, 40, 72, 50, 40, 0, K_F32, K_ROPE_HALVES, K_FN_SILU, 0, 0,
      .seed = 15}, .close = 0},
    {"no attention", K_BF16, 3e-2,
     {64, 2, 1, 1, 16, 64, 50, 0, 0, K_F32, K_ROPE_NONE, K_FN_SILU, 0, 0,
      .bare = 1, .seed = 16}, .close = 0},
    /* clang-format on */
};

static const way_t ways[] = {
    {"at once", 0, TOKENS, 0, 1, 0, 0},
    {"among 5 others, the rest one by one", 33, 66, 3, 1, 5, 0},
    {"in chunks of 7, pages in any order", 7, TOKENS, 30, RIG_PAGES - 7, 0, 0},
    {"one by one, pages backwards", 1, 0, RIG_PAGES - 1, RIG_PAGES - 1, 0, 0},
    {"copied prefix of 45", 0, TOKENS, 20, 1, 0, 45},
};


/* MODEL=n: only that one. */
int
main(void)
{
    size_t i;

    if (getenv("MODEL") != NULL) {
        model_run(&models[atoi(getenv("MODEL"))]);
        return tap_done();
    }

    for (i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        model_run(&models[i]);
    }

    return tap_done();
}


static void
model_run(const model_t *m)
{
    rig_t      r;
    double    *want, worst;
    size_t     i, n;
    int32_t    tokens[TOKENS];
    k_limits_t limits = {128, 8, 128};

    rig_open(&r, &k_backend_cuda, &m->conf, m->type, &limits, m->kv_f8);
    rig_tokens(&r, 77, tokens, TOKENS);
    want = toy_reference(&r.toy, tokens, TOKENS, 0);

    n = m->all ? sizeof(ways) / sizeof(ways[0]) : 3;
    for (i = 0; i < n; i++) {
        worst = way_run(&r, &ways[i], tokens, want, m->close);
        ok(worst < m->limit, "%s, %s: worst error %.1e", m->name, ways[i].name,
           worst);
    }

    free(want);
    rig_close(&r);
}


/* The largest error of any token's logits; close: but for one in six. */
static double
way_run(rig_t *r, const way_t *w, const int32_t *tokens, const double *want,
        int close)
{
    float      *out;
    double      errors[TOKENS];
    uint32_t    i, j, n, at, me, pages[8], other[8][8];
    int32_t     noise[32];
    rig_batch_t b;

    out = malloc(r->toy.conf.n_vocab * sizeof(float));
    rig_tokens(r, 5, noise, 32);

    for (i = 0; i < 8; i++) {
        pages[i] = (w->first + i * w->step) % RIG_PAGES;
        for (j = 0; j < 8; j++) {
            other[j][i] = 40 + j * 3 + i % 3;
        }
    }

    if (w->prefix != 0 && r->kv != NULL) {
        prefix_copy(r, w, tokens, pages);
    }

    for (at = w->prefix; at < TOKENS; at += n) {
        n = w->chunk == 0 || w->chunk > TOKENS - at ? TOKENS - at : w->chunk;
        if (at >= w->from) {
            n = 1;
        } else if (at + n > w->from) {
            n = w->from - at;
        }

        /* Others before and after, some with one token, some with more. */
        rig_batch(&b);
        me = 0;
        for (i = 0; i <= w->others; i++) {
            if (i == w->others / 2) {
                me = b.b.n_logits;
                rig_add(&b, tokens + at, at, n, pages, n);
            } else {
                rig_add(&b, noise, (at + i) % 60, i % 2 ? 1 : 3, other[i],
                        i % 3 == 0);
            }
        }

        rig_step(r, &b);

        for (i = 0; i < n; i++) {
            errors[at + i] =
                rig_error(r, me + i,
                          want + (size_t) (at + i) * r->toy.conf.n_vocab, out);
        }
    }

    free(out);

    n = TOKENS - w->prefix;
    qsort(errors + w->prefix, n, sizeof(double), by_size);
    return errors[TOKENS - 1 - (close ? n / 6 : 0)];
}


static int
by_size(const void *a, const void *b)
{
    double x, y;

    x = *(const double *) a;
    y = *(const double *) b;
    return x < y ? -1 : x > y;
}


/* Another sequence with the same beginning goes first. */
static void
prefix_copy(rig_t *r, const way_t *w, const int32_t *tokens,
            const uint32_t *pages)
{
    uint32_t    i, n, from[8];
    rig_batch_t b;

    for (i = 0; i < 8; i++) {
        from[i] = 55 + i;
    }

    rig_batch(&b);
    rig_add(&b, tokens, 0, w->prefix, from, 0);
    rig_step(r, &b);

    for (i = 0; i * K_PAGE_TOKENS < w->prefix; i++) {
        n = w->prefix - i * K_PAGE_TOKENS;
        n = n < K_PAGE_TOKENS ? n : K_PAGE_TOKENS;
        r->ops->kv_copy(r->be, r->kv, pages[i], from[i], n);
    }
}
