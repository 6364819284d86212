/*
 * Types: can an array or object that has begun still be finished?  See
 * js_type.h.  Most shapes need no search; what is left is small, and work on
 * it bounded.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/jt_priv.h"

/* Steps of one search; vectors of counts of contains; values of an enum. */
#define FEASIBLE_STEPS  20000
#define FEASIBLE_STATES 65536
#define FEASIBLE_VALUES 4096

/* Items that have to be there and unique. */
#define UNIQUE_ITEMS 1000000

/* Who holds one or more of an object's somes. */
typedef struct {
    int       member; /* or -1: another name */
    re_t      keys;
    jt_type_t type;
    int       plenty; /* there is a name left whatever others take */
} carrier_t;

typedef struct {
    jt_t              *jt;
    const jt_object_t *shape;
    const uint8_t     *seen;
    re_t               free; /* names that other members may still have */
    uint32_t           unmet;
    carrier_t          carriers[32];
    uint32_t           n_carriers;
    uint32_t           extra; /* members beyond those required */
    uint32_t           best;
    uint32_t           steps;
} somes_t;

typedef struct {
    jt_t                    *jt;
    const jt_array_t        *shape;
    const jt_array_so_far_t *so_far;
    uint32_t                 caps[8], sizes[8], n_states;
} contains_t;

typedef struct {
    const char *s;
    uint32_t    n;
    int         kind;  /* 'n' of a number, 's' of a string, else a literal */
    int         owner; /* position that has it, or -1 */
    int         tried;
} pool_value_t;

typedef struct {
    jt_t         *jt;
    arena_t       arena;
    pool_value_t *values;
    uint32_t      n_values;
    uint32_t    **edges; /* of each position: values, UINT32_MAX ends */
    uint32_t     *list;  /* of the position at hand */
    uint32_t      n_list;
    int           kind;
} pool_t;

static int somes_search(somes_t *s);
static int somes_try(somes_t *s, uint32_t some);
static int somes_push(somes_t *s, uint32_t some, int member, re_t keys,
                      jt_type_t type, uint32_t cost);
static int somes_distinct(somes_t *s);
static int contains_search(jt_t *jt, const jt_array_t *shape,
                           const jt_array_so_far_t *so_far);
static int contains_step(contains_t *c, uint32_t at, const uint8_t *from,
                         uint8_t *to);
static int contains_ways(contains_t *c, uint32_t at, uint8_t *ways);
static int unique_search(jt_t *jt, const jt_array_t *shape,
                         const jt_array_so_far_t *so_far);
static int unique_room(jt_t *jt, jt_type_t type,
                       const jt_array_so_far_t *so_far, uint32_t cap,
                       uint32_t *room);
static int unique_contains(jt_t *jt, const jt_array_t *shape,
                           const jt_array_so_far_t *so_far);
static int unique_two(jt_t *jt, const jt_array_t *shape,
                      const jt_array_so_far_t *so_far);
static int pool_match(jt_t *jt, const jt_array_t *shape,
                      const jt_array_so_far_t *so_far, uint32_t from,
                      uint32_t to);
static int pool_fill(pool_t *p, jt_type_t type,
                     const jt_array_so_far_t *so_far);
static int pool_word(void *data, const uint8_t *s, size_t n);
static int pool_place(pool_t *p, uint32_t position);


int
jt_object_feasible(jt_t *jt, const jt_object_t *shape,
                   const jt_object_so_far_t *so_far)
{
    somes_t  s = {.jt = jt, .shape = shape, .best = UINT32_MAX};
    uint64_t least = so_far->count, most;
    uint32_t i, n;
    int      seen;

    s.unmet = shape->n_somes == 32 ? UINT32_MAX : (1u << shape->n_somes) - 1;
    s.unmet &= ~so_far->met;
    s.seen = so_far->seen;
    most = least;

    for (i = 0; i < shape->n_members; i++) {
        seen = s.seen && s.seen[i];

        if (!seen && shape->members[i].type != JT_NOTHING) {
            least += shape->members[i].required != 0;
            most++;
        }
    }

    if (least > shape->max) {
        return 0;
    }

    if (s.unmet == 0 && most >= shape->min) {
        return 1;
    }

    s.free = shape->others;

    if (s.free != RE_NONE && so_far->taken != RE_NONE) {
        s.free = re_minus(jt->re, s.free, so_far->taken);
    }

    if (most < shape->min) {
        n = shape->min - (uint32_t) most;
        LLM_TRY(jt_re_count(jt, s.free, n, &i));

        if (i < n) {
            return 0;
        }
    }

    if (s.unmet) {
        LLM_TRY(somes_search(&s));

        if (s.best == UINT32_MAX || least + s.best > shape->max) {
            return 0;
        }
    }

    return 1;
}


/* The fewest members beyond the required ones that meet what is unmet. */
static int
somes_search(somes_t *s)
{
    uint32_t i;

    if (++s->steps > FEASIBLE_STEPS) {
        return jt_fail(s->jt, -E2BIG, NULL, NULL,
                       "too many conditions on members of unknown names");
    }

    if (s->extra >= s->best) {
        return 0;
    }

    for (i = 0; i < 32 && (s->unmet >> i & 1) == 0; i++) { /* void */
    }

    if (i == 32) {
        if (somes_distinct(s) == 1) {
            s->best = s->extra;
        }

        return s->jt->rc;
    }

    s->unmet &= ~(1u << i);
    (void) somes_try(s, i);
    s->unmet |= 1u << i;

    return s->jt->rc;
}


static int
somes_try(somes_t *s, uint32_t some)
{
    jt_t              *jt = s->jt;
    const jt_object_t *shape = s->shape;
    const jt_some_t   *x = &shape->somes[some];
    carrier_t          old;
    re_t               keys, rest;
    uint32_t           i, j;
    int                rc;

    /* By who is there already. */

    for (i = 0; i < s->n_carriers; i++) {
        old = s->carriers[i];
        keys = old.keys;

        if (old.member < 0) {
            keys = re_and(jt->re, keys, x->keys);
            rc = jt_re_none(jt, keys);

        } else {
            rc = !re_match(jt->re, x->keys, shape->members[old.member].name.s,
                           shape->members[old.member].name.len);
        }

        if (rc != 0) {
            LLM_TRY(rc);
            continue;
        }

        s->carriers[i].keys = keys;
        s->carriers[i].type = jt_and(jt, old.type, x->type);
        rc = jt_hollow(jt, s->carriers[i].type);
        LLM_TRY(rc);

        if (rc == 0) {
            LLM_TRY(somes_search(s));
        }

        s->carriers[i] = old;
    }

    for (i = 0; i < shape->n_members; i++) {
        if ((s->seen && s->seen[i]) || shape->members[i].type == JT_NOTHING
            || !re_match(jt->re, x->keys, shape->members[i].name.s,
                         shape->members[i].name.len)) {
            continue;
        }

        for (j = 0; j < s->n_carriers && s->carriers[j].member != (int) i;
             j++) {
            /* void */
        }

        if (j == s->n_carriers) {
            LLM_TRY(somes_push(s, some, (int) i, RE_NONE,
                               shape->members[i].type,
                               !shape->members[i].required));
        }
    }

    rest = re_and(jt->re, s->free, x->keys);

    for (i = 0; i <= shape->n_rules && rest != RE_NONE; i++) {
        keys = rest;

        if (i < shape->n_rules) {
            keys = re_and(jt->re, rest, shape->rules[i].keys);
            rest = re_minus(jt->re, rest, shape->rules[i].keys);
        }

        rc = jt_re_none(jt, keys);
        LLM_TRY(rc);

        if (rc == 0) {
            LLM_TRY(somes_push(
                s, some, -1, keys,
                i < shape->n_rules ? shape->rules[i].type : JT_ANY, 1));
        }
    }

    return 0;
}


static int
somes_push(somes_t *s, uint32_t some, int member, re_t keys, jt_type_t type,
           uint32_t cost)
{
    int rc;

    type = jt_and(s->jt, type, s->shape->somes[some].type);
    rc = jt_hollow(s->jt, type);

    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }

    s->carriers[s->n_carriers++] = (carrier_t){member, keys, type, 0};
    s->extra += cost;
    LLM_TRY(somes_search(s));
    s->extra -= cost;
    s->n_carriers--;

    return 0;
}


typedef struct {
    re_set_t *re;
    re_t      list[32];
    uint32_t  n;
} distinct_t;


static int
distinct_word(void *data, const uint8_t *s, size_t n)
{
    distinct_t *d = data;

    if (d->n < 32) {
        d->list[d->n++] = re_run(d->re, s, n, RE_EMPTY);
    }

    return 0;
}


/* 1 if names can be found for the carriers that have none, all different. */
static int
distinct_from(somes_t *s, uint32_t from, re_t taken)
{
    distinct_t d = {.re = s->jt->re};
    re_t       keys;
    uint32_t   i;
    int        rc;

    while (from < s->n_carriers
           && (s->carriers[from].member >= 0 || s->carriers[from].plenty)) {
        from++;
    }

    if (from == s->n_carriers) {
        return 1;
    }

    if (++s->steps > FEASIBLE_STEPS) {
        return jt_fail(s->jt, -E2BIG, NULL, NULL,
                       "too many conditions on members of unknown names");
    }

    keys = re_minus(s->jt->re, s->carriers[from].keys, taken);
    LLM_TRY(jt_re_words(s->jt, keys, s->n_carriers, distinct_word, &d));

    for (i = 0; i < d.n; i++) {
        rc = distinct_from(s, from + 1, re_or(s->jt->re, taken, d.list[i]));

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


static int
somes_distinct(somes_t *s)
{
    uint32_t i, n = 0, count;
    int      few = 0;

    for (i = 0; i < s->n_carriers; i++) {
        n += s->carriers[i].member < 0;
    }

    for (i = 0; n > 1 && i < s->n_carriers; i++) {
        if (s->carriers[i].member < 0) {
            LLM_TRY(jt_re_count(s->jt, s->carriers[i].keys, n, &count));
            s->carriers[i].plenty = count >= n;
            few |= count < n;
        }
    }

    return few ? distinct_from(s, 0, RE_NONE) : 1;
}


int
jt_array_feasible(jt_t *jt, const jt_array_t *shape,
                  const jt_array_so_far_t *so_far)
{
    uint32_t i;
    int      rc;

    if (so_far->count > shape->max) {
        return 0;
    }

    for (i = 0; i < shape->n_contains; i++) {
        if (so_far->met[i] > shape->contains[i].max) {
            return 0;
        }
    }

    if (shape->unique) {
        rc = unique_search(jt, shape, so_far);

        if (rc != 1) {
            return rc;
        }
    }

    for (i = 0; i < shape->n_contains; i++) {
        if (so_far->met[i] < shape->contains[i].min
            || shape->contains[i].max != RE_INF) {
            return contains_search(jt, shape, so_far);
        }
    }

    return 1;
}


/*
 * Vectors of counts that can be reached, item by item.  A count stops at its
 * minimum where there is no maximum.
 */
static int
contains_search(jt_t *jt, const jt_array_t *shape,
                const jt_array_so_far_t *so_far)
{
    contains_t c = {.jt = jt, .shape = shape, .so_far = so_far};
    uint8_t   *from, *to, *swap;
    uint32_t   i, j, at, met, start = 0, settled = shape->n_prefix;
    int        rc = 0, good;

    c.n_states = 1;

    if (shape->n_contains > 6) {
        return jt_fail(jt, -E2BIG, NULL, NULL,
                       "too many conditions on the items of an array");
    }

    for (i = 0; i < shape->n_contains; i++) {
        c.caps[i] = shape->contains[i].max == RE_INF ? shape->contains[i].min
                                                     : shape->contains[i].max;
        met = so_far->met[i] < c.caps[i] ? so_far->met[i] : c.caps[i];
        c.sizes[i] = c.n_states;
        start += met * c.n_states;

        if (c.caps[i] >= FEASIBLE_STATES
            || (uint64_t) c.n_states * (c.caps[i] + 1) > FEASIBLE_STATES) {
            return jt_fail(jt, -E2BIG, NULL, NULL,
                           "too many items to count in an array");
        }

        c.n_states *= c.caps[i] + 1;
        settled = shape->contains[i].from > settled ? shape->contains[i].from
                                                    : settled;
    }

    from = calloc(2, c.n_states);
    if (from == NULL) {
        return jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
    }

    to = from + c.n_states;
    from[start] = 1;
    swap = from;

    for (at = so_far->count;; at++) {
        for (i = 0; at >= shape->min && i < c.n_states && rc == 0; i++) {
            for (j = 0, good = from[i]; good && j < shape->n_contains; j++) {
                good =
                    i / c.sizes[j] % (c.caps[j] + 1) >= shape->contains[j].min;
            }

            rc = good;
        }

        if (rc != 0 || at >= shape->max) {
            break;
        }

        memset(to, 0, c.n_states);
        rc = contains_step(&c, at, from, to);

        if (rc < 0) {
            break;
        }

        /* Nothing new any more: only the length can still change. */

        if (at >= settled && memcmp(from, to, c.n_states) == 0) {
            if (at >= shape->min) {
                break;
            }

            at = shape->min - 1;
        }

        from = to;
        to = to == swap ? swap + c.n_states : swap;
    }

    free(swap);

    return rc;
}


static int
contains_step(contains_t *c, uint32_t at, const uint8_t *from, uint8_t *to)
{
    const jt_array_t *shape = c->shape;
    uint8_t           ways[64];
    uint32_t          i, j, set, next, have;
    int               n;

    n = contains_ways(c, at, ways);
    LLM_TRY(n);

    for (i = 0; i < c->n_states; i++) {
        for (set = 0; from[i] && set < 1u << shape->n_contains; set++) {
            if (!ways[set]) {
                continue;
            }

            for (j = 0, next = i; j < shape->n_contains; j++) {
                if ((set >> j & 1) == 0) {
                    continue;
                }

                have = i / c->sizes[j] % (c->caps[j] + 1);

                if (have < c->caps[j]) {
                    next += c->sizes[j];

                } else if (shape->contains[j].max != RE_INF) {
                    break;
                }
            }

            if (j == shape->n_contains) {
                to[next] = 1;
            }
        }
    }

    return 0;
}


/* Of which sets of contains can item number `at` be? */
static int
contains_ways(contains_t *c, uint32_t at, uint8_t *ways)
{
    const jt_array_t *shape = c->shape;
    jt_type_t         type;
    uint32_t          set, j;
    int               rc;

    for (set = 0; set < 1u << shape->n_contains; set++) {
        type = at < shape->n_prefix ? shape->prefix[at] : shape->rest;
        ways[set] = 0;

        for (j = 0; j < shape->n_contains; j++) {
            if (at < shape->contains[j].from) {
                if (set >> j & 1) {
                    type = JT_NOTHING;
                }

            } else if (set >> j & 1) {
                type = jt_and(c->jt, type, shape->contains[j].type);

            } else if (shape->contains[j].max != RE_INF) {
                type = jt_minus(c->jt, type, shape->contains[j].type);
            }
        }

        LLM_TRY(c->jt->rc);
        rc = jt_hollow(c->jt, type);
        LLM_TRY(rc);
        ways[set] = !rc;
    }

    return 0;
}


/* Values of a type that are left, capped. */
static int
unique_room(jt_t *jt, jt_type_t type, const jt_array_so_far_t *so_far,
            uint32_t cap, uint32_t *room)
{
    const jt_form_t *form;
    re_t             re;
    unsigned         bits;
    uint32_t         n;

    LLM_TRY(jt_form(jt, type, &form));
    bits = form->literals & ~so_far->literals;
    *room = (bits & JT_NULL ? 1 : 0) + (bits & JT_TRUE ? 1 : 0)
            + (bits & JT_FALSE ? 1 : 0);

    re = re_minus(jt->re, form->string, so_far->strings);
    LLM_TRY(jt_re_count(jt, re, cap, &n));
    *room += n;
    LLM_TRY(jt_number_values(jt, form->number, &re));
    re = re_minus(jt->re, re, so_far->numbers);
    LLM_TRY(jt_re_count(jt, re, cap, &n));
    *room += n;

    if (*room > cap) {
        *room = cap;
    }

    return 0;
}


/* 1 if a set of values that items and contains tell apart is small. */
static int
unique_few(jt_t *jt, const jt_array_t *shape, const jt_array_so_far_t *so_far,
           uint32_t cap)
{
    jt_type_t type;
    uint32_t  i, j, set, room;

    if (shape->n_contains > 4) {
        return 1;
    }

    for (i = 0; i <= shape->n_prefix; i++) {
        for (set = 0; set < 1u << shape->n_contains; set++) {
            type = i < shape->n_prefix ? shape->prefix[i] : shape->rest;

            for (j = 0; j < shape->n_contains; j++) {
                type = set >> j & 1
                           ? jt_and(jt, type, shape->contains[j].type)
                           : jt_minus(jt, type, shape->contains[j].type);
            }

            LLM_TRY(unique_room(jt, type, so_far, cap, &room));

            if (room > 0 && room < cap) {
                return 1;
            }
        }
    }

    return 0;
}


/*
 * Unique items some of which are counted.  One condition and no prefix ahead:
 * exactly.  Else no set of values that items and conditions tell apart may be
 * so small that it could run out; that is seen before the first item, and
 * holds from then on: beyond the items that come in any case, a set that a
 * condition waits for has lost as many values as the condition has gained.
 */
static int
unique_contains(jt_t *jt, const jt_array_t *shape,
                const jt_array_so_far_t *so_far)
{
    const jt_contains_t *c = shape->contains;
    uint64_t             need, sum = 1;
    uint32_t             i;
    int                  few;

    if (shape->n_contains == 1 && c->from <= so_far->count
        && shape->n_prefix <= so_far->count) {
        return unique_two(jt, shape, so_far);
    }

    if (so_far->count || so_far->literals || so_far->strings != RE_NONE
        || so_far->numbers != RE_NONE) {
        return 1;
    }

    need = shape->min > shape->n_prefix ? shape->min : shape->n_prefix;

    for (i = 0; i < shape->n_contains; i++) {
        need = c[i].from > need ? c[i].from : need;
        sum += c[i].min;
    }

    if (need + sum > UNIQUE_ITEMS) {
        return jt_fail(jt, -E2BIG, NULL, NULL,
                       "uniqueItems over too many items");
    }

    few = unique_few(jt, shape, so_far, (uint32_t) (need + sum));
    LLM_TRY(few);

    return few ? jt_fail(jt, -ENOTSUP, NULL, NULL,
                         "contains with uniqueItems where few values are left")
               : 1;
}


/* One condition over items that are all of shape->rest. */
static int
unique_two(jt_t *jt, const jt_array_t *shape, const jt_array_so_far_t *so_far)
{
    const jt_contains_t *c = shape->contains;
    uint32_t             count = so_far->count, met = so_far->met[0];
    uint32_t             need, least, most, in, out;

    need = shape->min > count ? shape->min - count : 0;
    least = c->min > met ? c->min - met : 0;

    if (need > UNIQUE_ITEMS || least > UNIQUE_ITEMS) {
        return jt_fail(jt, -E2BIG, NULL, NULL,
                       "uniqueItems over too many items");
    }

    LLM_TRY(unique_room(jt, jt_and(jt, shape->rest, c->type), so_far,
                        (need > least ? need : least) + 1, &in));
    LLM_TRY(unique_room(jt, jt_minus(jt, shape->rest, c->type), so_far,
                        need + 1, &out));

    most = c->max == RE_INF ? RE_INF : c->max - met;
    most = most < in ? most : in;

    if (shape->max != RE_INF && shape->max - count < most) {
        most = shape->max - count;
    }

    return least <= most && (uint64_t) most + out >= need;
}


static int
unique_search(jt_t *jt, const jt_array_t *shape,
              const jt_array_so_far_t *so_far)
{
    uint64_t  need = shape->min;
    uint32_t  i, room, cap, n_few = 0, end;
    jt_type_t type, last = JT_NOTHING, few = JT_NOTHING;
    int       differ = 0;

    if (shape->n_contains) {
        return unique_contains(jt, shape, so_far);
    }

    need = need > so_far->count ? need - so_far->count : 0;

    if (need == 0) {
        return 1;
    }

    if (need > UNIQUE_ITEMS) {
        return jt_fail(jt, -E2BIG, NULL, NULL,
                       "uniqueItems over too many items");
    }

    cap = (uint32_t) need + 1;
    end = so_far->count + (uint32_t) need;

    for (i = so_far->count; i < end; i++) {
        type = i < shape->n_prefix ? shape->prefix[i] : shape->rest;

        if (type != last) {
            LLM_TRY(unique_room(jt, type, so_far, cap, &room));
            last = type;
        }

        if (room == 0) {
            return 0;
        }

        if (room < cap) {
            n_few = i >= shape->n_prefix ? n_few + end - i : n_few + 1;
            differ |= few != JT_NOTHING && few != type;
            few = type;

            if (!differ && n_few > room) {
                return 0;
            }
        }

        if (i >= shape->n_prefix) {
            break;
        }
    }

    return differ ? pool_match(jt, shape, so_far, so_far->count, end) : 1;
}


/*
 * Positions of few values each: a matching of positions and values, by
 * augmenting paths.  Positions of many values always find one.
 */
static int
pool_match(jt_t *jt, const jt_array_t *shape, const jt_array_so_far_t *so_far,
           uint32_t from, uint32_t to)
{
    pool_t    p = {.jt = jt};
    jt_type_t type;
    uint32_t  i, j, n = to - from, room;
    int       rc = 1;

    arena_init(&p.arena, 64u << 20);
    p.values = arena_get(&p.arena, FEASIBLE_VALUES * sizeof(*p.values));
    p.list = arena_get(&p.arena, (FEASIBLE_VALUES + 1) * sizeof(*p.list));
    p.edges = arena_get(&p.arena, n * sizeof(*p.edges) + 1);

    if (p.values == NULL || p.list == NULL || p.edges == NULL) {
        rc = jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
    }

    for (i = 0; i < n && rc == 1; i++) {
        type =
            from + i < shape->n_prefix ? shape->prefix[from + i] : shape->rest;
        rc = unique_room(jt, type, so_far, n + 1, &room);

        if (rc < 0 || room > n) {
            rc = rc < 0 ? rc : 1;
            continue;
        }

        p.n_list = 0;
        rc = pool_fill(&p, type, so_far);

        if (rc < 0) {
            break;
        }

        p.edges[i] = arena_get(&p.arena, (p.n_list + 1) * sizeof(uint32_t));

        if (p.edges[i] == NULL) {
            rc = jt_fail(jt, -E2BIG, NULL, NULL,
                         "uniqueItems over too many values");
            break;
        }

        memcpy(p.edges[i], p.list, p.n_list * sizeof(uint32_t));
        p.edges[i][p.n_list] = UINT32_MAX;

        for (j = 0; j < p.n_values; j++) {
            p.values[j].tried = 0;
        }

        rc = pool_place(&p, i);
    }

    arena_free(&p.arena);

    return rc;
}


static int
pool_place(pool_t *p, uint32_t position)
{
    pool_value_t *v;
    uint32_t      i;

    for (i = 0; p->edges[position][i] != UINT32_MAX; i++) {
        v = &p->values[p->edges[position][i]];

        if (v->tried) {
            continue;
        }

        v->tried = 1;

        if (v->owner < 0 || pool_place(p, (uint32_t) v->owner)) {
            v->owner = (int) position;
            return 1;
        }
    }

    return 0;
}


static int
pool_word(void *data, const uint8_t *s, size_t n)
{
    pool_t  *p = data;
    uint32_t i;

    for (i = 0; i < p->n_values; i++) {
        if (p->values[i].kind == p->kind && p->values[i].n == n
            && (n == 0 || memcmp(p->values[i].s, s, n) == 0)) {
            break;
        }
    }

    if (i == p->n_values) {
        if (i == FEASIBLE_VALUES) {
            return jt_fail(p->jt, -E2BIG, NULL, NULL,
                           "uniqueItems over too many values");
        }

        p->values[p->n_values++] =
            (pool_value_t){.s = arena_str(&p->arena, (const char *) s, n),
                           .n = (uint32_t) n,
                           .kind = p->kind,
                           .owner = -1};

        if (p->values[i].s == NULL) {
            return jt_fail(p->jt, -ENOMEM, NULL, NULL, "no memory");
        }
    }

    if (p->n_list < FEASIBLE_VALUES) {
        p->list[p->n_list++] = i;
    }

    return 0;
}


static int
pool_fill(pool_t *p, jt_type_t type, const jt_array_so_far_t *so_far)
{
    static const unsigned bits[] = {JT_NULL, JT_TRUE, JT_FALSE};
    const jt_form_t      *form;
    re_t                  re;
    uint32_t              i;

    LLM_TRY(jt_form(p->jt, type, &form));

    for (i = 0; i < 3; i++) {
        p->kind = (int) i;

        if (form->literals & bits[i] & ~so_far->literals) {
            LLM_TRY(pool_word(p, (const uint8_t *) "", 0));
        }
    }

    p->kind = 's';
    re = re_minus(p->jt->re, form->string, so_far->strings);
    LLM_TRY(jt_re_words(p->jt, re, FEASIBLE_VALUES, pool_word, p));
    p->kind = 'n';
    LLM_TRY(jt_number_values(p->jt, form->number, &re));
    re = re_minus(p->jt->re, re, so_far->numbers);

    return jt_re_words(p->jt, re, FEASIBLE_VALUES, pool_word, p);
}
