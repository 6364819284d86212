/*
 * CUDA's runtime for the emulated device: errors, those of its own and those
 * that CU_EMU_FAIL asks for (emu_rt.cu).
 */

#include <map>

#include "t/cuda/emu_rt.h"

static cudaError_t                rt_dead; /* what the device has died of */
static std::map<std::string, int> rt_calls;
static std::string                rt_fail; /* CU_EMU_FAIL, as it was last */
static thread_local cudaError_t   rt_last;


cudaError_t
emu_result(cudaError_t rc)
{
    if (rc != cudaSuccess && rc != cudaErrorNotReady) {
        rt_last = rc;
    }
    return rc;
}


int
emu_injected(const char *kind)
{
    const char *conf = getenv("CU_EMU_FAIL");
    size_t      at;
    int         n;

    if (conf == NULL) {
        conf = "";
    }
    if (rt_fail != conf) {
        rt_fail = conf;
        rt_calls.clear();
    }
    if (rt_fail.empty()) {
        return 0;
    }

    n = ++rt_calls[kind];
    at = ("," + rt_fail).find(std::string(",") + kind + ":");
    return at != std::string::npos && atoi(rt_fail.c_str() + at + strlen(kind) + 1) == n;
}


cudaError_t
emu_dead()
{
    return rt_dead;
}


void
emu_die(cudaError_t rc)
{
    if (rt_dead == cudaSuccess) {
        rt_dead = rc;
    }
}


cudaError_t
cudaGetLastError(void)
{
    cudaError_t rc = rt_last;

    rt_last = cudaSuccess;
    return rc;
}


cudaError_t
cudaPeekAtLastError(void)
{
    return rt_last;
}


static const struct {
    cudaError_t rc;
    const char *name;
    const char *text;
} rt_errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
    {cudaErrorGraphExecUpdateFailure, "cudaErrorGraphExecUpdateFailure",
     "the graph update was not performed because it included changes which violated constraints"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};


const char *
cudaGetErrorName(cudaError_t rc)
{
    for (const auto &e : rt_errors) {
        if (e.rc == rc) {
            return e.name;
        }
    }
    return "unrecognized error code";
}


const char *
cudaGetErrorString(cudaError_t rc)
{
    for (const auto &e : rt_errors) {
        if (e.rc == rc) {
            return e.text;
        }
    }
    return "unrecognized error code";
}
