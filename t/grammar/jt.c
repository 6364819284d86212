/*
 * Types of JSON Schemas against the validator: a value is in a form exactly
 * if it is valid.  Small schemas with small values; the official Test Suite
 * and JSONSchemaBench where they are there.
 *
 * JT_VERBOSE=1 names refusals, and what is slow.
 */

#include <dirent.h>
#include <sys/stat.h>
#include "t/grammar/jt_model.h"

#define SUITE "../shared/data/json-schema-test-suite"
#define BENCH "../shared/data/jsonschemabench"

#define MAX_REMOTES 128
#define LARGEST     (8u << 20)

static js_remote_t remotes[MAX_REMOTES];
static uint32_t    n_remotes;
static int         verbose;
static struct {
    char     what[64];
    uint32_t n;
} why[200];
static uint32_t n_why;


static void
why_count(const char *reason)
{
    uint32_t    i;
    const char *at = strstr(reason, ": ");
    char        key[64];
    const char *slash, *end = at ? at : reason;

    for (slash = end; slash > reason && *slash != '/'; slash--) { /* void */
    }

    snprintf(key, sizeof(key), "%.*s%.40s",
             (int) (end - slash > 20 ? 20 : end - slash), slash,
             at ? at : reason);

    for (i = 0; i < n_why; i++) {
        if (strcmp(why[i].what, key) == 0) {
            why[i].n++;
            return;
        }
    }

    if (n_why < 200) {
        snprintf(why[n_why].what, sizeof(why[0].what), "%s", key);
        why[n_why++].n = 1;
    }
}


static void
why_tell(void)
{
    uint32_t i;

    for (i = 0; i < n_why; i++) {
        diag("refused %u: %s", why[i].n, why[i].what);
    }

    n_why = 0;
}


static double
now_us(void)
{
    return (double) llm_now_ns() / 1000.0;
}


static int
by_size(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return (x > y) - (x < y);
}


static void
tally_tell(const char *what)
{
    double  *t = tally.times;
    uint32_t n = tally.n_times;

    qsort(t, n, sizeof(double), by_size);
    diag("%s: %u schemas, %u refused; %u agree, %u disagree, %u weaker by "
         "exponents, %u stuck",
         what, tally.schemas, tally.refused, tally.agree, tally.disagree,
         tally.weaker, tally.stuck);

    if (n) {
        diag("%s: all types p50 %.0f us, p90 %.0f, p99 %.0f, max %.0f", what,
             t[n / 2], t[n * 9 / 10], t[n * 99 / 100], t[n - 1]);
    }

    why_tell();
}


static char *
file_read(const char *path, size_t *len)
{
    char  *text = malloc(LARGEST);
    FILE  *f = fopen(path, "rb");
    size_t n;

    if (f == NULL) {
        free(text);
        return NULL;
    }

    n = fread(text, 1, LARGEST - 1, f);
    fclose(f);
    text[n] = '\0';
    *len = n;

    return realloc(text, n + 1);
}


static void
suite_remotes(const char *dir, const char *uri)
{
    struct dirent **list;
    char            path[512], name[512], *text;
    size_t          len;
    int             i, n;

    n = scandir(dir, &list, NULL, alphasort);

    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
        snprintf(name, sizeof(name), "%s/%s", uri, list[i]->d_name);
        len = strlen(path);

        if (len > 5 && strcmp(path + len - 5, ".json") == 0) {
            text = file_read(path, &len);

            if (text && n_remotes < MAX_REMOTES) {
                remotes[n_remotes].uri = str_of(strdup(name));
                remotes[n_remotes++].text = (str_t){text, len};
            }

        } else if (list[i]->d_name[0] != '.') {
            suite_remotes(path, name);
        }

        free(list[i]);
    }

    if (n >= 0) {
        free(list);
    }
}


/* One schema with its instances. */
static void
check_schema(const js_value_t *schema, const js_value_t *tests,
             const js_schema_options_t *options, int formats, const char *where)
{
    model_t  m;
    buf_t    text = {0};
    uint32_t i;
    double   start, took;
    int      rc;

    js_print(&text, schema);
    tally.schemas++;
    start = now_us();
    rc = model_open(&m, text.data, text.len, options, formats);
    took = now_us() - start;

    if (tally.n_times < MAX_TIMES) {
        tally.times[tally.n_times++] = took;
    }

    if (verbose && took > 20000) {
        diag("%s: %.0f us, %zu bytes, %u types", where, took, text.len,
             m.n_types);
    }

    if (rc < 0) {
        tally.refused++;
        why_count(err);

        if (verbose) {
            diag("%s: refused %d: %s", where, rc, err);
        }
    }

    for (i = 0; rc == 0 && i < tests->n; i++) {
        model_check(&m, js_get(&tests->items[i], "data"), formats, where);
    }

    model_close(&m);
    buf_free(&text);
}


static void
suite_folder(const char *dir, uint32_t draft, int formats)
{
    js_schema_options_t options = {.draft = draft};
    struct dirent     **list;
    const js_value_t   *v;
    arena_t             arena;
    char                path[512], where[512], *text;
    size_t              len;
    uint32_t            g;
    int                 i, n;

    options.remotes = remotes;
    options.n_remotes = n_remotes;
    n = scandir(dir, &list, NULL, alphasort);

    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
        len = strlen(path);
        text = NULL;

        if (len > 5 && strcmp(path + len - 5, ".json") == 0) {
            text = file_read(path, &len);
        }

        if (text) {
            arena_init(&arena, 0);

            if (js_parse(&arena, text, len, NULL, &v, NULL, err, sizeof(err))
                == 0) {
                for (g = 0; g < v->n; g++) {
                    snprintf(where, sizeof(where), "%s: %s", list[i]->d_name,
                             js_get(&v->items[g], "description")->s);
                    check_schema(js_get(&v->items[g], "schema"),
                                 js_get(&v->items[g], "tests"), &options,
                                 formats, where);
                }
            }

            arena_free(&arena);
            free(text);
        }

        free(list[i]);
    }

    if (n >= 0) {
        free(list);
    }
}


static void
test_suite(void)
{
    static const struct {
        const char *name;
        uint32_t    draft;
    } drafts[] = {{"draft7", JS_DRAFT_7},
                  {"draft2019-09", JS_DRAFT_2019},
                  {"draft2020-12", JS_DRAFT_2020}};
    struct stat st;
    char        dir[256];
    size_t      i;

    if (stat(SUITE "/tests", &st) != 0) {
        ok(1, "JSON Schema Test Suite # SKIP not there");
        return;
    }

    suite_remotes(SUITE "/remotes", "http://localhost:1234");

    for (i = 0; i < llm_countof(drafts); i++) {
        memset(&tally, 0, sizeof(tally));
        snprintf(dir, sizeof(dir), SUITE "/tests/%s", drafts[i].name);
        suite_folder(dir, drafts[i].draft, 0);
        tally_tell(drafts[i].name);
        ok(tally.disagree == 0 && tally.stuck == 0
               && tally.refused * 100 < tally.schemas * 8,
           "%s: %u schemas, %u refused, %u instances agree, %u do not",
           drafts[i].name, tally.schemas, tally.refused, tally.agree,
           tally.disagree);

        memset(&tally, 0, sizeof(tally));
        snprintf(dir, sizeof(dir), SUITE "/tests/%s/optional/format",
                 drafts[i].name);
        suite_folder(dir, drafts[i].draft, 1);
        tally_tell("formats");
        ok(tally.disagree == 0 && tally.stuck == 0,
           "%s formats: %u schemas, %u refused, %u agree, %u do not",
           drafts[i].name, tally.schemas, tally.refused, tally.agree,
           tally.disagree);
    }

    for (i = 0; i < n_remotes; i++) {
        free((char *) remotes[i].uri.s);
        free((char *) remotes[i].text.s);
    }

    n_remotes = 0;
}


static void
bench_file(const char *path, uint32_t every)
{
    char              command[600], *line = NULL;
    size_t            cap = 0;
    ssize_t           len;
    FILE             *f;
    arena_t           arena;
    const js_value_t *v;
    uint32_t          n = 0;

    snprintf(command, sizeof(command), "gzip -dcf '%s'", path);
    f = popen(command, "r");

    while (f && (len = getline(&line, &cap, f)) > 0) {
        if (n++ % every) {
            continue;
        }

        arena_init(&arena, 0);

        if (js_parse(&arena, line, (size_t) len, NULL, &v, NULL, err,
                     sizeof(err))
            == 0) {
            check_schema(js_get(v, "schema"), js_get(v, "tests"), NULL, 1,
                         js_get(v, "id")->s);
        }

        arena_free(&arena);
    }

    if (f) {
        pclose(f);
    }

    free(line);
}


static void
test_bench(uint32_t every, const char *only)
{
    struct dirent **list;
    char            path[512];
    size_t          len;
    int             i, n;

    memset(&tally, 0, sizeof(tally));
    n = scandir(BENCH, &list, NULL, alphasort);

    if (n < 0) {
        ok(1, "JSONSchemaBench # SKIP not there");
        return;
    }

    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), BENCH "/%s", list[i]->d_name);
        len = strlen(path);

        if (len > 9 && strcmp(path + len - 9, ".jsonl.gz") == 0
            && (only == NULL || strstr(path, only))) {
            bench_file(path, every);
        }

        free(list[i]);
    }

    free(list);
    tally_tell("bench");
    ok(tally.disagree == 0 && tally.stuck == 0
           && tally.refused * 50 < tally.schemas,
       "bench: %u schemas, %u refused, %u instances agree, %u do not",
       tally.schemas, tally.refused, tally.agree, tally.disagree);
}


/* What does not show in whether a value is in a type. */
static void
test_forms(void)
{
    static const char order[] =
        "{\"$ref\":\"#/$defs/a\",\"type\":\"object\",\"required\":[\"z\"],"
        "\"properties\":{\"b\":{},\"a\":false},"
        "\"$defs\":{\"a\":{\"properties\":{\"c\":true}}}}";
    static const char endless[] = "{\"type\":\"object\",\"required\":[\"a\"],"
                                  "\"properties\":{\"a\":{\"$ref\":\"#\"}}}";
    static const char twice[] =
        "{\"properties\":{\"k\":{\"type\":\"array\",\"uniqueItems\":true}}}";
    static const char few[] = "{\"enum\":[1,1.0,\"a\",null,true,\"a\"]}";
    static const char many[] = "{\"type\":\"string\",\"maxLength\":1}";
    const jt_form_t  *form;
    model_t           m;
    uint32_t          n;

    ok(model_open(&m, order, sizeof(order) - 1, NULL, 1) == 0
           && jt_form(m.jt, m.type, &form) == 0 && form->n_objects == 1
           && form->objects[0].n_members == 4,
       "members of a schema, of its parts, and required ones");
    is_str(form->objects[0].members[0].name.s, "b", "its own first");
    is_str(form->objects[0].members[2].name.s, "c", "then those of its $ref");
    is_str(form->objects[0].members[3].name.s, "z", "then required ones");
    is_int(form->objects[0].members[1].type, JT_NOTHING, "false: never");
    model_close(&m);

    ok(model_open(&m, endless, sizeof(endless) - 1, NULL, 1) == 0
           && jt_empty(m.jt, m.type) == 1,
       "an object that needs one of its own kind is empty");
    model_close(&m);

    ok(model_open(&m, twice, sizeof(twice) - 1, NULL, 1) == -ENOTSUP,
       "uniqueItems over anything is refused");
    ok(strncmp(err, "#/properties/k/uniqueItems: ", 28) == 0, "by name: %s",
       err);
    model_close(&m);

    ok(model_open(&m, few, sizeof(few) - 1, NULL, 1) == 0
           && jt_count(m.jt, m.type, 100, &n) == 0 && n == 4,
       "four values");
    model_close(&m);

    ok(model_open(&m, many, sizeof(many) - 1, NULL, 1) == 0
           && jt_count(m.jt, m.type, 5000, &n) == 0 && n == 5000,
       "values are counted up to a limit");
    model_close(&m);
}


int
main(int argc, char **argv)
{
    verbose = getenv("JT_VERBOSE") != NULL;

    if (argc > 2 && strcmp(argv[1], "file") == 0) {
        bench_file(argv[2], 1);
        tally_tell(argv[2]);
        return tap_done();
    }

    if (argc > 1 && strcmp(argv[1], "bench") == 0) {
        test_bench(1, argc > 2 ? argv[2] : NULL);
        return tap_done();
    }

    test_forms();
    test_suite();
    test_bench(8, NULL);

    return tap_done();
}
