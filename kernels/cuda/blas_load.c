/*
 * cuBLASLt's functions, from the library of the major version that this build
 * has headers of.  The emulated device of the tests has this call of its own.
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cuda/cu_blas.h"

#define STRING_(x) #x
#define STRING(x)  STRING_(x)
#define LIBRARY    "libcublasLt.so." STRING(CUBLAS_VER_MAJOR)


/* Where the dynamic linker looks, then where CUDA's packages put it. */
static const char *const places[] = {
    LIBRARY,
    "/usr/local/cuda/lib64/" LIBRARY,
    "/usr/local/cuda-" STRING(CUBLAS_VER_MAJOR) "/lib64/" LIBRARY,
};


int
cu_blas_load(cu_blas_api_t *api, char *err)
{
    size_t      i;
    const char *bad;

    memset(api, 0, sizeof(cu_blas_api_t));

    for (i = 0; i < sizeof(places) / sizeof(places[0]) && api->library == NULL; i++) {
        api->library = dlopen(places[i], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
    }

    if (api->library == NULL) {
        snprintf(err, K_ERR_MAX, "there is no " LIBRARY ", or LD_LIBRARY_PATH lacks its folder");
        return -ENOENT;
    }

    bad = NULL;

    /* A function's address by way of an object's: POSIX asks for it. */
#define CALL(type, name, args)                                                                     \
    *(void **) &api->name = dlsym(api->library, "cublasLt" #name);                                 \
    if (api->name == NULL) {                                                                       \
        bad = "cublasLt" #name;                                                                    \
    }
    CU_BLAS_CALLS(CALL)
#undef CALL

    if (bad != NULL) {
        snprintf(err, K_ERR_MAX, LIBRARY " has no %s", bad);
        cu_blas_unload(api);
        return -ENOENT;
    }

    return 0;
}


void
cu_blas_unload(cu_blas_api_t *api)
{
    if (api->library != NULL) {
        dlclose(api->library);
    }

    memset(api, 0, sizeof(cu_blas_api_t));
}
