/*
 * CUDA's runtime for the emulated device: launches, streams, events, graphs,
 * errors.
 *
 * A stream's work is done late: when somebody waits for it or asks, or by
 * chance; never in an order that events do not enforce.  So a host buffer
 * that is used again too early, or a wait that is missing, shows.
 *
 * CU_EMU_FAIL="malloc:3,launch:17" makes the third allocation and the 17th
 * launch from the first CUDA call on fail: malloc, host, launch, copy, sync,
 * graph, stream, event; and "kernel:5": the fifth kernel that runs fails as
 * an illegal access does, and with it everything from then on.
 * CU_EMU_SEED: another order of everything.
 */

#include <algorithm>
#include <map>
#include <mutex>
#include <time.h>

#include "t/cuda/emu_rt.h"

static std::mutex                   rt_lock;
static std::vector<CUstream_st *>   rt_streams;
static std::vector<emu_capture_t *> rt_captures;
static CUstream_st                  rt_legacy;
static std::map<const void *, int>  rt_dynamic_max;

emu_api_t::emu_api_t()
{
    rt_lock.lock();
}


emu_api_t::~emu_api_t()
{
    emu_memory_close();
    rt_lock.unlock();
}


/* --- streams --- */

CUstream_st *
emu_stream(cudaStream_t s)
{
    if (s == NULL || s == cudaStreamLegacy || s == cudaStreamPerThread) {
        return &rt_legacy;
    }

    for (CUstream_st *have : rt_streams) {
        if (have == s) {
            return s;
        }
    }
    return NULL;
}


void
emu_work_do(const emu_work_t &w)
{
    if (emu_dead() == cudaSuccess || w.kind == EMU_EVENT) {
        emu_memory_open();
        w.call();
    }
}


static void
rt_step(CUstream_st *s)
{
    emu_work_t w = s->queue.front();

    s->queue.pop_front();
    emu_work_do(w);
}


void
emu_drain(CUstream_st *s)
{
    while (!s->queue.empty()) {
        rt_step(s);
    }
}


void
emu_drain_all()
{
    while (1) {
        std::vector<CUstream_st *> busy;

        for (CUstream_st *s : rt_streams) {
            if (!s->queue.empty()) {
                busy.push_back(s);
            }
        }
        if (!rt_legacy.queue.empty()) {
            busy.push_back(&rt_legacy);
        }
        if (busy.empty()) {
            return;
        }
        rt_step(busy[emu_random((uint32_t) busy.size())]);
    }
}


static void
rt_record_finish(const std::shared_ptr<emu_record_t> &r)
{
    while (!r->done) {
        rt_step(r->stream);
    }
}


/* Some work of some streams, by chance. */
static void
rt_chance()
{
    if (rt_streams.empty() || emu_random(4) > 0) {
        return;
    }

    for (uint32_t n = emu_random(8); n > 0; n--) {
        uint32_t     i = emu_random((uint32_t) rt_streams.size() + 1);
        CUstream_st *s = i == rt_streams.size() ? &rt_legacy : rt_streams[i];

        if (!s->queue.empty()) {
            rt_step(s);
        }
    }
}


static void
rt_invalidate(emu_capture_t *c)
{
    c->invalid = 1;
}


cudaError_t
emu_unsafe()
{
    cudaError_t rc = cudaSuccess;

    for (emu_capture_t *c : rt_captures) {
        if (c->mode == cudaStreamCaptureModeGlobal
            || (c->mode == cudaStreamCaptureModeThreadLocal
                && c->thread == std::this_thread::get_id())) {
            rt_invalidate(c);
            rc = cudaErrorStreamCaptureUnsupported;
        }
    }
    return rc;
}


int
emu_capturing(cudaStream_t s)
{
    CUstream_st *st = emu_stream(s);

    return st != NULL && st->capture != NULL;
}


/* The legacy stream waits for all blocking streams, and they for it. */
static cudaError_t
rt_order(CUstream_st *s)
{
    if (s != &rt_legacy) {
        if (!(s->flags & cudaStreamNonBlocking)) {
            emu_drain(&rt_legacy);
        }
        return cudaSuccess;
    }

    for (CUstream_st *b : rt_streams) {
        if (b->flags & cudaStreamNonBlocking) {
            continue;
        }
        if (b->capture) {
            rt_invalidate(b->capture);
            return cudaErrorStreamCaptureImplicit;
        }
        emu_drain(b);
    }
    return cudaSuccess;
}


cudaError_t
emu_enqueue(cudaStream_t stream, emu_kind_t kind, const void *kernel, const emu_call_t &call)
{
    CUstream_st *s = emu_stream(stream);
    cudaError_t  rc;

    if (s == NULL) {
        return cudaErrorInvalidResourceHandle;
    }
    if (emu_dead() != cudaSuccess) {
        return emu_dead();
    }

    if (s->capture) {
        if (s->capture->invalid) {
            return cudaErrorStreamCaptureInvalidated;
        }
        s->capture->graph->work.push_back({kind, kernel, call});
        s->captured++;
        return cudaSuccess;
    }

    rc = rt_order(s);
    if (rc != cudaSuccess) {
        return rc;
    }

    s->queue.push_back({kind, kernel, call});
    rt_chance();
    return cudaSuccess;
}


static cudaError_t
rt_stream_new(cudaStream_t *s, unsigned flags)
{
    emu_api_t api;

    if (s == NULL || flags > cudaStreamNonBlocking) {
        return emu_result(cudaErrorInvalidValue);
    }
    if (emu_injected("stream")) {
        return emu_result(cudaErrorMemoryAllocation);
    }

    *s = new CUstream_st();
    (*s)->flags = flags;
    rt_streams.push_back(*s);
    return cudaSuccess;
}


cudaError_t
cudaStreamCreate(cudaStream_t *s)
{
    return rt_stream_new(s, cudaStreamDefault);
}


cudaError_t
cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    return rt_stream_new(s, flags);
}


cudaError_t
cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int)
{
    return rt_stream_new(s, flags);
}


cudaError_t
cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}


cudaError_t
cudaStreamDestroy(cudaStream_t s)
{
    emu_api_t api;

    if (emu_stream(s) == NULL || s == NULL || emu_stream(s) == &rt_legacy) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }

    emu_drain(s);
    if (s->capture) {
        rt_invalidate(s->capture);
        auto &v = s->capture->streams;
        v.erase(std::remove(v.begin(), v.end(), s), v.end());
    }
    rt_streams.erase(std::find(rt_streams.begin(), rt_streams.end(), s));
    delete s;
    return cudaSuccess;
}


static cudaError_t
rt_wait(cudaStream_t stream, int query)
{
    emu_api_t    api;
    CUstream_st *s = emu_stream(stream);
    cudaError_t  rc;

    if (s == NULL) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }
    if (s->capture) {
        rt_invalidate(s->capture);
        return emu_result(cudaErrorStreamCaptureUnsupported);
    }
    rc = emu_unsafe();
    if (rc == cudaSuccess) {
        rc = rt_order(s);
    }
    if (rc != cudaSuccess) {
        return emu_result(rc);
    }
    if (!query && emu_injected("sync")) {
        emu_die(cudaErrorIllegalAddress);
    }

    if (!query) {
        emu_drain(s);
    } else if (!s->queue.empty()) {
        for (uint32_t n = 1 + emu_random(4); n > 0 && !s->queue.empty(); n--) {
            rt_step(s);
        }
        return emu_result(emu_dead() != cudaSuccess ? emu_dead() : cudaErrorNotReady);
    }

    return emu_result(emu_dead());
}


cudaError_t
cudaStreamSynchronize(cudaStream_t s)
{
    return rt_wait(s, 0);
}


cudaError_t
cudaStreamQuery(cudaStream_t s)
{
    return rt_wait(s, 1);
}


cudaError_t
cudaDeviceSynchronize(void)
{
    emu_api_t   api;
    cudaError_t rc = emu_unsafe();

    if (rc != cudaSuccess) {
        return emu_result(rc);
    }
    if (emu_injected("sync")) {
        emu_die(cudaErrorIllegalAddress);
    }

    emu_drain_all();
    return emu_result(emu_dead());
}


cudaError_t
cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t fn, void *data)
{
    emu_api_t api;

    return emu_result(emu_enqueue(s, EMU_HOST, NULL, [=]() { fn(data); }));
}


/* --- launches --- */

cudaError_t
cudaFuncSetAttribute(const void *f, cudaFuncAttribute attr, int value)
{
    emu_api_t api;

    emu_symbols_load();
    switch (attr) {
    case cudaFuncAttributeMaxDynamicSharedMemorySize:
        if (value < 0 || (size_t) value + emu_static_size(f) > EMU_SHARED_MAX) {
            return emu_result(cudaErrorInvalidValue);
        }
        rt_dynamic_max[f] = value;
        return cudaSuccess;
    case cudaFuncAttributePreferredSharedMemoryCarveout:
        return cudaSuccess;
    default:
        return emu_result(cudaErrorInvalidValue);
    }
}


cudaError_t
cudaFuncGetAttributes(cudaFuncAttributes *attr, const void *f)
{
    emu_api_t api;

    emu_symbols_load();
    memset((void *) attr, 0, sizeof(*attr));
    attr->sharedSizeBytes = emu_static_size(f);
    attr->maxThreadsPerBlock = EMU_THREADS;
    attr->numRegs = 32;
    attr->binaryVersion = 90;
    attr->ptxVersion = 90;
    attr->maxDynamicSharedSizeBytes = 48 * 1024;
    return emu_result(emu_dead());
}


cudaError_t
cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *, int block, size_t smem)
{
    int by_threads = block > 0 ? 2048 / ((block + 31) / 32 * 32) : 0;
    int by_memory = (int) (228 * 1024 / (smem + 1024));

    *n = std::min(std::min(by_threads, by_memory), 32);
    return cudaSuccess;
}


static cudaError_t
rt_launch_check(const void *kernel, dim3 grid, dim3 block, size_t smem)
{
    uint64_t threads = (uint64_t) block.x * block.y * block.z;
    size_t   fixed, most = EMU_SHARED_STATIC;

    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535
        || grid.z > 65535 || threads == 0 || threads > EMU_THREADS || block.z > 64) {
        return cudaErrorInvalidConfiguration;
    }

    emu_symbols_load();
    fixed = emu_static_size(kernel);
    if (fixed > EMU_SHARED_STATIC) {
        emu_fail(NULL, 0, "%s has %zu bytes of static shared memory", emu_symbol(kernel), fixed);
    }

    if (rt_dynamic_max.count(kernel)) {
        most = std::max(most, (size_t) rt_dynamic_max[kernel] + fixed);
    }
    return smem + fixed > most ? cudaErrorInvalidValue : cudaSuccess;
}


cudaError_t
emu_launch(const void *kernel, const emu_call_t &call, dim3 grid, dim3 block, size_t smem,
           cudaStream_t stream)
{
    emu_api_t   api;
    cudaError_t rc = rt_launch_check(kernel, grid, block, smem);

    if (rc == cudaSuccess && emu_injected("launch")) {
        rc = cudaErrorLaunchOutOfResources;
    }
    if (rc == cudaSuccess) {
        rc = emu_enqueue(stream, EMU_KERNEL, kernel, [=]() {
            if (emu_injected("kernel")) {
                emu_die(cudaErrorIllegalAddress);
                return;
            }
            emu_run(kernel, call, grid, block, smem);
        });
    }
    return emu_result(rc);
}


/* --- events --- */

static double
rt_now()
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}


cudaError_t
cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    emu_api_t api;

    if (emu_injected("event")) {
        return emu_result(cudaErrorMemoryAllocation);
    }

    *e = new CUevent_st();
    (*e)->flags = flags;
    return cudaSuccess;
}


cudaError_t
cudaEventCreate(cudaEvent_t *e)
{
    return cudaEventCreateWithFlags(e, cudaEventDefault);
}


cudaError_t
cudaEventDestroy(cudaEvent_t e)
{
    emu_api_t api;

    if (e == NULL) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }
    delete e;
    return cudaSuccess;
}


cudaError_t
cudaEventRecord(cudaEvent_t e, cudaStream_t stream)
{
    emu_api_t    api;
    CUstream_st *s = emu_stream(stream);
    cudaError_t  rc;

    if (e == NULL || s == NULL) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }

    if (s->capture) {
        e->capture = s->capture;
        e->stream = s;
        e->captured = s->captured;
        return cudaSuccess;
    }

    auto r = std::make_shared<emu_record_t>();

    r->stream = s;
    rc = emu_enqueue(stream, EMU_EVENT, NULL, [r]() {
        r->done = 1;
        r->time = rt_now();
    });

    /* What is not recorded, as the device has failed, nobody waits for. */
    if (rc == cudaSuccess) {
        e->record = r;
        e->capture = NULL;
    }
    return emu_result(rc);
}


cudaError_t
cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned)
{
    return cudaEventRecord(e, s);
}


cudaError_t
cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t e, unsigned)
{
    emu_api_t    api;
    CUstream_st *s = emu_stream(stream);

    if (e == NULL || s == NULL) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }

    if (e->capture) {
        if (s->capture && s->capture != e->capture) {
            return emu_result(cudaErrorStreamCaptureUnsupported);
        }
        if (s->capture == NULL) {
            s->capture = e->capture;
            s->captured = 0;
            s->joined = 0;
            s->capture->streams.push_back(s);
        } else if (s == s->capture->origin) {
            e->stream->joined = std::max(e->stream->joined, e->captured);
        }
        return cudaSuccess;
    }

    if (s->capture) {
        /* Of work outside the capture. */
        rt_invalidate(s->capture);
        return emu_result(cudaErrorStreamCaptureUnsupported);
    }
    if (e->record == NULL) {
        return cudaSuccess;
    }

    auto r = e->record;

    return emu_result(emu_enqueue(stream, EMU_EVENT, NULL, [r]() { rt_record_finish(r); }));
}


static cudaError_t
rt_event_wait(cudaEvent_t e, int query)
{
    emu_api_t   api;
    cudaError_t rc;

    if (e == NULL) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }
    if (e->capture) {
        rt_invalidate(e->capture);
        return emu_result(cudaErrorCapturedEvent);
    }
    rc = emu_unsafe();
    if (rc != cudaSuccess) {
        return emu_result(rc);
    }
    if (!query && emu_injected("sync")) {
        emu_die(cudaErrorIllegalAddress);
    }

    if (e->record && !e->record->done) {
        if (!query) {
            rt_record_finish(e->record);
        } else {
            rt_step(e->record->stream);
            return emu_result(emu_dead() != cudaSuccess ? emu_dead() : cudaErrorNotReady);
        }
    }
    return emu_result(emu_dead());
}


cudaError_t
cudaEventSynchronize(cudaEvent_t e)
{
    return rt_event_wait(e, 0);
}


cudaError_t
cudaEventQuery(cudaEvent_t e)
{
    return rt_event_wait(e, 1);
}


cudaError_t
cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b)
{
    emu_api_t api;

    if (a == NULL || b == NULL || !a->record || !b->record
        || ((a->flags | b->flags) & cudaEventDisableTiming)) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }
    if (!a->record->done || !b->record->done) {
        return cudaErrorNotReady;
    }

    *ms = (float) ((b->record->time - a->record->time) * 1e3);
    return emu_result(emu_dead());
}


/* --- graphs --- */

cudaError_t
cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    emu_api_t    api;
    CUstream_st *s = emu_stream(stream);

    if (s == NULL) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }
    if (s == &rt_legacy) {
        return emu_result(cudaErrorStreamCaptureUnsupported);
    }
    if (s->capture || emu_injected("graph")) {
        return emu_result(cudaErrorInvalidValue);
    }

    s->capture = new emu_capture_t();
    s->capture->graph = new CUgraph_st();
    s->capture->origin = s;
    s->capture->mode = mode;
    s->capture->thread = std::this_thread::get_id();
    s->capture->streams.push_back(s);
    s->captured = 0;
    rt_captures.push_back(s->capture);
    return cudaSuccess;
}


cudaError_t
cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    emu_api_t      api;
    CUstream_st   *s = emu_stream(stream);
    emu_capture_t *c;
    cudaError_t    rc = cudaSuccess;

    if (s == NULL || s->capture == NULL) {
        return emu_result(cudaErrorInvalidValue);
    }

    c = s->capture;
    if (c->origin != s) {
        return emu_result(cudaErrorStreamCaptureUnmatched);
    }
    if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id()) {
        return emu_result(cudaErrorStreamCaptureWrongThread);
    }

    for (CUstream_st *b : c->streams) {
        if (b != s && b->joined < b->captured) {
            rc = cudaErrorStreamCaptureUnjoined;
        }
        b->capture = NULL;
    }
    if (c->invalid || emu_injected("graph")) {
        rc = cudaErrorStreamCaptureInvalidated;
    }

    *graph = c->graph;
    if (rc != cudaSuccess) {
        delete c->graph;
        *graph = NULL;
    }
    rt_captures.erase(std::find(rt_captures.begin(), rt_captures.end(), c));
    delete c;
    return emu_result(rc);
}


cudaError_t
cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status)
{
    emu_api_t    api;
    CUstream_st *s = emu_stream(stream);

    if (s == NULL) {
        return emu_result(cudaErrorInvalidResourceHandle);
    }

    *status = !s->capture           ? cudaStreamCaptureStatusNone
              : s->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                    : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}


cudaError_t
cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n)
{
    emu_api_t api;

    if (graph == NULL || nodes != NULL) {
        return emu_result(cudaErrorInvalidValue);
    }
    *n = graph->work.size();
    return cudaSuccess;
}


cudaError_t
cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    emu_api_t api;

    if (graph == NULL || exec == NULL) {
        return emu_result(cudaErrorInvalidValue);
    }
    if (emu_injected("graph")) {
        return emu_result(cudaErrorMemoryAllocation);
    }

    *exec = new CUgraphExec_st();
    (*exec)->work = std::make_shared<std::vector<emu_work_t>>(graph->work);
    return cudaSuccess;
}


cudaError_t
cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    return cudaGraphInstantiate(exec, graph, flags);
}


cudaError_t
cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info)
{
    emu_api_t   api;
    cudaError_t rc = cudaSuccess;

    if (exec == NULL || graph == NULL) {
        return emu_result(cudaErrorInvalidValue);
    }

    if (exec->work->size() != graph->work.size()) {
        rc = cudaErrorGraphExecUpdateFailure;
    }
    for (size_t i = 0; rc == cudaSuccess && i < graph->work.size(); i++) {
        if ((*exec->work)[i].kind != graph->work[i].kind) {
            rc = cudaErrorGraphExecUpdateFailure;
        }
    }

    if (info) {
        memset(info, 0, sizeof(*info));
        info->result = rc == cudaSuccess ? cudaGraphExecUpdateSuccess
                                         : cudaGraphExecUpdateErrorTopologyChanged;
    }
    if (rc == cudaSuccess) {
        exec->work = std::make_shared<std::vector<emu_work_t>>(graph->work);
    }
    return emu_result(rc);
}


cudaError_t
cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    emu_api_t api;

    if (exec == NULL) {
        return emu_result(cudaErrorInvalidValue);
    }
    if (emu_injected("launch")) {
        return emu_result(cudaErrorLaunchOutOfResources);
    }

    auto work = exec->work;

    return emu_result(emu_enqueue(stream, EMU_CHILD, NULL, [work]() {
        for (const emu_work_t &w : *work) {
            emu_work_do(w);
        }
    }));
}


cudaError_t
cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t)
{
    return exec ? cudaSuccess : cudaErrorInvalidValue;
}


cudaError_t
cudaGraphDestroy(cudaGraph_t graph)
{
    emu_api_t api;

    delete graph;
    return cudaSuccess;
}


cudaError_t
cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    emu_api_t api;

    delete exec;
    return cudaSuccess;
}
