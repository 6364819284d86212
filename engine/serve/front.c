/*
 * From a body to sequences: JSON -> request -> template -> tokens.  Front
 * threads; a request belongs to one of them from front_push() until it is in
 * the io thread's mailbox again.  Faults of the request end here.
 */

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <xxhash.h>
#include "engine/serve/serve.h"

#define FRONT_RETRY_MS 2000

typedef struct {
    text_scratch_t *scratch;
    int32_t        *ids;
    size_t          cap;
} front_t;

static void *front_main(void *data);
static int   front_run(front_t *f, req_t *r);
static int   front_generate(front_t *f, req_t *r);
static int   front_tokenize(front_t *f, req_t *r);
static int   front_detokenize(req_t *r);
static int   front_model(req_t *r, str_t asked);
static int   front_render(req_t *r, gen_request_t *req, int generation,
                          chat_text_t *text);
static int   front_encode(front_t *f, req_t *r, str_t text,
                          const uint8_t *trusted, int bos, size_t *n);
static int front_ids(req_t *r, const int32_t *ids, size_t n, const char *param);
static int front_prompt(front_t *f, req_t *r, uint32_t i);
static int front_groups(req_t *r);
static int front_no_memory(req_t *r);


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
    s->front_stop = 1;
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

    f.scratch = text_scratch_new();

    for (;;) {
        pthread_mutex_lock(&s->front_lock);

        while (s->front_head == NULL && !s->front_stop) {
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

        if (s->front_stop || atomic_load(&r->cancelled)) {
            r->rc = -ECANCELED;
            gen_error(&r->error, 503, "engine_unavailable", NULL,
                      "The engine is shutting down.");

        } else if (f.scratch == NULL) {
            r->rc = front_no_memory(r);

        } else {
            r->rc = front_run(&f, r);
        }

        pthread_mutex_lock(&s->mail_lock);
        r->next = s->mail;
        s->mail = r;
        pthread_mutex_unlock(&s->mail_lock);

        serve_wake(s);
    }

    text_scratch_free(f.scratch);
    free(f.ids);

    return NULL;
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
    uint32_t       i, room;
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

    room = UINT32_MAX;

    for (i = 0; i < r->n_prompts; i++) {
        LLM_TRY(front_prompt(f, r, i));

        r->prompt_tokens += r->prompts[i].group.n_tokens;

        if (m->context - r->prompts[i].group.n_tokens < room) {
            room = m->context - r->prompts[i].group.n_tokens;
        }
    }

    /* An upper bound: what the context has no room for cannot come. */
    r->max_tokens =
        req->has_max && req->max_tokens < room ? req->max_tokens : room;

    return front_groups(r);
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
    XXH128_canonical_t salt;
    uint32_t           i;
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
        /* max_tokens 0 with echo wants the prompt's logprobs only: one token
           is drawn and thrown away. */
        g->max_tokens = r->max_tokens ? r->max_tokens : 1;
        g->eog = r->version->vocab.eog;
        g->n_eog = (uint32_t) r->version->vocab.n_eog;
        g->prompt_logprobs = req->echo && req->logprobs;
        g->tenant = XXH3_64bits(r->tenant.s, r->tenant.len);
        g->data = &r->prompts[i];
        memcpy(g->salt, &salt, sizeof(g->salt));

        g->sampling = (sched_sampling_t){
            .temperature = req->has_temperature ? (float) req->temperature : 1,
            .top_p = req->has_top_p ? (float) req->top_p : 1,
            .min_p = req->has_min_p ? (float) req->min_p : 0,
            .top_k = req->has_top_k ? req->top_k : 0,
            .repetition = req->has_repetition ? (float) req->repetition : 1,
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

static int
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


static int
front_render(req_t *r, gen_request_t *req, int generation, chat_text_t *text)
{
    static const char *const trusted[] = {"bos_token", "eos_token", "unk_token",
                                          "pad_token", NULL};
    static const char *const roles[] = {"system", "user",      "assistant",
                                        "tool",   "developer", NULL};
    chat_limits_t            limits = {.now = (time_t) r->submit.created,
                                       .trusted_vars = trusted,
                                       .trusted_roles = roles};
    text_tokenizer_t        *tok = r->version->vocab.tokenizer;
    struct {
        const char *name;
        int32_t     id;
    } specials[] = {{"bos_token", text_bos(tok)},
                    {"eos_token", text_eos(tok)},
                    {"unk_token", text_unk(tok)},
                    {"pad_token", text_pad(tok)}};
    const char *bytes;
    json_t     *vars;
    size_t      i, len;
    char        err[256];
    int         rc;

    if (r->version->template == NULL) {
        return gen_error(&r->error, 400, "unsupported_model", "model",
                         "The model '%.*s' has no chat template%s%.200s; use "
                         "/v1/completions",
                         (int) r->model_name.len, r->model_name.s,
                         r->version->template_error[0] ? " that works: " : "",
                         r->version->template_error);
    }

    vars = json_object();

    /* The client's arguments first: ours are not theirs to change. */
    if (req->template_args) {
        json_object_update(vars, req->template_args);
    }

    json_object_set(vars, "messages", req->messages);
    json_object_set_new(vars, "documents", json_null());
    json_object_set_new(vars, "add_generation_prompt",
                        json_boolean(generation));

    if (req->tools) {
        json_object_set(vars, "tools", req->tools);
    } else {
        json_object_set_new(vars, "tools", json_null());
    }

    for (i = 0; i < llm_countof(specials); i++) {
        json_object_del(vars, specials[i].name);
        bytes = text_token_bytes(tok, specials[i].id, &len);
        if (bytes) {
            json_object_set_new(vars, specials[i].name,
                                json_stringn_nocheck(bytes, len));
        }
    }

    rc = chat_template_render(r->version->template, vars, &limits, text, err,
                              sizeof(err));
    json_decref(vars);

    if (rc < 0) {
        return gen_error(&r->error, rc == -ENOMEM ? 500 : 400,
                         rc == -ENOMEM ? NULL : "invalid_value", "messages",
                         "The model's chat template refuses the messages: %s",
                         err);
    }

    return 0;
}


/* Text -> f->ids, *n of them. */

static int
front_encode(front_t *f, req_t *r, str_t text, const uint8_t *trusted, int bos,
             size_t *n)
{
    text_tokenizer_t *tok = r->version->vocab.tokenizer;
    model_t          *m = r->version->model;
    int32_t          *ids;
    ssize_t           got;
    size_t            need;

    /* Longer than the longest tokens could make it: not worth a look. */
    need = text.len / text_token_max(tok);
    if (need > m->context) {
        return gen_error(&r->error, 400, "context_length_exceeded",
                         r->submit.op == LLM_OP_CHAT ? "messages" : "prompt",
                         "This model's maximum context length is %u tokens, "
                         "but your request has at least %zu.",
                         m->context, need);
    }

    if (f->cap < text.len + 2) {
        ids = realloc(f->ids, (text.len + 2) * sizeof(int32_t));
        if (ids == NULL) {
            return front_no_memory(r);
        }

        f->ids = ids;
        f->cap = text.len + 2;
    }

    got = text_encode(tok, text.s, text.len, trusted, bos ? TEXT_ADD_BOS : 0,
                      f->ids, f->cap, f->scratch);
    if (got < 0 || (size_t) got > f->cap) {
        return front_no_memory(r);
    }

    /* A template that writes its own bos has it once. */
    if (trusted && bos && got > 1 && text_adds_bos(tok)
        && f->ids[0] == text_bos(tok) && f->ids[1] == text_bos(tok)) {
        memmove(f->ids, f->ids + 1, (size_t) --got * sizeof(int32_t));
    }

    *n = (size_t) got;

    return 0;
}


static int
front_ids(req_t *r, const int32_t *ids, size_t n, const char *param)
{
    uint32_t n_vocab = r->version->model->prog.n_vocab;
    size_t   i;

    for (i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t) ids[i] >= n_vocab) {
            return gen_error(&r->error, 400, "invalid_value", param,
                             "%d is not a token: the model has %u", ids[i],
                             n_vocab);
        }
    }

    return 0;
}


static int
front_tokenize(front_t *f, req_t *r)
{
    api_tokenize_t t;
    chat_text_t    text;
    str_t         *strs = NULL;
    size_t         n = 0, i;
    int            rc;

    LLM_TRY(api_tokenize_parse(r->body.data, r->body.len, &t, &r->error));

    rc = front_model(r, t.req.model);

    if (rc == 0 && t.req.messages) {
        rc = front_render(r, &t.req, t.add_generation_prompt, &text);
        if (rc == 0) {
            rc = front_encode(f, r, (str_t){text.text, text.len}, text.trusted,
                              t.add_special, &n);
            chat_text_free(&text);
        }

    } else if (rc == 0) {
        rc = front_encode(f, r, t.req.prompts[0].text, NULL, t.add_special, &n);
    }

    if (rc == 0 && t.token_strs) {
        strs = calloc(n + 1, sizeof(str_t));
        for (i = 0; strs && i < n; i++) {
            strs[i].s = text_token_bytes(r->version->vocab.tokenizer, f->ids[i],
                                         &strs[i].len);
        }

        if (strs == NULL) {
            rc = front_no_memory(r);
        }
    }

    if (rc == 0) {
        api_tokenize_write(&t, f->ids, n, strs, r->version->model->context,
                           &r->reply);
    }

    free(strs);
    api_request_free(&t.req);

    return rc;
}


static int
front_detokenize(req_t *r)
{
    text_tokenizer_t *tok;
    gen_request_t     req;
    text_detok_t      d = {0};
    const char       *bytes;
    buf_t             text = {0};
    size_t            i, len;
    char             *p;
    int               rc;

    LLM_TRY(api_detokenize_parse(r->body.data, r->body.len, &req, &r->error));

    rc = front_model(r, req.model);
    if (rc == 0) {
        rc = front_ids(r, req.prompts[0].tokens, req.prompts[0].n_tokens,
                       "tokens");
    }

    if (rc == 0) {
        tok = r->version->vocab.tokenizer;

        for (i = 0; i < req.prompts[0].n_tokens; i++) {
            bytes = text_token_bytes(tok, req.prompts[0].tokens[i], &len);
            p = buf_room(&text, TEXT_DETOK_CAP(len));
            if (p) {
                text.len += (size_t) text_detok_feed(&d, bytes, len, p,
                                                     TEXT_DETOK_CAP(len));
            }
        }

        p = buf_room(&text, 3);
        if (p) {
            text.len += text_detok_flush(&d, p);
        }

        api_detokenize_write((str_t){text.data, text.len}, &r->reply);
        rc = text.failed ? front_no_memory(r) : 0;
    }

    buf_free(&text);
    api_request_free(&req);

    return rc;
}


static int
front_no_memory(req_t *r)
{
    gen_error(&r->error, 500, NULL, NULL, "The server ran out of memory.");

    return -ENOMEM;
}
