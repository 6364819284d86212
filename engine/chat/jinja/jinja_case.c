/*
 * Characters as Python's str sees them: classes and case mapping.  A mapped
 * character has the trust of the one it came from.
 */

#include "jinja.h"

typedef struct {
    uint32_t first, last;
} jinja_range_t;

typedef struct {
    uint32_t first, last;
    int32_t  delta;
    uint32_t step;
} jinja_shift_t;

#include "jinja_unicode.h"
#include "jinja_unicode_case.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool     in_ranges(const jinja_range_t *r, size_t n, uint32_t cp);
static uint32_t shifted(const jinja_shift_t *r, size_t n, uint32_t cp);


static bool
in_ranges(const jinja_range_t *r, size_t n, uint32_t cp)
{
    size_t lo = 0, hi = n, mid;

    while (lo < hi) {
        mid = (lo + hi) / 2;
        if (cp > r[mid].last) {
            lo = mid + 1;
        } else if (cp < r[mid].first) {
            hi = mid;
        } else {
            return true;
        }
    }

    return false;
}


static uint32_t
shifted(const jinja_shift_t *r, size_t n, uint32_t cp)
{
    size_t lo = 0, hi = n, mid;

    while (lo < hi) {
        mid = (lo + hi) / 2;
        if (cp > r[mid].last) {
            lo = mid + 1;
        } else if (cp < r[mid].first) {
            hi = mid;
        } else {
            return (cp - r[mid].first) % r[mid].step
                       ? cp
                       : (uint32_t) ((int32_t) cp + r[mid].delta);
        }
    }

    return cp;
}


bool
jinja_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85
           || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a)
           || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f
           || cp == 0x3000;
}


bool
jinja_is_printable(uint32_t cp)
{
    return cp < 128 ? cp >= 32 && cp < 127
                    : !in_ranges(unprintable, COUNT(unprintable), cp);
}


bool
jinja_is_alpha(uint32_t cp)
{
    return cp < 128 ? (cp | 32) >= 'a' && (cp | 32) <= 'z'
                    : in_ranges(alpha, COUNT(alpha), cp);
}


bool
jinja_is_decimal(uint32_t cp)
{
    return cp < 128 ? cp >= '0' && cp <= '9'
                    : in_ranges(decimal, COUNT(decimal), cp);
}


bool
jinja_is_digit(uint32_t cp)
{
    return cp < 128 ? cp >= '0' && cp <= '9'
                    : in_ranges(digit, COUNT(digit), cp);
}


bool
jinja_is_numeric(uint32_t cp)
{
    return cp < 128 ? cp >= '0' && cp <= '9'
                    : in_ranges(numeric, COUNT(numeric), cp);
}


bool
jinja_is_lower(uint32_t cp)
{
    return cp < 128 ? cp >= 'a' && cp <= 'z'
                    : in_ranges(lower, COUNT(lower), cp);
}


bool
jinja_is_upper(uint32_t cp)
{
    return cp < 128 ? cp >= 'A' && cp <= 'Z'
                    : in_ranges(upper, COUNT(upper), cp);
}


/* The one to three characters that cp becomes. */

static size_t
map(uint32_t cp, jinja_case_t how, uint32_t to[3])
{
    size_t i, n;
    const uint32_t(*rows)[4];

    if (cp < 128) {
        to[0] = how == JINJA_LOWER ? (cp >= 'A' && cp <= 'Z' ? cp + 32 : cp)
                                   : (cp >= 'a' && cp <= 'z' ? cp - 32 : cp);
        return 1;
    }

    if (how == JINJA_TITLE) {
        for (i = 0; i < COUNT(title_special); i++) {
            if (title_special[i][0] == cp) {
                rows = &title_special[i];
                goto special;
            }
        }
    }

    rows = how == JINJA_LOWER ? lower_special : upper_special;
    n = how == JINJA_LOWER ? COUNT(lower_special) : COUNT(upper_special);

    for (i = 0; i < n; i++, rows++) {
        if ((*rows)[0] == cp) {
            goto special;
        }
    }

    to[0] = how == JINJA_LOWER ? shifted(to_lower, COUNT(to_lower), cp)
                               : shifted(to_upper, COUNT(to_upper), cp);
    return 1;

special:

    for (n = 0; n < 3 && (*rows)[n + 1]; n++) {
        to[n] = (*rows)[n + 1];
    }

    return n;
}


static bool
cased(uint32_t cp)
{
    return jinja_is_lower(cp) || jinja_is_upper(cp);
}


/* A capital sigma at the end of a word has a small letter of its own. */

static bool
final_sigma(const jinja_str_t *s, size_t at)
{
    uint32_t cp;

    if (at == 0) {
        return false;
    }

    (void) jinja_utf8_prev(s->text, at, &cp);
    if (!cased(cp)) {
        return false;
    }

    at += 2;
    if (at >= s->len) {
        return true;
    }

    (void) jinja_utf8_get(s->text + at, s->text + s->len, &cp);

    return !cased(cp);
}


void
jinja_case_add(jinja_t *j, jinja_buf_t *b, const jinja_str_t *s, size_t from,
               size_t to, jinja_case_t how)
{
    bool     trusted;
    size_t   i, k, n, len;
    uint32_t cp, out[3];

    for (i = from; i < to; i += len) {
        len = jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        trusted = jinja_str_trust(s, i);

        if (cp == 0x3a3 && how == JINJA_LOWER && final_sigma(s, i)) {
            jinja_buf_char(j, b, 0x3c2, trusted);
            continue;
        }

        n = map(cp, how, out);
        for (k = 0; k < n; k++) {
            jinja_buf_char(j, b, out[k], trusted);
        }
    }

    jinja_step(j, (to - from) / 8);
}


/* JINJA_TITLE: as str.title(), each word; else every character. */

const jinja_str_t *
jinja_case(jinja_t *j, const jinja_str_t *s, jinja_case_t how)
{
    bool         word = false;
    size_t       i, len;
    uint32_t     cp;
    jinja_buf_t  b = {0};
    jinja_str_t *t;

    if (how != JINJA_TITLE) {
        jinja_case_add(j, &b, s, 0, s->len, how);
    }

    for (i = 0; how == JINJA_TITLE && i < s->len; i += len) {
        len = jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        jinja_case_add(j, &b, s, i, i + len, word ? JINJA_LOWER : JINJA_TITLE);
        word = cased(cp) || cp == 0x1c5 || cp == 0x1c8 || cp == 0x1cb
               || cp == 0x1f2;
    }

    t = (jinja_str_t *) jinja_buf_end(j, &b).u.s;
    t->markup = s->markup;

    return t;
}
