/*
 * The parser's positions and threads (gr_parse.h); rows are made in
 * gr_parse_row.c.  Whoever holds the program's lock runs here; memory is the
 * parse's.
 *
 * Threads of all positions lie in one stack.  A byte that leaves one thread
 * within its lexeme, by far the most common case, is done without any of the
 * rest.  What is written is counted last, so a failure leaves no trace.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_parse_priv.h"
#include "engine/grammar/re_priv.h"

typedef struct {
    gr_pos_t next;
    uint32_t ended;       /* lexemes that ended, in all threads */
    uint32_t row, lexeme; /* of the only one */
    uint64_t spent;
} push_t;

typedef struct {
    uint64_t steps, fuel;
} meter_t;

static int  start(gr_parse_t *p);
static int  push_slow(gr_parse_t *p, uint8_t byte);
static int  push_threads(gr_parse_t *p, uint8_t byte, push_t *u);
static int  push_ends(gr_parse_t *p, const gr_thread_t *t, int32_t to,
                      push_t *u);
static int  push_row(gr_parse_t *p, push_t *u);
static int  push_done(gr_parse_t *p, const push_t *u);
static int  room(gr_parse_t *p, uint64_t threads, uint64_t bytes);
static int  keeps(gr_parse_t *p, push_t *u, const gr_thread_t *t);
static int  only_empty(const re_dfa_state_t *s);
static int  same_thread(const gr_parse_t *p, const gr_thread_t *a,
                        const gr_thread_t *b);
static void meter_begin(gr_parse_t *p, meter_t *m);
static int  meter_end(gr_parse_t *p, const meter_t *m, int rc);


int
gr_parse_new(gr_t *gr, const gr_parse_limits_t *limits, gr_parse_t **out)
{
    gr_parse_t *p = calloc(1, sizeof(gr_parse_t));
    int         rc;

    *out = NULL;

    if (p == NULL) {
        return -ENOMEM;
    }

    if (limits) {
        p->limits = *limits;
    }

    if (p->limits.max_items == 0) {
        p->limits.max_items = 20000;
    }

    if (p->limits.max_total == 0) {
        p->limits.max_total = 20000000;
    }

    p->gr = gr;
    p->dfa = gr_dfa(gr);
    p->fuel = UINT64_MAX;
    p->tidy_at = 65536;

    rc = start(p);

    if (rc < 0) {
        gr_parse_free(p);
        return rc;
    }

    *out = p;

    return 0;
}


static int
start(gr_parse_t *p)
{
    meter_t  m;
    uint32_t row = GR_NO_ROW;
    int      rc;

    LLM_TRY(room(p, 1, 1));
    LLM_TRY(gr_parse_room(&p->kernel, &p->cap_kernel, 16, sizeof(gr_item_t)));

    p->kernel[0] = (gr_item_t){p->gr->start, 0, 0};
    p->n_kernel = 1;

    meter_begin(p, &m);
    rc = gr_row_make(p, &row);
    LLM_TRY(meter_end(p, &m, rc));

    if (row == GR_NO_ROW) {
        return -ENOENT;
    }

    p->threads[0] = (gr_thread_t){p->rows[row].lexer, row, 0};
    p->pos[0] = (gr_pos_t){0, p->rows[row].lexer != RE_DFA_DEAD, row, 0};
    p->n_pos = 1;

    return 0;
}


void
gr_parse_free(gr_parse_t *p)
{
    if (p == NULL) {
        return;
    }

    free(p->pos);
    free(p->threads);
    free(p->text);
    free(p->rows);
    free(p->items);
    free(p->scans);
    free(p->called);
    free(p->calls);
    free(p->table);
    free(p->kernel);
    free(p->set);
    free(p->callees);
    free(p->lexemes);
    free(p->met);
    free(p);
}


int
gr_parse_push(gr_parse_t *p, uint8_t byte)
{
    const gr_pos_t              *pos = &p->pos[p->n_pos - 1];
    const gr_thread_t           *t = &p->threads[pos->thread];
    const re_dfa_state_t *const *table = re_dfa_table(p->dfa);
    const re_dfa_state_t        *s;
    int32_t                      to;

    if (pos->n != 1 || p->n_pos == p->cap_pos || pos->len >= p->cap_text
        || pos->thread + 2 > p->cap_threads) {
        return push_slow(p, byte);
    }

    s = table[t->lexer];
    to = s->next[s->map[byte]];

    if (to <= 0) {
        return to == RE_DFA_DEAD ? 0 : push_slow(p, byte);
    }

    s = table[to];

    if (s->n_accepts | s->unsure) {
        return push_slow(p, byte);
    }

    p->text[pos->len] = byte;
    p->threads[pos->thread + 1] = (gr_thread_t){to, t->row, t->start};
    p->pos[p->n_pos++] =
        (gr_pos_t){pos->thread + 1, 1, GR_NO_ROW, pos->len + 1};

    return 1;
}


static int
push_slow(gr_parse_t *p, uint8_t byte)
{
    const gr_pos_t *pos = &p->pos[p->n_pos - 1];
    push_t          u = {.next = {.row = GR_NO_ROW}};
    meter_t         m;
    int             rc;

    LLM_TRY(room(p, (uint64_t) pos->thread + 2 * (uint64_t) pos->n + 1,
                 (uint64_t) pos->len + 1));

    pos = &p->pos[p->n_pos - 1];
    u.next.thread = pos->thread + pos->n;
    u.next.len = pos->len + 1;
    p->text[pos->len] = byte;
    p->n_kernel = 0;

    meter_begin(p, &m);
    rc = push_threads(p, byte, &u);

    if (rc == 0 && u.ended) {
        rc = push_row(p, &u);
    }

    LLM_TRY(meter_end(p, &m, rc));

    return push_done(p, &u);
}


static int
push_threads(gr_parse_t *p, uint8_t byte, push_t *u)
{
    const gr_pos_t       *pos = &p->pos[p->n_pos - 1];
    const re_dfa_state_t *s;
    gr_thread_t           t;
    uint32_t              i;

    LLM_TRY(gr_parse_spend(p, pos->n ? pos->n - 1 : 0));

    for (i = 0; i < pos->n; i++) {
        t = p->threads[pos->thread + i];
        t.lexer = re_dfa_next(p->dfa, t.lexer, byte);
        LLM_TRY(t.lexer);

        if (t.lexer == RE_DFA_DEAD) {
            continue;
        }

        s = re_dfa_get(p->dfa, t.lexer);

        if (s->unsure) {
            return gr_note(p->gr, -E2BIG, GR_UNSURE);
        }

        if (s->n_accepts) {
            LLM_TRY(push_ends(p, &t, t.lexer, u));
        }

        if (!only_empty(s)) {
            LLM_TRY(keeps(p, u, &t));
        }
    }

    return 0;
}


/* Lexemes of thread t end at lexer state `to`. */
static int
push_ends(gr_parse_t *p, const gr_thread_t *t, int32_t to, push_t *u)
{
    const re_dfa_state_t *s = re_dfa_get(p->dfa, to);
    const gr_row_t       *row = &p->rows[t->row];
    uint32_t              i, at;

    /* Alone, it may have been here before. */

    if (u->ended == 0 && s->n_accepts == 1 && !row->captures) {
        u->ended = 1;
        u->row = t->row;
        u->lexeme = s->accepts[0];
        return 0;
    }

    if (u->ended == 1 && p->n_kernel == 0) {
        LLM_TRY(gr_row_collect(p, u->row, u->lexeme, NULL, 0));
    }

    for (i = 0; i < s->n_accepts; i++) {
        at = u->next.len - (uint32_t) t->start;
        LLM_TRY(
            gr_row_collect(p, t->row, s->accepts[i], p->text + t->start, at));
        u->ended += 2;
    }

    return 0;
}


/* The row after all that ended. */
static int
push_row(gr_parse_t *p, push_t *u)
{
    const gr_row_t *row;
    gr_thread_t     t;
    uint32_t        at;

    if (u->ended == 1) {
        row = &p->rows[u->row];
        at = row->scan + gr_row_scan(p, row, u->lexeme);

        if (p->scans[at].next == 0) {
            LLM_TRY(gr_row_collect(p, u->row, u->lexeme, NULL, 0));
            LLM_TRY(gr_row_make(p, &u->next.row));

            if (u->next.row != GR_NO_ROW) {
                p->scans[at].next = u->next.row + 1;
            }

        } else {
            u->next.row = p->scans[at].next - 1;
        }

    } else {
        LLM_TRY(gr_row_make(p, &u->next.row));
    }

    if (u->next.row == GR_NO_ROW || p->rows[u->next.row].lexer == RE_DFA_DEAD) {
        return 0;
    }

    t = (gr_thread_t){p->rows[u->next.row].lexer, u->next.row, u->next.len};

    return keeps(p, u, &t);
}


static int
push_done(gr_parse_t *p, const push_t *u)
{
    if (u->next.n == 0 && u->next.row == GR_NO_ROW) {
        return 0;
    }

    p->pos[p->n_pos++] = u->next;

    return 1;
}


/* A thread of the new position, unless it has the like already. */
static int
keeps(gr_parse_t *p, push_t *u, const gr_thread_t *t)
{
    gr_thread_t *list = p->threads + u->next.thread;
    uint32_t     i;

    for (i = 0; i < u->next.n; i++) {
        if (same_thread(p, &list[i], t)) {
            return 0;
        }
    }

    list[u->next.n++] = *t;

    return gr_parse_spend(p, u->next.n - 1);
}


/* Where a lexeme began is of interest to captures only. */
static int
same_thread(const gr_parse_t *p, const gr_thread_t *a, const gr_thread_t *b)
{
    return a->lexer == b->lexer && a->row == b->row
           && (a->start == b->start || !p->rows[a->row].captures);
}


static int
only_empty(const re_dfa_state_t *s)
{
    uint32_t i;

    for (i = 0; i < s->n; i++) {
        if (s->items[i].re != RE_EMPTY) {
            return 0;
        }
    }

    return 1;
}


int
gr_parse_jump(gr_parse_t *p, uint32_t thread, int32_t to, const uint8_t *bytes,
              size_t n)
{
    const gr_pos_t *pos = &p->pos[p->n_pos - 1];
    push_t          u = {.next = {.row = GR_NO_ROW}};
    gr_thread_t     t;
    meter_t         m;
    int             rc;

    if (thread >= pos->n || n == 0) {
        return -EINVAL;
    }

    if (re_dfa_get(p->dfa, to)->n_accepts == 0) {
        return 0;
    }

    LLM_TRY(
        room(p, (uint64_t) pos->thread + pos->n + 2, (uint64_t) pos->len + n));

    pos = &p->pos[p->n_pos - 1];
    t = p->threads[pos->thread + thread];
    u.next.thread = pos->thread + pos->n;
    u.next.len = pos->len + (uint32_t) n;
    memcpy(p->text + pos->len, bytes, n);
    p->n_kernel = 0;

    meter_begin(p, &m);
    rc = gr_parse_spend(p, 1);

    if (rc == 0) {
        rc = push_ends(p, &t, to, &u);
    }

    if (rc == 0) {
        rc = push_row(p, &u);
    }

    LLM_TRY(meter_end(p, &m, rc));

    return push_done(p, &u);
}


void
gr_parse_pop(gr_parse_t *p, uint32_t n)
{
    p->n_pos = n < p->n_pos ? p->n_pos - n : 1;
}


uint64_t
gr_parse_depth(const gr_parse_t *p)
{
    return p->n_pos - 1;
}


int
gr_parse_complete(const gr_parse_t *p)
{
    uint32_t row = p->pos[p->n_pos - 1].row;

    return row != GR_NO_ROW && p->rows[row].complete;
}


uint32_t
gr_parse_threads(const gr_parse_t *p, const gr_thread_t **threads)
{
    const gr_pos_t *pos = &p->pos[p->n_pos - 1];

    *threads = p->threads + pos->thread;

    return pos->n;
}


unsigned
gr_parse_marks(const gr_parse_t *p)
{
    const gr_thread_t *threads;
    uint32_t           i, n;
    unsigned           marks = 0;

    n = gr_parse_threads(p, &threads);

    for (i = 0; i < n; i++) {
        marks |= gr_lexer_marks(p->gr, threads[i].lexer);
    }

    return marks;
}


unsigned
gr_lexer_marks(const gr_t *gr, int32_t lexer)
{
    const re_dfa_state_t *s;
    unsigned              marks = 0;
    uint32_t              i;

    if (gr->marks == 0) {
        return 0;
    }

    s = re_dfa_get(gr->dfa, lexer);

    for (i = 0; i < s->n; i++) {
        marks |= gr->lexemes[s->items[i].tag].marks;
    }

    return marks;
}


void
gr_parse_fuel(gr_parse_t *p, uint64_t steps)
{
    p->fuel = steps;

    if (p->n_items > p->tidy_at) {
        gr_rows_tidy(p);
    }
}


int
gr_parse_spend(gr_parse_t *p, uint64_t n)
{
    if (p->fuel == UINT64_MAX) {
        return 0;
    }

    if (p->fuel < n) {
        p->fuel = 0;
        return -ETIME;
    }

    p->fuel -= n;

    return 0;
}


int
gr_parse_room(void *p, uint32_t *cap, uint64_t need, size_t size)
{
    uint64_t want = *cap;
    void    *old, *data;

    if (need <= want) {
        return 0;
    }

    while (want < need) {
        want = want ? want * 2 : 64;
    }

    if (want > UINT32_MAX / 2) {
        return -E2BIG;
    }

    memcpy(&old, p, sizeof(old));
    data = realloc(old, want * size);
    if (data == NULL) {
        return -ENOMEM;
    }

    memcpy(p, &data, sizeof(data));
    *cap = (uint32_t) want;

    return 0;
}


static int
room(gr_parse_t *p, uint64_t threads, uint64_t bytes)
{
    LLM_TRY(gr_parse_room(&p->pos, &p->cap_pos, (uint64_t) p->n_pos + 1,
                          sizeof(gr_pos_t)));
    LLM_TRY(gr_parse_room(&p->threads, &p->cap_threads, threads + 1,
                          sizeof(gr_thread_t)));

    return gr_parse_room(&p->text, &p->cap_text, bytes + 1, 1);
}


/*
 * Steps in expressions are paid from the same fuel; what the set itself had
 * left is of no interest here, and is put back.
 */
static void
meter_begin(gr_parse_t *p, meter_t *m)
{
    m->steps = p->gr->re->steps;
    m->fuel = p->gr->re->fuel;
    re_fuel(p->gr->re, p->fuel);
}


static int
meter_end(gr_parse_t *p, const meter_t *m, int rc)
{
    uint64_t steps = p->gr->re->steps - m->steps;

    p->n_kernel = 0;
    re_fuel(p->gr->re, m->fuel);

    return rc < 0 ? rc : gr_parse_spend(p, steps);
}
