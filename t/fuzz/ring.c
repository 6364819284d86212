/*
 * Fuzz target: what a hostile peer of a ring can do.  Byte 0 chooses:
 *
 *   0  the engine's reading end, 1 the worker's: u16 where the ring stands (in
 *      16 bytes), u32 how far head is, then the ring's bytes; all records are
 *      read as each end reads them, and while one is held its place in the
 *      ring is overwritten.
 *   2  the handshake: HELLO (64 bytes), the region's header (64), a byte of
 *      seals, a byte of how many descriptors, u32 the file's size
 *   3  a writing end: pairs of a u16 length and a u32 that the peer stores
 *      into tail (as a distance from what is honest)
 *
 * Without libFuzzer main() replays the files given and mutations of them.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "engine/ipc/barrier.h"
#include "engine/ipc/conn.h"
#include "engine/ipc/record.h"

#define SIZE LLM_RING_MIN

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len);

static uint64_t number(const uint8_t **in, size_t *len, size_t bytes);
static void     require(int cond);
static size_t   record_read(const llm_ring_rec_t *rec);
static void     fuzz_rx(const uint8_t *in, size_t len, uint32_t from);
static void     fuzz_tx(const uint8_t *in, size_t len);
static void     fuzz_hello(const uint8_t *in, size_t len);


int
LLVMFuzzerTestOneInput(const uint8_t *in, size_t len)
{
    if (len < 8) {
        return 0;
    }

    switch (in[0] & 3) {
    case 0:
        fuzz_rx(in + 1, len - 1, LLM_RING_FROM_WORKER);
        break;
    case 1:
        fuzz_rx(in + 1, len - 1, LLM_RING_FROM_ENGINE);
        break;
    case 2:
        fuzz_hello(in + 1, len - 1);
        break;
    default:
        fuzz_tx(in + 1, len - 1);
    }

    return 0;
}


/* A little-endian number off the input; 0 where it ends. */

static uint64_t
number(const uint8_t **in, size_t *len, size_t bytes)
{
    size_t   i;
    uint64_t n;

    for (n = 0, i = 0; i<bytes && * len> 0; i++) {
        n |= (uint64_t) * *in << (8 * i);
        (*in)++;
        (*len)--;
    }

    return n;
}


static void
require(int cond)
{
    if (!cond) {
        abort();
    }
}


/* As either end would; touches every byte that it was given. */

static size_t
record_read(const llm_ring_rec_t *rec)
{
    static char    buf[LLM_REC_SUBMIT_BUF];
    static int32_t tokens[LLM_DATA_TOKENS];
    size_t         i, sum;
    llm_end_t      end;
    llm_head_t     head;
    llm_admit_t    admit;
    llm_submit_t   submit;
    llm_credit_t   credit;
    llm_reject_t   reject;
    llm_rec_str_t  str[4];
    llm_rec_data_t d;

    sum = 0;
    memset(str, 0, sizeof(str));

    switch (rec->hdr.type) {
    case LLM_REC_SUBMIT:
        if (llm_rec_submit_read(rec, &submit, str, buf) == 0) {
            require(submit.op < LLM_OP_MAX);
        }
        break;
    case LLM_REC_ADMIT:
        (void) llm_rec_admit_read(rec, &admit, str, buf);
        break;
    case LLM_REC_HEAD:
        if (llm_rec_head_read(rec, &head) == 0) {
            require(head.status >= 200);
        }
        break;
    case LLM_REC_DATA:
        if (llm_rec_data_read(rec, &d, tokens) == 0) {
            require(d.fixed.n_tokens == 0 || tokens[0] >= 0);
            for (i = 0; i < d.fixed.n_bytes; i++) {
                sum += d.bytes[i];
            }
        }
        break;
    case LLM_REC_END:
        (void) llm_rec_end_read(rec, &end, str, buf);
        break;
    case LLM_REC_CREDIT:
        (void) llm_rec_credit_read(rec, &credit);
        break;
    case LLM_REC_REJECT:
        (void) llm_rec_reject_read(rec, &reject);
        break;
    default:
        for (i = 0; i < rec->len; i++) {
            sum += rec->payload[i];
        }
    }

    for (i = 0; i < 4; i++) {
        require(str[i].data == NULL
                || (str[i].data >= buf
                    && str[i].data + str[i].len < buf + sizeof(buf)));
    }

    return sum;
}


static void
fuzz_rx(const uint8_t *in, size_t len, uint32_t from)
{
    int             rc, n;
    size_t          i, got;
    uint64_t        at, head, was;
    uint8_t        *data;
    volatile size_t sum;
    llm_ring_rx_t   rx;
    llm_ring_ctl_t *ctl;
    llm_ring_rec_t  rec;

    ctl = aligned_alloc(128, sizeof(*ctl));
    data = aligned_alloc(16, SIZE);
    require(ctl != NULL && data != NULL);
    memset(ctl, 0, sizeof(*ctl));
    memset(data, 0, SIZE);

    at = number(&in, &len, 2) * 16;
    head = number(&in, &len, 4);

    for (i = 0; i < len && i < SIZE; i++) {
        data[(at + i) % SIZE] = in[i];
    }

    llm_ring_rx_init(&rx, ctl, data, SIZE);
    rx.from = from;
    rx.head = rx.tail = rx.freed = at;
    ctl->starving = 1;
    llm_pos_store(&ctl->head, at + head);

    sum = 0;
    got = 0;

    for (n = 0; n < 2 * (int) SIZE; n++) {
        rc = llm_ring_peek(&rx, &rec);
        if (rc != 1) {
            require(rc == 0 || rc == -EPROTO);
            break;
        }

        require(rec.payload >= data + sizeof(llm_rec_t)
                && rec.payload + rec.len <= data + SIZE
                && rec.span >= sizeof(llm_rec_t) && rec.span % 16 == 0
                && rec.len == rec.hdr.len - sizeof(llm_rec_t)
                && rec.span - rec.len - sizeof(llm_rec_t) < 16);

        was = rx.tail;
        sum += record_read(&rec);
        memset(data + (was % SIZE), n & 0xff, sizeof(llm_rec_t));
        llm_ring_next(&rx, &rec);
        require(rx.tail == was + rec.span);
        got += rec.span;

        if (n % 3 == 0) {
            (void) llm_ring_release(&rx);
        }
    }

    require(got <= SIZE && rx.tail - at <= SIZE);
    (void) llm_ring_release(&rx);
    (void) llm_ring_arm(&rx);

    free(ctl);
    free(data);
}


static void
fuzz_tx(const uint8_t *in, size_t len)
{
    int             rc;
    uint32_t        want;
    uint64_t        tail, head;
    uint8_t        *data, *p;
    llm_ring_tx_t   tx;
    llm_ring_ctl_t *ctl;

    ctl = aligned_alloc(128, sizeof(*ctl));
    data = aligned_alloc(16, SIZE);
    require(ctl != NULL && data != NULL);
    memset(ctl, 0, sizeof(*ctl));
    llm_ring_tx_init(&tx, ctl, data, SIZE);

    while (len >= 3) {
        want = (uint32_t) number(&in, &len, 2);
        tail = number(&in, &len, 4);

        /* mostly where an honest peer may be */

        tail = (tail >> 31) != 0 ? tx.tail + (int32_t) tail
                                 : tx.tail + (tail & 0x3ff) * 16;
        llm_pos_store(&ctl->tail, tail);
        llm_pos_store(&ctl->head, tail * 3); /* not its to write: unread */

        head = tx.head;
        rc = llm_ring_reserve(&tx, want & 1 ? LLM_REC_BODY : LLM_REC_CREDIT,
                              want, &p);
        if (rc == -EPROTO) {
            break;
        }

        (void) llm_ring_space(&tx);

        if (rc == 0) {
            require(p >= data + 16 && p + want <= data + SIZE);
            memset(p, 0x55, want);
            llm_ring_commit(&tx, LLM_REC_BODY, 0, 1, 1, want);
            require(tx.head - head <= SIZE / 4);

        } else {
            require(rc == -EAGAIN || rc == -EMSGSIZE);
            require(tx.head == head);
        }

        require(tx.head - tx.tail <= SIZE);
        (void) llm_ring_flush(&tx);
    }

    free(ctl);
    free(data);
}


static void
fuzz_hello(const uint8_t *in, size_t len)
{
    int             rc, i, n, seals, sock[2], fds[4];
    uint8_t         hello[64], region[64];
    uint64_t        size;
    llm_ipc_t       e;
    struct iovec    iov;
    struct msghdr   msg;
    struct cmsghdr *cmsg;

    union {
        struct cmsghdr align;
        char           buf[CMSG_SPACE(4 * sizeof(int))];
    } control;

    memset(hello, 0, sizeof(hello));
    memset(region, 0, sizeof(region));

    for (i = 0; i < 64; i++) {
        hello[i] = (uint8_t) number(&in, &len, 1);
    }

    for (i = 0; i < 64; i++) {
        region[i] = (uint8_t) number(&in, &len, 1);
    }

    seals = (int) number(&in, &len, 1) & 0x0f;
    n = (int) number(&in, &len, 1) % 5;
    size = number(&in, &len, 4);

    fds[0] = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    for (i = 1; i < 4; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }

    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
                       0, sock)
            == 0);

    /* a memfd is sparse: its size costs nothing */

    (void) !pwrite(fds[0], region, sizeof(region), 0);
    (void) !ftruncate(fds[0], (off_t) size);
    (void) fcntl(fds[0], F_ADD_SEALS, seals);

    iov.iov_base = hello;
    iov.iov_len = sizeof(hello);
    memset(&msg, 0, sizeof(msg));
    memset(&control, 0, sizeof(control));
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;

    if (n != 0) {
        msg.msg_control = control.buf;
        msg.msg_controllen = CMSG_SPACE((size_t) n * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN((size_t) n * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, (size_t) n * sizeof(int));
    }

    require(sendmsg(sock[0], &msg, MSG_NOSIGNAL) == 64);

    llm_ipc_init(&e);
    e.sock = sock[1];
    rc = llm_ipc_hello(&e, 16, 1);

    if (rc == 0) {
        require(n == 3 && e.region_size == size
                && e.rx.data + e.rx.size <= e.region + size
                && e.tx.data + e.tx.size <= e.region + size);
        e.rx.data[e.rx.size - 1] = 1;
        e.tx.data[e.tx.size - 1] = 1;

    } else {
        require(e.region == NULL);
        memset(&msg, 0, sizeof(msg));
        msg.msg_iov = &iov;
        msg.msg_iovlen = 1;
        (void) !recvmsg(sock[0], &msg, MSG_DONTWAIT);
    }

    llm_ipc_close(&e);
    (void) close(sock[0]);

    for (i = 0; i < 4; i++) {
        (void) close(fds[i]);
    }

    /* the worker's reading of an answer */

    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
                       0, sock)
            == 0);
    (void) !write(sock[0], hello, sizeof(hello));
    llm_ipc_init(&e);
    e.sock = sock[1];
    rc = llm_ipc_connected(&e);
    require(rc != -EAGAIN && (rc != 0 || e.slots != 0));
    llm_ipc_close(&e);
    (void) close(sock[0]);
}


#ifndef LLM_LIBFUZZER

#include "t/lib/tap.h"

#define MUTATIONS (LLM_FENCE_RMW ? 300 : 3000) /* of each file */
#define LARGEST   (1u << 17)

static uint32_t rnd_state = 1;


static uint32_t
rnd(uint32_t n)
{
    rnd_state = rnd_state * 1664525 + 1013904223;

    return (uint32_t) (((uint64_t) rnd_state * n) >> 32);
}


static void
mutate(uint8_t *buf, size_t *len)
{
    uint32_t n;

    static const uint32_t values[] = {
        0,      1,       15,         16,         17,         0xff,     0x7fff,
        0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, SIZE / 8, SIZE};

    for (n = 1 + rnd(4); n > 0; n--) {
        switch (rnd(4)) {
        case 0:
            buf[1 + rnd((uint32_t) *len - 1)] ^= (uint8_t) (1u << rnd(8));
            break;
        case 1:
            buf[1 + rnd((uint32_t) *len - 1)] = (uint8_t) rnd(256);
            break;
        case 2:
            if (*len > 16) {
                memcpy(buf + 1 + rnd((uint32_t) *len - 5),
                       &values[rnd(sizeof(values) / 4)], 4);
            }
            break;
        default:
            if (*len > 16 && rnd(8) == 0) {
                *len -= rnd((uint32_t) *len - 12);
            }
        }
    }
}


int
main(int argc, char **argv)
{
    int      i, k;
    FILE    *f;
    size_t   len, n;
    uint8_t *seed, *buf;

    seed = malloc(LARGEST);
    buf = malloc(LARGEST);
    require(seed != NULL && buf != NULL);

    for (i = 1; i < argc; i++) {
        f = fopen(argv[i], "rb");
        if (f == NULL) {
            ok(0, "%s: %s", argv[i], strerror(errno));
            continue;
        }

        len = fread(seed, 1, LARGEST, f);
        (void) fclose(f);
        (void) LLVMFuzzerTestOneInput(seed, len);

        for (k = 0; len >= 8 && k < MUTATIONS; k++) {
            memcpy(buf, seed, len);
            n = len;
            mutate(buf, &n);
            (void) LLVMFuzzerTestOneInput(buf, n);
        }

        ok(1, "%s and %d mutations", argv[i], k);
    }

    if (argc == 1) {
        skip_all("no files given");
    }

    free(seed);
    free(buf);

    return tap_done();
}

#endif
