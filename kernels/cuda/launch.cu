/*
 * What cu_launch() must know of the device, asked once.
 *
 * Any thread; the answer is of the device that is current when it is first
 * wanted (a process opens one device).  In tests the emulated device answers.
 */

#ifndef CU_EMULATED

#include <atomic>

#include "kernels/cuda/cu_device.cuh"


/* Threads that ask at the same time find the same. */
int
cu_device_pdl(void)
{
    static std::atomic<int> known(-1);

    int yes = known.load(std::memory_order_relaxed), device = 0, major = 0;

    if (yes >= 0) {
        return yes;
    }

    if (cudaGetDevice(&device) != cudaSuccess
        || cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device)
               != cudaSuccess) {
        return 0;
    }

    yes = major >= 9;
    known.store(yes, std::memory_order_relaxed);
    return yes;
}

#endif /* CU_EMULATED */
