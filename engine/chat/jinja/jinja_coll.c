/*
 * Sequences (lists, tuples, ranges, views of dicts, iterators) and dicts.
 *
 * A sequence that a value has once shown does not change, except the position
 * of an iterator.  A dict keeps the order of insertion; from nine keys on it
 * has an index.  Probes are counted as steps, so that crafted keys cost the
 * render that they are in, and no more.
 */

#include "jinja.h"

#define SMALL_DICT 8


jinja_seq_t *
jinja_seq_new(jinja_t *j, jinja_kind_t kind, size_t cap, bool trusted)
{
    jinja_seq_t *q = jinja_alloc(j, sizeof(jinja_seq_t));

    if (cap > UINT32_MAX / 2) {
        jinja_throw(j, -E2BIG, "a list is too long");
    }

    q->kind = kind;
    q->trusted = trusted;
    q->cap = (uint32_t) cap;

    if (cap) {
        q->v = jinja_alloc(j, cap * sizeof(jinja_val_t));
    }

    return q;
}


void
jinja_seq_add(jinja_t *j, jinja_seq_t *q, jinja_val_t v)
{
    size_t       cap;
    jinja_val_t *grown;

    jinja_step(j, 1);

    if (q->n == q->cap) {
        cap = q->cap ? (size_t) q->cap * 2 : 4;
        if (cap > UINT32_MAX / 2) {
            jinja_throw(j, -E2BIG, "a list is too long");
        }

        grown = jinja_alloc(j, cap * sizeof(jinja_val_t));
        if (q->n) {
            memcpy(grown, q->v, q->n * sizeof(jinja_val_t));
        }

        q->v = grown;
        q->cap = (uint32_t) cap;
    }

    q->v[q->n++] = v;
}


jinja_val_t
jinja_seq(jinja_seq_t *q)
{
    return (jinja_val_t){.type = JINJA_SEQ, .u.q = q};
}


jinja_val_t
jinja_pair(jinja_t *j, jinja_val_t a, jinja_val_t b)
{
    jinja_seq_t *q = jinja_seq_new(j, JINJA_TUPLE, 2, true);

    q->v[0] = a;
    q->v[1] = b;
    q->n = 2;

    return jinja_seq(q);
}


jinja_dict_t *
jinja_dict_new(jinja_t *j, size_t cap, bool trusted)
{
    jinja_dict_t *d = jinja_alloc(j, sizeof(jinja_dict_t));

    if (cap > UINT32_MAX / 4) {
        jinja_throw(j, -E2BIG, "a dict is too large");
    }

    d->cap = (uint32_t) cap;
    d->trusted = trusted;

    if (cap) {
        d->keys = jinja_alloc(j, cap * sizeof(jinja_val_t));
        d->vals = jinja_alloc(j, cap * sizeof(jinja_val_t));
    }

    return d;
}


jinja_val_t
jinja_dict(jinja_dict_t *d)
{
    return (jinja_val_t){.type = JINJA_DICT, .u.d = d};
}


bool
jinja_hashable(jinja_val_t v)
{
    uint32_t i;

    if (v.type == JINJA_DICT) {
        return false;
    }

    if (v.type != JINJA_SEQ) {
        return true;
    }

    if (v.u.q->kind == JINJA_LIST || v.u.q->kind == JINJA_KEYS
        || v.u.q->kind == JINJA_ITEMS) {
        return false;
    }

    for (i = 0; v.u.q->kind == JINJA_TUPLE && i < v.u.q->n; i++) {
        /* one level of tuples as keys is what templates need */
        if (v.u.q->v[i].type == JINJA_SEQ || v.u.q->v[i].type == JINJA_DICT) {
            return false;
        }
    }

    return true;
}


static uint32_t
hash_bytes(const char *p, size_t len)
{
    uint64_t h = 0xcbf29ce484222325ULL ^ len, w;

    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 29;
    }

    for (; len; p++, len--) {
        h = (h ^ (uint8_t) *p) * 0x100000001b3ULL;
    }

    return (uint32_t) (h ^ h >> 32);
}


/* Equal values hash alike: 1, 1.0 and True are one key. */

static uint32_t
hash_val(jinja_t *j, jinja_val_t v)
{
    double   f;
    uint32_t i, h;

    switch (v.type) {
    case JINJA_STR:
        jinja_step(j, v.u.s->len / 64);
        return hash_bytes(v.u.s->text, v.u.s->len);
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT:
        f = jinja_as_double(v);
        f = f == 0 ? 0 : f;
        return hash_bytes((char *) &f, sizeof(f));
    case JINJA_SEQ:
        if (v.u.q->kind != JINJA_TUPLE) {
            return hash_bytes((char *) &v.u.q, sizeof(v.u.q));
        }
        for (i = 0, h = 17; i < v.u.q->n; i++) {
            h = h * 31 + hash_val(j, v.u.q->v[i]);
        }
        return h;
    default:
        return v.type;
    }
}


static bool
key_eq(jinja_t *j, jinja_val_t a, jinja_val_t b)
{
    if (a.type == JINJA_STR && b.type == JINJA_STR) {
        return jinja_str_eq(a.u.s, b.u.s);
    }

    return jinja_eq(j, a, b);
}


/* The key's number, or -1 with the index's free place in *place. */

static int64_t
dict_find(jinja_t *j, jinja_dict_t *d, jinja_val_t key, uint32_t *place)
{
    uint32_t i, h, probes = 0;

    if (d->index == NULL) {
        for (i = 0; i < d->n; i++) {
            if (key_eq(j, d->keys[i], key)) {
                return i;
            }
        }
        return -1;
    }

    for (h = hash_val(j, key) & d->mask; d->index[h]; h = (h + 1) & d->mask) {
        i = d->index[h] - 1;
        if (key_eq(j, d->keys[i], key)) {
            return i;
        }
        if ((++probes & 7) == 0) {
            jinja_step(j, 1);
        }
    }

    *place = h;

    return -1;
}


static void
dict_grow(jinja_t *j, jinja_dict_t *d)
{
    uint32_t     i, h, cap = d->cap ? d->cap * 2 : 4;
    jinja_val_t *keys, *vals;

    if (cap > UINT32_MAX / 8) {
        jinja_throw(j, -E2BIG, "a dict is too large");
    }

    if (d->n == d->cap) {
        keys = jinja_alloc(j, cap * sizeof(jinja_val_t));
        vals = jinja_alloc(j, cap * sizeof(jinja_val_t));
        if (d->n) {
            memcpy(keys, d->keys, d->n * sizeof(jinja_val_t));
            memcpy(vals, d->vals, d->n * sizeof(jinja_val_t));
        }
        d->keys = keys;
        d->vals = vals;
        d->cap = cap;
    }

    if (d->n < SMALL_DICT || (d->index && d->n * 2 <= d->mask)) {
        return;
    }

    for (cap = 32; cap < d->cap * 2 || cap <= d->n * 2; cap *= 2) {
        /* void */
    }

    d->index = jinja_alloc(j, cap * sizeof(uint32_t));
    d->mask = cap - 1;

    for (i = 0; i < d->n; i++) {
        h = hash_val(j, d->keys[i]) & d->mask;
        while (d->index[h]) {
            h = (h + 1) & d->mask;
        }
        d->index[h] = i + 1;
    }

    jinja_step(j, d->n);
}


void
jinja_dict_set(jinja_t *j, jinja_dict_t *d, jinja_val_t key, jinja_val_t v)
{
    int64_t  at;
    uint32_t place = 0;

    if (!jinja_hashable(key)) {
        jinja_fail(j, "unhashable type: '%s'", jinja_type_name(key));
    }

    jinja_step(j, 1);
    at = dict_find(j, d, key, &place);

    if (at >= 0) {
        d->vals[at] = v;
        return;
    }

    if (d->n == d->cap || (d->index == NULL && d->n >= SMALL_DICT)
        || (d->index && d->n * 2 > d->mask)) {
        dict_grow(j, d);
        (void) dict_find(j, d, key, &place);
    }

    d->keys[d->n] = key;
    d->vals[d->n] = v;
    d->n++;

    if (d->index) {
        d->index[place] = d->n;
    }
}


/* NULL if there is no such key; valid until the dict changes. */

jinja_val_t *
jinja_dict_get(jinja_t *j, jinja_dict_t *d, jinja_val_t key)
{
    int64_t  at;
    uint32_t place;

    if (!jinja_hashable(key)) {
        return NULL;
    }

    at = dict_find(j, d, key, &place);

    return at < 0 ? NULL : &d->vals[at];
}


jinja_val_t *
jinja_dict_str(jinja_t *j, jinja_dict_t *d, const jinja_str_t *key)
{
    return jinja_dict_get(j, d, jinja_val_str(key));
}


jinja_seq_t *
jinja_dict_view(jinja_t *j, jinja_dict_t *d, jinja_kind_t kind)
{
    uint32_t     i;
    jinja_seq_t *q = jinja_seq_new(j, kind, d->n, d->trusted);

    for (i = 0; i < d->n; i++) {
        jinja_seq_add(j, q,
                      kind == JINJA_KEYS ? d->keys[i]
                      : kind == JINJA_VALUES
                          ? d->vals[i]
                          : jinja_pair(j, d->keys[i], d->vals[i]));
    }

    return q;
}


bool
jinja_iterable(jinja_val_t v)
{
    return v.type == JINJA_SEQ || v.type == JINJA_DICT || v.type == JINJA_STR
           || v.type == JINJA_UNDEF || v.type == JINJA_LOOP;
}


/*
 * What Python's iter() gives: items from q->pos on.  Iterators are returned
 * themselves, so that reading moves them; others as a new view that shares
 * the items.
 */

jinja_seq_t *
jinja_iter(jinja_t *j, jinja_val_t v)
{
    size_t             at;
    uint32_t           cp;
    jinja_seq_t       *q;
    jinja_val_t        item;
    const jinja_str_t *s;

    switch (v.type) {

    case JINJA_SEQ:
        if (v.u.q->kind == JINJA_ITER) {
            return v.u.q;
        }
        q = jinja_alloc(j, sizeof(jinja_seq_t));
        *q = *v.u.q;
        q->kind = JINJA_ITER;
        q->group = false;
        return q;

    case JINJA_DICT:
        q = jinja_dict_view(j, v.u.d, JINJA_KEYS);
        q->kind = JINJA_ITER;
        return q;

    case JINJA_STR:
        s = jinja_to_str(j, v); /* the characters of Markup are plain */
        q = jinja_seq_new(j, JINJA_ITER, s->chars, jinja_str_trusted(s));
        for (at = 0; at < s->len;) {
            size_t n = jinja_utf8_get(s->text + at, s->text + s->len, &cp);
            jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, at, at + n)));
            at += n;
        }
        return q;

    case JINJA_UNDEF:
        return jinja_seq_new(j, JINJA_ITER, 0, true);

    case JINJA_LOOP:
        q = jinja_seq_new(j, JINJA_ITER, 0, false);
        while (jinja_loop_next(j, v.u.loop, &item)) {
            jinja_seq_add(j, q, jinja_pair(j, item, v));
        }
        return q;

    default:
        jinja_fail(j, "'%s' object is not iterable", jinja_type_name(v));
    }
}


/* A new list of all that iterating gives; an iterator is then at its end. */

jinja_seq_t *
jinja_iter_list(jinja_t *j, jinja_val_t v)
{
    jinja_seq_t *from = jinja_iter(j, v), *q;

    q = jinja_seq_new(j, JINJA_LIST, from->n - from->pos, from->trusted);
    q->n = from->n - from->pos;
    jinja_step(j, q->n);

    if (q->n) {
        memcpy(q->v, from->v + from->pos, q->n * sizeof(jinja_val_t));
    }

    from->pos = from->n;

    return q;
}


/* Python's len(); < 0: it has none. */

int64_t
jinja_len(jinja_t *j, jinja_val_t v, bool *trusted)
{
    *trusted = true;

    switch (v.type) {
    case JINJA_UNDEF:
        return 0;
    case JINJA_STR:
        *trusted = jinja_str_trusted(v.u.s);
        return (int64_t) v.u.s->chars;
    case JINJA_DICT:
        *trusted = v.u.d->trusted;
        return v.u.d->n;
    case JINJA_SEQ:
        *trusted = v.u.q->trusted;
        return v.u.q->kind == JINJA_ITER ? -1 : (int64_t) v.u.q->n;
    default:
        return -1;
    }
}


typedef struct {
    int64_t from, to, step;
} bounds_t;


static int64_t
clamp(int64_t i, int64_t len, int64_t low, int64_t high)
{
    if (i < 0) {
        i = i < -len ? low : i + len;
        return i < low ? low : i;
    }

    return i > high ? high : i;
}


/* Python's slice.indices(). */

static bounds_t
slice_bounds(jinja_t *j, int64_t len, jinja_val_t from, jinja_val_t to,
             jinja_val_t step)
{
    bounds_t b;
    int64_t  low, high;

    b.step = step.type == JINJA_NONE ? 1 : jinja_need_int(j, step, "step");

    if (b.step == 0) {
        jinja_fail(j, "slice step cannot be zero");
    }

    low = b.step < 0 ? -1 : 0;
    high = b.step < 0 ? len - 1 : len;

    b.from = from.type == JINJA_NONE
                 ? (b.step < 0 ? high : low)
                 : clamp(jinja_need_int(j, from, "slice"), len, low, high);
    b.to = to.type == JINJA_NONE
               ? (b.step < 0 ? low : high)
               : clamp(jinja_need_int(j, to, "slice"), len, low, high);

    /* no step leads further than from one end to the other */
    b.step = b.step > len + 1 ? len + 1 : b.step;
    b.step = b.step < -len - 1 ? -len - 1 : b.step;

    return b;
}


static jinja_val_t
slice_str(jinja_t *j, const jinja_str_t *s, bounds_t b)
{
    size_t      from, to;
    int64_t     i;
    uint32_t    cp;
    jinja_buf_t buf = {0};
    jinja_val_t v;

    if (b.step == 1) {
        if (b.to <= b.from) {
            return jinja_val_str(jinja_sub(j, s, 0, 0));
        }

        from = jinja_str_offset(j, s, (size_t) b.from);
        to = jinja_str_offset(j, s, (size_t) b.to);
        return jinja_val_str(jinja_sub(j, s, from, to));
    }

    for (i = b.from; b.step > 0 ? i < b.to : i > b.to; i += b.step) {
        from = jinja_str_offset(j, s, (size_t) i);
        to = from + jinja_utf8_get(s->text + from, s->text + s->len, &cp);
        jinja_buf_sub(j, &buf, s, from, to);
        jinja_step(j, 1);
    }

    v = jinja_buf_end(j, &buf);
    ((jinja_str_t *) v.u.s)->markup = s->markup;

    return v;
}


jinja_val_t
jinja_slice(jinja_t *j, jinja_val_t v, jinja_val_t from, jinja_val_t to,
            jinja_val_t step)
{
    int64_t      i;
    bounds_t     b;
    jinja_seq_t *q, *s;

    if (v.type == JINJA_UNDEF) {
        jinja_undef_throw(j, v);
    }

    if (v.type == JINJA_STR) {
        b = slice_bounds(j, (int64_t) v.u.s->chars, from, to, step);
        return slice_str(j, v.u.s, b);
    }

    if (v.type != JINJA_SEQ || v.u.q->kind > JINJA_RANGE) {
        jinja_fail(j, "'%s' object is not subscriptable", jinja_type_name(v));
    }

    s = v.u.q;
    b = slice_bounds(j, s->n, from, to, step);
    q = jinja_seq_new(j, s->kind, 0, s->trusted);

    for (i = b.from; b.step > 0 ? i < b.to : i > b.to; i += b.step) {
        jinja_seq_add(j, q, s->v[i]);
    }

    if (q->kind == JINJA_RANGE) {
        q->range[2] = s->range[2] * b.step;
        q->range[0] = s->range[0] + b.from * s->range[2];
        q->range[1] = s->range[0] + b.to * s->range[2];
    }

    return jinja_seq(q);
}


/*
 * A stable merge sort of v by keys, with nothing but "less than", as Python's.
 * Reversed: equal items keep their order.
 */

void
jinja_sort(jinja_t *j, jinja_val_t *keys, jinja_val_t *v, size_t n,
           bool reverse)
{
    size_t       i, a, b, mid, end, width;
    bool         right;
    jinja_val_t *k2, *v2, *t;

    if (n < 2) {
        return;
    }

    k2 = jinja_alloc(j, n * sizeof(jinja_val_t));
    v2 = jinja_alloc(j, n * sizeof(jinja_val_t));
    jinja_val_t *k1 = keys, *v1 = v;

    for (width = 1; width < n; width *= 2) {
        for (i = 0; i < n; i += 2 * width) {
            mid = i + width < n ? i + width : n;
            end = i + 2 * width < n ? i + 2 * width : n;

            for (a = i, b = mid; a < mid || b < end;) {
                if (a == mid || b == end) {
                    right = a == mid;
                } else {
                    right = reverse ? jinja_lt(j, k1[a], k1[b])
                                    : jinja_lt(j, k1[b], k1[a]);
                }

                k2[a + b - mid] = right ? k1[b] : k1[a];
                v2[a + b - mid] = right ? v1[b] : v1[a];
                a += !right;
                b += right;
            }
        }

        t = k1, k1 = k2, k2 = t;
        t = v1, v1 = v2, v2 = t;
    }

    if (k1 != keys) {
        memcpy(keys, k1, n * sizeof(jinja_val_t));
        memcpy(v, v1, n * sizeof(jinja_val_t));
    }
}
