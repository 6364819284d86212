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
#include <utf8proc.h>
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
static int  lazy_matters(ecma_t *e, re_t re);
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

/* General categories by their two names, as bits of utf8proc's numbers. */
static const struct {
    const char *name, *longer;
    uint32_t    bits;
} categories[] = {
#define GC(c) (1u << UTF8PROC_CATEGORY_##c)
    {"Lu", "Uppercase_Letter", GC(LU)},
    {"Ll", "Lowercase_Letter", GC(LL)},
    {"Lt", "Titlecase_Letter", GC(LT)},
    {"LC", "Cased_Letter", GC(LU) | GC(LL) | GC(LT)},
    {"Lm", "Modifier_Letter", GC(LM)},
    {"Lo", "Other_Letter", GC(LO)},
    {"L", "Letter", GC(LU) | GC(LL) | GC(LT) | GC(LM) | GC(LO)},
    {"Mn", "Nonspacing_Mark", GC(MN)},
    {"Mc", "Spacing_Mark", GC(MC)},
    {"Me", "Enclosing_Mark", GC(ME)},
    {"M", "Mark", GC(MN) | GC(MC) | GC(ME)},
    {"Nd", "Decimal_Number", GC(ND)},
    {"Nd", "digit", GC(ND)},
    {"Nl", "Letter_Number", GC(NL)},
    {"No", "Other_Number", GC(NO)},
    {"N", "Number", GC(ND) | GC(NL) | GC(NO)},
    {"Pc", "Connector_Punctuation", GC(PC)},
    {"Pd", "Dash_Punctuation", GC(PD)},
    {"Ps", "Open_Punctuation", GC(PS)},
    {"Pe", "Close_Punctuation", GC(PE)},
    {"Pi", "Initial_Punctuation", GC(PI)},
    {"Pf", "Final_Punctuation", GC(PF)},
    {"Po", "Other_Punctuation", GC(PO)},
    {"P", "Punctuation",
     GC(PC) | GC(PD) | GC(PS) | GC(PE) | GC(PI) | GC(PF) | GC(PO)},
    {"punct", "punct",
     GC(PC) | GC(PD) | GC(PS) | GC(PE) | GC(PI) | GC(PF) | GC(PO)},
    {"Sm", "Math_Symbol", GC(SM)},
    {"Sc", "Currency_Symbol", GC(SC)},
    {"Sk", "Modifier_Symbol", GC(SK)},
    {"So", "Other_Symbol", GC(SO)},
    {"S", "Symbol", GC(SM) | GC(SC) | GC(SK) | GC(SO)},
    {"Zs", "Space_Separator", GC(ZS)},
    {"Zl", "Line_Separator", GC(ZL)},
    {"Zp", "Paragraph_Separator", GC(ZP)},
    {"Z", "Separator", GC(ZS) | GC(ZL) | GC(ZP)},
    {"Cc", "Control", GC(CC)},
    {"Cf", "Format", GC(CF)},
    {"Co", "Private_Use", GC(CO)},
    {"Cn", "Unassigned", GC(CN)},
    {"C", "Other", GC(CC) | GC(CF) | GC(CO) | GC(CN) | GC(CS)},
#undef GC
};


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

    if (rc == 0 && (how & ECMA_PYTHON) && p.lazy && lazy_matters(&e, *re)) {
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


/* Whether a text of the language begins with another one. */
static int
lazy_matters(ecma_t *e, re_t re)
{
    re_t longer = re_repeat(e->set, RE_CHAR, 1, RE_INF);

    return re_disjoint(e->set, re, re_concat(e->set, re, longer), 0) != RE_YES;
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


int
ecma_property(ecma_parser_t *p, str_t name, re_range_t **ranges, size_t *n)
{
    static const str_t prefixes[] = {str_lit("General_Category="),
                                     str_lit("gc=")};
    re_range_t        *list;
    uint32_t           bits, cp, end;
    size_t             i, k, cap;

    for (i = 0; i < llm_countof(prefixes); i++) {
        if (name.len > prefixes[i].len
            && memcmp(name.s, prefixes[i].s, prefixes[i].len) == 0) {
            name.s += prefixes[i].len;
            name.len -= prefixes[i].len;
            break;
        }
    }

    for (i = 0, bits = 0; i < llm_countof(categories); i++) {
        if (str_eq(name, str_of(categories[i].name))
            || str_eq(name, str_of(categories[i].longer))) {
            bits = categories[i].bits;
        }
    }

    if (str_eq(name, str_of("Any"))) {
        bits = UINT32_MAX;
    }

    cap = 1500; /* most ranges of a category: some 700 */
    list = arena_get(p->arena, cap * sizeof(re_range_t));
    if (list == NULL) {
        return ecma_fail(p, -E2BIG, p->at, "too large");
    }

    *ranges = list;
    *n = 1;

    if (str_eq(name, str_of("ASCII"))) {
        list[0] = (re_range_t){0, 0x7f};
        return 0;
    }

    if (bits == 0) {
        return ecma_fail(p, -ENOTSUP, p->at,
                         "a property that is no general category");
    }

    for (cp = 0, k = 0; cp <= 0x10ffff; cp = end + 1) {
        end = cp;

        /* Planes 4 to 13 are unassigned, 15 and 16 private but for their ends. */

        if (cp == 0x40000) {
            end = 0xdffff;

        } else if (cp == 0xf0000 || cp == 0x100000) {
            end = cp + 0xfffd;
        }

        if (!(bits >> utf8proc_category((utf8proc_int32_t) cp) & 1)) {
            continue;
        }

        if (k > 0 && list[k - 1].hi + 1 == cp) {
            list[k - 1].hi = end;

        } else if (k < cap) {
            list[k++] = (re_range_t){cp, end};
        }
    }

    *n = k;

    return 0;
}
