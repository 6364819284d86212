/*
 * The mask at a parse's position (mask_priv.h): what the lexer's states allow
 * by themselves, and what comes after lexemes that end within a token.  Under
 * the grammar's lock.
 *
 * Below the nodes where lexemes end the trie is walked level by level of
 * lexemes: all nodes at which the same lexemes of a thread end go on
 * together, after ONE jump of the parser, as long as what comes next does not
 * depend on the text that was read.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_parse_priv.h"
#include "engine/grammar/mask_priv.h"

/* Lists of ends are looked through once a group; longer ones are sorted. */
#define MANY_GROUPS 16

typedef struct {
    mask_lexer_t   *lexer;
    gr_parse_t     *parse;
    mask_scratch_t *s;
    uint32_t       *bits; /* NULL: asked is only whether there are any */
} cross_t;

static int cross_below(cross_t *c, uint32_t from);
static int cross_thread(cross_t *c, uint32_t thread, int32_t state,
                        uint32_t from, uint32_t to, int overlap);
static int cross_found(cross_t *c, uint32_t thread, uint32_t ends, int overlap);
static int cross_ends(cross_t *c, uint32_t thread, uint32_t from);
static int cross_set(cross_t *c, uint32_t thread, const mask_entry_t *entry);
static int cross_group(cross_t *c, uint32_t thread, uint32_t from);
static int cross_jump(cross_t *c, uint32_t thread, uint32_t from, uint32_t to);
static int cross_runs(cross_t *c, const mask_set_t *set, uint32_t group);
static int jump(cross_t *c, uint32_t thread, int32_t to, uint32_t end,
                uint32_t seg);
static int captures(const gr_parse_t *p, uint32_t row, int32_t to);
static int copy_states(mask_scratch_t *s, const gr_parse_t *parse,
                       uint32_t *from);
static int push_end(mask_scratch_t *s, const mask_end_t *end);
static int push_node(mask_scratch_t *s, uint32_t node);
static int overlaps(const mask_trie_t *trie, const mask_scratch_t *s,
                    uint32_t from);
static void unique(mask_scratch_t *s, uint32_t from);
static int  by_group(const void *a, const void *b);


int
mask_position(mask_lexer_t *lexer, gr_parse_t *parse, mask_scratch_t *s,
              uint32_t *bits)
{
    mask_entry_t entry;
    cross_t      c = {lexer, parse, s, bits};
    uint32_t     from, n, i;
    int          rc;

    mask_lexer_trim(lexer);
    LLM_TRY(copy_states(s, parse, &from));
    n = s->n_states - from;

    if (n == 0) {
        memset(bits, 0, lexer->core->words * sizeof(uint32_t));
    }

    for (i = 0, rc = 0; i < n && rc == 0; i++) {
        rc = mask_lexer_entry(lexer, s->states[from + i], s, &entry);

        if (rc == 0) {
            mask_set_apply(lexer->core, entry.set, bits, i == 0, s);
        }
    }

    for (i = 0; i < n && rc == 0; i++) {
        rc = mask_lexer_entry(lexer, s->states[from + i], s, &entry);

        if (rc == 0 && entry.set->n_cross) {
            rc = cross_set(&c, i, &entry);
        }
    }

    s->n_states = from;

    return rc;
}


int
mask_below(mask_lexer_t *lexer, gr_parse_t *parse, mask_scratch_t *s,
           uint32_t node)
{
    const mask_trie_t *trie = &lexer->core->trie;
    cross_t            c = {lexer, parse, s, NULL};
    uint32_t           from = s->n_forest, i;
    int                rc;

    for (i = node + 1; i < node + trie->node[node].size;
         i += trie->node[i].size) {
        LLM_TRY(push_node(s, i));
    }

    rc = s->n_forest > from ? cross_below(&c, from) : 0;
    s->n_forest = from;

    return rc;
}


/* The nodes of s->forest from `from` on, the position being their parents'. */
static int
cross_below(cross_t *c, uint32_t from)
{
    mask_scratch_t *s = c->s;
    uint32_t        states, n, i, to = s->n_forest;
    int             rc, overlap;

    overlap = overlaps(&c->lexer->core->trie, s, from);
    LLM_TRY(copy_states(s, c->parse, &states));
    n = s->n_states - states;

    for (i = 0, rc = 0; i < n && rc == 0; i++) {
        rc = cross_thread(c, i, s->states[states + i], from, to, overlap);
    }

    s->n_states = states;

    return rc;
}


static int
cross_thread(cross_t *c, uint32_t thread, int32_t state, uint32_t from,
             uint32_t to, int overlap)
{
    mask_scratch_t *s = c->s;
    uint32_t        ends = s->n_ends;
    int             rc;

    s->n_tokens = 0;

    rc = mask_lexer_walk(c->lexer, state, s->forest + from, to - from, s);

    if (rc != 0) {
        s->n_ends = ends;
        return rc;
    }

    return cross_found(c, thread, ends, overlap);
}


/* What a walk of a thread has found: s->tokens, and s->ends from `ends` on. */
static int
cross_found(cross_t *c, uint32_t thread, uint32_t ends, int overlap)
{
    mask_scratch_t *s = c->s;
    uint32_t        i;
    int             rc = 0;

    if (c->bits == NULL && s->n_tokens) {
        s->n_ends = ends;
        return 1;
    }

    for (i = 0; i < s->n_tokens; i++) {
        mask_bit(c->bits, s->tokens[i]);
    }

    if (s->n_ends > ends) {
        if (overlap && s->n_ends > ends + 1) {
            unique(s, ends);
        }

        rc = cross_ends(c, thread, ends);
        s->n_ends = ends;
    }

    return rc;
}


/* Goes on at s->ends from `from` on, group after group. */
static int
cross_ends(cross_t *c, uint32_t thread, uint32_t from)
{
    mask_scratch_t *s = c->s;
    uint32_t        n_groups, n = s->n_ends - from, i, g, top, next;
    int             rc;

    LLM_TRY(mask_lexer_group(c->lexer, s, from, &n_groups));

    if (n_groups == 1) {
        return cross_group(c, thread, from);
    }

    if (n_groups > MANY_GROUPS) {
        qsort(s->ends + from, n, sizeof(mask_end_t), by_group);
    }

    top = s->n_ends;

    for (g = 0, next = from; g < n_groups; g++) {
        i = n_groups > MANY_GROUPS ? next : from;

        for (; i < from + n; i++) {
            if (s->ends[i].group == g) {
                LLM_TRY(push_end(s, &s->ends[i]));
            } else if (n_groups > MANY_GROUPS) {
                break;
            }
        }

        next = i;
        rc = cross_group(c, thread, top);
        s->n_ends = top;

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


static int
cross_set(cross_t *c, uint32_t thread, const mask_entry_t *entry)
{
    const gr_thread_t *threads;
    const mask_set_t  *set = entry->set;
    mask_scratch_t    *s = c->s;
    mask_end_t         end;
    uint32_t           g, i, from = s->n_ends;
    int                rc;

    for (g = 0, rc = 0; g < set->n_groups && rc == 0; g++) {
        gr_parse_threads(c->parse, &threads);

        if (!captures(c->parse, threads[thread].row, entry->to[g])) {
            rc =
                jump(c, thread, entry->to[g], set->cross[set->first[g]].end, 0);

            if (rc == 1) {
                rc = cross_runs(c, set, g);
                gr_parse_pop(c->parse, 1);
            }

            continue;
        }

        for (i = set->first[g]; i < set->first[g + 1]; i++) {
            end = (mask_end_t){set->cross[i].child, entry->to[g],
                               set->cross[i].end, 0, g};
            LLM_TRY(push_end(s, &end));
        }

        rc = cross_group(c, thread, from);
        s->n_ends = from;
    }

    return rc;
}


/* The children of a group, the position being their parents'. */
static int
cross_runs(cross_t *c, const mask_set_t *set, uint32_t group)
{
    mask_scratch_t   *s = c->s;
    const mask_run_t *run;
    uint32_t          states, n, i, k, ends = s->n_ends;
    int32_t           state, to;
    int               rc;

    LLM_TRY(copy_states(s, c->parse, &states));
    n = s->n_states - states;

    for (i = 0, rc = 0; i < n && rc == 0; i++) {
        state = s->states[states + i];
        s->n_tokens = 0;

        for (k = set->first_run[group]; k < set->first_run[group + 1]; k++) {
            run = &set->runs[k];
            to = re_dfa_next(c->lexer->dfa, state, run->byte);

            if (to != RE_DFA_DEAD) {
                rc = to < 0 ? to
                            : mask_lexer_walk(c->lexer, state,
                                              set->nodes + run->first,
                                              run[1].first - run->first, s);
                if (rc != 0) {
                    break;
                }
            }
        }

        rc = rc ? rc : cross_found(c, i, ends, 1);
    }

    s->n_ends = ends;
    s->n_states = states;

    return rc;
}


/* s->ends from `from` on end the same lexemes. */
static int
cross_group(cross_t *c, uint32_t thread, uint32_t from)
{
    const gr_thread_t *threads;
    mask_scratch_t    *s = c->s;
    uint32_t           i, k, to = s->n_ends;
    int                rc;

    gr_parse_threads(c->parse, &threads);

    if (!captures(c->parse, threads[thread].row, s->ends[from].to)) {
        return cross_jump(c, thread, from, to);
    }

    /* The text counts: node by node. */

    for (i = from + 1; i < to; i++) {
        if (s->ends[i].end < s->ends[i - 1].end) {
            qsort(s->ends + from, to - from, sizeof(mask_end_t), by_group);
            break;
        }
    }

    for (i = from; i < to; i = k) {
        for (k = i + 1; k < to && s->ends[k].end == s->ends[i].end
                        && s->ends[k].seg == s->ends[i].seg;
             k++) { /* void */
        }

        rc = cross_jump(c, thread, i, k);

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


/* One jump for all of s->ends[from..to). */
static int
cross_jump(cross_t *c, uint32_t thread, uint32_t from, uint32_t to)
{
    mask_scratch_t   *s = c->s;
    const mask_end_t *end = &s->ends[from];
    uint32_t          i, forest = s->n_forest;
    int               rc;

    rc = jump(c, thread, end->to, end->end, end->seg);
    if (rc != 1) {
        return rc;
    }

    for (i = from, rc = 0; i < to && rc == 0; i++) {
        if (i == from || s->ends[i].child != s->ends[i - 1].child) {
            rc = push_node(s, s->ends[i].child);
        }
    }

    rc = rc ? rc : cross_below(c, forest);
    s->n_forest = forest;
    gr_parse_pop(c->parse, 1);

    return rc;
}


/* A thread has read the bytes of a node beyond seg, and is in state `to`. */
static int
jump(cross_t *c, uint32_t thread, int32_t to, uint32_t end, uint32_t seg)
{
    const mask_core_t *core = c->lexer->core;
    const uint8_t     *bytes;
    uint32_t           len;

    bytes = mask_token_bytes(core, mask_trie_first(core, end), &len);
    c->lexer->n_jumps++;

    return gr_parse_jump(c->parse, thread, to, bytes + seg,
                         core->trie.node[end].depth - seg);
}


/* 1: an edge that reads a lexeme which ends at `to` wants its text. */
static int
captures(const gr_parse_t *p, uint32_t row, int32_t to)
{
    const re_dfa_state_t *state = re_dfa_get(p->dfa, to);
    const gr_row_t       *r = &p->rows[row];
    const gr_scan_t      *scan;
    uint32_t              i, k;

    if (!r->captures) {
        return 0;
    }

    for (i = 0; i < state->n_accepts; i++) {
        for (k = gr_row_scan(p, r, state->accepts[i]); k < r->n_scans; k++) {
            scan = &p->scans[r->scan + k];

            if (scan->lexeme != state->accepts[i]) {
                break;
            }

            if (scan->capture) {
                return 1;
            }
        }
    }

    return 0;
}


static int
copy_states(mask_scratch_t *s, const gr_parse_t *parse, uint32_t *from)
{
    const gr_thread_t *threads;
    uint32_t           n, i;

    n = gr_parse_threads(parse, &threads);
    *from = s->n_states;

    if (s->n_states + n > s->cap_states) {
        LLM_TRY(mask_grow(&s->states, &s->cap_states, s->n_states + n,
                          sizeof(int32_t)));
    }

    for (i = 0; i < n; i++) {
        s->states[s->n_states++] = threads[i].lexer;
    }

    return 0;
}


static int
push_end(mask_scratch_t *s, const mask_end_t *end)
{
    mask_end_t copy = *end; /* may lie in the list */

    if (s->n_ends == s->cap_ends) {
        LLM_TRY(
            mask_grow(&s->ends, &s->cap_ends, s->n_ends, sizeof(mask_end_t)));
    }

    s->ends[s->n_ends++] = copy;

    return 0;
}


static int
push_node(mask_scratch_t *s, uint32_t node)
{
    if (s->n_forest == s->cap_forest) {
        LLM_TRY(mask_grow(&s->forest, &s->cap_forest, s->n_forest,
                          sizeof(uint32_t)));
    }

    s->forest[s->n_forest++] = node;

    return 0;
}


/* 1: a node may be below another, so that walks meet the same ends. */
static int
overlaps(const mask_trie_t *trie, const mask_scratch_t *s, uint32_t from)
{
    uint32_t i, last;

    for (i = from + 1; i < s->n_forest; i++) {
        last = s->forest[i - 1];

        if (s->forest[i] < last + trie->node[last].size) {
            return 1;
        }
    }

    return 0;
}


/* Takes out ends that are there more than once. */
static void
unique(mask_scratch_t *s, uint32_t from)
{
    uint32_t i, k;

    qsort(s->ends + from, s->n_ends - from, sizeof(mask_end_t), by_group);

    for (i = k = from; i < s->n_ends; i++) {
        if (k == from || by_group(&s->ends[i], &s->ends[k - 1]) != 0) {
            s->ends[k++] = s->ends[i];
        }
    }

    s->n_ends = k;
}


static int
by_group(const void *a, const void *b)
{
    const mask_end_t *x = a, *y = b;

    if (x->group != y->group) {
        return x->group < y->group ? -1 : 1;
    }

    if (x->end != y->end) {
        return x->end < y->end ? -1 : 1;
    }

    if (x->child != y->child) {
        return x->child < y->child ? -1 : 1;
    }

    if (x->to != y->to) {
        return x->to < y->to ? -1 : 1;
    }

    return x->seg < y->seg ? -1 : x->seg > y->seg;
}
