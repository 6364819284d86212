/*
 * The CPU backend's own structures, shared by the files of this folder.
 *
 *     cpu.c      open, KV pages
 *     weight.c   weights
 *     arena.c    memory
 *     threads.c  the compute pool
 *     gemm*      matrix products
 *     simd*      everything else that counts, an ISA each
 *     exec.c     a program given its scratch
 *     check.c    a program checked
 *     step.c     a step: the walk over the operations
 *     product.c  their matrix products, cut into pieces
 *     moe.c      the operation MOE
 *     attn.c     the operations QKV's second half and ATTN
 *     sample.c   sampling; select.c cuts the vocabulary for it
 *
 * A weight and an exec belong to who made them, the backend must outlive both.
 */

#ifndef LLM_KERNELS_CPU_CPU_H
#define LLM_KERNELS_CPU_CPU_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "kernels/cpu/arena.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/threads.h"

#define K_MAX_ROPES   8          /* different rotations in one program */
#define K_MAX_EXPERTS 4096       /* of one MOE */
#define K_MAX_USED    64         /* experts of one row */
#define K_MAX_SLOTS   (1u << 24) /* rows of a step times experts of each */
#define K_MAX_DIM     (1u << 20)
#define K_ATTN_PAIRS  48   /* (row, head) pairs of a prefill tile */
#define K_ATTN_SPAN   256  /* positions whose sums are merged at last */
#define K_ATTN_PARTS  256  /* spans of one row each with room for parts */
#define K_MOE_ROWS    64   /* rows of one expert at a time */
#define K_MOE_FEW     8    /* rows whose experts each thread chooses itself */
#define K_SOLO_WORK   2048 /* floats that each thread norms by itself */
#define K_MEET_WORK   4096 /* floats that one thread takes for all */


struct k_backend_s {
    k_config_t      conf;
    k_isa_t         isa;
    int             fallback; /* a better ISA failed its self-test */
    const k_simd_t *simd;
    k_arena_t      *arena;
    k_pool_t       *pool;
    char            line[160];
};


struct k_weight_s {
    k_role_t    role;
    k_type_t    type;
    uint32_t    rows;
    uint32_t    cols;
    uint64_t    size;
    void       *mem;    /* in the arena */
    k_matrix_t  matrix; /* but K_ROLE_VECTOR, _VECTORS and _EXPERTS */
    float      *vector; /* K_ROLE_VECTOR, _VECTORS: [rows][cols] */
    uint32_t    n_experts;
    k_matrix_t *experts; /* K_ROLE_EXPERTS: [n_experts], by malloc */
};


/*
 * Pages [n][layer][kv head]{ K [head_dim][32], V [32][hd_pad] }, in F16; in
 * F32 where activations are, for a reference that rounds nowhere.
 */
struct k_kv_s {
    k_backend_t *be;
    uint32_t     n_pages;
    uint32_t     n_layer;
    uint32_t     n_kv;
    uint32_t     head_dim;
    uint32_t     hd_pad;
    uint32_t     elem; /* bytes of an element */
    uint64_t     tile; /* bytes of K and V of one layer and head */
    uint64_t     page; /* bytes */
    uint64_t     size;
    uint8_t     *mem;
};


/* Rows of one sequence on one page: the unit of writing K and V. */
typedef struct {
    uint32_t row;
    uint32_t n;
    uint32_t page;
    uint32_t slot; /* of the first row within the page */
} k_group_t;


/* Rows of one sequence that attention takes together. */
typedef struct {
    const uint32_t *pages;
    uint32_t        row; /* in Q */
    uint32_t        out; /* in A */
    uint32_t        n;
    uint32_t        pos;
    uint32_t        spans; /* 1: not split; else one unit each */
    uint32_t        unit;  /* number of the first unit, all KV heads */
    uint32_t        part;  /* first of its floats in `parts` */
} k_tile_t;

typedef struct {
    k_tile_t *tiles;
    uint32_t  n;
    uint32_t  n_units;
    uint64_t  split; /* floats in `parts`; 0: no tile is split */
} k_tiles_t;


typedef struct {
    const float *inv_freq;
    uint32_t     n_rot;
    k_rope_t     mode;
    float        mul;
    float       *table; /* [rows][2 * n_rot] */
} k_rope_table_t;


/* Rows of one expert that are multiplied together. */
typedef struct {
    uint32_t expert;
    uint32_t first; /* of its rows, among all sorted by expert */
    uint32_t n;
} k_moe_block_t;

/* MOE's memory that the threads share; a slot is a row and a rank. */
typedef struct {
    float    *router; /* [rows][n_expert] */
    uint32_t *ids;    /* [rows][n_used]: experts, the largest gate first */
    float    *gates;  /* the same */
    float    *h;      /* [slots][n_ff], sorted by expert */
    float    *y;      /* [slots][n_embd], sorted by expert */

    /* Most of each over all operations of the program; 0: there is none. */
    uint32_t experts;
    uint32_t used;
    uint32_t n_ff;
    int      wide; /* some experts read F32 activations */
} k_moe_t;

/* MOE: a thread's own. */
typedef struct {
    uint32_t      *first;  /* [n_expert + 1]: where an expert's rows begin */
    uint32_t      *slots;  /* sorted by expert, rows rising */
    uint32_t      *places; /* of each slot among the sorted */
    k_moe_block_t *blocks;
    uint32_t       n_blocks;
    uint32_t      *ids;   /* [K_MOE_FEW][n_used]: where each thread */
    float         *gates; /* chooses for itself */
    k_act_t        act;   /* of block `held` */
    uint32_t       held;
    void          *mem; /* its int8 form */
    float         *x;   /* its rows in F32, or NULL */
    float         *u;   /* [K_MOE_ROWS][n_ff] */
} k_moe_own_t;


/* One thread's own scratch. */
typedef struct {
    float    *norm; /* normed rows of a solo phase */
    void     *act;  /* their int8 form */
    k_attn_t  attn;
    float    *total; /* [pairs][hd_pad + 2]: o, m, l over all spans */
    float    *head;  /* one head */
    uint16_t *half;

    k_moe_own_t moe;

    float    *logits; /* sampling: [n_vocab] each */
    float    *probs;
    uint32_t *ids;
    uint32_t *keys;
    float    *weights;
    float    *maxima; /* [n_vocab / 64] */
    float    *sums;
    uint32_t *order;
} k_scratch_t;


struct k_exec_s {
    k_backend_t    *be;
    k_program_t     prog;
    k_limits_t      limits;
    k_kv_t         *kv;
    const k_simd_t *simd;
    k_pool_t       *pool;

    void    *mem; /* all of the following, in the arena */
    uint64_t size;
    void    *table; /* by malloc: scratch, groups, tiles, op_rope */

    uint32_t q_dim;
    uint32_t kv_dim;
    uint32_t qkv_dim;
    uint32_t vocab_ld;

    float   *x; /* the buffers of backend.h */
    float   *q; /* [rows][qkv_dim]: queries, keys, values */
    float   *a;
    float   *h;
    float   *u; /* up; and what a post-norm reads */
    float   *l;
    float   *norm;
    void    *act;
    float   *parts;
    uint64_t n_parts;
    k_moe_t  moe;

    k_rope_table_t ropes[K_MAX_ROPES];
    uint32_t       n_ropes;
    uint8_t       *op_rope; /* [n_ops] */

    uint32_t cut; /* the operation from which on only rows with logits count */

    k_group_t   *groups;
    uint32_t     n_groups;
    k_tiles_t    all;
    k_tiles_t    last; /* rows with logits only */
    k_scratch_t *scratch;

    /* The step. */
    const k_batch_t *batch;
    uint32_t         n_logits; /* of the last step */

    const k_sample_t *req;
    k_sampled_t      *out;
    uint32_t          n_req;
};


/*
 * Rows of `cols` that are so few that each thread prepares them for itself,
 * which takes less than to wait for each other.
 */
static inline uint32_t
k_solo_rows(uint32_t cols)
{
    return cols < K_SOLO_WORK ? K_SOLO_WORK / cols : 1;
}


/* cpu.c; as k_arena_alloc(), with the reason in err */
void *k_cpu_alloc(k_backend_t *be, uint64_t size, const char *what, char *err);

/* weight.c */
int k_cpu_weights_load(k_backend_t *be, const k_source_t *src, k_weight_t **out,
                       char *err);
void k_cpu_weights_free(k_backend_t *be, k_weight_t *w);

/* step.c */
int k_step_submit(k_exec_t *exec, const k_batch_t *batch);

/* exec.c */
int  k_exec_prepare(k_backend_t *be, const k_program_t *prog, k_kv_t *kv,
                    const k_limits_t *limits, k_exec_t **exec, char *err);
void k_exec_free(k_exec_t *exec);

/* check.c */
int k_exec_check(k_exec_t *exec, char *err);

/* attn.c; all threads call the k_op_*(); 1: they have met at the end */
void k_attn_plan(k_exec_t *exec);
int  k_op_rope_kv(k_exec_t *exec, const k_op_t *op, uint32_t thread,
                  const float *rope);
int  k_op_attn(k_exec_t *exec, const k_op_t *op, uint32_t thread, int last);

/* moe.c; all threads call it; 1: they have met at the end */
int k_op_moe(k_exec_t *exec, const k_op_t *op, uint32_t rows, uint32_t thread);

/* sample.c */
int k_sample_rows(k_exec_t *exec, uint32_t n, const k_sample_t *req,
                  k_sampled_t *out);

#endif /* LLM_KERNELS_CPU_CPU_H */
