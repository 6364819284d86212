/*
 * The compute pool, see threads.h.
 *
 * All waiting is on 32-bit words that only grow: `job` (runs started) and
 * `phase` (barriers passed).  A waiter that has spun long enough counts
 * itself in `sleepers` and sleeps while the word has its old value; who
 * changes the word looks at `sleepers` afterwards.  Both are sequentially
 * consistent, so one of the two sees the other.
 *
 * The caller's thread owns the pool's memory; workers only read `fn`, `arg`.
 */

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernels/cpu/threads.h"

#define K_SPIN_NS    20000
#define K_SPIN_CHECK 64 /* pauses between two looks at the clock */
#define K_CPU_MAX    4096

#if defined(__x86_64__)
#define k_pause() __builtin_ia32_pause()
#else
#define k_pause() ((void) 0)
#endif


/* What different threads write stands on lines of its own. */
struct k_pool_s {
    uint32_t    n;
    int         nice;
    k_pool_fn_t fn;
    void       *arg;
    _Atomic int stop;

    _Alignas(64) _Atomic uint32_t job;
    _Atomic uint32_t job_sleepers;

    _Alignas(64) _Atomic uint32_t phase;
    _Atomic uint32_t phase_sleepers;

    _Alignas(64) _Atomic uint32_t arrived;
    _Alignas(64) _Atomic uint32_t next;

    pthread_t threads[K_POOL_MAX];
    uint32_t  n_started;
    struct k_worker_s {
        k_pool_t *pool;
        uint32_t  index;
    } workers[K_POOL_MAX];
};

typedef struct k_worker_s k_worker_t;


static void    *k_worker(void *data);
static void     k_wait(_Atomic uint32_t *word, uint32_t old,
                       _Atomic uint32_t *sleepers, uint64_t spin_ns);
static void     k_wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers);
static uint64_t k_now(void);
static uint32_t k_cores_mask(void);
static uint32_t k_cores_quota(void);
static double   k_quota_v2(const char *dir);
static int      k_first_cpu(uint32_t cpu);


int
k_pool_new(k_pool_t **pool, uint32_t n, int nice)
{
    int       rc;
    uint32_t  i;
    sigset_t  all, old;
    k_pool_t *p;

    if (n == 0) {
        n = k_cores();
    }
    if (n > K_POOL_MAX) {
        n = K_POOL_MAX;
    }

    p = aligned_alloc(64, (sizeof(k_pool_t) + 63) & ~(size_t) 63);
    if (p == NULL) {
        return -ENOMEM;
    }
    memset(p, 0, sizeof(k_pool_t));
    p->n = n;
    p->nice = nice;

    /* Signals are for the threads that wait for them. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);

    rc = 0;
    for (i = 1; i < n && rc == 0; i++) {
        p->workers[i].pool = p;
        p->workers[i].index = i;
        rc = pthread_create(&p->threads[i], NULL, k_worker, &p->workers[i]);
        p->n_started += rc == 0;
    }

    pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (rc != 0) {
        k_pool_destroy(p);
        return -rc;
    }

    *pool = p;
    return 0;
}


void
k_pool_destroy(k_pool_t *p)
{
    uint32_t i;

    if (p == NULL) {
        return;
    }

    atomic_store(&p->stop, 1);
    atomic_fetch_add(&p->job, 1);
    k_wake(&p->job, &p->job_sleepers);

    for (i = 1; i <= p->n_started; i++) {
        pthread_join(p->threads[i], NULL);
    }

    free(p);
}


uint32_t
k_pool_size(const k_pool_t *p)
{
    return p->n;
}


void
k_pool_run(k_pool_t *p, k_pool_fn_t fn, void *arg)
{
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);

    if (p->n == 1) {
        fn(arg, 0);
        return;
    }

    p->fn = fn;
    p->arg = arg;
    atomic_fetch_add(&p->job, 1);
    k_wake(&p->job, &p->job_sleepers);

    fn(arg, 0);
    k_pool_barrier(p);
}


void
k_pool_barrier(k_pool_t *p)
{
    k_pool_meet(p, NULL, NULL, 0);
}


void
k_pool_meet(k_pool_t *p, k_pool_fn_t fn, void *arg, uint32_t thread)
{
    uint32_t phase;

    phase = atomic_load_explicit(&p->phase, memory_order_relaxed);

    if (p->n > 1 && atomic_fetch_add(&p->arrived, 1) + 1 != p->n) {
        k_wait(&p->phase, phase, &p->phase_sleepers, K_SPIN_NS);
        return;
    }

    if (fn != NULL) {
        fn(arg, thread);
    }

    atomic_store_explicit(&p->next, 0, memory_order_relaxed);

    if (p->n > 1) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        atomic_store(&p->phase, phase + 1);
        k_wake(&p->phase, &p->phase_sleepers);
    }
}


uint32_t
k_pool_next(k_pool_t *p)
{
    return atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
}


static void *
k_worker(void *data)
{
    uint32_t    job;
    k_pool_t   *p;
    k_worker_t *w;

    w = data;
    p = w->pool;
    job = 0;

    (void) setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid), p->nice);
    (void) pthread_setname_np(pthread_self(), "llm-compute");

    for (;;) {
        k_wait(&p->job, job, &p->job_sleepers, 0);
        job++;

        if (atomic_load(&p->stop)) {
            return NULL;
        }

        p->fn(p->arg, w->index);
        k_pool_barrier(p);
    }
}


/* Returns when *word is no longer old. */
static void
k_wait(_Atomic uint32_t *word, uint32_t old, _Atomic uint32_t *sleepers,
       uint64_t spin_ns)
{
    int      i;
    uint64_t end;

    end = spin_ns ? k_now() + spin_ns : 0;

    while (spin_ns) {
        for (i = 0; i < K_SPIN_CHECK; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != old) {
                return;
            }
            k_pause();
        }
        if (k_now() >= end) {
            break;
        }
    }

    atomic_fetch_add(sleepers, 1);

    while (atomic_load(word) == old) {
        (void) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    }

    atomic_fetch_sub(sleepers, 1);
}


static void
k_wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers)
{
    if (atomic_load(sleepers) != 0) {
        (void) syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL,
                       NULL, 0);
    }
}


static uint64_t
k_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}


uint32_t
k_cores(void)
{
    uint32_t n, quota;

    n = k_cores_mask();
    quota = k_cores_quota();

    if (quota != 0 && quota < n) {
        n = quota;
    }

    return n != 0 ? n : 1;
}


/* CPUs of the mask, those left out that share a core with a lower one. */
static uint32_t
k_cores_mask(void)
{
    size_t     size;
    uint32_t   i, j, n;
    int        first, *seen;
    cpu_set_t *set;

    set = CPU_ALLOC(K_CPU_MAX);
    seen = calloc(K_CPU_MAX, sizeof(int));
    size = CPU_ALLOC_SIZE(K_CPU_MAX);
    n = 0;

    if (set == NULL || seen == NULL || sched_getaffinity(0, size, set) != 0) {
        goto done;
    }

    for (i = 0; i < K_CPU_MAX; i++) {
        if (!CPU_ISSET_S(i, size, set)) {
            continue;
        }

        first = k_first_cpu(i);
        for (j = 0; j < n && seen[j] != first; j++) {
            /* void */
        }
        if (j == n) {
            seen[n++] = first;
        }
    }

done:

    CPU_FREE(set);
    free(seen);

    return n;
}


/* The lowest CPU of the core that this one is a thread of. */
static int
k_first_cpu(uint32_t cpu)
{
    int   first;
    char  path[128];
    FILE *f;

    snprintf(path, sizeof(path),
             "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list",
             cpu);

    f = fopen(path, "re");
    if (f == NULL) {
        return (int) cpu;
    }

    if (fscanf(f, "%d", &first) != 1) {
        first = (int) cpu;
    }
    fclose(f);

    return first;
}


/* The control group's quota in whole CPUs, rounded up; 0: there is none. */
static uint32_t
k_cores_quota(void)
{
    FILE  *f;
    char   line[4096], dir[4200], *end;
    double least, quota;
    long   us, period;

    least = 0;

    f = fopen("/proc/self/cgroup", "re");
    if (f == NULL) {
        return 0;
    }

    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "0::/", 4) != 0) {
            continue;
        }

        line[strcspn(line, "\n")] = '\0';
        snprintf(dir, sizeof(dir), "/sys/fs/cgroup%s", line + 3);

        /* A parent's quota binds as well. */
        for (;;) {
            quota = k_quota_v2(dir);
            if (quota > 0 && (least == 0 || quota < least)) {
                least = quota;
            }
            end = strrchr(dir, '/');
            if (end == NULL || end <= dir + strlen("/sys/fs")) {
                break;
            }
            *end = '\0';
        }
    }
    fclose(f);

    /* Version 1, as seen from inside a container. */
    f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re");
    if (f != NULL) {
        us = -1;
        if (fscanf(f, "%ld", &us) != 1) {
            us = -1;
        }
        fclose(f);

        period = 100000;
        f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re");
        if (f != NULL) {
            if (fscanf(f, "%ld", &period) != 1 || period <= 0) {
                period = 100000;
            }
            fclose(f);
        }

        quota = us > 0 ? (double) us / (double) period : 0;
        if (quota > 0 && (least == 0 || quota < least)) {
            least = quota;
        }
    }

    return (uint32_t) least + (least > (double) (uint32_t) least);
}


static double
k_quota_v2(const char *dir)
{
    FILE *f;
    char  path[4300];
    long  us, period;

    snprintf(path, sizeof(path), "%s/cpu.max", dir);
    f = fopen(path, "re");
    if (f == NULL) {
        return 0;
    }

    us = 0;
    if (fscanf(f, "%ld %ld", &us, &period) != 2 || period <= 0) {
        us = 0; /* "max" */
    }
    fclose(f);

    return us > 0 ? (double) us / (double) period : 0;
}
