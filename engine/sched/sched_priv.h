/*
 * What the files of the scheduler share.  No other room includes it, but for
 * tests.
 *
 *     mail.c     the mailbox: calls from any thread -> the step loop
 *     group.c    a request's memory; its end
 *     queue.c    tenants and their waiting groups; deadlines
 *     pages.c    KV pages: reference counts, free list, least recently used
 *     prefix.c   which pages hold which tokens
 *     seq.c      a sequence's pages: admission, fork, preemption
 *     batch.c    rows of a step
 *     draw.c     what came of it: tokens
 *     ahead.c    steps that begin before the one before has told its tokens
 *     gram.c     sequences under a grammar, the step loop's side
 *     mask.c     their other side: threads that accept tokens and make masks
 *     sched.c    the loop
 *     check.c    what must hold between two steps, for tests
 *
 * All but slots, jobs and the fields marked "any thread" belong to the step
 * loop's thread.  Memory comes from submitters' and loaders' threads; what the loop
 * is done with goes to a stack from which they free it: the loop itself never
 * allocates nor frees.
 *
 * A SEQUENCE (one choice of a group) is in one of these states:
 *
 *     PENDING   shares the prompt of its group's leader, which is not yet
 *               computed (or its group is still in a queue)
 *     WAITING   in the model's list by age: wants a place and pages (it was
 *               preempted, resumed, or found no place when it was forked)
 *     RUNNING   in the model's table of running ones, by age
 *     PAUSED    its reader is slow; keeps its pages until others need them
 *     DONE
 *
 * `computed` tokens of it are in its pages.  Outside of a step it is always
 * less than the tokens known (prompt and output): there is a row to compute
 * whose logits give the next token, so any sequence can be stopped, lose its
 * pages and go on later.  (While a token that was drawn in free text is in
 * question, all that is known is computed, and there is no row.)
 *
 * STEPS AHEAD.  While a step is under way whose draws are not told, its rows
 * are in `computed` already (`ahead` of them) and its token counts as known
 * (`flying`), though nobody knows which it is.  A sequence that stops running
 * is set back to what is told, and its ticket changes: what is still to come
 * of it is thrown away.
 */

#ifndef LLM_SCHED_PRIV_H
#define LLM_SCHED_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include "engine/base.h"
#include "engine/sched/sched.h"

#define SCHED_NONE        UINT32_MAX
#define SCHED_CHOICES_MAX 128
#define SCHED_NICE        10

/* A step ought to take no longer; prefill chunks grow and shrink by it. */
#define SCHED_STEP_NS      500000000ull
#define SCHED_CAP_MIN      16
#define SCHED_TENANTS_IDLE 256
#define SCHED_SCAN_MAX     64 /* pages looked at for a partial hit */
#define SCHED_FORCED_MAX   64 /* tokens that a job may find forced */
#define SCHED_MASKERS_MAX  64

typedef struct sched_req_s    sched_req_t;
typedef struct sched_seq_s    sched_seq_t;
typedef struct sched_slot_s   sched_slot_t;
typedef struct sched_tenant_s sched_tenant_t;
typedef struct sched_job_s    sched_job_t;
typedef struct sched_masks_s  sched_masks_t;


/* Notes to the loop; each is in the mailbox at most once. */

typedef enum { SCHED_MAIL_SLOT = 0, SCHED_MAIL_MODEL } sched_mail_kind_t;

typedef struct sched_mail_s {
    struct sched_mail_s *next;
    atomic_int           queued;
    sched_mail_kind_t    kind;
} sched_mail_t;

/*
 * A group's address for calls from any thread: reused, never freed before
 * the scheduler ends, so that a late call harms nobody.  The upper half of
 * each word is the generation whose group the lower half is about: word 0
 * holds SCHED_FLAG_*, the others a bit a choice that is to be stopped.
 */

#define SCHED_WORDS (1 + SCHED_CHOICES_MAX / 32)

enum { SCHED_FLAG_CANCEL = 1, SCHED_FLAG_PAUSE = 2 };

struct sched_slot_s {
    sched_mail_t           mail; /* first */
    _Atomic uint64_t       words[SCHED_WORDS];
    _Atomic(sched_req_t *) fresh; /* submitted, not yet taken */
    sched_req_t           *req;   /* the loop's */
    sched_slot_t          *next;  /* of the free ones */
    sched_slot_t          *all;
};


/* A KV page. */

typedef enum {
    SCHED_PAGE_FREE = 0,
    SCHED_PAGE_USED,  /* of one sequence, being filled */
    SCHED_PAGE_CACHED /* in the prefix cache; perhaps in use */
} sched_page_state_t;

typedef struct {
    uint32_t           refs; /* sequences */
    sched_page_state_t state;
    uint32_t           prev; /* least recently used, or the free list */
    uint32_t           next;

    /* CACHED: what it holds. */
    uint32_t parent; /* page of the tokens before, or SCHED_NONE */
    uint32_t n;      /* tokens */
    uint64_t hash;
    uint32_t full_next; /* its bucket of whole pages */
    uint32_t part_prev; /* its bucket by parent and first token */
    uint32_t part_next;
    uint8_t  salt[16];
    int32_t  tokens[K_PAGE_TOKENS];
} sched_page_t;

typedef struct {
    sched_page_t *pages;
    uint32_t      n;
    uint32_t      free;
    uint32_t      n_free;
    uint32_t      lru_first; /* cached, unused; the first goes next */
    uint32_t      lru_last;
    uint32_t      n_lru;
    uint32_t     *full; /* buckets */
    uint32_t     *part;
    uint32_t      mask;
    uint64_t      key; /* of the hash: nobody outside can aim at a bucket */
} sched_pages_t;


typedef enum {
    SCHED_SEQ_PENDING = 0,
    SCHED_SEQ_WAITING,
    SCHED_SEQ_RUNNING,
    SCHED_SEQ_PAUSED,
    SCHED_SEQ_DONE
} sched_seq_state_t;

/*
 * A sequence's grammar, and the work on it that mask threads do: what was
 * added to the output is accepted, then it is found out what may follow.  From
 * sched_mask_post() until `stage` leaves SCHED_JOB_ACCEPT* the job is theirs;
 * then what it found (the lower part) is the loop's, and the mask follows
 * (SCHED_JOB_MASK*) unless it is not needed.  `stage` changes under the pool's
 * lock; it may be read without.
 */

typedef enum {
    SCHED_JOB_IDLE = 0,
    SCHED_JOB_ACCEPT,      /* in the queue */
    SCHED_JOB_ACCEPT_BUSY, /* in work */
    SCHED_JOB_MASK,
    SCHED_JOB_MASK_BUSY,
    SCHED_JOB_READY /* the mask is there */
} sched_job_stage_t;

struct sched_job_s {
    sched_job_t     *next; /* the pool's queue */
    atomic_int       stage;
    int              dropped; /* nobody wants it any more: the pool's */
    sched_seq_t     *seq;
    grammar_t       *grammar;
    grammar_state_t *state;
    uint32_t        *mask;

    /* What to do. */
    uint32_t n;        /* tokens of the output */
    uint32_t room;     /* for more of them */
    uint32_t accepted; /* of the output: the state's place */
    uint32_t thought;  /* tokens of reasoning among them */
    int      budgeted; /* think_end was forced */
    int      probing;  /* `probe` was drawn without a mask: is it allowed? */
    int32_t  probe;

    /* What came of it. */
    int      rc;
    int      refused; /* the probe was */
    int      ended;   /* nothing can come any more */
    int      free;    /* no mask: draw, then ask */
    uint32_t n_forced;
    int32_t  forced[SCHED_FORCED_MAX];
    int      mask_rc;

    /* The loop's. */
    int          news; /* what came of it is not looked at yet */
    int          listed;
    sched_job_t *list_prev; /* jobs that the loop is to look at */
    sched_job_t *list_next;
    uint32_t     turn;
    k_sampled_t  sampled[2]; /* the probe's; the one before may yet be told */
};


struct sched_seq_s {
    sched_req_t      *req;
    uint32_t          choice;
    sched_seq_state_t state;
    uint32_t          computed;
    uint32_t          n_out;
    int32_t          *out;
    uint32_t          told;   /* of n_out: whose event went out */
    int               reason; /* it ends by this once all is told */
    uint32_t         *pages;
    uint32_t          n_pages;
    sched_job_t      *job; /* its grammar; NULL: none */

    /* Penalties: tokens of prompt and output with their counts. */
    k_count_t *counts; /* NULL: no penalties */
    uint32_t   n_counts;
    uint32_t  *index; /* hash table: place in counts + 1 */

    sched_seq_t *prev; /* waiting or paused */
    sched_seq_t *next;

    uint32_t rows; /* of the step being built */
    int      late; /* the last of them is to be computed again */

    /* Of steps ahead. */
    uint32_t ahead;  /* rows under way */
    uint32_t flying; /* tokens under way */
    uint32_t draw;   /* the newest of them: which of its step's draws */
    uint32_t ticket; /* changes when the above are given up */
};

typedef enum {
    SCHED_REQ_QUEUED = 0, /* in its tenant's queue */
    SCHED_REQ_HELD,       /* out of it: paused before it began */
    SCHED_REQ_ACTIVE,
    SCHED_REQ_GONE
} sched_req_state_t;

struct sched_req_s {
    sched_group_t    *group;
    sched_model_t    *model;
    sched_slot_t     *slot;
    sched_req_state_t state;
    uint64_t          number; /* in order of submission */
    uint64_t          age;    /* in order of admission */
    sched_tenant_t   *tenant;
    sched_req_t      *prev; /* its tenant's queue */
    sched_req_t      *next;
    sched_req_t      *live_prev; /* all of the scheduler's */
    sched_req_t      *live_next;
    sched_req_t      *gone_next; /* delivered, or to be freed */
    int               paused;
    int               started;   /* EV_START went out */
    int               has_token; /* of any choice */
    uint32_t          n_choices;
    uint32_t          n_live; /* choices that are not done */
    uint32_t          max_out;
    uint32_t          scored;  /* prompt tokens whose EV_PROMPT went out */
    uint32_t          flights; /* steps under way that know its sequences */
    const k_bias_t   *bias;
    uint32_t          n_bias;
    uint32_t          index_mask;
    grammar_t        *grammar; /* held */
    sched_job_t      *jobs;    /* one a choice, or NULL */
    uint32_t          think_budget;
    uint32_t          n_think_end;
    int32_t          *think_end; /* a copy: jobs outlive the group */
    sched_seq_t       seqs[];
};


struct sched_tenant_s {
    uint64_t        key;
    uint64_t        served; /* tokens, lifted when it comes back */
    uint32_t        users;  /* groups, waiting or running */
    sched_req_t    *first;
    sched_req_t    *last;
    sched_tenant_t *hash_next;
    sched_tenant_t *prev; /* tenants with a queue, or idle ones */
    sched_tenant_t *next;
};

typedef struct {
    sched_tenant_t *first;
    sched_tenant_t *last;
} sched_tenants_t;

typedef struct {
    sched_seq_t *first;
    sched_seq_t *last;
    uint32_t     n;
} sched_seqs_t;

/* What a drawn or judged token is for. */
typedef struct {
    sched_seq_t *seq;
    sched_seq_t *from;   /* whose prompt it goes on from, or NULL */
    uint32_t     logit;  /* of the batch's */
    uint32_t     judged; /* index of a known token, prompt or output, whose
                            logprob is wanted; 0: a new token */
} sched_draw_t;


/* A step under way: whose rows, and whose draws. */

typedef struct {
    sched_seq_t *seq;
    uint32_t     ticket;
    uint32_t     from; /* rows: tokens from .. to - 1 */
    uint32_t     to;
    int          draws;
} sched_rider_t;

typedef struct {
    sched_rider_t *riders; /* in the batch's order, so draws are in order too */
    uint32_t       n;
    uint32_t       n_draws;
    uint32_t       n_rows;
    uint32_t       prefill_rows;
    uint64_t       start;
} sched_flight_t;


struct sched_model_s {
    sched_mail_t mail; /* first */
    sched_t     *sched;
    model_t     *model;

    atomic_int  removing; /* any thread */
    atomic_uint users;    /* any thread: accepted groups and submitters */
    atomic_uint idle;     /* any thread: free places, about */
    void (*gone)(void *data);
    void *gone_data;
    int   added;
    int   leaving; /* the loop knows that it is to be removed */

    sched_model_t *next;     /* the loop's ring of models */
    sched_model_t *all_next; /* every one, under the scheduler's lock */
    sched_model_t *dead_next;

    uint32_t max_rows;
    uint32_t max_seqs;
    uint32_t chunk;
    uint32_t cap; /* prefill rows that a step has time for */

    sched_pages_t pages;
    sched_seq_t **run;
    uint32_t      n_run;
    sched_seqs_t  wait;
    sched_seqs_t  paused;
    uint32_t      turn; /* who gets the odd rows */

    sched_tenant_t  *tenants;
    uint32_t         n_tenants;
    uint32_t         tenants_used;
    sched_tenant_t **tenants_hash;
    uint32_t         tenants_mask;
    sched_tenants_t  queued;
    sched_tenants_t  idle_tenants;
    uint64_t         served; /* of the tenant admitted last */

    /* The step's. */
    k_batch_t      batch;
    int32_t       *tokens;
    k_batch_seq_t *seqs;
    uint32_t      *logit_rows;
    sched_seq_t  **members; /* of the batch, in order */
    k_sample_t    *samples;
    k_sampled_t   *sampled;
    sched_draw_t  *draws;
    sched_job_t  **waits; /* jobs to wait for */
    uint32_t       n_draws;
    uint32_t       max_draws;
    uint32_t       prefill_rows;

    sched_flight_t flights[2];
    uint32_t       flight; /* the oldest */
    uint32_t       n_flights;
    uint64_t       landed; /* when the last one was */
};


/*
 * Threads that accept tokens and make masks: mask.c.  One thread at a time
 * works in a grammar, so whose grammar is busy waits, and nobody for it.
 */

typedef struct {
    sched_job_t  *first;
    sched_job_t **tail;
} sched_jobs_t;

typedef struct {
    sched_masks_t *masks;
    pthread_t      thread;
    grammar_t     *grammar; /* in which it works */
} sched_masker_t;

struct sched_masks_s {
    sched_t        *sched;
    pthread_mutex_t lock;
    pthread_cond_t  work; /* for the threads */
    pthread_cond_t  done; /* for the loop, if it waits */
    int             waiting;
    int             stopping;
    sched_jobs_t    accepts; /* these first: the loop may need them sooner */
    sched_jobs_t    makes;
    uint32_t        n;                              /* threads */
    sched_masker_t  maskers[SCHED_MASKERS_MAX + 1]; /* the last: the loop */
};

struct sched_s {
    sched_config_t config;

    /* Any thread. */
    _Atomic(sched_mail_t *)  mail;
    atomic_uint              awake; /* futex: 0 while the loop sleeps */
    atomic_int               kicked;
    atomic_uint              waiting;
    atomic_int               ending;
    _Atomic(sched_req_t *)   dead; /* to be freed by somebody else */
    _Atomic(sched_model_t *) dead_models;
    _Atomic(sched_slot_t *)  slots_back;

    /* Submitters', under the lock; the loop never takes it. */
    pthread_mutex_t lock;
    sched_slot_t   *slots_free;
    sched_slot_t   *slots_all;
    sched_model_t  *models_all;

    pthread_t thread;
    int       started;

    /* The loop's. */
    sched_model_t *models; /* the next one's turn */
    sched_req_t   *live;   /* all groups, by submission */
    sched_req_t   *live_last;
    uint32_t       removing; /* models that are to go */
    uint64_t       numbers;
    uint64_t       ages;
    uint64_t       deadline; /* none of any group is before */
    uint64_t       now;
    sched_event_t *events;
    uint32_t       n_events;
    uint32_t       max_events;
    sched_req_t   *gone;
    sched_req_t   *lingering; /* gone, but a mask thread works in it */
    sched_job_t   *jobs;      /* posted, and not settled */
    sched_masks_t  masks;

    struct {
        _Atomic uint64_t steps;
        _Atomic uint64_t running;
        _Atomic uint64_t paused;
        _Atomic uint64_t pages;
        _Atomic uint64_t pages_free;
        _Atomic uint64_t prompt_tokens;
        _Atomic uint64_t generated_tokens;
        _Atomic uint64_t prefix_queries;
        _Atomic uint64_t prefix_hits;
        _Atomic uint64_t preemptions;
        _Atomic uint64_t busy_ns;
        _Atomic uint64_t rows_last;
        _Atomic uint64_t masks;
        _Atomic uint64_t mask_ns;
        _Atomic uint64_t mask_max_ns;
        _Atomic uint64_t masks_late;
        _Atomic uint64_t forced;
        _Atomic uint64_t redrawn;
    } stats;
};


/* mail.c */
void sched_mail_take(sched_t *s);
void sched_mail_post(sched_t *s, sched_mail_t *mail);
void sched_mail_wake(sched_t *s);
void sched_mail_sleep(sched_t *s, uint64_t until_ns);

/* group.c */
int  sched_req_new(sched_model_t *m, sched_group_t *group, sched_req_t **req);
void sched_req_finish(sched_req_t *r, int reason);
void sched_req_gone(sched_req_t *r);
void sched_req_pause(sched_req_t *r, int pause);
void sched_event(sched_t *s, const sched_event_t *ev);
void sched_events_send(sched_t *s);
void sched_gone_release(sched_t *s);
void sched_req_free(sched_req_t *r); /* any thread */
void sched_bury(sched_t *s);         /* any thread, with the lock */

/* queue.c */
void         sched_queue_add(sched_req_t *r);
void         sched_queue_drop(sched_req_t *r);
void         sched_queue_hold(sched_req_t *r, int hold);
sched_req_t *sched_queue_first(sched_model_t *m);
void         sched_queue_served(sched_req_t *r, uint32_t tokens);
void         sched_queue_release(sched_req_t *r);
void         sched_queue_expire(sched_t *s);

/* pages.c */
int      sched_pages_new(sched_pages_t *p, uint32_t n);
void     sched_pages_free(sched_pages_t *p);
uint32_t sched_page_take(sched_pages_t *p); /* or SCHED_NONE */
void     sched_page_hold(sched_pages_t *p, uint32_t page);
void     sched_page_drop(sched_pages_t *p, uint32_t page);

/* prefix.c */
uint32_t sched_prefix_find(sched_pages_t *p, uint32_t parent,
                           const uint8_t *salt, const int32_t *tokens);
uint32_t sched_prefix_part(sched_pages_t *p, uint32_t parent,
                           const uint8_t *salt, const int32_t *tokens,
                           uint32_t n, uint32_t *len);
uint32_t sched_prefix_add(sched_pages_t *p, uint32_t page, uint32_t parent,
                          const uint8_t *salt, const int32_t *tokens,
                          uint32_t n);
void     sched_prefix_forget(sched_pages_t *p, uint32_t page);

/* seq.c */
uint32_t sched_seq_known(const sched_seq_t *q);
uint32_t sched_seq_unjudged(const sched_seq_t *q);
void     sched_seq_tokens(const sched_seq_t *q, uint32_t from, uint32_t n,
                          int32_t *tokens);
int      sched_seq_admit(sched_seq_t *q);
int      sched_seq_grow(sched_seq_t *q);
void     sched_seq_fork(sched_seq_t *q, const sched_seq_t *from);
void     sched_seq_cache(sched_seq_t *q, uint32_t from, uint32_t to);
void     sched_seq_release(sched_seq_t *q, int keep);
void     sched_seq_preempt(sched_seq_t *q);
void     sched_seq_wait(sched_seq_t *q);
void     sched_seq_pause(sched_seq_t *q);
void     sched_seq_leave(sched_seq_t *q);
void     sched_seq_finish(sched_seq_t *q, int reason);
void     sched_seq_count(sched_seq_t *q, int32_t token, int in_output);
void     sched_seq_enter(sched_seq_t *q, int32_t token);
void     sched_seq_tell(sched_seq_t *q, const k_sampled_t *sampled);
void     sched_seq_flush(sched_seq_t *q);
int      sched_seq_is_end(const sched_seq_t *q, int32_t token);

/* batch.c */
void sched_admit(sched_model_t *m);
int  sched_batch_run(sched_model_t *m);
void sched_batch_build(sched_model_t *m);
void sched_batch_failed(sched_model_t *m, uint32_t rows, int rc);
void sched_batch_pace(sched_model_t *m, uint64_t ns);
void sched_batch_count(sched_t *s, uint32_t rows, uint64_t ns);

/* draw.c */
void sched_draw_late(sched_model_t *m);
int  sched_draw(sched_model_t *m);
void sched_draw_sample(sched_model_t *m, uint32_t i);
void sched_draw_token(sched_model_t *m, sched_seq_t *q,
                      const k_sampled_t *sampled);

/* ahead.c */
int  sched_ahead_could(const sched_model_t *m);
int  sched_ahead_run(sched_model_t *m, int could);
void sched_ahead_drain(sched_model_t *m);

/* gram.c */
int  sched_gram_new(sched_req_t *r);
void sched_gram_free(sched_req_t *r);
int  sched_gram_busy(sched_req_t *r);
int  sched_gram_held(const sched_seq_t *q);
int  sched_gram_can_draw(const sched_seq_t *q);
void sched_gram_want(sched_model_t *m);
void sched_gram_probe(sched_seq_t *q, const k_sampled_t *sampled);
int  sched_gram_answer(const sched_seq_t *q);
int  sched_gram_refused(sched_seq_t *q);
void sched_gram_drawn(sched_seq_t *q);
void sched_gram_news(sched_seq_t *q);
void sched_gram_settle(sched_t *s);
void sched_gram_drop(sched_seq_t *q);

/* mask.c */
int  sched_masks_start(sched_t *s, uint32_t n);
void sched_masks_stop(sched_t *s);
void sched_mask_post(sched_job_t *job);
void sched_mask_drop(sched_job_t *job);
int  sched_masks_wait(sched_t *s, sched_job_t **jobs, uint32_t n, int accepted);

/* sched.c */
uint64_t sched_now(sched_t *s);
void     sched_model_settle(sched_model_t *m);
void     sched_model_free(sched_model_t *m);

/* check.c: NULL, or what does not hold.  The step loop's thread. */
const char *sched_check(sched_t *s);

#endif /* LLM_SCHED_PRIV_H */
