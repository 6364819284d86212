/*
 * Both ends of a ring on one memory, one thread: wrap-around, PAD, the space
 * kept for control records, sizes, and everything that a hostile peer can
 * write into positions and headers.
 */

#include <errno.h>
#include "engine/ipc/barrier.h"
#include "engine/ipc/ring.h"
#include "t/lib/tap.h"

#define SIZE LLM_RING_MIN

typedef struct {
    llm_ring_ctl_t *ctl;
    uint8_t        *data;
    llm_ring_tx_t   tx;
    llm_ring_rx_t   rx;
} pair_t;

static void pair_init(pair_t *p, uint64_t size, uint64_t at);
static int  body_send(pair_t *p, uint32_t len, uint32_t gen);
static int  body_take(pair_t *p, uint32_t len, uint32_t gen);
static void raw_header(pair_t *p, uint64_t at, uint32_t len, unsigned type,
                       unsigned flags, unsigned pad, uint32_t slot,
                       uint32_t gen);
static int  raw_peek(pair_t *p, uint64_t head);
static void test_basics(void);
static void test_wrap(void);
static void test_sizes(void);
static void test_reserve(void);
static void test_space(void);
static void test_doorbell(void);
static void test_headers(void);
static void test_pads(void);
static void test_positions(void);
static void test_overflow(void);


int
main(void)
{
    test_basics();
    test_wrap();
    test_sizes();
    test_reserve();
    test_space();
    test_doorbell();
    test_headers();
    test_pads();
    test_positions();
    test_overflow();

    return tap_done();
}


/* A fresh ring whose positions start at `at`, to reach any place at once. */

static void
pair_init(pair_t *p, uint64_t size, uint64_t at)
{
    static uint64_t        size_was;
    static uint8_t        *data;
    static llm_ring_ctl_t *ctl;

    /* memory of exactly that size, kept from case to case */

    if (size != size_was) {
        free(data);
        free(ctl);
        ctl = aligned_alloc(128, sizeof(*ctl));
        data = aligned_alloc(LLM_PAGE, size);
        if (ctl == NULL || data == NULL) {
            abort();
        }

        memset(data, 0xa5, size);
        size_was = size;
    }

    memset(p, 0, sizeof(*p));
    memset(ctl, 0, sizeof(*ctl));
    p->ctl = ctl;
    p->data = data;

    llm_ring_tx_init(&p->tx, ctl, data, size);
    llm_ring_rx_init(&p->rx, ctl, data, size);

    ctl->head = ctl->tail = at;
    p->tx.head = p->tx.tail = p->tx.sent = at;
    p->rx.head = p->rx.tail = p->rx.freed = at;
}


/* A BODY record of `len` bytes that gen makes: 0 or the error. */

static int
body_send(pair_t *p, uint32_t len, uint32_t gen)
{
    int      rc;
    uint32_t i;
    uint8_t *payload;

    rc = llm_ring_reserve(&p->tx, LLM_REC_BODY, len, &payload);
    if (rc != 0) {
        return rc;
    }

    for (i = 0; i < len; i++) {
        payload[i] = (uint8_t) (gen * 7 + i);
    }

    llm_ring_commit(&p->tx, LLM_REC_BODY, 0, 3, gen, len);

    return 0;
}


/* Is the next record the one that body_send() made? */

static int
body_take(pair_t *p, uint32_t len, uint32_t gen)
{
    uint32_t       i;
    llm_ring_rec_t rec;

    if (llm_ring_peek(&p->rx, &rec) != 1) {
        return 0;
    }

    if (rec.len != len || rec.hdr.gen != gen || rec.hdr.slot != 3
        || rec.hdr.type != LLM_REC_BODY || rec.hdr.len != len + 16) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (rec.payload[i] != (uint8_t) (gen * 7 + i)) {
            return 0;
        }
    }

    llm_ring_next(&p->rx, &rec);

    return 1;
}


/* What a hostile peer writes, byte by byte. */

static void
raw_header(pair_t *p, uint64_t at, uint32_t len, unsigned type, unsigned flags,
           unsigned pad, uint32_t slot, uint32_t gen)
{
    uint8_t *b = p->data + (at & (p->rx.size - 1));
    uint16_t pad16 = (uint16_t) pad;

    memcpy(b, &len, 4);
    b[4] = (uint8_t) type;
    b[5] = (uint8_t) flags;
    memcpy(b + 6, &pad16, 2);
    memcpy(b + 8, &slot, 4);
    memcpy(b + 12, &gen, 4);
}


static int
raw_peek(pair_t *p, uint64_t head)
{
    llm_ring_rec_t rec;

    llm_pos_store(&p->ctl->head, head);

    return llm_ring_peek(&p->rx, &rec);
}


static void
test_basics(void)
{
    pair_t         p;
    llm_ring_rec_t rec;

    pair_init(&p, SIZE, 0);

    is_int(llm_ring_peek(&p.rx, &rec), 0, "an empty ring has no record");
    is_int(llm_ring_write(&p.tx, LLM_REC_GO, 0, 7, 9, NULL, 0, NULL, 0), 0,
           "a record without payload");
    is_int(llm_ring_write(&p.tx, LLM_REC_BODY, LLM_REC_MORE, 7, 9, "abc", 3,
                          "defg", 4),
           0, "a record of two parts");
    is_int(llm_ring_peek(&p.rx, &rec), 0, "nothing is visible before flush");
    is_int(llm_ring_flush(&p.tx), 0, "flush: nobody sleeps");
    is_int(p.ctl->head, 16 + 32, "head counts headers and alignment");

    is_int(llm_ring_peek(&p.rx, &rec), 1, "first record");
    ok(rec.hdr.type == LLM_REC_GO && rec.hdr.slot == 7 && rec.hdr.gen == 9
           && rec.len == 0,
       "as written");
    is_int(llm_ring_peek(&p.rx, &rec), 1, "peek again: the same");
    is_int(rec.hdr.type, LLM_REC_GO, "still the first");
    llm_ring_next(&p.rx, &rec);
    is_int(llm_ring_peek(&p.rx, &rec), 1, "second record");
    ok(rec.len == 7 && memcmp(rec.payload, "abcdefg", 7) == 0
           && rec.hdr.flags == LLM_REC_MORE,
       "both parts, and its flag");
    llm_ring_next(&p.rx, &rec);
    is_int(llm_ring_peek(&p.rx, &rec), 0, "no third");
    is_int(p.ctl->tail, 0, "no space given back before release");
    is_int(llm_ring_release(&p.rx), 0, "release: nobody waits");
    is_int(p.ctl->tail, 48, "space given back");

    is_int(body_send(&p, 1000, 1), 0, "reserve 1000");
    p.tx.head -= 1024;
    llm_ring_commit(&p.tx, LLM_REC_BODY, 0, 3, 1, 10);
    (void) llm_ring_flush(&p.tx);
    ok(body_take(&p, 10, 1), "commit of less than was reserved");

    is_int(llm_ring_is_control(LLM_REC_CANCEL), 1, "CANCEL is control");
    is_int(llm_ring_is_control(LLM_REC_END), 1, "END is control");
    is_int(llm_ring_is_control(LLM_REC_DATA), 0, "DATA is not");
    is_int(llm_ring_is_control(LLM_REC_BODY), 0, "BODY is not");
    is_int(llm_ring_is_control(LLM_REC_PAD), 0, "PAD is not");
    is_int(llm_ring_is_control(255), 0, "an unknown type is not");
}


/* Every offset of a ring's end, with every length around what is left. */

static void
test_wrap(void)
{
    int      bad, n;
    pair_t   p;
    uint32_t len, gap;

    bad = n = 0;

    for (gap = 16; gap <= 320; gap += 16) {
        for (len = 0; len <= gap + 48; len++) {
            pair_init(&p, SIZE, 5 * SIZE - gap);

            if (body_send(&p, len, len) != 0 || body_send(&p, 33, 77) != 0) {
                bad++;
            }

            (void) llm_ring_flush(&p.tx);

            if (!body_take(&p, len, len) || !body_take(&p, 33, 77)) {
                bad++;
            }

            (void) llm_ring_release(&p.rx);

            if (p.ctl->head != p.ctl->tail || p.rx.tail != p.tx.head) {
                bad++;
            }

            n++;
        }
    }

    is_int(bad, 0, "%d records around the ring's end", n);

    /* positions themselves wrap as well */

    pair_init(&p, SIZE, (uint64_t) 0 - 64);

    for (bad = 0, len = 0; len < 200; len++) {
        bad += body_send(&p, len, len) != 0;
        (void) llm_ring_flush(&p.tx);
        bad += !body_take(&p, len, len);
        (void) llm_ring_release(&p.rx);
    }

    is_int(bad, 0, "positions pass 2^64");

    /* a long way, the ring half full */

    pair_init(&p, SIZE, 0);

    for (bad = 0, len = 0; len < 20; len++) {
        bad += body_send(&p, len * 37 % 700, len) != 0;
    }

    for (len = 20; len < 5000; len++) {
        bad += body_send(&p, len * 37 % 700, len) != 0;
        (void) llm_ring_flush(&p.tx);
        bad += !body_take(&p, (len - 20) * 37 % 700, len - 20);
        (void) llm_ring_release(&p.rx);
    }

    is_int(bad, 0, "5000 records through a ring of 64 KiB, 20 under way");
}


static void
test_sizes(void)
{
    pair_t   p;
    uint8_t *payload;
    uint32_t max, gap;
    int      bad;

    pair_init(&p, SIZE, 0);
    max = llm_ring_payload_max(&p.tx);

    is_int(max, SIZE / 8 - 16, "the largest payload");
    is_int(llm_ring_reserve(&p.tx, LLM_REC_BODY, max + 1, &payload), -EMSGSIZE,
           "one more is too much");
    is_int(llm_ring_reserve(&p.tx, LLM_REC_END, max + 1, &payload), -EMSGSIZE,
           "for control records too");
    is_int(llm_ring_reserve(&p.tx, LLM_REC_BODY, UINT32_MAX, &payload),
           -EMSGSIZE, "4 GiB - 1 is");
    is_int(llm_ring_write(&p.tx, LLM_REC_BODY, 0, 1, 1, "", UINT32_MAX, "",
                          UINT32_MAX),
           -EMSGSIZE, "the sum of two parts does not overflow");
    is_int(p.tx.head, 0, "and nothing was written");

    bad = 0;

    for (gap = 16; gap <= SIZE / 8 + 16; gap += 16) {
        pair_init(&p, SIZE, 3 * SIZE - gap);
        bad += body_send(&p, max, gap) != 0;
        (void) llm_ring_flush(&p.tx);
        bad += !body_take(&p, max, gap);
    }

    is_int(bad, 0, "it passes at every offset of the ring's end");

    pair_init(&p, LLM_RING_DEFAULT, 0);
    is_int(llm_ring_payload_max(&p.tx), (1 << 17) - 16,
           "the default ring has records of 128 KiB");
}


/* A ring full of BODY still takes control records, to the last byte. */

static void
test_reserve(void)
{
    int            rc, i, n, bad;
    pair_t         p;
    uint64_t       at;
    uint8_t       *payload;
    llm_ring_rec_t rec;

    bad = 0;

    for (at = 0; at < SIZE; at += 1040) {
        pair_init(&p, SIZE, at);

        for (n = 0; body_send(&p, 100, (uint32_t) n) == 0; n++) {
            /* void */
        }

        for (i = 0; body_send(&p, 0, 1000) == 0; i++) {
            /* void */
        }

        rc = body_send(&p, 0, 1000);
        bad += rc != -EAGAIN || p.ctl->starving != 1;

        for (i = 0; i < LLM_RING_RESERVE / 16; i++) {
            bad += llm_ring_write(&p.tx, LLM_REC_CANCEL, 0, 5, (uint32_t) i,
                                  NULL, 0, NULL, 0)
                   != 0;
        }

        rc = llm_ring_write(&p.tx, LLM_REC_CANCEL, 0, 5, 0, NULL, 0, NULL, 0);
        bad += rc != -EAGAIN;
        bad += p.tx.head - p.tx.tail != SIZE;

        (void) llm_ring_flush(&p.tx);

        for (i = 0; i < n; i++) {
            bad += !body_take(&p, 100, (uint32_t) i);
        }

        for (i = 0; llm_ring_peek(&p.rx, &rec) == 1;) {
            if (rec.hdr.type == LLM_REC_CANCEL) {
                bad += rec.hdr.gen != (uint32_t) i++;
            }

            llm_ring_next(&p.rx, &rec);
        }

        bad += i != LLM_RING_RESERVE / 16;

        bad += llm_ring_release(&p.rx) != 1;
        bad += p.ctl->starving != 0;
        bad += body_send(&p, 0, 1) != 0;
    }

    is_int(bad, 0,
           "full of BODY, %d CANCELs still pass, wherever the ring ends; "
           "then none; release tells",
           LLM_RING_RESERVE / 16);

    /* space that came meanwhile is found without a doorbell */

    pair_init(&p, SIZE, 0);

    while (body_send(&p, 100, 0) == 0) {
        /* void */
    }

    (void) llm_ring_flush(&p.tx);
    (void) body_take(&p, 100, 0);
    is_int(llm_ring_release(&p.rx), 1, "release: the producer waits");
    is_int(llm_ring_reserve(&p.tx, LLM_REC_BODY, 100, &payload), 0,
           "and finds space");
}


/* llm_ring_space() is what reserve grants, no more and no less. */

static void
test_space(void)
{
    int            bad, n;
    pair_t         p, q;
    uint32_t       space, i, rnd;
    uint8_t       *payload;
    llm_ring_rec_t rec;

    pair_init(&p, SIZE, 0);
    is_int(llm_ring_space(&p.tx), llm_ring_payload_max(&p.tx),
           "an empty ring has space for the largest");

    bad = n = 0;
    rnd = 12345;

    for (i = 0; i < 20000; i++) {
        rnd = rnd * 1664525 + 1013904223;

        if ((rnd >> 16) % 3 != 0) {
            (void) body_send(&p, (rnd >> 8) % 3000, i);
            (void) llm_ring_flush(&p.tx);

        } else if (llm_ring_peek(&p.rx, &rec) == 1) {
            llm_ring_next(&p.rx, &rec);
            (void) llm_ring_release(&p.rx);
        }

        space = llm_ring_space(&p.tx);

        /* try on a copy: reserve moves head over a PAD */

        q = p;
        if (space == 0) {
            bad += llm_ring_reserve(&q.tx, LLM_REC_BODY, 1, &payload) == 0;

        } else {
            bad += llm_ring_reserve(&q.tx, LLM_REC_BODY, space, &payload) != 0;
            q = p;
            bad += space < llm_ring_payload_max(&p.tx)
                   && llm_ring_reserve(&q.tx, LLM_REC_BODY, space + 1, &payload)
                          == 0;
            n++;
        }
    }

    is_int(bad, 0, "space is what reserve grants (%d times)", n);

    llm_pos_store(&p.ctl->tail, p.tx.sent + 16);
    is_int(llm_ring_space(&p.tx), 0, "no space in a broken ring");
}


static void
test_doorbell(void)
{
    pair_t         p;
    llm_ring_rec_t rec;

    pair_init(&p, SIZE, 0);

    is_int(llm_ring_arm(&p.rx), 0, "nothing there: may sleep");
    is_int(p.ctl->sleeping, 1, "and said so");
    is_int(llm_ring_flush(&p.tx), 0, "a flush of nothing rings nobody");
    (void) body_send(&p, 10, 1);
    (void) body_send(&p, 10, 2);
    is_int(llm_ring_flush(&p.tx), 1, "flush: the consumer sleeps, once");
    is_int(p.ctl->sleeping, 0, "the flag was taken");
    (void) body_send(&p, 10, 3);
    is_int(llm_ring_flush(&p.tx), 0, "no second doorbell");

    is_int(llm_ring_arm(&p.rx), 1, "there are records: may not sleep");
    is_int(p.ctl->sleeping, 0, "and is not marked so");
    ok(body_take(&p, 10, 1) && body_take(&p, 10, 2) && body_take(&p, 10, 3),
       "all three");
    is_int(llm_ring_arm(&p.rx), 0, "then it may");

    p.ctl->sleeping = 0xdeadbeef;
    (void) body_send(&p, 10, 4);
    is_int(llm_ring_flush(&p.tx), 1, "any value but 0 sleeps");

    is_int(llm_ring_release(&p.rx), 0, "release: nobody waits");
    is_int(llm_ring_release(&p.rx), 0, "release of nothing");

    llm_pos_store(&p.ctl->head, p.rx.tail + 8);
    is_int(llm_ring_arm(&p.rx), 1, "a broken head does not sleep");
    is_int(llm_ring_peek(&p.rx, &rec), -EPROTO, "peek tells");
}


static void
test_headers(void)
{
    pair_t         p;
    unsigned       i;
    llm_ring_rec_t rec;

    static const struct {
        const char *what;
        uint32_t    len;
        unsigned    type, flags, pad;
        uint32_t    slot, gen;
        unsigned    from;
        int         rc;
    } cases[] = {
        {"CANCEL", 16, LLM_REC_CANCEL, 0, 0, 1, 1, 0, 1},
        {"CANCEL, engine's end", 16, LLM_REC_CANCEL, 0, 0, 1, 1,
         LLM_RING_FROM_WORKER, 1},
        {"CANCEL, worker's end", 16, LLM_REC_CANCEL, 0, 0, 1, 1,
         LLM_RING_FROM_ENGINE, -EPROTO},
        {"DATA, engine's end", 32, LLM_REC_DATA, 0, 0, 1, 1,
         LLM_RING_FROM_WORKER, -EPROTO},
        {"DATA, worker's end", 32, LLM_REC_DATA, 0, 0, 1, 1,
         LLM_RING_FROM_ENGINE, 1},
        {"length 0", 0, LLM_REC_CANCEL, 0, 0, 1, 1, 0, -EPROTO},
        {"length 1", 1, LLM_REC_CANCEL, 0, 0, 1, 1, 0, -EPROTO},
        {"length 15", 15, LLM_REC_CANCEL, 0, 0, 1, 1, 0, -EPROTO},
        {"DATA of 15", 31, LLM_REC_DATA, 0, 0, 1, 1, 0, -EPROTO},
        {"size / 8", SIZE / 8, LLM_REC_DATA, 0, 0, 1, 1, 0, 1},
        {"size / 8 + 1", SIZE / 8 + 1, LLM_REC_DATA, 0, 0, 1, 1, 0, -EPROTO},
        {"size / 8 + 16", SIZE / 8 + 16, LLM_REC_DATA, 0, 0, 1, 1, 0, -EPROTO},
        {"2^31", 1u << 31, LLM_REC_DATA, 0, 0, 1, 1, 0, -EPROTO},
        {"2^32 - 1", UINT32_MAX, LLM_REC_DATA, 0, 0, 1, 1, 0, -EPROTO},
        {"CANCEL with payload", 17, LLM_REC_CANCEL, 0, 0, 1, 1, 0, -EPROTO},
        {"GO with payload", 32, LLM_REC_GO, 0, 0, 1, 1, 0, -EPROTO},
        {"CREDIT of 4", 20, LLM_REC_CREDIT, 0, 0, 1, 1, 0, -EPROTO},
        {"CREDIT", 24, LLM_REC_CREDIT, 0, 0, 1, 1, 0, 1},
        {"CREDIT of 12", 28, LLM_REC_CREDIT, 0, 0, 1, 1, 0, -EPROTO},
        {"REJECT of 0", 16, LLM_REC_REJECT, 0, 0, 1, 1, 0, -EPROTO},
        {"REJECT", 24, LLM_REC_REJECT, 0, 0, 1, 1, 0, 1},
        {"SUBMIT too short", 16 + 95, LLM_REC_SUBMIT, 0, 0, 1, 1, 0, -EPROTO},
        {"SUBMIT", 16 + 96, LLM_REC_SUBMIT, 0, 0, 1, 1, 0, 1},
        {"SUBMIT, longest", 16 + 96 + 4096, LLM_REC_SUBMIT, 0, 0, 1, 1, 0, 1},
        {"SUBMIT too long", 16 + 96 + 4097, LLM_REC_SUBMIT, 0, 0, 1, 1, 0,
         -EPROTO},
        {"ADMIT too short", 16 + 63, LLM_REC_ADMIT, 0, 0, 1, 1, 0, -EPROTO},
        {"ADMIT", 16 + 64, LLM_REC_ADMIT, 0, 0, 1, 1, 0, 1},
        {"ADMIT too long", 16 + 64 + 1025, LLM_REC_ADMIT, 0, 0, 1, 1, 0,
         -EPROTO},
        {"HEAD too short", 16 + 15, LLM_REC_HEAD, 0, 0, 1, 1, 0, -EPROTO},
        {"HEAD", 16 + 16, LLM_REC_HEAD, 0, 0, 1, 1, 0, 1},
        {"HEAD too long", 16 + 17, LLM_REC_HEAD, 0, 0, 1, 1, 0, -EPROTO},
        {"END too short", 16 + 127, LLM_REC_END, 0, 0, 1, 1, 0, -EPROTO},
        {"END", 16 + 128, LLM_REC_END, 0, 0, 1, 1, 0, 1},
        {"END too long", 16 + 128 + 3073, LLM_REC_END, 0, 0, 1, 1, 0, -EPROTO},
        {"BODY, empty", 16, LLM_REC_BODY, 0, 0, 1, 1, 0, 1},
        {"BODY with MORE", 100, LLM_REC_BODY, 1, 0, 1, 1, 0, 1},
        {"BODY, unknown flag", 100, LLM_REC_BODY, 2, 0, 1, 1, 0, -EPROTO},
        {"DATA with MORE", 32, LLM_REC_DATA, 1, 0, 1, 1, 0, -EPROTO},
        {"CANCEL, flag 0x80", 16, LLM_REC_CANCEL, 0x80, 0, 1, 1, 0, -EPROTO},
        {"CANCEL, padding", 16, LLM_REC_CANCEL, 0, 1, 1, 1, 0, -EPROTO},
        {"CANCEL, padding 2", 16, LLM_REC_CANCEL, 0, 0x8000, 1, 1, 0, -EPROTO},
        {"CANCEL of no slot", 16, LLM_REC_CANCEL, 0, 0, LLM_SLOT_NONE, 0, 0,
         -EPROTO},
        {"MANIFEST", 100, LLM_REC_MANIFEST, 0, 0, LLM_SLOT_NONE, 0, 0, 1},
        {"MANIFEST of a slot", 100, LLM_REC_MANIFEST, 0, 0, 0, 0, 0, -EPROTO},
        {"MANIFEST with gen", 100, LLM_REC_MANIFEST, 0, 0, LLM_SLOT_NONE, 1, 0,
         -EPROTO},
        {"MODEL_STATE", 100, LLM_REC_MODEL_STATE, 1, 0, LLM_SLOT_NONE, 0, 0, 1},
        {"MODEL_STATE of a slot", 100, LLM_REC_MODEL_STATE, 0, 0, 3, 0, 0,
         -EPROTO},
        {"type 8", 16, 8, 0, 0, 1, 1, 0, -EPROTO},
        {"type 31", 16, 31, 0, 0, 1, 1, 0, -EPROTO},
        {"type 37", 16, 37, 0, 0, 1, 1, 0, -EPROTO},
        {"LLM_REC_LATER", 16, LLM_REC_LATER, 0, 0, 1, 1, 0, -EPROTO},
        {"type 255", 16, 255, 0, 0, 1, 1, 0, -EPROTO},
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        pair_init(&p, SIZE, 0);
        p.rx.from = cases[i].from;
        raw_header(&p, 0, cases[i].len, cases[i].type, cases[i].flags,
                   cases[i].pad, cases[i].slot, cases[i].gen);
        is_int(raw_peek(&p, SIZE), cases[i].rc, "header: %s", cases[i].what);
    }

    /* a record that ends beyond head, and one that ends beyond the ring */

    pair_init(&p, SIZE, 0);
    raw_header(&p, 0, 100, LLM_REC_DATA, 0, 0, 1, 1);
    is_int(raw_peek(&p, 96), -EPROTO, "a record longer than what was sent");
    p.rx.head = 0;
    is_int(raw_peek(&p, 112), 1, "16 more suffice");

    pair_init(&p, SIZE, SIZE - 64);
    raw_header(&p, SIZE - 64, 80, LLM_REC_DATA, 0, 0, 1, 1);
    is_int(raw_peek(&p, SIZE + 64), -EPROTO, "a record over the ring's end");
    raw_header(&p, SIZE - 64, 64, LLM_REC_DATA, 0, 0, 1, 1);
    is_int(raw_peek(&p, SIZE + 64), 1, "one up to it");

    /* what the peer changes after peek changes nothing */

    pair_init(&p, SIZE, 0);
    raw_header(&p, 0, 100, LLM_REC_DATA, 0, 0, 1, 1);
    llm_pos_store(&p.ctl->head, 112);
    is_int(llm_ring_peek(&p.rx, &rec), 1, "a record");
    raw_header(&p, 0, UINT32_MAX, 255, 255, 255, 9, 9);
    llm_ring_next(&p.rx, &rec);
    is_int(p.rx.tail, 112, "its length is the one that was read");
    ok(rec.len == 84 && rec.hdr.len == 100 && rec.hdr.slot == 1,
       "the header is a copy");
}


static void
test_pads(void)
{
    pair_t p;

    pair_init(&p, SIZE, SIZE - 64);
    raw_header(&p, SIZE - 64, 64, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE), 0, "a PAD alone is no record");
    is_int(p.rx.tail, SIZE, "and is skipped");
    is_int(llm_ring_release(&p.rx), 0, "and given back");
    is_int(p.ctl->tail, SIZE, "in full");

    pair_init(&p, SIZE, SIZE - 64);
    raw_header(&p, SIZE - 64, 48, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE), -EPROTO, "a PAD that ends before the ring");

    pair_init(&p, SIZE, SIZE - 64);
    raw_header(&p, SIZE - 64, 60, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE), -EPROTO, "a PAD of no multiple of 16");

    pair_init(&p, SIZE, SIZE - 64);
    raw_header(&p, SIZE - 64, 80, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE + 64), -EPROTO, "a PAD over the ring's end");

    pair_init(&p, SIZE, SIZE - 64);
    raw_header(&p, SIZE - 64, 64, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE - 16), -EPROTO, "a PAD beyond head");

    pair_init(&p, SIZE, 0);
    raw_header(&p, 0, SIZE, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE), -EPROTO, "a PAD of the whole ring");

    pair_init(&p, SIZE, 0);
    raw_header(&p, 0, 0, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE), -EPROTO, "a PAD of 0 bytes");

    pair_init(&p, SIZE, SIZE - 16);
    raw_header(&p, SIZE - 16, 16, LLM_REC_PAD, 1, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE), -EPROTO, "a PAD with a flag");
    raw_header(&p, SIZE - 16, 16, LLM_REC_PAD, 0, 0, 0, 0);
    is_int(raw_peek(&p, SIZE), -EPROTO, "a PAD with a slot");
    raw_header(&p, SIZE - 16, 16, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 1);
    is_int(raw_peek(&p, SIZE), -EPROTO, "a PAD with a generation");
    raw_header(&p, SIZE - 16, 16, LLM_REC_PAD, 0, 0, LLM_SLOT_NONE, 0);
    is_int(raw_peek(&p, SIZE), 0, "a PAD of 16 bytes");
}


/* Positions that the peer owns: only those of an honest peer pass. */

static void
test_positions(void)
{
    int           i, bad, want;
    pair_t        p;
    llm_ring_tx_t tx;
    uint64_t      at, head, tail;
    uint8_t      *payload;

    static const uint64_t heads[] = {8,
                                     1,
                                     SIZE + 16,
                                     2 * SIZE,
                                     1ULL << 32,
                                     1ULL << 63,
                                     (uint64_t) 0 - 16,
                                     (uint64_t) 0 - SIZE,
                                     (uint64_t) 0 - 1};

    for (at = 0; at < 4 * SIZE; at += 3 * SIZE) {
        for (bad = 0, i = 0; i < 9; i++) {
            pair_init(&p, SIZE, at);
            raw_header(&p, at, 16, LLM_REC_CANCEL, 0, 0, 1, 1);
            bad += raw_peek(&p, at + heads[i]) != -EPROTO;
        }

        is_int(bad, 0, "9 heads that cannot be, at %llu",
               (unsigned long long) at);
    }

    /* head goes back behind what was seen */

    pair_init(&p, SIZE, 0);
    (void) body_send(&p, 0, 1);
    (void) body_send(&p, 0, 2);
    (void) llm_ring_flush(&p.tx);
    ok(body_take(&p, 0, 1) && body_take(&p, 0, 2), "two records");
    is_int(raw_peek(&p, 16), -EPROTO, "head goes back");

    /* every head around an honest one, two records read but not released */

    pair_init(&p, SIZE, 0);
    (void) body_send(&p, 100, 1);
    (void) body_send(&p, 100, 2);
    (void) llm_ring_flush(&p.tx);
    (void) body_take(&p, 100, 1);
    (void) body_take(&p, 100, 2);

    for (bad = 0, head = 0; head <= SIZE + 64; head++) {
        llm_pos_store(&p.ctl->head, head);
        p.rx.head = p.rx.tail;
        raw_header(&p, p.rx.tail, 16, LLM_REC_CANCEL, 0, 0, 1, 1);
        want = head % 16 != 0 || head < 256 || head > SIZE ? -EPROTO
               : head == 256                               ? 0
                                                           : 1;
        bad += raw_peek(&p, head) != want;
    }

    is_int(bad, 0, "every head from 0 to size + 64");

    /* tails: not back, not beyond what was published, aligned */

    pair_init(&p, SIZE, 0);

    while (body_send(&p, 1000, 1) == 0) {
        /* void */
    }

    (void) llm_ring_flush(&p.tx);
    head = p.tx.head;
    tx = p.tx;
    tx.tail = 2048;
    tx.head += 16; /* committed, not published */

    for (bad = 0, tail = 0; tail <= SIZE + 64; tail++) {
        p.tx = tx;
        llm_pos_store(&p.ctl->tail, tail);
        i = llm_ring_reserve(&p.tx, LLM_REC_BODY, 8000, &payload);

        if (tail % 16 != 0 || tail < 2048 || tail > head) {
            bad += i != -EPROTO;

        } else {
            bad += i == -EPROTO;
        }
    }

    is_int(bad, 0, "tails from 0 to size + 64");

    pair_init(&p, SIZE, 0);
    (void) body_send(&p, 100, 1);
    (void) llm_ring_flush(&p.tx);
    p.ctl->head = 0xffff; /* the peer writes into our position: unread */
    (void) body_send(&p, 100, 2);
    (void) llm_ring_flush(&p.tx);
    is_int(p.ctl->head, 256, "one's own position is not read back");
    ok(body_take(&p, 100, 1), "a record");
    p.ctl->tail = 0xffff;
    (void) llm_ring_release(&p.rx);
    is_int(p.ctl->tail, 128, "nor is the tail");
}


/* Random bytes as records: whatever comes, nothing outside is touched. */

static void
test_overflow(void)
{
    int            rc, n_ok, n_bad;
    pair_t         p;
    uint64_t       i, j, at;
    uint32_t       rnd;
    llm_ring_rec_t rec;

    rnd = 1;
    n_ok = n_bad = 0;

    for (i = 0; i < 20000; i++) {
        rnd = rnd * 1664525 + 1013904223;
        at = (uint64_t) (rnd >> 8) * 16;

        if (i == 0) {
            pair_init(&p, SIZE, at);
        }

        memset(p.ctl, 0, sizeof(*p.ctl));
        p.rx.head = p.rx.tail = p.rx.freed = at;

        for (j = 0; j < 64; j++) {
            rnd = rnd * 1664525 + 1013904223;
            p.data[(at + j) % SIZE] = (uint8_t) (rnd >> 24);
        }

        p.data[(at + 1) % SIZE] &= 0x1f;
        p.data[(at + 2) % SIZE] = 0;
        p.data[(at + 3) % SIZE] = 0;
        p.data[(at + 4) % SIZE] &= 0x27;
        p.data[(at + 5) % SIZE] = 0;
        p.data[(at + 6) % SIZE] = 0;
        p.data[(at + 7) % SIZE] = 0;
        llm_pos_store(&p.ctl->head, at + SIZE);

        rc = llm_ring_peek(&p.rx, &rec);
        if (rc != 1) {
            n_bad++;
            continue;
        }

        n_ok++;
        if (rec.payload < p.data + 16 || rec.payload > p.data + SIZE
            || rec.payload + rec.len > p.data + SIZE
            || rec.len > SIZE / 8 - 16) {
            ok(0, "a record outside the ring");
            break;
        }
    }

    ok(n_ok > 1000 && n_bad > 1000,
       "random headers: %d passed and lie in the ring, %d refused", n_ok,
       n_bad);
}
