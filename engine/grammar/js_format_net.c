/*
 * Formats of addresses, names in the net and URIs: see js_format.h.  Any
 * thread; nothing is kept.
 */

#include "engine/grammar/js_format.h"
#include "engine/grammar/js_uri.h"
#include "engine/grammar/js_value.h"

enum { NET_ASCII = 0, NET_UNICODE = 1 };

static int    net_alnum(char c);
static int    net_hex(char c);
static int    net_ucs(uint32_t c);
static int    net_private(uint32_t c);
static int    net_chars(str_t s, const char *also, int unicode, int query);
static int    net_authority(str_t s, int unicode);
static int    net_ip_literal(str_t s);
static int    net_uri(str_t s, int unicode, int absolute);
static int    net_email(str_t s, int unicode);
static int    net_local(str_t s, int unicode);
static int    net_quoted(str_t s, int unicode);
static int    net_domain(str_t s, int unicode);
static size_t net_template_name(str_t s);
static int    net_template(str_t s);


static int
net_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}


static int
net_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}


int
js_format_ipv4(str_t s)
{
    size_t i = 0, n;
    int    part, v;

    for (part = 0; part < 4; part++) {
        if (part > 0 && (i == s.len || s.s[i++] != '.')) {
            return 0;
        }

        for (n = 0, v = 0; i < s.len && n < 4; i++, n++) {
            if (s.s[i] < '0' || s.s[i] > '9') {
                break;
            }

            v = v * 10 + (s.s[i] - '0');
        }

        if (n == 0 || v > 255 || (n > 1 && s.s[i - n] == '0')) {
            return 0;
        }
    }

    return i == s.len;
}


int
js_format_ipv6(str_t s)
{
    size_t i = 0, n;
    int    groups = 0, gap = 0;

    if (s.len >= 2 && s.s[0] == ':' && s.s[1] == ':') {
        gap = 1;
        i = 2;
    }

    while (i < s.len) {
        for (n = 0; i + n < s.len && net_hex(s.s[i + n]); n++) { /* void */
        }

        if (i + n < s.len && s.s[i + n] == '.') {
            if (!js_format_ipv4((str_t){s.s + i, s.len - i})) {
                return 0;
            }

            groups += 2;
            break;
        }

        if (n == 0 || n > 4) {
            return 0;
        }

        groups++;
        i += n;

        if (i == s.len) {
            break;
        }

        if (s.s[i] != ':' || ++i == s.len) {
            return 0;
        }

        if (s.s[i] == ':') {
            if (gap) {
                return 0;
            }

            gap = 1;
            i++;
        }
    }

    return gap ? groups <= 7 : groups == 8;
}


/* ucschar of RFC 3987. */
static int
net_ucs(uint32_t c)
{
    if (c >= 0x10000) {
        return (c & 0xffff) <= 0xfffd && c < 0xf0000
               && (c < 0xe0000 || c >= 0xe1000);
    }

    return (c >= 0xa0 && c <= 0xd7ff) || (c >= 0xf900 && c <= 0xfdcf)
           || (c >= 0xfdf0 && c <= 0xffef);
}


/* iprivate, which only a query may have. */
static int
net_private(uint32_t c)
{
    return (c >= 0xe000 && c <= 0xf8ff)
           || (c >= 0xf0000 && (c & 0xffff) <= 0xfffd);
}


/* Unreserved, sub-delims, %XX, and what "also" has. */
static int
net_chars(str_t s, const char *also, int unicode, int query)
{
    const char *p = s.s, *end;
    uint32_t    c;
    size_t      n;

    if (s.len == 0) {
        return 1;
    }

    end = s.s + s.len;

    for (; p < end; p += n) {
        n = js_utf8(p, end, &c);

        if (n == 0) {
            return 0;
        }

        if (c >= 0x80) {
            if (!unicode || !(net_ucs(c) || (query && net_private(c)))) {
                return 0;
            }

        } else if (c == '%') {
            if (end - p < 3 || !net_hex(p[1]) || !net_hex(p[2])) {
                return 0;
            }

            n = 3;

        } else if (c == 0
                   || (!net_alnum(*p) && strchr("-._~!$&'()*+,;=", *p) == NULL
                       && strchr(also, *p) == NULL)) {
            return 0;
        }
    }

    return 1;
}


/* Without its brackets. */
static int
net_ip_literal(str_t s)
{
    size_t n;

    if (s.len == 0 || (s.s[0] | 0x20) != 'v') {
        return js_format_ipv6(s);
    }

    for (n = 1; n < s.len && net_hex(s.s[n]); n++) { /* void */
    }

    if (n == 1 || n + 1 >= s.len || s.s[n] != '.') {
        return 0;
    }

    s = (str_t){s.s + n + 1, s.len - n - 1};

    return memchr(s.s, '%', s.len) == NULL && net_chars(s, ":", NET_ASCII, 0);
}


static int
net_authority(str_t s, int unicode)
{
    const char *at, *close;
    size_t      n;

    at = s.len ? memchr(s.s, '@', s.len) : NULL;

    if (at) {
        n = (size_t) (at - s.s);

        if (!net_chars((str_t){s.s, n}, ":", unicode, 0)) {
            return 0;
        }

        s = (str_t){at + 1, s.len - n - 1};
    }

    if (s.len > 0 && s.s[0] == '[') {
        close = memchr(s.s, ']', s.len);

        if (close == NULL) {
            return 0;
        }

        n = (size_t) (close - s.s);

        if (!net_ip_literal((str_t){s.s + 1, n - 1})) {
            return 0;
        }

        n++;

    } else {
        for (n = 0; n < s.len && s.s[n] != ':'; n++) { /* void */
        }

        if (!net_chars((str_t){s.s, n}, "", unicode, 0)) {
            return 0;
        }
    }

    if (n < s.len && s.s[n++] != ':') {
        return 0;
    }

    for (; n < s.len; n++) {
        if (s.s[n] < '0' || s.s[n] > '9') {
            return 0;
        }
    }

    return 1;
}


static int
net_uri(str_t s, int unicode, int absolute)
{
    js_uri_t uri;
    size_t   i;

    js_uri_split(s, &uri);

    if (uri.scheme.s == NULL) {
        if (absolute) {
            return 0;
        }

        /* A relative path's first segment has no colon. */

        for (i = 0; i < uri.path.len && uri.path.s[i] != '/'; i++) {
            if (uri.path.s[i] == ':' && uri.authority.s == NULL) {
                return 0;
            }
        }

    } else {
        if (!net_alnum(uri.scheme.s[0]) || uri.scheme.s[0] <= '9') {
            return 0;
        }

        for (i = 1; i < uri.scheme.len; i++) {
            if (!net_alnum(uri.scheme.s[i])
                && (uri.scheme.s[i] == '\0'
                    || strchr("+-.", uri.scheme.s[i]) == NULL)) {
                return 0;
            }
        }
    }

    if (uri.authority.s && !net_authority(uri.authority, unicode)) {
        return 0;
    }

    return net_chars(uri.path, ":@/", unicode, 0)
           && net_chars(uri.query, ":@/?", unicode, 1)
           && net_chars(uri.fragment, ":@/?", unicode, 0);
}


int
js_format_uri(str_t s)
{
    return net_uri(s, NET_ASCII, 1);
}


int
js_format_uri_reference(str_t s)
{
    return net_uri(s, NET_ASCII, 0);
}


int
js_format_iri(str_t s)
{
    return net_uri(s, NET_UNICODE, 1);
}


int
js_format_iri_reference(str_t s)
{
    return net_uri(s, NET_UNICODE, 0);
}


int
js_format_email(str_t s)
{
    return net_email(s, NET_ASCII);
}


int
js_format_idn_email(str_t s)
{
    return net_email(s, NET_UNICODE);
}


static int
net_email(str_t s, int unicode)
{
    size_t n = s.len;
    str_t  local, domain;

    while (n > 0 && s.s[n - 1] != '@') {
        n--;
    }

    if (n < 2) {
        return 0;
    }

    local = (str_t){s.s, n - 1};
    domain = (str_t){s.s + n, s.len - n};

    if (local.len > 64
        || !(local.s[0] == '"' ? net_quoted(local, unicode)
                               : net_local(local, unicode))) {
        return 0;
    }

    if (domain.len < 2 || domain.s[0] != '[') {
        return net_domain(domain, unicode);
    }

    if (domain.s[domain.len - 1] != ']') {
        return 0;
    }

    domain = (str_t){domain.s + 1, domain.len - 2};

    if (domain.len > 5 && strncasecmp(domain.s, "IPv6:", 5) == 0) {
        return js_format_ipv6((str_t){domain.s + 5, domain.len - 5});
    }

    return js_format_ipv4(domain);
}


/* Dot-string of RFC 5321. */
static int
net_local(str_t s, int unicode)
{
    size_t i;
    int    dot = 1;

    for (i = 0; i < s.len; i++) {
        if (s.s[i] == '.') {
            if (dot) {
                return 0;
            }

            dot = 1;
            continue;
        }

        dot = 0;

        if (s.s[i] & 0x80) {
            if (!unicode) {
                return 0;
            }

        } else if (!net_alnum(s.s[i])
                   && (s.s[i] == '\0'
                       || strchr("!#$%&'*+-/=?^_`{|}~", s.s[i]) == NULL)) {
            return 0;
        }
    }

    return !dot;
}


/* Quoted-string of RFC 5321. */
static int
net_quoted(str_t s, int unicode)
{
    size_t i;

    if (s.len < 2 || s.s[s.len - 1] != '"') {
        return 0;
    }

    for (i = 1; i < s.len - 1; i++) {
        if (s.s[i] == '"') {
            return 0;
        }

        if (s.s[i] == '\\' && ++i == s.len - 1) {
            return 0;
        }

        if (s.s[i] & 0x80) {
            if (!unicode) {
                return 0;
            }

        } else if (s.s[i] < ' ' || s.s[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


/* Labels of letters, digits and inner hyphens; IDNA does not rule here. */
static int
net_domain(str_t s, int unicode)
{
    size_t i, start = 0;

    if (s.len == 0 || s.len > 253) {
        return 0;
    }

    for (i = 0; i <= s.len; i++) {
        if (i == s.len || s.s[i] == '.') {
            if (i == start || i - start > 63 || s.s[start] == '-'
                || s.s[i - 1] == '-') {
                return 0;
            }

            start = i + 1;

        } else if (s.s[i] & 0x80) {
            if (!unicode) {
                return 0;
            }

        } else if (!net_alnum(s.s[i]) && s.s[i] != '-') {
            return 0;
        }
    }

    return 1;
}


/* varname of RFC 6570; its length, or 0. */
static size_t
net_template_name(str_t s)
{
    size_t i, last = 0;

    for (i = 0; i < s.len; i++) {
        if (s.s[i] == '.') {
            if (i == last) {
                return 0;
            }

            last = i + 1;

        } else if (s.s[i] == '%') {
            if (s.len - i < 3 || !net_hex(s.s[i + 1]) || !net_hex(s.s[i + 2])) {
                return 0;
            }

            i += 2;

        } else if (!net_alnum(s.s[i]) && s.s[i] != '_') {
            break;
        }
    }

    return i > last ? i : 0;
}


/* What stands between the braces of an expression. */
static int
net_template(str_t s)
{
    size_t n, digits;

    if (s.len > 0 && s.s[0] && strchr("+#./;?&=,!@|", s.s[0])) {
        s = (str_t){s.s + 1, s.len - 1};
    }

    for (;;) {
        n = net_template_name(s);

        if (n == 0) {
            return 0;
        }

        if (n < s.len && s.s[n] == '*') {
            n++;

        } else if (n < s.len && s.s[n] == ':') {
            for (digits = 0, n++; n < s.len && digits < 5; digits++, n++) {
                if (s.s[n] < '0' || s.s[n] > '9') {
                    break;
                }
            }

            if (digits == 0 || digits > 4 || s.s[n - digits] == '0') {
                return 0;
            }
        }

        if (n == s.len) {
            return 1;
        }

        if (s.s[n] != ',') {
            return 0;
        }

        s = (str_t){s.s + n + 1, s.len - n - 1};
    }
}


int
js_format_uri_template(str_t s)
{
    const char *p = s.s, *end = s.s + s.len, *close;
    uint32_t    c;
    size_t      n;

    for (; p < end; p += n) {
        n = js_utf8(p, end, &c);

        if (n == 0) {
            return 0;
        }

        if (c >= 0x80) {
            if (!net_ucs(c) && !net_private(c)) {
                return 0;
            }

        } else if (c == '%') {
            if (end - p < 3 || !net_hex(p[1]) || !net_hex(p[2])) {
                return 0;
            }

            n = 3;

        } else if (c == '{') {
            close = memchr(p, '}', (size_t) (end - p));

            if (close == NULL
                || !net_template((str_t){p + 1, (size_t) (close - p) - 1})) {
                return 0;
            }

            n = (size_t) (close - p) + 1;

        } else if (c <= ' ' || c == 0x7f || strchr("\"<>\\^`|}", (int) c)) {
            return 0;
        }
    }

    return 1;
}
