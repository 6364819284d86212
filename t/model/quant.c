/*
 * The quantisers: no worse than llama.cpp's on the same weights (quant.gold,
 * by make_quant.py), the same bytes on any CPU, defined at the edges; which
 * tensor gets which type; rows read in pieces; a tiny model quantised as it is
 * loaded.
 *
 * With arguments: `--write FILE` writes that model, `--near A B LIMIT` tells
 * whether the logits of two files are; for quantize.t.
 *
 * quant_blocks.c is part of this file, to see both of its compilations.
 */

#include "engine/model/quant_blocks.c"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base.h"
#include "engine/model/gguf_write.h"
#include "engine/model/model.h"
#include "t/lib/tap.h"

#define ROWS   64
#define COLS   512
#define N      (ROWS * COLS)
#define VOCAB  288
#define TOKENS 24
#define LAYERS 8

static const uint32_t types[] = {GGML_Q8_0,   GGML_Q4_0, GGML_Q4_1, GGML_Q5_0,
                                 GGML_Q5_1,   GGML_Q4_K, GGML_Q5_K, GGML_Q6_K,
                                 GGML_IQ4_NL, GGML_MXFP4};

#define TYPES (sizeof(types) / sizeof(types[0]))

static float   x[N], y[N];
static uint8_t out[N * 4], out2[N * 4];


/* As make_quant.py does. */

static void
weights(const char *kind)
{
    uint32_t state = 12345, total;
    double   v;
    int      i, k;

    for (i = 0; i < N; i++) {
        for (k = 0, total = 0; k < 8; k++) {
            state = state * 1664525u + 1013904223u;
            total += state >> 16;
        }

        v = ((double) total - 8 * 32768) / 65536.0;

        if (strcmp(kind, "heavy") == 0) {
            v = v * v * v;

        } else if (strcmp(kind, "shifted") == 0) {
            v += 0.75;

        } else if (strcmp(kind, "outliers") == 0 && i % 64 == 17) {
            v *= 8;
        }

        x[i] = (float) (v / 32);
    }
}


static float
half(const uint8_t *p)
{
    return quant_half_float((uint16_t) (p[0] | p[1] << 8));
}


static void
scale_k(const uint8_t *s, int b, float *scale, float *min)
{
    if (b < 4) {
        *scale = (float) (s[b] & 63);
        *min = (float) (s[b + 4] & 63);

    } else {
        *scale = (float) ((s[b + 4] & 15) | s[b - 4] >> 6 << 4);
        *min = (float) (s[b + 4] >> 4 | s[b] >> 6 << 4);
    }
}


/* What element i of the block at p means; the format's definition. */

static float
element(uint32_t type, const uint8_t *p, int i)
{
    const uint8_t *q;
    float          s, m;
    int            v, b = i / 32, h = i / 128, c = i % 128 / 32;

    static const int8_t nl[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};
    static const float  mx[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

    switch (type) {
    case GGML_IQ4_NL:
        return half(p) * (float) nl[p[2 + i % 16] >> i / 16 * 4 & 15];

    case GGML_MXFP4:
        v = p[1 + i % 16] >> i / 16 * 4 & 15;
        return ldexpf(v & 8 ? -mx[v & 7] : mx[v & 7], p[0] - 127);

    case GGML_Q8_0:
        return half(p) * (float) (int8_t) p[2 + i];

    case GGML_Q4_0:
        v = p[2 + i % 16] >> i / 16 * 4 & 15;
        return half(p) * (float) (v - 8);

    case GGML_Q4_1:
        v = p[4 + i % 16] >> i / 16 * 4 & 15;
        return half(p) * (float) v + half(p + 2);

    case GGML_Q5_0:
        v = p[6 + i % 16] >> i / 16 * 4 & 15;
        v |= (p[2 + i / 8] >> i % 8 & 1) << 4;
        return half(p) * (float) (v - 16);

    case GGML_Q5_1:
        v = p[8 + i % 16] >> i / 16 * 4 & 15;
        v |= (p[4 + i / 8] >> i % 8 & 1) << 4;
        return half(p) * (float) v + half(p + 2);

    case GGML_Q4_K:
    case GGML_Q5_K:
        scale_k(p + 4, b, &s, &m);
        q = p + (type == GGML_Q4_K ? 16 : 48) + 32 * (b / 2) + i % 32;
        v = *q >> b % 2 * 4 & 15;
        v |= type == GGML_Q5_K ? (p[16 + i % 32] >> b & 1) << 4 : 0;
        return half(p) * s * (float) v - half(p + 2) * m;

    default: /* GGML_Q6_K */
        v = p[64 * h + 32 * (c % 2) + i % 32] >> c / 2 * 4 & 15;
        v |= (p[128 + 32 * h + i % 32] >> 2 * c & 3) << 4;
        return half(p + 208) * (float) (int8_t) p[192 + i / 16]
               * (float) (v - 32);
    }
}


static void
back(uint32_t type, const uint8_t *p, int n, float *to)
{
    const gguf_type_t *info = gguf_type(type);
    int                i, e = (int) info->block_elems;

    for (i = 0; i < n; i++) {
        to[i] = element(type, p + i / e * (int) info->block_bytes, i % e);
    }
}


static void
test_golden(void)
{
    FILE    *f = fopen("t/model/quant.gold", "r");
    char     line[128], kind[32];
    unsigned type;
    double   gold, diff, norm;
    int      i, n = 0;

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%u %31s %lf", &type, kind, &gold) != 3) {
            continue;
        }

        weights(kind);
        quant_rows(type, x, ROWS, COLS, out);
        back(type, out, N, y);

        for (i = 0, diff = norm = 0; i < N; i++) {
            diff += ((double) x[i] - (double) y[i])
                    * ((double) x[i] - (double) y[i]);
            norm += (double) x[i] * (double) x[i];
        }

        diff = sqrt(diff / norm);
        ok(diff <= gold, "%s, %s: RMS %.5f, of llama.cpp's %.3f",
           gguf_type_name(type), kind, diff, diff / gold);
        n++;
    }

    is_int(n, 40, "all of quant.gold");

    if (f) {
        fclose(f);
    }
}


/* Both compilations, and rows one by one. */

static void
test_same(void)
{
#if defined(__x86_64__)
    const gguf_type_t *info;
    size_t             i, k, n, row;
    int                wrong;

    if (!__builtin_cpu_supports("avx2")) {
        diag("no AVX2 here");
        return;
    }

    weights("heavy");

    for (i = 0; i < TYPES; i++) {
        info = gguf_type(types[i]);
        n = N / info->block_elems;

        for (k = 0, wrong = 0; k < n; k++) {
            memset(out, 0x55, info->block_bytes);
            memset(out2, 0xaa, info->block_bytes);
            qb_find(types[i])->base(x + k * info->block_elems, out);
            qb_find(types[i])->avx2(x + k * info->block_elems, out2);
            wrong += memcmp(out, out2, info->block_bytes) != 0;
        }

        is_int(wrong, 0, "%s: the same bytes without AVX2", info->name);

        quant_rows(types[i], x, ROWS, COLS, out);
        row = COLS / info->block_elems * info->block_bytes;

        for (k = 0; k < ROWS; k++) {
            quant_rows(types[i], x + k * COLS, 1, COLS, out2 + k * row);
        }

        ok(memcmp(out, out2, ROWS * row) == 0, "%s: the same row by row",
           info->name);
    }
#endif
}


static void
edge_fill(int kind, float *v)
{
    int i;

    for (i = 0; i < 256; i++) {
        v[i] = kind == 0   ? 0
               : kind == 1 ? 0.25f
               : kind == 2 ? -3.5f
               : kind == 3 ? (i == 77 ? 1 : 0)
               : kind == 4 ? (i == 200 ? -5e4f : (float) (i % 7) * 1e-3f)
               : kind == 5 ? (float) (i % 16) * 1e-9f
               : kind == 6 ? 1 + (float) (i % 5) * 0.1f
               : kind == 7 ? -1 - (float) (i % 5) * 0.1f
               : kind == 8 ? (i % 2 ? QUANT_MAX : -QUANT_MAX)
               : kind == 9 ? (float) (i % 3 - 1) * 1e-38f
                           : (i < 128 ? 0 : (float) (i % 11 - 5));
    }
}


/* A block's range by its steps bounds every element's error. */

static void
test_edges(void)
{
    static const float steps[] = {254, 15, 15, 31, 31, 15, 31, 63, 9, 6};
    float              min, max, worst, bound;
    size_t             t;
    int                kind, i, bad;

    for (t = 0; t < TYPES; t++) {
        for (kind = bad = 0; kind <= 10; kind++) {
            edge_fill(kind, x);
            bad += quant_rows(types[t], x, 1, 256, out) != 0;
            back(types[t], out, 256, y);

            for (i = 0, min = max = worst = 0; i < 256; i++) {
                min = x[i] < min ? x[i] : min;
                max = x[i] > max ? x[i] : max;
                worst = fmaxf(worst, fabsf(x[i] - y[i]));
                bad += !isfinite(y[i]);
            }

            /* Symmetric ones see twice the larger side; the parts of blocks
               of 256 have scales of six bits. */
            bound = 2 * fmaxf(max, -min) / steps[t] * 1.1f + 6e-8f * 32;
            if (!(worst <= bound)) {
                bad++;
                diag("%s, edge %d: error %g, bound %g",
                     gguf_type_name(types[t]), kind, (double) worst,
                     (double) bound);
            }
        }

        is_int(bad, 0, "%s: zeros, constants, spikes, tiny and huge numbers",
               gguf_type_name(types[t]));
    }

    for (t = 0; t < TYPES; t++) {
        edge_fill(10, x);
        x[100] = NAN;
        is_int(quant_rows(types[t], x, 1, 256, out), -ERANGE, "%s: NaN",
               gguf_type_name(types[t]));
        x[100] = -INFINITY;
        is_int(quant_rows(types[t], x, 1, 256, out), -ERANGE, "%s: infinity",
               gguf_type_name(types[t]));
        x[100] = 1e30f;
        is_int(quant_rows(types[t], x, 1, 256, out), -ERANGE, "%s: 1e30",
               gguf_type_name(types[t]));
        x[100] = 0;
        is_int(quant_rows(types[t], x, 1, 250, out), -EINVAL, "%s: width 250",
               gguf_type_name(types[t]));
    }

    is_int(quant_rows(GGML_Q2_K, x, 1, 256, out), -ENOTSUP,
           "no such quantiser");
    is_int(quant_rows(999, x, 1, 256, out), -ENOTSUP, "no such type");
    is_int(quant_floats(GGML_Q4_0, out, 32, x), -ENOTSUP, "floats of Q4_0");
}


static void
test_halves(void)
{
    uint32_t h, bad = 0;
    uint16_t got;
    float    f, next;

    for (h = 0; h < 65536; h++) {
        f = quant_half_float((uint16_t) h);
        got = quant_half(f);
        bad += isnan(f) ? !isnan(quant_half_float(got)) : got != h;
    }

    is_int(bad, 0, "every half comes back");

    for (h = 0, bad = 0; h < 0x7bff; h++) {
        f = quant_half_float((uint16_t) h);
        next = quant_half_float((uint16_t) (h + 1));
        f += (next - f) / 2;
        bad += quant_half(f) != (h & 1 ? h + 1 : h);
        bad += quant_half(nextafterf(f, 1e9f)) != h + 1;
        bad += quant_half(nextafterf(f, 0)) != h;
    }

    is_int(bad, 0, "ties go to even, others to the nearest");
    is_int(quant_half(65519.0f), 0x7bff, "the largest");
    is_int(quant_half(65520.0f), 0x7c00, "above it");

    x[0] = 70000;
    is_int(quant_rows(GGML_F16, x, 1, 1, out), -ERANGE, "70000 is no F16");
    x[0] = 1.00390625f; /* half-way between two BF16 */
    x[1] = NAN;
    x[2] = 1.01171875f;
    is_int(quant_rows(GGML_BF16, x, 1, 3, out), 0, "BF16");
    quant_floats(GGML_BF16, out, 3, y);
    ok(y[0] == 1 && isnan(y[1]) && y[2] == 1.015625f, "BF16: ties to even");
}


/* A head alone: no tensor's data is looked at. */

static gguf_t *
head_of(const char *const *names, const uint32_t (*shapes)[3], size_t n,
        char **data_new)
{
    gguf_writer_t *w = gguf_writer_new();
    uint64_t       dims[4] = {1, 1, 1, 1};
    gguf_t        *g;
    ssize_t        size;
    size_t         i, all;
    void          *head;
    char           err[256], *data;

    gguf_put_str(w, "general.architecture", "llama", 5);
    gguf_put_u32(w, "llama.block_count", LAYERS);

    for (i = 0; i < n; i++) {
        dims[0] = shapes[i][1];
        dims[1] = shapes[i][2];
        gguf_put_tensor(w, names[i], shapes[i][0], dims[1] == 1 ? 1 : 2, dims);
    }

    size = gguf_writer_head(w, &head);
    all = (size_t) size + gguf_writer_offset(w, n - 1)
          + (size_t) shapes[n - 1][1] * shapes[n - 1][2] * 4;
    data = calloc(1, all);
    memcpy(data, head, (size_t) size);
    free(head);
    gguf_writer_free(w);

    if (gguf_open_mem(data, all, &g, err, sizeof(err)) < 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    *data_new = data;

    return g;
}


static void
test_types(void)
{
    static const struct {
        const char *name;
        uint32_t    shape[3]; /* type, columns, rows */
        uint32_t    q8_0, q4_k, q5_0;
    } cases[] = {
        {"token_embd.weight", {0, 512, 64}, 8, 12, 6},
        {"output.weight", {0, 512, 64}, 8, 14, 14},
        {"output_norm.weight", {0, 512, 1}, 0, 0, 0},
        {"blk.0.attn_norm.weight", {0, 512, 1}, 0, 0, 0},
        {"blk.0.attn_q_norm.weight", {0, 64, 512}, 0, 0, 0},
        {"blk.0.attn_q.weight", {1, 512, 64}, 8, 12, 6},
        {"blk.0.attn_v.weight", {30, 512, 64}, 8, 14, 6},
        {"blk.1.attn_v.weight", {30, 512, 64}, 8, 12, 6},
        {"blk.3.attn_v.weight", {0, 512, 64}, 8, 14, 6},
        {"blk.7.ffn_down.weight", {0, 512, 64}, 8, 14, 6},
        {"blk.2.ffn_down_exps.weight", {0, 512, 64}, 8, 12, 6},
        {"blk.2.ffn_down_exps.bias", {0, 512, 64}, 0, 0, 0},
        {"blk.2.ffn_gate_inp.weight", {0, 512, 64}, 0, 0, 0},
        {"blk.2.attn_q.bias", {0, 512, 1}, 0, 0, 0},
        {"blk.2.ffn_up.weight", {0, 96, 64}, 8, 6, 6},
        {"blk.0.ffn_down.weight", {0, 96, 64}, 8, 8, 6},
        {"blk.0.attn_qkv.weight", {0, 96, 64}, 8, 8, 6},
        {"blk.1.attn_qkv.weight", {0, 96, 64}, 8, 7, 6},
        {"blk.1.attn_k.weight", {1, 100, 64}, 1, 1, 1},
        {"blk.1.ffn_up.weight", {3, 512, 64}, 3, 3, 3},
        {"blk.2.attn_k.weight", {0, 32, 64}, 0, 0, 0},
        {"rope_freqs.weight", {0, 64, 1}, 0, 0, 0},
    };
    const char *names[llm_countof(cases)];
    uint32_t    shapes[llm_countof(cases)][3];
    quant_t     q = QUANT_NONE;
    gguf_t     *g;
    char       *data;
    size_t      i;

    for (i = 0; i < llm_countof(cases); i++) {
        names[i] = cases[i].name;
        memcpy(shapes[i], cases[i].shape, sizeof(shapes[i]));
    }

    g = head_of(names, shapes, llm_countof(cases), &data);

    for (i = 0; i < llm_countof(cases); i++) {
        const gguf_tensor_t *t = gguf_tensor_at(g, i);

        ok(quant_type(QUANT_NONE, g, t) == t->type
               && quant_type(QUANT_Q8_0, g, t) == cases[i].q8_0
               && quant_type(QUANT_Q4_K, g, t) == cases[i].q4_k
               && quant_type_as(GGML_Q5_0, g, t) == cases[i].q5_0,
           "%s, %s of %u: q8_0 %s, q4_k %s", t->name, gguf_type_name(t->type),
           cases[i].shape[1], gguf_type_name(quant_type(QUANT_Q8_0, g, t)),
           gguf_type_name(quant_type(QUANT_Q4_K, g, t)));
    }

    gguf_close(g);
    free(data);

    /* Without output.weight the table is the output. */
    g = head_of(names, shapes, 1, &data);
    is_int(quant_type(QUANT_Q4_K, g, gguf_tensor_at(g, 0)), GGML_Q6_K,
           "a tied embedding has six bits");
    gguf_close(g);
    free(data);

    ok(quant_of("q4_k", 4, &q) == 0 && q == QUANT_Q4_K
           && quant_of("fp8", 3, &q) == 0 && q == QUANT_FP8
           && quant_of("q8_0", 4, &q) == 0 && q == QUANT_Q8_0,
       "names");
    ok(quant_of("q4", 2, &q) == -EINVAL && quant_of("none", 4, &q) == -EINVAL
           && q == QUANT_Q8_0,
       "no names");
    is_str(quant_name(QUANT_Q4_K), "q4_k", "a name");
}


/* A llama of some layers with pseudo-random weights: the whole file. */

static char *
tiny(uint32_t type, size_t *size)
{
    static const struct {
        const char *name;
        uint32_t    cols, rows;
    } parts[] = {{"attn_norm.weight", 256, 1},     {"attn_q.weight", 256, 256},
                 {"attn_k.weight", 256, 128},      {"attn_v.weight", 256, 128},
                 {"attn_output.weight", 256, 256}, {"ffn_norm.weight", 256, 1},
                 {"ffn_gate.weight", 256, 288},    {"ffn_up.weight", 256, 288},
                 {"ffn_down.weight", 288, 256}};
    gguf_writer_t       *w = gguf_writer_new();
    const gguf_tensor_t *t;
    uint64_t             dims[4] = {256, VOCAB, 1, 1}, k;
    uint32_t             l, state = 7;
    gguf_t              *g;
    ssize_t              head;
    size_t               i, bytes;
    void                *p;
    char                 name[64], err[256], *data;
    float                v;
    uint16_t             h;

    gguf_put_str(w, "general.architecture", "llama", 5);
    gguf_put_u32(w, "llama.block_count", LAYERS);
    gguf_put_u32(w, "llama.embedding_length", 256);
    gguf_put_u32(w, "llama.feed_forward_length", 288);
    gguf_put_u32(w, "llama.attention.head_count", 4);
    gguf_put_u32(w, "llama.attention.head_count_kv", 2);
    gguf_put_u32(w, "llama.context_length", 128);
    gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_put_tensor(w, "token_embd.weight", type, 2, dims);

    for (l = 0; l < LAYERS; l++) {
        for (i = 0; i < llm_countof(parts); i++) {
            dims[0] = parts[i].cols;
            dims[1] = parts[i].rows;
            snprintf(name, sizeof(name), "blk.%u.%s", l, parts[i].name);
            gguf_put_tensor(w, name, dims[1] == 1 ? GGML_F32 : type,
                            dims[1] == 1 ? 1 : 2, dims);
        }
    }

    dims[0] = 256;
    gguf_put_tensor(w, "output_norm.weight", GGML_F32, 1, dims);
    head = gguf_writer_head(w, &p);
    *size = (size_t) head
            + gguf_writer_offset(w, 1 + LAYERS * llm_countof(parts)) + 1024;
    data = calloc(1, *size);
    memcpy(data, p, (size_t) head);
    free(p);
    gguf_writer_free(w);

    if (gguf_open_mem(data, *size, &g, err, sizeof(err)) < 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    for (i = 0; i < gguf_tensor_n(g); i++) {
        t = gguf_tensor_at(g, i);
        p = data + ((const char *) t->data - data);
        bytes = t->type == GGML_F32 ? 4 : 2;

        for (k = 0; k < t->dims[0] * t->dims[1]; k++) {
            state = state * 1664525u + 1013904223u;
            v = (float) ((int) (state >> 16) - 32768) / 32768;
            v = t->n_dims == 1 ? 1 + v / 4 : i == 0 ? v : v / 8;
            h = quant_half(v);
            memcpy((char *) p + k * bytes,
                   bytes == 4 ? (void *) &v : (void *) &h, bytes);
        }
    }

    gguf_close(g);

    return data;
}


/* The logits of a fixed text's last token. */

static void
run(const gguf_t *g, quant_t q, k_act_mode_t act, float *logits)
{
    k_config_t     conf = {.threads = 1, .act = act, .memory = 256 << 20};
    model_params_t params;
    k_backend_t   *be;
    k_batch_seq_t  seq;
    k_batch_t      batch;
    int32_t        tokens[TOKENS];
    uint32_t       i, last = TOKENS - 1, pages[4] = {0, 1, 2, 3};
    model_t       *m;
    char           err[K_ERR_MAX];

    if (k_backend_cpu.open(&conf, &be, err) < 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    params = (model_params_t){
        .ops = &k_backend_cpu, .be = be, .limits = {TOKENS, 1, 1}, .quant = q};

    if (model_load(g, &params, &m, err) < 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    for (i = 0; i < TOKENS; i++) {
        tokens[i] = (int32_t) (i * 89 % VOCAB);
    }

    seq = (k_batch_seq_t){.n = TOKENS, .pages = pages};
    batch = (k_batch_t){TOKENS, 1, 1, tokens, &seq, &last};

    if (k_backend_cpu.step_submit(m->exec, &batch) < 0
        || k_backend_cpu.step_wait(m->exec) < 0) {
        printf("Bail out! the step failed\n");
        exit(1);
    }

    k_backend_cpu.logits(m->exec, 0, logits);
    model_free(m);
    k_backend_cpu.close(be);
}


static double
distance(const float *a, const float *b)
{
    double d = 0, n = 0;
    int    i;

    for (i = 0; i < VOCAB; i++) {
        d += ((double) a[i] - (double) b[i]) * ((double) a[i] - (double) b[i]);
        n += (double) a[i] * (double) a[i];
    }

    return sqrt(d / n);
}


static void
test_model(void)
{
    static const struct {
        quant_t q;
        double  least, most;
    } cases[] = {{QUANT_NONE, 0, 0},
                 {QUANT_Q8_0, 1e-4, 0.03},
                 {QUANT_Q4_K, 1e-3, 0.3}};
    quant_reader_t r;
    gguf_t        *g;
    size_t         size, i, bytes;
    double         d;
    char           err[256], *data;
    int            rc;

    data = tiny(GGML_F16, &size);

    if (gguf_open_mem(data, size, &g, err, sizeof(err)) < 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    run(g, QUANT_NONE, K_ACT_F32, x);

    for (i = 0; i < llm_countof(cases); i++) {
        run(g, cases[i].q, K_ACT_F32, y);
        d = distance(x, y);
        ok(d >= cases[i].least && d <= cases[i].most,
           "a model quantised as it is loaded, %s: logits are %.4f away",
           quant_name(cases[i].q), d);
    }

    /* Pieces of any size are the whole. */
    is_int(quant_reader_init(&r, g, gguf_tensor_find(g, "blk.0.ffn_up.weight"),
                             GGML_Q4_K),
           0, "a reader");
    bytes = 256 / 256 * 144;
    quant_reader_rows(&r, 0, 288, out);
    rc = quant_reader_rows(&r, 0, 1, out2);
    rc |= quant_reader_rows(&r, 1, 100, out2 + bytes);
    rc |= quant_reader_rows(&r, 101, 187, out2 + 101 * bytes);
    is_int(rc, 0, "a reader reads");
    ok(memcmp(out, out2, 288 * bytes) == 0, "pieces are the whole");
    ok(quant_reader_rows(&r, 280, 20, out2) < 0, "rows beyond the end");
    quant_reader_free(&r);
    is_int(quant_reader_init(
               &r, g, gguf_tensor_find(g, "blk.0.ffn_down.weight"), GGML_Q4_K),
           -EINVAL, "288 wide is no Q4_K");
    is_int(quant_reader_init(&r, g, gguf_tensor_find(g, "blk.0.ffn_up.weight"),
                             GGML_IQ2_S),
           -ENOTSUP, "no quantiser");

    gguf_close(g);
    free(data);
}


static int
tool_write(const char *path, int broken)
{
    size_t size;
    char  *data = tiny(GGML_F16, &size);
    FILE  *f = fopen(path, "wb");

    /* An infinity, in the middle of some matrix. */
    if (broken) {
        memcpy(data + size / 2 / 2 * 2, "\x00\x7c", 2);
    }

    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0) {
        return 1;
    }

    free(data);

    return 0;
}


static int
tool_near(const char *a, const char *b, double limit)
{
    const char *paths[2] = {a, b};
    gguf_t     *g;
    char        err[256];
    double      d;
    int         i;

    for (i = 0; i < 2; i++) {
        if (gguf_open(paths[i], &g, err, sizeof(err)) < 0) {
            fprintf(stderr, "%s: %s\n", paths[i], err);
            return 1;
        }

        run(g, QUANT_NONE, K_ACT_F32, i ? y : x);
        gguf_close(g);
    }

    d = distance(x, y);
    printf("%.5f\n", d);

    return d <= limit ? 0 : 1;
}


int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        return tool_write(argv[2], 0);
    }

    if (argc == 3 && strcmp(argv[1], "--write-broken") == 0) {
        return tool_write(argv[2], 1);
    }

    if (argc == 5 && strcmp(argv[1], "--near") == 0) {
        return tool_near(argv[2], argv[3], atof(argv[4]));
    }

    test_golden();
    test_same();
    test_edges();
    test_halves();
    test_types();
    test_model();

    return tap_done();
}
