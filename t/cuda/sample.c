/*
 * Sampling on the device against the CPU backend's, on the same logits:
 * thousands of random parameter sets on small vocabularies of odd sizes, each
 * kind of row mixed with all others in one launch, and every edge that
 * t/kernels/sampling.c knows.  Large vocabularies: sample_large.c.
 */

#include "t/cuda/sample_ref.h"

#define DRAWS 24


static void fill(float *l, uint32_t n, uint32_t kind);
static void random_request(k_sample_t *r, uint32_t i, uint32_t n);
static void test_random(void);
static void test_greedy(void);
static void test_draws(void);
static void test_logprobs(void);
static void test_edges(void);
static void test_refused(void);
static void test_not_finite(void);
static void test_twice(void);


static uint32_t rng = 12345;

static k_count_t counts[DRAWS][40];
static k_bias_t  bias[DRAWS][20];
static uint32_t  masks[DRAWS][160];


int
main(void)
{
    test_edges();
    test_refused();
    test_not_finite();
    test_greedy();
    test_logprobs();
    test_twice();
    test_random();
    test_draws();

    return tap_done();
}


static float
rnd(void)
{
    return (float) test_rand(&rng) / 4294967296.0f;
}


static void
fill(float *l, uint32_t n, uint32_t kind)
{
    uint32_t k;

    for (k = 0; k < n; k++) {
        l[k] = (float) (3 * test_normal(&rng));
        l[k] = kind == 1 ? l[k] * 4 : l[k];
        l[k] = kind == 2 ? 1.25f : l[k];
        l[k] = kind == 3 ? floorf(l[k]) : l[k];
        l[k] = kind == 4 ? (float) k * 0.01f : l[k];
        l[k] = kind == 5 ? (float) k * -0.1f : l[k];
        l[k] = kind == 6 && k % 3 ? -INFINITY : l[k];
        l[k] = kind == 7 ? -1000 + 0.001f * l[k] : l[k];
    }
}


static void
random_request(k_sample_t *r, uint32_t i, uint32_t n)
{
    uint32_t j, at;

    at = i % DRAWS;
    *r = request();
    r->seed = 7 + ((uint64_t) i << 31);
    r->position = i;
    r->choice = i % 3;
    r->temperature = i % 11 == 0 ? 0 : 0.1f + 2 * rnd();
    r->temperature = i % 53 == 0 ? 0.001f : i % 59 == 0 ? 50 : r->temperature;
    r->top_k = i % 3 == 0 ? 1 + test_rand(&rng) % (i % 2 ? 50 : n) : 0;
    r->top_p = i % 2 ? rnd() : 1;
    r->top_p = i % 14 == 1 ? 0.99f : i % 22 == 1 ? 0.999999f : r->top_p;
    r->min_p = i % 5 == 0 ? rnd() * 0.5f : 0;
    r->logprob = i % 8 == 3;
    r->n_top = r->logprob ? test_rand(&rng) % (K_TOP_MAX + 1) : 0;
    if (i % 37 == 5) {
        r->scored = r->logprob = 1;
        r->score = (int32_t) (test_rand(&rng) % n);
    }

    if (i % 4 == 0) {
        r->counts = counts[at];
        r->n_counts = n < 40 ? n : 40;
        for (j = 0; j < r->n_counts; j++) {
            counts[at][j].token = (int32_t) ((j * (n / 40 + 1) + i) % n);
            counts[at][j].count = j % 4;
        }
        r->repetition = 1 + rnd();
        r->frequency = rnd();
        r->presence = rnd();
    }
    if (i % 7 == 0) {
        r->bias = bias[at];
        r->n_bias = n < 20 ? n : 20;
        for (j = 0; j < r->n_bias; j++) {
            bias[at][j].token = (int32_t) ((j * (n / 20 + 1) + i) % n);
            bias[at][j].value = i % 21 ? 10 * rnd() - 5 : -INFINITY;
        }
    }
    if (i % 6 == 0) {
        for (j = 0; j < 160; j++) {
            masks[at][j] =
                i % 12 ? test_rand(&rng) : 1u << test_rand(&rng) % 32;
        }
        r->mask = masks[at];
    }
}


/* Random logits of several kinds, random parameters, all mixed. */
static void
test_random(void)
{
    float      *l;
    bench_t     b;
    uint32_t    i, j, n, kind, bad, excused;
    k_sample_t *r;

    static const char *kinds[] = {
        "normal",  "peaked",  "flat",         "steps",
        "rising",  "falling", "-infinity in", "far from 0 and near each other",
        "5 slabs",
    };
    static const uint32_t sizes[] = {1999, 737,  774,  811, 50,
                                     885,  3000, 1025, 4993};

    r = calloc(DRAWS, sizeof(k_sample_t));

    for (kind = 0; kind < 9; kind++) {
        n = sizes[kind];
        l = malloc(n * sizeof(float));
        fill(l, n, kind);
        bench_open(&b, n, 1, l, kind % 4, DRAWS);

        bad = excused = 0;
        for (i = 0; i < 5 * DRAWS; i += DRAWS) {
            for (j = 0; j < DRAWS; j++) {
                random_request(&r[j], 1000 * kind + i + j, n);
            }
            bad += bench_compare(&b, DRAWS, r, &excused);
        }
        ok(bad == 0 && excused <= 5 * DRAWS / 20,
           "%s: %u draws as the CPU's, %u of them within rounding of a border",
           kinds[kind], i - bad, excused);

        bench_close(&b);
        free(l);
    }

    free(r);
}


static void
test_greedy(void)
{
    int         bad;
    float       l[300];
    bench_t     b;
    uint32_t    i, k, mask[2][10];
    k_sample_t  r[3];
    k_sampled_t out[3];

    bad = 0;
    for (i = 0; i < 299; i += 23) {
        for (k = 0; k < 300; k++) {
            l[k] = -5.0f;
        }
        l[i] = i % 2 ? 0.0f : -0.0f;
        l[299] = i % 2 ? -0.0f : 0.0f;
        bench_open(&b, 300, 1, l, 0, 3);

        /* As it is; without both, the lowest of the rest; without i. */
        memset(mask, 0xff, sizeof(mask));
        mask[0][i / 32] &= ~(1u << i % 32);
        mask[0][299 / 32] &= ~(1u << 299 % 32);
        mask[1][i / 32] &= ~(1u << i % 32);
        r[0] = r[1] = r[2] = request();
        r[0].temperature = r[1].temperature = 0;
        r[1].mask = mask[0];
        r[2].mask = mask[1];
        r[2].top_k = 1;
        bad += bench_draw(&b, 3, r, out) != 0;
        bad += out[0].token != (int32_t) i;
        bad += out[1].token != (i == 0 ? 1 : 0);
        bad += out[2].token != 299;
        bench_close(&b);
    }
    is_int(bad, 0, "greedy: lowest id among equals, with and without a mask");
}


/* Chi-square; fixed seeds, so it passes or fails for ever. */
static void
test_draws(void)
{
    float        l[40];
    double       p[40], sum, chi, want, max;
    bench_t      b;
    uint32_t     i, v, w, hits[40], kind, above, free_degrees;
    k_sample_t  *r;
    k_sampled_t *out;

    const uint32_t n = 1000;

    for (i = 0; i < 40; i++) {
        l[i] = (float) test_normal(&rng);
    }
    bench_open(&b, 40, 1, l, 0, n);
    r = calloc(n, sizeof(k_sample_t));
    out = calloc(n, sizeof(k_sampled_t));

    for (kind = 0; kind < 3; kind++) {
        memset(hits, 0, sizeof(hits));
        for (i = 0; i < n; i++) {
            r[i] = request();
            r[i].temperature = 0.8f;
            r[i].top_k = kind == 1 ? 12 : 0;
            r[i].min_p = kind == 2 ? 0.1f : 0;
            r[i].seed = i % 2 ? 0x123456789abcdefull : i;
            r[i].position = i;
        }
        is_int(bench_draw(&b, n, r, out), 0, "%u draws", n);
        for (i = 0; i < n; i++) {
            hits[out[i].token]++;
        }

        sum = 0;
        for (v = 0; v < 40; v++) {
            above = 0;
            max = -1e9;
            for (w = 0; w < 40; w++) {
                above += l[w] > l[v];
                max = l[w] > max ? l[w] : max;
            }
            p[v] = exp((l[v] - max) / 0.8);
            if ((kind == 1 && above >= 12) || (kind == 2 && p[v] < 0.1)) {
                p[v] = 0;
            }
            sum += p[v];
        }

        chi = 0;
        free_degrees = 0;
        for (v = 0; v < 40; v++) {
            want = p[v] / sum * n;
            if (want == 0) {
                chi += hits[v] ? 1e9 : 0;
                continue;
            }
            free_degrees++;
            chi += (hits[v] - want) * (hits[v] - want) / want;
        }
        free_degrees--;
        ok(chi < free_degrees + 4 * sqrt(2.0 * free_degrees),
           "distribution %u: chi-square %.1f, %u degrees", kind, chi,
           free_degrees);
    }

    free(r);
    free(out);
    bench_close(&b);
}


static void
test_logprobs(void)
{
    int         bad;
    float       l[1000];
    double      sum, max;
    bench_t     b;
    uint32_t    i, j, before;
    k_bias_t    push = {5, 100.0f};
    k_sample_t  r[3];
    k_sampled_t out[3];

    for (i = 0; i < 1000; i++) {
        l[i] = floorf(40 * rnd()) / 4;
    }
    bench_open(&b, 1000, 1, l, 0, 3);
    max = 0;
    for (i = 0; i < 1000; i++) {
        max = l[i] > max ? l[i] : max;
    }
    sum = 0;
    for (i = 0; i < 1000; i++) {
        sum += exp(l[i] - max);
    }
    sum = max + log(sum);

    r[0] = request();
    r[0].logprob = 1;
    r[0].n_top = 20;
    r[0].bias = &push;
    r[0].n_bias = 1;
    r[1] = r[0];
    r[1].n_top = 0;
    r[2] = r[0];
    r[2].scored = 1;
    r[2].score = 999;
    is_int(bench_draw(&b, 3, r, out), 0, "logprobs");
    is_int(out[0].token, 5, "the bias decides");
    ok(fabs(out[0].logprob - (l[5] - sum)) < 1e-5,
       "but the logprob is that of the raw logits");
    is_int(out[0].n_top, 20, "20 top ones");

    bad = 0;
    for (i = 0; i < 20; i++) {
        before = 0;
        for (j = 0; j < 1000; j++) {
            before += l[j] > l[out[0].top[i].token]
                      || (l[j] == l[out[0].top[i].token]
                          && (int32_t) j < out[0].top[i].token);
        }
        bad += before != i;
        bad +=
            fabs(out[0].top[i].logprob - (l[out[0].top[i].token] - sum)) > 1e-5;
    }
    is_int(bad, 0, "falling, equal ones by id, with their logprobs");
    ok(out[1].n_top == 0 && out[1].logprob < 0, "no top ones unless wanted");
    ok(out[2].token == 999 && fabs(out[2].logprob - (l[999] - sum)) < 1e-5
           && out[2].n_top == 20,
       "a judged token has its logprob, and the top ones are there");
    bench_close(&b);

    bench_open(&b, 7, 1, l, 0, 3);
    r[2].score = 6;
    is_int(bench_draw(&b, 3, r, out), 0, "a vocabulary of 7");
    is_int(out[0].n_top, 7, "has 7 top ones");
    is_int(out[2].token, 6, "a judged one, too");
    bench_close(&b);
}


static void
test_edges(void)
{
    uint32_t    i;
    float       l[100];
    bench_t     b;
    uint32_t    none[4] = {0, 0, 0, 0}, one[4] = {0, 4, 0, 0};
    k_bias_t    ban[100], all[100];
    k_sample_t  r[12];
    k_sampled_t out[12];

    static const int32_t want[12] = {-1, -1, 34, 34, 99, 99,
                                     99, 99, 42, -1, 99, 99};

    static const char *names[12] = {
        "a mask that allows nothing",
        "greedy too",
        "a mask that allows one",
        "and with everything else on",
        "top_p 0 keeps the best",
        "top_k 1 too",
        "min_p 1 too",
        "a temperature near 0 too",
        "a bias of -infinity is a ban",
        "all banned",
        "top_p below 0",
        "min_p above 1",
    };

    for (i = 0; i < 100; i++) {
        l[i] = (float) i * 0.01f;
        ban[i].token = all[i].token = (int32_t) i;
        ban[i].value = i == 42 ? 0 : -INFINITY;
        all[i].value = -INFINITY;
    }
    for (i = 0; i < 12; i++) {
        r[i] = request();
    }
    r[0].mask = r[1].mask = none;
    r[0].logprob = 1;
    r[0].n_top = 3;
    r[1].temperature = 0;
    r[2].mask = r[3].mask = one;
    r[3].temperature = 2;
    r[3].top_p = 0.3f;
    r[3].min_p = 0.9f;
    r[3].top_k = 5;
    r[4].top_p = 0;
    r[5].top_k = 1;
    r[6].min_p = 1;
    r[7].temperature = 1e-30f;
    r[8].bias = ban;
    r[9].bias = all;
    r[8].n_bias = r[9].n_bias = 100;
    r[10].top_p = -3;
    r[11].min_p = 1e30f;

    bench_open(&b, 100, 1, l, 0, 12);
    is_int(bench_draw(&b, 12, r, out), 0, "twelve edges at once");
    for (i = 0; i < 12; i++) {
        is_int(out[i].token, want[i], "%s", names[i]);
    }
    is_int(out[0].n_top, 0, "without a token no top ones");
    bench_close(&b);
}


static void
test_refused(void)
{
    int         i, rc;
    float       l[100];
    bench_t     b;
    k_bias_t    bad_bias = {100, 1};
    k_count_t   bad_count = {100, 1}, below = {-1, 1};
    k_sample_t  r[2];
    k_sampled_t out[2];

    for (i = 0; i < 100; i++) {
        l[i] = (float) i;
    }
    bench_open(&b, 100, 1, l, 0, 2);

    for (i = 0; i < 14; i++) {
        r[0] = r[1] = request();
        r[1].logit = i == 0;
        r[1].n_top = i == 1 ? K_TOP_MAX + 1 : 0;
        r[1].temperature = i == 2 ? -1 : i == 3 ? NAN : i == 4 ? INFINITY : 1;
        r[1].repetition = i == 5 ? 0 : 1;
        r[1].frequency = i == 6 ? INFINITY : 0;
        r[1].presence = i == 7 ? NAN : 0;
        r[1].top_p = i == 8 ? NAN : 1;
        r[1].min_p = i == 9 ? NAN : 0;
        r[1].counts = i == 10 ? &bad_count : &below;
        r[1].n_counts = i == 10 || i == 11;
        r[1].bias = &bad_bias;
        r[1].n_bias = i == 12;
        r[1].scored = i == 13; /* without logprob */
        rc = bench_draw(&b, 2, r, out);
        is_int(rc, -EINVAL, "refused, case %d", i);
        is_int(k_backend_cpu.sample(b.exec, 2, r, out), rc, "so on the CPU");
    }

    bad_bias.token = 0;
    bad_bias.value = NAN;
    r[1] = request();
    r[1].bias = &bad_bias;
    r[1].n_bias = 1;
    is_int(bench_draw(&b, 2, r, out), -EINVAL, "a bias that is NaN");

    is_int(bench_draw(&b, 0, r, out), 0, "no draws");
    is_int(bench_draw(&b, 1, r, out), 0, "and one after all this");
    bench_close(&b);
}


static void
test_not_finite(void)
{
    int         i;
    float      *l;
    bench_t     b;
    uint32_t    k, mask[160];
    k_sample_t  r[4];
    k_sampled_t out[4];

    static const uint32_t at[] = {97, 97, 11, 4500, 0, 0};

    l = malloc(5000 * sizeof(float));
    memset(mask, 0, sizeof(mask));
    mask[3] = 16;

    for (i = 0; i < 6; i++) {
        fill(l, 5000, 0);
        l[at[i]] = i == 1 ? INFINITY : i == 4 ? -NAN : NAN;
        if (i == 5) {
            fill(l, 5000, 2);
            for (k = 0; k < 5000; k++) {
                l[k] = -INFINITY;
            }
        }
        bench_open(&b, 5000, 1, l, 0, 4);
        r[0] = r[1] = r[2] = r[3] = request();
        r[1].temperature = 0;
        r[1].mask = mask;
        r[2].top_p = 0.9f;
        r[2].logprob = 1;
        r[2].n_top = 20;
        r[3].scored = r[3].logprob = 1;
        memset(out, 0xff, sizeof(out));
        is_int(bench_draw(&b, 4, r, out), 0, "not finite: case %d", i);
        ok(out[0].token == -1 && out[1].token == -1 && out[2].token == -1
               && out[3].token == -1 && out[2].n_top == 0,
           "no token");
        bench_close(&b);
    }
    free(l);
}


/* A list that names a token twice: in order, as the CPU does it. */
static void
test_twice(void)
{
    float      l[500];
    bench_t    b;
    uint32_t   i, excused;
    k_bias_t   bs[3] = {{7, 3e38f}, {7, 3e38f}, {8, 0.5f}};
    k_count_t  cs[4] = {{3, 1}, {7, 2}, {3, 5}, {3, 0}};
    k_sample_t r[3];

    fill(l, 500, 0);
    l[3] = 12;
    l[7] = 3;
    bench_open(&b, 500, 1, l, 1, 3);
    excused = 0;
    for (i = 0; i < 3; i++) {
        r[i] = request();
        r[i].temperature = i == 0 ? 0 : 1;
        r[i].repetition = 1.3f;
        r[i].frequency = 0.3f;
        r[i].presence = -0.2f;
        r[i].counts = cs;
        r[i].n_counts = 4;
        r[i].bias = bs;
        r[i].n_bias = i == 1 ? 3 : 0;
        r[i].seed = 99;
    }
    is_int(bench_compare(&b, 3, r, &excused), 0,
           "tokens twice in the lists, and a sum beyond F32");
    bench_close(&b);
}
