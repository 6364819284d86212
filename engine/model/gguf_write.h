/*
 * GGUF: writer of heads (version 3: metadata and tensor infos, padded to the
 * data section), for util/quantize and for folders that are told as a GGUF.
 *
 * One thread at a time; errors stick: gguf_writer_head() tells of them.
 * Everything given is copied.  A key that is put twice: the last one counts.
 */

#ifndef LLM_GGUF_WRITE_H
#define LLM_GGUF_WRITE_H

#include "engine/model/gguf.h"

typedef struct gguf_writer_s gguf_writer_t;

gguf_writer_t *gguf_writer_new(void);
void           gguf_writer_free(gguf_writer_t *w_take);

void gguf_put_str(gguf_writer_t *w, const char *key, const char *s, size_t len);
void gguf_put_u32(gguf_writer_t *w, const char *key, uint32_t v);
void gguf_put_i32(gguf_writer_t *w, const char *key, int32_t v);
void gguf_put_f32(gguf_writer_t *w, const char *key, float v);
void gguf_put_bool(gguf_writer_t *w, const char *key, bool v);
void gguf_put_arr_str(gguf_writer_t *w, const char *key, const gguf_str_t *s,
                      size_t n);
void gguf_put_arr_i32(gguf_writer_t *w, const char *key, const int32_t *v,
                      size_t n);
void gguf_put_arr_f32(gguf_writer_t *w, const char *key, const float *v,
                      size_t n);
void gguf_put_arr_bool(gguf_writer_t *w, const char *key, const uint8_t *v,
                       size_t n);

/* All metadata of a read file, but keys for which skip() says 1 (or NULL). */
void gguf_put_all(gguf_writer_t *w, const gguf_t *g,
                  int (*skip)(const char *key, size_t len));

/* Tensors in the order of their data; offsets are counted by the writer. */
void gguf_put_tensor(gguf_writer_t *w, const char *name, uint32_t type,
                     uint32_t n_dims, const uint64_t *dims);

/*
 * The head's bytes: *out_new is malloc()ed, the size is returned; tensor i's
 * data follows at gguf_writer_offset(w, i) after it.  -ENOMEM, or -EINVAL
 * (a name, type or shape that no file may have).
 */
ssize_t  gguf_writer_head(gguf_writer_t *w, void **out_new);
uint64_t gguf_writer_offset(const gguf_writer_t *w, size_t i);

#endif /* LLM_GGUF_WRITE_H */
