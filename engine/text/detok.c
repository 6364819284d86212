/*
 * Streaming detokenizer and UTF-8, see tokenizer.h.
 *
 * Pure functions over the caller's memory; any thread.  What counts as
 * ill-formed is the Unicode standard's table 3-7: no overlong forms, no
 * surrogates, nothing above U+10FFFF.
 */

#include "engine/text/text_priv.h"

#include <errno.h>


static size_t text_utf8_step(const uint8_t *p, size_t len, bool *partial);
static void   text_utf8_second(uint8_t lead, uint8_t *lo, uint8_t *hi);
static size_t text_utf8_bad(const uint8_t *p, size_t len);


/*
 * Looks at the sequence that starts at p, len > 0.  Returns the length of a
 * well-formed one; or 0, with *partial if all len bytes are the beginning of
 * one, otherwise the first maximal part of it is ill-formed.
 */
static size_t
text_utf8_step(const uint8_t *p, size_t len, bool *partial)
{
    uint8_t lo, hi;
    size_t  need, i;

    *partial = false;

    if (p[0] < 0x80) {
        return 1;
    }

    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }

    need = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    text_utf8_second(p[0], &lo, &hi);

    for (i = 1; i < need; i++) {
        if (i == len) {
            *partial = true;
            return 0;
        }

        if (p[i] < lo || p[i] > hi) {
            return 0;
        }

        lo = 0x80;
        hi = 0xbf;
    }

    return need;
}


/* The range of the second byte after a lead byte. */
static void
text_utf8_second(uint8_t lead, uint8_t *lo, uint8_t *hi)
{
    *lo = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *hi = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
}


/* Length of the ill-formed maximal part at p: at least 1. */
static size_t
text_utf8_bad(const uint8_t *p, size_t len)
{
    size_t n;
    bool   partial;

    for (n = 1; n < len && n < 4; n++) {
        if (text_utf8_step(p, n + 1, &partial) == 0 && !partial) {
            break;
        }
    }

    /* A lead byte that is none has a part of one byte. */

    text_utf8_step(p, 1, &partial);

    return partial ? n : 1;
}


size_t
text_utf8_prefix(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *) text;
    uint64_t       v;
    size_t         i, n;
    bool           partial;

    i = 0;

    while (i < len) {
        if (len - i >= 8) {
            memcpy(&v, p + i, 8);

            if ((v & 0x8080808080808080) == 0) {
                i += 8;
                continue;
            }
        }

        n = text_utf8_step(p + i, len - i, &partial);
        if (n == 0) {
            break;
        }

        i += n;
    }

    return i;
}


bool
text_utf8_bad_at(const char *p, size_t len)
{
    bool partial;

    return text_utf8_step((const uint8_t *) p, len, &partial) == 0;
}


size_t
text_utf8_char(const char *p, size_t len)
{
    bool partial;

    return text_utf8_step((const uint8_t *) p, len, &partial);
}


size_t
text_utf8_part(const char *p, size_t len)
{
    return text_utf8_bad((const uint8_t *) p, len);
}


ssize_t
text_detok_feed(text_detok_t *d, const char *bytes, size_t len, char *out,
                size_t cap)
{
    uint8_t        join[7];
    const uint8_t *p;
    size_t         i, n, got, take, w;
    bool           partial;

    if (cap < TEXT_DETOK_CAP(len)) {
        return -ENOSPC;
    }

    w = 0;
    i = 0;

    /* What was held and just enough of the new bytes to decide about it. */

    if (d->n > 0 && i < len) {
        memcpy(join, d->held, d->n);
        take = len - i < 4 ? len - i : 4;
        memcpy(join + d->n, bytes + i, take);
        n = d->n + take;

        got = text_utf8_step(join, n, &partial);

        if (partial) {
            memcpy(d->held, join, n);
            d->n = (uint8_t) n;
            return (ssize_t) w;
        }

        if (got > 0) {
            memcpy(out + w, join, got);
            w += got;

        } else {

            /* The ill-formed part has at least all that is held. */

            got = text_utf8_bad(join, n);
            memcpy(out + w, "\xef\xbf\xbd", 3);
            w += 3;
        }

        i += got - d->n;
        d->n = 0;
    }

    p = (const uint8_t *) bytes;

    while (i < len) {
        n = text_utf8_prefix(bytes + i, len - i);
        memcpy(out + w, bytes + i, n);
        w += n;
        i += n;

        if (i == len) {
            break;
        }

        text_utf8_step(p + i, len - i, &partial);

        if (partial) {
            d->n = (uint8_t) (len - i);
            memcpy(d->held, p + i, d->n);
            break;
        }

        i += text_utf8_bad(p + i, len - i);
        memcpy(out + w, "\xef\xbf\xbd", 3);
        w += 3;
    }

    return (ssize_t) w;
}


size_t
text_detok_flush(text_detok_t *d, char out[3])
{
    if (d->n == 0) {
        return 0;
    }

    d->n = 0;
    memcpy(out, "\xef\xbf\xbd", 3);

    return 3;
}
