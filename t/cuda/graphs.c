/*
 * Decode steps as CUDA graphs: the same bits as kernel by kernel in every
 * bucket, one graph a bucket, captured once; rows that fill a bucket up leave
 * no trace in any page; long sequences are split and joined within a graph;
 * where graphs cannot be made, steps go on without.
 */

#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/exec.h"
#include "t/cuda/rig.h"

#define SEQS 20
#define LONG 300


static void     refusal(void);
static void     same_bits(rig_t *r);
static void     no_trace(rig_t *r);
static void     split(rig_t *r);
static uint64_t decode(rig_t *r, uint32_t n, uint32_t pos);
static uint64_t hash_of(uint64_t h, const void *p, size_t n);
static uint8_t *page_bytes(rig_t *r);


static const toy_conf_t toy = {64,           2,         4,  2,         64,
                               64,           60,        64, 40,        K_F32,
                               K_ROPE_PAIRS, K_FN_SILU, 0,  .seed = 41};

static const k_limits_t limits = {320, SEQS, SEQS};


int
main(void)
{
    rig_t r;

    refusal();

    rig_open(&r, &k_backend_cuda, &toy, K_BF16, &limits, 0);
    same_bits(&r);
    no_trace(&r);
    split(&r);
    rig_close(&r);

    return tap_done();
}


/* In a child, whose capture the emulated device refuses. */
static void
refusal(void)
{
    int      state;
    pid_t    pid;
    rig_t    r;
    uint64_t with, without;

    fflush(stdout);
    pid = fork();
    if (pid != 0) {
        waitpid(pid, &state, 0);
        state = WIFEXITED(state) ? WEXITSTATUS(state) : 99;
        if (state == 3) {
            ok(1, "# SKIP graphs cannot be refused here");
        } else {
            is_int(state, 0, "no graph to be had: steps go on without");
        }
        return;
    }

    if (freopen("/dev/null", "w", stdout) == NULL
        || freopen("/dev/null", "w", stderr) == NULL) {
        _exit(2);
    }

    rig_open(&r, &k_backend_cuda, &toy, K_BF16, &limits, 0);
    r.exec->graphs = 0;
    without = decode(&r, 3, 0);
    r.exec->graphs = 1;
    setenv("CU_EMU_FAIL", "graph:1", 1);
    with = decode(&r, 3, 0);
    state = r.exec->n_graphs != 0 ? 3 : with != without ? 4 : 0;
    rig_close(&r);
    _exit(state);
}


static void
same_bits(rig_t *r)
{
    size_t   i;
    uint32_t first;
    uint64_t with[8], without[8];

    static const uint32_t sizes[] = {1, 2, 3, 5, 8, 9, 17, SEQS};

    for (i = 0; i < 8; i++) {
        r->exec->graphs = 0;
        without[i] = decode(r, sizes[i], 0);
    }
    is_int((int) r->exec->n_graphs, 0, "none, if none are wanted");

    for (i = 0; i < 8; i++) {
        r->exec->graphs = 1;
        with[i] = decode(r, sizes[i], 0);
        ok(with[i] == without[i] && with[i] != 0,
           "%u sequences: the same bits as a graph", sizes[i]);
    }

    /* 1, 2, 4, 8, 16, 24. */
    first = r->exec->n_graphs;
    is_int((int) first, 6, "a graph for each bucket");
    for (i = 0; i < 8; i++) {
        with[i] ^= decode(r, sizes[i], 0);
    }
    is_int((int) r->exec->n_graphs, (int) first, "and no more of them");
    ok((with[0] | with[1] | with[2] | with[3] | with[4] | with[5] | with[6]
        | with[7])
           == 0,
       "the same bits once more");
}


/* Five rows in a bucket of eight, after a step that has used all eight. */
static void
no_trace(rig_t *r)
{
    uint8_t *before, *after;
    uint32_t i, touched, page;

    (void) decode(r, 8, 0);
    before = page_bytes(r);
    (void) decode(r, 5, 64);
    after = page_bytes(r);

    /* Sequence i writes to page 3 i + 2 only. */
    touched = 0;
    for (page = 0; page < RIG_PAGES; page++) {
        i = memcmp(before + page * r->kv->page, after + page * r->kv->page,
                   r->kv->page)
            != 0;
        touched += i && !(page % 3 == 2 && page / 3 < 5);
    }
    is_int((int) touched, 0, "rows beyond the step's own touch no page");

    free(before);
    free(after);
}


/* A long sequence, short ones beside it, against double precision. */
static void
split(rig_t *r)
{
    float       out[64];
    double     *want, d, worst;
    int32_t     tokens[LONG + 8];
    uint32_t    i, j, pages[16], other[3];
    rig_batch_t b;

    rig_tokens(r, 9, tokens, LONG + 8);
    want = toy_reference(&r->toy, tokens, LONG + 8, 0);
    for (i = 0; i < 16; i++) {
        pages[i] = 63 - 3 * i;
    }

    rig_batch(&b);
    rig_add(&b, tokens, 0, LONG, pages, 1);
    rig_step(r, &b);
    worst = rig_error(r, 0, want + (size_t) (LONG - 1) * toy.n_vocab, out);

    for (i = 0; i < 8; i++) {
        rig_batch(&b);
        for (j = 0; j < 3; j++) {
            other[j] = j;
            rig_add(&b, tokens + j, i, 1, &other[j], 1);
        }
        rig_add(&b, tokens + LONG + i, LONG + i, 1, pages, 1);
        rig_step(r, &b);
        d = rig_error(r, 3, want + (size_t) (LONG + i) * toy.n_vocab, out);
        worst = d > worst ? d : worst;
    }

    ok(worst < 3e-2, "after %u tokens, in parts: worst error %.1e", LONG,
       worst);
    free(want);
}


/* One token of each of n sequences, whose pages are three each; all logits. */
static uint64_t
decode(rig_t *r, uint32_t n, uint32_t pos)
{
    float       l[64];
    int32_t     t[SEQS];
    uint32_t    i, j, pages[SEQS][3];
    uint64_t    h;
    rig_batch_t b;

    rig_tokens(r, 17, t, SEQS);
    rig_batch(&b);
    for (i = 0; i < n; i++) {
        for (j = 0; j < 3; j++) {
            pages[i][j] = 3 * i + j;
        }
        rig_add(&b, t + i, pos, 1, pages[i], 1);
    }
    rig_step(r, &b);

    h = 14695981039346656037ull;
    for (i = 0; i < n; i++) {
        if (r->ops->logits(r->exec, i, l) != 0) {
            return 0;
        }
        h = hash_of(h, l, toy.n_vocab * sizeof(float));
    }
    return h;
}


static uint64_t
hash_of(uint64_t h, const void *p, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        h = (h ^ ((const uint8_t *) p)[i]) * 1099511628211ull;
    }
    return h;
}


/* A copy of all pages; the caller frees. */
static uint8_t *
page_bytes(rig_t *r)
{
    uint8_t *p;

    p = malloc(RIG_PAGES * r->kv->page);
    CU_OK(cudaMemcpy(p, r->kv->mem, RIG_PAGES * r->kv->page,
                     cudaMemcpyDeviceToHost));
    return p;
}
