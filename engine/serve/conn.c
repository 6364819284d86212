/*
 * Connections of NGINX's workers: set-up, records in, death.  io thread.
 *
 * A worker is not trusted: every record is checked against the request's
 * state here, after its contents were by ipc/record.c.  Whatever is wrong
 * costs that connection, which takes its requests along, and nothing else.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "engine/serve/serve.h"

/* Records taken from one connection before others get their turn. */
#define CONN_BUDGET 256
/* Without descriptors or memory: a pause before the next accept(). */
#define CONN_DEAF_NS 500000000ull

static int  conn_new(serve_t *s);
static void conn_deaf(serve_t *s, uint64_t until_ns);
static int  conn_connected(conn_t *c);
static int  conn_record(conn_t *c, const llm_ring_rec_t *rec);
static int  conn_manifest(conn_t *c, const llm_ring_rec_t *rec);
static int  conn_submit(conn_t *c, const llm_ring_rec_t *rec);
static int  conn_body(conn_t *c, const llm_ring_rec_t *rec);
static int  conn_credit(conn_t *c, const llm_ring_rec_t *rec);
static int  conn_answer(req_t *r, const llm_ring_rec_t *rec);
static int  conn_find(conn_t *c, const llm_ring_rec_t *rec, req_t **r);


void
conn_accept(serve_t *s)
{
    int rc;

    do {
        rc = conn_new(s);
    } while (rc == 0);

    if (rc == -EAGAIN) {
        return;
    }

    /* It stays readable: without a pause we would spin. */
    log_error("accept failed: %s", strerror(-rc));
    conn_deaf(s, llm_now_ns() + CONN_DEAF_NS);
}


/* until_ns 0: listens again. */

static void
conn_deaf(serve_t *s, uint64_t until_ns)
{
    struct epoll_event ev = {.events = until_ns ? 0 : EPOLLIN,
                             .data.u64 = SERVE_FD(s->listen)};

    s->deaf_ns = until_ns;

    if (epoll_ctl(s->epoll, EPOLL_CTL_MOD, s->listen, &ev) < 0) {
        log_error("epoll_ctl failed: %s", strerror(errno));
    }
}


static int
conn_new(serve_t *s)
{
    struct epoll_event ev;
    conn_t            *c;
    int                rc;

    c = calloc(1, sizeof(conn_t));
    if (c == NULL) {
        return -ENOMEM;
    }

    llm_ipc_init(&c->ipc);

    rc = llm_ipc_accept(&c->ipc, s->listen);
    if (rc < 0) {
        free(c);
        return rc;
    }

    c->serve = s;
    c->number = ++s->conn_number;
    c->since_ns = llm_now_ns();
    c->out_tail = &c->out_head;

    ev = (struct epoll_event){.events = EPOLLIN | EPOLLRDHUP,
                              .data.u64 = (uintptr_t) c | 1};

    if (s->n_conns >= SERVE_CONNS_MAX
        || epoll_ctl(s->epoll, EPOLL_CTL_ADD, c->ipc.sock, &ev) < 0) {
        log_error("connection refused: %u are open", s->n_conns);
        (void) llm_ipc_hello(&c->ipc, 0, s->boot); /* says so, if it asked */
        llm_ipc_close(&c->ipc);
        free(c);
        return 0;
    }

    c->next = s->conns;
    s->conns = c;
    s->n_conns++;

    return 0;
}


/* The socket is readable: HELLO, or the end. */

void
conn_socket(conn_t *c)
{
    int rc;

    if (c->connected) {
        if (llm_ipc_dead(&c->ipc)) {
            conn_kill(c, NULL, 0);
        }

        return;
    }

    rc = llm_ipc_hello(&c->ipc, c->serve->slots, c->serve->boot);
    if (rc == -EAGAIN) {
        return;
    }

    if (rc == 0) {
        rc = conn_connected(c);
    }

    if (rc < 0) {
        conn_kill(c, "set-up failed", rc);
    }
}


static int
conn_connected(conn_t *c)
{
    struct epoll_event ev;

    c->slots = calloc(c->serve->slots, sizeof(req_t *));
    c->gens = calloc(c->serve->slots, sizeof(uint32_t));

    if (c->slots == NULL || c->gens == NULL) {
        return -ENOMEM;
    }

    ev = (struct epoll_event){.events = EPOLLIN | EPOLLET,
                              .data.u64 = (uintptr_t) c};

    if (epoll_ctl(c->serve->epoll, EPOLL_CTL_ADD, c->ipc.efd_rx, &ev) < 0) {
        return -errno;
    }

    c->connected = 1;
    conn_tick(c->serve, llm_now_ns());

    log_info("connection %u: worker %d of uid %d", c->number, (int) c->ipc.peer,
             (int) c->ipc.peer_uid);

    conn_read(c);

    return 0;
}


/* Connections whose turn ended with records unread. */

void
conn_again(serve_t *s)
{
    conn_t *c;

    if (!s->again) {
        return;
    }

    s->again = 0;

    for (c = s->conns; c; c = c->next) {
        if (c->again && !c->dead) {
            c->again = 0;
            conn_read(c);
        }
    }
}


/*
 * The doorbell rang: records came, or the worker made room.  What there is to
 * send goes in send_flush(), at the end of the loop's turn.
 */

void
conn_read(conn_t *c)
{
    llm_ring_rec_t rec;
    int            n, rc;

    do {
        rc = 0;

        for (n = 0; n < CONN_BUDGET; n++) {
            rc = llm_ring_peek(&c->ipc.rx, &rec);
            if (rc <= 0) {
                break;
            }

            rc = conn_record(c, &rec);
            if (rc < 0) {
                break;
            }

            llm_ring_next(&c->ipc.rx, &rec);
        }

        if (rc < 0) {
            conn_kill(c, "a broken record", rc);
            return;
        }

        if (llm_ring_release(&c->ipc.rx)) {
            c->ring_due = 1;
        }

        if (n == CONN_BUDGET) {
            c->again = c->serve->again = 1; /* others first */
            return;
        }

    } while (llm_ring_arm(&c->ipc.rx));
}


static int
conn_record(conn_t *c, const llm_ring_rec_t *rec)
{
    req_t *r;
    int    rc;

    switch (rec->hdr.type) {

    case LLM_REC_MANIFEST:
        return conn_manifest(c, rec);

    case LLM_REC_SUBMIT:
        return conn_submit(c, rec);

    case LLM_REC_BODY:
        return conn_body(c, rec);

    case LLM_REC_CREDIT:
        return conn_credit(c, rec);

    case LLM_REC_GO:
    case LLM_REC_CANCEL:
    case LLM_REC_REJECT:
        rc = conn_find(c, rec, &r);
        if (rc <= 0) {
            return rc;
        }

        if (rec->hdr.type == LLM_REC_CANCEL) {
            req_cancel(r);
            return 0;
        }

        return conn_answer(r, rec);

    default:
        return -EPROTO;
    }
}


/* GO or REJECT. */

static int
conn_answer(req_t *r, const llm_ring_rec_t *rec)
{
    llm_reject_t reject = {0};

    if (rec->hdr.type == LLM_REC_REJECT) {
        LLM_TRY(llm_rec_reject_read(rec, &reject));
    }

    if (r->phase == PHASE_END) {
        return 0; /* it crossed our END: a deadline, or its own CANCEL */
    }

    if (r->phase != PHASE_GO) {
        return -EPROTO;
    }

    if (rec->hdr.type == LLM_REC_GO) {
        req_go(r);
        return 0;
    }

    gen_error(&r->error, 429, "rate_limit_exceeded", NULL,
              "Rate limit reached. Please try again later.");
    r->error.retry_ms = reject.retry_ms;
    req_fail(r);

    return 0;
}


/*
 * The request that a record names: 1.  0: it ended, and the worker's record
 * crossed our END: not a fault.  A name that was never given is one.
 */

static int
conn_find(conn_t *c, const llm_ring_rec_t *rec, req_t **r)
{
    if (rec->hdr.slot >= c->serve->slots
        || rec->hdr.gen > c->gens[rec->hdr.slot] || rec->hdr.gen == 0) {
        return -EPROTO;
    }

    *r = c->slots[rec->hdr.slot];

    return *r != NULL && (*r)->gen == rec->hdr.gen;
}


static int
conn_manifest(conn_t *c, const llm_ring_rec_t *rec)
{
    char err[K_ERR_MAX];
    int  rc;

    if (c->has_manifest || c->manifest.len + rec->len > LLM_MANIFEST_MAX) {
        return -EPROTO;
    }

    buf_add(&c->manifest, rec->payload, rec->len);
    if (c->manifest.failed) {
        return -ENOMEM;
    }

    if (rec->hdr.flags & LLM_REC_MORE) {
        return 0;
    }

    c->has_manifest = 1;
    rc = manifest_read(c, c->manifest.data ? c->manifest.data : "",
                       c->manifest.len, err);
    buf_free(&c->manifest);

    if (rc < 0) {
        log_error("connection %u: manifest: %s", c->number, err);
    }

    return rc;
}


static int
conn_submit(conn_t *c, const llm_ring_rec_t *rec)
{
    llm_rec_str_t str[LLM_REC_SUBMIT_STRINGS];
    uint32_t      slot = rec->hdr.slot;
    str_t        *to[LLM_REC_SUBMIT_STRINGS];
    req_t        *r;
    int           i, rc;

    if (slot >= c->serve->slots || c->slots[slot] != NULL
        || rec->hdr.gen <= c->gens[slot]) {
        return -EPROTO;
    }

    r = req_new(c, slot, rec->hdr.gen);
    if (r == NULL) {
        return -ENOMEM;
    }

    rc = llm_rec_submit_read(rec, &r->submit, str, r->strings);
    if (rc < 0) {
        req_release(r);
        return rc;
    }

    to[0] = &r->model_arg;
    to[1] = &r->tenant;
    to[2] = &r->salt;
    to[3] = &r->request_id;

    for (i = 0; i < LLM_REC_SUBMIT_STRINGS; i++) {
        *to[i] = (str_t){str[i].data, str[i].len};
    }

    memcpy(r->id, r->submit.id, sizeof(r->submit.id));
    r->credit = r->submit.credit;

    c->slots[slot] = r;
    c->gens[slot] = rec->hdr.gen;
    c->in_flight++;

    req_start(r);

    return 0;
}


static int
conn_body(conn_t *c, const llm_ring_rec_t *rec)
{
    req_t *r;
    int    rc;

    rc = conn_find(c, rec, &r);
    if (rc <= 0) {
        return rc;
    }

    if (r->phase == PHASE_END) {
        return 0; /* cancelled or failed meanwhile */
    }

    if (r->phase != PHASE_BODY || rec->len == 0 || rec->len > LLM_BODY_MAX
        || r->body.len + rec->len > r->submit.body_len) {
        return -EPROTO;
    }

    buf_add(&r->body, rec->payload, rec->len);
    if (r->body.failed) {
        return -ENOMEM;
    }

    if ((r->body.len == r->submit.body_len)
        != !(rec->hdr.flags & LLM_REC_MORE)) {
        return -EPROTO;
    }

    if (r->body.len == r->submit.body_len) {
        req_body_done(r);
    }

    return 0;
}


static int
conn_credit(conn_t *c, const llm_ring_rec_t *rec)
{
    llm_credit_t credit;
    req_t       *r;
    int          rc;

    LLM_TRY(llm_rec_credit_read(rec, &credit));

    rc = conn_find(c, rec, &r);
    if (rc <= 0) {
        return rc;
    }

    if (r->credit + credit.bytes > UINT32_MAX) {
        return -EPROTO;
    }

    r->credit += credit.bytes;

    if (r->phase == PHASE_RUN || r->phase == PHASE_END) {
        send_due(r);
    }

    return 0;
}


/* Ends a connection; it is freed by conn_sweep() at the end of the turn. */

void
conn_kill(conn_t *c, const char *why, int rc)
{
    uint32_t i;
    req_t   *r;

    if (c->dead) {
        return;
    }

    c->dead = 1;

    if (why) {
        log_error("connection %u of worker %d: %s (%s): closed", c->number,
                  (int) c->ipc.peer, why, strerror(-rc));
    } else if (c->connected) {
        log_info("connection %u of worker %d ended, %u requests in flight",
                 c->number, (int) c->ipc.peer, c->in_flight);
    }

    send_forget_all(c);

    for (i = 0; c->slots && i < c->serve->slots && c->in_flight; i++) {
        r = c->slots[i];
        if (r == NULL) {
            continue;
        }

        c->slots[i] = NULL;
        c->in_flight--;
        r->conn = NULL;
        req_cancel(r);
    }

    models_forget(c);

    /*
     * Closing does not do this: the worker holds the same eventfd, and epoll
     * goes on telling of it with a pointer to what is gone.
     */
    if (c->ipc.efd_rx >= 0) {
        (void) epoll_ctl(c->serve->epoll, EPOLL_CTL_DEL, c->ipc.efd_rx, NULL);
    }

    (void) epoll_ctl(c->serve->epoll, EPOLL_CTL_DEL, c->ipc.sock, NULL);

    llm_ipc_close(&c->ipc);
}


void
conn_sweep(serve_t *s)
{
    conn_t **p, *c;

    for (p = &s->conns; (c = *p) != NULL;) {
        if (!c->dead || c->fronts) {
            p = &c->next;
            continue;
        }

        *p = c->next;
        s->n_conns--;
        buf_free(&c->manifest);
        buf_free(&c->state);
        free(c->slots);
        free(c->gens);
        free(c);
    }
}


/*
 * The region's status page: heartbeat, steps, load.  Who has not said HELLO
 * in time goes, and a pause of accept() ends.
 */

void
conn_tick(serve_t *s, uint64_t now_ns)
{
    sched_stats_t st;
    llm_status_t  status;
    uint32_t      waiting, grammars;
    conn_t       *c;

    sched_stats(s->sched, &st);

    /* Who waits for a grammar waits for no step: the engine does not stall. */
    grammars = atomic_load(&s->grammars);
    waiting = s->waiting > grammars ? s->waiting - grammars : 0;

    status = (llm_status_t){.heartbeat = now_ns / 1000000,
                            .steps = st.steps,
                            .running = st.running,
                            .waiting = st.waiting + waiting,
                            .kv_pages = st.pages,
                            .kv_pages_free = st.pages_free};

    for (c = s->conns; c; c = c->next) {
        if (c->dead) {
            continue;
        }

        if (c->connected) {
            llm_ipc_status_write(&c->ipc, &status);

        } else if (now_ns - c->since_ns > LLM_HELLO_MS * 1000000ull
                   && now_ns > c->since_ns) {
            conn_kill(c, "no HELLO", -ETIMEDOUT);
        }
    }

    if (s->deaf_ns && now_ns >= s->deaf_ns) {
        conn_deaf(s, 0);
    }
}
