/*
 * Bases (mask_priv.h): which characters a state of a lexer allows in any order
 * up to some length.  Under the grammar's lock.
 *
 * Found in one of two ways: all characters of a group lead back to the state,
 * or to one that differs in a count of characters only; or by going through
 * all states that such characters lead to, as many steps as it is worth.
 */

#include "engine/grammar/mask_priv.h"

/* How far is looked for a part that is any text. */
#define UNIVERSAL_ITEMS 16
#define UNIVERSAL_DEPTH 6

/* What a search may visit and have worked out, and from where it is enough. */
#define SEARCH_STATES 300
#define SEARCH_MAKES  700
#define SEARCH_ENOUGH 8
#define SEARCH_LEAST  4

/* Groups worth a base; fewer tokens are walked as fast. */
#define WORTH (MASK_G_HEX | MASK_G_LOW | MASK_G_UHEX | MASK_G_UP | MASK_G_CHAR)

/* what{..max} rest tail, the first two perhaps in JSON's spelling */
typedef struct {
    int      quoted;
    re_t     what, rest, tail;
    uint32_t max;
} counted_t;

/* Characters beyond ASCII, by their first two bytes and how many follow. */
static const struct {
    uint8_t  lo, hi, lo2, hi2;
    int      left;
    unsigned group;
} blocks[] = {
    {0xc3, 0xdf, 0x80, 0xbf, 0, MASK_G_CHAR},
    {0xe0, 0xe0, 0xa0, 0xbf, 1, MASK_G_CHAR},
    {0xe1, 0xe1, 0x80, 0x99, 1, MASK_G_CHAR},
    {0xe1, 0xe1, 0x9b, 0xbf, 1, MASK_G_CHAR},
    {0xe2, 0xe2, 0x82, 0xbf, 1, MASK_G_CHAR},
    {0xe3, 0xe3, 0x81, 0xbf, 1, MASK_G_CHAR},
    {0xe4, 0xec, 0x80, 0xbf, 1, MASK_G_CHAR},
    {0xed, 0xed, 0x80, 0x9f, 1, MASK_G_CHAR},
    {0xee, 0xee, 0x80, 0xbf, 1, MASK_G_CHAR},
    {0xef, 0xef, 0x80, 0xba, 1, MASK_G_CHAR},
    {0xef, 0xef, 0xbc, 0xbf, 1, MASK_G_CHAR},
    {0xf0, 0xf0, 0x90, 0xbf, 2, MASK_G_CHAR},
    {0xf1, 0xf3, 0x80, 0xbf, 2, MASK_G_CHAR},
    {0xf4, 0xf4, 0x80, 0x8f, 2, MASK_G_CHAR},
    {0xc2, 0xc2, 0x80, 0xbf, 0, MASK_G_ODD},
    {0xe1, 0xe1, 0x9a, 0x9a, 1, MASK_G_ODD},
    {0xe2, 0xe2, 0x80, 0x81, 1, MASK_G_ODD},
    {0xe3, 0xe3, 0x80, 0x80, 1, MASK_G_ODD},
    {0xef, 0xef, 0xbb, 0xbb, 1, MASK_G_ODD},
};

/* A search for what a state allows. */
typedef struct {
    mask_lexer_t *lexer;
    unsigned      groups;
    int32_t       queue[SEARCH_STATES];
    uint16_t      via[SEARCH_STATES]; /* the group that led there first */
    uint32_t      n, makes;
    int           full;
} search_t;

static int base_counts(mask_lexer_t *lexer, int32_t state, int32_t to,
                       uint32_t *max, re_t *tail);
static int same_count(const re_set_t *set, re_t a, re_t b, uint32_t *max,
                      re_t *tail);
static int counted(const re_set_t *set, re_t re, counted_t *c);
static int base_chars(mask_lexer_t *lexer, int32_t state, int32_t to,
                      unsigned group);
static int all_lead(mask_lexer_t *lexer, int32_t state, unsigned lo,
                    unsigned hi, int left, int32_t to);
static int starts_with_quote(const re_set_t *set, re_t tail);
static int alive_groups(mask_lexer_t *lexer, int32_t state, unsigned *groups);
static int search(search_t *f, int32_t state, uint32_t *chars);
static int search_state(search_t *f, int32_t state, unsigned *dead);
static int search_byte(search_t *f, int32_t state, uint8_t byte, int32_t *to);
static int search_chars(search_t *f, int32_t state, unsigned group,
                        unsigned *dead);
static int search_seconds(search_t *f, int32_t state, unsigned group,
                          unsigned lo, unsigned hi, int left);
static int search_add(search_t *f, int32_t state, unsigned group);
static int universal(const re_set_t *set, re_t re, int depth);


/*
 * Groups whose every character leads from the state back to it, or to one
 * that differs in a count of characters only.
 */
int
mask_base_find(mask_lexer_t *lexer, int32_t state, mask_base_t *base)
{
    static const char     samples[] = "eE5 ";
    const re_dfa_state_t *s;
    unsigned              groups, alive, bit;
    uint32_t              max = RE_INF, k;
    int32_t               to, next;
    re_t                  tail = RE_NONE;
    size_t                i;
    uint8_t               b;
    int                   rc;

    *base = (mask_base_t){0, 0, 0, 0};
    s = re_dfa_get(lexer->dfa, state);

    for (k = 0; k < s->n && k < UNIVERSAL_ITEMS; k++) {
        if (universal(lexer->re, s->items[k].re, 0)) {
            *base = (mask_base_t){MASK_G_PLAIN, MASK_CHARS, 1, 1};
            return 0;
        }
    }

    for (i = 0, to = RE_DFA_DEAD; samples[i]; i++) {
        to = re_dfa_next(lexer->dfa, state, (uint8_t) samples[i]);
        LLM_TRY(to);

        if (to == state) {
            break;
        }

        if (to != RE_DFA_DEAD && base_counts(lexer, state, to, &max, &tail)) {
            break;
        }
    }

    if (samples[i] == '\0') {
        return 0;
    }

    groups = alive = 0xffff & ~(unsigned) MASK_G_PART;

    for (b = 0; b < 128; b++) {
        next = re_dfa_next(lexer->dfa, state, b);
        LLM_TRY(next);

        if (next != to) {
            groups &= ~(unsigned) lexer->core->group[b];
        }

        if (next == RE_DFA_DEAD) {
            alive &= ~(unsigned) lexer->core->group[b];
        }
    }

    for (bit = MASK_G_CHAR; bit <= MASK_G_ODD; bit <<= 1) {
        rc = base_chars(lexer, state, to, bit);
        LLM_TRY(rc);

        if (rc == 0) {
            groups &= ~bit;
        }
    }

    if (!(groups & WORTH)) {
        return 0;
    }

    /* Beyond ASCII, what most characters begin with stands for all. */

    next = re_dfa_next(lexer->dfa, state, 0xe4);
    LLM_TRY(next);
    alive &= next != RE_DFA_DEAD ? WORTH : WORTH & ~(unsigned) MASK_G_CHAR;
    base->whole = (alive & ~groups) == 0;
    base->groups = groups;
    base->chars = max >= lexer->core->max_len ? MASK_CHARS
                  : max < MASK_CHARS          ? max
                                              : MASK_CHARS - 1;
    base->rest = (groups & MASK_G_PLAIN) == MASK_G_PLAIN
                 && (base->chars == MASK_CHARS
                     || (max < MASK_CHARS && starts_with_quote(lexer->re, tail)
                         && re_dfa_get(lexer->dfa, state)->n == 1));

    return 0;
}


/* 1: some string of it goes on after any text (as itself, in JSON's). */
static int
universal(const re_set_t *set, re_t re, int depth)
{
    re_view_t v;
    size_t    i;

    if (re == RE_TEXT || depth == UNIVERSAL_DEPTH) {
        return re == RE_TEXT;
    }

    re_view(set, re, &v);

    switch (v.kind) {
    case RE_KIND_CONCAT:
        return universal(set, v.a, depth + 1);

    case RE_KIND_QUOTED:
        return v.min == 0 && universal(set, v.a, depth + 1);

    case RE_KIND_OR:
        for (i = 0; i < v.n && i < UNIVERSAL_ITEMS; i++) {
            if (universal(set, v.list[i], depth + 1)) {
                return 1;
            }
        }

        return 0;

    default:
        return 0;
    }
}


/* 1: `to` is the state with one character less to come. */
static int
base_counts(mask_lexer_t *lexer, int32_t state, int32_t to, uint32_t *max,
            re_t *tail)
{
    const re_dfa_state_t *a = re_dfa_get(lexer->dfa, state);
    const re_dfa_state_t *b = re_dfa_get(lexer->dfa, to);
    uint32_t              i, k;

    for (i = 0, k = 0; i < a->n; i++) {
        while (k < b->n && b->items[k].tag < a->items[i].tag) {
            k++;
        }

        if (k < b->n && b->items[k].tag == a->items[i].tag
            && same_count(lexer->re, a->items[i].re, b->items[k].re, max,
                          tail)) {
            return 1;
        }
    }

    return 0;
}


static int
same_count(const re_set_t *set, re_t a, re_t b, uint32_t *max, re_t *tail)
{
    counted_t x, y;
    re_view_t v;

    if (!counted(set, a, &x)) {
        return 0;
    }

    *max = x.max;
    *tail = x.rest == RE_EMPTY ? x.tail : RE_NONE;

    /* One less, which may be one (the thing itself) or none. */

    if (counted(set, b, &y) && y.quoted == x.quoted && y.what == x.what
        && y.rest == x.rest && y.tail == x.tail
        && y.max == (x.max == RE_INF ? RE_INF : x.max - 1)) {
        return 1;
    }

    if (x.max == 1) {
        return x.rest == RE_EMPTY && b == x.tail;
    }

    if (x.max != 2 || x.rest != RE_EMPTY) {
        return 0;
    }

    re_view(set, b, &v);

    if (x.tail != RE_EMPTY) {
        if (v.kind != RE_KIND_CONCAT || v.b != x.tail) {
            return 0;
        }

        b = v.a;
        re_view(set, b, &v);
    }

    return x.quoted ? v.kind == RE_KIND_QUOTED && v.min == 0 && v.a == x.what
                    : b == x.what;
}


static int
counted(const re_set_t *set, re_t re, counted_t *c)
{
    re_view_t v;

    *c = (counted_t){0, RE_NONE, RE_EMPTY, RE_EMPTY, 0};
    re_view(set, re, &v);

    if (v.kind == RE_KIND_CONCAT) {
        c->tail = v.b;
        re = v.a;
        re_view(set, re, &v);
    }

    if (v.kind == RE_KIND_QUOTED && v.min == 0) {
        c->quoted = 1;
        re_view(set, v.a, &v);

        if (v.kind == RE_KIND_CONCAT) {
            c->rest = v.b;
            re_view(set, v.a, &v);
        }
    }

    c->what = v.a;
    c->max = v.max;

    return v.kind == RE_KIND_REPEAT;
}


/* 1: every character of the group leads from state to `to`. */
static int
base_chars(mask_lexer_t *lexer, int32_t state, int32_t to, unsigned group)
{
    size_t   i;
    unsigned lead;
    int32_t  next, last;
    int      rc;

    for (i = 0; i < llm_countof(blocks); i++) {
        if (blocks[i].group != group) {
            continue;
        }

        for (lead = blocks[i].lo, last = RE_DFA_DEAD; lead <= blocks[i].hi;
             lead++) {
            next = re_dfa_next(lexer->dfa, state, (uint8_t) lead);
            LLM_TRY(next);

            if (next == RE_DFA_DEAD) {
                return 0;
            }

            if (next == last) {
                continue;
            }

            rc = all_lead(lexer, next, blocks[i].lo2, blocks[i].hi2,
                          blocks[i].left, to);
            if (rc <= 0) {
                return rc;
            }

            last = next;
        }
    }

    return 1;
}


static int
all_lead(mask_lexer_t *lexer, int32_t state, unsigned lo, unsigned hi, int left,
         int32_t to)
{
    int32_t  next, last = RE_DFA_DEAD;
    unsigned b;
    int      rc;

    for (b = lo; b <= hi; b++) {
        next = re_dfa_next(lexer->dfa, state, (uint8_t) b);
        LLM_TRY(next);

        if (next == RE_DFA_DEAD || (left == 0 && next != to)) {
            return 0;
        }

        if (left > 0 && next != last) {
            rc = all_lead(lexer, next, 0x80, 0xbf, left - 1, to);
            if (rc <= 0) {
                return rc;
            }

            last = next;
        }
    }

    return 1;
}


static int
starts_with_quote(const re_set_t *set, re_t tail)
{
    re_view_t v;

    re_view(set, tail, &v);

    return v.kind == RE_KIND_RUN && v.bytes[0] == '"';
}


uint32_t
mask_base_worth(const mask_base_t *base)
{
    unsigned bits = base->groups & (WORTH | MASK_G_DIGIT | MASK_G_SPACE);

    if (base->groups == 0) {
        return 0;
    }

    return (uint32_t) __builtin_popcount(bits) * 4
           + (base->groups & MASK_G_CHAR ? 8 : 0)
           + (base->groups & MASK_G_LOW ? 8 : 0)
           + (base->chars >= SEARCH_ENOUGH) + (base->chars == MASK_CHARS);
}


int
mask_base_search(mask_lexer_t *lexer, int32_t state, mask_base_t *base)
{
    search_t f = {.lexer = lexer};
    uint32_t chars;
    int      rc;

    *base = (mask_base_t){0, 0, 0, 0};
    LLM_TRY(alive_groups(lexer, state, &f.groups));

    /* A group that some character of it leads out of is left out. */

    do {
        if (!(f.groups & WORTH)) {
            return 0;
        }

        rc = search(&f, state, &chars);
        LLM_TRY(rc);

    } while (rc == 0);

    if (chars < SEARCH_LEAST) {
        return 0;
    }

    base->groups = f.groups;
    base->chars = chars;
    base->rest =
        (f.groups & MASK_G_PLAIN) == MASK_G_PLAIN && chars == MASK_CHARS;

    return 0;
}


/* Groups of which every character has a way on. */
static int
alive_groups(mask_lexer_t *lexer, int32_t state, unsigned *groups)
{
    search_t f = {.lexer = lexer};
    unsigned dead = 0, b;
    int32_t  to;

    *groups = 0xffff & ~(unsigned) MASK_G_PART;

    for (b = 0; b < 128; b++) {
        to = re_dfa_next(lexer->dfa, state, (uint8_t) b);
        LLM_TRY(to);

        if (to == RE_DFA_DEAD) {
            *groups &= ~(unsigned) lexer->core->group[b];
        }
    }

    if (!(*groups & WORTH)) {
        return 0;
    }

    f.full = 1;
    LLM_TRY(search_chars(&f, state, MASK_G_CHAR, &dead));
    LLM_TRY(search_chars(&f, state, MASK_G_ODD, &dead));
    *groups &= ~dead;

    return 0;
}


/* Breadth first.  1: *chars; 0: f->groups have become fewer; -errno. */
static int
search(search_t *f, int32_t state, uint32_t *chars)
{
    mask_lexer_t *lexer = f->lexer;
    uint32_t      level, i, end;
    unsigned      dead = 0;

    LLM_TRY(mask_lexer_stamp(lexer));
    f->n = 0;
    f->full = 0;
    LLM_TRY(search_add(f, state, 0));

    for (level = 0, i = 0; level < MASK_CHARS - 1; level++) {
        for (end = f->n; i < end; i++) {
            LLM_TRY(search_state(f, f->queue[i], &dead));

            if (f->full || f->makes > SEARCH_MAKES) {
                *chars = level;
                return 1;
            }

            if (dead) {
                if (level >= SEARCH_ENOUGH) {
                    *chars = level;
                    return 1;
                }

                /* Letters are worth more than what led away from them. */

                if ((dead & WORTH) && f->via[i] && !(f->via[i] & WORTH)) {
                    dead = f->via[i];
                }

                f->groups &= ~dead;
                return 0;
            }
        }

        if (f->n == end) {
            *chars = MASK_CHARS;
            return 1;
        }
    }

    *chars = level;

    return 1;
}


/* Where the characters lead; dead: groups with one that leads nowhere. */
static int
search_state(search_t *f, int32_t state, unsigned *dead)
{
    const re_dfa_state_t *s = re_dfa_get(f->lexer->dfa, state);
    const uint16_t       *group = f->lexer->core->group;
    uint64_t              seen[4] = {0, 0, 0, 0};
    unsigned              b, c;
    int32_t               to;

    for (b = 0; b < 128; b++) {
        c = s->map[b];

        if (!(f->groups & group[b])) {
            continue;
        }

        /* The group may differ where the class does not. */

        if ((seen[c / 64] >> (c % 64) & 1) && s->next[c] != RE_DFA_DEAD) {
            continue;
        }

        seen[c / 64] |= (uint64_t) 1 << (c % 64);
        LLM_TRY(search_byte(f, state, (uint8_t) b, &to));

        if (to == RE_DFA_DEAD) {
            *dead |= group[b];
        } else {
            LLM_TRY(search_add(f, to, group[b]));
        }
    }

    if (f->groups & MASK_G_CHAR) {
        LLM_TRY(search_chars(f, state, MASK_G_CHAR, dead));
    }

    if (f->groups & MASK_G_ODD) {
        LLM_TRY(search_chars(f, state, MASK_G_ODD, dead));
    }

    return 0;
}


static int
search_byte(search_t *f, int32_t state, uint8_t byte, int32_t *to)
{
    const re_dfa_state_t *s = re_dfa_get(f->lexer->dfa, state);

    f->makes += s->next[s->map[byte]] < 0;
    *to = re_dfa_next(f->lexer->dfa, state, byte);

    return *to < 0 ? *to : 0;
}


static int
search_chars(search_t *f, int32_t state, unsigned group, unsigned *dead)
{
    unsigned lead;
    int32_t  to, last;
    size_t   i;
    int      rc;

    for (i = 0; i < llm_countof(blocks); i++) {
        if (blocks[i].group != group) {
            continue;
        }

        for (lead = blocks[i].lo, last = RE_DFA_DEAD; lead <= blocks[i].hi;
             lead++) {
            LLM_TRY(search_byte(f, state, (uint8_t) lead, &to));

            if (to == last && to != RE_DFA_DEAD) {
                continue;
            }

            rc = to == RE_DFA_DEAD
                     ? 0
                     : search_seconds(f, to, group, blocks[i].lo2,
                                      blocks[i].hi2, blocks[i].left);
            LLM_TRY(rc);

            if (rc == 0) {
                *dead |= group;
                return 0;
            }

            last = to;
        }
    }

    return 0;
}


/* 1: all lead somewhere, which is added; 0. */
static int
search_seconds(search_t *f, int32_t state, unsigned group, unsigned lo,
               unsigned hi, int left)
{
    int32_t  to, last = RE_DFA_DEAD;
    unsigned b;
    int      rc;

    for (b = lo; b <= hi; b++) {
        LLM_TRY(search_byte(f, state, (uint8_t) b, &to));

        if (to == RE_DFA_DEAD) {
            return 0;
        }

        if (to == last) {
            continue;
        }

        last = to;

        if (left == 0) {
            LLM_TRY(search_add(f, to, group));
            continue;
        }

        rc = search_seconds(f, to, group, 0x80, 0xbf, left - 1);
        if (rc <= 0) {
            return rc;
        }
    }

    return 1;
}


static int
search_add(search_t *f, int32_t state, unsigned group)
{
    mask_lexer_t *lexer = f->lexer;

    if (f->full) {
        return 0;
    }

    LLM_TRY(mask_lexer_seen(lexer, state));

    if (lexer->seen[state] == lexer->stamp) {
        return 0;
    }

    if (f->n == SEARCH_STATES) {
        f->full = 1;
        return 0;
    }

    lexer->seen[state] = lexer->stamp;
    f->via[f->n] = (uint16_t) group;
    f->queue[f->n++] = state;

    return 0;
}
