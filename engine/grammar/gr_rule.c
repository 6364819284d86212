/*
 * Machine 0: runs folded nodes.  A state is a list of what is still to come
 * (gr_priv.h); it is expanded by walking through what needs no byte.
 *
 * A rule at the end of a list is entered, not called: right recursion through
 * rules is a loop.  What follows a turn of a repetition whose body may be
 * empty is part of the repetition itself, so empty turns are not followed.
 */

#include <errno.h>
#include "engine/grammar/gr_priv.h"

static int      expand(gr_t *gr, void *data, const void *key, size_t len,
                       gr_edges_t *out);
static int      walk(gr_t *gr, uint32_t at, gr_edges_t *out);
static int      push(gr_t *gr, uint32_t at);
static int      push_node(gr_t *gr, gr_node_t node, uint32_t rest);
static int      text(gr_t *gr, gr_node_t node, uint32_t rest, gr_edges_t *out);
static void     call(gr_t *gr, gr_state_t what, uint32_t rest, gr_edges_t *out);
static int      repeat(gr_t *gr, const gr_cell_t *cell);
static int      sequence(gr_t *gr, const gr_cell_t *cell);
static uint32_t cell_of(gr_t *gr, const gr_cell_t *cell);
static gr_state_t state_of(gr_t *gr, uint32_t at);

const gr_machine_t gr_rule_machine = {expand, NULL, NULL};


gr_state_t
gr_rule_state(gr_t *gr, gr_node_t folded)
{
    const gr_nd_t *n = &gr->nodes[folded];
    gr_cell_t      cell = {.node = folded};

    if (folded == GR_EMPTY) {
        return state_of(gr, 0);
    }

    if (n->kind == GR_N_REPEAT) {
        cell.min = n->min;
        cell.max = n->max;
    }

    return state_of(gr, cell_of(gr, &cell));
}


static gr_state_t
state_of(gr_t *gr, uint32_t at)
{
    return gr_state(gr, 0, &at, sizeof(at));
}


static int
expand(gr_t *gr, void *data, const void *key, size_t len, gr_edges_t *out)
{
    uint32_t at;
    int      rc;

    (void) data;
    (void) len;

    memcpy(&at, key, sizeof(at));
    gr->n_work = 0;
    gr->expansion++;
    rc = push(gr, at);

    while (rc == 0 && gr->n_work) {
        rc = walk(gr, gr->work[--gr->n_work], out);
    }

    return rc;
}


static int
walk(gr_t *gr, uint32_t at, gr_edges_t *out)
{
    gr_cell_t cell = gr->cells[at];
    gr_nd_t   n;
    uint32_t  i;

    if (at == 0) {
        gr_accept(out);
        return 0;
    }

    n = gr->nodes[cell.node];

    switch (n.kind) {

    case GR_N_NONE:
        return 0;

    case GR_N_EMPTY:
        return push(gr, cell.rest);

    case GR_N_TEXT:
        return text(gr, cell.node, cell.rest, out);

    case GR_N_SEQ:
        return sequence(gr, &cell);

    case GR_N_ALT:

        for (i = n.n; i > 0; i--) {
            LLM_TRY(push_node(gr, gr->lists[n.a + i - 1], cell.rest));
        }

        return 0;

    case GR_N_REPEAT:
        return repeat(gr, &cell);

    case GR_N_RULE:

        if (cell.rest == 0) {
            return push_node(gr, gr->rules[n.a].folded, 0);
        }

        call(gr, gr_rule_state(gr, gr->rules[n.a].folded), cell.rest, out);
        return gr_failed(gr, NULL);

    default: /* GR_N_MACHINE */

        call(gr, n.a, cell.rest, out);
        return gr_failed(gr, NULL);
    }
}


/*
 * Where the rest is being walked already, the way over an empty string adds
 * nothing.
 */
static void
call(gr_t *gr, gr_state_t what, uint32_t rest, gr_edges_t *out)
{
    int some = gr->cells[rest].seen == gr->expansion;

    gr_edge_add(out, some ? GR_CALL_SOME : GR_CALL, what, state_of(gr, rest));
}


static int
text(gr_t *gr, gr_node_t node, uint32_t rest, gr_edges_t *out)
{
    gr_nd_t         n = gr->nodes[node];
    const gr_lex_t *lex;

    if (n.b == 0) {
        n.b = gr_lexeme(gr, n.a, n.marks);
        LLM_TRY(gr_failed(gr, NULL));
        gr->nodes[node].b = n.b;
    }

    lex = &gr->lexemes[n.b];

    if (lex->some) {
        gr_edge_add(out, GR_LEXEME, n.b, state_of(gr, rest));
        lex = &gr->lexemes[n.b];
    }

    return lex->nullable ? push(gr, rest) : gr_failed(gr, NULL);
}


/* The child that comes next, then the others. */
static int
sequence(gr_t *gr, const gr_cell_t *cell)
{
    gr_nd_t   n = gr->nodes[cell->node];
    gr_cell_t next = *cell;
    gr_node_t child = gr->lists[n.a + cell->min];
    uint32_t  rest;

    if (cell->min + 1 == n.n) {
        return push_node(gr, child, cell->rest);
    }

    next.min++;
    rest = cell_of(gr, &next);

    return push_node(gr, child, rest);
}


static int
repeat(gr_t *gr, const gr_cell_t *cell)
{
    gr_nd_t   n = gr->nodes[cell->node];
    gr_cell_t next = *cell;
    uint32_t  rest = cell->rest;

    if (cell->min == 0) {
        LLM_TRY(push(gr, rest));
    }

    next.min -= next.min > 0;
    next.max -= next.max != RE_INF;

    if (next.max > 0) {
        rest = cell_of(gr, &next);

        if (n.flag && rest) {
            gr->cells[rest].seen = gr->expansion;
        }
    }

    return push_node(gr, n.a, rest);
}


static int
push_node(gr_t *gr, gr_node_t node, uint32_t rest)
{
    const gr_nd_t *n = &gr->nodes[node];
    gr_cell_t      cell = {.node = node, .rest = rest};

    if (n->kind == GR_N_EMPTY) {
        return push(gr, rest);
    }

    if (n->kind == GR_N_REPEAT) {
        cell.min = n->min;
        cell.max = n->max;
    }

    return push(gr, cell_of(gr, &cell));
}


static int
push(gr_t *gr, uint32_t at)
{
    LLM_TRY(gr_failed(gr, NULL));

    if (gr->cells[at].seen == gr->expansion) {
        return 0;
    }

    gr->cells[at].seen = gr->expansion;
    LLM_TRY(gr_grow(gr, &gr->work, &gr->cap_work, (uint64_t) gr->n_work + 1,
                    sizeof(uint32_t)));
    gr->work[gr->n_work++] = at;

    return 0;
}


/* Equal lists, equal number; 0 after a failure. */
static uint32_t
cell_of(gr_t *gr, const gr_cell_t *cell)
{
    uint32_t   hash, i;
    gr_cell_t *c;

    hash = gr_hash(cell, offsetof(gr_cell_t, seen));

    if (gr_table_room(gr, &gr->by_cell) < 0) {
        return 0;
    }

    for (i = hash & (gr->by_cell.cap - 1); gr->by_cell.slots[i].value;
         i = (i + 1) & (gr->by_cell.cap - 1)) {
        c = &gr->cells[gr->by_cell.slots[i].value];

        if (gr->by_cell.slots[i].hash == hash
            && memcmp(c, cell, offsetof(gr_cell_t, seen)) == 0) {
            return gr->by_cell.slots[i].value;
        }
    }

    if (gr_grow(gr, &gr->cells, &gr->cap_cells, (uint64_t) gr->n_cells + 1,
                sizeof(gr_cell_t))
        < 0) {
        return 0;
    }

    gr->cells[gr->n_cells] = *cell;
    gr->cells[gr->n_cells].seen = 0;
    gr->by_cell.slots[i] = (gr_slot_t){hash, gr->n_cells};
    gr->by_cell.used++;

    return gr->n_cells++;
}
