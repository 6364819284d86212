/*
 * The JSON machine: shapes of objects, and how far an object has come.  See
 * gr_json_priv.h.
 *
 * A state knows what is there (declared order: up to where; else a bit for
 * each declared member), how many members if that matters, which of the
 * shape's conditions hold, and the names that are none of the declared ones.
 *
 * The holder of the program's lock runs this.  Shapes live in the arena; the
 * keys gj->now (being expanded) and gj->next (being made) are scratch.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_json_priv.h"

#define UNIVERSAL_SEARCH 200u

static int object_make(gj_t *gj, gj_object_t *ob);
static int walk_value(gj_t *gj, const gj_object_t *ob, jt_type_t type,
                      gj_walk_t each, void *data);
static int object_universal(gj_t *gj, gj_object_t *ob);
static int object_room(gj_t *gj, const gj_object_t *ob);
static int feasible_slow(gj_t *gj, gj_object_t *ob, const gj_key_object_t *k,
                         re_t more);


int
gj_object(gj_t *gj, jt_type_t type, uint32_t shape, gj_object_t **object)
{
    gj_object_t *ob;
    gj_type_t   *t;

    LLM_TRY(gj_type(gj, type, &t));

    if (t->objects[shape]) {
        *object = t->objects[shape];
        return 0;
    }

    ob = arena_get(gj->arena, sizeof(gj_object_t));
    if (ob == NULL) {
        return -ENOMEM;
    }

    ob->o = &t->form->objects[shape];
    ob->type = type;
    ob->shape = shape;

    LLM_TRY(object_make(gj, ob));
    LLM_TRY(object_room(gj, ob));
    *object = t->objects[shape] = ob;

    return 0;
}


static int
object_make(gj_t *gj, gj_object_t *ob)
{
    const jt_object_t *o = ob->o;
    uint32_t           n = o->n_members, i;
    uint32_t          *numbers;
    int                rc;

    if (o->n_somes > GJ_MAX_CONDITIONS) {
        gj->error = "too many conditions on an object's members";
        return -E2BIG;
    }

    ob->usable = arena_get(gj->arena, n + 1);
    ob->names = arena_get(gj->arena, (n + 1) * sizeof(re_t));
    numbers = arena_get(gj->arena, (n + 1) * 3 * sizeof(uint32_t));

    if (ob->usable == NULL || ob->names == NULL || numbers == NULL) {
        return -ENOMEM;
    }

    ob->due_bits = arena_get(gj->arena, (n + 64) / 64 * sizeof(uint64_t));
    ob->usable_bits = arena_get(gj->arena, (n + 64) / 64 * sizeof(uint64_t));

    if (ob->due_bits == NULL || ob->usable_bits == NULL) {
        return -ENOMEM;
    }

    ob->due = numbers;
    ob->n_due = numbers + n + 1;
    ob->n_left = numbers + 2 * (n + 1);
    ob->due[n] = n;

    for (i = n; i-- > 0;) {
        rc = gj_has_value(gj, o->members[i].type);

        if (rc < 0) {
            return rc;
        }

        ob->usable[i] = (uint8_t) rc;
        ob->usable_bits[i / 64] |= (uint64_t) rc << (i % 64);
        ob->due_bits[i / 64] |= (uint64_t) (o->members[i].required != 0)
                                << (i % 64);
        ob->due[i] = o->members[i].required ? i : ob->due[i + 1];
        ob->n_due[i] = ob->n_due[i + 1] + (o->members[i].required != 0);
        ob->n_left[i] = ob->n_left[i + 1] + ob->usable[i];
    }

    ob->others = o->others;

    if (gj->closed && !o->said && o->n_members && o->n_somes == 0
        && o->min <= ob->n_left[0]) {
        ob->others = RE_NONE;
    }

    LLM_TRY(gj_some_string(gj, &ob->others));
    LLM_TRY(object_universal(gj, ob));

    /* Bounds that everything keeps are none. */

    ob->min = o->min > ob->n_due[0] ? o->min : 0;
    ob->max = o->max;

    if (ob->others == RE_NONE && ob->max >= ob->n_left[0]) {
        ob->max = RE_INF;
    }

    ob->key_len = sizeof(gj_key_object_t);

    if (gj->free_order) {
        ob->key_len += (n + 63) / 64 * 8;
    }

    return 0;
}


/*
 * Where any name may come, the names that may come now are best told by those
 * that may not: the lexer then knows nothing but the few of them.
 */
static int
object_universal(gj_t *gj, gj_object_t *ob)
{
    uint32_t i;
    re_t     name;

    if (ob->others == RE_NONE) {
        return 0;
    }

    buf_reset(&gj->names);

    for (i = 0; i < ob->o->n_members; i++) {
        name = gj_name_re(gj, ob, i);
        buf_add(&gj->names, &name, sizeof(name));
    }

    if (gj->names.failed) {
        return -ENOMEM;
    }

    name = re_or_n(gj->re, (const re_t *) (void *) gj->names.data, i);
    ob->universal = re_minus(gj->re, RE_TEXT, name) == ob->others
                    || re_subset(gj->re, re_minus(gj->re, RE_TEXT, name),
                                 ob->others, UNIVERSAL_SEARCH)
                           == RE_YES;

    return 0;
}


/* Scratch for keys of this shape. */
static int
object_room(gj_t *gj, const gj_object_t *ob)
{
    uint8_t *now, *next, *list;
    size_t   n;

    if (ob->key_len > gj->cap_key) {
        n = ob->key_len * 2;
        now = realloc(gj->now, n);
        gj->now = now ? now : gj->now;
        next = realloc(gj->next, n);
        gj->next = next ? next : gj->next;

        if (now == NULL || next == NULL) {
            return -ENOMEM;
        }

        gj->cap_key = n;
    }

    if (ob->o->n_members > gj->cap_seen) {
        n = (size_t) ob->o->n_members * 2;
        list = realloc(gj->seen, n);

        if (list == NULL) {
            return -ENOMEM;
        }

        gj->seen = list;
        gj->cap_seen = n;
    }

    return 0;
}


int
gj_object_walk(gj_t *gj, gj_object_t *ob, gj_walk_t each, void *data)
{
    const jt_object_t *o = ob->o;
    uint32_t           i;

    for (i = 0; i < o->n_members; i++) {
        if (ob->usable[i]) {
            LLM_TRY(walk_value(gj, ob, o->members[i].type, each, data));
        }
    }

    if (ob->others == RE_NONE) {
        return 0;
    }

    for (i = 0; i < o->n_rules; i++) {
        LLM_TRY(walk_value(gj, ob, o->rules[i].type, each, data));
    }

    return walk_value(gj, ob, JT_ANY, each, data);
}


/* A value's type, and with it all that conditions may ask of it. */
static int
walk_value(gj_t *gj, const gj_object_t *ob, jt_type_t type, gj_walk_t each,
           void *data)
{
    uint32_t  m, all = (1u << ob->o->n_somes) - 1;
    jt_type_t both;

    for (m = 0; m <= all; m++) {
        LLM_TRY(gj_with_somes(gj, ob, type, m, &both));

        if (both != JT_NOTHING) {
            LLM_TRY(each(gj, both, data));
        }
    }

    return 0;
}


/*
 * STATES
 */

/* The shape of a key, and a copy of the key that can be worked with. */
int
gj_object_key(gj_t *gj, const void *key, size_t len, uint32_t shape,
              gj_object_t **ob, gj_key_object_t **k)
{
    gj_key_object_t head = {.kind = GJ_OBJECT};

    if (shape == UINT32_MAX) {
        memcpy(&head, key, sizeof(head));

    } else {
        memcpy(&head.type,
               (const uint8_t *) key + offsetof(gj_key_part_t, type),
               sizeof(head.type));
        head.shape = shape;
    }

    LLM_TRY(gj_object(gj, head.type, head.shape, ob));

    *k = (gj_key_object_t *) gj->now;

    if (shape == UINT32_MAX) {
        memcpy(gj->now, key, len);
        return 0;
    }

    memset(gj->now, 0, (*ob)->key_len);
    memcpy(gj->now, &head, sizeof(head));

    return 0;
}


int
gj_object_seen(const gj_t *gj, const gj_key_object_t *k, uint32_t i)
{
    return gj->free_order ? k->seen[i / 8] >> (i % 8) & 1 : i < k->pos;
}


/* Members that are due, and all that may still come, the due ones with them.
 */
void
gj_object_left(const gj_t *gj, const gj_object_t *ob, const gj_key_object_t *k,
               uint32_t *due, uint32_t *some)
{
    uint64_t word;
    uint32_t i;

    if (!gj->free_order) {
        *due = ob->n_due[k->pos];
        *some = ob->n_left[k->pos];
        return;
    }

    *due = *some = 0;

    for (i = 0; i < (ob->o->n_members + 63) / 64; i++) {
        memcpy(&word, k->seen + i * 8, sizeof(word));
        *due += (uint32_t) __builtin_popcountll(ob->due_bits[i] & ~word);
        *some += (uint32_t) __builtin_popcountll(ob->usable_bits[i] & ~word);
    }
}


/* The state after member i (or another one: set is then the names taken). */
gj_key_object_t *
gj_object_after(gj_t *gj, const gj_object_t *ob, const gj_key_object_t *k,
                uint32_t i, uint32_t set, uint32_t met)
{
    gj_key_object_t *next = (gj_key_object_t *) gj->next;

    memcpy(next, k, ob->key_len);
    next->kind = GJ_OBJECT;
    next->met |= met;

    if (ob->max != RE_INF || next->count < ob->min) {
        next->count++;
    }

    if (i == GJ_OTHER) {
        next->taken = set;
        next->pos = gj->free_order ? 0 : ob->o->n_members;

    } else if (gj->free_order) {
        next->seen[i / 8] |= (uint8_t) (1u << (i % 8));

    } else {
        next->pos = i + 1;
    }

    return next;
}


/*
 * Can an object with this key, and with more among its names taken, be
 * finished?  Counting is enough where no condition waits and names do not
 * run out.
 */
int
gj_object_feasible(gj_t *gj, gj_object_t *ob, const gj_key_object_t *k,
                   re_t more)
{
    uint32_t due, some;

    if (ob->o->n_somes) {
        return feasible_slow(gj, ob, k, more);
    }

    if (ob->min == 0 && ob->max == RE_INF) {
        return 1;
    }

    gj_object_left(gj, ob, k, &due, &some);

    if (ob->max != RE_INF && (uint64_t) k->count + due > ob->max) {
        return 0;
    }

    if ((uint64_t) k->count + some >= ob->min || ob->universal) {
        return 1;
    }

    return ob->others == RE_NONE ? 0 : feasible_slow(gj, ob, k, more);
}


static int
feasible_slow(gj_t *gj, gj_object_t *ob, const gj_key_object_t *k, re_t more)
{
    jt_object_so_far_t so_far = {.seen = gj->seen};
    uint32_t           i;

    /* What is over in the declared order is as good as seen. */

    for (i = 0; i < ob->o->n_members; i++) {
        gj->seen[i] = (uint8_t) (gj_object_seen(gj, k, i) || !ob->usable[i]);
    }

    so_far.count = k->count;
    so_far.met = k->met;
    so_far.taken = re_or(gj->re, gj->sets[k->taken].all.strings, more);

    return jt_object_feasible(gj->jt, ob->o, &so_far);
}


/* The type and those of somes; JT_NOTHING where that has no value. */
int
gj_with_somes(gj_t *gj, const gj_object_t *ob, jt_type_t type, uint32_t somes,
              jt_type_t *both)
{
    uint32_t s;
    int      some;

    *both = type;

    for (s = 0; s < ob->o->n_somes; s++) {
        if (somes >> s & 1) {
            *both = jt_and(gj->jt, *both, ob->o->somes[s].type);
        }
    }

    if (somes) {
        some = gj_has_value(gj, *both);

        if (some < 0) {
            return some;
        }

        *both = some ? *both : JT_NOTHING;
    }

    return 0;
}
