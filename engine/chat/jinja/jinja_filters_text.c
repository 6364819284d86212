/*
 * Filters that give text or numbers.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "jinja.h"

#define FILTER(name)                                                           \
    static jinja_val_t name(jinja_t *j, jinja_val_t self,                      \
                            const jinja_val_t *v, const jinja_args_t *args)


static bool
given(jinja_val_t v)
{
    return v.type != JINJA_MISSING && v.type != JINJA_NONE;
}


static int64_t
int_or(jinja_t *j, jinja_val_t v, int64_t other, const char *what)
{
    return v.type == JINJA_MISSING ? other : jinja_need_int(j, v, what);
}


FILTER(f_upper)
{
    return jinja_val_str(jinja_case(j, jinja_soft_str(j, self), JINJA_UPPER));
}


FILTER(f_lower)
{
    return jinja_val_str(jinja_case(j, jinja_soft_str(j, self), JINJA_LOWER));
}


FILTER(f_capitalize)
{
    size_t             n;
    uint32_t           cp;
    jinja_buf_t        b = {0};
    const jinja_str_t *s = jinja_soft_str(j, self);

    if (s->len) {
        n = jinja_utf8_get(s->text, s->text + s->len, &cp);
        jinja_case_add(j, &b, s, 0, n, JINJA_TITLE);
        jinja_case_add(j, &b, s, n, s->len, JINJA_LOWER);
    }

    return jinja_buf_end(j, &b);
}


/* jinja2's own idea of words: after space, -, and opening brackets. */

FILTER(f_title)
{
    bool               first = true;
    size_t             i, n;
    uint32_t           cp;
    jinja_buf_t        b = {0};
    const jinja_str_t *s = jinja_soft_str(j, self);

    for (i = 0; i < s->len; i += n) {
        n = jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        jinja_case_add(j, &b, s, i, i + n, first ? JINJA_UPPER : JINJA_LOWER);
        first =
            jinja_is_space(cp) || (cp < 128 && cp && strchr("-({[<", (int) cp));
    }

    return jinja_buf_end(j, &b);
}


FILTER(f_trim)
{
    const jinja_str_t *chars = NULL;

    if (given(v[0])) {
        chars = jinja_need_str(j, v[0], "trim");
    }

    return jinja_val_str(jinja_str_strip(j, jinja_soft_str(j, self), chars,
                                         JINJA_LEFT | JINJA_RIGHT));
}


FILTER(f_string)
{
    return jinja_val_str(jinja_soft_str(j, self));
}


FILTER(f_safe)
{
    jinja_str_t *s = jinja_alloc(j, sizeof(*s));

    *s = *jinja_to_str(j, self);
    s->markup = true;

    return jinja_val_str(s);
}


FILTER(f_escape)
{
    return jinja_val_str(jinja_str_escape(j, jinja_soft_str(j, self)));
}


FILTER(f_forceescape)
{
    return jinja_val_str(jinja_str_escape(j, jinja_to_str(j, self)));
}


FILTER(f_replace)
{
    int64_t count = given(v[2]) ? jinja_need_int(j, v[2], "replace") : -1;

    return jinja_val_str(jinja_str_replace(j, jinja_to_str(j, self),
                                           jinja_to_str(j, v[0]),
                                           jinja_to_str(j, v[1]), count));
}


FILTER(f_indent)
{
    bool               first = jinja_truth(j, v[1]);
    bool               blank = jinja_truth(j, v[2]);
    uint32_t           i;
    jinja_buf_t        b = {0}, pad = {0};
    jinja_seq_t       *lines;
    jinja_str_t       *nl, *r;
    const jinja_str_t *s, *line, *with;

    if (self.type != JINJA_STR) {
        if (self.type == JINJA_UNDEF) {
            jinja_undef_throw(j, self);
        }
        jinja_fail(j, "unsupported operand type(s) for +: '%s' and 'str'",
                   jinja_type_name(self));
    }

    s = self.u.s;

    if (v[0].type == JINJA_STR) {
        with = v[0].u.s;
    } else {
        jinja_buf_fill(j, &pad,
                       (size_t) (int_or(j, v[0], 4, "indent") > 0
                                     ? int_or(j, v[0], 4, "indent")
                                     : 0),
                       " ", true);
        with = jinja_buf_end(j, &pad).u.s;
    }

    /* a newline is added before the lines are split */
    nl = (jinja_str_t *) jinja_cstr(j, "\n", true).u.s;
    nl->markup = s->markup;
    lines = jinja_str_lines(j, jinja_str_concat(j, s, nl), false);

    for (i = 0; i < lines->n; i++) {
        line = lines->v[i].u.s;
        if (i) {
            jinja_buf_add(j, &b, "\n", 1, true);
        }
        if ((i && (line->len || blank)) || (i == 0 && first)) {
            jinja_buf_str(j, &b, with);
        }
        jinja_buf_str(j, &b, line);
    }

    r = (jinja_str_t *) jinja_buf_end(j, &b).u.s;
    r->markup = s->markup;

    return jinja_val_str(r);
}


FILTER(f_join)
{
    bool               more = false;
    jinja_buf_t        b = {0};
    jinja_seq_t       *q = jinja_iter(j, self);
    jinja_val_t        item;
    const jinja_str_t *sep = NULL;

    if (v[0].type != JINJA_MISSING) {
        sep = jinja_to_str(j, v[0]);
    }

    while (q->pos < q->n) {
        if (more && sep) {
            jinja_buf_str(j, &b, sep);
        }
        item = q->v[q->pos++];
        if (given(v[1])) {
            item = jinja_attr_path(j, item, v[1], NULL);
        }
        jinja_print(j, &b, item);
        jinja_step(j, 1);
        more = true;
    }

    return jinja_buf_end(j, &b);
}


FILTER(f_format)
{
    uint32_t      i;
    jinja_dict_t *d;
    jinja_seq_t  *q;

    if (args->npos && args->nkw) {
        jinja_fail(j, "can't handle positional and keyword arguments at the "
                      "same time");
    }

    if (args->nkw) {
        d = jinja_dict_new(j, args->nkw, true);
        for (i = 0; i < args->nkw; i++) {
            jinja_dict_set(j, d, jinja_val_str(args->names[i]), args->kw[i]);
        }
        return jinja_percent(j, jinja_soft_str(j, self), jinja_dict(d));
    }

    q = jinja_seq_new(j, JINJA_TUPLE, args->npos, true);
    for (i = 0; i < args->npos; i++) {
        jinja_seq_add(j, q, args->pos[i]);
    }

    return jinja_percent(j, jinja_soft_str(j, self), jinja_seq(q));
}


FILTER(f_center)
{
    const jinja_str_t *s = jinja_soft_str(j, self);
    int64_t            width = int_or(j, v[0], 80, "center"), pad, left;
    jinja_buf_t        b = {0};

    if (width <= (int64_t) s->chars) {
        return jinja_val_str(s);
    }

    pad = width - (int64_t) s->chars;
    left = pad / 2 + (pad & width & 1);
    jinja_buf_fill(j, &b, (size_t) left, " ", true);
    jinja_buf_str(j, &b, s);
    jinja_buf_fill(j, &b, (size_t) (pad - left), " ", true);

    return jinja_buf_end(j, &b);
}


FILTER(f_truncate)
{
    const jinja_str_t *s = jinja_need_str(j, self, "truncate"), *end;
    int64_t            length = int_or(j, v[0], 255, "truncate");
    int64_t   leeway = given(v[3]) ? jinja_need_int(j, v[3], "truncate") : 5;
    ptrdiff_t at;

    end = v[2].type == JINJA_MISSING ? jinja_cstr(j, "...", true).u.s
                                     : jinja_need_str(j, v[2], "truncate");

    if (length < (int64_t) end->chars || leeway < 0) {
        jinja_fail(j, "expected length >= %zu and leeway >= 0", end->chars);
    }

    if (length > INT32_MAX || leeway > INT32_MAX
        || (int64_t) s->chars <= length + leeway) {
        return self;
    }

    s = jinja_sub(j, s, 0,
                  jinja_str_offset(j, s, (size_t) length - end->chars));

    if (!jinja_truth(j, v[1])) {
        at =
            jinja_str_find(j, s, jinja_cstr(j, " ", true).u.s, 0, s->len, true);
        if (at >= 0) {
            s = jinja_sub(j, s, 0, (size_t) at);
        }
    }

    return jinja_val_str(jinja_str_concat(j, s, end));
}


FILTER(f_wordcount)
{
    bool               word = false, in;
    size_t             i;
    int64_t            n = 0;
    uint32_t           cp;
    const jinja_str_t *s = jinja_soft_str(j, self);

    for (i = 0; i < s->len;) {
        i += jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        in = cp == '_' || jinja_is_alpha(cp) || jinja_is_numeric(cp);
        n += in && !word;
        word = in;
    }

    jinja_step(j, s->len / 16);

    return jinja_int(n, jinja_str_trusted(s));
}


/* query: of a form's data, where spaces are + and slashes are not safe. */

static void
url_quote(jinja_t *j, jinja_buf_t *b, jinja_val_t v, bool query)
{
    char               hex[4];
    size_t             i;
    uint8_t            c;
    const jinja_str_t *s = jinja_to_str(j, v);

    for (i = 0; i < s->len; i++) {
        c = (uint8_t) s->text[i];

        if (c < 128
            && (jinja_is_alpha(c) || jinja_is_digit(c)
                || (c && strchr("_.-~", c)) || (c == '/' && !query))) {
            jinja_buf_sub(j, b, s, i, i + 1);
            continue;
        }

        snprintf(hex, sizeof(hex), "%%%02X", c);
        if (c == ' ' && query) {
            strcpy(hex, "+");
        }
        jinja_buf_add(j, b, hex, strlen(hex), jinja_str_trust(s, i));
    }
}


FILTER(f_urlencode)
{
    uint32_t     i;
    jinja_buf_t  b = {0};
    jinja_seq_t *q, *pair;

    if (self.type == JINJA_STR || !jinja_iterable(self)) {
        url_quote(j, &b, self, false);
        return jinja_buf_end(j, &b);
    }

    q = self.type == JINJA_DICT ? jinja_dict_view(j, self.u.d, JINJA_ITEMS)
                                : jinja_iter_list(j, self);

    for (i = 0; i < q->n; i++) {
        pair = jinja_iter_list(j, q->v[i]);
        if (pair->n != 2) {
            jinja_fail(j, "urlencode needs pairs of key and value");
        }
        jinja_buf_add(j, &b, "&", i > 0, q->trusted);
        url_quote(j, &b, pair->v[0], true);
        jinja_buf_add(j, &b, "=", 1, q->trusted);
        url_quote(j, &b, pair->v[1], true);
    }

    return jinja_buf_end(j, &b);
}


/* Text of a number without spaces around it and `_`; false: too long. */

static bool
number_text(jinja_t *j, const jinja_str_t *s, char buf[64])
{
    char               last = '_';
    size_t             i, n = 0;
    const jinja_str_t *t;

    t = jinja_str_strip(j, s, NULL, JINJA_LEFT | JINJA_RIGHT);

    for (i = 0; i < t->len; i++) {
        if (n >= 63 || t->text[i] == 0) {
            return false;
        }
        if (t->text[i] == '_') {
            if (last < '0' || (last > '9' && last < 'A') || i + 1 == t->len) {
                return false;
            }
        } else {
            buf[n++] = t->text[i];
        }
        last = t->text[i] == '_' ? ' ' : t->text[i];
    }

    buf[n] = 0;

    return n > 0;
}


static bool
to_float(jinja_t *j, jinja_val_t self, double *f)
{
    char buf[64], *end;

    if (self.type == JINJA_UNDEF) {
        jinja_undef_throw(j, self);
    }

    if (jinja_is_num(self)) {
        *f = jinja_as_double(self);
        return true;
    }

    if (self.type != JINJA_STR || !number_text(j, self.u.s, buf)
        || strpbrk(buf, "xXpP(")) {
        return false;
    }

    *f = strtod(buf, &end);

    return *end == 0 && !jinja_is_space((uint8_t) buf[0]);
}


static bool
val_trusted(jinja_val_t v)
{
    return v.type == JINJA_STR ? jinja_str_trusted(v.u.s) : v.trusted;
}


FILTER(f_float)
{
    double f;

    if (to_float(j, self, &f)) {
        return jinja_float(f, val_trusted(self));
    }

    return v[0].type == JINJA_MISSING ? jinja_float(0, true) : v[0];
}


FILTER(f_int)
{
    char    buf[64], *end, *p;
    double  f;
    int64_t i = 0, base = int_or(j, v[1], 10, "int");

    if (jinja_as_int(self, &i)) {
        return jinja_int(i, self.trusted);
    }

    if (self.type == JINJA_STR && number_text(j, self.u.s, buf)
        && (base == 0 || (base >= 2 && base <= 36))) {
        errno = 0;
        p = buf + (buf[0] == '-' || buf[0] == '+');
        if (p[0] == '0' && (p[1] | 32) == 'b' && (base == 2 || base == 0)) {
            i = strtoll(p + 2, &end, 2);
        } else if (p[0] == '0' && (p[1] | 32) == 'o'
                   && (base == 8 || base == 0)) {
            i = strtoll(p + 2, &end, 8);
        } else {
            i = strtoll(p, &end, (int) base);
        }
        i = buf[0] == '-' ? -i : i;
        if (errno == ERANGE) {
            jinja_fail(j, "the integer does not fit 64 bits");
        }
        if (*end == 0 && end > p && *p != '-' && *p != '+' && *p != ' ') {
            return jinja_int(i, jinja_str_trusted(self.u.s));
        }
    }

    if (to_float(j, self, &f) && isfinite(f)) {
        if (fabs(f) >= 9.2e18) {
            jinja_fail(j, "the integer does not fit 64 bits");
        }
        return jinja_int((int64_t) f, val_trusted(self));
    }

    return v[0].type == JINJA_MISSING ? jinja_int(0, true) : v[0];
}


FILTER(f_abs)
{
    if (self.type == JINJA_FLOAT) {
        return jinja_float(fabs(self.u.f), self.trusted);
    }

    if (jinja_need_int(j, self, "abs") < 0) {
        return jinja_unary(j, '-', self);
    }

    return jinja_unary(j, '+', self);
}


FILTER(f_round)
{
    char               buf[512];
    double             f, p;
    int64_t            i = 0, prec = int_or(j, v[0], 0, "round");
    const jinja_str_t *how = NULL;

    if (v[1].type != JINJA_MISSING) {
        how = jinja_need_str(j, v[1], "round");
    }

    if (how && !jinja_str_is(how, "common") && !jinja_str_is(how, "ceil")
        && !jinja_str_is(how, "floor")) {
        jinja_fail(j, "method must be common, ceil or floor");
    }

    if (self.type == JINJA_UNDEF) {
        jinja_undef_throw(j, self);
    }

    if (!jinja_is_num(self)) {
        jinja_fail(j, "type %s doesn't define __round__ method",
                   jinja_type_name(self));
    }

    if (prec > 300 || prec < -300) {
        jinja_fail(j, "round: the precision is out of range");
    }

    p = pow(10, (double) prec);

    if (how && !jinja_str_is(how, "common")) {
        f = jinja_as_double(self) * p;
        f = jinja_str_is(how, "ceil") ? ceil(f) : floor(f);
        return jinja_float(f / p, self.trusted);
    }

    if (jinja_as_int(self, &i)) {
        if (prec >= 0) {
            return jinja_int(i, self.trusted);
        }
        p = pow(10, (double) -prec);
        return jinja_int((int64_t) (nearbyint((double) i / p) * p),
                         self.trusted);
    }

    if (!isfinite(self.u.f)) {
        return self;
    }

    if (prec < 0) {
        return jinja_float(nearbyint(self.u.f * p) / p, self.trusted);
    }

    snprintf(buf, sizeof(buf), "%.*f", prec > 60 ? 60 : (int) prec, self.u.f);

    return jinja_float(strtod(buf, NULL), self.trusted);
}


FILTER(f_filesizeformat)
{
    static const char *const units[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};

    char   buf[64];
    bool   binary = jinja_truth(j, v[0]);
    size_t i;
    double f, base = binary ? 1024 : 1000, unit;

    if (!to_float(j, self, &f)) {
        jinja_fail(j, "could not convert to float");
    }

    if (f == 1) {
        return jinja_cstr(j, "1 Byte", val_trusted(self));
    }

    if (f < base) {
        snprintf(buf, sizeof(buf), "%.0f Bytes", trunc(f));
    } else {
        for (i = 0, unit = base * base; i < 7 && f >= unit; i++) {
            unit *= base;
        }
        snprintf(buf, sizeof(buf), "%.1f %s%s", base * f / unit,
                 binary && i == 0 ? "K" : units[i], binary ? "iB" : "B");
    }

    return jinja_val_str(jinja_str(j, strcpy(jinja_alloc(j, sizeof(buf)), buf),
                                   strlen(buf), val_trusted(self))
                             .u.s);
}


const jinja_def_t jinja_filters_text[] = {
    {"upper", "", f_upper},
    {"lower", "", f_lower},
    {"capitalize", "", f_capitalize},
    {"title", "", f_title},
    {"trim", "?chars", f_trim},
    {"string", "", f_string},
    {"safe", "", f_safe},
    {"escape", "", f_escape},
    {"e", "", f_escape},
    {"forceescape", "", f_forceescape},
    {"replace", "old new ?count", f_replace},
    {"indent", "?width first blank", f_indent},
    {"join", "?d attribute", f_join},
    {"format", NULL, f_format},
    {"center", "?width", f_center},
    {"truncate", "?length killwords end leeway", f_truncate},
    {"wordcount", "", f_wordcount},
    {"urlencode", "", f_urlencode},
    {"int", "?default base", f_int},
    {"float", "?default", f_float},
    {"abs", "/", f_abs},
    {"round", "?precision method", f_round},
    {"filesizeformat", "?binary", f_filesizeformat},
    {"tojson", "?ensure_ascii indent separators sort_keys", jinja_tojson},
    {NULL, NULL, NULL},
};
