/*
 * Rows that walks through a token trie made and no position needs any more:
 * the others are moved together and renumbered, in their old order.  Runs at
 * the start of a mask, in the thread that holds the program's lock.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_parse_priv.h"

/* Below so many items nothing is thrown away. */
#define FEW 65536

static void mark_positions(const gr_parse_t *p, uint32_t *map);
static void mark_origins(const gr_parse_t *p, uint32_t *map);
static void move_row(gr_parse_t *p, const uint32_t *map, uint32_t from);
static void move_scans(gr_parse_t *p, const uint32_t *map, const gr_row_t *row,
                       gr_row_t *to);
static void move_calls(gr_parse_t *p, const uint32_t *map, const gr_row_t *row,
                       gr_row_t *to, uint32_t n_calls);
static void renumber(gr_parse_t *p, const uint32_t *map);


void
gr_rows_tidy(gr_parse_t *p)
{
    uint32_t *map = calloc((size_t) p->n_rows + 1, sizeof(uint32_t));
    uint32_t  i, n, rows;

    if (map == NULL) {
        return;
    }

    /* map: 1 for a row that is needed, then 1 + its new number. */

    mark_positions(p, map);
    mark_origins(p, map);

    for (i = 0, n = 0; i < p->n_rows; i++) {
        map[i] = map[i] ? ++n : 0;
    }

    rows = p->n_rows;
    p->n_items = 0;
    p->n_scans = 0;
    p->n_called = 0;

    /* Calls of a row end where the next one's begin. */

    p->rows[rows].call = p->n_calls;
    p->n_calls = 0;

    for (i = 0; i < rows; i++) {
        if (map[i]) {
            move_row(p, map, i);
        }
    }

    p->n_rows = n;
    renumber(p, map);
    free(map);

    memset(p->table, 0, p->cap_table * sizeof(gr_slot_t));

    for (i = 0; i < p->n_rows; i++) {
        p->rows[i].hash = gr_hash(p->items + p->rows[i].item,
                                  p->rows[i].n_kernel * sizeof(gr_item_t));
        gr_row_put(p, p->rows[i].hash, i + 1);
    }

    p->tidy_at = p->n_items > FEW / 2 ? p->n_items * 2 : FEW;
}


static void
mark_positions(const gr_parse_t *p, uint32_t *map)
{
    const gr_pos_t *pos;
    uint32_t        i, k;

    map[0] = 1;

    for (i = 0; i < p->n_pos; i++) {
        pos = &p->pos[i];

        if (pos->row != GR_NO_ROW) {
            map[pos->row] = 1;
        }

        for (k = 0; k < pos->n; k++) {
            map[p->threads[pos->thread + k].row] = 1;
        }
    }
}


/* Origins are older than their row. */
static void
mark_origins(const gr_parse_t *p, uint32_t *map)
{
    const gr_row_t *row;
    uint32_t        i, k;

    for (i = p->n_rows; i-- > 0;) {
        if (map[i] == 0) {
            continue;
        }

        row = &p->rows[i];

        for (k = 0; k < row->n_items; k++) {
            map[p->items[row->item + k].origin] = 1;
        }
    }
}


static void
move_row(gr_parse_t *p, const uint32_t *map, uint32_t from)
{
    gr_row_t row = p->rows[from], to = row;
    uint32_t i, n_calls;

    /* rows[from + 1] may not have been written over yet, as from >= to. */

    n_calls = p->rows[from + 1].call - row.call;
    to.item = p->n_items;

    for (i = 0; i < row.n_items; i++) {
        p->items[to.item + i] = p->items[row.item + i];
        p->items[to.item + i].origin = map[p->items[to.item + i].origin] - 1;
    }

    p->n_items += row.n_items;
    move_scans(p, map, &row, &to);
    move_calls(p, map, &row, &to, n_calls);
    p->rows[map[from] - 1] = to;
}


static void
move_scans(gr_parse_t *p, const uint32_t *map, const gr_row_t *row,
           gr_row_t *to)
{
    gr_scan_t *s;
    uint32_t   i;

    to->scan = p->n_scans;

    for (i = 0; i < row->n_scans; i++) {
        s = &p->scans[to->scan + i];
        *s = p->scans[row->scan + i];
        s->item = s->item - row->item + to->item;
        s->next = s->next ? map[s->next - 1] : 0;
    }

    p->n_scans += row->n_scans;
}


static void
move_calls(gr_parse_t *p, const uint32_t *map, const gr_row_t *row,
           gr_row_t *to, uint32_t n_calls)
{
    gr_called_t *c;
    gr_call_t   *call;
    uint32_t     i;

    to->called = p->n_called;
    to->call = p->n_calls;

    for (i = 0; i < row->n_called; i++) {
        c = &p->called[to->called + i];
        *c = p->called[row->called + i];
        c->first = c->first - row->call + to->call;

        if (c->leo == GR_LEO_TOP) {
            c->top.origin = map[c->top.origin] - 1;
        }
    }

    for (i = 0; i < n_calls; i++) {
        call = &p->calls[to->call + i];
        *call = p->calls[row->call + i];
        call->item = call->item - row->item + to->item;
        call->next = call->next ? call->next - row->call + to->call : 0;
    }

    p->n_called += row->n_called;
    p->n_calls += n_calls;
}


static void
renumber(gr_parse_t *p, const uint32_t *map)
{
    gr_pos_t *pos;
    uint32_t  i, k;

    for (i = 0; i < p->n_pos; i++) {
        pos = &p->pos[i];

        if (pos->row != GR_NO_ROW) {
            pos->row = map[pos->row] - 1;
        }

        for (k = 0; k < pos->n; k++) {
            p->threads[pos->thread + k].row =
                map[p->threads[pos->thread + k].row] - 1;
        }
    }
}
