/*
 * Rows of the parser: made of kernels, closed under calls and returns
 * (gr_parse_priv.h).  Memory is the parse's; whoever holds the program's
 * lock runs here.
 *
 * LEO'S CASE: where one item alone called, and it has nothing left to do but
 * return, a return goes straight to where that chain of returns ends, and
 * this is remembered for every link of it.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_parse_priv.h"

static int row_close(gr_parse_t *p, gr_row_t *row, uint32_t self);
static int close_item(gr_parse_t *p, gr_row_t *row, uint32_t self, uint32_t i);
static int close_edge(gr_parse_t *p, uint32_t self, uint32_t i,
                      const gr_edge_t *e);
static int add_item(gr_parse_t *p, gr_item_t item);
static int set_grow(gr_parse_t *p);
static int add_scan(gr_parse_t *p, uint32_t item, const gr_edge_t *e);
static int add_call(gr_parse_t *p, uint32_t self, uint32_t item,
                    const gr_edge_t *e);
static int complete(gr_parse_t *p, gr_item_t item);
static gr_called_t *called_of(gr_parse_t *p, uint32_t row, gr_state_t callee);
static int          leo_top(gr_parse_t *p, gr_called_t *called, gr_item_t *top);
static int  leo_link(gr_parse_t *p, const gr_called_t *called, gr_item_t *to);
static int  row_lexer(gr_parse_t *p, gr_row_t *row);
static void kernel_sort(gr_parse_t *p);
static int  item_cmp(const void *a, const void *b);
static void scans_sort(gr_scan_t *s, uint32_t n);
static int  scan_cmp(const void *a, const void *b);
static int  called_cmp(const void *a, const void *b);
static uint32_t item_hash(const gr_item_t *item);
static int      table_room(gr_parse_t *p);


uint32_t
gr_row_scan(const gr_parse_t *p, const gr_row_t *row, uint32_t lexeme)
{
    const gr_scan_t *s = p->scans + row->scan;
    uint32_t         lo, hi, mid;

    if (row->n_scans <= 8) {
        for (lo = 0; lo < row->n_scans && s[lo].lexeme != lexeme; lo++) {
            /* void */
        }

        return lo;
    }

    for (lo = 0, hi = row->n_scans; lo < hi;) {
        mid = (lo + hi) / 2;

        if (s[mid].lexeme < lexeme) {
            lo = mid + 1;

        } else {
            hi = mid;
        }
    }

    return lo < row->n_scans && s[lo].lexeme == lexeme ? lo : row->n_scans;
}


int
gr_row_collect(gr_parse_t *p, uint32_t row, uint32_t lexeme,
               const uint8_t *text, size_t n)
{
    const gr_row_t  *r = &p->rows[row];
    const gr_scan_t *s;
    gr_item_t        it;
    gr_state_t       to;
    uint32_t         i;

    for (i = gr_row_scan(p, r, lexeme); i < r->n_scans; i++) {
        s = &p->scans[r->scan + i];

        if (s->lexeme != lexeme) {
            break;
        }

        it = p->items[s->item];
        to = s->to;

        if (s->capture) {
            LLM_TRY(gr_parse_spend(p, 8));
            LLM_TRY(gr_capture(p->gr, it.state, s->to, text, n, &to));
        }

        LLM_TRY(gr_parse_room(&p->kernel, &p->cap_kernel,
                              (uint64_t) p->n_kernel + 1, sizeof(gr_item_t)));
        p->kernel[p->n_kernel++] = (gr_item_t){to, it.callee, it.origin};
    }

    return 0;
}


int
gr_row_make(gr_parse_t *p, uint32_t *out)
{
    gr_row_t row = {.item = p->n_items,
                    .scan = p->n_scans,
                    .called = p->n_called,
                    .call = p->n_calls};
    uint32_t i, n;
    int      rc;

    kernel_sort(p);
    n = p->n_kernel;
    p->n_kernel = 0;
    *out = GR_NO_ROW;

    if (n == 0) {
        return 0;
    }

    row.hash = gr_hash(p->kernel, n * sizeof(gr_item_t));
    LLM_TRY(table_room(p));

    for (i = row.hash & (p->cap_table - 1); p->table[i].value;
         i = (i + 1) & (p->cap_table - 1)) {
        const gr_row_t *r = &p->rows[p->table[i].value - 1];

        if (p->table[i].hash == row.hash && r->n_kernel == n
            && memcmp(p->items + r->item, p->kernel, n * sizeof(gr_item_t))
                   == 0) {
            *out = p->table[i].value - 1;
            return 0;
        }
    }

    LLM_TRY(gr_parse_room(&p->rows, &p->cap_rows, (uint64_t) p->n_rows + 2,
                          sizeof(gr_row_t)));
    row.n_kernel = n;
    rc = row_close(p, &row, p->n_rows);

    if (rc < 0 || (row.lexer == RE_DFA_DEAD && !row.complete)) {
        p->n_items = row.item;
        p->n_scans = row.scan;
        p->n_called = row.called;
        p->n_calls = row.call;
        return rc;
    }

    p->table[i] = (gr_slot_t){row.hash, p->n_rows + 1};
    p->rows[p->n_rows] = row;
    *out = p->n_rows++;

    return 0;
}


static void
kernel_sort(gr_parse_t *p)
{
    gr_item_t *k = p->kernel;
    uint32_t   i, n;

    if (p->n_kernel < 2) {
        return;
    }

    qsort(k, p->n_kernel, sizeof(gr_item_t), item_cmp);

    for (i = 1, n = 1; i < p->n_kernel; i++) {
        if (item_cmp(&k[i], &k[n - 1]) != 0) {
            k[n++] = k[i];
        }
    }

    p->n_kernel = n;
}


static int
item_cmp(const void *a, const void *b)
{
    const gr_item_t *x = a, *y = b;

    if (x->origin != y->origin) {
        return x->origin < y->origin ? -1 : 1;
    }

    if (x->state != y->state) {
        return x->state < y->state ? -1 : 1;
    }

    return x->callee < y->callee ? -1 : x->callee > y->callee;
}


/* All items that follow from the kernel, by calls and returns. */
static int
row_close(gr_parse_t *p, gr_row_t *row, uint32_t self)
{
    uint32_t i;

    if (++p->stamp == 0) {
        memset(p->set, 0, p->cap_set * sizeof(uint64_t));
        memset(p->callees, 0, p->cap_callees * sizeof(uint64_t));
        p->stamp = 1;
    }

    p->base = row->item;

    for (i = 0; i < row->n_kernel; i++) {
        LLM_TRY(add_item(p, p->kernel[i]));
    }

    for (i = row->item; i < p->n_items; i++) {
        LLM_TRY(close_item(p, row, self, i));
    }

    row->n_items = p->n_items - row->item;
    row->n_scans = p->n_scans - row->scan;
    row->n_called = p->n_called - row->called;

    scans_sort(p->scans + row->scan, row->n_scans);

    if (row->n_called > 1) {
        qsort(p->called + row->called, row->n_called, sizeof(gr_called_t),
              called_cmp);
    }

    return row_lexer(p, row);
}


static int
close_item(gr_parse_t *p, gr_row_t *row, uint32_t self, uint32_t i)
{
    gr_item_t      item = p->items[i];
    const gr_st_t *st;
    uint32_t       k;

    LLM_TRY(gr_expand(p->gr, item.state));
    st = p->gr->states[item.state];

    /* A callee that returns where it began: gr_nullable() saw to it. */

    if (st->accepts) {
        if (item.callee == 0) {
            row->complete = 1;

        } else if (item.origin != self) {
            LLM_TRY(complete(p, item));
        }
    }

    for (k = 0; k < st->n_edges; k++) {
        LLM_TRY(close_edge(p, self, i, &st->edges[k]));

        if (p->n_items - row->item > p->limits.max_items) {
            return gr_note(p->gr, -E2BIG,
                           "the grammar is too ambiguous: too many ways to "
                           "read the text");
        }
    }

    return 0;
}


static int
close_edge(gr_parse_t *p, uint32_t self, uint32_t i, const gr_edge_t *e)
{
    gr_item_t item = p->items[i];
    int       rc;

    switch (e->kind) {

    case GR_LEXEME:
    case GR_CAPTURE:
        return add_scan(p, i, e);

    case GR_EPSILON:
        break;

    default:
        LLM_TRY(add_call(p, self, i, e));

        if (e->kind == GR_CALL_SOME) {
            return 0;
        }

        rc = gr_nullable(p->gr, e->what);

        if (rc <= 0) {
            return rc;
        }
    }

    item.state = e->to;

    return add_item(p, item);
}


/* An item of the row that is being made, if it is new. */
static int
add_item(gr_parse_t *p, gr_item_t item)
{
    gr_item_t *x;
    uint32_t   i;

    if ((p->n_items - p->base) * 2 >= p->cap_set) {
        LLM_TRY(set_grow(p));
    }

    for (i = item_hash(&item) & (p->cap_set - 1); p->set[i] >> 32 == p->stamp;
         i = (i + 1) & (p->cap_set - 1)) {
        x = &p->items[(uint32_t) p->set[i]];

        if (x->state == item.state && x->callee == item.callee
            && x->origin == item.origin) {
            return 0;
        }
    }

    LLM_TRY(gr_parse_spend(p, 1));
    LLM_TRY(gr_parse_room(&p->items, &p->cap_items, (uint64_t) p->n_items + 1,
                          sizeof(gr_item_t)));

    if (p->n_items >= p->limits.max_total) {
        return gr_note(p->gr, -E2BIG,
                       "a text of the grammar takes too much memory");
    }

    p->set[i] = (uint64_t) p->stamp << 32 | p->n_items;
    p->items[p->n_items++] = item;

    return 0;
}


static int
set_grow(gr_parse_t *p)
{
    uint32_t i, k;

    LLM_TRY(gr_parse_room(&p->set, &p->cap_set, (uint64_t) p->cap_set + 1,
                          sizeof(uint64_t)));
    memset(p->set, 0, p->cap_set * sizeof(uint64_t));

    for (k = p->base; k < p->n_items; k++) {
        for (i = item_hash(&p->items[k]) & (p->cap_set - 1); p->set[i];
             i = (i + 1) & (p->cap_set - 1)) { /* void */
        }

        p->set[i] = (uint64_t) p->stamp << 32 | k;
    }

    return 0;
}


static uint32_t
item_hash(const gr_item_t *item)
{
    uint64_t h = ((uint64_t) item->state << 32 | item->origin)
                 ^ item->callee * 0x9e3779b97f4a7c15ull;

    h *= 0xff51afd7ed558ccdull;

    return (uint32_t) (h >> 32);
}


static int
add_scan(gr_parse_t *p, uint32_t item, const gr_edge_t *e)
{
    LLM_TRY(gr_parse_spend(p, 1));
    LLM_TRY(gr_parse_room(&p->scans, &p->cap_scans, (uint64_t) p->n_scans + 1,
                          sizeof(gr_scan_t)));

    p->scans[p->n_scans++] = (gr_scan_t){.lexeme = e->what,
                                         .item = item,
                                         .to = e->to,
                                         .capture = e->kind == GR_CAPTURE};

    return 0;
}


static int
add_call(gr_parse_t *p, uint32_t self, uint32_t item, const gr_edge_t *e)
{
    gr_called_t *called;
    gr_item_t    start = {e->what, e->what, self};

    if (e->what >= p->cap_callees) {
        uint32_t old = p->cap_callees;

        LLM_TRY(gr_parse_room(&p->callees, &p->cap_callees,
                              (uint64_t) e->what + 1, sizeof(uint64_t)));
        memset(p->callees + old, 0, (p->cap_callees - old) * sizeof(uint64_t));
    }

    LLM_TRY(gr_parse_room(&p->calls, &p->cap_calls, (uint64_t) p->n_calls + 1,
                          sizeof(gr_call_t)));

    if (p->callees[e->what] >> 32 != p->stamp) {
        LLM_TRY(gr_parse_room(&p->called, &p->cap_called,
                              (uint64_t) p->n_called + 1, sizeof(gr_called_t)));
        LLM_TRY(add_item(p, start));
        p->callees[e->what] = (uint64_t) p->stamp << 32 | p->n_called;
        p->called[p->n_called++] = (gr_called_t){.callee = e->what};
    }

    LLM_TRY(gr_parse_spend(p, 1));

    called = &p->called[(uint32_t) p->callees[e->what]];
    p->calls[p->n_calls] = (gr_call_t){item, e->to, called->first};
    called->first = ++p->n_calls;
    called->n++;

    return 0;
}


/* item accepts: whoever called its callee goes on. */
static int
complete(gr_parse_t *p, gr_item_t item)
{
    gr_called_t *called = called_of(p, item.origin, item.callee);
    gr_call_t    call;
    gr_item_t    caller, top;
    uint32_t     i;
    int          rc;

    if (called == NULL) {
        return 0;
    }

    rc = leo_top(p, called, &top);

    if (rc != 0) {
        return rc < 0 ? rc : add_item(p, top);
    }

    for (i = called->first; i; i = call.next) {
        call = p->calls[i - 1];
        caller = p->items[call.item];
        caller.state = call.to;

        LLM_TRY(gr_parse_spend(p, 1));
        LLM_TRY(add_item(p, caller));
    }

    return 0;
}


static gr_called_t *
called_of(gr_parse_t *p, uint32_t row, gr_state_t callee)
{
    gr_called_t *c = p->called + p->rows[row].called;
    uint32_t     lo, hi, mid, n = p->rows[row].n_called;

    for (lo = 0, hi = n; lo < hi;) {
        mid = (lo + hi) / 2;

        if (c[mid].callee < callee) {
            lo = mid + 1;

        } else {
            hi = mid;
        }
    }

    return lo < n && c[lo].callee == callee ? &c[lo] : NULL;
}


/* 1 and *top: all that a return to called leads to; 0: no such thing. */
static int
leo_top(gr_parse_t *p, gr_called_t *called, gr_item_t *top)
{
    gr_called_t *c, *next;
    gr_item_t    to;
    uint32_t     n;
    int          rc;

    if (called->leo == GR_LEO_UNKNOWN) {
        rc = leo_link(p, called, &called->top);
        LLM_TRY(rc);
        called->leo = rc ? GR_LEO_TOP : GR_LEO_NONE;
    }

    if (called->leo == GR_LEO_NONE) {
        return 0;
    }

    /*
     * To the end of the chain, then again to tell all links of it.  A chain
     * cannot be a ring, as a call in it came from outside; n sees to it that
     * none is followed for ever.
     */

    *top = called->top;

    for (n = 0; n < p->n_rows + 1000 && top->callee; n++) {
        next = called_of(p, top->origin, top->callee);

        if (next == NULL) {
            break;
        }

        if (next->leo == GR_LEO_UNKNOWN) {
            LLM_TRY(gr_parse_spend(p, 1));
            rc = leo_link(p, next, &to);
            LLM_TRY(rc);
            next->top = to;
            next->leo = rc ? GR_LEO_TOP : GR_LEO_NONE;
        }

        if (next->leo == GR_LEO_NONE) {
            break;
        }

        *top = next->top;
    }

    for (c = called; c && n; n--) {
        to = c->top;
        c->top = *top;
        c = called_of(p, to.origin, to.callee);
    }

    return 1;
}


/* 1 and *to: the one caller, which has only to return. */
static int
leo_link(gr_parse_t *p, const gr_called_t *called, gr_item_t *to)
{
    const gr_st_t *st;
    gr_call_t      call;

    if (called->n != 1) {
        return 0;
    }

    call = p->calls[called->first - 1];
    LLM_TRY(gr_expand(p->gr, call.to));
    st = p->gr->states[call.to];

    if (!st->accepts || st->n_edges) {
        return 0;
    }

    *to = p->items[call.item];
    to->state = call.to;

    return 1;
}


/* The lexer's state for the lexemes that may begin. */
static int
row_lexer(gr_parse_t *p, gr_row_t *row)
{
    const gr_scan_t *s;
    uint32_t         i, n;

    if (row->n_scans == 0) {
        row->lexer = RE_DFA_DEAD;
        return 0;
    }

    s = p->scans + row->scan;
    LLM_TRY(gr_parse_room(&p->lexemes, &p->cap_lexemes, row->n_scans,
                          sizeof(re_dfa_item_t)));

    for (i = 0, n = 0; i < row->n_scans; i++) {
        row->captures |= s[i].capture != 0;

        if (i == 0 || s[i].lexeme != s[i - 1].lexeme) {
            p->lexemes[n].tag = s[i].lexeme;
            p->lexemes[n++].re = p->gr->lexemes[s[i].lexeme].re;
        }
    }

    row->lexer = re_dfa_state(p->dfa, p->lexemes, n);
    LLM_TRY(row->lexer);

    if (re_dfa_get(p->dfa, row->lexer)->unsure) {
        return gr_note(p->gr, -E2BIG, GR_UNSURE);
    }

    return 0;
}


/* Few, or in order already as a state's edges are: by insertion. */
static void
scans_sort(gr_scan_t *s, uint32_t n)
{
    gr_scan_t one;
    uint32_t  i, k, moved;

    for (i = 1, moved = 0; i < n && moved <= 64; i++) {
        if (scan_cmp(&s[i - 1], &s[i]) <= 0) {
            continue;
        }

        one = s[i];

        for (k = i; k > 0 && scan_cmp(&s[k - 1], &one) > 0; k--, moved++) {
            s[k] = s[k - 1];
        }

        s[k] = one;
    }

    if (i < n) {
        qsort(s, n, sizeof(gr_scan_t), scan_cmp);
    }
}


static int
scan_cmp(const void *a, const void *b)
{
    const gr_scan_t *x = a, *y = b;

    if (x->lexeme != y->lexeme) {
        return x->lexeme < y->lexeme ? -1 : 1;
    }

    return x->item < y->item ? -1 : x->item > y->item;
}


static int
called_cmp(const void *a, const void *b)
{
    const gr_called_t *x = a, *y = b;

    return x->callee < y->callee ? -1 : x->callee > y->callee;
}


static int
table_room(gr_parse_t *p)
{
    gr_slot_t *table;
    uint32_t   i, cap;

    if (p->n_rows * 2 + 2 < p->cap_table) {
        return 0;
    }

    cap = p->cap_table ? p->cap_table * 2 : 64;
    table = calloc(cap, sizeof(gr_slot_t));
    if (table == NULL) {
        return -ENOMEM;
    }

    free(p->table);
    p->table = table;
    p->cap_table = cap;

    for (i = 0; i < p->n_rows; i++) {
        gr_row_put(p, p->rows[i].hash, i + 1);
    }

    return 0;
}


void
gr_row_put(gr_parse_t *p, uint32_t hash, uint32_t value)
{
    uint32_t i;

    for (i = hash & (p->cap_table - 1); p->table[i].value;
         i = (i + 1) & (p->cap_table - 1)) { /* void */
    }

    p->table[i] = (gr_slot_t){hash, value};
}
