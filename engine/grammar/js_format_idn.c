/*
 * Host names, in ASCII and internationalized (RFC 1123, 5890 to 5893, 3492):
 * see js_format.h.  Any thread; nothing is kept.
 *
 * Unicode's properties are utf8proc's.  It has no joining types: around a
 * ZERO WIDTH NON-JOINER every right-to-left letter counts as joining on both
 * sides; and of scripts only those that rules name are told, by blocks.
 */

#include <utf8proc.h>
#include "engine/grammar/js_format.h"
#include "engine/grammar/js_punycode.h"
#include "engine/grammar/js_value.h"


static int idn_name(str_t s, int unicode);
static int idn_label(const idn_label_t *label, int unicode, int *rtl, int *bidi,
                     size_t *len);
static int idn_ascii(const idn_label_t *label);
static int idn_unicode(const idn_label_t *label);
static int idn_allowed(const idn_label_t *label, uint32_t i);
static int idn_context(const idn_label_t *label, uint32_t i);
static int idn_joiner(const idn_label_t *label, uint32_t i);
static int idn_stable(uint32_t c);
static int idn_class(uint32_t c);
static int idn_bidi(const idn_label_t *label);
static int idn_in(uint32_t c, const uint32_t (*ranges)[2], size_t n);

#define IDN_NAME 253

/* Exceptions of RFC 5892, 2.6: valid whatever their category. */
static const uint32_t idn_valid[] = {0xdf, 0x3c2, 0x6fd, 0x6fe, 0xf0b, 0x3007};

static const uint32_t idn_invalid[] = {0x640,  0x7fa,  0x302e, 0x302f, 0x3031,
                                       0x3032, 0x3033, 0x3034, 0x3035, 0x303b};

static const uint32_t idn_greek[][2] = {{0x370, 0x373},  {0x375, 0x377},
                                        {0x37a, 0x37d},  {0x37f, 0x37f},
                                        {0x384, 0x384},  {0x386, 0x386},
                                        {0x388, 0x3e1},  {0x3f0, 0x3ff},
                                        {0x1f00, 0x1fff}};
static const uint32_t idn_hebrew[][2] = {{0x591, 0x5f4}, {0xfb1d, 0xfb4f}};
static const uint32_t idn_kana_han[][2] = {
    {0x3005, 0x3007}, {0x3021, 0x3029}, {0x3038, 0x303b},  {0x3041, 0x309f},
    {0x30a1, 0x30fa}, {0x30fc, 0x30ff}, {0x31f0, 0x31ff},  {0x3400, 0x4dbf},
    {0x4e00, 0x9fff}, {0xf900, 0xfaff}, {0x20000, 0x3ffff}};

/* Old Hangul Jamo (2.9) and what is ignorable (2.6). */
static const uint32_t idn_never[][2] = {
    {0x1100, 0x11ff}, {0xa960, 0xa97f}, {0xd7b0, 0xd7ff},   {0x34f, 0x34f},
    {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f},   {0x3164, 0x3164},
    {0xfe00, 0xfe0f}, {0xffa0, 0xffa0}, {0xe0000, 0xe0fff}, {0x20d0, 0x20ff}};


int
js_format_hostname(str_t s)
{
    return idn_name(s, 0);
}


int
js_format_idn_hostname(str_t s)
{
    return idn_name(s, 1);
}


static int
idn_in(uint32_t c, const uint32_t (*ranges)[2], size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (c >= ranges[i][0] && c <= ranges[i][1]) {
            return 1;
        }
    }

    return 0;
}


/*
 * Labels between dots.  If one is written from right to left, RFC 5893's
 * rule holds for all: bidi says that one label would break it.
 */
static int
idn_name(str_t s, int unicode)
{
    const char *p = s.s, *end = s.s + s.len;
    idn_label_t label = {.n = 0};
    uint32_t    c;
    size_t      n, total = 0, len;
    int         dot, rtl = 0, bidi = 0;

    for (;;) {
        dot = 0;

        if (p < end) {
            n = js_utf8(p, end, &c);

            if (n == 0 || (c >= 0x80 && !unicode)) {
                return 0;
            }

            p += n;
            dot = c == '.' || c == 0x3002 || c == 0xff0e || c == 0xff61;

            if (!dot) {
                if (label.n == IDN_POINTS) {
                    return 0;
                }

                label.c[label.n++] = c;
                continue;
            }
        }

        if (!idn_label(&label, unicode, &rtl, &bidi, &len)) {
            return 0;
        }

        total += len + 1;
        label.n = 0;

        if (total > IDN_NAME + 1 || (rtl && bidi)) {
            return 0;
        }

        if (!dot) {
            return 1;
        }
    }
}


/* len: what it is long in ASCII. */
static int
idn_label(const idn_label_t *label, int unicode, int *rtl, int *bidi,
          size_t *len)
{
    idn_label_t other, again;
    uint32_t    i, high = 0;
    int class, strong = 0;

    for (i = 0; i < label->n; i++) {
        high |= label->c[i] >= 0x80;
    }

    *len = label->n;

    if (!high) {
        if (!idn_ascii(label)) {
            return 0;
        }

        if (label->n < 4 || label->c[2] != '-' || label->c[3] != '-') {
            *bidi |= label->c[0] >= '0' && label->c[0] <= '9';
            return 1;
        }

        if ((label->c[0] | 0x20) != 'x' || (label->c[1] | 0x20) != 'n') {
            return !unicode;
        }

        if (js_puny_decode(label, &other) < 0
            || js_puny_encode(&other, &again) < 0 || again.n + 4 != label->n) {
            return 0;
        }

        for (i = 0, high = 0; i < other.n; i++) {
            high |= other.c[i] >= 0x80;
        }

        for (i = 0; i < again.n; i++) {
            if (again.c[i] != label->c[i + 4]
                && (again.c[i] != (label->c[i + 4] | 0x20)
                    || label->c[i + 4] < 'A' || label->c[i + 4] > 'Z')) {
                return 0;
            }
        }

        if (!high) {
            return 0;
        }

        label = &other;

    } else if (js_puny_encode(label, &again) < 0 || again.n + 4 > IDN_LABEL) {
        return 0;

    } else {
        *len = again.n + 4;
    }

    if (!idn_unicode(label)) {
        return 0;
    }

    for (i = 0; i < label->n; i++) {
        class = idn_class(label->c[i]);
        strong |= class == UTF8PROC_BIDI_CLASS_R
                  || class == UTF8PROC_BIDI_CLASS_AL
                  || class == UTF8PROC_BIDI_CLASS_AN;
    }

    *rtl |= strong;
    *bidi |= !idn_bidi(label);

    return 1;
}


/* Letters, digits and inner hyphens. */
static int
idn_ascii(const idn_label_t *label)
{
    uint32_t i, c;

    if (label->n == 0 || label->n > IDN_LABEL || label->c[0] == '-'
        || label->c[label->n - 1] == '-') {
        return 0;
    }

    for (i = 0; i < label->n; i++) {
        c = label->c[i];

        if (c != '-' && (c < '0' || c > '9')
            && ((c | 0x20) < 'a' || (c | 0x20) > 'z')) {
            return 0;
        }
    }

    return 1;
}


/* A U-label: RFC 5891, 4.2.3. */
static int
idn_unicode(const idn_label_t *label)
{
    utf8proc_category_t category;
    uint32_t            i, n = label->n;

    if (n == 0 || label->c[0] == '-' || label->c[n - 1] == '-'
        || (n >= 4 && label->c[2] == '-' && label->c[3] == '-')) {
        return 0;
    }

    category = utf8proc_category((utf8proc_int32_t) label->c[0]);

    if (category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC
        || category == UTF8PROC_CATEGORY_ME) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (!idn_allowed(label, i)) {
            return 0;
        }
    }

    return 1;
}


static int
idn_allowed(const idn_label_t *label, uint32_t i)
{
    uint32_t c = label->c[i];
    size_t   k;
    int      rc;

    for (k = 0; k < llm_countof(idn_valid); k++) {
        if (c == idn_valid[k]) {
            return 1;
        }
    }

    for (k = 0; k < llm_countof(idn_invalid); k++) {
        if (c == idn_invalid[k]) {
            return 0;
        }
    }

    rc = idn_context(label, i);

    if (rc >= 0) {
        return rc;
    }

    if (c < 0x80) {
        return c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
    }

    if (idn_in(c, idn_never, llm_countof(idn_never)) || !idn_stable(c)) {
        return 0;
    }

    switch (utf8proc_category((utf8proc_int32_t) c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
        return 1;

    default:
        return 0;
    }
}


/* Rules of RFC 5892, appendix A: 1, 0, or -1 where there is none. */
static int
idn_context(const idn_label_t *label, uint32_t i)
{
    uint32_t before = i > 0 ? label->c[i - 1] : 0;
    uint32_t after = i + 1 < label->n ? label->c[i + 1] : 0;
    uint32_t c = label->c[i], k, low = 0, high = 0, kana = 0;

    for (k = 0; k < label->n; k++) {
        low |= label->c[k] >= 0x660 && label->c[k] <= 0x669;
        high |= label->c[k] >= 0x6f0 && label->c[k] <= 0x6f9;
        kana |= (uint32_t) idn_in(label->c[k], idn_kana_han,
                                  llm_countof(idn_kana_han));
    }

    switch (c) {
    case 0x200c:
    case 0x200d:
        return idn_joiner(label, i);

    case 0xb7:
        return before == 'l' && after == 'l';

    case 0x375:
        return idn_in(after, idn_greek, llm_countof(idn_greek));

    case 0x5f3:
    case 0x5f4:
        return idn_in(before, idn_hebrew, llm_countof(idn_hebrew));

    case 0x30fb:
        return (int) kana;
    }

    if ((c >= 0x660 && c <= 0x669) || (c >= 0x6f0 && c <= 0x6f9)) {
        return !(low && high);
    }

    return -1;
}


static int
idn_joiner(const idn_label_t *label, uint32_t i)
{
    const utf8proc_property_t *property;
    uint32_t                   k;

    if (i == 0) {
        return 0;
    }

    property = utf8proc_get_property((utf8proc_int32_t) label->c[i - 1]);

    if (property->combining_class == 9) {
        return 1;
    }

    if (label->c[i] == 0x200d) {
        return 0;
    }

    for (k = i; k > 0; k--) {
        if (utf8proc_category((utf8proc_int32_t) label->c[k - 1])
            != UTF8PROC_CATEGORY_MN) {
            break;
        }
    }

    if (k == 0 || idn_class(label->c[k - 1]) != UTF8PROC_BIDI_CLASS_AL) {
        return 0;
    }

    for (k = i + 1; k < label->n; k++) {
        if (utf8proc_category((utf8proc_int32_t) label->c[k])
            != UTF8PROC_CATEGORY_MN) {
            break;
        }
    }

    return k < label->n && idn_class(label->c[k]) == UTF8PROC_BIDI_CLASS_AL;
}


/* It is what normalisation and case folding make of it. */
static int
idn_stable(uint32_t c)
{
    utf8proc_int32_t out[20];
    utf8proc_ssize_t n;
    int              last = 0;

    n = utf8proc_decompose_char((utf8proc_int32_t) c, out, 20,
                                UTF8PROC_COMPAT | UTF8PROC_CASEFOLD
                                    | UTF8PROC_IGNORE | UTF8PROC_DECOMPOSE,
                                &last);

    if (n < 1 || n > 20) {
        return 0;
    }

    n = utf8proc_normalize_utf32(out, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);

    return n == 1 && out[0] == (utf8proc_int32_t) c;
}


static int
idn_class(uint32_t c)
{
    return utf8proc_get_property((utf8proc_int32_t) c)->bidi_class;
}


/* RFC 5893, 2. */
static int
idn_bidi(const idn_label_t *label)
{
    uint32_t i, n = label->n;
    int class, rtl, en = 0, an = 0;

    class = idn_class(label->c[0]);
    rtl = class == UTF8PROC_BIDI_CLASS_R || class == UTF8PROC_BIDI_CLASS_AL;

    if (!rtl && class != UTF8PROC_BIDI_CLASS_L) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        switch (idn_class(label->c[i])) {
        case UTF8PROC_BIDI_CLASS_L:
            if (rtl) {
                return 0;
            }

            break;

        case UTF8PROC_BIDI_CLASS_R:
        case UTF8PROC_BIDI_CLASS_AL:
            if (!rtl) {
                return 0;
            }

            break;

        case UTF8PROC_BIDI_CLASS_AN:
            if (!rtl) {
                return 0;
            }

            an = 1;
            break;

        case UTF8PROC_BIDI_CLASS_EN:
            en = 1;
            break;

        case UTF8PROC_BIDI_CLASS_ES:
        case UTF8PROC_BIDI_CLASS_CS:
        case UTF8PROC_BIDI_CLASS_ET:
        case UTF8PROC_BIDI_CLASS_ON:
        case UTF8PROC_BIDI_CLASS_BN:
        case UTF8PROC_BIDI_CLASS_NSM:
            break;

        default:
            return 0;
        }
    }

    while (n > 0 && idn_class(label->c[n - 1]) == UTF8PROC_BIDI_CLASS_NSM) {
        n--;
    }

    class = n ? idn_class(label->c[n - 1]) : 0;

    if (rtl) {
        return !(en && an)
               && (class == UTF8PROC_BIDI_CLASS_R
                   || class == UTF8PROC_BIDI_CLASS_AL
                   || class == UTF8PROC_BIDI_CLASS_EN
                   || class == UTF8PROC_BIDI_CLASS_AN);
    }

    return class == UTF8PROC_BIDI_CLASS_L || class == UTF8PROC_BIDI_CLASS_EN;
}
