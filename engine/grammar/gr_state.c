/*
 * Machines of a grammar program and their states (gr.h).  The program owns
 * everything; whoever holds its lock is the only thread here.
 *
 * A state's edges are worked out once, or not at all: an expansion that
 * fails leaves no trace but states without edges, so that it can be tried
 * again when it only ran out of steps.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_priv.h"

static int edge_cmp(const void *a, const void *b);
static int keep_edges(gr_t *gr, gr_st_t *st, uint32_t base);
static int null_step(gr_t *gr, gr_st_t *st, int *changed);
static int null_open(gr_t *gr, gr_state_t state, int *changed);


uint32_t
gr_machine_add(gr_t *gr, const gr_machine_t *ops, void *data)
{
    if (gr_grow(gr, &gr->machines, &gr->cap_machines,
                (uint64_t) gr->n_machines + 1, sizeof(gr_mach_t))
        < 0) {
        if (ops->free) {
            ops->free(data);
        }

        return 0;
    }

    gr->machines[gr->n_machines] = (gr_mach_t){ops, data};

    return gr->n_machines++;
}


gr_state_t
gr_state(gr_t *gr, uint32_t machine, const void *key, size_t len)
{
    uint32_t hash, i;
    gr_st_t *st;
    uint8_t *own;

    /* After a failure nothing is asked for, but the number must be one. */

    hash = gr_hash(key, len) ^ machine * 0x9e3779b1u;

    if (gr_table_room(gr, &gr->by_key) < 0 || len > UINT32_MAX) {
        return 1;
    }

    for (i = hash & (gr->by_key.cap - 1); gr->by_key.slots[i].value;
         i = (i + 1) & (gr->by_key.cap - 1)) {
        if (gr->by_key.slots[i].hash != hash) {
            continue;
        }

        st = gr->states[gr->by_key.slots[i].value];

        if (st->machine == machine && st->len == len
            && (len == 0 || memcmp(st->key, key, len) == 0)) {
            return gr->by_key.slots[i].value;
        }
    }

    if (gr->n_states > gr->limits.max_states) {
        gr_fail(gr, -E2BIG, "the grammar has more than %u states",
                gr->limits.max_states);
        return 1;
    }

    if (gr_grow(gr, &gr->states, &gr->cap_states, (uint64_t) gr->n_states + 1,
                sizeof(gr_st_t *))
        < 0) {
        return 1;
    }

    st = gr_get(gr, sizeof(gr_st_t));
    own = gr_get(gr, len + 1);

    if (st == NULL || own == NULL) {
        return 1;
    }

    if (len) {
        memcpy(own, key, len);
    }

    st->key = own;
    st->len = (uint32_t) len;
    st->machine = machine;
    st->hash = hash;
    gr->states[gr->n_states] = st;
    gr->by_key.slots[i] = (gr_slot_t){hash, gr->n_states};
    gr->by_key.used++;

    return gr->n_states++;
}


void
gr_edge_lexeme(gr_edges_t *out, uint32_t lexeme, gr_state_t to)
{
    const gr_lex_t *lex = &out->gr->lexemes[lexeme];

    if (lex->some) {
        gr_edge_add(out, GR_LEXEME, lexeme, to);
    }

    if (lex->nullable) {
        gr_edge_add(out, GR_EPSILON, 0, to);
    }
}


void
gr_edge_capture(gr_edges_t *out, uint32_t lexeme, uint32_t arg)
{
    const gr_lex_t *lex = &out->gr->lexemes[lexeme];
    int             nullable = lex->nullable;
    gr_state_t      to;
    int             rc;

    if (lex->some) {
        gr_edge_add(out, GR_CAPTURE, lexeme, arg);
    }

    if (nullable) {
        rc = gr_capture(out->gr, out->state, arg, (const uint8_t *) "", 0, &to);

        if (rc < 0) {
            out->rc = out->rc ? out->rc : rc;
            return;
        }

        gr_edge_add(out, GR_EPSILON, 0, to);
    }
}


void
gr_edge_call(gr_edges_t *out, gr_state_t what, gr_state_t to)
{
    gr_edge_add(out, GR_CALL, what, to);
}


void
gr_accept(gr_edges_t *out)
{
    out->accepts = 1;
}


void
gr_edge_add(gr_edges_t *out, uint32_t kind, uint32_t what, uint32_t to)
{
    gr_t *gr = out->gr;
    int   rc;

    rc = gr_grow(gr, &gr->edges, &gr->cap_edges, (uint64_t) gr->n_edges + 1,
                 sizeof(gr_edge_t));

    if (rc < 0) {
        out->rc = rc;
        return;
    }

    gr->edges[gr->n_edges++] = (gr_edge_t){kind, what, to};
}


int
gr_capture(gr_t *gr, gr_state_t state, uint32_t arg, const uint8_t *text,
           size_t n, gr_state_t *to)
{
    const gr_st_t   *st = gr->states[state];
    const gr_mach_t *m = &gr->machines[st->machine];

    LLM_TRY(m->ops->capture(gr, m->data, st->key, st->len, arg, text, n, to));

    return gr_failed(gr, NULL);
}


int
gr_expand(gr_t *gr, gr_state_t state)
{
    gr_edges_t out = {.gr = gr, .state = state};
    gr_st_t   *st = gr->states[state];
    uint32_t   base = gr->n_edges;
    gr_mach_t  m;
    int        rc;

    if (st->expanded) {
        return 0;
    }

    LLM_TRY(gr_failed(gr, NULL));

    m = gr->machines[st->machine];
    rc = m.ops->expand(gr, m.data, st->key, st->len, &out);

    if (rc == 0) {
        rc = out.rc;
    }

    if (rc == 0) {
        rc = gr_failed(gr, NULL);
    }

    if (rc == 0) {
        rc = keep_edges(gr, st, base);
    }

    gr->n_edges = base;

    if (rc < 0) {
        return rc;
    }

    st->accepts = (uint8_t) out.accepts;
    st->expanded = 1;

    return 0;
}


static int
keep_edges(gr_t *gr, gr_st_t *st, uint32_t base)
{
    gr_edge_t *e;
    uint32_t   n = gr->n_edges - base, i, k;

    if (n == 0) {
        return 0;
    }

    e = gr->edges + base;
    qsort(e, n, sizeof(gr_edge_t), edge_cmp);

    for (i = 1, k = 1; i < n; i++) {
        if (edge_cmp(&e[i], &e[k - 1]) != 0) {
            e[k++] = e[i];
        }
    }

    st->edges = gr_get(gr, k * sizeof(gr_edge_t));
    if (st->edges == NULL) {
        return gr->rc;
    }

    memcpy(st->edges, e, k * sizeof(gr_edge_t));
    st->n_edges = k;

    return 0;
}


static int
edge_cmp(const void *a, const void *b)
{
    const gr_edge_t *x = a, *y = b;

    if (x->kind != y->kind) {
        return x->kind < y->kind ? -1 : 1;
    }

    if (x->what != y->what) {
        return x->what < y->what ? -1 : 1;
    }

    return x->to < y->to ? -1 : x->to > y->to;
}


/*
 * The least solution for state and all states that it depends on, which are
 * kept open while it is looked for.
 */
int
gr_nullable(gr_t *gr, gr_state_t state)
{
    uint32_t i;
    int      changed, rc;

    if (gr->states[state]->null == GR_NULL_NO
        || gr->states[state]->null == GR_NULL_YES) {
        return gr->states[state]->null == GR_NULL_YES;
    }

    gr->n_nulls = 0;
    rc = null_open(gr, state, &changed);

    do {
        changed = 0;

        for (i = 0; i < gr->n_nulls && rc == 0; i++) {
            rc = null_step(gr, gr->states[gr->nulls[i]], &changed);
        }
    } while (changed && rc == 0);

    for (i = 0; i < gr->n_nulls; i++) {
        if (gr->states[gr->nulls[i]]->null == GR_NULL_OPEN) {
            gr->states[gr->nulls[i]]->null =
                rc < 0 ? GR_NULL_UNKNOWN : GR_NULL_NO;
        }
    }

    return rc < 0 ? rc : gr->states[state]->null == GR_NULL_YES;
}


static int
null_step(gr_t *gr, gr_st_t *st, int *changed)
{
    const gr_edge_t *e;
    uint32_t         i;
    int              yes;

    if (st->null == GR_NULL_YES) {
        return 0;
    }

    yes = st->accepts;

    for (i = 0; i < st->n_edges && !yes; i++) {
        e = &st->edges[i];

        if (e->kind == GR_CALL) {
            LLM_TRY(null_open(gr, e->what, changed));

            if (gr->states[e->what]->null != GR_NULL_YES) {
                continue;
            }

        } else if (e->kind != GR_EPSILON) {
            continue;
        }

        LLM_TRY(null_open(gr, e->to, changed));
        yes = gr->states[e->to]->null == GR_NULL_YES;
    }

    if (yes) {
        st->null = GR_NULL_YES;
        *changed = 1;
    }

    return 0;
}


static int
null_open(gr_t *gr, gr_state_t state, int *changed)
{
    gr_st_t *st = gr->states[state];

    if (st->null != GR_NULL_UNKNOWN) {
        return 0;
    }

    LLM_TRY(gr_expand(gr, state));
    LLM_TRY(gr_grow(gr, &gr->nulls, &gr->cap_nulls, (uint64_t) gr->n_nulls + 1,
                    sizeof(uint32_t)));
    gr->nulls[gr->n_nulls++] = state;
    st->null = st->accepts ? GR_NULL_YES : GR_NULL_OPEN;
    *changed = 1;

    return 0;
}
