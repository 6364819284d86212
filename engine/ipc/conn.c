/*
 * Set-up of a connection, both ends.  abi.h says what is exchanged.
 *
 * An llm_ipc_t is used by one thread, which owns it; descriptors and mapping
 * are its own from the moment they exist and go with llm_ipc_close().  What
 * holds always: nothing blocks, every descriptor is close-on-exec, and of what
 * the peer sends nothing is used before it was verified.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include "engine/ipc/barrier.h"
#include "engine/ipc/conn.h"
#include "engine/ipc/region.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

#define LLM_IPC_FDS     LLM_REGION_FDS
#define LLM_IPC_BACKLOG 511


/* Room for one control message with a region's descriptors, aligned. */

typedef union {
    struct cmsghdr align;
    char           buf[CMSG_SPACE(LLM_IPC_FDS * sizeof(int))];
} llm_ipc_cmsg_t;


static int  llm_ipc_address(struct sockaddr_un *sun, const char *path);
static int  llm_ipc_peer(llm_ipc_t *ipc);
static int  llm_ipc_ask(llm_ipc_t *ipc);
static int  llm_ipc_hello_read(int sock, llm_hello_t *hello, int *fds,
                               int fds_max);
static int  llm_ipc_answer(llm_ipc_t *ipc, uint32_t status, uint32_t slots,
                           uint64_t boot);
static void llm_ipc_fd_close(int *fd);
static int  llm_ipc_bind(int sock, const struct sockaddr_un *sun, mode_t mode);
static int  llm_ipc_stale(const struct sockaddr_un *sun);


void
llm_ipc_init(llm_ipc_t *ipc)
{
    memset(ipc, 0, sizeof(*ipc));
    ipc->sock = -1;
    ipc->efd_rx = -1;
    ipc->efd_tx = -1;
    ipc->memfd = -1;
}


int
llm_ipc_connect(llm_ipc_t *ipc, const char *path, uint64_t sub_size,
                uint64_t comp_size)
{
    int                rc;
    struct sockaddr_un sun;

    llm_ipc_init(ipc);

    rc = llm_ipc_address(&sun, path);
    if (rc != 0) {
        return rc;
    }

    ipc->sock =
        socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ipc->sock == -1) {
        return -errno;
    }

    /* a Unix socket connects at once or not at all */

    if (connect(ipc->sock, (struct sockaddr *) &sun, sizeof(sun)) == -1) {
        rc = -errno;
        goto failed;
    }

    rc = llm_ipc_peer(ipc);
    if (rc != 0) {
        goto failed;
    }

    rc = llm_region_make(ipc, sub_size, comp_size);
    if (rc != 0) {
        goto failed;
    }

    rc = llm_ipc_ask(ipc);
    if (rc != 0) {
        goto failed;
    }

    llm_ipc_fd_close(&ipc->memfd);

    return 0;

failed:

    llm_ipc_close(ipc);

    return rc;
}


int
llm_ipc_connected(llm_ipc_t *ipc)
{
    int         rc;
    llm_hello_t hello;

    if (ipc->sock == -1) {
        return -ENOTCONN;
    }

    rc = llm_ipc_hello_read(ipc->sock, &hello, NULL, 0);
    if (rc < 0) {
        return rc;
    }

    if (hello.magic != LLM_ABI_MAGIC) {
        return -EPROTO;
    }

    switch (hello.status) {
    case LLM_HELLO_OK:
        break;
    case LLM_HELLO_VERSION:
        return -EPROTONOSUPPORT;
    case LLM_HELLO_REGION:
        return -EBADMSG;
    case LLM_HELLO_FULL:
        return -EUSERS;
    default:
        return -EPROTO;
    }

    if (hello.major != LLM_ABI_MAJOR || hello.region_size != ipc->region_size
        || hello.slots == 0 || hello.slots == LLM_SLOT_NONE) {
        return -EPROTO;
    }

    ipc->slots = hello.slots;
    ipc->boot = hello.boot;

    return 0;
}


int
llm_ipc_listen(const char *path, mode_t mode)
{
    int                sock, rc;
    struct sockaddr_un sun;

    rc = llm_ipc_address(&sun, path);
    if (rc != 0) {
        return rc;
    }

    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock == -1) {
        return -errno;
    }

    rc = llm_ipc_bind(sock, &sun, mode);

    if (rc == -EADDRINUSE && llm_ipc_stale(&sun)) {
        if (unlink(path) == -1 && errno != ENOENT) {
            rc = -errno;
        } else {
            rc = llm_ipc_bind(sock, &sun, mode);
        }
    }

    if (rc == 0 && listen(sock, LLM_IPC_BACKLOG) == -1) {
        rc = -errno;
        (void) unlink(path);
    }

    if (rc != 0) {
        (void) close(sock);
        return rc;
    }

    return sock;
}


int
llm_ipc_accept(llm_ipc_t *ipc, int listen_fd)
{
    int rc;

    llm_ipc_init(ipc);

    do {
        ipc->sock =
            accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (ipc->sock == -1 && (errno == EINTR || errno == ECONNABORTED));

    if (ipc->sock == -1) {
        return -errno;
    }

    rc = llm_ipc_peer(ipc);
    if (rc != 0) {
        llm_ipc_close(ipc);
    }

    return rc;
}


int
llm_ipc_hello(llm_ipc_t *ipc, uint32_t slots, uint64_t boot)
{
    int         i, rc, n, fds[LLM_IPC_FDS];
    uint32_t    status;
    llm_hello_t hello;

    if (ipc->sock == -1 || ipc->region != NULL) {
        return -ENOTCONN;
    }

    n = llm_ipc_hello_read(ipc->sock, &hello, fds, LLM_IPC_FDS);
    if (n < 0) {
        return n;
    }

    rc = 0;
    status = LLM_HELLO_OK;

    if (hello.magic != LLM_ABI_MAGIC || hello.status != LLM_HELLO_ASK) {
        rc = -EPROTO; /* no worker of any version: no answer */

    } else if (hello.major != LLM_ABI_MAJOR) {
        rc = -EPROTONOSUPPORT;
        status = LLM_HELLO_VERSION;

    } else if (slots == 0) {
        rc = -EUSERS;
        status = LLM_HELLO_FULL;

    } else if (n != LLM_IPC_FDS
               || llm_region_take(ipc, hello.region_size, fds) != 0) {
        rc = -EBADMSG;
        status = LLM_HELLO_REGION;
    }

    for (i = 0; i < n; i++) {
        llm_ipc_fd_close(&fds[i]);
    }

    if (rc == 0) {
        rc = llm_ipc_answer(ipc, status, slots, boot);

    } else if (rc != -EPROTO) {
        (void) llm_ipc_answer(ipc, status, 0, boot);
    }

    if (rc == 0) {
        ipc->slots = slots;
        ipc->boot = boot;
    }

    return rc;
}


void
llm_ipc_ring(llm_ipc_t *ipc)
{
    ssize_t  n;
    uint64_t one;

    if (ipc->efd_tx == -1) {
        return;
    }

    /*
     * EAGAIN: the count is full, the peer has more than enough to wake for.
     * O_NONBLOCK was verified, but the flag is the peer's as well: one that
     * clears it and fills the count holds us up here, until it dies.  Linux
     * has no write to an eventfd with RWF_NOWAIT.
     */

    one = 1;
    n = write(ipc->efd_tx, &one, sizeof(one));
    (void) n;
}


void
llm_ipc_drain(llm_ipc_t *ipc)
{
    ssize_t      n;
    uint64_t     count;
    struct iovec iov;

    if (ipc->efd_rx == -1) {
        return;
    }

    /* the flag O_NONBLOCK is the peer's as well: ask for it in the call */

    iov.iov_base = &count;
    iov.iov_len = sizeof(count);

    n = preadv2(ipc->efd_rx, &iov, 1, -1, RWF_NOWAIT);

    if (n == -1 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        n = read(ipc->efd_rx, &count, sizeof(count));
    }

    (void) n;
}


void
llm_ipc_status_read(const llm_ipc_t *ipc, llm_status_t *status)
{
    const llm_status_t *s;

    memset(status, 0, sizeof(*status));

    s = ipc->status;
    if (s == NULL) {
        return;
    }

    status->heartbeat = llm_word_load(&s->heartbeat);
    status->steps = llm_word_load(&s->steps);
    status->running = llm_word32_load(&s->running);
    status->waiting = llm_word32_load(&s->waiting);
    status->kv_pages = llm_word_load(&s->kv_pages);
    status->kv_pages_free = llm_word_load(&s->kv_pages_free);
}


void
llm_ipc_status_write(llm_ipc_t *ipc, const llm_status_t *status)
{
    llm_status_t *s;

    s = ipc->status;
    if (s == NULL) {
        return;
    }

    llm_word_store(&s->heartbeat, status->heartbeat);
    llm_word_store(&s->steps, status->steps);
    llm_word32_store(&s->running, status->running);
    llm_word32_store(&s->waiting, status->waiting);
    llm_word_store(&s->kv_pages, status->kv_pages);
    llm_word_store(&s->kv_pages_free, status->kv_pages_free);
}


int
llm_ipc_dead(llm_ipc_t *ipc)
{
    char    byte;
    ssize_t n;

    if (ipc->sock == -1) {
        return 1;
    }

    do {
        n = recv(ipc->sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    } while (n == -1 && errno == EINTR);

    return !(n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK));
}


void
llm_ipc_close(llm_ipc_t *ipc)
{
    if (ipc->region != NULL) {
        (void) munmap(ipc->region, ipc->region_size);
    }

    llm_ipc_fd_close(&ipc->sock);
    llm_ipc_fd_close(&ipc->efd_rx);
    llm_ipc_fd_close(&ipc->efd_tx);
    llm_ipc_fd_close(&ipc->memfd);

    llm_ipc_init(ipc);
}


static int
llm_ipc_address(struct sockaddr_un *sun, const char *path)
{
    size_t len;

    len = strlen(path);
    if (len == 0) {
        return -EINVAL;
    }

    if (len >= sizeof(sun->sun_path)) {
        return -ENAMETOOLONG;
    }

    memset(sun, 0, sizeof(*sun));
    sun->sun_family = AF_UNIX;
    memcpy(sun->sun_path, path, len);

    return 0;
}


static int
llm_ipc_peer(llm_ipc_t *ipc)
{
    socklen_t    len;
    struct ucred cred;

    len = sizeof(cred);
    if (getsockopt(ipc->sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) == -1) {
        return -errno;
    }

    ipc->peer = cred.pid;
    ipc->peer_uid = cred.uid;

    return 0;
}


/* Worker: sends HELLO and the three descriptors. */

static int
llm_ipc_ask(llm_ipc_t *ipc)
{
    int             fds[LLM_IPC_FDS];
    ssize_t         n;
    llm_hello_t     hello;
    struct iovec    iov;
    struct msghdr   msg;
    struct cmsghdr *cmsg;
    llm_ipc_cmsg_t  control;

    memset(&hello, 0, sizeof(hello));
    hello.magic = LLM_ABI_MAGIC;
    hello.major = LLM_ABI_MAJOR;
    hello.minor = LLM_ABI_MINOR;
    hello.status = LLM_HELLO_ASK;
    hello.pid = (uint32_t) getpid();
    hello.region_size = ipc->region_size;

    fds[0] = ipc->memfd;
    fds[1] = ipc->efd_tx;
    fds[2] = ipc->efd_rx;

    iov.iov_base = &hello;
    iov.iov_len = sizeof(hello);

    memset(&control, 0, sizeof(control));
    memset(&msg, 0, sizeof(msg));
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.buf;
    msg.msg_controllen = sizeof(control.buf);

    cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(cmsg), fds, sizeof(fds));

    do {
        n = sendmsg(ipc->sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n == -1 && errno == EINTR);

    if (n == -1) {
        return errno == ECONNRESET ? -EPIPE : -errno;
    }

    return 0;
}


/*
 * Reads one HELLO.  Returns how many descriptors came with it, fds_max at the
 * most, or -errno and none.  More than fds_max: the rest is discarded, by the
 * kernel, and fds_max + 1 cannot be told from more: that is -EPROTO.
 */

static int
llm_ipc_hello_read(int sock, llm_hello_t *hello, int *fds, int fds_max)
{
    int             i, n_fds;
    size_t          len;
    ssize_t         n;
    struct iovec    iov;
    struct msghdr   msg;
    struct cmsghdr *cmsg;
    llm_ipc_cmsg_t  control;

    iov.iov_base = hello;
    iov.iov_len = sizeof(*hello);

    memset(&msg, 0, sizeof(msg));
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;

    if (fds_max != 0) {
        memset(&control, 0, sizeof(control));
        msg.msg_control = control.buf;
        msg.msg_controllen = CMSG_LEN((size_t) fds_max * sizeof(int));
    }

    do {
        n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n == -1 && errno == EINTR);

    if (n == -1) {
        return errno == ECONNRESET ? -EPIPE : -errno;
    }

    n_fds = 0;

    for (cmsg = CMSG_FIRSTHDR(&msg); fds_max != 0 && cmsg != NULL;
         cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }

        len = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (len > (size_t) (fds_max - n_fds)) {
            len = (size_t) (fds_max - n_fds); /* cannot be: there is no room */
        }

        memcpy(fds + n_fds, CMSG_DATA(cmsg), len * sizeof(int));
        n_fds += (int) len;
    }

    if (n == (ssize_t) sizeof(*hello)
        && (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0) {
        return n_fds;
    }

    for (i = 0; i < n_fds; i++) {
        llm_ipc_fd_close(&fds[i]);
    }

    return n == 0 && n_fds == 0 ? -EPIPE : -EPROTO;
}


static int
llm_ipc_answer(llm_ipc_t *ipc, uint32_t status, uint32_t slots, uint64_t boot)
{
    ssize_t     n;
    llm_hello_t hello;

    memset(&hello, 0, sizeof(hello));
    hello.magic = LLM_ABI_MAGIC;
    hello.major = LLM_ABI_MAJOR;
    hello.minor = LLM_ABI_MINOR;
    hello.status = status;
    hello.pid = (uint32_t) getpid();
    hello.slots = slots;
    hello.boot = boot;
    hello.region_size = ipc->region_size;

    do {
        n = send(ipc->sock, &hello, sizeof(hello), MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n == -1 && errno == EINTR);

    if (n == -1) {
        return errno == ECONNRESET ? -EPIPE : -errno;
    }

    return 0;
}


static void
llm_ipc_fd_close(int *fd)
{
    if (*fd != -1) {
        (void) close(*fd);
        *fd = -1;
    }
}


/*
 * Binds with the mode: set on the socket before, so that the name never has
 * more; then on the name, for what the umask took.  Nobody can connect before
 * listen().
 */

static int
llm_ipc_bind(int sock, const struct sockaddr_un *sun, mode_t mode)
{
    int rc;

    if (fchmod(sock, mode) == -1
        || bind(sock, (const struct sockaddr *) sun, sizeof(*sun)) == -1) {
        return -errno;
    }

    if (chmod(sun->sun_path, mode) == -1) {
        rc = -errno;
        (void) unlink(sun->sun_path);
        return rc;
    }

    return 0;
}


/* Is the name that is in the way a socket where nobody listens? */

static int
llm_ipc_stale(const struct sockaddr_un *sun)
{
    int         sock, stale;
    struct stat st;

    if (lstat(sun->sun_path, &st) == -1) {
        return errno == ENOENT;
    }

    if (!S_ISSOCK(st.st_mode)) {
        return 0;
    }

    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock == -1) {
        return 0;
    }

    stale = connect(sock, (const struct sockaddr *) sun, sizeof(*sun)) == -1
            && (errno == ECONNREFUSED || errno == ENOENT);

    (void) close(sock);

    return stale;
}
