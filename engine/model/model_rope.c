/*
 * Inverse frequencies of rope: base^(-2i/n), scaled as the file says.
 *
 *     none, linear     arXiv 2104.09864, 2306.15595
 *     Llama 3.x        a divisor for each, tensor rope_freqs
 *     YaRN             arXiv 2309.00071
 *     LongRoPE         arXiv 2402.13753: tensors rope_factors_long, _short
 *
 * Layers with windows may have another base, and no scaling (Gemma 3).
 * Loader threads; see model_priv.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/base.h"
#include "engine/model/model_priv.h"

typedef enum { ROPE_NONE = 0, ROPE_LINEAR, ROPE_YARN, ROPE_LONG } rope_kind_t;

typedef struct {
    rope_kind_t kind;
    float       base;
    float       local_base;
    float       factor;
    float       original; /* context before scaling */
    float       mul;      /* on sin and cos */
    float       beta_fast;
    float       beta_slow;
    float      *by; /* divisors, or NULL; freed by load_rope() */
} rope_t;

static int  rope_read(load_t *l, rope_t *r);
static int  rope_kind(load_t *l, rope_kind_t *kind);
static int  rope_mul(load_t *l, rope_t *r);
static int  rope_divisors(load_t *l, rope_t *r);
static void rope_fill(const load_t *l, const rope_t *r, float base, float *out);
static double rope_turns(double turns, double n_rot, double base,
                         double context);


int
load_rope(load_t *l)
{
    model_t *m = l->m;
    rope_t   r, plain;
    uint32_t n_rot;
    int      rc;

    LLM_TRY(load_dim(l, "rope.dimension_count", m->prog.head_dim, &n_rot));

    if (n_rot % 2 || n_rot > m->prog.head_dim) {
        return load_fail(l, -EINVAL, "rope.dimension_count is %" PRIu32, n_rot);
    }

    m->n_rot = n_rot;
    m->inv_freq = calloc(n_rot, sizeof(float)); /* twice n_rot / 2 */
    if (m->inv_freq == NULL) {
        return load_fail(l, -ENOMEM, "no memory");
    }

    rc = rope_read(l, &r);
    if (rc == 0) {
        plain = (rope_t){.factor = 1, .mul = 1};
        plain = l->arch->local_unscaled ? plain : r;

        rope_fill(l, &r, r.base, m->inv_freq);
        rope_fill(l, &plain, r.local_base, m->inv_freq + n_rot / 2);

        l->meta.rope_mul = r.mul;
        l->meta.rope_mul_local = plain.mul;
    }

    free(r.by);

    return rc;
}


int
load_rope_context(load_t *l, uint64_t *most)
{
    rope_kind_t kind;
    float       original = 0, factor = 1;

    *most = l->m->trained;

    LLM_TRY(rope_kind(l, &kind));
    LLM_TRY(load_float(l, "rope.scaling.original_context_length", &original));
    LLM_TRY(load_float(l, "rope.scaling.factor", &factor));

    if (kind != ROPE_LINEAR && kind != ROPE_YARN) {
        return 0;
    }

    if (original == 0) {
        if (l->arch->context_scaled) {
            return 0;
        }
        original = (float) l->m->trained;
    }

    /* Both are floats of a file: what is broken is refused by load_rope(). */
    if (original > 0 && factor > 0 && original * factor < 1e9f
        && original * factor > (float) *most) {
        *most = (uint64_t) (original * factor);
    }

    return 0;
}


/* r->by is to be freed, on failure too. */

static int
rope_read(load_t *l, rope_t *r)
{
    char key[MODEL_KEY_MAX];

    *r = (rope_t){.base = 10000,
                  .factor = 1,
                  .mul = 1,
                  .original = (float) l->m->trained,
                  .beta_fast = 32,
                  .beta_slow = 1};

    LLM_TRY(rope_kind(l, &r->kind));
    LLM_TRY(load_float(l, "rope.freq_base", &r->base));

    r->local_base = l->arch->local_base > 0 ? l->arch->local_base : r->base;
    LLM_TRY(load_float(l, "rope.freq_base_swa", &r->local_base));
    LLM_TRY(
        load_float(l, "rope.scaling.original_context_length", &r->original));

    if (!(r->base > 1 && r->local_base > 1 && r->original >= 1)) {
        return load_fail(l, -EINVAL, "metadata \"%s.rope.freq_base\" is broken",
                         l->arch->name);
    }

    if (r->kind == ROPE_LINEAR || r->kind == ROPE_YARN) {
        r->factor = 0;
        LLM_TRY(load_float(l, "rope.scaling.factor", &r->factor));
        if (!(r->factor > 0)) {
            load_key(l, "rope.scaling.factor", key);
            return load_fail(l, -EINVAL, "metadata \"%s\" is missing", key);
        }
    }

    LLM_TRY(load_float(l, "rope.scaling.yarn_beta_fast", &r->beta_fast));
    LLM_TRY(load_float(l, "rope.scaling.yarn_beta_slow", &r->beta_slow));
    if (!(r->beta_fast > 0 && r->beta_slow > 0)) {
        return load_fail(l, -EINVAL, "YaRN's betas are %g and %g",
                         (double) r->beta_fast, (double) r->beta_slow);
    }

    LLM_TRY(rope_mul(l, r));

    return rope_divisors(l, r);
}


/* Phi-3's files say nothing of their LongRoPE but that there are tensors. */

static int
rope_kind(load_t *l, rope_kind_t *kind)
{
    static const struct {
        const char *name;
        rope_kind_t kind;
    } kinds[] = {{"none", ROPE_NONE},
                 {"linear", ROPE_LINEAR},
                 {"yarn", ROPE_YARN},
                 {"longrope", ROPE_LONG}};

    gguf_str_t type;
    char       key[MODEL_KEY_MAX];
    size_t     i;
    int        rc;

    load_key(l, "rope.scaling.type", key);

    rc = gguf_get_str(l->file, key, &type);
    if (rc == -ENOENT) {
        *kind = gguf_tensor_find(l->file, "rope_factors_long.weight")
                    ? ROPE_LONG
                    : ROPE_NONE;
        return 0;
    }

    if (rc < 0) {
        return load_fail(l, -EINVAL, "metadata \"%s\" is no string", key);
    }

    for (i = 0; i < llm_countof(kinds); i++) {
        if (strlen(kinds[i].name) == type.len
            && memcmp(kinds[i].name, type.data, type.len) == 0) {
            *kind = kinds[i].kind;
            return 0;
        }
    }

    return load_fail(l, -ENOTSUP, "rope scaling \"%.*s\" is not supported",
                     (int) (type.len > 32 ? 32 : type.len), type.data);
}


/*
 * The factor on sin and cos: the papers' own, or what the file says instead
 * (yarn_attn_factor of YaRN, attn_factor of LongRoPE).  With YaRN attn_factor
 * comes on top.
 */

static int
rope_mul(load_t *l, rope_t *r)
{
    const char *odd = NULL;
    float       yarn = 0, attn = 0;
    double      s;

    LLM_TRY(load_float(l, "rope.scaling.yarn_attn_factor", &yarn));
    LLM_TRY(load_float(l, "rope.scaling.attn_factor", &attn));

    attn = attn == 1 && r->kind != ROPE_LONG ? 0 : attn;
    yarn = yarn == 1 && r->kind != ROPE_YARN ? 0 : yarn;

    if (yarn != 0 && r->kind != ROPE_YARN) {
        odd = "yarn_attn_factor";
    } else if (attn != 0 && r->kind != ROPE_YARN && r->kind != ROPE_LONG) {
        odd = "attn_factor";
    }

    if (odd) {
        return load_fail(l, -ENOTSUP,
                         "metadata \"%s.rope.scaling.%s\" is not supported "
                         "with this rope scaling",
                         l->arch->name, odd);
    }

    if (r->kind == ROPE_YARN) {
        s = (double) r->factor;
        r->mul = yarn != 0 ? yarn : s > 1 ? (float) (0.1 * log(s) + 1) : 1;
        r->mul *= attn != 0 ? attn : 1;

    } else if (r->kind == ROPE_LONG) {
        s = l->m->trained / (double) r->original;
        r->mul = attn != 0 ? attn
                 : s > 1 ? (float) sqrt(1 + log(s) / log((double) r->original))
                         : 1;
    }

    return 0;
}


static int
rope_divisors(load_t *l, rope_t *r)
{
    const gguf_tensor_t *t, *other = NULL;
    const char          *name = "rope_freqs.weight";
    uint32_t             i, n = l->m->n_rot / 2;

    if (r->kind == ROPE_LONG) {
        name = "rope_factors_short.weight";
        other = gguf_tensor_find(l->file, "rope_factors_long.weight");

        if ((float) l->m->context > r->original) {
            name = "rope_factors_long.weight";
            other = gguf_tensor_find(l->file, "rope_factors_short.weight");
        }

        if (other) {
            load_tensor_used(l, other);
        }
    }

    t = gguf_tensor_find(l->file, name);
    if (t == NULL) {
        return r->kind != ROPE_LONG
                   ? 0
                   : load_fail(l, -EINVAL, "tensor %s is missing", name);
    }

    if (t->type != GGML_F32 || t->dims[0] != n || t->dims[1] != 1
        || t->dims[2] != 1 || t->dims[3] != 1 || r->kind == ROPE_YARN) {
        return load_fail(l, -ENOTSUP,
                         "tensor %s has an unknown form or does not go with "
                         "this rope scaling",
                         name);
    }

    r->by = calloc(n, sizeof(float));
    if (r->by == NULL) {
        return load_fail(l, -ENOMEM, "no memory");
    }

    if (gguf_tensor_rows(l->file, t, 0, 1, r->by) < 0) {
        return load_fail(l, -EIO, "tensor %s cannot be read", name);
    }

    for (i = 0; i < n; i++) {
        if (!(r->by[i] > 0)) {
            return load_fail(l, -EINVAL, "tensor %s holds %g", name,
                             (double) r->by[i]);
        }
    }

    load_tensor_used(l, t);

    return 0;
}


/*
 * YaRN: dimensions that turn more than beta_fast times in the original
 * context keep their frequency, those that turn less than beta_slow times
 * get it divided, with a ramp between them.
 */

static void
rope_fill(const load_t *l, const rope_t *r, float base, float *out)
{
    uint32_t i, n = l->m->n_rot;
    double   low = 0, high = 0, f, keep;

    if (r->kind == ROPE_YARN) {
        low = rope_turns((double) r->beta_fast, n, (double) base,
                         (double) r->original);
        high = rope_turns((double) r->beta_slow, n, (double) base,
                          (double) r->original);

        if (!l->arch->yarn_exact) {
            low = floor(low);
            high = ceil(high);
        }

        low = low < 0 ? 0 : low;
        high = high > n - 1 ? n - 1 : high;
        high = high == low ? high + 0.001 : high;
    }

    for (i = 0; i < n / 2; i++) {
        f = pow((double) base, -2.0 * i / n);
        keep = 0;

        if (r->kind == ROPE_YARN) {
            keep = 1 - (i - low) / (high - low);
            keep = keep < 0 ? 0 : keep > 1 ? 1 : keep;
        }

        f = f * keep + f / (double) r->factor * (1 - keep);
        out[i] = (float) (r->by ? f / (double) r->by[i] : f);
    }
}


/* The dimension that turns so many times in a context. */

static double
rope_turns(double turns, double n_rot, double base, double context)
{
    return n_rot * log(context / (turns * 2 * M_PI)) / (2 * log(base));
}
