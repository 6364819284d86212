/*
 * Steps: metadata up, nodes or a graph of them, draws, results down.  The step
 * loop's thread; everything goes to the backend's stream but the upload of the
 * draws' requests, which has a stream of its own so that it runs beside the
 * forward pass, and which the draws wait for.
 *
 *     stream   metadata > forward pass >          draws > results > (event)
 *     copies            requests, masks > (event) ^
 *
 * Draws are not part of the graph: their requests would have to be there
 * before the forward pass begins, and their few launches are enqueued long
 * before it ends.
 *
 * AHEAD.  Up to two steps are under way; pinned memory and events are the
 * step's by its parity.  Tokens that the step before draws are resolved on the
 * device (cu_step_t.drawn).
 *
 * A wait spins for SPIN_NS, in which a small model's step ends, and blocks
 * after that.  -EIO is for ever.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "kernels/cuda/exec.h"

#define SPIN_NS 50000


/* A step whose metadata is written. */
typedef struct {
    uint32_t    parity;
    uint64_t    bytes; /* of metadata */
    cu_bucket_t bucket;
} cu_begun_t;


static int      step_state(k_exec_t *e);
static int      step_meta(k_exec_t *e, const k_batch_t *batch, uint32_t n_drawn, cu_begun_t *b);
static int      step_launch(k_exec_t *e, const cu_begun_t *b);
static int      step_draw(k_exec_t *e, uint32_t parity, uint32_t n);
static int      step_mark(k_exec_t *e, uint32_t parity);
static int      step_clock(k_exec_t *e, uint32_t parity);
static int      step_count(k_exec_t *e, uint32_t parity);
static int      step_settle(k_exec_t *e, uint32_t parity);
static int      step_fail(k_exec_t *e, int rc);
static uint64_t step_ns(void);


/*
 * Begins a step and returns; the batch may change then.  -EINVAL: it breaks a
 * rule of backend.h, nothing was done.
 */
int
cu_step_submit(k_exec_t *e, const k_batch_t *batch)
{
    int        rc;
    cu_begun_t b;

    rc = step_state(e);
    if (rc != 0) {
        return rc;
    }
    if (e->n_ahead != 0) {
        return -EBUSY;
    }

    e->n_logits = 0;

    rc = step_meta(e, batch, 0, &b);
    rc = rc == 0 ? step_launch(e, &b) : rc;
    rc = rc == 0 ? step_mark(e, b.parity) : rc;
    if (rc != 0) {
        return rc;
    }

    e->n_drawn = 0;
    e->n_logits = batch->n_logits;
    e->next ^= 1;

    return 0;
}


int
cu_step_wait(k_exec_t *e)
{
    int rc;

    rc = step_state(e);
    if (rc != 0) {
        return rc;
    }

    return e->n_ahead != 0 ? -EBUSY : step_settle(e, e->next ^ 1);
}


int
cu_step_sample(k_exec_t *e, uint32_t n, const k_sample_t *req, k_sampled_t *out)
{
    int      rc;
    uint32_t i, part, parity;

    rc = step_state(e);
    if (rc != 0) {
        return rc;
    }
    if (e->n_ahead != 0) {
        return -EBUSY;
    }
    if (n == 0) {
        return cu_step_wait(e);
    }

    for (i = 0; i < n; i++) {
        if (req[i].logit >= e->n_logits) {
            return -EINVAL;
        }
    }

    parity = e->next ^ 1;

    for (i = 0; i < n; i += part) {
        part = n - i < e->max_draws ? n - i : e->max_draws;

        /* What passes before the draws are enqueued is not the device's. */
        rc = e->clock ? step_settle(e, parity) : 0;
        rc = rc == 0 ? step_clock(e, parity) : rc;
        if (rc != 0) {
            return rc;
        }

        rc = cu_draw_put(e->draw, parity, part, req + i, e->n_logits, e->be->stream, NULL);

        if (rc == 0) {
            rc = step_draw(e, parity, part);
            rc = rc == 0 ? step_mark(e, parity) : rc;
            rc = rc == 0 ? step_settle(e, parity) : rc;
        } else if (rc == -E2BIG) {
            rc = cu_draw_rounds(e->draw, parity, part, req + i, e->n_logits, e->buf[CU_B_L],
                                e->vocab_ld, e->be->stream);
        }

        if (rc != 0) {
            return rc == -EINVAL ? rc : step_fail(e, rc);
        }
        cu_draw_take(e->draw, parity, part, out + i);
    }

    return 0;
}


int
cu_step_logits(k_exec_t *e, uint32_t i, float *out)
{
    int         rc;
    cudaError_t err;

    rc = step_state(e);
    if (rc != 0) {
        return rc;
    }
    if (e->n_ahead != 0) {
        return -EBUSY;
    }
    if (i >= e->n_logits) {
        return -EINVAL;
    }

    err = cudaMemcpyAsync(out, (float *) e->buf[CU_B_L] + (size_t) i * e->vocab_ld,
                          e->prog.n_vocab * sizeof(float), cudaMemcpyDeviceToHost, e->be->stream);
    if (err == cudaSuccess) {
        err = cudaStreamSynchronize(e->be->stream);
    }

    return err == cudaSuccess ? 0 : step_fail(e, cu_check(err, "reading logits"));
}


/* The time from a step's first copy to its last, by the device's own clock. */
int
cu_step_busy(k_exec_t *e, uint64_t *ns)
{
    int         rc;
    uint32_t    i;
    cudaError_t err;

    rc = step_state(e);
    if (rc != 0) {
        return rc;
    }
    if (e->n_ahead != 0) {
        return -EBUSY;
    }

    err = cudaSuccess;
    for (i = 0; i < 2 && !e->clock && err == cudaSuccess; i++) {
        err = cudaEventCreate(&e->parity[i].from);
        err = err == cudaSuccess ? cudaEventCreate(&e->parity[i].to) : err;
    }
    if (err != cudaSuccess) {
        return cu_check(err, "events to time steps");
    }
    e->clock = 1;

    for (i = 0; i < 2; i++) {
        rc = step_settle(e, i);
        if (rc != 0) {
            return rc;
        }
    }

    *ns = e->busy;
    e->busy = 0;

    return 0;
}


/*
 * -EINVAL: the batch or a request breaks a rule, nothing was done.  -EBUSY:
 * two steps are under way.
 */
int
cu_ahead_submit(k_exec_t *e, const k_batch_t *batch, uint32_t n, const k_sample_t *req)
{
    int         rc, big;
    cudaError_t err;
    cu_begun_t  b;

    rc = step_state(e);
    if (rc != 0) {
        return rc;
    }
    if (e->n_ahead == 2) {
        return -EBUSY;
    }
    if (n > e->max_draws) {
        return -EINVAL;
    }

    rc = step_meta(e, batch, e->n_drawn, &b);
    if (rc != 0) {
        return rc;
    }

    big = 0;
    if (n != 0) {
        rc = cu_draw_put(e->draw, b.parity, n, req, batch->n_logits, e->copies, e->uploaded);
        big = rc == -E2BIG;
        if (rc != 0 && !big) {
            return rc == -EINVAL ? rc : step_fail(e, rc);
        }
    }

    /* From here on nothing but the device can fail. */
    e->n_logits = 0;
    rc = step_launch(e, &b);

    if (rc == 0 && n != 0 && !big) {
        err = cudaStreamWaitEvent(e->be->stream, e->uploaded, 0);
        rc = cu_check(err, "waiting for requests");
        rc = rc == 0 ? step_draw(e, b.parity, n) : step_fail(e, rc);
    }
    if (rc == 0 && big) {
        rc = cu_draw_rounds(e->draw, b.parity, n, req, batch->n_logits, e->buf[CU_B_L], e->vocab_ld,
                            e->be->stream);
        rc = rc == 0 || rc == -EINVAL ? rc : step_fail(e, rc);
    }
    rc = rc == 0 ? step_mark(e, b.parity) : rc;
    if (rc != 0) {
        return rc;
    }

    e->parity[b.parity].n_draws = n;
    e->n_drawn = n;
    e->n_ahead++;
    e->next ^= 1;

    return 0;
}


/* -EINVAL: no step is under way, or the oldest has not n draws. */
int
cu_ahead_collect(k_exec_t *e, uint32_t n, k_sampled_t *out)
{
    int      rc;
    uint32_t parity;

    rc = step_state(e);
    if (rc != 0) {
        return rc;
    }

    parity = e->n_ahead == 2 ? e->next : e->next ^ 1;
    if (e->n_ahead == 0 || n != e->parity[parity].n_draws) {
        return -EINVAL;
    }

    rc = step_settle(e, parity);
    if (rc != 0) {
        return rc;
    }

    e->n_ahead--;
    if (n != 0) {
        cu_draw_take(e->draw, parity, n, out);
    }

    return 0;
}


/* 0, or -EIO: nothing works any more. */
static int
step_state(k_exec_t *e)
{
    return e->failed ? -EIO : cu_bind(e->be);
}


/* Checks the batch; its metadata is in pinned memory then. */
static int
step_meta(k_exec_t *e, const k_batch_t *batch, uint32_t n_drawn, cu_begun_t *b)
{
    int rc;

    b->parity = e->next;

    /* The device may still be reading what was there. */
    rc = step_settle(e, b->parity);
    if (rc != 0) {
        return rc;
    }

    return cu_meta(e, batch, n_drawn, e->parity[b->parity].meta, &b->bytes, &b->bucket);
}


static int
step_launch(k_exec_t *e, const cu_begun_t *b)
{
    int         rc;
    cudaError_t err;

    rc = step_clock(e, b->parity);
    if (rc != 0) {
        return rc;
    }

    err = cudaMemcpyAsync(e->step, e->parity[b->parity].meta, b->bytes, cudaMemcpyHostToDevice,
                          e->be->stream);
    if (err != cudaSuccess) {
        return step_fail(e, cu_check(err, "copying a step's metadata"));
    }

    rc = cu_graph_run(e, &b->bucket);

    return rc == 0 ? 0 : step_fail(e, rc);
}


/* Draws whose requests are on the stream before, and their results' way. */
static int
step_draw(k_exec_t *e, uint32_t parity, uint32_t n)
{
    int      rc;
    uint32_t bucket;

    bucket = cu_bucket_graph(n);
    bucket = bucket < e->max_draws ? bucket : e->max_draws;

    rc = cu_draw_run(e->draw, e->buf[CU_B_L], e->vocab_ld, bucket, e->be->stream);
    rc = rc == 0 ? cu_draw_fetch(e->draw, parity, n, e->be->stream) : rc;

    return rc == 0 ? 0 : step_fail(e, rc);
}


/* What the stream has now is all of the step. */
static int
step_mark(k_exec_t *e, uint32_t parity)
{
    cudaError_t  err;
    cu_parity_t *p;

    p = &e->parity[parity];
    err = cudaSuccess;
    if (e->clock) {
        err = cudaEventRecord(p->to, e->be->stream);
        p->timed = 1;
    }
    if (err == cudaSuccess) {
        err = cudaEventRecord(p->done, e->be->stream);
    }

    return err == cudaSuccess ? 0 : step_fail(e, cu_check(err, "cudaEventRecord"));
}


/* Steps are timed: this one begins. */
static int
step_clock(k_exec_t *e, uint32_t parity)
{
    cudaError_t err;

    if (!e->clock) {
        return 0;
    }
    err = cudaEventRecord(e->parity[parity].from, e->be->stream);

    return err == cudaSuccess ? 0 : step_fail(e, cu_check(err, "cudaEventRecord"));
}


/* It is done. */
static int
step_count(k_exec_t *e, uint32_t parity)
{
    float        ms;
    cudaError_t  err;
    cu_parity_t *p;

    p = &e->parity[parity];
    if (!p->timed) {
        return 0;
    }

    p->timed = 0;
    ms = 0;
    err = cudaEventElapsedTime(&ms, p->from, p->to);
    e->busy += (uint64_t) ((double) ms * 1e6);

    return err == cudaSuccess ? 0 : step_fail(e, cu_check(err, "cudaEventElapsedTime"));
}


/* Waits for the step of this parity, if there ever was one. */
static int
step_settle(k_exec_t *e, uint32_t parity)
{
    uint64_t    until;
    cudaError_t err;

    until = 0;

    for (;;) {
        err = cudaEventQuery(e->parity[parity].done);
        if (err != cudaErrorNotReady) {
            break;
        }
        (void) cudaGetLastError();

        if (until == 0) {
            until = step_ns() + SPIN_NS;
        } else if (step_ns() >= until) {
            err = cudaEventSynchronize(e->parity[parity].done);
            break;
        }
    }

    return err == cudaSuccess ? step_count(e, parity) : step_fail(e, cu_check(err, "a step"));
}


static int
step_fail(k_exec_t *e, int rc)
{
    e->failed = 1;
    e->n_logits = 0;

    return rc == -ENOMEM ? rc : -EIO;
}


static uint64_t
step_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);

    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}
