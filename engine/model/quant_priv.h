/*
 * Between quant.c and quant_blocks.c: the blocks of one row.
 */

#ifndef LLM_QUANT_PRIV_H
#define LLM_QUANT_PRIV_H

#include <stddef.h>
#include <stdint.h>

/*
 * n floats, finite and none above QUANT_MAX, into blocks of `type`, one that
 * quant_blocks_known() knows; n divides by its block.  imp: how much each
 * one's error counts, positive; or NULL.  Any alignment.
 */
void quant_blocks(uint32_t type, const float *x, const float *imp, uint64_t n,
                  uint8_t *out);
int  quant_blocks_known(uint32_t type);

/*
 * quant_rows() where errors of columns count differently: imp[cols], finite
 * and positive, or NULL.
 */
int quant_rows_by(uint32_t type, const float *x, const float *imp,
                  uint64_t rows, uint64_t cols, void *out);

/* Largest magnitude: minima are halves too. */
#define QUANT_MAX 60000.0f

/* Halves; to the nearest, ties to even. */
uint16_t quant_half(float f);
float    quant_half_float(uint16_t h);

#endif /* LLM_QUANT_PRIV_H */
