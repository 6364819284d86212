/*
 * Formats of times and short texts, and the table of all: see js_format.h.
 * Any thread; nothing is kept.
 */

#include "engine/grammar/js_format.h"
#include "engine/grammar/js_pattern.h"

typedef int (*js_format_fn)(str_t s);

static int fmt_digits(str_t s, size_t at, size_t n);
static int fmt_is_date(str_t s);
static int fmt_time_at(str_t s, size_t at);
static int fmt_offset(str_t s, size_t at);
static int fmt_date_time(str_t s);
static int fmt_time(str_t s);
static int fmt_duration(str_t s);
static int fmt_units(str_t s, size_t *at, const char *units);
static int fmt_uuid(str_t s);
static int fmt_json_pointer(str_t s);
static int fmt_relative_pointer(str_t s);
static int fmt_regex(str_t s);

static const struct {
    const char  *name;
    js_format_fn check;
} js_formats[] = {
    {"date-time", fmt_date_time},
    {"date", fmt_is_date},
    {"time", fmt_time},
    {"duration", fmt_duration},
    {"email", js_format_email},
    {"idn-email", js_format_idn_email},
    {"hostname", js_format_hostname},
    {"idn-hostname", js_format_idn_hostname},
    {"ipv4", js_format_ipv4},
    {"ipv6", js_format_ipv6},
    {"uri", js_format_uri},
    {"uri-reference", js_format_uri_reference},
    {"iri", js_format_iri},
    {"iri-reference", js_format_iri_reference},
    {"uri-template", js_format_uri_template},
    {"uuid", fmt_uuid},
    {"json-pointer", fmt_json_pointer},
    {"relative-json-pointer", fmt_relative_pointer},
    {"regex", fmt_regex},
};


int
js_format_find(str_t name)
{
    size_t i;

    for (i = 0; i < llm_countof(js_formats); i++) {
        if (str_eq(name, str_of(js_formats[i].name))) {
            return (int) i + 1;
        }
    }

    return 0;
}


int
js_format_check(int format, str_t s)
{
    if (format < 1 || (size_t) format > llm_countof(js_formats)) {
        return 1;
    }

    return js_formats[format - 1].check(s);
}


/* The number in s[at], n digits, or -1. */
static int
fmt_digits(str_t s, size_t at, size_t n)
{
    size_t i;
    int    v = 0;

    if (at + n > s.len) {
        return -1;
    }

    for (i = at; i < at + n; i++) {
        if (s.s[i] < '0' || s.s[i] > '9') {
            return -1;
        }

        v = v * 10 + (s.s[i] - '0');
    }

    return v;
}


static int
fmt_is_date(str_t s)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int              y, m, d, leap;

    if (s.len != 10 || s.s[4] != '-' || s.s[7] != '-') {
        return 0;
    }

    y = fmt_digits(s, 0, 4);
    m = fmt_digits(s, 5, 2);
    d = fmt_digits(s, 8, 2);

    if (y < 0 || m < 1 || m > 12 || d < 1 || d > days[m - 1]) {
        return 0;
    }

    leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

    return m != 2 || d < 29 || leap;
}


/* Minutes east of Greenwich, or -10000. */
static int
fmt_offset(str_t s, size_t at)
{
    int h, m;

    if (s.len == at + 1 && (s.s[at] == 'Z' || s.s[at] == 'z')) {
        return 0;
    }

    if (s.len != at + 6 || (s.s[at] != '+' && s.s[at] != '-')
        || s.s[at + 3] != ':') {
        return -10000;
    }

    h = fmt_digits(s, at + 1, 2);
    m = fmt_digits(s, at + 4, 2);

    if (h < 0 || h > 23 || m < 0 || m > 59) {
        return -10000;
    }

    return s.s[at] == '-' ? -(h * 60 + m) : h * 60 + m;
}


/* full-time from s[at] to the end. */
static int
fmt_time_at(str_t s, size_t at)
{
    int    h, m, sec, offset;
    size_t n;

    if (at + 8 > s.len || s.s[at + 2] != ':' || s.s[at + 5] != ':') {
        return 0;
    }

    h = fmt_digits(s, at, 2);
    m = fmt_digits(s, at + 3, 2);
    sec = fmt_digits(s, at + 6, 2);

    if (h < 0 || h > 23 || m < 0 || m > 59 || sec < 0 || sec > 60) {
        return 0;
    }

    at += 8;

    if (at < s.len && s.s[at] == '.') {
        for (n = at + 1; n < s.len && s.s[n] >= '0' && s.s[n] <= '9'; n++) {
            /* void */
        }

        if (n == at + 1) {
            return 0;
        }

        at = n;
    }

    offset = fmt_offset(s, at);

    if (offset == -10000) {
        return 0;
    }

    return sec < 60 || (h * 60 + m - offset + 2 * 1440) % 1440 == 1439;
}


static int
fmt_date_time(str_t s)
{
    return s.len > 11 && (s.s[10] == 'T' || s.s[10] == 't')
           && fmt_is_date((str_t){s.s, 10}) && fmt_time_at(s, 11);
}


static int
fmt_time(str_t s)
{
    return fmt_time_at(s, 0);
}


/* Some of the units, without a gap between the first and the last. */
static int
fmt_units(str_t s, size_t *at, const char *units)
{
    const char *unit;
    size_t      i = *at, start;
    int         n = 0;

    while (i < s.len && s.s[i] != 'T') {
        for (start = i; fmt_digits(s, i, 1) >= 0; i++) { /* void */
        }

        if (i == start || i == s.len || s.s[i] == '\0') {
            return 0;
        }

        unit = strchr(units, s.s[i]);

        if (unit == NULL || (n > 0 && unit != units)) {
            return 0;
        }

        units = unit + 1;
        i++;
        n++;
    }

    *at = i;

    return n > 0;
}


static int
fmt_duration(str_t s)
{
    size_t at = 1;

    if (s.len < 3 || s.s[0] != 'P') {
        return 0;
    }

    if (s.s[s.len - 1] == 'W') {
        return fmt_units(s, &at, "W") && at == s.len;
    }

    if (s.s[1] != 'T') {
        if (!fmt_units(s, &at, "YMD")) {
            return 0;
        }

        if (at == s.len) {
            return 1;
        }
    }

    at++;

    return fmt_units(s, &at, "HMS") && at == s.len;
}


static int
fmt_uuid(str_t s)
{
    size_t i;
    char   c;

    if (s.len != 36) {
        return 0;
    }

    for (i = 0; i < 36; i++) {
        c = s.s[i];

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (c != '-') {
                return 0;
            }

        } else if (!((c >= '0' && c <= '9')
                     || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'))) {
            return 0;
        }
    }

    return 1;
}


static int
fmt_json_pointer(str_t s)
{
    size_t i;

    if (s.len > 0 && s.s[0] != '/') {
        return 0;
    }

    for (i = 0; i < s.len; i++) {
        if (s.s[i] == '~'
            && (i + 1 == s.len || (s.s[i + 1] != '0' && s.s[i + 1] != '1'))) {
            return 0;
        }
    }

    return 1;
}


static int
fmt_relative_pointer(str_t s)
{
    size_t n;

    for (n = 0; fmt_digits(s, n, 1) >= 0; n++) { /* void */
    }

    if (n == 0 || (n > 1 && s.s[0] == '0')) {
        return 0;
    }

    if (s.len == n + 1 && s.s[n] == '#') {
        return 1;
    }

    return fmt_json_pointer((str_t){s.s + n, s.len - n});
}


static int
fmt_regex(str_t s)
{
    return js_pattern_check(s) == 0;
}
