/*
 * A phase of matrix products within a step: up to three matrices over the
 * same activations, cut into pieces of rows and outputs that the threads
 * take by k_pool_next().
 *
 *     p.n_parts = 0; p.rows = ...; p.flags = ...;
 *     k_part() for each matrix, k_cut(), k_activate()
 *     while (k_piece_next(...)) { k_product_piece(...); }
 *     k_pool_barrier()
 *
 * Every thread of the pool does the same.  How a phase is cut changes no bit
 * of what it computes, see gemm.h.
 */

#ifndef LLM_KERNELS_CPU_PRODUCT_H
#define LLM_KERNELS_CPU_PRODUCT_H

#include "kernels/cpu/cpu.h"

#define K_ROWS_PIECE   8    /* rows that are normed or looked up at a time */
#define K_ROWS_BLOCK   128  /* rows of a product at a time */
#define K_COLS_PIECE   128  /* outputs of a product at a time, at most */
#define K_COLS_ALONE   512  /* the same where there is one row */
#define K_COLS_GRANULE 16   /* a multiple of every k_matrix_granule() */
#define K_PIECES       6    /* of a product for each thread, at least */
#define K_PIECE_WORK   8192 /* multiply-adds that are worth a piece */


/* One matrix of a product phase. */
typedef struct {
    const k_weight_t *w;
    const k_weight_t *bias;
    float            *out;
    size_t            ld;
    uint32_t          pieces; /* along its outputs */
    uint32_t          width;  /* outputs of a piece */
} k_part_t;

/* A phase of products over the same activations. */
typedef struct {
    k_part_t parts[3];
    uint32_t n_parts;
    uint32_t rows;
    uint32_t row_piece;
    uint32_t row_pieces;
    uint32_t pieces; /* of all parts, for one piece of rows */
    unsigned flags;
    k_act_t  act;
} k_product_t;


/* Adds a matrix: out[m * ld + n] of p->rows rows and its own n. */
void k_part(k_product_t *p, const k_weight_t *w, const k_weight_t *bias,
            float *out, size_t ld);

/* Cuts the parts' outputs into pieces of about the same work. */
void k_cut(k_exec_t *e, k_product_t *p);

/*
 * p->act: p->rows rows of x (those of `map`, if there is one), normed if there
 * is a norm, and quantised.  Ends with a barrier unless it was done solo.
 */
void k_activate(k_exec_t *e, k_product_t *p, const k_op_t *op,
                const k_weight_t *norm, const float *x, uint32_t cols,
                const uint32_t *map, uint32_t thread);

/* The next piece for this thread; 0: none is left. */
int k_piece_next(k_exec_t *e, const k_product_t *p, k_part_t const **part,
                 uint32_t *m0, uint32_t *m1, uint32_t *n0, uint32_t *n1);

void k_product_piece(const k_product_t *p, const k_part_t *part, uint32_t m0,
                     uint32_t m1, uint32_t n0, uint32_t n1);

#endif /* LLM_KERNELS_CPU_PRODUCT_H */
