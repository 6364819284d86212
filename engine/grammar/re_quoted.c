/*
 * Regular expressions with a state of their own: JSON spellings of a text,
 * and decimal numbers that a divisor divides.  The owner of the set is the
 * only thread here.
 *
 * A QUOTED node's place in an escape is a number: what came last in bits 28
 * to 30, how many hex digits in 24 to 27, and the digits' value in 0 to 15;
 * within the second half of a pair the first half's value (less 0xd800) is in
 * 12 to 21 and the digits' in 0 to 11.  Where a string could not be finished,
 * there is no node: the characters that the escape can still spell are asked
 * for in the argument.
 */

#include <errno.h>
#include "engine/grammar/re_priv.h"

enum { AT_TEXT = 0, AT_ESCAPE, AT_HEX, AT_PAIR, AT_PAIR_U, AT_PAIR_HEX };

#define AT(phase, n, value) ((uint32_t) (phase) << 28 | (n) << 24 | (value))
#define AT_PHASE(at)        ((at) >> 28)
#define AT_COUNT(at)        ((at) >> 24 & 15)

#define SEARCH_MAX 2000

/* Phases of a number. */
enum { NUM_START = 0, NUM_FIRST, NUM_INT, NUM_POINT, NUM_FRACTION };

static re_t     spellable(re_set_t *set, uint32_t at);
static uint32_t plain_at(uint32_t at);
static int      is_plain(const re_set_t *set, re_t a);
static re_t     after_escape(re_set_t *set, re_t a, uint8_t byte);
static re_t     after_hex(re_set_t *set, re_node_t n, uint8_t byte);
static re_t     after_char(re_set_t *set, re_t a, uint32_t cp);
static int      hex_value(uint8_t byte);
static re_t     remainder_at(re_set_t *set, const re_rem_t *r);

/* What short escapes stand for. */
static const char escapes[][2] = {{'"', '"'},  {'\\', '\\'}, {'/', '/'},
                                  {'b', '\b'}, {'f', '\f'},  {'n', '\n'},
                                  {'r', '\r'}, {'t', '\t'}};

/* Bytes that stand for themselves. */
static const uint64_t raw[4] = {0xfffffffbull << 32, ~(1ull << ('\\' - 64)),
                                UINT64_MAX, UINT64_MAX};


re_t
re_quoted(re_set_t *set, re_t a)
{
    return re_quoted_at(set, re_and(set, a, RE_TEXT), AT_TEXT);
}


re_t
re_quoted_at(re_set_t *set, re_t a, uint32_t at)
{
    re_node_t n = {.kind = RE_KIND_QUOTED, .a = a};
    uint32_t  count;
    re_t      r, chars;
    int       rc;

    if (set->rc != 0 || re_is_void(set, a)) {
        return RE_NONE;
    }

    if (AT_PHASE(at) == AT_TEXT) {
        return a == RE_EMPTY ? RE_EMPTY : re_intern(set, &n, NULL, 0);
    }

    /* The chars are asked for before the node, which is then new no more. */

    n.b = is_plain(set, a) ? plain_at(at) : at;
    count = set->n_nodes;
    r = re_intern(set, &n, NULL, 0);

    if (r == RE_NONE || set->n_nodes == count) {
        return r;
    }

    chars = spellable(set, n.b);
    rc = chars == RE_NONE
             ? RE_YES
             : re_is_none(set, re_and(set, a, re_concat(set, chars, RE_ALL)),
                          SEARCH_MAX);

    if (set->rc != 0) {
        return RE_NONE;
    }

    set->nodes[r].flags |= rc == RE_YES  ? RE_F_VOID
                           : rc == RE_NO ? RE_F_SOME
                                         : RE_F_UNSURE;

    return rc == RE_YES ? RE_NONE : r;
}


/* The characters that can come of it. */
static re_t
spellable(re_set_t *set, uint32_t at)
{
    uint32_t left, lo, hi, first, value;
    re_t     r;

    switch (AT_PHASE(at)) {
    case AT_ESCAPE:
        return RE_CHAR;

    case AT_HEX:
        left = 4 * (4 - AT_COUNT(at));
        lo = (at & 0xffff) << left;
        hi = lo + (1u << left) - 1;
        r = re_range(set, lo, hi);
        lo = lo < 0xd800 ? 0xd800 : lo;
        hi = hi > 0xdbff ? 0xdbff : hi;

        if (lo > hi) {
            return r;
        }

        return re_or(set, r,
                     re_range(set, 0x10000 + ((lo - 0xd800) << 10),
                              0x10000 + ((hi - 0xd800) << 10) + 0x3ff));

    case AT_PAIR:
    case AT_PAIR_U:
        first = 0x10000 + ((at & 0x3ff) << 10);
        return re_range(set, first, first + 0x3ff);

    default:
        first = 0x10000 + ((at >> 12 & 0x3ff) << 10);
        value = at & 0xfff;
        left = 4 * (4 - AT_COUNT(at));
        lo = value << left;
        hi = lo + (1u << left) - 1;
        lo = lo < 0xdc00 ? 0xdc00 : lo;
        hi = hi > 0xdfff ? 0xdfff : hi;

        return lo > hi
                   ? RE_NONE
                   : re_range(set, first + lo - 0xdc00, first + hi - 0xdc00);
    }
}


/* Every character leads to the same rest: which one it is need not be kept. */
static int
is_plain(const re_set_t *set, re_t a)
{
    const re_node_t *n = &set->nodes[a];

    return a == RE_TEXT || (n->kind == RE_KIND_REPEAT && n->a == RE_CHAR);
}


static uint32_t
plain_at(uint32_t at)
{
    uint32_t n = AT_COUNT(at), value = at & 0xffff, top;

    switch (AT_PHASE(at)) {
    case AT_HEX:
        top = n ? value >> (4 * (n - 1)) : 0;

        if (n == 0 || top != 0xd) {
            return AT(AT_HEX, n, 0);
        }

        if (n == 1) {
            return at;
        }

        top = value >> (4 * (n - 2)); /* d0 to df */
        top = top < 0xd8 ? 0 : top < 0xdc ? 0xd8 : 0xdc;

        return AT(AT_HEX, n, top << (4 * (n - 2)));

    case AT_PAIR:
    case AT_PAIR_U:
        return AT(AT_PHASE(at), 0, 0);

    case AT_PAIR_HEX:
        value = at & 0xfff;

        if (n > 1) {
            top = value >> (4 * (n - 2));
            value = (top >= 0xdc && top <= 0xdf ? 0xdcu : 0u) << (4 * (n - 2));

        } else if (n == 1) {
            value = value == 0xd ? 0xd : 0;
        }

        return AT(AT_PAIR_HEX, n, value);

    default:
        return at;
    }
}


re_t
re_quoted_deriv(re_set_t *set, re_t a, uint8_t byte)
{
    re_node_t n = set->nodes[a];
    re_t      d;

    switch (AT_PHASE(n.b)) {
    case AT_TEXT:
        if (byte == '\\') {
            return re_quoted_at(set, n.a, AT(AT_ESCAPE, 0, 0));
        }

        if (!re_bit(raw, byte)) {
            return RE_NONE;
        }

        d = re_deriv(set, n.a, byte);

        return re_quoted_at(set, d, AT_TEXT);

    case AT_ESCAPE:
        return after_escape(set, n.a, byte);

    case AT_PAIR:
        return byte == '\\'
                   ? re_quoted_at(set, n.a, AT(AT_PAIR_U, 0, n.b & 0x3ff))
                   : RE_NONE;

    case AT_PAIR_U:
        return byte == 'u'
                   ? re_quoted_at(set, n.a,
                                  AT(AT_PAIR_HEX, 0u, (n.b & 0x3ff) << 12))
                   : RE_NONE;

    default:
        return after_hex(set, n, byte);
    }
}


static re_t
after_escape(re_set_t *set, re_t a, uint8_t byte)
{
    size_t i;

    if (byte == 'u') {
        return re_quoted_at(set, a, AT(AT_HEX, 0, 0));
    }

    for (i = 0; i < llm_countof(escapes); i++) {
        if (escapes[i][0] == byte) {
            return after_char(set, a, (uint8_t) escapes[i][1]);
        }
    }

    return RE_NONE;
}


static re_t
after_hex(re_set_t *set, re_node_t n, uint8_t byte)
{
    uint32_t count, value, first;
    int      digit;

    digit = hex_value(byte);

    if (digit < 0) {
        return RE_NONE;
    }

    count = AT_COUNT(n.b) + 1;

    if (AT_PHASE(n.b) == AT_HEX) {
        value = (n.b & 0xffff) << 4 | (uint32_t) digit;

        if (count < 4) {
            return re_quoted_at(set, n.a, AT(AT_HEX, count, value));
        }

        if (value >= 0xd800 && value <= 0xdbff) {
            return re_quoted_at(set, n.a, AT(AT_PAIR, 0, value - 0xd800));
        }

        return value >= 0xdc00 && value <= 0xdfff ? RE_NONE
                                                  : after_char(set, n.a, value);
    }

    first = n.b >> 12 & 0x3ff;
    value = (n.b & 0xfff) << 4 | (uint32_t) digit;

    if (count < 4) {
        return re_quoted_at(set, n.a,
                            AT(AT_PAIR_HEX, count, first << 12 | value));
    }

    return value < 0xdc00 || value > 0xdfff
               ? RE_NONE
               : after_char(set, n.a, 0x10000 + (first << 10) + value - 0xdc00);
}


static re_t
after_char(re_set_t *set, re_t a, uint32_t cp)
{
    uint8_t s[4];
    int     n = re_utf8(cp, s);

    return re_quoted_at(set, re_deriv_str(set, a, s, (size_t) n), AT_TEXT);
}


static int
hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }

    byte |= 0x20;

    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}


void
re_quoted_classes(const re_set_t *set, re_t a, re_part_t *part)
{
    uint64_t bits[4] = {0};
    size_t   i;
    unsigned c;

    switch (AT_PHASE(set->nodes[a].b)) {
    case AT_TEXT:
        if (!part->quoted) {
            re_part_split(part, raw);
            part->quoted = 1;
        }

        re_bit_set(part->singles, '\\');
        break;

    case AT_ESCAPE:
        re_bit_set(part->singles, 'u');

        for (i = 0; i < llm_countof(escapes); i++) {
            re_bit_set(part->singles, (uint8_t) escapes[i][0]);
        }

        break;

    case AT_PAIR:
        re_bit_set(part->singles, '\\');
        break;

    case AT_PAIR_U:
        re_bit_set(part->singles, 'u');
        break;

    default:
        for (c = '0'; c <= '9'; c++) {
            re_bit_set(part->singles, c);
        }

        for (c = 'a'; c <= 'f'; c++) {
            memset(bits, 0, sizeof(bits));
            re_bit_set(bits, c);
            re_bit_set(bits, c - 0x20);
            re_part_split(part, bits);
        }
    }
}


re_t
re_remainder(re_set_t *set, uint64_t divisor, uint32_t scale)
{
    re_rem_t r = {.divisor = divisor, .scale = scale};

    if (divisor == 0 || divisor > 1000000000000000000ull || scale > 400) {
        return re_fail(set, -EINVAL, "a divisor out of range");
    }

    return remainder_at(set, &r);
}


static re_t
remainder_at(re_set_t *set, const re_rem_t *r)
{
    re_node_t         n = {.kind = RE_KIND_REMAINDER};
    unsigned __int128 v, room;
    uint32_t          i;

    if (r->phase >= NUM_POINT) {

        /* The fraction's digits to come can add up to room - 1. */

        v = r->rest;
        room = 1;

        for (i = 0; i < r->scale; i++) {
            v = v * 10 % r->divisor;
            room = room > r->divisor ? room : room * 10;
        }

        if (v != 0 && r->divisor - v >= room) {
            return RE_NONE;
        }
    }

    return re_intern(set, &n, r, sizeof(*r));
}


int
re_remainder_nullable(const re_rem_t *r)
{
    unsigned __int128 v = r->rest;
    uint32_t          i;

    for (i = 0; i < r->scale; i++) {
        v = v * 10 % r->divisor;
    }

    return v == 0 && (r->phase == NUM_INT || r->phase == NUM_FRACTION);
}


re_t
re_remainder_deriv(re_set_t *set, re_t a, uint8_t byte)
{
    re_rem_t r;

    memcpy(&r, set->blob + set->nodes[a].a, sizeof(r));

    if (byte == '-') {
        if (r.phase != NUM_START) {
            return RE_NONE;
        }

        r.phase = NUM_FIRST;

    } else if (byte == '.') {
        if (r.phase != NUM_INT) {
            return RE_NONE;
        }

        r.phase = NUM_POINT;

    } else if (byte < '0' || byte > '9') {
        return RE_NONE;

    } else if (r.phase < NUM_POINT) {
        r.phase = NUM_INT;
        r.rest = (uint64_t) (((unsigned __int128) r.rest * 10 + byte - '0')
                             % r.divisor);

    } else {
        r.phase = NUM_FRACTION;

        if (r.scale == 0) {
            return byte == '0' ? remainder_at(set, &r) : RE_NONE;
        }

        r.scale--;
        r.rest = (uint64_t) (((unsigned __int128) r.rest * 10 + byte - '0')
                             % r.divisor);
    }

    return remainder_at(set, &r);
}


void
re_remainder_classes(re_part_t *part)
{
    unsigned c;

    for (c = '0'; c <= '9'; c++) {
        re_bit_set(part->singles, c);
    }

    re_bit_set(part->singles, '.');
    re_bit_set(part->singles, '-');
}
