/*
 * Decode: one query row against the positions of its sequence, or of a split.
 *
 * A block takes one work item and one KV head (grid: heads fastest, so that
 * neighbours read neighbouring memory) with up to 8 NT of its query heads;
 * larger groups take several blocks.  Its warps take units of 16 positions in
 * turn, each with a maximum, sums and a ring of 2 units of its own: no barrier
 * before the end, where they are merged through the same shared memory.
 *
 * Products are turned around: S^T = K Q^T and O^T = V^T P^T, so that the 16
 * rows of an mma are positions or elements of the head, of which there are
 * enough, and its 8 columns are query heads.  Of head_dim 128 that leaves 32
 * accumulators and 16 words of Q a lane, half of what 16 rows of heads take.
 * With g = lane / 4, t = lane % 4 a lane has of S^T positions g, g + 8, and of
 * S^T and O^T the heads 2 t, 2 t + 1: factors for a head are at hand in both.
 * P^T goes from accumulator to B by two movmatrix.
 *
 * E4M3: ldmatrix moves pairs of bytes as it moves 16-bit elements.  A lane's
 * word is 4 elements of a row of K: even and odd bytes are two pairs of the
 * inner dimension, in whose order Q is read too.  Of V, transposed, it is two
 * neighbouring elements at two positions: even and odd bytes are two rows of
 * O^T.  So no byte has to move to another place.
 *
 * Positions that the row does not see are never read: their K and V are zeros
 * (p = 0 times what the page happens to hold might be NaN).
 *
 * Loads: 16-byte cp.async, K and V in groups of their own: K of the unit after
 * the next is asked for as soon as K of this one is used.  A lane keeps the
 * page numbers of the next 32 units but one, so that they are there in time.
 *
 * Per SM and unit of head_dim 128 (8 KiB, 420 clocks at 19 bytes each): 16
 * ldmatrix, 16 mma, 32 cp.async, about 90 others a lane: a tenth of the issue
 * slots.  Bytes in flight: attn.cuh.
 */

#include "kernels/cuda/attn.cuh"

#define UNIT 16 /* positions */

template <typename T, int HD, bool F8, int NT> struct decode_geom {
    static const int elem = F8 ? 1 : 2;
    static const int chunks = HD * elem / 16; /* of a row */
    static const int tile = UNIT * cu_tile<chunks>::stride * 16;
    static const int unit = 2 * UNIT * HD * elem;
    static const int warps = unit > 8192 ? 2 : 4;
    static const int ring = 4 * tile; /* of a warp: 2 units, K and V */
    static const int o_ld = HD + 4;
    static const int o = warps * 8 * NT * o_ld * 4;
    static const int rings = warps * ring;
    static const int smem = rings > o ? rings : o;
    /* Blocks on a multiprocessor, for the compiler; shared memory allows no
       more where that is less than registers do. */
    static const int width = HD * NT;
    static const int blocks = warps == 2 ? 4 : width > 128 ? 3 : width > 64 ? 4 : 6;
};


/* K or V of a unit: 16 rows, contiguous; rows not in `mask` become zeros. */
template <int CHUNKS>
__device__ static __forceinline__ void
decode_load(uint8_t *tile, const uint8_t *from, uint32_t mask)
{
    const uint32_t lane = threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < (UNIT * CHUNKS + 31) / 32; i++) {
        uint32_t k = lane + 32 * i, row = k / CHUNKS;

        if (UNIT * CHUNKS % 32 == 0 || k < UNIT * CHUNKS) {
            cu_async16(tile + cu_tile<CHUNKS>::at(row, k % CHUNKS), from + k * 16,
                       (mask >> row) & 1 ? 16 : 0);
        }
    }
}


/* Q as B: pairs of the inner dimension, in E4M3's order where K is E4M3. */
template <typename T, int HD, bool F8>
__device__ static __forceinline__ void
decode_load_q(uint32_t q[HD / 16][2], const T *from, bool valid)
{
    const uint32_t t = threadIdx.x % 4;

#pragma unroll
    for (int k = 0; k < HD / 16; k++) {
        q[k][0] = 0;
        q[k][1] = 0;
        if (!valid) {
            continue;
        }

        if (F8) {
            uint2 v = *(const uint2 *) (from + 16 * k + 4 * t);

            q[k][0] = (v.x & 0xffff) | (v.y << 16);
            q[k][1] = (v.x >> 16) | (v.y & 0xffff0000);
        } else {
            q[k][0] = *(const uint32_t *) (from + 16 * k + 2 * t);
            q[k][1] = *(const uint32_t *) (from + 16 * k + 8 + 2 * t);
        }
    }
}


/* S^T of a unit: s[n] of heads 8 n + 2 t, + 1 at positions g and g + 8. */
template <typename T, int HD, bool F8, int NT>
__device__ static __forceinline__ void
decode_scores(float s[NT][4], const uint8_t *tile, const uint32_t q[NT][HD / 16][2])
{
    typedef decode_geom<T, HD, F8, NT> geom;

    const uint32_t row = threadIdx.x % 16, half = threadIdx.x % 32 / 16;
    float          s2[NT][4];
    uint32_t       r[4], a[4];

#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[n][i] = 0;
            s2[n][i] = 0;
        }
    }

#pragma unroll
    for (int c = 0; c < geom::chunks; c += 2) {
        /* The last of an odd number of chunks is read twice. */
        uint32_t chunk = c + 1 < geom::chunks ? c + half : c;

        cu_ldmatrix4(r, tile + cu_tile<geom::chunks>::at(row, chunk));

        if (!F8) {
#pragma unroll
            for (int n = 0; n < NT; n++) {
                cu_mma16(c % 4 ? s2[n] : s[n], r, q[n][c / 2], T());
            }
            continue;
        }

        cu_f8x4<T>(r[0], &a[0], &a[2]);
        cu_f8x4<T>(r[1], &a[1], &a[3]);
#pragma unroll
        for (int n = 0; n < NT; n++) {
            cu_mma16(s[n], a, q[n][F8 ? c : 0], T());
        }

        if (c + 1 < geom::chunks) {
            cu_f8x4<T>(r[2], &a[0], &a[2]);
            cu_f8x4<T>(r[3], &a[1], &a[3]);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                cu_mma16(s2[n], a, q[n][F8 ? c + 1 : 0], T());
            }
        }
    }

#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[n][i] += s2[n][i];
        }
    }
}


/* O^T += V^T P^T; the rows of o[j] are elements: see decode_element(). */
template <typename T, int HD, bool F8, int NT>
__device__ static __forceinline__ void
decode_values(float o[NT][HD / 16][4], const uint8_t *tile, const uint32_t p[NT][2])
{
    typedef decode_geom<T, HD, F8, NT> geom;

    const uint32_t lane = threadIdx.x % 32;
    const uint32_t row = F8 ? lane % 16 : lane / 16 * 8 + lane % 8;
    const uint32_t half = F8 ? lane / 16 : lane / 8 % 2;
    uint32_t       r[4], a[4];

#pragma unroll
    for (int c = 0; c < geom::chunks; c += 2) {
        uint32_t chunk = c + 1 < geom::chunks ? c + half : c;

        cu_ldmatrix4_trans(r, tile + cu_tile<geom::chunks>::at(row, chunk));

        if (!F8) {
#pragma unroll
            for (int n = 0; n < NT; n++) {
                cu_mma16(o[n][c / 2], r, p[n], T());
            }
            continue;
        }

        cu_f8x4<T>(r[0], &a[0], &a[1]);
        cu_f8x4<T>(r[1], &a[2], &a[3]);
#pragma unroll
        for (int n = 0; n < NT; n++) {
            cu_mma16(o[n][F8 ? c : 0], a, p[n], T());
        }

        if (c + 1 < geom::chunks) {
            cu_f8x4<T>(r[2], &a[0], &a[1]);
            cu_f8x4<T>(r[3], &a[2], &a[3]);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                cu_mma16(o[n][F8 ? c + 1 : 0], a, p[n], T());
            }
        }
    }
}


/* Element of the head in row g (i = 0) or g + 8 (i = 1) of o[j]. */
template <bool F8>
__device__ static inline uint32_t
decode_element(uint32_t j, uint32_t g, uint32_t i)
{
    return F8 ? 16 * j + 2 * g + i : 16 * j + g + 8 * i;
}


/* Rows of the unit at position `at` that lie in [begin, end): a bit each. */
__device__ static inline uint32_t
decode_mask(uint32_t begin, uint32_t end, uint32_t at)
{
    uint32_t skip = begin > at ? begin - at : 0, n = min(end - at, (uint32_t) UNIT);

    return (0xffffu >> (UNIT - n)) & (0xffffu << skip);
}


/*
 * A warp's units' pages: lane i holds those of iterations 32 k + i, of this k
 * and of the next.  All lanes call decode_page() together.
 */
typedef struct {
    const uint32_t *pages; /* from the item's first on */
    uint32_t        units;
    uint32_t        step; /* units from one iteration to the next */
    uint32_t        unit; /* of `ahead` */
    uint32_t        i;    /* next iteration */
    uint32_t        now;
    uint32_t        ahead;
} decode_walk_t;


__device__ static __forceinline__ uint32_t
decode_walk_load(const decode_walk_t *w)
{
    return w->unit < w->units ? w->pages[w->unit * UNIT / K_PAGE_TOKENS] : 0;
}


__device__ static __forceinline__ uint32_t
decode_page(decode_walk_t *w)
{
    uint32_t k = w->i++ % 32;

    if (k == 0) {
        w->now = w->ahead;
        w->unit += 32 * w->step;
        w->ahead = decode_walk_load(w);
    }

    return __shfl_sync(CU_FULL, w->now, (int) k);
}


/* The warp's S^T becomes P^T: new maxima, sums; O^T is brought to them. */
template <typename T, int HD, int NT>
__device__ static __forceinline__ void
decode_softmax(float s[NT][4], float m[NT][2], float l[NT][2], float o[NT][HD / 16][4],
               uint32_t prob[NT][2], uint32_t mask, const cu_score_t &score)
{
    const uint32_t g = threadIdx.x % 32 / 4;
    float          f[NT][2], base[2];
    bool           risen = false;

#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (score.in != 0) {
                s[n][i] = cu_attn_tanh(s[n][i] * score.in);
            }
            s[n][i] *= score.out;
            if (!((mask >> (g + i / 2 * 8)) & 1)) {
                s[n][i] = -INFINITY;
            }
        }

#pragma unroll
        for (int i = 0; i < 2; i++) {
            float mx = fmaxf(s[n][i], s[n][i + 2]);

            mx = fmaxf(mx, __shfl_xor_sync(CU_FULL, mx, 4));
            mx = fmaxf(mx, __shfl_xor_sync(CU_FULL, mx, 8));
            mx = fmaxf(mx, __shfl_xor_sync(CU_FULL, mx, 16));
            mx = fmaxf(mx, m[n][i]);
            base[i] = cu_attn_base(mx);
            f[n][i] = cu_exp2(m[n][i] - base[i]);
            risen = risen || mx != m[n][i];
            m[n][i] = mx;
        }

#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[n][i] = cu_exp2(s[n][i] - base[i % 2]);
        }
        l[n][0] = l[n][0] * f[n][0] + (s[n][0] + s[n][2]);
        l[n][1] = l[n][1] * f[n][1] + (s[n][1] + s[n][3]);
        prob[n][0] = cu_transpose8(cu_attn_pair(s[n][0], s[n][1], T()));
        prob[n][1] = cu_transpose8(cu_attn_pair(s[n][2], s[n][3], T()));
    }

    /* Rarely, after the first units. */
    if (!__any_sync(CU_FULL, risen)) {
        return;
    }

#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
        for (int j = 0; j < HD / 16; j++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                o[n][j][i] *= f[n][i % 2];
            }
        }
    }
}


/*
 * The warps' results, brought to one maximum, to shared memory: maxima and
 * sums of [warp][head], O of [warp][head][o_ld].  All threads call it.
 */
template <typename T, int HD, bool F8, int NT>
__device__ static __forceinline__ void
decode_gather(float *out, float (*warp_m)[8 * NT], float (*warp_l)[8 * NT], float m[NT][2],
              float l[NT][2], const float o[NT][HD / 16][4])
{
    typedef decode_geom<T, HD, F8, NT> geom;

    static const int heads_max = 8 * NT;
    const uint32_t   lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;

#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            l[n][i] += __shfl_xor_sync(CU_FULL, l[n][i], 4);
            l[n][i] += __shfl_xor_sync(CU_FULL, l[n][i], 8);
            l[n][i] += __shfl_xor_sync(CU_FULL, l[n][i], 16);
            if (g == 0) {
                warp_m[warp][8 * n + 2 * t + i] = m[n][i];
                warp_l[warp][8 * n + 2 * t + i] = l[n][i];
            }
        }
    }
    __syncthreads();

#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint32_t h = 8 * n + 2 * t + i;
            float          mx = warp_m[0][h], f;

#pragma unroll
            for (int w = 1; w < geom::warps; w++) {
                mx = fmaxf(mx, warp_m[w][h]);
            }
            f = cu_exp2(m[n][i] - cu_attn_base(mx));

#pragma unroll
            for (int j = 0; j < HD / 16; j++) {
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    out[(warp * heads_max + h) * geom::o_ld + decode_element<F8>(j, g, k)] =
                        o[n][j][2 * k + i] * f;
                }
            }
        }
    }
    __syncthreads();
}


/* The sum over warps: the row's heads in A, or its parts. */
template <typename T, int HD, bool F8, int NT>
__device__ static __forceinline__ void
decode_store(const cu_attn_t &p, const cu_attn_work_t &work, uint32_t head, uint32_t heads,
             const float *out, const float (*warp_m)[8 * NT], const float (*warp_l)[8 * NT])
{
    typedef decode_geom<T, HD, F8, NT> geom;

    static const int heads_max = 8 * NT;

    for (uint32_t k = threadIdx.x; k < heads * (HD / 2); k += geom::warps * 32) {
        const uint32_t h = k / (HD / 2), d = k % (HD / 2) * 2;
        float          mx = warp_m[0][h], sum = 0, base, sink;
        float2         v = make_float2(0, 0);

#pragma unroll
        for (int w = 1; w < geom::warps; w++) {
            mx = fmaxf(mx, warp_m[w][h]);
        }

        sink = work.n_split > 1 ? -INFINITY : cu_attn_sink(p, head + h);
        base = cu_attn_base(mx);
#pragma unroll
        for (int w = 0; w < geom::warps; w++) {
            float2 x = *(const float2 *) &out[(w * heads_max + h) * geom::o_ld + d];

            v.x += x.x;
            v.y += x.y;
            sum += warp_l[w][h] * cu_exp2(warp_m[w][h] - base);
        }

        if (work.n_split > 1) {
            float *part = cu_attn_part(p, blockIdx.y, head + h);

            *(float2 *) (part + d) = v;
            if (d == 0) {
                part[HD] = mx;
                part[HD + 1] = sum;
            }
            continue;
        }

        /* A sink above all scores may leave nothing of them; not inf / inf. */
        base = cu_attn_base(fmaxf(mx, sink));
        mx = cu_exp2(cu_attn_base(mx) - base);
        sum = sum * mx + cu_exp2(sink - base);
        sum = sum > 0 ? mx / sum : 0;
        *(uint32_t *) ((T *) p.a + ((size_t) work.row * p.n_head + head + h) * HD + d) =
            cu_pack<T>(v.x * sum, v.y * sum);
    }
}


/*
 * Whether this block is the last one of its sequence and heads to have left
 * its parts, so that it is the one to join them.  All threads call it.
 */
__device__ static inline bool
decode_last(const cu_attn_t &p, const cu_attn_work_t &work)
{
    CU_SHARED uint32_t ticket;

    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t *at = p.tickets + (size_t) (blockIdx.y - work.split) * p.n_head + blockIdx.x;

        ticket = atomicAdd(at, 1u);
        if (ticket == work.n_split - 1) {
            *at = 0;
        }
        __threadfence();
    }
    __syncthreads();

    return ticket == work.n_split - 1;
}


template <typename T, int HD, bool F8, int NT>
__global__ void
__launch_bounds__(decode_geom<T, HD, F8, NT>::warps * 32, decode_geom<T, HD, F8, NT>::blocks)
    cu_attn_decode_kernel(cu_attn_t p, const cu_step_t *step, cu_score_t score)
{
    typedef decode_geom<T, HD, F8, NT> geom;

    static const int heads_max = 8 * NT;

    CU_SHARED float warp_m[geom::warps][heads_max];
    CU_SHARED float warp_l[geom::warps][heads_max];

    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4;
    const uint32_t group = p.n_head / p.n_kv, passes = (group + heads_max - 1) / heads_max;
    const uint32_t kv_head = blockIdx.x / passes, pass = blockIdx.x % passes;
    const uint32_t head = kv_head * group + pass * heads_max;
    const uint32_t heads = min(group - pass * heads_max, (uint32_t) heads_max);
    uint8_t       *ring = cu_smem<uint8_t>() + warp * geom::ring;
    float          m[NT][2], l[NT][2], o[NT][HD / 16][4], s[NT][4];
    uint32_t       q[NT][HD / 16][2], prob[NT][2];

    cu_grid_wait();

    /* One after the other these would be three trips to L2. */
    const cu_attn_work_t *items = step->decode;
    const uint32_t       *pages = step->pages;

    if (blockIdx.y >= step->n_decode) {
        return;
    }
    cu_grid_launch();

    const cu_attn_work_t work = items[blockIdx.y];

    /* Positions [begin, end): units up to `units`, counted from work.begin. */
    uint32_t begin = work.begin, end = min(work.end, work.pos + 1);

    if (p.window > 0 && work.pos + 1 > p.window) {
        begin = max(begin, work.pos + 1 - p.window);
    }

    const uint32_t first = (begin - work.begin) / UNIT + warp;
    const uint32_t units = begin < end ? (end - work.begin + UNIT - 1) / UNIT : 0;
    const uint64_t head_bytes = (uint64_t) K_PAGE_TOKENS * HD * geom::elem;
    const uint8_t *kv = (const uint8_t *) p.kv + kv_head * head_bytes;
    decode_walk_t  walk;

    walk.pages = pages + work.pages + work.begin / K_PAGE_TOKENS;
    walk.units = units;
    walk.step = geom::warps;
    walk.unit = first + lane * geom::warps;
    walk.i = 0;
    walk.now = 0;
    walk.ahead = decode_walk_load(&walk);

#pragma unroll
    for (int n = 0; n < NT; n++) {
        const uint32_t h = 8 * n + g;

        decode_load_q<T, HD, F8>(q[n],
                                 (const T *) p.q + (size_t) work.row * p.q_ld + (head + h) * HD,
                                 h < heads);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            m[n][i] = -INFINITY;
            l[n][i] = 0;
        }
#pragma unroll
        for (int j = 0; j < HD / 16; j++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                o[n][j][i] = 0;
            }
        }
    }

    /* Four groups are under way at each wait, if empty ones: K and V of two
       units; the oldest is the one that is waited for. */
    uint32_t       load = first, mask = 0;
    const uint8_t *from = kv;

#pragma unroll
    for (int i = 0; i < 2; i++, load += geom::warps) {
        if (load < units) {
            from = kv + decode_page(&walk) * p.kv_page
                   + load * UNIT % K_PAGE_TOKENS * (HD * geom::elem);
            mask = decode_mask(begin, end, work.begin + load * UNIT);
            decode_load<geom::chunks>(ring + 2 * i * geom::tile, from, mask);
        }
        cu_async_commit();
        if (load < units) {
            decode_load<geom::chunks>(ring + (2 * i + 1) * geom::tile, from + p.kv_v, mask);
        }
        cu_async_commit();
    }

    uint8_t *key = ring, *other = ring + 2 * geom::tile;

#pragma unroll 1
    for (uint32_t unit = first; unit < units; unit += geom::warps, load += geom::warps) {
        cu_async_wait<3>();
        __syncwarp();
        decode_scores<T, HD, F8, NT>(s, key, q);
        __syncwarp();

        if (load < units) {
            from = kv + decode_page(&walk) * p.kv_page
                   + load * UNIT % K_PAGE_TOKENS * (HD * geom::elem);
            mask = decode_mask(begin, end, work.begin + load * UNIT);
            decode_load<geom::chunks>(key, from, mask);
        }
        cu_async_commit();

        decode_softmax<T, HD, NT>(s, m, l, o, prob,
                                  decode_mask(begin, end, work.begin + unit * UNIT), score);

        cu_async_wait<3>();
        __syncwarp();
        decode_values<T, HD, F8, NT>(o, key + geom::tile, prob);
        __syncwarp();

        if (load < units) {
            decode_load<geom::chunks>(key + geom::tile, from + p.kv_v, mask);
        }
        cu_async_commit();

        uint8_t *used = key;

        key = other;
        other = used;
    }

    float *out = cu_smem<float>();

    decode_gather<T, HD, F8, NT>(out, warp_m, warp_l, m, l, o);
    decode_store<T, HD, F8, NT>(p, work, head, heads, out, warp_m, warp_l);

    if (work.n_split <= 1 || p.tickets == NULL || !decode_last(p, work)) {
        return;
    }

    for (uint32_t h = warp; h < heads; h += geom::warps) {
        cu_attn_join<T, (HD + 63) / 64>(p, blockIdx.y - work.split, work.n_split, work.row,
                                        head + h);
    }
}


/* A warp for each item that is a sequence's first split, and head. */
#define MERGE_WARPS 4

template <typename T>
__global__ void
__launch_bounds__(MERGE_WARPS * 32, 4) cu_attn_merge_kernel(cu_attn_t p, const cu_step_t *step)
{
    const uint32_t head = blockIdx.x * MERGE_WARPS + threadIdx.x / 32;

    cu_grid_wait();
    if (blockIdx.y >= step->n_decode || head >= p.n_head) {
        return;
    }

    const cu_attn_work_t work = step->decode[blockIdx.y];

    if (work.split == 0 && work.n_split > 1) {
        cu_attn_join<T, 8>(p, blockIdx.y, work.n_split, work.row, head);
    }
}


template <typename T, int HD, bool F8, int NT>
static int
decode_launch(const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    typedef decode_geom<T, HD, F8, NT> geom;

    uint32_t passes = (p->n_head / p->n_kv + 8 * NT - 1) / (8 * NT);

    return cu_launch(cu_attn_decode_kernel<T, HD, F8, NT>, dim3(p->n_kv * passes, p->max_work),
                     dim3(geom::warps * 32), geom::smem, s, *p, step, cu_attn_score(p));
}


template <typename T, bool F8>
static int
decode_dispatch(const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    int wide = p->n_head / p->n_kv > 8;

    switch (p->head_dim) {
    case 64:
        return wide ? decode_launch<T, 64, F8, 2>(p, step, s)
                    : decode_launch<T, 64, F8, 1>(p, step, s);
    case 80:
        return decode_launch<T, 80, F8, 1>(p, step, s);
    case 96:
        return decode_launch<T, 96, F8, 1>(p, step, s);
    case 128:
        return wide ? decode_launch<T, 128, F8, 2>(p, step, s)
                    : decode_launch<T, 128, F8, 1>(p, step, s);
    case 256:
        return decode_launch<T, 256, F8, 1>(p, step, s);
    }

    return -EINVAL;
}


int
cu_attn_decode_fits(cu_type_t t, const cu_attn_t *p)
{
    static const uint32_t dims[] = {64, 80, 96, 128, 256};

    for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++) {
        if (p->head_dim == dims[i]) {
            return cu_attn_wide(t, p);
        }
    }

    return 0;
}


int
cu_attn_decode(cu_type_t t, const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    if (!cu_attn_decode_fits(t, p)) {
        return -EINVAL;
    }

    if (p->max_work == 0) {
        return 0;
    }

    if (t == CU_F16) {
        return p->kv_type == CU_F8 ? decode_dispatch<__half, true>(p, step, s)
                                   : decode_dispatch<__half, false>(p, step, s);
    }

    return p->kv_type == CU_F8 ? decode_dispatch<__nv_bfloat16, true>(p, step, s)
                               : decode_dispatch<__nv_bfloat16, false>(p, step, s);
}


int
cu_attn_merge(cu_type_t t, const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    dim3 grid((p->n_head + MERGE_WARPS - 1) / MERGE_WARPS, p->max_work);

    if (!cu_attn_sane(t, p)) {
        return -EINVAL;
    }

    if (p->max_work == 0) {
        return 0;
    }

    return cu_launch(t == CU_F16 ? cu_attn_merge_kernel<__half>
                                 : cu_attn_merge_kernel<__nv_bfloat16>,
                     grid, dim3(MERGE_WARPS * 32), 0, s, *p, step);
}
