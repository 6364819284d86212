/*
 * One end of a ring: writing and reading records.  The format and the memory
 * order stand in abi.h.
 *
 * An end belongs to one thread.  It keeps private copies of its own position
 * and of the last one seen of the peer's; nothing that the peer can write is
 * read twice.
 *
 * A turn of an event loop with both ends of a connection, in this order (a
 * wake-up is lost otherwise: t/ipc/model.c):
 *
 *     while peek() == 1: copy what is needed, next()
 *     release(), and ring the peer if it says so
 *     reserve() and commit() what is to be sent, until -EAGAIN
 *     flush(), and ring the peer if it says so
 *     arm(): 1: another turn; 0: wait for eventfd or socket
 *
 * A reader that leaves records unread (it must not: a peer's records wait for
 * nobody) would see arm() return 1 forever.  -EPROTO from anything ends the
 * connection: arm() returns 1 then too, and peek() would fail forever.
 */

#ifndef LLM_IPC_RING_H
#define LLM_IPC_RING_H

#include "engine/ipc/abi.h"

enum { LLM_RING_FROM_ANY = 0, LLM_RING_FROM_WORKER, LLM_RING_FROM_ENGINE };

typedef struct {
    llm_ring_ctl_t *ctl;
    uint8_t        *data;
    uint64_t        size;
    uint64_t        head; /* next to write; ctl->head lags until _flush() */
    uint64_t        tail; /* the consumer's, as last seen */
    uint64_t        sent; /* as in ctl->head, which is never read back */
} llm_ring_tx_t;

typedef struct {
    llm_ring_ctl_t *ctl;
    uint8_t        *data;
    uint64_t        size;
    uint64_t        tail;  /* next to read; ctl->tail lags until _release() */
    uint64_t        head;  /* the producer's, as last seen */
    uint64_t        freed; /* as in ctl->tail, which is never read back */
    uint32_t        from;  /* LLM_RING_FROM_*: whose records are accepted */
} llm_ring_rx_t;

/* A record as read: a private copy of its header, its payload still shared. */

typedef struct {
    llm_rec_t      hdr;     /* validated: len, known type */
    const uint8_t *payload; /* in the ring: copy once, then parse the copy */
    uint32_t       len;     /* bytes of payload */
    uint32_t       span;    /* bytes of the ring that it takes; private */
} llm_ring_rec_t;


void llm_ring_tx_init(llm_ring_tx_t *tx, llm_ring_ctl_t *ctl, uint8_t *data,
                      uint64_t size);
void llm_ring_rx_init(llm_ring_rx_t *rx, llm_ring_ctl_t *ctl, uint8_t *data,
                      uint64_t size);

/* 1 if records of this type may use the space kept for control records. */
int llm_ring_is_control(uint8_t type);

/* The largest payload that a record of this ring can have, in bytes. */
uint32_t llm_ring_payload_max(const llm_ring_tx_t *tx);

/*
 * Space for a record with `len` bytes of payload.  Returns 0 and the place of
 * the payload, -EAGAIN if there is no space (`starving` is then set: the
 * peer's doorbell will tell), -EMSGSIZE, or -EPROTO if the peer broke the
 * ring.  The caller fills the payload and calls llm_ring_commit(), with the
 * same or a smaller length, before the next reserve.  Nothing is visible to
 * the peer before llm_ring_flush().
 */
int  llm_ring_reserve(llm_ring_tx_t *tx, uint8_t type, uint32_t len,
                      uint8_t **payload);
void llm_ring_commit(llm_ring_tx_t *tx, uint8_t type, uint8_t flags,
                     uint32_t slot, uint32_t gen, uint32_t len);

/* Reserve, copy two parts (either may be empty), commit. */
int llm_ring_write(llm_ring_tx_t *tx, uint8_t type, uint8_t flags,
                   uint32_t slot, uint32_t gen, const void *fixed,
                   uint32_t fixed_len, const void *rest, uint32_t rest_len);

/*
 * Bytes of payload that a non-control record could have just now; 0 if none,
 * or if the peer broke the ring.  Asks for no doorbell: llm_ring_reserve()
 * does, when it fails.
 */
uint32_t llm_ring_space(llm_ring_tx_t *tx);

/*
 * Publishes what was committed.  Returns 1 if the consumer sleeps: the caller
 * then writes to its eventfd (llm_ipc_ring()), else 0.
 */
int llm_ring_flush(llm_ring_tx_t *tx);

/*
 * The next record: 1 and *rec, 0 if there is none, -EPROTO if the peer broke
 * the ring (length, alignment, position or type).  Stays valid until
 * llm_ring_next().
 */
int  llm_ring_peek(llm_ring_rx_t *rx, llm_ring_rec_t *rec);
void llm_ring_next(llm_ring_rx_t *rx, const llm_ring_rec_t *rec);

/* Gives the space back.  Returns 1 if the producer waits for it, else 0. */
int llm_ring_release(llm_ring_rx_t *rx);

/*
 * Before the consumer sleeps: says so and looks once more.  Returns 1 if there
 * is a record after all (and it is not marked asleep), 0 if it may sleep.
 */
int llm_ring_arm(llm_ring_rx_t *rx);

#endif /* LLM_IPC_RING_H */
