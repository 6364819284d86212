/*
 * quantization_config of a folder: which packed weights its tensors are, and
 * what shares a scale.  All that is not read is refused by name.  See
 * hf_priv.h.  Loader threads.
 */

#include <errno.h>
#include "engine/model/hf_priv.h"

static int packed_fp8(hf_config_t *c, const json_t *q);
static int packed_tensors(hf_config_t *c, const json_t *q);
static int packed_blocks(hf_config_t *c, const json_t *block);


int
hf_packed_read(hf_config_t *c)
{
    const json_t *q = hf_get(c->config, "quantization_config");
    const char   *method;

    /* Of a model of texts and images it is the whole's. */
    if (q == NULL) {
        q = hf_get(c->root, "quantization_config");
    }

    if (q == NULL) {
        return 0;
    }

    method = json_string_value(json_object_get(q, "quant_method"));

    if (method && strcmp(method, "fp8") == 0) {
        return packed_fp8(c, q);
    }

    if (method && strcmp(method, "compressed-tensors") == 0) {
        return packed_tensors(c, q);
    }

    if (method && strcmp(method, "mxfp4") == 0
        && c->family->family == HF_GPT_OSS) {
        c->packed = HF_MXFP4;
        return 0;
    }

    return hf_fail(c, -ENOTSUP,
                   "quantization \"%.32s\" is not supported with %s: fp8, "
                   "compressed-tensors of floats, gpt-oss' mxfp4, or none",
                   method ? method : "unknown", c->family->name);
}


static int
packed_fp8(hf_config_t *c, const json_t *q)
{
    const char *format = json_string_value(hf_get(q, "fmt"));

    if (format && strcmp(format, "e4m3") != 0) {
        return hf_fail(c, -ENOTSUP,
                       "quantization fp8 of %.16s is not "
                       "supported",
                       format);
    }

    c->packed = HF_FP8;

    return packed_blocks(c, hf_get(q, "weight_block_size"));
}


/* One group, weights of 8-bit floats: by tensor, channel or block. */

static int
packed_tensors(hf_config_t *c, const json_t *q)
{
    const char   *format = json_string_value(hf_get(q, "format"));
    const char   *type, *strategy, *sparse;
    json_t       *groups = json_object_get(q, "config_groups"), *group;
    const json_t *weights;
    const char   *name;

    sparse = json_string_value(
        hf_get(json_object_get(q, "sparsity_config"), "format"));

    if (format == NULL || strcmp(format, "float-quantized") != 0
        || (sparse && strcmp(sparse, "dense") != 0)) {
        return hf_fail(c, -ENOTSUP,
                       "quantization compressed-tensors of format %.32s is "
                       "not supported",
                       sparse && strcmp(sparse, "dense") ? sparse
                       : format                          ? format
                                                         : "unknown");
    }

    c->packed = HF_FP8;

    json_object_foreach(groups, name, group)
    {
        weights = json_object_get(group, "weights");
        type = json_string_value(hf_get(weights, "type"));
        strategy = json_string_value(hf_get(weights, "strategy"));

        if (type == NULL || strcmp(type, "float") != 0
            || json_integer_value(hf_get(weights, "num_bits")) != 8
            || (strategy && strcmp(strategy, "tensor") != 0
                && strcmp(strategy, "channel") != 0
                && strcmp(strategy, "block") != 0)) {
            return hf_fail(c, -ENOTSUP,
                           "compressed-tensors: weights of %.16s with strategy "
                           "%.16s are not supported",
                           type ? type : "unknown",
                           strategy ? strategy : "unknown");
        }

        LLM_TRY(packed_blocks(c, hf_get(weights, "block_structure")));
    }

    return 0;
}


/* [rows, columns] that share a scale. */

static int
packed_blocks(hf_config_t *c, const json_t *block)
{
    json_int_t rows, cols;

    if (block == NULL) {
        return 0;
    }

    rows = json_integer_value(json_array_get(block, 0));
    cols = json_integer_value(json_array_get(block, 1));

    if (json_array_size(block) != 2 || rows < 1 || cols < 1 || rows > 65536
        || cols > 65536
        || (c->block_rows
            && (c->block_rows != rows || c->block_cols != cols))) {
        return hf_fail(c, -ENOTSUP,
                       "this block size of scales is not "
                       "supported");
    }

    c->block_rows = (uint32_t) rows;
    c->block_cols = (uint32_t) cols;

    return 0;
}
