/*
 * Inside of the tokenizer: what its files share.
 *
 *   tokenizer.c  construction, look-ups, text_encode()
 *   special.c    control and user-defined tokens in text
 *   nfc.c        normalisation of text
 *   pre.c        pre-tokenizers: text to words
 *   pre_find.c   pre-tokenizers by the patterns of a tokenizer.json
 *   bpe.c        words to tokens: byte-level BPE
 *   spm.c        text to tokens: SentencePiece BPE; spm_build.c its tables
 *   merge.c      symbols to tokens, of both kinds
 *   detok.c      tokens to text, UTF-8
 *   scratch.c    a thread's working memory
 */

#ifndef LLM_TEXT_PRIV_H
#define LLM_TEXT_PRIV_H

#include "engine/text/tokenizer.h"

#include <string.h>


#define TEXT_MAX_STAGES 8

/* In text_word_t.id: merges do not lead to this token from its own bytes. */
#define TEXT_INDIRECT (1 << 30)

#define TEXT_NO_RANK UINT32_MAX


/* A slot of the table of normal tokens by their bytes; len 0: empty. */
typedef struct {
    uint32_t hash;
    int32_t  id; /* maybe | TEXT_INDIRECT */
    uint32_t off;
    uint32_t len;
} text_word_t;


/* A slot of the table of merges; key UINT64_MAX: empty. */
typedef struct {
    uint64_t key; /* left id << 32 | right id */
    uint32_t rank;
    int32_t  id;
} text_merge_t;


/* A node of the trie of special tokens; its children lie side by side. */
typedef struct {
    uint32_t child;
    uint16_t n_children;
    uint8_t  byte;
    bool     guarded; /* matches in trusted text only */
    int32_t  id;      /* -1: no token ends here */
} text_node_t;


/* Compiled pre-tokenizer, see pre.c. */
typedef struct text_pre_s text_pre_t;


struct text_tokenizer_s {
    size_t    n_tokens;
    size_t    max; /* bytes of the longest token */
    uint32_t *off; /* n_tokens + 1 */
    char     *bytes;
    uint8_t  *types; /* TEXT_* | TEXT_GUARDED, TEXT_RAW */

    text_word_t *words;
    uint32_t     words_mask;
    size_t       max_word; /* bytes of the longest in words */

    text_merge_t *merges;
    uint32_t      merges_mask;
    int32_t       byte_id[256]; /* -1: no token */

    text_node_t *nodes; /* the first is the root */
    size_t       n_nodes;
    bool         unguarded;  /* a special token matches in any text */
    uint16_t     first[256]; /* root's child of that byte + 1, or 0 */

    text_pre_t *pre;    /* byte-level BPE */
    uint32_t   *active; /* see nfc.c; NULL: text is not normalised */
    uint8_t    *strips;
    bool        ignore_merges;

    bool    spm;           /* SentencePiece */
    int32_t fallback[256]; /* its byte tokens; -1: none */
    bool    glued[256];    /* a space behind this byte begins no word */
    bool    space_prefix;
    int     prefix;
    bool    remove_ws;

    bool    add_bos;
    bool    add_eos;
    int32_t bos;
    int32_t eos;
    int32_t eot;
    int32_t unk;
    int32_t pad;
};

/* Bits beside TEXT_* in types: matches in trusted text only; is spelled not
 * in the byte-to-unicode alphabet, though normal. */
#define TEXT_GUARDED 0x80
#define TEXT_RAW     0x40
#define TEXT_TYPE    0x3f


/* What the parts of a scratch are for. */
enum {
    TEXT_ROOM_MERGE,   /* merge.c: a long word's symbols */
    TEXT_ROOM_TEXT,    /* spm.c: the text and its trust; nfc.c: its result */
    TEXT_ROOM_SEGMENT, /* spm.c: a piece with its prefix; nfc.c: a long run */
    TEXT_ROOMS
};


typedef struct {
    void  *p;
    size_t size;
} text_room_t;


/* Working memory: arrays for long words, changed text, matching of pre.c. */
struct text_scratch_s {
    text_room_t room[TEXT_ROOMS];
    void       *match;  /* pcre2_match_data */
    void       *mctx;   /* pcre2_match_context */
    void       *jstack; /* pcre2_jit_stack */
};


/* One text_encode(): what takes the words, where the ids go. */
typedef struct text_enc_s {
    const text_tokenizer_t *tok;
    text_scratch_t         *scratch;
    int (*word)(struct text_enc_s *e, const char *p, size_t len);
    int32_t *out;
    size_t   cap;
    size_t   n;
    size_t   unknown; /* n behind the last unknown token */
} text_enc_t;


/*
 * A long word's symbols, arrays over one room: the id, its neighbours, the
 * rank of its pair with the next one and the id which that pair becomes.
 */
typedef struct {
    int32_t  *id;
    uint32_t *prev;
    uint32_t *next;
    uint32_t *rank;
    int32_t  *into;
    uint64_t *heap; /* rank << 32 | position: the leftmost of equal pairs */
    size_t    n_heap;
} text_long_t;


/* A spelling to the bytes it stands for: their number, or -EINVAL. */
typedef ssize_t (*text_decode_pt)(const char *s, size_t len, char *out);


/* Words of up to so many symbols are merged without a heap. */
#define TEXT_SHORT 48


static inline void
text_emit(text_enc_t *e, int32_t id)
{
    if (e->n < e->cap) {
        e->out[e->n] = id;
    }

    e->n++;
}


static inline uint64_t
text_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128) a * b;

    return (uint64_t) m ^ (uint64_t) (m >> 64);
}


/* A hash of a table that is built once; not meant to withstand flooding. */
static inline uint32_t
text_hash(const char *p, size_t len)
{
    uint64_t h, a, b;
    uint32_t x, y;

    h = 0x9e3779b97f4a7c15 ^ len;

    while (len > 16) {
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        h = text_mix(a ^ h, b ^ 0xd6e8feb86659fd93);
        p += 16;
        len -= 16;
    }

    if (len >= 8) {
        memcpy(&a, p, 8);
        memcpy(&b, p + len - 8, 8);

    } else if (len >= 4) {
        memcpy(&x, p, 4);
        memcpy(&y, p + len - 4, 4);
        a = x;
        b = y;

    } else {
        a = len > 0 ? (uint8_t) p[0] : 0;
        b = len > 0
                ? (uint32_t) (uint8_t) p[len / 2] << 8 | (uint8_t) p[len - 1]
                : 0;
    }

    h = text_mix(a ^ h, b ^ 0xd6e8feb86659fd93);

    return (uint32_t) (h ^ h >> 32);
}


/* tokenizer.c: the slot of a normal token with these bytes, or NULL. */
const text_word_t *text_word_find(const text_tokenizer_t *tok, const char *p,
                                  size_t len);

/* special.c */
int     text_special_build(text_tokenizer_t *tok, char *err, size_t err_size);
int32_t text_special_match(const text_tokenizer_t *tok, const char *p,
                           size_t len, const uint8_t *trusted, size_t *matched);
int32_t text_special_find(const text_tokenizer_t *tok, const char *p,
                          size_t len);

/* pre.c */
int  text_pre_new(text_str_t name, text_pre_t **out_new, char *err,
                  size_t err_size);
void text_pre_free(text_pre_t *pre_take);
/* A word that is a token is that token, whatever the merges say. */
bool text_pre_ignores_merges(const text_pre_t *pre);
bool text_pre_adds_bos(const text_pre_t *pre);
/* The family's original normalises text to NFC. */
bool text_pre_is_nfc(const text_pre_t *pre);
/* Splits text into words, gives each to e->word(), which may fail (-errno). */
int text_pre_split(const text_pre_t *pre, const char *text, size_t len,
                   text_enc_t *e);

/* bpe.c */
int text_bpe_build(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                   size_t err_size);
int text_bpe_word(text_enc_t *e, const char *p, size_t len);

/* merge.c */

/* Table of normal tokens by their bytes, out of bytes, off and types. */
int text_words_build(text_tokenizer_t *tok, char *err, size_t err_size);
/* An empty table for n merges; 0 or -ENOMEM. */
int text_merges_room(text_tokenizer_t *tok, size_t n);
/* Of equal pairs the first counts; -EINVAL: too many collide. */
int text_merges_add(text_tokenizer_t *tok, int32_t left, int32_t right,
                    uint32_t rank, int32_t id);
/* v's merges; decode is for a half of one. */
int text_merges_build(text_tokenizer_t *tok, const text_vocab_t *v,
                      text_decode_pt decode, char *err, size_t err_size);
/* Marks the tokens that the merges of their own bytes do not lead to. */
int text_words_check(text_tokenizer_t *tok,
                     int (*slow)(text_enc_t *e, const char *p, size_t len));

/* Merges n <= TEXT_SHORT symbols, emits what they become. */
void text_merge_short(text_enc_t *e, const int32_t *ids, size_t n);
/* Room for up to n symbols; the caller fills id[], then runs. */
int  text_merge_room(text_enc_t *e, text_long_t *l, size_t n);
void text_merge_long(text_enc_t *e, text_long_t *l, size_t n);

/* spm_build.c */
int text_spm_build(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                   size_t err_size);
/* spm.c; first: the piece is at the text's beginning. */
int text_spm_piece(text_enc_t *e, const char *p, size_t len, bool first);
/* By merging, between characters that have no token. */
int text_spm_slow(text_enc_t *e, const char *p, size_t len);
/*
 * Where U+2581 is in the text, *text, *len and *trusted become a copy in which
 * it is a space.
 */
int text_spm_spaces(text_scratch_t *scratch, const char **text, size_t *len,
                    const uint8_t **trusted);

/* nfc.c */
int text_nfc_build(text_tokenizer_t *tok, char *err, size_t err_size);
/* *p and *len become the normalised text, in the scratch, if it is another. */
int text_nfc(const text_tokenizer_t *tok, text_scratch_t *scratch,
             const char **p, size_t *len);

/* The bytes that a byte-to-unicode spelling stands for, or -EINVAL. */
ssize_t text_bpe_decode(const char *s, size_t len, char *out);

/* detok.c: length of the longest prefix that is valid UTF-8. */
size_t text_utf8_prefix(const char *p, size_t len);
/* Length of the well-formed character at p, len > 0; 0: none. */
size_t text_utf8_char(const char *p, size_t len);
/* Length of the ill-formed part at p, where text_utf8_char() is 0. */
size_t text_utf8_part(const char *p, size_t len);
/* Whether no well-formed character starts at p, len > 0. */
bool text_utf8_bad_at(const char *p, size_t len);

/* scratch.c: at least size bytes, or NULL; and letting go of large ones. */
void *text_scratch_get(text_scratch_t *scratch, int room, size_t size);
void  text_scratch_trim(text_scratch_t *scratch);

int text_fail(char *err, size_t err_size, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));


#endif /* LLM_TEXT_PRIV_H */
