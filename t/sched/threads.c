/*
 * The loop in its own thread; threads that submit, cancel, stop, pause and
 * resume without a pause; models that come and go meanwhile.  For TSan, and
 * for what must hold anyway: each group is gone exactly once.  Most of them
 * are under a grammar, whose masks threads make.  Then: an idle
 * loop takes no time of the processor, and a note wakes it.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "t/sched/toy.h"

#define THREADS 4
#define KEPT    8

typedef struct {
    sched_group_t g;
    atomic_int    gone;
    atomic_uint   finished;
    atomic_uint   tokens;
    int           used;
    int32_t       prompt[120];
} group_t;

typedef struct {
    pthread_t thread;
    uint32_t  number;
    uint64_t  state;
    uint32_t  accepted;
    uint32_t  refused;
    group_t   groups[KEPT];
} user_t;

static void     events(void *data, const sched_event_t *ev, uint32_t n);
static void    *user(void *data);
static void     user_submit(user_t *u, group_t *g);
static uint32_t user_pick(user_t *u, uint32_t n);
static void     model_cycle(rig_t *rig);
static void     removed(void *data);
static void     test_storm(rig_t *rig);
static void     test_idle(rig_t *rig);
static double   cpu_seconds(void);
static uint64_t idle_switches(void);

static sched_t                 *sched;
static _Atomic(sched_model_t *) handle;
static atomic_uint              gone, wrong;
static uint32_t                 rounds = 3000;

static grammar_t grammars[] = {
    {.script = "ccFccffffffcccccccccccccccccccccccc", .slow_us = 40},
    {.script = "RFFFFFFFFFFcccfffffffffffffffffffffff"},
    {.script = "ffffccccccccccccccccccccccccc", .slow_us = 400},
};

static const int32_t eog[] = {TOY_EOG};
static const int32_t think_end[] = {TOY_THINK};


int
main(void)
{
    sched_config_t sc = {
        .max_seqs = 6,
        .max_rows = 64,
        .chunk = 32,
        .max_queue = 10,
        .events = events,
        .mask_threads = 2,
        .mask_wait_us = 100,
    };
    k_config_t     kc = {.memory = 1 << 30};
    rig_t          rig;
    char           err[K_ERR_MAX];
    sched_model_t *m;
    uint32_t       i;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    rounds = 1500;
#endif

    memset(&rig, 0, sizeof(rig));
    rig.ops = k_backend_null;
    rig.ops.open(&kc, &rig.be, err);
    rig_model(&rig, &rig.model, &(rig_conf_t){.pages = 24, .context = 300});
    is_int(sched_new(&sc, &sched), 0, "threads: a scheduler");
    is_int(sched_model_add(sched, &rig.model, &m), 0, "threads: a model");
    atomic_store(&handle, m);
    is_int(sched_start(sched), 0, "threads: the loop runs");

    test_storm(&rig);
    test_idle(&rig);

    sched_end(sched);
    rig_model_free(&rig, &rig.model);
    rig.ops.close(rig.be);

    for (i = 0; i < llm_countof(grammars); i++) {
        is_int(atomic_load(&grammars[i].refs) + atomic_load(&grammars[i].states)
                   + atomic_load(&grammars[i].crowded),
               0, "threads: grammar %u: nothing is held, one at a time", i);
    }

    return tap_done();
}


static void
events(void *data, const sched_event_t *ev, uint32_t n)
{
    uint32_t i;
    group_t *g;

    for (i = 0; i < n; i++) {
        g = ev[i].group->data;

        switch (ev[i].kind) {

        case SCHED_EV_TOKEN:
            atomic_fetch_add(&g->tokens, 1);
            break;

        case SCHED_EV_FINISH:
            atomic_fetch_add(&g->finished, 1);
            break;

        case SCHED_EV_GONE:
            atomic_fetch_add(&wrong,
                             atomic_load(&g->finished) != g->g.n_choices);
            atomic_fetch_add(&gone, 1);
            /* From here on its memory may be another group's. */
            atomic_fetch_add(&wrong, atomic_exchange(&g->gone, 1));
            break;

        default:
            break;
        }
    }
}


static uint32_t
user_pick(user_t *u, uint32_t n)
{
    u->state = u->state * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) (u->state >> 33) % n;
}


static void
user_submit(user_t *u, group_t *g)
{
    uint32_t i;

    for (i = 0; i < 120; i++) {
        g->prompt[i] = (int32_t) (i + u->number);
    }

    g->g = (sched_group_t){
        .model = atomic_load(&handle),
        .tokens = g->prompt,
        .n_tokens = 1 + user_pick(u, 120),
        .n_choices = 1 + user_pick(u, 3),
        .max_tokens = 1 + user_pick(u, 40),
        .sampling = {.temperature = 1, .top_p = 1, .repetition = 1.1f},
        .tenant = u->number,
        .data = g,
    };

    i = user_pick(u, 4);

    if (i < llm_countof(grammars)) {
        g->g.grammar = &grammars[i];
        g->g.eog = eog;
        g->g.n_eog = 1;
        g->g.think_end = think_end;
        g->g.n_think_end = 1;
        g->g.think_budget = 7;
        g->g.sampling.logprobs = i == 2;
    }

    atomic_store(&g->gone, 0);
    atomic_store(&g->finished, 0);

    if (sched_submit(sched, &g->g) == 0) {
        g->used = 1;
        u->accepted++;
    } else {
        u->refused++;
    }
}


/* Calls on a group go on until its end was seen, and past the end. */

static void *
user(void *data)
{
    user_t  *u = data;
    group_t *g;
    uint32_t i, k;

    for (i = 0; i < rounds; i++) {
        g = &u->groups[user_pick(u, KEPT)];

        if (!g->used) {
            user_submit(u, g);
            continue;
        }

        switch (user_pick(u, 8)) {

        case 0:
            sched_cancel(sched, &g->g);
            break;

        case 1:
            sched_stop(sched, &g->g, user_pick(u, 3));
            break;

        case 2:
            sched_pause(sched, &g->g);
            break;

        default:
            sched_resume(sched, &g->g);
            break;
        }

        if (atomic_load(&g->gone)) {
            g->used = 0;
        }

        if (i % 16 == 0) {
            usleep(100);
        }
    }

    for (k = 0; k < KEPT; k++) {
        g = &u->groups[k];

        while (g->used && !atomic_load(&g->gone)) {
            sched_resume(sched, &g->g);
            usleep(1000);
        }
    }

    return NULL;
}


static void
removed(void *data)
{
    atomic_store((atomic_int *) data, 1);
}


/* A model beside the users' one: it comes, serves one, and goes. */

static void
model_cycle(rig_t *rig)
{
    sched_model_t *m;
    atomic_int     done = 0;
    group_t        g;
    model_t        model;
    user_t         u = {.number = 99};

    memset(&g, 0, sizeof(g));
    rig_model(rig, &model, &(rig_conf_t){.pages = 24, .context = 300});
    atomic_fetch_add(&wrong, sched_model_add(sched, &model, &m) != 0);
    user_submit(&u, &g);

    if (g.used) {
        while (!atomic_load(&g.gone)) {
            usleep(100);
        }
    }

    atomic_fetch_sub(&gone, g.used);
    g.g.model = m;
    atomic_store(&g.gone, 0);
    atomic_store(&g.finished, 0);

    if (sched_submit(sched, &g.g) == 0) {
        sched_model_remove(sched, m, removed, &done);
        while (!atomic_load(&g.gone)) {
            usleep(100);
        }

        atomic_fetch_sub(&gone, 1);
    } else {
        sched_model_remove(sched, m, removed, &done);
    }

    while (!atomic_load(&done)) {
        usleep(100);
    }

    rig_model_free(rig, &model);
}


static void
test_storm(rig_t *rig)
{
    static user_t users[THREADS];
    sched_stats_t st;
    uint32_t      i, accepted = 0, refused = 0;

    for (i = 0; i < THREADS; i++) {
        users[i].number = i;
        users[i].state = i + 1;
        pthread_create(&users[i].thread, NULL, user, &users[i]);
    }

    for (i = 0; i < 5; i++) {
        model_cycle(rig);
        sched_stats(sched, &st);
    }

    for (i = 0; i < THREADS; i++) {
        pthread_join(users[i].thread, NULL);
        accepted += users[i].accepted;
        refused += users[i].refused;
    }

    diag("%u groups, %u refused", accepted, refused);
    ok(accepted > 50, "threads: groups were served");
    is_int(atomic_load(&gone), accepted, "threads: each is gone, once");
    is_int(atomic_load(&wrong), 0, "threads: and finished before");

    for (i = 0; i < 100; i++) {
        usleep(1000);
        sched_stats(sched, &st);
        if (st.pages == st.pages_free && st.pages == 24) {
            break;
        }
    }

    is_int(st.pages_free, 24, "threads: all pages are free");
    is_int(st.waiting + st.running + st.paused, 0, "threads: nothing is left");
    ok(st.steps > 0 && st.generated_tokens > 0, "threads: steps are counted");
}


static double
cpu_seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static uint64_t
idle_switches(void)
{
    struct rusage ru;

    getrusage(RUSAGE_SELF, &ru);

    return (uint64_t) ru.ru_nvcsw;
}


static void
test_idle(rig_t *rig)
{
    static group_t g;
    user_t         u = {.number = 1};
    double         before;
    uint64_t       switches;
    uint32_t       i;

    usleep(20000);
    before = cpu_seconds();
    switches = idle_switches();
    usleep(300000);
    before = cpu_seconds() - before;
    switches = idle_switches() - switches;
    ok(before < 0.02, "idle: %.1f ms of the processor in 300", before * 1000);
    ok(switches < 20, "idle: the loop does not wake (%u switches)",
       (unsigned) switches);

    for (i = 0; i < 50; i++) {
        memset(&g, 0, sizeof(g));
        user_submit(&u, &g);
        while (!atomic_load(&g.gone)) {
            usleep(50);
        }
    }

    ok(1, "idle: a note wakes the loop, 50 times");

    memset(&g, 0, sizeof(g));
    user_submit(&u, &g);
    sched_pause(sched, &g.g);
    usleep(2000);

    while (!atomic_load(&g.gone)) {
        sched_cancel(sched, &g.g);
        usleep(500);
    }

    ok(1, "idle: as a cancel does");
}
