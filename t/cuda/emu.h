/*
 * Inside the emulated device: what emu.cu (fibers, one launch at a time),
 * emu_sym.cu (names, shared memory by name) and emu_mem.cu (CUDA's runtime:
 * memory) know of each other.  Everything here is called with the
 * device's lock held, which emu_rt.cu has.
 */

#ifndef LLM_T_CUDA_EMU_H
#define LLM_T_CUDA_EMU_H

#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define EMU_TSAN 1
#define EMU_CORE __attribute__((no_sanitize("thread")))
#else
#define EMU_TSAN 0
#define EMU_CORE
#endif

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#else
#define EMU_ASAN 0
#endif

/* What a block of sm_90 may have. */
#define EMU_THREADS       1024
#define EMU_SHARED_STATIC (48 * 1024)
#define EMU_SHARED_MAX    (227 * 1024)

/* emu.cu: runs a launch, whose shape has been checked, to its end. */
void emu_run(const void *kernel, const emu_call_t &call, dim3 grid, dim3 block,
             size_t smem);
/* Chance, from CU_EMU_SEED: 0 to n - 1. */
uint32_t emu_random(uint32_t n);

/* emu_mem.cu: the allocation that p lies in, or NULL; what is near it. */
typedef struct {
    uint8_t *p;
    size_t   size;   /* as asked for */
    size_t   mapped; /* from map */
    uint8_t *map;
    int      host; /* pinned */
} emu_mem_t;

const emu_mem_t *emu_memory(const void *p);
/* The mapping that p is in or just beyond, for messages; lock or no lock. */
const emu_mem_t *emu_memory_near(const void *p);

/* emu_sym.cu: static shared memory of this thread, as [from, from + n). */
typedef struct {
    size_t   at; /* in the thread's TLS block */
    size_t   size;
    uint32_t name;
} emu_static_t;

void        emu_symbols_load();
uint32_t    emu_statics(const emu_static_t **s);
uint8_t    *emu_statics_base(); /* of the calling thread */
size_t      emu_static_size(const void *kernel);
const char *emu_symbol(const void *code); /* demangled; owned by the table */
const char *emu_static_name(uint32_t name);

#endif /* LLM_T_CUDA_EMU_H */
