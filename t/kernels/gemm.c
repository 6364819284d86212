/*
 * Matrix products of the CPU backend (kernels/cpu/gemm.h): every format, on
 * every ISA that this machine has, and the AVX-512 kernels' source with its
 * 512-bit operations emulated.
 *
 *   - rows taken back out of the packed form equal the goldens of PyPI's
 *     `gguf` (make_goldens.py), bit for bit;
 *   - the scalar product agrees with sums in double over weights read by the
 *     format's definition (written a second time, in formats.h);
 *   - every other kernel equals the scalar one bit for bit, for any number of
 *     rows, slices of rows and of outputs, both modes, and writes nothing
 *     outside its slice;
 *   - the same with the largest integers everywhere, where sums in 16 bits
 *     could overflow;
 *   - bytes that make no sense (scales that are NaN or infinite), and x that
 *     is not finite, do no harm beyond their own outputs.
 *
 * Buffers have their exact size, so that SAN=asan sees a byte too far.
 */

#include <errno.h>
#include <math.h>
#include <stdint.h>

#include "t/lib/tap.h"

#include "t/kernels/formats.h"

#define K_VEC512_EMULATE
#include "kernels/cpu/gemm_avx512.c"

#define T_M_MAX 140
#define T_N_MAX 72
#define T_K_MAX 2048
#define T_FILL  0x7fabcdef /* what a float that nobody wrote holds */


typedef struct {
    const char         *name;
    k_isa_t             isa;
    const k_gemm_ops_t *ops; /* in its stead; NULL: the ISA's own */
} t_isa_t;


static void
t_pack(k_matrix_t *w, const t_type_t *t, const t_isa_t *isa, uint32_t rows,
       uint32_t cols, const uint8_t *src)
{
    int64_t  size;
    uint32_t from, to, step;

    size = k_matrix_size(t->type, isa->isa, rows, cols);
    if (size <= 0
        || k_matrix_init(w, t->type, isa->isa, rows, cols,
                         t_alloc((size_t) size))
               != 0) {
        abort();
    }

    if (isa->ops) {
        w->ops = isa->ops;
    }

    step = k_matrix_granule(w) * (1 + t_random() % 3);

    for (from = 0; from < rows; from = to) {
        to = rows - from < step ? rows : from + step;
        k_matrix_pack(w, src + from * k_matrix_source_row(w), from, to);
    }
}


static int
t_same(float a, float b)
{
    return k_bits_f32(a) == k_bits_f32(b) || (a != a && b != b);
}


static void
t_fill(float *p, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        p[i] = k_f32_bits(T_FILL);
    }
}


typedef struct {
    k_act_t a;
    void   *mem;
} t_act_t;


static void
t_act(t_act_t *a, k_act_mode_t mode, k_isa_t isa, const float *x, uint32_t m,
      uint32_t cols, size_t ld)
{
    a->mem = t_alloc(k_act_size(m, cols));
    k_act_init(&a->a, mode, a->mem, m, cols, x, ld);

    /* two threads' shares, the later first */
    k_act_quantize(&a->a, isa, m / 2, m);
    k_act_quantize(&a->a, isa, 0, m / 2);
}


/*
 * The product in random slices of rows and outputs, every element once;
 * compared with want[m][n] and, between the rows, with the filling.
 */

static int
t_compare(const k_matrix_t *w, const k_act_t *a, const float *want,
          uint32_t want_ld)
{
    int      same;
    float   *out;
    size_t   ld;
    uint32_t m, n, m_to, n_to, g;

    ld = w->rows + 3;
    out = t_alloc((a->rows * ld) * sizeof(float));
    t_fill(out, a->rows * ld);
    g = k_matrix_granule(w);

    for (m = 0; m < a->rows; m = m_to) {
        m_to = t_random() % 3 ? a->rows : m + 1 + t_random() % (a->rows - m);

        for (n = 0; n < w->rows; n = n_to) {
            n_to = t_random() % 2 ? w->rows : n + g * (1 + t_random() % 3);
            n_to = n_to > w->rows ? w->rows : n_to;
            k_gemm(w, a, m, m_to, n, n_to, out, ld, NULL, 0);
        }
    }

    same = 1;

    for (m = 0; m < a->rows; m++) {
        for (n = 0; n < w->rows; n++) {
            if (!t_same(out[m * ld + n], want[m * want_ld + n])) {
                diag("m %u of %u, n %u of %u, K %u: %a, not %a", m, a->rows, n,
                     w->rows, w->cols, (double) out[m * ld + n],
                     (double) want[m * want_ld + n]);
                free(out);
                return 0;
            }
        }

        for (; n < ld; n++) {
            same = same && k_bits_f32(out[m * ld + n]) == T_FILL;
        }
    }

    free(out);

    if (!same) {
        diag("written outside the slice");
    }

    return same;
}


/* The scalar kernel, one row at a time: what all others must give. */

static float *
t_reference(const t_type_t *t, const uint8_t *src, uint32_t rows, uint32_t cols,
            k_act_mode_t mode, const float *x, uint32_t m)
{
    static const t_isa_t scalar = {"scalar", K_ISA_SCALAR, NULL};

    float     *out;
    uint32_t   i;
    t_act_t    a;
    k_matrix_t w;

    t_pack(&w, t, &scalar, rows, cols, src);
    out = t_alloc((size_t) m * rows * sizeof(float));

    for (i = 0; i < m; i++) {
        t_act(&a, mode, K_ISA_SCALAR, x + (size_t) i * cols, 1, cols, cols);
        k_gemm(&w, &a.a, 0, 1, 0, rows, out + (size_t) i * rows, rows, NULL, 0);
        free(a.mem);
    }

    free(w.data);

    return out;
}


/* The scalar kernel against sums in double. */

static void
t_double(const t_type_t *t)
{
    int      good;
    float   *x, *out;
    double   sum, size, e, worst[2], norm, diff, exact;
    uint8_t *src;
    uint32_t k, n, m, mode, cols, rows;
    k_q8_t  *q;
    t_act_t  a;
    size_t   row;

    cols = t->block == 1 ? 577 : 512;
    rows = 13;
    row = (size_t) cols / t->block * t->bytes;
    src = t_alloc(rows * row);
    x = t_alloc(3 * cols * sizeof(float));
    good = 1;
    norm = 0;
    diff = 0;

    for (n = 0; n < rows; n++) {
        t_weights(t, src + n * row, cols);
    }

    for (k = 0; k < 3 * cols; k++) {
        x[k] = t_float();
    }

    t_act(&a, K_ACT_INT8, K_ISA_SCALAR, x, 3, cols, cols);

    for (mode = 0; mode < 2; mode++) {
        worst[mode] = 0;
        out = t_reference(t, src, rows, cols, (k_act_mode_t) mode, x, 3);

        for (m = 0; m < 3; m++) {
            for (n = 0; n < rows; n++) {
                sum = 0;
                size = 0;
                exact = 0;

                for (k = 0; k < cols; k++) {
                    q = k_act_at(&a.a, m, k / 32);
                    e = t_element(t, src + n * row, k);
                    exact += e * x[m * cols + k];
                    e *= mode == 0 && t->block > 1
                             ? (double) q->d * q->q[k % 32]
                             : x[m * cols + k];
                    sum += e;
                    size += fabs(e);
                }

                e = fabs(out[m * rows + n] - sum) / size;
                worst[mode] = e > worst[mode] ? e : worst[mode];
                norm += exact * exact;
                diff +=
                    (out[m * rows + n] - exact) * (out[m * rows + n] - exact);
            }
        }

        free(out);
        good = good && worst[mode] < 1e-6;
    }

    ok(good, "%s: scalar against double, of the sum of |w x|: %.1e, f32 %.1e",
       t->name, worst[0], worst[1]);
    ok(sqrt(diff / norm) < 0.01, "%s: relative L2 of int8 activations: %.1e",
       t->name, sqrt(diff / norm));

    free(a.mem);
    free(src);
    free(x);
}


/* All shapes of one format on one ISA against the scalar reference. */

static void
t_shapes(const t_type_t *t, const t_isa_t *isa)
{
    static const uint16_t ms[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                  12, 13, 14, 15, 16, 17, 33, 64, 65, 130};
    static const uint16_t ns[] = {1, 3, 8, 9, 16, 17, 31, 40, 64, 72};
    static const uint16_t ks[2][8] = {
        {32, 64, 96, 288, 576, 1024, 2048, 32},
        {1, 5, 31, 33, 64, 100, 576, 1000},
    };

    int        good[2];
    float     *x, *want;
    size_t     row, i;
    uint8_t   *src;
    uint32_t   n, k, c, mode, cols, rows, m;
    t_act_t    a;
    k_matrix_t w;

    good[0] = 1;
    good[1] = 1;

    for (c = 0; c < sizeof(ns) / sizeof(ns[0]); c++) {
        rows = ns[c];
        cols = ks[t->block == 1][c % 8];
        cols = cols < t->block ? t->block : cols / t->block * t->block;
        row = (size_t) cols / t->block * t->bytes;
        src = t_alloc(rows * row);
        x = t_alloc(T_M_MAX * cols * sizeof(float));

        for (n = 0; n < rows; n++) {
            t_weights(t, src + n * row, cols);
        }

        for (k = 0; k < T_M_MAX * cols; k++) {
            x[k] = t_float();
        }

        t_pack(&w, t, isa, rows, cols, src);

        for (mode = 0; mode < 2; mode++) {
            /* a long list where it is cheap, a few rows where it is not */
            m = rows * cols <= 10240 ? 130 : 17;
            want = t_reference(t, src, rows, cols, (k_act_mode_t) mode, x, m);

            for (i = 0; i < sizeof(ms) / sizeof(ms[0]) && ms[i] <= m; i++) {
                t_act(&a, (k_act_mode_t) mode, isa->isa, x, ms[i], cols, cols);
                good[mode] = good[mode] && t_compare(&w, &a.a, want, rows);
                free(a.mem);
            }

            free(want);
        }

        free(w.data);
        free(src);
        free(x);
    }

    ok(good[0], "%s %s int8: any M and slice, the scalar kernel's bits",
       t->name, isa->name);
    ok(good[1], "%s %s f32: any M and slice, the scalar kernel's bits", t->name,
       isa->name);
}


/* The packed form is as compact as the file: decode reads it all. */

static void
t_compact(const t_type_t *t, const t_isa_t *isa)
{
    double file, packed;

    file = 160.0 * 4096 / t->block * t->bytes;
    packed = (double) k_matrix_size(t->type, isa->isa, 160, 4096);

    ok(packed >= file && packed <= file * 1.04,
       "%s %s: %.4f bits in the file, %.4f packed", t->name, isa->name,
       file * 8 / (160 * 4096), packed * 8 / (160 * 4096));
}


/* Bytes without sense, and x with NaN and infinities. */

static void
t_nonsense(const t_type_t *t, const t_isa_t *isa)
{
    int        good, mode;
    float     *x, *want, *out;
    uint8_t   *src;
    uint32_t   i, m, rows, cols, round;
    t_act_t    a;
    k_matrix_t w;

    cols = t->block == 1 ? 64 : 256;
    rows = 21;
    m = 9;
    good = 1;

    for (round = 0; round < 4; round++) {
        src = t_alloc((size_t) rows * cols / t->block * t->bytes);
        x = t_alloc(m * cols * sizeof(float));

        for (i = 0; i < rows * cols / t->block * t->bytes; i++) {
            src[i] = (uint8_t) (t_random() % 5 ? t_random() : 0xff);
        }

        for (i = 0; i < m * cols; i++) {
            x[i] = t_float();
        }

        /* rows 0, 2, ... stay finite */
        x[1 * cols + 7] = NAN;
        x[3 * cols + 40] = INFINITY;
        x[5 * cols + 1] = k_f32_bits(0xff800001);
        x[7 * cols + 63] = round & 1 ? 3e38f : 1e-44f;

        t_pack(&w, t, isa, rows, cols, src);

        for (mode = 0; mode < 2; mode++) {
            want = t_reference(t, src, rows, cols, (k_act_mode_t) mode, x, m);
            t_act(&a, (k_act_mode_t) mode, isa->isa, x, m, cols, cols);
            good = good && t_compare(&w, &a.a, want, rows);
            free(a.mem);
            free(want);
        }

        out = t_alloc(cols * sizeof(float));
        k_matrix_row(&w, rows - 1, out);
        free(out);
        free(w.data);
        free(src);
        free(x);
    }

    ok(good, "%s %s: any bytes, NaN and infinity in x", t->name, isa->name);
}


/* The largest integers on both sides, where 16 bits could overflow. */

static void
t_extremes(const t_type_t *t, const t_isa_t *isa)
{
    static const uint8_t fills[] = {0x00, 0xff, 0x7f, 0x80, 0x81, 0x88, 0x77};

    int        good;
    float     *x, *want;
    size_t     row;
    uint8_t   *src;
    uint32_t   i, f, m, rows, cols;
    t_act_t    a;
    k_matrix_t w;

    cols = 256;
    rows = 35;
    m = 14;
    good = 1;
    row = (size_t) cols / t->block * t->bytes;
    src = t_alloc(rows * row);
    x = t_alloc(m * cols * sizeof(float));

    /* rows 0 and 1 of one sign, the others of both */
    for (i = 0; i < m * cols; i++) {
        x[i] = i / cols == 0 || (i / cols > 1 && t_random() % 2) ? 1 : -1;
    }

    for (f = 0; f < sizeof(fills); f++) {
        for (i = 0; i < rows; i++) {
            t_weights_of(t, src + i * row, cols, fills[f]);
        }

        t_pack(&w, t, isa, rows, cols, src);
        want = t_reference(t, src, rows, cols, K_ACT_INT8, x, m);

        for (i = 1; i <= m; i += 13) {
            t_act(&a, K_ACT_INT8, isa->isa, x, i, cols, cols);
            good = good && t_compare(&w, &a.a, want, rows);
            free(a.mem);
        }

        free(want);
        free(w.data);
    }

    ok(good, "%s %s: the largest sums", t->name, isa->name);

    free(src);
    free(x);
}


/* Residual and bias. */

static void
t_epilogue(const t_type_t *t, const t_isa_t *isa)
{
    int        good;
    float     *x, *want, *out, bias[21], old[9 * 21], v;
    uint8_t   *src;
    uint32_t   i, f, m, rows, cols;
    t_act_t    a;
    k_matrix_t w;

    cols = 256;
    rows = 21;
    m = 9;
    good = 1;
    src = t_alloc((size_t) rows * cols / t->block * t->bytes);
    x = t_alloc(m * cols * sizeof(float));
    out = t_alloc(m * rows * sizeof(float));

    for (i = 0; i < rows; i++) {
        t_weights(t, src + i * (cols / t->block * t->bytes), cols);
        bias[i] = t_float();
    }

    for (i = 0; i < m * cols; i++) {
        x[i] = t_float();
    }

    for (i = 0; i < m * rows; i++) {
        old[i] = t_float();
    }

    t_pack(&w, t, isa, rows, cols, src);
    t_act(&a, K_ACT_INT8, isa->isa, x, m, cols, cols);
    want = t_reference(t, src, rows, cols, K_ACT_INT8, x, m);

    for (f = 0; f < 4; f++) {
        memcpy(out, old, sizeof(old));
        k_gemm(&w, &a.a, 0, m, 0, rows, out, rows, f & 1 ? bias : NULL,
               f & 2 ? K_GEMM_ADD : 0);

        for (i = 0; i < m * rows; i++) {
            v = f & 1 ? want[i] + bias[i % rows] : want[i];
            v = f & 2 ? old[i] + v : v;
            good = good && t_same(out[i], v);
        }
    }

    ok(good, "%s %s: bias, residual", t->name, isa->name);

    free(a.mem);
    free(w.data);
    free(want);
    free(out);
    free(src);
    free(x);
}


static int
t_hex(const char *s, uint8_t *out, size_t size)
{
    size_t   i;
    unsigned v;

    for (i = 0; i < size; i++) {
        if (sscanf(s + i * 2, "%2x", &v) != 1) {
            return -1;
        }

        out[i] = (uint8_t) v;
    }

    return 0;
}


/*
 * t/kernels/gemm.gold: lines "TYPE BLOCKS VALUES" in hex: one row of 256
 * elements, as bytes and as little-endian f32.
 */

static void
t_goldens(const t_isa_t *isas, size_t n_isas)
{
    FILE      *f;
    int        good;
    char       name[16];
    char      *line, *blocks, *values;
    float      want[256], got[256];
    size_t     i, j, k, row;
    uint8_t   *src;
    k_matrix_t w;

    f = fopen("t/kernels/gemm.gold", "r");
    if (!ok(f != NULL, "goldens are there")) {
        return;
    }

    line = t_alloc(8192);
    blocks = t_alloc(4096);
    values = t_alloc(4096);

    while (fgets(line, 8192, f)) {
        if (line[0] == '#') {
            continue;
        }

        if (sscanf(line, "%15s %4095s %4095s", name, blocks, values) != 3) {
            continue;
        }

        for (i = 0; i < T_TYPES && strcmp(t_types[i].name, name) != 0; i++) {
        }

        if (i == T_TYPES) {
            ok(0, "golden of an unknown type %s", name);
            continue;
        }

        row = 256 / t_types[i].block * t_types[i].bytes;
        src = t_alloc(row * 19);
        good = t_hex(blocks, src + row * 18, row) == 0
               && t_hex(values, (uint8_t *) want, sizeof(want)) == 0;

        for (j = 0; j < n_isas; j++) {
            t_pack(&w, &t_types[i], &isas[j], 19, 256, src);
            k_matrix_row(&w, 18, got);

            for (k = 0; k < 256; k++) {
                good = good && t_same(got[k], want[k]);
            }

            free(w.data);
        }

        ok(good, "%s: rows equal PyPI gguf's, all ISAs", name);
        free(src);
    }

    fclose(f);
    free(line);
    free(blocks);
    free(values);
}


static void
t_arguments(void)
{
    k_isa_t  isa, best;
    uint32_t e, b;

    best = k_isa_detect();
    diag("this CPU: %s", k_isa_name(best));

    ok(k_isa_resolve(K_ISA_AUTO, &isa) == 0 && isa == best, "auto: the best");
    ok(k_isa_resolve(K_ISA_SCALAR, &isa) == 0 && isa == K_ISA_SCALAR,
       "scalar can be forced");
    is_int(k_isa_resolve(K_ISA_AVX512, &isa),
           best == K_ISA_AVX512 ? 0 : -ENOTSUP,
           "avx512 only where the CPU has it");
    is_int(k_type_block(K_Q6_K, &e, &b), 0, "block of Q6_K");
    ok(e == 256 && b == 210, "its sizes");
    is_int(k_type_block((k_type_t) 99, &e, &b), -ENOTSUP, "unknown type");
    is_int(k_matrix_size((k_type_t) 99, best, 1, 32), -ENOTSUP,
           "unknown type has no size");
    is_int(k_matrix_size(K_Q4_0, best, 1, 33), -EINVAL, "half a block");
    is_int(k_matrix_size(K_Q4_K, best, 1, 32), -EINVAL, "part of a block");
    is_int(k_matrix_size(K_IQ4_XS, best, 1, 288), -EINVAL, "a block and more");
    is_int(k_matrix_size(K_Q4_0, best, 0, 32), -EINVAL, "no rows");
    is_int(k_matrix_size(K_F32, best, 1, 0), -EINVAL, "no columns");
    ok(k_matrix_size(K_F32, best, UINT32_MAX, UINT32_MAX) > 0
           || k_matrix_size(K_F32, best, UINT32_MAX, UINT32_MAX) == -EOVERFLOW,
       "largest shape");
}


int
main(void)
{
    size_t  i, j, n;
    t_isa_t isas[4] = {{"scalar", K_ISA_SCALAR, NULL}};

    n = 1;

#if defined(__x86_64__)
    if (k_isa_detect() >= K_ISA_AVX2) {
        isas[n++] = (t_isa_t){"avx2", K_ISA_AVX2, NULL};
    }

    if (k_isa_detect() >= K_ISA_AVX512) {
        isas[n++] = (t_isa_t){"avx512", K_ISA_AVX512, NULL};
    }

    if (k_isa_detect() >= K_ISA_AVX2) {
        /* its quantize() is AVX2's, which this CPU has */
        isas[n++] = (t_isa_t){"avx512 emulated", K_ISA_AVX512, &k_gemm_vec512};
    }
#endif

    t_arguments();
    t_goldens(isas, n);

    for (i = 0; i < T_TYPES; i++) {
        t_double(&t_types[i]);

        for (j = 0; j < n; j++) {
            t_compact(&t_types[i], &isas[j]);
            t_shapes(&t_types[i], &isas[j]);
            t_nonsense(&t_types[i], &isas[j]);
            t_extremes(&t_types[i], &isas[j]);
            t_epilogue(&t_types[i], &isas[j]);
        }
    }

    return tap_done();
}
