/*
 * For `make gpu`, which needs libc and CUDA only: a hash of its own in place
 * of xxhash's, for the caches of grammars.  FNV-1a over words of eight bytes;
 * nothing that it hashes there comes from outside.
 */

#ifndef LLM_UTIL_BARE_XXHASH_H
#define LLM_UTIL_BARE_XXHASH_H

#include <stdint.h>
#include <string.h>


static inline uint64_t
XXH3_64bits(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t       h = 0xcbf29ce484222325ull ^ len, w;

    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x100000001b3ull;
        h ^= h >> 29;
    }

    for (; len > 0; p++, len--) {
        h = (h ^ *p) * 0x100000001b3ull;
    }

    return h ^ h >> 32;
}

#endif /* LLM_UTIL_BARE_XXHASH_H */
