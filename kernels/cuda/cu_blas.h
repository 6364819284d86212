/*
 * cuBLASLt as this backend uses it: its functions in a table, found at run
 * time (blas_load.c), so that an engine without the library still starts and
 * says what is missing.  In tests the emulated device has a double of it with
 * the same table.
 *
 * Only these functions are called.  Descriptors are made when the library is
 * opened and changed in place by SetAttribute: a product allocates nothing.
 */

#ifndef LLM_KERNELS_CUDA_CU_BLAS_H
#define LLM_KERNELS_CUDA_CU_BLAS_H

#include <stddef.h>

#include <cublasLt.h>

#ifdef __cplusplus
extern "C" {
#endif

/* name, arguments: each becomes a member NAME of cu_blas_api_t. */
#define CU_BLAS_CALLS(CALL)                                                                        \
    CALL(cublasStatus_t, Create, (cublasLtHandle_t * lt))                                          \
    CALL(cublasStatus_t, Destroy, (cublasLtHandle_t lt))                                           \
    CALL(size_t, GetVersion, (void) )                                                              \
    CALL(cublasStatus_t, MatmulDescCreate,                                                         \
         (cublasLtMatmulDesc_t * desc, cublasComputeType_t compute, cudaDataType_t scale))         \
    CALL(cublasStatus_t, MatmulDescDestroy, (cublasLtMatmulDesc_t desc))                           \
    CALL(cublasStatus_t, MatmulDescSetAttribute,                                                   \
         (cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attr, const void *buf,         \
          size_t size))                                                                            \
    CALL(cublasStatus_t, MatrixLayoutCreate,                                                       \
         (cublasLtMatrixLayout_t * layout, cudaDataType type, uint64_t rows, uint64_t cols,        \
          int64_t ld))                                                                             \
    CALL(cublasStatus_t, MatrixLayoutDestroy, (cublasLtMatrixLayout_t layout))                     \
    CALL(cublasStatus_t, MatrixLayoutSetAttribute,                                                 \
         (cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attr, const void *buf,    \
          size_t size))                                                                            \
    CALL(cublasStatus_t, MatmulPreferenceCreate, (cublasLtMatmulPreference_t * pref))              \
    CALL(cublasStatus_t, MatmulPreferenceDestroy, (cublasLtMatmulPreference_t pref))               \
    CALL(cublasStatus_t, MatmulPreferenceSetAttribute,                                             \
         (cublasLtMatmulPreference_t pref, cublasLtMatmulPreferenceAttributes_t attr,              \
          const void *buf, size_t size))                                                           \
    CALL(cublasStatus_t, MatmulAlgoGetHeuristic,                                                   \
         (cublasLtHandle_t lt, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,                \
          cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,            \
          cublasLtMatmulPreference_t pref, int wanted, cublasLtMatmulHeuristicResult_t results[],  \
          int *n))                                                                                 \
    CALL(cublasStatus_t, MatmulAlgoCheck,                                                          \
         (cublasLtHandle_t lt, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,                \
          cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,            \
          const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result))              \
    CALL(cublasStatus_t, Matmul,                                                                   \
         (cublasLtHandle_t lt, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,        \
          cublasLtMatrixLayout_t a_desc, const void *b, cublasLtMatrixLayout_t b_desc,             \
          const void *beta, const void *c, cublasLtMatrixLayout_t c_desc, void *d,                 \
          cublasLtMatrixLayout_t d_desc, const cublasLtMatmulAlgo_t *algo, void *workspace,        \
          size_t size, cudaStream_t stream))

typedef struct {
#define CALL(type, name, args) type(*name) args;
    CU_BLAS_CALLS(CALL)
#undef CALL
    void *library; /* dlopen()'s, or NULL */
} cu_blas_api_t;


/*
 * Fills the table.  -ENOENT: there is no such library of this build's major
 * version, or it lacks a function; err says which (K_ERR_MAX bytes).  The
 * library stays loaded until cu_blas_unload().
 */
int  cu_blas_load(cu_blas_api_t *api, char *err);
void cu_blas_unload(cu_blas_api_t *api);

#ifdef __cplusplus
}
#endif

#endif /* LLM_KERNELS_CUDA_CU_BLAS_H */
