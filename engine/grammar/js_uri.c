/*
 * URI references: see js_uri.h.  Any thread; results are in the caller's
 * arena or point into what was given.
 */

#include "engine/grammar/js_uri.h"

static size_t uri_span(str_t s, const char *stop);
static void   uri_merge(buf_t *out, const js_uri_t *base, str_t path);
static void   uri_dots(buf_t *out, str_t path);
static int    uri_hex(char c);


/* Bytes of s before the first of stop's. */
static size_t
uri_span(str_t s, const char *stop)
{
    size_t i;

    for (i = 0; i < s.len; i++) {
        if (s.s[i] && strchr(stop, s.s[i])) {
            break;
        }
    }

    return i;
}


void
js_uri_split(str_t s, js_uri_t *uri)
{
    size_t n;

    *uri = (js_uri_t){0};

    n = uri_span(s, ":/?#");

    if (n > 0 && n < s.len && s.s[n] == ':') {
        uri->scheme = (str_t){s.s, n};
        s = (str_t){s.s + n + 1, s.len - n - 1};
    }

    if (s.len >= 2 && s.s[0] == '/' && s.s[1] == '/') {
        s = (str_t){s.s + 2, s.len - 2};
        n = uri_span(s, "/?#");
        uri->authority = (str_t){s.s, n};
        s = (str_t){s.s + n, s.len - n};
    }

    n = uri_span(s, "?#");
    uri->path = (str_t){s.s, n};
    s = (str_t){s.s + n, s.len - n};

    if (s.len > 0 && s.s[0] == '?') {
        s = (str_t){s.s + 1, s.len - 1};
        n = uri_span(s, "#");
        uri->query = (str_t){s.s, n};
        s = (str_t){s.s + n, s.len - n};
    }

    if (s.len > 0) {
        uri->fragment = (str_t){s.s + 1, s.len - 1};
    }
}


str_t
js_uri_resolve(arena_t *arena, str_t base, str_t ref)
{
    js_uri_t b, r, t;
    buf_t    path = {0}, out = {0};
    str_t    result = {NULL, 0};

    js_uri_split(base, &b);
    js_uri_split(ref, &r);
    t = r;

    if (r.scheme.s) {
        uri_dots(&path, r.path);

    } else {
        t.scheme = b.scheme;

        if (r.authority.s) {
            uri_dots(&path, r.path);

        } else {
            t.authority = b.authority;

            if (r.path.len == 0) {
                buf_add(&path, b.path.s, b.path.len);

                if (r.query.s == NULL) {
                    t.query = b.query;
                }

            } else if (r.path.s[0] == '/') {
                uri_dots(&path, r.path);

            } else {
                uri_merge(&path, &b, r.path);
            }
        }
    }

    if (t.scheme.s) {
        buf_add(&out, t.scheme.s, t.scheme.len);
        buf_str(&out, ":");
    }

    if (t.authority.s) {
        buf_str(&out, "//");
        buf_add(&out, t.authority.s, t.authority.len);
    }

    buf_add(&out, path.data, path.len);

    if (t.query.s) {
        buf_str(&out, "?");
        buf_add(&out, t.query.s, t.query.len);
    }

    if (t.fragment.s) {
        buf_str(&out, "#");
        buf_add(&out, t.fragment.s, t.fragment.len);
    }

    if (!path.failed && !out.failed) {
        result.s = arena_str(arena, out.data, out.len);
        result.len = result.s ? out.len : 0;
    }

    buf_free(&path);
    buf_free(&out);

    return result;
}


/* A relative path takes the place of what follows the base's last "/". */
static void
uri_merge(buf_t *out, const js_uri_t *base, str_t path)
{
    buf_t  merged = {0};
    size_t n = base->path.len;

    if (base->authority.s && n == 0) {
        buf_str(&merged, "/");

    } else {
        while (n > 0 && base->path.s[n - 1] != '/') {
            n--;
        }

        buf_add(&merged, base->path.s, n);
    }

    buf_add(&merged, path.s, path.len);

    if (merged.failed) {
        out->failed = 1;

    } else {
        uri_dots(out, (str_t){merged.data, merged.len});
    }

    buf_free(&merged);
}


/* Section 5.2.4, a segment at a time; out starts empty. */
static void
uri_dots(buf_t *out, str_t path)
{
    size_t n, start;
    str_t  seg;
    int    slash;

    for (start = 0; start < path.len; start += n) {
        slash = path.s[start] == '/';

        for (n = (size_t) slash; start + n < path.len; n++) {
            if (path.s[start + n] == '/') {
                break;
            }
        }

        seg = (str_t){path.s + start + slash, n - (size_t) slash};

        if (!str_eq(seg, str_lit(".")) && !str_eq(seg, str_lit(".."))) {
            buf_add(out, path.s + start, n);
            continue;
        }

        if (seg.len == 2) {
            while (out->len > 0 && out->data[--out->len] != '/') { /* void */
            }
        }

        /* A relative path stays one; at the end it leaves its "/". */

        if (!slash && start + n < path.len) {
            n++;
            continue;
        }

        if (start + n == path.len && (slash || out->len > 0)) {
            buf_str(out, "/");
        }
    }
}


str_t
js_uri_base(str_t uri)
{
    return (str_t){uri.s, uri_span(uri, "#")};
}


static int
uri_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}


str_t
js_uri_decode(arena_t *arena, str_t s)
{
    static const str_t none;
    char              *out;
    size_t             i, n = 0;
    int                hi, lo;

    out = arena_get(arena, s.len + 1);
    if (out == NULL) {
        return none;
    }

    for (i = 0; i < s.len; i++) {
        if (s.s[i] != '%') {
            out[n++] = s.s[i];
            continue;
        }

        if (s.len - i < 3) {
            return none;
        }

        hi = uri_hex(s.s[i + 1]);
        lo = uri_hex(s.s[i + 2]);

        if (hi < 0 || lo < 0) {
            return none;
        }

        out[n++] = (char) (hi << 4 | lo);
        i += 2;
    }

    return (str_t){out, n};
}
