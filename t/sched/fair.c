/*
 * Tenants: nobody waits for another one's flood.
 */

#include "t/sched/rig.h"

static void test_flood(void);
static void test_tokens(void);
static void test_order(void);
static void test_idle(void);
static void test_crowd(void);


int
main(void)
{
    test_flood();
    test_tokens();
    test_order();
    test_idle();
    test_crowd();

    return tap_done();
}


static rig_group_t *
send(rig_t *rig, uint64_t tenant, uint32_t n, uint32_t max)
{
    rig_group_t *g;

    g = rig_group(rig, (int32_t) (rand() % 4000), n, 1, max);
    g->g.tenant = tenant;
    rig_submit(rig, g);

    return g;
}


static void
test_flood(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     i;

    rig_open(&rig, &(rig_conf_t){.seqs = 2, .queue = 100});

    for (i = 0; i < 60; i++) {
        send(&rig, 1, 10, 20);
    }

    rig_step(&rig);
    g = send(&rig, 2, 10, 20);
    rig_run(&rig, 5000);
    ok(g->order <= 4, "flood: another tenant is next (%u of 61)", g->order);
    rig_close(&rig, "flood");
}


/* What counts is work, not requests. */

static void
test_tokens(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint64_t     tokens[2] = {0};
    uint32_t     i;

    rig_open(&rig, &(rig_conf_t){.seqs = 2, .queue = 400});

    for (i = 0; i < 50; i++) {
        send(&rig, 0, 10, 100);
    }

    for (i = 0; i < 250; i++) {
        send(&rig, 1, 5, 5);
    }

    for (i = 0; i < 800; i++) {
        rig_step(&rig);
    }

    for (g = rig.groups; g; g = g->next) {
        if (g->started) {
            tokens[g->g.tenant] += g->choices[0].n + g->g.n_tokens;
        }
    }

    diag("tokens of long requests %u, of short ones %u", (unsigned) tokens[0],
         (unsigned) tokens[1]);
    ok(tokens[0] < 2 * tokens[1] && tokens[1] < 2 * tokens[0],
       "tokens: two tenants get about the same");
    rig_run(&rig, 5000);
    rig_close(&rig, "tokens");
}


static void
test_order(void)
{
    rig_t        rig;
    rig_group_t *g[20];
    uint32_t     i, wrong = 0;

    rig_open(&rig, &(rig_conf_t){.seqs = 1});

    for (i = 0; i < 20; i++) {
        g[i] = send(&rig, 5 + i % 2, 1 + (uint32_t) rand() % 50, 4);
    }

    rig_run(&rig, 500);

    for (i = 2; i < 20; i++) {
        wrong += g[i]->order < g[i - 2]->order;
    }

    is_int(wrong, 0, "order: first in, first out within a tenant");
    rig_close(&rig, "order");
}


/* Neither does idling save up, nor does coming back forgive. */

static void
test_idle(void)
{
    rig_t        rig;
    rig_group_t *late[10], *g;
    uint32_t     i, first = 0;

    rig_open(&rig, &(rig_conf_t){.seqs = 1, .queue = 100});
    send(&rig, 2, 10, 1);

    for (i = 0; i < 40; i++) {
        send(&rig, 1, 10, 10);
    }

    for (i = 0; i < 200; i++) {
        rig_step(&rig);
    }

    for (i = 0; i < 10; i++) {
        late[i] = send(&rig, 2, 10, 10);
    }

    rig_run(&rig, 1000);

    for (g = rig.groups; g; g = g->next) {
        first += g->g.tenant == 1 && g->order > late[0]->order
                 && g->order < late[9]->order;
    }

    ok(first >= 7, "idle: saves nothing up (%u of the other between)", first);
    rig_close(&rig, "idle");
}


/* More tenants than the table remembers. */

static void
test_crowd(void)
{
    rig_t    rig;
    uint32_t i, k;

    rig_open(&rig, &(rig_conf_t){.queue = 10});

    for (i = 0; i < 100; i++) {
        for (k = 0; k < 10; k++) {
            send(&rig, i * 10 + k, 5, 2);
        }

        rig_run(&rig, 100);
    }

    is_int(rig.starts, 1000, "crowd: a thousand tenants were served");
    rig_close(&rig, "crowd");
}
