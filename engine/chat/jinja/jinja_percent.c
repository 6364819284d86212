/*
 * Formatting with `%`, and the layout of numbers and strings that it shares
 * with str.format().  The format's own text keeps its trust, what is put in
 * keeps its own, and padding has the trust of the format's character.
 */

#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "jinja_format.h"


static void
pad(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s, const jinja_str_t *text,
    size_t sign, char align)
{
    char    fill[5] = {0};
    int64_t left, n = s->width - (int64_t) text->chars;

    n = n > 0 ? n : 0;
    align = s->align ? s->align : align;
    left = align == '<' ? 0 : align == '^' ? n / 2 : n;
    fill[jinja_utf8_put(fill, s->fill)] = 0;

    if (align == '=') {
        jinja_buf_sub(j, b, text, 0, sign);
    } else {
        sign = 0;
    }

    jinja_buf_fill(j, b, (size_t) left, fill, s->trusted);
    jinja_buf_sub(j, b, text, sign, text->len);
    jinja_buf_fill(j, b, (size_t) (n - left), fill, s->trusted);
}


/* Puts separators between groups of digits; text starts with digits. */

static void
group(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s, const char *text,
      bool trusted)
{
    size_t i, n = strspn(text, "0123456789");
    size_t size =
        s->type == 'x' || s->type == 'X' || s->type == 'b' || s->type == 'o'
            ? 4
            : 3;

    if (size == 4) {
        n = strlen(text);
    }

    for (i = 0; i < n; i++) {
        if (s->group && i && (n - i) % size == 0) {
            jinja_buf_add(j, b, &s->group, 1, trusted);
        }
        jinja_buf_add(j, b, text + i, 1, trusted);
    }

    jinja_buf_add(j, b, text + n, strlen(text + n), trusted);
}


static void
put_number(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s, bool negative,
           const char *prefix, const char *digits, bool trusted)
{
    char        sign[2] = {0};
    jinja_buf_t text = {0};

    sign[0] = negative ? '-' : s->sign == '+' || s->sign == ' ' ? s->sign : 0;
    jinja_buf_add(j, &text, sign, strlen(sign), trusted);
    jinja_buf_add(j, &text, prefix, strlen(prefix), trusted);
    group(j, &text, s, digits, trusted);
    pad(j, b, s, jinja_buf_end(j, &text).u.s, strlen(sign) + strlen(prefix),
        '>');
}


void
jinja_put_int(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s, int64_t i,
              bool trusted)
{
    char        digits[80], bits[80];
    int         n = 0, k;
    uint64_t    u = i < 0 ? -(uint64_t) i : (uint64_t) i;
    const char *prefix = "";

    switch (s->type) {
    case 'x':
        snprintf(digits, sizeof(digits), "%llx", (unsigned long long) u);
        prefix = "0x";
        break;
    case 'X':
        snprintf(digits, sizeof(digits), "%llX", (unsigned long long) u);
        prefix = "0X";
        break;
    case 'o':
        snprintf(digits, sizeof(digits), "%llo", (unsigned long long) u);
        prefix = "0o";
        break;
    case 'b':
        do {
            bits[n++] = (char) ('0' + (u & 1));
            u >>= 1;
        } while (u);
        for (k = 0; k < n; k++) {
            digits[k] = bits[n - 1 - k];
        }
        digits[n] = 0;
        prefix = "0b";
        break;
    default:
        snprintf(digits, sizeof(digits), "%llu", (unsigned long long) u);
    }

    put_number(j, b, s, i < 0, s->alt ? prefix : "", digits, trusted);
}


void
jinja_put_float(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s, double f,
                bool trusted)
{
    char   fmt[16], text[512];
    int    prec = s->prec < 0 ? 6 : s->prec > 100 ? 100 : (int) s->prec;
    char   type = s->type == '%' ? 'f' : s->type;
    double v = s->type == '%' ? f * 100 : f;

    if (type == 0 && s->prec < 0) {
        jinja_float_repr(fabs(f), text);

    } else {
        snprintf(fmt, sizeof(fmt), "%%%s.*%c", s->alt ? "#" : "",
                 type ? type : 'g');
        snprintf(text, sizeof(text), fmt, prec == 0 && !type ? 1 : prec,
                 fabs(v));
        if (type == 0 && strpbrk(text, ".ein") == NULL) {
            strcat(text, ".0");
        }
    }

    if (s->type == '%') {
        strcat(text, "%");
    }

    put_number(j, b, s, signbit(f) && !isnan(f), "", text, trusted);
}


void
jinja_put_str(jinja_t *j, jinja_buf_t *b, const jinja_spec_t *s,
              const jinja_str_t *text)
{
    if (s->prec >= 0) {
        text =
            jinja_sub(j, text, 0, jinja_str_offset(j, text, (size_t) s->prec));
    }

    pad(j, b, s, text, 0, '<');
}


int64_t
jinja_format_number(jinja_t *j, const jinja_str_t *f, size_t *at)
{
    int64_t n = -1;

    while (*at < f->len && isdigit((uint8_t) f->text[*at])) {
        n = (n < 0 ? 0 : n) * 10 + f->text[(*at)++] - '0';
        if (n > JINJA_MAX_WIDTH) {
            jinja_throw(j, -E2BIG, "line %u: a format's width is too large",
                        (unsigned) j->line);
        }
    }

    return n;
}


static jinja_val_t
percent_next(jinja_t *j, jinja_seq_t *tuple, uint32_t *used)
{
    if (*used >= tuple->n) {
        jinja_fail(j, "not enough arguments for format string");
    }

    return tuple->v[(*used)++];
}


static void
percent_one(jinja_t *j, jinja_buf_t *b, jinja_spec_t *s, jinja_val_t v,
            bool markup)
{
    int64_t            i = 0;
    jinja_buf_t        t = {0};
    const jinja_str_t *text;

    switch (s->type) {

    case 's':
        text = jinja_to_str(j, v);
        if (markup) {
            text = jinja_str_escape(j, jinja_soft_str(j, v));
        }
        break;

    case 'r':
    case 'a':
        jinja_repr_add(j, &t, v);
        text = jinja_buf_end(j, &t).u.s;
        text = markup ? jinja_str_escape(j, text) : text;
        break;

    case 'c':
        if (v.type == JINJA_STR && v.u.s->chars == 1) {
            text = v.u.s;
            break;
        }
        i = jinja_need_int(j, v, "%c");
        if (i < 0 || i > 0x10ffff || (i >= 0xd800 && i < 0xe000)) {
            jinja_fail(j, "%%c arg not in range");
        }
        jinja_buf_char(j, &t, (uint32_t) i, v.trusted);
        text = jinja_buf_end(j, &t).u.s;
        break;

    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        if (v.type == JINJA_FLOAT && fabs(v.u.f) < 9e18
            && (s->type == 'd' || s->type == 'i' || s->type == 'u')) {
            v = jinja_int((int64_t) v.u.f, v.trusted);
        }
        if (!jinja_as_int(v, &i)) {
            jinja_fail(j, "%%%c format: a number is required, not %s", s->type,
                       jinja_type_name(v));
        }
        s->type = strchr("xXo", s->type) ? s->type : 'd';
        jinja_put_int(j, b, s, i, v.trusted);
        return;

    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        if (!jinja_is_num(v)) {
            jinja_fail(j, "must be real number, not %s", jinja_type_name(v));
        }
        jinja_put_float(j, b, s, jinja_as_double(v), v.trusted);
        return;

    default:
        jinja_fail(j, "unsupported format character");
    }

    s->align = s->align == '<' ? '<' : '>';
    s->fill = ' ';
    jinja_put_str(j, b, s, text);
}


static size_t
percent_spec(jinja_t *j, const jinja_str_t *f, size_t at, jinja_seq_t *tuple,
             uint32_t *used, jinja_spec_t *s)
{
    for (; at < f->len && strchr("-+ 0#", f->text[at]) && f->text[at]; at++) {
        switch (f->text[at]) {
        case '-':
            s->align = '<';
            break;
        case '0':
            s->fill = '0';
            break;
        case '#':
            s->alt = true;
            break;
        default:
            s->sign = s->sign == '+' ? '+' : f->text[at];
        }
    }

    if (s->align == '<') {
        s->fill = ' ';
    } else if (s->fill == '0') {
        s->align = '=';
    }

    if (at < f->len && f->text[at] == '*') {
        at++;
        s->width = jinja_need_int(j, percent_next(j, tuple, used), "*");
        if (s->width > JINJA_MAX_WIDTH || s->width < -JINJA_MAX_WIDTH) {
            jinja_fail(j, "a format's width is too large");
        }
        if (s->width < 0) {
            s->align = '<';
            s->width = -s->width;
        }
    } else {
        s->width = jinja_format_number(j, f, &at);
    }

    if (at < f->len && f->text[at] == '.') {
        at++;
        s->prec = jinja_format_number(j, f, &at);
        s->prec = s->prec < 0 ? 0 : s->prec;
    }

    while (at < f->len && f->text[at] && strchr("hlL", f->text[at])) {
        at++;
    }

    if (at >= f->len) {
        jinja_fail(j, "incomplete format");
    }

    s->type = f->text[at];

    return at + 1;
}


jinja_val_t
jinja_percent(jinja_t *j, const jinja_str_t *f, jinja_val_t arg)
{
    size_t       at = 0, from, close;
    jinja_spec_t s;
    uint32_t     used = 0;
    jinja_buf_t  b = {0};
    jinja_seq_t *tuple;
    jinja_str_t *r;
    jinja_val_t  v, *item;
    const char  *p;

    if (arg.type == JINJA_SEQ && arg.u.q->kind == JINJA_TUPLE) {
        tuple = arg.u.q;
    } else {
        tuple = jinja_seq_new(j, JINJA_TUPLE, 1, true);
        jinja_seq_add(j, tuple, arg);
    }

    for (;;) {
        jinja_step(j, 1);
        p = at < f->len ? memchr(f->text + at, '%', f->len - at) : NULL;
        from = at;
        at = p ? (size_t) (p - f->text) : f->len;
        jinja_buf_sub(j, &b, f, from, at);

        if (p == NULL) {
            break;
        }

        s = (jinja_spec_t){.fill = ' ', .prec = -1};
        s.trusted = jinja_str_trust(f, at++);
        item = NULL;

        if (at < f->len && f->text[at] == '%') {
            jinja_buf_sub(j, &b, f, at, at + 1);
            at++;
            continue;
        }

        if (at < f->len && f->text[at] == '(') {
            p = memchr(f->text + at, ')', f->len - at);
            if (p == NULL || arg.type != JINJA_DICT) {
                jinja_fail(j, "format requires a mapping");
            }
            close = (size_t) (p - f->text);
            item = jinja_dict_str(j, arg.u.d, jinja_sub(j, f, at + 1, close));
            if (item == NULL) {
                jinja_fail(j, "KeyError in a format");
            }
            at = close + 1;
        }

        at = percent_spec(j, f, at, tuple, &used, &s);

        if (s.type == '%') {
            jinja_buf_add(j, &b, "%", 1, s.trusted);
            continue;
        }

        v = item ? *item : percent_next(j, tuple, &used);
        percent_one(j, &b, &s, v, f->markup);
    }

    if (used < tuple->n && arg.type != JINJA_DICT && arg.type != JINJA_UNDEF
        && !(arg.type == JINJA_SEQ && arg.u.q->kind == JINJA_LIST)) {
        jinja_fail(j, "not all arguments converted during string formatting");
    }

    r = (jinja_str_t *) jinja_buf_end(j, &b).u.s;
    r->markup = f->markup;

    return jinja_val_str(r);
}
