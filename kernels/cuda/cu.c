/*
 * The CUDA backend's door: the device, open and close, what it says about
 * itself, KV pages, and the table of functions that backend.h asks for.
 *
 * open() and close() are called by the engine's main thread; KV pages come and
 * go on the loader's thread, beside the steps of other models: that work is
 * done on the loader's stream.  kv_copy() belongs to the step loop, and goes
 * to the steps' stream, where it stands between steps.
 *
 * Where open() cannot find a device that this build has kernels for, it says
 * in one line what is missing and leaves nothing behind.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cu.h"

#define KV_DIM     4096u /* most layers, heads, elements of a head */
#define MEMORY_MIN (64u << 20)
#define ROOF_READ  (1ull << 30)
#define ROOF_DIM   8192u


static int         open_device(k_backend_t *be, char *err);
static int         open_failed(cudaError_t rc, char *err);
static int         open_streams(k_backend_t *be, char *err);
static int         open_memory(k_backend_t *be, char *err);
static void        open_blas(k_backend_t *be);
static int         cu_open(const k_config_t *conf, k_backend_t **out, char *err);
static void        cu_close(k_backend_t *be);
static const char *cu_describe(k_backend_t *be);
static void        cu_memory(k_backend_t *be, uint64_t *size, uint64_t *used);
static void       *alloc(k_backend_t *be, uint64_t size, int high, const char *what, char *err);
static int         cu_roof(k_backend_t *be, k_roof_t *roof, char *err);
static void        kv_geometry(k_backend_t *be, const k_program_t *prog, k_kv_t *kv);
static uint64_t    cu_kv_layout(k_backend_t *be, const k_program_t *prog);
static int  cu_kv_new(k_backend_t *be, const k_program_t *prog, uint32_t n_pages, k_kv_t **out,
                      char *err);
static int  kv_clear(k_backend_t *be, k_kv_t *kv);
static void cu_kv_free(k_backend_t *be, k_kv_t *kv);
static void cu_copy_page(k_backend_t *be, k_kv_t *kv, uint32_t dst, uint32_t src, uint32_t n);


const k_backend_ops_t k_backend_cuda = {
    .name = "cuda",
    .f8 = 1,
    .open = cu_open,
    .close = cu_close,
    .describe = cu_describe,
    .memory = cu_memory,
    .weights_load = cu_weights_load,
    .weights_free = cu_weights_free,
    .kv_layout = cu_kv_layout,
    .kv_new = cu_kv_new,
    .kv_free = cu_kv_free,
    .kv_copy = cu_copy_page,
    .program_prepare = cu_exec_prepare,
    .program_free = cu_exec_free,
    .step_submit = cu_step_submit,
    .step_wait = cu_step_wait,
    .sample = cu_step_sample,
    .ahead_submit = cu_ahead_submit,
    .ahead_collect = cu_ahead_collect,
    .logits = cu_step_logits,
    .roof = cu_roof,
    .busy = cu_step_busy,
};


int
cu_check(cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess) {
        return 0;
    }

    fprintf(stderr, "cuda: %s: %s (%s)\n", what, cudaGetErrorString(rc), cudaGetErrorName(rc));

    /* One that is over does not come up again at the next call. */
    (void) cudaGetLastError();

    return rc == cudaErrorMemoryAllocation ? -ENOMEM : -EIO;
}


int
cu_bind(k_backend_t *be)
{
    return cu_check(cudaSetDevice(be->device), "cudaSetDevice");
}


static int
cu_open(const k_config_t *conf, k_backend_t **out, char *err)
{
    int          rc;
    k_backend_t *be;

    be = calloc(1, sizeof(k_backend_t));
    if (be == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }

    be->conf = *conf;
    be->device = conf->device;
    pthread_mutex_init(&be->load_lock, NULL);

    rc = open_device(be, err);
    rc = rc == 0 ? open_streams(be, err) : rc;
    rc = rc == 0 ? open_memory(be, err) : rc;

    if (rc != 0) {
        cu_close(be);
        return rc;
    }

    open_blas(be);

    *out = be;
    return 0;
}


static int
open_device(k_backend_t *be, char *err)
{
    int                   n;
    char                  archs[96];
    cudaError_t           rc;
    struct cudaDeviceProp prop;

    rc = cudaGetDeviceCount(&n);
    if (rc != cudaSuccess) {
        return open_failed(rc, err);
    }

    if (n == 0) {
        snprintf(err, K_ERR_MAX, "there is no NVIDIA GPU");
        return -ENODEV;
    }

    if (be->device < 0 || be->device >= n) {
        snprintf(err, K_ERR_MAX, "there is no GPU %d: %d %s here, numbered from 0", be->device, n,
                 n == 1 ? "is" : "are");
        return -ENODEV;
    }

    rc = cudaSetDevice(be->device);
    if (rc != cudaSuccess) {
        return open_failed(rc, err);
    }

    rc = cudaGetDeviceProperties(&prop, be->device);
    if (rc != cudaSuccess) {
        return open_failed(rc, err);
    }

    be->major = prop.major;
    be->minor = prop.minor;
    be->sms = prop.multiProcessorCount;
    be->l2 = (uint64_t) prop.l2CacheSize;
    be->total = prop.totalGlobalMem;
    snprintf(be->name, sizeof(be->name), "%.*s", (int) sizeof(be->name) - 1, prop.name);

    if (cu_probe(archs, sizeof(archs)) != 0) {
        snprintf(err, K_ERR_MAX,
                 "this build has kernels for %s, %s is sm_%d%d: build with CUDA_ARCHS=sm_%d%d",
                 archs[0] ? archs : "other devices", be->name, be->major, be->minor, be->major,
                 be->minor);
        return -ENODEV;
    }

    return 0;
}


/* What a person can do about it. */
static int
open_failed(cudaError_t rc, char *err)
{
    int driver, runtime;

    driver = 0;
    runtime = 0;
    (void) cudaGetLastError();
    (void) cudaDriverGetVersion(&driver);
    (void) cudaRuntimeGetVersion(&runtime);

    if (rc == cudaErrorNoDevice) {
        snprintf(err, K_ERR_MAX, "there is no NVIDIA GPU");

    } else if (rc == cudaErrorInsufficientDriver && driver == 0) {
        snprintf(err, K_ERR_MAX, "there is no NVIDIA driver");

    } else if (rc == cudaErrorInsufficientDriver) {
        snprintf(err, K_ERR_MAX, "the driver's CUDA %d.%d is older than this build's %d.%d",
                 driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);

    } else {
        snprintf(err, K_ERR_MAX, "the GPU cannot be used: %s (%s)", cudaGetErrorString(rc),
                 cudaGetErrorName(rc));
    }

    return -ENODEV;
}


static int
open_streams(k_backend_t *be, char *err)
{
    int rc, i, least, greatest;

    rc = cu_check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream priorities");

    if (rc == 0) {
        rc = cu_check(cudaStreamCreateWithPriority(&be->stream, cudaStreamNonBlocking, greatest),
                      "the steps' stream");
    }

    if (rc == 0) {
        rc = cu_check(cudaStreamCreateWithPriority(&be->load_stream, cudaStreamNonBlocking, least),
                      "the loader's stream");
    }

    for (i = 0; i < CU_SLOTS && rc == 0; i++) {
        rc = cu_check(cudaEventCreateWithFlags(&be->staged[i],
                                               cudaEventDisableTiming | cudaEventBlockingSync),
                      "an event");
    }

    if (rc == 0) {
        rc = cu_check(cudaHostAlloc((void **) &be->staging, CU_SLOTS * CU_STAGING,
                                    cudaHostAllocDefault),
                      "pinned memory");
    }

    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "%s: streams or pinned memory: %s", be->name, strerror(-rc));
    }

    return rc;
}


/* One arena, of what is asked for or of nine tenths of what is free. */
static int
open_memory(k_backend_t *be, char *err)
{
    int      rc;
    size_t   all, left;
    uint64_t size;

    rc = cu_check(cudaMemGetInfo(&left, &all), "cudaMemGetInfo");
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "%s: cannot tell its memory", be->name);
        return rc;
    }

    size = be->conf.memory;
    if (size == 0) {
        size = left / 10 * 9;
        size = size / MEMORY_MIN * MEMORY_MIN;
    }

    rc = size < MEMORY_MIN ? -ENOMEM : size > left ? -ENOMEM : cu_arena_new(&be->arena, size);
    if (rc != 0) {
        snprintf(err, K_ERR_MAX,
                 "%s: cannot have %.1f GiB (at least %u MiB): of %.1f GiB are %.1f free", be->name,
                 (double) size / (1 << 30), MEMORY_MIN >> 20, (double) all / (1 << 30),
                 (double) left / (1 << 30));
        return rc;
    }

    be->raw = cu_alloc(be, CU_STAGING, "the loader's buffer", err);

    return be->raw == NULL ? -ENOMEM : 0;
}


/*
 * Products can do without the library, slowly; describe() says so.  Found
 * algorithms are kept in $NGX_LLM_CACHE or ~/.cache/ngx-llm, where that may be
 * written.
 */
static void
open_blas(k_backend_t *be)
{
    char        err[K_ERR_MAX], dir[512];
    const char *set, *home;

    set = getenv("NGX_LLM_CACHE");
    home = getenv("HOME");
    dir[0] = '\0';

    if (set != NULL && set[0] == '/') {
        snprintf(dir, sizeof(dir), "%s", set);
    } else if (set == NULL && home != NULL && home[0] == '/') {
        snprintf(dir, sizeof(dir), "%s/.cache/ngx-llm", home);
    }

    if (cu_blas_new(&be->blas, be, dir[0] ? dir : NULL, err) != 0) {
        be->blas = NULL;
        fprintf(stderr, "cuda: large products will be slow: %s\n", err);
    }
}


static void
cu_close(k_backend_t *be)
{
    int i;

    if (be == NULL) {
        return;
    }

    /* A device that has failed has been reported. */
    if (be->stream != NULL) {
        (void) cudaSetDevice(be->device);
        (void) cudaStreamSynchronize(be->stream);
    }
    if (be->load_stream != NULL) {
        (void) cudaStreamSynchronize(be->load_stream);
    }

    cu_blas_free(be->blas);

    if (be->staging != NULL) {
        (void) cudaFreeHost(be->staging);
    }
    for (i = 0; i < CU_SLOTS; i++) {
        if (be->staged[i] != NULL) {
            (void) cudaEventDestroy(be->staged[i]);
        }
    }

    if (be->arena != NULL && be->raw != NULL) {
        cu_arena_free(be->arena, be->raw, CU_STAGING);
    }
    cu_arena_free_all(be->arena);

    if (be->load_stream != NULL) {
        (void) cudaStreamDestroy(be->load_stream);
    }
    if (be->stream != NULL) {
        (void) cudaStreamDestroy(be->stream);
    }

    pthread_mutex_destroy(&be->load_lock);
    free(be);
}


static const char *
cu_describe(k_backend_t *be)
{
    int  runtime;
    char plan[128], blas[48];

    runtime = 0;
    (void) cudaRuntimeGetVersion(&runtime);
    cu_plan(be, plan, sizeof(plan));
    cu_blas_describe(be->blas, blas, sizeof(blas));

    snprintf(be->line, sizeof(be->line), "%s, sm_%d%d, %d SMs, %.1f GiB, CUDA %d.%d, %s; arena %s",
             be->name, be->major, be->minor, be->sms, (double) be->total / (1 << 30),
             runtime / 1000, runtime % 1000 / 10, blas, plan);

    return be->line;
}


static void
cu_memory(k_backend_t *be, uint64_t *size, uint64_t *used)
{
    uint64_t most;

    cu_arena_stat(be->arena, size, used, &most);
}


void
cu_plan(k_backend_t *be, char *out, size_t n)
{
    double   gib;
    uint64_t size, used, most, weights, kv;

    cu_arena_stat(be->arena, &size, &used, &most);

    weights = __atomic_load_n(&be->used_weights, __ATOMIC_RELAXED);
    kv = __atomic_load_n(&be->used_kv, __ATOMIC_RELAXED);

    gib = 1 << 30;

    /* They are counted apart, so for a moment they need not agree. */
    weights = weights < used ? weights : used;
    kv = kv < used - weights ? kv : used - weights;
    used -= weights + kv;

    snprintf(out, n, "%.2f GiB: weights %.2f, KV %.2f, buffers %.2f, free %.2f",
             (double) size / gib, (double) weights / gib, (double) kv / gib, (double) used / gib,
             (double) (size - weights - kv - used) / gib);
}


static int
cu_roof(k_backend_t *be, k_roof_t *roof, char *err)
{
    return cu_peak(be, ROOF_READ, ROOF_DIM, roof, err);
}


void *
cu_alloc(k_backend_t *be, uint64_t size, const char *what, char *err)
{
    return alloc(be, size, 1, what, err);
}


void *
cu_alloc_low(k_backend_t *be, uint64_t size, const char *what, char *err)
{
    return alloc(be, size, 0, what, err);
}


static void *
alloc(k_backend_t *be, uint64_t size, int high, const char *what, char *err)
{
    void    *p;
    uint64_t all, used, most;

    p = cu_arena_alloc(be->arena, size, high);
    if (p == NULL) {
        cu_arena_stat(be->arena, &all, &used, &most);
        snprintf(err, K_ERR_MAX,
                 "%s: needs %llu bytes; of %llu are %llu in use, the largest free range has %llu",
                 what, (unsigned long long) size, (unsigned long long) all,
                 (unsigned long long) used, (unsigned long long) most);
    }

    return p;
}


cu_type_t
cu_program_type(const k_program_t *prog)
{
    uint32_t          i, j;
    const k_op_t     *op;
    const k_weight_t *w;

    for (i = 0; prog->ops != NULL && i < prog->n_ops; i++) {
        op = &prog->ops[i];
        if (op->kind == K_OP_EMBED) {
            continue;
        }

        for (j = op->kind == K_OP_MOE ? 1 : 0; j < 4; j++) {
            w = op->w[j];
            if (w != NULL && (w->m.form != CU_W_PLAIN || w->m.type != CU_F16)) {
                return CU_BF16;
            }
        }
    }

    return prog->ops != NULL && prog->n_ops != 0 ? CU_F16 : CU_BF16;
}


static void
kv_geometry(k_backend_t *be, const k_program_t *prog, k_kv_t *kv)
{
    kv->be = be;
    kv->n_layer = prog->n_layer;
    kv->n_kv = prog->n_kv;
    kv->head_dim = prog->head_dim;
    kv->type = be->conf.kv_f8 ? CU_F8 : cu_program_type(prog);
    kv->elem = kv->type == CU_F8 ? 1 : 2;
    kv->v = (uint64_t) prog->n_kv * K_PAGE_TOKENS * prog->head_dim * kv->elem;
    kv->layer = 2 * kv->v;
    kv->page = kv->layer * prog->n_layer;
}


static uint64_t
cu_kv_layout(k_backend_t *be, const k_program_t *prog)
{
    k_kv_t kv;

    kv_geometry(be, prog, &kv);

    return kv.page;
}


static int
cu_kv_new(k_backend_t *be, const k_program_t *prog, uint32_t n_pages, k_kv_t **out, char *err)
{
    int     rc;
    k_kv_t *kv;

    /* Slots are 32-bit numbers: page * K_PAGE_TOKENS + place. */
    if (n_pages == 0 || n_pages > UINT32_MAX / K_PAGE_TOKENS || prog->n_layer == 0
        || prog->n_layer > KV_DIM || prog->n_kv == 0 || prog->n_kv > KV_DIM || prog->head_dim == 0
        || prog->head_dim % 2 != 0 || prog->head_dim > KV_DIM) {
        snprintf(err, K_ERR_MAX, "no KV pool of %u pages, %u layers, %u heads of %u", n_pages,
                 prog->n_layer, prog->n_kv, prog->head_dim);
        return -EINVAL;
    }

    rc = cu_bind(be);
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "KV cache: the device has failed");
        return rc;
    }

    kv = calloc(1, sizeof(k_kv_t));
    if (kv == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }

    kv_geometry(be, prog, kv);
    kv->n_pages = n_pages;

    if (kv->page > UINT64_MAX / n_pages) {
        snprintf(err, K_ERR_MAX, "KV cache: %u pages are too many", n_pages);
        free(kv);
        return -ENOMEM;
    }

    kv->size = kv->page * n_pages;
    kv->mem = cu_alloc(be, kv->size, "KV cache", err);
    if (kv->mem == NULL) {
        free(kv);
        return -ENOMEM;
    }

    (void) __atomic_add_fetch(&be->used_kv, kv->size, __ATOMIC_RELAXED);

    rc = cu_check(cudaEventCreateWithFlags(&kv->copied, cudaEventDisableTiming), "an event");
    rc = rc == 0 ? kv_clear(be, kv) : rc;
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "KV cache: the device has failed");
        cu_kv_free(be, kv);
        return rc;
    }

    *out = kv;
    return 0;
}


/* What no token has written yet is finite: zero times it is zero. */
static int
kv_clear(k_backend_t *be, k_kv_t *kv)
{
    int rc;

    pthread_mutex_lock(&be->load_lock);

    rc = cu_check(cudaMemsetAsync(kv->mem, 0, kv->size, be->load_stream), "clearing KV pages");
    if (rc == 0) {
        rc = cu_check(cudaStreamSynchronize(be->load_stream), "clearing KV pages");
    }

    pthread_mutex_unlock(&be->load_lock);

    return rc;
}


static void
cu_kv_free(k_backend_t *be, k_kv_t *kv)
{
    if (kv == NULL) {
        return;
    }

    /* A copy that no step has waited for: the pages may be another's next. */
    if (kv->copied != NULL && cu_bind(be) == 0) {
        (void) cu_check(cudaEventSynchronize(kv->copied), "the last copy of a KV page");
        (void) cudaEventDestroy(kv->copied);
    }

    (void) __atomic_sub_fetch(&be->used_kv, kv->size, __ATOMIC_RELAXED);
    cu_arena_free(be->arena, kv->mem, kv->size);
    free(kv);
}


static void
cu_copy_page(k_backend_t *be, k_kv_t *kv, uint32_t dst, uint32_t src, uint32_t n)
{
    uint64_t row;

    if (dst >= kv->n_pages || src >= kv->n_pages || dst == src || n == 0) {
        return;
    }

    n = n < K_PAGE_TOKENS ? n : K_PAGE_TOKENS;
    row = (uint64_t) kv->head_dim * kv->elem;

    if (cu_bind(be) != 0) {
        return;
    }

    /* Where this fails, the device has: the next step says so, and ends all. */
    if (cu_kv_copy(kv->mem, kv->page, dst, src, n, row * K_PAGE_TOKENS, 2 * kv->n_layer * kv->n_kv,
                   row, be->stream)
        != 0) {
        fprintf(stderr, "cuda: a KV page could not be copied\n");
    }

    (void) cu_check(cudaEventRecord(kv->copied, be->stream), "the copy of a KV page");
}
