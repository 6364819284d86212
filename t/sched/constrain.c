/*
 * The default model under real grammars, with a temperature at which it would
 * say anything: what comes is in the language (or, cut, can still become it),
 * and is the same tokens whatever the mask threads, in a batch and alone.
 * Under TSan the null backend draws over the model's vocabulary instead.
 */

#include "engine/grammar/gr_front.h"
#include "engine/grammar/js_validate.h"
#include "engine/sched/sched_priv.h"
#include "engine/serve/vocab.h"
#include "t/model/real.h"

#define CASES   7
#define CHOICES 2
#define MOST    60

typedef struct {
    const char *name;
    const char *pattern; /* the language, or NULL */
    const char *schema;  /* the same in JSON Schema, or NULL */
    const char *marked;  /* what comes first, marked; then `pattern` */
    unsigned    marks;
    const char *think_end;
    uint32_t    budget;
} case_t;

typedef struct {
    int32_t  tokens[CHOICES][MOST];
    uint32_t n[CHOICES];
    int      reason[CHOICES];
} result_t;

typedef struct {
    sched_group_t g;
    result_t     *result;
    int           gone;
} group_t;

static const case_t cases[CASES] = {
    {"nothing", NULL, NULL, NULL, 0, NULL, 0},
    {"regex", "[a-z]{3,8}( [a-z]{2,9}){4}\\.", NULL, NULL, 0, NULL, 0},
    {"choice", "(yes|no|perhaps|certainly not)", NULL, NULL, 0, NULL, 0},
    {"schema", NULL,
     "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\","
     "\"maxLength\":9},\"age\":{\"type\":\"integer\",\"minimum\":7,"
     "\"maximum\":123},\"tags\":{\"type\":\"array\",\"maxItems\":2,\"items\":"
     "{\"enum\":[\"red\",\"green\"]}}},\"required\":[\"name\",\"age\","
     "\"tags\"],\"additionalProperties\":false}",
     NULL, 0, NULL, 0},
    {"forced", NULL,
     "{\"const\":{\"a long and boring key\":[1,2,3],\"another\":\"value\"}}",
     NULL, 0, NULL, 0},
    {"free text", "<x>[0-9]{3}", NULL, "[^<]*", GR_MARK_FREE, NULL, 0},
    {"reasoning", "</t>[a-z]{5,6}", NULL, "[^<]*", GR_MARK_FREE | GR_MARK_THINK,
     "</t>", 9},
};

static vocab_t          vocab;
static grammar_vocab_t *grammars;
static text_scratch_t  *scratch;
static int32_t          prompt[64];
static uint32_t         n_prompt;

static void run(real_t *r, uint32_t threads, uint32_t wait_us, uint32_t only,
                result_t *results, sched_stats_t *st);
static void open_model(real_t *r);
static grammar_t *grammar_of(const case_t *c);
static void       events(void *data, const sched_event_t *ev, uint32_t n);
static void       check(const case_t *c, const result_t *r);
static int check_text(const case_t *c, const char *s, size_t len, int whole);
static int same(const result_t *a, const result_t *b);


int
main(void)
{
    static result_t first[CASES], other[CASES];

    const k_backend_ops_t *ops;

    sched_stats_t st;
    gguf_t       *file;
    real_t        r;
    char          err[K_ERR_MAX];
    uint32_t      i;

    if (access(real_path(), R_OK) != 0) {
        skip_all("no default model (util/fetch-model smollm2-135m)");
    }

    if (gguf_open(real_path(), &file, err, sizeof(err)) < 0
        || vocab_open(file, &vocab, err, sizeof(err)) < 0
        || vocab_grammar(&vocab, &grammars) < 0) {
        real_fail("vocabulary", err);
    }

    gguf_close(file);
    scratch = text_scratch_new();
    n_prompt =
        (uint32_t) text_encode(vocab.tokenizer,
                               "The answer, as it was asked for: ", 33, NULL, 0,
                               prompt, llm_countof(prompt), scratch);

    open_model(&r);

    run(&r, 0, 0, CASES, first, &st);

    for (i = 0; i < CASES; i++) {
        check(&cases[i], &first[i]);
    }

    ok(st.masks > 0 && st.forced > 0,
       "%llu masks of %llu us, %llu us the "
       "longest; %llu tokens forced",
       (unsigned long long) st.masks,
       (unsigned long long) (st.mask_us / (st.masks + (st.masks == 0))),
       (unsigned long long) st.mask_max_us, (unsigned long long) st.forced);

    run(&r, 1, 1000, CASES, other, &st);
    ok(same(first, other), "one mask thread: the same tokens");

    if (!REAL_SAN) {
        run(&r, 3, 0, CASES, other, &st);
        ok(same(first, other), "three of them, nobody waits: the same tokens");
        ok(st.masks_late > 0, "%llu masks were late",
           (unsigned long long) st.masks_late);
    }

    memcpy(other, first, sizeof(first));
    run(&r, 1, 1000, 3, other, &st);
    ok(same(first, other), "alone: the same tokens");

    ops = r.m->ops;
    model_free(r.m);
    ops->close(r.be);
    free(r.tokens);
    free(r.wanted);
    text_scratch_free(scratch);
    grammar_vocab_release(grammars);
    vocab_close(&vocab);

    return tap_done();
}


static void
open_model(real_t *r)
{
#ifdef __SANITIZE_THREAD__
    model_params_t params = {.ops = &k_backend_null,
                             .context = 2000,
                             .kv_bytes = 1 << 20,
                             .limits = {64, 16, 64}};
    k_config_t     conf = {.memory = 1 << 30};
    char           err[K_ERR_MAX];

    memset(r, 0, sizeof(*r));

    if (k_backend_null.open(&conf, &r->be, err) < 0) {
        real_fail("open", err);
    }

    params.be = r->be;

    if (model_load_null(&params, (uint32_t) text_vocab_size(vocab.tokenizer),
                        &r->m, err)
        < 0) {
        real_fail("open", err);
    }
#else
    real_open(r, K_ISA_AUTO, K_ACT_INT8, 2, 64, 16);
#endif
}


/* All cases at once, or one of them. */

static void
run(real_t *r, uint32_t threads, uint32_t wait_us, uint32_t only,
    result_t *results, sched_stats_t *st)
{
    static int32_t think_end[CASES][8];
    static group_t groups[CASES];
    sched_config_t sc = {.max_seqs = 16,
                         .max_rows = 64,
                         .chunk = 32,
                         .max_queue = 16,
                         .events = events,
                         .mask_threads = threads,
                         .mask_wait_us = wait_us};
    sched_model_t *handle;
    const char    *bad;
    sched_t       *s;
    uint32_t       i, left;

    memset(groups, 0, sizeof(groups));

    if (sched_new(&sc, &s) < 0 || sched_model_add(s, r->m, &handle) < 0) {
        real_fail("scheduler", "no memory");
    }

    for (i = 0; i < CASES; i++) {
        group_t *g = &groups[i];

        if (only < CASES && i != only) {
            g->gone = 1;
            continue;
        }

        memset(&results[i], 0, sizeof(results[i]));
        g->result = &results[i];
        g->g = (sched_group_t){.model = handle,
                               .tokens = prompt,
                               .n_tokens = n_prompt,
                               .n_choices = CHOICES,
                               .max_tokens = MOST,
                               .sampling = {.temperature = 2,
                                            .top_p = 1,
                                            .repetition = 1,
                                            .seed = 1000 + i,
                                            .logprobs = i % 2 == 0},
                               .eog = vocab.eog,
                               .n_eog = (uint32_t) vocab.n_eog,
                               .grammar = grammar_of(&cases[i]),
                               .think_budget = cases[i].budget,
                               .think_end = think_end[i],
                               .data = g};

        if (cases[i].think_end) {
            g->g.n_think_end =
                (uint32_t) text_encode(vocab.tokenizer, cases[i].think_end,
                                       strlen(cases[i].think_end), NULL, 0,
                                       think_end[i], 8, scratch);
        }

        if (sched_submit(s, &g->g) < 0) {
            real_fail("submit", cases[i].name);
        }
    }

    do {
        sched_step(s);

        bad = sched_check(s);
        if (bad) {
            real_fail("invariants", bad);
        }

        for (i = 0, left = 0; i < CASES; i++) {
            left += !groups[i].gone;
        }
    } while (left);

    sched_stats(s, st);
    sched_end(s);

    for (i = 0; i < CASES; i++) {
        grammar_release(groups[i].g.grammar);
    }
}


static grammar_t *
grammar_of(const case_t *c)
{
    grammar_t *grammar = NULL;
    gr_node_t  part[2];
    gr_t      *gr;
    re_t       re;
    char       err[512] = "";
    int        rc;

    if (c->pattern == NULL && c->schema == NULL) {
        return NULL;
    }

    rc = gr_new(NULL, &gr);
    part[0] = GR_EMPTY;

    if (rc == 0 && c->marked) {
        rc = re_ecma_whole(gr_re(gr), c->marked, strlen(c->marked), &re, err,
                           sizeof(err));
        part[0] = gr_text_marked(gr, re, c->marks);
    }

    if (rc == 0 && c->pattern) {
        rc = gr_regex(gr, c->pattern, strlen(c->pattern), &part[1], err,
                      sizeof(err));
    } else if (rc == 0) {
        rc = gr_json_schema(gr, c->schema, strlen(c->schema), NULL, &part[1],
                            err, sizeof(err));
    }

    rc = rc ? rc : gr_finish(gr, gr_seq(gr, part, 2));
    rc = rc ? rc : grammar_new(grammars, gr, &grammar);

    if (rc < 0) {
        diag("%s: %s: %s", c->name, strerror(-rc), err);
        real_fail("grammar", c->name);
    }

    return grammar;
}


static void
events(void *data, const sched_event_t *ev, uint32_t n)
{
    result_t *r;
    uint32_t  i;

    for (i = 0; i < n; i++) {
        r = ((group_t *) ev[i].group->data)->result;

        switch (ev[i].kind) {

        case SCHED_EV_TOKEN:
            if (ev[i].group->sampling.logprobs
                && (ev[i].sampled->token != ev[i].token
                    || !(ev[i].sampled->logprob <= 0))) {
                real_fail("events", "a token without its logprob");
            }

            r->tokens[ev[i].choice][r->n[ev[i].choice]++] = ev[i].token;
            break;

        case SCHED_EV_FINISH:
            r->reason[ev[i].choice] = ev[i].reason;
            break;

        case SCHED_EV_GONE:
            ((group_t *) ev[i].group->data)->gone = 1;
            break;

        default:
            break;
        }
    }
}


static void
check(const case_t *c, const result_t *r)
{
    const char *bytes;
    size_t      len;
    buf_t       text;
    uint32_t    i, k;

    for (i = 0; i < CHOICES; i++) {
        text = (buf_t){0};

        for (k = 0; k < r->n[i]; k++) {
            if (!vocab_is_eog(&vocab, r->tokens[i][k])) {
                bytes =
                    text_token_bytes(vocab.tokenizer, r->tokens[i][k], &len);
                buf_add(&text, bytes, len);
            }
        }

        diag("%s: %u tokens, %s: %.*s", c->name, r->n[i],
             r->reason[i] == SCHED_STOP ? "stop" : "length", (int) text.len,
             text.data ? text.data : "");
        ok((r->reason[i] == SCHED_STOP || r->reason[i] == SCHED_LENGTH)
               && check_text(c, text.data, text.len,
                             r->reason[i] == SCHED_STOP),
           "%s: choice %u is in the language", c->name, i);
        buf_free(&text);
    }
}


/* whole: it is of the language; else something of it begins so. */

static int
check_text(const case_t *c, const char *s, size_t len, int whole)
{
    const js_value_t *value;
    js_schema_t      *schema;
    re_set_t         *set;
    arena_t           arena = {0};
    buf_t             pattern = {0};
    re_t              re;
    char              err[256];
    int               good = 1;

    if (c->schema && whole) {
        good = js_schema_open(c->schema, strlen(c->schema), NULL, &schema, err,
                              sizeof(err))
                   == 0
               && js_parse(&arena, s, len, NULL, &value, NULL, err, sizeof(err))
                      == 0
               && js_validate(schema, NULL, value, NULL, NULL) == 1;
        js_schema_close(schema);
        arena_free(&arena);
    }

    if (c->pattern) {
        buf_fmt(&pattern, "%s%s", c->marked ? c->marked : "", c->pattern);
        set = re_new(NULL);
        good = set
               && re_ecma_whole(set, pattern.data, pattern.len, &re, err,
                                sizeof(err))
                      == 0
               && (whole ? re_match(set, re, s, len)
                         : re_is_none(set, re_deriv_str(set, re, s, len), 0)
                               == RE_NO);
        re_free(set);
        buf_free(&pattern);
    }

    return good;
}


static int
same(const result_t *a, const result_t *b)
{
    uint32_t i, k;
    int      wrong = 0;

    for (i = 0; i < CASES; i++) {
        for (k = 0; k < CHOICES; k++) {
            if (a[i].n[k] != b[i].n[k] || a[i].reason[k] != b[i].reason[k]
                || memcmp(a[i].tokens[k], b[i].tokens[k],
                          a[i].n[k] * sizeof(int32_t))
                       != 0) {
                diag("%s: choice %u is another", cases[i].name, k);
                wrong++;
            }
        }
    }

    return !wrong;
}
