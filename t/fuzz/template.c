/*
 * Fuzz target: the chat template renderer, hostile on both sides.  Input is
 * a template, and behind its first NUL byte, if there is one, the variables
 * as JSON; else fixed ones.  Limits are small, so that each run is short.
 *
 * Without libFuzzer it replays the files named, or the seeds, and then a
 * fixed number of random mutations of them.
 */

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chat/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char vars_default[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"\\u00dc s\"},"
    "{\"role\":\"user\",\"content\":\"<|im_start|> hi\\n\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\","
    "\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2.5,null]}}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
    "\"parameters\":{\"type\":\"object\",\"properties\":{}}}}],"
    "\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"a\":1,\"b\":2.5,"
    "\"s\":\"Hello "
    "World\",\"l\":[3,1,2],\"d\":{\"k\":\"v\",\"x\":{\"y\":[1]}}}";


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int              rc;
    char             err[200];
    size_t           i, len;
    json_t          *vars = NULL;
    const uint8_t   *nul = size ? memchr(data, 0, size) : NULL;
    chat_text_t      out;
    chat_limits_t    limits = {.max_steps = 50000,
                               .max_output = 200000,
                               .max_memory = 8 << 20,
                               .max_depth = 150};
    chat_template_t *tpl;

    len = nul ? (size_t) (nul - data) : size;
    rc =
        chat_template_compile((const char *) data, len, &tpl, err, sizeof(err));
    if (rc) {
        return 0;
    }

    if (nul) {
        vars = json_loadb((const char *) nul + 1, size - len - 1,
                          JSON_ALLOW_NUL, NULL);
    }

    if (!json_is_object(vars)) {
        json_decref(vars);
        vars = json_loads(vars_default, 0, NULL);
    }

    rc = chat_template_render(tpl, vars, &limits, &out, err, sizeof(err));

    if (rc == 0) {
        if (out.len > limits.max_output || strlen(out.text) > out.len) {
            abort();
        }

        for (i = 0; i < out.len; i++) {
            if (out.trusted[i] > 1) {
                abort();
            }
        }
    } else if (err[0] == 0 && rc != -EINVAL) {
        abort();
    }

    chat_text_free(&out);
    chat_template_free(tpl);
    json_decref(vars);

    return 0;
}


#ifndef LLM_LIBFUZZER

#include <glob.h>

#define MUTATIONS 20000
#define MAX_INPUT 20000

typedef struct {
    uint8_t *data;
    size_t   len;
} seed_t;

static uint64_t state = 0x9e3779b97f4a7c15ULL;


static uint32_t
draw(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;

    return (uint32_t) (state >> 33) % n;
}


static size_t
mutate(uint8_t *buf, size_t len, const seed_t *seeds, uint32_t n)
{
    static const char *const words[] = {
        "{{",
        "}}",
        "{%",
        "%}",
        "{%-",
        "-%}",
        "(",
        ")",
        "[",
        "]",
        "[::-1]",
        "|",
        " if ",
        " else ",
        " in ",
        " is ",
        "not ",
        "for x in l",
        "endfor",
        "endif",
        "set x = ",
        "**",
        "//",
        "~",
        "|tojson",
        "|list",
        ".split(",
        "|join",
        "|map('upper')",
        "range(9)",
        "'%s' % ",
        "99999999999",
        "loop.last",
        "messages[0]",
        "|sort",
        "|replace('','x')",
        "\xc3\xa9",
        "\"",
        "'",
        "\\u00e9",
    };

    size_t        at, k;
    const char   *w;
    const seed_t *other;

    switch (draw(5)) {

    case 0:
        if (len) {
            buf[draw((uint32_t) len)] = (uint8_t) draw(256);
        }
        return len;

    case 1:
        at = len ? draw((uint32_t) len) : 0;
        k = len - at < 20 ? len - at : 1 + draw(20);
        memmove(buf + at, buf + at + k, len - at - k);
        return len - k;

    case 2:
        w = words[draw(sizeof(words) / sizeof(words[0]))];
        k = strlen(w);
        break;

    case 3:
        other = &seeds[draw(n)];
        at = other->len ? draw((uint32_t) other->len) : 0;
        w = (const char *) other->data + at;
        k = other->len - at < 40 ? other->len - at : draw(40);
        break;

    default:
        at = len ? draw((uint32_t) len) : 0;
        w = (const char *) buf + at;
        k = len - at < 60 ? len - at : draw(60);
    }

    if (len + k > MAX_INPUT) {
        return len;
    }

    uint8_t piece[64];

    memcpy(piece, w, k);
    at = len ? draw((uint32_t) len) : 0;
    memmove(buf + at + k, buf + at, len - at);
    memcpy(buf + at, piece, k);

    return len + k;
}


static int
seed_load(const char *path, seed_t *s)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL) {
        return -1;
    }

    s->data = malloc(MAX_INPUT);
    s->len = fread(s->data, 1, MAX_INPUT, f);
    fclose(f);
    LLVMFuzzerTestOneInput(s->data, s->len);

    return 0;
}


int
main(int argc, char **argv)
{
    size_t      len;
    glob_t      g = {0};
    seed_t     *seeds;
    uint8_t    *buf = malloc(MAX_INPUT);
    uint32_t    i, k, n = 0, files;
    const char *count = getenv("FUZZ_MUTATIONS");

    if (argc < 2) {
        glob("t/fuzz/seeds/template/*", 0, NULL, &g);
        glob("t/chat/cases/*.jinja", GLOB_APPEND, NULL, &g);
    }

    files = argc < 2 ? (uint32_t) g.gl_pathc : (uint32_t) argc - 1;
    seeds = calloc(files + 1, sizeof(*seeds));

    for (i = 0; i < files; i++) {
        n += seed_load(argc < 2 ? g.gl_pathv[i] : argv[i + 1], &seeds[n]) == 0;
    }

    printf("%sok 1 - %u seeds\n", n ? "" : "not ", n);
    files = n ? (count ? (uint32_t) atoi(count) : MUTATIONS) : 0;

    for (i = 0; i < files; i++) {
        k = draw(n);
        len = seeds[k].len;
        memcpy(buf, seeds[k].data, len);

        for (k = 1 + draw(6); k > 0; k--) {
            len = mutate(buf, len, seeds, n);
        }

        LLVMFuzzerTestOneInput(buf, len);
    }

    printf("ok 2 - %u mutations\n1..2\n", files);

    for (i = 0; i < n; i++) {
        free(seeds[i].data);
    }

    free(seeds);
    free(buf);
    globfree(&g);

    return n ? 0 : 1;
}

#endif
