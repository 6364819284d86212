/*
 * A small random model for tests of backends, built through backend.h alone,
 * and the same model computed in double precision without any of the
 * backend's code.  One test thread uses it; toy_free() frees everything.
 */

#ifndef LLM_T_KERNELS_TOY_H
#define LLM_T_KERNELS_TOY_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"

#define TOY_LAYERS_MAX  4
#define TOY_EXPERTS_MAX 256
#define TOY_OPS_MAX     (2 + 5 * TOY_LAYERS_MAX)
#define TOY_WEIGHTS_MAX (4 + 24 * TOY_LAYERS_MAX)


typedef struct {
    uint32_t n_embd, n_layer, n_head, n_kv, head_dim, n_ff, n_vocab, n_rot;
    uint32_t window; /* of odd layers */
    k_type_t type;   /* of matrices */
    k_rope_t rope;
    k_fn_t   fn;
    float    attn_cap, logit_cap;
    int      bias, qk_norm, post_norm, tied;
    uint32_t seed;

    uint32_t n_expert, n_used; /* 0: dense layers */
    k_gate_t gate;
    uint32_t dense;    /* so many first layers are */
    int      bare;     /* no attention */
    int      sinks;    /* attention has them */
    int      nope;     /* odd layers do not rotate */
    float    residual; /* factor on what layers add; 0: 1 */
} toy_conf_t;

typedef struct {
    k_weight_t *w;
    double     *f; /* what the bytes mean, [rows][cols] */
    uint32_t    rows, cols;
} toy_weight_t;

typedef struct {
    toy_conf_t             conf;
    const k_backend_ops_t *ops;
    k_backend_t           *be;
    k_program_t            prog;
    k_op_t                 op[TOY_OPS_MAX];
    toy_weight_t           weights[TOY_WEIGHTS_MAX];
    uint32_t               n_weights;
    float                  inv_freq[256];
    uint32_t               rng;
} toy_t;


static uint32_t
toy_rand(uint32_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}


/* About normal: mean 0, deviation 1. */
static double
toy_normal(uint32_t *s)
{
    int    i;
    double x;

    x = 0;
    for (i = 0; i < 6; i++) {
        x += (double) toy_rand(s) / 4294967296.0 - 0.5;
    }
    return x * sqrt(2.0);
}


static uint16_t
toy_half(double x, double *back)
{
    int      e;
    double   m;
    uint16_t h;

    h = x < 0 ? 0x8000 : 0;
    m = frexp(fabs(x), &e);
    if (m == 0 || e < -13) {
        m = nearbyint(ldexp(fabs(x), 24));
        h |= (uint16_t) m;
        m = ldexp(m, -24);
    } else {
        m = nearbyint(ldexp(m, 11));
        h = (uint16_t) (h + (e + 13) * 1024 + (int) m);
        m = ldexp(m, e - 11);
    }
    if (back != NULL) {
        *back = x < 0 ? -m : m;
    }
    return h;
}


/* Quantises n values into the type's blocks; f becomes what they mean. */
static size_t
toy_quantise(k_type_t type, double *f, uint32_t n, uint8_t *out)
{
    int      q;
    float    x;
    double   max, min, d;
    size_t   at;
    uint16_t h;
    uint32_t i, b, v;

    at = 0;

    for (b = 0; b < n; b += 32) {
        if (type == K_F32 || type == K_F16 || type == K_BF16) {
            for (i = b; i < n && i < b + 32; i++) {
                if (type == K_F16) {
                    h = toy_half(f[i], &f[i]);
                    memcpy(out + at, &h, 2);
                    at += 2;
                    continue;
                }
                x = (float) f[i];
                if (type == K_BF16) {
                    memcpy(&v, &x, 4);
                    v &= 0xffff0000;
                    memcpy(&x, &v, 4);
                    h = (uint16_t) (v >> 16);
                    memcpy(out + at, &h, 2);
                    at += 2;
                } else {
                    memcpy(out + at, &x, 4);
                    at += 4;
                }
                f[i] = x;
            }
            continue;
        }

        max = min = f[b];
        for (i = b; i < b + 32; i++) {
            max = f[i] > max ? f[i] : max;
            min = f[i] < min ? f[i] : min;
        }

        switch (type) {
        case K_Q8_0:
            d = (max > -min ? max : -min) / 127;
            h = toy_half(d, &d);
            memcpy(out + at, &h, 2);
            for (i = 0; i < 32; i++) {
                q = (int) nearbyint(f[b + i] / (d > 0 ? d : 1));
                q = q > 127 ? 127 : q < -127 ? -127 : q;
                out[at + 2 + i] = (uint8_t) (int8_t) q;
                f[b + i] = d * q;
            }
            at += 34;
            break;

        case K_Q4_0:
        case K_Q4_1:
            d = type == K_Q4_1 ? (max - min) / 15
                               : (max > -min ? max : -min) / 7;
            h = toy_half(d, &d);
            memcpy(out + at, &h, 2);
            at += 2;
            if (type == K_Q4_1) {
                h = toy_half(min, &min);
                memcpy(out + at, &h, 2);
                at += 2;
            } else {
                min = -8 * d;
            }
            memset(out + at, 0, 16);
            for (i = 0; i < 32; i++) {
                q = (int) nearbyint((f[b + i] - min) / (d > 0 ? d : 1));
                q = q > 15 ? 15 : q < 0 ? 0 : q;
                out[at + i % 16] |= (uint8_t) (q << (i < 16 ? 0 : 4));
                f[b + i] = d * q + min;
            }
            at += 16;
            break;

        default:
            abort();
        }
    }

    return at;
}


/* Loads f, which becomes what the type's blocks mean; toy_free() frees it. */
static const k_weight_t *
toy_values(toy_t *t, k_role_t role, k_type_t type, uint32_t rows, uint32_t cols,
           double *f)
{
    int           rc;
    char          err[K_ERR_MAX], name[32];
    size_t        i, at;
    uint8_t      *bytes;
    k_source_t    src;
    toy_weight_t *w;

    w = &t->weights[t->n_weights++];
    w->rows = rows;
    w->cols = cols;
    w->f = f;
    bytes = malloc((size_t) rows * cols * 4 + 64);
    if (f == NULL || bytes == NULL) {
        abort();
    }

    at = 0;
    for (i = 0; i < rows; i++) {
        at += toy_quantise(type, f + i * cols, cols, bytes + at);
    }

    snprintf(name, sizeof(name), "toy.%u", t->n_weights);
    memset(&src, 0, sizeof(src));
    src.type = type;
    src.role = role;
    src.rows = rows;
    src.cols = cols;
    src.experts = role == K_ROLE_EXPERTS ? t->conf.n_expert : 0;
    src.data = bytes;
    src.name = name;

    rc = t->ops->weights_load(t->be, &src, &w->w, err);
    if (rc != 0) {
        printf("Bail out! weights_load: %s\n", err);
        exit(1);
    }
    free(bytes);

    return w->w;
}


static const k_weight_t *
toy_weight(toy_t *t, k_role_t role, k_type_t type, uint32_t rows, uint32_t cols,
           double mean, double dev)
{
    size_t  i, n;
    double *f;

    n = (size_t) rows * cols;
    f = malloc(n * sizeof(double));
    for (i = 0; f != NULL && i < n; i++) {
        f[i] = mean + dev * toy_normal(&t->rng);
    }

    return toy_values(t, role, type, rows, cols, f);
}


static const k_weight_t *
toy_vector(toy_t *t, int present, uint32_t n, double mean, double dev)
{
    return present ? toy_weight(t, K_ROLE_VECTOR, K_F32, 1, n, mean, dev)
                   : NULL;
}


static void
toy_moe_op(toy_t *t, uint32_t l)
{
    k_op_t           *op;
    uint32_t          n, d, f;
    double            dev;
    const toy_conf_t *c;

    c = &t->conf;
    n = c->n_expert;
    d = c->n_embd;
    f = c->n_ff;
    dev = 1 / sqrt(d);

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_MOE;
    op->layer = l;
    op->norm = toy_vector(t, 1, d, 1, 0.2);
    op->w[0] = toy_weight(t, K_ROLE_MATRIX, K_F32, n, d, 0, 2 * dev);
    op->w[1] = toy_weight(t, K_ROLE_EXPERTS, c->type, n * f, d, 0, dev);
    op->w[2] = toy_weight(t, K_ROLE_EXPERTS, c->type, n * f, d, 0, dev);
    op->w[3] = toy_weight(t, K_ROLE_EXPERTS, c->type, n * d, f, 0, 2 / sqrt(f));
    op->bias[0] = toy_vector(t, c->bias, n, 0, 0.3);
    if (c->bias) {
        op->bias[1] = toy_weight(t, K_ROLE_VECTORS, K_F32, n, f, 0, 0.3);
        op->bias[2] = toy_weight(t, K_ROLE_VECTORS, K_F32, n, f, 0, 0.3);
        op->bias[3] = toy_weight(t, K_ROLE_VECTORS, K_BF16, n, d, 0, 0.3);
    }
    op->post_norm = toy_vector(t, c->post_norm, d, 0.5, 0.1);
    op->fn = c->fn;
    op->gate = c->gate;
    op->n_expert = n;
    op->n_used = c->n_used;
    op->n_ff = f;
    op->w_scale = c->gate == K_GATE_SOFTMAX ? 1.5f : 1.0f;
    op->scale = c->residual;
}


static void
toy_ffn(toy_t *t, uint32_t l)
{
    k_op_t           *op;
    const toy_conf_t *c;

    c = &t->conf;

    if (c->n_expert != 0 && l >= c->dense) {
        toy_moe_op(t, l);
        return;
    }

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_GATE_UP;
    op->layer = l;
    op->norm = toy_vector(t, 1, c->n_embd, 1, 0.2);
    op->w[0] = toy_weight(t, K_ROLE_MATRIX, c->type, c->n_ff, c->n_embd, 0,
                          1 / sqrt(c->n_embd));
    op->w[1] = toy_weight(t, K_ROLE_MATRIX, c->type, c->n_ff, c->n_embd, 0,
                          1 / sqrt(c->n_embd));
    op->bias[0] = toy_vector(t, c->bias, c->n_ff, 0, 0.2);
    op->bias[1] = toy_vector(t, c->bias, c->n_ff, 0, 0.2);
    op->fn = c->fn;

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_DOWN;
    op->layer = l;
    op->w[0] = toy_weight(t, K_ROLE_MATRIX, c->type, c->n_embd, c->n_ff, 0,
                          1 / sqrt(c->n_ff));
    op->bias[0] = toy_vector(t, c->bias, c->n_embd, 0, 0.1);
    op->post_norm = toy_vector(t, c->post_norm, c->n_embd, 0.5, 0.1);
    op->scale = c->residual;
}


static void
toy_layer(toy_t *t, uint32_t l)
{
    k_op_t           *op;
    uint32_t          q, kv;
    const toy_conf_t *c;

    c = &t->conf;
    q = c->n_head * c->head_dim;
    kv = c->n_kv * c->head_dim;

    if (c->bare) {
        toy_ffn(t, l);
        return;
    }

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_QKV;
    op->layer = l;
    op->norm = toy_vector(t, 1, c->n_embd, 1, 0.2);
    op->w[0] = toy_weight(t, K_ROLE_MATRIX, c->type, q, c->n_embd, 0,
                          2 / sqrt(c->n_embd));
    op->w[1] = toy_weight(t, K_ROLE_MATRIX, c->type, kv, c->n_embd, 0,
                          2 / sqrt(c->n_embd));
    op->w[2] = toy_weight(t, K_ROLE_MATRIX, c->type, kv, c->n_embd, 0,
                          1 / sqrt(c->n_embd));
    op->bias[0] = toy_vector(t, c->bias, q, 0, 0.3);
    op->bias[1] = toy_vector(t, c->bias, kv, 0, 0.3);
    op->bias[2] = toy_vector(t, c->bias, kv, 0, 0.3);
    op->norm_q = toy_vector(t, c->qk_norm, c->head_dim, 1, 0.2);
    op->norm_k = toy_vector(t, c->qk_norm, c->head_dim, 1, 0.2);
    op->rope = c->nope && l % 2 ? K_ROPE_NONE : c->rope;
    op->inv_freq = t->inv_freq;
    op->rope_mul = 1.0f;
    op->n_rot = c->n_rot;

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_ATTN;
    op->layer = l;
    op->scale = (float) (1 / sqrt(c->head_dim));
    op->soft_cap = c->attn_cap;
    op->window = l % 2 ? c->window : 0;
    op->sinks = toy_vector(t, c->sinks, c->n_head, 1, 2);

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_OUT;
    op->layer = l;
    op->w[0] =
        toy_weight(t, K_ROLE_MATRIX, c->type, c->n_embd, q, 0, 0.5 / sqrt(q));
    op->bias[0] = toy_vector(t, c->bias, c->n_embd, 0, 0.1);
    op->post_norm = toy_vector(t, c->post_norm, c->n_embd, 0.5, 0.1);
    op->scale = c->residual;

    toy_ffn(t, l);
}


/* Loads the model into an opened backend. */
__attribute__((unused)) static void
toy_make(toy_t *t, const k_backend_ops_t *ops, k_backend_t *be,
         const toy_conf_t *conf)
{
    k_op_t           *op;
    uint32_t          i;
    const k_weight_t *embed;

    memset(t, 0, sizeof(*t));
    t->conf = *conf;
    t->ops = ops;
    t->be = be;
    t->rng = conf->seed * 2654435761u + 1;

    for (i = 0; i < conf->n_rot / 2; i++) {
        t->inv_freq[i] = (float) pow(10000, -2.0 * i / conf->n_rot);
    }

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_EMBED;
    embed = toy_weight(t, conf->tied ? K_ROLE_EMBED_LOGITS : K_ROLE_EMBED,
                       conf->type, conf->n_vocab, conf->n_embd, 0, 1);
    op->w[0] = embed;
    op->scale = 1.0f;

    for (i = 0; i < conf->n_layer; i++) {
        toy_layer(t, i);
    }

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_LOGITS;
    op->norm = toy_vector(t, 1, conf->n_embd, 1, 0.2);
    op->w[0] = conf->tied ? embed
                          : toy_weight(t, K_ROLE_LOGITS, conf->type,
                                       conf->n_vocab, conf->n_embd, 0, 1);
    op->scale = 0.2f;
    op->soft_cap = conf->logit_cap;

    for (i = 0; i < t->prog.n_ops; i++) {
        t->op[i].eps = 1e-5f;
        if (t->op[i].scale == 0) {
            t->op[i].scale = 1.0f;
        }
    }

    t->prog.n_embd = conf->n_embd;
    t->prog.n_layer = conf->n_layer;
    t->prog.n_head = conf->n_head;
    t->prog.n_kv = conf->n_kv;
    t->prog.head_dim = conf->head_dim;
    t->prog.n_ff = conf->n_expert && conf->dense == 0 ? 0 : conf->n_ff;
    t->prog.n_vocab = conf->n_vocab;
    t->prog.ops = t->op;
}


__attribute__((unused)) static void
toy_free(toy_t *t)
{
    uint32_t i;

    for (i = 0; i < t->n_weights; i++) {
        t->ops->weights_free(t->be, t->weights[i].w);
        free(t->weights[i].f);
    }
}


#include "t/kernels/toy_reference.h"

#endif /* LLM_T_KERNELS_TOY_H */
