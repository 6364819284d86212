/*
 * The validator of JSON Schema against the official Test Suite with its
 * optional formats, and all of JSONSchemaBench's schemas with labelled
 * instances.  Both are skipped where their files are not.
 *
 * JS_VERBOSE=1 names every verdict that is not the label's.
 */

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include "engine/grammar/js_validate.h"
#include "t/lib/tap.h"

#define SUITE "../shared/data/json-schema-test-suite"
#define BENCH "../shared/data/jsonschemabench"

#define MAX_REMOTES 128
#define LARGEST     (8u << 20)

typedef struct {
    uint32_t right;
    uint32_t wrong;
    uint32_t refused;
} tally_t;

static void  test_suite(void);
static void  suite_remotes(const char *dir, const char *uri);
static void  suite_folder(const char *dir, uint32_t draft, int formats,
                          tally_t *tally);
static void  suite_group(const js_value_t *group, const char *file,
                         uint32_t draft, int formats, tally_t *tally);
static void  test_bench(void);
static void  bench_file(const char *path, tally_t *tally, uint32_t *schemas);
static void  bench_line(const char *line, size_t len, tally_t *tally);
static char *file_read(const char *path, size_t *len);

static js_remote_t remotes[MAX_REMOTES];
static uint32_t    n_remotes;
static int         verbose;
static char        err[512];


int
main(void)
{
    verbose = getenv("JS_VERBOSE") != NULL;

    test_suite();
    test_bench();

    return tap_done();
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
test_suite(void)
{
    static const struct {
        const char *name;
        uint32_t    draft;
    } drafts[] = {{"draft7", JS_DRAFT_7},
                  {"draft2019-09", JS_DRAFT_2019},
                  {"draft2020-12", JS_DRAFT_2020}};
    struct stat st;
    tally_t     tally;
    char        dir[256];
    size_t      i;

    if (stat(SUITE "/tests", &st) != 0) {
        ok(1, "JSON Schema Test Suite # SKIP not there");
        return;
    }

    suite_remotes(SUITE "/remotes", "http://localhost:1234");

    for (i = 0; i < llm_countof(drafts); i++) {
        tally = (tally_t){0};
        snprintf(dir, sizeof(dir), SUITE "/tests/%s", drafts[i].name);
        suite_folder(dir, drafts[i].draft, 0, &tally);
        ok(tally.wrong == 0 && tally.refused == 0 && tally.right > 900,
           "%s: %u right, %u wrong, %u refused", drafts[i].name, tally.right,
           tally.wrong, tally.refused);

        tally = (tally_t){0};
        snprintf(dir, sizeof(dir), SUITE "/tests/%s/optional/format",
                 drafts[i].name);
        suite_folder(dir, drafts[i].draft, 1, &tally);
        ok(tally.wrong == 0 && tally.refused == 0 && tally.right > 600,
           "%s formats: %u right, %u wrong, %u refused", drafts[i].name,
           tally.right, tally.wrong, tally.refused);
    }

    for (i = 0; i < n_remotes; i++) {
        free((char *) remotes[i].uri.s);
        free((char *) remotes[i].text.s);
    }

    n_remotes = 0;
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


static void
suite_folder(const char *dir, uint32_t draft, int formats, tally_t *tally)
{
    struct dirent   **list;
    const js_value_t *v;
    arena_t           arena;
    char              path[512], *text;
    size_t            len;
    uint32_t          g;
    int               i, n;

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
                < 0) {
                diag("%s: %s", path, err);
                tally->wrong++;

            } else {
                for (g = 0; g < v->n; g++) {
                    suite_group(&v->items[g], list[i]->d_name, draft, formats,
                                tally);
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
suite_group(const js_value_t *group, const char *file, uint32_t draft,
            int formats, tally_t *tally)
{
    js_schema_options_t   options = {.draft = draft};
    js_validate_options_t how = {.formats = formats};
    const js_value_t     *tests = js_get(group, "tests"), *test;
    js_schema_t          *schema;
    js_result_t           result;
    buf_t                 text = {0};
    uint32_t              i;
    int                   rc;

    options.remotes = remotes;
    options.n_remotes = n_remotes;
    js_print(&text, js_get(group, "schema"));
    rc = js_schema_open(text.data, text.len, &options, &schema, err,
                        sizeof(err));

    if (rc < 0) {
        diag("%s: %s: refused: %s", file, js_get(group, "description")->s, err);
        tally->refused += tests->n;
        buf_free(&text);
        return;
    }

    for (i = 0; i < tests->n; i++) {
        test = &tests->items[i];
        rc = js_validate(schema, NULL, js_get(test, "data"), &how, &result);

        if (rc == js_get(test, "valid")->truth) {
            tally->right++;
            continue;
        }

        tally->wrong++;

        if (!formats || verbose) {
            diag("%s: %s: %s: %d %s %s", file, js_get(group, "description")->s,
                 js_get(test, "description")->s, rc, result.keyword,
                 result.reason);
        }
    }

    js_schema_close(schema);
    buf_free(&text);
}


static void
test_bench(void)
{
    struct dirent **list;
    char            path[512];
    tally_t         tally = {0};
    uint32_t        schemas = 0;
    size_t          len;
    int             i, n;

    n = scandir(BENCH, &list, NULL, alphasort);

    if (n < 0) {
        ok(1, "JSONSchemaBench # SKIP not there");
        return;
    }

    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), BENCH "/%s", list[i]->d_name);
        len = strlen(path);

        if (len > 9 && strcmp(path + len - 9, ".jsonl.gz") == 0) {
            bench_file(path, &tally, &schemas);
        }

        free(list[i]);
    }

    free(list);
    ok(tally.right > 500 && tally.wrong == 0 && tally.refused == 0,
       "bench: %u schemas, %u instances right, %u wrong; %u schemas refused",
       schemas, tally.right, tally.wrong, tally.refused);
}


static void
bench_file(const char *path, tally_t *tally, uint32_t *schemas)
{
    char    command[600], *line = NULL;
    size_t  cap = 0;
    ssize_t len;
    FILE   *f;

    snprintf(command, sizeof(command), "gzip -dc '%s'", path);
    f = popen(command, "r");

    while (f && (len = getline(&line, &cap, f)) > 0) {
        (*schemas)++;
        bench_line(line, (size_t) len, tally);
    }

    if (f) {
        pclose(f);
    }

    free(line);
}


static void
bench_line(const char *line, size_t len, tally_t *tally)
{
    js_validate_options_t how = {.formats = 1};
    const js_value_t     *v, *tests, *test;
    js_schema_t          *schema;
    js_result_t           result;
    arena_t               arena;
    buf_t                 text = {0};
    uint32_t              i;
    int                   rc;

    arena_init(&arena, 0);
    rc = js_parse(&arena, line, len, NULL, &v, NULL, err, sizeof(err));

    if (rc < 0) {
        diag("%.60s: %s", line, err);
        tally->wrong++;
        arena_free(&arena);
        return;
    }

    js_print(&text, js_get(v, "schema"));
    rc = js_schema_open(text.data, text.len, NULL, &schema, err, sizeof(err));
    buf_free(&text);

    if (rc < 0) {
        diag("%s refused: %s", js_get(v, "id")->s, err);
        tally->refused++;
        arena_free(&arena);
        return;
    }

    tests = js_get(v, "tests");

    for (i = 0; i < tests->n; i++) {
        test = &tests->items[i];
        rc = js_validate(schema, NULL, js_get(test, "data"), &how, &result);

        if (rc == js_get(test, "valid")->truth) {
            tally->right++;
            continue;
        }

        tally->wrong++;

        if (verbose) {
            diag("%s %u: %d, %s %s %s; label: %s", js_get(v, "id")->s, i, rc,
                 result.instance, result.keyword, result.reason,
                 js_get(test, "reason") ? js_get(test, "reason")->s : "valid");
        }
    }

    js_schema_close(schema);
    arena_free(&arena);
}
