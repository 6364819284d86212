/*
 * Which tensor of a model gets which format, and rows of floats into it; the
 * formats' blocks are made in quant_blocks.c.
 *
 * Pure functions; any thread.  A quant_reader_t belongs to whoever made it,
 * its buffers are quant_reader_init()'s.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/quant.h"
#include "engine/model/quant_priv.h"

#define QUANT_ELEMS_MIN 4096       /* smaller tensors stay as they are */
#define QUANT_READ      (1u << 18) /* elements that a reader holds */

static int      quant_float(uint32_t type);
static int      quant_kept(const gguf_tensor_t *t);
static int      quant_more_bits(const gguf_t *g, const gguf_tensor_t *t);
static int      quant_part(const char *name, const char *part);
static uint32_t quant_mix(uint32_t type, const gguf_t *g,
                          const gguf_tensor_t *t);
static uint32_t quant_fall_back(uint32_t type, const gguf_tensor_t *t);

static const char *const quant_names[] = {"none", "q8_0", "q4_k", "fp8"};

/* Parts of names that stay as they are: small, and errors there count much. */
static const char *const quant_keep[] = {
    "_norm.weight", "ffn_gate_inp", "per_layer_model_proj",
    "rope_",        "attn_sinks",
};


int
quant_of(const char *name, size_t len, quant_t *out)
{
    size_t i;

    for (i = 1; i < sizeof(quant_names) / sizeof(quant_names[0]); i++) {
        if (strlen(quant_names[i]) == len
            && memcmp(quant_names[i], name, len) == 0) {
            *out = (quant_t) i;
            return 0;
        }
    }

    return -EINVAL;
}


const char *
quant_name(quant_t q)
{
    return q <= QUANT_FP8 ? quant_names[q] : quant_names[0];
}


uint32_t
quant_type(quant_t q, const gguf_t *g, const gguf_tensor_t *t)
{
    static const uint32_t types[] = {0, GGML_Q8_0, GGML_Q4_K};

    return q == QUANT_NONE || q == QUANT_FP8 ? t->type
                                             : quant_type_as(types[q], g, t);
}


int
quant_is_matrix(const gguf_tensor_t *t)
{
    return quant_float(t->type) && !quant_kept(t);
}


uint32_t
quant_type_as(uint32_t type, const gguf_t *g, const gguf_tensor_t *t)
{
    if (!quant_float(t->type) || quant_kept(t)) {
        return t->type;
    }

    if (!quant_float(type) && type != GGML_Q8_0) {
        type = quant_mix(type, g, t);
    }

    return quant_fall_back(type, t);
}


static int
quant_float(uint32_t type)
{
    return type == GGML_F32 || type == GGML_F16 || type == GGML_BF16;
}


/* No matrix of weights, or one that is not worth it. */

static int
quant_kept(const gguf_tensor_t *t)
{
    size_t len = strlen(t->name), i;

    if (t->n_dims < 2 || t->dims[1] == 1 || len < 6
        || strcmp(t->name + len - 6, "weight") != 0
        || t->dims[0] * t->dims[1] < QUANT_ELEMS_MIN) {
        return 1;
    }

    for (i = 0; i < sizeof(quant_keep) / sizeof(quant_keep[0]); i++) {
        if (strstr(t->name, quant_keep[i]) != NULL) {
            return 1;
        }
    }

    return 0;
}


/*
 * More bits for what errors hurt most: the output (or the table where it is
 * both), and in mixes, as llama.cpp's Q4_K_M and Q5_K_M have it, V and the
 * FFN's way down of the first and last eighth of the layers and of each third
 * one between.
 */

static uint32_t
quant_mix(uint32_t type, const gguf_t *g, const gguf_tensor_t *t)
{
    if (strcmp(t->name, "output.weight") == 0
        || (strcmp(t->name, "token_embd.weight") == 0
            && gguf_tensor_find(g, "output.weight") == NULL)) {
        return GGML_Q6_K;
    }

    if (type != GGML_Q4_K && type != GGML_Q5_K) {
        return type;
    }

    if (quant_part(t->name, "attn_qkv")) {
        return quant_more_bits(g, t) ? GGML_Q6_K : GGML_Q5_K;
    }

    if (quant_part(t->name, "attn_v") || quant_part(t->name, "ffn_down")
        || quant_part(t->name, "ffn_down_exps")
        || quant_part(t->name, "ffn_down_shexp")) {
        return quant_more_bits(g, t) ? GGML_Q6_K : type;
    }

    return type;
}


/* "blk.N.PART.weight" */

static int
quant_part(const char *name, const char *part)
{
    const char *p;
    size_t      len = strlen(part);

    if (strncmp(name, "blk.", 4) != 0) {
        return 0;
    }

    p = strchr(name + 4, '.');

    return p != NULL && strncmp(p + 1, part, len) == 0 && p[1 + len] == '.';
}


static int
quant_more_bits(const gguf_t *g, const gguf_tensor_t *t)
{
    gguf_str_t    arch;
    unsigned long layer;
    uint32_t      n;
    char          key[128];

    layer = strtoul(t->name + 4, NULL, 10);

    if (gguf_get_str(g, "general.architecture", &arch) != 0) {
        return 0;
    }

    snprintf(key, sizeof(key), "%.*s.block_count",
             (int) (arch.len > 64 ? 64 : arch.len), arch.data);

    if (gguf_get_u32(g, key, &n) != 0) {
        return 0;
    }

    return layer < n / 8 || layer >= 7 * (unsigned long) n / 8
           || (layer - n / 8) % 3 == 2;
}


/* Blocks of 256 do not fit every width, and those of 32 not all of them. */

static uint32_t
quant_fall_back(uint32_t type, const gguf_tensor_t *t)
{
    static const uint32_t pairs[][2] = {{GGML_Q4_K, GGML_Q5_0},
                                        {GGML_Q5_K, GGML_Q5_1},
                                        {GGML_Q6_K, GGML_Q8_0}};
    size_t                i;

    for (i = 0; i < 3 && t->dims[0] % gguf_type(type)->block_elems; i++) {
        if (pairs[i][0] == type) {
            type = pairs[i][1];
            break;
        }
    }

    return t->dims[0] % gguf_type(type)->block_elems ? t->type : type;
}


int
quant_rows(uint32_t type, const float *x, uint64_t rows, uint64_t cols,
           void *out)
{
    const gguf_type_t *info = gguf_type(type);
    uint8_t           *p = out;
    uint64_t           i;
    uint16_t           h;
    uint32_t           bits;

    if (info == NULL || !(quant_blocks_known(type) || quant_float(type))) {
        return -ENOTSUP;
    }

    if (cols % info->block_elems) {
        return -EINVAL;
    }

    switch (type) {

    case GGML_F32:
        memcpy(p, x, rows * cols * sizeof(float));
        return 0;

    case GGML_F16:
        for (i = 0; i < rows * cols; i++, p += 2) {
            h = quant_half(x[i]);
            memcpy(p, &h, 2);

            if ((h & 0x7fff) == 0x7c00 && isfinite(x[i])) {
                return -ERANGE;
            }
        }

        return 0;

    case GGML_BF16:
        for (i = 0; i < rows * cols; i++, p += 2) {
            memcpy(&bits, &x[i], 4);
            h = (uint16_t) (isnan(x[i])
                                ? bits >> 16 | 64
                                : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
            memcpy(p, &h, 2);
        }

        return 0;
    }

    for (i = 0; i < rows * cols; i++) {
        if (!(fabsf(x[i]) <= QUANT_MAX)) {
            return -ERANGE;
        }
    }

    for (i = 0; i < rows; i++) {
        quant_blocks(type, x + i * cols, cols, p);
        p += cols / info->block_elems * info->block_bytes;
    }

    return 0;
}


int
quant_floats(uint32_t type, const void *src, uint64_t n, float *out)
{
    const uint8_t *p = src;
    uint64_t       i;
    uint16_t       h;
    uint32_t       bits;

    switch (type) {

    case GGML_F32:
        memcpy(out, p, n * sizeof(float));
        return 0;

    case GGML_F16:
        for (i = 0; i < n; i++) {
            memcpy(&h, p + 2 * i, 2);
            out[i] = quant_half_float(h);
        }

        return 0;

    case GGML_BF16:
        for (i = 0; i < n; i++) {
            memcpy(&h, p + 2 * i, 2);
            bits = (uint32_t) h << 16;
            memcpy(&out[i], &bits, 4);
        }

        return 0;

    default:
        return -ENOTSUP;
    }
}


int
quant_reader_init(quant_reader_t *r, const gguf_t *g, const gguf_tensor_t *t,
                  uint32_t type)
{
    const gguf_type_t *info = gguf_type(t->type);

    *r = (quant_reader_t){.g = g, .t = t, .type = type};

    if (type == t->type) {
        return 0;
    }

    if (!quant_float(t->type)
        || !(quant_blocks_known(type) || quant_float(type))) {
        return -ENOTSUP;
    }

    if (t->dims[0] == 0 || t->dims[0] % gguf_type(type)->block_elems) {
        return -EINVAL;
    }

    r->batch = t->dims[0] < QUANT_READ ? QUANT_READ / t->dims[0] : 1;
    r->raw = malloc(r->batch * t->dims[0] * info->block_bytes);
    r->x = malloc(r->batch * t->dims[0] * sizeof(float));

    if (r->raw == NULL || r->x == NULL) {
        quant_reader_free(r);
        return -ENOMEM;
    }

    return 0;
}


void
quant_reader_free(quant_reader_t *r)
{
    free(r->raw);
    free(r->x);
    r->raw = NULL;
    r->x = NULL;
}


int
quant_reader_rows(void *reader, uint32_t row, uint32_t n, void *out)
{
    quant_reader_t    *r = reader;
    const gguf_type_t *info = gguf_type(r->type);
    uint64_t           k, cols = r->t->dims[0];
    uint8_t           *p = out;
    int                rc;

    if (r->type == r->t->type) {
        return gguf_tensor_rows(r->g, r->t, row, n, out);
    }

    for (; n > 0; n -= (uint32_t) k, row += (uint32_t) k) {
        k = n < r->batch ? n : r->batch;

        rc = gguf_tensor_rows(r->g, r->t, row, k, r->raw);
        if (rc == 0) {
            rc = quant_floats(r->t->type, r->raw, k * cols, r->x);
        }
        if (rc == 0) {
            rc = quant_rows(r->type, r->x, k, cols, p);
        }
        if (rc < 0) {
            return rc;
        }

        p += k * cols / info->block_elems * info->block_bytes;
    }

    return 0;
}
