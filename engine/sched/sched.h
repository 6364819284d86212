/*
 * The scheduler: sequences, their batch, KV pages, prefix cache: the step
 * loop.  It sees tokens and numbers only: no text, no JSON.
 *
 * THREADS.  One thread of its own runs the step loop (it is one of the compute
 * threads); a few more make masks for it.  sched_submit(), _cancel(), _stop(), _pause(), _resume() may be
 * called from any thread; they put a note into a mailbox and wake the loop.
 * Events are delivered from the step loop's thread, all of a step in one call;
 * the receiver copies what it wants and returns at once,
 * or waits for room: the loop then stands still, and nothing else does.
 *
 * OWNERSHIP.  A group (one request: a prompt and n choices) belongs to the
 * scheduler from sched_submit() until its last event (SCHED_EV_GONE), which
 * comes exactly once for each accepted group, whatever happens.  After it the
 * scheduler never touches the group, its tokens or its bias again.  Calls on
 * the group are harmless, and do nothing, for as long after that as its memory
 * is the caller's: whoever has yet to see the end may go on calling.
 *
 * WHAT A STEP DOES: takes the mail; drops what is cancelled or overdue; admits
 * from the queues, fair across tenants; gives every running sequence its
 * decode row, and what is left of the step's rows to prefill chunks, so that a
 * long prompt delays running streams by one chunk at most; runs the program;
 * samples; delivers.  Under pressure of KV pages the youngest sequence is
 * preempted: its pages go, its tokens are recomputed later, nothing is lost
 * and no output changes.
 *
 * GRAMMARS.  Masks for the next draw are made while the step computes.  A
 * sequence whose mask is late draws in a later step.  Tokens that must come
 * next are not drawn but entered, and computed as one chunk.  In free text a
 * token is drawn first, then asked about.  Draws are counted by position, so
 * the output does not depend on which of this happened when.
 *
 * STEPS AHEAD.  Where a backend computes beside the CPU, the next step is
 * handed over before the one before has told its tokens, as long as only plain
 * sequences run: ahead.c.  No output changes by that either.
 */

#ifndef LLM_SCHED_SCHED_H
#define LLM_SCHED_SCHED_H

#include <stdint.h>
#include "engine/grammar/grammar.h"
#include "engine/model/model.h"

typedef struct sched_s       sched_t;
typedef struct sched_model_s sched_model_t; /* a model in the scheduler */

typedef struct {
    float           temperature;
    float           top_p;
    float           min_p;
    uint32_t        top_k;
    float           repetition;
    float           frequency;
    float           presence;
    uint64_t        seed;
    const k_bias_t *bias; /* borrowed until GONE */
    uint32_t        n_bias;
    int             ignore_eos; /* end-of-generation tokens are never drawn */
    int             logprobs;
    uint32_t        n_top;
} sched_sampling_t;

typedef struct {
    sched_model_t   *model;
    const int32_t   *tokens; /* the prompt, borrowed until GONE; >= 1 */
    uint32_t         n_tokens;
    uint32_t         n_choices;
    uint32_t         max_tokens; /* for each choice, >= 1 */
    sched_sampling_t sampling;
    uint8_t          salt[16]; /* prefixes are shared under equal salts only */
    uint64_t         tenant;   /* a hash: queues are fair among tenants */
    const int32_t   *eog;      /* tokens that end a choice; borrowed */
    uint32_t         n_eog;
    int      prompt_logprobs; /* `echo` with logprobs: of prompt tokens */
    uint64_t queue_ns;        /* CLOCK_MONOTONIC deadlines, 0: none: to be */
    uint64_t first_ns;        /* ... running, to have a first token, */
    uint64_t done_ns;         /* ... to be done */

    /*
     * What the output must be, or NULL; the scheduler holds it for itself.  A
     * choice ends (STOP) when nothing can come any more.  After think_budget
     * tokens of reasoning (grammar_state_thinking(); a budget of 0 allows
     * none) the tokens of think_end are forced; n_think_end 0: no budget.
     */
    grammar_t     *grammar;
    uint32_t       think_budget;
    const int32_t *think_end; /* borrowed until GONE */
    uint32_t       n_think_end;

    void *data; /* the caller's */

    void    *priv; /* the scheduler's */
    uint32_t priv_gen;
} sched_group_t;

enum {
    SCHED_EV_START = 1, /* the group's first prefill begins: cached is known */
    SCHED_EV_PROMPT,    /* a prompt token, its logprob (prompt_logprobs): once
                           a group; the first one has none, sampled is NULL */
    SCHED_EV_TOKEN,     /* a choice got a token */
    SCHED_EV_FINISH,    /* a choice is done: reason */
    SCHED_EV_GONE       /* the group is the caller's again */
};

enum {
    SCHED_STOP = 1,  /* an end-of-generation token (it was an EV_TOKEN too) */
    SCHED_LENGTH,    /* max_tokens, or the context is full */
    SCHED_STOPPED,   /* sched_stop() */
    SCHED_CANCELLED, /* sched_cancel(), or the scheduler ends */
    SCHED_QUEUE_TIMEOUT,
    SCHED_FIRST_TIMEOUT,
    SCHED_DONE_TIMEOUT,
    SCHED_GRAMMAR, /* its grammar went beyond its limits; the log says which */
    SCHED_FAILED   /* the backend failed, and the whole group with it; or, of
                    one choice, no token could be drawn; the log says why */
};

typedef struct {
    int            kind;
    sched_group_t *group;
    uint32_t       choice;
    int32_t        token;
    uint32_t       index;  /* of the token in its choice (or in the prompt) */
    int            reason; /* FINISH */
    uint32_t       cached; /* START: prompt tokens taken from the cache */
    uint64_t       now_ns; /* CLOCK_MONOTONIC */
    const k_sampled_t *sampled; /* logprobs, if asked for; valid in the call */
} sched_event_t;

typedef struct {
    uint32_t max_seqs;  /* running at once */
    uint32_t max_rows;  /* of a step */
    uint32_t chunk;     /* prefill rows of a step while others decode */
    uint32_t max_queue; /* groups waiting */
    void (*events)(void *data, const sched_event_t *ev, uint32_t n);
    void *data;
    uint64_t (*now)(void *data); /* clock in ns; NULL: CLOCK_MONOTONIC */

    /* A step was -EIO: the device is gone, for all models; or NULL. */
    void (*device_lost)(void *data);

    /*
     * Masks of grammars: threads that make them during the forward pass (0:
     * the loop does it, after it), and how long the loop waits after it for
     * those in work, at most; whose mask is late draws in a later step.
     */
    uint32_t mask_threads;
    uint32_t mask_wait_us;
} sched_config_t;

typedef struct {
    uint64_t steps;
    uint32_t running; /* sequences */
    uint32_t waiting; /* groups in the queues */
    uint32_t paused;
    uint64_t pages;      /* of all models */
    uint64_t pages_free; /* free or holding only cached prefixes */
    uint64_t prompt_tokens;
    uint64_t generated_tokens;
    uint64_t prefix_queries; /* tokens */
    uint64_t prefix_hits;    /* tokens */
    uint64_t preemptions;
    uint64_t busy_ns;   /* spent in steps */
    uint32_t rows_last; /* of the last step */

    /* Grammars. */
    uint64_t masks;   /* made */
    uint64_t mask_us; /* that it took, all together */
    uint64_t mask_max_us;
    uint64_t masks_late; /* draws put off for want of a mask */
    uint64_t forced;     /* tokens that were not drawn */
    uint64_t redrawn;    /* in free text, as the grammar refused the first */
} sched_stats_t;


int sched_new(const sched_config_t *config, sched_t **sched);

/* Starts the loop's thread; or, for tests, run single steps by hand. */
int sched_start(sched_t *sched);
int sched_step(sched_t *sched); /* 1: did something, 0: idle, -errno */

/*
 * Ends the loop; every group gets FINISH (cancelled) and GONE.  Frees the
 * scheduler: nobody else may be calling it.
 */
void sched_end(sched_t *sched);

/*
 * Adds a model (from a loader thread); takes no ownership.  _remove() lets the
 * running sequences end, refuses new ones, and calls gone(data), from the
 * step loop's thread, when nothing uses the model any more; the handle is dead
 * then.
 */
int  sched_model_add(sched_t *sched, model_t *model, sched_model_t **handle);
void sched_model_remove(sched_t *sched, sched_model_t  *handle,
                        void (*gone)(void *data), void *data);

/*
 * 0; -EAGAIN: the queue is full (max_queue groups wait beyond those that find
 * a free place); -E2BIG: prompt + 1 tokens do not fit the model's context or
 * its KV pool; -EINVAL: a count, a token id or a sampling parameter is out of
 * range (1 to 128 choices); -ENOMEM; -ESHUTDOWN: the model is being removed.
 * The group is the scheduler's only if 0.  max_tokens may be more than the
 * context or the pool has left: then they bound the output.
 */
int sched_submit(sched_t *sched, sched_group_t *group);

/* All choices, in queue, prefill or decode: gone within one step. */
void sched_cancel(sched_t *sched, sched_group_t *group);

/* One choice has its end (a stop string was seen): FINISH with STOPPED. */
void sched_stop(sched_t *sched, sched_group_t *group, uint32_t choice);

/* A slow reader: its sequences get no rows until resumed; may be evicted. */
void sched_pause(sched_t *sched, sched_group_t *group);
void sched_resume(sched_t *sched, sched_group_t *group);

void sched_stats(sched_t *sched, sched_stats_t *stats);

#endif /* LLM_SCHED_SCHED_H */
