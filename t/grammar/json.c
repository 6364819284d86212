/*
 * JSON Schemas as grammars, byte by byte, without a vocabulary.
 *
 *   hand    schemas for each keyword, and random ones: of a pool of small
 *           values exactly those that the validator calls valid are accepted
 *   bench   JSONSchemaBench's instances in free order: labels hold.  A sample;
 *           all with LLM_LONG_TESTS.  Skipped without ../shared.
 *   walk    random texts along allowed bytes, in declared order: no dead end,
 *           and the validator calls them valid
 *
 * JSON_VERBOSE=1 names every wrong verdict; JSON_ONLY=ID runs one schema of
 * the bench.  Arguments are files of the bench's format.
 */

#include <dirent.h>
#include <errno.h>
#include <time.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/gr_parse.h"
#include "engine/grammar/js_validate.h"
#include "t/grammar/json_cases.h"
#include "t/lib/tap.h"

#define BENCH "../shared/data/jsonschemabench"

#define SAMPLE     11 /* one of so many by default */
#define POOL       4096
#define WALK_SOFT  200   /* bytes after which a walk hurries up */
#define WALK_BYTES 20000 /* after which it gives up */

typedef struct {
    uint32_t schemas, passing, over, under, refused, unsatisfiable, failed;
    uint32_t walks, finished, invalid, dead, long_walks;
    uint32_t slow; /* to compile, above 5 ms */
    uint64_t bytes;
    double   parse_s;
} tally_t;

static void test_hand(void);
static void test_random(uint32_t n);
static void schema_random(buf_t *out, int depth);
static void pool_make(void);
static void pool_add(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
static int  pool_check(const char *name, const char *text, int quiet);
static void test_texts(void);
static void test_plain(void);
static void test_bench(int argc, char **argv, int sample);
static void bench_file(const char *path, int sample, tally_t *tally);
static void bench_line(const char *line, size_t len, tally_t *tally);
static int  bench_tests(gr_t *gr, const char *id, const js_value_t *tests,
                        tally_t *tally);
static void walks(const char *id, str_t text, const js_schema_t *schema, int n,
                  int order, int space, tally_t *tally);
static int  walk(gr_t *gr, buf_t *out);
static int  walk_byte(gr_t *gr, gr_parse_t *p, size_t len, uint8_t *byte);
static int  compile(const char *text, size_t len, int order, int space,
                    gr_t **gr);
static int  accepts(gr_t *gr, const char *text, size_t len);
static void print(buf_t *out, const js_value_t *v);
static void print_number(buf_t *out, const js_value_t *v);
static uint32_t rnd(uint32_t n);

static char        err[600];
static int         verbose, plain;
static const char *only;
static uint64_t    seed = 1;
static char       *pool[POOL];
static uint32_t    n_pool;


int
main(int argc, char **argv)
{
    int whole = getenv("LLM_LONG_TESTS") != NULL;

    verbose = getenv("JSON_VERBOSE") != NULL;
    only = getenv("JSON_ONLY");

    if (argc > 1 || only) {
        test_bench(argc, argv, 1);
        return tap_done();
    }

    pool_make();
    test_hand();
    test_texts();
    test_random(whole ? 5000 : 150);
    test_bench(0, NULL, whole ? 1 : SAMPLE);

    while (n_pool) {
        free(pool[--n_pool]);
    }

    return tap_done();
}


static uint32_t
rnd(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;

    return (uint32_t) ((seed >> 33) % n);
}


/*
 * SMALL VALUES
 */

static void
pool_add(const char *fmt, ...)
{
    va_list ap;

    if (n_pool == POOL) {
        return;
    }

    va_start(ap, fmt);

    if (vasprintf(&pool[n_pool], fmt, ap) >= 0) {
        n_pool++;
    }

    va_end(ap);
}


static void
pool_make(void)
{
    static const char *scalars[] = {"null", "true", "0",     "1",    "1.5",
                                    "-2",   "\"\"", "\"a\"", "\"b\""};
    static const char *few[] = {"1", "\"a\"", "null", "1.0"};
    static const char *names[] = {"a", "b", "c"};
    static const char *objects[] = {"{}", "{\"a\":1}", "[1]", "{\"a\":[]}",
                                    "{\"b\":[{}]}"};
    uint32_t           i, j, k, m, n;

    for (i = 0; i < llm_countof(scalars); i++) {
        pool_add("%s", scalars[i]);
        pool_add("[%s]", scalars[i]);
        pool_add("{\"a\":%s}", scalars[i]);
        pool_add("{\"b\":%s}", scalars[i]);
        pool_add("{\"d\":%s}", scalars[i]);
    }

    for (i = 0; i < llm_countof(objects); i++) {
        pool_add("%s", objects[i]);
        pool_add("[%s]", objects[i]);
        pool_add("[1,%s]", objects[i]);
        pool_add("{\"a\":%s}", objects[i]);
        pool_add("{\"b\":%s,\"a\":1}", objects[i]);
        pool_add("{\"c\":%s,\"a\":null}", objects[i]);
    }

    pool_add("[]");

    for (i = 0; i < llm_countof(few); i++) {
        for (j = 0; j < llm_countof(few); j++) {
            pool_add("[%s,%s]", few[i], few[j]);

            for (k = 0; k < llm_countof(few); k++) {
                pool_add("[%s,%s,%s]", few[i], few[j], few[k]);
            }
        }
    }

    /* Two and three members in every order. */

    for (i = 0; i < 3; i++) {
        for (j = 0; j < 3; j++) {
            for (m = 0; i != j && m < 9; m++) {
                pool_add("{\"%s\":%s,\"%s\":%s}", names[i], few[m / 3],
                         names[j], few[m % 3]);
            }

            for (m = 0; i != j && m < 27; m++) {
                n = 3 - i - j;
                pool_add("{\"%s\":%s,\"%s\":%s,\"%s\":%s}", names[i],
                         few[m / 9], names[j], few[m / 3 % 3], names[n],
                         few[m % 3]);
            }
        }
    }
}


/* 1: exactly the valid ones are accepted; 0; -errno: refused. */
static int
pool_check(const char *name, const char *text, int quiet)
{
    js_validate_options_t how = {.formats = 1};
    const js_value_t     *v;
    js_schema_t          *schema = NULL;
    arena_t               arena;
    gr_t                 *gr = NULL;
    uint32_t              i, wrong;
    int                   rc, want, got;

    rc = compile(text, strlen(text), GR_ORDER_FREE, GR_SPACE_COMPACT, &gr);

    if (rc < 0 && rc != -ENOENT) {
        if (!quiet) {
            diag("%s: %s", name, err);
        }

        return rc;
    }

    if (js_schema_open(text, strlen(text), NULL, &schema, err, sizeof(err))
        < 0) {
        diag("%s: %s", name, err);
        gr_free(gr);
        return 0;
    }

    for (i = 0, wrong = 0; i < n_pool; i++) {
        arena_init(&arena, 0);

        if (js_parse(&arena, pool[i], strlen(pool[i]), NULL, &v, NULL, err,
                     sizeof(err))
            < 0) {
            diag("pool: %s: %s", pool[i], err);
            wrong++;
        }

        want = js_validate(schema, NULL, v, &how, NULL);
        got = gr ? accepts(gr, pool[i], strlen(pool[i])) : 0;
        arena_free(&arena);

        if (want != got && want >= 0) {
            wrong++;

            if (wrong <= (quiet ? 1 : 3)) {
                diag("%s: %s\n#   %s is %s, got %d", name, text, pool[i],
                     want ? "valid" : "invalid", got);
            }
        }
    }

    js_schema_close(schema);
    gr_free(gr);

    return wrong == 0;
}


static void
test_hand(void)
{
    js_schema_t *schema;
    tally_t      tally;
    uint32_t     i;
    int          space;

    for (i = 0; i < llm_countof(hand); i++) {
        ok(pool_check(hand[i].name, hand[i].schema, 0) == 1, "%s",
           hand[i].name);
    }

    memset(&tally, 0, sizeof(tally));

    for (i = 0; i < llm_countof(hand); i++) {
        if (js_schema_open(hand[i].schema, strlen(hand[i].schema), NULL,
                           &schema, err, sizeof(err))
            < 0) {
            continue;
        }

        for (space = GR_SPACE_COMPACT; space <= GR_SPACE_ANY; space++) {
            walks(hand[i].name, str_of(hand[i].schema), schema, 10,
                  space % 2 ? GR_ORDER_FREE : GR_ORDER_DECLARED, space, &tally);
        }

        js_schema_close(schema);
    }

    ok(tally.walks && tally.invalid + tally.dead == 0,
       "walks by hand: %u, %u finished, %u invalid, %u dead ends", tally.walks,
       tally.finished, tally.invalid, tally.dead);
}


/* What the pool has no room for. */
static void
test_texts(void)
{
    static const struct {
        const char *schema, *text;
        int         order, space, want;
    } list[] = {
        {"{\"properties\":{\"a\":{},\"b\":{}}}", "{\"a\":1,\"b\":2,\"z\":3}",
         GR_ORDER_DECLARED, GR_SPACE_COMPACT, 1},
        {"{\"properties\":{\"a\":{},\"b\":{}}}", "{\"b\":1,\"z\":3}",
         GR_ORDER_DECLARED, GR_SPACE_COMPACT, 1},
        {"{\"properties\":{\"a\":{},\"b\":{}}}", "{\"b\":1,\"a\":3}",
         GR_ORDER_DECLARED, GR_SPACE_COMPACT, 0},
        {"{\"properties\":{\"a\":{},\"b\":{}}}", "{\"z\":1,\"b\":3}",
         GR_ORDER_DECLARED, GR_SPACE_COMPACT, 0},
        {"true", "{\"a\":1,\"a\":1}", GR_ORDER_FREE, GR_SPACE_COMPACT, 0},
        {"true", "{\"a\":1,\"\\u0061\":1}", GR_ORDER_FREE, GR_SPACE_COMPACT, 0},
        {"{\"properties\":{\"a\":{}}}", "{\"\\u0061\":1,\"a\":1}",
         GR_ORDER_DECLARED, GR_SPACE_COMPACT, 0},
        {"{\"properties\":{\"a\":{\"type\":\"null\"}}}", "{\"\\u0061\":1}",
         GR_ORDER_DECLARED, GR_SPACE_COMPACT, 0},
        {"true", "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":1}", GR_ORDER_FREE,
         GR_SPACE_COMPACT, 0},
        {"true", "{\"\\\"\":1,\"\\u0022\\\\\":1}", GR_ORDER_FREE,
         GR_SPACE_COMPACT, 1},
        {"true", "{\"a\": [1, 2], \"b\": {}}", GR_ORDER_DECLARED,
         GR_SPACE_SINGLE, 1},
        {"true", "{\"a\":1}", GR_ORDER_DECLARED, GR_SPACE_SINGLE, 0},
        {"true", "{ \"a\" :\n[ 1 ,\t2 ] }", GR_ORDER_DECLARED, GR_SPACE_ANY, 1},
        {"true", "[ ]", GR_ORDER_DECLARED, GR_SPACE_ANY, 1},
        {"true", " []", GR_ORDER_DECLARED, GR_SPACE_ANY, 0},
        {"true", "[] ", GR_ORDER_DECLARED, GR_SPACE_ANY, 0},
        {"{\"items\":{\"type\":\"number\"},\"uniqueItems\":true}", "[1,2,1.00]",
         GR_ORDER_DECLARED, GR_SPACE_COMPACT, 0},
        {"{\"items\":{\"type\":\"number\"},\"uniqueItems\":true}",
         "[1,2,1.001]", GR_ORDER_DECLARED, GR_SPACE_COMPACT, 1},
        {"{\"items\":{\"type\":\"string\"},\"uniqueItems\":true}",
         "[\"a\",\"\\u0061\"]", GR_ORDER_DECLARED, GR_SPACE_COMPACT, 0},
        {"{\"type\":\"array\",\"maxItems\":100000,\"minItems\":3}", "[1,2,3,4]",
         GR_ORDER_DECLARED, GR_SPACE_COMPACT, 1},
    };
    static const char none[] = "{\"type\":\"string\",\"enum\":[1]}";
    gr_t             *gr;
    uint32_t          i;

    for (i = 0; i < llm_countof(list); i++) {
        if (compile(list[i].schema, strlen(list[i].schema), list[i].order,
                    list[i].space, &gr)
            < 0) {
            ok(0, "%s: %s", list[i].schema, err);
            continue;
        }

        is_int(accepts(gr, list[i].text, strlen(list[i].text)), list[i].want,
               "%s: %s", list[i].schema, list[i].text);
        gr_free(gr);
    }

    test_plain();
    is_int(compile(none, strlen(none), 0, 0, &gr), -ENOENT,
           "nothing satisfies: %s", err);
    is_int(compile("{\"type\":", 8, 0, 0, &gr), -EINVAL, "no JSON: %s", err);
}


/* One spelling of what the schema lists, every one of all else. */
static void
test_plain(void)
{
    static const char schema[] =
        "{\"properties\":{\"a\":{\"enum\":[\"x\\n\",\"\\u0001\",\"\u00e9\"]},"
        "\"b\\\"\":{\"type\":\"string\"},\"c\":{\"type\":\"integer\"}},"
        "\"additionalProperties\":false}";
    static const struct {
        const char *text;
        int         want;
    } list[] = {
        {"{\"a\":\"x\\n\"}", 1},        {"{\"a\":\"x\\u000a\"}", 0},
        {"{\"a\":\"\\u0001\"}", 1},     {"{\"a\":\"\u00e9\"}", 1},
        {"{\"a\":\"\\u00e9\"}", 0},     {"{\"\\u0061\":\"\u00e9\"}", 0},
        {"{\"b\\\"\":\"\\u0061\"}", 1}, {"{\"c\":10.0e1}", 1},
    };
    uint32_t i;
    gr_t    *gr;

    plain = 1;

    if (compile(schema, strlen(schema), GR_ORDER_DECLARED, GR_SPACE_COMPACT,
                &gr)
        < 0) {
        ok(0, "plain: %s", err);

    } else {
        for (i = 0; i < llm_countof(list); i++) {
            is_int(accepts(gr, list[i].text, strlen(list[i].text)),
                   list[i].want, "plain: %s", list[i].text);
        }

        gr_free(gr);
    }

    plain = 0;
}


/*
 * RANDOM SCHEMAS
 */

static void
test_random(uint32_t n)
{
    uint32_t i, wrong = 0, refused = 0;
    char     name[32];
    buf_t    text = {0};
    int      rc;

    for (i = 0; i < n; i++) {
        seed = i + 1;
        buf_reset(&text);
        schema_random(&text, 3);
        buf_add(&text, "", 1);
        snprintf(name, sizeof(name), "random %u", i);
        rc = pool_check(name, text.data, 1);
        wrong += rc == 0;
        refused += rc < 0;

        if (rc < 0 && verbose) {
            diag("%s: %s: %s", name, text.data, err);
        }
    }

    buf_free(&text);
    ok(wrong == 0 && refused < n / 2,
       "random schemas: %u, %u wrong, %u refused", n, wrong, refused);
}


static void
schema_random(buf_t *out, int depth)
{
    static const char *leaves[] = {
        "true",
        "{\"type\":\"integer\"}",
        "{\"type\":\"string\"}",
        "{\"type\":\"object\"}",
        "{\"type\":[\"array\",\"null\"]}",
        "{\"enum\":[1,\"a\",null]}",
        "{\"const\":{\"a\":1}}",
        "{\"minimum\":1}",
        "{\"minLength\":1}",
        "{\"required\":[\"a\"]}",
        "{\"required\":[\"b\",\"c\"]}",
        "{\"minProperties\":2}",
        "{\"maxProperties\":1}",
        "{\"minItems\":2}",
        "{\"maxItems\":1}",
        "{\"multipleOf\":0.5}",
        "{\"type\":\"array\",\"items\":{\"type\":[\"number\",\"string\"]},"
        "\"uniqueItems\":true}",
        "{\"dependentRequired\":{\"a\":[\"b\"]}}",
        "{\"propertyNames\":{\"enum\":[\"a\",\"b\"]}}",
        "false",
    };
    static const char *unary[] = {
        "{\"not\":",
        "{\"properties\":{\"a\":",
        "{\"properties\":{\"b\":",
        "{\"additionalProperties\":",
        "{\"items\":",
        "{\"contains\":",
        "{\"prefixItems\":[",
        "{\"patternProperties\":{\"^[bc]$\":",
    };
    static const char *closing[] = {"}", "}}", "}}", "}", "}", "}", "]}", "}}"};
    static const char *binary[] = {"allOf", "anyOf", "oneOf"};
    uint32_t           i, kind = depth ? rnd(10) : 0;

    if (kind < 3) {
        buf_str(out, leaves[rnd(llm_countof(leaves))]);

    } else if (kind < 6) {
        i = rnd(llm_countof(unary));
        buf_str(out, unary[i]);
        schema_random(out, depth - 1);
        buf_str(out, closing[i]);

    } else if (kind < 9) {
        buf_fmt(out, "{\"%s\":[", binary[rnd(3)]);
        schema_random(out, depth - 1);
        buf_str(out, ",");
        schema_random(out, depth - 1);
        buf_str(out, "]}");

    } else {
        buf_str(out, "{\"if\":");
        schema_random(out, depth - 1);
        buf_str(out, ",\"then\":");
        schema_random(out, depth - 1);
        buf_str(out, ",\"properties\":{\"a\":");
        schema_random(out, depth - 1);
        buf_str(out, "},\"unevaluatedProperties\":false}");
    }
}


/*
 * THE BENCH
 */

static void
test_bench(int argc, char **argv, int sample)
{
    struct dirent **list;
    tally_t         t = {0};
    char            path[600];
    size_t          len;
    int             i, n;

    for (i = 1; i < argc; i++) {
        bench_file(argv[i], sample, &t);
    }

    n = argc > 1 ? 0 : scandir(BENCH, &list, NULL, alphasort);

    if (n < 0) {
        ok(1, "JSONSchemaBench # SKIP not there");
        return;
    }

    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), BENCH "/%s", list[i]->d_name);
        len = strlen(path);

        if (len > 9 && strcmp(path + len - 9, ".jsonl.gz") == 0) {
            bench_file(path, sample, &t);
        }

        free(list[i]);
    }

    if (n) {
        free(list);
    }

    diag("%u schemas: %u passing (%u of them unsatisfiable), %u over, %u "
         "under, %u refused, %u failed; %.2f us a byte",
         t.schemas, t.passing, t.unsatisfiable, t.over, t.under, t.refused,
         t.failed, t.bytes ? t.parse_s * 1e6 / (double) t.bytes : 0);
    diag("%u schemas took more than 5 ms to compile", t.slow);
    diag("%u walks: %u finished, %u invalid, %u dead ends, %u too long",
         t.walks, t.finished, t.invalid, t.dead, t.long_walks);

    ok(t.passing * 100 >= t.schemas * 97, "bench: 97 %% pass");
    ok(t.over + t.under + t.failed == 0, "bench: no wrong verdict");
    ok(t.invalid + t.dead == 0, "bench: walks are valid, no dead ends");
}


static void
bench_file(const char *path, int sample, tally_t *tally)
{
    char    command[700], *line = NULL;
    size_t  cap = 0;
    ssize_t len;
    FILE   *f;
    int     i = 0;

    snprintf(command, sizeof(command), "gzip -dc '%s'", path);
    f = popen(command, "r");

    while (f && (len = getline(&line, &cap, f)) > 0) {
        if (i++ % sample == 0) {
            bench_line(line, (size_t) len, tally);
        }
    }

    if (f) {
        pclose(f);
    }

    free(line);
}


static void
bench_line(const char *line, size_t len, tally_t *t)
{
    const js_value_t *v, *tests;
    const char       *id;
    js_schema_t      *schema;
    arena_t           arena;
    buf_t             text = {0};
    gr_t             *gr;
    uint32_t          i, valid = 0;
    uint64_t          from;
    int               rc;

    arena_init(&arena, 0);
    rc = js_parse(&arena, line, len, NULL, &v, NULL, err, sizeof(err));

    if (rc < 0 || (only && strcmp(js_get(v, "id")->s, only) != 0)) {
        arena_free(&arena);
        return;
    }

    id = js_get(v, "id")->s;
    js_print(&text, js_get(v, "schema"));
    tests = js_get(v, "tests");
    t->schemas++;

    for (i = 0; i < tests->n; i++) {
        valid += js_get(&tests->items[i], "valid")->truth;
    }

    from = llm_now_ns();
    rc = compile(text.data, text.len, GR_ORDER_FREE, GR_SPACE_COMPACT, &gr);
    t->slow += llm_now_ns() - from > 5000000;

    if (rc == -ENOENT && valid == 0) {
        t->passing++;
        t->unsatisfiable++;

    } else if (rc < 0) {
        t->refused++;

        if (verbose) {
            diag("%s refused: %d %s", id, rc, err);
        }

    } else {
        t->passing += (uint32_t) bench_tests(gr, id, tests, t);
        gr_free(gr);

        if (js_schema_open(text.data, text.len, NULL, &schema, err, sizeof(err))
            == 0) {
            walks(id, (str_t){text.data, text.len}, schema, 2,
                  GR_ORDER_DECLARED, GR_SPACE_COMPACT, t);
            js_schema_close(schema);
        }
    }

    buf_free(&text);
    arena_free(&arena);
}


/* 1: every verdict is the label's. */
static int
bench_tests(gr_t *gr, const char *id, const js_value_t *tests, tally_t *t)
{
    const js_value_t *test;
    uint32_t          i, over = 0, under = 0, failed = 0;
    uint64_t          from;
    buf_t             text = {0};
    int               rc, valid;

    for (i = 0; i < tests->n; i++) {
        test = &tests->items[i];
        valid = js_get(test, "valid")->truth;
        buf_reset(&text);
        print(&text, js_get(test, "data"));

        from = llm_now_ns();
        rc = accepts(gr, text.data, text.len);
        t->parse_s += (double) (llm_now_ns() - from) / 1e9;
        t->bytes += text.len;

        over += rc == 0 && valid;
        under += rc == 1 && !valid;
        failed += rc < 0;

        if (rc != valid && verbose) {
            diag("%s %u: %d, is %s (%s) at %s: %.300s", id, i, rc,
                 valid ? "valid" : "invalid",
                 js_get(test, "reason") ? js_get(test, "reason")->s : "", err,
                 text.data);
        }
    }

    buf_free(&text);
    t->over += over != 0;
    t->under += under != 0;
    t->failed += failed != 0;

    return over + under + failed == 0;
}


/* As Python's json.dumps(separators=(",", ":"), ensure_ascii=False) does. */
static void
print(buf_t *out, const js_value_t *v)
{
    uint32_t i;

    switch (v->type) {
    case JS_NUMBER:
        print_number(out, v);
        return;

    case JS_ARRAY:
    case JS_OBJECT:
        buf_str(out, v->type == JS_ARRAY ? "[" : "{");

        for (i = 0; i < v->n; i++) {
            buf_str(out, i ? "," : "");

            if (v->type == JS_OBJECT) {
                buf_json(out, v->items[i].key, v->items[i].key_len);
                buf_str(out, ":");
            }

            print(out, &v->items[i]);
        }

        buf_str(out, v->type == JS_ARRAY ? "]" : "}");
        return;

    default:
        js_print(out, v);
    }
}


/* Integers as they are; doubles in the shortest form, repr()'s layout. */
static void
print_number(buf_t *out, const js_value_t *v)
{
    char   text[64], *e;
    double d, back;
    int    digits, exp;

    if (memchr(v->s, '.', v->n) == NULL && memchr(v->s, 'e', v->n) == NULL
        && memchr(v->s, 'E', v->n) == NULL) {
        buf_add(out, v->s, v->n);
        return;
    }

    d = strtod(v->s, NULL);

    for (digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, d);
        back = strtod(text, NULL);

        if (back <= d && back >= d) {
            break;
        }
    }

    e = strchr(text, 'e');
    exp = e ? atoi(e + 1) : 0;

    if (e && (exp < -4 || exp >= 16)) {
        buf_str(out, text);
        return;
    }

    digits = digits - 1 - exp;
    buf_fmt(out, "%.*f", digits > 1 ? digits : 1, d);
}


/*
 * GRAMMARS
 */

static int
compile(const char *text, size_t len, int order, int space, gr_t **gr)
{
    gr_json_options_t options = {.order = order,
                                 .space = space,
                                 .plain = plain};
    const char       *msg;
    gr_node_t         node;
    int               rc;

    err[0] = '\0';
    *gr = NULL;
    rc = gr_new(NULL, gr);

    if (rc < 0) {
        return rc;
    }

    rc = gr_json_schema(*gr, text, len, &options, &node, err, sizeof(err));

    if (rc == 0) {
        rc = gr_finish(*gr, node);

        if (rc < 0 && gr_failed(*gr, &msg) < 0) {
            snprintf(err, sizeof(err), "%s", msg);
        }
    }

    if (rc < 0) {
        gr_free(*gr);
        *gr = NULL;
    }

    return rc;
}


/* 1, 0, -errno; err tells the place. */
static int
accepts(gr_t *gr, const char *text, size_t len)
{
    const char *msg = NULL;
    gr_parse_t *p;
    size_t      i;
    int         rc;

    rc = gr_parse_new(gr, NULL, &p);

    if (rc < 0) {
        return rc;
    }

    for (i = 0, rc = 1; i < len && rc > 0; i++) {
        rc = gr_parse_push(p, (uint8_t) text[i]);
    }

    if (rc > 0) {
        rc = gr_parse_complete(p);
    }

    if (rc < 0) {
        gr_failed(gr, &msg);
    }

    snprintf(err, sizeof(err), "byte %zu %s", i - (i > 0), msg ? msg : "");
    gr_parse_free(p);

    return rc;
}


/*
 * WALKS
 */

static void
walks(const char *id, str_t text, const js_schema_t *schema, int n, int order,
      int space, tally_t *t)
{
    js_validate_options_t how = {.formats = 1};
    js_limits_t           limits = {.duplicates = JS_DUPLICATE_ERROR};
    const js_value_t     *v;
    js_result_t           result = {.reason = ""};
    arena_t               arena;
    gr_t                 *gr;
    buf_t                 out = {0};
    int                   i, rc;

    plain = space == GR_SPACE_COMPACT;
    rc = compile(text.s, text.len, order, space, &gr);
    plain = 0;

    if (rc < 0) {
        return;
    }

    for (i = 0; i < n; i++) {
        t->walks++;
        seed = (uint64_t) i + 77;
        buf_reset(&out);
        rc = walk(gr, &out);

        if (rc == -E2BIG) {
            t->long_walks++;
            continue;
        }

        if (rc < 0) {
            diag("%s: %d after %zu bytes: %.*s", id, rc, out.len,
                 (int) (out.len < 500 ? out.len : 500), out.data);
            t->dead++;
            continue;
        }

        t->finished++;
        arena_init(&arena, 0);
        rc = js_parse(&arena, out.data, out.len, &limits, &v, NULL, err,
                      sizeof(err));

        if (rc == 0) {
            rc = js_validate(schema, NULL, v, &how, &result);
        }

        if (rc == -E2BIG) {
            t->long_walks++; /* such as 1e99999 */

        } else if (rc != 1) {
            t->invalid++;
            diag("%s: %d %s %s %s: %.*s", id, rc, rc < 0 ? err : "",
                 result.instance, result.keyword,
                 (int) (out.len < 500 ? out.len : 500), out.data);
        }

        arena_free(&arena);
    }

    buf_free(&out);
    gr_free(gr);
}


/* 0: out is a whole text; -EDOM: a dead end; -E2BIG: too long. */
static int
walk(gr_t *gr, buf_t *out)
{
    gr_parse_t *p;
    uint8_t     byte = 0;
    int         rc;

    rc = gr_parse_new(gr, NULL, &p);

    while (rc >= 0) {
        if (gr_parse_complete(p)
            && (out->len >= WALK_SOFT || rnd(4) == 0 || byte == '}'
                || byte == ']' || byte == '"')) {
            break;
        }

        rc = walk_byte(gr, p, out->len, &byte);

        if (rc == 0 && gr_parse_complete(p)) {
            break;
        }

        if (rc > 0) {
            rc = gr_parse_push(p, byte);
            buf_add(out, &byte, 1);
        }

        rc = rc == 0 ? -EDOM : out->len >= WALK_BYTES ? -E2BIG : rc;
    }

    gr_parse_free(p);

    return rc < 0 ? rc : 0;
}


/* Some byte that may come; 0: none. */
static int
walk_byte(gr_t *gr, gr_parse_t *p, size_t len, uint8_t *byte)
{
    static const char  hurry[] = "}]\"\\:";
    const gr_thread_t *threads;
    uint64_t           bits[4], all[4] = {0};
    uint32_t           i, k, n, weight, total = 0;
    const char        *at;
    int                rc;

    n = gr_parse_threads(p, &threads);

    for (i = 0; i < n; i++) {
        rc = re_dfa_allowed(gr_dfa(gr), threads[i].lexer, bits);

        if (rc < 0) {
            return rc;
        }

        for (k = 0; k < 4; k++) {
            all[k] |= bits[k];
        }
    }

    /* Closers first, then whatever is plain, nesting last. */

    for (k = 0; k < 256; k++) {
        if (!(all[k / 64] >> (k % 64) & 1)) {
            continue;
        }

        at = k ? strchr(hurry, (int) k) : NULL;
        weight = at && k != '\\' ? 60 : k >= 0x80 || k == '\\' ? 1 : 4;

        if (k == ',') {
            weight = 20;
        }

        if (len > WALK_SOFT) {
            weight = at && k != '\\'                    ? 4000
                     : k == '{' || k == '[' || k == ',' ? 1
                                                        : 40;
        }

        total += weight;

        if (rnd(total) < weight) {
            *byte = (uint8_t) k;
        }
    }

    return total != 0;
}
