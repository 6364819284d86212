/*
 * Token masks against brute force: every token tried byte by byte on the
 * parser alone, at each step of random walks; with every shortcut off and on;
 * over vocabularies of bytes and random ones (parts of characters, tokens of
 * equal bytes, control tokens).  Then forced tokens, rollback, completion.
 */

#include <errno.h>
#include "engine/grammar/gr_parse_priv.h"
#include "engine/grammar/grammar_priv.h"
#include "engine/grammar/re_ecma.h"
#include "t/lib/tap.h"

#define MAX_TOKENS 1500
#define VARIANTS   7

typedef struct {
    char     text[MAX_TOKENS * 12];
    str_t    bytes[MAX_TOKENS];
    uint8_t  kinds[MAX_TOKENS];
    int32_t  eog[3];
    uint32_t n, used;
} words_t;

typedef gr_node_t (*make_pt)(gr_t *gr);

static uint64_t seed = 1;

static const unsigned variants[VARIANTS] = {0,
                                            MASK_NO_SHARED,
                                            MASK_NO_BASE | MASK_NO_SHARED,
                                            MASK_NO_REF | MASK_NO_SHARED,
                                            MASK_NO_GROUP,
                                            MASK_NO_ENTRY | MASK_NO_SHARED,
                                            MASK_NO_SHARED | MASK_NO_BASE
                                                | MASK_NO_REF | MASK_NO_ENTRY
                                                | MASK_NO_GROUP};


static uint32_t
rnd(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) ((seed >> 33) % n);
}


static re_t
pattern(gr_t *gr, const char *s)
{
    char err[200];
    re_t re = RE_NONE;

    if (re_ecma_whole(gr_re(gr), s, strlen(s), &re, err, sizeof(err)) != 0) {
        printf("# %s: %s\n", s, err);
    }

    return re;
}


static gr_node_t
text(gr_t *gr, const char *s)
{
    return gr_text(gr, pattern(gr, s));
}


static gr_node_t
lit(gr_t *gr, const char *s)
{
    return gr_literal(gr, s, strlen(s));
}


static gr_node_t
seq(gr_t *gr, gr_node_t a, gr_node_t b, gr_node_t c)
{
    gr_node_t list[3] = {a, b, c};

    return gr_seq(gr, list, 3);
}


static gr_node_t
alt(gr_t *gr, gr_node_t a, gr_node_t b, gr_node_t c)
{
    gr_node_t list[3] = {a, b, c};

    return gr_alt(gr, list, 3);
}


static re_t
quoted(gr_t *gr, re_t re)
{
    re_set_t *set = gr_re(gr);

    return re_concat(set, re_str(set, "\""),
                     re_concat(set, re_quoted(set, re), re_str(set, "\"")));
}


/* Any JSON value, more or less. */
static gr_node_t
make_json(gr_t *gr)
{
    uint32_t  value = gr_rule_new(gr);
    gr_node_t v = gr_rule(gr, value), str, item, member, list[6];

    str = gr_text(gr, quoted(gr, RE_TEXT));
    item = seq(gr, lit(gr, ","), v, GR_EMPTY);
    member = seq(gr, str, lit(gr, ":"), v);

    list[0] = str;
    list[1] = text(gr, "-?(0|[1-9][0-9]*)(\\.[0-9]+)?");
    list[2] = text(gr, "true|false|null");
    list[3] = seq(gr, lit(gr, "["),
                  alt(gr, GR_EMPTY,
                      seq(gr, v, gr_repeat(gr, item, 0, 3), GR_EMPTY), GR_NONE),
                  lit(gr, "]"));
    list[4] = seq(gr, lit(gr, "{"),
                  alt(gr, GR_EMPTY,
                      seq(gr, member,
                          gr_repeat(gr, seq(gr, lit(gr, ","), member, GR_EMPTY),
                                    0, RE_INF),
                          GR_EMPTY),
                      GR_NONE),
                  lit(gr, "}"));

    gr_rule_set(gr, value, gr_alt(gr, list, 5));

    return v;
}


/* Names that are not some; lengths; an enum; a pattern. */
static gr_node_t
make_object(gr_t *gr)
{
    re_set_t *set = gr_re(gr);
    re_t      names, other, lexeme[6];
    gr_node_t list[16];
    uint32_t  n = 0;

    names = re_or(set, re_str(set, "a"),
                  re_or(set, re_str(set, "abc"), re_str(set, "x y")));
    other = quoted(gr, re_minus(set, RE_TEXT, names));
    lexeme[0] = quoted(gr, re_length(set, 0, 7));
    lexeme[1] = quoted(gr, re_length(set, 2, 30));
    lexeme[2] = quoted(gr, pattern(gr, "[a-c]{1,9}|[^a]{2}"));
    lexeme[3] = quoted(gr, RE_TEXT);

    list[n++] = lit(gr, "{\"a\":");
    list[n++] = gr_text(gr, lexeme[0]);
    list[n++] = lit(gr, ",\"abc\":");
    list[n++] = gr_text(gr, lexeme[2]);
    list[n++] = alt(gr, lit(gr, ","), lit(gr, ", "), GR_NONE);
    list[n++] = gr_text(gr, other);
    list[n++] = lit(gr, ":");
    list[n++] = gr_text(gr, lexeme[1]);
    list[n++] = gr_repeat(gr,
                          seq(gr, lit(gr, ","), gr_text(gr, other),
                              gr_text(gr, pattern(gr, ":(1[0-9]*|ab?)"))),
                          0, 3);
    list[n++] = lit(gr, "}");

    return gr_seq(gr, list, n);
}


/* Strings of which much is allowed, but not all. */
static gr_node_t
make_strings(gr_t *gr)
{
    re_set_t *set = gr_re(gr);
    re_t      has, word, re[8];
    gr_node_t list[3];
    uint32_t  i, n = 0;

    has = re_concat(set, RE_TEXT, re_concat(set, re_str(set, "ab"), RE_TEXT));
    word = pattern(gr, "[a-z0-9]{0,5}[a-z0-9](\\.[a-z]+-?)*");

    re[n++] = has;
    re[n++] = re_minus(set, RE_TEXT, has);
    re[n++] =
        re_and(set, word, re_repeat(set, re_byte_range(set, 0, 255), 0, 12));
    re[n++] = re_minus(set, pattern(gr, "[a-z_-]{1,40}"), re_str(set, "abc"));
    re[n++] = re_or(set, re_str(set, "12"), re_concat(set, has, RE_CHAR));
    re[n++] = pattern(gr, "[^\\s]{2,}|.{3,9}");
    re[n++] = re_minus(set, RE_TEXT, re_str(set, "\xc3\xa9z"));

    list[0] = GR_EMPTY;

    for (i = 0; i < n; i++) {
        list[1] = gr_text(gr, quoted(gr, re[i]));
        list[2] = alt(gr, lit(gr, ","), lit(gr, ", "), GR_NONE);
        list[0] = gr_seq(gr, list, 3);
    }

    list[1] = alt(gr, gr_text(gr, quoted(gr, re[3])),
                  gr_text(gr, quoted(gr, re[0])), lit(gr, "\"1\""));

    return alt(gr, gr_seq(gr, list, 2), gr_text(gr, quoted(gr, re[1])),
               gr_text(gr, re[5]));
}


/* Every character a lexeme of its own, in every way cut. */
static gr_node_t
make_chars(gr_t *gr)
{
    uint32_t  rule = gr_rule_new(gr);
    gr_node_t r = gr_rule(gr, rule), atom;

    atom = alt(gr, text(gr, "[a-c]+"), text(gr, "[b-z1]"),
               seq(gr, lit(gr, "("), r, lit(gr, ")")));
    gr_rule_set(gr, rule,
                alt(gr, atom, seq(gr, r, lit(gr, ","), atom),
                    seq(gr, r, atom, GR_EMPTY)));

    return r;
}


/* Free text, a control token, reasoning. */
static gr_node_t
make_tools(gr_t *gr)
{
    re_set_t *set = gr_re(gr);
    gr_node_t list[6];
    re_t      free, has;

    has = re_concat(set, RE_TEXT, re_concat(set, re_str(set, "<a"), RE_TEXT));
    free = re_minus(set, RE_TEXT, has);

    list[0] = gr_text_marked(gr, re_minus(set, RE_TEXT, has), GR_MARK_THINK);
    list[1] = gr_special(gr, "<|end|>", 7);
    list[2] = gr_text_marked(gr, free, GR_MARK_FREE);
    list[3] = lit(gr, "<a");
    list[4] = text(gr, "[ab ]{3,50}");
    list[5] = alt(gr, gr_special(gr, "<|call|>", 8), lit(gr, "."), GR_NONE);

    return gr_seq(gr, list, 6);
}


/* Mixed regular parts that end anywhere. */
static gr_node_t
make_cuts(gr_t *gr)
{
    gr_node_t a = text(gr, "[a-z]+"), b = text(gr, "[a-z\"1]*[c1]"),
              c = text(gr, ".{0,3}");

    return seq(gr, seq(gr, a, b, c), alt(gr, a, lit(gr, "\xc3\xa9"), b),
               gr_repeat(gr, seq(gr, lit(gr, ","), a, c), 1, 2));
}


/* A machine that captures: words, each at most once. */
static int
once_expand(gr_t *gr, void *data, const void *key, size_t len, gr_edges_t *out)
{
    re_set_t   *set = gr_re(gr);
    re_t        word = pattern(gr, "[a-d]{1,2}:?");
    const char *p = key, *end = p + len;
    size_t      n;

    for (; p < end; p += n + 1) {
        n = strlen(p);
        word = re_minus(set, word, re_run(set, p, n, RE_EMPTY));
    }

    if (len) {
        gr_accept(out);
    }

    if (re_is_none(set, word, 0) == RE_NO) {
        gr_edge_capture(
            out, gr_lexeme(gr, re_concat(set, word, re_str(set, ",")), 0), 7);
    }

    return 0;
}


static int
once_capture(gr_t *gr, void *data, const void *key, size_t len, uint32_t arg,
             const uint8_t *s, size_t n, gr_state_t *to)
{
    uint32_t machine = *(uint32_t *) data;
    char     next[400];

    if (len + n > sizeof(next) || arg != 7) {
        return -E2BIG;
    }

    memcpy(next, key, len);
    memcpy(next + len, s, n - 1);
    next[len + n - 1] = 0;
    *to = gr_state(gr, machine, next, len + n);

    return 0;
}


static gr_node_t
make_once(gr_t *gr)
{
    static const gr_machine_t ops = {once_expand, once_capture, free};
    uint32_t                 *data = malloc(sizeof(uint32_t));
    uint32_t                  machine = gr_machine_add(gr, &ops, data);

    *data = machine;

    return seq(gr, lit(gr, "<"),
               gr_machine_node(gr, gr_state(gr, machine, "", 0)), lit(gr, ">"));
}


/* Random expressions over few characters. */
static gr_node_t
random_node(gr_t *gr, gr_node_t self, int depth)
{
    static const char *const texts[] = {"a",      "[ab]+",   "b?c", "\"",
                                        "[^b]*",  "a{2,5}",  ",",   "1[12]*",
                                        "ab|abc", "\\u00e9+"};
    gr_node_t                list[3];
    uint32_t                 i, n;

    if (depth == 0 || rnd(4) == 0) {
        return text(gr, texts[rnd(llm_countof(texts))]);
    }

    n = 1 + rnd(3);

    for (i = 0; i < n; i++) {
        list[i] = random_node(gr, self, depth - 1);
    }

    switch (rnd(5)) {
    case 0:
        return gr_alt(gr, list, n);

    case 1:
        return gr_repeat(gr, list[0], rnd(2), 1 + rnd(3));

    case 2:
        return gr_repeat(gr, list[0], 0, RE_INF);

    case 3:
        list[0] = self;
        list[1] = n > 1 ? list[1] : lit(gr, "b");
        return alt(gr, seq(gr, list[0], list[1], GR_EMPTY),
                   random_node(gr, self, 0), GR_NONE);

    default:
        return gr_seq(gr, list, n);
    }
}


static uint64_t random_seed;


static gr_node_t
make_random(gr_t *gr)
{
    uint32_t  rule = gr_rule_new(gr);
    uint64_t  old = seed;
    gr_node_t self = gr_rule(gr, rule);

    seed = random_seed;
    gr_rule_set(gr, rule, random_node(gr, self, 3));
    seed = old;

    return self;
}


static void
add_word(words_t *w, const void *s, size_t len, int kind)
{
    if (w->n == MAX_TOKENS || w->used + len > sizeof(w->text)) {
        return;
    }

    memcpy(w->text + w->used, s, len);
    w->bytes[w->n] = (str_t){w->text + w->used, len};
    w->kinds[w->n++] = (uint8_t) kind;
    w->used += (uint32_t) len;
}


static void
make_words(words_t *w, int random, const char *sample)
{
    static const char *const parts[] = {
        "a",        "b",       "c",    "x y",      "\"",   "\":",
        "\",\"",    "{\"a\":", "12",   ",",        ", ",   "abc",
        "\xc3\xa9", "\xc3",    "\xa9", "\xe4\xb8", "\xad", "\xe4\xb8\xad",
        "\\n",      "\\",      "u00",  "1",        "[",    "]}",
        "}",        "true",    "\n",   ":",        "<",    "<a",
        "(",        ")",       "z",    " ",        ".",    "\xf0\x9f",
        "\x98\x80", "d:"};
    char     word[64];
    uint32_t i, k, n, len, total = (uint32_t) strlen(sample);
    uint8_t  b;

    memset(w, 0, sizeof(words_t));

    for (i = 0; i < 256; i++) {
        b = (uint8_t) i;
        add_word(w, &b, 1, GRAMMAR_TOKEN_TEXT);
    }

    w->eog[0] = (int32_t) w->n;
    add_word(w, "</s>", 4, GRAMMAR_TOKEN_CONTROL);
    w->eog[1] = (int32_t) w->n;
    add_word(w, "<|call|>", 8, GRAMMAR_TOKEN_CONTROL);
    add_word(w, "<|end|>", 7, GRAMMAR_TOKEN_CONTROL);
    add_word(w, "<|end|>", 7, GRAMMAR_TOKEN_CONTROL);
    add_word(w, "<|", 2, GRAMMAR_TOKEN_CONTROL);
    add_word(w, "a", 1, GRAMMAR_TOKEN_NONE);
    add_word(w, "", 0, GRAMMAR_TOKEN_TEXT);
    w->eog[2] = (int32_t) w->n;
    add_word(w, "b", 1, GRAMMAR_TOKEN_TEXT);
    add_word(w, "a", 1, GRAMMAR_TOKEN_TEXT);

    for (i = 0; random && i < 600; i++) {
        n = 1 + rnd(4);

        for (k = 0, len = 0; k < n; k++) {
            const char *p = parts[rnd(llm_countof(parts))];

            memcpy(word + len, p, strlen(p));
            len += (uint32_t) strlen(p);
        }

        add_word(w, word, len, GRAMMAR_TOKEN_TEXT);
    }

    for (i = 0; random && i < 200 && total > 2; i++) {
        k = rnd(total - 1);
        n = 1 + rnd(10);
        add_word(w, sample + k, k + n > total ? total - k : n,
                 GRAMMAR_TOKEN_TEXT);
    }
}


static grammar_t *
make_grammar(grammar_vocab_t *vocab, make_pt make, unsigned off)
{
    grammar_t *grammar;
    gr_t      *gr;
    int        rc;

    if (gr_new(NULL, &gr) != 0) {
        return NULL;
    }

    rc = gr_finish(gr, make(gr));

    if (rc != 0) {
        gr_free(gr);
        return NULL;
    }

    if (grammar_new(vocab, gr, &grammar) != 0) {
        return NULL;
    }

    grammar->lexer.off = off;

    return grammar;
}


/* What the parser alone says. */
static int
brute(const words_t *w, grammar_state_t *state, uint32_t token)
{
    gr_parse_t *p = state->parse;
    uint32_t    i, len = (uint32_t) w->bytes[token].len;
    const char *s = w->bytes[token].s;
    int         eog, rc;

    eog = (int32_t) token == w->eog[0] || (int32_t) token == w->eog[1]
          || (int32_t) token == w->eog[2];

    if (eog && gr_parse_complete(p)) {
        return 1;
    }

    if (w->kinds[token] == GRAMMAR_TOKEN_NONE || len == 0
        || (eog && w->kinds[token] == GRAMMAR_TOKEN_TEXT)) {
        return 0;
    }

    if (w->kinds[token] == GRAMMAR_TOKEN_CONTROL) {
        if (gr_parse_push(p, 0xff) != 1) {
            return 0;
        }

        for (i = 0, rc = 1; i < len && rc == 1; i++) {
            rc = gr_parse_push(p, (uint8_t) s[i]);
        }

        gr_parse_pop(p, i + (rc == 1));

        return rc;
    }

    if (memchr(s, 0xff, len)) {
        return 0;
    }

    for (i = 0, rc = 1; i < len && rc == 1; i++) {
        rc = gr_parse_push(p, (uint8_t) s[i]);
    }

    gr_parse_pop(p, rc == 1 ? i : i - 1);

    return rc;
}


static int
check_mask(const words_t *w, grammar_state_t *state, const uint32_t *mask)
{
    uint32_t i;
    int      want, got;

    gr_parse_fuel(state->parse, UINT64_MAX);
    re_fuel(state->grammar->lexer.re, UINT64_MAX);

    for (i = 0; i < w->n; i++) {
        want = brute(w, state, i);
        got = (int) (mask[i / 32] >> (i % 32) & 1);

        if (want != got) {
            printf("# token %u '%.*s': mask %d, brute %d\n", i,
                   (int) w->bytes[i].len, w->bytes[i].s, got, want);
            return 0;
        }
    }

    return 1;
}


/* Forced tokens: each allowed; none that a legal token could reach over. */
static int
check_forced(const words_t *w, grammar_state_t *state, uint32_t words)
{
    int32_t  tokens[64];
    uint32_t mask[(MAX_TOKENS + 31) / 32], total, at, i, len, pushed = 0;
    uint64_t next[4];
    int      n, k, good = 1, b;

    n = grammar_state_forced(state, tokens, 64);

    if (n <= 0) {
        return n == 0;
    }

    for (total = 0; total < 1024 && !gr_parse_complete(state->parse); total++) {
        grammar_next(state, next);
        b = -1;

        for (i = 0, k = 0; i < 256; i++) {
            if (next[i / 64] >> (i % 64) & 1) {
                b = (int) i;
                k++;
            }
        }

        if (k != 1 || gr_parse_push(state->parse, (uint8_t) b) != 1) {
            break;
        }
    }

    gr_parse_pop(state->parse, total);

    for (k = 0, at = 0; k < n && good; k++) {
        good &= grammar_state_mask(state, mask) == 0
                && (mask[tokens[k] / 32] >> (tokens[k] % 32) & 1);

        for (i = 0; i < w->n && good && n < 64; i++) {
            len = (uint32_t) w->bytes[i].len
                  + (w->kinds[i] == GRAMMAR_TOKEN_CONTROL);

            if ((mask[i / 32] >> (i % 32) & 1) && len + at > total) {
                printf("# '%.*s' reaches over what is forced\n", (int) len,
                       w->bytes[i].s);
                good = 0;
            }
        }

        good &= grammar_state_accept(state, tokens[k]) == 0;
        pushed += (uint32_t) good;
        at += (uint32_t) w->bytes[tokens[k]].len
              + (w->kinds[tokens[k]] == GRAMMAR_TOKEN_CONTROL);
    }

    grammar_state_rollback(state, pushed);

    return good;
}


/*
 * Some way to the end by bytes, breadth first: 1.  Few bytes are tried where
 * one of them will do.
 */
static int
finishes(gr_parse_t *p, int all)
{
    enum { MOST = 50000, SLOTS = 1 << 18 };
    static const uint8_t few[] = "\"}]>):.,abc1\xff<|endl ";
    static struct {
        uint32_t up;
        uint8_t  byte;
    } q[MOST];
    static uint64_t    met[SLOTS];
    const gr_thread_t *threads;
    uint8_t            path[400];
    uint32_t           at, n, i, k, len, count, tried;
    uint64_t           key;
    int                b, done;

    gr_parse_fuel(p, UINT64_MAX);
    re_fuel(p->gr->re, UINT64_MAX);
    memset(met, 0, sizeof(met));
    done = gr_parse_complete(p);

    for (at = 0, n = 1, q[0].up = 0; !done && at < n; at++) {
        for (i = at, len = 0; i > 0 && len < sizeof(path); i = q[i].up) {
            path[len++] = q[i].byte;
        }

        for (i = len; i > 0; i--) {
            gr_parse_push(p, path[i - 1]);
        }

        for (i = 0, tried = 0; i < 256 + sizeof(few) - 1 && !done && n < MOST;
             i++) {
            if (i == sizeof(few) - 1 && tried && !all) {
                break;
            }

            b = i < sizeof(few) - 1 ? few[i] : (int) (i - sizeof(few) + 1);

            if (gr_parse_push(p, (uint8_t) b) != 1) {
                continue;
            }

            tried = 1;
            done = gr_parse_complete(p);
            count = gr_parse_threads(p, &threads);

            for (k = 0, key = count + 1; k < count; k++) {
                key = (key ^ threads[k].row) * 0x9e3779b97f4a7c15ull;
                key =
                    (key ^ (uint32_t) threads[k].lexer) * 0xff51afd7ed558ccdull;
                key ^= key >> 29;
            }

            for (k = key % SLOTS; met[k] && met[k] != key;
                 k = (k + 1) % SLOTS) { /* void */
            }

            if (met[k] == 0) {
                met[k] = key;
                q[n].up = at;
                q[n++].byte = (uint8_t) b;
            }

            gr_parse_pop(p, 1);
        }

        gr_parse_pop(p, len);
    }

    if (!done && all) {
        printf("# no way to the end among %u\n", n);
    }

    return done;
}


static int
can_finish(gr_parse_t *p)
{
    return finishes(p, 0) || finishes(p, 1);
}


static int
pick(const uint32_t *mask, uint32_t n)
{
    uint32_t i, k, start = rnd(n), best = MASK_NONE;

    for (i = 0, k = 0; i < n && k < 3; i++) {
        uint32_t t = (start + i) % n;

        if (mask[t / 32] >> (t % 32) & 1) {
            if (best == MASK_NONE || rnd(2)) {
                best = t;
            }

            k++;
        }
    }

    return best == MASK_NONE ? -1 : (int) best;
}


static int
walk_once(const words_t *w, grammar_state_t **states, uint32_t words,
          int forced)
{
    static uint32_t mask[VARIANTS][(MAX_TOKENS + 31) / 32];
    uint32_t        steps, v, back;
    int             token, want, rc;

    for (steps = 0; steps < 14; steps++) {
        for (v = 0; v < VARIANTS; v++) {
            if (grammar_state_mask(states[v], mask[v]) != 0
                || memcmp(mask[0], mask[v], words * 4) != 0) {
                printf("# variant %u differs at step %u\n", v, steps);
                check_mask(w, states[v], mask[v]);
                return check_mask(w, states[0], mask[0]) * 0;
            }
        }

        if (!states[0]->ended && !check_mask(w, states[0], mask[0])) {
            return 0;
        }

        if (forced && !check_forced(w, states[0], words)) {
            return 0;
        }

        token = pick(mask[0], w->n);

        if (token < 0) {
            return grammar_state_complete(states[0]) == 2;
        }

        /* What is not in the mask is not accepted. */

        want = (int) rnd(w->n);
        want = mask[0][want / 32] >> (want % 32) & 1 ? 0 : want;

        rc = want > 0 ? grammar_state_accept(states[0], want) : -EINVAL;

        if (rc != -EINVAL) {
            printf("# %d accepted: %d\n", want, rc);
            return 0;
        }

        for (v = 0; v < VARIANTS; v++) {
            if (grammar_state_accept(states[v], token) != 0) {
                printf("# %d not accepted\n", token);
                return 0;
            }
        }

        if (rnd(5) == 0) {
            back = rnd(states[0]->n) + 1;

            for (v = 0; v < VARIANTS; v++) {
                grammar_state_rollback(states[v], back);
            }
        }
    }

    return can_finish(states[0]->parse);
}


static int
test_grammar(const words_t *w, grammar_vocab_t *vocab, make_pt make,
             uint32_t walks, int forced)
{
    grammar_t       *grammars[VARIANTS];
    grammar_state_t *states[VARIANTS];
    uint32_t         v, i;
    int              good = 1;

    for (v = 0; v < VARIANTS; v++) {
        grammars[v] = make_grammar(vocab, make, variants[v]);

        if (grammars[v] == NULL || grammar_state_new(grammars[v], &states[v])) {
            printf("# no grammar\n");
            return v == 0 ? -1 : 0;
        }
    }

    for (i = 0; i < walks && good; i++) {
        good = walk_once(w, states, grammar_vocab_words(vocab), forced);

        for (v = 0; v < VARIANTS; v++) {
            grammar_state_reset(states[v]);
        }
    }

    for (v = 0; v < VARIANTS; v++) {
        grammar_state_free(states[v]);
        grammar_release(grammars[v]);
    }

    return good;
}


static grammar_vocab_t *
make_vocab(const words_t *w)
{
    grammar_tokens_t tokens = {w->n, w->bytes, w->kinds, w->eog, 3, NULL, NULL};
    grammar_vocab_t *vocab = NULL;

    if (grammar_vocab_new(&tokens, &vocab) != 0) {
        return NULL;
    }

    return vocab;
}


static void
test_walks(void)
{
    static const struct {
        const char *name;
        make_pt     make;
        const char *sample;
    } list[] = {
        {"json", make_json, "{\"a\":[1,2,{\"b\":\"\"}],\"cc\":true,\"d\":-12}"},
        {"object", make_object,
         "{\"a\":\"x\",\"abc\":\"aabb\", \"x yz\":\"ab\",\"abcd\":12}"},
        {"chars", make_chars, "abc(a,bb(1)c,z),zzbc"},
        {"tools", make_tools, "hello <b <ab a b.<a aab.x"},
        {"cuts", make_cuts, "abc\"1c,\xc3\xa9,abc,aab1"},
        {"strings", make_strings,
         "\"aaab\", \"cc,\",\"x.y-\",\"aa_a\",\"abcc\", \"x y\",\"\""},
        {"once", make_once, "<a,ab,b:,ca,d:,aa:,>"},
    };
    static words_t   w;
    grammar_vocab_t *vocab;
    size_t           i, k;
    int              good;

    for (i = 0; i < llm_countof(list); i++) {
        for (k = 0; k < 3; k++) {
            seed = 17 * i + k + 1;
            make_words(&w, k > 0, list[i].sample);
            vocab = make_vocab(&w);

            good = vocab && test_grammar(&w, vocab, list[i].make, 12, 1) == 1;
            ok(good, "%s, vocabulary %zu: masks are exact", list[i].name, k);
            grammar_vocab_release(vocab);
        }
    }

    for (i = 0, good = 1, k = 0; i < 60 && good; i++) {
        seed = random_seed = 1000 + i;
        make_words(&w, 1,
                   "ab\"ccab,112,a\xc3\xa9"
                   "bcbb");
        vocab = make_vocab(&w);
        good = test_grammar(&w, vocab, make_random, 2, 1);
        k += good == 1;
        good = good != 0;
        grammar_vocab_release(vocab);

        if (!good) {
            printf("# grammar %zu\n", i);
        }
    }

    ok(good && k > 30, "%zu random grammars: masks are exact", k);
}


int
main(void)
{
    test_walks();

    return tap_done();
}
