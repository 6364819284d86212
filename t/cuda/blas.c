/*
 * Products by cuBLASLt (on the emulated device: by its double) against sums in
 * double precision; what is refused; tuning and its cache, whole and broken;
 * products beside tuning and in a graph.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "t/cuda/cu_test.h"
#include "kernels/cuda/cu.h"

#define MIB (1u << 20)

typedef struct {
    cu_type_t type;
    cu_type_t y_type;
    int       add;
    uint32_t  rows;
    uint32_t  n;
    uint32_t  k;
    uint32_t  x_pad; /* elements between rows */
    uint32_t  y_pad;
} case_t;

/* A product with its operands, on the device and in double. */
typedef struct {
    cu_gemm_t g;
    double   *x;
    double   *w;
    double   *y;
    uint32_t  x_n;
    uint32_t  y_n;
} product_t;

/* What becomes of the cache's first line. */
typedef enum {
    BAD_NONE = 0,
    BAD_HEAD,
    BAD_CUT,
    BAD_HEX,
    BAD_LONG,
    BAD_BIT,
    BAD_SUM,
    BAD_RANGE,
    BAD_NOISE,
    BAD_ZEROS,
    BAD_ENDLESS,
    BAD_BYTE_0,
    BAD_MORE,
    BAD_KINDS
} bad_t;

static void open_backend(const char *cache);
static void close_backend(void);
static int  product_new(product_t *p, const case_t *c);
static int  product_differs(product_t *p);
static void product_free(product_t *p);
static void check(const case_t *c);
static void refused(void);
static void untuned(void);
static void tuned(void);
static void broken(void);
static void no_folder(void);
static void captured(void);
static void roof(void);
static void beside(void);
static void failures(void);

static const char *const type_name[] = {
    [CU_F32] = "F32", [CU_F16] = "F16", [CU_BF16] = "BF16", [CU_F8] = "E4M3"};

static const char *const bad_names[BAD_KINDS] = {
    "an empty file",
    "another's file",
    "a line cut short",
    "letters beyond f",
    "too much of a line",
    "a bit that fell over",
    "no sum",
    "numbers out of range",
    "algorithms of noise",
    "zeros for algorithms",
    "a long line without end",
    "a byte 0 in the line",
    "good lines after bad ones",
};

static k_backend_t *be;
static uint32_t     seed = 5;
static char         dir[64];


int
main(void)
{
    size_t i;

    static const case_t cases[] = {
        {CU_BF16, CU_F32, 0, 1, 16, 16, 0, 0},
        {CU_BF16, CU_BF16, 0, 5, 64, 96, 0, 0},
        {CU_BF16, CU_F32, 1, 17, 48, 128, 0, 0},
        {CU_BF16, CU_BF16, 0, 3, 7, 31, 0, 0},
        {CU_BF16, CU_F32, 0, 33, 24, 40, 8, 24},
        {CU_BF16, CU_BF16, 1, 9, 33, 64, 3, 5},
        {CU_F16, CU_F32, 0, 2, 32, 64, 0, 0},
        {CU_F16, CU_F16, 0, 40, 16, 256, 0, 16},
        {CU_F16, CU_F32, 1, 16, 50, 34, 2, 2},
        {CU_F32, CU_F32, 0, 4, 20, 36, 0, 0},
        {CU_F32, CU_F32, 1, 13, 9, 77, 1, 3},
        {CU_F8, CU_F32, 0, 6, 32, 64, 0, 0},
        {CU_F8, CU_BF16, 0, 19, 48, 128, 16, 16},
        {CU_F8, CU_F32, 1, 1, 16, 16, 0, 0},
        {CU_BF16, CU_BF16, 0, 130, 64, 64, 0, 64},
        {CU_BF16, CU_F32, 0, 1, 1000, 8, 0, 0},
    };

    snprintf(dir, sizeof(dir), "%s/cu-blas-XXXXXX", P_tmpdir);
    if (mkdtemp(dir) == NULL) {
        printf("Bail out! %s\n", strerror(errno));
        return 2;
    }

    open_backend("");
    if (be->blas == NULL) {
        close_backend();
        skip_all("no cuBLASLt");
    }
    diag("%s", k_backend_cuda.describe(be));

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check(&cases[i]);
    }
    refused();
    captured();
    beside();
    roof();
    close_backend();

    untuned();
    tuned();
    broken();
    no_folder();
    failures();

    rmdir(dir);

    return tap_done();
}


static void
open_backend(const char *cache)
{
    char       err[K_ERR_MAX];
    k_config_t c;

    setenv("NGX_LLM_CACHE", cache, 1);
    memset(&c, 0, sizeof(c));
    c.memory = 256 * MIB;
    if (k_backend_cuda.open(&c, &be, err) != 0) {
        printf("Bail out! open: %s\n", err);
        exit(2);
    }
}


static void
close_backend(void)
{
    k_backend_cuda.close(be);
    be = NULL;
}


static uint64_t
used(void)
{
    uint64_t size, n;

    k_backend_cuda.memory(be, &size, &n);
    return n;
}


/* 0, or -1: the device cannot do it. */
static int
product_new(product_t *p, const case_t *c)
{
    uint32_t i;

    if (c->type == CU_F8 && be->major * 10 + be->minor < 89) {
        return -1;
    }

    memset(p, 0, sizeof(*p));
    p->x_n = c->rows * (c->k + c->x_pad);
    p->y_n = c->rows * (c->n + c->y_pad);
    p->x = malloc(p->x_n * sizeof(double));
    p->w = malloc(c->n * c->k * sizeof(double));
    p->y = malloc(p->y_n * sizeof(double));

    /* What lies between rows is no number: nobody may read it. */
    for (i = 0; i < p->x_n; i++) {
        p->x[i] = i % (c->k + c->x_pad) < c->k ? test_normal(&seed) : NAN;
    }
    for (i = 0; i < c->n * c->k; i++) {
        p->w[i] = test_normal(&seed);
    }
    for (i = 0; i < p->y_n; i++) {
        p->y[i] = c->add ? test_normal(&seed) : NAN;
    }

    p->g = (cu_gemm_t){.type = c->type,
                       .y_type = c->y_type,
                       .rows = c->rows,
                       .n = c->n,
                       .k = c->k,
                       .x_ld = c->k + c->x_pad,
                       .y_ld = c->n + c->y_pad,
                       .add = c->add};
    p->g.x = dev_typed(c->type, p->x, p->x_n);
    p->g.w = dev_typed(c->type, p->w, c->n * c->k);
    p->g.y = dev_typed(c->y_type, p->y, p->y_n);

    return 0;
}


/* How many of Y's elements are not what they should be. */
static int
product_differs(product_t *p)
{
    int              bad;
    double          *got, want, size, most;
    uint32_t         i, j, k;
    const cu_gemm_t *g = &p->g;

    got = malloc(p->y_n * sizeof(double));
    dev_read(g->y_type, got, g->y, p->y_n);
    bad = 0;
    most = g->y_type == CU_F32 ? 1e-5 : g->y_type == CU_F16 ? 0x1p-10 : 0x1p-8;

    for (i = 0; i < g->rows; i++) {
        for (j = 0; j < g->n; j++) {
            want = g->add ? p->y[i * g->y_ld + j] : 0;
            size = fabs(want);
            for (k = 0; k < g->k; k++) {
                want += p->x[i * g->x_ld + k] * p->w[j * g->k + k];
                size += fabs(p->x[i * g->x_ld + k] * p->w[j * g->k + k]);
            }
            bad += !(fabs(got[i * g->y_ld + j] - want)
                     <= most * fabs(want) + 1e-6 * size + 1e-6);
        }
        for (; j < g->y_ld; j++) {
            k = i * g->y_ld + j;
            bad += !(got[k] == p->y[k] || (isnan(got[k]) && isnan(p->y[k])));
        }
    }

    free(got);

    return bad;
}


static void
product_free(product_t *p)
{
    dev_free((void *) p->g.x);
    dev_free((void *) p->g.w);
    dev_free(p->g.y);
    free(p->x);
    free(p->w);
    free(p->y);
}


static void
check(const case_t *c)
{
    product_t p;

    if (product_new(&p, c) != 0) {
        return;
    }

    is_int(cu_blas_mul(be->blas, &p.g, be->stream), 0,
           "%s to %s%s: %u x %u x %u", type_name[c->type], type_name[c->y_type],
           c->add ? ", added" : "", c->rows, c->n, c->k);
    is_int(product_differs(&p), 0, "its elements");
    product_free(&p);
}


static void
refused(void)
{
    size_t    i;
    product_t p;
    cu_gemm_t g;

    static const case_t f8 = {CU_F8, CU_F32, 0, 4, 32, 64, 0, 0};
    static const case_t bf16 = {CU_BF16, CU_F32, 0, 4, 32, 64, 0, 0};

    static const struct {
        const case_t *of;
        uint32_t      rows, n, k, x_ld, y_ld;
        cu_type_t     y_type;
        uint32_t      x_off, y_off; /* bytes */
        int           rc;
        const char   *what;
    } cases[] = {
        {&bf16, 0, 32, 64, 64, 32, CU_F32, 0, 0, -EINVAL, "no rows"},
        {&bf16, 4, 0, 64, 64, 32, CU_F32, 0, 0, -EINVAL, "no columns"},
        {&bf16, 4, 32, 0, 64, 32, CU_F32, 0, 0, -EINVAL, "nothing to sum"},
        {&bf16, 4, 32, 64, 63, 32, CU_F32, 0, 0, -EINVAL, "rows of X overlap"},
        {&bf16, 4, 32, 64, 64, 31, CU_F32, 0, 0, -EINVAL, "rows of Y overlap"},
        {&bf16, 4, 32, 64, 64, 32, CU_F16, 0, 0, -EINVAL, "F16 of BF16"},
        {&bf16, 4, 32, 64, 64, 32, CU_F32, 1, 0, -EINVAL, "X between elements"},
        {&bf16, 4, 32, 64, 64, 32, CU_F32, 0, 2, -EINVAL, "Y between elements"},
        {&f8, 4, 32, 56, 64, 32, CU_F32, 0, 0, -ENOTSUP,
         "E4M3: k is no multiple of 16"},
        {&f8, 4, 24, 64, 64, 32, CU_F32, 0, 0, -ENOTSUP, "E4M3: nor n"},
        {&f8, 4, 32, 64, 72, 32, CU_F32, 0, 0, -ENOTSUP, "E4M3: nor rows of X"},
        {&f8, 4, 32, 64, 64, 33, CU_F32, 0, 0, -ENOTSUP, "E4M3: nor rows of Y"},
        {&f8, 4, 32, 64, 64, 32, CU_F16, 0, 0, -ENOTSUP, "E4M3: to F16"},
        {&f8, 4, 32, 64, 64, 32, CU_F32, 8, 0, -ENOTSUP,
         "E4M3: X off 16 bytes"},
    };

    is_int(cu_blas_mul(NULL, &g, NULL), -ENOTSUP, "without cuBLASLt");
    is_int(cu_blas_tune(NULL, &g), -ENOTSUP, "nor tuned");
    cu_blas_begin(NULL);
    cu_blas_end(NULL);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (product_new(&p, cases[i].of) != 0) {
            continue;
        }
        g = p.g;
        g.rows = cases[i].rows;
        g.n = cases[i].n;
        g.k = cases[i].k;
        g.x_ld = cases[i].x_ld;
        g.y_ld = cases[i].y_ld;
        g.y_type = cases[i].y_type;
        g.x = (const uint8_t *) g.x + cases[i].x_off;
        g.y = (uint8_t *) g.y + cases[i].y_off;
        is_int(cu_blas_mul(be->blas, &g, be->stream), cases[i].rc, "%s",
               cases[i].what);
        is_int(cu_blas_tune(be->blas, &g), cases[i].rc, "nor tuned");
        product_free(&p);
    }
}


/* Its folder's only file; "" if there is none. */
static void
cache_file(const char *folder, char *path, size_t size)
{
    DIR           *d;
    struct dirent *e;

    path[0] = '\0';
    d = opendir(folder);
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            snprintf(path, size, "%s/%s", folder, e->d_name);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}


static int
lines(const char *path)
{
    int   c, n;
    FILE *f;

    n = 0;
    f = fopen(path, "r");
    while (f != NULL && (c = fgetc(f)) != EOF) {
        n += c == '\n';
    }
    if (f != NULL) {
        fclose(f);
    }

    return n;
}


/* Rows that were not tuned, below, between and above those that were. */
static void
untuned(void)
{
    int       bad;
    uint32_t  i;
    product_t p;
    case_t    c = {CU_BF16, CU_F32, 0, 0, 32, 64, 0, 0};

    static const uint32_t some[] = {4, 16, 64};

    open_backend("");
    cu_blas_begin(be->blas);
    bad = 0;
    for (i = 0; i < 3; i++) {
        c.rows = some[i];
        bad += product_new(&p, &c) != 0;
        bad += cu_blas_tune(be->blas, &p.g) != 0;
        product_free(&p);
    }
    cu_blas_end(be->blas);
    is_int(bad, 0, "4, 16 and 64 rows are tuned");

    for (i = 1; i <= 67; i += 3) {
        c.rows = i;
        bad += product_new(&p, &c) != 0;
        bad += cu_blas_mul(be->blas, &p.g, be->stream) != 0
               || product_differs(&p) != 0;
        bad += cu_blas_mul(be->blas, &p.g, be->stream) != 0
               || product_differs(&p) != 0;
        product_free(&p);
    }
    is_int(bad, 0, "all others are right");
    close_backend();
}


/* Tunes n shapes, multiplies; 0 if all went well. */
static int
tune_some(int n)
{
    int       i, bad;
    product_t p;

    static const case_t cases[] = {
        {CU_BF16, CU_F32, 0, 1, 32, 64, 0, 0},
        {CU_BF16, CU_F32, 1, 8, 32, 64, 0, 0},
        {CU_F16, CU_F16, 0, 8, 48, 32, 0, 0},
        {CU_F8, CU_BF16, 0, 24, 32, 64, 0, 0},
    };

    bad = 0;
    cu_blas_begin(be->blas);

    for (i = 0; i < n; i++) {
        if (product_new(&p, &cases[i]) != 0) {
            continue;
        }
        if (!cases[i].add) {
            bad += cu_blas_tune(be->blas, &p.g) != 0;
        }
        bad += cu_blas_mul(be->blas, &p.g, be->stream) != 0
               || product_differs(&p) != 0;
        if (cases[i].add) {
            bad += cu_blas_tune(be->blas, &p.g) != 0;
        }
        product_free(&p);
    }

    cu_blas_end(be->blas);

    return bad;
}


static void
tuned(void)
{
    char        folder[128], path[512];
    uint64_t    before;
    struct stat first, second;

    snprintf(folder, sizeof(folder), "%s/a/b", dir);
    open_backend(folder);
    before = used();
    is_int(tune_some(3), 0, "three shapes tuned");
    ok(used() == before, "tuning's memory is given back");
    close_backend();

    cache_file(folder, path, sizeof(path));
    is_int(lines(path), 4, "are in the cache: %s", path + strlen(dir));
    is_int(stat(path, &first), 0, "a file");

    open_backend(folder);
    is_int(tune_some(3), 0, "the same again");
    close_backend();
    ok(stat(path, &second) == 0 && first.st_ino == second.st_ino
           && first.st_mtim.tv_nsec == second.st_mtim.tv_nsec,
       "are known: nothing is written");

    open_backend(folder);
    is_int(tune_some(4), 0, "one more");
    close_backend();
    ok(stat(path, &second) == 0 && first.st_ino != second.st_ino
           && lines(path) >= 4,
       "is added, by a new file");
    is_int(tap_failed_ ? 0 : unlink(path), 0, "one file in the folder");
    rmdir(folder);
    snprintf(folder, sizeof(folder), "%s/a", dir);
    is_int(rmdir(folder), 0, "and nothing else");
}


/* FNV-1a, as the file has it behind each line. */
static unsigned long long
sum(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *s != '\0'; s++) {
        h = (h ^ (uint8_t) *s) * 0x100000001b3u;
    }

    return h;
}


/* text: a good cache; its first line comes out spoilt. */
static void
spoil(const char *path, const char *text, bad_t kind)
{
    int         i, hex;
    char        line[1024], out[2048];
    FILE       *f;
    const char *first, *end;

    static const char *const range[] = {
        "9 0 0 16 32 64 1 5", "2 9 0 16 32 64 1 5", "2 0 0 3 32 64 1 5",
        "2 0 0 16 0 64 1 5",  "2 0 0 16 32 -1 1 5", "2 0 7 16 32 64 0 5",
        "2 0 0 16 32 64 1",   "2 0 0 16 x 64 1 5",  "2 0 0 16 32 64 0 5",
    };

    f = fopen(path, "w");
    first = strchr(text, '\n') + 1;
    end = strchr(first, '\n');

    /* Without its sum; the algorithm's 128 digits are its end. */
    snprintf(line, sizeof(line), "%.*s", (int) (end - first) - 17, first);
    hex = (int) strlen(line) - 128;

    if (kind == BAD_HEAD) {
        fprintf(f, "something else\n%s", first);
    } else if (kind != BAD_NONE) {
        fprintf(f, "%.*s", (int) (first - text), text);
    }

    switch (kind) {
    case BAD_CUT:
        fprintf(f, "%.*s\n%s\n", hex + 100, line, line);
        break;
    case BAD_HEX:
        line[hex + 60] = 'g';
        fprintf(f, "%s %016llx\n", line, sum(line));
        break;
    case BAD_LONG:
        strcat(line, "00");
        fprintf(f, "%s %016llx\n", line, sum(line));
        break;
    case BAD_BIT:
        line[hex + 20] = line[hex + 20] == '0' ? '1' : '0';
        fprintf(f, "%s%s", line, end - 17);
        break;
    case BAD_SUM:
        fprintf(f, "%s 0000000000000000\n%s \n", line, line);
        break;
    case BAD_RANGE:
        for (i = 0; i < (int) (sizeof(range) / sizeof(range[0])); i++) {
            snprintf(out, sizeof(out), "%s %s", range[i], line + hex);
            fprintf(f, "%s %016llx\n", out, sum(out));
        }
        break;
    case BAD_NOISE:
    case BAD_ZEROS:
        for (i = 0; i < 128; i++) {
            line[hex + i] = kind == BAD_ZEROS
                                ? '0'
                                : "0123456789abcdef"[test_rand(&seed) % 16];
        }
        fprintf(f, "%s %016llx\n", line, sum(line));
        break;
    case BAD_ENDLESS:
        for (i = 0; i < 100000; i++) {
            fputc('1', f);
        }
        break;
    case BAD_BYTE_0:
        line[hex + 3] = '\0';
        fwrite(line, 1, (size_t) hex + 128, f);
        fputc('\n', f);
        break;
    case BAD_MORE:
        fprintf(f, "nothing\n\n%s", first);
        break;
    default:
        break;
    }

    fclose(f);
}


static void
broken(void)
{
    int                   fd, rc;
    char                  folder[128], path[512], text[8192];
    FILE                 *f;
    bad_t                 kind;
    size_t                n;
    struct cudaDeviceProp prop;

    CU_OK(cudaGetDeviceProperties(&prop, 0));
    snprintf(folder, sizeof(folder), "%s/c", dir);
    open_backend(folder);
    (void) tune_some(3);
    close_backend();
    cache_file(folder, path, sizeof(path));

    f = fopen(path, "r");
    n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;
    text[n] = '\0';
    if (f != NULL) {
        fclose(f);
    }
    if (!ok(n > 3 * 128 && lines(path) == 4, "a cache")) {
        return;
    }

    for (kind = 0; kind < BAD_KINDS; kind++) {
        /* What the library makes of noise is its own affair. */
        if ((kind == BAD_NOISE || kind == BAD_ZEROS)
            && strncmp(prop.name, "Emulated", 8) != 0) {
            continue;
        }

        spoil(path, text, kind);
        open_backend(folder);
        is_int(tune_some(3), 0, "%s: products are right", bad_names[kind]);
        close_backend();
        ok(lines(path) >= 4, "and the file is whole again");
    }

    /* A file beyond reason, and what is no file. */
    fd = open(path, O_WRONLY | O_TRUNC);
    rc = ftruncate(fd, 64 * MIB);
    close(fd);
    open_backend(folder);
    is_int(tune_some(3) + rc, 0, "a huge file: products are right");
    close_backend();

    unlink(path);
    rc = mkdir(path, 0755);
    open_backend(folder);
    is_int(tune_some(3) + rc, 0, "a folder in its place: products are right");
    close_backend();
    rmdir(path);

    is_int(rmdir(folder), 0, "nothing else is left in the folder");
}


static void
no_folder(void)
{
    char  path[128];
    FILE *f;

    open_backend("/proc/none/such");
    is_int(tune_some(3), 0, "a folder that cannot be: no error");
    close_backend();

    snprintf(path, sizeof(path), "%s/file", dir);
    f = fopen(path, "w");
    fclose(f);
    open_backend(path);
    is_int(tune_some(3), 0, "a file in the folder's place: no error");
    close_backend();
    unlink(path);

    unsetenv("HOME");
    unsetenv("NGX_LLM_CACHE");
    open_backend("");
    is_int(tune_some(3), 0, "no home: no error");
    close_backend();
}


static void
captured(void)
{
    product_t       p;
    cudaGraph_t     graph;
    cudaGraphExec_t exec;

    static const case_t c = {CU_BF16, CU_F32, 0, 8, 64, 64, 0, 0};

    (void) product_new(&p, &c);
    CU_OK(cudaStreamBeginCapture(be->stream, cudaStreamCaptureModeThreadLocal));
    is_int(cu_blas_mul(be->blas, &p.g, be->stream), 0, "captured");
    CU_OK(cudaStreamEndCapture(be->stream, &graph));
    CU_OK(cudaGraphInstantiate(&exec, graph, 0));
    CU_OK(cudaGraphLaunch(exec, be->stream));
    CU_OK(cudaStreamSynchronize(be->stream));
    is_int(product_differs(&p), 0, "and launched");
    CU_OK(cudaGraphExecDestroy(exec));
    CU_OK(cudaGraphDestroy(graph));
    product_free(&p);
}


/* The measuring itself; figures mean something on a GPU only. */
static void
roof(void)
{
    char     err[K_ERR_MAX] = "";
    k_roof_t r;
    uint64_t before = used();

    is_int(cu_peak(be, 16 * MIB, 128, &r, err), 0, "the roof%s", err);
    ok(r.read > 0 && r.bf16 > 0, "reads %.1f GB/s, BF16 %.4f TFLOP/s",
       r.read / 1e9, r.bf16 / 1e12);
    ok(r.f8 > 0 || be->major * 10 + be->minor < 89, "E4M3 %.4f TFLOP/s",
       r.f8 / 1e12);
    ok(used() == before, "gives its memory back");
    is_int(cu_peak(be, 1ull << 40, 128, &r, err), -ENOMEM, "no room: %s", err);
    ok(used() == before, "nor keeps any");
}


typedef struct {
    int       stop;
    int       bad;
    int       n;
    cu_gemm_t g;
} tuner_t;


static void *
tuner(void *data)
{
    int      i;
    tuner_t *t = data;

    for (i = 0; i < 40 && !__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE); i++) {
        cu_blas_begin(be->blas);
        t->g.rows = 1 + (uint32_t) i;
        t->bad += cu_blas_tune(be->blas, &t->g) != 0;
        cu_blas_end(be->blas);
        __atomic_store_n(&t->n, i + 1, __ATOMIC_RELEASE);
    }

    return NULL;
}


/* A program is prepared while another one's steps run. */
static void
beside(void)
{
    int       i, bad;
    tuner_t   t;
    product_t p, q;
    pthread_t thread;

    static const case_t mine = {CU_BF16, CU_F32, 0, 7, 32, 48, 0, 0};
    static const case_t its = {CU_BF16, CU_F32, 0, 40, 48, 32, 0, 0};

    memset(&t, 0, sizeof(t));
    (void) product_new(&p, &mine);
    (void) product_new(&q, &its);
    t.g = q.g;
    if (pthread_create(&thread, NULL, tuner, &t) != 0) {
        printf("Bail out! no thread\n");
        exit(2);
    }

    bad = 0;
    for (i = 0; i < 60 || __atomic_load_n(&t.n, __ATOMIC_ACQUIRE) < 10; i++) {
        bad += cu_blas_mul(be->blas, &p.g, be->stream) != 0;
        bad += cudaStreamSynchronize(be->stream) != cudaSuccess;
    }
    __atomic_store_n(&t.stop, 1, __ATOMIC_RELEASE);
    (void) pthread_join(thread, NULL);

    ok(bad == 0 && product_differs(&p) == 0, "products beside tuning");
    ok(t.bad == 0, "of %d shapes", t.n);
    product_free(&p);
    product_free(&q);
}


/* Where tuning fails the device has, but what is its is given back. */
static void
failures(void)
{
    int                   saved, null;
    uint64_t              before;
    product_t             p;
    struct cudaDeviceProp prop;

    static const case_t c = {CU_BF16, CU_F32, 0, 8, 64, 64, 0, 0};

    CU_OK(cudaGetDeviceProperties(&prop, 0));
    if (strncmp(prop.name, "Emulated", 8) != 0) {
        return;
    }

    open_backend("");
    (void) product_new(&p, &c);
    before = used();
    cu_blas_begin(be->blas);
    saved = dup(STDERR_FILENO);
    null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    setenv("CU_EMU_FAIL", "sync:2", 1);
    is_int(cu_blas_tune(be->blas, &p.g), -EIO, "a wait fails");
    unsetenv("CU_EMU_FAIL");
    cu_blas_end(be->blas);
    ok(used() == before, "nothing is lost");
    close_backend();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(null);
    free(p.x);
    free(p.w);
    free(p.y);
}
