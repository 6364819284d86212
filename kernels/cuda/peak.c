/*
 * What the device can do at most, measured: what benches hold steps against.
 *
 * Reading: a kernel that only reads, over memory many times the L2 cache.
 * Products: square ones by cuBLASLt, its algorithm tuned, operands random (a
 * chip that multiplies zeros runs cooler and faster than it ever will again).
 * Each is run RUNS times after one that does not count; the best counts, as
 * everything that disturbs only makes it slower.
 *
 * Runs on the loader's stream, with memory of the arena that it gives back.
 * Called by benches, while nothing else runs.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/cu.h"

#define RUNS      6
#define READ_UNIT (16u << 20)


typedef struct {
    k_backend_t *be;
    cudaEvent_t  from;
    cudaEvent_t  to;
    char        *err;
} peak_t;


static int  peak_read(peak_t *p, uint64_t size, double *rate);
static int  peak_mul(peak_t *p, cu_type_t type, uint32_t dim, double *rate);
static int  peak_fill(peak_t *p, cu_type_t type, uint32_t dim, void *data, uint32_t seed);
static int  peak_time(peak_t *p, const void *data, uint64_t size, const cu_gemm_t *gemm,
                      double *seconds);
static void peak_free(peak_t *p, void *const *mem, const uint64_t *size, int n);


int
cu_peak(k_backend_t *be, uint64_t size, uint32_t dim, k_roof_t *roof, char *err)
{
    int    rc;
    peak_t p;

    memset(roof, 0, sizeof(k_roof_t));
    memset(&p, 0, sizeof(p));
    p.be = be;
    p.err = err;
    err[0] = '\0';

    rc = cu_bind(be);
    rc = rc == 0 ? cu_check(cudaEventCreate(&p.from), "an event") : rc;
    rc = rc == 0 ? cu_check(cudaEventCreate(&p.to), "an event") : rc;

    rc = rc == 0 ? peak_read(&p, size, &roof->read) : rc;
    rc = rc == 0 ? peak_mul(&p, CU_BF16, dim, &roof->bf16) : rc;

    if (rc == 0 && be->major * 10 + be->minor >= 89) {
        rc = peak_mul(&p, CU_F8, dim, &roof->f8);
    }

    if (p.from != NULL) {
        (void) cudaEventDestroy(p.from);
    }
    if (p.to != NULL) {
        (void) cudaEventDestroy(p.to);
    }

    if (rc != 0 && err[0] == '\0') {
        snprintf(err, K_ERR_MAX, "the roof cannot be measured: %s", strerror(-rc));
    }

    return rc;
}


static int
peak_read(peak_t *p, uint64_t size, double *rate)
{
    int      rc;
    void    *data;
    double   seconds;
    uint64_t all;

    size = size / READ_UNIT * READ_UNIT;
    all = size + CU_ALIGN;
    data = cu_alloc(p->be, all, "the reading roof", p->err);
    if (data == NULL) {
        return -ENOMEM;
    }

    rc = cu_check(cudaMemsetAsync(data, 1, all, p->be->load_stream), "the reading roof");
    rc = rc == 0 ? peak_time(p, data, size, NULL, &seconds) : rc;
    if (rc == 0) {
        *rate = (double) size / seconds;
    }

    peak_free(p, &data, &all, 1);

    return rc;
}


/* 0 and *rate 0: the library has no product of this type. */
static int
peak_mul(peak_t *p, cu_type_t type, uint32_t dim, double *rate)
{
    int       i, rc;
    void     *mem[3] = {NULL};
    double    seconds;
    uint64_t  size[3];
    cu_gemm_t g;

    size[0] = size[1] = (uint64_t) dim * dim * (type == CU_F8 ? 1 : 2);
    size[2] = (uint64_t) dim * dim * 2;
    rc = 0;

    for (i = 0; i < 3 && rc == 0; i++) {
        mem[i] = cu_alloc(p->be, size[i], "the roof of products", p->err);
        if (mem[i] == NULL) {
            rc = -ENOMEM;
        } else if (i < 2) {
            rc = peak_fill(p, type, dim, mem[i], (uint32_t) i + 1);
        }
    }

    g = (cu_gemm_t){.type = type,
                    .y_type = CU_BF16,
                    .x = mem[0],
                    .w = mem[1],
                    .y = mem[2],
                    .rows = dim,
                    .n = dim,
                    .k = dim,
                    .x_ld = dim,
                    .y_ld = dim};

    rc = rc == 0 ? cu_blas_tune(p->be->blas, &g) : rc;
    rc = rc == 0 ? peak_time(p, NULL, 0, &g, &seconds) : rc;
    if (rc == 0) {
        *rate = 2.0 * dim * dim * dim / seconds;
    }

    peak_free(p, mem, size, 3);

    return rc == -ENOTSUP ? 0 : rc;
}


static int
peak_fill(peak_t *p, cu_type_t type, uint32_t dim, void *data, uint32_t seed)
{
    cu_matrix_t m;

    memset(&m, 0, sizeof(m));
    m.form = CU_W_PLAIN;
    m.type = type;
    m.rows = dim;
    m.cols = dim;
    m.experts = 1;
    m.data = data;

    return cu_synthetic(&m, seed, 1.0f, p->be->load_stream);
}


/* Of reading `data`, or of the product. */
static int
peak_time(peak_t *p, const void *data, uint64_t size, const cu_gemm_t *gemm, double *seconds)
{
    int          rc, i;
    float        ms, best;
    uint32_t    *sink;
    cudaStream_t s;

    s = p->be->load_stream;
    sink = (uint32_t *) ((uintptr_t) data + size);
    best = 0;
    rc = 0;

    for (i = 0; i <= RUNS && rc == 0; i++) {
        rc = cu_check(cudaEventRecord(p->from, s), "the roof");
        if (rc == 0) {
            rc = gemm != NULL ? cu_blas_mul(p->be->blas, gemm, s)
                              : cu_roof_read(data, size, sink, s);
        }
        rc = rc == 0 ? cu_check(cudaEventRecord(p->to, s), "the roof") : rc;
        rc = rc == 0 ? cu_check(cudaEventSynchronize(p->to), "the roof") : rc;
        rc = rc == 0 ? cu_check(cudaEventElapsedTime(&ms, p->from, p->to), "the roof") : rc;

        if (rc == 0 && i > 0 && (best == 0 || ms < best)) {
            best = ms;
        }
    }

    *seconds = best > 0 ? (double) best / 1e3 : 1e-9;

    return rc;
}


/* Also after an error: nothing may be using it. */
static void
peak_free(peak_t *p, void *const *mem, const uint64_t *size, int n)
{
    int i;

    (void) cudaStreamSynchronize(p->be->load_stream);

    for (i = 0; i < n; i++) {
        cu_arena_free(p->be->arena, mem[i], size[i]);
    }
}
