/*
 * The CUDA backend's own structures, shared by its files on the host's side
 * (C11); kernels know cu_kernels.h only.
 *
 *     cu.c       the device, open, memory plan, KV pages, the table of calls
 *     arena.c    memory
 *     weight.c   weights: staged through pinned memory, repacked on the device
 *     weight_rows.c  their rows' way through it
 *     join.c     matrices of one product made one
 *     blas.c     products by cuBLASLt
 *     blas_tune.c  its algorithms, found by timing
 *     blas_algos.c  what was found, and its file
 *     blas_load.c  cuBLASLt's functions, by dlopen()
 *     peak.c     the roof: what the device can do at most
 *     probe.cu   whether this build has kernels for the device
 *     check.c    a program checked
 *     lower.c    it is made into nodes: which kernels, on what
 *     exec.c     and given its buffers
 *     meta.c     a step's metadata, and attention's plan
 *     run.c      nodes launched
 *     step.c     a step: one after the other, and ahead of their results
 *     graph.c    graphs by bucket, captured when first wanted
 *     draw.c     sampling: requests to the device, results from it
 *     quant_layout.c  where the planes of block types lie
 *
 * STREAMS.  Steps, draws and kv_copy() go to `stream`, from the step loop's
 * thread; weights go to `load_stream`, from loader threads, under `load_lock`.
 *
 * MEMORY.  One cudaMalloc() at open is the arena: weights, KV pages, buffers,
 * cuBLASLt's workspace.  Matrices come from its low end one after the other,
 * so that those of one product (QKV; gate and up) lie side by side and are
 * multiplied as one; everything else comes from its high end.
 *
 * ERRORS.  A CUDA call that fails is logged once, where it is made (cu_check),
 * and becomes -EIO, or -ENOMEM.
 */

#ifndef LLM_KERNELS_CUDA_CU_H
#define LLM_KERNELS_CUDA_CU_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#include "kernels/backend.h"
#include "kernels/cuda/cu_kernels.h"

#define CU_ALIGN     256
#define CU_STAGING   (4u << 20)  /* bytes of each pinned buffer */
#define CU_SLOTS     8           /* pinned buffers: two for each loading thread */
#define CU_WORKSPACE (32u << 20) /* cuBLASLt's */

typedef struct cu_arena_s  cu_arena_t;
typedef struct cu_blas_s   cu_blas_t;
typedef struct cu_shared_s cu_shared_t;


struct k_backend_s {
    k_config_t   conf;
    int          device;
    int          major; /* compute capability */
    int          minor;
    int          sms;
    uint64_t     l2;    /* bytes */
    uint64_t     total; /* the device's memory */
    char         name[64];
    char         line[640];
    cudaStream_t stream;

    cu_arena_t *arena;
    cu_blas_t  *blas;

    pthread_mutex_t load_lock;
    cudaStream_t    load_stream;
    uint8_t        *staging;          /* pinned: CU_SLOTS buffers */
    cudaEvent_t     staged[CU_SLOTS]; /* the device has read it */
    void           *raw;              /* device, CU_STAGING: before repacking */

    /* Of the arena, bytes; atomic. */
    uint64_t used_weights;
    uint64_t used_kv;
};


struct k_weight_s {
    k_backend_t *be;
    k_role_t     role;
    k_type_t     type; /* the source's */
    cu_matrix_t  m;    /* but K_ROLE_VECTOR and _VECTORS */
    float       *vector;
    uint32_t     rows;
    uint32_t     cols;
    void        *mem;
    uint64_t     size;
    void        *mem_scales; /* E4M3: m.scales, high end */
    uint64_t     size_scales;
    uint64_t     counted; /* in used_weights */
    cu_shared_t *shared;  /* in place of mem, mem_scales: merged with others */
};


/* Pages [n][layer]{ K [n_kv][32][head_dim], V the same }. */
struct k_kv_s {
    k_backend_t *be;
    uint32_t     n_pages;
    uint32_t     n_layer;
    uint32_t     n_kv;
    uint32_t     head_dim;
    cu_type_t    type;
    uint32_t     elem; /* bytes */
    uint64_t     v;    /* bytes from K to V: of one layer's K */
    uint64_t     layer;
    uint64_t     page;
    uint64_t     size;
    uint8_t     *mem;
    cudaEvent_t  copied; /* the last kv_copy() is done */
};


/* --- cu.c --- */

/* 0, -ENOMEM or -EIO; what failed is logged to stderr with CUDA's words. */
int cu_check(cudaError_t rc, const char *what);
/*
 * The device becomes the calling thread's: first thing in every call that may
 * come from a thread that has made no CUDA call yet.  Cheap.  0 or -EIO.
 */
int cu_bind(k_backend_t *be);
/*
 * A program's activation type T: CU_F16 where all matrices of its products are
 * F16 (routers do not count), else CU_BF16.  KV pages have it too, or E4M3.
 */
cu_type_t cu_program_type(const k_program_t *prog);
/* "weights 15.0, KV 60.0, ... GiB": what the arena holds now, one line. */
void cu_plan(k_backend_t *be, char *out, size_t size);
/* From the arena's high end; NULL: does not fit, err says what does. */
void *cu_alloc(k_backend_t *be, uint64_t size, const char *what, char *err);
/* The same from the low end, where matrices lie. */
void *cu_alloc_low(k_backend_t *be, uint64_t size, const char *what, char *err);

/* --- arena.c; any thread --- */

int  cu_arena_new(cu_arena_t **arena, uint64_t size); /* cudaMalloc() */
void cu_arena_free_all(cu_arena_t *arena);
/* Aligned to CU_ALIGN; NULL: does not fit.  `high`: from the far end. */
void *cu_arena_alloc(cu_arena_t *arena, uint64_t size, int high);
void  cu_arena_free(cu_arena_t *arena, void *p, uint64_t size);
void  cu_arena_stat(cu_arena_t *arena, uint64_t *size, uint64_t *used, uint64_t *largest);

/* --- weight.c --- */

int  cu_weights_load(k_backend_t *be, const k_source_t *src, k_weight_t **w, char *err);
void cu_weights_free(k_backend_t *be, k_weight_t *w);

/* --- join.c --- */

/*
 * 1: the matrices lie side by side in memory and have one form, so that they
 * are one matrix of all their rows: *all, with m[0]'s experts.
 */
int cu_weights_join(const cu_matrix_t *const *m, uint32_t n, cu_matrix_t *all);
/*
 * Makes the n matrices of one product lie so, copying them on the device: any
 * form, if all have the same, the same columns, and no experts.  They keep
 * their contents, each is freed as before, in any order.  No step may be using
 * them: at program_prepare().  0, also where nothing was to do; -ENOTSUP: they
 * differ; -ENOMEM: no room.  They stay as they are then, apart.
 */
int cu_weights_merge(k_backend_t *be, k_weight_t *const *w, uint32_t n);
/* One of the merged matrices is freed; NULL: none was merged. */
void cu_shared_drop(k_backend_t *be, cu_shared_t *s);

/* --- blas.c --- */

/*
 * Y[rows][n] = X[rows][k] W[n][k]^T, row-major, sums in F32; y += if `add`.
 * y_type is F32 or T.  X and W may both be CU_F8: scales by row and channel
 * are the caller's then, y_type is F32 or BF16 (F16 would overflow), k and n
 * are multiples of 16, all lies on 16 bytes, the device is sm_89 or later;
 * else -ENOTSUP, as where there is no cuBLASLt (blas == NULL).
 */
typedef struct {
    cu_type_t   type; /* of X and W: CU_F16, CU_BF16, CU_F8, CU_F32 */
    const void *x;
    const void *w;
    void       *y;
    cu_type_t   y_type;
    uint32_t    rows;
    uint32_t    n;
    uint32_t    k;
    uint32_t    x_ld; /* elements */
    uint32_t    y_ld;
    int         add;
} cu_gemm_t;

/* cache: a folder for algorithms that timing has found, or NULL. */
int  cu_blas_new(cu_blas_t **blas, k_backend_t *be, const char *cache, char *err);
void cu_blas_free(cu_blas_t *blas);
/*
 * Makes sure that an algorithm for this shape is known, timing candidates if
 * it must, on load_stream, under load_lock: at program_prepare().  y is
 * overwritten.
 */
int cu_blas_tune(cu_blas_t *blas, const cu_gemm_t *gemm);
/*
 * Around the calls of cu_blas_tune() for one program: begin() gives them time
 * (1.5 s: what is still unknown then is the library's choice), end() writes
 * what was found to the cache.
 */
void cu_blas_begin(cu_blas_t *blas);
void cu_blas_end(cu_blas_t *blas);
/* "cuBLASLt 13.1", or "no cuBLASLt". */
void cu_blas_describe(const cu_blas_t *blas, char *out, size_t size);
/*
 * Enqueues; may be captured.  Shapes that were not tuned take what the next
 * larger number of rows has, or the library's first guess.
 */
int cu_blas_mul(cu_blas_t *blas, const cu_gemm_t *gemm, cudaStream_t stream);

/* --- peak.c --- */

/* Reads `size` bytes, multiplies matrices of dim x dim; 0 of what cannot be. */
int cu_peak(k_backend_t *be, uint64_t size, uint32_t dim, k_roof_t *roof, char *err);

/* --- exec.c, step.c, draw.c --- */

int  cu_exec_prepare(k_backend_t *be, const k_program_t *prog, k_kv_t *kv, const k_limits_t *limits,
                     k_exec_t **exec, char *err);
void cu_exec_free(k_exec_t *exec);
int  cu_step_submit(k_exec_t *exec, const k_batch_t *batch);
int  cu_step_wait(k_exec_t *exec);
int  cu_step_sample(k_exec_t *exec, uint32_t n, const k_sample_t *req, k_sampled_t *out);
int  cu_step_logits(k_exec_t *exec, uint32_t i, float *out);
int  cu_step_busy(k_exec_t *exec, uint64_t *ns);
int  cu_ahead_submit(k_exec_t *exec, const k_batch_t *batch, uint32_t n, const k_sample_t *req);
int  cu_ahead_collect(k_exec_t *exec, uint32_t n, k_sampled_t *out);

#endif /* LLM_KERNELS_CUDA_CU_H */
