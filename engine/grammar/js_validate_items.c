/*
 * The validator's keywords on members of objects and items of arrays: see
 * js_validate.h.  Any thread.
 */

#include <errno.h>
#include "engine/grammar/js_validate_priv.h"

static int js_item(js_check_t *check, const js_frame_t *frame,
                   const js_node_t *node, uint32_t i, js_seen_t *seen);
static int js_test_names(js_check_t *check, const js_frame_t *frame,
                         const js_keyword_t *k);
static int js_test_properties(js_check_t *check, const js_frame_t *frame,
                              const js_keyword_t *k, js_seen_t *seen);
static int js_test_patterns(js_check_t *check, const js_frame_t *frame,
                            const js_keyword_t *k, js_seen_t *seen);
static int js_test_additional(js_check_t *check, const js_frame_t *frame,
                              const js_keyword_t *k, js_seen_t *seen);
static int js_is_declared(js_check_t *check, const js_frame_t *frame,
                          const js_value_t *member);
static int js_test_rest(js_check_t *check, const js_frame_t *frame,
                        const js_keyword_t *k, js_seen_t *seen);
static int js_test_contains(js_check_t *check, const js_frame_t *frame,
                            const js_keyword_t *k, js_seen_t *seen);
static int js_test_dependent(js_check_t *check, const js_frame_t *frame,
                             const js_keyword_t *k, js_seen_t *seen);
static int js_test_unseen(js_check_t *check, const js_frame_t *frame,
                          const js_keyword_t *k, js_seen_t *seen);


int
js_check_items(js_check_t *check, const js_frame_t *frame,
               const js_keyword_t *k, js_seen_t *seen)
{
    int type;

    type = k->kw == JS_KW_PREFIX_ITEMS || k->kw == JS_KW_ITEMS
                   || k->kw == JS_KW_CONTAINS
                   || k->kw == JS_KW_UNEVALUATED_ITEMS
               ? JS_ARRAY
               : JS_OBJECT;

    if (frame->value->type != type) {
        return 1;
    }

    switch (k->kw) {
    case JS_KW_PROPERTY_NAMES:
        return js_test_names(check, frame, k);

    case JS_KW_PROPERTIES:
        return js_test_properties(check, frame, k, seen);

    case JS_KW_PATTERN_PROPERTIES:
        return js_test_patterns(check, frame, k, seen);

    case JS_KW_ADDITIONAL_PROPERTIES:
        return js_test_additional(check, frame, k, seen);

    case JS_KW_PREFIX_ITEMS:
    case JS_KW_ITEMS:
        return js_test_rest(check, frame, k, seen);

    case JS_KW_CONTAINS:
        return js_test_contains(check, frame, k, seen);

    case JS_KW_DEPENDENCIES:
    case JS_KW_DEPENDENT_SCHEMAS:
        return js_test_dependent(check, frame, k, seen);

    case JS_KW_UNEVALUATED_ITEMS:
    case JS_KW_UNEVALUATED_PROPERTIES:
        return js_test_unseen(check, frame, k, seen);

    default:
        return 1; /* min- and maxContains, then and else: see their heads */
    }
}


/* Item or member number i against a schema. */
static int
js_item(js_check_t *check, const js_frame_t *frame, const js_node_t *node,
        uint32_t i, js_seen_t *seen)
{
    if (seen) {
        seen->items[i] = 1;
    }

    return js_check_node(check, frame, node, &frame->value->items[i], NULL);
}


/* A name is a string that stands in no tree but its member's parent's. */
static int
js_test_names(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k)
{
    const js_value_t *member;
    js_value_t        name;
    uint32_t          i;
    int               rc;

    for (i = 0; i < frame->value->n; i++) {
        member = &frame->value->items[i];
        name = (js_value_t){.type = JS_STRING,
                            .n = member->key_len,
                            .key = member->key,
                            .key_len = member->key_len,
                            .s = member->key};
        rc = js_check_node(check, frame, k->node, &name, NULL);
        check->at = member;

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


static int
js_test_properties(js_check_t *check, const js_frame_t *frame,
                   const js_keyword_t *k, js_seen_t *seen)
{
    const js_value_t *member, *names = k->value, *v = frame->value;
    uint32_t          i;
    int               rc;

    /* Whichever of the two has fewer members is walked. */

    if (names->n <= v->n) {
        check->steps -= names->n;

        for (i = 0; i < names->n; i++) {
            member = js_member(v, names->items[i].key, names->items[i].key_len);

            if (member == NULL) {
                continue;
            }

            rc = js_item(check, frame, k->nodes[i],
                         (uint32_t) (member - v->items), seen);

            if (rc != 1) {
                return rc;
            }
        }

        return 1;
    }

    for (i = 0; i < v->n; i++) {
        member = js_member(names, v->items[i].key, v->items[i].key_len);

        if (member == NULL) {
            continue;
        }

        rc = js_item(check, frame, k->nodes[member - names->items], i, seen);

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


static int
js_test_patterns(js_check_t *check, const js_frame_t *frame,
                 const js_keyword_t *k, js_seen_t *seen)
{
    const js_value_t *member;
    uint32_t          i, p;
    int               rc;

    for (i = 0; i < frame->value->n; i++) {
        member = &frame->value->items[i];

        for (p = 0; p < k->n; p++) {
            rc = js_check_pattern(check, frame, k, p,
                                  (str_t){member->key, member->key_len});

            if (rc == 1) {
                rc = js_item(check, frame, k->nodes[p], i, seen);

                if (rc != 1) {
                    return rc;
                }
            }

            if (rc < 0) {
                return rc;
            }
        }

        if (check->steps <= 0) {
            return js_check_error(check, frame, k, -E2BIG,
                                  "too many steps to validate");
        }
    }

    return 1;
}


static int
js_test_additional(js_check_t *check, const js_frame_t *frame,
                   const js_keyword_t *k, js_seen_t *seen)
{
    uint32_t i;
    int      rc;

    for (i = 0; i < frame->value->n; i++) {
        rc = js_is_declared(check, frame, &frame->value->items[i]);

        if (rc < 0) {
            return rc;
        }

        if (rc == 1) {
            continue;
        }

        rc = js_item(check, frame, k->node, i, seen);

        if (rc != 1) {
            if (rc == 0 && k->node->boolean) {
                (void) js_check_fail(check, frame, k);
                check->at = &frame->value->items[i];
            }

            return rc;
        }
    }

    return 1;
}


/* By properties or patternProperties beside. */
static int
js_is_declared(js_check_t *check, const js_frame_t *frame,
               const js_value_t *member)
{
    const js_keyword_t *k;
    uint32_t            p;
    int                 rc;

    k = js_node_get(frame->node, JS_KW_PROPERTIES);

    if (k && js_member(k->value, member->key, member->key_len)) {
        return 1;
    }

    k = js_node_get(frame->node, JS_KW_PATTERN_PROPERTIES);

    for (p = 0; k && p < k->n; p++) {
        rc = js_check_pattern(check, frame, k, p,
                              (str_t){member->key, member->key_len});

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


static int
js_test_rest(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k,
             js_seen_t *seen)
{
    const js_keyword_t *prefix;
    uint32_t            i = 0, n = frame->value->n;
    int                 rc;

    if (k->kw == JS_KW_PREFIX_ITEMS) {
        n = n < k->n ? n : k->n;

    } else {
        prefix = js_node_get(frame->node, JS_KW_PREFIX_ITEMS);
        i = prefix ? prefix->n : 0;
    }

    for (; i < n; i++) {
        rc = js_item(check, frame, k->nodes ? k->nodes[i] : k->node, i, seen);

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


static int
js_test_contains(js_check_t *check, const js_frame_t *frame,
                 const js_keyword_t *k, js_seen_t *seen)
{
    const js_keyword_t *least, *most;
    uint64_t            n = 0, min, max;
    uint32_t            i;
    int                 rc;

    least = js_node_get(frame->node, JS_KW_MIN_CONTAINS);
    most = js_node_get(frame->node, JS_KW_MAX_CONTAINS);
    min = least ? least->count : 1;
    max = most ? most->count : UINT64_MAX;

    /* In 2019-09 contains says nothing about which items it evaluated. */

    if (frame->node->resource->draft == JS_DRAFT_2019) {
        seen = NULL;
    }

    for (i = 0; i < frame->value->n; i++) {
        rc =
            js_check_node(check, frame, k->node, &frame->value->items[i], NULL);

        if (rc < 0) {
            return rc;
        }

        if (rc == 0) {
            continue;
        }

        if (seen) {
            seen->items[i] = 1;
        }

        if (++n > max) {
            return js_check_fail(check, frame, most);
        }

        if (n >= min && most == NULL && seen == NULL) {
            break;
        }
    }

    return n >= min ? 1 : js_check_fail(check, frame, least ? least : k);
}


static int
js_test_dependent(js_check_t *check, const js_frame_t *frame,
                  const js_keyword_t *k, js_seen_t *seen)
{
    const js_value_t *v;
    uint32_t          i, j;
    int               rc;

    for (i = 0; i < k->n; i++) {
        v = &k->value->items[i];

        if (js_member(frame->value, v->key, v->key_len) == NULL) {
            continue;
        }

        if (k->nodes[i] == NULL) {
            for (j = 0; j < v->n; j++) {
                if (js_member(frame->value, v->items[j].s, v->items[j].n)
                    == NULL) {
                    return js_check_fail(check, frame, k);
                }
            }

            continue;
        }

        rc = js_check_in_place(check, frame, k->nodes[i], seen);

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


static int
js_test_unseen(js_check_t *check, const js_frame_t *frame,
               const js_keyword_t *k, js_seen_t *seen)
{
    uint32_t i;
    int      rc;

    for (i = 0; i < frame->value->n; i++) {
        if (seen->items[i]) {
            continue;
        }

        rc = js_item(check, frame, k->node, i, seen);

        if (rc != 1) {
            if (rc == 0 && k->node->boolean) {
                (void) js_check_fail(check, frame, k);
                check->at = &frame->value->items[i];
            }

            return rc;
        }
    }

    return 1;
}
