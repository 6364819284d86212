/*
 * Routing, act and sum of experts against references in double: both gates,
 * equal numbers, NaN and infinities, few rows and many, fewer rows in the step
 * than in the bucket.
 */

#include <errno.h>

#include "t/cuda/cu_test.h"

typedef enum { AS_IS = 0, EQUAL, ONE, ODD } router_t;

typedef struct {
    uint32_t rows;
    uint32_t live;
    uint32_t n_expert;
    uint32_t n_used;
    k_gate_t gate;
    router_t router;
} route_t;

static void   test_route(const route_t *c);
static void   ref_route(const route_t *c, const float *r, uint32_t *ids,
                        double *gates);
static void   test_act(cu_type_t t, k_fn_t fn, uint32_t n, int bias);
static double ref_act(k_fn_t fn, double g, double u);
static void   test_sum(uint32_t rows, uint32_t used, uint32_t n);
static void   test_refused(void);


int
main(void)
{
    size_t i;
    int    fn;

    static const route_t routes[] = {
        {1, 1, 1, 1, K_GATE_TOP_SOFTMAX, AS_IS},
        {1, 1, 8, 2, K_GATE_TOP_SOFTMAX, AS_IS},
        {3, 2, 32, 4, K_GATE_SOFTMAX, AS_IS},
        {32, 32, 128, 8, K_GATE_SOFTMAX, AS_IS},
        {32, 7, 70, 5, K_GATE_TOP_SOFTMAX, ONE},
        {9, 9, 60, 60, K_GATE_TOP_SOFTMAX, EQUAL},
        {5, 5, 300, 64, K_GATE_SOFTMAX, AS_IS},
        {4, 3, 1024, 33, K_GATE_TOP_SOFTMAX, AS_IS},
        {33, 33, 32, 4, K_GATE_TOP_SOFTMAX, AS_IS},
        {130, 77, 16, 3, K_GATE_SOFTMAX, EQUAL},
        {150, 150, 13, 2, K_GATE_TOP_SOFTMAX, ONE},
        {40, 0, 9, 3, K_GATE_TOP_SOFTMAX, AS_IS},
        {7, 7, 40, 6, K_GATE_TOP_SOFTMAX, ODD},
        {70, 70, 700, 6, K_GATE_SOFTMAX, ODD},
    };

    for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        test_route(&routes[i]);
    }
    for (fn = K_FN_SILU; fn <= K_FN_SWIGLU_OAI; fn++) {
        test_act(CU_BF16, (k_fn_t) fn, 72, fn % 2);
        test_act(CU_F16, (k_fn_t) fn, 37, !(fn % 2));
    }
    test_act(CU_BF16, K_FN_SILU, 1088, 1);
    test_sum(1, 1, 5);
    test_sum(3, 8, 520);
    test_sum(7, 2, 63);
    test_refused();

    return tap_done();
}


static void
test_route(const route_t *c)
{
    int             rc;
    float          *router, *got_gates;
    double         *gates, e, worst = 0;
    size_t          n = (size_t) c->rows * c->n_expert, i, j;
    size_t          slots = (size_t) c->rows * c->n_used, at;
    uint32_t       *ids, *got, *sorted, *first, rng = 1 + c->n_expert, bad = 0;
    cu_moe_t        p;
    cu_step_t      *step;
    dev_step_conf_t conf;

    router = malloc(n * sizeof(float));
    for (i = 0; i < n; i++) {
        router[i] = (float) test_normal(&rng) * 3;
        if (c->router == EQUAL) {
            router[i] = i % 3 ? 0.0f : -0.0f;
        }
        if (c->router == ONE && i % c->n_expert == c->n_expert - 1) {
            router[i] = 50;
        }
        if (c->router == ODD) {
            j = i / c->n_expert % 5;
            router[i] = j == 0                  ? NAN
                        : j == 1 && i % 7 == 0  ? NAN
                        : j == 2 && i % 5 == 0  ? INFINITY
                        : j == 3                ? -INFINITY
                        : j == 1 && i % 11 == 0 ? -NAN
                                                : router[i];
        }
    }

    memset(&conf, 0, sizeof(conf));
    conf.n_rows = c->live;
    step = dev_step(&conf);

    memset(&p, 0, sizeof(p));
    p.router = dev_of(router, n * sizeof(float));
    p.gate = c->gate;
    p.w_scale = 2.5f;
    p.rows = c->rows;
    p.n_expert = c->n_expert;
    p.n_used = c->n_used;
    p.ids = dev_new(slots * sizeof(uint32_t));
    p.gates = dev_new(slots * sizeof(float));
    p.slots = dev_new(slots * sizeof(uint32_t));
    p.first = dev_new((c->n_expert + 1) * sizeof(uint32_t));
    rc = cu_moe_route(&p, step, NULL);

    ids = malloc(slots * sizeof(uint32_t));
    got = malloc(slots * sizeof(uint32_t));
    sorted = malloc(slots * sizeof(uint32_t));
    first = malloc((c->n_expert + 1) * sizeof(uint32_t));
    gates = malloc(slots * sizeof(double));
    got_gates = malloc(slots * sizeof(float));
    dev_get(got, p.ids, slots * sizeof(uint32_t));
    dev_get(got_gates, p.gates, slots * sizeof(float));
    dev_get(sorted, p.slots, slots * sizeof(uint32_t));
    dev_get(first, p.first, (c->n_expert + 1) * sizeof(uint32_t));

    ref_route(c, router, ids, gates);
    for (i = 0; i < (size_t) c->live * c->n_used; i++) {
        bad += got[i] != ids[i];
        e = isnan(gates[i]) ? (isnan(got_gates[i]) ? 0 : 1e30)
                            : fabs(got_gates[i] - gates[i]);
        worst = e > worst || isnan(e) ? e : worst;
    }

    /* Every slot once, by expert, rising. */
    at = 0;
    for (i = 0; i < c->n_expert; i++) {
        bad += first[i] != at;
        for (j = 0; j < (size_t) c->live * c->n_used; j++) {
            if (ids[j] == i) {
                bad += sorted[at++] != j;
            }
        }
    }
    bad += first[c->n_expert] != at;

    ok(rc == 0 && bad == 0 && worst < 2e-6,
       "%u of %u rows, %u of %u experts, gate %d, router %d: %u wrong, gates "
       "%.2g",
       c->live, c->rows, c->n_used, c->n_expert, (int) c->gate, (int) c->router,
       bad, worst);

    dev_free((void *) p.router);
    dev_free(p.ids);
    dev_free(p.gates);
    dev_free(p.slots);
    dev_free(p.first);
    dev_step_free(step);
    free(router);
    free(ids);
    free(got);
    free(sorted);
    free(first);
    free(gates);
    free(got_gates);
}


/* As the CPU backend does it. */
static void
ref_route(const route_t *c, const float *r, uint32_t *ids, double *gates)
{
    float    x, best;
    double   sum;
    uint32_t i, j, k, used, row;

    for (row = 0; row < c->live; row++) {
        for (i = 0; i < c->n_used; i++) {
            best = 0;
            ids[i] = c->n_expert;
            for (j = 0; j < c->n_expert; j++) {
                used = 0;
                for (k = 0; k < i; k++) {
                    used += ids[k] == j;
                }
                x = isnan(r[j]) ? INFINITY : r[j];
                if (!used && (ids[i] == c->n_expert || x > best)) {
                    best = x;
                    ids[i] = j;
                }
            }
        }

        sum = 0;
        for (i = 0; i < c->n_used; i++) {
            gates[i] = exp((double) r[ids[i]] - r[ids[0]]);
            sum += gates[i];
        }
        if (c->gate == K_GATE_SOFTMAX) {
            sum = 0;
            for (i = 0; i < c->n_expert; i++) {
                sum += exp((double) r[i] - r[ids[0]]);
            }
        }
        for (i = 0; i < c->n_used; i++) {
            gates[i] *= 2.5 / sum;
        }
        r += c->n_expert;
        ids += c->n_used;
        gates += c->n_used;
    }
}


static double
ref_act(k_fn_t fn, double g, double u)
{
    switch (fn) {
    case K_FN_SILU:
        return g / (1 + exp(-g)) * u;
    case K_FN_GELU_TANH:
        return g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)))
               / 2 * u;
    case K_FN_GELU_ERF:
        return g * (1 + erf(g / sqrt(2))) / 2 * u;
    default:
        g = fmin(g, 7);
        u = fmax(fmin(u, 7), -7);
        return g / (1 + exp(-1.702 * g)) * (u + 1);
    }
}


/* 5 rows of 3 slots, 4 of them live; 6 experts. */
static void
test_act(cu_type_t t, k_fn_t fn, uint32_t n, int bias)
{
    int             rc;
    double         *g, *u, *bg, *bu, *got, e, want, worst = 0;
    size_t          all = (size_t) 15 * n, i, j;
    uint32_t        ids[15], rng = n;
    cu_step_t      *step;
    cu_moe_act_t    p;
    dev_step_conf_t conf;

    g = malloc(all * sizeof(double));
    u = malloc(all * sizeof(double));
    got = malloc(all * sizeof(double));
    bg = calloc(6 * n, sizeof(double));
    bu = calloc(6 * n, sizeof(double));
    for (i = 0; i < all; i++) {
        g[i] = test_normal(&rng) * 4;
        u[i] = test_normal(&rng) * 4;
    }
    for (i = 0; i < 6 * n && bias; i++) {
        bg[i] = test_normal(&rng);
        bu[i] = test_normal(&rng);
    }
    for (i = 0; i < 15; i++) {
        ids[i] = i < 12 ? test_rand(&rng) % 6 : ~0u;
    }

    memset(&conf, 0, sizeof(conf));
    conf.n_rows = 4;
    step = dev_step(&conf);
    memset(&p, 0, sizeof(p));
    p.fn = fn;
    p.g = dev_typed(t, g, all);
    p.u = dev_typed(t, u, all);
    p.ids = dev_of(ids, sizeof(ids));
    if (bias) {
        p.bias_g = dev_typed(CU_F32, bg, 6 * n);
        p.bias_u = dev_typed(CU_F32, bu, 6 * n);
    }
    p.slots = 15;
    p.n_used = 3;
    p.n = n;
    p.h = dev_new(all * dev_type_size(t));
    rc = cu_moe_act(t, &p, step, NULL);

    dev_read(t, got, p.h, all);
    for (i = 0; i < all; i++) {
        if (i >= 12 * n) {
            worst = isnan(got[i]) ? worst : 1e30;
            continue;
        }
        j = ids[i / n] * n + i % n;
        want = ref_act(fn, g[i] + bg[j], u[i] + bu[j]);
        e = fabs(got[i] - want)
            / (fabs(want) * (t == CU_BF16 ? 0x1p-8 : 0x1p-11) + 1e-5);
        worst = e > worst || isnan(e) ? e : worst;
    }
    ok(rc == 0 && worst <= 1.02, "type %d, function %d, %u wide%s: error %.2g",
       (int) t, (int) fn, n, bias ? ", bias" : "", worst);

    dev_free((void *) p.g);
    dev_free((void *) p.u);
    dev_free((void *) p.ids);
    dev_free((void *) p.bias_g);
    dev_free((void *) p.bias_u);
    dev_free(p.h);
    dev_step_free(step);
    free(g);
    free(u);
    free(bg);
    free(bu);
    free(got);
}


/* One more row in the bucket than in the step. */
static void
test_sum(uint32_t rows, uint32_t used, uint32_t n)
{
    int             rc;
    float          *out;
    double         *y, *gates, *got, e, want, abs, worst = 0;
    size_t          slots = (size_t) (rows + 1) * used, i, j, k;
    uint32_t        rng = n;
    void           *dy, *dg;
    cu_step_t      *step;
    dev_step_conf_t conf;

    y = malloc(slots * n * sizeof(double));
    gates = malloc(slots * sizeof(double));
    got = malloc((rows + 1) * n * sizeof(double));
    for (i = 0; i < slots * n; i++) {
        y[i] = test_normal(&rng);
    }
    for (i = 0; i < slots; i++) {
        gates[i] = test_normal(&rng);
    }
    memset(&conf, 0, sizeof(conf));
    conf.n_rows = rows;
    step = dev_step(&conf);
    dy = dev_typed(CU_F32, y, slots * n);
    dg = dev_typed(CU_F32, gates, slots);
    out = dev_new((rows + 1) * n * sizeof(float));
    rc = cu_moe_sum(dy, dg, out, rows + 1, used, n, step, NULL);

    dev_read(CU_F32, got, out, (rows + 1) * n);
    for (i = 0; i < (rows + 1) * n; i++) {
        if (i >= (size_t) rows * n) {
            worst = isnan(got[i]) ? worst : 1e30;
            continue;
        }
        want = abs = 0;
        for (j = 0; j < used; j++) {
            k = i / n * used + j;
            want += gates[k] * y[k * n + i % n];
            abs += fabs(gates[k] * y[k * n + i % n]);
        }
        e = fabs(got[i] - want) / abs;
        worst = e > worst || isnan(e) ? e : worst;
    }
    ok(rc == 0 && worst < 1e-6, "sum of %u, %u x %u: error %.2g", used, rows, n,
       worst);

    dev_free(dy);
    dev_free(dg);
    dev_free(out);
    dev_step_free(step);
    free(y);
    free(gates);
    free(got);
}


static void
test_refused(void)
{
    cu_moe_t p;

    memset(&p, 0, sizeof(p));
    p.rows = 1;
    p.n_expert = 1025;
    p.n_used = 1;
    is_int(cu_moe_route(&p, NULL, NULL), -EINVAL, "too many experts");
    p.n_expert = 4;
    p.n_used = 5;
    is_int(cu_moe_route(&p, NULL, NULL), -EINVAL, "more used than there are");
    p.n_expert = 100;
    p.n_used = 65;
    is_int(cu_moe_route(&p, NULL, NULL), -EINVAL, "too many used");
}
