/*
 * A scheduler over the null backend with a clock of our own, stepped by hand.
 * Every event is checked as it comes: order, and that each token is the one
 * that the null backend draws there from pages that hold just this prefix (its
 * logprobs tell).  After every step the scheduler's invariants must hold.
 */

#ifndef T_SCHED_RIG_H
#define T_SCHED_RIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/sched/sched_priv.h"
#include "kernels/null/null.h"
#include "t/lib/tap.h"
#include "t/sched/rig_ahead.h"

#define RIG_VOCAB   5000
#define RIG_CHOICES 128

typedef struct rig_s rig_t;

typedef struct {
    int      reason; /* FINISH, 0: not yet */
    uint32_t n;
    uint64_t digest; /* of prompt and output */
    int32_t *tokens;
    uint32_t first_step; /* when its first token came */
    uint32_t last_step;
} rig_choice_t;

typedef struct rig_group_s {
    sched_group_t       g;
    rig_t              *rig;
    int32_t            *prompt;
    int                 started;
    int                 gone;
    int                 quiet; /* tokens are not compared */
    uint32_t            cached;
    uint32_t            prompt_seen;
    uint32_t            start_step;
    uint32_t            gone_step;
    uint32_t            order; /* of its start among all */
    rig_choice_t        choices[RIG_CHOICES];
    struct rig_group_s *next;
} rig_group_t;

struct rig_s {
    sched_t        *s;
    sched_model_t  *handle;
    model_t         model;
    model_t        *other; /* a second one, or NULL */
    k_backend_ops_t ops;
    k_backend_t    *be;
    uint64_t        now;
    uint32_t        steps;
    uint32_t        starts;
    uint32_t        calls; /* of events() */
    uint32_t        n_live;
    int             error; /* an event that should not be */
    char            why[200];
    rig_group_t    *groups;
    sched_stats_t   st;
};

typedef struct {
    uint32_t pages;
    uint32_t context;
    uint32_t seqs;
    uint32_t rows;
    uint32_t chunk;
    uint32_t queue;
    uint32_t logits;
    uint32_t mask_threads;
    uint32_t mask_wait_us;
} rig_conf_t;


__attribute__((unused)) static void
rig_bad(rig_t *rig, const char *why)
{
    if (!rig->error) {
        rig->error = 1;
        snprintf(rig->why, sizeof(rig->why), "%s", why);
    }
}


__attribute__((unused)) static uint64_t
rig_now(void *data)
{
    return ((rig_t *) data)->now;
}


static void
rig_token(rig_t *rig, rig_group_t *g, const sched_event_t *ev)
{
    rig_choice_t *c = &g->choices[ev->choice];

    if (ev->index != c->n || c->reason || !g->started) {
        rig_bad(rig, "a token out of order");
    }

    if (c->n >= g->g.max_tokens) {
        rig_bad(rig, "more tokens than were asked for");
        return;
    }

    if (!g->quiet
        && ev->token
               != k_null_token(rig->model.prog.n_vocab, g->g.sampling.seed,
                               g->g.n_tokens + c->n, ev->choice)) {
        rig_bad(rig, "another token than the backend draws there");
    }

    if (g->g.sampling.logprobs
        && (ev->sampled == NULL
            || ev->sampled->logprob != k_null_logprob(c->digest, ev->token))) {
        rig_bad(rig, "a token was drawn after another prefix");
    }

    if (c->n == 0) {
        c->first_step = rig->steps;
    }

    c->last_step = rig->steps;
    c->tokens[c->n++] = ev->token;
    c->digest = k_null_digest(c->digest, ev->token);
}


static void
rig_prompt(rig_t *rig, rig_group_t *g, const sched_event_t *ev)
{
    uint64_t digest = K_NULL_SEED;
    uint32_t i;

    if (ev->index != g->prompt_seen++ || ev->token != g->prompt[ev->index]
        || g->choices[0].n) {
        rig_bad(rig, "a prompt token out of order");
    }

    for (i = 0; i < ev->index; i++) {
        digest = k_null_digest(digest, g->prompt[i]);
    }

    if ((ev->index == 0) != (ev->sampled == NULL)
        || (ev->sampled
            && (ev->sampled->token != ev->token
                || ev->sampled->logprob
                       != k_null_logprob(digest, ev->token)))) {
        rig_bad(rig, "a prompt token was judged after another prefix");
    }
}


static void
rig_events(void *data, const sched_event_t *ev, uint32_t n)
{
    rig_t       *rig = data;
    rig_group_t *g;
    uint32_t     i, c;

    rig->calls++;

    for (i = 0; i < n; i++) {
        g = ev[i].group->data;

        if (g->gone) {
            rig_bad(rig, "an event after the last one");
            return;
        }

        switch (ev[i].kind) {

        case SCHED_EV_START:
            if (g->started++) {
                rig_bad(rig, "started twice");
            }

            g->cached = ev[i].cached;
            g->start_step = rig->steps;
            g->order = ++rig->starts;
            break;

        case SCHED_EV_PROMPT:
            rig_prompt(rig, g, &ev[i]);
            break;

        case SCHED_EV_TOKEN:
            rig_token(rig, g, &ev[i]);
            break;

        case SCHED_EV_FINISH:
            if (g->choices[ev[i].choice].reason) {
                rig_bad(rig, "finished twice");
            }

            g->choices[ev[i].choice].reason = ev[i].reason;
            break;

        case SCHED_EV_GONE:
            for (c = 0; c < g->g.n_choices; c++) {
                if (g->choices[c].reason == 0) {
                    rig_bad(rig, "gone before it was finished");
                }
            }

            g->gone = 1;
            g->gone_step = rig->steps;
            rig->n_live--;
            break;

        default:
            rig_bad(rig, "an unknown event");
        }
    }
}


/* Adds a model over an open backend; rig->model is the first one's. */

__attribute__((unused)) static void
rig_model(rig_t *rig, model_t *model, const rig_conf_t *conf)
{
    char err[K_ERR_MAX];

    memset(model, 0, sizeof(*model));
    model->ops = &rig->ops;
    model->be = rig->be;
    model->prog.n_vocab = RIG_VOCAB;
    model->limits =
        (k_limits_t){conf->rows ? conf->rows : 64, conf->seqs ? conf->seqs : 8,
                     conf->logits ? conf->logits : 32};
    model->n_pages = conf->pages ? conf->pages : 256;
    model->context = conf->context ? conf->context : 4096;

    if (rig->ops.kv_new(rig->be, &model->prog, model->n_pages, &model->kv, err)
            < 0
        || rig->ops.program_prepare(rig->be, &model->prog, model->kv,
                                    &model->limits, &model->exec, err)
               < 0) {
        printf("Bail out! no model\n");
        exit(1);
    }
}


__attribute__((unused)) static void
rig_open(rig_t *rig, const rig_conf_t *conf)
{
    k_config_t     kc = {.memory = 1 << 30};
    sched_config_t sc = {
        .max_seqs = conf->seqs ? conf->seqs : 8,
        .max_rows = conf->rows ? conf->rows : 64,
        .chunk = conf->chunk ? conf->chunk : 32,
        .max_queue = conf->queue ? conf->queue : 64,
        .events = rig_events,
        .data = rig,
        .now = rig_now,
        .mask_threads = conf->mask_threads,
        .mask_wait_us = conf->mask_wait_us,
    };
    char err[K_ERR_MAX];

    memset(rig, 0, sizeof(*rig));
    rig->ops = k_backend_null;
    rig_ahead_use(&rig->ops);
    rig->now = 1000000000;

    if (rig->ops.open(&kc, &rig->be, err) < 0 || sched_new(&sc, &rig->s) < 0) {
        printf("Bail out! no scheduler\n");
        exit(1);
    }

    rig_model(rig, &rig->model, conf);

    if (sched_model_add(rig->s, &rig->model, &rig->handle) < 0) {
        printf("Bail out! no model\n");
        exit(1);
    }
}


__attribute__((unused)) static void
rig_model_free(rig_t *rig, model_t *model)
{
    rig->ops.program_free(model->exec);
    rig->ops.kv_free(rig->be, model->kv);
}


__attribute__((unused)) static void
rig_group_free(rig_group_t *g)
{
    uint32_t i;

    for (i = 0; i < g->g.n_choices; i++) {
        free(g->choices[i].tokens);
    }

    free(g->prompt);
    free(g);
}


/* A group with a prompt of n tokens: base, base + 1, ...; seed = base. */

__attribute__((unused)) static rig_group_t *
rig_group(rig_t *rig, int32_t base, uint32_t n, uint32_t n_choices,
          uint32_t max_tokens)
{
    rig_group_t *g = calloc(1, sizeof(rig_group_t));
    uint32_t     i;

    g->rig = rig;
    g->prompt = calloc(n, sizeof(int32_t));

    for (i = 0; i < n; i++) {
        g->prompt[i] = (int32_t) ((uint32_t) base + i) % RIG_VOCAB;
    }

    g->g = (sched_group_t){
        .model = rig->handle,
        .tokens = g->prompt,
        .n_tokens = n,
        .n_choices = n_choices,
        .max_tokens = max_tokens,
        .sampling = {.temperature = 1,
                     .top_p = 1,
                     .repetition = 1,
                     .seed = (uint64_t) base,
                     .logprobs = 1},
        .data = g,
    };

    g->next = rig->groups;
    rig->groups = g;

    return g;
}


/* Hands it over; 0 or -errno. */

__attribute__((unused)) static int
rig_submit(rig_t *rig, rig_group_t *g)
{
    uint32_t i, k;
    int      rc;

    for (i = 0; i < g->g.n_choices && i < RIG_CHOICES; i++) {
        free(g->choices[i].tokens);
        g->choices[i].tokens = calloc(g->g.max_tokens, sizeof(int32_t));
        g->choices[i].digest = K_NULL_SEED;

        for (k = 0; k < g->g.n_tokens; k++) {
            g->choices[i].digest =
                k_null_digest(g->choices[i].digest, g->prompt[k]);
        }
    }

    rig->n_live++;
    rc = sched_submit(rig->s, &g->g);
    rig->n_live -= rc < 0;

    return rc;
}


__attribute__((unused)) static int
rig_step(rig_t *rig)
{
    const char *bad;
    int         rc;

    rig->steps++;
    rc = sched_step(rig->s);
    sched_stats(rig->s, &rig->st);

    bad = sched_check(rig->s);
    if (bad) {
        rig_bad(rig, bad);
    }

    return rc;
}


/* Steps until nothing is left to do; 0: it came to rest. */

__attribute__((unused)) static int
rig_run(rig_t *rig, uint32_t max_steps)
{
    uint32_t i;

    for (i = 0; i < max_steps; i++) {
        if (rig_step(rig) == 0) {
            return 0;
        }
    }

    rig_bad(rig, "it does not come to rest");

    return -1;
}


/* Ends everything; ok if nothing was wrong and no page is lost. */

__attribute__((unused)) static void
rig_close(rig_t *rig, const char *name)
{
    rig_group_t *g;
    uint64_t     lost;

    rig_step(rig);
    lost = rig->n_live ? 0 : rig->st.pages - rig->st.pages_free;

    sched_end(rig->s);

    ok(!rig->error, "%s: events and invariants", name);
    if (rig->error) {
        diag("%s; %s", rig->why, rig->ops.describe(rig->be));
    }

    ok(lost == 0 && rig->n_live == 0, "%s: no page, no group is lost", name);

    while (rig->groups) {
        g = rig->groups;
        rig->groups = g->next;
        rig_group_free(g);
    }

    if (rig->other) {
        rig_model_free(rig, rig->other);
    }

    rig_model_free(rig, &rig->model);
    rig->ops.close(rig->be);
}

#endif /* T_SCHED_RIG_H */
