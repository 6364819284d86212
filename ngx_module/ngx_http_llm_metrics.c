/*
 * llm_metrics: Prometheus text.  First what the module counts, over all
 * workers, in a zone that outlives a reload; then, where the engine is up,
 * what it says of itself, as it says it.
 */

#include "ngx_module/ngx_http_llm_module.h"


#define NGX_HTTP_LLM_ZONE_SIZE (16 * ngx_pagesize)
#define NGX_HTTP_LLM_TEXT      "text/plain; version=0.0.4; charset=utf-8"


static ngx_int_t ngx_http_llm_zone_init(ngx_shm_zone_t *zone, void *data);
static u_char   *ngx_http_llm_metrics_head(u_char *p, const char *name,
                                           const char *type, const char *help);
static u_char   *ngx_http_llm_metrics_engines(u_char                   *p,
                                              ngx_http_llm_main_conf_t *lmcf);
static u_char   *ngx_http_llm_metrics_engine(u_char *p, ngx_uint_t which,
                                             ngx_http_llm_engine_t *e);
static u_char   *ngx_http_llm_metrics_stats(u_char *p);
static u_char   *ngx_http_llm_metrics_requests(u_char *p);


/* The zone's contents, found without a configuration; one per process. */

static ngx_http_llm_stats_t *ngx_http_llm_stats;


/* Statuses with a label of their own; all others are "other", the last. */

static const ngx_uint_t ngx_http_llm_statuses[NGX_HTTP_LLM_STATUSES] = {
    200, 204, 400, 401, 403, 404, 405, 408, 409, 413,
    415, 422, 429, 499, 500, 502, 503, 504, 301, 0};


typedef struct {
    const char *name;
    const char *label; /* with its value; NULL: none */
    const char *help;  /* NULL: another label of the one before */
} ngx_http_llm_stat_name_t;

static const ngx_http_llm_stat_name_t
    ngx_http_llm_stat_names[NGX_HTTP_LLM_STAT_MAX] = {
        [NGX_HTTP_LLM_STAT_REJ_UNAVAILABLE] =
            {"rejected_total", "reason=\"engine_unavailable\"",
             "Requests that the module refused."},
        [NGX_HTTP_LLM_STAT_REJ_LOADING] = {"rejected_total",
                                           "reason=\"model_loading\"", NULL},
        [NGX_HTTP_LLM_STAT_REJ_OVERLOADED] = {"rejected_total",
                                              "reason=\"overloaded\"", NULL},
        [NGX_HTTP_LLM_STAT_ABORT_WAIT] =
            {"aborted_total", "stage=\"wait\"",
             "Requests that clients gave up, by how far they were."},
        [NGX_HTTP_LLM_STAT_ABORT_QUEUE] = {"aborted_total", "stage=\"queue\"",
                                           NULL},
        [NGX_HTTP_LLM_STAT_ABORT_PREFILL] = {"aborted_total",
                                             "stage=\"prefill\"", NULL},
        [NGX_HTTP_LLM_STAT_ABORT_DECODE] = {"aborted_total", "stage=\"decode\"",
                                            NULL},
        [NGX_HTTP_LLM_STAT_TIMEOUTS] = {"timeouts_total", NULL,
                                        "Requests that a timeout ended."},
        [NGX_HTTP_LLM_STAT_RESUBMITTED] =
            {"resubmitted_total", NULL,
             "Requests that were sent again after an engine's death."},
        [NGX_HTTP_LLM_STAT_DEATHS] =
            {"engine_deaths_total", NULL,
             "Connections to engines that ended, over all workers."},
        [NGX_HTTP_LLM_STAT_RING_FULL] =
            {"ring_full_total", NULL,
             "Times that a request found no slot or no space."},
        [NGX_HTTP_LLM_STAT_STALLS] = {"stalls_total", NULL,
                                      "Times that an engine stood still."},
        [NGX_HTTP_LLM_STAT_PINGS] = {"pings_total", NULL,
                                     "Comments sent to keep streams alive."}};


enum {
    NGX_HTTP_LLM_GAUGE_UP = 0,
    NGX_HTTP_LLM_GAUGE_HEARTBEAT,
    NGX_HTTP_LLM_GAUGE_RUNNING,
    NGX_HTTP_LLM_GAUGE_WAITING,
    NGX_HTTP_LLM_GAUGE_RING,
    NGX_HTTP_LLM_GAUGE_MAX
};

static const ngx_http_llm_stat_name_t
    ngx_http_llm_gauge_names[NGX_HTTP_LLM_GAUGE_MAX] = {
        {"engine_up", NULL, "Whether this worker is connected to the engine."},
        {"engine_heartbeat_age_seconds", NULL, "Since its last sign of life."},
        {"engine_running", NULL, "Sequences in the engine's batch."},
        {"engine_waiting", NULL, "Requests that wait in the engine."},
        {"ring_occupancy_bytes", NULL, "Of this worker's rings."}};


ngx_int_t
ngx_http_llm_stats_init(ngx_conf_t *cf, ngx_http_llm_main_conf_t *lmcf)
{
    ngx_str_t name = ngx_string("ngx_http_llm");

    lmcf->zone = ngx_shared_memory_add(cf, &name, NGX_HTTP_LLM_ZONE_SIZE,
                                       &ngx_http_llm_module);
    if (lmcf->zone == NULL) {
        return NGX_ERROR;
    }

    lmcf->zone->init = ngx_http_llm_zone_init;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_zone_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data) {
        zone->data = data;

    } else if (zone->shm.exists) {
        zone->data = shpool->data;

    } else {
        zone->data = ngx_slab_calloc(shpool, sizeof(ngx_http_llm_stats_t));
        if (zone->data == NULL) {
            return NGX_ERROR;
        }

        shpool->data = zone->data;
    }

    ngx_http_llm_stats = zone->data;

    return NGX_OK;
}


void
ngx_http_llm_stat(ngx_uint_t stat)
{
    if (stat != NGX_HTTP_LLM_STAT_NONE && ngx_http_llm_stats) {
        (void) ngx_atomic_fetch_add(&ngx_http_llm_stats->stat[stat], 1);
    }
}


/* In the log phase, when a request's status is what it remains. */

ngx_int_t
ngx_http_llm_log_handler(ngx_http_request_t *r)
{
    ngx_uint_t          i, status;
    ngx_http_llm_ctx_t *ctx;

    ctx = ngx_http_llm_ctx(r);

    if (ctx == NULL || ngx_http_llm_stats == NULL) {
        return NGX_OK;
    }

    status = r->err_status ? r->err_status : r->headers_out.status;

    for (i = 0; i < NGX_HTTP_LLM_STATUSES - 1; i++) {
        if (ngx_http_llm_statuses[i] == status) {
            break;
        }
    }

    (void) ngx_atomic_fetch_add(&ngx_http_llm_stats->requests[ctx->op][i], 1);

    return NGX_OK;
}


ngx_int_t
ngx_http_llm_metrics_handler(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_http_llm_loc_conf_t *llcf;

    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (llcf->engine->state == NGX_HTTP_LLM_UP && !llcf->engine->broken) {
        return ngx_http_llm_metrics_start(r);
    }

    r->main->count++;
    ngx_http_llm_metrics_send(r, NULL);

    return NGX_DONE;
}


/* Ours and `rest`, which may be NULL; finalizes the request. */

void
ngx_http_llm_metrics_send(ngx_http_request_t *r, ngx_chain_t *rest)
{
    ngx_int_t    rc;
    ngx_chain_t *out;

    rc = ngx_http_llm_metrics_text(r, &out);

    if (rc == NGX_OK) {
        out->next = rest;
        rc = ngx_http_llm_send(r, NGX_HTTP_OK, NGX_HTTP_LLM_TEXT, out);
    }

    ngx_http_finalize_request(r, rc);
}


ngx_int_t
ngx_http_llm_metrics_text(ngx_http_request_t *r, ngx_chain_t **out)
{
    size_t                    len;
    ngx_buf_t                *b;
    ngx_uint_t                i;
    ngx_chain_t              *cl;
    ngx_http_llm_engine_t   **e;
    ngx_http_llm_main_conf_t *lmcf;

    lmcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    e = lmcf->engines.elts;

    len = (NGX_HTTP_LLM_STAT_MAX + NGX_HTTP_LLM_GAUGE_MAX + 1) * 320
          + LLM_OP_MAX * NGX_HTTP_LLM_STATUSES * 128;

    for (i = 0; i < lmcf->engines.nelts; i++) {
        len += (NGX_HTTP_LLM_GAUGE_MAX + 1) * (e[i]->name.len + 128);
    }

    b = ngx_create_temp_buf(r->pool, len);
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->last = ngx_http_llm_metrics_engines(b->last, lmcf);

    if (ngx_http_llm_stats) {
        b->last = ngx_http_llm_metrics_requests(b->last);
        b->last = ngx_http_llm_metrics_stats(b->last);
    }

    cl->buf = b;
    cl->next = NULL;
    *out = cl;

    return NGX_OK;
}


static u_char *
ngx_http_llm_metrics_head(u_char *p, const char *name, const char *type,
                          const char *help)
{
    return ngx_sprintf(p, "# HELP ngx_llm_%s %s\n# TYPE ngx_llm_%s %s\n", name,
                       help, name, type);
}


static u_char *
ngx_http_llm_metrics_engines(u_char *p, ngx_http_llm_main_conf_t *lmcf)
{
    ngx_uint_t              i, which;
    ngx_http_llm_engine_t **e;

    e = lmcf->engines.elts;

    for (which = 0; which < NGX_HTTP_LLM_GAUGE_MAX; which++) {

        p = ngx_http_llm_metrics_head(p, ngx_http_llm_gauge_names[which].name,
                                      "gauge",
                                      ngx_http_llm_gauge_names[which].help);

        for (i = 0; i < lmcf->engines.nelts; i++) {
            p = ngx_http_llm_metrics_engine(p, which, e[i]);
        }
    }

    return p;
}


static u_char *
ngx_http_llm_metrics_engine(u_char *p, ngx_uint_t which,
                            ngx_http_llm_engine_t *e)
{
    ngx_uint_t   up;
    ngx_msec_t   age;
    const char  *name;
    llm_status_t status;

    name = ngx_http_llm_gauge_names[which].name;
    up = (e->state == NGX_HTTP_LLM_UP && !e->broken);

    if (which == NGX_HTTP_LLM_GAUGE_UP) {
        return ngx_sprintf(p, "ngx_llm_%s{engine=\"%V\"} %ui\n", name, &e->name,
                           up);
    }

    if (!up) {
        return p;
    }

    llm_ipc_status_read(&e->ipc, &status);

    switch (which) {

    case NGX_HTTP_LLM_GAUGE_HEARTBEAT:
        age = ngx_http_llm_engine_heartbeat_age(e);

        return ngx_sprintf(p, "ngx_llm_%s{engine=\"%V\"} %M.%03M\n", name,
                           &e->name, age / 1000, age % 1000);

    case NGX_HTTP_LLM_GAUGE_RUNNING:
        return ngx_sprintf(p, "ngx_llm_%s{engine=\"%V\"} %uD\n", name, &e->name,
                           status.running);

    case NGX_HTTP_LLM_GAUGE_WAITING:
        return ngx_sprintf(p, "ngx_llm_%s{engine=\"%V\"} %uD\n", name, &e->name,
                           status.waiting);

    default: /* NGX_HTTP_LLM_GAUGE_RING */
        p = ngx_sprintf(p, "ngx_llm_%s{engine=\"%V\",ring=\"submit\"} %uL\n",
                        name, &e->name, e->ipc.tx.head - e->ipc.tx.tail);

        return ngx_sprintf(p,
                           "ngx_llm_%s{engine=\"%V\",ring=\"complete\"} %uL\n",
                           name, &e->name, e->ipc.rx.head - e->ipc.rx.tail);
    }
}


static u_char *
ngx_http_llm_metrics_stats(u_char *p)
{
    ngx_uint_t                      i;
    const ngx_http_llm_stat_name_t *s;

    for (i = NGX_HTTP_LLM_STAT_NONE + 1; i < NGX_HTTP_LLM_STAT_MAX; i++) {

        s = &ngx_http_llm_stat_names[i];

        if (s->help) {
            p = ngx_http_llm_metrics_head(p, s->name, "counter", s->help);
        }

        p = s->label ? ngx_sprintf(p, "ngx_llm_%s{%s}", s->name, s->label)
                     : ngx_sprintf(p, "ngx_llm_%s", s->name);

        p = ngx_sprintf(p, " %uA\n", ngx_http_llm_stats->stat[i]);
    }

    return p;
}


/* Only those that are not 0: most pairs never are. */

static u_char *
ngx_http_llm_metrics_requests(u_char *p)
{
    ngx_uint_t        op, i;
    ngx_atomic_uint_t n;

    p = ngx_http_llm_metrics_head(p, "requests_total", "counter",
                                  "Requests, by operation and status.");

    for (op = 0; op < LLM_OP_MAX; op++) {
        for (i = 0; i < NGX_HTTP_LLM_STATUSES; i++) {

            n = ngx_http_llm_stats->requests[op][i];
            if (n == 0) {
                continue;
            }

            p = ngx_sprintf(p, "ngx_llm_requests_total{api=\"%s\",",
                            op ? ngx_http_llm_op_names[op] : "none");

            p = ngx_http_llm_statuses[i]
                    ? ngx_sprintf(p, "status=\"%ui\"} %uA\n",
                                  ngx_http_llm_statuses[i], n)
                    : ngx_sprintf(p, "status=\"other\"} %uA\n", n);
        }
    }

    return p;
}
