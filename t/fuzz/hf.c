/*
 * Fuzz target: config.json and the shards' headers of a folder.
 *
 * The input is config.json's text, a NUL and a safetensors file.  What they
 * are told as must open as a GGUF file's head, and all of its rows must come
 * out of the file's bytes.
 */

#include "engine/model/hf_priv.h"

#include <errno.h>
#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int  map(hf_model_t *m, gguf_writer_t *w, const uint8_t *data,
                size_t size, char *err);
static void read_rows(const hf_model_t *m, const gguf_t *g);

static volatile uint64_t sink;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gguf_source_t  source = {.rows = hf_rows_read, .drop = hf_rows_drop};
    gguf_writer_t *w = gguf_writer_new();
    st_file_t     *shard = NULL;
    hf_model_t     m = {.shards = &shard};
    ssize_t        n;
    gguf_t        *g;
    void          *head;
    char           err[256];

    llm_log_level(LLM_LOG_ERROR);
    arena_init(&m.arena, 0);

    if (map(&m, w, data, size, err) == 0
        && (n = gguf_writer_head(w, &head)) >= 0) {
        source.ctx = &m;

        /* Names may still be given twice. */
        if (gguf_open_source(head, (size_t) n, &source, &g, err, sizeof(err))
            == 0) {
            read_rows(&m, g);
            gguf_close(g);
        }
    }

    gguf_writer_free(w);
    st_close(shard);
    free(m.tensors);
    arena_free(&m.arena);
    hf_config_free(&m.config);

    return 0;
}


static int
map(hf_model_t *m, gguf_writer_t *w, const uint8_t *data, size_t size,
    char *err)
{
    const uint8_t *nul = size ? memchr(data, '\0', size) : NULL;
    size_t         len = nul ? (size_t) (nul - data) : size;
    json_t        *root;

    root = json_loadb((const char *) data, len, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return -EINVAL;
    }

    LLM_TRY(hf_config_read(&m->config, root, w, err, 256));

    if (nul == NULL) {
        return 0;
    }

    LLM_TRY(st_open_mem(nul + 1, size - len - 1, &m->shards[0], err, 256));
    m->n_shards = 1;

    return hf_tensors_map(m, w);
}


/* Into memory of just their size, so that ASan sees a byte too far. */
static void
read_rows(const hf_model_t *m, const gguf_t *g)
{
    const gguf_tensor_t *t;
    uint64_t             rows, n, row;
    uint8_t             *out;
    size_t               i;

    if (gguf_tensor_n(g) != m->n_tensors) {
        abort();
    }

    for (i = 0; i < gguf_tensor_n(g); i++) {
        t = gguf_tensor_at(g, i);
        rows = t->dims[1] * t->dims[2] * t->dims[3];

        for (row = 0; row < rows; row += n) {
            n = rows - row < 5 ? rows - row : 5;
            out = malloc(t->size / rows * n);

            if (gguf_tensor_rows(g, t, row, n, out) != 0) {
                abort();
            }

            sink += out[0];
            sink += out[t->size / rows * n - 1];
            free(out);
        }

        gguf_tensor_drop(g, t);
    }
}


#define MUTATIONS 2000

#include "t/fuzz/replay.h"
