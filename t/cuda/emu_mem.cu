/*
 * CUDA's runtime for the emulated device: the device itself, memory, copies.
 *
 * An allocation ends (rounded up to 256 bytes, as on a device) before a page
 * that nobody may touch and is 0xff; the host can touch it only by CUDA's
 * calls, for it is protected while none is under way.
 *
 * CU_EMU_DEVICES (1): 0: no device, -1: no driver.  CU_EMU_MEMORY: bytes, 2
 * GiB.  CU_EMU_SMS: multiprocessors, 16.
 */

#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>

#include "t/cuda/emu_rt.h"

#define MEM_PAGE    4096
#define MEM_ALIGN   256
#define MEM_PATTERN (8u << 20) /* of 0xff, mapped again and again */

static std::vector<emu_mem_t> mem; /* by address */
static uint64_t               mem_used;
static int                    mem_is_open;
static const emu_mem_t       *mem_last;
static thread_local int       mem_device;


static int64_t
mem_env(const char *name, int64_t normal)
{
    const char *s = getenv(name);

    return s && *s ? strtoll(s, NULL, 0) : normal;
}


/* --- the device --- */

cudaError_t
cudaGetDeviceCount(int *n)
{
    int64_t have = mem_env("CU_EMU_DEVICES", 1);

    *n = have > 0 ? (int) have : 0;
    if (have < 0) {
        return emu_result(cudaErrorInsufficientDriver);
    }
    return emu_result(have == 0 ? cudaErrorNoDevice : cudaSuccess);
}


cudaError_t
cudaSetDevice(int device)
{
    int         n;
    cudaError_t rc = cudaGetDeviceCount(&n);

    if (rc == cudaSuccess && (device < 0 || device >= n)) {
        rc = cudaErrorInvalidDevice;
    }
    if (rc == cudaSuccess) {
        mem_device = device;
    }
    return emu_result(rc);
}


cudaError_t
cudaGetDevice(int *device)
{
    int         n;
    cudaError_t rc = cudaGetDeviceCount(&n);

    *device = mem_device;
    return rc;
}


cudaError_t
cudaSetDeviceFlags(unsigned)
{
    return cudaSuccess;
}


cudaError_t
cudaDriverGetVersion(int *v)
{
    *v = mem_env("CU_EMU_DEVICES", 1) < 0 ? 0 : CUDART_VERSION;
    return cudaSuccess;
}


cudaError_t
cudaRuntimeGetVersion(int *v)
{
    *v = CUDART_VERSION;
    return cudaSuccess;
}


cudaError_t
cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    int         n;
    cudaError_t rc = cudaGetDeviceCount(&n);

    if (rc == cudaSuccess && (device < 0 || device >= n)) {
        rc = cudaErrorInvalidDevice;
    }
    if (rc != cudaSuccess) {
        return emu_result(rc);
    }

    memset(p, 0, sizeof(*p));
    snprintf(p->name, sizeof(p->name), "Emulated device");
    p->totalGlobalMem = (size_t) mem_env("CU_EMU_MEMORY", 2ll << 30);
    p->sharedMemPerBlock = EMU_SHARED_STATIC;
    p->sharedMemPerBlockOptin = EMU_SHARED_MAX;
    p->sharedMemPerMultiprocessor = 228 * 1024;
    p->reservedSharedMemPerBlock = 1024;
    p->regsPerBlock = 65536;
    p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->memPitch = 0x7fffffff;
    p->maxThreadsPerBlock = EMU_THREADS;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->maxThreadsDim[0] = 1024;
    p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = 65535;
    p->maxGridSize[2] = 65535;
    p->totalConstMem = 65536;
    p->major = 9;
    p->minor = 0;
    p->multiProcessorCount = (int) mem_env("CU_EMU_SMS", 16);
    p->l2CacheSize = 50 << 20;
    p->persistingL2CacheMaxSize = 30 << 20;
    p->memoryBusWidth = 6144;
    p->asyncEngineCount = 3;
    p->concurrentKernels = 1;
    p->unifiedAddressing = 1;
    p->canMapHostMemory = 1;
    p->pageableMemoryAccess = 0;
    return cudaSuccess;
}


cudaError_t
cudaDeviceGetAttribute(int *value, cudaDeviceAttr attr, int device)
{
    struct cudaDeviceProp p;
    cudaError_t           rc = cudaGetDeviceProperties(&p, device);

    if (rc != cudaSuccess) {
        return rc;
    }

    switch (attr) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = p.maxThreadsPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = (int) p.sharedMemPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int) p.sharedMemPerBlockOptin;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int) p.sharedMemPerMultiprocessor;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        break;
    case cudaDevAttrL2CacheSize:
        *value = p.l2CacheSize;
        break;
    case cudaDevAttrMaxPersistingL2CacheSize:
        *value = p.persistingL2CacheMaxSize;
        break;
    case cudaDevAttrWarpSize:
        *value = 32;
        break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = p.maxThreadsPerMultiProcessor;
        break;
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = p.memoryBusWidth;
        break;
    case cudaDevAttrClockRate:
        *value = 1980000;
        break;
    case cudaDevAttrMemoryClockRate:
        *value = 3201000;
        break;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCanMapHostMemory:
        *value = 1;
        break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrPageableMemoryAccess:
        *value = 0;
        break;
    default:
        return emu_result(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}


/* --- memory --- */

static void
mem_protect(const emu_mem_t *m, int open)
{
    if (!m->host) {
        mprotect(m->map + MEM_PAGE, m->mapped - 2 * MEM_PAGE,
                 open ? PROT_READ | PROT_WRITE : PROT_NONE);
    }
}


void
emu_memory_open()
{
    if (mem_is_open) {
        return;
    }
    mem_is_open = 1;
    for (const emu_mem_t &m : mem) {
        mem_protect(&m, 1);
    }
}


void
emu_memory_close()
{
    if (!mem_is_open) {
        return;
    }
    mem_is_open = 0;
    for (const emu_mem_t &m : mem) {
        mem_protect(&m, 0);
    }
}


EMU_CORE const emu_mem_t *
emu_memory(const void *at)
{
    const uint8_t *p = (const uint8_t *) at;
    size_t         lo = 0, hi = mem.size(), mid;

    if (mem_last && p >= mem_last->p && p < mem_last->p + mem_last->size) {
        return mem_last;
    }

    while (lo < hi) {
        mid = (lo + hi) / 2;
        if (mem[mid].p + mem[mid].size <= p) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }

    if (lo == mem.size() || p < mem[lo].p) {
        return NULL;
    }
    mem_last = &mem[lo];
    return mem_last;
}


const emu_mem_t *
emu_memory_near(const void *at)
{
    const uint8_t *p = (const uint8_t *) at;

    for (const emu_mem_t &m : mem) {
        if (p >= m.map && p < m.map + m.mapped) {
            return &m;
        }
    }
    return NULL;
}


/* A file of 0xff: what large allocations are until written to. */
static int
mem_pattern()
{
    static int fd = -1;
    void      *p;

    if (fd >= 0) {
        return fd;
    }

    fd = memfd_create("0xff", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, MEM_PATTERN) != 0) {
        return -1;
    }
    p = mmap(NULL, MEM_PATTERN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return -1;
    }
    memset(p, 0xff, MEM_PATTERN);
    munmap(p, MEM_PATTERN);
    return fd;
}


static cudaError_t
mem_new(void **out, size_t size, int host)
{
    size_t    whole = (size + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN, n;
    emu_mem_t m = {};
    int       fd;

    m.size = size;
    m.host = host;
    m.mapped = (whole + MEM_PAGE - 1) / MEM_PAGE * MEM_PAGE + 2 * MEM_PAGE;
    m.map = (uint8_t *) mmap(NULL, m.mapped, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m.map == MAP_FAILED) {
        return cudaErrorMemoryAllocation;
    }

    m.p = m.map + m.mapped - MEM_PAGE - whole;
    mprotect(m.map, MEM_PAGE, PROT_NONE);
    mprotect(m.map + m.mapped - MEM_PAGE, MEM_PAGE, PROT_NONE);

    if (m.mapped <= 4 * (size_t) MEM_PATTERN) {
        memset(m.map + MEM_PAGE, 0xff, m.mapped - 2 * MEM_PAGE);
    } else if ((fd = mem_pattern()) >= 0) {
        for (size_t at = MEM_PAGE; at < m.mapped - MEM_PAGE; at += n) {
            n = std::min((size_t) MEM_PATTERN, m.mapped - MEM_PAGE - at);
            if (mmap(m.map + at, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                     fd, 0)
                == MAP_FAILED) {
                munmap(m.map, m.mapped);
                return cudaErrorMemoryAllocation;
            }
        }
    }

    mem.insert(std::lower_bound(mem.begin(), mem.end(), m,
                                [](const emu_mem_t &a, const emu_mem_t &b) { return a.p < b.p; }),
               m);
    mem_last = NULL;
    mem_protect(&m, mem_is_open);
    *out = m.p;
    return cudaSuccess;
}


static cudaError_t
mem_free(void *p, int host)
{
    for (size_t i = 0; i < mem.size(); i++) {
        emu_mem_t m = mem[i];

        if (m.p != p || m.host != host) {
            continue;
        }

        mem_protect(&m, 1);
        for (uint8_t *b = m.p + m.size; b < m.map + m.mapped - MEM_PAGE; b++) {
            if (*b != 0xff) {
                emu_fail(NULL, 0, "byte %td of %zu bytes of memory was written", b - m.p, m.size);
            }
        }

        munmap(m.map, m.mapped);
        mem.erase(mem.begin() + (ptrdiff_t) i);
        mem_last = NULL;
        if (!host) {
            mem_used -= m.size;
        }
        return cudaSuccess;
    }
    return cudaErrorInvalidValue;
}


cudaError_t
cudaMalloc(void **p, size_t size)
{
    emu_api_t   api;
    uint64_t    total = (uint64_t) mem_env("CU_EMU_MEMORY", 2ll << 30);
    cudaError_t rc = emu_unsafe();

    if (rc == cudaSuccess) {
        rc = emu_dead();
    }
    if (rc == cudaSuccess && (emu_injected("malloc") || size > total - mem_used)) {
        rc = cudaErrorMemoryAllocation;
    }
    if (rc == cudaSuccess && size == 0) {
        *p = NULL;
        return cudaSuccess;
    }
    if (rc == cudaSuccess) {
        rc = mem_new(p, size, 0);
    }
    if (rc == cudaSuccess) {
        mem_used += size;
    }
    return emu_result(rc);
}


cudaError_t
cudaFree(void *p)
{
    emu_api_t   api;
    cudaError_t rc = emu_unsafe();

    if (rc != cudaSuccess || p == NULL) {
        return emu_result(rc);
    }

    /* As a device does: after all that may still use it. */
    emu_drain_all();
    return emu_result(mem_free(p, 0));
}


cudaError_t
cudaMemGetInfo(size_t *left, size_t *total)
{
    emu_api_t api;

    *total = (size_t) mem_env("CU_EMU_MEMORY", 2ll << 30);
    *left = *total - mem_used;
    return emu_result(emu_dead());
}


cudaError_t
cudaHostAlloc(void **p, size_t size, unsigned)
{
    emu_api_t   api;
    cudaError_t rc = emu_unsafe();

    if (rc == cudaSuccess) {
        rc = emu_dead();
    }
    if (rc == cudaSuccess && emu_injected("host")) {
        rc = cudaErrorMemoryAllocation;
    }
    if (rc == cudaSuccess) {
        rc = mem_new(p, size, 1);
    }
    return emu_result(rc);
}


cudaError_t
cudaMallocHost(void **p, size_t size)
{
    return cudaHostAlloc(p, size, cudaHostAllocDefault);
}


cudaError_t
cudaFreeHost(void *p)
{
    emu_api_t   api;
    cudaError_t rc = emu_unsafe();

    if (rc != cudaSuccess || p == NULL) {
        return emu_result(rc);
    }
    emu_drain_all();
    return emu_result(mem_free(p, 1));
}


cudaError_t
cudaHostRegister(void *p, size_t size, unsigned)
{
    emu_api_t api;
    emu_mem_t m = {};

    if (emu_injected("host")) {
        return emu_result(cudaErrorMemoryAllocation);
    }

    /* The map stays the caller's: 0 bytes of it. */
    m.p = (uint8_t *) p;
    m.size = size;
    m.host = 2;
    mem.insert(std::lower_bound(mem.begin(), mem.end(), m,
                                [](const emu_mem_t &a, const emu_mem_t &b) { return a.p < b.p; }),
               m);
    mem_last = NULL;
    return cudaSuccess;
}


cudaError_t
cudaHostUnregister(void *p)
{
    emu_api_t api;

    emu_drain_all();
    for (size_t i = 0; i < mem.size(); i++) {
        if (mem[i].p == p && mem[i].host == 2) {
            mem.erase(mem.begin() + (ptrdiff_t) i);
            mem_last = NULL;
            return cudaSuccess;
        }
    }
    return emu_result(cudaErrorInvalidValue);
}


cudaError_t
cudaHostGetDevicePointer(void **out, void *p, unsigned)
{
    emu_api_t        api;
    const emu_mem_t *m = emu_memory(p);

    if (m == NULL || !m->host) {
        return emu_result(cudaErrorInvalidValue);
    }
    *out = p;
    return cudaSuccess;
}


/* --- copies --- */

typedef enum { MEM_PAGEABLE = 0, MEM_PINNED, MEM_DEVICE, MEM_WRONG } mem_where_t;

/* What [p, p + n) is. */
static mem_where_t
mem_where(const void *p, size_t n)
{
    const emu_mem_t *m = emu_memory(p);

    if (m == NULL) {
        m = emu_memory_near(p);
        return m && !m->host ? MEM_WRONG : MEM_PAGEABLE;
    }
    if ((const uint8_t *) p + n > m->p + m->size) {
        return MEM_WRONG;
    }
    return m->host ? MEM_PINNED : MEM_DEVICE;
}


typedef struct {
    void          *dst;
    size_t         dst_pitch;
    const void    *src;
    size_t         src_pitch;
    size_t         width;
    size_t         height;
    cudaMemcpyKind kind;
} mem_copy_t;


static void
mem_copy_do(const mem_copy_t *c)
{
    for (size_t i = 0; i < c->height; i++) {
        memcpy((uint8_t *) c->dst + i * c->dst_pitch, (const uint8_t *) c->src + i * c->src_pitch,
               c->width);
    }
}


static cudaError_t
mem_copy_check(const mem_copy_t *c, mem_where_t *dst, mem_where_t *src)
{
    static const cudaMemcpyKind kinds[2][2] = {
        {cudaMemcpyHostToHost, cudaMemcpyDeviceToHost},
        {cudaMemcpyHostToDevice, cudaMemcpyDeviceToDevice},
    };

    *dst = mem_where(c->dst, (c->height - 1) * c->dst_pitch + c->width);
    *src = mem_where(c->src, (c->height - 1) * c->src_pitch + c->width);
    if (*dst == MEM_WRONG || *src == MEM_WRONG || c->width > c->dst_pitch
        || c->width > c->src_pitch) {
        return cudaErrorInvalidValue;
    }

    return c->kind != cudaMemcpyDefault && c->kind != kinds[*dst == MEM_DEVICE][*src == MEM_DEVICE]
               ? cudaErrorInvalidValue
               : cudaSuccess;
}


/*
 * In stream order.  Pageable memory is read at once (into a graph: when it
 * runs); everything else when its turn comes.
 */
static cudaError_t
mem_copy(mem_copy_t c, cudaStream_t stream)
{
    mem_where_t dst, src;
    cudaError_t rc;

    if (c.width == 0 || c.height == 0) {
        return cudaSuccess;
    }
    if (emu_injected("copy")) {
        return cudaErrorInvalidValue;
    }

    rc = mem_copy_check(&c, &dst, &src);
    if (rc != cudaSuccess) {
        return rc;
    }

    if (src == MEM_PAGEABLE && !emu_capturing(stream)) {
        auto staged = std::make_shared<std::vector<uint8_t>>(c.width * c.height);

        for (size_t i = 0; i < c.height; i++) {
            memcpy(staged->data() + i * c.width, (const uint8_t *) c.src + i * c.src_pitch,
                   c.width);
        }
        c.src = staged->data();
        c.src_pitch = c.width;
        return emu_enqueue(stream, EMU_COPY, NULL, [c, staged]() { mem_copy_do(&c); });
    }

    return emu_enqueue(stream, EMU_COPY, NULL, [c]() { mem_copy_do(&c); });
}


/*
 * Waits, but where a device need not: copies within the device, and pageable
 * memory to the device (it has been read, it may not have arrived).
 */
static cudaError_t
mem_copy_wait(const mem_copy_t &c)
{
    emu_api_t   api;
    mem_where_t dst, src;
    cudaError_t rc = emu_unsafe();

    if (rc == cudaSuccess) {
        rc = mem_copy(c, NULL);
    }
    if (rc == cudaSuccess && c.width > 0 && c.height > 0
        && mem_copy_check(&c, &dst, &src) == cudaSuccess
        && (dst != MEM_DEVICE || src == MEM_PINNED)) {
        emu_drain(emu_stream(NULL));
        rc = emu_dead();
    }
    return emu_result(rc);
}


cudaError_t
cudaMemcpy(void *dst, const void *src, size_t n, cudaMemcpyKind kind)
{
    return mem_copy_wait({dst, n, src, n, n, 1, kind});
}


cudaError_t
cudaMemcpyAsync(void *dst, const void *src, size_t n, cudaMemcpyKind kind, cudaStream_t stream)
{
    emu_api_t api;

    return emu_result(mem_copy({dst, n, src, n, n, 1, kind}, stream));
}


cudaError_t
cudaMemcpy2D(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
             size_t height, cudaMemcpyKind kind)
{
    return mem_copy_wait({dst, dst_pitch, src, src_pitch, width, height, kind});
}


cudaError_t
cudaMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                  size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
    emu_api_t api;

    return emu_result(mem_copy({dst, dst_pitch, src, src_pitch, width, height, kind}, stream));
}


static cudaError_t
mem_set(void *p, int v, size_t n, cudaStream_t stream)
{
    if (n == 0) {
        return cudaSuccess;
    }
    if (mem_where(p, n) != MEM_DEVICE && mem_where(p, n) != MEM_PINNED) {
        return cudaErrorInvalidValue;
    }
    if (emu_injected("copy")) {
        return cudaErrorInvalidValue;
    }
    return emu_enqueue(stream, EMU_SET, NULL, [=]() { memset(p, v, n); });
}


cudaError_t
cudaMemset(void *p, int v, size_t n)
{
    emu_api_t   api;
    cudaError_t rc = emu_unsafe();

    return emu_result(rc != cudaSuccess ? rc : mem_set(p, v, n, NULL));
}


cudaError_t
cudaMemsetAsync(void *p, int v, size_t n, cudaStream_t stream)
{
    emu_api_t api;

    return emu_result(mem_set(p, v, n, stream));
}
