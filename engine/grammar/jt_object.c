/*
 * Types: objects, see jt_priv.h.  What a branch of the walk knows becomes a
 * shape: members by name; all other names cut into regions, in each of which
 * the same schemas count.
 */

#include <errno.h>
#include "engine/grammar/jt_priv.h"

/* Regions of names of one shape. */
#define OBJECT_REGIONS 256

typedef struct {
    str_t     name;
    jt_type_t type;
    uint8_t   required;
    uint8_t   forbidden;
    uint32_t  mark; /* of the scope that last declared it, + 1 */
} object_name_t;

typedef struct {
    re_t      keys;
    jt_type_t type;
    int       mark;
} object_part_t;

typedef struct {
    jt_t             *jt;
    arena_t          *tmp;
    const jt_cell_t **cells; /* in the order in which they came */
    uint32_t          n_cells;
    object_name_t    *names;
    uint32_t          n_names;
    uint32_t         *slots, n_slots; /* names by their hashes */
    object_part_t    *parts;
    uint32_t          n_parts;
    int               brief;
} object_t;

static int object_start(object_t *o, const jt_cell_t *cells);
static int object_names(object_t *o);
static int object_name(object_t *o, str_t name, uint32_t *index);
static int object_members(object_t *o);
static int object_scope(object_t *o, const jt_cell_t *cell, uint32_t mark);
static int object_unseen(object_t *o, const jt_cell_t *cell);
static int object_unseen_keys(object_t *o, const jt_cell_t *cell, re_t *keys,
                              int *all);
static int object_is_seen(const object_t *o, const jt_cell_t *cell, str_t name);
static int object_split(object_t *o, re_t keys, jt_type_t type, int mark);
static int object_parts(object_t *o);
static int object_said(const object_t *o);
static int object_out(object_t *o, jt_raw_object_t *out);
static void object_add(object_t *o, uint32_t i, jt_type_t type);
static re_t object_list(object_t *o, const js_value_t *names);


int
jt_object_make(jt_t *jt, arena_t *tmp, const jt_cell_t *cells, int brief,
               jt_raw_object_t *out)
{
    object_t o = {.jt = jt, .tmp = tmp, .brief = brief};
    int      rc;

    LLM_TRY(object_start(&o, cells));
    LLM_TRY(object_names(&o));
    rc = object_members(&o);

    if (rc == 1 && !brief) {
        rc = object_parts(&o);
    }

    if (rc == 1) {
        rc = object_out(&o, out);
    }

    return jt->rc ? jt->rc : rc;
}


/* The cells in order, and room for all names. */
static int
object_start(object_t *o, const jt_cell_t *cells)
{
    const jt_cell_t    *c;
    const js_keyword_t *k;
    uint32_t            i = 0, n = 1;

    for (c = cells; c; c = c->next) {
        o->n_cells++;
        n += 1 + (c->value ? c->value->n : 0);

        if (c->kind == JT_CELL_SCOPE) {
            k = js_node_get(o->jt->atoms[c->atom]->node, JS_KW_PROPERTIES);
            n += k ? k->n : 0;
        }
    }

    for (o->n_slots = 4; o->n_slots < 2 * n; o->n_slots *= 2) { /* void */
    }

    o->cells = arena_get(o->tmp, o->n_cells * sizeof(*o->cells) + 1);
    o->names = arena_get(o->tmp, n * sizeof(object_name_t));
    o->slots = arena_get(o->tmp, o->n_slots * sizeof(uint32_t));
    o->parts = arena_get(o->tmp, OBJECT_REGIONS * sizeof(object_part_t));

    if (o->cells == NULL || o->names == NULL || o->slots == NULL
        || o->parts == NULL) {
        return jt_fail(o->jt, -E2BIG, NULL, NULL,
                       "too many combinations of schemas");
    }

    for (c = cells; c; c = c->next) {
        o->cells[o->n_cells - ++i] = c;
    }

    return 0;
}


/* 1 and *index; the name is new if it is the last one. */
static int
object_name(object_t *o, str_t name, uint32_t *index)
{
    uint32_t h = 2166136261u, slot, i;

    for (i = 0; i < name.len; i++) {
        h = (h ^ (unsigned char) name.s[i]) * 16777619u;
    }

    h ^= h >> 15;

    for (slot = h & (o->n_slots - 1); o->slots[slot];
         slot = (slot + 1) & (o->n_slots - 1)) {
        if (str_eq(o->names[o->slots[slot] - 1].name, name)) {
            *index = o->slots[slot] - 1;
            return 1;
        }
    }

    *index = o->n_names++;
    o->slots[slot] = o->n_names;
    o->names[*index] = (object_name_t){.name = name, .type = JT_ANY};

    return 1;
}


/* First those that schemas declare, then what is only required. */
static int
object_names(object_t *o)
{
    const jt_cell_t    *c;
    const js_keyword_t *k;
    uint32_t            i, j, at;

    for (i = 0; i < o->n_cells; i++) {
        c = o->cells[i];

        if (c->kind != JT_CELL_SCOPE) {
            continue;
        }

        k = js_node_get(o->jt->atoms[c->atom]->node, JS_KW_PROPERTIES);

        for (j = 0; k && j < k->n; j++) {
            (void) object_name(
                o, (str_t){k->value->items[j].key, k->value->items[j].key_len},
                &at);
        }
    }

    for (i = 0; i < o->n_cells; i++) {
        c = o->cells[i];

        switch (c->kind) {
        case JT_CELL_REQUIRED:
            for (j = 0; c->value && j < c->value->n; j++) {
                (void) object_name(o, js_str(&c->value->items[j]), &at);
                o->names[at].required = 1;
            }

            if (c->value) {
                break;
            }

            (void) object_name(o, c->name, &at);
            o->names[at].required = 1;
            break;

        case JT_CELL_FORBIDDEN:
            (void) object_name(o, c->name, &at);
            o->names[at].forbidden = 1;
            break;

        case JT_CELL_MEMBER:
            (void) object_name(o, c->name, &at);
            o->names[at].required = 1;
            object_add(o, at, c->type);
            break;

        case JT_CELL_OPTION:
            (void) object_name(o, c->name, &at);
            object_add(o, at, c->type);
        }
    }

    return 0;
}


static void
object_add(object_t *o, uint32_t i, jt_type_t type)
{
    o->names[i].type = jt_and(o->jt, o->names[i].type, type);
}


/* What each member is of: 1; 0: a required one cannot be. */
static int
object_members(object_t *o)
{
    const jt_cell_t *c;
    object_name_t   *m;
    re_t             keys;
    uint32_t         i, j;

    for (i = 0; i < o->n_cells; i++) {
        c = o->cells[i];

        if (c->kind == JT_CELL_SCOPE) {
            LLM_TRY(object_scope(o, c, i + 1));

        } else if (c->kind == JT_CELL_UNSEEN && !c->negative) {
            LLM_TRY(object_unseen(o, c));

        } else if (c->kind == JT_CELL_NAMES) {
            LLM_TRY(jt_names(o->jt, c->atom, 0, &keys));

            for (j = 0; keys != RE_TEXT && j < o->n_names; j++) {
                m = &o->names[j];
                m->forbidden |=
                    !re_match(o->jt->re, keys, m->name.s, m->name.len);
            }

        } else if (c->kind == JT_CELL_CLOSED) {
            for (j = 0; j < o->n_names; j++) {
                m = &o->names[j];
                m->forbidden |=
                    js_member(c->value, m->name.s, m->name.len) == NULL;
            }
        }
    }

    for (i = 0; i < o->n_names; i++) {
        m = &o->names[i];

        if (m->forbidden) {
            m->type = JT_NOTHING;
        }

        if (m->required && m->type == JT_NOTHING) {
            return 0;
        }
    }

    return 1;
}


/* properties, patternProperties and additionalProperties of one node. */
static int
object_scope(object_t *o, const jt_cell_t *cell, uint32_t mark)
{
    jt_t               *jt = o->jt;
    jt_atom_t          *atom = jt->atoms[cell->atom];
    const js_keyword_t *k;
    re_t                keys;
    jt_type_t           type;
    uint32_t            i, j, at;

    k = js_node_get(atom->node, JS_KW_PROPERTIES);

    for (i = 0; k && i < k->n; i++) {
        (void) object_name(
            o, (str_t){k->value->items[i].key, k->value->items[i].key_len},
            &at);
        o->names[at].mark = mark;
        object_add(o, at, jt_child(jt, atom, k->nodes[i]));
    }

    k = js_node_get(atom->node, JS_KW_PATTERN_PROPERTIES);

    for (i = 0; k && i < k->n; i++) {
        LLM_TRY(jt_pattern(jt, atom, k, i, &keys));
        type = jt_child(jt, atom, k->nodes[i]);

        for (j = 0; j < o->n_names; j++) {
            if (re_match(jt->re, keys, o->names[j].name.s,
                         o->names[j].name.len)) {
                o->names[j].mark = mark;
                object_add(o, j, type);
            }
        }
    }

    k = js_node_get(atom->node, JS_KW_ADDITIONAL_PROPERTIES);

    if (k) {
        type = jt_child(jt, atom, k->node);

        for (j = 0; j < o->n_names; j++) {
            if (o->names[j].mark != mark) {
                object_add(o, j, type);
            }
        }
    }

    return jt->rc;
}


static int
object_unseen(object_t *o, const jt_cell_t *cell)
{
    const jt_atom_t *atom = o->jt->atoms[cell->atom];
    jt_type_t        type = jt_child(o->jt, atom, cell->k->node);
    uint32_t         i;
    int              seen;

    for (i = 0; i < o->n_names; i++) {
        seen = object_is_seen(o, cell, o->names[i].name);
        LLM_TRY(seen);

        if (!seen) {
            object_add(o, i, type);
        }
    }

    return o->jt->rc;
}


/* Does anything below the cell's unevaluatedProperties evaluate the name? */
static int
object_is_seen(const object_t *o, const jt_cell_t *cell, str_t name)
{
    const jt_cell_t    *c;
    jt_atom_t          *atom;
    const js_keyword_t *k;
    re_t                keys;
    uint32_t            i, j;

    for (i = 0; i < o->n_cells; i++) {
        c = o->cells[i];

        if (c == cell || !jt_ctx_in(c->ctx, cell->ctx)) {
            continue;
        }

        if (c->kind == JT_CELL_UNSEEN) {
            return 1;
        }

        if (c->kind != JT_CELL_SCOPE) {
            continue;
        }

        atom = o->jt->atoms[c->atom];

        if (js_node_get(atom->node, JS_KW_ADDITIONAL_PROPERTIES)) {
            return 1;
        }

        k = js_node_get(atom->node, JS_KW_PROPERTIES);

        if (k && js_member(k->value, name.s, name.len)) {
            return 1;
        }

        k = js_node_get(atom->node, JS_KW_PATTERN_PROPERTIES);

        for (j = 0; k && j < k->n; j++) {
            LLM_TRY(jt_pattern(o->jt, atom, k, j, &keys));

            if (re_match(o->jt->re, keys, name.s, name.len)) {
                return 1;
            }
        }
    }

    return 0;
}


static re_t
object_list(object_t *o, const js_value_t *names)
{
    re_t    *list = arena_get(o->tmp, names->n * sizeof(re_t) + 1);
    uint32_t i;

    if (list == NULL) {
        (void) jt_fail(o->jt, -E2BIG, NULL, NULL, "too many names");
        return RE_NONE;
    }

    for (i = 0; i < names->n; i++) {
        list[i] = re_run(o->jt->re, names->items[i].key,
                         names->items[i].key_len, RE_EMPTY);
    }

    return re_or_n(o->jt->re, list, names->n);
}


/* The names that nothing evaluates; *all: everything is evaluated. */
static int
object_unseen_keys(object_t *o, const jt_cell_t *cell, re_t *out, int *all)
{
    const jt_cell_t    *c;
    jt_atom_t          *atom;
    const js_keyword_t *k;
    re_t                keys;
    uint32_t            i, j;

    *out = RE_TEXT;
    *all = 0;

    for (i = 0; i < o->n_cells && !*all; i++) {
        c = o->cells[i];

        if (c == cell || !jt_ctx_in(c->ctx, cell->ctx)) {
            continue;
        }

        *all = c->kind == JT_CELL_UNSEEN;

        if (c->kind != JT_CELL_SCOPE) {
            continue;
        }

        atom = o->jt->atoms[c->atom];
        *all = js_node_get(atom->node, JS_KW_ADDITIONAL_PROPERTIES) != NULL;
        k = js_node_get(atom->node, JS_KW_PROPERTIES);

        if (k) {
            *out = re_minus(o->jt->re, *out, object_list(o, k->value));
        }

        k = js_node_get(atom->node, JS_KW_PATTERN_PROPERTIES);

        for (j = 0; k && j < k->n; j++) {
            LLM_TRY(jt_pattern(o->jt, atom, k, j, &keys));
            *out = re_minus(o->jt->re, *out, keys);
        }
    }

    return o->jt->rc;
}


/* Parts in and out of keys; mark >= 0: those in it get that mark. */
static int
object_split(object_t *o, re_t keys, jt_type_t type, int mark)
{
    re_set_t      *re = o->jt->re;
    object_part_t *p;
    re_t           in, out;
    uint32_t       i, n = o->n_parts;

    for (i = 0; i < n; i++) {
        p = &o->parts[i];
        in = p->keys == RE_TEXT ? keys : re_and(re, p->keys, keys);

        if (jt_re_void(o->jt, in)) {
            continue;
        }

        out = re_minus(re, p->keys, keys);

        if (!jt_re_void(o->jt, out)) {
            if (o->n_parts == OBJECT_REGIONS) {
                return jt_fail(o->jt, -E2BIG, NULL, NULL,
                               "too many patterns of names that overlap");
            }

            o->parts[o->n_parts] = *p;
            o->parts[o->n_parts++].keys = out;
        }

        p->keys = in;
        p->type = jt_and(o->jt, p->type, type);
        p->mark = mark;
    }

    return o->jt->rc;
}


/* What values of all other names are of. */
static int
object_parts(object_t *o)
{
    jt_t               *jt = o->jt;
    const jt_cell_t    *c;
    jt_atom_t          *atom;
    const js_keyword_t *k, *more;
    jt_type_t           type;
    re_t                keys = RE_TEXT, one;
    uint32_t            i, j;
    int                 all;

    for (i = 0; i < o->n_cells; i++) {
        c = o->cells[i];

        if (c->kind == JT_CELL_CLOSED) {
            return 1;
        }

        if (c->kind == JT_CELL_NAMES) {
            LLM_TRY(jt_names(jt, c->atom, 0, &one));
            keys = keys == RE_TEXT ? one : re_and(jt->re, keys, one);
        }
    }

    o->n_parts = 1;
    o->parts[0] = (object_part_t){keys, JT_ANY, 0};

    for (i = 0; i < o->n_cells; i++) {
        c = o->cells[i];

        if (c->kind == JT_CELL_UNSEEN && !c->negative) {
            type = jt_child(jt, jt->atoms[c->atom], c->k->node);
            LLM_TRY(object_unseen_keys(o, c, &keys, &all));

            if (!all) {
                LLM_TRY(object_split(o, keys, type, 0));
            }
        }

        if (c->kind != JT_CELL_SCOPE) {
            continue;
        }

        atom = jt->atoms[c->atom];
        k = js_node_get(atom->node, JS_KW_PATTERN_PROPERTIES);
        more = js_node_get(atom->node, JS_KW_ADDITIONAL_PROPERTIES);

        for (j = 0; k && j < k->n; j++) {
            LLM_TRY(jt_pattern(jt, atom, k, j, &one));
            type = jt_child(jt, atom, k->nodes[j]);
            LLM_TRY(object_split(o, one, type, (int) i + 1));
        }

        if (more == NULL) {
            continue;
        }

        type = jt_child(jt, atom, more->node);

        for (j = 0; j < o->n_parts; j++) {
            if (o->parts[j].mark != (int) i + 1) {
                o->parts[j].type = jt_and(jt, o->parts[j].type, type);
            }

            if (o->parts[j].type == JT_NOTHING) {
                o->parts[j--] = o->parts[--o->n_parts];
            }
        }
    }

    return 1;
}


/* Does any schema speak of members that are not named? */
static int
object_said(const object_t *o)
{
    const js_node_t *node;
    uint32_t         i;

    for (i = 0; i < o->n_cells; i++) {
        if (o->cells[i]->kind == JT_CELL_UNSEEN) {
            return 1;
        }

        if (o->cells[i]->kind != JT_CELL_SCOPE) {
            continue;
        }

        node = o->jt->atoms[o->cells[i]->atom]->node;

        if (js_node_get(node, JS_KW_ADDITIONAL_PROPERTIES)
            || js_node_get(node, JS_KW_PATTERN_PROPERTIES)) {
            return 1;
        }
    }

    return 0;
}


static int
object_out(object_t *o, jt_raw_object_t *out)
{
    jt_t            *jt = o->jt;
    const jt_cell_t *c;
    jt_member_t     *members;
    jt_region_t     *regions;
    jt_some_t       *somes;
    arena_t         *keep;
    re_t            *names, keys;
    uint32_t         i, n;
    int              all;

    *out = (jt_raw_object_t){.max = RE_INF,
                             .names = RE_NONE,
                             .said = object_said(o)};
    keep = o->brief ? o->tmp : jt->arena;
    members = arena_get(keep, o->n_names * sizeof(jt_member_t) + 1);
    regions = arena_get(keep, o->n_parts * sizeof(jt_region_t) + 1);
    somes = arena_get(keep, o->n_cells * sizeof(jt_some_t) + 1);
    names = arena_get(o->tmp, o->n_names * sizeof(re_t) + 1);

    if (members == NULL || regions == NULL || somes == NULL || names == NULL) {
        return jt_fail(jt, -E2BIG, NULL, NULL, "too many names");
    }

    for (i = 0, n = 0; i < o->n_names; i++) {
        members[i].name = o->names[i].name;
        members[i].type = o->names[i].type;
        members[i].required = o->names[i].required;
        n += o->names[i].required;
    }

    for (i = 0; i < o->n_parts; i++) {
        if (o->parts[i].type != JT_NOTHING) {
            regions[out->n_regions].keys = o->parts[i].keys;
            regions[out->n_regions++].type = o->parts[i].type;
        }
    }

    for (i = 0; out->n_regions && i < o->n_names; i++) {
        names[i] =
            re_run(jt->re, o->names[i].name.s, o->names[i].name.len, RE_EMPTY);
    }

    if (out->n_regions) {
        out->names = re_or_n(jt->re, names, o->n_names);
    }

    for (i = 0; i < o->n_cells; i++) {
        c = o->cells[i];

        if (c->kind == JT_CELL_COUNT) {
            out->min = c->min > out->min ? c->min : out->min;
            out->max = c->max < out->max ? c->max : out->max;

        } else if (c->kind == JT_CELL_SOME) {
            somes[out->n_somes++] = (jt_some_t){c->keys, c->type};

        } else if (c->kind == JT_CELL_UNSEEN && c->negative) {
            LLM_TRY(object_unseen_keys(o, c, &keys, &all));

            if (all) {
                return 0;
            }

            somes[out->n_somes++] = (jt_some_t){
                keys, jt_not(jt, jt_child(jt, jt->atoms[c->atom], c->k->node))};
        }
    }

    if (out->n_somes > 32) {
        return jt_fail(jt, -E2BIG, NULL, NULL,
                       "too many conditions on members of unknown names");
    }

    out->members = members;
    out->n_members = o->n_names;
    out->regions = regions;
    out->somes = somes;

    return n <= out->max && out->min <= out->max;
}


int
jt_cells_says(jt_t *jt, const jt_cell_t *cells, str_t name, jt_type_t *type)
{
    const jt_cell_t    *c;
    const jt_atom_t    *atom;
    const js_keyword_t *k;
    const js_value_t   *v;

    *type = JT_ANY;

    for (c = cells; c; c = c->next) {
        if ((c->kind == JT_CELL_MEMBER || c->kind == JT_CELL_OPTION)
            && str_eq(c->name, name)) {
            *type = jt_and(jt, *type, c->type);
        }

        if (c->kind != JT_CELL_SCOPE) {
            continue;
        }

        atom = jt->atoms[c->atom];
        k = js_node_get(atom->node, JS_KW_PROPERTIES);
        v = k ? js_member(k->value, name.s, name.len) : NULL;

        if (v) {
            *type = jt_and(jt, *type,
                           jt_child(jt, atom, k->nodes[v - k->value->items]));
            continue;
        }

        k = js_node_get(atom->node, JS_KW_ADDITIONAL_PROPERTIES);

        if (k && !js_node_get(atom->node, JS_KW_PATTERN_PROPERTIES)) {
            *type = jt_and(jt, *type, jt_child(jt, atom, k->node));
        }
    }

    return *type == JT_NOTHING ? -1 : jt_cells_name(cells, name);
}


int
jt_object_trim(jt_t *jt, const jt_raw_object_t *raw, jt_object_t *out)
{
    jt_object_so_far_t nothing = {.taken = RE_NONE};
    jt_member_t       *members;
    jt_rule_t         *rules;
    re_t              *keys, others;
    uint32_t           i, n = 0;
    int                rc;

    *out = (jt_object_t){.n_members = raw->n_members,
                         .somes = raw->somes,
                         .n_somes = raw->n_somes,
                         .min = raw->min,
                         .max = raw->max,
                         .said = raw->said};
    members = jt_get(jt, raw->n_members * sizeof(jt_member_t));
    rules = jt_get(jt, raw->n_regions * sizeof(jt_rule_t));
    keys = jt_get(jt, raw->n_regions * sizeof(re_t));

    if (members == NULL || rules == NULL || keys == NULL) {
        return jt->rc;
    }

    for (i = 0; i < raw->n_members; i++) {
        members[i] = raw->members[i];
        rc = jt_hollow(jt, members[i].type);
        LLM_TRY(rc);

        if (rc == 0) {
            continue;
        }

        if (members[i].required) {
            return 0;
        }

        members[i].type = JT_NOTHING;
    }

    for (i = 0; i < raw->n_regions; i++) {
        rc = jt_hollow(jt, raw->regions[i].type);
        LLM_TRY(rc);

        if (rc) {
            continue;
        }

        keys[n++] = raw->regions[i].keys;

        if (raw->regions[i].type != JT_ANY) {
            rules[out->n_rules].keys = raw->regions[i].keys;
            rules[out->n_rules++].type = raw->regions[i].type;
        }
    }

    others = n == 1 ? keys[0] : re_or_n(jt->re, keys, n);
    others = re_minus(jt->re, others, raw->names);
    rc = jt_re_none(jt, others);
    LLM_TRY(rc);
    out->members = members;
    out->rules = rules;
    out->others = rc ? RE_NONE : others;

    if (rc) {
        out->n_rules = 0;
    }

    return jt_object_feasible(jt, out, &nothing);
}


int
jt_other(jt_t *jt, const jt_object_t *shape, str_t name, jt_type_t *type)
{
    uint32_t i;

    *type = JT_ANY;

    for (i = 0; i < shape->n_rules; i++) {
        if (re_match(jt->re, shape->rules[i].keys, name.s, name.len)) {
            *type = jt_and(jt, *type, shape->rules[i].type);
        }
    }

    return jt->rc;
}
