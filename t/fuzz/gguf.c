/*
 * Fuzz target: a weight file's head, and the vocabulary in it.
 *
 * What opens is read through all getters, each tensor's first and last byte
 * is touched, and if a tokenizer comes out of it, it encodes a text.
 */

#include "engine/serve/vocab.h"

#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_keys(const gguf_t *g);
static void read_tensors(const gguf_t *g);
static void use_vocab(const vocab_t *v);

static volatile uint64_t sink;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vocab_t v;
    gguf_t *g;
    char    err[128];

    if (gguf_open_mem(data, size, &g, err, sizeof(err)) != 0) {
        return 0;
    }

    read_keys(g);
    read_tensors(g);

    if (vocab_open(g, &v, err, sizeof(err)) == 0) {
        use_vocab(&v);
    }

    vocab_close(&v);
    gguf_close(g);

    return 0;
}


static void
read_keys(const gguf_t *g)
{
    static const char *keys[] = {
        "general.architecture",      "general.alignment",
        "llama.context_length",      "llama.rope.freq_base",
        "tokenizer.ggml.tokens",     "tokenizer.ggml.merges",
        "tokenizer.ggml.token_type", "tokenizer.ggml.add_bos_token"};
    gguf_str_t s[16];
    int32_t    i[16], i32;
    float      f[16], f32;
    uint32_t   u32;
    uint64_t   u64;
    size_t     k, n;
    ssize_t    rc;
    bool       b;

    for (k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        if (gguf_get_str(g, keys[k], &s[0]) == 0 && s[0].len > 0) {
            sink +=
                (uint64_t) s[0].data[0] + (uint64_t) s[0].data[s[0].len - 1];
        }

        rc = gguf_get_arr_str(g, keys[k], s, 16);

        for (n = 0; rc > 0 && n < (size_t) rc && n < 16; n++) {
            sink += s[n].len ? (uint64_t) s[n].data[s[n].len - 1] : 0;
        }

        sink += gguf_get_u32(g, keys[k], &u32) == 0 ? u32 : 0;
        sink += gguf_get_u64(g, keys[k], &u64) == 0 ? u64 : 0;
        sink += gguf_get_i32(g, keys[k], &i32) == 0 ? (uint64_t) i32 : 0;
        sink += gguf_get_f32(g, keys[k], &f32) == 0;
        sink += gguf_get_bool(g, keys[k], &b) == 0 ? b : 0;
        sink += gguf_get_arr_i32(g, keys[k], i, 16) > 0;
        sink += gguf_get_arr_f32(g, keys[k], f, 16) > 0;
    }
}


static void
read_tensors(const gguf_t *g)
{
    const gguf_tensor_t *t;
    size_t               i;

    for (i = 0; i < gguf_tensor_n(g); i++) {
        t = gguf_tensor_at(g, i);

        if (gguf_tensor_find(g, t->name) != t || t->size == 0) {
            abort();
        }

        sink += ((const uint8_t *) t->data)[0]
                + ((const uint8_t *) t->data)[t->size - 1];
    }
}


static void
use_vocab(const vocab_t *v)
{
    static const char text[] = "Hello <|im_end|>world  42\n\xff\xe2\x82 aaaaaa"
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    uint8_t           trusted[sizeof(text)];
    int32_t           ids[sizeof(text) + 2];
    text_scratch_t   *s;
    size_t            i, len;
    ssize_t           n;

    s = text_scratch_new();
    memset(trusted, 1, sizeof(trusted));

    n = text_encode(v->tokenizer, text, sizeof(text) - 1, trusted,
                    TEXT_ADD_BOS | TEXT_ADD_EOS, ids, sizeof(text) + 2, s);

    if (n < 0 || n > (ssize_t) sizeof(text) + 1) {
        abort();
    }

    for (i = 0; i < (size_t) n; i++) {
        if (text_token_bytes(v->tokenizer, ids[i], &len) == NULL) {
            abort();
        }
    }

    text_scratch_free(s);
}


#define MUTATIONS 10000 /* few survive the parser */

#include "t/fuzz/replay.h"
