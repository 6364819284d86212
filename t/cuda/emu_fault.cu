/*
 * What goes wrong in a kernel, in words: kernel, block, thread, address; then
 * the process ends.  Bad accesses come as signals, on a stack of their own;
 * under a sanitizer they are the sanitizer's.
 */

#include <signal.h>
#include <stdarg.h>

#include "t/cuda/emu_core.h"


static void
emu_where(char *s, size_t n)
{
    emu_thread_t *t = emu_me();
    uint3         b = emu_block_idx;

    if (emu_g.kernel == NULL) {
        snprintf(s, n, "no kernel runs");
        return;
    }

    if (t == NULL || t == &emu_g.main) {
        snprintf(s, n, "kernel %s, block (%u,%u,%u)", emu_symbol(emu_g.kernel), b.x, b.y, b.z);
        return;
    }

    snprintf(s, n, "kernel %s, block (%u,%u,%u) of (%u,%u,%u), thread (%u,%u,%u) of (%u,%u,%u)",
             emu_symbol(emu_g.kernel), b.x, b.y, b.z, emu_grid_dim.x, emu_grid_dim.y,
             emu_grid_dim.z, t->self.tid.x, t->self.tid.y, t->self.tid.z, emu_block_dim.x,
             emu_block_dim.y, emu_block_dim.z);
}


void
emu_fail(const char *file, int line, const char *fmt, ...)
{
    char    what[512], where[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);

    emu_where(where, sizeof(where));
    fflush(stdout);
    if (file) {
        fprintf(stderr, "CUDA emulator: %s:%d: %s\n    %s\n", file, line, what, where);
    } else {
        fprintf(stderr, "CUDA emulator: %s\n    %s\n", what, where);
    }
    fflush(stderr);
    signal(SIGABRT, SIG_DFL);
    abort();
}


void
emu_put(char *s, size_t n, const char *fmt, ...)
{
    size_t  used = strlen(s);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s + used, n - used, fmt, ap);
    va_end(ap);
}


void
emu_address(const void *p, char *s, size_t n)
{
    const uint8_t   *a = (const uint8_t *) p;
    const emu_mem_t *m = emu_memory_near(p);

    s[0] = '\0';
    if (emu_g.dynamic_map && a >= emu_g.dynamic_map
        && a < emu_g.dynamic_map + EMU_DYNAMIC + 2 * EMU_PAGE) {
        emu_put(s, n, "byte %td of %zu bytes of dynamic shared memory", a - emu_g.dynamic,
                emu_g.dynamic_size);
    } else if (m) {
        emu_put(s, n, "byte %td of %zu bytes of %s memory", a - m->p, m->size,
                m->host ? "pinned" : "device");
    } else if (emu_g.threads && a >= emu_g.threads[0].stack - EMU_PAGE
               && a < emu_g.threads[EMU_THREADS - 1].stack + EMU_STACK) {
        emu_put(s, n, "a thread's stack (local memory)");
    } else if ((uintptr_t) p < EMU_PAGE) {
        emu_put(s, n, "NULL and %zu bytes", (size_t) (uintptr_t) p);
    } else {
        emu_put(s, n, "no memory of the device");
    }
}


/* A kernel, or the host, has touched what it may not; not async-safe, but the
   process ends here. */
static void
emu_signal(int sig, siginfo_t *info, void *)
{
    char where[512], what[256];

    signal(sig, SIG_DFL);
    emu_where(where, sizeof(where));
    emu_address(info->si_addr, what, sizeof(what));
    if (sig == SIGSEGV && info->si_code == SI_KERNEL) {
        snprintf(what, sizeof(what), "a misaligned address, or none that there is");
    }
    fflush(stdout);
    fprintf(stderr, "CUDA emulator: %s at %p: %s\n    %s\n",
            sig == SIGSEGV || sig == SIGBUS ? "bad access" : strsignal(sig), info->si_addr,
            sig == SIGSEGV || sig == SIGBUS ? what : "trapped", where);
    fflush(stderr);
    signal(SIGABRT, SIG_DFL);
    abort();
}


void
emu_handlers()
{
    static thread_local uint8_t *stack;
    struct sigaction             sa = {};
    stack_t                      ss = {};

    if (EMU_ASAN || EMU_TSAN) {
        return;
    }

    if (stack == NULL) {
        ss.ss_size = 64 * 1024;
        stack = (uint8_t *) malloc(ss.ss_size);
        ss.ss_sp = stack;
        sigaltstack(&ss, NULL);
    }

    if (!emu_g.handlers) {
        emu_g.handlers = 1;
        sa.sa_sigaction = emu_signal;
        sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigaction(SIGSEGV, &sa, NULL);
        sigaction(SIGBUS, &sa, NULL);
        sigaction(SIGILL, &sa, NULL);
        sigaction(SIGFPE, &sa, NULL);
    }
}
