/*
 * The prefix cache: what is found, what is shared, what goes.
 */

#include "t/sched/rig.h"

static void     test_hit(void);
static void     test_part(void);
static void     test_salt(void);
static void     test_equal_hash(void);
static void     test_turns(void);
static void     test_meanwhile(void);
static void     test_lru(void);
static uint32_t cached(rig_t *rig, int32_t base, uint32_t n, uint8_t salt);


int
main(void)
{
    test_hit();
    test_part();
    test_salt();
    test_equal_hash();
    test_turns();
    test_meanwhile();
    test_lru();

    return tap_done();
}


/* Runs a prompt; how many of its tokens came from the cache. */

static uint32_t
cached(rig_t *rig, int32_t base, uint32_t n, uint8_t salt)
{
    rig_group_t *g;

    g = rig_group(rig, base, n, 1, 1);
    g->g.salt[3] = salt;
    rig_submit(rig, g);
    rig_run(rig, 1000);

    return g->cached;
}


static void
test_hit(void)
{
    rig_t    rig;
    uint32_t steps;

    rig_open(&rig, &(rig_conf_t){.rows = 32});
    is_int(cached(&rig, 0, 160, 0), 0, "hit: none at first");
    is_int(cached(&rig, 0, 160, 0), 159,
           "hit: all but the last token, which is always computed");
    is_int(cached(&rig, 0, 161, 0), 160, "hit: whole pages");
    is_int(cached(&rig, 0, 64, 0), 63, "hit: of a shorter prompt");
    steps = rig.steps;
    is_int(cached(&rig, 0, 250, 0), 161, "hit: of a longer one");
    ok(rig.steps - steps <= 5, "hit: spares the steps");
    is_int(cached(&rig, 1, 160, 0), 0, "hit: no other prompt");
    is_int(rig.st.prefix_hits, 159 + 160 + 63 + 161, "hit: tokens counted");
    is_int(rig.st.prefix_queries, 160 + 160 + 161 + 64 + 250 + 160,
           "hit: and tokens asked for");
    rig_close(&rig, "hit");
}


/* A hit may end inside a page. */

static void
test_part(void)
{
    rig_t        rig;
    rig_group_t *g;

    rig_open(&rig, &(rig_conf_t){0});
    cached(&rig, 0, 100, 0);
    g = rig_group(&rig, 0, 90, 1, 1);
    g->prompt[77] = 4000;
    rig_submit(&rig, g);
    rig_run(&rig, 100);
    is_int(g->cached, 77, "part: up to where prompts differ");

    g = rig_group(&rig, 0, 90, 1, 1);
    g->prompt[20] = 4000;
    rig_submit(&rig, g);
    rig_run(&rig, 100);
    is_int(g->cached, 20, "part: in the first page");

    g = rig_group(&rig, 0, 90, 1, 1);
    g->prompt[20] = 4000;
    g->prompt[50] = 4000;
    rig_submit(&rig, g);
    rig_run(&rig, 100);
    is_int(g->cached, 50, "part: the better one of two");

    g = rig_group(&rig, 0, 90, 1, 1);
    g->prompt[0] = 4000;
    rig_submit(&rig, g);
    rig_run(&rig, 100);
    is_int(g->cached, 0, "part: nothing without the first token");
    rig_close(&rig, "part");
}


static void
test_salt(void)
{
    rig_t        rig;
    rig_group_t *g;

    rig_open(&rig, &(rig_conf_t){0});
    cached(&rig, 0, 100, 1);
    is_int(cached(&rig, 0, 100, 2), 0, "salt: another one shares nothing");
    is_int(cached(&rig, 0, 20, 2), 19, "salt: but its own");
    is_int(cached(&rig, 0, 100, 1), 99, "salt: the first one's is still there");
    is_int(cached(&rig, 0, 20, 3), 0, "salt: nor inside a page");
    rig_close(&rig, "salt");

    /* Where all hashes lead to the same bucket, comparing decides. */
    rig_open(&rig, &(rig_conf_t){0});
    rig.handle->pages.mask = 0;
    cached(&rig, 0, 100, 1);
    cached(&rig, 500, 100, 1);
    is_int(cached(&rig, 0, 100, 2), 0, "salt: nor in the same bucket");
    is_int(cached(&rig, 0, 100, 1), 99, "salt: where its own is found");

    g = rig_group(&rig, 0, 100, 1, 1);
    g->g.salt[3] = 1;
    memmove(g->prompt, g->prompt + 32, 32 * sizeof(int32_t));
    rig_submit(&rig, g);
    rig_run(&rig, 10);
    is_int(g->cached, 0, "bucket: the same tokens elsewhere are not found");

    rig_close(&rig, "bucket");
}


/* A hash only says where to look: another page with the same one is passed. */

static void
test_equal_hash(void)
{
    sched_pages_t p = {0};
    int32_t       tokens[2][K_PAGE_TOKENS];
    uint8_t       salt[16] = {0};
    uint32_t      page[2], i;
    uint64_t      hash;

    sched_pages_new(&p, 4);
    p.mask = 0;

    for (i = 0; i < 2; i++) {
        memset(tokens[i], (int) i + 1, sizeof(tokens[i]));
        page[i] = sched_page_take(&p);
        sched_prefix_add(&p, page[i], SCHED_NONE, salt, tokens[i],
                         K_PAGE_TOKENS);
    }

    hash = p.pages[page[1]].hash;
    p.pages[page[1]].hash = p.pages[page[0]].hash;
    ok(sched_prefix_find(&p, SCHED_NONE, salt, tokens[0]) == page[0],
       "hash: the page with the tokens is found");
    p.pages[page[1]].hash = hash;
    sched_pages_free(&p);
}


/* A chat: the next turn's prompt holds the last one's answer. */

static void
test_turns(void)
{
    rig_t        rig;
    rig_group_t *g, *h;
    uint32_t     i, n;

    rig_open(&rig, &(rig_conf_t){0});
    g = rig_group(&rig, 0, 50, 1, 75);
    rig_submit(&rig, g);
    rig_run(&rig, 200);

    h = rig_group(&rig, 0, 150, 1, 10);
    for (i = 50; i < 125; i++) {
        h->prompt[i] = g->choices[0].tokens[i - 50];
    }

    rig_submit(&rig, h);
    rig_run(&rig, 200);
    is_int(h->cached, 124, "turns: all that was computed of the last one");

    g = rig_group(&rig, 0, 300, 1, 1);
    memcpy(g->prompt, h->prompt, 150 * sizeof(int32_t));
    for (n = 0; n < 10; n++) {
        g->prompt[150 + n] = h->choices[0].tokens[n];
    }

    rig_submit(&rig, g);
    rig_run(&rig, 200);
    is_int(g->cached, 159, "turns: and of the one after it");
    rig_close(&rig, "turns");
}


/* While one computes a prompt another one with the same may come. */

static void
test_meanwhile(void)
{
    rig_t        rig;
    rig_group_t *a, *b, *c;

    rig_open(&rig, &(rig_conf_t){.rows = 64});
    a = rig_group(&rig, 0, 300, 1, 40);
    b = rig_group(&rig, 0, 300, 1, 40);
    rig_submit(&rig, a);
    rig_submit(&rig, b);
    rig_step(&rig);
    rig_step(&rig);
    rig_step(&rig);
    c = rig_group(&rig, 0, 300, 1, 40);
    rig_submit(&rig, c);
    rig_step(&rig);
    rig_step(&rig);
    ok(c->cached > 0, "meanwhile: pages are shared as they fill");
    rig_run(&rig, 100);
    is_int(c->choices[0].n, 40, "meanwhile: and all end");
    ok(rig.st.pages - rig.st.pages_free == 0, "meanwhile: pages are free");
    rig_close(&rig, "meanwhile");
}


static void
test_lru(void)
{
    rig_t    rig;
    uint32_t i;

    rig_open(&rig, &(rig_conf_t){.pages = 20});
    cached(&rig, 0, 150, 0);

    for (i = 1; i <= 3; i++) {
        cached(&rig, (int32_t) i * 1000, 150, 0);
    }

    is_int(cached(&rig, 0, 150, 0), 149, "lru: twenty pages hold four prompts");
    cached(&rig, 4000, 150, 0);
    is_int(cached(&rig, 0, 150, 0), 149, "lru: what was used stays");
    ok(cached(&rig, 1000, 150, 0) < 149, "lru: the oldest went");
    ok(cached(&rig, 0, 150, 0) == 149, "lru: but not the others");
    rig_close(&rig, "lru");
}
