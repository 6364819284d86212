/*
 * A model's own sampling parameters, see defaults.h.  Loader threads.
 */

#include "engine/serve/defaults.h"
#include <errno.h>
#include "engine/base.h"

static const defaults_t defaults_plain = {
    .temperature = 1, .top_p = 1, .min_p = 0, .repetition = 1, .top_k = 0};


void
defaults_read(const gguf_t *g, const char *name, defaults_t *out)
{
    const struct {
        const char *key;
        float      *value;
        float       least;
        float       most;
    } floats[] = {{"general.sampling.temp", &out->temperature, 0, 100},
                  {"general.sampling.top_p", &out->top_p, 0, 1},
                  {"general.sampling.min_p", &out->min_p, 0, 1},
                  {"general.sampling.penalty_repeat", &out->repetition, 0.01f,
                   100}};
    size_t  i;
    float   v;
    int32_t top_k;
    int     rc;

    *out = defaults_plain;

    for (i = 0; i < llm_countof(floats); i++) {
        rc = gguf_get_f32(g, floats[i].key, &v);

        if (rc == 0 && v >= floats[i].least && v <= floats[i].most) {
            *floats[i].value = v;

        } else if (rc != -ENOENT) {
            log_warn("model %s: %s is out of range, not used", name,
                     floats[i].key);
        }
    }

    /* -1 is another word for off. */
    rc = gguf_get_i32(g, "general.sampling.top_k", &top_k);

    if (rc == 0 && top_k >= -1) {
        out->top_k = top_k > 0 ? (uint32_t) top_k : 0;

    } else if (rc != -ENOENT) {
        log_warn("model %s: general.sampling.top_k is out of range, not used",
                 name);
    }
}


int
defaults_are_plain(const defaults_t *d)
{
    return d->temperature == defaults_plain.temperature
           && d->top_p == defaults_plain.top_p
           && d->min_p == defaults_plain.min_p
           && d->repetition == defaults_plain.repetition
           && d->top_k == defaults_plain.top_k;
}
