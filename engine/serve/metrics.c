/*
 * Counters and histograms of the engine, in Prometheus' text format, under
 * vLLM's names, so that its dashboards, autoscalers and gateways fit.  io
 * thread.
 */

#include <stdio.h>
#include <stdlib.h>
#include "engine/serve/serve.h"

#define METRICS_ABORT 6
#define METRICS_ERROR 7

static const double bounds_ttft[] = {.001, .005, .01, .02, .04, .06, .08, .1,
                                     .25,  .5,   .75, 1,   2.5, 5,   7.5, 10,
                                     20,   40,   80,  160, 640, 2560};
static const double bounds_itl[] = {.01, .025, .05, .075, .1, .15, .2,
                                    .3,  .4,   .5,  .75,  1,  2.5, 5,
                                    7.5, 10,   20,  40,   80};
static const double bounds_latency[] = {.3, .5,  .8,  1,   1.5, 2,    2.5,
                                        5,  10,  15,  20,  30,  40,   50,
                                        60, 120, 240, 480, 960, 1920, 7680};
static const double bounds_tokens[] = {1,     2,     5,     10,    20,   50,
                                       100,   200,   500,   1000,  2000, 5000,
                                       10000, 20000, 50000, 100000};
static const double bounds_n[] = {1, 2, 5, 10, 20};

static void hist_init(hist_t *h, const double *bounds, uint32_t n);
static void hist_add(hist_t *h, double value);
static void hist_write(buf_t *out, const char *name, const char *help,
                       const char *label, const hist_t *h);
static void metrics_grammars(serve_t *s, const sched_stats_t *st, buf_t *out,
                             const char *label);
static void metric_write(buf_t *out, const char *type, const char *name,
                         const char *help, const char *label, double value);


void
metrics_init(metrics_t *m)
{
    hist_init(&m->ttft, bounds_ttft, llm_countof(bounds_ttft));
    hist_init(&m->itl, bounds_itl, llm_countof(bounds_itl));
    hist_init(&m->e2e, bounds_latency, llm_countof(bounds_latency));
    hist_init(&m->queue, bounds_latency, llm_countof(bounds_latency));
    hist_init(&m->prefill, bounds_latency, llm_countof(bounds_latency));
    hist_init(&m->decode, bounds_latency, llm_countof(bounds_latency));
    hist_init(&m->inference, bounds_latency, llm_countof(bounds_latency));
    hist_init(&m->prompt, bounds_tokens, llm_countof(bounds_tokens));
    hist_init(&m->generation, bounds_tokens, llm_countof(bounds_tokens));
    hist_init(&m->params_n, bounds_n, llm_countof(bounds_n));
    hist_init(&m->params_max, bounds_tokens, llm_countof(bounds_tokens));
}


static void
hist_init(hist_t *h, const double *bounds, uint32_t n)
{
    *h = (hist_t){.bounds = bounds, .n = n};
}


static void
hist_add(hist_t *h, double value)
{
    uint32_t i;

    for (i = 0; i < h->n && value > h->bounds[i]; i++) {
        /* void */
    }

    h->counts[i]++;
    h->sum += value;
}


void
metrics_token(metrics_t *m, double seconds)
{
    hist_add(&m->itl, seconds);
}


/* A request has ended. */

void
metrics_request(serve_t *s, const req_t *r, uint64_t now_ns)
{
    metrics_t *m = &s->metrics;

    if (r->outcome == LLM_END_CANCELLED) {
        m->finished[METRICS_ABORT]++;
        return;
    }

    if (r->outcome != LLM_END_DONE) {
        m->finished[METRICS_ERROR]++;
        return;
    }

    m->finished[r->finish]++;

    hist_add(&m->e2e, (double) (now_ns - r->arrived_ns) / 1e9);
    hist_add(&m->prompt, r->prompt_tokens);
    hist_add(&m->generation, r->usage.completion_tokens);
    hist_add(&m->params_n, r->request.n);
    hist_add(&m->params_max, r->max_tokens);

    if (r->first_ns && r->start_ns) {
        hist_add(&m->ttft, (double) (r->first_ns - r->arrived_ns) / 1e9);
        hist_add(&m->queue, (double) (r->start_ns - r->arrived_ns) / 1e9);
        hist_add(&m->prefill, (double) (r->first_ns - r->start_ns) / 1e9);
        hist_add(&m->decode, (double) (r->last_ns - r->first_ns) / 1e9);
        hist_add(&m->inference, (double) (r->last_ns - r->start_ns) / 1e9);
    }
}


void
metrics_write(serve_t *s, buf_t *out)
{
    static const char *const reasons[] = {
        NULL, "stop",  "length", "tool_calls", "content_filter",
        NULL, "abort", "error"};
    const metrics_t *m = &s->metrics;
    sched_stats_t    st;
    const char      *name = models_name(s);
    uint64_t         size, used;
    buf_t            label = {0};
    size_t           i;

    sched_stats(s->sched, &st);
    s->ops->memory(s->be, &size, &used);

    buf_str(&label, "model_name=");
    buf_json(&label, name, strlen(name));
    buf_str(&label, ",engine=\"0\"");
    buf_add(&label, "", 1);

    if (label.failed) {
        out->failed = 1;
        buf_free(&label);
        return;
    }

    metric_write(out, "gauge", "vllm:num_requests_running",
                 "Sequences in the batch.", label.data, st.running);
    metric_write(out, "gauge", "vllm:num_requests_waiting",
                 "Requests that wait for their turn.", label.data,
                 st.waiting + s->waiting);
    metric_write(out, "gauge", "vllm:kv_cache_usage_perc",
                 "Share of the KV pages in use, 0 to 1.", label.data,
                 st.pages ? 1.0 - (double) st.pages_free / (double) st.pages
                          : 0);
    metric_write(out, "counter", "vllm:prompt_tokens_total",
                 "Prompt tokens of admitted requests.", label.data,
                 (double) st.prompt_tokens);
    metric_write(out, "counter", "vllm:generation_tokens_total",
                 "Tokens generated.", label.data, (double) st.generated_tokens);
    metric_write(out, "counter", "vllm:prefix_cache_queries_total",
                 "Prompt tokens looked up in the prefix cache.", label.data,
                 (double) st.prefix_queries);
    metric_write(out, "counter", "vllm:prefix_cache_hits_total",
                 "Prompt tokens found in the prefix cache.", label.data,
                 (double) st.prefix_hits);
    metric_write(out, "counter", "vllm:num_preemptions_total",
                 "Sequences preempted.", label.data, (double) st.preemptions);

    buf_str(out, "# HELP vllm:cache_config_info The KV cache.\n"
                 "# TYPE vllm:cache_config_info gauge\n");
    buf_fmt(out,
            "vllm:cache_config_info{%s,block_size=\"%d\","
            "num_gpu_blocks=\"%llu\"} 1\n",
            label.data, K_PAGE_TOKENS, (unsigned long long) st.pages);

    buf_str(out, "# HELP vllm:request_success_total Requests ended.\n"
                 "# TYPE vllm:request_success_total counter\n");

    for (i = 0; i < llm_countof(reasons); i++) {
        if (reasons[i]) {
            buf_fmt(out,
                    "vllm:request_success_total{%s,finished_reason=\"%s\"} "
                    "%llu\n",
                    label.data, reasons[i],
                    (unsigned long long) m->finished[i]);
        }
    }

    hist_write(out, "vllm:time_to_first_token_seconds",
               "From arrival to the first token.", label.data, &m->ttft);
    hist_write(out, "vllm:inter_token_latency_seconds",
               "Between two tokens of a request.", label.data, &m->itl);
    hist_write(out, "vllm:time_per_output_token_seconds",
               "The same, under its older name.", label.data, &m->itl);
    hist_write(out, "vllm:e2e_request_latency_seconds",
               "From arrival to the end.", label.data, &m->e2e);
    hist_write(out, "vllm:request_queue_time_seconds",
               "From arrival to the first prefill.", label.data, &m->queue);
    hist_write(out, "vllm:request_prefill_time_seconds",
               "From the first prefill to the first token.", label.data,
               &m->prefill);
    hist_write(out, "vllm:request_decode_time_seconds",
               "From the first token to the last.", label.data, &m->decode);
    hist_write(out, "vllm:request_inference_time_seconds",
               "From the first prefill to the last token.", label.data,
               &m->inference);
    hist_write(out, "vllm:request_prompt_tokens", "Prompt tokens.", label.data,
               &m->prompt);
    hist_write(out, "vllm:request_generation_tokens", "Tokens generated.",
               label.data, &m->generation);
    hist_write(out, "vllm:request_params_n", "Choices asked for.", label.data,
               &m->params_n);
    hist_write(out, "vllm:request_params_max_tokens", "Most tokens allowed.",
               label.data, &m->params_max);

    metric_write(out, "counter", "ngx_llm_steps_total",
                 "Steps of the step loop.", label.data, (double) st.steps);
    metric_write(out, "counter", "ngx_llm_step_seconds_total",
                 "Time spent in steps.", label.data, (double) st.busy_ns / 1e9);
    metrics_grammars(s, &st, out, label.data);

    metric_write(out, "gauge", "ngx_llm_engine_requests",
                 "Requests that the engine holds, in any phase.", label.data,
                 s->live - 1.0);
    metric_write(out, "gauge", "ngx_llm_kv_pages", "KV pages.", label.data,
                 (double) st.pages);
    metric_write(out, "gauge", "ngx_llm_kv_pages_free",
                 "KV pages that are free or hold cached prefixes only.",
                 label.data, (double) st.pages_free);
    metric_write(out, "gauge", "ngx_llm_memory_bytes", "The engine's arena.",
                 label.data, (double) size);
    metric_write(out, "gauge", "ngx_llm_memory_used_bytes",
                 "What of it is in use.", label.data, (double) used);

    buf_free(&label);
}


static void
metrics_grammars(serve_t *s, const sched_stats_t *st, buf_t *out,
                 const char *label)
{
    metric_write(out, "counter", "ngx_llm_grammars_total", "Grammars compiled.",
                 label, (double) atomic_load(&s->grammar_stats.made));
    metric_write(out, "counter", "ngx_llm_grammars_refused_total",
                 "Grammars that were refused: faulty, or over a limit.", label,
                 (double) atomic_load(&s->grammar_stats.refused));
    metric_write(out, "counter", "ngx_llm_grammar_cache_hits_total",
                 "Requests whose grammar had been compiled before.", label,
                 (double) atomic_load(&s->grammar_stats.found));
    metric_write(out, "counter", "ngx_llm_grammar_seconds_total",
                 "Time spent compiling grammars.", label,
                 (double) atomic_load(&s->grammar_stats.ns) / 1e9);
    metric_write(out, "counter", "ngx_llm_masks_total", "Token masks made.",
                 label, (double) st->masks);
    metric_write(out, "counter", "ngx_llm_mask_seconds_total",
                 "Time spent making masks.", label, (double) st->mask_us / 1e6);
    metric_write(out, "gauge", "ngx_llm_mask_seconds_max",
                 "The longest that a mask took.", label,
                 (double) st->mask_max_us / 1e6);
    metric_write(out, "counter", "ngx_llm_masks_late_total",
                 "Draws put off for want of a mask.", label,
                 (double) st->masks_late);
    metric_write(out, "counter", "ngx_llm_forced_tokens_total",
                 "Tokens that a grammar forced: not drawn.", label,
                 (double) st->forced);
    metric_write(out, "counter", "ngx_llm_redrawn_tokens_total",
                 "Tokens drawn again, as the grammar refused the first.", label,
                 (double) st->redrawn);
}


static void
metric_write(buf_t *out, const char *type, const char *name, const char *help,
             const char *label, double value)
{
    buf_fmt(out, "# HELP %s %s\n# TYPE %s %s\n%s{%s} %.15g\n", name, help, name,
            type, name, label, value);
}


static void
hist_write(buf_t *out, const char *name, const char *help, const char *label,
           const hist_t *h)
{
    uint64_t total = 0;
    uint32_t i;

    buf_fmt(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);

    for (i = 0; i <= h->n; i++) {
        total += h->counts[i];

        if (i < h->n) {
            buf_fmt(out, "%s_bucket{%s,le=\"%g\"} %llu\n", name, label,
                    h->bounds[i], (unsigned long long) total);
        }
    }

    buf_fmt(out, "%s_bucket{%s,le=\"+Inf\"} %llu\n", name, label,
            (unsigned long long) total);
    buf_fmt(out, "%s_sum{%s} %.9g\n%s_count{%s} %llu\n", name, label, h->sum,
            name, label, (unsigned long long) total);
}
