/*
 * The validator's assertions on one value: see js_validate.h.  Any thread.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/js_format.h"
#include "engine/grammar/js_validate_priv.h"

typedef struct {
    const js_value_t *value;
    int64_t          *steps;
} js_unique_t;

static int js_test_type(const js_frame_t *frame, const js_keyword_t *k);
static int js_test_number(js_check_t *check, const js_frame_t *frame,
                          const js_keyword_t *k);
static int js_test_string(js_check_t *check, const js_frame_t *frame,
                          const js_keyword_t *k);
static int js_test_object(js_check_t *check, const js_frame_t *frame,
                          const js_keyword_t *k);
static int js_test_array(js_check_t *check, const js_frame_t *frame,
                         const js_keyword_t *k);
static int js_test_enum(js_check_t *check, const js_frame_t *frame,
                        const js_keyword_t *k);
static int js_test_unique(js_check_t *check, const js_frame_t *frame,
                          const js_keyword_t *k);
static int js_unique_order(const void *a, const void *b);
static int js_has_all(js_check_t *check, const js_value_t *object,
                      const js_value_t *names);


int
js_check_value(js_check_t *check, const js_frame_t *frame,
               const js_keyword_t *k)
{
    int type = frame->value->type, rc = 1;

    switch (k->kw) {
    case JS_KW_TYPE:
        rc = js_test_type(frame, k);
        break;

    case JS_KW_CONST:
    case JS_KW_ENUM:
        rc = js_test_enum(check, frame, k);
        break;

    case JS_KW_MINIMUM:
    case JS_KW_MAXIMUM:
    case JS_KW_EXCLUSIVE_MINIMUM:
    case JS_KW_EXCLUSIVE_MAXIMUM:
    case JS_KW_MULTIPLE_OF:
        rc = type == JS_NUMBER ? js_test_number(check, frame, k) : 1;
        break;

    case JS_KW_MIN_LENGTH:
    case JS_KW_MAX_LENGTH:
    case JS_KW_PATTERN:
    case JS_KW_FORMAT:
        rc = type == JS_STRING ? js_test_string(check, frame, k) : 1;
        break;

    case JS_KW_MIN_ITEMS:
    case JS_KW_MAX_ITEMS:
    case JS_KW_UNIQUE_ITEMS:
        rc = type == JS_ARRAY ? js_test_array(check, frame, k) : 1;
        break;

    case JS_KW_MIN_PROPERTIES:
    case JS_KW_MAX_PROPERTIES:
    case JS_KW_REQUIRED:
    case JS_KW_DEPENDENT_REQUIRED:
        rc = type == JS_OBJECT ? js_test_object(check, frame, k) : 1;
        break;
    }

    return rc == 0 ? js_check_fail(check, frame, k) : rc;
}


static int
js_test_type(const js_frame_t *frame, const js_keyword_t *k)
{
    const js_value_t *v = frame->value;
    uint32_t          i;

    if (k->count >> v->type & 1) {
        return 1;
    }

    if (v->type != JS_NUMBER || (k->count & JS_TYPE_INTEGER) == 0
        || !js_decimal_integer(v->decimal)) {
        return 0;
    }

    /* Draft 4: a number "without a fraction or exponent part". */

    if (frame->node->resource->draft == JS_DRAFT_4) {
        for (i = 0; i < v->n; i++) {
            if (v->s[i] == '.' || v->s[i] == 'e' || v->s[i] == 'E') {
                return 0;
            }
        }
    }

    return 1;
}


static int
js_test_enum(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k)
{
    const js_value_t *v = k->value;
    uint32_t          i, n;

    n = k->kw == JS_KW_ENUM ? v->n : 1;

    for (i = 0; i < n; i++) {
        if (js_compare(frame->value, k->kw == JS_KW_ENUM ? &v->items[i] : v,
                       &check->steps)
            == 0) {
            return 1;
        }
    }

    return check->steps > 0 ? 0
                            : js_check_error(check, frame, k, -E2BIG,
                                             "too many steps to validate");
}


static int
js_test_number(js_check_t *check, const js_frame_t *frame,
               const js_keyword_t *k)
{
    const js_decimal_t *d = frame->value->decimal, *bound = k->value->decimal;
    int                 order, rc;

    if (k->kw == JS_KW_MULTIPLE_OF) {
        check->steps -= d->n / 64;
        rc = js_decimal_multiple(d, bound);

        return rc < 0 ? js_check_error(check, frame, k, rc,
                                       "multipleOf of too many digits")
                      : rc;
    }

    order = js_decimal_compare(d, bound);

    switch (k->kw) {
    case JS_KW_MINIMUM:
        return order >= 0;

    case JS_KW_MAXIMUM:
        return order <= 0;

    case JS_KW_EXCLUSIVE_MINIMUM:
        return order > 0;

    default:
        return order < 0;
    }
}


static int
js_test_string(js_check_t *check, const js_frame_t *frame,
               const js_keyword_t *k)
{
    str_t s = js_str(frame->value);

    switch (k->kw) {
    case JS_KW_MIN_LENGTH:
        return js_utf8_count(s.s, s.len) >= k->count;

    case JS_KW_MAX_LENGTH:
        return js_utf8_count(s.s, s.len) <= k->count;

    case JS_KW_PATTERN:
        return js_check_pattern(check, frame, k, 0, s);

    default:
        if (!check->options.formats && !frame->node->resource->assert_format) {
            return 1;
        }

        check->steps -= (int64_t) (s.len / 16);
        return js_format_check((int) k->count, s);
    }
}


int
js_check_pattern(js_check_t *check, const js_frame_t *frame,
                 const js_keyword_t *k, uint32_t i, str_t s)
{
    int rc;

    if (k->patterns[i] == NULL) {
        return js_check_error(check, frame, k, -ENOTSUP, k->missing);
    }

    check->steps -= 1 + (int64_t) (s.len / 4);

    if (check->steps <= 0) {
        return js_check_error(check, frame, k, -E2BIG,
                              "too many steps to validate");
    }

    rc = js_pattern_match(k->patterns[i], s, &check->steps);

    return rc < 0 ? js_check_error(check, frame, k, rc,
                                   "too much work for a pattern")
                  : rc;
}


static int
js_test_array(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k)
{
    switch (k->kw) {
    case JS_KW_MIN_ITEMS:
        return frame->value->n >= k->count;

    case JS_KW_MAX_ITEMS:
        return frame->value->n <= k->count;

    default:
        return js_test_unique(check, frame, k);
    }
}


static int
js_test_unique(js_check_t *check, const js_frame_t *frame,
               const js_keyword_t *k)
{
    const js_value_t *v = frame->value;
    js_unique_t      *list;
    uint32_t          i;
    int               rc = 1;

    if (v->n < 2) {
        return 1;
    }

    list = malloc(v->n * sizeof(js_unique_t));
    if (list == NULL) {
        return js_check_error(check, frame, k, -ENOMEM, "no memory");
    }

    for (i = 0; i < v->n; i++) {
        list[i] = (js_unique_t){&v->items[i], &check->steps};
    }

    qsort(list, v->n, sizeof(js_unique_t), js_unique_order);

    for (i = 1; i < v->n && rc == 1; i++) {
        rc = js_compare(list[i - 1].value, list[i].value, &check->steps) != 0;
    }

    free(list);

    return check->steps > 0 ? rc
                            : js_check_error(check, frame, k, -E2BIG,
                                             "too many steps to validate");
}


static int
js_unique_order(const void *a, const void *b)
{
    const js_unique_t *x = a, *y = b;

    return js_compare(x->value, y->value, x->steps);
}


static int
js_test_object(js_check_t *check, const js_frame_t *frame,
               const js_keyword_t *k)
{
    const js_value_t *v = frame->value, *names;
    uint32_t          i;

    switch (k->kw) {
    case JS_KW_MIN_PROPERTIES:
        return v->n >= k->count;

    case JS_KW_MAX_PROPERTIES:
        return v->n <= k->count;

    case JS_KW_REQUIRED:
        return js_has_all(check, v, k->value);

    default:
        for (i = 0; i < k->value->n; i++) {
            names = &k->value->items[i];

            if (js_member(v, names->key, names->key_len)
                && !js_has_all(check, v, names)) {
                return 0;
            }
        }

        return 1;
    }
}


static int
js_has_all(js_check_t *check, const js_value_t *object, const js_value_t *names)
{
    uint32_t i;

    check->steps -= names->n;

    for (i = 0; i < names->n; i++) {
        if (js_member(object, names->items[i].s, names->items[i].n) == NULL) {
            return 0;
        }
    }

    return 1;
}
