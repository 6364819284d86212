/*
 * Fuzz target: a vocabulary out of a file, and a text under it.
 *
 * The first byte chooses the kind and the pre-tokenizer, the second flags; then
 * records of a head byte h and h >> 3 bytes: h & 7 is 0 for a merge, 7 for a
 * piece of the text, otherwise the type of a token.  Tokens' scores are made
 * of their first byte.  What must hold: it is refused, or it encodes any text
 * within the bounds, and every id is a token's.
 */

#include "engine/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>


#define MAX_ITEMS 512
#define MAX_TEXT  4096


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_records(text_vocab_t *v, const uint8_t *data, size_t size);
static void check(const text_tokenizer_t *tok, const uint8_t *trusted);

static text_str_t tokens[MAX_ITEMS + 257];
static text_str_t merges[MAX_ITEMS];
static int32_t    types[MAX_ITEMS + 257];
static float      scores[MAX_ITEMS + 257];
static uint8_t    strips[MAX_ITEMS + 257];
static char       text[MAX_TEXT];
static size_t     text_len;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *pres[] = {"gpt-2", "llama-bpe", "qwen2", "falcon"};
    static uint8_t     trusted[MAX_TEXT];
    text_tokenizer_t  *tok;
    text_vocab_t       v;
    char               err[64];

    if (size < 2) {
        return 0;
    }

    memset(&v, 0, sizeof(v));
    memset(trusted, 1, sizeof(trusted));

    v.model = data[0] & 4 ? (text_str_t){"llama", 5} : (text_str_t){"gpt2", 4};
    v.pre = (text_str_t){pres[data[0] & 3], strlen(pres[data[0] & 3])};
    v.prefix = data[0] >> 3 & 3;
    v.add_space_prefix = data[1] & 1;
    v.remove_extra_whitespaces = data[1] & 2;
    v.types = data[1] & 4 ? NULL : types;
    v.scores = data[1] & 8 ? NULL : scores;
    v.strips = data[1] & 16 ? strips : NULL;
    v.nfc = v.ignore_merges = v.add_bos = -1;
    v.bos = v.eos = v.eot = v.unk = v.pad = -1;

    read_records(&v, data + 2, size - 2);

    if (text_tokenizer_new(&v, &tok, err, sizeof(err)) != 0) {
        return 0;
    }

    check(tok, NULL);
    check(tok, trusted);
    text_tokenizer_free(tok);

    return 0;
}


/* The space first: without one no SentencePiece vocabulary is taken. */
static void
read_records(text_vocab_t *v, const uint8_t *data, size_t size)
{
    const char *p;
    size_t      i, len;
    int         kind;

    text_len = 0;
    tokens[0] = (text_str_t){"\xe2\x96\x81", 3};
    types[0] = TEXT_NORMAL;
    v->n_tokens = 1;

    for (i = 0; i < size; i += len) {
        kind = data[i] & 7;
        len = data[i++] >> 3;
        len = len < size - i ? len : size - i;
        p = (const char *) data + i;

        if (kind == 0 && v->n_merges < MAX_ITEMS) {
            merges[v->n_merges++] = (text_str_t){p, len};

        } else if (kind == 7 && text_len + len <= MAX_TEXT) {
            memcpy(text + text_len, p, len);
            text_len += len;

        } else if (kind > 0 && kind < 7 && v->n_tokens < MAX_ITEMS) {
            tokens[v->n_tokens] = (text_str_t){p, len};
            types[v->n_tokens] = kind;
            strips[v->n_tokens] = len > 0 ? (uint8_t) p[len - 1] & 3 : 0;
            scores[v->n_tokens++] = len > 0 ? -(float) (uint8_t) p[0] : 0;
        }
    }

    v->tokens = tokens;
    v->merges = merges;
}


static void
check(const text_tokenizer_t *tok, const uint8_t *trusted)
{
    static int32_t  ids[3 * MAX_TEXT + 8];
    text_scratch_t *scratch;
    size_t          len, cap;
    ssize_t         i, n;

    scratch = text_scratch_new();
    cap = sizeof(ids) / sizeof(ids[0]);
    n = text_encode(tok, text, text_len, trusted, 0, ids, cap, scratch);

    if (n < 0 || (size_t) n > text_encode_max(tok, text_len)
        || (size_t) n > cap) {
        abort();
    }

    for (i = 0; i < n; i++) {
        if (text_token_bytes(tok, ids[i], &len) == NULL) {
            abort();
        }
    }

    text_scratch_free(scratch);
}


#include "t/fuzz/replay.h"
