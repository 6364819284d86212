/*
 * Python's str.format(), as jinja2's sandbox has it.  The format's own text
 * keeps its trust, what is put in keeps its own, and padding has the trust of
 * the format's character.
 */

#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "jinja_format.h"

typedef struct {
    const jinja_args_t *args;
    jinja_dict_t       *map;
    uint32_t            next;
    bool                manual;
} source_t;


static void
format_spec(jinja_t *j, const jinja_str_t *f, jinja_spec_t *s)
{
    size_t   at = 0, n;
    uint32_t cp, next = 0;

    if (f->len) {
        n = jinja_utf8_get(f->text, f->text + f->len, &cp);
        if (n < f->len) {
            next = (uint8_t) f->text[n];
        }
        if (next && next < 128 && strchr("<>=^", (int) next)) {
            s->fill = cp;
            s->align = (char) next;
            at = n + 1;
        } else if (strchr("<>=^", f->text[0]) && f->text[0]) {
            s->align = f->text[0];
            at = 1;
        }
    }

    if (at < f->len && f->text[at] && strchr("+- ", f->text[at])) {
        s->sign = f->text[at++];
    }

    if (at < f->len && f->text[at] == '#') {
        s->alt = true;
        at++;
    }

    if (at < f->len && f->text[at] == '0') {
        if (s->align == 0) {
            s->fill = '0';
            s->align = '=';
        }
        at++;
    }

    s->width = jinja_format_number(j, f, &at);

    if (at < f->len && (f->text[at] == ',' || f->text[at] == '_')) {
        s->group = f->text[at++];
    }

    if (at < f->len && f->text[at] == '.') {
        at++;
        s->prec = jinja_format_number(j, f, &at);
        if (s->prec < 0) {
            jinja_fail(j, "Format specifier missing precision");
        }
    }

    if (at < f->len) {
        s->type = f->text[at++];
    }

    if (at < f->len) {
        jinja_fail(j, "Invalid format specifier");
    }
}


/* format(v, spec) */

static void
format_value(jinja_t *j, jinja_buf_t *b, jinja_val_t v, const jinja_str_t *fmt)
{
    jinja_spec_t s = {.fill = ' ', .prec = -1};
    int64_t      i = 0;

    if (fmt->len == 0) {
        jinja_print(j, b, v);
        return;
    }

    s.trusted = jinja_str_trusted(fmt);
    format_spec(j, fmt, &s);

    if (v.type == JINJA_STR && (s.type == 0 || s.type == 's')
        && s.align != '=') {
        jinja_put_str(j, b, &s, v.u.s);
        return;
    }

    if (s.type && strchr("eEfFgG%", s.type) && jinja_is_num(v)) {
        jinja_put_float(j, b, &s, jinja_as_double(v), v.trusted);
        return;
    }

    if (v.type == JINJA_FLOAT && s.type == 0) {
        jinja_put_float(j, b, &s, v.u.f, v.trusted);
        return;
    }

    if (jinja_as_int(v, &i) && (s.type == 0 || strchr("dxXob", s.type))
        && s.prec < 0) {
        jinja_put_int(j, b, &s, i, v.trusted);
        return;
    }

    jinja_fail(j, "unsupported format specification for '%s'",
               jinja_type_name(v));
}


static jinja_val_t
source_get(jinja_t *j, source_t *src, const jinja_str_t *name)
{
    size_t       at = 0;
    int64_t      n;
    uint32_t     i;
    jinja_val_t *v;

    if (name->len == 0) {
        if (src->manual) {
            jinja_fail(j, "cannot switch from manual field specification to "
                          "automatic field numbering");
        }
        n = src->next++;
    } else {
        n = jinja_format_number(j, name, &at);
        if (n >= 0 && at == name->len) {
            if (src->next) {
                jinja_fail(j, "cannot switch from automatic field numbering "
                              "to manual field specification");
            }
            src->manual = true;
        } else {
            n = -1;
        }
    }

    if (n >= 0) {
        if (src->map || n >= src->args->npos) {
            jinja_fail(j,
                       "Replacement index %lld out of range for positional "
                       "args tuple",
                       (long long) n);
        }
        return src->args->pos[n];
    }

    if (src->map) {
        v = jinja_dict_str(j, src->map, name);
        if (v) {
            return *v;
        }
    }

    for (i = 0; src->args && i < src->args->nkw; i++) {
        if (jinja_str_eq(src->args->names[i], name)) {
            return src->args->kw[i];
        }
    }

    jinja_fail(j, "KeyError in format()");
}


/* The value of a field: a name or number, then .attr and [key]. */

static jinja_val_t
field_get(jinja_t *j, source_t *src, const jinja_str_t *field)
{
    size_t             at = 0, from, k;
    int64_t            n;
    jinja_val_t        v;
    const jinja_str_t *name;

    while (at < field->len && field->text[at] != '.'
           && field->text[at] != '[') {
        at++;
    }

    v = source_get(j, src, jinja_sub(j, field, 0, at));

    while (at < field->len) {
        jinja_step(j, 1);

        if (field->text[at] == '.') {
            from = ++at;
            while (at < field->len && field->text[at] != '.'
                   && field->text[at] != '[') {
                at++;
            }
            v = jinja_getattr(j, v, jinja_sub(j, field, from, at));
            continue;
        }

        from = at + 1;
        while (at < field->len && field->text[at] != ']') {
            at++;
        }

        if (field->text[from - 1] != '[' || at >= field->len || from == at) {
            jinja_fail(j, "Missing ']' in format string");
        }

        name = jinja_sub(j, field, from, at++);
        k = 0;
        n = jinja_format_number(j, name, &k);
        v = jinja_getitem(j, v,
                          n >= 0 && k == name->len ? jinja_int(n, true)
                                                   : jinja_val_str(name));
    }

    return v;
}


static const jinja_str_t *format_text(jinja_t *j, source_t *src,
                                      const jinja_str_t *f, int nested);


/* {field!conversion:spec} between from and to. */

static void
format_field(jinja_t *j, jinja_buf_t *b, source_t *src, const jinja_str_t *f,
             size_t from, size_t to, int nested)
{
    char               conv = 0;
    size_t             at = from, depth = 0;
    jinja_buf_t        t = {0};
    jinja_val_t        v;
    const jinja_str_t *spec;

    for (; at < to; at++) {
        depth += f->text[at] == '[';
        depth -= depth && f->text[at] == ']';
        if (depth == 0 && (f->text[at] == '!' || f->text[at] == ':')) {
            break;
        }
    }

    v = field_get(j, src, jinja_sub(j, f, from, at));

    if (at < to && f->text[at] == '!') {
        conv = at + 1 < to ? f->text[at + 1] : 0;
        at += 2;
        if ((conv != 's' && conv != 'r' && conv != 'a')
            || (at < to && f->text[at] != ':')) {
            jinja_fail(j, "unknown conversion specifier in format()");
        }
    }

    if (conv == 's') {
        v = jinja_val_str(jinja_to_str(j, v));
    } else if (conv) {
        jinja_repr_add(j, &t, v);
        v = jinja_buf_end(j, &t);
    }

    spec = jinja_sub(j, f, at < to ? at + 1 : to, to);

    if (memchr(spec->text, '{', spec->len)) {
        if (nested) {
            jinja_fail(j, "Max string recursion exceeded");
        }
        spec = format_text(j, src, spec, 1);
    }

    if (f->markup && v.type == JINJA_STR) {
        v = jinja_val_str(jinja_str_escape(j, v.u.s));
    }

    format_value(j, b, v, spec);
}


static const jinja_str_t *
format_text(jinja_t *j, source_t *src, const jinja_str_t *f, int nested)
{
    char         c;
    size_t       at, from = 0, depth, end;
    jinja_buf_t  b = {0};
    jinja_str_t *r;

    for (at = 0; at < f->len; at++) {
        c = f->text[at];

        if (c != '{' && c != '}') {
            continue;
        }

        jinja_step(j, 1);
        jinja_buf_sub(j, &b, f, from, at);

        if (at + 1 < f->len && f->text[at + 1] == c) {
            from = ++at;
            continue;
        }

        if (c == '}') {
            jinja_fail(j, "Single '}' encountered in format string");
        }

        for (end = at + 1, depth = 1; end < f->len; end++) {
            depth += f->text[end] == '{';
            depth -= f->text[end] == '}';
            if (depth == 0) {
                break;
            }
        }

        if (end >= f->len) {
            jinja_fail(j, "expected '}' before end of string");
        }

        format_field(j, &b, src, f, at + 1, end, nested);
        at = end;
        from = at + 1;
    }

    jinja_buf_sub(j, &b, f, from, f->len);
    r = (jinja_str_t *) jinja_buf_end(j, &b).u.s;
    r->markup = f->markup;

    return r;
}


/* str.format() */

jinja_val_t
jinja_format(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
             const jinja_args_t *args)
{
    source_t src = {.args = args};

    return jinja_val_str(format_text(j, &src, self.u.s, 0));
}
