/*
 * The NGINX module's own header: its configuration, its one connection per
 * worker and engine, and its requests.
 *
 * Everything here belongs to one worker process and its only thread, but the
 * counters of ngx_http_llm_stats_t, which all workers share.  Configuration
 * lives in the cycle's pool, a request's context in the request's pool, slot
 * tables on the heap for as long as their connection.
 *
 * What holds always:
 *  - no request is known to the engine but by (slot, gen); the table that
 *    leads back is private to the worker;
 *  - a request in flight has a timer that is not cancelable, so that a worker
 *    that shuts down waits for it; all other timers are cancelable;
 *  - records are read and acted upon in ngx_http_llm_engine_turn() only, and
 *    no request is finalized while the ring is being read;
 *  - what was written to a ring is published at the end of the event loop's
 *    turn, with at most one doorbell.
 */

#ifndef NGX_HTTP_LLM_MODULE_H
#define NGX_HTTP_LLM_MODULE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <nginx.h>

#include "engine/ipc/conn.h"
#include "ngx_module/ngx_http_llm_state.h"


#define NGX_HTTP_LLM_SOCKET       "unix:/run/ngx-llm/engine.sock"
#define NGX_HTTP_LLM_RESPONSE_MAX (64 * 1024 * 1024)
#define NGX_HTTP_LLM_BUF_SIZE     4096
#define NGX_HTTP_LLM_BUF_MAX      (256 * 1024)
#define NGX_HTTP_LLM_SLOTS_MAX    65536
#define NGX_HTTP_LLM_DEATHS       3


typedef struct ngx_http_llm_engine_s ngx_http_llm_engine_t;
typedef struct ngx_http_llm_ctx_s    ngx_http_llm_ctx_t;


/* Where in the configuration something stands, for errors found later. */

typedef struct {
    u_char    *file;
    ngx_uint_t line;
} ngx_http_llm_place_t;


typedef struct {
    ngx_str_t              name;
    ngx_str_t              weights;
    ngx_array_t            names; /* ngx_str_t: further names */
    ngx_uint_t             context;
    ngx_str_t              quant;       /* "q8_0", "q4_k", or "" */
    ngx_str_t              tool_format; /* or "": by the chat template */
    ngx_str_t              engine_name;
    ngx_http_llm_engine_t *engine;
    ngx_http_llm_place_t   place;

    /* as the engine last said, in this worker */
    ngx_uint_t state;    /* NGX_HTTP_LLM_STATE_* */
    ngx_uint_t progress; /* thousandths */
    ngx_str_t  error;
    u_char     error_data[NGX_HTTP_LLM_STATE_ERROR_MAX];
    unsigned   serving : 1;
} ngx_http_llm_model_t;


/* An error of ours: static, never changed. */

typedef struct {
    ngx_uint_t  status;
    const char *type;
    const char *code; /* NULL: null */
    const char *message;
    ngx_uint_t  retry_ms; /* 0: no Retry-After */
    ngx_uint_t  no_retry;
    ngx_uint_t  stat;    /* NGX_HTTP_LLM_STAT_*, 0: none */
    const char *aborted; /* $llm_aborted; NULL: empty */
} ngx_http_llm_error_t;

extern const ngx_http_llm_error_t ngx_http_llm_err_unknown_url;
extern const ngx_http_llm_error_t ngx_http_llm_err_method;
extern const ngx_http_llm_error_t ngx_http_llm_err_unavailable;
extern const ngx_http_llm_error_t ngx_http_llm_err_loading;
extern const ngx_http_llm_error_t ngx_http_llm_err_overloaded;
extern const ngx_http_llm_error_t ngx_http_llm_err_queue_timeout;
extern const ngx_http_llm_error_t ngx_http_llm_err_first_timeout;
extern const ngx_http_llm_error_t ngx_http_llm_err_request_timeout;
extern const ngx_http_llm_error_t ngx_http_llm_err_shutdown;
extern const ngx_http_llm_error_t ngx_http_llm_err_lost;
extern const ngx_http_llm_error_t ngx_http_llm_err_failed;
extern const ngx_http_llm_error_t ngx_http_llm_err_no_answer;
extern const ngx_http_llm_error_t ngx_http_llm_err_too_large;
extern const ngx_http_llm_error_t ngx_http_llm_err_body;


typedef struct {
    ngx_http_llm_ctx_t *ctx;    /* NULL: nobody waits for it any more */
    uint64_t            credit; /* bytes of DATA that may still come */
    uint32_t            gen;
    uint32_t            next;     /* of the free list, or of the cancel list */
    unsigned            busy : 1; /* from SUBMIT to END */
    unsigned            admitted : 1;
    unsigned            head : 1;
} ngx_http_llm_slot_t;


enum {
    NGX_HTTP_LLM_DOWN = 0, /* the timer connects again */
    NGX_HTTP_LLM_ASKED,    /* HELLO is out, the timer bounds the wait */
    NGX_HTTP_LLM_UP
};

struct ngx_http_llm_engine_s {
    ngx_str_t            name;
    ngx_str_t            path; /* of the socket, with a NUL behind */
    size_t               submit_ring;
    size_t               complete_ring;
    ngx_uint_t           queue_max;
    ngx_msec_t           stall_timeout;
    ngx_str_t            manifest;
    ngx_array_t          models; /* ngx_http_llm_model_t * */
    ngx_http_llm_place_t place;

    /* this worker's connection */
    ngx_uint_t        state;
    llm_ipc_t         ipc;
    ngx_connection_t *sock;
    ngx_connection_t *bell;
    ngx_event_t       timer; /* connect again, or the wait for HELLO */
    ngx_event_t       watch; /* stall, while there are requests */
    ngx_event_t       turn;  /* posted: there is something to do */
    ngx_log_t        *log;
    ngx_msec_t        pause;     /* before the next attempt */
    int               complaint; /* that stands in the log: -errno, or 0 */
    size_t            manifest_sent;
    u_char           *state_buf; /* MODEL_STATE, as far as it came */
    size_t            state_len;
    uint64_t          steps; /* the step counter, as last seen */
    ngx_msec_t        steps_time;

    ngx_http_llm_slot_t *slots;
    uint32_t             slots_n;
    uint32_t             free;   /* list of free slots */
    uint32_t             cancel; /* list of slots whose CANCEL did not fit */
    uint32_t             gen;

    ngx_queue_t waiting; /* requests not yet submitted, in order */
    ngx_uint_t  waiting_n;
    ngx_queue_t active;  /* requests with a slot */
    ngx_queue_t sending; /* those of them whose body is not yet sent */
    ngx_queue_t dirty;   /* those with something for the client */

    unsigned started : 1;
    unsigned broken : 1;  /* the next turn gives the connection up */
    unsigned states : 1;  /* MODEL_STATE came */
    unsigned credits : 1; /* a CREDIT did not fit */
    unsigned in_turn : 1;
};


/* Shared by all workers, kept over a reload. */

enum {
    NGX_HTTP_LLM_STAT_NONE = 0,
    NGX_HTTP_LLM_STAT_REJ_UNAVAILABLE,
    NGX_HTTP_LLM_STAT_REJ_LOADING,
    NGX_HTTP_LLM_STAT_REJ_OVERLOADED,
    NGX_HTTP_LLM_STAT_ABORT_WAIT,
    NGX_HTTP_LLM_STAT_ABORT_QUEUE,
    NGX_HTTP_LLM_STAT_ABORT_PREFILL,
    NGX_HTTP_LLM_STAT_ABORT_DECODE,
    NGX_HTTP_LLM_STAT_TIMEOUTS,
    NGX_HTTP_LLM_STAT_RESUBMITTED,
    NGX_HTTP_LLM_STAT_DEATHS,
    NGX_HTTP_LLM_STAT_RING_FULL,
    NGX_HTTP_LLM_STAT_STALLS,
    NGX_HTTP_LLM_STAT_PINGS,
    NGX_HTTP_LLM_STAT_MAX
};

#define NGX_HTTP_LLM_STATUSES 20 /* see ngx_http_llm_metrics.c */

typedef struct {
    ngx_atomic_t stat[NGX_HTTP_LLM_STAT_MAX];
    ngx_atomic_t requests[LLM_OP_MAX][NGX_HTTP_LLM_STATUSES];
} ngx_http_llm_stats_t;


typedef struct {
    ngx_array_t     engines; /* ngx_http_llm_engine_t * */
    ngx_array_t     models;  /* ngx_http_llm_model_t * */
    ngx_array_t     places;  /* ngx_http_llm_loc_conf_t *, to be resolved */
    ngx_msec_t      stall_timeout;
    ngx_int_t       request_id; /* index of $request_id */
    ngx_shm_zone_t *zone;
    ngx_event_t     shutdown; /* just before worker_shutdown_timeout */
} ngx_http_llm_main_conf_t;


enum {
    NGX_HTTP_LLM_NO_HANDLER = 0,
    NGX_HTTP_LLM_PASS,
    NGX_HTTP_LLM_HEALTH_LIVE,
    NGX_HTTP_LLM_HEALTH_READY,
    NGX_HTTP_LLM_METRICS
};

enum {
    NGX_HTTP_LLM_CORS_OFF = 0,
    NGX_HTTP_LLM_CORS_ANY,
    NGX_HTTP_LLM_CORS_LIST
};

typedef struct {
    ngx_uint_t             handler; /* NGX_HTTP_LLM_*: not inherited */
    ngx_str_t              param;   /* of llm_pass or llm_metrics */
    ngx_http_llm_place_t   place;
    ngx_http_llm_engine_t *engine;     /* NULL: health */
    ngx_http_llm_model_t  *model;      /* forced, or NULL */
    ngx_str_t              model_name; /* forced, as written */

    ngx_msec_t                connect_timeout;
    ngx_msec_t                queue_timeout;
    ngx_msec_t                first_token_timeout;
    ngx_msec_t                request_timeout;
    ngx_msec_t                ping_interval;
    size_t                    buffer_size;
    ngx_flag_t                ignore_client_abort;
    ngx_flag_t                intercept_errors;
    ngx_http_complex_value_t *tenant;
    ngx_http_complex_value_t *cache_salt;
    ngx_uint_t                cors;         /* NGX_HTTP_LLM_CORS_* */
    ngx_array_t              *cors_origins; /* ngx_str_t */
    ngx_flag_t                cors_same;
} ngx_http_llm_loc_conf_t;


struct ngx_http_llm_ctx_s {
    ngx_queue_t queue;   /* engine's waiting or active */
    ngx_queue_t sending; /* linked if body_sending */
    ngx_queue_t dirty;   /* linked if is_dirty */

    ngx_http_request_t      *request;
    ngx_http_llm_loc_conf_t *conf;
    ngx_http_llm_engine_t   *engine;
    ngx_event_t              timer;

    ngx_uint_t op;    /* LLM_OP_* */
    ngx_str_t  model; /* forced, or the argument of models */
    ngx_str_t  tenant;
    ngx_str_t  salt;
    ngx_str_t  request_id;
    u_char     id[32];
    uint64_t   seed;
    time_t     created;

    /* the request's body: a cursor, the chain itself is not touched */
    off_t        body_len;
    off_t        body_left;
    ngx_chain_t *body;
    off_t        body_off;

    uint32_t   slot;
    uint32_t   gen;
    ngx_uint_t deaths;

    ngx_msec_t start;   /* the body was whole */
    ngx_msec_t connect; /* when the wait for the engine began */
    ngx_msec_t first;   /* first DATA */
    ngx_msec_t last;    /* last time that something went to the client */

    llm_head_t  head;
    llm_admit_t admit;
    llm_end_t   end;
    ngx_str_t   answering; /* the model that answers */
    ngx_str_t   asked;
    ngx_str_t   user;
    ngx_str_t   error_type;
    const char *aborted;

    const ngx_http_llm_error_t *error;   /* to be told to the client */
    ngx_str_t                   message; /* instead of its own */

    ngx_chain_t *out; /* received, not yet passed on */
    ngx_chain_t *out_last;
    ngx_chain_t *busy;
    ngx_chain_t *free;
    size_t       held; /* bytes of DATA in out and busy */
    uint32_t     give; /* credit not yet given back */
    off_t        total;

    unsigned waiting : 1;   /* in engine->waiting */
    unsigned submitted : 1; /* has a slot; in engine->active */
    unsigned body_sending : 1;
    unsigned is_dirty : 1;
    unsigned attached : 1; /* from start to the finalizing */
    unsigned admitted : 1;
    unsigned headed : 1;
    unsigned ended : 1;
    unsigned stream : 1;
    unsigned boundary : 1;   /* the last byte ended an event */
    unsigned passed : 1;     /* DATA went to the client */
    unsigned early : 1;      /* the header goes out before HEAD */
    unsigned late_error : 1; /* an error's JSON for a started stream */
    unsigned flush_pending : 1;
};


extern ngx_module_t ngx_http_llm_module;
extern ngx_module_t ngx_http_llm_filter_module;


/* ngx_http_llm_config.c */
char *ngx_http_llm_engine_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_llm_model_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_llm_cors_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
void  ngx_http_llm_place(ngx_conf_t *cf, ngx_http_llm_place_t *place);

/* ngx_http_llm_resolve.c; _find(): NULL if there is none */
ngx_http_llm_engine_t *ngx_http_llm_engine_find(ngx_http_llm_main_conf_t *lmcf,
                                                ngx_str_t                *name);
ngx_http_llm_model_t  *ngx_http_llm_model_find(ngx_http_llm_main_conf_t *lmcf,
                                               ngx_str_t                *name);
ngx_int_t              ngx_http_llm_resolve(ngx_conf_t *cf);
void ngx_http_llm_warn(ngx_conf_t *cf, ngx_http_llm_loc_conf_t *llcf);

/* ngx_http_llm_engine.c */
void ngx_http_llm_engine_start(ngx_http_llm_engine_t *e, ngx_cycle_t *cycle);
void ngx_http_llm_engine_stop(ngx_http_llm_engine_t *e);
void ngx_http_llm_engine_wake(ngx_http_llm_engine_t *e);
void ngx_http_llm_engine_broken(ngx_http_llm_engine_t *e, const char *what);
void ngx_http_llm_engine_watch(ngx_http_llm_engine_t *e);
ngx_msec_t ngx_http_llm_engine_heartbeat_age(ngx_http_llm_engine_t *e);
void       ngx_http_llm_shutdown_begin(void);

/* ngx_http_llm_submit.c */
ngx_int_t            ngx_http_llm_slots_create(ngx_http_llm_engine_t *e);
void                 ngx_http_llm_slots_destroy(ngx_http_llm_engine_t *e);
ngx_http_llm_slot_t *ngx_http_llm_slot_find(ngx_http_llm_engine_t *e,
                                            uint32_t slot, uint32_t gen);
void ngx_http_llm_slot_free(ngx_http_llm_engine_t *e, uint32_t slot);
const ngx_http_llm_error_t *ngx_http_llm_usable(ngx_http_llm_ctx_t *ctx);
const ngx_http_llm_error_t *ngx_http_llm_enqueue(ngx_http_llm_ctx_t *ctx);
void                        ngx_http_llm_requeue(ngx_http_llm_ctx_t *ctx);
ngx_int_t                   ngx_http_llm_feed(ngx_http_llm_engine_t *e);
void ngx_http_llm_credit(ngx_http_llm_ctx_t *ctx, size_t bytes);
void ngx_http_llm_release(ngx_http_llm_ctx_t *ctx);

/* ngx_http_llm_record.c */
ngx_int_t ngx_http_llm_drain(ngx_http_llm_engine_t *e);

/* ngx_http_llm_handler.c */
ngx_int_t ngx_http_llm_pass_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_llm_metrics_start(ngx_http_request_t *r);

/* ngx_http_llm_request.c */
ngx_http_llm_ctx_t *ngx_http_llm_ctx_create(ngx_http_request_t *r,
                                            ngx_uint_t          op);
ngx_http_llm_ctx_t *ngx_http_llm_ctx(ngx_http_request_t *r);
void                ngx_http_llm_start(ngx_http_llm_ctx_t *ctx);
void                ngx_http_llm_dirty(ngx_http_llm_ctx_t *ctx);
void                ngx_http_llm_dirty_run(ngx_http_llm_engine_t *e);
void                ngx_http_llm_timer_set(ngx_http_llm_ctx_t *ctx);
void                ngx_http_llm_lost(ngx_http_llm_ctx_t *ctx);
void                ngx_http_llm_detach(ngx_http_llm_ctx_t *ctx);
void ngx_http_llm_finalize(ngx_http_llm_ctx_t *ctx, ngx_int_t rc);
void ngx_http_llm_shutdown(ngx_http_llm_engine_t *e);

/* ngx_http_llm_stream.c */
ngx_int_t ngx_http_llm_append(ngx_http_llm_ctx_t *ctx, const u_char *p,
                              size_t n);
void      ngx_http_llm_forget(ngx_http_llm_ctx_t *ctx);
void      ngx_http_llm_pump(ngx_http_llm_ctx_t *ctx);
void      ngx_http_llm_answer(ngx_http_llm_ctx_t *ctx);
void      ngx_http_llm_write_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_llm_ping(ngx_http_llm_ctx_t *ctx);
ngx_int_t ngx_http_llm_header(ngx_http_request_t *r, const char *key,
                              ngx_str_t *value);
ngx_int_t ngx_http_llm_header_number(ngx_http_request_t *r, const char *key,
                                     ngx_uint_t n);
ngx_int_t ngx_http_llm_retry_headers(ngx_http_request_t *r, ngx_uint_t ms,
                                     ngx_uint_t no_retry);

/* ngx_http_llm_error.c */
ngx_int_t  ngx_http_llm_error_body(ngx_http_request_t *r, ngx_str_t *body,
                                   const char *type, const char *code,
                                   ngx_str_t *message);
ngx_int_t  ngx_http_llm_error_send(ngx_http_request_t         *r,
                                   const ngx_http_llm_error_t *error,
                                   ngx_str_t                  *message);
ngx_uint_t ngx_http_llm_error_intercepted(ngx_http_request_t *r,
                                          ngx_uint_t          status);
void       ngx_http_llm_fail(ngx_http_llm_ctx_t         *ctx,
                             const ngx_http_llm_error_t *error);
ngx_int_t  ngx_http_llm_core_error(ngx_http_request_t *r, ngx_uint_t status,
                                   ngx_str_t *body);
ngx_int_t  ngx_http_llm_error_note(ngx_http_request_t *r, const char *type);
ngx_int_t  ngx_http_llm_send(ngx_http_request_t *r, ngx_uint_t status,
                             const char *type, ngx_chain_t *out);

/* ngx_http_llm_health.c, ngx_http_llm_metrics.c */
ngx_int_t ngx_http_llm_health_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_llm_metrics_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_llm_metrics_text(ngx_http_request_t *r, ngx_chain_t **out);
void      ngx_http_llm_metrics_send(ngx_http_request_t *r, ngx_chain_t *rest);
ngx_int_t ngx_http_llm_stats_init(ngx_conf_t               *cf,
                                  ngx_http_llm_main_conf_t *lmcf);
void      ngx_http_llm_stat(ngx_uint_t stat);
ngx_int_t ngx_http_llm_log_handler(ngx_http_request_t *r);

/* ngx_http_llm_cors.c */
ngx_int_t ngx_http_llm_cors_preflight(ngx_http_request_t *r);
ngx_int_t ngx_http_llm_cors_headers(ngx_http_request_t      *r,
                                    ngx_http_llm_loc_conf_t *llcf);

/* ngx_http_llm_variables.c */
ngx_int_t                ngx_http_llm_variables_add(ngx_conf_t *cf);
extern const char *const ngx_http_llm_op_names[LLM_OP_MAX];

#endif /* NGX_HTTP_LLM_MODULE_H */
