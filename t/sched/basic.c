/*
 * Admission, chunks, choices, ends, what sampling is told: a scheduler
 * stepped by hand.
 */

#include <math.h>
#include "t/sched/rig.h"

static void test_one(void);
static void test_many(void);
static void test_refused(void);
static void test_refused_sampling(rig_t *rig, rig_group_t *g);
static void test_chunk(void);
static void test_share(void);
static void test_pace(void);
static void test_choices(void);
static void test_choices_many(void);
static void test_eog(void);
static void test_context(void);
static void test_prompt_logprobs(void);
static void test_penalties(void);
static int  spy_sample(k_exec_t *exec, uint32_t n, const k_sample_t *req,
                       k_sampled_t *out);


int
main(void)
{
    test_one();
    test_many();
    test_refused();
    test_chunk();
    test_share();
    test_pace();
    test_choices();
    test_choices_many();
    test_eog();
    test_context();
    test_prompt_logprobs();
    test_penalties();

    return tap_done();
}


static void
test_one(void)
{
    rig_t        rig;
    rig_group_t *g;

    rig_open(&rig, &(rig_conf_t){0});
    g = rig_group(&rig, 100, 10, 1, 5);
    is_int(rig_submit(&rig, g), 0, "one: submitted");
    is_int(rig_step(&rig), 1, "one: a step");
    is_int(g->choices[0].n, 1, "one: the first token comes with the prompt");
    is_int(rig.calls, 1, "one: a step's events come in one call");
    is_int(rig_run(&rig, 100), 0, "one: comes to rest");
    is_int(g->choices[0].n, 5, "one: five tokens");
    is_int(g->choices[0].last_step - g->choices[0].first_step, 4,
           "one: one token a step");
    is_int(g->choices[0].reason, SCHED_LENGTH, "one: ended by max_tokens");
    ok(g->gone, "one: gone");
    is_int(g->cached, 0, "one: nothing was cached");
    is_int(rig.st.generated_tokens, 5, "one: generated tokens are counted");
    is_int(rig.st.prompt_tokens, 10, "one: prompt tokens are counted");
    is_int(rig.st.steps, 5, "one: steps are counted");
    rig_close(&rig, "one");
}


static void
test_many(void)
{
    rig_t        rig;
    rig_group_t *g[40];
    uint32_t     i, done = 0;

    rig_open(&rig, &(rig_conf_t){.queue = 40});

    for (i = 0; i < 40; i++) {
        g[i] = rig_group(&rig, (int32_t) (i * 100), 1 + i * 7, 1 + i % 3,
                         1 + i * 3);
        rig_submit(&rig, g[i]);
    }

    rig_run(&rig, 2000);

    for (i = 0; i < 40; i++) {
        done += g[i]->gone && g[i]->choices[0].n == 1 + i * 3
                && g[i]->choices[i % 3].n == 1 + i * 3;
    }

    is_int(done, 40, "many: all of 40 groups are done");
    rig_close(&rig, "many");
}


static void
test_refused(void)
{
    rig_t        rig;
    rig_group_t *g;
    int32_t      token;

    rig_open(&rig, &(rig_conf_t){.pages = 4, .context = 100});

    g = rig_group(&rig, 0, 100, 1, 1);
    is_int(rig_submit(&rig, g), -E2BIG, "refused: a prompt as the context");
    g = rig_group(&rig, 0, 0, 1, 1);
    is_int(rig_submit(&rig, g), -EINVAL, "refused: no prompt");
    g = rig_group(&rig, 0, 3, 1, 0);
    is_int(rig_submit(&rig, g), -EINVAL, "refused: no tokens wanted");
    g = rig_group(&rig, 0, 3, 1, 1);
    token = g->prompt[1];
    g->prompt[1] = RIG_VOCAB;
    is_int(rig_submit(&rig, g), -EINVAL, "refused: a token out of range");
    g->prompt[1] = -1;
    is_int(rig_submit(&rig, g), -EINVAL, "refused: a negative token");
    g->prompt[1] = token;
    g->g.n_choices = SCHED_CHOICES_MAX + 1;
    is_int(sched_submit(rig.s, &g->g), -EINVAL, "refused: too many choices");
    g->g.n_choices = 1;
    test_refused_sampling(&rig, g);
    rig_close(&rig, "refused");

    rig_open(&rig, &(rig_conf_t){.pages = 2, .context = 100});
    g = rig_group(&rig, 0, 64, 1, 1);
    is_int(rig_submit(&rig, g), -E2BIG, "refused: a prompt as the pool");
    g = rig_group(&rig, 0, 63, 1, 10);
    is_int(rig_submit(&rig, g), 0, "refused: not one token less");
    rig_run(&rig, 100);
    is_int(g->choices[0].n, 1, "refused: but the pool bounds its output");
    is_int(g->choices[0].reason, SCHED_LENGTH, "refused: to its length");
    rig_close(&rig, "refused by the pool");
}


/* One request's bad number must not spoil the batch of others. */

static void
test_refused_sampling(rig_t *rig, rig_group_t *g)
{
    sched_sampling_t good = g->g.sampling;
    k_bias_t         bias = {RIG_VOCAB, 1};
    int32_t          eog = RIG_VOCAB;
    uint32_t         i, refused = 0;

    for (i = 0; i < 10; i++) {
        g->g.sampling = good;

        switch (i) {
        case 0:
            g->g.sampling.temperature = NAN;
            break;
        case 1:
            g->g.sampling.temperature = -1;
            break;
        case 2:
            g->g.sampling.repetition = 0;
            break;
        case 3:
            g->g.sampling.frequency = INFINITY;
            break;
        case 4:
            g->g.sampling.presence = NAN;
            break;
        case 5:
            g->g.sampling.top_p = NAN;
            break;
        case 6:
            g->g.sampling.min_p = NAN;
            break;
        case 7:
            g->g.sampling.n_top = K_TOP_MAX + 1;
            break;
        case 8:
            g->g.sampling.bias = &bias;
            g->g.sampling.n_bias = 1;
            break;
        default:
            g->g.eog = &eog;
            g->g.n_eog = 1;
            break;
        }

        refused += rig_submit(rig, g) == -EINVAL;
    }

    is_int(refused, 10, "refused: sampling parameters out of range");
}


/* A long prompt delays who decodes by no more than a chunk in any step. */

static void
test_chunk(void)
{
    rig_t        rig;
    rig_group_t *a, *b;
    uint32_t     n, steps = 0, most = 0, stalled = 0;

    rig_open(&rig, &(rig_conf_t){.rows = 256, .chunk = 20});
    a = rig_group(&rig, 0, 5, 1, 400);
    rig_submit(&rig, a);
    rig_step(&rig);

    b = rig_group(&rig, 1000, 1000, 1, 3);
    rig_submit(&rig, b);

    while (b->choices[0].n == 0 && steps < 1000) {
        n = a->choices[0].n;
        rig_step(&rig);
        steps++;
        stalled += a->choices[0].n != n + 1;
        most = rig.st.rows_last > most ? rig.st.rows_last : most;
    }

    is_int(stalled, 0, "chunk: who decodes gets a token in every step");
    is_int(most, 21, "chunk: a step has a chunk of 20 rows and one");
    ok(steps >= 50 && steps <= 51, "chunk: 1000 tokens take 50 chunks");
    rig_run(&rig, 1000);
    rig_close(&rig, "chunk");
}


/* Short prompts do not wait for a long one. */

static void
test_share(void)
{
    rig_t        rig;
    rig_group_t *a, *b, *c, *d;

    rig_open(&rig, &(rig_conf_t){.rows = 64});
    a = rig_group(&rig, 0, 2000, 1, 2);
    rig_submit(&rig, a);
    rig_step(&rig);
    rig_step(&rig);
    rig_step(&rig);
    is_int(rig.st.rows_last, 64, "share: alone a prompt has all rows");

    b = rig_group(&rig, 3000, 20, 1, 1);
    c = rig_group(&rig, 3100, 21, 1, 1);
    d = rig_group(&rig, 2000, 2000, 1, 2);
    rig_submit(&rig, b);
    rig_submit(&rig, c);
    rig_submit(&rig, d);
    rig_step(&rig);
    is_int(rig.st.rows_last, 64, "share: all rows are used");
    rig_step(&rig);
    ok(b->gone && c->gone, "share: short prompts are done in two steps");
    rig_run(&rig, 100);
    ok(d->choices[0].first_step > a->choices[0].first_step,
       "share: the long ones share the rest");
    rig_close(&rig, "share");
}


static int (*slow_submit)(k_exec_t *exec, const k_batch_t *batch);
static rig_t *slow_rig;


static int
slow_step(k_exec_t *exec, const k_batch_t *batch)
{
    slow_rig->now += batch->n_rows * 10000000ull;

    return slow_submit(exec, batch);
}


/* A step is kept short on a slow machine: 10 ms a row here. */

static void
test_pace(void)
{
    rig_t    rig;
    uint64_t before, worst = 0;
    uint32_t i;

    rig_open(&rig, &(rig_conf_t){.rows = 1024});
    slow_rig = &rig;
    slow_submit = rig.ops.step_submit;
    rig.ops.step_submit = slow_step;

    rig_submit(&rig, rig_group(&rig, 0, 2000, 1, 2));

    for (i = 0; i < 300; i++) {
        before = rig.now;
        if (rig_step(&rig) == 0) {
            break;
        }

        worst = rig.now - before > worst ? rig.now - before : worst;
    }

    ok(i < 300, "pace: done");
    ok(worst <= 1000000000, "pace: no step takes more than a second");
    rig_close(&rig, "pace");
}


static void
test_choices(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     i, same = 0, firsts = 0;

    rig_open(&rig, &(rig_conf_t){.rows = 16});
    g = rig_group(&rig, 500, 100, 4, 50);
    rig_submit(&rig, g);

    for (i = 0; i < 7; i++) {
        rig_step(&rig);
    }

    for (i = 0; i < 4; i++) {
        firsts += g->choices[i].n == 1;
        same += i > 0 && g->choices[i].tokens[0] == g->choices[i - 1].tokens[0];
    }

    is_int(firsts, 4, "choices: all have their first token at once");
    is_int(same, 0, "choices: different ones");
    is_int(rig.st.running, 4, "choices: all run");
    is_int(rig.st.pages - rig.st.pages_free, 7,
           "choices: they share three pages and have one each");
    rig_run(&rig, 100);
    is_int(rig.st.generated_tokens, 200, "choices: 50 tokens each");
    is_int(rig.st.steps, 56, "choices: the prompt was computed once");
    is_int(rig.calls, 51, "choices: one call for each step with events");
    rig_close(&rig, "choices");
}


/* More choices than places: they take their turns. */

static void
test_choices_many(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     i, done = 0;

    rig_open(&rig, &(rig_conf_t){.seqs = 3, .logits = 3});
    g = rig_group(&rig, 500, 70, 16, 40);
    rig_submit(&rig, g);
    rig_run(&rig, 500);

    for (i = 0; i < 16; i++) {
        done += g->choices[i].n == 40 && g->choices[i].reason == SCHED_LENGTH;
    }

    is_int(done, 16, "choices: 16 in three places all end");
    rig_close(&rig, "many choices");

    /* More than a step can draw for. */
    rig_open(&rig, &(rig_conf_t){.seqs = 2, .logits = 2});
    g = rig_group(&rig, 500, 3, 128, 3);
    rig_submit(&rig, g);
    rig_submit(&rig, rig_group(&rig, 600, 3, 128, 3));
    rig_run(&rig, 5000);
    is_int(rig.n_live, 0, "choices: twice 128 in two places all end");
    is_int(rig.st.generated_tokens, 2 * 128 * 3, "choices: with all tokens");
    rig_close(&rig, "most choices");

    rig_open(&rig, &(rig_conf_t){.seqs = 3});
    g = rig_group(&rig, 500, 70, 16, 1);
    rig_submit(&rig, g);
    rig_run(&rig, 500);
    is_int(g->gone_step - g->start_step, 2,
           "choices: of one token need no places");
    rig_close(&rig, "choices of one token");
}


static void
test_eog(void)
{
    rig_t        rig;
    rig_group_t *g, *h, *b;
    int32_t      eog[2];
    k_bias_t     bias;

    rig_open(&rig, &(rig_conf_t){0});

    eog[0] = 7;
    eog[1] = k_null_token(RIG_VOCAB, 40, 10 + 3, 0);
    g = rig_group(&rig, 40, 10, 1, 10);
    g->g.eog = eog;
    g->g.n_eog = 2;
    rig_submit(&rig, g);

    h = rig_group(&rig, 40, 10, 1, 10);
    h->g.eog = eog;
    h->g.n_eog = 2;
    h->g.sampling.ignore_eos = 1;
    bias = (k_bias_t){eog[1], 100};
    h->g.sampling.bias = &bias;
    h->g.sampling.n_bias = 1;
    h->quiet = 1;
    rig_submit(&rig, h);

    b = rig_group(&rig, 40, 10, 1, 10);
    b->g.sampling.bias = &(k_bias_t){eog[1], -INFINITY};
    b->g.sampling.n_bias = 1;
    b->quiet = 1;
    rig_submit(&rig, b);

    rig_run(&rig, 100);
    is_int(g->choices[0].n, 4, "eog: ends a choice");
    is_int(g->choices[0].tokens[3], eog[1], "eog: is a token of it");
    is_int(g->choices[0].reason, SCHED_STOP, "eog: its reason");
    is_int(h->choices[0].n, 10, "eog: ignored");
    ok(h->choices[0].tokens[3] != eog[1], "eog: not drawn, bias or no bias");
    is_int(h->choices[0].reason, SCHED_LENGTH, "eog: ended by max_tokens");
    ok(b->choices[0].tokens[3] != eog[1], "bias: reaches the backend");
    rig_close(&rig, "eog");
}


static void
test_context(void)
{
    rig_t        rig;
    rig_group_t *g;

    rig_open(&rig, &(rig_conf_t){.context = 64});
    g = rig_group(&rig, 0, 60, 2, 1000);
    rig_submit(&rig, g);
    rig_run(&rig, 100);
    is_int(g->choices[0].n, 4, "context: full");
    is_int(g->choices[1].n, 4, "context: full for both");
    is_int(g->choices[1].reason, SCHED_LENGTH, "context: its reason");
    rig_close(&rig, "context");
}


/* Each prompt token is judged once, whatever happens in between. */

static void
test_prompt_logprobs(void)
{
    rig_t        rig;
    rig_group_t *g, *h, *i;

    rig_open(&rig, &(rig_conf_t){.logits = 10});
    h = rig_group(&rig, 0, 100, 1, 5);
    rig_submit(&rig, h);
    rig_run(&rig, 100);

    g = rig_group(&rig, 0, 100, 2, 5);
    g->g.prompt_logprobs = 1;
    i = rig_group(&rig, 70, 1, 1, 2);
    i->g.prompt_logprobs = 1;
    rig_submit(&rig, g);
    rig_submit(&rig, i);
    rig_step(&rig);
    rig_step(&rig);
    sched_pause(rig.s, &g->g);
    rig_step(&rig);

    /* It loses its pages, then the cached ones are used again. */
    sched_seq_release(rig.handle->paused.first, 1);
    rig_step(&rig);
    sched_resume(rig.s, &g->g);
    rig_run(&rig, 100);

    is_int(g->prompt_seen, 100, "prompt logprobs: of all tokens");
    is_int(g->cached, 0, "prompt logprobs: need the prompt computed");
    is_int(g->choices[1].n, 5, "prompt logprobs: choices follow");
    is_int(i->prompt_seen, 1, "prompt logprobs: of a prompt of one token");
    rig_close(&rig, "prompt logprobs");
}


static k_sample_t spied;
static k_count_t  spied_counts[256];


static int
spy_sample(k_exec_t *exec, uint32_t n, const k_sample_t *req, k_sampled_t *out)
{
    int rc;

    spied = req[0];
    memcpy(spied_counts, req[0].counts, req[0].n_counts * sizeof(k_count_t));

    rc = k_backend_null.sample(exec, n, req, out);

    /* Few tokens, so that they come again. */
    out[0].token = 32 + out[0].token % 20;

    return rc;
}


static void
test_penalties(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     i, k, want, wrong = 0, total = 0;

    rig_open(&rig, &(rig_conf_t){.context = 500});
    rig.ops.sample = spy_sample;
    g = rig_group(&rig, 0, 40, 1, 100);
    g->prompt[5] = g->prompt[6];
    g->g.sampling.repetition = 1.5f;
    g->g.sampling.frequency = 0.5f;
    g->g.sampling.presence = 0.25f;
    g->g.sampling.top_k = 40;
    g->g.sampling.logprobs = 0;
    g->quiet = 1;
    rig_submit(&rig, g);
    rig_run(&rig, 200);

    for (i = 0; i < spied.n_counts; i++) {
        want = 0;

        for (k = 0; k + 1 < g->choices[0].n; k++) {
            want += g->choices[0].tokens[k] == spied_counts[i].token;
        }

        wrong += spied_counts[i].count != want;
        total += want;
    }

    is_int(wrong, 0, "penalties: tokens are counted");
    is_int(total, 99, "penalties: all of the output");
    is_int(spied_counts[0].token, 0, "penalties: the prompt's come first");
    ok(spied.repetition == 1.5f && spied.top_k == 40
           && spied.position == 40 + 99 && spied.choice == 0,
       "penalties: parameters reach the backend");
    rig_close(&rig, "penalties");
}
