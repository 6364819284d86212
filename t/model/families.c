/*
 * Every family of architectures, as a small random model: its GGUF by
 * llama.cpp's converter against the logits that transformers computes with
 * the same weights; with int8 activations the same bits whatever the chunks;
 * and metadata that are refused.
 *
 * Expected values and their format: make_families.py.
 */

#include <math.h>
#include <stdint.h>
#include "t/model/real.h"
#include "t/model/family_edit.h"

#define FAMILY_DIR   "t/model/families/"
#define FAMILY_L2    1e-5
#define FAMILY_INT8  0.08 /* far from 1: rough, but no other model */
#define FAMILY_QUANT 0.1  /* one expert chosen otherwise is much of it */
#define FAMILY_ROWS  512
#define FAMILY_CASES 64
#define FAMILY_WANT  8

typedef struct {
    char           name[24];
    uint32_t       context;
    uint32_t       n_tokens;
    uint32_t       n_rows;
    const int32_t *tokens;
    const uint8_t *rows; /* each: u32 pos, f32 logits[n_vocab] */
} case_t;

typedef struct {
    uint8_t *data;
    uint32_t n_vocab;
    uint32_t n_cases;
    case_t   cases[FAMILY_CASES];
} family_t;


static int      family_read(family_t *f, const char *path);
static void     family_open(real_t *r, const case_t *c, k_act_mode_t act);
static void     family_f32(const family_t *f, const case_t *c);
static void     family_int8(const family_t *f, const case_t *c);
static double   family_l2(const family_t *f, const case_t *c, uint32_t row,
                          const float *logits, int *same);
static void     family_chunks(const family_t *f, const case_t *c, real_t *r,
                              uint32_t chunk, uint32_t page, float *out);
static uint32_t family_pos(const family_t *f, const case_t *c, uint32_t row);
static void     family_source(const family_t *f, const case_t *c);
static void     family_quant(const family_t *f, const case_t *c);
static void     family_pattern(const char *pattern);
static gguf_t  *source_open(const char *path);
static int      source_rows(void *ctx, size_t i, uint64_t row, uint64_t n,
                            void *out);
static void     source_close(void *ctx);


int
main(void)
{
    family_t f;
    uint32_t i;

    if (family_read(&f, FAMILY_DIR "logits.bin") < 0) {
        printf("Bail out! logits.bin is broken\n");
        return 1;
    }

    for (i = 0; i < f.n_cases; i++) {
        family_f32(&f, &f.cases[i]);
        family_int8(&f, &f.cases[i]);

        if (i == 0 || strcmp(f.cases[i].name, f.cases[i - 1].name) != 0) {
            family_source(&f, &f.cases[i]);
            family_quant(&f, &f.cases[i]);
        }
    }

    family_pattern(NULL);
    family_pattern("101010");
    family_pattern("011101");

    family_refused(FAMILY_DIR);
    free(f.data);

    return tap_done();
}


static int
family_read(family_t *f, const char *path)
{
    const uint8_t *p;
    uint32_t       i;
    long           size;
    FILE          *file;

    memset(f, 0, sizeof(*f));

    file = fopen(path, "rb");
    if (file == NULL) {
        return -errno;
    }

    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    f->data = malloc((size_t) size);

    if (fread(f->data, 1, (size_t) size, file) != (size_t) size
        || memcmp(f->data, "LLMFAML1", 8) != 0) {
        fclose(file);
        return -EINVAL;
    }
    fclose(file);

    memcpy(&f->n_vocab, f->data + 8, 4);
    memcpy(&f->n_cases, f->data + 12, 4);
    p = f->data + 16;

    for (i = 0; i < f->n_cases && i < FAMILY_CASES; i++) {
        case_t *c = &f->cases[i];

        memcpy(c->name, p, 24);
        memcpy(&c->context, p + 24, 4);
        memcpy(&c->n_tokens, p + 28, 4);
        memcpy(&c->n_rows, p + 32, 4);
        c->tokens = (const int32_t *) (p + 36);
        c->rows = p + 36 + c->n_tokens * 4;
        p = c->rows + c->n_rows * (size_t) (4 + f->n_vocab * 4);
    }

    return p == f->data + size ? 0 : -EINVAL;
}


static void
family_open(real_t *r, const case_t *c, k_act_mode_t act)
{
    real_conf_t conf = {.act = act,
                        .threads = 1,
                        .rows = FAMILY_ROWS,
                        .seqs = 4,
                        .context = c->context,
                        .memory = 64 << 20,
                        .kv_bytes = 16 << 20};
    char        path[128], err[K_ERR_MAX];

    snprintf(path, sizeof(path), FAMILY_DIR "%s.gguf", c->name);
    conf.path = path;

    if (real_try(r, &conf, err) != 0) {
        real_fail(c->name, err);
    }
}


static void
family_f32(const family_t *f, const case_t *c)
{
    real_t   r;
    float   *logits;
    double   l2, worst = 0;
    uint32_t i, wanted[FAMILY_WANT];
    int      same, all = 1;

    family_open(&r, c, K_ACT_F32);
    logits = malloc(f->n_vocab * sizeof(float));

    for (i = 0; i < c->n_rows; i++) {
        wanted[i] = family_pos(f, c, i);
    }

    real_one(&r, c->tokens, c->n_tokens, 0, 0, wanted, c->n_rows);

    for (i = 0; i < c->n_rows; i++) {
        real_logits(&r, i, logits);
        l2 = family_l2(f, c, i, logits, &same);
        worst = l2 > worst || l2 != l2 ? l2 : worst;
        all &= same;
    }

    ok(worst <= FAMILY_L2, "%s, f32, %u tokens, context %u: relative L2 %.1e",
       c->name, c->n_tokens, r.m->context, worst);
    ok(all, "%s, f32: the same largest logits", c->name);

    free(logits);
    real_close(&r);
}


/* In one piece, in uneven chunks and token by token: the same bits. */

static void
family_int8(const family_t *f, const case_t *c)
{
    static const uint32_t chunks[] = {FAMILY_ROWS, 37, 1};

    real_t   r;
    size_t   size = (size_t) c->n_rows * f->n_vocab;
    float   *out[3];
    double   l2, worst = 0;
    uint32_t i, page = 0;
    int      same;

    family_open(&r, c, K_ACT_INT8);

    for (i = 0; i < 3; i++) {
        out[i] = calloc(size, sizeof(float));
        family_chunks(f, c, &r, chunks[i], page, out[i]);
        page += c->n_tokens / K_PAGE_TOKENS + 1;
    }

    for (i = 0; i < c->n_rows; i++) {
        l2 = family_l2(f, c, i, out[0] + (size_t) i * f->n_vocab, &same);
        worst = l2 > worst || l2 != l2 ? l2 : worst;
    }

    ok(worst <= FAMILY_INT8, "%s, int8: relative L2 %.1e", c->name, worst);
    ok(memcmp(out[0], out[1], size * sizeof(float)) == 0,
       "%s, int8: in chunks as in one piece", c->name);
    ok(memcmp(out[0], out[2], size * sizeof(float)) == 0,
       "%s, int8: token by token as in one piece", c->name);

    for (i = 0; i < 3; i++) {
        free(out[i]);
    }

    real_close(&r);
}


static void
family_chunks(const family_t *f, const case_t *c, real_t *r, uint32_t chunk,
              uint32_t page, float *out)
{
    uint32_t at, n, i, row = 0, first, wanted[FAMILY_WANT], n_wanted;

    for (at = 0; at < c->n_tokens; at += n) {
        n = c->n_tokens - at < chunk ? c->n_tokens - at : chunk;
        first = row;

        for (n_wanted = 0; row < c->n_rows && family_pos(f, c, row) < at + n;
             row++) {
            wanted[n_wanted++] = family_pos(f, c, row) - at;
        }

        real_one(r, c->tokens + at, n, at, page, wanted, n_wanted);

        for (i = 0; i < n_wanted; i++) {
            real_logits(r, i, out + (size_t) (first + i) * f->n_vocab);
        }
    }
}


static uint32_t
family_pos(const family_t *f, const case_t *c, uint32_t row)
{
    uint32_t pos;

    memcpy(&pos, c->rows + row * (size_t) (4 + f->n_vocab * 4), 4);

    return pos;
}


static double
family_l2(const family_t *f, const case_t *c, uint32_t row, const float *logits,
          int *same)
{
    const float *want;
    double       d, diff = 0, norm = 0;
    uint32_t     i, a = 0, b = 0;

    want = (const float *) (c->rows + row * (size_t) (4 + f->n_vocab * 4) + 4);

    for (i = 0; i < f->n_vocab; i++) {
        d = (double) logits[i] - (double) want[i];
        diff += d * d;
        norm += (double) want[i] * (double) want[i];
        a = logits[i] > logits[a] ? i : a;
        b = want[i] > want[b] ? i : b;
    }

    *same = a == b;

    return sqrt(diff / norm);
}


/*
 * The same file with its tensors' data told row by row, as a folder's are:
 * the same model, to the bit.
 */

static void
family_source(const family_t *f, const case_t *c)
{
    real_conf_t conf = {.act = K_ACT_INT8,
                        .threads = 1,
                        .rows = FAMILY_ROWS,
                        .seqs = 4,
                        .context = c->context,
                        .memory = 64 << 20,
                        .kv_bytes = 16 << 20};
    real_t      r, s;
    size_t      size = (size_t) c->n_rows * f->n_vocab;
    float      *out[2];
    char        path[128], err[K_ERR_MAX];

    snprintf(path, sizeof(path), FAMILY_DIR "%s.gguf", c->name);
    family_open(&r, c, K_ACT_INT8);

    conf.file = source_open(path);
    if (real_try(&s, &conf, err) != 0) {
        real_fail(c->name, err);
    }

    out[0] = calloc(size, sizeof(float));
    out[1] = calloc(size, sizeof(float));
    family_chunks(f, c, &r, FAMILY_ROWS, 0, out[0]);
    family_chunks(f, c, &s, FAMILY_ROWS, 0, out[1]);

    ok(memcmp(out[0], out[1], size * sizeof(float)) == 0,
       "%s, row by row: the same logits", c->name);
    ok(memcmp(r.m->fingerprint, s.m->fingerprint, 32) == 0
           && r.m->weight_bytes == s.m->weight_bytes
           && r.m->n_params == s.m->n_params
           && strcmp(r.m->file_type, s.m->file_type) == 0,
       "%s, row by row: the same fingerprint, %s", c->name, s.m->file_type);

    free(out[0]);
    free(out[1]);
    real_close(&r);
    real_close(&s);
}


static gguf_t *
source_open(const char *path)
{
    const gguf_tensor_t *t;
    gguf_source_t        source = {.rows = source_rows, .close = source_close};
    gguf_t              *inner, *g;
    uint8_t             *head;
    size_t               size, i, data = 0;
    char                 err[K_ERR_MAX];
    FILE                *f;

    if (gguf_open(path, &inner, err, sizeof(err)) != 0) {
        real_fail(path, err);
    }

    for (i = 0; i < gguf_tensor_n(inner); i++) {
        t = gguf_tensor_at(inner, i);
        data += (t->size + 31) / 32 * 32;
    }

    size = ((size_t) gguf_file_size(inner) + 31) / 32 * 32 - data;
    head = malloc(size);
    f = fopen(path, "rb");
    if (f == NULL || fread(head, 1, size, f) != size) {
        real_fail(path, "cannot be read");
    }
    fclose(f);

    source.ctx = inner;
    if (gguf_open_source(head, size, &source, &g, err, sizeof(err)) != 0) {
        real_fail(path, err);
    }

    return g;
}


static int
source_rows(void *ctx, size_t i, uint64_t row, uint64_t n, void *out)
{
    return gguf_tensor_rows(ctx, gguf_tensor_at(ctx, i), row, n, out);
}


static void
source_close(void *ctx)
{
    gguf_close(ctx);
}


/* Quantised while loading: near enough, and it says so. */

static void
family_quant(const family_t *f, const case_t *c)
{
    real_conf_t conf = {.act = K_ACT_F32,
                        .threads = 1,
                        .rows = FAMILY_ROWS,
                        .seqs = 4,
                        .context = c->context,
                        .quant = QUANT_Q8_0,
                        .memory = 64 << 20,
                        .kv_bytes = 16 << 20};
    real_t      r;
    float      *out;
    double      l2, worst = 0;
    uint32_t    i;
    char        path[128], err[K_ERR_MAX];
    int         same;

    snprintf(path, sizeof(path), FAMILY_DIR "%s.gguf", c->name);
    conf.path = path;

    if (real_try(&r, &conf, err) != 0) {
        real_fail(c->name, err);
    }

    out = calloc((size_t) c->n_rows * f->n_vocab, sizeof(float));
    family_chunks(f, c, &r, FAMILY_ROWS, 0, out);

    for (i = 0; i < c->n_rows; i++) {
        l2 = family_l2(f, c, i, out + (size_t) i * f->n_vocab, &same);
        worst = l2 > worst || l2 != l2 ? l2 : worst;
    }

    ok(worst <= FAMILY_QUANT, "%s, quantised to Q8_0: %s, relative L2 %.1e",
       c->name, r.m->file_type, worst);

    free(out);
    real_close(&r);
}


/* Gemma 3 with a flag for each layer, or (NULL) as it is: "111110". */

static void
family_pattern(const char *pattern)
{
    edit_t         e = {.file = "gemma3",
                        .key = "gemma3.attention.sliding_window_pattern",
                        .type = EDIT_BOOLS,
                        .text = pattern};
    real_conf_t    conf = {.threads = 1,
                           .rows = 32,
                           .seqs = 1,
                           .memory = 64 << 20,
                           .kv_bytes = 16 << 20};
    const k_op_t  *op, *qkv = NULL;
    const uint8_t *flags = (const uint8_t *) (pattern ? pattern : "111110");
    uint8_t       *data;
    uint32_t       i;
    size_t         size;
    real_t         r;
    char           err[K_ERR_MAX];
    int            good = 1, local;

    e.key = pattern ? e.key : NULL;
    data = edit_file(FAMILY_DIR "gemma3.gguf", &e, &size);

    if (gguf_open_mem(data, size, &conf.file, err, sizeof(err)) != 0
        || real_try(&r, &conf, err) != 0) {
        real_fail("gemma3", err);
    }

    for (i = 0; i < r.m->prog.n_ops; i++) {
        op = &r.m->prog.ops[i];
        local = flags[op->layer] == '1';
        qkv = op->kind == K_OP_QKV ? op : qkv;

        if (op->kind == K_OP_ATTN) {
            /* The bases are 10 thousand and a million, divided by eight. */
            good &= op->window == (local ? 24u : 0u)
                    && qkv->inv_freq[0] == (local ? 1.0f : 0.125f);
        }
    }

    ok(good, "gemma3 with windows %s", (const char *) flags);

    real_close(&r);
    free(data);
}
