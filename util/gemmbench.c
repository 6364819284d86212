/*
 * llm-gemmbench: the CPU's matrix kernels alone, against what the machine
 * gives in the same run: its peak of integer dot products (all rows of x in
 * registers, no memory) and its speed of reading (a buffer as large as the
 * matrix).
 *
 *     llm-gemmbench [--threads N] [--isa NAME] [--types Q4_1,Q8_0] [--all]
 *                   [--m 1,64] [--model default|1b] [--f32] [--json]
 *                   [--ratios]
 *
 * --ratios: every type beside Q4_0, by turns in the same run: decode of one
 * row out of a matrix larger than the caches, in bytes of the file's format
 * a second; and products with 64 rows.
 *
 * A point runs for some 40 ms, its best 0.1 ms counts; the whole takes less
 * than 30 s.  Progress goes to stderr, the table (or, with --json, a
 * list as `make bench` takes it) to stdout.  Exit status: 0, 2 for usage, 1
 * for want of memory.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/cpu/gemm.h"
#include "util/gemmpeak.h"

#define GB_THREADS_MAX 64
#define GB_SECONDS     0.04 /* a point */
#define GB_BURST       0.0001
#define GB_PIECE       4000000     /* products, or bytes, of one call */
#define GB_LARGE       (64u << 20) /* bytes: larger than the caches */
#define GB_PAGE        (2u << 20)
#define GB_COLS        4096 /* of the matrices of --ratios */


typedef struct {
    const char *name;
    k_type_t    type;
    int         usual; /* without --all */
} gb_type_t;

typedef struct {
    const char *model;
    uint32_t    rows;
    uint32_t    cols;
} gb_shape_t;

typedef struct {
    uint32_t     threads;
    k_isa_t      isa;
    k_act_mode_t mode;
    int          json;
    int          all;
    int          ratios;
    const char  *types; /* NULL: the usual ones */
    const char  *ms;
    const char  *model;
} gb_conf_t;

/* What all threads of a point do. */
typedef struct gb_job_s gb_job_t;

struct gb_job_s {
    double (*once)(gb_job_t *job, uint32_t thread); /* units done */
    uint32_t          threads;
    double            seconds; /* GB_SECONDS if 0 */
    gb_job_t         *other;   /* takes turns with this one */
    const k_matrix_t *w;
    const k_act_t    *a;
    float            *out;
    const uint8_t    *data;
    size_t            size;
    pthread_barrier_t barrier;
    double            rate[GB_THREADS_MAX]; /* best burst */
    size_t            turn[GB_THREADS_MAX];
};

typedef struct {
    gb_job_t *job;
    uint32_t  index;
} gb_thread_t;


static double gb_now(void);
static void  *gb_thread(void *data);
static void   gb_burst(gb_job_t *job, uint32_t thread);
static double gb_run(gb_job_t *job);
static double gb_rate(const gb_job_t *job);
static void gb_piece(gb_job_t *job, uint32_t thread, size_t all, size_t pieces,
                     size_t *from, size_t *to);
static double gb_gemm(gb_job_t *job, uint32_t thread);
static double gb_read(gb_job_t *job, uint32_t thread);
static double gb_peak(gb_job_t *job, uint32_t thread);
static double gb_peak16(gb_job_t *job, uint32_t thread);
static double gb_peak32(gb_job_t *job, uint32_t thread);
static int    gb_listed(const char *list, const char *item);
static void  *gb_alloc(size_t size);
static int    gb_matrix(const gb_conf_t *conf, const gb_type_t *type,
                        const gb_shape_t *shape, double peak, int *first);
static void gb_report(const gb_conf_t *conf, const char *name, const char *unit,
                      double ours, double limit, const char *note, int *first);
static void gb_line(const char *name, const char *unit, double ours,
                    double ratio, double limit, int *first);
static int  gb_large(const gb_conf_t *conf, k_type_t type, k_matrix_t *w);
static int  gb_ratio(const gb_conf_t *conf, const gb_type_t *type,
                     const k_matrix_t *base, const double *peaks, int *first);
static int  gb_ratios(const gb_conf_t *conf, const double *peaks, int *first);
static int  gb_options(gb_conf_t *conf, int argc, char **argv);


static const gb_type_t gb_types[] = {
    {"Q4_0", K_Q4_0, 1},   {"Q4_1", K_Q4_1, 1},     {"Q8_0", K_Q8_0, 1},
    {"Q5_0", K_Q5_0, 0},   {"Q5_1", K_Q5_1, 0},     {"Q2_K", K_Q2_K, 0},
    {"Q3_K", K_Q3_K, 0},   {"Q4_K", K_Q4_K, 1},     {"Q5_K", K_Q5_K, 0},
    {"Q6_K", K_Q6_K, 1},   {"IQ4_NL", K_IQ4_NL, 0}, {"IQ4_XS", K_IQ4_XS, 0},
    {"MXFP4", K_MXFP4, 0}, {"F16", K_F16, 1},       {"BF16", K_BF16, 0},
    {"F32", K_F32, 0},
};

static const gb_shape_t gb_shapes[] = {
    {"default", 576, 576},   {"default", 1536, 576}, {"default", 576, 1536},
    {"default", 49152, 576}, {"1b", 2048, 2048},     {"1b", 5632, 2048},
};

static const uint32_t gb_ms[] = {1, 4, 16, 64, 512};


int
main(int argc, char **argv)
{
    int       first;
    char      note[64];
    size_t    i, j;
    double    peak, peak16, peaks[2];
    gb_job_t  job;
    gb_conf_t conf;

    if (gb_options(&conf, argc, argv) != 0) {
        fprintf(stderr, "usage: llm-gemmbench [--threads N] [--isa scalar|"
                        "avx2|avx512] [--types LIST] [--all] [--m LIST] "
                        "[--model default|1b] [--f32] [--json] [--ratios]\n");
        return 2;
    }

    memset(&job, 0, sizeof(job));
    job.threads = conf.threads;
    job.once = gb_peak;
    peak = gb_run(&job) / 1e9;
    job.once = gb_peak16;
    peak16 = gb_run(&job) / 1e9;
    job.once = gb_peak32;
    peaks[0] = peak;
    peaks[1] = gb_run(&job) / 1e9;
    first = 1;

    if (conf.json) {
        printf("[\n");

    } else {
        printf("%s, %u thread%s, x in %s; peak of integer dot products "
               "%.0f GOP/s",
               k_isa_name(conf.isa), conf.threads, conf.threads > 1 ? "s" : "",
               conf.mode == K_ACT_F32 ? "f32" : "int8", peak);

        if (peak16 > 0) {
            snprintf(note, sizeof(note), " (sums in 16 bits: %.0f)", peak16);
            printf("%s", note);
        }

        printf("; of products in f32: %.0f\n", peaks[1]);

        if (conf.ratios) {
            printf("%-8s %7s %7s %15s %7s %17s %7s\n", "type", "bits", "packed",
                   "decode", "of Q4_0", "gemm", "of Q4_0");
        } else {
            printf("%-28s %10s %-6s %8s  share of\n", "matrix", "ours", "",
                   "limit");
        }
    }

    if (conf.ratios && gb_ratios(&conf, peaks, &first) != 0) {
        fprintf(stderr, "llm-gemmbench: out of memory\n");
        return 1;
    }

    for (i = 0; !conf.ratios && i < sizeof(gb_types) / sizeof(gb_types[0]);
         i++) {
        if (conf.types ? !gb_listed(conf.types, gb_types[i].name)
                       : !conf.all && !gb_types[i].usual) {
            continue;
        }

        fprintf(stderr, "\r%-6s", gb_types[i].name);

        for (j = 0; j < sizeof(gb_shapes) / sizeof(gb_shapes[0]); j++) {
            if (conf.model && strcmp(conf.model, gb_shapes[j].model) != 0) {
                continue;
            }

            fprintf(stderr, ".");

            if (gb_matrix(&conf, &gb_types[i], &gb_shapes[j], peak, &first)
                != 0) {
                fprintf(stderr, "llm-gemmbench: out of memory\n");
                return 1;
            }
        }
    }

    fprintf(stderr, "\r%20s\r", "");

    if (conf.json) {
        printf("\n]\n");
    }

    return 0;
}


static int
gb_options(gb_conf_t *conf, int argc, char **argv)
{
    int     i;
    k_isa_t isa;

    memset(conf, 0, sizeof(*conf));
    conf->threads = 1;
    conf->mode = K_ACT_INT8;
    conf->isa = k_isa_detect();

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            conf->json = 1;

        } else if (strcmp(argv[i], "--all") == 0) {
            conf->all = 1;

        } else if (strcmp(argv[i], "--ratios") == 0) {
            conf->ratios = 1;

        } else if (strcmp(argv[i], "--f32") == 0) {
            conf->mode = K_ACT_F32;

        } else if (i + 1 == argc) {
            return -1;

        } else if (strcmp(argv[i], "--threads") == 0) {
            conf->threads = (uint32_t) atoi(argv[++i]);

        } else if (strcmp(argv[i], "--types") == 0) {
            conf->types = argv[++i];

        } else if (strcmp(argv[i], "--m") == 0) {
            conf->ms = argv[++i];

        } else if (strcmp(argv[i], "--model") == 0) {
            conf->model = argv[++i];

        } else if (strcmp(argv[i], "--isa") == 0) {
            i++;

            for (isa = K_ISA_SCALAR; isa <= K_ISA_AVX512; isa++) {
                if (strcmp(argv[i], k_isa_name(isa)) == 0) {
                    break;
                }
            }

            if (k_isa_resolve(isa, &conf->isa) != 0) {
                fprintf(stderr, "llm-gemmbench: no %s here\n", argv[i]);
                return -1;
            }

        } else {
            return -1;
        }
    }

    return conf->threads >= 1 && conf->threads <= GB_THREADS_MAX ? 0 : -1;
}


/* Is item one of a list "a,b,c"? */

static int
gb_listed(const char *list, const char *item)
{
    size_t n, len;

    len = strlen(item);

    for (;;) {
        n = strcspn(list, ",");

        if (n == len && strncmp(list, item, n) == 0) {
            return 1;
        }

        if (list[n] == '\0') {
            return 0;
        }

        list += n + 1;
    }
}


static double
gb_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);

    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}


static void *
gb_alloc(size_t size)
{
    void *p;

    if (posix_memalign(&p, GB_PAGE, size) != 0) {
        return NULL;
    }

    /* all matrices alike, whatever the kernel has left of large pages */
    (void) madvise(p, size, MADV_HUGEPAGE);

    memset(p, 0x3c, size); /* a number in every format, and no tiny one */

    return p;
}


/* A burst of 0.1 ms, or of one call if it takes longer. */

static void
gb_burst(gb_job_t *job, uint32_t thread)
{
    double start, now, units;

    units = 0;
    start = gb_now();

    do {
        units += job->once(job, thread);
        now = gb_now();
    } while (now - start < GB_BURST);

    if (units / (now - start) > job->rate[thread]) {
        job->rate[thread] = units / (now - start);
    }
}


/*
 * The best rate of bursts within the job's time: what other processes take
 * away does not count.
 */

static void *
gb_thread(void *data)
{
    double       begin, seconds;
    gb_job_t    *job;
    gb_thread_t *self;

    self = data;
    job = self->job;
    seconds = job->seconds > 0 ? job->seconds : GB_SECONDS;
    job->rate[self->index] = 0;
    job->once(job, self->index);

    pthread_barrier_wait(&job->barrier);
    begin = gb_now();

    do {
        gb_burst(job, self->index);

        if (job->other) {
            gb_burst(job->other, self->index);
        }
    } while (gb_now() - begin < seconds);

    return NULL;
}


/* Units a second of all threads. */

static double
gb_run(gb_job_t *job)
{
    uint32_t    i;
    pthread_t   ids[GB_THREADS_MAX];
    gb_thread_t threads[GB_THREADS_MAX];

    pthread_barrier_init(&job->barrier, NULL, job->threads);

    for (i = 0; i < job->threads; i++) {
        threads[i].job = job;
        threads[i].index = i;

        if (i > 0 && pthread_create(&ids[i], NULL, gb_thread, &threads[i])) {
            abort();
        }
    }

    gb_thread(&threads[0]);

    for (i = 1; i < job->threads; i++) {
        pthread_join(ids[i], NULL);
    }

    pthread_barrier_destroy(&job->barrier);

    return gb_rate(job);
}


static double
gb_rate(const gb_job_t *job)
{
    double   sum;
    uint32_t i;

    for (i = 0, sum = 0; i < job->threads; i++) {
        sum += job->rate[i];
    }

    return sum;
}


/*
 * A thread's share of `all` units in steps of about 1 / pieces, turn about:
 * short enough for a burst, yet all of a matrix passes through the caches.
 */

static void
gb_piece(gb_job_t *job, uint32_t thread, size_t all, size_t pieces,
         size_t *from, size_t *to)
{
    size_t first, n, i;

    first = all * thread / job->threads;
    n = all * (thread + 1) / job->threads - first;
    pieces = pieces > n ? n : pieces < 1 ? 1 : pieces;
    i = job->turn[thread]++ % pieces;

    *from = first + n * i / pieces;
    *to = first + n * (i + 1) / pieces;
}


static double
gb_gemm(gb_job_t *job, uint32_t thread)
{
    size_t   from, to, all;
    uint32_t g, rows;
    double   macs;

    rows = job->w->rows;
    g = 4 * k_matrix_granule(job->w);
    all = (rows + g - 1) / g;
    macs = (double) rows * job->w->cols * job->a->rows;
    gb_piece(job, thread, all, (size_t) (macs / GB_PIECE), &from, &to);
    from *= g;
    to = to * g > rows ? rows : to * g;

    k_gemm(job->w, job->a, 0, job->a->rows, (uint32_t) from, (uint32_t) to,
           job->out, rows, NULL, 0);

    return 2.0 * (double) (to - from) * job->w->cols * job->a->rows;
}


static double
gb_read(gb_job_t *job, uint32_t thread)
{
    size_t          i, from, to;
    uint64_t        s[8];
    const uint64_t *p;

    p = (const uint64_t *) job->data;
    gb_piece(job, thread, job->size / 64, job->size / GB_PIECE, &from, &to);
    from *= 8;
    to *= 8;
    memset(s, 0, sizeof(s));

#if defined(__x86_64__)
    {
        __m128i v[4] = {0}; /* 64 bytes a round: two loads a cycle suffice */

        for (i = from; i < to; i += 8) {
            v[0] = _mm_add_epi64(v[0], _mm_load_si128((void *) (p + i)));
            v[1] = _mm_add_epi64(v[1], _mm_load_si128((void *) (p + i + 2)));
            v[2] = _mm_add_epi64(v[2], _mm_load_si128((void *) (p + i + 4)));
            v[3] = _mm_add_epi64(v[3], _mm_load_si128((void *) (p + i + 6)));
        }

        v[0] =
            _mm_add_epi64(_mm_add_epi64(v[0], v[1]), _mm_add_epi64(v[2], v[3]));
        _mm_storeu_si128((void *) s, v[0]);
    }
#else
    for (i = from; i < to; i += 8) {
        s[0] += p[i] + p[i + 1];
        s[1] += p[i + 2] + p[i + 3];
        s[2] += p[i + 4] + p[i + 5];
        s[3] += p[i + 6] + p[i + 7];
    }
#endif

    __asm__ volatile("" ::"r"(s) : "memory");

    return (double) (to - from) * 8;
}


static double
gb_peak(gb_job_t *job, uint32_t thread)
{
    return gb_peak_int(k_isa_detect());
}


static double
gb_peak16(gb_job_t *job, uint32_t thread)
{
    return gb_peak_int16(k_isa_detect());
}


static double
gb_peak32(gb_job_t *job, uint32_t thread)
{
    return gb_peak_f32(k_isa_detect());
}


/* All M of one matrix. */

static int
gb_matrix(const gb_conf_t *conf, const gb_type_t *type, const gb_shape_t *shape,
          double peak, int *first)
{
    char       name[64], m[12];
    size_t     i, k;
    double     ours;
    int64_t    size;
    float     *x;
    uint8_t   *src;
    k_act_t    a;
    gb_job_t   job;
    uint32_t   e, bytes;
    k_matrix_t w;

    k_type_block(type->type, &e, &bytes);

    if (shape->cols % e != 0) {
        return 0;
    }

    memset(&job, 0, sizeof(job));
    size = k_matrix_size(type->type, conf->isa, shape->rows, shape->cols);
    job.data = gb_alloc((size_t) size);
    src = gb_alloc((size_t) shape->rows * shape->cols / e * bytes);
    x = gb_alloc((size_t) 512 * shape->cols * 4);
    job.out = gb_alloc((size_t) 512 * shape->rows * 4);
    a.q = gb_alloc(k_act_size(512, shape->cols));

    if (job.data == NULL || src == NULL || x == NULL || job.out == NULL
        || a.q == NULL) {
        return -1;
    }

    for (k = 0; k < (size_t) 512 * shape->cols; k++) {
        x[k] = (float) (k * 2654435761u % 1000) / 500.0f - 1.0f;
    }

    k_matrix_init(&w, type->type, conf->isa, shape->rows, shape->cols,
                  (void *) job.data);
    k_matrix_pack(&w, src, 0, shape->rows);

    job.threads = conf->threads;
    job.w = &w;
    job.a = &a;
    job.size = (size_t) size;

    for (i = 0; i < sizeof(gb_ms) / sizeof(gb_ms[0]); i++) {
        snprintf(m, sizeof(m), "%u", gb_ms[i]);

        if (conf->ms && !gb_listed(conf->ms, m)) {
            continue;
        }

        k_act_init(&a, conf->mode, a.q, gb_ms[i], shape->cols, x, shape->cols);
        k_act_quantize(&a, conf->isa, 0, gb_ms[i]);
        job.once = gb_gemm;
        ours = gb_run(&job) / 1e9;

        snprintf(name, sizeof(name), "gemm %s %ux%u m=%s", type->name,
                 shape->rows, shape->cols, m);

        if (gb_ms[i] > 1) {
            gb_report(conf, name, "GOP/s", ours, peak, "integer peak", first);
            continue;
        }

        /* bytes of the matrix, instead of operations */
        ours *= (double) size / (2.0 * shape->rows * shape->cols);
        job.once = gb_read;
        gb_report(conf, name, "GB/s", ours, gb_run(&job) / 1e9, "reading",
                  first);
    }

    free((void *) job.data);
    free(src);
    free(x);
    free(job.out);
    free(a.q);

    return 0;
}


/* A matrix of GB_LARGE bytes: some rows, over and over. */

static int
gb_large(const gb_conf_t *conf, k_type_t type, k_matrix_t *w)
{
    size_t   size;
    uint8_t *src;
    uint32_t i, g, rows;

    size = (size_t) k_matrix_size(type, conf->isa, 64, GB_COLS);
    rows = (uint32_t) (GB_LARGE / size) * 64;
    size = (size_t) k_matrix_size(type, conf->isa, rows, GB_COLS);
    w->data = gb_alloc(size);
    src = gb_alloc((size_t) 64 * GB_COLS * 4);

    if (w->data == NULL || src == NULL) {
        return -1;
    }

    k_matrix_init(w, type, conf->isa, rows, GB_COLS, w->data);
    g = k_matrix_granule(w);

    for (i = 0; i < rows; i += g) {
        k_matrix_pack(w, src, i, i + g);
    }

    free(src);

    return 0;
}


/* One type beside Q4_0: a line of the table. */

static int
gb_ratio(const gb_conf_t *conf, const gb_type_t *type, const k_matrix_t *base,
         const double *peaks, int *first)
{
    char       name[64];
    double     rate[2], ratio[2], peak, packed;
    float     *x;
    size_t     i, at;
    gb_job_t   job[2];
    k_act_t    a;
    uint32_t   e, bytes, m;
    k_matrix_t w;

    memset(job, 0, sizeof(job));
    x = gb_alloc((size_t) 64 * GB_COLS * 4);
    a.q = gb_alloc(k_act_size(64, GB_COLS));
    job[0].out = gb_alloc((size_t) 64 * GB_LARGE / GB_COLS * 4 * 4);

    if (x == NULL || a.q == NULL || job[0].out == NULL
        || gb_large(conf, type->type, &w) != 0) {
        return -1;
    }

    job[1].out = job[0].out;
    job[0].w = &w;
    job[1].w = base;
    job[0].other = &job[1];
    packed = (double) w.group * 8 / w.lanes / GB_COLS;
    k_type_block(type->type, &e, &bytes);

    for (i = 0; i < (size_t) 64 * GB_COLS; i++) {
        x[i] = (float) (i * 2654435761u % 1000) / 500.0f - 1.0f;
    }

    for (at = 0; at < 2; at++) {
        m = at == 0 ? 1 : 64;
        k_act_init(&a, conf->mode, a.q, m, GB_COLS, x, GB_COLS);
        k_act_quantize(&a, conf->isa, 0, m);

        for (i = 0; i < 2; i++) {
            job[i].once = gb_gemm;
            job[i].threads = conf->threads;
            job[i].a = &a;
            job[i].seconds = GB_SECONDS * 5;
            memset(job[i].rate, 0, sizeof(job[i].rate));
        }

        rate[at] = gb_run(&job[0]) / 1e9;
        ratio[at] = rate[at] / (gb_rate(&job[1]) / 1e9);
    }

    /* decode: bytes of the file, of two operations a weight */
    rate[0] *= (double) bytes / e / 2;
    ratio[0] *= (double) bytes / e / (18.0 / 32);
    peak = peaks[k_matrix_mode(&w, conf->mode) == K_ACT_F32];

    if (conf->json) {
        snprintf(name, sizeof(name), "decode %s", type->name);
        gb_line(name, "GB/s", rate[0], ratio[0], 0, first);
        snprintf(name, sizeof(name), "gemm %s m=64", type->name);
        gb_line(name, "GOP/s", rate[1], ratio[1], peak, first);

    } else {
        printf("%-8s %7.4f %7.4f %10.1f GB/s %7.2f %11.1f GOP/s %7.2f"
               " %4.0f%% of peak\n",
               type->name, bytes * 8.0 / e, packed, rate[0], ratio[0], rate[1],
               ratio[1], peak > 0 ? 100 * rate[1] / peak : 0);
        fflush(stdout);
    }

    free(w.data);
    free(x);
    free(a.q);
    free(job[0].out);

    return 0;
}


static int
gb_ratios(const gb_conf_t *conf, const double *peaks, int *first)
{
    size_t     i;
    k_matrix_t base;

    if (gb_large(conf, K_Q4_0, &base) != 0) {
        return -1;
    }

    for (i = 0; i < sizeof(gb_types) / sizeof(gb_types[0]); i++) {
        if (conf->types && !gb_listed(conf->types, gb_types[i].name)) {
            continue;
        }

        if (gb_ratio(conf, &gb_types[i], &base, peaks, first) != 0) {
            return -1;
        }
    }

    free(base.data);

    return 0;
}


/* A JSON line with Q4_0 as the peer. */

static void
gb_line(const char *name, const char *unit, double ours, double ratio,
        double limit, int *first)
{
    printf("%s  {\"name\": \"%s\", \"unit\": \"%s\", \"ours\": %.3f, "
           "\"peer\": %.3f, \"peer_name\": \"Q4_0\", \"ratio\": %.4f, ",
           *first ? "" : ",\n", name, unit, ours, ours / ratio, ratio);

    if (limit > 0) {
        printf("\"limit\": %.3f, \"share\": %.4f}", limit, ours / limit);
    } else {
        printf("\"limit\": null, \"share\": null}");
    }

    *first = 0;
}


static void
gb_report(const gb_conf_t *conf, const char *name, const char *unit,
          double ours, double limit, const char *note, int *first)
{
    if (!conf->json) {
        printf("%-28s %10.1f %-6s %8.1f  %4.0f%% %s\n", name, ours, unit, limit,
               limit > 0 ? 100 * ours / limit : 0, note);
        fflush(stdout);
        return;
    }

    printf("%s  {\"name\": \"%s\", \"unit\": \"%s\", \"ours\": %.3f, "
           "\"peer\": null, \"peer_name\": null, \"ratio\": null, ",
           *first ? "" : ",\n", name, unit, ours);

    if (limit > 0) {
        printf("\"limit\": %.3f, \"share\": %.4f}", limit, ours / limit);
    } else {
        printf("\"limit\": null, \"share\": null}");
    }

    *first = 0;
}
