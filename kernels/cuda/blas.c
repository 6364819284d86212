/*
 * Products of many rows, by cuBLASLt: Y[rows][n] = X[rows][k] W[n][k]^T in
 * row-major memory is Y^T = W^T^T X^T in the library's column-major one:
 *
 *     A = W: k x n, ld k, transposed      M = n
 *     B = X: k x rows, ld x_ld            N = rows
 *     C = D = Y: n x rows, ld y_ld        K = k
 *
 * the form (TN) that all its kernels know, E4M3's too.  Sums are F32, also
 * those of work that is split over k, in a fixed order.
 *
 * ALGORITHMS.  A shape takes what tuning has found for it (blas_tune.c), else
 * what it has found for the next larger number of rows, if that fits, else the
 * library's first guess.  Rows that differ from step to step are looked up in
 * a small table of what was decided last.
 *
 * THREADS.  Products come from the step loop, tuning from the loader's thread
 * at the same time: there are descriptors for each, tuning works on the
 * loader's stream and with a workspace of its own, and what they share has a
 * lock that is held for microseconds.
 *
 * MEMORY.  Descriptors and tables are made once; the workspace is the arena's.
 * A product allocates nothing.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/blas.h"

#define ALIGN_MAX 16u


static int                  make_descs(cu_blas_t *b, cu_descs_t *d);
static void                 free_descs(cu_blas_t *b, cu_descs_t *d);
static void                 cache_path(cu_blas_t *b, const char *folder);
static uint32_t             alignment(const cu_gemm_t *g);
static int                  choose(cu_blas_t *b, const cu_gemm_t *g, const cu_shape_t *s,
                                   cublasLtMatmulAlgo_t *algo);
static cublasLtMatmulDesc_t describe(cu_blas_t *b, cu_descs_t *d, const cu_gemm_t *g);


const cu_blas_type_t cu_blas_types[] = {
    [CU_F32] = {CUDA_R_32F, 4},
    [CU_F16] = {CUDA_R_16F, 2},
    [CU_BF16] = {CUDA_R_16BF, 2},
    [CU_F8] = {CUDA_R_8F_E4M3, 1},
};


int
cu_blas_new(cu_blas_t **out, k_backend_t *be, const char *cache, char *err)
{
    int        rc;
    cu_blas_t *b;

    b = calloc(1, sizeof(cu_blas_t));
    if (b == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }

    b->be = be;
    b->deadline = UINT64_MAX;
    pthread_mutex_init(&b->lock, NULL);

    rc = cu_blas_load(&b->api, err);
    if (rc != 0) {
        cu_blas_free(b);
        return rc;
    }

    b->version = (unsigned) b->api.GetVersion();
    b->algos = calloc(1, sizeof(cu_algos_t));
    b->workspace = cu_alloc(be, CU_WORKSPACE, "cuBLASLt's workspace", err);

    if (b->algos == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
    }
    if (b->algos == NULL || b->workspace == NULL) {
        cu_blas_free(b);
        return -ENOMEM;
    }

    if (b->api.Create(&b->lt) != CUBLAS_STATUS_SUCCESS || make_descs(b, &b->step) != 0
        || make_descs(b, &b->tune) != 0 || cudaEventCreate(&b->from) != cudaSuccess
        || cudaEventCreate(&b->to) != cudaSuccess) {
        snprintf(err, K_ERR_MAX, "cuBLASLt %u does not start", b->version);
        cu_blas_free(b);
        return -EIO;
    }

    if (cache != NULL) {
        cache_path(b, cache);
        (void) cu_algos_load(b->algos, b->path);
    }

    *out = b;
    return 0;
}


void
cu_blas_free(cu_blas_t *b)
{
    if (b == NULL) {
        return;
    }

    free_descs(b, &b->step);
    free_descs(b, &b->tune);

    if (b->lt != NULL) {
        (void) b->api.Destroy(b->lt);
    }
    if (b->from != NULL) {
        (void) cudaEventDestroy(b->from);
    }
    if (b->to != NULL) {
        (void) cudaEventDestroy(b->to);
    }

    cu_blas_unload(&b->api);
    cu_arena_free(b->be->arena, b->workspace, CU_WORKSPACE);
    pthread_mutex_destroy(&b->lock);
    free(b->algos);
    free(b);
}


void
cu_blas_describe(const cu_blas_t *b, char *out, size_t size)
{
    if (b == NULL) {
        snprintf(out, size, "no cuBLASLt");
        return;
    }

    snprintf(out, size, "cuBLASLt %u.%u", b->version / 10000, b->version % 10000 / 100);
}


/* Whatever changes what an algorithm means is in the name. */
static void
cache_path(cu_blas_t *b, const char *folder)
{
    int    n, driver;
    char   name[64];
    size_t i;

    driver = 0;
    (void) cudaDriverGetVersion(&driver);
    snprintf(name, sizeof(name), "%s", b->be->name);

    for (i = 0; name[i] != '\0'; i++) {
        if (!((name[i] >= '0' && name[i] <= '9') || (name[i] >= 'A' && name[i] <= 'Z')
              || (name[i] >= 'a' && name[i] <= 'z'))) {
            name[i] = '-';
        }
    }

    n = snprintf(b->path, sizeof(b->path), "%s/cublaslt-%s-%d-%u-%d.txt", folder, name, b->be->sms,
                 b->version, driver);
    if (n >= (int) sizeof(b->path)) {
        b->path[0] = '\0';
    }
}


static int
make_descs(cu_blas_t *b, cu_descs_t *d)
{
    int8_t               fast;
    int32_t              trans;
    uint64_t             most;
    const cu_blas_api_t *api;

    api = &b->api;
    trans = CUBLAS_OP_T;
    most = CU_WORKSPACE;

    /* E4M3: tensor cores' own accumulators, as every engine of this kind. */
    fast = 1;

    if (api->MatmulDescCreate(&d->op, CUBLAS_COMPUTE_32F, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS
        || api->MatmulDescCreate(&d->op8, CUBLAS_COMPUTE_32F, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS
        || api->MatrixLayoutCreate(&d->w, CUDA_R_32F, 1, 1, 1) != CUBLAS_STATUS_SUCCESS
        || api->MatrixLayoutCreate(&d->x, CUDA_R_32F, 1, 1, 1) != CUBLAS_STATUS_SUCCESS
        || api->MatrixLayoutCreate(&d->y, CUDA_R_32F, 1, 1, 1) != CUBLAS_STATUS_SUCCESS
        || api->MatmulPreferenceCreate(&d->pref) != CUBLAS_STATUS_SUCCESS) {
        return -EIO;
    }

    if (api->MatmulDescSetAttribute(d->op, CUBLASLT_MATMUL_DESC_TRANSA, &trans, sizeof(trans))
            != CUBLAS_STATUS_SUCCESS
        || api->MatmulDescSetAttribute(d->op8, CUBLASLT_MATMUL_DESC_TRANSA, &trans, sizeof(trans))
               != CUBLAS_STATUS_SUCCESS
        || api->MatmulDescSetAttribute(d->op8, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof(fast))
               != CUBLAS_STATUS_SUCCESS
        || api->MatmulPreferenceSetAttribute(d->pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &most, sizeof(most))
               != CUBLAS_STATUS_SUCCESS) {
        return -EIO;
    }

    return 0;
}


static void
free_descs(cu_blas_t *b, cu_descs_t *d)
{
    const cu_blas_api_t *api;

    api = &b->api;

    if (d->op != NULL) {
        (void) api->MatmulDescDestroy(d->op);
    }
    if (d->op8 != NULL) {
        (void) api->MatmulDescDestroy(d->op8);
    }
    if (d->w != NULL) {
        (void) api->MatrixLayoutDestroy(d->w);
    }
    if (d->x != NULL) {
        (void) api->MatrixLayoutDestroy(d->x);
    }
    if (d->y != NULL) {
        (void) api->MatrixLayoutDestroy(d->y);
    }
    if (d->pref != NULL) {
        (void) api->MatmulPreferenceDestroy(d->pref);
    }
}


int
cu_blas_mul(cu_blas_t *b, const cu_gemm_t *g, cudaStream_t stream)
{
    int                  rc;
    cu_recent_t         *r;
    cu_shape_t           s;
    cublasLtMatmulAlgo_t algo;

    if (b == NULL) {
        return -ENOTSUP;
    }

    rc = cu_blas_shape(b, g, &s);
    if (rc != 0) {
        return rc;
    }

    pthread_mutex_lock(&b->lock);

    r = &b->recent[cu_shape_hash(&s) % CU_RECENT];

    if (r->shape.rows == 0 || !cu_shape_same(&r->shape, &s)) {
        r->rc = choose(b, g, &s, &r->algo);
        r->shape = s;
    }

    rc = r->rc;
    algo = r->algo;
    rc = rc == 0 ? cu_blas_enqueue(b, &b->step, g, &algo, b->workspace, stream) : rc;

    pthread_mutex_unlock(&b->lock);

    return rc;
}


/* What the library would refuse, or do wrong, is refused here. */
int
cu_blas_shape(const cu_blas_t *b, const cu_gemm_t *g, cu_shape_t *s)
{
    int f8;

    if (g->rows == 0 || g->n == 0 || g->k == 0 || g->x_ld < g->k || g->y_ld < g->n
        || g->type > CU_F8 || (g->y_type != CU_F32 && g->y_type != g->type && g->type != CU_F8)) {
        return -EINVAL;
    }

    f8 = g->type == CU_F8;
    *s = (cu_shape_t){.type = (uint8_t) g->type,
                      .y_type = (uint8_t) g->y_type,
                      .add = g->add != 0,
                      .align = (uint8_t) alignment(g),
                      .n = g->n,
                      .k = g->k,
                      .rows = g->rows};

    /* Products of E4M3 without their scales are beyond F16. */
    if (f8
        && ((g->y_type != CU_F32 && g->y_type != CU_BF16) || g->k % 16 != 0 || g->n % 16 != 0
            || s->align != ALIGN_MAX || b->be->major * 10 + b->be->minor < 89)) {
        return -ENOTSUP;
    }

    /* Elements that lie across their own alignment: no kernel reads those. */
    if (s->align < cu_blas_types[g->type].elem || s->align < cu_blas_types[g->y_type].elem) {
        return -EINVAL;
    }

    return 0;
}


/* What all pointers and rows are multiples of, 16 at most. */
static uint32_t
alignment(const cu_gemm_t *g)
{
    uintptr_t all;

    all = (uintptr_t) g->x | (uintptr_t) g->w | (uintptr_t) g->y | ALIGN_MAX;
    all |= (uintptr_t) g->x_ld * cu_blas_types[g->type].elem;
    all |= (uintptr_t) g->k * cu_blas_types[g->type].elem;
    all |= (uintptr_t) g->y_ld * cu_blas_types[g->y_type].elem;

    return (uint32_t) (all & (~all + 1));
}


/* Under the lock: of `step`'s shapes. */
static int
choose(cu_blas_t *b, const cu_gemm_t *g, const cu_shape_t *s, cublasLtMatmulAlgo_t *algo)
{
    cu_algo_t                      *a;
    cublasLtMatmulHeuristicResult_t first;

    for (a = cu_algos_find(b->algos, s); a != NULL && !a->bad; a = NULL) {
        if (a->checked || cu_blas_usable(b, &b->step, g, &a->algo)) {
            a->checked = 1;
            *algo = a->algo;
            return 0;
        }
        a->bad = 1;
    }

    a = cu_algos_above(b->algos, s);
    if (a != NULL && cu_blas_usable(b, &b->step, g, &a->algo)) {
        *algo = a->algo;
        return 0;
    }

    if (cu_blas_candidates(b, &b->step, g, s, &first, 1) != 1) {
        return -ENOTSUP;
    }

    *algo = first.algo;

    return 0;
}


/* The descriptors become g's. */
static cublasLtMatmulDesc_t
describe(cu_blas_t *b, cu_descs_t *d, const cu_gemm_t *g)
{
    size_t                 i;
    int64_t                ld;
    uint32_t               type;
    uint64_t               rows, cols;
    cublasLtMatrixLayout_t m;

    const struct {
        cublasLtMatrixLayout_t m;
        cu_type_t              type;
        uint32_t               rows;
        uint32_t               cols;
        uint32_t               ld;
    } all[] = {
        {d->w, g->type, g->k, g->n, g->k},
        {d->x, g->type, g->k, g->rows, g->x_ld},
        {d->y, g->y_type, g->n, g->rows, g->y_ld},
    };

    /* These only store: they do not fail. */
    for (i = 0; i < 3; i++) {
        m = all[i].m;
        type = cu_blas_types[all[i].type].type;
        rows = all[i].rows;
        cols = all[i].cols;
        ld = all[i].ld;
        (void) b->api.MatrixLayoutSetAttribute(m, CUBLASLT_MATRIX_LAYOUT_TYPE, &type, sizeof(type));
        (void) b->api.MatrixLayoutSetAttribute(m, CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, sizeof(rows));
        (void) b->api.MatrixLayoutSetAttribute(m, CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof(cols));
        (void) b->api.MatrixLayoutSetAttribute(m, CUBLASLT_MATRIX_LAYOUT_LD, &ld, sizeof(ld));
    }

    return g->type == CU_F8 ? d->op8 : d->op;
}


int
cu_blas_candidates(cu_blas_t *b, cu_descs_t *d, const cu_gemm_t *g, const cu_shape_t *s,
                   cublasLtMatmulHeuristicResult_t *r, int most)
{
    int                  n, i, kept;
    size_t               j;
    uint32_t             align, sums;
    cublasStatus_t       rc;
    cublasLtMatmulDesc_t op;

    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    };

    op = describe(b, d, g);
    align = s->align;

    /* Parts of split sums in F32: those in a narrower output lose digits. */
    sums = g->y_type == CU_F32 ? CUBLASLT_REDUCTION_SCHEME_MASK
                               : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    (void) b->api.MatmulPreferenceSetAttribute(d->pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                               &sums, sizeof(sums));

    for (j = 0; j < sizeof(aligned) / sizeof(aligned[0]); j++) {
        (void) b->api.MatmulPreferenceSetAttribute(d->pref, aligned[j], &align, sizeof(align));
    }

    n = 0;
    rc = b->api.MatmulAlgoGetHeuristic(b->lt, op, d->w, d->x, d->y, d->y, d->pref, most, r, &n);
    if (rc != CUBLAS_STATUS_SUCCESS) {
        return 0;
    }

    kept = 0;

    for (i = 0; i < n && i < most; i++) {
        if (r[i].state == CUBLAS_STATUS_SUCCESS && r[i].workspaceSize <= CU_WORKSPACE) {
            r[kept++] = r[i];
        }
    }

    return kept;
}


int
cu_blas_usable(cu_blas_t *b, cu_descs_t *d, const cu_gemm_t *g, const cublasLtMatmulAlgo_t *algo)
{
    cublasLtMatmulDesc_t            op;
    cublasLtMatmulHeuristicResult_t r;

    op = describe(b, d, g);
    memset(&r, 0, sizeof(r));

    return b->api.MatmulAlgoCheck(b->lt, op, d->w, d->x, d->y, d->y, algo, &r)
               == CUBLAS_STATUS_SUCCESS
           && r.state == CUBLAS_STATUS_SUCCESS && r.workspaceSize <= CU_WORKSPACE;
}


int
cu_blas_enqueue(cu_blas_t *b, cu_descs_t *d, const cu_gemm_t *g, const cublasLtMatmulAlgo_t *algo,
                void *workspace, cudaStream_t stream)
{
    float                alpha, beta;
    cublasStatus_t       rc;
    cublasLtMatmulDesc_t op;

    alpha = 1;
    beta = g->add ? 1 : 0;
    op = describe(b, d, g);

    rc = b->api.Matmul(b->lt, op, &alpha, g->w, d->w, g->x, d->x, &beta, g->y, d->y, g->y, d->y,
                       algo, workspace, CU_WORKSPACE, stream);

    switch (rc) {

    case CUBLAS_STATUS_SUCCESS:
        return 0;

    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_INVALID_VALUE:
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return -ENOTSUP;

    default:
        fprintf(stderr, "cuda: cublasLtMatmul of %u x %u x %u: status %d\n", g->rows, g->n, g->k,
                (int) rc);
        return -EIO;
    }
}
