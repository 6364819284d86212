/*
 * The CPU backend's door: open and close, KV pages, and the table of
 * functions that backend.h asks for.
 *
 * weights_load() and weights_free() may run on a loader's thread while steps
 * run: they share only the arena, which has a lock.  Everything else is
 * called by one thread at a time.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/selftest.h"


static int  k_cpu_open(const k_config_t *conf, k_backend_t **be, char *err);
static void k_cpu_close(k_backend_t *be);
static const char *k_cpu_describe(k_backend_t *be);
static void     k_cpu_memory(k_backend_t *be, uint64_t *size, uint64_t *used);
static uint32_t k_kv_elem(const k_backend_t *be);
static uint64_t k_cpu_kv_layout(k_backend_t *be, const k_program_t *prog);
static int      k_cpu_kv_new(k_backend_t *be, const k_program_t *prog,
                             uint32_t n_pages, k_kv_t **kv, char *err);
static void     k_cpu_kv_free(k_backend_t *be, k_kv_t *kv);
static void     k_cpu_kv_copy(k_backend_t *be, k_kv_t *kv, uint32_t dst,
                              uint32_t src, uint32_t n);
static int      k_cpu_step_wait(k_exec_t *exec);
static int      k_cpu_logits(k_exec_t *exec, uint32_t i, float *out);


const k_backend_ops_t k_backend_cpu = {
    .name = "cpu",
    .open = k_cpu_open,
    .close = k_cpu_close,
    .describe = k_cpu_describe,
    .memory = k_cpu_memory,
    .weights_load = k_cpu_weights_load,
    .weights_free = k_cpu_weights_free,
    .kv_layout = k_cpu_kv_layout,
    .kv_new = k_cpu_kv_new,
    .kv_free = k_cpu_kv_free,
    .kv_copy = k_cpu_kv_copy,
    .program_prepare = k_exec_prepare,
    .program_free = k_exec_free,
    .step_submit = k_step_submit,
    .step_wait = k_cpu_step_wait,
    .sample = k_sample_rows,
    .logits = k_cpu_logits,
};


static int
k_cpu_open(const k_config_t *conf, k_backend_t **out, char *err)
{
    const char  *bad;
    int          rc;
    k_isa_t      isa;
    k_backend_t *be;

    rc = k_isa_resolve(conf->isa, &isa);
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "this CPU has no %s", k_isa_name(conf->isa));
        return rc;
    }

    bad = k_selftest(isa);

    /* What was chosen for the user gives way; what he forced does not. */
    if (bad != NULL && conf->isa != K_ISA_AUTO) {
        snprintf(err, K_ERR_MAX, "%s kernels fail their self-test: %s",
                 k_isa_name(isa), bad);
        return -EIO;
    }

    while (bad != NULL) {
        isa = isa == K_ISA_AVX512 ? K_ISA_AVX2 : K_ISA_SCALAR;
        bad = k_selftest(isa);
    }

    be = calloc(1, sizeof(k_backend_t));
    if (be == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }

    be->conf = *conf;
    be->isa = isa;
    be->fallback = conf->isa == K_ISA_AUTO && isa != k_isa_detect();
    be->simd = k_simd_table(isa);

    rc = k_arena_new(&be->arena, conf->memory);
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "cannot reserve an arena of %llu bytes: %s",
                 (unsigned long long) conf->memory, strerror(-rc));
        free(be);
        return rc;
    }

    rc = k_pool_new(&be->pool, conf->threads, conf->nice);
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "cannot start %u compute threads: %s",
                 conf->threads, strerror(-rc));
        k_arena_destroy(be->arena);
        free(be);
        return rc;
    }

    *out = be;
    return 0;
}


static void
k_cpu_close(k_backend_t *be)
{
    if (be == NULL) {
        return;
    }

    k_pool_destroy(be->pool);
    k_arena_destroy(be->arena);
    free(be);
}


static const char *
k_cpu_describe(k_backend_t *be)
{
    uint64_t size, used, most;

    k_arena_stat(be->arena, &size, &used, &most);

    snprintf(be->line, sizeof(be->line),
             "cpu: %s%s, %u threads, %s activations, arena %llu of %llu MiB",
             k_isa_name(be->isa),
             be->fallback ? " (better kernels failed their self-test)" : "",
             k_pool_size(be->pool), be->conf.act == K_ACT_F32 ? "f32" : "int8",
             (unsigned long long) (used >> 20),
             (unsigned long long) (size >> 20));

    return be->line;
}


static void
k_cpu_memory(k_backend_t *be, uint64_t *size, uint64_t *used)
{
    uint64_t most;

    k_arena_stat(be->arena, size, used, &most);
}


/* NULL: does not fit; err says what does. */
void *
k_cpu_alloc(k_backend_t *be, uint64_t size, const char *what, char *err)
{
    void    *p;
    uint64_t all, used, most;

    p = k_arena_alloc(be->arena, size);
    if (p == NULL) {
        k_arena_stat(be->arena, &all, &used, &most);
        snprintf(err, K_ERR_MAX,
                 "%s: needs %llu bytes; of %llu are %llu in use, the largest "
                 "free range has %llu",
                 what, (unsigned long long) size, (unsigned long long) all,
                 (unsigned long long) used, (unsigned long long) most);
    }

    return p;
}


static uint64_t
k_kv_tile(const k_backend_t *be, const k_program_t *prog)
{
    uint64_t pad;

    pad = (prog->head_dim + 15) & ~15u;
    return (prog->head_dim + pad) * K_PAGE_TOKENS * k_kv_elem(be);
}


static uint32_t
k_kv_elem(const k_backend_t *be)
{
    return be->conf.act == K_ACT_F32 ? sizeof(float) : sizeof(uint16_t);
}


static uint64_t
k_cpu_kv_layout(k_backend_t *be, const k_program_t *prog)
{
    return k_kv_tile(be, prog) * prog->n_layer * prog->n_kv;
}


static int
k_cpu_kv_new(k_backend_t *be, const k_program_t *prog, uint32_t n_pages,
             k_kv_t **out, char *err)
{
    k_kv_t *kv;

    if (n_pages == 0 || prog->n_layer == 0 || prog->n_layer > K_MAX_DIM
        || prog->n_kv == 0 || prog->n_kv > K_MAX_DIM || prog->head_dim == 0
        || prog->head_dim % 2 != 0 || prog->head_dim > 4096
        || (uint64_t) prog->n_layer * prog->n_kv > 1u << 24) {
        snprintf(err, K_ERR_MAX,
                 "no KV pool of %u pages, %u layers, %u heads of %u", n_pages,
                 prog->n_layer, prog->n_kv, prog->head_dim);
        return -EINVAL;
    }

    kv = calloc(1, sizeof(k_kv_t));
    if (kv == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }

    kv->be = be;
    kv->n_pages = n_pages;
    kv->n_layer = prog->n_layer;
    kv->n_kv = prog->n_kv;
    kv->head_dim = prog->head_dim;
    kv->hd_pad = (prog->head_dim + 15) & ~15u;
    kv->elem = k_kv_elem(be);
    kv->tile = k_kv_tile(be, prog);
    kv->page = k_cpu_kv_layout(be, prog);

    if (kv->page > UINT64_MAX / n_pages) {
        snprintf(err, K_ERR_MAX, "KV cache: %u pages are too many", n_pages);
        free(kv);
        return -ENOMEM;
    }

    kv->size = kv->page * n_pages;
    kv->mem = k_cpu_alloc(be, kv->size, "KV cache", err);
    if (kv->mem == NULL) {
        free(kv);
        return -ENOMEM;
    }

    *out = kv;
    return 0;
}


static void
k_cpu_kv_free(k_backend_t *be, k_kv_t *kv)
{
    if (kv == NULL) {
        return;
    }

    k_arena_free(be->arena, kv->mem, kv->size);
    free(kv);
}


static void
k_cpu_kv_copy(k_backend_t *be, k_kv_t *kv, uint32_t dst, uint32_t src,
              uint32_t n)
{
    uint8_t *d;
    uint64_t i, j, k_size, row;
    uint8_t *s;

    if (dst >= kv->n_pages || src >= kv->n_pages || dst == src) {
        return;
    }

    n = n < K_PAGE_TOKENS ? n : K_PAGE_TOKENS;
    d = kv->mem + dst * kv->page;
    s = kv->mem + src * kv->page;
    k_size = (uint64_t) kv->head_dim * K_PAGE_TOKENS * kv->elem;
    row = (uint64_t) K_PAGE_TOKENS * kv->elem;

    for (i = 0; i < (uint64_t) kv->n_layer * kv->n_kv; i++) {
        for (j = 0; j < k_size; j += row) {
            memcpy(d + j, s + j, n * kv->elem);
        }
        memcpy(d + k_size, s + k_size, (size_t) n * kv->hd_pad * kv->elem);
        d += kv->tile;
        s += kv->tile;
    }
}


/* A step is done when step_submit() returns. */
static int
k_cpu_step_wait(k_exec_t *exec)
{
    return 0;
}


static int
k_cpu_logits(k_exec_t *exec, uint32_t i, float *out)
{
    if (i >= exec->n_logits) {
        return -EINVAL;
    }

    memcpy(out, exec->l + (size_t) i * exec->vocab_ld,
           exec->prog.n_vocab * sizeof(float));
    return 0;
}
