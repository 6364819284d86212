/*
 * Regular expressions: code points as bytes of UTF-8, looking inside an
 * expression, and printing one.  The owner of the set is the only thread.
 */

#include <stdio.h>
#include "engine/grammar/re_priv.h"

#define PRINT_MAX 2000

static void range_bytes(re_set_t *set, uint32_t lo, uint32_t hi);
static void range_same(re_set_t *set, const uint8_t *lo, const uint8_t *hi,
                       int n);
static void print_list(const re_set_t *set, const re_node_t *n, re_t a,
                       buf_t *out, int depth);
static void print_node(const re_set_t *set, re_t a, buf_t *out, int depth);
static void print_byte(buf_t *out, unsigned c);
static void print_class(const uint64_t *bits, buf_t *out);


int
re_utf8(uint32_t cp, uint8_t out[4])
{
    if (cp < 0x80) {
        out[0] = (uint8_t) cp;
        return 1;
    }

    if (cp < 0x800) {
        out[0] = (uint8_t) (0xc0 | cp >> 6);
        out[1] = (uint8_t) (0x80 | (cp & 0x3f));
        return 2;
    }

    if (cp < 0x10000) {
        out[0] = (uint8_t) (0xe0 | cp >> 12);
        out[1] = (uint8_t) (0x80 | (cp >> 6 & 0x3f));
        out[2] = (uint8_t) (0x80 | (cp & 0x3f));
        return cp >= 0xd800 && cp <= 0xdfff ? 0 : 3;
    }

    out[0] = (uint8_t) (0xf0 | (cp >> 18 & 7));
    out[1] = (uint8_t) (0x80 | (cp >> 12 & 0x3f));
    out[2] = (uint8_t) (0x80 | (cp >> 6 & 0x3f));
    out[3] = (uint8_t) (0x80 | (cp & 0x3f));

    return cp > 0x10ffff ? 0 : 4;
}


re_t
re_range(re_set_t *set, uint32_t lo, uint32_t hi)
{
    re_range_t r = {lo, hi};

    return re_ranges(set, &r, 1);
}


re_t
re_ranges(re_set_t *set, const re_range_t *ranges, size_t n)
{
    static const uint32_t ends[] = {0x7f, 0x7ff, 0xd7ff, 0xffff, 0x10ffff};
    uint32_t              base, lo, hi;
    size_t                i, k;
    re_t                  r;

    base = set->n_stack;

    for (i = 0; i < n; i++) {
        lo = 0;

        for (k = 0; k < llm_countof(ends) && set->rc == 0; k++) {
            lo = lo > ranges[i].lo ? lo : ranges[i].lo;
            lo = lo >= 0xd800 && lo <= 0xdfff ? 0xe000 : lo;
            hi = ends[k] < ranges[i].hi ? ends[k] : ranges[i].hi;

            if (lo <= hi) {
                range_bytes(set, lo, hi);
                lo = hi + 1;
            }
        }
    }

    /* The list is on the stack already, but its constructor's is above. */

    r = re_or_stack(set, base);

    if (r != RE_NONE) {
        set->nodes[r].flags |= RE_F_CHAR | RE_F_TEXT;
    }

    return r;
}


/* lo to hi are of the same length: pieces whose last bytes are whole. */
static void
range_bytes(re_set_t *set, uint32_t lo, uint32_t hi)
{
    uint8_t  a[4], b[4];
    uint32_t mask, end;
    int      i, n;

    while (lo <= hi && set->rc == 0) {
        n = re_utf8(lo, a);
        end = hi;

        /*
         * Where lo is not at the start of a block of 64^i, or hi not at the
         * end of it, the piece ends with the smallest block that it breaks.
         */

        for (i = 1; i < n; i++) {
            mask = (1u << (6 * i)) - 1;

            if ((lo & ~mask) == (end & ~mask)) {
                continue;
            }

            if (lo & mask) {
                end = lo | mask;
                break;
            }

            /* What is left may break a larger block in its turn. */

            if ((end & mask) != mask) {
                end = (end & ~mask) - 1;
            }
        }

        (void) re_utf8(end, b);
        range_same(set, a, b, n);
        lo = end + 1;
    }
}


/* Each byte from lo's to hi's, whatever the others are. */
static void
range_same(re_set_t *set, const uint8_t *lo, const uint8_t *hi, int n)
{
    re_t r = RE_EMPTY;

    while (n-- > 0) {
        r = re_concat(set, re_byte_range(set, lo[n], hi[n]), r);
    }

    if (r != RE_NONE) {
        re_push(set, r);
    }
}


void
re_view(const re_set_t *set, re_t a, re_view_t *view)
{
    const re_node_t *n = &set->nodes[a];

    *view = (re_view_t){.kind = n->kind};

    switch (n->kind) {
    case RE_KIND_CLASS:
        view->set = re_bits(set, a);
        break;

    case RE_KIND_RUN:
        view->bytes = set->blob + n->a;
        view->len = n->b;
        view->a = n->c;
        break;

    case RE_KIND_CONCAT:
        view->a = n->a;
        view->b = n->b;
        break;

    case RE_KIND_OR:
    case RE_KIND_AND:
        view->list = re_list(set, a);
        view->n = n->b;
        break;

    case RE_KIND_REPEAT:
        view->a = n->a;
        view->min = n->b;
        view->max = n->c;
        break;

    case RE_KIND_NOT:
    case RE_KIND_QUOTED:
        view->a = n->a;
        view->min = n->b;
        break;
    }
}


void
re_print(const re_set_t *set, re_t a, buf_t *out)
{
    print_node(set, a, out, 0);
}


static void
print_node(const re_set_t *set, re_t a, buf_t *out, int depth)
{
    const re_node_t *n = &set->nodes[a];
    uint32_t         i;

    if (out->len > PRINT_MAX || depth > 50) {
        buf_str(out, "...");
        return;
    }

    if (a == RE_TEXT || a == RE_CHAR || a == RE_ALL) {
        buf_str(out, a == RE_TEXT ? "TEXT" : a == RE_CHAR ? "CHAR" : "ALL");
        return;
    }

    switch (n->kind) {
    case RE_KIND_NONE:
        buf_str(out, "NONE");
        break;

    case RE_KIND_EMPTY:
        buf_str(out, "()");
        break;

    case RE_KIND_CLASS:
        print_class(re_bits(set, a), out);
        break;

    case RE_KIND_RUN:
        for (i = 0; i < n->b && out->len < PRINT_MAX; i++) {
            print_byte(out, set->blob[n->a + i]);
        }

        if (n->c != RE_EMPTY) {
            buf_str(out, " ");
            print_node(set, n->c, out, depth + 1);
        }

        break;

    case RE_KIND_CONCAT:
        print_node(set, n->a, out, depth + 1);
        buf_str(out, " ");
        print_node(set, n->b, out, depth + 1);
        break;

    case RE_KIND_OR:
    case RE_KIND_AND:
        print_list(set, n, a, out, depth);
        break;

    case RE_KIND_NOT:
        buf_str(out, "~");
        print_node(set, n->a, out, depth + 1);
        break;

    case RE_KIND_REPEAT:
        buf_str(out, "(");
        print_node(set, n->a, out, depth + 1);
        buf_fmt(out, "){%u,", n->b);

        if (n->c != RE_INF) {
            buf_fmt(out, "%u", n->c);
        }

        buf_str(out, "}");
        break;

    case RE_KIND_REMAINDER:
        buf_str(out, "REMAINDER");
        break;

    default:
        buf_fmt(out, "QUOTED[%x](", n->b);
        print_node(set, n->a, out, depth + 1);
        buf_str(out, ")");
    }
}


static void
print_list(const re_set_t *set, const re_node_t *n, re_t a, buf_t *out,
           int depth)
{
    uint32_t i;

    buf_str(out, "(");

    for (i = 0; i < n->b && out->len < PRINT_MAX; i++) {
        buf_str(out, i == 0 ? "" : n->kind == RE_KIND_OR ? " | " : " & ");
        print_node(set, re_list(set, a)[i], out, depth + 1);
    }

    buf_str(out, ")");
}


static void
print_byte(buf_t *out, unsigned c)
{
    buf_fmt(out, c > 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
}


static void
print_class(const uint64_t *bits, buf_t *out)
{
    unsigned c, end;

    buf_str(out, "[");

    for (c = 0; c < 256; c = end) {
        end = c + 1;

        if (!re_bit(bits, c)) {
            continue;
        }

        while (end < 256 && re_bit(bits, end)) {
            end++;
        }

        print_byte(out, c);

        if (end > c + 1) {
            buf_str(out, "-");
            print_byte(out, end - 1);
        }
    }

    buf_str(out, "]");
}
