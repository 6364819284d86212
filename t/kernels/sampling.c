/*
 * Sampling on the CPU backend: Philox against its published vectors, every
 * parameter against a plain reference in double precision that sorts the
 * whole vocabulary, the distribution of the draws, and the edges.
 *
 * Logits are put into the backend by a program of a look-up and a product:
 * token r makes row r of X a unit vector, so the logits of row r are column r
 * of the last matrix.
 */

#include <errno.h>
#include <time.h>

#include "t/lib/tap.h"
#include "t/kernels/toy.h"
#include "kernels/philox.h"

#define ROWS_MAX 8


typedef struct {
    uint32_t     n_vocab;
    uint32_t     rows;
    float       *l; /* [rows][n_vocab] */
    k_backend_t *be;
    k_weight_t  *w[2];
    k_exec_t    *exec;
    k_program_t  prog;
    k_op_t       op[2];
} bench_t;

typedef struct {
    double   l, p;
    uint32_t id;
} cell_t;


static void       bench_open(bench_t *b, uint32_t n_vocab, uint32_t rows,
                             const float *l, k_isa_t isa, uint32_t threads);
static void       bench_close(bench_t *b);
static k_sample_t request(void);
static int32_t    reference(const bench_t *b, const k_sample_t *r, int *unsure);
static void       test_philox(void);
static void       test_reference(k_isa_t isa);
static void       test_greedy(k_isa_t isa);
static void       test_draws(k_isa_t isa);
static void       test_logprobs(k_isa_t isa);
static void       test_edges(k_isa_t isa);
static void       test_threads(k_isa_t isa);
static void       test_speed(k_isa_t isa);


static uint32_t rng = 12345;


int
main(void)
{
    int isa;

    test_philox();

    for (isa = K_ISA_SCALAR; isa <= K_ISA_AVX512; isa++) {
        k_backend_t *be;
        char         err[K_ERR_MAX];
        k_config_t   conf = {.threads = 1,
                             .isa = (k_isa_t) isa,
                             .memory = 1 << 20};

        if (k_backend_cpu.open(&conf, &be, err) != 0) {
            ok(1, "# SKIP %s", err);
            continue;
        }
        k_backend_cpu.close(be);

        test_reference((k_isa_t) isa);
        test_greedy((k_isa_t) isa);
        test_draws((k_isa_t) isa);
        test_logprobs((k_isa_t) isa);
        test_edges((k_isa_t) isa);
        test_threads((k_isa_t) isa);
    }

    test_speed(K_ISA_AUTO);

    return tap_done();
}


static void
bench_open(bench_t *b, uint32_t n_vocab, uint32_t rows, const float *l,
           k_isa_t isa, uint32_t threads)
{
    int           rc;
    char          err[K_ERR_MAX];
    float        *table, *w;
    int32_t       tokens[ROWS_MAX];
    uint32_t      i, j, lr[ROWS_MAX];
    k_batch_t     batch;
    k_source_t    src;
    k_config_t    conf;
    k_limits_t    limits;
    k_batch_seq_t seq;

    memset(b, 0, sizeof(*b));
    b->n_vocab = n_vocab;
    b->rows = rows;
    b->l = malloc((size_t) rows * n_vocab * sizeof(float));
    memcpy(b->l, l, (size_t) rows * n_vocab * sizeof(float));

    memset(&conf, 0, sizeof(conf));
    conf.isa = isa;
    conf.threads = threads;
    conf.act = K_ACT_F32;
    conf.memory = 256 << 20;
    rc = k_backend_cpu.open(&conf, &b->be, err);

    table = calloc((size_t) n_vocab * rows, sizeof(float));
    w = calloc((size_t) n_vocab * rows, sizeof(float));
    for (i = 0; i < rows; i++) {
        table[i * rows + i] = 1.0f;
        for (j = 0; j < n_vocab; j++) {
            w[(size_t) j * rows + i] = l[(size_t) i * n_vocab + j];
        }
    }

    memset(&src, 0, sizeof(src));
    src.type = K_F32;
    src.rows = n_vocab;
    src.cols = rows;
    src.name = "logits";
    src.role = K_ROLE_EMBED;
    src.data = table;
    rc = rc ? rc : k_backend_cpu.weights_load(b->be, &src, &b->w[0], err);
    src.role = K_ROLE_LOGITS;
    src.data = w;
    rc = rc ? rc : k_backend_cpu.weights_load(b->be, &src, &b->w[1], err);

    b->op[0].kind = K_OP_EMBED;
    b->op[0].w[0] = b->w[0];
    b->op[0].scale = 1;
    b->op[1].kind = K_OP_LOGITS;
    b->op[1].w[0] = b->w[1];
    b->op[1].scale = 1;

    b->prog.n_embd = rows;
    b->prog.n_head = 1;
    b->prog.n_kv = 1;
    b->prog.head_dim = 2;
    b->prog.n_vocab = n_vocab;
    b->prog.n_ops = 2;
    b->prog.ops = b->op;

    limits.rows = limits.seqs = limits.logits = ROWS_MAX;
    rc = rc ? rc
            : k_backend_cpu.program_prepare(b->be, &b->prog, NULL, &limits,
                                            &b->exec, err);
    if (rc != 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    memset(&seq, 0, sizeof(seq));
    seq.n = rows;
    for (i = 0; i < rows; i++) {
        tokens[i] = (int32_t) i;
        lr[i] = i;
    }
    memset(&batch, 0, sizeof(batch));
    batch.n_rows = batch.n_logits = rows;
    batch.n_seqs = 1;
    batch.tokens = tokens;
    batch.seqs = &seq;
    batch.logit_rows = lr;

    if (k_backend_cpu.step_submit(b->exec, &batch) != 0) {
        printf("Bail out! step_submit\n");
        exit(1);
    }

    free(table);
    free(w);
}


static void
bench_close(bench_t *b)
{
    k_backend_cpu.program_free(b->exec);
    k_backend_cpu.weights_free(b->be, b->w[0]);
    k_backend_cpu.weights_free(b->be, b->w[1]);
    k_backend_cpu.close(b->be);
    free(b->l);
}


static k_sample_t
request(void)
{
    k_sample_t r;

    memset(&r, 0, sizeof(r));
    r.temperature = 1;
    r.top_p = 1;
    r.repetition = 1;
    return r;
}


static int
cell_order(const void *a, const void *b)
{
    const cell_t *x, *y;

    x = a;
    y = b;
    if (x->l != y->l) {
        return x->l > y->l ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}


static int
cell_by_id(const void *a, const void *b)
{
    const cell_t *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}


/*
 * The token by the book; *unsure: a sum lies so near to its limit that
 * rounding may decide otherwise.
 */
static int32_t
reference(const bench_t *b, const k_sample_t *r, int *unsure)
{
    float       *f;
    double       sum, total, at, max;
    cell_t      *c;
    int32_t      token;
    uint32_t     i, n, keep;
    const float *l;

    n = b->n_vocab;
    l = b->l + (size_t) r->logit * n;
    c = malloc(n * sizeof(cell_t));
    f = malloc(n * sizeof(float));
    memcpy(f, l, n * sizeof(float));
    *unsure = 0;

    /* Penalties and bias in F32, as they are defined over logits. */
    for (i = 0; i < r->n_counts; i++) {
        float *x = &f[r->counts[i].token];

        *x = *x > 0 ? *x / r->repetition : *x * r->repetition;
        if (r->counts[i].count > 0) {
            *x -= r->frequency * (float) r->counts[i].count;
            *x -= r->presence;
        }
    }
    for (i = 0; i < r->n_bias; i++) {
        f[r->bias[i].token] += r->bias[i].value;
    }

    for (i = 0, keep = 0; i < n; i++) {
        if (r->mask != NULL && !(r->mask[i / 32] >> (i % 32) & 1)) {
            continue;
        }
        c[keep].id = i;
        c[keep++].l = f[i];
    }
    n = keep;
    qsort(c, n, sizeof(cell_t), cell_order);

    if (n == 0 || r->temperature == 0) {
        token = n == 0 ? -1 : (int32_t) c[0].id;
        free(c);
        free(f);
        return token;
    }

    if (r->top_k != 0 && r->top_k < n) {
        n = r->top_k;
    }
    max = c[0].l;
    total = 0;
    for (i = 0; i < n; i++) {
        c[i].p = exp((c[i].l - max) / r->temperature);
        total += c[i].p;
    }

    if (r->top_p < 1) {
        sum = 0;
        for (i = 0; i < n; i++) {
            sum += c[i].p;
            *unsure |= fabs(sum - r->top_p * total) < 1e-5 * total;
            if (sum >= r->top_p * total) {
                n = i + 1;
                break;
            }
        }
    }
    for (i = 0; i < n && r->min_p > 0; i++) {
        *unsure |= fabs(c[i].p - r->min_p) < 1e-5;
        if (c[i].p < r->min_p) {
            n = i;
        }
    }

    qsort(c, n, sizeof(cell_t), cell_by_id);
    total = 0;
    for (i = 0; i < n; i++) {
        total += c[i].p;
    }
    at = total * k_philox_draw(r->seed, r->position, r->choice, 0);
    token = (int32_t) c[n - 1].id;
    sum = 0;
    for (i = 0; i < n; i++) {
        sum += c[i].p;
        *unsure |= fabs(sum - at) < 1e-5 * total;
        if (sum > at) {
            token = (int32_t) c[i].id;
            break;
        }
    }

    free(c);
    free(f);
    return token;
}


/* Vectors of Random123's file of known answers. */
static void
test_philox(void)
{
    size_t   i;
    uint32_t out[4];

    static const struct {
        uint32_t c[4];
        uint64_t key;
        uint32_t want[4];
    } v[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         0xffffffffffffffffull,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         0x299f31d0a4093822ull,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (i = 0; i < 3; i++) {
        k_philox(v[i].key, v[i].c, out);
        ok(memcmp(out, v[i].want, sizeof(out)) == 0, "philox, vector %zu", i);
    }
}


static float
rnd(void)
{
    return (float) toy_rand(&rng) / 4294967296.0f;
}


/* Random logits of several kinds, random parameters. */
static void
test_reference(k_isa_t isa)
{
    int         kind, unsure, bad, sure, i, j;
    float      *l;
    bench_t     b;
    int32_t     want;
    uint32_t    n, mask[64], k;
    k_count_t   counts[40];
    k_bias_t    bias[20];
    k_sample_t  r;
    k_sampled_t out;

    static const char *kinds[] = {"normal", "peaked", "flat",
                                  "steps",  "rising", "falling"};

    for (kind = 0; kind < 6; kind++) {
        n = kind == 0 ? 1999 : 700 + (uint32_t) kind * 37;
        l = malloc(n * sizeof(float));
        for (k = 0; k < n; k++) {
            l[k] = (float) (3 * toy_normal(&rng));
            l[k] = kind == 1 ? l[k] * 4 : l[k];
            l[k] = kind == 2 ? 1.25f : l[k];
            l[k] = kind == 3 ? floorf(l[k]) : l[k];
            l[k] = kind == 4 ? (float) k * 0.01f : l[k];
            l[k] = kind == 5 ? (float) k * -0.1f : l[k];
        }
        bench_open(&b, n, 1, l, isa, 1);

        bad = sure = 0;
        for (i = 0; i < 400; i++) {
            r = request();
            r.seed = 7;
            r.position = (uint32_t) i;
            r.choice = (uint32_t) i % 3;
            r.temperature = i % 11 == 0 ? 0 : 0.1f + 2 * rnd();
            r.top_k = i % 3 == 0 ? 1 + toy_rand(&rng) % (i % 2 ? 50 : n) : 0;
            r.top_p = i % 2 ? rnd() : 1;
            r.min_p = i % 5 == 0 ? rnd() * 0.5f : 0;

            if (i % 4 == 0) {
                r.counts = counts;
                r.n_counts = 40;
                for (j = 0; j < 40; j++) {
                    counts[j].token =
                        (int32_t) (((uint32_t) j * 17 + (uint32_t) i) % n);
                    counts[j].count = (uint32_t) j % 4;
                }
                r.repetition = 1 + rnd();
                r.frequency = rnd();
                r.presence = rnd();
            }
            if (i % 7 == 0) {
                r.bias = bias;
                r.n_bias = 20;
                for (j = 0; j < 20; j++) {
                    bias[j].token =
                        (int32_t) (((uint32_t) j * 31 + (uint32_t) i) % n);
                    bias[j].value = 10 * rnd() - 5;
                }
            }
            if (i % 6 == 0) {
                for (j = 0; j < 64; j++) {
                    mask[j] =
                        i % 12 ? toy_rand(&rng) : 1u << toy_rand(&rng) % 32;
                }
                r.mask = mask;
            }

            want = reference(&b, &r, &unsure);
            if (k_backend_cpu.sample(b.exec, 1, &r, &out) != 0) {
                bad++;
                continue;
            }
            if (!unsure) {
                sure++;
                if (out.token != want) {
                    bad++;
                    diag("%d: got %d, want %d: t %g k %u p %g m %g", i,
                         out.token, want, (double) r.temperature, r.top_k,
                         (double) r.top_p, (double) r.min_p);
                }
            }
        }
        ok(bad == 0 && sure > 200, "%s logits: %d of 400 as by the book",
           kinds[kind], sure - bad);

        bench_close(&b);
        free(l);
    }
}


static void
test_greedy(k_isa_t isa)
{
    int         i, bad;
    float       l[300];
    bench_t     b;
    uint32_t    mask[10], best;
    k_sample_t  r;
    k_sampled_t out;

    bad = 0;
    for (i = 0; i < 300; i += 7) {
        uint32_t k;

        for (k = 0; k < 300; k++) {
            l[k] = -5.0f;
        }
        l[i] = 1.0f;
        l[299] = 1.0f;
        bench_open(&b, 300, 1, l, isa, 1);
        r = request();
        r.temperature = 0;
        k_backend_cpu.sample(b.exec, 1, &r, &out);
        bad += out.token != i;

        /* Without i and 299: the lowest of the rest. */
        memset(mask, 0xff, sizeof(mask));
        mask[i / 32] &= ~(1u << i % 32);
        mask[299 / 32] &= ~(1u << 299 % 32);
        best = i == 0 ? 1 : 0;
        r.mask = mask;
        k_backend_cpu.sample(b.exec, 1, &r, &out);
        bad += out.token != (int32_t) best;
        bench_close(&b);
    }
    is_int(bad, 0, "greedy: lowest id among equals, with and without a mask");
}


/* Chi-square over 20000 draws; fixed seeds, so it passes or fails for ever. */
static void
test_draws(k_isa_t isa)
{
    float       l[40];
    double      p[40], sum, chi;
    bench_t     b;
    uint32_t    i, v, hits[40], kind, free_degrees;
    k_sample_t  r;
    k_sampled_t out;

    for (i = 0; i < 40; i++) {
        l[i] = (float) toy_normal(&rng);
    }
    bench_open(&b, 40, 1, l, isa, 1);

    for (kind = 0; kind < 3; kind++) {
        memset(hits, 0, sizeof(hits));
        r = request();
        r.temperature = 0.8f;
        r.top_k = kind == 1 ? 12 : 0;
        r.min_p = kind == 2 ? 0.1f : 0;
        for (i = 0; i < 20000; i++) {
            r.seed = i % 2 ? 0x123456789abcdefull : i;
            r.position = i;
            k_backend_cpu.sample(b.exec, 1, &r, &out);
            hits[out.token]++;
        }

        sum = 0;
        for (v = 0; v < 40; v++) {
            uint32_t w, above;
            double   max;

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
            double want = p[v] / sum * 20000;

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
    bench_close(&b);
}


static void
test_logprobs(k_isa_t isa)
{
    int         bad;
    float       l[1000];
    double      sum, max;
    bench_t     b;
    uint32_t    i;
    k_bias_t    bias = {5, 100.0f};
    k_sample_t  r;
    k_sampled_t out;

    for (i = 0; i < 1000; i++) {
        l[i] = floorf(40 * rnd()) / 4;
    }
    bench_open(&b, 1000, 1, l, isa, 1);
    max = 0;
    for (i = 0; i < 1000; i++) {
        max = l[i] > max ? l[i] : max;
    }
    sum = 0;
    for (i = 0; i < 1000; i++) {
        sum += exp(l[i] - max);
    }
    sum = max + log(sum);

    r = request();
    r.logprob = 1;
    r.n_top = 20;
    r.bias = &bias;
    r.n_bias = 1;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, 5, "the bias decides");
    ok(fabs(out.logprob - (l[5] - sum)) < 1e-5,
       "but the logprob is that of the raw logits");
    is_int(out.n_top, 20, "20 top ones");

    bad = 0;
    for (i = 0; i < 20; i++) {
        uint32_t j, before;

        before = 0;
        for (j = 0; j < 1000; j++) {
            before += l[j] > l[out.top[i].token]
                      || (l[j] == l[out.top[i].token]
                          && (int32_t) j < out.top[i].token);
        }
        bad += before != i;
        bad += fabs(out.top[i].logprob - (l[out.top[i].token] - sum)) > 1e-5;
    }
    is_int(bad, 0, "falling, equal ones by id, with their logprobs");

    r.n_top = 0;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    ok(out.n_top == 0 && out.logprob < 0, "no top ones unless wanted");
    bench_close(&b);

    bench_open(&b, 7, 1, l, isa, 1);
    r.n_top = 20;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.n_top, 7, "a vocabulary of 7 has 7 top ones");
    bench_close(&b);
}


static void
test_edges(k_isa_t isa)
{
    int         i, rc;
    float       l[100];
    bench_t     b;
    uint32_t    mask[4] = {0, 0, 0, 0};
    k_bias_t    bias[100];
    k_count_t   count = {3, 1};
    k_sample_t  r;
    k_sampled_t out;

    for (i = 0; i < 100; i++) {
        l[i] = (float) i * 0.01f;
    }

    bench_open(&b, 100, 1, l, isa, 1);
    r = request();
    r.mask = mask;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, -1, "a mask that allows nothing");
    r.temperature = 0;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, -1, "greedy too");
    mask[1] = 4;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, 34, "a mask that allows one");
    r.temperature = 2;
    r.top_p = 0.3f;
    r.min_p = 0.9f;
    r.top_k = 5;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, 34, "and with everything else on");

    r = request();
    r.top_p = 0;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, 99, "top_p 0 keeps the best");
    r = request();
    r.top_k = 1;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, 99, "top_k 1 too");
    r = request();
    r.min_p = 1;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, 99, "min_p 1 too");
    r = request();
    r.temperature = 1e-30f;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, 99, "a temperature near 0 too");

    r = request();
    for (i = 0; i < 100; i++) {
        bias[i].token = i;
        bias[i].value = i == 42 ? 0 : -INFINITY;
    }
    r.bias = bias;
    r.n_bias = 100;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, 42, "a bias of -infinity is a ban");
    bias[42].value = -INFINITY;
    k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(out.token, -1, "all banned");

    r = request();
    r.logit = 1;
    rc = k_backend_cpu.sample(b.exec, 1, &r, &out);
    is_int(rc, -EINVAL, "no such row");
    r = request();
    r.n_top = K_TOP_MAX + 1;
    is_int(k_backend_cpu.sample(b.exec, 1, &r, &out), -EINVAL, "n_top");
    r = request();
    r.temperature = -1;
    is_int(k_backend_cpu.sample(b.exec, 1, &r, &out), -EINVAL, "temperature");
    r = request();
    r.temperature = NAN;
    is_int(k_backend_cpu.sample(b.exec, 1, &r, &out), -EINVAL, "NaN");
    r = request();
    count.token = 100;
    r.counts = &count;
    r.n_counts = 1;
    is_int(k_backend_cpu.sample(b.exec, 1, &r, &out), -EINVAL, "a token");
    count.token = -1;
    is_int(k_backend_cpu.sample(b.exec, 1, &r, &out), -EINVAL, "below 0");
    bench_close(&b);

    for (i = 0; i < 3; i++) {
        l[97] = i == 0 ? NAN : i == 1 ? INFINITY : 0;
        l[11] = i == 2 ? NAN : 0;
        bench_open(&b, 100, 1, l, isa, 1);
        r = request();
        k_backend_cpu.sample(b.exec, 1, &r, &out);
        is_int(out.token, -1, "not finite: case %d", i);
        bench_close(&b);
    }
}


/* Eight rows at once on two threads are what they are one by one. */
static void
test_threads(k_isa_t isa)
{
    int         i, bad;
    float      *l;
    bench_t     b;
    uint32_t    k, n;
    k_sample_t  r[ROWS_MAX];
    k_sampled_t all[ROWS_MAX], one;

    n = 5000;
    l = malloc(ROWS_MAX * n * sizeof(float));
    for (k = 0; k < ROWS_MAX * n; k++) {
        l[k] = (float) (2 * toy_normal(&rng));
    }
    bench_open(&b, n, ROWS_MAX, l, isa, 2);
    for (i = 0; i < ROWS_MAX; i++) {
        r[i] = request();
        r[i].logit = (uint32_t) (i * 3 % ROWS_MAX);
        r[i].position = 17;
        r[i].seed = (uint64_t) i << 33;
        r[i].top_p = i % 2 ? 0.9f : 1;
        r[i].logprob = 1;
        r[i].n_top = 5;
    }
    is_int(k_backend_cpu.sample(b.exec, ROWS_MAX, r, all), 0, "8 rows");
    bad = 0;
    for (i = 0; i < ROWS_MAX; i++) {
        k_backend_cpu.sample(b.exec, 1, &r[i], &one);
        bad += memcmp(&one, &all[i], sizeof(one)) != 0;
    }
    is_int(bad, 0, "the same one by one");
    bench_close(&b);
    free(l);
}


static double
micros(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double) ts.tv_sec * 1e6 + (double) ts.tv_nsec * 1e-3;
}


/* Figures only, nothing fails. */
static void
test_speed(k_isa_t isa)
{
    int         i, j, flat;
    float      *l;
    double      t;
    bench_t     b;
    uint32_t    k, mask[49152 / 32];
    k_sample_t  r;
    k_sampled_t out;

    static const char *names[] = {"greedy",     "greedy, mask",    "plain",
                                  "top_p 0.9",  "top_k 40",        "min_p 0.05",
                                  "top_p 0.99", "logprobs, 20 top"};

    l = malloc(49152 * sizeof(float));
    memset(mask, 0x5a, sizeof(mask));

    for (flat = 0; flat < 2; flat++) {
        for (k = 0; k < 49152; k++) {
            l[k] = flat ? 0 : (float) (2.5 * toy_normal(&rng));
        }
        bench_open(&b, 49152, 1, l, isa, 1);
        for (i = 0; i < 8; i++) {
            r = request();
            r.temperature = i < 2 || i == 7 ? 0 : 0.8f;
            r.mask = i == 1 ? mask : NULL;
            r.top_p = i == 3 ? 0.9f : i == 6 ? 0.99f : 1;
            r.top_k = i == 4 ? 40 : 0;
            r.min_p = i == 5 ? 0.05f : 0;
            r.logprob = i == 7;
            r.n_top = i == 7 ? 20 : 0;
            t = 1e9;
            for (j = 0; j < 20; j++) {
                double t0 = micros();

                r.position = (uint32_t) j;
                k_backend_cpu.sample(b.exec, 1, &r, &out);
                t0 = micros() - t0;
                t = t0 < t ? t0 : t;
            }
            diag("%s logits, %s: %.0f us", flat ? "flat" : "normal", names[i],
                 t);
        }
        bench_close(&b);
    }
    free(l);
}
