/*
 * Random operations on few pages and places, with fixed seeds.  After every
 * step the scheduler's invariants hold, every token is the right one after the
 * right prefix (rig.h), and at the end nothing is left.
 */

#include "t/sched/rig.h"

#define STORM_STEPS 1500

static void         storm(uint64_t seed);
static uint32_t     pick(uint32_t n);
static void         storm_submit(rig_t *rig);
static void         storm_act(rig_t *rig);
static int          storm_fail(k_exec_t *exec, const k_batch_t *batch);
static rig_group_t *storm_any(rig_t *rig);

static uint64_t state;
static uint32_t submitted, refused, acted, failures;


int
main(void)
{
    uint64_t seed;
    uint32_t seeds = 20;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    seeds = 6;
#endif

    llm_log_level(-1);

    for (seed = 1; seed <= seeds; seed++) {
        storm(seed);
    }

    diag("%u groups, %u refused, %u acts, %u failures", submitted, refused,
         acted, failures);

    return tap_done();
}


static uint32_t
pick(uint32_t n)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) (state >> 33) % n;
}


static void
storm(uint64_t seed)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     i;

    state = seed * 0x9e3779b97f4a7c15ull;

    rig_open(&rig, &(rig_conf_t){.pages = 6 + pick(pick(2) ? 10 : 40),
                                 .context = 190 + pick(400),
                                 .seqs = 1 + pick(8),
                                 .rows = 8 + pick(100),
                                 .chunk = 1 + pick(40),
                                 .queue = 1 + pick(20),
                                 .logits = 8 + pick(10)});

    if (seed % 3 == 0) {
        rig.ops.step_submit = storm_fail;
    }

    for (i = 0; i < STORM_STEPS && !rig.error; i++) {
        if (pick(4) == 0) {
            storm_submit(&rig);
        }

        if (pick(3) == 0) {
            storm_act(&rig);
        }

        rig.now += pick(1000);
        rig_step(&rig);
    }

    for (g = rig.groups; g; g = g->next) {
        if (!g->gone && g->g.priv) {
            sched_resume(rig.s, &g->g);
        }
    }

    for (i = 0; i < 100000 && rig.n_live && !rig.error; i++) {
        rig_step(&rig);
    }

    if (rig.error) {
        diag("seed %u, step %u", (unsigned) seed, rig.steps);
    }

    diag("seed %u: %u steps, %u preemptions, hits %u of %u", (unsigned) seed,
         rig.steps, (unsigned) rig.st.preemptions,
         (unsigned) rig.st.prefix_hits, (unsigned) rig.st.prefix_queries);
    rig_close(&rig, "storm");
}


static void
storm_submit(rig_t *rig)
{
    rig_group_t *g, *old;
    uint32_t     i, n;

    n = 1 + pick(pick(2) ? 180 : 40);
    g = rig_group(rig, (int32_t) pick(6) * 10, n, 1 + pick(pick(3) ? 1 : 10),
                  1 + pick(pick(2) ? 160 : 40));
    g->g.tenant = pick(5);
    g->g.salt[0] = (uint8_t) (pick(4) == 0);
    g->g.sampling.seed = pick(3);
    g->g.sampling.repetition = pick(4) ? 1 : 1.1f;
    g->g.prompt_logprobs = pick(8) == 0;

    /* Some go on from another one's output. */
    old = pick(2) ? storm_any(rig) : NULL;

    if (old && old->gone) {
        for (i = 0; i < n; i++) {
            if (i < old->g.n_tokens) {
                g->prompt[i] = old->prompt[i];
            } else if (i - old->g.n_tokens < old->choices[0].n) {
                g->prompt[i] = old->choices[0].tokens[i - old->g.n_tokens];
            }
        }
    }

    if (pick(8) == 0) {
        g->g.queue_ns = rig->now + pick(30000);
    }

    if (pick(8) == 0) {
        g->g.first_ns = rig->now + pick(60000);
    }

    if (pick(8) == 0) {
        g->g.done_ns = rig->now + pick(90000);
    }

    submitted++;
    refused += rig_submit(rig, g) < 0;
}


static rig_group_t *
storm_any(rig_t *rig)
{
    rig_group_t *g;
    uint32_t     i = pick(12);

    for (g = rig->groups; g && i > 0; g = g->next) {
        i--;
    }

    return g;
}


/* On any group that was accepted, even if it is gone. */

static void
storm_act(rig_t *rig)
{
    rig_group_t *g = storm_any(rig);

    if (g == NULL || g->g.priv == NULL) {
        return;
    }

    acted++;

    switch (pick(8)) {

    case 0:
        sched_cancel(rig->s, &g->g);
        break;

    case 1:
    case 2:
        sched_stop(rig->s, &g->g, pick(g->g.n_choices));
        break;

    case 3:
        sched_pause(rig->s, &g->g);
        break;

    default:
        sched_resume(rig->s, &g->g);
        break;
    }
}


static int
storm_fail(k_exec_t *exec, const k_batch_t *batch)
{
    if (pick(100) == 0) {
        failures++;
        return -EIO;
    }

    return k_backend_null.step_submit(exec, batch);
}
