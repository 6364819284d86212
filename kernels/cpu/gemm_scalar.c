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
static float k_scalar_step(const k_format_t *f, const k_block_t *u,
                           const k_q8_t *x, float acc);
static void  k_scalar_store(const k_job_t *job, uint32_t m, uint32_t n,
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


/* acc + the product of a block with one row of x: as gemm_kernel.h says. */

static float
k_scalar_step(const k_format_t *f, const k_block_t *u, const k_q8_t *x,
              float acc)
{
    int      s[2], m;
    uint32_t i;

    s[0] = 0;
    s[1] = 0;

    for (i = 0; i < K_BLOCK; i++) {
        s[i / 16] += u->q[i] * x->q[i];
    }

    /* s and m are integers below 2^24 */

    if (f->sub == K_SUB_TWO || f->sub == K_SUB_PAIR) {
        s[0] = u->sub[0] * s[0] + u->sub[1] * s[1];
        m = u->min[0] * x->h[0] + u->min[1] * x->h[1];
        acc = f->min ? fmaf((float) m, u->m * x->d, acc) : acc;

        return fmaf((float) s[0], u->d * x->d, acc);
    }

    /* sub scales and minima are 1 if there are none */
    acc = f->min ? fmaf(u->m * (float) u->min[0], x->dsum, acc) : acc;

    return fmaf((float) (s[0] + s[1]), u->d * (float) u->sub[0] * x->d, acc);
}


static void
k_scalar_int8(const k_job_t *job)
{
    float             acc[K_TILE_MAX];
    uint32_t          m, n, i, b, records;
    k_block_t         u;
    const k_q8_t     *x;
    const uint8_t    *rec;
    const k_format_t *f;

    f = k_format(job->w->type);
    records = job->w->cols / K_BLOCK / f->blocks;

    for (n = job->n_from; n < job->n_to; n++) {
        rec = k_group(job->w, n);
        x = job->q;
        memset(acc, 0, sizeof(acc));

        for (i = 0; i < records; i++, rec += job->w->record) {
            for (b = 0; b < f->blocks; b++, x += job->stride) {
                k_block_read(f, job->w->lanes, rec, b, n % job->w->lanes, &u);

                for (m = 0; m < job->m; m++) {
                    acc[m] = k_scalar_step(f, &u, x + m, acc[m]);
                }
            }
        }

        for (m = 0; m < job->m; m++) {
            k_scalar_store(job, m, n, acc[m]);
        }
    }
}


/* Rows of w are dequantised in pieces, each used for all rows of x. */

static void
k_scalar_f32(const k_job_t *job)
{
    float             acc[K_TILE_MAX], w[8 * K_BLOCK];
    uint32_t          m, n, k, i, size, width;
    k_matrix_t        piece;
    const uint8_t    *rec;
    const k_format_t *f;

    f = k_format(job->w->type);
    width = (f->blocks ? f->blocks : 1u) * K_BLOCK;
    piece = *job->w;

    for (n = job->n_from; n < job->n_to; n++) {
        memset(acc, 0, sizeof(acc));
        rec = k_group(job->w, n);

        for (k = 0; k < job->w->cols; k += size) {
            size = job->w->cols - k < width ? job->w->cols - k : width;

            /* a matrix of one record */
            piece.data = (uint8_t *) rec;
            piece.cols = size;
            k_matrix_row(&piece, n % piece.lanes, w);
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

    q->h[0] = (int16_t) half[0];
    q->h[1] = (int16_t) half[1];
    q->sum8 = 8 * (half[0] + half[1]);
    q->dsum = q->d * (float) (half[0] + half[1]);
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
