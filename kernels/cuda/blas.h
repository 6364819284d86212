/*
 * Inside of cu_blas_t: blas.c multiplies, blas_tune.c finds algorithms by
 * timing, blas_algos.c keeps them in a table and a file.
 *
 * The file is text, one shape a line, of one device, library and driver (its
 * name has them; algorithms mean nothing elsewhere).  What is read from it is
 * only believed after cublasLtMatmulAlgoCheck().  Lines that are broken are
 * passed over, a file that cannot be read or written is as good as none.
 */

#ifndef LLM_KERNELS_CUDA_BLAS_H
#define LLM_KERNELS_CUDA_BLAS_H

#include "kernels/cuda/cu.h"
#include "kernels/cuda/cu_blas.h"

#define CU_ALGOS  4096 /* places in the table; half of them are used at most */
#define CU_RECENT 1024

/* Everything that an algorithm's fitness depends on. */
typedef struct {
    uint8_t  type; /* cu_type_t of X and W */
    uint8_t  y_type;
    uint8_t  add;
    uint8_t  align; /* bytes, 1 .. 16: of every pointer and row */
    uint32_t n;
    uint32_t k;
    uint32_t rows;
} cu_shape_t;

typedef struct {
    cu_shape_t           shape; /* rows 0: the place is free */
    uint32_t             ns;    /* what it took */
    uint8_t              checked;
    uint8_t              bad;     /* it does not fit, after all */
    uint8_t              partial; /* not the best of all: not for the file */
    cublasLtMatmulAlgo_t algo;
} cu_algo_t;

typedef struct {
    uint32_t  n;
    int       dirty; /* differs from the file */
    cu_algo_t places[CU_ALGOS];
} cu_algos_t;


/* Descriptors, changed in place from product to product. */
typedef struct {
    cublasLtMatmulDesc_t       op;
    cublasLtMatmulDesc_t       op8; /* E4M3 */
    cublasLtMatrixLayout_t     w;
    cublasLtMatrixLayout_t     x;
    cublasLtMatrixLayout_t     y;
    cublasLtMatmulPreference_t pref;
} cu_descs_t;

typedef struct {
    cu_shape_t           shape; /* rows 0: free */
    int                  rc;    /* 0, or -ENOTSUP: the library has none */
    cublasLtMatmulAlgo_t algo;
} cu_recent_t;

struct cu_blas_s {
    k_backend_t     *be;
    cu_blas_api_t    api;
    cublasLtHandle_t lt;
    unsigned         version;
    void            *workspace; /* of the steps' products */
    cu_descs_t       step;
    cu_descs_t       tune;
    cudaEvent_t      from;
    cudaEvent_t      to;
    uint64_t         deadline; /* of tuning, ns */
    char             path[640];

    pthread_mutex_t lock; /* of what follows, and of `step` */
    cu_algos_t     *algos;
    cu_recent_t     recent[CU_RECENT];
};

typedef struct {
    cudaDataType_t type;
    uint32_t       elem; /* bytes */
} cu_blas_type_t;

extern const cu_blas_type_t cu_blas_types[]; /* by cu_type_t */


/* --- blas.c --- */

/* The shape; -EINVAL, -ENOTSUP: not one for the library. */
int cu_blas_shape(const cu_blas_t *b, const cu_gemm_t *g, cu_shape_t *s);
/* The library's guesses, the best first: how many there are. */
int cu_blas_candidates(cu_blas_t *b, cu_descs_t *d, const cu_gemm_t *g, const cu_shape_t *s,
                       cublasLtMatmulHeuristicResult_t *r, int most);
/* 1: the library says that this algorithm computes g. */
int cu_blas_usable(cu_blas_t *b, cu_descs_t *d, const cu_gemm_t *g,
                   const cublasLtMatmulAlgo_t *algo);
/* 0, -ENOTSUP: not with this algorithm, or -EIO. */
int cu_blas_enqueue(cu_blas_t *b, cu_descs_t *d, const cu_gemm_t *g,
                    const cublasLtMatmulAlgo_t *algo, void *workspace, cudaStream_t stream);


/* --- blas_algos.c; no locks: the owner's --- */

uint32_t cu_shape_hash(const cu_shape_t *s);
int      cu_shape_same(const cu_shape_t *a, const cu_shape_t *b);

/* NULL: not there. */
cu_algo_t *cu_algos_find(cu_algos_t *t, const cu_shape_t *s);
/* The same but for rows, of which it has as few above s->rows as there are. */
cu_algo_t *cu_algos_above(cu_algos_t *t, const cu_shape_t *s);
/* The shape's place, new or old; NULL: the table is full. */
cu_algo_t *cu_algos_put(cu_algos_t *t, const cu_shape_t *s);

/* The number of shapes read; 0 also where there is no file. */
uint32_t cu_algos_load(cu_algos_t *t, const char *path);
/* By rename, with its folder: 0 or -errno, which is no error. */
int cu_algos_save(cu_algos_t *t, const char *path);

#endif /* LLM_KERNELS_CUDA_BLAS_H */
