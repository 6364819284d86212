/*
 * Loading of weights on the CPU backend: from memory or read in pieces gives
 * the same bytes, the reader is called for each row once and in order,
 * experts are packed each for itself, vectors are widened; errors give
 * everything back.
 */

#include <errno.h>

#include "t/lib/tap.h"
#include "t/kernels/toy.h"
#include "kernels/cpu/cpu.h"


/* A source that is read; keeps the rules of backend.h about the calls. */
typedef struct {
    const uint8_t *data;
    size_t         row; /* bytes */
    uint32_t       next;
    uint32_t       calls;
    uint32_t       most;
    uint32_t       fail; /* at this row; UINT32_MAX: never */
    int            wrong;
} reader_t;


static void         test_same(k_type_t type, k_role_t role, uint32_t rows,
                              uint32_t cols, uint32_t experts);
static void         test_experts(k_type_t type, uint32_t n, uint32_t rows,
                                 uint32_t cols);
static void         test_vectors(void);
static void         test_errors(void);
static k_backend_t *backend(k_isa_t isa);
static uint64_t     used(k_backend_t *be);
static int          read_rows(void *ctx, uint32_t row, uint32_t n, void *out);
static void         fill(uint8_t *p, size_t n);


static uint8_t  bytes[24 << 20];
static uint32_t rng = 5;


int
main(void)
{
    uint32_t block, size;
    k_type_t type;

    fill(bytes, sizeof(bytes));

    for (type = K_F32; type <= K_MXFP4; type++) {
        if (k_type_block(type, &block, &size) != 0) {
            continue;
        }
        test_same(type, K_ROLE_MATRIX, 77, 512, 0);
        test_same(type, K_ROLE_EXPERTS, 5 * 21, 512, 5);
        test_experts(type, 3, 13, 256);
    }

    /* More than one piece. */
    test_same(K_F32, K_ROLE_EMBED, 5003, 1024, 0);
    test_same(K_Q8_0, K_ROLE_LOGITS, 9001, 2048, 0);
    test_same(K_F16, K_ROLE_EXPERTS, 3 * 1001, 2048, 3);
    test_same(K_F32, K_ROLE_MATRIX, 3, 1 << 20, 0);
    test_vectors();
    test_errors();

    return tap_done();
}


static void
fill(uint8_t *p, size_t n)
{
    size_t i;

    for (i = 0; i + 4 <= n; i += 4) {
        uint32_t u = toy_rand(&rng);

        memcpy(p + i, &u, 4);
    }
}


static k_backend_t *
backend(k_isa_t isa)
{
    char         err[K_ERR_MAX];
    k_config_t   conf;
    k_backend_t *be;

    memset(&conf, 0, sizeof(conf));
    conf.threads = 1;
    conf.isa = isa;
    conf.memory = 96 << 20;

    if (k_backend_cpu.open(&conf, &be, err) != 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }
    return be;
}


static uint64_t
used(k_backend_t *be)
{
    uint64_t size, u;

    k_backend_cpu.memory(be, &size, &u);
    return u;
}


static int
read_rows(void *ctx, uint32_t row, uint32_t n, void *out)
{
    reader_t *r = ctx;

    r->wrong += row != r->next || n == 0;
    r->next = row + n;
    r->calls++;
    r->most = n > r->most ? n : r->most;

    if (r->fail >= row && r->fail < row + n) {
        return -EIO;
    }

    memcpy(out, r->data + row * r->row, n * r->row);
    return 0;
}


static void
test_same(k_type_t type, k_role_t role, uint32_t rows, uint32_t cols,
          uint32_t experts)
{
    int          rc, same;
    char         err[K_ERR_MAX] = "";
    reader_t     r;
    uint32_t     block, size;
    k_source_t   src;
    k_weight_t  *a, *b;
    k_backend_t *be;

    be = backend(K_ISA_AUTO);
    a = b = NULL;
    memset(&src, 0, sizeof(src));
    memset(&r, 0, sizeof(r));

    k_type_block(type, &block, &size);
    r.data = bytes + 1; /* at any address */
    r.row = (size_t) cols / block * size;
    r.fail = UINT32_MAX;
    src.type = type;
    src.role = role;
    src.rows = rows;
    src.cols = cols;
    src.experts = experts;
    src.name = "w";
    src.data = bytes + 1;

    rc = k_backend_cpu.weights_load(be, &src, &a, err);
    src.data = NULL;
    src.read = read_rows;
    src.ctx = &r;
    rc = rc ? rc : k_backend_cpu.weights_load(be, &src, &b, err);

    same = rc == 0 && a->size == b->size && !r.wrong && r.next == rows
           && memcmp(a->mem, b->mem, a->size) == 0;
    ok(same, "type %d, role %d, %u x %u: %u reads of %u rows or less%s",
       (int) type, (int) role, rows, cols, r.calls, r.most, err);
    ok(r.most * r.row <= 4 << 20 || r.most <= 16,
       "pieces of 4 MiB or a granule");

    k_backend_cpu.weights_free(be, a);
    k_backend_cpu.weights_free(be, b);
    is_int(used(be), 0, "freed");
    k_backend_cpu.close(be);
}


/* Each expert is what a matrix of its rows would be. */
static void
test_experts(k_type_t type, uint32_t n, uint32_t rows, uint32_t cols)
{
    int          bad;
    char         err[K_ERR_MAX] = "";
    float        x[256], y[256];
    uint32_t     e, i, block, size;
    k_source_t   src;
    k_weight_t  *all, *one;
    k_backend_t *be;

    be = backend(K_ISA_AUTO);
    all = one = NULL;
    memset(&src, 0, sizeof(src));
    k_type_block(type, &block, &size);
    src.type = type;
    src.role = K_ROLE_EXPERTS;
    src.rows = n * rows;
    src.cols = cols;
    src.experts = n;
    src.name = "w";
    src.data = bytes;

    bad = k_backend_cpu.weights_load(be, &src, &all, err) != 0;

    for (e = 0; e < n && !bad; e++) {
        src.role = K_ROLE_MATRIX;
        src.rows = rows;
        src.data = bytes + (size_t) e * rows * (cols / block * size);
        bad += k_backend_cpu.weights_load(be, &src, &one, err) != 0;
        for (i = 0; i < rows && !bad; i++) {
            k_matrix_row(&all->experts[e], i, x);
            k_matrix_row(&one->matrix, i, y);
            bad += memcmp(x, y, cols * sizeof(float)) != 0;
        }
        k_backend_cpu.weights_free(be, one);
    }
    is_int(bad, 0, "type %d: %u experts of %u rows%s", (int) type, n, rows,
           err);

    k_backend_cpu.weights_free(be, all);
    k_backend_cpu.close(be);
}


static void
test_vectors(void)
{
    int          bad;
    char         err[K_ERR_MAX] = "";
    float        f, want[6000];
    double       back;
    uint8_t      raw[6000 * 4 + 1];
    uint16_t     h;
    uint32_t     i, u, rows;
    k_type_t     type;
    reader_t     r;
    k_source_t   src;
    k_weight_t  *w;
    k_backend_t *be;

    static const k_type_t types[] = {K_F32, K_F16, K_BF16};

    be = backend(K_ISA_SCALAR);

    for (u = 0; u < 12; u++) {
        type = types[u % 3];
        rows = u < 6 ? 1 : 30;
        for (i = 0; i < 6000; i++) {
            want[i] = (float) toy_normal(&rng);
            if (type == K_F32) {
                memcpy(raw + 1 + 4 * i, &want[i], 4);
            } else if (type == K_F16) {
                h = toy_half(want[i], &back);
                want[i] = (float) back;
                memcpy(raw + 1 + 2 * i, &h, 2);
            } else {
                uint32_t v;

                f = want[i];
                memcpy(&v, &f, 4);
                v &= 0xffff0000;
                memcpy(&want[i], &v, 4);
                h = (uint16_t) (v >> 16);
                memcpy(raw + 1 + 2 * i, &h, 2);
            }
        }

        memset(&src, 0, sizeof(src));
        memset(&r, 0, sizeof(r));
        src.type = type;
        src.role = rows == 1 ? K_ROLE_VECTOR : K_ROLE_VECTORS;
        src.rows = rows;
        src.cols = 6000 / rows;
        src.name = "v";
        r.data = raw + 1;
        r.row = (size_t) src.cols * (type == K_F32 ? 4 : 2);
        r.fail = UINT32_MAX;
        src.data = u / 3 % 2 ? raw + 1 : NULL;
        src.read = read_rows;
        src.ctx = &r;

        w = NULL;
        bad = k_backend_cpu.weights_load(be, &src, &w, err) != 0
              || w->rows != rows || memcmp(w->vector, want, sizeof(want)) != 0;
        ok(!bad && !r.wrong, "%u vectors of type %d, %s%s", rows, (int) type,
           src.data ? "in memory" : "read", err);
        k_backend_cpu.weights_free(be, w);
    }

    is_int(used(be), 0, "vectors: freed");
    k_backend_cpu.close(be);
}


static void
test_errors(void)
{
    size_t       i;
    int          rc;
    char         err[K_ERR_MAX];
    reader_t     r;
    k_source_t   src;
    k_weight_t  *w;
    k_backend_t *be;

    static const struct {
        k_source_t  src;
        uint32_t    fail;
        int         rc;
        const char *what;
    } cases[] = {
        {{.type = K_F32,
          .role = K_ROLE_EXPERTS,
          .rows = 10,
          .cols = 64,
          .experts = 3,
          .data = bytes,
          .name = "w"},
         0,
         -ENOTSUP,
         "rows no multiple of experts"},
        {{.type = K_F32,
          .role = K_ROLE_EXPERTS,
          .rows = 10,
          .cols = 64,
          .data = bytes,
          .name = "w"},
         0,
         -ENOTSUP,
         "no experts"},
        {{.type = K_F32,
          .role = K_ROLE_MATRIX,
          .rows = 0,
          .cols = 64,
          .data = bytes,
          .name = "w"},
         0,
         -ENOTSUP,
         "no rows"},
        {{.type = K_F32,
          .role = K_ROLE_MATRIX,
          .rows = 4,
          .cols = 0,
          .data = bytes,
          .name = "w"},
         0,
         -ENOTSUP,
         "no columns"},
        {{.type = K_Q4_0,
          .role = K_ROLE_MATRIX,
          .rows = 4,
          .cols = 33,
          .data = bytes,
          .name = "w"},
         0,
         -ENOTSUP,
         "no whole blocks"},
        {{.type = K_Q4_0,
          .role = K_ROLE_VECTOR,
          .rows = 1,
          .cols = 32,
          .data = bytes,
          .name = "w"},
         0,
         -ENOTSUP,
         "a vector of Q4_0"},
        {{.type = K_F32,
          .role = K_ROLE_VECTOR,
          .rows = 2,
          .cols = 32,
          .data = bytes,
          .name = "w"},
         0,
         -ENOTSUP,
         "a vector of two rows"},
        {{.type = (k_type_t) 99,
          .role = K_ROLE_MATRIX,
          .rows = 2,
          .cols = 32,
          .data = bytes,
          .name = "w"},
         0,
         -ENOTSUP,
         "an unknown type"},
        {{.type = K_F32,
          .role = K_ROLE_MATRIX,
          .rows = 2,
          .cols = 32,
          .name = "w"},
         0,
         -ENOTSUP,
         "nothing to read"},
        {{.type = K_F32,
          .role = K_ROLE_MATRIX,
          .rows = 1u << 31,
          .cols = 1 << 20,
          .data = bytes,
          .name = "w"},
         0,
         -ENOMEM,
         "too large"},
        {{.type = K_F32,
          .role = K_ROLE_VECTORS,
          .rows = 1u << 31,
          .cols = 1 << 20,
          .data = bytes,
          .name = "w"},
         0,
         -ENOMEM,
         "too large vectors"},
        {{.type = K_F32,
          .role = K_ROLE_EXPERTS,
          .rows = 1u << 31,
          .cols = 1 << 20,
          .experts = 64,
          .data = bytes,
          .name = "w"},
         0,
         -ENOMEM,
         "too large experts"},
        {{.type = K_F32,
          .role = K_ROLE_MATRIX,
          .rows = 5000,
          .cols = 512,
          .read = read_rows,
          .name = "w"},
         0,
         -EIO,
         "the first rows cannot be read"},
        {{.type = K_F32,
          .role = K_ROLE_MATRIX,
          .rows = 5000,
          .cols = 512,
          .read = read_rows,
          .name = "w"},
         4999,
         -EIO,
         "the last row cannot be read"},
        {{.type = K_F16,
          .role = K_ROLE_EXPERTS,
          .rows = 50,
          .cols = 512,
          .experts = 5,
          .read = read_rows,
          .name = "w"},
         43,
         -EIO,
         "an expert cannot be read"},
        {{.type = K_F32,
          .role = K_ROLE_VECTORS,
          .rows = 50,
          .cols = 512,
          .read = read_rows,
          .name = "w"},
         9,
         -EIO,
         "vectors cannot be read"},
    };

    be = backend(K_ISA_AUTO);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        src = cases[i].src;
        memset(&r, 0, sizeof(r));
        r.data = bytes;
        r.row = (size_t) src.cols * (src.type == K_F32 ? 4 : 2);
        r.fail = cases[i].fail;
        src.ctx = &r;
        memset(err, 0, sizeof(err));
        rc = k_backend_cpu.weights_load(be, &src, &w, err);
        ok(rc == cases[i].rc && used(be) == 0, "%s: %s", cases[i].what, err);
    }

    k_backend_cpu.close(be);
}
