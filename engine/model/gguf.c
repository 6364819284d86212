/*
 * GGUF reader: see gguf.h for the format and what is promised.
 *
 * Opening, tensors, and where their data comes from: a mapping, the caller's
 * memory, or a source that makes rows when they are asked for.  gguf_parse.c
 * reads the head.  Runs on a loader thread; owns its mapping (unless the
 * caller's memory is read), the two tables and the copies of the tensors'
 * names, a source's context and head.
 */

#include "engine/model/gguf_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>


static int      gguf_new(const void *data, size_t size, void *head_take,
                         const gguf_source_t *source, gguf_t **out_new, char *err,
                         size_t err_size);
static uint64_t gguf_row_bytes(const gguf_tensor_t *t);
static uint64_t gguf_row_n(const gguf_tensor_t *t);


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
    return gguf_new(data_borrow, size, NULL, NULL, out_new, err, err_size);
}


int
gguf_open_source(void *head_take, size_t size, const gguf_source_t *source,
                 gguf_t **out_new, char *err, size_t err_size)
{
    return gguf_new(head_take, size, head_take, source, out_new, err, err_size);
}


static int
gguf_new(const void *data, size_t size, void *head_take,
         const gguf_source_t *source, gguf_t **out_new, char *err,
         size_t err_size)
{
    gguf_cur_t c = {.p = data, .left = size, .err = err, .err_size = err_size};
    gguf_t    *g;
    int        rc;

    g = calloc(1, sizeof(gguf_t));
    if (g == NULL) {
        if (source && source->close) {
            source->close(source->ctx);
        }

        free(head_take);
        return gguf_fail(&c, -ENOMEM, "no memory");
    }

    g->base = data;
    g->size = size;
    g->head_own = head_take;

    if (source) {
        g->source = *source;
    }

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

    if (g_take->source.close) {
        g_take->source.close(g_take->source.ctx);
    }

    free(g_take->head_own);
    free(g_take->kv);
    free(g_take->tensors);
    free(g_take->by_name);
    free(g_take->names);
    free(g_take);
}


uint64_t
gguf_file_size(const gguf_t *g)
{
    return g->source.rows ? g->size + g->data_size : g->size;
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


int
gguf_tensor_rows(const gguf_t *g, const gguf_tensor_t *t, uint64_t row,
                 uint64_t n, void *out)
{
    uint64_t bytes, rows;

    bytes = gguf_row_bytes(t);
    rows = gguf_row_n(t);

    if (row > rows || n > rows - row) {
        return -EINVAL;
    }

    if (t->data != NULL) {
        memcpy(out, (const uint8_t *) t->data + row * bytes, n * bytes);
        return 0;
    }

    if (g->source.rows == NULL) {
        return -EINVAL;
    }

    return n == 0 ? 0
                  : g->source.rows(g->source.ctx, (size_t) (t - g->tensors),
                                   row, n, out);
}


static uint64_t
gguf_row_bytes(const gguf_tensor_t *t)
{
    const gguf_type_t *type = gguf_type(t->type);

    return t->dims[0] / type->block_elems * type->block_bytes;
}


static uint64_t
gguf_row_n(const gguf_tensor_t *t)
{
    return t->dims[1] * t->dims[2] * t->dims[3];
}


void
gguf_tensor_drop(const gguf_t *g, const gguf_tensor_t *t)
{
    uintptr_t page, from, to;

    if (g->source.drop) {
        g->source.drop(g->source.ctx, (size_t) (t - g->tensors));
    }

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
