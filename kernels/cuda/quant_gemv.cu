/*
 * Block weights times up to eight rows of int8 activations: decode's products.
 *
 *     y = sum over pieces of (s_w d_x) (sum of q_w q_x) + m_w (d_x sum of q_x)
 *
 * as the CPU backend computes it: integers exactly, scales in F32; the sums of
 * pieces, F32, in an order that depends on the shape and the device only.
 *
 * WHO DOES WHAT.  A task is R = 4 rows of W.  `split` warps of a block share
 * it; each takes every split-th run of 32 units, a unit being 16 bytes of a
 * row's q: a piece of 32 weights, for Q8_0 half of one.  Lane l takes unit l of
 * a run, of all four rows: consecutive lanes read consecutive 16 bytes, and
 * their scales from consecutive places too.  Blocks are as many as are at work
 * at once, and go round the tasks; cu_quant_plan() chooses split so that none
 * is without one at the end.  Sums go over the warp by shuffles, over `split`
 * warps by shared memory, which has nothing else in it (512 bytes).
 *
 * WHY THAT IS FAST.  The weights' bytes are all that comes from memory, once.
 * A row's registers are asked for the next unit as soon as it is unpacked, of
 * the next task too, so four 16-byte loads and their scales are under way in a
 * thread at any time: with 16 warps a multiprocessor 37 KiB, where an H200
 * needs 20 to 30; the first of them before cu_grid_wait(), when the kernel
 * before this one still runs.  Activations are small and come through L1, each
 * for four rows of W; weights do not stay there.  A lane reads the two halves
 * of its 32 in the order that bit 2 of its number says, so that 8 lanes' 16
 * bytes lie in different banks.  Integer sums start from the bits of 1.5 *
 * 2^23, so that F32 subtracts it and no conversion is needed.
 *
 * FIGURES, from sm_90's machine code: operations of a unit (32 weights) for 1,
 * 4 and 8 rows of X: Q4_K 54, 108, 184; Q4_0 43; Q6_K 74; MXFP4 91; Q8_0 24 (16
 * weights).  A multiprocessor does 128 a clock, of dp4a 64; an H200 at its
 * memory's full speed brings about 1.0 units of Q4_K a clock: 42 % of what it
 * can do for 1 row, 85 % for 4; 8 rows reach at most 70 % of that speed.
 */

#include "kernels/cuda/mul.cuh"
#include "kernels/cuda/quant.cuh"

#define CU_ROWS       4          /* most rows of W in a task */
#define CU_MAGIC      0x4b400000 /* 1.5 * 2^23 */
#define CU_MAGIC_F    12582912.0f
#define CU_MAX_EXPERT 1024

#define CU_WARPS 4

/*
 * For M rows of X: rows of W in a task, and blocks a multiprocessor, that is
 * 128 or 168 registers a thread, without spills.
 */
template <cu_form_t F, int M> struct cu_quant_shape {
    static const bool LARGE = cu_quant<F>::HIGH != 0;
    static const int  ROWS = M == 8 && LARGE && cu_quant<F>::SUPER != 0 ? 2 : CU_ROWS;
    static const int  BLOCKS = M <= 2 && !LARGE ? 4 : 3;
};

typedef struct {
    cu_quant_view_t w;
    const int8_t   *q;
    const float    *q_d;
    cu_out_t        out;
    uint32_t        n;             /* outputs: of one expert */
    uint32_t        rows;          /* of W in a task: R, or 1 if n is less */
    uint32_t        step[CU_ROWS]; /* bytes from the first to each; 0 if it is 1 */
    uint32_t        split;         /* warps that share a task: 1, 2, 4 */
    uint32_t        is_f16;        /* T */

    const uint32_t *slots; /* experts, else NULL */
    const uint32_t *first;
    uint32_t        experts;
    uint32_t        x_div;
} cu_quant_mul_t;


/* --- a unit --- */

/* As loaded; what a form lacks is never set nor read. */
template <cu_form_t F> struct cu_unit_t {
    uint4    q;
    uint32_t h0;
    uint32_t h1;
    uint32_t scale;
    uint32_t super;
};


/* Where a unit's bytes are in a task's first row. */
typedef struct {
    const uint8_t *q;
    const uint8_t *high;
    const uint8_t *scale;
    const uint8_t *super;
} cu_unit_at_t;


template <cu_form_t F>
__device__ static inline cu_unit_at_t
cu_unit_at(const cu_quant_view_t &v, const uint8_t *row, uint32_t u)
{
    typedef cu_quant<F> Q;

    uint32_t piece = u / (Q::Q / 16);

    return {row + u * 16u, row + (v.at[CU_PART_HIGH] + piece * Q::HIGH),
            row + (v.at[CU_PART_SCALE] + piece * Q::SCALE),
            row + (v.at[CU_PART_SUPER] + piece / 8 * Q::SUPER)};
}


/* The unit `step` bytes on: of another row. */
template <cu_form_t F>
__device__ static inline void
cu_unit_load(cu_unit_t<F> *x, const cu_unit_at_t &at, uint32_t step)
{
    typedef cu_quant<F> Q;

    x->q = cu_load_stream(at.q + step);

    if constexpr (Q::HIGH == 4) {
        x->h0 = __ldg((const uint32_t *) (at.high + step));
    } else if constexpr (Q::HIGH == 8) {
        uint2 h = __ldg((const uint2 *) (at.high + step));

        x->h0 = h.x;
        x->h1 = h.y;
    }

    if constexpr (Q::SCALE == 1) {
        x->scale = __ldg(at.scale + step);
    } else if constexpr (Q::SCALE == 2) {
        x->scale = __ldg((const unsigned short *) (at.scale + step));
    } else {
        x->scale = __ldg((const uint32_t *) (at.scale + step));
    }

    if constexpr (Q::SUPER == 2) {
        x->super = __ldg((const unsigned short *) (at.super + step));
    } else if constexpr (Q::SUPER == 4) {
        x->super = __ldg((const uint32_t *) (at.super + step));
    } else {
        x->super = 0;
    }
}


/* Words of int8x4 of a unit: Q8_0's 4 are consecutive, others LO, then HI. */
template <cu_form_t F> struct cu_unit {
    static const int WORDS = cu_quant<F>::Q == 32 ? 4 : 8;
};


template <cu_form_t F>
__device__ static inline void
cu_unit_unpack(const cu_unit_t<F> &x, int w[8])
{
    typedef cu_quant<F> Q;

    if constexpr (Q::Q == 32) {
        w[0] = (int) x.q.x;
        w[1] = (int) x.q.y;
        w[2] = (int) x.q.z;
        w[3] = (int) x.q.w;
    } else {
        uint32_t       lo, hi, h0 = 0, h1 = 0;
        const uint32_t q[4] = {x.q.x, x.q.y, x.q.z, x.q.w};

        if constexpr (Q::HIGH != 0) {
            h0 = x.h0;
        }
        if constexpr (Q::HIGH == 8) {
            h1 = x.h1;
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            Q::unpack(q[j], 0, h0, h1, j, &lo, &hi);
            w[j] = (int) lo;
            w[4 + j] = (int) hi;
        }
    }
}


/*
 * The activations of unit u of a row of X, in the same order; d without
 * unpack()'s power of two, and d * sum; both 0 if not `on`.  Offsets in X are
 * below 2^32: the launcher sees to that.
 */
template <cu_form_t F>
__device__ static inline void
cu_unit_x(const cu_quant_mul_t &a, uint32_t row, uint32_t u, bool on, int x[8], float2 *d)
{
    const float unshift = 1.0f / (float) (1 << cu_quant<F>::SHIFT);

    *d = *(const float2 *) (a.q_d + (row * a.w.pieces + u / (cu_quant<F>::Q / 16)) * 2);
    d->x = on ? d->x * unshift : 0.0f;
    d->y = on ? d->y : 0.0f;

    if constexpr (cu_unit<F>::WORDS == 4) {
        int4 v = *(const int4 *) (a.q + (row * a.w.pieces * 2 + u) * 16);

        x[0] = v.x;
        x[1] = v.y;
        x[2] = v.z;
        x[3] = v.w;
    } else {
        /* of 8 lanes half begin with the second 16 bytes: no two share a bank */
        const bool    swap = threadIdx.x & 4;
        const int8_t *p = a.q + (row * a.w.pieces + u) * 32;
        int4          v, b;

        v = *(const int4 *) (p + (swap ? 16 : 0));
        b = *(const int4 *) (p + (swap ? 0 : 16));
        x[0] = swap ? b.x : v.x;
        x[1] = swap ? b.y : v.y;
        x[2] = swap ? b.z : v.z;
        x[3] = swap ? b.w : v.w;
        x[4] = swap ? v.x : b.x;
        x[5] = swap ? v.y : b.y;
        x[6] = swap ? v.z : b.z;
        x[7] = swap ? v.w : b.w;
    }
}


__device__ static inline float
cu_unit_dot(const int *w, const int *x, int n)
{
    int t = CU_MAGIC;

#pragma unroll
    for (int i = 0; i < n; i++) {
        t = __dp4a(w[i], x[i], t);
    }
    return __int_as_float(t) - CU_MAGIC_F;
}


/* sum + the unit's product. */
template <cu_form_t F>
__device__ static inline float
cu_unit_add(const int w[8], const cu_quant_scale_t &s, const int x[8], float2 d, float sum)
{
    typedef cu_quant<F> Q;

    if constexpr (Q::KIND == CU_SCALE_K2) {
        float lo = cu_unit_dot(w, x, 4), hi = cu_unit_dot(w + 4, x + 4, 4);

        return fmaf(fmaf(hi, s.s[1], lo * s.s[0]), d.x, sum);
    } else {
        float dot = cu_unit_dot(w, x, cu_unit<F>::WORDS);

        if constexpr (Q::MIN) {
            sum = fmaf(s.m, d.y, sum);
        }
        return fmaf(dot, s.s[0] * d.x, sum);
    }
}


/* --- sums --- */

/*
 * Over the warp, all V of v[]; lane l has the sum of v[l / (32 / V)].  Lanes
 * exchange halves of what they have, so that it is V - 1 shuffles, and those
 * of one number more.
 */
template <int V, int MASK = 16>
__device__ static inline float
cu_warp_sums(float *v)
{
    const int  half = V / 2;
    const bool upper = threadIdx.x & MASK;

    if constexpr (MASK == 0) {
        return v[0];
    } else if constexpr (half == 0) {
        v[0] += __shfl_xor_sync(CU_FULL, v[0], MASK);
        return cu_warp_sums<V, MASK / 2>(v);
    } else {
#pragma unroll
        for (int i = 0; i < half; i++) {
            float mine = upper ? v[half + i] : v[i], other = upper ? v[i] : v[half + i];

            v[i] = mine + __shfl_xor_sync(CU_FULL, other, MASK);
        }
        return cu_warp_sums<half, MASK / 2>(v);
    }
}


/*
 * The expert whose slots have number i: how many experts end at or before it.
 * The whole warp calls it; the experts' count: none.
 */
__device__ static inline uint32_t
cu_expert_of(const uint32_t *first, uint32_t experts, uint32_t i)
{
    uint32_t e, n = 0;

    for (e = threadIdx.x % 32; e < experts; e += 32) {
        n += first[e + 1] <= i;
    }
#pragma unroll
    for (int m = 16; m > 0; m /= 2) {
        n += __shfl_xor_sync(CU_FULL, n, m);
    }
    return n;
}


/* --- the kernel --- */

/* The first row of a task: of the last one, so that all its rows are there. */
__device__ static inline uint32_t
cu_task_row(const cu_quant_mul_t &a, uint32_t task)
{
    return min(task * a.rows, a.n - a.rows);
}


template <cu_form_t F, int M, bool EXPERTS>
__global__ void
__launch_bounds__(CU_WARPS * 32, cu_quant_shape<F, M>::BLOCKS)
    cu_quant_gemv_kernel(cu_quant_mul_t a, const cu_step_t *step)
{
    typedef cu_quant<F> Q;
    const int           R = cu_quant_shape<F, M>::ROWS, V = M * R, W = CU_WARPS;

    CU_SHARED float sums[W * V];

    int              m, r, x[8], w[R][8];
    bool             mine, on;
    float            acc[V], v, base;
    float2           d;
    uint32_t         lane, group, part, units, run, u, first, then, next, i, o, n, e = 0, from = 0;
    uint32_t         x_row[M];
    cu_unit_t<F>     unit[R];
    cu_unit_at_t     at;
    const uint8_t   *row;
    cu_quant_scale_t s[R];

    lane = threadIdx.x % 32;
    group = threadIdx.x / 32 / a.split;
    part = threadIdx.x / 32 % a.split * 32;
    units = a.w.pieces * (Q::Q / 16);

    /* metadata: no kernel writes it */
    n = cu_out_rows(&a.out, step);

    if (EXPERTS) {
        cu_grid_launch();
        cu_grid_wait();

        /* a grid row for each slot; of an expert's, every M-th one works */
        from = blockIdx.y;
        e = cu_expert_of(a.first, a.experts, from);
        if (e == a.experts || n == 0 || (from - a.first[e]) % M != 0) {
            return;
        }
        n = min((uint32_t) M, a.first[e + 1] - from);
    }

    /* lanes beyond a row's last unit take that one, times 0 */
    first = blockIdx.x * (W / a.split);
    row = a.w.base + ((size_t) e * a.n + cu_task_row(a, first + group)) * a.w.stride;
    at = cu_unit_at<F>(a.w, row, min(part + lane, units - 1));
#pragma unroll
    for (r = 0; r < R; r++) {
        cu_unit_load(&unit[r], at, a.step[r]);
    }

    if (!EXPERTS) {
        cu_grid_launch();
        cu_grid_wait();
        if (n == 0) {
            return;
        }
    }

#pragma unroll
    for (m = 0; m < M; m++) {
        x_row[m] = (uint32_t) m;
        if (EXPERTS) {
            x_row[m] = a.slots[from + min((uint32_t) m, n - 1)] / a.x_div;
        }
    }

    for (; first * a.rows < a.n; first = then) {
        then = first + gridDim.x * (W / a.split);

#pragma unroll
        for (r = 0; r < V; r++) {
            acc[r] = 0;
        }

        for (run = part; run < units; run = next) {
            on = run + lane < units;
            u = min(run + lane, units - 1);

            /*
             * The next loads: of this task, or of the next one's beginning; at
             * the end all lanes ask for one place, which is cheaper than to
             * keep registers that may not be loaded.
             */
            next = run + a.split * 32;
            i = min(next + lane, units - 1);
            if (next >= units) {
                i = min(part + lane, units - 1);
                o = cu_task_row(a, then + group);
                if (then * a.rows >= a.n) {
                    i = 0;
                    o = 0;
                }
                row = a.w.base + ((size_t) e * a.n + o) * a.w.stride;
            }
            at = cu_unit_at<F>(a.w, row, i);

            if (M == 1) {
                cu_unit_x<F>(a, x_row[0], u, on, x, &d);
            }

            /* a row is unpacked, and its registers are asked for the next */
#pragma unroll
            for (r = 0; r < R; r++) {
                cu_unit_unpack(unit[r], w[r]);
                s[r] = cu_quant_scale_of<F>(unit[r].scale, unit[r].super);
                cu_unit_load(&unit[r], at, a.step[r]);
                if (M == 1) {
                    acc[r] = cu_unit_add<F>(w[r], s[r], x, d, acc[r]);
                }
            }

            if (M > 1) {
#pragma unroll
                for (m = 0; m < M; m++) {
                    if (m > 0 && (uint32_t) m >= n) {
                        break;
                    }
                    cu_unit_x<F>(a, x_row[m], u, on, x, &d);
#pragma unroll
                    for (r = 0; r < R; r++) {
                        acc[m * R + r] = cu_unit_add<F>(w[r], s[r], x, d, acc[m * R + r]);
                    }
                }
            }
        }

        /* number lane / (32 / V) of the task is this lane's */
        i = lane / (32 / V);
        o = cu_task_row(a, first + group) + i % R;
        r = (int) (i / R);
        mine = part == 0 && lane % (32 / V) == 0 && i % R < a.rows && o >= (first + group) * a.rows
               && r < (int) n;
        base = 0;
        if (mine) {
            r = EXPERTS ? (int) a.slots[from + (uint32_t) r] : r;
            base = cu_out_base(&a.out, (uint32_t) r, o, e * a.n + o);
        }

        v = cu_warp_sums<V>(acc);

        if (a.split > 1) {
            if (lane % (32 / V) == 0) {
                sums[threadIdx.x / 32 * V + i] = v;
            }
            __syncthreads();
            if (mine) {
                v = 0;
                for (m = 0; m < (int) a.split; m++) {
                    v += sums[(group * a.split + (uint32_t) m) * V + i];
                }
            }
            __syncthreads();
        }

        if (mine && a.is_f16) {
            cu_out_put<__half>(&a.out, (uint32_t) r, o, base + v);
        } else if (mine) {
            cu_out_put<__nv_bfloat16>(&a.out, (uint32_t) r, o, base + v);
        }
    }
}


/* --- the launcher --- */

/*
 * How many warps share a task, and how many blocks go round the tasks, for
 * all of the device to be at work until the end: of a number of warps that
 * leaves at most 5 % more idle than twice as many would, the smallest; and of
 * blocks that are all at work at once as few as need no more rounds.
 */
static uint32_t
cu_quant_plan(uint32_t tasks, uint32_t units, uint32_t slots, uint32_t at_once, uint32_t *split)
{
    float    fill, best = 0;
    uint32_t n, blocks = 1, s;
    uint64_t rounds;

    *split = 1;
    for (s = 1; s <= CU_WARPS; s *= 2) {
        if (s > 1 && s * 32 >= units + 32) {
            break;
        }

        n = (uint32_t) (((uint64_t) tasks * s + CU_WARPS - 1) / CU_WARPS);
        rounds = ((uint64_t) n * slots + at_once - 1) / at_once;
        fill = (float) ((double) tasks * s / CU_WARPS * slots / ((double) rounds * at_once));

        if (s == 1 || fill > best + 0.05f) {
            best = fill;
            *split = s;
            blocks = (uint32_t) ((n + rounds - 1) / rounds);
        }
    }

    return blocks;
}


template <cu_form_t F, int M, bool EXPERTS>
static int
cu_quant_gemv_go(cu_quant_mul_t *a, uint32_t slots, const cu_step_t *step, cu_stream_t s)
{
    const uint32_t R = cu_quant_shape<F, M>::ROWS;

    uint32_t blocks, r;

    /* a task takes rows that are there: with less than R, one at a time */
    a->rows = a->n < R ? 1 : R;
    for (r = 0; r < CU_ROWS; r++) {
        a->step[r] = a->rows == 1 ? 0 : r * a->w.stride;
    }
    blocks = cu_quant_plan((a->n + a->rows - 1) / a->rows, a->w.pieces * (cu_quant<F>::Q / 16),
                           slots, cu_sms() * cu_quant_shape<F, M>::BLOCKS, &a->split);

    return cu_launch(cu_quant_gemv_kernel<F, M, EXPERTS>, dim3(blocks, slots), dim3(CU_WARPS * 32),
                     0, s, *a, step);
}


template <cu_form_t F>
static int
cu_quant_gemv_of(cu_quant_mul_t *a, uint32_t slots, const cu_step_t *step, cu_stream_t s)
{
    if (a->slots != NULL) {
        return a->out.rows == 1 ? cu_quant_gemv_go<F, 1, true>(a, slots, step, s)
                                : cu_quant_gemv_go<F, 2, true>(a, slots, step, s);
    }

    switch (a->out.rows) {
    case 1:
        return cu_quant_gemv_go<F, 1, false>(a, 1, step, s);
    case 2:
        return cu_quant_gemv_go<F, 2, false>(a, 1, step, s);
    case 3:
    case 4:
        return cu_quant_gemv_go<F, 4, false>(a, 1, step, s);
    default:
        return cu_quant_gemv_go<F, 8, false>(a, 1, step, s);
    }
}


extern "C" int
cu_quant_gemv(cu_type_t t, const cu_mul_t *p, const cu_step_t *step, cu_stream_t s)
{
    int            rc;
    uint32_t       slots = 1;
    cu_quant_mul_t a = {};

    rc = cu_out_of(&a.out, t, p);
    if (rc == 0) {
        rc = cu_quant_view(p->w->form, p->w->cols, p->w->plane[0], &a.w);
    }
    if (rc != 0) {
        return rc;
    }

    /* offsets in X, of elements, are 32 bits */
    if (p->rows > CU_GEMV_ROWS || p->w->cols > 1u << 24 || p->q == NULL || p->q_d == NULL
        || a.w.base == NULL || (uintptr_t) a.w.base % 16 != 0 || (uintptr_t) p->q % 16 != 0
        || (uintptr_t) p->q_d % 8 != 0 || cu_sms() == 0) {
        return -EINVAL;
    }

    a.q = p->q;
    a.q_d = p->q_d;
    a.n = p->w->rows;
    a.is_f16 = t == CU_F16;

    if (p->slots != NULL) {
        if (p->w->experts == 0 || p->w->experts > CU_MAX_EXPERT || a.n % p->w->experts != 0
            || p->first == NULL || p->x_div == 0 || p->n_slots == 0 || p->n_slots > 65535
            || (uint64_t) (p->n_slots / p->x_div + 1) * p->w->cols >= 1ull << 32) {
            return -EINVAL;
        }
        a.slots = p->slots;
        a.first = p->first;
        a.experts = p->w->experts;
        a.x_div = p->x_div;
        a.n /= a.experts;
        slots = p->n_slots;
    }

    switch (p->w->form) {
#define CU_QUANT_CASE(name, ...)                                                                   \
    case CU_W_##name:                                                                              \
        return cu_quant_gemv_of<CU_W_##name>(&a, slots, step, s);
        CU_QUANT_TABLE(CU_QUANT_CASE)
#undef CU_QUANT_CASE
    default:
        return -EINVAL;
    }
}
