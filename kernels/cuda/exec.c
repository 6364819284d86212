/*
 * A step program is given all the memory that its steps will ever use: device
 * memory from the arena's high end, pinned memory for metadata, two events and
 * a stream.  First everything is measured, then laid out, by one function.
 *
 * Called by the thread that loads models, beside the steps of others: what it
 * does on the device is on the exec's own stream, which is waited for.
 *
 * A dry run of a few sizes of steps then asks each kernel's launcher whether it
 * does these shapes, so that a program that cannot run is refused here
 * (-ENOTSUP) and not by its first step.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/exec.h"

#define CU_PAGES_MAX (8u << 20) /* page numbers of one step's sequences */
#define CU_DRAWS_MAX 1024       /* draws at once, but for more sequences */

typedef struct {
    uint8_t *base; /* NULL: only measure */
    uint64_t at;
} cu_layout_t;


static int      cu_exec_make(k_exec_t *e, char *err);
static void     cu_exec_sizes(k_exec_t *e);
static void     cu_exec_merge(k_exec_t *e);
static int      cu_exec_host(k_exec_t *e);
static int      cu_exec_memory(k_exec_t *e, char *err);
static void     cu_exec_lay(k_exec_t *e, cu_layout_t *l);
static void     cu_exec_attn(k_exec_t *e);
static int      cu_exec_try(k_exec_t *e, char *err);
static int      cu_exec_tune(k_exec_t *e, char *err);
static void    *cu_exec_piece(cu_layout_t *l, uint64_t n, uint64_t size);
static uint32_t cu_exec_most(uint32_t a, uint32_t b);


int
cu_exec_prepare(k_backend_t *be, const k_program_t *prog, k_kv_t *kv, const k_limits_t *limits,
                k_exec_t **out, char *err)
{
    int       rc;
    k_exec_t *e;

    rc = cu_bind(be);
    if (rc != 0) {
        snprintf(err, K_ERR_MAX, "the device does not answer");
        return rc;
    }

    e = calloc(1, sizeof(k_exec_t));
    if (e == NULL) {
        snprintf(err, K_ERR_MAX, "out of memory");
        return -ENOMEM;
    }

    e->be = be;
    e->prog = *prog;
    e->limits = *limits;
    e->kv = kv;
    e->graphs = 1;

    err[0] = '\0';
    rc = cu_exec_make(e, err);
    if (rc != 0) {
        if (err[0] == '\0') {
            snprintf(err, K_ERR_MAX, "preparing a program: %s",
                     rc == -ENOMEM ? "out of memory" : "the device has failed");
        }
        cu_exec_free(e);
        return rc;
    }

    *out = e;
    return 0;
}


void
cu_exec_free(k_exec_t *e)
{
    uint32_t i;

    if (e == NULL) {
        return;
    }

    (void) cu_bind(e->be);

    /* A step may still be under way. */
    if (e->be->stream != NULL) {
        (void) cudaStreamSynchronize(e->be->stream);
    }
    if (e->copies != NULL) {
        (void) cudaStreamSynchronize(e->copies);
    }

    cu_graph_free(e);
    cu_draw_free(e->draw);

    for (i = 0; i < 2; i++) {
        if (e->parity[i].done != NULL) {
            (void) cudaEventDestroy(e->parity[i].done);
        }
        if (e->parity[i].from != NULL) {
            (void) cudaEventDestroy(e->parity[i].from);
        }
        if (e->parity[i].to != NULL) {
            (void) cudaEventDestroy(e->parity[i].to);
        }
        if (e->parity[i].meta != NULL) {
            (void) cudaFreeHost(e->parity[i].meta);
        }
    }
    if (e->uploaded != NULL) {
        (void) cudaEventDestroy(e->uploaded);
    }
    if (e->copies != NULL) {
        (void) cudaStreamDestroy(e->copies);
    }

    cu_arena_free(e->be->arena, e->mem, e->size);
    cu_lower_free(&e->low);
    free(e->graph);
    free(e->cuts);
    free(e);
}


static int
cu_exec_make(k_exec_t *e, char *err)
{
    int         rc;
    cudaError_t last;

    rc = cu_exec_check(e, err);
    if (rc != 0) {
        return rc;
    }

    cu_exec_merge(e);

    rc = cu_lower(&e->low, e->be, &e->prog, NULL, NULL);
    if (rc != 0) {
        return rc;
    }

    cu_exec_sizes(e);

    rc = cu_exec_host(e);
    if (rc != 0) {
        return rc;
    }
    rc = cu_exec_memory(e, err);
    if (rc != 0) {
        return rc;
    }
    rc = cu_exec_tune(e, err);
    if (rc != 0) {
        return rc;
    }
    rc = cu_exec_try(e, err);
    if (rc != 0) {
        return rc;
    }

    last = cudaStreamSynchronize(e->copies);

    return cu_check(last, "preparing a program");
}


/* What follows from the program and the limits. */
static void
cu_exec_sizes(k_exec_t *e)
{
    uint32_t           i, seqs;
    uint64_t           pages;
    const k_op_t      *op;
    const k_program_t *p;

    p = &e->prog;
    e->q_dim = p->n_head * p->head_dim;
    e->kv_dim = p->n_kv * p->head_dim;
    e->qkv_dim = e->q_dim + 2 * e->kv_dim;
    e->vocab_ld = CU_VOCAB_LD(p->n_vocab);

    if (e->limits.seqs > e->limits.rows) {
        e->limits.seqs = e->limits.rows;
    }
    if (e->limits.logits > e->limits.rows) {
        e->limits.logits = e->limits.rows;
    }
    seqs = e->limits.seqs;

    e->max_rows = cu_exec_most(cu_bucket(e->limits.rows), cu_bucket_graph(seqs));
    e->max_logits = cu_exec_most(cu_bucket(e->limits.logits), cu_bucket_graph(e->limits.logits));

    /* Where every layer has a window, rows see no more than the widest. */
    for (i = 0; i < p->n_ops; i++) {
        op = &p->ops[i];
        if (op->kind == K_OP_ATTN) {
            if (op->window == 0) {
                e->window = 0;
                break;
            }
            e->window = cu_exec_most(e->window, op->window);
        }
    }

    if (e->kv == NULL) {
        return;
    }

    e->kv_type = e->kv->type == CU_F8 ? CU_F8 : e->low.type;
    pages = (uint64_t) seqs * e->kv->n_pages;
    e->max_pages = pages < CU_PAGES_MAX ? pages : CU_PAGES_MAX;
    e->max_prefill = e->limits.rows / CU_PREFILL_ROWS + seqs;

    e->fast_attn = 1;
    e->max_decode = cu_meta_work(e, cu_bucket_graph(seqs));
}


/* Matrices that are multiplied together are made neighbours, if they can be. */
static void
cu_exec_merge(k_exec_t *e)
{
    uint32_t      i, j, n;
    k_weight_t   *w[CU_PARTS];
    const k_op_t *op;

    for (i = 0; i < e->prog.n_ops; i++) {
        op = &e->prog.ops[i];
        n = op->kind == K_OP_QKV ? 3 : op->kind == K_OP_GATE_UP ? 2 : 0;

        for (j = 0; j < n; j++) {
            w[j] = (k_weight_t *) (uintptr_t) op->w[j];
        }
        if (n != 0) {
            (void) cu_weights_merge(e->be, w, n);
        }
    }
}


/* Host memory, events, a stream. */
static int
cu_exec_host(k_exec_t *e)
{
    uint32_t    i;
    cudaError_t rc;

    e->graph = calloc(CU_GRAPHS, sizeof(cu_graph_t));
    e->cuts = calloc(e->limits.seqs, sizeof(cu_cut_t));
    if (e->graph == NULL || e->cuts == NULL) {
        return -ENOMEM;
    }

    e->meta_size = cu_meta_size(e);

    rc = cudaStreamCreateWithFlags(&e->copies, cudaStreamNonBlocking);
    if (rc == cudaSuccess) {
        rc = cudaEventCreateWithFlags(&e->uploaded, cudaEventDisableTiming);
    }

    for (i = 0; i < 2 && rc == cudaSuccess; i++) {
        rc = cudaEventCreateWithFlags(&e->parity[i].done,
                                      cudaEventDisableTiming | cudaEventBlockingSync);
        if (rc == cudaSuccess) {
            rc = cudaHostAlloc((void **) &e->parity[i].meta, e->meta_size, cudaHostAllocDefault);
        }
    }

    return cu_check(rc, "a program's pinned memory");
}


static int
cu_exec_memory(k_exec_t *e, char *err)
{
    int         rc;
    char        what[80];
    uint32_t    most;
    cu_layout_t l;

    memset(&l, 0, sizeof(l));
    cu_exec_lay(e, &l);
    e->size = l.at;

    snprintf(what, sizeof(what), "buffers for %u rows and %u rows of logits", e->limits.rows,
             e->limits.logits);
    e->mem = cu_alloc(e->be, e->size, what, err);
    if (e->mem == NULL) {
        return -ENOMEM;
    }

    l.base = e->mem;
    l.at = 0;
    cu_exec_lay(e, &l);

    /* Rows beyond a step's own are rubbish, but they are numbers. */
    rc = cu_check(cudaMemsetAsync(e->mem, 0, e->size, e->copies), "clearing a program's memory");
    if (rc != 0) {
        return rc;
    }

    cu_lower_free(&e->low);
    rc = cu_lower(&e->low, e->be, &e->prog, e->consts, e->copies);
    if (rc != 0) {
        return rc;
    }

    cu_exec_attn(e);

    if (e->limits.logits == 0) {
        return 0;
    }

    most = e->limits.logits < CU_DRAWS_MAX ? e->limits.logits : CU_DRAWS_MAX;
    e->max_draws = cu_exec_most(e->limits.seqs, most);

    return cu_draw_new(e->be, e->max_draws, e->prog.n_vocab, &e->draw, err);
}


static void
cu_exec_lay(k_exec_t *e, cu_layout_t *l)
{
    void              **b;
    uint64_t            rows, both, slots;
    const k_program_t  *p;
    const cu_lowered_t *n;

    p = &e->prog;
    n = &e->low;
    b = e->buf;
    rows = e->max_rows;
    both = cu_exec_most(e->max_rows, e->max_logits);
    slots = rows * n->used;

    e->step = cu_exec_piece(l, e->meta_size, 1);
    e->consts = cu_exec_piece(l, n->n_consts, sizeof(float));

    b[CU_B_X] = cu_exec_piece(l, rows * p->n_embd, 4);
    b[CU_B_U] = cu_exec_piece(l, rows * p->n_embd, 4);
    b[CU_B_N] = cu_exec_piece(l, both * p->n_embd, 2);
    b[CU_B_GU] = cu_exec_piece(l, rows * 2 * p->n_ff, 2);
    b[CU_B_H] = cu_exec_piece(l, rows * p->n_ff, 2);
    b[CU_B_L] = cu_exec_piece(l, (uint64_t) e->max_logits * e->vocab_ld, 4);

    if (e->kv != NULL) {
        b[CU_B_QKV] = cu_exec_piece(l, rows * e->qkv_dim, 2);
        b[CU_B_A] = cu_exec_piece(l, rows * e->q_dim, 2);
        b[CU_B_PARTS] =
            cu_exec_piece(l, (uint64_t) e->max_decode * p->n_head * ((uint64_t) p->head_dim + 2),
                          4);
        b[CU_B_TICKETS] = cu_exec_piece(l, (uint64_t) e->max_decode * p->n_head, 4);
    }

    b[CU_B_I8] = cu_exec_piece(l, (uint64_t) n->i8_rows * n->i8_cols, 1);
    b[CU_B_I8_D] = cu_exec_piece(l, (uint64_t) n->i8_rows * n->i8_cols / 32 * 2, 4);
    b[CU_B_F8] = cu_exec_piece(l, both * n->f8_cols, 1);
    b[CU_B_F8_N] = cu_exec_piece(l, both, 4);
    b[CU_B_F8_H] = cu_exec_piece(l, both, 4);
    b[CU_B_WORK] = cu_exec_piece(l, n->work, 1);

    if (n->experts != 0) {
        b[CU_B_ROUTER] = cu_exec_piece(l, rows * n->experts, 4);
        b[CU_B_IDS] = cu_exec_piece(l, slots, 4);
        b[CU_B_GATES] = cu_exec_piece(l, slots, 4);
        b[CU_B_SLOTS] = cu_exec_piece(l, slots, 4);
        b[CU_B_FIRST] = cu_exec_piece(l, n->experts + 1, 4);
        b[CU_B_EG] = cu_exec_piece(l, slots * n->expert_ff, 2);
        b[CU_B_EU] = cu_exec_piece(l, slots * n->expert_ff, 2);
        b[CU_B_EH] = cu_exec_piece(l, slots * n->expert_ff, 2);
        b[CU_B_EY] = cu_exec_piece(l, slots * p->n_embd, 4);
    }
}


/* All layers' attention by the fast kernels, or none. */
static void
cu_exec_attn(k_exec_t *e)
{
    uint32_t  i;
    cu_attn_t p;

    for (i = 0; i < e->prog.n_ops; i++) {
        if (e->prog.ops[i].kind != K_OP_ATTN) {
            continue;
        }

        cu_run_attn_args(e, &e->prog.ops[i], &p);
        p.max_work = 1;
        p.max_rows = 1;

        if (!cu_attn_decode_fits(e->low.type, &p) || !cu_attn_prefill_fits(e->low.type, &p)) {
            e->fast_attn = 0;
            return;
        }
    }
}


/*
 * Steps of no rows, in buckets of a few sizes: one for each kernel that there
 * is for a size.  It also brings all kernels onto the device, which loads them
 * at their first launch: a capture should not have to.
 */
static int
cu_exec_try(k_exec_t *e, char *err)
{
    int         rc;
    uint32_t    i, rows;
    cu_bucket_t b;

    static const uint32_t sizes[] = {1, 2, 4, 8, 16, 24, 64, CU_ROWS_MAX};

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        rows = sizes[i] < e->max_rows ? sizes[i] : e->max_rows;

        memset(&b, 0, sizeof(b));
        b.rows = rows;
        b.logits = rows < e->max_logits ? rows : e->max_logits;
        b.decode = e->max_decode;
        b.prefill = rows == e->max_rows ? e->max_prefill : 0;

        rc = cu_run(e, &b, e->copies, CU_DRY);
        if (rc == -EINVAL || rc == -ENOTSUP) {
            snprintf(err, K_ERR_MAX,
                     "program: operation %u: the CUDA backend has no kernel for its shapes "
                     "(%u rows)",
                     e->running, rows);
            return -ENOTSUP;
        }
        if (rc != 0) {
            return rc;
        }
        if (rows == e->max_rows) {
            break;
        }
    }

    return cu_check(cudaStreamSynchronize(e->copies), "a dry run of a program");
}


/*
 * Decode steps of all sizes, then prefill steps of some, while time lasts.
 * Products that the library does not do become our kernels'.
 */
static int
cu_exec_tune(k_exec_t *e, char *err)
{
    int         rc;
    uint32_t    rows;
    cu_bucket_t b;

    if (e->be->blas == NULL) {
        return 0;
    }

    rc = 0;
    memset(&b, 0, sizeof(b));
    cu_blas_begin(e->be->blas);

    for (rows = 1; rows <= e->limits.seqs && rc == 0; rows = cu_bucket_graph(rows + 1)) {
        b.rows = rows;
        b.logits = rows < e->max_logits ? rows : e->max_logits;
        rc = cu_run(e, &b, e->copies, CU_TUNE);
    }

    for (rows = e->max_rows; rows > 64 && rc == 0; rows = cu_bucket(rows / 2)) {
        b.rows = rows;
        b.logits = e->max_logits != 0;
        rc = cu_run(e, &b, e->copies, CU_TUNE);
    }

    cu_blas_end(e->be->blas);

    if (rc == -EINVAL) {
        snprintf(err, K_ERR_MAX, "program: operation %u: cuBLASLt does not do its product",
                 e->running);
        return -ENOTSUP;
    }

    return rc;
}


static void *
cu_exec_piece(cu_layout_t *l, uint64_t n, uint64_t size)
{
    void *p;

    p = l->base != NULL ? l->base + l->at : NULL;
    l->at += (n * size + CU_ALIGN - 1) & ~(uint64_t) (CU_ALIGN - 1);

    return p;
}


static uint32_t
cu_exec_most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}
