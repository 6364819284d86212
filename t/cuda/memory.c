/*
 * The CUDA backend's memory: the arena against a model of it; what open()
 * refuses and says; KV pages: their layout, copies, nothing left behind.
 */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "t/cuda/cu_test.h"
#include "kernels/cuda/cu.h"

#define MIB (1u << 20)

static void test_arena(void);
static void test_arena_sides(void);
static void test_arena_random(void);
static void test_open(void);
static void test_close(void);
static void test_type(void);
static void test_kv(int f8, uint32_t n_layer, uint32_t n_kv, uint32_t head_dim);
static void test_kv_errors(void);
static int  emulated(void);
static void test_failures(void);

static uint32_t seed = 11;


int
main(void)
{
    CU_OK(cudaSetDevice(0));
    setenv("NGX_LLM_CACHE", "", 1);

    test_arena();
    test_arena_sides();
    test_arena_random();
    test_open();
    test_close();
    test_type();
    test_kv(0, 2, 1, 64);
    test_kv(0, 3, 2, 80);
    test_kv(1, 2, 3, 128);
    test_kv(1, 1, 1, 6);
    test_kv_errors();
    test_failures();

    return tap_done();
}


static k_backend_t *
backend(uint64_t memory, int f8)
{
    char         err[K_ERR_MAX];
    k_config_t   c;
    k_backend_t *be;

    memset(&c, 0, sizeof(c));
    c.memory = memory;
    c.kv_f8 = f8;
    if (k_backend_cuda.open(&c, &be, err) != 0) {
        printf("Bail out! open: %s\n", err);
        exit(2);
    }
    return be;
}


static uint64_t
used(cu_arena_t *a)
{
    uint64_t size, n, most;

    cu_arena_stat(a, &size, &n, &most);
    return n;
}


static void
test_arena(void)
{
    void       *p;
    uint64_t    size, n, most;
    cu_arena_t *a;

    is_int(cu_arena_new(&a, 0), -EINVAL, "an arena of nothing");
    is_int(cu_arena_new(&a, 1ull << 60), -EINVAL, "an arena beyond reason");
    is_int(cu_arena_new(&a, 1ull << 45), -ENOMEM, "an arena beyond the device");
    is_int(cu_arena_new(&a, MIB + 77), 0, "an arena");

    cu_arena_stat(a, &size, &n, &most);
    ok(size == MIB && n == 0 && most == MIB, "is empty");
    ok(cu_arena_alloc(a, MIB + 1, 0) == NULL, "more than all");
    ok(cu_arena_alloc(a, UINT64_MAX, 1) == NULL, "much more than all");
    ok(cu_arena_alloc(a, 0, 0) == NULL, "nothing");

    p = cu_arena_alloc(a, MIB, 1);
    ok(p != NULL && used(a) == MIB, "all of it");
    ok(cu_arena_alloc(a, 1, 0) == NULL && cu_arena_alloc(a, 1, 1) == NULL,
       "and no more");
    CU_OK(cudaMemset(p, 0x5a, MIB));
    cu_arena_free(a, p, MIB);
    cu_arena_free(a, NULL, 5);
    cu_arena_stat(a, &size, &n, &most);
    ok(n == 0 && most == MIB, "and back");
    cu_arena_free_all(a);
    cu_arena_free_all(NULL);
}


static void
test_arena_sides(void)
{
    uint8_t    *q, *k, *v, *top, *hole, *w;
    cu_arena_t *a;

    CU_OK(cu_arena_new(&a, MIB) == 0 ? cudaSuccess : cudaErrorUnknown);

    q = cu_arena_alloc(a, 1024, 0);
    top = cu_arena_alloc(a, 1000, 1);
    k = cu_arena_alloc(a, 512, 0);
    v = cu_arena_alloc(a, 100, 0);
    ok(k == q + 1024 && v == k + 512, "low: one after the other");
    ok(top == q + MIB - 1024, "high: from the top");
    hole = cu_arena_alloc(a, 256, 0);
    ok(hole == v + 256, "sizes are rounded up");

    cu_arena_free(a, k, 512);
    w = cu_arena_alloc(a, 768, 0);
    ok(w == hole + 256, "what does not fit goes behind");
    w = cu_arena_alloc(a, 256, 0);
    ok(w == hole + 256 + 768, "and what follows it stays with it");
    cu_arena_free(a, w, 256);
    w = cu_arena_alloc(a, 256, 0);
    ok(w == k, "after a free, holes are filled");
    w = cu_arena_alloc(a, 256, 0);
    ok(w == k + 256, "from their beginning");

    cu_arena_free_all(a);
}


/* A model: a byte a unit says whose it is. */
static void
test_arena_random(void)
{
    enum { UNITS = 512, LIVE = 40 };

    int         bad, high, who;
    uint8_t     owner[UNITS] = {0}, *base;
    uint32_t    i, j, u, n, run, most_run, free_units;
    uint64_t    size, in_use, most;
    cu_arena_t *a;

    struct {
        uint8_t *p;
        uint64_t size;
    } live[LIVE] = {{0}};

    CU_OK(cu_arena_new(&a, UNITS * CU_ALIGN) == 0 ? cudaSuccess
                                                  : cudaErrorUnknown);
    base = cu_arena_alloc(a, UNITS * CU_ALIGN, 0);
    cu_arena_free(a, base, UNITS * CU_ALIGN);
    bad = 0;

    for (i = 0; i < 20000; i++) {
        who = (int) (test_rand(&seed) % LIVE);

        if (live[who].p != NULL) {
            u = (uint32_t) ((live[who].p - base) / CU_ALIGN);
            for (j = 0; j < (live[who].size + CU_ALIGN - 1) / CU_ALIGN; j++) {
                owner[u + j] = 0;
            }
            cu_arena_free(a, live[who].p, live[who].size);
            live[who].p = NULL;

        } else {
            high = (int) (test_rand(&seed) % 2);
            live[who].size = 1 + test_rand(&seed) % (40 * CU_ALIGN);
            live[who].p = cu_arena_alloc(a, live[who].size, high);
            n = (uint32_t) ((live[who].size + CU_ALIGN - 1) / CU_ALIGN);

            most_run = run = 0;
            for (j = 0; j < UNITS; j++) {
                run = owner[j] ? 0 : run + 1;
                most_run = run > most_run ? run : most_run;
            }

            bad += (live[who].p != NULL) != (n <= most_run);
            if (live[who].p != NULL) {
                u = (uint32_t) ((live[who].p - base) / CU_ALIGN);
                bad += (live[who].p - base) % CU_ALIGN != 0 || u + n > UNITS;
                for (j = 0; j < n; j++) {
                    bad += owner[u + j] != 0;
                    owner[u + j] = 1;
                }
            }
        }

        most_run = run = free_units = 0;
        for (j = 0; j < UNITS; j++) {
            free_units += !owner[j];
            run = owner[j] ? 0 : run + 1;
            most_run = run > most_run ? run : most_run;
        }
        cu_arena_stat(a, &size, &in_use, &most);
        bad += in_use != (uint64_t) (UNITS - free_units) * CU_ALIGN
               || most != (uint64_t) most_run * CU_ALIGN;
    }

    is_int(bad, 0, "20000 random requests and frees");

    for (i = 0; i < LIVE; i++) {
        cu_arena_free(a, live[i].p, live[i].size);
    }
    cu_arena_stat(a, &size, &in_use, &most);
    ok(in_use == 0 && most == size, "all back: one range");
    cu_arena_free_all(a);
}


static void
test_open(void)
{
    int                   n;
    char                  err[K_ERR_MAX] = "";
    size_t                left, all;
    uint64_t              size, in_use;
    k_config_t            c;
    k_backend_t          *be;
    struct cudaDeviceProp prop;

    memset(&c, 0, sizeof(c));
    CU_OK(cudaGetDeviceCount(&n));
    CU_OK(cudaGetDeviceProperties(&prop, 0));
    CU_OK(cudaMemGetInfo(&left, &all));

    be = NULL;
    c.memory = 256 * MIB;
    c.device = n;
    is_int(k_backend_cuda.open(&c, &be, err), -ENODEV, "a device too many: %s",
           err);
    c.device = -1;
    is_int(k_backend_cuda.open(&c, &be, err), -ENODEV, "device -1: %s", err);
    c.device = 0;
    c.memory = (uint64_t) left + MIB;
    is_int(k_backend_cuda.open(&c, &be, err), -ENOMEM, "too much memory: %s",
           err);
    c.memory = MIB;
    is_int(k_backend_cuda.open(&c, &be, err), -ENOMEM, "too little memory: %s",
           err);
    ok(be == NULL, "nothing is opened");

    c.memory = 256 * MIB;
    is_int(k_backend_cuda.open(&c, &be, err), 0, "open");
    k_backend_cuda.memory(be, &size, &in_use);
    ok(size == 256 * MIB && in_use < 128 * MIB, "memory");
    ok(strstr(k_backend_cuda.describe(be), prop.name) != NULL
           && strstr(k_backend_cuda.describe(be), "sm_") != NULL
           && strstr(k_backend_cuda.describe(be), "weights 0.00, KV 0.00")
                  != NULL,
       "%s", k_backend_cuda.describe(be));
    k_backend_cuda.close(be);

    c.memory = 0;
    is_int(k_backend_cuda.open(&c, &be, err), 0, "open with what there is");
    k_backend_cuda.memory(be, &size, &in_use);
    ok(size <= left / 10 * 9 && size > left / 10 * 8,
       "nine tenths of what is free");
    k_backend_cuda.close(be);
    k_backend_cuda.close(NULL);
}


static void
test_close(void)
{
    int          i;
    size_t       before, after, all;
    k_backend_t *be;

    be = backend(128 * MIB, 0);
    k_backend_cuda.close(be);
    CU_OK(cudaMemGetInfo(&before, &all));

    for (i = 0; i < 5; i++) {
        be = backend(128 * MIB, 0);
        k_backend_cuda.close(be);
    }

    CU_OK(cudaMemGetInfo(&after, &all));
    ok(after + 64 * MIB > before,
       "five times open and close: device memory is as before");
}


static void
test_type(void)
{
    k_op_t      ops[4];
    k_weight_t  w[4];
    k_program_t prog;

    memset(ops, 0, sizeof(ops));
    memset(w, 0, sizeof(w));
    memset(&prog, 0, sizeof(prog));
    ok(cu_program_type(&prog) == CU_BF16, "no program: BF16");

    prog.n_ops = 4;
    prog.ops = ops;
    ops[0].kind = K_OP_EMBED;
    ops[0].w[0] = &w[0];
    ops[1].kind = K_OP_QKV;
    ops[1].w[0] = ops[1].w[1] = ops[1].w[2] = &w[1];
    ops[2].kind = K_OP_MOE;
    ops[2].w[0] = &w[2];
    ops[2].w[1] = ops[2].w[2] = ops[2].w[3] = &w[1];
    ops[3].kind = K_OP_LOGITS;
    ops[3].w[0] = &w[3];
    w[0].m.type = CU_F32;
    w[1].m.type = CU_F16;
    w[2].m.type = CU_F32;
    w[3].m.type = CU_F16;
    ok(cu_program_type(&prog) == CU_F16,
       "F16 products: F16, whatever table and router are");
    w[3].m.type = CU_BF16;
    ok(cu_program_type(&prog) == CU_BF16, "a BF16 one: BF16");
    w[3].m.form = CU_W_Q8_0;
    w[3].m.type = CU_F16;
    ok(cu_program_type(&prog) == CU_BF16, "blocks: BF16");
}


static void
test_kv(int f8, uint32_t n_layer, uint32_t n_kv, uint32_t head_dim)
{
    enum { PAGES = 5 };

    int          bad, zero;
    char         err[K_ERR_MAX] = "";
    k_kv_t      *kv;
    uint8_t     *want, *got;
    uint32_t     i, j, n, dst, src;
    uint64_t     page, row, before, size, head;
    k_backend_t *be;
    k_program_t  prog;

    be = backend(128 * MIB, f8);
    k_backend_cuda.memory(be, &size, &before);

    memset(&prog, 0, sizeof(prog));
    prog.n_layer = n_layer;
    prog.n_kv = n_kv;
    prog.n_head = n_kv;
    prog.head_dim = head_dim;
    row = head_dim * (f8 ? 1 : 2);
    head = row * K_PAGE_TOKENS;
    page = head * n_kv * 2 * n_layer;

    is_int(k_backend_cuda.kv_layout(be, &prog), page,
           "%u layers, %u heads of %u%s: bytes a page", n_layer, n_kv, head_dim,
           f8 ? " E4M3" : "");
    is_int(k_backend_cuda.kv_new(be, &prog, PAGES, &kv, err), 0, "pages%s",
           err);
    ok(kv->type == (f8 ? CU_F8 : CU_BF16) && kv->v == head * n_kv
           && kv->layer == 2 * kv->v && kv->page == page
           && kv->size == PAGES * page,
       "their geometry");

    want = malloc(PAGES * page);
    got = malloc(PAGES * page);
    dev_get(got, kv->mem, PAGES * page);
    zero = 1;
    for (i = 0; i < PAGES * page; i++) {
        zero = zero && got[i] == 0;
        want[i] = (uint8_t) test_rand(&seed);
    }
    ok(zero, "start as zeros");
    dev_put(kv->mem, want, PAGES * page);

    bad = 0;
    for (i = 0; i < 12; i++) {
        dst = test_rand(&seed) % PAGES;
        src = test_rand(&seed) % PAGES;
        n = i == 0 ? K_PAGE_TOKENS + 9 : test_rand(&seed) % (K_PAGE_TOKENS + 1);
        k_backend_cuda.kv_copy(be, kv, dst, src, n);

        n = n < K_PAGE_TOKENS ? n : K_PAGE_TOKENS;
        for (j = 0; j < 2 * n_kv * n_layer; j++) {
            memmove(want + dst * page + j * head, want + src * page + j * head,
                    n * row);
        }
        dev_get(got, kv->mem, PAGES * page);
        bad += memcmp(got, want, PAGES * page) != 0;
    }
    is_int(bad, 0, "copies of pages");

    k_backend_cuda.kv_copy(be, kv, PAGES, 0, 32);
    k_backend_cuda.kv_copy(be, kv, 0, PAGES, 32);
    dev_get(got, kv->mem, PAGES * page);
    ok(memcmp(got, want, PAGES * page) == 0,
       "no copy from or to what is no page");
    ok(strstr(k_backend_cuda.describe(be), "KV 0.00") != NULL, "%s",
       k_backend_cuda.describe(be));

    k_backend_cuda.kv_copy(be, kv, 1, 0, 32);
    k_backend_cuda.kv_free(be, kv);
    k_backend_cuda.kv_free(be, NULL);
    k_backend_cuda.memory(be, &size, &row);
    ok(row == before && be->used_kv == 0, "freed");

    free(want);
    free(got);
    k_backend_cuda.close(be);
}


static void
test_kv_errors(void)
{
    char         err[K_ERR_MAX] = "";
    size_t       i;
    k_kv_t      *kv;
    uint64_t     size, before, after;
    k_backend_t *be;
    k_program_t  prog;

    static const struct {
        uint32_t    pages, n_layer, n_kv, head_dim;
        int         rc;
        const char *what;
    } cases[] = {
        {0, 1, 1, 64, -EINVAL, "no pages"},
        {1, 0, 1, 64, -EINVAL, "no layers"},
        {1, 1, 0, 64, -EINVAL, "no heads"},
        {1, 1, 1, 0, -EINVAL, "empty heads"},
        {1, 1, 1, 63, -EINVAL, "odd heads"},
        {1, 1, 1, 1u << 20, -EINVAL, "huge heads"},
        {1, 1u << 30, 1, 64, -EINVAL, "layers beyond reason"},
        {1u << 30, 1, 1, 64, -EINVAL, "pages beyond 32-bit slots"},
        {1u << 26, 64, 8, 128, -ENOMEM, "more than there is"},
        {1u << 26, 4096, 4096, 4096, -ENOMEM, "more than can be counted"},
        {40000, 1, 1, 64, -ENOMEM, "a little more than there is"},
    };

    be = backend(128 * MIB, 0);
    k_backend_cuda.memory(be, &size, &before);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(&prog, 0, sizeof(prog));
        prog.n_layer = cases[i].n_layer;
        prog.n_kv = cases[i].n_kv;
        prog.head_dim = cases[i].head_dim;
        is_int(k_backend_cuda.kv_new(be, &prog, cases[i].pages, &kv, err),
               cases[i].rc, "%s: %s", cases[i].what, err);
    }

    k_backend_cuda.memory(be, &size, &after);
    ok(before == after, "nothing is left of them");
    k_backend_cuda.close(be);
}


static int
emulated(void)
{
    struct cudaDeviceProp prop;

    CU_OK(cudaGetDeviceProperties(&prop, 0));
    return strncmp(prop.name, "Emulated", 8) == 0;
}


/* What fails on the way leaves nothing behind, and says so. */
static void
test_failures(void)
{
    int          n, rc, worked, saved, null;
    char         err[K_ERR_MAX], fail[32];
    size_t       i, before, after, all;
    uint64_t     size, in_use, was;
    k_kv_t      *kv;
    k_config_t   c;
    k_backend_t *be;
    k_program_t  prog;

    static const char *const kinds[] = {"malloc", "host", "stream", "event"};

    if (!emulated()) {
        ok(1, "# SKIP failures need the emulated device");
        return;
    }

    memset(&c, 0, sizeof(c));
    memset(&prog, 0, sizeof(prog));
    c.memory = 128 * MIB;
    prog.n_layer = prog.n_kv = 1;
    prog.head_dim = 64;

    /* The backend says what fails: not here. */
    fflush(stderr);
    saved = dup(STDERR_FILENO);
    null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);

    setenv("CU_EMU_DEVICES", "0", 1);
    is_int(k_backend_cuda.open(&c, &be, err), -ENODEV, "no device: %s", err);
    setenv("CU_EMU_DEVICES", "-1", 1);
    is_int(k_backend_cuda.open(&c, &be, err), -ENODEV, "no driver: %s", err);
    unsetenv("CU_EMU_DEVICES");

    be = backend(c.memory, 0);
    k_backend_cuda.close(be);
    CU_OK(cudaMemGetInfo(&before, &all));

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        worked = 0;

        for (n = 1; n <= 12 && !worked; n++) {
            be = NULL;
            err[0] = '\0';
            snprintf(fail, sizeof(fail), "%s:%d", kinds[i], n);
            setenv("CU_EMU_FAIL", fail, 1);
            rc = k_backend_cuda.open(&c, &be, err);
            if (rc == 0) {
                k_backend_cuda.memory(be, &size, &was);
                rc = k_backend_cuda.kv_new(be, &prog, 4, &kv, err);
                worked = rc == 0;
                if (rc == 0) {
                    k_backend_cuda.kv_free(be, kv);
                }
                k_backend_cuda.memory(be, &size, &in_use);
                ok(in_use == was, "%s: all that a KV pool took is back", fail);
            } else {
                ok(err[0] != '\0', "%s: %s", fail, err);
            }
            unsetenv("CU_EMU_FAIL");
            k_backend_cuda.close(be);
            (void) cudaGetLastError();
        }

        ok(worked, "%s: without it, all is well", kinds[i]);
    }

    CU_OK(cudaMemGetInfo(&after, &all));
    ok(after == before, "and no device memory is lost");

    /* From here on the device is lost. */
    be = backend(c.memory, 0);
    k_backend_cuda.memory(be, &size, &was);
    setenv("CU_EMU_FAIL", "sync:1", 1);
    is_int(k_backend_cuda.kv_new(be, &prog, 4, &kv, err), -EIO, "it fails: %s",
           err);
    unsetenv("CU_EMU_FAIL");
    is_int(k_backend_cuda.kv_new(be, &prog, 4, &kv, err), -EIO,
           "and has failed for ever: %s", err);
    k_backend_cuda.memory(be, &size, &in_use);
    ok(in_use == was, "the arena's accounts are in order");
    k_backend_cuda.close(be);

    dup2(saved, STDERR_FILENO);
    close(saved);
    close(null);
}
