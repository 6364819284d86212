/*
 * safetensors reader: see safetensors.h for the format and what is promised.
 *
 * The header's JSON makes a table of tensors, which is sorted by data and
 * then must cover the data from its first byte to its last.  Loader threads;
 * owns its mapping (unless the caller's memory is read), the table and the
 * names.
 */

#include "engine/model/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>


_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values are read in place");

struct st_file_s {
    const uint8_t *base;
    size_t         size;
    bool           mapped;
    json_t        *head; /* holds the names */
    st_tensor_t   *tensors;
    size_t         n;
};

typedef struct {
    st_file_t     *f;
    const uint8_t *data;
    uint64_t       data_size;
    char          *err;
    size_t         err_size;
} st_parse_t;

static const struct {
    const char *name;
    uint32_t    size;
} st_dtypes[ST_DTYPES] = {
    [ST_BOOL] = {"BOOL", 1},       [ST_U8] = {"U8", 1},
    [ST_I8] = {"I8", 1},           [ST_F8_E5M2] = {"F8_E5M2", 1},
    [ST_F8_E4M3] = {"F8_E4M3", 1}, [ST_F8_E8M0] = {"F8_E8M0", 1},
    [ST_I16] = {"I16", 2},         [ST_U16] = {"U16", 2},
    [ST_F16] = {"F16", 2},         [ST_BF16] = {"BF16", 2},
    [ST_I32] = {"I32", 4},         [ST_U32] = {"U32", 4},
    [ST_F32] = {"F32", 4},         [ST_F64] = {"F64", 8},
    [ST_I64] = {"I64", 8},         [ST_U64] = {"U64", 8},
};


static int st_fail(st_parse_t *p, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int  st_parse(st_parse_t *p);
static int  st_parse_tensor(st_parse_t *p, const char *name, json_t *info,
                            st_tensor_t *t);
static int  st_parse_shape(st_parse_t *p, json_t *shape, st_tensor_t *t);
static int  st_parse_place(st_parse_t *p, json_t *offsets, st_tensor_t *t);
static int  st_check_cover(st_parse_t *p);
static bool st_is_name(const char *s, size_t len);
static int  st_data_cmp(const void *a, const void *b);


int
st_open_fd(int fd_borrow, st_file_t **out_new, char *err, size_t err_size)
{
    st_parse_t  p = {.err = err, .err_size = err_size};
    struct stat st;
    void       *map;
    int         rc;

    if (fstat(fd_borrow, &st) != 0) {
        return st_fail(&p, -errno, "stat: %s", strerror(errno));
    }

    if (!S_ISREG(st.st_mode)) {
        return st_fail(&p, -EINVAL, "not a regular file");
    }

    if (st.st_size < 10) {
        return st_fail(&p, -EINVAL, "too short for a safetensors file");
    }

    map = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd_borrow, 0);
    if (map == MAP_FAILED) {
        return st_fail(&p, -errno, "mmap: %s", strerror(errno));
    }

    rc = st_open_mem(map, (size_t) st.st_size, out_new, err, err_size);
    if (rc != 0) {
        munmap(map, (size_t) st.st_size);
        return rc;
    }

    (*out_new)->mapped = true;
    return 0;
}


int
st_open_mem(const void *data_borrow, size_t size, st_file_t **out_new,
            char *err, size_t err_size)
{
    st_parse_t p = {.err = err, .err_size = err_size};
    int        rc;

    p.f = calloc(1, sizeof(st_file_t));
    if (p.f == NULL) {
        return st_fail(&p, -ENOMEM, "no memory");
    }

    p.f->base = data_borrow;
    p.f->size = size;

    rc = st_parse(&p);
    if (rc != 0) {
        st_close(p.f);
        return rc;
    }

    *out_new = p.f;
    return 0;
}


void
st_close(st_file_t *f_take)
{
    if (f_take == NULL) {
        return;
    }

    if (f_take->mapped) {
        munmap((void *) f_take->base, f_take->size);
    }

    json_decref(f_take->head);
    free(f_take->tensors);
    free(f_take);
}


size_t
st_n(const st_file_t *f)
{
    return f->n;
}


const st_tensor_t *
st_at(const st_file_t *f, size_t i)
{
    return &f->tensors[i];
}


void
st_drop(const st_file_t *f, const uint8_t *p, uint64_t n)
{
    uintptr_t page, from, to;

    if (!f->mapped) {
        return;
    }

    page = (uintptr_t) sysconf(_SC_PAGESIZE);
    from = ((uintptr_t) p + page - 1) & -page;
    to = ((uintptr_t) p + n) & -page;

    if (from < to) {
        madvise((void *) from, to - from, MADV_DONTNEED);
    }
}


const char *
st_dtype_name(st_dtype_t t)
{
    return st_dtypes[t].name;
}


uint32_t
st_dtype_size(st_dtype_t t)
{
    return st_dtypes[t].size;
}


static int
st_fail(st_parse_t *p, int rc, const char *fmt, ...)
{
    va_list ap;

    if (p->err_size > 0) {
        va_start(ap, fmt);
        vsnprintf(p->err, p->err_size, fmt, ap);
        va_end(ap);
    }

    return rc;
}


static int
st_parse(st_parse_t *p)
{
    json_error_t je;
    const char  *name;
    st_file_t   *f = p->f;
    uint64_t     n;
    json_t      *info;
    int          rc;

    if (f->size < 10) {
        return st_fail(p, -EINVAL, "too short for a safetensors file");
    }

    memcpy(&n, f->base, 8);

    if (n > ST_MAX_HEADER || n > f->size - 8 || f->base[8] != '{') {
        return st_fail(p, -EINVAL, "not a safetensors file, or cut short");
    }

    p->data = f->base + 8 + n;
    p->data_size = f->size - 8 - n;

    f->head = json_loadb((const char *) f->base + 8, (size_t) n,
                         JSON_REJECT_DUPLICATES, &je);
    if (f->head == NULL) {
        return st_fail(p, -EINVAL, "header: broken JSON at byte %d",
                       je.position);
    }

    if (json_object_size(f->head) > ST_MAX_TENSORS) {
        return st_fail(p, -EINVAL, "too many tensors");
    }

    f->tensors = calloc(json_object_size(f->head) + 1, sizeof(st_tensor_t));
    if (f->tensors == NULL) {
        return st_fail(p, -ENOMEM, "no memory");
    }

    json_object_foreach(f->head, name, info)
    {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }

        rc = st_parse_tensor(p, name, info, &f->tensors[f->n]);
        if (rc != 0) {
            return rc;
        }

        f->n++;
    }

    return st_check_cover(p);
}


static int
st_parse_tensor(st_parse_t *p, const char *name, json_t *info, st_tensor_t *t)
{
    const char *dtype;
    int         i, rc;

    if (!st_is_name(name, strlen(name))) {
        return st_fail(p, -EINVAL, "bad tensor name");
    }

    t->name = name;

    dtype = json_string_value(json_object_get(info, "dtype"));
    if (dtype == NULL) {
        return st_fail(p, -EINVAL, "tensor '%s': no dtype", name);
    }

    for (i = 0; i < ST_DTYPES && strcmp(st_dtypes[i].name, dtype) != 0; i++) {
        /* void */
    }

    if (i == ST_DTYPES) {
        return st_fail(p, -ENOTSUP, "tensor '%s': dtype %.16s", name,
                       st_is_name(dtype, strlen(dtype)) ? dtype : "unknown");
    }

    t->dtype = (st_dtype_t) i;

    rc = st_parse_shape(p, json_object_get(info, "shape"), t);

    return rc ? rc
              : st_parse_place(p, json_object_get(info, "data_offsets"), t);
}


static int
st_parse_shape(st_parse_t *p, json_t *shape, st_tensor_t *t)
{
    uint64_t most = p->data_size / st_dtypes[t->dtype].size;
    json_t  *d;
    size_t   i;

    if (!json_is_array(shape) || json_array_size(shape) > ST_MAX_DIMS) {
        return st_fail(p, -EINVAL, "tensor '%s': bad shape", t->name);
    }

    t->n_dims = (uint32_t) json_array_size(shape);
    t->elems = 1;

    json_array_foreach(shape, i, d)
    {
        if (!json_is_integer(d) || json_integer_value(d) < 0) {
            return st_fail(p, -EINVAL, "tensor '%s': bad shape", t->name);
        }

        t->dims[i] = (uint64_t) json_integer_value(d);

        if (t->dims[i] && t->elems > most / t->dims[i]) {
            return st_fail(p, -EINVAL, "tensor '%s': exceeds the file",
                           t->name);
        }

        t->elems *= t->dims[i];
    }

    /* Of a scalar in a file without data. */
    if (t->elems > most) {
        return st_fail(p, -EINVAL, "tensor '%s': exceeds the file", t->name);
    }

    t->size = t->elems * st_dtypes[t->dtype].size;

    return 0;
}


static int
st_parse_place(st_parse_t *p, json_t *offsets, st_tensor_t *t)
{
    json_t    *from = json_array_get(offsets, 0), *to;
    json_int_t a, b;

    to = json_array_get(offsets, 1);

    if (json_array_size(offsets) != 2 || !json_is_integer(from)
        || !json_is_integer(to)) {
        return st_fail(p, -EINVAL, "tensor '%s': bad offsets", t->name);
    }

    a = json_integer_value(from);
    b = json_integer_value(to);

    if (a < 0 || b < a || (uint64_t) b > p->data_size) {
        return st_fail(p, -EINVAL, "tensor '%s': exceeds the file", t->name);
    }

    if ((uint64_t) (b - a) != t->size) {
        return st_fail(p, -EINVAL,
                       "tensor '%s': its bytes are not those of its shape",
                       t->name);
    }

    t->data = p->data + a;

    return 0;
}


static int
st_check_cover(st_parse_t *p)
{
    const uint8_t *at = p->data;
    st_file_t     *f = p->f;
    size_t         i;

    qsort(f->tensors, f->n, sizeof(st_tensor_t), st_data_cmp);

    for (i = 0; i < f->n; i++) {
        if (f->tensors[i].data != at) {
            return st_fail(p, -EINVAL, "tensor '%s' overlaps, or data is lost",
                           f->tensors[i].name);
        }

        at += f->tensors[i].size;
    }

    if (at != p->data + p->data_size) {
        return st_fail(p, -EINVAL, "data that no tensor has");
    }

    return 0;
}


/* Names go into messages: no control characters. */
static bool
st_is_name(const char *s, size_t len)
{
    size_t i;

    if (len == 0 || len > ST_MAX_NAME) {
        return false;
    }

    for (i = 0; i < len; i++) {
        if ((uint8_t) s[i] < 0x20 || s[i] == 0x7f) {
            return false;
        }
    }

    return true;
}


/* Empty tensors first of those at one place. */
static int
st_data_cmp(const void *a, const void *b)
{
    const st_tensor_t *x = a, *y = b;

    if (x->data != y->data) {
        return x->data > y->data ? 1 : -1;
    }

    return (x->size > y->size) - (x->size < y->size);
}
