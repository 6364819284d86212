/*
 * What a warp's operations do, once all their lanes have come: shuffles,
 * votes, ldmatrix, mma, by the PTX ISA's definitions.  Arguments and results
 * are the lanes' own (emu_word_t, emu_ldmatrix_t, emu_mma_t).
 */

#include "t/cuda/emu_core.h"

static const char *const emu_op_names[EMU_OPS] = {
    "__syncwarp",        "__shfl_sync",       "__shfl_xor_sync",   "__shfl_up_sync",
    "__shfl_down_sync",  "__ballot_sync",     "__any_sync",        "__all_sync",
    "__match_any_sync",  "__reduce_add_sync", "__reduce_min_sync", "__reduce_max_sync",
    "__reduce_and_sync", "__reduce_or_sync",  "__reduce_xor_sync", "__reduce_min_sync",
    "__reduce_max_sync", "ldmatrix",          "mma (bf16)",        "mma (f16)",
};


EMU_CORE const char *
emu_op_name(emu_op_t op)
{
    return emu_op_names[op];
}


EMU_CORE static int
emu_source(emu_op_t op, int lane, const emu_word_t *w)
{
    int first = lane & ~(w->width - 1), last = first | (w->width - 1), b = w->arg & 31, j;

    switch (op) {
    case EMU_OP_SHFL:
        return first | (b & (w->width - 1));
    case EMU_OP_SHFL_UP:
        j = lane - b;
        return j >= first ? j : lane;
    case EMU_OP_SHFL_DOWN:
        j = lane + b;
        return j <= last ? j : lane;
    default:
        j = lane ^ b;
        return j <= last ? j : lane;
    }
}


EMU_CORE static void
emu_shuffles(void **args, const emu_group_t *p)
{
    for (uint32_t m = p->mask; m; m &= m - 1) {
        int         lane = __builtin_ctz(m), from;
        emu_word_t *w = (emu_word_t *) args[lane];

        if (w->width < 1 || w->width > 32 || (w->width & (w->width - 1))) {
            emu_fail(p->file, p->line, "%s of width %d", emu_op_name(p->op), w->width);
        }

        from = emu_source(p->op, lane, w);
        if (!(p->mask >> from & 1)) {
            emu_fail(p->file, p->line, "%s: lane %d reads lane %d, which is not in mask %08x",
                     emu_op_name(p->op), lane, from, p->mask);
        }
        w->out = ((emu_word_t *) args[from])->in;
    }
}


EMU_CORE static void
emu_votes(void **args, const emu_group_t *p)
{
    uint64_t    out = 0, v;
    emu_word_t *w;
    int         first = 1;

    for (uint32_t m = p->mask; m; m &= m - 1) {
        int lane = __builtin_ctz(m);

        v = ((emu_word_t *) args[lane])->in;
        switch (p->op) {
        case EMU_OP_BALLOT:
            out |= v << lane;
            break;
        case EMU_OP_ANY:
        case EMU_OP_REDUCE_OR:
            out |= v;
            break;
        case EMU_OP_ALL:
        case EMU_OP_REDUCE_AND:
            out = first ? v : out & v;
            break;
        case EMU_OP_REDUCE_ADD:
            out = (uint32_t) (out + v);
            break;
        case EMU_OP_REDUCE_XOR:
            out ^= v;
            break;
        case EMU_OP_REDUCE_MIN:
            out = first || v < out ? v : out;
            break;
        case EMU_OP_REDUCE_MAX:
            out = first || v > out ? v : out;
            break;
        case EMU_OP_REDUCE_MIN_S:
            out = first || (int32_t) v < (int32_t) out ? v : out;
            break;
        default:
            out = first || (int32_t) v > (int32_t) out ? v : out;
        }
        first = 0;
    }

    for (uint32_t m = p->mask; m; m &= m - 1) {
        w = (emu_word_t *) args[__builtin_ctz(m)];
        w->out = out;
        if (p->op != EMU_OP_MATCH) {
            continue;
        }

        w->out = 0;
        for (uint32_t k = p->mask; k; k &= k - 1) {
            int lane = __builtin_ctz(k);

            w->out |= (uint64_t) (((emu_word_t *) args[lane])->in == w->in) << lane;
        }
    }
}


EMU_CORE static void
emu_matrices(void **args)
{
    for (int lane = 0; lane < 32; lane++) {
        emu_ldmatrix_t *l = (emu_ldmatrix_t *) args[lane];

        for (int i = 0; i < l->n; i++) {
            uint32_t w[2];

            for (int e = 0; e < 2; e++) {
                int row = l->trans ? 2 * (lane % 4) + e : lane / 4;
                int col = l->trans ? lane / 4 : 2 * (lane % 4) + e;

                w[e] = ((emu_ldmatrix_t *) args[i * 8 + row])->row[col];
            }
            l->r[i] = w[0] | w[1] << 16;
        }
    }
}


/* Every half as a float: made when first wanted. */
EMU_CORE static const float *
emu_halves()
{
    static float *table;

    if (table == NULL) {
        table = (float *) malloc(65536 * sizeof(float));
        for (uint32_t i = 0; i < 65536; i++) {
            int   e = (int) (i >> 10 & 31), m = (int) (i & 1023);
            float v = e == 31  ? (m ? NAN : INFINITY)
                      : e == 0 ? ldexpf((float) m, -24)
                               : ldexpf((float) (m + 1024), e - 25);

            table[i] = i & 0x8000 ? -v : v;
        }
    }

    return table;
}


EMU_CORE static inline void
emu_pair(float *out, uint32_t w, const float *halves)
{
    uint32_t lo = w << 16, hi = w & 0xffff0000;

    if (halves) {
        out[0] = halves[w & 0xffff];
        out[1] = halves[w >> 16];
    } else {
        memcpy(&out[0], &lo, 4);
        memcpy(&out[1], &hi, 4);
    }
}


/* The fragments' places: PTX ISA, "Matrix Fragments for mma.m16n8k16". */
EMU_CORE static void
emu_mma(void **args, const float *halves)
{
    float a[16][16], b[8][16], bt[16][8], d[16][8];

    for (int lane = 0; lane < 32; lane++) {
        const emu_mma_t *m = (const emu_mma_t *) args[lane];
        int              row = lane >> 2, pair = (lane & 3) * 2;

        emu_pair(&a[row][pair], m->a[0], halves);
        emu_pair(&a[row + 8][pair], m->a[1], halves);
        emu_pair(&a[row][pair + 8], m->a[2], halves);
        emu_pair(&a[row + 8][pair + 8], m->a[3], halves);
        emu_pair(&b[row][pair], m->b[0], halves);
        emu_pair(&b[row][pair + 8], m->b[1], halves);
        d[row][pair] = m->d[0];
        d[row][pair + 1] = m->d[1];
        d[row + 8][pair] = m->d[2];
        d[row + 8][pair + 1] = m->d[3];
    }

    for (int k = 0; k < 16; k++) {
        for (int j = 0; j < 8; j++) {
            bt[k][j] = b[j][k];
        }
    }

    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < 16; k++) {
            for (int j = 0; j < 8; j++) {
                d[i][j] += a[i][k] * bt[k][j];
            }
        }
    }

    for (int lane = 0; lane < 32; lane++) {
        const emu_mma_t *m = (const emu_mma_t *) args[lane];
        int              row = lane >> 2, pair = (lane & 3) * 2;

        m->d[0] = d[row][pair];
        m->d[1] = d[row][pair + 1];
        m->d[2] = d[row + 8][pair];
        m->d[3] = d[row + 8][pair + 1];
    }
}


EMU_CORE void
emu_carry_out(void **args, const emu_group_t *p)
{
    switch (p->op) {
    case EMU_OP_SYNCWARP:
        return;
    case EMU_OP_SHFL:
    case EMU_OP_SHFL_XOR:
    case EMU_OP_SHFL_UP:
    case EMU_OP_SHFL_DOWN:
        emu_shuffles(args, p);
        return;
    case EMU_OP_LDMATRIX:
        emu_matrices(args);
        return;
    case EMU_OP_MMA_BF16:
        emu_mma(args, NULL);
        return;
    case EMU_OP_MMA_F16:
        emu_mma(args, emu_halves());
        return;
    default:
        emu_votes(args, p);
    }
}
