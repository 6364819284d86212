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
static void     req_park(req_t *r);
static void     req_unpark(req_t *r);
static void     req_count(req_t *r, int on);
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


void
req_body_done(req_t *r)
{
    if (req_local(r)) {
        return;
    }

    if (r->serve->waiting > r->serve->opt.queue) {
        gen_error(&r->error, 503, "server_is_overloaded", NULL,
                  "The server is overloaded: %u requests wait already.",
                  r->serve->waiting - 1);
        r->error.retry_ms = 1000;
        req_fail(r);
        return;
    }

    r->phase = PHASE_FRONT;
    front_push(r->serve, r);
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
            models_list(r->conn, list, n);
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
                          (int) r->model_arg.len, r->model_arg.s);
                r->rc = -ENOENT;
            }
        }

        free(list);

    } else {
        return 0;
    }

    if (r->rc < 0) {
        req_fail(r);
        return 1;
    }

    r->status = 200;
    send_bytes(r, 0, 0, 0, r->reply.len);
    buf_add(&r->out, r->reply.data, r->reply.len);
    req_finish(r);

    return 1;
}


/* A front thread is done with it. */

void
req_front_done(req_t *r)
{
    r->owner->fronts--;

    if (r->rc != -EAGAIN) {
        buf_free(&r->body);
    }

    if (atomic_load(&r->cancelled) || r->conn == NULL) {
        r->outcome = LLM_END_CANCELLED;
        req_finish(r);
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

    if (r->reply.len > 0) {
        r->status = 200;
        r->kind = LLM_KIND_JSON;
        send_bytes(r, 0, 0, 0, r->reply.len);
        buf_add(&r->out, r->reply.data, r->reply.len);
        req_finish(r);
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

    r->phase = PHASE_PARKED;
    r->next = r->serve->parked;
    r->serve->parked = r;
}


static void
req_unpark(req_t *r)
{
    req_t **p;

    for (p = &r->serve->parked; *p; p = &(*p)->next) {
        if (*p == r) {
            *p = r->next;
            r->next = NULL;
            return;
        }
    }
}


/* Parked requests try again, or their time is up. */

void
req_expire(serve_t *s, uint64_t now_ns)
{
    req_t *r, *next;

    for (r = s->parked; r; r = next) {
        next = r->next;

        if (r->version && atomic_load(&r->version->state) == VERSION_LOADING
            && now_ns < r->parked_ns) {
            continue;
        }

        req_unpark(r);

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
        r->phase = PHASE_GO;
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

    } else {
        gen_error(&r->error, rc == -ESHUTDOWN ? 503 : 500, NULL, NULL,
                  rc == -ESHUTDOWN ? "The model is being replaced."
                                   : "The server ran out of memory.");
        r->error.retry_ms = rc == -ESHUTDOWN ? 1000 : 0;
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


void
req_cancel(req_t *r)
{
    uint32_t i;

    atomic_store(&r->cancelled, 1);

    switch (r->phase) {

    case PHASE_FRONT:
        return; /* req_front_done() sees it */

    case PHASE_PARKED:
        req_unpark(r);
        break;

    case PHASE_RUN:
        r->outcome = LLM_END_CANCELLED;

        for (i = 0; i < r->n_prompts; i++) {
            if (r->prompts[i].submitted && !r->prompts[i].gone) {
                sched_cancel(r->serve->sched, &r->prompts[i].group);
            }
        }

        if (r->groups) {
            return; /* the last GONE finishes it */
        }
        break;

    case PHASE_END:
        if (r->conn == NULL) {
            req_release(r);
            return;
        }

        /* Nobody reads the rest. */
        r->credit = UINT32_MAX;
        r->out_sent = r->out.len;
        r->seg_first = r->n_segs;
        send_due(r);
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
    size_t   from = r->out.len;
    uint32_t i;

    if (r->error.status == 0) {
        gen_error(&r->error, 500, NULL, NULL, "Internal server error.");
    }

    r->outcome = r->error.status == 504 ? LLM_END_TIMEOUT : LLM_END_ERROR;

    if (r->head_sent) {
        api_error_event(&r->error, &r->out);
        send_bytes(r, 0, 0, 0, r->out.len - from);

    } else {
        /* Whatever was written for a 200 is not wanted. */
        buf_reset(&r->out);
        r->n_segs = r->seg_first = r->seg_sent = 0;
        r->out_sent = 0;
        r->need_head = 0;
        r->status = r->error.status;
        r->kind = LLM_KIND_JSON;
        api_error_write(&r->error, &r->out);
        send_bytes(r, 0, 0, 0, r->out.len);
    }

    for (i = 0; r->prompts && i < r->n_prompts; i++) {
        if (r->prompts[i].submitted && !r->prompts[i].gone) {
            sched_cancel(r->serve->sched, &r->prompts[i].group);
        }
    }

    if (r->groups == 0) {
        req_finish(r);
    }
}


/* All is written: HEAD if it has not gone, what is left of `out`, END. */

void
req_finish(req_t *r)
{
    req_count(r, 0);
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

    req_count(r, 0);
    back_free(r);
    api_writer_free(r->writer);

    if (r->has_request) {
        api_request_free(&r->request);
    }

    if (r->version) {
        models_release(r->version);
    }

    buf_free(&r->body);
    buf_free(&r->reply);
    buf_free(&r->out);
    free(r->segs);
    free(r->bias);
    r->serve->live--;
    free(r);
}
