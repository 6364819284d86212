/*
 * The table of architectures.  Immutable; any thread.
 */

#include <string.h>
#include "engine/base.h"
#include "engine/model/arch.h"

static const arch_t archs[] = {

    /* Llama 1-3, Mistral, TinyLlama, SmolLM2: arXiv 2302.13971 */
    {.name = "llama",
     .rope = K_ROPE_PAIRS,
     .fn = K_FN_SILU,
     .head = {.kind = K_OP_EMBED, .w = {"token_embd"}},
     .layer = {{.kind = K_OP_QKV,
                .w = {"attn_q", "attn_k", "attn_v"},
                .bias = {"?attn_q", "?attn_k", "?attn_v"},
                .norm = "attn_norm"},
               {.kind = K_OP_ATTN},
               {.kind = K_OP_OUT,
                .w = {"attn_output"},
                .bias = {"?attn_output"}},
               {.kind = K_OP_GATE_UP,
                .w = {"ffn_gate", "ffn_up"},
                .norm = "ffn_norm"},
               {.kind = K_OP_DOWN, .w = {"ffn_down"}}},
     .tail = {.kind = K_OP_LOGITS, .w = {"?output"}, .norm = "output_norm"}},
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
