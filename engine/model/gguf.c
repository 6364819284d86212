/*
 * GGUF reader: see gguf.h for the format and what is promised.
 *
 * One pass over the head of the file fills a table of keys and one of
 * tensors; each has an index sorted by name, for duplicates and for look-ups.
 * Runs on a loader thread; owns its mapping (unless the caller's memory is
 * read), the two tables and the copies of the tensors' names.
 */

#include "engine/model/gguf_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>


const uint8_t gguf_value_size[GGUF_VALUE_TYPES] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2,
    [GGUF_U32] = 4, [GGUF_I32] = 4,  [GGUF_F32] = 4, [GGUF_BOOL] = 1,
    [GGUF_STR] = 8, [GGUF_ARR] = 12, [GGUF_U64] = 8, [GGUF_I64] = 8,
    [GGUF_F64] = 8,
};

static const gguf_type_t gguf_types[GGML_TYPES] = {
    [GGML_F32] = {"f32", 1, 4},
    [GGML_F16] = {"f16", 1, 2},
    [GGML_Q4_0] = {"q4_0", 32, 18},
    [GGML_Q4_1] = {"q4_1", 32, 20},
    [4] = {"q4_2", 0, 0},
    [5] = {"q4_3", 0, 0},
    [GGML_Q5_0] = {"q5_0", 32, 22},
    [GGML_Q5_1] = {"q5_1", 32, 24},
    [GGML_Q8_0] = {"q8_0", 32, 34},
    [GGML_Q8_1] = {"q8_1", 32, 36},
    [GGML_Q2_K] = {"q2_K", 256, 84},
    [GGML_Q3_K] = {"q3_K", 256, 110},
    [GGML_Q4_K] = {"q4_K", 256, 144},
    [GGML_Q5_K] = {"q5_K", 256, 176},
    [GGML_Q6_K] = {"q6_K", 256, 210},
    [GGML_Q8_K] = {"q8_K", 256, 292},
    [GGML_IQ2_XXS] = {"iq2_xxs", 256, 66},
    [GGML_IQ2_XS] = {"iq2_xs", 256, 74},
    [GGML_IQ3_XXS] = {"iq3_xxs", 256, 98},
    [GGML_IQ1_S] = {"iq1_s", 256, 50},
    [GGML_IQ4_NL] = {"iq4_nl", 32, 18},
    [GGML_IQ3_S] = {"iq3_s", 256, 110},
    [GGML_IQ2_S] = {"iq2_s", 256, 82},
    [GGML_IQ4_XS] = {"iq4_xs", 256, 136},
    [GGML_I8] = {"i8", 1, 1},
    [GGML_I16] = {"i16", 1, 2},
    [GGML_I32] = {"i32", 1, 4},
    [GGML_I64] = {"i64", 1, 8},
    [GGML_F64] = {"f64", 1, 8},
    [GGML_IQ1_M] = {"iq1_m", 256, 56},
    [GGML_BF16] = {"bf16", 1, 2},
    [31] = {"q4_0_4_4", 0, 0},
    [32] = {"q4_0_4_8", 0, 0},
    [33] = {"q4_0_8_8", 0, 0},
    [GGML_TQ1_0] = {"tq1_0", 256, 54},
    [GGML_TQ2_0] = {"tq2_0", 256, 66},
    [36] = {"iq4_nl_4_4", 0, 0},
    [37] = {"iq4_nl_4_8", 0, 0},
    [38] = {"iq4_nl_8_8", 0, 0},
    [GGML_MXFP4] = {"mxfp4", 32, 17},
    [GGML_NVFP4] = {"nvfp4", 64, 36},
    [GGML_Q1_0] = {"q1_0", 128, 18},
    [GGML_Q2_0] = {"q2_0", 64, 18},
};


/* Where parsing stands; left is what remains of the file. */
typedef struct {
    const uint8_t *p;
    size_t         left;
    char          *err;
    size_t         err_size;
} gguf_cur_t;


static int gguf_fail(gguf_cur_t *c, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int  gguf_parse(gguf_t *g, gguf_cur_t *c);
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
static int  gguf_check_overlap(gguf_t *g, gguf_cur_t *c);
static int  gguf_check_names(gguf_t *g, gguf_cur_t *c);
static bool gguf_take(gguf_cur_t *c, void *out, size_t n);
static bool gguf_take_str(gguf_cur_t *c, gguf_str_t *s);
static bool gguf_is_name(const gguf_str_t *s, size_t max);
static int  gguf_name_cmp(const void *a, const void *b, void *tensors);
static int  gguf_data_cmp(const void *a, const void *b, void *tensors);


int
gguf_open(const char *path, gguf_t **out_new, char *err, size_t err_size)
{
    gguf_cur_t c = {.err = err, .err_size = err_size};
    int        fd, rc;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return gguf_fail(&c, -errno, "open: %s", strerror(errno));
    }

    rc = gguf_open_fd(fd, out_new, err, err_size);
    close(fd);

    return rc;
}


int
gguf_open_fd(int fd_borrow, gguf_t **out_new, char *err, size_t err_size)
{
    gguf_cur_t  c = {.err = err, .err_size = err_size};
    struct stat st;
    void       *p;
    int         rc;

    if (fstat(fd_borrow, &st) != 0) {
        return gguf_fail(&c, -errno, "stat: %s", strerror(errno));
    }

    if (!S_ISREG(st.st_mode)) {
        return gguf_fail(&c, -EINVAL, "not a regular file");
    }

    if (st.st_size < 24) {
        return gguf_fail(&c, -EINVAL, "too short for a GGUF file");
    }

    p = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd_borrow, 0);
    if (p == MAP_FAILED) {
        return gguf_fail(&c, -errno, "mmap: %s", strerror(errno));
    }

    rc = gguf_open_mem(p, (size_t) st.st_size, out_new, err, err_size);
    if (rc != 0) {
        munmap(p, (size_t) st.st_size);
        return rc;
    }

    (*out_new)->mapped = true;
    return 0;
}


int
gguf_open_mem(const void *data_borrow, size_t size, gguf_t **out_new, char *err,
              size_t err_size)
{
    gguf_cur_t c = {
        .p = data_borrow, .left = size, .err = err, .err_size = err_size};
    gguf_t *g;
    int     rc;

    g = calloc(1, sizeof(gguf_t));
    if (g == NULL) {
        return gguf_fail(&c, -ENOMEM, "no memory");
    }

    g->base = data_borrow;
    g->size = size;

    rc = gguf_parse(g, &c);
    if (rc != 0) {
        gguf_close(g);
        return rc;
    }

    *out_new = g;
    return 0;
}


void
gguf_close(gguf_t *g_take)
{
    if (g_take == NULL) {
        return;
    }

    if (g_take->mapped) {
        munmap((void *) g_take->base, g_take->size);
    }

    free(g_take->kv);
    free(g_take->tensors);
    free(g_take->by_name);
    free(g_take->names);
    free(g_take);
}


uint64_t
gguf_file_size(const gguf_t *g)
{
    return g->size;
}


static int
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


static int
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

        t->data = c->p + offsets[i];
    }

    return gguf_check_overlap(g, c);
}


static int
gguf_check_overlap(gguf_t *g, gguf_cur_t *c)
{
    const gguf_tensor_t *a, *b;
    uint32_t            *order;
    size_t               i;
    int                  rc;

    order = malloc(g->n_tensors * sizeof(uint32_t));
    if (order == NULL) {
        return gguf_fail(c, -ENOMEM, "no memory");
    }

    for (i = 0; i < g->n_tensors; i++) {
        order[i] = (uint32_t) i;
    }

    qsort_r(order, g->n_tensors, sizeof(uint32_t), gguf_data_cmp, g->tensors);
    rc = 0;

    for (i = 1; i < g->n_tensors && rc == 0; i++) {
        a = &g->tensors[order[i - 1]];
        b = &g->tensors[order[i]];

        if ((const uint8_t *) a->data + a->size > (const uint8_t *) b->data) {
            rc = gguf_fail(c, -EINVAL, "tensors '%s' and '%s' overlap", a->name,
                           b->name);
        }
    }

    free(order);
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
static bool
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
gguf_data_cmp(const void *a, const void *b, void *tensors)
{
    const gguf_tensor_t *t = tensors;
    uintptr_t            x, y;

    x = (uintptr_t) t[*(const uint32_t *) a].data;
    y = (uintptr_t) t[*(const uint32_t *) b].data;

    return (x > y) - (x < y);
}


size_t
gguf_tensor_n(const gguf_t *g)
{
    return g->n_tensors;
}


const gguf_tensor_t *
gguf_tensor_at(const gguf_t *g, size_t i)
{
    return &g->tensors[i];
}


const gguf_tensor_t *
gguf_tensor_find(const gguf_t *g, const char *name)
{
    const gguf_tensor_t *t;
    size_t               lo, hi, mid;
    int                  rc;

    lo = 0;
    hi = g->n_tensors;

    while (lo < hi) {
        mid = lo + (hi - lo) / 2;
        t = &g->tensors[g->by_name[mid]];
        rc = strcmp(name, t->name);

        if (rc == 0) {
            return t;
        }

        if (rc < 0) {
            hi = mid;

        } else {
            lo = mid + 1;
        }
    }

    return NULL;
}


void
gguf_tensor_drop(const gguf_t *g, const gguf_tensor_t *t)
{
    uintptr_t page, from, to;

    if (!g->mapped) {
        return;
    }

    page = (uintptr_t) sysconf(_SC_PAGESIZE);
    from = ((uintptr_t) t->data + page - 1) & -page;
    to = ((uintptr_t) t->data + t->size) & -page;

    if (from < to) {
        madvise((void *) from, to - from, MADV_DONTNEED);
    }
}


const gguf_type_t *
gguf_type(uint32_t type)
{
    if (type >= GGML_TYPES || gguf_types[type].name == NULL) {
        return NULL;
    }

    return &gguf_types[type];
}


const char *
gguf_type_name(uint32_t type)
{
    const gguf_type_t *t = gguf_type(type);

    return t ? t->name : "unknown";
}
