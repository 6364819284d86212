/*
 * Requests' output into the completion ring.  io thread.
 *
 * Requests of a connection that have something to send stand in a list and
 * take turns, so that a large answer does not hold up small ones.  A request
 * out of credit leaves the list until CREDIT comes; a full ring leaves the
 * list as it is until the worker's doorbell says that there is room.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/serve/serve.h"

/* Bytes of one DATA at most: the fairness between requests. */
#define SEND_PIECE 16384

static uint32_t send_piece(conn_t *c);

static int  send_turn(req_t *r);
static int  send_admit(req_t *r);
static int  send_head(req_t *r);
static int  send_data(req_t *r);
static int  send_end(req_t *r);
static int  send_state(conn_t *c);
static void send_pressure(req_t *r);


/* The same, for rings whose largest record is smaller. */

static uint32_t
send_piece(conn_t *c)
{
    uint32_t max = llm_ring_payload_max(&c->ipc.tx);

    max -= (uint32_t) sizeof(llm_data_t) + LLM_DATA_TOKENS * sizeof(int32_t);

    return max < SEND_PIECE ? max : SEND_PIECE;
}


/*
 * Notes that the next n_bytes appended to r->out (or just appended) belong to
 * these tokens of a choice.  Runs of one choice become one segment.
 */

void
send_bytes(req_t *r, uint32_t choice, uint32_t token_first, uint32_t n_tokens,
           size_t n_bytes)
{
    seg_t   *s, *segs;
    uint32_t cap;

    if (n_bytes == 0 && n_tokens == 0) {
        return;
    }

    if (r->n_segs > r->seg_first) {
        s = &r->segs[r->n_segs - 1];

        if (s->choice == choice && r->n_segs - 1 > r->seg_first
            && s->n_tokens + n_tokens <= LLM_DATA_TOKENS
            && s->n_bytes + n_bytes <= SEND_PIECE
            && (n_tokens == 0 || s->n_tokens == 0
                || s->token_first + s->n_tokens == token_first)) {
            if (s->n_tokens == 0) {
                s->token_first = token_first;
            }

            s->n_tokens += n_tokens;
            s->n_bytes += (uint32_t) n_bytes;
            return;
        }
    }

    if (r->n_segs == r->cap_segs) {
        if (r->seg_first > r->n_segs / 2) {
            memmove(r->segs, r->segs + r->seg_first,
                    (r->n_segs - r->seg_first) * sizeof(seg_t));
            r->n_segs -= r->seg_first;
            r->seg_first = 0;

        } else {
            cap = r->cap_segs ? r->cap_segs * 2 : 16;
            segs = realloc(r->segs, cap * sizeof(seg_t));
            if (segs == NULL) {
                r->out.failed = 1;
                return;
            }

            r->segs = segs;
            r->cap_segs = cap;
        }
    }

    r->segs[r->n_segs++] = (seg_t){.choice = choice,
                                   .token_first = token_first,
                                   .n_tokens = n_tokens,
                                   .n_bytes = (uint32_t) n_bytes};
}


/* The request may have something to send: into the list. */

void
send_due(req_t *r)
{
    conn_t *c = r->conn;

    if (c == NULL || r->in_out) {
        return;
    }

    r->in_out = 1;
    r->out_next = NULL;
    *c->out_tail = r;
    c->out_tail = &r->out_next;
}


void
send_forget(req_t *r)
{
    conn_t *c = r->conn;
    req_t **p;

    if (c == NULL || !r->in_out) {
        return;
    }

    for (p = &c->out_head; *p; p = &(*p)->out_next) {
        if (*p == r) {
            *p = r->out_next;
            break;
        }
    }

    if (c->out_head == NULL || r->out_next == NULL) {
        for (p = &c->out_head; *p; p = &(*p)->out_next) {
            /* void */
        }

        c->out_tail = p;
    }

    r->in_out = 0;
}


/* All of a connection that dies. */

void
send_forget_all(conn_t *c)
{
    req_t *r;

    for (r = c->out_head; r; r = r->out_next) {
        r->in_out = 0;
    }

    c->out_head = NULL;
    c->out_tail = &c->out_head;
}


/* Everybody's turn until nothing is left or the ring is full. */

void
send_all(conn_t *c)
{
    req_t *r;
    int    rc;

    if (!c->connected || c->dead) {
        return;
    }

    while (c->state_due || c->state_sent < c->state.len) {
        rc = send_state(c);
        if (rc < 0) {
            if (rc != -EAGAIN) {
                conn_kill(c, "the completion ring is broken", rc);
            }
            return;
        }
    }

    while ((r = c->out_head) != NULL) {
        rc = send_turn(r);

        if (rc == -EAGAIN) {
            /* A worker that does not read holds up its own requests. */
            for (; r; r = r->out_next) {
                send_pressure(r);
            }
            return;
        }

        if (rc < 0) {
            conn_kill(c, "the completion ring is broken", rc);
            return;
        }

        c->out_head = r->out_next;
        if (c->out_head == NULL) {
            c->out_tail = &c->out_head;
        }
        r->in_out = 0;

        if (rc == 2) {
            req_release(r);

        } else if (rc == 1) {
            send_due(r); /* behind the others */

        } else {
            send_pressure(r);
        }
    }
}


/* All connections: at the end of the loop's turn, one doorbell each. */

void
send_flush(serve_t *s)
{
    conn_t *c;

    for (c = s->conns; c; c = c->next) {
        if (!c->connected || c->dead) {
            continue;
        }

        send_all(c);

        if (c->dead) {
            continue;
        }

        if (llm_ring_flush(&c->ipc.tx) || c->ring_due) {
            c->ring_due = 0;
            llm_ipc_ring(&c->ipc);
        }
    }
}


/*
 * One piece of one request.  1: there may be more, 0: nothing more for now,
 * 2: END went, it is over; -EAGAIN: the ring is full.
 */

static int
send_turn(req_t *r)
{
    if (r->need_admit) {
        LLM_TRY(send_admit(r));
        r->need_admit = 0;
    }

    if (r->need_head) {
        LLM_TRY(send_head(r));
        r->need_head = 0;
        r->head_sent = 1;
    }

    if (r->head_sent && r->seg_first < r->n_segs) {
        return send_data(r);
    }

    if (r->need_end) {
        LLM_TRY(send_end(r));
        return 2;
    }

    return 0;
}


static int
send_admit(req_t *r)
{
    llm_rec_str_t model = {r->model_name.s, (uint32_t) r->model_name.len};
    llm_admit_t   a = {0};

    memcpy(a.fingerprint, r->version->model->fingerprint,
           sizeof(a.fingerprint));
    a.prompt_tokens = r->prompt_tokens;
    a.max_tokens = r->most_tokens;
    a.choices = r->n_choices;
    a.stream = (uint8_t) r->request.stream;

    return llm_rec_admit_write(&r->conn->ipc.tx, r->slot, r->gen, &a, &model);
}


static int
send_head(req_t *r)
{
    llm_head_t head = {.status = (uint16_t) r->status,
                       .kind = (uint8_t) r->kind,
                       .no_retry = (uint8_t) r->error.no_retry,
                       .retry_ms = r->error.retry_ms};

    return llm_rec_head_write(&r->conn->ipc.tx, r->slot, r->gen, &head);
}


static int
send_data(req_t *r)
{
    seg_t         *s = &r->segs[r->seg_first];
    llm_data_t     d = {.choice = (uint16_t) s->choice};
    const int32_t *ids = NULL;
    uint32_t       n, piece = send_piece(r->conn);

    n = s->n_bytes - r->seg_sent;

    if (n > piece) {
        n = piece;
    }

    if (n > r->credit) {
        if (r->credit == 0) {
            return 0; /* until CREDIT comes */
        }

        n = (uint32_t) r->credit;
    }

    d.n_bytes = n;

    if (r->seg_sent + n == s->n_bytes) {
        d.flags = r->kind == LLM_KIND_SSE ? LLM_DATA_BOUNDARY : 0;

        if (s->n_tokens) {
            d.token_first = s->token_first;
            d.n_tokens = s->n_tokens;
            ids = r->choices[s->choice].ids + s->token_first;
        }
    }

    LLM_TRY(llm_rec_data_write(&r->conn->ipc.tx, r->slot, r->gen, &d, ids,
                               r->out.data + r->out_sent));

    r->credit -= n;
    r->out_sent += n;
    r->seg_sent += n;

    if (r->seg_sent == s->n_bytes) {
        r->seg_first++;
        r->seg_sent = 0;
    }

    if (r->out_sent == r->out.len) {
        r->out.len = 0; /* not buf_reset(): a failure is to be seen */
        r->out_sent = 0;
    }

    return 1;
}


static int
send_end(req_t *r)
{
    llm_rec_str_t str[LLM_REC_END_STRINGS] = {{"", 0}, {"", 0}, {"", 0}};
    llm_end_t     e = {0};
    uint64_t      now = llm_now_ns();
    const char   *error;

    e.outcome = (uint16_t) r->outcome;
    e.finish = (uint16_t) r->finish;
    e.status = (uint16_t) r->status;
    e.prompt_tokens = r->prompt_tokens;
    e.cached_tokens = r->usage.cached_tokens;
    e.completion_tokens = r->usage.completion_tokens;
    e.reasoning_tokens = r->usage.reasoning_tokens;
    e.tool_calls =
        (uint16_t) (r->n_calls < UINT16_MAX ? r->n_calls : UINT16_MAX);
    e.total_us = (now - r->arrived_ns) / 1000;

    if (r->start_ns) {
        e.queue_us = (r->start_ns - r->arrived_ns) / 1000;
    }

    if (r->first_ns) {
        e.prefill_us = (r->first_ns - r->start_ns) / 1000;
        e.decode_us = (r->last_ns - r->first_ns) / 1000;
        e.first_us = (r->first_ns - r->arrived_ns) / 1000;
    }

    if (r->has_request) {
        e.stream = (uint16_t) r->request.stream;
        e.tool_count = r->request.n_offers;
        str[1] =
            (llm_rec_str_t){r->request.user.s, (uint32_t) r->request.user.len};
        str[2] = (llm_rec_str_t){r->request.model.s,
                                 (uint32_t) r->request.model.len};
    }

    error = r->error.code ? r->error.code : r->error.type;
    if (r->outcome != LLM_END_CANCELLED && error) {
        str[0] = (llm_rec_str_t){error, (uint32_t) strlen(error)};
    }

    if (str[1].len > LLM_STRING_MAX) {
        str[1].len = LLM_STRING_MAX;
    }
    if (str[2].len > LLM_STRING_MAX) {
        str[2].len = LLM_STRING_MAX;
    }

    return llm_rec_end_write(&r->conn->ipc.tx, r->slot, r->gen, &e, str);
}


/* MODEL_STATE in pieces; a newer one waits until the last has gone whole. */

static int
send_state(conn_t *c)
{
    uint32_t n, piece = send_piece(c);
    size_t   left;
    int      rc;

    if (c->state_sent == c->state.len) {
        buf_reset(&c->state);
        c->state_sent = 0;
        c->state_due = 0;
        models_state(c, &c->state);

        if (c->state.failed) {
            return -ENOMEM;
        }
    }

    while ((left = c->state.len - c->state_sent) > 0) {
        n = left > piece ? piece : (uint32_t) left;

        rc = llm_ring_write(&c->ipc.tx, LLM_REC_MODEL_STATE,
                            n < left ? LLM_REC_MORE : 0, LLM_SLOT_NONE, 0,
                            c->state.data + c->state_sent, n, NULL, 0);
        if (rc < 0) {
            return rc;
        }

        c->state_sent += n;
    }

    return 0;
}


/* A slow reader's sequences rest until its buffer has drained. */

static void
send_pressure(req_t *r)
{
    size_t   left = r->out.len - r->out_sent;
    uint32_t i;
    int      pause;

    if (r->phase != PHASE_RUN || !r->request.stream) {
        return;
    }

    pause = r->paused ? left > 0 : left > SERVE_PAUSE_AT;
    if (pause == r->paused) {
        return;
    }

    r->paused = pause;

    for (i = 0; i < r->n_prompts; i++) {
        if (!r->prompts[i].submitted || r->prompts[i].gone) {
            continue;
        }

        if (pause) {
            sched_pause(r->serve->sched, &r->prompts[i].group);
        } else {
            sched_resume(r->serve->sched, &r->prompts[i].group);
        }
    }
}
