/*
 * Bias, norm, rotation and KV pages (kernels/cuda/elem_rope.cu) against a
 * reference in double precision.
 */

#include <errno.h>

#include "t/cuda/elem_ref.h"

#define ROWS   4
#define N      3 /* of the step */
#define PAGES  3
#define LAYERS 2

#define SCALES   1
#define BIAS     2
#define NORM_Q   4
#define NORM_K   8
#define IN_PLACE 16
#define KV_F8    32
#define FAR      64 /* large positions */

typedef struct {
    k_rope_t rope;
    uint32_t n_head;
    uint32_t n_kv;
    uint32_t head_dim;
    uint32_t n_rot;
    int      what;
} case_t;

typedef struct {
    double *qkv, *sr, *sc, *bq, *bk, *bv, *nq, *nk, *freq;
} data_t;

static void check(cu_type_t t, const case_t *c);
static void reference(const case_t *c, const data_t *d, uint32_t row,
                      uint32_t pos, float mul, double *out);
static int  kv_check(cu_type_t t, const case_t *c, const cu_rope_t *p,
                     uint8_t *kv, const uint32_t *slot, double *const *want);
static int  sines(void);

static uint32_t seed = 23;


int
main(void)
{
    static const case_t cases[] = {
        {K_ROPE_HALVES, 4, 2, 128, 128, 0},
        {K_ROPE_HALVES, 4, 1, 64, 64, SCALES | BIAS | NORM_Q | NORM_K},
        {K_ROPE_PAIRS, 3, 1, 64, 64, BIAS | IN_PLACE},
        {K_ROPE_PAIRS, 4, 2, 128, 128, KV_F8 | FAR},
        {K_ROPE_HALVES, 4, 2, 128, 128, FAR | NORM_Q | IN_PLACE | KV_F8},
        {K_ROPE_HALVES, 2, 2, 96, 96, NORM_Q | NORM_K},
        {K_ROPE_HALVES, 2, 1, 80, 32, BIAS | NORM_K | IN_PLACE},
        {K_ROPE_PAIRS, 2, 1, 80, 22, SCALES | BIAS | NORM_K},
        {K_ROPE_HALVES, 3, 1, 256, 64, NORM_Q | NORM_K | KV_F8},
        {K_ROPE_HALVES, 2, 1, 512, 512, SCALES | BIAS | NORM_Q | NORM_K},
        {K_ROPE_HALVES, 1, 1, 16, 16, NORM_Q | NORM_K},
        {K_ROPE_PAIRS, 5, 1, 32, 32, NORM_Q},
        {K_ROPE_NONE, 4, 2, 64, 0, BIAS | NORM_K},
        {K_ROPE_NONE, 4, 2, 64, 0, IN_PLACE | KV_F8},
        {K_ROPE_HALVES, 32, 8, 128, 128, 0},
        {K_ROPE_HALVES, 40, 20, 128, 128, SCALES | BIAS | NORM_Q | NORM_K},
        /* narrow */
        {K_ROPE_HALVES, 3, 1, 20, 20, SCALES | BIAS | NORM_Q | NORM_K},
        {K_ROPE_HALVES, 3, 1, 64, 24, BIAS | IN_PLACE | NORM_Q},
        {K_ROPE_PAIRS, 3, 1, 34, 20, BIAS | IN_PLACE | NORM_Q | KV_F8 | FAR},
        {K_ROPE_HALVES, 20, 4, 2, 2, NORM_Q | NORM_K},
        {K_ROPE_NONE, 2, 2, 10, 0, NORM_K},
        {K_ROPE_PAIRS, 1, 1, 504, 504, NORM_Q | NORM_K},
    };

    float     f = 0;
    uint32_t  i;
    cu_rope_t p = {.qkv = &f,
                   .rows = 1,
                   .n_head = 2,
                   .n_kv = 1,
                   .head_dim = 64,
                   .q_ld = 128,
                   .kv_type = CU_BF16};

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check(CU_BF16, &cases[i]);
        if (i < 6 || i == 16) {
            check(CU_F16, &cases[i]);
        }
    }

    ok(sines(), "sines of any angle are those of F32's nearest");

    p.head_dim = 514;
    p.q_ld = 1028;
    is_int(cu_rope(CU_BF16, &p, NULL, NULL), -EINVAL, "heads of 514");
    p.head_dim = 33;
    is_int(cu_rope(CU_BF16, &p, NULL, NULL), -EINVAL, "heads of 33");
    p.head_dim = 64;
    p.kv_type = CU_F16;
    is_int(cu_rope(CU_BF16, &p, NULL, NULL), -EINVAL, "pages of another type");
    p.kv_type = CU_F8;
    p.rope = K_ROPE_PAIRS;
    p.inv_freq = &f;
    p.n_rot = 66;
    is_int(cu_rope(CU_BF16, &p, NULL, NULL), -EINVAL, "more than the head");

    return tap_done();
}


static double *
head_vector(uint32_t n, double mul, double add)
{
    double  *v = ref_random(n, mul, &seed);
    uint32_t i;

    for (i = 0; i < n; i++) {
        v[i] += add;
    }
    return v;
}


static void
check(cu_type_t t, const case_t *c)
{
    int        good = 1, rest, q_ld;
    double    *want[N], *got;
    size_t     kv_size;
    data_t     d;
    uint8_t   *kv;
    uint32_t   heads = c->n_head + 2 * c->n_kv, dim = heads * c->head_dim;
    uint32_t   nq = c->n_head * c->head_dim, nk = c->n_kv * c->head_dim;
    uint32_t   pos[N], slot[N], i, r, elem = c->what & KV_F8 ? 1 : 2;
    cu_rope_t  p;
    cu_step_t *step;

    for (r = 0; r < N; r++) {
        pos[r] = test_rand(&seed) % (c->what & FAR ? 1u << 30 : 5000);
        /* a page of its own, so that no two rows meet */
        slot[r] =
            (PAGES - 1 - r) * K_PAGE_TOKENS + test_rand(&seed) % K_PAGE_TOKENS;
    }
    pos[0] = c->what & FAR ? (1u << 30) - 1 : 0;

    q_ld = (int) (c->what & IN_PLACE ? dim : nq + (c->head_dim % 16 ? 2 : 8));
    d.qkv = ref_random(ROWS * dim, 2, &seed);
    d.sr = head_vector(ROWS, 0.2, 1);
    d.sc = head_vector(dim, 0.2, 1);
    d.bq = head_vector(nq, 1, 0);
    d.bk = head_vector(nk, 1, 0);
    d.bv = head_vector(nk, 1, 0);
    d.nq = head_vector(c->head_dim, 0.3, 1);
    d.nk = head_vector(c->head_dim, 0.3, 1);
    d.freq = malloc((c->n_rot / 2 + 1) * sizeof(double));
    for (i = 0; i < c->n_rot / 2; i++) {
        d.freq[i] = pow(500000, -2.0 * i / c->n_rot);
    }

    memset(&p, 0, sizeof(p));
    p.qkv = dev_typed(t, d.qkv, ROWS * dim);
    p.in_scale_row = c->what & SCALES ? dev_typed(CU_F32, d.sr, ROWS) : NULL;
    p.in_scale_col = c->what & SCALES ? dev_typed(CU_F32, d.sc, dim) : NULL;
    p.bias_q = c->what & BIAS ? dev_typed(CU_F32, d.bq, nq) : NULL;
    p.bias_k = c->what & BIAS ? dev_typed(CU_F32, d.bk, nk) : NULL;
    p.bias_v = c->what & BIAS ? dev_typed(CU_F32, d.bv, nk) : NULL;
    p.norm_q = c->what & NORM_Q ? dev_typed(CU_F32, d.nq, c->head_dim) : NULL;
    p.norm_k = c->what & NORM_K ? dev_typed(CU_F32, d.nk, c->head_dim) : NULL;
    p.eps = 1e-4f;
    p.rope = c->rope;
    p.inv_freq =
        c->rope != K_ROPE_NONE ? dev_typed(CU_F32, d.freq, c->n_rot / 2) : NULL;
    p.rope_mul = c->n_head % 2 ? 1.25f : 1;
    p.n_rot = c->n_rot;
    p.rows = ROWS;
    p.n_head = c->n_head;
    p.n_kv = c->n_kv;
    p.head_dim = c->head_dim;
    p.q =
        c->what & IN_PLACE ? (void *) p.qkv : dev_new((size_t) ROWS * q_ld * 2);
    p.q_ld = (uint32_t) q_ld;
    p.kv_type = c->what & KV_F8 ? CU_F8 : t;
    p.kv_v = (uint64_t) nk * K_PAGE_TOKENS * elem;
    p.kv_page = p.kv_v * 2 * LAYERS;
    kv_size = p.kv_page * PAGES;
    kv = dev_new(kv_size);
    p.kv = kv + p.kv_v * 2; /* layer 1 */

    step = dev_step(&(dev_step_conf_t){.n_rows = N, .pos = pos, .slot = slot});
    is_int(cu_rope(t, &p, step, NULL), 0,
           "rope %d, %s: %u heads, %u of %u, %u rotated, %d", c->rope,
           t == CU_F16 ? "F16" : "BF16", c->n_head, c->n_kv, c->head_dim,
           c->n_rot, c->what);

    got = malloc(dim * sizeof(double));
    for (r = 0; r < N; r++) {
        want[r] = malloc(dim * sizeof(double));
        reference(c, &d, r, pos[r], p.rope_mul, want[r]);
        dev_read(t, got, (uint16_t *) p.q + (size_t) r * q_ld, nq);
        for (i = 0; i < nq; i++) {
            good &= ref_near(t, got[i], want[r][i], 8);
        }
    }
    ok(good, "queries");

    if (c->what & IN_PLACE) {
        dev_read(t, got, (uint16_t *) p.q + (size_t) N * q_ld, dim);
        for (i = 0, rest = 1; i < dim; i++) {
            rest &= got[i] == d.qkv[N * dim + i];
        }
    } else {
        rest = ref_untouched(p.q, (size_t) N * q_ld * 2, (size_t) q_ld * 2)
               && ref_untouched(p.q, (size_t) nq * 2,
                                (size_t) (q_ld - (int) nq) * 2);
    }
    ok(rest, "what is beyond them is left alone");
    ok(kv_check(t, c, &p, kv, slot, want), "keys and values, nothing else");

    dev_free((void *) p.qkv);
    dev_free((void *) p.in_scale_row);
    dev_free((void *) p.in_scale_col);
    dev_free((void *) p.bias_q);
    dev_free((void *) p.bias_k);
    dev_free((void *) p.bias_v);
    dev_free((void *) p.norm_q);
    dev_free((void *) p.norm_k);
    dev_free((void *) p.inv_freq);
    if (!(c->what & IN_PLACE)) {
        dev_free(p.q);
    }
    dev_free(kv);
    dev_step_free(step);
    for (r = 0; r < N; r++) {
        free(want[r]);
    }
    free(got);
    free(d.qkv);
    free(d.sr);
    free(d.sc);
    free(d.bq);
    free(d.bk);
    free(d.bv);
    free(d.nq);
    free(d.nk);
    free(d.freq);
}


/* Row [q | k | v] as it is to be. */
static void
reference(const case_t *c, const data_t *d, uint32_t row, uint32_t pos,
          float mul, double *out)
{
    float    angle;
    double  *h, a, b;
    uint32_t head, i, ia, ib, kind, dim = c->head_dim;
    uint32_t heads = c->n_head + 2 * c->n_kv;

    for (head = 0; head < heads; head++) {
        h = out + head * dim;
        kind = head < c->n_head ? 0 : head < c->n_head + c->n_kv ? 1 : 2;
        for (i = 0; i < dim; i++) {
            h[i] = d->qkv[(row * heads + head) * dim + i];
            if (c->what & SCALES) {
                h[i] *= d->sr[row] * d->sc[head * dim + i];
            }
            if (c->what & BIAS) {
                h[i] += kind == 0 ? d->bq[head * dim + i]
                        : kind == 1
                            ? d->bk[(head - c->n_head) * dim + i]
                            : d->bv[(head - c->n_head - c->n_kv) * dim + i];
            }
        }
        if (kind == 0 && (c->what & NORM_Q)) {
            ref_rmsnorm(h, h, d->nq, dim, 1e-4f);
        }
        if (kind == 1 && (c->what & NORM_K)) {
            ref_rmsnorm(h, h, d->nk, dim, 1e-4f);
        }
        if (kind == 2 || c->rope == K_ROPE_NONE) {
            continue;
        }
        for (i = 0; i < c->n_rot / 2; i++) {
            ia = c->rope == K_ROPE_PAIRS ? 2 * i : i;
            ib = c->rope == K_ROPE_PAIRS ? 2 * i + 1 : i + c->n_rot / 2;
            angle = (float) pos * (float) d->freq[i];
            a = h[ia];
            b = h[ib];
            h[ia] = mul * (a * cos(angle) - b * sin(angle));
            h[ib] = mul * (b * cos(angle) + a * sin(angle));
        }
    }
}


/* The pages are poison but for the rows' keys and values. */
static int
kv_check(cu_type_t t, const case_t *c, const cu_rope_t *p, uint8_t *kv,
         const uint32_t *slot, double *const *want)
{
    int      good = 1;
    size_t   i, at, size = p->kv_page * PAGES;
    double   got[512];
    uint8_t *seen = malloc(size), *b = malloc(size);
    uint32_t r, h, v, j, elem = p->kv_type == CU_F8 ? 1 : 2;

    memset(seen, 0, size);
    for (r = 0; r < N; r++) {
        for (h = 0; h < c->n_kv; h++) {
            for (v = 0; v < 2; v++) {
                at = (size_t) ((uint8_t *) p->kv - kv)
                     + slot[r] / K_PAGE_TOKENS * p->kv_page + v * p->kv_v
                     + ((size_t) h * K_PAGE_TOKENS + slot[r] % K_PAGE_TOKENS)
                           * c->head_dim * elem;
                memset(seen + at, 1, c->head_dim * elem);
                dev_read(p->kv_type, got, kv + at, c->head_dim);
                for (j = 0; j < c->head_dim; j++) {
                    good &= ref_near(
                        p->kv_type, got[j],
                        want[r]
                            [(c->n_head + v * c->n_kv + h) * c->head_dim + j],
                        8);
                }
            }
        }
    }

    dev_get(b, kv, size);
    for (i = 0; i < size; i++) {
        good &= seen[i] || b[i] == 0xff;
    }
    free(seen);
    free(b);

    return good;
}


/*
 * x = (60000, 0) in pairs shows cosine and sine, also where they are as small
 * as those of the hard ones: F32 numbers next to multiples of pi / 2, where a
 * reduction with too few bits has none left.  These are at position 1.
 */
static int
sines(void)
{
    static const uint32_t at[] = {0,      1,       11,        33,      355,
                                  52174,  103993,  104348,    208341,  312689,
                                  833719, 1146408, 411557987, 1u << 30};
    static const double   hard[] = {5419351,   8129026.5, 42781604,  85563208,
                                    277793824, 342252832, 555587648, 620046656};
    enum { ANGLES = sizeof(at) / sizeof(at[0]), DIM = 512 };
    enum { HARD = sizeof(hard) / sizeof(hard[0]) };

    int        good = 1;
    double    *x = calloc(3 * DIM, sizeof(double)), got[DIM], freq[DIM / 2];
    uint32_t   slot[1] = {0}, i, j;
    cu_rope_t  p = {.rope = K_ROPE_PAIRS,
                    .rope_mul = 1,
                    .n_rot = DIM,
                    .rows = 1,
                    .n_head = 1,
                    .n_kv = 1,
                    .head_dim = DIM,
                    .q_ld = DIM,
                    .kv_type = CU_F16};
    cu_step_t *step;

    for (i = 0; i < DIM; i += 2) {
        x[i] = 60000;
    }
    for (i = 0; i < DIM / 2; i++) {
        freq[i] = i < HARD       ? hard[i]
                  : i < HARD + 4 ? 1.0 / (i - HARD + 1)
                                 : ldexp(test_rand(&seed), -32);
    }
    p.qkv = dev_typed(CU_F16, x, 3 * DIM);
    p.inv_freq = dev_typed(CU_F32, freq, DIM / 2);
    p.q = dev_new(DIM * 2);
    p.kv_v = DIM * 2 * K_PAGE_TOKENS;
    p.kv_page = p.kv_v * 2;
    p.kv = dev_new(p.kv_page);

    for (i = 0; i < ANGLES; i++) {
        step = dev_step(
            &(dev_step_conf_t){.n_rows = 1, .pos = &at[i], .slot = slot});
        good &= cu_rope(CU_F16, &p, step, NULL) == 0;
        dev_read(CU_F16, got, p.q, DIM);
        for (j = at[i] > 1 ? HARD : 0; j < DIM / 2; j++) {
            float angle = (float) at[i] * (float) freq[j];

            good &= ref_near(CU_F16, got[2 * j], 60000 * cos(angle), 0)
                    && ref_near(CU_F16, got[2 * j + 1], 60000 * sin(angle), 0);
        }
        dev_step_free(step);
    }

    dev_free((void *) p.qkv);
    dev_free((void *) p.inv_freq);
    dev_free(p.q);
    dev_free(p.kv);
    free(x);

    return good;
}
