/*
 * The CPU backend's row operations, attention and sampling passes, one by
 * one, for every ISA that this machine has, against double precision written
 * here.  Outputs stand in poisoned memory: what should not be written must
 * not change.
 */

#include "t/lib/tap.h"
#include "t/kernels/toy.h"
#include "kernels/cpu/gemm.h"

/* GCC takes minutes over the emulation with a sanitizer's checks in it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EMULATED NULL
#include "kernels/cpu/simd.h"
#else
#define EMULATED &emulated
#include "t/kernels/simd_512_emulated.h"

/* clang-format off: the vectors come first */
#include "kernels/cpu/simd_ops.inc"
#include "kernels/cpu/simd_attn.inc"
/* clang-format on */
#endif

#define POISON 0x7fc0dead /* a NaN */
#define MAX    700


typedef struct {
    uint32_t head_dim, group, rows, tokens, window;
    float    cap;
} attn_case_t;


#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* The text of the AVX-512 table over emulated vectors. */
static const k_simd_t emulated = {
    .norm = v_norm,
    .mad = v_mad,
    .act = v_act,
    .scale = v_scale,
    .rope = v_rope,
    .half = v_half,
    .attn_page = v_attn_page,
    .attn_merge = v_attn_merge,
    .blocks = v_blocks,
    .mask = v_mask,
    .exps = v_exps,
    .collect = v_collect,
    .above = v_above,
};
#endif


static void   test_norm(const k_simd_t *s, const char *isa);
static void   test_act(const k_simd_t *s, const char *isa);
static void   test_rope(const k_simd_t *s, const char *isa);
static void   test_half(const k_simd_t *s, const char *isa);
static void   test_passes(const k_simd_t *s, const char *isa);
static void   test_attn(const k_simd_t *s, const char *isa);
static double attn_error(const k_simd_t *s, const attn_case_t *c);
static void   test_attn_dead(const k_simd_t *s, const char *isa);
static void   poison(float *x, uint32_t n);
static int    poisoned(const float *x, uint32_t n);


static uint32_t rng = 4711;


int
main(void)
{
    int isa;

    for (isa = K_ISA_SCALAR; isa <= K_ISA_AVX512 + 1; isa++) {
        const char     *name = k_isa_name((k_isa_t) isa);
        const k_simd_t *s = k_simd_table((k_isa_t) isa);

        if (isa > K_ISA_AVX512) {
            name = "avx512 emulated";
            s = EMULATED;

        } else if (isa > (int) k_isa_detect()) {
            s = NULL;
        }

        if (s == NULL) {
            ok(1, "# SKIP %s: not here", name);
            continue;
        }
        test_norm(s, name);
        test_act(s, name);
        test_rope(s, name);
        test_half(s, name);
        test_passes(s, name);
        test_attn(s, name);
        test_attn_dead(s, name);
    }

    return tap_done();
}


static void
poison(float *x, uint32_t n)
{
    uint32_t i, u = POISON;

    for (i = 0; i < n; i++) {
        memcpy(&x[i], &u, 4);
    }
}


static int
poisoned(const float *x, uint32_t n)
{
    uint32_t i, u;

    for (i = 0; i < n; i++) {
        memcpy(&u, &x[i], 4);
        if (u != POISON) {
            return 0;
        }
    }
    return 1;
}


static float
rnd(double dev)
{
    return (float) (dev * toy_normal(&rng));
}


static void
test_norm(const k_simd_t *s, const char *isa)
{
    int      clean;
    float    x[MAX], w[MAX], out[MAX + 64], two[MAX + 64];
    double   sum, want, err, worst;
    uint32_t n, i;

    worst = 0;
    clean = 1;

    for (n = 1; n < MAX; n += n < 80 ? 1 : 37) {
        sum = 0;
        for (i = 0; i < n; i++) {
            x[i] = rnd(3);
            w[i] = rnd(1);
            sum += (double) x[i] * x[i];
        }
        sum = 1 / sqrt(sum / n + 1e-5f);

        poison(out, MAX + 64);
        s->norm(out, x, w, n, 1e-5f);
        clean &= poisoned(out + n, 64);
        for (i = 0; i < n; i++) {
            want = x[i] * sum * w[i];
            err = fabs(out[i] - want) / (fabs(want) + 1e-6);
            worst = err > worst || err != err ? err : worst;
        }

        s->norm(two, x, NULL, n, 1e-5f);
        for (i = 0; i < n; i++) {
            err = fabs(two[i] - x[i] * sum) / (fabs(x[i] * sum) + 1e-6);
            worst = err > worst || err != err ? err : worst;
        }
        memcpy(two, x, n * sizeof(float));
        s->norm(two, two, w, n, 1e-5f);
        clean &= memcmp(two, out, n * sizeof(float)) == 0;

        s->mad(out, x, 1.0f, n);
        clean &= poisoned(out + n, 64);
        for (i = 0; i < n; i++) {
            clean &= out[i] == two[i] + x[i];
        }

        memcpy(out, two, n * sizeof(float));
        s->mad(out, x, -0.3f, n);
        clean &= poisoned(out + n, 64);
        for (i = 0; i < n; i++) {
            want = two[i] - 0.3f * (double) x[i];
            err = fabs(out[i] - want) / (fabs(two[i]) + fabs(x[i]) + 1e-6);
            worst = err > worst || err != err ? err : worst;
        }
        /* Where it is cut changes nothing. */
        i = toy_rand(&rng) % n;
        s->mad(two, x, -0.3f, i);
        s->mad(two + i, x + i, -0.3f, n - i);
        clean &= memcmp(two, out, n * sizeof(float)) == 0;
    }

    ok(worst < 3e-6 && clean, "%s: norm, mad, 1 to %d wide: error %.1e", isa,
       MAX, worst);
}


static void
test_act(const k_simd_t *s, const char *isa)
{
    int      fn, clean;
    float    x[MAX], h[MAX + 64], u[MAX];
    double   want, err, worst;
    uint32_t n, i;

    static const char *names[] = {"silu", "gelu tanh", "gelu erf",
                                  "swiglu of gpt-oss"};

    for (fn = K_FN_SILU; fn <= K_FN_SWIGLU_OAI; fn++) {
        worst = 0;
        clean = 1;
        for (n = 1; n < MAX; n += n < 40 ? 1 : 61) {
            poison(h, MAX + 64);
            for (i = 0; i < n; i++) {
                x[i] = h[i] = i == 0 ? -120.0f : i == 1 ? 200.0f : rnd(4);
                u[i] = rnd(fn == K_FN_SWIGLU_OAI ? 6 : 1);
            }
            s->act((k_fn_t) fn, h, u, n);
            clean &= poisoned(h + n, 64);
            for (i = 0; i < n; i++) {
                want = toy_act((k_fn_t) fn, x[i], u[i]);
                err = fabs(h[i] - want)
                      / (fabs(x[i]) * (fabs(u[i]) + (fn == 3)) + 1e-6);
                worst = err > worst || err != err ? err : worst;
            }
        }
        ok(worst < 5e-7 && clean, "%s: %s: error %.1e of |x|", isa, names[fn],
           worst);

        for (i = 0; i < 40; i++) {
            h[i] = i % 3 == 0 ? NAN : 1;
            u[i] = i % 3 == 1 ? NAN : 1;
        }
        s->act((k_fn_t) fn, h, u, 40);
        for (i = n = 0; i < 40; i++) {
            n += isnan(h[i]) != (i % 3 != 2);
        }
        is_int(n, 0, "%s: %s: NaN stays NaN", isa, names[fn]);
    }

    worst = 0;
    clean = 1;
    for (n = 1; n < 200; n++) {
        poison(h, n + 64);
        for (i = 0; i < n; i++) {
            x[i] = h[i] = rnd(40);
        }
        s->scale(h, n, 0.5f, 30.0f);
        clean &= poisoned(h + n, 64);
        for (i = 0; i < n; i++) {
            err = fabs(h[i] - 30 * tanh(x[i] * 0.5 / 30)) / 30;
            worst = err > worst || err != err ? err : worst;
        }
    }
    ok(worst < 4e-7 && clean, "%s: scale and soft cap: error %.1e of the cap",
       isa, worst);
}


static void
test_rope(const k_simd_t *s, const char *isa)
{
    int      mode, clean;
    float    x[160], y[160 + 16], cs[320];
    double   a, sn, c, err, worst;
    uint32_t n, i, j, k;

    for (mode = K_ROPE_PAIRS; mode <= K_ROPE_HALVES; mode++) {
        worst = 0;
        clean = 1;
        for (n = 2; n <= 160; n += 2) {
            poison(y, 176);
            for (i = 0; i < n; i++) {
                x[i] = y[i] = rnd(1);
            }
            for (i = 0; i < n / 2; i++) {
                a = 10 * toy_normal(&rng);
                if (mode == K_ROPE_PAIRS) {
                    cs[2 * i] = cs[2 * i + 1] = (float) cos(a);
                    cs[n + 2 * i] = (float) -sin(a);
                    cs[n + 2 * i + 1] = (float) sin(a);
                } else {
                    cs[i] = (float) cos(a);
                    cs[n + i] = (float) sin(a);
                }
            }
            s->rope(y, n, (k_rope_t) mode, cs);
            clean &= poisoned(y + n, 16);

            for (i = 0; i < n / 2; i++) {
                j = mode == K_ROPE_PAIRS ? 2 * i : i;
                k = mode == K_ROPE_PAIRS ? 2 * i + 1 : i + n / 2;
                c = cs[mode == K_ROPE_PAIRS ? k : i];
                sn = cs[n + (mode == K_ROPE_PAIRS ? k : i)];
                err = fabs(y[j] - (x[j] * c - x[k] * sn))
                      + fabs(y[k] - (x[k] * c + x[j] * sn));
                worst = err > worst || err != err ? err : worst;
            }
        }
        ok(worst < 1e-6 && clean, "%s: rope %s: error %.1e", isa,
           mode == K_ROPE_PAIRS ? "pairs" : "halves", worst);
    }
}


static void
test_half(const k_simd_t *s, const char *isa)
{
    int      bad;
    float    x[19], f;
    double   back;
    uint16_t h[32], want;
    uint32_t i, j, n;

    bad = 0;
    for (i = 0; i < 65536; i++) {
        f = k_float((uint16_t) i);
        bad += f == f && fabsf(f) <= 65504.0f && k_half(f) != i;
    }
    is_int(bad, 0, "%s: every half there and back", isa);

    bad = 0;
    for (i = 0; i < 20000; i++) {
        n = 1 + i % 19;
        for (j = 0; j < n; j++) {
            x[j] = (float) ldexp(toy_normal(&rng),
                                 (int) (toy_rand(&rng) % 46) - 30);
        }
        memset(h, 0xa5, sizeof(h));
        s->half(h, x, n);
        for (j = 0; j < n; j++) {
            want =
                toy_half(fabsf(x[j]) > 65504 ? copysign(65504.0, x[j]) : x[j],
                         &back);
            bad += h[j] != want;
        }
        bad += h[n] != 0xa5a5;
    }
    is_int(bad, 0, "%s: rounding to halves, saturating", isa);

    x[0] = NAN;
    x[1] = -INFINITY;
    s->half(h, x, 2);
    ok((h[0] & 0x7fff) > 0x7c00 && h[1] == 0xfbff, "%s: NaN and infinity", isa);
}


static void
test_passes(const k_simd_t *s, const char *isa)
{
    int      bad, good;
    float    x[MAX], out[MAX + 64], max[16], sum[16];
    double   err, worst, want;
    uint32_t n, i, k, ids[MAX], mask[MAX / 32 + 1];

    bad = 0;
    worst = 0;

    for (n = 1; n < MAX; n += n < 140 ? 1 : 53) {
        for (i = 0; i < n; i++) {
            x[i] = rnd(20);
        }
        bad += !s->blocks(x, n, max);
        for (i = 0; i < n; i++) {
            bad += x[i] > max[i / K_SLAB];
        }

        poison(out, MAX + 64);
        s->exps(out, x, n, 50.0f, 0.7f, sum);
        bad += !poisoned(out + n, 64);
        want = 0;
        for (i = 0; i < n; i++) {
            double e = exp((double) (x[i] - 50.0f) * 0.7f);

            err = fabs(out[i] - e) / e;
            worst = e > 1e-37 && (err > worst || err != err) ? err : worst;
            want += out[i];
            if (i % K_SLAB == K_SLAB - 1 || i == n - 1) {
                bad += fabs(sum[i / K_SLAB] - want) > 1e-5 * want;
                want = 0;
            }
        }

        want = 0;
        for (i = 0; i < n; i++) {
            want += x[i] >= 3.0f ? x[i] : 0;
        }
        bad += fabs(s->above(x, n, 3.0f) - want) > 1e-6 * want;

        k = s->collect(x, n, 7.0f, ids);
        for (i = 0, good = 0; i < n; i++) {
            if (x[i] >= 7.0f) {
                bad += (uint32_t) good >= k || ids[good] != i;
                good++;
            }
        }
        bad += (uint32_t) good != k;

        for (i = 0; i < MAX / 32 + 1; i++) {
            mask[i] = toy_rand(&rng);
        }
        poison(out, MAX + 64);
        memcpy(out, x, n * sizeof(float));
        s->mask(out, n, mask);
        bad += !poisoned(out + n, 64);
        for (i = 0; i < n; i++) {
            bad += out[i] != (mask[i / 32] >> i % 32 & 1 ? x[i] : -INFINITY);
        }

        i = toy_rand(&rng) % n;
        x[i] = n % 2 ? NAN : INFINITY;
        bad += s->blocks(x, n, max);
    }

    is_int(bad, 0, "%s: passes of sampling", isa);
    /* The product in float before exp makes most of the error. */
    ok(worst < 6e-6, "%s: exp of up to 100 below the largest: error %.1e", isa,
       worst);

    for (i = 0; i < MAX; i++) {
        x[i] = -87.0f * (float) i / MAX;
    }
    s->exps(out, x, MAX, 0, 1, sum);
    worst = 0;
    for (i = 0; i < MAX; i++) {
        err = fabs(out[i] - exp(x[i])) / exp(x[i]);
        worst = err > worst ? err : worst;
    }
    ok(worst < 1.3e-7, "%s: exp alone: error %.1e", isa, worst);
}


static void
test_attn(const k_simd_t *s, const char *isa)
{
    double      err, worst;
    uint32_t    i, g;
    attn_case_t c;

    static const attn_case_t cases[] = {
        {64, 3, 16, 0, 0, 0}, {64, 3, 1, 0, 0, 0},      {80, 4, 3, 0, 0, 0},
        {128, 8, 6, 0, 0, 0}, {26, 5, 2, 0, 0, 20.0f},  {96, 1, 48, 0, 0, 0},
        {64, 3, 16, 0, 1, 0}, {64, 3, 16, 0, 17, 5.0f}, {256, 2, 5, 0, 50, 0},
        {2, 1, 1, 0, 0, 0},
    };

    worst = 0;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (g = 0; g < 5; g++) {
            c = cases[i];
            c.tokens = c.rows + toy_rand(&rng) % 120;
            err = attn_error(s, &c);
            worst = err > worst || err != err ? err : worst;
        }
    }
    for (g = 1; g <= 14; g++) {
        c = cases[0];
        c.group = g;
        c.rows = 1 + g % 3;
        c.tokens = 77;
        err = attn_error(s, &c);
        worst = err > worst || err != err ? err : worst;
    }
    ok(worst < 6e-6, "%s: attention over pages: error %.1e", isa, worst);
}


/* Largest error of a tile whose last row is at position tokens - 1. */
static double
attn_error(const k_simd_t *s, const attn_case_t *c)
{
    float    *f, *end, m2, l2, *o2;
    double    worst, *p, dot, max, sum, want, err;
    uint16_t *kv, *k, *v, h;
    uint32_t  i, t, d, pages, pairs, pad, hd, pos, lo, page;
    k_attn_t  a;

    hd = c->head_dim;
    pad = (hd + 15) & ~15u;
    pairs = c->rows * c->group;
    pages = (c->tokens + 31) / 32;
    kv = malloc((size_t) pages * 32 * (hd + pad) * 2);
    p = malloc(c->tokens * sizeof(double));

    /* All is NaN but what was written; tokens beyond are never visible. */
    for (i = 0; i < pages * 32 * (hd + pad); i++) {
        kv[i] = 0x7e00;
    }
    for (t = 0; t < c->tokens; t++) {
        k = kv + (size_t) (t / 32) * 32 * (hd + pad);
        v = k + 32 * hd;
        for (d = 0; d < hd; d++) {
            k[d * 32 + t % 32] = toy_half(toy_normal(&rng), NULL);
            v[t % 32 * pad + d] = toy_half(toy_normal(&rng), NULL);
        }
    }

    f = calloc(pairs * (hd + 32 + 2 * pad + 3) + 32 * (hd + pad) + 94, 4);
    end = f;
    memset(&a, 0, sizeof(a));
    a.head_dim = hd;
    a.hd_pad = pad;
    a.pairs = pairs;
    a.group = c->group;
    a.pos = c->tokens - c->rows;
    a.window = c->window;
    a.cap = c->cap;
    a.q = end, end += pairs * hd;
    a.s = end, end += pairs * 32;
    a.o = end, end += pairs * pad;
    a.m = end, end += pairs + 15;
    a.top = end, end += pairs + 15;
    a.l = end, end += pairs;
    a.kf = end, end += hd * 32;
    a.vf = end, end += 32 * pad;
    o2 = end, end += pairs * pad;
    poison(end, 64);

    for (i = 0; i < pairs * hd; i++) {
        a.q[i] = rnd(2 / sqrt(hd));
    }
    for (i = 0; i < pairs; i++) {
        a.m[i] = -INFINITY;
    }

    /* The first page apart, merged with the rest at last. */
    page = 0;
    if (pages > 1) {
        s->attn_page(&a, kv, kv + 32 * hd, 0);
        page = 1;
        memcpy(o2, a.o, pairs * pad * sizeof(float));
        m2 = a.m[0];
        l2 = a.l[0];
        a.m[0] = -INFINITY;
        a.l[0] = 0;
        memset(a.o, 0, pad * sizeof(float));
    }
    for (; page < pages; page++) {
        k = kv + (size_t) page * 32 * (hd + pad);
        s->attn_page(&a, k, k + 32 * hd, page * 32);
    }
    if (pages > 1) {
        s->attn_merge(&m2, &l2, o2, a.m[0], a.l[0], a.o, pad);
        memcpy(a.o, o2, pad * sizeof(float));
        a.l[0] = l2;
    }

    worst = poisoned(end, 64) ? 0 : 1;

    for (i = 0; i < pairs; i++) {
        pos = a.pos + i / c->group;
        lo = c->window && pos >= c->window ? pos - c->window + 1 : 0;
        max = -INFINITY;
        for (t = lo; t <= pos; t++) {
            k = kv + (size_t) (t / 32) * 32 * (hd + pad);
            dot = 0;
            for (d = 0; d < hd; d++) {
                dot += (double) a.q[i * hd + d] * k_float(k[d * 32 + t % 32]);
            }
            p[t] = c->cap != 0 ? c->cap * tanh(dot / c->cap) : dot;
            max = p[t] > max ? p[t] : max;
        }
        sum = 0;
        for (t = lo; t <= pos; t++) {
            p[t] = exp(p[t] - max);
            sum += p[t];
        }
        for (d = 0; d < hd; d++) {
            want = 0;
            for (t = lo; t <= pos; t++) {
                h = kv[(size_t) (t / 32) * 32 * (hd + pad) + 32 * hd
                       + t % 32 * pad + d];
                want += p[t] * k_float(h);
            }
            err = fabs(a.o[i * pad + d] / a.l[i] - want / sum);
            worst = err > worst || err != err ? err : worst;
        }
    }

    free(kv);
    free(p);
    free(f);
    return worst;
}


/* NaN in a query stays in its own pair. */
static void
test_attn_dead(const k_simd_t *s, const char *isa)
{
    int      i, bad;
    float    mem[4 * (16 + 32 + 16 + 1) + 2 * 19 + 32 * 32];
    uint16_t kv[32 * 32];
    k_attn_t a;

    memset(kv, 0, sizeof(kv));
    memset(mem, 0, sizeof(mem));
    memset(&a, 0, sizeof(a));
    a.head_dim = a.hd_pad = 16;
    a.pairs = 4;
    a.group = 4;
    a.pos = 20;
    a.q = mem;
    a.s = a.q + 64;
    a.o = a.s + 128;
    a.m = a.o + 64;
    a.l = a.m + 19;
    a.top = a.l + 4;
    a.kf = a.top + 19;
    a.vf = a.kf + 512;
    for (i = 0; i < 4; i++) {
        a.m[i] = -INFINITY;
    }
    a.q[1 * 16 + 3] = NAN;

    s->attn_page(&a, kv, kv + 512, 0);
    bad = 0;
    for (i = 0; i < 64; i++) {
        bad += (a.o[i] / a.l[i / 16] == 0) != (i / 16 != 1);
    }
    is_int(bad, 0, "%s: a NaN stays in its row", isa);
}
