/*
 * Source → tokens, with jinja2's rules for white space: trim_blocks and
 * lstrip_blocks are on, `-` and `+` in a tag override them, one newline at the
 * end of the source is dropped.  Runs at compile time; tokens and their
 * strings are in the template's arena.
 */

#include <ctype.h>
#include <stdlib.h>

#include "jinja_ast.h"

typedef struct {
    jinja_parser_t *p;
    jinja_t        *j;
    const char     *src;
    size_t          len;
    size_t          at;
    uint32_t        line;
    bool            line_starting;
    uint32_t        nopen;
    char            open[256];
} lex_t;

static void lex_root(lex_t *l);
static void lex_tag(lex_t *l, bool block);


static char
peek(const lex_t *l, size_t ahead)
{
    return l->at + ahead < l->len ? l->src[l->at + ahead] : 0;
}


static bool
looking_at(const lex_t *l, size_t at, const char *text)
{
    size_t n = strlen(text);

    return l->len - at >= n && memcmp(l->src + at, text, n) == 0;
}


static size_t
skip_space(const lex_t *l, size_t at)
{
    size_t   n;
    uint32_t cp;

    while (at < l->len) {
        n = jinja_utf8_get(l->src + at, l->src + l->len, &cp);
        if (!jinja_is_space(cp)) {
            break;
        }
        at += n;
    }

    return at;
}


static size_t
rskip_space(const lex_t *l, size_t from, size_t to)
{
    size_t   n;
    uint32_t cp;

    while (to > from) {
        n = jinja_utf8_prev(l->src, to, &cp);
        if (!jinja_is_space(cp)) {
            break;
        }
        to -= n;
    }

    return to;
}


/* Moves to at, counting lines. */

static void
advance(lex_t *l, size_t at)
{
    jinja_step(l->j, 1 + (at - l->at) / 16);

    for (; l->at < at; l->at++) {
        l->line += l->src[l->at] == '\n';
    }
}


static jinja_tok_t *
add(lex_t *l, jinja_tok_type_t type)
{
    size_t          cap;
    jinja_tok_t    *grown, *t;
    jinja_parser_t *p = l->p;

    if (p->n == p->cap) {
        cap = p->cap ? p->cap * 2 : 512;
        grown = jinja_alloc(l->j, cap * sizeof(jinja_tok_t));
        if (p->n) {
            memcpy(grown, p->toks, p->n * sizeof(jinja_tok_t));
        }
        p->toks = grown;
        p->cap = cap;
    }

    t = &p->toks[p->n++];
    memset(t, 0, sizeof(*t));
    t->type = type;
    t->line = l->line;

    return t;
}


static void
add_data(lex_t *l, size_t from, size_t to)
{
    if (to > from) {
        add(l, JTOK_DATA)->v = jinja_str(l->j, l->src + from, to - from, true);
    }
}


/* What remains of the data in [from, to) before a tag with this sign. */

static size_t
data_end(const lex_t *l, size_t from, size_t to, char sign, bool variable)
{
    size_t start;

    if (sign == '-') {
        return rskip_space(l, from, to);
    }

    if (sign == '+' || variable) {
        return to;
    }

    for (start = to; start > from && l->src[start - 1] != '\n'; start--) {
        /* void */
    }

    if ((start > from || l->line_starting) && start < to
        && rskip_space(l, start, to) == start) {
        return start;
    }

    return to;
}


/* The end of `%}`, `-%}` or `+%}` at this place, trimmed; 0: none here. */

static size_t
tag_end(const lex_t *l, size_t at, const char *end, bool block)
{
    if (at < l->len && l->src[at] == '-' && looking_at(l, at + 1, end)) {
        return skip_space(l, at + 3);
    }

    if (block && at < l->len && l->src[at] == '+'
        && looking_at(l, at + 1, end)) {
        return at + 3;
    }

    if (looking_at(l, at, end)) {
        at += 2;
        return block && at < l->len && l->src[at] == '\n' ? at + 1 : at;
    }

    return 0;
}


static void
lex_comment(lex_t *l)
{
    size_t   at, end;
    uint32_t line = l->line;

    for (at = l->at; at < l->len; at++) {
        end = tag_end(l, at, "#}", true);
        if (end) {
            advance(l, end);
            l->line_starting = l->src[end - 1] == '\n';
            return;
        }
    }

    jinja_syntax(l->j, line, "missing end of comment tag");
}


/* The end of `{% raw %}` at this place, or 0. */

static size_t
raw_begin(const lex_t *l, size_t at, const char *word, char *sign, bool end)
{
    if (!looking_at(l, at, "{%")) {
        return 0;
    }

    at += 2;
    *sign = 0;

    if (at < l->len && (l->src[at] == '-' || l->src[at] == '+')) {
        *sign = l->src[at++];
    }

    at = skip_space(l, at);
    if (!looking_at(l, at, word)) {
        return 0;
    }

    at = skip_space(l, at + strlen(word));

    if (end) {
        return tag_end(l, at, "%}", true);
    }

    if (looking_at(l, at, "-%}")) {
        return skip_space(l, at + 3);
    }

    return looking_at(l, at, "%}") ? at + 2 : 0;
}


static void
lex_raw(lex_t *l)
{
    char     sign;
    size_t   at, end;
    uint32_t line = l->line;

    for (at = l->at; at < l->len; at++) {
        end = raw_begin(l, at, "endraw", &sign, true);
        if (end) {
            add_data(l, l->at, data_end(l, l->at, at, sign, false));
            advance(l, end);
            l->line_starting = l->src[end - 1] == '\n';
            return;
        }
    }

    jinja_syntax(l->j, line, "missing end of raw directive");
}


static void
lex_root(lex_t *l)
{
    char   sign, what = 0;
    bool   raw;
    size_t at, end;

    for (at = l->at; at + 1 < l->len; at++) {
        what = l->src[at + 1];
        if (l->src[at] == '{' && (what == '{' || what == '%' || what == '#')) {
            break;
        }
    }

    if (at + 1 >= l->len) {
        add_data(l, l->at, l->len);
        advance(l, l->len);
        return;
    }

    end = raw_begin(l, at, "raw", &sign, false);
    raw = end != 0;

    if (!raw) {
        sign = at + 2 < l->len ? l->src[at + 2] : 0;
        sign = sign == '-' || sign == '+' ? sign : 0;
        end = at + 2 + (sign != 0);
    }

    add_data(l, l->at, data_end(l, l->at, at, sign, what == '{'));
    advance(l, end);
    l->line_starting = l->src[end - 1] == '\n';

    if (raw) {
        lex_raw(l);
        return;
    }

    if (what == '#') {
        lex_comment(l);
        return;
    }

    add(l, what == '%' ? JTOK_BLOCK_BEGIN : JTOK_VAR_BEGIN);
    lex_tag(l, what == '%');
}


static size_t
digits(const lex_t *l, size_t at)
{
    for (;;) {
        if (at < l->len && isdigit((uint8_t) l->src[at])) {
            at++;
        } else if (at + 1 < l->len && at > 0 && l->src[at] == '_'
                   && isdigit((uint8_t) l->src[at - 1])
                   && isdigit((uint8_t) l->src[at + 1])) {
            at += 2;
        } else {
            return at;
        }
    }
}


/* The end of a float literal, or 0. */

static size_t
float_end(const lex_t *l)
{
    size_t at, e, d;
    bool   fraction = false;

    if (l->at > 0 && l->src[l->at - 1] == '.') {
        return 0;
    }

    at = digits(l, l->at);

    if (at + 1 < l->len && l->src[at] == '.'
        && isdigit((uint8_t) l->src[at + 1])) {
        at = digits(l, at + 1);
        fraction = true;
    }

    if (at < l->len && (l->src[at] | 32) == 'e') {
        e = at + 1;
        if (e < l->len && (l->src[e] == '+' || l->src[e] == '-')) {
            e++;
        }
        d = digits(l, e);
        if (d > e) {
            return d;
        }
    }

    return fraction ? at : 0;
}


static void
lex_number(lex_t *l)
{
    int          base = 10;
    char         buf[128], *stop;
    size_t       i, n = 0, end = float_end(l), from = l->at;
    bool         real = end != 0;
    jinja_tok_t *t;

    if (!real) {
        end = l->at;
        i = (uint8_t) (peek(l, 1) | 32);
        base = peek(l, 0) != '0' ? 10
               : i == 'x'        ? 16
               : i == 'o'        ? 8
               : i == 'b'        ? 2
                                 : 10;
        if (base != 10) {
            from = end = l->at + 2;
            while (end < l->len
                   && (isxdigit((uint8_t) l->src[end]) || l->src[end] == '_')) {
                end++;
            }
        } else {
            end = digits(l, l->at);
            if (l->src[l->at] == '0') {
                for (end = l->at; end < l->len && l->src[end] == '0'; end++) {
                    /* void */
                }
            }
        }
    }

    for (i = from; i < end && n < sizeof(buf) - 1; i++) {
        if (l->src[i] != '_') {
            buf[n++] = l->src[i];
        }
    }

    buf[n] = 0;
    errno = 0;
    t = add(l, real ? JTOK_FLOAT : JTOK_INT);
    t->v = real ? jinja_float(strtod(buf, &stop), true)
                : jinja_int(strtoll(buf, &stop, base), true);

    if (n == 0 || *stop || i < end || (errno && !real)) {
        jinja_syntax(l->j, l->line, "unsupported number");
    }

    advance(l, end);
}


static void
lex_name(lex_t *l)
{
    size_t       end = l->at;
    jinja_val_t  name, *known;
    jinja_tok_t *t = add(l, JTOK_NAME);

    while (end < l->len
           && (isalnum((uint8_t) l->src[end]) || l->src[end] == '_'
               || (uint8_t) l->src[end] >= 0x80)) {
        end++;
    }

    name = jinja_str(l->j, l->src + l->at, end - l->at, true);
    known = jinja_dict_get(l->j, l->p->names, name);

    if (known) {
        name = *known;
    } else {
        jinja_dict_set(l->j, l->p->names, name, name);
    }

    t->v = name;
    advance(l, end);
}


static uint32_t
hex(lex_t *l, size_t *at, int n)
{
    char     c;
    uint32_t v = 0;

    for (; n > 0; n--, ++*at) {
        c = *at < l->len ? l->src[*at] : 0;
        if (!isxdigit((uint8_t) c)) {
            jinja_syntax(l->j, l->line, "truncated escape in a string");
        }
        v = v << 4 | (uint32_t) (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }

    return v;
}


/* The escape behind a backslash at *at; UINT32_MAX: nothing. */

static uint32_t
escape(lex_t *l, size_t *at)
{
    int               i;
    uint32_t          v;
    char              c = l->src[(*at)++];
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char       *found = strchr(from, c);

    if (found && c) {
        return (uint32_t) to[found - from];
    }

    if (c == '\n') {
        return UINT32_MAX;
    }

    if (c >= '0' && c <= '7') {
        v = (uint32_t) (c - '0');
        for (i = 0;
             i < 2 && *at < l->len && l->src[*at] >= '0' && l->src[*at] <= '7';
             i++) {
            v = v << 3 | (uint32_t) (l->src[(*at)++] - '0');
        }
        return v;
    }

    if (c == 'x' || c == 'u' || c == 'U') {
        v = hex(l, at, c == 'x' ? 2 : c == 'u' ? 4 : 8);
        if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) {
            jinja_syntax(l->j, l->line, "unsupported character in a string");
        }
        return v;
    }

    if (c == 'N') {
        jinja_syntax(l->j, l->line, "unsupported \\N escape in a string");
    }

    /* an unknown escape stands for itself, backslash and all */
    --*at;

    return '\\';
}


static void
lex_string(lex_t *l)
{
    char         quote = l->src[l->at];
    size_t       at, from;
    uint32_t     cp;
    jinja_buf_t  b = {0};
    jinja_tok_t *t = add(l, JTOK_STRING);

    for (at = from = l->at + 1;;) {
        if (at >= l->len) {
            jinja_syntax(l->j, l->line,
                         "unexpected char '%c': the string does "
                         "not end",
                         quote);
        }

        if (l->src[at] != '\\' && l->src[at] != quote) {
            at++;
            continue;
        }

        jinja_buf_add(l->j, &b, l->src + from, at - from, true);

        if (l->src[at] == quote) {
            break;
        }

        if (++at >= l->len) {
            continue;
        }

        cp = escape(l, &at);
        if (cp != UINT32_MAX) {
            jinja_buf_char(l->j, &b, cp, true);
        }
        from = at;
    }

    t->v = jinja_buf_end(l->j, &b);
    advance(l, at + 1);
}


static void
lex_op(lex_t *l)
{
    char        c = peek(l, 0), d = peek(l, 1);
    const char *two = "//**==!=>=<=", *one = "+-/*%~[](){}><=.:|,;";

    for (; *two; two += 2) {
        if (c == two[0] && d == two[1]) {
            add(l, JTOK_OP)->op = (uint16_t) JINJA_TWO(c, d);
            advance(l, l->at + 2);
            return;
        }
    }

    if (c == 0 || strchr(one, c) == NULL) {
        jinja_syntax(l->j, l->line, "unexpected char '%c'",
                     isprint((uint8_t) c) ? c : '?');
    }

    if (strchr("([{", c)) {
        if (l->nopen == sizeof(l->open)) {
            jinja_syntax(l->j, l->line, "nested too deeply");
        }
        l->open[l->nopen++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    }

    if (strchr(")]}", c) && (l->nopen == 0 || l->open[--l->nopen] != c)) {
        jinja_syntax(l->j, l->line, "unexpected '%c'", c);
    }

    add(l, JTOK_OP)->op = (uint16_t) c;
    advance(l, l->at + 1);
}


/* What stands between the delimiters of a tag, and its end. */

static void
lex_tag(lex_t *l, bool block)
{
    char        c;
    size_t      end;
    const char *close = block ? "%}" : "}}";

    l->nopen = 0;

    while (l->at < l->len) {
        end = l->nopen == 0 ? tag_end(l, l->at, close, block) : 0;
        if (end) {
            add(l, block ? JTOK_BLOCK_END : JTOK_VAR_END);
            advance(l, end);
            l->line_starting = l->src[end - 1] == '\n';
            return;
        }

        end = skip_space(l, l->at);
        if (end > l->at) {
            advance(l, end);
            continue;
        }

        c = l->src[l->at];

        if (isdigit((uint8_t) c)) {
            lex_number(l);
        } else if (isalpha((uint8_t) c) || c == '_' || (uint8_t) c >= 0x80) {
            lex_name(l);
        } else if (c == '"' || c == '\'') {
            lex_string(l);
        } else {
            lex_op(l);
        }
    }
}


/* Newlines become \n; one at the end goes. */

static void
normalize(lex_t *l, const char *src, size_t len)
{
    char  *to = jinja_alloc(l->j, len + 1);
    size_t i, n = 0;

    for (i = 0; i < len; i++) {
        if (src[i] == '\r') {
            to[n++] = '\n';
            i += i + 1 < len && src[i + 1] == '\n';
        } else {
            to[n++] = src[i];
        }
    }

    if (n > 0 && to[n - 1] == '\n') {
        n--;
    }

    l->src = to;
    l->len = n;
}


void
jinja_lex(jinja_parser_t *p, const char *src, size_t len)
{
    size_t chars;
    lex_t  l = {.p = p, .j = p->j, .line = 1, .line_starting = true};

    if (!jinja_utf8_valid(src, len, &chars)) {
        jinja_syntax(p->j, 1, "the template is not UTF-8");
    }

    p->names = jinja_dict_new(p->j, 64, true);
    normalize(&l, src, len);

    while (l.at < l.len) {
        lex_root(&l);
    }

    add(&l, JTOK_EOF);
}
