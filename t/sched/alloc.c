/*
 * The step loop neither allocates nor frees: malloc and its like are ours
 * here and count calls of this thread while a step runs.
 */

#include "t/sched/rig.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

int
main(void)
{
    skip_all("a sanitizer has malloc");
}

#else

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void  __libc_free(void *p);

static volatile int      counting;
static volatile uint32_t calls;


void *
malloc(size_t size)
{
    calls += counting;
    return __libc_malloc(size);
}


void *
calloc(size_t n, size_t size)
{
    calls += counting;
    return __libc_calloc(n, size);
}


void *
realloc(void *p, size_t size)
{
    calls += counting;
    return __libc_realloc(p, size);
}


void
free(void *p)
{
    calls += counting && p;
    __libc_free(p);
}


int
main(void)
{
    rig_t        rig;
    rig_group_t *g;
    uint32_t     i, steps = 0;
    void *volatile p;

    counting = 1;
    p = malloc(10);
    free(p);
    counting = 0;
    is_int(calls, 2, "alloc: calls are counted");
    calls = 0;

    rig_open(&rig, &(rig_conf_t){.pages = 20, .context = 400});

    for (i = 0; i < 2000; i++) {
        if (i % 7 == 0 && i < 1500) {
            g = rig_group(&rig, (int32_t) (i % 5) * 30, 20 + i % 90, 1 + i % 3,
                          20 + i % 50);
            g->g.sampling.repetition = 1.2f;
            g->g.sampling.frequency = 0.1f;
            g->g.tenant = i;
            g->g.prompt_logprobs = i % 2;
            g->g.done_ns = rig.now + 100;

            if (rig_submit(&rig, g) == 0 && i % 3 == 0) {
                sched_pause(rig.s, &g->g);
                sched_stop(rig.s, &g->g, 0);
            }
        }

        rig.now++;
        counting = 1;
        steps += sched_step(rig.s) == 1;
        counting = 0;
        sched_stats(rig.s, &rig.st);
    }

    ok(steps > 1000 && rig.st.preemptions > 0 && rig.st.prefix_hits > 0,
       "alloc: %u steps with %u preemptions", steps,
       (unsigned) rig.st.preemptions);
    is_int(calls, 0, "alloc: none in a step");
    rig_close(&rig, "alloc");

    return tap_done();
}

#endif
