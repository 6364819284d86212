/*
 * cu_to_f8(): each row's scale is its largest over 448, each element the
 * nearest E4M3 of element / scale.
 */

#include <errno.h>
#include <float.h>

#include "t/cuda/cu_test.h"

static void test_matrix(cu_type_t t, uint32_t rows, uint32_t cols, int odd);
static void test_not_finite(void);


int
main(void)
{
    cu_type_t t;

    for (t = CU_F32; t <= CU_BF16; t++) {
        test_matrix(t, 1, 1, 0);
        test_matrix(t, 5, 64, 0);
        test_matrix(t, 3, 63, 0);
        test_matrix(t, 2, 4104, 0);
        test_matrix(t, 4, 40, 1);
    }
    test_not_finite();
    is_int(cu_to_f8(NULL, CU_F8, 1, 1, NULL, NULL, NULL), -EINVAL, "from E4M3");

    return tap_done();
}


/* Row 0 has large numbers, the last one only zeros, if there are several. */
static void
test_matrix(cu_type_t t, uint32_t rows, uint32_t cols, int odd)
{
    int      rc;
    char    *in;
    float   *scales, s, want;
    size_t   i, n = (size_t) rows * cols, off = odd ? 1 : 0;
    double  *v, max, worst = 0, e;
    uint8_t *out, *got;
    uint32_t r, rng = cols, bad = 0;

    v = malloc((n + off) * sizeof(double));
    for (i = 0; i < n + off; i++) {
        r = (uint32_t) (i < off ? 0 : (i - off) / cols);
        v[i] = test_normal(&rng) * (r == 0 ? 4000 : 0.01);
        v[i] = rows > 1 && r == rows - 1 ? 0 : v[i];
    }
    in = dev_typed(t, v, n + off);
    out = dev_new(n);
    scales = dev_new(rows * sizeof(float));
    rc =
        cu_to_f8(in + off * dev_type_size(t), t, rows, cols, out, scales, NULL);

    got = malloc(n);
    dev_get(got, out, n);
    for (r = 0; r < rows; r++) {
        dev_get(&s, scales + r, sizeof(s));
        max = 0;
        for (i = 0; i < cols; i++) {
            max = fmax(max, fabs(v[off + r * cols + i]));
        }
        want = (float) max / 448;
        bad += !(fabsf(s - (want > FLT_MIN ? want : FLT_MIN)) <= want * 2e-7f);

        /* Off by one step where the quotient is in the middle. */
        for (i = 0; i < cols; i++) {
            e = v[off + r * cols + i] / s;
            bad += got[r * cols + i] != to_f8((float) e)
                   && fabs(f8_of(got[r * cols + i]) - e)
                          > fabs(e) * (0.0625 + 1e-5);
            e = fabs(f8_of(got[r * cols + i]) - e) / (fabs(e) + 0x1p-6);
            worst = e > worst || isnan(e) ? e : worst;
        }
    }
    ok(rc == 0 && bad == 0 && worst <= 0.0626,
       "type %d, %u x %u%s: %u wrong, error %.3g", (int) t, rows, cols,
       odd ? ", not on 16 bytes" : "", bad, worst);

    free(got);
    free(v);
    dev_free(in);
    dev_free(out);
    dev_free(scales);
}


static void
test_not_finite(void)
{
    float   *in, *scales, s;
    double   v[8] = {1, -2, NAN, 3, 0, 0, 5, 6};
    uint8_t *out, got[8];

    in = dev_typed(CU_F32, v, 8);
    out = dev_new(8);
    scales = dev_new(4);
    cu_to_f8(in, CU_F32, 1, 8, out, scales, NULL);
    dev_get(got, out, 8);
    dev_get(&s, scales, 4);
    ok(isnan(f8_of(got[2])) && f8_of(got[7]) == 448
           && fabsf(s * 448 - 6) < 1e-5,
       "NaN stays NaN, the others what they are");
    dev_free(in);
    dev_free(out);
    dev_free(scales);
}
