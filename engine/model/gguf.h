/*
 * GGUF: reader of weight files, versions 2 and 3, little endian.
 *
 * A file, all integers little endian and unaligned:
 *
 *   "GGUF", u32 version, u64 n_tensors, u64 n_kv
 *   n_kv times:       string key, u32 type, value
 *   n_tensors times:  string name, u32 n_dims, u64 dims[n_dims],
 *                     u32 ggml type, u64 offset in the data section
 *   padding to general.alignment (a power of two, 32 unless given)
 *   data section
 *
 *   string: u64 length, bytes;   array: u32 type, u64 n, n values.
 *
 * The file is an outsider's: every count, length, offset and product is
 * checked in 64 bit against the file's size before it is used; names are
 * unique; tensors do not overlap; arrays of arrays are refused.  After
 * gguf_open() succeeded, all pointers handed out lie inside the mapping and
 * are valid until gguf_close().
 *
 * Threads: a gguf_t is immutable after opening, any thread may read it.
 */

#ifndef LLM_GGUF_H
#define LLM_GGUF_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <sys/types.h>


#define GGUF_MAX_DIMS    4
#define GGUF_MAX_KV      65536
#define GGUF_MAX_TENSORS 262144
#define GGUF_MAX_KEY     65535
#define GGUF_MAX_NAME    255
#define GGUF_MAX_ALIGN   65536


/* Numbers of ggml's tensor types as they stand in files. */
enum {
    GGML_F32 = 0,
    GGML_F16 = 1,
    GGML_Q4_0 = 2,
    GGML_Q4_1 = 3,
    GGML_Q5_0 = 6,
    GGML_Q5_1 = 7,
    GGML_Q8_0 = 8,
    GGML_Q8_1 = 9,
    GGML_Q2_K = 10,
    GGML_Q3_K = 11,
    GGML_Q4_K = 12,
    GGML_Q5_K = 13,
    GGML_Q6_K = 14,
    GGML_Q8_K = 15,
    GGML_IQ2_XXS = 16,
    GGML_IQ2_XS = 17,
    GGML_IQ3_XXS = 18,
    GGML_IQ1_S = 19,
    GGML_IQ4_NL = 20,
    GGML_IQ3_S = 21,
    GGML_IQ2_S = 22,
    GGML_IQ4_XS = 23,
    GGML_I8 = 24,
    GGML_I16 = 25,
    GGML_I32 = 26,
    GGML_I64 = 27,
    GGML_F64 = 28,
    GGML_IQ1_M = 29,
    GGML_BF16 = 30,
    GGML_TQ1_0 = 34,
    GGML_TQ2_0 = 35,
    GGML_MXFP4 = 39,
    GGML_NVFP4 = 40,
    GGML_Q1_0 = 41,
    GGML_Q2_0 = 42,
    GGML_TYPES = 43
};


/* A tensor type: elements and bytes of a block; 0 and 0: removed by ggml. */
typedef struct {
    const char *name;
    uint32_t    block_elems;
    uint32_t    block_bytes;
} gguf_type_t;


/* A string of the file: borrowed, not terminated, may hold any byte. */
typedef struct {
    const char *data;
    size_t      len;
} gguf_str_t;


/*
 * A tensor.  dims[0] is the row's length (contiguous), unused dims are 1;
 * dims[0] is a multiple of the type's block_elems.  name is terminated and
 * holds no control character.  data is aligned as the file's
 * general.alignment if the mapping itself is.
 */
typedef struct {
    const char *name;
    uint32_t    n_dims;
    uint32_t    type; /* GGML_*, known to gguf_type() */
    uint64_t    dims[GGUF_MAX_DIMS];
    const void *data; /* NULL: by gguf_tensor_rows() only */
    uint64_t    size; /* bytes */
} gguf_tensor_t;


typedef struct gguf_s gguf_t;


/*
 * Opens a file by path, or by a descriptor which stays the caller's and may
 * be closed afterwards: mapped read-only and private.  gguf_open_mem() reads
 * the caller's memory, which must outlive the gguf_t.
 * Returns 0 and *out_new (gguf_close() it), or -errno and a message of one
 * line in err: -EINVAL for a broken file, -ENOTSUP for a version or tensor
 * type that is not supported, -ENOMEM, or what open(2), mmap(2) said.
 */
int gguf_open(const char *path, gguf_t **out_new, char *err, size_t err_size);
int gguf_open_fd(int fd_borrow, gguf_t **out_new, char *err, size_t err_size);
int gguf_open_mem(const void *data_borrow, size_t size, gguf_t **out_new,
                  char *err, size_t err_size);

/*
 * What is not one file but can be told as one (a Hugging Face folder, see
 * hf.h): `head` is a GGUF up to its data section (gguf_writer_head()), its
 * tensors' data is NULL, their rows come from source->rows().
 *
 *     rows   copies rows [row, row + n) of tensor i, in the type that the head
 *            says, to out: 0 or -errno.  Rows are those of all dims but the
 *            first.  Any thread, one at a time.
 *     drop   the tensor is not needed any more (may be NULL)
 *     close  frees ctx, when the gguf_t is closed or not opened
 *
 * head_take is freed with the gguf_t; both belong to it on failure too.
 */
typedef struct {
    int (*rows)(void *ctx, size_t i, uint64_t row, uint64_t n, void *out);
    void (*drop)(void *ctx, size_t i);
    void (*close)(void *ctx);
    void *ctx;
} gguf_source_t;

int gguf_open_source(void *head_take, size_t size, const gguf_source_t *source,
                     gguf_t **out_new, char *err, size_t err_size);

/*
 * Copies rows [row, row + n) of a tensor, wherever its data is.  0; -EINVAL
 * (beyond its end), or what the source says (-EIO, -ENOMEM).
 */
int gguf_tensor_rows(const gguf_t *g, const gguf_tensor_t *t, uint64_t row,
                     uint64_t n, void *out);

/* Unmaps, frees; NULL is allowed. */
void gguf_close(gguf_t *g_take);

/* Size in bytes of the whole file. */
uint64_t gguf_file_size(const gguf_t *g);


/*
 * Metadata by key.  Each returns 0, -ENOENT (no such key) or -EINVAL (another
 * type, or a number out of range); *out is untouched on an error.  Integers of
 * any width and sign are accepted where the value fits, floats of both widths
 * and integers for f32; bool takes a bool, or an integer that is 0 or 1.
 */
int gguf_get_u32(const gguf_t *g, const char *key, uint32_t *out);
int gguf_get_u64(const gguf_t *g, const char *key, uint64_t *out);
int gguf_get_i32(const gguf_t *g, const char *key, int32_t *out);
int gguf_get_f32(const gguf_t *g, const char *key, float *out);
int gguf_get_bool(const gguf_t *g, const char *key, bool *out);
int gguf_get_str(const gguf_t *g, const char *key, gguf_str_t *out);

/*
 * Arrays: copy up to cap elements into out and return the array's length
 * (which may exceed cap; cap 0 with out NULL asks for the length only), or
 * -ENOENT, -EINVAL (not an array, another type, an element out of range).
 * The strings themselves are not copied; bools are integers 0 and 1.
 */
ssize_t gguf_get_arr_str(const gguf_t *g, const char *key, gguf_str_t *out,
                         size_t cap);
ssize_t gguf_get_arr_i32(const gguf_t *g, const char *key, int32_t *out,
                         size_t cap);
ssize_t gguf_get_arr_f32(const gguf_t *g, const char *key, float *out,
                         size_t cap);


/* Tensors in the file's order; i < gguf_tensor_n(). */
size_t               gguf_tensor_n(const gguf_t *g);
const gguf_tensor_t *gguf_tensor_at(const gguf_t *g, size_t i);

/* The tensor of that name, or NULL; O(log n). */
const gguf_tensor_t *gguf_tensor_find(const gguf_t *g, const char *name);

/*
 * Lets go of the resident pages that lie wholly inside a tensor's data: to be
 * called once a backend has repacked it.  The data stays readable.
 */
void gguf_tensor_drop(const gguf_t *g, const gguf_tensor_t *t);

/* The type of a number, or NULL for one that ggml never had. */
const gguf_type_t *gguf_type(uint32_t type);

/* Its name, "unknown" for NULL; for messages. */
const char *gguf_type_name(uint32_t type);


#endif /* LLM_GGUF_H */
