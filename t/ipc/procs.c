/*
 * Two processes on one connection, records of random sizes both ways, and
 * either is killed at a random moment, from before the handshake on.  The
 * survivor must see the death by the socket, in time, and must never have
 * seen a broken ring or a wrong byte.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>
#include "engine/ipc/conn.h"
#include "t/lib/tap.h"

#define SIZE   LLM_RING_MIN
#define ROUNDS 60

/* How a process ends. */

enum { SAW_DEATH = 0, FAILED_SETUP = 3, BROKEN, WRONG, HUNG, NO_HELLO };

typedef struct {
    llm_ipc_t ipc;
    uint8_t   type;
    uint32_t  sent;
    uint32_t  got;
    uint32_t  batch; /* records a turn, at most */
} end_t;

static char path[300];

static uint32_t length(uint32_t seq);
static int      end_send(end_t *e);
static int      end_take(end_t *e);
static void     end_run(end_t *e) __attribute__((noreturn));
static void     worker_run(void) __attribute__((noreturn));
static void     engine_run(int lfd) __attribute__((noreturn));
static int      wait_for(pid_t pid);
static int      turn(int kill_worker, useconds_t delay);


int
main(void)
{
    int         i, rc, bad, deaths, early;
    char        dir[256];
    unsigned    rnd;
    const char *tmp;

    tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/llm-procs-XXXXXX", tmp ? tmp : P_tmpdir);
    if (mkdtemp(dir) == NULL) {
        skip_all("no directory for sockets: %s", strerror(errno));
    }

    snprintf(path, sizeof(path), "%s/engine.sock", dir);

    rnd = 7;

    for (bad = deaths = early = 0, i = 0; i < ROUNDS; i++) {
        rnd = rnd * 1664525 + 1013904223;

        /* every third at once, the others after up to 16 ms */

        rc = turn(i & 1, i % 3 == 0 ? rnd >> 23 : 1000 + (rnd >> 18));

        switch (rc) {
        case SAW_DEATH:
            deaths++;
            break;
        case NO_HELLO:
            early++;
            break;
        default:
            diag("round %d, the %s killed: the other ends with %d", i,
                 i & 1 ? "worker" : "engine", rc);
            bad++;
        }
    }

    is_int(bad, 0, "%d rounds: the survivor sees the death", ROUNDS);
    ok(deaths > ROUNDS / 4, "%d of them when connected, %d before", deaths,
       early);

    (void) unlink(path);
    (void) rmdir(dir);

    return tap_done();
}


static uint32_t
length(uint32_t seq)
{
    uint32_t r = seq * 2654435761u;

    /* mostly small, some the largest */

    return 16 + (r >> 28 == 0 ? r % (SIZE / 8 - 31) : r % 700);
}


/* Sends what fits.  Returns how many records, or -1. */

static int
end_send(end_t *e)
{
    int      rc, n;
    uint8_t *p;
    uint32_t len;

    for (n = 0; n < (int) e->batch; n++) {
        len = length(e->sent);

        rc = llm_ring_reserve(&e->ipc.tx, e->type, len, &p);
        if (rc == -EAGAIN) {
            break;
        }

        if (rc != 0) {
            return -1;
        }

        memset(p + 4, (int) (e->sent & 0xff), len - 4);
        memcpy(p, &e->sent, 4);
        llm_ring_commit(&e->ipc.tx, e->type, 0, 1, e->sent, len);
        e->sent++;
    }

    if (llm_ring_flush(&e->ipc.tx)) {
        llm_ipc_ring(&e->ipc);
    }

    return n;
}


/* Takes what there is.  Returns how many records, -1 broken, -2 wrong. */

static int
end_take(end_t *e)
{
    int            n, rc;
    uint32_t       seq, i, bad;
    llm_ring_rec_t rec;

    for (n = 0; (rc = llm_ring_peek(&e->ipc.rx, &rec)) == 1; n++) {
        memcpy(&seq, rec.payload, 4);
        bad = seq != e->got || rec.len != length(seq);

        for (i = 4; i < rec.len; i++) {
            bad |= rec.payload[i] ^ (seq & 0xff);
        }

        if (bad) {
            return -2;
        }

        e->got++;
        llm_ring_next(&e->ipc.rx, &rec);
    }

    if (llm_ring_release(&e->ipc.rx)) {
        llm_ipc_ring(&e->ipc);
    }

    return rc < 0 ? -1 : n;
}


/* The loop of either end, until the peer's death. */

static void
end_run(end_t *e)
{
    int           taken, sent;
    struct pollfd pfd[2];

    pfd[0].fd = e->ipc.sock;
    pfd[1].fd = e->ipc.efd_rx;
    pfd[0].events = pfd[1].events = POLLIN;

    for (;;) {
        taken = end_take(e);
        sent = end_send(e);

        if (taken < 0 || sent < 0) {
            _exit(taken == -2 ? WRONG : BROKEN);
        }

        if (e->sent / 64 % 16 == 0 && llm_ipc_dead(&e->ipc)) {
            break;
        }

        e->batch = 1 + (e->sent * 7 + e->got) % 40;

        if (taken + sent > 0 || llm_ring_arm(&e->ipc.rx)) {
            continue;
        }

        if (poll(pfd, 2, 10000) == 0) {
            _exit(HUNG);
        }

        llm_ipc_drain(&e->ipc);

        if (pfd[0].revents != 0 && llm_ipc_dead(&e->ipc)) {
            break;
        }
    }

    llm_ipc_close(&e->ipc);
    _exit(SAW_DEATH);
}


static void
worker_run(void)
{
    int           rc;
    end_t         e;
    struct pollfd pfd;

    memset(&e, 0, sizeof(e));
    e.type = LLM_REC_BODY;
    e.batch = 10;

    rc = llm_ipc_connect(&e.ipc, path, SIZE, SIZE);
    if (rc != 0) {
        _exit(rc == -ECONNREFUSED || rc == -EPIPE ? NO_HELLO : FAILED_SETUP);
    }

    pfd.fd = e.ipc.sock;
    pfd.events = POLLIN;

    if (poll(&pfd, 1, 10000) == 0) {
        _exit(HUNG);
    }

    rc = llm_ipc_connected(&e.ipc);
    if (rc != 0) {
        _exit(rc == -EPIPE ? NO_HELLO : FAILED_SETUP);
    }

    end_run(&e);
}


static void
engine_run(int lfd)
{
    int           rc;
    end_t         e;
    struct pollfd pfd;

    memset(&e, 0, sizeof(e));
    e.type = LLM_REC_DATA;
    e.batch = 10;

    pfd.fd = lfd;
    pfd.events = POLLIN;

    if (poll(&pfd, 1, 1000) == 0) {
        _exit(NO_HELLO); /* killed before it connected */
    }

    if (llm_ipc_accept(&e.ipc, lfd) != 0) {
        _exit(FAILED_SETUP);
    }

    pfd.fd = e.ipc.sock;

    if (poll(&pfd, 1, 10000) == 0) {
        _exit(HUNG);
    }

    rc = llm_ipc_hello(&e.ipc, 16, 1);
    if (rc != 0) {
        _exit(rc == -EPIPE ? NO_HELLO : FAILED_SETUP);
    }

    end_run(&e);
}


/* The exit status of a child, or HUNG after 15 s. */

static int
wait_for(pid_t pid)
{
    int             i, status;
    struct timespec ms = {0, 1000000};

    for (i = 0; i < 15000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status)
                                     : 1000 + WTERMSIG(status);
        }

        nanosleep(&ms, NULL);
    }

    (void) kill(pid, SIGKILL);
    (void) waitpid(pid, &status, 0);

    return HUNG;
}


/* One connection from its start to the survivor's end. */

static int
turn(int kill_worker, useconds_t delay)
{
    int   lfd, status;
    pid_t worker, engine;

    lfd = llm_ipc_listen(path, 0600);
    if (lfd < 0) {
        return FAILED_SETUP;
    }

    engine = fork();
    if (engine == 0) {
        engine_run(lfd);
    }

    (void) close(lfd); /* of this process: the engine's death ends it */

    worker = fork();
    if (worker == 0) {
        worker_run();
    }

    usleep(delay);

    (void) kill(kill_worker ? worker : engine, SIGKILL);
    (void) waitpid(kill_worker ? worker : engine, &status, 0);

    if (!WIFSIGNALED(status) && WEXITSTATUS(status) != NO_HELLO) {
        (void) kill(kill_worker ? engine : worker, SIGKILL);
        (void) waitpid(kill_worker ? engine : worker, NULL, 0);
        return WEXITSTATUS(status) + 100; /* ended by itself */
    }

    return wait_for(kill_worker ? engine : worker);
}
