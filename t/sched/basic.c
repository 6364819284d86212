/*
 * Admission, chunks, choices, prefixes, ends: a scheduler stepped by hand.
 */

#include <math.h>
#include "t/sched/rig.h"

static void test_one(void);
static void test_many(void);


int
main(void)
{
    test_one();
    test_many();

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
    is_int(rig_run(&rig, 100), 0, "one: comes to rest");
    is_int(g->choices[0].n, 5, "one: five tokens");
    is_int(g->choices[0].reason, SCHED_LENGTH, "one: ended by max_tokens");
    ok(g->gone, "one: gone");
    is_int(g->cached, 0, "one: nothing was cached");
    is_int(rig.st.generated_tokens, 5, "one: generated tokens are counted");
    is_int(rig.st.prompt_tokens, 10, "one: prompt tokens are counted");
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
