/*
 * The validator's walk: see js_validate.h.  Any thread; the stack is the C
 * stack, bounded by max_depth, and sets of evaluated items are in an arena
 * that one js_validate() owns.
 *
 * A keyword that fails ends its node, unless unevaluated* wants to know all
 * that was evaluated: then branches of anyOf are tried to the last.
 */

#include <errno.h>
#include <stdio.h>
#include "engine/grammar/js_validate_priv.h"

/* Sets of evaluated items of one validation. */
#define CHECK_ARENA (64u << 20)

static int js_check_keyword(js_check_t *check, const js_frame_t *frame,
                            const js_keyword_t *k, js_seen_t *seen);
static int js_check_ref(js_check_t *check, const js_frame_t *frame,
                        const js_keyword_t *k, js_seen_t *seen);
static const js_node_t *js_check_dynamic(js_check_t         *check,
                                         const js_frame_t   *frame,
                                         const js_keyword_t *k);
static int  js_check_loop(js_check_t *check, const js_frame_t *frame,
                          const js_node_t *node);
static int  js_check_all(js_check_t *check, const js_frame_t *frame,
                         const js_keyword_t *k, js_seen_t *seen);
static int  js_check_any(js_check_t *check, const js_frame_t *frame,
                         const js_keyword_t *k, js_seen_t *seen);
static int  js_check_one(js_check_t *check, const js_frame_t *frame,
                         const js_keyword_t *k, js_seen_t *seen);
static int  js_check_not(js_check_t *check, const js_frame_t *frame,
                         const js_keyword_t *k);
static int  js_check_if(js_check_t *check, const js_frame_t *frame,
                        const js_keyword_t *k, js_seen_t *seen);
static void js_check_tell(const js_check_t *check, int rc, js_result_t *result);
static void js_tell_path(buf_t *buf, char *out, size_t size);


int
js_validate(const js_schema_t *schema, const js_node_t *node,
            const js_value_t *value, const js_validate_options_t *options,
            js_result_t *result)
{
    js_check_t check = {0};
    int        rc;

    if (options) {
        check.options = *options;
    }

    if (check.options.max_depth == 0) {
        check.options.max_depth = 2048;
    }

    check.steps = check.options.max_steps;

    if (check.steps == 0) {
        check.steps = 10000000;
    }

    arena_init(&check.arena, CHECK_ARENA);

    rc = js_check_node(&check, NULL, node ? node : js_schema_root(schema),
                       value, NULL);

    if (result) {
        js_check_tell(&check, rc, result);
    }

    arena_free(&check.arena);

    return rc;
}


static void
js_check_tell(const js_check_t *check, int rc, js_result_t *result)
{
    buf_t buf = {0};

    *result = (js_result_t){0};

    if (rc == 1) {
        return;
    }

    if (check->at) {
        js_path(&buf, check->at);
        js_tell_path(&buf, result->instance, sizeof(result->instance));
    }

    if (check->keyword) {
        buf_reset(&buf);
        js_node_path(&buf, check->node, check->keyword);
        js_tell_path(&buf, result->keyword, sizeof(result->keyword));
    }

    if (rc < 0) {
        snprintf(result->reason, sizeof(result->reason), "%s",
                 check->reason ? check->reason : "no memory");
    }

    buf_free(&buf);
}


static void
js_tell_path(buf_t *buf, char *out, size_t size)
{
    size_t n = buf->failed ? 0 : buf->len;

    if (n >= size) {
        for (n = size - 1; n > 0 && (buf->data[n] & 0xc0) == 0x80; n--) {
            /* void */
        }
    }

    if (n > 0) {
        memcpy(out, buf->data, n);
    }

    out[n] = '\0';
}


int
js_check_fail(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k)
{
    check->at = frame->value;
    check->node = frame->node;
    check->keyword = k ? k->value : frame->node->value;

    return 0;
}


int
js_check_error(js_check_t *check, const js_frame_t *frame,
               const js_keyword_t *k, int rc, const char *reason)
{
    (void) js_check_fail(check, frame, k);
    check->reason = reason;

    return rc;
}


int
js_seen_new(js_check_t *check, const js_value_t *value, js_seen_t *seen)
{
    size_t n = value->type >= JS_ARRAY ? value->n : 0;

    seen->items = arena_get(&check->arena, n + 1);

    if (seen->items == NULL) {
        check->reason = "too many values to keep account of";
        return -E2BIG;
    }

    check->steps -= (int64_t) (n / 64);

    return 0;
}


int
js_check_node(js_check_t *check, const js_frame_t *up, const js_node_t *node,
              const js_value_t *value, js_seen_t *seen)
{
    js_frame_t frame = {.node = node, .value = value, .up = up};
    js_seen_t  own;
    uint32_t   i;
    int        rc;

    frame.depth = up ? up->depth + 1 : 0;

    if (--check->steps <= 0) {
        return js_check_error(check, &frame, NULL, -E2BIG,
                              "too many steps to validate");
    }

    if (frame.depth > check->options.max_depth) {
        return js_check_error(check, &frame, NULL, -E2BIG,
                              "schemas are nested too deeply");
    }

    if (node->boolean) {
        return node->truth ? 1 : js_check_fail(check, &frame, NULL);
    }

    if (seen == NULL
        && (node->has
            & (1ull << JS_KW_UNEVALUATED_ITEMS
               | 1ull << JS_KW_UNEVALUATED_PROPERTIES))) {
        seen = &own;
        LLM_TRY(js_seen_new(check, value, seen));
    }

    for (i = 0; i < node->n; i++) {
        rc = js_check_keyword(check, &frame, &node->keywords[i], seen);

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


static int
js_check_keyword(js_check_t *check, const js_frame_t *frame,
                 const js_keyword_t *k, js_seen_t *seen)
{
    switch (k->kw) {
    case JS_KW_REF:
    case JS_KW_RECURSIVE_REF:
    case JS_KW_DYNAMIC_REF:
        return js_check_ref(check, frame, k, seen);

    case JS_KW_ALL_OF:
        return js_check_all(check, frame, k, seen);

    case JS_KW_ANY_OF:
        return js_check_any(check, frame, k, seen);

    case JS_KW_ONE_OF:
        return js_check_one(check, frame, k, seen);

    case JS_KW_NOT:
        return js_check_not(check, frame, k);

    case JS_KW_IF:
        return js_check_if(check, frame, k, seen);

    default:
        return k->kw < JS_KW_PROPERTY_NAMES
                   ? js_check_value(check, frame, k)
                   : js_check_items(check, frame, k, seen);
    }
}


int
js_check_in_place(js_check_t *check, const js_frame_t *frame,
                  const js_node_t *node, js_seen_t *seen)
{
    js_seen_t own;
    uint32_t  i;
    int       rc;

    if (seen == NULL || frame->value->type < JS_ARRAY) {
        return js_check_node(check, frame, node, frame->value, NULL);
    }

    LLM_TRY(js_seen_new(check, frame->value, &own));
    rc = js_check_node(check, frame, node, frame->value, &own);

    if (rc == 1) {
        for (i = 0; i < frame->value->n; i++) {
            seen->items[i] |= own.items[i];
        }
    }

    return rc;
}


/* Only references can lead back to a schema on the same value. */
static int
js_check_loop(js_check_t *check, const js_frame_t *frame, const js_node_t *node)
{
    const js_value_t *value = frame->value;

    for (; frame && frame->value == value; frame = frame->up) {
        check->steps--;

        if (frame->node == node) {
            return 1;
        }
    }

    return 0;
}


static int
js_check_ref(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k,
             js_seen_t *seen)
{
    const js_node_t *node;

    if (k->node == NULL) {
        return js_check_error(check, frame, k, -ENOTSUP, k->missing);
    }

    node = js_check_dynamic(check, frame, k);

    if (js_check_loop(check, frame, node)) {
        return js_check_error(check, frame, k, -ELOOP,
                              "a reference leads to itself");
    }

    return js_check_in_place(check, frame, node, seen);
}


/* What the outermost schema of those being checked has under that name. */
static const js_node_t *
js_check_dynamic(js_check_t *check, const js_frame_t *frame,
                 const js_keyword_t *k)
{
    const js_node_t     *node = k->node;
    const js_resource_t *resource;
    const js_dynamic_t  *d;

    if (k->kw != JS_KW_REF) {
        check->steps -= frame->depth / 16;
    }

    if (k->kw == JS_KW_RECURSIVE_REF) {
        if (!node->resource->recursive || node->resource->node != node) {
            return node;
        }

        for (; frame; frame = frame->up) {
            if (frame->node->resource->recursive) {
                node = frame->node->resource->node;
            }
        }

        return node;
    }

    if (k->anchor.len == 0) {
        return node;
    }

    for (; frame; frame = frame->up) {
        resource = frame->node->resource;

        if (frame->up && frame->up->node->resource == resource) {
            continue;
        }

        for (d = resource->dynamic; d; d = d->next) {
            if (str_eq(d->name, k->anchor)) {
                node = d->node;
                break;
            }
        }
    }

    return node;
}


static int
js_check_all(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k,
             js_seen_t *seen)
{
    uint32_t i;
    int      rc;

    for (i = 0; i < k->n; i++) {
        rc = js_check_in_place(check, frame, k->nodes[i], seen);

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


static int
js_check_any(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k,
             js_seen_t *seen)
{
    uint32_t i, n = 0;
    int      rc;

    for (i = 0; i < k->n && (n == 0 || seen); i++) {
        rc = js_check_in_place(check, frame, k->nodes[i], seen);

        if (rc < 0) {
            return rc;
        }

        n += (uint32_t) rc;
    }

    return n > 0 ? 1 : js_check_fail(check, frame, k);
}


static int
js_check_one(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k,
             js_seen_t *seen)
{
    uint32_t i, n = 0;
    int      rc;

    for (i = 0; i < k->n && n < 2; i++) {
        rc = js_check_in_place(check, frame, k->nodes[i], seen);

        if (rc < 0) {
            return rc;
        }

        n += (uint32_t) rc;
    }

    return n == 1 ? 1 : js_check_fail(check, frame, k);
}


static int
js_check_not(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k)
{
    int rc = js_check_in_place(check, frame, k->node, NULL);

    if (rc < 0) {
        return rc;
    }

    return rc == 0 ? 1 : js_check_fail(check, frame, k);
}


static int
js_check_if(js_check_t *check, const js_frame_t *frame, const js_keyword_t *k,
            js_seen_t *seen)
{
    const js_keyword_t *branch;
    int                 rc;

    if (seen == NULL
        && (frame->node->has & (1ull << JS_KW_THEN | 1ull << JS_KW_ELSE))
               == 0) {
        return 1;
    }

    rc = js_check_in_place(check, frame, k->node, seen);

    if (rc < 0) {
        return rc;
    }

    branch = js_node_get(frame->node, rc ? JS_KW_THEN : JS_KW_ELSE);

    return branch ? js_check_in_place(check, frame, branch->node, seen) : 1;
}
