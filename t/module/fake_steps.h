/*
 * The fake engine's scripts: each step is one function, which says whether
 * the next one may run (STEP_NEXT), whether it has to be called again
 * (STEP_WAIT) or whether the request is no more (STEP_GONE). Part of
 * fake_engine.c, which lists the steps.
 */

#ifndef FAKE_STEPS_H
#define FAKE_STEPS_H

#include "fake_engine.h"

/* Every record goes out through here: 0, or -EAGAIN to be tried again. */

static int
rec_write(fe_req_t *q, uint8_t type, const void *fixed, uint32_t fixed_len,
          const void *rest, uint32_t rest_len)
{
    return llm_ring_write(&q->conn->ipc.tx, type, 0, q->slot, q->gen, fixed,
                          fixed_len, rest, rest_len);
}


static void
req_free(fe_req_t *q)
{
    free(q->model);
    free(q->tenant);
    free(q->salt);
    free(q->request_id);
    free(q->body);
    free(q->out);
    json_decref(q->root);

    q->model = q->tenant = q->salt = q->request_id = q->out = NULL;
    q->body = NULL;
    q->root = q->script = NULL;
    q->used = 0;
}


/*
 * Sends what waits in q->out, as far as credit and the ring's space reach.
 * Token ids go with the first part, the boundary with the last.
 */

static int
out_send(fe_req_t *q)
{
    int        rc;
    size_t     n, left, max;
    uint32_t   i, n_tokens;
    uint8_t   *p;
    llm_data_t d;

    while (q->out != NULL) {
        left = q->out_len - q->out_off;
        max = llm_ring_payload_max(&q->conn->ipc.tx) - 4 * LLM_DATA_TOKENS;
        n = left > max / 2 ? max / 2 : left;
        n = n > q->credit ? (size_t) q->credit : n;

        if (n == 0 && left != 0) {
            return -EAGAIN;
        }

        n_tokens = q->out_tokens;
        memset(&d, 0, sizeof(d));
        d.token_first = q->tokens;
        d.n_tokens = n_tokens;
        d.n_bytes = (uint32_t) n;
        d.flags = n == left && q->out_boundary ? LLM_DATA_BOUNDARY : 0;

        rc = llm_ring_reserve(&q->conn->ipc.tx, LLM_REC_DATA,
                              (uint32_t) (sizeof(d) + 4 * n_tokens + n), &p);
        if (rc != 0) {
            if (rc != -EAGAIN) {
                fault("cannot write DATA: %s", strerror(-rc));
            }
            return rc;
        }

        memcpy(p, &d, sizeof(d));
        for (i = 0; i < n_tokens; i++) {
            int32_t id = (int32_t) (q->tokens + i);
            memcpy(p + sizeof(d) + 4 * i, &id, 4);
        }
        memcpy(p + sizeof(d) + 4 * n_tokens, q->out + q->out_off, n);
        llm_ring_commit(&q->conn->ipc.tx, LLM_REC_DATA, 0, q->slot, q->gen,
                        (uint32_t) (sizeof(d) + 4 * n_tokens + n));

        q->tokens += n_tokens;
        q->out_tokens = 0;
        q->out_off += n;
        q->credit -= n;

        if (q->out_off == q->out_len) {
            free(q->out);
            q->out = NULL;
        }
    }

    return 0;
}


static void
out_set(fe_req_t *q, const char *text, size_t len, uint32_t tokens,
        unsigned boundary)
{
    q->out = malloc(len + 1);
    memcpy(q->out, text, len);
    q->out_len = len;
    q->out_off = 0;
    q->out_tokens = tokens;
    q->out_boundary = boundary ? 1 : 0;
}


static int
step_admit(fe_req_t *q, json_t *opts)
{
    llm_admit_t a;
    const char *model;

    if (!q->admitted) {
        model = opt_str(opts, "model", q->model[0] ? q->model : "fake");
        memset(&a, 0, sizeof(a));
        memset(a.fingerprint, 0xab, sizeof(a.fingerprint));
        a.prompt_tokens = (uint32_t) opt_int(opts, "prompt", 5);
        a.cached_tokens = (uint32_t) opt_int(opts, "cached", 2);
        a.max_tokens = (uint32_t) opt_int(opts, "max", 16);
        a.choices = (uint32_t) opt_int(opts, "choices", 1);
        a.model_len = (uint16_t) strlen(model);
        q->stream = opt_int(opts, "stream", q->stream) ? 1 : 0;
        a.stream = q->stream;

        if (rec_write(q, LLM_REC_ADMIT, &a, sizeof(a), model, a.model_len)
            != 0) {
            return STEP_WAIT;
        }
        q->admitted = 1;
    }

    if ((q->sub.flags & LLM_SUBMIT_RESERVE) && !q->go) {
        return STEP_WAIT;
    }

    return STEP_NEXT;
}


static const char *const kinds[] = {"none", "json", "sse", "text", NULL};


static int
step_head(fe_req_t *q, long status, const char *kind, json_t *opts)
{
    llm_head_t h;

    memset(&h, 0, sizeof(h));
    h.status = (uint16_t) status;
    h.kind = (uint8_t) word_index(kinds, kind, LLM_KIND_JSON);
    h.no_retry = (uint8_t) opt_int(opts, "no_retry", 0);
    h.retry_ms = (uint32_t) opt_int(opts, "retry_ms", 0);

    if (rec_write(q, LLM_REC_HEAD, &h, sizeof(h), NULL, 0) != 0) {
        return STEP_WAIT;
    }

    q->headed = 1;
    q->status = h.status;
    return STEP_NEXT;
}


static const char *const outcomes[] = {"done", "error", "cancelled", "timeout",
                                       NULL};
static const char *const finishes[] = {"none",       "stop",           "length",
                                       "tool_calls", "content_filter", NULL};


static int
step_end(fe_req_t *q, json_t *opts)
{
    char        strings[3072];
    llm_end_t   e;
    const char *error, *user, *asked;

    error = opt_str(opts, "error", "");
    user = opt_str(opts, "user", opt_str(q->root, "user", ""));
    asked = opt_str(opts, "asked", opt_str(q->root, "model", ""));

    memset(&e, 0, sizeof(e));
    e.outcome =
        (uint16_t) word_index(outcomes, opt_str(opts, "outcome", "done"),
                              LLM_END_DONE);
    e.finish = (uint16_t) word_index(finishes, opt_str(opts, "finish", "stop"),
                                     LLM_FINISH_STOP);
    e.status = (uint16_t) opt_int(opts, "status", q->status);
    e.prompt_tokens = (uint32_t) opt_int(opts, "prompt", 5);
    e.cached_tokens = (uint32_t) opt_int(opts, "cached", 2);
    e.completion_tokens = (uint32_t) opt_int(opts, "completion", q->tokens);
    e.reasoning_tokens = (uint32_t) opt_int(opts, "reasoning", 0);
    e.tool_calls = (uint16_t) opt_int(opts, "tool_calls", 0);
    e.tool_count = (uint32_t) opt_int(opts, "tool_count", 0);
    e.queue_us = (uint64_t) opt_int(opts, "queue_us", 1000);
    e.prefill_us = (uint64_t) opt_int(opts, "prefill_us", 2000);
    e.decode_us = (uint64_t) opt_int(opts, "decode_us", 4000);
    e.first_us = (uint64_t) opt_int(opts, "first_us", 3000);
    e.total_us = (now_ms() - q->arrived) * 1000;
    e.stream = q->stream;
    e.error_len = (uint16_t) strnlen(error, LLM_STRING_MAX);
    e.user_len = (uint16_t) strnlen(user, LLM_STRING_MAX);
    e.asked_len = (uint16_t) strnlen(asked, LLM_STRING_MAX - 1);
    snprintf(strings, sizeof(strings), "%.*s%.*s%.*s", e.error_len, error,
             e.user_len, user, e.asked_len, asked);

    if (rec_write(q, LLM_REC_END, &e, sizeof(e), strings,
                  (uint32_t) strlen(strings))
        != 0) {
        return STEP_WAIT;
    }

    say("end slot=%u gen=%u outcome=%u events=%u tokens=%u", q->slot, q->gen,
        e.outcome, q->events, q->tokens);
    req_free(q);
    return STEP_GONE;
}


static int
step_data(fe_req_t *q, const char *text, json_t *opts)
{
    if (q->count == 0) {
        out_set(q, text, strlen(text), (uint32_t) opt_int(opts, "tokens", 1),
                opt_int(opts, "boundary", 1) != 0);
        q->count = 1;
        q->events++;
    }

    return out_send(q) == 0 ? STEP_NEXT : STEP_WAIT;
}


/* N events, one each `ms`: "data: {...}" with its number and some filling. */

static int
step_events(fe_req_t *q, long n, long ms, long size)
{
    int   len;
    char  head[64];
    char *text;

    for (;;) {
        if (out_send(q) != 0) {
            return STEP_WAIT;
        }
        if (q->count == n) {
            return STEP_NEXT;
        }
        if (q->count > 0 && ms > 0 && now_ms() < q->due) {
            return STEP_WAIT;
        }

        len = snprintf(head, sizeof(head), "data: {\"n\":%u,\"fill\":\"",
                       q->events);
        size = size > 0 ? size : 1;
        text = malloc((size_t) len + (size_t) size + 8);
        memcpy(text, head, (size_t) len);
        memset(text + len, 'x', (size_t) size);
        memcpy(text + len + size, "\"}\n\n", 4);
        out_set(q, text, (size_t) (len + size + 4), 1, 1);
        free(text);

        q->events++;
        q->count++;
        q->due = now_ms() + (uint64_t) ms;
    }
}


static int
step_delay(fe_req_t *q, long ms)
{
    if (q->count == 0) {
        q->count = 1;
        q->due = now_ms() + (uint64_t) ms;
    }

    return now_ms() >= q->due ? STEP_NEXT : STEP_WAIT;
}


static int
step_wait(fe_req_t *q, const char *word)
{
    unsigned i;

    if (strcmp(word, "cancel") == 0) {
        return q->cancelled ? STEP_NEXT : STEP_WAIT;
    }

    for (i = 0; i < fe.n_words; i++) {
        if (strcmp(fe.words[i], word) == 0) {
            return STEP_NEXT;
        }
    }

    if (q->count == 0) {
        q->count = 1;
        say("waiting slot=%u for=%s", q->slot, word);
    }

    return STEP_WAIT;
}


static int
step_die(fe_req_t *q, const char *name, long life)
{
    if (life != 0 && life != fe.life) {
        return STEP_NEXT;
    }

    say("%s slot=%u gen=%u", name, q->slot, q->gen);
    conn_flush(q->conn);

    if (strcmp(name, "die") == 0) {
        kill(getpid(), SIGKILL);
    }

    fe.quit = 1;
    return STEP_WAIT;
}


/*
 * Broken records. Those of the first sort are well framed and lie in what
 * they say; `raw` ones break the frame itself.
 */

typedef struct {
    const char *name;
    uint8_t     type;
    uint32_t    slot_add; /* to the request's own */
    uint32_t    gen_add;
    uint32_t    cut;   /* bytes that the payload is too short */
    int         field; /* which member is broken, see bad_payload() */
} bad_t;

static const bad_t bad_table[] = {
    /* good ones, for where they are out of order */
    {"admit", LLM_REC_ADMIT, 0, 0, 0, 0},
    {"head", LLM_REC_HEAD, 0, 0, 0, 0},
    {"data", LLM_REC_DATA, 0, 0, 0, 0},

    {"admit-short", LLM_REC_ADMIT, 0, 0, 8, 0},
    {"admit-model-len", LLM_REC_ADMIT, 0, 0, 0, 1},
    {"head-short", LLM_REC_HEAD, 0, 0, 4, 0},
    {"head-status", LLM_REC_HEAD, 0, 0, 0, 2},
    {"head-kind", LLM_REC_HEAD, 0, 0, 0, 3},
    {"data-short", LLM_REC_DATA, 0, 0, 8, 0},
    {"data-bytes", LLM_REC_DATA, 0, 0, 0, 4},
    {"data-tokens", LLM_REC_DATA, 0, 0, 0, 5},
    {"data-slot-range", LLM_REC_DATA, 100000, 0, 0, 0},
    {"data-slot-unused", LLM_REC_DATA, 7, 0, 0, 0},
    {"data-gen", LLM_REC_DATA, 0, 1, 0, 0},
    {"end-short", LLM_REC_END, 0, 0, 64, 0},
    {"end-outcome", LLM_REC_END, 0, 0, 0, 6},
    {"end-finish", LLM_REC_END, 0, 0, 0, 7},
    {"end-strings", LLM_REC_END, 0, 0, 0, 8},
    {"state-json", LLM_REC_MODEL_STATE, 0, 0, 0, 9},
    {"wrong-way", LLM_REC_SUBMIT, 0, 0, 0, 0},
    {"type-unknown", 50, 0, 0, 0, 0},
    {"type-later", LLM_REC_LATER, 0, 0, 0, 0},
    {NULL, 0, 0, 0, 0, 0},
};


static uint32_t
bad_payload(const bad_t *b, uint8_t *buf)
{
    llm_end_t   e = {.status = 200};
    llm_head_t  h = {.status = 200, .kind = LLM_KIND_SSE};
    llm_data_t  d = {.n_bytes = 8};
    llm_admit_t a = {.prompt_tokens = 1, .max_tokens = 1, .choices = 1};

    a.model_len = b->field == 1 ? 60000 : 0;
    h.status = b->field == 2 ? 7 : 200;
    h.kind = b->field == 3 ? 99 : LLM_KIND_SSE;
    d.n_bytes = b->field == 4 ? 0x7fffffff : 8;
    d.n_tokens = b->field == 5 ? 0x40000001 : 0;
    e.outcome = b->field == 6 ? 77 : 0;
    e.finish = b->field == 7 ? 77 : 0;
    e.error_len = b->field == 8 ? 40000 : 0;

    memset(buf, 0, 256);

    switch (b->type) {
    case LLM_REC_ADMIT:
        memcpy(buf, &a, sizeof(a));
        return sizeof(a);
    case LLM_REC_HEAD:
        memcpy(buf, &h, sizeof(h));
        return sizeof(h);
    case LLM_REC_DATA:
        memcpy(buf, &d, sizeof(d));
        memcpy(buf + sizeof(d), ": bad!\n\n", 8);
        return sizeof(d) + 8;
    case LLM_REC_END:
        memcpy(buf, &e, sizeof(e));
        return sizeof(e);
    case LLM_REC_MODEL_STATE:
        memcpy(buf, "{\"models\":[{\"name\"", 18);
        return 18;
    default:
        return 96;
    }
}


static int
bad_raw(fe_req_t *q, const char *kind)
{
    uint8_t       *p;
    llm_rec_t      hdr;
    llm_ring_tx_t *tx = &q->conn->ipc.tx;

    if (strcmp(kind, "ring-head") == 0) {
        __atomic_store_n(&tx->ctl->head, tx->head + tx->size + 4096,
                         __ATOMIC_RELEASE);
        llm_ipc_ring(&q->conn->ipc);
        return 0;
    }

    if (strcmp(kind, "socket") == 0) {
        return send(q->conn->ipc.sock, "hello?", 6, MSG_NOSIGNAL) < 0 ? -1 : 0;
    }

    if (strcmp(kind, "credit") == 0) {
        q->credit += 2u * FE_CREDIT_FALSE; /* and the script floods */
        return 0;
    }

    /* the frame: written well, then spoiled before the other side sees it */
    if (llm_ring_reserve(tx, LLM_REC_DATA, 24, &p) != 0) {
        return -1;
    }
    memset(p, 0, 24);
    llm_ring_commit(tx, LLM_REC_DATA, 0, q->slot, q->gen, 24);
    memcpy(&hdr, p - sizeof(hdr), sizeof(hdr));

    if (strcmp(kind, "len-zero") == 0) {
        hdr.len = 0;
    } else if (strcmp(kind, "len-short") == 0) {
        hdr.len = 15;
    } else if (strcmp(kind, "len-huge") == 0) {
        hdr.len = 0xfffffff0u;
    } else if (strcmp(kind, "len-beyond") == 0) {
        hdr.len = (uint32_t) (tx->size / 8);
    } else if (strcmp(kind, "pad-huge") == 0) {
        hdr.type = LLM_REC_PAD;
        hdr.len = 0x7ffffff0u;
    } else {
        return -1;
    }

    memcpy(p - sizeof(hdr), &hdr, sizeof(hdr));
    return 0;
}


static int
step_bad(fe_req_t *q, const char *kind)
{
    uint8_t      buf[256];
    uint32_t     len;
    const bad_t *b;

    if (memcmp(fe.bad_id, q->sub.id, sizeof(fe.bad_id)) == 0) {
        return STEP_NEXT; /* the same request, submitted again */
    }

    memcpy(fe.bad_id, q->sub.id, sizeof(fe.bad_id));
    say("bad slot=%u kind=%s", q->slot, kind);

    for (b = bad_table; b->name != NULL && strcmp(b->name, kind) != 0; b++) {
        /* void */
    }

    if (b->name != NULL) {
        len = bad_payload(b, buf) - b->cut;
        (void) llm_ring_write(
            &q->conn->ipc.tx, b->type, 0,
            b->type == LLM_REC_MODEL_STATE ? LLM_SLOT_NONE
                                           : q->slot + b->slot_add,
            b->type == LLM_REC_MODEL_STATE ? 0 : q->gen + b->gen_add, buf, len,
            NULL, 0);

    } else if (bad_raw(q, kind) != 0) {
        say("FAULT unknown kind of bad record: %s", kind);
    }

    return STEP_NEXT;
}


/* One step of the script; the names stand at the head of this file. */

static int
step_run(fe_req_t *q, json_t *step)
{
    json_t     *a = json_array_get(step, 1);
    json_t     *b = json_array_get(step, 2);
    json_t     *opts = json_array_get(step, json_array_size(step) - 1);
    const char *name = json_string_value(json_array_get(step, 0));
    const char *word = json_is_string(a) ? json_string_value(a) : "";
    long        n = json_is_integer(a) ? (long) json_integer_value(a) : 0;

    if (name == NULL) {
        say("FAULT a step without a name");
        return STEP_NEXT;
    }
    if (strcmp(name, "admit") == 0) {
        return step_admit(q, opts);
    }
    if (strcmp(name, "head") == 0) {
        return step_head(q, n, json_string_value(b), opts);
    }
    if (strcmp(name, "data") == 0) {
        return step_data(q, word, opts);
    }
    if (strcmp(name, "events") == 0) {
        return step_events(q, n, (long) json_integer_value(b),
                           opt_int(opts, "size", 1));
    }
    if (strcmp(name, "flood") == 0) {
        return step_events(q, (n + 1023) / 1024, 0, 1000);
    }
    if (strcmp(name, "end") == 0) {
        return step_end(q, opts);
    }
    if (strcmp(name, "delay") == 0) {
        return step_delay(q, n);
    }
    if (strcmp(name, "wait") == 0) {
        return step_wait(q, word);
    }
    if (strcmp(name, "die") == 0 || strcmp(name, "exit") == 0) {
        return step_die(q, name, n);
    }
    if (strcmp(name, "bad") == 0) {
        return step_bad(q, word);
    }
    if (strcmp(name, "deaf") == 0) {
        q->deaf = 1;
        return STEP_NEXT;
    }
    if (strcmp(name, "hang") == 0) {
        say("hang slot=%u", q->slot);
        fe.hung = 1;
        return STEP_NEXT;
    }
    if (strcmp(name, "close") == 0) {
        conn_flush(q->conn);
        conn_close(q->conn, "script");
        return STEP_GONE;
    }

    say("FAULT unknown step: %s", name);
    return STEP_NEXT;
}


static json_t *
script_models(fe_req_t *q)
{
    if (q->model[0] && strcmp(q->model, "smollm2") != 0) {
        return json_pack(
            "[[si{}],[ss],[s{ssss}]]", "head", 404, "data",
            "{\"error\":{\"message\":\"no such model\",\"type\":"
            "\"invalid_request_error\",\"param\":\"model\",\"code\":"
            "\"model_not_found\"}}",
            "end", "outcome", "error", "error", "model_not_found");
    }

    return json_pack("[[sis],[ss{si}],[s]]", "head", 200, "json", "data",
                     q->model[0] ? "{\"id\":\"smollm2\",\"object\":\"model\"}"
                                 : "{\"object\":\"list\",\"data\":[]}",
                     "tokens", 0, "end");
}


/* What a request without a script gets. */

static json_t *
script_default(fe_req_t *q)
{
    if (q->sub.op == LLM_OP_MODELS) {
        return script_models(q);
    }

    if (q->sub.op == LLM_OP_METRICS) {
        return json_pack("[[sis],[ss{si}],[s]]", "head", 200, "text", "data",
                         "# TYPE fake_engine_up gauge\nfake_engine_up 1\n",
                         "tokens", 0, "end");
    }

    if (q->sub.op == LLM_OP_TOKENIZE || q->sub.op == LLM_OP_DETOKENIZE) {
        return json_pack("[[sis],[ss{si}],[s]]", "head", 200, "json", "data",
                         "{\"tokens\":[1,2,3],\"content\":\"x\"}", "tokens", 0,
                         "end");
    }

    if (q->stream) {
        return json_pack("[[s],[sis],[sii],[ss{si}],[s]]", "admit", "head", 200,
                         "sse", "events", 3, 0, "data", "data: [DONE]\n\n",
                         "tokens", 0, "end");
    }

    return json_pack("[[s],[sis],[ss{si}],[s]]", "admit", "head", 200, "json",
                     "data", "{\"object\":\"chat.completion\",\"choices\":[]}",
                     "tokens", 3, "end");
}


static void
req_cancelled(fe_req_t *q)
{
    json_t *opts = json_pack("{ss}", "outcome", "cancelled");

    free(q->out);
    q->out = NULL;
    (void) step_end(q, opts);
    json_decref(opts);
}


/* Runs a request's steps until one has to wait. */

static void
req_run(fe_req_t *q)
{
    int     rc;
    json_t *step, *end;

    while (q->used && q->conn->used && !fe.hung) {
        if (q->cancelled && !q->deaf) {
            req_cancelled(q);
            return;
        }
        if (!q->whole) {
            return;
        }

        step = json_array_get(q->script, q->pc);

        if (step == NULL) { /* a script without an end has one all the same */
            end = json_object();
            rc = step_end(q, end);
            json_decref(end);
            return;
        }

        rc = step_run(q, step);
        if (rc != STEP_NEXT) {
            return;
        }

        q->pc++;
        q->count = 0;
        q->due = 0;
    }
}

#endif /* FAKE_STEPS_H */
