/*
 * See selftest.h.  The thread that opens the backend; all memory is its own
 * for the length of the call.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/selftest.h"
#include "kernels/cpu/simd.h"

#define ST_ROWS 37 /* outputs: no multiple of any tile */
#define ST_COLS 256
#define ST_M    13
#define ST_MEM  (1u << 18)
#define ST_LD   64
#define ST_DIM  32 /* of a head */

typedef struct {
    uint8_t  src[ST_ROWS * ST_COLS * 4];
    uint8_t *mem; /* packed, then activations */
    float    x[ST_M * ST_COLS];
    float    out[2][ST_M * ST_LD];
} k_st_t;

static int      k_st_gemm(k_st_t *s, k_type_t type, k_isa_t isa);
static int      k_st_product(k_st_t *s, k_type_t type, k_isa_t isa, float *out);
static int      k_st_rows(k_st_t *s, k_isa_t isa);
static int      k_st_attn(k_st_t *s, k_isa_t isa);
static int      k_st_near(const float *a, const float *b, uint32_t n);
static uint32_t k_st_random(uint32_t *x);


const char *
k_selftest(k_isa_t isa)
{
    static const struct {
        k_type_t    type;
        const char *name;
    } types[] = {{K_Q4_0, "q4_0"},   {K_Q4_1, "q4_1"},     {K_Q5_0, "q5_0"},
                 {K_Q5_1, "q5_1"},   {K_Q8_0, "q8_0"},     {K_Q2_K, "q2_k"},
                 {K_Q3_K, "q3_k"},   {K_Q4_K, "q4_k"},     {K_Q5_K, "q5_k"},
                 {K_Q6_K, "q6_k"},   {K_IQ4_NL, "iq4_nl"}, {K_IQ4_XS, "iq4_xs"},
                 {K_MXFP4, "mxfp4"}, {K_F16, "f16"},       {K_BF16, "bf16"},
                 {K_F32, "f32"}};
    const char *bad = NULL;
    uint32_t    i, seed = 1;
    k_st_t     *s;

    if (isa == K_ISA_SCALAR) {
        return NULL;
    }

    s = calloc(1, sizeof(k_st_t));
    if (s == NULL || posix_memalign((void **) &s->mem, K_ALIGN, ST_MEM) != 0) {
        free(s);
        return "out of memory";
    }

    for (i = 0; i < ST_M * ST_COLS; i++) {
        s->x[i] = (float) (int32_t) k_st_random(&seed) / 2147483648.0f;
    }

    for (i = 0; i < sizeof(types) / sizeof(types[0]) && bad == NULL; i++) {
        if (!k_st_gemm(s, types[i].type, isa)) {
            bad = types[i].name;
        }
    }

    if (bad == NULL && !k_st_rows(s, isa)) {
        bad = "row operations";
    }

    if (bad == NULL && !k_st_attn(s, isa)) {
        bad = "attention";
    }

    free(s->mem);
    free(s);

    return bad;
}


static uint32_t
k_st_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;

    return *x ^ *x >> 15;
}


/* Products are the same bits on every ISA; not a number is the same too. */

static int
k_st_gemm(k_st_t *s, k_type_t type, k_isa_t isa)
{
    uint32_t i, seed = (uint32_t) type + 7;

    for (i = 0; i < sizeof(s->src); i++) {
        s->src[i] = (uint8_t) (k_st_random(&seed) >> 8);
    }

    if (!k_st_product(s, type, K_ISA_SCALAR, s->out[0])
        || !k_st_product(s, type, isa, s->out[1])) {
        return 0;
    }

    for (i = 0; i < ST_M * ST_LD; i++) {
        if (memcmp(&s->out[0][i], &s->out[1][i], sizeof(float)) != 0
            && !(isnan(s->out[0][i]) && isnan(s->out[1][i]))) {
            return 0;
        }
    }

    return 1;
}


static int
k_st_product(k_st_t *s, k_type_t type, k_isa_t isa, float *out)
{
    k_matrix_t w;
    int64_t    size;
    k_act_t    a;

    memset(out, 0, ST_M * ST_LD * sizeof(float));

    size = k_matrix_size(type, isa, ST_ROWS, ST_COLS);
    if (size < 0) {
        return 0;
    }

    size = (size + K_ALIGN - 1) / K_ALIGN * K_ALIGN;
    if ((uint64_t) size + k_act_size(ST_M, ST_COLS) > ST_MEM) {
        return 0;
    }

    if (k_matrix_init(&w, type, isa, ST_ROWS, ST_COLS, s->mem) < 0) {
        return 0;
    }

    k_matrix_pack(&w, s->src, 0, ST_ROWS);
    k_act_init(&a, K_ACT_INT8, s->mem + size, ST_M, ST_COLS, s->x, ST_COLS);
    k_act_quantize(&a, isa, 0, ST_M);
    k_gemm(&w, &a, 0, ST_M, 0, ST_ROWS, out, ST_LD, NULL, 0);

    return 1;
}


static int
k_st_near(const float *a, const float *b, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        if (!(fabsf(a[i] - b[i]) <= 1e-4f * (1 + fabsf(a[i])))) {
            return 0;
        }
    }

    return 1;
}


/* The others may differ in the last bits. */

static int
k_st_rows(k_st_t *s, k_isa_t isa)
{
    const k_simd_t *t[2] = {k_simd_table(K_ISA_SCALAR), k_simd_table(isa)};
    static const uint32_t n = 131;
    uint16_t              h[2][160];
    float                *y, sum[2][4], max[2][4];
    int                   i, fn, finite[2];

    for (i = 0; i < 2; i++) {
        y = memset(s->out[i], 0, sizeof(s->out[i]));
        t[i]->norm(y, s->x, s->x + n, n, 1e-5f);
        t[i]->mad(y, s->x + 2 * n, 0.75f, n);
        y += n;

        for (fn = K_FN_SILU; fn <= K_FN_SWIGLU_OAI; fn++, y += n) {
            memcpy(y, s->x + 3 * n, n * sizeof(float));
            t[i]->scale(y, n, 12.0f, fn == K_FN_SILU ? 9.0f : 0);
            t[i]->act((k_fn_t) fn, y, s->x + 4 * n, n);
        }

        t[i]->exps(y, s->x, n, 1.0f, 2.0f, sum[i]);
        finite[i] = t[i]->blocks(s->x, n, max[i]);
        memset(h[i], 0, sizeof(h[i]));
        t[i]->half(h[i], s->x, n);
    }

    return k_st_near(s->out[0], s->out[1], 6 * n)
           && k_st_near(sum[0], sum[1], 3) && k_st_near(max[0], max[1], 3)
           && finite[0] == finite[1] && memcmp(h[0], h[1], n * 2) == 0;
}


/* Two rows of three heads, turned, over two pages, with a window. */

static int
k_st_attn(k_st_t *s, k_isa_t isa)
{
    const k_simd_t *t[2] = {k_simd_table(K_ISA_SCALAR), k_simd_table(isa)};
    uint16_t       *k, *v;
    k_attn_t        a = {ST_DIM, ST_DIM, 6, 3, 40, 35, 0, .cap = 5.0f};
    float          *f, cs[2 * ST_DIM];
    int             i, j;

    k = (uint16_t *) (void *) s->mem;
    v = k + ST_DIM * K_PAGE_TOKENS;
    t[0]->half(k, s->x, 2 * ST_DIM * K_PAGE_TOKENS);

    for (i = 0; i < ST_DIM; i += 2) {
        cs[i] = cs[i + 1] = s->x[i];
        cs[ST_DIM + i + 1] = s->x[i + 1];
        cs[ST_DIM + i] = -s->x[i + 1];
    }

    f = (float *) (void *) (s->mem + ST_MEM / 2);
    a.q = f;
    a.s = a.q + 6 * ST_DIM;
    a.m = a.s + 6 * K_PAGE_TOKENS;
    a.top = a.m + 6 + 15;
    a.kf = a.top + 6 + 15;
    a.vf = a.kf + ST_DIM * K_PAGE_TOKENS;

    for (i = 0; i < 2; i++) {
        memcpy(a.q, s->x, 6 * ST_DIM * sizeof(float));
        a.o = memset(s->out[i], 0, sizeof(s->out[i]));
        a.l = a.o + 6 * ST_DIM;

        for (j = 0; j < 6; j++) {
            t[i]->rope(a.q + j * ST_DIM, ST_DIM, K_ROPE_HALVES, cs);
            t[i]->rope(a.q + j * ST_DIM, ST_DIM, K_ROPE_PAIRS, cs);
            a.m[j] = -INFINITY;
        }

        t[i]->attn_page(&a, k, v, 0);
        t[i]->attn_page(&a, k, v, K_PAGE_TOKENS);
    }

    return k_st_near(s->out[0], s->out[1], 6 * (ST_DIM + 1));
}
