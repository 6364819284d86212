/*
 * config.json into metadata, as converters to GGUF write it; see hf_priv.h.
 *
 * Both spellings are read: transformers 4's (rope_theta, rope_scaling,
 * torch_dtype) and 5's (rope_parameters, dtype, layer_types).  A family or a
 * setting that changes the mathematics and is not honoured is refused by its
 * name.  Loader threads.
 */

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/model/hf_priv.h"

#define HF_QUANTISED    2  /* general.quantization_version */
#define HF_FTYPE_MXFP4  38 /* general.file_type */
#define HF_SWIGLU_CAP   7.0
#define HF_SWIGLU_SLOPE 1.702

static int config_family(hf_config_t *c);
static int config_text(hf_config_t *c);
static int config_refused(const hf_config_t *c);
static int config_activation(const hf_config_t *c);
static int config_dims(hf_config_t *c, gguf_writer_t *w);
static int config_heads(hf_config_t *c, gguf_writer_t *w);
static int config_experts(hf_config_t *c, gguf_writer_t *w);
static int config_factors(hf_config_t *c, gguf_writer_t *w);
static int config_caps(hf_config_t *c, gguf_writer_t *w);
static int config_query_scale(const hf_config_t *c, gguf_writer_t *w);
static int config_need(const hf_config_t *c, const char *key, uint32_t most,
                       uint32_t fallback, uint32_t *v);

static const hf_family_t families[] = {
    {"LlamaForCausalLM", "llama", HF_LLAMA, HF_WINDOW_NONE, 1e4, 0},
    {"MistralForCausalLM", "llama", HF_MISTRAL, HF_WINDOW_ALL, 1e4, 0},
    {"MixtralForCausalLM", "llama", HF_MIXTRAL, HF_WINDOW_ALL, 1e6, 0},
    {"SmolLM3ForCausalLM", "smollm3", HF_SMOLLM3, HF_WINDOW_FROM, 2e6, 0},
    {"Qwen2ForCausalLM", "qwen2", HF_QWEN2, HF_WINDOW_FROM, 1e4, 0},
    {"Qwen3ForCausalLM", "qwen3", HF_QWEN3, HF_WINDOW_FROM, 1e4, 128},
    {"Qwen3MoeForCausalLM", "qwen3moe", HF_QWEN3MOE, HF_WINDOW_FROM, 1e4, 0},
    {"GemmaForCausalLM", "gemma", HF_GEMMA, HF_WINDOW_NONE, 1e4, 256},
    {"Gemma2ForCausalLM", "gemma2", HF_GEMMA2, HF_WINDOW_SECOND, 1e4, 256},
    {"Gemma3ForCausalLM", "gemma3", HF_GEMMA3, HF_WINDOW_SIXTH, 1e6, 256},
    {"Gemma3ForConditionalGeneration", "gemma3", HF_GEMMA3, HF_WINDOW_SIXTH,
     1e6, 256},
    {"Phi3ForCausalLM", "phi3", HF_PHI3, HF_WINDOW_ALL, 1e4, 0},
    {"GptOssForCausalLM", "gpt-oss", HF_GPT_OSS, HF_WINDOW_SECOND, 1.5e5, 64},
    {"GraniteForCausalLM", "granite", HF_GRANITE, HF_WINDOW_NONE, 1e4, 0},
};

/*
 * Settings of which one value is understood, that which changes nothing;
 * what is absent or null is that.  Lists and objects must be empty.
 */
static const struct {
    uint32_t    families;
    const char *key;
    double      neutral;
} refused[] = {
    {HF_ALL, "add_cross_attention", 0},
    {HF_ALL, "alibi", 0},
    {HF_ALL, "attention_chunk_size", 0},
    {HF_ALL, "clip_qkv", 0},
    {HF_ALL, "cross_attention_layers", 0},
    {HF_ALL, "is_causal", 1},
    {HF_ALL, "is_encoder_decoder", 0},
    {HF_ALL, "kv_lora_rank", 0},
    {HF_ALL, "logit_scale", 1},
    {HF_ALL, "n_shared_experts", 0},
    {HF_ALL, "num_kv_shared_layers", 0},
    {HF_ALL, "num_nextn_predict_layers", 0},
    {HF_ALL, "parallel_attn", 0},
    {HF_ALL, "q_lora_rank", 0},
    {HF_ALL, "qk_layernorm", 0},
    {HF_ALL, "rope_interleaved", 0},
    {HF_ALL, "shared_expert_intermediate_size", 0},
    {HF_ALL, "use_bidirectional_attention", 0},
    {HF_ALL, "use_mrope", 0},
    {HF_ALL, "use_qk_norm", 0},
    {HF_ALL & ~HF_PHI3, "partial_rotary_factor", 1},
    {HF_ALL & ~HF_GRANITE, "attention_multiplier", 0},
    {HF_ALL & ~HF_GRANITE, "embedding_multiplier", 1},
    {HF_ALL & ~HF_GRANITE, "logits_scaling", 1},
    {HF_ALL & ~HF_GRANITE, "residual_multiplier", 1},
    {HF_ALL & ~HF_GEMMA2, "attn_logit_softcapping", 0},
    {HF_ALL & ~(HF_GEMMA2 | HF_GEMMA3), "final_logit_softcapping", 0},
    {HF_ALL & ~(HF_GEMMA2 | HF_GEMMA3), "query_pre_attn_scalar", 0},
    {HF_ALL & ~(HF_MIXTRAL | HF_QWEN3MOE | HF_GPT_OSS), "num_local_experts", 0},
    {HF_ALL & ~(HF_MIXTRAL | HF_QWEN3MOE | HF_GPT_OSS), "num_experts", 0},
    {HF_QWEN3MOE, "decoder_sparse_step", 1},
    {HF_QWEN3MOE, "mlp_only_layers", 0},
    {HF_GPT_OSS, "swiglu_alpha", HF_SWIGLU_SLOPE},
    {HF_GPT_OSS, "swiglu_limit", HF_SWIGLU_CAP},
};


int
hf_config_read(hf_config_t *c, json_t *root_take, gguf_writer_t *w, char *err,
               size_t err_size)
{
    *c = (hf_config_t){
        .root = root_take, .tied = -1, .err = err, .err_size = err_size};

    LLM_TRY(config_family(c));
    LLM_TRY(config_text(c));

    gguf_put_str(w, "general.architecture", c->family->arch,
                 strlen(c->family->arch));
    gguf_put_str(w, "general.type", "model", 5);
    gguf_put_u32(w, "general.quantization_version", HF_QUANTISED);

    LLM_TRY(config_refused(c));
    LLM_TRY(config_activation(c));
    LLM_TRY(hf_packed_read(c));
    LLM_TRY(config_dims(c, w));
    LLM_TRY(config_heads(c, w));
    LLM_TRY(config_experts(c, w));
    LLM_TRY(config_factors(c, w));
    LLM_TRY(hf_windows_read(c, w));

    if (c->packed == HF_MXFP4) {
        gguf_put_u32(w, "general.file_type", HF_FTYPE_MXFP4);
    }

    if (c->packed == HF_FP8) {
        gguf_put_bool(w, HF_KEY_FP8, true);
    }

    return hf_rope_read(c, w);
}


void
hf_config_free(hf_config_t *c)
{
    json_decref(c->root);
    json_decref(c->config);
    free(c->rope_freqs);
    free(c->rope_long);
    free(c->rope_short);
    *c = (hf_config_t){0};
}


int
hf_fail(const hf_config_t *c, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    hf_say(c->err, c->err_size, fmt, ap);
    va_end(ap);

    return rc;
}


void
hf_say(char *err, size_t err_size, const char *fmt, va_list ap)
{
    size_t i;

    if (err_size == 0) {
        return;
    }

    vsnprintf(err, err_size, fmt, ap);

    for (i = 0; err[i]; i++) {
        if ((unsigned char) err[i] < 0x20 || err[i] == 0x7f) {
            err[i] = '?';
        }
    }
}


static int
config_family(hf_config_t *c)
{
    const char *name;
    size_t      i;

    name = json_string_value(
        json_array_get(json_object_get(c->root, "architectures"), 0));
    if (name == NULL) {
        return hf_fail(c, -EINVAL, "config.json: no architectures");
    }

    for (i = 0; i < llm_countof(families); i++) {
        if (strcmp(families[i].name, name) == 0) {
            c->family = &families[i];
            return 0;
        }
    }

    return hf_fail(c, -ENOTSUP, "architecture %.64s is not supported", name);
}


/* A model of texts and images has its words about text in an object. */

static int
config_text(hf_config_t *c)
{
    json_t *text = json_object_get(c->root, "text_config");
    int     tied;

    if (text == NULL || json_is_null(text)) {
        c->config = json_copy(c->root);
    } else if (json_is_object(text)) {
        c->config = json_copy(text);
    } else {
        return hf_fail(c, -EINVAL, "config.json: text_config is no object");
    }

    if (c->config == NULL) {
        return hf_fail(c, -ENOMEM, "no memory");
    }

    tied = hf_get_bool(c, "tie_word_embeddings", -1);
    if (tied < 0) {
        const json_t *v = json_object_get(c->root, "tie_word_embeddings");

        tied = json_is_boolean(v) ? json_is_true(v) : -1;
    }

    c->tied = tied;

    return 0;
}


static int
config_refused(const hf_config_t *c)
{
    const json_t *v;
    size_t        i;
    double        d;

    for (i = 0; i < llm_countof(refused); i++) {
        if (!(refused[i].families & c->family->family)) {
            continue;
        }

        v = hf_get(c->config, refused[i].key);

        if (v == NULL || (json_is_array(v) && json_array_size(v) == 0)
            || (json_is_object(v) && json_object_size(v) == 0)) {
            continue;
        }

        d = json_is_boolean(v)  ? json_is_true(v)
            : json_is_number(v) ? json_number_value(v)
                                : NAN;

        if (!(fabs(d - refused[i].neutral) < 1e-9)) {
            return hf_fail(c, -ENOTSUP,
                           "config.json: this \"%s\" is not supported with %s",
                           refused[i].key, c->family->name);
        }
    }

    return 0;
}


/*
 * What Gemma 1 calls "gelu" its makers published as a mistake: it was trained
 * with the approximation by tanh, as all of them.
 */

static int
config_activation(const hf_config_t *c)
{
    int         gelu = (c->family->family & HF_GEMMAS) != 0;
    const char *want = gelu ? "gelu_pytorch_tanh" : "silu";
    const char *name;

    name = json_string_value(hf_get(c->config, "hidden_activation"));
    if (name == NULL) {
        name = json_string_value(hf_get(c->config, "hidden_act"));

        if (name && c->family->family == HF_GEMMA
            && strcmp(name, "gelu") == 0) {
            return 0;
        }
    }

    if (name == NULL || strcmp(name, want) == 0) {
        return 0;
    }

    return hf_fail(c, -ENOTSUP, "hidden_act %.32s is not supported with %s",
                   name, c->family->name);
}


static int
config_dims(hf_config_t *c, gguf_writer_t *w)
{
    uint32_t gemma3 = c->family->family == HF_GEMMA3, n_ff;
    double   eps = gemma3 ? 1e-6 : 0;

    LLM_TRY(config_need(c, "num_hidden_layers", HF_LAYERS_MAX, gemma3 ? 26 : 0,
                        &c->n_layer));
    LLM_TRY(config_need(c, "hidden_size", HF_DIM_MAX, gemma3 ? 2304 : 0,
                        &c->n_embd));
    LLM_TRY(config_need(c, "intermediate_size", HF_DIM_MAX, gemma3 ? 9216 : 0,
                        &n_ff));
    LLM_TRY(config_need(c, "max_position_embeddings", HF_CONTEXT_MAX,
                        gemma3 ? 131072 : 0, &c->trained));
    LLM_TRY(hf_get_u32(c, c->config, "vocab_size", HF_DIM_MAX, &c->n_vocab));
    LLM_TRY(hf_get_f64(c, c->config, "rms_norm_eps", &eps));

    if (!(eps > 0 && eps < 1)) {
        return hf_fail(c, -EINVAL, "config.json: no rms_norm_eps");
    }

    hf_put_u32(c, w, "block_count", c->n_layer);
    hf_put_u32(c, w, "context_length", c->trained);
    hf_put_u32(c, w, "embedding_length", c->n_embd);
    hf_put_u32(c, w, "feed_forward_length", n_ff);
    hf_put_f32(c, w, "attention.layer_norm_rms_epsilon", eps);

    if ((c->family->family & HF_PAIRS) && c->n_vocab) {
        hf_put_u32(c, w, "vocab_size", c->n_vocab);
    }

    return 0;
}


static int
config_heads(hf_config_t *c, gguf_writer_t *w)
{
    uint32_t gemma3 = c->family->family == HF_GEMMA3, dim = 0;
    int      said;

    LLM_TRY(config_need(c, "num_attention_heads", 65536, gemma3 ? 8 : 0,
                        &c->n_head));

    c->n_kv = gemma3 ? 4 : c->n_head;
    LLM_TRY(hf_get_u32(c, c->config, "num_key_value_heads", 65536, &c->n_kv));

    said = hf_get_u32(c, c->config, "head_dim", 65536, &dim);
    LLM_TRY(said);

    if (!said && c->family->head_dim) {
        dim = c->family->head_dim;
        said = 1;
    }

    if (!said) {
        dim = c->n_embd / c->n_head;
    }

    if (c->n_kv == 0 || c->n_head % c->n_kv || dim == 0 || dim % 2
        || (!said && c->n_embd % c->n_head)) {
        return hf_fail(c, -EINVAL,
                       "config.json: %" PRIu32 " heads, %" PRIu32
                       " for keys and values, of %" PRIu32
                       " do not make a model",
                       c->n_head, c->n_kv, dim);
    }

    c->head_dim = dim;

    hf_put_u32(c, w, "attention.head_count", c->n_head);
    hf_put_u32(c, w, "attention.head_count_kv", c->n_kv);

    if (c->family->family & (HF_GRANITE | HF_PHI3)) {
        said = (uint64_t) dim * c->n_head != c->n_embd;
    }

    if (said) {
        hf_put_u32(c, w, "attention.key_length", dim);
        hf_put_u32(c, w, "attention.value_length", dim);
    }

    return 0;
}


static int
config_experts(hf_config_t *c, gguf_writer_t *w)
{
    uint32_t family = c->family->family, used = 0, n_ff = 0;

    if (!(family & (HF_MIXTRAL | HF_QWEN3MOE | HF_GPT_OSS))) {
        return 0;
    }

    LLM_TRY(
        hf_get_u32(c, c->config, "num_experts", HF_EXPERTS_MAX, &c->n_expert));
    LLM_TRY(hf_get_u32(c, c->config, "num_local_experts", HF_EXPERTS_MAX,
                       &c->n_expert));
    LLM_TRY(
        hf_get_u32(c, c->config, "experts_per_token", HF_EXPERTS_MAX, &used));
    LLM_TRY(
        hf_get_u32(c, c->config, "num_experts_per_tok", HF_EXPERTS_MAX, &used));

    if (c->n_expert == 0 || used == 0 || used > c->n_expert) {
        return hf_fail(c, -EINVAL,
                       "config.json: %" PRIu32 " of %" PRIu32 " experts", used,
                       c->n_expert);
    }

    hf_put_u32(c, w, "expert_count", c->n_expert);
    hf_put_u32(c, w, "expert_used_count", used);

    if (family == HF_MIXTRAL) {
        return 0;
    }

    LLM_TRY(config_need(
        c, family == HF_GPT_OSS ? "intermediate_size" : "moe_intermediate_size",
        HF_DIM_MAX, 0, &n_ff));
    hf_put_u32(c, w, "expert_feed_forward_length", n_ff);

    /* Qwen's weights are those of the softmax over all, unless it says so. */
    if (family == HF_QWEN3MOE && !hf_get_bool(c, "norm_topk_prob", 0)) {
        gguf_put_bool(w, "qwen3moe.expert_weights_norm", false);
    }

    return 0;
}


/* Granite's four, Gemma's soft caps. */

static int
config_factors(hf_config_t *c, gguf_writer_t *w)
{
    static const struct {
        const char *key;
        const char *name;
    } granite[] = {{"attention_multiplier", "attention.scale"},
                   {"embedding_multiplier", "embedding_scale"},
                   {"residual_multiplier", "residual_scale"},
                   {"logits_scaling", "logit_scale"}};

    size_t i;
    double v;

    if (c->family->family != HF_GRANITE) {
        return config_caps(c, w);
    }

    for (i = 0; i < llm_countof(granite); i++) {
        v = 1;
        LLM_TRY(hf_get_f64(c, c->config, granite[i].key, &v));

        /* 0 means nothing there to who reads the metadata. */
        if (!(fabs(v) > 1e-9 && fabs(v) < 1e9)) {
            return hf_fail(c, -ENOTSUP,
                           "config.json: this \"%s\" is not "
                           "supported",
                           granite[i].key);
        }

        hf_put_f32(c, w, granite[i].name, v);
    }

    return 0;
}


static int
config_caps(hf_config_t *c, gguf_writer_t *w)
{
    double attn = 0, final = 0;

    if (!(c->family->family & (HF_GEMMA2 | HF_GEMMA3))) {
        return 0;
    }

    if (c->family->family == HF_GEMMA2) {
        /* Not said is not without: null is. */
        attn = json_object_get(c->config, "attn_logit_softcapping") ? 0 : 50;
        final = json_object_get(c->config, "final_logit_softcapping") ? 0 : 30;
    }

    LLM_TRY(hf_get_f64(c, c->config, "attn_logit_softcapping", &attn));
    LLM_TRY(hf_get_f64(c, c->config, "final_logit_softcapping", &final));

    if (attn < 0 || final < 0) {
        return hf_fail(c, -EINVAL, "config.json: soft caps of %g and %g", attn,
                       final);
    }

    if (attn > 0) {
        hf_put_f32(c, w, "attn_logit_softcapping", attn);
    }

    if (final > 0) {
        hf_put_f32(c, w, "final_logit_softcapping", final);
    }

    return config_query_scale(c, w);
}


/*
 * Readers of GGUF know Gemma's scale by the model's size (the 27Bs' is not
 * that of their heads); what they would not guess is written.
 */

static int
config_query_scale(const hf_config_t *c, gguf_writer_t *w)
{
    uint32_t layers = c->family->family == HF_GEMMA2 ? 46 : 62;
    double   guess = c->n_layer == layers ? (double) (c->n_embd / c->n_head)
                                          : (double) c->head_dim;
    double   scalar = 256;

    LLM_TRY(hf_get_f64(c, c->config, "query_pre_attn_scalar", &scalar));

    if (!(scalar > 0)) {
        return hf_fail(c, -EINVAL, "config.json: query_pre_attn_scalar is %g",
                       scalar);
    }

    if (fabs(scalar - guess) > 1e-9) {
        hf_put_f32(c, w, "attention.scale", 1 / sqrt(scalar));
    }

    return 0;
}


/* fallback 0: it must be there. */

static int
config_need(const hf_config_t *c, const char *key, uint32_t most,
            uint32_t fallback, uint32_t *v)
{
    *v = fallback;

    LLM_TRY(hf_get_u32(c, c->config, key, most, v));

    return *v ? 0 : hf_fail(c, -EINVAL, "config.json: no \"%s\"", key);
}


int
hf_get_bool(const hf_config_t *c, const char *key, int fallback)
{
    const json_t *v = json_object_get(c->config, key);

    return json_is_boolean(v) ? json_is_true(v) : fallback;
}


const json_t *
hf_get(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_null(v) ? NULL : v;
}


int
hf_get_u32(const hf_config_t *c, const json_t *o, const char *key,
           uint32_t most, uint32_t *v)
{
    double d;
    int    rc;

    rc = hf_get_f64(c, o, key, &d);
    if (rc <= 0) {
        return rc;
    }

    if (!(d >= 0 && d <= most) || d != floor(d)) {
        return hf_fail(c, -EINVAL, "config.json: \"%s\" is %g", key, d);
    }

    *v = (uint32_t) d;

    return 1;
}


int
hf_get_f64(const hf_config_t *c, const json_t *o, const char *key, double *v)
{
    const json_t *j = hf_get(o, key);

    if (j == NULL) {
        return 0;
    }

    if (!json_is_number(j)) {
        return hf_fail(c, -ENOTSUP, "config.json: \"%s\" is no number", key);
    }

    *v = json_number_value(j);

    return 1;
}


void
hf_put_u32(const hf_config_t *c, gguf_writer_t *w, const char *name, uint32_t v)
{
    char key[128];

    snprintf(key, sizeof(key), "%s.%s", c->family->arch, name);
    gguf_put_u32(w, key, v);
}


void
hf_put_f32(const hf_config_t *c, gguf_writer_t *w, const char *name, double v)
{
    char key[128];

    snprintf(key, sizeof(key), "%s.%s", c->family->arch, name);
    gguf_put_f32(w, key, (float) v);
}


void
hf_put_str(const hf_config_t *c, gguf_writer_t *w, const char *name,
           const char *s)
{
    char key[128];

    snprintf(key, sizeof(key), "%s.%s", c->family->arch, name);
    gguf_put_str(w, key, s, strlen(s));
}
