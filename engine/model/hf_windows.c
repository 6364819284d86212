/*
 * Which layers of a folder's model see how far: sliding_window, layer_types
 * and what stood for them before, no_rope_layers; into metadata.  See
 * hf_priv.h.  Loader threads.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/model/hf_priv.h"

static int windows_nope(const hf_config_t *c);
static int windows_layers(const hf_config_t *c, uint8_t *local);
static int windows_types(const hf_config_t *c, const json_t *types,
                         uint8_t *local);
static int windows_rule(const hf_config_t *c, uint32_t i, uint32_t sixth,
                        uint32_t from);


int
hf_windows_read(hf_config_t *c, gguf_writer_t *w)
{
    uint32_t family = c->family->family, window = 0, i, n = 0, usual = 0;
    uint8_t *local;
    char     key[64];
    int      rc;

    LLM_TRY(windows_nope(c));

    local = calloc(c->n_layer, 1);
    if (local == NULL) {
        return hf_fail(c, -ENOMEM, "no memory");
    }

    rc = hf_get_u32(c, c->config, "sliding_window", HF_CONTEXT_MAX, &window);
    if (rc == 0 && family == HF_GEMMA3) {
        window = 4096;
    }

    if (rc >= 0) {
        rc = windows_layers(c, local);
    }

    if (rc < 0) {
        goto done;
    }

    for (i = 0; i < c->n_layer; i++) {
        n += local[i] != 0;
        usual += local[i] == windows_rule(c, i, 6, c->n_layer);
    }

    /* Where there may be one, 0 says that there is none. */
    if (n == 0 || (window == 0 && c->family->window == HF_WINDOW_ALL)) {
        if (family & (HF_GEMMA2 | HF_GEMMA3 | HF_GPT_OSS | HF_PHI3)) {
            hf_put_u32(c, w, "attention.sliding_window", 0);
        }
        goto done;
    }

    if (window == 0) {
        rc = hf_fail(c, -EINVAL, "config.json: no sliding_window");
        goto done;
    }

    hf_put_u32(c, w, "attention.sliding_window", window);

    if (c->family->window == HF_WINDOW_NONE
        || c->family->window == HF_WINDOW_FROM || usual != c->n_layer) {
        snprintf(key, sizeof(key), "%s.attention.sliding_window_pattern",
                 c->family->arch);
        gguf_put_arr_bool(w, key, local, c->n_layer);
    }

done:

    free(local);

    return rc < 0 ? rc : 0;
}


/* SmolLM3: no rope in every fourth layer, which is all that GGUF can say. */

static int
windows_nope(const hf_config_t *c)
{
    const json_t *list = hf_get(c->config, "no_rope_layers"), *v;
    uint32_t      every = 4;
    size_t        i;

    if (c->family->family != HF_SMOLLM3) {
        return list == NULL || json_array_size(list) == 0
                   ? 0
                   : hf_fail(c, -ENOTSUP,
                             "no_rope_layers is not supported with %s",
                             c->family->name);
    }

    if (list == NULL) {
        LLM_TRY(
            hf_get_u32(c, c->config, "no_rope_layer_interval", 65536, &every));
        return every == 4 ? 0
                          : hf_fail(c, -ENOTSUP,
                                    "no_rope_layer_interval %" PRIu32
                                    " is not supported",
                                    every);
    }

    for (i = 0; i < c->n_layer; i++) {
        v = json_array_get(list, i);

        if (!json_is_integer(v)
            || json_integer_value(v) != ((i + 1) % 4 != 0)) {
            return hf_fail(c, -ENOTSUP,
                           "no_rope_layers: only every fourth layer can be "
                           "without rope");
        }
    }

    return 0;
}


/* A flag for each layer: it has the window. */

static int
windows_layers(const hf_config_t *c, uint8_t *local)
{
    const json_t *types = hf_get(c->config, "layer_types");
    uint32_t      i, sixth = 6, from = c->n_layer;
    int           all = 0;

    if (c->family->window == HF_WINDOW_FROM
        && !hf_get_bool(c, "use_sliding_window", 0)) {
        return 0; /* whatever layer_types calls them */
    }

    if (types) {
        return windows_types(c, types, local);
    }

    if (c->family->family == HF_GEMMA3) {
        LLM_TRY(
            hf_get_u32(c, c->config, "_sliding_window_pattern", 65536, &sixth));
        LLM_TRY(
            hf_get_u32(c, c->config, "sliding_window_pattern", 65536, &sixth));
    }

    if (c->family->window == HF_WINDOW_FROM) {
        if (c->family->family == HF_SMOLLM3) {
            return hf_fail(c, -ENOTSUP,
                           "use_sliding_window without layer_types is not "
                           "supported");
        }

        from = 28; /* transformers' own, for all of them */
        LLM_TRY(hf_get_u32(c, c->config, "max_window_layers", 65536, &from));
    }

    if (c->family->window == HF_WINDOW_ALL) {
        all = hf_get(c->config, "sliding_window") != NULL;
    }

    for (i = 0; i < c->n_layer; i++) {
        local[i] = c->family->window == HF_WINDOW_ALL
                       ? (uint8_t) all
                       : (uint8_t) windows_rule(c, i, sixth, from);
    }

    return 0;
}


static int
windows_types(const hf_config_t *c, const json_t *types, uint8_t *local)
{
    const char *type;
    uint32_t    i;

    if (json_array_size(types) != c->n_layer) {
        return hf_fail(c, -EINVAL,
                       "config.json: layer_types is not one for each layer");
    }

    for (i = 0; i < c->n_layer; i++) {
        type = json_string_value(json_array_get(types, i));

        if (type == NULL
            || (strcmp(type, "full_attention") != 0
                && strcmp(type, "sliding_attention") != 0)) {
            return hf_fail(c, -ENOTSUP, "layer type %.32s is not supported",
                           type ? type : "null");
        }

        local[i] = type[0] == 's';
    }

    return 0;
}


static int
windows_rule(const hf_config_t *c, uint32_t i, uint32_t sixth, uint32_t from)
{
    switch (c->family->window) {
    case HF_WINDOW_ALL:
        return 1;
    case HF_WINDOW_SECOND:
        return i % 2 == 0;
    case HF_WINDOW_SIXTH:
        return sixth > 0 && (i + 1) % sixth != 0;
    case HF_WINDOW_FROM:
        return i >= from;
    default:
        return 0;
    }
}
