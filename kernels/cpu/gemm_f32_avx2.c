/*
 * Matrix products in f32 for AVX2: float formats, and any other with its
 * weights dequantised.  Sums are in the order of k, each in its own lane.
 * Called on any thread; no state.  See gemm_avx2.h.
 */

#include "kernels/cpu/gemm_avx2.h"

#define K_GROUPS 4 /* groups that are taken at once */
#define K_ROWS   3 /* rows of x that are */


static void k_avx2_f32_groups(const k_job_t *job, const k_format_t *f,
                              uint32_t n, uint32_t groups);
static int  k_avx2_f32_kinds(float *acc, const uint8_t *const *w, k_type_t kind,
                             const float *x, size_t x_ld, uint32_t size,
                             int n_rows, uint32_t n_groups);
static void k_avx2_unpack(const k_format_t *f, const uint8_t *rec, uint32_t b,
                          float *w);
static void k_avx2_scales(const k_format_t *f, const uint8_t *rec, uint32_t b,
                          __m256 *scale, __m256 *min);


/* Inputs k of 8 rows, out of floats of a kind. */

k_inline __m256
k_plain(const uint8_t *w, uint32_t k, const k_type_t kind)
{
    __m256i v;

    if (kind == K_F32) {
        return _mm256_loadu_ps((const float *) w + k * K_LANES);
    }

    if (kind == K_F16) {
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (w + k * 16)));
    }

    v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) (w + k * 16)));

    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}


/* Scales and minima of the halves of block b. */

static void
k_avx2_scales(const k_format_t *f, const uint8_t *rec, uint32_t b,
              __m256 *scale, __m256 *min)
{
    int            i;
    __m256         d, m;
    __m256i        v, w;
    const uint8_t *p;

    p = rec + k_record_sub(f, K_LANES, b);
    d = f->d == 1 ? k_exponents(rec) : k_halves(rec);
    m = f->min ? k_halves(rec + k_record_min(f, K_LANES)) : d;

    for (i = 0; i < 2; i++) {
        scale[i] = d;
        min[i] = m;

        switch (f->sub) {

        case K_SUB_MIN:
            v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) p));
            w = _mm256_cvtepu8_epi32(
                _mm_loadl_epi64((const __m128i *) (p + K_LANES)));
            break;

        case K_SUB_ONE:
            v = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *) p));
            w = v;
            break;

        case K_SUB_TWO:
            v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) p));
            v = _mm256_srai_epi32(i ? v : _mm256_slli_epi32(v, 16), 16);
            w = v;
            break;

        case K_SUB_PAIR:
            v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *) p));
            v = i ? _mm256_srli_epi32(v, 16) : v;
            w = _mm256_and_si256(_mm256_srli_epi32(v, 4),
                                 _mm256_set1_epi32(15));
            v = _mm256_and_si256(v, _mm256_set1_epi32(15));
            break;

        default:
            continue;
        }

        scale[i] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(v));
        min[i] = _mm256_mul_ps(m, _mm256_cvtepi32_ps(w));
    }
}


/* Block b of a record as floats: w[k * 8 + r]. */

static void
k_avx2_unpack(const k_format_t *f, const uint8_t *rec, uint32_t b, float *w)
{
    int            i;
    __m256         e, scale[2], min[2];
    __m256i        v, t, u[8];
    const uint8_t *p;

    if (f->type == K_F16) {
        for (i = 0; i < K_BLOCK; i++) {
            _mm256_store_ps(w + i * K_LANES, k_plain(rec, (uint32_t) i, K_F16));
        }

        return;
    }

    if (f->type == K_BF16) {
        for (i = 0; i < K_BLOCK; i++) {
            _mm256_store_ps(w + i * K_LANES,
                            k_plain(rec, (uint32_t) i, K_BF16));
        }

        return;
    }

    k_avx2_scales(f, rec, b, scale, min);
    p = rec + k_record_planes(f, K_LANES, b);

    switch (f->bits) {
    case 2:
        k_unpack(p, 2, u);
        break;
    case 3:
        k_unpack(p, 3, u);
        break;
    case 4:
        k_unpack(p, 4, u);
        break;
    case 5:
        k_unpack(p, 5, u);
        break;
    case 6:
        k_unpack(p, 6, u);
        break;
    default:
        k_unpack(p, 8, u);
        break;
    }

    t = k_table(f->map == K_MAP_IQ4 ? k_map_iq4 : k_map_mxfp4, 0);

    for (i = 0; i < K_BLOCK; i++) {
        v = u[i / 4];
        v = f->map ? _mm256_shuffle_epi8(t, v)
                   : _mm256_sub_epi8(v, _mm256_set1_epi8((char) f->off));
        v = _mm256_srai_epi32(_mm256_slli_epi32(v, 24 - i % 4 * 8), 24);
        e = _mm256_mul_ps(scale[i / 16], _mm256_cvtepi32_ps(v));

        if (f->min) {
            e = _mm256_add_ps(e, min[i / 16]);
        }

        _mm256_store_ps(w + i * K_LANES, e);
    }
}


/*
 * `rows` (1 .. K_ROWS) rows of x, `groups` groups of w, `size` inputs: enough
 * chains of sums at once to hide the latency of FMA, each in the order of k.
 */

k_inline void
k_f32_tile(float *acc, const uint8_t *const *w, const k_type_t kind,
           const float *x, size_t x_ld, uint32_t size, const int rows,
           const int groups)
{
    int      i, g;
    __m256   sum[K_ROWS][K_GROUPS], v, u[K_ROWS];
    uint32_t k;

#pragma GCC unroll 4
    for (i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (g = 0; g < groups; g++) {
            sum[i][g] = _mm256_load_ps(acc + (i * K_GROUPS + g) * K_LANES);
        }
    }

    for (k = 0; k < size; k++) {
#pragma GCC unroll 4
        for (i = 0; i < rows; i++) {
            u[i] = _mm256_broadcast_ss(x + i * x_ld + k);
        }

#pragma GCC unroll 4
        for (g = 0; g < groups; g++) {
            v = k_plain(w[g], k, kind);
#pragma GCC unroll 4
            for (i = 0; i < rows; i++) {
                sum[i][g] = _mm256_fmadd_ps(v, u[i], sum[i][g]);
            }
        }
    }

#pragma GCC unroll 4
    for (i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (g = 0; g < groups; g++) {
            _mm256_store_ps(acc + (i * K_GROUPS + g) * K_LANES, sum[i][g]);
        }
    }
}


/* The tile as constants: the compiler makes one of each. */

#define k_f32_case(rows, groups)                                               \
    do {                                                                       \
        if (kind == K_F32) {                                                   \
            k_f32_tile(acc, w, K_F32, x, x_ld, size, rows, groups);            \
        } else if (kind == K_F16) {                                            \
            k_f32_tile(acc, w, K_F16, x, x_ld, size, rows, groups);            \
        } else {                                                               \
            k_f32_tile(acc, w, K_BF16, x, x_ld, size, rows, groups);           \
        }                                                                      \
    } while (0)


/* Rows done, of the n_rows that there are. */

static int
k_avx2_f32_kinds(float *acc, const uint8_t *const *w, k_type_t kind,
                 const float *x, size_t x_ld, uint32_t size, int n_rows,
                 uint32_t n_groups)
{
    int rows;

    /* 4 as 2 and 2, not as 3 and 1 */
    rows = n_rows == 4 ? 2 : n_rows < K_ROWS ? n_rows : K_ROWS;

    if (n_groups == K_GROUPS && rows == 3) {
        k_f32_case(3, K_GROUPS);

    } else if (n_groups == K_GROUPS && rows == 2) {
        k_f32_case(2, K_GROUPS);

    } else if (n_groups == K_GROUPS) {
        k_f32_case(1, K_GROUPS);

    } else if (rows == 3) {
        k_f32_case(3, 1);

    } else if (rows == 2) {
        k_f32_case(2, 1);

    } else {
        k_f32_case(1, 1);
    }

    return rows;
}


static void
k_avx2_f32_groups(const k_job_t *job, const k_format_t *f, uint32_t n,
                  uint32_t groups)
{
    float    acc[K_TILE_MAX * K_GROUPS * K_LANES] __attribute__((aligned(32)));
    float    piece[K_GROUPS][K_BLOCK * K_LANES] __attribute__((aligned(32)));
    float   *p;
    size_t   at;
    uint32_t m, g, k, b, size, blocks, rows;
    const float   *x;
    k_type_t       kind;
    const uint8_t *w[K_GROUPS];

    /* few rows convert on the way, for many it is done once */
    kind = f->blocks == 0 && job->m <= 2 * K_ROWS ? f->type : K_F32;

    memset(acc, 0, job->m * K_GROUPS * K_LANES * sizeof(float));

    blocks = f->blocks ? f->blocks : 1;

    for (k = 0, at = 0, b = 0; k < job->w->cols; k += size) {
        size = job->w->cols - k < K_BLOCK ? job->w->cols - k : K_BLOCK;

        for (g = 0; g < groups; g++) {
            w[g] = k_group(job->w, n + g * K_LANES) + at;

            if (kind != f->type) {
                k_avx2_unpack(f, w[g], b, piece[g]);
                w[g] = (const uint8_t *) piece[g];
            }
        }

        for (m = 0; m < job->m; m += rows) {
            p = acc + m * K_GROUPS * K_LANES;
            x = job->x + m * job->x_ld + k;

            rows = (uint32_t) k_avx2_f32_kinds(p, w, kind, x, job->x_ld, size,
                                               (int) (job->m - m), groups);
        }

        if (++b == blocks) {
            b = 0;
            at += job->w->record;
        }
    }

    for (m = 0; m < job->m; m++) {
        for (g = 0; g < groups; g++) {
            k_store(job, m, n + g * K_LANES,
                    _mm256_load_ps(acc + (m * K_GROUPS + g) * K_LANES));
        }
    }
}


void
k_avx2_f32(const k_job_t *job)
{
    uint32_t          n, groups;
    const k_format_t *f;

    f = k_format(job->w->type);

    for (n = job->n_from; n < job->n_to; n += groups * K_LANES) {
        groups = n + K_GROUPS * K_LANES <= job->n_to ? K_GROUPS : 1;
        k_avx2_f32_groups(job, f, n, groups);
    }
}
