/*
 * tokenizer.json of SentencePiece's kind: what its normalizer and its
 * pre-tokenizer do to spaces.  A loader thread.
 */

#include <errno.h>
#include "engine/model/hf_tokenizer.h"

static int spaces_normalizer(hf_text_t *t, const json_t *v, int depth,
                             int *prepends, int *replaces);
static int spaces_splitter(hf_text_t *t, const json_t *v, int replaces);
static int spaces_metaspace(hf_text_t *t, const json_t *v);


/*
 * SentencePiece's kind: how spaces become U+2581, and whether one is put in
 * front.
 */
int
hf_json_spaces(hf_text_t *t)
{
    const json_t *normalizer = json_object_get(t->tokenizer, "normalizer");
    const json_t *splitter = json_object_get(t->tokenizer, "pre_tokenizer");
    int           prepends = 0, replaces = 0;

    LLM_TRY(spaces_normalizer(t, normalizer, 0, &prepends, &replaces));

    if (prepends && !replaces) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: a normalizer that prepends but "
                            "does not replace spaces is not supported");
    }

    t->prefix = prepends ? "each" : NULL;

    LLM_TRY(spaces_splitter(t, splitter, replaces));

    if (!replaces && !hf_json_is(splitter, "type", "Metaspace")) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: byte_fallback without U+2581 for "
                            "spaces is not supported");
    }

    return 0;
}


static int
spaces_normalizer(hf_text_t *t, const json_t *v, int depth, int *prepends,
                  int *replaces)
{
    const json_t *list = json_object_get(v, "normalizers");
    size_t        i;

    if (v == NULL || json_is_null(v)) {
        return 0;
    }

    if (hf_json_is(v, "type", "Sequence") && json_is_array(list)
        && depth < HF_TEXT_DEPTH) {
        for (i = 0; i < json_array_size(list); i++) {
            LLM_TRY(spaces_normalizer(t, json_array_get(list, i), depth + 1,
                                      prepends, replaces));
        }

        return 0;
    }

    if (hf_json_is(v, "type", "Prepend") && hf_json_is(v, "prepend", HF_SPACE)
        && !*prepends && !*replaces) {
        *prepends = 1;
        return 0;
    }

    if (hf_json_is(v, "type", "Replace") && hf_json_is(v, "content", HF_SPACE)
        && hf_json_is(json_object_get(v, "pattern"), "String", " ")) {
        *replaces = 1;
        return 0;
    }

    return hf_text_fail(t, -ENOTSUP,
                        "tokenizer.json: normalizer '%.64s' with byte_fallback "
                        "is not supported",
                        hf_json_type(v));
}


static int
spaces_splitter(hf_text_t *t, const json_t *v, int replaces)
{
    if (v == NULL || json_is_null(v)) {
        return 0;
    }

    if (hf_json_is(v, "type", "Metaspace") && !replaces) {
        return spaces_metaspace(t, v);
    }

    /* No space is left that it could split at (Gemma). */
    if (hf_json_is(v, "type", "Split") && replaces
        && hf_json_is(json_object_get(v, "pattern"), "String", " ")
        && !json_is_true(json_object_get(v, "invert"))) {
        return 0;
    }

    return hf_text_fail(t, -ENOTSUP,
                        "tokenizer.json: pre_tokenizer '%.64s' with "
                        "byte_fallback is not supported",
                        hf_json_type(v));
}


static int
spaces_metaspace(hf_text_t *t, const json_t *v)
{
    const json_t *scheme = json_object_get(v, "prepend_scheme");
    const json_t *split = json_object_get(v, "split");
    const json_t *add = json_object_get(v, "add_prefix_space");

    if (!hf_json_is(v, "replacement", HF_SPACE)) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: Metaspace with another "
                            "replacement than U+2581 is not supported");
    }

    /* Where it is not said, it splits. */
    if (!json_is_false(split)) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: Metaspace that splits words is "
                            "not supported");
    }

    if (hf_json_is(v, "prepend_scheme", "first")) {
        t->prefix = "first";

    } else if (hf_json_is(v, "prepend_scheme", "always")
               || (scheme == NULL && !json_is_false(add))) {
        t->prefix = "blank";

    } else if (scheme && !hf_json_is(v, "prepend_scheme", "never")) {
        return hf_text_fail(t, -EINVAL,
                            "tokenizer.json: bad prepend_scheme of Metaspace");
    }

    return 0;
}
