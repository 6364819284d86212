/*
 * Kernels that do one instruction each, for t/cuda/device.c: the same source
 * for the emulated device and a real one.  All pointers are device memory,
 * one block of 32 lanes unless said otherwise; 0 or -EIO.
 */

#ifndef LLM_T_CUDA_EMU_PROBE_H
#define LLM_T_CUDA_EMU_PROBE_H

#include "kernels/cuda/cu_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* d[lane][4] += of a[lane][4] and b[lane][2]; CU_BF16 or CU_F16. */
int probe_mma(cu_type_t t, float *d, const uint32_t *a, const uint32_t *b,
              cu_stream_t s);

typedef enum { PROBE_LD4 = 0, PROBE_LD4_TRANS, PROBE_LD2 } probe_ld_t;

/* in: 512 u16, row r of all at r * 8; at[lane]: its row; out[lane][4]. */
int probe_ldmatrix(probe_ld_t kind, const uint16_t *in, const uint32_t *at,
                   uint32_t *out, cu_stream_t s);
int probe_transpose(const uint32_t *in, uint32_t *out, cu_stream_t s);

typedef enum { PROBE_IDX = 0, PROBE_XOR, PROBE_UP, PROBE_DOWN } probe_shuffle_t;

int probe_shuffle32(probe_shuffle_t op, int width, const int *arg,
                    const float *in, float *out, cu_stream_t s);
int probe_shuffle64(probe_shuffle_t op, int width, const int *arg,
                    const uint64_t *in, uint64_t *out, cu_stream_t s);
/* out[12][lane]: ballot, any, all, match, reduce add min max (unsigned), add
   min max (signed), and or; of lanes in mask, the others' out stays. */
int probe_vote(uint32_t mask, const uint32_t *in, uint32_t *out, cu_stream_t s);

/* Integer instructions of a[i], b[i], c[i], n <= 32; out[PROBE_INTS][32]. */
#define PROBE_INTS 17
int probe_ints(const uint32_t *a, const uint32_t *b, const uint32_t *c,
               uint32_t n, uint32_t *out, cu_stream_t s);

/* Conversions of n numbers; any number of blocks. */
int probe_from_half(const uint16_t *in, float *out, uint32_t n, cu_stream_t s);
int probe_from_bf16(const uint16_t *in, float *out, uint32_t n, cu_stream_t s);
int probe_from_f8(const uint8_t *in, float *out, uint32_t n, cu_stream_t s);
int probe_to(cu_type_t t, const float *in, void *out, uint32_t n,
             cu_stream_t s);
/* F16 saturates. */
int probe_cu_to(cu_type_t t, const float *in, void *out, uint32_t n,
                cu_stream_t s);
/* x2 arithmetic of pairs: out[i][5]: fma, mul, add, sub, max. */
int probe_pairs(cu_type_t t, const uint32_t *a, const uint32_t *b,
                const uint32_t *c, uint32_t *out, uint32_t n, cu_stream_t s);
/* out[i][3]: cu_exp2, rsqrtf, __expf. */
int probe_floats(const float *in, float *out, uint32_t n, cu_stream_t s);

/* Copies n rows of 16 bytes through shared memory, three under way; rows with
   keep[i] = 0 become zeros. */
int probe_async(const uint8_t *in, const uint8_t *keep, uint8_t *out,
                uint32_t n, cu_stream_t s);
/* Of `threads` numbers: out[0] sum, [1] max, [2] or, [3] and, [4] count of
   those above 0, [5] atomic sum, [6] atomic max (as int). */
int probe_block(const float *in, float *out, uint32_t threads, cu_stream_t s);
/* out[block] = in[block] + 1, for chains of launches. */
int probe_next(const uint32_t *in, uint32_t *out, uint32_t n, cu_stream_t s);
/* `threads` threads, `bytes` of dynamic shared memory: out[0] = its sum after
   each thread has filled its share with 1. */
int probe_dynamic(uint32_t *out, uint32_t threads, uint32_t bytes,
                  cu_stream_t s);

/* What must not be done; for the emulated device only. */
typedef enum {
    PROBE_RACE = 0,   /* reads the neighbours' shared words without a barrier */
    PROBE_RACE_WARP,  /* the same in a warp, without __syncwarp() */
    PROBE_RACE_ASYNC, /* cp.async, and no barrier after the wait */
    PROBE_RACE_LATE,  /* one barrier short in a loop: warps overtake */
    PROBE_NO_WAIT,    /* reads what cp.async has not brought yet */
    PROBE_GOOD,       /* as PROBE_RACE, right */
    PROBE_RACES,
    PROBE_DIVERGED = PROBE_RACES, /* a shuffle that half a warp does */
    PROBE_EXITED,                 /* a shuffle when lanes have returned */
    PROBE_BARRIER,                /* a barrier that half a block comes to */
    PROBE_BARRIERS,               /* two barriers, half a block at each */
    PROBE_MASK,                   /* a lane that is not in its own mask */
    PROBE_MMA,          /* mma by half a warp here, the other half there */
    PROBE_SHARED,       /* a write beyond dynamic shared memory */
    PROBE_SHARED_FAR,   /* far beyond */
    PROBE_GLOBAL,       /* a read beyond global memory */
    PROBE_NULL,         /* a write to NULL */
    PROBE_MISALIGNED,   /* cp.async from an odd address */
    PROBE_NOT_SHARED,   /* ldmatrix from global memory */
    PROBE_NO_GRID_WAIT, /* returns without cu_grid_wait() */
    PROBE_FAULTS
} probe_fault_t;

/* in, out: 256 words each.  PROBE_RACES: out[i] = in[(i + 1) % 256] is right,
   PROBE_RACE_WARP: in[i / 32 * 32 + (i + 1) % 32]. */
int probe_fault(probe_fault_t fault, const uint32_t *in, uint32_t *out,
                cu_stream_t s);

#ifdef __cplusplus
}
#endif

#endif /* LLM_T_CUDA_EMU_PROBE_H */
