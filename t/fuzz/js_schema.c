/*
 * Fuzz target: a JSON Schema, a line feed, and an instance.  What is read is
 * printed, read again and must be the same value, with the same verdict;
 * where a failure is said to be must be written in full.
 */

#include "engine/grammar/js_validate.h"

#include <stdint.h>
#include <stdlib.h>

#define STEPS 20000


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_instance(const js_schema_t *schema, const char *text,
                          size_t len);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const js_remote_t remotes[] = {
        {{"http://h/a", 10}, {"{\"$anchor\":\"x\",\"$ref\":\"b#/c\"}", 29}},
        {{"http://h/b", 10}, {"{\"c\":{\"$ref\":\"a#x\"}}", 20}},
    };
    js_schema_options_t options = {0};
    const char         *text = (const char *) data, *end;
    js_schema_t        *schema;
    char                err[64];

    end = size ? memchr(text, '\n', size) : NULL;

    if (end == NULL) {
        return 0;
    }

    options.limits.max_bytes = 1u << 16;
    options.max_arena = 8u << 20;
    options.remotes = remotes;
    options.n_remotes = 2;

    if (js_schema_open(text, (size_t) (end - text), &options, &schema, err,
                       sizeof(err))
        < 0) {
        return 0;
    }

    fuzz_instance(schema, end + 1, size - (size_t) (end - text) - 1);
    js_schema_close(schema);

    return 0;
}


static void
fuzz_instance(const js_schema_t *schema, const char *text, size_t len)
{
    js_validate_options_t how = {.formats = 1, .max_steps = STEPS};
    const js_value_t     *v, *again;
    js_result_t           result;
    arena_t               arena;
    int64_t               steps = INT64_MAX;
    buf_t                 buf = {0};
    char                  err[64];
    int                   rc;

    arena_init(&arena, 8u << 20);

    if (js_parse(&arena, text, len, NULL, &v, NULL, err, sizeof(err)) == 0) {
        rc = js_validate(schema, NULL, v, &how, &result);

        if (rc > 1
            || (rc == 0 && result.keyword[0] != '#'
                && strchr(result.keyword, '#') == NULL)) {
            abort();
        }

        js_print(&buf, v);

        if (js_parse(&arena, buf.data, buf.len, NULL, &again, NULL, err,
                     sizeof(err))
                != 0
            || js_compare(v, again, &steps) != 0
            || js_validate(schema, NULL, again, &how, NULL) != rc) {
            abort();
        }
    }

    buf_free(&buf);
    arena_free(&arena);
}


#define MUTATIONS 10000

#include "t/fuzz/replay.h"
