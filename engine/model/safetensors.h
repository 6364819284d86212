/*
 * safetensors: reader of weight files as PyTorch users publish them.
 *
 * A file:
 *
 *   u64 n (little endian), n bytes of JSON, data
 *
 *   {"__metadata__": {string: string, ...},
 *    "NAME": {"dtype": "BF16", "shape": [rows, cols],
 *             "data_offsets": [begin, end]}, ...}
 *
 * Offsets count from the data's start, values are little endian, dense, the
 * last dimension contiguous; the data is covered without gaps or overlaps.
 *
 * The file is an outsider's: every number is checked against the file's size
 * before it is used, names are unique, a tensor has exactly the bytes that
 * its dtype and shape ask for.  After st_open_fd() succeeded, data lies inside
 * the mapping; it is not aligned.
 *
 * Threads: an st_file_t is immutable after opening, any thread may read it.
 */

#ifndef LLM_SAFETENSORS_H
#define LLM_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#define ST_MAX_DIMS    8
#define ST_MAX_HEADER  (100u << 20)
#define ST_MAX_TENSORS 262144
#define ST_MAX_NAME    255

typedef enum {
    ST_BOOL = 0,
    ST_U8,
    ST_I8,
    ST_F8_E5M2,
    ST_F8_E4M3,
    ST_F8_E8M0,
    ST_I16,
    ST_U16,
    ST_F16,
    ST_BF16,
    ST_I32,
    ST_U32,
    ST_F32,
    ST_F64,
    ST_I64,
    ST_U64,
    ST_DTYPES
} st_dtype_t;

typedef struct {
    const char    *name; /* terminated, without control characters */
    st_dtype_t     dtype;
    uint32_t       n_dims; /* 0: a single number */
    uint64_t       dims[ST_MAX_DIMS];
    uint64_t       elems; /* may be 0 */
    const uint8_t *data;
    uint64_t       size;
} st_tensor_t;

typedef struct st_file_s st_file_t;

/*
 * Opens a descriptor, which stays the caller's and may be closed afterwards:
 * mapped read-only and private.  st_open_mem() reads the caller's memory,
 * which must outlive the st_file_t.  0 and *out_new (st_close() it), or
 * -errno and a line in err: -EINVAL (a broken file), -ENOTSUP (a dtype, by
 * name), -ENOMEM, or what fstat(2), mmap(2) said.
 */
int st_open_fd(int fd_borrow, st_file_t **out_new, char *err, size_t err_size);
int st_open_mem(const void *data_borrow, size_t size, st_file_t **out_new,
                char *err, size_t err_size);

/* Unmaps, frees; NULL is allowed. */
void st_close(st_file_t *f_take);

/* Tensors in the order of their data; i < st_n(). */
size_t             st_n(const st_file_t *f);
const st_tensor_t *st_at(const st_file_t *f, size_t i);

/* Lets go of the resident pages wholly inside [p, p + n) of a mapped file. */
void st_drop(const st_file_t *f, const uint8_t *p, uint64_t n);

const char *st_dtype_name(st_dtype_t t);
uint32_t    st_dtype_size(st_dtype_t t);

#endif /* LLM_SAFETENSORS_H */
