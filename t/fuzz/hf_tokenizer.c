/*
 * Fuzz target: the files of a Hugging Face folder that tell of text.
 *
 * An input is one file, by its first byte: '{' tokenizer.json, '\n'
 * tokenizer.model; 'c', 'g', 'a' and a rest: tokenizer_config.json,
 * generation_config.json, added_tokens.json beside a small good vocabulary.
 * What is told of it must be a GGUF; if a tokenizer comes out of that, it
 * encodes a text.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/model/hf_tokenizer.h"
#include "engine/serve/vocab.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const char *name;
    const char *data;
    size_t      len;
} fuzz_file_t;

static int  fuzz_read(void *ctx, const char *name, char **out, size_t *len,
                      size_t max);
static void fuzz_use(const void *head, size_t size);

static const char small_json[] =
    "{\"added_tokens\":[{\"id\":5,\"content\":\"<x>\",\"special\":true}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4},"
    "\"merges\":[\"a b\",[\"ab\",\"c\"]]}}";

static const char small_model[] =
    "\x0a\x05\x0a\x01u\x18\x02\x0a\x03\x0a\x01x\x12\x05\x18\x02\x98\x02\x01";


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char     *rest = (const char *) data + 1;
    fuzz_file_t     files[3] = {{0}};
    hf_text_files_t from = {fuzz_read, files};
    gguf_writer_t  *w;
    json_t         *config;
    char            err[128];
    void           *head = NULL;
    ssize_t         n;

    if (size == 0) {
        return 0;
    }

    files[0] =
        (fuzz_file_t){"tokenizer.json", small_json, sizeof(small_json) - 1};

    switch (data[0]) {
    case '{':
        files[0].data = (const char *) data;
        files[0].len = size;
        break;

    case '\n':
        files[0] = (fuzz_file_t){"tokenizer.model", (const char *) data, size};
        break;

    case 'c':
        files[1] = (fuzz_file_t){"tokenizer_config.json", rest, size - 1};
        break;

    case 'g':
        files[1] = (fuzz_file_t){"generation_config.json", rest, size - 1};
        break;

    case 'a':
        files[0] = (fuzz_file_t){"tokenizer.model", small_model,
                                 sizeof(small_model) - 1};
        files[1] = (fuzz_file_t){"added_tokens.json", rest, size - 1};
        break;

    default:
        return 0;
    }

    w = gguf_writer_new();
    config = data[0] == '{' || data[0] == '\n'
                 ? NULL
                 : json_pack("{s:i}", "vocab_size", 32);

    if (hf_tokenizer_from(&from, config, w, err, sizeof(err)) == 0) {
        n = gguf_writer_head(w, &head);
        if (n < 0) {
            abort();
        }

        fuzz_use(head, (size_t) n);
        free(head);

    } else if (memchr(err, 0, sizeof(err)) == NULL || err[0] == '\0') {
        abort();
    }

    json_decref(config);
    gguf_writer_free(w);

    return 0;
}


static int
fuzz_read(void *ctx, const char *name, char **out, size_t *len, size_t max)
{
    const fuzz_file_t *f = ctx;
    size_t             i;

    for (i = 0; i < 3; i++) {
        if (f[i].name && strcmp(f[i].name, name) == 0) {
            if (f[i].len > max) {
                return -EFBIG;
            }

            *out = malloc(f[i].len + 1);
            memcpy(*out, f[i].data, f[i].len);
            (*out)[f[i].len] = '\0';
            *len = f[i].len;

            return 0;
        }
    }

    return -ENOENT;
}


static void
fuzz_use(const void *head, size_t size)
{
    static const char text[] = "abc <s>\xe2\x96\x81x</s>  \n\xff<x>";
    uint8_t           trusted[sizeof(text)];
    int32_t           ids[8 * sizeof(text)];
    text_scratch_t   *s;
    vocab_t           v;
    gguf_t           *g;
    char              err[128];
    ssize_t           n;

    if (gguf_open_mem(head, size, &g, err, sizeof(err)) != 0) {
        abort();
    }

    if (vocab_open(g, &v, err, sizeof(err)) == 0) {
        s = text_scratch_new();
        memset(trusted, 1, sizeof(trusted));
        n = text_encode(v.tokenizer, text, sizeof(text) - 1, trusted,
                        TEXT_ADD_BOS | TEXT_ADD_EOS, ids, 8 * sizeof(text), s);

        if (n < 0
            || (size_t) n > text_encode_max(v.tokenizer, sizeof(text) - 1)) {
            abort();
        }

        text_scratch_free(s);
    }

    vocab_close(&v);
    gguf_close(g);
}


#define MUTATIONS 2000

#include "t/fuzz/replay.h"
