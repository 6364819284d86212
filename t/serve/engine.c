/*
 * The real engine, without a model's cost, against workers of every kind:
 * good ones, slow ones, ones that leave at any point, hostile ones.  What one
 * does costs its own connection at the most, and at the end nothing is left.
 */

#include <jansson.h>
#include <sys/socket.h>
#include "t/lib/engine.h"

#define MANIFEST                                                               \
    "{\"models\":[{\"name\":\"m\",\"weights\":\"" ENGINE_MODEL                 \
    "\",\"names\":[\"default\"],\"context\":0,\"options\":{}}]}"

#define BODY(more)                                                             \
    "{\"model\":\"m\",\"prompt\":\"Once upon\",\"ignore_eos\":true" more "}"

static engine_t engine;
static worker_t good; /* lives through everything */

static const ask_t plain = {.op = LLM_OP_COMPLETION,
                            .body = BODY(",\"max_tokens\":20"),
                            .credit = 1u << 20,
                            .step = 1u << 20};

static const ask_t stream = {.op = LLM_OP_COMPLETION,
                             .body = BODY(",\"max_tokens\":50,\"stream\":true"),
                             .credit = 1u << 20,
                             .step = 1u << 20};

/* One that rests after a few bytes and never ends by itself. */
static const ask_t endless = {.op = LLM_OP_COMPLETION,
                              .body = BODY(",\"max_tokens\":8000,\"n\":4,"
                                           "\"stream\":true"),
                              .credit = 4000};


static int
worker_new(worker_t *w)
{
    int rc;

    *w = (worker_t){0};
    rc = worker_open(w, &engine, 1u << 16, 1u << 16);
    if (rc == 0) {
        rc = worker_manifest(w, MANIFEST);
    }

    return rc == 0 && worker_state(w, "\"serving\":true") ? 0 : -1;
}


static char *
text_of(answer_t *a, size_t *len)
{
    json_t *root, *t;
    buf_t   text = {0};
    char   *line, *p = a->out.data;

    buf_add(&text, "", 1);
    text.len = 0;

    for (line = p; p && *p && (line = p); p = strstr(line, "\n\n")) {
        p += strncmp(p, "\n\n", 2) == 0 ? 2 : 0;
        line = p;
        root = json_loads(strncmp(p, "data: ", 6) ? p : p + 6,
                          JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL);
        t = json_object_get(json_array_get(json_object_get(root, "choices"), 0),
                            "text");
        buf_add(&text, json_string_value(t), json_string_length(t));
        json_decref(root);
        if (strncmp(line, "data: ", 6)) {
            break;
        }
    }

    *len = text.len;
    buf_add(&text, "", 1);

    return text.data;
}


static void
test_plain(void)
{
    answer_t *a;
    size_t    n1, n2;
    char     *whole, *pieces;

    a = worker_get(&good, 0, &plain);
    is_int(a->head.status, 200, "a completion");
    is_int(a->end.outcome, LLM_END_DONE, "... is done");
    is_int(a->end.finish, LLM_FINISH_LENGTH, "... by its length");
    is_int(a->end.completion_tokens, 20, "... of 20 tokens");
    is_int(a->n_tokens, 20, "... whose ids came");
    is_int(a->admit.max_tokens, 20, "... as ADMIT said");

    a = worker_get(&good, 1,
                   &(ask_t){.op = LLM_OP_COMPLETION,
                            .body = BODY(",\"max_tokens\":50"),
                            .credit = 100,
                            .step = 7});
    whole = text_of(a, &n1);
    a = worker_get(&good, 2, &stream);
    pieces = text_of(a, &n2);
    ok(n1 > 0 && n1 == n2 && memcmp(whole, pieces, n1) == 0,
       "streamed and not: the same text of %zu bytes", n1);
    ok(a->datas > 1 && a->head.kind == LLM_KIND_SSE, "... in events");
    is_int(a->n_tokens, 50, "... with all ids");
    free(pieces);

    a = worker_get(
        &good, 3,
        &(ask_t){.op = stream.op, .body = stream.body, .credit = 1, .step = 1});
    pieces = text_of(a, &n2);
    ok(n1 == n2 && memcmp(whole, pieces, n1) == 0,
       "a byte at a time: the same text, %d DATA", a->datas);
    ok(a->datas >= (int) a->out.len, "... none with more");
    free(pieces);
    free(whole);
}


static void
test_tiny(void)
{
    worker_t  w;
    answer_t *a;
    size_t    n, len = 300000;
    char     *body, *text;

    is_int(worker_new(&w), 0, "rings of 64 KiB");

    a = worker_get(&w, 0,
                   &(ask_t){.op = LLM_OP_COMPLETION,
                            .body = BODY(",\"max_tokens\":8000"),
                            .credit = 1u << 24});
    is_int(a->end.completion_tokens, 8000, "a long answer in one piece");
    is_int(a->n_tokens, 8000, "... with its ids");
    text = text_of(a, &n);
    ok(n > 8000, "... and its text");
    free(text);

    a = worker_get(&w, 1,
                   &(ask_t){.op = LLM_OP_COMPLETION,
                            .body = BODY(",\"max_tokens\":4000,\"n\":3,"
                                         "\"logprobs\":5,\"stream\":true,"
                                         "\"stream_options\":"
                                         "{\"include_obfuscation\":true}"),
                            .credit = 20000,
                            .step = 20000});
    is_int(a->n_tokens, 12000, "a stream of many megabytes (%zu)", a->out.len);
    ok(a->out.len > 14
           && memcmp(a->out.data + a->out.len - 14, "data: [DONE]\n\n", 14)
                  == 0,
       "... to its end");

    body = malloc(len + 100);
    memset(body, ' ', len + 100);
    memcpy(body, "{\"model\":\"m\",\"prompt\":\"x\"}", 26);
    a = worker_get(&w, 2,
                   &(ask_t){.op = LLM_OP_COMPLETION,
                            .body = body,
                            .body_len = len,
                            .credit = 1 << 20});
    is_int(a->head.status, 200, "a body larger than the ring");
    free(body);

    is_int(w.faults, 0, "no fault");
    worker_close(&w);
}


static void
test_go(void)
{
    ask_t     q = plain;
    answer_t *a;

    q.flags = LLM_SUBMIT_RESERVE;
    q.go = 1;
    a = worker_get(&good, 10, &q);
    is_int(a->head.status, 200, "GO goes on");
    is_int(a->admits, 1, "... after ADMIT");

    q.go = 2;
    a = worker_get(&good, 11, &q);
    is_int(a->head.status, 429, "REJECT is 429");
    is_int(a->head.retry_ms, 1234, "... with its time");
    is_str(a->error, "rate_limit_exceeded", "... by its code");

    q.go = 0;
    q.queue_ms = 150;
    a = worker_get(&good, 12, &q);
    is_int(a->head.status, 503, "neither: 503 at its deadline");

    q.queue_ms = 0;
    q.request_ms = 100;
    a = worker_get(&good, 13, &q);
    is_int(a->head.status, 504, "... or 504 at the request's");
    is_int(worker_write(&good, LLM_REC_GO, 0, 13, a->gen, NULL, 0), 0,
           "a GO that comes too late");
    worker_flush(&good);

    q.request_ms = 0;
    worker_ask(&good, 14, &q);
    while (!good.a[14].admits && !good.gone) {
        worker_turn(&good, 20);
    }
    worker_cancel(&good, 14);
    is_int(worker_write(&good, LLM_REC_GO, 0, 14, good.a[14].gen, NULL, 0), 0,
           "GO behind CANCEL");
    worker_flush(&good);
    worker_wait(&good, 10000);
    is_int(good.a[14].end.outcome, LLM_END_CANCELLED, "... is cancelled");
    is_int(good.gone, 0, "nobody minds");
}


static void
test_cancel(void)
{
    static const struct {
        const char *name;
        int         op;
        const char *body;
        uint64_t    announce;
        uint32_t    credit;
        int         admits, heads, datas; /* until then */
    } points[] = {{"before the body", LLM_OP_CHAT, "", 100, 1000, 0, 0, 0},
                  {"in the body", LLM_OP_CHAT, NULL, 0, 1000, 0, 0, 0},
                  {"on its way", LLM_OP_COMPLETION, BODY(""), 0, 1000, 0, 0, 0},
                  {"a list", LLM_OP_MODELS, "", 0, 10, 0, 0, 0},
                  {"after ADMIT", 0, NULL, 0, 0, 1, 0, 0},
                  {"after HEAD", 0, NULL, 0, 0, 1, 1, 0},
                  {"after DATA", 0, NULL, 0, 2000, 1, 1, 1},
                  {"after more DATA", 0, NULL, 0, 9000, 1, 1, 6}};
    answer_t *a;
    size_t    i, k;
    uint32_t  slot;
    ask_t     q;

    for (k = 0; k < 6; k++) {
        for (i = 0; i < llm_countof(points); i++) {
            slot = 20 + (uint32_t) i;
            a = &good.a[slot];
            q = endless;
            q.credit = points[i].credit;

            if (points[i].op) {
                q.op = points[i].op;
                q.body = points[i].body;
                q.announce = points[i].announce;
            }

            if (points[i].op == LLM_OP_CHAT && q.body == NULL) {
                /* half of a body by hand */
                q.body = "";
                q.announce = 100;
                worker_ask(&good, slot, &q);
                worker_write(&good, LLM_REC_BODY, LLM_REC_MORE, slot, a->gen,
                             "{\"mod", 5);
            } else {
                worker_ask(&good, slot, &q);
            }

            while (!good.gone && a->open
                   && (a->admits < points[i].admits
                       || a->heads < points[i].heads
                       || a->datas < points[i].datas)) {
                worker_turn(&good, 20);
            }

            worker_cancel(&good, slot);
            worker_cancel(&good, slot); /* once more is no fault */
            llm_rec_credit_write(&good.ipc.tx, slot, a->gen, 5);
            a->credit += 5;
            worker_flush(&good);

            if (worker_wait(&good, 20000) < 0 || good.gone || a->ends != 1) {
                ok(0, "cancelled %s", points[i].name);
                return;
            }

            if (k == 0) {
                ok(a->end.outcome == LLM_END_CANCELLED
                       || (points[i].admits == 0 && a->heads),
                   "cancelled %s", points[i].name);
            }
        }
    }

    is_int(good.faults, 0, "no fault in %zu rounds", k);
    ok(worker_metric_is(&good, "vllm:num_requests_running", 0),
       "nothing runs on");
    ok(worker_metric_is(&good, "ngx_llm_engine_requests", 0),
       "nothing is left");
}


static void
test_deadlines(void)
{
    answer_t *a;
    ask_t     q = endless;

    q.request_ms = 300;
    worker_ask(&good, 40, &q);
    usleep(400000);
    llm_rec_credit_write(&good.ipc.tx, 40, good.a[40].gen, 1u << 30);
    good.a[40].credit += 1u << 30;
    worker_flush(&good);
    worker_wait(&good, 20000);
    a = &good.a[40];
    is_int(a->end.outcome, LLM_END_TIMEOUT, "a slow reader's time is up");
    buf_add(&a->out, "", 1);
    ok(strstr(a->out.data, "data: {\"error\":") != NULL, "... it is told");
    ok(strstr(a->out.data, "[DONE]") == NULL, "... and not [DONE]");

    q = plain;
    q.announce = 1000;
    q.body = "";
    q.queue_ms = 100;
    a = worker_get(&good, 41, &q);
    is_int(a->head.status, 503, "a body that does not come");
}


static void
test_limits(void)
{
    answer_t *a;
    uint32_t  i, n503 = 0;
    ask_t     q = plain;
    char     *body;
    size_t    len = 9u << 20;

    q.body = "";
    q.announce = (64u << 20) + 1;
    a = worker_get(&good, 50, &q);
    is_int(a->head.status, 413, "a body too large is 413");
    is_int(a->end.outcome, LLM_END_ERROR, "... for that request only");

    q.announce = 60u << 20;
    for (i = 0; i < 12; i++) {
        worker_ask(&good, 51 + i, &q);
    }
    for (i = 0; i < 100; i++) {
        worker_turn(&good, 10);
    }
    for (i = 0; i < 12; i++) {
        n503 += good.a[51 + i].head.status == 503;
        worker_cancel(&good, 51 + i);
    }
    worker_wait(&good, 10000);
    is_int(n503, 4, "bodies of more than 512 MB together are 503");

    body = malloc(len);
    memset(body, ',', len);
    memcpy(body, "{\"x\":[", 6);
    for (i = 6; i < len; i += 2) {
        body[i] = '1';
    }
    memcpy(body + len - 2, "]}", 2);
    a = worker_get(&good, 70,
                   &(ask_t){.op = LLM_OP_COMPLETION,
                            .body = body,
                            .body_len = len,
                            .credit = 1u << 20});
    is_int(a->head.status, 400, "millions of JSON values are refused");
    free(body);

    is_int(worker_get(
               &good, 71,
               &(ask_t){.op = LLM_OP_MODELS, .model = "nosuch", .credit = 1000})
               ->head.status,
           404, "a model that is not there");
    is_int(worker_get(&good, 72,
                      &(ask_t){.op = LLM_OP_MODELS,
                               .model = "default",
                               .credit = 1000})
               ->head.status,
           200, "... and one that is");
}


/* Everything that a worker may not say; each on a connection of its own. */

static void
hostile(worker_t *w, int kind)
{
    llm_submit_t s = {.op = LLM_OP_COMPLETION,
                      .dialect = LLM_DIALECT_OPENAI,
                      .body_len = 10,
                      .credit = 100};
    uint8_t     *p;

    memset(s.id, 'a', sizeof(s.id));

#define WRITE(type, flags, slot, gen, data, len)                               \
    worker_write(w, type, flags, slot, gen, data, len)
#define SUBMIT(slot, gen) WRITE(LLM_REC_SUBMIT, 0, slot, gen, &s, sizeof(s))

    switch (kind) {
    case 0:
        WRITE(LLM_REC_BODY, 0, 5, 1, "x", 1); /* of nobody */
        break;
    case 1:
        WRITE(LLM_REC_CANCEL, 0, 5, 1, NULL, 0);
        break;
    case 2:
        WRITE(LLM_REC_CANCEL, 0, 100000, 1, NULL, 0);
        break;
    case 3:
        SUBMIT(5, 0);
        break;
    case 4:
        SUBMIT(WORKER_SLOTS, 1);
        break;
    case 5: /* twice */
        SUBMIT(5, 1);
        SUBMIT(5, 2);
        break;
    case 6:
        s.op = LLM_OP_MAX;
        SUBMIT(5, 1);
        break;
    case 7:
        s.id[3] = 'z';
        SUBMIT(5, 1);
        break;
    case 8:
        s.model_len = 2000;
        SUBMIT(5, 1);
        break;
    case 9: /* more body than announced */
        SUBMIT(5, 1);
        WRITE(LLM_REC_BODY, LLM_REC_MORE, 5, 1, "01234567890", 11);
        break;
    case 10: /* the last is short */
        SUBMIT(5, 1);
        WRITE(LLM_REC_BODY, 0, 5, 1, "0123", 4);
        break;
    case 11: /* the whole, but more is said to come */
        SUBMIT(5, 1);
        WRITE(LLM_REC_BODY, LLM_REC_MORE, 5, 1, "0123456789", 10);
        break;
    case 12:
        SUBMIT(5, 1);
        WRITE(LLM_REC_BODY, LLM_REC_MORE, 5, 1, "", 0);
        break;
    case 13:
        SUBMIT(5, 1);
        WRITE(LLM_REC_GO, 0, 5, 1, NULL, 0);
        break;
    case 14:
        SUBMIT(5, 1);
        llm_rec_reject_write(&w->ipc.tx, 5, 1, 0);
        break;
    case 15:
        SUBMIT(5, 1);
        llm_rec_credit_write(&w->ipc.tx, 5, 1, 0xffffffff);
        llm_rec_credit_write(&w->ipc.tx, 5, 1, 0xffffffff);
        break;
    case 16:
        WRITE(LLM_REC_MANIFEST, 0, LLM_SLOT_NONE, 0, MANIFEST,
              strlen(MANIFEST)); /* a second one */
        break;
    case 17:
        WRITE(LLM_REC_DATA, 0, 5, 1, &s, sizeof(s)); /* the engine's */
        break;
    case 18:
        WRITE(LLM_REC_LATER, 0, 5, 1, NULL, 0);
        break;
    case 19:
        WRITE(LLM_REC_CANCEL, 0x80, 5, 1, NULL, 0);
        break;
    case 20: /* a length beyond the ring */
        llm_ring_reserve(&w->ipc.tx, LLM_REC_CANCEL, 0, &p);
        llm_ring_commit(&w->ipc.tx, LLM_REC_CANCEL, 0, 5, 1, 1u << 20);
        break;
    case 21:
        __atomic_store_n(&w->ipc.tx.ctl->head, 7, __ATOMIC_RELEASE);
        llm_ipc_ring(&w->ipc);
        break;
    case 22: /* a head that claims more than there is */
        __atomic_store_n(&w->ipc.tx.ctl->head, 1ull << 40, __ATOMIC_RELEASE);
        llm_ipc_ring(&w->ipc);
        break;
    case 23: /* a tail beyond what was written, found when something is sent */
        __atomic_store_n(&w->ipc.rx.ctl->tail, 1ull << 40, __ATOMIC_RELEASE);
        s.op = LLM_OP_METRICS;
        s.body_len = 0;
        for (kind = 0; kind < 200 && !w->gone; kind++) {
            s.credit = 1u << 30;
            if (SUBMIT(100 + (uint32_t) kind, 100 + (uint32_t) kind) < 0) {
                break;
            }
            worker_flush(w);
            w->deaf = 1;
            worker_turn(w, 5);
        }
        break;
    case 24: /* speaks on the socket */
        if (send(w->ipc.sock, "hello", 5, MSG_NOSIGNAL) < 0) {
            w->gone = 1;
        }
        break;
    }

    worker_flush(w);
    llm_ipc_ring(&w->ipc);
}


static void
test_hostile(void)
{
    struct pollfd p;
    worker_t      w;
    int           kind, i, efd;
    uint64_t      one = 1;

    worker_ask(&good, 100, &endless);
    while (!good.a[100].datas && !good.gone) {
        worker_turn(&good, 20);
    }

    for (kind = 0; kind < 25; kind++) {
        if (worker_new(&w) < 0) {
            ok(0, "hostile %d: no connection", kind);
            return;
        }

        worker_ask(&w, 1, &endless);
        efd = dup(w.ipc.efd_tx);
        hostile(&w, kind);

        for (i = 0; i < 500 && !w.gone; i++) {
            p = (struct pollfd){.fd = w.ipc.sock, .events = POLLIN};
            w.gone = poll(&p, 1, 10) > 0;
        }

        /* The doorbell outlives the connection on our side. */
        for (i = 0; i < 20; i++) {
            if (write(efd, &one, sizeof(one)) < 0) {
                break;
            }
            usleep(500);
        }

        if (!w.gone || good.gone) {
            ok(0, "hostile %d: costs its connection", kind);
        }

        close(efd);
        worker_close(&w);
    }

    ok(1, "%d kinds of broken records", kind);
    worker_cancel(&good, 100);
    worker_wait(&good, 10000);
    is_int(good.a[100].ends, 1, "another's stream went on");
    is_int(worker_get(&good, 101, &plain)->head.status, 200, "and a new one");

    *(&w) = (worker_t){0};
    worker_open(&w, &engine, 1 << 16, 1 << 16);
    worker_manifest(&w, "{\"models\":");
    for (i = 0; i < 200 && !w.gone; i++) {
        worker_turn(&w, 10);
    }
    ok(w.gone, "a manifest that is no JSON costs the connection");
    worker_close(&w);

    worker_open(&w, &engine, 1 << 16, 1 << 16);
    worker_manifest(
        &w,
        "{\"models\":[{\"name\":\"bad\\nname\",\"weights\":\"../x\"},"
        "{\"weights\":\"x\"},5,{\"name\":\"o\",\"weights\":\"" ENGINE_MODEL
        "\",\"options\":{\"x\":1}},{\"name\":\"c\",\"weights\":"
        "\"" ENGINE_MODEL "\",\"context\":-3},"
        "{\"name\":\"small\",\"weights\":\"" ENGINE_MODEL "\",\"context\":512},"
        "{\"name\":\"m\",\"names\":[\"small\",7,\"\"],\"weights\":"
        "\"" ENGINE_MODEL "\"},"
        "{\"name\":\"m\",\"weights\":\"" ENGINE_MODEL "\"}]}");
    ok(worker_state(&w, "\"context\":512"), "bad entries cost themselves only");
    ok(memmem(w.state.data, w.state.len, "not known", 9) != NULL,
       "... and say why");
    ok(worker_state(&w, "\"context\":8192"),
       "one file under two contexts is two models");
    is_int(worker_get(&w, 1, &plain)->head.status, 200, "... that answer");
    worker_close(&w);
}


static void
test_all_slots(void)
{
    worker_t w = {0};
    uint32_t i, n, ok200 = 0, ended = 0;
    ask_t    q = stream;

    const char *build = getenv("LLM_BUILD");

    worker_open(&w, &engine, 1 << 16, 1 << 16);
    worker_manifest(&w, MANIFEST);
    worker_state(&w, "\"serving\":true");
    q.body = BODY(",\"max_tokens\":3,\"stream\":true");

    for (i = 0; i < WORKER_SLOTS && worker_ask(&w, i, &q) == 0; i++) {
        /* void */
    }

    worker_wait(&w, 60000);

    for (i = 0; i < WORKER_SLOTS; i++) {
        ok200 += w.a[i].head.status == 200 && w.a[i].n_tokens == 3;
        ended += w.a[i].ends == 1;
    }

    is_int(ended, WORKER_SLOTS, "as many requests as there are slots end");
    is_int(ok200, WORKER_SLOTS, "... well");

    /* Under a sanitizer each takes all the memory that it may ever need. */
    q = endless;
    n = build && strstr(build, "san") ? 128 : WORKER_SLOTS;
    for (i = 0; i < n && worker_ask(&w, i, &q) == 0; i++) {
        /* void */
    }
    is_int(w.faults, 0, "no fault");
    worker_close(&w); /* leaves all of them */
    ok(worker_metric_is(&good, "ngx_llm_engine_requests", 0),
       "a worker that dies leaves nothing of %u requests", i);
    ok(worker_metric_is(&good, "vllm:num_requests_running", 0),
       "... in the step loop either");
}


static void
test_deaf(void)
{
    worker_t w;
    uint32_t i;
    ask_t    q = endless;

    worker_new(&w);
    w.deaf = 1;
    q.credit = 1u << 31;

    for (i = 0; i < 16; i++) {
        worker_ask(&w, i, &q);
    }

    is_int(worker_get(&good, 200, &stream)->n_tokens, 50,
           "one who does not read holds up nobody");
    ok(worker_metric_is(&good, "vllm:num_requests_running", 0),
       "... its sequences rest");
    is_int(worker_metric(&good, "ngx_llm_engine_requests"), 16,
           "... they are not done");
    w.deaf = 0;
    worker_wait(&w, 60000);
    is_int(w.a[3].n_tokens, 32000, "... and has all once it does");
    is_int(w.faults, 0, "no fault");
    worker_close(&w);
}


static void
test_connections(void)
{
    llm_ipc_t ipc;
    worker_t  w;
    int       fds[300], i, n = 0;

    for (i = 0; i < 300; i++) {
        llm_ipc_init(&ipc);
        if (llm_ipc_connect(&ipc, engine.socket, 1 << 16, 1 << 16) == 0) {
            fds[n++] = ipc.sock;
            ipc.sock = -1;
            llm_ipc_close(&ipc);
        }
    }

    is_int(worker_get(&good, 300, &plain)->head.status, 200,
           "%d connections at once: the first goes on", n);
    for (i = 0; i < n; i++) {
        close(fds[i]);
    }

    for (i = 0; i < 50 && worker_new(&w) < 0; i++) {
        worker_close(&w);
        usleep(50000);
    }
    ok(i < 50, "a new one comes in again");
    worker_close(&w);
}


static void
test_stop(void)
{
    uint64_t ms;
    worker_t w;
    int      i, st, n;

    const char *build = getenv("LLM_BUILD");

    n = build && strstr(build, "san") ? 40 : 500;
    worker_new(&w);
    for (i = 0; i < n; i++) {
        worker_ask(&w, (uint32_t) i, i % 2 ? &endless : &plain);
        worker_ask(&good, (uint32_t) i + 1000, &endless);
    }

    st = engine_stop(&engine, SIGTERM, &ms);
    ok(WIFEXITED(st) && WEXITSTATUS(st) == 0,
       "SIGTERM among many requests ends in order");
    ok(ms < 5000, "... promptly: %llu ms", (unsigned long long) ms);
    worker_turn(&good, 100);
    worker_close(&w);
}


/* CPU time of the engine, in clock ticks. */

static long
cpu_ticks(void)
{
    char  name[64], line[1024] = "", *p;
    long  user = 0, sys = 0;
    FILE *f;

    snprintf(name, sizeof(name), "/proc/%d/stat", (int) engine.pid);
    f = fopen(name, "r");
    if (f) {
        if (fgets(line, sizeof(line), f) == NULL) {
            line[0] = '\0';
        }
        fclose(f);
    }

    p = strrchr(line, ')');
    if (p) {
        sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld",
               &user, &sys);
    }

    return user + sys;
}


static void
test_descriptors(const char *const *options)
{
    worker_t w[20];
    long     ticks;
    int      i, n;

    engine = (engine_t){.nofile = 40};
    is_int(engine_start(&engine, options), 0, "an engine of 40 descriptors");

    for (i = n = 0; i < 20; i++) {
        w[i] = (worker_t){0};
        llm_ipc_init(&w[i].ipc);
        if (llm_ipc_connect(&w[i].ipc, engine.socket, 1 << 16, 1 << 16) == 0) {
            n++;
        }
    }

    usleep(700000);
    ticks = cpu_ticks();
    usleep(1000000);
    ticks = cpu_ticks() - ticks;
    ok(ticks < 30, "%d connections: it does not spin (%ld %% of a CPU)", n,
       ticks);

    for (i = 0; i < 20; i++) {
        llm_ipc_close(&w[i].ipc);
    }

    for (i = 0; i < 100 && worker_new(&w[0]) < 0; i++) {
        worker_close(&w[0]);
        usleep(50000);
    }
    is_int(worker_get(&w[0], 0, &plain)->head.status, 200,
           "once they are gone, one comes in");
    worker_close(&w[0]);
    engine_done(&engine);
}


/* Ended while its model loads, and while a request waits for that. */

static void
test_loading(void)
{
    static const char *const options[] = {"--memory", "1g", NULL};
    worker_t                 w = {0};
    uint64_t                 ms;
    int                      i, st, rc;

    for (i = 0; i < 3; i++) {
        engine = (engine_t){0};
        rc = engine_start(&engine, options);
        rc = rc < 0 ? rc : worker_open(&w, &engine, 1 << 16, 1 << 16);

        if (rc < 0) {
            ok(0, "an engine with a model: %s", strerror(-rc));
            engine_stop(&engine, SIGKILL, NULL);
            worker_close(&w);
            return;
        }

        worker_manifest(&w, MANIFEST);
        worker_ask(&w, 0, &plain);
        worker_turn(&w, 10);
        usleep((unsigned) i * 100000);
        st = engine_stop(&engine, SIGTERM, &ms);
        ok(WIFEXITED(st) && WEXITSTATUS(st) == 0,
           "SIGTERM while a model loads: %llu ms", (unsigned long long) ms);
        engine_clean(&engine);
        worker_close(&w);
    }
}


int
main(void)
{
    static const char *const options[] = {"--null-model", "--memory", "256m",
                                          "--queue",      "9000",     "--batch",
                                          "64",           NULL};
    char                    *log;
    double                   pages;

    engine_need_model();
    signal(SIGPIPE, SIG_IGN);

    is_int(engine_start(&engine, options), 0, "the engine listens");
    is_int(worker_new(&good), 0, "a worker connects, its model is ready");
    worker_close(&good);
    worker_open(&good, &engine, 1 << 20, 1 << 20);
    worker_manifest(&good, MANIFEST);
    ok(worker_state(&good, "\"serving\":true"), "it serves at once again");
    pages = worker_metric(&good, "ngx_llm_kv_pages_free");

    test_plain();
    test_tiny();
    test_go();
    test_cancel();
    test_deadlines();
    test_limits();
    test_hostile();
    test_all_slots();
    test_deaf();
    test_connections();

    ok(pages > 0 && worker_metric_is(&good, "ngx_llm_engine_requests", 0),
       "no request is left");
    ok(worker_metric(&good, "ngx_llm_kv_pages_free")
           == worker_metric(&good, "ngx_llm_kv_pages"),
       "no KV page is left");
    is_int(good.faults, 0, "the good worker saw no fault");
    is_int(good.gone, 0, "... nor the end");

    test_stop();

    log = engine_log(&engine);
    ok(strstr(log, "\nname") == NULL,
       "a name's newline does not reach the log");
    free(log);
    worker_close(&good);
    engine_clean(&engine);

    test_descriptors(options);
    test_loading();

    return tap_done();
}
