/*
 * The doorbell protocol of engine/ipc/ring.c, proven on a ring of four slots:
 * an explicit-state search through every interleaving of a producer and a
 * consumer, each with a store buffer.  Shown is that no wake-up is lost (no
 * state in which nothing can happen and records are unread or unsent), that
 * the end is reachable from every state, that nothing unread is overwritten
 * and nothing unpublished read.  Then one thing is taken away at a time, each
 * fence among them, and the search has to find the lost wake-up.
 *
 * Memory: stores wait in their thread's buffer and reach memory in any order,
 * except that stores of one variable keep theirs and a release store waits for
 * all before it.  That allows all that x86 (TSO) does and more.  A fence and a
 * read-modify-write wait for an empty buffer.  Loads are in program order, as
 * acquire and the fence make them.
 *
 * Programs: each `case` is one step; the comments name the function of ring.c
 * whose access it is.  Records take one and two slots in turn, so that space
 * may be freed and yet not suffice.  The producer may flush after each record
 * or later, the consumer may release after each or later: both are tried.
 */

#include <stdint.h>
#include "t/lib/tap.h"

#define SLOTS   4
#define RECORDS 7 /* 10 slots: two and a half rounds */
#define BUFFER  3

enum { HEAD, TAIL, SLEEPING, STARVING, VARS };
enum { PRODUCER, CONSUMER };

/* What is taken away. */

enum {
    NO_FENCE1_SLEEPING = 0x01, /* llm_ring_arm() */
    NO_FENCE1_STARVING = 0x02, /* llm_ring_room() */
    NO_FENCE2_HEAD = 0x04,     /* llm_ring_flush() */
    NO_FENCE2_TAIL = 0x08,     /* llm_ring_release() */
    NO_LOOK_SLEEPING = 0x10,   /* the second look at head */
    NO_LOOK_STARVING = 0x20,   /* the second look at tail */
    NO_FLUSH = 0x40,           /* the producer sleeps without flush */
    NO_RELEASE = 0x80,         /* the consumer sleeps without release */
    LATE_SLEEPING = 0x100,     /* looks, then says that it sleeps */
    RMW = 0x200                /* the fences of ThreadSanitizer's build */
};

enum {
    P_WANT,
    P_LOOK,
    P_RAISE,
    P_RAISE_FENCE,
    P_LOOK_AGAIN,
    P_DROP,
    P_COMMIT,
    P_FLUSH,
    P_FLUSH_FENCE,
    P_FLUSH_LOOK,
    P_FLUSH_TAKE,
    P_FLUSH_RING,
    P_SLEEP,
    P_DONE,

    C_PEEK,
    C_TAKE,
    C_RELEASE,
    C_RELEASE_FENCE,
    C_RELEASE_LOOK,
    C_RELEASE_TAKE,
    C_RELEASE_RING,
    C_ARM,
    C_ARM_FENCE,
    C_ARM_LOOK,
    C_DROP,
    C_SLEEP
};

typedef struct {
    uint8_t var;
    uint8_t value;
    uint8_t release;
} store_t;

typedef struct {
    uint8_t pc;
    uint8_t ret;    /* where flush or release goes on */
    uint8_t pos;    /* one's own position: head or tail, private */
    uint8_t peer;   /* the peer's, as last seen */
    uint8_t shown;  /* as published: sent or freed */
    uint8_t record; /* records written or read */
    uint8_t n;      /* of the buffer */
    store_t buffer[BUFFER];
} thread_t;

typedef struct {
    uint8_t  mem[VARS];
    uint8_t  bell[2]; /* the eventfds */
    thread_t t[2];
} state_t;

typedef struct {
    state_t  *states;
    uint32_t *table;
    uint32_t *edges; /* pairs: from, to */
    size_t    n, n_edges, table_size, edges_size;
    unsigned  without;
    int       broken; /* overwritten or read too early */
    int       lost;   /* states where nothing can happen */
    int       trapped;
} search_t;

static uint8_t  record_size(uint8_t record);
static uint8_t  load(const state_t *s, int who, uint8_t var);
static int      store(state_t *s, int who, uint8_t var, uint8_t value,
                      uint8_t release);
static int      step(const search_t *q, state_t *s, int who, int choice);
static int      step_producer(const search_t *q, state_t *s, int choice);
static int      step_consumer(const search_t *q, state_t *s, int choice);
static int      drain(state_t *s, int who, int i);
static int      valid(const state_t *s);
static int      finished(const state_t *s);
static uint32_t intern(search_t *q, const state_t *s);
static void     edge(search_t *q, size_t from, uint32_t to);
static void     expand(search_t *q, size_t from);
static void     search(search_t *q, unsigned without);
static int      trapped(const search_t *q);
static void     check(unsigned without, int bad, const char *what);


int
main(void)
{
    check(0, 0, "the protocol");
    check(RMW, 0, "with read-modify-writes for fences");

    check(NO_FENCE1_SLEEPING, 1, "without fence 1 in llm_ring_arm()");
    check(NO_FENCE2_HEAD, 1, "without fence 2 in llm_ring_flush()");
    check(NO_FENCE1_STARVING, 1, "without fence 1 in llm_ring_room()");
    check(NO_FENCE2_TAIL, 1, "without fence 2 in llm_ring_release()");
    check(NO_LOOK_SLEEPING, 1, "without the consumer's second look");
    check(NO_LOOK_STARVING, 1, "without the producer's second look");
    check(LATE_SLEEPING, 1, "with the flag set after the look");
    check(NO_FLUSH, 1, "with a producer that sleeps before it flushes");
    check(NO_RELEASE, 1, "with a consumer that sleeps before it releases");

    return tap_done();
}


static uint8_t
record_size(uint8_t record)
{
    return 1 + (record & 1);
}


/* A thread sees its own stores at once. */

static uint8_t
load(const state_t *s, int who, uint8_t var)
{
    int             i;
    const thread_t *t = &s->t[who];

    for (i = t->n - 1; i >= 0; i--) {
        if (t->buffer[i].var == var) {
            return t->buffer[i].value;
        }
    }

    return s->mem[var];
}


/* 0: the buffer is full, the step has to wait. */

static int
store(state_t *s, int who, uint8_t var, uint8_t value, uint8_t release)
{
    thread_t *t = &s->t[who];

    if (t->n == BUFFER) {
        return 0;
    }

    t->buffer[t->n].var = var;
    t->buffer[t->n].value = value;
    t->buffer[t->n].release = release;
    t->n++;

    return 1;
}


/* One step of a thread; 0 if it cannot be made now. */

static int
step(const search_t *q, state_t *s, int who, int choice)
{
    return who == PRODUCER ? step_producer(q, s, choice)
                           : step_consumer(q, s, choice);
}


static int
step_producer(const search_t *q, state_t *s, int choice)
{
    uint8_t   need, space;
    thread_t *t = &s->t[PRODUCER];

    need = record_size(t->record);
    space = (uint8_t) (SLOTS - (t->pos - t->peer));

    if (choice != 0 && t->pc != P_COMMIT) {
        return 0;
    }

    switch (t->pc) {

    case P_WANT:
        if (t->record == RECORDS) {
            t->ret = P_DONE;
            t->pc = P_FLUSH;
            return 1;
        }
        t->pc = space >= need ? P_COMMIT : P_LOOK;
        return 1;

    case P_LOOK: /* llm_ring_room(): llm_ring_tail_look() */
        t->peer = load(s, PRODUCER, TAIL);
        space = (uint8_t) (SLOTS - (t->pos - t->peer));
        t->pc = space >= need ? P_COMMIT : P_RAISE;
        return 1;

    case P_RAISE: /* llm_flag_raise(starving) */
        if (q->without & RMW) {
            if (t->n != 0) {
                return 0;
            }
            s->mem[STARVING] = 1;
            t->pc = P_LOOK_AGAIN;
            return 1;
        }
        t->pc = q->without & NO_FENCE1_STARVING ? P_LOOK_AGAIN : P_RAISE_FENCE;
        return store(s, PRODUCER, STARVING, 1, 0);

    case P_RAISE_FENCE:
        t->pc = P_LOOK_AGAIN;
        return t->n == 0;

    case P_LOOK_AGAIN: /* the second llm_ring_tail_look() */
        if (!(q->without & NO_LOOK_STARVING)) {
            t->peer = load(s, PRODUCER, TAIL);
            space = (uint8_t) (SLOTS - (t->pos - t->peer));
        }
        if (space >= need) {
            t->pc = P_DROP;
            return 1;
        }
        t->ret = P_SLEEP; /* -EAGAIN: the caller flushes and sleeps */
        t->pc = q->without & NO_FLUSH ? P_SLEEP : P_FLUSH;
        return 1;

    case P_DROP: /* llm_flag_drop(starving) */
        s->mem[STARVING] = 0;
        t->pc = P_COMMIT;
        return t->n == 0;

    case P_COMMIT: /* llm_ring_commit(); then flush now, or later */
        t->pos = (uint8_t) (t->pos + need);
        t->record++;
        t->ret = P_WANT;
        t->pc = choice ? P_FLUSH : P_WANT;
        return 1;

    case P_FLUSH: /* llm_ring_flush(): llm_pos_store(head) */
        if (t->shown == t->pos) {
            t->pc = t->ret;
            return 1;
        }
        t->shown = t->pos;
        t->pc =
            q->without & (NO_FENCE2_HEAD | RMW) ? P_FLUSH_LOOK : P_FLUSH_FENCE;
        return store(s, PRODUCER, HEAD, t->pos, 1);

    case P_FLUSH_FENCE:
        t->pc = P_FLUSH_LOOK;
        return t->n == 0;

    case P_FLUSH_LOOK: /* llm_flag_look(sleeping) */
        if ((q->without & RMW) && t->n != 0) {
            return 0;
        }
        t->pc = load(s, PRODUCER, SLEEPING) ? P_FLUSH_TAKE : t->ret;
        return 1;

    case P_FLUSH_TAKE:
        t->pc = s->mem[SLEEPING] ? P_FLUSH_RING : t->ret;
        s->mem[SLEEPING] = 0;
        return t->n == 0;

    case P_FLUSH_RING: /* llm_ipc_ring() */
        s->bell[CONSUMER] = 1;
        t->pc = t->ret;
        return 1;

    case P_SLEEP:
        if (s->bell[PRODUCER] == 0) {
            return 0;
        }
        s->bell[PRODUCER] = 0;
        t->pc = P_WANT;
        return 1;

    default: /* P_DONE */
        return 0;
    }
}


static int
step_consumer(const search_t *q, state_t *s, int choice)
{
    thread_t *t = &s->t[CONSUMER];

    if (choice != 0 && t->pc != C_TAKE) {
        return 0;
    }

    switch (t->pc) {

    case C_PEEK: /* llm_ring_peek(): llm_ring_head_look() */
        if (t->peer == t->pos) {
            t->peer = load(s, CONSUMER, HEAD);
        }
        if (t->peer != t->pos) {
            t->pc = C_TAKE;
            return 1;
        }
        t->ret = C_ARM;
        t->pc = q->without & NO_RELEASE ? C_ARM : C_RELEASE;
        return 1;

    case C_TAKE: /* llm_ring_next(); then release now, or later */
        t->pos = (uint8_t) (t->pos + record_size(t->record));
        t->record++;
        t->ret = C_PEEK;
        t->pc = choice ? C_RELEASE : C_PEEK;
        return 1;

    case C_RELEASE: /* llm_ring_release(): llm_pos_store(tail) */
        if (t->shown == t->pos) {
            t->pc = t->ret;
            return 1;
        }
        t->shown = t->pos;
        t->pc = q->without & (NO_FENCE2_TAIL | RMW) ? C_RELEASE_LOOK
                                                    : C_RELEASE_FENCE;
        return store(s, CONSUMER, TAIL, t->pos, 1);

    case C_RELEASE_FENCE:
        t->pc = C_RELEASE_LOOK;
        return t->n == 0;

    case C_RELEASE_LOOK: /* llm_flag_look(starving) */
        if ((q->without & RMW) && t->n != 0) {
            return 0;
        }
        t->pc = load(s, CONSUMER, STARVING) ? C_RELEASE_TAKE : t->ret;
        return 1;

    case C_RELEASE_TAKE:
        t->pc = s->mem[STARVING] ? C_RELEASE_RING : t->ret;
        s->mem[STARVING] = 0;
        return t->n == 0;

    case C_RELEASE_RING: /* llm_ipc_ring() */
        s->bell[PRODUCER] = 1;
        t->pc = t->ret;
        return 1;

    case C_ARM: /* llm_ring_arm(): llm_flag_raise(sleeping) */
        if (q->without & RMW) {
            if (t->n != 0) {
                return 0;
            }
            s->mem[SLEEPING] = 1;
            t->pc = C_ARM_LOOK;
            return 1;
        }
        if ((q->without & LATE_SLEEPING) && load(s, CONSUMER, HEAD) != t->pos) {
            t->pc = C_PEEK;
            return 1;
        }
        t->pc = q->without & NO_FENCE1_SLEEPING ? C_ARM_LOOK : C_ARM_FENCE;
        return store(s, CONSUMER, SLEEPING, 1, 0);

    case C_ARM_FENCE:
        t->pc = C_ARM_LOOK;
        return t->n == 0;

    case C_ARM_LOOK: /* the second llm_ring_head_look() */
        if (!(q->without & (NO_LOOK_SLEEPING | LATE_SLEEPING))) {
            t->peer = load(s, CONSUMER, HEAD);
        }
        t->pc = t->peer == t->pos ? C_SLEEP : C_DROP;
        return 1;

    case C_DROP: /* llm_flag_drop(sleeping) */
        s->mem[SLEEPING] = 0;
        t->pc = C_PEEK;
        return t->n == 0;

    default: /* C_SLEEP */
        if (s->bell[CONSUMER] == 0) {
            return 0;
        }
        s->bell[CONSUMER] = 0;
        t->pc = C_PEEK;
        return 1;
    }
}


/* Store i of a buffer reaches memory, if it may before those in front. */

static int
drain(state_t *s, int who, int i)
{
    int       k;
    thread_t *t = &s->t[who];

    if (i >= t->n || (t->buffer[i].release && i != 0)) {
        return 0;
    }

    for (k = 0; k < i; k++) {
        if (t->buffer[k].var == t->buffer[i].var) {
            return 0;
        }
    }

    s->mem[t->buffer[i].var] = t->buffer[i].value;

    for (k = i; k + 1 < t->n; k++) {
        t->buffer[k] = t->buffer[k + 1];
    }

    t->n--;
    memset(&t->buffer[t->n], 0, sizeof(store_t));

    return 1;
}


/* Nothing unread overwritten, nothing read that was not published. */

static int
valid(const state_t *s)
{
    return s->t[PRODUCER].pos - s->t[CONSUMER].pos <= SLOTS
           && s->t[CONSUMER].pos <= s->t[PRODUCER].shown;
}


static int
finished(const state_t *s)
{
    return s->t[PRODUCER].pc == P_DONE && s->t[CONSUMER].record == RECORDS;
}


/* The number of a state; new ones are appended. */

static uint32_t
intern(search_t *q, const state_t *s)
{
    size_t         i, h;
    const uint8_t *p = (const uint8_t *) s;

    h = 14695981039346656037ULL;

    for (i = 0; i < sizeof(*s); i++) {
        h = (h ^ p[i]) * 1099511628211ULL;
    }

    for (h &= q->table_size - 1; q->table[h] != 0;
         h = (h + 1) & (q->table_size - 1)) {
        if (memcmp(&q->states[q->table[h] - 1], s, sizeof(*s)) == 0) {
            return q->table[h] - 1;
        }
    }

    if (q->n * 2 >= q->table_size) {
        printf("Bail out! more states than expected\n");
        exit(1);
    }

    q->states[q->n] = *s;
    q->table[h] = (uint32_t) ++q->n;

    return (uint32_t) q->n - 1;
}


static void
edge(search_t *q, size_t from, uint32_t to)
{
    if (q->n_edges == q->edges_size) {
        q->edges_size *= 2;
        q->edges = realloc(q->edges, q->edges_size * 2 * sizeof(uint32_t));
        if (q->edges == NULL) {
            abort();
        }
    }

    q->edges[2 * q->n_edges] = (uint32_t) from;
    q->edges[2 * q->n_edges + 1] = to;
    q->n_edges++;
}


/* All that can happen in a state. */

static void
expand(search_t *q, size_t from)
{
    int     who, i, n;
    state_t s;

    n = 0;

    for (who = 0; who < 2; who++) {
        for (i = 0; i < 2; i++) {
            s = q->states[from];
            if (step(q, &s, who, i)) {
                q->broken += !valid(&s);
                edge(q, from, intern(q, &s));
                n++;
            }
        }

        for (i = 0; i < BUFFER; i++) {
            s = q->states[from];
            if (drain(&s, who, i)) {
                edge(q, from, intern(q, &s));
                n++;
            }
        }
    }

    if (n == 0 && !finished(&q->states[from])) {
        q->lost++;
    }
}


static void
search(search_t *q, unsigned without)
{
    size_t  i;
    state_t s;

    memset(q, 0, sizeof(*q));
    q->without = without;
    q->table_size = 1 << 20;
    q->edges_size = 1 << 16;
    q->states = malloc(q->table_size / 2 * sizeof(state_t));
    q->table = calloc(q->table_size, sizeof(uint32_t));
    q->edges = malloc(q->edges_size * 2 * sizeof(uint32_t));
    if (q->states == NULL || q->table == NULL || q->edges == NULL) {
        abort();
    }

    memset(&s, 0, sizeof(s));
    s.t[PRODUCER].pc = P_WANT;
    s.t[CONSUMER].pc = C_PEEK;
    (void) intern(q, &s);

    for (i = 0; i < q->n; i++) {
        expand(q, i);
    }

    q->trapped = trapped(q);

    free(q->states);
    free(q->table);
    free(q->edges);
}


/* From how many states can the end no more be reached? */

static int
trapped(const search_t *q)
{
    int      n, more;
    size_t   i, k;
    uint8_t *good;

    good = calloc(q->n, 1);
    if (good == NULL) {
        abort();
    }

    for (i = 0; i < q->n; i++) {
        good[i] = (uint8_t) finished(&q->states[i]);
    }

    do {
        more = 0;

        for (k = q->n_edges; k-- > 0;) {
            if (!good[q->edges[2 * k]] && good[q->edges[2 * k + 1]]) {
                good[q->edges[2 * k]] = 1;
                more = 1;
            }
        }
    } while (more);

    for (n = 0, i = 0; i < q->n; i++) {
        n += !good[i];
    }

    free(good);

    return n;
}


static void
check(unsigned without, int bad, const char *what)
{
    search_t q;

    search(&q, without);

    if (bad) {
        ok(q.lost > 0, "%s: the lost wake-up is found", what);

    } else {
        ok(q.lost == 0 && q.trapped == 0 && q.broken == 0,
           "%s: no wake-up is lost", what);
    }

    diag("%zu states, %zu steps: %d where nothing can happen, %d without a "
         "way to the end, %d broken",
         q.n, q.n_edges, q.lost, q.trapped, q.broken);
}
