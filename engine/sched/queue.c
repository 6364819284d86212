/*
 * Waiting groups: a queue a tenant, first in first out, and the tenant that
 * was served least goes next.  What counts is work: prompt tokens to compute
 * at admission, then each generated token.  A tenant that comes back from
 * having nothing is lifted to where the others are, so that idling saves
 * nothing up; its account is kept while there is room, so that coming back
 * forgives nothing either.  Also here: deadlines.
 *
 * If ever more tenants are active than the table has places, the ones in
 * excess share places, and so a queue.
 *
 * Threads: the step loop's.
 */

#include "engine/sched/sched_priv.h"

static sched_tenant_t  *tenant_find(sched_model_t *m, uint64_t key);
static sched_tenant_t  *tenant_new(sched_model_t *m, uint64_t key);
static sched_tenant_t **tenant_bucket(sched_model_t *m, uint64_t key);
static void     tenants_append(sched_tenants_t *list, sched_tenant_t *t);
static void     tenants_remove(sched_tenants_t *list, sched_tenant_t *t);
static void     queue_insert(sched_req_t *r);
static void     queue_remove(sched_req_t *r);
static int      queue_overdue(const sched_req_t *r, uint64_t now);
static uint64_t queue_deadline(const sched_req_t *r);


/* A group that was just submitted. */

void
sched_queue_add(sched_req_t *r)
{
    sched_model_t  *m = r->model;
    sched_tenant_t *t;
    uint64_t        deadline;

    t = tenant_find(m, r->group->tenant);
    r->tenant = t;

    if (t->users++ == 0) {
        tenants_remove(&m->idle_tenants, t);
        t->served = t->served > m->served ? t->served : m->served;
    }

    r->state = SCHED_REQ_QUEUED;
    queue_insert(r);

    deadline = queue_deadline(r);
    if (deadline < m->sched->deadline) {
        m->sched->deadline = deadline;
    }
}


/* It begins, or it ends before that. */

void
sched_queue_drop(sched_req_t *r)
{
    if (r->state == SCHED_REQ_QUEUED) {
        queue_remove(r);
    }

    atomic_fetch_sub_explicit(&r->model->sched->waiting, 1,
                              memory_order_relaxed);
}


/* Paused before it began: others pass it; it comes back to its old place. */

void
sched_queue_hold(sched_req_t *r, int hold)
{
    if (hold && r->state == SCHED_REQ_QUEUED) {
        queue_remove(r);
        r->state = SCHED_REQ_HELD;

    } else if (!hold && r->state == SCHED_REQ_HELD) {
        r->state = SCHED_REQ_QUEUED;
        queue_insert(r);
    }
}


/* Whose turn it is, or NULL. */

sched_req_t *
sched_queue_first(sched_model_t *m)
{
    sched_tenant_t *t, *least;

    least = m->queued.first;

    for (t = least; t; t = t->next) {
        if (t->served < least->served) {
            least = t;
        }
    }

    return least ? least->first : NULL;
}


/* Work was done (or begun) for a group that has left its queue. */

void
sched_queue_served(sched_req_t *r, uint32_t tokens)
{
    sched_model_t  *m = r->model;
    sched_tenant_t *t = r->tenant;

    if (!r->started && t->served > m->served) {
        m->served = t->served;
    }

    t->served += tokens;
}


/* The group is gone. */

void
sched_queue_release(sched_req_t *r)
{
    if (--r->tenant->users == 0) {
        tenants_append(&r->model->idle_tenants, r->tenant);
    }
}


/* Ends what nobody waits for any more. */

void
sched_queue_expire(sched_t *s)
{
    sched_req_t *r, *next;
    uint64_t     deadline;
    int          reason;

    if (s->now < s->deadline) {
        return;
    }

    s->deadline = UINT64_MAX;

    for (r = s->live; r; r = next) {
        next = r->live_next;

        reason = queue_overdue(r, s->now);
        if (reason) {
            sched_req_finish(r, reason);
            continue;
        }

        deadline = queue_deadline(r);
        if (deadline < s->deadline) {
            s->deadline = deadline;
        }
    }
}


static int
queue_overdue(const sched_req_t *r, uint64_t now)
{
    const sched_group_t *g = r->group;

    if (g->done_ns && now >= g->done_ns) {
        return SCHED_DONE_TIMEOUT;
    }

    if (g->queue_ns && !r->started && now >= g->queue_ns) {
        return SCHED_QUEUE_TIMEOUT;
    }

    if (g->first_ns && !r->has_token && now >= g->first_ns) {
        return SCHED_FIRST_TIMEOUT;
    }

    return 0;
}


static uint64_t
queue_deadline(const sched_req_t *r)
{
    const sched_group_t *g = r->group;
    uint64_t             deadline = UINT64_MAX;

    if (g->done_ns) {
        deadline = g->done_ns;
    }

    if (g->queue_ns && !r->started && g->queue_ns < deadline) {
        deadline = g->queue_ns;
    }

    if (g->first_ns && !r->has_token && g->first_ns < deadline) {
        deadline = g->first_ns;
    }

    return deadline;
}


static void
queue_insert(sched_req_t *r)
{
    sched_tenant_t *t = r->tenant;
    sched_req_t    *after;

    if (t->first == NULL) {
        tenants_append(&r->model->queued, t);
    }

    for (after = t->last; after && after->number > r->number;
         after = after->prev) {
        /* void */
    }

    r->prev = after;
    r->next = after ? after->next : t->first;

    if (r->next) {
        r->next->prev = r;
    } else {
        t->last = r;
    }

    if (after) {
        after->next = r;
    } else {
        t->first = r;
    }
}


static void
queue_remove(sched_req_t *r)
{
    sched_tenant_t *t = r->tenant;

    if (r->prev) {
        r->prev->next = r->next;
    } else {
        t->first = r->next;
    }

    if (r->next) {
        r->next->prev = r->prev;
    } else {
        t->last = r->prev;
    }

    if (t->first == NULL) {
        tenants_remove(&r->model->queued, t);
    }
}


static sched_tenant_t *
tenant_find(sched_model_t *m, uint64_t key)
{
    sched_tenant_t *t;

    for (t = *tenant_bucket(m, key); t; t = t->hash_next) {
        if (t->key == key) {
            return t;
        }
    }

    return tenant_new(m, key);
}


/* A new place, or that of the tenant which has been idle longest. */

static sched_tenant_t *
tenant_new(sched_model_t *m, uint64_t key)
{
    sched_tenant_t *t, **link;

    if (m->tenants_used < m->n_tenants) {
        t = &m->tenants[m->tenants_used++];
        tenants_append(&m->idle_tenants, t);

    } else if (m->idle_tenants.first) {
        t = m->idle_tenants.first;
        link = tenant_bucket(m, t->key);
        while (*link != t) {
            link = &(*link)->hash_next;
        }

        *link = t->hash_next;

    } else {
        return &m->tenants[key % m->n_tenants];
    }

    t->key = key;
    t->served = 0;
    link = tenant_bucket(m, key);
    t->hash_next = *link;
    *link = t;

    return t;
}


static sched_tenant_t **
tenant_bucket(sched_model_t *m, uint64_t key)
{
    key *= 0x9e3779b97f4a7c15ull;

    return &m->tenants_hash[key >> 32 & m->tenants_mask];
}


static void
tenants_append(sched_tenants_t *list, sched_tenant_t *t)
{
    t->prev = list->last;
    t->next = NULL;

    if (list->last) {
        list->last->next = t;
    } else {
        list->first = t;
    }

    list->last = t;
}


static void
tenants_remove(sched_tenants_t *list, sched_tenant_t *t)
{
    if (t->prev) {
        t->prev->next = t->next;
    } else {
        list->first = t->next;
    }

    if (t->next) {
        t->next->prev = t->prev;
    } else {
        list->last = t->prev;
    }
}
