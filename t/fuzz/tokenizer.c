/*
 * Fuzz target: texts for the tokenizer and bytes for the detokenizer.
 *
 * The first byte chooses the tokenizer and whether anything is trusted; the
 * rest is text, of which a byte is trusted where the bit of its number, modulo
 * 8, is set in the second byte, or all of its first half.  What must hold: the
 * tokens' bytes are the text again (for SentencePiece, with the space for
 * U+2581), and guarded tokens cover trusted bytes only; where text is changed
 * first (NFC, a space prefix, blanks stripped) no guarded token without trust;
 * never more tokens than text_encode_max(); counting equals writing; the
 * detokenizer's output does not depend on the cuts.
 */

#include "engine/text/tokenizer.h"
#include "t/text/small.h"
#include "t/text/small_spm.h"

#include <stdlib.h>


#define MAX_TEXT 4096
#define PRES     6

/* What is done to the text before its tokens are made. */
enum { SAME, SPACES, CHANGED };


typedef struct {
    text_tokenizer_t *tok;
    int               change;
} target_t;


enum {
    SPM_PLAIN = PRES, /* no prefix */
    SPM_EACH,
    SPM_STRIPS, /* the first only, blanks taken by special tokens */
    SPM_NO_BYTES,
    SPM_BY_MERGES,
    TARGETS
};


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void   make_tokenizers(void);
static void   make_spm(void);
static void   make(int target, const text_vocab_t *v, int change);
static void   check_encode(const target_t *t, const char *text, size_t len,
                           const uint8_t *trusted);
static void   check_bytes(const text_tokenizer_t *tok, size_t count,
                          const char *text, size_t len, const uint8_t *trusted);
static size_t to_spaces(const char *text, size_t len, const uint8_t *trusted,
                        char *out, uint8_t *trust);
static bool   is_guarded(const text_tokenizer_t *tok, int32_t id);
static void   check_detok(const char *text, size_t len, uint8_t cut);

static target_t        targets[TARGETS];
static text_scratch_t *scratch;
static int32_t         ids[3 * MAX_TEXT + 8];


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

    check_encode(&targets[(data[0] & 0x3f) % TARGETS], text, len,
                 data[0] & 0x80 ? NULL : trusted);
    check_detok(text, len, data[1]);

    return 0;
}


static void
make_tokenizers(void)
{
    static const char *pres[PRES] = {"gpt-2",  "llama-bpe", "deepseek-llm",
                                     "gpt-4o", "falcon",    "qwen2"};
    text_vocab_t       v;
    small_t            small;
    int                i;

    scratch = text_scratch_new();

    for (i = 0; i < PRES; i++) {
        small_vocab(&small, &v);
        v.pre = (text_str_t){pres[i], strlen(pres[i])};
        make(i, &v, i == PRES - 1 ? CHANGED : SAME);
    }

    make_spm();
}


static void
make_spm(void)
{
    static uint8_t strips[SPM_N];
    text_str_t     merges[] = {{"a b", 3}, {"ab c", 4}, {"h e", 3}, {"a a", 3}};
    text_vocab_t   v;
    small_spm_t    small;
    size_t         i;

    small_spm(&small, &v);
    make(SPM_EACH, &v, CHANGED);

    v.prefix = TEXT_PREFIX_FIRST;
    v.strips = strips;
    strips[SPM_BOS] = TEXT_RSTRIP;
    strips[SPM_EOS] = TEXT_LSTRIP | TEXT_RSTRIP;
    strips[SPM_BR] = TEXT_LSTRIP;
    v.remove_extra_whitespaces = true;
    make(SPM_STRIPS, &v, CHANGED);

    small_spm(&small, &v);
    v.add_space_prefix = false;
    make(SPM_PLAIN, &v, SPACES);

    v.merges = merges;
    v.n_merges = sizeof(merges) / sizeof(merges[0]);
    make(SPM_BY_MERGES, &v, SPACES);
    v.n_merges = 0;

    for (i = 0; i < 256; i++) {
        small.types[SPM_BYTE + i] = TEXT_UNUSED;
    }

    make(SPM_NO_BYTES, &v, CHANGED);
}


static void
make(int target, const text_vocab_t *v, int change)
{
    char err[128];

    if (text_tokenizer_new(v, &targets[target].tok, err, sizeof(err)) != 0) {
        abort();
    }

    targets[target].change = change;
}


static void
check_encode(const target_t *t, const char *text, size_t len,
             const uint8_t *trusted)
{
    static char    spaced[MAX_TEXT];
    static uint8_t trust[MAX_TEXT];
    size_t         i;
    ssize_t        n;

    n = text_encode(t->tok, text, len, trusted, 0, ids,
                    sizeof(ids) / sizeof(ids[0]), scratch);

    if (n < 0 || n > (ssize_t) text_encode_max(t->tok, len)
        || n > (ssize_t) (sizeof(ids) / sizeof(ids[0]))
        || text_encode(t->tok, text, len, trusted, 0, NULL, 0, scratch) != n) {
        abort();
    }

    switch (t->change) {
    case SAME:
        check_bytes(t->tok, (size_t) n, text, len, trusted);
        break;

    case SPACES:
        len = to_spaces(text, len, trusted, spaced, trust);
        check_bytes(t->tok, (size_t) n, spaced, len, trusted ? trust : NULL);
        break;

    default:
        for (i = 0; trusted == NULL && i < (size_t) n; i++) {
            if (is_guarded(t->tok, ids[i]) && ids[i] != text_unk(t->tok)) {
                abort();
            }
        }
    }
}


/* ids[] are the text, guarded tokens the trusted parts of it only. */
static void
check_bytes(const text_tokenizer_t *tok, size_t count, const char *text,
            size_t len, const uint8_t *trusted)
{
    const char *p;
    size_t      i, k, n, at;

    at = 0;

    for (i = 0; i < count; i++) {
        p = text_token_bytes(tok, ids[i], &n);

        if (p == NULL || n > len - at || memcmp(text + at, p, n) != 0) {
            abort();
        }

        for (k = at; is_guarded(tok, ids[i]) && k < at + n; k++) {
            if (trusted == NULL || !trusted[k]) {
                abort();
            }
        }

        at += n;
    }

    if (at != len) {
        abort();
    }
}


/* U+2581 becomes a space, trusted where all of it was. */
static size_t
to_spaces(const char *text, size_t len, const uint8_t *trusted, char *out,
          uint8_t *trust)
{
    size_t i, n;

    n = 0;

    for (i = 0; i < len; i++) {
        out[n] = text[i];
        trust[n] = trusted ? trusted[i] : 0;

        if (len - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0) {
            out[n] = ' ';
            trust[n] =
                trusted && trusted[i] && trusted[i + 1] && trusted[i + 2];
            i += 2;
        }

        n++;
    }

    return n;
}


static bool
is_guarded(const text_tokenizer_t *tok, int32_t id)
{
    const char *p;
    size_t      len;

    if (text_token_is_control(tok, id)) {
        return true;
    }

    p = text_token_bytes(tok, id, &len);

    return text_token_type(tok, id) == TEXT_USER_DEFINED
           && ((len == 7 && memcmp(p, "<think>", 7) == 0)
               || (len == 3 && memcmp(p, "<t>", 3) == 0));
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
