/*
 * Tokenizer: text to token ids, token ids to text.
 *
 * Built once out of a vocabulary (a plain struct; where it comes from is the
 * caller's business), then immutable: any number of threads encode at once,
 * each with a scratch of its own.  Kinds: byte-level BPE ("gpt2") and
 * SentencePiece BPE ("llama").  A kind or a pre-tokenizer that is not known is
 * refused by its name, never guessed.
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
 * their own.  The tokens' bytes joined are the text again, but for
 *
 *   - bytes for which the vocabulary has no token: byte-level BPE leaves them
 *     out, as the original tokenizers do (some vocabularies lack tokens for a
 *     few control characters, and most for bytes that UTF-8 does not use);
 *     SentencePiece has byte tokens, or one unknown token for a run of such;
 *   - NFC, where the family's original normalises (see nfc below);
 *   - SentencePiece's space prefix, blanks that special tokens take away.
 *
 * Space prefix.  SentencePiece vocabularies spell " word" as one token, so a
 * text gets a space in front.  Whether the text behind a special token gets
 * one too is where implementations differ: the original does not know special
 * tokens; the tokenizer.json of Llama 2, Mistral 0.1 to 0.2, TinyLlama and
 * Phi-3 ("legacy", a normaliser that prepends) put it in front of each piece
 * of text, and so does llama.cpp; those with a pre-tokenizer that prepends to
 * the "first" (Mistral 0.3) only at the beginning of all.  A GGUF does not
 * say which, so there it is each piece; a tokenizer.json says, see prefix.
 *
 * Tokens to text.  text_token_bytes() is a token's bytes as they stand in a
 * running text: of a SentencePiece token " word" with its space.  An answer
 * is streamed so, from its first token on: it goes on from the prompt, whose
 * text and the answer's joined are then what the model read, and a
 * completion of "Once upon" is " a time" and not "a time".  (vLLM and
 * llama-server stream so; transformers' decode() of generated ids alone takes
 * one leading space away, since it cannot know a text's beginning from a
 * later part of it.)  Who decodes a whole text from its beginning (an echoed
 * prompt) takes the prefix away: text_prefix_len().
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
 * longer word than the text) needs 40 * n bytes of scratch, let go afterwards
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


/* Where SentencePiece's space prefix goes, with add_space_prefix. */
enum {
    TEXT_PREFIX_EACH = 0,  /* before each piece of text between specials */
    TEXT_PREFIX_FIRST = 1, /* at the beginning, if no space is there */
    TEXT_PREFIX_BLANK = 2, /* before each piece that has no space there */
};


/* Bits of strips: blanks beside a special token belong to it. */
enum {
    TEXT_LSTRIP = 1, /* those before it */
    TEXT_RSTRIP = 2, /* those behind it */
};


/*
 * A vocabulary; all of it is borrowed during text_tokenizer_new() only.
 *
 * "gpt2": strings of normal tokens and merges are in the byte-to-unicode
 * spelling of GPT-2 (a space is U+0120), those of other types are as they are.
 *
 * "llama": U+2581 is a space, in merges, in tokens of all types and in text;
 * byte tokens are "<0xHH>"; there must be a normal token for the space.  With
 * merges these lead (as in a tokenizer.json), without them the scores: the pair
 * that makes the token with the best goes first, the leftmost of equal ones (as
 * in SentencePiece).
 */
typedef struct {
    text_str_t model; /* "gpt2", "llama" */
    text_str_t pre;   /* "smollm", "llama-bpe", ...; nothing for "llama" */

    size_t            n_tokens;
    const text_str_t *tokens;
    const int32_t    *types; /* TEXT_*, n_tokens of them; NULL: all normal */

    size_t            n_merges;
    const text_str_t *merges; /* "left right", best first */

    const float *scores; /* n_tokens, or NULL: "llama" without merges needs
                            them, others do not look */

    /*
     * n_tokens bytes, or NULL: a user-defined token with a byte that is not 0
     * is protected, it matches in trusted text only.
     */
    const uint8_t *protect;

    /* n_tokens of TEXT_LSTRIP | TEXT_RSTRIP for special tokens, or NULL. */
    const uint8_t *strips;

    int  add_bos; /* 1, 0, or -1: what the pre-tokenizer's do ("llama": 1) */
    bool add_eos;
    bool add_space_prefix; /* refused for "gpt2" */
    int  prefix;           /* TEXT_PREFIX_*, "llama" */

    /*
     * "llama": blanks at both ends of a piece go, runs become one.  Refused
     * for "gpt2".
     */
    bool remove_extra_whitespaces;

    /*
     * Whether text is normalised to NFC, and whether a word that is a token
     * is that token whatever the merges say: 1, 0, or -1: what the
     * pre-tokenizer's do ("llama": no, and refused).  Special tokens are
     * looked for in the text as it came: normalisation makes none.
     */
    int nfc;
    int ignore_merges;

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
 * A step of a tokenizer.json's pre_tokenizer.  A "Sequence" is its members in
 * order; a ByteLevel with use_regex false that ends it is left out.
 */
typedef struct {
    enum {
        TEXT_STEP_SPLIT,       /* Split, Regex, Isolated (or Removed with invert
                                  true, the same for what cuts all text) */
        TEXT_STEP_DIGITS,      /* Digits with individual_digits true */
        TEXT_STEP_DIGIT_RUNS,  /* Digits with individual_digits false */
        TEXT_STEP_PUNCTUATION, /* Punctuation, Contiguous */
        TEXT_STEP_BYTE_LEVEL,  /* ByteLevel with use_regex true,
                                  add_prefix_space false */
    } kind;
    text_str_t pattern; /* Split's, as the parsed JSON has it; else nothing */
} text_step_t;

/*
 * The name for text_vocab_t.pre of a row of steps, or NULL: none is known to
 * cut text in this way.  By equality of the patterns, nothing is guessed.  Of
 * several names the one which llama.cpp knows for the family's best-known
 * model; what it says about nfc, ignore_merges and add_bos may not be what
 * the tokenizer.json says, so say these too.  Static memory.
 */
const char *text_pre_find(const text_step_t *steps, size_t n);

/*
 * Builds a tokenizer: *out_new, text_tokenizer_free() it.  Takes some
 * 100 ms for a large vocabulary (Gemma 3's 262,144 tokens: 0.3 s, 28 MB).  Returns 0, or -errno and a message of one
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
 * never more than text_encode_max()), or -errno: -EFBIG (len above
 * TEXT_MAX_INPUT), -ENOMEM.
 */
ssize_t text_encode(const text_tokenizer_t *tok, const char *text, size_t len,
                    const uint8_t *trusted, unsigned flags, int32_t *out,
                    size_t cap, text_scratch_t *scratch);


/* Most ids that len bytes of any text can become: a small multiple of len. */
size_t text_encode_max(const text_tokenizer_t *tok, size_t len);

/*
 * How many bytes at the front of a whole decoded text are the prefix that
 * encoding put there, and not text: 0 or 1.  first: the text's first token
 * that is not a control token.
 */
size_t text_prefix_len(const text_tokenizer_t *tok, int32_t first);

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
