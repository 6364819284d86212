/*
 * The model of toy.h in double precision, without any of the backend's code.
 * Included by toy.h.
 */

#ifndef LLM_T_KERNELS_TOY_REFERENCE_H
#define LLM_T_KERNELS_TOY_REFERENCE_H

#include "t/kernels/toy.h"


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


/* act(g) * u */
static double
toy_act(k_fn_t fn, double g, double u)
{
    switch (fn) {
    case K_FN_SILU:
        return g / (1 + exp(-g)) * u;
    case K_FN_GELU_TANH:
        return 0.5 * g * (1 + tanh(sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)))
               * u;
    case K_FN_GELU_ERF:
        return 0.5 * g * (1 + erf(g / sqrt(2))) * u;
    case K_FN_SWIGLU_OAI:
        g = g > 7 ? 7 : g;
        u = u > 7 ? 7 : u < -7 ? -7 : u;
        return g / (1 + exp(-1.702 * g)) * (u + 1);
    }
    abort();
}


/* Matrix `first` of weight i and of its bias: rows times x. */
static void
toy_expert(const toy_t *t, const k_op_t *op, int i, uint32_t first,
           uint32_t rows, uint32_t cols, const double *x, double *out)
{
    double        sum;
    uint32_t      r, c;
    const double *w, *b;

    w = toy_f(t, op->w[i]) + (size_t) first * rows * cols;
    b = toy_f(t, op->bias[i]);

    for (r = 0; r < rows; r++) {
        sum = b != NULL ? b[(size_t) first * rows + r] : 0;
        for (c = 0; c < cols; c++) {
            sum += w[(size_t) r * cols + c] * x[c];
        }
        out[r] = sum;
    }
}


/* x += the experts' share; h: scratch. */
static void
toy_moe(const toy_t *t, const k_op_t *op, double *x, double *h)
{
    double  *r, *p, *g, *u, *y, *sum, all;
    uint32_t i, j, d, f, best, n, ids[TOY_EXPERTS_MAX];

    n = op->n_expert;
    d = t->conf.n_embd;
    f = op->n_ff;
    r = calloc(2 * (size_t) n + 2 * f + 2 * d, sizeof(double));
    p = r + n;
    g = p + n;
    u = g + f;
    y = u + f;
    sum = y + d;

    toy_norm(t, op->norm, op->eps, x, h, d);
    toy_expert(t, op, 0, 0, n, d, h, r);

    for (i = 0; i < n; i++) {
        p[i] = exp(r[i]);
    }
    all = 0;
    for (i = 0; i < n && op->gate == K_GATE_SOFTMAX; i++) {
        all += p[i];
    }
    for (j = 0; j < op->n_used; j++) {
        best = UINT32_MAX;
        for (i = 0; i < n; i++) {
            if (p[i] > 0 && (best == UINT32_MAX || r[i] > r[best])) {
                best = i;
            }
        }
        ids[j] = best;
        all += op->gate == K_GATE_SOFTMAX ? 0 : p[best];
        p[best] = -p[best]; /* taken */
    }

    for (j = 0; j < op->n_used; j++) {
        i = ids[j];
        toy_expert(t, op, 1, i, f, d, h, g);
        toy_expert(t, op, 2, i, f, d, h, u);
        for (best = 0; best < f; best++) {
            g[best] = toy_act(op->fn, g[best], u[best]);
        }
        toy_expert(t, op, 3, i, d, f, g, y);
        for (best = 0; best < d; best++) {
            sum[best] += -p[i] / all * (double) op->w_scale * y[best];
        }
    }

    if (op->post_norm != NULL) {
        toy_norm(t, op->post_norm, op->eps, sum, sum, d);
    }
    for (i = 0; i < d; i++) {
        x[i] += (double) op->scale * sum[i];
    }
    free(r);
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
    const double *sink;

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

                    sink = toy_f(t, op->sinks);
                    lo = op->window && i >= op->window ? i - op->window + 1 : 0;
                    m = sink != NULL ? sink[g] : -INFINITY;
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
                    sum = sink != NULL ? exp(sink[g] - m) : 0;
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
                    xi[d] += op->scale * h[d];
                }
                break;

            case K_OP_GATE_UP: {
                double *z =
                    x + (size_t) n * t->conf.n_embd + (size_t) i * t->conf.n_ff;
                toy_norm(t, op->norm, op->eps, xi, h, t->conf.n_embd);
                toy_matmul(t, op, 0, h, z);
                toy_matmul(t, op, 1, h, u);
                for (d = 0; d < t->conf.n_ff; d++) {
                    z[d] = toy_act(op->fn, z[d], u[d]);
                }
                break;
            }

            case K_OP_MOE:
                toy_moe(t, op, xi, h);
                break;

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

#endif /* LLM_T_KERNELS_TOY_REFERENCE_H */
