/*
 * Regular expressions: the set, its nodes, and the simple constructors.  See
 * re.h for what holds; the owner of the set is the only thread here.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/re_priv.h"

static re_t     re_first_nodes(re_set_t *set);
static uint32_t re_hash(const re_node_t *n, const void *data, size_t size);
static int  re_same(const re_set_t *set, const re_node_t *n, const re_node_t *m,
                    const void *data, size_t size);
static re_t re_node_add(re_set_t *set, re_node_t *n, const void *data,
                        size_t size);
static int  re_table_grow(re_set_t *set);
static int  re_is_text(const uint8_t *s, size_t len, int *chars);
static void re_measure_run(const re_set_t *set, re_node_t *n, const uint8_t *s);
static void re_measure_list(const re_set_t *set, re_node_t *n,
                            const re_t *list);
static re_t re_link_repeats(re_set_t *set, re_t head, re_t tail);


re_set_t *
re_new(const re_limits_t *limits)
{
    static const re_limits_t defaults = {1000000, 256u << 20, 50000000, 1000};
    re_set_t                *set = calloc(1, sizeof(re_set_t));

    if (set == NULL) {
        return NULL;
    }

    set->limits = limits ? *limits : defaults;

    if (set->limits.max_nodes == 0) {
        set->limits.max_nodes = defaults.max_nodes;
    }

    if (set->limits.max_bytes == 0) {
        set->limits.max_bytes = defaults.max_bytes;
    }

    if (set->limits.max_steps == 0) {
        set->limits.max_steps = defaults.max_steps;
    }

    if (set->limits.max_depth == 0 || set->limits.max_depth > 10000) {
        set->limits.max_depth = defaults.max_depth;
    }

    set->fuel = set->limits.max_steps;

    if (re_first_nodes(set) == RE_NONE && set->rc == -ENOMEM) {
        re_free(set);
        return NULL;
    }

    return set;
}


/* The constants of re.h, in their order. */
static re_t
re_first_nodes(re_set_t *set)
{
    re_node_t n = {.kind = RE_KIND_NONE, .flags = RE_F_VOID};
    re_t      high, c;

    if (!re_grow(set, &set->nodes, &set->cap_nodes, 64, sizeof(re_node_t))) {
        return RE_NONE;
    }

    set->nodes[set->n_nodes++] = n;

    n = (re_node_t){.kind = RE_KIND_EMPTY};
    re_intern(set, &n, NULL, 0);
    n = (re_node_t){.kind = RE_KIND_NOT, .a = RE_NONE};
    re_intern(set, &n, NULL, 0);

    /* RE_CHAR and RE_TEXT get their numbers first and their contents last. */

    set->nodes[RE_CHAR] = (re_node_t){.kind = RE_KIND_NONE};
    set->nodes[RE_TEXT] = (re_node_t){.kind = RE_KIND_NONE};
    set->n_nodes = RE_TEXT + 1;

    set->cont[0] = re_byte_range(set, 0x80, 0xbf);
    set->cont[1] = re_link(set, set->cont[0], set->cont[0]);
    set->cont[2] = re_link(set, set->cont[0], set->cont[1]);

    high = re_range(set, 0, 0x10ffff);
    if (high == RE_NONE) {
        return RE_NONE;
    }

    /*
     * The union that re_range() made is moved to its fixed place; nothing
     * else knows it yet but the hash table.
     */

    for (c = 0; c < set->n_table && set->table[c] != high; c++) { /* void */
    }

    set->nodes[RE_CHAR] = set->nodes[high];
    set->nodes[RE_CHAR].flags |= RE_F_CHAR | RE_F_TEXT | RE_F_SOME;
    set->table[c] = RE_CHAR;

    n = (re_node_t){.kind = RE_KIND_REPEAT, .a = RE_CHAR, .b = 0, .c = RE_INF};
    c = re_intern(set, &n, NULL, 0);
    set->nodes[RE_TEXT] = set->nodes[c];
    set->nodes[RE_TEXT].flags |= RE_F_TEXT;

    for (high = 0; high < set->n_table && set->table[high] != c; high++) {
    }

    set->table[high] = RE_TEXT;

    return RE_TEXT;
}


void
re_free(re_set_t *set)
{
    if (set == NULL) {
        return;
    }

    free(set->nodes);
    free(set->stamps);
    free(set->blob);
    free(set->table);
    free(set->memo);
    free(set->stack);
    free(set);
}


int
re_failed(const re_set_t *set, const char **msg)
{
    if (msg) {
        *msg = set->msg;
    }

    return set->rc;
}


void
re_fuel(re_set_t *set, uint64_t steps)
{
    set->fuel = steps;
    set->n_stack = 0;
    set->level = 0;

    if (set->rc == -ETIME) {
        set->rc = 0;
        set->msg = NULL;
    }
}


void
re_stats(const re_set_t *set, re_stats_t *stats)
{
    *stats = (re_stats_t){.steps = set->steps,
                          .derivs = set->derivs,
                          .nodes = set->n_nodes,
                          .bytes = set->bytes};
}


re_t
re_fail(re_set_t *set, int rc, const char *msg)
{
    if (set->rc == 0) {
        set->rc = rc;
        set->msg = msg;
    }

    return RE_NONE;
}


int
re_step(re_set_t *set, uint64_t steps)
{
    if (set->rc != 0) {
        return 0;
    }

    if (set->fuel < steps) {
        re_fail(set, -ETIME, "too many steps in regular expressions");
        return 0;
    }

    set->fuel -= steps;
    set->steps += steps;

    return 1;
}


int
re_grow(re_set_t *set, void *p, uint32_t *cap, uint64_t need, size_t size)
{
    uint64_t want = *cap;
    void    *old, *data;

    if (need <= want) {
        return 1;
    }

    while (want < need) {
        want = want ? want * 2 : 64;
    }

    if (want > UINT32_MAX
        || set->bytes + (want - *cap) * size > set->limits.max_bytes) {
        re_fail(set, -E2BIG, "regular expressions take too much memory");
        return 0;
    }

    memcpy(&old, p, sizeof(old));
    data = realloc(old, want * size);
    if (data == NULL) {
        re_fail(set, -ENOMEM, "no memory for regular expressions");
        return 0;
    }

    memcpy(p, &data, sizeof(data));
    set->bytes += (want - *cap) * size;
    *cap = (uint32_t) want;

    return 1;
}


void
re_push(re_set_t *set, re_t a)
{
    if (re_grow(set, &set->stack, &set->cap_stack, (uint64_t) set->n_stack + 1,
                sizeof(re_t))) {
        set->stack[set->n_stack++] = a;
    }
}


int
re_enter(re_set_t *set)
{
    if (set->rc != 0) {
        return 0;
    }

    if (set->level >= 2 * set->limits.max_depth) {
        re_fail(set, -E2BIG, "regular expressions are nested too deep");
        return 0;
    }

    set->level++;

    return 1;
}


void
re_leave(re_set_t *set)
{
    set->level--;
}


re_t
re_intern(re_set_t *set, const re_node_t *node, const void *data, size_t size)
{
    re_node_t n = *node;
    uint32_t  i;
    re_t      r;

    if (!re_step(set, 1)) {
        return RE_NONE;
    }

    if (n.kind == RE_KIND_RUN && data == NULL) {
        n.hash = re_hash(&n, set->blob + n.a, n.b);

    } else {
        n.hash = re_hash(&n, data, size);
    }

    if (set->n_nodes * 2 >= set->n_table && !re_table_grow(set)) {
        return RE_NONE;
    }

    for (i = n.hash & (set->n_table - 1); set->table[i];
         i = (i + 1) & (set->n_table - 1)) {
        r = set->table[i];

        if (set->nodes[r].hash == n.hash
            && re_same(set, &n, &set->nodes[r], data, size)) {
            return RE_IS(set, r, RE_F_VOID) ? RE_NONE : r;
        }
    }

    r = re_node_add(set, &n, data, size);

    if (r != RE_NONE) {
        set->table[i] = r;
    }

    return r;
}


static uint32_t
re_hash(const re_node_t *n, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t       h = n->kind * 0x9e3779b97f4a7c15ull;
    uint64_t       w;

    if (size == 0) {
        h = (h ^ n->a) * 0xff51afd7ed558ccdull;
    }

    h = (h ^ n->b) * 0xff51afd7ed558ccdull;
    h = (h ^ (h >> 29) ^ n->c) * 0xc4ceb9fe1a85ec53ull;

    for (; size >= 8; size -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ (h >> 31) ^ w) * 0x9e3779b97f4a7c15ull;
    }

    if (size > 0) {
        w = 0;
        memcpy(&w, p, size);
        h = (h ^ (h >> 31) ^ w) * 0x9e3779b97f4a7c15ull;
    }

    return (uint32_t) (h >> 32) ^ (uint32_t) (h >> 11);
}


static int
re_same(const re_set_t *set, const re_node_t *n, const re_node_t *m,
        const void *data, size_t size)
{
    if (n->kind != m->kind || n->b != m->b || n->c != m->c) {
        return 0;
    }

    if (n->kind == RE_KIND_RUN && data == NULL) {
        return n->a == m->a
               || memcmp(set->blob + n->a, set->blob + m->a, n->b) == 0;
    }

    return data ? memcmp(data, set->blob + m->a, size) == 0 : n->a == m->a;
}


static re_t
re_node_add(re_set_t *set, re_node_t *n, const void *data, size_t size)
{
    const void *p = data;

    if (set->n_nodes >= set->limits.max_nodes) {
        return re_fail(set, -E2BIG, "too many regular expressions");
    }

    if (n->kind == RE_KIND_RUN && data == NULL) {
        p = set->blob + n->a;
    }

    re_measure(set, n, p);

    if (n->depth > set->limits.max_depth) {
        return re_fail(set, -E2BIG, "a regular expression is nested too deep");
    }

    if (!re_grow(set, &set->nodes, &set->cap_nodes, (uint64_t) set->n_nodes + 1,
                 sizeof(re_node_t))) {
        return RE_NONE;
    }

    if (data) {
        if (!re_grow(set, &set->blob, &set->cap_blob,
                     (uint64_t) set->n_blob + size + 8, 1)) {
            return RE_NONE;
        }

        n->a = set->n_blob;
        memcpy(set->blob + n->a, data, size);
        set->n_blob += (uint32_t) ((size + 7) & ~(size_t) 7);
    }

    set->nodes[set->n_nodes] = *n;

    return set->n_nodes++;
}


static int
re_table_grow(re_set_t *set)
{
    uint32_t *table, cap, i, r;

    table = NULL;
    cap = 0;

    if (!re_grow(set, &table, &cap, set->n_table ? set->n_table * 2ull : 1024,
                 sizeof(uint32_t))) {
        return 0;
    }

    memset(table, 0, cap * sizeof(uint32_t));

    for (r = 1; r < set->n_nodes; r++) {
        if (set->nodes[r].kind == RE_KIND_NONE) {
            continue;
        }

        for (i = set->nodes[r].hash & (cap - 1); table[i];
             i = (i + 1) & (cap - 1)) { /* void */
        }

        table[i] = r;
    }

    free(set->table);
    set->bytes -= set->n_table * sizeof(uint32_t);
    set->table = table;
    set->n_table = cap;

    return 1;
}


void
re_measure(const re_set_t *set, re_node_t *n, const void *data)
{
    const re_node_t *a, *b;
    const uint64_t  *bits;

    n->flags = 0;
    n->depth = 0;
    a = &set->nodes[n->a];
    b = &set->nodes[n->b];

    switch (n->kind) {
    case RE_KIND_EMPTY:
        n->flags = RE_F_NULLABLE | RE_F_SOME | RE_F_TEXT;
        break;

    case RE_KIND_CLASS:
        bits = data;
        n->flags = RE_F_SOME;

        if (bits[2] == 0 && bits[3] == 0) {
            n->flags |= RE_F_TEXT | RE_F_CHAR;
        }

        break;

    case RE_KIND_RUN:
        re_measure_run(set, n, data);
        break;

    case RE_KIND_CONCAT:
        n->flags =
            a->flags & b->flags & (RE_F_NULLABLE | RE_F_SOME | RE_F_TEXT);
        n->depth = a->depth + 1;

        if ((a->flags & RE_F_NULLABLE) && b->depth > n->depth) {
            n->depth = b->depth;
        }

        break;

    case RE_KIND_OR:
    case RE_KIND_AND:
        re_measure_list(set, n, data);
        break;

    case RE_KIND_NOT:
        n->flags = a->flags & RE_F_NULLABLE ? 0 : RE_F_NULLABLE | RE_F_SOME;
        n->depth = a->depth + 1;
        break;

    case RE_KIND_REPEAT:
        n->flags = a->flags & (RE_F_SOME | RE_F_TEXT);
        n->flags |= n->b == 0 ? RE_F_NULLABLE | RE_F_SOME : 0;
        n->depth = a->depth + 1;
        break;

    case RE_KIND_REMAINDER:
        n->flags = RE_F_SOME | RE_F_TEXT;
        n->flags |= re_remainder_nullable(data) ? RE_F_NULLABLE : 0;
        break;

    case RE_KIND_QUOTED:
        n->depth = a->depth + 1;

        if (n->b == 0) {
            n->flags = a->flags & (RE_F_NULLABLE | RE_F_SOME | RE_F_TEXT);
        }

        break;
    }
}


static void
re_measure_run(const re_set_t *set, re_node_t *n, const uint8_t *s)
{
    const re_node_t *tail = &set->nodes[n->c];
    int              chars;

    n->flags = tail->flags & RE_F_SOME;

    if ((tail->flags & RE_F_TEXT) && re_is_text(s, n->b, &chars)) {
        n->flags |= RE_F_TEXT;

        if (n->c == RE_EMPTY && chars == 1) {
            n->flags |= RE_F_CHAR;
        }
    }
}


static void
re_measure_list(const re_set_t *set, re_node_t *n, const re_t *list)
{
    const re_node_t *a;
    uint8_t          any, all;
    uint32_t         i;

    any = 0;
    all = 0xff;

    for (i = 0; i < n->b; i++) {
        a = &set->nodes[list[i]];
        any |= a->flags;
        all &= a->flags;

        if (a->depth >= n->depth) {
            n->depth = a->depth + 1;
        }
    }

    if (n->kind == RE_KIND_OR) {
        n->flags = (any & (RE_F_NULLABLE | RE_F_SOME))
                   | (all & (RE_F_TEXT | RE_F_CHAR));
        return;
    }

    n->flags = (all & RE_F_NULLABLE) | (any & (RE_F_TEXT | RE_F_CHAR));
    n->flags |= all & RE_F_NULLABLE ? RE_F_SOME : 0;
}


static int
re_is_text(const uint8_t *s, size_t len, int *chars)
{
    size_t   i, k, n;
    uint64_t word;
    uint32_t cp;
    uint8_t  back[4];

    *chars = 0;

    for (i = 0; i < len; i += n) {

        /* Most is ASCII. */

        if (len - i >= 8) {
            memcpy(&word, s + i, 8);

            if ((word & 0x8080808080808080ull) == 0) {
                *chars += 8;
                n = 8;
                continue;
            }
        }

        n = s[i] < 0x80 ? 1 : s[i] < 0xe0 ? 2 : s[i] < 0xf0 ? 3 : 4;
        cp = n == 1 ? s[i] : s[i] & (0xffu >> (n + 1));

        if (n > len - i || s[i] >= 0xf8) {
            return 0;
        }

        for (k = 1; k < n; k++) {
            cp = cp << 6 | (s[i + k] & 0x3f);
        }

        /* Written again it is the same: neither overlong nor a surrogate. */

        if (re_utf8(cp, back) != (int) n || memcmp(back, s + i, n) != 0) {
            return 0;
        }

        ++*chars;
    }

    return 1;
}


re_t
re_class(re_set_t *set, const uint64_t bytes[4])
{
    re_node_t n = {.kind = RE_KIND_CLASS};
    uint64_t  bits[4];
    uint8_t   c;
    int       i, count;

    memcpy(bits, bytes, sizeof(bits));
    count = 0;
    c = 0;

    for (i = 0; i < 4; i++) {
        count += __builtin_popcountll(bits[i]);

        if (bits[i]) {
            c = (uint8_t) (i * 64 + __builtin_ctzll(bits[i]));
        }
    }

    switch (count) {
    case 0:
        return RE_NONE;

    case 1:
        return re_run(set, &c, 1, RE_EMPTY);

    default:
        return re_intern(set, &n, bits, sizeof(bits));
    }
}


re_t
re_byte_range(re_set_t *set, uint8_t lo, uint8_t hi)
{
    uint64_t bits[4] = {0};
    unsigned i, from, to;

    if (lo > hi) {
        return RE_NONE;
    }

    for (i = lo / 64; i <= hi / 64u; i++) {
        from = i == lo / 64u ? lo % 64 : 0;
        to = i == hi / 64u ? hi % 64 : 63;
        bits[i] = UINT64_MAX << from & UINT64_MAX >> (63 - to);
    }

    return re_class(set, bits);
}


re_t
re_run(re_set_t *set, const void *s, size_t len, re_t tail)
{
    re_node_t n = {.kind = RE_KIND_RUN};
    uint32_t  base;
    re_t      r;

    if (len == 0 || set->rc != 0 || re_is_void(set, tail)) {
        return set->rc != 0 || re_is_void(set, tail) ? RE_NONE : tail;
    }

    if (len > (1u << 26)) {
        return re_fail(set, -E2BIG, "a literal is too long");
    }

    if (!re_step(set, len / 64)) {
        return RE_NONE;
    }

    if (RE_KIND(set, tail) != RE_KIND_RUN) {
        n.b = (uint32_t) len;
        n.c = tail;
        return re_intern(set, &n, s, len);
    }

    /* Two runs become one; s is not in the blob (re_run_at() is for that). */

    base = set->n_blob;
    n.b = set->nodes[tail].b + (uint32_t) len;

    if (!re_grow(set, &set->blob, &set->cap_blob, (uint64_t) base + n.b + 8,
                 1)) {
        return RE_NONE;
    }

    memcpy(set->blob + base, s, len);
    memcpy(set->blob + base + len, set->blob + set->nodes[tail].a,
           set->nodes[tail].b);
    n.a = base;
    n.c = set->nodes[tail].c;
    set->n_blob += (n.b + 7) & ~7u;
    r = re_intern(set, &n, NULL, 0);

    if (r == RE_NONE || set->nodes[r].a != base) {
        set->n_blob = base; /* it was there before */
    }

    return r;
}


re_t
re_run_at(re_set_t *set, uint32_t off, uint32_t len, re_t tail)
{
    re_node_t n = {.kind = RE_KIND_RUN, .a = off, .b = len, .c = tail};
    uint8_t  *copy;
    re_t      r;

    if (len == 0 || re_is_void(set, tail)) {
        return len == 0 ? tail : RE_NONE;
    }

    if (RE_KIND(set, tail) != RE_KIND_RUN) {
        return re_intern(set, &n, NULL, 0);
    }

    copy = malloc(len);
    if (copy == NULL) {
        return re_fail(set, -ENOMEM, "no memory for regular expressions");
    }

    memcpy(copy, set->blob + off, len);
    r = re_run(set, copy, len, tail);
    free(copy);

    return r;
}


re_t
re_str(re_set_t *set, const char *s)
{
    return re_run(set, s, strlen(s), RE_EMPTY);
}


re_t
re_concat(re_set_t *set, re_t a, re_t b)
{
    re_node_t n;
    uint32_t  base;
    uint8_t   text;
    re_t      r;

    if (set->rc != 0 || re_is_void(set, a) || re_is_void(set, b)) {
        return RE_NONE;
    }

    if (a == RE_EMPTY || b == RE_EMPTY) {
        return a == RE_EMPTY ? b : a;
    }

    text = RE_FLAGS(set, a) & RE_FLAGS(set, b) & RE_F_TEXT;
    base = set->n_stack;

    /* a's links are put before b, last first. */

    for (r = a; r != RE_EMPTY && set->rc == 0;) {
        n = set->nodes[r];
        re_push(set, r);
        r = n.kind == RE_KIND_RUN      ? n.c
            : n.kind == RE_KIND_CONCAT ? n.b
                                       : RE_EMPTY;
    }

    for (r = b; set->n_stack > base && set->rc == 0;) {
        a = set->stack[--set->n_stack];
        n = set->nodes[a];
        r = n.kind == RE_KIND_RUN      ? re_run_at(set, n.a, n.b, r)
            : n.kind == RE_KIND_CONCAT ? re_link(set, n.a, r)
                                       : re_link(set, a, r);
    }

    set->n_stack = base;

    if (set->rc != 0) {
        return RE_NONE;
    }

    if (r != RE_NONE) {
        set->nodes[r].flags |= text;
    }

    return r;
}


re_t
re_link(re_set_t *set, re_t head, re_t tail)
{
    re_node_t n = {.kind = RE_KIND_CONCAT, .a = head, .b = tail};
    re_t      first, r;
    int       null_text;

    if (re_is_void(set, head) || re_is_void(set, tail)) {
        return RE_NONE;
    }

    if (tail == RE_EMPTY) {
        return head;
    }

    first = RE_KIND(set, tail) == RE_KIND_CONCAT ? set->nodes[tail].a : tail;

    /* x* swallows what may be empty and is of x's kind anyway. */

    null_text = (RE_FLAGS(set, head) & (RE_F_TEXT | RE_F_NULLABLE))
                == (RE_F_TEXT | RE_F_NULLABLE);

    if ((first == RE_TEXT && null_text)
        || (first == RE_ALL && RE_IS(set, head, RE_F_NULLABLE))) {
        return tail;
    }

    if ((head == RE_ALL && RE_IS(set, tail, RE_F_NULLABLE))
        || (head == RE_TEXT
            && (RE_FLAGS(set, tail) & (RE_F_TEXT | RE_F_NULLABLE))
                   == (RE_F_TEXT | RE_F_NULLABLE))) {
        return head;
    }

    r = re_link_repeats(set, head, tail);

    return r ? r : re_intern(set, &n, NULL, 0);
}


/* x{a,b} x{c,d} is x{a+c,b+d}, and x is x{1,1}; RE_NONE: not so here. */
static re_t
re_link_repeats(re_set_t *set, re_t head, re_t tail)
{
    const re_node_t *h, *f;
    uint64_t         min, max;
    re_t             first, rest, x;

    first = tail;
    rest = RE_EMPTY;

    if (RE_KIND(set, tail) == RE_KIND_CONCAT) {
        first = set->nodes[tail].a;
        rest = set->nodes[tail].b;
    }

    h = &set->nodes[head];
    f = &set->nodes[first];

    if (h->kind == RE_KIND_REPEAT && (h->a == first)) {
        x = first;
        min = h->b + 1ull;
        max = h->c == RE_INF ? RE_INF : h->c + 1ull;

    } else if (f->kind == RE_KIND_REPEAT && f->a == head) {
        x = head;
        min = f->b + 1ull;
        max = f->c == RE_INF ? RE_INF : f->c + 1ull;

    } else if (h->kind == RE_KIND_REPEAT && f->kind == RE_KIND_REPEAT
               && h->a == f->a) {
        x = h->a;
        min = (uint64_t) h->b + f->b;
        max =
            h->c == RE_INF || f->c == RE_INF ? RE_INF : (uint64_t) h->c + f->c;

    } else {
        return RE_NONE;
    }

    if (min >= RE_INF || (max >= RE_INF && h->c != RE_INF && f->c != RE_INF)) {
        return RE_NONE;
    }

    x = re_repeat(set, x, (uint32_t) min,
                  max >= RE_INF ? RE_INF : (uint32_t) max);

    return rest == RE_EMPTY ? x : re_link(set, x, rest);
}


re_t
re_not(re_set_t *set, re_t a)
{
    re_node_t n = {.kind = RE_KIND_NOT, .a = a};

    if (set->rc != 0) {
        return RE_NONE;
    }

    if (re_is_void(set, a)) {
        return RE_ALL;
    }

    if (RE_KIND(set, a) == RE_KIND_NOT) {
        return set->nodes[a].a;
    }

    return re_intern(set, &n, NULL, 0);
}


re_t
re_minus(re_set_t *set, re_t a, re_t b)
{
    return re_and(set, a, re_not(set, b));
}


int
re_nullable(const re_set_t *set, re_t a)
{
    return RE_IS(set, a, RE_F_NULLABLE);
}
