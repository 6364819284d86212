/*
 * A model's own sampling parameters, ends and templates: read from its file,
 * and used by the real engine where a request does not say otherwise.  The
 * models are tiny ones with random weights, written by the test.
 */

#include "engine/serve/defaults.h"
#include <jansson.h>
#include "engine/model/gguf_write.h"
#include "engine/serve/front.h"
#include "t/lib/engine.h"
#include "t/text/small.h"

#define WIDTH 64
#define FF    128

/* What a file says; NULL and negative: nothing. */
typedef struct {
    const char    *name;
    const char    *temp;
    const char    *top_p;
    const char    *min_p;
    const char    *repeat;
    int32_t        top_k; /* -2: nothing */
    const int32_t *eos;
    size_t         n_eos;
    const char *template;
    int add_bos;
} file_t;

static char dir[256];

static void put_float(gguf_writer_t *w, const char *key, const char *value);
static gguf_writer_t *file_writer(const file_t *f);
static void           file_write(const file_t *f);
static void           test_read(void);
static char          *generate(worker_t *w, const char *model, int seed,
                               const char *more, answer_t **out);
static int  differs(worker_t *w, const char *model, const char *more, int n);
static void test_sampling(worker_t *w);
static void test_eos(worker_t *w);
static void test_bos(worker_t *w);
static void test_tools(void);


int
main(void)
{
    static const char *const options[] = {"--memory", "256m", "--threads", "1",
                                          NULL};
    static const int32_t     eos[] = {70, 77, 99999};
    const file_t             files[] = {
                    {.name = "plain", .top_k = -2},
                    {.name = "cold", .temp = "0", .top_k = -2},
                    {.name = "one", .top_k = 1},
                    {.name = "ends", .top_k = -2, .eos = eos, .n_eos = 3},
                    {.name = "wild", .temp = "-1", .top_p = "7", .top_k = -9},
                    {.name = "chat", .top_k = -2, .template = "ab", .add_bos = 1},
                    {.name = "chat-bos",
                     .top_k = -2,
                     .template = "{{ bos_token }}ab",
                     .add_bos = 1},
    };
    static const char manifest[] =
        "{\"models\":["
        "{\"name\":\"plain\",\"weights\":\"plain.gguf\"},"
        "{\"name\":\"cold\",\"weights\":\"cold.gguf\"},"
        "{\"name\":\"one\",\"weights\":\"one.gguf\"},"
        "{\"name\":\"ends\",\"weights\":\"ends.gguf\"},"
        "{\"name\":\"wild\",\"weights\":\"wild.gguf\"},"
        "{\"name\":\"chat\",\"weights\":\"chat.gguf\"},"
        "{\"name\":\"chat-bos\",\"weights\":\"chat-bos.gguf\"}]}";
    engine_t engine = {0};
    worker_t w = {0};
    char     cmd[300], *log;
    size_t   i;
    int      rc;

    test_read();
    test_tools();

    snprintf(dir, sizeof(dir), "%s/llm-defaults-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : P_tmpdir);
    if (mkdtemp(dir) == NULL) {
        printf("Bail out! %s\n", strerror(errno));
        return 1;
    }

    setenv("NGX_LLM_CACHE", dir, 1);

    for (i = 0; i < llm_countof(files); i++) {
        file_write(&files[i]);
    }

    is_int(engine_start(&engine, options), 0, "the engine starts");
    rc = worker_open(&w, &engine, 1u << 16, 1u << 16);
    is_int(rc, 0, "a worker");
    worker_manifest(&w, manifest);

    ok(worker_state(&w, "\"serving\":true"), "models come");

    test_sampling(&w);
    test_eos(&w);
    test_bos(&w);

    log = engine_log(&engine);
    ok(strstr(log, "wild.gguf: general.sampling.temp is out of range"),
       "the log names what is out of range");
    ok(strstr(log, "wild.gguf: general.sampling.top_p is out of range")
           && strstr(log, "wild.gguf: general.sampling.top_k is out of range"),
       "... each");
    free(log);

    worker_close(&w);
    engine_done(&engine);

    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    is_int(system(cmd), 0, "cleaned up");

    return tap_done();
}


static void
put_float(gguf_writer_t *w, const char *key, const char *value)
{
    if (value) {
        gguf_put_f32(w, key, strtof(value, NULL));
    }
}


static gguf_writer_t *
file_writer(const file_t *f)
{
    static const struct {
        const char *key;
        uint32_t    value;
    } ints[] = {{"llama.context_length", 256},
                {"llama.embedding_length", WIDTH},
                {"llama.block_count", 1},
                {"llama.feed_forward_length", FF},
                {"llama.attention.head_count", 2},
                {"llama.attention.head_count_kv", 2},
                {"llama.rope.dimension_count", 32},
                {"tokenizer.ggml.bos_token_id", SMALL_END},
                {"tokenizer.ggml.eos_token_id", SMALL_END}};
    gguf_writer_t *w = gguf_writer_new();
    gguf_str_t     strs[SMALL_N], merges[16];
    small_t        small;
    text_vocab_t   v;
    size_t         i;

    small_vocab(&small, &v);
    gguf_put_str(w, "general.architecture", "llama", 5);
    gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_put_f32(w, "llama.rope.freq_base", 10000);

    for (i = 0; i < llm_countof(ints); i++) {
        gguf_put_u32(w, ints[i].key, ints[i].value);
    }

    for (i = 0; i < v.n_tokens; i++) {
        strs[i] = (gguf_str_t){v.tokens[i].data, v.tokens[i].len};
    }

    for (i = 0; i < v.n_merges; i++) {
        merges[i] = (gguf_str_t){v.merges[i].data, v.merges[i].len};
    }

    gguf_put_str(w, "tokenizer.ggml.model", "gpt2", 4);
    gguf_put_str(w, "tokenizer.ggml.pre", "gpt-2", 5);
    gguf_put_arr_str(w, "tokenizer.ggml.tokens", strs, v.n_tokens);
    gguf_put_arr_i32(w, "tokenizer.ggml.token_type", v.types, v.n_tokens);
    gguf_put_arr_str(w, "tokenizer.ggml.merges", merges, v.n_merges);
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", f->add_bos);

    put_float(w, "general.sampling.temp", f->temp);
    put_float(w, "general.sampling.top_p", f->top_p);
    put_float(w, "general.sampling.min_p", f->min_p);
    put_float(w, "general.sampling.penalty_repeat", f->repeat);

    if (f->top_k != -2) {
        gguf_put_i32(w, "general.sampling.top_k", f->top_k);
    }

    if (f->n_eos) {
        gguf_put_arr_i32(w, "tokenizer.ggml.eos_token_ids", f->eos, f->n_eos);
    }

    if (f->template) {
        gguf_put_str(w, "tokenizer.chat_template", f->template,
                     strlen(f->template));
    }

    return w;
}


/* With weights that are the same for all files. */

static void
file_write(const file_t *f)
{
    static const struct {
        const char *name;
        uint32_t    n_dims;
        uint64_t    dims[2];
    } tensors[] = {{"token_embd.weight", 2, {WIDTH, SMALL_N}},
                   {"output_norm.weight", 1, {WIDTH, 1}},
                   {"output.weight", 2, {WIDTH, SMALL_N}},
                   {"blk.0.attn_norm.weight", 1, {WIDTH, 1}},
                   {"blk.0.attn_q.weight", 2, {WIDTH, WIDTH}},
                   {"blk.0.attn_k.weight", 2, {WIDTH, WIDTH}},
                   {"blk.0.attn_v.weight", 2, {WIDTH, WIDTH}},
                   {"blk.0.attn_output.weight", 2, {WIDTH, WIDTH}},
                   {"blk.0.ffn_norm.weight", 1, {WIDTH, 1}},
                   {"blk.0.ffn_gate.weight", 2, {WIDTH, FF}},
                   {"blk.0.ffn_up.weight", 2, {WIDTH, FF}},
                   {"blk.0.ffn_down.weight", 2, {FF, WIDTH}}};
    gguf_writer_t *w = file_writer(f);
    char           path[512];
    uint32_t       x = 1;
    uint64_t       at = 0, n, k;
    ssize_t        head;
    size_t         i;
    float          v;
    void          *p;
    FILE          *out;

    for (i = 0; i < llm_countof(tensors); i++) {
        gguf_put_tensor(w, tensors[i].name, GGML_F32, tensors[i].n_dims,
                        tensors[i].dims);
    }

    head = gguf_writer_head(w, &p);
    snprintf(path, sizeof(path), "%s/%s.gguf", dir, f->name);
    out = fopen(path, "wb");

    if (head < 0 || out == NULL) {
        printf("Bail out! %s\n", path);
        exit(1);
    }

    fwrite(p, 1, (size_t) head, out);
    free(p);

    for (i = 0; i < llm_countof(tensors); i++) {
        for (; at < gguf_writer_offset(w, i); at++) {
            fputc(0, out);
        }

        n = tensors[i].dims[0] * tensors[i].dims[1];

        for (k = 0; k < n; k++, at += sizeof(v)) {
            x = x * 1664525 + 1013904223;
            v = (float) (int32_t) x / 2147483648.0f;
            v = tensors[i].n_dims == 1 ? 1 : v * 0.5f;
            fwrite(&v, sizeof(v), 1, out);
        }
    }

    fclose(out);
    gguf_writer_free(w);
}


static void
test_read(void)
{
    static const struct {
        const char *name;
        file_t      file;
        defaults_t  want; /* temperature, top_p, min_p, repetition, top_k */
    } cases[] = {
        {"nothing", {.top_k = -2}, {1, 1, 0, 1, 0}},
        {"all",
         {.temp = "0.25",
          .top_p = "0.5",
          .min_p = "0.125",
          .repeat = "1.5",
          .top_k = 20},
         {0.25f, 0.5f, 0.125f, 1.5f, 20}},
        {"greedy", {.temp = "0", .top_k = -2}, {0, 1, 0, 1, 0}},
        {"the largest",
         {.temp = "100",
          .top_p = "1",
          .min_p = "1",
          .repeat = "100",
          .top_k = INT32_MAX},
         {100, 1, 1, 100, INT32_MAX}},
        {"off", {.top_k = -1}, {1, 1, 0, 1, 0}},
        {"out of range",
         {.temp = "-0.1",
          .top_p = "1.1",
          .min_p = "-1",
          .repeat = "0",
          .top_k = -3},
         {1, 1, 0, 1, 0}},
        {"no numbers",
         {.temp = "nan",
          .top_p = "inf",
          .min_p = "nan",
          .repeat = "-inf",
          .top_k = -2},
         {1, 1, 0, 1, 0}},
    };
    gguf_writer_t *w;
    defaults_t     got;
    gguf_t        *g;
    char           err[128];
    void          *head;
    ssize_t        n;
    size_t         i;

    llm_log_level(LLM_LOG_ERROR);

    for (i = 0; i < llm_countof(cases); i++) {
        w = file_writer(&cases[i].file);
        n = gguf_writer_head(w, &head);
        gguf_writer_free(w);

        if (n < 0
            || gguf_open_mem(head, (size_t) n, &g, err, sizeof(err)) != 0) {
            ok(0, "%s: a file", cases[i].name);
            continue;
        }

        memset(&got, 0xff, sizeof(got));
        defaults_read(g, "x", &got);
        ok(memcmp(&got, &cases[i].want, sizeof(got)) == 0, "defaults: %s",
           cases[i].name);
        is_int(defaults_are_plain(&got),
               memcmp(&got, &cases[0].want, sizeof(got)) == 0,
               "... plain or not");
        gguf_close(g);
        free(head);
    }
}


/* The text of 24 tokens, to be freed. */

static char *
generate(worker_t *w, const char *model, int seed, const char *more,
         answer_t **out)
{
    char      body[512];
    answer_t *a;
    json_t   *root;
    char     *text;

    snprintf(body, sizeof(body),
             "{\"model\":\"%s\",\"prompt\":\"hello ab\",\"max_tokens\":24,"
             "\"seed\":%d%s}",
             model, seed, more);
    a = worker_get(
        w, 1,
        &(ask_t){.op = LLM_OP_COMPLETION, .body = body, .credit = 1u << 20});
    root = json_loadb(a->out.data, a->out.len, 0, NULL);
    text = json_dumps(
        json_object_get(json_array_get(json_object_get(root, "choices"), 0),
                        "text"),
        JSON_ENCODE_ANY);
    json_decref(root);

    if (out) {
        *out = a;
    }

    return text ? text : strdup("(nothing)");
}


/* How many of n seeds give another text than the first. */

static int
differs(worker_t *w, const char *model, const char *more, int n)
{
    char *first = generate(w, model, 0, more, NULL), *next;
    int   i, others = strcmp(first, "(nothing)") == 0 ? 1000 : 0;

    for (i = 1; i <= n; i++) {
        next = generate(w, model, i, more, NULL);
        others += strcmp(first, next) != 0;
        free(next);
    }

    free(first);

    return others;
}


static void
test_sampling(worker_t *w)
{
    char *a, *b;

    is_int(differs(w, "plain", "", 5), 5, "a file without a word samples");
    is_int(differs(w, "plain", ",\"temperature\":0", 5), 0,
           "... but where a request wants it greedy");
    is_int(differs(w, "cold", "", 5), 0, "temperature 0 of the file is greedy");
    is_int(differs(w, "cold", ",\"temperature\":1", 5), 5,
           "... unless a request says otherwise");
    is_int(differs(w, "one", "", 5), 0, "top_k 1 of the file is greedy");
    is_int(differs(w, "one", ",\"top_k\":0", 5), 5, "... unless asked for all");
    is_int(differs(w, "one", ",\"top_k\":-1", 5), 5, "... by -1 too");
    is_int(differs(w, "wild", "", 5), 5, "what is out of range does not count");

    a = generate(w, "cold", 1, "", NULL);
    b = generate(w, "plain", 2, ",\"temperature\":0", NULL);
    is_str(a, b, "greedy is greedy");
    free(a);
    free(b);
}


/* Any token comes if its bias is large enough. */

static void
test_eos(worker_t *w)
{
    static const struct {
        const char *model;
        int         token;
        const char *more;
        int         finish;
        const char *name;
    } cases[] = {
        {"ends", 70, "", LLM_FINISH_STOP, "the first of a list"},
        {"ends", 77, "", LLM_FINISH_STOP, "the second"},
        {"ends", SMALL_END, "", LLM_FINISH_STOP, "eos beside the list"},
        {"ends", 71, "", LLM_FINISH_LENGTH, "a token that is not in it"},
        {"ends", 77, ",\"ignore_eos\":true", LLM_FINISH_LENGTH,
         "with ignore_eos"},
        {"plain", 77, "", LLM_FINISH_LENGTH, "without a list"},
    };
    char      more[128];
    answer_t *a;
    size_t    i;

    for (i = 0; i < llm_countof(cases); i++) {
        snprintf(more, sizeof(more),
                 ",\"temperature\":0,\"logit_bias\":{\"%d\":100}%s",
                 cases[i].token, cases[i].more);
        free(generate(w, cases[i].model, 1, more, &a));
        is_int(a->end.finish, cases[i].finish, "%s %s", cases[i].name,
               cases[i].finish == LLM_FINISH_STOP ? "ends an answer"
                                                  : "does not");
    }
}


static void
test_bos(worker_t *w)
{
    static const struct {
        const char *model;
        const char *name;
    } cases[] = {{"chat", "a bos comes before a template's text"},
                 {"chat-bos", "a template's own bos is the only one"}};
    char      body[512];
    answer_t *a;
    size_t    i;

    for (i = 0; i < llm_countof(cases); i++) {
        snprintf(body, sizeof(body),
                 "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\","
                 "\"content\":\"x\"}],\"max_tokens\":1}",
                 cases[i].model);
        a = worker_get(
            w, 3,
            &(ask_t){.op = LLM_OP_CHAT, .body = body, .credit = 1u << 20});
        is_int(a->admit.prompt_tokens, 2, "%s", cases[i].name);
    }
}


/* A template named tool_use is for requests that have tools, only. */

static void
test_tools(void)
{
    file_t         f = {.top_k = -2};
    version_t      v = {0};
    serve_t        serve = {0};
    req_t          r = {.serve = &serve, .version = &v};
    gen_request_t  req = {.kind = GEN_CHAT};
    chat_text_t    text;
    gguf_t        *g;
    gguf_writer_t *w = file_writer(&f);
    void          *head;
    char           err[256];
    ssize_t        n = gguf_writer_head(w, &head);
    json_t        *tools = json_pack("[{s:s}]", "type", "function");

    gguf_writer_free(w);
    req.messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "x");

    if (n < 0 || gguf_open_mem(head, (size_t) n, &g, err, sizeof(err)) != 0
        || vocab_open(g, &v.vocab, err, sizeof(err)) != 0
        || chat_template_compile("plain", 5, &v.dialog.template, err,
                                 sizeof(err))
        || chat_template_compile("tools", 5, &v.dialog_tools.template, err,
                                 sizeof(err))) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    v.dialog.format = v.dialog_tools.format = chat_format_detect("tools", 5);
    v.dialog.shows_tools = v.dialog_tools.shows_tools = 1;

    is_int(front_render(&r, &req, 1, &text), 0, "without tools");
    is_str(text.text, "plain", "... the default template");
    chat_text_free(&text);

    req.tools = tools;
    is_int(front_render(&r, &req, 1, &text), 0, "with tools");
    is_str(text.text, "tools", "... the one named so");
    chat_text_free(&text);

    chat_template_free(v.dialog_tools.template);
    v.dialog_tools.template = NULL;
    is_int(front_render(&r, &req, 1, &text), 0, "with tools, without such");
    is_str(text.text, "plain", "... the default template");
    chat_text_free(&text);

    chat_template_free(v.dialog.template);
    vocab_close(&v.vocab);
    gguf_close(g);
    free(head);
    json_decref(req.messages);
    json_decref(tools);
}
