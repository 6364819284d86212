/*
 * Inside of hf_tokenizer*.c and hf_sentencepiece.c: a folder's words about
 * text, on their way to tokenizer.* metadata.
 *
 *   hf_tokenizer.c         order of work, special ids, what is written
 *   hf_tokenizer_vocab.c   the table of tokens, added tokens
 *   hf_tokenizer_json.c    tokenizer.json
 *   hf_tokenizer_spaces.c  ... its spaces, of SentencePiece's kind
 *   hf_sentencepiece.c     tokenizer.model
 *   hf_generation.c        generation_config.json, chat templates
 *
 * Beside the keys of GGUF converters, what they cannot say:
 *
 *   tokenizer.ggml.pre      "json:" and compact JSON, keys sorted:
 *                           {"ignore_merges":, "normalizer":,
 *                           "pre_tokenizer":} of a byte-level tokenizer.json;
 *                           serve knows which name it stands for (and
 *                           llm-quantize writes that name, with bools
 *                           tokenizer.ggml.nfc and .ignore_merges)
 *   tokenizer.ggml.merges   of SentencePiece's kind ("llama") too where there
 *                           is a tokenizer.json: its merges are its truth
 *   tokenizer.ggml.space_prefix   string, with add_space_prefix: "each" (each
 *                           text between special tokens), "first" (the whole
 *                           text's start, unless a space is there), "blank"
 *                           (each that does not start with a space)
 *   tokenizer.ggml.lstrip, .rstrip   i32 arrays: special tokens that swallow
 *                           white space before, behind them
 *
 * Loader threads; a hf_text_t belongs to one call of hf_tokenizer().
 */

#ifndef LLM_HF_TOKENIZER_H
#define LLM_HF_TOKENIZER_H

#include "engine/base.h"
#include "engine/model/hf.h"

#define HF_TEXT_TOKENS    (1u << 21)
#define HF_TEXT_MERGES    (1u << 22)
#define HF_TEXT_ADDED     (1u << 20)
#define HF_TEXT_EOS       64
#define HF_TEXT_DEPTH     8 /* of sequences in sequences */
#define HF_TEXT_PRE       (1u << 16)
#define HF_TEXT_TOKENIZER (64u << 20) /* bytes of tokenizer.json */
#define HF_TEXT_MODEL     (64u << 20) /* of tokenizer.model */
#define HF_TEXT_CONFIG    (16u << 20) /* of the other files */
#define HF_TEXT_VALUES    (1u << 23)  /* arrays and objects of a file */
#define HF_TEXT_TEMPLATE  (1u << 20)

/* The underscore that SentencePiece writes for a space. */
#define HF_SPACE "\xe2\x96\x81"

/* Types of tokens, numbered as in GGUF; 0: no token has the id. */
enum {
    HF_NONE = 0,
    HF_NORMAL = 1,
    HF_UNKNOWN = 2,
    HF_CONTROL = 3,
    HF_USER_DEFINED = 4,
    HF_UNUSED = 5,
    HF_BYTE = 6
};

enum { HF_LSTRIP = 1, HF_RSTRIP = 2 };

/* Where files come from: a folder, or a test's memory. */
typedef struct {
    /* As hf_file() with `out`. */
    int (*read)(void *ctx, const char *name, char **out, size_t *len,
                size_t max);
    void *ctx;
} hf_text_files_t;

typedef struct {
    gguf_str_t s; /* of a JSON, of tokenizer.model, or of the arena */
    float      score;
    uint8_t    type;
    uint8_t    flags; /* HF_LSTRIP... */
} hf_token_t;

typedef struct {
    const hf_text_files_t *files;
    gguf_writer_t         *w;
    char                  *err;
    size_t                 err_size;

    const json_t *config;      /* what hf_tokenizer() was given */
    json_t       *config_file; /* config.json, owned as all below */
    json_t       *settings;    /* tokenizer_config.json */
    json_t       *map;         /* special_tokens_map.json */
    json_t       *generation;  /* generation_config.json */
    json_t       *tokenizer;   /* tokenizer.json */
    json_t       *added;       /* added_tokens.json */
    char         *model;       /* tokenizer.model */
    size_t        model_len;
    arena_t       arena;

    hf_token_t *tokens;
    uint32_t    n;        /* with unused ones up to the model's vocab_size */
    int         bpe;      /* byte level; else SentencePiece's kind */
    const char *prefix;   /* "each"...; NULL: none */
    int         collapse; /* remove_extra_whitespaces */
    int32_t     before;   /* the ids that the post-processor adds, or -1 */
    int32_t     behind;
    int32_t     unk;   /* as the vocabulary says, or -1 */
    uint32_t   *index; /* of tokens by spelling: ids + 1, or 0 */
    uint32_t    mask;
} hf_text_t;

/* hf_tokenizer() on any files. */
int hf_tokenizer_from(const hf_text_files_t *files, const json_t *config,
                      gguf_writer_t *w, char *err, size_t err_size);

/* All return 0 or -errno with a line in err. */

/* A file's JSON, or NULL where there is none. */
int hf_text_json(hf_text_t *t, const char *name, size_t max, size_t flags,
                 json_t **out);
int hf_text_fail(hf_text_t *t, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* hf_tokenizer_vocab.c */

/* The table, for ids up to last and the model's vocab_size. */
int hf_vocab_room(hf_text_t *t, uint32_t last);
/* -EINVAL: the id has another token.  s is borrowed. */
int hf_vocab_set(hf_text_t *t, uint32_t id, const char *s, size_t len,
                 int type);
/* The config's vocab_size, 0: none. */
uint32_t hf_vocab_size(const hf_text_t *t);
/* Added tokens of all files, tokens named as special. */
int hf_vocab_added(hf_text_t *t);
/* Fills ids that are left ("[PAD7]"), and makes the index. */
int hf_vocab_finish(hf_text_t *t);
/* After that: the id of a spelling, or -1. */
int32_t hf_vocab_find(const hf_text_t *t, const char *s, size_t len);
/* A user-defined token is matched in text as it is: with its spaces. */
int hf_vocab_spaces(hf_text_t *t, hf_token_t *token);
/* Whether it is "<0x0A>". */
int hf_vocab_is_byte(gguf_str_t s);

/* hf_tokenizer_json.c: kind, tokens; then, with added tokens, the rest. */
int hf_json_read(hf_text_t *t);
int hf_json_rest(hf_text_t *t);
/* Whether v[key] is that text; v's type, for messages. */
int         hf_json_is(const json_t *v, const char *key, const char *value);
const char *hf_json_type(const json_t *v);
/* hf_tokenizer_spaces.c: t->prefix. */
int hf_json_spaces(hf_text_t *t);
/* hf_sentencepiece.c */
int hf_sentencepiece_read(hf_text_t *t);

/* hf_generation.c */
int hf_generation_write(hf_text_t *t, int32_t eos);
int hf_templates_write(hf_text_t *t);

#endif /* LLM_HF_TOKENIZER_H */
