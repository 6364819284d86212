/*
 * Hugging Face folders as a GGUF: config.json, generation_config.json,
 * tokenizer.json or tokenizer.model, tokenizer_config.json, chat templates,
 * model.safetensors or the shards of model.safetensors.index.json are told as
 * the GGUF that a converter would have written: the same metadata keys, the
 * same tensor names, the same order of rows and the same +1 on norms.  So
 * everything behind it knows one format only.
 *
 * Beside the usual keys:
 *
 *     general.sampling.temp f32, .top_k i32, .top_p f32, .min_p f32,
 *     .penalty_repeat f32         generation_config.json's defaults
 *     tokenizer.ggml.eos_token_ids  i32 array: all of eos_token_id, where
 *                                   there are several
 *
 * Files are an outsider's.  Loader threads; hf.c owns what it maps.
 */

#ifndef LLM_HF_H
#define LLM_HF_H

#include <jansson.h>
#include "engine/model/gguf.h"
#include "engine/model/gguf_write.h"

/* A folder below a root; every file in it is opened by openat2(root,
   "path/name", RESOLVE_BENEATH), so that a cache's links keep working. */
/* Of what a folder is told as: its matrices are E4M3 with scales there. */
#define HF_KEY_FP8 "ngx_llm.fp8"

typedef struct {
    int         root; /* borrowed */
    const char *path; /* "" is the root itself */
} hf_dir_t;

/*
 * *out_new: gguf_close() it; it keeps nothing of *dir.  -errno with a line in
 * err: -ENOENT (a file is missing), -EINVAL (broken), -ENOTSUP (a family, a
 * dtype, a tokenizer, by name), -ENOMEM.
 */
int hf_open(const hf_dir_t *dir, gguf_t **out_new, char *err, size_t err_size);

/*
 * What a folder is: a hash over device, inode, size and time of every file
 * that hf_open() may read; of the weights the bytes, of all the newest time.
 * 0; -ENOENT (neither config.json nor weights), or what reading the index
 * said.
 */
typedef struct {
    uint8_t  ident[16];
    uint64_t weight_bytes;
    int64_t  mtime; /* seconds */
} hf_identity_t;

int hf_identity(const hf_dir_t *dir, hf_identity_t *id, char *err,
                size_t err_size);

/*
 * Opens a file of the folder: a descriptor, or -errno (-ENOENT...).  With
 * `out`, its bytes instead (malloc()ed, a NUL behind them, at most max):
 * 0 or -errno; -EFBIG.
 */
int hf_file(const hf_dir_t *dir, const char *name, char **out, size_t *len,
            size_t max);
int hf_file_open(const hf_dir_t *dir, const char *name);

/* The JSON of a file: *out or NULL where there is none; -EINVAL with err. */
int hf_json(const hf_dir_t *dir, const char *name, json_t **out, char *err,
            size_t err_size);

/*
 * hf_tokenizer.c: tokenizer.* metadata out of tokenizer.json or
 * tokenizer.model, tokenizer_config.json, generation_config.json and the chat
 * templates.  config is config.json (its text_config where there is one).
 */
int hf_tokenizer(const hf_dir_t *dir, const json_t *config, gguf_writer_t *w,
                 char *err, size_t err_size);

#endif /* LLM_HF_H */
