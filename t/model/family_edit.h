/*
 * For t/model/families.c: weight files with metadata that they should not
 * have, and the words with which they are refused (or that they are not).
 *
 * A key is added in front of all others, in a copy in memory; a string of
 * padding follows it, so that the data section stays aligned.  A key that is
 * there already is renamed first: its first letter becomes 'x'.
 */

#ifndef LLM_T_MODEL_FAMILY_EDIT_H
#define LLM_T_MODEL_FAMILY_EDIT_H

#include <math.h>
#include "t/model/real.h"

#define EDIT_HEAD 24 /* magic, version, counts */

typedef enum {
    EDIT_U32 = 4,
    EDIT_F32 = 6,
    EDIT_BOOL = 7,
    EDIT_STR = 8,
    EDIT_I32S = 9,  /* an array, its values are digits of `text` */
    EDIT_BOOLS = 10 /* another one; 9 in the file */
} edit_type_t;

typedef struct {
    const char *file;
    uint32_t    context;
    const char *key;
    edit_type_t type;
    double      number;
    const char *text;
    const char *says; /* part of the error; NULL: it loads */
} edit_t;

static const edit_t edits[] = {

    /* What no file may ask for. */
    {"llama", 0, "llama.attention.clamp_kqv", EDIT_F32, 8, NULL, "clamp_kqv"},
    {"llama", 0, "llama.attention.causal", EDIT_BOOL, 0, NULL, "causal"},
    {"llama", 0, "llama.attention.causal", EDIT_BOOL, 1, NULL, NULL},
    {"llama", 0, "llama.attention.max_alibi_bias", EDIT_F32, 8, NULL,
     "max_alibi_bias"},
    {"llama", 0, "llama.logit_scale", EDIT_F32, 0.5, NULL, "logit_scale"},
    {"llama", 0, "llama.attention.value_length", EDIT_U32, 8, NULL, "values"},
    {"llama", 0, "llama.attention.key_length_swa", EDIT_U32, 8, NULL,
     "key_length_swa"},
    {"llama", 0, "llama.attention.head_count_kv", EDIT_I32S, 0, "21",
     "head_count_kv"},
    {"llama", 0, "llama.attention.head_count_kv", EDIT_I32S, 0, "22", NULL},
    {"llama", 0, "llama.attention.head_count", EDIT_U32, 65538, NULL,
     "65538 heads of 16"},
    {"gemma", 0, "gemma.attention.head_count", EDIT_U32, 1 << 18, NULL,
     "262144 heads of 32"},
    {"mixtral", 0, "llama.expert_count", EDIT_U32, 4096, NULL,
     "2 of 4096 experts"},
    {"llama", 0, "llama.nextn_predict_layers", EDIT_U32, 1, NULL, "nextn"},
    {"qwen2", 0, "qwen2.rope.dimension_sections", EDIT_I32S, 0, "4220",
     "dimension_sections"},
    {"qwen2", 0, "qwen2.expert_count", EDIT_U32, 4, NULL, "expert_count"},
    {"qwen3moe", 0, "qwen3moe.expert_count", EDIT_U32, 0, NULL, "expert_count"},
    {"qwen3moe", 0, "qwen3moe.expert_count", EDIT_U32, 8, NULL,
     "ffn_gate_inp.weight is"},
    {"qwen3moe", 0, "qwen3moe.expert_used_count", EDIT_U32, 5, NULL,
     "5 of 4 experts"},
    {"qwen3moe", 0, "qwen3moe.expert_gating_func", EDIT_U32, 2, NULL,
     "expert_gating_func"},
    {"qwen3moe", 0, "qwen3moe.expert_gating_func", EDIT_U32, 1, NULL, NULL},
    {"qwen3moe", 0, "qwen3moe.expert_shared_count", EDIT_U32, 1, NULL,
     "expert_shared_count"},
    {"granite", 0, "granite.rope.scaling.finetuned", EDIT_BOOL, 0, NULL,
     "finetuned"},
    {"gemma2", 0, "gemma2.attn_logit_softcapping", EDIT_F32, -5, NULL,
     "soft caps"},
    {"gemma2", 0, "gemma2.attention.layer_norm_rms_epsilon", EDIT_F32, 0, NULL,
     "epsilon"},
    {"llama", 0, "general.architecture", EDIT_STR, 0, "mamba", "\"mamba\""},

    /* Windows. */
    {"qwen2", 0, "qwen2.attention.sliding_window", EDIT_U32, 24, NULL,
     "sliding_window"},
    {"gemma3", 0, "gemma3.attention.sliding_window_pattern", EDIT_I32S, 0,
     "111", "sliding_window_pattern"},
    {"gemma3", 0, "gemma3.attention.sliding_window_pattern", EDIT_I32S, 0,
     "101010", NULL},
    {"gemma3", 0, "gemma3.attention.sliding_window_pattern", EDIT_BOOLS, 0,
     "101010", NULL},
    {"gemma3", 0, "gemma3.attention.sliding_window_pattern", EDIT_BOOLS, 0,
     "1010101", "sliding_window_pattern"},
    {"gemma3", 0, "gemma3.attention.sliding_window_pattern", EDIT_STR, 0, "x",
     "sliding_window_pattern"},

    /* Rope scaling and the context. */
    {"llama", 513, NULL, EDIT_U32, 0, NULL, "more than the 512"},
    {"llama-linear", 256, NULL, EDIT_U32, 0, NULL, NULL},
    {"llama-linear", 257, NULL, EDIT_U32, 0, NULL, "more than the 256"},
    {"llama-linear", 0, "llama.rope.scaling.factor", EDIT_F32, 0, NULL,
     "scaling.factor"},
    {"llama-linear", 0, "llama.rope.scaling.factor", EDIT_F32, NAN, NULL,
     "scaling.factor"},
    {"llama-linear", 0, "llama.rope.scaling.type", EDIT_STR, 0, "dynamic",
     "\"dynamic\""},
    {"llama-linear", 0, "llama.rope.scaling.attn_factor", EDIT_F32, 1.5, NULL,
     "attn_factor"},
    {"llama", 0, "llama.rope.scaling.type", EDIT_STR, 0, "longrope",
     "rope_factors_short"},
    {"llama-linear", 0, "llama.rope.dimension_count", EDIT_U32, 7, NULL,
     "dimension_count"},
    {"qwen2-yarn", 256, NULL, EDIT_U32, 0, NULL, NULL},
    {"qwen2-yarn", 257, NULL, EDIT_U32, 0, NULL, "more than the 256"},
    {"qwen2-yarn", 0, "qwen2.rope.scaling.yarn_ext_factor", EDIT_F32, 0.5, NULL,
     "yarn_ext_factor"},
    {"qwen2-yarn", 0, "qwen2.rope.scaling.yarn_log_multiplier", EDIT_F32, 0.1,
     NULL, "yarn_log_multiplier"},
    {"qwen2-yarn", 0, "qwen2.rope.scaling.attn_factor", EDIT_F32, 0.9, NULL,
     NULL},
    {"qwen2", 0, "qwen2.rope.scaling.yarn_attn_factor", EDIT_F32, 0.9, NULL,
     "yarn_attn_factor"},
    {"gemma3", 513, NULL, EDIT_U32, 0, NULL, "more than the 512"},
    {"phi3", 513, NULL, EDIT_U32, 0, NULL, "more than the 512"},
};


/* A key, its type and its value; returns the bytes. */

static size_t
edit_put(uint8_t *out, const char *key, edit_type_t type, double number,
         const char *text)
{
    uint64_t len = strlen(key);
    uint32_t t = type == EDIT_BOOLS ? EDIT_I32S : type, u = (uint32_t) number;
    uint8_t *p = out;
    int32_t  d;
    float    f = (float) number;

    memcpy(p, &len, 8);
    memcpy(p + 8, key, len);
    memcpy(p + 8 + len, &t, 4);
    p += 12 + len;

    switch (type) {
    case EDIT_U32:
        memcpy(p, &u, 4);
        return (size_t) (p + 4 - out);
    case EDIT_F32:
        memcpy(p, &f, 4);
        return (size_t) (p + 4 - out);
    case EDIT_BOOL:
        *p = (uint8_t) (number != 0);
        return (size_t) (p + 1 - out);
    case EDIT_STR:
        len = strlen(text);
        memcpy(p, &len, 8);
        memcpy(p + 8, text, len);
        return (size_t) (p + 8 + len - out);
    default:
        break;
    }

    t = type == EDIT_BOOLS ? 7 : 5; /* bool, i32 */
    len = strlen(text);
    memcpy(p, &t, 4);
    memcpy(p + 4, &len, 8);
    p += 12;

    for (; *text; text++, p += type == EDIT_BOOLS ? 1 : 4) {
        d = *text - '0';
        memcpy(p, &d, 4); /* its first byte is the bool */
    }

    return (size_t) (p - out);
}


/* The file with the edit: malloc()ed. */

static uint8_t *
edit_file(const char *path, const edit_t *e, size_t *size)
{
    uint8_t *raw, *out, *old;
    uint64_t n, len;
    size_t   add;
    long     raw_size;
    FILE    *f;
    char     pad[32];

    f = fopen(path, "rb");
    if (f == NULL) {
        real_fail(path, "is missing");
    }

    fseek(f, 0, SEEK_END);
    raw_size = ftell(f);
    rewind(f);
    raw = malloc((size_t) raw_size);
    if (fread(raw, 1, (size_t) raw_size, f) != (size_t) raw_size) {
        real_fail(path, "cannot be read");
    }
    fclose(f);

    out = malloc((size_t) raw_size + 512);
    memcpy(out, raw, EDIT_HEAD);
    add = 0;

    if (e->key) {
        len = strlen(e->key);
        for (old = raw + EDIT_HEAD;
             (old = memmem(old, (size_t) (raw + raw_size - old), e->key, len));
             old++) {
            memcpy(&n, old - 8, 8);
            if (n == len) {
                *old = 'x';
            }
        }

        add = edit_put(out + EDIT_HEAD, e->key, e->type, e->number, e->text);
        memset(pad, ' ', sizeof(pad));
        pad[31 - (add + 8 + 5 + 4 + 8 + 31) % 32] = 0;
        add += edit_put(out + EDIT_HEAD + add, "x.pad", EDIT_STR, 0, pad);

        memcpy(&n, out + 16, 8);
        n += 2;
        memcpy(out + 16, &n, 8);
    }

    memcpy(out + EDIT_HEAD + add, raw + EDIT_HEAD,
           (size_t) raw_size - EDIT_HEAD);
    *size = (size_t) raw_size + add;
    free(raw);

    return out;
}


static void
edit_try(const char *dir, const edit_t *e, k_backend_t *be)
{
    model_params_t params;
    model_t       *m;
    uint8_t       *data;
    size_t         size;
    gguf_t        *g;
    char           path[128], err[K_ERR_MAX] = "";
    int            rc;

    snprintf(path, sizeof(path), "%s%s.gguf", dir, e->file);
    data = edit_file(path, e, &size);

    rc = gguf_open_mem(data, size, &g, err, sizeof(err));
    if (rc != 0) {
        real_fail("an edited file", err);
    }

    params = (model_params_t){.ops = &k_backend_cpu,
                              .be = be,
                              .context = e->context,
                              .kv_bytes = 4 << 20,
                              .limits = {64, 1, 1}};

    rc = model_load(g, &params, &m, err);

    if (e->says) {
        ok(rc < 0 && strstr(err, e->says), "%s with %s: %s", e->file,
           e->key ? e->key : "more context", rc < 0 ? err : "it loads");
    } else {
        ok(rc == 0, "%s with %s loads: %s", e->file,
           e->key ? e->key : "more context", err);
    }

    if (rc == 0) {
        model_free(m);
    }

    gguf_close(g);
    free(data);
}


static void
family_refused(const char *dir)
{
    k_config_t   conf = {.threads = 1, .memory = 32 << 20};
    k_backend_t *be;
    size_t       i;
    char         err[K_ERR_MAX];

    if (k_backend_cpu.open(&conf, &be, err) != 0) {
        real_fail("backend", err);
    }

    for (i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
        edit_try(dir, &edits[i], be);
    }

    k_backend_cpu.close(be);
}

#endif /* LLM_T_MODEL_FAMILY_EDIT_H */
