/*
 * The public functions of gemm.h: choice of the ISA, the table of formats,
 * packing, row look-up, and the cut of a product into tiles of activations.
 * No state; threads as gemm.h says.
 */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "kernels/cpu/gemm_kernel.h"


static const k_format_t k_formats[] = {
    /* type, store, elements, bytes, off, subs, wide, min */
    {K_F32, K_PLAIN, 0, 4, 0, 0, 0, 0},
    {K_F16, K_PLAIN, 0, 2, 0, 0, 0, 0},
    {K_BF16, K_PLAIN, 0, 2, 0, 0, 0, 0},
    {K_Q4_0, K_NIBBLES, 1, 18, 8, 1, 0, 0},
    {K_Q4_1, K_NIBBLES, 1, 20, 0, 1, 0, 1},
    {K_Q5_0, K_BYTES, 1, 22, 0, 1, 0, 0},
    {K_Q5_1, K_BYTES, 1, 24, 0, 1, 0, 1},
    {K_Q8_0, K_BYTES, 1, 34, 0, 1, 0, 0},
    {K_Q4_K, K_NIBBLES, 8, 144, 0, 1, 1, 1},
    {K_Q5_K, K_BYTES, 8, 176, 0, 1, 1, 1},
    {K_Q6_K, K_BYTES, 8, 210, 0, 2, 1, 0},
};


static const k_gemm_ops_t *k_ops(k_isa_t isa);
static int64_t k_layout(const k_format_t *f, uint32_t lanes, uint32_t rows,
                        uint32_t cols, uint32_t *record, size_t *group);
static void    k_pack_plain(const k_matrix_t *w, const k_format_t *f,
                            const uint8_t *src, uint32_t row, uint32_t n);
static void    k_pack_group(const k_matrix_t *w, const k_format_t *f,
                            const uint8_t *src, uint32_t row, uint32_t n);
static void    k_pack_scale(uint8_t *dst, uint32_t i, uint32_t v, int wide);
static float   k_scale(const uint8_t *src, uint32_t i, int wide);
static void    k_row_plain(const k_matrix_t *w, uint32_t row, float *out);
static void    k_row_block(const k_matrix_t *w, const k_format_t *f,
                           const uint8_t *rec, uint32_t lane, float *out);


k_isa_t
k_isa_detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();

    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vnni")) {
        return K_ISA_AVX512;
    }

    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
        && __builtin_cpu_supports("f16c")) {
        return K_ISA_AVX2;
    }
#endif

    return K_ISA_SCALAR;
}


int
k_isa_resolve(k_isa_t want, k_isa_t *isa)
{
    k_isa_t best;

    best = k_isa_detect();

    if (want == K_ISA_AUTO) {
        *isa = best;
        return 0;
    }

    if (want < K_ISA_SCALAR || want > best) {
        return -ENOTSUP;
    }

    *isa = want;

    return 0;
}


const char *
k_isa_name(k_isa_t isa)
{
    switch (isa) {
    case K_ISA_AVX512:
        return "avx512";
    case K_ISA_AVX2:
        return "avx2";
    case K_ISA_SCALAR:
        return "scalar";
    default:
        return "auto";
    }
}


static const k_gemm_ops_t *
k_ops(k_isa_t isa)
{
#if defined(__x86_64__)
    if (isa == K_ISA_AVX512) {
        return &k_gemm_avx512;
    }

    if (isa == K_ISA_AVX2) {
        return &k_gemm_avx2;
    }
#endif

    return &k_gemm_scalar;
}


const k_format_t *
k_format(k_type_t type)
{
    size_t i;

    for (i = 0; i < sizeof(k_formats) / sizeof(k_formats[0]); i++) {
        if (k_formats[i].type == type) {
            return &k_formats[i];
        }
    }

    return NULL;
}


int
k_type_block(k_type_t type, uint32_t *elements, uint32_t *bytes)
{
    const k_format_t *f;

    f = k_format(type);
    if (f == NULL) {
        return -ENOTSUP;
    }

    *elements = f->elements ? f->elements * K_BLOCK : 1;
    *bytes = f->bytes;

    return 0;
}


/* Sizes of a record and a group; the whole in bytes. */

static int64_t
k_layout(const k_format_t *f, uint32_t lanes, uint32_t rows, uint32_t cols,
         uint32_t *record, size_t *group)
{
    size_t   n, blocks;
    uint32_t scale;

    if (rows == 0 || cols == 0
        || (f->elements && cols % (f->elements * K_BLOCK) != 0)) {
        return -EINVAL;
    }

    if (f->store == K_PLAIN) {
        *record = K_BLOCK * lanes * f->bytes;

    } else {
        scale = f->wide ? 4 : 2;
        *record =
            k_record_scales(f, lanes) + (f->subs + f->min) * lanes * scale;
    }

    blocks = ((size_t) cols + K_BLOCK - 1) / K_BLOCK;
    *group = (blocks * *record + K_ALIGN - 1) & ~(size_t) (K_ALIGN - 1);
    n = ((size_t) rows + lanes - 1) / lanes;

    if (n > INT64_MAX / *group) {
        return -EOVERFLOW;
    }

    return (int64_t) (n * *group);
}


int64_t
k_matrix_size(k_type_t type, k_isa_t isa, uint32_t rows, uint32_t cols)
{
    size_t            group;
    uint32_t          record;
    const k_format_t *f;

    f = k_format(type);
    if (f == NULL) {
        return -ENOTSUP;
    }

    return k_layout(f, k_ops(isa)->lanes, rows, cols, &record, &group);
}


int
k_matrix_init(k_matrix_t *w, k_type_t type, k_isa_t isa, uint32_t rows,
              uint32_t cols, void *mem)
{
    int64_t           size;
    const k_format_t *f;

    f = k_format(type);
    if (f == NULL) {
        return -ENOTSUP;
    }

    w->ops = k_ops(isa);
    w->data = mem;
    w->type = type;
    w->isa = w->ops->isa;
    w->rows = rows;
    w->cols = cols;
    w->lanes = w->ops->lanes;

    size = k_layout(f, w->lanes, rows, cols, &w->record, &w->group);

    return size < 0 ? (int) size : 0;
}


uint32_t
k_matrix_granule(const k_matrix_t *w)
{
    return w->lanes;
}


size_t
k_matrix_source_row(const k_matrix_t *w)
{
    const k_format_t *f;

    f = k_format(w->type);

    return (size_t) (f->elements ? w->cols / (f->elements * K_BLOCK) : w->cols)
           * f->bytes;
}


k_act_mode_t
k_matrix_mode(const k_matrix_t *w, k_act_mode_t mode)
{
    return k_format(w->type)->store == K_PLAIN ? K_ACT_F32 : mode;
}


void
k_matrix_pack(k_matrix_t *w, const void *src, uint32_t from, uint32_t to)
{
    size_t            bytes;
    uint32_t          row, n;
    const uint8_t    *p;
    const k_format_t *f;

    f = k_format(w->type);
    bytes = k_matrix_source_row(w);
    p = src;

    for (row = from; row < to; row += n) {
        n = to - row < w->lanes ? to - row : w->lanes;

        if (f->store == K_PLAIN) {
            k_pack_plain(w, f, p, row, n);
        } else {
            k_pack_group(w, f, p, row, n);
        }

        p += n * bytes;
    }
}


static void
k_pack_plain(const k_matrix_t *w, const k_format_t *f, const uint8_t *src,
             uint32_t row, uint32_t n)
{
    size_t         k, blocks;
    uint8_t       *dst;
    uint32_t       r, size;
    const uint8_t *p;

    dst = (uint8_t *) k_group(w, row);
    size = f->bytes;
    blocks = ((size_t) w->cols + K_BLOCK - 1) / K_BLOCK;

    if (n < w->lanes || w->cols % K_BLOCK != 0) {
        memset(dst, 0, blocks * w->record);
    }

    for (r = 0; r < n; r++) {
        p = src + (size_t) r * w->cols * size;

        for (k = 0; k < w->cols; k++) {
            if (size == 4) {
                memcpy(dst + (k * w->lanes + r) * 4, p + k * 4, 4);
            } else {
                memcpy(dst + (k * w->lanes + r) * 2, p + k * 2, 2);
            }
        }
    }
}


static void
k_pack_scale(uint8_t *dst, uint32_t i, uint32_t v, int wide)
{
    uint16_t h;

    if (wide) {
        memcpy(dst + i * 4, &v, 4);
        return;
    }

    h = (uint16_t) v;
    memcpy(dst + i * 2, &h, 2);
}


static void
k_pack_group(const k_matrix_t *w, const k_format_t *f, const uint8_t *src,
             uint32_t row, uint32_t n)
{
    size_t   b, blocks, per;
    uint8_t *rec, *scales;
    uint32_t r, v, i, words, bytes, word, flip;
    k_unit_t u;

    blocks = w->cols / K_BLOCK;
    per = f->elements;
    bytes = (uint32_t) k_matrix_source_row(w);
    words = f->store == K_NIBBLES ? 4 : 8;
    flip = f->store == K_BYTES && w->lanes == 16 ? 0x80808080 : 0;
    rec = (uint8_t *) k_group(w, row);

    memset(&u, 0, sizeof(u));

    for (b = 0; b < blocks; b++, rec += w->record) {
        scales = rec + k_record_scales(f, w->lanes);

        if (n < w->lanes) {
            memset(rec, 0, w->record);
        }

        for (r = 0; r < n; r++) {
            k_unit_read(f, src + (size_t) r * bytes + b / per * f->bytes,
                        b % per, &u);

            for (v = 0; v < words; v++) {
                memcpy(&word, u.v + v * 4, 4);
                word ^= flip;
                memcpy(rec + (v * w->lanes + r) * 4, &word, 4);
            }

            for (i = 0; i < f->subs; i++) {
                k_pack_scale(scales, i * w->lanes + r, u.scale[i], f->wide);
            }

            if (f->min) {
                k_pack_scale(scales, f->subs * w->lanes + r, u.min, f->wide);
            }
        }
    }
}


static float
k_scale(const uint8_t *src, uint32_t i, int wide)
{
    float    v;
    uint16_t h;

    if (wide) {
        memcpy(&v, src + i * 4, 4);
        return v;
    }

    memcpy(&h, src + i * 2, 2);

    return k_f16(h);
}


static void
k_row_plain(const k_matrix_t *w, uint32_t row, float *out)
{
    size_t         k;
    uint16_t       h;
    const uint8_t *p;

    p = k_group(w, row);
    row %= w->lanes;

    for (k = 0; k < w->cols; k++) {
        if (w->type == K_F32) {
            memcpy(&out[k], p + (k * w->lanes + row) * 4, 4);
            continue;
        }

        memcpy(&h, p + (k * w->lanes + row) * 2, 2);
        out[k] = w->type == K_F16 ? k_f16(h) : k_bf16(h);
    }
}


/* One record's 32 elements of a lane. */

static void
k_row_block(const k_matrix_t *w, const k_format_t *f, const uint8_t *rec,
            uint32_t lane, float *out)
{
    int            v;
    float          scale, min;
    uint8_t        byte, flip;
    uint32_t       i;
    const uint8_t *scales;

    scales = rec + k_record_scales(f, w->lanes);
    min = f->min ? k_scale(scales, f->subs * w->lanes + lane, f->wide) : 0;
    flip = w->lanes == 16 ? 0x80 : 0;

    for (i = 0; i < K_BLOCK; i++) {
        if (f->store == K_NIBBLES) {
            byte = rec[(i % 16 / 4 * w->lanes + lane) * 4 + i % 4];
            v = (i < 16 ? byte & 15 : byte >> 4) - f->off;

        } else {
            byte = rec[(i / 4 * w->lanes + lane) * 4 + i % 4];
            v = (int8_t) (byte ^ flip);
        }

        scale =
            k_scale(scales, i * f->subs / K_BLOCK * w->lanes + lane, f->wide);
        out[i] = scale * (float) v;

        if (f->min) {
            out[i] += min;
        }
    }
}


void
k_matrix_row(const k_matrix_t *w, uint32_t row, float *out)
{
    uint32_t          k;
    const uint8_t    *rec;
    const k_format_t *f;

    f = k_format(w->type);

    if (f->store == K_PLAIN) {
        k_row_plain(w, row, out);
        return;
    }

    rec = k_group(w, row);

    for (k = 0; k < w->cols; k += K_BLOCK) {
        k_row_block(w, f, rec, row % w->lanes, out + k);
        rec += w->record;
    }
}


size_t
k_act_size(uint32_t rows, uint32_t cols)
{
    return (size_t) rows * (((size_t) cols + K_BLOCK - 1) / K_BLOCK)
           * sizeof(k_q8_t);
}


void
k_act_init(k_act_t *a, k_act_mode_t mode, void *mem, uint32_t rows,
           uint32_t cols, const float *x, size_t ld)
{
    a->mode = mode;
    a->rows = rows;
    a->cols = cols;
    a->q = mem;
    a->x = x;
    a->ld = ld;

    /* a tile lies in the L2 cache while weights stream past */
    a->tile = cols <= 4096 ? K_TILE_MAX : cols <= 8192 ? 32 : 16;
}


void
k_act_quantize(const k_act_t *a, k_isa_t isa, uint32_t from, uint32_t to)
{
    if (a->mode == K_ACT_INT8 && a->cols % K_BLOCK == 0) {
        k_ops(isa)->quantize(a, from, to);
    }
}


void
k_gemm(const k_matrix_t *w, const k_act_t *a, uint32_t m_from, uint32_t m_to,
       uint32_t n_from, uint32_t n_to, float *out, size_t ld, const float *bias,
       unsigned flags)
{
    k_job_t      job;
    uint32_t     m, first, blocks;
    k_act_mode_t mode;

    mode = k_matrix_mode(w, a->mode);
    blocks = a->cols / K_BLOCK;

    job.w = w;
    job.n_from = n_from;
    job.n_to = n_to;
    job.ld = ld;
    job.bias = bias;
    job.flags = flags;
    job.x_ld = a->ld;

    for (m = m_from; m < m_to; m += job.m) {
        first = m - m % a->tile;

        /* rows of the whole tile, then those of them that are wanted */
        job.stride = a->rows - first < a->tile ? a->rows - first : a->tile;
        job.m = first + job.stride < m_to ? first + job.stride - m : m_to - m;
        job.q = a->q + (size_t) first * blocks + (m - first);
        job.x = a->x + m * a->ld;
        job.out = out + m * ld;

        if (mode == K_ACT_INT8) {
            w->ops->int8(&job);
        } else {
            w->ops->f32(&job);
        }
    }
}
