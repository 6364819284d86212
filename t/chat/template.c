/*
 * Chat templates against jinja2: our own small ones in cases/, which hold
 * the text that jinja2 gave, and the published ones under ../shared, by
 * length and hash (goldens.json).  Where jinja2 raised, we must refuse.
 *
 * With two arguments, FILE and VARS.json, it prints one rendering instead.
 */

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "engine/chat/template.h"
#include "t/lib/tap.h"

#define TEMPLATES "../shared/data/chat-templates"
#define CLOCK     1768480496 /* 2026-01-15 12:34:56 UTC */

static const char *const trusted[] = {"bos_token", "eos_token", NULL};


static char *
file_read(const char *path, size_t *len)
{
    long  n;
    char *text;
    FILE *f = fopen(path, "rb");

    if (f == NULL) {
        return NULL;
    }

    fseek(f, 0, SEEK_END);
    n = ftell(f);
    rewind(f);
    text = malloc((size_t) n + 1);
    *len = fread(text, 1, (size_t) n, f);
    text[*len] = 0;
    fclose(f);

    return text;
}


static json_t *
json_read(const char *path)
{
    json_error_t e;
    json_t      *json = json_load_file(path, JSON_ALLOW_NUL, &e);

    if (json == NULL && access(path, R_OK) == 0) {
        diag("%s: %s", path, e.text);
    }

    return json;
}


static int
render(const char *src, size_t len, json_t *vars, chat_text_t *out, char *err,
       size_t err_size)
{
    int              rc;
    chat_limits_t    limits = {.now = CLOCK, .trusted_vars = trusted};
    chat_template_t *tpl;

    memset(out, 0, sizeof(*out));
    rc = chat_template_compile(src, len, &tpl, err, err_size);
    if (rc) {
        return rc;
    }

    rc = chat_template_render(tpl, vars, &limits, out, err, err_size);
    chat_template_free(tpl);

    return rc;
}


/* Our refusal fits jinja2's error; without an end, it is a limit. */

static bool
refused(int rc, const char *error)
{
    return rc == -EINVAL || rc == -EBADMSG
           || (rc == -E2BIG && strstr(error, "RecursionError"));
}


static void
case_run(const char *name)
{
    int         rc;
    char        path[512], err[300], *src, *want;
    size_t      len, want_len = 0;
    json_t     *vars;
    chat_text_t out;

    snprintf(path, sizeof(path), "t/chat/cases/%s.jinja", name);
    src = file_read(path, &len);
    snprintf(path, sizeof(path), "t/chat/cases/%s.json", name);
    vars = json_read(path);
    vars = vars ? vars : json_object();
    rc = render(src, len, vars, &out, err, sizeof(err));
    snprintf(path, sizeof(path), "t/chat/cases/%s.out", name);
    want = file_read(path, &want_len);

    if (want == NULL) {
        snprintf(path, sizeof(path), "t/chat/cases/%s.err", name);
        want = file_read(path, &want_len);
        ok(want && refused(rc, want), "%s: refused (%s)", name, err);

    } else if (!ok(rc == 0 && out.len == want_len
                       && memcmp(out.text, want, want_len) == 0,
                   "%s", name)) {
        diag("rc %d %s\n--- got\n%s\n--- want\n%s", rc, rc ? err : "",
             out.text ? out.text : "", want);
    }

    chat_text_free(&out);
    json_decref(vars);
    free(src);
    free(want);
}


static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}


static void
cases_run(void)
{
    int            i, n = 0;
    DIR           *dir = opendir("t/chat/cases");
    char          *names[1000], *dot;
    struct dirent *e;

    while (dir && (e = readdir(dir)) && n < 1000) {
        dot = strstr(e->d_name, ".jinja");
        if (dot && dot[6] == 0) {
            names[n++] = strndup(e->d_name, (size_t) (dot - e->d_name));
        }
    }

    if (dir) {
        closedir(dir);
    }

    qsort(names, (size_t) n, sizeof(names[0]), by_name);

    for (i = 0; i < n; i++) {
        case_run(names[i]);
        free(names[i]);
    }

    ok(n > 30, "%d cases", n);
}


static unsigned long long
fnv1a(const char *p, size_t len)
{
    unsigned long long h = 0xcbf29ce484222325ULL;

    for (; len; p++, len--) {
        h = (h ^ (unsigned char) *p) * 0x100000001b3ULL;
    }

    return h;
}


/* The template inside the default model's file: key, type 8, length, text. */

static char *
default_template(size_t *len)
{
    static const char key[] = "tokenizer.chat_template";

    char        path[PATH_MAX], *file, *at, *src = NULL;
    size_t      n = 0;
    FILE       *f;
    uint64_t    size;
    const char *dir = getenv("NGX_LLM_CACHE"), *home = getenv("HOME");

    snprintf(path, sizeof(path), "%s%s/SmolLM2-135M-Instruct.Q4_1.gguf",
             dir    ? dir
             : home ? home
                    : "",
             dir ? "" : "/.cache/ngx-llm");
    f = fopen(path, "rb");
    if (f == NULL) {
        return NULL;
    }

    file = malloc(8 << 20);
    n = fread(file, 1, 8 << 20, f);
    fclose(f);
    at = memmem(file, n, key, sizeof(key) - 1);

    if (at && (size_t) (at - file) + sizeof(key) + 11 < n) {
        at += sizeof(key) - 1 + 4;
        memcpy(&size, at, sizeof(size));
        if (size < n - (size_t) (at + 8 - file)) {
            src = malloc(size + 1);
            memcpy(src, at + 8, size);
            *len = size;
        }
    }

    free(file);

    return src;
}


static void
golden_run(const char *name, const char *src, size_t len, json_t *rows,
           json_t *convs)
{
    int         rc, bad = 0, n = 0;
    bool        same;
    char        err[300], hash[20];
    json_t     *row;
    const char *conv;
    chat_text_t out;

    json_object_foreach(rows, conv, row)
    {
        rc = render(src, len, json_object_get(convs, conv), &out, err,
                    sizeof(err));
        snprintf(hash, sizeof(hash), "%016llx",
                 rc ? 0 : fnv1a(out.text, out.len));
        same =
            json_is_string(row)
                ? refused(rc, json_string_value(row))
                : rc == 0
                      && json_integer_value(json_array_get(row, 0))
                             == (json_int_t) out.len
                      && strcmp(json_string_value(json_array_get(row, 1)), hash)
                             == 0;
        n++;

        if (!same) {
            bad++;
            diag("%s %s: %s, jinja2: %s %lld", name, conv,
                 rc ? err : "other text",
                 json_is_string(row) ? json_string_value(row) : "length",
                 json_integer_value(json_array_get(row, 0)));
            if (rc == 0) {
                diag("our length is %zu", out.len);
            }
        }

        chat_text_free(&out);
    }

    ok(bad == 0, "%s: %d of %d as jinja2 has them", name, n - bad, n);
}


static void
goldens_run(void)
{
    char        path[512], *src;
    size_t      len;
    json_t     *goldens = json_read("t/chat/goldens.json"), *rows;
    json_t     *convs = json_read("t/chat/conversations.json");
    const char *name;

    ok(goldens && convs, "goldens are there");

    json_object_foreach(goldens, name, rows)
    {
        snprintf(path, sizeof(path), TEMPLATES "/%s.jinja", name);
        src = strcmp(name, "default") ? file_read(path, &len)
                                      : default_template(&len);
        if (src == NULL) {
            ok(1, "%s # SKIP the template is not here", name);
            continue;
        }

        golden_run(name, src, len, rows, convs);
        free(src);
    }

    json_decref(goldens);
    json_decref(convs);
}


static int
print_one(const char *file, const char *vars_file)
{
    int         rc;
    char        err[300], *src;
    size_t      len;
    json_t     *vars = json_read(vars_file);
    chat_text_t out;

    src = strcmp(file, "default") ? file_read(file, &len)
                                  : default_template(&len);
    if (src == NULL || vars == NULL) {
        return 2;
    }

    rc = render(src, len, vars, &out, err, sizeof(err));
    printf("%s", rc ? err : out.text);
    chat_text_free(&out);
    json_decref(vars);
    free(src);

    return rc ? 1 : 0;
}


int
main(int argc, char **argv)
{
    setenv("TZ", "UTC", 1);
    tzset();

    if (argc == 3) {
        return print_one(argv[1], argv[2]);
    }

    cases_run();
    goldens_run();

    return tap_done();
}
