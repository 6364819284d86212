/*
 * Regular expressions: unions in a normal form, and what intersections
 * (re_and.c) share with them.  The owner of the set is the only thread here;
 * scratch is the set's stack, of which each function uses what is above its
 * own base.
 *
 * A UNION is flat, sorted by handle and without repetition; at most one
 * class; runs are factored into a trie, so that no two begin with the same
 * byte; what begins with one byte or one class and goes on alike is one
 * member ([ab]x for ax and bx).
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/re_priv.h"

/* A run while a trie is built of many. */
typedef struct {
    uint32_t off, len;
    re_t     tail;
} re_word_t;

/* A member as first byte (or class) and what follows. */
typedef struct {
    uint64_t bits[4];
    re_t     tail;
    re_t     re;
} re_head_t;

static void or_empty(re_set_t *set, uint32_t base);
static void or_texts(re_set_t *set, uint32_t base);
static void or_words(re_set_t *set, uint32_t base);
static re_t or_trie(re_set_t *set, re_word_t *words, size_t n, uint32_t at);
static int  word_cmp(const void *a, const void *b, void *blob);
static void or_heads(re_set_t *set, uint32_t base);
static int  head_of(const re_set_t *set, re_t a, re_head_t *head);
static int  head_cmp(const void *a, const void *b);
static void or_flatten(re_set_t *set, uint32_t base);
static re_t and_each(re_set_t *set, uint32_t base);
static int  is_quoted(const re_set_t *set, re_t a, re_t *arg, re_t *tail);
static int  by_handle(const void *a, const void *b);


re_t
re_or(re_set_t *set, re_t a, re_t b)
{
    re_t list[2];

    /* What derivatives ask most. */

    if (a == b || re_is_void(set, b)) {
        return set->rc ? RE_NONE : a;
    }

    if (re_is_void(set, a)) {
        return set->rc ? RE_NONE : b;
    }

    list[0] = a;
    list[1] = b;

    return re_or_n(set, list, 2);
}


re_t
re_or_n(re_set_t *set, const re_t *list, size_t n)
{
    uint32_t base = set->n_stack;
    size_t   i;
    re_t     r;

    if (!re_enter(set)) {
        return RE_NONE;
    }

    for (i = 0; i < n; i++) {
        if (!re_is_void(set, list[i])) {
            re_gather(set, list[i], RE_KIND_OR);
        }
    }

    r = re_or_list(set, base);
    set->n_stack = base;
    re_leave(set);

    return set->rc ? RE_NONE : r;
}


re_t
re_or_stack(re_set_t *set, uint32_t base)
{
    re_t r;

    if (!re_enter(set)) {
        set->n_stack = base;
        return RE_NONE;
    }

    or_flatten(set, base);
    r = re_or_list(set, base);
    set->n_stack = base;
    re_leave(set);

    return set->rc ? RE_NONE : r;
}


/* The union of what the stack holds from base, already flat. */
re_t
re_or_list(re_set_t *set, uint32_t base)
{
    re_node_t n = {.kind = RE_KIND_OR};

    if (!re_step(set, set->n_stack - base)) {
        return RE_NONE;
    }

    re_sort_unique(set, base);

    if (re_has(set, base, RE_ALL) || re_has_opposites(set, base)) {
        return RE_ALL;
    }

    or_texts(set, base);
    re_merge_quoted(set, base, RE_KIND_OR);

    if (re_or_counts(set, base)) {
        re_sort_unique(set, base);
    }

    or_words(set, base);
    or_heads(set, base);
    or_empty(set, base);

    if (set->rc != 0 || set->n_stack == base) {
        return RE_NONE;
    }

    re_sort_unique(set, base);
    n.b = set->n_stack - base;

    if (n.b == 1) {
        return set->stack[base];
    }

    return re_intern(set, &n, set->stack + base, n.b * sizeof(re_t));
}


/* a, or its members where it is of the kind, on the stack. */
void
re_gather(re_set_t *set, re_t a, int kind)
{
    uint32_t i;

    if (RE_KIND(set, a) != kind) {
        re_push(set, a);
        return;
    }

    for (i = 0; i < set->nodes[a].b && set->rc == 0; i++) {
        re_push(set, re_list(set, a)[i]);
    }
}


void
re_sort_unique(re_set_t *set, uint32_t base)
{
    re_t    *s = set->stack + base;
    uint32_t i, k, n;

    n = set->n_stack - base;

    if (n < 2) {
        return;
    }

    if (n == 2) {
        if (s[0] > s[1]) {
            k = s[0];
            s[0] = s[1];
            s[1] = k;
        }

    } else {
        qsort(s, n, sizeof(re_t), by_handle);
    }

    for (i = 1, k = 1; i < n; i++) {
        if (s[i] != s[k - 1]) {
            s[k++] = s[i];
        }
    }

    set->n_stack = base + k;
}


int
re_has(const re_set_t *set, uint32_t base, re_t a)
{
    uint32_t i;

    for (i = base; i < set->n_stack; i++) {
        if (set->stack[i] == a) {
            return 1;
        }
    }

    return 0;
}


/* x and Not x. */
int
re_has_opposites(const re_set_t *set, uint32_t base)
{
    uint32_t i;
    re_t     a;

    for (i = base; i < set->n_stack; i++) {
        a = set->stack[i];

        if (RE_KIND(set, a) == RE_KIND_NOT
            && re_has(set, base, set->nodes[a].a)) {
            return 1;
        }
    }

    return 0;
}


void
re_drop(re_set_t *set, uint32_t base, re_t a)
{
    uint32_t i, k;

    for (i = base, k = base; i < set->n_stack; i++) {
        if (set->stack[i] != a) {
            set->stack[k++] = set->stack[i];
        }
    }

    set->n_stack = k;
}


/* The empty string is in a member already, or makes x+ x*. */
static void
or_empty(re_set_t *set, uint32_t base)
{
    re_node_t x;
    uint32_t  i;

    if (!re_has(set, base, RE_EMPTY)) {
        return;
    }

    for (i = base; i < set->n_stack; i++) {
        if (set->stack[i] != RE_EMPTY
            && RE_IS(set, set->stack[i], RE_F_NULLABLE)) {
            re_drop(set, base, RE_EMPTY);
            return;
        }
    }

    for (i = base; i < set->n_stack; i++) {
        x = set->nodes[set->stack[i]];

        if (x.kind == RE_KIND_REPEAT && x.b == 1) {
            set->stack[i] = re_repeat(set, x.a, 0, x.c);
            re_drop(set, base, RE_EMPTY);
            return;
        }
    }
}


/* Texts beside RE_TEXT are in it. */
static void
or_texts(re_set_t *set, uint32_t base)
{
    uint32_t i, k;

    if (!re_has(set, base, RE_TEXT)) {
        return;
    }

    for (i = base, k = base; i < set->n_stack; i++) {
        if (set->stack[i] == RE_TEXT || !RE_IS(set, set->stack[i], RE_F_TEXT)) {
            set->stack[k++] = set->stack[i];
        }
    }

    set->n_stack = k;
}


/* Takes the runs off the stack and puts their trie's branches there. */
static void
or_words(re_set_t *set, uint32_t base)
{
    const re_node_t *n;
    re_word_t       *words;
    uint64_t         firsts[4] = {0};
    uint32_t         i, k, runs, clash, lo;
    uint8_t          c;

    runs = 0;
    clash = 0;

    for (i = base; i < set->n_stack; i++) {
        n = &set->nodes[set->stack[i]];

        if (n->kind == RE_KIND_RUN) {
            c = set->blob[n->a];
            clash |= (uint32_t) re_bit(firsts, c);
            re_bit_set(firsts, c);
            runs++;
        }
    }

    if (!clash) {
        return;
    }

    words = malloc(runs * sizeof(re_word_t));
    if (words == NULL) {
        re_fail(set, -ENOMEM, "no memory for regular expressions");
        return;
    }

    for (i = base, k = base, runs = 0; i < set->n_stack; i++) {
        n = &set->nodes[set->stack[i]];

        if (n->kind == RE_KIND_RUN) {
            words[runs++] = (re_word_t){n->a, n->b, n->c};

        } else {
            set->stack[k++] = set->stack[i];
        }
    }

    set->n_stack = k;
    qsort_r(words, runs, sizeof(re_word_t), word_cmp, set->blob);

    for (lo = 0; lo < runs && set->rc == 0; lo = i) {
        c = set->blob[words[lo].off];

        for (i = lo + 1; i < runs && set->blob[words[i].off] == c; i++) {
            /* void */
        }

        k = or_trie(set, words + lo, i - lo, 0);
        re_gather(set, k, RE_KIND_OR);
    }

    free(words);
}


/* The union of words[n], sorted, which agree in their first at bytes. */
static re_t
or_trie(re_set_t *set, re_word_t *words, size_t n, uint32_t at)
{
    const uint8_t *a, *b;
    re_word_t      w = words[0];
    uint32_t       base, p, max;
    size_t         i, k;
    re_t           r;

    if (n == 1) {
        return re_run_at(set, w.off + at, w.len - at, w.tail);
    }

    if (!re_step(set, n) || !re_enter(set)) {
        return RE_NONE;
    }

    a = set->blob + w.off;
    b = set->blob + words[n - 1].off;
    max = w.len < words[n - 1].len ? w.len : words[n - 1].len;

    for (p = at; p < max && a[p] == b[p]; p++) { /* void */
    }

    base = set->n_stack;

    for (i = 0; i < n && set->rc == 0; i = k) {
        k = i + 1;

        if (words[i].len == p) {
            re_gather(set, words[i].tail, RE_KIND_OR);
            continue;
        }

        while (k < n && words[k].len > p
               && set->blob[words[k].off + p] == set->blob[words[i].off + p]) {
            k++;
        }

        re_gather(set, or_trie(set, words + i, k - i, p), RE_KIND_OR);
    }

    r = re_or_list(set, base);
    set->n_stack = base;
    r = re_run_at(set, w.off + at, p - at, r);
    re_leave(set);

    return r;
}


static int
word_cmp(const void *a, const void *b, void *blob)
{
    const re_word_t *x = a, *y = b;
    uint32_t         n = x->len < y->len ? x->len : y->len;
    int              rc;

    rc = memcmp((uint8_t *) blob + x->off, (uint8_t *) blob + y->off, n);

    return rc ? rc : x->len < y->len ? -1 : x->len > y->len;
}


/* Members that differ in their first byte only become one. */
static void
or_heads(re_set_t *set, uint32_t base)
{
    re_head_t few[8], *heads, h;
    uint32_t  i, j, k, n;
    re_t      r;

    for (i = base, n = 0; i < set->n_stack; i++) {
        n += (uint32_t) head_of(set, set->stack[i], &h);
    }

    if (n < 2) {
        return;
    }

    heads = n <= llm_countof(few) ? few : malloc(n * sizeof(re_head_t));
    if (heads == NULL) {
        re_fail(set, -ENOMEM, "no memory for regular expressions");
        return;
    }

    for (i = base, k = base, n = 0; i < set->n_stack; i++) {
        if (head_of(set, set->stack[i], &h)) {
            heads[n++] = h;

        } else {
            set->stack[k++] = set->stack[i];
        }
    }

    set->n_stack = k;
    qsort(heads, n, sizeof(re_head_t), head_cmp);

    for (i = 0; i < n && set->rc == 0; i = k) {
        h = heads[i];

        for (k = i + 1; k < n && heads[k].tail == h.tail; k++) {
            for (j = 0; j < 4; j++) {
                h.bits[j] |= heads[k].bits[j];
            }
        }

        if (k == i + 1) {
            re_push(set, h.re);
            continue;
        }

        r = re_class(set, h.bits);
        re_push(set, h.tail == RE_EMPTY ? r : re_concat(set, r, h.tail));
    }

    if (heads != few) {
        free(heads);
    }
}


static int
head_of(const re_set_t *set, re_t a, re_head_t *head)
{
    const re_node_t *n = &set->nodes[a];

    memset(head->bits, 0, sizeof(head->bits));
    head->tail = RE_EMPTY;
    head->re = a;

    if (n->kind == RE_KIND_RUN && n->b == 1) {
        re_bit_set(head->bits, set->blob[n->a]);
        head->tail = n->c;
        return 1;
    }

    if (n->kind == RE_KIND_CONCAT) {
        head->tail = n->b;
        a = n->a;
    }

    if (RE_KIND(set, a) != RE_KIND_CLASS) {
        return 0;
    }

    memcpy(head->bits, re_bits(set, a), sizeof(head->bits));

    return 1;
}


static int
head_cmp(const void *a, const void *b)
{
    const re_head_t *x = a, *y = b;

    return x->tail < y->tail ? -1 : x->tail > y->tail;
}


static int
by_handle(const void *a, const void *b)
{
    const re_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}


/*
 * Spellings of x and spellings of y, with the same (quote and) rest, are
 * spellings of both sets' union or intersection: no spelling has a quote.
 */
void
re_merge_quoted(re_set_t *set, uint32_t base, int kind)
{
    uint32_t i, j, n, mark;
    re_t     arg, tail, arg2, tail2, r;

    for (i = base; i + 1 < set->n_stack && set->rc == 0; i++) {
        if (!is_quoted(set, set->stack[i], &arg, &tail)) {
            continue;
        }

        n = i + 1;
        mark = set->n_stack;
        re_push(set, arg);

        for (j = i + 1; j < mark && set->rc == 0; j++) {
            if (is_quoted(set, set->stack[j], &arg2, &tail2) && tail2 == tail) {
                re_push(set, arg2);

            } else {
                set->stack[n++] = set->stack[j];
            }
        }

        if (set->n_stack == mark + 1 || set->rc != 0) {
            set->n_stack = mark;
            continue;
        }

        /* The arguments are a list of their own above the mark. */

        if (kind == RE_KIND_OR) {
            or_flatten(set, mark);
        }

        arg2 = kind == RE_KIND_OR ? re_or_list(set, mark) : and_each(set, mark);
        r = re_concat(set, re_quoted_at(set, arg2, 0), tail);
        set->stack[i] = r;
        set->n_stack = n;
    }
}


/* Members of members take the place of what is from base. */
static void
or_flatten(re_set_t *set, uint32_t base)
{
    uint32_t i, n = set->n_stack;

    for (i = base; i < n; i++) {
        if (RE_KIND(set, set->stack[i]) == RE_KIND_OR) {
            re_gather(set, set->stack[i], RE_KIND_OR);
            set->stack[i] = set->stack[--set->n_stack];
        }
    }
}


static re_t
and_each(re_set_t *set, uint32_t base)
{
    re_t     r = set->stack[base];
    uint32_t i, n = set->n_stack;

    for (i = base + 1; i < n; i++) {
        r = re_and(set, r, set->stack[i]);
    }

    return r;
}


static int
is_quoted(const re_set_t *set, re_t a, re_t *arg, re_t *tail)
{
    const re_node_t *n = &set->nodes[a], *q, *t;

    *tail = RE_EMPTY;
    q = n;

    if (n->kind == RE_KIND_CONCAT) {
        q = &set->nodes[n->a];
        t = &set->nodes[n->b];
        *tail = n->b;

        if (t->kind != RE_KIND_RUN || set->blob[t->a] != '"') {
            return 0;
        }
    }

    *arg = q->a;

    return q->kind == RE_KIND_QUOTED && q->b == 0;
}
