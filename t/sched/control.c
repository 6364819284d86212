/*
 * What others do to a group: cancel, stop, pause, resume, in every phase;
 * deadlines; the queue's bound; failures; models that come and go.
 */

#include "t/sched/rig.h"

enum { QUEUED, PREFILL, DECODE, PAUSED, PHASES };

static const char *const phase_names[] = {"queued", "in prefill", "decoding",
                                          "paused"};

static rig_group_t *phase_enter(rig_t *rig, int phase, uint32_t n_choices);
static void         test_cancel(void);
static void         test_stop(void);
static void         test_stop_leader(void);
static void         test_pause(void);
static void         test_pause_place(void);
static void         test_late(void);
static void         test_deadlines(void);
static void         test_queue(void);
static void         test_failure(void);
static void         test_no_token(void);
static void         test_remove(void);
static void         test_models(void);
static void         test_end(void);


int
main(void)
{
    test_cancel();
    test_stop();
    test_stop_leader();
    test_pause();
    test_pause_place();
    test_late();
    test_deadlines();
    test_queue();
    test_failure();
    test_no_token();
    test_remove();
    test_models();
    test_end();

    return tap_done();
}


/* A group in that phase, in a rig of two places, beside another that runs. */

static rig_group_t *
phase_enter(rig_t *rig, int phase, uint32_t n_choices)
{
    rig_group_t *a, *b, *g;

    a = rig_group(rig, 0, 10, 1, 60);
    rig_submit(rig, a);
    rig_step(rig);

    if (phase == QUEUED) {
        b = rig_group(rig, 1000, 10, 1, 60);
        rig_submit(rig, b);
    }

    g = rig_group(rig, 2000, 100, n_choices, 60);
    rig_submit(rig, g);
    rig_step(rig);

    if (phase == DECODE || phase == PAUSED) {
        while (g->choices[0].n < 5) {
            rig_step(rig);
        }
    }

    if (phase == PAUSED) {
        sched_pause(rig->s, &g->g);
        rig_step(rig);
    }

    ok(g->started == (phase != QUEUED)
           && (g->choices[0].n > 0) == (phase == DECODE || phase == PAUSED),
       "a group is %s", phase_names[phase]);

    return g;
}


static void
test_cancel(void)
{
    rig_t        rig;
    rig_group_t *g;
    int          phase;
    uint32_t     n;

    for (phase = 0; phase < PHASES; phase++) {
        rig_open(&rig, &(rig_conf_t){.seqs = 2});
        g = phase_enter(&rig, phase, 3);
        n = g->choices[0].n;
        sched_cancel(rig.s, &g->g);
        sched_cancel(rig.s, &g->g);
        rig_step(&rig);
        ok(g->gone, "cancel %s: gone within a step", phase_names[phase]);
        is_int(g->choices[2].reason, SCHED_CANCELLED, "cancel: its reason");
        is_int(g->choices[0].n, n, "cancel: no token after it");
        rig_run(&rig, 300);
        rig_close(&rig, "cancel");
    }
}


static void
test_stop(void)
{
    rig_t        rig;
    rig_group_t *g;
    int          phase;

    for (phase = 0; phase < PHASES; phase++) {
        rig_open(&rig, &(rig_conf_t){.seqs = 2});
        g = phase_enter(&rig, phase, 3);
        sched_stop(rig.s, &g->g, 1);
        rig_step(&rig);
        is_int(g->choices[1].reason, SCHED_STOPPED, "stop %s: done at once",
               phase_names[phase]);
        ok(!g->gone && g->choices[0].reason == 0, "stop: only that one");
        sched_resume(rig.s, &g->g);
        sched_stop(rig.s, &g->g, 1);
        sched_stop(rig.s, &g->g, 77);
        sched_stop(rig.s, &g->g, 1000);
        rig_run(&rig, 400);
        is_int(g->choices[0].n, 60, "stop: others go on");
        is_int(g->choices[2].n, 60, "stop: all others");
        rig_close(&rig, "stop");
    }
}


/* The choice that computes the prompt for all is stopped. */

static void
test_stop_leader(void)
{
    rig_t        rig;
    rig_group_t *g;
    int          phase;

    for (phase = 0; phase < PHASES; phase++) {
        rig_open(&rig, &(rig_conf_t){.seqs = 2});
        g = phase_enter(&rig, phase, 3);
        sched_stop(rig.s, &g->g, 0);
        rig_step(&rig);
        is_int(g->choices[0].reason, SCHED_STOPPED, "leader %s: stopped",
               phase_names[phase]);
        sched_stop(rig.s, &g->g, 1);
        sched_resume(rig.s, &g->g);
        rig_run(&rig, 400);
        is_int(g->choices[2].n, 60, "leader: the last one goes on");
        rig_close(&rig, "leader");
    }

    rig_open(&rig, &(rig_conf_t){.seqs = 2});
    g = phase_enter(&rig, QUEUED, 2);
    sched_stop(rig.s, &g->g, 0);
    sched_stop(rig.s, &g->g, 1);
    rig_step(&rig);
    ok(g->gone && !g->started, "stop: all choices of a queued group");
    rig_run(&rig, 400);
    rig_close(&rig, "stop all");
}


static void
test_pause(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     n, i;
    int          phase;

    for (phase = 0; phase < PAUSED; phase++) {
        rig_open(&rig, &(rig_conf_t){.seqs = 2});
        g = phase_enter(&rig, phase, 2);
        sched_pause(rig.s, &g->g);
        rig_step(&rig);
        n = g->choices[0].n + g->choices[1].n;

        for (i = 0; i < 200; i++) {
            rig_step(&rig);
        }

        is_int(g->choices[0].n + g->choices[1].n, n, "pause %s: no token",
               phase_names[phase]);
        is_int(rig_step(&rig), 0, "pause: the loop is idle");
        is_int(rig.n_live, 1, "pause: others ended");
        sched_resume(rig.s, &g->g);
        sched_pause(rig.s, &g->g);
        sched_resume(rig.s, &g->g);
        is_int(rig_step(&rig), 1, "pause: resumed within a step");
        rig_run(&rig, 400);
        is_int(g->choices[1].n, 60, "pause: all of it came");
        rig_close(&rig, "pause");
    }
}


/* A paused sequence takes no place from others, queued ones keep theirs. */

static void
test_pause_place(void)
{
    rig_t        rig;
    rig_group_t *g[5];
    uint32_t     i;

    rig_open(&rig, &(rig_conf_t){.seqs = 1});

    for (i = 0; i < 5; i++) {
        g[i] = rig_group(&rig, (int32_t) i * 100, 10, 1, 20);
        rig_submit(&rig, g[i]);
    }

    rig_step(&rig);
    sched_pause(rig.s, &g[0]->g);
    sched_pause(rig.s, &g[2]->g);
    rig_step(&rig);
    ok(g[1]->started, "pause: its place is another's");
    sched_resume(rig.s, &g[2]->g);
    rig_step(&rig);
    sched_resume(rig.s, &g[0]->g);
    rig_run(&rig, 200);
    ok(g[0]->gone_step < g[2]->start_step, "pause: the oldest goes on first");
    ok(g[2]->order == 3 && g[3]->order == 4, "pause: order in the queue stays");
    rig_close(&rig, "places");
}


/* Calls that come after a group's end do nothing, to nobody. */

static void
test_late(void)
{
    rig_t        rig;
    rig_group_t *a, *b;

    rig_open(&rig, &(rig_conf_t){0});
    a = rig_group(&rig, 0, 10, 1, 2);
    rig_submit(&rig, a);
    rig_run(&rig, 10);
    b = rig_group(&rig, 100, 10, 2, 20);
    rig_submit(&rig, b);
    ok(a->gone && a->g.priv == b->g.priv, "late: a slot is used again");
    sched_cancel(rig.s, &a->g);
    sched_stop(rig.s, &a->g, 0);
    sched_pause(rig.s, &a->g);
    rig_run(&rig, 100);
    is_int(b->choices[0].n, 20, "late: calls do nothing");
    is_int(b->choices[1].reason, SCHED_LENGTH, "late: to no choice");
    rig_close(&rig, "late");
}


static void
test_deadlines(void)
{
    rig_t        rig;
    rig_group_t *a, *q, *f, *d, *p;

    rig_open(&rig, &(rig_conf_t){.seqs = 2, .rows = 16});
    a = rig_group(&rig, 0, 10, 1, 300);
    a->g.queue_ns = rig.now + 100;
    a->g.first_ns = rig.now + 100;
    a->g.done_ns = rig.now + 10000;
    f = rig_group(&rig, 500, 1000, 1, 5);
    f->g.first_ns = rig.now + 1000;
    q = rig_group(&rig, 1000, 10, 2, 5);
    q->g.queue_ns = rig.now + 100;
    d = rig_group(&rig, 1100, 10, 1, 5);
    d->g.done_ns = rig.now + 200;
    p = rig_group(&rig, 1200, 10, 1, 5);
    p->g.queue_ns = rig.now + 300;
    rig_submit(&rig, a);
    rig_submit(&rig, f);
    rig_submit(&rig, q);
    rig_submit(&rig, d);
    rig_submit(&rig, p);
    sched_pause(rig.s, &p->g);

    rig_step(&rig);
    rig.now += 99;
    rig_step(&rig);
    ok(!q->gone, "deadlines: not before");
    rig.now += 1;
    rig_step(&rig);
    ok(q->gone && !q->started, "deadlines: to be running by then");
    is_int(q->choices[1].reason, SCHED_QUEUE_TIMEOUT, "deadlines: reason");
    ok(!a->gone && !f->gone, "deadlines: who runs is not meant");
    rig.now += 100;
    rig_step(&rig);
    is_int(d->choices[0].reason, SCHED_DONE_TIMEOUT,
           "deadlines: to be done, in the queue");
    rig.now += 100;
    rig_step(&rig);
    is_int(p->choices[0].reason, SCHED_QUEUE_TIMEOUT,
           "deadlines: paused in the queue");
    rig.now += 700;
    rig_step(&rig);
    ok(f->gone && f->started, "deadlines: to have a token");
    is_int(f->choices[0].reason, SCHED_FIRST_TIMEOUT, "deadlines: reason");
    rig.now += 8999;
    rig_step(&rig);
    ok(!a->gone, "deadlines: the last one not before either");
    sched_pause(rig.s, &a->g);
    rig_run(&rig, 10);
    is_int(rig.s->deadline, rig.now + 1, "deadlines: the loop knows the next");
    rig.now += 1;
    rig_step(&rig);
    is_int(a->choices[0].reason, SCHED_DONE_TIMEOUT,
           "deadlines: to be done, paused");
    rig_run(&rig, 10);
    rig_close(&rig, "deadlines");
}


static void
test_queue(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     i, n = 0;

    rig_open(&rig, &(rig_conf_t){.seqs = 2, .queue = 3});

    for (i = 0; i < 8; i++) {
        g = rig_group(&rig, (int32_t) i, 10, 1, 10);
        n += rig_submit(&rig, g) == 0;
    }

    is_int(n, 5, "queue: two places and three that wait");
    is_int(rig_submit(&rig, g), -EAGAIN, "queue: full");
    rig_step(&rig);
    is_int(rig_submit(&rig, g), -EAGAIN, "queue: full when they run");
    is_int(rig.st.waiting, 3, "queue: counted");
    rig_run(&rig, 100);
    is_int(rig_submit(&rig, g), 0, "queue: room again");
    rig_run(&rig, 100);
    is_int(rig.st.waiting, 0, "queue: empty");
    rig_close(&rig, "queue");
}


static int fail_next;


static int
fail_step(k_exec_t *exec, const k_batch_t *batch)
{
    int rc = fail_next;

    fail_next = 0;

    return rc < 0 ? rc : k_backend_null.step_submit(exec, batch);
}


static int
fail_sample(k_exec_t *exec, uint32_t n, const k_sample_t *req, k_sampled_t *out)
{
    int rc = fail_next;

    fail_next = 0;

    return rc < 0 ? rc : k_backend_null.sample(exec, n, req, out);
}


static void
test_failure(void)
{
    rig_t        rig;
    rig_group_t *a, *b, *c;
    int          sample;

    llm_log_level(-1);

    for (sample = 0; sample < 2; sample++) {
        rig_open(&rig, &(rig_conf_t){.seqs = 3, .rows = 16});

        if (sample) {
            rig.ops.sample = fail_sample;
        } else {
            rig.ops.step_submit = fail_step;
        }

        a = rig_group(&rig, 0, 10, 1, 50);
        b = rig_group(&rig, 100, 200, 2, 50);
        c = rig_group(&rig, 400, 10, 3, 20);
        rig_submit(&rig, a);
        rig_submit(&rig, b);
        rig_submit(&rig, c);
        rig_step(&rig);
        sched_pause(rig.s, &c->g);
        rig_step(&rig);
        fail_next = -EIO;
        is_int(rig_step(&rig), -EIO, "failure: reported");
        is_int(a->choices[0].reason, SCHED_FAILED, "failure: a sequence ends");
        is_int(b->choices[1].reason, SCHED_FAILED, "failure: all of a group");
        ok(!c->gone, "failure: not who was not in the batch");
        sched_resume(rig.s, &c->g);
        rig_run(&rig, 100);
        is_int(c->choices[2].n, 20, "failure: the loop lives on");

        a = rig_group(&rig, 100, 200, 1, 5);
        rig_submit(&rig, a);
        rig_run(&rig, 100);
        is_int(a->choices[0].n, 5, "failure: nothing wrong is in the cache");
        rig_close(&rig, "failure");
    }
}


static int
nothing_sample(k_exec_t *exec, uint32_t n, const k_sample_t *req,
               k_sampled_t *out)
{
    int rc = k_backend_null.sample(exec, n, req, out);

    if (fail_next) {
        out[0].token = -1;
        fail_next = 0;
    }

    return rc;
}


/* Logits that are not finite end the one whose they are. */

static void
test_no_token(void)
{
    rig_t        rig;
    rig_group_t *a, *b;

    rig_open(&rig, &(rig_conf_t){0});
    rig.ops.sample = nothing_sample;
    a = rig_group(&rig, 0, 10, 1, 50);
    b = rig_group(&rig, 100, 10, 1, 50);
    rig_submit(&rig, a);
    rig_submit(&rig, b);
    rig_step(&rig);
    fail_next = 1;
    rig_step(&rig);
    is_int(a->choices[0].reason, SCHED_FAILED, "no token: it ends");
    rig_run(&rig, 100);
    is_int(b->choices[0].n, 50, "no token: the other one does not");
    rig_close(&rig, "no token");
}


static void
count_gone(void *data)
{
    (*(int *) data)++;
}


static void
test_remove(void)
{
    rig_t        rig;
    rig_group_t *a, *b, *c;
    int          gone = 0;

    rig_open(&rig, &(rig_conf_t){.seqs = 1});
    a = rig_group(&rig, 0, 10, 1, 10);
    b = rig_group(&rig, 100, 10, 1, 10);
    c = rig_group(&rig, 200, 10, 1, 10);
    rig_submit(&rig, a);
    rig_submit(&rig, b);
    rig_step(&rig);
    sched_model_remove(rig.s, rig.handle, count_gone, &gone);
    is_int(rig_submit(&rig, c), -ESHUTDOWN, "remove: new ones are refused");
    rig_step(&rig);
    ok(!gone, "remove: waits for those that run or wait");
    rig_run(&rig, 100);
    is_int(b->choices[0].n, 10, "remove: which end as they would");
    is_int(gone, 1, "remove: then it is gone");
    is_int(rig_step(&rig), 0, "remove: no model is left");
    is_int(rig.st.pages, 0, "remove: nor its pages");
    rig_close(&rig, "remove");

    rig_open(&rig, &(rig_conf_t){0});
    gone = 0;
    sched_model_remove(rig.s, rig.handle, count_gone, &gone);
    rig_step(&rig);
    is_int(gone, 1, "remove: at once if nobody uses it");
    rig_close(&rig, "remove at once");
}


/* Two models take turns; one goes, the other stays. */

static void
test_models(void)
{
    rig_t          rig;
    rig_group_t   *g[8];
    model_t        other;
    sched_model_t *handle, *third;
    uint32_t       i;
    int            gone = 0;

    rig_open(&rig, &(rig_conf_t){0});
    rig_model(&rig, &other, &(rig_conf_t){0});
    rig.other = &other;
    is_int(sched_model_add(rig.s, &other, &handle), 0, "models: a second one");

    for (i = 0; i < 8; i++) {
        g[i] = rig_group(&rig, (int32_t) (i % 4) * 100, 20, 1, 30);
        g[i]->g.model = i < 4 ? rig.handle : handle;
        rig_submit(&rig, g[i]);
    }

    for (i = 0; i < 30; i++) {
        rig_step(&rig);
    }

    ok(abs((int) g[0]->choices[0].n - (int) g[4]->choices[0].n) <= 1,
       "models: take turns");
    is_int(g[4]->cached, 0, "models: share no prefixes");
    sched_model_remove(rig.s, handle, count_gone, &gone);
    rig_run(&rig, 200);
    is_int(g[7]->choices[0].n, 30, "models: all end");
    is_int(gone, 1, "models: one is gone");
    g[0] = rig_group(&rig, 0, 20, 1, 30);
    rig_submit(&rig, g[0]);
    rig_run(&rig, 200);
    is_int(g[0]->choices[0].n, 30, "models: the other one lives");
    is_int(sched_model_add(rig.s, &other, &third), 0, "models: comes again");
    g[1] = rig_group(&rig, 0, 20, 1, 30);
    g[1]->g.model = third;
    rig_submit(&rig, g[1]);
    rig_run(&rig, 200);
    is_int(g[1]->choices[0].n, 30, "models: and serves");
    rig_close(&rig, "models");
}


static void
test_end(void)
{
    rig_t        rig;
    rig_group_t *g;
    int          phase;

    for (phase = 0; phase < PHASES; phase++) {
        rig_open(&rig, &(rig_conf_t){.seqs = 2});
        g = phase_enter(&rig, phase, 2);
        rig_submit(&rig, rig_group(&rig, 7, 7, 7, 7));
        sched_end(rig.s);
        ok(g->gone && rig.n_live == 0, "end: all are gone, one %s",
           phase_names[phase]);
        is_int(g->choices[1].reason, SCHED_CANCELLED, "end: its reason");
        ok(!rig.error, "end: %s", rig.why);

        while (rig.groups) {
            g = rig.groups;
            rig.groups = g->next;
            rig_group_free(g);
        }

        rig_model_free(&rig, &rig.model);
        rig.ops.close(rig.be);
    }
}
