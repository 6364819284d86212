/*
 * The instructions that kernels are made of, each against its definition in
 * the PTX ISA, written here a second time: matrix fragments, ldmatrix,
 * shuffles, votes, integers, conversions, cp.async, block sums.  On the
 * emulated device this proves the emulator, on a real one this file and
 * cu_device.cuh.
 *
 * And what the emulated device must find: races, diverged warps, overruns;
 * each in a child process, which is expected to die with the right words.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t/cuda/cu_test.h"
#include "t/cuda/emu_probe.h"


static uint32_t seed = 1;

static void fill(uint32_t *v, size_t n);
static void mma(cu_type_t t, const char *name);
static void ldmatrix(void);
static void shuffles(void);
static void votes(void);
static void ints(void);
static void conversions(void);
static void pairs(cu_type_t t, const char *name);
static void floats(void);
static void async(void);
static void blocks(void);
static void limits(void);
static void races(void);
static void faults(void);
static int  child(probe_fault_t f, char *text, size_t size);


int
main(void)
{
    struct cudaDeviceProp p;

    if (cudaGetDeviceProperties(&p, 0) != cudaSuccess) {
        skip_all("no CUDA device");
    }

    mma(CU_BF16, "bf16");
    mma(CU_F16, "f16");
    ldmatrix();
    shuffles();
    votes();
    ints();
    conversions();
    pairs(CU_F16, "f16");
    pairs(CU_BF16, "bf16");
    floats();
    async();
    blocks();
    limits();

    if (strcmp(p.name, "Emulated device") == 0) {
        races();
        faults();
    }

    return tap_done();
}


static void
fill(uint32_t *v, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        v[i] = test_rand(&seed);
    }
}


/* --- tensor cores --- */

static uint32_t
pack(cu_type_t t, double lo, double hi)
{
    return t == CU_F16
               ? to_half((float) lo) | (uint32_t) to_half((float) hi) << 16
               : to_bf16((float) lo) | (uint32_t) to_bf16((float) hi) << 16;
}


/*
 * PTX ISA, mma.m16n8k16 with 16-bit A and B.  groupID = lane >> 2, in group =
 * lane % 4.  For a0..a7 (two in a register): row = groupID for a0 a1 a4 a5,
 * else groupID + 8; col = in group * 2 + (i & 1), + 8 for i >= 4.  For b0..b3:
 * row = in group * 2 + (i & 1), + 8 for i >= 2; col = groupID.  For c0..c3:
 * row = groupID, + 8 for i >= 2; col = in group * 2 + (i & 1).
 */
static void
mma(cu_type_t t, const char *name)
{
    int       lane, i, j, k, row, col, good = 1;
    double    A[16][16], B[16][8], C[16][8], sum, err, worst = 0;
    float     d[32][4];
    uint32_t  a[32][4], b[32][2];
    float    *dd;
    uint32_t *da, *db;

    for (i = 0; i < 16; i++) {
        for (j = 0; j < 16; j++) {
            A[i][j] = test_rand(&seed) % 257 / 64.0 - 2;
            B[j][i % 8] = test_rand(&seed) % 257 / 64.0 - 2;
            C[i][j % 8] = test_normal(&seed);
        }
    }

    for (lane = 0; lane < 32; lane++) {
        for (i = 0; i < 8; i += 2) {
            row = (i / 2) % 2 == 0 ? lane >> 2 : (lane >> 2) + 8;
            col = lane % 4 * 2 + (i >= 4 ? 8 : 0);
            a[lane][i / 2] = pack(t, A[row][col], A[row][col + 1]);
        }
        for (i = 0; i < 4; i += 2) {
            row = lane % 4 * 2 + (i >= 2 ? 8 : 0);
            b[lane][i / 2] = pack(t, B[row][lane >> 2], B[row + 1][lane >> 2]);
        }
        for (i = 0; i < 4; i++) {
            d[lane][i] = (float)
                C[(lane >> 2) + (i >= 2 ? 8 : 0)][lane % 4 * 2 + (i & 1)];
        }
    }

    dd = dev_of(d, sizeof(d));
    da = dev_of(a, sizeof(a));
    db = dev_of(b, sizeof(b));
    is_int(probe_mma(t, dd, da, db, NULL), 0, "mma %s", name);
    dev_get(d, dd, sizeof(d));

    for (lane = 0; lane < 32; lane++) {
        for (i = 0; i < 4; i++) {
            row = (lane >> 2) + (i >= 2 ? 8 : 0);
            col = lane % 4 * 2 + (i & 1);
            for (k = 0, sum = (float) C[row][col]; k < 16; k++) {
                sum += A[row][k] * B[k][col];
            }
            err = fabs(sum - d[lane][i]);
            worst = err > worst ? err : worst;
            good &= err < 1e-4;
        }
    }

    ok(good, "mma %s: D = A B + C, worst error %g", name, worst);
    dev_free(dd);
    dev_free(da);
    dev_free(db);
}


static void
ldmatrix(void)
{
    static const char *const names[] = {"x4", "x4.trans", "x2"};

    int       kind, lane, i, good, n;
    uint16_t  m[512];
    uint32_t  at[32], out[32][4], want, lo, hi, in[32], tr[32];
    uint16_t *dm = dev_new(sizeof(m));
    uint32_t *dat = dev_new(sizeof(at)), *dout = dev_new(sizeof(out));
    uint32_t *din, *dtr;

    for (kind = PROBE_LD4; kind <= PROBE_LD2; kind++) {
        n = kind == PROBE_LD2 ? 2 : 4;
        for (i = 0; i < 512; i++) {
            m[i] = (uint16_t) test_rand(&seed);
        }
        for (i = 0; i < 32; i++) {
            at[i] = test_rand(&seed) % 64;
        }
        dev_put(dm, m, sizeof(m));
        dev_put(dat, at, sizeof(at));
        is_int(probe_ldmatrix((probe_ld_t) kind, dm, dat, dout, NULL), 0,
               "ldmatrix.%s", names[kind]);
        dev_get(out, dout, sizeof(out));

        /* Lane t has row t / 4, elements 2 (t % 4) and the next. */
        for (lane = 0, good = 1; lane < 32; lane++) {
            for (i = 0; i < n; i++) {
                if (kind == PROBE_LD4_TRANS) {
                    lo = m[at[i * 8 + lane % 4 * 2] * 8 + (uint32_t) lane / 4];
                    hi = m[at[i * 8 + lane % 4 * 2 + 1] * 8
                           + (uint32_t) lane / 4];
                } else {
                    lo = m[at[i * 8 + lane / 4] * 8 + (uint32_t) lane % 4 * 2];
                    hi = m[at[i * 8 + lane / 4] * 8 + (uint32_t) lane % 4 * 2
                           + 1];
                }
                want = lo | hi << 16;
                good &= out[lane][i] == want;
            }
        }
        ok(good, "ldmatrix.%s: every lane's elements", names[kind]);
    }

    fill(in, 32);
    din = dev_of(in, sizeof(in));
    dtr = dev_new(sizeof(tr));
    is_int(probe_transpose(din, dtr, NULL), 0, "movmatrix");
    dev_get(tr, dtr, sizeof(tr));

    for (lane = 0, good = 1; lane < 32; lane++) {
        for (i = 0; i < 2; i++) {
            /* Element [r][c] of the result is [c][r] of the source. */
            int r = lane / 4, c = lane % 4 * 2 + i;

            want = in[c * 4 + r / 2] >> (r % 2 * 16) & 0xffff;
            good &= (tr[lane] >> (i * 16) & 0xffff) == want;
        }
    }
    ok(good, "movmatrix: every lane's elements");

    dev_free(dm);
    dev_free(dat);
    dev_free(dout);
    dev_free(din);
    dev_free(dtr);
}


/* --- warps --- */

/* PTX ISA, shfl.sync, by its pseudocode. */
static int
shuffled(int op, int lane, int b, int width)
{
    int c = op == PROBE_UP ? 0 : 31, segmask = 32 - width, j, max, min, p;

    b &= 31;
    max = (lane & segmask) | (c & ~segmask & 31);
    min = lane & segmask;

    switch (op) {
    case PROBE_UP:
        j = lane - b;
        p = j >= max;
        break;
    case PROBE_DOWN:
        j = lane + b;
        p = j <= max;
        break;
    case PROBE_XOR:
        j = lane ^ b;
        p = j <= max;
        break;
    default:
        j = min | (b & ~segmask & 31);
        p = j <= max;
    }

    return p ? j : lane;
}


static void
shuffles(void)
{
    static const char *const names[] = {"idx", "bfly", "up", "down"};

    int       op, width, i, good;
    int       arg[32];
    float     f[32], fout[32];
    uint64_t  w[32], wout[32];
    int      *darg = dev_new(sizeof(arg));
    float    *df = dev_new(sizeof(f)), *dfout = dev_new(sizeof(f));
    uint64_t *dw = dev_new(sizeof(w)), *dwout = dev_new(sizeof(w));

    for (op = PROBE_IDX; op <= PROBE_DOWN; op++) {
        for (width = 2, good = 1; width <= 32; width *= 2) {
            for (i = 0; i < 32; i++) {
                /* One distance for all but idx: any of them is allowed. */
                arg[i] = op == PROBE_IDX ? (int) (test_rand(&seed) % 32)
                         : i > 0         ? arg[0]
                                         : (int) (test_rand(&seed) % 32);
                f[i] = (float) test_normal(&seed);
                w[i] = (uint64_t) test_rand(&seed) << 32 | test_rand(&seed);
            }
            dev_put(darg, arg, sizeof(arg));
            dev_put(df, f, sizeof(f));
            dev_put(dw, w, sizeof(w));
            good &= probe_shuffle32((probe_shuffle_t) op, width, darg, df,
                                    dfout, NULL)
                    == 0;
            good &= probe_shuffle64((probe_shuffle_t) op, width, darg, dw,
                                    dwout, NULL)
                    == 0;
            dev_get(fout, dfout, sizeof(fout));
            dev_get(wout, dwout, sizeof(wout));
            for (i = 0; i < 32; i++) {
                good &= fout[i] == f[shuffled(op, i, arg[i], width)];
                good &= wout[i] == w[shuffled(op, i, arg[i], width)];
            }
        }
        ok(good, "shfl.%s of 32 and 64 bits, all widths", names[op]);
    }

    dev_free(darg);
    dev_free(df);
    dev_free(dfout);
    dev_free(dw);
    dev_free(dwout);
}


static void
votes(void)
{
    static const uint32_t masks[] = {0xffffffff, 0x0000ffff, 0x80000001,
                                     0x55aa0f10, 0x00000008};

    uint32_t  in[32], out[12][32], want[12], mask, *din, *dout;
    size_t    k;
    int       i, j, good = 1;
    uint32_t *all;

    din = dev_new(sizeof(in));
    dout = dev_new(sizeof(out));

    for (k = 0; k < sizeof(masks) / sizeof(masks[0]); k++) {
        mask = masks[k];
        fill(in, 32);
        memset(out, 0x77, sizeof(out));
        dev_put(din, in, sizeof(in));
        dev_put(dout, out, sizeof(out));
        good &= probe_vote(mask, din, dout, NULL) == 0;
        dev_get(out, dout, sizeof(out));

        memset(want, 0, sizeof(want));
        want[2] = 1;
        want[5] = UINT32_MAX;
        want[8] = INT32_MAX;
        want[9] = (uint32_t) INT32_MIN;
        want[10] = UINT32_MAX;
        for (i = 0; i < 32; i++) {
            if (!(mask >> i & 1)) {
                continue;
            }
            want[0] |= (in[i] & 1) << i;
            want[1] |= in[i] & 1;
            want[2] &= in[i] & 1;
            want[4] += in[i];
            want[5] = in[i] < want[5] ? in[i] : want[5];
            want[6] = in[i] > want[6] ? in[i] : want[6];
            want[7] += in[i];
            want[8] = (int32_t) in[i] < (int32_t) want[8] ? in[i] : want[8];
            want[9] = (int32_t) in[i] > (int32_t) want[9] ? in[i] : want[9];
            want[10] &= in[i];
            want[11] |= in[i];
        }

        for (i = 0; i < 32; i++) {
            want[3] = 0;
            for (j = 0; j < 32; j++) {
                want[3] |=
                    (uint32_t) ((mask >> j & 1) && (in[i] & 3) == (in[j] & 3))
                    << j;
            }
            all = want;
            for (j = 0; j < 12; j++) {
                good &= out[j][i] == (mask >> i & 1 ? all[j] : 0x77777777);
            }
        }
    }

    ok(good, "votes, match and reductions of lanes in several masks");
    dev_free(din);
    dev_free(dout);
}


/* --- integers --- */

static uint32_t
table3(int table, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t out = 0;
    int      i;

    for (i = 0; i < 32; i++) {
        out |= (uint32_t) (table >> ((a >> i & 1) * 4 + (b >> i & 1) * 2
                                     + (c >> i & 1))
                           & 1)
               << i;
    }

    return out;
}


static uint32_t
perm(uint32_t a, uint32_t b, uint32_t s)
{
    uint8_t  from[8], pick;
    uint32_t out = 0;
    int      i;

    memcpy(from, &a, 4);
    memcpy(from + 4, &b, 4);
    for (i = 3; i >= 0; i--) {
        pick = from[s >> (4 * i) & 7];
        if (s >> (4 * i) & 8) {
            pick = (uint8_t) ((int8_t) pick >> 7);
        }
        out = out << 8 | pick;
    }

    return out;
}


/* One instruction's result; the order is probe_ints()'s. */
static uint32_t
integer(int op, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t v = 0;
    int      i, d;
    float    f;

    switch (op) {
    case 0:
        for (i = 0, v = c; i < 32; i += 8) {
            v += (uint32_t) ((int8_t) (a >> i) * (int8_t) (b >> i));
        }
        return v;
    case 1:
        for (i = 0, v = c; i < 32; i += 8) {
            v += (a >> i & 255) * (b >> i & 255);
        }
        return v;
    case 2:
        return table3(0xea, a, b, c);
    case 3:
        return a ^ b ^ c;
    case 4:
        return table3(0x1b, a, b, c);
    case 5:
        return perm(a, b, c & 0x7777);
    case 6:
        return perm(a, b, c & 0xffff);
    case 7:
        for (i = 0; i < 32; i++) {
            v += a >> i & 1;
        }
        return v;
    case 8:
        for (i = 20; i < 32; i++) {
            if (a >> i & 1) {
                return (uint32_t) i + 1;
            }
        }
        return 0;
    case 9:
        for (i = 11; i >= 0; i--) {
            if (a >> i & 1) {
                return 31 - (uint32_t) i;
            }
        }
        return 32;
    case 10:
        for (i = 0; i < 32; i++) {
            v = v << 1 | (a >> i & 1);
        }
        return v;
    case 11:
        return (uint32_t) ((uint64_t) a * b >> 32);
    case 12:
        return c & 31 ? a >> (c & 31) | b << (32 - (c & 31)) : a;
    case 13:
        return c & 31 ? b << (c & 31) | a >> (32 - (c & 31)) : b;
    case 14:
        for (i = 24; i >= 0; i -= 8) {
            d = (int8_t) (a >> i) - (int8_t) (b >> i);
            d = d < -128 ? -128 : d > 127 ? 127 : d;
            v = v << 8 | (uint8_t) d;
        }
        return v;
    case 15:
        memcpy(&f, &a, 4);
        if (isnan(f)) {
            return 0;
        }
        if (fabsf(f) >= 0x1p31f) {
            return f > 0 ? INT32_MAX : (uint32_t) INT32_MIN;
        }
        return (uint32_t) (int32_t) lrintf(f);
    default:
        return a;
    }
}


static void
ints(void)
{
    static const char *const names[PROBE_INTS] = {
        "dp4a.s32",  "dp4a.u32",    "lop3 0xea",    "lop3 0x96",   "lop3 0x1b",
        "byte_perm", "prmt",        "popc",         "ffs",         "clz",
        "brev",      "umulhi",      "funnel right", "funnel left", "vsubss4",
        "float2int", "opaque value"};

    uint32_t  a[32], b[32], c[32], out[PROBE_INTS][32];
    uint32_t *da = dev_new(128), *db = dev_new(128), *dc = dev_new(128);
    uint32_t *dout = dev_new(sizeof(out));
    int       round, op, i, good[PROBE_INTS];
    float     f;

    memset(good, 1, sizeof(good));
    for (round = 0; round < 40; round++) {
        fill(a, 32);
        fill(b, 32);
        fill(c, 32);
        /* Small floats and borders too. */
        f = (float) (round - 20) * 0.5f;
        memcpy(&a[0], &f, 4);
        a[1] = 0;
        a[2] = UINT32_MAX;
        b[2] = 0x80808080;
        c[3] = 0;
        c[4] = 32;
        dev_put(da, a, 128);
        dev_put(db, b, 128);
        dev_put(dc, c, 128);
        if (probe_ints(da, db, dc, 32, dout, NULL) != 0) {
            ok(0, "integers");
            break;
        }
        dev_get(out, dout, sizeof(out));
        for (op = 0; op < PROBE_INTS; op++) {
            for (i = 0; i < 32; i++) {
                good[op] =
                    good[op] && out[op][i] == integer(op, a[i], b[i], c[i]);
            }
        }
    }

    for (op = 0; op < PROBE_INTS; op++) {
        ok(good[op], "%s", names[op]);
    }
    dev_free(da);
    dev_free(db);
    dev_free(dc);
    dev_free(dout);
}


/* --- conversions --- */

static int
same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, 4) == 0;
}


#define N_HALF 65536
#define N_TO   8192

static void
conversions(void)
{
    uint16_t *h = malloc(N_HALF * 2), *w = malloc(N_HALF * 2);
    float    *f = malloc(N_HALF * 4), c;
    uint8_t   b[256], *out8 = malloc(N_TO);
    void     *dh, *df, *db, *dw;
    int       i, good[5] = {1, 1, 1, 1, 1};

    for (i = 0; i < N_HALF; i++) {
        h[i] = (uint16_t) i;
        b[i % 256] = (uint8_t) i;
    }
    dh = dev_of(h, N_HALF * 2);
    db = dev_of(b, 256);
    df = dev_new(N_HALF * 4);
    dw = dev_new(N_HALF * 2);

    is_int(probe_from_half(dh, df, N_HALF, NULL), 0, "all halves");
    dev_get(f, df, N_HALF * 4);
    for (i = 0; i < N_HALF; i++) {
        good[0] &= same(f[i], half_of(h[i]));
    }
    is_int(probe_from_bf16(dh, df, N_HALF, NULL), 0, "all bf16");
    dev_get(f, df, N_HALF * 4);
    for (i = 0; i < N_HALF; i++) {
        good[1] &= same(f[i], bf16_of(h[i]));
    }
    is_int(probe_from_f8(db, df, 256, NULL), 0, "all E4M3");
    dev_get(f, df, 256 * 4);
    for (i = 0; i < 256; i++) {
        good[2] &= same(f[i], f8_of(b[i]));
    }
    ok(good[0] && good[1] && good[2], "to F32: exact");

    /* Of every size, and what lies between two numbers of each type. */
    for (i = 0; i < N_TO; i++) {
        f[i] = (float) (test_normal(&seed) * exp2(i % 60 - 30));
        if (i % 4 == 1) {
            f[i] = half_of((uint16_t) i) / 2 + half_of((uint16_t) (i + 1)) / 2;
        } else if (i % 4 == 2) {
            c = bf16_of((uint16_t) (i * 4));
            f[i] = c / 2 + bf16_of((uint16_t) (i * 4 + 1)) / 2;
        } else if (i % 4 == 3) {
            f[i] = f8_of(i % 126) / 2 + f8_of(i % 126 + 1) / 2;
        }
    }
    f[0] = 0;
    f[4] = -0.0f;
    f[8] = INFINITY;
    f[12] = -INFINITY;
    f[16] = 65504;
    f[20] = 65519.99f;
    f[24] = 65520;
    f[28] = 448;
    f[32] = 464;
    f[36] = -1e30f;
    f[40] = 0x1p-25f;
    dev_put(df, f, N_TO * 4);

    is_int(probe_to(CU_F16, df, dw, N_TO, NULL), 0, "to F16");
    dev_get(w, dw, N_TO * 2);
    for (i = 0; i < N_TO; i++) {
        good[3] &= w[i] == to_half(f[i]);
    }
    ok(good[3], "to F16: nearest, even");
    is_int(probe_to(CU_BF16, df, dw, N_TO, NULL), 0, "to BF16");
    dev_get(w, dw, N_TO * 2);
    for (i = 0; i < N_TO; i++) {
        good[4] &= w[i] == to_bf16(f[i]);
    }
    ok(good[4], "to BF16: nearest, even");
    is_int(probe_to(CU_F8, df, dw, N_TO, NULL), 0, "to E4M3");
    dev_get(out8, dw, N_TO);
    for (i = 0, good[4] = 1; i < N_TO; i++) {
        good[4] &= out8[i] == to_f8(f[i]);
    }
    ok(good[4], "to E4M3: nearest, even, saturated");

    is_int(probe_cu_to(CU_F16, df, dw, N_TO, NULL), 0, "cu_to F16");
    dev_get(w, dw, N_TO * 2);
    for (i = 0, good[4] = 1; i < N_TO; i++) {
        good[4] &= w[i] == to_half(fminf(fmaxf(f[i], -65504), 65504));
    }
    ok(good[4], "cu_to: F16 saturates");
    is_int(probe_cu_to(CU_BF16, df, dw, N_TO, NULL), 0, "cu_to BF16");
    dev_get(w, dw, N_TO * 2);
    for (i = 0, good[4] = 1; i < N_TO; i++) {
        good[4] &= w[i] == to_bf16(f[i]);
    }
    ok(good[4], "cu_to: BF16");

    dev_free(dh);
    dev_free(db);
    dev_free(df);
    dev_free(dw);
    free(h);
    free(w);
    free(f);
    free(out8);
}


static void
pairs(cu_type_t t, const char *name)
{
    enum { N = 600 };

    static uint32_t a[N], b[N], c[N], out[N][5];

    int       i, j, k, good = 1;
    double    x, y, z, want;
    uint16_t  got, rounded;
    uint32_t *da, *db, *dc, *dout;

    for (i = 0; i < N; i++) {
        a[i] = pack(t, test_normal(&seed) * 8, test_normal(&seed));
        b[i] = pack(t, test_normal(&seed), test_normal(&seed) * 64);
        c[i] = pack(t, test_normal(&seed), test_normal(&seed));
    }
    da = dev_of(a, sizeof(a));
    db = dev_of(b, sizeof(b));
    dc = dev_of(c, sizeof(c));
    dout = dev_new(sizeof(out));
    is_int(probe_pairs(t, da, db, dc, dout, N, NULL), 0, "pairs of %s", name);
    dev_get(out, dout, sizeof(out));

#define OF(V)                                                                  \
    (t == CU_F16 ? half_of((uint16_t) ((V)[i] >> (k * 16)))                    \
                 : bf16_of((uint16_t) ((V)[i] >> (k * 16))))

    for (i = 0; i < N; i++) {
        for (k = 0; k < 2; k++) {
            x = OF(a);
            y = OF(b);
            z = OF(c);
            for (j = 0; j < 5; j++) {
                want = j == 0   ? x * y + z
                       : j == 1 ? x * y
                       : j == 2 ? x + y
                       : j == 3 ? x - y
                                : fmax(x, y);
                got = (uint16_t) (out[i][j] >> (k * 16));
                rounded = (uint16_t) pack(t, want, 0);
                /* The sum's rounding to F32 first may move it by one. */
                good &= abs((int) got - (int) rounded)
                        <= (j == 0 || j == 2 || j == 3);
            }
        }
    }

    ok(good, "fma, mul, add, sub, max of pairs of %s", name);
    dev_free(da);
    dev_free(db);
    dev_free(dc);
    dev_free(dout);
}


static void
floats(void)
{
    enum { N = 512 };

    static float in[N], out[N][3];

    int    i, good = 1;
    float *din, *dout;

    for (i = 0; i < N; i++) {
        in[i] = (float) (i - 200) * 0.37f;
    }
    in[0] = -200;
    in[1] = -INFINITY;
    din = dev_of(in, sizeof(in));
    dout = dev_new(sizeof(out));
    is_int(probe_floats(din, dout, N, NULL), 0, "functions");
    dev_get(out, dout, sizeof(out));

    for (i = 0; i < N; i++) {
        if (in[i] < -126) {
            good &= out[i][0] == 0;
        } else if (in[i] < 127) {
            good &= fabs(out[i][0] / exp2(in[i]) - 1) < 1e-6;
        }
        if (in[i] > 0) {
            good &= fabs(out[i][1] * sqrt(in[i]) - 1) < 1e-6;
        }
        if (fabsf(in[i]) < 80) {
            good &= fabs(out[i][2] / exp(in[i]) - 1) < 2e-5;
        }
    }
    ok(good, "cu_exp2, rsqrtf, __expf");
    dev_free(din);
    dev_free(dout);
}


/* --- blocks --- */

static void
async(void)
{
    enum { N = 333 };

    static uint8_t in[N * 16], keep[N], out[N * 16], zeros[16];

    int      i, good = 1, round;
    uint8_t *din, *dkeep, *dout;

    for (i = 0; i < N * 16; i++) {
        in[i] = (uint8_t) test_rand(&seed);
        keep[i / 16] = test_rand(&seed) % 4 > 0;
    }
    din = dev_of(in, sizeof(in));
    dkeep = dev_of(keep, sizeof(keep));
    dout = dev_new(sizeof(out));

    for (round = 0; round < 10; round++) {
        good &= probe_async(din, dkeep, dout, N, NULL) == 0;
        dev_get(out, dout, sizeof(out));
        for (i = 0; i < N; i++) {
            good &=
                memcmp(out + i * 16, keep[i] ? in + i * 16 : zeros, 16) == 0;
        }
    }
    ok(good, "cp.async: three groups under way, zeros where nothing is read");
    dev_free(din);
    dev_free(dkeep);
    dev_free(dout);
}


static void
blocks(void)
{
    static const uint32_t sizes[] = {32, 64, 256, 992, 1024};

    float    in[1024], out[7], *din = dev_new(sizeof(in));
    float   *dout = dev_new(sizeof(out));
    double   sum, max, count;
    size_t   k;
    uint32_t i;
    int      good;

    for (k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        for (i = 0, sum = 0, max = -1e9, count = 0; i < sizes[k]; i++) {
            in[i] = (float) ((int) (test_rand(&seed) % 2001) - 1000);
            if (k == 1) {
                in[i] = fabsf(in[i]) + 1;
            }
            sum += in[i];
            max = in[i] > max ? in[i] : max;
            count += in[i] > 0;
        }
        dev_put(din, in, sizeof(in));
        good = probe_block(din, dout, sizes[k], NULL) == 0;
        dev_get(out, dout, sizeof(out));
        good &= out[0] == sum && out[1] == max && out[2] == (count > 0);
        good &= out[3] == (count == sizes[k]) && out[4] == count;
        good &= out[5] == sum && out[6] == max;
        ok(good, "a block of %u: sums, barriers' votes, atomics", sizes[k]);
    }

    dev_free(din);
    dev_free(dout);
}


static void
limits(void)
{
    uint32_t *out = dev_new(4), v;
    int       i, good = 1;

    static const uint32_t bytes[] = {0,         1,
                                     1000,      48 * 1024 - 256,
                                     99 * 1024, 163 * 1024 - 256};

    for (i = 0; i < 6; i++) {
        good &= probe_dynamic(out, 128, bytes[i], NULL) == 0;
        dev_get(&v, out, 4);
        good &= v == bytes[i];
    }
    ok(good, "dynamic shared memory of several sizes");

    ok(probe_dynamic(out, 128, 228 * 1024, NULL) == -EIO,
       "228 KiB of shared memory are refused");
    ok(cudaGetLastError() != cudaSuccess, "and an error is left");
    ok(probe_dynamic(out, 1025, 0, NULL) == -EIO, "1025 threads are refused");
    ok(probe_dynamic(out, 0, 0, NULL) == -EIO, "no threads are refused");
    (void) cudaGetLastError();
    is_int(cudaDeviceSynchronize(), cudaSuccess, "the device still works");
    dev_free(out);
}


/* --- what the emulated device finds --- */

static void
races(void)
{
    static const char *const names[] = {"a missing barrier",
                                        "a missing __syncwarp()",
                                        "a missing barrier after cp.async",
                                        "a buffer that is filled too early",
                                        "a missing wait for cp.async"};

    uint32_t in[256], out[256], *din, *dout, want;
    int      kind, round, wrong, i;
    int      rounds = 20;

#if defined(__SANITIZE_THREAD__)
    /* TSan is told of fibers and barriers: it sees them without any luck. */
    static char text[65536];

    for (kind = PROBE_RACE; kind <= PROBE_GOOD; kind++) {
        (void) child((probe_fault_t) kind, text, sizeof(text));
        ok((strstr(text, "data race") != NULL) == (kind != PROBE_GOOD),
           "TSan and %s",
           kind == PROBE_GOOD ? "no race where there is a barrier"
                              : names[kind]);
    }
    return;
#endif

    fill(in, 256);
    din = dev_of(in, sizeof(in));
    dout = dev_new(sizeof(out));

    for (kind = PROBE_RACE; kind <= PROBE_GOOD; kind++) {
        for (round = wrong = 0; round < rounds; round++) {
            if (probe_fault((probe_fault_t) kind, din, dout, NULL) != 0) {
                break;
            }
            dev_get(out, dout, sizeof(out));
            for (i = 0; i < 256; i++) {
                want = kind == PROBE_RACE_WARP ? in[i / 32 * 32 + (i + 1) % 32]
                                               : in[(i + 1) % 256];
                if (out[i] != want) {
                    wrong++;
                    break;
                }
            }
        }
        if (kind == PROBE_GOOD) {
            is_int(wrong, 0, "with a barrier the result is right");
        } else {
            ok(wrong > rounds / 4, "%s shows: %d runs of %d", names[kind],
               wrong, rounds);
        }
    }

    dev_free(din);
    dev_free(dout);
}


/* A run of a wrong kernel in a child: 1 if it was aborted, and its words. */
static int
child(probe_fault_t f, char *text, size_t size)
{
    int       p[2], status;
    size_t    n = 0;
    ssize_t   got;
    pid_t     pid;
    uint32_t *in, *out;

    if (pipe(p) != 0 || (pid = fork()) < 0) {
        return 0;
    }

    if (pid == 0) {
        dup2(p[1], 2);
        dup2(open("/dev/null", O_WRONLY), 1);
        in = dev_new(1024);
        out = dev_new(1024);
        (void) probe_fault(f, in, out, NULL);
        (void) cudaDeviceSynchronize();
        _exit(0);
    }

    close(p[1]);
    while (n + 1 < size && (got = read(p[0], text + n, size - 1 - n)) > 0) {
        n += (size_t) got;
    }
    text[n] = '\0';
    close(p[0]);
    waitpid(pid, &status, 0);

    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}


static void
faults(void)
{
    static const struct {
        probe_fault_t fault;
        const char   *name;
        const char   *words;
    } all[] = {
        {PROBE_DIVERGED, "a diverged shuffle", "wait"},
        {PROBE_EXITED, "a shuffle of lanes that have exited", "exit"},
        {PROBE_BARRIER, "a barrier in a branch", "exit"},
        {PROBE_BARRIERS, "two barriers, half a block at each", "another one"},
        {PROBE_MASK, "a lane that is not in its mask", "not in its mask"},
        {PROBE_MMA, "mma in two branches", "mma"},
        {PROBE_SHARED, "a write beyond shared memory", "shared memory"},
        {PROBE_SHARED_FAR, "a write far beyond", "shared memory"},
        {PROBE_GLOBAL, "a read beyond global memory", "bytes of device"},
        {PROBE_NULL, "a write to NULL", "NULL"},
        {PROBE_MISALIGNED, "a misaligned cp.async", "misaligned"},
        {PROBE_NOT_SHARED, "ldmatrix from global memory", "not shared"},
        {PROBE_NO_GRID_WAIT, "no cu_grid_wait()", "cu_grid_wait"},
    };

    static char text[65536];

    int    died, words;
    size_t i;

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        died = child(all[i].fault, text, sizeof(text));

        words = strstr(text, all[i].words) || strstr(text, "Sanitizer: SEGV");
        if (!ok(died && words && strstr(text, "fault_kernel"), "found: %s",
                all[i].name)) {
            diag("%s, %.400s", died ? "died" : "lived", text);
        }
    }
}
