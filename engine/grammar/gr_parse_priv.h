/*
 * Inside of the parser (gr_parse.h): rows and how they are kept.
 *
 * A ROW is a function of its KERNEL, the items that lexemes led to, and
 * nothing else: two places of a text with equal kernels have one row, so a
 * row can be the place where a call began many times over.  That is sound as
 * a call that ends looks only at who called, never at where.  Kernels are
 * found by their contents; a row's items begin with its kernel, sorted.
 *
 * Origins have smaller numbers than the row whose kernel they are in.
 */

#ifndef LLM_GRAMMAR_GR_PARSE_PRIV_H
#define LLM_GRAMMAR_GR_PARSE_PRIV_H

#include "engine/grammar/gr_parse.h"
#include "engine/grammar/gr_priv.h"

#define GR_NO_ROW UINT32_MAX

/* A search for a string gave up (re_dfa_state_t.unsure). */
#define GR_UNSURE                                                              \
    "whether the grammar can go on was not found out within limits"

/* callee 0: of the start itself. */
typedef struct {
    gr_state_t state, callee;
    uint32_t   origin;
} gr_item_t;

/* A lexeme that may begin in a row, and where it leads to. */
typedef struct {
    uint32_t lexeme, item;
    uint32_t to;      /* or the argument of a capture */
    uint32_t capture; /* 1: it is one */
    uint32_t next;    /* first of its lexeme: 1 + the row after it alone */
} gr_scan_t;

enum { GR_LEO_UNKNOWN = 0, GR_LEO_NONE, GR_LEO_TOP };

/* Who called a state in a row. */
typedef struct {
    gr_state_t callee;
    uint32_t   first, n; /* a chain of calls */
    uint32_t   leo;
    gr_item_t  top; /* what a completion leads to in the end */
} gr_called_t;

typedef struct {
    uint32_t item, to, next; /* next: 1 + */
} gr_call_t;

typedef struct {
    uint32_t item, n_items, n_kernel;
    uint32_t scan, n_scans;    /* by lexeme */
    uint32_t called, n_called; /* by callee */
    uint32_t call;
    uint32_t hash;
    int32_t  lexer;
    uint8_t  complete;
    uint8_t  captures;
} gr_row_t;

typedef struct {
    uint32_t thread, n;
    uint32_t row; /* begun here, or GR_NO_ROW */
    uint32_t len; /* of the text */
} gr_pos_t;

struct gr_parse_s {
    gr_t             *gr;
    re_dfa_t         *dfa;
    gr_parse_limits_t limits;
    uint64_t          fuel;

    gr_pos_t    *pos; /* pos[n_pos - 1] is the last */
    uint32_t     n_pos, cap_pos;
    gr_thread_t *threads;
    uint32_t     cap_threads;
    uint8_t     *text;
    uint32_t     cap_text;

    gr_row_t    *rows;
    uint32_t     n_rows, cap_rows;
    gr_item_t   *items;
    uint32_t     n_items, cap_items;
    gr_scan_t   *scans;
    uint32_t     n_scans, cap_scans;
    gr_called_t *called;
    uint32_t     n_called, cap_called;
    gr_call_t   *calls;
    uint32_t     n_calls, cap_calls;
    uint32_t     tidy_at; /* n_items */
    uint32_t     base;    /* first item of the row that is being made */

    gr_slot_t *table; /* kernels: value is 1 + row */
    uint32_t   cap_table;

    gr_item_t *kernel; /* scratch */
    uint32_t   n_kernel, cap_kernel;

    /* While a row is made: which items and callees it has. */
    uint64_t *set; /* stamp << 32 | item */
    uint32_t  cap_set, stamp;
    uint64_t *callees; /* per state: stamp << 32 | called */
    uint32_t  cap_callees;

    re_dfa_item_t *lexemes; /* scratch */
    uint32_t       cap_lexemes;
    uint64_t      *met; /* threads of a position; scratch */
    uint32_t       cap_met;
    uint32_t       met_stamp;
};

int gr_parse_room(void *p, uint32_t *cap, uint64_t need, size_t size);

/* n steps of fuel; 0 or -ETIME. */
int gr_parse_spend(gr_parse_t *p, uint64_t n);

/* What a lexeme of a row leads to, into p->kernel.  text[n]: what it read. */
int gr_row_collect(gr_parse_t *p, uint32_t row, uint32_t lexeme,
                   const uint8_t *text, size_t n);

/*
 * The row of p->kernel, which is used up.  GR_NO_ROW: nothing may follow and
 * it is no end.  0 or -errno, nothing changed.
 */
int gr_row_make(gr_parse_t *p, uint32_t *row);

/* First scan of a lexeme in a row, or n_scans. */
uint32_t gr_row_scan(const gr_parse_t *p, const gr_row_t *row, uint32_t lexeme);

/* Enters value, 1 + a row of that hash, in the table of kernels. */
void gr_row_put(gr_parse_t *p, uint32_t hash, uint32_t value);

/* gr_parse_tidy.c: throws away rows that no position needs. */
void gr_rows_tidy(gr_parse_t *p);

#endif /* LLM_GRAMMAR_GR_PARSE_PRIV_H */
