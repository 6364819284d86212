/*
 * GGUF metadata: typed look-ups in the parsed table of keys, see gguf.h.
 *
 * Pure functions over an immutable gguf_t: any thread.
 */

#include "engine/model/gguf_priv.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <stdlib.h>


static const gguf_kv_t *gguf_kv_find(const gguf_t *g, const char *key);
static int              gguf_int(uint32_t type, const uint8_t *p, int64_t *out,
                                 bool *is_big);
static int     gguf_scalar(const gguf_t *g, const char *key, int64_t *out,
                           bool *is_big);
static int     gguf_float(uint32_t type, const uint8_t *p, float *out);
static ssize_t gguf_array(const gguf_t *g, const char *key,
                          const gguf_kv_t **out);


static const gguf_kv_t *
gguf_kv_find(const gguf_t *g, const char *key)
{
    gguf_kv_t want;

    want.key.data = key;
    want.key.len = strlen(key);

    return bsearch(&want, g->kv, g->n_kv, sizeof(gguf_kv_t), gguf_kv_cmp);
}


int
gguf_kv_cmp(const void *a, const void *b)
{
    const gguf_kv_t *x = a, *y = b;
    size_t           n;
    int              rc;

    n = x->key.len < y->key.len ? x->key.len : y->key.len;
    rc = memcmp(x->key.data, y->key.data, n);

    if (rc != 0) {
        return rc;
    }

    return (x->key.len > y->key.len) - (x->key.len < y->key.len);
}


/* *is_big: the value is a u64 beyond the range of i64. */
static int
gguf_int(uint32_t type, const uint8_t *p, int64_t *out, bool *is_big)
{
    uint16_t u16;
    int16_t  i16;
    uint32_t u32;
    int32_t  i32;

    *is_big = false;

    switch (type) {
    case GGUF_U8:
        *out = *p;
        return 0;

    case GGUF_I8:
        *out = (int8_t) *p;
        return 0;

    case GGUF_U16:
        memcpy(&u16, p, 2);
        *out = u16;
        return 0;

    case GGUF_I16:
        memcpy(&i16, p, 2);
        *out = i16;
        return 0;

    case GGUF_U32:
        memcpy(&u32, p, 4);
        *out = u32;
        return 0;

    case GGUF_I32:
        memcpy(&i32, p, 4);
        *out = i32;
        return 0;

    case GGUF_U64:
        memcpy(out, p, 8);
        *is_big = *out < 0;
        return 0;

    case GGUF_I64:
        memcpy(out, p, 8);
        return 0;

    default:
        return -EINVAL;
    }
}


static int
gguf_scalar(const gguf_t *g, const char *key, int64_t *out, bool *is_big)
{
    const gguf_kv_t *kv;

    kv = gguf_kv_find(g, key);
    if (kv == NULL) {
        return -ENOENT;
    }

    return kv->array ? -EINVAL : gguf_int(kv->type, kv->data, out, is_big);
}


int
gguf_get_u32(const gguf_t *g, const char *key, uint32_t *out)
{
    int64_t v;
    bool    is_big;
    int     rc;

    rc = gguf_scalar(g, key, &v, &is_big);
    if (rc != 0) {
        return rc;
    }

    if (v < 0 || v > UINT32_MAX) {
        return -EINVAL;
    }

    *out = (uint32_t) v;
    return 0;
}


int
gguf_get_u64(const gguf_t *g, const char *key, uint64_t *out)
{
    int64_t v;
    bool    is_big;
    int     rc;

    rc = gguf_scalar(g, key, &v, &is_big);
    if (rc != 0) {
        return rc;
    }

    if (v < 0 && !is_big) {
        return -EINVAL;
    }

    *out = (uint64_t) v;
    return 0;
}


int
gguf_get_i32(const gguf_t *g, const char *key, int32_t *out)
{
    int64_t v;
    bool    is_big;
    int     rc;

    rc = gguf_scalar(g, key, &v, &is_big);
    if (rc != 0) {
        return rc;
    }

    if (is_big || v < INT32_MIN || v > INT32_MAX) {
        return -EINVAL;
    }

    *out = (int32_t) v;
    return 0;
}


static int
gguf_float(uint32_t type, const uint8_t *p, float *out)
{
    double  d;
    int64_t v;
    bool    is_big;
    int     rc;

    switch (type) {
    case GGUF_F32:
        memcpy(out, p, 4);
        return 0;

    case GGUF_F64:
        memcpy(&d, p, 8);

        if (isfinite(d) && fabs(d) > 3.4028234663852886e38) {
            return -EINVAL;
        }

        *out = (float) d;
        return 0;

    default:
        rc = gguf_int(type, p, &v, &is_big);
        if (rc != 0 || is_big) {
            return -EINVAL;
        }

        *out = (float) v;
        return 0;
    }
}


int
gguf_get_f32(const gguf_t *g, const char *key, float *out)
{
    const gguf_kv_t *kv;

    kv = gguf_kv_find(g, key);
    if (kv == NULL) {
        return -ENOENT;
    }

    return kv->array ? -EINVAL : gguf_float(kv->type, kv->data, out);
}


int
gguf_get_bool(const gguf_t *g, const char *key, bool *out)
{
    const gguf_kv_t *kv;
    int64_t          v;
    bool             is_big;

    kv = gguf_kv_find(g, key);
    if (kv == NULL) {
        return -ENOENT;
    }

    if (kv->array) {
        return -EINVAL;
    }

    if (kv->type == GGUF_BOOL) {
        *out = *kv->data != 0;
        return 0;
    }

    if (gguf_int(kv->type, kv->data, &v, &is_big) != 0 || v < 0 || v > 1) {
        return -EINVAL;
    }

    *out = v != 0;
    return 0;
}


int
gguf_get_str(const gguf_t *g, const char *key, gguf_str_t *out)
{
    const gguf_kv_t *kv;
    uint64_t         len;

    kv = gguf_kv_find(g, key);
    if (kv == NULL) {
        return -ENOENT;
    }

    if (kv->array || kv->type != GGUF_STR) {
        return -EINVAL;
    }

    memcpy(&len, kv->data, 8);
    out->data = (const char *) kv->data + 8;
    out->len = (size_t) len;

    return 0;
}


static ssize_t
gguf_array(const gguf_t *g, const char *key, const gguf_kv_t **out)
{
    const gguf_kv_t *kv;

    kv = gguf_kv_find(g, key);
    if (kv == NULL) {
        return -ENOENT;
    }

    if (!kv->array) {
        return -EINVAL;
    }

    *out = kv;
    return (ssize_t) kv->n;
}


ssize_t
gguf_get_arr_str(const gguf_t *g, const char *key, gguf_str_t *out, size_t cap)
{
    const gguf_kv_t *kv;
    const uint8_t   *p;
    uint64_t         len;
    ssize_t          n;
    size_t           i;

    n = gguf_array(g, key, &kv);
    if (n < 0) {
        return n;
    }

    if (kv->type != GGUF_STR) {
        return -EINVAL;
    }

    p = kv->data;

    for (i = 0; i < cap && i < (size_t) n; i++) {
        memcpy(&len, p, 8);
        out[i].data = (const char *) p + 8;
        out[i].len = (size_t) len;
        p += 8 + len;
    }

    return n;
}


ssize_t
gguf_get_arr_i32(const gguf_t *g, const char *key, int32_t *out, size_t cap)
{
    const gguf_kv_t *kv;
    int64_t          v;
    ssize_t          n;
    size_t           i;
    bool             is_big;

    n = gguf_array(g, key, &kv);
    if (n < 0) {
        return n;
    }

    if (kv->type == GGUF_STR || kv->type == GGUF_F32 || kv->type == GGUF_F64) {
        return -EINVAL;
    }

    for (i = 0; i < cap && i < (size_t) n; i++) {
        if (kv->type == GGUF_BOOL) {
            out[i] = kv->data[i] != 0;
            continue;
        }

        if (gguf_int(kv->type, kv->data + i * gguf_value_size[kv->type], &v,
                     &is_big)
                != 0
            || is_big || v < INT32_MIN || v > INT32_MAX) {
            return -EINVAL;
        }

        out[i] = (int32_t) v;
    }

    return n;
}


ssize_t
gguf_get_arr_f32(const gguf_t *g, const char *key, float *out, size_t cap)
{
    const gguf_kv_t *kv;
    ssize_t          n;
    size_t           i;

    n = gguf_array(g, key, &kv);
    if (n < 0) {
        return n;
    }

    if (kv->type == GGUF_STR || kv->type == GGUF_BOOL) {
        return -EINVAL;
    }

    for (i = 0; i < cap && i < (size_t) n; i++) {
        if (gguf_float(kv->type, kv->data + i * gguf_value_size[kv->type],
                       &out[i])
            != 0) {
            return -EINVAL;
        }
    }

    return n;
}
