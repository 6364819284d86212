/*
 * tokenizer.json: what kind of tokenizer it is, its vocabulary, its merges,
 * what its post-processor adds.
 *
 * Two kinds are known: byte-level BPE (a pre-tokenizer "ByteLevel"), and BPE
 * with byte_fallback as SentencePiece models are told (U+2581 for a space).
 * What a file asks for beyond them is refused by its name.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/model/hf_tokenizer.h"

static int  tj_model(hf_text_t *t, const json_t *model);
static int  tj_kind(hf_text_t *t, const json_t *model);
static int  tj_byte_level(const json_t *v, int depth);
static int  tj_vocab(hf_text_t *t, const json_t *model);
static int  tj_bytes(hf_text_t *t);
static int  tj_letters(hf_text_t *t);
static int  tj_pre(hf_text_t *t);
static int  tj_merges(hf_text_t *t);
static int  tj_merge(hf_text_t *t, const json_t *v, gguf_str_t *out);
static void tj_score(hf_text_t *t, gguf_str_t merge, size_t rank);
static int  tj_post(hf_text_t *t, const json_t *v, int depth);
static int  tj_post_template(hf_text_t *t, const json_t *v);
static int  tj_post_id(hf_text_t *t, const json_t *v, const json_t *piece,
                       int32_t *out);
static int  tj_empty(const json_t *v);


int
hf_json_read(hf_text_t *t)
{
    const json_t *model = json_object_get(t->tokenizer, "model");

    if (!json_is_object(model)) {
        return hf_text_fail(t, -EINVAL, "tokenizer.json: no model in it");
    }

    LLM_TRY(tj_model(t, model));
    LLM_TRY(tj_kind(t, model));

    if (!t->bpe) {
        LLM_TRY(hf_json_spaces(t));
    }

    return tj_vocab(t, model);
}


/* With all tokens there. */

int
hf_json_rest(hf_text_t *t)
{
    const json_t *unk;

    unk = json_object_get(json_object_get(t->tokenizer, "model"), "unk_token");

    if (json_is_string(unk)) {
        t->unk =
            hf_vocab_find(t, json_string_value(unk), json_string_length(unk));
    }

    LLM_TRY(t->bpe ? tj_letters(t) : tj_bytes(t));

    if (t->bpe) {
        LLM_TRY(tj_pre(t));
    }

    LLM_TRY(tj_merges(t));

    return tj_post(t, json_object_get(t->tokenizer, "post_processor"), 0);
}


static int
tj_model(hf_text_t *t, const json_t *model)
{
    static const char *const texts[] = {"continuing_subword_prefix",
                                        "end_of_word_suffix"};
    const json_t            *v;
    size_t                   i;

    v = json_object_get(model, "type");

    /* Old files do not say it; only BPE has merges. */
    if (v ? !hf_json_is(model, "type", "BPE")
          : json_object_get(model, "merges") == NULL) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: model '%.64s' is not supported",
                            hf_json_type(model));
    }

    for (i = 0; i < llm_countof(texts); i++) {
        if (!tj_empty(json_object_get(model, texts[i]))) {
            return hf_text_fail(t, -ENOTSUP,
                                "tokenizer.json: %s is not supported",
                                texts[i]);
        }
    }

    v = json_object_get(model, "dropout");

    if (v && !json_is_null(v) && json_number_value(v) != 0) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: dropout is not supported");
    }

    return 0;
}


static int
tj_kind(hf_text_t *t, const json_t *model)
{
    int rc;

    rc = tj_byte_level(json_object_get(t->tokenizer, "pre_tokenizer"), 0);

    if (rc > 0) {
        t->bpe = 1;
        return 0;
    }

    if (rc < 0 || !json_is_true(json_object_get(model, "byte_fallback"))) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: a BPE model with neither a "
                            "ByteLevel pre-tokenizer nor byte_fallback is not "
                            "supported");
    }

    if (json_is_true(json_object_get(model, "ignore_merges"))) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: ignore_merges with byte_fallback "
                            "is not supported");
    }

    return 0;
}


static int
tj_byte_level(const json_t *v, int depth)
{
    const json_t *list = json_object_get(v, "pretokenizers");
    size_t        i;
    int           rc = 0;

    if (depth > HF_TEXT_DEPTH) {
        return -E2BIG;
    }

    if (hf_json_is(v, "type", "ByteLevel")) {
        return 1;
    }

    for (i = 0; rc == 0 && i < json_array_size(list); i++) {
        rc = tj_byte_level(json_array_get(list, i), depth + 1);
    }

    return rc;
}


static int
tj_vocab(hf_text_t *t, const json_t *model)
{
    json_t     *vocab = json_object_get(model, "vocab");
    const char *key;
    json_t     *v;
    json_int_t  last = -1;
    size_t      i, n;

    if (!json_is_object(vocab) || json_object_size(vocab) == 0
        || json_object_size(vocab) > HF_TEXT_TOKENS) {
        return hf_text_fail(t, -EINVAL, "tokenizer.json: bad vocab");
    }

    json_object_foreach(vocab, key, v)
    {
        if (!json_is_integer(v) || json_integer_value(v) < 0
            || json_integer_value(v) >= (json_int_t) HF_TEXT_TOKENS) {
            return hf_text_fail(t, -EINVAL, "tokenizer.json: bad id of '%.64s'",
                                key);
        }

        last = json_integer_value(v) > last ? json_integer_value(v) : last;
    }

    /* Where the model does not say its size, added tokens lengthen it. */
    if (hf_vocab_size(t) == 0) {
        v = json_object_get(t->tokenizer, "added_tokens");
        n = json_array_size(v);

        for (i = 0; i < n; i++) {
            json_int_t id =
                json_integer_value(json_object_get(json_array_get(v, i), "id"));

            last = id > last && id < (json_int_t) HF_TEXT_TOKENS ? id : last;
        }
    }

    LLM_TRY(hf_vocab_room(t, (uint32_t) last));

    json_object_foreach(vocab, key, v)
    {
        gguf_str_t s = {key, strlen(key)};

        LLM_TRY(
            hf_vocab_set(t, (uint32_t) json_integer_value(v), s.data, s.len,
                         !t->bpe && hf_vocab_is_byte(s) ? HF_BYTE : HF_NORMAL));
    }

    return 0;
}


/*
 * Every byte has a token: then no text is unknown.  (Gemma writes a tab as
 * itself.)
 */
static int
tj_bytes(hf_text_t *t)
{
    char    name[8], byte;
    int32_t id;
    int     i;

    for (i = 0; i < 256; i++) {
        snprintf(name, sizeof(name), "<0x%02X>", i);
        byte = (char) i;
        id = hf_vocab_find(t, name, 6);

        if (id < 0 && (i >= 0x80 || hf_vocab_find(t, &byte, 1) < 0)) {
            return hf_text_fail(t, -ENOTSUP,
                                "tokenizer.json: byte_fallback without a token "
                                "%s is not supported",
                                name);
        }
    }

    if (t->unk >= 0 && t->tokens[t->unk].type == HF_NORMAL) {
        t->tokens[t->unk].type = HF_UNKNOWN;
    }

    return 0;
}


/*
 * Byte level: bytes without a letter in the vocabulary are left out of texts,
 * unless there is a token for what is unknown.
 */
static int
tj_letters(hf_text_t *t)
{
    unsigned b, c, next = 256;
    char     letter[2];

    for (b = 0; t->unk >= 0 && b < 256; b++) {
        c = b < 0x21 || (b > 0x7e && b < 0xa1) || b == 0xad ? next++ : b;
        letter[0] = (char) (c < 0x80 ? c : 0xc0 | c >> 6);
        letter[1] = (char) (0x80 | (c & 0x3f));

        if (hf_vocab_find(t, letter, c < 0x80 ? 1 : 2) < 0) {
            return hf_text_fail(t, -ENOTSUP,
                                "tokenizer.json: unk_token with a vocabulary "
                                "that lacks byte %u is not supported",
                                b);
        }
    }

    return 0;
}


/* Byte level: how text is cut, for those who know the names of it. */

static int
tj_pre(hf_text_t *t)
{
    const json_t *model = json_object_get(t->tokenizer, "model");
    json_t       *v, *null = json_null();
    json_t       *normalizer = json_object_get(t->tokenizer, "normalizer");
    json_t       *pre = json_object_get(t->tokenizer, "pre_tokenizer");
    buf_t         out = {0};
    char         *text;
    int           rc = -ENOMEM;

    v = json_pack("{s:b, s:O, s:O}", "ignore_merges",
                  json_is_true(json_object_get(model, "ignore_merges")),
                  "normalizer", normalizer ? normalizer : null, "pre_tokenizer",
                  pre ? pre : null);
    text = v ? json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(v);

    if (text) {
        buf_str(&out, "json:");
        buf_str(&out, text);
        rc = out.failed ? -ENOMEM : 0;
    }

    free(text);

    if (rc == 0 && out.len > HF_TEXT_PRE) {
        buf_free(&out);
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: a pre_tokenizer of that size is "
                            "not supported");
    }

    if (rc == 0) {
        gguf_put_str(t->w, "tokenizer.ggml.pre", out.data, out.len);
    }

    buf_free(&out);

    return rc == 0 ? 0 : hf_text_fail(t, rc, "no memory");
}


static int
tj_merges(hf_text_t *t)
{
    const json_t *list;
    gguf_str_t   *merges;
    size_t        i, n;
    int           rc = 0;

    list = json_object_get(json_object_get(t->tokenizer, "model"), "merges");
    n = json_array_size(list);

    if (!json_is_array(list) || n > HF_TEXT_MERGES) {
        return hf_text_fail(t, -EINVAL, "tokenizer.json: bad merges");
    }

    merges = calloc(n + 1, sizeof(gguf_str_t));
    if (merges == NULL) {
        return hf_text_fail(t, -ENOMEM, "no memory");
    }

    for (i = 0; rc == 0 && !t->bpe && i < t->n; i++) {
        if (t->tokens[i].type == HF_NORMAL) {
            t->tokens[i].score = -1e6f;
        }
    }

    for (i = 0; rc == 0 && i < n; i++) {
        rc = tj_merge(t, json_array_get(list, i), &merges[i]);

        if (rc == 0 && !t->bpe) {
            tj_score(t, merges[i], i);
        }
    }

    if (rc == 0) {
        gguf_put_arr_str(t->w, "tokenizer.ggml.merges", merges, n);
    }

    free(merges);

    return rc;
}


/* "left right", or [left, right]: the same, unless there are spaces within. */

static int
tj_merge(hf_text_t *t, const json_t *v, gguf_str_t *out)
{
    const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
    const char   *space;
    char         *p;
    size_t        n;

    if (json_is_string(v)) {
        *out = (gguf_str_t){json_string_value(v), json_string_length(v)};
        space = memchr(out->data, ' ', out->len);

        return space && space > out->data && space + 1 < out->data + out->len
                       && !memchr(space + 1, ' ',
                                  (size_t) (out->data + out->len - space - 1))
                   ? 0
                   : hf_text_fail(t, -EINVAL,
                                  "tokenizer.json: bad merge '%.64s'",
                                  out->data);
    }

    if (json_array_size(v) != 2 || !json_is_string(a) || !json_is_string(b)
        || json_string_length(a) == 0 || json_string_length(b) == 0) {
        return hf_text_fail(t, -EINVAL,
                            "tokenizer.json: a merge is no pair of strings");
    }

    if (memchr(json_string_value(a), ' ', json_string_length(a))
        || memchr(json_string_value(b), ' ', json_string_length(b))) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: the merge of '%.64s' and '%.64s' "
                            "has spaces within, that is not supported",
                            json_string_value(a), json_string_value(b));
    }

    n = json_string_length(a) + 1 + json_string_length(b);
    p = arena_get(&t->arena, n);
    if (p == NULL) {
        return hf_text_fail(t, -ENOMEM, "no memory");
    }

    memcpy(p, json_string_value(a), json_string_length(a));
    p[json_string_length(a)] = ' ';
    memcpy(p + json_string_length(a) + 1, json_string_value(b),
           json_string_length(b));
    *out = (gguf_str_t){p, n};

    return 0;
}


/* For those who look at scores only: the earlier its merge, the better. */

static void
tj_score(hf_text_t *t, gguf_str_t merge, size_t rank)
{
    const char *space = memchr(merge.data, ' ', merge.len);
    size_t      left = (size_t) (space - merge.data);
    char        text[512];
    hf_token_t *token;
    int32_t     id;

    if (merge.len > sizeof(text)) {
        return;
    }

    memcpy(text, merge.data, left);
    memcpy(text + left, space + 1, merge.len - left - 1);
    id = hf_vocab_find(t, text, merge.len - 1);
    token = id < 0 ? NULL : &t->tokens[id];

    if (token && token->type == HF_NORMAL && token->score <= -1e6f) {
        token->score = -(float) rank;
    }
}


static int
tj_post(hf_text_t *t, const json_t *v, int depth)
{
    const json_t *list = json_object_get(v, "processors");
    size_t        i;

    /* ByteLevel changes offsets only. */
    if (v == NULL || json_is_null(v) || hf_json_is(v, "type", "ByteLevel")) {
        return 0;
    }

    if (hf_json_is(v, "type", "TemplateProcessing")) {
        return tj_post_template(t, v);
    }

    if (!hf_json_is(v, "type", "Sequence") || !json_is_array(list)
        || depth >= HF_TEXT_DEPTH) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: post_processor '%.64s' is not "
                            "supported",
                            hf_json_type(v));
    }

    for (i = 0; i < json_array_size(list); i++) {
        LLM_TRY(tj_post(t, json_array_get(list, i), depth + 1));
    }

    return 0;
}


/* At most one token before a text and one behind it. */

static int
tj_post_template(hf_text_t *t, const json_t *v)
{
    const json_t *single = json_object_get(v, "single");
    const json_t *piece, *special;
    size_t        i;
    int           seen = 0;
    int32_t      *id;

    for (i = 0; i < json_array_size(single); i++) {
        piece = json_array_get(single, i);
        special = json_object_get(piece, "SpecialToken");

        if (special == NULL) {
            seen++;
            continue;
        }

        id = seen ? &t->behind : &t->before;

        if (*id >= 0) {
            return hf_text_fail(t, -ENOTSUP,
                                "tokenizer.json: a post_processor that adds "
                                "several tokens is not supported");
        }

        LLM_TRY(tj_post_id(t, v, special, id));
    }

    return seen == 1 ? 0
                     : hf_text_fail(t, -EINVAL,
                                    "tokenizer.json: bad TemplateProcessing");
}


static int
tj_post_id(hf_text_t *t, const json_t *v, const json_t *piece, int32_t *out)
{
    const char   *name = json_string_value(json_object_get(piece, "id"));
    const json_t *ids;

    ids = json_object_get(json_object_get(json_object_get(v, "special_tokens"),
                                          name ? name : ""),
                          "ids");

    if (json_array_size(ids) != 1 || !json_is_integer(json_array_get(ids, 0))
        || json_integer_value(json_array_get(ids, 0)) < 0
        || json_integer_value(json_array_get(ids, 0)) >= (json_int_t) t->n) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.json: special token '%.64s' of the "
                            "post_processor is not one token of the vocabulary",
                            name ? name : "");
    }

    *out = (int32_t) json_integer_value(json_array_get(ids, 0));

    return 0;
}


int
hf_json_is(const json_t *v, const char *key, const char *value)
{
    const char *s = json_string_value(json_object_get(v, key));

    return s && strcmp(s, value) == 0;
}


const char *
hf_json_type(const json_t *v)
{
    const char *s = json_string_value(json_object_get(v, "type"));

    return s ? s : "(no type)";
}


static int
tj_empty(const json_t *v)
{
    return v == NULL || json_is_null(v)
           || (json_is_string(v) && json_string_length(v) == 0);
}
