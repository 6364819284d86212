/*
 * The reference: matrix products in plain C, one element after the other.
 * It runs on any CPU, and what it gives is what every ISA must give, bit for
 * bit.  Called on any thread; no state, no memory of its own.
 */

#include <math.h>
#include <string.h>

#include "kernels/cpu/gemm_kernel.h"

#define K_SCALAR_LANES 8


static void  k_scalar_int8(const k_job_t *job);
static void  k_scalar_f32(const k_job_t *job);
static void  k_scalar_quantize(const k_act_t *a, uint32_t from, uint32_t to);
static void  k_scalar_block(const float *x, k_q8_t *q);
static float k_scalar_scale(const uint8_t *scales, uint32_t i, int wide);
static float k_scalar_record(const k_format_t *f, const uint8_t *rec,
                             uint32_t lane, const k_q8_t *q, float acc);
static int  k_scalar_dot(const k_format_t *f, const uint8_t *rec, uint32_t lane,
                         const int8_t *q, uint32_t from, uint32_t to);
static void k_scalar_store(const k_job_t *job, uint32_t m, uint32_t n,
                           float acc);


const k_gemm_ops_t k_gemm_scalar = {
    K_ISA_SCALAR, K_SCALAR_LANES,    k_scalar_int8,
    k_scalar_f32, k_scalar_quantize,
};


static void
k_scalar_store(const k_job_t *job, uint32_t m, uint32_t n, float acc)
{
    float *out;

    out = job->out + m * job->ld + n;

    if (job->bias) {
        acc += job->bias[n];
    }

    *out = job->flags & K_GEMM_ADD ? *out + acc : acc;
}


static float
k_scalar_scale(const uint8_t *scales, uint32_t i, int wide)
{
    float    v;
    uint16_t h;

    if (wide) {
        memcpy(&v, scales + i * 4, 4);
        return v;
    }

    memcpy(&h, scales + i * 2, 2);

    return k_f16(h);
}


/* Sum of stored[k] * q[k] over k in [from, to) of a record. */

static int
k_scalar_dot(const k_format_t *f, const uint8_t *rec, uint32_t lane,
             const int8_t *q, uint32_t from, uint32_t to)
{
    int      sum, v;
    uint8_t  byte;
    uint32_t i;

    sum = 0;

    for (i = from; i < to; i++) {
        if (f->store == K_NIBBLES) {
            byte = rec[(i % 16 / 4 * K_SCALAR_LANES + lane) * 4 + i % 4];
            v = i < 16 ? byte & 15 : byte >> 4;

        } else {
            v = (int8_t) rec[(i / 4 * K_SCALAR_LANES + lane) * 4 + i % 4];
        }

        sum += v * q[i];
    }

    return sum;
}


static float
k_scalar_record(const k_format_t *f, const uint8_t *rec, uint32_t lane,
                const k_q8_t *q, float acc)
{
    float          s, t, scale, min;
    uint32_t       i, n;
    const uint8_t *scales;

    scales = rec + k_record_scales(f, K_SCALAR_LANES);
    n = K_BLOCK / f->subs;

    for (i = 0; i < f->subs; i++) {
        /* all of these are integers below 2^24: exact */
        s = (float) k_scalar_dot(f, rec, lane, q->q, i * n, (i + 1) * n);
        s -= (float) f->off * q->sum;

        scale = k_scalar_scale(scales, i * K_SCALAR_LANES + lane, f->wide);

        if (f->min) {
            min = k_scalar_scale(scales, f->subs * K_SCALAR_LANES + lane,
                                 f->wide);
            t = fmaf(scale, s, min * q->sum);

        } else {
            t = scale * s;
        }

        acc = fmaf(t, q->d, acc);
    }

    return acc;
}


static void
k_scalar_int8(const k_job_t *job)
{
    float             acc;
    uint32_t          m, n, b, blocks;
    const uint8_t    *group;
    const k_format_t *f;

    f = k_format(job->w->type);
    blocks = job->w->cols / K_BLOCK;

    for (n = job->n_from; n < job->n_to; n++) {
        group = k_group(job->w, n);

        for (m = 0; m < job->m; m++) {
            acc = 0;

            for (b = 0; b < blocks; b++) {
                acc = k_scalar_record(f, group + (size_t) b * job->w->record,
                                      n % K_SCALAR_LANES,
                                      job->q + b * job->stride + m, acc);
            }

            k_scalar_store(job, m, n, acc);
        }
    }
}


/* Rows of w are dequantised in pieces, each used for all rows of x. */

static void
k_scalar_f32(const k_job_t *job)
{
    float          acc[K_TILE_MAX], w[K_BLOCK];
    uint32_t       m, n, k, i, size;
    k_matrix_t     piece;
    const uint8_t *rec;

    piece = *job->w;

    for (n = job->n_from; n < job->n_to; n++) {
        memset(acc, 0, sizeof(acc));
        rec = k_group(job->w, n);

        for (k = 0; k < job->w->cols; k += size) {
            size = job->w->cols - k < K_BLOCK ? job->w->cols - k : K_BLOCK;

            /* a matrix of one record */
            piece.data = (uint8_t *) rec;
            piece.cols = size;
            k_matrix_row(&piece, n % K_SCALAR_LANES, w);
            rec += piece.record;

            for (m = 0; m < job->m; m++) {
                for (i = 0; i < size; i++) {
                    acc[m] = fmaf(w[i], job->x[m * job->x_ld + k + i], acc[m]);
                }
            }
        }

        for (m = 0; m < job->m; m++) {
            k_scalar_store(job, m, n, acc[m]);
        }
    }
}


static void
k_scalar_block(const float *x, k_q8_t *q)
{
    int      i, v, half[2];
    float    inv, amax;
    uint32_t bits, max;

    /* as integers: falls in with vectors' order, and NaN is the largest */
    max = 0;

    for (i = 0; i < K_BLOCK; i++) {
        bits = k_bits_f32(x[i]) & 0x7fffffff;
        max = bits > max ? bits : max;
    }

    memset(q, 0, sizeof(*q));

    if (max >= 0x7f800000) {
        q->d = k_f32_bits(0x7fc00000);
        return;
    }

    amax = k_f32_bits(max);
    if (amax < K_AMAX_MIN) {
        return;
    }

    q->d = amax / 127.0f;
    inv = 127.0f / amax;
    half[0] = 0;
    half[1] = 0;

    for (i = 0; i < K_BLOCK; i++) {
        v = (int) lrintf(x[i] * inv);
        q->q[i] = (int8_t) v;
        half[i / 16] += v;
    }

    q->h[0] = (float) half[0];
    q->h[1] = (float) half[1];
    q->sum = q->h[0] + q->h[1];
}


static void
k_scalar_quantize(const k_act_t *a, uint32_t from, uint32_t to)
{
    k_q8_t      *q;
    uint32_t     m, b;
    const float *x;

    for (m = from; m < to; m++) {
        x = a->x + m * a->ld;

        for (b = 0; b < a->cols / K_BLOCK; b++) {
            q = k_act_at(a, m, b);
            k_scalar_block(x + b * K_BLOCK, q);
        }
    }
}
