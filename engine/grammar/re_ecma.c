/*
 * ECMA-262 patterns to regular languages (re.h).  The owner of the set is
 * the only thread here; the tree lives in an arena of the call.
 *
 * What an assertion means depends on what is before it and what comes after.
 * A part of a pattern is therefore compiled together with what follows: from
 * the texts that may follow it to the texts that may follow what precedes
 * it, right to left, once for each thing that can stand before (the start
 * of the text, a word character, another one).  Look-ahead is then an
 * intersection with what follows.  Look-behind is met at the top level only:
 * an intersection of all before it.  In a loop without end, what follows is
 * not known yet, so assertions there are refused, but for one shape: a
 * character with look-ahead before it, up to the text's end.
 */

#include <errno.h>
#include <stdio.h>
#include "engine/grammar/re_ecma.h"
#include "engine/grammar/re_priv.h"

#define MAX_PATTERN (1u << 20)
#define MAX_UNROLL  256
#define MAX_ARENA   (64u << 20)

/* What is before a place in the text. */
enum { C_START = 0, C_OTHER, C_WORD, C_COUNT };

/* What may follow, for each. */
typedef struct {
    re_t at[C_COUNT];
} follow_t;

typedef struct {
    re_set_t      *set;
    ecma_parser_t *p;
    re_t           word, other;       /* one character */
    re_t           to_word, to_other; /* texts that end with one */
    re_t           from_word;         /* texts that begin with one */
    buf_t          chars;
} ecma_t;

static int  ecma(re_set_t *set, const char *pattern, size_t len, unsigned how,
                 int whole, re_t *re, char *err, size_t err_size);
static void words(ecma_t *e, int any);
static int  lazy_matters(ecma_t *e, const ecma_node_t *n, re_t re);
static int  lazy_inside(ecma_t *e, const ecma_node_t *n, re_t after);
static re_t loose(ecma_t *e, const ecma_node_t *n);
static int  top(ecma_t *e, ecma_node_t *n, int whole, re_t *re);
static int  top_seq(ecma_t *e, ecma_node_t *first, ecma_node_t *last, int whole,
                    follow_t f, re_t *re);
static int  behind(ecma_t *e, ecma_node_t *first, ecma_node_t *n, int whole,
                   follow_t f, re_t *re);
static int  has_behind(const ecma_node_t *n);
static int  ahead_in(const ecma_node_t *n);
static re_t begin(ecma_t *e, const follow_t *f, int whole);
static re_t plain(ecma_t *e, const ecma_node_t *n);
static re_t plain_seq(ecma_t *e, const ecma_node_t *n);
static int  follow(ecma_t *e, const ecma_node_t *n, follow_t *f);
static void follow_plain(ecma_t *e, re_t r, follow_t *f);
static int  follow_alt(ecma_t *e, const ecma_node_t *n, follow_t *f);
static int  follow_repeat(ecma_t *e, const ecma_node_t *n, follow_t *f);
static int  only_ends(const ecma_node_t *n);
static int  follow_ends(ecma_t *e, const ecma_node_t *n, follow_t *f);
static int  follow_tempered(ecma_t *e, const ecma_node_t *n, follow_t *f);
static int  follow_assert(ecma_t *e, const ecma_node_t *n, follow_t *f);
static int  follow_same(const follow_t *f);


int
re_ecma(re_set_t *set, const char *pattern, size_t len, re_t *re, char *err,
        size_t err_size)
{
    return ecma(set, pattern, len, 0, 0, re, err, err_size);
}


int
re_ecma_whole(re_set_t *set, const char *pattern, size_t len, re_t *re,
              char *err, size_t err_size)
{
    return ecma(set, pattern, len, 0, 1, re, err, err_size);
}


int
re_ecma_as(re_set_t *set, const char *pattern, size_t len, unsigned how,
           re_t *re, char *err, size_t err_size)
{
    how |= how & ECMA_PYTHON ? ECMA_EXTRA : 0;

    return ecma(set, pattern, len, how, 1, re, err, err_size);
}


static int
ecma(re_set_t *set, const char *pattern, size_t len, unsigned how, int whole,
     re_t *re, char *err, size_t err_size)
{
    ecma_parser_t p = {
        .s = pattern, .len = len, .how = how, .err = err, .err_size = err_size};
    ecma_t       e = {.set = set, .p = &p};
    ecma_node_t *node;
    const char  *msg;
    arena_t      arena;
    int          rc;

    if (len > MAX_PATTERN) {
        return ecma_fail(&p, -E2BIG, 0, "too long");
    }

    arena_init(&arena, MAX_ARENA);
    p.arena = &arena;

    rc = ecma_parse(&p, &node);

    if (rc == 0) {
        words(&e, !node->plain);
        rc = top(&e, node, whole, re);
    }

    if (rc == 0 && (how & ECMA_PYTHON) && p.lazy
        && lazy_matters(&e, node, *re)) {
        rc = ecma_fail(&p, -ENOTSUP, len, "a lazy repeat that matters");
    }

    if (re_failed(set, &msg) != 0) {
        rc = ecma_fail(&p, re_failed(set, NULL), len, msg);
    }

    arena_free(&arena);
    buf_free(&e.chars);

    return rc;
}


/* What assertions ask about, if there are any. */
static void
words(ecma_t *e, int any)
{
    const re_range_t *list;
    size_t            n;

    if (!any) {
        return;
    }

    if (e->p->how & ECMA_PYTHON) {
        ecma_unicode_class('w', &list, &n);

    } else {
        ecma_escape_class('w', &list, &n);
    }

    e->word = re_ranges(e->set, list, n);
    e->other = re_minus(e->set, RE_CHAR, e->word);
    e->to_word = re_concat(e->set, RE_TEXT, e->word);
    e->to_other = re_concat(e->set, RE_TEXT, e->other);
    e->from_word = re_concat(e->set, e->word, RE_TEXT);
}


/*
 * A lazy repeat ends as soon as it can.  It can at one place only if no text
 * of the language begins with another one, or else if what comes after the
 * repeat never begins as one more time round would.
 */
static int
lazy_matters(ecma_t *e, const ecma_node_t *n, re_t re)
{
    re_t longer = re_repeat(e->set, RE_CHAR, 1, RE_INF);

    return re_disjoint(e->set, re, re_concat(e->set, re, longer), 0) != RE_YES
           && lazy_inside(e, n, RE_EMPTY);
}


/* The same of n, before texts of after.  Look-around only finds, or not. */
static int
lazy_inside(ecma_t *e, const ecma_node_t *n, re_t after)
{
    const ecma_node_t *c;
    re_t               one, loop;

    switch (n->kind) {
    case ECMA_SEQ:
        for (c = n->last; c; c = c->prev) {
            if (lazy_inside(e, c, after)) {
                return 1;
            }

            after = re_concat(e->set, loose(e, c), after);
        }

        return 0;

    case ECMA_ALT:
        for (c = n->first; c; c = c->next) {
            if (lazy_inside(e, c, after)) {
                return 1;
            }
        }

        return 0;

    case ECMA_REPEAT:
        one = loose(e, n->first);
        loop = re_repeat(e->set, one, 0, RE_INF);
        loop = re_concat(e->set, loop, after);

        if (n->lazy
            && re_disjoint(
                   e->set, re_concat(e->set, after, RE_TEXT),
                   re_concat(e->set, re_concat(e->set, one, loop), RE_TEXT), 0)
                   != RE_YES) {
            return 1;
        }

        return lazy_inside(e, n->first, loop);

    default:
        return 0;
    }
}


/* A language that has all of n's texts: as if assertions held. */
static re_t
loose(ecma_t *e, const ecma_node_t *n)
{
    const ecma_node_t *c;
    re_t               r;

    if (n->plain) {
        return plain(e, n);
    }

    switch (n->kind) {
    case ECMA_SEQ:
        for (c = n->last, r = RE_EMPTY; c; c = c->prev) {
            r = re_concat(e->set, loose(e, c), r);
        }

        return r;

    case ECMA_ALT:
        for (c = n->first, r = RE_NONE; c; c = c->next) {
            r = re_or(e->set, r, loose(e, c));
        }

        return r;

    case ECMA_REPEAT:
        return re_repeat(e->set, loose(e, n->first), n->min, n->max);

    default:
        return RE_EMPTY;
    }
}


/* Down to the alternatives that are not in another construct. */
static int
top(ecma_t *e, ecma_node_t *n, int whole, re_t *re)
{
    follow_t     f;
    ecma_node_t *c;
    re_t         r, one;
    int          i;

    for (i = 0; i < C_COUNT; i++) {
        f.at[i] = whole ? RE_EMPTY : RE_TEXT;
    }

    if (!has_behind(n)) {
        LLM_TRY(follow(e, n, &f));
        *re = begin(e, &f, whole);
        return 0;
    }

    if (n->kind != ECMA_ALT && n->first && n->first == n->last
        && n->kind == ECMA_SEQ) {
        return top(e, n->first, whole, re);
    }

    if (n->kind != ECMA_ALT) {
        return top_seq(e, n->first, n->last, whole, f, re);
    }

    for (c = n->first, r = RE_NONE; c; c = c->next) {
        LLM_TRY(top(e, c, whole, &one));
        r = re_or(e->set, r, one);
    }

    *re = r;

    return 0;
}


/* A sequence with look-behind between its members; f follows it. */
static int
top_seq(ecma_t *e, ecma_node_t *first, ecma_node_t *last, int whole, follow_t f,
        re_t *re)
{
    ecma_node_t *n;

    for (n = last; n; n = n->prev) {
        if (n->kind == ECMA_BEHIND) {
            return behind(e, first, n, whole, f, re);
        }

        LLM_TRY(follow(e, n, &f));

        if (n == first) {
            break;
        }
    }

    *re = begin(e, &f, whole);

    return 0;
}


/* All from the text's start to n, which looks back at it; then f. */
static int
behind(ecma_t *e, ecma_node_t *first, ecma_node_t *n, int whole, follow_t f,
       re_t *re)
{
    const ecma_node_t *c;
    follow_t           end = {{RE_EMPTY, RE_EMPTY, RE_EMPTY}};
    re_t               left, look;

    if (!n->plain && !n->first->plain) {
        return ecma_fail(e->p, -ENOTSUP, n->at,
                         "an assertion within look-behind");
    }

    for (c = n->prev; c; c = c->prev) {
        if (ahead_in(c)) {
            return ecma_fail(e->p, -ENOTSUP, c->at,
                             "an assertion about what follows, with "
                             "look-behind after it,");
        }
    }

    if (n == first) {
        left = begin(e, &end, whole);

    } else {
        LLM_TRY(top_seq(e, first, n->prev, whole, end, &left));
    }

    look = re_concat(e->set, RE_TEXT, plain(e, n->first));
    left =
        n->negative ? re_minus(e->set, left, look) : re_and(e->set, left, look);

    if (follow_same(&f)) {
        *re = re_concat(e->set, left, f.at[C_START]);
        return 0;
    }

    *re =
        re_or(e->set,
              re_concat(e->set, re_and(e->set, left, RE_EMPTY), f.at[C_START]),
              re_or(e->set,
                    re_concat(e->set, re_and(e->set, left, e->to_other),
                              f.at[C_OTHER]),
                    re_concat(e->set, re_and(e->set, left, e->to_word),
                              f.at[C_WORD])));

    return 0;
}


static int
has_behind(const ecma_node_t *n)
{
    const ecma_node_t *c;

    if (n->kind == ECMA_BEHIND) {
        return 1;
    }

    for (c = n->plain ? NULL : n->first; c; c = c->next) {
        if (has_behind(c)) {
            return 1;
        }
    }

    return 0;
}


/* Asks about what is right of it. */
static int
ahead_in(const ecma_node_t *n)
{
    const ecma_node_t *c;

    if (n->kind == ECMA_AHEAD || n->kind == ECMA_END
        || n->kind == ECMA_WORD_EDGE || n->kind == ECMA_NOT_WORD_EDGE) {
        return 1;
    }

    for (c = n->plain ? NULL : n->first; c; c = c->next) {
        if (ahead_in(c)) {
            return 1;
        }
    }

    return 0;
}


/* A match may begin anywhere, unless whole. */
static re_t
begin(ecma_t *e, const follow_t *f, int whole)
{
    re_t r;

    if (whole) {
        return f->at[C_START];
    }

    if (follow_same(f)) {
        return re_concat(e->set, RE_TEXT, f->at[C_START]);
    }

    if (f->at[C_OTHER] == f->at[C_WORD]) {
        r = re_concat(e->set, re_repeat(e->set, RE_CHAR, 1, RE_INF),
                      f->at[C_WORD]);

    } else {
        r = re_or(e->set, re_concat(e->set, e->to_other, f->at[C_OTHER]),
                  re_concat(e->set, e->to_word, f->at[C_WORD]));
    }

    return re_or(e->set, f->at[C_START], r);
}


/* The language of a node without assertions; what needs one is left out. */
static re_t
plain(ecma_t *e, const ecma_node_t *n)
{
    const ecma_node_t *c;
    uint32_t           count;
    uint8_t            s[4];
    re_t              *list;
    int                len;

    if (re_failed(e->set, NULL) != 0) {
        return RE_NONE;
    }

    switch (n->kind) {
    case ECMA_CHAR:
        len = re_utf8(n->min, s);
        return len ? re_run(e->set, s, (size_t) len, RE_EMPTY) : RE_NONE;

    case ECMA_CLASS:
        return re_ranges(e->set, n->ranges, n->n_ranges);

    case ECMA_SEQ:
        return plain_seq(e, n);

    case ECMA_REPEAT:
        return re_repeat(e->set, plain(e, n->first), n->min, n->max);

    case ECMA_ALT:
        for (c = n->first, count = 0; c; c = c->next) {
            count++;
        }

        list = arena_get(e->p->arena, count * sizeof(re_t));
        if (list == NULL) {
            return re_fail(e->set, -E2BIG, "a pattern is too large");
        }

        for (c = n->first, count = 0; c; c = c->next) {
            list[count++] = plain(e, c);
        }

        return re_or_n(e->set, list, count);

    default:
        return RE_NONE; /* an assertion: see follow_ends() */
    }
}


/* Right to left; characters in a row are one run. */
static re_t
plain_seq(ecma_t *e, const ecma_node_t *n)
{
    const ecma_node_t *c, *from;
    uint8_t            s[4];
    size_t             base;
    int                len;
    re_t               r;

    for (c = n->last, r = RE_EMPTY; c;) {
        if (c->kind != ECMA_CHAR) {
            r = re_concat(e->set, plain(e, c), r);
            c = c->prev;
            continue;
        }

        for (from = c; from->prev && from->prev->kind == ECMA_CHAR;
             from = from->prev) { /* void */
        }

        base = e->chars.len;

        for (n = from;; n = n->next) {
            len = re_utf8(n->min, s);

            if (len == 0) {
                return RE_NONE; /* a surrogate: in no text */
            }

            buf_add(&e->chars, s, (size_t) len);

            if (n == c) {
                break;
            }
        }

        if (e->chars.failed) {
            return re_fail(e->set, -ENOMEM, "no memory for a pattern");
        }

        r = re_run(e->set, e->chars.data + base, e->chars.len - base, r);
        e->chars.len = base;
        c = from->prev;
    }

    return r;
}


/* *f: what may follow n; becomes what may follow all before n. */
static int
follow(ecma_t *e, const ecma_node_t *n, follow_t *f)
{
    const ecma_node_t *c;

    LLM_TRY(re_failed(e->set, NULL));

    if (n->plain) {
        follow_plain(e, plain(e, n), f);
        return 0;
    }

    switch (n->kind) {
    case ECMA_SEQ:
        for (c = n->last; c; c = c->prev) {
            LLM_TRY(follow(e, c, f));
        }

        return 0;

    case ECMA_ALT:
        return follow_alt(e, n, f);

    case ECMA_REPEAT:
        return follow_repeat(e, n, f);

    default:
        return follow_assert(e, n, f);
    }
}


static void
follow_plain(ecma_t *e, re_t r, follow_t *f)
{
    re_t after;
    int  i;

    if (follow_same(f)) {
        after = re_concat(e->set, r, f->at[0]);

        for (i = 0; i < C_COUNT; i++) {
            f->at[i] = after;
        }

        return;
    }

    /* It matters whether r is empty, and what it ends with. */

    if (f->at[C_WORD] == f->at[C_OTHER]) {
        after = re_and(e->set, r, re_repeat(e->set, RE_CHAR, 1, RE_INF));
        after = re_concat(e->set, after, f->at[C_WORD]);

    } else {
        after = re_or(
            e->set,
            re_concat(e->set, re_and(e->set, r, e->to_word), f->at[C_WORD]),
            re_concat(e->set, re_and(e->set, r, e->to_other), f->at[C_OTHER]));
    }

    for (i = 0; i < C_COUNT; i++) {
        f->at[i] =
            re_or(e->set, after, re_nullable(e->set, r) ? f->at[i] : RE_NONE);
    }
}


static int
follow_alt(ecma_t *e, const ecma_node_t *n, follow_t *f)
{
    follow_t           all = {{RE_NONE, RE_NONE, RE_NONE}}, one;
    const ecma_node_t *c;
    int                i;

    for (c = n->first; c; c = c->next) {
        one = *f;
        LLM_TRY(follow(e, c, &one));

        for (i = 0; i < C_COUNT; i++) {
            all.at[i] = re_or(e->set, all.at[i], one.at[i]);
        }
    }

    *f = all;

    return 0;
}


/* As often as it can be, from the last time to the first. */
static int
follow_repeat(ecma_t *e, const ecma_node_t *n, follow_t *f)
{
    follow_t rest = *f;
    uint32_t k;
    int      i;

    if (n->max == RE_INF && only_ends(n->first) && follow_same(f)) {
        LLM_TRY(follow_ends(e, n, &rest));

    } else if (n->max == RE_INF) {
        LLM_TRY(follow_tempered(e, n, &rest));

    } else if (n->max == 0) {
        return 0;
    }

    if (n->min > MAX_UNROLL || (n->max != RE_INF && n->max > MAX_UNROLL)) {
        return ecma_fail(e->p, -ENOTSUP, n->at,
                         "an assertion repeated so often");
    }

    for (k = n->max == RE_INF ? n->min : n->max; k-- > 0;) {
        LLM_TRY(follow(e, n->first, &rest));

        for (i = 0; i < C_COUNT && k >= n->min; i++) {
            rest.at[i] = re_or(e->set, rest.at[i], f->at[i]);
        }
    }

    *f = rest;

    return 0;
}


/* No assertions inside but ^ and $. */
static int
only_ends(const ecma_node_t *n)
{
    const ecma_node_t *c;

    if (n->kind >= ECMA_START) {
        return n->kind <= ECMA_END;
    }

    for (c = n->plain ? NULL : n->first; c; c = c->next) {
        if (!only_ends(c)) {
            return 0;
        }
    }

    return 1;
}


/*
 * A loop with ^ and $ inside: only the first time round can use the one, and
 * only the last the other; those between do without.
 */
static int
follow_ends(ecma_t *e, const ecma_node_t *n, follow_t *f)
{
    follow_t one, rest;
    re_t     loop, after = f->at[0];
    int      i;

    for (i = 0; i < C_COUNT; i++) {
        one.at[i] = re_and(e->set, after, RE_EMPTY);
    }

    LLM_TRY(follow(e, n->first, &one));
    loop = re_repeat(e->set, plain(e, n->first), 0, RE_INF);
    loop = re_concat(e->set, loop, re_or(e->set, after, one.at[C_WORD]));

    for (i = 0; i < C_COUNT; i++) {
        rest.at[i] = loop;
        f->at[i] = loop;
    }

    LLM_TRY(follow(e, n->first, &rest));
    f->at[C_START] = re_or(e->set, loop, rest.at[C_START]);

    return 0;
}


/*
 * (?:(?!A)C)* up to the end of the text: texts of C where no place, followed
 * by a C, breaks the assertion.
 */
static int
follow_tempered(ecma_t *e, const ecma_node_t *n, follow_t *f)
{
    const ecma_node_t *c = n->first;
    follow_t           look;
    re_t               one, all, bad;
    int                i;

    while ((c->kind == ECMA_SEQ) && c->first && c->first == c->last) {
        c = c->first;
    }

    if (c->kind != ECMA_SEQ || c->first->kind != ECMA_AHEAD
        || c->first->next != c->last || !c->last->plain || !follow_same(f)
        || f->at[0] != RE_EMPTY) {
        return ecma_fail(e->p, -ENOTSUP, n->at, "an assertion in a loop");
    }

    one = plain(e, c->last);

    if (re_subset(e->set, one, RE_CHAR, 0) != RE_YES) {
        return ecma_fail(e->p, -ENOTSUP, n->at, "an assertion in a loop");
    }

    for (i = 0; i < C_COUNT; i++) {
        look.at[i] = RE_TEXT;
    }

    LLM_TRY(follow(e, c->first->first, &look));

    if (!follow_same(&look)) {
        return ecma_fail(e->p, -ENOTSUP, n->at, "an assertion in a loop");
    }

    all = re_repeat(e->set, one, 0, RE_INF);
    bad = c->first->negative ? look.at[0] : re_not(e->set, look.at[0]);
    bad = re_and(e->set, bad, re_concat(e->set, one, RE_TEXT));
    bad = re_concat(e->set, all, bad);
    all = re_minus(e->set, all, bad);

    for (i = 0; i < C_COUNT; i++) {
        f->at[i] = all;
    }

    return 0;
}


static int
follow_assert(ecma_t *e, const ecma_node_t *n, follow_t *f)
{
    follow_t look;
    re_t     no_word;
    int      i;

    switch (n->kind) {
    case ECMA_START:
        f->at[C_OTHER] = f->at[C_WORD] = RE_NONE;
        return 0;

    case ECMA_END:
        for (i = 0; i < C_COUNT; i++) {
            f->at[i] = re_and(e->set, f->at[i], RE_EMPTY);
        }

        return 0;

    case ECMA_WORD_EDGE:
    case ECMA_NOT_WORD_EDGE:
        no_word = re_not(e->set, e->from_word);

        for (i = 0; i < C_COUNT; i++) {
            f->at[i] = re_and(e->set, f->at[i],
                              (i == C_WORD) == (n->kind == ECMA_WORD_EDGE)
                                  ? no_word
                                  : e->from_word);
        }

        return 0;

    case ECMA_AHEAD:
        for (i = 0; i < C_COUNT; i++) {
            look.at[i] = RE_TEXT;
        }

        LLM_TRY(follow(e, n->first, &look));

        for (i = 0; i < C_COUNT; i++) {
            f->at[i] = n->negative ? re_minus(e->set, f->at[i], look.at[i])
                                   : re_and(e->set, f->at[i], look.at[i]);
        }

        return 0;

    default:
        return ecma_fail(e->p, -ENOTSUP, n->at,
                         "look-behind within a group or a loop");
    }
}


static int
follow_same(const follow_t *f)
{
    return f->at[0] == f->at[1] && f->at[0] == f->at[2];
}
