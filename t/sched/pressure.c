/*
 * Too few pages: who loses them, and that nobody's output changes by it.
 */

#include "t/sched/rig.h"

static void test_preempt(void);
static void test_reserve(void);
static void test_oldest(void);
static void test_choices(void);
static void test_paused(void);
static void test_blocked(void);


int
main(void)
{
    test_preempt();
    test_reserve();
    test_oldest();
    test_choices();
    test_paused();
    test_blocked();

    return tap_done();
}


/*
 * Tokens and the prefixes that they were drawn after are compared with what
 * they are alone, in rig.h: so "no error" says that preemption changed nothing.
 */

static void
test_preempt(void)
{
    rig_t        rig;
    rig_group_t *g[6];
    uint32_t     i, pages, done;

    for (pages = 5; pages < 30; pages += 4) {
        rig_open(&rig, &(rig_conf_t){.pages = pages, .context = 160});

        for (i = 0; i < 6; i++) {
            g[i] = rig_group(&rig, (int32_t) (i * 500), 3 + 9 * i, 1, 90);
            g[i]->g.sampling.frequency = i % 2 ? 0.5f : 0;
            rig_submit(&rig, g[i]);
        }

        rig_run(&rig, 3000);

        for (done = 0, i = 0; i < 6; i++) {
            done += g[i]->choices[0].n == 90;
        }

        is_int(done, 6, "preempt: all end in %u pages", pages);
        if (pages < 20) {
            ok(rig.st.preemptions > 0, "preempt: there were some");
        }

        rig_close(&rig, "preempt");
    }
}


/* Who would be preempted soon is not let in: its prompt's work is spared. */

static void
test_reserve(void)
{
    rig_t        rig;
    rig_group_t *g;

    rig_open(&rig, &(rig_conf_t){.pages = 10, .context = 300});
    rig_submit(&rig, rig_group(&rig, 0, 100, 1, 60));
    g = rig_group(&rig, 1000, 190, 1, 10);
    rig_submit(&rig, g);
    rig_run(&rig, 200);
    ok(g->gone, "reserve: both end");
    is_int(rig.st.preemptions, 0, "reserve: nobody is preempted");
    rig_close(&rig, "reserve");
}


/* The oldest is never held up. */

static void
test_oldest(void)
{
    rig_t        rig;
    rig_group_t *g[5];
    uint32_t     i;

    rig_open(&rig, &(rig_conf_t){.pages = 10, .context = 320});

    for (i = 0; i < 5; i++) {
        g[i] = rig_group(&rig, (int32_t) (i * 500), 4, 1, 300);
        rig_submit(&rig, g[i]);
    }

    rig_run(&rig, 5000);
    is_int(g[0]->gone_step - g[0]->choices[0].first_step, 299,
           "oldest: a token in every step");

    for (i = 1; i < 5; i++) {
        ok(g[i]->choices[0].n == 300 && g[i]->gone_step > g[i - 1]->gone_step,
           "oldest: number %u ends after the one before it", i);
    }

    ok(rig.st.preemptions >= 4, "oldest: others were preempted");
    rig_close(&rig, "oldest");
}


static void
test_choices(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     i, done = 0;

    rig_open(&rig, &(rig_conf_t){.pages = 8, .context = 256});
    g = rig_group(&rig, 0, 50, 8, 200);
    rig_submit(&rig, g);
    rig_run(&rig, 10000);

    for (i = 0; i < 8; i++) {
        done += g->choices[i].n == 200;
    }

    is_int(done, 8, "choices: eight in pages for one all end");
    rig_close(&rig, "choices");
}


/* Paused sequences keep their pages, but not against others. */

static void
test_paused(void)
{
    rig_t        rig;
    rig_group_t *g, *h;
    uint32_t     held;

    rig_open(&rig, &(rig_conf_t){.pages = 12, .context = 300});
    g = rig_group(&rig, 0, 100, 1, 60);
    rig_submit(&rig, g);
    rig_step(&rig);
    rig_step(&rig);
    rig_step(&rig);
    sched_pause(rig.s, &g->g);
    rig_step(&rig);
    held = (uint32_t) (rig.st.pages - rig.st.pages_free);
    ok(held >= 4, "paused: keeps its pages");

    h = rig_group(&rig, 1000, 200, 1, 80);
    rig_submit(&rig, h);
    rig_run(&rig, 200);
    is_int(h->choices[0].n, 80, "paused: another one goes on in its pages");
    ok(h->gone && !g->gone, "paused: it is still there");
    is_int(rig.st.pages_free, 12, "paused: without pages");
    is_int(rig.st.paused, 1, "paused: and counted");

    sched_resume(rig.s, &g->g);
    rig_run(&rig, 200);
    is_int(g->choices[0].n, 60, "paused: goes on where it was");
    rig_close(&rig, "paused");
}


/* Who needs many pages is not passed for ever by those who need few. */

static void
test_blocked(void)
{
    rig_t        rig;
    rig_group_t *g[30], *big = NULL;
    uint32_t     i, before = 0;

    rig_open(&rig, &(rig_conf_t){.pages = 10, .context = 320});

    for (i = 0; i < 30; i++) {
        g[i] = rig_group(&rig, (int32_t) (i * 100), 20, 1, 40);
        g[i]->g.tenant = i;
        rig_submit(&rig, g[i]);

        if (i == 5) {
            big = rig_group(&rig, 4000, 250, 1, 10);
            big->g.tenant = 99;
            rig_submit(&rig, big);
        }
    }

    rig_run(&rig, 3000);

    for (i = 0; i < 30; i++) {
        before += g[i]->gone && g[i]->order < big->order;
    }

    ok(big->gone, "blocked: it ends");
    is_int(before, 6, "blocked: who came later does not pass it");
    rig_close(&rig, "blocked");
}
