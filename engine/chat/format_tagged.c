/*
 * Arguments in tags, one after another, each value as it is or as JSON:
 * `param` says how they stand, the function's schema what they are.  See
 * format_priv.h.
 *
 * They end with the string that follows %a in the call, which is taken too:
 * it and the next parameter's beginning are told apart while they come.
 */

#include <stdlib.h>
#include <string.h>
#include "engine/chat/format_priv.h"

enum {
    TAGGED_START = 0,
    TAGGED_NEXT, /* a parameter, or the end */
    TAGGED_KEY,
    TAGGED_TYPE,
    TAGGED_FIRST, /* before a value's first byte */
    TAGGED_VALUE,
    TAGGED_CLOSE, /* the rest of the tag behind a value */
};

enum {
    KIND_TEXT = 0, /* a string, as it is */
    KIND_JSON,     /* anything else: JSON, or what can be made JSON */
    KIND_MIXED,    /* found out at its end */
    KIND_CUSTOM,   /* a custom tool's text */
    KIND_NESTED,   /* a JSON array, object or string */
    KIND_OVER      /* ... that is whole, or turned out to be none */
};

static int         tagged_start(chat_parser_t *p);
static int         tagged_next(chat_parser_t *p, unsigned sym);
static int         tagged_until(chat_parser_t *p, unsigned sym, buf_t *word);
static void        tagged_param(chat_parser_t *p);
static int         tagged_kind(const chat_parser_t *p);
static int         tagged_value(chat_parser_t *p, unsigned sym);
static void        tagged_byte(chat_parser_t *p, unsigned sym);
static int         tagged_nests(const chat_parser_t *p, uint8_t byte);
static void        tagged_done(chat_parser_t *p);
static void        tagged_mixed(chat_parser_t *p);
static int         tagged_ends(const chat_parser_t *p, size_t from);
static const char *place(const char *s, char what);
static const char *tagged_after(const chat_parser_t *p, size_t *len);


int
tagged_step(chat_parser_t *p, unsigned sym)
{
    int rc;

    switch (p->args) {

    case TAGGED_START:
        rc = tagged_start(p);
        return rc == STEP_MORE ? tagged_next(p, sym) : rc;

    case TAGGED_NEXT:
        return tagged_next(p, sym);

    case TAGGED_KEY:
        rc = tagged_until(p, sym, &p->key);
        if (rc == STEP_DONE) {
            p->args = TAGGED_FIRST;
            if (p->param[1] == 't') {
                p->args = TAGGED_TYPE;
                p->param += 2;
            } else {
                tagged_param(p);
            }
            rc = STEP_MORE;
        }
        return rc;

    case TAGGED_TYPE:
        rc = tagged_until(p, sym, &p->type);
        if (rc == STEP_DONE) {
            p->args = TAGGED_FIRST;
            tagged_param(p);
            rc = STEP_MORE;
        }
        return rc;

    case TAGGED_CLOSE:
        /* MiniMax M3 names the key once more. */
        if ((sym & 0xff) == '>') {
            p->args = TAGGED_NEXT;
        }
        return STEP_MORE;

    default:
        return tagged_value(p, sym);
    }
}


static int
tagged_start(chat_parser_t *p)
{
    p->n_params = 0;
    p->args = TAGGED_NEXT;

    json_decref(p->schema);
    p->schema = NULL;

    if (p->opt.custom && p->opt.custom[p->tool]) {
        return STEP_MORE;
    }

    if (p->opt.schemas && p->opt.schemas[p->tool].s) {
        p->schema =
            json_loadb(p->opt.schemas[p->tool].s, p->opt.schemas[p->tool].len,
                       JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    }

    parse_give(p, CHAT_PART_INPUT, "{", 1);

    return STEP_MORE;
}


static int
tagged_next(chat_parser_t *p, unsigned sym)
{
    const char *s, *end;
    size_t      len, used;
    int         first, last;

    if (p->hold.n == 0 && parse_space(sym & 0xff)) {
        return STEP_MORE;
    }

    syms_add(p, &p->hold, sym);

    s = p->f->param;
    end = tagged_after(p, &len);
    last = syms_match(&p->hold, 0, end, len, &used);
    first = syms_match(&p->hold, 0, s, (size_t) (place(s, 'k') - s), &used);

    if (last == 1) {
        p->hold.n = 0;
        p->after = end + len;

        if (!(p->opt.custom && p->opt.custom[p->tool])) {
            parse_give(p, CHAT_PART_INPUT, "}", 1);
        }

        return STEP_DONE;
    }

    if (first == 1 && last < 0) {
        p->param = place(s, 'k') + 2;
        p->args = TAGGED_KEY;
        buf_reset(&p->key);
        buf_reset(&p->type);

        /* The end begins in the same way: one symbol more was needed. */
        last = p->hold.n > used;
        p->hold.n = 0;
        return last ? tagged_step(p, sym) : STEP_MORE;
    }

    if (first >= 0 || last == 0) {
        return STEP_MORE;
    }

    /* The caller keeps the symbol. */
    p->hold.n--;

    return STEP_BROKEN;
}


/* A name, up to the string behind its place, at p->at. */

static int
tagged_until(chat_parser_t *p, unsigned sym, buf_t *word)
{
    const char *s = p->param;
    size_t      used, len = strcspn(s, "%");
    uint8_t     byte;

    /* Space before a value is the value's. */
    while (len && parse_space((uint8_t) s[len - 1])) {
        len--;
    }

    syms_add(p, &p->hold, sym);

    for (;;) {
        switch (p->hold.n ? syms_match(&p->hold, 0, s, len, &used) : 0) {

        case 1:
            p->hold.n = 0;
            p->param += strcspn(s, "%");
            return STEP_DONE;

        case 0:
            return STEP_MORE;
        }

        byte = (uint8_t) p->hold.s[0];
        if (!(p->hold.s[0] & PARSE_CONTROL)) {
            buf_add(word, &byte, 1);
        }

        p->hold.n--;
        memmove(p->hold.s, p->hold.s + 1, p->hold.n * sizeof(*p->hold.s));

        if (word->len > 1024) {
            if (p->hold.n) {
                p->hold.n--;
            }
            return STEP_BROKEN;
        }
    }
}


/* A parameter's name and type are known. */

static void
tagged_param(chat_parser_t *p)
{
    p->kind = tagged_kind(p);
    p->n_params++;
    buf_reset(&p->text_value);

    if (p->kind == KIND_CUSTOM) {
        return;
    }

    parse_give(p, CHAT_PART_INPUT, ",\"", p->n_params > 1 ? 2 : 0);
    if (p->n_params == 1) {
        parse_give(p, CHAT_PART_INPUT, "\"", 1);
    }

    value_string(p, p->key.data, p->key.len);
    parse_give(p, CHAT_PART_INPUT, "\":", 2);

    if (p->kind == KIND_TEXT) {
        parse_give(p, CHAT_PART_INPUT, "\"", 1);
    }

    value_begin(&p->value, NULL, 0);
}


static int
tagged_kind(const chat_parser_t *p)
{
    str_t    type = {p->type.data, p->type.len};
    unsigned types;

    if (p->opt.custom && p->opt.custom[p->tool]) {
        return KIND_CUSTOM;
    }

    if (type.len) {
        return str_eq(type, str_lit("true")) || str_eq(type, str_lit("string"))
                   ? KIND_TEXT
                   : KIND_JSON;
    }

    types = chat_format_types(p->schema, p->key.data, p->key.len);

    return types == CHAT_TYPE_STRING    ? KIND_TEXT
           : (types & CHAT_TYPE_STRING) ? KIND_MIXED
                                        : KIND_JSON;
}


static int
tagged_value(chat_parser_t *p, unsigned sym)
{
    static const char cdata[] = "<![CDATA[";
    const char       *s = p->param + 2; /* behind %v */
    uint16_t          one;
    size_t            i, len;

    if (p->args == TAGGED_FIRST) {
        p->args = TAGGED_VALUE;
        p->cdata = p->f->cdata && p->kind != KIND_JSON;

        /* The line break between the tag and the value. */
        if (p->param[-1] == '\n' && (sym & 0xff) == '\n') {
            return STEP_MORE;
        }
    }

    syms_add(p, &p->hold, sym);

    if (p->cdata == 1) {
        i = sizeof(cdata) - 1;
        switch (syms_match(&p->hold, 0, cdata, i, &len)) {

        case 0:
            return STEP_MORE;

        case 1:
            p->cdata = 2;
            p->hold.n = 0;
            return STEP_MORE;

        default:
            p->cdata = 0;
        }
    }

    while (p->hold.n) {
        /* In JSON a tag is text, until the value is whole. */
        switch (p->kind == KIND_NESTED ? -1 : tagged_ends(p, 0)) {

        case 1:
            p->hold.n = 0;
            tagged_done(p);

            len = strcspn(s, "%");
            p->args = s[len] ? TAGGED_CLOSE : TAGGED_NEXT;
            return p->failed ? STEP_BROKEN : STEP_MORE;

        case 0:
            return STEP_MORE;
        }

        one = p->hold.s[0];
        p->hold.n--;
        for (i = 0; i < p->hold.n; i++) {
            p->hold.s[i] = p->hold.s[i + 1];
        }

        tagged_byte(p, one);
    }

    return STEP_MORE;
}


/*
 * Is it the tag behind a value that begins at `from`?  As syms_match(), but
 * space counts: with the line break before it, or without.
 */

static int
tagged_ends(const chat_parser_t *p, size_t from)
{
    const char *s = p->param + 2;
    size_t      i, len = strcspn(s, "%"), n = p->hold.n - from;
    int         best = -1;

    while (len && parse_space((uint8_t) s[len - 1])) {
        len--;
    }

    if (p->cdata == 2) {
        for (i = 0; i < n && i < 3; i++) {
            if ((p->hold.s[from + i] & 0xff) != (uint8_t) "]]>"[i]) {
                return -1;
            }
        }

        if (n <= 3) {
            return 0;
        }

        from += 3;
        n -= 3;
    }

    for (;;) {
        for (i = 0; i < n && i < len; i++) {
            if ((p->hold.s[from + i] & 0xff) != (uint8_t) s[i]) {
                break;
            }
        }

        if (i == len) {
            return 1;
        }

        if (i == n) {
            best = 0;
        }

        if (!parse_space((uint8_t) *s)) {
            return best;
        }

        s++;
        len--;
    }
}


static void
tagged_byte(chat_parser_t *p, unsigned sym)
{
    uint8_t byte = (uint8_t) sym;

    if (sym & PARSE_CONTROL) {
        return;
    }

    switch (p->kind) {

    case KIND_TEXT:
        value_string(p, (const char *) &byte, 1);
        return;

    case KIND_CUSTOM:
        if (p->n_params == 1) {
            parse_give(p, CHAT_PART_INPUT, &byte, 1);
        }
        return;

    case KIND_NESTED:
        if (value_step(p, &p->value, byte) != STEP_MORE) {
            p->kind = KIND_OVER;
        }
        return;

    case KIND_OVER:
        return;

    default:
        break;
    }

    if (tagged_nests(p, byte)) {
        p->kind = KIND_NESTED;
        value_step(p, &p->value, byte);
        return;
    }

    if (p->text_value.len < PARSE_MIXED_MAX) {
        buf_add(&p->text_value, &byte, 1);
    }
}


/*
 * Does JSON with an end of its own begin?  It comes as it is written and need
 * not wait for that end.
 */

static int
tagged_nests(const chat_parser_t *p, uint8_t byte)
{
    unsigned bit = byte == '{'   ? CHAT_TYPE_OBJECT
                   : byte == '[' ? CHAT_TYPE_ARRAY
                   : byte == '"' ? CHAT_TYPE_STRING
                                 : 0;
    size_t   i;

    for (i = 0; i < p->text_value.len; i++) {
        if (!parse_space((uint8_t) p->text_value.data[i])) {
            return 0;
        }
    }

    return bit
           && (p->kind == KIND_JSON
               || (bit
                   & chat_format_types(p->schema, p->key.data, p->key.len)));
}


static void
tagged_done(chat_parser_t *p)
{
    size_t i;

    switch (p->kind) {

    case KIND_TEXT:
        parse_give(p, CHAT_PART_INPUT, "\"", 1);
        return;

    case KIND_MIXED:
        tagged_mixed(p);
        return;

    case KIND_JSON:
        /* Python's words and what is no JSON at all are made it. */
        for (i = 0; i < p->text_value.len; i++) {
            if (value_step(p, &p->value, (uint8_t) p->text_value.data[i])
                != STEP_MORE) {
                return;
            }
        }

        if (i == 0) {
            parse_give(p, CHAT_PART_INPUT, "null", 4);
        } else {
            value_end(p, &p->value);
        }
        return;

    default: /* KIND_CUSTOM, _NESTED, _OVER */
        return;
    }
}


/* JSON of a type that the schema allows, or else a string. */

static void
tagged_mixed(chat_parser_t *p)
{
    unsigned types = chat_format_types(p->schema, p->key.data, p->key.len);
    unsigned bit = 0;
    json_t  *v = NULL;

    if (p->text_value.len) {
        v = json_loadb(p->text_value.data, p->text_value.len,
                       JSON_DECODE_ANY | JSON_ALLOW_NUL
                           | JSON_DECODE_INT_AS_REAL,
                       NULL);
    }

    if (v) {
        bit = json_is_string(v)    ? CHAT_TYPE_STRING
              : json_is_number(v)  ? CHAT_TYPE_NUMBER
              : json_is_boolean(v) ? CHAT_TYPE_BOOLEAN
              : json_is_null(v)    ? CHAT_TYPE_NULL
              : json_is_object(v)  ? CHAT_TYPE_OBJECT
                                   : CHAT_TYPE_ARRAY;
        json_decref(v);
    }

    if (bit & types) {
        parse_give(p, CHAT_PART_INPUT, p->text_value.data, p->text_value.len);
        return;
    }

    parse_give(p, CHAT_PART_INPUT, "\"", 1);
    value_string(p, p->text_value.data, p->text_value.len);
    parse_give(p, CHAT_PART_INPUT, "\"", 1);
}


static const char *
place(const char *s, char what)
{
    while (*s && !(s[0] == '%' && s[1] == what)) {
        s++;
    }

    return s;
}


/* The string behind %a in the call, without its last white space. */

static const char *
tagged_after(const chat_parser_t *p, size_t *len)
{
    const char *s = p->at + 2;

    *len = strcspn(s, "%");

    while (*len && parse_space((uint8_t) s[*len - 1])) {
        (*len)--;
    }

    return s;
}
