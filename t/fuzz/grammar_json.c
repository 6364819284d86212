/*
 * Fuzz target: a JSON Schema, a line feed, and an instance.  The schema is
 * compiled to a grammar within small limits; the grammar accepts the instance
 * exactly if the validator does, and every byte that the lexer allows on the
 * way can be read.
 */

#include "engine/grammar/gr_front.h"
#include "engine/grammar/gr_parse.h"
#include "engine/grammar/js_validate.h"

#include <stdint.h>
#include <stdlib.h>

#define STEPS 20000


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_instance(gr_t *gr, const js_schema_t *schema, const char *text,
                          size_t len);
static int  fuzz_accepts(gr_t *gr, const char *text, size_t len);
static void fuzz_allowed(gr_t *gr, gr_parse_t *p);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gr_json_options_t options = {.order = GR_ORDER_FREE};
    gr_limits_t       limits = {0};
    const char       *text = (const char *) data, *end;
    js_schema_t      *schema;
    gr_node_t         node;
    gr_t             *gr;
    char              err[64];

    end = size ? memchr(text, '\n', size) : NULL;

    if (end == NULL || size > 1u << 14) {
        return 0;
    }

    limits.max_states = 5000;
    limits.max_lexer = 5000;
    limits.max_bytes = 16u << 20;
    limits.max_ns = 500000000;
    limits.re.max_bytes = 16u << 20;
    limits.re.max_steps = 500000;

    if (gr_new(&limits, &gr) < 0) {
        return 0;
    }

    if (gr_json_schema(gr, text, (size_t) (end - text), &options, &node, err,
                       sizeof(err))
            == 0
        && gr_finish(gr, node) == 0
        && js_schema_open(text, (size_t) (end - text), NULL, &schema, err,
                          sizeof(err))
               == 0) {
        fuzz_instance(gr, schema, end + 1, size - (size_t) (end - text) - 1);
        js_schema_close(schema);
    }

    gr_free(gr);

    return 0;
}


static void
fuzz_instance(gr_t *gr, const js_schema_t *schema, const char *text, size_t len)
{
    js_validate_options_t how = {.formats = 1, .max_steps = STEPS};
    js_limits_t           limits = {.duplicates = JS_DUPLICATE_ERROR};
    const js_value_t     *v;
    arena_t               arena;
    buf_t                 buf = {0};
    char                  err[64];
    int                   want, got;

    arena_init(&arena, 8u << 20);

    if (js_parse(&arena, text, len, &limits, &v, NULL, err, sizeof(err)) == 0) {
        want = js_validate(schema, NULL, v, &how, NULL);
        js_print(&buf, v);
        got = fuzz_accepts(gr, buf.data, buf.len);

        /* Not every number has all its spellings with an exponent. */

        if (want >= 0 && got >= 0 && want != got
            && !(want && (memchr(text, 'e', len) || memchr(text, 'E', len)))) {
            abort();
        }
    }

    buf_free(&buf);
    arena_free(&arena);
}


static int
fuzz_accepts(gr_t *gr, const char *text, size_t len)
{
    gr_parse_t *p;
    size_t      i;
    int         rc;

    rc = gr_parse_new(gr, NULL, &p);

    if (rc < 0) {
        return rc;
    }

    gr_parse_fuel(p, STEPS);

    for (i = 0, rc = 1; i < len && rc > 0; i++) {
        fuzz_allowed(gr, p);
        rc = gr_parse_push(p, (uint8_t) text[i]);
    }

    if (rc > 0) {
        rc = gr_parse_complete(p);
    }

    gr_parse_free(p);

    return rc;
}


static void
fuzz_allowed(gr_t *gr, gr_parse_t *p)
{
    const gr_thread_t *threads;
    uint64_t           bits[4], all[4] = {0};
    uint32_t           i, k, n;
    int                rc;

    n = gr_parse_threads(p, &threads);

    if (n == 0 && !gr_parse_complete(p)) {
        abort();
    }

    for (i = 0; i < n; i++) {
        if (re_dfa_allowed(gr_dfa(gr), threads[i].lexer, bits) < 0) {
            return;
        }

        for (k = 0; k < 4; k++) {
            all[k] |= bits[k];
        }
    }

    for (k = 0; k < 256; k++) {
        rc = gr_parse_push(p, (uint8_t) k);

        if (rc < 0) {
            return;
        }

        if (rc != (int) (all[k / 64] >> (k % 64) & 1)) {
            abort();
        }

        if (rc) {
            gr_parse_pop(p, 1);
        }
    }
}


#define MUTATIONS 2000

#include "t/fuzz/replay.h"
