/*
 * Token masks over real vocabularies: instances go through token by token,
 * masks with all shortcuts equal those without any (and, at some places, brute
 * force), forced tokens are in the masks.  Skipped where the files are not.
 */

#include <errno.h>
#include <unistd.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/grammar_priv.h"
#include "engine/serve/vocab.h"
#include "t/lib/tap.h"

#define NO_SHORTCUTS                                                           \
    (MASK_NO_SHARED | MASK_NO_BASE | MASK_NO_REF | MASK_NO_ENTRY               \
     | MASK_NO_GROUP)

typedef struct {
    vocab_t          vocab;
    grammar_vocab_t *tokens;
    text_scratch_t  *scratch;
    uint32_t         words, n;
    uint32_t        *mask, *other;
    int              brutes; /* still to do */
} model_t;

static const struct {
    const char *schema; /* or a pattern */
    const char *text;
} cases[] = {
    {"{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},"
     "\"age\":{\"type\":\"integer\",\"minimum\":0},\"kind\":{\"enum\":"
     "[\"alpha\",\"beta\",3]},\"tags\":{\"type\":\"array\",\"items\":"
     "{\"type\":\"string\",\"maxLength\":12},\"uniqueItems\":true}},"
     "\"required\":[\"name\"]}",
     "{\"name\":\"J\xc3\xb6rg \\\"Joe\\\" M\xc3\xbcller\",\"age\":42,"
     "\"kind\":\"beta\",\"tags\":[\"one\",\"two three\"],\"namely\":"
     "{\"x\":[1.5e3,null,true]},\"agenda\":\"\\u0041 \xe6\x97\xa5\"}"},
    {"{\"type\":\"object\",\"properties\":{\"mail\":{\"type\":\"string\","
     "\"format\":\"email\"},\"id\":{\"type\":\"string\",\"format\":\"uuid\"},"
     "\"word\":{\"type\":\"string\",\"pattern\":\"^[a-z]{3,20}$\"},\"any\":"
     "{\"type\":\"string\",\"pattern\":\"^.{1,100}$\"},\"has\":{\"type\":"
     "\"string\",\"pattern\":\"sound|vision\"},\"blank\":{\"type\":"
     "\"string\",\"pattern\":\"^[^\\\\s]+$\"}},\"additionalProperties\":"
     "false}",
     "{\"mail\":\"john.doe@mail.example.com\",\"id\":"
     "\"123e4567-e89b-12d3-a456-426614174000\",\"word\":\"international\","
     "\"any\":\"\xe4\xbd\xa0\xe5\xa5\xbd, world!\",\"has\":\"a sound idea\","
     "\"blank\":\"no-blanks_here\"}"},
    {"{\"type\":\"object\",\"patternProperties\":{\"^x-[a-z]+$\":{\"type\":"
     "\"number\"}},\"additionalProperties\":{\"type\":\"string\","
     "\"minLength\":2,\"maxLength\":64},\"maxProperties\":4}",
     "{\"x-rate\":-0.25,\"x\":\"yes\",\"x-Ray\":\"a longer text, of some "
     "words\"}"},
    {"([A-Z][a-z]+ ?){1,6}[.!?]\\n(- [^\\n]*\\n)*",
     "The Quick Brown Fox!\n- jumps over\n- the lazy dog, \xf0\x9f\x90\x95\n"},
};


static grammar_t *
make(model_t *m, size_t i, unsigned off)
{
    const char *s = cases[i].schema;
    char        err[300] = "";
    grammar_t  *grammar = NULL;
    gr_node_t   node;
    gr_t       *gr;
    int         rc;

    gr_new(NULL, &gr);

    rc = s[0] == '{'
             ? gr_json_schema(gr, s, strlen(s), NULL, &node, err, sizeof(err))
             : gr_regex(gr, s, strlen(s), &node, err, sizeof(err));
    rc = rc ? rc : gr_finish(gr, node);

    if (rc != 0) {
        printf("# %d %s\n", rc, err);
        gr_free(gr);
        return NULL;
    }

    if (grammar_new(m->tokens, gr, &grammar) == 0) {
        grammar->lexer.off = off;
    }

    return grammar;
}


/* Every token, byte by byte. */
static int
brute(model_t *m, grammar_state_t *state)
{
    const mask_core_t *core = state->grammar->core;
    const uint8_t     *s;
    uint32_t           i, k, len;
    int                rc;

    gr_parse_fuel(state->parse, UINT64_MAX);
    re_fuel(state->grammar->lexer.re, UINT64_MAX);

    for (i = 0; i < m->n; i++) {
        s = mask_token_bytes(core, i, &len);

        for (k = 0, rc = len > 0; k < len && rc == 1; k++) {
            rc = gr_parse_push(state->parse, s[k]);
        }

        gr_parse_pop(state->parse, k - (rc != 1 && k > 0));
        rc = rc == 1 || (core->eog[i] && gr_parse_complete(state->parse));

        if (rc != (int) (m->mask[i / 32] >> (i % 32) & 1)) {
            printf("# token %u '%.*s': brute %d\n", i, (int) len, s, rc);
            return 0;
        }
    }

    return 1;
}


static int
check_forced(model_t *m, grammar_state_t *state)
{
    int32_t list[32];
    int     n, i;

    n = grammar_state_forced(state, list, 32);

    for (i = 0; i < n; i++) {
        if (grammar_state_mask(state, m->other) != 0
            || !(m->other[list[i] / 32] >> (list[i] % 32) & 1)
            || grammar_state_accept(state, list[i]) != 0) {
            printf("# forced token %d of %d\n", i, n);
            return 0;
        }
    }

    grammar_state_rollback(state, (uint32_t) (n > 0 ? n : 0));

    return n >= 0;
}


static int
walk(model_t *m, size_t i, grammar_state_t *state, grammar_state_t *plain)
{
    const char *text = cases[i].text;
    int32_t     ids[400];
    ssize_t     n, k;
    int         good = 1;

    n = text_encode(m->vocab.tokenizer, text, strlen(text), NULL, 0, ids, 400,
                    m->scratch);

    for (k = 0; k <= n && good; k++) {
        good =
            grammar_state_mask(state, m->mask) == 0 && check_forced(m, state);

        if (good && k % 6 == 0) {
            good = grammar_state_mask(plain, m->other) == 0
                   && memcmp(m->mask, m->other, m->words * 4) == 0;
        }

        if (good && k % 7 == 3 && m->brutes > 0) {
            m->brutes--;
            good = brute(m, state);
        }

        if (k < n) {
            good = good && (m->mask[ids[k] / 32] >> (ids[k] % 32) & 1)
                   && grammar_state_accept(state, ids[k]) == 0
                   && grammar_state_accept(plain, ids[k]) == 0;
        }

        if (!good) {
            printf("# at token %zd of %zd\n", k, n);
        }
    }

    return good && grammar_state_complete(state) > 0;
}


static void
test_model(const char *path, const char *name, int brutes)
{
    grammar_state_t *state, *plain;
    grammar_t       *grammar, *other;
    model_t          m = {.brutes = brutes};
    gguf_t          *g;
    size_t           i;
    char             err[200];

    if (access(path, R_OK) != 0) {
        printf("ok %d - # SKIP no %s\n", ++tap_count_, name);
        return;
    }

    if (gguf_open(path, &g, err, sizeof(err)) != 0
        || vocab_open(g, &m.vocab, err, sizeof(err)) != 0
        || vocab_grammar(&m.vocab, &m.tokens) != 0) {
        ok(0, "%s: %s", name, err);
        return;
    }

    m.scratch = text_scratch_new();
    m.n = (uint32_t) text_vocab_size(m.vocab.tokenizer);
    m.words = grammar_vocab_words(m.tokens);
    m.mask = malloc(m.words * sizeof(uint32_t));
    m.other = malloc(m.words * sizeof(uint32_t));

    for (i = 0; i < llm_countof(cases); i++) {
        grammar = make(&m, i, 0);
        other = make(&m, i, NO_SHORTCUTS);

        if (grammar == NULL || other == NULL) {
            ok(0, "%s: a grammar", name);
            continue;
        }

        grammar_state_new(grammar, &state);
        grammar_state_new(other, &plain);
        ok(walk(&m, i, state, plain), "%s: masks of case %zu", name, i);

        grammar_state_free(state);
        grammar_state_free(plain);
        grammar_release(grammar);
        grammar_release(other);
    }

    free(m.mask);
    free(m.other);
    grammar_vocab_release(m.tokens);
    text_scratch_free(m.scratch);
    vocab_close(&m.vocab);
    gguf_close(g);
}


int
main(void)
{
    const char *cache = getenv("NGX_LLM_CACHE"), *home = getenv("HOME");
    char        folder[500], path[600];

    snprintf(folder, sizeof(folder), "%s%s",
             cache  ? cache
             : home ? home
                    : "",
             cache ? "" : "/.cache/ngx-llm");

    snprintf(path, sizeof(path), "%s/SmolLM2-135M-Instruct.Q4_1.gguf", folder);
    test_model(path, "SmolLM2", 8);

    snprintf(path, sizeof(path), "%s/gemma-3-270m-q4_k_m.gguf", folder);
    test_model(path, "Gemma 3", 2);

    return tap_done();
}
