/*
 * Sampling as backend.h describes it.  Rows are dealt out to the compute
 * threads; one thread does a row from end to end in scratch of its own, so
 * the result is the same on any number of threads.  Nothing is allocated.
 *
 * No sort of the vocabulary.  top_k, top_p and min_p each keep a front part
 * of the tokens in the order (logit falling, id rising), so all three
 * together do, too.  Tokens that cannot be in it are left out by a bound that
 * is cheap to have (the k-th largest of the maxima of slabs of 64 logits; the
 * smallest probability that can matter to top_p), the cut among the others is
 * found by a radix selection over the logits' bits: four passes at most,
 * however flat the logits are; a few halvings of the bound come first, as
 * top_p may keep thousands of tokens, of which few are near the cut.
 *
 * The draw walks over what is left in the order of ids.  Weights are
 * exp((logit - largest) / temperature) in F32, their sums in F64.
 */

#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/select.h"
#include "kernels/philox.h"

#define K_COLDEST 1e-6f /* temperatures below count as this one */


static int      k_sample_check(const k_exec_t *e, const k_sample_t *r);
static void     k_sample_run(void *arg, uint32_t thread);
static void     k_sample_row(k_exec_t *e, const k_sample_t *r, k_sampled_t *out,
                             k_scratch_t *s);
static void     k_adjust(const k_sample_t *r, float *x);
static int      k_adjusts(const k_sample_t *r);
static float    k_maximum(const float *x, uint32_t n);
static uint32_t k_greedy(const float *x, uint32_t n, const float *maxima,
                         float max);
static uint32_t k_draw(k_exec_t *e, const k_sample_t *r, const float *x,
                       float max, k_scratch_t *s);
static uint32_t k_draw_all(const k_exec_t *e, double u, double total,
                           const k_scratch_t *s);
static uint32_t k_draw_list(const k_list_t *list, double u);
static double   k_list_weights(k_exec_t *e, k_list_t *list, const float *x,
                               float max, float t, k_scratch_t *s);
static double   k_sum(const float *x, uint32_t n);
static void     k_logprobs(k_exec_t *e, const k_sample_t *r, const float *raw,
                           float max, k_sampled_t *out, double *lse,
                           k_scratch_t *s);


/*
 * -EINVAL: a request names a row, a token or a value out of range; nothing
 * was drawn then.
 */
int
k_sample_rows(k_exec_t *e, uint32_t n, const k_sample_t *req, k_sampled_t *out)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        if (!k_sample_check(e, &req[i])) {
            return -EINVAL;
        }
    }

    e->req = req;
    e->out = out;
    e->n_req = n;

    if (n > 1 && k_pool_size(e->pool) > 1) {
        k_pool_run(e->pool, k_sample_run, e);
        return 0;
    }

    for (i = 0; i < n; i++) {
        k_sample_row(e, &req[i], &out[i], &e->scratch[0]);
    }

    return 0;
}


static int
k_sample_check(const k_exec_t *e, const k_sample_t *r)
{
    uint32_t i;

    if (r->logit >= e->n_logits || r->n_top > K_TOP_MAX) {
        return 0;
    }

    if (!(r->temperature >= 0 && r->temperature <= FLT_MAX)
        || !(r->repetition > 0 && r->repetition <= FLT_MAX)
        || !isfinite(r->frequency) || !isfinite(r->presence) || isnan(r->top_p)
        || isnan(r->min_p)) {
        return 0;
    }

    /* A judged token's logprob is all that it is judged for. */
    if (r->scored && (!r->logprob || (uint32_t) r->score >= e->prog.n_vocab)) {
        return 0;
    }

    for (i = 0; i < r->n_counts; i++) {
        if ((uint32_t) r->counts[i].token >= e->prog.n_vocab) {
            return 0;
        }
    }
    for (i = 0; i < r->n_bias; i++) {
        if ((uint32_t) r->bias[i].token >= e->prog.n_vocab
            || isnan(r->bias[i].value)) {
            return 0;
        }
    }

    return 1;
}


static void
k_sample_run(void *arg, uint32_t thread)
{
    uint32_t  i;
    k_exec_t *e;

    e = arg;

    for (i = k_pool_next(e->pool); i < e->n_req; i = k_pool_next(e->pool)) {
        k_sample_row(e, &e->req[i], &e->out[i], &e->scratch[thread]);
    }
}


static void
k_sample_row(k_exec_t *e, const k_sample_t *r, k_sampled_t *out, k_scratch_t *s)
{
    float        max;
    double       lse;
    uint32_t     n, slabs;
    const float *raw, *x;

    n = e->prog.n_vocab;
    slabs = (n + K_SLAB - 1) / K_SLAB;
    raw = e->l + (size_t) r->logit * e->vocab_ld;
    x = raw;
    lse = 0;

    memset(out, 0, sizeof(*out));
    out->token = -1;

    if (!e->simd->blocks(raw, n, s->maxima)) {
        return;
    }
    max = k_maximum(s->maxima, slabs);
    if (max == -INFINITY) {
        return;
    }

    if (r->logprob) {
        k_logprobs(e, r, raw, max, out, &lse, s);
    }

    if (r->scored) {
        out->token = r->score;
        out->logprob = (float) ((double) raw[r->score] - lse);
        return;
    }

    if (k_adjusts(r) || r->mask != NULL) {
        memcpy(s->logits, raw, n * sizeof(float));
        k_adjust(r, s->logits);
        if (r->mask != NULL) {
            e->simd->mask(s->logits, n, r->mask);
        }
        x = s->logits;
        (void) e->simd->blocks(x, n, s->maxima);
        max = k_maximum(s->maxima, slabs);
        if (max == -INFINITY) {
            out->n_top = 0;
            return;
        }
    }

    if (r->temperature == 0) {
        out->token = (int32_t) k_greedy(x, n, s->maxima, max);
    } else {
        out->token = (int32_t) k_draw(e, r, x, max, s);
    }

    if (r->logprob) {
        out->logprob = (float) ((double) raw[out->token] - lse);
    }
}


/* Whether penalties or bias change anything. */
static int
k_adjusts(const k_sample_t *r)
{
    return r->n_bias != 0
           || (r->n_counts != 0
               && (r->repetition != 1.0f || r->frequency != 0
                   || r->presence != 0));
}


static void
k_adjust(const k_sample_t *r, float *x)
{
    float    l;
    uint32_t i, token, count;

    for (i = 0; i < r->n_counts; i++) {
        token = (uint32_t) r->counts[i].token;
        count = r->counts[i].count;

        l = x[token];
        l = l > 0 ? l / r->repetition : l * r->repetition;
        if (count != 0) {
            l -= r->frequency * (float) count;
            l -= r->presence;
        }
        x[token] = l;
    }

    for (i = 0; i < r->n_bias; i++) {
        x[r->bias[i].token] += r->bias[i].value;
    }

    /* Never +infinity, so that differences below mean something. */
    for (i = 0; i < r->n_counts + r->n_bias; i++) {
        token = (uint32_t) (i < r->n_counts ? r->counts[i].token
                                            : r->bias[i - r->n_counts].token);
        if (!(x[token] <= FLT_MAX)) {
            x[token] = isnan(x[token]) ? -INFINITY : FLT_MAX;
        }
    }
}


static float
k_maximum(const float *x, uint32_t n)
{
    float    max;
    uint32_t i;

    max = -INFINITY;
    for (i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }

    return max;
}


/* The lowest id whose logit is max. */
static uint32_t
k_greedy(const float *x, uint32_t n, const float *maxima, float max)
{
    uint32_t i;

    for (i = 0; maxima[i] != max; i++) {
        /* void */
    }
    for (i *= K_SLAB; i < n - 1 && x[i] != max; i++) {
        /* void */
    }

    return i;
}


static uint32_t
k_draw(k_exec_t *e, const k_sample_t *r, const float *x, float max,
       k_scratch_t *s)
{
    float    t, least, sure, min_p;
    double   u, total;
    uint32_t i, j, n, slabs;
    k_list_t list;

    n = e->prog.n_vocab;
    slabs = (n + K_SLAB - 1) / K_SLAB;
    t = 1.0f / (r->temperature > K_COLDEST ? r->temperature : K_COLDEST);
    min_p = r->min_p < 1.0f ? r->min_p : 1.0f;
    u = k_philox_draw(r->seed, r->position, r->choice, 0);

    list.ids = s->ids;
    list.keys = s->keys;
    list.weights = s->weights;
    sure = INFINITY;

    if (r->top_k != 0 && r->top_k < n) {
        least = k_bound(s->maxima, slabs, r->top_k, s->keys, s->order);
        list.n = e->simd->collect(x, n, least, list.ids);
        k_list_keys(&list, x);
        if (list.n > r->top_k) {
            k_list_cut(&list, r->top_k, 0, INFINITY, s->order);
        }
        total = k_list_weights(e, &list, x, max, t, s);

    } else {
        e->simd->exps(s->probs, x, n, max, t, s->sums);
        total = k_sum(s->sums, slabs);

        if (r->top_p >= 1.0f && min_p <= 0) {
            return k_draw_all(e, u * total, total, s);
        }

        /*
         * All tokens below this one together weigh less than what top_p
         * leaves out; and what is below min_p goes anyhow.
         */
        least = (float) ((1.0 - (double) r->top_p) * total / n * 0.999);
        least = r->top_p < 1.0f && least > 0 ? least : FLT_MIN;
        least = least < 1.0f ? least : 1.0f;
        if (r->top_p < 1.0f && least < 1.0f) {
            k_narrow(e->simd, s->probs, n, (double) r->top_p * total, &least,
                     &sure);
        }
        least = least > min_p ? least : min_p;

        list.n = e->simd->collect(s->probs, n, least, list.ids);
        k_list_keys(&list, x);
        for (i = 0; i < list.n; i++) {
            list.weights[i] = s->probs[list.ids[i]];
        }
    }

    if (r->top_p < 1.0f) {
        k_list_cut(&list, (double) r->top_p * total, 1, sure, s->order);
    }

    if (min_p > 0) {
        for (i = 0, j = 0; i < list.n; i++) {
            if (list.weights[i] >= min_p) {
                list.ids[j] = list.ids[i];
                list.weights[j++] = list.weights[i];
            }
        }
        list.n = j;
    }

    return k_draw_list(&list, u);
}


/* Over the whole vocabulary: the slab first, then the token in it. */
static uint32_t
k_draw_all(const k_exec_t *e, double at, double total, const k_scratch_t *s)
{
    double   sum, next;
    uint32_t i, j, n, slabs, end, last;

    n = e->prog.n_vocab;
    slabs = (n + K_SLAB - 1) / K_SLAB;
    sum = 0;
    last = 0;

    for (i = 0; i < slabs; i++) {
        if (s->sums[i] > 0) {
            last = i;
        }
    }

    for (i = 0; i < last; i++) {
        next = sum + (double) s->sums[i];
        if (next > at) {
            break;
        }
        sum = next;
    }

    end = n - i * K_SLAB < K_SLAB ? n : (i + 1) * K_SLAB;
    last = i * K_SLAB;

    for (j = i * K_SLAB; j < end; j++) {
        if (s->probs[j] <= 0) {
            continue;
        }
        last = j;
        sum += (double) s->probs[j];
        if (sum > at) {
            break;
        }
    }

    return last;
}


static uint32_t
k_draw_list(const k_list_t *list, double u)
{
    double   at, sum;
    uint32_t i, last;

    at = u * k_sum(list->weights, list->n);
    sum = 0;
    last = list->ids[0];

    for (i = 0; i < list->n; i++) {
        if (list->weights[i] <= 0) {
            continue;
        }
        last = list->ids[i];
        sum += (double) list->weights[i];
        if (sum > at) {
            break;
        }
    }

    return last;
}


static double
k_list_weights(k_exec_t *e, k_list_t *list, const float *x, float max, float t,
               k_scratch_t *s)
{
    uint32_t i;

    for (i = 0; i < list->n; i++) {
        list->weights[i] = x[list->ids[i]];
    }
    e->simd->exps(list->weights, list->weights, list->n, max, t, s->sums);

    return k_sum(s->sums, (list->n + K_SLAB - 1) / K_SLAB);
}


static double
k_sum(const float *x, uint32_t n)
{
    double   sum;
    uint32_t i;

    sum = 0;
    for (i = 0; i < n; i++) {
        sum += (double) x[i];
    }

    return sum;
}


/* Of the raw logits: log of the sum of exp, and the top ones. */
static void
k_logprobs(k_exec_t *e, const k_sample_t *r, const float *raw, float max,
           k_sampled_t *out, double *lse, k_scratch_t *s)
{
    float    least;
    uint32_t i, j, n, id;
    k_list_t list;

    n = e->prog.n_vocab;
    e->simd->exps(s->probs, raw, n, max, 1.0f, s->sums);
    *lse = (double) max + log(k_sum(s->sums, (n + K_SLAB - 1) / K_SLAB));

    if (r->n_top == 0) {
        return;
    }

    least = k_bound(s->maxima, (n + K_SLAB - 1) / K_SLAB, r->n_top, s->keys,
                    s->order);
    list.ids = s->ids;
    list.keys = s->keys;
    list.weights = s->weights;
    list.n = e->simd->collect(raw, n, least, list.ids);
    k_list_keys(&list, raw);
    if (list.n > r->n_top) {
        k_list_cut(&list, r->n_top, 0, INFINITY, s->order);
    }

    /* Insertion by falling logit; ids rise already. */
    for (i = 0; i < list.n; i++) {
        id = list.ids[i];
        for (j = i; j > 0 && raw[out->top[j - 1].token] < raw[id]; j--) {
            out->top[j] = out->top[j - 1];
        }
        out->top[j].token = (int32_t) id;
    }
    for (i = 0; i < list.n; i++) {
        out->top[i].logprob = (float) ((double) raw[out->top[i].token] - *lse);
    }
    out->n_top = list.n;
}
