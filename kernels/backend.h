/*
 * What a backend is: the one door between engine/model, engine/sched and the
 * kernels.  A backend loads weights, keeps KV pages, runs step programs over
 * ragged batches and samples.  It knows no request, no token's text, no JSON.
 *
 * A STEP PROGRAM is an array of fused operations (k_op_t) that the model room
 * compiles from an architecture's table.  The operations work on the batch's
 * rows (one row a token) and on these buffers, which the backend owns:
 *
 *     X       [rows][n_embd] f32    the residual stream
 *     Q       [rows][n_head * head_dim]  queries after norm and rope
 *     A       [rows][n_head * head_dim]  attention's output
 *     H       [rows][n_ff]               act(gate) * up
 *     L       [logit rows][n_vocab] f32  logits
 *
 *     EMBED     X = w[0][token] * scale
 *     QKV       h = norm(X); q,k,v = w[0..2] h (+ bias[0..2]); q,k = rmsnorm
 *               with norm_q, norm_k where given; rope at the row's position;
 *               k, v into the sequence's KV pages, layer `layer`; q into Q
 *     ATTN      A = softmax(scale * q k, causal, window, soft cap) v
 *     OUT       X += scale * post_norm(w[0] A + bias[0])
 *     GATE_UP   h = norm(X); H = act(w[0] h + bias[0]) * (w[1] h + bias[1])
 *     DOWN      X += scale * post_norm(w[0] H + bias[0])
 *     MOE       h = norm(X); r = w[0] h + bias[0], one number an expert; of
 *               the n_used largest (the lower number among equals) the gates
 *               p_e (k_gate_t), each times w_scale; X += scale *
 *               post_norm(sum of p_e * (w[3]_e act(w[1]_e h + bias[1]_e)
 *               * (w[2]_e h + bias[2]_e) + bias[3]_e))
 *     LOGITS    L = cap(w[0] norm(X[logit rows]) * scale)
 *
 * norm(x) is RMS norm: x * rsqrt(mean(x^2) + eps) * weight; a NULL weight is
 * no norm.  SINKS: attention's softmax has one more term, exp(sinks[head]),
 * in its sum, which carries no value (gpt-oss).
 *
 * SHAPES.  A matrix is [rows = outputs][cols = inputs], as GGUF stores it;
 * experts' matrices lie one after the other: [n_expert * rows][cols], their
 * biases [n_expert][rows] as a matrix of role K_ROLE_VECTORS.
 *
 * KV PAGES hold K_PAGE_TOKENS tokens each, all layers, K and V; the layout is
 * the backend's.  Pages are numbered from 0 and handed out by the scheduler.
 *
 * DETERMINISM.  On the CPU each row's results depend on its own tokens and
 * positions only: never on the other rows, on n of a chunk, on page numbers,
 * on the number of threads, on prefill against decode.
 *
 * THREADS.  Steps, draws and kv_copy() come from one thread, the step loop's.
 * What makes and frees weights, KV pools and programs may be called by another
 * thread, one at a time, while steps of other programs run.  step_submit() may
 * return before the step is done; step_wait() or sample() waits for it.  The
 * batch's arrays stay untouched in between.
 *
 * MEMORY.  One arena, sized at open(), holds weights and KV pages; nothing is
 * allocated between step_submit() and sample()'s return.  What does not fit
 * is -ENOMEM with the numbers in `err`.
 *
 * ERRORS.  0 or -errno; `err` gets one line for a person.  -ENODEV from open():
 * there is no such device, or no driver for it.  -EIO from a step: the device
 * has failed and nothing of this backend works any more; the process ends.
 */

#ifndef LLM_KERNELS_BACKEND_H
#define LLM_KERNELS_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#define K_PAGE_TOKENS 32
#define K_TOP_MAX     20 /* most top_logprobs */
#define K_ERR_MAX     256

typedef struct k_backend_s k_backend_t; /* an opened backend */
typedef struct k_weight_s  k_weight_t;  /* a loaded tensor */
typedef struct k_kv_s      k_kv_t;      /* a pool of KV pages of one model */
typedef struct k_exec_s    k_exec_t;    /* a prepared program */


/* Element types of sources: the numbers are GGUF's. */

typedef enum {
    K_F32 = 0,
    K_F16 = 1,
    K_Q4_0 = 2,
    K_Q4_1 = 3,
    K_Q5_0 = 6,
    K_Q5_1 = 7,
    K_Q8_0 = 8,
    K_Q2_K = 10,
    K_Q3_K = 11,
    K_Q4_K = 12,
    K_Q5_K = 13,
    K_Q6_K = 14,
    K_IQ4_NL = 20,
    K_IQ4_XS = 23,
    K_BF16 = 30,
    K_MXFP4 = 39,
    K_F8_E4M3 = 1000 /* not GGUF's; k_source_t.scales go with it */
} k_type_t;


typedef enum { K_ISA_AUTO = 0, K_ISA_SCALAR, K_ISA_AVX2, K_ISA_AVX512 } k_isa_t;

/* How activations enter matrix products. */
typedef enum {
    K_ACT_INT8 = 0, /* quantised by blocks of 32: integer kernels */
    K_ACT_F32       /* weights dequantised: the reference, slow */
} k_act_mode_t;

typedef struct {
    uint32_t     threads; /* 0: one per physical core */
    k_isa_t      isa;
    k_act_mode_t act;
    uint64_t     memory; /* the arena, bytes */
    int          nice;   /* of the compute threads */
    int          device; /* CUDA's number */
    int          kv_f8;  /* CUDA: KV pages in E4M3 */
} k_config_t;


/*
 * A tensor as it stands in a file.  Its data is borrowed during the call; or,
 * where data is NULL, read() copies rows [row, row + n) of it, in the source's
 * type and without gaps, to `out`: 0 or -errno.  It is called once for each
 * row, in rising order, on the caller's thread.
 */

typedef enum {
    K_ROLE_MATRIX = 0,
    K_ROLE_EMBED,        /* a table: rows are looked up (EMBED) */
    K_ROLE_LOGITS,       /* a matrix [n_vocab][n_embd] */
    K_ROLE_VECTOR,       /* norm weight or bias: F32, F16 or BF16, rows = 1 */
    K_ROLE_EMBED_LOGITS, /* tied: one copy serves as table and matrix */
    K_ROLE_EXPERTS,      /* `experts` matrices of rows / experts rows each */
    K_ROLE_VECTORS /* rows vectors of cols: experts' biases; F32, F16, BF16 */
} k_role_t;

typedef struct {
    k_type_t    type;
    k_role_t    role;
    uint32_t    rows;
    uint32_t    cols;
    uint32_t    experts; /* K_ROLE_EXPERTS: divides rows; else 0 */
    const void *data;
    int (*read)(void *ctx, uint32_t row, uint32_t n, void *out);
    void       *ctx;
    const char *name; /* for messages */

    /*
     * Without data and read(), not 0: weights of the backend's own making, a
     * function of this number, about uniform in +-limit.  For benches, of CUDA
     * only.
     */
    uint32_t synthetic;
    float    limit;

    /*
     * F32, F16, BF16: becomes E4M3 with a scale a row, by the backend.
     * -ENOTSUP where k_backend_ops_t.f8 is 0.
     */
    int to_f8;

    /* K_F8_E4M3: what the elements are times, [1] or [rows]. */
    const float *scales;
    uint32_t     n_scales; /* 1 or rows */
} k_source_t;


typedef enum {
    K_OP_EMBED = 1,
    K_OP_QKV,
    K_OP_ATTN,
    K_OP_OUT,
    K_OP_GATE_UP,
    K_OP_DOWN,
    K_OP_LOGITS,
    K_OP_MOE
} k_op_kind_t;

/*
 * act(g) * u.  SWIGLU_OAI (gpt-oss): g = min(g, 7), u = clamp(u, -7, 7);
 * g * sigmoid(1.702 g) * (u + 1).
 */
typedef enum {
    K_FN_SILU = 0,
    K_FN_GELU_TANH,
    K_FN_GELU_ERF,
    K_FN_SWIGLU_OAI
} k_fn_t;

typedef enum {
    K_GATE_TOP_SOFTMAX = 0, /* softmax over the chosen ones */
    K_GATE_SOFTMAX          /* softmax over all; those of the chosen as is */
} k_gate_t;

typedef enum {
    K_ROPE_NONE = 0,
    K_ROPE_PAIRS, /* (x[2i], x[2i+1]): llama as GGUF stores it */
    K_ROPE_HALVES /* (x[i], x[i + n/2]): NeoX */
} k_rope_t;

typedef struct {
    k_op_kind_t       kind;
    uint32_t          layer;
    const k_weight_t *w[4];
    const k_weight_t *bias[4];
    const k_weight_t *sinks; /* ATTN: [n_head], or NULL */
    const k_weight_t *norm;  /* before */
    const k_weight_t *norm_q;
    const k_weight_t *norm_k;
    const k_weight_t *post_norm;
    k_fn_t            fn;       /* GATE_UP, MOE */
    k_gate_t          gate;     /* MOE */
    uint32_t          n_expert; /* MOE */
    uint32_t          n_used;   /* MOE: 1 .. n_expert */
    uint32_t          n_ff;     /* MOE: of one expert */
    float             w_scale;  /* MOE: factor on the gates; 1 */
    float             eps;      /* of every norm of this operation */
    float             scale;    /* all but QKV, GATE_UP; 1 if nothing else */
    float             soft_cap; /* ATTN, LOGITS: c * tanh(x / c); 0: none */
    uint32_t          window;   /* ATTN: sees so many positions; 0: all */
    k_rope_t          rope;     /* QKV */
    const float      *inv_freq; /* QKV: [n_rot / 2] radians a position */
    float             rope_mul; /* QKV: factor on sin and cos (YaRN); 1 */
    uint32_t          n_rot;    /* QKV: rotated part of head_dim, even */
} k_op_t;

typedef struct {
    uint32_t      n_embd;
    uint32_t      n_layer;
    uint32_t      n_head;
    uint32_t      n_kv; /* KV heads; divides n_head */
    uint32_t      head_dim;
    uint32_t      n_ff; /* 0: no GATE_UP, DOWN */
    uint32_t      n_vocab;
    uint32_t      n_ops;
    const k_op_t *ops; /* borrowed as long as the exec lives */
} k_program_t;


/* Most of each that a step of this exec will ever have. */

typedef struct {
    uint32_t rows;   /* tokens */
    uint32_t seqs;   /* sequences */
    uint32_t logits; /* rows whose logits are wanted */
} k_limits_t;


typedef struct {
    uint32_t        row;   /* first row in the batch */
    uint32_t        n;     /* rows: tokens of this step, >= 1 */
    uint32_t        pos;   /* position of the first row */
    const uint32_t *pages; /* page i holds positions 32 i .. 32 i + 31; enough
                              of them for pos + n positions */
} k_batch_seq_t;

/* What draw i of the step before has drawn: only in ahead_submit(). */
#define K_TOKEN_OF(i) (-1 - (int32_t) (i))

typedef struct {
    uint32_t             n_rows;
    uint32_t             n_seqs;
    uint32_t             n_logits;
    const int32_t       *tokens;     /* [n_rows], each in [0, n_vocab) */
    const k_batch_seq_t *seqs;       /* [n_seqs], rows ascending, no gaps */
    const uint32_t      *logit_rows; /* [n_logits], ascending */
} k_batch_t;


/*
 * Sampling of one row of logits.  Order: penalties, bias, mask, temperature,
 * top_k, top_p, min_p; logprobs are of the raw logits (log_softmax before
 * all of that).  temperature 0 is greedy: the largest logit after penalties,
 * bias and mask, the lowest id among equals.  A draw is Philox4x32-10 with
 * key = seed and counter = (position, choice, draw, 0).
 *
 *     repetition   l = l > 0 ? l / r : l * r   for tokens in prompt or output
 *     frequency    l -= f * times in output
 *     presence     l -= p   if in output
 */

typedef struct {
    int32_t  token;
    uint32_t count; /* times in the output; 0: in the prompt only */
} k_count_t;

typedef struct {
    int32_t token;
    float   value;
} k_bias_t;

typedef struct {
    uint32_t         logit; /* index into the batch's logit_rows */
    float            temperature;
    float            top_p;      /* 1: off */
    float            min_p;      /* 0: off */
    uint32_t         top_k;      /* 0: off */
    float            repetition; /* 1: off */
    float            frequency;  /* 0: off */
    float            presence;   /* 0: off */
    uint32_t         n_counts;
    const k_count_t *counts;
    uint32_t         n_bias;
    const k_bias_t  *bias;
    const uint32_t  *mask; /* bit t of word t/32: token t is allowed; or NULL */
    uint64_t         seed;
    uint32_t         position; /* of the token being drawn */
    uint32_t         choice;
    int              scored; /* 1: no draw: `score` is the token to be judged */
    int32_t          score;
    int              logprob; /* 1: token's logprob and top are wanted */
    uint32_t         n_top;   /* <= K_TOP_MAX */
} k_sample_t;

typedef struct {
    int32_t  token; /* -1: the mask allows none, or logits are not finite */
    float    logprob;
    uint32_t n_top;
    struct {
        int32_t token;
        float   logprob;
    } top[K_TOP_MAX]; /* falling; equal ones by rising id */
} k_sampled_t;


/* What a device can do at most; 0: it cannot, or nobody knows. */
typedef struct {
    double read; /* bytes a second that a kernel reads from its memory */
    double bf16; /* FLOP a second of large matrix products */
    double f8;   /* the same of E4M3 */
} k_roof_t;


typedef struct {
    const char *name; /* "cpu", "cuda", "null" */
    int         f8;   /* 1: multiplies matrices of E4M3 */

    int (*open)(const k_config_t *conf, k_backend_t **be, char *err);
    void (*close)(k_backend_t *be);

    /* A line for the log: ISA, threads, memory.  Borrowed. */
    const char *(*describe)(k_backend_t *be);
    void (*memory)(k_backend_t *be, uint64_t *size, uint64_t *used);

    /*
     * Copies (and repacks) a tensor into the arena.  -ENOTSUP: type or shape
     * is not supported in this role; named in err.
     */
    int (*weights_load)(k_backend_t *be, const k_source_t *src, k_weight_t **w,
                        char *err);
    void (*weights_free)(k_backend_t *be, k_weight_t *w);

    /* Bytes of one KV page for a program's dimensions. */
    uint64_t (*kv_layout)(k_backend_t *be, const k_program_t *prog);
    int (*kv_new)(k_backend_t *be, const k_program_t *prog, uint32_t n_pages,
                  k_kv_t **kv, char *err);
    void (*kv_free)(k_backend_t *be, k_kv_t *kv);
    /* The first n tokens of page src into page dst, all layers. */
    void (*kv_copy)(k_backend_t *be, k_kv_t *kv, uint32_t dst, uint32_t src,
                    uint32_t n);

    int (*program_prepare)(k_backend_t *be, const k_program_t *prog, k_kv_t *kv,
                           const k_limits_t *limits, k_exec_t **exec,
                           char *err);
    void (*program_free)(k_exec_t *exec);

    int (*step_submit)(k_exec_t *exec, const k_batch_t *batch);
    int (*step_wait)(k_exec_t *exec);

    /*
     * After step_submit(): draws n tokens from the step's logits, which it
     * waits for.  -EINVAL: a request is out of range, nothing was drawn.
     */
    int (*sample)(k_exec_t *exec, uint32_t n, const k_sample_t *req,
                  k_sampled_t *out);

    /*
     * Steps ahead of their results; both NULL where a backend has none.
     * submit() begins a step and the n draws from its logits, and returns;
     * batch and requests (counts, biases, masks too) may change then.  Two may
     * be under way; the second's tokens may be K_TOKEN_OF(i), draw i of the
     * first.  collect() waits for the oldest and gives its draws.  A draw that
     * failed (token -1) feeds token 0 to the step after it.  Until all are
     * collected the calls above are refused with -EBUSY.
     */
    int (*ahead_submit)(k_exec_t *exec, const k_batch_t *batch, uint32_t n,
                        const k_sample_t *req);
    int (*ahead_collect)(k_exec_t *exec, uint32_t n, k_sampled_t *out);

    /* Tests: copies row i of the step's logits, n_vocab floats. */
    int (*logits)(k_exec_t *exec, uint32_t i, float *out);

    /*
     * Benches; NULL where a backend has none.  roof() measures, which takes
     * about a second and 2 GiB of the arena.  busy(): nanoseconds that the
     * device has spent in steps and draws since the last call, which must all
     * have been waited for; the first call begins to measure.
     */
    int (*roof)(k_backend_t *be, k_roof_t *roof, char *err);
    int (*busy)(k_exec_t *exec, uint64_t *ns);
} k_backend_ops_t;

extern const k_backend_ops_t k_backend_cpu;
extern const k_backend_ops_t k_backend_null;

/* In a build without CUDA its open() is -ENOTSUP and says so. */
extern const k_backend_ops_t k_backend_cuda;

#endif /* LLM_KERNELS_BACKEND_H */
