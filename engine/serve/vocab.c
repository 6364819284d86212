/*
 * Vocabulary of a weight file, see vocab.h.
 *
 * Runs on a loader thread; what it makes is immutable.
 */

#include "engine/base.h"
#include "engine/chat/format.h"
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
    float      *scores;
    uint8_t    *protect;
    uint8_t    *strips;
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
static int     vocab_read_spaces(const gguf_t *g, text_vocab_t *v, char *err,
                                 size_t err_size);
static int     vocab_read_strips(const gguf_t *g, const char *key, int flag,
                                 text_vocab_t *v, vocab_arrays_t *a, char *err,
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
    vocab_text_free(v->text);
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
    vocab_pre_t pre;
    gguf_str_t  s;
    bool        flag;
    int         rc;

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

    s = rc == 0 ? s : (gguf_str_t){"(none)", 6};

    LLM_TRY(vocab_pre_read(s, &pre, err, err_size));
    LLM_TRY(vocab_read_flags(g, v, err, err_size));

    v->pre = (text_str_t){pre.name.data, pre.name.len};
    v->nfc = pre.nfc;
    v->ignore_merges = pre.ignore_merges;

    /* llm-quantize's, where a folder's tokenizer is not its family's. */
    if (gguf_get_bool(g, "tokenizer.ggml.nfc", &flag) == 0) {
        v->nfc = flag;
    }
    if (gguf_get_bool(g, "tokenizer.ggml.ignore_merges", &flag) == 0) {
        v->ignore_merges = flag;
    }

    LLM_TRY(vocab_read_spaces(g, v, err, err_size));
    LLM_TRY(vocab_read_arrays(g, v, a, err, err_size));
    LLM_TRY(vocab_read_strips(g, "tokenizer.ggml.lstrip", TEXT_LSTRIP, v, a,
                              err, err_size));

    return vocab_read_strips(g, "tokenizer.ggml.rstrip", TEXT_RSTRIP, v, a, err,
                             err_size);
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

    if (t != n) {
        free(a->types);
        a->types = NULL;
    }

    for (i = 0; a->types && i < (size_t) n; i++) {
        if (a->types[i] == TEXT_USER_DEFINED) {
            a->protect[i] = vocab_is_protected(&a->tokens[i]);
        }
    }

    t = gguf_get_arr_f32(g, "tokenizer.ggml.scores", NULL, 0);

    if (t == n) {
        a->scores = malloc((size_t) n * sizeof(float));
        if (a->scores == NULL) {
            return vocab_fail(err, err_size, -ENOMEM, "no memory");
        }

        gguf_get_arr_f32(g, "tokenizer.ggml.scores", a->scores, (size_t) n);

    } else if (t != -ENOENT) {
        return vocab_fail(err, err_size, -EINVAL, "bad tokenizer.ggml.scores");
    }

    v->scores = a->scores;
    v->n_tokens = (size_t) n;
    v->tokens = (const text_str_t *) a->tokens;
    v->types = a->types;
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
    bool   bos, spm;
    int    rc;

    /* What is left out means SentencePiece's defaults, for its kind. */

    spm = v->model.len == 5 && memcmp(v->model.data, "llama", 5) == 0;
    v->add_space_prefix = spm;

    for (i = 0; i < VOCAB_COUNT(ids); i++) {
        *ids[i].id = -1;

        if (gguf_get_i32(g, ids[i].key, ids[i].id) == -EINVAL) {
            return vocab_fail(err, err_size, -EINVAL, ids[i].key);
        }
    }

    if (spm) {
        v->unk = v->unk < 0 ? 0 : v->unk;
        v->bos = v->bos < 0 ? 1 : v->bos;
        v->eos = v->eos < 0 ? 2 : v->eos;
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


/*
 * Where SentencePiece's spaces come and go.  GGUF says whether there is a
 * prefix; which texts get it, a Hugging Face folder only.
 */
static int
vocab_read_spaces(const gguf_t *g, text_vocab_t *v, char *err, size_t err_size)
{
    static const struct {
        const char *name;
        int         prefix;
    } forms[] = {{"each", TEXT_PREFIX_EACH},
                 {"first", TEXT_PREFIX_FIRST},
                 {"blank", TEXT_PREFIX_BLANK}};
    gguf_str_t s;
    size_t     i;
    int        rc;

    if (gguf_get_bool(g, "tokenizer.ggml.remove_extra_whitespaces",
                      &v->remove_extra_whitespaces)
        == -EINVAL) {
        return vocab_fail(err, err_size, -EINVAL,
                          "bad tokenizer.ggml.remove_extra_whitespaces");
    }

    rc = gguf_get_str(g, "tokenizer.ggml.space_prefix", &s);
    if (rc == -ENOENT) {
        return 0;
    }

    for (i = 0; rc == 0 && i < VOCAB_COUNT(forms); i++) {
        if (s.len == strlen(forms[i].name)
            && memcmp(s.data, forms[i].name, s.len) == 0) {
            v->prefix = forms[i].prefix;
            return 0;
        }
    }

    return vocab_fail(err, err_size, -EINVAL,
                      "bad tokenizer.ggml.space_prefix");
}


/* The tokens of a list take the blanks on one side. */
static int
vocab_read_strips(const gguf_t *g, const char *key, int flag, text_vocab_t *v,
                  vocab_arrays_t *a, char *err, size_t err_size)
{
    ssize_t  n = gguf_get_arr_i32(g, key, NULL, 0);
    int32_t *ids;
    ssize_t  i;
    int      rc = 0;

    if (n == -ENOENT) {
        return 0;
    }

    if (n < 0 || (size_t) n > v->n_tokens) {
        return vocab_fail(err, err_size, -EINVAL, key);
    }

    ids = malloc(((size_t) n + 1) * sizeof(int32_t));

    if (a->strips == NULL) {
        a->strips = calloc(v->n_tokens, 1);
        v->strips = a->strips;
    }

    if (ids == NULL || a->strips == NULL) {
        free(ids);
        return vocab_fail(err, err_size, -ENOMEM, "no memory");
    }

    if (gguf_get_arr_i32(g, key, ids, (size_t) n) != n) {
        rc = -EINVAL;
    }

    for (i = 0; rc == 0 && i < n; i++) {
        if (ids[i] < 0 || (size_t) ids[i] >= v->n_tokens) {
            rc = -EINVAL;
        } else {
            a->strips[ids[i]] |= (uint8_t) flag;
        }
    }

    free(ids);

    return rc == 0 ? 0 : vocab_fail(err, err_size, rc, key);
}


static void
vocab_free_arrays(vocab_arrays_t *a)
{
    free(a->tokens);
    free(a->types);
    free(a->scores);
    free(a->protect);
    free(a->strips);
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
           || vocab_listed(vocab_eog, VOCAB_COUNT(vocab_eog), s)
           || chat_format_token(s->data, s->len);
}


static void
vocab_find_eog(const gguf_t *g, vocab_t *v)
{
    int32_t ids[VOCAB_MAX_EOG], eom;
    ssize_t n;
    size_t  i;

    /* Those that the file names come first: the list has an end. */

    n = gguf_get_arr_i32(g, "tokenizer.ggml.eos_token_ids", ids, VOCAB_MAX_EOG);

    for (i = 0; n > 0 && i < (size_t) n && i < VOCAB_MAX_EOG; i++) {
        vocab_add_eog(v, ids[i]);
    }

    vocab_add_eog(v, text_eos(v->tokenizer));
    vocab_add_eog(v, text_eot(v->tokenizer));

    if (gguf_get_i32(g, "tokenizer.ggml.eom_token_id", &eom) == 0) {
        vocab_add_eog(v, eom);
    }

    for (i = 0; i < VOCAB_COUNT(vocab_eog); i++) {
        if (!vocab_not_here(v, vocab_eog[i])) {
            vocab_add_eog(v, vocab_find(v, vocab_eog[i]));
        }
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
