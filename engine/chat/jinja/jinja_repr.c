/*
 * Python's str() and repr() of values.  Quotes, brackets and commas are
 * trusted only where the whole value is the template's.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "jinja.h"


/* The shortest text that reads back as f, laid out as Python does it. */

void
jinja_float_repr(double f, char buf[40])
{
    int  prec, exp, n = 0, i;
    char tmp[40], digits[32], *p;

    if (isnan(f) || isinf(f)) {
        strcpy(buf, isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }

    for (prec = 0; prec < 17; prec++) {
        snprintf(tmp, sizeof(tmp), "%.*e", prec, f);
        if (strtod(tmp, NULL) == f) {
            break;
        }
    }

    exp = atoi(strchr(tmp, 'e') + 1);

    for (p = tmp; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') {
            digits[n++] = *p;
        }
    }

    digits[n] = 0;
    p = buf;

    if (tmp[0] == '-') {
        *p++ = '-';
    }

    if (exp < -4 || exp >= 16) {
        *p++ = digits[0];
        if (n > 1) {
            p += sprintf(p, ".%s", digits + 1);
        }
        sprintf(p, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
        return;
    }

    if (exp < 0) {
        p += sprintf(p, "0.");
        for (i = -1; i > exp; i--) {
            *p++ = '0';
        }
        strcpy(p, digits);
        return;
    }

    for (i = 0; i <= exp || i < n; i++) {
        if (i == exp + 1) {
            *p++ = '.';
        }
        *p++ = i < n ? digits[i] : '0';
    }

    strcpy(p, n <= exp + 1 ? ".0" : "");
}


static void
repr_str(jinja_t *j, jinja_buf_t *b, const jinja_str_t *s)
{
    bool     t, all = jinja_str_trusted(s);
    char     esc[16], quote = '\'';
    size_t   i, n, from = 0;
    uint32_t cp;

    if (memchr(s->text, '\'', s->len) && !memchr(s->text, '"', s->len)) {
        quote = '"';
    }

    if (s->markup) {
        jinja_buf_add(j, b, "Markup(", 7, all);
    }

    jinja_buf_add(j, b, &quote, 1, all);

    for (i = 0; i < s->len; i += n) {
        n = jinja_utf8_get(s->text + i, s->text + s->len, &cp);

        if (cp != (uint32_t) quote && cp != '\\' && jinja_is_printable(cp)) {
            continue;
        }

        if (cp == (uint32_t) quote || cp == '\\') {
            snprintf(esc, sizeof(esc), "\\%c", (char) cp);
        } else if (cp == '\n' || cp == '\r' || cp == '\t') {
            snprintf(esc, sizeof(esc), "\\%c",
                     cp == '\n'   ? 'n'
                     : cp == '\r' ? 'r'
                                  : 't');
        } else {
            snprintf(esc, sizeof(esc),
                     cp < 0x100     ? "\\x%02x"
                     : cp < 0x10000 ? "\\u%04x"
                                    : "\\U%08x",
                     (unsigned) cp);
        }

        t = jinja_str_trust(s, i);
        jinja_buf_sub(j, b, s, from, i);
        jinja_buf_add(j, b, esc, strlen(esc), t);
        from = i + n;
    }

    jinja_buf_sub(j, b, s, from, s->len);
    jinja_buf_add(j, b, &quote, 1, all);

    if (s->markup) {
        jinja_buf_add(j, b, ")", 1, all);
    }
}


static void
repr_seq(jinja_t *j, jinja_buf_t *b, const jinja_seq_t *q)
{
    static const char *const open[] = {
        [JINJA_LIST] = "[",
        [JINJA_TUPLE] = "(",
        [JINJA_KEYS] = "dict_keys([",
        [JINJA_VALUES] = "dict_values([",
        [JINJA_ITEMS] = "dict_items([",
    };
    static const char *const close[] = {
        [JINJA_LIST] = "]",    [JINJA_TUPLE] = ")",  [JINJA_KEYS] = "])",
        [JINJA_VALUES] = "])", [JINJA_ITEMS] = "])",
    };

    char     text[96];
    uint32_t i;

    if (q->kind == JINJA_RANGE) {
        snprintf(text, sizeof(text),
                 q->range[2] == 1 ? "range(%lld, %lld)"
                                  : "range(%lld, %lld, %lld)",
                 (long long) q->range[0], (long long) q->range[1],
                 (long long) q->range[2]);
        jinja_buf_add(j, b, text, strlen(text), q->trusted);
        return;
    }

    if (q->kind == JINJA_ITER) {
        jinja_buf_add(j, b, "<generator object>", 18, q->trusted);
        return;
    }

    jinja_buf_add(j, b, open[q->kind], strlen(open[q->kind]), q->trusted);

    for (i = 0; i < q->n; i++) {
        if (i) {
            jinja_buf_add(j, b, ", ", 2, q->trusted);
        }
        jinja_repr_add(j, b, q->v[i]);
    }

    if (q->kind == JINJA_TUPLE && q->n == 1) {
        jinja_buf_add(j, b, ",", 1, q->trusted);
    }

    jinja_buf_add(j, b, close[q->kind], strlen(close[q->kind]), q->trusted);
}


static void
repr_dict(jinja_t *j, jinja_buf_t *b, const jinja_dict_t *d)
{
    uint32_t i;

    jinja_buf_add(j, b, "{", 1, d->trusted);

    for (i = 0; i < d->n; i++) {
        if (i) {
            jinja_buf_add(j, b, ", ", 2, d->trusted);
        }
        jinja_repr_add(j, b, d->keys[i]);
        jinja_buf_add(j, b, ": ", 2, d->trusted);
        jinja_repr_add(j, b, d->vals[i]);
    }

    jinja_buf_add(j, b, "}", 1, d->trusted);
}


void
jinja_repr_add(jinja_t *j, jinja_buf_t *b, jinja_val_t v)
{
    char text[96];

    jinja_enter(j);
    text[0] = 0;

    switch (v.type) {

    case JINJA_MISSING:
    case JINJA_UNDEF:
        strcpy(text, "Undefined");
        break;

    case JINJA_NONE:
        strcpy(text, "None");
        break;

    case JINJA_BOOL:
        strcpy(text, v.u.b ? "True" : "False");
        break;

    case JINJA_INT:
        snprintf(text, sizeof(text), "%lld", (long long) v.u.i);
        break;

    case JINJA_FLOAT:
        jinja_float_repr(v.u.f, text);
        break;

    case JINJA_STR:
        repr_str(j, b, v.u.s);
        break;

    case JINJA_SEQ:
        repr_seq(j, b, v.u.q);
        break;

    case JINJA_DICT:
        repr_dict(j, b, v.u.d);
        break;

    case JINJA_NS:
        jinja_buf_add(j, b, "<Namespace ", 11, true);
        repr_dict(j, b, v.u.d);
        jinja_buf_add(j, b, ">", 1, true);
        break;

    case JINJA_MACRO:
        jinja_buf_add(j, b, "<Macro ", 7, true);
        if (v.u.macro->name) {
            repr_str(j, b, v.u.macro->name);
        } else {
            jinja_buf_add(j, b, "anonymous", 9, true);
        }
        jinja_buf_add(j, b, ">", 1, true);
        break;

    default:
        snprintf(text, sizeof(text), "<%s>", jinja_type_name(v));
        v.trusted = true;
    }

    jinja_buf_add(j, b, text, strlen(text), v.trusted);
    jinja_leave(j);
}


/* Adds str(v). */

void
jinja_print(jinja_t *j, jinja_buf_t *b, jinja_val_t v)
{
    if (v.type == JINJA_STR) {
        jinja_buf_str(j, b, v.u.s);
        return;
    }

    if (v.type != JINJA_UNDEF && v.type != JINJA_MISSING) {
        jinja_repr_add(j, b, v);
    }
}


/* str(v): a plain string, of Markup too. */

const jinja_str_t *
jinja_to_str(jinja_t *j, jinja_val_t v)
{
    jinja_buf_t  b = {0};
    jinja_str_t *plain;

    if (v.type == JINJA_STR && !v.u.s->markup) {
        return v.u.s;
    }

    if (v.type == JINJA_STR) {
        plain = jinja_alloc(j, sizeof(*plain));
        *plain = *v.u.s;
        plain->markup = false;
        return plain;
    }

    jinja_print(j, &b, v);

    return jinja_buf_end(j, &b).u.s;
}


/* Markup stays what it is. */

const jinja_str_t *
jinja_soft_str(jinja_t *j, jinja_val_t v)
{
    return v.type == JINJA_STR ? v.u.s : jinja_to_str(j, v);
}
