/*
 * The JSON machine: which members may come next in an object, and what
 * follows from the one that came.  A member is offered only if the object can
 * be finished after it.
 *
 * The holder of the program's lock runs this; keys are scratch of gj_t.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_json_priv.h"

static int expand(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, int open,
                  gr_edges_t *out);
static int can_close(const gj_t *gj, const gj_object_t *ob,
                     const gj_key_object_t *k);
static int offer(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, int *others);
static int may_come(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, uint32_t i,
                    uint32_t due, uint32_t some);
static int names_edges(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, int open,
                       re_t others, gr_edges_t *out);
static int names_of(gj_t *gj, gj_object_t *ob, const gj_key_object_t *k,
                    re_t others, re_t *names);
static uint32_t name_lexeme(gj_t *gj, re_t names, int open);
static int ways_of(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, uint32_t i,
                   uint32_t set, str_t name, jt_type_t type, gj_way_t *ways,
                   uint32_t *n);
static int others_left(gj_t *gj, gj_object_t *ob, gj_key_object_t *k,
                       re_t *others);
static int others_region(gj_t *gj, gj_object_t *ob, gj_key_object_t *k,
                         const gj_region_t *region, int *may);


int
gj_object_open(gj_t *gj, jt_type_t type, uint32_t shape, gr_edges_t *out)
{
    gj_key_part_t    key = {GJ_PART, type};
    gj_key_object_t *k;
    gj_object_t     *ob;

    LLM_TRY(gj_object_key(gj, &key, sizeof(key), shape, &ob, &k));

    return expand(gj, ob, k, 1, out);
}


int
gj_object_expand(gj_t *gj, const void *key, size_t len, gr_edges_t *out)
{
    gj_key_object_t *k;
    gj_object_t     *ob;

    LLM_TRY(gj_object_key(gj, key, len, UINT32_MAX, &ob, &k));

    return expand(gj, ob, k, 0, out);
}


static int
expand(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, int open, gr_edges_t *out)
{
    re_t others = RE_NONE;
    int  may;

    if (can_close(gj, ob, k)) {
        gr_edge_lexeme(out, open ? gj->empty_object : gj->close_object,
                       gj->end);
    }

    buf_reset(&gj->order);
    LLM_TRY(offer(gj, ob, k, &may));

    if (may) {
        LLM_TRY(others_left(gj, ob, k, &others));
    }

    return names_edges(gj, ob, k, open, others, out);
}


static int
can_close(const gj_t *gj, const gj_object_t *ob, const gj_key_object_t *k)
{
    uint32_t due, some;

    gj_object_left(gj, ob, k, &due, &some);

    return due == 0 && k->count >= ob->min
           && k->met == (1u << ob->o->n_somes) - 1;
}


/* Puts the members that may come into gj->order; others: may they? */
static int
offer(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, int *others)
{
    uint32_t i, last = ob->o->n_members - 1, due, some;
    int      may;

    *others = ob->others != RE_NONE;

    if (ob->o->n_members == 0) {
        return 0;
    }

    if (!gj->free_order && ob->due[k->pos] < ob->o->n_members) {
        last = ob->due[k->pos];
        *others = 0;
    }

    gj_object_left(gj, ob, k, &due, &some);

    for (i = k->pos; i <= last; i++) {
        if (ob->usable[i] && !gj_object_seen(gj, k, i)) {
            may = may_come(gj, ob, k, i, due, some);

            if (may < 0) {
                return may;
            }

            if (may) {
                buf_add(&gj->order, &i, sizeof(i));
            }
        }
    }

    return gj->order.failed ? -ENOMEM : 0;
}


static int
may_come(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, uint32_t i,
         uint32_t due, uint32_t some)
{
    const jt_member_t *m = &ob->o->members[i];
    gj_way_t           ways[1u << GJ_MAX_CONDITIONS];
    uint64_t           count = (uint64_t) k->count + 1;
    uint32_t           n;

    if (ob->o->n_somes) {
        LLM_TRY(ways_of(gj, ob, k, i, 0, m->name, m->type, ways, &n));
        return n != 0;
    }

    /* As gj_object_feasible() would count, but at once. */

    due = gj->free_order ? due - (m->required != 0) : ob->n_due[i + 1];
    some = gj->free_order ? some - 1 : ob->n_left[i + 1];

    if (ob->max != RE_INF && count + due > ob->max) {
        return 0;
    }

    if (count + some >= ob->min || ob->universal) {
        return 1;
    }

    return gj_object_feasible(gj, ob, gj_object_after(gj, ob, k, i, 0, 0),
                              RE_NONE);
}


static int
names_edges(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, int open,
            re_t others, gr_edges_t *out)
{
    const jt_member_t *m;
    const uint32_t    *order = (const uint32_t *) (void *) gj->order.data;
    gj_way_t           ways[1u << GJ_MAX_CONDITIONS];
    uint32_t           n = (uint32_t) (gj->order.len / sizeof(uint32_t)), i;
    uint32_t           n_ways;
    re_t               name;

    if (n == 0 && others == RE_NONE) {
        return 0;
    }

    if (others == RE_NONE && n <= GJ_STATIC_NAMES) {
        for (i = 0; i < n; i++) {
            m = &ob->o->members[order[i]];
            LLM_TRY(ways_of(gj, ob, k, order[i], 0, m->name, m->type, ways,
                            &n_ways));
            name = gj_spell(gj, gj_name_re(gj, ob, order[i]));
            gr_edge_lexeme(out, name_lexeme(gj, name, open),
                           gj_choice(gj, ways, n_ways));
        }

        return 0;
    }

    LLM_TRY(names_of(gj, ob, k, others, &name));
    gr_edge_capture(out, name_lexeme(gj, name, open),
                    open ? ob->shape : UINT32_MAX);

    return 0;
}


/* How the members in gj->order and others are spelt. */
static int
names_of(gj_t *gj, gj_object_t *ob, const gj_key_object_t *k, re_t others,
         re_t *names)
{
    const uint32_t *order = (const uint32_t *) (void *) gj->order.data;
    uint32_t        n = (uint32_t) (gj->order.len / sizeof(uint32_t)), i, at;
    int             whole = ob->universal && others == ob->others, in;
    re_t            name;

    buf_reset(&gj->names);

    if (whole) {
        name = gj->sets[k->taken].all.strings;
        buf_add(&gj->names, &name, sizeof(name));
    }

    for (i = 0, at = 0; i < ob->o->n_members; i++) {
        in = at < n && order[at] == i;
        at += in;

        if (in != whole) {
            name = gj_name_re(gj, ob, i);
            buf_add(&gj->names, &name, sizeof(name));
        }
    }

    if (gj->names.failed) {
        return -ENOMEM;
    }

    *names = re_or_n(gj->re, (const re_t *) (void *) gj->names.data,
                     gj->names.len / sizeof(re_t));

    if (whole) {
        *names = re_quoted(gj->re, re_minus(gj->re, RE_TEXT, *names));
        return 0;
    }

    name = re_quoted(gj->re, others);
    *names = re_or(gj->re, gj_spell(gj, *names), name);

    return 0;
}


static uint32_t
name_lexeme(gj_t *gj, re_t names, int open)
{
    re_t re = re_concat(gj->re, names, gj->after_name);

    re = re_concat(gj->re, open ? gj->open_name : gj->next_name, re);

    return gr_lexeme(gj->gr, re, 0);
}


int
gj_object_capture(gj_t *gj, const void *key, size_t len, uint32_t shape,
                  const uint8_t *text, size_t n, gr_state_t *to)
{
    gj_key_object_t *k;
    gj_object_t     *ob;
    gj_scalars_t     one = {0};
    jt_type_t        type;
    gj_way_t         ways[1u << GJ_MAX_CONDITIONS];
    uint32_t         i, set, n_ways;
    str_t            name;

    LLM_TRY(gj_decode(gj, text, n));
    LLM_TRY(gj_object_key(gj, key, len, shape, &ob, &k));

    name = (str_t){gj->text.data, gj->text.len};
    set = 0;
    LLM_TRY(gj_name_find(gj, ob, name, &i));

    if (i != GJ_OTHER) {
        type = ob->o->members[i].type;

    } else {
        one.strings = re_run(gj->re, name.s, name.len, RE_EMPTY);
        LLM_TRY(gj_set_add(gj, k->taken, one, &set));
        LLM_TRY(jt_other(gj->jt, ob->o, name, &type));
    }

    LLM_TRY(ways_of(gj, ob, k, i, set, name, type, ways, &n_ways));

    if (n_ways == 0) {
        return -EINVAL;
    }

    *to = gj_choice(gj, ways, n_ways);

    return 0;
}


/*
 * CONDITIONS.  A value may meet any of those that wait for its name, or
 * none: each way that leads to an end is one.
 */

static int
ways_of(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, uint32_t i, uint32_t set,
        str_t name, jt_type_t type, gj_way_t *ways, uint32_t *n)
{
    gj_key_object_t *next;
    const jt_some_t *somes = ob->o->somes;
    jt_type_t        both;
    uint32_t         s, m, open = 0;
    int              may;

    *n = 0;

    for (s = 0; s < ob->o->n_somes; s++) {
        if (!(k->met >> s & 1)
            && re_match(gj->re, somes[s].keys, name.s, name.len)) {
            open |= 1u << s;
        }
    }

    for (m = open;; m = (m - 1) & open) {
        LLM_TRY(gj_with_somes(gj, ob, type, m, &both));
        next = gj_object_after(gj, ob, k, i, set, m);
        may = both != JT_NOTHING;

        if (may && ob->o->n_somes) {
            may = gj_object_feasible(gj, ob, next, RE_NONE);
        }

        if (may < 0) {
            return may;
        }

        if (may) {
            ways[*n].type = both;
            ways[(*n)++].to = gr_state(gj->gr, gj->machine, next, ob->key_len);
        }

        if (m == 0) {
            return 0;
        }
    }
}


/* Those that may come now; ob->others where they are known to be endless. */
static int
others_left(gj_t *gj, gj_object_t *ob, gj_key_object_t *k, re_t *others)
{
    gj_region_t list[GJ_MAX_REGIONS], all = {.type = JT_ANY};
    uint32_t    i, n, open;
    int         may;

    if (ob->universal && ob->o->n_somes == 0) {
        may = gj_object_feasible(
            gj, ob, gj_object_after(gj, ob, k, GJ_OTHER, k->taken, 0), RE_NONE);
        *others = may ? ob->others : RE_NONE;
        return may < 0 ? may : 0;
    }

    all.names = re_minus(gj->re, ob->others, gj->sets[k->taken].all.strings);
    LLM_TRY(gj_some_string(gj, &all.names));
    *others = RE_NONE;

    if (all.names == RE_NONE) {
        return 0;
    }

    open = ((1u << ob->o->n_somes) - 1) & ~k->met;

    if (open == 0) {
        LLM_TRY(others_region(gj, ob, k, &all, &may));
        *others = may ? all.names : RE_NONE;
        return 0;
    }

    LLM_TRY(gj_regions(gj, ob, all.names, open, list, &n));

    for (i = 0; i < n; i++) {
        LLM_TRY(others_region(gj, ob, k, &list[i], &may));

        if (may) {
            *others = re_or(gj->re, *others, list[i].names);
        }
    }

    return 0;
}


/* May a name of the region come?  One is as good as the other. */
static int
others_region(gj_t *gj, gj_object_t *ob, gj_key_object_t *k,
              const gj_region_t *region, int *may)
{
    gj_key_object_t *next;
    jt_type_t        type;
    uint32_t         m;
    re_t             more = RE_NONE;

    if (ob->min || ob->o->n_somes) {
        buf_reset(&gj->text);

        if (re_example(gj->re, region->names, 0, &gj->text) != RE_NO
            || gj->text.failed) {
            return gj->text.failed ? -ENOMEM : -E2BIG;
        }

        more = re_run(gj->re, gj->text.data, gj->text.len, RE_EMPTY);
    }

    for (m = region->somes;; m = (m - 1) & region->somes) {
        LLM_TRY(gj_with_somes(gj, ob, region->type, m, &type));

        if (type != JT_NOTHING) {
            next = gj_object_after(gj, ob, k, GJ_OTHER, k->taken, m);
            *may = gj_object_feasible(gj, ob, next, more);

            if (*may) {
                return *may < 0 ? *may : 0;
            }
        }

        if (m == 0) {
            *may = 0;
            return 0;
        }
    }
}
