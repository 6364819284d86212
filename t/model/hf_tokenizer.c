/*
 * Tokenizers of Hugging Face folders: what they are told as, and the ids that
 * texts get in the end, against `tokenizers` and `sentencepiece` (see
 * make_hf_tokenizer.py); then what is broken, hostile or not known.
 *
 * An argument names another folder with a cases.json, for its texts only.
 */

#include <errno.h>
#include <math.h>
#include "engine/base.h"
#include "engine/model/hf_tokenizer.h"
#include "engine/serve/vocab.h"
#include "t/lib/tap.h"

#define DIR "t/model/hf_tokenizer"

/* A folder; what `changed` names comes from there (NULL: it is not there). */
typedef struct {
    const char *path;
    const char *changed;
    const char *text;
    size_t      len;
} folder_t;

static int     read_file(void *ctx, const char *name, char **out, size_t *len,
                         size_t max);
static json_t *load(const char *path);
static gguf_t *convert(const folder_t *f, char *err, int *rc);
static void    test_folder(const char *root, const char *name, json_t *texts,
                           json_t *expected);
static int     test_ids(const vocab_t *v, json_t *text, json_t *ids, int trust,
                        unsigned flags, text_scratch_t *s, const char *name);
static void    test_keys(const gguf_t *g, const vocab_t *v, json_t *keys,
                         const char *name);
static int     key_is(const gguf_t *g, const vocab_t *v, const char *key,
                      json_t *value);
static void    test_refused(void);
static void    test_protobuf(void);
static void    test_files(void);


int
main(int argc, char **argv)
{
    const char *root = argc > 1 ? argv[1] : DIR;
    char        path[1024];
    const char *name;
    json_t     *cases, *folders, *f;

    snprintf(path, sizeof(path), "%s/cases.json", root);
    cases = load(path);
    folders = json_object_get(cases, "folders");
    ok(json_object_size(folders) > 0, "cases of %zu folders",
       json_object_size(folders));

    json_object_foreach(folders, name, f)
    {
        test_folder(root, name, json_object_get(cases, "texts"), f);
    }

    json_decref(cases);

    if (argc == 1) {
        test_refused();
        test_protobuf();
        test_files();
    }

    return tap_done();
}


static int
read_file(void *ctx, const char *name, char **out, size_t *len, size_t max)
{
    const folder_t *f = ctx;
    char            path[1024];
    FILE           *file;
    buf_t           buf = {0};
    char           *room;

    if (f->changed && strcmp(f->changed, name) == 0) {
        if (f->text == NULL) {
            return -ENOENT;
        }

        buf_add(&buf, f->text, f->len);
        buf_add(&buf, "", 1);
        *out = buf.data;
        *len = f->len;

        return f->len > max ? -EFBIG : 0;
    }

    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    file = fopen(path, "rb");

    if (file == NULL) {
        return -ENOENT;
    }

    while ((room = buf_room(&buf, 65536)) != NULL) {
        size_t n = fread(room, 1, 65536, file);

        buf.len += n;
        if (n == 0) {
            break;
        }
    }

    fclose(file);
    *len = buf.len;
    buf_add(&buf, "", 1);
    *out = buf.data;

    return buf.failed ? -ENOMEM : 0;
}


static json_t *
load(const char *path)
{
    json_t *v = json_load_file(path, JSON_ALLOW_NUL, NULL);

    if (v == NULL) {
        printf("Bail out! %s\n", path);
        exit(1);
    }

    return v;
}


static gguf_t *
convert(const folder_t *f, char *err, int *rc)
{
    hf_text_files_t files = {read_file, (void *) (uintptr_t) f};
    gguf_writer_t  *w = gguf_writer_new();
    gguf_t         *g = NULL;
    char            path[1024];
    static void    *head; /* of the last one */
    json_t         *config;
    ssize_t         n;

    snprintf(path, sizeof(path), "%s/config.json", f->path);
    config = json_load_file(path, 0, NULL);
    err[0] = '\0';
    *rc = hf_tokenizer_from(&files, config, w, err, 512);

    if (*rc == 0) {
        free(head);
        head = NULL;
        n = gguf_writer_head(w, &head);
        *rc = n < 0 ? (int) n : gguf_open_mem(head, (size_t) n, &g, err, 512);
    }

    gguf_writer_free(w);
    json_decref(config);

    return g;
}


static void
test_folder(const char *root, const char *name, json_t *texts, json_t *expected)
{
    char            path[512], err[512];
    folder_t        f = {.path = path};
    text_scratch_t *s = text_scratch_new();
    json_t         *more, *ids;
    gguf_t         *g;
    vocab_t         v;
    size_t          i, n = 0, good = 0;
    int             rc, trust;

    trust = !json_is_false(json_object_get(expected, "trusted"));
    snprintf(path, sizeof(path), "%s/%s", root, name);
    g = convert(&f, err, &rc);
    is_int(rc, 0, "%s: told as a GGUF%s%s", name, rc ? ": " : "", err);

    if (g == NULL) {
        text_scratch_free(s);
        return;
    }

    rc = vocab_open(g, &v, err, sizeof(err));
    is_int(rc, 0, "%s: opened%s%s", name, rc ? ": " : "", err);

    if (rc == 0) {
        ids = json_object_get(expected, "ids");
        more = json_object_get(expected, "more");

        for (i = 0; i < json_array_size(ids); i++) {
            if (!json_is_null(json_array_get(ids, i))) {
                n++;
                good += test_ids(&v, json_array_get(texts, i),
                                 json_array_get(ids, i), trust, 0, s, name);
            }
        }

        for (i = 0; i < json_array_size(more); i++) {
            n++;
            good +=
                test_ids(&v, json_object_get(json_array_get(more, i), "text"),
                         json_object_get(json_array_get(more, i), "ids"), trust,
                         0, s, name);
        }

        is_int(good, n, "%s: ids of %zu texts", name, n);

        ids = json_object_get(expected, "special");

        if (ids) {
            more = json_string("Hi there");
            ok(test_ids(&v, more, ids, 0, TEXT_ADD_BOS | TEXT_ADD_EOS, s, name),
               "%s: what is added to a text", name);
            json_decref(more);
        }

        test_keys(g, &v, json_object_get(expected, "keys"), name);
    }

    vocab_close(&v);
    gguf_close(g);
    text_scratch_free(s);
}


static int
test_ids(const vocab_t *v, json_t *text, json_t *ids, int trust, unsigned flags,
         text_scratch_t *s, const char *name)
{
    const char *p = json_string_value(text);
    size_t      len = json_string_length(text);
    size_t      cap = text_encode_max(v->tokenizer, len) + 1;
    int32_t    *out = malloc(cap * sizeof(int32_t));
    uint8_t    *trusted = malloc(len + 1);
    ssize_t     n, i, k;

    memset(trusted, trust, len + 1);
    n = text_encode(v->tokenizer, p, len, trusted, flags, out, cap, s);

    for (i = 0; i < n && i < (ssize_t) json_array_size(ids); i++) {
        if (out[i] != json_integer_value(json_array_get(ids, (size_t) i))) {
            break;
        }
    }

    if (i != n || i != (ssize_t) json_array_size(ids)) {
        char *shown = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

        printf("# %s: %s: differs at token %zd\n# got     ", name, shown, i);
        for (k = i; k < n && k < i + 12; k++) {
            printf(" %d", out[k]);
        }
        printf("\n# expected");
        for (k = i; k < (ssize_t) json_array_size(ids) && k < i + 12; k++) {
            printf(" %d",
                   (int) json_integer_value(json_array_get(ids, (size_t) k)));
        }
        printf("\n");
        free(shown);
        n = -1;
    }

    free(out);
    free(trusted);

    return n >= 0;
}


static void
test_keys(const gguf_t *g, const vocab_t *v, json_t *keys, const char *name)
{
    const char *key;
    json_t     *value;
    char       *shown;

    json_object_foreach(keys, key, value)
    {
        shown = json_dumps(value, JSON_ENCODE_ANY);
        ok(key_is(g, v, key, value), "%s: %s is %s", name, key, shown);
        free(shown);
    }
}


/* null: there is no such key. */

static int
key_is(const gguf_t *g, const vocab_t *v, const char *key, json_t *value)
{
    gguf_str_t  s;
    int32_t     n, ids[64];
    float       f;
    bool        b;
    size_t      i;
    const char *name;
    json_t     *item;

    if (strcmp(key, "tokens") == 0) {
        return gguf_get_arr_str(g, "tokenizer.ggml.tokens", NULL, 0)
                   == json_integer_value(value)
               && text_vocab_size(v->tokenizer)
                      == (size_t) json_integer_value(value);
    }

    if (strcmp(key, "types") == 0) {
        json_object_foreach(value, name, item)
        {
            if (text_token_type(v->tokenizer, atoi(name))
                != json_integer_value(item)) {
                return 0;
            }
        }

        return 1;
    }

    if (strcmp(key, "eog") == 0) {
        for (i = 0; i < v->n_eog; i++) {
            if (v->eog[i] != json_integer_value(json_array_get(value, i))) {
                return 0;
            }
        }

        return i == json_array_size(value);
    }

    if (json_is_null(value)) {
        return gguf_get_i32(g, key, &n) == -ENOENT;
    }

    if (json_is_string(value)) {
        return gguf_get_str(g, key, &s) == 0
               && s.len == json_string_length(value)
               && memcmp(s.data, json_string_value(value), s.len) == 0;
    }

    if (json_is_boolean(value)) {
        return gguf_get_bool(g, key, &b) == 0 && b == json_is_true(value);
    }

    if (json_is_array(value)) {
        if (gguf_get_arr_i32(g, key, ids, 64)
            != (ssize_t) json_array_size(value)) {
            return 0;
        }

        for (i = 0; i < json_array_size(value); i++) {
            if (ids[i] != json_integer_value(json_array_get(value, i))) {
                return 0;
            }
        }

        return 1;
    }

    if (json_is_integer(value)) {
        return gguf_get_i32(g, key, &n) == 0 && n == json_integer_value(value);
    }

    return gguf_get_f32(g, key, &f) == 0
           && fabs((double) f - json_real_value(value)) < 1e-6;
}


/* One value of a good tokenizer.json is another. */

static void
test_refused(void)
{
    static const struct {
        const char *folder;
        const char *path; /* keys and indexes with slashes */
        const char *value;
        int         rc;
        const char *err; /* a part of it */
    } cases[] = {
        {"gpt2", "model", "7", -EINVAL, "no model"},
        {"gpt2", "model/type", "\"Unigram\"", -ENOTSUP, "'Unigram'"},
        {"gpt2", "model/type", "\"Word\\nPiece\"", -ENOTSUP, "'Word?Piece'"},
        {"gpt2", "model/dropout", "0.1", -ENOTSUP, "dropout"},
        {"gpt2", "model/dropout", "0.0", 0, ""},
        {"gpt2", "model/continuing_subword_prefix", "\"##\"", -ENOTSUP,
         "continuing_subword_prefix"},
        {"gpt2", "model/end_of_word_suffix", "\"</w>\"", -ENOTSUP,
         "end_of_word_suffix"},
        {"gpt2", "model/unk_token", "\"a\"", 0, ""},
        {"gpt2", "model/vocab", "{\"a\":0}", -EINVAL, "merge 0 is broken"},
        {"gpt2", "model",
         "{\"type\":\"BPE\",\"unk_token\":\"a\",\"vocab\":{\"a\":0},"
         "\"merges\":[]}",
         -ENOTSUP, "lacks byte 0"},
        {"gpt2", "model/vocab", "{}", -EINVAL, "bad vocab"},
        {"gpt2", "model/vocab", "[]", -EINVAL, "bad vocab"},
        {"gpt2", "model/vocab/a", "-1", -EINVAL, "bad id of 'a'"},
        {"gpt2", "model/vocab/a", "\"x\"", -EINVAL, "bad id of 'a'"},
        {"gpt2", "model/vocab/a", "2097152", -EINVAL, "bad id of 'a'"},
        {"gpt2", "model/vocab/a", "99999999999", -EINVAL, "bad id of 'a'"},
        {"gpt2", "model/vocab/a", "5000", -EINVAL,
         "token id 5000, config.json's vocab_size is 428"},
        {"gpt2", "model/vocab/a", "7", -EINVAL, "token id 7 is both"},
        {"gpt2", "model/merges", "{}", -EINVAL, "bad merges"},
        {"gpt2", "model/merges/0", "\"ab\"", -EINVAL, "bad merge 'ab'"},
        {"gpt2", "model/merges/0", "\" ab\"", -EINVAL, "bad merge ' ab'"},
        {"gpt2", "model/merges/0", "\"a b c\"", -EINVAL, "bad merge 'a b c'"},
        {"gpt2", "model/merges/0", "7", -EINVAL, "no pair"},
        {"gpt2", "model/merges/0", "[\"a\"]", -EINVAL, "no pair"},
        {"gpt2", "model/merges/0", "[\"a\", \"\"]", -EINVAL, "no pair"},
        {"gpt2", "model/merges/0", "[\"a \", \"b\"]", -ENOTSUP, "spaces"},
        {"gpt2", "added_tokens", "{}", -EINVAL, "bad added_tokens"},
        {"gpt2", "added_tokens/0/id", "null", -EINVAL, "no id"},
        {"gpt2", "added_tokens/0/id", "3", -EINVAL, "token id 3 is both"},
        {"gpt2", "added_tokens/0/content", "\"a\"", -EINVAL,
         "another in the vocabulary"},
        {"gpt2", "added_tokens/0/content", "7", -EINVAL, "no content"},
        {"gpt2", "added_tokens/0/single_word", "true", -ENOTSUP, "single_word"},
        {"gpt2", "pre_tokenizer", "null", -ENOTSUP,
         "neither a ByteLevel pre-tokenizer"},
        {"gpt2", "pre_tokenizer/type", "\"Whitespace\"", -ENOTSUP,
         "neither a ByteLevel pre-tokenizer"},
        {"gpt2", "pre_tokenizer/add_prefix_space", "true", -ENOTSUP,
         "add_prefix_space"},
        {"gpt2", "normalizer", "{\"type\":\"Lowercase\"}", -ENOTSUP,
         "normalizer 'Lowercase'"},
        {"gpt2", "normalizer", "{\"type\":\"Sequence\",\"normalizers\":[]}", 0,
         ""},
        {"gpt2", "normalizer",
         "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"}]}",
         -ENOTSUP, "normalizer 'NFKC'"},
        {"gpt2", "post_processor", "{\"type\":\"BertProcessing\"}", -ENOTSUP,
         "post_processor 'BertProcessing'"},
        {"llama3", "pre_tokenizer/pretokenizers/0/pattern",
         "{\"String\":\" \"}", -ENOTSUP, "without a Regex"},
        {"llama3", "pre_tokenizer/pretokenizers/0/pattern/Regex", "\"a+\"",
         -ENOTSUP, "no known family"},
        {"llama3", "pre_tokenizer/pretokenizers/0/behavior",
         "\"MergedWithNext\"", -ENOTSUP, "of this behavior"},
        {"llama3", "pre_tokenizer/pretokenizers/0/invert", "true", -ENOTSUP,
         "of this behavior"},
        {"llama3", "pre_tokenizer/pretokenizers/0",
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":"
         "false}",
         -ENOTSUP, "no known family"},
        {"llama3", "post_processor/processors/1/single", "[]", -EINVAL,
         "bad TemplateProcessing"},
        {"llama3", "post_processor/processors/1/single/1",
         "{\"SpecialToken\":{\"id\":\"<|begin_of_text|>\"}}", -ENOTSUP,
         "several tokens"},
        {"llama3", "post_processor/processors/1/single/0/SpecialToken/id",
         "\"?\"", -ENOTSUP, "special token '?'"},
        {"llama3",
         "post_processor/processors/1/special_tokens/<|begin_of_text|>/ids",
         "[3]", -ENOTSUP, "which is not the bos_token"},
        {"llama3",
         "post_processor/processors/1/special_tokens/<|begin_of_text|>/ids",
         "[99999]", -ENOTSUP, "not one token"},
        {"llama2", "model/byte_fallback", "false", -ENOTSUP, "byte_fallback"},
        {"llama2", "model/ignore_merges", "true", -ENOTSUP, "ignore_merges"},
        {"llama2", "normalizer", "null", -ENOTSUP, "without U+2581"},
        {"llama2", "normalizer", "{\"type\":\"NFKC\"}", -ENOTSUP,
         "normalizer 'NFKC'"},
        {"llama2", "normalizer/normalizers/1/content", "\"_\"", -ENOTSUP,
         "normalizer 'Replace'"},
        {"llama2", "normalizer/normalizers/0/prepend", "\"_\"", -ENOTSUP,
         "normalizer 'Prepend'"},
        {"llama2", "pre_tokenizer", "{\"type\":\"Whitespace\"}", -ENOTSUP,
         "pre_tokenizer 'Whitespace'"},
        {"llama2", "model/vocab/<0x41>", "4242", 0, ""},
        {"mistral3", "pre_tokenizer/split", "true", -ENOTSUP, "splits words"},
        {"mistral3", "pre_tokenizer/replacement", "\"_\"", -ENOTSUP,
         "replacement"},
        {"mistral3", "pre_tokenizer/prepend_scheme", "\"last\"", -EINVAL,
         "prepend_scheme"},
    };
    char     err[512];
    size_t   i;
    int      rc;
    vocab_t  v;
    folder_t f;

    for (i = 0; i < llm_countof(cases); i++) {
        char    file[512], path[256], *key, *next, *text;
        json_t *root, *at, *value;
        gguf_t *g;

        snprintf(path, sizeof(path), DIR "/%s", cases[i].folder);
        snprintf(file, sizeof(file), "%s/tokenizer.json", path);
        root = at = load(file);
        value = json_loads(cases[i].value, JSON_DECODE_ANY, NULL);
        snprintf(file, sizeof(file), "%s", cases[i].path);

        for (key = file; (next = strchr(key, '/')) != NULL; key = next + 1) {
            *next = '\0';
            at = json_is_array(at) ? json_array_get(at, (size_t) atoi(key))
                                   : json_object_get(at, key);
        }

        rc = json_is_array(at)
                 ? json_array_set_new(at, (size_t) atoi(key), value)
                 : json_object_set_new(at, key, value);
        if (rc != 0) {
            printf("Bail out! case %zu\n", i);
            exit(1);
        }

        text = json_dumps(root, JSON_COMPACT);
        json_decref(root);
        f = (folder_t){path, "tokenizer.json", text, strlen(text)};
        g = convert(&f, err, &rc);

        if (g) {
            rc = vocab_open(g, &v, err, sizeof(err));
            vocab_close(&v);
            gguf_close(g);
        }

        ok(rc == cases[i].rc
               && (cases[i].err == NULL || strstr(err, cases[i].err)),
           "%s: %s = %s: %s", cases[i].folder, cases[i].path, cases[i].value,
           err[0] ? err : "fine");
        if (rc != cases[i].rc) {
            printf("# %d, not %d\n", rc, cases[i].rc);
        }

        free(text);
    }
}


static void
test_protobuf(void)
{
    static const struct {
        const char *name;
        const char *bytes;
        size_t      len;
        int         rc;
        const char *err;
    } cases[] = {
        {"nothing", "", 0, -EINVAL, "not a SentencePiece model"},
        {"a cut varint", "\x0a\x80", 2, -EINVAL, "not a SentencePiece model"},
        {"a length beyond the end", "\x0a\x05xx", 4, -EINVAL,
         "not a SentencePiece model"},
        {"a length of 2^63", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10,
         -EINVAL, "not a SentencePiece model"},
        {"a group", "\x0b", 1, -EINVAL, "not a SentencePiece model"},
        {"field 0", "\x02\x00", 2, -EINVAL, "not a SentencePiece model"},
        {"a varint too long",
         "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13, -EINVAL,
         "not a SentencePiece model"},
        {"unigram by default", "\x0a\x03\x0a\x01x", 5, -ENOTSUP, "'unigram'"},
        {"another type", "\x0a\x03\x0a\x01x\x12\x02\x18\x09", 9, -ENOTSUP,
         "'unknown'"},
        {"without byte_fallback", "\x0a\x03\x0a\x01x\x12\x02\x18\x02", 9,
         -ENOTSUP, "byte_fallback"},
        {"a map of characters",
         "\x0a\x03\x0a\x01x\x12\x05\x18\x02\x98\x02\x01\x1a\x03\x12\x01x", 17,
         -ENOTSUP, "maps characters"},
        {"an empty piece", "\x0a\x02\x0a\x00\x12\x05\x18\x02\x98\x02\x01", 11,
         -EINVAL, "piece 0 is broken"},
        {"a piece that is not UTF-8",
         "\x0a\x03\x0a\x01\xff\x12\x05\x18\x02\x98\x02\x01", 12, -EINVAL,
         "piece 0 is broken"},
        {"a score that is no number",
         "\x0a\x08\x0a\x01x\x15\xff\xff\xff\xff\x12\x05\x18\x02\x98\x02\x01",
         17, -EINVAL, "piece 0 is broken"},
        {"a type 7", "\x0a\x05\x0a\x01x\x18\x07\x12\x05\x18\x02\x98\x02\x01",
         14, -EINVAL, "piece 0 is broken"},
        {"a byte that is none",
         "\x0a\x05\x0a\x01x\x18\x06\x12\x05\x18\x02\x98\x02\x01", 14, -EINVAL,
         "piece 0 is no byte"},
        {"one piece", "\x0a\x03\x0a\x01x\x12\x05\x18\x02\x98\x02\x01", 12, 0,
         ""},
    };
    folder_t f = {.path = "/nonexistent", .changed = "tokenizer.model"};
    gguf_t  *g;
    char     err[512];
    size_t   i;
    int      rc;

    for (i = 0; i < llm_countof(cases); i++) {
        f.text = cases[i].bytes;
        f.len = cases[i].len;
        g = convert(&f, err, &rc);
        ok(rc == cases[i].rc && strstr(err, cases[i].err), "%s: %s",
           cases[i].name, err[0] ? err : "fine");
        gguf_close(g);
    }
}


/* The files around it. */

static void
test_files(void)
{
    static const struct {
        const char *file;
        const char *text; /* NULL: it is not there */
        int         rc;
        const char *err;
    } cases[] = {
        {"tokenizer.json", NULL, -ENOENT, "neither tokenizer.json"},
        {"tokenizer.json", "", -EINVAL, "tokenizer.json: line 1"},
        {"tokenizer.json", "{\"a\":1,\"a\":2}", -EINVAL, "duplicate"},
        {"tokenizer.json", "{\"a\":\"\xff\"}", -EINVAL, "line 1"},
        {"tokenizer.json", "[]", -EINVAL, "not an object"},
        {"tokenizer_config.json", "{", -EINVAL, "tokenizer_config.json: line"},
        {"tokenizer_config.json", NULL, 0, ""},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":7}", -EINVAL,
         "bad added_tokens_decoder"},
        {"tokenizer_config.json",
         "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}", -EINVAL,
         "'x' is no token id"},
        {"tokenizer_config.json",
         "{\"added_tokens_decoder\":{\"7\":{\"content\":\"y\"}}}", -EINVAL,
         "token id 7 is both"},
        {"tokenizer_config.json", "{\"chat_template\":7}", -EINVAL,
         "bad chat_template"},
        {"tokenizer_config.json",
         "{\"chat_template\":[{\"name\":\"a.b\",\"template\":\"\"}]}", -EINVAL,
         "bad chat_template"},
        {"tokenizer_config.json",
         "{\"chat_template\":{\"default\":\"x\",\"tool_use\":\"y\"}}", 0, ""},
        {"tokenizer_config.json", "{\"chat_template\":{\"default\":7}}",
         -EINVAL, "bad chat_template"},
        {"special_tokens_map.json", "[]", -EINVAL, "special_tokens_map.json"},
        {"generation_config.json", "{\"temperature\":\"hot\"}", -EINVAL,
         "bad temperature"},
        {"generation_config.json", "{\"top_k\":1e300}", -EINVAL, "bad top_k"},
        {"generation_config.json", "{\"eos_token_id\":\"x\"}", -EINVAL,
         "bad eos_token_id"},
        {"generation_config.json", "{\"eos_token_id\":[-1,99999999999]}", 0,
         ""},
        {"generation_config.json", "{\"top_k\":null,\"eos_token_id\":null}", 0,
         ""},
        {"chat_template.jinja", "\xc3", -EINVAL, "not UTF-8"},
        {"chat_template.json", "{\"chat_template\":\"x\"}", 0, ""},
    };
    char     err[512];
    folder_t f = {.path = DIR "/smollm"};
    gguf_t  *g;
    size_t   i;
    int      rc;

    for (i = 0; i < llm_countof(cases); i++) {
        f.changed = cases[i].file;
        f.text = cases[i].text;
        f.len = cases[i].text ? strlen(cases[i].text) : 0;
        g = convert(&f, err, &rc);
        ok(rc == cases[i].rc && strstr(err, cases[i].err), "%s = %s: %s",
           cases[i].file, cases[i].text ? cases[i].text : "(not there)",
           err[0] ? err : "fine");
        gguf_close(g);
    }
}
