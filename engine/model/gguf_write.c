/*
 * GGUF writer: see gguf_write.h.
 *
 * Keys are kept as the bytes that the file gets, in one buffer; tensors as
 * records.  gguf_writer_head() sorts out keys that were put twice, counts
 * offsets and joins all.  One thread; owns all it holds.
 */

#include "engine/model/gguf_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base.h"
#include "engine/model/gguf_priv.h"

#define GGUF_WRITE_VERSION 3
#define GGUF_WRITE_ALIGN   32

/* A key's bytes in w->bytes: length, key, type, value. */
typedef struct {
    size_t   at;
    size_t   len;
    size_t   key_len;
    uint32_t i; /* the how many-th */
    bool     is_dead;
} gguf_wkey_t;

typedef struct {
    char    *name;
    uint32_t type;
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS];
    uint64_t size;
    uint64_t offset;
} gguf_wtensor_t;

struct gguf_writer_s {
    buf_t           bytes;
    gguf_wkey_t    *keys;
    size_t          n_keys;
    size_t          cap_keys;
    gguf_wtensor_t *tensors;
    size_t          n_tensors;
    size_t          cap_tensors;
    uint64_t        end; /* where the next one's data begins */
    uint32_t        align;
    int             rc; /* the first error */
};


static void gguf_put(gguf_writer_t *w, const char *key, size_t key_len,
                     uint32_t type, const void *value, size_t size);
static void gguf_put_arr(gguf_writer_t *w, const char *key, uint32_t type,
                         const void *v, size_t n);
static void gguf_put_kv(gguf_writer_t *w, const gguf_kv_t *kv);
static gguf_wkey_t *gguf_put_begin(gguf_writer_t *w, const char *key,
                                   size_t key_len, uint32_t type);
static void         gguf_put_end(gguf_writer_t *w, gguf_wkey_t *k);
static int          gguf_writer_fail(gguf_writer_t *w, int rc);
static int          gguf_grow(void *array, size_t *cap, size_t n, size_t size);
static size_t       gguf_writer_keys(gguf_writer_t *w);
static void         gguf_writer_count(gguf_writer_t *w);
static int          gguf_wkey_cmp(const void *a, const void *b, void *writer);
static int          gguf_wkey_order(const void *a, const void *b);
static int          gguf_wkey_same(const gguf_writer_t *w, const gguf_wkey_t *a,
                                   const gguf_wkey_t *b);
static void         gguf_pad(buf_t *b, size_t align);


gguf_writer_t *
gguf_writer_new(void)
{
    gguf_writer_t *w;

    w = calloc(1, sizeof(gguf_writer_t));
    if (w) {
        w->align = GGUF_WRITE_ALIGN;
    }

    return w;
}


void
gguf_writer_free(gguf_writer_t *w_take)
{
    size_t i;

    if (w_take == NULL) {
        return;
    }

    for (i = 0; i < w_take->n_tensors; i++) {
        free(w_take->tensors[i].name);
    }

    buf_free(&w_take->bytes);
    free(w_take->keys);
    free(w_take->tensors);
    free(w_take);
}


void
gguf_put_str(gguf_writer_t *w, const char *key, const char *s, size_t len)
{
    gguf_wkey_t *k = gguf_put_begin(w, key, strlen(key), GGUF_STR);
    uint64_t     n = len;

    buf_add(&w->bytes, &n, 8);
    buf_add(&w->bytes, s, len);
    gguf_put_end(w, k);
}


void
gguf_put_u32(gguf_writer_t *w, const char *key, uint32_t v)
{
    gguf_put(w, key, strlen(key), GGUF_U32, &v, 4);
}


void
gguf_put_i32(gguf_writer_t *w, const char *key, int32_t v)
{
    gguf_put(w, key, strlen(key), GGUF_I32, &v, 4);
}


void
gguf_put_f32(gguf_writer_t *w, const char *key, float v)
{
    gguf_put(w, key, strlen(key), GGUF_F32, &v, 4);
}


void
gguf_put_bool(gguf_writer_t *w, const char *key, bool v)
{
    uint8_t b = v;

    gguf_put(w, key, strlen(key), GGUF_BOOL, &b, 1);
}


void
gguf_put_arr_str(gguf_writer_t *w, const char *key, const gguf_str_t *s,
                 size_t n)
{
    gguf_wkey_t *k = gguf_put_begin(w, key, strlen(key), GGUF_ARR);
    uint32_t     type = GGUF_STR;
    uint64_t     len = n;
    size_t       i;

    buf_add(&w->bytes, &type, 4);
    buf_add(&w->bytes, &len, 8);

    for (i = 0; i < n; i++) {
        len = s[i].len;
        buf_add(&w->bytes, &len, 8);
        buf_add(&w->bytes, s[i].data, s[i].len);
    }

    gguf_put_end(w, k);
}


void
gguf_put_arr_i32(gguf_writer_t *w, const char *key, const int32_t *v, size_t n)
{
    gguf_put_arr(w, key, GGUF_I32, v, n);
}


void
gguf_put_arr_f32(gguf_writer_t *w, const char *key, const float *v, size_t n)
{
    gguf_put_arr(w, key, GGUF_F32, v, n);
}


void
gguf_put_arr_bool(gguf_writer_t *w, const char *key, const uint8_t *v, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (v[i] > 1) {
            gguf_writer_fail(w, -EINVAL);
            return;
        }
    }

    gguf_put_arr(w, key, GGUF_BOOL, v, n);
}


void
gguf_put_all(gguf_writer_t *w, const gguf_t *g,
             int (*skip)(const char *key, size_t len))
{
    const gguf_kv_t *kv;
    size_t           i;

    for (i = 0; i < g->n_kv; i++) {
        kv = &g->kv[i];

        if (skip && skip(kv->key.data, kv->key.len)) {
            continue;
        }

        gguf_put_kv(w, kv);
    }
}


/* A value as it stands in the file it was read from. */
static void
gguf_put_kv(gguf_writer_t *w, const gguf_kv_t *kv)
{
    const uint8_t *p = kv->data;
    gguf_wkey_t   *k;
    uint64_t       len, i;

    if (kv->type == GGUF_STR) {
        for (i = 0; i < kv->n; i++) {
            memcpy(&len, p, 8);
            p += 8 + len;
        }

    } else {
        p += kv->n * gguf_value_size[kv->type];
    }

    k = gguf_put_begin(w, kv->key.data, kv->key.len,
                       kv->array ? GGUF_ARR : kv->type);

    if (kv->array) {
        buf_add(&w->bytes, &kv->type, 4);
        buf_add(&w->bytes, &kv->n, 8);
    }

    buf_add(&w->bytes, kv->data, (size_t) (p - kv->data));
    gguf_put_end(w, k);
}


void
gguf_put_tensor(gguf_writer_t *w, const char *name, uint32_t type,
                uint32_t n_dims, const uint64_t *dims)
{
    const gguf_type_t *t = gguf_type(type);
    gguf_wtensor_t    *x;
    gguf_str_t         s = {name, strlen(name)};
    uint64_t           size;
    uint32_t           i;

    if (t == NULL || t->block_elems == 0 || n_dims == 0
        || n_dims > GGUF_MAX_DIMS || !gguf_is_name(&s, GGUF_MAX_NAME)
        || w->n_tensors == GGUF_MAX_TENSORS || dims[0] == 0
        || dims[0] % t->block_elems) {
        gguf_writer_fail(w, -EINVAL);
        return;
    }

    if (dims[0] / t->block_elems > GGUF_SOURCE_MAX / t->block_bytes) {
        gguf_writer_fail(w, -EINVAL);
        return;
    }

    size = dims[0] / t->block_elems * t->block_bytes;

    for (i = 1; i < n_dims; i++) {
        if (dims[i] == 0 || size > GGUF_SOURCE_MAX / dims[i]) {
            gguf_writer_fail(w, -EINVAL);
            return;
        }

        size *= dims[i];
    }

    if (gguf_grow(&w->tensors, &w->cap_tensors, w->n_tensors, sizeof(*x)) < 0
        || (s.data = strdup(name)) == NULL) {
        gguf_writer_fail(w, -ENOMEM);
        return;
    }

    x = &w->tensors[w->n_tensors++];
    *x = (gguf_wtensor_t){
        .name = (char *) s.data, .type = type, .n_dims = n_dims, .size = size};
    memcpy(x->dims, dims, n_dims * sizeof(uint64_t));
}


ssize_t
gguf_writer_head(gguf_writer_t *w, void **out_new)
{
    uint32_t              version = GGUF_WRITE_VERSION;
    uint64_t              n;
    const gguf_wtensor_t *t;
    buf_t                 out = {0};
    size_t                i;

    n = gguf_writer_keys(w);
    gguf_writer_count(w);

    if (w->bytes.failed) {
        gguf_writer_fail(w, -ENOMEM);
    }

    if (w->end > GGUF_SOURCE_MAX || n > GGUF_MAX_KV) {
        gguf_writer_fail(w, -EINVAL);
    }

    if (w->rc < 0) {
        return w->rc;
    }

    buf_add(&out, "GGUF", 4);
    buf_add(&out, &version, 4);
    buf_add(&out, &(uint64_t){w->n_tensors}, 8);
    buf_add(&out, &n, 8);

    for (i = 0; i < w->n_keys; i++) {
        if (!w->keys[i].is_dead) {
            buf_add(&out, w->bytes.data + w->keys[i].at, w->keys[i].len);
        }
    }

    for (i = 0; i < w->n_tensors; i++) {
        t = &w->tensors[i];
        n = strlen(t->name);

        buf_add(&out, &n, 8);
        buf_add(&out, t->name, n);
        buf_add(&out, &t->n_dims, 4);
        buf_add(&out, t->dims, t->n_dims * sizeof(uint64_t));
        buf_add(&out, &t->type, 4);
        buf_add(&out, &t->offset, 8);
    }

    gguf_pad(&out, w->align);

    if (out.failed) {
        buf_free(&out);
        return gguf_writer_fail(w, -ENOMEM);
    }

    *out_new = out.data;

    return (ssize_t) out.len;
}


uint64_t
gguf_writer_offset(const gguf_writer_t *w, size_t i)
{
    return w->tensors[i].offset;
}


static void
gguf_put(gguf_writer_t *w, const char *key, size_t key_len, uint32_t type,
         const void *value, size_t size)
{
    gguf_wkey_t *k = gguf_put_begin(w, key, key_len, type);

    buf_add(&w->bytes, value, size);
    gguf_put_end(w, k);
}


static void
gguf_put_arr(gguf_writer_t *w, const char *key, uint32_t type, const void *v,
             size_t n)
{
    gguf_wkey_t *k = gguf_put_begin(w, key, strlen(key), GGUF_ARR);
    uint64_t     len = n;

    buf_add(&w->bytes, &type, 4);
    buf_add(&w->bytes, &len, 8);
    buf_add(&w->bytes, v, n * gguf_value_size[type]);
    gguf_put_end(w, k);
}


/* The value's bytes follow, then gguf_put_end(); NULL: an error, noted. */
static gguf_wkey_t *
gguf_put_begin(gguf_writer_t *w, const char *key, size_t key_len, uint32_t type)
{
    gguf_wkey_t *k;
    gguf_str_t   s = {key, key_len};
    uint64_t     len = key_len;

    if (!gguf_is_name(&s, GGUF_MAX_KEY)) {
        gguf_writer_fail(w, -EINVAL);
        return NULL;
    }

    if (gguf_grow(&w->keys, &w->cap_keys, w->n_keys, sizeof(*k)) < 0) {
        gguf_writer_fail(w, -ENOMEM);
        return NULL;
    }

    k = &w->keys[w->n_keys];
    *k = (gguf_wkey_t){.at = w->bytes.len,
                       .key_len = key_len,
                       .i = (uint32_t) w->n_keys};

    buf_add(&w->bytes, &len, 8);
    buf_add(&w->bytes, key, key_len);
    buf_add(&w->bytes, &type, 4);

    return k;
}


static void
gguf_put_end(gguf_writer_t *w, gguf_wkey_t *k)
{
    if (k == NULL) {
        return;
    }

    k->len = w->bytes.len - k->at;
    w->n_keys++;
}


static int
gguf_writer_fail(gguf_writer_t *w, int rc)
{
    if (w->rc == 0) {
        w->rc = rc;
    }

    return rc;
}


/* Room for element n of *(void **) array; -ENOMEM. */
static int
gguf_grow(void *array, size_t *cap, size_t n, size_t size)
{
    size_t more;
    void  *p;

    if (n < *cap) {
        return 0;
    }

    more = *cap ? *cap * 2 : 64;

    memcpy(&p, array, sizeof(p));
    p = realloc(p, more * size);

    if (p == NULL) {
        return -ENOMEM;
    }

    memcpy(array, &p, sizeof(p));
    *cap = more;

    return 0;
}


/* Of equal keys the last one lives; returns how many do. */
static size_t
gguf_writer_keys(gguf_writer_t *w)
{
    static const char align[] = "general.alignment";
    gguf_wkey_t      *k;
    size_t            i, n = 0;

    if (w->bytes.failed || w->n_keys == 0) {
        return 0;
    }

    qsort_r(w->keys, w->n_keys, sizeof(gguf_wkey_t), gguf_wkey_cmp, w);

    for (i = 0; i < w->n_keys; i++) {
        k = &w->keys[i];
        k->is_dead = i + 1 < w->n_keys && gguf_wkey_same(w, k, k + 1);
        n += !k->is_dead;
    }

    qsort(w->keys, w->n_keys, sizeof(gguf_wkey_t), gguf_wkey_order);

    for (i = 0; i < w->n_keys; i++) {
        k = &w->keys[i];

        /* Data is placed as the key says, which must be a u32 here. */
        if (!k->is_dead && k->key_len == sizeof(align) - 1
            && memcmp(w->bytes.data + k->at + 8, align, k->key_len) == 0) {
            uint32_t type, v = 0;

            memcpy(&type, w->bytes.data + k->at + 8 + k->key_len, 4);

            if (type == GGUF_U32) {
                memcpy(&v, w->bytes.data + k->at + 12 + k->key_len, 4);
            }

            if (v < 8 || v > GGUF_MAX_ALIGN || (v & (v - 1))) {
                gguf_writer_fail(w, -EINVAL);
                continue;
            }

            w->align = v;
        }
    }

    return n;
}


static void
gguf_writer_count(gguf_writer_t *w)
{
    gguf_wtensor_t *t;
    size_t          i;

    w->end = 0;

    for (i = 0; i < w->n_tensors && w->end <= GGUF_SOURCE_MAX; i++) {
        t = &w->tensors[i];
        t->offset = w->end;
        w->end += (t->size + w->align - 1) & -(uint64_t) w->align;
    }
}


static int
gguf_wkey_cmp(const void *a, const void *b, void *writer)
{
    const gguf_writer_t *w = writer;
    const gguf_wkey_t   *x = a, *y = b;
    size_t               n = x->key_len < y->key_len ? x->key_len : y->key_len;
    int                  rc;

    rc = memcmp(w->bytes.data + x->at + 8, w->bytes.data + y->at + 8, n);

    if (rc == 0) {
        rc = (x->key_len > y->key_len) - (x->key_len < y->key_len);
    }

    return rc ? rc : (x->i > y->i) - (x->i < y->i);
}


static int
gguf_wkey_order(const void *a, const void *b)
{
    const gguf_wkey_t *x = a, *y = b;

    return (x->i > y->i) - (x->i < y->i);
}


static int
gguf_wkey_same(const gguf_writer_t *w, const gguf_wkey_t *a,
               const gguf_wkey_t *b)
{
    return a->key_len == b->key_len
           && memcmp(w->bytes.data + a->at + 8, w->bytes.data + b->at + 8,
                     a->key_len)
                  == 0;
}


static void
gguf_pad(buf_t *b, size_t align)
{
    char  *p;
    size_t n = -b->len & (align - 1);

    p = buf_room(b, n);
    if (p) {
        memset(p, 0, n);
        b->len += n;
    }
}
