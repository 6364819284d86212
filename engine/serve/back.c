/*
 * From tokens to bytes: the step loop's events -> text -> its parts (parts.c)
 * -> the dialect's writer -> the request's output.
 *
 * back_events() runs on the step loop's thread and only copies.  All else is
 * the io thread's.  What is held back (a part of a character, the beginning
 * of a stop string) depends on the tokens only, never on time.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/serve/serve.h"

/* Events that may lie between the step loop and the io thread. */
#define BACK_EVENTS_MAX 16384

static void back_event(const back_event_t *be);
static void back_failed(req_t *r, int reason);
static void back_prompt(prompt_t *p, uint32_t choice, const back_event_t *be);
static void back_token(prompt_t *p, const back_event_t *be);
static int  back_text(req_t *r, uint32_t choice, int32_t id, size_t skip);
static int  back_note(req_t *r, choice_t *c, int32_t id,
                      const k_sampled_t *sampled, int scored);
static int  back_take_token(req_t *r, uint32_t choice, int32_t id,
                            const k_sampled_t *sampled);
static void back_finish(req_t *r, uint32_t choice, int finish);
static void back_done(req_t *r);
static void back_gone(prompt_t *p);
static int  back_id(choice_t *c, int32_t id);
static void back_sent(req_t *r, uint32_t choice, uint32_t first, uint32_t n,
                      size_t from);
static void back_echo(req_t *r);


/* On the step loop's thread. */

void
back_events(void *data, const sched_event_t *ev, uint32_t n)
{
    back_event_t *events, *be;
    serve_t      *s = data;
    uint32_t      i, cap;

    pthread_mutex_lock(&s->mail_lock);

    /*
     * A model that is faster than the io thread waits for it here: nothing
     * else bounds what lies between the two.  Pairs with the broadcasts of
     * serve_mail() and serve_close().
     */
    while (s->n_events >= BACK_EVENTS_MAX && !s->events_free) {
        pthread_cond_wait(&s->events_cond, &s->mail_lock);
    }

    if (s->n_events + n > s->cap_events) {
        cap = (s->n_events + n) * 2;
        events = realloc(s->events, cap * sizeof(back_event_t));

        /* Losing an event would lose a request for ever. */
        if (events == NULL) {
            log_error("no memory for events");
            abort();
        }

        s->events = events;
        s->cap_events = cap;
    }

    for (i = 0; i < n; i++) {
        be = &s->events[s->n_events++];
        be->ev = ev[i];
        be->has_sampled = ev[i].sampled != NULL;
        if (ev[i].sampled) {
            be->sampled = *ev[i].sampled;
        }
        be->ev.sampled = NULL;
    }

    pthread_mutex_unlock(&s->mail_lock);

    serve_wake(s);
}


void
back_take(serve_t *s, const back_event_t *ev, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        back_event(&ev[i]);
    }
}


static void
back_event(const back_event_t *be)
{
    prompt_t *p = be->ev.group->data;
    req_t    *r = p->req;
    uint32_t  choice = p->first_choice + be->ev.choice;
    uint32_t  i;

    if (be->ev.kind == SCHED_EV_GONE) {
        back_gone(p);
        return;
    }

    if (r->outcome != LLM_END_DONE) {
        return; /* cancelled or failed: nobody wants the rest */
    }

    switch (be->ev.kind) {

    case SCHED_EV_START:
        if (r->start_ns == 0) {
            r->start_ns = be->ev.now_ns;
        }

        r->usage.cached_tokens += be->ev.cached;
        break;

    case SCHED_EV_PROMPT:
        for (i = 0; i < r->request.n; i++) {
            back_prompt(p, p->first_choice + i, be);
        }
        break;

    case SCHED_EV_TOKEN:
        back_token(p, be);
        break;

    case SCHED_EV_FINISH:
        switch (be->ev.reason) {

        case SCHED_STOP:
        case SCHED_LENGTH:
        case SCHED_STOPPED:
            back_finish(r, choice,
                        be->ev.reason == SCHED_LENGTH ? GEN_FINISH_LENGTH
                                                      : GEN_FINISH_STOP);
            break;

        default:
            back_failed(r, be->ev.reason);
            break;
        }
        break;
    }

    if (r->out.failed && r->outcome == LLM_END_DONE) {
        gen_error(&r->error, 500, NULL, NULL, "The server ran out of memory.");
        req_fail(r);
    }

    if (r->phase == PHASE_RUN) {
        send_due(r);
    }
}


/* The step loop gave it up. */

static void
back_failed(req_t *r, int reason)
{
    switch (reason) {

    case SCHED_QUEUE_TIMEOUT:
        gen_error(&r->error, 503, "server_is_overloaded", NULL,
                  "The request waited too long in the queue.");
        r->error.retry_ms = 1000;
        break;

    case SCHED_FIRST_TIMEOUT:
    case SCHED_DONE_TIMEOUT:
        gen_error(&r->error, 504, "timeout", NULL,
                  reason == SCHED_FIRST_TIMEOUT
                      ? "The first token took too long."
                      : "The request took too long.");
        r->error.no_retry = 1;
        break;

    case SCHED_GRAMMAR:
        gen_error(&r->error, 400, "invalid_value",
                  r->request.calls ? "tools" : r->request.format_param,
                  "What the answer has to be takes more work to follow than a "
                  "request may; simplify its patterns or its schema.");
        r->error.no_retry = 1;
        break;

    default:
        gen_error(&r->error, 500, NULL, NULL,
                  "The engine failed to compute the answer.");
        break;
    }

    req_fail(r);
}


/*
 * What was appended to the output since `from` is for these tokens.  An answer
 * in one piece has its tokens told at its end: back_done().
 */

static void
back_sent(req_t *r, uint32_t choice, uint32_t first, uint32_t n, size_t from)
{
    if (r->request.stream) {
        send_bytes(r, choice, first, n, r->out.len - from);
    }
}


/* Before the first event: choices, and what the answer begins with. */

int
back_begin(req_t *r)
{
    size_t from = r->out.len;

    r->choices = calloc(r->n_choices, sizeof(choice_t));
    if (r->choices == NULL) {
        return -ENOMEM;
    }

    LLM_TRY(parts_begin(r));
    api_writer_begin(r->writer, &r->out);

    if (r->request.echo && !r->request.logprobs) {
        back_echo(r);
    }

    back_sent(r, 0, 0, 0, from);

    return r->out.failed ? -ENOMEM : 0;
}


/* `echo`: the prompt is the beginning of each choice's text. */

static void
back_echo(req_t *r)
{
    text_tokenizer_t *tok = r->version->vocab.tokenizer;
    text_detok_t      d;
    gen_text_t        text;
    const char       *bytes;
    uint32_t          i, j, k;
    buf_t             b = {0};
    size_t            len, skip, seen;
    char             *p;

    for (i = 0; i < r->n_prompts; i++) {
        buf_reset(&b);
        d = (text_detok_t){0};
        seen = 0;

        for (k = 0; k < r->prompts[i].group.n_tokens; k++) {
            if (text_token_is_control(tok, r->prompts[i].tokens[k])) {
                continue;
            }

            bytes = text_token_bytes(tok, r->prompts[i].tokens[k], &len);
            skip = seen++ ? 0 : text_prefix_len(tok, r->prompts[i].tokens[k]);
            p = buf_room(&b, TEXT_DETOK_CAP(len));
            if (p) {
                b.len += (size_t) text_detok_feed(&d, bytes + skip, len - skip,
                                                  p, TEXT_DETOK_CAP(len));
            }
        }

        p = buf_room(&b, 3);
        if (p) {
            b.len += text_detok_flush(&d, p);
        }

        for (j = 0; j < r->request.n; j++) {
            text = (gen_text_t){.choice = r->prompts[i].first_choice + j,
                                .text = {b.data, b.len}};
            api_writer_text(r->writer, &text, &r->out);
        }
    }

    r->out.failed |= b.failed;
    buf_free(&b);
}


void
back_free(req_t *r)
{
    uint32_t i;

    for (i = 0; r->choices && i < r->n_choices; i++) {
        parts_free(&r->choices[i]);
        free(r->choices[i].tokens);
        free(r->choices[i].ends);
        free(r->choices[i].ids);
    }

    for (i = 0; r->prompts && i < r->n_prompts; i++) {
        free(r->prompts[i].tokens);
    }

    free(r->choices);
    free(r->prompts);
    r->choices = NULL;
    r->prompts = NULL;
}


/* A prompt's token of an echo with logprobs: text like any other. */

static void
back_prompt(prompt_t *p, uint32_t choice, const back_event_t *be)
{
    req_t    *r = p->req;
    choice_t *c = &r->choices[choice];
    size_t    from = r->out.len, skip;

    if (text_token_is_control(r->version->vocab.tokenizer, be->ev.token)) {
        return;
    }

    /* The space that encoding put in front is not the prompt's. */
    skip = c->prompt_seen++
               ? 0
               : text_prefix_len(r->version->vocab.tokenizer, be->ev.token);

    c->echo = 1;

    if (back_note(r, c, be->ev.token, be->has_sampled ? &be->sampled : NULL,
                  be->ev.index > 0)
            < 0
        || back_text(r, choice, be->ev.token, skip) < 0) {
        r->out.failed = 1;
        return;
    }

    c->echo = 0;
    back_sent(r, choice, 0, 0, from);
}


static void
back_token(prompt_t *p, const back_event_t *be)
{
    req_t    *r = p->req;
    uint32_t  choice = p->first_choice + be->ev.choice;
    choice_t *c = &r->choices[choice];
    size_t    from = r->out.len;
    uint32_t  first;
    int32_t   id = be->ev.token;

    if (c->finished) {
        return; /* past a stop string */
    }

    if (r->first_ns == 0) {
        r->first_ns = be->ev.now_ns;
    } else if (be->ev.now_ns > r->last_ns) {
        metrics_token(&r->serve->metrics,
                      (double) (be->ev.now_ns - r->last_ns) / 1e9);
    }

    r->last_ns = be->ev.now_ns;

    if (r->max_tokens == 0) {
        return; /* drawn for the prompt's logprobs only */
    }

    first = c->generated;

    if (back_id(c, id) < 0) {
        r->out.failed = 1;
        return;
    }

    r->usage.completion_tokens++;

    if (back_take_token(r, choice, id, be->has_sampled ? &be->sampled : NULL)
        < 0) {
        r->out.failed = 1;
        return;
    }

    back_sent(r, choice, first, 1, from);

    if (c->stopped) {
        sched_stop(r->serve->sched, &p->group, be->ev.choice);
        back_finish(r, choice, GEN_FINISH_STOP);
    }
}


/*
 * A token's part in the answer: a control token has none, unless the model's
 * format gives it a meaning; what is no text is not shown in any case.
 */

static int
back_take_token(req_t *r, uint32_t choice, int32_t id,
                const k_sampled_t *sampled)
{
    text_tokenizer_t *tok = r->version->vocab.tokenizer;
    choice_t         *c = &r->choices[choice];
    const char       *bytes;
    size_t            len;

    if (!text_token_is_control(tok, id)
        && !vocab_is_eog(&r->version->vocab, id)) {
        LLM_TRY(back_note(r, c, id, sampled, 1));
        LLM_TRY(back_text(r, choice, id, 0));
        return 0;
    }

    if (c->parser == NULL) {
        return 0;
    }

    LLM_TRY(parts_pending(c));
    bytes = text_token_bytes(tok, id, &len);

    return chat_parser_control(c->parser, bytes, len);
}


static int
back_id(choice_t *c, int32_t id)
{
    uint32_t cap;
    int32_t *ids;

    if (c->generated == c->cap_ids) {
        cap = c->cap_ids ? c->cap_ids * 2 : 64;
        ids = realloc(c->ids, cap * sizeof(int32_t));
        if (ids == NULL) {
            return -ENOMEM;
        }

        c->ids = ids;
        c->cap_ids = cap;
    }

    c->ids[c->generated++] = id;

    return 0;
}


/* The token's whole characters, but for skip bytes. */

static int
back_text(req_t *r, uint32_t choice, int32_t id, size_t skip)
{
    choice_t   *c = &r->choices[choice];
    const char *bytes;
    size_t      len, n;
    char       *p;

    bytes = text_token_bytes(r->version->vocab.tokenizer, id, &len);
    buf_reset(&c->fresh);
    p = buf_room(&c->fresh, TEXT_DETOK_CAP(len));
    if (p == NULL) {
        return -ENOMEM;
    }

    n = (size_t) text_detok_feed(&c->detok, bytes + skip, len - skip, p,
                                 TEXT_DETOK_CAP(len));

    return parts_feed(r, choice, p, n);
}


/* Keeps a token with its logprobs until its text goes out. */

static int
back_note(req_t *r, choice_t *c, int32_t id, const k_sampled_t *sampled,
          int scored)
{
    text_tokenizer_t *tok = r->version->vocab.tokenizer;
    gen_token_t      *tokens, *t;
    uint32_t          cap, i;
    size_t           *ends;

    if (!r->request.logprobs) {
        return 0;
    }

    if (c->n_tokens == c->cap_tokens) {
        cap = c->cap_tokens ? c->cap_tokens * 2 : 8;
        tokens = realloc(c->tokens, cap * sizeof(gen_token_t));
        if (tokens == NULL) {
            return -ENOMEM;
        }

        c->tokens = tokens;

        ends = realloc(c->ends, cap * sizeof(size_t));
        if (ends == NULL) {
            return -ENOMEM;
        }

        c->ends = ends;
        c->cap_tokens = cap;
    }

    c->ends[c->n_tokens] = c->fed;
    t = &c->tokens[c->n_tokens++];
    *t = (gen_token_t){.token = id, .has_logprob = scored && sampled};
    t->text.s = text_token_bytes(tok, id, &t->text.len);

    if (t->has_logprob) {
        t->logprob = sampled->logprob;
        t->n_top = sampled->n_top < r->request.n_top ? sampled->n_top
                                                     : r->request.n_top;

        for (i = 0; i < t->n_top; i++) {
            t->top[i].text.s = text_token_bytes(tok, sampled->top[i].token,
                                                &t->top[i].text.len);
            t->top[i].logprob = sampled->top[i].logprob;
        }
    }

    return 0;
}


static void
back_finish(req_t *r, uint32_t choice, int finish)
{
    static const int finishes[] = {
        [GEN_FINISH_STOP] = LLM_FINISH_STOP,
        [GEN_FINISH_LENGTH] = LLM_FINISH_LENGTH,
        [GEN_FINISH_TOOL_CALLS] = LLM_FINISH_TOOL_CALLS,
        [GEN_FINISH_CONTENT_FILTER] = LLM_FINISH_CONTENT_FILTER};
    choice_t *c = &r->choices[choice];
    size_t    from = r->out.len;

    if (c->finished) {
        return; /* its stop string was seen */
    }

    c->finished = 1;

    if (parts_end(r, choice) < 0) {
        r->out.failed = 1;
        return;
    }

    if (c->parser && chat_parser_calls(c->parser)) {
        r->n_calls += chat_parser_calls(c->parser);

        /* An answer that was cut is "length", calls or not. */
        if (finish == GEN_FINISH_STOP) {
            finish = GEN_FINISH_TOOL_CALLS;
        }
    }

    if (choice == 0) {
        r->finish = finishes[finish];
    }

    api_writer_finish(r->writer, choice, finish, &r->out);
    back_sent(r, choice, 0, 0, from);

    if (++r->n_finished == r->n_choices) {
        back_done(r);
    }
}


/* All choices are done: usage, the end of the stream or the whole object. */

static void
back_done(req_t *r)
{
    size_t   from = r->out.len;
    uint32_t i, k, n;

    r->usage.prompt_tokens = r->prompt_tokens;
    api_writer_end(r->writer, &r->usage, &r->out);

    for (i = 0; !r->request.stream && i < r->n_choices; i++) {
        for (k = 0; k < r->choices[i].generated; k += n) {
            n = r->choices[i].generated - k;
            n = n < LLM_DATA_TOKENS ? n : LLM_DATA_TOKENS;
            send_bytes(r, i, k, n, 0);
        }
    }

    send_bytes(r, 0, 0, 0, r->out.len - from);
}


/* The step loop has let go of a group; the last one ends the request. */

static void
back_gone(prompt_t *p)
{
    req_t *r = p->req;

    p->gone = 1;

    if (--r->groups > 0) {
        return;
    }

    if (r->outcome == LLM_END_DONE && r->n_finished < r->n_choices) {
        if (r->phase != PHASE_RUN) {
            return;
        }

        r->groups = 0;
        req_fail(r);
        return;
    }

    if (r->outcome == LLM_END_DONE && r->out.failed) {
        r->groups = 0;
        gen_error(&r->error, 500, NULL, NULL, "The server ran out of memory.");
        req_fail(r);
        return;
    }

    req_finish(r);
}
