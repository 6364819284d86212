/*
 * Fuzz target: MODEL_STATE's JSON, as a worker reads it.  What is reported
 * lies within the text, and a text is never read beyond its end: it stands at
 * the end of memory of its own, so that a sanitizer sees one byte too many.
 */

#include "ngx_module/ngx_http_llm_state.c"

#include <stdint.h>
#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


typedef struct {
    const char *text;
    size_t      len;
} fuzz_text_t;


static void
state_check(void *data, const ngx_http_llm_model_state_t *st)
{
    const fuzz_text_t *t = data;

    if (st->name_len == 0 || st->name < t->text
        || st->name + st->name_len > t->text + t->len
        || st->state > NGX_HTTP_LLM_STATE_FAILED || st->serving > 1
        || st->progress > 1000) {
        abort();
    }

    if (st->error_len != 0
        && (st->error < t->text
            || st->error + st->error_len > t->text + t->len)) {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char       *text;
    fuzz_text_t t;

    text = malloc(size ? size : 1);
    if (text == NULL) {
        return 0;
    }

    if (size) {
        memcpy(text, data, size);
    }

    t.text = text;
    t.len = size;

    (void) ngx_http_llm_state_parse(text, size, state_check, &t);

    free(text);

    return 0;
}


#include "t/fuzz/replay.h"
