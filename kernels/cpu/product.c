/*
 * See product.h.  Called by all compute threads inside a step; the memory of
 * activations is the exec's or, where they are made solo, the thread's own.
 */

#include <string.h>

#include "kernels/cpu/product.h"


static void k_activate_rows(k_exec_t *e, const k_op_t *op,
                            const k_weight_t *norm, const float *x, float *out,
                            uint32_t cols, const uint32_t *map, uint32_t from,
                            uint32_t to);


void
k_activate(k_exec_t *e, k_product_t *p, const k_op_t *op,
           const k_weight_t *norm, const float *x, uint32_t cols,
           const uint32_t *map, uint32_t thread)
{
    int          solo;
    float       *copy;
    void        *mem;
    size_t       ld;
    uint32_t     i, piece, row, end;
    k_scratch_t *s;

    s = &e->scratch[thread];
    solo = p->rows <= k_solo_rows(cols);
    copy = NULL;
    ld = cols;

    if (norm != NULL || map != NULL) {
        copy = solo ? s->norm : e->norm;
    }
    mem = solo ? s->act : e->act;

    k_act_init(&p->act, e->be->conf.act, mem, p->rows, cols,
               copy != NULL ? copy : x, ld);

    if (solo) {
        k_activate_rows(e, op, norm, x, copy, cols, map, 0, p->rows);
        k_act_quantize(&p->act, e->be->isa, 0, p->rows);
        return;
    }

    /* Best are the rows that lie together, if that leaves work for all. */
    piece = p->rows / (2 * k_pool_size(e->pool)) / K_ROWS_PIECE * K_ROWS_PIECE;
    piece = piece < p->act.tile ? piece : p->act.tile;
    piece = piece > K_ROWS_PIECE ? piece : K_ROWS_PIECE;

    for (i = k_pool_next(e->pool); i * piece < p->rows;
         i = k_pool_next(e->pool)) {
        row = i * piece;
        end = p->rows - row < piece ? p->rows : row + piece;
        k_activate_rows(e, op, norm, x, copy, cols, map, row, end);
        k_act_quantize(&p->act, e->be->isa, row, end);
    }

    k_pool_barrier(e->pool);
}


static void
k_activate_rows(k_exec_t *e, const k_op_t *op, const k_weight_t *norm,
                const float *x, float *out, uint32_t cols, const uint32_t *map,
                uint32_t from, uint32_t to)
{
    float       *dst;
    uint32_t     i;
    const float *src;

    for (i = from; out != NULL && i < to; i++) {
        src = x + (size_t) (map != NULL ? map[i] : i) * cols;
        dst = out + (size_t) i * cols;

        if (norm != NULL) {
            e->simd->norm(dst, src, norm->vector, cols, op->eps);
        } else {
            memcpy(dst, src, cols * sizeof(float));
        }
    }
}


void
k_part(k_product_t *p, const k_weight_t *w, const k_weight_t *bias, float *out,
       size_t ld)
{
    k_part_t *part;

    part = &p->parts[p->n_parts++];
    part->w = w;
    part->bias = bias;
    part->out = out;
    part->ld = ld;
}


void
k_cut(k_exec_t *e, k_product_t *p)
{
    uint32_t  i, n, width, least, most;
    uint64_t  work;
    k_part_t *part;

    p->row_pieces = (p->rows + K_ROWS_BLOCK - 1) / K_ROWS_BLOCK;
    p->row_piece = (p->rows + p->row_pieces - 1) / p->row_pieces;
    p->row_piece = (p->row_piece + 15) & ~15u;
    p->row_pieces = (p->rows + p->row_piece - 1) / p->row_piece;

    n = 0;
    for (i = 0; i < p->n_parts; i++) {
        n += p->parts[i].w->rows;
    }

    width = n * p->row_pieces / (k_pool_size(e->pool) * K_PIECES) + 1;

    work = (uint64_t) (p->rows < p->row_piece ? p->rows : p->row_piece)
           * p->parts[0].w->cols;
    least = (uint32_t) (K_PIECE_WORK / work);
    width = width > least ? width : least;

    most = p->rows > 1 ? K_COLS_PIECE : K_COLS_ALONE;
    width = width < most ? width : most;

    width = (width + K_COLS_GRANULE - 1) / K_COLS_GRANULE * K_COLS_GRANULE;
    p->pieces = 0;

    for (i = 0; i < p->n_parts; i++) {
        part = &p->parts[i];
        part->width = width;
        part->pieces = (part->w->rows + part->width - 1) / part->width;
        p->pieces += part->pieces;
    }
}


int
k_piece_next(k_exec_t *e, const k_product_t *p, k_part_t const **part,
             uint32_t *m0, uint32_t *m1, uint32_t *n0, uint32_t *n1)
{
    uint32_t        i;
    const k_part_t *w;

    i = k_pool_next(e->pool);
    if (i >= p->pieces * p->row_pieces) {
        return 0;
    }

    *m0 = i / p->pieces * p->row_piece;
    *m1 = p->rows - *m0 < p->row_piece ? p->rows : *m0 + p->row_piece;

    i %= p->pieces;
    for (w = p->parts; i >= w->pieces; w++) {
        i -= w->pieces;
    }

    *part = w;
    *n0 = i * w->width;
    *n1 = w->w->rows - *n0 < w->width ? w->w->rows : *n0 + w->width;

    return 1;
}


void
k_product_piece(const k_product_t *p, const k_part_t *part, uint32_t m0,
                uint32_t m1, uint32_t n0, uint32_t n1)
{
    k_gemm(&part->w->matrix, &p->act, m0, m1, n0, n1, part->out, part->ld,
           part->bias != NULL ? part->bias->vector : NULL, p->flags);
}
