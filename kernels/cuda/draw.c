/*
 * The host's side of sampling, see draw.h: checks requests as the CPU's
 * sampling does, writes them into pinned memory in the device's form, copies
 * results back.  The step loop's thread; a drawer owns all its memory.
 *
 * What goes to the device each step lies in one piece, so that one copy takes
 * what is used of it, and masks, the largest part, in another behind it:
 *
 *     cu_draws_t | draws [max_draws] | biases and counts, no gaps | ... | masks
 */

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/draw.h"

typedef struct {
    uint8_t     *block; /* pinned: what goes up */
    k_sampled_t *out;   /* pinned: what comes down */
} cu_draw_side_t;

struct cu_drawer_s {
    k_backend_t *be;
    uint32_t     max_draws;
    uint32_t     n_vocab;
    uint32_t     words; /* of a mask */

    uint64_t lists;    /* most entries, counts and biases together */
    uint64_t at_lists; /* offsets in a block */
    uint64_t at_masks;
    uint64_t size; /* of a block */

    void        *mem; /* device, from the arena: all of the following */
    uint64_t     mem_size;
    uint8_t     *block;
    uint8_t     *scratch;
    k_sampled_t *out;
    int32_t     *drawn;

    cu_draw_side_t side[2];
    cudaEvent_t    free; /* the device's block may be written again */
    int            used; /* it has been recorded */

    uint32_t *seen; /* [n_vocab]: the list that has last named a token */
    uint32_t  list; /* number of lists so far */
};


static void     draw_plan(cu_drawer_t *draw, uint32_t max_draws, uint32_t n_vocab);
static int      draw_check(const cu_drawer_t *draw, const k_sample_t *r, uint32_t n_logits);
static uint32_t draw_counts(const k_sample_t *r);
static uint32_t draw_fits(const cu_drawer_t *draw, uint32_t n, const k_sample_t *req);
static int      draw_twice(cu_drawer_t *draw, uint32_t n, const int32_t *token, uint32_t step);
static void     draw_fill(cu_drawer_t *draw, uint8_t *block, uint32_t n, const k_sample_t *req,
                          uint64_t *lists, uint64_t *masks);
static int      draw_upload(cu_drawer_t *draw, const uint8_t *block, uint64_t lists, uint64_t masks,
                            cudaStream_t s);
static int      draw_launch(cu_drawer_t *draw, uint32_t first, const float *l, uint32_t ld,
                            uint32_t bucket, cudaStream_t s);


/*
 * Entries of both lists are two words each; pinned and device memory have the
 * same parts.
 */
static void
draw_plan(cu_drawer_t *draw, uint32_t max_draws, uint32_t n_vocab)
{
    uint64_t least;

    draw->max_draws = max_draws;
    draw->n_vocab = n_vocab;
    draw->words = (n_vocab + 31) / 32;
    draw->lists = (uint64_t) max_draws * (CU_DRAW_COUNTS + CU_DRAW_BIAS);
    least = 2 * (uint64_t) n_vocab;
    draw->lists = draw->lists > least ? draw->lists : least;

    draw->at_lists = sizeof(cu_draws_t) + max_draws * sizeof(cu_draw_t);
    draw->at_lists = (draw->at_lists + 255) / 256 * 256;
    draw->at_masks = draw->at_lists + draw->lists * sizeof(k_count_t);
    draw->at_masks = (draw->at_masks + 255) / 256 * 256;
    draw->size = draw->at_masks + 4 * (uint64_t) max_draws * draw->words;
    draw->size = (draw->size + 255) / 256 * 256;

    draw->mem_size = draw->size + cu_sample_scratch(max_draws, n_vocab)
                     + max_draws * (sizeof(k_sampled_t) + sizeof(int32_t)) + 256;
}


uint64_t
cu_draw_size(uint32_t max_draws, uint32_t n_vocab, uint64_t *pinned)
{
    cu_drawer_t draw;

    draw_plan(&draw, max_draws, n_vocab);
    *pinned = 2 * (draw.size + max_draws * sizeof(k_sampled_t));

    return draw.mem_size;
}


int
cu_draw_new(k_backend_t *be, uint32_t max_draws, uint32_t n_vocab, cu_drawer_t **draw, char *err)
{
    int          rc, i;
    cu_sample_t  none;
    cu_drawer_t *d;

    /* What kernels cannot do they say for no draws, too. */
    memset(&none, 0, sizeof(none));
    none.n_vocab = none.ld = n_vocab;
    if (max_draws == 0 || max_draws > 65535 || cu_sample(&none, be->stream) != 0) {
        snprintf(err, K_ERR_MAX, "sampling %u draws from a vocabulary of %u is not supported",
                 max_draws, n_vocab);
        return -EINVAL;
    }

    d = calloc(1, sizeof(cu_drawer_t));
    if (d == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }
    draw_plan(d, max_draws, n_vocab);
    d->be = be;

    rc = -ENOMEM;
    d->seen = calloc(n_vocab, sizeof(uint32_t));
    d->mem = cu_arena_alloc(be->arena, d->mem_size, 1);
    if (d->seen == NULL || d->mem == NULL) {
        snprintf(err, K_ERR_MAX, "sampling needs %llu bytes of device memory for %u draws",
                 (unsigned long long) d->mem_size, max_draws);
        goto failed;
    }

    d->block = d->mem;
    d->scratch = d->block + d->size;
    d->out = (k_sampled_t *) (d->scratch + cu_sample_scratch(max_draws, n_vocab));
    d->drawn = (int32_t *) (d->out + max_draws);

    snprintf(err, K_ERR_MAX, "no pinned memory or no events for sampling");
    for (i = 0; i < 2; i++) {
        rc = cu_check(cudaMallocHost((void **) &d->side[i].block, d->size), "cudaMallocHost");
        rc = rc ? rc
                : cu_check(cudaMallocHost((void **) &d->side[i].out,
                                          max_draws * sizeof(k_sampled_t)),
                           "cudaMallocHost");
        if (rc != 0) {
            goto failed;
        }
    }
    rc = cu_check(cudaEventCreateWithFlags(&d->free, cudaEventDisableTiming), "cudaEventCreate");

    /* Kernels count in scratch from zero; draws of none have been none. */
    rc = rc ? rc : cu_check(cudaMemsetAsync(d->mem, 0, d->mem_size, be->stream), "cudaMemset");
    rc = rc ? rc : cu_check(cudaStreamSynchronize(be->stream), "cudaMemset");
    if (rc != 0) {
        goto failed;
    }

    err[0] = '\0';
    *draw = d;
    return 0;

failed:

    cu_draw_free(d);
    return rc;
}


void
cu_draw_free(cu_drawer_t *draw)
{
    int i;

    if (draw == NULL) {
        return;
    }

    for (i = 0; i < 2; i++) {
        if (draw->side[i].block != NULL) {
            (void) cudaFreeHost(draw->side[i].block);
        }
        if (draw->side[i].out != NULL) {
            (void) cudaFreeHost(draw->side[i].out);
        }
    }
    if (draw->free != NULL) {
        (void) cudaEventDestroy(draw->free);
    }
    if (draw->mem != NULL) {
        cu_arena_free(draw->be->arena, draw->mem, draw->mem_size);
    }
    free(draw->seen);
    free(draw);
}


/* What kernels/cpu/sample.c refuses. */
static int
draw_check(const cu_drawer_t *draw, const k_sample_t *r, uint32_t n_logits)
{
    uint32_t i;

    if (r->logit >= n_logits || r->n_top > K_TOP_MAX) {
        return 0;
    }

    if (!(r->temperature >= 0 && r->temperature <= FLT_MAX)
        || !(r->repetition > 0 && r->repetition <= FLT_MAX) || !isfinite(r->frequency)
        || !isfinite(r->presence) || isnan(r->top_p) || isnan(r->min_p)) {
        return 0;
    }

    if (r->scored && (!r->logprob || (uint32_t) r->score >= draw->n_vocab)) {
        return 0;
    }

    for (i = 0; i < r->n_counts; i++) {
        if ((uint32_t) r->counts[i].token >= draw->n_vocab) {
            return 0;
        }
    }
    for (i = 0; i < r->n_bias; i++) {
        if ((uint32_t) r->bias[i].token >= draw->n_vocab || isnan(r->bias[i].value)) {
            return 0;
        }
    }

    return 1;
}


/* Counts that change something. */
static uint32_t
draw_counts(const k_sample_t *r)
{
    return r->scored || (r->repetition == 1.0f && r->frequency == 0 && r->presence == 0)
               ? 0
               : r->n_counts;
}


/* How many of the draws fit into a block, from the first on. */
static uint32_t
draw_fits(const cu_drawer_t *draw, uint32_t n, const k_sample_t *req)
{
    uint32_t i;
    uint64_t used;

    used = 0;
    for (i = 0; i < n && i < draw->max_draws; i++) {
        used += draw_counts(&req[i]);
        used += req[i].scored ? 0 : req[i].n_bias;
        if (used > draw->lists) {
            break;
        }
    }

    return i;
}


/* Whether a list (of entries of `step` words, a token first) has one twice. */
static int
draw_twice(cu_drawer_t *draw, uint32_t n, const int32_t *token, uint32_t step)
{
    uint32_t i, twice, *seen;

    if (draw->list == UINT32_MAX) {
        memset(draw->seen, 0, draw->n_vocab * sizeof(uint32_t));
        draw->list = 0;
    }
    draw->list++;

    twice = 0;
    for (i = 0; i < n; i++) {
        seen = &draw->seen[token[(size_t) i * step]];
        twice |= *seen == draw->list;
        *seen = draw->list;
    }

    return (int) twice;
}


/* *lists: entries written; *masks: words. */
static void
draw_fill(cu_drawer_t *draw, uint8_t *block, uint32_t n, const k_sample_t *req, uint64_t *lists,
          uint64_t *masks)
{
    uint32_t          i;
    uint64_t          at, word;
    cu_draw_t        *d;
    k_count_t        *counts;
    cu_draws_t       *head;
    const k_sample_t *r;

    head = (cu_draws_t *) block;
    head->n = n;
    head->draws = (const cu_draw_t *) (draw->block + sizeof(cu_draws_t));
    head->counts = (const k_count_t *) (draw->block + draw->at_lists);
    head->biases = (const k_bias_t *) (draw->block + draw->at_lists);
    head->masks = (const uint32_t *) (draw->block + draw->at_masks);

    d = (cu_draw_t *) (block + sizeof(cu_draws_t));
    counts = (k_count_t *) (block + draw->at_lists);
    at = 0;
    word = 0;

    for (i = 0; i < n; i++, d++) {
        r = &req[i];
        memset(d, 0, sizeof(*d));
        d->logit = r->logit;
        d->temperature = r->temperature;
        d->top_p = r->top_p;
        d->min_p = r->min_p;
        d->top_k = r->top_k;
        d->repetition = r->repetition;
        d->frequency = r->frequency;
        d->presence = r->presence;
        d->position = r->position;
        d->seed = r->seed;
        d->choice = r->choice;
        d->logprob = r->logprob != 0;
        d->n_top = r->logprob ? r->n_top : 0;
        d->mask = UINT32_MAX;
        d->score = -1;

        if (r->scored) {
            d->score = r->score;
            continue;
        }

        d->n_counts = draw_counts(r);
        d->counts = (uint32_t) at;
        if (d->n_counts != 0) {
            memcpy(counts + at, r->counts, d->n_counts * sizeof(k_count_t));
            at += d->n_counts;
            d->serial |= draw_twice(draw, d->n_counts, &r->counts->token,
                                    sizeof(k_count_t) / sizeof(int32_t));
        }

        d->n_bias = r->n_bias;
        d->bias = (uint32_t) at;
        if (d->n_bias != 0) {
            memcpy(counts + at, r->bias, d->n_bias * sizeof(k_bias_t));
            at += d->n_bias;
            d->serial |=
                draw_twice(draw, d->n_bias, &r->bias->token, sizeof(k_bias_t) / sizeof(int32_t));
        }

        if (r->mask != NULL) {
            d->mask = (uint32_t) word;
            memcpy(block + draw->at_masks + 4 * word, r->mask, 4 * (size_t) draw->words);
            word += draw->words;
        }
    }

    *lists = at;
    *masks = word;
}


static int
draw_upload(cu_drawer_t *draw, const uint8_t *block, uint64_t lists, uint64_t masks, cudaStream_t s)
{
    int      rc;
    uint64_t size;

    size = ((const cu_draws_t *) block)->n * sizeof(cu_draw_t);
    size = lists != 0 ? draw->at_lists + lists * sizeof(k_count_t) : sizeof(cu_draws_t) + size;

    rc = cu_check(cudaMemcpyAsync(draw->block, block, size, cudaMemcpyHostToDevice, s),
                  "upload of draws");
    if (rc == 0 && masks != 0) {
        rc = cu_check(cudaMemcpyAsync(draw->block + draw->at_masks, block + draw->at_masks,
                                      4 * masks, cudaMemcpyHostToDevice, s),
                      "upload of masks");
    }

    return rc;
}


int
cu_draw_put(cu_drawer_t *draw, uint32_t parity, uint32_t n, const k_sample_t *req,
            uint32_t n_logits, cudaStream_t copy_stream, cudaEvent_t uploaded)
{
    int             rc;
    uint32_t        i;
    uint64_t        lists, masks;
    cu_draw_side_t *side;

    if (n > draw->max_draws) {
        return -EINVAL;
    }
    for (i = 0; i < n; i++) {
        if (!draw_check(draw, &req[i], n_logits)) {
            return -EINVAL;
        }
    }
    if (draw_fits(draw, n, req) < n) {
        return -E2BIG;
    }

    side = &draw->side[parity];
    draw_fill(draw, side->block, n, req, &lists, &masks);

    rc = 0;
    if (draw->used) {
        rc = cu_check(cudaStreamWaitEvent(copy_stream, draw->free, 0), "cudaStreamWaitEvent");
    }
    rc = rc ? rc : draw_upload(draw, side->block, lists, masks, copy_stream);
    if (rc == 0 && uploaded != NULL) {
        rc = cu_check(cudaEventRecord(uploaded, copy_stream), "cudaEventRecord");
    }

    return rc;
}


static int
draw_launch(cu_drawer_t *draw, uint32_t first, const float *l, uint32_t ld, uint32_t bucket,
            cudaStream_t s)
{
    int         rc;
    cu_sample_t p;

    memset(&p, 0, sizeof(p));
    p.l = l;
    p.ld = ld;
    p.n_vocab = draw->n_vocab;
    p.max_draws = bucket;
    p.draws = (const cu_draws_t *) draw->block;
    p.scratch = draw->scratch;
    p.out = draw->out + first;
    p.drawn = draw->drawn + first;

    rc = cu_sample(&p, s);
    if (rc == -EIO) {
        (void) cu_check(cudaGetLastError(), "launch of sampling");
    }

    return rc;
}


int
cu_draw_run(cu_drawer_t *draw, const float *l, uint32_t ld, uint32_t bucket, cudaStream_t stream)
{
    return bucket > draw->max_draws ? -EINVAL : draw_launch(draw, 0, l, ld, bucket, stream);
}


int
cu_draw_fetch(cu_drawer_t *draw, uint32_t parity, uint32_t n, cudaStream_t stream)
{
    int rc;

    rc = 0;
    if (n != 0) {
        rc = cu_check(cudaMemcpyAsync(draw->side[parity].out, draw->out, n * sizeof(k_sampled_t),
                                      cudaMemcpyDeviceToHost, stream),
                      "download of draws");
    }
    rc = rc ? rc : cu_check(cudaEventRecord(draw->free, stream), "cudaEventRecord");
    draw->used = rc == 0;

    return rc;
}


void
cu_draw_take(cu_drawer_t *draw, uint32_t parity, uint32_t n, k_sampled_t *out)
{
    memcpy(out, draw->side[parity].out, n * sizeof(k_sampled_t));
}


int
cu_draw_rounds(cu_drawer_t *draw, uint32_t parity, uint32_t n, const k_sample_t *req,
               uint32_t n_logits, const float *l, uint32_t ld, cudaStream_t stream)
{
    int             rc;
    uint32_t        i, m;
    uint64_t        lists, masks;
    cu_draw_side_t *side;

    if (n > draw->max_draws) {
        return -EINVAL;
    }
    for (i = 0; i < n; i++) {
        if (!draw_check(draw, &req[i], n_logits)) {
            return -EINVAL;
        }
    }

    side = &draw->side[parity];
    rc = 0;
    if (draw->used) {
        rc = cu_check(cudaStreamWaitEvent(stream, draw->free, 0), "cudaStreamWaitEvent");
    }

    for (i = 0; i < n && rc == 0; i += m) {
        m = draw_fits(draw, n - i, req + i);
        if (m == 0) {
            return -EINVAL; /* one draw, and a list with tokens twice */
        }

        draw_fill(draw, side->block, m, req + i, &lists, &masks);
        rc = draw_upload(draw, side->block, lists, masks, stream);
        rc = rc ? rc : draw_launch(draw, i, l, ld, m, stream);
        rc = rc ? rc : cu_check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    }

    rc = rc ? rc : cu_draw_fetch(draw, parity, n, stream);
    return rc ? rc : cu_check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}


const int32_t *
cu_draw_drawn(const cu_drawer_t *draw)
{
    return draw->drawn;
}
