/*
 * Values as models write them (JSON, Python's literals, Gemma's braces) to
 * JSON, symbol by symbol.  Whatever comes out is well-formed JSON as far as
 * it goes.  A parser's own; one thread at a time.
 */

#include <string.h>
#include "engine/chat/format_priv.h"

enum {
    V_VALUE = 0,
    V_FIRST_ITEM, /* after '[' */
    V_FIRST_KEY,  /* after '{' */
    V_KEY,
    V_COLON,
    V_NEXT,
    V_STRING,
    V_WORD,
    V_OPEN, /* in the opening quote of more than one byte */
    V_QUOTED
};

static int  value_token(chat_parser_t *p, value_t *v, unsigned sym);
static int  value_next(chat_parser_t *p, value_t *v, unsigned c);
static int  value_push(chat_parser_t *p, value_t *v, uint8_t open);
static int  value_pop(chat_parser_t *p, value_t *v);
static void value_open(chat_parser_t *p, value_t *v);
static int  value_closed(chat_parser_t *p, value_t *v);
static void value_text(chat_parser_t *p, value_t *v, const void *s, size_t len);
static void value_raw(chat_parser_t *p, value_t *v, const char *s, size_t len);
static int  value_quoted(chat_parser_t *p, value_t *v, unsigned sym);
static int  value_word(chat_parser_t *p, value_t *v);
static int  value_number(const char *s, size_t len);
static int  unescape_end(unescape_t *u, uint8_t out[8]);


void
value_begin(value_t *v, const char *quote, int extract)
{
    buf_t word = v->word;

    *v = (value_t){.quote = quote, .extract = extract, .word = word};
    buf_reset(&v->word);
}


int
value_step(chat_parser_t *p, value_t *v, unsigned sym)
{
    uint8_t out[8];
    int     n;

    /* Control tokens are quotes or nothing. */
    if (sym & PARSE_CONTROL
        && (v->quote == NULL || (v->state == V_STRING || v->state == V_WORD))) {
        return STEP_MORE;
    }

    switch (v->state) {

    case V_STRING:
        n = unescape(&v->un, (uint8_t) sym, (uint8_t) v->close, out);
        if (n < 0) {
            return value_closed(p, v);
        }

        value_text(p, v, out, (size_t) n);
        return STEP_MORE;

    case V_OPEN:
    case V_QUOTED:
        return value_quoted(p, v, sym);

    case V_WORD:
        if (!parse_space(sym) && strchr(",:]})", (int) sym) == NULL
            && v->word.len < 4096) {
            uint8_t byte = (uint8_t) sym;

            buf_add(&v->word, &byte, 1);
            return STEP_MORE;
        }

        n = value_word(p, v);
        if (n != STEP_MORE) {
            return n == STEP_DONE ? STEP_AFTER : n;
        }

        return value_step(p, v, sym);

    default:
        return value_token(p, v, sym);
    }
}


/* Between strings and words. */

static int
value_token(chat_parser_t *p, value_t *v, unsigned sym)
{
    unsigned c = sym & 0xff;

    if (parse_space(c)) {
        return STEP_MORE;
    }

    switch (v->state) {

    case V_COLON:
        if (c != ':') {
            return STEP_BROKEN;
        }

        value_raw(p, v, ":", 1);
        v->state = V_VALUE;
        return STEP_MORE;

    case V_NEXT:
        return value_next(p, v, c);

    case V_FIRST_KEY:
        if (c == '}') {
            return value_pop(p, v);
        }
        break;

    case V_FIRST_ITEM:
        if (c == ']') {
            return value_pop(p, v);
        }
        break;

    default:
        break;
    }

    v->key = v->state == V_FIRST_KEY || v->state == V_KEY;

    if (v->quote && c == (uint8_t) v->quote[0]) {
        v->state = V_OPEN;
        v->quote_at = 1;
        return STEP_MORE;
    }

    if (c == '"' || c == '\'') {
        v->close = (int) c;
        v->un = (unescape_t){0};
        v->state = V_STRING;
        value_open(p, v);
        return STEP_MORE;
    }

    if (!v->key && (c == '{' || c == '[')) {
        return value_push(p, v, (uint8_t) c);
    }

    if (strchr(",:]}(){[", (int) c)) {
        return STEP_BROKEN;
    }

    v->state = V_WORD;
    buf_reset(&v->word);

    return value_step(p, v, sym);
}


static int
value_next(chat_parser_t *p, value_t *v, unsigned c)
{
    int object = v->stack[v->depth - 1] == '{';

    if (c == ',') {
        value_raw(p, v, ",", 1);
        v->state = object ? V_KEY : V_VALUE;
        return STEP_MORE;
    }

    if (c == (object ? '}' : ']')) {
        return value_pop(p, v);
    }

    return STEP_BROKEN;
}


static int
value_push(chat_parser_t *p, value_t *v, uint8_t open)
{
    if (v->depth == PARSE_DEPTH_MAX) {
        return STEP_BROKEN;
    }

    v->stack[v->depth++] = open;
    v->state = open == '{' ? V_FIRST_KEY : V_FIRST_ITEM;
    value_raw(p, v, (const char *) &open, 1);

    return STEP_MORE;
}


static int
value_pop(chat_parser_t *p, value_t *v)
{
    v->depth--;
    value_raw(p, v, v->stack[v->depth] == '{' ? "}" : "]", 1);
    v->state = V_NEXT;

    return v->depth == 0 ? STEP_DONE : STEP_MORE;
}


static void
value_open(chat_parser_t *p, value_t *v)
{
    value_raw(p, v, "\"", 1);
}


/* A string has ended. */

static int
value_closed(chat_parser_t *p, value_t *v)
{
    uint8_t out[8];

    value_text(p, v, out, (size_t) unescape_end(&v->un, out));
    value_raw(p, v, "\"", 1);

    if (v->key) {
        v->state = V_COLON;
        return STEP_MORE;
    }

    v->found = 1;
    v->state = V_NEXT;

    return v->depth == 0 ? STEP_DONE : STEP_MORE;
}


static void
value_text(chat_parser_t *p, value_t *v, const void *s, size_t len)
{
    if (len == 0) {
        return;
    }

    if (!v->extract) {
        value_string(p, s, len);

    } else if (!v->key && !v->found) {
        parse_give(p, CHAT_PART_INPUT, s, len);
    }
}


static void
value_raw(chat_parser_t *p, value_t *v, const char *s, size_t len)
{
    if (!v->extract) {
        parse_give(p, CHAT_PART_INPUT, s, len);
    }
}


/* A string in quotes of several bytes: nothing is escaped in it. */

static int
value_quoted(chat_parser_t *p, value_t *v, unsigned sym)
{
    uint8_t byte = (uint8_t) sym;

    if (byte == (uint8_t) v->quote[v->quote_at]) {
        v->quote_at++;
        if (v->quote[v->quote_at]) {
            return STEP_MORE;
        }

        v->quote_at = 0;
        v->un = (unescape_t){0};

        if (v->state == V_OPEN) {
            v->state = V_QUOTED;
            value_open(p, v);
            return STEP_MORE;
        }

        return value_closed(p, v);
    }

    if (v->state == V_OPEN) {
        return STEP_BROKEN;
    }

    /* What looked like the quote was text, unless it was a token. */
    if (!v->quote_control) {
        value_text(p, v, v->quote, v->quote_at);
    }

    v->quote_at = byte == (uint8_t) v->quote[0];
    v->quote_control = (sym & PARSE_CONTROL) != 0;

    if (v->quote_at == 0 && !v->quote_control) {
        value_text(p, v, &byte, 1);
    }

    return STEP_MORE;
}


/* true, None, 1.5; anything else is a string without quotes. */

static int
value_word(chat_parser_t *p, value_t *v)
{
    static const struct {
        const char *word, *json;
    } words[] = {{"true", "true"}, {"false", "false"}, {"null", "null"},
                 {"True", "true"}, {"False", "false"}, {"None", "null"}};
    size_t i;

    if (v->word.failed) {
        return STEP_BROKEN;
    }

    if (!v->key) {
        for (i = 0; i < llm_countof(words); i++) {
            if (str_eq((str_t){v->word.data, v->word.len},
                       str_of(words[i].word))) {
                value_raw(p, v, words[i].json, strlen(words[i].json));
                v->state = V_NEXT;
                return v->depth == 0 ? STEP_DONE : STEP_MORE;
            }
        }

        if (value_number(v->word.data, v->word.len)) {
            value_raw(p, v, v->word.data, v->word.len);
            v->state = V_NEXT;
            return v->depth == 0 ? STEP_DONE : STEP_MORE;
        }
    }

    v->un = (unescape_t){0};
    value_open(p, v);
    value_text(p, v, v->word.data, v->word.len);

    return value_closed(p, v);
}


int
value_end(chat_parser_t *p, value_t *v)
{
    if (v->state == V_WORD && v->depth == 0) {
        return value_word(p, v);
    }

    return v->state == V_NEXT && v->depth == 0 ? STEP_DONE : STEP_BROKEN;
}


static int
value_number(const char *s, size_t len)
{
    size_t i = 0, digits;

#define DIGITS()                                                               \
    for (digits = 0; i < len && s[i] >= '0' && s[i] <= '9'; i++) {             \
        digits++;                                                              \
    }

    i += len > 0 && s[0] == '-';

    if (i + 1 < len && s[i] == '0' && s[i + 1] >= '0' && s[i + 1] <= '9') {
        return 0;
    }

    DIGITS();
    if (digits == 0) {
        return 0;
    }

    if (i < len && s[i] == '.') {
        i++;
        DIGITS();
        if (digits == 0) {
            return 0;
        }
    }

    if (i < len && (s[i] == 'e' || s[i] == 'E')) {
        i++;
        i += i < len && (s[i] == '+' || s[i] == '-');
        DIGITS();
        if (digits == 0) {
            return 0;
        }
    }

#undef DIGITS

    return i == len;
}


/* Text within a JSON string. */

void
value_string(chat_parser_t *p, const char *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char       *at;
    char              out[6] = "\\u00";
    size_t            i;

    for (i = 0; i < len; i++) {
        at = s[i] ? strchr(from, s[i]) : NULL;

        if (at) {
            out[1] = to[at - from];
            parse_give(p, CHAT_PART_INPUT, out, 2);
            out[1] = 'u';

        } else if ((uint8_t) s[i] < 0x20 || s[i] == 0x7f) {
            out[4] = hex[(uint8_t) s[i] >> 4];
            out[5] = hex[s[i] & 15];
            parse_give(p, CHAT_PART_INPUT, out, 6);

        } else {
            parse_give(p, CHAT_PART_INPUT, s + i, 1);
        }
    }
}


/*
 * ESCAPES
 */

static int
utf8_put(uint8_t *out, uint32_t cp)
{
    if (cp >= 0xd800 && cp < 0xe000) {
        cp = 0xfffd;
    }

    if (cp < 0x80) {
        out[0] = (uint8_t) cp;
        return 1;
    }

    if (cp < 0x800) {
        out[0] = (uint8_t) (0xc0 | cp >> 6);
        out[1] = (uint8_t) (0x80 | (cp & 63));
        return 2;
    }

    if (cp < 0x10000) {
        out[0] = (uint8_t) (0xe0 | cp >> 12);
        out[1] = (uint8_t) (0x80 | (cp >> 6 & 63));
        out[2] = (uint8_t) (0x80 | (cp & 63));
        return 3;
    }

    out[0] = (uint8_t) (0xf0 | cp >> 18);
    out[1] = (uint8_t) (0x80 | (cp >> 12 & 63));
    out[2] = (uint8_t) (0x80 | (cp >> 6 & 63));
    out[3] = (uint8_t) (0x80 | (cp & 63));

    return 4;
}


/* A high surrogate that nothing followed. */

static int
unescape_end(unescape_t *u, uint8_t out[8])
{
    int n = u->high ? utf8_put(out, 0xfffd) : 0;

    u->high = 0;

    return n;
}


static int
unescape_code(unescape_t *u, uint8_t out[8])
{
    uint32_t cp = u->code;
    int      n;

    if (u->high && cp >= 0xdc00 && cp < 0xe000) {
        cp = 0x10000 + ((u->high - 0xd800) << 10) + (cp - 0xdc00);
        u->high = 0;
        return utf8_put(out, cp);
    }

    n = unescape_end(u, out);

    if (cp >= 0xd800 && cp < 0xdc00) {
        u->high = cp;
        return n;
    }

    return n + utf8_put(out + n, cp);
}


int
unescape(unescape_t *u, uint8_t byte, uint8_t quote, uint8_t out[8])
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char       *at;
    int               n, digit;

    if (u->hex) {
        digit = byte >= '0' && byte <= '9'   ? byte - '0'
                : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
                : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                             : -1;
        if (digit >= 0) {
            u->code = u->code << 4 | (uint32_t) digit;
            return --u->hex == 0 ? unescape_code(u, out) : 0;
        }

        u->hex = 0;
        u->code = 0xfffd;
        n = unescape_code(u, out);
        if (byte == quote) {
            /* The quote comes again: nothing may be lost before it. */
            return -1;
        }

        out[n] = byte;
        return n + 1;
    }

    if (u->escape) {
        u->escape = 0;

        if (byte == 'u' || byte == 'x') {
            u->hex = byte == 'u' ? 4 : 2;
            u->code = 0;
            return 0;
        }

        n = unescape_end(u, out);
        at = byte ? strchr(from, byte) : NULL;
        out[n] = at ? (uint8_t) to[at - from] : byte;
        return n + 1;
    }

    if (byte == '\\') {
        u->escape = 1;
        return 0;
    }

    if (byte == quote) {
        return -1;
    }

    n = unescape_end(u, out);
    out[n] = byte;

    return n + 1;
}
