/*
 * The default model, or another file, on the CPU backend, for tests: steps
 * over sequences whose KV pages follow each other (or go by a table), one
 * thread.
 */

#ifndef LLM_T_MODEL_REAL_H
#define LLM_T_MODEL_REAL_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "engine/model/model.h"
#include "t/lib/tap.h"

#define REAL_FILE  "SmolLM2-135M-Instruct.Q4_1.gguf"
#define REAL_SEQS  32
#define REAL_PAGES 256

/* Under ASan tests do less. */
#ifdef __SANITIZE_ADDRESS__
#define REAL_SAN 1
#else
#define REAL_SAN 0
#endif

typedef struct {
    k_backend_t  *be;
    model_t      *m;
    uint32_t      max_rows;
    uint32_t      turn; /* page i is page i * turn % n_pages; 1: in order */
    k_batch_t     batch;
    k_batch_seq_t seqs[REAL_SEQS];
    uint32_t      pages[REAL_SEQS][REAL_PAGES];
    int32_t      *tokens;
    uint32_t     *wanted;
} real_t;


/* A file of the cache; valid until the next call. */

static const char *
real_cached(const char *file)
{
    static char path[4096];
    const char *cache = getenv("NGX_LLM_CACHE");

    if (cache) {
        snprintf(path, sizeof(path), "%s/%s", cache, file);
    } else {
        snprintf(path, sizeof(path), "%s/.cache/ngx-llm/%s", getenv("HOME"),
                 file);
    }

    return path;
}


__attribute__((unused)) static const char *
real_path(void)
{
    return real_cached(REAL_FILE);
}


/* Ends the test with a reason where the model is not there, or time. */

__attribute__((unused)) static void
real_need(void)
{
    if (access(real_path(), R_OK) != 0) {
        skip_all("no default model (util/fetch-model smollm2-135m)");
    }

#ifdef __SANITIZE_THREAD__
    skip_all("takes minutes under TSan; t/kernels has small models");
#endif
}


__attribute__((noreturn, unused)) static void
real_fail(const char *what, const char *err)
{
    printf("Bail out! %s: %s\n", what, err);
    exit(1);
}


/* What to open, and how; zeros are the usual. */

typedef struct {
    const char  *path; /* NULL: the default model */
    gguf_t      *file; /* instead of it; closed */
    k_isa_t      isa;
    k_act_mode_t act;
    uint32_t     threads;
    uint32_t     rows;
    uint32_t     seqs;
    uint32_t     context;
    quant_t      quant;
    uint64_t     memory;
    uint64_t     kv_bytes;
} real_conf_t;


/* 0, or -errno with a line in err: -ENOTSUP where an ISA is missing here. */

__attribute__((unused)) static int
real_try(real_t *r, const real_conf_t *c, char *err)
{
    model_params_t params;
    k_config_t     conf;
    gguf_t        *file;
    int            rc;

    memset(r, 0, sizeof(*r));
    conf = (k_config_t){.threads = c->threads,
                        .isa = c->isa,
                        .act = c->act,
                        .memory = c->memory ? c->memory : 2ull << 30};

    rc = k_backend_cpu.open(&conf, &r->be, err);
    if (rc != 0) {
        gguf_close(c->file);
        return rc;
    }

    file = c->file;
    if (file == NULL) {
        rc = gguf_open(c->path ? c->path : real_path(), &file, err, K_ERR_MAX);
    }
    if (rc != 0) {
        k_backend_cpu.close(r->be);
        return rc;
    }

    params = (model_params_t){.ops = &k_backend_cpu,
                              .be = r->be,
                              .context = c->context,
                              .quant = c->quant,
                              .kv_bytes = c->kv_bytes ? c->kv_bytes : 400 << 20,
                              .limits = {c->rows, c->seqs, c->rows}};

    rc = model_load(file, &params, &r->m, err);
    gguf_close(file);

    if (rc != 0) {
        k_backend_cpu.close(r->be);
        return rc;
    }

    r->max_rows = c->rows;
    r->turn = 1;
    r->tokens = calloc(c->rows, sizeof(int32_t));
    r->wanted = calloc(c->rows, sizeof(uint32_t));

    return 0;
}


/* 0, or -1 where this machine lacks the instruction set. */

__attribute__((unused)) static int
real_open(real_t *r, k_isa_t isa, k_act_mode_t act, uint32_t threads,
          uint32_t rows, uint32_t seqs)
{
    real_conf_t conf = {
        .isa = isa, .act = act, .threads = threads, .rows = rows, .seqs = seqs};
    char err[K_ERR_MAX];
    int  rc;

    rc = real_try(r, &conf, err);
    if (rc == 0) {
        return 0;
    }

    if (rc != -ENOTSUP || isa == K_ISA_AUTO) {
        real_fail("open", err);
    }

    return -1;
}


__attribute__((unused)) static void
real_close(real_t *r)
{
    model_free(r->m);
    k_backend_cpu.close(r->be);
    free(r->tokens);
    free(r->wanted);
}


/* A step: begin, add sequences, say which rows' logits are wanted, run. */

__attribute__((unused)) static void
real_begin(real_t *r)
{
    r->batch = (k_batch_t){.tokens = r->tokens,
                           .seqs = r->seqs,
                           .logit_rows = r->wanted};
}


/* Its pages are those from `page` on; returns its first row. */

__attribute__((unused)) static uint32_t
real_add(real_t *r, const int32_t *tokens, uint32_t n, uint32_t pos,
         uint32_t page)
{
    k_batch_t *b = &r->batch;
    uint32_t   i, row = b->n_rows, last = (pos + n - 1) / K_PAGE_TOKENS;

    if (b->n_seqs == REAL_SEQS || row + n > r->max_rows || last >= REAL_PAGES
        || page + last >= r->m->n_pages) {
        real_fail("add", "no room");
    }

    for (i = 0; i <= last; i++) {
        r->pages[b->n_seqs][i] =
            (uint32_t) ((uint64_t) (page + i) * r->turn % r->m->n_pages);
    }

    memcpy(r->tokens + row, tokens, n * sizeof(int32_t));
    r->seqs[b->n_seqs] = (k_batch_seq_t){
        .row = row, .n = n, .pos = pos, .pages = r->pages[b->n_seqs]};
    b->n_seqs++;
    b->n_rows += n;

    return row;
}


__attribute__((unused)) static void
real_want(real_t *r, uint32_t row)
{
    r->wanted[r->batch.n_logits++] = row;
}


__attribute__((unused)) static void
real_run(real_t *r)
{
    int rc;

    rc = r->m->ops->step_submit(r->m->exec, &r->batch);
    rc = rc ? rc : r->m->ops->step_wait(r->m->exec);

    if (rc != 0) {
        real_fail("step", strerror(-rc));
    }
}


/* A step of one sequence. */

__attribute__((unused)) static void
real_one(real_t *r, const int32_t *tokens, uint32_t n, uint32_t pos,
         uint32_t page, const uint32_t *wanted, uint32_t n_wanted)
{
    uint32_t i;

    real_begin(r);
    real_add(r, tokens, n, pos, page);

    for (i = 0; i < n_wanted; i++) {
        real_want(r, wanted[i]);
    }

    real_run(r);
}


__attribute__((unused)) static void
real_logits(real_t *r, uint32_t i, float *out)
{
    r->m->ops->logits(r->m->exec, i, out);
}

#endif /* LLM_T_MODEL_REAL_H */
