/*
 * The atomic accesses of a ring, by name.  Both ends include this file; it is
 * the only place where a memory order is chosen.
 *
 * Positions (head, tail) are stored with release by their owner and loaded
 * with acquire by the other end: what was written before a position was
 * published is seen by who saw the position.
 *
 * Flags (sleeping, starving) need more.  Who is about to wait writes the flag
 * and then reads a position; who moves a position writes it and then reads
 * the flag.  Without a full fence on both sides each read may pass the write
 * before it, and both ends see old values: a lost wake-up.  The fences are:
 *
 *   LLM_FENCE 1, in llm_flag_raise(): the waiter's, between flag and position
 *   LLM_FENCE 2, in llm_flag_look():  the mover's, between position and flag
 *
 * Each is the other's partner, for both flags.  t/ipc/model.c takes either
 * away and shows the lost wake-up.
 *
 * ThreadSanitizer knows no fences.  Under it both become seq_cst
 * read-modify-writes of the flag itself, which order as much: of the two, the
 * second in the flag's modification order sees the first and all before it.
 */

#ifndef LLM_IPC_BARRIER_H
#define LLM_IPC_BARRIER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define LLM_FENCE_RMW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LLM_FENCE_RMW 1
#endif
#endif

#ifndef LLM_FENCE_RMW
#define LLM_FENCE_RMW 0
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the ring's ABI is little-endian"
#endif


/* The peer's position.  Acquire; pairs with llm_pos_store(). */

static inline uint64_t
llm_pos_load(const uint64_t *pos)
{
    return __atomic_load_n(pos, __ATOMIC_ACQUIRE);
}


/* One's own position.  Release; pairs with llm_pos_load(). */

static inline void
llm_pos_store(uint64_t *pos, uint64_t value)
{
    __atomic_store_n(pos, value, __ATOMIC_RELEASE);
}


/*
 * A word that the peer may be writing, read exactly once: neither torn nor
 * fetched again.  Orders nothing.
 */

static inline uint64_t
llm_word_load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}


static inline uint32_t
llm_word32_load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}


static inline void
llm_word_store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}


static inline void
llm_word32_store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}


/*
 * Copies bytes that the peer may be writing.  Whatever arrives, it is the copy
 * that is looked at afterwards: the compiler may not read the source again in
 * its place.
 */

static inline void
llm_copy_once(void *dst, const void *src, size_t n)
{
    memcpy(dst, src, n);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}


/* The waiter says that it will wait; the caller then looks at the position. */

static inline void
llm_flag_raise(uint32_t *flag)
{
#if LLM_FENCE_RMW
    (void) __atomic_exchange_n(flag, 1, __ATOMIC_SEQ_CST);
#else
    __atomic_store_n(flag, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* LLM_FENCE 1, partner 2 */
#endif
}


/* The waiter need not wait after all. */

static inline void
llm_flag_drop(uint32_t *flag)
{
    (void) __atomic_exchange_n(flag, 0, __ATOMIC_SEQ_CST);
}


/*
 * The mover has stored its position: does anybody wait for that?  If so the
 * flag is taken, so that a waiter gets one doorbell; returns 1 to the one who
 * took it.  A peer may store any value: nonzero is raised.
 */

static inline int
llm_flag_look(uint32_t *flag)
{
#if LLM_FENCE_RMW
    if (__atomic_fetch_add(flag, 0, __ATOMIC_SEQ_CST) == 0) {
        return 0;
    }
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* LLM_FENCE 2, partner 1 */

    if (__atomic_load_n(flag, __ATOMIC_RELAXED) == 0) {
        return 0;
    }
#endif

    return __atomic_exchange_n(flag, 0, __ATOMIC_SEQ_CST) != 0;
}

#endif /* LLM_IPC_BARRIER_H */
