/*
 * Static rules as a front end makes them: a tree (in truth a graph, as nodes
 * may be used again) that gr_finish() folds.  Nothing is worked out here.
 */

#include <errno.h>
#include "engine/grammar/gr_priv.h"

static gr_node_t many(gr_t *gr, unsigned kind, const gr_node_t *list, size_t n);


gr_node_t
gr_node_add(gr_t *gr, const gr_nd_t *node)
{
    if (gr_grow(gr, &gr->nodes, &gr->cap_nodes, (uint64_t) gr->n_nodes + 1,
                sizeof(gr_nd_t))
        < 0) {
        return GR_NONE;
    }

    gr->nodes[gr->n_nodes] = *node;

    return gr->n_nodes++;
}


uint32_t
gr_list_add(gr_t *gr, const uint32_t *list, uint32_t n)
{
    if (gr_grow(gr, &gr->lists, &gr->cap_lists, (uint64_t) gr->n_lists + n,
                sizeof(uint32_t))
        < 0) {
        return 0;
    }

    if (n) {
        memcpy(gr->lists + gr->n_lists, list, n * sizeof(uint32_t));
    }

    gr->n_lists += n;

    return gr->n_lists - n;
}


gr_node_t
gr_text(gr_t *gr, re_t re)
{
    return gr_text_marked(gr, re, 0);
}


gr_node_t
gr_text_marked(gr_t *gr, re_t re, unsigned marks)
{
    if (gr->quoting) {
        re = re_quoted(gr->re, re);
    }

    if (re == RE_NONE) {
        return GR_NONE;
    }

    if (re == RE_EMPTY) {
        return GR_EMPTY;
    }

    return gr_node_add(
        gr, &(gr_nd_t){.kind = GR_N_TEXT, .a = re, .marks = (uint16_t) marks});
}


void
gr_quoting(gr_t *gr, int on)
{
    gr->quoting = on;
}


gr_node_t
gr_literal(gr_t *gr, const char *s, size_t len)
{
    return gr_text(gr, re_run(gr->re, s, len, RE_EMPTY));
}


gr_node_t
gr_special(gr_t *gr, const char *name, size_t len)
{
    return gr_text(gr, re_run(gr->re, "\xff", 1,
                              re_run(gr->re, name, len, RE_EMPTY)));
}


gr_node_t
gr_seq(gr_t *gr, const gr_node_t *list, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (list[i] == GR_NONE) {
            return GR_NONE;
        }
    }

    return n == 0 ? GR_EMPTY : many(gr, GR_N_SEQ, list, n);
}


gr_node_t
gr_alt(gr_t *gr, const gr_node_t *list, size_t n)
{
    return n == 0 ? GR_NONE : many(gr, GR_N_ALT, list, n);
}


static gr_node_t
many(gr_t *gr, unsigned kind, const gr_node_t *list, size_t n)
{
    gr_nd_t node = {.kind = (uint8_t) kind};

    if (n == 1) {
        return list[0];
    }

    if (n > UINT32_MAX / 2) {
        gr_fail(gr, -E2BIG, "the grammar takes too much memory");
        return GR_NONE;
    }

    node.n = (uint32_t) n;
    node.a = gr_list_add(gr, list, node.n);

    return gr->rc ? GR_NONE : gr_node_add(gr, &node);
}


gr_node_t
gr_repeat(gr_t *gr, gr_node_t node, uint32_t min, uint32_t max)
{
    if (max == 0 || node == GR_EMPTY) {
        return GR_EMPTY;
    }

    if (max < min) {
        return GR_NONE;
    }

    if (node == GR_NONE) {
        return min == 0 ? GR_EMPTY : GR_NONE;
    }

    if (min == 1 && max == 1) {
        return node;
    }

    return gr_node_add(
        gr, &(gr_nd_t){.kind = GR_N_REPEAT, .a = node, .min = min, .max = max});
}


uint32_t
gr_rule_new(gr_t *gr)
{
    if (gr_grow(gr, &gr->rules, &gr->cap_rules, (uint64_t) gr->n_rules + 1,
                sizeof(gr_ru_t))
        < 0) {
        return 0;
    }

    gr->rules[gr->n_rules] = (gr_ru_t){GR_NO_NODE, GR_NO_NODE};

    return gr->n_rules++;
}


void
gr_rule_set(gr_t *gr, uint32_t rule, gr_node_t node)
{
    if (gr->rc == 0) {
        gr->rules[rule].node = node;
    }
}


gr_node_t
gr_rule(gr_t *gr, uint32_t rule)
{
    return gr_node_add(gr, &(gr_nd_t){.kind = GR_N_RULE, .a = rule});
}


gr_node_t
gr_machine_node(gr_t *gr, gr_state_t start)
{
    if (gr->quoting) {
        gr_fail(gr, -ENOTSUP, "JSON within a JSON string");
        return GR_NONE;
    }

    return gr_node_add(gr, &(gr_nd_t){.kind = GR_N_MACHINE, .a = start});
}
