/*
 * Both ends of a connection as two threads on one mapping, with the whole
 * doorbell protocol over real eventfds: what ThreadSanitizer can see.  A lost
 * wake-up shows as a wait that ends by time-out.
 *
 * Each end is one thread that writes one ring and reads the other, as in the
 * worker and in the engine: it sends what it owes, takes what there is, and
 * sleeps on its one eventfd when neither is possible.
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include "engine/ipc/barrier.h"
#include "engine/ipc/ring.h"
#include "t/lib/tap.h"

#define SIZE LLM_RING_MIN

#if LLM_FENCE_RMW
#define SCALE 12
#else
#define SCALE 1
#endif

typedef struct {
    const char   *name;
    llm_ring_tx_t tx;
    llm_ring_rx_t rx;
    int           efd_rx;
    int           efd_tx;
    uint32_t      n;       /* records, each way */
    uint32_t      window;  /* most under way; an echo: all that came */
    uint32_t      max_len; /* of a payload */
    int           echo;
    /* results */
    uint32_t sent;
    uint32_t got;
    uint32_t bad;
    uint32_t slept;
    uint32_t starved;
    uint32_t doorbells;
    int      lost; /* a wait timed out */
} end_t;

static double   now(void);
static uint32_t length(uint32_t seq, uint32_t max);
static void     doorbell(end_t *e);
static int      end_send(end_t *e);
static int      end_take(end_t *e);
static void     end_sleep(end_t *e);
static void    *end_run(void *arg);
static void     pair_run(const char *what, uint32_t n, uint32_t window,
                         uint32_t max_len);


int
main(void)
{
    pair_run("ping-pong", 24000 / SCALE, 1, 64);
    pair_run("16 under way", 240000 / SCALE, 16, 100);
    pair_run("as many as fit, small", 3000000 / SCALE, 1u << 30, 40);
    pair_run("as many as fit, to 1000 bytes", 500000 / SCALE, 1u << 30, 1000);
    pair_run("as many as fit, the largest", 20000 / SCALE, 1u << 30,
             SIZE / 8 - 16);

    return tap_done();
}


static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


/* The length of the record number seq: both ends can tell. */

static uint32_t
length(uint32_t seq, uint32_t max)
{
    return 4 + seq * 2654435761u % (max - 3);
}


static void
doorbell(end_t *e)
{
    uint64_t one = 1;

    e->doorbells++;
    (void) !write(e->efd_tx, &one, sizeof(one));
}


/* Sends what is owed and fits.  Returns how many records. */

static int
end_send(end_t *e)
{
    int      rc, n;
    uint8_t *p;
    uint32_t len, limit;

    limit = e->echo ? e->got : e->n;
    if (!e->echo && limit - e->got > e->window) {
        limit = e->got + e->window;
    }

    for (n = 0; e->sent < limit; n++) {
        len = length(e->sent, e->max_len);

        rc = llm_ring_reserve(&e->tx, LLM_REC_BODY, len, &p);
        if (rc == -EAGAIN) {
            e->starved++;
            break;
        }

        if (rc != 0) {
            e->bad++;
            break;
        }

        memset(p + 4, (int) e->sent & 0xff, len - 4);
        memcpy(p, &e->sent, 4);
        llm_ring_commit(&e->tx, LLM_REC_BODY, 0, 1, e->sent, len);
        e->sent++;

        if (e->sent % 64 == 0 && llm_ring_flush(&e->tx)) {
            doorbell(e);
        }
    }

    if (llm_ring_flush(&e->tx)) {
        doorbell(e);
    }

    return n;
}


/* Takes and verifies what there is.  Returns how many records. */

static int
end_take(end_t *e)
{
    int            n;
    uint32_t       seq, len;
    llm_ring_rec_t rec;

    for (n = 0; llm_ring_peek(&e->rx, &rec) == 1; n++) {
        memcpy(&seq, rec.payload, 4);
        len = length(e->got, e->max_len);

        if (seq != e->got || rec.hdr.gen != seq || rec.len != len
            || (len > 4
                && (rec.payload[4] != (uint8_t) seq
                    || rec.payload[len - 1] != (uint8_t) seq))) {
            e->bad++;
        }

        e->got++;
        llm_ring_next(&e->rx, &rec);

        if (n % 32 == 31 && llm_ring_release(&e->rx)) {
            doorbell(e);
        }
    }

    if (llm_ring_release(&e->rx)) {
        doorbell(e);
    }

    return n;
}


static void
end_sleep(end_t *e)
{
    uint64_t      count;
    struct pollfd pfd;

    if (llm_ring_arm(&e->rx)) {
        return;
    }

    e->slept++;

    pfd.fd = e->efd_rx;
    pfd.events = POLLIN;

    if (poll(&pfd, 1, 10000) == 0) {
        e->lost++;
    }

    (void) !read(e->efd_rx, &count, sizeof(count));
}


static void *
end_run(void *arg)
{
    int    n;
    end_t *e = arg;

    while ((e->sent < e->n || e->got < e->n) && e->bad == 0 && e->lost == 0) {
        n = end_take(e);
        n += end_send(e);

        if (n == 0) {
            end_sleep(e);
        }
    }

    return NULL;
}


static void
pair_run(const char *what, uint32_t n, uint32_t window, uint32_t max_len)
{
    int             efd[2];
    end_t           w, e;
    double          t0, t1;
    uint8_t        *mem;
    pthread_t       tid[2];
    llm_ring_ctl_t *ctl;

    mem = mmap(NULL, 4 * LLM_PAGE + 2 * SIZE, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    efd[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    efd[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mem == MAP_FAILED || efd[0] == -1 || efd[1] == -1) {
        ok(0, "%s: set-up", what);
        return;
    }

    memset(&w, 0, sizeof(w));
    w.name = "worker";
    w.n = n;
    w.window = window;
    w.max_len = max_len;

    e = w;
    e.name = "engine";
    e.echo = 1;

    ctl = (llm_ring_ctl_t *) (void *) (mem + LLM_PAGE);
    llm_ring_tx_init(&w.tx, ctl, mem + 4 * LLM_PAGE, SIZE);
    llm_ring_rx_init(&e.rx, ctl, mem + 4 * LLM_PAGE, SIZE);
    ctl = (llm_ring_ctl_t *) (void *) (mem + 2 * LLM_PAGE);
    llm_ring_tx_init(&e.tx, ctl, mem + 4 * LLM_PAGE + SIZE, SIZE);
    llm_ring_rx_init(&w.rx, ctl, mem + 4 * LLM_PAGE + SIZE, SIZE);

    w.efd_rx = e.efd_tx = efd[0];
    e.efd_rx = w.efd_tx = efd[1];

    t0 = now();
    (void) pthread_create(&tid[0], NULL, end_run, &w);
    (void) pthread_create(&tid[1], NULL, end_run, &e);
    (void) pthread_join(tid[0], NULL);
    (void) pthread_join(tid[1], NULL);
    t1 = now();

    ok(w.bad == 0 && e.bad == 0 && w.lost == 0 && e.lost == 0 && w.got == n
           && e.got == n && w.sent == n && e.sent == n,
       "%s: %u records each way", what, n);
    diag("%.2f s; worker slept %u, starved %u, rang %u; engine %u, %u, %u",
         t1 - t0, w.slept, w.starved, w.doorbells, e.slept, e.starved,
         e.doorbells);

    if (w.lost || e.lost || w.bad || e.bad) {
        diag("worker sent %u got %u bad %u lost %d; engine %u %u %u %d", w.sent,
             w.got, w.bad, w.lost, e.sent, e.got, e.bad, e.lost);
    }

    (void) close(efd[0]);
    (void) close(efd[1]);
    (void) munmap(mem, 4 * LLM_PAGE + 2 * SIZE);
}
