/*
 * The handshake: both ends over real sockets, one thread; hostile HELLOs in
 * both directions, regions that are not as agreed, peers that go away at each
 * step, listening on names that are in use.  No descriptor may be left.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "engine/ipc/conn.h"
#include "t/lib/tap.h"

#define SIZE  LLM_RING_MIN
#define WHOLE (4 * LLM_PAGE + 2 * SIZE)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* What a worker sends, to be spoilt by a case. */

typedef struct {
    llm_hello_t  hello;
    llm_region_t region;
    size_t       hello_len;
    uint64_t     file_size;
    int          seals;
    int          huge; /* flags for memfd_create() besides */
    int          n_fds;
    int          fds[8];
} ask_t;

typedef struct {
    const char *what;
    void (*spoil)(ask_t *a);
    int rc;
    int answer; /* LLM_HELLO_*, or -1 for none */
} case_t;

static char dir[256];
static char path[300];

static int  fds_open(void);
static void ask_default(ask_t *a);
static int  ask_fill(ask_t *a);
static int  ask_send(int sock, const ask_t *a);
static void ask_close(ask_t *a);
static int  answer_read(int sock);
static int  seq_pair(int sock[2]);
static int  fd_kept(int fd);
static int  answered(const llm_hello_t *hello, size_t len, int fd);
static void test_good(void);
static void test_asks(void);
static void test_answers(void);
static void test_deaths(void);
static void test_listen(void);
static void test_connect(void);


int
main(void)
{
    int         before, after;
    const char *tmp;

    tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/llm-hello-XXXXXX", tmp ? tmp : P_tmpdir);
    if (mkdtemp(dir) == NULL) {
        skip_all("no directory for sockets: %s", strerror(errno));
    }

    snprintf(path, sizeof(path), "%s/engine.sock", dir);

    before = fds_open();

    test_good();
    test_asks();
    test_answers();
    test_deaths();
    test_listen();
    test_connect();

    after = fds_open();
    is_int(after, before, "no descriptor is left");

    (void) unlink(path);
    is_int(rmdir(dir), 0, "nor a file");

    return tap_done();
}


static int
fds_open(void)
{
    int  n;
    DIR *d;

    d = opendir("/proc/self/fd");
    if (d == NULL) {
        return -1;
    }

    for (n = 0; readdir(d) != NULL; n++) {
        /* void */
    }

    closedir(d);

    return n;
}


static void
ask_default(ask_t *a)
{
    memset(a, 0, sizeof(*a));

    a->hello.magic = LLM_ABI_MAGIC;
    a->hello.major = LLM_ABI_MAJOR;
    a->hello.minor = LLM_ABI_MINOR;
    a->hello.status = LLM_HELLO_ASK;
    a->hello.region_size = WHOLE;
    a->hello_len = sizeof(a->hello);

    a->region.magic = LLM_ABI_MAGIC;
    a->region.major = LLM_ABI_MAJOR;
    a->region.region_size = WHOLE;
    a->region.sub_off = 4 * LLM_PAGE;
    a->region.sub_size = SIZE;
    a->region.comp_off = 4 * LLM_PAGE + SIZE;
    a->region.comp_size = SIZE;

    a->file_size = WHOLE;
    a->seals = SEALS;
    a->n_fds = 3;
}


/* Makes the descriptors that the case left at 0. */

static int
ask_fill(ask_t *a)
{
    int i;

    if (a->n_fds > 0 && a->fds[0] == 0) {
        a->fds[0] = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING
                                          | (unsigned) a->huge);
        if (a->fds[0] == -1
            || ftruncate(a->fds[0], (off_t) a->file_size) == -1) {
            return -1;
        }

        if (a->file_size >= sizeof(a->region)
            && pwrite(a->fds[0], &a->region, sizeof(a->region), 0) == -1
            && !a->huge) {
            return -1;
        }

        if (fcntl(a->fds[0], F_ADD_SEALS, a->seals) == -1) {
            return -1;
        }
    }

    for (i = 1; i < a->n_fds; i++) {
        if (a->fds[i] == 0) {
            a->fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        }
    }

    return 0;
}


static int
ask_send(int sock, const ask_t *a)
{
    size_t          len;
    uint8_t         bytes[256];
    struct iovec    iov;
    struct msghdr   msg;
    struct cmsghdr *cmsg;

    union {
        struct cmsghdr align;
        char           buf[CMSG_SPACE(8 * sizeof(int))];
    } control;

    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, &a->hello, sizeof(a->hello));

    iov.iov_base = bytes;
    iov.iov_len = a->hello_len;

    memset(&msg, 0, sizeof(msg));
    memset(&control, 0, sizeof(control));
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;

    if (a->n_fds != 0) {
        len = (size_t) a->n_fds * sizeof(int);
        msg.msg_control = control.buf;
        msg.msg_controllen = CMSG_SPACE(len);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(len);
        memcpy(CMSG_DATA(cmsg), a->fds, len);
    }

    return sendmsg(sock, &msg, MSG_NOSIGNAL) == (ssize_t) a->hello_len ? 0 : -1;
}


static void
ask_close(ask_t *a)
{
    int i;

    for (i = 0; i < a->n_fds; i++) {
        if (a->fds[i] > 0) {
            (void) close(a->fds[i]);
        }
    }
}


/* The status of the engine's answer, or -1 if there is none. */

static int
answer_read(int sock)
{
    ssize_t     n;
    llm_hello_t hello;

    n = recv(sock, &hello, sizeof(hello), MSG_DONTWAIT);

    if (n != (ssize_t) sizeof(hello) || hello.magic != LLM_ABI_MAGIC
        || hello.major != LLM_ABI_MAJOR) {
        return -1;
    }

    return (int) hello.status;
}


static int
seq_pair(int sock[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                      sock);
}


static int
fd_kept(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC)
           && (fcntl(fd, F_GETFL) & O_NONBLOCK);
}


/* Both ends, from listen to the last record. */

static void
test_good(void)
{
    int            lfd;
    uint64_t       count;
    llm_ipc_t      w, e;
    struct stat    st;
    llm_status_t   status;
    llm_ring_rec_t rec;

    lfd = llm_ipc_listen(path, 0640);
    ok(lfd >= 0, "listen");
    ok(fd_kept(lfd), "its descriptor is close-on-exec and does not block");
    ok(stat(path, &st) == 0 && S_ISSOCK(st.st_mode)
           && (st.st_mode & 07777) == 0640,
       "the socket has its mode");

    llm_ipc_init(&e);
    is_int(llm_ipc_accept(&e, lfd), -EAGAIN, "accept: nobody yet");
    is_int(llm_ipc_connect(&w, path, SIZE, 2 * SIZE), 0, "connect");
    is_int(llm_ipc_connected(&w), -EAGAIN, "not yet connected");
    is_int(llm_ipc_accept(&e, lfd), 0, "accept");
    is_int(llm_ipc_hello(&e, 77, 0x1122334455667788), 0, "hello");
    is_int(llm_ipc_hello(&e, 77, 1), -ENOTCONN, "no second hello");
    is_int(llm_ipc_connected(&w), 0, "connected");

    ok(w.slots == 77 && w.boot == 0x1122334455667788, "slots and boot number");
    ok(w.peer == getpid() && e.peer == getpid() && w.peer_uid == getuid()
           && e.peer_uid == getuid(),
       "both know the peer");
    ok(fd_kept(w.sock) && fd_kept(w.efd_rx) && fd_kept(w.efd_tx)
           && fd_kept(e.sock) && fd_kept(e.efd_rx) && fd_kept(e.efd_tx),
       "every descriptor is close-on-exec and does not block");
    ok(w.memfd == -1 && e.memfd == -1, "the memfd is closed");
    ok(w.tx.size == SIZE && e.rx.size == SIZE && w.rx.size == 2 * SIZE
           && e.tx.size == 2 * SIZE,
       "sizes");

    is_int(llm_ring_write(&w.tx, LLM_REC_MANIFEST, 0, LLM_SLOT_NONE, 0, "{}", 2,
                          NULL, 0),
           0, "worker writes");
    is_int(llm_ring_arm(&e.rx), 0, "engine sleeps");
    is_int(llm_ring_flush(&w.tx), 1, "worker has to ring");
    is_int(read(e.efd_rx, &count, 8), -1, "no doorbell before");
    llm_ipc_ring(&w);
    llm_ipc_drain(&e);
    is_int(read(e.efd_rx, &count, 8), -1, "drained");
    llm_ipc_ring(&w);
    llm_ipc_ring(&w);
    is_int(read(e.efd_rx, &count, 8), 8, "doorbell");
    is_int(llm_ring_peek(&e.rx, &rec), 1, "engine reads");
    ok(rec.len == 2 && memcmp(rec.payload, "{}", 2) == 0, "what was written");
    is_int(llm_ring_write(&e.tx, LLM_REC_CANCEL, 0, 1, 1, NULL, 0, NULL, 0), 0,
           "engine writes what is not its to write");
    (void) llm_ring_flush(&e.tx);
    is_int(llm_ring_peek(&w.rx, &rec), -EPROTO, "worker refuses it");

    memset(&status, 0, sizeof(status));
    status.heartbeat = 5;
    status.steps = 6;
    status.running = 7;
    status.waiting = 8;
    status.kv_pages = 9;
    status.kv_pages_free = 10;
    llm_ipc_status_write(&e, &status);
    memset(&status, 0, sizeof(status));
    llm_ipc_status_read(&w, &status);
    ok(status.heartbeat == 5 && status.steps == 6 && status.running == 7
           && status.waiting == 8 && status.kv_pages == 9
           && status.kv_pages_free == 10,
       "status words");

    is_int(llm_ipc_dead(&e), 0, "the worker lives");
    is_int(llm_ipc_dead(&w), 0, "the engine lives");
    (void) !write(w.sock, "x", 1);
    is_int(llm_ipc_dead(&e), 1, "the worker spoke out of turn");
    llm_ipc_close(&e);
    is_int(llm_ipc_dead(&w), 1, "the engine is gone");
    llm_ipc_ring(&w);
    llm_ipc_close(&w);
    llm_ipc_close(&w);
    is_int(llm_ipc_dead(&w), 1, "closed is dead");
    llm_ipc_ring(&w);
    llm_ipc_drain(&w);
    llm_ipc_status_read(&w, &status);
    is_int(status.steps, 0, "all calls bear a closed connection");
    is_int(llm_ipc_connected(&w), -ENOTCONN, "as does connected");

    (void) close(lfd);
    (void) unlink(path);
}


static void
bad_none(ask_t *a)
{
}


/* Most cases spoil one thing. */

#define SPOIL(name, statement)                                                 \
    static void name(ask_t *a)                                                 \
    {                                                                          \
        statement                                                              \
    }

/* clang-format off */
SPOIL(bad_magic, a->hello.magic++;)
SPOIL(bad_status, a->hello.status = LLM_HELLO_OK;)
SPOIL(bad_short, a->hello_len = 63;)
SPOIL(bad_long, a->hello_len = 65;)
SPOIL(bad_byte, a->hello_len = 1;)
SPOIL(bad_major, a->hello.major++;)
SPOIL(bad_no_fds, a->n_fds = 0;)
SPOIL(bad_two_fds, a->n_fds = 2;)
SPOIL(bad_four_fds, a->n_fds = 4;)
SPOIL(bad_eight_fds, a->n_fds = 8;)
SPOIL(bad_no_seals, a->seals = 0;)
SPOIL(bad_no_shrink, a->seals = F_SEAL_GROW | F_SEAL_SEAL;)
SPOIL(bad_no_grow, a->seals = F_SEAL_SHRINK | F_SEAL_SEAL;)
SPOIL(bad_no_seal, a->seals = F_SEAL_SHRINK | F_SEAL_GROW;)
SPOIL(bad_write_seal, a->seals = SEALS | F_SEAL_WRITE;)
SPOIL(bad_file_short, a->file_size = WHOLE - LLM_PAGE;)
SPOIL(bad_file_long, a->file_size = WHOLE + LLM_PAGE;)
SPOIL(bad_region_size, a->region.region_size++;)
SPOIL(bad_hello_size, a->hello.region_size = 1ULL << 62;)
SPOIL(bad_region_magic, a->region.magic = 0;)
SPOIL(bad_region_major, a->region.major++;)
SPOIL(bad_sub_off, a->region.sub_off = 0;)
SPOIL(bad_comp_off, a->region.comp_off = a->region.sub_off;)
SPOIL(bad_comp_off_far, a->region.comp_off = ~0ULL - SIZE + 1;)
SPOIL(bad_sub_size, a->region.sub_size = SIZE - 4096;)
SPOIL(bad_sub_zero, a->region.sub_size = 0;)
SPOIL(bad_sub_huge, a->region.sub_size = 1ULL << 63;)
SPOIL(bad_comp_size, a->region.comp_size = 2 * SIZE;)
SPOIL(bad_not_memfd, a->fds[0] = open("/dev/zero", O_RDWR | O_CLOEXEC);)
SPOIL(bad_memfd_eventfd, a->fds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);)
SPOIL(bad_event_socket, a->fds[2] = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);)
SPOIL(bad_event_blocks, a->fds[2] = eventfd(0, EFD_CLOEXEC);)
SPOIL(bad_event_memfd, a->fds[1] = memfd_create("e", MFD_CLOEXEC);)
/* clang-format on */


static void
good_minor(ask_t *a)
{
    a->hello.minor = 99;
    a->region.minor = 99;
    a->hello.features = ~0ULL;
}


static void
bad_file_empty(ask_t *a)
{
    a->file_size = 0;
    a->hello.region_size = 0;
}


static void
bad_small(ask_t *a)
{
    a->region.sub_size = a->region.comp_size = SIZE / 2;
    a->region.comp_off = 4 * LLM_PAGE + SIZE / 2;
    a->region.region_size = a->file_size = a->hello.region_size =
        4 * LLM_PAGE + SIZE;
}


static void
bad_event_pipe(ask_t *a)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0) {
        a->fds[1] = p[0];
        a->fds[2] = p[1];
    }
}


static void
bad_huge_pages(ask_t *a)
{
    a->huge = MFD_HUGETLB;
    a->file_size = a->hello.region_size = 2 << 20;
}


static void
test_asks(void)
{
    int       rc, before, after, answer, sock[2];
    ask_t     a;
    unsigned  i;
    llm_ipc_t e;

    static const case_t cases[] = {
        {"as it should be", bad_none, 0, LLM_HELLO_OK},
        {"a later minor and features", good_minor, 0, LLM_HELLO_OK},
        {"magic", bad_magic, -EPROTO, -1},
        {"no question", bad_status, -EPROTO, -1},
        {"63 bytes", bad_short, -EPROTO, -1},
        {"65 bytes", bad_long, -EPROTO, -1},
        {"1 byte", bad_byte, -EPROTO, -1},
        {"major", bad_major, -EPROTONOSUPPORT, LLM_HELLO_VERSION},
        {"no descriptors", bad_no_fds, -EBADMSG, LLM_HELLO_REGION},
        {"two descriptors", bad_two_fds, -EBADMSG, LLM_HELLO_REGION},
        {"four descriptors", bad_four_fds, -EPROTO, -1},
        {"eight descriptors", bad_eight_fds, -EPROTO, -1},
        {"no seals", bad_no_seals, -EBADMSG, LLM_HELLO_REGION},
        {"no F_SEAL_SHRINK", bad_no_shrink, -EBADMSG, LLM_HELLO_REGION},
        {"no F_SEAL_GROW", bad_no_grow, -EBADMSG, LLM_HELLO_REGION},
        {"no F_SEAL_SEAL", bad_no_seal, -EBADMSG, LLM_HELLO_REGION},
        {"F_SEAL_WRITE", bad_write_seal, -EBADMSG, LLM_HELLO_REGION},
        {"file too short", bad_file_short, -EBADMSG, LLM_HELLO_REGION},
        {"file too long", bad_file_long, -EBADMSG, LLM_HELLO_REGION},
        {"empty file", bad_file_empty, -EBADMSG, LLM_HELLO_REGION},
        {"region_size", bad_region_size, -EBADMSG, LLM_HELLO_REGION},
        {"HELLO's region_size", bad_hello_size, -EBADMSG, LLM_HELLO_REGION},
        {"region's magic", bad_region_magic, -EBADMSG, LLM_HELLO_REGION},
        {"region's major", bad_region_major, -EBADMSG, LLM_HELLO_REGION},
        {"sub_off", bad_sub_off, -EBADMSG, LLM_HELLO_REGION},
        {"comp_off", bad_comp_off, -EBADMSG, LLM_HELLO_REGION},
        {"comp_off, far", bad_comp_off_far, -EBADMSG, LLM_HELLO_REGION},
        {"sub_size", bad_sub_size, -EBADMSG, LLM_HELLO_REGION},
        {"sub_size 0", bad_sub_zero, -EBADMSG, LLM_HELLO_REGION},
        {"sub_size 2^63", bad_sub_huge, -EBADMSG, LLM_HELLO_REGION},
        {"comp_size", bad_comp_size, -EBADMSG, LLM_HELLO_REGION},
        {"rings of 32 KiB", bad_small, -EBADMSG, LLM_HELLO_REGION},
        {"/dev/zero as memfd", bad_not_memfd, -EBADMSG, LLM_HELLO_REGION},
        {"eventfd as memfd", bad_memfd_eventfd, -EBADMSG, LLM_HELLO_REGION},
        {"pipe as eventfd", bad_event_pipe, -EBADMSG, LLM_HELLO_REGION},
        {"socket as eventfd", bad_event_socket, -EBADMSG, LLM_HELLO_REGION},
        {"eventfd that blocks", bad_event_blocks, -EBADMSG, LLM_HELLO_REGION},
        {"memfd as eventfd", bad_event_memfd, -EBADMSG, LLM_HELLO_REGION},
        {"huge pages", bad_huge_pages, -EBADMSG, LLM_HELLO_REGION},
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        before = fds_open();

        ask_default(&a);
        cases[i].spoil(&a);

        if (ask_fill(&a) != 0) {
            ask_close(&a);
            ok(1, "asks: %s # SKIP cannot be made here: %s", cases[i].what,
               strerror(errno));
            continue;
        }

        llm_ipc_init(&e);

        if (seq_pair(sock) != 0 || ask_send(sock[0], &a) != 0) {
            ok(0, "asks: %s: %s", cases[i].what, strerror(errno));
            ask_close(&a);
            continue;
        }

        e.sock = sock[1];
        rc = llm_ipc_hello(&e, 16, 1);
        answer = answer_read(sock[0]);
        ok(rc == cases[i].rc && answer == cases[i].answer
               && (rc == 0) == (e.region != NULL),
           "asks: %s: %d, answer %d", cases[i].what, rc, answer);

        llm_ipc_close(&e);
        (void) close(sock[0]);
        ask_close(&a);

        after = fds_open();
        if (after != before) {
            is_int(after, before, "asks: %s: descriptors", cases[i].what);
        }
    }

    ask_default(&a);
    (void) ask_fill(&a);
    llm_ipc_init(&e);
    (void) seq_pair(sock);
    (void) ask_send(sock[0], &a);
    e.sock = sock[1];
    is_int(llm_ipc_hello(&e, 0, 1), -EUSERS, "asks: no slots left");
    is_int(answer_read(sock[0]), LLM_HELLO_FULL, "answer: too many");
    is_int(llm_ipc_hello(&e, 1, 1), -EAGAIN, "asks: no HELLO yet");
    llm_ipc_close(&e);
    (void) close(sock[0]);
    ask_close(&a);
}


/* A worker whose engine answers this. */

static int
answered(const llm_hello_t *hello, size_t len, int fd)
{
    int           rc, lfd, sock;
    ask_t         a;
    llm_ipc_t     w;
    struct iovec  iov;
    struct msghdr msg;

    lfd = llm_ipc_listen(path, 0600);
    rc = llm_ipc_connect(&w, path, SIZE, SIZE);
    if (rc != 0) {
        return 1;
    }

    sock = accept(lfd, NULL, NULL);

    if (fd >= 0) {
        ask_default(&a);
        a.hello = *hello;
        a.hello_len = len;
        a.n_fds = 1;
        a.fds[0] = fd;
        (void) ask_send(sock, &a);

    } else {
        memset(&msg, 0, sizeof(msg));
        iov.iov_base = (void *) (uintptr_t) hello;
        iov.iov_len = len;
        msg.msg_iov = &iov;
        msg.msg_iovlen = 1;
        (void) !sendmsg(sock, &msg, MSG_NOSIGNAL);
    }

    rc = llm_ipc_connected(&w);

    llm_ipc_close(&w);
    (void) close(sock);
    (void) close(lfd);
    (void) unlink(path);

    return rc;
}


static void
test_answers(void)
{
    llm_hello_t good, h;

    memset(&good, 0, sizeof(good));
    good.magic = LLM_ABI_MAGIC;
    good.major = LLM_ABI_MAJOR;
    good.status = LLM_HELLO_OK;
    good.slots = 16;
    good.region_size = WHOLE;

    is_int(answered(&good, 64, -1), 0, "answer: as it should be");
    is_int(answered(&good, 63, -1), -EPROTO, "answer: 63 bytes");
    is_int(answered(&good, 0, -1), -EPIPE, "answer: 0 bytes");
    is_int(answered(&good, 64, 0), -EPROTO, "answer: a descriptor with it");
    h = good;
    h.magic = 0;
    is_int(answered(&h, 64, -1), -EPROTO, "answer: magic");
    h = good;
    h.major = 2;
    is_int(answered(&h, 64, -1), -EPROTO, "answer: major");
    h = good;
    h.slots = 0;
    is_int(answered(&h, 64, -1), -EPROTO, "answer: no slots");
    h.slots = LLM_SLOT_NONE;
    is_int(answered(&h, 64, -1), -EPROTO, "answer: too many slots");
    h = good;
    h.region_size++;
    is_int(answered(&h, 64, -1), -EPROTO, "answer: another region");
    h = good;
    h.status = LLM_HELLO_ASK;
    is_int(answered(&h, 64, -1), -EPROTO, "answer: a question");
    h.status = 77;
    is_int(answered(&h, 64, -1), -EPROTO, "answer: unknown status");
    h.status = LLM_HELLO_VERSION;
    h.major = 2;
    is_int(answered(&h, 64, -1), -EPROTONOSUPPORT, "answer: another version");
    h.status = LLM_HELLO_REGION;
    is_int(answered(&h, 64, -1), -EBADMSG, "answer: region refused");
    h.status = LLM_HELLO_FULL;
    is_int(answered(&h, 64, -1), -EUSERS, "answer: too many connections");
}


/* Each end goes away at each step; the other sees it and keeps nothing. */

static void
test_deaths(void)
{
    int       lfd, rc;
    llm_ipc_t w, e;

    lfd = llm_ipc_listen(path, 0600);
    (void) llm_ipc_connect(&w, path, SIZE, SIZE);
    (void) close(lfd);
    is_int(llm_ipc_connected(&w), -EPIPE, "the engine goes before accept");
    llm_ipc_close(&w);

    lfd = llm_ipc_listen(path, 0600);
    (void) llm_ipc_connect(&w, path, SIZE, SIZE);
    (void) llm_ipc_accept(&e, lfd);
    llm_ipc_close(&e);
    is_int(llm_ipc_connected(&w), -EPIPE, "after accept");
    llm_ipc_close(&w);

    (void) llm_ipc_connect(&w, path, SIZE, SIZE);
    (void) llm_ipc_accept(&e, lfd);
    (void) llm_ipc_hello(&e, 4, 1);
    llm_ipc_close(&e);
    is_int(llm_ipc_connected(&w), 0, "after its answer, which still counts");
    is_int(llm_ipc_dead(&w), 1, "and is then seen");
    llm_ipc_close(&w);

    (void) llm_ipc_connect(&w, path, SIZE, SIZE);
    llm_ipc_close(&w);
    is_int(llm_ipc_accept(&e, lfd), 0, "the worker goes before accept");
    rc = llm_ipc_hello(&e, 4, 1);
    is_int(rc, -EPIPE, "its HELLO is there, the answer finds nobody");
    llm_ipc_close(&e);

    (void) llm_ipc_connect(&w, path, SIZE, SIZE);
    is_int(llm_ipc_accept(&e, lfd), 0, "accept");
    (void) shutdown(w.sock, SHUT_RDWR);
    llm_ipc_close(&w);
    is_int(llm_ipc_hello(&e, 4, 1), -EPIPE, "the worker goes after HELLO");
    llm_ipc_close(&e);

    (void) llm_ipc_connect(&w, path, SIZE, SIZE);
    (void) llm_ipc_accept(&e, lfd);
    (void) llm_ipc_hello(&e, 4, 1);
    (void) llm_ipc_connected(&w);
    is_int(llm_ipc_dead(&e), 0, "connected");
    llm_ipc_close(&w);
    is_int(llm_ipc_dead(&e), 1, "the worker goes when connected");
    llm_ipc_ring(&e);
    (void) llm_ring_write(&e.tx, LLM_REC_CANCEL, 0, 1, 1, NULL, 0, NULL, 0);
    (void) llm_ring_flush(&e.tx);
    llm_ipc_close(&e);

    /* connected, but without a word */

    {
        int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        struct sockaddr_un sun;

        memset(&sun, 0, sizeof(sun));
        sun.sun_family = AF_UNIX;
        memcpy(sun.sun_path, path, strlen(path));
        (void) connect(s, (struct sockaddr *) &sun, sizeof(sun));
        (void) llm_ipc_accept(&e, lfd);
        is_int(llm_ipc_hello(&e, 4, 1), -EAGAIN, "a worker that says nothing");
        (void) close(s);
        is_int(llm_ipc_hello(&e, 4, 1), -EPIPE, "and goes");
        llm_ipc_close(&e);
    }

    (void) close(lfd);
    (void) unlink(path);
}


static void
test_listen(void)
{
    int         lfd, lfd2, fd;
    char        longest[300];
    mode_t      umask_was;
    llm_ipc_t   w;
    struct stat st;

    umask_was = umask(0077);
    lfd = llm_ipc_listen(path, 0660);
    (void) umask(umask_was);
    ok(lfd >= 0 && stat(path, &st) == 0 && (st.st_mode & 07777) == 0660,
       "the mode is as asked, whatever the umask");

    lfd2 = llm_ipc_listen(path, 0600);
    is_int(lfd2, -EADDRINUSE, "a live engine's name is in use");
    is_int(llm_ipc_connect(&w, path, SIZE, SIZE), 0, "and it still answers");
    llm_ipc_close(&w);

    (void) close(lfd);
    lfd = llm_ipc_listen(path, 0600);
    ok(lfd >= 0, "a dead engine's name is taken over");
    is_int(llm_ipc_connect(&w, path, SIZE, SIZE), 0, "and answers");
    llm_ipc_close(&w);
    (void) close(lfd);
    (void) unlink(path);

    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void) close(fd);
    is_int(llm_ipc_listen(path, 0600), -EADDRINUSE, "a file is not replaced");
    ok(stat(path, &st) == 0 && S_ISREG(st.st_mode), "it is still there");
    (void) unlink(path);

    is_int(symlink("engine.sock2", path), 0, "a dangling link");
    is_int(llm_ipc_listen(path, 0600), -EADDRINUSE, "is not replaced");
    (void) unlink(path);

    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    is_int(llm_ipc_listen(longest, 0600), -ENAMETOOLONG, "a name too long");
    is_int(llm_ipc_listen("", 0600), -EINVAL, "no name");
    snprintf(longest, sizeof(longest), "%s/none/x.sock", dir);
    is_int(llm_ipc_listen(longest, 0600), -ENOENT, "no such directory");
}


static void
test_connect(void)
{
    int                s, before;
    llm_ipc_t          w;
    struct sockaddr_un sun;

    before = fds_open();

    is_int(llm_ipc_connect(&w, path, SIZE, SIZE), -ENOENT, "no engine");
    is_int(llm_ipc_connect(&w, "", SIZE, SIZE), -EINVAL, "no name");

    s = llm_ipc_listen(path, 0600);
    is_int(llm_ipc_connect(&w, path, SIZE + 1, SIZE), -EINVAL,
           "a size that is no power of two");
    is_int(llm_ipc_connect(&w, path, SIZE, SIZE / 2), -EINVAL, "one too small");
    is_int(llm_ipc_connect(&w, path, SIZE, 2ULL << 30), -EINVAL,
           "one too large");
    (void) close(s);
    is_int(llm_ipc_connect(&w, path, SIZE, SIZE), -ECONNREFUSED,
           "a dead engine");
    (void) unlink(path);

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    memcpy(sun.sun_path, path, strlen(path));
    s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void) bind(s, (struct sockaddr *) &sun, sizeof(sun));
    (void) listen(s, 1);
    is_int(llm_ipc_connect(&w, path, SIZE, SIZE), -EPROTOTYPE,
           "a stream socket is no engine");
    is_int(llm_ipc_listen(path, 0600), -EADDRINUSE, "nor is it replaced");
    (void) close(s);
    (void) unlink(path);

    ok(w.sock == -1 && w.region == NULL, "a failed connect leaves all closed");
    is_int(fds_open(), before, "and no descriptor");
    llm_ipc_close(&w);
}
