/*
 * Quantisation of weights: F32, F16 and BF16 rows into GGUF's formats, and
 * which tensor of a model gets which.  Used by the loader (`quant q4_k`) and
 * by util/quantize.  Pure functions; any thread.
 */

#ifndef LLM_QUANT_H
#define LLM_QUANT_H

#include "engine/model/gguf.h"

/* FP8: by the backend, to E4M3 with a scale a row; on a GPU only. */
typedef enum { QUANT_NONE = 0, QUANT_Q8_0, QUANT_Q4_K, QUANT_FP8 } quant_t;

/* "q8_0", "q4_k", "fp8"; -EINVAL. */
int         quant_of(const char *name, size_t len, quant_t *out);
const char *quant_name(quant_t q);

/*
 * The type that tensor t of file g gets under q: its own where it is no
 * matrix, or is quantised already; a fall-back where its width does not
 * divide by 256 (Q4_K -> Q5_0, Q6_K -> Q8_0) or by 32 (its own).
 */
uint32_t quant_type(quant_t q, const gguf_t *g, const gguf_tensor_t *t);

/* 1: a tensor that FP8 is for: a matrix of weights, large, not quantised. */
int quant_is_matrix(const gguf_tensor_t *t);

/*
 * The same where matrices are to be `type`: all of them but the output and
 * the embedding that is one too, which get six bits where `type` has fewer;
 * Q4_K and Q5_K mean the mixes that have their names (quant_type() of
 * QUANT_Q4_K is that of GGML_Q4_K).  F32, F16, BF16: conversion.
 */
uint32_t quant_type_as(uint32_t type, const gguf_t *g, const gguf_tensor_t *t);

/*
 * Row by row: `rows` rows of `cols` floats into blocks of `type`, the bytes
 * without gaps.  -ENOTSUP: no quantiser for the type; -EINVAL: cols; -ERANGE:
 * a number that is not finite, or too large for the type.  F32, F16 and BF16
 * are types too (and hold what is not finite).
 */
int quant_rows(uint32_t type, const float *x, uint64_t rows, uint64_t cols,
               void *out);

/* F32, F16, BF16 rows to floats; -ENOTSUP. */
int quant_floats(uint32_t type, const void *src, uint64_t n, float *out);

/*
 * A tensor's rows, quantised as they are read: the `read` and `ctx` of a
 * k_source_t.  quant_reader_init() allocates nothing but what
 * quant_reader_free() frees.
 */
typedef struct {
    const gguf_t        *g;
    const gguf_tensor_t *t;
    uint32_t             type; /* what comes out; t->type: as it is */
    void                *raw;  /* a few rows as they are in the file */
    float               *x;
    uint64_t             batch; /* rows that fit there */
} quant_reader_t;

int  quant_reader_init(quant_reader_t *r, const gguf_t *g,
                       const gguf_tensor_t *t, uint32_t type);
void quant_reader_free(quant_reader_t *r);
int  quant_reader_rows(void *reader, uint32_t row, uint32_t n, void *out);

#endif /* LLM_QUANT_H */
