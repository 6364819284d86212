/*
 * Spellings against a naive unescaper, number ranges against exact
 * arithmetic, patterns against PCRE2; re_lang.c has the languages themselves.
 * With "patterns" as argument: one a line on stdin, each against PCRE2.
 */

#include <errno.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "engine/grammar/js_value.h"
#include "engine/grammar/re_dfa.h"
#include "t/lib/tap.h"

static uint64_t seed = 1;


static uint32_t
rnd(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) ((seed >> 33) % n);
}


/* Decodes; -1: not the inside of a JSON string. */
static int
unescape(const char *s, int len, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned          v, low;
    const char       *p;
    int               i, n;

    for (i = 0, n = 0; i < len; i++) {
        if ((uint8_t) s[i] < 0x20 || s[i] == '"') {
            return -1;
        }

        if (s[i] != '\\') {
            out[n++] = s[i];
            continue;
        }

        if (++i >= len) {
            return -1;
        }

        p = s[i] ? strchr(from, s[i]) : NULL;

        if (p) {
            out[n++] = to[p - from];
            continue;
        }

        if (s[i] != 'u' || len - i < 5
            || strspn(s + i + 1, "0123456789abcdefABCDEF") < 4
            || sscanf(s + i + 1, "%4x", &v) != 1) {
            return -1;
        }

        i += 4;

        if (v >= 0xd800 && v <= 0xdfff) {
            if (v > 0xdbff || len - i < 7 || s[i + 1] != '\\' || s[i + 2] != 'u'
                || strspn(s + i + 3, "0123456789abcdefABCDEF") < 4
                || sscanf(s + i + 3, "%4x", &low) != 1 || low < 0xdc00
                || low > 0xdfff) {
                return -1;
            }

            v = 0x10000 + ((v - 0xd800) << 10) + low - 0xdc00;
            i += 6;
            out[n++] = (char) (0xf0 | v >> 18);
            out[n++] = (char) (0x80 | (v >> 12 & 0x3f));
            out[n++] = (char) (0x80 | (v >> 6 & 0x3f));
            out[n++] = (char) (0x80 | (v & 0x3f));

        } else if (v >= 0x800) {
            out[n++] = (char) (0xe0 | v >> 12);
            out[n++] = (char) (0x80 | (v >> 6 & 0x3f));
            out[n++] = (char) (0x80 | (v & 0x3f));

        } else if (v >= 0x80) {
            out[n++] = (char) (0xc0 | v >> 6);
            out[n++] = (char) (0x80 | (v & 0x3f));

        } else {
            out[n++] = (char) v;
        }
    }

    return n;
}


static void
test_quoted(void)
{
    static const char *const patterns[] = {"",
                                           "^a*$",
                                           "^[a-cé]{1,3}$",
                                           "^[^a]*$",
                                           "b\\n",
                                           "^\\W{2}$",
                                           "^.{0,4}$",
                                           "^[\"\\\\/]+$",
                                           "^(a|\\u20ac|😀)+$",
                                           "^😀$",
                                           "^[\\u{1f600}-\\u{1f64f}]$"};
    static const char *const bits[] = {"a",        "b",
                                       "\\",       "u",
                                       "\\u",      "00",
                                       "61",       "e9",
                                       "E9",       "\\u00",
                                       "20aC",     "\\n",
                                       "\\/",      "\\\"",
                                       "\\\\",     "\"",
                                       "\xc3\xa9", "\xf0\x9f\x98\x80",
                                       "\n",       "\\ud83d",
                                       "\\uDE00",  "\\uD83D\\ude00",
                                       "0061",     "d8",
                                       "\xc3",     "/",
                                       "\\b"};
    char                     s[256], d[256], err[128];
    re_set_t                *set = re_new(NULL);
    re_t                     re, q;
    int                      i, k, n, len, want, bad, hits;
    size_t                   p;

    bad = 0;
    hits = 0;

    for (p = 0; p < llm_countof(patterns); p++) {
        (void) re_ecma(set, patterns[p], strlen(patterns[p]), &re, err,
                       sizeof(err));
        q = re_quoted(set, re);

        for (i = 0; i < 2500; i++) {
            n = (int) rnd(5);
            s[0] = '\0';

            for (k = 0; k < n; k++) {
                strcat(s, bits[rnd(llm_countof(bits))]);
            }

            len = unescape(s, (int) strlen(s), d);
            want = len >= 0 && re_match(set, re, d, (size_t) len);
            hits += want;

            if (re_match(set, q, s, strlen(s)) != want) {
                diag("/%s/ '%s' want %d", patterns[p], s, want);
                bad++;
            }
        }
    }

    is_int(bad, 0, "JSON spellings, %d of them right", hits);
    is_int(re_failed(set, NULL), 0, "no limit met");
    re_free(set);
}


/* A value times 1000, of a spelling with up to three digits of fraction. */
static int64_t
thousand(const char *s)
{
    int64_t v = 0, f = 1000;
    int     neg = *s == '-';

    for (s += neg; *s && *s != '.'; s++) {
        v = v * 10 + *s - '0';
    }

    v *= 1000;

    for (s += *s == '.'; *s; s++) {
        f /= 10;
        v += (*s - '0') * f;
    }

    return neg ? -v : v;
}


static void
random_number(char *s)
{
    static const uint32_t tops[] = {2, 12, 120, 1300};
    static const char    *fracs[] = {"", "", ".0", ".5", ".50", ".05", ".125"};
    uint32_t              v = rnd(tops[rnd(4)]);

    sprintf(s, "%s%u%s", rnd(3) ? "" : "-", v, fracs[rnd(llm_countof(fracs))]);
}


static void
test_numbers(void)
{
    static const char *const multiples[] = {"1", "3",   "0.5", "0.125",
                                            "7", "2.5", "1e1"};
    static const int64_t     by[] = {1000, 3000, 500, 125, 7000, 2500, 10000};
    char                     lo[32], hi[32], s[32], err[64];
    re_number_t              n;
    re_set_t                *set = re_new(NULL);
    re_t                     re;
    int64_t                  v;
    int                      i, k, m, want, bad, hits, spell;

    bad = 0;
    hits = 0;

    for (i = 0; i < 400; i++) {
        random_number(lo);
        random_number(hi);
        n = (re_number_t){.flags = rnd(8),
                          .min_open = rnd(2),
                          .max_open = rnd(2)};
        m = (int) rnd(2 * llm_countof(by));
        n.min = rnd(4) ? str_of(lo) : (str_t){0};
        n.max = rnd(4) ? str_of(hi) : (str_t){0};

        if ((size_t) m < llm_countof(by)) {
            n.multiple = str_of(multiples[m]);
        }

        if (re_number(set, &n, &re, err, sizeof(err)) != 0) {
            bad++;
            continue;
        }

        for (k = 0; k < 60; k++) {
            random_number(s);
            v = thousand(s);
            spell = !(n.flags & RE_NUMBER_INTEGER) || !strchr(s, '.')
                    || (n.flags & RE_NUMBER_FRACTION
                        && strspn(strchr(s, '.') + 1, "0")
                               == strlen(strchr(s, '.') + 1));
            want = spell && (!(n.flags & RE_NUMBER_INTEGER) || v % 1000 == 0)
                   && (!n.min.s
                       || (n.min_open ? v > thousand(lo) : v >= thousand(lo)))
                   && (!n.max.s
                       || (n.max_open ? v < thousand(hi) : v <= thousand(hi)))
                   && (!n.multiple.s || v % by[m] == 0);
            hits += want;

            if (re_match(set, re, s, strlen(s)) != want) {
                diag("%s %s..%s%s of %s flags %u: %s want %d",
                     n.min_open ? "(" : "[", n.min.s ? lo : "",
                     n.max.s ? hi : "", n.max_open ? ")" : "]",
                     n.multiple.s ? n.multiple.s : "", n.flags, s, want);
                bad++;
            }
        }
    }

    is_int(bad, 0, "24,000 numbers, %d of them in range", hits);
    is_int(re_failed(set, NULL), 0, "no limit met");
    re_free(set);
}


static void
test_number_spellings(void)
{
    static const struct {
        unsigned    flags;
        const char *min, *max, *multiple, *s;
        int         want;
    } cases[] = {
        {0, NULL, NULL, NULL, "1.5e-3", 0},
        {4, NULL, NULL, NULL, "1.5e-3", 1},
        {4, NULL, NULL, NULL, "-0.0E+00", 1},
        {4, NULL, NULL, NULL, "01", 0},
        {4, NULL, NULL, NULL, "1.", 0},
        {4, NULL, NULL, NULL, ".5", 0},
        {4, NULL, NULL, NULL, "+1", 0},
        {4, "0", NULL, NULL, "-0e9", 1},
        {4, "0", NULL, NULL, "-1e-9", 0},
        {4, NULL, "0", NULL, "-1e5", 1},
        {4, NULL, "0", NULL, "1e5", 0},
        {4, NULL, "5", NULL, "1e0", 0},
        {5, NULL, NULL, NULL, "1e2", 1},
        {5, NULL, NULL, NULL, "1.0e2", 0},
        {7, NULL, NULL, NULL, "1.0e2", 1},
        {7, NULL, NULL, NULL, "10e-1", 0},
        {1, "9007199254740993", NULL, NULL, "9007199254740992", 0},
        {1, "9007199254740993", NULL, NULL, "9007199254740993", 1},
        {0, "1e-7", NULL, NULL, "0.0000001", 1},
        {0, "1e-7", NULL, NULL, "0.00000009", 0},
        {0, NULL, "1.7976931348623157e308", NULL, "17976931348623157", 1},
        {0, NULL, NULL, "0.01", "19.99", 1},
        {0, NULL, NULL, "0.01", "19.990", 1},
        {0, NULL, NULL, "0.01", "19.991", 0},
        {0, NULL, NULL, "123456789", "246913578.0", 1},
    };
    re_set_t   *set = re_new(NULL);
    re_number_t n;
    char        err[64];
    size_t      i;
    re_t        re;
    int         rc;

    for (i = 0; i < llm_countof(cases); i++) {
        n = (re_number_t){.flags = cases[i].flags,
                          .min = str_of(cases[i].min),
                          .max = str_of(cases[i].max),
                          .multiple = str_of(cases[i].multiple)};
        rc = re_number(set, &n, &re, err, sizeof(err));
        is_int(rc == 0 && re_match(set, re, cases[i].s, strlen(cases[i].s)),
               cases[i].want, "%s: flags %u, %s to %s", cases[i].s,
               cases[i].flags, cases[i].min ? cases[i].min : "",
               cases[i].max ? cases[i].max : "");
    }

    n = (re_number_t){.flags = 1, .min = str_lit("5"), .max = str_lit("3")};
    rc = re_number(set, &n, &re, err, sizeof(err));
    is_int(re_is_none(set, re, 0), RE_YES, "5 to 3 is nothing");
    n = (re_number_t){.flags = 1,
                      .min = str_lit("1"),
                      .max = str_lit("6"),
                      .multiple = str_lit("7")};
    rc = re_number(set, &n, &re, err, sizeof(err));
    is_int(re_is_none(set, re, 0), RE_YES, "no 7 from 1 to 6");
    n = (re_number_t){.min = str_lit("1x")};
    is_int(re_number(set, &n, &re, err, sizeof(err)), -EINVAL, "1x");
    n = (re_number_t){.max = str_lit("1e5000")};
    is_int(re_number(set, &n, &re, err, sizeof(err)), -E2BIG, "1e5000");
    re_free(set);
}


static pcre2_code *
oracle(const char *pattern, size_t len)
{
    PCRE2_SIZE at;
    int        rc;

    return pcre2_compile((PCRE2_SPTR) pattern, len,
                         PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX
                             | PCRE2_ALLOW_EMPTY_CLASS,
                         &rc, &at, NULL);
}


/* Strings that match, and such with a change. */
static int
against(re_set_t *set, const char *pattern, size_t len, int strings, int *n)
{
    static const char letters[] = "ab01-_.Zz $/:@xf";
    pcre2_match_data *md;
    pcre2_code       *code;
    char              err[256], s[512];
    buf_t             base = {0};
    re_t              re;
    size_t            k;
    int               i, rc, want, bad;

    rc = re_ecma(set, pattern, len, &re, err, sizeof(err));
    code = oracle(pattern, len);

    if (rc != 0 || code == NULL) {
        if (rc == 0 || rc == -ENOTSUP || (rc == -EINVAL && code)) {
            diag("/%.*s/: %s, PCRE2 %s", (int) len, pattern, rc ? err : "fine",
                 code ? "fine" : "refuses");
        }

        pcre2_code_free(code);
        return rc == 0 || (rc == -EINVAL && code);
    }

    md = pcre2_match_data_create_from_pattern(code, NULL);
    (void) re_example(set, re, 3000, &base);
    bad = 0;

    for (i = 0; i < strings && bad == 0; i++) {
        k = base.len < 400 ? base.len : 0;

        if (k) {
            memcpy(s, base.data, k);
        }

        for (rc = (int) rnd(4); rc > 0 && i; rc--) {
            if (k == 0 || rnd(3) == 0) {
                s[k++] = letters[rnd(sizeof(letters) - 1)];

            } else if (rnd(3) == 0) {
                k--;

            } else {
                s[rnd((uint32_t) k)] = letters[rnd(sizeof(letters) - 1)];
            }
        }

        want = pcre2_match(code, (PCRE2_SPTR) s, k, 0, 0, md, NULL);

        if (want < PCRE2_ERROR_NOMATCH) {
            continue; /* not UTF-8 any more, or too much for it */
        }

        ++*n;

        if (re_match(set, re, s, k) != (want >= 0)) {
            diag("/%.*s/ '%.*s' PCRE2 %d", (int) len, pattern, (int) k, s,
                 want);
            bad = 1;
        }
    }

    buf_free(&base);
    pcre2_match_data_free(md);
    pcre2_code_free(code);

    return bad;
}


static void
random_pattern(char *s, int depth)
{
    static const char *const atoms[] = {
        "a",   "b",   "0",      "[ab]", "[^a]",   "\\d",   "\\w",    ".",
        "\\-", "\\s", "[0-9_]", "\\W",  "(?:)",   "ab",    "x?",     "\\.",
        "^",   "$",   "\\b",    "\\B",  "[^\\d]", "\\x61", "\\u0062"};
    static const char *const ends[] = {"*", "+", "?", "{2}", "{1,3}", "{2,}?"};
    uint32_t                 i, n, kind;

    n = 1 + rnd(3);

    for (i = 0; i < n; i++) {
        kind = depth ? rnd(8) : 0;

        if (kind < 5) {
            kind = rnd(llm_countof(atoms));
            strcat(s, atoms[kind]);

            if (kind < 12 && rnd(3) == 0) {
                strcat(s, ends[rnd(llm_countof(ends))]);
            }

            continue;
        }

        strcat(s, kind == 5 ? "(" : kind == 6 ? "(?:" : rnd(2) ? "(?=" : "(?!");
        random_pattern(s, depth - 1);

        if (rnd(2)) {
            strcat(s, "|");
            random_pattern(s, depth - 1);
        }

        strcat(s, ")");

        if (kind == 5 && rnd(2)) {
            strcat(s, ends[rnd(llm_countof(ends))]);
        }
    }
}


static void
test_patterns(void)
{
    static const char *const known[] = {"",
                                        "^$",
                                        "^[a-z]+$",
                                        "a|b|",
                                        "^(foo|bar|foobar|ba)$",
                                        "^(?=.*[a-z])(?=.*\\d).{4,8}$",
                                        "^(?!a)(?!.*b$)\\w+$",
                                        "^((?!ab).)*$",
                                        "^(?:(?!-)[a-z0-9-])*$",
                                        "(?<=a)b",
                                        "(?<!a)b$",
                                        "^a(?<!b)\\d+(?<=1)$",
                                        "\\bab\\b",
                                        "\\Bb",
                                        "^\\d{3}-\\d{4}$",
                                        "^([0-9]{1,3}\\.){3}[0-9]{1,3}$",
                                        "^(a{1,3}b?){2,4}$",
                                        "[\\w.-]+@[a-z]+\\.[a-z]{2,}",
                                        "^[^\\s/]+/[^/]*$",
                                        "^[\\]\\-a]+$",
                                        "^[-a]+[a-]$",
                                        "a{,3}",
                                        "x{a}",
                                        "]}",
                                        "^(?<year>\\d{4})$",
                                        "^\\cJ$",
                                        "[^]a",
                                        "^.*$",
                                        "(^a|b$)",
                                        "(^a|b)*c",
                                        "^(\\/?([a-z0-9]*)($|\\/))*$",
                                        "(?:^|,)(?:a$|b)+",
                                        "a(?=b)b",
                                        "(?=a|b).$"};
    static const struct {
        const char *pattern;
        int         rc;
    } refused[] = {{"(a)\\1", -ENOTSUP},
                   {"(?<n>a)\\k<n>", -ENOTSUP},
                   {"(?i)a", -EINVAL},
                   {"(a", -EINVAL},
                   {"a)", -EINVAL},
                   {"[a", -EINVAL},
                   {"*a", -EINVAL},
                   {"a**", -EINVAL},
                   {"[b-a]", -EINVAL},
                   {"\\a", -EINVAL},
                   {"a{3,2}", -EINVAL},
                   {"\\u12", -EINVAL},
                   {"\\p{Greek}", -ENOTSUP},
                   {"a\\", -EINVAL},
                   {"\xff", -EINVAL},
                   {"(?:a(?=b))*c", -ENOTSUP},
                   {"((((a{9}){9}){9}){9}", -EINVAL},
                   {"a{999999999}", -E2BIG}};
    char      s[4096], err[256];
    re_set_t *set = re_new(NULL);
    size_t    i;
    re_t      re;
    int       bad, n, rc;

    n = 0;
    bad = 0;

    for (i = 0; i < llm_countof(known); i++) {
        bad += against(set, known[i], strlen(known[i]), 300, &n);
    }

    for (i = 0; i < 400; i++) {
        s[0] = '\0';
        random_pattern(s, 2);
        rc = re_ecma(set, s, strlen(s), &re, err, sizeof(err));
        bad += rc == 0 ? against(set, s, strlen(s), 60, &n) : rc != -ENOTSUP;
    }

    is_int(bad, 0, "patterns against PCRE2, %d strings", n);
    is_int(re_failed(set, NULL), 0, "no limit met");

    for (i = 0; i < llm_countof(refused); i++) {
        rc = re_ecma(set, refused[i].pattern, strlen(refused[i].pattern), &re,
                     err, sizeof(err));
        is_int(rc, refused[i].rc, "/%s/: %s", refused[i].pattern,
               rc ? err : "");
    }

    re_free(set);
}


static int
in(re_set_t *set, const char *pattern, const char *s)
{
    char err[128];
    re_t re;

    return re_ecma(set, pattern, strlen(pattern), &re, err, sizeof(err)) == 0
           && re_match(set, re, s, strlen(s));
}


static void
test_details(void)
{
    static const re_limits_t little = {.max_steps = 3000};
    re_set_t                *set = re_new(NULL);
    re_stats_t               st;
    char                     err[128];
    uint32_t                 nodes;
    uint64_t                 t;
    re_t                     a, b;
    int                      i;

    ok(in(set, "^\\p{Lu}\\p{Ll}+$", "\xc3\x89t\xc3\xa9")
           && !in(set, "^\\p{Lu}$", "e"),
       "general categories");
    ok(in(set, "^\\S$", "\xf0\x9f\x98\x80") && in(set, "\\s", "\xe3\x80\x80"),
       "Unicode spaces");
    ok(!in(set, "^.$", "\n") && !in(set, "^.$", "\xe2\x80\xa8")
           && in(set, "^[^]$", "\n"),
       "a dot is no line end");
    ok(!in(set, "^[^a]$", "\xed\xa0\x80") && !in(set, "^.$", "\xc0\x80"),
       "neither surrogates nor overlong forms");

    re_stats(set, &st);
    nodes = st.nodes;
    a = re_length(set, 3, 1000000);
    a = re_and(set, a, re_repeat(set, re_byte_range(set, 'a', 'z'), 0, RE_INF));
    re_stats(set, &st);
    ok(st.nodes < nodes + 10, "a length of a million is a count");
    is_int(re_subset(set, a, RE_TEXT, 0), RE_YES, "a part of all texts");
    is_int(re_disjoint(set, a, re_str(set, "ab"), 0), RE_YES, "too short");
    is_int(re_disjoint(set, a, re_str(set, "abc"), 0), RE_NO, "long enough");
    is_int(re_and(set, re_quoted(set, a), re_quoted(set, RE_TEXT)),
           re_quoted(set, a), "spellings meet as texts");

    /* A hostile union ends at the limit, and goes on with more fuel. */

    re_free(set);
    set = re_new(&little);
    is_int(re_ecma(set, "(a.{60}|b.{70}|.{2}a|.b){9,}x", 29, &a, err,
                   sizeof(err)),
           0, "compiled with few steps");

    for (i = 0; i < 10000 && re_failed(set, NULL) == 0; i++) {
        a = re_deriv(set, a, i % 3 ? 'a' : 'b');
        a = a ? a : re_repeat(set, RE_CHAR, 0, (uint32_t) i + 2);
    }

    is_int(re_failed(set, NULL), -ETIME, "out of steps");
    b = re_str(set, "x");
    is_int(b, RE_NONE, "nothing more");
    re_fuel(set, 1000);
    ok(re_str(set, "x") != RE_NONE && re_failed(set, NULL) == 0, "refuelled");
    re_free(set);

    /* What a step costs. */

    set = re_new(NULL);
    (void) re_ecma(set, "^[a-z]+(-[a-z0-9]{1,60}){0,9}$", 30, &a, err,
                   sizeof(err));
    a = re_quoted(set, re_and(set, a, re_length(set, 2, 255)));
    t = llm_now_ns();
    re_stats(set, &st);
    nodes = (uint32_t) st.derivs;

    for (i = 0, b = a; i < 195; i++) {
        b = re_deriv(set, b, i % 20 == 19 ? '-' : (uint8_t) ('a' + i % 7));
    }

    re_stats(set, &st);
    diag("%llu ns a derivative, %llu of them, %u nodes, %zu bytes",
         (unsigned long long) ((llm_now_ns() - t) / (st.derivs - nodes)),
         (unsigned long long) (st.derivs - nodes), st.nodes, st.bytes);
    ok(b != RE_NONE, "195 bytes on");
    re_free(set);
}


static void
test_trie(void)
{
    re_set_t     *set = re_new(NULL);
    re_dfa_t     *dfa;
    re_dfa_item_t item = {1, 0};
    re_stats_t    st;
    uint64_t      t;
    char          s[64];
    re_t         *list = malloc(5000 * sizeof(re_t));
    int32_t       at;
    int           i, k, n, good;

    t = llm_now_ns();

    for (i = 0; i < 5000; i++) {
        n = sprintf(s, "member-%d-of-a-large-enumeration-%d", i * 7919 % 5000,
                    i);
        list[i] = re_run(set, s, (size_t) n, RE_EMPTY);
    }

    item.re = re_quoted(set, re_or_n(set, list, 5000));
    diag("%llu us for a union of 5,000",
         (unsigned long long) (llm_now_ns() - t) / 1000);
    dfa = re_dfa_new(set, 0, 0);
    good = 0;

    for (i = 0; i < 5000; i += 50) {
        n = sprintf(s, "member-%d-of-a-large-enumeration-%d", i * 7919 % 5000,
                    i);
        at = re_dfa_state(dfa, &item, 1);

        for (k = 0; k < n && at > 0; k++) {
            at = re_dfa_next(dfa, at, (uint8_t) s[k]);
        }

        good += at > 0 && re_dfa_get(dfa, at)->n_accepts == 1;
    }

    re_stats(set, &st);
    diag("%u states, %u nodes, %zu bytes", re_dfa_count(dfa), st.nodes,
         st.bytes);
    is_int(good, 100, "members of an enumeration of 5,000");
    at = re_dfa_state(dfa, &item, 1);
    at = re_dfa_next(dfa, at, 'm');
    is_int(re_dfa_forced(dfa, at), 256, "e, or an escape of it");
    re_dfa_free(dfa);
    re_free(set);
    free(list);
}


/* Patterns from outside: counts what is refused; none may differ. */
static void
from_stdin(void)
{
    re_set_t *set;
    size_t    cap = 0;
    char     *line = NULL, err[256];
    ssize_t   len;
    re_t      re;
    int       bad, n, count, refused, rc;

    bad = n = count = refused = 0;

    while ((len = getline(&line, &cap, stdin)) > 0) {
        len -= line[len - 1] == '\n';
        set = re_new(NULL);
        rc = re_ecma(set, line, (size_t) len, &re, err, sizeof(err));

        if (rc != 0) {
            refused++;
            diag("/%.*s/: %s", len > 200 ? 200 : (int) len, line, err);

        } else if (re_is_none(set, re, 0) == RE_UNKNOWN) {
            diag("/%.*s/: emptiness unknown", (int) len, line);
        }

        bad += against(set, line, (size_t) len, 30, &n);
        count++;
        re_free(set);
    }

    free(line);
    diag("%d patterns, %d refused, %d strings", count, refused, n);
    is_int(bad, 0, "patterns from outside agree with PCRE2");
}


/* Ranges of code points, also across the lengths and edges of UTF-8. */
static void
test_ranges(void)
{
    static const uint32_t edges[] = {
        0x0,    0x7f,    0x80,    0x7ff,   0x800,   0xfff,    0x1000,
        0x17ff, 0x1800,  0x2027,  0xcfff,  0xd7ff,  0xe000,   0xfffd,
        0xffff, 0x10000, 0x3ffff, 0x40000, 0xfffff, 0x100000, 0x10ffff};
    re_set_t *set = re_new(NULL);
    uint32_t  i, j, k, lo, hi, cp, wrong = 0, n = 0;
    size_t    len;
    char      text[4];
    re_t      re;

    for (i = 0; i < llm_countof(edges); i++) {
        for (j = i; j < llm_countof(edges); j++) {
            lo = edges[i];
            hi = edges[j];
            re = re_range(set, lo, hi);

            for (k = 0; k < 4 * llm_countof(edges); k++) {
                cp = edges[k / 4] + k % 4 - 1;

                if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff)) {
                    continue;
                }

                len = js_utf8_put(text, cp);
                wrong += re_match(set, re, text, len) != (cp >= lo && cp <= hi);
                n++;
            }
        }
    }

    is_int(wrong, 0, "ranges of code points: %u questions", n);
    re_free(set);
}


int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "patterns") == 0) {
        from_stdin();
        return tap_done();
    }

    test_quoted();
    test_numbers();
    test_number_spellings();
    test_patterns();
    test_details();
    test_trie();
    test_ranges();

    return tap_done();
}
