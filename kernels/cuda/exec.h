/*
 * A prepared program: its nodes, all memory that its steps use, and the steps
 * under way.  Shared by check.c, exec.c, meta.c, run.c, graph.c and step.c: by
 * the thread that prepares it, and then by the step loop's only.
 *
 * ORDER.  Everything of an exec goes to the backend's one stream, one step
 * after the other, so the device has one of each buffer, one block of
 * metadata too.  Two of a kind are only what the host writes or reads while
 * an earlier step runs: pinned memory, by the step's parity.
 *
 * BUCKETS.  A step's rows are rounded up, so that few shapes of products
 * occur and one graph serves many steps.  Rows beyond the step's own are
 * rubbish in buffers that have room for them.
 */

#ifndef LLM_KERNELS_CUDA_EXEC_H
#define LLM_KERNELS_CUDA_EXEC_H

#include "kernels/cuda/draw.h"
#include "kernels/cuda/lower.h"

#define CU_MAX_DIM     (1u << 20)
#define CU_MAX_EXPERTS 1024
#define CU_MAX_USED    64
#define CU_GRAPHS      128   /* most graphs that an exec keeps */
#define CU_ROWS_MAX    65535 /* of a step: grids have so many */


/* What a step looks like to those who launch it: no more than that differs
   between two graphs. */
typedef struct {
    uint32_t rows;    /* bucket */
    uint32_t logits;  /* bucket; 0: nothing after the cut is done */
    uint32_t decode;  /* attention's work at most: of one row */
    uint32_t prefill; /* and of pieces; 0: none */
    uint32_t fixed;   /* 1: only one row of each sequence: may be a graph */
} cu_bucket_t;

typedef struct {
    cu_bucket_t     shape;
    cudaGraphExec_t graph;
} cu_graph_t;


/* How a sequence with one row is cut for attention, in pages. */
typedef struct {
    uint32_t pages; /* where its pages begin among all */
    uint32_t begin; /* the first that is seen */
    uint32_t each;  /* of a part */
    uint32_t n;     /* parts */
    uint32_t level; /* of length, for the order */
} cu_cut_t;


/* What the host owns of a step, by its parity. */
typedef struct {
    uint8_t    *meta;    /* pinned */
    cudaEvent_t done;    /* all of the step is */
    uint32_t    n_draws; /* ahead: of it */
    cudaEvent_t from;    /* cu_step_busy(): the device's time, or NULL */
    cudaEvent_t to;
    int         timed; /* and not yet counted */
} cu_parity_t;


struct k_exec_s {
    k_backend_t *be;
    k_program_t  prog;
    k_limits_t   limits;
    k_kv_t      *kv;
    cu_type_t    kv_type;
    cu_lowered_t low;

    uint32_t q_dim;
    uint32_t kv_dim;
    uint32_t qkv_dim;
    uint32_t vocab_ld;

    uint32_t max_rows; /* buckets' */
    uint32_t max_logits;
    uint32_t max_decode; /* attention's work */
    uint32_t max_prefill;
    uint64_t max_pages; /* of all sequences of a step together */

    void      *mem; /* device: all of the following, from the arena */
    uint64_t   size;
    void      *buf[CU_BUFS];
    float     *consts;
    cu_step_t *step;
    uint64_t   meta_size;

    uint32_t     max_draws;
    cu_drawer_t *draw;     /* NULL: no logits are ever wanted */
    cudaStream_t copies;   /* draws' requests go beside the step */
    cudaEvent_t  uploaded; /* they are there */

    cu_parity_t parity[2];
    uint32_t    next;     /* parity of the step to come */
    uint32_t    n_logits; /* of the last step; 0: it failed */
    uint32_t    n_drawn;  /* of the last step, if it was one ahead */
    uint32_t    n_ahead;  /* steps ahead that are not collected */
    int         failed;   /* the device has */
    int         clock;    /* steps are timed */
    uint64_t    busy;     /* ns so far */
    uint32_t    running;  /* operation being launched, for messages */

    uint32_t    window;    /* most that any layer sees; 0: all */
    int         fast_attn; /* attention has kernels for this shape */
    cu_cut_t   *cuts;      /* [seqs], malloc */
    int         graphs;    /* fixed steps run as graphs */
    cu_graph_t *graph;     /* [CU_GRAPHS], malloc */
    uint32_t    n_graphs;
    uint32_t    n_refused;
};


/* --- check.c --- */

/*
 * After it nothing about the program can make a step read or write out of
 * bounds.  -EINVAL: the program is wrong; -ENOTSUP: no kernel does it.
 */
int cu_exec_check(const k_exec_t *e, char *err);

/* --- meta.c --- */

/* Rows rounded up: of any step, and of steps that are graphs. */
uint32_t cu_bucket(uint32_t rows);
uint32_t cu_bucket_graph(uint32_t rows);
/* Attention's work at most, of so many sequences with one row. */
uint32_t cu_meta_work(const k_exec_t *e, uint32_t rows);
/* Bytes of the metadata of the largest step. */
uint64_t cu_meta_size(const k_exec_t *e);
/* Where logit_rows always lies on the device. */
const uint32_t *cu_meta_logit_rows(const k_exec_t *e);
/*
 * Checks a batch and writes its metadata to pinned memory: no call of CUDA.
 * Tokens may be K_TOKEN_OF(i), i < n_drawn.  *bytes of it are to be copied to
 * e->step.  -EINVAL: it breaks a rule of backend.h.
 */
int cu_meta(const k_exec_t *e, const k_batch_t *b, uint32_t n_drawn, uint8_t *out, uint64_t *bytes,
            cu_bucket_t *shape);

/* --- run.c --- */

typedef enum {
    CU_RUN = 0,
    CU_TUNE, /* cu_blas_tune() for each product, and nothing else */
    CU_DRY   /* all but cuBLASLt's products */
} cu_mode_t;

/* Launches all nodes of a step of this shape; 0, -EINVAL or -EIO. */
int cu_run(k_exec_t *e, const cu_bucket_t *shape, cudaStream_t stream, cu_mode_t mode);
/* Attention's arguments, but the grid, for one operation. */
void cu_run_attn_args(const k_exec_t *e, const k_op_t *op, cu_attn_t *p);

/* --- graph.c --- */

/* Launches a step of this shape, as a graph where that is possible. */
int  cu_graph_run(k_exec_t *e, const cu_bucket_t *shape);
void cu_graph_free(k_exec_t *e);

#endif /* LLM_KERNELS_CUDA_EXEC_H */
