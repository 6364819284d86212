/*
 * A Hugging Face folder's generation_config.json and chat templates as
 * metadata.
 *
 * What sampling it asks for counts whether it says do_sample or not, as with
 * vLLM: a server's requests sample unless they say otherwise.
 *
 * Of chat templates a file chat_template.jinja comes before
 * chat_template.json, that before tokenizer_config.json, as with
 * transformers.  A named one is tokenizer.chat_template.NAME.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/model/hf_tokenizer.h"

#define HF_TEMPLATES 16 /* most named ones */
#define HF_NAME      64

static int generation_eos(hf_text_t *t, const json_t *v, int32_t *ids,
                          size_t *n);
static int generation_number(hf_text_t *t, const char *name, double *out);
static int template_any(hf_text_t *t, const json_t *v, const char *file);
static int template_named(hf_text_t *t, const char *name, const json_t *text,
                          const char *file);
static int template_file(hf_text_t *t, const char *name, const char *key,
                         int *found);
static int template_put(hf_text_t *t, const char *key, const char *s,
                        size_t len, const char *file);
static int template_name_ok(const char *s);


int
hf_generation_write(hf_text_t *t, int32_t eos)
{
    static const struct {
        const char *name;
        const char *key;
    } floats[] = {{"temperature", "general.sampling.temp"},
                  {"top_p", "general.sampling.top_p"},
                  {"min_p", "general.sampling.min_p"},
                  {"repetition_penalty", "general.sampling.penalty_repeat"}};
    const json_t *sources[] = {t->generation, t->config, t->config_file};
    int32_t       ids[HF_TEXT_EOS];
    size_t        i, n = 0;
    double        v;
    int           rc;

    if (eos >= 0) {
        ids[n++] = eos;
    }

    for (i = 0; i < llm_countof(sources); i++) {
        LLM_TRY(generation_eos(t, json_object_get(sources[i], "eos_token_id"),
                               ids, &n));
    }

    if (n > 1) {
        gguf_put_arr_i32(t->w, "tokenizer.ggml.eos_token_ids", ids, n);
    }

    for (i = 0; i < llm_countof(floats); i++) {
        rc = generation_number(t, floats[i].name, &v);
        if (rc < 0) {
            return rc;
        }

        if (rc > 0) {
            gguf_put_f32(t->w, floats[i].key, (float) v);
        }
    }

    rc = generation_number(t, "top_k", &v);
    if (rc > 0) {
        gguf_put_i32(t->w, "general.sampling.top_k", (int32_t) v);
    }

    return rc < 0 ? rc : 0;
}


/* A number, a list of them, or nothing; ids that no token has do not count. */

static int
generation_eos(hf_text_t *t, const json_t *v, int32_t *ids, size_t *n)
{
    const json_t *id;
    size_t        i, k, count = json_is_array(v) ? json_array_size(v) : 1;

    if (v == NULL || json_is_null(v)) {
        return 0;
    }

    for (i = 0; i < count; i++) {
        id = json_is_array(v) ? json_array_get(v, i) : v;

        if (!json_is_integer(id)) {
            return hf_text_fail(t, -EINVAL, "bad eos_token_id");
        }

        if (json_integer_value(id) < 0
            || json_integer_value(id) >= (json_int_t) t->n) {
            continue;
        }

        for (k = 0; k < *n && ids[k] != json_integer_value(id); k++) {
        }

        if (k < *n) {
            continue;
        }

        if (*n == HF_TEXT_EOS) {
            return hf_text_fail(t, -ENOTSUP,
                                "eos_token_id: more than %d are not supported",
                                HF_TEXT_EOS);
        }

        ids[(*n)++] = (int32_t) json_integer_value(id);
    }

    return 0;
}


/* 1: it is there; whether it makes sense is for those who use it. */

static int
generation_number(hf_text_t *t, const char *name, double *out)
{
    const json_t *v = json_object_get(t->generation, name);

    if (v == NULL || json_is_null(v)) {
        return 0;
    }

    *out = json_number_value(v);

    if (!json_is_number(v) || !(fabs(*out) <= INT32_MAX)) {
        return hf_text_fail(t, -EINVAL, "generation_config.json: bad %s", name);
    }

    return 1;
}


int
hf_templates_write(hf_text_t *t)
{
    const json_t *v = json_object_get(t->settings, "chat_template");
    json_t       *file = NULL;
    int           rc, found = 0;

    LLM_TRY(template_file(t, "chat_template.jinja", "tokenizer.chat_template",
                          &found));

    if (found) {
        return template_file(t, "additional_chat_templates/tool_use.jinja",
                             "tokenizer.chat_template.tool_use", &found);
    }

    LLM_TRY(hf_text_json(t, "chat_template.json", HF_TEXT_CONFIG, 0, &file));

    if (json_object_get(file, "chat_template")) {
        rc = template_any(t, json_object_get(file, "chat_template"),
                          "chat_template.json");
        json_decref(file);
        return rc;
    }

    json_decref(file);

    return template_any(t, v, "tokenizer_config.json");
}


/* A text, or a list of {"name":, "template":}, or an object of them. */

static int
template_any(hf_text_t *t, const json_t *v, const char *file)
{
    const char   *name;
    const json_t *item;
    json_t       *text;
    size_t        i;

    if (v == NULL || json_is_null(v)) {
        return 0;
    }

    if (json_is_string(v)) {
        return template_put(t, "tokenizer.chat_template", json_string_value(v),
                            json_string_length(v), file);
    }

    if (json_array_size(v) > HF_TEMPLATES || json_object_size(v) > HF_TEMPLATES
        || (!json_is_array(v) && !json_is_object(v))) {
        return hf_text_fail(t, -EINVAL, "%s: bad chat_template", file);
    }

    json_object_foreach((json_t *) (uintptr_t) v, name, text)
    {
        LLM_TRY(template_named(t, name, text, file));
    }

    for (i = 0; i < json_array_size(v); i++) {
        item = json_array_get(v, i);
        name = json_string_value(json_object_get(item, "name"));
        text = json_object_get(item, "template");
        LLM_TRY(template_named(t, name, text, file));
    }

    return 0;
}


static int
template_named(hf_text_t *t, const char *name, const json_t *text,
               const char *file)
{
    char key[HF_NAME + 32];
    int  other;

    if (name == NULL || !template_name_ok(name) || !json_is_string(text)) {
        return hf_text_fail(t, -EINVAL, "%s: bad chat_template", file);
    }

    other = strcmp(name, "default") != 0;
    snprintf(key, sizeof(key), "tokenizer.chat_template%s%s", other ? "." : "",
             other ? name : "");

    return template_put(t, key, json_string_value(text),
                        json_string_length(text), file);
}


static int
template_file(hf_text_t *t, const char *name, const char *key, int *found)
{
    size_t len;
    char  *text;
    int    rc;

    rc = t->files->read(t->files->ctx, name, &text, &len, HF_TEXT_TEMPLATE);

    if (rc == -ENOENT) {
        return 0;
    }

    if (rc < 0) {
        return hf_text_fail(t, rc, "%s: %s", name, strerror(-rc));
    }

    *found = 1;
    rc = template_put(t, key, text, len, name);
    free(text);

    return rc;
}


static int
template_put(hf_text_t *t, const char *key, const char *s, size_t len,
             const char *file)
{
    json_t *v = len <= HF_TEXT_TEMPLATE ? json_stringn(s, len) : NULL;

    if (v == NULL) {
        return hf_text_fail(t, -EINVAL,
                            "%s: the chat template is not UTF-8 or too large",
                            file);
    }

    json_decref(v);
    gguf_put_str(t->w, key, s, len);

    return 0;
}


static int
template_name_ok(const char *s)
{
    size_t i;

    for (i = 0; s[i]; i++) {
        if (i == HF_NAME
            || !((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z')
                 || (s[i] >= '0' && s[i] <= '9') || s[i] == '_'
                 || s[i] == '-')) {
            return 0;
        }
    }

    return i > 0;
}
