/*
 * The JSON scanner: see js_value.h.  Any thread;
 * trees are in the caller's arena, and what is being read lies on a stack of
 * the scanner's own until its array or object ends.  Recursion is bounded by
 * max_depth.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/js_value.h"

typedef struct {
    arena_t    *arena;
    const char *p;
    const char *end;
    const char *start;
    js_value_t *stack;
    size_t      n_stack;
    size_t      cap;
    uint32_t    n_values;
    js_limits_t limits;
    char       *err;
    size_t      err_size;
} js_scan_t;

static int    js_fail(js_scan_t *scan, int rc, const char *what);
static void   js_space(js_scan_t *scan);
static int    js_value(js_scan_t *scan, js_value_t *v, uint32_t depth);
static int    js_word(js_scan_t *scan, const char *word);
static int    js_number(js_scan_t *scan, js_value_t *v);
static int    js_string(js_scan_t *scan, const char **s, uint32_t *len);
static size_t js_plain(const char *p);
static int    js_escape(js_scan_t *scan, char **out);
static int    js_hex4(js_scan_t *scan, uint32_t *unit);
static int    js_array(js_scan_t *scan, js_value_t *v, uint32_t depth);
static int    js_object(js_scan_t *scan, js_value_t *v, uint32_t depth);
static int    js_push(js_scan_t *scan, const js_value_t *v);
static int    js_adopt(js_scan_t *scan, js_value_t *v, size_t base);
static void   js_own(const js_value_t *v);
static int    js_sort(js_scan_t *scan, js_value_t *v, js_value_t *items);
static int    js_key_order(const void *a, const void *b);


int
js_parse(arena_t *arena, const char *text, size_t len,
         const js_limits_t *limits, const js_value_t **root, uint32_t *n_values,
         char *err, size_t err_size)
{
    static const js_limits_t none;
    js_scan_t                scan = {.arena = arena};
    js_value_t              *v;
    int                      rc;

    scan.limits = limits ? *limits : none;
    scan.start = scan.p = text;
    scan.end = text + len;
    scan.err = err;
    scan.err_size = err_size;

    if (scan.limits.max_bytes == 0) {
        scan.limits.max_bytes = 4u << 20;
    }

    if (scan.limits.max_depth == 0) {
        scan.limits.max_depth = 512;
    }

    if (scan.limits.max_values == 0) {
        scan.limits.max_values = 1u << 20;
    }

    if (len > scan.limits.max_bytes || len >= UINT32_MAX) {
        return js_fail(&scan, -E2BIG, "JSON text is too long");
    }

    v = arena_get(arena, sizeof(js_value_t));
    if (v == NULL) {
        return js_fail(&scan, -ENOMEM, "no memory for a JSON text");
    }

    js_space(&scan);
    rc = js_value(&scan, v, 0);
    js_space(&scan);

    if (rc == 0 && scan.p < scan.end) {
        rc = js_fail(&scan, -EINVAL, "text after the JSON value");
    }

    free(scan.stack);
    js_own(v);
    *root = v;

    if (n_values) {
        *n_values = scan.n_values;
    }

    return rc;
}


static int
js_fail(js_scan_t *scan, int rc, const char *what)
{
    if (scan->err_size > 0) {
        snprintf(scan->err, scan->err_size, "%s at byte %zu", what,
                 (size_t) (scan->p - scan->start));
    }

    return rc;
}


static void
js_space(js_scan_t *scan)
{
    while (scan->p < scan->end
           && (*scan->p == ' ' || *scan->p == '\n' || *scan->p == '\t'
               || *scan->p == '\r')) {
        scan->p++;
    }
}


static int
js_value(js_scan_t *scan, js_value_t *v, uint32_t depth)
{
    if (depth > scan->limits.max_depth) {
        return js_fail(scan, -E2BIG, "JSON is nested too deeply");
    }

    if (scan->n_values == scan->limits.max_values) {
        return js_fail(scan, -E2BIG, "too many values in a JSON text");
    }

    v->index = scan->n_values++;

    if (scan->p == scan->end) {
        return js_fail(scan, -EINVAL, "JSON text ends early");
    }

    switch (*scan->p) {
    case '{':
        return js_object(scan, v, depth);

    case '[':
        return js_array(scan, v, depth);

    case '"':
        v->type = JS_STRING;
        return js_string(scan, &v->s, &v->n);

    case 't':
        v->type = JS_BOOLEAN;
        v->truth = 1;
        return js_word(scan, "true");

    case 'f':
        v->type = JS_BOOLEAN;
        return js_word(scan, "false");

    case 'n':
        v->type = JS_NULL;
        return js_word(scan, "null");

    default:
        return js_number(scan, v);
    }
}


static int
js_word(js_scan_t *scan, const char *word)
{
    size_t n = strlen(word);

    if ((size_t) (scan->end - scan->p) < n || memcmp(scan->p, word, n) != 0) {
        return js_fail(scan, -EINVAL, "not a JSON value");
    }

    scan->p += n;

    return 0;
}


static int
js_number(js_scan_t *scan, js_value_t *v)
{
    js_decimal_t *decimal;
    const char   *p;
    size_t        n;
    int           rc;

    for (p = scan->p; p < scan->end; p++) {
        if ((*p < '0' || *p > '9') && *p != '-' && *p != '+' && *p != '.'
            && *p != 'e' && *p != 'E') {
            break;
        }
    }

    n = (size_t) (p - scan->p);

    if (n == 0) {
        return js_fail(scan, -EINVAL, "not a JSON value");
    }

    v->type = JS_NUMBER;
    v->n = (uint32_t) n;
    v->s = arena_str(scan->arena, scan->p, n);
    decimal = arena_get(scan->arena, sizeof(js_decimal_t));

    if (v->s == NULL || decimal == NULL) {
        return js_fail(scan, -ENOMEM, "no memory for a JSON text");
    }

    rc = js_decimal_read(scan->arena, v->s, n, decimal);

    if (rc < 0) {
        return js_fail(scan, rc,
                       rc == -EINVAL ? "not a JSON number"
                                     : "number is out of range");
    }

    v->decimal = decimal;
    scan->p = p;

    return 0;
}


static int
js_string(js_scan_t *scan, const char **s, uint32_t *len)
{
    const char *p;
    char       *data, *out;
    uint32_t    cp;
    size_t      n;

    scan->p++;

    for (p = scan->p; p < scan->end && *p != '"'; p++) {
        if (*p == '\\' && p + 1 < scan->end) {
            p++;
        }
    }

    if (p == scan->end) {
        return js_fail(scan, -EINVAL, "string does not end");
    }

    data = out = arena_get(scan->arena, (size_t) (p - scan->p) + 1);
    if (data == NULL) {
        return js_fail(scan, -ENOMEM, "no memory for a JSON text");
    }

    while (*scan->p != '"') {
        n = js_plain(scan->p);

        if (n) {
            memcpy(out, scan->p, n);
            out += n;
            scan->p += n;
            continue;
        }

        if ((unsigned char) *scan->p < 0x20) {
            return js_fail(scan, -EINVAL, "control character in a string");
        }

        if (*scan->p == '\\') {
            LLM_TRY(js_escape(scan, &out));
            continue;
        }

        n = js_utf8(scan->p, scan->end, &cp);

        if (n == 0) {
            return js_fail(scan, -EINVAL, "string is not UTF-8");
        }

        memcpy(out, scan->p, n);
        out += n;
        scan->p += n;
    }

    scan->p++;
    *s = data;
    *len = (uint32_t) (out - data);

    return 0;
}


/* Bytes at p that stand for themselves; the string's end is none. */
static size_t
js_plain(const char *p)
{
    const char *from = p;

    while (*p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\') {
        p++;
    }

    return (size_t) (p - from);
}


static int
js_escape(js_scan_t *scan, char **out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char       *at;
    uint32_t          hi, lo;

    if (scan->end - scan->p < 2) {
        return js_fail(scan, -EINVAL, "string does not end");
    }

    at = scan->p[1] ? strchr(names, scan->p[1]) : NULL;

    if (at) {
        *(*out)++ = values[at - names];
        scan->p += 2;
        return 0;
    }

    LLM_TRY(js_hex4(scan, &hi));

    if (hi >= 0xdc00 && hi <= 0xdfff) {
        return js_fail(scan, -EINVAL, "lone surrogate");
    }

    if (hi >= 0xd800 && hi <= 0xdbff) {
        LLM_TRY(js_hex4(scan, &lo));

        if (lo < 0xdc00 || lo > 0xdfff) {
            return js_fail(scan, -EINVAL, "lone surrogate");
        }

        hi = 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
    }

    *out += js_utf8_put(*out, hi);

    return 0;
}


/* \uXXXX */
static int
js_hex4(js_scan_t *scan, uint32_t *unit)
{
    const char *p = scan->p;
    uint32_t    i, v = 0;

    if (scan->end - p < 6 || p[0] != '\\' || p[1] != 'u') {
        return js_fail(scan, -EINVAL, "bad escape in a string");
    }

    for (i = 2; i < 6; i++) {
        v <<= 4;

        if (p[i] >= '0' && p[i] <= '9') {
            v |= (uint32_t) (p[i] - '0');

        } else if ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'f') {
            v |= (uint32_t) ((p[i] | 0x20) - 'a' + 10);

        } else {
            return js_fail(scan, -EINVAL, "bad escape in a string");
        }
    }

    scan->p += 6;
    *unit = v;

    return 0;
}


static int
js_array(js_scan_t *scan, js_value_t *v, uint32_t depth)
{
    js_value_t item;
    size_t     base = scan->n_stack;

    v->type = JS_ARRAY;
    scan->p++;
    js_space(scan);

    if (scan->p < scan->end && *scan->p == ']') {
        scan->p++;
        return 0;
    }

    for (;;) {
        item = (js_value_t){0};
        js_space(scan);
        LLM_TRY(js_value(scan, &item, depth + 1));
        LLM_TRY(js_push(scan, &item));
        js_space(scan);

        if (scan->p < scan->end && *scan->p == ',') {
            scan->p++;
            continue;
        }

        if (scan->p == scan->end || *scan->p != ']') {
            return js_fail(scan, -EINVAL, "expected \",\" or \"]\"");
        }

        scan->p++;
        return js_adopt(scan, v, base);
    }
}


static int
js_object(js_scan_t *scan, js_value_t *v, uint32_t depth)
{
    js_value_t item;
    size_t     base = scan->n_stack;

    v->type = JS_OBJECT;
    scan->p++;
    js_space(scan);

    if (scan->p < scan->end && *scan->p == '}') {
        scan->p++;
        return 0;
    }

    for (;;) {
        item = (js_value_t){0};
        js_space(scan);

        if (scan->p == scan->end || *scan->p != '"') {
            return js_fail(scan, -EINVAL, "expected a member's name");
        }

        LLM_TRY(js_string(scan, &item.key, &item.key_len));
        js_space(scan);

        if (scan->p == scan->end || *scan->p != ':') {
            return js_fail(scan, -EINVAL, "expected \":\"");
        }

        scan->p++;
        js_space(scan);
        LLM_TRY(js_value(scan, &item, depth + 1));
        LLM_TRY(js_push(scan, &item));
        js_space(scan);

        if (scan->p < scan->end && *scan->p == ',') {
            scan->p++;
            continue;
        }

        if (scan->p == scan->end || *scan->p != '}') {
            return js_fail(scan, -EINVAL, "expected \",\" or \"}\"");
        }

        scan->p++;
        return js_adopt(scan, v, base);
    }
}


static int
js_push(js_scan_t *scan, const js_value_t *v)
{
    js_value_t *stack;
    size_t      cap;

    if (scan->n_stack == scan->cap) {
        cap = scan->cap ? scan->cap * 2 : 64;
        stack = realloc(scan->stack, cap * sizeof(js_value_t));
        if (stack == NULL) {
            return js_fail(scan, -ENOMEM, "no memory for a JSON text");
        }

        scan->stack = stack;
        scan->cap = cap;
    }

    scan->stack[scan->n_stack++] = *v;

    return 0;
}


/* Moves what was pushed since base from the stack into v. */
static int
js_adopt(js_scan_t *scan, js_value_t *v, size_t base)
{
    js_value_t *items;
    uint32_t    i;

    v->n = (uint32_t) (scan->n_stack - base);
    items = arena_get(scan->arena, v->n * sizeof(js_value_t));
    if (items == NULL) {
        return js_fail(scan, -ENOMEM, "no memory for a JSON text");
    }

    memcpy(items, scan->stack + base, v->n * sizeof(js_value_t));
    scan->n_stack = base;
    v->items = items;

    if (v->type == JS_OBJECT) {
        LLM_TRY(js_sort(scan, v, items));
    }

    for (i = 0; i < v->n; i++) {
        js_own(&items[i]);
    }

    return 0;
}


/* v has its final place: its items can know it. */
static void
js_own(const js_value_t *v)
{
    js_value_t *items;
    uint32_t    i;

    if (v->type < JS_ARRAY) {
        return;
    }

    items = (js_value_t *) v->items;

    for (i = 0; i < v->n; i++) {
        items[i].parent = v;
    }
}


static int
js_sort(js_scan_t *scan, js_value_t *v, js_value_t *items)
{
    js_value_t **order, *a, *b;
    uint32_t    *sorted;
    uint32_t     i, n, dropped = 0;

    order = malloc(v->n * sizeof(js_value_t *));
    sorted = arena_get(scan->arena, v->n * sizeof(uint32_t));

    if (order == NULL || sorted == NULL) {
        free(order);
        return js_fail(scan, -ENOMEM, "no memory for a JSON text");
    }

    for (i = 0; i < v->n; i++) {
        order[i] = &items[i];
    }

    qsort(order, v->n, sizeof(js_value_t *), js_key_order);

    /* Of one name they stand in the text's order: the first takes the last. */

    for (i = 1, a = order[0]; i < v->n; i++) {
        b = order[i];

        if (js_bytes_compare(a->key, a->key_len, b->key, b->key_len) != 0) {
            a = b;
            continue;
        }

        if (scan->limits.duplicates == JS_DUPLICATE_ERROR) {
            free(order);
            return js_fail(scan, -EINVAL, "two members of one name before");
        }

        *a = *b;
        b->key = NULL;
        dropped++;
    }

    if (dropped) {
        for (i = 0, n = 0; i < v->n; i++) {
            if (items[i].key) {
                items[n] = items[i];
                order[n] = &items[n];
                n++;
            }
        }

        v->n = n;
        qsort(order, v->n, sizeof(js_value_t *), js_key_order);
    }

    for (i = 0; i < v->n; i++) {
        sorted[i] = (uint32_t) (order[i] - items);
    }

    v->sorted = sorted;
    free(order);

    return 0;
}


static int
js_key_order(const void *a, const void *b)
{
    const js_value_t *x = *(js_value_t *const *) a;
    const js_value_t *y = *(js_value_t *const *) b;
    int               order;

    order = js_bytes_compare(x->key, x->key_len, y->key, y->key_len);

    return order ? order : (x > y) - (x < y);
}
