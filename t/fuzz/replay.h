/*
 * main() of a fuzz target without libFuzzer: replays the files given, and a
 * bounded number of mutations of each from a fixed seed; prints TAP.
 * A target includes it last, and defines MUTATIONS before if 3000 of each
 * file are too many or too few.
 */

#ifndef LLM_T_FUZZ_REPLAY_H
#define LLM_T_FUZZ_REPLAY_H

#ifndef LLM_LIBFUZZER

#include "t/lib/tap.h"

#include <stdint.h>

#ifndef MUTATIONS
#define MUTATIONS 3000
#endif

#define REPLAY_LARGEST (1u << 17)

static uint32_t replay_state = 1;


static uint32_t
replay_random(uint32_t n)
{
    replay_state = replay_state * 1664525 + 1013904223;

    return (uint32_t) (((uint64_t) replay_state * n) >> 32);
}


/* A few bits, bytes, numbers, cuts and copies within the file. */
static void
replay_mutate(uint8_t *buf, size_t *len)
{
    static const uint64_t values[] = {0,          1,          9,
                                      32,         0x7f,       0xff,
                                      0xffff,     65537,      1u << 20,
                                      0x7fffffff, 0x80000000, 0xffffffff,
                                      1 << 9,     1ull << 61, UINT64_MAX - 7,
                                      UINT64_MAX};
    uint32_t              at, from, n;
    uint32_t              k;

    for (k = 1 + replay_random(4); k > 0 && *len > 16; k--) {
        at = replay_random((uint32_t) *len - 8);

        switch (replay_random(5)) {
        case 0:
            buf[at] ^= (uint8_t) (1u << replay_random(8));
            break;

        case 1:
            buf[at] = (uint8_t) replay_random(256);
            break;

        case 2:
            memcpy(buf + at,
                   &values[replay_random(sizeof(values) / sizeof(values[0]))],
                   replay_random(2) ? 8 : 4);
            break;

        case 3:
            from = replay_random((uint32_t) *len - 8);
            n = 1 + replay_random(8);
            memmove(buf + at, buf + from, n);
            break;

        default:
            if (replay_random(8) == 0) {
                *len -= replay_random((uint32_t) *len - 8);
            }
        }
    }
}


int
main(int argc, char **argv)
{
    uint8_t *seed, *buf;
    size_t   len, n;
    FILE    *f;
    int      i, k;

    if (argc == 1) {
        skip_all("no files given");
    }

    seed = malloc(REPLAY_LARGEST);

    for (i = 1; i < argc; i++) {
        f = fopen(argv[i], "rb");
        if (f == NULL) {
            ok(0, "cannot open %s", argv[i]);
            continue;
        }

        len = fread(seed, 1, REPLAY_LARGEST, f);
        fclose(f);
        (void) LLVMFuzzerTestOneInput(seed, len);

        for (k = 0; k < MUTATIONS; k++) {

            /* Of its own size, so that ASan sees a byte too far. */

            buf = malloc(len + 1);
            memcpy(buf, seed, len);
            n = len;
            replay_mutate(buf, &n);
            buf = realloc(buf, n + !n);
            (void) LLVMFuzzerTestOneInput(buf, n);
            free(buf);
        }

        ok(1, "%s and %d mutations", argv[i], k);
    }

    free(seed);
    return tap_done();
}

#endif /* LLM_LIBFUZZER */

#endif /* LLM_T_FUZZ_REPLAY_H */
