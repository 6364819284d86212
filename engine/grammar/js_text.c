/*
 * UTF-8, JSON pointers and printing of JSON trees: see js_value.h.  Any
 * thread; nothing is owned here.
 */

#include "engine/grammar/js_value.h"


size_t
js_utf8(const char *p, const char *end, uint32_t *cp)
{
    const unsigned char *s = (const unsigned char *) p;
    size_t               left = (size_t) (end - p);
    uint32_t             c, least;
    size_t               n, i;

    if (left == 0) {
        return 0;
    }

    c = s[0];

    if (c < 0x80) {
        *cp = c;
        return 1;
    }

    if (c >= 0xc2 && c <= 0xdf) {
        n = 2;
        c &= 0x1f;
        least = 0x80;

    } else if ((c & 0xf0) == 0xe0) {
        n = 3;
        c &= 0x0f;
        least = 0x800;

    } else if (c >= 0xf0 && c <= 0xf4) {
        n = 4;
        c &= 0x07;
        least = 0x10000;

    } else {
        return 0;
    }

    if (left < n) {
        return 0;
    }

    for (i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }

        c = c << 6 | (s[i] & 0x3f);
    }

    if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }

    *cp = c;

    return n;
}


size_t
js_utf8_count(const char *s, size_t len)
{
    size_t i, n = 0;

    for (i = 0; i < len; i++) {
        n += (s[i] & 0xc0) != 0x80;
    }

    return n;
}


size_t
js_utf8_put(char *p, uint32_t cp)
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


void
js_path_add(buf_t *buf, const char *name, size_t len)
{
    size_t i;

    buf_str(buf, "/");

    for (i = 0; i < len; i++) {
        if (name[i] == '~') {
            buf_str(buf, "~0");

        } else if (name[i] == '/') {
            buf_str(buf, "~1");

        } else {
            buf_add(buf, &name[i], 1);
        }
    }
}


void
js_path(buf_t *buf, const js_value_t *value)
{
    const js_value_t *parent = value->parent;

    if (parent == NULL) {
        return;
    }

    js_path(buf, parent);

    if (parent->type == JS_OBJECT) {
        js_path_add(buf, value->key, value->key_len);

    } else {
        buf_fmt(buf, "/%u", (unsigned) (value - parent->items));
    }
}


void
js_print(buf_t *buf, const js_value_t *value)
{
    const js_value_t *item;
    uint32_t          i;

    switch (value->type) {
    case JS_NULL:
        buf_str(buf, "null");
        return;

    case JS_BOOLEAN:
        buf_str(buf, value->truth ? "true" : "false");
        return;

    case JS_NUMBER:
        buf_add(buf, value->s, value->n);
        return;

    case JS_STRING:
        buf_json(buf, value->s, value->n);
        return;
    }

    buf_str(buf, value->type == JS_OBJECT ? "{" : "[");

    for (i = 0; i < value->n; i++) {
        item = &value->items[i];

        if (i > 0) {
            buf_str(buf, ",");
        }

        if (value->type == JS_OBJECT) {
            buf_json(buf, item->key, item->key_len);
            buf_str(buf, ":");
        }

        js_print(buf, item);
    }

    buf_str(buf, value->type == JS_OBJECT ? "}" : "]");
}
