/*
 * What a Hugging Face folder says about text, told as the metadata that a
 * GGUF converter would have written, see hf_tokenizer.h.
 *
 * tokenizer.json is the truth where there is one, as with transformers; else
 * tokenizer.model, with added_tokens.json.  Both with tokenizer_config.json.
 *
 * A loader thread.  All files are an outsider's.
 */

#include "engine/model/hf_tokenizer.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HF_TEXT_ARENA (1ull << 30)

static int  text_dir_read(void *ctx, const char *name, char **out, size_t *len,
                          size_t max);
static int  text_read(hf_text_t *t);
static int  text_vocab(hf_text_t *t);
static int  text_write(hf_text_t *t);
static int  text_write_strips(hf_text_t *t);
static void text_write_ids(hf_text_t *t, int flag, const char *key,
                           int32_t *ids);
static int  text_specials(hf_text_t *t);
static int  text_adds(hf_text_t *t, const char *key, const char *name,
                      int32_t added, int preset, int32_t *id, bool *out);
static int32_t text_special(const hf_text_t *t, const char *key, int strict);
static int32_t text_special_of(const hf_text_t *t, const json_t *v);
static int32_t text_config_id(const hf_text_t *t, const char *key);
static int32_t text_id(const hf_text_t *t, const json_t *v);
static void    text_free(hf_text_t *t);


int
hf_tokenizer(const hf_dir_t *dir, const json_t *config, gguf_writer_t *w,
             char *err, size_t err_size)
{
    hf_dir_t        copy = *dir;
    hf_text_files_t files = {text_dir_read, &copy};

    return hf_tokenizer_from(&files, config, w, err, err_size);
}


static int
text_dir_read(void *ctx, const char *name, char **out, size_t *len, size_t max)
{
    return hf_file(ctx, name, out, len, max);
}


int
hf_tokenizer_from(const hf_text_files_t *files, const json_t *config,
                  gguf_writer_t *w, char *err, size_t err_size)
{
    hf_text_t t = {.files = files,
                   .config = config,
                   .w = w,
                   .err = err,
                   .err_size = err_size,
                   .before = -1,
                   .behind = -1,
                   .unk = -1};
    int       rc;

    arena_init(&t.arena, HF_TEXT_ARENA);

    rc = text_read(&t);

    if (rc == 0) {
        rc = text_vocab(&t);
    }

    if (rc == 0) {
        rc = text_write(&t);
    }

    text_free(&t);

    return rc;
}


static int
text_read(hf_text_t *t)
{
    int rc;

    LLM_TRY(hf_text_json(t, "config.json", HF_TEXT_CONFIG, 0, &t->config_file));
    LLM_TRY(hf_text_json(t, "tokenizer_config.json", HF_TEXT_CONFIG, 0,
                         &t->settings));
    LLM_TRY(
        hf_text_json(t, "special_tokens_map.json", HF_TEXT_CONFIG, 0, &t->map));
    LLM_TRY(hf_text_json(t, "generation_config.json", HF_TEXT_CONFIG, 0,
                         &t->generation));
    LLM_TRY(hf_text_json(t, "tokenizer.json", HF_TEXT_TOKENIZER,
                         JSON_REJECT_DUPLICATES, &t->tokenizer));

    if (t->tokenizer) {
        return 0;
    }

    rc = t->files->read(t->files->ctx, "tokenizer.model", &t->model,
                        &t->model_len, HF_TEXT_MODEL);

    if (rc == -ENOENT) {
        return hf_text_fail(t, rc,
                            "neither tokenizer.json nor tokenizer.model is "
                            "there");
    }

    if (rc < 0) {
        return hf_text_fail(t, rc, "tokenizer.model: %s", strerror(-rc));
    }

    return hf_text_json(t, "added_tokens.json", HF_TEXT_CONFIG,
                        JSON_REJECT_DUPLICATES, &t->added);
}


static int
text_vocab(hf_text_t *t)
{
    LLM_TRY(t->tokenizer ? hf_json_read(t) : hf_sentencepiece_read(t));
    LLM_TRY(hf_vocab_added(t));

    return t->tokenizer ? hf_json_rest(t) : 0;
}


static int
text_write(hf_text_t *t)
{
    gguf_str_t *strs = malloc(t->n * sizeof(gguf_str_t));
    int32_t    *types = malloc(t->n * sizeof(int32_t));
    float      *scores = malloc(t->n * sizeof(float));
    uint32_t    i;
    int         ok = strs && types && scores;

    for (i = 0; ok && i < t->n; i++) {
        strs[i] = t->tokens[i].s;
        types[i] = t->tokens[i].type;
        scores[i] = t->tokens[i].score;
    }

    if (ok) {
        gguf_put_str(t->w, "tokenizer.ggml.model", t->bpe ? "gpt2" : "llama",
                     t->bpe ? 4 : 5);
        gguf_put_arr_str(t->w, "tokenizer.ggml.tokens", strs, t->n);
        gguf_put_arr_i32(t->w, "tokenizer.ggml.token_type", types, t->n);
    }

    if (ok && !t->bpe) {
        gguf_put_str(t->w, "tokenizer.ggml.pre", "default", 7);
        gguf_put_arr_f32(t->w, "tokenizer.ggml.scores", scores, t->n);
        gguf_put_bool(t->w, "tokenizer.ggml.add_space_prefix",
                      t->prefix != NULL);
        gguf_put_bool(t->w, "tokenizer.ggml.remove_extra_whitespaces",
                      t->collapse);
    }

    if (ok && !t->bpe && t->prefix) {
        gguf_put_str(t->w, "tokenizer.ggml.space_prefix", t->prefix,
                     strlen(t->prefix));
    }

    free(strs);
    free(types);
    free(scores);

    if (!ok) {
        return hf_text_fail(t, -ENOMEM, "no memory");
    }

    LLM_TRY(text_write_strips(t));
    LLM_TRY(text_specials(t));

    return hf_templates_write(t);
}


static int
text_write_strips(hf_text_t *t)
{
    int32_t *ids = malloc(t->n * sizeof(int32_t));

    if (ids == NULL) {
        return hf_text_fail(t, -ENOMEM, "no memory");
    }

    text_write_ids(t, HF_LSTRIP, "tokenizer.ggml.lstrip", ids);
    text_write_ids(t, HF_RSTRIP, "tokenizer.ggml.rstrip", ids);
    free(ids);

    return 0;
}


static void
text_write_ids(hf_text_t *t, int flag, const char *key, int32_t *ids)
{
    uint32_t i, n = 0;

    for (i = 0; i < t->n; i++) {
        if (t->tokens[i].flags & flag) {
            ids[n++] = (int32_t) i;
        }
    }

    if (n > 0) {
        gguf_put_arr_i32(t->w, key, ids, n);
    }
}


/* Ids by role, and what is put before and behind a text. */

static int
text_specials(hf_text_t *t)
{
    int32_t bos, eos, unk, pad;
    const struct {
        const char    *key;
        const int32_t *id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &bos},
               {"tokenizer.ggml.eos_token_id", &eos},
               {"tokenizer.ggml.unknown_token_id", &unk},
               {"tokenizer.ggml.padding_token_id", &pad}};
    bool   add_bos, add_eos;
    size_t i;

    /* A template that writes bos_token where the tokenizer has none writes
       nothing: config.json's bos_token_id does not make one.  Nor does it
       where the post-processor knows. */
    bos =
        text_special(t, "bos", t->before >= 0 || (t->settings && t->tokenizer));
    eos = text_special(t, "eos", t->behind >= 0);
    pad = text_special(t, "pad", 0);
    unk = text_special(t, "unk", 1);
    unk = unk < 0 ? t->unk : unk;

    LLM_TRY(text_adds(t, "add_bos_token", "bos_token", t->before,
                      t->tokenizer == NULL, &bos, &add_bos));
    LLM_TRY(text_adds(t, "add_eos_token", "eos_token", t->behind, 0, &eos,
                      &add_eos));

    for (i = 0; i < llm_countof(ids); i++) {
        if (*ids[i].id >= 0) {
            gguf_put_u32(t->w, ids[i].key, (uint32_t) *ids[i].id);
        }
    }

    gguf_put_bool(t->w, "tokenizer.ggml.add_bos_token", add_bos);
    gguf_put_bool(t->w, "tokenizer.ggml.add_eos_token", add_eos);

    return hf_generation_write(t, eos);
}


/*
 * Whether *id is added: by the post-processor (which added `added`), by
 * tokenizer_config.json's say, else by what is usual (preset).
 */
static int
text_adds(hf_text_t *t, const char *key, const char *name, int32_t added,
          int preset, int32_t *id, bool *out)
{
    const json_t *say = json_object_get(t->settings, key);

    if (added >= 0 && *id < 0) {
        *id = added;
    }

    if (added >= 0 && *id != added) {
        return hf_text_fail(
            t, -ENOTSUP,
            "tokenizer.json: a post_processor that adds '%.64s' "
            "(%d), which is not the %s (%d), is not supported",
            t->tokens[added].s.data, added, name, *id);
    }

    *out = added >= 0 || preset;

    if (json_is_boolean(say)) {
        *out = json_is_true(say);
    }

    *out = *out && *id >= 0;

    return 0;
}


/* strict: config.json's bos_token_id and the like do not count. */

static int32_t
text_special(const hf_text_t *t, const char *role, int strict)
{
    const json_t *v;
    char          key[32];

    snprintf(key, sizeof(key), "%s_token", role);
    v = json_object_get(t->settings, key);

    if (v == NULL) {
        v = json_object_get(t->map, key);
    }

    if (v && !json_is_null(v)) {
        return text_special_of(t, v);
    }

    snprintf(key, sizeof(key), "%s_token_id", role);

    return strict ? -1 : text_config_id(t, key);
}


/* A string, or an object with "content". */

static int32_t
text_special_of(const hf_text_t *t, const json_t *v)
{
    const json_t *s = json_is_object(v) ? json_object_get(v, "content") : v;

    return json_is_string(s)
               ? hf_vocab_find(t, json_string_value(s), json_string_length(s))
               : -1;
}


static int32_t
text_config_id(const hf_text_t *t, const char *key)
{
    const json_t *sources[] = {t->config, t->config_file, t->generation};
    const json_t *v;
    size_t        i;
    int32_t       id = -1;

    for (i = 0; id < 0 && i < llm_countof(sources); i++) {
        v = json_object_get(sources[i], key);
        id = text_id(t, json_is_array(v) ? json_array_get(v, 0) : v);
    }

    return id;
}


static int32_t
text_id(const hf_text_t *t, const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) >= 0
                   && json_integer_value(v) < (json_int_t) t->n
               ? (int32_t) json_integer_value(v)
               : -1;
}


int
hf_text_json(hf_text_t *t, const char *name, size_t max, size_t flags,
             json_t **out)
{
    json_error_t error;
    size_t       i, len, values = 0;
    char        *text;
    int          rc;

    rc = t->files->read(t->files->ctx, name, &text, &len, max);

    if (rc == -ENOENT) {
        return 0;
    }

    if (rc < 0) {
        return hf_text_fail(t, rc, "%s: %s", name, strerror(-rc));
    }

    for (i = 0; i < len; i++) {
        values += text[i] == '[' || text[i] == '{';
    }

    /* An empty array is 2 bytes there and some 150 here. */
    if (values > HF_TEXT_VALUES) {
        free(text);
        return hf_text_fail(t, -EINVAL, "%s: too many values", name);
    }

    *out = json_loadb(text, len, flags | JSON_ALLOW_NUL, &error);
    free(text);

    if (*out == NULL) {
        return hf_text_fail(t,
                            json_error_code(&error) == json_error_out_of_memory
                                ? -ENOMEM
                                : -EINVAL,
                            "%s: line %d: %.100s", name, error.line,
                            error.text);
    }

    return json_is_object(*out)
               ? 0
               : hf_text_fail(t, -EINVAL, "%s: not an object", name);
}


int
hf_text_fail(hf_text_t *t, int rc, const char *fmt, ...)
{
    va_list args;
    char   *p;

    if (t->err_size == 0) {
        return rc;
    }

    va_start(args, fmt);
    vsnprintf(t->err, t->err_size, fmt, args);
    va_end(args);

    /* Names are an outsider's: the log has one line of it. */
    for (p = t->err; *p; p++) {
        *p = (uint8_t) *p < ' ' ? '?' : *p;
    }

    return rc;
}


static void
text_free(hf_text_t *t)
{
    json_decref(t->config_file);
    json_decref(t->settings);
    json_decref(t->map);
    json_decref(t->generation);
    json_decref(t->tokenizer);
    json_decref(t->added);
    free(t->model);
    free(t->tokens);
    free(t->index);
    arena_free(&t->arena);
}
