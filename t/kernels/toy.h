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
#define TOY_OPS_MAX     (2 + 5 * TOY_LAYERS_MAX)
#define TOY_WEIGHTS_MAX (4 + 16 * TOY_LAYERS_MAX)


typedef struct {
    uint32_t n_embd, n_layer, n_head, n_kv, head_dim, n_ff, n_vocab, n_rot;
    uint32_t window; /* of odd layers */
    k_type_t type;   /* of matrices */
    k_rope_t rope;
    k_fn_t   fn;
    float    attn_cap, logit_cap;
    int      bias, qk_norm, post_norm, tied;
    uint32_t seed;
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


static const k_weight_t *
toy_weight(toy_t *t, k_role_t role, k_type_t type, uint32_t rows, uint32_t cols,
           double mean, double dev)
{
    int           rc;
    char          err[K_ERR_MAX], name[32];
    size_t        i, n, at;
    uint8_t      *bytes;
    k_source_t    src;
    toy_weight_t *w;

    w = &t->weights[t->n_weights++];
    n = (size_t) rows * cols;
    w->rows = rows;
    w->cols = cols;
    w->f = malloc(n * sizeof(double));
    bytes = malloc(n * 4 + 64);
    if (w->f == NULL || bytes == NULL) {
        abort();
    }

    for (i = 0; i < n; i++) {
        w->f[i] = mean + dev * toy_normal(&t->rng);
    }
    at = 0;
    for (i = 0; i < rows; i++) {
        at += toy_quantise(type, w->f + i * cols, cols, bytes + at);
    }

    snprintf(name, sizeof(name), "toy.%u", t->n_weights);
    memset(&src, 0, sizeof(src));
    src.type = type;
    src.role = role;
    src.rows = rows;
    src.cols = cols;
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
toy_vector(toy_t *t, int present, uint32_t n, double mean, double dev)
{
    return present ? toy_weight(t, K_ROLE_VECTOR, K_F32, 1, n, mean, dev)
                   : NULL;
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
    op->rope = c->rope;
    op->inv_freq = t->inv_freq;
    op->rope_mul = 1.0f;
    op->n_rot = c->n_rot;

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_ATTN;
    op->layer = l;
    op->scale = (float) (1 / sqrt(c->head_dim));
    op->soft_cap = c->attn_cap;
    op->window = l % 2 ? c->window : 0;

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_OUT;
    op->layer = l;
    op->w[0] =
        toy_weight(t, K_ROLE_MATRIX, c->type, c->n_embd, q, 0, 0.5 / sqrt(q));
    op->bias[0] = toy_vector(t, c->bias, c->n_embd, 0, 0.1);
    op->post_norm = toy_vector(t, c->post_norm, c->n_embd, 0.5, 0.1);

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_GATE_UP;
    op->layer = l;
    op->norm = toy_vector(t, 1, c->n_embd, 1, 0.2);
    op->w[0] = toy_weight(t, K_ROLE_MATRIX, c->type, c->n_ff, c->n_embd, 0,
                          1 / sqrt(c->n_embd));
    op->w[1] = toy_weight(t, K_ROLE_MATRIX, c->type, c->n_ff, c->n_embd, 0,
                          1 / sqrt(c->n_embd));
    op->fn = c->fn;

    op = &t->op[t->prog.n_ops++];
    op->kind = K_OP_DOWN;
    op->layer = l;
    op->w[0] = toy_weight(t, K_ROLE_MATRIX, c->type, c->n_embd, c->n_ff, 0,
                          1 / sqrt(c->n_ff));
    op->post_norm = toy_vector(t, c->post_norm, c->n_embd, 0.5, 0.1);
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
    t->prog.n_ff = conf->n_ff;
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


/* ---- The same in double precision ---- */

static const double *
toy_f(const toy_t *t, const k_weight_t *w)
{
    uint32_t i;

    for (i = 0; w != NULL && i < t->n_weights; i++) {
        if (t->weights[i].w == w) {
            return t->weights[i].f;
        }
    }
    return NULL;
}


static void
toy_matmul(const toy_t *t, const k_op_t *op, int i, const double *x,
           double *out)
{
    double        sum;
    uint32_t      r, c, k;
    const double *w, *b;

    w = toy_f(t, op->w[i]);
    b = toy_f(t, op->bias[i]);
    for (k = 0; t->weights[k].w != op->w[i]; k++) {
        /* void */
    }

    for (r = 0; r < t->weights[k].rows; r++) {
        sum = b != NULL ? b[r] : 0;
        for (c = 0; c < t->weights[k].cols; c++) {
            sum += w[(size_t) r * t->weights[k].cols + c] * x[c];
        }
        out[r] = sum;
    }
}


static void
toy_norm(const toy_t *t, const k_weight_t *w, double eps, const double *x,
         double *out, uint32_t n)
{
    double        sum;
    uint32_t      i;
    const double *f;

    f = toy_f(t, w);
    sum = 0;
    for (i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    sum = 1 / sqrt(sum / n + eps);
    for (i = 0; i < n; i++) {
        out[i] = f != NULL ? x[i] * sum * f[i] : x[i];
    }
}


static void
toy_rotate(const k_op_t *op, double *x, uint32_t pos)
{
    double   a, b, s, c;
    uint32_t i, j, k;

    if (op->rope == K_ROPE_NONE) {
        return;
    }
    for (i = 0; i < op->n_rot / 2; i++) {
        j = op->rope == K_ROPE_PAIRS ? 2 * i : i;
        k = op->rope == K_ROPE_PAIRS ? 2 * i + 1 : i + op->n_rot / 2;
        s = sin((double) ((float) pos * op->inv_freq[i])) * op->rope_mul;
        c = cos((double) ((float) pos * op->inv_freq[i])) * op->rope_mul;
        a = x[j];
        b = x[k];
        x[j] = a * c - b * s;
        x[k] = a * s + b * c;
    }
}


static double
toy_act(k_fn_t fn, double x)
{
    switch (fn) {
    case K_FN_SILU:
        return x / (1 + exp(-x));
    case K_FN_GELU_TANH:
        return 0.5 * x
               * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    }
}


/*
 * Logits of every position: out[n][n_vocab]; the caller frees.  half: keys
 * and values are rounded to F16, as KV pages are but in the F32 mode.
 */
__attribute__((unused)) static double *
toy_reference(const toy_t *t, const int32_t *tokens, uint32_t n, int half)
{
    double       *x, *h, *q, *k, *v, *u, *a, *out, s, m, sum, *p, y;
    uint32_t      i, j, r, d, g, hd, qd, kd, lo, o, nl;
    const k_op_t *op;

    hd = t->conf.head_dim;
    qd = t->conf.n_head * hd;
    kd = t->conf.n_kv * hd;
    nl = t->conf.n_layer;
    r = t->conf.n_embd + qd + t->conf.n_ff;
    x = calloc((size_t) n * r, sizeof(double));
    h = calloc(r, sizeof(double));
    u = calloc(r, sizeof(double));
    q = calloc((size_t) n * qd, sizeof(double));
    k = calloc((size_t) n * kd * nl, sizeof(double));
    v = calloc((size_t) n * kd * nl, sizeof(double));
    a = calloc((size_t) n * qd, sizeof(double));
    p = calloc(n, sizeof(double));
    out = calloc((size_t) n * t->conf.n_vocab, sizeof(double));

    for (o = 0; o < t->prog.n_ops; o++) {
        op = &t->op[o];

        for (i = 0; i < n; i++) {
            double *xi = x + (size_t) i * t->conf.n_embd;

            switch (op->kind) {
            case K_OP_EMBED:
                for (d = 0; d < t->conf.n_embd; d++) {
                    xi[d] =
                        toy_f(t,
                              op->w[0])[(size_t) tokens[i] * t->conf.n_embd + d]
                        * op->scale;
                }
                break;

            case K_OP_QKV:
                toy_norm(t, op->norm, op->eps, xi, h, t->conf.n_embd);
                toy_matmul(t, op, 0, h, q + (size_t) i * qd);
                toy_matmul(t, op, 1, h, k + (size_t) i * kd);
                toy_matmul(t, op, 2, h, v + (size_t) i * kd);
                for (g = 0; g < t->conf.n_head; g++) {
                    double *z = q + (size_t) i * qd + g * hd;
                    if (op->norm_q != NULL) {
                        toy_norm(t, op->norm_q, op->eps, z, z, hd);
                    }
                    toy_rotate(op, z, i);
                }
                for (g = 0; g < t->conf.n_kv; g++) {
                    double *z = k + (size_t) i * kd + g * hd;
                    if (op->norm_k != NULL) {
                        toy_norm(t, op->norm_k, op->eps, z, z, hd);
                    }
                    toy_rotate(op, z, i);
                }
                for (d = 0; half && d < kd; d++) {
                    (void) toy_half(k[(size_t) i * kd + d],
                                    &k[(size_t) i * kd + d]);
                    (void) toy_half(v[(size_t) i * kd + d],
                                    &v[(size_t) i * kd + d]);
                }
                break;

            case K_OP_ATTN:
                for (g = 0; g < t->conf.n_head; g++) {
                    uint32_t kv = g / (t->conf.n_head / t->conf.n_kv);

                    lo = op->window && i >= op->window ? i - op->window + 1 : 0;
                    m = -INFINITY;
                    for (j = lo; j <= i; j++) {
                        s = 0;
                        for (d = 0; d < hd; d++) {
                            s += q[(size_t) i * qd + g * hd + d]
                                 * k[(size_t) j * kd + kv * hd + d];
                        }
                        s *= op->scale;
                        if (op->soft_cap != 0) {
                            s = op->soft_cap * tanh(s / op->soft_cap);
                        }
                        p[j] = s;
                        m = s > m ? s : m;
                    }
                    sum = 0;
                    for (j = lo; j <= i; j++) {
                        p[j] = exp(p[j] - m);
                        sum += p[j];
                    }
                    for (d = 0; d < hd; d++) {
                        y = 0;
                        for (j = lo; j <= i; j++) {
                            y += p[j] * v[(size_t) j * kd + kv * hd + d];
                        }
                        a[(size_t) i * qd + g * hd + d] = y / sum;
                    }
                }
                break;

            case K_OP_OUT:
            case K_OP_DOWN:
                toy_matmul(t, op, 0,
                           op->kind == K_OP_OUT
                               ? a + (size_t) i * qd
                               : x + (size_t) n * t->conf.n_embd
                                     + (size_t) i * t->conf.n_ff,
                           h);
                if (op->post_norm != NULL) {
                    toy_norm(t, op->post_norm, op->eps, h, h, t->conf.n_embd);
                }
                for (d = 0; d < t->conf.n_embd; d++) {
                    xi[d] += h[d];
                }
                break;

            case K_OP_GATE_UP: {
                double *z =
                    x + (size_t) n * t->conf.n_embd + (size_t) i * t->conf.n_ff;
                toy_norm(t, op->norm, op->eps, xi, h, t->conf.n_embd);
                toy_matmul(t, op, 0, h, z);
                toy_matmul(t, op, 1, h, u);
                for (d = 0; d < t->conf.n_ff; d++) {
                    z[d] = toy_act(op->fn, z[d]) * u[d];
                }
                break;
            }

            case K_OP_LOGITS: {
                double *z = out + (size_t) i * t->conf.n_vocab;
                toy_norm(t, op->norm, op->eps, xi, h, t->conf.n_embd);
                toy_matmul(t, op, 0, h, z);
                for (d = 0; d < t->conf.n_vocab; d++) {
                    z[d] *= op->scale;
                    if (op->soft_cap != 0) {
                        z[d] = op->soft_cap * tanh(z[d] / op->soft_cap);
                    }
                }
                break;
            }
            }
        }
    }

    free(x);
    free(h);
    free(u);
    free(q);
    free(k);
    free(v);
    free(a);
    free(p);

    return out;
}

#endif /* LLM_T_KERNELS_TOY_H */
