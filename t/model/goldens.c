/*
 * The default model and Gemma 3 270M against transformers on the same
 * dequantised weights: logits and greedy tokens with F32 activations; with
 * int8 ones, how far the distributions are from F32's, beside llama.cpp on
 * the same file.
 *
 * Expected values and their format: make_goldens.py.  Skips models that are
 * not there.
 */

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <time.h>
#include "engine/base.h"
#include "engine/model/model.h"
#include "t/lib/tap.h"
#include "t/model/real.h"

#define GOLDEN_PROMPTS 32
#define GOLDEN_ROWS    256 /* of a step */
#define GOLDEN_L2      1e-3
#define GOLDEN_MARGIN  1e-3
#define GOLDEN_TOP1    0.98
#define GOLDEN_NEAR    0.005 /* some 8 tokens: about the text's own noise */

typedef struct {
    uint32_t       n_tokens;
    uint32_t       n_rows;
    const int32_t *tokens;
    const int32_t *greedy;
    const float   *margin;
    const uint8_t *rows;
    uint32_t       page; /* its first */
} prompt_t;

/* A model and its goldens. */
static const struct {
    const char *name;
    const char *file;
    const char *goldens;
} models[] = {{"SmolLM2", REAL_FILE, "t/model/goldens/goldens.bin"},
              {"Gemma 3", "gemma-3-270m-q4_k_m.gguf",
               "t/model/goldens/gemma3.bin"}};

typedef struct {
    const char *name;
    const char *file;
    uint8_t    *data;
    uint32_t    n_vocab;
    uint32_t    n_prompts;
    uint32_t    n_greedy;
    uint32_t    n_greedy_run; /* of them, that are tried */
    uint32_t    stride;
    uint32_t    n_top;
    uint32_t    n_kl;
    uint32_t    n_mass;
    uint32_t    id_bytes; /* of a token in the text's part: 2 or 4 */
    double      llama_kl;
    double      llama_top1;
    double      llama_greedy;
    size_t      row_bytes;
    prompt_t    prompts[GOLDEN_PROMPTS];

    const int32_t *text;
    const uint8_t *kl;
} golden_t;


static int    golden_read(golden_t *g, const char *path);
static void   golden_open(const golden_t *g, real_t *r, k_act_mode_t act);
static void   golden_f32(golden_t *g);
static double golden_prompt(golden_t *g, real_t *r, prompt_t *p, float *logits);
static double golden_row(const golden_t *g, const uint8_t *row,
                         const float *logits);
static void   golden_greedy(golden_t *g, real_t *r, uint32_t *wrong,
                            uint32_t *excused, float *logits);
static void   golden_int8(golden_t *g);
static void   golden_text(golden_t *g, real_t *r);
static void   golden_own(golden_t *g, real_t *r);
static double golden_kl(const golden_t *g, uint32_t i, const float *logits,
                        int *same);


int
main(void)
{
    golden_t g;
    size_t   i, n = 0;

#ifdef __SANITIZE_THREAD__
    skip_all("takes minutes under TSan; t/kernels has small models");
#endif

    for (i = 0; i < llm_countof(models); i++) {
        if (access(real_cached(models[i].file), R_OK) != 0) {
            diag("no %s (util/fetch-model)", models[i].file);
            continue;
        }

        if (golden_read(&g, models[i].goldens) < 0) {
            real_fail(models[i].goldens, "is broken");
        }

        n++;
        g.name = models[i].name;
        g.file = models[i].file;

        if (REAL_SAN) {
            /* The short ones, for a moment. */
            g.n_prompts = g.n_prompts < 8 ? g.n_prompts : 8;
            g.n_prompts = i == 0 ? g.n_prompts : 2;
            g.n_greedy_run = 4;
            golden_f32(&g);

        } else {
            golden_f32(&g);
            golden_int8(&g);
        }

        free(g.data);
    }

    if (n == 0) {
        skip_all("no model (util/fetch-model)");
    }

    return tap_done();
}


static int
golden_read(golden_t *g, const char *path)
{
    const uint8_t *p;
    uint32_t       head[8], i, row;
    long           size;
    FILE          *f;

    memset(g, 0, sizeof(*g));

    f = fopen(path, "rb");
    if (f == NULL) {
        return -errno;
    }

    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);
    g->data = malloc((size_t) size);

    if (fread(g->data, 1, (size_t) size, f) != (size_t) size
        || memcmp(g->data, "LLMGOLD1", 8) != 0) {
        fclose(f);
        return -EINVAL;
    }
    fclose(f);

    memcpy(head, g->data + 8, sizeof(head));
    g->n_vocab = head[0];
    g->n_prompts = head[1];
    g->n_greedy = g->n_greedy_run = head[2];
    g->stride = head[3];
    g->n_top = head[4];
    g->n_kl = head[5];
    g->n_mass = head[6];
    g->id_bytes = head[7];
    memcpy(&g->llama_kl, g->data + 40, 8);
    memcpy(&g->llama_top1, g->data + 48, 8);
    memcpy(&g->llama_greedy, g->data + 56, 8);
    g->row_bytes =
        8 + (g->n_vocab + g->stride - 1) / g->stride * 4 + g->n_top * 8;

    p = g->data + 64;

    for (i = 0; i < g->n_prompts && i < GOLDEN_PROMPTS; i++) {
        prompt_t *q = &g->prompts[i];

        memcpy(&q->n_tokens, p, 4);
        memcpy(&q->n_rows, p + 4, 4);
        q->tokens = (const int32_t *) (p + 8);
        q->greedy = q->tokens + q->n_tokens;
        q->margin = (const float *) (q->greedy + g->n_greedy);
        q->rows = (const uint8_t *) (q->margin + g->n_greedy);
        p = q->rows;
        for (row = 0; row < q->n_rows; row++) {
            p += g->row_bytes;
        }
    }

    g->text = (const int32_t *) p;
    g->kl = p + g->n_kl * 4;
    p = g->kl + (size_t) g->n_kl * g->n_mass * (4 + g->id_bytes);

    return p == g->data + size ? 0 : -EINVAL;
}


static void
golden_open(const golden_t *g, real_t *r, k_act_mode_t act)
{
    real_conf_t conf = {.path = real_cached(g->file),
                        .act = act,
                        .rows = GOLDEN_ROWS,
                        .seqs = g->n_prompts};
    char        err[K_ERR_MAX];

    if (real_try(r, &conf, err) != 0) {
        real_fail(g->file, err);
    }
}


/* Every prompt by itself, then the greedy tokens of all of them together. */

static void
golden_f32(golden_t *g)
{
    real_t   r;
    float   *logits;
    double   l2, worst = 0;
    uint32_t i, page = 0, wrong[GOLDEN_PROMPTS], excused[GOLDEN_PROMPTS];

    golden_open(g, &r, K_ACT_F32);
    logits = malloc(g->n_vocab * sizeof(float));

    for (i = 0; i < g->n_prompts; i++) {
        g->prompts[i].page = page;
        page += (g->prompts[i].n_tokens + g->n_greedy) / K_PAGE_TOKENS + 1;

        l2 = golden_prompt(g, &r, &g->prompts[i], logits);
        worst = l2 > worst || l2 != l2 ? l2 : worst;
        ok(l2 <= GOLDEN_L2, "%s, f32, prompt %u of %u tokens: relative L2 %.1e",
           g->name, i + 1, g->prompts[i].n_tokens, l2);
    }

    golden_greedy(g, &r, wrong, excused, logits);

    for (i = 0; i < g->n_prompts; i++) {
        ok(wrong[i] == 0,
           "%s, f32, prompt %u: %u greedy tokens, %u differ, %u at a tie",
           g->name, i + 1, g->n_greedy_run, wrong[i], excused[i]);
    }

    diag("%s, f32: worst relative L2 of logits %.2e", g->name, worst);
    free(logits);
    real_close(&r);
}


static double
golden_prompt(golden_t *g, real_t *r, prompt_t *p, float *logits)
{
    const uint8_t *row;
    uint32_t       at, n, i, pos, wanted[8], n_wanted;
    double         l2, worst = 0;

    for (at = 0; at < p->n_tokens; at += n) {
        n = p->n_tokens - at < GOLDEN_ROWS ? p->n_tokens - at : GOLDEN_ROWS;
        n_wanted = 0;
        row = p->rows;

        for (i = 0; i < p->n_rows; i++) {
            memcpy(&pos, row + i * g->row_bytes, 4);
            if (pos >= at && pos < at + n) {
                wanted[n_wanted++] = pos - at;
            }
        }

        real_one(r, p->tokens + at, n, at, p->page, wanted, n_wanted);

        for (i = 0; i < p->n_rows; i++) {
            memcpy(&pos, row + i * g->row_bytes, 4);
            if (pos >= at && pos < at + n) {
                real_logits(r, n_wanted == 1 || pos - at == wanted[0] ? 0 : 1,
                            logits);
                l2 = golden_row(g, row + i * g->row_bytes, logits);
                worst = l2 > worst || l2 != l2 ? l2 : worst;
            }
        }
    }

    return worst;
}


/* Relative L2 over the tokens that the golden row has; its norm over all. */

static double
golden_row(const golden_t *g, const uint8_t *row, const float *logits)
{
    const uint32_t *ids;
    const float    *some, *top;
    uint32_t        i, n = (g->n_vocab + g->stride - 1) / g->stride;
    double          d, diff = 0, norm = 0, all = 0, want;
    float           f;

    memcpy(&f, row + 4, 4);
    some = (const float *) (row + 8);
    ids = (const uint32_t *) (some + n);
    top = (const float *) (ids + g->n_top);

    for (i = 0; i < n; i++) {
        d = (double) logits[i * g->stride] - (double) some[i];
        diff += d * d;
        norm += (double) some[i] * (double) some[i];
    }

    for (i = 0; i < g->n_top; i++) {
        d = (double) logits[ids[i]] - (double) top[i];
        diff += d * d;
        norm += (double) top[i] * (double) top[i];
    }

    for (i = 0; i < g->n_vocab; i++) {
        all += (double) logits[i] * (double) logits[i];
    }

    want = (double) f;
    all = fabs(sqrt(all) - want) / want;
    diff = sqrt(diff / norm);

    return all > diff ? all : diff;
}


/*
 * All prompts go on by a token a step, in one batch; each is fed the golden
 * tokens, so that a step at which two are as good as equal does not excuse
 * the steps after it.
 */

static void
golden_greedy(golden_t *g, real_t *r, uint32_t *wrong, uint32_t *excused,
              float *logits)
{
    uint32_t step, i, k, best;
    int32_t  tokens[GOLDEN_PROMPTS];

    for (i = 0; i < g->n_prompts; i++) {
        wrong[i] = excused[i] = 0;
    }

    for (step = 0; step < g->n_greedy_run; step++) {
        real_begin(r);

        /* The first step has the last token of the prompt once more. */
        for (i = 0; i < g->n_prompts; i++) {
            prompt_t *p = &g->prompts[i];

            tokens[i] = step ? p->greedy[step - 1] : p->tokens[p->n_tokens - 1];
            real_add(r, &tokens[i], 1, p->n_tokens - 1 + step, p->page);
            real_want(r, i);
        }

        real_run(r);

        for (i = 0; i < g->n_prompts; i++) {
            real_logits(r, i, logits);

            for (best = 0, k = 1; k < g->n_vocab; k++) {
                best = logits[k] > logits[best] ? k : best;
            }

            if ((int32_t) best != g->prompts[i].greedy[step]) {
                if (g->prompts[i].margin[step] < (float) GOLDEN_MARGIN) {
                    excused[i]++;
                } else {
                    wrong[i]++;
                }
            }
        }
    }
}


static void
golden_int8(golden_t *g)
{
    real_t r;

    golden_open(g, &r, K_ACT_INT8);
    golden_text(g, &r);
    golden_own(g, &r);
    real_close(&r);
}


/*
 * The text in chunks, all logits wanted.  It is a hard one for so small a
 * model (perplexity 20), many of its tokens are close to ties: top-1 is to be
 * about llama.cpp's.
 */

static void
golden_text(golden_t *g, real_t *r)
{
    float   *logits;
    double   kl = 0, top1 = 0;
    uint32_t at, i, n, wanted[GOLDEN_ROWS];
    int      same = 0;

    logits = malloc(g->n_vocab * sizeof(float));

    for (at = 0; at < g->n_kl; at += n) {
        n = g->n_kl - at < GOLDEN_ROWS ? g->n_kl - at : GOLDEN_ROWS;

        for (i = 0; i < n; i++) {
            wanted[i] = i;
        }

        real_one(r, g->text + at, n, at, 0, wanted, n);

        for (i = 0; i < n; i++) {
            real_logits(r, i, logits);
            kl += golden_kl(g, at + i, logits, &same);
            top1 += same;
        }
    }

    kl /= g->n_kl;
    top1 /= g->n_kl;

    ok(kl <= g->llama_kl,
       "%s, int8, text of %u tokens: mean KL from F32 %.6f, llama.cpp's %.6f",
       g->name, g->n_kl, kl, g->llama_kl);
    ok(top1 >= g->llama_top1 - GOLDEN_NEAR,
       "%s, int8, the text: top-1 agreement %.4f, llama.cpp's %.4f", g->name,
       top1, g->llama_top1);

    free(logits);
}


/* What the model writes itself: the greedy tokens of all prompts. */

static void
golden_own(golden_t *g, real_t *r)
{
    prompt_t *p;
    float    *logits;
    double    top1;
    uint32_t  i, at, n, page = 0, all = 0;
    uint32_t  wrong[GOLDEN_PROMPTS], excused[GOLDEN_PROMPTS];

    logits = malloc(g->n_vocab * sizeof(float));

    for (i = 0; i < g->n_prompts; i++) {
        p = &g->prompts[i];
        p->page = page;
        page += (p->n_tokens + g->n_greedy) / K_PAGE_TOKENS + 1;

        for (at = 0; at < p->n_tokens; at += n) {
            n = p->n_tokens - at < GOLDEN_ROWS ? p->n_tokens - at : GOLDEN_ROWS;
            real_one(r, p->tokens + at, n, at, p->page, NULL, 0);
        }
    }

    golden_greedy(g, r, wrong, excused, logits);

    for (i = 0; i < g->n_prompts; i++) {
        all += wrong[i] + excused[i];
    }

    n = g->n_prompts * g->n_greedy;
    top1 = 1 - (double) all / n;

    ok(top1 >= GOLDEN_TOP1,
       "%s, int8, %u tokens of the model's own: top-1 agreement %.4f, "
       "llama.cpp's %.4f",
       g->name, n, top1, g->llama_greedy);

    free(logits);
}


static double
golden_kl(const golden_t *g, uint32_t i, const float *logits, int *same)
{
    size_t         size = g->id_bytes + sizeof(float);
    const uint8_t *row = g->kl + (size_t) i * g->n_mass * size;
    uint32_t       k, id, best = 0;
    double         sum = 0, rest_p = 1, rest_q = 1, kl = 0, p, lp, lq;
    float          f;

    for (k = 1; k < g->n_vocab; k++) {
        best = logits[k] > logits[best] ? k : best;
    }

    for (k = 0; k < g->n_vocab; k++) {
        sum += exp((double) logits[k] - (double) logits[best]);
    }

    sum = log(sum) + (double) logits[best];

    for (k = 0; k < g->n_mass; k++) {
        id = 0;
        memcpy(&id, row + k * g->id_bytes, g->id_bytes);
        memcpy(&f, row + g->n_mass * g->id_bytes + k * 4, 4);
        lp = (double) f;
        lq = (double) logits[id] - sum;
        p = exp(lp);
        kl += p * (lp - lq);
        rest_p -= p;
        rest_q -= exp(lq);
        *same = k == 0 ? best == id : *same;
    }

    rest_p = rest_p > 1e-12 ? rest_p : 1e-12;
    rest_q = rest_q > 1e-12 ? rest_q : 1e-12;

    return kl + rest_p * log(rest_p / rest_q);
}
