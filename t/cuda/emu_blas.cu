/*
 * cuBLASLt for the emulated device, behind cu_blas.h's table: products with
 * F32 sums, in stream order, captured like a kernel.
 *
 * What the library does not support is refused here too: types that do not go
 * together, E4M3 in any form but TN, dimensions and addresses of it that are
 * no multiples of 16.  Algorithm 0 needs no workspace, 1 and 2 split k in two
 * and four and need room for the parts, 3 wants everything 16-byte aligned.
 * Work in the workspace is written and read when the product runs, so that two
 * streams with one workspace disagree.
 *
 * CU_EMU_BLAS=none: there is no such library.  CU_EMU_FAIL=blas:N: that call
 * of cublasLtMatmul() fails.
 */

#include <errno.h>

#include "kernels/backend.h"
#include "kernels/cuda/cu_blas.h"
#include "t/cuda/emu_rt.h"

#define BLAS_MAGIC 0x656d75626c617301u
#define BLAS_ALGOS 4

/* Inside the opaque structures, which have 64 and 256 bytes. */
typedef struct {
    uint64_t rows;
    uint64_t cols;
    int64_t  ld;
    uint32_t type;
    int32_t  order;
    int32_t  batch;
} blas_layout_t;

typedef struct {
    uint32_t     compute;
    uint32_t     scale;
    int32_t      trans_a;
    int32_t      trans_b;
    uint32_t     epilogue;
    uint32_t     fast;
    const float *scale_a;
    const float *scale_b;
} blas_desc_t;

typedef struct {
    uint64_t workspace;
    uint32_t reduction;
    uint32_t align[4];
} blas_pref_t;

/* A product, as it is queued. */
typedef struct {
    blas_layout_t a;
    blas_layout_t b;
    blas_layout_t c;
    blas_layout_t d;
    blas_desc_t   op;
    float         alpha;
    float         beta;
    const void   *pa;
    const void   *pb;
    const void   *pc;
    void         *pd;
    float        *parts;
    uint32_t      split;
} blas_mul_t;


static blas_layout_t *
blas_layout(cublasLtMatrixLayout_t l)
{
    static_assert(sizeof(blas_layout_t) <= sizeof(*l), "fits");
    return (blas_layout_t *) l;
}


static blas_desc_t *
blas_desc(cublasLtMatmulDesc_t d)
{
    static_assert(sizeof(blas_desc_t) <= sizeof(*d), "fits");
    return (blas_desc_t *) d;
}


static blas_pref_t *
blas_pref(cublasLtMatmulPreference_t p)
{
    static_assert(sizeof(blas_pref_t) <= sizeof(*p), "fits");
    return (blas_pref_t *) p;
}


static uint32_t
blas_size(uint32_t type)
{
    switch (type) {
    case CUDA_R_32F:
        return 4;
    case CUDA_R_16F:
    case CUDA_R_16BF:
        return 2;
    case CUDA_R_8F_E4M3:
        return 1;
    default:
        return 0;
    }
}


/* --- descriptors --- */

static cublasStatus_t
blas_create(cublasLtHandle_t *lt)
{
    *lt = (cublasLtHandle_t) calloc(1, 64);
    return CUBLAS_STATUS_SUCCESS;
}


static cublasStatus_t
blas_destroy(cublasLtHandle_t lt)
{
    free((void *) lt);
    return CUBLAS_STATUS_SUCCESS;
}


static size_t
blas_version()
{
    return CUBLAS_VER_MAJOR * 10000 + CUBLAS_VER_MINOR * 100 + CUBLAS_VER_PATCH;
}


static cublasStatus_t
blas_desc_create(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale)
{
    *desc = (cublasLtMatmulDesc_t) calloc(1, sizeof(**desc));
    blas_desc(*desc)->compute = compute;
    blas_desc(*desc)->scale = scale;
    return CUBLAS_STATUS_SUCCESS;
}


static cublasStatus_t
blas_desc_destroy(cublasLtMatmulDesc_t desc)
{
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}


/* Stores an attribute of exactly that size. */
static cublasStatus_t
blas_set(void *to, size_t want, const void *buf, size_t size)
{
    if (size != want || buf == NULL) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(to, buf, size);
    return CUBLAS_STATUS_SUCCESS;
}


static cublasStatus_t
blas_desc_set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attr, const void *buf,
              size_t size)
{
    blas_desc_t   *d = blas_desc(desc);
    int8_t         fast;
    cublasStatus_t rc;

    switch (attr) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
        return blas_set(&d->compute, 4, buf, size);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
        return blas_set(&d->scale, 4, buf, size);
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return blas_set(&d->trans_a, 4, buf, size);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return blas_set(&d->trans_b, 4, buf, size);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return blas_set(&d->epilogue, 4, buf, size);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
        return blas_set(&d->scale_a, 8, buf, size);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
        return blas_set(&d->scale_b, 8, buf, size);
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM:
        rc = blas_set(&fast, 1, buf, size);
        d->fast = rc == CUBLAS_STATUS_SUCCESS && fast;
        return rc;
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}


static cublasStatus_t
blas_layout_create(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows, uint64_t cols,
                   int64_t ld)
{
    *layout = (cublasLtMatrixLayout_t) calloc(1, sizeof(**layout));
    *blas_layout(*layout) = {rows, cols, ld, (uint32_t) type, CUBLASLT_ORDER_COL, 1};
    return CUBLAS_STATUS_SUCCESS;
}


static cublasStatus_t
blas_layout_destroy(cublasLtMatrixLayout_t layout)
{
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}


static cublasStatus_t
blas_layout_set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attr,
                const void *buf, size_t size)
{
    blas_layout_t *l = blas_layout(layout);

    switch (attr) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
        return blas_set(&l->type, 4, buf, size);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return blas_set(&l->order, 4, buf, size);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        return blas_set(&l->rows, 8, buf, size);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        return blas_set(&l->cols, 8, buf, size);
    case CUBLASLT_MATRIX_LAYOUT_LD:
        return blas_set(&l->ld, 8, buf, size);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return blas_set(&l->batch, 4, buf, size);
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}


static cublasStatus_t
blas_pref_create(cublasLtMatmulPreference_t *pref)
{
    *pref = (cublasLtMatmulPreference_t) calloc(1, sizeof(**pref));
    *blas_pref(*pref) = {0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}


static cublasStatus_t
blas_pref_destroy(cublasLtMatmulPreference_t pref)
{
    free(pref);
    return CUBLAS_STATUS_SUCCESS;
}


static cublasStatus_t
blas_pref_set(cublasLtMatmulPreference_t pref, cublasLtMatmulPreferenceAttributes_t attr,
              const void *buf, size_t size)
{
    blas_pref_t *p = blas_pref(pref);

    switch (attr) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return blas_set(&p->workspace, 8, buf, size);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return blas_set(&p->reduction, 4, buf, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return blas_set(&p->align[attr - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], 4, buf, size);
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}


/* --- what is supported --- */

/* Sums in F32: A and B, then C and D. */
static const struct {
    uint32_t in;
    uint32_t out;
} blas_types[] = {
    {CUDA_R_32F, CUDA_R_32F},      {CUDA_R_16F, CUDA_R_16F},     {CUDA_R_16F, CUDA_R_32F},
    {CUDA_R_16BF, CUDA_R_16BF},    {CUDA_R_16BF, CUDA_R_32F},    {CUDA_R_8F_E4M3, CUDA_R_32F},
    {CUDA_R_8F_E4M3, CUDA_R_16BF}, {CUDA_R_8F_E4M3, CUDA_R_16F},
};


static int
blas_known_types(const blas_layout_t *a, const blas_layout_t *b, const blas_layout_t *c,
                 const blas_layout_t *d)
{
    for (const auto &t : blas_types) {
        if (a->type == t.in && b->type == t.in && c->type == t.out && d->type == t.out) {
            return 1;
        }
    }
    return 0;
}


static cublasStatus_t
blas_supported(const blas_desc_t *op, const blas_layout_t *a, const blas_layout_t *b,
               const blas_layout_t *c, const blas_layout_t *d)
{
    uint64_t m = op->trans_a ? a->cols : a->rows, k = op->trans_a ? a->rows : a->cols;
    uint64_t n = op->trans_b ? b->rows : b->cols, kb = op->trans_b ? b->cols : b->rows;
    int      f8 = a->type == CUDA_R_8F_E4M3;

    const blas_layout_t *all[] = {a, b, c, d};

    for (const blas_layout_t *l : all) {
        if (l->rows == 0 || l->cols == 0 || l->ld < (int64_t) l->rows || l->batch != 1) {
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        if (l->order != CUBLASLT_ORDER_COL) {
            return CUBLAS_STATUS_NOT_SUPPORTED;
        }
        if (f8 && l->ld * blas_size(l->type) % 16 != 0) {
            return CUBLAS_STATUS_NOT_SUPPORTED;
        }
    }

    if (k != kb || c->rows != m || d->rows != m || c->cols != n || d->cols != n) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (op->compute != CUBLAS_COMPUTE_32F || op->scale != CUDA_R_32F
        || op->epilogue > CUBLASLT_EPILOGUE_DEFAULT || !blas_known_types(a, b, c, d)) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if ((op->scale_a || op->scale_b || op->fast) && !f8) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (f8 && (op->trans_a != CUBLAS_OP_T || op->trans_b != CUBLAS_OP_N || k % 16 || m % 16)) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    return CUBLAS_STATUS_SUCCESS;
}


static uint32_t
blas_split(uint64_t algo)
{
    return algo == 1 ? 2 : algo == 2 ? 4 : 1;
}


/* Fills r for an algorithm; the status is r's too. */
static cublasStatus_t
blas_result(uint64_t algo, const blas_desc_t *op, const blas_layout_t *a, const blas_layout_t *b,
            const blas_layout_t *c, const blas_layout_t *d, cublasLtMatmulHeuristicResult_t *r)
{
    uint32_t split = blas_split(algo);

    memset(r, 0, sizeof(*r));
    r->algo.data[0] = BLAS_MAGIC;
    r->algo.data[1] = algo;
    r->workspaceSize = split > 1 ? split * d->rows * d->cols * 4 : 0;
    r->wavesCount = 1;
    r->state = blas_supported(op, a, b, c, d);

    if (algo == 3
        && (a->ld * blas_size(a->type) % 16 || b->ld * blas_size(b->type) % 16
            || c->ld * blas_size(c->type) % 16 || d->ld * blas_size(d->type) % 16)) {
        r->state = CUBLAS_STATUS_NOT_SUPPORTED;
    }
    return r->state;
}


static cublasStatus_t
blas_heuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
               cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
               cublasLtMatmulPreference_t pref, int wanted,
               cublasLtMatmulHeuristicResult_t results[], int *n)
{
    blas_pref_t   *p = blas_pref(pref);
    int            aligned = 1;
    cublasStatus_t rc = blas_supported(blas_desc(desc), blas_layout(a), blas_layout(b),
                                       blas_layout(c), blas_layout(d));

    *n = 0;
    if (rc != CUBLAS_STATUS_SUCCESS) {
        return rc;
    }

    for (uint32_t align : p->align) {
        aligned &= align >= 16;
    }
    if (blas_layout(a)->type == CUDA_R_8F_E4M3 && !aligned) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }

    /* The last first: the guess that is the most particular. */
    for (int algo = BLAS_ALGOS - 1; algo >= 0 && *n < wanted; algo--) {
        cublasLtMatmulHeuristicResult_t *r = &results[*n];

        if ((blas_split((uint64_t) algo) > 1
             && !(p->reduction & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE))
            || (algo == 3 && !aligned)) {
            continue;
        }
        if (blas_result((uint64_t) algo, blas_desc(desc), blas_layout(a), blas_layout(b),
                        blas_layout(c), blas_layout(d), r)
                == CUBLAS_STATUS_SUCCESS
            && r->workspaceSize <= p->workspace) {
            (*n)++;
        }
    }

    return *n > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}


static cublasStatus_t
blas_check(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
           cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
           const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *r)
{
    if (algo == NULL || algo->data[0] != BLAS_MAGIC || algo->data[1] >= BLAS_ALGOS) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    return blas_result(algo->data[1], blas_desc(desc), blas_layout(a), blas_layout(b),
                       blas_layout(c), blas_layout(d), r);
}


/* --- the product --- */

static float
blas_value(const void *p, uint32_t type, size_t i)
{
    switch (type) {
    case CUDA_R_32F:
        return ((const float *) p)[i];
    case CUDA_R_16F:
        return __half2float(((const __half *) p)[i]);
    case CUDA_R_16BF:
        return __bfloat162float(((const __nv_bfloat16 *) p)[i]);
    default:
        return (float) ((const __nv_fp8_e4m3 *) p)[i];
    }
}


static void
blas_store(void *p, uint32_t type, size_t i, float v)
{
    switch (type) {
    case CUDA_R_32F:
        ((float *) p)[i] = v;
        break;
    case CUDA_R_16F:
        ((__half *) p)[i] = __float2half_rn(v);
        break;
    default:
        ((__nv_bfloat16 *) p)[i] = __float2bfloat16_rn(v);
    }
}


/* As floats, each column of op(X)'s k one after the other. */
static std::vector<float>
blas_floats(const void *p, const blas_layout_t *l, int k_first)
{
    size_t             k = k_first ? l->rows : l->cols, n = k_first ? l->cols : l->rows;
    std::vector<float> out(n * k);

    for (size_t j = 0; j < n; j++) {
        for (size_t i = 0; i < k; i++) {
            size_t at = k_first ? j * (size_t) l->ld + i : i * (size_t) l->ld + j;

            out[j * k + i] = blas_value(p, l->type, at);
        }
    }
    return out;
}


static float
blas_dot(const float *a, const float *b, size_t n)
{
    float  acc[8] = {}, sum = 0;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        for (int j = 0; j < 8; j++) {
            acc[j] += a[i + (size_t) j] * b[i + (size_t) j];
        }
    }
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    for (int j = 0; j < 8; j++) {
        sum += acc[j];
    }
    return sum;
}


static void
blas_run(const blas_mul_t *p)
{
    size_t m = p->d.rows, n = p->d.cols, k = p->op.trans_a ? p->a.rows : p->a.cols;
    size_t part = (k + p->split - 1) / p->split;
    float  scale = p->alpha * (p->op.scale_a ? *p->op.scale_a : 1.0f)
                  * (p->op.scale_b ? *p->op.scale_b : 1.0f);

    std::vector<float> a = blas_floats(p->pa, &p->a, p->op.trans_a != 0);
    std::vector<float> b = blas_floats(p->pb, &p->b, p->op.trans_b == 0);

    for (size_t s = 0; s < p->split; s++) {
        size_t from = std::min(s * part, k), to = std::min(from + part, k);

        for (size_t j = 0; j < n; j++) {
            for (size_t i = 0; i < m; i++) {
                float v = blas_dot(&a[i * k + from], &b[j * k + from], to - from);

                if (p->split > 1) {
                    p->parts[(s * n + j) * m + i] = v;
                    continue;
                }
                v *= scale;
                v += p->beta != 0 ? p->beta * blas_value(p->pc, p->c.type, j * (size_t) p->c.ld + i)
                                  : 0;
                blas_store(p->pd, p->d.type, j * (size_t) p->d.ld + i, v);
            }
        }
    }

    for (size_t at = 0; p->split > 1 && at < m * n; at++) {
        size_t i = at % m, j = at / m;
        float  v = 0;

        for (size_t s = 0; s < p->split; s++) {
            v += p->parts[s * m * n + at];
        }
        v *= scale;
        v += p->beta != 0 ? p->beta * blas_value(p->pc, p->c.type, j * (size_t) p->c.ld + i) : 0;
        blas_store(p->pd, p->d.type, j * (size_t) p->d.ld + i, v);
    }
}


/* In the device's memory, whole. */
static void
blas_inside(const void *p, const blas_layout_t *l, const char *name)
{
    const emu_mem_t *m = emu_memory(p);
    size_t           n = (((size_t) l->cols - 1) * (size_t) l->ld + l->rows) * blas_size(l->type);

    if (m == NULL || (const uint8_t *) p + n > m->p + m->size) {
        emu_fail(NULL, 0, "cublasLtMatmul: %s, %zu bytes at %p, is not in the device's memory",
                 name, n, p);
    }
}


static cublasStatus_t
blas_matmul(cublasLtHandle_t lt, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
            cublasLtMatrixLayout_t la, const void *b, cublasLtMatrixLayout_t lb, const void *beta,
            const void *c, cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
            const cublasLtMatmulAlgo_t *algo, void *workspace, size_t size, cudaStream_t stream)
{
    emu_api_t                       api;
    cublasLtMatmulHeuristicResult_t r;
    cublasStatus_t                  rc;
    blas_mul_t                      p;
    uint64_t                        id = algo ? algo->data[1] : 0;
    uintptr_t                       all = (uintptr_t) a | (uintptr_t) b | (uintptr_t) c;

    if (lt == NULL || (algo && (algo->data[0] != BLAS_MAGIC || id >= BLAS_ALGOS))) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (emu_injected("blas")) {
        return CUBLAS_STATUS_EXECUTION_FAILED;
    }

    p.a = *blas_layout(la);
    p.b = *blas_layout(lb);
    p.c = *blas_layout(lc);
    p.d = *blas_layout(ld);
    p.op = *blas_desc(desc);
    rc = blas_result(id, &p.op, &p.a, &p.b, &p.c, &p.d, &r);
    if (rc != CUBLAS_STATUS_SUCCESS) {
        return rc;
    }

    all |= (uintptr_t) d;
    if (all % 16 != 0 && (id == 3 || p.a.type == CUDA_R_8F_E4M3)) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (r.workspaceSize > (workspace ? size : 0) || (uintptr_t) workspace % 16 != 0) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }

    blas_inside(a, &p.a, "A");
    blas_inside(b, &p.b, "B");
    blas_inside(d, &p.d, "D");
    p.alpha = *(const float *) alpha;
    p.beta = *(const float *) beta;
    if (p.beta != 0) {
        blas_inside(c, &p.c, "C");
    }
    p.pa = a;
    p.pb = b;
    p.pc = c;
    p.pd = d;
    p.parts = (float *) workspace;
    p.split = blas_split(id);

    return emu_enqueue(stream, EMU_KERNEL, (const void *) blas_run, [p]() { blas_run(&p); })
                   == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}


/* --- the table --- */

int
cu_blas_load(cu_blas_api_t *api, char *err)
{
    const char *s = getenv("CU_EMU_BLAS");

    memset(api, 0, sizeof(*api));
    if (s && strcmp(s, "none") == 0) {
        snprintf(err, K_ERR_MAX, "there is no libcublasLt.so");
        return -ENOENT;
    }

    api->Create = blas_create;
    api->Destroy = blas_destroy;
    api->GetVersion = blas_version;
    api->MatmulDescCreate = blas_desc_create;
    api->MatmulDescDestroy = blas_desc_destroy;
    api->MatmulDescSetAttribute = blas_desc_set;
    api->MatrixLayoutCreate = blas_layout_create;
    api->MatrixLayoutDestroy = blas_layout_destroy;
    api->MatrixLayoutSetAttribute = blas_layout_set;
    api->MatmulPreferenceCreate = blas_pref_create;
    api->MatmulPreferenceDestroy = blas_pref_destroy;
    api->MatmulPreferenceSetAttribute = blas_pref_set;
    api->MatmulAlgoGetHeuristic = blas_heuristic;
    api->MatmulAlgoCheck = blas_check;
    api->Matmul = blas_matmul;
    return 0;
}


void
cu_blas_unload(cu_blas_api_t *api)
{
    memset(api, 0, sizeof(*api));
}
