/*
 * Fuzz target: a safetensors file's header.  Of what opens, each tensor's
 * first and last byte is touched, and its size held against its shape.
 */

#include "engine/model/safetensors.h"

#include <stdint.h>
#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const st_tensor_t *t;
    st_file_t         *f;
    uint64_t           elems;
    size_t             i, k;
    char               err[128];

    if (st_open_mem(data, size, &f, err, sizeof(err)) != 0) {
        return 0;
    }

    for (i = 0; i < st_n(f); i++) {
        t = st_at(f, i);
        elems = 1;

        for (k = 0; k < t->n_dims; k++) {
            elems *= t->dims[k];
        }

        if (t->elems != elems || t->name[0] == '\0'
            || t->size != elems * st_dtype_size(t->dtype)) {
            abort();
        }

        if (t->size > 0) {
            sink += t->data[0];
            sink += t->data[t->size - 1];
        }
    }

    st_close(f);

    return 0;
}


#define MUTATIONS 10000

#include "t/fuzz/replay.h"
