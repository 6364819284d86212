/*
 * Vocabulary of a weight file, see vocab.h.
 *
 * Runs on a loader thread; what it makes is immutable.
 */

#include "engine/serve/vocab.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define VOCAB_COUNT(a) (sizeof(a) / sizeof((a)[0]))


/* The arrays of the metadata, for as long as the tokenizer is built. */
typedef struct {
    gguf_str_t *tokens;
    gguf_str_t *merges;
    int32_t    *types;
    uint8_t    *protect;
} vocab_arrays_t;


/*
 * Control tokens that end a turn or a document in known families.  There is
 * no better sign in the file: eos names only one of them.
 */
static const char *vocab_eog[] = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|EOT|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<turn|>",
    "<|tool_response>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
};


/* A token of the list does not end a turn where the others exist. */
static const struct {
    const char *token;
    const char *others[2];
} vocab_not_eog[] = {
    {"<|end|>", {"<|return|>", "<|call|>"}},
    {"<|end|>", {"<|calls|>", "<|flush|>"}},
    {"</s>", {"<|tool_response>", "<turn|>"}},
};


/*
 * User-defined tokens that reasoning and tool formats name; all that begin
 * with "<|" are protected besides, and those that end a generation.
 */
static const char *vocab_protect[] = {
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tool_calls>",
    "</tool_calls>",
    "<tools>",
    "</tools>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[ARGS]",
    "[CALL_ID]",
    "[TOOL_CONTENT]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[THINK]",
    "[/THINK]",
    "[IMG]",
    "<start_of_turn>",
    "<end_of_turn>",
    "[gMASK]",
    "<sop>",
    "<eop>",
    "<s>",
    "<bos>",
    "<unk>",
    "<pad>",
};


static int     vocab_read(const gguf_t *g, text_vocab_t *v, vocab_arrays_t *a,
                          char *err, size_t err_size);
static int     vocab_read_arrays(const gguf_t *g, text_vocab_t *v,
                                 vocab_arrays_t *a, char *err, size_t err_size);
static int     vocab_read_flags(const gguf_t *g, text_vocab_t *v, char *err,
                                size_t err_size);
static void    vocab_free_arrays(vocab_arrays_t *a);
static bool    vocab_is_protected(const gguf_str_t *s);
static void    vocab_find_eog(const gguf_t *g, vocab_t *v);
static bool    vocab_not_here(const vocab_t *v, const char *token);
static void    vocab_add_eog(vocab_t *v, int32_t id);
static bool    vocab_listed(const char *const *list, size_t n,
                            const gguf_str_t *s);
static int32_t vocab_find(const vocab_t *v, const char *token);
static int     vocab_fail(char *err, size_t err_size, int rc, const char *what);


_Static_assert(sizeof(gguf_str_t) == sizeof(text_str_t)
                   && offsetof(gguf_str_t, len) == offsetof(text_str_t, len),
               "arrays of one are passed as arrays of the other");


int
vocab_open(const gguf_t *g, vocab_t *out, char *err, size_t err_size)
{
    text_vocab_t   v;
    vocab_arrays_t a;
    int            rc;

    memset(out, 0, sizeof(vocab_t));
    memset(&v, 0, sizeof(v));
    memset(&a, 0, sizeof(a));

    rc = vocab_read(g, &v, &a, err, err_size);

    if (rc == 0) {
        rc = text_tokenizer_new(&v, &out->tokenizer, err, err_size);
    }

    vocab_free_arrays(&a);

    if (rc != 0) {
        return rc;
    }

    vocab_find_eog(g, out);
    return 0;
}


void
vocab_close(vocab_t *v)
{
    text_tokenizer_free(v->tokenizer);
    memset(v, 0, sizeof(vocab_t));
}


bool
vocab_is_eog(const vocab_t *v, int32_t id)
{
    size_t i;

    for (i = 0; i < v->n_eog; i++) {
        if (v->eog[i] == id) {
            return true;
        }
    }

    return false;
}


static int
vocab_read(const gguf_t *g, text_vocab_t *v, vocab_arrays_t *a, char *err,
           size_t err_size)
{
    gguf_str_t s;
    int        rc;

    if (gguf_get_str(g, "tokenizer.ggml.model", &s) != 0) {
        return vocab_fail(err, err_size, -ENOTSUP,
                          "no tokenizer in the file (tokenizer.ggml.model)");
    }

    v->model = (text_str_t){s.data, s.len};

    rc = gguf_get_str(g, "tokenizer.ggml.pre", &s);

    if (rc == -EINVAL) {
        return vocab_fail(err, err_size, rc, "bad tokenizer.ggml.pre");
    }

    /* Without one, the tokenizer refuses the name "(none)" if it needs one. */

    v->pre = rc == 0 ? (text_str_t){s.data, s.len} : (text_str_t){"(none)", 6};

    rc = vocab_read_flags(g, v, err, err_size);

    return rc != 0 ? rc : vocab_read_arrays(g, v, a, err, err_size);
}


static int
vocab_read_arrays(const gguf_t *g, text_vocab_t *v, vocab_arrays_t *a,
                  char *err, size_t err_size)
{
    ssize_t n, m, t;
    size_t  i;

    n = gguf_get_arr_str(g, "tokenizer.ggml.tokens", NULL, 0);
    if (n <= 0 || n > TEXT_MAX_TOKENS) {
        return vocab_fail(err, err_size, -EINVAL, "bad tokenizer.ggml.tokens");
    }

    m = gguf_get_arr_str(g, "tokenizer.ggml.merges", NULL, 0);
    if ((m < 0 && m != -ENOENT) || m > 4 * (ssize_t) TEXT_MAX_TOKENS) {
        return vocab_fail(err, err_size, -EINVAL, "bad tokenizer.ggml.merges");
    }

    m = m < 0 ? 0 : m;

    a->tokens = malloc((size_t) n * sizeof(gguf_str_t));
    a->types = malloc((size_t) n * sizeof(int32_t));
    a->protect = calloc((size_t) n, 1);
    a->merges = malloc((size_t) (m + 1) * sizeof(gguf_str_t));

    if (!a->tokens || !a->types || !a->protect || !a->merges) {
        return vocab_fail(err, err_size, -ENOMEM, "no memory");
    }

    gguf_get_arr_str(g, "tokenizer.ggml.tokens", a->tokens, (size_t) n);

    if (m > 0) {
        gguf_get_arr_str(g, "tokenizer.ggml.merges", a->merges, (size_t) m);
    }

    t = gguf_get_arr_i32(g, "tokenizer.ggml.token_type", a->types, (size_t) n);
    if (t != n && t != -ENOENT) {
        return vocab_fail(err, err_size, -EINVAL,
                          "bad tokenizer.ggml.token_type");
    }

    for (i = 0; t == n && i < (size_t) n; i++) {
        if (a->types[i] == TEXT_USER_DEFINED) {
            a->protect[i] = vocab_is_protected(&a->tokens[i]);
        }
    }

    v->n_tokens = (size_t) n;
    v->tokens = (const text_str_t *) a->tokens;
    v->types = t == n ? a->types : NULL;
    v->protect = a->protect;
    v->n_merges = (size_t) m;
    v->merges = (const text_str_t *) a->merges;

    return 0;
}


static int
vocab_read_flags(const gguf_t *g, text_vocab_t *v, char *err, size_t err_size)
{
    const struct {
        const char *key;
        int32_t    *id;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &v->bos},
        {"tokenizer.ggml.eos_token_id", &v->eos},
        {"tokenizer.ggml.eot_token_id", &v->eot},
        {"tokenizer.ggml.unknown_token_id", &v->unk},
        {"tokenizer.ggml.padding_token_id", &v->pad},
    };
    size_t i;
    bool   bos;
    int    rc;

    for (i = 0; i < VOCAB_COUNT(ids); i++) {
        *ids[i].id = -1;

        if (gguf_get_i32(g, ids[i].key, ids[i].id) == -EINVAL) {
            return vocab_fail(err, err_size, -EINVAL, ids[i].key);
        }
    }

    rc = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &bos);
    v->add_bos = rc == 0 ? bos : -1;

    if (rc == -EINVAL
        || gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &v->add_eos)
               == -EINVAL
        || gguf_get_bool(g, "tokenizer.ggml.add_space_prefix",
                         &v->add_space_prefix)
               == -EINVAL) {
        return vocab_fail(err, err_size, -EINVAL, "bad tokenizer.ggml.add_*");
    }

    return 0;
}


static void
vocab_free_arrays(vocab_arrays_t *a)
{
    free(a->tokens);
    free(a->types);
    free(a->protect);
    free(a->merges);
}


static bool
vocab_is_protected(const gguf_str_t *s)
{
    if ((s->len >= 2 && memcmp(s->data, "<|", 2) == 0)
        || (s->len >= 4 && memcmp(s->data, "<\xef\xbd\x9c", 4) == 0)) {
        return true;
    }

    return vocab_listed(vocab_protect, VOCAB_COUNT(vocab_protect), s)
           || vocab_listed(vocab_eog, VOCAB_COUNT(vocab_eog), s);
}


static void
vocab_find_eog(const gguf_t *g, vocab_t *v)
{
    int32_t eom;
    size_t  i;

    for (i = 0; i < VOCAB_COUNT(vocab_eog); i++) {
        if (!vocab_not_here(v, vocab_eog[i])) {
            vocab_add_eog(v, vocab_find(v, vocab_eog[i]));
        }
    }

    vocab_add_eog(v, text_eos(v->tokenizer));
    vocab_add_eog(v, text_eot(v->tokenizer));

    if (gguf_get_i32(g, "tokenizer.ggml.eom_token_id", &eom) == 0) {
        vocab_add_eog(v, eom);
    }
}


static bool
vocab_not_here(const vocab_t *v, const char *token)
{
    size_t i;

    for (i = 0; i < VOCAB_COUNT(vocab_not_eog); i++) {
        if (strcmp(vocab_not_eog[i].token, token) == 0
            && vocab_find(v, vocab_not_eog[i].others[0]) >= 0
            && vocab_find(v, vocab_not_eog[i].others[1]) >= 0) {
            return true;
        }
    }

    return false;
}


/* Keeps the list ascending and without repeats. */
static void
vocab_add_eog(vocab_t *v, int32_t id)
{
    size_t i;

    if (id < 0 || (size_t) id >= text_vocab_size(v->tokenizer)
        || vocab_is_eog(v, id) || v->n_eog == VOCAB_MAX_EOG) {
        return;
    }

    for (i = v->n_eog; i > 0 && v->eog[i - 1] > id; i--) {
        v->eog[i] = v->eog[i - 1];
    }

    v->eog[i] = id;
    v->n_eog++;
}


static bool
vocab_listed(const char *const *list, size_t n, const gguf_str_t *s)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (strlen(list[i]) == s->len
            && memcmp(list[i], s->data, s->len) == 0) {
            return true;
        }
    }

    return false;
}


static int32_t
vocab_find(const vocab_t *v, const char *token)
{
    return text_token_find(v->tokenizer, token, strlen(token));
}


static int
vocab_fail(char *err, size_t err_size, int rc, const char *what)
{
    if (err_size > 0) {
        snprintf(err, err_size, "%s", what);
    }

    return rc;
}
