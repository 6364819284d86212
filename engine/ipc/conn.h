/*
 * Set-up of a connection, both ends: the socket, the region, the eventfds.
 * abi.h says what is exchanged.  Nothing here blocks; the caller's event loop
 * calls when a descriptor is ready.
 *
 * A connection owns its descriptors and its mapping; llm_ipc_close() gives
 * all back.  It may be called at any time and more than once.
 */

#ifndef LLM_IPC_CONN_H
#define LLM_IPC_CONN_H

#include <sys/types.h>
#include "engine/ipc/ring.h"

typedef struct {
    int           sock;   /* SEQPACKET; its end is the peer's death */
    int           efd_rx; /* wakes this end */
    int           efd_tx; /* wakes the peer */
    int           memfd;  /* -1 once mapped */
    uint8_t      *region; /* NULL until mapped */
    uint64_t      region_size;
    llm_ring_tx_t tx; /* worker: submission; engine: completion */
    llm_ring_rx_t rx;
    llm_status_t *status; /* in the region; written by the engine only */
    uint32_t      slots;  /* once connected */
    uint64_t      boot;   /* the engine's, once connected */
    pid_t         peer;   /* by SO_PEERCRED */
    uid_t         peer_uid;
} llm_ipc_t;


void llm_ipc_init(llm_ipc_t *ipc);

/*
 * Worker: makes region and eventfds and connects to the socket at `path`.
 * 0: ask sent, call llm_ipc_connected() when the socket is readable; or
 * -errno, everything closed (-ENOENT, -ECONNREFUSED: no engine; -EAGAIN: it
 * does not accept just now).  Sizes are powers of two.
 */
int llm_ipc_connect(llm_ipc_t *ipc, const char *path, uint64_t sub_size,
                    uint64_t comp_size);

/*
 * Worker: 0 connected, -EAGAIN not yet, else -errno: -EPIPE (the engine went),
 * -EPROTONOSUPPORT (another major), -EBADMSG (it refused the region), -EUSERS
 * (too many connections), -EPROTO (no HELLO).  The caller closes.
 */
int llm_ipc_connected(llm_ipc_t *ipc);

/*
 * Engine: makes the listening socket at `path` with this mode (a stale one of
 * a dead engine is replaced; one that answers is -EADDRINUSE).  Descriptor or
 * -errno.
 */
int llm_ipc_listen(const char *path, mode_t mode);

/* Engine: a new connection, or -errno (-EAGAIN). */
int llm_ipc_accept(llm_ipc_t *ipc, int listen_fd);

/*
 * Engine: reads HELLO, verifies the region, maps it and answers.  0 connected,
 * -EAGAIN not yet, else -errno as llm_ipc_connected()'s; a refusal was answered
 * with its reason, and the caller closes.  slots 0: refuse, too many
 * connections.
 */
int llm_ipc_hello(llm_ipc_t *ipc, uint32_t slots, uint64_t boot);

/*
 * Takes what the peer's doorbell left in efd_rx, for an event loop that is
 * level-triggered; an edge-triggered one need not read.  Never blocks.
 */
void llm_ipc_drain(llm_ipc_t *ipc);

/* The engine's status words: each is one load or store, they are no unit. */
void llm_ipc_status_read(const llm_ipc_t *ipc, llm_status_t *status);
void llm_ipc_status_write(llm_ipc_t *ipc, const llm_status_t *status);

/*
 * Rings the peer's doorbell.  Cannot fail in a way that counts; does not block
 * as long as the peer leaves its eventfd as it was at HELLO (see conn.c).
 */
void llm_ipc_ring(llm_ipc_t *ipc);

/* 1 if the socket says that the peer is gone (or spoke out of turn). */
int llm_ipc_dead(llm_ipc_t *ipc);

void llm_ipc_close(llm_ipc_t *ipc);

#endif /* LLM_IPC_CONN_H */
