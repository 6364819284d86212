/*
 * The methods of Python's str.  Offsets in arguments and results are in
 * characters, as everywhere in Python.
 */

#include "jinja.h"

#define METHOD(name)                                                           \
    static jinja_val_t name(jinja_t *j, jinja_val_t self,                      \
                            const jinja_val_t *v, const jinja_args_t *args)


static bool
given(jinja_val_t v)
{
    return v.type != JINJA_MISSING && v.type != JINJA_NONE;
}


static jinja_val_t
strip(jinja_t *j, jinja_val_t self, const jinja_val_t *v, int sides)
{
    const jinja_str_t *chars = NULL;

    if (given(v[0])) {
        chars = jinja_need_str(j, v[0], "strip");
    }

    return jinja_val_str(jinja_str_strip(j, self.u.s, chars, sides));
}


METHOD(m_strip)
{
    return strip(j, self, v, JINJA_LEFT | JINJA_RIGHT);
}


METHOD(m_lstrip)
{
    return strip(j, self, v, JINJA_LEFT);
}


METHOD(m_rstrip)
{
    return strip(j, self, v, JINJA_RIGHT);
}


METHOD(m_upper)
{
    return jinja_val_str(jinja_case(j, self.u.s, JINJA_UPPER));
}


METHOD(m_lower)
{
    return jinja_val_str(jinja_case(j, self.u.s, JINJA_LOWER));
}


METHOD(m_title)
{
    return jinja_val_str(jinja_case(j, self.u.s, JINJA_TITLE));
}


METHOD(m_capitalize)
{
    size_t      n;
    uint32_t    cp;
    jinja_buf_t b = {0};

    if (self.u.s->len) {
        n = jinja_utf8_get(self.u.s->text, self.u.s->text + self.u.s->len, &cp);
        jinja_case_add(j, &b, self.u.s, 0, n, JINJA_TITLE);
        jinja_case_add(j, &b, self.u.s, n, self.u.s->len, JINJA_LOWER);
    }

    return jinja_buf_end(j, &b);
}


METHOD(m_swapcase)
{
    size_t             i, n;
    uint32_t           cp;
    jinja_buf_t        b = {0};
    const jinja_str_t *s = self.u.s;

    for (i = 0; i < s->len; i += n) {
        n = jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        if (jinja_is_upper(cp) || jinja_is_lower(cp)) {
            jinja_case_add(j, &b, s, i, i + n,
                           jinja_is_upper(cp) ? JINJA_LOWER : JINJA_UPPER);
        } else {
            jinja_buf_sub(j, &b, s, i, i + n);
        }
    }

    return jinja_buf_end(j, &b);
}


/* The part between v[0] and v[1] in characters; false: there is none. */

static bool
span(jinja_t *j, const jinja_str_t *s, const jinja_val_t *v, size_t *from,
     size_t *to)
{
    int64_t n = (int64_t) s->chars, a = 0, b = n;

    if (given(v[0])) {
        a = jinja_need_int(j, v[0], "start");
        a = a < 0 ? (a < -n ? 0 : a + n) : a;
    }

    if (given(v[1])) {
        b = jinja_need_int(j, v[1], "end");
        b = b < 0 ? (b < -n ? 0 : b + n) : b > n ? n : b;
    }

    if (a > b) {
        return false;
    }

    *from = jinja_str_offset(j, s, (size_t) a);
    *to = jinja_str_offset(j, s, (size_t) b);

    return true;
}


static bool
has_affix(const jinja_str_t *s, const jinja_str_t *what, size_t from, size_t to,
          bool end)
{
    if (to - from < what->len) {
        return false;
    }

    return memcmp(s->text + (end ? to - what->len : from), what->text,
                  what->len)
           == 0;
}


static jinja_val_t
affix(jinja_t *j, jinja_val_t self, const jinja_val_t *v, bool end)
{
    bool         yes = false;
    size_t       from, to;
    uint32_t     i;
    jinja_seq_t *q;

    if (!span(j, self.u.s, v + 1, &from, &to)) {
        return jinja_bool(false);
    }

    if (v[0].type != JINJA_SEQ || v[0].u.q->kind != JINJA_TUPLE) {
        return jinja_bool(has_affix(
            self.u.s, jinja_need_str(j, v[0], "startswith"), from, to, end));
    }

    for (i = 0, q = v[0].u.q; i < q->n && !yes; i++) {
        yes = has_affix(self.u.s, jinja_need_str(j, q->v[i], "startswith"),
                        from, to, end);
    }

    return jinja_bool(yes);
}


METHOD(m_startswith)
{
    return affix(j, self, v, false);
}


METHOD(m_endswith)
{
    return affix(j, self, v, true);
}


METHOD(m_removeprefix)
{
    const jinja_str_t *s = self.u.s, *what;

    what = jinja_need_str(j, v[0], "removeprefix");

    return has_affix(s, what, 0, s->len, false)
               ? jinja_val_str(jinja_sub(j, s, what->len, s->len))
               : self;
}


METHOD(m_removesuffix)
{
    const jinja_str_t *s = self.u.s, *what;

    what = jinja_need_str(j, v[0], "removesuffix");

    return has_affix(s, what, 0, s->len, true)
               ? jinja_val_str(jinja_sub(j, s, 0, s->len - what->len))
               : self;
}


METHOD(m_replace)
{
    const jinja_str_t *new = jinja_need_str(j, v[1], "replace");
    int64_t count = -1;

    if (v[2].type != JINJA_MISSING) {
        count = jinja_need_int(j, v[2], "replace");
    }

    return jinja_val_str(jinja_str_replace(
        j, self.u.s, jinja_need_str(j, v[0], "replace"),
        self.u.s->markup ? jinja_str_escape(j, new) : new, count));
}


/* The place in characters, or -1. */

static int64_t
find(jinja_t *j, jinja_val_t self, const jinja_val_t *v, bool last)
{
    size_t             from, to, chars;
    ptrdiff_t          at;
    const jinja_str_t *what = jinja_need_str(j, v[0], "find");

    if (!span(j, self.u.s, v + 1, &from, &to)) {
        return -1;
    }

    at = jinja_str_find(j, self.u.s, what, from, to, last);
    if (at < 0) {
        return -1;
    }

    (void) jinja_utf8_valid(self.u.s->text, (size_t) at, &chars);

    return (int64_t) chars;
}


METHOD(m_find)
{
    return jinja_int(find(j, self, v, false), jinja_str_trusted(self.u.s));
}


METHOD(m_rfind)
{
    return jinja_int(find(j, self, v, true), jinja_str_trusted(self.u.s));
}


METHOD(m_index)
{
    int64_t at = find(j, self, v, false);

    if (at < 0) {
        jinja_fail(j, "substring not found");
    }

    return jinja_int(at, jinja_str_trusted(self.u.s));
}


METHOD(m_rindex)
{
    int64_t at = find(j, self, v, true);

    if (at < 0) {
        jinja_fail(j, "substring not found");
    }

    return jinja_int(at, jinja_str_trusted(self.u.s));
}


METHOD(m_count)
{
    size_t             from, to;
    int64_t            n = 0;
    ptrdiff_t          at;
    const jinja_str_t *s = self.u.s, *what = jinja_need_str(j, v[0], "count");

    if (!span(j, s, v + 1, &from, &to)) {
        return jinja_int(0, true);
    }

    if (what->len == 0) {
        s = jinja_sub(j, s, from, to);
        return jinja_int((int64_t) s->chars + 1, jinja_str_trusted(s));
    }

    while ((at = jinja_str_find(j, s, what, from, to, false)) >= 0) {
        n++;
        from = (size_t) at + what->len;
        jinja_step(j, 1);
    }

    return jinja_int(n, jinja_str_trusted(s));
}


METHOD(m_join)
{
    uint32_t     i;
    jinja_buf_t  b = {0};
    jinja_seq_t *q = jinja_iter_list(j, v[0]);
    jinja_str_t *r;

    for (i = 0; i < q->n; i++) {
        if (i) {
            jinja_buf_str(j, &b, self.u.s);
        }
        if (q->v[i].type != JINJA_STR && !self.u.s->markup) {
            jinja_fail(j, "sequence item %u: expected str instance, %s found",
                       (unsigned) i, jinja_type_name(q->v[i]));
        }
        if (self.u.s->markup) {
            jinja_buf_str(j, &b,
                          jinja_str_escape(j, jinja_soft_str(j, q->v[i])));
        } else {
            jinja_buf_str(j, &b, q->v[i].u.s);
        }
    }

    r = (jinja_str_t *) jinja_buf_end(j, &b).u.s;
    r->markup = self.u.s->markup;

    return jinja_val_str(r);
}


/* Pads to v[0] characters: left of them before the text. */

static jinja_val_t
justify(jinja_t *j, jinja_val_t self, const jinja_val_t *v, char where)
{
    bool        trusted = true;
    char        fill[8] = " ";
    int64_t     width = jinja_need_int(j, v[0], "width"), pad, left;
    jinja_buf_t b = {0};

    if (v[1].type != JINJA_MISSING) {
        const jinja_str_t *f = jinja_need_str(j, v[1], "fill");

        if (f->chars != 1) {
            jinja_fail(j, "The fill character must be exactly one character "
                          "long");
        }
        memcpy(fill, f->text, f->len);
        fill[f->len] = 0;
        trusted = jinja_str_trusted(f);
    }

    pad = width - (int64_t) self.u.s->chars;
    if (pad <= 0) {
        return self;
    }

    left = where == 'l' ? 0 : where == 'r' ? pad : pad / 2 + (pad & width & 1);
    jinja_buf_fill(j, &b, (size_t) left, fill, trusted);
    jinja_buf_str(j, &b, self.u.s);
    jinja_buf_fill(j, &b, (size_t) (pad - left), fill, trusted);

    return jinja_buf_end(j, &b);
}


METHOD(m_ljust)
{
    return justify(j, self, v, 'l');
}


METHOD(m_rjust)
{
    return justify(j, self, v, 'r');
}


METHOD(m_center)
{
    return justify(j, self, v, 'c');
}


METHOD(m_zfill)
{
    int64_t            width = jinja_need_int(j, v[0], "zfill"), pad;
    size_t             sign;
    jinja_buf_t        b = {0};
    const jinja_str_t *s = self.u.s;

    pad = width - (int64_t) s->chars;
    if (pad <= 0) {
        return self;
    }

    sign = s->len && (s->text[0] == '-' || s->text[0] == '+');
    jinja_buf_sub(j, &b, s, 0, sign);
    jinja_buf_fill(j, &b, (size_t) pad, "0", true);
    jinja_buf_sub(j, &b, s, sign, s->len);

    return jinja_buf_end(j, &b);
}


METHOD(m_expandtabs)
{
    int64_t            size = 8, column = 0;
    size_t             i, n;
    uint32_t           cp;
    jinja_buf_t        b = {0};
    const jinja_str_t *s = self.u.s;

    if (v[0].type != JINJA_MISSING) {
        size = jinja_need_int(j, v[0], "tabsize");
    }

    for (i = 0; i < s->len; i += n) {
        n = jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        if (cp == '\t') {
            if (size > 0) {
                jinja_buf_fill(j, &b, (size_t) (size - column % size), " ",
                               jinja_str_trust(s, i));
                column += size - column % size;
            }
            continue;
        }
        jinja_buf_sub(j, &b, s, i, i + n);
        column = cp == '\n' || cp == '\r' ? 0 : column + 1;
    }

    return jinja_buf_end(j, &b);
}


static bool
is_alnum(uint32_t cp)
{
    return jinja_is_alpha(cp) || jinja_is_numeric(cp);
}


static bool
is_ascii(uint32_t cp)
{
    return cp < 128;
}


/* Whether all characters are so; of nothing: empty. */

static jinja_val_t
all(jinja_t *j, jinja_val_t self, bool (*is)(uint32_t), bool empty)
{
    size_t             i;
    uint32_t           cp;
    const jinja_str_t *s = self.u.s;

    jinja_step(j, s->len / 16);

    for (i = 0; i < s->len;) {
        i += jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        if (!is(cp)) {
            return jinja_bool(false);
        }
    }

    return jinja_bool(s->len ? true : empty);
}


#define ALL(name, is, empty)                                                   \
    METHOD(name)                                                               \
    {                                                                          \
        return all(j, self, is, empty);                                        \
    }

ALL(m_isalpha, jinja_is_alpha, false)
ALL(m_isalnum, is_alnum, false)
ALL(m_isdigit, jinja_is_digit, false)
ALL(m_isdecimal, jinja_is_decimal, false)
ALL(m_isnumeric, jinja_is_numeric, false)
ALL(m_isspace, jinja_is_space, false)
ALL(m_isascii, is_ascii, true)
ALL(m_isprintable, jinja_is_printable, true)


METHOD(m_islower)
{
    return jinja_test_find(jinja_cstr(j, "lower", true).u.s)
        ->fn(j, self, v, args);
}


METHOD(m_isupper)
{
    return jinja_test_find(jinja_cstr(j, "upper", true).u.s)
        ->fn(j, self, v, args);
}


const jinja_def_t jinja_str_methods[] = {
    {"strip", "/?chars", m_strip},
    {"lstrip", "/?chars", m_lstrip},
    {"rstrip", "/?chars", m_rstrip},
    {"upper", "/", m_upper},
    {"lower", "/", m_lower},
    {"casefold", "/", m_lower},
    {"title", "/", m_title},
    {"capitalize", "/", m_capitalize},
    {"swapcase", "/", m_swapcase},
    {"split", "?sep maxsplit", jinja_split},
    {"rsplit", "?sep maxsplit", jinja_rsplit},
    {"splitlines", "?keepends", jinja_splitlines},
    {"partition", "/sep", jinja_partition},
    {"rpartition", "/sep", jinja_rpartition},
    {"startswith", "/prefix ?start end", m_startswith},
    {"endswith", "/suffix ?start end", m_endswith},
    {"removeprefix", "/prefix", m_removeprefix},
    {"removesuffix", "/suffix", m_removesuffix},
    {"replace", "/old new ?count", m_replace},
    {"find", "/sub ?start end", m_find},
    {"rfind", "/sub ?start end", m_rfind},
    {"index", "/sub ?start end", m_index},
    {"rindex", "/sub ?start end", m_rindex},
    {"count", "/sub ?start end", m_count},
    {"join", "/iterable", m_join},
    {"format", NULL, jinja_format},
    {"ljust", "/width ?fill", m_ljust},
    {"rjust", "/width ?fill", m_rjust},
    {"center", "/width ?fill", m_center},
    {"zfill", "/width", m_zfill},
    {"expandtabs", "?tabsize", m_expandtabs},
    {"isalpha", "/", m_isalpha},
    {"isalnum", "/", m_isalnum},
    {"isdigit", "/", m_isdigit},
    {"isdecimal", "/", m_isdecimal},
    {"isnumeric", "/", m_isnumeric},
    {"isspace", "/", m_isspace},
    {"isascii", "/", m_isascii},
    {"isprintable", "/", m_isprintable},
    {"islower", "/", m_islower},
    {"isupper", "/", m_isupper},
    {NULL, NULL, NULL},
};
