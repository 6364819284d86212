/*
 * Between quant.c and quant_blocks.c: the blocks of one row.
 */

#ifndef LLM_QUANT_PRIV_H
#define LLM_QUANT_PRIV_H

#include <stddef.h>
#include <stdint.h>

/*
 * n floats, finite and none above QUANT_MAX, into blocks of `type`, one that
 * quant_blocks_known() knows; n divides by its block.  Any alignment.
 */
void quant_blocks(uint32_t type, const float *x, uint64_t n, uint8_t *out);
int  quant_blocks_known(uint32_t type);

/* Largest magnitude: minima are halves too. */
#define QUANT_MAX 60000.0f

/* Halves; to the nearest, ties to even. */
uint16_t quant_half(float f);
float    quant_half_float(uint16_t h);

#endif /* LLM_QUANT_PRIV_H */
