/*
 * How a tokenizer.json cuts text, as a name of the tokenizer's: what
 * engine/model tells as tokenizer.ggml.pre "json:{...}", see
 * engine/model/hf_tokenizer.h.
 *
 * What has no name here is refused by its own.  Loader threads.
 */

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "engine/base.h"
#include "engine/serve/vocab.h"

#define PRE_STEPS 16
#define PRE_DEPTH 8

typedef struct {
    text_step_t steps[PRE_STEPS];
    size_t      n;
    int         byte_level; /* the last step was one without a regex */
    char       *err;
    size_t      err_size;
} pre_t;

static int pre_normalizer(pre_t *p, const json_t *v, int *nfc, int depth);
static int pre_step(pre_t *p, const json_t *v, int depth);
static int pre_split(pre_t *p, const json_t *v);
static int pre_byte_level(pre_t *p, const json_t *v);
static int pre_add(pre_t *p, int kind, const json_t *pattern);
static int pre_is(const json_t *v, const char *key, const char *value);
static int pre_refuse(pre_t *p, const char *what, const json_t *v,
                      const char *more);


int
vocab_pre_read(gguf_str_t pre, vocab_pre_t *out, char *err, size_t err_size)
{
    json_t *root, *v;
    pre_t   p = {.err = err, .err_size = err_size};
    int     rc;

    *out = (vocab_pre_t){{pre.data, pre.len}, -1, -1};

    if (pre.len < 5 || memcmp(pre.data, "json:", 5) != 0) {
        return 0;
    }

    root = json_loadb(pre.data + 5, pre.len - 5, 0, NULL);
    v = json_object_get(root, "pre_tokenizer");
    out->ignore_merges = json_is_true(json_object_get(root, "ignore_merges"));
    out->nfc = 0;

    if (!json_is_object(v)) {
        snprintf(err, err_size, "bad tokenizer.ggml.pre");
        json_decref(root);
        return -EINVAL;
    }

    rc = pre_normalizer(&p, json_object_get(root, "normalizer"), &out->nfc, 0);

    if (rc == 0) {
        rc = pre_step(&p, v, 0);
    }

    if (rc == 0) {
        out->name.data = text_pre_find(p.steps, p.n);

        if (out->name.data == NULL) {
            rc = pre_refuse(&p, "pre_tokenizer", v,
                            ", whose way of cutting text no known family has,");
        } else {
            out->name.len = strlen(out->name.data);
        }
    }

    json_decref(root);

    return rc;
}


/* None, or NFC; sequences of that. */

static int
pre_normalizer(pre_t *p, const json_t *v, int *nfc, int depth)
{
    const json_t *list = json_object_get(v, "normalizers");
    size_t        i;

    if (v == NULL || json_is_null(v)) {
        return 0;
    }

    if (pre_is(v, "type", "NFC")) {
        *nfc = 1;
        return 0;
    }

    if (!pre_is(v, "type", "Sequence") || !json_is_array(list)
        || depth == PRE_DEPTH) {
        return pre_refuse(p, "normalizer", v, "");
    }

    for (i = 0; i < json_array_size(list); i++) {
        LLM_TRY(pre_normalizer(p, json_array_get(list, i), nfc, depth + 1));
    }

    return 0;
}


static int
pre_step(pre_t *p, const json_t *v, int depth)
{
    const json_t *list = json_object_get(v, "pretokenizers");
    size_t        i;

    if (pre_is(v, "type", "Sequence") && json_is_array(list)
        && depth < PRE_DEPTH) {
        for (i = 0; i < json_array_size(list); i++) {
            LLM_TRY(pre_step(p, json_array_get(list, i), depth + 1));
        }

        return 0;
    }

    if (pre_is(v, "type", "Split")) {
        return pre_split(p, v);
    }

    if (pre_is(v, "type", "Digits")) {
        return pre_add(p,
                       json_is_true(json_object_get(v, "individual_digits"))
                           ? TEXT_STEP_DIGITS
                           : TEXT_STEP_DIGIT_RUNS,
                       NULL);
    }

    if (pre_is(v, "type", "Punctuation")
        && pre_is(v, "behavior", "Contiguous")) {
        return pre_add(p, TEXT_STEP_PUNCTUATION, NULL);
    }

    if (pre_is(v, "type", "ByteLevel")) {
        return pre_byte_level(p, v);
    }

    return pre_refuse(p, "pre_tokenizer", v, "");
}


/* Matches and what is between them; or matches only, said the other way. */

static int
pre_split(pre_t *p, const json_t *v)
{
    const json_t *regex;
    int           invert = json_is_true(json_object_get(v, "invert"));

    regex = json_object_get(json_object_get(v, "pattern"), "Regex");

    if (!json_is_string(regex)) {
        return pre_refuse(p, "pre_tokenizer", v, " without a Regex");
    }

    if (!(pre_is(v, "behavior", "Isolated") && !invert)
        && !(pre_is(v, "behavior", "Removed") && invert)) {
        return pre_refuse(p, "pre_tokenizer", v, " of this behavior");
    }

    return pre_add(p, TEXT_STEP_SPLIT, regex);
}


static int
pre_byte_level(pre_t *p, const json_t *v)
{
    if (!json_is_false(json_object_get(v, "add_prefix_space"))) {
        return pre_refuse(p, "pre_tokenizer", v, " with add_prefix_space");
    }

    /* Where it is not said, it is so. */
    if (!json_is_false(json_object_get(v, "use_regex"))) {
        return pre_add(p, TEXT_STEP_BYTE_LEVEL, NULL);
    }

    /* Steps behind it would see its letters, not the text's. */
    p->byte_level = 1;

    return 0;
}


static int
pre_add(pre_t *p, int kind, const json_t *pattern)
{
    text_step_t *step = &p->steps[p->n];

    if (p->n == PRE_STEPS || p->byte_level) {
        snprintf(p->err, p->err_size, "pre_tokenizer: %s is not supported",
                 p->byte_level ? "a step behind ByteLevel"
                               : "that number of steps");
        return -ENOTSUP;
    }

    *step = (text_step_t){.kind = kind};

    if (pattern) {
        step->pattern = (text_str_t){json_string_value(pattern),
                                     json_string_length(pattern)};
    }

    p->n++;

    return 0;
}


static int
pre_is(const json_t *v, const char *key, const char *value)
{
    const char *s = json_string_value(json_object_get(v, key));

    return s && strcmp(s, value) == 0;
}


static int
pre_refuse(pre_t *p, const char *what, const json_t *v, const char *more)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    char       *c;

    snprintf(p->err, p->err_size, "%s '%.64s'%s is not supported", what,
             type ? type : "(no type)", more);

    /* Types are an outsider's: the log has one line of it. */
    for (c = p->err; p->err_size > 0 && *c; c++) {
        *c = (uint8_t) *c < ' ' ? '?' : *c;
    }

    return -ENOTSUP;
}
