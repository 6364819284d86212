/*
 * Matrix products for AVX2 and FMA: 8 rows of w in the lanes.
 *
 * A block of 8 rows x 32 inputs is unpacked once into registers (8 vectors of
 * unsigned bytes) and meets every row of the activation tile in turn, so that
 * the price of unpacking is shared and any number of rows takes the same way.
 * VPMADDUBSW's pairs are added up in 16 bits as far as they cannot overflow:
 * 8 times for 4-bit weights, 4 times for 5, 2 times for 6; 8-bit weights are
 * split into two planes of 4 bits.
 *
 * Called on any thread; no state.  Accumulators of a tile lie on the stack.
 */

#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/gemm_kernel.h"

#define K_LANES  8
#define K_AHEAD  8192 /* bytes: how far one row of x prefetches w */
#define K_GROUPS 4    /* groups that the f32 product takes at once */
#define k_inline static inline __attribute__((always_inline))


/* A format as a constant, by which the compiler makes its kernel. */
typedef struct {
    k_store_t store;
    int       add;   /* to stored bytes, so that they are unsigned */
    int       off;   /* then subtracted again: off * sum of q */
    int       flush; /* products that fit into 16 bits */
    int       subs;
    int       wide;
    int       min;
    int       full; /* 8-bit: two planes */
} k_shape_t;

typedef struct {
    __m256i u[16]; /* 8; low and high planes by turns if full */
    __m256  scale[2];
    __m256  min;
} k_regs_t;


static void k_avx2_int8(const k_job_t *job);
static void k_avx2_f32(const k_job_t *job);
static void k_avx2_quantize(const k_act_t *a, uint32_t from, uint32_t to);
static void k_avx2_block(const float *x, k_q8_t *q);
static void k_avx2_f32_groups(const k_job_t *job, const k_format_t *f,
                              uint32_t n, uint32_t groups);
static void k_avx2_f32_kinds(float *acc, const uint8_t *const *w, k_type_t kind,
                             const float *x, size_t x_ld, uint32_t size,
                             int n_rows, uint32_t n_groups);
static void k_avx2_unpack(const k_format_t *f, const uint8_t *rec, float *w);


const k_gemm_ops_t k_gemm_avx2 = {
    K_ISA_AVX2, K_LANES, k_avx2_int8, k_avx2_f32, k_avx2_quantize,
};


/*
 * Keeps GCC from turning a chain of sums into a tree: that would need more
 * registers than there are.
 */
#define k_in_order(v) __asm__("" : "+x"(v))


k_inline __m256i
k_bytes4(const int8_t *q)
{
    int v;

    memcpy(&v, q, 4);

    return _mm256_set1_epi32(v);
}


k_inline __m256
k_scales(const uint8_t *p, int i, int wide)
{
    if (wide) {
        return _mm256_loadu_ps((const float *) (p + i * 32));
    }

    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (p + i * 16)));
}


/*
 * A record that follows soon: the matrix is read from front to back, across
 * the ends of groups, but the CPU's own prefetcher stops at each page.
 */

k_inline void
k_prefetch(const uint8_t *rec, uint32_t size)
{
    uint32_t i;

    for (i = 0; i < size; i += 64) {
        _mm_prefetch((const char *) rec + K_AHEAD + i, _MM_HINT_T0);
    }
}


/* Writes up to 8 outputs of row m from n on. */

k_inline void
k_store(const k_job_t *job, uint32_t m, uint32_t n, __m256 acc)
{
    float   *out, tmp[K_LANES];
    uint32_t i;

    out = job->out + m * job->ld + n;

    if (n + K_LANES <= job->n_to) {
        if (job->bias) {
            acc = _mm256_add_ps(acc, _mm256_loadu_ps(job->bias + n));
        }

        if (job->flags & K_GEMM_ADD) {
            acc = _mm256_add_ps(_mm256_loadu_ps(out), acc);
        }

        _mm256_storeu_ps(out, acc);
        return;
    }

    _mm256_storeu_ps(tmp, acc);

    for (i = 0; i < job->n_to - n; i++) {
        if (job->bias) {
            tmp[i] += job->bias[n + i];
        }

        out[i] = job->flags & K_GEMM_ADD ? out[i] + tmp[i] : tmp[i];
    }
}


k_inline void
k_load(const uint8_t *rec, const k_shape_t s, k_regs_t *r)
{
    int            i;
    __m256i        v, low;
    const uint8_t *p;

    low = _mm256_set1_epi8(15);
    p = rec + (s.store == K_NIBBLES ? 16 : 32) * K_LANES;

#pragma GCC unroll 8
    for (i = 0; i < 8; i++) {
        if (s.store == K_NIBBLES) {
            v = _mm256_loadu_si256((const __m256i *) (rec + i % 4 * 32));
            v = i < 4 ? v : _mm256_srli_epi16(v, 4);
            r->u[i] = _mm256_and_si256(v, low);
            continue;
        }

        v = _mm256_loadu_si256((const __m256i *) (rec + i * 32));

        if (s.add) {
            v = _mm256_add_epi8(v, _mm256_set1_epi8((char) s.add));
        }

        if (s.full) {
            r->u[i * 2] = _mm256_and_si256(v, low);
            r->u[i * 2 + 1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);

        } else {
            r->u[i] = v;
        }
    }

    r->scale[0] = k_scales(p, 0, s.wide);

    if (s.subs == 2) {
        r->scale[1] = k_scales(p, 1, s.wide);
    }

    if (s.min) {
        r->min = k_scales(p, s.subs, s.wide);
    }
}


/*
 * u[from .. from + n) times q: 8 sums.  Two chains of n / 2 products, which
 * fit into 16 bits; together too, if `flush` is n.
 */

k_inline __m256i
k_dot(const __m256i *u, const int8_t *q, int from, int n, int flush)
{
    int     i, half;
    __m256i a, b, ones;

    ones = _mm256_set1_epi16(1);
    half = n / 2;
    u += from;
    q += from * 4;
    a = _mm256_maddubs_epi16(u[0], k_bytes4(q));
    b = _mm256_maddubs_epi16(u[half], k_bytes4(q + half * 4));

#pragma GCC unroll 8
    for (i = 1; i < half; i++) {
        a = _mm256_add_epi16(a,
                             _mm256_maddubs_epi16(u[i], k_bytes4(q + i * 4)));
        k_in_order(a);
        b = _mm256_add_epi16(
            b, _mm256_maddubs_epi16(u[half + i], k_bytes4(q + (half + i) * 4)));
        k_in_order(b);
    }

    if (flush >= n) {
        return _mm256_madd_epi16(_mm256_add_epi16(a, b), ones);
    }

    return _mm256_add_epi32(_mm256_madd_epi16(a, ones),
                            _mm256_madd_epi16(b, ones));
}


/* acc + the sums `dot` of part i of a block, scaled. */

k_inline __m256
k_scaled(const k_regs_t *r, const k_shape_t s, int i, __m256i dot,
         const k_q8_t *q, __m256 acc)
{
    __m256 t, sum;

    t = _mm256_cvtepi32_ps(dot);
    sum = _mm256_broadcast_ss(s.subs == 2 ? &q->h[i] : &q->sum);

    if (s.off) {
        /* exact: integers below 2^24 */
        t = _mm256_fnmadd_ps(_mm256_set1_ps((float) s.off), sum, t);
    }

    t = s.min ? _mm256_fmadd_ps(r->scale[i], t, _mm256_mul_ps(r->min, sum))
              : _mm256_mul_ps(r->scale[i], t);

    return _mm256_fmadd_ps(t, _mm256_broadcast_ss(&q->d), acc);
}


/* acc + the product of one block with one row of x. */

k_inline __m256
k_step(const k_regs_t *r, const k_shape_t s, const k_q8_t *q, __m256 acc)
{
    int i, n;

    n = 8 / s.subs;

#pragma GCC unroll 2
    for (i = 0; i < s.subs; i++) {
        acc = k_scaled(r, s, i, k_dot(r->u, q->q, i * n, n, s.flush), q, acc);
    }

    return acc;
}


/*
 * 8-bit weights in two planes of 4 bits, `rows` rows of x at once.  16
 * vectors of weights are too many for the registers: they come from memory,
 * each once for all of the rows.
 */

k_inline void
k_planes(const k_regs_t *r, const k_shape_t s, const k_q8_t *q, float *acc,
         const int rows)
{
    int     i, j;
    __m256i low[4], high[4], x, l, h;

    /* GCC would keep some of u, and spill what is needed more */
    __asm__ volatile("" : : "r"(r->u) : "memory");

#pragma GCC unroll 8
    for (i = 0; i < 8; i++) {
        l = r->u[i * 2];
        h = r->u[i * 2 + 1];

#pragma GCC unroll 4
        for (j = 0; j < rows; j++) {
            x = k_bytes4(q[j].q + i * 4);

            if (i == 0) {
                low[j] = _mm256_maddubs_epi16(l, x);
                high[j] = _mm256_maddubs_epi16(h, x);

            } else {
                low[j] = _mm256_add_epi16(low[j], _mm256_maddubs_epi16(l, x));
                high[j] = _mm256_add_epi16(high[j], _mm256_maddubs_epi16(h, x));
            }

            k_in_order(low[j]);
            k_in_order(high[j]);
        }
    }

#pragma GCC unroll 4
    for (j = 0; j < rows; j++) {
        low[j] = _mm256_madd_epi16(low[j], _mm256_set1_epi16(1));
        high[j] = _mm256_madd_epi16(high[j], _mm256_set1_epi16(16));
        low[j] = _mm256_add_epi32(low[j], high[j]);

        _mm256_store_ps(acc + j * K_LANES,
                        k_scaled(r, s, 0, low[j], q + j,
                                 _mm256_load_ps(acc + j * K_LANES)));
    }
}


k_inline void
k_block(const k_job_t *job, const k_shape_t s, const uint8_t *rec,
        const k_q8_t *q, float *acc)
{
    float   *p;
    uint32_t m;
    k_regs_t r;

    k_load(rec, s, &r);

    if (!s.full) {
#pragma GCC unroll 4
        for (p = acc; p < acc + job->m * K_LANES; p += K_LANES) {
            _mm256_store_ps(p, k_step(&r, s, q++, _mm256_load_ps(p)));
        }

        return;
    }

    for (m = 0; m + 4 <= job->m; m += 4) {
        k_planes(&r, s, q + m, acc + m * K_LANES, 4);
    }

    for (; m < job->m; m++) {
        k_planes(&r, s, q + m, acc + m * K_LANES, 1);
    }
}


k_inline void
k_many(const k_job_t *job, const k_shape_t s)
{
    float          acc[K_TILE_MAX * K_LANES] __attribute__((aligned(32)));
    uint32_t       n, m, b, blocks;
    const uint8_t *rec;

    blocks = job->w->cols / K_BLOCK;

    for (n = job->n_from; n < job->n_to; n += K_LANES) {
        rec = k_group(job->w, n);
        memset(acc, 0, job->m * K_LANES * sizeof(float));

        for (b = 0; b < blocks; b++) {
            k_block(job, s, rec, job->q + b * job->stride, acc);
            rec += job->w->record;
        }

        for (m = 0; m < job->m; m++) {
            k_store(job, m, n, _mm256_load_ps(acc + m * K_LANES));
        }
    }
}


/* One row: the accumulator stays in its register. */

k_inline void
k_one(const k_job_t *job, const k_shape_t s)
{
    __m256         acc;
    uint32_t       n, b, blocks;
    k_regs_t       r;
    const k_q8_t  *q;
    const uint8_t *rec;

    blocks = job->w->cols / K_BLOCK;

    for (n = job->n_from; n < job->n_to; n += K_LANES) {
        rec = k_group(job->w, n);
        acc = _mm256_setzero_ps();
        q = job->q;

        for (b = 0; b < blocks; b++) {
            k_prefetch(rec, job->w->record);
            k_load(rec, s, &r);
            acc = k_step(&r, s, q, acc);
            rec += job->w->record;
            q += job->stride;
        }

        k_store(job, 0, n, acc);
    }
}


/*
 * One row, 8-bit weights: x takes the sign of w, and |w| is unsigned.  Less
 * work than two planes where nothing is shared.
 */

static void
k_one_full(const k_job_t *job)
{
    int            i;
    __m256         acc, t;
    __m256i        v, x, sum, ones;
    uint32_t       n, b, blocks;
    const k_q8_t  *q;
    const uint8_t *rec;

    ones = _mm256_set1_epi16(1);
    blocks = job->w->cols / K_BLOCK;

    for (n = job->n_from; n < job->n_to; n += K_LANES) {
        rec = k_group(job->w, n);
        acc = _mm256_setzero_ps();
        q = job->q;

        for (b = 0; b < blocks; b++) {
            sum = _mm256_setzero_si256();
            k_prefetch(rec, job->w->record);

#pragma GCC unroll 8
            for (i = 0; i < 8; i++) {
                v = _mm256_loadu_si256((const __m256i *) (rec + i * 32));
                x = _mm256_sign_epi8(k_bytes4(q->q + i * 4), v);
                x = _mm256_maddubs_epi16(_mm256_abs_epi8(v), x);
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, ones));
            }

            t = _mm256_mul_ps(k_scales(rec + 32 * K_LANES, 0, 0),
                              _mm256_cvtepi32_ps(sum));
            acc = _mm256_fmadd_ps(t, _mm256_broadcast_ss(&q->d), acc);
            rec += job->w->record;
            q += job->stride;
        }

        k_store(job, 0, n, acc);
    }
}


#define k_avx2_kernel(name, ...)                                               \
    static void k_avx2_##name(const k_job_t *job)                              \
    {                                                                          \
        const k_shape_t s = {__VA_ARGS__};                                     \
                                                                               \
        if (job->m == 1) {                                                     \
            k_one(job, s);                                                     \
        } else {                                                               \
            k_many(job, s);                                                    \
        }                                                                      \
    }

/* name, store, add, off, flush, subs, wide, min, full */
k_avx2_kernel(q4_0, K_NIBBLES, 0, 8, 8, 1, 0, 0,
              0) k_avx2_kernel(q4_1, K_NIBBLES, 0, 0, 8, 1, 0, 1, 0)
    k_avx2_kernel(q4_k, K_NIBBLES, 0, 0, 8, 1, 1, 1, 0)
        k_avx2_kernel(q5_0, K_BYTES, 16, 16, 4, 1, 0, 0, 0)
            k_avx2_kernel(q5_1, K_BYTES, 0, 0, 4, 1, 0, 1, 0)
                k_avx2_kernel(q5_k, K_BYTES, 0, 0, 4, 1, 1, 1, 0)
                    k_avx2_kernel(q6_k, K_BYTES, 32, 32, 2, 2, 1, 0, 0)
                        k_avx2_kernel(q8_0, K_BYTES, -128, 128, 8, 1, 0, 0, 1)


                            static void k_avx2_int8(const k_job_t *job)
{
    switch (job->w->type) {

    case K_Q4_0:
        k_avx2_q4_0(job);
        return;

    case K_Q4_1:
        k_avx2_q4_1(job);
        return;

    case K_Q4_K:
        k_avx2_q4_k(job);
        return;

    case K_Q5_0:
        k_avx2_q5_0(job);
        return;

    case K_Q5_1:
        k_avx2_q5_1(job);
        return;

    case K_Q5_K:
        k_avx2_q5_k(job);
        return;

    case K_Q6_K:
        k_avx2_q6_k(job);
        return;

    case K_Q8_0:
        if (job->m == 1) {
            k_one_full(job);
        } else {
            k_avx2_q8_0(job);
        }
        return;

    default:
        return;
    }
}


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


/* A record as floats: w[k * 8 + r]. */

static void
k_avx2_unpack(const k_format_t *f, const uint8_t *rec, float *w)
{
    int            k, shift;
    __m256         t, min;
    __m256i        v;
    const uint8_t *p;

    if (f->type == K_F16) {
        for (k = 0; k < K_BLOCK; k++) {
            _mm256_store_ps(w + k * K_LANES, k_plain(rec, (uint32_t) k, K_F16));
        }

        return;
    }

    if (f->type == K_BF16) {
        for (k = 0; k < K_BLOCK; k++) {
            _mm256_store_ps(w + k * K_LANES,
                            k_plain(rec, (uint32_t) k, K_BF16));
        }

        return;
    }

    p = rec + k_record_scales(f, K_LANES);
    min = f->min ? k_scales(p, f->subs, f->wide) : _mm256_setzero_ps();

    for (k = 0; k < K_BLOCK; k++) {
        shift = k % 4 * 8;

        if (f->store == K_NIBBLES) {
            v = _mm256_loadu_si256((const __m256i *) (rec + k % 16 / 4 * 32));
            v = _mm256_srli_epi32(v, shift + (k < 16 ? 0 : 4));
            v = _mm256_and_si256(v, _mm256_set1_epi32(15));
            v = _mm256_sub_epi32(v, _mm256_set1_epi32(f->off));

        } else {
            v = _mm256_loadu_si256((const __m256i *) (rec + k / 4 * 32));
            v = _mm256_slli_epi32(v, 24 - shift);
            v = _mm256_srai_epi32(v, 24);
        }

        t = k_scales(p, k * f->subs / K_BLOCK, f->wide);
        t = _mm256_mul_ps(t, _mm256_cvtepi32_ps(v));

        if (f->min) {
            t = _mm256_add_ps(t, min);
        }

        _mm256_store_ps(w + k * K_LANES, t);
    }
}


/*
 * `rows` (1 or 2) rows of x, `groups` groups of w, `size` inputs: enough
 * chains of sums at once to hide the latency of FMA, each in the order of k.
 */

k_inline void
k_f32_tile(float *acc, const uint8_t *const *w, const k_type_t kind,
           const float *x, size_t x_ld, uint32_t size, const int rows,
           const int groups)
{
    int      i, g;
    __m256   sum[2][K_GROUPS], v;
    uint32_t k;

#pragma GCC unroll 2
    for (i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (g = 0; g < groups; g++) {
            sum[i][g] = _mm256_load_ps(acc + (i * K_GROUPS + g) * K_LANES);
        }
    }

    for (k = 0; k < size; k++) {
#pragma GCC unroll 4
        for (g = 0; g < groups; g++) {
            v = k_plain(w[g], k, kind);
#pragma GCC unroll 2
            for (i = 0; i < rows; i++) {
                sum[i][g] =
                    _mm256_fmadd_ps(v, _mm256_broadcast_ss(x + i * x_ld + k),
                                    sum[i][g]);
            }
        }
    }

#pragma GCC unroll 2
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


static void
k_avx2_f32_kinds(float *acc, const uint8_t *const *w, k_type_t kind,
                 const float *x, size_t x_ld, uint32_t size, int n_rows,
                 uint32_t n_groups)
{
    if (n_groups == K_GROUPS && n_rows >= 2) {
        k_f32_case(2, K_GROUPS);

    } else if (n_groups == K_GROUPS) {
        k_f32_case(1, K_GROUPS);

    } else if (n_rows >= 2) {
        k_f32_case(2, 1);

    } else {
        k_f32_case(1, 1);
    }
}


static void
k_avx2_f32_groups(const k_job_t *job, const k_format_t *f, uint32_t n,
                  uint32_t groups)
{
    float    acc[K_TILE_MAX * K_GROUPS * K_LANES] __attribute__((aligned(32)));
    float    piece[K_GROUPS][K_BLOCK * K_LANES] __attribute__((aligned(32)));
    float   *p;
    size_t   at;
    uint32_t m, g, k, size;
    const float   *x;
    k_type_t       kind;
    const uint8_t *w[K_GROUPS];

    /* few rows convert on the way, for many it is done once */
    kind = f->store == K_PLAIN && job->m <= 2 ? f->type : K_F32;

    memset(acc, 0, job->m * K_GROUPS * K_LANES * sizeof(float));

    for (k = 0, at = 0; k < job->w->cols; k += size, at += job->w->record) {
        size = job->w->cols - k < K_BLOCK ? job->w->cols - k : K_BLOCK;

        for (g = 0; g < groups; g++) {
            w[g] = k_group(job->w, n + g * K_LANES) + at;

            if (kind != f->type) {
                k_avx2_unpack(f, w[g], piece[g]);
                w[g] = (const uint8_t *) piece[g];
            }
        }

        for (m = 0; m < job->m; m += 2) {
            p = acc + m * K_GROUPS * K_LANES;
            x = job->x + m * job->x_ld + k;

            k_avx2_f32_kinds(p, w, kind, x, job->x_ld, size, (int) (job->m - m),
                             groups);
        }
    }

    for (m = 0; m < job->m; m++) {
        for (g = 0; g < groups; g++) {
            k_store(job, m, n + g * K_LANES,
                    _mm256_load_ps(acc + (m * K_GROUPS + g) * K_LANES));
        }
    }
}


static void
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


/* Sum of 8 lanes. */

k_inline int
k_sum8(__m256i v)
{
    __m128i s;

    s = _mm_add_epi32(_mm256_castsi256_si128(v),
                      _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));

    return _mm_cvtsi128_si32(s);
}


static void
k_avx2_block(const float *x, k_q8_t *q)
{
    int      i;
    float    amax;
    __m128i  s;
    __m256   v[4], inv;
    __m256i  a, max, c[4];
    uint32_t bits;

    max = _mm256_setzero_si256();

    for (i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + i * 8);
        a = _mm256_and_si256(_mm256_castps_si256(v[i]),
                             _mm256_set1_epi32(0x7fffffff));
        max = _mm256_max_epu32(max, a);
    }

    s = _mm_max_epu32(_mm256_castsi256_si128(max),
                      _mm256_extracti128_si256(max, 1));
    s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0xb1));
    bits = (uint32_t) _mm_cvtsi128_si32(s);
    amax = k_f32_bits(bits);

    if (bits >= 0x7f800000 || amax < K_AMAX_MIN) {
        memset(q, 0, sizeof(*q));
        q->d = bits >= 0x7f800000 ? k_f32_bits(0x7fc00000) : 0;
        return;
    }

    q->d = amax / 127.0f;
    inv = _mm256_set1_ps(127.0f / amax);

    for (i = 0; i < 4; i++) {
        c[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inv));
    }

    q->h[0] = (float) k_sum8(_mm256_add_epi32(c[0], c[1]));
    q->h[1] = (float) k_sum8(_mm256_add_epi32(c[2], c[3]));
    q->sum = q->h[0] + q->h[1];

    a = _mm256_packs_epi16(_mm256_packs_epi32(c[0], c[1]),
                           _mm256_packs_epi32(c[2], c[3]));
    a = _mm256_permutevar8x32_epi32(a,
                                    _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *) q->q, a);
}


static void
k_avx2_quantize(const k_act_t *a, uint32_t from, uint32_t to)
{
    uint32_t     m, b;
    const float *x;

    for (m = from; m < to; m++) {
        x = a->x + m * a->ld;

        for (b = 0; b < a->cols / K_BLOCK; b++) {
            k_avx2_block(x + b * K_BLOCK, k_act_at(a, m, b));
        }
    }
}
