/*
 * Random schemas with instances that an independent generator made and an
 * independent validator judged (generate.py), under every tokenisation.
 *
 * For each schema a random vocabulary: all bytes, pieces of its instances,
 * JSON glue, parts of characters.  An instance is read byte by byte as far as
 * the grammar takes it: to the end, and the text may end there and nowhere
 * before, exactly if it is valid.  Then, at every byte up to there:
 *
 *   edges   each token that matches what follows is in the mask exactly if
 *           the grammar takes all its bytes, and accept() says the same
 *   masks   however a byte was reached, the mask there is the same
 *   forced  forced tokens are what a valid instance goes on with
 *   back    rollback() and accept() again lead to the same masks
 *
 * As masks depend on the bytes alone, that is every tokenisation.  At some
 * bytes every token of the vocabulary is compared with accept().
 *
 * Arguments: a file of generate.py's [t/grammar/generate_goldens.jsonl].  After
 * "walk": prints what masks let a random sampler write, in either order and
 * with all kinds of space, for `generate.py --judge`; a text that cannot go on
 * is a failure.
 * GENERATE_ONLY=LINE runs one schema; GENERATE_VERBOSE names what is refused.
 */

#include <errno.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/grammar.h"
#include "t/lib/tap.h"

#define GOLDENS    "t/grammar/generate_goldens.jsonl"
#define MAX_TOKENS 800
#define MAX_WORDS  (MAX_TOKENS / 32 + 1)
#define MAX_TEXT   512
#define MAX_LINE   (1 << 16)
#define REASONS    3
#define SHOWN      20   /* failures that are printed */
#define WALKS      4    /* texts of a schema */
#define WALK_SOFT  30   /* tokens after which one hurries up */
#define WALK_MOST  300  /* tokens after which it gives up */
#define REFUSED    0.05 /* share of schemas that may be */

enum { INVALID = 0, VALID, VALID_EXPONENT };

typedef struct {
    str_t    bytes[MAX_TOKENS];
    uint8_t  kinds[MAX_TOKENS];
    char     text[MAX_TOKENS * 16];
    uint32_t n, used;
    int32_t  eog;
} words_t;

/* One instance in work. */
typedef struct {
    const words_t   *words;
    grammar_state_t *state;
    const char      *text;
    uint32_t         len;
    uint32_t         limit; /* bytes that the grammar takes */
    uint32_t         n_words;
    uint32_t         masks[MAX_TEXT + 1][MAX_WORDS];
} run_t;

typedef struct {
    uint32_t schemas, refused, empty, limits;
    uint32_t valid, invalid, exponents, exponents_refused;
    uint32_t wrong_valid, wrong_invalid, wrong_mask, wrong_empty;
    uint64_t edges, positions, tried;
    uint32_t reasons[REASONS];
} tally_t;

/* All that may be refused. */
static const char *const refusals[REASONS] = {
    "items that may be arrays or objects", "its negation cannot be guaranteed",
    "contains with uniqueItems where few values are left"};

static uint64_t seed = 1;
static tally_t  tally;
static int      walking; /* number of the line, or 0 */


static uint32_t
rnd(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) ((seed >> 33) % n);
}


static void
words_add(words_t *w, const char *s, size_t len, int kind)
{
    if (w->n == MAX_TOKENS || w->used + len > sizeof(w->text)) {
        return;
    }

    memcpy(w->text + w->used, s, len);
    w->bytes[w->n] = (str_t){w->text + w->used, len};
    w->kinds[w->n++] = (uint8_t) kind;
    w->used += (uint32_t) len;
}


/* All bytes, glue, parts of characters, pieces of the instances. */
static void
words_make(words_t *w, const js_value_t *instances)
{
    static const char *const parts[] = {
        "\":",      "\",\"",    "\":\"",   "{\"",     "\"}",      "\"}]",
        "}]",       "]}",       "},{\"",   "[[",      "]]",       "}}",
        "\":{\"",   "\":[",     "\":true", "true,\"", "null",     "false",
        "\"]",      "[\"",      "{}",      "[]",      ",\"a\":",  "\"a\"",
        "\"b\":",   "\\u00",    "\\u",     "\\\"",    ":-",       ".0",
        "\xc3",     "\xa9",     "\"\xc3",  "\xa9\":", "\xe4\xb8", "\xad\xe6",
        "\xf0\x9f", "\x9f\x98", "\x80\"",  "ab",      "12",       "00"};
    const js_value_t *text;
    uint32_t          i, at, n;
    char              byte;

    w->n = w->used = 0;

    for (i = 0; i < 256; i++) {
        byte = (char) i;
        words_add(w, &byte, 1, GRAMMAR_TOKEN_TEXT);
    }

    for (i = 0; i < llm_countof(parts); i++) {
        words_add(w, parts[i], strlen(parts[i]), GRAMMAR_TOKEN_TEXT);
    }

    w->eog = (int32_t) w->n;
    words_add(w, "</s>", 4, GRAMMAR_TOKEN_CONTROL);

    for (i = 0; i < 300 && instances->n; i++) {
        text = &instances->items[rnd(instances->n)].items[0];
        at = rnd(text->n);
        n = 2 + rnd(rnd(4) ? 5 : 12);
        n = n < text->n - at ? n : text->n - at;
        words_add(w, text->s + at, n, GRAMMAR_TOKEN_TEXT);
    }
}


static int
in_mask(const uint32_t *mask, uint32_t token)
{
    return (int) (mask[token / 32] >> (token % 32) & 1);
}


static int
matches(const run_t *r, uint32_t token, uint32_t at)
{
    const str_t *b = &r->words->bytes[token];

    return r->words->kinds[token] == GRAMMAR_TOKEN_TEXT && b->len <= r->len - at
           && memcmp(b->s, r->text + at, b->len) == 0;
}


static int
wrong(const run_t *r, uint32_t at, const char *what, uint32_t token)
{
    if (tally.wrong_mask + tally.wrong_valid + tally.wrong_invalid < SHOWN) {
        diag("%s: byte %u, token %u '%.*s'", what, at, token,
             (int) r->words->bytes[token].len, r->words->bytes[token].s);
    }

    return 0;
}


/*
 * Reads bytes as far as they go, keeping the masks: r->limit.  1 if the text
 * may end at its end; 0; -errno: a limit; -EPROTO: masks contradict.
 */
static int
run_bytes(run_t *r)
{
    uint32_t *mask, i, k;
    int       rc, complete = 0, number;

    number = r->text[0] == '-' || (r->text[0] >= '0' && r->text[0] <= '9');

    for (i = 0; i <= r->len; i++) {
        mask = r->masks[i];
        r->limit = i;
        LLM_TRY(grammar_state_mask(r->state, mask));
        complete = grammar_state_complete(r->state);

        for (k = 0; k < r->n_words && mask[k] == 0; k++) { /* void */
        }

        if (k == r->n_words) {
            wrong(r, i, "dead end", 0);
            return -EPROTO;
        }

        if (in_mask(mask, (uint32_t) r->words->eog) != (complete != 0)) {
            wrong(r, i, "end and complete differ", 0);
            return -EPROTO;
        }

        if (complete && i < r->len && !number) {
            wrong(r, i, "may end too early", 0);
            return -EPROTO;
        }

        if (i == r->len) {
            break;
        }

        rc = grammar_state_accept(r->state, (uint8_t) r->text[i]);

        if (rc == -EINVAL) {
            return 0;
        }

        LLM_TRY(rc);
    }

    return complete != 0;
}


static int
same_mask(const run_t *r, uint32_t at, const char *what, uint32_t token)
{
    uint32_t mask[MAX_WORDS];

    if (grammar_state_mask(r->state, mask) == 0
        && memcmp(mask, r->masks[at], r->n_words * 4) == 0) {
        return 1;
    }

    return wrong(r, at, what, token);
}


/* Every token that matches at this byte, the state standing there. */
static int
check_edges(run_t *r, uint32_t at)
{
    uint32_t t, to;
    int      rc;

    for (t = 0; t < r->words->n; t++) {
        if (!matches(r, t, at)) {
            continue;
        }

        tally.edges++;
        to = at + (uint32_t) r->words->bytes[t].len;

        if (in_mask(r->masks[at], t) != (to <= r->limit)) {
            return wrong(r, at, "mask of an edge", t);
        }

        rc = grammar_state_accept(r->state, (int32_t) t);

        if (rc != (to <= r->limit ? 0 : -EINVAL)) {
            return wrong(r, at, "accept of an edge", t);
        }

        if (rc == 0
            && (!same_mask(r, to, "mask after an edge", t)
                || grammar_state_rollback(r->state, 1) != 0)) {
            return 0;
        }
    }

    return same_mask(r, at, "mask after rollback", 0);
}


/* Every token of the vocabulary, by accept(). */
static int
check_all(run_t *r, uint32_t at)
{
    uint32_t t;
    int      rc;

    for (t = 0; t < r->words->n; t++) {
        tally.tried++;
        rc = grammar_state_accept(r->state, (int32_t) t);

        if (rc != (in_mask(r->masks[at], t) ? 0 : -EINVAL)) {
            return wrong(r, at, "mask and accept differ", t);
        }

        if (rc == 0) {
            (void) grammar_state_rollback(r->state, 1);
        }
    }

    return 1;
}


static int
check_forced(run_t *r, uint32_t begin)
{
    int32_t  tokens[32];
    uint32_t t, at = begin;
    int      n, i;

    n = grammar_state_forced(r->state, tokens, 32);

    if (n < 0) {
        return wrong(r, at, "forced fails", 0);
    }

    for (i = 0; i < n; i++) {
        t = (uint32_t) tokens[i];

        if (!matches(r, t, at)
            || grammar_state_accept(r->state, tokens[i]) != 0) {
            return wrong(r, at, "forced token", t);
        }

        at += (uint32_t) r->words->bytes[t].len;
    }

    return grammar_state_rollback(r->state, (uint32_t) n) == 0
           && same_mask(r, begin, "mask after forced", 0);
}


/*
 * From byte `at` by random tokens to the limit, remembering where each began;
 * returns how many, or -1.
 */
static int
random_path(run_t *r, uint32_t at, uint32_t *begins, int n)
{
    uint32_t t, best, count, len;

    while (at < r->limit) {
        for (t = 0, count = 0, best = 0; t < r->words->n; t++) {
            if (matches(r, t, at) && at + r->words->bytes[t].len <= r->limit) {
                len = r->words->bytes[t].len > 1 ? 3 : 1;
                count += len;
                best = rnd(count) < len ? t : best;
            }
        }

        if (grammar_state_accept(r->state, (int32_t) best) != 0) {
            wrong(r, at, "accept on a path", best);
            return -1;
        }

        begins[n++] = at;
        at += (uint32_t) r->words->bytes[best].len;

        if (!same_mask(r, at, "mask on a path", best)) {
            return -1;
        }
    }

    return n;
}


/* Whole tokenisations; back some tokens, and on by others. */
static int
check_paths(run_t *r, int complete)
{
    uint32_t begins[2 * MAX_TEXT], k;
    int      i, n;

    for (i = 0; i < 3; i++) {
        grammar_state_reset(r->state);
        n = random_path(r, 0, begins, 0);

        if (n < 0) {
            return 0;
        }

        if (complete
            && (grammar_state_accept(r->state, r->words->eog) != 0
                || grammar_state_complete(r->state) != 2
                || grammar_state_rollback(r->state, 1) != 0
                || !same_mask(r, r->limit, "mask after the end", 0))) {
            return wrong(r, r->limit, "the end", (uint32_t) r->words->eog);
        }

        if (n == 0) {
            continue;
        }

        k = 1 + rnd((uint32_t) n);

        if (grammar_state_rollback(r->state, k) != 0
            || !same_mask(r, begins[n - (int) k], "mask of a rollback", 0)
            || random_path(r, begins[n - (int) k], begins, n - (int) k) < 0) {
            return 0;
        }
    }

    return 1;
}


static int
check_bytes(run_t *r, int complete)
{
    uint32_t i, all = rnd(r->limit + 1);

    grammar_state_reset(r->state);

    for (i = 0; i <= r->limit; i++) {
        tally.positions++;

        if (!check_edges(r, i) || (i == all && !check_all(r, i))
            || (complete && i < r->len && !check_forced(r, i))) {
            return 0;
        }

        if (i < r->limit
            && grammar_state_accept(r->state, (uint8_t) r->text[i]) != 0) {
            return wrong(r, i, "a byte again", (uint8_t) r->text[i]);
        }
    }

    return 1;
}


/* 1: as it should be. */
static int
check_instance(run_t *r, int verdict)
{
    int rc;

    if (r->len > MAX_TEXT || r->len == 0) {
        return 1;
    }

    grammar_state_reset(r->state);
    rc = run_bytes(r);

    if (rc < 0) {
        tally.limits += rc != -EPROTO;
        diag("byte %u: %s", r->limit, strerror(-rc));
        tally.wrong_mask += rc == -EPROTO;
        return 0;
    }

    if (verdict == VALID_EXPONENT) {
        tally.exponents++;
        tally.exponents_refused += rc == 0;

    } else if (verdict == VALID) {
        tally.valid++;
        tally.wrong_valid += rc == 0;

    } else {
        tally.invalid++;
        tally.wrong_invalid += rc != 0;
    }

    if (verdict != VALID_EXPONENT && rc != (verdict == VALID)) {
        if (tally.wrong_valid + tally.wrong_invalid < SHOWN) {
            diag("%s: taken up to byte %u of %u",
                 rc ? "invalid, but taken" : "valid, but not taken", r->limit,
                 r->len);
        }

        return 0;
    }

    if (!check_bytes(r, rc) || !check_paths(r, rc)) {
        tally.wrong_mask++;
        return 0;
    }

    return 1;
}


/* Counts what a message says after the place; 1: it is one of refusals. */
static int
note_reason(const char *err)
{
    uint32_t i;

    for (i = 0; i < REASONS; i++) {
        if (strstr(err, refusals[i])) {
            tally.reasons[i]++;
            return 1;
        }
    }

    diag("refused: %s", err);

    return 0;
}


static int
compile(grammar_vocab_t *vocab, const buf_t *schema, grammar_t **grammar,
        char *err, size_t err_size)
{
    gr_json_options_t options = {.order = GR_ORDER_FREE,
                                 .space = GR_SPACE_COMPACT};
    const char       *msg;
    gr_node_t         node;
    gr_t             *gr;
    int               rc;

    LLM_TRY(gr_new(NULL, &gr));

    if (walking) {
        options.order = walking % 2 ? GR_ORDER_DECLARED : GR_ORDER_FREE;
        options.space = walking / 2 % 3;
        options.plain = walking / 6 % 2;
    }

    err[0] = 0;
    rc = gr_json_schema(gr, schema->data, schema->len, &options, &node, err,
                        err_size);

    if (rc == 0) {
        rc = gr_finish(gr, node);

        if (rc < 0 && gr_failed(gr, &msg) < 0) {
            snprintf(err, err_size, "%s", msg);
        }
    }

    if (rc < 0) {
        gr_free(gr);
        return rc;
    }

    return grammar_new(vocab, gr, grammar);
}


/* A schema that has no grammar. */
static int
check_refusal(const js_value_t *instances, int rc, const char *err)
{
    uint32_t i;

    if (rc != -ENOENT) {
        tally.refused++;

        if (getenv("GENERATE_VERBOSE")) {
            diag("refused: %d %s", rc, err);
        }

        return note_reason(err) && rc == -ENOTSUP;
    }

    tally.empty++;

    for (i = 0; i < instances->n; i++) {
        if (instances->items[i].items[1].s[0] != '0') {
            tally.wrong_empty++;
            diag("unsatisfiable, but: %.*s",
                 (int) instances->items[i].items[0].n,
                 instances->items[i].items[0].s);
            return 0;
        }
    }

    return 1;
}


/* Some token of the mask: any, or one of those that bring it to an end. */
static uint32_t
walk_pick(const run_t *r, const uint32_t *mask, int hurry)
{
    static const char ends[] = "\"]}0tfn:,[{ab1";
    uint32_t          t, best, count;
    size_t            i;

    for (i = 0; hurry && i < sizeof(ends) - 1; i++) {
        if (in_mask(mask, (uint8_t) ends[i]) && rnd(8)) {
            return (uint8_t) ends[i];
        }
    }

    for (t = 0, count = 0, best = 0; t < r->words->n; t++) {
        if (in_mask(mask, t)) {
            best = rnd(++count) == 0 ? t : best;
        }
    }

    return best;
}


/* "W LINE BYTES TEXT" for each text that comes to its end. */
static int
walk(run_t *r)
{
    uint32_t mask[MAX_WORDS], n, k, t;
    buf_t    text = {0};
    int      i, rc = 0;

    for (i = 0; i < WALKS && rc == 0; i++) {
        grammar_state_reset(r->state);
        buf_reset(&text);

        for (n = 0; n < WALK_MOST; n++) {
            rc = grammar_state_mask(r->state, mask);

            for (k = 0; k < r->n_words && mask[k] == 0; k++) { /* void */
            }

            if (rc != 0 || k == r->n_words) {
                diag("stuck: %d after %.*s", rc, (int) text.len, text.data);
                rc = -EPROTO;
                break;
            }

            if (grammar_state_complete(r->state) && (n > WALK_SOFT || rnd(2))) {
                printf("W %d %d %.*s\n", walking, (int) text.len,
                       (int) text.len, text.data);
                tally.valid++;
                break;
            }

            do {
                t = walk_pick(r, mask, n > WALK_SOFT);
            } while (t == (uint32_t) r->words->eog && rnd(20));

            if (t == (uint32_t) r->words->eog) {
                continue;
            }

            if (grammar_state_accept(r->state, (int32_t) t) != 0) {
                diag("not accepted: %u after %.*s", t, (int) text.len,
                     text.data);
                rc = -EPROTO;
                break;
            }

            buf_add(&text, r->words->bytes[t].s, r->words->bytes[t].len);
        }
    }

    buf_free(&text);

    return rc == 0;
}


static int
check_schema(const js_value_t *schema, const js_value_t *instances)
{
    static run_t      run;
    static words_t    words;
    grammar_tokens_t  tokens = {0};
    grammar_vocab_t  *vocab;
    grammar_t        *grammar;
    const js_value_t *pair;
    buf_t             text = {0};
    uint32_t          i;
    char              err[300];
    int               rc, good = 1;

    tally.schemas++;
    words_make(&words, instances);
    tokens.n_tokens = words.n;
    tokens.bytes = words.bytes;
    tokens.kinds = words.kinds;
    tokens.eog = &words.eog;
    tokens.n_eog = 1;

    if (grammar_vocab_new(&tokens, &vocab) != 0) {
        return 0;
    }

    js_print(&text, schema);
    rc = compile(vocab, &text, &grammar, err, sizeof(err));

    if (rc < 0) {
        good = check_refusal(instances, rc, err);

    } else {
        good = grammar_state_new(grammar, &run.state) == 0;
        run.words = &words;
        run.n_words = grammar_vocab_words(vocab);

        if (good && walking) {
            good = walk(&run);
            tally.wrong_mask += !good;
        }

        for (i = 0; good && !walking && i < instances->n; i++) {
            pair = &instances->items[i];
            run.text = pair->items[0].s;
            run.len = pair->items[0].n;

            if (!check_instance(&run, pair->items[1].s[0] - '0')) {
                diag("    %.*s", (int) run.len, run.text);
                good = 0;
            }
        }

        grammar_state_free(run.state);
        grammar_release(grammar);
    }

    if (!good || (rc < 0 && rc != -ENOENT && getenv("GENERATE_VERBOSE"))) {
        diag("    of %.*s", (int) text.len, text.data);
    }

    buf_free(&text);
    grammar_vocab_release(vocab);

    return good;
}


static int
check_line(const char *line, size_t len)
{
    js_limits_t       limits = {.duplicates = JS_DUPLICATE_ERROR};
    const js_value_t *v;
    arena_t           arena;
    char              err[100];
    int               good;

    arena_init(&arena, 16u << 20);

    if (js_parse(&arena, line, len, &limits, &v, NULL, err, sizeof(err)) != 0) {
        diag("%s", err);
        good = 0;

    } else {
        good = check_schema(js_get(v, "schema"), js_get(v, "instances"));
    }

    arena_free(&arena);

    return good;
}


static void
report(void)
{
    uint32_t i;

    diag("%u schemas, %u refused, %u unsatisfiable; %u valid, %u invalid",
         tally.schemas, tally.refused, tally.empty, tally.valid, tally.invalid);
    diag("%llu positions, %llu edges, %llu tokens tried; %u of %u spellings "
         "with exponents not taken",
         (unsigned long long) tally.positions, (unsigned long long) tally.edges,
         (unsigned long long) tally.tried, tally.exponents_refused,
         tally.exponents);

    for (i = 0; i < REASONS; i++) {
        diag("refused %u: %s", tally.reasons[i], refusals[i]);
    }

    is_int(tally.wrong_valid, 0, "valid instances are taken");
    is_int(tally.wrong_invalid, 0, "invalid ones are not");
    is_int(tally.wrong_mask, 0, "all tokenisations agree");
    is_int(tally.wrong_empty, 0, "what is unsatisfiable has no instance");
    is_int(tally.limits, 0, "no limit of work");
    ok(tally.refused <= REFUSED * tally.schemas + 1, "few are refused");
}


int
main(int argc, char **argv)
{
    static char line[MAX_LINE];
    int         walks = argc > 1 && strcmp(argv[1], "walk") == 0;
    const char *path = argc > 1 + walks ? argv[1 + walks] : GOLDENS;
    const char *only = getenv("GENERATE_ONLY");
    FILE       *f = fopen(path, "r");
    int         i, bad = 0;

    if (f == NULL) {
        skip_all("no %s", path);
    }

    for (i = 1; fgets(line, sizeof(line), f); i++) {
        if (only && atoi(only) != i) {
            continue;
        }

        walking = walks ? i : 0;

        if (!check_line(line, strlen(line))) {
            diag("    line %d of %s", i, path);
            bad++;
        }
    }

    fclose(f);
    ok(i > 1 && bad == 0, "all schemas of %s", path);
    report();

    return tap_done();
}
