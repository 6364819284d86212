/*
 * cuBLASLt's algorithms found by timing: its own guess is often not its best.
 *
 * For a shape that is not known the library names its CANDIDATES best guesses;
 * each is run up to RUNS times, the quickest run counts, the quickest of all
 * is kept and written to the cache.  Weights that would lie in the L2 cache
 * from one run to the next, which they do not in a model, are driven out
 * before each run by reading other memory (not writing: dirty lines would cost
 * the run that evicts them).
 *
 * Called by the loader's thread while steps run on theirs: works on the
 * loader's stream under load_lock, with descriptors and a workspace of its
 * own; steps of another model make the times worse, for all candidates alike.
 * A program's tuning has ALLOWANCE of time; what is unknown then stays so.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/cuda/blas.h"

#define CANDIDATES 16
#define RUNS       5             /* of one candidate, at most */
#define HOPELESS   1.3f          /* times the best: it is not run again */
#define ALLOWANCE  1500000000ull /* ns */
#define FLUSH      (16u << 20)   /* cu_roof_read()'s unit */
#define FLUSH_MIN  (1u << 20)    /* weights of less are not worth it */


/* A shape being tuned. */
typedef struct {
    const cu_gemm_t *gemm;
    cu_shape_t       shape;
    void            *workspace;
    void            *flush;
    uint64_t         flush_size;
    int              partial; /* there was no time for all candidates */
} trial_t;


static int      known(cu_blas_t *b, const cu_gemm_t *g, const cu_shape_t *s);
static void     keep(cu_blas_t *b, const trial_t *t, const cublasLtMatmulAlgo_t *algo, uint32_t ns);
static int      try_all(cu_blas_t *b, trial_t *t, cublasLtMatmulAlgo_t *algo, uint32_t *ns);
static int      try_one(cu_blas_t *b, trial_t *t, const cublasLtMatmulAlgo_t *algo, float best,
                        float *ms);
static uint64_t now_ns(void);


void
cu_blas_begin(cu_blas_t *b)
{
    if (b != NULL) {
        b->deadline = now_ns() + ALLOWANCE;
    }
}


void
cu_blas_end(cu_blas_t *b)
{
    cu_algos_t *copy;

    if (b == NULL) {
        return;
    }

    b->deadline = UINT64_MAX;

    if (b->path[0] == '\0') {
        return;
    }

    /* No step waits for the disk. */
    copy = malloc(sizeof(cu_algos_t));
    if (copy == NULL) {
        return;
    }

    pthread_mutex_lock(&b->lock);
    memcpy(copy, b->algos, sizeof(cu_algos_t));
    b->algos->dirty = 0;
    pthread_mutex_unlock(&b->lock);

    (void) cu_algos_save(copy, b->path);
    free(copy);
}


int
cu_blas_tune(cu_blas_t *b, const cu_gemm_t *g)
{
    int                  rc;
    trial_t              t;
    uint32_t             ns;
    k_backend_t         *be;
    cublasLtMatmulAlgo_t algo;

    if (b == NULL) {
        return -ENOTSUP;
    }

    memset(&t, 0, sizeof(t));
    t.gemm = g;
    be = b->be;

    rc = cu_blas_shape(b, g, &t.shape);
    if (rc != 0) {
        return rc;
    }

    rc = cu_bind(be);
    if (rc != 0) {
        return rc;
    }

    pthread_mutex_lock(&be->load_lock);

    if (now_ns() >= b->deadline || known(b, g, &t.shape)) {
        pthread_mutex_unlock(&be->load_lock);
        return 0;
    }

    /* Where there is no room for it, the first guess is taken, unmeasured. */
    t.workspace = cu_arena_alloc(be->arena, CU_WORKSPACE, 1);

    if ((uint64_t) g->n * g->k * cu_blas_types[g->type].elem >= FLUSH_MIN) {
        t.flush_size = (be->l2 * 2 + FLUSH - 1) / FLUSH * FLUSH;
        t.flush = cu_arena_alloc(be->arena, t.flush_size + CU_ALIGN, 1);
    }

    rc = t.workspace != NULL ? try_all(b, &t, &algo, &ns) : -EAGAIN;
    if (rc == 0) {
        keep(b, &t, &algo, ns);
    }

    cu_arena_free(be->arena, t.flush, t.flush_size + CU_ALIGN);
    cu_arena_free(be->arena, t.workspace, CU_WORKSPACE);

    pthread_mutex_unlock(&be->load_lock);

    return rc == -EAGAIN ? 0 : rc;
}


/* 1: found before, in this run or, says the library, rightly in another. */
static int
known(cu_blas_t *b, const cu_gemm_t *g, const cu_shape_t *s)
{
    int        yes;
    cu_algo_t *a;

    pthread_mutex_lock(&b->lock);

    a = cu_algos_find(b->algos, s);
    if (a != NULL && !a->bad && !a->checked) {
        a->checked = cu_blas_usable(b, &b->tune, g, &a->algo) ? 1 : 0;
        a->bad = !a->checked;
    }
    yes = a != NULL && !a->bad;

    pthread_mutex_unlock(&b->lock);

    return yes;
}


/* What is not the best of all is for this process only. */
static void
keep(cu_blas_t *b, const trial_t *t, const cublasLtMatmulAlgo_t *algo, uint32_t ns)
{
    cu_algo_t *a;

    pthread_mutex_lock(&b->lock);

    a = cu_algos_put(b->algos, &t->shape);
    if (a != NULL) {
        a->partial = t->partial != 0;
        a->ns = ns;
        a->algo = *algo;
        a->checked = 1;
        a->bad = 0;
        b->algos->dirty |= !t->partial;
    }

    /* What was decided without it is decided again. */
    memset(b->recent, 0, sizeof(b->recent));

    pthread_mutex_unlock(&b->lock);
}


/* -EAGAIN: no candidate has run; -EIO: the device has failed. */
static int
try_all(cu_blas_t *b, trial_t *t, cublasLtMatmulAlgo_t *algo, uint32_t *ns)
{
    int                             n, i, rc;
    float                           ms, best;
    cublasLtMatmulHeuristicResult_t r[CANDIDATES];

    n = cu_blas_candidates(b, &b->tune, t->gemm, &t->shape, r, CANDIDATES);
    best = 0;

    for (i = 0; i < n && now_ns() < b->deadline; i++) {
        rc = try_one(b, t, &r[i].algo, best, &ms);
        if (rc == -EIO) {
            return rc;
        }
        if (rc == 0 && (best == 0 || ms < best)) {
            best = ms;
            *algo = r[i].algo;
        }
    }

    t->partial = i < n;
    *ns = (uint32_t) (best * 1e6f);

    return best > 0 ? 0 : -EAGAIN;
}


/* Its best time; the first run, which may load code, does not count. */
static int
try_one(cu_blas_t *b, trial_t *t, const cublasLtMatmulAlgo_t *algo, float best, float *ms)
{
    int          rc, i;
    float        one;
    uint32_t    *sink;
    cudaStream_t s;

    s = b->be->load_stream;
    sink = t->flush != NULL ? (uint32_t *) ((uint8_t *) t->flush + t->flush_size) : NULL;

    rc = cu_blas_enqueue(b, &b->tune, t->gemm, algo, t->workspace, s);
    rc = rc == 0 ? cu_check(cudaStreamSynchronize(s), "tuning a product") : rc;
    *ms = 0;

    for (i = 0; i < RUNS && rc == 0; i++) {
        if (t->flush != NULL && t->flush_size != 0) {
            rc = cu_roof_read(t->flush, t->flush_size, sink, s);
        }
        rc = rc == 0 ? cu_check(cudaEventRecord(b->from, s), "tuning a product") : rc;
        rc = rc == 0 ? cu_blas_enqueue(b, &b->tune, t->gemm, algo, t->workspace, s) : rc;
        rc = rc == 0 ? cu_check(cudaEventRecord(b->to, s), "tuning a product") : rc;
        rc = rc == 0 ? cu_check(cudaEventSynchronize(b->to), "tuning a product") : rc;
        rc =
            rc == 0 ? cu_check(cudaEventElapsedTime(&one, b->from, b->to), "tuning a product") : rc;
        if (rc != 0) {
            break;
        }

        /* A clock that stood still has still told one run from none. */
        one = one > 1e-6f ? one : 1e-6f;
        *ms = i == 0 || one < *ms ? one : *ms;

        if ((best > 0 && *ms > HOPELESS * best) || now_ns() >= b->deadline) {
            break;
        }
    }

    return rc;
}


static uint64_t
now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}
