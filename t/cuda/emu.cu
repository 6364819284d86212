/*
 * The emulated device: a launch's blocks one after the other, each block's
 * threads as fibers on the calling OS thread, which holds the device's lock.
 *
 * A fiber runs until it waits at the block's barrier or at an operation of
 * its warp; then another of those that can run is drawn.  What a missing
 * barrier lets happen on a GPU shall happen here, so each block draws how it
 * is run: fibers by chance; or one warp as far as it gets, by chance or in
 * rising or falling order, so that warps run ahead of each other by as much
 * as barriers allow.  Shared memory is 0xff before a block.
 *
 * cp.async: the destination is 0xff until the thread has waited; the source
 * is read when issued or when waited for, by chance.
 *
 * With SAN=tsan each fiber is a thread for TSan and only barriers,
 * __syncwarp() and atomics order memory (shuffles and votes do not, as in
 * CUDA's memory model): a missing barrier is reported as a data race.
 */

#include <sys/mman.h>
#include <unistd.h>

#include "t/cuda/emu_core.h"

#if EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if EMU_TSAN
#include <sanitizer/tsan_interface.h>
#endif

emu_core_t  emu_g;
emu_self_t *emu_self;
uint3       emu_block_idx;
dim3        emu_block_dim;
dim3        emu_grid_dim;

#if EMU_TSAN
/* A shared variable is raced for in more than one place. */
extern "C" __attribute__((weak)) const char *
__tsan_default_options()
{
    return "suppress_equal_addresses=0";
}


#endif

/* --- chance --- */

EMU_CORE uint32_t
emu_random(uint32_t n)
{
    uint64_t    x = emu_g.random;
    const char *s;

    if (x == 0) {
        s = getenv("CU_EMU_SEED");
        x = (s ? strtoull(s, NULL, 10) : 1) * 0x9e3779b97f4a7c15 | 1;
    }

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    emu_g.random = x;
    return (uint32_t) ((x >> 32) * n >> 32);
}


/* One of the bits of a mask that is not 0. */
EMU_CORE static uint32_t
emu_pick(uint32_t mask, int order)
{
    uint32_t r, turned;

    if (order == 1) {
        return (uint32_t) __builtin_ctz(mask);
    }
    if (order == 2) {
        return 31 - (uint32_t) __builtin_clz(mask);
    }

    r = emu_random(32);
    turned = mask >> r | mask << ((32 - r) & 31);
    return ((uint32_t) __builtin_ctz(turned) + r) & 31;
}


/* --- fibers --- */

#if defined(__x86_64__)

extern "C" void emu_switch(void **from, void *to);

/* What a call keeps: rbx, rbp, r12 to r15, the stack. */
__asm__(".text\n"
        ".p2align 4\n"
        ".type emu_switch, @function\n"
        "emu_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size emu_switch, .-emu_switch\n");

#endif


EMU_CORE __attribute__((no_sanitize("address"))) static void
emu_to(emu_thread_t *to, int last)
{
    emu_thread_t *from = emu_me();

    (void) last;
#if EMU_ASAN
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake,
                                   to == &emu_g.main ? emu_g.main_bottom : to->stack,
                                   to == &emu_g.main ? emu_g.main_size : EMU_STACK);
#endif
#if EMU_TSAN
    __tsan_switch_to_fiber(to->tsan, __tsan_switch_to_fiber_no_sync);
#endif
    __atomic_store_n(&emu_self, &to->self, __ATOMIC_RELAXED);
#if defined(__x86_64__)
    emu_switch(&from->sp, to->sp);
#else
    swapcontext(&from->context, &to->context);
#endif
#if EMU_ASAN
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
#endif
}


EMU_CORE static void
emu_deadlock()
{
    char s[400] = "";

    for (uint32_t w = 0; w < emu_g.n_warps && strlen(s) < 300; w++) {
        emu_warp_t *warp = &emu_g.warps[w];

        for (uint32_t i = 0; i < warp->n_groups && strlen(s) < 300; i++) {
            emu_group_t *p = &warp->groups[i];

            emu_put(s, sizeof(s), "; warp %u: lanes %08x of mask %08x at %s (line %d)", w,
                    p->arrived, p->mask, emu_op_name(p->op), p->line);
        }
        if (warp->at_block) {
            emu_put(s, sizeof(s), "; warp %u: lanes %08x at __syncthreads (line %d)", w,
                    warp->at_block, emu_g.bar_line);
        }
    }

    emu_fail(NULL, 0, "deadlock%s", s);
}


/* Who runs next; NULL: all have exited. */
EMU_CORE static emu_thread_t *
emu_next()
{
    uint32_t    w = emu_g.warp, lane;
    emu_warp_t *warp;

    if (emu_g.ready == 0) {
        if (emu_g.alive > 0) {
            emu_deadlock();
        }
        return NULL;
    }

    if (!emu_g.sticky || !(emu_g.ready >> w & 1)) {
        w = emu_pick(emu_g.ready, emu_g.order);
        emu_g.warp = w;
    }

    warp = &emu_g.warps[w];
    lane = emu_pick(warp->ready, emu_g.order);
    warp->ready &= ~(1u << lane);
    if (warp->ready == 0) {
        emu_g.ready &= ~(1u << w);
    }

    return &emu_g.threads[w * 32 + lane];
}


/* Waits, in the state that the caller has set. */
EMU_CORE static void
emu_wait()
{
    emu_thread_t *to = emu_next();

    if (to != emu_me()) {
        emu_to(to, 0);
    }
}


EMU_CORE static void
emu_wake(emu_warp_t *warp, uint32_t lanes)
{
    uint32_t w = (uint32_t) (warp - emu_g.warps);

    for (uint32_t m = lanes; m; m &= m - 1) {
        emu_g.threads[w * 32 + (uint32_t) __builtin_ctz(m)].state = EMU_READY;
    }

    warp->ready |= lanes;
    if (warp->ready) {
        emu_g.ready |= 1u << w;
    }
}


/* A thread has returned from the kernel. */
EMU_CORE static void
emu_exit(emu_thread_t *t)
{
    emu_warp_t *warp = t->warp;
    uint32_t    bit = 1u << t->lane;

    if (!t->grid_waited) {
        emu_fail(NULL, 0, "returns without cu_grid_wait()");
    }

    for (uint32_t i = 0; i < warp->n_groups; i++) {
        if (warp->groups[i].mask & bit) {
            emu_fail(warp->groups[i].file, warp->groups[i].line,
                     "a thread exits while lanes %08x wait for it at %s, mask %08x",
                     warp->groups[i].arrived, emu_op_name(warp->groups[i].op),
                     warp->groups[i].mask);
        }
    }

    if (emu_g.bar_n > 0) {
        emu_fail(emu_g.bar_file, emu_g.bar_line,
                 "a thread exits while %u others wait at __syncthreads", emu_g.bar_n);
    }

    emu_async_finish(t, UINT32_MAX);
    t->state = EMU_EXITED;
    warp->exited |= bit;
    emu_g.alive--;
}


EMU_CORE __attribute__((no_sanitize("address"))) static void
emu_entry()
{
    emu_thread_t *t = emu_me(), *to;

#if EMU_ASAN
    const void *bottom;
    size_t      size;

    __sanitizer_finish_switch_fiber(NULL, &bottom, &size);
    if (emu_g.main_bottom == NULL) {
        emu_g.main_bottom = bottom;
        emu_g.main_size = size;
    }
#endif
#if EMU_TSAN
    __tsan_acquire(&emu_g.begin_sync);
#endif

    (*emu_g.call)();
    emu_exit(t);

#if EMU_TSAN
    __tsan_release(&emu_g.end_sync);
#endif

    to = emu_next();
    emu_to(to ? to : &emu_g.main, 1);
    __builtin_unreachable();
}


EMU_CORE static void
emu_thread_ready(emu_thread_t *t)
{
#if defined(__x86_64__)
    void **top = (void **) (t->stack + EMU_STACK);

    *--top = NULL; /* keeps the stack as after a call */
    *--top = (void *) emu_entry;
    for (int i = 0; i < 6; i++) {
        *--top = NULL;
    }
    t->sp = top;
#else
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = EMU_STACK;
    t->context.uc_link = NULL;
    makecontext(&t->context, emu_entry, 0);
#endif
    t->state = EMU_READY;
    t->grid_waited = 0;
    t->group = 0;
    t->copies->clear();
}


static void
emu_start()
{
    uint8_t *stacks;
    size_t   each = EMU_STACK + EMU_PAGE;

    if (emu_g.threads) {
        return;
    }

    stacks = (uint8_t *) mmap(NULL, EMU_THREADS * each, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    emu_g.dynamic_map = (uint8_t *) mmap(NULL, EMU_DYNAMIC + 2 * EMU_PAGE, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stacks == MAP_FAILED || emu_g.dynamic_map == MAP_FAILED) {
        fprintf(stderr, "CUDA emulator: no memory for fibers\n");
        abort();
    }

    mprotect(emu_g.dynamic_map, EMU_PAGE, PROT_NONE);
    mprotect(emu_g.dynamic_map + EMU_PAGE + EMU_DYNAMIC, EMU_PAGE, PROT_NONE);
    emu_g.threads = (emu_thread_t *) calloc(EMU_THREADS, sizeof(emu_thread_t));

    for (uint32_t i = 0; i < EMU_THREADS; i++) {
        mprotect(stacks + i * each, EMU_PAGE, PROT_NONE);
        emu_g.threads[i].stack = stacks + i * each + EMU_PAGE;
        emu_g.threads[i].n = i;
        emu_g.threads[i].lane = i % 32;
        emu_g.threads[i].warp = &emu_g.warps[i / 32];
        emu_g.threads[i].copies = new std::vector<emu_copy_t>;
    }
}


/* --- a launch --- */

EMU_CORE static void
emu_poison()
{
    const emu_static_t *s;
    uint32_t            n = emu_statics(&s);

    for (uint32_t i = 0; emu_g.statics && i < n; i++) {
        memset(emu_g.statics + s[i].at, 0xff, s[i].size);
    }

    memset(emu_g.dynamic, 0xff,
           (size_t) (emu_g.dynamic_map + EMU_PAGE + EMU_DYNAMIC - emu_g.dynamic));
}


EMU_CORE static void
emu_block()
{
    uint32_t n = emu_g.n_threads;

    emu_poison();

    for (uint32_t i = 0; i < n; i++) {
        emu_thread_ready(&emu_g.threads[i]);
        emu_g.threads[i].self.tid.x = i % emu_block_dim.x;
        emu_g.threads[i].self.tid.y = i / emu_block_dim.x % emu_block_dim.y;
        emu_g.threads[i].self.tid.z = i / emu_block_dim.x / emu_block_dim.y;
    }

    for (uint32_t w = 0; w < emu_g.n_warps; w++) {
        uint32_t left = n - w * 32;

        emu_g.warps[w].lanes = left >= 32 ? EMU_FULL : (1u << left) - 1;
        emu_g.warps[w].ready = emu_g.warps[w].lanes;
        emu_g.warps[w].exited = 0;
        emu_g.warps[w].at_block = 0;
        emu_g.warps[w].n_groups = 0;
    }

    emu_g.alive = n;
    emu_g.ready = emu_g.n_warps == 32 ? EMU_FULL : (1u << emu_g.n_warps) - 1;
    emu_g.bar_n = 0;
    emu_g.sticky = emu_random(4) > 0;
    emu_g.order = (int) emu_random(3);
    emu_g.warp = emu_pick(emu_g.ready, emu_g.order);

#if EMU_TSAN
    for (uint32_t i = 0; i < n; i++) {
        if (emu_g.threads[i].tsan == NULL) {
            emu_g.threads[i].tsan = __tsan_create_fiber(0);
        }
    }
    emu_g.main.tsan = __tsan_get_current_fiber();
    __tsan_release(&emu_g.begin_sync);
#endif

    __atomic_store_n(&emu_self, &emu_g.main.self, __ATOMIC_RELAXED);
    emu_to(emu_next(), 0);

#if EMU_TSAN
    __tsan_acquire(&emu_g.end_sync);
#endif

    for (uint8_t *p = emu_g.dynamic + emu_g.dynamic_size;
         p < emu_g.dynamic_map + EMU_PAGE + EMU_DYNAMIC; p++) {
        if (*p != 0xff) {
            emu_fail(NULL, 0, "byte %td of %zu bytes of dynamic shared memory was written",
                     p - emu_g.dynamic, emu_g.dynamic_size);
        }
    }
}


EMU_CORE static uint64_t
emu_gcd(uint64_t a, uint64_t b)
{
    return b == 0 ? a : emu_gcd(b, a % b);
}


EMU_CORE void
emu_run(const void *kernel, const emu_call_t &call, dim3 grid, dim3 block, size_t smem)
{
    uint64_t n = (uint64_t) grid.x * grid.y * grid.z, step = 1, at = 0;

    emu_symbols_load();
    emu_start();
    emu_handlers();

    emu_g.kernel = kernel;
    emu_g.call = &call;
    emu_g.n_threads = block.x * block.y * block.z;
    emu_g.n_warps = (emu_g.n_threads + 31) / 32;
    emu_g.dynamic_size = smem;
    emu_g.dynamic = emu_g.dynamic_map + EMU_PAGE + ((EMU_DYNAMIC - smem) & ~(size_t) 127);
    emu_g.statics = emu_statics_base();
    emu_block_dim = block;
    emu_grid_dim = grid;
#if EMU_ASAN
    emu_g.main_bottom = NULL;
#endif

    /* Rising, falling, or all of them in steps of any length. */
    switch (emu_random(4)) {
    case 0:
        break;
    case 1:
        at = n - 1;
        step = n - 1;
        break;
    default:
        at = emu_random((uint32_t) n);
        do {
            step = 1 + emu_random((uint32_t) n);
        } while (emu_gcd(n, step) != 1);
    }

    for (uint64_t i = 0; i < n; i++, at = (at + step) % n) {
        emu_block_idx.x = (unsigned) (at % grid.x);
        emu_block_idx.y = (unsigned) (at / grid.x % grid.y);
        emu_block_idx.z = (unsigned) (at / grid.x / grid.y);
        emu_block();
    }

    emu_g.kernel = NULL;
}


/* --- barriers and the warp's operations --- */

EMU_CORE int
emu_barrier(emu_bar_t kind, int value, const char *file, int line)
{
    emu_thread_t *t = emu_me();
    emu_warp_t   *warp = t->warp;
    uint32_t      bit = 1u << t->lane;
    char         *sync = &emu_g.bar_sync[emu_g.bar_turn & 1];

    if (emu_g.alive < emu_g.n_threads) {
        emu_fail(file, line, "__syncthreads when %u threads of the block have exited",
                 emu_g.n_threads - emu_g.alive);
    }

    for (uint32_t i = 0; i < warp->n_groups; i++) {
        if (warp->groups[i].mask & bit) {
            emu_fail(file, line,
                     "__syncthreads when lanes %08x of the warp wait for this one at %s (%s:%d)",
                     warp->groups[i].arrived, emu_op_name(warp->groups[i].op), warp->groups[i].file,
                     warp->groups[i].line);
        }
    }

    if (emu_g.bar_n == 0) {
        emu_g.bar = kind;
        emu_g.bar_file = file;
        emu_g.bar_line = line;
        emu_g.bar_or = 0;
        emu_g.bar_and = 1;
        emu_g.bar_count = 0;
    } else if (emu_g.bar != kind || emu_g.bar_line != line || strcmp(emu_g.bar_file, file) != 0) {
        emu_fail(file, line, "__syncthreads when %u threads wait at another one (%s:%d)",
                 emu_g.bar_n, emu_g.bar_file, emu_g.bar_line);
    }

    emu_g.bar_or |= value != 0;
    emu_g.bar_and &= value != 0;
    emu_g.bar_count += value != 0;
#if EMU_TSAN
    __tsan_release(sync);
#endif

    if (++emu_g.bar_n < emu_g.n_threads) {
        t->state = EMU_AT_BLOCK;
        warp->at_block |= bit;
        emu_wait();

    } else {
        emu_g.bar_result = kind == EMU_BAR_OR    ? emu_g.bar_or
                           : kind == EMU_BAR_AND ? emu_g.bar_and
                                                 : emu_g.bar_count;
        emu_g.bar_n = 0;
        emu_g.bar_turn++;
        for (uint32_t w = 0; w < emu_g.n_warps; w++) {
            emu_wake(&emu_g.warps[w], emu_g.warps[w].at_block);
            emu_g.warps[w].at_block = 0;
        }
        /* The last to come is not the first to go on. */
        emu_wake(warp, bit);
        emu_wait();
    }

#if EMU_TSAN
    __tsan_acquire(sync);
#else
    (void) sync;
#endif

    return emu_g.bar_result;
}


/* The group that waits for the same, or a new one. */
EMU_CORE static emu_group_t *
emu_group(emu_warp_t *warp, emu_thread_t *t, emu_op_t op, uint32_t mask, const char *file, int line)
{
    uint32_t     bit = 1u << t->lane;
    emu_group_t *p;

    for (uint32_t i = 0; i < warp->n_groups; i++) {
        p = &warp->groups[i];

        if (p->op == op && p->mask == mask
            && (op < EMU_OP_LDMATRIX || (p->line == line && strcmp(p->file, file) == 0))) {
            return p;
        }

        if ((p->arrived & mask) && (p->mask & bit)) {
            emu_fail(file, line,
                     "%s, mask %08x, waits for lanes that wait for it elsewhere: lanes %08x at %s, "
                     "mask %08x (%s:%d)",
                     emu_op_name(op), mask, p->arrived & mask, emu_op_name(p->op), p->mask, p->file,
                     p->line);
        }
    }

    p = &warp->groups[warp->n_groups++];
    p->op = op;
    p->mask = mask;
    p->arrived = 0;
    p->file = file;
    p->line = line;
    return p;
}


EMU_CORE void
emu_warp(emu_op_t op, uint32_t mask, void *arg, const char *file, int line)
{
    emu_thread_t *t = emu_me();
    emu_warp_t   *warp = t->warp;
    emu_group_t  *p;
    uint32_t      bit = 1u << t->lane;

    if (!(mask & bit)) {
        emu_fail(file, line, "%s: lane %u is not in its mask %08x", emu_op_name(op), t->lane, mask);
    }
    if (mask & ~warp->lanes) {
        emu_fail(file, line, "%s: mask %08x names lanes that the block does not have (%08x)",
                 emu_op_name(op), mask, mask & ~warp->lanes);
    }
    if (mask & warp->exited) {
        emu_fail(file, line, "%s: lanes %08x of mask %08x have exited", emu_op_name(op),
                 mask & warp->exited, mask);
    }
    if (mask & warp->at_block) {
        emu_fail(file, line, "%s: lanes %08x of mask %08x wait at __syncthreads (%s:%d)",
                 emu_op_name(op), mask & warp->at_block, mask, emu_g.bar_file, emu_g.bar_line);
    }

    p = emu_group(warp, t, op, mask, file, line);
    p->arrived |= bit;
    warp->args[t->lane] = arg;

#if EMU_TSAN
    char *sync = &warp->sync[warp->turn & 1];

    if (op == EMU_OP_SYNCWARP) {
        __tsan_release(sync);
    }
#endif

    if (p->arrived != mask) {
        t->state = EMU_AT_WARP;
        emu_wait();

    } else {
        emu_carry_out(warp->args, p);
#if EMU_TSAN
        warp->turn += op == EMU_OP_SYNCWARP;
#endif
        *p = warp->groups[--warp->n_groups];
        emu_wake(warp, mask);
        emu_wait();
    }

#if EMU_TSAN
    if (op == EMU_OP_SYNCWARP) {
        __tsan_acquire(sync);
    }
#endif
}


EMU_CORE uint32_t
emu_active_mask()
{
    emu_thread_t *t = emu_me();

    return t->warp->ready | 1u << t->lane;
}


EMU_CORE uint32_t
emu_lane()
{
    return emu_me()->lane;
}
