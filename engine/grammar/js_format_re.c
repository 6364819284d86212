/*
 * Formats as languages, for those who generate: see js_type.h.  Each is what
 * js_format_check() takes, with two exceptions that only leave texts out:
 * no label of a hostname is an A-label ("xn--...", whose validity is no
 * regular language), and patterns (format regex) nest to a depth, see
 * js_format_regex.c.  idn-hostname, whose rules look at a whole name at once,
 * is none at all: -ENOTSUP.
 *
 * Most are patterns, put together from named parts; what counts bytes or
 * relates two places (leap seconds) is an And.  Any thread; the set is the
 * caller's.
 */

#include <errno.h>
#include <stdio.h>
#include "engine/grammar/js_format.h"
#include "engine/grammar/js_type.h"

#define DIGIT "[0-9]"
#define HEX   "[0-9A-Fa-f]"
#define ALNUM "[0-9A-Za-z]"
#define LDH   "[0-9A-Za-z\\-]"

#define HOUR   "(?:[01][0-9]|2[0-3])"
#define MINUTE "[0-5][0-9]"
#define OFFSET "(?:[Zz]|[+\\-]" HOUR ":" MINUTE ")"
#define FRAC   "(?:\\.[0-9]+)?"

/* Divisible by 4 and not by 100, or by 400. */
#define LEAP                                                                   \
    "(?:" DIGIT DIGIT "(?:0[48]|[2468][048]|[13579][26])"                      \
    "|(?:[02468][048]|[13579][26])00)"

#define DATE                                                                   \
    "(?:" DIGIT "{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"         \
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"                                   \
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"                                            \
    "|" LEAP "-02-29)"

/* RFC 3339, appendix A; units without a gap. */
#define DUR_TIME                                                               \
    "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
#define DUR_DATE                                                               \
    "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
#define DURATION "P(?:" DUR_DATE "(?:" DUR_TIME ")?|" DUR_TIME "|[0-9]+W)"

#define UUID HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}"

#define POINTER  "(?:/(?:[^~]|~[01])*)?"
#define RELATIVE "(?:0|[1-9][0-9]*)(?:#|" POINTER ")"

#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4  OCTET "(?:\\." OCTET "){3}"

/* Where "::" stands after i groups, up to 7 - i follow; IPv4 counts two. */
#define H16 HEX "{1,4}"
#define IPV6                                                                   \
    "(?:(?:" H16 ":){7}" H16 "|(?:" H16 ":){6}" IPV4 "|::(?:(?:" H16           \
    ":){0,6}" H16 "|(?:" H16 ":){0,5}" IPV4 ")?"                               \
    "|" H16 "::(?:(?:" H16 ":){0,5}" H16 "|(?:" H16 ":){0,4}" IPV4 ")?"        \
    "|" H16 "(?::" H16 "){1}::(?:(?:" H16 ":){0,4}" H16 "|(?:" H16             \
    ":){0,3}" IPV4 ")?"                                                        \
    "|" H16 "(?::" H16 "){2}::(?:(?:" H16 ":){0,3}" H16 "|(?:" H16             \
    ":){0,2}" IPV4 ")?"                                                        \
    "|" H16 "(?::" H16 "){3}::(?:(?:" H16 ":){0,2}" H16 "|(?:" H16             \
    ":){0,1}" IPV4 ")?"                                                        \
    "|" H16 "(?::" H16 "){4}::(?:(?:" H16 ":){0,1}" H16 "|" IPV4 ")?"          \
    "|" H16 "(?::" H16 "){5}::(?:" H16 ")?"                                    \
    "|" H16 "(?::" H16 "){6}::)"

/* A label of a domain; of a hostname (never an A-label). */
#define LABEL ALNUM "(?:" LDH "{0,61}" ALNUM ")?"
#define HOST_LABEL                                                             \
    "(?:[0-9A-WYZa-wyz](?:" LDH "{0,61}" ALNUM ")?"                            \
    "|[Xx](?:[0-9A-MO-Za-mo-z\\-]" LDH "{0,60}" ALNUM "|[0-9A-MO-Za-mo-z]"     \
    "|[Nn](?:" ALNUM "(?:" LDH "{0,59}" ALNUM ")?"                             \
    "|-" ALNUM "(?:" LDH "{0,58}" ALNUM ")?)?)?)"
#define HOSTNAME HOST_LABEL "(?:\\." HOST_LABEL ")*"
#define DOMAIN   LABEL "(?:\\." LABEL ")*"

#define ATEXT  "[0-9A-Za-z!#$%&'*+\\-/=?^_`{|}~]"
#define LOCAL  ATEXT "+(?:\\." ATEXT "+)*"
#define QUOTED "\"(?:[ !#-\\[\\]-~]|\\\\[ -~])*\""
#define LITERAL                                                                \
    "\\[(?:" IPV4 "|[Ii][Pp][Vv]6:" IPV6 ")\\]" /* RFC 5321, 4.1.3 */

/* RFC 3987's ucschar and iprivate. */
#define UCS                                                                    \
    "\\u{a0}-\\u{d7ff}\\u{f900}-\\u{fdcf}\\u{fdf0}-\\u{ffef}"                  \
    "\\u{10000}-\\u{1fffd}\\u{20000}-\\u{2fffd}\\u{30000}-\\u{3fffd}"          \
    "\\u{40000}-\\u{4fffd}\\u{50000}-\\u{5fffd}\\u{60000}-\\u{6fffd}"          \
    "\\u{70000}-\\u{7fffd}\\u{80000}-\\u{8fffd}\\u{90000}-\\u{9fffd}"          \
    "\\u{a0000}-\\u{afffd}\\u{b0000}-\\u{bfffd}\\u{c0000}-\\u{cfffd}"          \
    "\\u{d0000}-\\u{dfffd}\\u{e1000}-\\u{efffd}"
#define PRIVATE                                                                \
    "\\u{e000}-\\u{f8ff}\\u{f0000}-\\u{ffffd}\\u{100000}-\\u{10fffd}"

/* RFC 3986, appendix A; U and Q are what IRIs add. */
#define PCT        "%" HEX HEX
#define SET        "0-9A-Za-z\\-._~!$&'()*+,;="
#define ONE(U, C)  "(?:[" SET C U "]|" PCT ")"
#define PCHAR(U)   ONE(U, ":@")
#define PSLASH(U)  ONE(U, ":@/")
#define SCHEME     "[A-Za-z][0-9A-Za-z+\\-.]*"
#define IP_LITERAL "\\[(?:" IPV6 "|[Vv]" HEX "+\\.[" SET ":]+)\\]"
#define AUTHORITY(U)                                                           \
    "(?:" ONE(U, ":") "*@)?(?:" IP_LITERAL "|" ONE(U, "") "*)(?::[0-9]*)?"
#define TAIL(U, Q)  "(?:\\?" ONE(U Q, ":@/?") "*)?(?:#" ONE(U, ":@/?") "*)?"
#define NET_PATH(U) "//" AUTHORITY(U) "(?:/" PSLASH(U) "*)?"
#define ABS_PATH(U) "/(?:" PCHAR(U) PSLASH(U) "*)?"

#define URI(U, Q)                                                              \
    SCHEME ":(?:" NET_PATH(U) "|" ABS_PATH(U) "|" PCHAR(U)                     \
        PSLASH(U) "*)?" TAIL(U, Q)
#define REFERENCE(U, Q)                                                        \
    "(?:" SCHEME ":(?:" NET_PATH(U) "|" ABS_PATH(U) "|" PCHAR(U)               \
        PSLASH(U) "*)?|" NET_PATH(U) "|" ABS_PATH(                             \
            U) "|" ONE(U, "@") "+(?:/" PSLASH(U) "*)?)?" TAIL(U, Q)

/* RFC 6570, 2. */
#define VARCHAR "(?:[0-9A-Za-z_]|" PCT ")"
#define VARSPEC VARCHAR "+(?:\\." VARCHAR "+)*(?:\\*|:[1-9][0-9]{0,3})?"
#define TEMPLATE                                                               \
    "(?:[!#-$&-;=?-\\[\\]_a-z~" UCS PRIVATE "]|" PCT                           \
    "|\\{[+#./;?&=,!@|]?" VARSPEC "(?:," VARSPEC ")*\\})*"

typedef int (*fre_make_pt)(re_set_t *set, re_t *re, char *err, size_t n);

static re_t fre_pattern(re_set_t *set, const char *pattern);
static re_t fre_bytes(re_set_t *set, uint32_t max);
static re_t fre_leap_second(re_set_t *set);
static re_t fre_leap_hours(re_set_t *set, int shift);
static re_t fre_leap_minutes(re_set_t *set);
static int  fre_date_time(re_set_t *set, re_t *re, char *err, size_t n);
static int  fre_time(re_set_t *set, re_t *re, char *err, size_t n);
static int  fre_email(re_set_t *set, re_t *re, char *err, size_t n);
static int  fre_idn_email(re_set_t *set, re_t *re, char *err, size_t n);
static re_t fre_mailbox(re_set_t *set, re_t local, re_t domain);
static int  fre_hostname(re_set_t *set, re_t *re, char *err, size_t n);
static int  fre_idn_hostname(re_set_t *set, re_t *re, char *err, size_t n);
static int  fre_regex(re_set_t *set, re_t *re, char *err, size_t n);

static const struct {
    const char *name;
    const char *pattern; /* of the whole text, or */
    fre_make_pt make;
} fre_formats[] = {
    {"date-time", NULL, fre_date_time},
    {"date", DATE, NULL},
    {"time", NULL, fre_time},
    {"duration", DURATION, NULL},
    {"email", NULL, fre_email},
    {"idn-email", NULL, fre_idn_email},
    {"hostname", NULL, fre_hostname},
    {"idn-hostname", NULL, fre_idn_hostname},
    {"ipv4", IPV4, NULL},
    {"ipv6", IPV6, NULL},
    {"uri", URI("", ""), NULL},
    {"uri-reference", REFERENCE("", ""), NULL},
    {"iri", URI(UCS, PRIVATE), NULL},
    {"iri-reference", REFERENCE(UCS, PRIVATE), NULL},
    {"uri-template", TEMPLATE, NULL},
    {"uuid", UUID, NULL},
    {"json-pointer", POINTER, NULL},
    {"relative-json-pointer", RELATIVE, NULL},
    {"regex", NULL, fre_regex},
};


int
js_format_re(re_set_t *set, int format, re_t *re, char *err, size_t err_size)
{
    const char *why;
    size_t      i;
    int         rc;

    *re = RE_NONE;

    for (i = 0; i < llm_countof(fre_formats); i++) {
        if (js_format_find(str_of(fre_formats[i].name)) != format) {
            continue;
        }

        if (fre_formats[i].make) {
            LLM_TRY(fre_formats[i].make(set, re, err, err_size));

        } else {
            *re = fre_pattern(set, fre_formats[i].pattern);
        }

        rc = re_failed(set, &why);
        if (rc) {
            snprintf(err, err_size, "%s", why);
        }

        return rc;
    }

    snprintf(err, err_size, "no such format");

    return -ENOTSUP;
}


/* Patterns here are ours: they compile, or the set has failed. */
static re_t
fre_pattern(re_set_t *set, const char *pattern)
{
    char err[128];
    re_t re;

    return re_ecma_whole(set, pattern, strlen(pattern), &re, err, sizeof(err))
               ? RE_NONE
               : re;
}


/* Texts of at most so many bytes. */
static re_t
fre_bytes(re_set_t *set, uint32_t max)
{
    return re_repeat(set, re_byte_range(set, 0, 255), 0, max);
}


static int
fre_date_time(re_set_t *set, re_t *re, char *err, size_t n)
{
    re_t time;

    LLM_TRY(fre_time(set, &time, err, n));

    *re = re_concat(set, fre_pattern(set, DATE "[Tt]"), time);

    return 0;
}


static int
fre_time(re_set_t *set, re_t *re, char *err, size_t n)
{
    (void) err;
    (void) n;

    *re = re_or(set, fre_pattern(set, HOUR ":" MINUTE ":" MINUTE FRAC OFFSET),
                fre_leap_second(set));

    return 0;
}


/*
 * "60" is the last second of a day in UTC: 23:59:60 less the offset.  East by
 * hh:00 that is minute 59, an hour before hh; east by hh:mm it is hh and the
 * minute before mm; west by hh:mm it is 23 - hh and 59 - mm.  Hours and minutes
 * are related each by a language of its own.
 */
static re_t
fre_leap_second(re_set_t *set)
{
    re_t list[4];

    list[0] = fre_pattern(set, "23:59:60" FRAC "[Zz]");
    list[1] = re_and(set, fre_leap_hours(set, 23),
                     fre_pattern(set, HOUR ":59:60" FRAC "\\+" HOUR ":00"));
    list[2] = re_and(set, fre_leap_hours(set, 0), fre_leap_minutes(set));
    list[3] = re_and(set, fre_leap_hours(set, -1), fre_leap_minutes(set));

    return re_or_n(set, list, 4);
}


/* shift >= 0: east, hour = hh + shift; -1: west, hour = 23 - hh. */
static re_t
fre_leap_hours(re_set_t *set, int shift)
{
    char text[8];
    re_t list[24], minute, tail;
    int  h;

    minute = fre_pattern(set, ":" MINUTE);
    tail = fre_pattern(set, ":" MINUTE ":60" FRAC);

    for (h = 0; h < 24; h++) {
        snprintf(text, sizeof(text), "%c%02d", shift < 0 ? '-' : '+', h);
        list[h] = re_concat(set, tail, re_run(set, text, strlen(text), minute));

        snprintf(text, sizeof(text), "%02d",
                 shift < 0 ? 23 - h : (h + shift) % 24);
        list[h] = re_run(set, text, 2, list[h]);
    }

    return re_or_n(set, list, 24);
}


/* Of both directions, but for east by whole hours. */
static re_t
fre_leap_minutes(re_set_t *set)
{
    char text[16];
    re_t list[119], hour, middle, to;
    int  m, west, n = 0;

    hour = fre_pattern(set, HOUR ":");

    for (west = 0; west < 2; west++) {
        middle = fre_pattern(set, west ? ":60" FRAC "-" HOUR ":"
                                       : ":60" FRAC "\\+" HOUR ":");

        for (m = west ? 0 : 1; m < 60; m++) {
            snprintf(text, sizeof(text), "%02d", m);
            to = re_concat(set, middle, re_str(set, text));

            snprintf(text, sizeof(text), "%02d", west ? 59 - m : m - 1);
            list[n++] = re_run(set, text, 2, to);
        }
    }

    return re_concat(set, hour, re_or_n(set, list, (size_t) n));
}


static re_t
fre_mailbox(re_set_t *set, re_t local, re_t domain)
{
    local = re_and(set, local, fre_bytes(set, 64));
    domain = re_and(set, domain, fre_bytes(set, 253));
    domain = re_or(set, domain, fre_pattern(set, LITERAL));

    return re_concat(set, local, re_run(set, "@", 1, domain));
}


static int
fre_email(re_set_t *set, re_t *re, char *err, size_t n)
{
    (void) err;
    (void) n;

    *re = fre_mailbox(set, fre_pattern(set, "(?:" LOCAL "|" QUOTED ")"),
                      fre_pattern(set, DOMAIN));

    return 0;
}


/* As above, and every other character; labels are counted in bytes. */
static int
fre_idn_email(re_set_t *set, re_t *re, char *err, size_t n)
{
    re_t high, letter, label, domain, local, ldh;

    (void) err;
    (void) n;

    high = re_range(set, 0x80, 0x10ffff);
    letter = re_or(set, fre_pattern(set, ALNUM), high);
    ldh = re_or(set, letter, re_str(set, "-"));

    label = re_concat(set, re_repeat(set, ldh, 0, RE_INF), letter);
    label = re_or(set, letter, re_concat(set, letter, label));
    label = re_and(set, label, fre_bytes(set, 63));

    domain = re_repeat(set, re_run(set, ".", 1, label), 0, RE_INF);
    domain = re_concat(set, label, domain);

    letter =
        re_repeat(set, re_or(set, fre_pattern(set, ATEXT), high), 1, RE_INF);
    local = re_repeat(set, re_run(set, ".", 1, letter), 0, RE_INF);
    local = re_concat(set, letter, local);
    local = re_or(set, local,
                  fre_pattern(set, "\"(?:[ !#-\\[\\]-~\\u{80}-\\u{10ffff}]"
                                   "|\\\\[ -~\\u{80}-\\u{10ffff}])*\""));

    *re = fre_mailbox(set, local, domain);

    return 0;
}


static int
fre_hostname(re_set_t *set, re_t *re, char *err, size_t n)
{
    (void) err;
    (void) n;

    *re = re_and(set, fre_pattern(set, HOSTNAME), fre_bytes(set, 253));

    return 0;
}


static int
fre_idn_hostname(re_set_t *set, re_t *re, char *err, size_t n)
{
    (void) set;
    (void) re;

    snprintf(err, n, "format 'idn-hostname' cannot be guaranteed");

    return -ENOTSUP;
}


static int
fre_regex(re_set_t *set, re_t *re, char *err, size_t n)
{
    (void) err;
    (void) n;

    *re = js_format_regex(set);

    return 0;
}
