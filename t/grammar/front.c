/*
 * Front ends of grammars: the goldens (front_goldens.py) byte by byte through
 * the parser, what is refused and how it is said, limits.
 */

#include <errno.h>
#include <jansson.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/gr_parse.h"
#include "engine/grammar/re_ecma.h"
#include "t/lib/tap.h"

typedef int (*front_t)(gr_t *gr, const char *text, size_t len, gr_node_t *node,
                       char *err, size_t err_size);

static const struct {
    const char *name;
    front_t     front;
} fronts[] = {{"gbnf", gr_gbnf}, {"lark", gr_lark}, {"regex", gr_regex}};

typedef struct {
    const char *source;
    int         rc;
    const char *err; /* a part of it */
} refusal_t;

static int  compile(front_t front, const char *s, size_t len, gr_t **gr,
                    char *err, size_t err_size);
static int  accepts(gr_t *gr, const char *s, size_t len);
static void goldens(const char *path);
static void golden(const json_t *item);
static int  verdicts(gr_t *gr, const json_t *list, int want, const char *name);
static void refusals(const char *name, front_t front, const refusal_t *list,
                     size_t n);
static void patterns(void);
static void choices(void);
static void tokens(void);
static void limits(void);
static void out_of_time(void);
static void limit(const char *name, front_t front, const buf_t *s, int rc);
static void repeat_str(buf_t *s, const char *what, size_t n);
static void unicode(void);


static const refusal_t gbnf[] = {
    {"root ::= x\n", -EINVAL, "line 1, column 10: \"x\" is not defined"},
    {"# é\nx ::= \"é\" )", -EINVAL, "line 2, column 11: unexpected ')'"},
    {"x ::= \"a\"", -EINVAL, "no rule \"root\""},
    {"", -EINVAL, "no rule \"root\""},
    {"root ::= \"a", -EINVAL, "line 1, column 10: an unclosed literal"},
    {"root ::= [a", -EINVAL, "unclosed class"},
    {"root ::= (\"a\"", -EINVAL, "unclosed group"},
    {"root ::= (\"a\"]", -EINVAL, "\")\" is wanted"},
    {"root = \"a\"", -EINVAL, "\"::=\" is wanted"},
    {"root ::= \"\\q\"", -EINVAL, "unknown escape"},
    {"root ::= \"\\ud800\"", -EINVAL, "half a surrogate pair"},
    {"root ::= \"\\U00110000\"", -EINVAL, "no such code point"},
    {"root ::= [z-a]", -EINVAL, "range out of order"},
    {"root ::= \"a\"{3,2}", -EINVAL, "numbers out of order"},
    {"root ::= \"a\"{1000001}", -E2BIG, "repeat count"},
    {"root ::= \"a\"{99999999999999999999}", -E2BIG, "repeat count"},
    {"root ::= + \"a\"", -EINVAL, "nothing to repeat"},
    {"root ::= <[12]>", -ENOTSUP, "a token by its number"},
    {"root ::= !<a>", -ENOTSUP, "any token but one"},
    {"root ::= <a", -EINVAL, "a token's name"},
    {"root ::= \"\xff\"", -EINVAL, "invalid UTF-8"},
    {"root ::= \"\xed\xa0\x80\"", -EINVAL, "invalid UTF-8"},
    {"root ::= root", -ENOENT, ""},
    {"root ::= \"a\" b\nb ::= \"b\" b", -ENOENT, ""},
    {"root ::= [\\ud800-\\udfff]", -ENOENT, ""},
};

static const refusal_t lark[] = {
    {"a: \"x\"", -EINVAL, "no rule \"start\""},
    {"start: a", -EINVAL, "line 1, column 8: \"a\" is not defined"},
    {"start: A\nA: B\nB: A", -EINVAL, "terminal A refers to itself"},
    {"start: A\nA: \"a\" A?", -EINVAL, "terminal A refers to itself"},
    {"start: A\nA: b\nb: \"x\"", -EINVAL, "line 2, column 4: a rule in"},
    {"start: \"a\"\nstart: \"b\"", -EINVAL, "defined twice"},
    {"start: \"a\n", -EINVAL, "unclosed literal"},
    {"start: (\"a\"", -EINVAL, "unclosed group"},
    {"start: \"a\" )", -EINVAL, "unexpected ')'"},
    {"start: /a", -EINVAL, "unclosed regular expression"},
    {"start: /a\nb/", -EINVAL, "a line's end"},
    {"start: /(/", -EINVAL, "unclosed group"},
    {"start: /a/l", -ENOTSUP, "flag"},
    {"start: \"a\"+*", -EINVAL, "nothing to repeat"},
    {"start: \"b\"..\"a\"", -EINVAL, "range out of order"},
    {"start: \"ab\"..\"c\"", -EINVAL, "no single character"},
    {"start: \"a\"~3..2", -EINVAL, "numbers out of order"},
    {"start: \"a\"~1000001", -E2BIG, "repeat count"},
    {"start: A\nA.1: \"x\"", -ENOTSUP, "priority of a terminal"},
    {"start: _s{\"x\"}\n_s{i}: i", -ENOTSUP, "templates"},
    {"t{x}: x\nstart: \"a\"", -ENOTSUP, "templates"},
    {"%declare A\nstart: A", -ENOTSUP, "%declare"},
    {"%override start: A", -ENOTSUP, "%override"},
    {"%extend start: A", -ENOTSUP, "%extend"},
    {"start: %regex {}", -ENOTSUP, "%regex"},
    {"start: %lark { start: \"a\" }", -ENOTSUP, "%lark"},
    {"%llguidance {\"no_forcing\": true}\nstart: \"a\"", -ENOTSUP,
     "%llguidance"},
    {"%import python.NAME\nstart: NAME", -ENOTSUP, "an import"},
    {"%import .x.NAME\nstart: NAME", -ENOTSUP, "an import"},
    {"%import common.NOPE\nstart: NOPE", -EINVAL, "no such terminal"},
    {"%import common.WS -> ws\nstart: \"a\"", -EINVAL, "a terminal's name"},
    {"%nope\nstart: \"a\"", -EINVAL, "unknown directive"},
    {"start[lazy]: /a*/", -ENOTSUP, "attributes"},
    {"start[stop=\"x\", max_tokens=3]: /a*/", -ENOTSUP, "attributes"},
    {"start::_ : \"a\"", -ENOTSUP, "parameters"},
    {"start: x::incr(_)\nx: \"a\"", -ENOTSUP, "parameters"},
    {"start: @other", -ENOTSUP, "other grammars"},
    {"start: <[5]>", -ENOTSUP, "a token by its number"},
    {"start: A\nA: <x>", -EINVAL, "a token in a terminal"},
    {"start: A\nA: %json {}", -EINVAL, "%json in a terminal"},
    {"start: %json [", -EINVAL, "%json without an object"},
    {"start: %json {", -EINVAL, "%json without an object"},
    {"start: %json {\"type\": 1}", -EINVAL, "line 1, column 8: %json: "},
    {"start: \"a\" & \"b\"", -ENOTSUP, "outside of terminals"},
    {"start: ~\"a\"", -ENOTSUP, "outside of terminals"},
    {"start: A\nA: \"a\" -> b", -EINVAL, "an alias in a terminal"},
    {"start: /^a/", -ENOTSUP, "an anchor"},
    {"start: /a$/", -ENOTSUP, "an anchor"},
    {"start: /a\\b/", -ENOTSUP, "an anchor"},
    {"start: /\".*?\"/", -ENOTSUP, "a lazy repeat"},
    {"start: /a+?/", -ENOTSUP, "a lazy repeat"},
    {"start: /(?=a)(?:a|b)*?bc*/", -ENOTSUP, "a lazy repeat"},
    {"start: /a++/", -ENOTSUP, "possessive"},
    {"start: /(?>a)/", -ENOTSUP, "atomic"},
    {"start: /(a)\\1/", -ENOTSUP, "back-references"},
    {"start: /[[:alpha:]]/", -ENOTSUP, "several meanings"},
    {"start: /[a-z&&b]/", -ENOTSUP, "several meanings"},
    {"start: \"\\b\"", -ENOTSUP, "several meanings"},
    {"start: \"\\d\"", -EINVAL, "unknown escape"},
    {"start: \"\\ud83d\"", -EINVAL, "half a surrogate pair"},
    {"start: A\nA: \"a\" & \"b\"", -ENOENT, ""},
    {"start: start", -ENOENT, ""},
    {"start: \"a\" b c", -EINVAL, "\"b\" is not defined"},
    {"?", -EINVAL, "a rule or a terminal"},
    {"start \"a\"", -EINVAL, "\":\" is wanted"},
};

static const refusal_t regex[] = {
    {"(", -EINVAL, "unclosed group"},
    {"a**", -EINVAL, "nothing to repeat"},
    {"a++", -ENOTSUP, "possessive"},
    {"(?>a)", -ENOTSUP, "atomic groups"},
    {"(a)\\1", -ENOTSUP, "back-references"},
    {"(?P<n>a)(?P=n)", -ENOTSUP, "back-references"},
    {"(?(1)a|b)", -ENOTSUP, "conditional"},
    {"(?P>n)", -ENOTSUP, "recursion"},
    {"(?m)^a", -ENOTSUP, "flag m"},
    {"(?L)a", -ENOTSUP, "flag"},
    {"(?-)a", -EINVAL, "flags are wanted"},
    {"(?)a", -EINVAL, "flags are wanted"},
    {"(?=a", -EINVAL, "unclosed"},
    {"(?#a", -EINVAL, "unclosed"},
    {"[b-a]", -EINVAL, "out of order"},
    {"\\N{DASH}", -ENOTSUP, "by its name"},
    {"(?i)\\P{Lu}", -ENOTSUP, "ignoring case"},
    {"\\q", -EINVAL, "unknown escape"},
    {"a{100000001}", -E2BIG, "repeat count"},
    {"[]", -ENOENT, ""},
    {"a^", -ENOENT, ""},
    {"\xff", -EINVAL, "UTF-8"},
};


/* With a file: only the goldens in it. */
int
main(int argc, char **argv)
{
    if (argc > 1) {
        goldens(argv[1]);
        return tap_done();
    }

    goldens("t/grammar/front_goldens.json");
    refusals("gbnf", gr_gbnf, gbnf, llm_countof(gbnf));
    refusals("lark", gr_lark, lark, llm_countof(lark));
    refusals("regex", gr_regex, regex, llm_countof(regex));
    patterns();
    unicode();
    choices();
    tokens();
    limits();
    out_of_time();

    return tap_done();
}


static void
goldens(const char *path)
{
    json_error_t  error;
    const json_t *item;
    json_t       *list;
    size_t        i;

    list = json_load_file(path, 0, &error);
    ok(json_array_size(list) >= 60, "%s", path);

    json_array_foreach(list, i, item)
    {
        golden(item);
    }

    json_decref(list);
}


static void
golden(const json_t *item)
{
    const char *kind, *source;
    json_t     *valid;
    gr_t       *gr;
    char        err[200] = "", name[80];
    size_t      i;
    int         rc, bad = 0;

    kind = json_string_value(json_object_get(item, "kind"));
    source = json_string_value(json_object_get(item, "source"));
    valid = json_object_get(item, "valid");

    for (i = 0; strcmp(fronts[i].name, kind) != 0; i++) { /* void */
    }

    snprintf(name, sizeof(name), "%s: %.60s", kind, source);
    name[strcspn(name, "\r\n")] = '\0';
    rc =
        compile(fronts[i].front, source, strlen(source), &gr, err, sizeof(err));

    if (valid) {

        /* llama.cpp takes left recursion for none, and so says "no". */

        ok(json_is_true(valid) ? rc == 0 || rc == -ENOENT : rc < 0, "%s: %s",
           name, err);

    } else {
        if (rc == 0) {
            bad += verdicts(gr, json_object_get(item, "yes"), 1, name);
            bad += verdicts(gr, json_object_get(item, "no"), 0, name);
        }

        ok(rc == 0 && bad == 0, "%s%s", name, rc ? err : "");
    }

    gr_free(gr);
}


static int
verdicts(gr_t *gr, const json_t *list, int want, const char *name)
{
    const json_t *text;
    size_t        i;
    int           got, bad = 0;

    json_array_foreach(list, i, text)
    {
        got = accepts(gr, json_string_value(text), json_string_length(text));

        if (got != want) {
            diag("%s: '%s' is %d, not %d", name, json_string_value(text), got,
                 want);
            bad++;
        }
    }

    return bad;
}


/* The program is made in any case. */
static int
compile(front_t front, const char *s, size_t len, gr_t **gr, char *err,
        size_t err_size)
{
    const char *msg = "";
    gr_node_t   node;
    int         rc;

    if (gr_new(NULL, gr) != 0) {
        abort();
    }

    rc = front(*gr, s, len, &node, err, err_size);

    if (rc == 0) {
        rc = gr_finish(*gr, node);

        if (rc != 0) {
            (void) gr_failed(*gr, &msg);
            snprintf(err, err_size, "%s", msg);
        }
    }

    return rc;
}


static int
accepts(gr_t *gr, const char *s, size_t len)
{
    gr_parse_t *p;
    size_t      i;
    int         rc;

    if (gr_parse_new(gr, NULL, &p) != 0) {
        return -1;
    }

    for (i = 0, rc = 1; i < len && rc == 1; i++) {
        rc = gr_parse_push(p, (uint8_t) s[i]);
    }

    rc = rc == 1 ? gr_parse_complete(p) : rc;
    gr_parse_free(p);

    return rc;
}


static void
refusals(const char *name, front_t front, const refusal_t *list, size_t n)
{
    char   err[200], label[80];
    gr_t  *gr;
    size_t i;
    int    rc;

    for (i = 0; i < n; i++) {
        err[0] = '\0';
        rc = compile(front, list[i].source, strlen(list[i].source), &gr, err,
                     sizeof(err));
        snprintf(label, sizeof(label), "%s: %.60s", name, list[i].source);
        label[strcspn(label, "\r\n")] = '\0';

        if (!ok(rc == list[i].rc && strstr(err, list[i].err), "%s", label)) {
            diag("%d, '%s', not %d, '%s'", rc, err, list[i].rc, list[i].err);
        }

        gr_free(gr);
    }
}


/* What is ECMA-262's, what is known to be another's, what is no pattern. */
static void
patterns(void)
{
    static const struct {
        const char *pattern;
        int         rc;
    } list[] = {
        {"(?i)abc", -EINVAL}, {"(?i:a)b", 0},          {"(?-s:.)", 0},
        {"(?i-i:a)", 0},      {"(?x)a b", -EINVAL},    {"(?P<n>a)", -EINVAL},
        {"(?#c)a", -EINVAL},  {"(?>a)", -EINVAL},      {"\\Aa", -EINVAL},
        {"a\\Z", -EINVAL},    {"a\\z", -EINVAL},       {"a++", -EINVAL},
        {"\\a", -EINVAL},     {"(?<n>a)", 0},          {"(?m:^a)", -ENOTSUP},
        {"(?1)", -EINVAL},    {"(?", -EINVAL},         {"(?i", -EINVAL},
        {"(?i:", -EINVAL},    {"(?\xc3\xa9)", -EINVAL}};
    re_set_t *set = re_new(NULL);
    char      err[200];
    size_t    i;
    re_t      re;

    for (i = 0; i < llm_countof(list); i++) {
        is_int(re_ecma(set, list[i].pattern, strlen(list[i].pattern), &re, err,
                       sizeof(err)),
               list[i].rc, "re_ecma: %s", list[i].pattern);
    }

    re_free(set);
}


/* Where the kinds of patterns differ. */
static void
unicode(void)
{
    static const struct {
        const char *front, *source, *yes, *no;
    } list[] = {
        {"regex", "(?i)\\u00e9k\\u03c3", "\xc3\x89\xe2\x84\xaa\xcf\x82", "eks"},
        {"regex", "(?i)[\\u0430-\\u0432]s", "\xd0\x90\xc5\xbf", "\xd0\x93s"},
        {"regex", "(?i)\\u1e9e\\u00df", "\xc3\x9f\xe1\xba\x9e", "ssss"},
        {"regex", "(?i)\\w", "\xc5\xbf", "\xc3\xa9"},
        {"regex", "(?i)[^k]", "x", "\xe2\x84\xaa"},
        {"regex", "(?i)\\u0130", "\xc4\xb0", "i"},
        {"regex", "\\d", "7", "\xd9\xa3"},
        {"regex", "\\s", "\xef\xbb\xbf", "\x1c"},
        {"regex", "(?a)\\s", " ", "\xef\xbb\xbf"},
        {"regex", "(?s).", "\n", ""},
        {"regex", ".", "x", "\r"},
        {"regex", "\\pL\\p{Nd}",
         "\xc3\xa9"
         "1",
         "11"},
        {"lark", "start: /\\d/", "\xd9\xa3", "\xc2\xb2"},
        {"lark", "start: /\\w/", "\xc2\xb2", "\xcc\x81"},
        {"lark", "start: /\\s/", "\x1c", "\xef\xbb\xbf"},
        {"lark", "start: /(?a)\\d\\s/", "1 ", "\xd9\xa3 "},
        {"lark", "start: /./", "\r", "\n"},
        {"lark", "start: /[\\w]+/i", "\xc3\xa9", "-"},
        {"lark",
         "start: \"stra\xc3\x9f"
         "e\"i",
         "STRA\xe1\xba\x9e"
         "E",
         "STRASSE"},
        {"lark", "start: /\\101\\060[\\7]/", "A0\x07", "A07"},
        {"lark", "start: \"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", "?"},
        {"lark", "start: ESCAPED_STRING\n%import common.ESCAPED_STRING",
         "\"a\\\"b\"", "\"a\"b\""},
        {"lark", "start: C_COMMENT\n%import common.C_COMMENT", "/* * **/",
         "/* */ */"},
        {"lark", "start: X\nX: ~/a*/ & /[ab]{0,3}/", "aba", "aa"},
        {"lark", "start: /\\/(?!\\/)(\\\\.|[^\\/\\\\])*?\\/[is]*/", "/a/is",
         "//"},
        {"lark", "start: /a[^b]*?bc*|(?:x(?:yz){2,}?)*w+/", "acbcc", "abb"},
        {"lark", "%llguidance {}\nstart: x-y -> z\nx-y: \"1\"", "1", "2"},
        {"lark", "start: \"a\"{,2} \"b\"", "aab", "aaab"},
        {"lark", "start: \"a\"  \\\n  \"b\"", "ab", "a"},
        {"lark",
         "start: \"x\" %json {\"properties\": {\"a}\\\"\": {\"type\": "
         "\"integer\"}},\n\"required\": [\"a}\\\"\"], \"type\": \"object\"} "
         "\"y\"",
         "x{\"a}\\\"\":12}y", "x{}y"},
        {"gbnf", "root ::= a_b\n  | \"c\"\na_b ::= \"x\"", "c", "xc"},
        {"gbnf", "root ::= root \"a\" | \"b\"", "baa", "aa"},
        {"gbnf", "root ::= \"a\"{0,1000000} \"b\"", "aab", "bb"},
        {"gbnf", "root ::= (\"(\" root \")\"){0,3}", "()(())()", "()()()()"},
        {"gbnf", "root ::= .", "\xf0\x9f\x98\x80", "\xed\xa0\x80"},
    };
    gr_t  *gr;
    char   err[200];
    size_t i, k;
    int    rc;

    for (i = 0; i < llm_countof(list); i++) {
        for (k = 0; strcmp(fronts[k].name, list[i].front) != 0; k++) {
            /* void */
        }

        err[0] = '\0';
        rc = compile(fronts[k].front, list[i].source, strlen(list[i].source),
                     &gr, err, sizeof(err));
        ok(rc == 0 && accepts(gr, list[i].yes, strlen(list[i].yes)) == 1
               && accepts(gr, list[i].no, strlen(list[i].no)) == 0,
           "%s: case %zu %s", list[i].front, i, err);
        gr_free(gr);
    }
}


static void
choices(void)
{
    static const str_t list[] = {str_lit("yes"),  str_lit("no"),
                                 str_lit(""),     str_lit("yes"),
                                 str_lit("a\0b"), str_lit("\xc3\xa9")};
    static const str_t broken[] = {str_lit("a"), str_lit("\xff")};
    gr_node_t          node;
    gr_t              *gr;
    char               err[100] = "";
    size_t             i;
    int                good;

    (void) gr_new(NULL, &gr);
    is_int(gr_choice(gr, list, 0, &node, err, sizeof(err)), -EINVAL,
           "choice of nothing");
    ok(err[0] != '\0', "with a message");
    is_int(gr_choice(gr, broken, 2, &node, err, sizeof(err)), -EINVAL,
           "choice of no UTF-8");
    is_int(gr_choice(gr, list, llm_countof(list), &node, err, sizeof(err)), 0,
           "choice with duplicates");
    is_int(gr_finish(gr, node), 0, "choice finished");

    for (i = 0, good = 1; i < llm_countof(list); i++) {
        good &= accepts(gr, list[i].s, list[i].len) == 1;
    }

    ok(good, "all choices");
    ok(accepts(gr, "ye", 2) == 0 && accepts(gr, "yesno", 5) == 0
           && accepts(gr, "a", 1) == 0,
       "nothing else");
    gr_free(gr);
}


/* A control token is the byte 0xff and its name. */
static void
tokens(void)
{
    static const char *const sources[] = {"root ::= \"a\" <|x|> \"b\"",
                                          "start: \"a\" <|x|> \"b\""};
    gr_t                    *gr;
    char                     err[100];
    int                      i, rc;

    for (i = 0; i < 2; i++) {
        rc = compile(i ? gr_lark : gr_gbnf, sources[i], strlen(sources[i]), &gr,
                     err, sizeof(err));
        ok(rc == 0 && accepts(gr, "a\xff<|x|>b", 8) == 1
               && accepts(gr, "a<|x|>b", 7) == 0,
           "a control token: %s", sources[i]);
        gr_free(gr);
    }
}


/* Without time left every front end says so. */
static void
out_of_time(void)
{
    static const char *const sources[] = {"root ::= \"a\" b\nb ::= \"c\"",
                                          "start: \"a\" B\nB: \"b\"", "ab"};
    gr_limits_t              limits = {.max_ns = 1};
    gr_node_t                node;
    gr_t                    *gr;
    char                     err[100];
    size_t                   i;
    int                      rc;

    for (i = 0; i < llm_countof(fronts); i++) {
        err[0] = '\0';
        (void) gr_new(&limits, &gr);
        rc = fronts[i].front(gr, sources[i], strlen(sources[i]), &node, err,
                             sizeof(err));
        ok(rc == -E2BIG && err[0], "%s: out of time: %d, %s", fronts[i].name,
           rc, err);
        gr_free(gr);
    }
}


/* What is too much is said to be, soon. */
static void
limits(void)
{
    buf_t s = {0};
    int   i;

    buf_str(&s, "root ::= ");
    repeat_str(&s, "(", 190);
    buf_str(&s, "\"a\"");
    repeat_str(&s, ")", 190);
    limit("190 groups", gr_gbnf, &s, 0);

    buf_reset(&s);
    buf_str(&s, "root ::= ");
    repeat_str(&s, "(", 100000);
    limit("100,000 groups", gr_gbnf, &s, -E2BIG);

    buf_reset(&s);
    buf_str(&s, "start: ");
    repeat_str(&s, "[", 100000);
    limit("100,000 groups", gr_lark, &s, -E2BIG);

    buf_reset(&s);
    buf_str(&s, "start: A\nA: ");
    repeat_str(&s, "~", 100000);
    limit("100,000 complements", gr_lark, &s, -E2BIG);

    buf_reset(&s);
    buf_str(&s, "root ::= \"a\"");
    repeat_str(&s, "{2}", 100000);
    limit("100,000 counts", gr_gbnf, &s, -E2BIG);

    buf_reset(&s);
    buf_str(&s, "root ::= \"a\"");
    repeat_str(&s, "*", 100000);
    limit("100,000 stars", gr_gbnf, &s, 0);

    buf_reset(&s);
    repeat_str(&s, "#\n", 600000);
    limit("1.2 MB", gr_gbnf, &s, -E2BIG);

    buf_reset(&s);
    for (i = 0; i < 20010; i++) {
        buf_fmt(&s, "r%d ::= \"a\"\n", i);
    }

    limit("20,010 rules", gr_gbnf, &s, -E2BIG);

    /* A chain of rules is no recursion. */

    buf_reset(&s);
    buf_str(&s, "root ::= r0\n");
    for (i = 0; i < 19000; i++) {
        buf_fmt(&s, "r%d ::= r%d | \"b\" root2\n", i, i + 1);
    }

    buf_fmt(&s, "r%d ::= \"a\"\nroot2 ::= \"(\" root2 \")\" | \"c\"\n", i);
    limit("a chain of 19,000 rules", gr_gbnf, &s, 0);

    /* 2^60 letters. */

    buf_reset(&s);
    buf_str(&s, "root ::= r0\n");
    for (i = 0; i < 60; i++) {
        buf_fmt(&s, "r%d ::= r%d r%d\n", i, i + 1, i + 1);
    }

    buf_fmt(&s, "r%d ::= \"a\"\n", i);
    limit("2^60 letters", gr_gbnf, &s, -E2BIG);

    buf_reset(&s);
    buf_str(&s, "start: T0\n");
    for (i = 0; i < 60; i++) {
        buf_fmt(&s, "T%d: T%d T%d\n", i, i + 1, i + 1);
    }

    buf_fmt(&s, "T%d: \"a\"\n", i);
    limit("2^60 letters of a terminal", gr_lark, &s, -E2BIG);

    buf_reset(&s);
    buf_str(&s, "root ::= ");
    repeat_str(&s, "((\"a\"{0,1000000} \"b\"?){1,1000000}){0,1000000} ", 6);
    limit("counts of counts of counts", gr_gbnf, &s, 0);

    buf_reset(&s);
    buf_str(&s, "root ::= (");
    repeat_str(&s, "w ", 250000);
    buf_str(&s, ")*\nw ::= [a-z]+ [0-9]? \"x\"\n");
    limit("250,000 references", gr_gbnf, &s, 0);

    buf_free(&s);
}


static void
limit(const char *name, front_t front, const buf_t *s, int rc)
{
    uint64_t start = llm_now_ns();
    gr_t    *gr;
    char     err[200] = "";
    int      got;

    got = compile(front, s->data, s->len, &gr, err, sizeof(err));
    ok(got == rc && (rc == 0 || err[0]), "%s: %d, %s", name, got, err);
    start = llm_now_ns() - start;
    diag("%s: %u ms", name, (unsigned) (start / 1000000));
    gr_free(gr);
}


static void
repeat_str(buf_t *s, const char *what, size_t n)
{
    while (n-- > 0) {
        buf_str(s, what);
    }
}
