/*
 * Bit identity with the default model: a row's logits are the same bits alone
 * and among up to 15 others, however its prompt was cut, whatever its pages'
 * numbers, with one thread, two and three.  (t/kernels/batch.c does the same
 * for small models of all kinds.)
 */

#include <stdint.h>
#include "engine/base.h"
#include "engine/model/model.h"
#include "t/lib/tap.h"
#include "t/model/real.h"

#define SEQS   16
#define PROMPT 331 /* more than a span of attention, no multiple of a page */
#define ROWS   512
#define LAST   3  /* rows at the prompt's end that count */
#define PAGES  12 /* from one sequence's first page to the next one's */

typedef struct {
    const char *name;
    uint32_t    threads;
    uint32_t    chunk;
    uint32_t    turn;   /* see real.h */
    uint32_t    first;  /* page */
    uint32_t    prefix; /* tokens whose KV is copied from other pages */
} way_t;


static void     det_cuts(k_act_mode_t act, const way_t *ways, size_t n);
static void     det_many(k_act_mode_t act, uint32_t threads);
static void     det_prompt(real_t *r, const way_t *way, float *out);
static void     det_prefix(real_t *r, const way_t *way, const int32_t *tokens);
static int32_t  det_token(uint32_t seq, uint32_t pos);
static uint32_t det_length(uint32_t seq);


static const way_t cuts[] = {
    {"one chunk, 1 thread", 1, PROMPT, 1, 0, 0},
    {"2 threads", 2, PROMPT, 1, 0, 0},
    {"3 threads", 3, PROMPT, 1, 0, 0},
    {"chunks of 7", 2, 7, 1, 0, 0},
    {"chunks of 1, other pages", 2, 1, 1, 40, 0},
    {"chunks of 32", 1, 32, 1, 0, 0},
    {"chunks of 330, scattered pages", 2, 330, 37, 5, 0},
    {"chunks of 61, 3 threads, scattered pages", 3, 61, 13, 100, 0},
    {"a copied prefix of 75, chunks of 50", 2, 50, 1, 100, 75},
};

static const way_t cuts_f32[] = {
    {"one chunk, 1 thread", 1, PROMPT, 1, 0, 0},
    {"chunks of 61, 2 threads, scattered pages", 2, 61, 13, 100, 0},
    {"a copied prefix of 75, chunks of 90", 2, 90, 1, 100, 75},
};


int
main(void)
{
    real_need();

    if (REAL_SAN) {
        det_many(K_ACT_INT8, 2);
        return tap_done();
    }

    det_cuts(K_ACT_INT8, cuts, llm_countof(cuts));
    det_cuts(K_ACT_F32, cuts_f32, llm_countof(cuts_f32));
    det_many(K_ACT_INT8, 2);
    det_many(K_ACT_INT8, 1);

    return tap_done();
}


/* The end of one prompt, cut in all ways: the first way is the measure. */

static void
det_cuts(k_act_mode_t act, const way_t *ways, size_t n)
{
    size_t i, size;
    float *want = NULL, *got = NULL;
    real_t r;

    for (i = 0; i < n; i++) {
        real_open(&r, K_ISA_AUTO, act, ways[i].threads, ROWS, 1);
        size = LAST * (size_t) r.m->prog.n_vocab;

        if (i == 0) {
            want = malloc(size * sizeof(float));
            got = malloc(size * sizeof(float));
        }

        r.turn = ways[i].turn;
        if (r.turn > 1 && r.m->n_pages % r.turn == 0) {
            real_fail("turn", "two positions would share a page");
        }

        det_prompt(&r, &ways[i], i ? got : want);
        real_close(&r);

        if (i > 0) {
            ok(memcmp(got, want, size * sizeof(float)) == 0,
               "%s, a prompt: %s: the same bits as in %s",
               act == K_ACT_INT8 ? "int8" : "f32", ways[i].name, ways[0].name);
        }
    }

    free(want);
    free(got);
}


static void
det_prompt(real_t *r, const way_t *way, float *out)
{
    int32_t  tokens[PROMPT];
    uint32_t at, i, n, n_wanted, wanted[LAST];

    for (i = 0; i < PROMPT; i++) {
        tokens[i] = det_token(0, i);
    }

    det_prefix(r, way, tokens);

    for (at = way->prefix; at < PROMPT; at += n) {
        n = PROMPT - at < way->chunk ? PROMPT - at : way->chunk;
        n_wanted = 0;

        for (i = 0; i < n; i++) {
            if (at + i >= PROMPT - LAST) {
                wanted[n_wanted++] = i;
            }
        }

        real_one(r, tokens + at, n, at, way->first, wanted, n_wanted);

        for (i = 0; i < n_wanted; i++, out += r->m->prog.n_vocab) {
            real_logits(r, i, out);
        }
    }
}


/* As after a hit in the prefix cache that ends inside a page. */

static void
det_prefix(real_t *r, const way_t *way, const int32_t *tokens)
{
    uint32_t at, n;

    if (way->prefix == 0) {
        return;
    }

    real_one(r, tokens, way->prefix, 0, 0, NULL, 0);

    for (at = 0; at < way->prefix; at += n) {
        n = way->prefix - at < K_PAGE_TOKENS ? way->prefix - at : K_PAGE_TOKENS;
        r->m->ops->kv_copy(r->be, r->m->kv, way->first + at / K_PAGE_TOKENS,
                           at / K_PAGE_TOKENS, n);
    }
}


/*
 * 16 sequences of different lengths; a token of each computed alone, and then
 * in batches of 1 to 16.  To compute a token again writes the same KV again.
 */

static void
det_many(k_act_mode_t act, uint32_t threads)
{
    float   *want, *got;
    real_t   r;
    size_t   vocab;
    int32_t  tokens[PROMPT];
    uint32_t i, k, m, first, wanted = 0, wrong;

    real_open(&r, K_ISA_AUTO, act, threads, ROWS, SEQS);
    vocab = r.m->prog.n_vocab;
    want = malloc(SEQS * vocab * sizeof(float));
    got = malloc(vocab * sizeof(float));

    for (i = 0; i < SEQS; i++) {
        for (k = 0; k <= det_length(i); k++) {
            tokens[k] = det_token(i, k);
        }

        real_one(&r, tokens, det_length(i), 0, i * PAGES, NULL, 0);
        real_one(&r, tokens + det_length(i), 1, det_length(i), i * PAGES,
                 &wanted, 1);
        real_logits(&r, 0, want + i * vocab);
    }

    for (m = 1; m <= SEQS; m += REAL_SAN ? 5 : 1) {
        wrong = 0;
        first = m * 5 % SEQS;
        real_begin(&r);

        for (i = 0; i < m; i++) {
            k = (first + i) % SEQS;
            tokens[0] = det_token(k, det_length(k));
            real_want(&r, real_add(&r, tokens, 1, det_length(k), k * PAGES));
        }

        real_run(&r);

        for (i = 0; i < m; i++) {
            real_logits(&r, i, got);
            wrong += memcmp(got, want + (first + i) % SEQS * vocab,
                            vocab * sizeof(float))
                     != 0;
        }

        is_int(wrong, 0, "%u threads, %u sequences: the same bits as alone",
               threads, m);
    }

    free(want);
    free(got);
    real_close(&r);
}


static uint32_t
det_length(uint32_t seq)
{
    return 1 + seq * 97 % (REAL_SAN ? 40 : 300);
}


static int32_t
det_token(uint32_t seq, uint32_t pos)
{
    return (int32_t) ((seq * 7919 + pos * 104729 + pos * pos * 31) % 49152);
}
