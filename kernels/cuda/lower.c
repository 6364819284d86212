/*
 * A program made into nodes, see lower.h.  Called by program_prepare(), on
 * its thread; touches no device memory but its table of constants.
 *
 * The list is linear, and an operation's result is added to X by the norm of
 * the operation after it, in one pass over the row:
 *
 *     QKV      norm, product(s), rope
 *     ATTN     attention, A in the forms that OUT wants
 *     OUT      product into X, or into U
 *     GATE_UP  norm (adds U), product(s), act
 *     DOWN     product into X, or into U
 *     MOE      norm (adds U), router, choice, gate, up, act, down, sum into U
 *     LOGITS   norm (adds U), product, cap
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/lower.h"

#define CU_NODES_MAX 10          /* of one operation */
#define CU_CONST     64          /* floats: each constant begins aligned */
#define CU_WORK      (64u << 20) /* most bytes of weights made T at a time */

/*
 * Products by their class: up to `rows` rows the way `by`.  Where a GEMV of
 * ours ends and cuBLASLt begins is for a GPU to say: the figures are those of
 * others' measurements.
 */
typedef struct {
    uint32_t rows;
    cu_by_t  by;
} cu_way_t;

#define CU_ANY UINT32_MAX

static const cu_way_t cu_ways[CU_CLASSES][3] = {
    [CU_C_T] = {{4, CU_BY_GEMV}, {CU_ANY, CU_BY_BLAS}},
    [CU_C_PLAIN] = {{CU_GEMV_ROWS, CU_BY_GEMV}, {CU_ANY, CU_BY_MMA}},
    [CU_C_F8] = {{CU_GEMV_ROWS, CU_BY_GEMV}, {CU_ANY, CU_BY_BLAS8}},
    [CU_C_F8_T] = {{CU_GEMV_ROWS, CU_BY_GEMV}, {CU_ANY, CU_BY_MMA}},
    [CU_C_BLOCKS] = {{CU_GEMV_ROWS, CU_BY_QUANT}, {64, CU_BY_MMA}, {CU_ANY, CU_BY_WORK}},
    [CU_C_SMALL] = {{CU_GEMV_ROWS, CU_BY_GEMV}, {CU_ANY, CU_BY_MMA}},
    [CU_C_SMALL_BLOCKS] = {{CU_GEMV_ROWS, CU_BY_QUANT}, {CU_ANY, CU_BY_MMA}},
    [CU_C_EXPERTS] = {{CU_ANY, CU_BY_MMA}},
    [CU_C_EXPERTS_BLOCKS] = {{4, CU_BY_QUANT}, {CU_ANY, CU_BY_MMA}},
};

static const uint32_t cu_by_wants[] = {
    [CU_BY_GEMV] = CU_WANT_T, [CU_BY_QUANT] = CU_WANT_I8, [CU_BY_MMA] = CU_WANT_T,
    [CU_BY_BLAS] = CU_WANT_T, [CU_BY_BLAS8] = CU_WANT_F8, [CU_BY_WORK] = CU_WANT_T,
};


/* The work of lowering. */
typedef struct {
    cu_lowered_t      *l;
    const k_backend_t *be;
    const k_program_t *prog;
    float             *consts;
    cudaStream_t       stream;
    uint32_t           q;
    uint32_t           kv;
    const k_op_t      *pending; /* its result is in U, or may be */
    const float       *pending_cols;
    int                rc;
} cu_lowering_t;

/* Which of an operation's matrices go into one product, and where to. */
typedef struct {
    uint32_t  n;
    uint32_t  w[CU_PARTS]; /* of op->w */
    cu_buf_t  in;
    cu_buf_t  out;
    cu_type_t type;
    uint32_t  ld;
    int       small;
} cu_product_t;


static void         cu_lower_op(cu_lowering_t *c, uint32_t i);
static void         cu_lower_qkv(cu_lowering_t *c, uint32_t i);
static void         cu_lower_gate_up(cu_lowering_t *c, uint32_t i);
static void         cu_lower_residual(cu_lowering_t *c, uint32_t i, cu_buf_t in);
static void         cu_lower_moe(cu_lowering_t *c, uint32_t i);
static void         cu_lower_logits(cu_lowering_t *c, uint32_t i);
static void         cu_lower_norm(cu_lowering_t *c, uint32_t i, int normed);
static cu_node_t   *cu_lower_product(cu_lowering_t *c, uint32_t i, const cu_product_t *p);
static cu_node_t   *cu_lower_experts(cu_lowering_t *c, uint32_t i, uint32_t w, cu_buf_t in,
                                     cu_buf_t out, uint32_t x_div);
static void         cu_lower_join(cu_node_t *n);
static cu_class_t   cu_lower_class(const cu_lowering_t *c, const cu_matrix_t *w);
static int          cu_lower_f8_fits(const k_backend_t *be, const cu_matrix_t *w);
static const float *cu_lower_cols(cu_lowering_t *c, const cu_node_t *n);
static float       *cu_lower_const(cu_lowering_t *c, const float *src, uint32_t n);
static void         cu_lower_measure(cu_lowering_t *c);
static cu_node_t   *cu_lower_node(cu_lowering_t *c, cu_node_kind_t kind, uint32_t i);
static uint32_t     cu_most(uint32_t a, uint32_t b);


int
cu_lower(cu_lowered_t *l, const k_backend_t *be, const k_program_t *prog, float *consts,
         cudaStream_t stream)
{
    uint32_t      i;
    cu_lowering_t c;

    memset(l, 0, sizeof(*l));
    memset(&c, 0, sizeof(c));

    l->type = cu_program_type(prog);
    l->nodes = calloc((size_t) prog->n_ops * CU_NODES_MAX, sizeof(cu_node_t));
    if (l->nodes == NULL) {
        return -ENOMEM;
    }

    c.l = l;
    c.be = be;
    c.prog = prog;
    c.consts = consts;
    c.stream = stream;
    c.q = prog->n_head * prog->head_dim;
    c.kv = prog->n_kv * prog->head_dim;
    l->cut = UINT32_MAX;

    for (i = 0; i < prog->n_ops; i++) {
        cu_lower_op(&c, i);
    }

    if (c.pending != NULL) {
        cu_lower_norm(&c, prog->n_ops - 1, 0);
    }
    if (prog->ops[prog->n_ops - 1].kind != K_OP_LOGITS) {
        l->cut = UINT32_MAX;
    }

    cu_lower_measure(&c);

    return c.rc;
}


void
cu_lower_free(cu_lowered_t *l)
{
    free(l->nodes);
    l->nodes = NULL;
}


cu_by_t
cu_lower_by(const cu_part_t *part, uint32_t rows)
{
    const cu_way_t *w;

    for (w = cu_ways[part->class]; rows > w->rows; w++) {
        /* void */
    }

    return w->by;
}


uint32_t
cu_lower_wants(const cu_node_t *mul, uint32_t rows)
{
    uint32_t i, wants;

    wants = 0;

    for (i = 0; i < mul->u.mul.n_parts; i++) {
        wants |= cu_by_wants[cu_lower_by(&mul->u.mul.parts[i], rows)];
    }

    return wants;
}


void
cu_lower_without(cu_lowered_t *l, const cu_node_t *mul)
{
    uint32_t   i;
    cu_node_t *n;

    static const cu_class_t without[CU_CLASSES] = {
        [CU_C_T] = CU_C_SMALL,
        [CU_C_PLAIN] = CU_C_PLAIN,
        [CU_C_F8] = CU_C_F8_T,
        [CU_C_F8_T] = CU_C_F8_T,
        [CU_C_BLOCKS] = CU_C_SMALL_BLOCKS,
        [CU_C_SMALL] = CU_C_SMALL,
        [CU_C_SMALL_BLOCKS] = CU_C_SMALL_BLOCKS,
        [CU_C_EXPERTS] = CU_C_EXPERTS,
        [CU_C_EXPERTS_BLOCKS] = CU_C_EXPERTS_BLOCKS,
    };

    n = &l->nodes[mul - l->nodes];
    for (i = 0; i < n->u.mul.n_parts; i++) {
        n->u.mul.parts[i].class = without[n->u.mul.parts[i].class];
    }
}


static void
cu_lower_op(cu_lowering_t *c, uint32_t i)
{
    switch (c->prog->ops[i].kind) {

    case K_OP_EMBED:
        (void) cu_lower_node(c, CU_N_EMBED, i);
        break;

    case K_OP_QKV:
        cu_lower_qkv(c, i);
        c->l->cut = UINT32_MAX;
        break;

    case K_OP_ATTN:
        c->l->cut = c->l->n_nodes;
        (void) cu_lower_node(c, CU_N_ATTN, i);
        break;

    case K_OP_OUT:
        cu_lower_residual(c, i, CU_B_A);
        break;

    case K_OP_GATE_UP:
        cu_lower_gate_up(c, i);
        break;

    case K_OP_DOWN:
        cu_lower_residual(c, i, CU_B_H);
        break;

    case K_OP_MOE:
        cu_lower_moe(c, i);
        break;

    case K_OP_LOGITS:
        cu_lower_logits(c, i);
        break;
    }
}


static void
cu_lower_qkv(cu_lowering_t *c, uint32_t i)
{
    cu_node_t    *mul, *rope;
    const k_op_t *op;
    cu_product_t  p = {.n = 3, .w = {0, 1, 2}, .in = CU_B_N, .out = CU_B_QKV};

    op = &c->prog->ops[i];
    p.type = c->l->type;
    p.ld = c->q + 2 * c->kv;

    cu_lower_norm(c, i, 1);
    mul = cu_lower_product(c, i, &p);
    rope = cu_lower_node(c, CU_N_ROPE, i);
    rope->u.rope.cols = mul->u.mul.cols;
    if (op->rope != K_ROPE_NONE) {
        c->l->n_consts = (c->l->n_consts + CU_CONST - 1) & ~(uint64_t) (CU_CONST - 1);
        rope->u.rope.inv_freq = cu_lower_const(c, op->inv_freq, op->n_rot / 2);
    }
}


static void
cu_lower_gate_up(cu_lowering_t *c, uint32_t i)
{
    cu_node_t   *mul;
    cu_product_t p = {.n = 2, .w = {0, 1}, .in = CU_B_N, .out = CU_B_GU};

    p.type = c->l->type;
    p.ld = 2 * c->prog->n_ff;

    cu_lower_norm(c, i, 1);
    mul = cu_lower_product(c, i, &p);
    cu_lower_node(c, CU_N_ACT, i)->u.cols = mul->u.mul.cols;
}


/* OUT and DOWN. */
static void
cu_lower_residual(cu_lowering_t *c, uint32_t i, cu_buf_t in)
{
    cu_node_t    *mul;
    const k_op_t *op;
    cu_product_t  p = {.n = 1, .w = {0}, .out = CU_B_U, .type = CU_F32};

    op = &c->prog->ops[i];
    p.in = in;
    p.ld = c->prog->n_embd;

    /* U is taken. */
    if (c->pending != NULL) {
        cu_lower_norm(c, i, 0);
    }
    if (in == CU_B_A) {
        (void) cu_lower_node(c, CU_N_FORM, i);
    }

    mul = cu_lower_product(c, i, &p);
    mul->u.mul.direct = op->post_norm == NULL && op->scale == 1.0f;
    mul->u.mul.bias = op->bias[0] != NULL ? op->bias[0]->vector : NULL;

    c->pending = op;
    c->pending_cols = mul->u.mul.cols;
}


static void
cu_lower_moe(cu_lowering_t *c, uint32_t i)
{
    cu_node_t    *mul;
    const k_op_t *op;
    cu_product_t  p = {.n = 1, .w = {0}, .in = CU_B_N, .out = CU_B_ROUTER};

    op = &c->prog->ops[i];
    p.type = CU_F32;
    p.ld = op->n_expert;
    p.small = 1;

    cu_lower_norm(c, i, 1);

    mul = cu_lower_product(c, i, &p);
    mul->u.mul.bias = op->bias[0] != NULL ? op->bias[0]->vector : NULL;
    mul->u.mul.biased = 1;

    (void) cu_lower_node(c, CU_N_ROUTE, i);
    (void) cu_lower_experts(c, i, 1, CU_B_N, CU_B_EG, op->n_used);
    (void) cu_lower_experts(c, i, 2, CU_B_N, CU_B_EU, op->n_used);
    (void) cu_lower_node(c, CU_N_MOE_ACT, i);

    mul = cu_lower_experts(c, i, 3, CU_B_EH, CU_B_EY, 1);
    mul->u.mul.out_type = CU_F32;
    mul->u.mul.bias = op->bias[3] != NULL ? op->bias[3]->vector : NULL;
    mul->u.mul.biased = 1;

    (void) cu_lower_node(c, CU_N_MOE_SUM, i);

    c->pending = op;
    c->pending_cols = NULL;

    c->l->experts = cu_most(c->l->experts, op->n_expert);
    c->l->used = cu_most(c->l->used, op->n_used);
    c->l->expert_ff = cu_most(c->l->expert_ff, op->n_ff);
}


static void
cu_lower_logits(cu_lowering_t *c, uint32_t i)
{
    cu_node_t   *mul;
    cu_product_t p = {.n = 1, .w = {0}, .in = CU_B_N, .out = CU_B_L, .type = CU_F32};

    p.ld = CU_VOCAB_LD(c->prog->n_vocab);

    if (c->l->cut == UINT32_MAX) {
        c->l->cut = c->l->n_nodes;
    }

    /* Only a norm that adds nothing gathers rows. */
    if (c->pending != NULL) {
        cu_lower_norm(c, i, 0);
    }

    cu_lower_norm(c, i, 1);
    mul = cu_lower_product(c, i, &p);
    mul->u.mul.logits = 1;
    cu_lower_node(c, CU_N_CAP, i)->u.cols = mul->u.mul.cols;
}


/* What is pending goes to X; normed: and op i's norm to N. */
static void
cu_lower_norm(cu_lowering_t *c, uint32_t i, int normed)
{
    cu_node_t *n;

    n = cu_lower_node(c, CU_N_NORM, i);
    n->u.norm.add = c->pending;
    n->u.norm.add_cols = c->pending_cols;
    n->u.norm.normed = normed;

    c->pending = NULL;
    c->pending_cols = NULL;
}


static cu_node_t *
cu_lower_product(cu_lowering_t *c, uint32_t i, const cu_product_t *p)
{
    uint32_t           j, at, n_f8;
    cu_node_t         *n;
    cu_part_t         *part;
    const cu_matrix_t *w;

    n = cu_lower_node(c, CU_N_MUL, i);
    n->u.mul.in = p->in;
    n->u.mul.scale = p->in == CU_B_N ? CU_B_F8_N : CU_B_F8_H;
    n->u.mul.out = p->out;
    n->u.mul.out_type = p->type;
    n->u.mul.ld = p->ld;

    at = 0;
    n_f8 = 0;

    for (j = 0; j < p->n; j++) {
        w = &n->op->w[p->w[j]]->m;
        part = &n->u.mul.parts[j];
        part->w = *w;
        part->at = at;
        part->class = cu_lower_class(c, w);
        if (p->small || c->be->blas == NULL) {
            part->class = w->form == CU_W_PLAIN ? CU_C_SMALL : CU_C_SMALL_BLOCKS;
        }
        at += w->rows;
        n_f8 += part->class == CU_C_F8;
    }

    n->u.mul.n_parts = p->n;

    /* Scales are left to the reader for all of a row or for nothing. */
    for (j = 0; j < p->n && n_f8 != p->n; j++) {
        if (n->u.mul.parts[j].class == CU_C_F8) {
            n->u.mul.parts[j].class = CU_C_F8_T;
        }
    }

    cu_lower_join(n);

    if (n_f8 == p->n) {
        n->u.mul.cols = cu_lower_cols(c, n);
    }

    return n;
}


static cu_node_t *
cu_lower_experts(cu_lowering_t *c, uint32_t i, uint32_t w, cu_buf_t in, cu_buf_t out,
                 uint32_t x_div)
{
    cu_node_t *n;
    cu_part_t *part;

    n = cu_lower_node(c, CU_N_MUL, i);
    n->u.mul.n_parts = 1;
    n->u.mul.in = in;
    n->u.mul.out = out;
    n->u.mul.out_type = c->l->type;
    n->u.mul.experts = 1;
    n->u.mul.x_div = x_div;

    part = &n->u.mul.parts[0];
    part->w = n->op->w[w]->m;
    part->class = part->w.form != CU_W_PLAIN && in == CU_B_N ? CU_C_EXPERTS_BLOCKS : CU_C_EXPERTS;

    n->u.mul.ld = part->w.rows / n->op->n_expert;

    return n;
}


/* Neighbours in memory become one matrix. */
static void
cu_lower_join(cu_node_t *n)
{
    uint32_t           i, j, k, have;
    cu_part_t         *parts;
    cu_matrix_t        all;
    const cu_matrix_t *m[CU_PARTS];

    parts = n->u.mul.parts;
    have = 0;

    for (i = 0; i < n->u.mul.n_parts; i = j) {
        parts[have] = parts[i];

        /* The longest run from here that is one matrix. */
        for (j = n->u.mul.n_parts; j > i + 1; j--) {
            for (k = i; k < j && parts[k].class == parts[i].class; k++) {
                m[k - i] = &parts[k].w;
            }
            if (k == j && cu_weights_join(m, j - i, &all)) {
                parts[have].w = all;
                break;
            }
        }

        have++;
    }

    n->u.mul.n_parts = have;
}


static cu_class_t
cu_lower_class(const cu_lowering_t *c, const cu_matrix_t *w)
{
    if (w->form != CU_W_PLAIN) {
        return CU_C_BLOCKS;
    }
    if (w->type == CU_F8) {
        return cu_lower_f8_fits(c->be, w) ? CU_C_F8 : CU_C_F8_T;
    }

    return w->type == c->l->type ? CU_C_T : CU_C_PLAIN;
}


/* cuBLASLt multiplies E4M3 from Ada on, and only whole 16-byte pieces. */
static int
cu_lower_f8_fits(const k_backend_t *be, const cu_matrix_t *w)
{
    return be->major * 10 + be->minor >= 89 && w->rows % 16 == 0 && w->cols % 16 == 0;
}


/* The scales of all parts one after the other; NULL: they are ones. */
static const float *
cu_lower_cols(cu_lowering_t *c, const cu_node_t *n)
{
    float             *all, *p;
    uint32_t           i, scaled;
    const cu_matrix_t *w;

    scaled = 0;
    for (i = 0; i < n->u.mul.n_parts; i++) {
        scaled += n->u.mul.parts[i].w.scales != NULL;
    }

    if (scaled == 0) {
        return NULL;
    }
    if (n->u.mul.n_parts == 1) {
        return n->u.mul.parts[0].w.scales;
    }

    all = NULL;
    c->l->n_consts = (c->l->n_consts + CU_CONST - 1) & ~(uint64_t) (CU_CONST - 1);

    for (i = 0; i < n->u.mul.n_parts; i++) {
        w = &n->u.mul.parts[i].w;
        p = cu_lower_const(c, w->scales, w->rows);
        all = i == 0 ? p : all;
    }

    return all;
}


/* n floats of the host or the device, or ones, among the constants. */
static float *
cu_lower_const(cu_lowering_t *c, const float *src, uint32_t n)
{
    float      *ones, *p;
    uint32_t    i;
    cudaError_t rc;

    p = c->consts != NULL ? c->consts + c->l->n_consts : NULL;
    c->l->n_consts += n;

    if (p == NULL || c->rc != 0) {
        return p;
    }

    ones = NULL;
    if (src == NULL) {
        ones = malloc(n * sizeof(float));
        if (ones == NULL) {
            c->rc = -ENOMEM;
            return p;
        }
        for (i = 0; i < n; i++) {
            ones[i] = 1.0f;
        }
        src = ones;
    }

    rc = cudaMemcpyAsync(p, src, n * sizeof(float), cudaMemcpyDefault, c->stream);
    if (rc == cudaSuccess) {
        rc = cudaStreamSynchronize(c->stream);
    }
    free(ones);
    c->rc = cu_check(rc, "copying constants");

    return p;
}


/* What the buffers must hold, over all nodes; norms learn their readers. */
static void
cu_lower_measure(cu_lowering_t *c)
{
    uint32_t         i, j, k, wants;
    uint64_t         bytes;
    cu_node_t       *n, *norm;
    cu_lowered_t    *l;
    const cu_part_t *part;
    const cu_way_t  *w;

    l = c->l;
    norm = NULL;

    for (i = 0; i < l->n_nodes; i++) {
        n = &l->nodes[i];
        norm = n->kind == CU_N_NORM ? n : norm;

        if (n->kind != CU_N_MUL) {
            continue;
        }
        if (n->u.mul.in == CU_B_N) {
            norm->u.norm.last = i;
        }

        for (j = 0; j < n->u.mul.n_parts; j++) {
            part = &n->u.mul.parts[j];

            for (k = 0; k < 3; k++) {
                w = &cu_ways[part->class][k];
                if (w->rows == 0) {
                    break;
                }

                wants = cu_by_wants[w->by];
                if (wants & CU_WANT_I8) {
                    l->i8_rows = cu_most(l->i8_rows, w->rows);
                    l->i8_cols = cu_most(l->i8_cols, part->w.cols);
                }
                if (wants & CU_WANT_F8) {
                    l->f8_cols = cu_most(l->f8_cols, part->w.cols);
                }
                if (w->by == CU_BY_WORK) {
                    bytes = (uint64_t) part->w.rows * part->w.cols * 2;
                    bytes = bytes < CU_WORK ? bytes : CU_WORK;
                    l->work = bytes > l->work ? bytes : l->work;
                }
            }
        }
    }
}


static cu_node_t *
cu_lower_node(cu_lowering_t *c, cu_node_kind_t kind, uint32_t i)
{
    cu_node_t *n;

    n = &c->l->nodes[c->l->n_nodes++];
    n->kind = kind;
    n->index = i;
    n->op = &c->prog->ops[i];

    return n;
}


static uint32_t
cu_most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}
