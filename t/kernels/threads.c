/*
 * The CPU backend's threads: the pool's barriers and dealing, its sleep, its
 * niceness, the count of cores; weights that come and go while steps run.
 * Run under ThreadSanitizer too.
 */

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "t/lib/tap.h"
#include "t/kernels/toy.h"
#include "kernels/cpu/threads.h"

#define N      4
#define ROUNDS 300


typedef struct {
    k_pool_t *pool;
    uint32_t  n;
    uint32_t  plain[64]; /* no atomics: barriers must order these */
    uint32_t  mine[64];
    uint32_t  dealt[64];
    uint32_t  sum; /* by whoever met the others last */
    uint32_t  met; /* his number */
    uint32_t  meets;
    uint32_t  bad;
} shared_t;


static void  test_pool(uint32_t n);
static void  pool_body(void *arg, uint32_t thread);
static void  pool_alone(void *arg, uint32_t thread);
static void  test_idle(void);
static void  test_nice(void);
static void  test_cores(void);
static void  test_loader(void);
static void *loader(void *arg);


int
main(void)
{
    test_pool(1);
    test_pool(2);
    test_pool(N);
    test_idle();
    test_nice();
    test_cores();
    test_loader();

    return tap_done();
}


static void
test_pool(uint32_t n)
{
    int       i;
    shared_t *s;
    uint32_t  k, bad;

    s = calloc(1, sizeof(*s));
    is_int(k_pool_new(&s->pool, n, 0), 0, "a pool of %u", n);
    is_int(k_pool_size(s->pool), n, "has %u", n);
    s->n = n;

    for (i = 0; i < 20; i++) {
        k_pool_run(s->pool, pool_body, s);
    }

    bad = 0;
    for (k = 0; k < 64; k++) {
        bad += s->dealt[k] != 20 * ROUNDS;
    }
    is_int(bad, 0, "every number is dealt once a phase");
    is_int(s->bad, 0, "what is written before a barrier is seen after it");
    is_int(s->meets, 20 * ROUNDS, "one does what is for one");

    k_pool_destroy(s->pool);
    free(s);
}


static void
pool_body(void *arg, uint32_t thread)
{
    int       i;
    shared_t *s;
    uint32_t  k, want, sum;

    s = arg;

    for (i = 0; i < ROUNDS; i++) {
        s->plain[thread] = (uint32_t) i * 7 + thread;
        for (k = k_pool_next(s->pool); k < 64; k = k_pool_next(s->pool)) {
            s->dealt[k]++;
        }
        k_pool_barrier(s->pool);

        sum = want = 0;
        for (k = 0; k < s->n; k++) {
            sum += s->plain[k];
            want += (uint32_t) i * 7 + k;
        }
        if (sum != want) {
            __atomic_add_fetch(&s->bad, 1, __ATOMIC_RELAXED);
        }

        /* What the last one does sees all, is done once, and is seen. */
        s->mine[thread] = thread + 1;
        k_pool_meet(s->pool, pool_alone, s, thread);
        if (s->sum != s->n * (s->n + 1) / 2 || s->met >= s->n) {
            __atomic_add_fetch(&s->bad, 1, __ATOMIC_RELAXED);
        }
        k_pool_barrier(s->pool);
    }
}


static void
pool_alone(void *arg, uint32_t thread)
{
    shared_t *s;
    uint32_t  k;

    s = arg;
    s->met = thread;
    s->meets++;
    s->sum = 0;
    for (k = 0; k < s->n; k++) {
        s->sum += s->mine[k];
    }
}


/* CPU time, not time: a pool that waits takes none. */
static void
test_idle(void)
{
    double          used;
    shared_t       *s;
    struct timespec a, b, nap = {0, 300 * 1000 * 1000};

    s = calloc(1, sizeof(*s));
    k_pool_new(&s->pool, N, 0);
    s->n = N;
    k_pool_run(s->pool, pool_body, s);

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    nanosleep(&nap, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    used = (double) (b.tv_sec - a.tv_sec) * 1e3
           + (double) (b.tv_nsec - a.tv_nsec) * 1e-6;
    ok(used < 10, "300 ms of idling take %.2f ms of CPU", used);

    k_pool_destroy(s->pool);
    free(s);
}


static void
test_nice(void)
{
    int            n, low, all;
    DIR           *d;
    FILE          *f;
    char           path[300], line[1024], *p;
    k_pool_t      *pool;
    struct dirent *e;

    k_pool_new(&pool, 3, 7);
    usleep(20000);

    all = low = 0;
    d = opendir("/proc/self/task");
    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof(path), "/proc/self/task/%s/stat", e->d_name);
        f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (f == NULL) {
            continue;
        }
        if (fgets(line, sizeof(line), f) != NULL
            && strstr(line, "(llm-compute)") != NULL) {
            /* The 17th field after the name is the niceness. */
            p = strrchr(line, ')');
            for (n = 0; n < 17 && p != NULL; n++) {
                p = strchr(p + 1, ' ');
            }
            all++;
            low += p != NULL && atoi(p) >= 7;
        }
        fclose(f);
    }
    if (d != NULL) {
        closedir(d);
    }
    is_int(all, 2, "two workers beside the caller");
    is_int(low, 2, "at their niceness");
    k_pool_destroy(pool);
}


static void
test_cores(void)
{
    uint32_t  i, n;
    cpu_set_t old, one;

    n = k_cores();
    ok(n >= 1 && n <= (uint32_t) sysconf(_SC_NPROCESSORS_CONF), "%u cores", n);

    sched_getaffinity(0, sizeof(old), &old);
    CPU_ZERO(&one);
    for (i = 0; !CPU_ISSET(i, &old); i++) {
        /* void */
    }
    CPU_SET(i, &one);
    sched_setaffinity(0, sizeof(one), &one);
    is_int(k_cores(), 1, "one, where the affinity allows one");
    sched_setaffinity(0, sizeof(old), &old);
}


static atomic_int stop;


/* Weights come and go in the same arena while steps run. */
static void *
loader(void *arg)
{
    int          i;
    char         err[K_ERR_MAX];
    float       *data;
    k_source_t   src;
    k_weight_t  *w;
    k_backend_t *be;

    be = arg;
    data = calloc(64 * 64, sizeof(float));
    memset(&src, 0, sizeof(src));
    src.type = K_F32;
    src.rows = 64;
    src.cols = 64;
    src.data = data;
    src.name = "x";

    for (i = 0; !atomic_load(&stop); i++) {
        if (k_backend_cpu.weights_load(be, &src, &w, err) == 0) {
            k_backend_cpu.weights_free(be, w);
        }
    }
    free(data);
    return NULL;
}


static void
test_loader(void)
{
    int           i, rc;
    char          err[K_ERR_MAX];
    toy_t         t;
    k_kv_t       *kv;
    int32_t       tokens[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t      pages[16], row = 7;
    k_exec_t     *exec;
    pthread_t     thread;
    k_batch_t     b;
    k_limits_t    limits = {8, 1, 1};
    k_config_t    c;
    k_sample_t    r;
    k_backend_t  *be;
    k_sampled_t   out;
    k_batch_seq_t seq;

    static const toy_conf_t conf = {
        64,           2,         6, 2, 32, 96, 100, 32, 0,        K_Q8_0,
        K_ROPE_PAIRS, K_FN_SILU, 0, 0, 0,  0,  0,   1,  .seed = 9};

    memset(&c, 0, sizeof(c));
    c.memory = 32 << 20;
    c.threads = N;
    rc = k_backend_cpu.open(&c, &be, err);
    toy_make(&t, &k_backend_cpu, be, &conf);
    rc = rc ? rc : k_backend_cpu.kv_new(be, &t.prog, 16, &kv, err);
    rc = rc ? rc
            : k_backend_cpu.program_prepare(be, &t.prog, kv, &limits, &exec,
                                            err);
    pthread_create(&thread, NULL, loader, be);

    for (i = 0; i < 16; i++) {
        pages[i] = (uint32_t) i;
    }
    memset(&r, 0, sizeof(r));
    r.temperature = 1;
    r.top_p = 0.9f;
    r.repetition = 1;

    for (i = 0; i < 60 && rc == 0; i++) {
        memset(&b, 0, sizeof(b));
        memset(&seq, 0, sizeof(seq));
        seq.n = b.n_rows = 8;
        seq.pos = (uint32_t) i * 8;
        seq.pages = pages;
        b.n_seqs = b.n_logits = 1;
        b.tokens = tokens;
        b.seqs = &seq;
        b.logit_rows = &row;
        rc = k_backend_cpu.step_submit(exec, &b);
        rc = rc ? rc : k_backend_cpu.sample(exec, 1, &r, &out);
        tokens[i % 8] = out.token;
    }
    is_int(rc, 0, "60 steps while weights come and go");

    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    k_backend_cpu.program_free(exec);
    k_backend_cpu.kv_free(be, kv);
    toy_free(&t);
    k_backend_cpu.close(be);
}
