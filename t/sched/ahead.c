/*
 * Steps ahead: they are taken where they can be and not where they cannot, the
 * device has always the next one, and what ends meanwhile leaves nothing.
 */

#include "t/sched/rig.h"

static void test_pipeline(void);
static void test_end_by_token(void);
static void test_cancel(void);
static void test_mixed(void);
static void test_penalties(void);
static void test_fail_submit(void);
static void test_fail_collect(void);
static void test_end(void);
static int  refuse(k_exec_t *exec, const k_batch_t *batch, uint32_t n,
                   const k_sample_t *req);
static int  lose(k_exec_t *exec, uint32_t n, k_sampled_t *out);


int
main(void)
{
    setenv("SCHED_AHEAD", "1", 1);
    llm_log_level(-1);

    test_pipeline();
    test_end_by_token();
    test_cancel();
    test_mixed();
    test_penalties();
    test_fail_submit();
    test_fail_collect();
    test_end();

    return tap_done();
}


static void
test_pipeline(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     before = rig_ahead_steps;

    rig_open(&rig, &(rig_conf_t){0});
    g = rig_group(&rig, 100, 10, 1, 5);
    rig_submit(&rig, g);

    rig_step(&rig);
    is_int(rig_ahead_steps - before, 1, "pipeline: the first is under way");
    is_int(g->choices[0].n, 0, "pipeline: and not told");
    rig_step(&rig);
    is_int(rig_ahead_steps - before, 2, "pipeline: the second is, too");
    is_int(g->choices[0].n, 1, "pipeline: before the first is told");
    rig_run(&rig, 100);
    is_int(rig_ahead_steps - before, 5, "pipeline: no row beyond max_tokens");
    is_int(g->choices[0].reason, SCHED_LENGTH, "pipeline: ended by max_tokens");
    is_int(rig.st.steps, 5, "pipeline: steps are counted");
    rig_close(&rig, "pipeline");
}


/* Its next row is under way when it turns out that it has ended. */

static void
test_end_by_token(void)
{
    rig_t        rig;
    rig_group_t *g, *other;
    int32_t      eog;
    uint32_t     before = rig_ahead_steps;

    rig_open(&rig, &(rig_conf_t){0});
    eog = k_null_token(RIG_VOCAB, 40, 10 + 3, 0);
    g = rig_group(&rig, 40, 10, 1, 50);
    g->g.eog = &eog;
    g->g.n_eog = 1;
    other = rig_group(&rig, 70, 12, 1, 20);
    rig_submit(&rig, g);
    rig_submit(&rig, other);
    rig_run(&rig, 100);

    is_int(g->choices[0].reason, SCHED_STOP, "end: by its token");
    is_int(g->choices[0].n, 4, "end: which is the last");
    is_int(other->choices[0].n, 20, "end: the other one goes on");
    ok(rig_ahead_steps - before <= 21, "end: one row in vain at most");
    rig_close(&rig, "end");
}


static void
test_cancel(void)
{
    rig_t        rig;
    rig_group_t *g, *other;

    rig_open(&rig, &(rig_conf_t){.pages = 8});
    g = rig_group(&rig, 40, 60, 1, 100);
    rig_submit(&rig, g);
    rig_step(&rig);
    rig_step(&rig);
    rig_step(&rig);

    /* Its pages are another's while its rows are under way. */
    sched_cancel(rig.s, &g->g);
    other = rig_group(&rig, 900, 200, 1, 40);
    rig_submit(&rig, other);
    rig_step(&rig);
    is_int(g->choices[0].reason, SCHED_CANCELLED, "cancel: at once");
    ok(g->gone, "cancel: gone");
    rig_run(&rig, 1000);
    is_int(other->choices[0].n, 40, "cancel: the other one is served");
    rig_close(&rig, "cancel");
}


/* A prompt that comes while others decode: in one step with them, ahead. */

static void
test_mixed(void)
{
    rig_t        rig;
    rig_group_t *g, *late;
    uint32_t     before, steps;

    rig_open(&rig, &(rig_conf_t){.rows = 64, .chunk = 16});
    g = rig_group(&rig, 40, 10, 1, 60);
    rig_submit(&rig, g);
    rig_step(&rig);
    rig_step(&rig);

    late = rig_group(&rig, 500, 100, 1, 10);
    rig_submit(&rig, late);
    before = rig_ahead_steps;
    steps = rig.steps;
    rig_run(&rig, 1000);

    ok(rig_ahead_steps - before + 1 >= rig.steps - steps - 2,
       "mixed: every step is ahead");
    is_int(late->choices[0].n, 10, "mixed: the late one is done");
    is_int(g->choices[0].n, 60, "mixed: the early one, too");
    rig_close(&rig, "mixed");
}


/* Their draws depend on the token before: no step ahead while one runs. */

static void
test_penalties(void)
{
    rig_t        rig;
    rig_group_t *g, *plain;
    uint32_t     before;

    rig_open(&rig, &(rig_conf_t){0});
    plain = rig_group(&rig, 40, 10, 1, 30);
    rig_submit(&rig, plain);
    rig_step(&rig);
    rig_step(&rig);

    g = rig_group(&rig, 700, 10, 1, 5);
    g->g.sampling.repetition = 1.5f;
    rig_submit(&rig, g);
    rig_step(&rig);
    before = rig_ahead_steps;

    while (!g->gone) {
        rig_step(&rig);
    }

    is_int(rig_ahead_steps, before, "penalties: step by step");
    rig_run(&rig, 100);
    ok(rig_ahead_steps > before, "penalties: ahead again");
    is_int(plain->choices[0].n, 30, "penalties: the other one is done");
    rig_close(&rig, "penalties");
}


static int
refuse(k_exec_t *exec, const k_batch_t *batch, uint32_t n,
       const k_sample_t *req)
{
    return -EINVAL;
}


static int
lose(k_exec_t *exec, uint32_t n, k_sampled_t *out)
{
    (void) rig_ahead_collect(exec, n, out);

    return -EINVAL;
}


static void
test_fail_submit(void)
{
    rig_t        rig;
    rig_group_t *g, *later;

    rig_open(&rig, &(rig_conf_t){0});
    g = rig_group(&rig, 40, 10, 1, 30);
    rig_submit(&rig, g);
    rig_step(&rig);
    rig_step(&rig);
    rig.ops.ahead_submit = refuse;
    rig_step(&rig);
    is_int(g->choices[0].reason, SCHED_FAILED, "submit fails: so does it");
    rig.ops.ahead_submit = rig_ahead_submit;
    rig_step(&rig);

    later = rig_group(&rig, 40, 10, 1, 7);
    rig_submit(&rig, later);
    rig_run(&rig, 100);
    is_int(later->choices[0].n, 7, "submit fails: the next one does not");
    rig_close(&rig, "submit fails");
}


static void
test_fail_collect(void)
{
    rig_t        rig;
    rig_group_t *g, *later;

    rig_open(&rig, &(rig_conf_t){0});
    g = rig_group(&rig, 40, 10, 1, 30);
    rig_submit(&rig, g);
    rig_step(&rig);
    rig.ops.ahead_collect = lose;
    rig_step(&rig);
    is_int(g->choices[0].reason, SCHED_FAILED, "collect fails: so does it");
    rig.ops.ahead_collect = rig_ahead_collect;
    rig_step(&rig);

    later = rig_group(&rig, 40, 10, 1, 7);
    rig_submit(&rig, later);
    rig_run(&rig, 100);
    is_int(later->choices[0].n, 7, "collect fails: the next one does not");
    rig_close(&rig, "collect fails");
}


/* The scheduler ends with steps under way: rig_close() finds what is left. */

static void
test_end(void)
{
    rig_t        rig;
    rig_group_t *g;

    rig_open(&rig, &(rig_conf_t){0});
    g = rig_group(&rig, 40, 10, 1, 30);
    rig_submit(&rig, g);
    rig_step(&rig);
    rig_step(&rig);
    sched_cancel(rig.s, &g->g);
    rig_close(&rig, "the end");
}
