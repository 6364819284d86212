/*
 * Sequences under a grammar, against what they must come to: with no mask
 * thread, with some, with masks that come late, under pressure of pages, with
 * pauses.  The grammars are toys (toy.h).
 */

#include <math.h>
#include "t/sched/toy.h"

static void test_basic(void);
static void test_forced(void);
static void test_forced_same(void);
static void test_budget(void);
static void test_ends(void);
static void test_bias(void);
static void test_failures(void);
static void test_together(void);
static void test_cancel(void);
static void test_matrix(void);
static int  compare(const rig_group_t *g);

static const int32_t eog[] = {TOY_EOG};
static const int32_t think_end[] = {TOY_THINK};


int
main(void)
{
    test_basic();
    test_forced();
    test_forced_same();
    test_budget();
    test_ends();
    test_bias();
    test_failures();
    test_together();
    test_cancel();
    test_matrix();

    return tap_done();
}


static rig_group_t *
constrained(rig_t *rig, grammar_t *g, int32_t base, uint32_t n,
            uint32_t choices, uint32_t max)
{
    rig_group_t *r = rig_group(rig, base, n, choices, max);

    r->g.grammar = g;
    r->g.eog = eog;
    r->g.n_eog = 1;
    r->quiet = 1;

    return r;
}


/* How many choices came to something else than they must. */

static int
compare(const rig_group_t *g)
{
    int32_t  out[4096];
    uint32_t i, k, n, max;
    int      reason, wrong = 0;

    max = g->rig->model.context - g->g.n_tokens;
    max = max < g->g.max_tokens ? max : g->g.max_tokens;

    for (i = 0; i < g->g.n_choices; i++) {
        reason = toy_expect(g, i, max, out, &n);

        if (g->choices[i].reason != reason || g->choices[i].n != n
            || memcmp(g->choices[i].tokens, out, n * sizeof(int32_t)) != 0) {
            for (k = 0; k < n && k < g->choices[i].n
                        && g->choices[i].tokens[k] == out[k];
                 k++) {
                /* void */
            }

            diag("%s: choice %u: %u tokens, reason %d; not %u, %d; %u are as "
                 "they should be",
                 g->g.grammar->script, i, g->choices[i].n, g->choices[i].reason,
                 n, reason, k);
            wrong++;
        }
    }

    return wrong;
}


/* Runs one script and compares. */

static uint32_t
run_one(const char *name, const char *script, const rig_conf_t *conf,
        uint32_t prompt, uint32_t choices, uint32_t max, int logprobs)
{
    rig_t        rig;
    grammar_t    g = {.script = script};
    rig_group_t *r;
    uint32_t     steps;

    rig_open(&rig, conf);
    r = constrained(&rig, &g, 40, prompt, choices, max);
    r->g.sampling.logprobs = logprobs;
    is_int(rig_submit(&rig, r), 0, "%s: %s", name, script);
    rig_run(&rig, 100000);
    is_int(compare(r), 0, "%s: what the grammar says", name);
    steps = rig.steps;
    rig_close(&rig, name);
    is_int(atomic_load(&g.refs) + atomic_load(&g.states), 0,
           "%s: nothing is held", name);
    is_int(atomic_load(&g.crowded), 0, "%s: one thread at a time", name);

    return steps;
}


static void
test_basic(void)
{
    rig_conf_t conf = {0};

    run_one("mask", "cccccccc", &conf, 40, 1, 100, 1);
    run_one("mask, choices", "cccccccc", &conf, 40, 5, 100, 1);
    run_one("length", "cccccccc", &conf, 40, 3, 6, 1);
    run_one("exact", "cccccccc", &conf, 40, 3, 8, 1);
    run_one("free text", "FccFc", &conf, 40, 1, 100, 1);
    run_one("free text, choices", "FccFc", &conf, 40, 6, 100, 1);
    run_one("free text, length", "Fcc", &conf, 40, 6, 3, 1);
    run_one("reasoning", "RRR", &conf, 40, 2, 90, 1);
    run_one("may end", "cecececececec", &conf, 40, 4, 90, 1);
}


static void
test_forced(void)
{
    rig_conf_t conf = {0};
    uint32_t   with, without;

    run_one("forced", "cffffffc", &conf, 40, 1, 100, 0);
    run_one("forced, logprobs", "cffffffc", &conf, 40, 1, 100, 1);
    run_one("forced first", "ffffc", &conf, 40, 1, 100, 0);
    run_one("forced first, logprobs", "ffffc", &conf, 40, 1, 100, 1);
    run_one("forced first, choices", "ffffcc", &conf, 40, 5, 100, 0);
    run_one("forced first, choices, logprobs", "ffffccfff", &conf, 40, 5, 100,
            1);
    run_one("forced, length", "ccfffffffccc", &conf, 40, 3, 5, 1);
    run_one("forced only", "fffff", &conf, 40, 3, 100, 1);
    run_one("forced only, no logprobs", "fffff", &conf, 40, 3, 100, 0);
    run_one("forced only, to the last", "fffff", &conf, 40, 2, 5, 1);

    with = run_one(
        "many forced",
        "cffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffc",
        &conf, 10, 1, 1000, 1);
    without = run_one("nothing forced",
                      "ccccccccccccccccccccccccccccccccccccccccccccccccccccc"
                      "ccccccccccccccccccccccccccccccccccccccccccccccccccccc"
                      "cccccccccccccccccccccccccccccccccccccc",
                      &conf, 10, 1, 1000, 1);
    ok(with < 15 && without > 100, "forced tokens take few steps: %u, %u", with,
       without);

    conf.logits = 9;
    run_one("few logits", "cffffffffffffffffffffffffffffffffffcfffff", &conf,
            100, 4, 100, 1);

    conf.context = 60;
    run_one("context", "cfffffffffffffffffffffffffffffffffffff", &conf, 40, 2,
            100, 1);
}


/* What is forced is what would be drawn. */

static void
test_forced_same(void)
{
    rig_t        rig;
    grammar_t    a = {.script = "cffcfffcffffecccfFfff"}, b = a;
    rig_group_t *r[2];
    uint32_t     i, wrong = 0;

    b.unforced = 1;
    rig_open(&rig, &(rig_conf_t){0});
    r[0] = constrained(&rig, &a, 77, 50, 4, 100);
    r[1] = constrained(&rig, &b, 77, 50, 4, 100);
    rig_submit(&rig, r[0]);
    rig_submit(&rig, r[1]);
    rig_run(&rig, 1000);

    for (i = 0; i < 4; i++) {
        wrong += r[0]->choices[i].n != r[1]->choices[i].n
                 || memcmp(r[0]->choices[i].tokens, r[1]->choices[i].tokens,
                           r[0]->choices[i].n * sizeof(int32_t));
    }

    is_int(wrong, 0, "forced or drawn: the same tokens");
    ok(rig.st.forced > 0, "forced: counted");
    ok(rig.st.masks > 0 && rig.st.redrawn > 0, "masks: counted");
    is_int(rig.st.generated_tokens,
           r[0]->choices[0].n + r[0]->choices[1].n + r[0]->choices[2].n
               + r[0]->choices[3].n + r[1]->choices[0].n + r[1]->choices[1].n
               + r[1]->choices[2].n + r[1]->choices[3].n,
           "tokens: counted");
    rig_close(&rig, "forced or drawn");
}


static void
test_budget(void)
{
    static const int32_t odd[] = {TOY_THINK, 11, 12};
    static const char   *scripts[] = {"Rcccc", "Tcccc", "FRffc", "RRc"};
    rig_t                rig;
    grammar_t            g[4];
    rig_group_t         *r;
    uint32_t             i, budget;
    int                  wrong = 0;

    rig_open(&rig, &(rig_conf_t){0});

    for (i = 0; i < 4; i++) {
        g[i] = (grammar_t){.script = scripts[i]};

        for (budget = 0; budget < 4; budget++) {
            r = constrained(&rig, &g[i], 50, 33, 3, 60);
            r->g.think_budget = budget * 3;
            r->g.think_end = budget < 3 ? think_end : odd;
            r->g.n_think_end = budget < 3 ? 1 : 3;
            rig_submit(&rig, r);
        }
    }

    rig_run(&rig, 1000);

    for (r = rig.groups; r; r = r->next) {
        wrong += compare(r);
    }

    is_int(wrong, 0, "budget: reasoning ends by it");
    rig_close(&rig, "budget");
}


static void
test_ends(void)
{
    rig_t        rig;
    grammar_t    g = {.script = "cccc"}, h = {.script = "cccFff"};
    rig_group_t *r, *p;

    /* At once: the step of the last token is the last one. */
    rig_open(&rig, &(rig_conf_t){0});
    r = constrained(&rig, &g, 40, 10, 1, 100);
    rig_submit(&rig, r);
    rig_run(&rig, 100);
    is_int(r->choices[0].reason, SCHED_STOP, "end: nothing can come");
    is_int(r->choices[0].last_step, r->gone_step, "end: without a step more");
    is_int(r->gone_step, 4, "end: a step a token");

    p = constrained(&rig, &h, 60, 90, 3, 100);
    p->g.prompt_logprobs = 1;
    rig_submit(&rig, p);
    rig_run(&rig, 100);
    is_int(compare(p), 0, "prompt logprobs: and a grammar");
    is_int(p->prompt_seen, 90, "prompt logprobs: all of them");
    h.script = "fff";
    p = constrained(&rig, &h, 61, 90, 3, 100);
    p->g.prompt_logprobs = 1;
    rig_submit(&rig, p);
    rig_run(&rig, 100);
    is_int(compare(p), 0, "prompt logprobs: and forced tokens only");
    is_int(p->prompt_seen, 90, "prompt logprobs: all of them");
    p = constrained(&rig, &h, 62, 90, 3, 100);
    p->g.prompt_logprobs = 1;
    p->g.sampling.logprobs = 0;
    rig_submit(&rig, p);
    rig_run(&rig, 100);
    is_int(compare(p), 0, "prompt logprobs: of the prompt only");
    is_int(p->prompt_seen, 90, "prompt logprobs: all of them");
    h.script = "";
    p = constrained(&rig, &h, 63, 90, 3, 100);
    p->g.prompt_logprobs = 1;
    rig_submit(&rig, p);
    rig_run(&rig, 100);
    is_int(compare(p), 0, "prompt logprobs: and nothing else");
    is_int(p->prompt_seen, 90, "prompt logprobs: all of them");
    rig_close(&rig, "end");
}


static void
test_bias(void)
{
    static k_bias_t bias[RIG_VOCAB];
    rig_t           rig;
    grammar_t       g[3] = {{.script = "cccc"},
                            {.script = "eeo"},
                            {.script = "FccFo"}};
    rig_group_t    *r;
    int             wrong = 0;
    uint32_t        i;

    for (i = 0; i < RIG_VOCAB; i++) {
        bias[i] = (k_bias_t){(int32_t) i, -INFINITY};
    }

    rig_open(&rig, &(rig_conf_t){0});

    r = constrained(&rig, &g[0], 40, 20, 2, 100);
    r->g.sampling.bias = bias;
    r->g.sampling.n_bias = RIG_VOCAB;
    rig_submit(&rig, r);
    rig_run(&rig, 100);
    is_int(compare(r), 0, "bias: the mask is the stronger");

    r = constrained(&rig, &g[0], 41, 20, 2, 100);
    r->g.sampling.bias = bias;
    r->g.sampling.n_bias = 3000;
    rig_submit(&rig, r);
    rig_run(&rig, 100);
    is_int(compare(r), 0, "bias: counts among what is allowed");

    for (i = 0; i < 3; i++) {
        r = constrained(&rig, &g[i], 42, 20, 3, 100);
        r->g.sampling.ignore_eos = 1;
        rig_submit(&rig, r);
        rig_run(&rig, 100);
        wrong += compare(r);
    }

    is_int(wrong, 0, "ignore_eos: the end only where nothing else is left");
    rig_close(&rig, "bias");
}


static void
test_failures(void)
{
    static const char *scripts[] = {"ccx",  "ccE", "ccA", "FFx", "FE",
                                    "fffA", "x",   "E",   "A",   "FA"};
    rig_t              rig;
    grammar_t          g[10], fine = {.script = "cccccccccccccccccccc"};
    rig_group_t       *r, *a, *b;
    uint32_t           i, threads;
    int                wrong = 0;

    for (threads = 0; threads < 3; threads += 2) {
        rig_open(&rig, &(rig_conf_t){.seqs = 32,
                                     .mask_threads = threads,
                                     .mask_wait_us = 100});
        a = constrained(&rig, &fine, 900, 20, 2, 30);
        b = rig_group(&rig, 901, 20, 2, 30);
        rig_submit(&rig, a);
        rig_submit(&rig, b);

        for (i = 0; i < 10; i++) {
            g[i] = (grammar_t){.script = scripts[i]};
            r = constrained(&rig, &g[i], (int32_t) (40 + i), 20, 2, 30);
            rig_submit(&rig, r);
        }

        rig_run(&rig, 10000);

        for (r = rig.groups; r; r = r->next) {
            wrong += r->g.grammar ? compare(r) : 0;
        }

        is_int(wrong, 0, "failures: of those that fail only, %u threads",
               threads);
        is_int(b->choices[1].reason, SCHED_LENGTH, "failures: others live");
        rig_close(&rig, "failures");
    }
}


static void
test_together(void)
{
    rig_t        rig;
    grammar_t    g = {.script = "ccfffccFccRccffffc"};
    rig_group_t *r;
    uint32_t     i;
    int          wrong = 0;

    rig_open(&rig, &(rig_conf_t){.seqs = 6, .pages = 24, .context = 300});

    for (i = 0; i < 24; i++) {
        r = i % 2
                ? rig_group(&rig, (int32_t) (i * 50), 10 + 9 * i, 1 + i % 3, 50)
                : constrained(&rig, &g, (int32_t) (i * 50), 10 + 9 * i,
                              1 + i % 3, 50);
        r->g.sampling.logprobs = i % 4 < 2;
        r->g.think_end = think_end;
        r->g.n_think_end = r->g.grammar ? 1 : 0;
        r->g.think_budget = i;
        rig_submit(&rig, r);
    }

    rig_run(&rig, 10000);

    for (r = rig.groups; r; r = r->next) {
        wrong += r->g.grammar ? compare(r) : 0;
    }

    is_int(wrong, 0, "together: with free sequences, few pages");
    ok(rig.st.preemptions > 0, "together: some were preempted");
    rig_close(&rig, "together");
}


/* Gone in the middle of a mask. */

static void
test_cancel(void)
{
    rig_t     rig;
    grammar_t g = {.script = "cccccccccccccccccFccccccccccc", .slow_us = 3000};
    rig_group_t *r;
    uint32_t     i;

    rig_open(&rig, &(rig_conf_t){.mask_threads = 2, .mask_wait_us = 50});

    for (i = 0; i < 12; i++) {
        r = constrained(&rig, &g, (int32_t) (40 + i), 20, 1 + i % 3, 100);
        rig_submit(&rig, r);
        rig_step(&rig);
        rig_step(&rig);

        if (i % 3 == 0) {
            sched_stop(rig.s, &r->g, 0);
        }

        rig_step(&rig);
        sched_cancel(rig.s, &r->g);
        rig_step(&rig);
        ok(r->gone, "cancel: gone in a step");
    }

    rig_close(&rig, "cancel");
    is_int(atomic_load(&g.refs) + atomic_load(&g.states), 0,
           "cancel: nothing is held");
    is_int(atomic_load(&g.crowded), 0, "cancel: one thread at a time");

    /* The scheduler ends in the middle of things. */
    rig_open(&rig, &(rig_conf_t){.mask_threads = 2, .mask_wait_us = 0});
    r = constrained(&rig, &g, 40, 20, 3, 100);
    rig_submit(&rig, r);
    rig_step(&rig);
    rig_step(&rig);
    sched_end(rig.s);
    ok(r->gone, "end: gone");
    is_int(atomic_load(&g.refs) + atomic_load(&g.states), 0,
           "end: nothing is held");
    rig_group_free(r);
    rig_model_free(&rig, &rig.model);
    rig.ops.close(rig.be);
}


/* Everything at once, by all ways: the outputs are those that must be. */

static void
test_matrix(void)
{
    static const char *scripts[] = {
        "ccccffffccFcce", "FFRccffffffffffffccFccc",
        "ffRfccceceoc",   "TccccffccTcc",
        "FfFfFfFfFf",     "RcccccccccccccccccccccccccccccccccccF"};
    rig_t        rig;
    grammar_t    g[6];
    rig_group_t *r;
    uint32_t     round, i, k, rounds = 14, step, crowded;
    uint32_t     late = 0, preempted = 0, redrawn = 0;
    uint64_t     x = 88172645463325252ull;
    int          wrong;

    for (round = 0; round < rounds; round++) {
        rig_open(&rig, &(rig_conf_t){.seqs = 5 + round % 4,
                                     .pages = 10 + 8 * (round % 3),
                                     .context = 300,
                                     .logits = 8 + round % 7,
                                     .mask_threads = round % 5,
                                     .mask_wait_us = round % 3 * 100});

        for (i = 0; i < 6; i++) {
            g[i] = (grammar_t){.script = scripts[i],
                               .slow_us = round % 2 ? 150 : 0};
        }

        for (i = 0; i < 18; i++) {
            r = constrained(&rig, &g[i % 6], (int32_t) (32 + i * 37 + round),
                            1 + i * 11, 1 + (i + round) % 4, 20 + i);
            r->g.sampling.logprobs = (i + round) % 3 == 0;
            r->g.sampling.ignore_eos = i % 5 == 0;
            r->g.think_end = think_end;
            r->g.n_think_end = 1;
            r->g.think_budget = i / 2;
            rig_submit(&rig, r);
        }

        for (step = 0; step < 3000000 && rig.n_live; step++) {
            rig_step(&rig);

            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;

            for (r = rig.groups, k = (uint32_t) (x % 18); k > 0; k--) {
                r = r->next;
            }

            if (x >> 20 & 1) {
                sched_pause(rig.s, &r->g);
            }

            for (r = rig.groups; r && x >> 21 & 3; r = r->next) {
                sched_resume(rig.s, &r->g);
            }
        }

        for (r = rig.groups, wrong = 0, crowded = 0; r; r = r->next) {
            wrong += compare(r);
            crowded += atomic_load(&r->g.grammar->crowded);
        }

        late += (uint32_t) rig.st.masks_late;
        preempted += (uint32_t) rig.st.preemptions;
        redrawn += (uint32_t) rig.st.redrawn;
        is_int(wrong, 0, "matrix %u: all as it must be", round);
        is_int(crowded, 0, "matrix %u: one thread at a time", round);
        rig_close(&rig, "matrix");
    }

    ok(late > 0, "matrix: %u masks were late", late);
    ok(preempted > 0, "matrix: %u were preempted", preempted);
    ok(redrawn > 0, "matrix: %u tokens were redrawn", redrawn);
}
