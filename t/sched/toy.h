/*
 * A toy for the scheduler's tests in place of engine/grammar: it defines the
 * functions that the scheduler calls, so that the library's are not linked.
 * A grammar is a script with a letter for each place of the output:
 *
 *     c   tokens t with t % 7 == (previous + place) % 7
 *     f   one token: 1000 + place; it is forced
 *     F   free text: any token but those with t % 5 == 1; one with
 *         t % 5 == 0 leads to the next place, others stay
 *     R   reasoning, free text: any but t % 11 == 0; TOY_THINK leads on
 *     T   the same, but not free: a mask each token
 *     e   as c, or TOY_EOG
 *     o   TOY_EOG only, and nobody says before that it is the end
 *     x   nothing: an empty mask
 *     E   the mask fails;  A   accepting what stands here fails
 *
 * After the last letter nothing can come.  Each call takes a while, if the
 * grammar is slow; calls of two threads at once are noted.
 */

#ifndef T_SCHED_TOY_H
#define T_SCHED_TOY_H

#include <stdatomic.h>
#include <time.h>
#include "t/sched/rig.h"

#define TOY_EOG   7
#define TOY_THINK 4500

struct grammar_s {
    const char *script;
    int         unforced; /* f is left to the mask */
    uint32_t    slow_us;  /* of a mask, and a tenth of it for the others */
    atomic_uint refs;
    atomic_uint states;
    atomic_uint busy;
    atomic_uint crowded;
    atomic_uint calls;
};

struct grammar_state_s {
    grammar_t *g;
    uint32_t   at;
    int32_t    prev;
    int        ended;
};


static void
toy_enter(grammar_t *g, uint32_t us)
{
    struct timespec ts;
    uint32_t        n;

    atomic_fetch_add(&g->crowded, atomic_fetch_add(&g->busy, 1) != 0);
    n = atomic_fetch_add(&g->calls, 1);

    if (us) {
        ts.tv_sec = 0;
        ts.tv_nsec = (long) (us * (n * 2654435761u >> 28)) * 125;
        nanosleep(&ts, NULL);
    }
}


static int
toy_leave(grammar_t *g, int rc)
{
    atomic_fetch_sub(&g->busy, 1);

    return rc;
}


/* Whether a token may come; *next: the place after it. */

static int
toy_allows(const grammar_state_t *s, int32_t t, uint32_t *next)
{
    char c = s->ended ? 0 : s->g->script[s->at];

    *next = s->at + 1;

    switch (c) {

    case 'e':
    case 'c':
    case 'A':
    case 'E':
        return (c == 'e' && t == TOY_EOG)
               || (t % 7 == (s->prev + (int32_t) s->at) % 7 && t != TOY_EOG);

    case 'f':
        return t == 1000 + (int32_t) s->at;

    case 'F':
        *next = s->at + (t % 5 == 0);
        return t % 5 != 1 && t != TOY_EOG;

    case 'R':
    case 'T':
        *next = s->at + (t == TOY_THINK);
        return t % 11 != 0 && t != TOY_EOG;

    case 'o':
        return t == TOY_EOG;

    default:
        return 0;
    }
}


void
grammar_hold(grammar_t *g)
{
    atomic_fetch_add(&g->refs, 1);
}


void
grammar_release(grammar_t *g)
{
    atomic_fetch_sub(&g->refs, 1);
}


int
grammar_state_new(grammar_t *g, grammar_state_t **s)
{
    *s = calloc(1, sizeof(grammar_state_t));
    (*s)->g = g;
    (*s)->prev = 3;
    atomic_fetch_add(&g->states, 1);

    return 0;
}


void
grammar_state_free(grammar_state_t *s)
{
    atomic_fetch_sub(&s->g->states, 1);
    free(s);
}


int
grammar_state_mask(grammar_state_t *s, uint32_t *mask)
{
    uint32_t t, next;

    toy_enter(s->g, s->g->slow_us);
    memset(mask, 0, (RIG_VOCAB + 31) / 32 * 4);

    for (t = 0; t < RIG_VOCAB; t++) {
        if (toy_allows(s, (int32_t) t, &next)) {
            mask[t / 32] |= 1u << t % 32;
        }
    }

    return toy_leave(s->g, s->g->script[s->at] == 'E' ? -ETIME : 0);
}


int
grammar_state_accept(grammar_state_t *s, int32_t t)
{
    uint32_t next;

    toy_enter(s->g, s->g->slow_us / 10);

    if (s->g->script[s->at] == 'A') {
        return toy_leave(s->g, -E2BIG);
    }

    if (!toy_allows(s, t, &next)) {
        return toy_leave(s->g, -EINVAL);
    }

    s->at = next;
    s->prev = t;
    s->ended = t == TOY_EOG;

    return toy_leave(s->g, 0);
}


/* A few at a time, so that it has to be asked again. */

int
grammar_state_forced(grammar_state_t *s, int32_t *tokens, uint32_t cap)
{
    uint32_t n = 0;

    while (!s->g->unforced && !s->ended && n < cap && n < 40
           && s->g->script[s->at + n] == 'f') {
        tokens[n] = 1000 + (int32_t) (s->at + n);
        n++;
    }

    return (int) n;
}


int
grammar_state_free_text(const grammar_state_t *s)
{
    return !s->ended
           && (s->g->script[s->at] == 'F' || s->g->script[s->at] == 'R');
}


int
grammar_state_thinking(const grammar_state_t *s)
{
    return !s->ended
           && (s->g->script[s->at] == 'T' || s->g->script[s->at] == 'R');
}


int
grammar_state_complete(const grammar_state_t *s)
{
    char c = s->g->script[s->at];

    return s->ended || c == 0 ? 2 : c == 'e' || c == 'o' ? 1 : 0;
}


/*
 * What a choice of a group must come to, worked out without a scheduler:
 * tokens, how many, and why it ends.
 */

__attribute__((unused)) static int
toy_expect(const rig_group_t *g, uint32_t choice, uint32_t max, int32_t *out,
           uint32_t *n_out)
{
    grammar_state_t         s = {.g = g->g.grammar, .prev = 3};
    const sched_sampling_t *sp = &g->g.sampling;
    uint32_t                n = 0, thought = 0, queued = 0, i, k, next, used;
    int32_t                 t;
    int                     biased, thinking;

    for (used = 0; n < max; n++) {
        if (grammar_state_complete(&s) == 2) {
            break;
        }

        thinking = grammar_state_thinking(&s);

        if (!used && thinking && g->g.n_think_end
            && thought >= g->g.think_budget) {
            used = 1;
            queued = g->g.n_think_end;
        }

        t = -1;

        if (queued) {
            t = g->g.think_end[g->g.n_think_end - queued--];
            if (!toy_allows(&s, t, &next)) {
                queued = 0;
                t = -1;
            }
        }

        for (biased = 1; t < 0 && biased >= 0; biased--) {
            t = k_null_token(RIG_VOCAB, sp->seed, g->g.n_tokens + n, choice);

            for (i = 0; i < RIG_VOCAB; i++, t = (t + 1) % RIG_VOCAB) {
                if (!toy_allows(&s, t, &next)) {
                    continue;
                }

                for (k = 0; biased && k < sp->n_bias; k++) {
                    if (sp->bias[k].token == t) {
                        break;
                    }
                }

                if (!biased
                    || ((k == sp->n_bias || sp->n_bias == 0)
                        && !(sp->ignore_eos && t == TOY_EOG))) {
                    break;
                }
            }

            t = i < RIG_VOCAB ? t : -1;
        }

        if (t < 0 || s.g->script[s.at] == 'E') {
            *n_out = n;
            return s.g->script[s.at] == 'E' ? SCHED_GRAMMAR : SCHED_FAILED;
        }

        if (s.g->script[s.at] == 'A') {
            out[n] = t;
            *n_out = n + 1;
            return SCHED_GRAMMAR;
        }

        toy_allows(&s, t, &next);
        s.at = next;
        s.prev = t;
        s.ended = t == TOY_EOG;
        thought += thinking != 0;
        out[n] = t;
    }

    *n_out = n;

    return grammar_state_complete(&s) == 2 ? SCHED_STOP : SCHED_LENGTH;
}

#endif /* T_SCHED_TOY_H */
