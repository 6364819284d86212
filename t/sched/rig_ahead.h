/*
 * Steps ahead over a backend that has none: each is computed when it is
 * submitted, as a device would do them in order, and its draws are kept until
 * they are collected.  Stricter than a device: a token that is not resolved, a
 * third step, a collect() without one and sync calls in between are refused.
 */

#ifndef T_SCHED_RIG_AHEAD_H
#define T_SCHED_RIG_AHEAD_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/backend.h"

#define RIG_AHEAD_MAX 4
#define RIG_AHEAD_ROW 4096

typedef struct {
    k_exec_t   *exec;
    k_sampled_t results[2][RIG_AHEAD_ROW];
    uint32_t    n[2];
    uint32_t    n_last; /* draws of the step before */
    int32_t     last[RIG_AHEAD_ROW];
    int         first;
    int         flying;
} rig_ahead_t;

static rig_ahead_t            rig_aheads[RIG_AHEAD_MAX];
static const k_backend_ops_t *rig_ahead_ops;
static uint32_t               rig_ahead_steps; /* that were submitted */


static rig_ahead_t *
rig_ahead_of(k_exec_t *exec)
{
    int i;

    for (i = 0; rig_aheads[i].exec && rig_aheads[i].exec != exec; i++) {
        if (i == RIG_AHEAD_MAX - 1) {
            return NULL;
        }
    }

    rig_aheads[i].exec = exec;

    return &rig_aheads[i];
}


static int
rig_ahead_submit(k_exec_t *exec, const k_batch_t *batch, uint32_t n,
                 const k_sample_t *req)
{
    rig_ahead_t *a = rig_ahead_of(exec);
    int32_t      tokens[RIG_AHEAD_ROW];
    k_batch_t    b = *batch;
    uint32_t     i, slot;
    int          rc;

    if (a == NULL || a->flying == 2 || n > RIG_AHEAD_ROW
        || b.n_rows > RIG_AHEAD_ROW) {
        return -EBUSY;
    }

    memcpy(tokens, b.tokens, b.n_rows * sizeof(int32_t));
    b.tokens = tokens;

    for (i = 0; i < b.n_rows; i++) {
        if (tokens[i] >= 0) {
            continue;
        }

        if (a->flying == 0 || (uint32_t) (-1 - tokens[i]) >= a->n_last) {
            return -EINVAL;
        }

        tokens[i] = a->last[-1 - tokens[i]];
        tokens[i] = tokens[i] < 0 ? 0 : tokens[i];
    }

    slot = (uint32_t) (a->first + a->flying) % 2;

    rc = rig_ahead_ops->step_submit(exec, &b);
    rc = rc ? rc : rig_ahead_ops->sample(exec, n, req, a->results[slot]);
    if (rc < 0) {
        return rc;
    }

    for (i = 0; i < n; i++) {
        a->last[i] = a->results[slot][i].token;
    }

    a->n_last = n;
    a->n[slot] = n;
    a->flying++;
    rig_ahead_steps++;

    return 0;
}


static int
rig_ahead_collect(k_exec_t *exec, uint32_t n, k_sampled_t *out)
{
    rig_ahead_t *a = rig_ahead_of(exec);

    if (a == NULL || a->flying == 0 || n != a->n[a->first]) {
        return -EINVAL;
    }

    memcpy(out, a->results[a->first], n * sizeof(*out));
    a->first = 1 - a->first;
    a->flying--;

    return 0;
}


/* Where SCHED_AHEAD is set, ops (as they are when called) take steps ahead. */

__attribute__((unused)) static void
rig_ahead_use(k_backend_ops_t *ops)
{
    memset(rig_aheads, 0, sizeof(rig_aheads));
    rig_ahead_ops = ops;

    if (getenv("SCHED_AHEAD")) {
        ops->ahead_submit = rig_ahead_submit;
        ops->ahead_collect = rig_ahead_collect;
    }
}

#endif /* T_SCHED_RIG_AHEAD_H */
