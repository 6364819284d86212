/*
 * Inside the emulated device: fibers, warps and the block that runs, as emu.cu
 * (who runs), emu_ops.cu (what a warp does), emu_async.cu (memory) and
 * emu_fault.cu (what went wrong) share them.  One block at a time, under the
 * device's lock.
 */

#ifndef LLM_T_CUDA_EMU_CORE_H
#define LLM_T_CUDA_EMU_CORE_H

#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include "t/cuda/emu.h"

#define EMU_STACK   (EMU_ASAN || EMU_TSAN ? 256 * 1024 : 64 * 1024)
#define EMU_PAGE    4096
#define EMU_DYNAMIC (256 * 1024) /* room for dynamic shared memory */

typedef enum {
    EMU_READY = 0,
    EMU_AT_WARP,
    EMU_AT_BLOCK,
    EMU_EXITED
} emu_state_t;

typedef struct {
    void       *dst;
    const void *src;
    uint8_t     n;
    uint8_t     read; /* the source was read when issued */
    uint32_t    group;
    uint4       value;
} emu_copy_t;

struct emu_warp_s;

typedef struct {
    emu_self_t         self; /* first */
    uint32_t           n;    /* linear number in the block */
    uint32_t           lane;
    struct emu_warp_s *warp;
    emu_state_t        state;
    int                grid_waited;
    const char        *file; /* where it waits */
    int                line;

    std::vector<emu_copy_t> *copies;
    uint32_t                 group; /* commits so far */

    uint8_t *stack;
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
#if EMU_ASAN
    void *fake;
#endif
#if EMU_TSAN
    void *tsan;
#endif
} emu_thread_t;

/* Lanes that wait for each other. */
typedef struct {
    emu_op_t    op;
    uint32_t    mask;
    uint32_t    arrived;
    const char *file;
    int         line;
} emu_group_t;

typedef struct emu_warp_s {
    uint32_t    ready;
    uint32_t    lanes; /* that there are */
    uint32_t    exited;
    uint32_t    at_block;
    uint32_t    n_groups;
    emu_group_t groups[32];
    void       *args[32];
    char        sync[2]; /* addresses for TSan */
    uint32_t    turn;
} emu_warp_t;

typedef struct {
    const void       *kernel;
    const emu_call_t *call;
    uint32_t          n_threads;
    uint32_t          n_warps;
    uint32_t          alive;
    uint32_t          ready; /* warps with lanes that can run */
    uint32_t          warp;  /* that runs */
    int               sticky;
    int               order; /* 0: by chance, 1: rising, 2: falling */

    emu_bar_t   bar;
    uint32_t    bar_n;
    int         bar_or;
    int         bar_and;
    int         bar_count;
    int         bar_result;
    const char *bar_file;
    int         bar_line;
    uint32_t    bar_turn;
    char        bar_sync[2];
    char        begin_sync;
    char        end_sync;

    emu_thread_t *threads;
    emu_thread_t  main;
    emu_warp_t    warps[32];
    uint8_t      *dynamic_map;
    uint8_t      *dynamic;
    size_t        dynamic_size;
    uint8_t      *statics;
    uint64_t      random;
    int           handlers;
    const void   *main_bottom;
    size_t        main_size;
} emu_core_t;

extern emu_core_t emu_g;

/* The thread that runs; NULL or emu_g.main: none. */
EMU_INLINE emu_thread_t *
emu_me()
{
    return (emu_thread_t *) emu_current();
}


/* emu_ops.cu: results are in args[lane], of all lanes of p->mask. */
void        emu_carry_out(void **args, const emu_group_t *p);
const char *emu_op_name(emu_op_t op);

/* emu_async.cu: carries out the thread's copies of groups before `below`. */
void emu_async_finish(emu_thread_t *t, uint32_t below);

/* emu_fault.cu: of this OS thread, which may run kernels. */
void emu_handlers();
/* What an address is, in words. */
void emu_address(const void *p, char *s, size_t n);
/* Appends to s, of n bytes. */
__attribute__((format(printf, 3, 4))) void emu_put(char *s, size_t n,
                                                   const char *fmt, ...);

#endif /* LLM_T_CUDA_EMU_CORE_H */
