/*
 * Rope settings of config.json: rope_theta and rope_scaling, or
 * rope_parameters, into metadata and, where a number for each frequency is
 * wanted, into factors that become tensors.  See hf_priv.h.
 *
 *     default, linear   arXiv 2306.15595
 *     llama3            wavelengths: long ones are divided, short ones are
 *                       not, between them there is a ramp
 *     yarn              arXiv 2309.00071
 *     longrope          arXiv 2402.13753, of Phi 3
 *
 * Loader threads.
 */

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include "engine/model/hf_priv.h"

/* Where both spellings put things. */
typedef struct {
    const json_t *params; /* the layers' without a window; NULL: none */
    const json_t *local;  /* those with one, if told apart */
    const char   *type;
    double        theta;
    double        local_theta; /* 0: as theta */
} rope_conf_t;

static int rope_find(const hf_config_t *c, rope_conf_t *r);
static int rope_type(const hf_config_t *c, const json_t *params,
                     const char **type);
static int rope_rotary(hf_config_t *c, const rope_conf_t *r, gguf_writer_t *w);
static int rope_linear(hf_config_t *c, const rope_conf_t *r, gguf_writer_t *w);
static int rope_yarn(hf_config_t *c, const rope_conf_t *r, gguf_writer_t *w);
static int rope_llama3(hf_config_t *c, const rope_conf_t *r);
static int rope_long(hf_config_t *c, const rope_conf_t *r, gguf_writer_t *w);
static int rope_list(const hf_config_t *c, const json_t *params,
                     const char *key, float **out_new);
static int rope_original(const hf_config_t *c, const rope_conf_t *r,
                         double *original);
static int rope_need(const hf_config_t *c, const json_t *params,
                     const char *key, double least, double *v);


int
hf_rope_read(hf_config_t *c, gguf_writer_t *w)
{
    rope_conf_t r;

    LLM_TRY(rope_find(c, &r));
    LLM_TRY(rope_rotary(c, &r, w));

    hf_put_f32(c, w, "rope.freq_base", r.theta);

    if (r.local_theta > 0) {
        hf_put_f32(c, w, "rope.freq_base_swa", r.local_theta);
    }

    /* Phi's window-less layers are found by the original length. */
    if (c->family->family == HF_PHI3 && strcmp(r.type, "longrope") != 0) {
        double original;

        LLM_TRY(rope_original(c, &r, &original));
        hf_put_u32(c, w, "rope.scaling.original_context_length",
                   (uint32_t) original);
    }

    if (strcmp(r.type, "default") == 0) {
        return 0;
    }

    if (strcmp(r.type, "linear") == 0) {
        return rope_linear(c, &r, w);
    }

    if (strcmp(r.type, "yarn") == 0) {
        return rope_yarn(c, &r, w);
    }

    if (strcmp(r.type, "llama3") == 0) {
        return rope_llama3(c, &r);
    }

    if (strcmp(r.type, "longrope") == 0 && c->family->family == HF_PHI3) {
        return rope_long(c, &r, w);
    }

    return hf_fail(c, -ENOTSUP, "rope type %.32s is not supported with %s",
                   r.type, c->family->name);
}


static int
rope_find(const hf_config_t *c, rope_conf_t *r)
{
    const json_t *p = hf_get(c->config, "rope_parameters");
    const char   *local_type;

    *r = (rope_conf_t){.theta = c->family->rope_theta};

    if (p == NULL) {
        p = hf_get(c->config, "rope_scaling");
    }

    if (p && !json_is_object(p)) {
        return hf_fail(c, -EINVAL, "config.json: rope settings are no object");
    }

    r->params = p;

    if (json_object_get(p, "full_attention")
        || json_object_get(p, "sliding_attention")) {
        r->params = hf_get(p, "full_attention");
        r->local = hf_get(p, "sliding_attention");
    }

    LLM_TRY(rope_type(c, r->params, &r->type));
    LLM_TRY(rope_type(c, r->local, &local_type));

    LLM_TRY(hf_get_f64(c, c->config, "rope_theta", &r->theta));
    LLM_TRY(hf_get_f64(c, r->params, "rope_theta", &r->theta));

    if (c->family->family == HF_GEMMA3) {
        r->local_theta = 1e4;
    }

    LLM_TRY(hf_get_f64(c, c->config, "rope_local_base_freq", &r->local_theta));
    LLM_TRY(hf_get_f64(c, r->local, "rope_theta", &r->local_theta));

    if (!(r->theta > 1 && r->theta < 1e30 && r->local_theta >= 0
          && r->local_theta < 1e30)) {
        return hf_fail(c, -EINVAL, "config.json: rope_theta is %g", r->theta);
    }

    /* Only Gemma's two kinds of layers differ in GGUF. */
    if (c->family->family != HF_GEMMA3 && (r->local || r->local_theta > 0)) {
        return hf_fail(c, -ENOTSUP,
                       "rope settings of layers with a window are not "
                       "supported with %s",
                       c->family->name);
    }

    if (strcmp(local_type, "default") != 0) {
        return hf_fail(c, -ENOTSUP,
                       "rope type %.32s of layers with a window is not "
                       "supported",
                       local_type);
    }

    return 0;
}


/* "su" is what longrope was called first; "default" where nothing is said. */

static int
rope_type(const hf_config_t *c, const json_t *params, const char **type)
{
    const json_t *v = hf_get(params, "rope_type");

    if (v == NULL) {
        v = hf_get(params, "type");
    }

    *type = v ? json_string_value(v) : "default";

    if (*type == NULL) {
        return hf_fail(c, -EINVAL, "config.json: rope_type is no string");
    }

    if (strcmp(*type, "su") == 0) {
        *type = "longrope";
    }

    return 0;
}


/* How many of a head's dimensions turn. */

static int
rope_rotary(hf_config_t *c, const rope_conf_t *r, gguf_writer_t *w)
{
    double part = 1;

    LLM_TRY(hf_get_f64(c, c->config, "partial_rotary_factor", &part));
    LLM_TRY(hf_get_f64(c, r->params, "partial_rotary_factor", &part));

    c->n_rot = c->head_dim;

    if (c->family->family == HF_PHI3) {
        if (!(part > 0 && part <= 1)) {
            return hf_fail(c, -EINVAL,
                           "config.json: partial_rotary_factor is %g", part);
        }

        c->n_rot = (uint32_t) (part * c->head_dim);

    } else if (part < 1 || part > 1) {
        return hf_fail(c, -ENOTSUP,
                       "partial_rotary_factor %g is not supported with %s",
                       part, c->family->name);
    }

    if (c->n_rot == 0 || c->n_rot % 2) {
        return hf_fail(c, -EINVAL,
                       "config.json: rope of %" PRIu32 " dimensions", c->n_rot);
    }

    if (c->family->family & (HF_PAIRS | HF_PHI3)) {
        hf_put_u32(c, w, "rope.dimension_count", c->n_rot);
    }

    return 0;
}


static int
rope_linear(hf_config_t *c, const rope_conf_t *r, gguf_writer_t *w)
{
    double factor;

    LLM_TRY(rope_need(c, r->params, "factor", 1e-3, &factor));

    hf_put_str(c, w, "rope.scaling.type", "linear");
    hf_put_f32(c, w, "rope.scaling.factor", factor);

    return 0;
}


static int
rope_yarn(hf_config_t *c, const rope_conf_t *r, gguf_writer_t *w)
{
    double        factor, original, attn = 0, fast = 0, slow = 0;
    int           rounds = 1;
    const json_t *v;

    LLM_TRY(rope_need(c, r->params, "factor", 1e-3, &factor));
    LLM_TRY(rope_original(c, r, &original));

    if (hf_get(r->params, "mscale") || hf_get(r->params, "mscale_all_dim")) {
        return hf_fail(c, -ENOTSUP,
                       "rope type yarn with mscale is not "
                       "supported");
    }

    /* gpt-oss' ramp begins and ends between dimensions, the others' not. */
    v = hf_get(r->params, "truncate");
    if (v) {
        rounds = json_is_true(v);
    }

    if (rounds != (c->family->family != HF_GPT_OSS)) {
        return hf_fail(c, -ENOTSUP,
                       "rope type yarn: this \"truncate\" is not supported "
                       "with %s",
                       c->family->name);
    }

    hf_put_str(c, w, "rope.scaling.type", "yarn");
    hf_put_f32(c, w, "rope.scaling.factor", factor);
    hf_put_u32(c, w, "rope.scaling.original_context_length",
               (uint32_t) original);

    LLM_TRY(hf_get_f64(c, r->params, "attn_factor", &attn));
    LLM_TRY(hf_get_f64(c, r->params, "attention_factor", &attn));
    LLM_TRY(hf_get_f64(c, r->params, "beta_fast", &fast));
    LLM_TRY(hf_get_f64(c, r->params, "beta_slow", &slow));

    if (attn < 0 || fast < 0 || slow < 0) {
        return hf_fail(c, -EINVAL, "config.json: rope type yarn is broken");
    }

    if (attn > 0) {
        hf_put_f32(c, w, "rope.scaling.yarn_attn_factor", attn);
    }

    if (fast > 0) {
        hf_put_f32(c, w, "rope.scaling.yarn_beta_fast", fast);
    }

    if (slow > 0) {
        hf_put_f32(c, w, "rope.scaling.yarn_beta_slow", slow);
    }

    return 0;
}


static int
rope_llama3(hf_config_t *c, const rope_conf_t *r)
{
    double   factor, low, high, original, wave, smooth;
    uint32_t i, n = c->n_rot / 2;

    /* Only those have a place for the factors. */
    if (!(c->family->family & (HF_PAIRS | HF_QWEN2 | HF_QWEN3))) {
        return hf_fail(c, -ENOTSUP, "rope type llama3 is not supported with %s",
                       c->family->name);
    }

    LLM_TRY(rope_need(c, r->params, "factor", 1e-3, &factor));
    LLM_TRY(rope_need(c, r->params, "low_freq_factor", 1e-6, &low));
    LLM_TRY(rope_need(c, r->params, "high_freq_factor", 1e-6, &high));
    LLM_TRY(rope_need(c, r->params, "original_max_position_embeddings", 1,
                      &original));

    if (!(high > low)) {
        return hf_fail(c, -EINVAL,
                       "config.json: rope's high_freq_factor is "
                       "not above low_freq_factor");
    }

    c->rope_freqs = calloc(n, sizeof(float));
    if (c->rope_freqs == NULL) {
        return hf_fail(c, -ENOMEM, "no memory");
    }

    for (i = 0; i < n; i++) {
        wave = 2 * M_PI * pow(r->theta, 2.0 * i / c->n_rot);

        if (wave < original / high) {
            c->rope_freqs[i] = 1;

        } else if (wave > original / low) {
            c->rope_freqs[i] = (float) factor;

        } else {
            smooth = (original / wave - low) / (high - low);
            c->rope_freqs[i] = (float) (1 / ((1 - smooth) / factor + smooth));
        }
    }

    return 0;
}


static int
rope_long(hf_config_t *c, const rope_conf_t *r, gguf_writer_t *w)
{
    double original, scale, attn;

    LLM_TRY(rope_original(c, r, &original));

    if (hf_get(r->params, "long_mscale") || hf_get(r->params, "short_mscale")) {
        return hf_fail(c, -ENOTSUP,
                       "rope type longrope with long_mscale and "
                       "short_mscale is not supported");
    }

    scale = c->trained / original;
    attn = scale > 1 ? sqrt(1 + log(scale) / log(original)) : 1;
    LLM_TRY(hf_get_f64(c, r->params, "attention_factor", &attn));

    if (!(attn > 0 && attn < 1e6)) {
        return hf_fail(c, -EINVAL, "config.json: attention_factor is %g", attn);
    }

    hf_put_u32(c, w, "rope.scaling.original_context_length",
               (uint32_t) original);
    hf_put_f32(c, w, "rope.scaling.attn_factor", attn);

    LLM_TRY(rope_list(c, r->params, "long_factor", &c->rope_long));

    return rope_list(c, r->params, "short_factor", &c->rope_short);
}


/* A positive number for each frequency. */

static int
rope_list(const hf_config_t *c, const json_t *params, const char *key,
          float **out_new)
{
    const json_t *list = hf_get(params, key), *v;
    uint32_t      i, n = c->n_rot / 2;

    if (json_array_size(list) != n) {
        return hf_fail(c, -EINVAL,
                       "config.json: %s is not one number for each "
                       "of %" PRIu32 " frequencies",
                       key, n);
    }

    *out_new = calloc(n, sizeof(float));
    if (*out_new == NULL) {
        return hf_fail(c, -ENOMEM, "no memory");
    }

    for (i = 0; i < n; i++) {
        v = json_array_get(list, i);
        (*out_new)[i] = (float) json_number_value(v);

        if (!json_is_number(v) || !((*out_new)[i] > 0)
            || isinf((*out_new)[i])) {
            return hf_fail(c, -EINVAL, "config.json: %s is broken", key);
        }
    }

    return 0;
}


/* Where nothing is said, it is what the model was made for. */

static int
rope_original(const hf_config_t *c, const rope_conf_t *r, double *original)
{
    static const char key[] = "original_max_position_embeddings";

    *original = c->trained;

    LLM_TRY(hf_get_f64(c, c->config, key, original));
    LLM_TRY(hf_get_f64(c, r->params, key, original));

    if (!(*original > 1 && *original <= (double) (1u << 30))) {
        return hf_fail(c, -EINVAL, "config.json: %s is %g", key, *original);
    }

    return 0;
}


static int
rope_need(const hf_config_t *c, const json_t *params, const char *key,
          double least, double *v)
{
    int rc;

    rc = hf_get_f64(c, params, key, v);
    LLM_TRY(rc);

    if (rc == 0 || !(*v >= least && *v < 1e12)) {
        return hf_fail(c, -EINVAL,
                       "config.json: rope's %s is missing or "
                       "broken",
                       key);
    }

    return 0;
}
