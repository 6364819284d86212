/*
 * Whole models on the CUDA backend, see model.h: what architectures differ in.
 */

#include "t/cuda/model.h"


static const model_t models[] = {
    /* clang-format off */
    {"tied, f16, biases, norms of q and k, gelu", K_F16, 5e-3,
     {96, 2, 4, 2, 80, 160, 77, 20, 0, K_F32, K_ROPE_HALVES, K_FN_GELU_TANH, 0,
      0, .bias = 1, .qk_norm = 1, .tied = 1, .seed = 2}, .close = 0},
    {"gemma, q8_0: caps, windows, post-norms, erf", K_Q8_0, 5e-2,
     {128, 2, 2, 2, 128, 64, 90, 128, 20, K_F32, K_ROPE_HALVES, K_FN_GELU_ERF,
      5.0f, 8.0f, .post_norm = 1, .tied = 1, .seed = 3}, .close = 0},
    {"gpt-oss, mxfp4: experts, sinks, biases, windows", K_MXFP4, 5e-2,
     {64, 2, 8, 2, 64, 96, 131, 64, 16, K_F32, K_ROPE_HALVES,
      K_FN_SWIGLU_OAI, 0, 0, .bias = 1, .sinks = 1, .seed = 12, .n_expert = 32,
      .n_used = 4}, .close = 1},
    {"experts, bf16, gates of all, a dense layer first", K_BF16, 4e-2,
     {64, 2, 4, 1, 128, 32, 77, 128, 25, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .qk_norm = 1, .post_norm = 1, .tied = 1, .seed = 13, .n_expert = 5,
      .n_used = 2, .gate = K_GATE_SOFTMAX, .dense = 1, .nope = 1,
      .residual = 0.22f}, .close = 0},
    {"experts, f16, biases, odd widths", K_F16, 8e-3,
     {64, 2, 3, 1, 64, 40, 60, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_GELU_TANH, 0, 0,
      .bias = 1, .seed = 17, .n_expert = 9, .n_used = 3}, .close = 0},
    {"heads of 40: attention's slow way", K_F16, 5e-3,
     {80, 2, 3, 1, 40, 72, 50, 40, 0, K_F32, K_ROPE_HALVES, K_FN_SILU, 0, 0,
      .seed = 15}, .all = 1},
    {"no attention", K_BF16, 3e-2,
     {64, 2, 1, 1, 16, 64, 50, 0, 0, K_F32, K_ROPE_NONE, K_FN_SILU, 0, 0,
      .bare = 1, .seed = 16}, .close = 0},
    /* clang-format on */
};


int
main(void)
{
    model_all(models, sizeof(models) / sizeof(models[0]));

    return tap_done();
}
