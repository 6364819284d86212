/*
 * The life of a request, from SUBMIT to END: the types that the files of this
 * room share.
 *
 * THREADS.  The io thread owns connections, requests, rings and the registry's
 * changes; it also is the back thread: it turns the step loop's events into
 * text and bytes.  Front threads parse bodies and make prompts: a request in
 * PHASE_FRONT belongs to its front thread but for `cancelled`; if it needs a
 * grammar that nobody has made yet, a grammar thread takes it over.  Loader
 * threads load models.  The step loop's thread only appends to the event queue, and
 * waits there when the io thread is far behind.
 * Whatever another thread has for the io thread goes into the mailbox.
 *
 *     SUBMIT, BODY  ->  PHASE_BODY    (io: its body is coming)
 *                       PHASE_FRONT   (front: JSON, template, tokens; then
 *                                      perhaps: its grammar)
 *                       PHASE_PARKED  (io: its model is loading)
 *                       PHASE_GO      (io: ADMIT sent, GO awaited)
 *                       PHASE_RUN     (step loop has its groups)
 *                       PHASE_END     (io: all is written, END follows)
 *
 * A request lives until its END is in the ring (or its connection is gone)
 * and no group of it is the step loop's.  In PHASE_BODY, _PARKED and _GO it
 * stands in serve_t's list of those that wait, which is looked through for
 * what is overdue.
 */

#ifndef LLM_SERVE_SERVE_H
#define LLM_SERVE_SERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include "engine/api/api.h"
#include "engine/chat/format.h"
#include "engine/chat/template.h"
#include "engine/ipc/conn.h"
#include "engine/ipc/record.h"
#include "engine/sched/sched.h"
#include "engine/serve/defaults.h"
#include "engine/serve/vocab.h"

/* epoll's data: a pointer to a connection, bit 0: its socket; or this. */
#define SERVE_FD(fd) ((uint64_t) (uint32_t) (fd) << 2 | 2)

#define SERVE_CONNS_MAX     256
#define SERVE_FRONTS_MAX    8
#define SERVE_GRAMMARS_MAX  16  /* threads */
#define SERVE_GRAMMARS_WAIT 256 /* requests that may wait for them */
#define SERVE_NAMES_MAX     64
#define SERVE_BODY_MAX      (64u << 20)  /* of one request */
#define SERVE_BODIES_MAX    (512u << 20) /* of all that are not tokens yet */
/* Text waiting beyond a request's credit before its sequences are paused. */
#define SERVE_PAUSE_AT 16384

typedef struct serve_s   serve_t;
typedef struct conn_s    conn_t;
typedef struct req_s     req_t;
typedef struct version_s version_t;


typedef enum {
    SERVE_BACKEND_AUTO = 0,
    SERVE_BACKEND_CUDA,
    SERVE_BACKEND_CPU
} serve_backend_t;

#define SERVE_SECCOMP_AUTO 2 /* on, but with a GPU */

/* What ngx-llm-engine was started with; 0 of a size: the backend's default. */

typedef struct {
    const char     *socket;
    mode_t          socket_mode;
    const char     *model_root;
    const char     *manifest;
    serve_backend_t backend;
    int             device;
    int             kv_f8;
    uint64_t        memory;
    uint64_t        kv; /* bytes of KV pages of each model; 0: a share */
    uint32_t        threads;
    k_isa_t         isa;
    k_act_mode_t    act;
    int             null_model;
    uint32_t        linger_ms;
    uint32_t        queue;
    uint32_t        batch;  /* sequences at once */
    uint32_t        rows;   /* of a step */
    uint32_t        logits; /* rows of a step whose logits are wanted */
    uint32_t        chunk;
    uint32_t        fronts;
    uint32_t        load_wait_ms;
    uint32_t        mask_threads;
    uint32_t        mask_wait_us;
    uint32_t        grammar_threads;
    uint32_t        grammar_ms;     /* to compile one, at most */
    uint64_t        grammar_memory; /* of one, at most */
    int             seccomp;
} serve_options_t;


/* A chat template, and what its source says of calls and thoughts. */

typedef struct {
    chat_template_t *template;
    const chat_format_t *format; /* NULL: there is no template */
    unsigned             shows_tools : 1;
    unsigned             reasons : 1;
    unsigned             effort : 1;   /* it reads reasoning_effort */
    unsigned             id_short : 1; /* ids of calls: nine letters, digits */
} dialog_t;


/* A loaded (or loading) weight file or folder with its options: models.c. */

enum { VERSION_LOADING = 0, VERSION_READY, VERSION_FAILED };

struct version_s {
    version_t           *next;
    version_t           *mail_next;
    char                *weights;   /* as in the manifest */
    uint8_t              ident[16]; /* of its file, or its folder's files */
    uint64_t             size;      /* bytes of weights */
    int                  fd;   /* the file, open until loaded; -1: a folder */
    int                  root; /* the same of --model-root, for a folder */
    char                *path; /* of the folder, below it */
    uint32_t             context;
    quant_t              quant;
    const chat_format_t *format; /* the operator's; NULL: the template's */
    atomic_int           state;
    atomic_uint          progress; /* 0..1000 */
    char                 error[K_ERR_MAX];
    int64_t              created;
    model_t             *model;
    vocab_t              vocab;
    grammar_vocab_t     *grammars; /* the same as grammars see it */
    defaults_t           defaults;
    dialog_t             dialog;
    dialog_t             dialog_tools; /* for requests with tools, or none */
    char                 template_error[256];
    sched_model_t       *handle;
    char                 fingerprint[36]; /* "fp_" and hexadecimal */
    uint32_t             named;           /* connections that want it */
    atomic_uint          refs;            /* requests, names, its loader */
    uint64_t             linger_ns;       /* when it goes, if nobody names it */
    int                  removing;
    atomic_int           gone; /* the step loop has let go of it */
    serve_t             *serve;
};


/* A name of a connection's manifest. */

typedef struct {
    char      *name;
    char      *names[SERVE_NAMES_MAX];
    uint32_t   n_names;
    version_t *wanted;  /* NULL: could not be opened, see error */
    version_t *serving; /* NULL: none yet */
    char       error[K_ERR_MAX];
} entry_t;


struct conn_s {
    conn_t   *next;
    serve_t  *serve;
    llm_ipc_t ipc;
    int       connected;
    int       dead;
    int       again; /* its turn ended with records unread */
    uint64_t  since_ns;
    uint32_t  number; /* for the log */
    req_t   **slots;  /* [serve->slots] */
    uint32_t *gens;   /* [serve->slots] the last used */
    uint32_t  in_flight;
    uint32_t  fronts;   /* requests that front threads have */
    req_t    *out_head; /* requests with something to send, in turn */
    req_t   **out_tail;
    buf_t     manifest;
    entry_t  *entries;
    uint32_t  n_entries;
    int       has_manifest;
    buf_t     state; /* MODEL_STATE, not yet sent from state_sent on */
    size_t    state_sent;
    int       state_due;
    int       ring_due; /* the peer's doorbell is to be rung */
};


enum {
    PHASE_BODY = 1,
    PHASE_FRONT,
    PHASE_PARKED,
    PHASE_GO,
    PHASE_RUN,
    PHASE_END
};


/* A choice's way from tokens to text: back.c. */

typedef struct {
    text_detok_t detok;
    buf_t        held;     /* text that may yet become a stop string */
    size_t       released; /* bytes of text given to the writer, ever */
    gen_token_t *tokens;   /* waiting for their text (logprobs) */
    size_t      *ends;     /* where each one's text ends */
    uint32_t     n_tokens;
    uint32_t     cap_tokens;
    size_t       noted; /* end of the last one that went out */
    int32_t     *ids;   /* all that were generated */
    uint32_t     cap_ids;
    uint32_t     generated;
    uint32_t     prompt_seen; /* echo with logprobs: tokens shown */
    int          finished;

    /* Parts: parts.c. */
    req_t         *req;
    chat_parser_t *parser;   /* NULL: all text is content */
    buf_t          fresh;    /* a token's text, on its way */
    size_t         fed;      /* bytes of text that there were, ever */
    uint32_t       n_placed; /* of tokens[]: `ends` are places in the content;
                              * of the others, in the text */
    size_t         last_end; /* in the text: of the last one placed */
    size_t        *pending;  /* where tokens end whose part is not known */
    uint32_t       n_pending;
    uint32_t       cap_pending;
    int            stopped; /* its stop string was seen */
    int            echo;    /* the prompt's text */
} choice_t;


/* One prompt of a request: what the scheduler gets. */

typedef struct {
    sched_group_t group;
    req_t        *req;
    uint32_t      first_choice;
    int32_t      *tokens;
    int           submitted;
    int           gone;
} prompt_t;


/* A run of bytes of `out` with the tokens that made it. */

typedef struct {
    uint32_t choice;
    uint32_t token_first;
    uint32_t n_tokens;
    uint32_t n_bytes;
} seg_t;


struct req_s {
    req_t     *next;      /* mailbox, queue of the fronts */
    req_t     *wait_next; /* serve->waits */
    req_t     *wait_prev;
    req_t     *out_next; /* conn's list of those with output */
    conn_t    *owner;    /* for the fronts: the same, never NULL */
    conn_t    *conn;     /* NULL once the connection is gone */
    serve_t   *serve;
    uint32_t   slot;
    uint32_t   gen;
    int        phase;
    atomic_int cancelled;
    int        in_out;
    int        in_waits;
    int        counted; /* in serve->waiting */
    uint64_t   held;    /* of serve->bodies */

    llm_submit_t submit;
    char         strings[LLM_REC_SUBMIT_BUF];
    str_t        model_arg;
    str_t        tenant;
    str_t        salt;
    str_t        request_id;
    buf_t        body;
    uint64_t     arrived_ns;
    uint64_t     parked_ns; /* until when */

    /* Front's results. */
    gen_request_t   request;
    int             has_request;
    gen_error_t     error;
    int             rc; /* 0, -EAGAIN: its model is loading, or error */
    version_t      *version;
    str_t           model_name;
    char            model_buf[MODEL_NAME_MAX];
    api_writer_t   *writer;
    gen_identity_t  identity;
    char            id[33];
    prompt_t       *prompts;
    uint32_t        n_prompts;
    k_bias_t       *bias;
    grammar_t      *grammar;     /* held; NULL: none */
    buf_t           grammar_key; /* all that it is made of */
    int32_t        *think_end;   /* what ends a thought */
    uint32_t        n_think_end;
    buf_t           reply;     /* TOKENIZE and the like: the whole body */
    const dialog_t *dialog;    /* of the template that made the prompt */
    int             prompt_at; /* CHAT_AT_*: where the prompt leaves off */
    chat_parse_t    parse;     /* how the answer is read; format NULL: as is */
    uint32_t        prompt_tokens;
    uint32_t        max_tokens;  /* of a choice, of the longest */
    uint32_t        most_tokens; /* of all choices together */

    /* Back. */
    choice_t   *choices;
    uint32_t    n_choices;
    uint32_t    n_finished;
    uint32_t    groups; /* the step loop's */
    int         finish; /* of choice 0 */
    uint32_t    n_calls;
    int         outcome;
    gen_usage_t usage;
    uint64_t    start_ns;
    uint64_t    first_ns;
    uint64_t    last_ns;

    /* To the ring. */
    int      need_admit;
    int      need_head;
    int      need_end;
    int      head_sent;
    int      status;
    int      kind; /* LLM_KIND_* */
    buf_t    out;
    size_t   out_sent;
    seg_t   *segs;
    uint32_t n_segs;
    uint32_t cap_segs;
    uint32_t seg_first;
    uint32_t seg_sent; /* bytes of the first segment that went */
    uint64_t credit;
    int      paused;
};


/* A step's event, kept until the io thread gets to it: back.c. */

typedef struct {
    sched_event_t ev;
    int           has_sampled;
    k_sampled_t   sampled;
} back_event_t;


/* Latencies and sizes in vLLM's buckets: metrics.c. */

#define METRICS_BUCKETS_MAX 24

typedef struct {
    const double *bounds;
    uint32_t      n;
    uint64_t      counts[METRICS_BUCKETS_MAX + 1];
    double        sum;
} hist_t;

typedef struct {
    uint64_t finished[8]; /* by LLM_FINISH_*; 6: abort, 7: error */
    hist_t   ttft;
    hist_t   itl;
    hist_t   e2e;
    hist_t   queue;
    hist_t   prefill;
    hist_t   decode;
    hist_t   inference;
    hist_t   prompt;
    hist_t   generation;
    hist_t   params_n;
    hist_t   params_max;
} metrics_t;


struct serve_s {
    serve_options_t        opt;
    const k_backend_ops_t *ops;
    k_backend_t           *be;
    sched_t               *sched;
    uint32_t               slots;
    uint64_t               boot;
    uint32_t               conn_number;

    int        epoll;
    int        listen;
    int        wake; /* eventfd of the mailbox */
    int        signals;
    atomic_int stopping;
    uint64_t   deaf_ns; /* no accept() until then: descriptors ran out */
    int        again;   /* a connection's turn ended early */

    conn_t  *conns;
    uint32_t n_conns;
    req_t   *waits;   /* those that no thread has */
    uint32_t waiting; /* requests before the step loop has them */
    uint32_t live;    /* req_t in existence */
    uint64_t bodies;  /* bytes of bodies, as announced */

    /* The mailbox: anything for the io thread. */
    pthread_mutex_t mail_lock;
    pthread_cond_t  events_cond; /* the step loop waits for room */
    int             events_free; /* it must not: the io thread ends */
    req_t          *mail;        /* fronts are done with these */
    version_t      *mail_loaded;
    back_event_t   *events;
    uint32_t        n_events;
    uint32_t        cap_events;
    back_event_t   *events_spare; /* the io thread's half */
    uint32_t        cap_spare;
    atomic_int      woken;

    /* Fronts. */
    pthread_mutex_t front_lock;
    pthread_cond_t  front_cond;
    req_t          *front_head;
    req_t         **front_tail;
    pthread_t       fronts[SERVE_FRONTS_MAX];
    uint32_t        n_fronts;
    atomic_int      front_stop;

    /* Grammars that are to be made: grammars.c. */
    pthread_mutex_t grammar_lock;
    pthread_cond_t  grammar_cond;
    req_t          *grammar_head;
    req_t         **grammar_tail;
    uint32_t        grammar_waiting;
    pthread_t       grammar_threads[SERVE_GRAMMARS_MAX];
    req_t          *grammar_now[SERVE_GRAMMARS_MAX]; /* what each works on */
    uint32_t        n_grammar_threads;
    int             grammar_stop;
    atomic_uint     grammars; /* requests in the queue or in work */
    atomic_uint     grammar_number;
    struct {
        _Atomic uint64_t made;
        _Atomic uint64_t refused;
        _Atomic uint64_t found; /* made before */
        _Atomic uint64_t ns;
    } grammar_stats;

    /* Models; the lock guards entries' serving pointers for the fronts. */
    pthread_mutex_t models_lock;
    version_t      *versions;
    conn_t          local;    /* the manifest of --manifest */
    uint64_t        state_ns; /* when loading was last told; 0: none loads */
    atomic_uint     loading;

    metrics_t metrics;
};


/* serve.c */
int  serve_run(const serve_options_t *opt);
void serve_wake(serve_t *s);

/* conn.c: connections and records in. */
void conn_accept(serve_t *s);
void conn_read(conn_t *c);
void conn_again(serve_t *s);
void conn_socket(conn_t *c);
void conn_kill(conn_t *c, const char *why, int rc);
void conn_sweep(serve_t *s);
void conn_tick(serve_t *s, uint64_t now_ns);

/* req.c: requests' life on the io thread. */
req_t *req_new(conn_t *c, uint32_t slot, uint32_t gen);
void   req_start(req_t *r);
void   req_body_done(req_t *r);
void   req_front_done(req_t *r);
void   req_go(req_t *r);
void   req_cancel(req_t *r);
void   req_fail(req_t *r);
void   req_finish(req_t *r);
void   req_release(req_t *r);
void   req_expire(serve_t *s, uint64_t now_ns);

/* send.c: requests' output into the ring. */
void send_bytes(req_t *r, uint32_t choice, uint32_t token_first,
                uint32_t n_tokens, size_t n_bytes);
void send_due(req_t *r);
void send_all(conn_t *c);
void send_flush(serve_t *s);
void send_forget(req_t *r);
void send_forget_all(conn_t *c);

/* front.c: on front threads. */
int  front_start(serve_t *s);
void front_stop(serve_t *s);
void front_push(serve_t *s, req_t *r);

/* grammars.c: on grammar threads. */
int  grammars_start(serve_t *s);
void grammars_stop(serve_t *s);
int  grammars_push(serve_t *s, req_t *r);

/* stop.c: stop strings in a choice's held text. */
int    stop_find(const req_t *r, const choice_t *c, size_t from, size_t *at);
size_t stop_hold(const req_t *r, const choice_t *c);

/* parts.c: a choice's text to the writer. */
int  parts_begin(req_t *r);
int  parts_feed(req_t *r, uint32_t choice, const char *s, size_t len);
int  parts_pending(choice_t *c);
int  parts_end(req_t *r, uint32_t choice);
void parts_free(choice_t *c);

/* back.c: events to bytes. */
void back_events(void *data, const sched_event_t *ev, uint32_t n);
void back_take(serve_t *s, const back_event_t *ev, uint32_t n);
int  back_begin(req_t *r);
void back_free(req_t *r);

/* manifest.c: what a connection's manifest says. */
int manifest_read(conn_t *c, const char *json, size_t len, char *err);

/* backend.c; also fills the options' sizes that are the backend's */
int serve_backend(serve_t *s);

/* models.c */
void     models_init(serve_t *s);
void     models_free(serve_t *s);
void     models_forget(conn_t *c);
void     models_enter(conn_t *c, entry_t *e, version_t *v);
void     models_entry_free(serve_t *s, entry_t *e);
entry_t *models_lookup(conn_t *c, str_t name);

const char *models_name(serve_t *s);

version_t *models_find(serve_t *s, conn_t *c, str_t name, char *primary,
                       int *known);
void       models_release(version_t *v);
void       models_loaded(version_t *v);
void       models_tick(serve_t *s, uint64_t now_ns);
void       models_state(conn_t *c, buf_t *out);
size_t     models_list(conn_t *c, api_model_t *list, size_t cap);

/* sandbox.c: few system calls from here on, for all threads. */
int sandbox_enter(void);

/* loader.c: on a loader thread. */
int loader_start(version_t *v);

/* metrics.c */
void metrics_init(metrics_t *m);
void metrics_request(serve_t *s, const req_t *r, uint64_t now_ns);
void metrics_token(metrics_t *m, double seconds);
void metrics_write(serve_t *s, buf_t *out);

#endif /* LLM_SERVE_SERVE_H */
