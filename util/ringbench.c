/*
 * ringbench: the ring beside a Unix stream socket, in one run, taking turns.
 * Prints the median of five rounds as a table, or with --json as a list for
 * build/bench.json; progress goes to stderr.  `ratio` is ours / peer.
 *
 * Two processes, as the worker and the engine are.  Both transports wait by
 * epoll, carry 16 bytes of header a message, and leave it in memory that the
 * other cannot change.  Where the ring gathers what it publishes, so does the
 * socket what it writes.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "engine/ipc/conn.h"

#define ROUNDS    5
#define LIMIT     0.22 /* seconds for one measurement */
#define SMALL     128
#define EVENTS    16  /* token events in a step */
#define EVENT_LEN 100 /* bytes of each */
#define PAUSE_NS  50000
#define STEPS     10000 /* at most */
#define BODY      (1u << 20)
#define PIECE     LLM_BODY_MAX
#define BUF_SIZE  (1u << 18)

#define MORE 0 /* first byte of a message */
#define LAST 1

enum { RING, SOCKET };

typedef struct {
    int       kind;
    uint8_t   type; /* of records: any that this end may send */
    uint32_t  slot;
    int       ep;
    int       sock;
    llm_ipc_t ipc;
    uint8_t  *buf; /* RING: the message; SOCKET: what was read */
    size_t    in, out, drained;
    uint8_t  *gather; /* SOCKET: to be written */
    size_t    gathered;
} chan_t;

typedef struct {
    double   cpu; /* seconds, of the child */
    uint64_t n;
} shared_t;

typedef struct {
    const char *name;
    const char *unit;
    double      v[2][ROUNDS];
} row_t;

static row_t rows[] = {
    {"ring: round trip, 128 B, p50", "us", {{0}}},
    {"ring: round trip, 128 B, p99", "us", {{0}}},
    {"ring: one way, 128 B", "M messages/s", {{0}}},
    {"ring: CPU per token event, 16 a step", "us", {{0}}},
    {"ring: bodies of 1 MB", "GB/s", {{0}}},
};

#define ROWS ((int) (sizeof(rows) / sizeof(rows[0])))

static char      path[300];
static int       listener;
static shared_t *shared;

static double now(void);
static double cpu(void);
static void   die(const char *what);
static void   chan_open(chan_t *worker, int kind, int pair[2]);
static void   chan_accept(chan_t *engine, int kind, int pair[2]);
static void   chan_watch(chan_t *c, int fd);
static void   chan_close(chan_t *c);
static void   chan_put(chan_t *c, const uint8_t *p, uint32_t len);
static void   chan_flush(chan_t *c);
static int    chan_get(chan_t *c, uint8_t **p, uint32_t *len);
static void   chan_next(chan_t *c, uint8_t **p, uint32_t *len);
static void   chan_wait(chan_t *c);
static size_t chan_take(chan_t *c, uint8_t *dst, size_t size);
static pid_t  peer_start(int kind, chan_t *c, void (*run)(chan_t *));
static void   peer_end(pid_t pid, chan_t *c);
static void   echo_run(chan_t *c);
static void   sink_run(chan_t *c);
static void   body_run(chan_t *c);
static int    compare(const void *a, const void *b);
static void   measure_trip(int kind, int round);
static void   measure_flood(int kind, int round);
static void   measure_cpu(int kind, int round);
static void   measure_body(int kind, int round);
static double median(const double *v);
static void   print_table(void);
static void   print_json(void);


int
main(int argc, char **argv)
{
    int         i, kind, json;
    char        dir[256];
    const char *tmp;

    json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 1 && !json) {
        fprintf(stderr, "usage: %s [--json]\n", argv[0]);
        return 2;
    }

    tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/llm-ringbench-XXXXXX", tmp ? tmp : P_tmpdir);
    if (mkdtemp(dir) == NULL) {
        die("mkdtemp()");
    }

    snprintf(path, sizeof(path), "%s/engine.sock", dir);
    listener = llm_ipc_listen(path, 0600);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (listener < 0 || shared == MAP_FAILED) {
        die("set-up");
    }

    for (i = 0; i < ROUNDS; i++) {
        for (kind = RING; kind <= SOCKET; kind++) {
            fprintf(stderr, "ringbench: round %d of %d, %s\n", i + 1, ROUNDS,
                    kind == RING ? "ring" : "unix stream socket");
            measure_trip(kind, i);
            measure_flood(kind, i);
            measure_cpu(kind, i);
            measure_body(kind, i);
        }
    }

    (void) close(listener);
    (void) unlink(path);
    (void) rmdir(dir);

    if (json) {
        print_json();

    } else {
        print_table();
    }

    return 0;
}


static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static double
cpu(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static void
die(const char *what)
{
    fprintf(stderr, "ringbench: %s failed: %s\n", what, strerror(errno));
    exit(1);
}


/* The worker's end; the peer makes its own after fork(). */

static void
chan_open(chan_t *worker, int kind, int pair[2])
{
    memset(worker, 0, sizeof(*worker));
    worker->kind = kind;
    worker->sock = -1;
    worker->type = LLM_REC_BODY;

    if (kind == RING) {
        if (llm_ipc_connect(&worker->ipc, path, LLM_RING_DEFAULT,
                            LLM_RING_DEFAULT)
            != 0) {
            die("llm_ipc_connect()");
        }

        return;
    }

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair)
        != 0) {
        die("socketpair()");
    }

    worker->sock = pair[0];
    chan_watch(worker, worker->sock);
}


static void
chan_accept(chan_t *engine, int kind, int pair[2])
{
    memset(engine, 0, sizeof(*engine));
    engine->kind = kind;
    engine->sock = -1;
    engine->type = LLM_REC_MODEL_STATE;
    engine->slot = LLM_SLOT_NONE;

    if (kind == RING) {
        if (llm_ipc_accept(&engine->ipc, listener) != 0
            || llm_ipc_hello(&engine->ipc, 16, 1) != 0) {
            die("llm_ipc_hello()");
        }

        chan_watch(engine, engine->ipc.efd_rx);
        return;
    }

    (void) close(pair[0]);
    engine->sock = pair[1];
    chan_watch(engine, engine->sock);
}


static void
chan_watch(chan_t *c, int fd)
{
    struct epoll_event ev;

    memset(&ev, 0, sizeof(ev));
    ev.events = c->kind == RING ? EPOLLIN | EPOLLET : EPOLLIN;

    c->ep = epoll_create1(EPOLL_CLOEXEC);
    c->buf = malloc(BUF_SIZE);
    c->gather = malloc(BUF_SIZE);

    if (c->ep == -1 || epoll_ctl(c->ep, EPOLL_CTL_ADD, fd, &ev) == -1
        || c->buf == NULL || c->gather == NULL) {
        die("epoll");
    }
}


static void
chan_close(chan_t *c)
{
    if (c->kind == RING) {
        llm_ipc_close(&c->ipc);

    } else {
        (void) close(c->sock);
    }

    (void) close(c->ep);
    free(c->buf);
    free(c->gather);
}


/* One message, to be sent with the next flush. */

static void
chan_put(chan_t *c, const uint8_t *p, uint32_t len)
{
    int       rc;
    llm_rec_t hdr;

    if (c->kind == RING) {
        while ((rc = llm_ring_write(&c->ipc.tx, c->type, 0, c->slot, 0, p, len,
                                    NULL, 0))
               == -EAGAIN) {
            chan_flush(c);
            chan_wait(c);
        }

        if (rc != 0) {
            die("llm_ring_write()");
        }

        return;
    }

    memset(&hdr, 0, sizeof(hdr));
    hdr.len = (uint32_t) sizeof(hdr) + len;
    memcpy(c->gather + c->gathered, &hdr, sizeof(hdr));
    memcpy(c->gather + c->gathered + sizeof(hdr), p, len);
    c->gathered += hdr.len;
}


static void
chan_flush(chan_t *c)
{
    size_t             off;
    ssize_t            n;
    struct epoll_event ev;

    if (c->kind == RING) {
        if (llm_ring_flush(&c->ipc.tx)) {
            llm_ipc_ring(&c->ipc);
        }

        return;
    }

    for (off = 0; off < c->gathered; off += (size_t) n) {
        n = write(c->sock, c->gather + off, c->gathered - off);

        if (n == -1) {
            if (errno != EAGAIN) {
                die("write()");
            }

            memset(&ev, 0, sizeof(ev));
            ev.events = EPOLLIN | EPOLLOUT;
            (void) epoll_ctl(c->ep, EPOLL_CTL_MOD, c->sock, &ev);
            (void) epoll_wait(c->ep, &ev, 1, 1000);
            ev.events = EPOLLIN;
            (void) epoll_ctl(c->ep, EPOLL_CTL_MOD, c->sock, &ev);
            n = 0;
        }
    }

    c->gathered = 0;
}


/* The next message, in memory of one's own; 0 if there is none now. */

static int
chan_get(chan_t *c, uint8_t **p, uint32_t *len)
{
    int            rc;
    ssize_t        n;
    llm_rec_t      hdr;
    llm_ring_rec_t rec;

    if (c->kind == RING) {
        rc = llm_ring_peek(&c->ipc.rx, &rec);
        if (rc < 0) {
            die("llm_ring_peek()");
        }

        if (rc == 0) {
            return 0;
        }

        memcpy(c->buf, rec.payload, rec.len);
        *p = c->buf;
        *len = rec.len;
        llm_ring_next(&c->ipc.rx, &rec);

        /* give back now and then, as a reader of a batch does */

        c->drained += rec.span;
        if (c->drained > c->ipc.rx.size / 4) {
            c->drained = 0;
            if (llm_ring_release(&c->ipc.rx)) {
                llm_ipc_ring(&c->ipc);
            }
        }

        return 1;
    }

    for (;;) {
        if (c->in - c->out >= sizeof(hdr)) {
            memcpy(&hdr, c->buf + c->out, sizeof(hdr));

            if (c->in - c->out >= hdr.len) {
                *p = c->buf + c->out + sizeof(hdr);
                *len = hdr.len - (uint32_t) sizeof(hdr);
                c->out += hdr.len;
                return 1;
            }
        }

        memmove(c->buf, c->buf + c->out, c->in - c->out);
        c->in -= c->out;
        c->out = 0;

        n = read(c->sock, c->buf + c->in, BUF_SIZE - c->in);
        if (n == 0) {
            die("read(): the peer is gone, which");
        }

        if (n == -1) {
            return 0;
        }

        c->in += (size_t) n;
    }
}


static void
chan_next(chan_t *c, uint8_t **p, uint32_t *len)
{
    struct epoll_event ev;

    /* a socket whose last read() was short has nothing now: wait first */

    if (c->kind == SOCKET && c->in == c->out) {
        (void) epoll_wait(c->ep, &ev, 1, 1000);
    }

    while (!chan_get(c, p, len)) {
        chan_wait(c);
    }
}


static void
chan_wait(chan_t *c)
{
    struct epoll_event ev;

    if (c->kind == RING) {
        if (llm_ring_release(&c->ipc.rx)) {
            llm_ipc_ring(&c->ipc);
        }

        if (llm_ring_arm(&c->ipc.rx)) {
            return;
        }
    }

    if (epoll_wait(c->ep, &ev, 1, 5000) == 0) {
        die("waiting");
    }
}


/* Bytes of a body, wherever its pieces end: the best that each can do. */

static size_t
chan_take(chan_t *c, uint8_t *dst, size_t size)
{
    ssize_t        n;
    llm_ring_rec_t rec;

    if (c->kind == SOCKET) {
        while ((n = read(c->sock, dst, size)) == -1) {
            chan_wait(c);
        }

        if (n == 0) {
            die("read(): the peer is gone, which");
        }

        return (size_t) n;
    }

    while (llm_ring_peek(&c->ipc.rx, &rec) != 1) {
        chan_wait(c);
    }

    memcpy(dst, rec.payload, rec.len);
    llm_ring_next(&c->ipc.rx, &rec);

    if (llm_ring_release(&c->ipc.rx)) {
        llm_ipc_ring(&c->ipc);
    }

    return rec.len;
}


/* Opens a channel to a child that runs its other end. */

static pid_t
peer_start(int kind, chan_t *c, void (*run)(chan_t *))
{
    int    pair[2];
    pid_t  pid;
    chan_t engine;

    memset(shared, 0, sizeof(*shared));
    chan_open(c, kind, pair);

    pid = fork();
    if (pid == -1) {
        die("fork()");
    }

    if (pid == 0) {
        chan_accept(&engine, kind, pair);
        run(&engine);
        _exit(0);
    }

    if (kind == SOCKET) {
        (void) close(pair[1]);
        return pid;
    }

    while (llm_ipc_connected(&c->ipc) == -EAGAIN) {
        usleep(100);
    }

    if (c->ipc.slots == 0) {
        die("llm_ipc_connected()");
    }

    chan_watch(c, c->ipc.efd_rx);

    return pid;
}


static void
peer_end(pid_t pid, chan_t *c)
{
    int status;

    if (waitpid(pid, &status, 0) != pid || status != 0) {
        die("the other process");
    }

    chan_close(c);
}


static void
echo_run(chan_t *c)
{
    int      last;
    uint8_t *p;
    uint32_t len;

    do {
        chan_next(c, &p, &len);
        last = p[0];
        chan_put(c, p, len);
        chan_flush(c);
    } while (last != LAST);
}


/* Takes messages until the last, and says what they cost it. */

static void
sink_run(chan_t *c)
{
    int      last;
    double   c0;
    uint8_t *p;
    uint32_t len;
    uint64_t n;

    c0 = cpu();
    n = 0;

    do {
        chan_next(c, &p, &len);
        last = p[0];
        n++;
    } while (last != LAST);

    shared->cpu = cpu() - c0;
    shared->n = n;

    chan_put(c, (const uint8_t *) "\1", 1);
    chan_flush(c);
}


/* Takes bodies of BODY bytes and acknowledges each. */

static void
body_run(chan_t *c)
{
    int      last;
    size_t   got;
    uint8_t *body;

    body = malloc(BODY);
    if (body == NULL) {
        die("malloc()");
    }

    do {
        for (got = 0; got < BODY;) {
            got += chan_take(c, body + got, BODY - got);
        }

        last = body[0];
        chan_put(c, (const uint8_t *) "\1", 1);
        chan_flush(c);
    } while (last != LAST);

    free(body);
}


static int
compare(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}


static void
measure_trip(int kind, int round)
{
    int      i, n;
    pid_t    pid;
    chan_t   c;
    double   t0, t1, end;
    uint8_t *p, msg[SMALL];
    uint32_t len;

    static double trip[20000];

    memset(msg, 0, sizeof(msg));
    pid = peer_start(kind, &c, echo_run);

    end = now() + LIMIT;

    for (i = 0, n = 0; msg[0] != LAST; i++) {
        t0 = now();
        msg[0] = t0 > end || n == 19999 ? LAST : MORE;
        chan_put(&c, msg, sizeof(msg));
        chan_flush(&c);
        chan_next(&c, &p, &len);
        t1 = now();

        if (i >= 100) {
            trip[n++] = t1 - t0;
        }
    }

    peer_end(pid, &c);

    qsort(trip, (size_t) n, sizeof(double), compare);
    rows[0].v[kind][round] = n == 0 ? 0 : trip[n / 2] * 1e6;
    rows[1].v[kind][round] = n == 0 ? 0 : trip[n * 99 / 100] * 1e6;
}


/* Each message is published, or written, by itself. */

static void
measure_flood(int kind, int round)
{
    int      i;
    pid_t    pid;
    chan_t   c;
    double   t0;
    uint8_t *p, msg[SMALL];
    uint32_t len;

    memset(msg, 0, sizeof(msg));
    pid = peer_start(kind, &c, sink_run);
    t0 = now();

    for (i = 1; msg[0] != LAST; i++) {
        if (i % 1024 == 0 && now() - t0 > LIMIT) {
            msg[0] = LAST;
        }

        chan_put(&c, msg, sizeof(msg));
        chan_flush(&c);
    }

    chan_next(&c, &p, &len);
    rows[2].v[kind][round] = (double) shared->n / (now() - t0) / 1e6;
    peer_end(pid, &c);
}


/*
 * A step of 16 events, a pause, and so on: the reader sleeps each time.  What
 * a step costs: the sender's time in it (the median: it never waits, so that
 * is its CPU time), and all the CPU time of the reader.  The sender's pauses
 * are not counted: falling asleep costs more than all else.
 */

static void
measure_cpu(int kind, int round)
{
    int             i, k;
    pid_t           pid;
    chan_t          c;
    double          t0, end;
    uint8_t        *p, msg[EVENT_LEN];
    uint32_t        len;
    struct timespec pause = {0, PAUSE_NS};

    static double step[STEPS];

    memset(msg, 0, sizeof(msg));
    pid = peer_start(kind, &c, sink_run);
    end = now() + LIMIT;

    for (i = 0; i < STEPS && (t0 = now()) < end; i++) {
        for (k = 0; k < EVENTS; k++) {
            chan_put(&c, msg, sizeof(msg));
        }

        chan_flush(&c);
        step[i] = now() - t0;
        (void) nanosleep(&pause, NULL);
    }

    msg[0] = LAST;
    chan_put(&c, msg, sizeof(msg));
    chan_flush(&c);
    chan_next(&c, &p, &len);

    qsort(step, (size_t) i, sizeof(double), compare);
    rows[3].v[kind][round] =
        (step[i / 2] + shared->cpu / (double) i) / EVENTS * 1e6;
    peer_end(pid, &c);
}


static void
measure_body(int kind, int round)
{
    int      n;
    pid_t    pid;
    chan_t   c;
    size_t   off;
    double   t0, t1;
    ssize_t  w;
    uint8_t *p, *body;
    uint32_t len;

    body = calloc(1, BODY);
    if (body == NULL) {
        die("malloc()");
    }

    pid = peer_start(kind, &c, body_run);
    t0 = t1 = now();

    for (n = 0; body[0] != LAST; n++) {
        body[0] = t1 - t0 > LIMIT ? LAST : MORE;

        for (off = 0; off < BODY; off += (size_t) w) {
            w = PIECE;

            if (kind == RING) {
                chan_put(&c, body + off, PIECE);
                chan_flush(&c);
                continue;
            }

            /* without header or gathering: nothing is copied but by write() */

            w = write(c.sock, body + off,
                      BODY - off < PIECE ? BODY - off : PIECE);
            if (w == -1) {
                struct epoll_event ev;

                memset(&ev, 0, sizeof(ev));
                ev.events = EPOLLOUT;
                (void) epoll_ctl(c.ep, EPOLL_CTL_MOD, c.sock, &ev);
                (void) epoll_wait(c.ep, &ev, 1, 1000);
                ev.events = EPOLLIN;
                (void) epoll_ctl(c.ep, EPOLL_CTL_MOD, c.sock, &ev);
                w = 0;
            }
        }

        chan_next(&c, &p, &len);
        t1 = now();
    }

    rows[4].v[kind][round] = (double) n * BODY / (t1 - t0) / 1e9;
    peer_end(pid, &c);
    free(body);
}


static double
median(const double *v)
{
    double sorted[ROUNDS];

    memcpy(sorted, v, sizeof(sorted));
    qsort(sorted, ROUNDS, sizeof(double), compare);

    return sorted[ROUNDS / 2];
}


static void
print_table(void)
{
    int    i;
    double ours, peer;

    printf("%-38s %-13s %9s %12s %7s\n", "", "unit", "ours", "unix stream",
           "ratio");

    for (i = 0; i < ROWS; i++) {
        ours = median(rows[i].v[RING]);
        peer = median(rows[i].v[SOCKET]);
        printf("%-38s %-13s %9.3f %12.3f %7.2f\n", rows[i].name, rows[i].unit,
               ours, peer, peer > 0 ? ours / peer : 0);
    }
}


static void
print_json(void)
{
    int    i;
    double ours, peer;

    for (i = 0; i < ROWS; i++) {
        ours = median(rows[i].v[RING]);
        peer = median(rows[i].v[SOCKET]);
        printf("%s{\"name\": \"%s\", \"unit\": \"%s\", \"ours\": %.4g, "
               "\"peer\": %.4g, \"peer_name\": \"unix stream socket\", "
               "\"ratio\": %.4g, \"limit\": null, \"share\": null}%s",
               i == 0 ? "[" : " ", rows[i].name, rows[i].unit, ours, peer,
               peer > 0 ? ours / peer : 0, i + 1 < ROWS ? ",\n" : "]\n");
    }
}
