/*
 * What fuzz targets of grammars do with a source: compile it under small
 * limits, then walk along bytes that the parser allows, chosen by a hash of
 * the source.  What must hold: limits end everything; a source that is
 * refused is refused with a message; there is no dead end (some byte may
 * come, or the text is complete); what is taken back can be read again.
 */

#ifndef LLM_T_FUZZ_GRAMMAR_WALK_H
#define LLM_T_FUZZ_GRAMMAR_WALK_H

#include "engine/grammar/gr_front.h"
#include "engine/grammar/gr_parse.h"

#include <stdint.h>
#include <stdlib.h>

#define WALK_BYTES 300
#define WALK_FUEL  200000

typedef int (*walk_front_t)(gr_t *gr, const char *text, size_t len,
                            gr_node_t *node, char *err, size_t err_size);


/* The emptiness of what a thread may read is not known. */
static int
walk_unsure(gr_t *gr, const gr_parse_t *p)
{
    const gr_thread_t *threads;
    uint32_t           i, n;

    n = gr_parse_threads(p, &threads);

    for (i = 0; i < n; i++) {
        if (re_dfa_get(gr_dfa(gr), threads[i].lexer)->unsure) {
            return 1;
        }
    }

    return 0;
}


/* 1: a byte that is allowed was read; 0: there is none; or -errno. */
static int
walk_step(gr_parse_t *p, uint32_t from, uint8_t *byte)
{
    uint32_t i;
    int      rc;

    for (i = 0; i < 256; i++) {
        *byte = (uint8_t) (from + i * 37);
        rc = gr_parse_push(p, *byte);

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


static void
walk(gr_t *gr, uint32_t seed)
{
    uint8_t     text[WALK_BYTES];
    gr_parse_t *p;
    uint32_t    n = 0, back, i;
    int         rc;

    if (gr_parse_new(gr, NULL, &p) != 0) {
        return;
    }

    gr_parse_fuel(p, WALK_FUEL);

    while (n < WALK_BYTES) {
        seed = seed * 1664525 + 1013904223;
        rc = walk_step(p, seed >> 24, &text[n]);

        if (rc == 0 && !gr_parse_complete(p) && !walk_unsure(gr, p)) {
            abort();
        }

        if (rc != 1) {
            break;
        }

        n++;

        if (gr_parse_depth(p) != n) {
            abort();
        }

        if ((seed >> 8 & 15) == 0) {
            back = 1 + (seed >> 12) % n;
            gr_parse_pop(p, back);

            for (i = n - back, rc = 1; i < n && rc == 1; i++) {
                rc = gr_parse_push(p, text[i]);
            }

            if (rc == 0) {
                abort();
            }

            if (rc < 0) {
                break;
            }
        }
    }

    gr_parse_free(p);
}


static void
walk_source(walk_front_t front, const uint8_t *data, size_t size)
{
    static const gr_limits_t limits = {.re = {.max_nodes = 20000,
                                              .max_bytes = 16u << 20,
                                              .max_steps = 200000,
                                              .max_depth = 300},
                                       .max_states = 20000,
                                       .max_lexer = 2000,
                                       .max_bytes = 16u << 20};
    gr_node_t                node;
    gr_t                    *gr;
    char                     err[128] = "";
    uint32_t                 seed = 2166136261u;
    size_t                   i;
    int                      rc;

    for (i = 0; i < size; i++) {
        seed = (seed ^ data[i]) * 16777619u;
    }

    if (gr_new(&limits, &gr) != 0) {
        abort();
    }

    rc = front(gr, (const char *) data, size, &node, err, sizeof(err));

    if (rc > 0 || (rc < 0 && err[0] == '\0')) {
        abort();
    }

    if (rc == 0 && gr_finish(gr, node) == 0) {
        for (i = 0; i < 3; i++) {
            walk(gr, seed + (uint32_t) i);
        }
    }

    gr_free(gr);
}

#endif /* LLM_T_FUZZ_GRAMMAR_WALK_H */
