/*
 * A request's life on the io thread: from its last byte of body to its END.
 *
 * Every way out ends in req_finish(): it queues HEAD, bytes and END.  A
 * request whose connection is gone has nobody to tell and only waits for the
 * threads that still hold it.  req_release() frees it once nobody does.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/serve/serve.h"

static int      req_local(req_t *r);
static void     req_admit(req_t *r);
static int      req_run(req_t *r);
static void     req_reply(req_t *r);
static void     req_park(req_t *r);
static void     req_wait(req_t *r, int phase);
static void     req_unwait(req_t *r);
static void     req_count(req_t *r, int on);
static void     req_body_drop(req_t *r);
static int      req_overdue(req_t *r, uint64_t now_ns);
static void     req_groups_cancel(req_t *r);
static uint64_t req_deadline(const req_t *r, uint32_t ms);


req_t *
req_new(conn_t *c, uint32_t slot, uint32_t gen)
{
    req_t *r;

    r = calloc(1, sizeof(req_t));
    if (r == NULL) {
        return NULL;
    }

    r->conn = r->owner = c;
    r->serve = c->serve;
    r->slot = slot;
    r->gen = gen;
    r->phase = PHASE_BODY;
    r->arrived_ns = llm_now_ns();
    c->serve->live++;
    req_count(r, 1);

    return r;
}


/* Counts it among those that wait for the step loop. */

static void
req_count(req_t *r, int on)
{
    if (r->counted != on) {
        r->counted = on;
        r->serve->waiting += on ? 1 : -1u;
    }
}


static uint64_t
req_deadline(const req_t *r, uint32_t ms)
{
    return ms ? r->arrived_ns + ms * 1000000ull : 0;
}


/* SUBMIT came: what cannot be taken is said before its body is read. */

void
req_start(req_t *r)
{
    serve_t *s = r->serve;
    uint64_t len = r->submit.body_len;
    int      local;

    if (len > SERVE_BODY_MAX) {
        gen_error(&r->error, 413, NULL, NULL,
                  "The request's body of %llu bytes is larger than %u.",
                  (unsigned long long) len, SERVE_BODY_MAX);
        req_fail(r);
        return;
    }

    local = r->submit.op == LLM_OP_METRICS || r->submit.op == LLM_OP_MODELS;

    if ((!local && s->waiting > s->opt.queue)
        || s->bodies + len > SERVE_BODIES_MAX) {
        gen_error(&r->error, 503, "server_is_overloaded", NULL,
                  "The server is overloaded: %u requests wait already.",
                  s->waiting - 1);
        r->error.retry_ms = 1000;
        req_fail(r);
        return;
    }

    r->held = len;
    s->bodies += len;

    if (len) {
        req_wait(r, PHASE_BODY);
    } else {
        req_body_done(r);
    }
}


void
req_body_done(req_t *r)
{
    req_unwait(r);

    if (!req_local(r)) {
        r->phase = PHASE_FRONT;
        front_push(r->serve, r);
    }
}


/* The body is not wanted any more. */

static void
req_body_drop(req_t *r)
{
    buf_free(&r->body);
    r->serve->bodies -= r->held;
    r->held = 0;
}


/* Among those that no thread has: their deadlines are ours to see. */

static void
req_wait(req_t *r, int phase)
{
    serve_t *s = r->serve;

    r->phase = phase;
    r->in_waits = 1;
    r->wait_prev = NULL;
    r->wait_next = s->waits;

    if (s->waits) {
        s->waits->wait_prev = r;
    }

    s->waits = r;
}


static void
req_unwait(req_t *r)
{
    if (!r->in_waits) {
        return;
    }

    r->in_waits = 0;

    if (r->wait_prev) {
        r->wait_prev->wait_next = r->wait_next;
    } else {
        r->serve->waits = r->wait_next;
    }

    if (r->wait_next) {
        r->wait_next->wait_prev = r->wait_prev;
    }
}


/* Beyond one of SUBMIT's limits, before the step loop has it: says so. */

static int
req_overdue(req_t *r, uint64_t now_ns)
{
    uint32_t i;
    struct {
        uint32_t    ms;
        int         status;
        const char *message;
    } limits[] = {
        {r->submit.request_ms, 504, "The request took too long."},
        {r->submit.first_token_ms, 504, "The first token took too long."},
        {r->submit.queue_ms, 503, "The request waited too long in the queue."}};

    for (i = 0; i < llm_countof(limits); i++) {
        if (limits[i].ms == 0 || now_ns < req_deadline(r, limits[i].ms)) {
            continue;
        }

        gen_error(&r->error, limits[i].status, NULL, NULL, "%s",
                  limits[i].message);
        r->error.no_retry = limits[i].status == 504;
        r->error.retry_ms = limits[i].status == 503 ? 1000 : 0;

        return 1;
    }

    return 0;
}


/* What the io thread answers itself: 1 if it did. */

static int
req_local(req_t *r)
{
    api_model_t *list;
    size_t       n, i;

    if (r->submit.op == LLM_OP_METRICS) {
        metrics_write(r->serve, &r->reply);
        r->kind = LLM_KIND_TEXT;

    } else if (r->submit.op == LLM_OP_MODELS) {
        n = models_list(r->conn, NULL, 0);
        list = calloc(n + 1, sizeof(api_model_t));
        if (list == NULL) {
            r->reply.failed = 1;
            n = 0;
        } else {
            n = models_list(r->conn, list, n);
        }

        r->kind = LLM_KIND_JSON;

        if (r->model_arg.len == 0) {
            api_models_write(list, n, &r->reply);

        } else {
            for (i = 0; i < n && !str_eq(list[i].id, r->model_arg); i++) {
                /* void */
            }

            if (i < n) {
                api_model_write(&list[i], &r->reply);
            } else {
                gen_error(&r->error, 404, "model_not_found", "model",
                          "The model '%.*s' does not exist",
                          (int) (r->model_arg.len > 128 ? 128
                                                        : r->model_arg.len),
                          r->model_arg.s);
                r->rc = -ENOENT;
            }
        }

        free(list);

    } else {
        return 0;
    }

    if (r->rc < 0) {
        req_fail(r);
    } else {
        req_reply(r);
    }

    return 1;
}


/* r->reply is the whole answer. */

static void
req_reply(req_t *r)
{
    if (r->reply.failed) {
        gen_error(&r->error, 500, NULL, NULL, "The server ran out of memory.");
        req_fail(r);
        return;
    }

    buf_free(&r->out);
    r->out = r->reply;
    r->reply = (buf_t){0};
    r->status = 200;
    send_bytes(r, 0, 0, 0, r->out.len);
    req_finish(r);
}


/* A front thread is done with it. */

void
req_front_done(req_t *r)
{
    r->owner->fronts--;

    if (r->rc != -EAGAIN) {
        req_body_drop(r);
    }

    if (atomic_load(&r->cancelled) || r->conn == NULL) {
        r->outcome = LLM_END_CANCELLED;
        req_finish(r);
        return;
    }

    if ((r->rc == 0 || r->rc == -EAGAIN) && req_overdue(r, llm_now_ns())) {
        req_fail(r);
        return;
    }

    if (r->rc == -EAGAIN) {
        req_park(r);
        return;
    }

    if (r->rc < 0) {
        req_fail(r);
        return;
    }

    if (r->submit.op == LLM_OP_TOKENIZE || r->submit.op == LLM_OP_DETOKENIZE) {
        r->kind = LLM_KIND_JSON;
        req_reply(r);
        return;
    }

    req_admit(r);
}


/* Its model is loading: it waits a little, then is 503. */

static void
req_park(req_t *r)
{
    if (r->parked_ns == 0) {
        r->parked_ns = req_deadline(r, r->serve->opt.load_wait_ms);
    }

    req_wait(r, PHASE_PARKED);
}


/* Those that wait: their time is up; or the model is there, and they go on. */

void
req_expire(serve_t *s, uint64_t now_ns)
{
    req_t *r, *next;

    for (r = s->waits; r; r = next) {
        next = r->wait_next;

        if (req_overdue(r, now_ns)) {
            req_fail(r);
            continue;
        }

        if (r->phase != PHASE_PARKED
            || (r->version && atomic_load(&r->version->state) == VERSION_LOADING
                && now_ns < r->parked_ns)) {
            continue;
        }

        req_unwait(r);

        if (now_ns >= r->parked_ns) {
            gen_error(&r->error, 503, "model_loading", NULL,
                      "The model is loading. Please try again later.");
            r->error.retry_ms = 2000;
            req_fail(r);
            continue;
        }

        if (r->version) {
            models_release(r->version);
            r->version = NULL;
        }

        r->rc = 0;
        r->phase = PHASE_FRONT;
        front_push(s, r);
    }
}


static void
req_admit(req_t *r)
{
    r->need_admit = 1;

    if (r->submit.flags & LLM_SUBMIT_RESERVE) {
        req_wait(r, PHASE_GO);
        send_due(r);
        return;
    }

    req_go(r);
}


/* Nothing stands in its way: to the step loop. */

void
req_go(req_t *r)
{
    int rc;

    req_unwait(r);

    rc = back_begin(r);
    if (rc == 0) {
        rc = req_run(r);
    }

    if (rc == 0) {
        req_count(r, 0);
        send_due(r);
        return;
    }

    if (rc == -EAGAIN) {
        gen_error(&r->error, 503, "server_is_overloaded", NULL,
                  "The server is overloaded: its queue is full.");
        r->error.retry_ms = 1000;

    } else if (rc == -E2BIG) {
        gen_error(&r->error, 400, "context_length_exceeded",
                  r->request.kind == GEN_CHAT ? "messages" : "prompt",
                  "The prompt's %u tokens do not fit the server's KV cache",
                  r->prompt_tokens);

    } else if (rc == -ESHUTDOWN) {
        gen_error(&r->error, 503, NULL, NULL, "The model is being replaced.");
        r->error.retry_ms = 1000;

    } else {
        log_error("request %.32s: the step loop refused it: %s", r->id,
                  strerror(-rc));
        gen_error(&r->error, 500, NULL, NULL,
                  rc == -ENOMEM ? "The server ran out of memory."
                                : "Internal server error.");
    }

    req_fail(r);
}


static int
req_run(req_t *r)
{
    uint32_t i;
    int      rc;

    r->phase = PHASE_RUN;
    r->status = 200;
    r->kind = r->request.stream ? LLM_KIND_SSE : LLM_KIND_JSON;

    for (i = 0; i < r->n_prompts; i++) {
        prompt_t *p = &r->prompts[i];

        p->group.queue_ns = req_deadline(r, r->submit.queue_ms);
        p->group.first_ns = req_deadline(r, r->submit.first_token_ms);
        p->group.done_ns = req_deadline(r, r->submit.request_ms);

        rc = sched_submit(r->serve->sched, &p->group);
        if (rc < 0) {
            return rc;
        }

        p->submitted = 1;
        r->groups++;
    }

    if (r->request.stream) {
        r->need_head = 1;
    }

    return 0;
}


static void
req_groups_cancel(req_t *r)
{
    uint32_t i;

    for (i = 0; r->prompts && i < r->n_prompts; i++) {
        if (r->prompts[i].submitted && !r->prompts[i].gone) {
            sched_cancel(r->serve->sched, &r->prompts[i].group);
        }
    }
}


void
req_cancel(req_t *r)
{
    atomic_store(&r->cancelled, 1);

    switch (r->phase) {

    case PHASE_FRONT:
        return; /* req_front_done() sees it */

    case PHASE_RUN:
        r->outcome = LLM_END_CANCELLED;
        req_groups_cancel(r);

        if (r->groups) {
            return; /* the last GONE finishes it */
        }
        break;

    case PHASE_END:
        if (r->conn == NULL) {
            req_release(r);
            return;
        }

        /* Nobody reads the rest; the answer is whole if there is none. */
        if (r->seg_first < r->n_segs) {
            r->outcome = LLM_END_CANCELLED;
            r->need_head = 0;
            r->out_sent = r->out.len;
            r->seg_first = r->n_segs;
            send_due(r);
        }
        return;

    default:
        break;
    }

    r->outcome = LLM_END_CANCELLED;
    req_finish(r);
}


/* Ends with r->error: as a response, or as an event in a started stream. */

void
req_fail(req_t *r)
{
    size_t from;

    req_unwait(r);

    if (r->error.status == 0) {
        gen_error(&r->error, 500, NULL, NULL, "Internal server error.");
    }

    r->out.failed = 0;
    from = r->out.len;

    r->outcome = r->error.status == 504 ? LLM_END_TIMEOUT : LLM_END_ERROR;

    if (r->head_sent) {
        api_error_event(&r->error, &r->out);
        send_bytes(r, 0, 0, 0, r->out.len - from);

    } else {
        /* Whatever was written for a 200 is not wanted. */
        buf_reset(&r->out);
        r->n_segs = r->seg_first = r->seg_sent = 0;
        r->out_sent = 0;
        r->need_head = r->need_admit = 0;
        r->status = r->error.status;
        r->kind = LLM_KIND_JSON;
        api_error_write(&r->error, &r->out);
        send_bytes(r, 0, 0, 0, r->out.len);
    }

    if (r->groups) {
        req_groups_cancel(r); /* the last GONE finishes it */
    } else {
        req_finish(r);
    }
}


/* All is written: HEAD if it has not gone, what is left of `out`, END. */

void
req_finish(req_t *r)
{
    req_unwait(r);
    req_count(r, 0);
    req_body_drop(r);
    r->phase = PHASE_END;

    if (r->has_request || r->outcome != LLM_END_DONE) {
        metrics_request(r->serve, r, llm_now_ns());
    }

    if (r->conn == NULL) {
        req_release(r);
        return;
    }

    if (r->outcome == LLM_END_CANCELLED) {
        r->need_head = r->need_admit = 0;
        r->seg_first = r->n_segs;
        r->out_sent = r->out.len;

    } else if (!r->head_sent) {
        r->need_head = 1;
    }

    r->need_end = 1;
    send_due(r);
}


void
req_release(req_t *r)
{
    conn_t *c = r->conn;

    if (c) {
        send_forget(r);

        if (c->slots && c->slots[r->slot] == r) {
            c->slots[r->slot] = NULL;
            c->in_flight--;
        }
    }

    req_unwait(r);
    req_count(r, 0);
    req_body_drop(r);
    back_free(r);
    api_writer_free(r->writer);

    if (r->has_request) {
        api_request_free(&r->request);
    }

    if (r->version) {
        models_release(r->version);
    }

    grammar_release(r->grammar);
    buf_free(&r->grammar_key);
    free(r->think_end);
    buf_free(&r->reply);
    buf_free(&r->out);
    free(r->segs);
    free(r->bias);
    r->serve->live--;
    free(r);
}
