/*
 * JSON texts as trees: conformance (JSONTestSuite's files, where they are),
 * numbers of any length, equality, duplicates, limits, paths, printing.
 */

#include <dirent.h>
#include <errno.h>
#include "engine/grammar/js_value.h"
#include "t/lib/tap.h"

#define SUITE "../shared/data/json-parsing/test_parsing"

static void test_suite(void);
static void test_texts(void);
static void test_numbers(void);
static void test_multiples(void);
static void test_equality(void);
static void test_objects(void);
static void test_limits(void);
static int  parse(const char *text, const js_value_t **v);
static int  compare(const char *a, const char *b);

static arena_t arena;
static char    err[200];


int
main(void)
{
    arena_init(&arena, 0);
    test_texts();
    test_numbers();
    test_multiples();
    test_equality();
    test_objects();
    test_limits();
    test_suite();
    arena_free(&arena);

    return tap_done();
}


static int
parse(const char *text, const js_value_t **v)
{
    return js_parse(&arena, text, strlen(text), NULL, v, NULL, err,
                    sizeof(err));
}


static int
compare(const char *a, const char *b)
{
    const js_value_t *x, *y;
    int64_t           steps = 100000;
    int               order;

    if (parse(a, &x) < 0 || parse(b, &y) < 0) {
        return 99;
    }

    order = js_compare(x, y, &steps);

    return (order > 0) - (order < 0);
}


static void
test_texts(void)
{
    static const struct {
        const char *text;
        int         rc;
    } cases[] = {
        {" {\"a\": [1, true, null]} ", 0},
        {"\"\\u0000\\ud83d\\ude00\"", 0},
        {"\"\\ud83d\"", -EINVAL},
        {"\"\\ude00\"", -EINVAL},
        {"\"\\ud83d\\u0041\"", -EINVAL},
        {"\"\xff\"", -EINVAL},
        {"\"\xed\xa0\x80\"", -EINVAL},
        {"\"\xc0\x80\"", -EINVAL},
        {"\xef\xbb\xbf{}", -EINVAL},
        {"", -EINVAL},
        {"01", -EINVAL},
        {"1.", -EINVAL},
        {".5", -EINVAL},
        {"-", -EINVAL},
        {"1e", -EINVAL},
        {"+1", -EINVAL},
        {"[1,]", -EINVAL},
        {"{\"a\":1,}", -EINVAL},
        {"nul", -EINVAL},
        {"1 2", -EINVAL},
        {"\"\t\"", -EINVAL},
        {"\"\\x\"", -EINVAL},
        {"0e99999999999999999999", 0},
        {"1e99999999999999999999", -E2BIG},
        {"[[[]],{}]", 0},
        {"\"\\", -EINVAL},
        {"\"\\u12\"", -EINVAL},
    };
    const js_value_t *v;
    size_t            i;

    for (i = 0; i < llm_countof(cases); i++) {
        is_int(parse(cases[i].text, &v), cases[i].rc, "text %s", cases[i].text);
    }

    ok(parse("\"a\\u0000\\ud83d\\ude00\"", &v) == 0 && v->n == 6
           && memcmp(v->s, "a\0\xf0\x9f\x98\x80", 7) == 0,
       "U+0000 and a surrogate pair");
    is_int(js_utf8_count(v->s, v->n), 3, "three code points");
}


static void
test_numbers(void)
{
    static const struct {
        const char *a, *b;
        int         order;
    } cases[] = {
        {"1", "1.0", 0},
        {"1", "10e-1", 0},
        {"0", "-0.000e7", 0},
        {"1e1000000", "1e1000001", -1},
        {"1e1000000", "10e999999", 0},
        {"-1e1000000", "1e-1000000", -1},
        {"9007199254740992", "9007199254740993", -1},
        {"0.1", "0.10000000000000000000000000000000000001", -1},
        {"123456789012345678901234567890", "123456789012345678901234567889", 1},
        {"-2", "-10", 1},
        {"1200", "1.2e3", 0},
        {"0.0012", "12e-4", 0},
        {"99", "100", -1},
        {"12", "1.25", 1},
        {"-1", "0", -1},
        {"0", "0.0001", -1},
    };
    const js_value_t *v;
    uint64_t          n;
    size_t            i;

    for (i = 0; i < llm_countof(cases); i++) {
        is_int(compare(cases[i].a, cases[i].b), cases[i].order, "%s and %s",
               cases[i].a, cases[i].b);
        is_int(compare(cases[i].b, cases[i].a), -cases[i].order, "%s and %s",
               cases[i].b, cases[i].a);
    }

    ok(parse("12e-1", &v) == 0 && !js_decimal_integer(v->decimal), "1.2");
    ok(parse("120e-1", &v) == 0 && js_decimal_integer(v->decimal), "12.0");
    ok(js_decimal_u64(v->decimal, &n) == 0 && n == 12, "12");
    ok(parse("1e30", &v) == 0 && js_decimal_u64(v->decimal, &n) == 0
           && n == UINT64_MAX,
       "1e30 is above all");
    ok(parse("-1", &v) == 0 && js_decimal_u64(v->decimal, &n) == -EDOM, "-1");
    ok(v->n == 2 && strcmp(v->s, "-1") == 0, "spelling is kept");
}


static void
test_multiples(void)
{
    static const struct {
        const char *a, *b;
        int         rc;
    } cases[] = {
        {"10", "2.5", 1},
        {"0.0075", "0.0001", 1},
        {"0.00751", "0.0001", 0},
        {"1e308", "0.123456789", 0},
        {"1e308", "1.28", 1},
        {"1e1000000", "3", 0},
        {"3e1000000", "3", 1},
        {"4.2", "0.1", 1},
        {"4.25", "0.1", 0},
        {"0", "7", 1},
        {"-21", "7", 1},
        {"1", "0.0", -EDOM},
        {"1e10", "1024", 1},
        {"1e9", "1024", 0},
        {"246913578024691357802469135780", "123456789012345678901234567890", 1},
        {"246913578024691357802469135781", "123456789012345678901234567890", 0},
        {"1e40", "1099511627776", 1},
        {"1e200", "1267650600228229401496703205376", 1},
        {"1e99", "1267650600228229401496703205376", 0},
    };
    const js_value_t *a, *b;
    size_t            i;

    for (i = 0; i < llm_countof(cases); i++) {
        (void) parse(cases[i].a, &a);
        (void) parse(cases[i].b, &b);
        is_int(js_decimal_multiple(a->decimal, b->decimal), cases[i].rc,
               "%s of %s", cases[i].a, cases[i].b);
    }
}


static void
test_equality(void)
{
    is_int(compare("{\"a\":1,\"b\":[2]}", "{\"b\":[2.0],\"a\":1e0}"), 0,
           "members in any order, numbers by value");
    is_int(compare("[1,2]", "[2,1]"), -1, "items in their order");
    ok(compare("false", "0") != 0, "false is not 0");
    ok(compare("null", "false") != 0, "null is not false");
    ok(compare("\"1\"", "1") != 0, "\"1\" is not 1");
    ok(compare("{}", "[]") != 0, "{} is not []");
    ok(compare("{\"a\":1}", "{\"b\":1}") != 0, "names count");
    is_int(compare("\"\\u00e9\"", "\"\xc3\xa9\""), 0, "however it is spelt");
}


static void
test_objects(void)
{
    const js_value_t *v, *w;
    js_limits_t       limits = {.duplicates = JS_DUPLICATE_ERROR};
    const char       *text = "{\"b\":1,\"a\":{\"x/y\":[0,{\"~\":3}]},\"b\":2}";
    buf_t             buf = {0};
    int               rc;

    ok(parse(text, &v) == 0 && v->n == 2, "the last of two names");
    js_print(&buf, v);
    buf_add(&buf, "", 1);
    is_str(buf.data, "{\"b\":2,\"a\":{\"x/y\":[0,{\"~\":3}]}}",
           "in the first one's place");

    w = js_get(js_get(v, "a"), "x/y");
    w = &w->items[1].items[0];
    buf_reset(&buf);
    js_path(&buf, w);
    buf_add(&buf, "", 1);
    is_str(buf.data, "/a/x~1y/1/~0", "a path");
    ok(js_get(v, "c") == NULL && js_get(w, "c") == NULL, "no such member");

    rc = js_parse(&arena, text, strlen(text), &limits, &v, NULL, err,
                  sizeof(err));
    is_int(rc, -EINVAL, "two members of one name");
    ok(strstr(err, "two members") != NULL, "%s", err);
    buf_free(&buf);
}


static void
test_limits(void)
{
    static const char text[] = "[[[1,2,3]]]";
    const js_value_t *v;
    js_limits_t       limits;
    uint32_t          n = 0;

    limits = (js_limits_t){.max_depth = 2};
    is_int(js_parse(&arena, text, 11, &limits, &v, NULL, err, sizeof(err)),
           -E2BIG, "depth");
    limits = (js_limits_t){.max_depth = 3};
    is_int(js_parse(&arena, text, 11, &limits, &v, &n, err, sizeof(err)), 0,
           "just deep enough");
    is_int(n, 6, "values");
    limits = (js_limits_t){.max_values = 5};
    is_int(js_parse(&arena, text, 11, &limits, &v, NULL, err, sizeof(err)),
           -E2BIG, "values");
    limits = (js_limits_t){.max_bytes = 10};
    is_int(js_parse(&arena, text, 11, &limits, &v, NULL, err, sizeof(err)),
           -E2BIG, "bytes");
}


static void
test_suite(void)
{
    struct dirent   **list;
    char              path[512], *text;
    js_limits_t       limits = {0};
    const js_value_t *v;
    arena_t           own;
    size_t            len;
    FILE             *f;
    int               i, n, rc, right[2] = {0, 0}, all[2] = {0, 0};

    n = scandir(SUITE, &list, NULL, alphasort);

    if (n < 0) {
        ok(1, "JSONTestSuite # SKIP not there");
        return;
    }

    text = malloc(1u << 20);

    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), SUITE "/%s", list[i]->d_name);

        if (strchr("yni", list[i]->d_name[0])
            && (f = fopen(path, "rb")) != NULL) {
            len = fread(text, 1, 1u << 20, f);
            fclose(f);
            arena_init(&own, 0);
            rc = js_parse(&own, text, len, &limits, &v, NULL, err, sizeof(err));
            arena_free(&own);

            if (list[i]->d_name[0] != 'i') {
                all[list[i]->d_name[0] == 'y']++;
                right[list[i]->d_name[0] == 'y'] +=
                    (rc == 0) == (list[i]->d_name[0] == 'y');

                if ((rc == 0) != (list[i]->d_name[0] == 'y')) {
                    diag("%s: %d %s", list[i]->d_name, rc, err);
                }
            }
        }

        free(list[i]);
    }

    free(list);
    free(text);
    ok(right[1] == all[1] && all[1] > 0, "%d of %d accepted", right[1], all[1]);
    ok(right[0] == all[0] && all[0] > 0, "%d of %d rejected", right[0], all[0]);
}
