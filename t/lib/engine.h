/*
 * A worker in a test: the real engine as a child, connections to it over the
 * real engine/ipc, and requests whose answers are gathered.
 *
 * One thread.  What always holds of an answer is checked as it comes and
 * counted in worker_t.faults: order of records, no DATA beyond the credit,
 * token indices without a gap, exactly one END.
 */

#ifndef LLM_T_LIB_ENGINE_H
#define LLM_T_LIB_ENGINE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "engine/base.h"
#include "engine/ipc/conn.h"
#include "engine/ipc/record.h"
#include "t/lib/tap.h"

#define WORKER_SLOTS 4096
#define ENGINE_MODEL "SmolLM2-135M-Instruct.Q4_1.gguf"

typedef struct {
    pid_t pid;
    char  dir[64];
    char  socket[96];
    char  log[96];
    int   nofile; /* descriptors that it may have; 0: as we */
} engine_t;

typedef struct {
    uint32_t    gen;
    int         open; /* between SUBMIT and END */
    int         admits, heads, ends, datas;
    int         go; /* after ADMIT: 0 nothing, 1 GO, 2 REJECT */
    uint64_t    credit;
    uint32_t    step; /* CREDIT that is given back for what came; 0: none */
    llm_head_t  head;
    llm_admit_t admit;
    llm_end_t   end;
    char        error[64];
    uint32_t    n_tokens; /* of all choices */
    uint32_t    next[128];
    buf_t       out;
} answer_t;

typedef struct {
    llm_ipc_t ipc;
    uint32_t  gen;
    uint32_t  open; /* requests without END */
    uint32_t  faults;
    int       gone; /* the engine ended the connection */
    int       deaf; /* reads nothing: the ring fills */
    buf_t     state;
    int       state_whole;
    answer_t *a; /* [WORKER_SLOTS] */
} worker_t;

typedef struct {
    int         op;
    const char *body;
    size_t      body_len; /* 0: strlen */
    uint32_t    credit;
    uint32_t    step;
    uint32_t    flags;
    uint32_t    queue_ms;
    uint32_t    first_ms;
    uint32_t    request_ms;
    int         go;
    const char *model;
    uint64_t    announce; /* body_len to claim instead */
} ask_t;


__attribute__((unused)) static const char *
engine_cache(void)
{
    static char path[512];
    const char *dir = getenv("NGX_LLM_CACHE");

    if (dir) {
        return dir;
    }

    snprintf(path, sizeof(path), "%s/.cache/ngx-llm",
             getenv("HOME") ? getenv("HOME") : "");

    return path;
}


__attribute__((unused)) static void
engine_need_model(void)
{
    char path[1024];

    snprintf(path, sizeof(path), "%s/%s", engine_cache(), ENGINE_MODEL);
    if (access(path, R_OK) < 0) {
        skip_all("no default model (util/fetch-model smollm2-135m)");
    }
}


/* `more`: options, NULL at the end.  Waits until it listens. */

__attribute__((unused)) static int
engine_start(engine_t *e, const char *const *more)
{
    const char *argv[64] = {0}, *build = getenv("LLM_BUILD"), *tmp;
    char        path[512];
    int         i = 0, fd;

    tmp = getenv("TMPDIR");
    snprintf(e->dir, sizeof(e->dir), "%s/llm-XXXXXX", tmp ? tmp : P_tmpdir);
    if (mkdtemp(e->dir) == NULL) {
        return -errno;
    }

    snprintf(e->socket, sizeof(e->socket), "%s/sock", e->dir);
    snprintf(e->log, sizeof(e->log), "%s/log", e->dir);
    snprintf(path, sizeof(path), "%s/ngx-llm-engine", build ? build : "build");

    argv[i++] = path;
    argv[i++] = "--socket";
    argv[i++] = e->socket;
    argv[i++] = "--model-root";
    argv[i++] = engine_cache();

    while (*more) {
        argv[i++] = *more++;
    }

    e->pid = fork();
    if (e->pid == 0) {
        fd = open(e->log, O_CREAT | O_WRONLY | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        if (e->nofile) {
            setrlimit(RLIMIT_NOFILE,
                      &(struct rlimit){(rlim_t) e->nofile, (rlim_t) e->nofile});
        }
        execv(path, (char **) (uintptr_t) argv);
        _exit(127);
    }

    for (i = 0; i < 2000; i++) {
        if (access(e->socket, F_OK) == 0) {
            return 0;
        }

        if (waitpid(e->pid, NULL, WNOHANG) == e->pid) {
            e->pid = 0;
            return -ECHILD;
        }

        usleep(10000);
    }

    return -ETIMEDOUT;
}


/* What the log says, to be freed. */

__attribute__((unused)) static char *
engine_log(engine_t *e)
{
    buf_t  b = {0};
    FILE  *f = fopen(e->log, "r");
    char  *p;
    size_t n;

    while (f && (p = buf_room(&b, 4096)) != NULL) {
        n = fread(p, 1, 4096, f);
        b.len += n;
        if (n == 0) {
            break;
        }
    }

    if (f) {
        fclose(f);
    }

    buf_add(&b, "", 1);

    return b.data;
}


/* Its exit status, -1 after 20 s; milliseconds that it took. */

__attribute__((unused)) static int
engine_stop(engine_t *e, int sig, uint64_t *ms)
{
    uint64_t start = llm_now_ns();
    int      i, st = -1;

    kill(e->pid, sig);

    for (i = 0; i < 2000; i++) {
        if (waitpid(e->pid, &st, WNOHANG) == e->pid) {
            break;
        }
        usleep(10000);
    }

    if (i == 2000) {
        kill(e->pid, SIGKILL);
        waitpid(e->pid, NULL, 0);
        st = -1;
    }

    if (ms) {
        *ms = (llm_now_ns() - start) / 1000000;
    }

    return st;
}


/* After its end: nothing bad in the log; its folder goes. */

__attribute__((unused)) static void
engine_clean(engine_t *e)
{
    char cmd[128], *log, *bad;

    log = engine_log(e);
    bad = strstr(log, "Sanitizer");
    bad = bad ? bad : strstr(log, "runtime error:");
    bad = bad ? bad : strstr(log, "left over");
    if (!ok(bad == NULL, "no sanitizer report, nothing left over")) {
        diag("%.4000s", bad);
    }

    free(log);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", e->dir);
    if (system(cmd) != 0) {
        diag("%s is left", e->dir);
    }
}


/* The usual end: in order. */

__attribute__((unused)) static void
engine_done(engine_t *e)
{
    int st = engine_stop(e, SIGTERM, NULL);

    ok(WIFEXITED(st) && WEXITSTATUS(st) == 0, "the engine ends in order");
    engine_clean(e);
}


__attribute__((unused)) static int
worker_open(worker_t *w, engine_t *e, uint64_t sub, uint64_t comp)
{
    struct pollfd p;
    answer_t     *a = w->a;
    uint32_t      i;
    int           rc;

    for (i = 0; a && i < WORKER_SLOTS; i++) {
        buf_free(&a[i].out);
    }

    free(a);
    *w = (worker_t){.a = calloc(WORKER_SLOTS, sizeof(answer_t))};

    rc = llm_ipc_connect(&w->ipc, e->socket, sub, comp);
    if (rc < 0) {
        return rc;
    }

    for (i = 0; i < 500; i++) {
        p = (struct pollfd){.fd = w->ipc.sock, .events = POLLIN};
        poll(&p, 1, 10);

        rc = llm_ipc_connected(&w->ipc);
        if (rc != -EAGAIN) {
            break;
        }
    }

    return rc;
}


__attribute__((unused)) static void
worker_close(worker_t *w)
{
    uint32_t i;

    llm_ipc_close(&w->ipc);

    for (i = 0; w->a && i < WORKER_SLOTS; i++) {
        buf_free(&w->a[i].out);
    }

    free(w->a);
    buf_free(&w->state);
    *w = (worker_t){0};
    llm_ipc_init(&w->ipc);
}


__attribute__((unused)) static void
worker_fault(worker_t *w, const char *what, uint32_t slot)
{
    if (w->faults++ < 10) {
        diag("fault: %s, slot %u", what, slot);
    }
}


__attribute__((unused)) static void
worker_flush(worker_t *w)
{
    if (llm_ring_flush(&w->ipc.tx)) {
        llm_ipc_ring(&w->ipc);
    }
}


__attribute__((unused)) static void
worker_data(worker_t *w, const llm_ring_rec_t *rec, answer_t *a)
{
    llm_rec_data_t d;

    if (llm_rec_data_read(rec, &d, NULL) < 0) {
        worker_fault(w, "a broken DATA", rec->hdr.slot);
        return;
    }

    if (!a->heads || d.fixed.n_bytes > a->credit || d.fixed.choice >= 128) {
        worker_fault(w, "DATA before HEAD, or beyond the credit",
                     rec->hdr.slot);
        return;
    }

    if (d.fixed.n_tokens && d.fixed.token_first != a->next[d.fixed.choice]) {
        worker_fault(w, "a gap of tokens", rec->hdr.slot);
    }

    a->next[d.fixed.choice] += d.fixed.n_tokens;
    a->n_tokens += d.fixed.n_tokens;
    a->credit -= d.fixed.n_bytes;
    a->datas++;
    buf_add(&a->out, d.bytes, d.fixed.n_bytes);

    if (a->step && a->credit < a->step) {
        while (llm_rec_credit_write(&w->ipc.tx, rec->hdr.slot, rec->hdr.gen,
                                    a->step)
               == -EAGAIN) {
            worker_flush(w); /* it is the engine's to make room */
            usleep(1000);
        }
        a->credit += a->step;
    }
}


__attribute__((unused)) static void
worker_end(worker_t *w, const llm_ring_rec_t *rec, answer_t *a)
{
    static char   buf[LLM_REC_END_BUF];
    llm_rec_str_t str[LLM_REC_END_STRINGS];

    if (llm_rec_end_read(rec, &a->end, str, buf) < 0) {
        worker_fault(w, "a broken END", rec->hdr.slot);
        return;
    }

    snprintf(a->error, sizeof(a->error), "%.*s", (int) str[0].len, str[0].data);

    if (!a->heads && a->end.outcome != LLM_END_CANCELLED) {
        worker_fault(w, "END without HEAD", rec->hdr.slot);
    }

    a->ends++;
    a->open = 0;
    w->open--;
}


__attribute__((unused)) static void
worker_record(worker_t *w, const llm_ring_rec_t *rec)
{
    char          buf[LLM_REC_ADMIT_BUF];
    llm_rec_str_t model;
    answer_t     *a;
    int           rc;

    if (rec->hdr.type == LLM_REC_MODEL_STATE) {
        if (w->state_whole) {
            buf_reset(&w->state);
        }
        buf_add(&w->state, rec->payload, rec->len);
        w->state_whole = !(rec->hdr.flags & LLM_REC_MORE);
        return;
    }

    a = rec->hdr.slot < WORKER_SLOTS ? &w->a[rec->hdr.slot] : NULL;
    if (a == NULL || !a->open || a->gen != rec->hdr.gen) {
        worker_fault(w, "a record for nobody", rec->hdr.slot);
        return;
    }

    switch (rec->hdr.type) {

    case LLM_REC_ADMIT:
        if (llm_rec_admit_read(rec, &a->admit, &model, buf) < 0 || a->heads
            || a->admits++) {
            worker_fault(w, "ADMIT", rec->hdr.slot);
        }

        if (a->go) {
            rc = a->go == 1
                     ? llm_ring_write(&w->ipc.tx, LLM_REC_GO, 0, rec->hdr.slot,
                                      rec->hdr.gen, NULL, 0, NULL, 0)
                     : llm_rec_reject_write(&w->ipc.tx, rec->hdr.slot,
                                            rec->hdr.gen, 1234);
            if (rc < 0) {
                worker_fault(w, "no room for GO", rec->hdr.slot);
            }
        }
        break;

    case LLM_REC_HEAD:
        if (llm_rec_head_read(rec, &a->head) < 0 || a->heads++) {
            worker_fault(w, "HEAD", rec->hdr.slot);
        }
        break;

    case LLM_REC_DATA:
        worker_data(w, rec, a);
        break;

    case LLM_REC_END:
        worker_end(w, rec, a);
        break;

    default:
        worker_fault(w, "a strange record", rec->hdr.slot);
    }
}


/* One turn: what came, what is to go, and up to `ms` of sleep before. */

__attribute__((unused)) static void
worker_turn(worker_t *w, int ms)
{
    struct pollfd  p[2];
    llm_ring_rec_t rec;
    int            rc = 0;

    if (w->gone) {
        return;
    }

    do {
        while (!w->deaf && (rc = llm_ring_peek(&w->ipc.rx, &rec)) == 1) {
            worker_record(w, &rec);
            llm_ring_next(&w->ipc.rx, &rec);
        }

        if (rc < 0) {
            worker_fault(w, "the engine broke the ring", 0);
            w->gone = 1;
            return;
        }

        if (llm_ring_release(&w->ipc.rx)) {
            llm_ipc_ring(&w->ipc);
        }

        worker_flush(w);

        if (ms == 0 || w->deaf) {
            break;
        }

    } while (llm_ring_arm(&w->ipc.rx));

    p[0] = (struct pollfd){.fd = w->ipc.efd_rx, .events = POLLIN};
    p[1] = (struct pollfd){.fd = w->ipc.sock, .events = POLLIN};

    if (poll(p, 2, ms) > 0) {
        if (p[0].revents) {
            llm_ipc_drain(&w->ipc);
        }

        if (p[1].revents && llm_ipc_dead(&w->ipc)) {
            w->gone = 1;
        }
    }
}


/* Writes a record however full the ring is; -EPIPE if the engine goes. */

__attribute__((unused)) static int
worker_write(worker_t *w, uint8_t type, uint8_t flags, uint32_t slot,
             uint32_t gen, const void *data, size_t len)
{
    uint64_t end = llm_now_ns() + 20000000000ull;
    int      rc;

    for (;;) {
        rc = llm_ring_write(&w->ipc.tx, type, flags, slot, gen, data,
                            (uint32_t) len, NULL, 0);
        if (rc != -EAGAIN || w->gone || llm_now_ns() > end) {
            return w->gone ? -EPIPE : rc;
        }

        worker_turn(w, 10);
    }
}


__attribute__((unused)) static int
worker_manifest(worker_t *w, const char *json)
{
    size_t len = strlen(json), n;
    int    rc;

    do {
        n = len > 4000 ? 4000 : len;
        rc = worker_write(w, LLM_REC_MANIFEST, n < len ? LLM_REC_MORE : 0,
                          LLM_SLOT_NONE, 0, json, n);
        json += n;
        len -= n;
    } while (len && rc == 0);

    worker_flush(w);

    return rc;
}


/* SUBMIT and its whole body.  0 or -errno. */

__attribute__((unused)) static int
worker_ask(worker_t *w, uint32_t slot, const ask_t *q)
{
    static const char hex[] = "0123456789abcdef";
    llm_rec_str_t     str[LLM_REC_SUBMIT_STRINGS] = {
            {"", 0}, {"t", 1}, {"", 0}, {"", 0}};
    llm_submit_t s = {.op = (uint16_t) q->op,
                      .dialect = LLM_DIALECT_OPENAI,
                      .flags = q->flags,
                      .created = 1700000000,
                      .seed = 42,
                      .credit = q->credit,
                      .queue_ms = q->queue_ms,
                      .first_token_ms = q->first_ms,
                      .request_ms = q->request_ms};
    answer_t    *a = &w->a[slot];
    size_t       len, n, off, piece = llm_ring_payload_max(&w->ipc.tx);
    int          rc, i;

    len = q->body ? q->body_len ? q->body_len : strlen(q->body) : 0;
    s.body_len = q->announce ? q->announce : len;

    for (i = 0; i < 32; i++) {
        s.id[i] = (uint8_t) hex[(slot >> (i % 4) * 4) & 15];
    }

    if (q->model) {
        str[0] = (llm_rec_str_t){q->model, (uint32_t) strlen(q->model)};
    }

    buf_free(&a->out);
    *a = (answer_t){.gen = ++w->gen,
                    .open = 1,
                    .credit = q->credit,
                    .step = q->step,
                    .go = q->go};
    w->open++;

    while ((rc = llm_rec_submit_write(&w->ipc.tx, slot, a->gen, &s, str))
           == -EAGAIN) {
        worker_turn(w, 10);
        if (w->gone) {
            return -EPIPE;
        }
    }

    piece = piece > LLM_BODY_MAX ? LLM_BODY_MAX : piece;

    for (off = 0; off < len && rc == 0; off += n) {
        n = len - off > piece ? piece : len - off;
        rc = worker_write(w, LLM_REC_BODY, off + n < len ? LLM_REC_MORE : 0,
                          slot, a->gen, q->body + off, n);
    }

    worker_flush(w);

    return rc;
}


__attribute__((unused)) static int
worker_cancel(worker_t *w, uint32_t slot)
{
    int rc = worker_write(w, LLM_REC_CANCEL, 0, slot, w->a[slot].gen, NULL, 0);

    worker_flush(w);

    return rc;
}


/* Until no request is open, or the connection is gone: 0, or -ETIMEDOUT. */

__attribute__((unused)) static int
worker_wait(worker_t *w, int ms)
{
    uint64_t end = llm_now_ns() + (uint64_t) ms * 1000000;

    while (w->open && !w->gone) {
        if (llm_now_ns() > end) {
            return -ETIMEDOUT;
        }
        worker_turn(w, 50);
    }

    return 0;
}


/* Asks and waits; the body of the answer, with a 0 behind it. */

__attribute__((unused)) static answer_t *
worker_get(worker_t *w, uint32_t slot, const ask_t *q)
{
    answer_t *a = &w->a[slot];

    if (worker_ask(w, slot, q) < 0 || worker_wait(w, 60000) < 0) {
        worker_fault(w, "no answer", slot);
    }

    buf_add(&a->out, "", 1);
    a->out.len -= a->out.len > 0;

    return a;
}


/* One number of /metrics; -1: it is not there. */

__attribute__((unused)) static double
worker_metric(worker_t *w, const char *name)
{
    answer_t *a;
    char     *p;
    size_t    n = strlen(name);

    a = worker_get(w, WORKER_SLOTS - 1,
                   &(ask_t){.op = LLM_OP_METRICS, .credit = 1u << 30});

    for (p = a->out.data; p && (p = strstr(p, name)) != NULL; p += n) {
        if (p > a->out.data && p[-1] == '\n' && p[n] == '{') {
            p = strstr(p, "} ");
            return p ? atof(p + 2) : -1;
        }
    }

    return -1;
}


/* Until a metric has that value: 1; 0 after 10 s. */

__attribute__((unused)) static int
worker_metric_is(worker_t *w, const char *name, double value)
{
    double v = -1;
    int    i;

    for (i = 0; i < 200; i++) {
        v = worker_metric(w, name);
        if (v == value || w->gone) {
            return v == value;
        }
        usleep(50000);
    }

    diag("%s is %g, not %g", name, v, value);

    return 0;
}


/* Until MODEL_STATE holds a text. */

__attribute__((unused)) static int
worker_state(worker_t *w, const char *text)
{
    uint64_t end = llm_now_ns() + 60000000000ull;

    while (llm_now_ns() < end && !w->gone) {
        if (w->state_whole
            && memmem(w->state.data, w->state.len, text, strlen(text))) {
            return 1;
        }
        worker_turn(w, 20);
    }

    return 0;
}

#endif /* LLM_T_LIB_ENGINE_H */
