/*
 * Types: which kinds of values a schema leaves, see jt_priv.h.  Cheap, and
 * never too few: what is not of a kind need not be walked for it.
 */

#include "engine/grammar/jt_priv.h"

static unsigned jt_mask_node(jt_t *jt, const jt_atom_t *atom);
static unsigned jt_mask_list(jt_t *jt, const jt_atom_t *atom,
                             const js_keyword_t *k);


unsigned
jt_mask(jt_t *jt, uint32_t a)
{
    jt_atom_t *atom = jt->atoms[a];

    if (atom->masked == 1) {
        return atom->mask;
    }

    if (atom->masked == 2 || jt->nesting > JT_NESTING) {
        return JT_K_ALL;
    }

    atom->masked = 2;
    jt->nesting++;

    switch (atom->kind) {
    case JT_ATOM_VALUE:
        atom->mask = (uint8_t) (1u << atom->value->type);
        break;

    case JT_ATOM_TYPE:
        atom->mask = (uint8_t) jt_mask_type(jt, atom->scope);
        break;

    default:
        atom->mask = (uint8_t) jt_mask_node(jt, atom);
    }

    jt->nesting--;
    atom->masked = 1;

    return atom->mask;
}


unsigned
jt_mask_type(jt_t *jt, jt_type_t type)
{
    const jt_def_t *def = jt->types[type];
    unsigned        mask = type == JT_NOTHING ? 0 : JT_K_ALL;
    uint32_t        i;

    for (i = 0; i < def->n; i++) {
        if ((def->lits[i] & 1) == 0) {
            mask &= jt_mask(jt, def->lits[i] >> 1);
        }
    }

    return mask;
}


static unsigned
jt_mask_list(jt_t *jt, const jt_atom_t *atom, const js_keyword_t *k)
{
    unsigned mask = 0;
    uint32_t i;

    for (i = 0; i < k->n; i++) {
        mask |= jt_mask(jt, jt_atom_node(jt, atom->scope, k->nodes[i]));
    }

    return mask;
}


static unsigned
jt_mask_node(jt_t *jt, const jt_atom_t *atom)
{
    const js_node_t    *node = atom->node;
    const js_keyword_t *k;
    unsigned            mask = JT_K_ALL, some;
    uint32_t            i, j, target;

    if (node->boolean) {
        return node->truth ? JT_K_ALL : 0;
    }

    for (i = 0; i < node->n && mask && jt->rc == 0; i++) {
        k = &node->keywords[i];

        switch (k->kw) {
        case JS_KW_REF:
        case JS_KW_RECURSIVE_REF:
        case JS_KW_DYNAMIC_REF:
            if (k->node && jt_target(jt, atom, k, &target) == 0) {
                mask &= jt_mask(jt, target);
            }

            break;

        case JS_KW_TYPE:
            some = (unsigned) k->count & JT_K_ALL;
            mask &= some | (k->count & JS_TYPE_INTEGER ? JT_K_NUMBER : 0);
            break;

        case JS_KW_CONST:
            mask &= 1u << k->value->type;
            break;

        case JS_KW_ENUM:
            for (some = 0, j = 0; j < k->value->n; j++) {
                some |= 1u << k->value->items[j].type;
            }

            mask &= some;
            break;

        case JS_KW_ALL_OF:
            for (j = 0; j < k->n; j++) {
                mask &= jt_mask(jt, jt_atom_node(jt, atom->scope, k->nodes[j]));
            }

            break;

        case JS_KW_ANY_OF:
        case JS_KW_ONE_OF:
            mask &= jt_mask_list(jt, atom, k);
            break;
        }
    }

    return mask;
}
