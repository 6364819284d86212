/*
 * Steps on the CUDA backend: what is refused, and that a refusal changes
 * nothing; limits; steps ahead of their results against steps one by one; a
 * device that fails; how long the host works on a step's metadata.
 */

#include <errno.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernels/cuda/exec.h"
#include "t/cuda/rig.h"

#define SEQS  4
#define AHEAD 12 /* steps */

static const toy_conf_t toy = {64,           2,         4,  2,         64,
                               96,           90,        64, 0,         K_F32,
                               K_ROPE_PAIRS, K_FN_SILU, 0,  .seed = 21};

static const k_limits_t limits = {48, SEQS, 8};


static void     batches(rig_t *r);
static void     refused(rig_t *r, const char *what, const rig_batch_t *b);
static void     limits_met(rig_t *r);
static void     programs(rig_t *r);
static void     program_fails(rig_t *r, const char *what, k_program_t *p,
                              const k_limits_t *l, int rc);
static void     draws_refused(rig_t *r);
static void     ahead(rig_t *r, int penalties);
static void     ahead_run(rig_t *r, int penalties, int behind,
                          int32_t got[AHEAD][SEQS]);
static void     ahead_refused(rig_t *r);
static void     unwaited(rig_t *r);
static void     busy(rig_t *r);
static void     failures(void);
static int      failing(const char *how, int prepare);
static int      failing_prepare(rig_t *r);
static int      failing_steps(rig_t *r);
static void     host_time(void);
static void     request(k_sample_t *s, uint32_t logit, uint32_t position);
static uint64_t hash(rig_t *r, uint32_t rows);
static double   seconds(void);


static uint32_t pages[SEQS][4] = {
    {0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}, {12, 13, 14, 15}};


int
main(void)
{
    rig_t r;

    /* Children first: a process that has used a device must not fork. */
    failures();

    rig_open(&r, &k_backend_cuda, &toy, K_BF16, &limits, 0);
    batches(&r);
    limits_met(&r);
    programs(&r);
    draws_refused(&r);
    ahead(&r, 0);
    ahead(&r, 1);
    ahead_refused(&r);
    unwaited(&r);
    busy(&r);
    rig_close(&r);

    host_time();

    return tap_done();
}


/* Every rule of backend.h about batches. */
static void
batches(rig_t *r)
{
    int32_t     t[64];
    uint32_t    bad[4] = {0, RIG_PAGES, 2, 3};
    uint64_t    before;
    rig_batch_t b, good;

    rig_tokens(r, 3, t, 64);
    rig_batch(&good);
    rig_add(&good, t, 0, 10, pages[0], 2);
    rig_add(&good, t, 0, 5, pages[1], 1);

    rig_step(r, &good);
    before = hash(r, 3);

    b = good;
    b.b.n_rows = 0;
    refused(r, "no rows", &b);
    b = good;
    b.b.n_seqs = 0;
    refused(r, "no sequences", &b);
    b = good;
    b.b.n_rows = limits.rows + 1;
    refused(r, "too many rows", &b);
    b = good;
    b.b.n_seqs = SEQS + 1;
    refused(r, "too many sequences", &b);
    b = good;
    b.b.n_logits = limits.logits + 1;
    refused(r, "too many logits", &b);
    b = good;
    b.tokens[3] = (int32_t) toy.n_vocab;
    refused(r, "a token beyond the vocabulary", &b);
    b = good;
    b.tokens[3] = -1;
    refused(r, "a token of a step before", &b);
    b = good;
    b.tokens[3] = INT32_MIN;
    refused(r, "the lowest token", &b);
    b = good;
    b.logit_rows[1] = b.logit_rows[0];
    refused(r, "a row of logits twice", &b);
    b = good;
    b.logit_rows[2] = b.b.n_rows;
    refused(r, "a row of logits beyond the rows", &b);
    b = good;
    b.seqs[1].row = 9;
    refused(r, "sequences that overlap", &b);
    b = good;
    b.seqs[1].n = 4;
    refused(r, "a row of no sequence", &b);
    b = good;
    b.seqs[1].n = 6;
    refused(r, "a sequence beyond the rows", &b);
    b = good;
    b.seqs[1].n = 0;
    refused(r, "an empty sequence", &b);
    b = good;
    b.seqs[1].pos = 1u << 31;
    refused(r, "a position out of range", &b);
    b = good;
    b.seqs[0].pages = NULL;
    refused(r, "no pages", &b);
    b = good;
    b.seqs[1].pages = bad;
    b.seqs[1].pos = 30;
    refused(r, "a page that there is not", &b);

    rig_step(r, &good);
    ok(hash(r, 3) == before, "the same step gives the same bits after them");
}


static void
refused(rig_t *r, const char *what, const rig_batch_t *b)
{
    int         rc;
    rig_batch_t own;

    own = *b;
    own.b.tokens = own.tokens;
    own.b.seqs = own.seqs;
    own.b.logit_rows = own.logit_rows;

    rc = r->ops->step_submit(r->exec, &own.b);
    is_int(rc, -EINVAL, "%s", what);
}


/* As many of everything as was asked for; 0 of what may be 0. */
static void
limits_met(rig_t *r)
{
    int         rc;
    float       l[128];
    int32_t     t[64];
    uint32_t    i;
    rig_batch_t b;

    rig_tokens(r, 3, t, 64);

    rig_batch(&b);
    for (i = 0; i < SEQS; i++) {
        rig_add(&b, t, 0, 12, pages[i], 2);
    }
    rc = r->ops->step_submit(r->exec, &b.b);
    is_int(rc, 0, "48 rows, 4 sequences, 8 rows of logits");
    is_int(r->ops->logits(r->exec, 7, l), 0, "the last of them");
    is_int(r->ops->logits(r->exec, 8, l), -EINVAL, "one more");

    rig_batch(&b);
    rig_add(&b, t, 0, 48, pages[0], 0);
    rc = r->ops->step_submit(r->exec, &b.b);
    is_int(rc, 0, "no logits wanted");
    is_int(r->ops->step_wait(r->exec), 0, "they are waited for");
    is_int(r->ops->logits(r->exec, 0, l), -EINVAL, "and there are none");

    rig_batch(&b);
    rig_add(&b, t, 48, 1, pages[0], 0);
    rc = r->ops->step_submit(r->exec, &b.b);
    is_int(rc, 0, "one row without logits");
    is_int(r->ops->step_wait(r->exec), 0, "is waited for");
}


static void
programs(rig_t *r)
{
    k_op_t      ops[TOY_OPS_MAX];
    k_limits_t  l;
    k_program_t p;

    memcpy(ops, r->toy.op, sizeof(ops));
    p = r->toy.prog;
    p.ops = ops;

    p.n_embd = 66;
    program_fails(r, "weights of another width", &p, &limits, -EINVAL);
    p = r->toy.prog;
    p.n_head = 3;
    program_fails(r, "heads that KV heads do not divide", &p, &limits, -EINVAL);
    p = r->toy.prog;
    p.head_dim = 32;
    program_fails(r, "pages of another shape", &p, &limits, -EINVAL);
    p = r->toy.prog;
    p.n_ops = 0;
    program_fails(r, "no operations", &p, &limits, -EINVAL);

    p = r->toy.prog;
    p.ops = ops;
    ops[1].w[1] = ops[1].w[0];
    program_fails(r, "a weight's shape", &p, &limits, -EINVAL);
    ops[1] = r->toy.op[1];
    ops[2].layer = 7;
    program_fails(r, "a layer without pages", &p, &limits, -EINVAL);
    ops[2] = r->toy.op[2];
    ops[4].fn = (k_fn_t) 17;
    program_fails(r, "an unknown function", &p, &limits, -EINVAL);
    ops[4] = r->toy.op[4];
    ops[3].scale = 0;
    program_fails(r, "a scale of 0", &p, &limits, -EINVAL);
    ops[3] = r->toy.op[3];
    ops[1].n_rot = 65;
    program_fails(r, "an odd rotation", &p, &limits, -EINVAL);
    ops[1] = r->toy.op[1];
    ops[0].kind = (k_op_kind_t) 99;
    program_fails(r, "an unknown operation", &p, &limits, -EINVAL);
    ops[0] = r->toy.op[0];

    p.n_ops--;
    program_fails(r, "logits that nobody makes", &p, &limits, -EINVAL);
    p.n_ops++;

    l = limits;
    l.rows = 0;
    program_fails(r, "no rows at all", &p, &l, -EINVAL);
    l.rows = 60000;
    l.logits = 60000;
    l.seqs = 60000;
    program_fails(r, "more than there is memory for", &p, &l, -ENOMEM);
    l.rows = 70000;
    program_fails(r, "more than a grid has", &p, &l, -ENOTSUP);
}


static void
program_fails(rig_t *r, const char *what, k_program_t *p, const k_limits_t *l,
              int rc)
{
    int       got;
    char      err[K_ERR_MAX] = "";
    k_exec_t *exec;
    uint64_t  size, before, after;

    r->ops->memory(r->be, &size, &before);
    got = r->ops->program_prepare(r->be, p, r->kv, l, &exec, err);
    r->ops->memory(r->be, &size, &after);

    ok(got == rc && err[0] != '\0' && before == after,
       "prepare: %s: %d, \"%s\"", what, got, err);
    if (got == 0) {
        r->ops->program_free(exec);
    }
}


static void
draws_refused(rig_t *r)
{
    int         rc;
    int32_t     t[8];
    k_sample_t  req[2];
    k_sampled_t out[40];
    rig_batch_t b;

    rig_tokens(r, 3, t, 8);
    rig_batch(&b);
    rig_add(&b, t, 0, 8, pages[0], 2);
    rig_step(r, &b);

    request(&req[0], 0, 8);
    request(&req[1], 2, 8);
    rc = r->ops->sample(r->exec, 2, req, out);
    is_int(rc, -EINVAL, "a draw from a row that there is not");
    req[1].logit = 1;
    req[1].n_top = K_TOP_MAX + 1;
    rc = r->ops->sample(r->exec, 2, req, out);
    is_int(rc, -EINVAL, "more top tokens than there may be");
    req[1].n_top = 0;
    rc = r->ops->sample(r->exec, 2, req, out);
    is_int(rc, 0, "two draws");
    is_int(r->ops->sample(r->exec, 0, req, out), 0, "none");

    b.tokens[0] = -5;
    rc = r->ops->step_submit(r->exec, &b.b);
    is_int(rc, -EINVAL, "a step that is refused");
    rc = r->ops->sample(r->exec, 1, req, out);
    is_int(rc, -EINVAL, "leaves no logits to draw from");

    /* More draws than go at once. */
    {
        uint32_t   i, same;
        k_sample_t many[40];

        b.tokens[0] = t[0];
        rig_step(r, &b);
        for (i = 0; i < 40; i++) {
            request(&many[i], i % 2, 8);
            many[i].temperature = 0;
        }
        rc = r->ops->sample(r->exec, 40, many, out);
        same = 0;
        for (i = 0; i < 40 && rc == 0; i++) {
            same += out[i].token == out[i % 2].token;
        }
        ok(rc == 0 && same == 40, "40 draws from two rows: %d, %u agree", rc,
           same);
    }
}


/* The same tokens whether the host waits for each step or not. */
static void
ahead(rig_t *r, int penalties)
{
    uint32_t i, j, same;
    int32_t  one[AHEAD][SEQS], two[AHEAD][SEQS];

    ahead_run(r, penalties, 0, one);
    ahead_run(r, penalties, 1, two);

    same = 0;
    for (i = 0; i < AHEAD; i++) {
        for (j = 0; j < SEQS; j++) {
            same += one[i][j] == two[i][j] && one[i][j] >= 0;
        }
    }
    is_int((int) same, AHEAD * SEQS, "%s: one by one and ahead draw the same",
           penalties ? "biases, masks" : "draws by chance");
}


/* Decodes AHEAD tokens of each sequence after a prompt of 3 to 6. */
static void
ahead_run(rig_t *r, int penalties, int behind, int32_t got[AHEAD][SEQS])
{
    int         rc;
    int32_t     t[8];
    uint32_t    i, j, k, n, mask[8];
    k_bias_t    bias[2];
    k_count_t   counts[2];
    k_sample_t  req[SEQS];
    k_sampled_t out[SEQS];
    rig_batch_t b;

    rig_tokens(r, 11, t, 8);
    rc = 0;
    k = 0;

    for (i = 0; i <= AHEAD && rc == 0; i++) {
        rig_batch(&b);
        memset(mask, 0xff, sizeof(mask));
        mask[0] = 0xfffffff0;
        bias[0] = (k_bias_t){5, 2.0f};
        bias[1] = (k_bias_t){17, -3.0f};
        counts[0] = (k_count_t){9, 1};
        counts[1] = (k_count_t){30, 2};

        for (j = 0; j < SEQS && i < AHEAD; j++) {
            n = 3 + j;
            if (i == 0) {
                rig_add(&b, t, 0, n, pages[j], 1);
            } else {
                int32_t last = behind ? K_TOKEN_OF(j) : got[i - 1][j];

                rig_add(&b, &last, n + i - 1, 1, pages[j], 1);
            }
            request(&req[j], j, n + i);
            if (penalties) {
                req[j].mask = mask;
                req[j].bias = bias;
                req[j].n_bias = 2;
                req[j].counts = counts;
                req[j].n_counts = 2;
                req[j].presence = 0.5f;
            }
        }

        if (!behind) {
            if (i == AHEAD) {
                break;
            }
            rig_step(r, &b);
            rc = r->ops->sample(r->exec, SEQS, req, out);
            for (j = 0; j < SEQS; j++) {
                got[i][j] = out[j].token;
            }
            continue;
        }

        if (i < AHEAD) {
            rc = r->ops->ahead_submit(r->exec, &b.b, SEQS, req);
            /* All of it may change now. */
            memset(&b, 0xee, sizeof(b));
            memset(req, 0xee, sizeof(req));
            memset(mask, 0xee, sizeof(mask));
            memset(bias, 0xee, sizeof(bias));
            memset(counts, 0xee, sizeof(counts));
        }
        if (i > 0 && rc == 0) {
            rc = r->ops->ahead_collect(r->exec, SEQS, out);
            for (j = 0; j < SEQS; j++) {
                got[k][j] = out[j].token;
            }
            k++;
        }
    }

    if (rc != 0) {
        ok(0, "%s: step %u: %d", behind ? "ahead" : "one by one", i, rc);
        memset(got, 0xff, sizeof(int32_t) * AHEAD * SEQS);
    }
}


static void
ahead_refused(rig_t *r)
{
    int         rc;
    float       l[128];
    int32_t     t[8], of = K_TOKEN_OF(0), beyond = K_TOKEN_OF(1);
    k_sample_t  req[2];
    k_sampled_t out[2];
    rig_batch_t b, next;

    rig_tokens(r, 3, t, 8);
    rig_batch(&b);
    rig_add(&b, t, 0, 8, pages[0], 1);
    request(&req[0], 0, 8);

    rc = r->ops->ahead_collect(r->exec, 1, out);
    is_int(rc, -EINVAL, "nothing to collect");
    rig_step(r, &b);
    rig_batch(&next);
    rig_add(&next, &of, 8, 1, pages[0], 1);
    rc = r->ops->ahead_submit(r->exec, &next.b, 1, req);
    is_int(rc, -EINVAL, "a token of a step that was not ahead");

    rc = r->ops->ahead_submit(r->exec, &b.b, 1, req);
    is_int(rc, 0, "one step ahead");
    next.tokens[0] = beyond;
    rc = r->ops->ahead_submit(r->exec, &next.b, 1, req);
    is_int(rc, -EINVAL, "a draw that there is not");
    next.tokens[0] = of;
    req[0].logit = 1;
    rc = r->ops->ahead_submit(r->exec, &next.b, 1, req);
    is_int(rc, -EINVAL, "a row of logits that there is not");
    req[0].logit = 0;
    rc = r->ops->ahead_submit(r->exec, &next.b, 1, req);
    is_int(rc, 0, "a second");
    rc = r->ops->ahead_submit(r->exec, &next.b, 1, req);
    is_int(rc, -EBUSY, "a third");

    rc = r->ops->step_submit(r->exec, &b.b);
    is_int(rc, -EBUSY, "step_submit() meanwhile");
    is_int(r->ops->step_wait(r->exec), -EBUSY, "step_wait()");
    is_int(r->ops->sample(r->exec, 1, req, out), -EBUSY, "sample()");
    is_int(r->ops->logits(r->exec, 0, l), -EBUSY, "logits()");

    rc = r->ops->ahead_collect(r->exec, 2, out);
    is_int(rc, -EINVAL, "more draws than there were");
    rc = r->ops->ahead_collect(r->exec, 1, out);
    is_int(rc, 0, "the first is collected");
    rc = r->ops->ahead_collect(r->exec, 1, out);
    is_int(rc, 0, "and the second");

    /* A draw that fails is -1, and token 0 to the next step. */
    {
        int32_t  zero = 0;
        uint32_t none[8] = {0};

        req[0].mask = none;
        rc = r->ops->ahead_submit(r->exec, &b.b, 1, req);
        req[0].mask = NULL;
        rc = rc == 0 ? r->ops->ahead_submit(r->exec, &next.b, 1, req) : rc;
        rc = rc == 0 ? r->ops->ahead_collect(r->exec, 1, out) : rc;
        rc = rc == 0 ? r->ops->ahead_collect(r->exec, 1, out + 1) : rc;
        ok(rc == 0 && out[0].token == -1, "no token allowed: %d, %d", rc,
           out[0].token);

        rig_step(r, &b);
        rig_batch(&next);
        rig_add(&next, &zero, 8, 1, pages[0], 1);
        rig_step(r, &next);
        rc = r->ops->sample(r->exec, 1, req, out);
        ok(rc == 0 && out[0].token == out[1].token, "token 0 came after it");
    }
}


/* Steps that nobody waits for, one after the other. */
static void
unwaited(rig_t *r)
{
    int         rc;
    float       got[128];
    double      want[128];
    int32_t     t[8];
    uint32_t    i;
    rig_batch_t b;

    rig_tokens(r, 3, t, 8);
    rig_batch(&b);
    rig_add(&b, t, 0, 8, pages[0], 1);
    rig_step(r, &b);
    (void) r->ops->logits(r->exec, 0, got);
    for (i = 0; i < toy.n_vocab; i++) {
        want[i] = (double) got[i];
    }

    rc = 0;
    for (i = 0; i < 8 && rc == 0; i++) {
        rig_batch(&b);
        rig_add(&b, t + i, i, 1, pages[1], 1);
        rc = r->ops->step_submit(r->exec, &b.b);
        memset(&b, 0xee, sizeof(b));
    }
    is_int(rc, 0, "eight steps in a row");
    is_int(r->ops->step_wait(r->exec), 0, "are waited for at last");
    ok(rig_error(r, 0, want, got) < 3e-2, "and make what one prefill makes");
}


static void
busy(rig_t *r)
{
    int         rc;
    int32_t     t[8];
    uint64_t    ns;
    rig_batch_t b;

    rig_tokens(r, 3, t, 8);
    rig_batch(&b);
    rig_add(&b, t, 0, 8, pages[0], 1);

    rc = r->ops->busy(r->exec, &ns);
    ok(rc == 0 && ns == 0, "time is taken from now on");
    rig_step(r, &b);
    rc = r->ops->busy(r->exec, &ns);
    ok(rc == 0 && ns > 0, "a step took %llu us",
       (unsigned long long) ns / 1000);
    rc = r->ops->busy(r->exec, &ns);
    ok(rc == 0 && ns == 0, "nothing since then");
}


/*
 * The emulated device fails when it is told to; a real one is not told.  The
 * n-th call of a kind from the first step on, or of program_prepare().
 */
static void
failures(void)
{
    int    rc;
    size_t i;

    static const struct {
        const char *how;
        int         prepare;
    } cases[] = {
        {"kernel:3", 0}, {"kernel:40", 0}, {"launch:7", 0}, {"launch:44", 0},
        {"copy:2", 0},   {"copy:9", 0},    {"event:1", 0},  {"event:8", 0},
        {"host:1", 1},   {"host:2", 1},    {"host:3", 1},   {"stream:1", 1},
        {"event:2", 1},  {"copy:1", 1},    {"copy:3", 1},   {"launch:5", 1},
        {"kernel:1", 1},
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fflush(stdout);
        rc = failing(cases[i].how, cases[i].prepare);
        if (rc == 3) {
            ok(1, "# SKIP %s: nothing has failed", cases[i].how);
        } else {
            is_int(rc, 0, "%s of %s fails, and all is given back", cases[i].how,
                   cases[i].prepare ? "prepare" : "the steps");
        }
    }
}


/* In a child: 0 as it should be, 3 all went well, else wrong. */
static int
failing(const char *how, int prepare)
{
    int   state;
    pid_t pid;
    rig_t r;

    pid = fork();
    if (pid != 0) {
        waitpid(pid, &state, 0);
        return WIFEXITED(state) ? WEXITSTATUS(state) : 100 + WTERMSIG(state);
    }

    if (freopen("/dev/null", "w", stdout) == NULL
        || freopen("/dev/null", "w", stderr) == NULL) {
        _exit(2);
    }

    rig_open(&r, &k_backend_cuda, &toy, K_BF16, &limits, 0);
    setenv("CU_EMU_FAIL", how, 1);
    state = prepare ? failing_prepare(&r) : failing_steps(&r);

    /* What has failed must still come down. */
    tap_failed_ = 0;
    rig_close(&r);
    _exit(tap_failed_ != 0 ? 6 : state);
}


static int
failing_prepare(rig_t *r)
{
    int       rc;
    char      err[K_ERR_MAX] = "";
    uint64_t  size, before, after;
    k_exec_t *exec;

    r->ops->memory(r->be, &size, &before);
    rc = r->ops->program_prepare(r->be, &r->toy.prog, r->kv, &limits, &exec,
                                 err);
    r->ops->memory(r->be, &size, &after);

    if (rc == 0) {
        r->ops->program_free(exec);
        return 3;
    }
    return err[0] == '\0' ? 4 : before != after ? 5 : 0;
}


static int
failing_steps(rig_t *r)
{
    int         rc, first;
    int32_t     t[64];
    uint32_t    i;
    k_sample_t  req;
    k_sampled_t out;
    rig_batch_t b;

    rig_tokens(r, 3, t, 64);
    request(&req, 0, 1);
    first = 0;

    for (i = 0; i < 24; i++) {
        rig_batch(&b);
        rig_add(&b, t + i, i, 1, pages[0], 1);
        rc = r->ops->step_submit(r->exec, &b.b);
        rc = rc == 0 ? r->ops->sample(r->exec, 1, &req, &out) : rc;

        if ((first != 0 && rc != -EIO)
            || (rc != 0 && rc != -EIO && rc != -ENOMEM)) {
            return 4;
        }
        first = first == 0 ? rc : first;
    }

    if (first == 0) {
        return 3;
    }

    return r->ops->step_wait(r->exec) == -EIO
                   && r->ops->ahead_submit(r->exec, &b.b, 1, &req) == -EIO
               ? 0
               : 5;
}


/* What the host does for a step of 256 sequences, without its launches. */
static void
host_time(void)
{
    rig_t       r;
    double      best, from;
    int32_t     t;
    uint32_t    i, n, tenth, *list;
    uint64_t    bytes;
    uint8_t    *meta;
    rig_batch_t b;
    cu_bucket_t bucket;
    k_limits_t  many = {256, 256, 256};

    rig_open(&r, &k_backend_cuda, &toy, K_BF16, &many, 0);
    list = calloc(512, sizeof(uint32_t));
    meta = malloc(r.exec->meta_size);
    t = 7;

    /* 2,048 tokens of context each: 64 pages. */
    for (i = 0; i < 512; i++) {
        list[i] = i % RIG_PAGES;
    }
    rig_batch(&b);
    for (i = 0; i < 256; i++) {
        rig_add(&b, &t, 1900 + i, 1, list + i, 1);
    }

    best = 1;
    for (tenth = 0; tenth < 20; tenth++) {
        from = seconds();
        for (n = 0; n < 10; n++) {
            if (cu_meta(r.exec, &b.b, 0, meta, &bytes, &bucket) != 0) {
                ok(0, "metadata of 256 sequences");
                return;
            }
        }
        from = (seconds() - from) / 10;
        best = from < best ? from : best;
    }

    ok(best < 500e-6,
       "metadata of 256 sequences of 2k tokens: %.1f us, %llu bytes",
       best * 1e6, (unsigned long long) bytes);

    free(meta);
    free(list);
    rig_close(&r);
}


static void
request(k_sample_t *s, uint32_t logit, uint32_t position)
{
    memset(s, 0, sizeof(*s));
    s->logit = logit;
    s->temperature = 0.8f;
    s->top_p = 1;
    s->repetition = 1;
    s->seed = 1234567;
    s->position = position;
    s->choice = logit;
}


static uint64_t
hash(rig_t *r, uint32_t rows)
{
    float    l[128];
    size_t   j;
    uint32_t i;
    uint64_t h;

    h = 14695981039346656037ull;
    for (i = 0; i < rows; i++) {
        if (r->ops->logits(r->exec, i, l) != 0) {
            return 0;
        }
        for (j = 0; j < toy.n_vocab * sizeof(float); j++) {
            h = (h ^ ((uint8_t *) l)[j]) * 1099511628211ull;
        }
    }
    return h;
}


static double
seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}
