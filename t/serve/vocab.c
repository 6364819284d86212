/*
 * From a weight file's metadata to a tokenizer: flags, special ids, protected
 * tokens, the list of tokens that end a generation, and files that lack or
 * break a part.  All files are written by the test.
 */

#include "engine/serve/vocab.h"
#include "engine/model/gguf_write.h"
#include "t/lib/tap.h"
#include "t/model/gguf_write.h"
#include "t/text/small.h"

#include <errno.h>


#define N(a) (sizeof(a) / sizeof((a)[0]))


/* What to write; NULL and negative: left out. */
typedef struct {
    const char  *model;
    const char  *pre;
    const char **more; /* tokens behind the alphabet */
    int          more_type;
    size_t       n_more;
    int          eos;
    int          eot;
    int          n_types; /* -1: as many as tokens; 0: left out */
    bool         no_tokens;
} file_t;


static void write_file(gguf_write_t *w, const file_t *f);
static int  open_file(const file_t *f, vocab_t *v, char *err);
static void test_plain(void);
static void test_eog(void);
static void test_eog_exceptions(void);
static void test_protected(void);
static void test_broken(void);
static void test_folder_keys(void);


int
main(void)
{
    test_plain();
    test_eog();
    test_eog_exceptions();
    test_protected();
    test_broken();
    test_folder_keys();

    return tap_done();
}


static void
write_file(gguf_write_t *w, const file_t *f)
{
    small_t      small;
    text_vocab_t v;
    size_t       i, n;
    uint64_t     n_kv;

    small_vocab(&small, &v);
    n = 256 + f->n_more;
    n_kv = 1;
    n_kv += (f->model != NULL) + (f->pre != NULL) + (f->eos >= 0)
            + (f->eot >= 0) + (f->n_types != 0) + !f->no_tokens;

    w_head(w, 3, 0, n_kv);
    w_key(w, "tokenizer.ggml.add_bos_token", W_BOOL);
    w_bytes(w, "\x01", 1);

    if (f->model) {
        w_key(w, "tokenizer.ggml.model", W_STR);
        w_str(w, f->model);
    }

    if (f->pre) {
        w_key(w, "tokenizer.ggml.pre", W_STR);
        w_str(w, f->pre);
    }

    if (f->eos >= 0) {
        w_key_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t) f->eos);
    }

    if (f->eot >= 0) {
        w_key_u32(w, "tokenizer.ggml.eot_token_id", (uint32_t) f->eot);
    }

    if (!f->no_tokens) {
        w_key(w, "tokenizer.ggml.tokens", W_ARR);
        w_u32(w, W_STR);
        w_u64(w, n);

        for (i = 0; i < n; i++) {
            w_str(w, i < 256 ? small.spelled[i] : f->more[i - 256]);
        }
    }

    if (f->n_types != 0) {
        n = f->n_types < 0 ? n : (size_t) f->n_types;
        w_key(w, "tokenizer.ggml.token_type", W_ARR);
        w_u32(w, W_I32);
        w_u64(w, n);

        for (i = 0; i < n; i++) {
            w_u32(w, i < 256 ? TEXT_NORMAL : (uint32_t) f->more_type);
        }
    }
}


static int
open_file(const file_t *f, vocab_t *v, char *err)
{
    gguf_write_t w;
    gguf_t      *g;
    int          rc;

    write_file(&w, f);
    err[0] = '\0';

    if (gguf_open_mem(w.data, w.len, &g, err, 256) != 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    rc = vocab_open(g, v, err, 256);

    /* What is open does not need the file. */
    gguf_close(g);
    memset(&w, 0, sizeof(w));

    return rc;
}


static void
test_plain(void)
{
    static const char *more[] = {"<|im_start|>", "<|im_end|>"};
    file_t             f = {.model = "gpt2",
                            .pre = "gpt-2",
                            .more = more,
                            .n_more = 2,
                            .more_type = TEXT_CONTROL,
                            .eos = 257,
                            .eot = -1,
                            .n_types = -1};
    vocab_t            v;
    char               err[256];

    is_int(open_file(&f, &v, err), 0, "opens");
    is_int(text_vocab_size(v.tokenizer), 258, "tokens");
    is_int(text_eos(v.tokenizer), 257, "eos");
    is_int(text_eot(v.tokenizer), -1, "no eot");
    is_int(text_bos(v.tokenizer), -1, "no bos");
    ok(text_adds_bos(v.tokenizer), "adds a bos");
    ok(v.n_eog == 1 && v.eog[0] == 257, "one ends a generation");
    ok(vocab_is_eog(&v, 257) && !vocab_is_eog(&v, 256) && !vocab_is_eog(&v, -1),
       "which");
    vocab_close(&v);
    ok(v.tokenizer == NULL, "closed");
    vocab_close(&v);
}


/* By spelling, by eos, by eot; ascending, each once; only special tokens. */
static void
test_eog(void)
{
    static const char *more[] = {
        "<|eot_id|>",
        "x",
        "</s>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<\xef\xbd\x9c"
        "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
        "<|im_start|>"};
    file_t  f = {.model = "gpt2",
                 .pre = "gpt-2",
                 .more = more,
                 .n_more = N(more),
                 .more_type = TEXT_CONTROL,
                 .eos = 256,
                 .eot = 257,
                 .n_types = -1};
    vocab_t v;
    char    err[256];
    size_t  i;
    int     bad;

    is_int(open_file(&f, &v, err), 0, "many ends");
    is_int(v.n_eog, 6, "their number");
    bad = 0;

    for (i = 0; i < v.n_eog; i++) {
        bad += v.eog[i] != 256 + (int) i;
    }

    is_int(bad, 0, "which");
    vocab_close(&v);

    f.more_type = TEXT_NORMAL;
    f.eos = 10;
    f.eot = -1;
    is_int(open_file(&f, &v, err), 0, "the same, all normal");
    ok(v.n_eog == 1 && v.eog[0] == 10, "only eos ends");
    vocab_close(&v);
}


static void
test_eog_exceptions(void)
{
    static const char *more[] = {"<|end|>", "<|return|>", "<|call|>"};
    file_t             f = {.model = "gpt2",
                            .pre = "gpt-4o",
                            .more = more,
                            .n_more = 3,
                            .more_type = TEXT_CONTROL,
                            .eos = -1,
                            .eot = -1,
                            .n_types = -1};
    vocab_t            v;
    char               err[256];

    is_int(open_file(&f, &v, err), 0, "a family with channels");
    ok(!vocab_is_eog(&v, 256) && vocab_is_eog(&v, 257) && vocab_is_eog(&v, 258),
       "there <|end|> ends a message only");
    vocab_close(&v);

    f.n_more = 2;
    is_int(open_file(&f, &v, err), 0, "others");
    ok(vocab_is_eog(&v, 256), "there it ends a generation");
    vocab_close(&v);
}


static void
test_protected(void)
{
    static const char *more[] = {"<think>",
                                 "<|User|>",
                                 "<b>",
                                 "</tool_call>",
                                 "<\xef\xbd\x9c"
                                 "x\xef\xbd\x9c>",
                                 "</s>"};
    static const bool  guarded[] = {true, true, false, true, true, true};
    file_t             f = {.model = "gpt2",
                            .pre = "gpt-2",
                            .more = more,
                            .n_more = N(more),
                            .more_type = TEXT_USER_DEFINED,
                            .eos = -1,
                            .eot = -1,
                            .n_types = -1};
    text_scratch_t    *s;
    uint8_t            trusted[32];
    vocab_t            v;
    int32_t            ids[32];
    char               err[256];
    size_t             i, len;
    ssize_t            n;

    is_int(open_file(&f, &v, err), 0, "user-defined tokens");
    s = text_scratch_new();
    memset(trusted, 1, sizeof(trusted));

    for (i = 0; i < N(more); i++) {
        len = strlen(more[i]);
        n = text_encode(v.tokenizer, more[i], len, trusted, 0, ids, 32, s);
        ok(n == 1 && ids[0] == 256 + (int) i, "%s of a template", more[i]);
        n = text_encode(v.tokenizer, more[i], len, NULL, 0, ids, 32, s);
        ok((n == 1) == !guarded[i], "%s of a message is %s", more[i],
           guarded[i] ? "text" : "a token");
    }

    text_scratch_free(s);
    vocab_close(&v);
}


static void
test_broken(void)
{
    const file_t good = {
        .model = "gpt2", .pre = "gpt-2", .eos = -1, .eot = -1, .n_types = -1};
    file_t  f;
    vocab_t v;
    char    err[256];

    f = good;
    f.model = NULL;
    is_int(open_file(&f, &v, err), -ENOTSUP, "no model");
    is_str(err, "no tokenizer in the file (tokenizer.ggml.model)", "message");
    ok(v.tokenizer == NULL && v.n_eog == 0, "all zero");

    f = good;
    f.pre = NULL;
    is_int(open_file(&f, &v, err), -ENOTSUP, "no pre-tokenizer");
    is_str(err, "pre-tokenizer '(none)' is not supported", "message");

    f = good;
    f.pre = "gpt-9";
    is_int(open_file(&f, &v, err), -ENOTSUP, "unknown pre-tokenizer");

    f = good;
    f.no_tokens = true;
    f.n_types = 0;
    is_int(open_file(&f, &v, err), -EINVAL, "no tokens");
    is_str(err, "bad tokenizer.ggml.tokens", "message");

    f = good;
    f.n_types = 255;
    is_int(open_file(&f, &v, err), -EINVAL, "too few types");
    is_str(err, "bad tokenizer.ggml.token_type", "message");

    f = good;
    f.eos = 256;
    is_int(open_file(&f, &v, err), -EINVAL, "eos outside");
    is_str(err, "special token id 256 is outside the vocabulary", "message");

    f = good;
    f.n_types = 0;
    is_int(open_file(&f, &v, err), 0, "without types all are normal");
    vocab_close(&v);
}


/* What is told of Hugging Face folders, each key beside a good vocabulary. */
static void
test_folder_keys(void)
{
    static const struct {
        const char *key;
        const char *value; /* a text, or a list of ids */
        bool        spm;
        int         rc;
        const char *err;
    } cases[] = {
        {"tokenizer.ggml.pre",
         "json:{\"ignore_merges\":false,\"normalizer\":null,"
         "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":"
         "false,\"use_regex\":true}}",
         false, 0, ""},
        {"tokenizer.ggml.pre", "json:", false, -EINVAL,
         "bad tokenizer.ggml.pre"},
        {"tokenizer.ggml.pre", "json:[[[", false, -EINVAL,
         "bad tokenizer.ggml.pre"},
        {"tokenizer.ggml.pre", "json:{\"pre_tokenizer\":7}", false, -EINVAL,
         "bad tokenizer.ggml.pre"},
        {"tokenizer.ggml.pre",
         "json:{\"pre_tokenizer\":{\"type\":\"By\\nte\"}}", false, -ENOTSUP,
         "pre_tokenizer 'By?te' is not supported"},
        {"tokenizer.ggml.space_prefix", "first", true, 0, ""},
        {"tokenizer.ggml.space_prefix", "last", true, -EINVAL,
         "bad tokenizer.ggml.space_prefix"},
        {"tokenizer.ggml.rstrip", "256 257", false, 0, ""},
        {"tokenizer.ggml.rstrip", "258", false, -EINVAL,
         "tokenizer.ggml.rstrip"},
        {"tokenizer.ggml.lstrip", "-1", false, -EINVAL,
         "tokenizer.ggml.lstrip"},
        {"tokenizer.ggml.eos_token_ids", "10 256 9999 -4 256", false, 0, ""},
    };
    gguf_str_t     strs[258];
    gguf_writer_t *w;
    text_vocab_t   tv;
    small_t        small;
    vocab_t        v;
    gguf_t        *g;
    int32_t        types[258], ids[8];
    float          scores[258] = {0};
    char           err[256], *end;
    const char    *p;
    void          *head;
    ssize_t        n;
    size_t         i, k;
    int            rc;

    small_vocab(&small, &tv);
    for (i = 0; i < 258; i++) {
        strs[i] = i < 256
                      ? (gguf_str_t){small.spelled[i], strlen(small.spelled[i])}
                      : (gguf_str_t){i == 256 ? "<a>" : "<b>", 3};
        types[i] = i < 256 ? TEXT_NORMAL : TEXT_CONTROL;
    }

    strs[200] = (gguf_str_t){"\xe2\x96\x81", 3};

    for (i = 0; i < N(cases); i++) {
        w = gguf_writer_new();
        gguf_put_str(w, "tokenizer.ggml.model", cases[i].spm ? "llama" : "gpt2",
                     cases[i].spm ? 5 : 4);
        gguf_put_str(w, "tokenizer.ggml.pre", "gpt-2", 5);
        gguf_put_arr_str(w, "tokenizer.ggml.tokens", strs, 258);
        gguf_put_arr_i32(w, "tokenizer.ggml.token_type", types, 258);
        gguf_put_arr_f32(w, "tokenizer.ggml.scores", scores, 258);

        p = cases[i].value;
        k = 0;

        while ((*p >= '0' && *p <= '9') || *p == '-') {
            ids[k++] = (int32_t) strtol(p, &end, 10);
            p = end + (*end == ' ');
        }

        if (k > 0) {
            gguf_put_arr_i32(w, cases[i].key, ids, k);
        } else {
            gguf_put_str(w, cases[i].key, p, strlen(p));
        }

        n = gguf_writer_head(w, &head);
        gguf_writer_free(w);
        err[0] = '\0';

        if (n < 0
            || gguf_open_mem(head, (size_t) n, &g, err, sizeof(err)) != 0) {
            ok(0, "a file: %s", err);
            continue;
        }

        rc = vocab_open(g, &v, err, sizeof(err));
        is_int(rc, cases[i].rc, "%s is %s", cases[i].key, cases[i].value);
        is_str(err, cases[i].err, "message");
        gguf_close(g);
        free(head);

        if (strstr(cases[i].key, "eos")) {
            ok(v.n_eog == 2 && v.eog[0] == 10 && v.eog[1] == 256,
               "those of them that are tokens end a generation");
        }

        vocab_close(&v);
    }
}
