/*
 * What the backend takes from CUDA's runtime: the order of streams and events,
 * captures and graphs and what they forbid, errors.  True of a real device
 * too; what only the emulated one shows (host code that waits too little,
 * errors on demand) comes last.
 */

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t/cuda/cu_test.h"
#include "t/cuda/emu_probe.h"

#define N 1000


static void  chain(void);
static void  events(void);
static void  copies(void);
static void  graphs(void);
static void  forked_capture(void);
static void  forbidden(void);
static void  threads(void);
static void  emulated(void);
static int   hazards(int kind);
static int   dies(int kind);
static int   in_child(int kind);
static void  set_flag(void *data);
static void *other_thread(void *data);


int
main(void)
{
    struct cudaDeviceProp p;

    if (cudaGetDeviceProperties(&p, 0) != cudaSuccess) {
        skip_all("no CUDA device");
    }

    chain();
    events();
    copies();
    graphs();
    forked_capture();
    forbidden();
    threads();
    if (strcmp(p.name, "Emulated device") == 0) {
        emulated();
    }

    return tap_done();
}


static cudaStream_t
stream_new(void)
{
    cudaStream_t s;

    CU_OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
}


/* n launches, each out = in + 1, in place but for the first. */
static int
add(const uint32_t *in, uint32_t *out, int n, cudaStream_t s)
{
    int i, rc = 0;

    for (i = 0; i < n && rc == 0; i++) {
        rc = probe_next(i == 0 ? in : out, out, N, s);
    }

    return rc;
}


/* 1: all are first + i * step. */
static int
are(const uint32_t *v, uint32_t first, uint32_t step)
{
    uint32_t i;

    for (i = 0; i < N && v[i] == first + i * step; i++) {
    }

    return i == N;
}


static void
chain(void)
{
    static uint32_t zeros[N];

    uint32_t    *dev = dev_of(zeros, sizeof(zeros)), *out = dev_new(4 * N);
    uint32_t    *host;
    cudaStream_t s = stream_new();
    cudaError_t  rc;
    int          flag = 0;

    CU_OK(cudaMallocHost((void **) &host, 4 * N));
    is_int(add(dev, out, 50, s), 0, "50 launches");
    CU_OK(cudaLaunchHostFunc(s, set_flag, &flag));
    CU_OK(cudaMemcpyAsync(host, out, 4 * N, cudaMemcpyDeviceToHost, s));
    while ((rc = cudaStreamQuery(s)) == cudaErrorNotReady) {
    }
    is_int(rc, cudaSuccess, "the stream is done at last");
    ok(are(host, 50, 0) && flag, "in the stream's order");

    CU_OK(cudaMemsetAsync(out, 1, 4 * N, s));
    CU_OK(cudaStreamSynchronize(s));
    CU_OK(cudaMemcpy(host, out, 4 * N, cudaMemcpyDeviceToHost));
    ok(are(host, 0x01010101, 0), "memset");

    CU_OK(cudaStreamDestroy(s));
    CU_OK(cudaFreeHost(host));
    dev_free(dev);
    dev_free(out);
}


static void
set_flag(void *data)
{
    *(int *) data = 1;
}


static void
events(void)
{
    static uint32_t zeros[N];

    uint32_t    *dev = dev_of(zeros, sizeof(zeros)), *mid = dev_new(4 * N);
    uint32_t    *out = dev_new(4 * N), host[N];
    cudaStream_t a = stream_new(), b = stream_new();
    cudaEvent_t  from, to;
    cudaError_t  rc;
    float        ms = -1;
    int          round, good = 1;

    CU_OK(cudaEventCreate(&from));
    CU_OK(cudaEventCreate(&to));
    for (round = 0; round < 10; round++) {
        CU_OK(cudaEventRecord(from, a));
        good &= add(dev, mid, 10, a) == 0;
        CU_OK(cudaEventRecord(to, a));
        CU_OK(cudaStreamWaitEvent(b, to, 0));
        good &= add(mid, out, 5, b) == 0;
        CU_OK(cudaStreamSynchronize(b));
        dev_get(host, out, sizeof(host));
        good &= are(host, 15, 0);
    }
    ok(good, "a stream that waits for another's event");

    CU_OK(cudaEventRecord(to, a));
    while ((rc = cudaEventQuery(to)) == cudaErrorNotReady) {
    }
    is_int(rc, cudaSuccess, "an event's query");
    CU_OK(cudaEventElapsedTime(&ms, from, to));
    ok(ms >= 0, "time has passed between events");

    CU_OK(cudaEventDestroy(from));
    CU_OK(cudaEventDestroy(to));
    CU_OK(cudaStreamDestroy(a));
    CU_OK(cudaStreamDestroy(b));
    dev_free(dev);
    dev_free(mid);
    dev_free(out);
}


static void
copies(void)
{
    uint32_t     host[N], back[N], i;
    uint32_t    *dev = dev_new(4 * N);
    cudaStream_t s = stream_new();

    for (i = 0; i < N; i++) {
        host[i] = i;
    }
    CU_OK(cudaMemcpyAsync(dev, host, sizeof(host), cudaMemcpyHostToDevice, s));
    memset(host, 0, sizeof(host));
    CU_OK(cudaStreamSynchronize(s));
    CU_OK(cudaMemcpy(back, dev, sizeof(back), cudaMemcpyDeviceToHost));
    ok(are(back, 0, 1), "pageable memory is read at once");

    /* Rows of 16 bytes, 40 apart, to rows 20 apart. */
    memset(back, 0, sizeof(back));
    CU_OK(cudaMemcpy2D(back, 20, dev, 40, 16, 50, cudaMemcpyDeviceToHost));
    ok(back[0] == 0 && back[3] == 3 && back[4] == 0 && back[5] == 10
           && back[49 * 5 + 3] == 493 && back[49 * 5 + 4] == 0,
       "copies of rows");

    is_int(cudaMemcpy(dev, dev, 4, cudaMemcpyHostToDevice),
           cudaErrorInvalidValue, "a copy in the wrong direction");
    is_int(cudaGetLastError(), cudaErrorInvalidValue, "is the last error");
    is_int(cudaGetLastError(), cudaSuccess, "once");
    ok(strcmp(cudaGetErrorName(cudaErrorInvalidValue), "cudaErrorInvalidValue")
           == 0,
       "errors have names");

    CU_OK(cudaStreamDestroy(s));
    dev_free(dev);
}


static void
graphs(void)
{
    static uint32_t zeros[N];

    uint32_t    *dev = dev_of(zeros, sizeof(zeros)), *out = dev_new(4 * N);
    uint32_t    *host, *other = dev_new(4 * N), i;
    size_t       n = 0;
    cudaStream_t s = stream_new();
    cudaGraph_t  g;

    cudaGraphExec_t              exec;
    enum cudaStreamCaptureStatus status;

    CU_OK(cudaMallocHost((void **) &host, 8 * N));
    CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    CU_OK(cudaStreamIsCapturing(s, &status));
    is_int(status, cudaStreamCaptureStatusActive, "capturing");
    CU_OK(cudaMemcpyAsync(dev, host, 4 * N, cudaMemcpyHostToDevice, s));
    is_int(add(dev, out, 3, s), 0, "launches are captured");
    CU_OK(cudaMemsetAsync(other, 0, 4 * N, s));
    is_int(add(other, other, 2, s), 0, "and more");
    CU_OK(cudaMemcpyAsync(host + N, out, 4 * N, cudaMemcpyDeviceToHost, s));
    CU_OK(cudaStreamEndCapture(s, &g));
    CU_OK(cudaGraphGetNodes(g, NULL, &n));
    is_int(n, 8, "as many nodes as calls");
    CU_OK(cudaStreamIsCapturing(s, &status));
    is_int(status, cudaStreamCaptureStatusNone, "no longer");
    CU_OK(cudaGraphInstantiate(&exec, g, 0));
    CU_OK(cudaGraphDestroy(g));
    CU_OK(cudaGraphUpload(exec, s));

    for (i = 0; i < 3; i++) {
        uint32_t j;

        for (j = 0; j < N; j++) {
            host[j] = i * 100 + j;
        }
        CU_OK(cudaGraphLaunch(exec, s));
        CU_OK(cudaStreamSynchronize(s));
        ok(are(host + N, i * 100 + 3, 1), "launch %u of a graph", i);
    }
    dev_get(host, other, 4 * N);
    ok(are(host, 2, 0), "and its other branch");

    /* The same work of other memory. */
    CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    CU_OK(cudaMemcpyAsync(dev, host, 4 * N, cudaMemcpyHostToDevice, s));
    (void) add(dev, other, 3, s);
    CU_OK(cudaMemsetAsync(out, 0, 4 * N, s));
    (void) add(out, out, 2, s);
    CU_OK(cudaMemcpyAsync(host + N, other, 4 * N, cudaMemcpyDeviceToHost, s));
    CU_OK(cudaStreamEndCapture(s, &g));
    CU_OK(cudaGraphExecUpdate(exec, g, &(cudaGraphExecUpdateResultInfo){0}));
    CU_OK(cudaGraphDestroy(g));
    CU_OK(cudaGraphLaunch(exec, s));
    CU_OK(cudaGraphExecDestroy(exec));
    CU_OK(cudaStreamSynchronize(s));
    ok(are(host + N, 5, 0), "an updated graph, destroyed while it runs");

    CU_OK(cudaStreamDestroy(s));
    CU_OK(cudaFreeHost(host));
    dev_free(dev);
    dev_free(out);
    dev_free(other);
}


/* A second stream joins a capture by an event, and is joined again. */
static void
forked_capture(void)
{
    static uint32_t zeros[N];

    uint32_t       *dev = dev_of(zeros, sizeof(zeros)), *out = dev_new(4 * N);
    uint32_t       *other = dev_new(4 * N), host[N];
    cudaStream_t    a = stream_new(), b = stream_new();
    cudaEvent_t     fork_at, join_at;
    cudaGraph_t     g = NULL;
    cudaGraphExec_t exec;

    CU_OK(cudaEventCreateWithFlags(&fork_at, cudaEventDisableTiming));
    CU_OK(cudaEventCreateWithFlags(&join_at, cudaEventDisableTiming));
    CU_OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
    (void) add(dev, out, 1, a);
    CU_OK(cudaEventRecord(fork_at, a));
    CU_OK(cudaStreamWaitEvent(b, fork_at, 0));
    (void) add(out, other, 2, b);
    CU_OK(cudaEventRecord(join_at, b));
    CU_OK(cudaStreamWaitEvent(a, join_at, 0));
    (void) add(other, other, 1, a);
    is_int(cudaStreamEndCapture(a, &g), cudaSuccess, "two streams' capture");
    CU_OK(cudaGraphInstantiate(&exec, g, 0));
    CU_OK(cudaGraphLaunch(exec, b));
    CU_OK(cudaStreamSynchronize(b));
    dev_get(host, other, sizeof(host));
    ok(are(host, 4, 0), "runs in order");
    CU_OK(cudaGraphDestroy(g));
    CU_OK(cudaGraphExecDestroy(exec));

    CU_OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
    (void) add(dev, out, 1, a);
    CU_OK(cudaEventRecord(fork_at, a));
    CU_OK(cudaStreamWaitEvent(b, fork_at, 0));
    (void) add(out, other, 2, b);
    is_int(cudaStreamEndCapture(a, &g), cudaErrorStreamCaptureUnjoined,
           "a stream that was not joined");
    (void) cudaGetLastError();

    CU_OK(cudaEventDestroy(fork_at));
    CU_OK(cudaEventDestroy(join_at));
    CU_OK(cudaStreamDestroy(a));
    CU_OK(cudaStreamDestroy(b));
    dev_free(dev);
    dev_free(out);
    dev_free(other);
}


/* What a capture does not allow, and that it is lost then. */
static void
forbidden(void)
{
    uint32_t    *dev = dev_new(4 * N);
    void        *p;
    cudaStream_t s = stream_new();
    cudaGraph_t  g;
    int          i;

    for (i = 0; i < 3; i++) {
        CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
        (void) add(dev, dev, 1, s);
        switch (i) {
        case 0:
            is_int(cudaMalloc(&p, 100), cudaErrorStreamCaptureUnsupported,
                   "cudaMalloc() in a capture");
            break;
        case 1:
            is_int(cudaStreamSynchronize(s), cudaErrorStreamCaptureUnsupported,
                   "a wait for a stream that captures");
            break;
        default:
            is_int(cudaStreamQuery(s), cudaErrorStreamCaptureUnsupported,
                   "its query");
        }
        is_int(cudaStreamEndCapture(s, &g), cudaErrorStreamCaptureInvalidated,
               "ends it");
        (void) cudaGetLastError();
    }

    is_int(add(dev, dev, 1, s), 0, "the stream works again");
    CU_OK(cudaStreamSynchronize(s));
    CU_OK(cudaStreamDestroy(s));
    dev_free(dev);
}


static void
threads(void)
{
    uint32_t    *dev = dev_new(4 * N);
    cudaStream_t s = stream_new();
    cudaGraph_t  g;
    pthread_t    t;
    void        *result;

    CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    (void) add(dev, dev, 1, s);
    pthread_create(&t, NULL, other_thread, NULL);
    pthread_join(t, &result);
    ok(result != NULL, "a thread works while another captures for itself");
    is_int(cudaStreamEndCapture(s, &g), cudaSuccess, "which goes on");
    CU_OK(cudaGraphDestroy(g));
    CU_OK(cudaStreamDestroy(s));
    dev_free(dev);
}


static void *
other_thread(void *data)
{
    static uint32_t v[N];

    uint32_t    *p = NULL;
    cudaStream_t s = stream_new();
    int          good;

    good = cudaMalloc((void **) &p, 4 * N) == cudaSuccess;
    good &= cudaMemcpyAsync(p, v, 4 * N, cudaMemcpyHostToDevice, s) == 0;
    good &= add(p, p, 3, s) == 0;
    good &= cudaMemcpyAsync(v, p, 4 * N, cudaMemcpyDeviceToHost, s) == 0;
    good &= cudaStreamSynchronize(s) == cudaSuccess;
    good &= are(v, 3, 0) && cudaFree(p) == cudaSuccess;
    CU_OK(cudaStreamDestroy(s));

    return good ? v : NULL;
}


/* --- the emulated device --- */

static void
emulated(void)
{
    static const char *const late[] = {
        "a pinned buffer that is used again too early",
        "a result that is read too early",
        "a stream that does not wait for another"};
    static const char *const fatal[] = {
        "host code that reads device memory",
        "a kernel that fails, and all calls after it"};

    void *p, *q;
    int   i, n;

    for (i = 0; i < 3; i++) {
        n = hazards(i);
        ok(n > 3, "%s shows: %d runs of 20", late[i], n);
    }
    for (i = 0; i < 2; i++) {
        ok(in_child(i), "%s", fatal[i]);
    }

    setenv("CU_EMU_FAIL", "malloc:2,launch:3", 1);
    is_int(cudaMalloc(&p, 64), cudaSuccess, "the first allocation");
    is_int(cudaMalloc(&q, 64), cudaErrorMemoryAllocation, "the second fails");
    for (i = 1; i <= 4; i++) {
        is_int(probe_transpose(p, p, NULL), i == 3 ? -5 : 0, "launch %d", i);
    }
    unsetenv("CU_EMU_FAIL");
    CU_OK(cudaDeviceSynchronize());
    (void) cudaGetLastError();
    CU_OK(cudaFree(p));

    setenv("CU_EMU_MEMORY", "1000000", 1);
    is_int(cudaMalloc(&p, 1000001), cudaErrorMemoryAllocation,
           "memory has an end");
    unsetenv("CU_EMU_MEMORY");
    setenv("CU_EMU_DEVICES", "0", 1);
    is_int(cudaGetDeviceCount(&n), cudaErrorNoDevice, "no device");
    unsetenv("CU_EMU_DEVICES");
    (void) cudaGetLastError();
}


/* How many of 20 runs go wrong that may. */
static int
hazards(int kind)
{
    uint32_t    *dev = dev_new(4 * N), *out = dev_new(4 * N), *host;
    cudaStream_t a = stream_new(), b = stream_new();
    int          round, wrong = 0;

    CU_OK(cudaMallocHost((void **) &host, 4 * N));
    for (round = 0; round < 20; round++) {
        memset(host, 0, 4 * N);
        CU_OK(cudaMemcpyAsync(dev, host, 4 * N, cudaMemcpyHostToDevice, a));
        if (kind == 0) {
            memset(host, 1, 4 * N);
        }
        (void) add(dev, dev, 2, a);
        (void) add(dev, out, 2, kind == 2 ? b : a);
        if (kind == 1) {
            CU_OK(cudaMemcpyAsync(host, out, 4 * N, cudaMemcpyDeviceToHost, a));
            wrong += !are(host, 4, 0);
            CU_OK(cudaDeviceSynchronize());
        } else {
            CU_OK(cudaDeviceSynchronize());
            CU_OK(cudaMemcpy(host, out, 4 * N, cudaMemcpyDeviceToHost));
            wrong += !are(host, 4, 0);
        }
    }

    CU_OK(cudaFreeHost(host));
    CU_OK(cudaStreamDestroy(a));
    CU_OK(cudaStreamDestroy(b));
    dev_free(dev);
    dev_free(out);
    return wrong;
}


/* 0: all went as it should (or the process has died). */
static int
dies(int kind)
{
    uint32_t *dev = dev_new(4 * N);
    void     *p;

    if (kind == 0) {
        return *(volatile uint32_t *) dev == 1 ? 2 : 1;
    }

    setenv("CU_EMU_FAIL", "kernel:2", 1);
    if (add(dev, dev, 5, NULL) != 0
        && cudaPeekAtLastError() != cudaErrorIllegalAddress) {
        return 1;
    }
    if (cudaDeviceSynchronize() != cudaErrorIllegalAddress
        || cudaMalloc(&p, 100) != cudaErrorIllegalAddress
        || add(dev, dev, 1, NULL) == 0) {
        return 1;
    }

    return 0;
}


static int
in_child(int kind)
{
    int   status;
    pid_t pid = fork();

    if (pid == 0) {
        fclose(stderr);
        /* Above what a sanitizer ends with. */
        _exit(100 + dies(kind));
    }

    waitpid(pid, &status, 0);
    return kind == 0 ? WIFSIGNALED(status) || WEXITSTATUS(status) < 100
                     : WIFEXITED(status) && WEXITSTATUS(status) == 100;
}
