/*
 * GGUF: the parser of a file's head, see gguf.h for the format and what is
 * promised.
 *
 * One pass over the head fills a table of keys and one of tensors; each has an
 * index sorted by name, for duplicates and for look-ups.  Nothing is believed
 * before it is held against what is left of the file.  Loader threads.
 */

#include "engine/model/gguf_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


const uint8_t gguf_value_size[GGUF_VALUE_TYPES] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2,
    [GGUF_U32] = 4, [GGUF_I32] = 4,  [GGUF_F32] = 4, [GGUF_BOOL] = 1,
    [GGUF_STR] = 8, [GGUF_ARR] = 12, [GGUF_U64] = 8, [GGUF_I64] = 8,
    [GGUF_F64] = 8,
};

/* A tensor's place in the data section. */
typedef struct {
    uint64_t offset;
    uint64_t size;
    uint32_t tensor;
} gguf_place_t;


static int  gguf_parse_kvs(gguf_t *g, gguf_cur_t *c);
static int  gguf_parse_value(gguf_cur_t *c, gguf_kv_t *kv);
static int  gguf_parse_array(gguf_cur_t *c, gguf_kv_t *kv);
static int  gguf_check_bools(gguf_cur_t *c, const gguf_kv_t *kv);
static int  gguf_check_keys(gguf_t *g, gguf_cur_t *c);
static int  gguf_parse_infos(gguf_t *g, gguf_cur_t *c, uint64_t *offsets);
static int  gguf_parse_info(gguf_cur_t *c, gguf_tensor_t *t, gguf_str_t *name,
                            uint64_t *offset);
static int  gguf_tensor_size(gguf_cur_t *c, gguf_tensor_t *t);
static int  gguf_place(gguf_t *g, gguf_cur_t *c, const uint64_t *offsets);
static int  gguf_check_overlap(gguf_t *g, gguf_cur_t *c,
                               const uint64_t *offsets);
static int  gguf_check_names(gguf_t *g, gguf_cur_t *c);
static bool gguf_take(gguf_cur_t *c, void *out, size_t n);
static bool gguf_take_str(gguf_cur_t *c, gguf_str_t *s);
static int  gguf_name_cmp(const void *a, const void *b, void *tensors);
static int  gguf_place_cmp(const void *a, const void *b);


int
gguf_fail(gguf_cur_t *c, int rc, const char *fmt, ...)
{
    va_list ap;

    if (c->err_size > 0) {
        va_start(ap, fmt);
        vsnprintf(c->err, c->err_size, fmt, ap);
        va_end(ap);
    }

    return rc;
}


int
gguf_parse(gguf_t *g, gguf_cur_t *c)
{
    char     magic[4];
    uint32_t version;
    uint64_t n_tensors, n_kv, *offsets;
    int      rc;

    if (!gguf_take(c, magic, 4) || memcmp(magic, "GGUF", 4) != 0) {
        return gguf_fail(c, -EINVAL, "not a GGUF file");
    }

    if (!gguf_take(c, &version, 4) || !gguf_take(c, &n_tensors, 8)
        || !gguf_take(c, &n_kv, 8)) {
        return gguf_fail(c, -EINVAL, "truncated head");
    }

    if ((version & 0xffff) == 0) {
        return gguf_fail(c, -ENOTSUP, "big-endian GGUF is not supported");
    }

    if (version != 2 && version != 3) {
        return gguf_fail(c, -ENOTSUP, "GGUF version %u is not supported",
                         version);
    }

    /* The smallest key takes 14 bytes, the smallest tensor 33. */

    if (n_kv > GGUF_MAX_KV || n_kv > c->left / 14) {
        return gguf_fail(c, -EINVAL, "impossible number of keys");
    }

    if (n_tensors > GGUF_MAX_TENSORS || n_tensors > c->left / 33) {
        return gguf_fail(c, -EINVAL, "impossible number of tensors");
    }

    g->n_kv = (size_t) n_kv;
    g->n_tensors = (size_t) n_tensors;

    g->kv = calloc(g->n_kv + 1, sizeof(gguf_kv_t));
    g->tensors = calloc(g->n_tensors + 1, sizeof(gguf_tensor_t));
    g->by_name = calloc(g->n_tensors + 1, sizeof(uint32_t));
    offsets = calloc(g->n_tensors + 1, sizeof(uint64_t));

    if (!g->kv || !g->tensors || !g->by_name || !offsets) {
        free(offsets);
        return gguf_fail(c, -ENOMEM, "no memory");
    }

    rc = gguf_parse_kvs(g, c);

    if (rc == 0) {
        rc = gguf_parse_infos(g, c, offsets);
    }

    if (rc == 0) {
        rc = gguf_place(g, c, offsets);
    }

    free(offsets);
    return rc;
}


static int
gguf_parse_kvs(gguf_t *g, gguf_cur_t *c)
{
    gguf_kv_t *kv;
    size_t     i;
    int        rc;

    for (i = 0; i < g->n_kv; i++) {
        kv = &g->kv[i];

        if (!gguf_take_str(c, &kv->key)) {
            return gguf_fail(c, -EINVAL, "key %zu: truncated", i);
        }

        if (!gguf_is_name(&kv->key, GGUF_MAX_KEY)) {
            return gguf_fail(c, -EINVAL, "key %zu: bad name", i);
        }

        rc = gguf_parse_value(c, kv);
        if (rc != 0) {
            return rc;
        }
    }

    return gguf_check_keys(g, c);
}


static int
gguf_parse_value(gguf_cur_t *c, gguf_kv_t *kv)
{
    gguf_str_t s;

    if (!gguf_take(c, &kv->type, 4)) {
        return gguf_fail(c, -EINVAL, "key '%.*s': truncated", (int) kv->key.len,
                         kv->key.data);
    }

    if (kv->type >= GGUF_VALUE_TYPES) {
        return gguf_fail(c, -EINVAL, "key '%.*s': unknown type %u",
                         (int) kv->key.len, kv->key.data, kv->type);
    }

    if (kv->type == GGUF_ARR) {
        return gguf_parse_array(c, kv);
    }

    kv->n = 1;
    kv->data = c->p;

    if (kv->type == GGUF_STR ? !gguf_take_str(c, &s)
                             : !gguf_take(c, NULL, gguf_value_size[kv->type])) {
        return gguf_fail(c, -EINVAL, "key '%.*s': truncated", (int) kv->key.len,
                         kv->key.data);
    }

    return gguf_check_bools(c, kv);
}


static int
gguf_parse_array(gguf_cur_t *c, gguf_kv_t *kv)
{
    gguf_str_t s;
    uint64_t   i;

    if (!gguf_take(c, &kv->type, 4) || !gguf_take(c, &kv->n, 8)) {
        return gguf_fail(c, -EINVAL, "key '%.*s': truncated", (int) kv->key.len,
                         kv->key.data);
    }

    if (kv->type >= GGUF_VALUE_TYPES || kv->type == GGUF_ARR) {
        return gguf_fail(c, -EINVAL, "key '%.*s': array of type %u",
                         (int) kv->key.len, kv->key.data, kv->type);
    }

    if (kv->n > c->left / gguf_value_size[kv->type]) {
        return gguf_fail(c, -EINVAL, "key '%.*s': array exceeds the file",
                         (int) kv->key.len, kv->key.data);
    }

    kv->array = true;
    kv->data = c->p;

    if (kv->type != GGUF_STR) {
        gguf_take(c, NULL, (size_t) kv->n * gguf_value_size[kv->type]);
        return gguf_check_bools(c, kv);
    }

    for (i = 0; i < kv->n; i++) {
        if (!gguf_take_str(c, &s)) {
            return gguf_fail(c, -EINVAL, "key '%.*s': string exceeds the file",
                             (int) kv->key.len, kv->key.data);
        }
    }

    return 0;
}


static int
gguf_check_bools(gguf_cur_t *c, const gguf_kv_t *kv)
{
    uint64_t i;

    if (kv->type != GGUF_BOOL) {
        return 0;
    }

    for (i = 0; i < kv->n; i++) {
        if (kv->data[i] > 1) {
            return gguf_fail(c, -EINVAL, "key '%.*s': bool is neither 0 nor 1",
                             (int) kv->key.len, kv->key.data);
        }
    }

    return 0;
}


/* Sorts the keys by name, which nobody needs in the file's order. */
static int
gguf_check_keys(gguf_t *g, gguf_cur_t *c)
{
    size_t i;

    qsort(g->kv, g->n_kv, sizeof(gguf_kv_t), gguf_kv_cmp);

    for (i = 1; i < g->n_kv; i++) {
        if (gguf_kv_cmp(&g->kv[i - 1], &g->kv[i]) == 0) {
            return gguf_fail(c, -EINVAL, "duplicate key '%.*s'",
                             (int) g->kv[i].key.len, g->kv[i].key.data);
        }
    }

    return 0;
}


/* Reads all tensor infos; a copy of their names gets terminators. */
static int
gguf_parse_infos(gguf_t *g, gguf_cur_t *c, uint64_t *offsets)
{
    const uint8_t *start;
    gguf_str_t     name;
    size_t         i;
    char          *p;
    int            rc;

    start = c->p;

    for (i = 0; i < g->n_tensors; i++) {
        rc = gguf_parse_info(c, &g->tensors[i], &name, &offsets[i]);
        if (rc != 0) {
            return rc;
        }
    }

    /* An info is longer than its name and a terminator. */

    g->names = malloc((size_t) (c->p - start) + 1);
    if (g->names == NULL) {
        return gguf_fail(c, -ENOMEM, "no memory");
    }

    p = g->names;

    for (i = 0; i < g->n_tensors; i++) {
        uint64_t len;

        memcpy(&len, g->tensors[i].name - 8, 8);
        memcpy(p, g->tensors[i].name, (size_t) len);
        g->tensors[i].name = p;
        p += len;
        *p++ = '\0';
    }

    return gguf_check_names(g, c);
}


/* Leaves t->name pointing into the file, behind its length. */
static int
gguf_parse_info(gguf_cur_t *c, gguf_tensor_t *t, gguf_str_t *name,
                uint64_t *offset)
{
    size_t i;

    if (!gguf_take_str(c, name) || !gguf_take(c, &t->n_dims, 4)) {
        return gguf_fail(c, -EINVAL, "truncated tensor info");
    }

    if (!gguf_is_name(name, GGUF_MAX_NAME)) {
        return gguf_fail(c, -EINVAL, "bad tensor name");
    }

    t->name = name->data;

    if (t->n_dims == 0 || t->n_dims > GGUF_MAX_DIMS) {
        return gguf_fail(c, -EINVAL, "tensor '%.*s': %u dimensions",
                         (int) name->len, name->data, t->n_dims);
    }

    for (i = 0; i < GGUF_MAX_DIMS; i++) {
        t->dims[i] = 1;
    }

    if (!gguf_take(c, t->dims, t->n_dims * sizeof(uint64_t))
        || !gguf_take(c, &t->type, 4) || !gguf_take(c, offset, 8)) {
        return gguf_fail(c, -EINVAL, "tensor '%.*s': truncated info",
                         (int) name->len, name->data);
    }

    return 0;
}


/* Byte size out of dims and type, each product bounded by the file's size. */
static int
gguf_tensor_size(gguf_cur_t *c, gguf_tensor_t *t)
{
    const gguf_type_t *type;
    uint64_t           blocks;
    size_t             i;

    type = gguf_type(t->type);

    if (type == NULL) {
        return gguf_fail(c, -ENOTSUP, "tensor '%s': unknown type %u", t->name,
                         t->type);
    }

    if (type->block_elems == 0) {
        return gguf_fail(c, -ENOTSUP, "tensor '%s': type %s was removed",
                         t->name, type->name);
    }

    if (t->dims[0] == 0 || t->dims[0] % type->block_elems != 0) {
        return gguf_fail(c, -EINVAL,
                         "tensor '%s': rows are not whole blocks of %s",
                         t->name, type->name);
    }

    blocks = t->dims[0] / type->block_elems;

    for (i = 1; i < GGUF_MAX_DIMS; i++) {
        if (t->dims[i] == 0 || blocks > c->left / t->dims[i]) {
            return gguf_fail(c, -EINVAL, "tensor '%s': exceeds the file",
                             t->name);
        }

        blocks *= t->dims[i];
    }

    if (blocks > c->left / type->block_bytes) {
        return gguf_fail(c, -EINVAL, "tensor '%s': exceeds the file", t->name);
    }

    t->size = blocks * type->block_bytes;
    return 0;
}


/* Finds the data section and puts the tensors into it. */
static int
gguf_place(gguf_t *g, gguf_cur_t *c, const uint64_t *offsets)
{
    gguf_tensor_t *t;
    uint32_t       align;
    uint64_t       pad;
    size_t         i;
    int            rc;

    align = 32;

    rc = gguf_get_u32(g, "general.alignment", &align);
    if (rc == -EINVAL || align < 8 || align > GGUF_MAX_ALIGN
        || (align & (align - 1)) != 0) {
        return gguf_fail(c, -EINVAL, "bad general.alignment");
    }

    if (g->n_tensors == 0) {
        return 0;
    }

    pad = -(uint64_t) (c->p - g->base) & (align - 1);

    if (!gguf_take(c, NULL, (size_t) pad)) {
        return gguf_fail(c, -EINVAL, "no data section");
    }

    if (g->source.rows) {
        c->left = GGUF_SOURCE_MAX;
    }

    for (i = 0; i < g->n_tensors; i++) {
        t = &g->tensors[i];

        rc = gguf_tensor_size(c, t);
        if (rc != 0) {
            return rc;
        }

        if ((offsets[i] & (align - 1)) != 0) {
            return gguf_fail(c, -EINVAL, "tensor '%s': offset not aligned",
                             t->name);
        }

        if (offsets[i] > c->left || t->size > c->left - offsets[i]) {
            return gguf_fail(c, -EINVAL, "tensor '%s': exceeds the file",
                             t->name);
        }

        if (g->source.rows == NULL) {
            t->data = c->p + offsets[i];
        }

        if (g->data_size < offsets[i] + t->size) {
            g->data_size = offsets[i] + t->size;
        }
    }

    return gguf_check_overlap(g, c, offsets);
}


static int
gguf_check_overlap(gguf_t *g, gguf_cur_t *c, const uint64_t *offsets)
{
    gguf_place_t *place;
    size_t        i;
    int           rc;

    place = malloc(g->n_tensors * sizeof(gguf_place_t));
    if (place == NULL) {
        return gguf_fail(c, -ENOMEM, "no memory");
    }

    for (i = 0; i < g->n_tensors; i++) {
        place[i].offset = offsets[i];
        place[i].size = g->tensors[i].size;
        place[i].tensor = (uint32_t) i;
    }

    qsort(place, g->n_tensors, sizeof(gguf_place_t), gguf_place_cmp);
    rc = 0;

    for (i = 1; i < g->n_tensors && rc == 0; i++) {
        if (place[i - 1].offset + place[i - 1].size > place[i].offset) {
            rc = gguf_fail(c, -EINVAL, "tensors '%s' and '%s' overlap",
                           g->tensors[place[i - 1].tensor].name,
                           g->tensors[place[i].tensor].name);
        }
    }

    free(place);
    return rc;
}


static int
gguf_check_names(gguf_t *g, gguf_cur_t *c)
{
    const char *a, *b;
    size_t      i;

    for (i = 0; i < g->n_tensors; i++) {
        g->by_name[i] = (uint32_t) i;
    }

    qsort_r(g->by_name, g->n_tensors, sizeof(uint32_t), gguf_name_cmp,
            g->tensors);

    for (i = 1; i < g->n_tensors; i++) {
        a = g->tensors[g->by_name[i - 1]].name;
        b = g->tensors[g->by_name[i]].name;

        if (strcmp(a, b) == 0) {
            return gguf_fail(c, -EINVAL, "duplicate tensor '%s'", a);
        }
    }

    return 0;
}


/* Consumes n bytes, into out unless that is NULL. */
static bool
gguf_take(gguf_cur_t *c, void *out, size_t n)
{
    if (n > c->left) {
        return false;
    }

    if (out != NULL) {
        memcpy(out, c->p, n);
    }

    c->p += n;
    c->left -= n;

    return true;
}


static bool
gguf_take_str(gguf_cur_t *c, gguf_str_t *s)
{
    uint64_t len;

    if (!gguf_take(c, &len, 8) || len > c->left) {
        return false;
    }

    s->data = (const char *) c->p;
    s->len = (size_t) len;

    return gguf_take(c, NULL, s->len);
}


/* Names go into messages: no control characters. */
bool
gguf_is_name(const gguf_str_t *s, size_t max)
{
    size_t i;

    if (s->len == 0 || s->len > max) {
        return false;
    }

    for (i = 0; i < s->len; i++) {
        if ((uint8_t) s->data[i] < 0x20 || s->data[i] == 0x7f) {
            return false;
        }
    }

    return true;
}


static int
gguf_name_cmp(const void *a, const void *b, void *tensors)
{
    const gguf_tensor_t *t = tensors;

    return strcmp(t[*(const uint32_t *) a].name, t[*(const uint32_t *) b].name);
}


static int
gguf_place_cmp(const void *a, const void *b)
{
    const gguf_place_t *x = a, *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}
