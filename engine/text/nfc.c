/*
 * Unicode's normalisation form C of text, for families whose original
 * tokenizers normalise first.
 *
 * The table is built once with the tokenizer and immutable afterwards; any
 * thread may normalise, the result lies in its scratch.  It has a bit for each
 * code point that is active: that changes alone, that follows another in a
 * composition, or that has a combining class.  Only these, and the character
 * before the first of them, are ever looked at closely; before every other
 * one a text can be cut.  Ordinary text has none: it stays where it is.
 *
 * Known difference: the tables of the `tokenizers` package are older
 * than Unicode 10; marks that came later stay where they are in a run of marks.
 *
 * Special tokens have been taken out before, where their bytes are trusted:
 * nothing that normalisation makes can become one.  Bytes that are not UTF-8
 * stay as they are.  The work is linear, for any number of marks in a row.
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <utf8proc.h>


/* Nothing above is active: ideographs, and what is not assigned. */
#define NFC_CODES 0x30000

/* No character decomposes canonically into more, nor grows more in UTF-8. */
#define NFC_GROWTH 4
#define NFC_BYTES  3

/* Source characters of a run that need no memory from the scratch. */
#define NFC_SHORT 32

#define NFC_CLASSES 256


static void   nfc_code(uint32_t *active, int32_t c);
static size_t nfc_decode(const char *p, size_t len, int32_t *c);
static size_t nfc_find(const uint32_t *active, const char *p, size_t len,
                       size_t *before);
static size_t nfc_run(const uint32_t *active, const char *p, size_t len,
                      size_t *chars);
static int    nfc_compose(text_scratch_t *scratch, const char *p, size_t len,
                          size_t chars, char *out, size_t *written);
static void   nfc_order(int32_t *c, int32_t *tmp, size_t n);
static void   nfc_sort(int32_t *c, int32_t *tmp, size_t n);


static inline int
nfc_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}


static inline bool
nfc_is_active(const uint32_t *active, int32_t c)
{
    return c < NFC_CODES && (active[c >> 5] >> (c & 31) & 1);
}


int
text_nfc_build(text_tokenizer_t *tok, char *err, size_t err_size)
{
    int32_t c;

    tok->active = calloc(NFC_CODES / 32, sizeof(uint32_t));
    if (tok->active == NULL) {
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    for (c = 0x80; c < NFC_CODES; c++) {
        if (c < 0xd800 || c > 0xdfff) {
            nfc_code(tok->active, c);
        }
    }

    return 0;
}


/* Sets the bits that one code point is the reason of. */
static void
nfc_code(uint32_t *active, int32_t c)
{
    int32_t          buf[NFC_GROWTH];
    utf8proc_ssize_t n, i;
    int              boundary;

    boundary = 0;

    if (nfc_class(c) != 0) {
        active[c >> 5] |= 1u << (c & 31);
    }

    n = utf8proc_decompose_char(c, buf, NFC_GROWTH, UTF8PROC_DECOMPOSE,
                                &boundary);

    if (n < 1 || n > NFC_GROWTH || (n == 1 && buf[0] == c)) {
        return;
    }

    for (i = 1; i < n; i++) {
        active[buf[i] >> 5] |= 1u << (buf[i] & 31);
    }

    n = utf8proc_normalize_utf32(buf, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);

    if (n != 1 || buf[0] != c) {
        active[c >> 5] |= 1u << (c & 31);
    }
}


int
text_nfc(const text_tokenizer_t *tok, text_scratch_t *scratch, const char **p,
         size_t *len)
{
    const char *in = *p;
    size_t      i, k, n, before, chars, w;
    char       *out;
    int         rc;

    i = nfc_find(tok->active, in, *len, &before);

    if (i == *len) {
        return 0;
    }

    out = text_scratch_get(scratch, TEXT_ROOM_TEXT, NFC_BYTES * *len);
    if (out == NULL) {
        return -ENOMEM;
    }

    w = 0;
    k = 0;

    /* k is behind what has been written, i the next active character. */

    while (i < *len) {
        memcpy(out + w, in + k, before - k);
        w += before - k;

        n = nfc_run(tok->active, in + before, *len - before, &chars);
        k = before + n;
        rc = nfc_compose(scratch, in + before, n, chars, out + w, &n);
        if (rc != 0) {
            return rc;
        }

        w += n;
        i = k + nfc_find(tok->active, in + k, *len - k, &before);
        before += k;
    }

    memcpy(out + w, in + k, *len - k);
    *p = out;
    *len = w + *len - k;

    return 0;
}


/* The character at p, len > 0, and its length; ill-formed bytes are -1. */
static size_t
nfc_decode(const char *p, size_t len, int32_t *c)
{
    const uint8_t *u = (const uint8_t *) p;
    size_t         n;

    n = text_utf8_char(p, len);

    switch (n) {
    case 0:
        *c = -1;
        return 1;
    case 1:
        *c = u[0];
        break;
    case 2:
        *c = (u[0] & 0x1f) << 6 | (u[1] & 0x3f);
        break;
    case 3:
        *c = (u[0] & 0x0f) << 12 | (u[1] & 0x3f) << 6 | (u[2] & 0x3f);
        break;
    default:
        *c = (u[0] & 0x07) << 18 | (u[1] & 0x3f) << 12 | (u[2] & 0x3f) << 6
             | (u[3] & 0x3f);
        break;
    }

    return n;
}


/*
 * Where the first active character is, or len; before: where the character
 * is that it may combine with, or its own place.
 */
static size_t
nfc_find(const uint32_t *active, const char *p, size_t len, size_t *before)
{
    const uint8_t *u = (const uint8_t *) p;
    uint64_t       v;
    size_t         i, n, last;
    int32_t        c;

    last = SIZE_MAX;
    i = 0;

    while (i < len) {
        if (len - i >= 8) {
            memcpy(&v, p + i, 8);

            if ((v & 0x8080808080808080) == 0) {
                i += 8;
                last = i - 1;
                continue;
            }
        }

        /* Up to U+02FF nothing is active. */

        if (u[i] < 0xcc) {
            n = u[i] < 0x80 ? 1 : text_utf8_char(p + i, len - i);
            last = n > 0 ? i : SIZE_MAX;
            i += n > 0 ? n : 1;
            continue;
        }

        n = nfc_decode(p + i, len - i, &c);

        if (c >= 0 && nfc_is_active(active, c)) {
            *before = last != SIZE_MAX ? last : i;
            return i;
        }

        last = c >= 0 ? i : SIZE_MAX;
        i += n;
    }

    *before = len;
    return len;
}


/* Length of the first character and the active ones behind it. */
static size_t
nfc_run(const uint32_t *active, const char *p, size_t len, size_t *chars)
{
    size_t  i, n;
    int32_t c;

    i = nfc_decode(p, len, &c);
    *chars = 1;

    while (i < len) {
        n = nfc_decode(p + i, len - i, &c);

        if (c < 0 || !nfc_is_active(active, c)) {
            break;
        }

        i += n;
        (*chars)++;
    }

    return i;
}


/* One run: decomposed, its marks in order, composed. */
static int
nfc_compose(text_scratch_t *scratch, const char *p, size_t len, size_t chars,
            char *out, size_t *written)
{
    int32_t          small[2 * NFC_SHORT * NFC_GROWTH], *buf, c;
    utf8proc_ssize_t got;
    size_t           i, n, room, w;
    int              boundary;

    room = chars * NFC_GROWTH;
    buf = small;

    if (chars > NFC_SHORT) {
        buf = text_scratch_get(scratch, TEXT_ROOM_SEGMENT,
                               2 * room * sizeof(int32_t));
        if (buf == NULL) {
            return -ENOMEM;
        }
    }

    boundary = 0;
    n = 0;

    for (i = 0; i < len;) {
        i += nfc_decode(p + i, len - i, &c);
        got = utf8proc_decompose_char(c, buf + n, NFC_GROWTH,
                                      UTF8PROC_DECOMPOSE, &boundary);
        n += got > 0 && got <= NFC_GROWTH ? (size_t) got : 0;
    }

    nfc_order(buf, buf + room, n);
    got = utf8proc_normalize_utf32(buf, (utf8proc_ssize_t) n,
                                   UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    w = 0;

    for (i = 0; got > 0 && i < (size_t) got; i++) {
        w += (size_t) utf8proc_encode_char(buf[i], (uint8_t *) out + w);
    }

    *written = w;
    return 0;
}


/* Marks between characters of class 0 by their classes, equal ones stay. */
static void
nfc_order(int32_t *c, int32_t *tmp, size_t n)
{
    size_t i, k;

    for (i = 0; i < n; i = k) {
        k = i + 1;

        if (nfc_class(c[i]) == 0) {
            continue;
        }

        while (k < n && nfc_class(c[k]) != 0) {
            k++;
        }

        nfc_sort(c + i, tmp, k - i);
    }
}


static void
nfc_sort(int32_t *c, int32_t *tmp, size_t n)
{
    size_t  count[NFC_CLASSES + 1], i, k;
    int32_t v;

    if (n <= 16) {
        for (i = 1; i < n; i++) {
            v = c[i];

            for (k = i; k > 0 && nfc_class(c[k - 1]) > nfc_class(v); k--) {
                c[k] = c[k - 1];
            }

            c[k] = v;
        }

        return;
    }

    memset(count, 0, sizeof(count));

    for (i = 0; i < n; i++) {
        count[nfc_class(c[i]) + 1]++;
    }

    for (i = 1; i <= NFC_CLASSES; i++) {
        count[i] += count[i - 1];
    }

    for (i = 0; i < n; i++) {
        tmp[count[nfc_class(c[i])]++] = c[i];
    }

    memcpy(c, tmp, n * sizeof(int32_t));
}
