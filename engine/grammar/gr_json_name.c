/*
 * The JSON machine: names of members.  Which declared one a name is; what the
 * undeclared ones fall into.  See gr_json_priv.h for who runs this.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_json_priv.h"

#define FEW_NAMES 8u /* are compared one by one */

static int regions_split(gj_t *gj, re_t keys, gj_region_t *list, uint32_t *n,
                         uint32_t *first);
static uint32_t name_hash(str_t name);
static int      name_table(gj_t *gj, gj_object_t *ob);


/* Splits names by the rules and those of somes; empty ones are left out. */
int
gj_regions(gj_t *gj, const gj_object_t *ob, re_t names, uint32_t somes,
           gj_region_t *list, uint32_t *n)
{
    const jt_object_t *o = ob->o;
    uint32_t           i, k, first;
    re_t               keys = RE_NONE;
    int                some;

    /* No name is of two rules (jt_raw_object_t); what is of none: any. */

    if (o->n_rules >= GJ_MAX_REGIONS) {
        gj->error = "too many patterns of property names overlap";
        return -E2BIG;
    }

    for (i = 0, *n = 0; i < o->n_rules; i++) {
        list[*n].names = re_and(gj->re, names, o->rules[i].keys);
        list[*n].type = o->rules[i].type;
        list[*n].somes = 0;
        keys = re_or(gj->re, keys, o->rules[i].keys);
        LLM_TRY(gj_some_string(gj, &list[*n].names));
        *n += list[*n].names != RE_NONE;
    }

    list[*n] =
        (gj_region_t){.names = re_minus(gj->re, names, keys), .type = JT_ANY};
    LLM_TRY(gj_some_string(gj, &list[*n].names));
    *n += list[*n].names != RE_NONE;

    for (i = 0; i < o->n_somes; i++) {
        if (somes >> i & 1) {
            LLM_TRY(regions_split(gj, o->somes[i].keys, list, n, &first));

            for (k = 0; k < first; k++) {
                list[k].somes |= 1u << i;
            }
        }
    }

    for (i = 0, k = 0; i < *n; i++) {
        some = gj_has_value(gj, list[i].type);

        if (some < 0) {
            return some;
        }

        if (some) {
            list[k++] = list[i];
        }
    }

    *n = k;

    return 0;
}


/* Each region becomes its part in keys (list[0] to list[first - 1]) and the
 * rest. */
static int
regions_split(gj_t *gj, re_t keys, gj_region_t *list, uint32_t *n,
              uint32_t *first)
{
    gj_region_t in[GJ_MAX_REGIONS], out[GJ_MAX_REGIONS];
    uint32_t    i, n_in = 0, n_out = 0;

    for (i = 0; i < *n; i++) {
        in[n_in] = out[n_out] = list[i];
        in[n_in].names = re_and(gj->re, list[i].names, keys);
        out[n_out].names = re_minus(gj->re, list[i].names, keys);
        LLM_TRY(gj_some_string(gj, &in[n_in].names));
        LLM_TRY(gj_some_string(gj, &out[n_out].names));
        n_in += in[n_in].names != RE_NONE;
        n_out += out[n_out].names != RE_NONE;

        if (n_in + n_out + 2 > GJ_MAX_REGIONS) {
            gj->error = "too many patterns of property names overlap";
            return -E2BIG;
        }
    }

    memcpy(list, in, n_in * sizeof(gj_region_t));
    memcpy(list + n_in, out, n_out * sizeof(gj_region_t));
    *first = n_in;
    *n = n_in + n_out;

    return 0;
}


re_t
gj_name_re(gj_t *gj, gj_object_t *ob, uint32_t i)
{
    const str_t *name = &ob->o->members[i].name;

    if (ob->names[i] == RE_NONE) {
        ob->names[i] = re_run(gj->re, name->s, name->len, RE_EMPTY);
    }

    return ob->names[i];
}


/* The member of that name, or GJ_OTHER. */
int
gj_name_find(gj_t *gj, gj_object_t *ob, str_t name, uint32_t *i)
{
    uint32_t at;

    if (ob->o->n_members <= FEW_NAMES) {
        for (*i = 0; *i < ob->o->n_members; (*i)++) {
            if (str_eq(ob->o->members[*i].name, name)) {
                return 0;
            }
        }

        *i = GJ_OTHER;
        return 0;
    }

    if (ob->slots == NULL) {
        LLM_TRY(name_table(gj, ob));
    }

    at = name_hash(name) & ob->mask;

    for (; ob->slots[at]; at = (at + 1) & ob->mask) {
        *i = ob->slots[at] - 1;

        if (str_eq(ob->o->members[*i].name, name)) {
            return 0;
        }
    }

    *i = GJ_OTHER;

    return 0;
}


static uint32_t
name_hash(str_t name)
{
    uint64_t h = 0xcbf29ce484222325u;
    size_t   i;

    for (i = 0; i < name.len; i++) {
        h = (h ^ (uint8_t) name.s[i]) * 0x100000001b3u;
    }

    return (uint32_t) (h >> 32 ^ h);
}


static int
name_table(gj_t *gj, gj_object_t *ob)
{
    uint32_t n = 16, i, at;

    while (n < ob->o->n_members * 2) {
        n *= 2;
    }

    ob->slots = arena_get(gj->arena, n * sizeof(uint32_t));

    if (ob->slots == NULL) {
        return -ENOMEM;
    }

    ob->mask = n - 1;

    for (i = 0; i < ob->o->n_members; i++) {
        at = name_hash(ob->o->members[i].name) & ob->mask;

        while (ob->slots[at]) {
            at = (at + 1) & ob->mask;
        }

        ob->slots[at] = i + 1;
    }

    return 0;
}
