/*
 * The table of architectures.  Immutable; any thread.
 */

#include <string.h>
#include "engine/base.h"
#include "engine/model/arch.h"

/* What most of them share. */

#define ARCH_HEAD                                                              \
    {                                                                          \
        .kind = K_OP_EMBED, .w = { "token_embd" }                              \
    }
#define ARCH_TAIL                                                              \
    {                                                                          \
        .kind = K_OP_LOGITS, .w = {"?output"}, .norm = "output_norm"           \
    }

#define ARCH_QKV                                                               \
    .kind = K_OP_QKV, .w = {"attn_q", "attn_k", "attn_v"}, .norm = "attn_norm"

#define ARCH_QKV_MAYBE_BIAS ARCH_QKV, .bias = {"?attn_q", "?attn_k", "?attn_v"}

#define ARCH_QKV_BIAS ARCH_QKV, .bias = {"attn_q", "attn_k", "attn_v"}
#define ARCH_QK_NORM  .norm_q = "attn_q_norm", .norm_k = "attn_k_norm"

#define ARCH_OUT .kind = K_OP_OUT, .w = {"attn_output"}
#define ARCH_GATE_UP                                                           \
    .kind = K_OP_GATE_UP, .w = {"ffn_gate", "ffn_up"}, .norm = "ffn_norm"
#define ARCH_DOWN .kind = K_OP_DOWN, .w = {"ffn_down"}

#define ARCH_EXPERTS                                                           \
    {                                                                          \
        "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"        \
    }

#define ARCH_MOE                                                               \
    {                                                                          \
        .kind = K_OP_MOE, .w = ARCH_EXPERTS, .norm = "ffn_norm"                \
    }

/* Llama's layer, with biases where a file has them. */
#define ARCH_LLAMA_ATTN                                                        \
    {                                                                          \
        {ARCH_QKV_MAYBE_BIAS}, {.kind = K_OP_ATTN},                            \
        {                                                                      \
            ARCH_OUT, .bias = { "?attn_output" }                               \
        }                                                                      \
    }

#define ARCH_LLAMA_FFN                                                         \
    {                                                                          \
        {ARCH_GATE_UP, .bias = {"?ffn_gate", "?ffn_up"}},                      \
        {                                                                      \
            ARCH_DOWN, .bias = { "?ffn_down" }                                 \
        }                                                                      \
    }

/* Gemma 2's: norms behind both halves too. */
#define ARCH_GEMMA_OUT                                                         \
    {                                                                          \
        ARCH_OUT, .post_norm = "post_attention_norm"                           \
    }
#define ARCH_GEMMA_FFN                                                         \
    {                                                                          \
        {ARCH_GATE_UP},                                                        \
        {                                                                      \
            ARCH_DOWN, .post_norm = "post_ffw_norm"                            \
        }                                                                      \
    }


static const arch_t archs[] = {

    /* Llama 1-3, Mistral, Mixtral, TinyLlama, SmolLM2: arXiv 2302.13971 */
    {.name = "llama",
     .rope = K_ROPE_PAIRS,
     .fn = K_FN_SILU,
     .window = ARCH_WINDOW_ALL,
     .head = ARCH_HEAD,
     .attn = ARCH_LLAMA_ATTN,
     .ffn = ARCH_LLAMA_FFN,
     .moe = ARCH_MOE,
     .tail = ARCH_TAIL},

    {.name = "smollm3",
     .rope = K_ROPE_PAIRS,
     .fn = K_FN_SILU,
     .nope_every = 4,
     .head = ARCH_HEAD,
     .attn = ARCH_LLAMA_ATTN,
     .ffn = ARCH_LLAMA_FFN,
     .tail = ARCH_TAIL},

    /* Granite 3, dense: Llama with four factors, all in the metadata */
    {.name = "granite",
     .rope = K_ROPE_PAIRS,
     .fn = K_FN_SILU,
     .logit_divides = true,
     .rope_switch = true,
     .head = ARCH_HEAD,
     .attn = ARCH_LLAMA_ATTN,
     .ffn = ARCH_LLAMA_FFN,
     .tail = ARCH_TAIL},

    /* Qwen 2, 2.5: arXiv 2407.10671 */
    {.name = "qwen2",
     .rope = K_ROPE_HALVES,
     .fn = K_FN_SILU,
     .head = ARCH_HEAD,
     .attn = {{ARCH_QKV_BIAS},
              {.kind = K_OP_ATTN},
              {ARCH_OUT, .bias = {"?attn_output"}}},
     .ffn = ARCH_LLAMA_FFN,
     .tail = ARCH_TAIL},

    /* Qwen 3: arXiv 2505.09388 */
    {.name = "qwen3",
     .rope = K_ROPE_HALVES,
     .fn = K_FN_SILU,
     .head = ARCH_HEAD,
     .attn = {{ARCH_QKV_MAYBE_BIAS, ARCH_QK_NORM},
              {.kind = K_OP_ATTN},
              {ARCH_OUT, .bias = {"?attn_output"}}},
     .ffn = {{ARCH_GATE_UP}, {ARCH_DOWN}},
     .tail = ARCH_TAIL},

    {.name = "qwen3moe",
     .rope = K_ROPE_HALVES,
     .fn = K_FN_SILU,
     .head = ARCH_HEAD,
     .attn = {{ARCH_QKV_MAYBE_BIAS, ARCH_QK_NORM},
              {.kind = K_OP_ATTN},
              {ARCH_OUT, .bias = {"?attn_output"}}},
     .moe = ARCH_MOE,
     .tail = ARCH_TAIL},

    /* Gemma: arXiv 2403.08295; its norms' +1 is in the file's weights */
    {.name = "gemma",
     .rope = K_ROPE_HALVES,
     .fn = K_FN_GELU_TANH,
     .embed_sqrt = true,
     .head = ARCH_HEAD,
     .attn = {{ARCH_QKV}, {.kind = K_OP_ATTN}, {ARCH_OUT}},
     .ffn = {{ARCH_GATE_UP}, {ARCH_DOWN}},
     .tail = ARCH_TAIL},

    /* Gemma 2: arXiv 2408.00118; 46 layers are the 27B */
    {.name = "gemma2",
     .rope = K_ROPE_HALVES,
     .fn = K_FN_GELU_TANH,
     .window = 2,
     .window_default = 4096,
     .embed_sqrt = true,
     .wide_layers = 46,
     .head = ARCH_HEAD,
     .attn = {{ARCH_QKV}, {.kind = K_OP_ATTN}, ARCH_GEMMA_OUT},
     .ffn = ARCH_GEMMA_FFN,
     .tail = ARCH_TAIL},

    /* Gemma 3: arXiv 2503.19786; 62 layers are the 27B */
    {.name = "gemma3",
     .rope = K_ROPE_HALVES,
     .fn = K_FN_GELU_TANH,
     .window = 6,
     .local_base = 10000.0f,
     .local_unscaled = true,
     .embed_sqrt = true,
     .context_scaled = true,
     .wide_layers = 62,
     .head = ARCH_HEAD,
     .attn = {{ARCH_QKV, ARCH_QK_NORM}, {.kind = K_OP_ATTN}, ARCH_GEMMA_OUT},
     .ffn = ARCH_GEMMA_FFN,
     .tail = ARCH_TAIL},

    /* Phi 3, 3.5, 4: arXiv 2404.14219; ffn_up's first half is the gate */
    {.name = "phi3",
     .rope = K_ROPE_HALVES,
     .fn = K_FN_SILU,
     .window = ARCH_WINDOW_ALL,
     .context_scaled = true,
     .head = ARCH_HEAD,
     .attn = {{.kind = K_OP_QKV,
               .fused = true,
               .w = {"attn_qkv", "attn_qkv", "attn_qkv"},
               .norm = "attn_norm"},
              {.kind = K_OP_ATTN},
              {ARCH_OUT}},
     .ffn = {{.kind = K_OP_GATE_UP,
              .fused = true,
              .w = {"ffn_up", "ffn_up"},
              .norm = "ffn_norm"},
             {ARCH_DOWN}},
     .tail = ARCH_TAIL},

    /* gpt-oss: arXiv 2508.10925 */
    {.name = "gpt-oss",
     .rope = K_ROPE_HALVES,
     .fn = K_FN_SWIGLU_OAI,
     .window = 2,
     .yarn_exact = true,
     .head = ARCH_HEAD,
     .attn = {{ARCH_QKV_BIAS},
              {.kind = K_OP_ATTN, .sinks = "attn_sinks"},
              {ARCH_OUT, .bias = {"attn_output"}}},
     .moe = {.kind = K_OP_MOE,
             .w = ARCH_EXPERTS,
             .bias = ARCH_EXPERTS,
             .norm = "post_attention_norm"},
     .tail = ARCH_TAIL},
};


const arch_t *
arch_find(const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < llm_countof(archs); i++) {
        if (strlen(archs[i].name) == len
            && memcmp(archs[i].name, name, len) == 0) {
            return &archs[i];
        }
    }

    return NULL;
}
