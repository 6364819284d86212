/*
 * Weights of the CUDA backend: every type in every role, from memory and read
 * in pieces, back from the device against the formats' own definitions; what
 * is refused; a loader beside work on the steps' stream; failures.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "t/cuda/weight_test.h"

static void test_type(const t_type_t *t, k_role_t role, uint32_t rows,
                      uint32_t cols, uint32_t experts);
static void test_large(k_type_t type, uint32_t rows, uint32_t cols);
static void test_f8(void);
static void test_to_f8(k_type_t type);
static void test_synthetic(const t_type_t *t);
static void test_vectors(void);
static void test_errors(void);
static void test_beside(void);
static void test_failures(void);


int
main(void)
{
    size_t i;

    static const k_role_t roles[] = {K_ROLE_MATRIX, K_ROLE_EMBED, K_ROLE_LOGITS,
                                     K_ROLE_EMBED_LOGITS};

    open_backend();

    for (i = 0; i < T_TYPES; i++) {
        test_type(&t_types[i], roles[i % 4], 37, 512, 0);
        test_type(&t_types[i], K_ROLE_EXPERTS, 3 * 5, 256, 3);
    }
    test_type(&t_types[0], K_ROLE_MATRIX, 3, 31, 0);
    test_type(&t_types[2], K_ROLE_MATRIX, 5, 17, 0);
    test_type(&t_types[3], K_ROLE_MATRIX, 1, 32, 0);
    test_type(&t_types[11], K_ROLE_MATRIX, 9, 256, 0);

    test_large(K_BF16, 2500, 4096);
    test_large(K_Q8_0, 2200, 8192);
    test_large(K_Q2_K, 2000, 2048);
    test_f8();
    test_to_f8(K_F32);
    test_to_f8(K_F16);
    test_to_f8(K_BF16);
    test_to_f8(K_Q8_0);
    test_synthetic(&t_types[2]);
    test_synthetic(&t_types[1]);
    test_synthetic(&t_types[7]);
    test_synthetic(&t_types[8]);
    test_synthetic(NULL);
    test_vectors();
    test_errors();

    test_beside();
    test_failures();

    k_backend_cuda.close(be);

    return tap_done();
}


static void
test_type(const t_type_t *t, k_role_t role, uint32_t rows, uint32_t cols,
          uint32_t experts)
{
    int         rc, i;
    char        err[K_ERR_MAX] = "";
    uint8_t    *data;
    reader_t    r;
    k_source_t  src;
    k_weight_t *w[2] = {NULL};

    data = make(t, rows, cols);
    src = source(t, role, data + 1, rows, cols);
    src.experts = experts;
    rc = k_backend_cuda.weights_load(be, &src, &w[0], err);

    memset(&r, 0, sizeof(r));
    r.data = data + 1;
    r.row = cols / t->block * t->bytes;
    r.fail = UINT32_MAX;
    src.data = NULL;
    src.read = read_rows;
    src.ctx = &r;
    rc = rc == 0 ? k_backend_cuda.weights_load(be, &src, &w[1], err) : rc;

    is_int(rc, 0, "%s as role %d: %u x %u%s", t->name, (int) role, rows, cols,
           err);

    for (i = 0; i < 2 && rc == 0; i++) {
        ok(w[i]->m.rows == rows && w[i]->m.cols == cols
               && w[i]->m.experts == (experts ? experts : 1)
               && w[i]->type == t->type,
           "%s: its shape", t->name);
        is_int(differ(&w[i]->m, t, data + 1, 0), 0, "%s: %s", t->name,
               i ? "read" : "in memory");
    }
    ok(!r.wrong && r.next == rows, "%s: rows are read once, in order", t->name);

    k_backend_cuda.weights_free(be, w[1]);
    k_backend_cuda.weights_free(be, w[0]);
    ok(used() == 0 && be->used_weights == 0, "%s: freed", t->name);
    free(data);
}


/* By several threads, in many pieces; compared in bytes or in part. */
static void
test_large(k_type_t type, uint32_t rows, uint32_t cols)
{
    int             bad;
    char            err[K_ERR_MAX] = "";
    size_t          i, n, row;
    uint8_t        *data, *back;
    uint32_t        at;
    k_source_t      src;
    k_weight_t     *w;
    cu_matrix_t     m;
    const t_type_t *t;

    for (t = t_types; t->type != type; t++) {
    }

    row = cols / t->block * t->bytes;
    n = rows * row;
    data = malloc(n + 1);
    t_weights(t, data, cols);
    for (i = row; i < n; i += row) {
        memcpy(data + i, data, row);
        data[i] ^= (uint8_t) (i / row);
        data[i + row - 1] ^= (uint8_t) (i / row >> 8);
    }

    src = source(t, K_ROLE_MATRIX, data, rows, cols);
    w = NULL;
    is_int(k_backend_cuda.weights_load(be, &src, &w, err), 0, "%s: %zu bytes%s",
           t->name, n, err);

    bad = w == NULL;
    if (!bad && t->block == 1) {
        back = malloc(n);
        dev_get(back, w->m.data, n);
        bad = memcmp(back, data, n) != 0;
        free(back);
    }

    for (at = 0; at < rows && w != NULL && t->block != 1; at += 97) {
        m = w->m;
        m.rows = 1;
        if (m.form == CU_W_PLAIN) {
            m.data = (const uint8_t *) m.data + (size_t) at * cols * 2;
        } else {
            m.data = (const uint8_t *) m.data + at * (w->size / rows);
            for (i = 0; i < CU_PLANES; i++) {
                if (m.plane[i] != NULL) {
                    m.plane[i] =
                        (const uint8_t *) m.plane[i] + at * (w->size / rows);
                }
            }
        }
        bad += differ(&m, t, data, at) != 0;
    }

    is_int(bad, 0, "%s: is there", t->name);
    k_backend_cuda.weights_free(be, w);
    is_int(used(), 0, "%s: freed", t->name);
    free(data);
}


static void
test_f8(void)
{
    enum { ROWS = 33, COLS = 48 };

    int         i, rc;
    char        err[K_ERR_MAX] = "";
    float       scales[ROWS], back[ROWS];
    uint8_t     data[ROWS * COLS], got[ROWS * COLS];
    uint32_t    j;
    k_source_t  src;
    k_weight_t *w;

    static const uint32_t n_scales[] = {0, 1, ROWS};

    for (j = 0; j < ROWS; j++) {
        scales[j] = (float) (1 + j) / 7;
    }
    for (j = 0; j < sizeof(data); j++) {
        data[j] = (uint8_t) test_rand(&seed);
    }

    for (i = 0; i < 3; i++) {
        src = (k_source_t){.type = K_F8_E4M3,
                           .role = K_ROLE_MATRIX,
                           .rows = ROWS,
                           .cols = COLS,
                           .data = data,
                           .scales = n_scales[i] ? scales : NULL,
                           .n_scales = n_scales[i],
                           .name = "f8"};
        w = NULL;
        rc = k_backend_cuda.weights_load(be, &src, &w, err);
        is_int(rc, 0, "E4M3 with %u scales%s", n_scales[i], err);
        if (rc != 0) {
            continue;
        }

        dev_get(got, w->m.data, sizeof(got));
        ok(w->m.type == CU_F8 && memcmp(got, data, sizeof(got)) == 0,
           "its bytes");

        if (n_scales[i] == 0) {
            ok(w->m.scales == NULL, "no scales");
        } else {
            dev_get(back, w->m.scales, sizeof(back));
            for (j = 0; j < ROWS && back[j] == scales[n_scales[i] == 1 ? 0 : j];
                 j++) {
            }
            is_int(j, ROWS, "a scale for each row");
        }

        k_backend_cuda.weights_free(be, w);
        is_int(used(), 0, "freed");
    }

    src.n_scales = 2;
    is_int(k_backend_cuda.weights_load(be, &src, &w, err), -ENOTSUP,
           "two scales: %s", err);
    is_int(used(), 0, "nothing is left");
}


/* Each row's largest element is E4M3's largest; all are within its rounding. */
static void
test_to_f8(k_type_t type)
{
    enum { ROWS = 41, COLS = 96 };

    int             bad, rc, i;
    char            err[K_ERR_MAX] = "";
    float           scales[ROWS];
    double         *v, want, most, step;
    size_t          row;
    uint8_t        *data;
    uint32_t        j, k;
    reader_t        r;
    k_source_t      src;
    k_weight_t     *w;
    const t_type_t *t;

    for (t = t_types; t->type != type; t++) {
    }

    row = COLS / t->block * t->bytes;
    data = make(t, ROWS, COLS);

    for (i = 0; i < 2; i++) {
        src = source(t, K_ROLE_MATRIX, i ? NULL : data + 1, ROWS, COLS);
        src.to_f8 = 1;
        memset(&r, 0, sizeof(r));
        r.data = data + 1;
        r.row = row;
        r.fail = UINT32_MAX;
        src.read = read_rows;
        src.ctx = &r;
        w = NULL;
        rc = k_backend_cuda.weights_load(be, &src, &w, err);
        if (type == K_Q8_0) {
            is_int(rc, -ENOTSUP, "blocks to E4M3: %s", err);
            continue;
        }

        is_int(rc, 0, "%s to E4M3%s", t->name, err);
        ok(w->m.type == CU_F8 && w->m.form == CU_W_PLAIN && w->m.scales,
           "with scales");
        v = values(&w->m, 0, ROWS);
        dev_get(scales, w->m.scales, sizeof(scales));
        bad = 0;

        for (j = 0; j < ROWS; j++) {
            most = 0;
            for (k = 0; k < COLS; k++) {
                want = t_element(t, data + 1 + j * row, k);
                step = fmax(fabs(want) / 16, scales[j] * 0x1p-10);
                bad += !(fabs(v[j * COLS + k] * scales[j] - want)
                         <= step * 1.0001);
                most = fmax(most, fabs(v[j * COLS + k]));
            }
            bad += most != 448;
        }
        is_int(bad, 0, "its values");
        free(v);
        k_backend_cuda.weights_free(be, w);
    }

    is_int(used(), 0, "freed");
    free(data);
}


/* NULL: E4M3. */
static void
test_synthetic(const t_type_t *t)
{
    enum { ROWS = 64, COLS = 256 };

    int         bad, big, i;
    char        err[K_ERR_MAX] = "";
    float       scales[ROWS];
    double     *v[2], x;
    uint32_t    j;
    k_source_t  src;
    k_weight_t *w[2];
    const char *name = t ? t->name : "E4M3";

    for (i = 0; i < 2; i++) {
        src = source(t ? t : t_types, K_ROLE_MATRIX, NULL, ROWS, COLS);
        src.type = t ? t->type : K_F8_E4M3;
        src.synthetic = (uint32_t) i + 1;
        src.limit = 0.25f;
        w[i] = NULL;
        is_int(k_backend_cuda.weights_load(be, &src, &w[i], err), 0,
               "%s made up%s", name, err);
        v[i] = values(&w[i]->m, 0, ROWS);
        if (t == NULL) {
            dev_get(scales, w[i]->m.scales, sizeof(scales));
        }
    }

    bad = big = 0;
    for (j = 0; j < ROWS * COLS; j++) {
        x = v[0][j] * (t ? 1 : scales[j / COLS]);
        bad += !(fabs(x) <= 0.26);
        big += fabs(x) > 0.12;
    }
    ok(bad == 0 && big > ROWS * COLS / 3, "%s: about uniform in its limits",
       name);
    ok(memcmp(v[0], v[1], ROWS * COLS * sizeof(double)) != 0,
       "%s: another number, other weights", name);

    for (i = 0; i < 2; i++) {
        k_backend_cuda.weights_free(be, w[i]);
        free(v[i]);
    }
    is_int(used(), 0, "%s: freed", name);
}


static void
test_vectors(void)
{
    enum { N = 1536 };

    int         i, rows, bad;
    char        err[K_ERR_MAX] = "";
    float       back[N];
    uint8_t    *data;
    uint32_t    j;
    reader_t    r;
    k_source_t  src;
    k_weight_t *w;

    for (i = 0; i < 12; i++) {
        const t_type_t *t = &t_types[i % 3];

        rows = i < 6 ? 1 : 12;
        data = make(t, (uint32_t) rows, N / (uint32_t) rows);
        src = source(t, rows == 1 ? K_ROLE_VECTOR : K_ROLE_VECTORS,
                     i / 3 % 2 ? data + 1 : NULL, (uint32_t) rows,
                     N / (uint32_t) rows);

        /* Infinity, and the smallest subnormal. */
        if (t->type == K_F16) {
            memcpy(data + 1, "\x00\x7c\x01\x80", 4);
        }

        memset(&r, 0, sizeof(r));
        r.data = data + 1;
        r.row = N / (size_t) rows * t->bytes;
        r.fail = UINT32_MAX;
        src.read = read_rows;
        src.ctx = &r;

        w = NULL;
        bad = k_backend_cuda.weights_load(be, &src, &w, err) != 0;
        if (!bad) {
            dev_get(back, w->vector, sizeof(back));
            for (j = 0; j < N; j++) {
                bad += t->type == K_F16 && j == 0
                           ? !isinf(back[j])
                           : back[j] != t_element(t, data + 1, j);
            }
        }
        is_int(bad, 0, "%d vectors of %s, %s%s", rows, t->name,
               src.data ? "in memory" : "read", err);
        k_backend_cuda.weights_free(be, w);
        free(data);
    }

    is_int(used(), 0, "vectors: freed");
}


static void
test_errors(void)
{
    int         rc;
    char        err[K_ERR_MAX];
    size_t      i;
    uint8_t    *bytes;
    reader_t    r;
    k_source_t  src;
    k_weight_t *w;

    enum { MEM = 1, READ = 2 };

    static const struct {
        k_type_t    type;
        k_role_t    role;
        uint32_t    rows;
        uint32_t    cols;
        uint32_t    experts;
        int         from;
        uint32_t    fail;
        int         rc;
        const char *what;
    } cases[] = {
        {K_F32, K_ROLE_EXPERTS, 10, 64, 3, MEM, 0, -ENOTSUP,
         "rows no multiple of experts"},
        {K_F32, K_ROLE_EXPERTS, 10, 64, 0, MEM, 0, -ENOTSUP, "no experts"},
        {K_F32, K_ROLE_MATRIX, 0, 64, 0, MEM, 0, -ENOTSUP, "no rows"},
        {K_F32, K_ROLE_MATRIX, 4, 0, 0, MEM, 0, -ENOTSUP, "no columns"},
        {K_F32, K_ROLE_MATRIX, 1, 1u << 21, 0, MEM, 0, -ENOTSUP,
         "too many columns"},
        {K_Q4_0, K_ROLE_MATRIX, 4, 33, 0, MEM, 0, -ENOTSUP, "no whole blocks"},
        {K_Q4_K, K_ROLE_MATRIX, 4, 128, 0, MEM, 0, -ENOTSUP,
         "no whole blocks of 256"},
        {K_Q3_K, K_ROLE_MATRIX, 4, 128, 0, MEM, 0, -ENOTSUP,
         "no whole blocks, made plain"},
        {K_Q4_0, K_ROLE_VECTOR, 1, 32, 0, MEM, 0, -ENOTSUP, "a vector of Q4_0"},
        {K_F8_E4M3, K_ROLE_VECTOR, 1, 32, 0, MEM, 0, -ENOTSUP,
         "a vector of E4M3"},
        {K_F32, K_ROLE_VECTOR, 2, 32, 0, MEM, 0, -ENOTSUP,
         "a vector of two rows"},
        {(k_type_t) 99, K_ROLE_MATRIX, 2, 32, 0, MEM, 0, -ENOTSUP,
         "an unknown type"},
        {K_F32, K_ROLE_MATRIX, 2, 32, 0, 0, 0, -ENOTSUP, "nothing to read"},
        {K_F32, K_ROLE_MATRIX, 1u << 31, 1 << 20, 0, MEM, 0, -ENOMEM,
         "too large"},
        {K_Q4_K, K_ROLE_MATRIX, 1u << 31, 1 << 20, 0, MEM, 0, -ENOMEM,
         "too large blocks"},
        {K_F32, K_ROLE_VECTORS, 1u << 31, 1 << 20, 0, MEM, 0, -ENOMEM,
         "too large vectors"},
        {K_F32, K_ROLE_EXPERTS, 1u << 31, 1 << 20, 64, MEM, 0, -ENOMEM,
         "too large experts"},
        {K_F32, K_ROLE_MATRIX, 5000, 512, 0, READ, 0, -EIO,
         "the first rows cannot be read"},
        {K_F32, K_ROLE_MATRIX, 5000, 512, 0, READ, 4999, -EIO,
         "the last row cannot be read"},
        {K_F16, K_ROLE_EXPERTS, 50, 512, 5, READ, 43, -EIO,
         "an expert cannot be read"},
        {K_Q8_0, K_ROLE_MATRIX, 50, 512, 0, READ, 43, -EIO,
         "blocks cannot be read"},
        {K_Q2_K, K_ROLE_MATRIX, 50, 512, 0, READ, 43, -EIO,
         "nor to be made plain"},
        {K_F16, K_ROLE_VECTORS, 50, 512, 0, READ, 9, -EIO,
         "vectors cannot be read"},
    };

    bytes = calloc(1, 16 * MIB);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(&r, 0, sizeof(r));
        r.data = bytes;
        r.row = (size_t) cases[i].cols * 2;
        r.fail = cases[i].fail;
        src = (k_source_t){.type = cases[i].type,
                           .role = cases[i].role,
                           .rows = cases[i].rows,
                           .cols = cases[i].cols,
                           .experts = cases[i].experts,
                           .data = cases[i].from == MEM ? bytes : NULL,
                           .read = cases[i].from == READ ? read_rows : NULL,
                           .ctx = &r,
                           .name = "w"};
        memset(err, 0, sizeof(err));
        rc = k_backend_cuda.weights_load(be, &src, &w, err);
        ok(rc == cases[i].rc && used() == 0 && be->used_weights == 0
               && err[0] != '\0',
           "%s: %s", cases[i].what, err);
    }

    k_backend_cuda.weights_free(be, NULL);
    free(bytes);
}


typedef struct {
    int stop;
    int loads;
    int bad;
} loader_t;


static void *
loader(void *data)
{
    char            err[K_ERR_MAX];
    uint8_t        *bytes, *back;
    loader_t       *l = data;
    k_source_t      src;
    k_weight_t     *w[4];
    const t_type_t *t = &t_types[2];
    int             i;

    enum { ROWS = 64, COLS = 512 };

    bytes = malloc(ROWS * COLS * 2);
    back = malloc(ROWS * COLS * 2);
    for (i = 0; i < ROWS; i++) {
        t_weights(t, bytes + i * COLS * 2, COLS);
    }

    while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
        for (i = 0; i < 4; i++) {
            src = source(t, K_ROLE_MATRIX, bytes, ROWS, COLS);
            w[i] = NULL;
            l->bad += k_backend_cuda.weights_load(be, &src, &w[i], err) != 0;
        }
        for (i = 0; i < 4 && w[i] != NULL; i++) {
            l->bad += cudaMemcpy(back, w[i]->m.data, ROWS * COLS * 2,
                                 cudaMemcpyDeviceToHost)
                          != cudaSuccess
                      || memcmp(back, bytes, ROWS * COLS * 2) != 0;
        }
        for (i = 0; i < 4; i++) {
            k_backend_cuda.weights_free(be, w[i]);
        }
        __atomic_add_fetch(&l->loads, 1, __ATOMIC_RELEASE);
    }

    free(bytes);
    free(back);

    return NULL;
}


/* Pages copied on the steps' stream while another thread loads and frees. */
static void
test_beside(void)
{
    int         i, bad;
    char        err[K_ERR_MAX];
    k_kv_t     *kv;
    uint8_t    *want, *got;
    loader_t    l;
    pthread_t   thread;
    k_program_t prog;

    memset(&l, 0, sizeof(l));
    memset(&prog, 0, sizeof(prog));
    prog.n_layer = 2;
    prog.n_kv = 2;
    prog.head_dim = 64;

    if (k_backend_cuda.kv_new(be, &prog, 4, &kv, err) != 0
        || pthread_create(&thread, NULL, loader, &l) != 0) {
        printf("Bail out! %s\n", err);
        exit(2);
    }

    want = malloc(kv->size);
    got = malloc(kv->size);
    for (i = 0; i < (int) kv->size; i++) {
        want[i] = (uint8_t) test_rand(&seed);
    }
    dev_put(kv->mem, want, kv->size);
    bad = 0;

    for (i = 0; i < 200 || __atomic_load_n(&l.loads, __ATOMIC_ACQUIRE) < 3;
         i++) {
        k_backend_cuda.kv_copy(be, kv, (uint32_t) (i + 1) % 4, (uint32_t) i % 4,
                               32);
        memcpy(want + (uint32_t) (i + 1) % 4 * kv->page,
               want + (uint32_t) i % 4 * kv->page, kv->page);
        bad += cudaStreamSynchronize(be->stream) != cudaSuccess;
    }

    __atomic_store_n(&l.stop, 1, __ATOMIC_RELEASE);
    (void) pthread_join(thread, NULL);

    dev_get(got, kv->mem, kv->size);
    ok(bad == 0 && memcmp(got, want, kv->size) == 0,
       "%d pages copied beside a loader", i);
    ok(l.bad == 0, "which loaded %d times", l.loads);

    k_backend_cuda.kv_free(be, kv);
    is_int(used(), 0, "and freed all");
    free(want);
    free(got);
}


/* Copies and launches that fail; the last one takes the device with it. */
static void
test_failures(void)
{
    int                   i, j, n, rc, saved, null;
    char                  err[K_ERR_MAX], fail[32];
    uint8_t              *data;
    k_source_t            src;
    k_weight_t           *w;
    struct cudaDeviceProp prop;

    static const struct {
        const char *kind;
        k_type_t    type;
        k_role_t    role;
        uint32_t    rows;
        int         f8;
    } cases[] = {
        {"copy", K_BF16, K_ROLE_MATRIX, 33, 0},
        {"copy", K_BF16, K_ROLE_MATRIX, 40000, 0}, /* by several threads */
        {"copy", K_Q8_0, K_ROLE_MATRIX, 33, 0},
        {"launch", K_Q8_0, K_ROLE_MATRIX, 33, 0},
        {"launch", K_BF16, K_ROLE_MATRIX, 33, 1},
        {"copy", K_F16, K_ROLE_VECTOR, 1, 0},
        {"kernel", K_Q8_0, K_ROLE_MATRIX, 33, 0},
    };

    CU_OK(cudaGetDeviceProperties(&prop, 0));
    if (strncmp(prop.name, "Emulated", 8) != 0) {
        ok(1, "# SKIP failures need the emulated device");
        return;
    }

    /* The backend says what fails: not here. */
    fflush(stderr);
    saved = dup(STDERR_FILENO);
    null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);

    n = sizeof(cases) / sizeof(cases[0]);
    data = calloc(40000, 512);

    for (i = 0; i < n; i++) {
        for (j = 1; j <= (cases[i].rows > 1000 ? 4 : 1); j++) {
            snprintf(fail, sizeof(fail), "%s:%d", cases[i].kind, j);
            src = (k_source_t){.type = cases[i].type,
                               .role = cases[i].role,
                               .rows = cases[i].rows,
                               .cols = 256,
                               .data = data,
                               .to_f8 = cases[i].f8,
                               .name = "w"};
            w = NULL;
            err[0] = '\0';
            setenv("CU_EMU_FAIL", fail, 1);
            rc = k_backend_cuda.weights_load(be, &src, &w, err);
            unsetenv("CU_EMU_FAIL");
            ok(rc == -EIO && w == NULL && err[0] != '\0', "%s, type %d: %s",
               fail, (int) src.type, err);
            ok(used() == 0 && be->used_weights == 0, "nothing is left");

            rc = k_backend_cuda.weights_load(be, &src, &w, err);
            is_int(rc, i == n - 1 ? -EIO : 0, "the next time: %s",
                   i == n - 1 ? "the device is lost" : "well");
            if (rc == 0) {
                k_backend_cuda.weights_free(be, w);
            }
        }
    }

    dup2(saved, STDERR_FILENO);
    close(saved);
    close(null);
    free(data);
}
