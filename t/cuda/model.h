/*
 * Whole step programs on the CUDA backend against the same models in double
 * precision (t/kernels/toy.h): sequences as one prefill, in chunks, token by
 * token, among others, on pages in any order, after a prefix was copied.  For
 * model.c and model_types.c, which have the models.
 *
 * Activations are BF16 or F16, which is nearly all of the error; `limit` of
 * each model is about three times what rounding comes to.
 */

#ifndef LLM_T_CUDA_MODEL_H
#define LLM_T_CUDA_MODEL_H

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
static void   cpu_logits(const model_t *m, const int32_t *tokens, double *out);
static void   prefix_copy(rig_t *r, const way_t *w, const int32_t *tokens,
                          const uint32_t *pages);


static const way_t ways[] = {
    {"at once", 0, TOKENS, 0, 1, 0, 0},
    {"among 5 others, the rest one by one", 33, 66, 3, 1, 5, 0},
    {"in chunks of 7, pages in any order", 7, TOKENS, 30, RIG_PAGES - 7, 0, 0},
    {"one by one, pages backwards", 1, 0, RIG_PAGES - 1, RIG_PAGES - 1, 0, 0},
    {"copied prefix of 45", 0, TOKENS, 20, 1, 0, 45},
};


/* MODEL=n: only that one. */
RIG_UNUSED void
model_all(const model_t *models, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (getenv("MODEL") == NULL || (size_t) atoi(getenv("MODEL")) == i) {
            model_run(&models[i]);
        }
    }
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

    if (m->all) {
        cpu_logits(m, tokens, want);
        worst = way_run(&r, &ways[0], tokens, want, m->close);
        ok(worst < m->limit, "%s, against the CPU backend: worst error %.1e",
           m->name, worst);
    }

    free(want);
    rig_close(&r);
}


/* What the CPU backend makes of the same model and tokens. */
static void
cpu_logits(const model_t *m, const int32_t *tokens, double *out)
{
    rig_t       r;
    float      *l;
    uint32_t    i, j, pages[4] = {0, 1, 2, 3};
    k_limits_t  limits = {128, 8, 128};
    rig_batch_t b;

    rig_open(&r, &k_backend_cpu, &m->conf, m->type, &limits, 0);
    rig_batch(&b);
    rig_add(&b, tokens, 0, TOKENS, pages, TOKENS);
    rig_step(&r, &b);

    l = malloc(m->conf.n_vocab * sizeof(float));
    for (i = 0; i < TOKENS; i++) {
        if (r.ops->logits(r.exec, i, l) != 0) {
            ok(0, "the CPU's logits");
        }
        for (j = 0; j < m->conf.n_vocab; j++) {
            out[(size_t) i * m->conf.n_vocab + j] = (double) l[j];
        }
    }

    free(l);
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

#endif /* LLM_T_CUDA_MODEL_H */
