/*
 * Grammars and states as sched and serve see them: accept, end, rollback,
 * forced tokens of a tokenizer, the list of grammars, several threads in one
 * grammar.
 */

#include <errno.h>
#include "engine/grammar/grammar_priv.h"
#include "t/lib/tap.h"

#define N_WORDS 300

typedef struct {
    char     text[4096];
    str_t    bytes[N_WORDS];
    uint8_t  kinds[N_WORDS];
    uint32_t n, used;
} words_t;

static words_t words;
static int32_t tok_end, tok_call, tok_say, tok_none, tok_b_eog;
static int     odd_tokens; /* what the tokenizer does */


static int32_t
add(const char *s, size_t len, int kind)
{
    memcpy(words.text + words.used, s, len);
    words.bytes[words.n] = (str_t){words.text + words.used, len};
    words.kinds[words.n] = (uint8_t) kind;
    words.used += (uint32_t) len;

    return (int32_t) words.n++;
}


/* Pairs of letters, then letters; or nonsense. */
static int
tokenize(void *data, const char *text, size_t len, int32_t *tokens,
         uint32_t cap)
{
    size_t   i, k, step;
    uint32_t n = 0;

    if (odd_tokens) {
        tokens[0] = tok_say;
        return 1;
    }

    for (i = 0; i < len; i += step) {
        for (step = 2; step > 0; step--) {
            for (k = 0; k < words.n; k++) {
                if (words.kinds[k] == GRAMMAR_TOKEN_TEXT && i + step <= len
                    && words.bytes[k].len == step
                    && memcmp(words.bytes[k].s, text + i, step) == 0
                    && (int32_t) k != tok_b_eog) {
                    break;
                }
            }

            if (k < words.n) {
                break;
            }
        }

        if (step == 0 || n == cap) {
            return -EINVAL;
        }

        tokens[n++] = (int32_t) k;
    }

    return (int) n;
}


static grammar_vocab_t *
make_vocab(int with_tokenizer)
{
    grammar_tokens_t tokens = {.bytes = words.bytes, .kinds = words.kinds};
    int32_t          eog[3];
    grammar_vocab_t *vocab = NULL;
    char             c;
    int              i;

    memset(&words, 0, sizeof(words));

    for (i = 0; i < 256; i++) {
        c = (char) i;
        add(&c, 1, GRAMMAR_TOKEN_TEXT);
    }

    tok_end = add("</s>", 4, GRAMMAR_TOKEN_CONTROL);
    tok_call = add("<|call|>", 8, GRAMMAR_TOKEN_CONTROL);
    tok_say = add("<|say|>", 7, GRAMMAR_TOKEN_CONTROL);
    tok_none = add("x", 1, GRAMMAR_TOKEN_NONE);
    tok_b_eog = add("b", 1, GRAMMAR_TOKEN_TEXT);
    add("he", 2, GRAMMAR_TOKEN_TEXT);
    add("ll", 2, GRAMMAR_TOKEN_TEXT);
    add("o,", 2, GRAMMAR_TOKEN_TEXT);
    add("hello", 5, GRAMMAR_TOKEN_TEXT);
    add("o,a", 3, GRAMMAR_TOKEN_TEXT);

    eog[0] = tok_end;
    eog[1] = tok_call;
    eog[2] = tok_b_eog;
    tokens.n_tokens = words.n;
    tokens.eog = eog;
    tokens.n_eog = 3;
    tokens.tokenize = with_tokenizer ? tokenize : NULL;

    grammar_vocab_new(&tokens, &vocab);

    return vocab;
}


/* Parts are patterns, "!x" literals, "<x" control tokens; "~" is free text. */
static grammar_t *
make(grammar_vocab_t *vocab, const char *const *parts)
{
    gr_node_t  list[8];
    grammar_t *grammar = NULL;
    size_t     n;
    gr_t      *gr;
    re_t       re;

    gr_new(NULL, &gr);

    for (n = 0; parts[n]; n++) {
        if (parts[n][0] == '!') {
            list[n] = gr_literal(gr, parts[n] + 1, strlen(parts[n]) - 1);

        } else if (parts[n][0] == '<') {
            list[n] = gr_special(gr, parts[n], strlen(parts[n]));

        } else {
            re_ecma_whole(gr_re(gr), parts[n] + (parts[n][0] == '~'),
                          strlen(parts[n]) - (parts[n][0] == '~'), &re, NULL,
                          0);
            list[n] = parts[n][0] == '~'
                          ? gr_text_marked(gr, re, GR_MARK_FREE | GR_MARK_THINK)
                          : gr_text(gr, re);
        }
    }

    if (gr_finish(gr, gr_seq(gr, list, n)) != 0) {
        gr_free(gr);
        return NULL;
    }

    return grammar_new(vocab, gr, &grammar) == 0 ? grammar : NULL;
}


static int
allowed(grammar_state_t *state, int32_t token)
{
    uint32_t mask[(N_WORDS + 31) / 32];

    return grammar_state_mask(state, mask) == 0
           && (mask[token / 32] >> (token % 32) & 1);
}


static int
say(grammar_state_t *state, const char *s)
{
    int rc = 0;

    for (; *s && rc == 0; s++) {
        rc = grammar_state_accept(state, (uint8_t) *s);
    }

    return rc;
}


static void
test_ends(void)
{
    static const char *const parts[] = {"~[^.]*",   "<|say|>", "[ab]{2,3}",
                                        "<|call|>", "(!)?",    NULL};
    grammar_vocab_t         *vocab = make_vocab(1);
    grammar_t               *grammar = make(vocab, parts);
    grammar_state_t         *state = NULL;

    is_int(grammar_state_new(grammar, &state), 0, "a state");
    is_int(grammar_state_free_text(state), 1, "free text");
    is_int(grammar_state_thinking(state), 1, "reasoning");
    is_int(grammar_state_complete(state), 0, "not complete");
    ok(allowed(state, tok_say) && !allowed(state, tok_end)
           && !allowed(state, tok_call) && !allowed(state, tok_none)
           && !allowed(state, tok_b_eog),
       "the control token that may come, no other");
    is_int(say(state, "hi <|say|>"), 0, "text that spells a control token");
    is_int(grammar_state_free_text(state), 1, "is text");
    is_int(grammar_state_accept(state, tok_end), -EINVAL, "no end here");
    is_int(grammar_state_accept(state, tok_none), -EINVAL, "no such token");
    is_int(grammar_state_accept(state, -1), -EINVAL, "no token");
    is_int(grammar_state_accept(state, 99999), -EINVAL, "no token either");
    is_int(grammar_state_accept(state, '.'), -EINVAL, "not in this text");
    is_int(grammar_state_accept(state, 0xff), -EINVAL, "the byte 0xff neither");
    is_int(grammar_state_accept(state, tok_say), 0, "the control token");
    is_int(grammar_state_free_text(state), 0, "no free text");
    is_int(grammar_state_thinking(state), 0, "no reasoning");
    is_int(grammar_state_accept(state, tok_b_eog), -EINVAL,
           "a token of text that ends is no text");
    is_int(say(state, "ab"), 0, "the answer");
    ok(allowed(state, tok_call) && !allowed(state, tok_end),
       "a token that ends, as a part of the grammar");
    is_int(grammar_state_accept(state, tok_call), 0, "taken");
    is_int(grammar_state_complete(state), 1, "may end");
    ok(allowed(state, tok_call) && allowed(state, tok_end)
           && allowed(state, tok_b_eog) && allowed(state, '!'),
       "all tokens that end, and more");
    is_int(grammar_state_accept(state, tok_b_eog), 0, "the end");
    is_int(grammar_state_complete(state), 2, "over");
    is_int(grammar_state_accept(state, '!'), -EINVAL, "nothing after it");
    ok(!allowed(state, tok_end), "an empty mask");
    is_int(grammar_state_rollback(state, 1), 0, "taken back");
    is_int(grammar_state_accept(state, '!'), 0, "another way");
    is_int(grammar_state_complete(state), 2, "must end");
    is_int(grammar_state_rollback(state, 3), 0, "three back");
    is_int(grammar_state_complete(state), 0, "within the answer");
    ok(allowed(state, 'a') && !allowed(state, tok_call), "as it was");
    is_int(grammar_state_rollback(state, 99), -EINVAL, "not so many");
    grammar_state_reset(state);
    is_int(grammar_state_free_text(state), 1, "from the beginning");

    grammar_state_free(state);
    grammar_release(grammar);
    grammar_vocab_release(vocab);
}


static void
test_forced(void)
{
    static const char *const parts[] = {"!hello,", "(abc)?", "!,",
                                        "<|say|>", "!hello", NULL};
    static const char *const more[] = {"!hello,", "a|b", NULL};
    int32_t                  tokens[16];
    grammar_vocab_t         *vocab = make_vocab(1);
    grammar_t               *grammar = make(vocab, parts);
    grammar_state_t         *state;
    int                      n;

    grammar_state_new(grammar, &state);
    n = grammar_state_forced(state, tokens, 16);
    ok(n == 2 && words.bytes[tokens[1]].len == 2
           && memcmp(words.bytes[tokens[1]].s, "ll", 2) == 0,
       "what \"o,a\" could span is left out");
    is_int(say(state, "hello,,"), 0, "text");
    n = grammar_state_forced(state, tokens, 16);
    ok(n == 4 && tokens[0] == tok_say && tokens[3] == 'o',
       "a control token and the tokenizer's tokens");
    is_int(grammar_state_forced(state, tokens, 2), 2, "at most so many");
    odd_tokens = 1;
    n = grammar_state_forced(state, tokens, 16);
    ok(n == 2 && words.bytes[tokens[1]].len == 5,
       "a tokenizer that says something else: the longest");
    odd_tokens = 0;
    grammar_state_accept(state, tok_say);
    is_int(say(state, "hello"), 0, "the rest");
    is_int(grammar_state_forced(state, tokens, 16), 0, "nothing after all");
    is_int(grammar_state_complete(state), 2, "complete");
    grammar_state_free(state);
    grammar_release(grammar);

    grammar = make(vocab, more);
    grammar_state_new(grammar, &state);
    n = grammar_state_forced(state, tokens, 16);
    is_int(n, 2, "a choice ends it");
    is_int(say(state, "hello"), 0, "text");
    n = grammar_state_forced(state, tokens, 16);
    ok(n == 1 && tokens[0] == ',', "one byte");
    grammar_state_free(state);
    grammar_release(grammar);
    grammar_vocab_release(vocab);

    vocab = make_vocab(0);
    grammar = make(vocab, parts);
    grammar_state_new(grammar, &state);
    say(state, "hello,,");
    n = grammar_state_forced(state, tokens, 16);
    ok(n == 2 && words.bytes[tokens[1]].len == 5, "no tokenizer: the longest");
    grammar_state_free(state);
    grammar_release(grammar);
    grammar_vocab_release(vocab);
}


static void
test_list(void)
{
    static const char *const parts[] = {"[ab]+", NULL};
    grammar_vocab_t         *vocab = make_vocab(1);
    grammar_t               *a = make(vocab, parts), *b = make(vocab, parts);
    grammar_t               *found;
    grammar_state_t         *state;
    char                     key[16];
    int                      i, n;

    ok(grammar_cache_find(vocab, "one", 3) == NULL, "nothing yet");
    grammar_cache_add(vocab, "one", 3, a);
    grammar_cache_add(vocab, "on", 2, b);
    found = grammar_cache_find(vocab, "one", 3);
    ok(found == a, "found by its key");
    grammar_release(found);
    grammar_cache_add(vocab, "one", 3, b);
    found = grammar_cache_find(vocab, "one", 3);
    ok(found == b, "the newer one");
    grammar_release(found);

    atomic_store(&b->bytes, (size_t) 1 << 30);
    ok(grammar_cache_find(vocab, "on", 2) == NULL, "overgrown: begins anew");
    atomic_store(&b->bytes, 0);
    grammar_release(b);

    for (i = 0; i < 6000; i++) {
        n = snprintf(key, sizeof(key), "key %d", i);
        grammar_cache_add(vocab, key, (size_t) n, a);
    }

    found = grammar_cache_find(vocab, "key 5999", 8);
    ok(found == a, "the newest is kept");
    grammar_release(found);
    ok(grammar_cache_find(vocab, "key 0", 5) == NULL, "the oldest is not");
    ok(grammar_cache_find(vocab, "one", 3) == NULL, "nor what was before it");

    /* A state outlives all that it was made of. */

    grammar_state_new(a, &state);
    grammar_release(a);
    grammar_vocab_release(vocab);
    is_int(say(state, "ab"), 0, "a state without its vocabulary's handle");
    ok(allowed(state, 'a') && allowed(state, tok_end) && !allowed(state, 'c'),
       "masks as ever");
    grammar_state_free(state);
}


typedef struct {
    grammar_t *grammars[2];
    uint64_t   sum;
    uint32_t   seed;
} job_t;


static void *
job_run(void *arg)
{
    uint32_t         mask[(N_WORDS + 31) / 32], i, k, t, seed;
    job_t           *job = arg;
    grammar_state_t *states[2];
    int32_t          forced[8];

    seed = job->seed;
    grammar_state_new(job->grammars[0], &states[0]);
    grammar_state_new(job->grammars[1], &states[1]);

    for (i = 0; i < 300; i++) {
        grammar_state_t *state = states[i & 1];

        if (grammar_state_mask(state, mask) != 0) {
            break;
        }

        for (k = 0; k < words.n / 32; k++) {
            job->sum = (job->sum ^ mask[k]) * 0x9e3779b97f4a7c15ull;
        }

        job->sum += (uint64_t) grammar_state_forced(state, forced, 8);
        seed = seed * 1664525u + 1013904223u;
        t = (seed >> 8) % words.n;

        for (k = 0; k < words.n; k++, t = (t + 1) % words.n) {
            if (mask[t / 32] >> (t % 32) & 1) {
                break;
            }
        }

        if (k == words.n || grammar_state_accept(state, (int32_t) t) != 0
            || grammar_state_complete(state) == 2) {
            grammar_state_reset(state);
        }
    }

    grammar_state_free(states[0]);
    grammar_state_free(states[1]);

    return NULL;
}


static void
test_threads(void)
{
    static const char *const one[] = {"!hello,", "[^a]{0,9}", "!,",
                                      "~[^x]*",  "<|say|>",   NULL};
    static const char *const two[] = {"(hello|[a-f]*)+", "!,", "[^a]{0,9}",
                                      "<|call|>", NULL};
    grammar_vocab_t         *vocab = make_vocab(1);
    pthread_t                threads[4];
    job_t                    jobs[4], alone;
    int                      i, same = 1;

    for (i = 0; i < 4; i++) {
        jobs[i].seed = (uint32_t) i % 2;
        jobs[i].sum = 0;
    }

    jobs[0].grammars[0] = make(vocab, one);
    jobs[0].grammars[1] = make(vocab, two);

    for (i = 0; i < 4; i++) {
        memcpy(jobs[i].grammars, jobs[0].grammars, sizeof(jobs[i].grammars));
        pthread_create(&threads[i], NULL, job_run, &jobs[i]);
    }

    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }

    grammar_release(jobs[0].grammars[0]);
    grammar_release(jobs[0].grammars[1]);

    for (i = 0; i < 2; i++) {
        alone.seed = (uint32_t) i;
        alone.sum = 0;
        alone.grammars[0] = make(vocab, one);
        alone.grammars[1] = make(vocab, two);
        job_run(&alone);
        same &= alone.sum == jobs[i].sum && alone.sum == jobs[i + 2].sum;
        grammar_release(alone.grammars[0]);
        grammar_release(alone.grammars[1]);
    }

    ok(same, "four threads in two grammars, as one alone");
    grammar_vocab_release(vocab);
}


static void
test_vocab(void)
{
    grammar_tokens_t none = {0};
    grammar_vocab_t *vocab;
    str_t            bytes[2] = {{"", 0}, {"", 0}};
    uint8_t          kinds[2] = {GRAMMAR_TOKEN_TEXT, GRAMMAR_TOKEN_NONE};
    static const char *const parts[] = {"a?", NULL};
    grammar_t               *grammar;
    grammar_state_t         *state;
    uint32_t                 mask = 0;
    int32_t                  eog = 1;

    is_int(grammar_vocab_new(&none, &vocab), -EINVAL, "no tokens at all");

    none.n_tokens = 2;
    none.bytes = bytes;
    none.kinds = kinds;
    none.eog = &eog;
    none.n_eog = 1;
    is_int(grammar_vocab_new(&none, &vocab), 0, "tokens without bytes");
    is_int(grammar_vocab_words(vocab), 1, "one word");
    grammar = make(vocab, parts);
    grammar_state_new(grammar, &state);
    is_int(grammar_state_mask(state, &mask), 0, "a mask");
    is_int(mask, 2, "the end only");
    grammar_state_free(state);
    grammar_release(grammar);
    grammar_vocab_release(vocab);
}


int
main(void)
{
    test_ends();
    test_forced();
    test_list();
    test_threads();
    test_vocab();

    return tap_done();
}
