/*
 * Whole models on the CUDA backend, see model.h: types of weights and pages.
 */

#include "t/cuda/model.h"


static const model_t models[] = {
    /* clang-format off */
    {"llama, bf16", K_BF16, 3e-2,
     {128, 2, 4, 2, 64, 192, 83, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .seed = 1}, .close = 0},
    {"f32 weights, one KV head of seven", K_F32, 3e-2,
     {64, 2, 7, 1, 32, 96, 67, 24, 33, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .bias = 1, .qk_norm = 1, .post_norm = 1, .seed = 4}, .close = 0},
    {"q4_0, no rope, a window of one", K_Q4_0, 5e-2,
     {64, 2, 6, 1, 16, 96, 64, 0, 1, K_F32, K_ROPE_NONE, K_FN_SILU, 30.0f, 0,
      .qk_norm = 1, .seed = 5}, .all = 1},
    {"q4_1, residual factor, sinks, every other layer without rope", K_Q4_1,
     5e-2,
     {96, 2, 2, 1, 96, 64, 50, 48, 0, K_F32, K_ROPE_HALVES, K_FN_SILU, 0, 0,
      .sinks = 1, .nope = 1, .residual = 0.3f, .seed = 6}, .close = 0},
    {"q4_k", K_Q4_K, 5e-2,
     {256, 1, 4, 2, 64, 256, 50, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .seed = 7}, .close = 0},
    {"q5_k, E4M3 pages", K_Q5_K, 8e-2,
     {256, 1, 4, 1, 64, 256, 50, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .seed = 8}, .kv_f8 = 1},
    {"q6_k, tied", K_Q6_K, 5e-2,
     {256, 1, 2, 2, 128, 256, 50, 128, 0, K_F32, K_ROPE_HALVES, K_FN_SILU, 0, 0,
      .tied = 1, .seed = 9}, .close = 0},
    {"E4M3, biases", K_F8_E4M3, 2e-1,
     {128, 2, 4, 2, 64, 192, 80, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
      .bias = 1, .seed = 10}, .close = 0},
    {"E4M3, post-norms, a vocabulary of odd size, tied", K_F8_E4M3, 2e-1,
     {128, 2, 2, 2, 64, 96, 83, 64, 0, K_F32, K_ROPE_HALVES, K_FN_GELU_TANH, 0,
      0, .post_norm = 1, .tied = 1, .seed = 11}, .close = 0},
    {"experts, q4_k", K_Q4_K, 5e-2,
     {256, 1, 4, 2, 64, 256, 50, 64, 0, K_F32, K_ROPE_HALVES, K_FN_SILU, 0, 0,
      .seed = 14, .n_expert = 6, .n_used = 3}, .close = 1},
    /* clang-format on */
};


int
main(void)
{
    model_all(models, sizeof(models) / sizeof(models[0]));

    return tap_done();
}
