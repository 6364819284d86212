/*
 * Tokenizer: text to token ids, token ids to text.
 *
 * Built once out of a vocabulary (a plain struct; where it comes from is the
 * caller's business), then immutable: any number of threads encode at once,
 * each with a scratch of its own.  Kinds: byte-level BPE ("gpt2").  A kind or
 * a pre-tokenizer that is not known is refused by its name, never guessed.
 *
 * Provenance.  Text that came from outside must never become a control token,
 * whatever it spells.  So text_encode() takes for each byte whether it is
 * trusted (the template's), and a control token, or a protected one, matches
 * only where all its bytes are.  Other user-defined tokens are ordinary text
 * with a token of its own and match everywhere, as in the original
 * tokenizers.  Elsewhere the same characters become ordinary tokens; no merge
 * and no look-up of a whole word yields a control or protected token.
 *
 * Any byte string can be encoded.  Bytes that are not UTF-8 are pieces of
 * their own.  The tokens' bytes joined are the text again, except for bytes
 * for which the vocabulary has no token: they are left out, as the original
 * tokenizers do (some vocabularies lack tokens for a few control characters,
 * and most for bytes that UTF-8 does not use).
 */

#ifndef LLM_TOKENIZER_H
#define LLM_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <sys/types.h>


/* Longest spelling of a control or user-defined token, in bytes. */
#define TEXT_MAX_SPECIAL 256

/* Most tokens of a vocabulary. */
#define TEXT_MAX_TOKENS (1 << 21)

/*
 * Most bytes one text_encode() takes.  A single word of n bytes (there is no
 * longer word than the text) needs 36 * n bytes of scratch, let go afterwards
 * above TEXT_KEEP; ordinary text needs a few KiB.
 */
#define TEXT_MAX_INPUT (1u << 26)
#define TEXT_KEEP      (1u << 23)


/* A string: borrowed, not terminated, any bytes. */
typedef struct {
    const char *data;
    size_t      len;
} text_str_t;


/* Types of tokens, numbered as in GGUF. */
enum {
    TEXT_NORMAL = 1,
    TEXT_UNKNOWN = 2,
    TEXT_CONTROL = 3,
    TEXT_USER_DEFINED = 4,
    TEXT_UNUSED = 5,
    TEXT_BYTE = 6
};


/*
 * A vocabulary; all of it is borrowed during text_tokenizer_new() only.
 * Strings of normal tokens and merges are in the byte-to-unicode spelling of
 * GPT-2 (a space is U+0120), those of other types are as they are.
 */
typedef struct {
    text_str_t model; /* "gpt2" */
    text_str_t pre;   /* "smollm", "llama-bpe", ... */

    size_t            n_tokens;
    const text_str_t *tokens;
    const int32_t    *types; /* TEXT_*, n_tokens of them; NULL: all normal */

    size_t            n_merges;
    const text_str_t *merges; /* "left right", best first */

    /*
     * n_tokens bytes, or NULL: a user-defined token with a byte that is not 0
     * is protected, it matches in trusted text only.
     */
    const uint8_t *protect;

    int  add_bos; /* 1, 0, or -1: what the pre-tokenizer's do */
    bool add_eos;
    bool add_space_prefix; /* refused for BPE */

    /* Special ids, -1 if there is none. */
    int32_t bos;
    int32_t eos;
    int32_t eot;
    int32_t unk;
    int32_t pad;
} text_vocab_t;


typedef struct text_tokenizer_s text_tokenizer_t;
typedef struct text_scratch_s   text_scratch_t;


/* Flags of text_encode(). */
enum {
    TEXT_ADD_BOS = 1, /* bos first, if the vocabulary asks for it (add_bos) */
    TEXT_ADD_EOS = 2, /* eos last, if the vocabulary asks for it (add_eos) */
};


/*
 * Builds a tokenizer: *out_new, text_tokenizer_free() it.  Takes up to some
 * 100 ms for a large vocabulary.  Returns 0, or -errno and a message of one
 * line in err: -ENOTSUP (a kind or pre-tokenizer not known; its name is in the
 * message), -EINVAL (a broken vocabulary), -ENOMEM.
 */
int text_tokenizer_new(const text_vocab_t *v, text_tokenizer_t **out_new,
                       char *err, size_t err_size);

/* NULL is allowed. */
void text_tokenizer_free(text_tokenizer_t *tok_take);


/*
 * Working memory of one thread for text_encode(), usable with any tokenizer,
 * one call at a time.  Grows to what the largest text needed and is reused;
 * then text_encode() does not allocate.  NULL on no memory.
 */
text_scratch_t *text_scratch_new(void);
void            text_scratch_free(text_scratch_t *scratch_take);


/*
 * Encodes len bytes of text.  trusted: a byte for each byte of text, 0 or not
 * 0, or NULL for "none is trusted".  flags: TEXT_ADD_*.
 * Writes the first cap ids to out and returns the number of all of them
 * (larger than cap: out was too small; cap 0 with out NULL counts; there are
 * never more than len + 2), or -errno: -EFBIG (len above TEXT_MAX_INPUT),
 * -ENOMEM.
 */
ssize_t text_encode(const text_tokenizer_t *tok, const char *text, size_t len,
                    const uint8_t *trusted, unsigned flags, int32_t *out,
                    size_t cap, text_scratch_t *scratch);


/*
 * The bytes that a token stands for, not terminated, valid as long as the
 * tokenizer; NULL and 0 for an id outside the vocabulary.  All of a token's
 * bytes, also those of control tokens (whether to show them is the caller's
 * choice); they need not be whole UTF-8 characters.
 */
const char *text_token_bytes(const text_tokenizer_t *tok, int32_t id,
                             size_t *len);

/* TEXT_*, or 0 for an id outside the vocabulary. */
int text_token_type(const text_tokenizer_t *tok, int32_t id);

/* Control, unknown or unused: never shown to a client as text. */
bool text_token_is_control(const text_tokenizer_t *tok, int32_t id);

/*
 * The id of the control or user-defined token of that spelling, or -1;
 * text_token_find_any() looks among the normal tokens too, by the bytes they
 * stand for.  Of equal tokens the lowest id.
 */
int32_t text_token_find(const text_tokenizer_t *tok, const char *s, size_t len);
int32_t text_token_find_any(const text_tokenizer_t *tok, const char *s,
                            size_t len);

/* Ids are 0 .. text_vocab_size() - 1: with text_token_bytes(), all tokens. */
size_t text_vocab_size(const text_tokenizer_t *tok);

/* Most bytes any token stands for. */
size_t text_token_max(const text_tokenizer_t *tok);

/* Special ids as given, -1 if there is none. */
int32_t text_bos(const text_tokenizer_t *tok);
int32_t text_eos(const text_tokenizer_t *tok);
int32_t text_eot(const text_tokenizer_t *tok);
int32_t text_unk(const text_tokenizer_t *tok);
int32_t text_pad(const text_tokenizer_t *tok);

/* Whether the vocabulary asks for a bos in front (a template may have one). */
bool text_adds_bos(const text_tokenizer_t *tok);


/*
 * Streaming detokenizer: bytes in as tokens come, whole UTF-8 characters out.
 * An incomplete character at the end is held back (at most 3 bytes) until its
 * rest or the end comes.  Each maximal part of an ill-formed sequence becomes
 * one U+FFFD: the whole output equals Python's
 * bytes.decode('utf-8', errors='replace') of the whole input, however it was
 * cut.  A plain struct: copying it saves its state; all zero is its start.
 */
typedef struct {
    uint8_t n;       /* bytes held */
    uint8_t held[3]; /* the valid beginning of a character */
} text_detok_t;


/* What cap must be at least to feed len bytes. */
#define TEXT_DETOK_CAP(len) (3 * ((len) + 3))

/*
 * Feeds len bytes, writes what is whole to out: returns its length, or
 * -ENOSPC if cap is below TEXT_DETOK_CAP(len), and nothing has happened.
 */
ssize_t text_detok_feed(text_detok_t *d, const char *bytes, size_t len,
                        char *out, size_t cap);

/* The end: an incomplete character becomes one U+FFFD; 0 or 3 bytes. */
size_t text_detok_flush(text_detok_t *d, char out[3]);


#endif /* LLM_TOKENIZER_H */
