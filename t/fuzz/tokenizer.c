/*
 * Fuzz target: texts for the tokenizer and bytes for the detokenizer.
 *
 * The first byte chooses the pre-tokenizer and whether anything is trusted;
 * the rest is text, of which a byte is trusted where the bit of its number,
 * modulo 8, is set in the second byte, or all of its first half.  What must
 * hold: the tokens' bytes are the text again; guarded tokens cover trusted
 * bytes only; counting equals writing; the detokenizer's output does not
 * depend on the cuts.
 */

#include "engine/text/tokenizer.h"
#include "t/text/small.h"

#include <stdlib.h>


#define MAX_TEXT 4096
#define PRES     5


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_tokenizers(void);
static void check_encode(const text_tokenizer_t *tok, const char *text,
                         size_t len, const uint8_t *trusted);
static void check_detok(const char *text, size_t len, uint8_t cut);

static text_tokenizer_t *tokenizers[PRES];
static text_scratch_t   *scratch;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t trusted[MAX_TEXT];
    const char    *text;
    size_t         i, len;

    if (size < 2) {
        return 0;
    }

    if (scratch == NULL) {
        make_tokenizers();
    }

    text = (const char *) data + 2;
    len = size - 2 < MAX_TEXT ? size - 2 : MAX_TEXT;

    for (i = 0; i < len; i++) {
        trusted[i] = data[0] & 0x40 ? i < len / 2 : data[1] >> (i & 7) & 1;
    }

    check_encode(tokenizers[(data[0] & 0x3f) % PRES], text, len,
                 data[0] & 0x80 ? NULL : trusted);
    check_detok(text, len, data[1]);

    return 0;
}


static void
make_tokenizers(void)
{
    static const char *pres[PRES] = {"gpt-2", "llama-bpe", "deepseek-llm",
                                     "gpt-4o", "falcon"};
    text_vocab_t       v;
    small_t            small;
    char               err[128];
    size_t             i;

    scratch = text_scratch_new();

    for (i = 0; i < PRES; i++) {
        small_vocab(&small, &v);
        v.pre = (text_str_t){pres[i], strlen(pres[i])};

        if (text_tokenizer_new(&v, &tokenizers[i], err, sizeof(err)) != 0) {
            abort();
        }
    }
}


static void
check_encode(const text_tokenizer_t *tok, const char *text, size_t len,
             const uint8_t *trusted)
{
    static int32_t ids[MAX_TEXT + 2];
    const char    *p;
    size_t         i, k, n, at;
    ssize_t        count;

    count = text_encode(tok, text, len, trusted, 0, ids, len + 2, scratch);

    if (count < 0 || count > (ssize_t) len
        || text_encode(tok, text, len, trusted, 0, NULL, 0, scratch) != count) {
        abort();
    }

    at = 0;

    for (i = 0; i < (size_t) count; i++) {
        p = text_token_bytes(tok, ids[i], &n);

        if (p == NULL || n > len - at || memcmp(text + at, p, n) != 0) {
            abort();
        }

        if (text_token_is_control(tok, ids[i]) || ids[i] == SMALL_THINK) {
            for (k = at; k < at + n; k++) {
                if (trusted == NULL || !trusted[k]) {
                    abort();
                }
            }
        }

        at += n;
    }

    if (at != len) {
        abort();
    }
}


static void
check_detok(const char *text, size_t len, uint8_t cut)
{
    static char  a[TEXT_DETOK_CAP(MAX_TEXT)], b[TEXT_DETOK_CAP(MAX_TEXT)];
    text_detok_t d = {0};
    size_t       i, n, m, step;

    n = (size_t) text_detok_feed(&d, text, len, a, sizeof(a));
    n += text_detok_flush(&d, a + n);
    m = 0;

    for (i = 0; i < len; i += step) {
        step = 1 + (cut >> (i & 3) & 7);
        step = step < len - i ? step : len - i;
        m += (size_t) text_detok_feed(&d, text + i, step, b + m, sizeof(b) - m);
    }

    m += text_detok_flush(&d, b + m);

    if (n != m || memcmp(a, b, n) != 0) {
        abort();
    }
}


#include "t/fuzz/replay.h"
