/*
 * The public functions of gemm.h: choice of the ISA, the table of formats,
 * sizes, and the cut of a product into tiles of activations.
 * No state; threads as gemm.h says.
 */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "kernels/cpu/gemm_kernel.h"


static const k_format_t k_formats[] = {
    /* type, bytes, blocks, bits, off, d, min, sub, map */
    {K_F32, 4, 0, 0, 0, 0, 0, K_SUB_NONE, K_MAP_NONE},
    {K_F16, 2, 0, 0, 0, 0, 0, K_SUB_NONE, K_MAP_NONE},
    {K_BF16, 2, 0, 0, 0, 0, 0, K_SUB_NONE, K_MAP_NONE},
    {K_Q4_0, 18, 1, 4, 8, 2, 0, K_SUB_NONE, K_MAP_NONE},
    {K_Q4_1, 20, 1, 4, 0, 2, 1, K_SUB_NONE, K_MAP_NONE},
    {K_Q5_0, 22, 1, 5, 16, 2, 0, K_SUB_NONE, K_MAP_NONE},
    {K_Q5_1, 24, 1, 5, 0, 2, 1, K_SUB_NONE, K_MAP_NONE},
    {K_Q8_0, 34, 1, 8, 0, 2, 0, K_SUB_NONE, K_MAP_NONE},
    {K_Q2_K, 84, 8, 2, 0, 2, 1, K_SUB_PAIR, K_MAP_NONE},
    {K_Q3_K, 110, 8, 3, 4, 2, 0, K_SUB_TWO, K_MAP_NONE},
    {K_Q4_K, 144, 8, 4, 0, 2, 1, K_SUB_MIN, K_MAP_NONE},
    {K_Q5_K, 176, 8, 5, 0, 2, 1, K_SUB_MIN, K_MAP_NONE},
    {K_Q6_K, 210, 8, 6, 32, 2, 0, K_SUB_TWO, K_MAP_NONE},
    {K_IQ4_NL, 18, 1, 4, 0, 2, 0, K_SUB_NONE, K_MAP_IQ4},
    {K_IQ4_XS, 136, 8, 4, 0, 2, 0, K_SUB_ONE, K_MAP_IQ4},
    {K_MXFP4, 17, 1, 4, 0, 1, 0, K_SUB_NONE, K_MAP_MXFP4},
};

const int8_t k_map_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};

const int8_t k_map_mxfp4[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                0, -1, -2, -3, -4, -6, -8, -12};


static const k_gemm_ops_t *k_ops(k_isa_t isa);
static int64_t k_layout(const k_format_t *f, uint32_t lanes, uint32_t rows,
                        uint32_t cols, uint32_t *record, size_t *group);


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

    *elements = f->blocks ? f->blocks * K_BLOCK : 1u;
    *bytes = f->bytes;

    return 0;
}


/* Sizes of a record and a group; the whole in bytes. */

static int64_t
k_layout(const k_format_t *f, uint32_t lanes, uint32_t rows, uint32_t cols,
         uint32_t *record, size_t *group)
{
    size_t   n, records;
    uint32_t width;

    width = (f->blocks ? f->blocks : 1) * K_BLOCK;

    if (rows == 0 || cols == 0 || (f->blocks && cols % width != 0)) {
        return -EINVAL;
    }

    *record = f->blocks ? k_record_planes(f, lanes, f->blocks)
                        : K_BLOCK * lanes * f->bytes;

    records = ((size_t) cols + width - 1) / width;
    *group = (records * *record + K_ALIGN - 1) & ~(size_t) (K_ALIGN - 1);
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

    return (size_t) (f->blocks ? w->cols / (f->blocks * K_BLOCK) : w->cols)
           * f->bytes;
}


k_act_mode_t
k_matrix_mode(const k_matrix_t *w, k_act_mode_t mode)
{
    return k_format(w->type)->blocks == 0 ? K_ACT_F32 : mode;
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
