/*
 * The parser against a naive recogniser, over random grammars and all short
 * strings: which bytes may come next, and whether a text is complete, must be
 * exactly right everywhere.  The recogniser knows the grammar as a tree of
 * its own and asks for every span of the string, until nothing changes.
 */

#include <errno.h>
#include "engine/grammar/gr_parse_priv.h"
#include "t/lib/tap.h"

#define MAX_NODES 64
#define MAX_LEN   12
#define RULES     4

enum { TEXT = 0, SEQ, ALT, REPEAT, RULE };

typedef struct {
    int       kind;
    int       list[4], n;
    int       min, max; /* max -1: no end */
    re_t      re;
    gr_node_t node;
} node_t;

typedef struct {
    node_t      nodes[MAX_NODES];
    int         n;
    int         rules[RULES]; /* node of each */
    int         some[MAX_NODES];
    gr_t       *gr;
    const char *s; /* what is recognised */
    int         len;
    uint8_t     span[MAX_NODES][MAX_LEN + 1][MAX_LEN + 1];
    uint8_t     open[MAX_NODES][MAX_LEN + 1];
} naive_t;

static const char letters[] = "ab()";
static uint64_t   seed = 1;


static uint32_t
rnd(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) ((seed >> 33) % n);
}


static re_t
random_text(re_set_t *re)
{
    static const char *const patterns[] = {
        "a",       "b",        "ab",           "[(]",
        "[)]",     "a*",       "[ab]+",        "(ab)*",
        "a?b?",    "[ab)]{2}", "(a|ab)",       "[(]a*",
        "b+[)]",   "",         "a{0,3}",       "[(][)]",
        "(b|ba)*", "[^a]",     "[(]?[ab]*[)]?"};
    char        err[100];
    const char *p = patterns[rnd(llm_countof(patterns))];
    re_t        r = RE_NONE;

    if (rnd(40) == 0) {
        return RE_NONE;
    }

    re_ecma_whole(re, p, strlen(p), &r, err, sizeof(err));

    if (rnd(12) == 0) {
        r = re_and(re, r, re_not(re, re_str(re, "a")));
    }

    return r;
}


/* A random tree; returns its number. */
static int
random_node(naive_t *g, const uint32_t *rules, int depth)
{
    gr_node_t list[4];
    node_t    n = {.kind = TEXT};
    uint32_t  dice = rnd(100);
    int       i;

    if (depth == 0 || g->n > MAX_NODES - 20 || dice < 25) {
        n.kind = rnd(3) == 0 ? RULE : TEXT;

    } else if (dice < 60) {
        n.kind = SEQ;

    } else if (dice < 85) {
        n.kind = ALT;

    } else {
        n.kind = REPEAT;
    }

    switch (n.kind) {

    case TEXT:
        n.re = random_text(gr_re(g->gr));
        n.node = rnd(6) == 0 ? gr_text_marked(g->gr, n.re, GR_MARK_FREE)
                             : gr_text(g->gr, n.re);
        break;

    case RULE:
        n.min = (int) rnd(RULES);
        n.node = gr_rule(g->gr, rules[n.min]);
        break;

    case REPEAT:
        n.list[0] = random_node(g, rules, depth - 1);
        n.min = (int) rnd(3);
        n.max = rnd(2) ? -1 : n.min + (int) rnd(3);
        n.node = gr_repeat(g->gr, g->nodes[n.list[0]].node, (uint32_t) n.min,
                           n.max < 0 ? RE_INF : (uint32_t) n.max);
        break;

    default:
        n.n = 1 + (int) rnd(3);

        for (i = 0; i < n.n; i++) {
            n.list[i] = random_node(g, rules, depth - 1);
            list[i] = g->nodes[n.list[i]].node;
        }

        n.node = n.kind == SEQ ? gr_seq(g->gr, list, (size_t) n.n)
                               : gr_alt(g->gr, list, (size_t) n.n);
    }

    g->nodes[g->n] = n;

    return g->n++;
}


static int
is_some(naive_t *g, const node_t *n)
{
    int i, yes;

    switch (n->kind) {

    case TEXT:
        return re_is_none(gr_re(g->gr), n->re, 0) == RE_NO;

    case RULE:
        return g->some[g->rules[n->min]];

    case REPEAT:
        return n->min == 0 || g->some[n->list[0]];

    default:

        for (i = 0, yes = 0; i < n->n; i++) {
            yes += g->some[n->list[i]] != 0;
        }

        return n->kind == SEQ ? yes == n->n : yes > 0;
    }
}


static void
random_grammar(naive_t *g)
{
    uint32_t rules[RULES];
    int      i, k;

    memset(g, 0, sizeof(*g));
    gr_new(NULL, &g->gr);

    for (i = 0; i < RULES; i++) {
        rules[i] = gr_rule_new(g->gr);
    }

    for (i = 0; i < RULES; i++) {
        g->rules[i] = random_node(g, rules, 3);
        gr_rule_set(g->gr, rules[i], g->nodes[g->rules[i]].node);
    }

    for (k = 0; k < g->n; k++) {
        for (i = 0; i < g->n; i++) {
            g->some[i] = is_some(g, &g->nodes[i]);
        }
    }
}


/* Spans that a sequence of children, from position i on, can end at. */
static void
ends_seq(const naive_t *g, const node_t *n, int i, int upto,
         uint8_t out[MAX_LEN + 1])
{
    uint8_t next[MAX_LEN + 1];
    int     c, t, j;

    memset(out, 0, MAX_LEN + 1);
    out[i] = 1;

    for (c = 0; c < upto; c++) {
        memset(next, 0, sizeof(next));

        for (t = i; t <= g->len; t++) {
            for (j = t; out[t] && j <= g->len; j++) {
                next[j] |= g->span[n->list[c]][t][j];
            }
        }

        memcpy(out, next, sizeof(next));
    }
}


/* Positions after exactly k turns. */
static void
ends_repeat(const naive_t *g, const node_t *n, int i, int k,
            uint8_t out[MAX_LEN + 1])
{
    node_t one = *n;
    int    t, j, c;

    memset(out, 0, MAX_LEN + 1);
    out[i] = 1;

    for (c = 0; c < k; c++) {
        uint8_t next[MAX_LEN + 1] = {0};

        for (t = i; t <= g->len; t++) {
            for (j = t; out[t] && j <= g->len; j++) {
                next[j] |= g->span[one.list[0]][t][j];
            }
        }

        memcpy(out, next, sizeof(next));
    }
}


static int
turns(const naive_t *g, const node_t *n)
{
    return n->max >= 0 ? n->max : n->min + g->len + 1;
}


/* What node can be from i on, by what is known of others. */
static int
look(naive_t *g, int at, int i)
{
    const node_t *n = &g->nodes[at];
    uint8_t       ends[MAX_LEN + 1], all[MAX_LEN + 1] = {0};
    int           j, k, open = 0, changed = 0;
    re_t          d;

    if (!g->some[at]) {
        return 0;
    }

    switch (n->kind) {

    case TEXT:

        for (j = i; j <= g->len; j++) {
            all[j] = (uint8_t) re_match(gr_re(g->gr), n->re, g->s + i,
                                        (size_t) (j - i));
        }

        d = re_deriv_str(gr_re(g->gr), n->re, g->s + i, (size_t) (g->len - i));
        open = re_is_none(gr_re(g->gr), d, 0) == RE_NO;
        break;

    case RULE:
        memcpy(all, g->span[g->rules[n->min]][i], sizeof(all));
        open = g->open[g->rules[n->min]][i];
        break;

    case ALT:

        for (k = 0; k < n->n; k++) {
            for (j = i; j <= g->len; j++) {
                all[j] |= g->span[n->list[k]][i][j];
            }

            open |= g->open[n->list[k]][i];
        }

        break;

    case SEQ:
        ends_seq(g, n, i, n->n, all);

        for (k = 0; k < n->n; k++) {
            ends_seq(g, n, i, k, ends);

            for (j = i; j <= g->len; j++) {
                open |= ends[j] && g->open[n->list[k]][j];
            }
        }

        open |= all[g->len];
        break;

    default:

        for (k = 0; k <= turns(g, n); k++) {
            ends_repeat(g, n, i, k, ends);

            for (j = i; j <= g->len; j++) {
                all[j] |= k >= n->min && ends[j];
                open |= k < turns(g, n) && ends[j] && g->open[n->list[0]][j];
            }

            /* Nothing left to read, and more turns can be had. */

            open |= ends[g->len];
        }
    }

    for (j = i; j <= g->len; j++) {
        changed |= all[j] && !g->span[at][i][j];
        g->span[at][i][j] |= all[j];
    }

    changed |= open && !g->open[at][i];
    g->open[at][i] |= (uint8_t) (open != 0);

    return changed;
}


/* Whether s[len] is of the language (1) or the beginning of one (2). */
static int
naive(naive_t *g, const char *s, int len)
{
    int at, i, changed;

    g->s = s;
    g->len = len;
    memset(g->span, 0, sizeof(g->span));
    memset(g->open, 0, sizeof(g->open));

    do {
        changed = 0;

        for (at = 0; at < g->n; at++) {
            for (i = 0; i <= len; i++) {
                changed |= look(g, at, i);
            }
        }
    } while (changed);

    return g->span[g->rules[0]][0][len] | g->open[g->rules[0]][0] << 1;
}


/* All strings that go on from s[len]; how many differences. */
static int
compare(naive_t *g, gr_parse_t *p, char *s, int len, int max)
{
    int i, got, want, bad;

    want = naive(g, s, len) & 1;
    bad = gr_parse_complete(p) != want;

    if (bad) {
        diag("'%.*s': complete %d, want %d", len, s, !want, want);
    }

    for (i = 0; letters[i] && len < max; i++) {
        s[len] = letters[i];
        got = gr_parse_push(p, (uint8_t) s[len]);
        want = naive(g, s, len + 1) >> 1;

        if (got != want) {
            diag("'%.*s': push %d, want %d", len + 1, s, got, want);
            bad++;
        }

        if (got == 1) {
            if (want == 1) {
                bad += compare(g, p, s, len + 1, max);
            }

            gr_parse_pop(p, 1);
        }

        if (bad > 3) {
            return bad;
        }
    }

    return bad;
}


typedef struct {
    int      complete;
    uint64_t bytes[4];
} next_t;


/* By pushing. */
static void
next_of(gr_parse_t *p, next_t *next)
{
    int i;

    memset(next, 0, sizeof(*next));
    next->complete = gr_parse_complete(p);

    for (i = 0; letters[i]; i++) {
        if (gr_parse_push(p, (uint8_t) letters[i]) == 1) {
            next->bytes[letters[i] / 64] |= (uint64_t) 1 << (letters[i] % 64);
            gr_parse_pop(p, 1);
        }
    }
}


/* By walking with the lexer and jumping where lexemes end. */
static void
walk(gr_t *gr, gr_parse_t *p, const char *s, int len, next_t *next)
{
    const gr_thread_t *threads;
    gr_thread_t        own[64];
    uint64_t           bytes[4];
    uint32_t           n, i;
    int32_t            to;
    int                k, b;

    n = gr_parse_threads(p, &threads);
    n = n < 64 ? n : 64;
    memcpy(own, threads, n * sizeof(gr_thread_t));

    for (i = 0; i < n; i++) {
        to = own[i].lexer;

        for (k = 1; k <= len && to > 0; k++) {
            to = re_dfa_next(gr_dfa(gr), to, (uint8_t) s[k - 1]);

            if (to <= 0 || re_dfa_get(gr_dfa(gr), to)->n_accepts == 0) {
                continue;
            }

            if (gr_parse_jump(p, i, to, (const uint8_t *) s, (size_t) k) != 1) {
                continue;
            }

            if (k == len) {
                next->complete |= gr_parse_complete(p);
            }

            walk(gr, p, s + k, len - k, next);
            gr_parse_pop(p, 1);
        }

        if (k > len && to > 0 && (len > 0 || s)) {
            re_dfa_allowed(gr_dfa(gr), to, bytes);

            for (b = 0; letters[b]; b++) {
                if (bytes[letters[b] / 64] >> (letters[b] % 64) & 1) {
                    next->bytes[letters[b] / 64] |= (uint64_t) 1
                                                    << (letters[b] % 64);
                }
            }
        }
    }
}


/* Pushes and pops at random; then the same from the beginning, and jumps. */
static int
wander(gr_t *gr, int rounds)
{
    gr_parse_t *p, *fresh;
    next_t      a, b, c;
    char        s[40];
    int         i, k, n, bad, len;

    if (gr_parse_new(gr, NULL, &p) < 0) {
        return 1;
    }

    len = 0;
    bad = 0;

    for (i = 0; i < rounds && !bad; i++) {
        if (rnd(3) && len < 30) {
            s[len] = letters[rnd(4)];
            len += gr_parse_push(p, (uint8_t) s[len]) == 1;

        } else {
            n = len ? (int) rnd((uint32_t) (len > 6 ? 6 : len)) : 0;
            gr_parse_pop(p, (uint32_t) n);
            len -= n;
        }

        if (rnd(8) == 0) {
            p->tidy_at = 0;
            gr_parse_fuel(p, UINT64_MAX);
        }

        gr_parse_new(gr, NULL, &fresh);

        for (k = 0; k < len; k++) {
            bad += gr_parse_push(fresh, (uint8_t) s[k]) != 1;
        }

        next_of(p, &a);
        next_of(fresh, &b);
        bad += memcmp(&a, &b, sizeof(a)) != 0;

        memset(&c, 0, sizeof(c));
        n = (int) rnd((uint32_t) (len > 5 ? 5 : len) + 1);
        gr_parse_pop(p, (uint32_t) n);
        c.complete = n == 0 && gr_parse_complete(p);
        walk(gr, p, s + len - n, n, &c);
        bad += memcmp(&a, &c, sizeof(a)) != 0;

        for (k = len - n; k < len; k++) {
            bad += gr_parse_push(p, (uint8_t) s[k]) != 1;
        }

        if (bad) {
            diag("'%.*s': %d %d %d, %016llx %016llx %016llx", len, s,
                 a.complete, b.complete, c.complete,
                 (unsigned long long) a.bytes[1],
                 (unsigned long long) b.bytes[1],
                 (unsigned long long) c.bytes[1]);
        }

        gr_parse_free(fresh);
    }

    gr_parse_free(p);

    return bad;
}


static void
test_random(int rounds, int max)
{
    static naive_t g;
    gr_parse_t    *p;
    char           s[MAX_LEN + 1];
    int            i, rc, bad, wrong, empty, strings;

    bad = 0;
    wrong = 0;
    empty = 0;
    strings = 0;

    for (i = 0; i < rounds && bad < 5; i++) {
        seed = (uint64_t) i * 77 + 5;
        random_grammar(&g);
        rc = gr_finish(g.gr, g.nodes[g.rules[0]].node);

        if (rc == -ENOENT && !g.some[g.rules[0]]) {
            empty++;
            gr_free(g.gr);
            continue;
        }

        if (rc < 0 || !g.some[g.rules[0]] || gr_parse_new(g.gr, NULL, &p) < 0) {
            diag("grammar %d: %d", i, rc);
            bad++;
            gr_free(g.gr);
            continue;
        }

        rc = compare(&g, p, s, 0, max);
        gr_parse_free(p);
        strings++;

        if (rc) {
            diag("grammar %d", i);
            bad++;
        }

        if (wander(g.gr, 20)) {
            diag("grammar %d wanders", i);
            wrong++;
        }

        gr_free(g.gr);
    }

    is_int(bad, 0, "%d random grammars, %d empty: exact for strings up to %d",
           strings, empty, max);
    is_int(wrong, 0, "popped and pushed as fresh, jumped as pushed");
}


/*
 * A machine: distinct words of [ab]+ between brackets.  Its key is what has
 * been said, each word with a comma; then 'w' (a word comes) or 'e'.
 */
static int
words_expand(gr_t *gr, void *data, const void *key, size_t len, gr_edges_t *out)
{
    const char *k = key, *end, *p;
    re_set_t   *re = gr_re(gr);
    uint64_t    bits[4] = {0, 6ull << 32, 0, 0};
    re_t        word;
    char        next[200];

    (void) data;

    if (k[len - 1] == 'e') {
        gr_accept(out);
        memcpy(next, k, len);
        next[len - 1] = 'w';
        gr_edge_lexeme(out, gr_lexeme(gr, re_str(re, "("), 0),
                       gr_state(gr, 1, next, len));
        return 0;
    }

    word = re_repeat(re, re_class(re, bits), 1, RE_INF);

    for (p = k; (end = memchr(p, ',', (size_t) (k + len - p))); p = end + 1) {
        word = re_minus(re, word, re_run(re, p, (size_t) (end - p), RE_EMPTY));
    }

    gr_edge_capture(out, gr_lexeme(gr, word, 0), 7);

    return 0;
}


static int
words_capture(gr_t *gr, void *data, const void *key, size_t len, uint32_t arg,
              const uint8_t *text, size_t n, gr_state_t *to)
{
    char next[200];

    (void) data;

    if (arg != 7 || len + n + 2 > sizeof(next)) {
        return -E2BIG;
    }

    memcpy(next, key, len - 1);
    memcpy(next + len - 1, text, n);
    memcpy(next + len - 1 + n, ",e", 2);
    *to = gr_state(gr, 1, next, len + n + 1);

    return 0;
}


/* '(' is the separator; every list ends at ')'. */
static int
words_naive(const char *s, int len)
{
    const char *word[20];
    int         size[20], n, i, k;

    for (i = 0, n = 0; i < len;) {
        for (k = i; k < len && (s[k] == 'a' || s[k] == 'b'); k++) { /* void */
        }

        if (k == len) {
            break;
        }

        word[n] = s + i;
        size[n++] = k - i;

        if (k == i) {
            return 0;
        }

        for (i = 0; i < n - 1; i++) {
            if (size[i] == size[n - 1]
                && memcmp(word[i], word[n - 1], (size_t) size[i]) == 0) {
                return 0;
            }
        }

        n = s[k] == '(' ? n : 0;
        i = k + 1;
    }

    return 1;
}


static int
words_compare(gr_parse_t *p, char *s, int len, int max)
{
    int i, got, bad = 0;

    bad += gr_parse_complete(p) != (len && s[len - 1] == ')');

    for (i = 0; letters[i] && len < max; i++) {
        s[len] = letters[i];
        got = gr_parse_push(p, (uint8_t) s[len]);
        bad += got != words_naive(s, len + 1);

        if (bad && bad < 3) {
            diag("'%.*s': %d", len + 1, s, got);
        }

        if (got == 1) {
            bad += words_compare(p, s, len + 1, max);
            gr_parse_pop(p, 1);
        }
    }

    return bad;
}


static void
test_capture(void)
{
    static const gr_machine_t ops = {words_expand, words_capture, NULL};
    gr_parse_t               *p;
    gr_node_t                 list[2];
    gr_t                     *gr;
    char                      s[20];
    uint32_t                  m;

    gr_new(NULL, &gr);
    m = gr_machine_add(gr, &ops, NULL);
    is_int(m, 1, "a machine");

    list[0] = gr_machine_node(gr, gr_state(gr, m, "w", 1));
    list[1] = gr_literal(gr, ")", 1);
    is_int(gr_finish(gr, gr_repeat(gr, gr_seq(gr, list, 2), 1, RE_INF)), 0,
           "lists of distinct words");

    gr_parse_new(gr, NULL, &p);
    is_int(words_compare(p, s, 0, 8), 0, "all strings up to 8: exact");
    gr_parse_free(p);
    is_int(wander(gr, 200), 0, "popped and pushed as fresh, jumped as pushed");
    gr_free(gr);
}


static void
test_errors(void)
{
    const char *msg;
    gr_node_t   list[2];
    gr_parse_t *p;
    uint32_t    rule;
    gr_t       *gr;

    gr_new(NULL, &gr);
    rule = gr_rule_new(gr);
    is_int(gr_finish(gr, gr_rule(gr, rule)), -EINVAL, "a rule without a body");
    gr_free(gr);

    gr_new(NULL, &gr);
    rule = gr_rule_new(gr);
    list[0] = gr_literal(gr, "a", 1);
    list[1] = gr_rule(gr, rule);
    gr_rule_set(gr, rule, gr_seq(gr, list, 2));
    is_int(gr_finish(gr, gr_rule(gr, rule)), -ENOENT, "a rule without an end");
    is_int(gr_failed(gr, &msg), -ENOENT, "it stays failed: %s", msg);
    gr_free(gr);

    gr_new(NULL, &gr);
    list[0] = gr_special(gr, "<|x|>", 5);
    list[1] = gr_text_marked(gr, RE_TEXT, GR_MARK_THINK);
    is_int(gr_finish(gr, gr_seq(gr, list, 2)), 0, "special, then marked");
    gr_parse_new(gr, NULL, &p);
    is_int(gr_parse_push(p, '<'), 0, "no text spells a special");
    is_int(gr_parse_marks(p), 0, "not marked before");
    is_int(gr_parse_push(p, 0xff) + gr_parse_push(p, '<')
               + gr_parse_push(p, '|') + gr_parse_push(p, 'x')
               + gr_parse_push(p, '|') + gr_parse_push(p, '>'),
           6, "0xff and its name do");
    is_int(gr_parse_marks(p), GR_MARK_THINK, "marked behind it");
    is_int(gr_parse_complete(p), 1, "complete");
    gr_parse_pop(p, 100);
    is_int(gr_parse_depth(p), 0, "down to the start");
    gr_parse_free(p);
    gr_free(gr);
}


/* Lexemes and states that a program needs for all of text. */
static void
need(gr_t *gr, gr_node_t node, const char *text, gr_stats_t *stats)
{
    gr_parse_t *p = NULL;
    size_t      i;
    int         rc;

    rc = gr_finish(gr, node);
    rc = rc ? rc : gr_parse_new(gr, NULL, &p);

    for (i = 0; rc >= 0 && text[i]; i++) {
        rc = gr_parse_push(p, (uint8_t) text[i]) == 1 ? 1 : -1;
    }

    ok(rc >= 0 && gr_parse_complete(p), "reads '%.20s'", text);
    gr_stats(gr, stats);
    gr_parse_free(p);
}


/* Rules whose letters are rules, as GBNF has them, become one text. */
static void
test_fold(void)
{
    gr_stats_t stats;
    gr_node_t  list[3], body;
    uint32_t   item, tail, i;
    gr_t      *gr;

    gr_new(NULL, &gr);
    item = gr_rule_new(gr);
    tail = gr_rule_new(gr);
    gr_rule_set(gr, item, gr_literal(gr, "a", 1));

    list[0] = gr_rule(gr, item);
    list[1] = gr_rule(gr, tail);
    body = gr_repeat(gr, gr_seq(gr, list, 2), 0, 1);
    gr_rule_set(gr, tail, body);

    list[0] = gr_literal(gr, "(", 1);
    list[2] = gr_literal(gr, ")", 1);
    need(gr, gr_seq(gr, list, 3), "(aaa)", &stats);
    is_int(stats.lexemes, 1, "a right recursive rule of letters: one lexeme");
    gr_free(gr);

    gr_new(NULL, &gr);
    tail = gr_rule_new(gr);
    list[0] = gr_rule(gr, tail);
    list[1] = gr_literal(gr, "ab", 2);
    list[0] = gr_seq(gr, list, 2);
    list[1] = gr_literal(gr, "c", 1);
    gr_rule_set(gr, tail, gr_alt(gr, list, 2));
    need(gr, gr_rule(gr, tail), "cababab", &stats);
    is_int(stats.lexemes, 1, "a left recursive one");
    gr_free(gr);

    /* A count of what is no text is counted, not written out. */

    gr_new(NULL, &gr);
    tail = gr_rule_new(gr);
    list[0] = gr_literal(gr, "(", 1);
    list[1] = gr_repeat(gr, gr_rule(gr, tail), 0, 1);
    list[2] = gr_literal(gr, ")", 1);
    gr_rule_set(gr, tail, gr_seq(gr, list, 3));
    body = gr_repeat(gr, gr_rule(gr, tail), 2, 1000000);
    need(gr, body, "()(())((()))", &stats);
    ok(stats.states < 40, "up to a million of a rule: %u states", stats.states);
    gr_free(gr);

    /* Nesting that no stack of C could follow. */

    gr_new(NULL, &gr);
    body = gr_literal(gr, "a", 1);

    for (i = 0; i < 200000; i++) {
        list[0] = gr_text_marked(gr, RE_CHAR, GR_MARK_FREE);
        list[1] = body;
        body = gr_alt(gr, list, 2);
    }

    need(gr, body, "a", &stats);
    gr_free(gr);
}


static void
test_limits(void)
{
    gr_limits_t limits = {.max_states = 50};
    const char *msg;
    gr_parse_t *p;
    gr_node_t   list[3];
    uint32_t    rule;
    gr_t       *gr;
    int         i, rc;

    gr_new(&limits, &gr);
    rule = gr_rule_new(gr);
    list[0] = gr_literal(gr, "(", 1);
    list[1] = gr_repeat(gr, gr_rule(gr, rule), 0, 100);
    list[2] = gr_literal(gr, ")", 1);
    gr_rule_set(gr, rule, gr_seq(gr, list, 3));
    is_int(gr_finish(gr, gr_repeat(gr, gr_rule(gr, rule), 0, 100)), 0,
           "a program of many states");
    gr_parse_new(gr, NULL, &p);

    for (i = 0, rc = 1; i < 200 && rc == 1; i++) {
        rc = gr_parse_push(p, i % 2 ? ')' : '(');
    }

    is_int(rc, -E2BIG, "too many after %d bytes", i);
    is_int(gr_parse_depth(p), i - 1, "nothing changed");
    is_int(gr_failed(gr, &msg), -E2BIG, "%s", msg);
    is_int(gr_parse_push(p, 'x'), 0, "what is known still holds");
    gr_parse_free(p);
    gr_free(gr);
}


int
main(int argc, char **argv)
{
    test_errors();
    test_fold();
    test_limits();
    test_random(argc > 1 ? atoi(argv[1]) : 150, argc > 2 ? atoi(argv[2]) : 5);
    test_capture();

    return tap_done();
}
