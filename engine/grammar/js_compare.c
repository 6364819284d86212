/*
 * Members by name, and the order of values: see js_value.h.  Any thread;
 * recursion goes as deep as the tree, which js_parse() has bounded.
 */

#include "engine/grammar/js_value.h"

static int js_compare_objects(const js_value_t *a, const js_value_t *b,
                              int64_t *steps);


const js_value_t *
js_member(const js_value_t *object, const char *key, size_t len)
{
    const js_value_t *item;
    uint32_t          lo = 0, hi = object->n, mid;
    int               order;

    while (lo < hi) {
        mid = lo + (hi - lo) / 2;
        item = &object->items[object->sorted[mid]];
        order = js_bytes_compare(key, len, item->key, item->key_len);

        if (order == 0) {
            return item;
        }

        if (order < 0) {
            hi = mid;

        } else {
            lo = mid + 1;
        }
    }

    return NULL;
}


const js_value_t *
js_get(const js_value_t *value, const char *key)
{
    if (value->type != JS_OBJECT) {
        return NULL;
    }

    return js_member(value, key, strlen(key));
}


int
js_compare(const js_value_t *a, const js_value_t *b, int64_t *steps)
{
    uint32_t i;
    int      order;

    if (--*steps <= 0) {
        *steps = 0;
        return 1;
    }

    if (a->type != b->type) {
        return a->type < b->type ? -1 : 1;
    }

    switch (a->type) {
    case JS_NULL:
        return 0;

    case JS_BOOLEAN:
        return a->truth - b->truth;

    case JS_NUMBER:
        return js_decimal_compare(a->decimal, b->decimal);

    case JS_STRING:
        return js_bytes_compare(a->s, a->n, b->s, b->n);
    }

    if (a->n != b->n) {
        return a->n < b->n ? -1 : 1;
    }

    if (a->type == JS_OBJECT) {
        return js_compare_objects(a, b, steps);
    }

    for (i = 0; i < a->n; i++) {
        order = js_compare(&a->items[i], &b->items[i], steps);

        if (order) {
            return order;
        }
    }

    return 0;
}


/* All names first: objects of other names differ in them alone. */
static int
js_compare_objects(const js_value_t *a, const js_value_t *b, int64_t *steps)
{
    const js_value_t *x, *y;
    uint32_t          i;
    int               order;

    for (i = 0; i < a->n; i++) {
        x = &a->items[a->sorted[i]];
        y = &b->items[b->sorted[i]];
        order = js_bytes_compare(x->key, x->key_len, y->key, y->key_len);

        if (order) {
            return order;
        }
    }

    for (i = 0; i < a->n; i++) {
        x = &a->items[a->sorted[i]];
        y = &b->items[b->sorted[i]];
        order = js_compare(x, y, steps);

        if (order) {
            return order;
        }
    }

    return 0;
}
