/*
 * Grammar programs: limits, failure, memory, lexemes (gr.h); gr_state.c has
 * machines and their states.  The program owns everything; whoever holds its
 * lock is the only thread here.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/gr_parse.h"
#include "engine/grammar/gr_priv.h"

static void defaults(gr_limits_t *limits);


int
gr_new(const gr_limits_t *limits, gr_t **out)
{
    gr_t *gr = calloc(1, sizeof(gr_t));
    int   rc;

    *out = NULL;

    if (gr == NULL) {
        return -ENOMEM;
    }

    if (limits) {
        gr->limits = *limits;
    }

    defaults(&gr->limits);
    gr->began = llm_now_ns();
    arena_init(&gr->arena, gr->limits.max_bytes);

    gr->n_states = 1;
    gr->n_lexemes = 1;
    gr->n_cells = 1;
    gr->re = re_new(&gr->limits.re);

    if (gr->re == NULL
        || (gr->dfa = re_dfa_new(gr->re, gr->limits.max_lexer, GR_MAX_SEARCH))
               == NULL
        || (rc = gr_grow(gr, &gr->states, &gr->cap_states, 64, sizeof(void *)))
               < 0
        || (rc = gr_grow(gr, &gr->lexemes, &gr->cap_lexemes, 64,
                         sizeof(gr_lex_t)))
               < 0
        || (rc = gr_grow(gr, &gr->cells, &gr->cap_cells, 64, sizeof(gr_cell_t)))
               < 0) {
        gr_free(gr);
        return -ENOMEM;
    }

    memset(&gr->lexemes[0], 0, sizeof(gr_lex_t));
    memset(&gr->cells[0], 0, sizeof(gr_cell_t));
    gr->states[0] = NULL;

    gr_machine_add(gr, &gr_rule_machine, NULL);
    gr_node_add(gr, &(gr_nd_t){.kind = GR_N_NONE});
    gr_node_add(gr, &(gr_nd_t){.kind = GR_N_EMPTY});

    rc = gr_failed(gr, NULL);
    if (rc < 0) {
        gr_free(gr);
        return rc;
    }

    *out = gr;

    return 0;
}


static void
defaults(gr_limits_t *limits)
{
    if (limits->max_states == 0) {
        limits->max_states = 500000;
    }

    if (limits->max_lexer == 0) {
        limits->max_lexer = 200000;
    }

    if (limits->max_bytes == 0) {
        limits->max_bytes = (size_t) 256 << 20;
    }

    if (limits->max_ns == 0) {
        limits->max_ns = 5000000000u;
    }
}


void
gr_free(gr_t *gr)
{
    uint32_t i;

    if (gr == NULL) {
        return;
    }

    for (i = 0; i < gr->n_machines; i++) {
        if (gr->machines[i].ops->free) {
            gr->machines[i].ops->free(gr->machines[i].data);
        }
    }

    re_dfa_free(gr->dfa);
    re_free(gr->re);
    arena_free(&gr->arena);

    free(gr->machines);
    free(gr->states);
    free(gr->by_key.slots);
    free(gr->lexemes);
    free(gr->by_re.slots);
    free(gr->nodes);
    free(gr->lists);
    free(gr->rules);
    free(gr->cells);
    free(gr->by_cell.slots);
    free(gr->work);
    free(gr->edges);
    free(gr->nulls);
    free(gr);
}


int
gr_failed(const gr_t *gr, const char **msg)
{
    int rc;

    if (gr->rc == 0) {
        rc = re_failed(gr->re, msg);

        if (msg && *msg == NULL && gr->msg[0]) {
            *msg = gr->msg;
        }

        return rc;
    }

    if (msg) {
        *msg = gr->msg;
    }

    return gr->rc;
}


int
gr_note(gr_t *gr, int rc, const char *msg)
{
    if (gr->rc == 0) {
        snprintf(gr->msg, sizeof(gr->msg), "%s", msg);
    }

    return rc;
}


int
gr_fail(gr_t *gr, int rc, const char *fmt, ...)
{
    va_list ap;

    /* Once it runs, lack of steps is a matter of whoever gave them. */

    if (gr->rc != 0 || (rc == -ETIME && gr->finished)) {
        return rc;
    }

    gr->rc = rc;

    va_start(ap, fmt);
    vsnprintf(gr->msg, sizeof(gr->msg), fmt, ap);
    va_end(ap);

    return rc;
}


int
gr_check_time(gr_t *gr)
{
    if (llm_now_ns() - gr->began <= gr->limits.max_ns) {
        return 0;
    }

    return gr_fail(gr, -E2BIG, "the grammar takes too long to compile");
}


re_set_t *
gr_re(gr_t *gr)
{
    return gr->re;
}


arena_t *
gr_arena(gr_t *gr)
{
    return &gr->arena;
}


re_dfa_t *
gr_dfa(gr_t *gr)
{
    return gr->dfa;
}


void
gr_stats(const gr_t *gr, gr_stats_t *stats)
{
    re_stats_t re;

    re_stats(gr->re, &re);

    stats->states = gr->n_states - 1;
    stats->lexemes = gr->n_lexemes - 1;
    stats->lexer_states = re_dfa_count(gr->dfa);
    stats->bytes =
        gr->bytes + gr->arena.total + re.bytes + re_dfa_bytes(gr->dfa);
}


int
gr_grow(gr_t *gr, void *p, uint32_t *cap, uint64_t need, size_t size)
{
    uint64_t want = *cap;
    void    *old, *data;

    if (need <= want) {
        return 0;
    }

    while (want < need) {
        want = want ? want * 2 : 64;
    }

    if (want > UINT32_MAX
        || gr->bytes + gr->arena.total + (want - *cap) * size
               > gr->limits.max_bytes) {
        return gr_fail(gr, -E2BIG, "the grammar takes too much memory");
    }

    memcpy(&old, p, sizeof(old));
    data = realloc(old, want * size);
    if (data == NULL) {
        return gr_fail(gr, -ENOMEM, "no memory for the grammar");
    }

    memcpy(p, &data, sizeof(data));
    gr->bytes += (want - *cap) * size;
    *cap = (uint32_t) want;

    return 0;
}


void *
gr_get(gr_t *gr, size_t size)
{
    void *p = NULL;

    if (gr->bytes + gr->arena.total < gr->limits.max_bytes) {
        p = arena_get(&gr->arena, size);
    }

    if (p == NULL) {
        gr_fail(gr, -E2BIG, "the grammar takes too much memory");
    }

    return p;
}


int
gr_table_room(gr_t *gr, gr_table_t *table)
{
    gr_table_t old = *table;
    uint32_t   i, cap;

    if (table->used * 2 < table->cap) {
        return 0;
    }

    cap = 0;
    table->slots = NULL;

    if (gr_grow(gr, &table->slots, &cap, old.cap ? old.cap * 2 : 64,
                sizeof(gr_slot_t))
        < 0) {
        *table = old;
        return gr->rc;
    }

    memset(table->slots, 0, cap * sizeof(gr_slot_t));
    table->cap = cap;
    table->used = 0;

    for (i = 0; i < old.cap; i++) {
        if (old.slots[i].value) {
            gr_table_put(table, old.slots[i].hash, old.slots[i].value);
        }
    }

    gr->bytes -= old.cap * sizeof(gr_slot_t);
    free(old.slots);

    return 0;
}


void
gr_table_put(gr_table_t *table, uint32_t hash, uint32_t value)
{
    uint32_t i;

    for (i = hash & (table->cap - 1); table->slots[i].value;
         i = (i + 1) & (table->cap - 1)) { /* void */
    }

    table->slots[i] = (gr_slot_t){hash, value};
    table->used++;
}


uint32_t
gr_hash(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t       h = 0x9e3779b97f4a7c15ull ^ size;
    uint64_t       w;

    for (; size >= 8; size -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ (h >> 31) ^ w) * 0xff51afd7ed558ccdull;
    }

    if (size) {
        w = 0;
        memcpy(&w, p, size);
        h = (h ^ (h >> 31) ^ w) * 0xff51afd7ed558ccdull;
    }

    return (uint32_t) (h >> 32);
}


uint32_t
gr_lexeme(gr_t *gr, re_t re, unsigned marks)
{
    uint32_t  key[2] = {re, marks};
    uint32_t  hash, i;
    gr_lex_t *lex;
    re_t      some;

    hash = gr_hash(key, sizeof(key));

    if (gr_table_room(gr, &gr->by_re) < 0) {
        return 0;
    }

    for (i = hash & (gr->by_re.cap - 1); gr->by_re.slots[i].value;
         i = (i + 1) & (gr->by_re.cap - 1)) {
        lex = &gr->lexemes[gr->by_re.slots[i].value];

        if (lex->re == re && lex->marks == marks) {
            return gr->by_re.slots[i].value;
        }
    }

    if (gr_grow(gr, &gr->lexemes, &gr->cap_lexemes,
                (uint64_t) gr->n_lexemes + 1, sizeof(gr_lex_t))
        < 0) {
        return 0;
    }

    lex = &gr->lexemes[gr->n_lexemes];
    *lex = (gr_lex_t){.re = re, .marks = marks};
    lex->nullable = (uint8_t) re_nullable(gr->re, re);
    some = lex->nullable ? re_minus(gr->re, re, RE_EMPTY) : re;

    switch (re_is_none(gr->re, some, GR_MAX_SEARCH)) {

    case RE_NO:
        lex->some = 1;
        break;

    case RE_YES:
        break;

    default:
        if (re_failed(gr->re, NULL) == 0) {
            gr_fail(gr, -E2BIG,
                    "whether a part of the grammar has any text was not "
                    "found out");
        }

        return 0;
    }

    if (re_failed(gr->re, NULL) < 0) {
        return 0;
    }

    gr->marks |= marks;
    gr->by_re.slots[i] = (gr_slot_t){hash, gr->n_lexemes};
    gr->by_re.used++;

    return gr->n_lexemes++;
}
