/*
 * What gguf.c (parsing, tensors) and gguf_get.c (metadata) share; private to
 * these two.
 */

#ifndef LLM_GGUF_PRIV_H
#define LLM_GGUF_PRIV_H

#include "engine/model/gguf.h"


_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values are read in place");


enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STR,
    GGUF_ARR,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_VALUE_TYPES
};

/* A key's value; for an array, type is the elements' and array is set. */
typedef struct {
    gguf_str_t     key;
    uint32_t       type;
    bool           array;
    uint64_t       n;
    const uint8_t *data;
} gguf_kv_t;


struct gguf_s {
    const uint8_t *base;
    size_t         size;
    bool           mapped;

    gguf_kv_t *kv; /* sorted by key */
    size_t     n_kv;

    gguf_tensor_t *tensors;
    size_t         n_tensors;
    uint32_t      *by_name; /* indexes of tensors, sorted by name */
    char          *names;
};


/* The least bytes a value takes: all of a number, the length of a string. */
extern const uint8_t gguf_value_size[GGUF_VALUE_TYPES];

/* The order of g->kv. */
int gguf_kv_cmp(const void *a, const void *b);


#endif /* LLM_GGUF_PRIV_H */
