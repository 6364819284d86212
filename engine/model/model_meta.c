/*
 * Metadata of a model: dimensions, factors, soft caps, experts and windows.
 * What would change the mathematics and is not done here is refused by its
 * key.  Loader threads; see model_priv.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/base.h"
#include "engine/model/model_priv.h"

#define META_GATING_SOFTMAX 1
#define META_GATING_CHOSEN  3 /* softmax over the chosen ones */

static int load_refused(load_t *l);
static int load_dims(load_t *l);
static int load_heads(load_t *l);
static int load_factors(load_t *l);
static int load_experts(load_t *l);
static int load_windows(load_t *l);
static int load_window_pattern(load_t *l, const char *name, int64_t *every);
static int load_context(load_t *l);
static int load_number(load_t *l, const char *key, double *value);

/*
 * Keys of which only one value is understood: that which changes nothing.
 * Any other kind of value is refused too.
 */
static const struct {
    const char *name;
    double      neutral;
} refused[] = {
    {"activation_sparsity_scale", 0},
    {"adapters.count", 0},
    {"altup.num_inputs", 0},
    {"attention.causal", 1},
    {"attention.clamp_kqv", 0},
    {"attention.compress_ratios", 0},
    {"attention.gate_lora_rank", 0},
    {"attention.indexer.head_count", 0},
    {"attention.indexer.top_k", 0},
    {"attention.key_length_mla", 0},
    {"attention.key_length_swa", 0},
    {"attention.kv_lora_rank", 0},
    {"attention.max_alibi_bias", 0},
    {"attention.output_scale", 1},
    {"attention.q_lora_rank", 0},
    {"attention.relative_buckets_count", 0},
    {"attention.rope_pattern", 1},
    {"attention.shared_kv_layers", 0},
    {"attention.temperature_length", 0},
    {"attention.temperature_scale", 0},
    {"attention.value_length_mla", 0},
    {"attention.value_length_swa", 0},
    {"attention.value_scale", 1},
    {"attn_res.block_size", 0},
    {"deepstack_mapping", -1},
    {"embedding_length_out", 0},
    {"embedding_length_per_layer_input", 0},
    {"expert_chunk_feed_forward_length", 0},
    {"expert_group_count", 0},
    {"expert_group_scale", 0},
    {"expert_group_used_count", 0},
    {"expert_latent_length", 0},
    {"expert_shared_count", 0},
    {"expert_shared_feed_forward_length", 0},
    {"experts_per_group", 0},
    {"full_attention_interval", 1},
    {"hash_layer_count", 0},
    {"hidden_activation", 0},
    {"hyper_connection.count", 0},
    {"interleave_moe_layer_step", 0},
    {"leading_dense_block_count", 0},
    {"moe_every_n_layers", 0},
    {"n_deepstack_layers", 0},
    {"nextn_predict_layers", 0},
    {"norm_before_fc", 0},
    {"norm_before_residual", 0},
    {"num_loops", 1},
    {"rescale_every_n_layers", 0},
    {"rope.dimension_count_swa", 0},
    {"rope.dimension_sections", 0},
    {"rope.scale_linear", 1},
    {"rope.scaling.alpha", 0},
    {"rope.scaling.yarn_ext_factor", 1},
    {"rope.scaling.yarn_log_multiplier", 0},
    {"router_logit_softcapping", 0},
    {"swiglu_clamp_exp", 0},
    {"swin_norm", 0},
    {"use_parallel_residual", 0},
};


void
load_key(const load_t *l, const char *name, char key[MODEL_KEY_MAX])
{
    snprintf(key, MODEL_KEY_MAX, "%s.%s", l->arch->name, name);
}


int
load_meta(load_t *l)
{
    LLM_TRY(load_refused(l));
    LLM_TRY(load_dims(l));
    LLM_TRY(load_experts(l));
    LLM_TRY(load_factors(l));
    LLM_TRY(load_windows(l));

    return load_context(l);
}


static int
load_refused(load_t *l)
{
    char   key[MODEL_KEY_MAX];
    double v;
    size_t i;
    int    rc;

    for (i = 0; i < llm_countof(refused); i++) {
        load_key(l, refused[i].name, key);

        rc = load_number(l, key, &v);
        if (rc == -EINVAL || (rc == 0 && v != refused[i].neutral)) {
            return load_fail(l, -ENOTSUP, "metadata \"%s\" is not supported",
                             key);
        }
    }

    return 0;
}


/*
 * A number or a bool, or an array of numbers that are all the same: 0,
 * -ENOENT or -EINVAL, without a word.
 */

static int
load_number(load_t *l, const char *key, double *value)
{
    ssize_t  n, i;
    int32_t *v;
    float    f;
    bool     b;
    int      rc;

    rc = gguf_get_f32(l->file, key, &f);
    if (rc == 0) {
        *value = (double) f;
        return 0;
    }

    if (rc == -ENOENT) {
        return rc;
    }

    if (gguf_get_bool(l->file, key, &b) == 0) {
        *value = b;
        return 0;
    }

    n = gguf_get_arr_i32(l->file, key, NULL, 0);
    if (n <= 0 || n > MODEL_LAYER_MAX) {
        return -EINVAL;
    }

    v = calloc((size_t) n, sizeof(int32_t));
    if (v == NULL || gguf_get_arr_i32(l->file, key, v, (size_t) n) != n) {
        free(v);
        return -EINVAL;
    }

    rc = 0;
    for (i = 1; i < n; i++) {
        rc = v[i] == v[0] ? rc : -EINVAL;
    }

    *value = v[0];
    free(v);

    return rc;
}


int
load_float(load_t *l, const char *name, float *value)
{
    char  key[MODEL_KEY_MAX];
    float f;
    int   rc;

    load_key(l, name, key);

    rc = gguf_get_f32(l->file, key, &f);
    if (rc == -ENOENT) {
        return 0;
    }

    if (rc < 0 || !isfinite(f)) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is not a number", key);
    }

    *value = f;

    return 0;
}


int
load_dim(load_t *l, const char *name, uint32_t fallback, uint32_t *value)
{
    char   key[MODEL_KEY_MAX];
    double v = fallback;
    int    rc;

    load_key(l, name, key);

    rc = load_number(l, key, &v);
    if (rc == -ENOENT && fallback == 0) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is missing", key);
    }

    if (rc == -EINVAL) {
        return load_fail(l, -ENOTSUP,
                         "metadata \"%s\" is not a single number, the same in "
                         "all layers",
                         key);
    }

    if (!(v >= 1 && v <= MODEL_DIM_MAX) || v != floor(v)) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is %g", key, v);
    }

    *value = (uint32_t) v;

    return 0;
}


static int
load_dims(load_t *l)
{
    const gguf_tensor_t *embd;
    k_program_t         *p = &l->m->prog;
    float                trained = 0;
    char                 key[MODEL_KEY_MAX];

    LLM_TRY(load_dim(l, "block_count", 0, &p->n_layer));
    LLM_TRY(load_dim(l, "embedding_length", 0, &p->n_embd));
    LLM_TRY(load_heads(l));

    /* Some say 10 million here. */
    LLM_TRY(load_float(l, "context_length", &trained));
    if (!(trained >= 1 && trained <= (float) (1u << 30))) {
        load_key(l, "context_length", key);
        return load_fail(l, -EINVAL, "metadata \"%s\" is %g", key,
                         (double) trained);
    }
    l->m->trained = (uint32_t) trained;

    embd = gguf_tensor_find(l->file, "token_embd.weight");
    if (embd == NULL || embd->dims[1] > MODEL_DIM_MAX * 4ull) {
        return load_fail(l, -EINVAL, "tensor token_embd.weight is %s",
                         embd ? "too large" : "missing");
    }

    p->n_vocab = (uint32_t) embd->dims[1];

    LLM_TRY(load_float(l, "attention.layer_norm_rms_epsilon", &l->meta.eps));
    if (!(l->meta.eps > 0)) {
        load_key(l, "attention.layer_norm_rms_epsilon", key);
        return load_fail(l, -EINVAL, "metadata \"%s\" is missing", key);
    }

    return 0;
}


static int
load_heads(load_t *l)
{
    k_program_t *p = &l->m->prog;
    uint32_t     value_dim;

    LLM_TRY(load_dim(l, "attention.head_count", 0, &p->n_head));
    LLM_TRY(load_dim(l, "attention.head_count_kv", p->n_head, &p->n_kv));

    if (p->n_layer > MODEL_LAYER_MAX || p->n_head % p->n_kv) {
        return load_fail(l, -EINVAL,
                         "%" PRIu32 " layers, %" PRIu32 " heads, %" PRIu32
                         " KV heads do not make a model",
                         p->n_layer, p->n_head, p->n_kv);
    }

    if (p->n_embd % p->n_head == 0) {
        p->head_dim = p->n_embd / p->n_head;
    }

    LLM_TRY(load_dim(l, "attention.key_length", p->head_dim, &p->head_dim));
    LLM_TRY(load_dim(l, "attention.value_length", p->head_dim, &value_dim));

    if (value_dim != p->head_dim) {
        return load_fail(l, -ENOTSUP,
                         "keys of %" PRIu32 " and values of %" PRIu32
                         " elements are not supported",
                         p->head_dim, value_dim);
    }

    if (p->n_head > MODEL_DIM_MAX / p->head_dim) {
        return load_fail(l, -EINVAL,
                         "%" PRIu32 " heads of %" PRIu32
                         " elements are too many",
                         p->n_head, p->head_dim);
    }

    return 0;
}


/* Experts, or the width of the one feed-forward part there is. */

static int
load_experts(load_t *l)
{
    model_meta_t *meta = &l->meta;
    k_program_t  *p = &l->m->prog;
    uint32_t      gating = 0;
    float         n = 0;
    bool          norm = true;
    char          key[MODEL_KEY_MAX];
    int           rc;

    LLM_TRY(load_float(l, "expert_count", &n));

    if (n == 0) {
        if (l->arch->ffn[0].kind == 0) {
            load_key(l, "expert_count", key);
            return load_fail(l, -EINVAL, "metadata \"%s\" is missing", key);
        }

        return load_dim(l, "feed_forward_length", 0, &p->n_ff);
    }

    if (l->arch->moe.kind == 0) {
        load_key(l, "expert_count", key);
        return load_fail(l, -ENOTSUP, "metadata \"%s\" is not supported", key);
    }

    LLM_TRY(load_dim(l, "expert_count", 0, &meta->n_expert));
    LLM_TRY(load_dim(l, "expert_used_count", 0, &meta->n_used));

    /* Mixtral's experts are as wide as the model's feed-forward length. */
    load_key(l, "expert_feed_forward_length", key);
    rc = gguf_get_u32(l->file, key, &gating);
    LLM_TRY(load_dim(
        l, rc == -ENOENT ? "feed_forward_length" : "expert_feed_forward_length",
        0, &meta->n_ff_expert));

    if (meta->n_used > meta->n_expert || meta->n_expert > MODEL_EXPERT_MAX) {
        return load_fail(l, -EINVAL, "%" PRIu32 " of %" PRIu32 " experts",
                         meta->n_used, meta->n_expert);
    }

    gating = META_GATING_SOFTMAX;
    load_key(l, "expert_gating_func", key);
    rc = gguf_get_u32(l->file, key, &gating);
    if (rc == -EINVAL
        || (gating != META_GATING_SOFTMAX && gating != META_GATING_CHOSEN)) {
        return load_fail(l, -ENOTSUP, "metadata \"%s\" is not supported", key);
    }

    load_key(l, "expert_weights_norm", key);
    if (gguf_get_bool(l->file, key, &norm) == -EINVAL) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is no bool", key);
    }

    /* Over all and then made one again is the same as over the chosen. */
    meta->gate = norm || gating == META_GATING_CHOSEN ? K_GATE_TOP_SOFTMAX
                                                      : K_GATE_SOFTMAX;

    LLM_TRY(load_float(l, "expert_weights_scale", &meta->expert_scale));
    meta->expert_scale = meta->expert_scale == 0 ? 1 : meta->expert_scale;

    return 0;
}


/* Factors and soft caps; 0 in a file is the same as nothing. */

static int
load_factors(load_t *l)
{
    model_meta_t *meta = &l->meta;
    k_program_t  *p = &l->m->prog;
    uint32_t      dim = p->head_dim;
    bool          rope = true;
    char          key[MODEL_KEY_MAX];

    if (p->n_layer == l->arch->wide_layers) {
        dim = p->n_embd / p->n_head;
    }

    LLM_TRY(load_float(l, "attention.scale", &meta->attn_scale));
    LLM_TRY(load_float(l, "embedding_scale", &meta->embed_scale));
    LLM_TRY(load_float(l, "residual_scale", &meta->residual_scale));
    LLM_TRY(load_float(l, "logit_scale", &meta->logit_scale));
    LLM_TRY(load_float(l, "attn_logit_softcapping", &meta->attn_cap));
    LLM_TRY(load_float(l, "final_logit_softcapping", &meta->logit_cap));

    if (meta->attn_cap < 0 || meta->logit_cap < 0) {
        return load_fail(l, -EINVAL, "soft caps of %g and %g",
                         (double) meta->attn_cap, (double) meta->logit_cap);
    }

    if (meta->attn_scale == 0) {
        meta->attn_scale = 1.0f / sqrtf((float) dim);
    }

    if (meta->embed_scale == 0) {
        meta->embed_scale =
            l->arch->embed_sqrt ? sqrtf((float) p->n_embd) : 1.0f;
    }

    meta->residual_scale = meta->residual_scale == 0 ? 1 : meta->residual_scale;

    if (meta->logit_scale != 0 && !l->arch->logit_divides) {
        load_key(l, "logit_scale", key);
        return load_fail(l, -ENOTSUP, "metadata \"%s\" is not supported", key);
    }

    meta->logit_scale = meta->logit_scale == 0 ? 1 : 1 / meta->logit_scale;

    load_key(l, "rope.scaling.finetuned", key);
    if (l->arch->rope_switch && gguf_get_bool(l->file, key, &rope) == 0
        && !rope) {
        return load_fail(l, -ENOTSUP, "metadata \"%s\" is not supported", key);
    }

    return 0;
}


static int
load_windows(load_t *l)
{
    int64_t  every = l->arch->window;
    float    window = (float) l->arch->window_default;
    uint32_t i, n = l->m->prog.n_layer;
    char     key[MODEL_KEY_MAX];

    l->local = calloc(n, 1);
    if (l->local == NULL) {
        return load_fail(l, -ENOMEM, "no memory");
    }

    load_key(l, "attention.sliding_window", key);
    LLM_TRY(load_float(l, "attention.sliding_window", &window));
    if (!(window >= 0 && window <= (float) (1u << 30))) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is %g", key,
                         (double) window);
    }

    l->meta.window = (uint32_t) window;
    if (l->meta.window == 0) {
        return 0;
    }

    LLM_TRY(load_window_pattern(l, "attention.sliding_window_pattern", &every));

    if (every == ARCH_WINDOW_UNKNOWN) {
        return load_fail(l, -ENOTSUP,
                         "metadata \"%s\" is not supported without a "
                         "sliding_window_pattern",
                         key);
    }

    for (i = 0; every > 0 && i < n; i++) {
        l->local[i] = every == ARCH_WINDOW_ALL || (i + 1) % every != 0;
    }

    return 0;
}


/*
 * A number as converters write it (0: every layer has the window, 1: none,
 * n: all but every n-th), or a flag for each layer: then *every is -1 and
 * l->local is filled.
 */

static int
load_window_pattern(load_t *l, const char *name, int64_t *every)
{
    uint32_t v, i, n = l->m->prog.n_layer;
    char     key[MODEL_KEY_MAX];
    int32_t *flags;
    ssize_t  len;

    load_key(l, name, key);

    switch (gguf_get_u32(l->file, key, &v)) {
    case -ENOENT:
        return 0;
    case 0:
        *every = v == 0 ? ARCH_WINDOW_ALL : v == 1 ? -1 : (int64_t) v;
        return 0;
    default:
        break;
    }

    flags = calloc(n, sizeof(int32_t));
    if (flags == NULL) {
        return load_fail(l, -ENOMEM, "no memory");
    }

    len = gguf_get_arr_i32(l->file, key, flags, n);
    for (i = 0; len == n && i < n; i++) {
        l->local[i] = flags[i] != 0;
    }

    free(flags);

    if (len != n) {
        return load_fail(l, -EINVAL,
                         "metadata \"%s\" is not a flag for each layer", key);
    }

    *every = -1;

    return 0;
}


static int
load_context(load_t *l)
{
    uint64_t most;

    LLM_TRY(load_rope_context(l, &most));

    l->m->context = l->params->context ? l->params->context : l->m->trained;
    if (l->m->context > most) {
        return load_fail(l, -EINVAL,
                         "context %" PRIu32 " is more than the %" PRIu64
                         " that the model was made for",
                         l->m->context, most);
    }

    return 0;
}
