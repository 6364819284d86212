/*
 * Hugging Face folders: what they are told as has the same metadata and the
 * same bits as what llama.cpp's converter made of them (families/, see
 * make_families.py), and what cannot be told is refused by name.
 */

#include "engine/model/gguf_priv.h"
#include "engine/model/hf.h"
#include "t/lib/tap.h"
#include "t/model/hf_dir.h"

#include <errno.h>
#include <math.h>


#define FAMILIES "t/model/families"
#define FOLDERS  "t/model/hf"

static const char *const families[] = {"llama",      "llama-linear", "mistral",
                                       "mixtral",    "smollm3",      "qwen2",
                                       "qwen2-yarn", "qwen3",        "qwen3moe",
                                       "gemma",      "gemma2",       "gemma3",
                                       "phi3",       "gpt-oss",      "granite"};

/*
 * What converters write and nobody needs, and what comes from files that only
 * one of the two folders has; names end in '*' for all that begin so.
 */
static const char *const theirs[] = {"general.name", "general.size_label",
                                     "general.sampling.*", "tokenizer.*"};

/* What converters leave out where it is what readers guess. */
static const char *const ours[] = {"general.sampling.*", "tokenizer.*",
                                   "gemma.rope.freq_base",
                                   "gemma2.rope.freq_base"};

static int root;

static void test_family(const char *name);
static void compare_keys(const gguf_t *a, const gguf_t *b, const char *name);
static void compare_tensors(const gguf_t *a, const gguf_t *b, const char *name);
static const char *tensor_differs(const gguf_t *a, const gguf_tensor_t *t,
                                  const gguf_tensor_t *u);
static void        test_forms(void);
static void        test_form(const char *name, const json_t *want);
static void        test_identity(void);
static void        test_windows(void);
static void        test_refused(void);
static void        test_files(void);
static void        test_broken(void);
static void        family(const char *name);
static void        config(const char *name, const char *key, const char *json);
static void        refused(int rc, const char *why, const char *what);
static void        text(const char *name, const char *json);
static int         open_dir(gguf_t **g, char *err);


int
main(void)
{
    size_t i;

    if (access(FAMILIES "/llama/config.json", R_OK) != 0) {
        skip_all("no " FAMILIES);
    }

    root = dir_begin();

    for (i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        test_family(families[i]);
    }

    test_forms();
    test_identity();
    test_windows();
    test_refused();
    test_files();
    test_broken();

    close(root);
    dir_end();

    return tap_done();
}


/* Those without a tokenizer get Llama's. */
static void
family(const char *name)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    static const char *const more[] = {"tokenizer.json",
                                       "tokenizer_config.json",
                                       "generation_config.json"};
    char                     path[256];
    size_t                   i;

    dir_clear();
    snprintf(path, sizeof(path), FAMILIES "/%s", name);

    for (i = 0; i < 2; i++) {
        dir_copy(path, files[i], files[i]);
    }

    for (i = 0; i < 3; i++) {
        if (!dir_copy(path, more[i], more[i])) {
            dir_copy(FAMILIES "/llama", more[i], more[i]);
        }
    }
}


static void
text(const char *name, const char *json)
{
    dir_write(name, json, strlen(json));
}


static int
open_dir(gguf_t **g, char *err)
{
    hf_dir_t dir = {.root = root, .path = ""};

    return hf_open(&dir, g, err, 256);
}


static void
test_family(const char *name)
{
    gguf_t *a, *b;
    char    err[256] = "", path[256];

    family(name);

    if (!ok(open_dir(&a, err) == 0, "%s opens", name)) {
        printf("# %s\n", err);
        return;
    }

    snprintf(path, sizeof(path), FAMILIES "/%s.gguf", name);

    if (gguf_open(path, &b, err, sizeof(err)) != 0) {
        ok(0, "%s: %s", path, err);
        gguf_close(a);
        return;
    }

    compare_keys(a, b, name);
    compare_tensors(a, b, name);

    gguf_close(a);
    gguf_close(b);
}


static int
is_listed(const gguf_str_t *key, const char *const *list, size_t n)
{
    size_t i, len;

    for (i = 0; i < n; i++) {
        len = strlen(list[i]);

        if (list[i][len - 1] == '*'
                ? key->len >= len - 1
                      && memcmp(key->data, list[i], len - 1) == 0
                : key->len == len && memcmp(key->data, list[i], len) == 0) {
            return 1;
        }
    }

    return 0;
}


static size_t
value_size(const gguf_kv_t *kv)
{
    const uint8_t *p = kv->data;
    uint64_t       i, len;

    if (kv->type != GGUF_STR) {
        return kv->n * gguf_value_size[kv->type];
    }

    for (i = 0; i < kv->n; i++) {
        memcpy(&len, p, 8);
        p += 8 + len;
    }

    return (size_t) (p - kv->data);
}


static void
compare_keys(const gguf_t *a, const gguf_t *b, const char *name)
{
    const gguf_kv_t *x, *y;
    size_t           i, bad = 0;

    for (i = 0; i < b->n_kv; i++) {
        y = &b->kv[i];

        if (is_listed(&y->key, theirs, sizeof(theirs) / sizeof(theirs[0]))) {
            continue;
        }

        x = bsearch(y, a->kv, a->n_kv, sizeof(gguf_kv_t), gguf_kv_cmp);

        if (x == NULL || x->type != y->type || x->array != y->array
            || value_size(x) != value_size(y)
            || memcmp(x->data, y->data, value_size(x)) != 0) {
            printf("# %.*s is %s\n", (int) y->key.len, y->key.data,
                   x ? "another" : "missing");
            bad++;
        }
    }

    for (i = 0; i < a->n_kv; i++) {
        x = &a->kv[i];
        y = bsearch(x, b->kv, b->n_kv, sizeof(gguf_kv_t), gguf_kv_cmp);

        if (y == NULL
            && !is_listed(&x->key, ours, sizeof(ours) / sizeof(ours[0]))) {
            printf("# %.*s is too much\n", (int) x->key.len, x->key.data);
            bad++;
        }
    }

    is_int(bad, 0, "%s: the converter's metadata", name);
}


static void
compare_tensors(const gguf_t *a, const gguf_t *b, const char *name)
{
    const gguf_tensor_t *t, *u;
    const char          *why;
    size_t               i, bad = 0;

    for (i = 0; i < gguf_tensor_n(a); i++) {
        t = gguf_tensor_at(a, i);
        u = gguf_tensor_find(b, t->name);
        why = u ? tensor_differs(a, t, u) : "too much";

        if (why) {
            printf("# %s: %s\n", t->name, why);
            bad++;
        }
    }

    is_int(gguf_tensor_n(a), gguf_tensor_n(b), "%s: as many tensors", name);
    is_int(bad, 0, "%s: the converter's tensors, bit by bit", name);
}


/* Rows one by one, three by three and all at once. */
static const char *
tensor_differs(const gguf_t *a, const gguf_tensor_t *t, const gguf_tensor_t *u)
{
    static const uint64_t steps[] = {1, 3, 1 << 20};
    const float          *x, *y;
    uint64_t              rows, row, n, bytes;
    uint8_t              *out;
    size_t                i;

    if (t->type != u->type || t->n_dims != u->n_dims
        || memcmp(t->dims, u->dims, sizeof(t->dims)) != 0) {
        return "another type or shape";
    }

    rows = t->dims[1] * t->dims[2] * t->dims[3];
    bytes = t->size / rows;
    out = malloc(t->size);

    for (i = 0; i < 3; i++) {
        memset(out, 0xa5, t->size);

        for (row = 0; row < rows; row += n) {
            n = rows - row < steps[i] ? rows - row : steps[i];

            if (gguf_tensor_rows(a, t, row, n, out + row * bytes) != 0) {
                free(out);
                return "cannot be read";
            }
        }

        if (memcmp(out, u->data, t->size) != 0) {
            break;
        }
    }

    /* The converter computes these with floats, we with doubles. */
    if (i < 3 && strcmp(t->name, "rope_freqs.weight") == 0) {
        x = (const float *) (const void *) out;
        y = u->data;
        for (i = 0; i < t->dims[0] && fabsf(x[i] - y[i]) < 1e-5f * y[i]; i++) {
            /* void */
        }
        i = i == t->dims[0] ? 3 : 0;
    }

    free(out);

    return i == 3 ? NULL : "other values";
}


/* Folders of make_hf.py: FP8, shards, stacked experts, images. */
static void
test_forms(void)
{
    const char *name;
    json_t     *all, *want;

    all = json_load_file(FOLDERS "/expected.json", 0, NULL);
    ok(json_object_size(all) > 0, "expected.json");

    json_object_foreach(all, name, want)
    {
        test_form(name, want);
    }

    json_decref(all);
}


static uint64_t
fnv(const uint8_t *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    while (n-- > 0) {
        h = (h ^ *p++) * 0x100000001b3u;
    }

    return h;
}


/* All files of a folder, and Llama's tokenizer. */
static void
copy_folder(const char *path)
{
    struct dirent *e;
    DIR           *d;

    dir_clear();
    dir_copy(FAMILIES "/llama", "tokenizer.json", "tokenizer.json");
    dir_copy(FAMILIES "/llama", "tokenizer_config.json",
             "tokenizer_config.json");

    d = opendir(path);

    while (d && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            dir_copy(path, e->d_name, e->d_name);
        }
    }

    if (d) {
        closedir(d);
    }
}


static void
test_form(const char *name, const json_t *want)
{
    const gguf_tensor_t *t;
    const json_t        *w;
    uint8_t             *out;
    gguf_t              *g;
    size_t               i, bad = 0;
    char                 path[256], err[256] = "", hash[20];

    snprintf(path, sizeof(path), FOLDERS "/%s", name);
    copy_folder(path);

    if (!ok(open_dir(&g, err) == 0, "%s opens", name)) {
        printf("# %s\n", err);
        return;
    }

    is_int(gguf_tensor_n(g)
               - (gguf_tensor_find(g, "rope_freqs.weight") != NULL),
           json_object_size(want), "%s: as many tensors", name);

    for (i = 0; i < gguf_tensor_n(g); i++) {
        t = gguf_tensor_at(g, i);

        if (strcmp(t->name, "rope_freqs.weight") == 0) {
            continue;
        }

        w = json_object_get(want, t->name);
        out = malloc(t->size);
        snprintf(hash, sizeof(hash), "none");

        if (gguf_tensor_rows(g, t, 0, t->dims[1] * t->dims[2], out) == 0) {
            snprintf(hash, sizeof(hash), "%016llx",
                     (unsigned long long) fnv(out, t->size));
        }

        free(out);

        if (w == NULL
            || (uint64_t) json_integer_value(json_array_get(w, 0)) != t->type
            || (uint64_t) json_integer_value(
                   json_array_get(json_array_get(w, 1), 0))
                   != t->dims[0]
            || json_array_size(json_array_get(w, 1)) != t->n_dims
            || strcmp(json_string_value(json_array_get(w, 2)), hash) != 0) {
            printf("# %s: %s\n", t->name, w ? "differs" : "too much");
            bad++;
        }
    }

    is_int(bad, 0, "%s: torch's values, bit by bit", name);
    gguf_close(g);
}


/* A folder that was written anew is another, whichever file it was. */
static void
test_identity(void)
{
    static const char *const files[] = {"config.json", "tokenizer.json",
                                        "chat_template.jinja",
                                        "model-00002-of-00003.safetensors",
                                        "model.safetensors.index.json"};
    hf_identity_t            a, b;
    hf_dir_t                 dir = {.root = root, .path = ""};
    size_t                   i, len;
    char                     path[512], err[256], *p;

    copy_folder(FOLDERS "/sharded");
    is_int(hf_identity(&dir, &a, err, sizeof(err)), 0, "an identity");
    is_int(hf_identity(&dir, &b, err, sizeof(err)), 0, "another");
    ok(memcmp(a.ident, b.ident, 16) == 0, "they are the same");
    ok(a.weight_bytes > 100000, "its weights have %llu bytes",
       (unsigned long long) a.weight_bytes);

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir_path, files[i]);
        p = file_read(path, &len);
        snprintf(path, sizeof(path), "%s.new", files[i]);
        dir_write(path, p ? p : "x", p ? len : 1);
        free(p);

        snprintf(path, sizeof(path), "%s/%s.new", dir_path, files[i]);
        snprintf(err, sizeof(err), "%s/%s", dir_path, files[i]);
        rename(path, err);

        hf_identity(&dir, &b, err, sizeof(err));
        ok(memcmp(a.ident, b.ident, 16) != 0, "not with another %s", files[i]);
        a = b;
    }

    dir_clear();
    is_int(hf_identity(&dir, &a, err, sizeof(err)), -ENOENT,
           "an empty folder has none");
}


/* A window of layers that GGUF's readers would guess otherwise. */
static void
test_windows(void)
{
    static const struct {
        const char *family;
        const char *key;
        const char *json;
        int64_t     window; /* -1: not said */
        const char *layers; /* "": no pattern */
    } cases[] = {
        {"gemma3", "layer_types",
         "[\"sliding_attention\",\"full_attention\",\"sliding_attention\","
         "\"full_attention\",\"full_attention\",\"full_attention\"]",
         24, "101000"},
        {"gemma3", "layer_types",
         "[\"sliding_attention\",\"sliding_attention\","
         "\"sliding_attention\",\"sliding_attention\","
         "\"sliding_attention\",\"full_attention\"]",
         24, ""},
        {"gemma3", "sliding_window_pattern", "3", 24, "110110"},
        {"gemma3", "sliding_window_pattern", "1", 0, ""},
        {"gemma2", "layer_types",
         "[\"full_attention\",\"full_attention\",\"full_attention\"]", 0, ""},
        {"qwen2", "sliding_window", "16", -1, ""},
        {"llama", "sliding_window", "16", -1, ""},
        {"mistral", "sliding_window", "null", -1, ""},
        {"mistral", "layer_types", "[\"full_attention\",\"sliding_attention\"]",
         24, "01"},
        {"phi3", "sliding_window", "null", 0, ""},
    };
    gguf_str_t arch;
    uint32_t   window;
    gguf_t    *g;
    int32_t    local[16];
    size_t     i;
    ssize_t    n, k;
    char       err[256], key[128], layers[17];

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        config(cases[i].family, cases[i].key, cases[i].json);

        if (!ok(open_dir(&g, err) == 0, "%s with %s opens", cases[i].family,
                cases[i].key)) {
            printf("# %s\n", err);
            continue;
        }

        gguf_get_str(g, "general.architecture", &arch);
        snprintf(key, sizeof(key), "%.*s.attention.sliding_window",
                 (int) arch.len, arch.data);
        is_int(gguf_get_u32(g, key, &window) == 0 ? (int64_t) window : -1,
               cases[i].window, "its window");

        snprintf(key, sizeof(key), "%.*s.attention.sliding_window_pattern",
                 (int) arch.len, arch.data);
        n = gguf_get_arr_i32(g, key, local, 16);

        for (k = 0; k < n && k < 16; k++) {
            layers[k] = (char) ('0' + local[k]);
        }

        layers[k] = '\0';
        is_str(layers, cases[i].layers, "its layers");
        gguf_close(g);
    }
}


/* family's config.json with another value, or without the key: json NULL. */
static void
config(const char *name, const char *key, const char *json)
{
    json_t *root_obj;
    char    path[256], *dump;

    family(name);
    snprintf(path, sizeof(path), "%s/config.json", dir_path);

    root_obj = json_load_file(path, 0, NULL);

    if (json) {
        json_object_set_new(root_obj, key,
                            json_loads(json, JSON_DECODE_ANY, NULL));
    } else {
        json_object_del(root_obj, key);
    }

    dump = json_dumps(root_obj, 0);
    text("config.json", dump);
    free(dump);
    json_decref(root_obj);
}


static void
refused(int rc, const char *why, const char *what)
{
    gguf_t *g = NULL;
    char    err[256] = "";
    int     got;

    got = open_dir(&g, err);

    if (!ok(got == rc && (rc == 0 || strstr(err, why) != NULL), "%s%s%s", what,
            rc ? ": refused: " : "", rc ? why : "")) {
        printf("# %d %s\n", got, err);
    }

    if (got == 0) {
        gguf_close(g);
    }
}


static void
test_refused(void)
{
    static const struct {
        const char *family;
        const char *key;
        const char *json;
        int         rc;
        const char *why;
    } bad[] = {
        {"llama", "architectures", "[\"FooForCausalLM\"]", -ENOTSUP,
         "FooForCausalLM"},
        {"llama", "architectures", "[\"a\\n\\u001bb\"]", -ENOTSUP, "a??b"},
        {"llama", "architectures", NULL, -EINVAL, "architectures"},
        {"llama", "hidden_act", "\"relu2\"", -ENOTSUP, "relu2"},
        {"gemma2", "hidden_activation", "\"silu\"", -ENOTSUP, "silu"},
        {"llama", "rope_scaling", "{\"rope_type\":\"dynamic\",\"factor\":2}",
         -ENOTSUP, "dynamic"},
        {"llama", "rope_scaling", "{\"type\":\"longrope\"}", -ENOTSUP,
         "longrope"},
        {"llama", "rope_scaling", "{\"type\":\"linear\"}", -EINVAL, "factor"},
        {"llama", "rope_scaling", "7", -EINVAL, "no object"},
        {"llama", "partial_rotary_factor", "0.5", -ENOTSUP, "partial_rotary"},
        {"llama", "clip_qkv", "8", -ENOTSUP, "clip_qkv"},
        {"llama", "clip_qkv", "null", 0, ""},
        {"llama", "num_experts", "8", -ENOTSUP, "num_experts"},
        {"llama", "layer_types", "[\"full_attention\",\"chunked_attention\"]",
         -ENOTSUP, "chunked_attention"},
        {"llama", "layer_types", "[\"full_attention\"]", -EINVAL,
         "layer_types"},
        {"llama", "num_hidden_layers", "1", -EINVAL, "there are 1 layers"},
        {"llama", "num_hidden_layers", "100000", -EINVAL, "num_hidden_layers"},
        {"llama", "num_hidden_layers", "\"2\"", -ENOTSUP, "no number"},
        {"llama", "num_attention_heads", "3", -EINVAL, "do not make a model"},
        {"llama", "num_attention_heads", "8", -EINVAL, "q_proj"},
        {"llama", "vocab_size", "319", -EINVAL, "vocab_size is 319"},
        {"llama", "rms_norm_eps", NULL, -EINVAL, "rms_norm_eps"},
        {"llama", "tie_word_embeddings", "true", 0, ""},
        {"qwen3", "tie_word_embeddings", "false", -EINVAL, "lm_head.weight"},
        {"llama", "quantization_config", "{\"quant_method\":\"gptq\"}",
         -ENOTSUP, "gptq"},
        {"llama", "quantization_config", "{\"quant_method\":\"mxfp4\"}",
         -ENOTSUP, "mxfp4"},
        {"llama", "quantization_config",
         "{\"quant_method\":\"compressed-tensors\",\"format\":"
         "\"pack-quantized\"}",
         -ENOTSUP, "pack-quantized"},
        {"llama", "quantization_config",
         "{\"quant_method\":\"fp8\",\"weight_block_size\":[0,1]}", -ENOTSUP,
         "block size"},
        {"smollm3", "no_rope_layers", "[1,0,1,0,1]", -ENOTSUP,
         "no_rope_layers"},
        {"smollm3", "no_rope_layer_interval", "5", 0, ""},
        {"smollm3", "no_rope_layers", "null", 0, ""},
        {"qwen3moe", "decoder_sparse_step", "2", -ENOTSUP,
         "decoder_sparse_step"},
        {"qwen3moe", "mlp_only_layers", "[0]", -ENOTSUP, "mlp_only_layers"},
        {"qwen3moe", "num_local_experts", "8", -EINVAL, "is missing"},
        {"qwen3moe", "num_local_experts", "3", -EINVAL, "there are 3 experts"},
        {"qwen3moe", "num_experts_per_tok", "5", -EINVAL, "5 of 4 experts"},
        {"gemma3", "use_bidirectional_attention", "true", -ENOTSUP,
         "use_bidirectional_attention"},
        {"gemma3", "attn_logit_softcapping", "50.0", -ENOTSUP,
         "attn_logit_softcapping"},
        {"gpt-oss", "swiglu_limit", "5.0", -ENOTSUP, "swiglu_limit"},
        {"gpt-oss", "quantization_config", NULL, -ENOTSUP, "mxfp4"},
        {"phi3", "rope_scaling",
         "{\"type\":\"longrope\",\"long_factor\":[1],\"short_factor\":[1]}",
         -EINVAL, "long_factor"},
        {"phi3", "partial_rotary_factor", "0.7", -EINVAL, "long_factor"},
        {"granite", "residual_multiplier", "0", -ENOTSUP,
         "residual_multiplier"},
    };
    char   what[256];
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        config(bad[i].family, bad[i].key, bad[i].json);
        snprintf(what, sizeof(what), "%s with %s %.60s", bad[i].family,
                 bad[i].key, bad[i].json ? bad[i].json : "(none)");
        refused(bad[i].rc, bad[i].why, what);
    }
}


static void
test_files(void)
{
    copy_folder(FOLDERS "/sharded");
    dir_remove("model-00002-of-00003.safetensors");
    refused(-ENOENT, "model-00002-of-00003.safetensors", "a missing shard");

    copy_folder(FOLDERS "/sharded");
    dir_copy(FOLDERS "/sharded", "model-00001-of-00003.safetensors",
             "model-00002-of-00003.safetensors");
    refused(-EINVAL, "is there twice", "a shard twice");

    copy_folder(FOLDERS "/fp8-block");
    dir_copy(FOLDERS "/fp8-tensor", "config.json", "config.json");
    refused(-EINVAL, "impossible shape", "FP8 of blocks without their size");
    dir_copy(FAMILIES "/llama", "config.json", "config.json");
    refused(-ENOTSUP, "", "FP8 that config.json does not speak of");

    family("llama");
    dir_remove("config.json");
    refused(-ENOENT, "no config.json", "an empty folder");

    text("config.json", "{\"architectures\": [\"Llama");
    refused(-EINVAL, "config.json: line 1", "broken JSON");

    text("config.json", "[]");
    refused(-EINVAL, "no object", "a list");

    family("llama");
    dir_remove("model.safetensors");
    refused(-ENOENT, "no model.safetensors", "no weights");

    text("pytorch_model.bin", "x");
    refused(-ENOTSUP, "pytorch_model.bin is not read", "a pickle");

    text("model.safetensors.index.json", "{}");
    refused(-EINVAL, "no weight_map", "an empty index");

    text("model.safetensors.index.json",
         "{\"weight_map\":{\"a\":\"../b.safetensors\"}}");
    refused(-EINVAL, "beside it", "an index of a file elsewhere");

    text("model.safetensors.index.json",
         "{\"weight_map\":{\"a\":\"b.safetensors\"}}");
    refused(-ENOENT, "b.safetensors", "an index of a missing file");
}


/* Cut, and with bits turned in its head: never more than an error. */
static void
test_broken(void)
{
    uint32_t state = 1, i, at, opened = 0;
    gguf_t  *g;
    size_t   len;
    char    *data, err[256];

    family("llama-linear");
    data = file_read(FAMILIES "/llama-linear/model.safetensors", &len);

    dir_write("model.safetensors", data, len - 1);
    refused(-EINVAL, "model.safetensors", "cut by a byte");
    dir_write("model.safetensors", data, 9);
    refused(-EINVAL, "too short", "cut to nothing");

    for (i = 0; i < 200; i++) {
        state = state * 1664525 + 1013904223;
        at = (state >> 16) % 2000;
        data[at] ^= 1 << (state >> 8 & 7);
        dir_write("model.safetensors", data, len);
        data[at] ^= 1 << (state >> 8 & 7);

        if (open_dir(&g, err) == 0) {
            opened++;
            gguf_close(g);
        }
    }

    ok(opened < 100, "turned bits in the header: %u of 200 still open", opened);
    free(data);
}
