/*
 * From a body to sequences: JSON -> request -> template -> tokens.  Front
 * threads; a request belongs to one of them from front_push() until it is in
 * the io thread's mailbox again.  Faults of the request end here.
 */

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <xxhash.h>
#include "engine/chat/format_table.h"
#include "engine/serve/front.h"
#include "engine/serve/front_grammar.h"

#define FRONT_RETRY_MS 2000
#define FRONT_KEEP     (1u << 20) /* ids that a thread keeps room for */

static void *front_main(void *data);
static int   front_run(front_t *f, req_t *r);
static int   front_generate(front_t *f, req_t *r);
static int   front_prompt(front_t *f, req_t *r, uint32_t i);
static int   front_groups(req_t *r);
static int   front_constrain(front_t *f, req_t *r);
static int   front_think_end(front_t *f, req_t *r);


int
front_start(serve_t *s)
{
    uint32_t i;
    int      rc;

    for (i = 0; i < s->opt.fronts && i < SERVE_FRONTS_MAX; i++) {
        rc = pthread_create(&s->fronts[i], NULL, front_main, s);
        if (rc) {
            log_error("pthread_create failed: %s", strerror(rc));
            return -rc;
        }

        s->n_fronts++;
    }

    return 0;
}


void
front_stop(serve_t *s)
{
    uint32_t i;

    pthread_mutex_lock(&s->front_lock);
    atomic_store(&s->front_stop, 1);
    pthread_cond_broadcast(&s->front_cond);
    pthread_mutex_unlock(&s->front_lock);

    for (i = 0; i < s->n_fronts; i++) {
        pthread_join(s->fronts[i], NULL);
    }

    s->n_fronts = 0;
}


void
front_push(serve_t *s, req_t *r)
{
    r->next = NULL;
    r->owner->fronts++;

    pthread_mutex_lock(&s->front_lock);
    *s->front_tail = r;
    s->front_tail = &r->next;
    pthread_cond_signal(&s->front_cond);
    pthread_mutex_unlock(&s->front_lock);
}


static void *
front_main(void *data)
{
    front_t  f = {0};
    serve_t *s = data;
    req_t   *r;
    int      rc;

    f.scratch = text_scratch_new();

    for (;;) {
        pthread_mutex_lock(&s->front_lock);

        while (s->front_head == NULL && !atomic_load(&s->front_stop)) {
            pthread_cond_wait(&s->front_cond, &s->front_lock);
        }

        r = s->front_head;
        if (r) {
            s->front_head = r->next;
            if (s->front_head == NULL) {
                s->front_tail = &s->front_head;
            }
        }

        pthread_mutex_unlock(&s->front_lock);

        if (r == NULL) {
            break;
        }

        if (atomic_load(&s->front_stop) || atomic_load(&r->cancelled)) {
            r->rc = -ECANCELED;
            gen_error(&r->error, 503, "engine_unavailable", NULL,
                      "The engine is shutting down.");

        } else if (f.scratch == NULL) {
            r->rc = front_no_memory(r);

        } else {
            r->rc = front_run(&f, r);
        }

        if (f.cap > FRONT_KEEP) {
            free(f.ids);
            f.ids = NULL;
            f.cap = 0;
        }

        /* 1: a grammar thread has it now, or will at least answer. */
        if (r->rc == 1) {
            rc = grammars_push(s, r);
            if (rc == 0) {
                continue; /* it is not ours any more */
            }

            r->rc = rc;
        }

        front_post(r);
    }

    text_scratch_free(f.scratch);
    free(f.ids);

    return NULL;
}


/* To the io thread: the request is not ours after. */

void
front_post(req_t *r)
{
    serve_t *s = r->serve;

    buf_free(&r->grammar_key);

    pthread_mutex_lock(&s->mail_lock);
    r->next = s->mail;
    s->mail = r;
    pthread_mutex_unlock(&s->mail_lock);

    serve_wake(s);
}


static int
front_run(front_t *f, req_t *r)
{
    switch (r->submit.op) {

    case LLM_OP_CHAT:
    case LLM_OP_COMPLETION:
        return front_generate(f, r);

    case LLM_OP_TOKENIZE:
        return front_tokenize(f, r);

    default: /* LLM_OP_DETOKENIZE: no other gets past the record's check */
        return front_detokenize(r);
    }
}


static int
front_generate(front_t *f, req_t *r)
{
    gen_request_t *req = &r->request;
    serve_t       *s = r->serve;
    uint32_t       i;
    model_t       *m;

    if (!r->has_request) {
        LLM_TRY(api_openai_parse(r->submit.op == LLM_OP_CHAT ? GEN_CHAT
                                                             : GEN_COMPLETION,
                                 r->body.data, r->body.len, req, &r->error));
        r->has_request = 1;
    }

    LLM_TRY(front_model(r, req->model));
    m = r->version->model;

    r->n_prompts = req->kind == GEN_CHAT ? 1 : req->n_prompts;
    r->n_choices = r->n_prompts * req->n;

    if (r->n_choices > s->opt.batch * 4 || r->n_choices > GEN_CHOICES_MAX) {
        return gen_error(&r->error, 400, "invalid_value", "n",
                         "%u choices are more than this server gives at once",
                         r->n_choices);
    }

    for (i = 0; i < req->n_bias; i++) {
        if (req->bias[i].token < 0
            || (uint32_t) req->bias[i].token >= m->prog.n_vocab) {
            return gen_error(&r->error, 400, "invalid_value", "logit_bias",
                             "logit_bias names token %d, the model has %u",
                             req->bias[i].token, m->prog.n_vocab);
        }
    }

    r->prompts = calloc(r->n_prompts, sizeof(prompt_t));
    if (r->prompts == NULL) {
        return front_no_memory(r);
    }

    for (i = 0; i < r->n_prompts; i++) {
        LLM_TRY(front_prompt(f, r, i));
    }

    LLM_TRY(front_reading(r));
    LLM_TRY(front_groups(r));

    return front_constrain(f, r);
}


/*
 * What the answer must be.  0: that is settled; 1: its grammar is to be made,
 * elsewhere, as it may take long.
 */

static int
front_constrain(front_t *f, req_t *r)
{
    int rc;

    rc = front_grammar_key(r, &r->grammar_key);
    if (rc < 0) {
        return rc;
    }

    if (rc > 0) {
        if (r->grammar_key.failed) {
            return front_no_memory(r);
        }

        LLM_TRY(front_think_end(f, r));

        r->grammar =
            grammar_cache_find(r->version->grammars, r->grammar_key.data,
                               r->grammar_key.len);
        if (r->grammar == NULL) {
            return 1;
        }

        atomic_fetch_add(&r->serve->grammar_stats.found, 1);
    }

    return front_settle(r);
}


/* A budget of reasoning: the tokens by which it ends. */

static int
front_think_end(front_t *f, req_t *r)
{
    const char *end;
    uint8_t    *trusted;
    size_t      n, len;
    int         rc;

    if (!r->request.has_budget || r->dialog == NULL
        || r->dialog->format == NULL) {
        return 0;
    }

    end = chat_format_think_close(r->dialog->format);
    len = strlen(end);
    trusted = malloc(len + 1);
    if (trusted == NULL) {
        return front_no_memory(r);
    }

    memset(trusted, 1, len);
    rc = front_encode(f, r, (str_t){end, len}, trusted, 0, &n);
    free(trusted);
    LLM_TRY(rc);

    r->think_end = malloc((n + 1) * sizeof(int32_t));
    if (r->think_end == NULL) {
        return front_no_memory(r);
    }

    memcpy(r->think_end, f->ids, n * sizeof(int32_t));
    r->n_think_end = (uint32_t) n;

    return 0;
}


int
front_settle(req_t *r)
{
    sched_group_t *g;
    uint32_t       i;

    for (i = 0; i < r->n_prompts; i++) {
        g = &r->prompts[i].group;
        g->grammar = r->grammar;
        g->think_budget = r->request.think_budget;
        g->think_end = r->think_end;
        g->n_think_end = r->n_think_end;
    }

    /* Queued and running requests keep tokens, not bodies. */
    return api_request_settle(&r->request) < 0 ? front_no_memory(r) : 0;
}


/* Tokens of the i-th prompt; it must leave room for one token. */

static int
front_prompt(front_t *f, req_t *r, uint32_t i)
{
    gen_request_t *req = &r->request;
    const char    *param = req->kind == GEN_CHAT ? "messages" : "prompt";
    prompt_t      *p = &r->prompts[i];
    model_t       *m = r->version->model;
    size_t         n;
    int            rc;

    if (req->kind == GEN_CHAT) {
        chat_text_t text;

        LLM_TRY(front_render(r, req, 1, &text));
        rc = front_encode(f, r, (str_t){text.text, text.len}, text.trusted, 1,
                          &n);
        chat_text_free(&text);
        LLM_TRY(rc);

    } else if (req->prompts[i].tokens) {
        n = req->prompts[i].n_tokens;
        LLM_TRY(front_ids(r, req->prompts[i].tokens, n, "prompt"));

    } else {
        LLM_TRY(front_encode(f, r, req->prompts[i].text, NULL, 1, &n));
    }

    if (n == 0) {
        return gen_error(&r->error, 400, "invalid_value", param,
                         "The prompt is empty: it has no tokens.");
    }

    if (n >= m->context) {
        return gen_error(&r->error, 400, "context_length_exceeded", param,
                         "This model's maximum context length is %u tokens, "
                         "but your request has at least %zu.",
                         m->context, n);
    }

    p->tokens = malloc(n * sizeof(int32_t));
    if (p->tokens == NULL) {
        return front_no_memory(r);
    }

    memcpy(p->tokens,
           req->kind != GEN_CHAT && req->prompts[i].tokens
               ? req->prompts[i].tokens
               : f->ids,
           n * sizeof(int32_t));

    p->group.tokens = p->tokens;
    p->group.n_tokens = (uint32_t) n;

    return 0;
}


/* What the step loop and the writer get. */

static int
front_groups(req_t *r)
{
    gen_request_t     *req = &r->request;
    const defaults_t  *d = &r->version->defaults;
    XXH128_canonical_t salt;
    uint32_t           i, room;
    sched_group_t     *g;

    r->bias = calloc(req->n_bias + 1, sizeof(k_bias_t));
    if (r->bias == NULL) {
        return front_no_memory(r);
    }

    for (i = 0; i < req->n_bias; i++) {
        r->bias[i] = (k_bias_t){req->bias[i].token, req->bias[i].value};
    }

    XXH128_canonicalFromHash(&salt, XXH3_128bits(r->salt.s, r->salt.len));

    for (i = 0; i < r->n_prompts; i++) {
        r->prompts[i].req = r;
        r->prompts[i].first_choice = i * req->n;

        g = &r->prompts[i].group;
        g->model = r->version->handle;
        g->n_choices = req->n;

        /* What the context has no room for cannot come. */
        room = r->version->model->context - g->n_tokens;
        if (req->has_max && req->max_tokens < room) {
            room = req->max_tokens;
        }

        r->prompt_tokens += g->n_tokens;
        r->most_tokens += room * req->n;
        r->max_tokens = room > r->max_tokens ? room : r->max_tokens;

        /* max_tokens 0 with echo wants the prompt's logprobs only: one token
           is drawn and thrown away. */
        g->max_tokens = room ? room : 1;

        g->eog = r->version->vocab.eog;
        g->n_eog = (uint32_t) r->version->vocab.n_eog;
        g->prompt_logprobs = req->echo && req->logprobs;
        g->tenant = XXH3_64bits(r->tenant.s, r->tenant.len);
        g->data = &r->prompts[i];
        memcpy(g->salt, &salt, sizeof(g->salt));

        g->sampling = (sched_sampling_t){
            .temperature = req->has_temperature ? (float) req->temperature
                                                : d->temperature,
            .top_p = req->has_top_p ? (float) req->top_p : d->top_p,
            .min_p = req->has_min_p ? (float) req->min_p : d->min_p,
            .top_k = req->has_top_k ? req->top_k : d->top_k,
            .repetition =
                req->has_repetition ? (float) req->repetition : d->repetition,
            .frequency = (float) req->frequency,
            .presence = (float) req->presence,
            /* Prompts of one request draw apart from each other. */
            .seed = (req->has_seed ? req->seed : r->submit.seed)
                    + i * 0x9e3779b97f4a7c15ull,
            .bias = r->bias,
            .n_bias = req->n_bias,
            .ignore_eos = req->ignore_eos,
            .logprobs = req->logprobs,
            .n_top = req->n_top};
    }

    r->identity = (gen_identity_t){.id = r->id,
                                   .created = r->submit.created,
                                   .model = r->model_name,
                                   .fingerprint = r->version->fingerprint,
                                   .seed = r->submit.seed};

    r->writer = api_writer_new(req, &r->identity, r->n_choices);

    return r->writer ? 0 : front_no_memory(r);
}


/* The model that a request means: its version is held from here on. */

int
front_model(req_t *r, str_t asked)
{
    str_t name = r->submit.flags & LLM_SUBMIT_FORCED ? r->model_arg : asked;
    int   known, state;

    if (name.len == 0) {
        return gen_error(&r->error, 400, "missing_required_parameter", "model",
                         "Missing required parameter: 'model'.");
    }

    r->version = models_find(r->serve, r->owner, name, r->model_buf, &known);
    r->model_name = str_of(r->model_buf);

    if (r->version == NULL && !known) {
        return gen_error(&r->error, 404, "model_not_found", "model",
                         "The model '%.*s' does not exist",
                         (int) (name.len > 128 ? 128 : name.len), name.s);
    }

    if (r->version == NULL) {
        gen_error(&r->error, 503, "model_unavailable", "model",
                  "The model '%.*s' could not be loaded",
                  (int) (name.len > 128 ? 128 : name.len), name.s);
        r->error.retry_ms = FRONT_RETRY_MS;
        return -EIO;
    }

    state = atomic_load(&r->version->state);

    if (state == VERSION_LOADING) {
        return -EAGAIN;
    }

    if (state == VERSION_FAILED) {
        gen_error(&r->error, 503, "model_unavailable", "model",
                  "The model '%.*s' could not be loaded",
                  (int) r->model_name.len, r->model_name.s);
        r->error.retry_ms = FRONT_RETRY_MS;
        return -EIO;
    }

    return 0;
}
