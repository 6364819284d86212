/*
 * Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw
 * ("Parallel random numbers: as easy as 1, 2, 3", 2011): a draw is a function
 * of key and counter, so it is the same on every backend, in any order, after
 * any preemption.
 *
 * All backends draw tokens so: key = seed (low word first), counter =
 * (position, choice, draw, 0), and of the four words of the result
 *
 *     u = ((word 1 * 2^32 + word 0) >> 11) * 2^-53     in [0, 1)
 */

#ifndef LLM_KERNELS_PHILOX_H
#define LLM_KERNELS_PHILOX_H

#include <stdint.h>

/* Device code too, where a CUDA compiler reads it. */
#if defined(__CUDACC__)
#define K_PHILOX_FN __host__ __device__ static inline
#else
#define K_PHILOX_FN static inline
#endif


K_PHILOX_FN void
k_philox(uint64_t seed, const uint32_t counter[4], uint32_t out[4])
{
    int      i;
    uint32_t a, b, c, d, k0, k1;
    uint64_t p, q;

    a = counter[0];
    b = counter[1];
    c = counter[2];
    d = counter[3];
    k0 = (uint32_t) seed;
    k1 = (uint32_t) (seed >> 32);

    for (i = 0; i < 10; i++) {
        p = (uint64_t) 0xd2511f53u * a;
        q = (uint64_t) 0xcd9e8d57u * c;
        a = (uint32_t) (q >> 32) ^ b ^ k0;
        b = (uint32_t) q;
        c = (uint32_t) (p >> 32) ^ d ^ k1;
        d = (uint32_t) p;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }

    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}


K_PHILOX_FN double
k_philox_draw(uint64_t seed, uint32_t position, uint32_t choice, uint32_t draw)
{
    uint32_t c[4], r[4];

    c[0] = position;
    c[1] = choice;
    c[2] = draw;
    c[3] = 0;
    k_philox(seed, c, r);

    return (double) (((uint64_t) r[1] << 32 | r[0]) >> 11) * 0x1p-53;
}

#endif /* LLM_KERNELS_PHILOX_H */
