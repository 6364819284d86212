/*
 * One end of a ring; abi.h has the format, barrier.h the memory order.
 *
 * An end is used by one thread.  It owns nothing: control words and data lie
 * in the connection's mapping (conn.c).  What holds always: no decision rests
 * on a shared word that was read twice; positions of one's own are kept in
 * private memory and never read back; a record's header is copied by two
 * loads of 8 bytes and the copy is validated; what leaves this file as a
 * record lies wholly within [tail, head) and does not wrap.
 */

#include <errno.h>
#include <string.h>
#include "engine/ipc/barrier.h"
#include "engine/ipc/ring.h"


/* What a record of each type may look like; `from` 0: no such type. */

typedef struct {
    uint8_t  from;
    uint8_t  control; /* may use LLM_RING_RESERVE */
    uint8_t  flags;   /* those allowed */
    uint8_t  wide;    /* of the connection: LLM_SLOT_NONE, gen 0 */
    uint32_t min;     /* bytes of payload */
    uint32_t max;
} llm_ring_type_t;

#define LLM_RING_NOMAX 0xffffffffu /* but for the ring's own limit */

static const llm_ring_type_t llm_ring_types[] = {
    [LLM_REC_MANIFEST] = {LLM_RING_FROM_WORKER, 0, LLM_REC_MORE, 1, 0,
                          LLM_MANIFEST_MAX},
    [LLM_REC_SUBMIT] = {LLM_RING_FROM_WORKER, 0, 0, 0, sizeof(llm_submit_t),
                        sizeof(llm_submit_t) + 4 * LLM_STRING_MAX},
    [LLM_REC_BODY] = {LLM_RING_FROM_WORKER, 0, LLM_REC_MORE, 0, 0,
                      LLM_BODY_MAX},
    [LLM_REC_GO] = {LLM_RING_FROM_WORKER, 1, 0, 0, 0, 0},
    [LLM_REC_REJECT] = {LLM_RING_FROM_WORKER, 1, 0, 0, sizeof(llm_reject_t),
                        sizeof(llm_reject_t)},
    [LLM_REC_CREDIT] = {LLM_RING_FROM_WORKER, 1, 0, 0, sizeof(llm_credit_t),
                        sizeof(llm_credit_t)},
    [LLM_REC_CANCEL] = {LLM_RING_FROM_WORKER, 1, 0, 0, 0, 0},

    [LLM_REC_MODEL_STATE] = {LLM_RING_FROM_ENGINE, 0, LLM_REC_MORE, 1, 0,
                             LLM_MANIFEST_MAX},
    [LLM_REC_ADMIT] = {LLM_RING_FROM_ENGINE, 0, 0, 0, sizeof(llm_admit_t),
                       sizeof(llm_admit_t) + LLM_STRING_MAX},
    [LLM_REC_HEAD] = {LLM_RING_FROM_ENGINE, 0, 0, 0, sizeof(llm_head_t),
                      sizeof(llm_head_t)},
    [LLM_REC_DATA] = {LLM_RING_FROM_ENGINE, 0, 0, 0, sizeof(llm_data_t),
                      LLM_RING_NOMAX},
    [LLM_REC_END] = {LLM_RING_FROM_ENGINE, 1, 0, 0, sizeof(llm_end_t),
                     sizeof(llm_end_t) + 3 * LLM_STRING_MAX},
};

#define LLM_RING_TYPES (sizeof(llm_ring_types) / sizeof(llm_ring_types[0]))


static uint64_t llm_ring_span(uint64_t len);
static int      llm_ring_tail_look(llm_ring_tx_t *tx);
static int      llm_ring_room(llm_ring_tx_t *tx, uint64_t want);
static void     llm_ring_header_write(llm_ring_tx_t *tx, const llm_rec_t *hdr);
static int      llm_ring_head_look(llm_ring_rx_t *rx);
static int llm_ring_header_check(const llm_ring_rx_t *rx, const llm_rec_t *hdr);


void
llm_ring_tx_init(llm_ring_tx_t *tx, llm_ring_ctl_t *ctl, uint8_t *data,
                 uint64_t size)
{
    memset(tx, 0, sizeof(*tx));
    tx->ctl = ctl;
    tx->data = data;
    tx->size = size;
}


void
llm_ring_rx_init(llm_ring_rx_t *rx, llm_ring_ctl_t *ctl, uint8_t *data,
                 uint64_t size)
{
    memset(rx, 0, sizeof(*rx));
    rx->ctl = ctl;
    rx->data = data;
    rx->size = size;
}


int
llm_ring_is_control(uint8_t type)
{
    return type < LLM_RING_TYPES && llm_ring_types[type].control;
}


uint32_t
llm_ring_payload_max(const llm_ring_tx_t *tx)
{
    return (uint32_t) (tx->size / 8 - sizeof(llm_rec_t));
}


int
llm_ring_reserve(llm_ring_tx_t *tx, uint8_t type, uint32_t len,
                 uint8_t **payload)
{
    int       rc;
    uint64_t  span, gap, pad;
    llm_rec_t hdr;

    if (len > llm_ring_payload_max(tx)) {
        return -EMSGSIZE;
    }

    span = llm_ring_span(sizeof(llm_rec_t) + (uint64_t) len);
    gap = tx->size - (tx->head & (tx->size - 1));
    pad = span > gap ? gap : 0;

    rc = llm_ring_room(
        tx, pad + span + (llm_ring_is_control(type) ? 0 : LLM_RING_RESERVE));
    if (rc != 0) {
        return rc;
    }

    if (pad != 0) {
        memset(&hdr, 0, sizeof(hdr));
        hdr.len = (uint32_t) pad;
        hdr.type = LLM_REC_PAD;
        hdr.slot = LLM_SLOT_NONE;
        llm_ring_header_write(tx, &hdr);
        tx->head += pad;
    }

    *payload = tx->data + (tx->head & (tx->size - 1)) + sizeof(llm_rec_t);

    return 0;
}


void
llm_ring_commit(llm_ring_tx_t *tx, uint8_t type, uint8_t flags, uint32_t slot,
                uint32_t gen, uint32_t len)
{
    llm_rec_t hdr;

    hdr.len = (uint32_t) sizeof(llm_rec_t) + len;
    hdr.type = type;
    hdr.flags = flags;
    hdr.pad = 0;
    hdr.slot = slot;
    hdr.gen = gen;

    llm_ring_header_write(tx, &hdr);
    tx->head += llm_ring_span(hdr.len);
}


int
llm_ring_write(llm_ring_tx_t *tx, uint8_t type, uint8_t flags, uint32_t slot,
               uint32_t gen, const void *fixed, uint32_t fixed_len,
               const void *rest, uint32_t rest_len)
{
    int      rc;
    uint8_t *p;

    if (rest_len > UINT32_MAX - fixed_len) {
        return -EMSGSIZE;
    }

    rc = llm_ring_reserve(tx, type, fixed_len + rest_len, &p);
    if (rc != 0) {
        return rc;
    }

    if (fixed_len != 0) {
        memcpy(p, fixed, fixed_len);
    }

    if (rest_len != 0) {
        memcpy(p + fixed_len, rest, rest_len);
    }

    llm_ring_commit(tx, type, flags, slot, gen, fixed_len + rest_len);

    return 0;
}


uint32_t
llm_ring_space(llm_ring_tx_t *tx)
{
    uint64_t room, gap, best;

    if (llm_ring_tail_look(tx) != 0) {
        return 0;
    }

    room = tx->size - (tx->head - tx->tail);
    if (room <= LLM_RING_RESERVE) {
        return 0;
    }

    room -= LLM_RING_RESERVE;
    gap = tx->size - (tx->head & (tx->size - 1));

    /* before the ring's end, or behind a PAD at its start */

    best = room < gap ? room : gap;
    if (room > gap && room - gap > best) {
        best = room - gap;
    }

    if (best > tx->size / 8) {
        best = tx->size / 8;
    }

    return (uint32_t) (best - sizeof(llm_rec_t));
}


int
llm_ring_flush(llm_ring_tx_t *tx)
{
    if (tx->sent == tx->head) {
        return 0;
    }

    tx->sent = tx->head;
    llm_pos_store(&tx->ctl->head, tx->head);

    return llm_flag_look(&tx->ctl->sleeping);
}


int
llm_ring_peek(llm_ring_rx_t *rx, llm_ring_rec_t *rec)
{
    uint64_t word[2], off, span;

    for (;;) {
        if (rx->head == rx->tail) {
            if (llm_ring_head_look(rx) != 0) {
                return -EPROTO;
            }

            if (rx->head == rx->tail) {
                return 0;
            }
        }

        /* 16 bytes at a multiple of 16: within the ring and [tail, head) */

        off = rx->tail & (rx->size - 1);
        word[0] = llm_word_load((uint64_t *) (void *) (rx->data + off));
        word[1] = llm_word_load((uint64_t *) (void *) (rx->data + off + 8));
        memcpy(&rec->hdr, word, sizeof(rec->hdr));

        if (rec->hdr.len < sizeof(llm_rec_t) || rec->hdr.len > rx->size / 8) {
            return -EPROTO;
        }

        span = llm_ring_span(rec->hdr.len);
        if (span > rx->head - rx->tail || span > rx->size - off) {
            return -EPROTO;
        }

        if (llm_ring_header_check(rx, &rec->hdr) != 0) {
            return -EPROTO;
        }

        if (rec->hdr.type != LLM_REC_PAD) {
            break;
        }

        /* a PAD ends the ring: the next record starts it and is none */

        if (span != rx->size - off || span != rec->hdr.len) {
            return -EPROTO;
        }

        rx->tail += span;
    }

    rec->payload = rx->data + off + sizeof(llm_rec_t);
    rec->len = rec->hdr.len - (uint32_t) sizeof(llm_rec_t);
    rec->span = (uint32_t) span;

    return 1;
}


void
llm_ring_next(llm_ring_rx_t *rx, const llm_ring_rec_t *rec)
{
    rx->tail += rec->span;
}


int
llm_ring_release(llm_ring_rx_t *rx)
{
    if (rx->freed == rx->tail) {
        return 0;
    }

    rx->freed = rx->tail;
    llm_pos_store(&rx->ctl->tail, rx->tail);

    return llm_flag_look(&rx->ctl->starving);
}


int
llm_ring_arm(llm_ring_rx_t *rx)
{
    llm_flag_raise(&rx->ctl->sleeping);

    /* a broken head is for llm_ring_peek() to report */

    if (llm_ring_head_look(rx) == 0 && rx->head == rx->tail) {
        return 0;
    }

    llm_flag_drop(&rx->ctl->sleeping);

    return 1;
}


/* Bytes of the ring that `len` bytes, header included, take. */

static uint64_t
llm_ring_span(uint64_t len)
{
    return (len + LLM_RING_ALIGN - 1) & ~(uint64_t) (LLM_RING_ALIGN - 1);
}


/*
 * Reads the consumer's tail.  It may only move forward, and not past what was
 * published: that is less than head - tail <= size asks for, and implies it.
 */

static int
llm_ring_tail_look(llm_ring_tx_t *tx)
{
    uint64_t tail;

    tail = llm_pos_load(&tx->ctl->tail);

    if (tx->sent - tail > tx->sent - tx->tail || tail % LLM_RING_ALIGN != 0) {
        return -EPROTO;
    }

    tx->tail = tail;

    return 0;
}


/* Are `want` bytes free?  If not, says that it waits for them: -EAGAIN. */

static int
llm_ring_room(llm_ring_tx_t *tx, uint64_t want)
{
    if (tx->size - (tx->head - tx->tail) >= want) {
        return 0;
    }

    if (llm_ring_tail_look(tx) != 0) {
        return -EPROTO;
    }

    if (tx->size - (tx->head - tx->tail) >= want) {
        return 0;
    }

    llm_flag_raise(&tx->ctl->starving);

    if (llm_ring_tail_look(tx) != 0) {
        return -EPROTO;
    }

    if (tx->size - (tx->head - tx->tail) < want) {
        return -EAGAIN;
    }

    llm_flag_drop(&tx->ctl->starving);

    return 0;
}


static void
llm_ring_header_write(llm_ring_tx_t *tx, const llm_rec_t *hdr)
{
    memcpy(tx->data + (tx->head & (tx->size - 1)), hdr, sizeof(*hdr));
}


/* Reads the producer's head; see llm_ring_tail_look(). */

static int
llm_ring_head_look(llm_ring_rx_t *rx)
{
    uint64_t head;

    head = llm_pos_load(&rx->ctl->head);

    /* forward only: not behind what was seen, not beyond what was freed */

    if (head - rx->freed > rx->size || head - rx->freed < rx->head - rx->freed
        || head % LLM_RING_ALIGN != 0) {
        return -EPROTO;
    }

    rx->head = head;

    return 0;
}


/* Type, direction, flags, slot and length of a private copy. */

static int
llm_ring_header_check(const llm_ring_rx_t *rx, const llm_rec_t *hdr)
{
    uint32_t               len;
    const llm_ring_type_t *t;

    if (hdr->pad != 0) {
        return -EPROTO;
    }

    if (hdr->type == LLM_REC_PAD) {
        return hdr->flags == 0 && hdr->slot == LLM_SLOT_NONE && hdr->gen == 0
                   ? 0
                   : -EPROTO;
    }

    if (hdr->type >= LLM_RING_TYPES) {
        return -EPROTO;
    }

    t = &llm_ring_types[hdr->type];
    len = hdr->len - (uint32_t) sizeof(llm_rec_t);

    if (t->from == 0 || (rx->from != LLM_RING_FROM_ANY && t->from != rx->from)
        || (hdr->flags & ~t->flags) != 0 || len < t->min || len > t->max) {
        return -EPROTO;
    }

    if (t->wide) {
        return hdr->slot == LLM_SLOT_NONE && hdr->gen == 0 ? 0 : -EPROTO;
    }

    return hdr->slot != LLM_SLOT_NONE ? 0 : -EPROTO;
}
