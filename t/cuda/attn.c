/*
 * Decode attention against a double reference: the plain kernel, the fast one
 * with parts joined by a launch and by tickets, shapes that each refuses.
 */

#include <errno.h>

#include "t/cuda/attn_ref.h"

#define B CU_BF16
#define H CU_F16
#define E CU_F8

static const attn_case_t cases[] = {
    {.name = "borders of pages, group 4, 128",
     .t = B,
     .kv = B,
     .n_head = 8,
     .n_kv = 2,
     .head_dim = 128,
     .slack = 3,
     .seqs = {{0, 1, 1},
              {1, 1, 1},
              {31, 1, 1},
              {32, 1, 2},
              {33, 1, 1},
              {63, 1, 2},
              {64, 1, 3},
              {65, 1, 1}}},
    {.name = "long, splits 1 to 5, group 4, 128",
     .t = B,
     .kv = B,
     .n_head = 8,
     .n_kv = 2,
     .head_dim = 128,
     .slack = 1,
     .seqs = {{100, 1, 1},
              {257, 1, 1},
              {257, 1, 2},
              {270, 1, 3},
              {300, 1, 4},
              {159, 1, 5}}},
    {.name = "many pages, group 2, 64",
     .t = H,
     .kv = H,
     .n_head = 2,
     .n_kv = 1,
     .head_dim = 64,
     .seqs = {{4500, 1, 1}, {2200, 1, 1}, {2100, 1, 40}}},
    {.name = "group 1, 64, F16",
     .t = H,
     .kv = H,
     .n_head = 3,
     .n_kv = 3,
     .head_dim = 64,
     .seqs = {{100, 1, 2}, {5, 1, 1}}},
    {.name = "group 3, 80, window in a page, F16",
     .t = H,
     .kv = H,
     .n_head = 6,
     .n_kv = 2,
     .head_dim = 80,
     .window = 7,
     .sinks = 1,
     .seqs = {{100, 1, 4}, {3, 1, 1}, {70, 1, 2}}},
    {.name = "group 8, 96, window over pages",
     .t = B,
     .kv = B,
     .n_head = 8,
     .n_kv = 1,
     .head_dim = 96,
     .window = 70,
     .seqs = {{257, 1, 5}, {69, 1, 1}, {70, 1, 3}, {71, 1, 1}}},
    {.name = "group 4, 256, soft cap",
     .t = B,
     .kv = B,
     .n_head = 4,
     .n_kv = 1,
     .head_dim = 256,
     .soft_cap = 5,
     .q_size = 8,
     .seqs = {{100, 1, 3}, {90, 1, 1}}},
    {.name = "group 16, 128, sinks",
     .t = B,
     .kv = B,
     .n_head = 16,
     .n_kv = 1,
     .head_dim = 128,
     .sinks = 1,
     .seqs = {{100, 1, 2}, {40, 1, 1}}},
    {.name = "group 12, 64, F16",
     .t = H,
     .kv = H,
     .n_head = 24,
     .n_kv = 2,
     .head_dim = 64,
     .seqs = {{100, 1, 3}, {40, 1, 1}}},
    {.name = "group 20, 80",
     .t = B,
     .kv = B,
     .n_head = 20,
     .n_kv = 1,
     .head_dim = 80,
     .seqs = {{66, 1, 2}, {40, 1, 1}}},
    {.name = "large scores",
     .t = B,
     .kv = B,
     .n_head = 8,
     .n_kv = 2,
     .head_dim = 64,
     .q_size = 300,
     .sinks = 1,
     .seqs = {{100, 1, 3}, {130, 1, 1}}},
    {.name = "E4M3 pages, group 4, 128",
     .t = B,
     .kv = E,
     .n_head = 8,
     .n_kv = 2,
     .head_dim = 128,
     .seqs = {{257, 1, 3}, {31, 1, 1}, {64, 1, 2}, {0, 1, 1}}},
    {.name = "E4M3 pages, group 8, 64, F16, window, sinks",
     .t = H,
     .kv = E,
     .n_head = 8,
     .n_kv = 1,
     .head_dim = 64,
     .window = 40,
     .sinks = 1,
     .seqs = {{100, 1, 3}, {31, 1, 1}}},
    {.name = "E4M3 pages, group 2, 80",
     .t = B,
     .kv = E,
     .n_head = 4,
     .n_kv = 2,
     .head_dim = 80,
     .seqs = {{100, 1, 2}, {47, 1, 1}}},
    {.name = "E4M3 pages, group 3, 96, F16",
     .t = H,
     .kv = E,
     .n_head = 3,
     .n_kv = 1,
     .head_dim = 96,
     .soft_cap = 30,
     .seqs = {{100, 1, 2}, {47, 1, 1}}},
    {.name = "E4M3 pages, group 16, 128, F16",
     .t = H,
     .kv = E,
     .n_head = 16,
     .n_kv = 1,
     .head_dim = 128,
     .seqs = {{50, 1, 2}}},
    {.name = "E4M3 pages, group 1, 256",
     .t = B,
     .kv = E,
     .n_head = 2,
     .n_kv = 2,
     .head_dim = 256,
     .seqs = {{80, 1, 2}, {10, 1, 1}}},
};

/* What the plain kernel alone does. */
static const attn_case_t plain[] = {
    {.name = "head_dim 8",
     .t = B,
     .kv = B,
     .n_head = 3,
     .n_kv = 1,
     .head_dim = 8,
     .seqs = {{70, 1, 2}, {3, 5, 0}}},
    {.name = "head_dim 72, window, soft cap, sinks, E4M3",
     .t = H,
     .kv = E,
     .n_head = 4,
     .n_kv = 2,
     .head_dim = 72,
     .window = 20,
     .soft_cap = 4,
     .sinks = 1,
     .seqs = {{140, 1, 3}, {30, 4, 0}}},
    {.name = "head_dim 512",
     .t = B,
     .kv = B,
     .n_head = 2,
     .n_kv = 2,
     .head_dim = 512,
     .slack = 2,
     .seqs = {{40, 1, 1}, {30, 2, 0}}},
};


static void
test_decode(const attn_case_t *c, uint32_t seed)
{
    attn_world_t w;
    uint32_t    *left, i, bad = 0;
    size_t       n;

    attn_new(&w, c, seed);
    ok(cu_attn_decode_fits(c->t, &w.arg) == 1, "%s: fits", c->name);

    attn_poison(&w);
    is_int(cu_attn_simple(c->t, &w.arg, w.step, NULL), 0, "%s: plain", c->name);
    is_int(cu_attn_merge(c->t, &w.arg, w.step, NULL), 0, "%s: merge", c->name);
    attn_check(&w, 1, 0, "plain");

    attn_poison(&w);
    is_int(cu_attn_decode(c->t, &w.arg, w.step, NULL), 0, "%s: fast", c->name);
    is_int(cu_attn_merge(c->t, &w.arg, w.step, NULL), 0, "%s: merge", c->name);
    attn_check(&w, 1, 1, "parts joined by a launch");

    /* Twice: tickets are left as they were. */
    w.arg.tickets = w.tickets;
    attn_poison(&w);
    is_int(cu_attn_decode(c->t, &w.arg, w.step, NULL), 0, "%s: fast", c->name);
    attn_check(&w, 1, 1, "parts joined by tickets");
    is_int(cu_attn_decode(c->t, &w.arg, w.step, NULL), 0, "%s: fast", c->name);
    attn_check(&w, 1, 1, "parts joined by tickets, again");

    n = (size_t) w.arg.max_work * c->n_head;
    left = malloc(n * sizeof(*left));
    dev_get(left, w.tickets, n * sizeof(*left));
    for (i = 0; i < n; i++) {
        bad += left[i] != 0;
    }
    is_int(bad, 0, "%s: tickets are zero again", c->name);

    free(left);
    attn_free(&w);
}


static void
test_plain(const attn_case_t *c, uint32_t seed)
{
    attn_world_t w;

    attn_new(&w, c, seed);
    is_int(cu_attn_decode_fits(c->t, &w.arg), 0, "%s: no fast decode", c->name);
    is_int(cu_attn_prefill_fits(c->t, &w.arg), 0, "%s: no fast prefill",
           c->name);
    is_int(cu_attn_decode(c->t, &w.arg, w.step, NULL), -EINVAL, "%s: refused",
           c->name);
    is_int(cu_attn_prefill(c->t, &w.arg, w.step, NULL), -EINVAL, "%s: refused",
           c->name);

    attn_poison(&w);
    is_int(cu_attn_simple(c->t, &w.arg, w.step, NULL), 0, "%s: plain", c->name);
    is_int(cu_attn_merge(c->t, &w.arg, w.step, NULL), 0, "%s: merge", c->name);
    attn_check(&w, 3, 0, "plain, both lists");

    attn_free(&w);
}


/* Shapes that nobody does. */
static void
test_refused(void)
{
    attn_world_t w;

    attn_new(&w, &cases[3], 1);

    w.arg.n_kv = 2;
    is_int(cu_attn_simple(H, &w.arg, w.step, NULL), -EINVAL,
           "3 query heads, 2 KV heads");
    w.arg.n_kv = 3;
    w.arg.head_dim = 1024;
    is_int(cu_attn_simple(H, &w.arg, w.step, NULL), -EINVAL, "head_dim 1024");
    w.arg.head_dim = 64;
    is_int(cu_attn_simple(B, &w.arg, w.step, NULL), -EINVAL,
           "BF16 over F16 pages");
    is_int(cu_attn_simple(CU_F32, &w.arg, w.step, NULL), -EINVAL, "F32");
    w.arg.q = (uint8_t *) w.arg.q + 2;
    is_int(cu_attn_decode_fits(H, &w.arg), 0, "unaligned Q: the plain kernel");

    attn_free(&w);
}


int
main(void)
{
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_decode(&cases[i], (uint32_t) i + 1);
    }
    for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        test_plain(&plain[i], (uint32_t) i + 101);
    }
    test_refused();

    return tap_done();
}
