/*
 * What gguf.c (files, tensors), gguf_parse.c (the head), gguf_get.c (metadata)
 * and gguf_write.c share; private to these.
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
    uint64_t data_size;     /* from the data section to the last tensor's end */
    gguf_source_t source;   /* .rows NULL: base holds the data too */
    void         *head_own; /* of a source */

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


/* What a source's tensors may take together. */
#define GGUF_SOURCE_MAX (1ull << 48)

/* Where parsing stands; left is what remains of the file. */
typedef struct {
    const uint8_t *p;
    size_t         left;
    char          *err;
    size_t         err_size;
} gguf_cur_t;

/* Fills the tables of a gguf_t that has its base and size. */
int gguf_parse(gguf_t *g, gguf_cur_t *c);

/* Says why into c->err, and returns rc. */
int gguf_fail(gguf_cur_t *c, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Names go into messages: no control characters, 1 to max bytes. */
bool gguf_is_name(const gguf_str_t *s, size_t max);


#endif /* LLM_GGUF_PRIV_H */
