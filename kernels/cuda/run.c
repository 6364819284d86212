/*
 * A step's nodes launched one after the other, on the step loop's thread: each
 * function here fills a kernel's arguments from its node and the step's shape.
 * Nothing waits, nothing is allocated; the same calls are captured into graphs.
 *
 * What a product has left to its reader is kept in cu_run_t from node to node:
 * it depends on how the product was computed, and so on the number of rows.
 */

#include <errno.h>
#include <string.h>

#include "kernels/cuda/exec.h"

/* A launch, or a step towards one, that may fail. */
#define CU_TRY(call)                                                                               \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        if (rc_ != 0) {                                                                            \
            return rc_;                                                                            \
        }                                                                                          \
    } while (0)


typedef struct {
    k_exec_t          *e;
    const cu_bucket_t *shape;
    cudaStream_t       stream;
    cu_mode_t          mode;
    int                pending; /* U holds what X lacks */
    int                raw;     /* the last product lacks its E4M3 scales */
} cu_run_t;

typedef int (*cu_run_pt)(cu_run_t *r, const cu_node_t *n);


static int      cu_run_embed(cu_run_t *r, const cu_node_t *n);
static int      cu_run_norm(cu_run_t *r, const cu_node_t *n);
static uint32_t cu_run_wants(const cu_run_t *r, const cu_node_t *n);
static int      cu_run_form(cu_run_t *r, const cu_node_t *n);
static int      cu_run_mul(cu_run_t *r, const cu_node_t *n);
static int      cu_run_kernel(cu_run_t *r, const cu_node_t *n, const cu_part_t *part, cu_by_t by,
                              int add);
static int cu_run_blas(cu_run_t *r, const cu_node_t *n, const cu_part_t *part, cu_by_t by, int add);
static int cu_run_rope(cu_run_t *r, const cu_node_t *n);
static int cu_run_attn(cu_run_t *r, const cu_node_t *n);
static int cu_run_act(cu_run_t *r, const cu_node_t *n);
static int cu_run_route(cu_run_t *r, const cu_node_t *n);
static int cu_run_moe_act(cu_run_t *r, const cu_node_t *n);
static int cu_run_moe_sum(cu_run_t *r, const cu_node_t *n);
static int cu_run_cap(cu_run_t *r, const cu_node_t *n);
static uint8_t *cu_run_at(const cu_run_t *r, const cu_node_t *n, uint32_t col);


static const cu_run_pt cu_runs[CU_NODES] = {
    [CU_N_EMBED] = cu_run_embed,     [CU_N_NORM] = cu_run_norm,   [CU_N_FORM] = cu_run_form,
    [CU_N_MUL] = cu_run_mul,         [CU_N_ROPE] = cu_run_rope,   [CU_N_ATTN] = cu_run_attn,
    [CU_N_ACT] = cu_run_act,         [CU_N_ROUTE] = cu_run_route, [CU_N_MOE_ACT] = cu_run_moe_act,
    [CU_N_MOE_SUM] = cu_run_moe_sum, [CU_N_CAP] = cu_run_cap,
};


int
cu_run(k_exec_t *e, const cu_bucket_t *shape, cudaStream_t stream, cu_mode_t mode)
{
    uint32_t         i;
    cu_run_t         r;
    const cu_node_t *n;

    memset(&r, 0, sizeof(r));
    r.e = e;
    r.shape = shape;
    r.stream = stream;
    r.mode = mode;

    for (i = 0; i < e->low.n_nodes; i++) {
        n = &e->low.nodes[i];

        if (i >= e->low.cut && shape->logits == 0) {
            break;
        }
        if (mode == CU_TUNE && n->kind != CU_N_MUL) {
            continue;
        }

        e->running = n->index;
        CU_TRY(cu_runs[n->kind](&r, n));
    }

    return 0;
}


static int
cu_run_embed(cu_run_t *r, const cu_node_t *n)
{
    return cu_embed(&n->op->w[0]->m, r->e->step, r->e->buf[CU_B_X], r->shape->rows, n->op->scale,
                    r->stream);
}


static int
cu_run_norm(cu_run_t *r, const cu_node_t *n)
{
    uint32_t      wants;
    cu_norm_t     p;
    void        **buf;
    const k_op_t *op, *add;

    buf = r->e->buf;
    op = n->op;
    add = n->u.norm.add;

    memset(&p, 0, sizeof(p));
    p.x = buf[CU_B_X];
    p.rows = r->shape->rows;
    p.cols = r->e->prog.n_embd;

    if (add != NULL && r->pending) {
        p.u = buf[CU_B_U];
        if (r->raw) {
            p.u_scale_row = buf[CU_B_F8_H];
            p.u_scale_col = n->u.norm.add_cols;
        }
        if (add->kind != K_OP_MOE && add->bias[0] != NULL) {
            p.bias = add->bias[0]->vector;
        }
        if (add->post_norm != NULL) {
            p.post_norm = add->post_norm->vector;
        }
        p.eps_post = add->eps;
        p.scale = add->scale;
        r->pending = 0;
    }

    if (!n->u.norm.normed) {
        p.no_norm = 1;
        return p.u == NULL ? 0 : cu_norm(r->e->low.type, &p, r->e->step, r->stream);
    }

    if (op->kind == K_OP_LOGITS) {
        p.gather = cu_meta_logit_rows(r->e);
        p.rows = r->shape->logits;
    }

    p.no_norm = op->norm == NULL;
    p.norm = op->norm != NULL ? op->norm->vector : NULL;
    p.eps = op->eps;

    wants = cu_run_wants(r, n);
    if (wants & CU_WANT_T) {
        p.out = buf[CU_B_N];
    }
    if (wants & CU_WANT_I8) {
        p.q = buf[CU_B_I8];
        p.q_d = buf[CU_B_I8_D];
    }
    if (wants & CU_WANT_F8) {
        p.f8 = buf[CU_B_F8];
        p.f8_scale = buf[CU_B_F8_N];
    }

    return cu_norm(r->e->low.type, &p, r->e->step, r->stream);
}


/* The forms that the products after a norm read its rows in. */
static uint32_t
cu_run_wants(const cu_run_t *r, const cu_node_t *n)
{
    uint32_t         wants;
    const cu_node_t *m;

    wants = 0;

    for (m = n + 1; m <= &r->e->low.nodes[n->u.norm.last]; m++) {
        if (m->kind == CU_N_MUL && m->u.mul.in == CU_B_N) {
            wants |= cu_lower_wants(m, m->u.mul.logits ? r->shape->logits : r->shape->rows);
        }
    }

    return wants;
}


static int
cu_run_form(cu_run_t *r, const cu_node_t *n)
{
    void   **buf;
    uint32_t wants;
    cu_act_t p;

    wants = cu_lower_wants(n + 1, r->shape->rows) & ~CU_WANT_T;
    if (wants == 0) {
        return 0;
    }

    buf = r->e->buf;
    memset(&p, 0, sizeof(p));
    p.fn = -1;
    p.in = buf[CU_B_A];
    p.rows = r->shape->rows;
    p.n = r->e->q_dim;
    if (wants & CU_WANT_I8) {
        p.q = buf[CU_B_I8];
        p.q_d = buf[CU_B_I8_D];
    }
    if (wants & CU_WANT_F8) {
        p.f8 = buf[CU_B_F8];
        p.f8_scale = buf[CU_B_F8_H];
    }

    return cu_act(r->e->low.type, &p, r->e->step, r->stream);
}


static int
cu_run_mul(cu_run_t *r, const cu_node_t *n)
{
    int              rc, add, blas;
    cu_by_t          by;
    uint32_t         i, rows;
    const cu_part_t *part;

    rows = n->u.mul.logits ? r->shape->logits : r->shape->rows;
    r->raw = 0;
    add = 0;

    for (i = 0; i < n->u.mul.n_parts; i++) {
        part = &n->u.mul.parts[i];
        by = cu_lower_by(part, rows);
        blas = by == CU_BY_BLAS || by == CU_BY_WORK;

        if (n->u.mul.direct) {
            add = by != CU_BY_BLAS8 && (!blas || n->u.mul.bias == NULL);
        }

        if (by == CU_BY_BLAS8 || blas) {
            rc = cu_run_blas(r, n, part, by, add);
            if (rc == -ENOTSUP && r->mode == CU_TUNE) {
                cu_lower_without(&r->e->low, n);
                return 0;
            }
            if (rc != 0) {
                return rc;
            }
            r->raw = by == CU_BY_BLAS8;

        } else if (r->mode != CU_TUNE) {
            CU_TRY(cu_run_kernel(r, n, part, by, add));
        }
    }

    if (n->u.mul.out == CU_B_U) {
        r->pending = !add;
    }

    return 0;
}


/* By a kernel of ours. */
static int
cu_run_kernel(cu_run_t *r, const cu_node_t *n, const cu_part_t *part, cu_by_t by, int add)
{
    void   **buf;
    cu_mul_t p;

    buf = r->e->buf;

    memset(&p, 0, sizeof(p));
    p.w = &part->w;
    p.x = buf[n->u.mul.in];
    p.q = buf[CU_B_I8];
    p.q_d = buf[CU_B_I8_D];
    p.bias = add || n->u.mul.biased ? n->u.mul.bias : NULL;
    p.y = add ? buf[CU_B_X] : (void *) cu_run_at(r, n, part->at);
    p.y_type = n->u.mul.out_type;
    p.add = add;
    p.y_ld = n->u.mul.ld;
    p.rows = r->shape->rows;

    if (n->u.mul.logits) {
        p.logits = 1;
        p.rows = r->shape->logits;
    }

    if (n->u.mul.experts) {
        p.slots = buf[CU_B_SLOTS];
        p.first = buf[CU_B_FIRST];
        p.n_slots = r->shape->rows * n->op->n_used;
        p.x_div = n->u.mul.x_div;
    }

    switch (by) {
    case CU_BY_GEMV:
        return cu_gemv(r->e->low.type, &p, r->e->step, r->stream);
    case CU_BY_QUANT:
        return cu_quant_gemv(r->e->low.type, &p, r->e->step, r->stream);
    default:
        return cu_mma(r->e->low.type, &p, r->e->step, r->stream);
    }
}


/* By cuBLASLt; weights that are not T are made T first, some rows at a time. */
static int
cu_run_blas(cu_run_t *r, const cu_node_t *n, const cu_part_t *part, cu_by_t by, int add)
{
    void             **buf;
    uint64_t           row_bytes;
    uint32_t           i, most;
    cu_gemm_t          g;
    const cu_matrix_t *w;

    buf = r->e->buf;
    w = &part->w;

    memset(&g, 0, sizeof(g));
    g.type = by == CU_BY_BLAS8 ? CU_F8 : r->e->low.type;
    g.x = buf[by == CU_BY_BLAS8 ? CU_B_F8 : n->u.mul.in];
    g.x_ld = w->cols;
    g.w = w->data;
    g.y_type = n->u.mul.out_type;
    g.y_ld = n->u.mul.ld;
    g.rows = n->u.mul.logits ? r->shape->logits : r->shape->rows;
    g.k = w->cols;
    g.add = add;

    most = w->rows;
    if (by == CU_BY_WORK) {
        row_bytes = (uint64_t) w->cols * 2;
        if (w->rows * row_bytes > r->e->low.work) {
            most = (uint32_t) (r->e->low.work / row_bytes) & ~63u;
        }
        g.w = buf[CU_B_WORK];
    }

    for (i = 0; i < w->rows; i += g.n) {
        g.n = w->rows - i < most ? w->rows - i : most;
        g.y = add ? (uint8_t *) ((float *) buf[CU_B_X] + i) : cu_run_at(r, n, part->at + i);

        if (r->mode == CU_TUNE) {
            CU_TRY(cu_blas_tune(r->e->be->blas, &g));
            continue;
        }
        if (by == CU_BY_WORK) {
            CU_TRY(cu_dequant(r->e->low.type, w, i, g.n, buf[CU_B_WORK], r->stream));
        }
        if (r->mode == CU_RUN) {
            CU_TRY(cu_blas_mul(r->e->be->blas, &g, r->stream));
        }
    }

    return 0;
}


static int
cu_run_rope(cu_run_t *r, const cu_node_t *n)
{
    k_exec_t     *e;
    cu_rope_t     p;
    const k_op_t *op;

    e = r->e;
    op = n->op;

    memset(&p, 0, sizeof(p));
    p.qkv = e->buf[CU_B_QKV];
    if (r->raw) {
        p.in_scale_row = e->buf[CU_B_F8_N];
        p.in_scale_col = n->u.rope.cols;
    }
    p.bias_q = op->bias[0] != NULL ? op->bias[0]->vector : NULL;
    p.bias_k = op->bias[1] != NULL ? op->bias[1]->vector : NULL;
    p.bias_v = op->bias[2] != NULL ? op->bias[2]->vector : NULL;
    p.norm_q = op->norm_q != NULL ? op->norm_q->vector : NULL;
    p.norm_k = op->norm_k != NULL ? op->norm_k->vector : NULL;
    p.eps = op->eps;
    p.rope = op->rope;
    p.inv_freq = n->u.rope.inv_freq;
    p.rope_mul = op->rope_mul;
    p.n_rot = op->n_rot;
    p.rows = r->shape->rows;
    p.n_head = e->prog.n_head;
    p.n_kv = e->prog.n_kv;
    p.head_dim = e->prog.head_dim;
    p.q = e->buf[CU_B_QKV];
    p.q_ld = e->qkv_dim;
    p.kv = e->kv->mem + op->layer * e->kv->layer;
    p.kv_type = e->kv_type;
    p.kv_page = e->kv->page;
    p.kv_v = e->kv->v;

    return cu_rope(e->low.type, &p, e->step, r->stream);
}


void
cu_run_attn_args(const k_exec_t *e, const k_op_t *op, cu_attn_t *p)
{
    memset(p, 0, sizeof(*p));
    p->q = e->buf[CU_B_QKV];
    p->q_ld = e->qkv_dim;
    p->a = e->buf[CU_B_A];
    p->kv = e->kv->mem + op->layer * e->kv->layer;
    p->kv_type = e->kv_type;
    p->kv_page = e->kv->page;
    p->kv_v = e->kv->v;
    p->n_head = e->prog.n_head;
    p->n_kv = e->prog.n_kv;
    p->head_dim = e->prog.head_dim;
    p->scale = op->scale;
    p->soft_cap = op->soft_cap;
    p->window = op->window;
    p->sinks = op->sinks != NULL ? op->sinks->vector : NULL;
    p->parts = e->buf[CU_B_PARTS];
    p->tickets = e->buf[CU_B_TICKETS];
}


/* The slow kernel does both kinds of work at once. */
static int
cu_run_attn(cu_run_t *r, const cu_node_t *n)
{
    k_exec_t *e;
    cu_attn_t p;
    cu_type_t t;

    e = r->e;
    t = e->low.type;
    cu_run_attn_args(e, n->op, &p);
    p.max_rows = r->shape->rows;

    if (!e->fast_attn) {
        p.max_work = r->shape->decode + r->shape->prefill;
        return cu_attn_simple(t, &p, e->step, r->stream);
    }

    if (r->shape->decode != 0) {
        p.max_work = r->shape->decode;
        CU_TRY(cu_attn_decode(t, &p, e->step, r->stream));
    }
    if (r->shape->prefill != 0) {
        p.max_work = r->shape->prefill;
        CU_TRY(cu_attn_prefill(t, &p, e->step, r->stream));
    }

    return 0;
}


static int
cu_run_act(cu_run_t *r, const cu_node_t *n)
{
    void        **buf;
    uint32_t      wants;
    cu_act_t      p;
    const k_op_t *op;

    buf = r->e->buf;
    op = n->op;

    memset(&p, 0, sizeof(p));
    p.fn = (int) op->fn;
    p.in = buf[CU_B_GU];
    if (r->raw) {
        p.in_scale_row = buf[CU_B_F8_N];
        p.in_scale_col = n->u.cols;
    }
    p.bias_g = op->bias[0] != NULL ? op->bias[0]->vector : NULL;
    p.bias_u = op->bias[1] != NULL ? op->bias[1]->vector : NULL;
    p.rows = r->shape->rows;
    p.n = r->e->prog.n_ff;

    /* H is read by DOWN. */
    wants = CU_WANT_T;
    if (n + 1 < &r->e->low.nodes[r->e->low.n_nodes] && n[1].kind == CU_N_MUL
        && n[1].u.mul.in == CU_B_H) {
        wants = cu_lower_wants(n + 1, r->shape->rows);
    }
    if (wants & CU_WANT_T) {
        p.out = buf[CU_B_H];
    }
    if (wants & CU_WANT_I8) {
        p.q = buf[CU_B_I8];
        p.q_d = buf[CU_B_I8_D];
    }
    if (wants & CU_WANT_F8) {
        p.f8 = buf[CU_B_F8];
        p.f8_scale = buf[CU_B_F8_H];
    }

    return cu_act(r->e->low.type, &p, r->e->step, r->stream);
}


static int
cu_run_route(cu_run_t *r, const cu_node_t *n)
{
    void   **buf;
    cu_moe_t p;

    buf = r->e->buf;

    memset(&p, 0, sizeof(p));
    p.router = buf[CU_B_ROUTER];
    p.gate = n->op->gate;
    p.w_scale = n->op->w_scale;
    p.rows = r->shape->rows;
    p.n_expert = n->op->n_expert;
    p.n_used = n->op->n_used;
    p.ids = buf[CU_B_IDS];
    p.gates = buf[CU_B_GATES];
    p.slots = buf[CU_B_SLOTS];
    p.first = buf[CU_B_FIRST];

    return cu_moe_route(&p, r->e->step, r->stream);
}


static int
cu_run_moe_act(cu_run_t *r, const cu_node_t *n)
{
    void        **buf;
    const k_op_t *op;
    cu_moe_act_t  p;

    buf = r->e->buf;
    op = n->op;

    memset(&p, 0, sizeof(p));
    p.fn = op->fn;
    p.g = buf[CU_B_EG];
    p.u = buf[CU_B_EU];
    p.ids = buf[CU_B_IDS];
    p.bias_g = op->bias[1] != NULL ? op->bias[1]->vector : NULL;
    p.bias_u = op->bias[2] != NULL ? op->bias[2]->vector : NULL;
    p.slots = r->shape->rows * op->n_used;
    p.n_used = op->n_used;
    p.n = op->n_ff;
    p.h = buf[CU_B_EH];

    return cu_moe_act(r->e->low.type, &p, r->e->step, r->stream);
}


static int
cu_run_moe_sum(cu_run_t *r, const cu_node_t *n)
{
    void **buf;

    buf = r->e->buf;
    r->pending = 1;
    r->raw = 0;

    return cu_moe_sum(buf[CU_B_EY], buf[CU_B_GATES], buf[CU_B_U], r->shape->rows, n->op->n_used,
                      r->e->prog.n_embd, r->e->step, r->stream);
}


static int
cu_run_cap(cu_run_t *r, const cu_node_t *n)
{
    cu_cap_t      p;
    const k_op_t *op;

    op = n->op;

    if (!r->raw && op->bias[0] == NULL && op->scale == 1.0f && op->soft_cap == 0) {
        return 0;
    }

    memset(&p, 0, sizeof(p));
    p.l = r->e->buf[CU_B_L];
    if (r->raw) {
        p.scale_row = r->e->buf[CU_B_F8_N];
        p.scale_col = n->u.cols;
    }
    p.bias = op->bias[0] != NULL ? op->bias[0]->vector : NULL;
    p.rows = r->shape->logits;
    p.n = r->e->prog.n_vocab;
    p.ld = r->e->vocab_ld;
    p.scale = op->scale;
    p.soft_cap = op->soft_cap;

    return cu_cap(&p, r->e->step, r->stream);
}


/* Where a product's column lies in its buffer's first row. */
static uint8_t *
cu_run_at(const cu_run_t *r, const cu_node_t *n, uint32_t col)
{
    return (uint8_t *) r->e->buf[n->u.mul.out]
           + (size_t) col * (n->u.mul.out_type == CU_F32 ? 4 : 2);
}
