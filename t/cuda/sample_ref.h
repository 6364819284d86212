/*
 * What the sampling tests share: rows of logits in the CPU backend and on the
 * device, draws from both, and a plain reference in double precision that
 * sorts the whole vocabulary and says where a sum lies so near to its limit
 * that rounding may decide.
 *
 * Logits get into the CPU backend by a program of a look-up and a product:
 * token r makes row r of X a unit vector, so the logits of row r are column r
 * of the last matrix.  (With infinities in them: one row only.)
 *
 * One test program, one thread; bench_close() frees everything.
 */

#ifndef LLM_T_CUDA_SAMPLE_REF_H
#define LLM_T_CUDA_SAMPLE_REF_H

#include <errno.h>
#include <float.h>
#include <math.h>
#include <time.h>

#include "kernels/cuda/draw.h"
#include "kernels/philox.h"
#include "t/cuda/cu_test.h"

#define BENCH_UNUSED __attribute__((unused)) static
#define BENCH_ROWS   8

typedef struct {
    uint32_t n_vocab;
    uint32_t rows;
    uint32_t ld;
    float   *l; /* [rows][n_vocab] */

    k_backend_t *cpu;
    k_weight_t  *w[2];
    k_exec_t    *exec;
    k_program_t  prog;
    k_op_t       op[2];

    k_backend_t  be; /* the device's: as much of it as a drawer needs */
    cu_drawer_t *draw;
    uint32_t     max_draws;
    float       *dev; /* [rows][ld] */
} bench_t;

typedef struct {
    double   l, p;
    uint32_t id;
} cell_t;


BENCH_UNUSED void
bench_bail(const char *what, const char *err)
{
    printf("Bail out! %s: %s\n", what, err);
    exit(2);
}


BENCH_UNUSED void
bench_cpu(bench_t *b)
{
    int           rc;
    char          err[K_ERR_MAX];
    float        *table, *w;
    int32_t       tokens[BENCH_ROWS];
    uint32_t      i, j, lr[BENCH_ROWS];
    k_batch_t     batch;
    k_source_t    src;
    k_config_t    conf;
    k_limits_t    limits;
    k_batch_seq_t seq;

    memset(&conf, 0, sizeof(conf));
    conf.isa = K_ISA_SCALAR;
    conf.threads = 1;
    conf.act = K_ACT_F32;
    conf.memory = 256 << 20;
    rc = k_backend_cpu.open(&conf, &b->cpu, err);

    table = calloc((size_t) b->n_vocab * b->rows, sizeof(float));
    w = calloc((size_t) b->n_vocab * b->rows, sizeof(float));
    for (i = 0; i < b->rows; i++) {
        table[i * b->rows + i] = 1.0f;
        for (j = 0; j < b->n_vocab; j++) {
            w[(size_t) j * b->rows + i] = b->l[(size_t) i * b->n_vocab + j];
        }
    }

    memset(&src, 0, sizeof(src));
    src.type = K_F32;
    src.rows = b->n_vocab;
    src.cols = b->rows;
    src.name = "logits";
    src.role = K_ROLE_EMBED;
    src.data = table;
    rc = rc ? rc : k_backend_cpu.weights_load(b->cpu, &src, &b->w[0], err);
    src.role = K_ROLE_LOGITS;
    src.data = w;
    rc = rc ? rc : k_backend_cpu.weights_load(b->cpu, &src, &b->w[1], err);

    b->op[0].kind = K_OP_EMBED;
    b->op[0].w[0] = b->w[0];
    b->op[0].scale = 1;
    b->op[1].kind = K_OP_LOGITS;
    b->op[1].w[0] = b->w[1];
    b->op[1].scale = 1;

    b->prog.n_embd = b->rows;
    b->prog.n_head = 1;
    b->prog.n_kv = 1;
    b->prog.head_dim = 2;
    b->prog.n_vocab = b->n_vocab;
    b->prog.n_ops = 2;
    b->prog.ops = b->op;

    limits.rows = limits.seqs = limits.logits = BENCH_ROWS;
    rc = rc ? rc
            : k_backend_cpu.program_prepare(b->cpu, &b->prog, NULL, &limits,
                                            &b->exec, err);
    if (rc != 0) {
        bench_bail("CPU backend", err);
    }

    memset(&seq, 0, sizeof(seq));
    seq.n = b->rows;
    for (i = 0; i < b->rows; i++) {
        tokens[i] = (int32_t) i;
        lr[i] = i;
    }
    memset(&batch, 0, sizeof(batch));
    batch.n_rows = batch.n_logits = b->rows;
    batch.n_seqs = 1;
    batch.tokens = tokens;
    batch.seqs = &seq;
    batch.logit_rows = lr;
    if (k_backend_cpu.step_submit(b->exec, &batch) != 0) {
        bench_bail("CPU backend", "step_submit");
    }

    free(table);
    free(w);
}


/*
 * The same logits on both; `pad`: floats from row to row beyond the
 * vocabulary on the device, NaN.
 */
BENCH_UNUSED void
bench_open(bench_t *b, uint32_t n_vocab, uint32_t rows, const float *l,
           uint32_t pad, uint32_t max_draws)
{
    char     err[K_ERR_MAX];
    uint32_t i;
    uint64_t pinned, size;

    memset(b, 0, sizeof(*b));
    b->n_vocab = n_vocab;
    b->rows = rows;
    b->ld = n_vocab + pad;
    b->max_draws = max_draws;
    b->l = malloc((size_t) rows * n_vocab * sizeof(float));
    memcpy(b->l, l, (size_t) rows * n_vocab * sizeof(float));
    bench_cpu(b);

    CU_OK(cudaStreamCreateWithFlags(&b->be.stream, cudaStreamNonBlocking));
    size = cu_draw_size(max_draws, n_vocab, &pinned);
    if (cu_arena_new(&b->be.arena, size + 4096) != 0
        || cu_draw_new(&b->be, max_draws, n_vocab, &b->draw, err) != 0) {
        bench_bail("drawer", err);
    }

    b->dev = dev_new((size_t) rows * b->ld * sizeof(float));
    for (i = 0; i < rows; i++) {
        dev_put(b->dev + (size_t) i * b->ld, b->l + (size_t) i * n_vocab,
                n_vocab * sizeof(float));
    }
}


BENCH_UNUSED void
bench_close(bench_t *b)
{
    k_backend_cpu.program_free(b->exec);
    k_backend_cpu.weights_free(b->cpu, b->w[0]);
    k_backend_cpu.weights_free(b->cpu, b->w[1]);
    k_backend_cpu.close(b->cpu);
    cu_draw_free(b->draw);
    cu_arena_free_all(b->be.arena);
    CU_OK(cudaStreamDestroy(b->be.stream));
    dev_free(b->dev);
    free(b->l);
}


/* Draws on the device, `bucket` blocks of rows launched; 0 or -errno. */
BENCH_UNUSED int
bench_draw_in(bench_t *b, uint32_t parity, uint32_t bucket, uint32_t n,
              const k_sample_t *req, k_sampled_t *out)
{
    int          rc;
    cudaStream_t s;

    s = b->be.stream;
    rc = cu_draw_put(b->draw, parity, n, req, b->rows, s, NULL);
    rc = rc ? rc : cu_draw_run(b->draw, b->dev, b->ld, bucket, s);
    rc = rc ? rc : cu_draw_fetch(b->draw, parity, n, s);
    if (rc != 0) {
        return rc;
    }
    CU_OK(cudaStreamSynchronize(s));
    cu_draw_take(b->draw, parity, n, out);
    return 0;
}


BENCH_UNUSED int
bench_draw(bench_t *b, uint32_t n, const k_sample_t *req, k_sampled_t *out)
{
    return bench_draw_in(b, 0, n, n, req, out);
}


BENCH_UNUSED k_sample_t
request(void)
{
    k_sample_t r;

    memset(&r, 0, sizeof(r));
    r.temperature = 1;
    r.top_p = 1;
    r.repetition = 1;
    return r;
}


BENCH_UNUSED int
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


BENCH_UNUSED int
cell_by_id(const void *a, const void *b)
{
    const cell_t *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}


/*
 * The token by the book.  *plausible: `got` may have come instead of it by
 * rounding: it is before the cut, or no farther behind it than BENCH_EPS of
 * the whole, and what the draw asks for is in it or so near to it.
 */
#define BENCH_EPS 2e-6

BENCH_UNUSED int32_t
reference(const bench_t *b, const k_sample_t *r, int32_t got, int *plausible)
{
    int          cut;
    float       *f, *x;
    double       sum, total, at, max, before, p;
    cell_t      *c;
    int32_t      token;
    uint32_t     i, n, m, keep;
    const float *l;

    n = b->n_vocab;
    l = b->l + (size_t) r->logit * n;
    c = malloc(n * sizeof(cell_t));
    f = malloc(n * sizeof(float));
    memcpy(f, l, n * sizeof(float));
    *plausible = 0;

    for (i = 0; i < r->n_counts; i++) {
        x = &f[r->counts[i].token];
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
        if (f[i] == -INFINITY) {
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

    /* m: so many may be before the cut. */
    m = n;
    if (r->top_p < 1) {
        sum = 0;
        cut = 0;
        for (i = 0; i < m; i++) {
            sum += c[i].p;
            if (!cut && sum >= r->top_p * total) {
                cut = 1;
                n = i + 1;
            }
            m = sum >= (r->top_p + BENCH_EPS) * total ? i + 1 : m;
        }
    }
    for (i = 0; i < m && r->min_p > 0; i++) {
        n = i < n && c[i].p < r->min_p && r->min_p < 1 ? i : n;
        m = c[i].p < r->min_p * (1 - BENCH_EPS) && i > 0 ? i : m;
    }
    n = n == 0 ? 1 : n;
    for (i = 0; i < m; i++) {
        *plausible |= (int32_t) c[i].id == got;
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
        if (sum > at) {
            token = (int32_t) c[i].id;
            break;
        }
    }

    before = p = 0;
    for (i = 0; i < n; i++) {
        before += (int32_t) c[i].id < got ? c[i].p : 0;
        p = (int32_t) c[i].id == got ? c[i].p : p;
    }
    *plausible &= before <= at + BENCH_EPS * total
                  && before + p >= at - BENCH_EPS * total;

    free(c);
    free(f);
    return token;
}


/* 1: the same, logprobs within rounding. */
BENCH_UNUSED int
same_sampled(const k_sampled_t *a, const k_sampled_t *b)
{
    uint32_t i;

    if (a->token != b->token || a->n_top != b->n_top
        || !(a->logprob == b->logprob
             || fabsf(a->logprob - b->logprob)
                    < 2e-6f * (1 + fabsf(b->logprob)))) {
        return 0;
    }
    for (i = 0; i < a->n_top; i++) {
        if (a->top[i].token != b->top[i].token
            || !(fabsf(a->top[i].logprob - b->top[i].logprob)
                 < 2e-6f * (1 + fabsf(b->top[i].logprob)))) {
            return 0;
        }
    }

    return 1;
}


/*
 * Draws all on the device at once and one by one on the CPU; returns how many
 * differ without an excuse; *excused: those whose border is within rounding.
 */
BENCH_UNUSED uint32_t
bench_compare(bench_t *b, uint32_t n, const k_sample_t *req, uint32_t *excused)
{
    int          plausible;
    int32_t      want;
    uint32_t     i, bad;
    k_sampled_t *out, cpu;

    bad = 0;
    out = malloc(n * sizeof(k_sampled_t));
    memset(out, 0xff, n * sizeof(k_sampled_t));
    if (bench_draw(b, n, req, out) != 0) {
        free(out);
        return n;
    }

    for (i = 0; i < n; i++) {
        if (k_backend_cpu.sample(b->exec, 1, &req[i], &cpu) != 0) {
            bad++;
            continue;
        }
        if (same_sampled(&out[i], &cpu)) {
            continue;
        }
        want = reference(b, &req[i], out[i].token, &plausible);
        if (plausible && out[i].n_top == cpu.n_top) {
            ++*excused;
            continue;
        }
        bad++;
        diag("draw %u: got %d (%g, %u top), CPU %d (%g, %u top), book %d: "
             "t %g k %u p %g m %g counts %u bias %u mask %d top %u row %u",
             i, out[i].token, (double) out[i].logprob, out[i].n_top, cpu.token,
             (double) cpu.logprob, cpu.n_top, want, (double) req[i].temperature,
             req[i].top_k, (double) req[i].top_p, (double) req[i].min_p,
             req[i].n_counts, req[i].n_bias, req[i].mask != NULL, req[i].n_top,
             req[i].logit);
    }

    free(out);
    return bad;
}

#endif /* LLM_T_CUDA_SAMPLE_REF_H */
