/*
 * Inside the emulated CUDA runtime: streams, events, captures and errors, as
 * emu_rt.cu (streams, graphs), emu_mem.cu (memory, copies, the device) and
 * emu_blas.cu share them.
 *
 * One lock for everything: a public function holds emu_api_t for its length.
 * It also opens the device's memory: outside of it the host cannot touch what
 * cudaMalloc() gave, as with a real device.
 */

#ifndef LLM_T_CUDA_EMU_RT_H
#define LLM_T_CUDA_EMU_RT_H

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "t/cuda/emu.h"

typedef enum {
    EMU_KERNEL = 0,
    EMU_COPY,
    EMU_SET,
    EMU_HOST,
    EMU_EVENT,
    EMU_CHILD
} emu_kind_t;

/* A piece of a stream's work. */
typedef struct {
    emu_kind_t  kind;
    const void *kernel; /* EMU_KERNEL: the function */
    emu_call_t  call;
} emu_work_t;

/* One cudaEventRecord(). */
typedef struct {
    int                 done;
    double              time; /* seconds */
    struct CUstream_st *stream;
} emu_record_t;

/* A capture that goes on, of one stream or several that have joined it. */
typedef struct {
    struct CUgraph_st                *graph;
    struct CUstream_st               *origin;
    cudaStreamCaptureMode             mode;
    std::thread::id                   thread;
    int                               invalid;
    std::vector<struct CUstream_st *> streams;
} emu_capture_t;

struct CUgraph_st {
    std::vector<emu_work_t> work;
};

struct CUgraphExec_st {
    std::shared_ptr<std::vector<emu_work_t>> work;
};

struct CUstream_st {
    unsigned               flags;
    std::deque<emu_work_t> queue;
    emu_capture_t         *capture;
    uint64_t               captured; /* pieces while captured */
    uint64_t               joined; /* of them, that the origin has waited for */
};

struct CUevent_st {
    unsigned                      flags;
    std::shared_ptr<emu_record_t> record; /* the last; none: empty */
    emu_capture_t                *capture;
    CUstream_st                  *stream;   /* where it was captured */
    uint64_t                      captured; /* how much of it */
};

class emu_api_t {
  public:
    emu_api_t();
    ~emu_api_t();
};

/* All return cudaSuccess, or an error that cudaGetLastError() will know. */
cudaError_t emu_result(cudaError_t rc);
/* CU_EMU_FAIL: 1 when this call of that kind is the one to fail. */
int emu_injected(const char *kind);
/* The device has failed for good, or not. */
cudaError_t emu_dead();
void        emu_die(cudaError_t rc);
/* Calls that a capture forbids. */
cudaError_t  emu_unsafe();
CUstream_st *emu_stream(cudaStream_t s);
/* Queues, or captures. */
cudaError_t emu_enqueue(cudaStream_t s, emu_kind_t kind, const void *kernel,
                        const emu_call_t &call);
int         emu_capturing(cudaStream_t s);
void        emu_drain(CUstream_st *s);
void        emu_drain_all();
void        emu_work_do(const emu_work_t &w);
/* Opens the device's memory to this thread, until the lock is released. */
void emu_memory_open();
void emu_memory_close();

#endif /* LLM_T_CUDA_EMU_RT_H */
