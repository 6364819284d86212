/*
 * A weight on its way to the device, as weight.c, which knows what it becomes,
 * hands it to weight_rows.c, which brings its rows.
 */

#ifndef LLM_KERNELS_CUDA_WEIGHT_H
#define LLM_KERNELS_CUDA_WEIGHT_H

#include "kernels/cuda/cu.h"

/* What is done to rows between the source and the device. */
typedef enum {
    CU_LOAD_COPY = 0, /* nothing */
    CU_LOAD_REPACK,   /* by the device */
    CU_LOAD_WIDEN,    /* F32 */
    CU_LOAD_PLAIN,    /* BF16 of blocks */
    CU_LOAD_TO_F8     /* by the device */
} cu_way_t;

typedef struct {
    k_backend_t      *be;
    const k_source_t *src;
    k_weight_t       *w;
    char             *err;
    cu_way_t          way;
    cu_type_t         type;   /* CU_LOAD_TO_F8: the source's */
    uint8_t          *out;    /* on the device: row 0 */
    uint64_t          row;    /* bytes of a row in the source, */
    uint64_t          staged; /* in pinned memory, */
    uint32_t          most;   /* rows of a piece */
    uint32_t          next;   /* piece that nobody has taken yet; atomic */
    int               failed; /* 1: no more pieces; atomic */
    pthread_mutex_t   order;  /* of what is enqueued */
} cu_load_t;

/*
 * All rows of l->src to l->out (or, repacked, to l->w->m), on the loader's
 * stream, which it waits for.  Takes load_lock.  0, or -errno with l->err.
 */
int cu_load_rows(cu_load_t *l);

#endif /* LLM_KERNELS_CUDA_WEIGHT_H */
