/*
 * Formats as languages against the checkers of js_format.h: texts that are of
 * a format and texts that nearly are; texts drawn from the language.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include "engine/grammar/js_format.h"
#include "engine/grammar/js_type.h"
#include "engine/grammar/re_dfa.h"
#include "t/lib/tap.h"

#define MUTANTS 400
#define WALKS   300

typedef struct {
    const char *name;
    const char *texts[24];
} sample_t;

static uint32_t rng(void);
static void     format_run(const sample_t *sample);
static int      format_same(re_set_t *set, re_t re, int format, const char *s,
                            size_t len);
static void     format_walks(re_set_t *set, re_t re, const char *name);

static uint32_t rng_state = 12345;

static const sample_t samples[] = {
    {"date-time",
     {"1963-06-19T08:30:06.283185Z", "1990-12-31T23:59:60Z",
      "1990-12-31T15:59:60-08:00", "1990-12-31T15:59:60.123-08:00",
      "1998-12-31T22:59:60Z", "1998-12-31T23:58:60Z", "2000-02-29t00:00:00z",
      "1900-02-29T00:00:00Z", "2024-02-29T12:00:00+23:59",
      "2024-01-01T00:29:60+00:30", "2024-01-01T05:29:60+05:30",
      "2024-01-01T23:59:60+00:00", "2024-01-01T00:59:60+01:00",
      "2024-01-01T00:59:60+02:00", "2024-13-01T00:00:00Z",
      "0000-02-29T00:00:00Z"}},
    {"date",
     {"1963-06-19", "2020-01-31", "2020-02-29", "2021-02-29", "2020-04-31",
      "2000-02-29", "1900-02-29", "2400-02-29", "0004-02-29", "1998-1-20"}},
    {"time",
     {"08:30:06Z", "23:59:60Z", "22:59:60Z", "23:59:60+00:00", "01:29:60+01:30",
      "23:29:60+23:30", "15:59:60-08:00", "00:29:60-23:30", "23:20:50.52Z",
      "08:30:06 PST", "24:00:00Z", "00:60:00Z", "12:00:00.Z", "00:29:60+00:30",
      "12:00:00-24:00", "23:59:60-00:00", "23:58:60-00:01"}},
    {"duration",
     {"P4DT12H30M5S", "P4Y1D",  "PT",    "P",       "P1YT",   "PT1D",
      "P2D1Y",        "P1D2H",  "P2S",   "PT0S",    "PT36H",  "P1M",
      "PT1M",         "P2W",    "P1Y2W", "P1Y2M3D", "P3YT1S", "PT1H2S",
      "PT1H2M",       "P1MT2M", "P1",    "1D"}},
    {"email",
     {"joe.bloggs@example.com",
      "te~st@example.com",
      "~test@example.com",
      "\"joe bloggs\"@example.com",
      "\"joe..bloggs\"@example.com",
      "\"joe@bloggs\"@example.com",
      "joe.bloggs@[127.0.0.1]",
      "joe.bloggs@[IPv6:::1]",
      ".test@example.com",
      "test.@example.com",
      "te..st@example.com",
      "joe@invalid=domain.com",
      "joe@[127.0.0.300]",
      "2962",
      "a@b",
      "\"a\\\"b\"@c",
      "a@-b",
      "a@b-",
      "\"\"@a",
      "1234567890123456789012345678901234567890123456789012345678901234@x.y",
      "12345678901234567890123456789012345678901234567890123456789012345@x.y"}},
    {"idn-email",
     {"\xec\x8b\xa4\xeb\xa1\x80@\xec\x8b\xa4\xeb\xa1\x80.\xed\x85\x8c",
      "joe@example.com", "\xc3\xbc@\xc3\xbc.de", "@\xc3\xbc", "\xc3\xbc"}},
    {"hostname",
     {"www.example.com",
      "a",
      "xa",
      "xn",
      "xn-a",
      "xna",
      "xnab-c",
      "Xn",
      "x-n--a",
      "-bad",
      "bad-",
      "a..b",
      ".a",
      "a.",
      "a_b",
      "0.1",
      "xnn--a",
      "ab--c",
      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk.com",
      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl.com",
      "xbcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk.com",
      "xncdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk.com",
      "xn-defghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk.com"}},
    {"ipv4",
     {"192.168.0.1", "127.0.0.0.1", "256.256.256.256", "127.0", "0x7f000001",
      "087.10.0.1", "1.2.3.0", "255.255.255.255", "1.2.3.", "01.2.3.4"}},
    {"ipv6",
     {"::1",
      "::",
      "12345::",
      "::abef",
      "1:1:1:1:1:1:1:1",
      "::42:ff:1",
      "d6::",
      "1:d6::42",
      "1::d6::42",
      "1::d6:192.168.0.1",
      "1:2::192.168.0.1",
      "1::2:192.168.256.1",
      "::ffff:192.168.0.1",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1:2:3:4:5:6:7::",
      "1:2:3:4:5:6::8",
      "1:2:3:4:5:6:7::8",
      "1:2:3:4:5:6:1.2.3.4",
      "1:2:3:4:5::1.2.3.4",
      "1:2:3:4:5:6::1.2.3.4",
      "::1:2:3:4:5:6:7",
      "1.2.3.4"}},
    {"uri",
     {"http://foo.bar/?baz=qux#quux",
      "http://foo.com/blah_(wikipedia)_blah#c",
      "http://foo.bar/?q=Test%20URL-encoded%20stuff",
      "http://223.255.255.254",
      "ftp://ftp.is.co.za/rfc/rfc1808.txt",
      "ldap://[2001:db8::7]/c=GB?o?one",
      "mailto:John.Doe@example.com",
      "tel:+1-816-555-1212",
      "urn:oasis:names:specification:docbook",
      "//foo.bar/",
      "/abc",
      "abc",
      "http:// shouldfail.com",
      ":// should fail",
      "bar,baz:foo",
      "a:",
      "http://a:b@c:80/d?e#f",
      "http://[v1.a:b]/",
      "http://[::1%25]/",
      "a://b:c",
      "a:b//c",
      "a:/b//c",
      "http://a%zz"}},
    {"uri-reference",
     {"http://foo.bar/?baz=qux#quux", "//foo.bar/?baz=qux#quux", "/abc", "abc",
      "\\\\WINDOWS\\file", "#fragment", "#frag\\ment", "", "a:b", "1a:b",
      "a/b:c", ":a", "?", "//a:1", "//a:b", "./a:b", "@a", "//@"}},
    {"iri",
     {"http://\xc6\x92\xc3\xb8\xc3\xb8.\xc3\x9f\xc3\xa5r/"
      "?\xe2\x88\x82\xc3\xa9=1",
      "http://a", "a:\xee\x80\x80", "a:?\xee\x80\x80", "\xc3\xa9:a"}},
    {"iri-reference",
     {"/\xc3\xa2\xcf\x80", "#\xc6\x92r", "\xc3\xa9", "a\xc3\xa9:b", ""}},
    {"uri-template",
     {"http://example.com/dictionary/{term:1}/{term}",
      "http://example.com/dictionary/{term:1}/{term", "dictionary/{a,b*}", "{}",
      "{+a.b}", "{a..b}", "{.a}", "{a.}", "{a:0}", "{a:9999}", "{a:10000}",
      "{?x,y}", "a'b", "{%41}", "%4", "\xc3\xa9", "}"}},
    {"uuid",
     {"2EB8AA08-AA98-11EA-B4AA-73B441D16380",
      "2eb8aa08-aa98-11ea-b4aa-73b441d1638",
      "2eb8aa08-aa98-11ea-b4aa73b441d16380x",
      "00000000-0000-0000-0000-000000000000"}},
    {"json-pointer",
     {"/foo/bar~0/baz~1/%a", "/foo/bar~", "", "/", "//", "a", "/~2", "/\n"}},
    {"regex",
     {"^[a-z]+$",
      "a{2,1}",
      "a{1,2}?",
      "[z-a]",
      "(a|b)*",
      "(?:a",
      "a)",
      "[",
      "[]",
      "[^]",
      "[-a]",
      "[a-]",
      "(?=a)b",
      "(?<!a)b",
      "(?=a)*",
      "\\",
      "\\d+",
      "\\q",
      "a**",
      "{",
      "}",
      "^^",
      "\\x41\\u0041\\cA"}},
    {"relative-json-pointer",
     {"1", "0/foo/bar", "2/0/baz/1/zip", "0#", "/foo", "-1/a", "0##", "01/a",
      "01#", "+1", "10", "1/~"}},
};


static uint32_t
rng(void)
{
    rng_state = rng_state * 1664525 + 1013904223;
    return rng_state >> 8;
}


static int
format_same(re_set_t *set, re_t re, int format, const char *s, size_t len)
{
    int      a = re_match(set, re, s, len);
    int      b = js_format_check(format, (str_t){s, len});
    uint32_t c;

    size_t i, n;

    /* What is no text is none of the language. */
    for (i = 0; i < len; i += n) {
        n = js_utf8(s + i, s + len, &c);
        if (n == 0) {
            return !a;
        }
    }

    /* A part of the patterns only. */
    if (b && !a && format == js_format_find(str_of("regex"))) {
        return 1;
    }

    /* A-labels are left out on purpose. */
    for (i = 0; b && !a && i + 4 <= len; i++) {
        if (strncasecmp(s + i, "xn--", 4) == 0 && (i == 0 || s[i - 1] == '.')) {
            return 1;
        }
    }

    if (a != b) {
        diag("'%.*s': language %d, checker %d", (int) len, s, a, b);
    }

    return a == b;
}


static void
format_run(const sample_t *sample)
{
    static const char also[] = "0159aZzxn-.:/@#%~+\"\\[]{} _T";
    struct timespec   from, to;
    const char       *s;
    re_set_t         *set = re_new(NULL);
    re_stats_t        stats;
    char              err[256], m[128];
    re_t              re;
    int               i, k, format, n = 0, good = 0, yes = 0;
    size_t            len, at;

    format = js_format_find(str_of(sample->name));

    clock_gettime(CLOCK_MONOTONIC, &from);
    ok(js_format_re(set, format, &re, err, sizeof(err)) == 0,
       "%s is a language", sample->name);
    clock_gettime(CLOCK_MONOTONIC, &to);

    for (i = 0; i < 24 && sample->texts[i]; i++) {
        s = sample->texts[i];
        len = strlen(s);
        n++;
        good += format_same(set, re, format, s, len);
        yes += re_match(set, re, s, len);

        for (k = 0; k < MUTANTS && len < sizeof(m) - 1; k++) {
            memcpy(m, s, len);
            at = len ? rng() % len : 0;
            n++;

            switch (rng() % 3) {
            case 0:
                if (len) {
                    m[at] = also[rng() % (sizeof(also) - 1)];
                }
                good += format_same(set, re, format, m, len);
                break;

            case 1:
                memmove(m + at + 1, m + at, len - at);
                m[at] = also[rng() % (sizeof(also) - 1)];
                good += format_same(set, re, format, m, len + 1);
                break;

            default:
                if (len) {
                    memmove(m + at, m + at + 1, len - at - 1);
                }
                good += format_same(set, re, format, m, len ? len - 1 : 0);
            }
        }
    }

    is_int(good, n, "%s: language and checker agree", sample->name);
    ok(yes > 0, "%s: some samples are of it", sample->name);

    re_stats(set, &stats);
    diag("%s: made in %.0f us", sample->name,
         (double) (to.tv_sec - from.tv_sec) * 1e6
             + (double) (to.tv_nsec - from.tv_nsec) / 1e3);

    format_walks(set, re, sample->name);
    ok(re_failed(set, NULL) == 0, "%s: no limit was met", sample->name);
    re_free(set);
}


/* Any way through the automaton ends, in a text that the checker takes. */
static void
format_walks(re_set_t *set, re_t re, const char *name)
{
    const re_dfa_state_t *st;
    re_dfa_item_t         item = {1, re};
    re_dfa_t             *dfa = re_dfa_new(set, 0, 0);
    uint64_t              bytes[4];
    char                  s[600];
    int32_t               state;
    int      format = js_format_find(str_of(name)), i, good = 0, stuck = 0;
    size_t   n;
    uint32_t c, tries;

    for (i = 0; i < WALKS; i++) {
        state = re_dfa_state(dfa, &item, 1);

        for (n = 0; n < sizeof(s); n++) {
            st = re_dfa_get(dfa, state);

            if (st->n_accepts && (rng() % 8 == 0 || n > 100)) {
                break;
            }

            if (re_dfa_allowed(dfa, state, bytes) < 0) {
                break;
            }

            for (c = rng() % 256, tries = 0; tries < 256; tries++) {
                if (bytes[c / 64] >> (c % 64) & 1) {
                    break;
                }

                c = (c + 1) % 256;
            }

            if (tries == 256) {
                stuck += st->n_accepts == 0;
                break;
            }

            s[n] = (char) c;
            state = re_dfa_next(dfa, state, (uint8_t) c);
        }

        if (state > 0 && re_dfa_get(dfa, state)->n_accepts) {
            good += js_format_check(format, (str_t){s, n});
            if (!js_format_check(format, (str_t){s, n})) {
                diag("%s: '%.*s'", name, (int) n, s);
            }

        } else {
            good += n == sizeof(s);
        }
    }

    is_int(good, WALKS, "%s: what is drawn is of it", name);
    is_int(stuck, 0, "%s: no dead ends", name);
    diag("%s: %u states", name, re_dfa_count(dfa));
    re_dfa_free(dfa);
}


int
main(void)
{
    char      err[256];
    re_set_t *set = re_new(NULL);
    re_t      re;
    size_t    i;

    for (i = 0; i < llm_countof(samples); i++) {
        format_run(&samples[i]);
    }

    is_int(js_format_re(set, js_format_find(str_of("idn-hostname")), &re, err,
                        sizeof(err)),
           -ENOTSUP, "idn-hostname is none");
    re_free(set);

    return tap_done();
}
