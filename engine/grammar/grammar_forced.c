/*
 * Tokens that must come next (grammar.h).
 *
 * The bytes that must come are read on the parse and taken back in the end.
 * They become the tokens that the model's tokenizer makes of them.  Those at
 * the end that a longer legal token could have swallowed are left out: the
 * model may prefer that one.
 */

#include <errno.h>
#include "engine/grammar/grammar_priv.h"

#define FORCED_BYTES 1024

typedef struct {
    grammar_state_t *state;
    mask_scratch_t  *s;
    uint8_t          text[FORCED_BYTES];
    uint32_t         len;
    int32_t          tokens[FORCED_BYTES];
    uint32_t         ends[FORCED_BYTES]; /* of each token, in text */
    uint32_t         n;
} forced_t;

static int  forced_read(forced_t *f);
static int  forced_byte(grammar_state_t *state);
static void forced_tokens(forced_t *f);
static int  forced_text(forced_t *f, uint32_t from, uint32_t to);
static int  forced_longest(forced_t *f, uint32_t from, uint32_t to);
static int  forced_cut(forced_t *f, uint32_t *n);


int
grammar_state_forced(grammar_state_t *state, int32_t *tokens, uint32_t cap)
{
    forced_t f;
    uint32_t n = 0;
    int      rc;

    if (state->complete || cap == 0) {
        return 0;
    }

    f.s = grammar_enter(state->grammar, state->parse);
    if (f.s == NULL) {
        return -ENOMEM;
    }

    f.state = state;
    f.len = 0;
    f.n = 0;
    rc = forced_read(&f);

    if (rc == 0 && f.len) {
        forced_tokens(&f);
        rc = forced_cut(&f, &n);
    }

    gr_parse_pop(state->parse, f.len);
    grammar_leave(state->grammar, f.s);

    if (rc != 0) {
        return rc;
    }

    n = n < cap ? n : cap;
    memcpy(tokens, f.tokens, n * sizeof(int32_t));

    return (int) n;
}


static int
forced_read(forced_t *f)
{
    gr_parse_t *parse = f->state->parse;
    int         b, rc;

    while (f->len < FORCED_BYTES && !gr_parse_complete(parse)) {
        b = forced_byte(f->state);
        LLM_TRY(b);

        if (b == 256) {
            break;
        }

        rc = gr_parse_push(parse, (uint8_t) b);

        if (rc != 1) {
            return rc;
        }

        f->text[f->len++] = (uint8_t) b;
    }

    return 0;
}


/* The only byte that may come; 256: there is not just one; or -errno. */
static int
forced_byte(grammar_state_t *state)
{
    re_dfa_t             *dfa = state->grammar->lexer.dfa;
    const gr_thread_t    *threads;
    const re_dfa_state_t *s;
    uint32_t              n, i;
    int                   b, only = 256;
    int32_t               to;

    n = gr_parse_threads(state->parse, &threads);

    for (i = 0; i < n; i++) {
        s = re_dfa_get(dfa, threads[i].lexer);

        for (b = 0; b < 256; b++) {
            to = s->next[s->map[b]];

            if (to < 0) {
                to = re_dfa_make(dfa, threads[i].lexer, (uint8_t) b);
                LLM_TRY(to);
            }

            if (to == RE_DFA_DEAD || b == only) {
                continue;
            }

            if (only != 256) {
                return 256;
            }

            only = b;
        }
    }

    return only;
}


/* Of as much of the text as tokens can be found for. */
static void
forced_tokens(forced_t *f)
{
    uint32_t from, to;

    for (from = 0; from < f->len; from = to) {
        to = from;

        if (f->text[from] == 0xff) {
            if (!forced_longest(f, from, f->len)) {
                return;
            }

            to = f->ends[f->n - 1];
            continue;
        }

        while (to < f->len && f->text[to] != 0xff) {
            to++;
        }

        if (forced_text(f, from, to)) {
            continue;
        }

        while (from < to) {
            if (!forced_longest(f, from, to)) {
                return;
            }

            from = f->ends[f->n - 1];
        }
    }
}


/* 1: the tokenizer's tokens are exactly this text. */
static int
forced_text(forced_t *f, uint32_t from, uint32_t to)
{
    const mask_core_t *core = f->state->grammar->core;
    const uint8_t     *bytes;
    int32_t           *list = f->tokens + f->n;
    uint32_t           at, len;
    int                n, i;

    if (core->tokenize == NULL) {
        return 0;
    }

    n = core->tokenize(core->data, (const char *) f->text + from, to - from,
                       list, FORCED_BYTES - f->n);

    if (n <= 0 || (uint32_t) n > FORCED_BYTES - f->n) {
        return 0;
    }

    for (i = 0, at = from; i < n; i++) {
        if (list[i] < 0 || (uint32_t) list[i] >= core->n_tokens
            || core->kinds[list[i]] != GRAMMAR_TOKEN_TEXT) {
            return 0;
        }

        bytes = mask_token_bytes(core, (uint32_t) list[i], &len);

        if (len == 0 || len > to - at
            || memcmp(bytes, f->text + at, len) != 0) {
            return 0;
        }

        at += len;
        f->ends[f->n + (uint32_t) i] = at;
    }

    if (at != to) {
        return 0;
    }

    f->n += (uint32_t) n;

    return 1;
}


/* The longest token that the text begins with. */
static int
forced_longest(forced_t *f, uint32_t from, uint32_t to)
{
    const mask_core_t *core = f->state->grammar->core;
    uint32_t           node = 0, i, best = MASK_NONE;

    for (i = from; i < to; i++) {
        node = mask_trie_find(&core->trie, node, f->text + i, 1);

        if (node == MASK_NONE) {
            break;
        }

        if (core->trie.node[node].token != MASK_NONE) {
            best = mask_token_first(core, core->trie.node[node].token);
            f->ends[f->n] = i + 1;
        }
    }

    if (best == MASK_NONE) {
        return 0;
    }

    f->tokens[f->n++] = (int32_t) best;

    return 1;
}


/*
 * How many of the tokens no legal token can reach over that begins with one
 * of them and goes beyond the text.
 */
static int
forced_cut(forced_t *f, uint32_t *n)
{
    grammar_t         *grammar = f->state->grammar;
    const mask_core_t *core = grammar->core;
    uint32_t           i, start, end, node;
    int                rc;

    *n = 0;

    if (f->n == 0) {
        return 0;
    }

    end = f->ends[f->n - 1];
    gr_parse_pop(f->state->parse, f->len - end);
    f->len = end;

    for (i = 0; i < f->n; i++) {
        start = i ? f->ends[i - 1] : 0;

        if (end - start >= core->max_len) {
            continue;
        }

        node = mask_trie_find(&core->trie, 0, f->text + start, end - start);

        if (node == MASK_NONE || core->trie.node[node].size == 1) {
            continue;
        }

        rc = mask_below(&grammar->lexer, f->state->parse, f->s, node);

        if (rc < 0) {
            return rc;
        }

        if (rc == 1) {
            break;
        }
    }

    *n = i;

    return 0;
}
