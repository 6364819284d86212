/*
 * Strings with provenance: slices share bytes, everything else is built in a
 * buffer that keeps the trust of each byte.  Positions are byte offsets
 * unless a name says chars.
 *
 * Strings are immutable, valid UTF-8, and live as long as the arena or, when
 * they are borrowed from JSON or the template, longer.
 */

#include "jinja.h"


size_t
jinja_utf8_get(const char *p, const char *end, uint32_t *cp)
{
    size_t         i, n;
    uint32_t       c;
    const uint8_t *u = (const uint8_t *) p;

    c = u[0];

    if (c < 0x80) {
        *cp = c;
        return 1;
    }

    if (c >= 0xc2 && c < 0xe0) {
        n = 2;
        c &= 0x1f;
    } else if (c >= 0xe0 && c < 0xf0) {
        n = 3;
        c &= 0x0f;
    } else if (c >= 0xf0 && c < 0xf5) {
        n = 4;
        c &= 0x07;
    } else {
        *cp = UINT32_MAX;
        return 1;
    }

    if ((size_t) (end - p) < n) {
        *cp = UINT32_MAX;
        return 1;
    }

    for (i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) {
            *cp = UINT32_MAX;
            return 1;
        }

        c = c << 6 | (u[i] & 0x3f);
    }

    if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000)))
        || (n == 4 && (c < 0x10000 || c > 0x10ffff))) {
        *cp = UINT32_MAX;
        return 1;
    }

    *cp = c;

    return n;
}


size_t
jinja_utf8_put(char *p, uint32_t cp)
{
    if (cp < 0x80) {
        p[0] = (char) cp;
        return 1;
    }

    if (cp < 0x800) {
        p[0] = (char) (0xc0 | cp >> 6);
        p[1] = (char) (0x80 | (cp & 0x3f));
        return 2;
    }

    if (cp < 0x10000) {
        p[0] = (char) (0xe0 | cp >> 12);
        p[1] = (char) (0x80 | (cp >> 6 & 0x3f));
        p[2] = (char) (0x80 | (cp & 0x3f));
        return 3;
    }

    p[0] = (char) (0xf0 | cp >> 18);
    p[1] = (char) (0x80 | (cp >> 12 & 0x3f));
    p[2] = (char) (0x80 | (cp >> 6 & 0x3f));
    p[3] = (char) (0x80 | (cp & 0x3f));

    return 4;
}


/* The character before offset at (> 0): its length. */

size_t
jinja_utf8_prev(const char *text, size_t at, uint32_t *cp)
{
    size_t n = 1;

    while (n < 4 && n < at && ((uint8_t) text[at - n] & 0xc0) == 0x80) {
        n++;
    }

    if (jinja_utf8_get(text + at - n, text + at, cp) != n) {
        *cp = UINT32_MAX;
        return 1;
    }

    return n;
}


bool
jinja_utf8_valid(const char *text, size_t len, size_t *chars)
{
    size_t      n = 0;
    uint32_t    cp;
    uint64_t    w;
    const char *p = text, *end = text + len;

    while (p < end) {
        if (end - p >= 8) {
            memcpy(&w, p, 8);
            if ((w & 0x8080808080808080ULL) == 0) {
                p += 8;
                n += 8;
                continue;
            }
        }

        p += jinja_utf8_get(p, end, &cp);
        n++;
        if (cp == UINT32_MAX) {
            return false;
        }
    }

    *chars = n;

    return true;
}


jinja_val_t
jinja_val_str(const jinja_str_t *s)
{
    return (jinja_val_t){.type = JINJA_STR, .u.s = s};
}


jinja_val_t
jinja_str(jinja_t *j, const char *text, size_t len, bool trusted)
{
    jinja_str_t *s = jinja_alloc(j, sizeof(jinja_str_t));

    jinja_step(j, len / 64);

    if (!jinja_utf8_valid(text, len, &s->chars)) {
        jinja_fail(j, "a string is not UTF-8");
    }

    s->text = text;
    s->len = len;
    s->trusted = trusted;

    return jinja_val_str(s);
}


/* text is a constant or in the arena. */

jinja_val_t
jinja_cstr(jinja_t *j, const char *text, bool trusted)
{
    return jinja_str(j, text, strlen(text), trusted);
}


const jinja_str_t *
jinja_sub(jinja_t *j, const jinja_str_t *s, size_t from, size_t to)
{
    jinja_str_t *t;

    if (from == 0 && to == s->len) {
        return s;
    }

    t = jinja_alloc(j, sizeof(jinja_str_t));
    t->text = s->text + from;
    t->mask = s->mask ? s->mask + from : NULL;
    t->len = to - from;
    t->trusted = s->trusted;
    t->markup = s->markup;

    if (s->chars == s->len) {
        t->chars = t->len;
    } else {
        jinja_step(j, t->len / 64);
        (void) jinja_utf8_valid(t->text, t->len, &t->chars);
    }

    return t;
}


bool
jinja_str_is(const jinja_str_t *s, const char *text)
{
    return strlen(text) == s->len && memcmp(s->text, text, s->len) == 0;
}


bool
jinja_str_eq(const jinja_str_t *a, const jinja_str_t *b)
{
    return a->len == b->len
           && (a->text == b->text || memcmp(a->text, b->text, a->len) == 0);
}


/* The order of code points is the order of UTF-8 bytes. */

int
jinja_str_cmp(const jinja_str_t *a, const jinja_str_t *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int    c = n ? memcmp(a->text, b->text, n) : 0;

    if (c != 0) {
        return c < 0 ? -1 : 1;
    }

    return a->len < b->len ? -1 : a->len > b->len;
}


/* All bytes are the template's. */

bool
jinja_str_trusted(const jinja_str_t *s)
{
    return s->mask ? memchr(s->mask, 0, s->len) == NULL : s->trusted;
}


size_t
jinja_str_offset(jinja_t *j, const jinja_str_t *s, size_t chars)
{
    uint32_t    cp;
    const char *p, *end;

    if (chars >= s->chars) {
        return s->len;
    }

    if (s->chars == s->len) {
        return chars;
    }

    jinja_step(j, chars / 32);
    end = s->text + s->len;

    for (p = s->text; chars > 0 && p < end; chars--) {
        p += jinja_utf8_get(p, end, &cp);
    }

    return (size_t) (p - s->text);
}


/* The offset of what in [from, to), or -1. */

ptrdiff_t
jinja_str_find(jinja_t *j, const jinja_str_t *s, const jinja_str_t *what,
               size_t from, size_t to, bool last)
{
    size_t      i;
    const char *p;

    if (from > to || to - from < what->len) {
        return -1;
    }

    /* memmem is linear; the way from the end compares at each byte */
    if (!last) {
        p = memmem(s->text + from, to - from, what->text, what->len);
        jinja_step(j, ((p ? (size_t) (p - s->text) : to) - from) / 64);
        return p ? p - s->text : -1;
    }

    for (i = to - what->len + 1; i > from; i--) {
        if (what->len == 0
            || (s->text[i - 1] == what->text[0]
                && memcmp(s->text + i - 1, what->text, what->len) == 0)) {
            return (ptrdiff_t) i - 1;
        }

        if ((i & 63) == 0) {
            jinja_step(j, 1 + what->len / 16);
        }
    }

    return -1;
}


static bool
strips(const jinja_str_t *chars, uint32_t cp)
{
    uint32_t    c;
    const char *p, *end;

    if (chars == NULL) {
        return jinja_is_space(cp);
    }

    end = chars->text + chars->len;

    for (p = chars->text; p < end;) {
        p += jinja_utf8_get(p, end, &c);
        if (c == cp) {
            return true;
        }
    }

    return false;
}


/* chars NULL: white space. */

const jinja_str_t *
jinja_str_strip(jinja_t *j, const jinja_str_t *s, const jinja_str_t *chars,
                int sides)
{
    size_t   from = 0, to = s->len, n;
    uint64_t cost = 1 + (chars ? chars->len : 0);
    uint32_t cp;

    while ((sides & JINJA_LEFT) && from < to) {
        n = jinja_utf8_get(s->text + from, s->text + to, &cp);
        if (!strips(chars, cp)) {
            break;
        }
        from += n;
        jinja_step(j, (from & 15) ? cost / 16 : cost);
    }

    while ((sides & JINJA_RIGHT) && from < to) {
        n = jinja_utf8_prev(s->text, to, &cp);
        if (!strips(chars, cp)) {
            break;
        }
        to -= n;
        jinja_step(j, (to & 15) ? cost / 16 : cost);
    }

    return jinja_sub(j, s, from, to);
}


const jinja_str_t *
jinja_str_escape(jinja_t *j, const jinja_str_t *s)
{
    static const char *const entities[128] = {
        ['&'] = "&amp;", ['<'] = "&lt;",   ['>'] = "&gt;",
        ['"'] = "&#34;", ['\''] = "&#39;",
    };

    size_t       i, from = 0;
    uint8_t      c;
    jinja_str_t *t;
    jinja_buf_t  b = {0};

    if (s->markup) {
        return s;
    }

    for (i = 0; i < s->len; i++) {
        c = (uint8_t) s->text[i];
        if (c < 128 && entities[c]) {
            jinja_buf_sub(j, &b, s, from, i);
            jinja_buf_add(j, &b, entities[c], strlen(entities[c]),
                          jinja_str_trust(s, i));
            from = i + 1;
        }
    }

    jinja_buf_sub(j, &b, s, from, s->len);
    t = (jinja_str_t *) jinja_buf_end(j, &b).u.s;
    t->markup = true;

    return t;
}


const jinja_str_t *
jinja_str_replace(jinja_t *j, const jinja_str_t *s, const jinja_str_t *old,
                  const jinja_str_t *new, int64_t count)
{
    size_t       from = 0, n;
    ptrdiff_t    at;
    uint32_t     cp;
    jinja_str_t *t;
    jinja_buf_t  b = {0};

    if (count == 0 || jinja_str_find(j, s, old, 0, s->len, false) < 0) {
        return s;
    }

    while (count != 0) {
        at = jinja_str_find(j, s, old, from, s->len, false);
        if (at < 0) {
            break;
        }

        jinja_step(j, 1);
        jinja_buf_sub(j, &b, s, from, (size_t) at);
        jinja_buf_str(j, &b, new);
        from = (size_t) at + old->len;
        count -= count > 0;

        if (old->len == 0) {
            if (from == s->len) {
                break;
            }

            n = jinja_utf8_get(s->text + from, s->text + s->len, &cp);
            jinja_buf_sub(j, &b, s, from, from + n);
            from += n;
        }
    }

    jinja_buf_sub(j, &b, s, from, s->len);
    t = (jinja_str_t *) jinja_buf_end(j, &b).u.s;
    t->markup = s->markup;

    return t;
}


static bool
breaks_line(uint32_t cp)
{
    return (cp >= 0x0a && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x1e)
           || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}


jinja_seq_t *
jinja_str_lines(jinja_t *j, const jinja_str_t *s, bool keep)
{
    size_t       at = 0, from = 0, end;
    uint32_t     cp;
    jinja_seq_t *q = jinja_seq_new(j, JINJA_LIST, 0, jinja_str_trusted(s));

    while (at < s->len) {
        end = at;
        at += jinja_utf8_get(s->text + at, s->text + s->len, &cp);

        if (!breaks_line(cp)) {
            continue;
        }

        if (cp == '\r' && at < s->len && s->text[at] == '\n') {
            at++;
        }

        jinja_seq_add(j, q,
                      jinja_val_str(jinja_sub(j, s, from, keep ? at : end)));
        from = at;
    }

    if (from < s->len) {
        jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, from, s->len)));
    }

    jinja_step(j, s->len / 32);

    return q;
}


/*
 * Markup escapes what is joined to it.  A sum that goes on where the last one
 * ended is built in its place: the bytes of a do not change by that, and text
 * that a template adds up piece by piece costs no square of its length.
 */

const jinja_str_t *
jinja_str_concat(jinja_t *j, const jinja_str_t *a, const jinja_str_t *b)
{
    jinja_buf_t  buf = {0};
    jinja_str_t *s = jinja_alloc(j, sizeof(jinja_str_t));

    if (a->markup || b->markup) {
        a = jinja_str_escape(j, a);
        b = jinja_str_escape(j, b);
        s->markup = true;
    }

    if (a->len && a->text == j->tail.text && a->len == j->tail.len) {
        buf = j->tail;
    } else {
        jinja_buf_str(j, &buf, a);
    }

    jinja_buf_str(j, &buf, b);
    j->tail = buf;

    s->text = buf.text ? buf.text : "";
    s->mask = buf.mask;
    s->len = buf.len;
    s->chars = a->chars + b->chars;
    s->trusted = buf.len ? buf.trusted : true;

    return s;
}


static void
buf_grow(jinja_t *j, jinja_buf_t *b, size_t more)
{
    char    *text;
    size_t   cap;
    uint8_t *mask;

    if (more > j->max_output || b->len > j->max_output - more) {
        jinja_throw(j, -E2BIG, "line %u: the text is longer than %zu bytes",
                    (unsigned) j->line, j->max_output);
    }

    cap = b->cap ? b->cap * 2 : 0;
    if (cap < b->len + more) {
        cap = b->len + more;
    }

    text = jinja_alloc_raw(j, cap);
    if (b->len) {
        memcpy(text, b->text, b->len);
    }

    if (b->mask) {
        mask = jinja_alloc_raw(j, cap);
        memcpy(mask, b->mask, b->len);
        b->mask = mask;
    }

    b->text = text;
    b->cap = cap;
}


/* Room for n bytes; their mask, if there is one now, is the caller's. */

static void
buf_room(jinja_t *j, jinja_buf_t *b, size_t n, bool mixed, bool trusted)
{
    jinja_step(j, n / 64);

    if (n > b->cap - b->len) {
        buf_grow(j, b, n);
    }

    if (b->mask) {
        return;
    }

    if (b->len == 0 && !mixed) {
        b->trusted = trusted;
        return;
    }

    if (mixed || b->trusted != trusted) {
        b->mask = jinja_alloc_raw(j, b->cap);
        memset(b->mask, b->trusted, b->len);
    }
}


void
jinja_buf_add(jinja_t *j, jinja_buf_t *b, const char *text, size_t len,
              bool trusted)
{
    if (len == 0) {
        return;
    }

    buf_room(j, b, len, false, trusted);
    memcpy(b->text + b->len, text, len);

    if (b->mask) {
        memset(b->mask + b->len, trusted, len);
    }

    b->len += len;
}


void
jinja_buf_char(jinja_t *j, jinja_buf_t *b, uint32_t cp, bool trusted)
{
    char c[4];

    jinja_buf_add(j, b, c, jinja_utf8_put(c, cp), trusted);
}


/* text n times. */

void
jinja_buf_fill(jinja_t *j, jinja_buf_t *b, size_t n, const char *text,
               bool trusted)
{
    size_t len = strlen(text);

    if (n > j->max_output) {
        jinja_throw(j, -E2BIG, "line %u: the text is longer than %zu bytes",
                    (unsigned) j->line, j->max_output);
    }

    jinja_step(j, n / 16);

    while (n-- > 0) {
        jinja_buf_add(j, b, text, len, trusted);
    }
}


void
jinja_buf_sub(jinja_t *j, jinja_buf_t *b, const jinja_str_t *s, size_t from,
              size_t to)
{
    size_t len = to - from;

    if (len == 0) {
        return;
    }

    if (s->mask == NULL) {
        jinja_buf_add(j, b, s->text + from, len, s->trusted);
        return;
    }

    buf_room(j, b, len, true, false);
    memcpy(b->text + b->len, s->text + from, len);
    memcpy(b->mask + b->len, s->mask + from, len);
    b->len += len;
}


void
jinja_buf_str(jinja_t *j, jinja_buf_t *b, const jinja_str_t *s)
{
    jinja_buf_sub(j, b, s, 0, s->len);
}


/* The buffer's bytes become a string; the buffer must not grow after. */

jinja_val_t
jinja_buf_end(jinja_t *j, jinja_buf_t *b)
{
    jinja_str_t *s = jinja_alloc(j, sizeof(jinja_str_t));

    s->text = b->text ? b->text : "";
    s->mask = b->mask;
    s->len = b->len;
    s->trusted = b->len ? b->trusted : true;

    if (!jinja_utf8_valid(s->text, s->len, &s->chars)) {
        jinja_fail(j, "a string is not UTF-8");
    }

    return jinja_val_str(s);
}
