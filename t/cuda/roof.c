/*
 * Reading speed, made-up weights, copies of pages (kernels/cuda/roof.cu): that
 * they do what they say; how fast is for benches.
 */

#include <errno.h>

#include "t/cuda/elem_ref.h"

static void read_check(void);
static void synthetic_check(cu_type_t t, uint32_t rows, uint32_t cols,
                            int scales);
static void copy_check(uint32_t row_bytes, uint32_t n);

static uint32_t seed = 5;


int
main(void)
{
    static const uint32_t tokens[] = {1, 5, 31, 32};

    uint8_t  b[64];
    uint32_t i;

    read_check();

    synthetic_check(CU_F32, 40, 64, 0);
    synthetic_check(CU_F16, 31, 77, 0);
    synthetic_check(CU_BF16, 64, 520, 0);
    synthetic_check(CU_F8, 33, 130, 0);
    synthetic_check(CU_F8, 300, 24, 1);

    for (i = 0; i < 4; i++) {
        copy_check(256, tokens[i]);
        copy_check(40, tokens[i]);
        copy_check(6, tokens[i]);
    }
    is_int(cu_kv_copy(b, 64, 0, 1, 33, 64, 1, 1, NULL), -EINVAL,
           "33 tokens of a page");
    is_int(cu_kv_copy(b, 64, 1, 1, 5, 64, 1, 2, NULL), 0, "a page onto itself");
    is_int(cu_kv_copy(b, 64, 1, 0, 5, 64, 2, 1, NULL), -EINVAL,
           "more heads than a page holds");

    return tap_done();
}


static void
read_check(void)
{
    size_t    i, n = 16u << 20;
    uint32_t *h = malloc(n), sum = 0, got, zero = 0, *sink, *p;

    for (i = 0; i < n / 4; i++) {
        h[i] = test_rand(&seed);
        sum += h[i];
    }
    p = dev_of(h, n);
    sink = dev_of(&zero, sizeof(zero));
    is_int(cu_roof_read(p, n, sink, NULL), 0, "16 MiB are read");
    dev_get(&got, sink, sizeof(got));
    is_int(got, sum, "each word once");
    is_int(cu_roof_read(p, n - 16, sink, NULL), -EINVAL, "not some of a tile");

    dev_free(p);
    dev_free(sink);
    free(h);
}


static void
synthetic_check(cu_type_t t, uint32_t rows, uint32_t cols, int scales)
{
    int         good = 1, same;
    float       limit = 0.125f;
    double     *v = malloc(rows * cols * sizeof(double));
    double     *u = malloc(rows * cols * sizeof(double));
    double     *s = malloc(rows * sizeof(double));
    double      sum = 0, max = 0, square = 0, n = (double) rows * cols;
    uint32_t    i;
    cu_matrix_t w = {.form = CU_W_PLAIN, .type = t, .rows = rows, .cols = cols};

    w.data = dev_new(rows * cols * dev_type_size(t));
    w.scales = scales ? dev_new(rows * sizeof(float)) : NULL;

    is_int(cu_synthetic(&w, 1, limit, NULL), 0, "weights of type %d", t);
    dev_read(t, v, w.data, rows * cols);
    if (scales) {
        dev_read(CU_F32, s, w.scales, rows);
    }
    for (i = 0; i < rows * cols; i++) {
        v[i] *= scales ? s[i / cols] : 1;
        good &= fabs(v[i]) <= limit * 1.0001;
        sum += v[i];
        square += v[i] * v[i];
        max = fmax(max, fabs(v[i]));
    }
    ok(good && max > limit * 0.95, "are within the limit, and reach it");
    ok(fabs(sum / n) < limit * 4 / sqrt(3 * n), "have a mean of 0");
    ok(fabs(sqrt(square / n * 3) / limit - 1) < 0.06, "are uniform");

    cu_synthetic(&w, 2, limit, NULL);
    dev_read(t, u, w.data, rows * cols);
    for (i = 0, same = 0; i < rows * cols; i++) {
        same += u[i] * (scales ? s[i / cols] : 1) == v[i];
    }
    ok(same < (int) (n / 20), "another seed makes others");
    cu_synthetic(&w, 1, limit, NULL);
    dev_read(t, u, w.data, rows * cols);
    for (i = 0, same = 1; i < rows * cols; i++) {
        same &= u[i] * (scales ? s[i / cols] : 1) == v[i];
    }
    ok(same, "and the first one the same again");

    dev_free((void *) w.data);
    dev_free((void *) w.scales);
    free(v);
    free(u);
    free(s);
}


/* Three pages of six tiles. */
static void
copy_check(uint32_t row_bytes, uint32_t n)
{
    enum { PAGES = 3, HEADS = 6 };

    int      good = 1;
    size_t   head = (size_t) row_bytes * K_PAGE_TOKENS, page = HEADS * head;
    size_t   i, at;
    uint8_t *h = malloc(PAGES * page), *got = malloc(PAGES * page), *kv;

    for (i = 0; i < PAGES * page; i++) {
        h[i] = (uint8_t) test_rand(&seed);
    }
    kv = dev_of(h, PAGES * page);
    is_int(cu_kv_copy(kv, page, 0, 2, n, head, HEADS, row_bytes, NULL), 0,
           "%u tokens of %u bytes", n, row_bytes);
    dev_get(got, kv, PAGES * page);
    for (i = 0; i < PAGES * page; i++) {
        at = i < page && i % head < n * row_bytes ? i + 2 * page : i;
        good &= got[i] == h[at];
    }
    ok(good, "are copied in each tile, no more");

    dev_free(kv);
    free(h);
    free(got);
}
