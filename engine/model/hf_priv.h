/*
 * A Hugging Face folder while it is read: shared by hf*.c but those of the
 * tokenizer.
 *
 *     hf.c          files, shards, the order of things
 *     hf_config.c   config.json into metadata
 *     hf_rope.c     its rope settings, their factors
 *     hf_windows.c  its layers' windows
 *     hf_packed.c   its quantization_config
 *     hf_names.c    which tensor is which of GGUF's
 *     hf_tensors.c  shapes, scales: how one is made of the other
 *     hf_rows.c     rows of such a tensor
 */

#ifndef LLM_HF_PRIV_H
#define LLM_HF_PRIV_H

#include <stdbool.h>
#include "engine/base.h"
#include "engine/model/hf.h"
#include "engine/model/safetensors.h"

#define HF_LAYERS_MAX  1024
#define HF_EXPERTS_MAX 4096
#define HF_SHARDS_MAX  4096
#define HF_CONTEXT_MAX (1u << 30)
#define HF_DIM_MAX     (1u << 22)

/* Families, as bits: a row of a table is for several. */
enum {
    HF_LLAMA = 1 << 0,
    HF_MISTRAL = 1 << 1,
    HF_MIXTRAL = 1 << 2,
    HF_SMOLLM3 = 1 << 3,
    HF_QWEN2 = 1 << 4,
    HF_QWEN3 = 1 << 5,
    HF_QWEN3MOE = 1 << 6,
    HF_GEMMA = 1 << 7,
    HF_GEMMA2 = 1 << 8,
    HF_GEMMA3 = 1 << 9,
    HF_PHI3 = 1 << 10,
    HF_GPT_OSS = 1 << 11,
    HF_GRANITE = 1 << 12,
    HF_ALL = (1 << 13) - 1,
    HF_GEMMAS = HF_GEMMA | HF_GEMMA2 | HF_GEMMA3,
    /* Llama's relatives, whose rope turns neighbours */
    HF_PAIRS = HF_LLAMA | HF_MISTRAL | HF_MIXTRAL | HF_SMOLLM3 | HF_GRANITE
};

/* Which layers a window is for, where layer_types does not say. */
typedef enum {
    HF_WINDOW_NONE = 0, /* the setting changes nothing there */
    HF_WINDOW_ALL,
    HF_WINDOW_SECOND, /* layers 0, 2, ... */
    HF_WINDOW_SIXTH,  /* all but every sixth */
    HF_WINDOW_FROM    /* from layer max_window_layers on, if it is used */
} hf_window_t;

typedef struct {
    const char *name; /* of architectures[0] */
    const char *arch; /* general.architecture */
    uint32_t    family;
    hf_window_t window;
    double      rope_theta; /* where the file does not say */
    uint32_t    head_dim;   /* the same; 0: hidden_size / heads */
} hf_family_t;

typedef enum {
    HF_FP8_NONE = 0,
    HF_FP8, /* scales named *_scale, *_scale_inv */
    HF_MXFP4
} hf_packed_t;

/* What config.json says that tensors are read with. */
typedef struct {
    const hf_family_t *family;
    json_t            *root;   /* config.json; owned */
    json_t            *config; /* the same, or its text_config; owned */
    uint32_t           n_layer;
    uint32_t           n_embd;
    uint32_t           n_head;
    uint32_t           n_kv;
    uint32_t           head_dim;
    uint32_t           n_expert; /* 0: none */
    uint32_t           n_vocab;  /* 0: not said */
    uint32_t           trained;
    int                tied; /* 1, 0; -1: not said */
    hf_packed_t        packed;
    uint32_t           block_rows; /* of a scale; 0: the scale's shape says */
    uint32_t           block_cols;
    uint32_t           n_rot;
    float             *rope_freqs; /* [n_rot / 2], or NULL; owned */
    float             *rope_long;
    float             *rope_short;
    char              *err;
    size_t             err_size;
} hf_config_t;

/* Says why into the config's err, and returns rc. */
int hf_fail(const hf_config_t *c, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The line itself; a folder's words in it lose their control characters. */
void hf_say(char *err, size_t err_size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/*
 * hf_config.c: root's metadata into w.  root_take belongs to *c from here on,
 * on failure too: hf_config_free().
 */
int  hf_config_read(hf_config_t *c, json_t *root_take, gguf_writer_t *w,
                    char *err, size_t err_size);
void hf_config_free(hf_config_t *c);

/* "<arch>.<name>" as a key. */
void hf_put_u32(const hf_config_t *c, gguf_writer_t *w, const char *name,
                uint32_t v);
void hf_put_f32(const hf_config_t *c, gguf_writer_t *w, const char *name,
                double v);
void hf_put_str(const hf_config_t *c, gguf_writer_t *w, const char *name,
                const char *s);

/* NULL where it is not there, or null. */
const json_t *hf_get(const json_t *o, const char *key);

/*
 * A number of an object: 1; 0 and untouched where it is not there or null;
 * -ENOTSUP with err where it is another thing or out of range.
 */
int hf_get_u32(const hf_config_t *c, const json_t *o, const char *key,
               uint32_t most, uint32_t *v);
int hf_get_f64(const hf_config_t *c, const json_t *o, const char *key,
               double *v);

/* fallback where it is no bool. */
int hf_get_bool(const hf_config_t *c, const char *key, int fallback);

/* hf_rope.c, hf_windows.c, hf_packed.c: parts of hf_config_read(). */
int hf_rope_read(hf_config_t *c, gguf_writer_t *w);
int hf_windows_read(hf_config_t *c, gguf_writer_t *w);
int hf_packed_read(hf_config_t *c);


/* Where values come from, and the scales that go with them. */
typedef struct {
    const st_tensor_t *t;
    const st_tensor_t *scale;       /* FP8, MXFP4; else NULL */
    uint32_t           scale_rows;  /* rows that share one */
    uint32_t           scale_cols;  /* columns that do */
    uint64_t           scale_width; /* scales of a row of scales */
    const st_file_t   *file;
} hf_src_t;

/*
 * One tensor that is told of: n x rows x cols values.  Value (e, r, k) is
 * value
 *
 *     first + e * expert_step + p(r) * row_step + k * col_step
 *
 * of src[0], or without e of src[e] if n_src is n.  p() is the row itself, or
 * with heads its place among rows that turn as halves of a head.
 */
typedef struct {
    char         name[GGUF_MAX_NAME + 1];
    uint32_t     type; /* GGML_* */
    uint32_t     n_dims;
    uint64_t     dims[GGUF_MAX_DIMS]; /* as GGUF has them */
    uint64_t     n;
    uint64_t     rows;
    uint64_t     cols;
    bool         is_flat; /* one row outside: rows is its length, cols is 1 */
    hf_src_t    *src;     /* of the model's arena */
    uint32_t     n_src;
    uint64_t     first;
    uint64_t     expert_step;
    uint64_t     row_step;
    uint64_t     col_step;
    uint64_t     heads;
    float        add;
    const float *values; /* instead of src: its only row */
} hf_tensor_t;

/* An opened folder: the ctx of a gguf_source_t. */
typedef struct {
    hf_config_t   config;
    st_file_t   **shards;
    size_t        n_shards;
    hf_tensor_t **tensors; /* in the order of the head */
    size_t        n_tensors;
    size_t        cap_tensors;
    arena_t       arena;
} hf_model_t;

/* What a tensor is, as PyTorch has it. */
typedef enum {
    HF_FORM_PLAIN = 0, /* a vector or a matrix */
    HF_FORM_NORM,      /* a vector; Gemma's is less one */
    HF_FORM_Q,         /* rows of heads */
    HF_FORM_K,
    HF_FORM_EXPERT,   /* a matrix for each expert */
    HF_FORM_STACKED,  /* [expert][out][in] */
    HF_FORM_HALVES,   /* [expert][gates, then ups][in] */
    HF_FORM_TURNED,   /* [expert][in][out] */
    HF_FORM_TURNED_2, /* [expert][in][gate, up, gate, ...] */
    HF_FORM_BIAS_2,   /* [expert][gate, up, gate, ...] */
    HF_FORM_BLOCKS,   /* MXFP4: [expert][out][in / 32][16], with _scales */
    HF_FORM_BLOCKS_2  /* [expert][gate, up, gate, ...][in / 32][16] */
} hf_form_t;

/* One name; in it '#' stands for an expert's number. */
typedef struct {
    uint32_t    families;
    hf_form_t   form;
    const char *from;  /* of a layer: behind "model.layers.N." */
    const char *to;    /* of a layer: behind "blk.N." */
    const char *other; /* forms _2, HALVES: what the ups become */
} hf_map_t;

/* hf_names.c: the row for a name, with its numbers; NULL: there is none. */
#define HF_NO_LAYER UINT32_MAX

const hf_map_t *hf_name_find(const hf_config_t *c, const char *name,
                             uint32_t *layer, uint32_t *expert);

/* Without what a model of texts and images puts around it; buf or name. */
const char *hf_name_plain(const hf_config_t *c, const char *name, char *buf,
                          size_t size);

/* Of what sees, in such a model. */
bool hf_name_sees(const hf_config_t *c, const char *name);

/* It says nothing to us: a buffer, a scale of activations. */
bool hf_name_is_harmless(const char *name);
bool hf_name_ends(const char *name, const char *end);

/* hf_tensors.c: fills m->tensors out of the shards, and puts them into w. */
int hf_tensors_map(hf_model_t *m, gguf_writer_t *w);

/* hf_rows.c: the rows and drop of a gguf_source_t; ctx is a hf_model_t. */
int  hf_rows_read(void *ctx, size_t i, uint64_t row, uint64_t n, void *out);
void hf_rows_drop(void *ctx, size_t i);

/* Whether values of a dtype can be read as floats. */
bool hf_rows_can(st_dtype_t t);

#endif /* LLM_HF_PRIV_H */
