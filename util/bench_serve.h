/*
 * llm-bench: serving mixes through the real scheduler, without server or
 * tokenizer: N requests of some prompt and answer length are all there at
 * once, and the scheduler makes of them what it can.
 *
 * The backend's calls are timed on the way (bench_calls): what the loop does
 * between them is the host's work of a step.  One thread steps the scheduler.
 */

#ifndef LLM_UTIL_BENCH_SERVE_H
#define LLM_UTIL_BENCH_SERVE_H

#include "engine/sched/sched.h"
#include "util/tool.h"

typedef struct {
    uint64_t wait_ns; /* in calls that wait for the device */
    uint64_t steps;
} bench_calls_t;

typedef struct {
    sched_group_t group;
    int32_t      *tokens;
    uint64_t      first_ns;
} bench_request_t;

typedef struct {
    uint32_t         n;
    uint32_t         gone;
    uint64_t         tokens; /* told */
    uint64_t         start;
    bench_request_t *requests;
} bench_serve_t;

typedef struct {
    double output;   /* tokens a second */
    double total;    /* with the prompts' */
    double first_ms; /* median of the first token's time */
    double host_us;  /* of the loop, a step */
    double seconds;
    double steps;
} bench_mix_t;

static bench_calls_t          bench_calls;
static const k_backend_ops_t *bench_ops; /* the real ones */


static int
bench_step_submit(k_exec_t *e, const k_batch_t *b)
{
    /* Of a backend that computes in this call it is all waiting. */
    uint64_t start = llm_now_ns();
    int      rc = bench_ops->step_submit(e, b);

    bench_calls.wait_ns += bench_ops->ahead_submit ? 0 : llm_now_ns() - start;
    bench_calls.steps++;

    return rc;
}


static int
bench_step_wait(k_exec_t *e)
{
    uint64_t start = llm_now_ns();
    int      rc = bench_ops->step_wait(e);

    bench_calls.wait_ns += llm_now_ns() - start;

    return rc;
}


static int
bench_sample(k_exec_t *e, uint32_t n, const k_sample_t *req, k_sampled_t *out)
{
    uint64_t start = llm_now_ns();
    int      rc = bench_ops->sample(e, n, req, out);

    bench_calls.wait_ns += llm_now_ns() - start;

    return rc;
}


static int
bench_ahead_submit(k_exec_t *e, const k_batch_t *b, uint32_t n,
                   const k_sample_t *req)
{
    bench_calls.steps++;

    return bench_ops->ahead_submit(e, b, n, req);
}


static int
bench_ahead_collect(k_exec_t *e, uint32_t n, k_sampled_t *out)
{
    uint64_t start = llm_now_ns();
    int      rc = bench_ops->ahead_collect(e, n, out);

    bench_calls.wait_ns += llm_now_ns() - start;

    return rc;
}


/* The same calls, timed. */

static void
bench_timed(const k_backend_ops_t *ops, k_backend_ops_t *timed)
{
    bench_ops = ops;
    *timed = *ops;
    timed->step_submit = bench_step_submit;
    timed->step_wait = bench_step_wait;
    timed->sample = bench_sample;

    if (ops->ahead_submit) {
        timed->ahead_submit = bench_ahead_submit;
        timed->ahead_collect = bench_ahead_collect;
    }
}


static void
bench_events(void *data, const sched_event_t *ev, uint32_t n)
{
    bench_serve_t   *b = data;
    bench_request_t *r;
    uint32_t         i;

    for (i = 0; i < n; i++) {
        r = ev[i].group->data;

        if (ev[i].kind == SCHED_EV_TOKEN) {
            b->tokens++;
            if (r->first_ns == 0) {
                r->first_ns = ev[i].now_ns - b->start;
            }

        } else if (ev[i].kind == SCHED_EV_FINISH
                   && ev[i].reason != SCHED_LENGTH) {
            tool_die(1, "a request ended by %d", ev[i].reason);

        } else if (ev[i].kind == SCHED_EV_GONE) {
            b->gone++;
        }
    }
}


static int
bench_first_less(const void *a, const void *b)
{
    const bench_request_t *x = a, *y = b;

    return x->first_ns < y->first_ns ? -1 : x->first_ns > y->first_ns;
}


/* n requests of so many tokens; m->ops is what bench_timed() made. */

static bench_mix_t
bench_mix(model_t *m, uint32_t prompt, uint32_t answer, uint32_t n,
          uint32_t chunk)
{
    bench_serve_t    b = {.n = n};
    sched_config_t   sc = {.max_seqs = m->limits.seqs,
                           .max_rows = m->limits.rows,
                           .chunk = chunk,
                           .max_queue = n,
                           .events = bench_events,
                           .data = &b};
    sched_t         *s;
    sched_model_t   *handle;
    bench_request_t *r;
    bench_mix_t      mix;
    uint64_t         now;
    uint32_t         i, k, seed = 1;
    int              rc;

    b.requests = calloc(n, sizeof(*b.requests));
    if (b.requests == NULL || sched_new(&sc, &s) < 0
        || sched_model_add(s, m, &handle) < 0) {
        tool_die(1, "no memory");
    }

    for (i = 0; i < n; i++) {
        r = &b.requests[i];
        r->tokens = malloc(prompt * sizeof(int32_t));
        if (r->tokens == NULL) {
            tool_die(1, "no memory");
        }

        for (k = 0; k < prompt; k++) {
            seed = seed * 1664525 + 1013904223;
            r->tokens[k] = (int32_t) ((seed >> 8) % m->prog.n_vocab);
        }

        r->group = (sched_group_t){.model = handle,
                                   .tokens = r->tokens,
                                   .n_tokens = prompt,
                                   .n_choices = 1,
                                   .max_tokens = answer,
                                   .sampling = {.temperature = 1,
                                                .top_p = 1,
                                                .repetition = 1,
                                                .seed = i,
                                                .ignore_eos = 1},
                                   .data = r};
    }

    bench_calls = (bench_calls_t){0};
    b.start = llm_now_ns();

    for (i = 0; i < n; i++) {
        rc = sched_submit(s, &b.requests[i].group);
        if (rc < 0) {
            tool_die(1, "a request is refused: %s", strerror(-rc));
        }
    }

    while (b.gone < n) {
        rc = sched_step(s);
        if (rc < 0) {
            tool_die(1, "a step failed: %s", strerror(-rc));
        }

        if (isatty(2) && bench_calls.steps % 64 == 0) {
            fprintf(stderr, "\r%s: %u of %u requests", tool_name, b.gone, n);
        }
    }

    now = llm_now_ns();
    sched_end(s);

    if (isatty(2)) {
        fprintf(stderr, "\r%50s\r", "");
    }

    qsort(b.requests, n, sizeof(*b.requests), bench_first_less);

    mix.seconds = (double) (now - b.start) / 1e9;
    mix.output = (double) b.tokens / mix.seconds;
    mix.total = ((double) b.tokens + (double) n * prompt) / mix.seconds;
    mix.first_ms = (double) b.requests[n / 2].first_ns / 1e6;
    mix.steps = (double) bench_calls.steps;
    mix.host_us = (double) (now - b.start - bench_calls.wait_ns) / 1e3
                  / (mix.steps > 0 ? mix.steps : 1);

    for (i = 0; i < n; i++) {
        free(b.requests[i].tokens);
    }

    free(b.requests);

    return mix;
}

#endif /* LLM_UTIL_BENCH_SERVE_H */
