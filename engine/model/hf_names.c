/*
 * Names of a folder's tensors: which is which of GGUF's, in which form, which
 * say nothing and which are not known.  Pure functions over tables; any
 * thread.  See hf_priv.h.
 */

#include <stdio.h>
#include "engine/model/hf_priv.h"

static int name_match(const char *pattern, const char *name, uint32_t *number);
static int name_layer(const char *name, uint32_t *layer, const char **rest);
static int name_number(const char **p, uint32_t *number);

#define HF_NORMS_2 (HF_GEMMA2 | HF_GEMMA3) /* norms behind both halves too */
#define HF_SPLIT   (HF_ALL & ~HF_PHI3)
#define HF_DENSE   (HF_SPLIT & ~(HF_MIXTRAL | HF_QWEN3MOE | HF_GPT_OSS))

static const hf_map_t maps[] = {
    {HF_ALL, HF_FORM_NORM, "input_layernorm.weight", "attn_norm.weight", NULL},
    {HF_ALL & ~(HF_NORMS_2 | HF_GPT_OSS), HF_FORM_NORM,
     "post_attention_layernorm.weight", "ffn_norm.weight", NULL},
    {HF_NORMS_2 | HF_GPT_OSS, HF_FORM_NORM, "post_attention_layernorm.weight",
     "post_attention_norm.weight", NULL},
    {HF_NORMS_2, HF_FORM_NORM, "pre_feedforward_layernorm.weight",
     "ffn_norm.weight", NULL},
    {HF_NORMS_2, HF_FORM_NORM, "post_feedforward_layernorm.weight",
     "post_ffw_norm.weight", NULL},

    {HF_SPLIT, HF_FORM_Q, "self_attn.q_proj.weight", "attn_q.weight", NULL},
    {HF_SPLIT, HF_FORM_K, "self_attn.k_proj.weight", "attn_k.weight", NULL},
    {HF_SPLIT, HF_FORM_PLAIN, "self_attn.v_proj.weight", "attn_v.weight", NULL},
    {HF_SPLIT, HF_FORM_Q, "self_attn.q_proj.bias", "attn_q.bias", NULL},
    {HF_SPLIT, HF_FORM_K, "self_attn.k_proj.bias", "attn_k.bias", NULL},
    {HF_SPLIT, HF_FORM_PLAIN, "self_attn.v_proj.bias", "attn_v.bias", NULL},
    {HF_PHI3, HF_FORM_PLAIN, "self_attn.qkv_proj.weight", "attn_qkv.weight",
     NULL},
    {HF_ALL, HF_FORM_PLAIN, "self_attn.o_proj.weight", "attn_output.weight",
     NULL},
    {HF_ALL, HF_FORM_PLAIN, "self_attn.o_proj.bias", "attn_output.bias", NULL},
    {HF_QWEN3 | HF_QWEN3MOE | HF_GEMMA3, HF_FORM_NORM,
     "self_attn.q_norm.weight", "attn_q_norm.weight", NULL},
    {HF_QWEN3 | HF_QWEN3MOE | HF_GEMMA3, HF_FORM_NORM,
     "self_attn.k_norm.weight", "attn_k_norm.weight", NULL},
    {HF_GPT_OSS, HF_FORM_PLAIN, "self_attn.sinks", "attn_sinks.weight", NULL},

    {HF_DENSE, HF_FORM_PLAIN, "mlp.gate_proj.weight", "ffn_gate.weight", NULL},
    {HF_DENSE, HF_FORM_PLAIN, "mlp.up_proj.weight", "ffn_up.weight", NULL},
    {HF_DENSE | HF_PHI3, HF_FORM_PLAIN, "mlp.down_proj.weight",
     "ffn_down.weight", NULL},
    {HF_DENSE, HF_FORM_PLAIN, "mlp.gate_proj.bias", "ffn_gate.bias", NULL},
    {HF_DENSE, HF_FORM_PLAIN, "mlp.up_proj.bias", "ffn_up.bias", NULL},
    {HF_DENSE, HF_FORM_PLAIN, "mlp.down_proj.bias", "ffn_down.bias", NULL},
    {HF_PHI3, HF_FORM_PLAIN, "mlp.gate_up_proj.weight", "ffn_up.weight", NULL},

    {HF_MIXTRAL, HF_FORM_PLAIN, "block_sparse_moe.gate.weight",
     "ffn_gate_inp.weight", NULL},
    {HF_MIXTRAL, HF_FORM_EXPERT, "block_sparse_moe.experts.#.w1.weight",
     "ffn_gate_exps.weight", NULL},
    {HF_MIXTRAL, HF_FORM_EXPERT, "block_sparse_moe.experts.#.w2.weight",
     "ffn_down_exps.weight", NULL},
    {HF_MIXTRAL, HF_FORM_EXPERT, "block_sparse_moe.experts.#.w3.weight",
     "ffn_up_exps.weight", NULL},

    {HF_QWEN3MOE | HF_MIXTRAL, HF_FORM_PLAIN, "mlp.gate.weight",
     "ffn_gate_inp.weight", NULL},
    {HF_QWEN3MOE, HF_FORM_EXPERT, "mlp.experts.#.gate_proj.weight",
     "ffn_gate_exps.weight", NULL},
    {HF_QWEN3MOE, HF_FORM_EXPERT, "mlp.experts.#.up_proj.weight",
     "ffn_up_exps.weight", NULL},
    {HF_QWEN3MOE, HF_FORM_EXPERT, "mlp.experts.#.down_proj.weight",
     "ffn_down_exps.weight", NULL},
    {HF_QWEN3MOE | HF_MIXTRAL, HF_FORM_HALVES, "mlp.experts.gate_up_proj",
     "ffn_gate_exps.weight", "ffn_up_exps.weight"},
    {HF_QWEN3MOE | HF_MIXTRAL, HF_FORM_STACKED, "mlp.experts.down_proj",
     "ffn_down_exps.weight", NULL},

    {HF_GPT_OSS, HF_FORM_PLAIN, "mlp.router.weight", "ffn_gate_inp.weight",
     NULL},
    {HF_GPT_OSS, HF_FORM_PLAIN, "mlp.router.bias", "ffn_gate_inp.bias", NULL},
    {HF_GPT_OSS, HF_FORM_TURNED_2, "mlp.experts.gate_up_proj",
     "ffn_gate_exps.weight", "ffn_up_exps.weight"},
    {HF_GPT_OSS, HF_FORM_TURNED, "mlp.experts.down_proj",
     "ffn_down_exps.weight", NULL},
    {HF_GPT_OSS, HF_FORM_BIAS_2, "mlp.experts.gate_up_proj_bias",
     "ffn_gate_exps.bias", "ffn_up_exps.bias"},
    {HF_GPT_OSS, HF_FORM_PLAIN, "mlp.experts.down_proj_bias",
     "ffn_down_exps.bias", NULL},
    {HF_GPT_OSS, HF_FORM_BLOCKS_2, "mlp.experts.gate_up_proj_blocks",
     "ffn_gate_exps.weight", "ffn_up_exps.weight"},
    {HF_GPT_OSS, HF_FORM_BLOCKS, "mlp.experts.down_proj_blocks",
     "ffn_down_exps.weight", NULL},
};

/* Those of no layer. */
static const hf_map_t globals[] = {
    {HF_ALL, HF_FORM_PLAIN, "model.embed_tokens.weight", "token_embd.weight",
     NULL},
    {HF_ALL, HF_FORM_NORM, "model.norm.weight", "output_norm.weight", NULL},
    {HF_ALL, HF_FORM_PLAIN, "lm_head.weight", "output.weight", NULL},
};

/* Ends of names that say nothing to us: buffers, scales of activations. */
static const char *const harmless[] = {
    ".rotary_emb.inv_freq",
    ".attention.bias",
    ".attention.masked_bias",
    ".input_scale",
    ".activation_scale",
    "_activation_scale",
    ".k_scale",
    ".v_scale",
};

/* What sees, in a model of texts and images; and its way into the text. */
static const char *const seeing[] = {"vision_tower.", "multi_modal_projector.",
                                     "model.vision_tower.",
                                     "model.multi_modal_projector."};

static const struct {
    const char *from;
    const char *to;
} wrappers[] = {
    {"language_model.model.", "model."},
    {"model.language_model.", "model."},
    {"language_model.lm_head.", "lm_head."},
};


const hf_map_t *
hf_name_find(const hf_config_t *c, const char *name, uint32_t *layer,
             uint32_t *expert)
{
    const hf_map_t *table = maps;
    size_t          i, n = llm_countof(maps);

    *expert = 0;

    if (!name_layer(name, layer, &name)) {
        *layer = HF_NO_LAYER;
        table = globals;
        n = llm_countof(globals);
    }

    for (i = 0; i < n; i++) {
        if ((table[i].families & c->family->family)
            && name_match(table[i].from, name, expert)) {
            return &table[i];
        }
    }

    return NULL;
}


bool
hf_name_sees(const hf_config_t *c, const char *name)
{
    size_t i;

    for (i = 0; c->family->family == HF_GEMMA3 && i < llm_countof(seeing);
         i++) {
        if (strncmp(name, seeing[i], strlen(seeing[i])) == 0) {
            return true;
        }
    }

    return false;
}


bool
hf_name_is_harmless(const char *name)
{
    size_t i;

    for (i = 0; i < llm_countof(harmless); i++) {
        if (hf_name_ends(name, harmless[i])) {
            return true;
        }
    }

    return false;
}


/* The name without what a model of texts and images puts around it. */

const char *
hf_name_plain(const hf_config_t *c, const char *name, char *buf, size_t size)
{
    size_t i, n;

    if (c->family->family != HF_GEMMA3) {
        return name;
    }

    for (i = 0; i < llm_countof(wrappers); i++) {
        n = strlen(wrappers[i].from);

        if (strncmp(name, wrappers[i].from, n) == 0) {
            snprintf(buf, size, "%s%s", wrappers[i].to, name + n);
            return buf;
        }
    }

    return name;
}


static int
name_match(const char *pattern, const char *name, uint32_t *number)
{
    for (; *pattern; pattern++) {
        if (*pattern == '#') {
            if (!name_number(&name, number)) {
                return 0;
            }

        } else if (*pattern != *name++) {
            return 0;
        }
    }

    return *name == '\0';
}


/* "model.layers.N.rest" */

static int
name_layer(const char *name, uint32_t *layer, const char **rest)
{
    static const char prefix[] = "model.layers.";

    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0) {
        return 0;
    }

    name += sizeof(prefix) - 1;

    if (!name_number(&name, layer) || *name != '.') {
        return 0;
    }

    *rest = name + 1;

    return 1;
}


/* Without zeros before it, so that no two names mean the same. */

static int
name_number(const char **p, uint32_t *number)
{
    const char *s = *p;
    uint32_t    n = 0;

    if (*s < '0' || *s > '9' || (*s == '0' && s[1] >= '0' && s[1] <= '9')) {
        return 0;
    }

    for (; *s >= '0' && *s <= '9'; s++) {
        if (n > 100000) {
            return 0;
        }

        n = n * 10 + (uint32_t) (*s - '0');
    }

    *p = s;
    *number = n;

    return 1;
}


bool
hf_name_ends(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);

    return n >= k && strcmp(name + n - k, end) == 0;
}
