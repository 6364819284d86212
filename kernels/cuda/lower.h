/*
 * A step program as nodes: one node is one launch, or a few of one kind, and
 * the list is run from front to back.  lower.c makes it at program_prepare();
 * it never changes after that.
 *
 * A node names the buffers it works on (cu_buf_t), so that the list can be
 * made before there is memory for them.  What depends on the number of rows
 * is decided when a node runs, by tables: how a product is computed
 * (cu_lower_by()), and hence in which forms the node before it leaves the
 * activations.
 *
 * A product may leave work to its reader, the next node that is no product:
 * its bias always (but where it says `biased`), the scales of E4M3 products,
 * and the addition to X where it could not do that itself.
 */

#ifndef LLM_KERNELS_CUDA_LOWER_H
#define LLM_KERNELS_CUDA_LOWER_H

#include "kernels/cuda/cu.h"

#define CU_PARTS 3 /* matrices of one product node at most */

/* Floats from one row of logits to the next. */
#define CU_VOCAB_LD(n) (((n) + 63) & ~63u)

/* Buffers of an exec; T is its activation type. */
typedef enum {
    CU_B_NONE = 0,
    CU_B_X,       /* [rows][n_embd] F32 */
    CU_B_U,       /* [rows][n_embd] F32: what is added to X next */
    CU_B_N,       /* [rows][n_embd] T: normed */
    CU_B_QKV,     /* [rows][q + 2 kv] T */
    CU_B_A,       /* [rows][q] T */
    CU_B_GU,      /* [rows][2][n_ff] T */
    CU_B_H,       /* [rows][n_ff] T */
    CU_B_L,       /* [logits][vocab_ld] F32 */
    CU_B_I8,      /* int8 of N, A or H, few rows */
    CU_B_I8_D,    /* its blocks' scales and sums */
    CU_B_F8,      /* E4M3 of N, A or H */
    CU_B_F8_N,    /* [rows] F32: its rows' scales where it is of N; */
    CU_B_F8_H,    /* and of A or H */
    CU_B_PARTS,   /* attention's splits, */
    CU_B_TICKETS, /* and who of them is last: zeros between steps */
    CU_B_ROUTER,  /* [rows][n_expert] F32 */
    CU_B_IDS,     /* [rows][n_used] */
    CU_B_GATES,
    CU_B_SLOTS,
    CU_B_FIRST, /* [n_expert + 1] */
    CU_B_EG,    /* [slots][n_ff] T: experts' gate, */
    CU_B_EU,    /* up, */
    CU_B_EH,    /* act(gate) * up */
    CU_B_EY,    /* [slots][n_embd] F32: experts' results */
    CU_B_WORK,  /* weights made T before a product, a slice at a time */
    CU_BUFS
} cu_buf_t;

/* Forms of activations that a product wants. */
#define CU_WANT_T  1u
#define CU_WANT_I8 2u
#define CU_WANT_F8 4u

typedef enum {
    CU_BY_GEMV = 0, /* cu_gemv() */
    CU_BY_QUANT,    /* cu_quant_gemv() */
    CU_BY_MMA,      /* cu_mma() */
    CU_BY_BLAS,     /* cu_blas_mul() on T */
    CU_BY_BLAS8,    /* cu_blas_mul() on E4M3, the reader applies scales */
    CU_BY_WORK      /* cu_dequant() and cu_blas_mul(), in slices */
} cu_by_t;

/* Kinds of matrices, as far as the way of multiplying goes. */
typedef enum {
    CU_C_T = 0,  /* plain, of type T */
    CU_C_PLAIN,  /* plain, of another type but E4M3 */
    CU_C_F8,     /* E4M3 that meets E4M3 activations */
    CU_C_F8_T,   /* E4M3 that meets T */
    CU_C_BLOCKS, /* GGUF's blocks */
    CU_C_SMALL,  /* routers, and all where there is no cuBLASLt: plain */
    CU_C_SMALL_BLOCKS,
    CU_C_EXPERTS, /* plain; and what reads CU_B_EH, which is T only */
    CU_C_EXPERTS_BLOCKS,
    CU_CLASSES
} cu_class_t;


typedef struct {
    cu_matrix_t w;
    cu_class_t class;
    uint32_t at; /* its first column of Y */
} cu_part_t;

typedef enum {
    CU_N_EMBED = 0,
    CU_N_NORM, /* X += ...; N = norm(X) in the forms that readers want */
    CU_N_FORM, /* A in other forms; nothing where none is wanted */
    CU_N_MUL,
    CU_N_ROPE,
    CU_N_ATTN,
    CU_N_ACT,
    CU_N_ROUTE,
    CU_N_MOE_ACT,
    CU_N_MOE_SUM,
    CU_N_CAP,
    CU_NODES
} cu_node_kind_t;

typedef struct {
    cu_node_kind_t kind;
    uint32_t       index; /* of the operation in the program */
    const k_op_t  *op;

    union {
        struct {
            const k_op_t *add;      /* whose result in U is added first, or NULL */
            const float  *add_cols; /* its E4M3 scales by column, or NULL */
            int           normed;   /* 1: N is made, for `op` */
            uint32_t      last;     /* the last node that reads N */
        } norm;

        struct {
            uint32_t     n_parts;
            cu_part_t    parts[CU_PARTS];
            cu_buf_t     in;
            cu_buf_t     scale; /* E4M3: rows' scales of `in` */
            cu_buf_t     out;
            cu_type_t    out_type;
            uint32_t     ld;     /* of `out`, elements */
            int          direct; /* `out` is U, X += may be done at once */
            int          biased; /* adds `bias` itself, always */
            int          logits; /* rows are those with logits */
            int          experts;
            uint32_t     x_div;
            const float *bias; /* [all rows of w], or NULL */
            const float *cols; /* E4M3: all parts' scales, or NULL */
        } mul;

        struct {
            const float *inv_freq; /* device */
            const float *cols;
        } rope;

        const float *cols; /* ACT, CAP: mul.cols of what they read */
    } u;
} cu_node_t;


typedef struct {
    cu_type_t  type; /* T */
    uint32_t   n_nodes;
    uint32_t   cut;   /* the node from which on only rows with logits matter */
    cu_node_t *nodes; /* malloc */

    uint64_t n_consts; /* floats of device memory that nodes point into */
    uint64_t work;     /* bytes of CU_B_WORK */
    uint32_t i8_rows;  /* most int8 activations, */
    uint32_t i8_cols;  /* and their width, or 0 */
    uint32_t f8_cols;  /* and E4M3 */
    uint32_t experts;  /* most of all MOEs, or 0 */
    uint32_t used;
    uint32_t expert_ff;
} cu_lowered_t;


/*
 * Makes the nodes of a checked program.  `consts`: NULL, only to learn how
 * many floats there are (n_consts); else device memory for them, which is
 * filled (the stream is waited for).  0, -ENOMEM or -EIO; cu_lower_free() in
 * any case.
 */
int  cu_lower(cu_lowered_t *l, const k_backend_t *be, const k_program_t *prog, float *consts,
              cudaStream_t stream);
void cu_lower_free(cu_lowered_t *l);

/* cuBLASLt has no kernel for this product: it goes by ours from now on. */
void cu_lower_without(cu_lowered_t *l, const cu_node_t *mul);

/* How a matrix is multiplied with so many rows, and what that wants. */
cu_by_t  cu_lower_by(const cu_part_t *part, uint32_t rows);
uint32_t cu_lower_wants(const cu_node_t *mul, uint32_t rows);

#endif /* LLM_KERNELS_CUDA_LOWER_H */
