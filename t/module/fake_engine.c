/*
 * The fake engine: speaks the ring's protocol over the real code of
 * engine/ipc/ and answers by scripts, so that a test of the NGINX module
 * needs no model and can make an engine do what a good one never does.
 *
 * One thread, one epoll loop. It owns everything until it exits. It trusts
 * nothing that the worker says: what breaks abi.h is logged as "FAULT ...",
 * and a test fails on any such line.
 *
 *   fake_engine [options]
 *     --socket PATH          where to listen
 *     --log FILE             one line an event (default: standard error)
 *     --slots N              how many requests a worker may have (64)
 *     --bodies DIR           each request's body goes to DIR/ID
 *     --life N               which life this is, see "die" (1)
 *     --hello-delay MS       HELLO is answered so late
 *     --hello-silent         ... or never
 *     --hello-die            ... or answered, and then it dies at once
 *     --hello-refuse WORD    version, region or full
 *     --loading MS           models are loading for so long
 *     --failed NAME          this model has failed to load
 *     --no-state             no MODEL_STATE is ever sent
 *
 * A request's script is the array "script" of its JSON body; a step is an
 * array whose first member is its name. "opts" is an object, may be missing.
 *
 *   ["admit", opts]          model, prompt, cached, max, choices, stream
 *   ["head", STATUS, KIND, opts]   KIND json, sse or text; retry_ms, no_retry
 *   ["data", TEXT, opts]     tokens (a number), boundary (default: true)
 *   ["events", N, MS, opts]  N SSE events "data: {"n":I}", one each MS; size
 *   ["flood", BYTES]         events of 1 KiB, as fast as credit allows
 *   ["end", opts]            outcome, finish, status, error, user, asked,
 *                            prompt, cached, completion, tool_calls...
 *   ["delay", MS]
 *   ["wait", WORD]           until standard input says "go WORD"; the word
 *                            "cancel" waits for CANCEL
 *   ["die", LIFE]            killed by SIGKILL, if this is that life (0: any)
 *   ["exit", LIFE]           ends in order, without an answer
 *   ["hang"]                 no ring is read, no step is made, no heartbeat
 *   ["close"]                shuts this connection's socket
 *   ["deaf"]                 CANCEL is no longer answered by itself
 *   ["bad", KIND]            a broken record, see bad_table; not again when
 *                            the same request is submitted again
 *
 * The steps run when the whole body is there. Without a script the answer is
 * what the operation lets expect. Commands on standard input: "go WORD",
 * "pause" and "resume" (reading of the rings), "state WORD" (loading, ready,
 * failed: sent to all), "status" (logs the counts), "close" (all connections),
 * "hang".
 */

#include "fake_engine.h"
#include "fake_steps.h"


static void
req_body_save(fe_req_t *q)
{
    FILE *f;
    char  path[512];

    if (fe.bodies == NULL) {
        return;
    }

    snprintf(path, sizeof(path), "%s/%.32s", fe.bodies, q->sub.id);
    f = fopen(path, "w");
    if (f == NULL) {
        say("FAULT cannot write %s", path);
        return;
    }
    fwrite(q->body, 1, (size_t) q->got, f);
    fclose(f);
}


static void
req_whole(fe_req_t *q)
{
    q->whole = 1;
    say("body slot=%u gen=%u len=%llu pieces=%u id=%.32s", q->slot, q->gen,
        (unsigned long long) q->got, q->pieces, q->sub.id);
    req_body_save(q);

    q->root = json_loadb((char *) q->body, (size_t) q->got, 0, NULL);
    q->stream = json_is_true(json_object_get(q->root, "stream"));
    q->script = json_object_get(q->root, "script");

    if (json_is_array(q->script)) {
        return;
    }

    q->script = script_default(q);
    if (q->root == NULL) {
        q->root = json_object();
    }
    json_object_set_new(q->root, "script", q->script);
}


static char *
string_take(const uint8_t **p, uint16_t len)
{
    char *s = malloc((size_t) len + 1);

    memcpy(s, *p, len);
    s[len] = '\0';
    *p += len;
    return s;
}


static int
submit_check(const llm_submit_t *s, uint32_t len)
{
    unsigned i;
    int64_t  now = (int64_t) time(NULL);

    if (len
        != sizeof(*s) + s->model_len + s->tenant_len + s->salt_len
               + s->request_id_len + s->organization_len) {
        fault("SUBMIT's strings do not fill it");
        return -1;
    }
    if (s->op == 0 || s->op >= LLM_OP_MAX || s->dialect == 0
        || s->dialect >= LLM_DIALECT_MAX) {
        fault("SUBMIT op=%u dialect=%u", s->op, s->dialect);
    }
    if (s->flags & ~(uint32_t) (LLM_SUBMIT_RESERVE | LLM_SUBMIT_FORCED)) {
        fault("SUBMIT flags=%x", s->flags);
    }
    if (s->created < now - 60 || s->created > now + 2) {
        fault("SUBMIT created=%lld", (long long) s->created);
    }
    if (s->credit == 0) {
        fault("SUBMIT without credit");
    }
    for (i = 0; i < 32; i++) {
        if (strchr("0123456789abcdef", s->id[i]) == NULL || s->id[i] == 0) {
            fault("SUBMIT id is not hexadecimal");
            break;
        }
    }
    for (i = 0; i < sizeof(s->pad); i++) {
        if (s->pad[i] != 0) {
            fault("SUBMIT's padding is not 0");
        }
    }
    return 0;
}


static void
rec_submit(fe_conn_t *c, const llm_rec_t *r, const uint8_t *data, uint32_t len)
{
    fe_req_t      *q;
    const uint8_t *p;

    if (len < sizeof(llm_submit_t) || r->slot >= fe.slots) {
        fault("SUBMIT len=%u slot=%u", len, r->slot);
        return;
    }

    q = &c->reqs[r->slot];
    if (q->used) {
        fault("SUBMIT in a slot in use: slot=%u", r->slot);
        return;
    }
    if (q->gen != 0 && r->gen <= q->gen) {
        fault("SUBMIT gen does not grow: slot=%u gen=%u after %u", r->slot,
              r->gen, q->gen);
    }

    memset(q, 0, sizeof(*q));
    q->conn = c;
    q->slot = r->slot;
    q->gen = r->gen;
    memcpy(&q->sub, data, sizeof(q->sub));
    if (submit_check(&q->sub, len) != 0) {
        return;
    }

    p = data + sizeof(q->sub);
    q->model = string_take(&p, q->sub.model_len);
    q->tenant = string_take(&p, q->sub.tenant_len);
    q->salt = string_take(&p, q->sub.salt_len);
    q->request_id = string_take(&p, q->sub.request_id_len);
    q->body = malloc(q->sub.body_len + 1);
    q->credit = q->sub.credit;
    q->arrived = now_ms();
    q->used = 1;

    say("submit slot=%u gen=%u op=%u dialect=%u flags=%u body_len=%llu "
        "credit=%u queue_ms=%u first_ms=%u request_ms=%u created=%lld "
        "seed=%llu id=%.32s model='%s' tenant='%s' salt='%s' reqid='%s'",
        q->slot, q->gen, q->sub.op, q->sub.dialect, q->sub.flags,
        (unsigned long long) q->sub.body_len, q->sub.credit, q->sub.queue_ms,
        q->sub.first_token_ms, q->sub.request_ms, (long long) q->sub.created,
        (unsigned long long) q->sub.seed, q->sub.id, q->model, q->tenant,
        q->salt, q->request_id);

    if (q->sub.body_len == 0) {
        req_whole(q);
    }
}


static void
rec_body(fe_req_t *q, const llm_rec_t *r, const uint8_t *data, uint32_t len)
{
    uint64_t left = q->sub.body_len - q->got;
    unsigned more = (r->flags & LLM_REC_MORE) != 0;

    if (q->whole || len == 0 || len > LLM_BODY_MAX || len > left
        || (len < left) != (more != 0)) {
        fault("BODY slot=%u len=%u left=%llu more=%u whole=%u", q->slot, len,
              (unsigned long long) left, more, q->whole);
        return;
    }

    memcpy(q->body + q->got, data, len);
    q->got += len;
    q->pieces++;

    if (q->got == q->sub.body_len) {
        req_whole(q);
    }
}


static void
rec_credit(fe_req_t *q, const uint8_t *data, uint32_t len)
{
    llm_credit_t cr;

    if (len != sizeof(cr)) {
        fault("CREDIT len=%u", len);
        return;
    }

    memcpy(&cr, data, sizeof(cr));
    q->credit += cr.bytes;
    say("credit slot=%u gen=%u bytes=%u", q->slot, q->gen, cr.bytes);
    if (cr.bytes == 0
        || (q->credit > q->sub.credit && q->credit < FE_CREDIT_FALSE)) {
        fault("CREDIT slot=%u bytes=%u makes %llu of %u", q->slot, cr.bytes,
              (unsigned long long) q->credit, q->sub.credit);
    }
}


static void
rec_cancel(fe_req_t *q)
{
    if (q->cancelled) {
        fault("CANCEL twice: slot=%u", q->slot);
    }

    q->cancelled = 1;
    say("cancel slot=%u gen=%u phase=%s events=%u after=%llu", q->slot, q->gen,
        !q->admitted     ? "queue"
        : q->tokens == 0 ? "prefill"
                         : "decode",
        q->events, (unsigned long long) (now_ms() - q->arrived));
}


static void
rec_request(fe_conn_t *c, const llm_rec_t *r, const uint8_t *data, uint32_t len)
{
    fe_req_t *q;

    if (r->slot >= fe.slots) {
        fault("record type=%u slot=%u", r->type, r->slot);
        return;
    }

    q = &c->reqs[r->slot];
    if (!q->used) {
        if (q->gen != r->gen) { /* not even one that ended on the way */
            fault("record type=%u slot=%u gen=%u: never opened", r->type,
                  r->slot, r->gen);
        }
        return;
    }
    if (q->gen != r->gen) {
        fault("record type=%u slot=%u gen=%u, not %u", r->type, r->slot, r->gen,
              q->gen);
        return;
    }

    switch (r->type) {
    case LLM_REC_BODY:
        rec_body(q, r, data, len);
        break;
    case LLM_REC_CREDIT:
        rec_credit(q, data, len);
        break;
    case LLM_REC_CANCEL:
        rec_cancel(q);
        break;
    case LLM_REC_GO:
        q->go = 1;
        break;
    default:
        fault("record type=%u", r->type);
    }
}


/* MODEL_STATE of everything in the manifest. */

static void
state_send(fe_conn_t *c)
{
    int         rc, ready, failed;
    char       *text;
    size_t      i;
    json_t     *root, *models, *m, *out;
    const char *name, *state;

    root = json_loadb(c->manifest, c->manifest_len, 0, NULL);
    models = json_object_get(root, "models");
    out = json_array();

    json_array_foreach(models, i, m)
    {
        name = opt_str(m, "name", "?");
        state = fe.state != NULL                                    ? fe.state
                : fe.failed != NULL && strcmp(fe.failed, name) == 0 ? "failed"
                : now_ms() < c->ready_at                            ? "loading"
                                                                    : "ready";
        ready = strcmp(state, "ready") == 0;
        failed = strcmp(state, "failed") == 0;

        json_array_append_new(
            out, json_pack("{sssssfss?sbsssisI}", "name", name, "state", state,
                           "progress", ready ? 1.0 : 0.37, "error",
                           failed ? "broken" : NULL, "serving", ready,
                           "fingerprint", "abababababababab", "context", 8192,
                           "created", (json_int_t) 1700000000));
    }

    json_decref(root);
    root = json_pack("{so}", "models", out);
    text = json_dumps(root, JSON_COMPACT);
    rc = llm_ring_write(&c->ipc.tx, LLM_REC_MODEL_STATE, 0, LLM_SLOT_NONE, 0,
                        text, (uint32_t) strlen(text), NULL, 0);
    c->state_due = rc == -EAGAIN;
    free(text);
    json_decref(root);
    conn_flush(c);
}


static void
rec_manifest(fe_conn_t *c, const llm_rec_t *r, const uint8_t *data,
             uint32_t len)
{
    json_t *root;

    if (c->manifested || r->slot != LLM_SLOT_NONE || r->gen != 0
        || c->manifest_len + len > LLM_MANIFEST_MAX) {
        fault("MANIFEST len=%u slot=%u again=%u", len, r->slot, c->manifested);
        return;
    }

    c->manifest = realloc(c->manifest, c->manifest_len + len + 1);
    memcpy(c->manifest + c->manifest_len, data, len);
    c->manifest_len += len;
    c->manifest[c->manifest_len] = '\0';

    if (r->flags & LLM_REC_MORE) {
        return;
    }

    c->manifested = 1;
    c->ready_at = now_ms() + (uint64_t) fe.loading;
    say("manifest pid=%d %s", (int) c->ipc.peer, c->manifest);

    root = json_loadb(c->manifest, c->manifest_len, 0, NULL);
    if (!json_is_array(json_object_get(root, "models"))) {
        fault("MANIFEST is not what it should be");
    }
    json_decref(root);

    if (!fe.no_state) {
        state_send(c);
        c->state_due = fe.loading > 0;
    }
}


static void
conn_record(fe_conn_t *c, const llm_ring_rec_t *rec)
{
    uint8_t  *copy;
    llm_rec_t r = rec->hdr;

    copy = malloc((size_t) rec->len + 1);
    memcpy(copy, rec->payload, rec->len);

    if (r.pad != 0) {
        fault("record type=%u: padding is not 0", r.type);
    }

    if (!c->manifested && r.type != LLM_REC_MANIFEST) {
        fault("record type=%u before MANIFEST", r.type);
    }

    if (r.type == LLM_REC_MANIFEST) {
        rec_manifest(c, &r, copy, rec->len);
    } else if (r.type == LLM_REC_SUBMIT) {
        rec_submit(c, &r, copy, rec->len);
    } else {
        rec_request(c, &r, copy, rec->len);
    }

    free(copy);
}


static void
conn_read(fe_conn_t *c)
{
    int            rc;
    uint64_t       count;
    llm_ring_rec_t rec;

    if (read(c->ipc.efd_rx, &count, sizeof(count)) < 0 && errno != EAGAIN) {
        fault("eventfd: %s", strerror(errno));
    }

    while (!fe.paused && !fe.hung && c->used) {
        rc = llm_ring_peek(&c->ipc.rx, &rec);

        if (rc < 0) {
            fault("the submission ring is broken");
            conn_close(c, "broken ring");
            return;
        }

        if (rc == 0) {
            if (llm_ring_release(&c->ipc.rx)) {
                llm_ipc_ring(&c->ipc);
            }
            if (llm_ring_arm(&c->ipc.rx) == 0) {
                return;
            }
            continue;
        }

        conn_record(c, &rec);
        llm_ring_next(&c->ipc.rx, &rec);
    }
}


static void
conn_run(fe_conn_t *c)
{
    unsigned i;

    for (i = 0; i < fe.slots && c->used; i++) {
        if (c->reqs[i].used) {
            req_run(&c->reqs[i]);
        }
    }

    conn_flush(c);
}


static void
conn_close(fe_conn_t *c, const char *why)
{
    unsigned i, n;

    for (i = 0, n = 0; i < FE_SLOTS; i++) {
        if (c->reqs[i].used) {
            n++;
            req_free(&c->reqs[i]);
        }
    }

    say("closed pid=%d why='%s' inflight=%u", (int) c->ipc.peer, why, n);
    llm_ipc_close(&c->ipc);
    free(c->manifest);
    c->manifest = NULL;
    c->used = 0;
}


static void
epoll_watch(int fd, void *ptr)
{
    struct epoll_event ev = {.events = EPOLLIN, .data = {.ptr = ptr}};

    (void) epoll_ctl(fe.epfd, EPOLL_CTL_ADD, fd, &ev);
}


static void
conn_accept(void)
{
    int        rc;
    unsigned   i;
    fe_conn_t *c;

    for (i = 0; i < FE_CONNS && fe.conns[i].used; i++) {
        /* void */
    }

    if (i == FE_CONNS) {
        fault("too many connections");
        return;
    }

    c = &fe.conns[i];
    memset(c, 0, sizeof(*c));
    llm_ipc_init(&c->ipc);

    rc = llm_ipc_accept(&c->ipc, fe.listen_fd);
    if (rc < 0) {
        return;
    }

    c->used = 1;
    c->hello_at = now_ms() + (uint64_t) fe.hello_delay;
    fe.accepted++;
    say("accept n=%u", fe.accepted);
    epoll_watch(c->ipc.sock, c);
}


static const char *const refusals[] = {"ask",    "ok",   "version",
                                       "region", "full", NULL};


static void
conn_refuse(fe_conn_t *c)
{
    llm_hello_t h;

    if (recv(c->ipc.sock, &h, sizeof(h), MSG_DONTWAIT) <= 0) {
        conn_close(c, "no hello");
        return;
    }

    memset(&h, 0, sizeof(h));
    h.magic = LLM_ABI_MAGIC;
    h.major = LLM_ABI_MAJOR;
    h.minor = LLM_ABI_MINOR;
    h.status = (uint32_t) word_index(refusals, fe.refuse, LLM_HELLO_FULL);
    if (h.status == LLM_HELLO_VERSION) {
        h.major++;
    }
    (void) send(c->ipc.sock, &h, sizeof(h), MSG_NOSIGNAL);
    say("refused %s", fe.refuse);
    conn_close(c, "refused");
}


static void
conn_hello(fe_conn_t *c)
{
    int rc;

    if (fe.silent || now_ms() < c->hello_at) {
        return;
    }

    if (fe.refuse != NULL) {
        conn_refuse(c);
        return;
    }

    rc = llm_ipc_hello(&c->ipc, fe.slots, fe.boot);
    if (rc == -EAGAIN) {
        return;
    }

    if (rc != 0) {
        say("hello failed: %s", strerror(-rc));
        conn_close(c, "hello");
        return;
    }

    c->connected = 1;
    say("hello pid=%d", (int) c->ipc.peer);

    if (fe.hello_die) {
        kill(getpid(), SIGKILL);
    }

    epoll_watch(c->ipc.efd_rx, c);
    conn_read(c);
}


static void
conn_event(fe_conn_t *c)
{
    char byte;

    if (!c->used) {
        return;
    }

    if (!c->connected) {
        if (recv(c->ipc.sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
            conn_close(c, "before hello");
            return;
        }
        conn_hello(c);

    } else if (llm_ipc_dead(&c->ipc)) {
        conn_close(c, "peer");

    } else {
        conn_read(c);
    }

    if (c->used && c->connected) {
        conn_run(c);
    }
}


static void
status_say(void)
{
    unsigned i, j, conns = 0, inflight = 0;

    for (i = 0; i < FE_CONNS; i++) {
        conns += fe.conns[i].used && fe.conns[i].connected;
        for (j = 0; fe.conns[i].used && j < FE_SLOTS; j++) {
            inflight += fe.conns[i].reqs[j].used;
        }
    }

    say("status inflight=%u conns=%u faults=%u", inflight, conns, fe.faults);
}


static void
command_run(char *line)
{
    char    *arg;
    unsigned i;

    arg = strchr(line, ' ');
    if (arg != NULL) {
        *arg++ = '\0';
    }

    say("command %s %s", line, arg != NULL ? arg : "");

    if (strcmp(line, "go") == 0 && arg != NULL && fe.n_words < FE_WORDS) {
        snprintf(fe.words[fe.n_words++], sizeof(fe.words[0]), "%.31s", arg);
    } else if (strcmp(line, "pause") == 0) {
        fe.paused = 1;
    } else if (strcmp(line, "resume") == 0) {
        fe.paused = 0;
    } else if (strcmp(line, "hang") == 0) {
        fe.hung = 1;
    } else if (strcmp(line, "status") == 0) {
        status_say();
    } else if (strcmp(line, "state") == 0 && arg != NULL) {
        fe.state = strcmp(arg, "loading") == 0  ? "loading"
                   : strcmp(arg, "failed") == 0 ? "failed"
                                                : "ready";
    } else if (strcmp(line, "close") != 0) {
        fault("unknown command: %s", line);
    }

    for (i = 0; i < FE_CONNS; i++) {
        if (!fe.conns[i].used || !fe.conns[i].connected) {
            continue;
        }
        if (strcmp(line, "close") == 0) {
            conn_close(&fe.conns[i], "command");
        } else if (strcmp(line, "state") == 0) {
            fe.conns[i].state_due = 1;
        } else if (strcmp(line, "resume") == 0) {
            conn_read(&fe.conns[i]);
        }
    }
}


static void
command_read(void)
{
    char    c;
    ssize_t n;

    while ((n = read(STDIN_FILENO, &c, 1)) == 1) {
        if (c != '\n') {
            if (fe.line_len < sizeof(fe.line) - 1) {
                fe.line[fe.line_len++] = c;
            }
            continue;
        }
        fe.line[fe.line_len] = '\0';
        fe.line_len = 0;
        command_run(fe.line);
    }

    if (n == 0) {
        (void) epoll_ctl(fe.epfd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    }
}


static void
conn_status(fe_conn_t *c)
{
    unsigned i, running = 0, waiting = 0;

    for (i = 0; i < fe.slots; i++) {
        running += c->reqs[i].used && c->reqs[i].admitted;
        waiting += c->reqs[i].used && !c->reqs[i].admitted;
    }

    __atomic_store_n(&c->ipc.status->heartbeat, now_ms(), __ATOMIC_RELAXED);
    __atomic_store_n(&c->ipc.status->steps, fe.steps, __ATOMIC_RELAXED);
    __atomic_store_n(&c->ipc.status->running, running, __ATOMIC_RELAXED);
    __atomic_store_n(&c->ipc.status->waiting, waiting, __ATOMIC_RELAXED);
    __atomic_store_n(&c->ipc.status->kv_pages, 100, __ATOMIC_RELAXED);
    __atomic_store_n(&c->ipc.status->kv_pages_free, 100 - running,
                     __ATOMIC_RELAXED);
}


/* What time brings: late HELLOs, states, due steps. Returns ms to sleep. */

static int
tick(void)
{
    unsigned   i, j;
    uint64_t   now = now_ms(), next = now + 100;
    fe_conn_t *c;

    if (fe.hung) {
        return 100;
    }

    fe.steps++;

    for (i = 0; i < FE_CONNS; i++) {
        c = &fe.conns[i];

        if (c->used && !c->connected) {
            next = c->hello_at > now && c->hello_at < next ? c->hello_at : next;
            conn_hello(c);
        }
        if (!c->used || !c->connected) {
            continue;
        }

        conn_status(c);
        if (c->manifested && c->state_due && !fe.no_state
            && (fe.state != NULL || now >= c->ready_at)) {
            state_send(c);
        }
        conn_run(c);

        for (j = 0; c->used && j < fe.slots; j++) {
            if (c->reqs[j].used && c->reqs[j].due > now
                && c->reqs[j].due < next) {
                next = c->reqs[j].due;
            }
        }
    }

    return (int) (next - now);
}


static void
on_term(int sig)
{
    (void) sig;
    fe.quit = 1;
}


static int
options_parse(int argc, char **argv)
{
    int         i;
    const char *o, *v;

    fe.log = stderr;
    fe.slots = 64;
    fe.life = 1;

    for (i = 1; i < argc; i++) {
        o = argv[i];

        if (strcmp(o, "--hello-silent") == 0) {
            fe.silent = 1;
            continue;
        }
        if (strcmp(o, "--hello-die") == 0) {
            fe.hello_die = 1;
            continue;
        }
        if (strcmp(o, "--no-state") == 0) {
            fe.no_state = 1;
            continue;
        }
        if (++i == argc) {
            return -1;
        }
        v = argv[i];

        if (strcmp(o, "--socket") == 0) {
            fe.socket = v;
        } else if (strcmp(o, "--log") == 0) {
            fe.log = fopen(v, "a");
        } else if (strcmp(o, "--slots") == 0) {
            fe.slots = (uint32_t) atoi(v);
        } else if (strcmp(o, "--bodies") == 0) {
            fe.bodies = v;
        } else if (strcmp(o, "--life") == 0) {
            fe.life = atol(v);
        } else if (strcmp(o, "--hello-delay") == 0) {
            fe.hello_delay = atol(v);
        } else if (strcmp(o, "--hello-refuse") == 0) {
            fe.refuse = v;
        } else if (strcmp(o, "--loading") == 0) {
            fe.loading = atol(v);
        } else if (strcmp(o, "--failed") == 0) {
            fe.failed = v;
        } else {
            return -1;
        }
    }

    return fe.socket == NULL || fe.log == NULL || fe.slots == 0
                   || fe.slots > FE_SLOTS
               ? -1
               : 0;
}


int
main(int argc, char **argv)
{
    int                i, n;
    struct epoll_event evs[16];

    if (options_parse(argc, argv) != 0) {
        fprintf(stderr, "usage: see the head of fake_engine.c\n");
        return 2;
    }

    signal(SIGTERM, on_term);
    signal(SIGINT, on_term);
    signal(SIGPIPE, SIG_IGN);

    fe.boot = (uint64_t) getpid() << 32 | now_ms();
    fe.epfd = epoll_create1(EPOLL_CLOEXEC);
    fe.listen_fd = llm_ipc_listen(fe.socket, 0660);
    if (fe.listen_fd < 0) {
        say("listen on %s: %s", fe.socket, strerror(-fe.listen_fd));
        return 2;
    }

    (void) fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    epoll_watch(STDIN_FILENO, &fe.line);
    epoll_watch(fe.listen_fd, &fe.listen_fd);
    say("listening life=%ld", fe.life);

    while (!fe.quit) {
        n = epoll_wait(fe.epfd, evs, 16, tick());

        for (i = 0; i < n; i++) {
            if (evs[i].data.ptr == &fe.listen_fd) {
                conn_accept();
            } else if (evs[i].data.ptr == &fe.line) {
                command_read();
            } else {
                conn_event(evs[i].data.ptr);
            }
        }
    }

    status_say();
    for (i = 0; i < FE_CONNS; i++) {
        if (fe.conns[i].used) {
            conn_close(&fe.conns[i], "exit");
        }
    }

    (void) unlink(fe.socket);
    return fe.faults ? 1 : 0;
}
