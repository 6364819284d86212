/*
 * Whether this build has machine code for the device.  There is no PTX in a
 * build: a device whose major version was not asked for has no kernels, and
 * without this every launch would fail one by one.
 */

#include <stdio.h>

#include "kernels/cuda/cu_device.cuh"


__global__ void
cu_probe_kernel()
{
}


int
cu_probe(char *archs, size_t size)
{
    cudaError_t        rc;
    cudaFuncAttributes attr;

    if (size != 0) {
        archs[0] = '\0';
    }

#ifdef __CUDA_ARCH_LIST__
    static const int list[] = {__CUDA_ARCH_LIST__};
    size_t           n = 0;

    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]) && n + 16 < size; i++) {
        n += (size_t) snprintf(archs + n, size - n, "%ssm_%d", i ? " " : "", list[i] / 10);
    }
#endif

    rc = cudaFuncGetAttributes(&attr, (const void *) cu_probe_kernel);
    if (rc != cudaSuccess) {
        (void) cudaGetLastError();
        return -ENODEV;
    }

    return 0;
}
