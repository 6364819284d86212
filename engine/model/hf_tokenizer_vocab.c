/*
 * The table of tokens of a Hugging Face folder: what the vocabulary itself
 * and the lists of added tokens say of each id.
 *
 * A loader thread; strings are borrowed from what hf_text_t owns.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include "engine/model/hf_tokenizer.h"

/* An added token as tokenizer.json or tokenizer_config.json tells of it. */
typedef struct {
    uint32_t    id;
    const char *s;
    size_t      len;
    int         special;
    int         normalized;
    int         single_word;
    uint8_t     flags;
} hf_added_t;

static int      vocab_added_json(hf_text_t *t);
static int      vocab_added_decoder(hf_text_t *t);
static int      vocab_added_names(hf_text_t *t);
static int      vocab_added_get(hf_text_t *t, const char *file, uint32_t id,
                                const json_t *v, hf_added_t *out);
static int      vocab_added_put(hf_text_t *t, const hf_added_t *a);
static int      vocab_added_type(const hf_text_t *t, const hf_added_t *a);
static int      vocab_prepends(const hf_text_t *t);
static int      vocab_looks_special(const char *s, size_t len);
static int      vocab_has_space(const char *s, size_t len);
static int      vocab_named(hf_text_t *t);
static void     vocab_name(hf_text_t *t, const json_t *v);
static uint32_t vocab_hash(const char *s, size_t len);


uint32_t
hf_vocab_size(const hf_text_t *t)
{
    const json_t *v = json_object_get(t->config, "vocab_size");
    json_int_t    n = json_is_integer(v) ? json_integer_value(v) : 0;

    return n > 0 && n <= (json_int_t) HF_TEXT_TOKENS ? (uint32_t) n : 0;
}


int
hf_vocab_room(hf_text_t *t, uint32_t last)
{
    uint32_t size = hf_vocab_size(t);

    if (last >= HF_TEXT_TOKENS) {
        return hf_text_fail(t, -EINVAL, "token id %u is too large", last);
    }

    if (size > 0 && last >= size) {
        return hf_text_fail(t, -EINVAL,
                            "the tokenizer has token id %u, config.json's "
                            "vocab_size is %u",
                            last, size);
    }

    t->n = size > 0 ? size : last + 1;
    t->tokens = calloc(t->n, sizeof(hf_token_t));

    return t->tokens ? 0 : hf_text_fail(t, -ENOMEM, "no memory");
}


int
hf_vocab_set(hf_text_t *t, uint32_t id, const char *s, size_t len, int type)
{
    hf_token_t *token = &t->tokens[id];

    if (token->type != HF_NONE
        && (token->s.len != len || memcmp(token->s.data, s, len) != 0)) {
        return hf_text_fail(t, -EINVAL, "token id %u is both '%.*s' and '%.*s'",
                            id, (int) (token->s.len < 64 ? token->s.len : 64),
                            token->s.data, (int) (len < 64 ? len : 64), s);
    }

    token->s = (gguf_str_t){s, len};
    token->type = (uint8_t) type;

    return 0;
}


int
hf_vocab_added(hf_text_t *t)
{
    LLM_TRY(t->tokenizer ? vocab_added_json(t) : vocab_added_names(t));
    LLM_TRY(vocab_added_decoder(t));

    return vocab_named(t);
}


static int
vocab_added_json(hf_text_t *t)
{
    const json_t *list, *vocab, *v, *id;
    hf_added_t    a;
    size_t        i;

    list = json_object_get(t->tokenizer, "added_tokens");
    vocab = json_object_get(json_object_get(t->tokenizer, "model"), "vocab");

    if (list == NULL || json_is_null(list)) {
        return 0;
    }

    if (!json_is_array(list) || json_array_size(list) > HF_TEXT_ADDED) {
        return hf_text_fail(t, -EINVAL, "tokenizer.json: bad added_tokens");
    }

    for (i = 0; i < json_array_size(list); i++) {
        v = json_array_get(list, i);
        id = json_object_get(v, "id");

        if (!json_is_integer(id) || json_integer_value(id) < 0
            || json_integer_value(id) >= (json_int_t) HF_TEXT_TOKENS) {
            return hf_text_fail(t, -EINVAL,
                                "tokenizer.json: added token %zu has no id "
                                "that can be",
                                i);
        }

        LLM_TRY(vocab_added_get(t, "tokenizer.json",
                                (uint32_t) json_integer_value(id), v, &a));

        v = memchr(a.s, 0, a.len) ? NULL : json_object_getn(vocab, a.s, a.len);

        if (v && json_integer_value(v) != (json_int_t) a.id) {
            return hf_text_fail(t, -EINVAL,
                                "tokenizer.json: added token '%.64s' has id "
                                "%u here and another in the vocabulary",
                                a.s, a.id);
        }

        LLM_TRY(vocab_added_put(t, &a));
    }

    return 0;
}


/* added_tokens.json beside a tokenizer.model: spelling to id. */

static int
vocab_added_names(hf_text_t *t)
{
    const char *key;
    json_t     *v;
    hf_added_t  a;

    if (t->added == NULL) {
        return 0;
    }

    if (!json_is_object(t->added)
        || json_object_size(t->added) > HF_TEXT_ADDED) {
        return hf_text_fail(t, -EINVAL, "added_tokens.json: not an object");
    }

    json_object_foreach(t->added, key, v)
    {
        if (!json_is_integer(v) || json_integer_value(v) < 0
            || json_integer_value(v) >= (json_int_t) HF_TEXT_TOKENS) {
            return hf_text_fail(t, -EINVAL,
                                "added_tokens.json: bad id of "
                                "'%.64s'",
                                key);
        }

        a = (hf_added_t){.id = (uint32_t) json_integer_value(v),
                         .s = key,
                         .len = strlen(key)};
        LLM_TRY(vocab_added_put(t, &a));
    }

    return 0;
}


/* tokenizer_config.json's have the last word on flags, as with transformers. */

static int
vocab_added_decoder(hf_text_t *t)
{
    json_t       *list = json_object_get(t->settings, "added_tokens_decoder");
    const char   *key;
    char         *end;
    json_t       *v;
    hf_added_t    a;
    unsigned long id;

    if (list == NULL || json_is_null(list)) {
        return 0;
    }

    if (!json_is_object(list) || json_object_size(list) > HF_TEXT_ADDED) {
        return hf_text_fail(t, -EINVAL,
                            "tokenizer_config.json: bad added_tokens_decoder");
    }

    json_object_foreach(list, key, v)
    {
        errno = 0;
        id = strtoul(key, &end, 10);

        if (*key < '0' || *key > '9' || *end != '\0' || errno != 0
            || id >= HF_TEXT_TOKENS) {
            return hf_text_fail(t, -EINVAL,
                                "tokenizer_config.json: '%.64s' is no token id",
                                key);
        }

        LLM_TRY(
            vocab_added_get(t, "tokenizer_config.json", (uint32_t) id, v, &a));
        LLM_TRY(vocab_added_put(t, &a));
    }

    return 0;
}


static int
vocab_added_get(hf_text_t *t, const char *file, uint32_t id, const json_t *v,
                hf_added_t *out)
{
    const json_t *s = json_object_get(v, "content");
    int           special = json_is_true(json_object_get(v, "special"));
    const json_t *normalized = json_object_get(v, "normalized");

    if (!json_is_string(s)) {
        return hf_text_fail(t, -EINVAL, "%s: added token %u has no content",
                            file, id);
    }

    *out = (hf_added_t){
        .id = id,
        .s = json_string_value(s),
        .len = json_string_length(s),
        .special = special,
        .normalized = normalized ? json_is_true(normalized) : !special,
        .single_word = json_is_true(json_object_get(v, "single_word")),
        .flags =
            (uint8_t) ((json_is_true(json_object_get(v, "lstrip")) ? HF_LSTRIP
                                                                   : 0)
                       | (json_is_true(json_object_get(v, "rstrip")) ? HF_RSTRIP
                                                                     : 0))};

    return 0;
}


/*
 * Ids from vocab_size on have no row in the model: their tokens cannot be
 * used, with them the text is ordinary.  Gemma 3 without pictures has one.
 */
static int
vocab_added_put(hf_text_t *t, const hf_added_t *a)
{
    hf_token_t *token;
    int         type;

    if (a->id >= t->n || a->len == 0) {
        return 0;
    }

    if (a->single_word) {
        return hf_text_fail(t, -ENOTSUP,
                            "added token '%.64s' is a single_word, that is not "
                            "supported",
                            a->s);
    }

    type = vocab_added_type(t, a);

    /* Special ones are meant as they are spelled, whatever flags say. */
    if (a->normalized && type != HF_CONTROL && !t->bpe && vocab_prepends(t)) {
        return hf_text_fail(t, -ENOTSUP,
                            "added token '%.64s' is normalized, that is not "
                            "supported with a normalizer that prepends",
                            a->s);
    }

    token = &t->tokens[a->id];

    /* Beside tokenizer.model they replace its pieces. */
    if (t->tokenizer == NULL) {
        token->type = HF_NONE;
    }

    LLM_TRY(hf_vocab_set(t, a->id, a->s, a->len, type));
    token->flags = a->flags;
    token->score = -1000;

    return type == HF_USER_DEFINED && !t->bpe ? hf_vocab_spaces(t, token) : 0;
}


/*
 * As GGUF converters decide; but that a token of spaces which merges lead to
 * (Gemma's) is an ordinary one: text never spells it, its spaces become it.
 */
static int
vocab_added_type(const hf_text_t *t, const hf_added_t *a)
{
    const hf_token_t *token = &t->tokens[a->id];

    if (a->special || vocab_looks_special(a->s, a->len)) {
        return HF_CONTROL;
    }

    if (!t->bpe && t->tokenizer && token->type == HF_NORMAL
        && vocab_has_space(a->s, a->len)) {
        return HF_NORMAL;
    }

    return HF_USER_DEFINED;
}


static int
vocab_prepends(const hf_text_t *t)
{
    return t->prefix && strcmp(t->prefix, "each") == 0;
}


/* Added tokens that some families' files do not say to be special. */

static int
vocab_looks_special(const char *s, size_t len)
{
    static const char *const names[] = {"<pad>", "<mask>", "<2mass>",
                                        "[@BOS@]"};
    static const struct {
        str_t first;
        str_t last;
    } forms[] = {{{"<|", 2}, {"|>", 2}},
                 {{"<\xef\xbd\x9c", 4}, {"\xef\xbd\x9c>", 4}},
                 {{"<unused", 7}, {">", 1}}};
    size_t i;

    for (i = 0; i < llm_countof(names); i++) {
        if (str_eq((str_t){s, len}, str_of(names[i]))) {
            return 1;
        }
    }

    for (i = 0; i < llm_countof(forms); i++) {
        if (len >= forms[i].first.len && len >= forms[i].last.len
            && memcmp(s, forms[i].first.s, forms[i].first.len) == 0
            && memcmp(s + len - forms[i].last.len, forms[i].last.s,
                      forms[i].last.len)
                   == 0) {
            return 1;
        }
    }

    return 0;
}


static int
vocab_has_space(const char *s, size_t len)
{
    return memmem(s, len, HF_SPACE, sizeof(HF_SPACE) - 1) != NULL;
}


int
hf_vocab_spaces(hf_text_t *t, hf_token_t *token)
{
    const char *s = token->s.data;
    size_t      i, n = 0;
    char       *p;

    if (!vocab_has_space(s, token->s.len)) {
        return 0;
    }

    p = arena_get(&t->arena, token->s.len + 1);
    if (p == NULL) {
        return hf_text_fail(t, -ENOMEM, "no memory");
    }

    for (i = 0; i < token->s.len; n++) {
        if (token->s.len - i >= 3 && memcmp(s + i, HF_SPACE, 3) == 0) {
            p[n] = ' ';
            i += 3;
        } else {
            p[n] = s[i++];
        }
    }

    token->s = (gguf_str_t){p, n};

    return 0;
}


/* What is named as bos_token and so on is special, whatever lists say. */

static int
vocab_named(hf_text_t *t)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token",
                                       "sep_token", "pad_token", "cls_token",
                                       "mask_token"};
    static const char *const lists[] = {"additional_special_tokens",
                                        "extra_special_tokens"};
    const json_t            *list;
    size_t                   i, k;

    LLM_TRY(hf_vocab_finish(t));

    for (i = 0; i < llm_countof(keys); i++) {
        vocab_name(t, json_object_get(t->settings, keys[i]));
        vocab_name(t, json_object_get(t->map, keys[i]));
    }

    for (i = 0; i < llm_countof(lists); i++) {
        list = json_object_get(t->settings, lists[i]);
        for (k = 0; k < json_array_size(list); k++) {
            vocab_name(t, json_array_get(list, k));
        }
    }

    return 0;
}


static void
vocab_name(hf_text_t *t, const json_t *v)
{
    const json_t *s = json_is_object(v) ? json_object_get(v, "content") : v;
    hf_token_t   *token;
    int32_t       id;

    if (!json_is_string(s)) {
        return;
    }

    id = hf_vocab_find(t, json_string_value(s), json_string_length(s));
    if (id < 0) {
        return;
    }

    token = &t->tokens[id];

    if (token->type == HF_NORMAL || token->type == HF_USER_DEFINED) {
        token->type = HF_CONTROL;
    }
}


int
hf_vocab_finish(hf_text_t *t)
{
    uint32_t i, at;
    char     name[24];
    int      len;

    for (t->mask = 1; t->mask < 2 * t->n; t->mask *= 2) {
    }

    t->index = calloc(t->mask, sizeof(uint32_t));
    if (t->index == NULL) {
        return hf_text_fail(t, -ENOMEM, "no memory");
    }

    t->mask--;

    for (i = 0; i < t->n; i++) {
        hf_token_t *token = &t->tokens[i];

        if (token->type == HF_NONE) {
            len = snprintf(name, sizeof(name), "[PAD%u]", i);
            token->s.data = arena_str(&t->arena, name, (size_t) len);
            token->s.len = (size_t) len;
            token->type = HF_UNUSED;
            token->score = -10000;

            if (token->s.data == NULL) {
                return hf_text_fail(t, -ENOMEM, "no memory");
            }

            continue; /* nobody's spelling */
        }

        at = vocab_hash(token->s.data, token->s.len) & t->mask;
        while (t->index[at] != 0) {
            at = (at + 1) & t->mask;
        }

        t->index[at] = i + 1;
    }

    return 0;
}


int32_t
hf_vocab_find(const hf_text_t *t, const char *s, size_t len)
{
    const hf_token_t *token;
    uint32_t          at = vocab_hash(s, len) & t->mask;

    for (; t->index[at] != 0; at = (at + 1) & t->mask) {
        token = &t->tokens[t->index[at] - 1];

        if (token->s.len == len && memcmp(token->s.data, s, len) == 0) {
            return (int32_t) t->index[at] - 1;
        }
    }

    return -1;
}


int
hf_vocab_is_byte(gguf_str_t s)
{
    static const char hex[] = "0123456789ABCDEFabcdef";

    return s.len == 6 && memcmp(s.data, "<0x", 3) == 0 && s.data[5] == '>'
           && memchr(hex, s.data[3], 22) && memchr(hex, s.data[4], 22);
}


static uint32_t
vocab_hash(const char *s, size_t len)
{
    return (uint32_t) XXH3_64bits(s, len);
}
