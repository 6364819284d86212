/*
 * The CUDA backend's kernels as their callers see them: plain C, pointers,
 * sizes and a stream.  Every pointer is of device memory unless it says
 * otherwise.  A launcher checks what it can on the host, launches and returns
 * without waiting: 0, -EINVAL (a shape that it does not do: the caller asks
 * cu_*_fits() where there is one) or -EIO (the launch failed).
 *
 * TYPES.  T is the exec's activation type, CU_BF16 or CU_F16.  Sums are F32
 * always.  A store to F16 saturates at +-65504.
 *
 * LAUNCHES.  Every kernel is launched with programmatic dependent launch where
 * the device has it (sm_90), and therefore begins with cu_grid_wait() before
 * it touches what a kernel before it may have written, in every block, also in
 * one that has nothing to do.  Weights never change: they may be prefetched
 * before.  All launchers may be captured into a CUDA graph: whatever differs
 * from step to step comes from device memory (cu_step_t), not from arguments.
 * Grids are sized by arguments that are the bucket's, so that blocks beyond
 * the step's own counts leave early (after cu_grid_wait()).
 *
 * ROWS.  `rows` is the bucket's number of rows; rows at and beyond
 * step->n_rows (or n_logits) hold rubbish that nobody reads, but every read
 * and write for them stays inside the buffers.
 */

#ifndef LLM_KERNELS_CUDA_CU_KERNELS_H
#define LLM_KERNELS_CUDA_CU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct CUstream_st *cu_stream_t;

typedef enum {
    CU_F32 = 0,
    CU_F16,
    CU_BF16,
    CU_F8 /* E4M3 */
} cu_type_t;


/*
 * The step's metadata: one block of device memory, filled by one copy from
 * pinned memory before the step.  The struct itself lies at its beginning in
 * device memory, its pointers point into the block.
 *
 *     tokens[row]   >= 0: the token;  < 0: what draw -1 - token of the step
 *                   before has drawn (drawn[])
 *     pos[row]      position of the row in its sequence
 *     slot[row]     page * K_PAGE_TOKENS + place in the page: where its K and
 *                   V go
 *     logit_rows[]  rows whose logits are wanted, ascending
 *     decode[]      attention's work: sequences with one row
 *     prefill[]     attention's work: pieces of sequences with more
 *     pages[]       all sequences' page numbers, one after the other
 */

typedef struct {
    uint32_t row;   /* first row, in Q and A */
    uint32_t n;     /* rows; decode: 1 */
    uint32_t pos;   /* position of the first row */
    uint32_t pages; /* first of the sequence's in pages[] */
    uint32_t begin; /* decode: this split's positions [begin, end), begin a */
    uint32_t end;   /*     multiple of K_PAGE_TOKENS */
    uint32_t split; /* decode: number of this split among its sequence's */
    uint32_t n_split;
} cu_attn_work_t;

typedef struct {
    uint32_t              n_rows;
    uint32_t              n_logits;
    uint32_t              n_decode;
    uint32_t              n_prefill;
    const int32_t        *tokens;
    const uint32_t       *pos;
    const uint32_t       *slot;
    const uint32_t       *logit_rows;
    const cu_attn_work_t *decode;
    const cu_attn_work_t *prefill;
    const uint32_t       *pages;
    const int32_t        *drawn;
} cu_step_t;


/*
 * Weights.  A matrix is [rows = outputs][cols = inputs].  GGUF's block types
 * are taken apart within each row, into up to four planes, so that a warp reads
 * whole lines; nothing is rounded: the planes hold the file's bits.  Rows lie
 * one after the other: matrices side by side are one matrix.
 * With `experts` > 1, rows counts all experts' rows, one after the other.
 *
 *     CU_W_PLAIN  data: rows of F32, F16, BF16 or F8 (type), no gaps
 *     others      quant.h specifies the planes
 */

typedef enum {
    CU_W_PLAIN = 0,
    CU_W_Q8_0,
    CU_W_Q4_0,
    CU_W_Q4_1,
    CU_W_Q5_0,
    CU_W_Q5_1,
    CU_W_Q4_K,
    CU_W_Q5_K,
    CU_W_Q6_K,
    CU_W_MXFP4,
    CU_W_IQ4_NL,
    CU_W_IQ4_XS,
    CU_W_Q3_K,
    CU_W_FORMS
} cu_form_t;

#define CU_PLANES 4

typedef struct {
    cu_form_t    form;
    cu_type_t    type; /* CU_W_PLAIN */
    uint32_t     rows;
    uint32_t     cols;
    uint32_t     experts;
    const void  *data;             /* CU_W_PLAIN; else plane[0] */
    const void  *plane[CU_PLANES]; /* quant.h */
    const float *scales;           /* CU_F8: [rows], or NULL: 1 */
} cu_matrix_t;


/* --- elem.cu: everything that is not a product or attention --- */

/* X[row] = table[token] * scale, F32, as wide as the table. */
int cu_embed(const cu_matrix_t *table, const cu_step_t *step, float *x, uint32_t rows, float scale,
             cu_stream_t s);

/*
 * The residual stream and the next product's input, in one pass over a row:
 *
 *     v = u * u_scale_row[row] * u_scale_col[i] + bias[i]   (u may be NULL)
 *     v = rmsnorm(v, eps) * post_norm                       (if post_norm)
 *     x += scale * v                                        (in place)
 *     h = rmsnorm(x, eps_next) * norm                       (norm may be NULL:
 *                                                            h = x then)
 *     out = h in each form that is wanted
 *
 * cols <= 32768 and divisible by 2.  `gather`: NULL, or out's row i is of row
 * gather[i] (only for i < step->n_logits; x is not written then, u must be
 * NULL).
 */

typedef struct {
    float          *x;           /* [rows][cols] */
    const float    *u;           /* [rows][cols], or NULL */
    const float    *u_scale_row; /* [rows], or NULL */
    const float    *u_scale_col; /* [cols], or NULL */
    const float    *bias;        /* [cols], or NULL */
    const float    *post_norm;   /* [cols], or NULL */
    float           eps_post;
    float           scale;
    int             no_norm; /* 1: h = x; else rmsnorm, norm may be NULL */
    const float    *norm;    /* [cols], or NULL: all ones */
    float           eps;
    const uint32_t *gather; /* or NULL */
    uint32_t        rows;
    uint32_t        cols;

    /* What comes out; each may be NULL. */
    void    *out;      /* [rows][cols] T */
    int8_t  *q;        /* [rows][cols]: blocks of 32, q = round(h / d) */
    float   *q_d;      /* [rows][cols / 32][2]: d, and d times the sum of q */
    uint8_t *f8;       /* [rows][cols] E4M3 of h / f8_scale[row] */
    float   *f8_scale; /* [rows]: amax / 448 */
} cu_norm_t;

int cu_norm(cu_type_t t, const cu_norm_t *p, const cu_step_t *step, cu_stream_t s);

/*
 * What stands in T as int8 blocks or E4M3, the forms of cu_norm_t; also with
 * act(gate) * up before it, from one row of [2][n] (gate, then up):
 *
 *     v = in[row]                                         fn < 0
 *     v = act((in[row][0..n) + bias_g) , (in[row][n..2n) + bias_u))
 *
 * where in is times in_scale_row[row] * in_scale_col[i] first, if given (E4M3
 * products come out without their scales; in_scale_col is [2n] then).
 */

typedef struct {
    int          fn; /* k_fn_t, or -1 */
    const void  *in; /* T, [rows][fn < 0 ? n : 2n] */
    const float *in_scale_row;
    const float *in_scale_col;
    const float *bias_g; /* [n], or NULL */
    const float *bias_u;
    uint32_t     rows;
    uint32_t     n;
    void        *out; /* T, [rows][n]; or NULL */
    int8_t      *q;
    float       *q_d;
    uint8_t     *f8;
    float       *f8_scale;
} cu_act_t;

int cu_act(cu_type_t t, const cu_act_t *p, const cu_step_t *step, cu_stream_t s);

/*
 * From rows of [q | k | v] (T, without bias): bias, q and k normed per head
 * (rmsnorm over head_dim, where weights are given), rotated, q to Q in T and
 * k, v to the KV page of step->slot[row].  E4M3 pages hold k / k_scale.
 * Angles: F32 product pos * inv_freq[i], sine and cosine of it to F32's
 * accuracy whatever its size, times rope_mul.
 */

typedef struct {
    const void  *qkv;          /* [rows][(n_head + 2 n_kv) * head_dim] T */
    const float *in_scale_row; /* as in cu_act_t, or NULL */
    const float *in_scale_col;
    const float *bias_q; /* or NULL, each */
    const float *bias_k;
    const float *bias_v;
    const float *norm_q; /* [head_dim], or NULL */
    const float *norm_k;
    float        eps;
    k_rope_t     rope;
    const float *inv_freq; /* device, [n_rot / 2] */
    float        rope_mul;
    uint32_t     n_rot;
    uint32_t     rows;
    uint32_t     n_head;
    uint32_t     n_kv;
    uint32_t     head_dim; /* even, <= 512 */
    void        *q;        /* [rows][n_head * head_dim] T; may be qkv */
    uint32_t     q_ld;     /* elements from row to row of q */
    void        *kv;       /* the layer's K of page 0, see cu_kv_t */
    cu_type_t    kv_type;
    uint64_t     kv_page; /* bytes from page to page */
    uint64_t     kv_v;    /* bytes from a page's K to its V */
} cu_rope_t;

int cu_rope(cu_type_t t, const cu_rope_t *p, const cu_step_t *step, cu_stream_t s);

/* l = cap(l * scale * scale_row[row] * scale_col[i] + bias[i]), in place. */
typedef struct {
    float       *l;         /* [rows][ld] */
    const float *scale_row; /* or NULL */
    const float *scale_col; /* or NULL */
    const float *bias;      /* or NULL */
    uint32_t     rows;
    uint32_t     n;
    uint32_t     ld;
    float        scale;
    float        soft_cap; /* 0: none */
} cu_cap_t;

int cu_cap(const cu_cap_t *p, const cu_step_t *step, cu_stream_t s);


/* --- attn_decode.cu, attn_prefill.cu, attn_simple.cu; how to plan: attn.cuh --- */

/*
 * KV of one layer: for page p and KV head h, K is [K_PAGE_TOKENS][head_dim] at
 * kv + p * kv_page + h * (bytes of that), V the same at + kv_v.
 * A = softmax(scale * q k + sinks, causal, window, soft cap) v.
 *
 * Decode: one block takes one cu_attn_work_t and one KV head, all of whose
 * query heads it does at once; with n_split > 1 parts go to `parts` and
 * cu_attn_merge() joins them.  Prefill: work holds at most CU_PREFILL_ROWS
 * rows of one sequence.  Splits differ from step to step but for the CPU's
 * promise, which is not made here, see design.md on determinism.
 */

#define CU_PREFILL_ROWS 64

typedef struct {
    const void  *q; /* [rows][n_head * head_dim] T */
    uint32_t     q_ld;
    void        *a; /* [rows][n_head * head_dim] T */
    const void  *kv;
    cu_type_t    kv_type; /* T or CU_F8 */
    uint64_t     kv_page;
    uint64_t     kv_v;
    uint32_t     n_head;
    uint32_t     n_kv;
    uint32_t     head_dim; /* multiple of 8, <= 512 */
    float        scale;
    float        soft_cap;
    uint32_t     window;   /* 0: all */
    const float *sinks;    /* [n_head], or NULL */
    float       *parts;    /* [max_work][n_head][head_dim + 2]: o, m, l */
    uint32_t    *tickets;  /* [max_work][n_head], 0 before the first use, or
                              NULL: parts are joined by cu_attn_merge() */
    uint32_t     max_work; /* the grid: work beyond step->n_* is none */
    uint32_t     max_rows; /* rows whose parts cu_attn_merge() may join */
} cu_attn_t;

int cu_attn_decode(cu_type_t t, const cu_attn_t *p, const cu_step_t *step, cu_stream_t s);
int cu_attn_merge(cu_type_t t, const cu_attn_t *p, const cu_step_t *step, cu_stream_t s);
int cu_attn_prefill(cu_type_t t, const cu_attn_t *p, const cu_step_t *step, cu_stream_t s);
/*
 * Slow, plain and for any shape: what the others are held against on a GPU.
 * Does both lists in one launch, whatever max_work > 0 is; split sequences
 * leave parts for cu_attn_merge(), tickets or not.
 */
int cu_attn_simple(cu_type_t t, const cu_attn_t *p, const cu_step_t *step, cu_stream_t s);
/* 1: decode/prefill have a fast kernel for this shape, else use _simple. */
int cu_attn_decode_fits(cu_type_t t, const cu_attn_t *p);
int cu_attn_prefill_fits(cu_type_t t, const cu_attn_t *p);


/* --- gemv.cu (plain weights), quant_gemv.cu, quant_mma.cu (blocks) --- */

/*
 * Y[row][i] = sum over k of W[i][k] X[row][k], in Y's form:
 *
 *     y_type CU_F32   y = v, or y += v if `add`
 *     y_type T        y = v
 *
 * v is times w->scales[i] where the matrix has them (CU_F8), plus bias[i].
 * X comes in the form that the kernel wants (cu_norm_t's names).  Rows of Y
 * are y_ld apart.  Experts: `ids` != NULL: row r of Y is of expert ids[r] and
 * of X's row r / x_div (cu_moe_t).
 */

typedef struct {
    const cu_matrix_t *w; /* host memory */
    const void        *x; /* [rows][cols] T */
    const int8_t      *q;
    const float       *q_d;
    const float       *bias; /* [w->rows], or NULL; experts: all experts' */
    void              *y;
    cu_type_t          y_type;
    int                add;
    uint32_t           y_ld;
    uint32_t           rows;
    int                logits; /* 1: the step's n_logits, not n_rows, count */

    /* Experts, else NULL: slots sorted by expert, see cu_moe_t. */
    const uint32_t *slots; /* [n_slots]: row of Y and, / x_div, of X */
    const uint32_t *first; /* [experts + 1]: where each one's slots begin */
    uint32_t        n_slots;
    uint32_t        x_div;
} cu_mul_t;

/* Plain weights (F32, F16, BF16, F8), x in T: rows <= CU_GEMV_ROWS. */
#define CU_GEMV_ROWS 8
int cu_gemv(cu_type_t t, const cu_mul_t *p, const cu_step_t *step, cu_stream_t s);
/* Block weights, X as int8 (q, q_d): rows <= CU_GEMV_ROWS. */
int cu_quant_gemv(cu_type_t t, const cu_mul_t *p, const cu_step_t *step, cu_stream_t s);
/*
 * Any weights, experts too, x in T; any number of rows, meant for 5 to 64 (a
 * tile of them at a time), tensor cores by mma.sync.
 */
int cu_mma(cu_type_t t, const cu_mul_t *p, const cu_step_t *step, cu_stream_t s);
/* Rows [row, row + n) of w, as T, to out [n][cols]: for cuBLASLt. */
int cu_dequant(cu_type_t t, const cu_matrix_t *w, uint32_t row, uint32_t n, void *out,
               cu_stream_t s);
/*
 * A GGUF tensor's rows [row, row + n) as they stand in the file (device
 * memory, no gaps) into the planes of w; w's geometry by cu_quant_layout().
 */
int cu_repack(const cu_matrix_t *w, uint32_t row, uint32_t n, const void *src, cu_stream_t s);
/* Bytes of all planes, and plane[] set from base; base may be NULL. */
uint64_t cu_quant_layout(cu_matrix_t *w, void *base);
/* Form of a GGUF type; -ENOTSUP: none. */
int cu_quant_form(k_type_t type, cu_form_t *form);
/* Bytes of a row in the file's form. */
uint64_t cu_quant_source_row(cu_form_t form, uint32_t cols);
/* F32, F16 or BF16 [rows][cols] to E4M3 with a scale a row (channel). */
int cu_to_f8(const void *in, cu_type_t type, uint32_t rows, uint32_t cols, uint8_t *out,
             float *scales, cu_stream_t s);


/* --- moe.cu --- */

/*
 * The gates of backend.h's MOE: of each row's router numbers (F32, bias
 * included) the n_used largest, the lower expert among equals.  Then all
 * (row, rank) slots sorted by expert, rows rising: slots[], first[].
 * Slot number = row * n_used + rank.
 */

typedef struct {
    const float *router; /* [rows][n_expert] */
    k_gate_t     gate;
    float        w_scale;
    uint32_t     rows;
    uint32_t     n_expert; /* <= 1024 */
    uint32_t     n_used;   /* <= 64 */
    uint32_t    *ids;      /* [rows][n_used] */
    float       *gates;    /* [rows][n_used] */
    uint32_t    *slots;    /* [rows * n_used] */
    uint32_t    *first;    /* [n_expert + 1] */
} cu_moe_t;

int cu_moe_route(const cu_moe_t *p, const cu_step_t *step, cu_stream_t s);

/*
 * Experts' act: h[slot] = act(g[slot] + bias_g[e], u[slot] + bias_u[e]), T;
 * and the sum: u[row] = sum over ranks of gates * y[slot] (F32, with the bias
 * of cu_mul_t in it already), in the order of ranks.
 */
typedef struct {
    k_fn_t          fn;
    const void     *g; /* [slots][n] T */
    const void     *u;
    const uint32_t *ids;
    const float    *bias_g; /* [n_expert][n], or NULL */
    const float    *bias_u;
    uint32_t        slots;
    uint32_t        n_used; /* slots of a row */
    uint32_t        n;
    void           *h; /* [slots][n] T */
} cu_moe_act_t;

int cu_moe_act(cu_type_t t, const cu_moe_act_t *p, const cu_step_t *step, cu_stream_t s);
int cu_moe_sum(const float *y, const float *gates, float *out, uint32_t rows, uint32_t n_used,
               uint32_t n, const cu_step_t *step, cu_stream_t s);


/* --- sample.cu --- */

/*
 * Draws: k_sample_t in the device's form.  Everything is as backend.h says,
 * with the CPU's cuts and draws (same Philox numbers, F32 weights, sums in
 * F64 in the order of ids where the CPU's are): equal logits give the same
 * token but for a draw within rounding of a border.
 */

typedef struct {
    uint32_t logit;
    float    temperature;
    float    top_p;
    float    min_p;
    uint32_t top_k;
    float    repetition;
    float    frequency;
    float    presence;
    uint32_t n_counts;
    uint32_t counts; /* first in cu_sample_t.counts */
    uint32_t n_bias;
    uint32_t bias; /* first in cu_sample_t.biases */
    uint32_t mask; /* first word in cu_sample_t.masks; ~0: none */
    uint32_t position;
    uint64_t seed;
    uint32_t choice;
    int32_t  score; /* < 0: draw; else the token that is judged */
    uint32_t logprob;
    uint32_t n_top;
    uint32_t serial; /* 1: counts or biases name a token twice */
} cu_draw_t;

typedef struct {
    uint32_t         n;     /* draws, at most max_draws */
    const cu_draw_t *draws; /* [max_draws] */
    const k_count_t *counts;
    const k_bias_t  *biases;
    const uint32_t  *masks;
} cu_draws_t; /* lies in device memory, like cu_step_t */

typedef struct {
    const float      *l; /* [logits][ld] */
    uint32_t          ld;
    uint32_t          n_vocab;
    uint32_t          max_draws; /* the bucket's */
    const cu_draws_t *draws;
    void             *scratch; /* cu_sample_scratch(max_draws, n_vocab) bytes,
                                  zeros before its first use, then left alone */
    k_sampled_t      *out;     /* [max_draws] */
    int32_t          *drawn;   /* [max_draws]: out's tokens, for cu_step_t */
} cu_sample_t;

uint64_t cu_sample_scratch(uint32_t max_draws, uint32_t n_vocab);
int      cu_sample(const cu_sample_t *p, cu_stream_t s);


/* --- roof.cu: what the device can do, measured --- */

/* Reads n bytes (multiple of 16 MiB) once; *sink keeps the compiler honest. */
int cu_roof_read(const void *p, uint64_t n, uint32_t *sink, cu_stream_t s);
/* Pseudo-random weights of a form, uniform in +-limit, for benches. */
int cu_synthetic(const cu_matrix_t *w, uint32_t seed, float limit, cu_stream_t s);

/* Copies the first n tokens of page src to page dst, all layers and heads. */
int cu_kv_copy(void *kv, uint64_t page_bytes, uint32_t dst, uint32_t src, uint32_t n,
               uint64_t head_bytes, uint32_t n_heads, uint64_t row_bytes, cu_stream_t s);


/* --- probe.cu --- */

/*
 * 0 if this build has kernels for the current device, else -ENODEV.  archs:
 * those that it has, "sm_80 sm_90", or nothing where that is not known.
 */
int cu_probe(char *archs, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* LLM_KERNELS_CUDA_CU_KERNELS_H */
