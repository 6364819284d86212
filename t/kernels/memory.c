/*
 * Memory and refusals of the CPU backend: the arena; no allocation between
 * step_submit() and sample()'s return (malloc and its like are counted);
 * programs, batches and weights that must be refused, by name.
 */

#include <errno.h>

#include "t/lib/tap.h"
#include "t/kernels/toy.h"
#include "kernels/cpu/arena.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTED 0 /* the sanitizer has its own malloc */
#else
#define COUNTED 1
#endif


static void         test_arena(void);
static void         test_no_alloc(k_isa_t isa);
static void         test_batches(void);
static void         test_programs(void);
static void         test_weights(void);
static k_backend_t *backend(uint64_t memory, uint32_t threads, k_isa_t isa);


static volatile long n_allocs;

static const toy_conf_t conf = {
    64,           2,         6, 2, 32, 96, 500, 32, 0,        K_Q4_1,
    K_ROPE_PAIRS, K_FN_SILU, 0, 0, 0,  0,  1,   1,  .seed = 9};


#if COUNTED

/* glibc's own names, under which its functions stay reachable. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t size);
void *aligned_alloc(size_t align, size_t size);


void *
malloc(size_t size)
{
    __atomic_add_fetch(&n_allocs, 1, __ATOMIC_RELAXED);
    return __libc_malloc(size);
}


void *
calloc(size_t n, size_t size)
{
    __atomic_add_fetch(&n_allocs, 1, __ATOMIC_RELAXED);
    return __libc_calloc(n, size);
}


void *
realloc(void *p, size_t size)
{
    __atomic_add_fetch(&n_allocs, 1, __ATOMIC_RELAXED);
    return __libc_realloc(p, size);
}


void *
aligned_alloc(size_t align, size_t size)
{
    __atomic_add_fetch(&n_allocs, 1, __ATOMIC_RELAXED);
    return __libc_memalign(align, size);
}

#endif


int
main(void)
{
    test_arena();
    test_no_alloc(K_ISA_SCALAR);
    test_no_alloc(K_ISA_AUTO);
    test_batches();
    test_programs();
    test_weights();

    return tap_done();
}


static k_backend_t *
backend(uint64_t memory, uint32_t threads, k_isa_t isa)
{
    char         err[K_ERR_MAX];
    k_config_t   c;
    k_backend_t *be;

    memset(&c, 0, sizeof(c));
    c.memory = memory;
    c.threads = threads;
    c.isa = isa;
    if (k_backend_cpu.open(&c, &be, err) != 0) {
        printf("Bail out! open: %s\n", err);
        exit(1);
    }
    return be;
}


static void
test_arena(void)
{
    int        i, j, bad;
    void      *p[64];
    uint64_t   size, used, most, n[64];
    uint32_t   rng = 5;
    k_arena_t *a;

    is_int(k_arena_new(&a, 0), -EINVAL, "an arena of nothing");
    is_int(k_arena_new(&a, (1 << 20) - 5), 0, "an arena");
    k_arena_stat(a, &size, &used, &most);
    ok(size == 1 << 20 && used == 0 && most == size, "is empty");

    ok(k_arena_alloc(a, (1 << 20) + 1) == NULL, "more than all");
    p[0] = k_arena_alloc(a, 1 << 20);
    ok(p[0] != NULL && k_arena_alloc(a, 1) == NULL, "all of it");
    memset(p[0], 0xff, 1 << 20);
    k_arena_free(a, p[0], 1 << 20);

    memset(p, 0, sizeof(p));
    bad = 0;
    for (i = 0; i < 20000; i++) {
        j = (int) (toy_rand(&rng) % 64);
        if (p[j] != NULL) {
            bad += ((uint8_t *) p[j])[n[j] - 1] != (uint8_t) j;
            k_arena_free(a, p[j], n[j]);
            p[j] = NULL;
            continue;
        }
        n[j] = 1 + toy_rand(&rng) % 60000;
        p[j] = k_arena_alloc(a, n[j]);
        if (p[j] != NULL) {
            bad += (uintptr_t) p[j] % 4096 != 0;
            bad +=
                ((uint8_t *) p[j])[0] != 0 || ((uint8_t *) p[j])[n[j] - 1] != 0;
            memset(p[j], j, n[j]);
        }
    }
    is_int(bad, 0, "ranges are whole, aligned, zero and do not overlap");
    for (j = 0; j < 64; j++) {
        k_arena_free(a, p[j], n[j]);
    }
    k_arena_stat(a, &size, &used, &most);
    ok(used == 0 && most == size, "all freed is one range again");
    k_arena_destroy(a);
}


/* A step and a sampling of everything, twice; the second is counted too. */
static void
test_no_alloc(k_isa_t isa)
{
    int           rc, i;
    long          before;
    char          err[K_ERR_MAX];
    toy_t         t;
    k_kv_t       *kv;
    int32_t       tokens[90];
    uint32_t      pages[2][4] = {{0, 1, 2, 3}, {4, 5, 6, 7}};
    uint32_t      rows[2] = {70, 89}, mask[16];
    k_exec_t     *exec;
    k_bias_t      bias = {3, 1.0f};
    k_count_t     count = {4, 2};
    k_batch_t     b;
    k_limits_t    limits = {90, 2, 2};
    k_sample_t    r[2];
    toy_conf_t    mixed = conf; /* a dense layer and one of experts */
    k_backend_t  *be;
    k_sampled_t   out[2];
    k_batch_seq_t seqs[2];

    mixed.n_expert = 12;
    mixed.n_used = 3;
    mixed.dense = 1;
    mixed.sinks = 1;
    be = backend(64 << 20, 2, isa);
    toy_make(&t, &k_backend_cpu, be, &mixed);
    rc = k_backend_cpu.kv_new(be, &t.prog, 8, &kv, err);
    rc = rc ? rc
            : k_backend_cpu.program_prepare(be, &t.prog, kv, &limits, &exec,
                                            err);
    is_int(rc, 0, "prepare");

    for (i = 0; i < 90; i++) {
        tokens[i] = i * 5;
    }
    memset(seqs, 0, sizeof(seqs));
    seqs[0].n = 71;
    seqs[0].pages = pages[0];
    seqs[1].row = 71;
    seqs[1].n = 19;
    seqs[1].pos = 40;
    seqs[1].pages = pages[1];
    memset(&b, 0, sizeof(b));
    b.n_rows = 90;
    b.n_seqs = 2;
    b.n_logits = 2;
    b.tokens = tokens;
    b.seqs = seqs;
    b.logit_rows = rows;

    memset(mask, 0x77, sizeof(mask));
    memset(r, 0, sizeof(r));
    for (i = 0; i < 2; i++) {
        r[i].logit = (uint32_t) i;
        r[i].temperature = 0.7f;
        r[i].top_p = 0.9f;
        r[i].min_p = 0.01f;
        r[i].top_k = i ? 0 : 50;
        r[i].repetition = 1.1f;
        r[i].counts = &count;
        r[i].n_counts = 1;
        r[i].bias = &bias;
        r[i].n_bias = 1;
        r[i].mask = mask;
        r[i].logprob = 1;
        r[i].n_top = 20;
    }

    before = n_allocs;
    rc = k_backend_cpu.step_submit(exec, &b);
    rc = rc ? rc : k_backend_cpu.step_wait(exec);
    k_backend_cpu.kv_copy(be, kv, 3, 0, 17);
    rc = rc ? rc : k_backend_cpu.sample(exec, 2, r, out);
    rc = rc ? rc : k_backend_cpu.sample(exec, 1, r, out);
    before = n_allocs - before;

    is_int(rc, 0, "a step and its samples");
    if (COUNTED) {
        is_int(before, 0, "allocate nothing");
    } else {
        ok(1, "# SKIP malloc is the sanitizer's");
    }

    k_backend_cpu.program_free(exec);
    k_backend_cpu.kv_free(be, kv);
    toy_free(&t);
    k_backend_cpu.close(be);
}


/* What a batch can do wrong; what is wrong is changed back each time. */
static void
test_batches(void)
{
    char          err[K_ERR_MAX];
    toy_t         t;
    float         l[500];
    k_kv_t       *kv;
    int32_t       tokens[40];
    uint32_t      i, pages[2][2] = {{0, 1}, {2, 3}}, rows[3] = {5, 8, 9};
    k_exec_t     *exec;
    k_batch_t     b;
    k_limits_t    limits = {40, 2, 3};
    k_backend_t  *be;
    k_batch_seq_t s[2];

#define REFUSED(change, back, what)                                            \
    change;                                                                    \
    is_int(k_backend_cpu.step_submit(exec, &b), -EINVAL, "batch: %s", what);   \
    back

    be = backend(64 << 20, 2, K_ISA_AUTO);
    toy_make(&t, &k_backend_cpu, be, &conf);
    if (k_backend_cpu.kv_new(be, &t.prog, 4, &kv, err) != 0
        || k_backend_cpu.program_prepare(be, &t.prog, kv, &limits, &exec,
                                         err)) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    memset(tokens, 0, sizeof(tokens));
    memset(s, 0, sizeof(s));
    s[0].n = 6;
    s[0].pages = pages[0];
    s[1].row = 6;
    s[1].n = 4;
    s[1].pos = 31;
    s[1].pages = pages[1];
    memset(&b, 0, sizeof(b));
    b.n_rows = 10;
    b.n_seqs = 2;
    b.n_logits = 3;
    b.tokens = tokens;
    b.seqs = s;
    b.logit_rows = rows;

    REFUSED(b.n_rows = 0, b.n_rows = 10, "no rows");
    REFUSED(b.n_rows = 41, b.n_rows = 10, "more rows than the limit");
    REFUSED(b.n_rows = 11, b.n_rows = 10, "rows of no sequence");
    REFUSED(b.n_seqs = 0, b.n_seqs = 2, "no sequence");
    REFUSED(b.n_seqs = 3, b.n_seqs = 2, "more sequences than the limit");
    REFUSED(b.n_logits = 4, b.n_logits = 3, "more logits than the limit");
    REFUSED(tokens[9] = 500, tokens[9] = 0, "token out of range");
    REFUSED(tokens[0] = -1, tokens[0] = 0, "token below 0");
    REFUSED(s[0].n = 0, s[0].n = 6, "a sequence without rows");
    REFUSED(s[0].n = 5, s[0].n = 6, "a gap");
    REFUSED(s[1].row = 5, s[1].row = 6, "an overlap");
    REFUSED(s[1].n = 0xffffffff, s[1].n = 4, "endless rows");
    REFUSED(s[1].pos = 0xffffffff, s[1].pos = 31, "position out of range");
    REFUSED(pages[1][1] = 4, pages[1][1] = 3, "no such page");
    REFUSED(s[0].pages = NULL, s[0].pages = pages[0], "no pages");
    REFUSED(rows[2] = 10, rows[2] = 9, "logits of no row");
    REFUSED(rows[1] = 5, rows[1] = 8, "logits of a row twice");

    is_int(k_backend_cpu.logits(exec, 0, l), -EINVAL, "and no logits then");
    is_int(k_backend_cpu.step_submit(exec, &b), 0, "the batch itself is good");
    is_int(k_backend_cpu.logits(exec, 2, l), 0, "and has logits");
    is_int(k_backend_cpu.logits(exec, 3, l), -EINVAL, "three of them");

    /* kv_copy() ignores what it cannot do. */
    for (i = 0; i < 3; i++) {
        k_backend_cpu.kv_copy(be, kv, i == 0 ? 9 : 1, i == 1 ? 9 : 1, 99);
    }

    k_backend_cpu.program_free(exec);
    k_backend_cpu.kv_free(be, kv);
    toy_free(&t);
    k_backend_cpu.close(be);
}


static void
test_programs(void)
{
    int               rc;
    char              err[K_ERR_MAX];
    toy_t             t;
    k_kv_t           *kv;
    uint64_t          size, used, was;
    k_exec_t         *exec;
    k_limits_t        limits = {8, 2, 2}, huge = {1 << 20, 2, 1 << 20};
    k_backend_t      *be;
    const k_weight_t *w;

#define BROKEN(change, back, what)                                             \
    change;                                                                    \
    err[0] = '\0';                                                             \
    rc = k_backend_cpu.program_prepare(be, &t.prog, kv, &limits, &exec, err);  \
    ok(rc == -EINVAL && err[0] != '\0', "program: %s: %s", what, err);         \
    back

    be = backend(64 << 20, 1, K_ISA_AUTO);
    toy_make(&t, &k_backend_cpu, be, &conf);
    if (k_backend_cpu.kv_new(be, &t.prog, 4, &kv, err) != 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }
    k_backend_cpu.memory(be, &size, &was);

    BROKEN(t.prog.n_head = 5, t.prog.n_head = 6, "5 heads over 2");
    BROKEN(t.prog.n_kv = 3, t.prog.n_kv = 2, "KV heads");
    BROKEN(t.prog.head_dim = 31, t.prog.head_dim = 32, "odd heads");
    BROKEN(t.prog.head_dim = 64, t.prog.head_dim = 32, "head_dim");
    BROKEN(t.prog.n_embd = 96, t.prog.n_embd = 64, "n_embd");
    BROKEN(t.prog.n_ff = 64, t.prog.n_ff = 96, "n_ff");
    BROKEN(t.prog.n_vocab = 499, t.prog.n_vocab = 500, "n_vocab");
    BROKEN(t.prog.n_layer = 1, t.prog.n_layer = 2, "too few layers");
    BROKEN(t.op[1].n_rot = 34, t.op[1].n_rot = 32, "n_rot");
    BROKEN(t.op[1].inv_freq = NULL, t.op[1].inv_freq = t.inv_freq, "rope");
    BROKEN(t.op[3].kind = 99, t.op[3].kind = K_OP_OUT, "an unknown kind");
    BROKEN(t.prog.n_ops = 0, t.prog.n_ops = 12, "no operations");
    w = t.op[3].w[0];
    BROKEN(t.op[3].w[0] = NULL, t.op[3].w[0] = w, "a missing weight");
    BROKEN(t.op[3].w[0] = t.op[1].norm, t.op[3].w[0] = w, "a vector there");
    w = t.op[1].norm;
    BROKEN(t.op[1].norm = t.op[1].w[1], t.op[1].norm = w, "a matrix there");
    BROKEN(t.op[2].sinks = w, t.op[2].sinks = NULL, "sinks of another shape");
    BROKEN(t.op[2].sinks = t.op[1].w[0], t.op[2].sinks = NULL,
           "sinks that are a matrix");
    BROKEN(t.op[2].soft_cap = -1, t.op[2].soft_cap = 0, "a soft cap");
    BROKEN(t.op[4].fn = (k_fn_t) 4, t.op[4].fn = K_FN_SILU, "a function");
    BROKEN(limits.rows = 0, limits.rows = 8, "no rows");

    rc = k_backend_cpu.program_prepare(be, &t.prog, NULL, &limits, &exec, err);
    is_int(rc, -EINVAL, "no KV pages: %s", err);
    rc = k_backend_cpu.program_prepare(be, &t.prog, kv, &huge, &exec, err);
    is_int(rc, -ENOMEM, "scratch too large: %s", err);
    k_backend_cpu.memory(be, &size, &used);
    is_int(used, was, "a refusal keeps no memory");

    rc = k_backend_cpu.program_prepare(be, &t.prog, kv, &limits, &exec, err);
    is_int(rc, 0, "the program itself is good");
    k_backend_cpu.program_free(exec);
    k_backend_cpu.kv_free(be, kv);

    rc = k_backend_cpu.kv_new(be, &t.prog, 100000, &kv, err);
    is_int(rc, -ENOMEM, "too many pages: %s", err);
    is_int(k_backend_cpu.kv_new(be, &t.prog, 0, &kv, err), -EINVAL, "no pages");
    ok(k_backend_cpu.kv_layout(be, &t.prog) == 2 * 2 * 2 * 32 * 32 * 2,
       "bytes of a page");

    toy_free(&t);
    k_backend_cpu.close(be);
}


static void
test_weights(void)
{
    int          rc;
    char         err[K_ERR_MAX];
    uint8_t      data[4096];
    uint64_t     size, used;
    k_source_t   src;
    k_config_t   c;
    k_weight_t  *w;
    k_backend_t *be;

    be = backend(1 << 20, 1, K_ISA_AUTO);
    memset(data, 0, sizeof(data));
    memset(&src, 0, sizeof(src));
    src.data = data;
    src.name = "blk.0.some.weight";

    src.type = (k_type_t) 77;
    src.rows = 4;
    src.cols = 32;
    rc = k_backend_cpu.weights_load(be, &src, &w, err);
    ok(rc == -ENOTSUP && strstr(err, "blk.0.some.weight") && strstr(err, "77"),
       "an unknown type: %s", err);
    src.type = K_BF16;
    src.to_f8 = 1;
    rc = k_backend_cpu.weights_load(be, &src, &w, err);
    ok(rc == -ENOTSUP && strstr(err, "GPU"), "E4M3: %s", err);
    src.to_f8 = 0;
    src.type = K_Q4_0;
    src.cols = 33;
    rc = k_backend_cpu.weights_load(be, &src, &w, err);
    is_int(rc, -ENOTSUP, "no whole blocks: %s", err);
    src.role = K_ROLE_VECTOR;
    src.rows = 1;
    src.cols = 32;
    rc = k_backend_cpu.weights_load(be, &src, &w, err);
    is_int(rc, -ENOTSUP, "a vector of blocks: %s", err);
    src.type = K_F32;
    src.rows = 2;
    rc = k_backend_cpu.weights_load(be, &src, &w, err);
    is_int(rc, -ENOTSUP, "a vector of two rows: %s", err);
    src.role = K_ROLE_MATRIX;
    src.rows = 1 << 16;
    src.cols = 1 << 10;
    rc = k_backend_cpu.weights_load(be, &src, &w, err);
    is_int(rc, -ENOMEM, "too large: %s", err);
    k_backend_cpu.memory(be, &size, &used);
    is_int(used, 0, "nothing is kept");
    diag("%s", k_backend_cpu.describe(be));
    k_backend_cpu.close(be);

    memset(&c, 0, sizeof(c));
    rc = k_backend_cpu.open(&c, &be, err);
    is_int(rc, -EINVAL, "an arena of nothing: %s", err);
    c.memory = 1 << 20;
    c.isa = (k_isa_t) 9;
    rc = k_backend_cpu.open(&c, &be, err);
    is_int(rc, -ENOTSUP, "an unknown ISA");
}
