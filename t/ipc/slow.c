/*
 * One engine, several workers: one reads slowly or not at all, one breaks its
 * ring, one goes away.  The others get all that is theirs without waiting, the
 * slow one loses nothing, and control records reach it still.  One thread
 * plays all; nothing here depends on time.
 */

#include <errno.h>
#include <unistd.h>
#include "engine/ipc/barrier.h"
#include "engine/ipc/conn.h"
#include "engine/ipc/record.h"
#include "t/lib/tap.h"

#define N       5
#define SLOW    0
#define BROKEN  1
#define GONE    2
#define RECORDS 5000
#define SIZE    LLM_RING_MIN

typedef struct {
    llm_ipc_t e;    /* the engine's end */
    llm_ipc_t w;    /* the worker's */
    uint32_t  sent; /* DATA by the engine */
    uint32_t  got;
    uint32_t  bad;
    uint32_t  refused; /* EAGAIN */
    uint32_t  rung;    /* doorbells for want of space, taken by the engine */
    int       dead;
} conn_t;

static conn_t c[N];
static char   text[600];

static int  set_up(const char *path, int lfd);
static int  rang(int fd);
static int  engine_turn(conn_t *p);
static int  worker_turn(conn_t *p, uint32_t most);
static void test_slow(void);
static void test_drain(void);
static void test_control(void);


int
main(void)
{
    int         i, lfd;
    char        dir[256], path[300];
    const char *tmp;

    tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/llm-slow-XXXXXX", tmp ? tmp : P_tmpdir);
    if (mkdtemp(dir) == NULL) {
        skip_all("no directory for sockets: %s", strerror(errno));
    }

    snprintf(path, sizeof(path), "%s/engine.sock", dir);
    memset(text, 'x', sizeof(text));

    lfd = llm_ipc_listen(path, 0600);
    is_int(set_up(path, lfd), 0, "%d workers connect", N);

    test_slow();
    test_drain();
    test_control();

    for (i = 0; i < N; i++) {
        llm_ipc_close(&c[i].e);
        llm_ipc_close(&c[i].w);
    }

    (void) close(lfd);
    (void) unlink(path);
    (void) rmdir(dir);

    return tap_done();
}


static int
set_up(const char *path, int lfd)
{
    int i, bad;

    for (bad = 0, i = 0; i < N; i++) {
        bad += llm_ipc_connect(&c[i].w, path, SIZE, SIZE) != 0;
        bad += llm_ipc_accept(&c[i].e, lfd) != 0;
        bad += llm_ipc_hello(&c[i].e, 16, 1) != 0;
        bad += llm_ipc_connected(&c[i].w) != 0;
    }

    return bad;
}


static int
rang(int fd)
{
    uint64_t count;

    return read(fd, &count, sizeof(count)) == (ssize_t) sizeof(count);
}


/*
 * The engine's part for one connection: writes one DATA if there is space.
 * While it starves it does not try: only a doorbell lets it.
 */

static int
engine_turn(conn_t *p)
{
    int            rc;
    int32_t        token;
    llm_data_t     d;
    llm_ring_rec_t rec;

    if (p->dead || p->sent == RECORDS) {
        return 0;
    }

    if (llm_ring_peek(&p->e.rx, &rec) < 0) {
        p->dead = 1; /* its ring is broken: this connection ends, no other */
        return 0;
    }

    if (p->refused > p->rung) {
        if (!rang(p->e.efd_rx)) {
            return 0;
        }

        p->rung++;
    }

    memset(&d, 0, sizeof(d));
    d.flags = LLM_DATA_BOUNDARY;
    d.token_first = p->sent;
    d.n_tokens = 1;
    d.n_bytes = p->sent % sizeof(text);
    token = (int32_t) p->sent;

    rc = llm_rec_data_write(&p->e.tx, 1, 1, &d, &token, text);

    if (rc == -EAGAIN) {
        p->refused++;
        return 0;
    }

    if (rc != 0) {
        p->dead = 1;
        return 0;
    }

    p->sent++;

    if (llm_ring_flush(&p->e.tx)) {
        llm_ipc_ring(&p->e);
    }

    return 1;
}


/* The worker's: reads so many records at most. */

static int
worker_turn(conn_t *p, uint32_t most)
{
    int32_t        token[LLM_DATA_TOKENS];
    uint32_t       n;
    llm_ring_rec_t rec;
    llm_rec_data_t d;

    if (p->w.sock == -1) {
        return 0;
    }

    for (n = 0; n < most && llm_ring_peek(&p->w.rx, &rec) == 1; n++) {
        if (llm_rec_data_read(&rec, &d, token) != 0
            || d.fixed.token_first != p->got || token[0] != (int32_t) p->got
            || d.fixed.n_bytes != p->got % sizeof(text)) {
            p->bad++;
        }

        p->got++;
        llm_ring_next(&p->w.rx, &rec);
    }

    if (llm_ring_release(&p->w.rx)) {
        llm_ipc_ring(&p->w);
    }

    return (int) n;
}


static void
test_slow(void)
{
    int i, k, idle;

    for (k = 0; k < RECORDS; k++) {
        for (i = 0; i < N; i++) {
            (void) engine_turn(&c[i]);

            if (i != SLOW && !(i == BROKEN && k > 100)) {
                (void) worker_turn(&c[i], 16);
            }
        }

        if (k == 100) {
            /* garbage as a record of the one, the end of the other */

            memset(c[BROKEN].w.tx.data, 0xff, 64);
            llm_pos_store(&c[BROKEN].w.tx.ctl->head, 64);
        }

        if (k == 200) {
            llm_ipc_close(&c[GONE].w);
            c[GONE].dead = llm_ipc_dead(&c[GONE].e);
        }
    }

    for (i = 3; i < N; i++) {
        ok(c[i].sent == RECORDS && c[i].got == RECORDS && c[i].bad == 0
               && c[i].refused == 0,
           "fast worker %d got all its %d records, none of them late", i,
           c[i].got);
    }

    ok(c[SLOW].sent > 100 && c[SLOW].sent < RECORDS && c[SLOW].refused == 1,
       "the slow one's ring took %u, and the engine asked once", c[SLOW].sent);
    ok(c[BROKEN].dead && c[BROKEN].sent < 110,
       "the one with a broken ring was dropped");
    ok(c[GONE].dead && c[GONE].sent < 210, "as was the one that went");

    for (idle = 0, i = 0; i < N; i++) {
        idle += engine_turn(&c[i]);
    }

    is_int(idle, 0, "nothing more is to be done");
}


/* The slow one reads one record now and then: each lets the engine go on. */

static void
test_drain(void)
{
    int k;

    for (k = 0; c[SLOW].got < RECORDS && k < 10 * RECORDS; k++) {
        (void) worker_turn(&c[SLOW], 1);

        while (engine_turn(&c[SLOW])) {
            /* void */
        }
    }

    ok(c[SLOW].got == RECORDS && c[SLOW].bad == 0,
       "the slow one gets all in the end, in order");
    ok(c[SLOW].refused == c[SLOW].rung && c[SLOW].refused > 1000,
       "for each refusal (%u) came one doorbell", c[SLOW].refused);
}


/* A worker that reads nothing still can be told END; CANCEL still goes. */

static void
test_control(void)
{
    int            n, rc;
    llm_end_t      end;
    llm_data_t     d;
    llm_rec_str_t  str[3];
    llm_ring_rec_t rec;

    memset(&d, 0, sizeof(d));
    memset(&end, 0, sizeof(end));
    memset(str, 0, sizeof(str));
    d.n_bytes = 500;

    for (n = 0;
         (rc = llm_rec_data_write(&c[SLOW].e.tx, 1, 1, &d, NULL, text)) == 0;
         n++) {
        /* void */
    }

    is_int(rc, -EAGAIN, "full again");
    is_int(llm_rec_end_write(&c[SLOW].e.tx, 1, 1, &end, str), 0,
           "END has its place");

    while (
        llm_ring_write(&c[SLOW].w.tx, LLM_REC_BODY, 0, 1, 1, text, 500, NULL, 0)
        == 0) {
        /* void */
    }

    is_int(llm_ring_write(&c[SLOW].w.tx, LLM_REC_CANCEL, 0, 1, 1, NULL, 0, NULL,
                          0),
           0, "as has CANCEL");
    (void) llm_ring_flush(&c[SLOW].e.tx);

    while (llm_ring_peek(&c[SLOW].w.rx, &rec) == 1
           && rec.hdr.type == LLM_REC_DATA) {
        llm_ring_next(&c[SLOW].w.rx, &rec);
        n--;
    }

    ok(n == 0 && rec.hdr.type == LLM_REC_END, "END comes after all DATA");
}
