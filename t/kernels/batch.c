/*
 * Bit identity on the CPU: a sequence's logits are the same bits alone or
 * among others, whatever the chunks, the threads, the numbers of its pages,
 * in prefill or decode, and after a prefix was copied from another sequence.
 *
 * Each way runs the same prompt and the same continuation and gives one hash
 * of the logits of the prompt's last tokens and of the continuation.
 */

#include "t/lib/tap.h"
#include "t/kernels/toy.h"

#define PROMPT 300 /* more than a span of attention, no multiple of a page */
#define MORE   6
#define LAST   3 /* tokens of the prompt whose logits count */
#define PAGES  400
#define OTHERS 15
#define ROWS   640


typedef struct {
    const char *name;
    uint32_t    threads;
    uint32_t    chunk;
    uint32_t    others;
    uint32_t    page; /* the first, and the step to the next */
    uint32_t    step;
    uint32_t    prefix; /* tokens that are copied from another sequence */
} way_t;


static uint64_t way_run(const toy_conf_t *c, const way_t *way, k_isa_t isa);
static void     way_step(k_exec_t *exec, toy_t *toy, k_batch_seq_t *seqs,
                         uint32_t n_seqs, const int32_t *tokens, uint64_t *hash,
                         uint32_t from);
static uint64_t hash_bytes(uint64_t h, const void *p, size_t n);


static const way_t ways[] = {
    {"alone, one chunk, 1 thread", 1, PROMPT, 0, 0, 1, 0},
    {"2 threads", 2, PROMPT, 0, 0, 1, 0},
    {"3 threads", 3, PROMPT, 0, 0, 1, 0},
    {"chunks of 1", 2, 1, 0, 0, 1, 0},
    {"chunks of 7", 1, 7, 0, 0, 1, 0},
    {"chunks of 32", 2, 32, 0, 0, 1, 0},
    {"pages backwards", 2, PROMPT, 0, PAGES - 1, PAGES - 3, 0},
    {"among 15 others", 2, PROMPT, OTHERS, 0, 1, 0},
    {"among 15 others, chunks of 7", 1, 7, OTHERS, 5, 1, 0},
    {"among 15 others, chunks of 61, 3 threads", 3, 61, OTHERS, 0, 1, 0},
    {"copied prefix of 32", 2, PROMPT, 0, 40, 1, 32},
    {"copied prefix of 75", 2, PROMPT, 0, 40, 1, 75},
    {"copied prefix of 297, among others", 1, 1, OTHERS, 40, 1, 297},
};

static const toy_conf_t confs[] = {
    {64, 2, 9, 3, 64, 96, 131, 64, 100, K_Q4_1, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
     0, 0, 0, 1, .seed = 1},
    {96, 2, 4, 4, 24, 160, 77, 24, 0, K_Q8_0, K_ROPE_HALVES, K_FN_GELU_TANH,
     10.0f, 0, 1, 1, 1, 0, .seed = 2},
    {320, 2, 4, 1, 48, 64, 50, 48, 270, K_F16, K_ROPE_PAIRS, K_FN_SILU, 0, 5.0f,
     0, 0, 0, 0, .seed = 3},
    {64, 2, 6, 2, 32, 64, 70, 32, 40, K_Q8_0, K_ROPE_HALVES, K_FN_SWIGLU_OAI, 0,
     0, .bias = 1, .seed = 4, .n_expert = 17, .n_used = 3, .sinks = 1},
    /* clang-format off */
    {96, 2, 3, 1, 64, 43, 60, 64, 0, K_F16, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
     .post_norm = 1, .tied = 1, .seed = 5, .n_expert = 3, .n_used = 2,
     .gate = K_GATE_SOFTMAX, .dense = 1, .nope = 1, .residual = 0.5f},
    /* clang-format on */
};


int
main(void)
{
    size_t   i, j;
    uint64_t first, h;
    uint32_t isa;

    static const char *names[] = {"auto", "scalar", "avx2", "avx512"};

    for (isa = K_ISA_SCALAR; isa <= K_ISA_AVX512; isa++) {
        for (i = 0; i < sizeof(confs) / sizeof(confs[0]); i++) {
            first = 0;
            for (j = 0; j < sizeof(ways) / sizeof(ways[0]); j++) {
                /* The scalar reference is slow: two of the ways will do. */
                if (isa == K_ISA_SCALAR && j > 0 && j != 5 && j != 10) {
                    continue;
                }
                h = way_run(&confs[i], &ways[j], (k_isa_t) isa);
                if (h == 0) {
                    ok(1, "# SKIP no %s", names[isa]);
                    break;
                }
                first = j == 0 ? h : first;
                ok(h == first, "%s, model %zu: %s", names[isa], i + 1,
                   ways[j].name);
            }
        }
    }

    return tap_done();
}


static uint64_t
way_run(const toy_conf_t *c, const way_t *way, k_isa_t isa)
{
    char          err[K_ERR_MAX];
    toy_t         toy;
    k_kv_t       *kv;
    int32_t      *tokens, *mine;
    uint64_t      hash;
    uint32_t      i, n, at, rng, pages[OTHERS + 2][16], other, need;
    k_exec_t     *exec;
    k_config_t    conf;
    k_limits_t    limits = {ROWS, OTHERS + 1, ROWS};
    k_backend_t  *be;
    k_batch_seq_t seqs[OTHERS + 1];

    memset(&conf, 0, sizeof(conf));
    conf.threads = way->threads;
    conf.isa = isa;
    conf.memory = 128 << 20;

    if (k_backend_cpu.open(&conf, &be, err) != 0) {
        return 0;
    }
    toy_make(&toy, &k_backend_cpu, be, c);
    if (k_backend_cpu.kv_new(be, &toy.prog, PAGES, &kv, err) != 0
        || k_backend_cpu.program_prepare(be, &toy.prog, kv, &limits, &exec, err)
               != 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    rng = 99;
    tokens = calloc(ROWS, sizeof(int32_t));
    mine = calloc(PROMPT + MORE, sizeof(int32_t));
    for (i = 0; i < PROMPT + MORE; i++) {
        mine[i] = (int32_t) (toy_rand(&rng) % c->n_vocab);
    }

    /* Rows of 16 pages: mine, the others', and one that is copied from. */
    for (i = 0; i < 16; i++) {
        pages[0][i] = (way->page + i * way->step) % PAGES;
        for (n = 1; n < OTHERS + 2; n++) {
            pages[n][i] = 60 + n * 16 + i;
        }
    }

    hash = 14695981039346656037ull;
    memset(seqs, 0, sizeof(seqs));

    if (way->prefix != 0) {
        /* Another sequence with the same beginning goes first. */
        seqs[0].n = way->prefix;
        seqs[0].pages = pages[OTHERS + 1];
        memcpy(tokens, mine, way->prefix * sizeof(int32_t));
        way_step(exec, &toy, seqs, 1, tokens, NULL, way->prefix);

        need = (way->prefix + 31) / 32;
        for (i = 0; i < need; i++) {
            n = way->prefix - i * 32 < 32 ? way->prefix - i * 32 : 32;
            k_backend_cpu.kv_copy(be, kv, pages[0][i], pages[OTHERS + 1][i], n);
        }
    }

    other = 0;
    for (at = way->prefix; at < PROMPT + MORE; at += n) {
        n = at < PROMPT ? PROMPT - at : 1;
        n = n < way->chunk ? n : way->chunk;

        /* The others go on by one to twenty tokens a step, before and
           after mine in the batch. */
        uint32_t k, row = 0, me = way->others / 2;

        for (k = 0; k <= way->others; k++) {
            if (k == me) {
                seqs[k].pos = at;
                seqs[k].n = n;
                seqs[k].pages = pages[0];
                memcpy(tokens + row, mine + at, n * sizeof(int32_t));
            } else {
                seqs[k].pos += other == 0 ? 0 : seqs[k].n;
                seqs[k].n = 1 + (k * 7 + other) % 20;
                seqs[k].pages = pages[1 + k];
                if (seqs[k].pos + seqs[k].n > 16 * 32) {
                    seqs[k].pos = 0;
                }
                for (i = 0; i < seqs[k].n; i++) {
                    tokens[row + i] = (int32_t) (toy_rand(&rng) % c->n_vocab);
                }
            }
            seqs[k].row = row;
            row += seqs[k].n;
        }
        other++;

        i = at + n > PROMPT - LAST ? (at < PROMPT - LAST ? PROMPT - LAST : at)
                                   : at + n;
        way_step(exec, &toy, seqs, way->others + 1, tokens, &hash,
                 seqs[me].row + i - at);
    }

    free(tokens);
    free(mine);
    k_backend_cpu.program_free(exec);
    k_backend_cpu.kv_free(be, kv);
    toy_free(&toy);
    k_backend_cpu.close(be);

    return hash;
}


/* Hashes the logits of my sequence's rows from `from` on. */
static void
way_step(k_exec_t *exec, toy_t *toy, k_batch_seq_t *seqs, uint32_t n_seqs,
         const int32_t *tokens, uint64_t *hash, uint32_t from)
{
    int       rc;
    float    *l;
    uint32_t  i, end, rows[ROWS];
    k_batch_t b;

    memset(&b, 0, sizeof(b));
    b.n_seqs = n_seqs;
    b.n_rows = seqs[n_seqs - 1].row + seqs[n_seqs - 1].n;
    b.tokens = tokens;
    b.seqs = seqs;
    b.logit_rows = rows;

    end = seqs[(n_seqs - 1) / 2].row + seqs[(n_seqs - 1) / 2].n;
    for (i = from; i < end && hash != NULL; i++) {
        rows[b.n_logits++] = i;
    }
    /* Sometimes a row of another sequence as well. */
    if (end < b.n_rows) {
        rows[b.n_logits++] = b.n_rows - 1;
    }

    rc = k_backend_cpu.step_submit(exec, &b);
    rc = rc ? rc : k_backend_cpu.step_wait(exec);
    if (rc != 0) {
        printf("Bail out! step: %d\n", rc);
        exit(1);
    }

    l = malloc(toy->conf.n_vocab * sizeof(float));
    for (i = from; i < end && hash != NULL; i++) {
        k_backend_cpu.logits(exec, i - from, l);
        *hash = hash_bytes(*hash, l, toy->conf.n_vocab * sizeof(float));
    }
    free(l);
}


static uint64_t
hash_bytes(uint64_t h, const void *p, size_t n)
{
    size_t         i;
    const uint8_t *b;

    b = p;
    for (i = 0; i < n; i++) {
        h = (h ^ b[i]) * 1099511628211ull;
    }
    return h;
}
