/*
 * The JSON machine: what text has said, and how it is spelt.  Strings decoded,
 * numbers as all their spellings, and interned sets of them: names that an
 * object has, items that may not come again.
 *
 * A set is a chain of values added one by one, so that the next one costs
 * nothing but itself.  Sets live as long as the machine; its thread only.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_json_priv.h"

#define FIRST_SLOTS 64u

/* Parts of a list of strings: more are spelt in every way. */
#define MAX_LISTED   20000u
#define LISTED_DEPTH 500u

static uint32_t set_hash(uint32_t parent, gj_scalars_t last);
static int      set_is(const gj_set_t *s, uint32_t parent, gj_scalars_t last);
static re_t     listed(gj_t *gj, re_t string, uint32_t depth, uint32_t *left);
static re_t     listed_run(gj_t *gj, re_t run, re_t tail);
static re_t     listed_class(gj_t *gj, const uint64_t *set);
static re_t     listed_or(gj_t *gj, re_t alternatives, uint32_t depth,
                          uint32_t *left);
static void     plain_byte(buf_t *out, uint8_t c);
static int      escape(const uint8_t *p, const uint8_t *end, char *out,
                       size_t *used);
static int      hex4(const uint8_t *p, const uint8_t *end, uint32_t *unit);


int
gj_set_add(gj_t *gj, uint32_t set, gj_scalars_t last, uint32_t *more)
{
    gj_set_t *s;
    uint32_t  at;

    LLM_TRY(gj_set_room(gj));

    at = set_hash(set, last) & gj->set_mask;

    for (; gj->set_slots[at]; at = (at + 1) & gj->set_mask) {
        if (set_is(&gj->sets[gj->set_slots[at]], set, last)) {
            *more = gj->set_slots[at];
            return 0;
        }
    }

    s = &gj->sets[gj->n_sets];
    s->parent = set;
    s->last = last;
    s->all = gj->sets[set].all;
    s->all.strings = re_or(gj->re, s->all.strings, last.strings);
    s->all.numbers = re_or(gj->re, s->all.numbers, last.numbers);
    s->all.literals |= last.literals;
    LLM_TRY(gj_failed(gj));

    *more = gj->n_sets++;
    gj->set_slots[at] = *more;

    return 0;
}


/* Half of the slots are empty. */
int
gj_set_room(gj_t *gj)
{
    gj_set_t *sets;
    uint32_t *slots, cap, mask, i, at;

    if (gj->n_sets < gj->cap_sets) {
        return 0;
    }

    cap = gj->cap_sets ? gj->cap_sets * 2 : FIRST_SLOTS / 2;

    if (cap > (1u << 28)) {
        return -E2BIG;
    }

    sets = realloc(gj->sets, cap * sizeof(gj_set_t));

    if (sets == NULL) {
        return -ENOMEM;
    }

    gj->sets = sets;
    slots = calloc((size_t) cap * 2, sizeof(uint32_t));

    if (slots == NULL) {
        return -ENOMEM;
    }

    if (gj->n_sets == 0) {
        memset(&sets[0], 0, sizeof(gj_set_t));
        gj->n_sets = 1;
    }

    mask = cap * 2 - 1;

    for (i = 1; i < gj->n_sets; i++) {
        at = set_hash(sets[i].parent, sets[i].last) & mask;

        while (slots[at]) {
            at = (at + 1) & mask;
        }

        slots[at] = i;
    }

    free(gj->set_slots);
    gj->set_slots = slots;
    gj->set_mask = mask;
    gj->cap_sets = cap;

    return 0;
}


static uint32_t
set_hash(uint32_t parent, gj_scalars_t last)
{
    uint64_t h = parent;

    h = h * 0x9e3779b97f4a7c15u + last.strings;
    h = h * 0x9e3779b97f4a7c15u + last.numbers;
    h = h * 0x9e3779b97f4a7c15u + last.literals;
    h *= 0x9e3779b97f4a7c15u;

    return (uint32_t) (h >> 32);
}


static int
set_is(const gj_set_t *s, uint32_t parent, gj_scalars_t last)
{
    return s->parent == parent && s->last.strings == last.strings
           && s->last.numbers == last.numbers
           && s->last.literals == last.literals;
}


int
gj_decode(gj_t *gj, const uint8_t *text, size_t n)
{
    const uint8_t *end = text + n, *p;
    size_t         used;
    char          *out;
    int            size;

    buf_reset(&gj->text);

    p = memchr(text, '"', n);
    if (p == NULL) {
        return -EINVAL;
    }

    /* A decoded string is never longer than its spelling. */

    out = buf_room(&gj->text, n + 1);
    if (out == NULL) {
        return -ENOMEM;
    }

    gj->text.len = 0;

    for (p++; p < end && *p != '"'; p += used) {
        if (*p != '\\') {
            out[gj->text.len++] = (char) *p;
            used = 1;
            continue;
        }

        size = escape(p, end, out + gj->text.len, &used);
        if (size < 0) {
            return size;
        }

        gj->text.len += (size_t) size;
    }

    return p < end ? 0 : -EINVAL;
}


/* The bytes that the escape at p stands for, as many as it returns. */
static int
escape(const uint8_t *p, const uint8_t *end, char *out, size_t *used)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char       *at;
    uint32_t          hi, lo;

    if (end - p < 2) {
        return -EINVAL;
    }

    at = p[1] ? strchr(names, p[1]) : NULL;

    if (at) {
        *out = values[at - names];
        *used = 2;
        return 1;
    }

    LLM_TRY(hex4(p, end, &hi));
    *used = 6;

    if (hi >= 0xd800 && hi <= 0xdbff) {
        LLM_TRY(hex4(p + 6, end, &lo));
        hi = 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
        *used = 12;
    }

    return (int) js_utf8_put(out, hi);
}


static int
hex4(const uint8_t *p, const uint8_t *end, uint32_t *unit)
{
    static const char digits[] = "0123456789abcdef";
    const char       *at;
    int               i;

    if (end - p < 6 || p[0] != '\\' || p[1] != 'u') {
        return -EINVAL;
    }

    for (i = 2, *unit = 0; i < 6; i++) {
        at = p[i] ? strchr(digits, p[i] | 0x20) : NULL;

        if (at == NULL) {
            return -EINVAL;
        }

        *unit = *unit << 4 | (uint32_t) (at - digits);
    }

    return 0;
}


/*
 * SPELLINGS
 */

re_t
gj_quote(gj_t *gj, re_t string)
{
    return re_run(gj->re, "\"", 1,
                  re_concat(gj->re, gj_spell(gj, string), gj->quote));
}


re_t
gj_spell(gj_t *gj, re_t string)
{
    uint32_t left = MAX_LISTED;
    re_t     re = RE_NONE;

    if (gj->plain & GR_PLAIN_NAMES) {
        re = listed(gj, string, LISTED_DEPTH, &left);
    }

    return re != RE_NONE ? re : re_quoted(gj->re, string);
}


/*
 * Strings as most programs write them: only what must be is escaped.
 * RE_NONE: the language is more than a list, or a long one.
 */
static re_t
listed(gj_t *gj, re_t string, uint32_t depth, uint32_t *left)
{
    re_view_t view;
    re_t      a, b;

    if (depth == 0 || *left == 0) {
        return RE_NONE;
    }

    (*left)--;
    re_view(gj->re, string, &view);

    switch (view.kind) {
    case RE_KIND_EMPTY:
        return RE_EMPTY;

    case RE_KIND_CLASS:
        return listed_class(gj, view.set);

    case RE_KIND_RUN:
        a = listed(gj, view.a, depth - 1, left);
        return a == RE_NONE ? RE_NONE : listed_run(gj, string, a);

    case RE_KIND_CONCAT:
        a = listed(gj, view.a, depth - 1, left);
        b = a == RE_NONE ? RE_NONE : listed(gj, view.b, depth - 1, left);
        return re_concat(gj->re, a, b);

    case RE_KIND_OR:
        return listed_or(gj, string, depth - 1, left);

    default:
        return RE_NONE;
    }
}


static re_t
listed_run(gj_t *gj, re_t run, re_t tail)
{
    re_view_t view;
    size_t    i;

    buf_reset(&gj->text);
    re_view(gj->re, run, &view);

    for (i = 0; i < view.len; i++) {
        plain_byte(&gj->text, view.bytes[i]);
    }

    if (gj->text.failed) {
        gr_fail(gj->gr, -ENOMEM, "no memory for a grammar");
        return RE_NONE;
    }

    return re_run(gj->re, gj->text.data, gj->text.len, tail);
}


static re_t
listed_class(gj_t *gj, const uint64_t *set)
{
    uint64_t bits[4], copy[4];
    uint32_t c;
    re_t     re = RE_NONE;

    memcpy(copy, set, sizeof(copy));
    memcpy(bits, set, sizeof(bits));

    for (c = 0; c < 0x80; c++) {
        buf_reset(&gj->text);
        plain_byte(&gj->text, (uint8_t) c);

        if (copy[c / 64] >> (c % 64) & 1 && gj->text.len > 1) {
            bits[c / 64] &= ~((uint64_t) 1 << (c % 64));
            re = re_or(gj->re, re,
                       re_run(gj->re, gj->text.data, gj->text.len, RE_EMPTY));
        }
    }

    return re_or(gj->re, re, re_class(gj->re, bits));
}


/* gj->names is a stack of what is done already. */
static re_t
listed_or(gj_t *gj, re_t alternatives, uint32_t depth, uint32_t *left)
{
    size_t    base = gj->names.len, i, n = 1;
    re_view_t view;
    re_t      re = RE_NONE;

    for (i = 0; i < n; i++) {
        re_view(gj->re, alternatives, &view);
        n = view.n;
        re = listed(gj, view.list[i], depth, left);

        if (re == RE_NONE) {
            break;
        }

        buf_add(&gj->names, &re, sizeof(re));
    }

    if (gj->names.failed) {
        gr_fail(gj->gr, -ENOMEM, "no memory for a grammar");
        return RE_NONE;
    }

    if (i == n) {
        re =
            re_or_n(gj->re, (const re_t *) (void *) (gj->names.data + base), n);
    }

    gj->names.len = base;

    return re;
}


static void
plain_byte(buf_t *out, uint8_t c)
{
    static const char bytes[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    const char       *at = c ? strchr(bytes, c) : NULL;
    char              text[2] = {'\\', 0};

    if (at) {
        text[1] = names[at - bytes];
        buf_add(out, text, 2);

    } else if (c < 0x20) {
        buf_fmt(out, "\\u%04x", (unsigned) c);

    } else {
        buf_add(out, &c, 1);
    }
}


int
gj_number(gj_t *gj, const uint8_t *text, size_t n, re_t *re)
{
    re_number_t number = {.flags = 0};

    number.min = number.max = (str_t){(const char *) text, n};

    return re_number(gj->re, &number, re, NULL, 0);
}
