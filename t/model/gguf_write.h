/*
 * Writes GGUF files into memory, right and broken ones, for tests.
 */

#ifndef LLM_T_MODEL_GGUF_WRITE_H
#define LLM_T_MODEL_GGUF_WRITE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/* GGUF's value types. */
enum {
    W_U8,
    W_I8,
    W_U16,
    W_I16,
    W_U32,
    W_I32,
    W_F32,
    W_BOOL,
    W_STR,
    W_ARR,
    W_U64,
    W_I64,
    W_F64
};


typedef struct {
    uint8_t data[8192];
    size_t  len;
} gguf_write_t;


__attribute__((unused)) static void
w_bytes(gguf_write_t *w, const void *p, size_t n)
{
    if (w->len + n > sizeof(w->data)) {
        printf("Bail out! test file is too large\n");
        exit(1);
    }

    memcpy(w->data + w->len, p, n);
    w->len += n;
}


__attribute__((unused)) static void
w_u32(gguf_write_t *w, uint32_t v)
{
    w_bytes(w, &v, 4);
}


__attribute__((unused)) static void
w_u64(gguf_write_t *w, uint64_t v)
{
    w_bytes(w, &v, 8);
}


__attribute__((unused)) static void
w_str(gguf_write_t *w, const char *s)
{
    w_u64(w, strlen(s));
    w_bytes(w, s, strlen(s));
}


__attribute__((unused)) static void
w_head(gguf_write_t *w, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    w->len = 0;
    w_bytes(w, "GGUF", 4);
    w_u32(w, version);
    w_u64(w, n_tensors);
    w_u64(w, n_kv);
}


__attribute__((unused)) static void
w_key(gguf_write_t *w, const char *key, uint32_t type)
{
    w_str(w, key);
    w_u32(w, type);
}


__attribute__((unused)) static void
w_key_u32(gguf_write_t *w, const char *key, uint32_t v)
{
    w_key(w, key, W_U32);
    w_u32(w, v);
}


__attribute__((unused)) static void
w_tensor(gguf_write_t *w, const char *name, uint64_t d0, uint64_t d1,
         uint32_t type, uint64_t offset)
{
    w_str(w, name);
    w_u32(w, 2);
    w_u64(w, d0);
    w_u64(w, d1);
    w_u32(w, type);
    w_u64(w, offset);
}


/* Padding to align, then n bytes of data. */
__attribute__((unused)) static void
w_data(gguf_write_t *w, size_t align, size_t n)
{
    static const uint8_t zero[4096];

    w_bytes(w, zero, -w->len & (align - 1));

    while (n-- > 0) {
        w_bytes(w, "\x5a", 1);
    }
}


#endif /* LLM_T_MODEL_GGUF_WRITE_H */
