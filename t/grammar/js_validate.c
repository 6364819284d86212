/*
 * The validator of JSON Schema: cases of our own.  The official Test Suite
 * and JSONSchemaBench are js_suite.c's.
 */

#include <errno.h>
#include "engine/grammar/js_uri.h"
#include "engine/grammar/js_validate.h"
#include "t/lib/tap.h"

static int  verdict(const char *schema, const char *value, int formats,
                    uint32_t draft, js_result_t *result);
static void test_own(void);
static void test_refused(void);
static void test_result(void);
static void test_bounds(void);
static void test_chain(void);
static void test_formats(void);
static void test_names(void);
static void test_uris(void);

/* str_lit() that may stand in constant data. */
#define str_lit_(l)                                                            \
    {                                                                          \
        l, sizeof(l) - 1                                                       \
    }

static char err[512];


int
main(void)
{
    test_own();
    test_refused();
    test_result();
    test_bounds();
    test_formats();
    test_names();
    test_uris();

    return tap_done();
}


/* 1, 0, or the error of whichever failed first. */
static int
verdict(const char *text, const char *value, int formats, uint32_t draft,
        js_result_t *result)
{
    static const js_remote_t remotes[] = {
        {str_lit_("http://r/int"), str_lit_("{\"type\":\"integer\"}")},
        {str_lit_("http://r/list"),
         str_lit_("{\"$dynamicAnchor\":\"item\",\"$defs\":{\"i\":{"
                  "\"$ref\":\"int\"}},\"items\":{\"$ref\":\"#/$defs/i\"}}")},
        {str_lit_("http://r/meta"),
         str_lit_("{\"$schema\":\"https://json-schema.org/draft/2020-12/"
                  "schema\",\"$vocabulary\":{\"https://json-schema.org/draft/"
                  "2020-12/vocab/core\":true}}")},
        {str_lit_("http://r/strange"),
         str_lit_("{\"$vocabulary\":{\"http://r/vocab/x\":true}}")},
    };
    js_schema_options_t   options = {.draft = draft};
    js_validate_options_t how = {.formats = formats};
    const js_value_t     *v;
    js_schema_t          *schema;
    arena_t               arena;
    int                   rc;

    options.remotes = remotes;
    options.n_remotes = llm_countof(remotes);

    rc =
        js_schema_open(text, strlen(text), &options, &schema, err, sizeof(err));

    if (rc < 0) {
        return rc;
    }

    arena_init(&arena, 0);
    rc = js_parse(&arena, value, strlen(value), NULL, &v, NULL, err,
                  sizeof(err));

    if (rc == 0) {
        rc = js_validate(schema, NULL, v, &how, result);
    }

    arena_free(&arena);
    js_schema_close(schema);

    return rc;
}


static void
test_own(void)
{
    static const struct {
        const char *schema, *value;
        int         valid;
    } cases[] = {
        {"true", "1", 1},
        {"false", "1", 0},
        {"{}", "null", 1},
        {"{\"type\":\"integer\"}", "1.0", 1},
        {"{\"type\":\"integer\"}", "1e400", 1},
        {"{\"type\":\"integer\"}", "1.5", 0},
        {"{\"type\":[\"string\",\"null\"]}", "null", 1},
        {"{\"minimum\":0.1}", "0.1000000000000000000000001", 1},
        {"{\"minimum\":0.1}", "0.0999999999999999999999999", 0},
        {"{\"exclusiveMaximum\":9007199254740993}", "9007199254740992", 1},
        {"{\"maximum\":5,\"exclusiveMaximum\":true}", "5", 0},
        {"{\"maximum\":5,\"exclusiveMaximum\":false}", "5", 1},
        {"{\"multipleOf\":0.01}", "19.99", 1},
        {"{\"multipleOf\":0.01}", "19.999", 0},
        {"{\"maxLength\":1}", "\"\\ud83d\\ude00\"", 1},
        {"{\"maxLength\":1}", "\"ab\"", 0},
        {"{\"pattern\":\"b+\"}", "\"abbc\"", 1},
        {"{\"pattern\":\"^b+$\"}", "\"abbc\"", 0},
        {"{\"enum\":[[1,{\"a\":2}]]}", "[1.0,{\"a\":2}]", 1},
        {"{\"const\":false}", "0", 0},
        {"{\"uniqueItems\":true}", "[1,\"1\",true,null,[1]]", 1},
        {"{\"uniqueItems\":true}", "[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1.0}]",
         0},
        {"{\"items\":[{\"type\":\"null\"}],\"additionalItems\":false}",
         "[null]", 1},
        {"{\"items\":[{\"type\":\"null\"}],\"additionalItems\":false}",
         "[null,1]", 0},
        {"{\"prefixItems\":[true],\"items\":false}", "[1,2]", 0},
        {"{\"contains\":{\"const\":1},\"minContains\":2}", "[1,2,1]", 1},
        {"{\"contains\":{\"const\":1},\"maxContains\":1}", "[1,2,1]", 0},
        {"{\"contains\":{\"const\":1},\"minContains\":0}", "[]", 1},
        {"{\"properties\":{\"a\":true},\"patternProperties\":{\"^b\":true},"
         "\"additionalProperties\":false}",
         "{\"a\":1,\"bb\":2}", 1},
        {"{\"properties\":{\"a\":true},\"patternProperties\":{\"^b\":true},"
         "\"additionalProperties\":false}",
         "{\"ab\":1}", 0},
        {"{\"propertyNames\":{\"maxLength\":2}}", "{\"abc\":1}", 0},
        {"{\"dependencies\":{\"a\":[\"b\"],\"c\":{\"maxProperties\":1}}}",
         "{\"a\":1}", 0},
        {"{\"dependencies\":{\"a\":[\"b\"],\"c\":{\"maxProperties\":1}}}",
         "{\"c\":1}", 1},
        {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1,\"b\":1}", 1},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "3", 0},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "1", 1},
        {"{\"not\":{\"required\":[\"a\"]}}", "{\"a\":1}", 0},
        {"{\"if\":{\"const\":1},\"then\":false,\"else\":{\"const\":2}}", "2",
         1},
        {"{\"if\":{\"const\":1},\"then\":false}", "1", 0},
        {"{\"anyOf\":[{\"properties\":{\"a\":true}},"
         "{\"properties\":{\"b\":true}}],\"unevaluatedProperties\":false}",
         "{\"a\":1,\"b\":1}", 1},
        {"{\"allOf\":[{\"properties\":{\"a\":true}}],"
         "\"unevaluatedProperties\":false}",
         "{\"a\":1,\"b\":1}", 0},
        {"{\"prefixItems\":[true],\"contains\":{\"const\":9},"
         "\"unevaluatedItems\":false}",
         "[1,9]", 1},
        {"{\"$defs\":{\"a~/%\":{\"const\":1}},\"$ref\":\"#/$defs/a~0~1%25\"}",
         "1", 1},
        {"{\"definitions\":{\"n\":{\"properties\":{\"next\":"
         "{\"$ref\":\"#/definitions/n\"}},\"additionalProperties\":false}},"
         "\"$ref\":\"#/definitions/n\"}",
         "{\"next\":{\"next\":{\"x\":1}}}", 0},
        {"{\"$id\":\"http://a.b/c/d\",\"$defs\":{\"x\":{\"$id\":\"../e\","
         "\"$anchor\":\"f\",\"const\":1}},\"$ref\":\"http://a.b/e#f\"}",
         "2", 0},
        {"{\"$schema\":\"http://json-schema.org/draft-07/schema#\","
         "\"definitions\":{\"t\":true},\"$ref\":\"#/definitions/t\","
         "\"type\":\"null\"}",
         "1", 1},
        {"{\"$defs\":{\"t\":true},\"$ref\":\"#/$defs/t\",\"type\":\"null\"}",
         "1", 0},
        {"{\"$ref\":\"http://json-schema.org/draft-07/schema#\"}",
         "{\"minLength\":-1}", 0},
        {"{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}",
         "{\"properties\":{\"a\":{\"type\":\"strin\"}}}", 0},
        {"{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}",
         "{\"properties\":{\"a\":{\"type\":\"string\"}}}", 1},
        {"{\"type\":\"string\",\"nonsense\":1,\"format\":\"color\"}",
         "\"red?\"", 1},
        {"{\"properties\":{\"$ref\":{\"const\":1}}}", "{\"$ref\":2}", 0},
        {"{\"minItems\":2.0}", "[1]", 0},
    };
    int    rc;
    size_t i;

    for (i = 0; i < llm_countof(cases); i++) {
        rc = verdict(cases[i].schema, cases[i].value, 1, 0, NULL);
        is_int(rc, cases[i].valid, "%s: %s", cases[i].schema, cases[i].value);
    }

    is_int(verdict("{\"type\":\"integer\"}", "1.0", 0, JS_DRAFT_4, NULL), 0,
           "draft 4: 1.0 is no integer");
    is_int(verdict("{\"const\":1}", "2", 0, JS_DRAFT_4, NULL), 1,
           "draft 4 has no const");
    is_int(verdict("{\"prefixItems\":[false]}", "[2]", 0, JS_DRAFT_2019, NULL),
           1, "2019-09 has no prefixItems");
    is_int(verdict("{\"dependencies\":{\"a\":[\"b\"]}}", "{\"a\":1}", 0,
                   JS_DRAFT_2020, NULL),
           1, "2020-12 has no dependencies");
}


static void
test_refused(void)
{
    static const struct {
        const char *schema;
        int         rc;
    } cases[] = {
        {"1", -EINVAL},
        {"{\"type\":\"strin\"}", -EINVAL},
        {"{\"minLength\":-1}", -EINVAL},
        {"{\"minLength\":1.5}", -EINVAL},
        {"{\"multipleOf\":0}", -EINVAL},
        {"{\"properties\":[]}", -EINVAL},
        {"{\"items\":3}", -EINVAL},
        {"{\"required\":true}", -EINVAL},
        {"{\"$ref\":1}", -EINVAL},
        {"{\"allOf\":{}}", -EINVAL},
        {"{\"$schema\":\"http://json-schema.org/draft-03/schema#\"}", -ENOTSUP},
        {"{\"$ref\":\"#\"}", -ELOOP},
        {"{\"anyOf\":[{\"$ref\":\"#/anyOf/0\"}]}", -ELOOP},
        {"{\"$ref\":\"http://example.com/elsewhere\"}", -ENOTSUP},
        {"{\"$ref\":\"#/nowhere\"}", -ENOTSUP},
        {"{\"$ref\":\"#nowhere\"}", -ENOTSUP},
        {"{\"properties\":{\"a\":{\"$ref\":\"#/nowhere\"}}}", 1},
        {"{\"pattern\":\"(\"}", -ENOTSUP},
    };
    size_t i;

    for (i = 0; i < llm_countof(cases); i++) {
        is_int(verdict(cases[i].schema, "\"\"", 0, 0, NULL), cases[i].rc, "%s",
               cases[i].schema);
    }
}


static void
test_result(void)
{
    js_result_t result;

    is_int(verdict("{\"properties\":{\"a/b\":{\"items\":{\"$ref\":"
                   "\"#/$defs/s\"}}},\"$defs\":{\"s\":{\"type\":\"string\"}}}",
                   "{\"a/b\":[\"\",{},3]}", 0, 0, &result),
           0, "not valid");
    is_str(result.instance, "/a~1b/1", "where in the value");
    is_str(result.keyword, "#/$defs/s/type", "where in the schema");

    is_int(verdict("{\"additionalProperties\":false}", "{\"x\":1}", 0, 0,
                   &result),
           0, "not valid");
    is_str(result.instance, "/x", "the member");
    is_str(result.keyword, "#/additionalProperties", "what forbids it");

    is_int(verdict("{\"$ref\":\"urn:x:y\"}", "1", 0, 0, &result), -ENOTSUP,
           "nobody has it");
    is_str(result.reason, "nobody has \"urn:x:y\"", "its name");

    is_int(verdict("{\"a\":{\"properties\":{\"b\":{\"type\":7}}},"
                   "\"allOf\":[{\"$ref\":\"#/a\"}]}",
                   "1", 0, 0, NULL),
           -EINVAL, "a schema found by a reference is bad");
    ok(strstr(err, "#/a/properties/b/type") != NULL, "%s", err);
}


/* References one after the other: as deep as schemas may be, and deeper. */
static void
test_chain(void)
{
    buf_t text = {0};
    int   i, n;

    for (n = 1000; n <= 2000; n += 1000) {
        buf_reset(&text);
        buf_str(&text, "{\"$ref\":\"#/$defs/0\",\"$defs\":{");

        for (i = 0; i < n; i++) {
            buf_fmt(&text, "\"%d\":{\"not\":{\"$ref\":\"#/$defs/%d\"}},", i,
                    i + 1);
        }

        buf_fmt(&text, "\"%d\":{\"const\":1}}}", n);
        buf_add(&text, "", 1);
        is_int(verdict(text.data, "1", 0, 0, NULL), n == 1000 ? 1 : -E2BIG,
               "%d references", n);
    }

    buf_free(&text);
}


/* Exponential schemas, deep values, hostile numbers: bounded. */
static void
test_bounds(void)
{
    char   text[4096], *deep;
    size_t n;
    int    i;

    n = (size_t) snprintf(text, sizeof(text), "{\"$defs\":{\"a0\":true");

    for (i = 1; i < 40; i++) {
        n += (size_t) snprintf(text + n, sizeof(text) - n,
                               ",\"a%d\":{\"allOf\":[{\"$ref\":\"#/$defs/a%d\"}"
                               ",{\"$ref\":\"#/$defs/a%d\"}]}",
                               i, i - 1, i - 1);
    }

    snprintf(text + n, sizeof(text) - n, "},\"$ref\":\"#/$defs/a39\"}");
    is_int(verdict(text, "1", 0, 0, NULL), -E2BIG, "2^39 ways");

    is_int(verdict("{\"multipleOf\":1e-1000000}", "1e1000000", 0, 0, NULL), 1,
           "large exponents cost nothing");
    is_int(verdict("{\"minLength\":1e1000000}", "\"\"", 0, 0, NULL), 0,
           "a length beyond all");

    is_int(verdict("{\"patternProperties\":{\"^(a|b)*a(a|b){500}$\":false}}",
                   "{\"abababababababababababababababababababababababab"
                   "aabbababbbababbababaababbababbabababba\":1}",
                   0, 0, NULL),
           1, "a pattern of 2^500 states");
    is_int(verdict("{\"pattern\":\"((((a{1000}){1000}){1000}){1000})$\"}",
                   "\"aaaaaaaaaaaaaaaaaaaaaa\"", 0, 0, NULL)
               == 1,
           0, "a pattern of 10^12 characters");
    test_chain();

    deep = calloc(1, 1001);
    memset(deep, '[', 500);
    memset(deep + 500, ']', 500);
    is_int(verdict("{\"items\":{\"allOf\":[{\"$ref\":\"#\"}]}}", deep, 0, 0,
                   NULL),
           1, "500 arrays");
    free(deep);
}


static void
test_formats(void)
{
    static const struct {
        const char *format, *s;
        int         valid;
    } cases[] = {
        {"date-time", "2024-02-29T23:59:60Z", 1},
        {"date-time", "2024-02-29T22:59:60Z", 0},
        {"date-time", "2024-02-29T15:59:60.5-08:00", 1},
        {"date-time", "2023-02-29T00:00:00Z", 0},
        {"date-time", "2024-02-29 00:00:00Z", 0},
        {"time", "24:00:00Z", 0},
        {"time", "12:00:00", 0},
        {"date", "2024-04-31", 0},
        {"duration", "P1Y2M3DT4H5M6S", 1},
        {"duration", "P1W2D", 0},
        {"email", "a.b@c.d", 1},
        {"email", "a..b@c.d", 0},
        {"idn-email", "\xc3\xa9@\xc3\xa9.fr", 1},
        {"hostname", "a-b.c", 1},
        {"hostname", "a_b.c", 0},
        {"idn-hostname",
         "b\xc3\xbc"
         "cher.example",
         1},
        {"idn-hostname", "xn--bcher-kva.example", 1},
        {"ipv4", "1.2.3.04", 0},
        {"ipv6", "::ffff:1.2.3.4", 1},
        {"ipv6", "1::2::3", 0},
        {"uri", "http://[::1]:80/a?b#c", 1},
        {"uri", "/a", 0},
        {"uri-reference", "/a b", 0},
        {"iri", "http://\xc3\xa9/", 1},
        {"uri-template", "/{a}{?b*,c:3}", 1},
        {"uri-template", "/{a", 0},
        {"uuid", "00000000-0000-0000-0000-00000000000g", 0},
        {"json-pointer", "/a~0", 1},
        {"json-pointer", "/a~", 0},
        {"relative-json-pointer", "0#", 1},
        {"regex", "(a", 0},
        {"regex", "^a{2,}$", 1},
    };
    char   schema[128], value[128];
    size_t i;

    for (i = 0; i < llm_countof(cases); i++) {
        snprintf(schema, sizeof(schema), "{\"format\":\"%s\"}",
                 cases[i].format);
        snprintf(value, sizeof(value), "\"%s\"", cases[i].s);
        is_int(verdict(schema, value, 1, 0, NULL), cases[i].valid, "%s: %s",
               cases[i].format, cases[i].s);
    }

    is_int(verdict("{\"format\":\"date\"}", "\"no\"", 0, 0, NULL), 1,
           "a format says nothing unless asked");
    is_int(verdict("{\"format\":\"date\"}", "7", 1, 0, NULL), 1,
           "a format is of strings");
}


/* Remotes, dynamic and recursive references, vocabularies. */
static void
test_names(void)
{
    static const struct {
        const char *schema, *value;
        int         rc;
    } cases[] = {
        {"{\"$ref\":\"http://r/int\"}", "1", 1},
        {"{\"$ref\":\"http://r/int\"}", "\"\"", 0},
        {"{\"$ref\":\"http://r/list\"}", "[1,2]", 1},
        {"{\"$ref\":\"http://r/list\"}", "[1,\"\"]", 0},
        {"{\"$id\":\"http://r/x\",\"$ref\":\"./y/../list#/$defs/i\"}", "1.5",
         0},
        {"{\"$ref\":\"http://r/list#/$defs/j\"}", "1", -ENOTSUP},
        {"{\"$schema\":\"http://r/meta\",\"type\":\"string\"}", "1", 1},
        {"{\"$schema\":\"http://r/strange\"}", "1", -ENOTSUP},
        {"{\"$id\":\"http://t/strict\",\"$dynamicAnchor\":\"n\",\"$ref\":"
         "\"tree\",\"unevaluatedProperties\":false,\"$defs\":{\"t\":{\"$id\":"
         "\"tree\",\"$dynamicAnchor\":\"n\",\"properties\":{\"k\":{"
         "\"$dynamicRef\":\"#n\"}}}}}",
         "{\"k\":{\"x\":1}}", 0},
        {"{\"$id\":\"http://t/tree\",\"$dynamicAnchor\":\"n\",\"properties\":{"
         "\"k\":{\"$dynamicRef\":\"#n\"}}}",
         "{\"k\":{\"x\":1}}", 1},
        {"{\"$schema\":\"https://json-schema.org/draft/2019-09/schema\","
         "\"$id\":\"http://t/strict\",\"$recursiveAnchor\":true,\"$ref\":"
         "\"tree\",\"unevaluatedProperties\":false,\"$defs\":{\"t\":{\"$id\":"
         "\"tree\",\"$recursiveAnchor\":true,\"properties\":{\"k\":{"
         "\"$recursiveRef\":\"#\"}}}}}",
         "{\"k\":{\"x\":1}}", 0},
        {"{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"$ref\":"
         "\"#x\",\"definitions\":{\"a\":{\"$id\":\"#x\",\"const\":1}}}",
         "2", 0},
    };
    size_t i;

    for (i = 0; i < llm_countof(cases); i++) {
        is_int(verdict(cases[i].schema, cases[i].value, 0, 0, NULL),
               cases[i].rc, "%s: %s", cases[i].schema, cases[i].value);
    }
}


/* RFC 3986, 5.4. */
static void
test_uris(void)
{
    static const char  base[] = "http://a/b/c/d;p?q";
    static const char *cases[][2] = {
        {"g:h", "g:h"},
        {"g", "http://a/b/c/g"},
        {"./g", "http://a/b/c/g"},
        {"g/", "http://a/b/c/g/"},
        {"/g", "http://a/g"},
        {"//g", "http://g"},
        {"?y", "http://a/b/c/d;p?y"},
        {"g?y#s", "http://a/b/c/g?y#s"},
        {"#s", "http://a/b/c/d;p?q#s"},
        {";x", "http://a/b/c/;x"},
        {"", "http://a/b/c/d;p?q"},
        {".", "http://a/b/c/"},
        {"./", "http://a/b/c/"},
        {"..", "http://a/b/"},
        {"../g", "http://a/b/g"},
        {"../..", "http://a/"},
        {"../../g", "http://a/g"},
        {"../../../g", "http://a/g"},
        {"/./g", "http://a/g"},
        {"/../g", "http://a/g"},
        {"g.", "http://a/b/c/g."},
        {"..g", "http://a/b/c/..g"},
        {"./g/.", "http://a/b/c/g/"},
        {"g/./h", "http://a/b/c/g/h"},
        {"g/../h", "http://a/b/c/h"},
        {"g;x=1/../y", "http://a/b/c/y"},
        {"g?y/../x", "http://a/b/c/g?y/../x"},
        {"urn:x:y#z", "urn:x:y#z"},
    };
    arena_t arena;
    size_t  i;

    arena_init(&arena, 0);

    for (i = 0; i < llm_countof(cases); i++) {
        is_str(js_uri_resolve(&arena, str_of(base), str_of(cases[i][0])).s,
               cases[i][1], "\"%s\"", cases[i][0]);
    }

    arena_free(&arena);
}
