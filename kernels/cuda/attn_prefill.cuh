/*
 * Prefill: pieces of up to CU_PREFILL_ROWS rows of a sequence, as FA2 does it.
 * The kernel, for attn_prefill.cu (BF16) and attn_prefill_f16.cu.
 *
 * A block takes one piece, one KV head and 64 MT of the piece's (row, query
 * head) pairs, row first: all of a KV head's query heads share its tiles, a
 * short piece still fills them, and a tile's rows lie close together, so that
 * little is computed beyond the diagonal.  Grid: pairs / 64 MT, KV heads,
 * pieces.  4 warps of 16 MT pairs each; MT is 2 where registers allow, because
 * each fragment of K and V read from shared memory then serves two mma: with
 * one the reads (128 bytes a clock) are the limit, not the tensor cores.
 *
 * K and V come in tiles of TILE positions, two stages: the next is under way
 * (cp.async) while this one is used, one barrier a tile.  The pages' numbers
 * are read a tile ahead of that.  S, O, maxima and sums are in registers, P is
 * packed in place from accumulators to A.  Q stays in shared memory.  E4M3:
 * stages hold the bytes, which are converted once a tile, by all threads, into
 * a third place, where everything else reads.
 *
 * Tiles wholly outside of the window or above the diagonal are never read, nor
 * are rows of tiles that no pair sees: those are zeros (0 times what a page
 * happens to hold might be NaN).  A warp skips tiles that its rows do not see.
 *
 *     head_dim   MT   TILE   shared memory (T, E4M3)   registers
 *     64         2    64     52, 52 KiB                219
 *     64         1    64     42, 42 KiB                138
 *     80         1    64     57, 55 KiB                143
 *     96         1    64     67, 65 KiB                151
 *     128        2    64     100, 100 KiB              255
 *     128        1    64     82, 82 KiB                170
 *     256        1    32     98, 98 KiB                241
 *
 * (without E4M3: Q, 2 x (K + V); with: Q, K + V, 2 x (K + V) / 2.)  Two blocks
 * to a multiprocessor of sm_90: one's softmax runs under the other's products.
 * A tile of 128 x 64 at head_dim 128: 256 mma a warp, 2.1 M multiply-adds,
 * 160 KiB read from shared memory = 1,280 clocks; 8,192 ex2 = 512 clocks.
 */

#ifndef LLM_KERNELS_CUDA_ATTN_PREFILL_CUH
#define LLM_KERNELS_CUDA_ATTN_PREFILL_CUH

#include "kernels/cuda/attn.cuh"

#define PREFILL_THREADS 128

/* The launches of one T; attn_prefill.cu, attn_prefill_f16.cu. */
int cu_attn_prefill_bf16(const cu_attn_t *p, const cu_step_t *step, cu_stream_t s);
int cu_attn_prefill_f16(const cu_attn_t *p, const cu_step_t *step, cu_stream_t s);


template <int HD, bool F8, int MT> struct prefill_geom {
    static const int rows = 64 * MT;
    static const int tile = HD > 128 ? 32 : 64;    /* positions */
    static const int chunks = HD / 8;              /* of a row of T */
    static const int raw = HD * (F8 ? 1 : 2) / 16; /* of a row of a page */
    static const int q = rows * cu_tile<chunks>::stride * 16;
    static const int kv = tile * cu_tile<chunks>::stride * 16; /* K or V */
    static const int stage = F8 ? tile * HD : kv;              /* the same */
    static const int tiles = (F8 ? 2 * kv : 0) + 4 * stage;
    /* Q, tiles, positions of pairs and of warps' last ones, sums. */
    static const int smem = q + tiles + rows * 4 + 16 + 4 * MT * PREFILL_THREADS * 4;
    static const int unroll = HD * MT <= 128 ? 4 : F8 ? 1 : 2; /* of S */
    /* Blocks on a multiprocessor, for the compiler. */
    static const int blocks = HD * MT <= 96 ? 3 : 2;
};


/* Which positions are loaded, and pages' numbers, a tile ahead. */
typedef struct {
    const uint32_t *pages;
    uint32_t        end;    /* of the positions that some pair of the block sees */
    uint32_t        now[2]; /* pages of the tile to be loaded next */
} prefill_walk_t;


template <int TILE>
__device__ static __forceinline__ void
prefill_pages(prefill_walk_t *w, uint32_t at)
{
#pragma unroll
    for (int i = 0; i < TILE / K_PAGE_TOKENS; i++) {
        if (at + i * K_PAGE_TOKENS < w->end) {
            w->now[i] = w->pages[at / K_PAGE_TOKENS + i];
        }
    }
}


/* K and V of positions [at, at + tile) to a stage; zeros before `begin`. */
template <int HD, bool F8, int MT>
__device__ static __forceinline__ void
prefill_load(uint8_t *stage, const prefill_walk_t &w, const cu_attn_t &p, uint32_t begin,
             uint32_t at)
{
    typedef prefill_geom<HD, F8, MT> geom;

    static const int page_chunks = K_PAGE_TOKENS * geom::raw;
    const uint32_t   tid = cu_opaque(threadIdx.x), head = blockIdx.y * page_chunks * 16;
    const uint32_t   seen = begin > at ? begin - at : 0, n = min(w.end - at, geom::tile + 0u);

#pragma unroll
    for (int j = 0; j < geom::tile / K_PAGE_TOKENS; j++) {
        const uint8_t *page = (const uint8_t *) p.kv + w.now[j] * p.kv_page + head;

#pragma unroll
        for (int i = 0; i < (page_chunks + PREFILL_THREADS - 1) / PREFILL_THREADS; i++) {
            const uint32_t k = tid + i * PREFILL_THREADS;
            const uint32_t row = j * K_PAGE_TOKENS + k / geom::raw, chunk = k % geom::raw;
            const uint32_t to =
                F8 ? (row * geom::raw + chunk) * 16 : cu_tile<geom::chunks>::at(row, chunk);
            const int size = row >= seen && row < n ? 16 : 0;

            if (page_chunks % PREFILL_THREADS == 0 || k < page_chunks) {
                cu_async16(stage + to, page + k * 16, size);
                cu_async16(stage + geom::stage + to, page + p.kv_v + k * 16, size);
            }
        }
    }
}


/* A stage's bytes of E4M3 (K, then V) to K and V in T. */
template <typename T, int HD, int MT>
__device__ static __forceinline__ void
prefill_convert(uint8_t *tile, const uint8_t *stage)
{
    typedef prefill_geom<HD, true, MT> geom;

    static const int total = 2 * geom::tile * geom::raw;
    const uint32_t   tid = cu_opaque(threadIdx.x);

#pragma unroll 2
    for (int i = 0; i < (total + PREFILL_THREADS - 1) / PREFILL_THREADS; i++) {
        const uint32_t k = tid + i * PREFILL_THREADS;

        if (total % PREFILL_THREADS != 0 && k >= total) {
            continue;
        }

        const uint32_t row = k / geom::raw, chunk = k % geom::raw * 2;
        const uint4    v = *(const uint4 *) (stage + k * 16);
        const uint32_t in[4] = {v.x, v.y, v.z, v.w};
        uint32_t       out[8], even, odd;
        uint8_t       *to = tile + row / geom::tile * geom::kv;

#pragma unroll
        for (int j = 0; j < 4; j++) {
            cu_f8x4<T>(in[j], &even, &odd);
            out[2 * j] = cu_prmt(even, odd, 0x5410);
            out[2 * j + 1] = cu_prmt(even, odd, 0x7632);
        }

        *(uint4 *) (to + cu_tile<geom::chunks>::at(row % geom::tile, chunk)) =
            make_uint4(out[0], out[1], out[2], out[3]);
        *(uint4 *) (to + cu_tile<geom::chunks>::at(row % geom::tile, chunk + 1)) =
            make_uint4(out[4], out[5], out[6], out[7]);
    }
}


/*
 * S = Q K^T: s[m][n] of pairs 16 m + g, + 8 and positions 8 n + 2 t, + 1.
 * UNROLL: steps of the inner dimension whose loads may overlap; what fits into
 * 255 registers beside O and S.
 */
template <typename T, int HD, int TILE, int MT, int UNROLL>
__device__ static __forceinline__ void
prefill_scores(float s[MT][TILE / 8][4], const uint8_t *smem, uint32_t q, uint32_t key)
{
    typedef cu_tile<HD / 8> tile;

    static const uint32_t rows16 = 16 * tile::stride * 16;
    const uint32_t        lane = cu_opaque(threadIdx.x % 32);
    const uint32_t        q_at = tile::at(lane % 16, lane / 16);
    const uint32_t        key_at = tile::at(lane / 16 * 8 + lane % 8, lane / 8 % 2);
    uint32_t              a[MT][4], b[4];

#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[m][n][i] = 0;
            }
        }
    }

#pragma unroll UNROLL
    for (int k = 0; k < HD / 16; k++) {
#pragma unroll
        for (int m = 0; m < MT; m++) {
            cu_ldmatrix4(a[m], smem + (tile::pair(q_at, k) + q + m * rows16));
        }

#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            cu_ldmatrix4(b, smem + (tile::pair(key_at, k) + key + n * rows16));
#pragma unroll
            for (int m = 0; m < MT; m++) {
                cu_mma16(s[m][2 * n], a[m], b, T());
                cu_mma16(s[m][2 * n + 1], a[m], b + 2, T());
            }
        }
    }
}


/* O += P V: prob[m][k] is A of positions 16 k to 16 k + 15. */
template <typename T, int HD, int TILE, int MT>
__device__ static __forceinline__ void
prefill_values(float o[MT][HD / 8][4], const uint32_t prob[MT][TILE / 16][4], const uint8_t *smem,
               uint32_t value)
{
    typedef cu_tile<HD / 8> tile;

    static const uint32_t rows16 = 16 * tile::stride * 16;
    const uint32_t        lane = cu_opaque(threadIdx.x % 32);
    const uint32_t        value_at = tile::at(lane % 16, lane / 16);
    uint32_t              b[4];

#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
#pragma unroll
        for (int n = 0; n < HD / 16; n++) {
            cu_ldmatrix4_trans(b, smem + (tile::pair(value_at, n) + value + k * rows16));
#pragma unroll
            for (int m = 0; m < MT; m++) {
                cu_mma16(o[m][2 * n], prob[m][k], b, T());
                cu_mma16(o[m][2 * n + 1], prob[m][k], b + 2, T());
            }
        }
    }
}


/*
 * Pairs of the block's piece: pair k is row k / group and query head k %
 * group.  Read anew after the loop, which has no registers to keep them.
 */
typedef struct {
    uint32_t row;
    uint32_t pos;
    uint32_t pairs;
    uint32_t group;
    uint32_t mine; /* the warp's first */
} prefill_pairs_t;

template <int MT>
__device__ static __forceinline__ prefill_pairs_t
prefill_pairs(const cu_attn_t &p, const cu_step_t *step)
{
    const cu_attn_work_t *work = &step->prefill[blockIdx.z];
    prefill_pairs_t       r;

    r.row = work->row;
    r.pos = work->pos;
    r.group = p.n_head / p.n_kv;
    r.pairs = work->n * r.group;
    r.mine = (blockIdx.x * 4 + threadIdx.x / 32) * 16 * MT;
    return r;
}


/* Position of the warp's pair i; beyond the last: the last one's. */
__device__ static __forceinline__ uint32_t
prefill_pos(const prefill_pairs_t &r, uint32_t i)
{
    return r.pos + min(r.mine + i, r.pairs - 1) / r.group;
}


/*
 * A tile's S becomes P, row by row of the accumulators: i = 0 is row g, 1 is
 * row g + 8.  pos: of the warp's pairs; at: the tile's first position.  ml:
 * the lane's maxima, then sums, in shared memory: during the products there is
 * no register for them.
 */
template <typename T, int HD, int TILE, int MT>
__device__ static __forceinline__ void
prefill_softmax(float s[MT][TILE / 8][4], uint32_t prob[MT][TILE / 16][4], float o[MT][HD / 8][4],
                float *ml, const uint32_t *pos, uint32_t at, bool masked, uint32_t window,
                const cu_score_t &score)
{
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const float    out = score.out;
    float          f[MT][2];
    bool           risen = false;

    if (score.in != 0) {
#pragma unroll
        for (int r = 0; r < MT; r++) {
#pragma unroll
            for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    s[r][n][i] = cu_attn_tanh(s[r][n][i] * score.in);
                }
            }
        }
    }

    if (masked) {
#pragma unroll
        for (int r = 0; r < MT; r++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                /* Seen: from <= position <= to, from the tile's first on. */
                const int to = (int) (pos[16 * r + i / 2 * 8 + g] - at);
                const int from = window > 0 ? to - (int) window + 1 : -1;

#pragma unroll
                for (int n = 0; n < TILE / 8; n++) {
                    const int k = 8 * n + 2 * (int) t + i % 2;

                    if (k > to || k < from) {
                        s[r][n][i] = -INFINITY;
                    }
                }
            }
        }
    }

#pragma unroll
    for (int r = 0; r < MT; r++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float mx = -INFINITY, sum = 0, base, was;

#pragma unroll
            for (int n = 0; n < TILE / 8; n++) {
                mx = fmaxf(mx, fmaxf(s[r][n][2 * i], s[r][n][2 * i + 1]));
            }
            mx = fmaxf(mx, __shfl_xor_sync(CU_FULL, mx, 1));
            mx = fmaxf(mx, __shfl_xor_sync(CU_FULL, mx, 2));
            was = ml[(2 * r + i) * PREFILL_THREADS];
            mx = fmaxf(mx * out, was);
            base = cu_attn_base(mx);
            f[r][i] = cu_exp2(was - base);
            risen = risen || mx != was;
            ml[(2 * r + i) * PREFILL_THREADS] = mx;

#pragma unroll
            for (int n = 0; n < TILE / 8; n++) {
                float x = cu_exp2(fmaf(s[r][n][2 * i], out, -base));
                float y = cu_exp2(fmaf(s[r][n][2 * i + 1], out, -base));

                sum += x + y;
                prob[r][n / 2][n % 2 * 2 + i] = cu_attn_pair(x, y, T());
            }
            was = ml[(2 * MT + 2 * r + i) * PREFILL_THREADS];
            ml[(2 * MT + 2 * r + i) * PREFILL_THREADS] = was * f[r][i] + sum;
        }
    }

    if (!__any_sync(CU_FULL, risen)) {
        return;
    }

#pragma unroll
    for (int r = 0; r < MT; r++) {
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                o[r][n][i] *= f[r][i / 2];
            }
        }
    }
}


template <typename T, int HD, bool F8, int MT>
__global__ void
__launch_bounds__(PREFILL_THREADS, prefill_geom<HD, F8, MT>::blocks)
    cu_attn_prefill_kernel(cu_attn_t p, const cu_step_t *step, cu_score_t score)
{
    typedef prefill_geom<HD, F8, MT> geom;
    typedef cu_tile<geom::chunks>    tile;

    const uint32_t tid = threadIdx.x, lane = tid % 32, warp = tid / 32, g = lane / 4, t = lane % 4;
    uint8_t       *smem = cu_smem<uint8_t>(); /* Q, tiles, positions */
    uint8_t       *kv = smem + geom::q;
    uint32_t      *row_pos = (uint32_t *) (kv + geom::tiles);
    float         *ml = (float *) (row_pos + geom::rows + 4) + tid;
    float          o[MT][HD / 8][4];
    prefill_walk_t walk;

    cu_grid_wait();
    if (blockIdx.z >= step->n_prefill) {
        return;
    }
    cu_grid_launch();

    const uint32_t first = blockIdx.x * geom::rows; /* of the piece's pairs */
    uint32_t       at;

    /* Stages lie behind K and V in T where those are converted. */
    uint32_t       stage = F8 ? 2 * geom::kv : 0;
    const uint32_t flip = stage ^ (stage + 2 * geom::stage);

    {
        const prefill_pairs_t r = prefill_pairs<MT>(p, step);
        const uint32_t        head = blockIdx.y * r.group;

        if (first >= r.pairs) {
            return;
        }

        const uint32_t low = r.pos + first / r.group;
        const uint32_t begin = p.window > 0 && low + 1 > p.window ? low + 1 - p.window : 0;

        walk.end = r.pos + (min(first + geom::rows, r.pairs) - 1) / r.group + 1;
        walk.pages = step->pages + step->prefill[blockIdx.z].pages;
        walk.now[0] = 0;
        walk.now[1] = 0;
        at = begin / geom::tile * geom::tile;
        prefill_pages<geom::tile>(&walk, at);

        if (tid < geom::rows) {
            row_pos[tid] = r.pos + min(first + tid, r.pairs - 1) / r.group;
        }

        if (lane == 0) {
            row_pos[geom::rows + warp] = r.mine < r.pairs ? prefill_pos(r, 16 * MT - 1) + 1 : 0;
        }

        /* Pairs that are none get zeros. */
#pragma unroll 4
        for (int i = 0; i < geom::rows * geom::chunks / PREFILL_THREADS; i++) {
            const uint32_t k = tid + i * PREFILL_THREADS, row = k / geom::chunks;
            const uint32_t pair = min(first + row, r.pairs - 1), chunk = k % geom::chunks;
            const T       *from = (const T *) p.q + (size_t) (r.row + pair / r.group) * p.q_ld
                            + (head + pair % r.group) * HD + chunk * 8;

            cu_async16(smem + tile::at(row, chunk), from, first + row < r.pairs ? 16 : 0);
        }

        prefill_load<HD, F8, MT>(kv + stage, walk, p, begin, at);
        cu_async_commit();
    }

    prefill_pages<geom::tile>(&walk, at + geom::tile);

#pragma unroll
    for (int r = 0; r < MT; r++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            ml[(2 * r + i) * PREFILL_THREADS] = -INFINITY;
            ml[(2 * MT + 2 * r + i) * PREFILL_THREADS] = 0;
        }
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                o[r][n][i] = 0;
            }
        }
    }

#pragma unroll 1
    for (; at < walk.end; at += geom::tile) {
        /* The tile is here, for all; and all are done with the one before. */
        cu_async_wait<0>();
        __syncthreads();

        if (at + geom::tile < walk.end) {
            prefill_load<HD, F8, MT>(kv + (stage ^ flip), walk, p, 0, at + geom::tile);
            prefill_pages<geom::tile>(&walk, at + 2 * geom::tile);
        }
        cu_async_commit();

        if (F8) {
            prefill_convert<T, HD, MT>(kv, kv + stage);
            __syncthreads();
        }

        /* The warp's rows are at [low, end); nothing where it has none. */
        const uint32_t low = row_pos[warp * 16 * MT], end = row_pos[geom::rows + warp];

        if (at < end && (p.window == 0 || at + geom::tile + p.window > low + 1)) {
            const uint32_t key = geom::q + (F8 ? 0 : stage);
            float          s[MT][geom::tile / 8][4];
            uint32_t       prob[MT][geom::tile / 16][4];
            bool masked = at + geom::tile > low + 1 || (p.window > 0 && end > at + p.window);

            prefill_scores<T, HD, geom::tile, MT, geom::unroll>(s, smem,
                                                                warp * 16 * MT * tile::stride * 16,
                                                                key);
            prefill_softmax<T, HD, geom::tile, MT>(s, prob, o, ml, row_pos + warp * 16 * MT, at,
                                                   masked, p.window, score);
            prefill_values<T, HD, geom::tile, MT>(o, prob, smem,
                                                  key + (F8 ? geom::kv : geom::stage));
        }

        stage ^= flip;
    }

    /* The warp's own rows of Q take its output, so that whole chunks go out. */
    const prefill_pairs_t r = prefill_pairs<MT>(p, step);
    const uint32_t        head = blockIdx.y * r.group;
    uint8_t              *q_warp = smem + warp * 16 * MT * tile::stride * 16;

    if (r.mine >= r.pairs) {
        return;
    }

    __syncwarp();
#pragma unroll
    for (int k = 0; k < MT; k++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint32_t row = 16 * k + 8 * i + g, pair = min(r.mine + row, r.pairs - 1);
            const float    sink = cu_attn_sink(p, head + pair % r.group);
            float          m = ml[(2 * k + i) * PREFILL_THREADS];
            float          sum = ml[(2 * MT + 2 * k + i) * PREFILL_THREADS], base, f;

            sum += __shfl_xor_sync(CU_FULL, sum, 1);
            sum += __shfl_xor_sync(CU_FULL, sum, 2);
            base = cu_attn_base(fmaxf(m, sink));
            f = cu_exp2(m - base);
            sum = sum * f + cu_exp2(sink - base);
            f = sum > 0 ? f / sum : 0;

#pragma unroll
            for (int n = 0; n < HD / 8; n++) {
                *(uint32_t *) (q_warp + tile::at(row, n) + 4 * t) =
                    cu_pack<T>(o[k][n][2 * i] * f, o[k][n][2 * i + 1] * f);
            }
        }
    }
    __syncwarp();

#pragma unroll 4
    for (int i = 0; i < 16 * MT * geom::chunks / 32; i++) {
        const uint32_t k = lane + i * 32, row = k / geom::chunks, chunk = k % geom::chunks;
        const uint32_t pair = r.mine + row;

        if (pair < r.pairs) {
            *(uint4 *) ((T *) p.a
                        + ((size_t) (r.row + pair / r.group) * p.n_head + head + pair % r.group)
                              * HD
                        + chunk * 8) = *(const uint4 *) (q_warp + tile::at(row, chunk));
        }
    }
}


template <typename T, int HD, int MT>
static int
prefill_launch(const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    uint32_t  pairs = CU_PREFILL_ROWS * (p->n_head / p->n_kv);
    dim3      grid((pairs + 64 * MT - 1) / (64 * MT), p->n_kv, p->max_work);
    cu_attn_t a = *p;

    /* Longer than any sequence; sums of it and a position stay small. */
    if (a.window > 1u << 30) {
        a.window = 0;
    }

    if (p->kv_type == CU_F8) {
        return cu_launch(cu_attn_prefill_kernel<T, HD, true, MT>, grid, dim3(PREFILL_THREADS),
                         prefill_geom<HD, true, MT>::smem, s, a, step, cu_attn_score(p));
    }

    return cu_launch(cu_attn_prefill_kernel<T, HD, false, MT>, grid, dim3(PREFILL_THREADS),
                     prefill_geom<HD, false, MT>::smem, s, a, step, cu_attn_score(p));
}


/* Where each KV head has one query head, 64 pairs are all that there are. */
template <typename T>
static int
prefill_dispatch(const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    int one = p->n_head == p->n_kv;

    switch (p->head_dim) {
    case 64:
        return one ? prefill_launch<T, 64, 1>(p, step, s) : prefill_launch<T, 64, 2>(p, step, s);
    case 80:
        return prefill_launch<T, 80, 1>(p, step, s);
    case 96:
        return prefill_launch<T, 96, 1>(p, step, s);
    case 128:
        return one ? prefill_launch<T, 128, 1>(p, step, s) : prefill_launch<T, 128, 2>(p, step, s);
    case 256:
        return prefill_launch<T, 256, 1>(p, step, s);
    }

    return -EINVAL;
}

#endif /* LLM_KERNELS_CUDA_ATTN_PREFILL_CUH */
