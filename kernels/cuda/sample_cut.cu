/*
 * The second sampling kernel, see sample.cu: rows that are cut (top_k, top_p,
 * min_p).  Its blocks sum and list their slabs' tokens, each slab with its
 * own place in the list, and the row's last block has the cut found in the
 * list and draws; a list that has overflowed it makes anew, by reading the row
 * again and again (cu_row_cut()).  Threads to data and shared memory as
 * sample.cuh says; blocks of rows that are not pending leave at once.
 */

#include "kernels/cuda/sample_row.cuh"


/*
 * Block: the e-th token of the row, by id, whose key is `key`; CU_NONE where
 * there are not so many.
 */
__device__ static inline uint32_t
cu_row_nth(uint32_t key, double e, cu_cut_t limit, cu_pick_smem_t &s)
{
    uint32_t i, n, id, marks, at[CU_CHUNKS];
    float    v[CU_EACH];

    for (i = 0; i < s.w.n_slabs; i++) {
        cu_slab_load(v, i * CU_SLAB, s);
        cu_slab_adjust(v, i * CU_SLAB, s);
        marks = 0;
#pragma unroll
        for (int k = 0; k < CU_EACH; k++) {
            if (cu_key(v[k]) == key && cu_before(limit, key, i * CU_SLAB + cu_slab_at(k))) {
                marks |= 1u << k;
            }
        }
        n = cu_slab_order(marks, at, s);
        if ((double) n < e) {
            e -= (double) n;
            continue;
        }
#pragma unroll
        for (int k = 0; k < CU_EACH; k++) {
            if ((marks >> k & 1) && cu_slab_place(marks, at, k) + 1 == (uint32_t) e) {
                s.key = i * CU_SLAB + cu_slab_at(k);
            }
        }
        __syncthreads();
        id = s.key;
        __syncthreads();
        return id;
    }
    return CU_NONE;
}


/*
 * Block: the tokens with keys in [low, high], at most CU_LIST, to the list and
 * from there to shared memory; returns how many there are.
 */
__device__ static inline uint32_t
cu_row_list(uint32_t low, uint32_t high, cu_cut_t limit, cu_pick_smem_t &s)
{
    uint32_t   i, n, m = 0, marks, at[CU_CHUNKS];
    float      v[CU_EACH];
    cu_pick_t *list = s.w.list;

    for (i = 0; i < s.w.n_slabs; i++) {
        cu_slab_load(v, i * CU_SLAB, s);
        cu_slab_adjust(v, i * CU_SLAB, s);
        marks = 0;
#pragma unroll
        for (int k = 0; k < CU_EACH; k++) {
            uint32_t key = cu_key(v[k]);

            if (key >= low && key <= high && cu_before(limit, key, i * CU_SLAB + cu_slab_at(k))) {
                marks |= 1u << k;
            }
        }
        n = cu_slab_order(marks, at, s);
#pragma unroll
        for (int k = 0; k < CU_EACH; k++) {
            uint32_t to = m + cu_slab_place(marks, at, k);

            if ((marks >> k & 1) && to < CU_LIST) {
                list[to].x = v[k];
                list[to].id = i * CU_SLAB + cu_slab_at(k);
            }
        }
        m += n;
    }
    __syncthreads();

    m = m < CU_LIST ? m : CU_LIST;
    for (i = threadIdx.x; i < m; i += CU_PICK) {
        s.x[CU_AT(i)] = list[i].x;
        s.id[i] = list[i].id;
    }
    __syncthreads();
    return m;
}


/*
 * Block: the cut of the whole row, which one block reads again and again: a
 * search for its key, four ways at a time, until what is left fits the list
 * or is one key.  For rows whose list has overflowed.
 */
__device__ static inline cu_cut_t
cu_row_cut(cu_cut_t limit, int by_mass, double target, cu_pick_smem_t &s)
{
    uint32_t i, low, high, pivot[3], count[3], n_low = CU_NONE, n_high = 0;
    float    v[CU_EACH], max = s.row.max, t = s.a.t;
    double   sum[3], above = 0, equal;
    cu_cut_t cut = {0, CU_NONE};

    /* Farther tokens do not matter; a bin more, for rounding. */
    low = cu_key(max - (s.row.far + 1) / (t * CU_BINS_NAT));
    high = cu_key(max);

    while (low < high && n_low - n_high > CU_LIST) {
        for (i = 0; i < 3; i++) {
            pivot[i] = low + 1 + (uint32_t) ((uint64_t) (high - low) * (i + 1) / 4);
            sum[i] = count[i] = 0;
        }

        for (i = 0; i < s.w.n_slabs; i++) {
            cu_slab_load(v, i * CU_SLAB, s);
            cu_slab_adjust(v, i * CU_SLAB, s);

            /* Through its own places in shared memory: fewer registers. */
#pragma unroll
            for (int k = 0; k < CU_EACH; k++) {
                s.x[cu_slab_own(k)] = v[k];
            }
#pragma unroll 1
            for (int k = 0; k < CU_EACH; k++) {
                float    x = s.x[cu_slab_own(k)];
                uint32_t key = cu_key(x);
                double   m = by_mass ? (double) cu_weight(x, max, t) : 1.0;

                if (!cu_before(limit, key, i * CU_SLAB + cu_slab_at(k))) {
                    continue;
                }
#pragma unroll
                for (int j = 0; j < 3; j++) {
                    sum[j] += key >= pivot[j] ? m : 0;
                    count[j] += key >= pivot[j];
                }
            }
        }
#pragma unroll
        for (int j = 0; j < 3; j++) {
            sum[j] = cu_block_sum64(sum[j], s);
            count[j] = (uint32_t) cu_block_sum64((double) count[j], s);
        }

        /* The highest pivot that reaches the target, and the one above it. */
#pragma unroll
        for (int j = 0; j < 3; j++) {
            if (sum[j] >= target) {
                low = pivot[j];
                n_low = count[j];
            }
        }
#pragma unroll
        for (int j = 2; j >= 0; j--) {
            if (sum[j] < target) {
                high = pivot[j] - 1;
                above = sum[j];
                n_high = count[j];
            }
        }
    }

    if (n_low - n_high <= CU_LIST) {
        i = cu_row_list(low, high, limit, s);
        if (i != 0) {
            cut = cu_cut(i, cut, by_mass, above, target, max, t, s);
            cut.last = s.id[cut.last];
            __syncthreads();
            return cut;
        }
    }

    cut.key = low;
    equal = by_mass ? (double) cu_weight(cu_unkey(low), max, t) : 1.0;
    if (equal > 0) {
        cut.last = cu_row_nth(low, cu_equals(above, equal, target, (double) s.w.n), limit, s);
    }
    return cut;
}


/* Block: weights before the cut of each slab, to s.sums; returns their sum. */
__device__ static inline double
cu_row_sums(cu_cut_t cut, float min_p, float max, cu_pick_smem_t &s)
{
    uint32_t i;
    float    v[CU_EACH], y;
    double   sum, total = 0;

    for (i = 0; i < s.w.n_slabs; i++) {
        cu_slab_load(v, i * CU_SLAB, s);
        cu_slab_adjust(v, i * CU_SLAB, s);
        sum = 0;
#pragma unroll
        for (int k = 0; k < CU_EACH; k++) {
            y = cu_weight(v[k], max, s.a.t);
            if (y >= min_p && cu_before(cut, cu_key(v[k]), i * CU_SLAB + cu_slab_at(k))) {
                sum += (double) y;
            }
        }
        sum = cu_block_sum64(sum, s);
        total += sum;
        if (threadIdx.x == 0) {
            s.sums[i] = sum;
        }
    }
    __syncthreads();
    return total;
}


/* Block: a draw whose list has overflowed. */
__device__ static inline uint32_t
cu_draw_row(float max, double total, cu_pick_smem_t &s)
{
    const cu_ask_t &a = s.a;

    cu_cut_t cut = {0, CU_NONE};

    if (a.top_k) {
        cut = cu_row_cut(cut, 0, (double) a.top_k, s);
        total = cu_row_sums(cut, 0, max, s);
    }
    if (a.top_p) {
        cut = cu_row_cut(cut, 1, (double) s.d.top_p * total, s);
    }
    (void) cu_row_sums(cut, a.min_p, max, s);
    return cu_draw_slabs(cut, -1, max, s);
}


/* Block: all of the list to shared memory, in the order of ids; its length. */
__device__ static inline uint32_t
cu_gather(cu_pick_smem_t &s)
{
    const cu_place_t &w = s.w;

    uint32_t  i, m, low, high, mid, t = threadIdx.x;
    uint32_t *starts = s.hist[2];
    double    before, total;
    cu_pick_t k;

    before = cu_block_scan(t < w.n_slabs ? (double) w.slabs[t].n_list : 0, &total, s);
    m = (uint32_t) total;
    starts[t] = t < w.n_slabs ? (uint32_t) before : m;
    __syncthreads();

    for (i = t; i < m; i += CU_PICK) {
        low = 0;
        high = w.n_slabs; /* the last slab that begins at i or before it */
        while (high - low > 1) {
            mid = (low + high) / 2;
            if (starts[mid] <= i) {
                low = mid;
            } else {
                high = mid;
            }
        }
        k = w.list[w.slabs[low].first + i - starts[low]];
        s.x[CU_AT(i)] = k.x;
        s.id[i] = k.id;
    }
    __syncthreads();
    return m;
}


/* Block: the cut in the list, and the draw. */
__device__ static inline uint32_t
cu_draw_list(cu_pick_smem_t &s)
{
    const cu_ask_t   &a = s.a;
    const cu_draw_t  &d = s.d;
    const cu_row_t   &row = s.row;
    const cu_place_t &w = s.w;

    uint32_t i, m, t = threadIdx.x;
    float    x, y;
    double   sum, mass, sure, total = row.total;
    cu_cut_t cut = {0, CU_NONE};

    m = cu_gather(s);
    mass = cu_block_sum64(t < w.n_slabs ? w.slabs[t].mass : 0, s);
    sure = cu_block_sum64(t < w.n_slabs ? (double) w.slabs[t].n_sure : 0, s);

    if (a.top_k && sure + (double) m > (double) a.top_k) {
        cut = cu_cut(m, cut, 0, 0, (double) a.top_k - sure, row.max, a.t, s);
    }
    if (a.top_k && a.top_p) {
        sum = 0;
        for (i = t; i < m; i += CU_PICK) {
            x = s.x[CU_AT(i)];
            sum += cu_before(cut, cu_key(x), i) ? (double) cu_weight(x, row.max, a.t) : 0;
        }
        total = mass + cu_block_sum64(sum, s);
    }
    if (a.top_p && m != 0) {
        cut = cu_cut(m, cut, 1, mass, (double) d.top_p * total, row.max, a.t, s);
    }

    /* Weights instead of logits. */
    sum = 0;
    for (i = t; i < m; i += CU_PICK) {
        x = s.x[CU_AT(i)];
        y = cu_weight(x, row.max, a.t);
        y = y >= a.min_p && cu_before(cut, cu_key(x), i) ? y : 0;
        s.x[CU_AT(i)] = y;
        sum += (double) y;
    }

    if (row.near < 0) {
        total = cu_block_sum64(sum, s);
        i = cu_walk(m, k_philox_draw(d.seed, d.position, d.choice, 0) * total, s);
        return s.id[i];
    }

    /* To each slab's sum what it has in the list: a warp each. */
    __syncthreads();
    for (i = t / 32; i < w.n_slabs; i += CU_WARPS) {
        uint32_t k, end = i + 1 < CU_PICK ? s.hist[2][i + 1] : m;

        sum = 0;
        for (k = s.hist[2][i] + t % 32; k < end; k += 32) {
            sum += (double) s.x[CU_AT(k)];
        }
#pragma unroll
        for (int j = 16; j > 0; j /= 2) {
            sum += __shfl_xor_sync(CU_FULL, sum, j);
        }
        if (t % 32 == 0) {
            s.sums[i] = w.slabs[i].drawable + sum;
        }
    }

    /* From places in the list to ids; no list: nothing beyond `near`. */
    if (m == 0) {
        cut.key = CU_NONE;
    } else if (cut.last != CU_NONE) {
        cut.last = s.id[cut.last];
    }
    __syncthreads();
    x = row.near;
    if (cut.key == 0) {
        x = row.far; /* all of the list */
        cut.key = CU_NONE;
    }
    return cu_draw_slabs(cut, x, row.max, s);
}


/* Grid: (slabs, draws). */
__global__ static void
__launch_bounds__(CU_PICK, 2) cu_pick_cut(cu_sample_t p)
{
    CU_SHARED cu_pick_smem_t s;

    const cu_ask_t   &a = s.a;
    const cu_place_t &w = s.w;
    const cu_row_t   &row = s.row;

    uint32_t   slab = blockIdx.x, base = slab * CU_SLAB, t = threadIdx.x;
    uint32_t   marks = 0, token, n, at[CU_CHUNKS], i;
    float      v[CU_EACH];
    double     mass = 0, drawable = 0, sure = 0;
    cu_slab_t *mine;

    /* What is pending the kernel before has said, and this one unsays: it is
       never left from a step with more draws. */
    cu_grid_wait();
    cu_grid_launch();
    if (!cu_row(p, blockIdx.y)->pending) {
        return;
    }
    (void) cu_setup(p, s);
    if (t == 0) {
        s.row = *w.row;
    }
    __syncthreads();
    mine = w.slabs + slab;
    n = 0;

    if ((row.max - mine->max) * a.t * CU_BINS_NAT < row.far) {
        cu_slab_load(v, base, s);
        cu_slab_adjust(v, base, s);

#pragma unroll
        for (int k = 0; k < CU_EACH; k++) {
            float far = (row.max - v[k]) * a.t * CU_BINS_NAT;

            if (far < row.near) {
                float y = cu_weight(v[k], row.max, a.t);

                mass += (double) y;
                drawable += y >= a.min_p ? (double) y : 0;
                sure += 1;
            } else if (far < row.far) {
                marks |= 1u << k;
            }
        }

        if (row.near > 0) {
            mass = cu_block_sum64(mass, s);
            drawable = cu_block_sum64(drawable, s);
            sure = cu_block_sum64(sure, s);
        }

        n = cu_slab_order(marks, at, s);
        if (n != 0) {
            if (t == 0) {
                s.count = atomicAdd(&w.row->listed, n);
            }
            __syncthreads();
            if (s.count + n <= CU_LIST) {
#pragma unroll
                for (int k = 0; k < CU_EACH; k++) {
                    if (marks >> k & 1) {
                        i = s.count + cu_slab_place(marks, at, k);
                        w.list[i].x = v[k];
                        w.list[i].id = base + cu_slab_at(k);
                    }
                }
            }
        }
    }

    if (t == 0) {
        mine->mass = mass;
        mine->drawable = drawable;
        mine->n_sure = (uint32_t) sure;
        mine->first = n != 0 ? s.count : 0;
        mine->n_list = n;
    }

    if (!cu_last_block(w.row, s)) {
        return;
    }
    if (t == 0) {
        w.row->pending = 0;
    }
    if (w.row->listed > CU_LIST) {
        token = cu_draw_row(s.row.max, s.row.total, s);
    } else {
        token = cu_draw_list(s);
    }
    cu_finish(token, s.row.lse, s);
}


int
cu_sample_cut(const cu_sample_t *p, cu_stream_t s)
{
    return cu_launch(cu_pick_cut, dim3(cu_slabs(p->n_vocab), p->max_draws), dim3(CU_PICK), 0, s,
                     *p);
}
