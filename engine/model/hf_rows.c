/*
 * Rows of a tensor that a folder is told as: gathered, turned or put together
 * from the shards' values when they are asked for; see hf_tensor_t.
 *
 * What stays of its type is copied; what becomes F32 is converted, FP8 times
 * its scale (both exact but for the product's rounding); MXFP4's blocks get
 * GGUF's order of nibbles.  Nothing is kept between calls.  Loader threads.
 */

#include <errno.h>
#include <math.h>
#include "engine/model/hf_priv.h"

#define MX_ELEMS 32
#define MX_BYTES 16 /* of a block in a shard */

/* Rows [row, row + n) of one expert, and where they go. */
typedef struct {
    const hf_tensor_t *t;
    const hf_src_t    *src;
    uint64_t           expert; /* in src; 0 if it has one only */
    uint64_t           row;
    uint64_t           n;
    uint8_t           *out;
} hf_part_t;

static void     part_copy(const hf_part_t *p, uint32_t size);
static void     part_turn(const hf_part_t *p, uint32_t size);
static void     part_floats(const hf_part_t *p);
static void     part_scaled(const hf_part_t *p);
static void     part_blocks(const hf_part_t *p);
static uint64_t part_first(const hf_part_t *p);
static uint64_t row_place(const hf_tensor_t *t, uint64_t row);
static float    value_read(const uint8_t *p, st_dtype_t t);
static float    value_f16(uint16_t h);
static float    value_e4m3(uint8_t v);
static float    value_bits(uint32_t bits);


int
hf_rows_read(void *ctx, size_t i, uint64_t row, uint64_t n, void *out)
{
    const hf_model_t  *m = ctx;
    const hf_tensor_t *t = m->tensors[i];
    const gguf_type_t *type = gguf_type(t->type);
    hf_part_t          p = {.t = t, .out = out};
    uint64_t           bytes, expert;
    st_dtype_t         dtype;

    if (t->values) {
        memcpy(out, t->values, t->cols * sizeof(float));
        return 0;
    }

    if (t->is_flat) {
        row *= t->rows;
        n *= t->rows;
    }

    bytes = t->cols * type->block_bytes / type->block_elems;
    dtype = t->src[0].t->dtype;

    for (; n > 0; row += p.n, n -= p.n, p.out += p.n * bytes) {
        expert = row / t->rows;
        p.row = row % t->rows;
        p.n = t->rows - p.row < n ? t->rows - p.row : n;
        p.src = &t->src[t->n_src > 1 ? expert : 0];
        p.expert = t->n_src > 1 ? 0 : expert;

        if (t->type == GGML_MXFP4) {
            part_blocks(&p);
        } else if (p.src->scale) {
            part_scaled(&p);
        } else if (t->type == GGML_F32 && (dtype != ST_F32 || t->add != 0)) {
            part_floats(&p);
        } else if (t->col_step == 1) {
            part_copy(&p, type->block_bytes);
        } else {
            part_turn(&p, type->block_bytes);
        }
    }

    return 0;
}


void
hf_rows_drop(void *ctx, size_t i)
{
    const hf_model_t  *m = ctx;
    const hf_tensor_t *t = m->tensors[i];
    uint32_t           k;

    for (k = 0; k < t->n_src; k++) {
        st_drop(t->src[k].file, t->src[k].t->data, t->src[k].t->size);
    }
}


bool
hf_rows_can(st_dtype_t t)
{
    return t == ST_F32 || t == ST_F16 || t == ST_BF16 || t == ST_F8_E8M0;
}


static void
part_copy(const hf_part_t *p, uint32_t size)
{
    const hf_tensor_t *t = p->t;
    uint64_t           r, at;

    for (r = 0; r < p->n; r++) {
        at = part_first(p) + row_place(t, p->row + r) * t->row_step;
        memcpy(p->out + r * t->cols * size, p->src->t->data + at * size,
               t->cols * size);
    }
}


/* Rows that lie across: column by column, for the cache's sake. */

static void
part_turn(const hf_part_t *p, uint32_t size)
{
    const hf_tensor_t *t = p->t;
    uint64_t           r, k, at, col;

    for (k = 0; k < t->cols; k++) {
        col = part_first(p) + k * t->col_step;

        for (r = 0; r < p->n; r++) {
            at = col + row_place(t, p->row + r) * t->row_step;
            memcpy(p->out + (r * t->cols + k) * size,
                   p->src->t->data + at * size, size);
        }
    }
}


static void
part_floats(const hf_part_t *p)
{
    const hf_tensor_t *t = p->t;
    const st_tensor_t *s = p->src->t;
    uint32_t           size = st_dtype_size(s->dtype);
    uint64_t           r, k, at;
    float              v;

    for (r = 0; r < p->n; r++) {
        at = part_first(p) + row_place(t, p->row + r) * t->row_step;

        for (k = 0; k < t->cols; k++) {
            v = value_read(s->data + (at + k * t->col_step) * size, s->dtype)
                + t->add;
            memcpy(p->out + (r * t->cols + k) * sizeof(v), &v, sizeof(v));
        }
    }
}


/* FP8 times its scale; col_step is 1, row_step the source's width. */

static void
part_scaled(const hf_part_t *p)
{
    const hf_tensor_t *t = p->t;
    const hf_src_t    *s = p->src;
    uint32_t           size = st_dtype_size(s->scale->dtype);
    uint64_t           r, k, row, at, scales, of = t->n_src > 1 ? 1 : t->n;
    float              table[256], scale = 0, v;

    for (k = 0; k < 256; k++) {
        table[k] = value_e4m3((uint8_t) k);
    }

    for (r = 0; r < p->n; r++) {
        row = t->first / t->row_step + row_place(t, p->row + r);
        at = p->expert * t->expert_step + row * t->row_step;
        scales = s->scale->elems == 1
                     ? 0
                     : p->expert * (s->scale->elems / of)
                           + row / s->scale_rows * s->scale_width;

        for (k = 0; k < t->cols; k++) {
            if (k % s->scale_cols == 0) {
                scale = value_read(s->scale->data
                                       + (scales + k / s->scale_cols) * size,
                                   s->scale->dtype);
            }

            v = table[s->t->data[at + k]] * scale;
            memcpy(p->out + (r * t->cols + k) * sizeof(v), &v, sizeof(v));
        }
    }
}


/*
 * MXFP4: a shard's byte i holds values 2i and 2i + 1, GGUF's i and i + 16;
 * the low half first in both.  The scale is the same byte.
 */

static void
part_blocks(const hf_part_t *p)
{
    const hf_tensor_t *t = p->t;
    const uint8_t     *src;
    uint64_t           r, b, at, n = t->cols / MX_ELEMS;
    uint8_t           *out = p->out;
    int                i;

    for (r = 0; r < p->n; r++) {
        at =
            (part_first(p) + row_place(t, p->row + r) * t->row_step) / MX_ELEMS;

        for (b = 0; b < n; b++) {
            src = p->src->t->data + (at + b) * MX_BYTES;
            *out++ = p->src->scale->data[at + b];

            for (i = 0; i < MX_BYTES / 2; i++) {
                *out++ = (uint8_t) ((src[i] & 15) | src[i + 8] << 4);
                *out++ = (uint8_t) (src[i] >> 4 | (src[i + 8] & 0xf0));
            }
        }
    }
}


static uint64_t
part_first(const hf_part_t *p)
{
    return p->t->first + p->expert * p->t->expert_step;
}


/*
 * GGUF's llama turns neighbours, the folders' turns the two halves of a head:
 * row 2i + h there is row i of half h here.
 */

static uint64_t
row_place(const hf_tensor_t *t, uint64_t row)
{
    uint64_t of, in;

    if (t->heads == 0) {
        return row;
    }

    of = t->rows / t->heads;
    in = row % of;

    return row - in + in % 2 * (of / 2) + in / 2;
}


static float
value_read(const uint8_t *p, st_dtype_t t)
{
    uint16_t h;
    float    f;

    switch (t) {
    case ST_F16:
        memcpy(&h, p, sizeof(h));
        return value_f16(h);

    case ST_BF16:
        memcpy(&h, p, sizeof(h));
        return value_bits((uint32_t) h << 16);

    case ST_F8_E8M0:
        return *p == 0xff ? NAN : ldexpf(1, *p - 127);

    default:
        memcpy(&f, p, sizeof(f));
        return f;
    }
}


static float
value_f16(uint16_t h)
{
    uint32_t sign = (uint32_t) (h & 0x8000) << 16, bits = h & 0x7fff;

    if (bits >= 0x7c00) {
        return value_bits(sign | 0x7f800000 | (bits & 0x3ff) << 13);
    }

    if (bits < 0x0400) {
        return (sign ? -1.0f : 1.0f) * (float) bits * 0x1p-24f;
    }

    return value_bits(sign | ((bits << 13) + 0x38000000));
}


/* 4 bits of exponent with bias 7, 3 of mantissa; no infinity, one NaN. */

static float
value_e4m3(uint8_t v)
{
    float    sign = v & 0x80 ? -1.0f : 1.0f;
    unsigned exp = v >> 3 & 15, frac = v & 7;

    if ((v & 0x7f) == 0x7f) {
        return NAN;
    }

    return sign
           * (exp == 0 ? ldexpf((float) frac, -9)
                       : ldexpf((float) (8 + frac), (int) exp - 10));
}


static float
value_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));

    return f;
}
