/*
 * Prefill attention against a double reference, beside the plain kernel and
 * decode: pieces of one to 64 rows, several sequences in a launch.
 */

#include "t/cuda/attn_ref.h"

#define B CU_BF16
#define H CU_F16
#define E CU_F8

static const attn_case_t cases[] = {
    {.name = "group 4, 128",
     .t = B,
     .kv = B,
     .n_head = 8,
     .n_kv = 2,
     .head_dim = 128,
     .slack = 2,
     .seqs = {{0, 64, 0}, {33, 5, 0}, {100, 70, 0}, {40, 1, 1}}},
    {.name = "group 2, 64, F16",
     .t = H,
     .kv = H,
     .n_head = 4,
     .n_kv = 2,
     .head_dim = 64,
     .seqs = {{0, 2, 0}, {31, 3, 0}, {63, 64, 0}, {257, 20, 0}, {64, 1, 2}}},
    {.name = "group 7, 128",
     .t = B,
     .kv = B,
     .n_head = 7,
     .n_kv = 1,
     .head_dim = 128,
     .seqs = {{40, 37, 0}}},
    {.name = "group 1, 64",
     .t = B,
     .kv = B,
     .n_head = 2,
     .n_kv = 2,
     .head_dim = 64,
     .seqs = {{0, 100, 0}, {65, 30, 0}}},
    {.name = "group 1, 128, F16",
     .t = H,
     .kv = H,
     .n_head = 2,
     .n_kv = 2,
     .head_dim = 128,
     .seqs = {{10, 64, 0}, {0, 33, 0}}},
    {.name = "group 3, 80, sinks, F16",
     .t = H,
     .kv = H,
     .n_head = 6,
     .n_kv = 2,
     .head_dim = 80,
     .sinks = 1,
     .seqs = {{20, 50, 0}, {90, 9, 0}}},
    {.name = "group 8, 96",
     .t = B,
     .kv = B,
     .n_head = 8,
     .n_kv = 1,
     .head_dim = 96,
     .seqs = {{31, 40, 0}, {0, 7, 0}}},
    {.name = "group 2, 256",
     .t = B,
     .kv = B,
     .n_head = 4,
     .n_kv = 2,
     .head_dim = 256,
     .seqs = {{31, 40, 0}, {0, 65, 0}}},
    {.name = "group 4, 256, soft cap",
     .t = B,
     .kv = B,
     .n_head = 4,
     .n_kv = 1,
     .head_dim = 256,
     .soft_cap = 5,
     .q_size = 8,
     .window = 50,
     .seqs = {{100, 40, 0}, {0, 20, 0}}},
    {.name = "window of 5, group 4, 64",
     .t = B,
     .kv = B,
     .n_head = 4,
     .n_kv = 1,
     .head_dim = 64,
     .window = 5,
     .seqs = {{0, 64, 0}, {100, 64, 0}, {62, 7, 0}, {63, 1, 2}}},
    {.name = "window of 70, sinks, group 4, 128",
     .t = B,
     .kv = B,
     .n_head = 8,
     .n_kv = 2,
     .head_dim = 128,
     .window = 70,
     .sinks = 1,
     .seqs = {{0, 80, 0}, {200, 64, 0}, {69, 2, 0}, {150, 1, 3}}},
    {.name = "window of 64, soft cap, group 2, 128, F16",
     .t = H,
     .kv = H,
     .n_head = 2,
     .n_kv = 1,
     .head_dim = 128,
     .window = 64,
     .soft_cap = 20,
     .q_size = 10,
     .seqs = {{128, 64, 0}, {63, 40, 0}}},
    {.name = "large scores, group 4, 64",
     .t = B,
     .kv = B,
     .n_head = 4,
     .n_kv = 1,
     .head_dim = 64,
     .q_size = 300,
     .sinks = 1,
     .seqs = {{50, 40, 0}}},
    {.name = "group 16, 64, F16",
     .t = H,
     .kv = H,
     .n_head = 16,
     .n_kv = 1,
     .head_dim = 64,
     .seqs = {{50, 13, 0}}},
    {.name = "E4M3 pages, group 4, 128",
     .t = B,
     .kv = E,
     .n_head = 8,
     .n_kv = 2,
     .head_dim = 128,
     .seqs = {{0, 64, 0}, {100, 33, 0}, {40, 1, 1}}},
    {.name = "E4M3 pages, group 1, 128, F16",
     .t = H,
     .kv = E,
     .n_head = 2,
     .n_kv = 2,
     .head_dim = 128,
     .seqs = {{100, 33, 0}}},
    {.name = "E4M3 pages, group 8, 64, F16, window, sinks",
     .t = H,
     .kv = E,
     .n_head = 8,
     .n_kv = 1,
     .head_dim = 64,
     .window = 40,
     .sinks = 1,
     .seqs = {{100, 33, 0}, {0, 20, 0}}},
    {.name = "E4M3 pages, group 1, 64",
     .t = B,
     .kv = E,
     .n_head = 2,
     .n_kv = 2,
     .head_dim = 64,
     .seqs = {{90, 33, 0}}},
    {.name = "E4M3 pages, group 2, 80",
     .t = B,
     .kv = E,
     .n_head = 4,
     .n_kv = 2,
     .head_dim = 80,
     .seqs = {{31, 40, 0}}},
    {.name = "E4M3 pages, group 3, 96, F16",
     .t = H,
     .kv = E,
     .n_head = 3,
     .n_kv = 1,
     .head_dim = 96,
     .seqs = {{31, 40, 0}}},
    {.name = "E4M3 pages, group 2, 256",
     .t = B,
     .kv = E,
     .n_head = 2,
     .n_kv = 1,
     .head_dim = 256,
     .seqs = {{31, 40, 0}}},
};


static void
test_prefill(const attn_case_t *c, uint32_t seed)
{
    attn_world_t w;

    attn_new(&w, c, seed);
    ok(cu_attn_prefill_fits(c->t, &w.arg) == 1, "%s: fits", c->name);

    attn_poison(&w);
    is_int(cu_attn_prefill(c->t, &w.arg, w.step, NULL), 0, "%s: fast", c->name);
    attn_check(&w, 2, 1, "prefill");

    /* Beside decode, one after the other, as in a step of both. */
    w.arg.tickets = w.tickets;
    attn_poison(&w);
    is_int(cu_attn_decode(c->t, &w.arg, w.step, NULL), 0, "%s: decode",
           c->name);
    is_int(cu_attn_prefill(c->t, &w.arg, w.step, NULL), 0, "%s: fast", c->name);
    attn_check(&w, 3, 1, "decode and prefill");

    attn_poison(&w);
    is_int(cu_attn_simple(c->t, &w.arg, w.step, NULL), 0, "%s: plain", c->name);
    is_int(cu_attn_merge(c->t, &w.arg, w.step, NULL), 0, "%s: merge", c->name);
    attn_check(&w, 3, 0, "plain");

    attn_free(&w);
}


int
main(void)
{
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_prefill(&cases[i], (uint32_t) i + 1);
    }

    return tap_done();
}
