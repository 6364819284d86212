/*
 * Fuzz target: GBNF grammars, see grammar_walk.h.
 */

#include "t/fuzz/grammar_walk.h"

#define MUTATIONS 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    walk_source(gr_gbnf, data, size);

    return 0;
}


#include "t/fuzz/replay.h"
