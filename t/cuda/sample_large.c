/*
 * Sampling on the device over vocabularies as models have them: many slabs,
 * cuts in each of the ways that the kernels have (all that matters in the
 * list, a list of what is near the cut, a list that overflows), long lists of
 * penalties, draws of one step in several rounds, and the promise that a row's
 * result does not depend on what is beside it.
 */

#include "t/cuda/sample_ref.h"


static void test_model_like(void);
static void test_flat(void);
static void test_equal(void);
static void test_counts(void);
static void test_beside(void);
static void test_graph(void);
static void test_rounds(void);
static void test_guards(void);


static uint32_t rng = 4711;


int
main(void)
{
    test_equal();
    test_flat();
    test_model_like();
    test_counts();
    test_beside();
    test_graph();
    test_rounds();
    test_guards();

    return tap_done();
}


/* Few tokens far above many: as a model's logits are. */
static float *
model_like(uint32_t n)
{
    float   *l;
    uint32_t i;

    l = malloc(n * sizeof(float));
    for (i = 0; i < n; i++) {
        l[i] = (float) (2.2 * test_normal(&rng));
    }
    for (i = 0; i < 300; i++) {
        l[test_rand(&rng) % n] = (float) (6 + 3 * test_normal(&rng));
    }
    return l;
}


static void
test_model_like(void)
{
    float     *l;
    bench_t    b;
    uint32_t   i, j, bad, excused, *mask;
    k_sample_t r[10];

    static const uint32_t sizes[] = {49152, 128256, 262144};

    for (i = 0; i < 3; i++) {
        l = model_like(sizes[i]);
        mask = calloc(sizes[i] / 32, sizeof(uint32_t));
        for (j = 0; j < 500; j++) {
            mask[test_rand(&rng) % (sizes[i] / 32)] |= 1u
                                                       << test_rand(&rng) % 32;
        }
        bench_open(&b, sizes[i], 1, l, 0, 10);

        for (j = 0; j < 10; j++) {
            r[j] = request();
            r[j].seed = 1000 + j;
            r[j].position = i;
        }
        r[0].temperature = 0;
        r[0].logprob = 1;
        r[0].n_top = 20;
        r[2].top_p = 0.9f;
        r[3].top_k = 40;
        r[4].top_k = 50;
        r[4].top_p = 0.95f;
        r[5].min_p = 0.05f;
        r[6].top_p = 0.99f;
        r[6].temperature = 0.7f;
        r[6].logprob = 1;
        r[6].n_top = 5;
        r[7].top_p = 0.95f;
        r[7].mask = mask;
        r[8].temperature = 0;
        r[8].mask = mask;
        r[9].min_p = 0.02f;
        r[9].top_p = 0.9f;
        r[9].top_k = 1000;

        excused = 0;
        bad = bench_compare(&b, i == 2 ? 8 : 10, r, &excused);
        ok(bad == 0 && excused < 2, "a vocabulary of %u, %u excused", sizes[i],
           excused);
        bench_close(&b);
        free(l);
        free(mask);
    }
}


/* So flat that thousands of tokens are near the cut, or all are. */
static void
test_flat(void)
{
    float     *l;
    bench_t    b;
    uint32_t   i, j, bad, excused, mask[700];
    k_bias_t   bias[2] = {{17, 1.5f}, {12000, -1}};
    k_sample_t r[9];

    const uint32_t n = 21001;

    l = malloc(n * sizeof(float));

    for (i = 0; i < 3; i++) {
        for (j = 0; j < n; j++) {
            l[j] = (float) ((i == 0   ? 1
                             : i == 1 ? 0.05
                                      : 4)
                            * test_normal(&rng));
        }
        bench_open(&b, n, 1, l, 3, 9);
        for (j = 0; j < 9; j++) {
            r[j] = request();
            r[j].seed = j;
            r[j].position = i;
            r[j].temperature = i == 2 ? 2 : 1;
        }
        r[0].top_p = 0.5f;
        r[1].top_p = 0.9f;
        r[2].top_p = 0.99f;
        r[3].top_k = 9000;
        r[4].top_k = 15000;
        r[4].top_p = 0.6f;
        r[5].min_p = 0.05f;
        r[5].temperature = i == 1 ? 1e30f : r[5].temperature;
        r[6].min_p = 0.3f;
        r[6].top_p = 0.7f;
        r[7].top_k = 5000;
        r[7].min_p = 0.1f;
        r[7].bias = bias;
        r[7].n_bias = 2;
        r[8].top_p = 0.8f;
        memset(mask, 0x6b, sizeof(mask));
        r[8].mask = mask;
        r[8].bias = bias;
        r[8].n_bias = 2;

        excused = 0;
        bad = bench_compare(&b, 9, r, &excused);
        ok(bad == 0, "flat logits, case %u, %u excused", i, excused);
        bench_close(&b);
    }
    free(l);
}


/* Equal ones: the cut is by ids, exactly. */
static void
test_equal(void)
{
    float       *l;
    bench_t      b;
    uint32_t     i, bad, excused;
    k_sample_t   r[8];
    k_sampled_t *out;

    const uint32_t n = 13000;

    l = malloc(n * sizeof(float));
    for (i = 0; i < n; i++) {
        l[i] = 0.25f;
    }
    out = calloc(8, sizeof(k_sampled_t));

    bench_open(&b, n, 1, l, 0, 8);
    for (i = 0; i < 8; i++) {
        r[i] = request();
        r[i].seed = 100 + i;
    }
    r[0].top_p = 0.5f;
    r[1].top_p = 0.75f;
    r[2].top_k = 6000;
    r[3].top_k = 100;
    r[4].min_p = 1;
    r[5].top_k = 8000;
    r[5].top_p = 0.25f;
    r[6].temperature = 0;
    r[6].logprob = 1;
    r[6].n_top = 20;
    excused = 0;
    bad = bench_compare(&b, 8, r, &excused);
    ok(bad == 0 && excused == 0, "all equal: nothing to excuse");

    /* Where the cut is: a draw near 1 ends at its last token. */
    for (i = 0; i < 4000; i++) {
        if (k_philox_draw(i, 0, 0, 0) > 0.9995) {
            break;
        }
    }
    r[0].seed = i;
    is_int(bench_draw(&b, 1, r, out), 0, "a draw near 1");
    ok(out[0].token < 6500 && out[0].token > 6490,
       "is among the last that top_p leaves: %d", out[0].token);
    bench_close(&b);

    /* Two heights: the cut among the lower ones. */
    for (i = 0; i < n; i++) {
        l[i] = i % 10 ? 0.25f : 1.25f;
    }
    bench_open(&b, n, 1, l, 0, 8);
    excused = 0;
    bad = bench_compare(&b, 8, r, &excused);
    ok(bad == 0 && excused < 2, "two heights, %u excused", excused);
    bench_close(&b);

    free(l);
    free(out);
}


/* Penalties on thousands of tokens of several rows. */
static void
test_counts(void)
{
    float     *l, *all;
    bench_t    b;
    uint32_t   i, j, bad, excused;
    k_count_t *counts;
    k_sample_t r[6];

    const uint32_t n = 20011;

    all = malloc(3 * n * sizeof(float));
    for (i = 0; i < 3; i++) {
        l = model_like(n);
        memcpy(all + i * n, l, n * sizeof(float));
        free(l);
    }
    counts = malloc(6 * 3000 * sizeof(k_count_t));

    bench_open(&b, n, 3, all, 1, 6);
    for (i = 0; i < 6; i++) {
        r[i] = request();
        r[i].logit = i % 3;
        r[i].seed = i;
        r[i].temperature = i == 0 ? 0 : 0.8f;
        r[i].top_p = i == 1 ? 0.9f : 1;
        r[i].repetition = i == 5 ? 1 : 1.2f;
        r[i].frequency = i == 5 ? 0 : 0.1f;
        r[i].presence = i == 4 ? 0.4f : 0;
        r[i].n_counts = 3000;
        r[i].counts = counts + i * 3000;
        for (j = 0; j < 3000; j++) {
            counts[i * 3000 + j].token = (int32_t) ((j * 7 + i) % n);
            counts[i * 3000 + j].count = test_rand(&rng) % 3;
        }
        r[i].logprob = 1;
        r[i].n_top = i;
    }
    excused = 0;
    bad = bench_compare(&b, 6, r, &excused);
    ok(bad == 0 && excused < 2, "3000 counts each, several rows, %u excused",
       excused);
    bench_close(&b);
    free(all);
    free(counts);
}


/* Alone, among others, in other places, in larger buckets: the same bits. */
static void
test_beside(void)
{
    int         bad;
    float      *l, *all;
    bench_t     b;
    uint32_t    i, n_all;
    k_sample_t  r[16], one;
    k_sampled_t out[16], alone;

    const uint32_t n = 9001;

    all = malloc(8 * n * sizeof(float));
    for (i = 0; i < 8; i++) {
        l = model_like(n);
        memcpy(all + i * n, l, n * sizeof(float));
        free(l);
    }
    bench_open(&b, n, 8, all, 3, 20);

    n_all = 16;
    for (i = 0; i < n_all; i++) {
        r[i] = request();
        r[i].logit = i * 3 % 8;
        r[i].position = 17;
        r[i].seed = (uint64_t) i << 33;
        r[i].temperature = i % 4 == 3 ? 0 : 1.5f;
        r[i].top_p = i % 2 ? 0.9f : 1;
        r[i].min_p = i % 5 == 2 ? 0.01f : 0;
        r[i].top_k = i % 3 == 1 ? 100 : 0;
        r[i].logprob = 1;
        r[i].n_top = i;
    }
    is_int(bench_draw_in(&b, 0, 20, n_all, r, out), 0, "16 draws of 8 rows");

    bad = 0;
    for (i = 0; i < n_all; i++) {
        one = r[i];
        bad += bench_draw_in(&b, 1, 1 + i % 3, 1, &one, &alone) != 0;
        bad += memcmp(&alone, &out[i], sizeof(alone)) != 0;
    }
    is_int(bad, 0, "each is the same bits alone, in any bucket");
    bench_close(&b);
    free(all);
}


/* Captured once, launched for other requests: one graph for both parities. */
static void
test_graph(void)
{
    int             bad;
    float          *l;
    bench_t         b;
    uint32_t        i, j;
    k_sample_t      r[4];
    k_sampled_t     out[4], cpu;
    cudaGraph_t     graph;
    cudaEvent_t     uploaded;
    cudaStream_t    s, copies;
    cudaGraphExec_t exec;

    const uint32_t n = 6000;

    l = model_like(n);
    bench_open(&b, n, 1, l, 0, 4);
    s = b.be.stream;
    CU_OK(cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking));
    CU_OK(cudaEventCreateWithFlags(&uploaded, cudaEventDisableTiming));
    CU_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    is_int(cu_draw_run(b.draw, b.dev, b.ld, 4, s), 0, "captured");
    CU_OK(cudaStreamEndCapture(s, &graph));
    CU_OK(cudaGraphInstantiate(&exec, graph, 0));

    bad = 0;
    for (i = 0; i < 5; i++) {
        for (j = 0; j < 4; j++) {
            r[j] = request();
            r[j].seed = 10 * i + j;
            r[j].top_p = (i + j) % 2 ? 0.8f : 1;
            r[j].temperature = (i + j) % 3 ? 1.3f : 0;
        }
        bad +=
            cu_draw_put(b.draw, i % 2, 4 - i % 3, r, 1, copies, uploaded) != 0;
        CU_OK(cudaStreamWaitEvent(s, uploaded, 0));
        CU_OK(cudaGraphLaunch(exec, s));
        bad += cu_draw_fetch(b.draw, i % 2, 4 - i % 3, s) != 0;
        CU_OK(cudaStreamSynchronize(s));
        cu_draw_take(b.draw, i % 2, 4 - i % 3, out);
        for (j = 0; j < 4 - i % 3; j++) {
            k_backend_cpu.sample(b.exec, 1, &r[j], &cpu);
            bad += !same_sampled(&out[j], &cpu);
        }
    }
    is_int(bad, 0, "a graph of it draws what has been put last");

    CU_OK(cudaGraphExecDestroy(exec));
    CU_OK(cudaGraphDestroy(graph));
    CU_OK(cudaEventDestroy(uploaded));
    CU_OK(cudaStreamDestroy(copies));
    bench_close(&b);
    free(l);
}


/* Lists that a block cannot hold: put() says so, rounds() does them. */
static void
test_rounds(void)
{
    int          bad;
    float       *l;
    bench_t      b;
    int32_t      drawn[3];
    uint32_t     i, j;
    k_bias_t    *bias;
    k_count_t   *counts;
    k_sample_t   r[3];
    k_sampled_t  out[3], cpu;
    cudaStream_t s;

    const uint32_t n = 5000;

    l = model_like(n);
    counts = malloc(n * sizeof(k_count_t));
    bias = malloc(n * sizeof(k_bias_t));
    for (j = 0; j < n; j++) {
        counts[j].token = (int32_t) (n - 1 - j);
        counts[j].count = j % 3;
        bias[j].token = (int32_t) j;
        bias[j].value = (float) (j % 7) * 0.3f;
    }

    bench_open(&b, n, 1, l, 0, 3);
    for (i = 0; i < 3; i++) {
        r[i] = request();
        r[i].seed = 4 + i;
        r[i].frequency = 0.5f;
        r[i].counts = counts;
        r[i].n_counts = n;
        r[i].bias = bias;
        r[i].n_bias = n;
    }
    s = b.be.stream;
    is_int(bench_draw(&b, 3, r, out), -E2BIG, "all lists together: too much");
    is_int(bench_draw(&b, 1, r, out), 0, "those of one fit");
    memset(out, 0xff, sizeof(out));
    is_int(cu_draw_rounds(b.draw, 1, 3, r, 1, b.dev, b.ld, s), 0, "in rounds");
    cu_draw_take(b.draw, 1, 3, out);
    dev_get(drawn, cu_draw_drawn(b.draw), sizeof(drawn));

    bad = 0;
    for (i = 0; i < 3; i++) {
        k_backend_cpu.sample(b.exec, 1, &r[i], &cpu);
        bad += !same_sampled(&out[i], &cpu) || drawn[i] != cpu.token;
    }
    is_int(bad, 0, "as the CPU's, and so on the device for the step after");
    r[2].temperature = NAN;
    is_int(cu_draw_rounds(b.draw, 1, 3, r, 1, b.dev, b.ld, s), -EINVAL,
           "rounds check, too");
    bench_close(&b);
    free(l);
    free(counts);
    free(bias);
}


/* The kernels alone, on memory with guards; results beyond n stay. */
static void
test_guards(void)
{
    int          bad;
    float       *l;
    uint8_t     *block;
    uint32_t     i, j, n, beyond;
    uint64_t     scratch;
    cu_draw_t    d[6];
    cu_draws_t   draws;
    cu_sample_t  p;
    k_sampled_t  out[8];
    cudaStream_t s;

    CU_OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    bad = 0;
    for (n = 1; n < 10000; n = n * 3 + 1) {
        l = malloc(2 * n * sizeof(float));
        for (i = 0; i < 2 * n; i++) {
            l[i] = (float) test_normal(&rng);
        }
        memset(d, 0, sizeof(d));
        for (i = 0; i < 6; i++) {
            d[i].logit = i % 2;
            d[i].temperature = i == 0 ? 0 : 1;
            d[i].repetition = 1;
            d[i].top_p = i == 1 ? 0.5f : 1;
            d[i].top_k = i == 2 ? 10 : 0;
            d[i].mask = UINT32_MAX;
            d[i].score = -1;
            d[i].logprob = i > 2;
            d[i].n_top = i > 3 ? 20 : 0;
        }

        memset(&p, 0, sizeof(p));
        block = dev_of(d, sizeof(d));
        draws.n = 6;
        draws.draws = (const cu_draw_t *) block;
        draws.counts = NULL;
        draws.biases = NULL;
        draws.masks = NULL;
        scratch = cu_sample_scratch(8, n);
        p.l = dev_of(l, 2 * n * sizeof(float));
        p.ld = n;
        p.n_vocab = n;
        p.max_draws = 8;
        p.draws = dev_of(&draws, sizeof(draws));
        p.scratch = dev_new(scratch);
        p.out = dev_new(8 * sizeof(k_sampled_t));
        p.drawn = dev_new(8 * sizeof(int32_t));
        CU_OK(cudaMemset(p.scratch, 0, scratch));
        CU_OK(cudaDeviceSynchronize());

        /* Twice: it leaves its scratch as it wants to find it. */
        for (i = 0; i < 2; i++) {
            bad += cu_sample(&p, s) != 0;
            CU_OK(cudaStreamSynchronize(s));
            dev_get(out, p.out, sizeof(out));
            for (j = 0; j < 6; j++) {
                bad += out[j].token < 0 || (uint32_t) out[j].token >= n;
                bad += j > 2 && !(out[j].logprob <= 0);
            }
            memcpy(&beyond, &out[6].token, 4);
            bad += beyond != UINT32_MAX;
        }

        dev_free(block);
        dev_free((void *) (uintptr_t) p.l);
        dev_free((void *) (uintptr_t) p.draws);
        dev_free(p.scratch);
        dev_free(p.out);
        dev_free(p.drawn);
        free(l);
    }
    is_int(bad, 0, "vocabularies of 1 to 9841: nothing beyond its buffers");

    p.n_vocab = 1 << 24;
    p.ld = p.n_vocab;
    is_int(cu_sample(&p, s), -EINVAL, "too large a vocabulary");
    p.n_vocab = 100;
    p.ld = 99;
    is_int(cu_sample(&p, s), -EINVAL, "rows that overlap");
    p.n_vocab = 0;
    is_int(cu_sample(&p, s), -EINVAL, "no vocabulary");
    CU_OK(cudaStreamDestroy(s));
}
