/*
 * The ring's ABI: what an NGINX worker and the engine say to each other, byte
 * by byte.  Both ends include this file; it knows neither NGINX nor any type
 * of the engine.  All numbers are little-endian, nothing holds a pointer.
 *
 *
 * 1. SET-UP.  One connection per worker process: a Unix SEQPACKET socket.
 *
 *    worker -> engine   llm_hello_t, and by SCM_RIGHTS three descriptors, in
 *                       this order: the region (a memfd with the seals SHRINK,
 *                       GROW and SEAL), the eventfd that wakes the engine, the
 *                       eventfd that wakes the worker
 *    engine -> worker   llm_hello_t with LLM_HELLO_OK or the reason why not
 *
 *    The engine verifies seals, size and geometry before it maps anything.
 *    Connected means: the answer came within 1 s.  After that nothing more is
 *    said on the socket; its end is the death notice, in both directions.  A
 *    ring is never repaired: it goes with its connection.
 *
 *
 * 2. THE REGION.  Offsets in bytes; pages of 4096.
 *
 *    0              llm_region_t   written by the worker before HELLO, then
 *                                  immutable: each end copies it once
 *    4096           llm_ring_ctl_t of the submission ring  (worker -> engine)
 *    8192           llm_ring_ctl_t of the completion ring  (engine -> worker)
 *    12288          llm_status_t   written by the engine
 *    16384          data of the submission ring, sub_size bytes
 *    16384+sub_size data of the completion ring, comp_size bytes
 *
 *    Sizes are powers of two, 64 KiB to 1 GiB.
 *
 *
 * 3. A RING is a single-producer single-consumer byte ring of records.  head
 *    and tail are free-running byte positions; position & (size - 1) is the
 *    offset.  The producer owns head, the consumer owns tail; each is stored
 *    with release and loaded with acquire.  head - tail <= size, always: a
 *    value that breaks this is a broken peer.
 *
 *    A record is an llm_rec_t and its payload, contiguous, starting at a
 *    multiple of 16; the next one starts at the next multiple of 16.  What is
 *    left before the ring's end and too small for the next record is filled
 *    with one LLM_REC_PAD, whose len reaches exactly to the end, with slot
 *    LLM_SLOT_NONE and gen 0; its payload means nothing.  The largest record
 *    is size / 8.  Flags that a type does not have, and padding, are 0.
 *
 *    LLM_RING_RESERVE bytes are kept for control records (the types marked
 *    with a C below): all others see that much less space.
 *
 *    Doorbell.  A consumer that is about to sleep sets `sleeping`, makes a
 *    full fence, looks at head again, and sleeps if there is nothing.  A
 *    producer stores head, makes a full fence, and if `sleeping` is set
 *    exchanges it with 0 and writes to the consumer's eventfd.  In the other
 *    direction a producer that found no space sets `starving`, fences, and
 *    looks at tail again; a consumer that moved tail fences, looks at
 *    `starving`, exchanges it with 0, and writes to the producer's eventfd.
 *    Spurious wake-ups happen, lost ones never.
 *
 *
 * 4. RECORDS.  (slot, gen) names a request in both ends' private tables.  The
 *    worker chooses slot < slots of the engine's HELLO, and gen, which grows
 *    with each use of a slot.  Connection-wide records carry slot
 *    LLM_SLOT_NONE, gen 0.
 *
 *      worker -> engine
 *        MANIFEST       JSON of the models that this worker's configuration
 *                       names, in pieces, the last without LLM_REC_MORE;
 *                       sent once, first
 *        SUBMIT         llm_submit_t and its strings: opens the slot
 *        BODY           up to LLM_BODY_MAX bytes of the request's body, in
 *                       order, the last without LLM_REC_MORE; body_len bytes
 *                       in all; none if body_len is 0
 *        GO         C   after ADMIT, if SUBMIT had LLM_SUBMIT_RESERVE
 *        REJECT     C   likewise: llm_reject_t; the request ends with 429
 *        CREDIT     C   llm_credit_t: so many more bytes of DATA may come
 *        CANCEL     C   nobody waits any more; answered by END as ever
 *
 *      engine -> worker
 *        MODEL_STATE    JSON of the states of this connection's models, in
 *                       pieces like MANIFEST; whenever one changes
 *        ADMIT          llm_admit_t and the model's name: the request is valid
 *                       and counted, and waits for its turn
 *        HEAD           llm_head_t: status and kind of the response, once,
 *                       before any DATA
 *        DATA           llm_data_t, token ids, bytes of the response's body
 *        END        C   llm_end_t and its strings: closes the slot.  Each
 *                       SUBMIT is answered by exactly one END, after which,
 *                       and not before, the worker may use the slot again
 *
 *    An order for a request: SUBMIT BODY* / ADMIT? [GO] HEAD DATA* END.  A
 *    request that fails before HEAD has HEAD (its status), DATA (the dialect's
 *    error object) and END.  A cancelled request may end without HEAD.
 *
 *    DATA's bytes are written into a chunk only as far as the request's credit
 *    reaches; token ids do not count.  Both ends treat the other as hostile:
 *    the header is copied once and the copy validated; a payload is copied
 *    before it is parsed.  A broken record costs the connection.
 *
 *
 * 5. VERSION.  Majors must be equal; the lower minor is spoken.  Types from
 *    LLM_REC_LATER on are kept for operations on held sequences (SCORE, HOLD,
 *    EXTEND, FORK, RELEASE) and for tools that NGINX runs (TOOL_CALL,
 *    TOOL_RESULT): a peer that gets one unasked treats it as broken.
 */

#ifndef LLM_IPC_ABI_H
#define LLM_IPC_ABI_H

#include <stddef.h>
#include <stdint.h>

#define LLM_ABI_MAGIC 0x314d4c4c58474eULL /* "NGXLLM1" */
#define LLM_ABI_MAJOR 1
#define LLM_ABI_MINOR 0

#define LLM_PAGE          4096
#define LLM_RING_MIN      (64u << 10)
#define LLM_RING_MAX      (1u << 30)
#define LLM_RING_DEFAULT  (1u << 20)
#define LLM_RING_RESERVE  4096
#define LLM_RING_ALIGN    16
#define LLM_BODY_MAX      (64u << 10)
#define LLM_DATA_TOKENS   1024 /* most token ids in one DATA */
#define LLM_STRING_MAX    1024 /* most bytes in a record's string */
#define LLM_MANIFEST_MAX  (1u << 20)
#define LLM_HELLO_MS      1000
#define LLM_SLOTS_DEFAULT 4096
#define LLM_SLOT_NONE     0xffffffffu


/* HELLO, both ways: 64 bytes, one SEQPACKET message. */

enum {
    LLM_HELLO_ASK = 0,
    LLM_HELLO_OK,
    LLM_HELLO_VERSION, /* the majors differ */
    LLM_HELLO_REGION,  /* seals, size or geometry are wrong */
    LLM_HELLO_FULL     /* too many connections */
};

typedef struct {
    uint64_t magic;
    uint16_t major;
    uint16_t minor;
    uint32_t status; /* LLM_HELLO_* */
    uint32_t pid;
    uint32_t slots;    /* engine: how many the worker may use; worker: 0 */
    uint64_t features; /* none yet: 0 */
    uint64_t boot;     /* engine: a number drawn at its start; worker: 0 */
    uint64_t region_size;
    uint8_t  pad[16];
} llm_hello_t;


typedef struct {
    uint64_t magic;
    uint16_t major;
    uint16_t minor;
    uint32_t pad0;
    uint64_t region_size;
    uint64_t sub_off;
    uint64_t sub_size;
    uint64_t comp_off;
    uint64_t comp_size;
    uint8_t  pad[8];
} llm_region_t;


/* Every word on a line of its own; 128 bytes for the adjacent-line prefetch. */

typedef struct {
    _Alignas(128) uint64_t head;     /* producer */
    _Alignas(128) uint64_t tail;     /* consumer */
    _Alignas(128) uint32_t sleeping; /* set by consumer, taken by producer */
    _Alignas(128) uint32_t starving; /* set by producer, taken by consumer */
} llm_ring_ctl_t;


typedef struct {
    uint64_t heartbeat; /* CLOCK_MONOTONIC, ms; at least once a second */
    uint64_t steps;     /* of the step loop, ever */
    uint32_t running;   /* sequences in the batch */
    uint32_t waiting;   /* requests that wait for their turn */
    uint64_t kv_pages;
    uint64_t kv_pages_free;
} llm_status_t;


/* The head of each record: 16 bytes.  len counts it and the payload. */

enum {
    LLM_REC_PAD = 0,

    LLM_REC_MANIFEST = 1,
    LLM_REC_SUBMIT,
    LLM_REC_BODY,
    LLM_REC_GO,
    LLM_REC_REJECT,
    LLM_REC_CREDIT,
    LLM_REC_CANCEL,

    LLM_REC_MODEL_STATE = 32,
    LLM_REC_ADMIT,
    LLM_REC_HEAD,
    LLM_REC_DATA,
    LLM_REC_END,

    LLM_REC_LATER = 64
};

#define LLM_REC_MORE 0x01 /* MANIFEST, BODY, MODEL_STATE: another follows */

typedef struct {
    uint32_t len;
    uint8_t  type;
    uint8_t  flags;
    uint16_t pad;
    uint32_t slot;
    uint32_t gen;
} llm_rec_t;


/*
 * SUBMIT: 96 bytes, then the strings whose lengths stand in it, in that
 * order, without terminators.
 */

enum {
    LLM_OP_CHAT = 1,
    LLM_OP_COMPLETION,
    LLM_OP_MODELS, /* model: "" for the list, else the one asked for */
    LLM_OP_TOKENIZE,
    LLM_OP_DETOKENIZE,
    LLM_OP_METRICS, /* the engine's part of /metrics, as text */
    LLM_OP_MAX
};

enum { LLM_DIALECT_OPENAI = 1, LLM_DIALECT_MAX };

#define LLM_SUBMIT_RESERVE 0x01 /* wait for GO after ADMIT */
#define LLM_SUBMIT_FORCED  0x02 /* `model` rules, not the body's member */

typedef struct {
    uint16_t op;      /* LLM_OP_* */
    uint16_t dialect; /* LLM_DIALECT_* */
    uint32_t flags;
    uint64_t body_len;
    int64_t  created;        /* Unix time, s: the response's `created` */
    uint64_t seed;           /* used where the request names none */
    uint8_t  id[32];         /* hexadecimal: the response's id is made of it */
    uint32_t credit;         /* bytes of DATA that may come at first */
    uint32_t queue_ms;       /* ended unless admitted by then; 0: no limit */
    uint32_t first_token_ms; /* from SUBMIT to the first token; 0: none */
    uint32_t request_ms;     /* from SUBMIT to END; 0: none */
    uint16_t model_len;      /* forced name, or MODELS' argument */
    uint16_t tenant_len;     /* whose it is, for fairness; "" is one too */
    uint16_t salt_len;       /* keys the prefix cache */
    uint16_t request_id_len; /* for the engine's log */
    uint16_t organization_len; /* kept: 0 */
    uint8_t  pad[6];
} llm_submit_t;


typedef struct {
    uint32_t retry_ms; /* when it may be tried again; 0: not said */
    uint32_t pad;
} llm_reject_t;


typedef struct {
    uint32_t bytes;
    uint32_t pad;
} llm_credit_t;


/* ADMIT: 64 bytes, then the name of the model that answers. */

typedef struct {
    uint8_t  fingerprint[32]; /* of weights, tokenizer and template */
    uint32_t prompt_tokens;
    uint32_t cached_tokens; /* as far as known; END has the truth */
    uint32_t max_tokens;    /* most it may generate, all choices together */
    uint32_t choices;
    uint16_t model_len;
    uint8_t  stream; /* 1: the client asked for a stream */
    uint8_t  pad[13];
} llm_admit_t;


/* HEAD: 16 bytes. */

enum { LLM_KIND_JSON = 1, LLM_KIND_SSE, LLM_KIND_TEXT, LLM_KIND_MAX };

typedef struct {
    uint16_t status;   /* 200, 4xx, 5xx */
    uint8_t  kind;     /* LLM_KIND_* */
    uint8_t  no_retry; /* 1: "x-should-retry: false" */
    uint32_t retry_ms; /* Retry-After, 0: none */
    uint8_t  pad[8];
} llm_head_t;


/* DATA: 16 bytes, then n_tokens int32 token ids, then n_bytes bytes. */

#define LLM_DATA_BOUNDARY                                                      \
    0x01 /* the bytes end an event: a comment may follow */

typedef struct {
    uint16_t choice;
    uint16_t flags;
    uint32_t token_first; /* index, in its choice, of the first token id */
    uint32_t n_tokens;
    uint32_t n_bytes;
} llm_data_t;


/* END: 128 bytes, then three strings: error, user, asked model. */

enum {
    LLM_END_DONE = 0,  /* the response is whole */
    LLM_END_ERROR,     /* it is an error object, or ends in an error event */
    LLM_END_CANCELLED, /* CANCEL came */
    LLM_END_TIMEOUT,   /* one of SUBMIT's limits */
    LLM_END_MAX
};

enum {
    LLM_FINISH_NONE = 0,
    LLM_FINISH_STOP,
    LLM_FINISH_LENGTH,
    LLM_FINISH_TOOL_CALLS,
    LLM_FINISH_CONTENT_FILTER,
    LLM_FINISH_MAX
};

typedef struct {
    uint16_t outcome; /* LLM_END_* */
    uint16_t finish;  /* LLM_FINISH_* of choice 0 */
    uint16_t status;  /* as in HEAD */
    uint16_t tool_calls;
    uint32_t prompt_tokens;
    uint32_t cached_tokens;
    uint32_t cache_write_tokens;
    uint32_t completion_tokens;
    uint32_t reasoning_tokens;
    uint32_t tool_count; /* tools on offer */
    uint64_t queue_us;   /* SUBMIT's arrival to the first prefill */
    uint64_t prefill_us; /* from there to the first token */
    uint64_t decode_us;  /* from there to the last */
    uint64_t first_us;   /* SUBMIT's arrival to the first token; 0: none */
    uint64_t total_us;
    uint16_t error_len; /* the error object's `type`, or code; "" if none */
    uint16_t user_len;  /* the request's `user` */
    uint16_t asked_len; /* the request's `model`, as the client wrote it */
    uint16_t stream;
    uint8_t  pad[48];
} llm_end_t;


_Static_assert(sizeof(llm_hello_t) == 64, "ABI");
_Static_assert(sizeof(llm_region_t) == 64, "ABI");
_Static_assert(sizeof(llm_ring_ctl_t) == 512, "ABI");
_Static_assert(offsetof(llm_ring_ctl_t, tail) == 128, "ABI");
_Static_assert(offsetof(llm_ring_ctl_t, sleeping) == 256, "ABI");
_Static_assert(offsetof(llm_ring_ctl_t, starving) == 384, "ABI");
_Static_assert(sizeof(llm_status_t) == 40, "ABI");
_Static_assert(sizeof(llm_rec_t) == 16, "ABI");
_Static_assert(sizeof(llm_submit_t) == 96, "ABI");
_Static_assert(offsetof(llm_submit_t, id) == 32, "ABI");
_Static_assert(sizeof(llm_reject_t) == 8, "ABI");
_Static_assert(sizeof(llm_credit_t) == 8, "ABI");
_Static_assert(sizeof(llm_admit_t) == 64, "ABI");
_Static_assert(sizeof(llm_head_t) == 16, "ABI");
_Static_assert(sizeof(llm_data_t) == 16, "ABI");
_Static_assert(sizeof(llm_end_t) == 128, "ABI");

#endif /* LLM_IPC_ABI_H */
