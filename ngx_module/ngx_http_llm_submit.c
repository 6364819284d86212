/*
 * From a request to the ring: the table of slots, the queue of requests that
 * wait, and SUBMIT, BODY, CREDIT and CANCEL.
 *
 * A slot is busy from SUBMIT to END, whether or not somebody still waits for
 * it.  A body is read in place, from memory or from its temporary file, in
 * pieces that go round robin over the requests as the ring has space; the
 * chain is never changed, so that the request can be submitted again.
 */

#include "ngx_module/ngx_http_llm_module.h"
#include "engine/ipc/record.h"


#define NGX_HTTP_LLM_PIECES    32 /* of bodies, in one turn */
#define NGX_HTTP_LLM_PIECE_MIN 4096


static ngx_int_t     ngx_http_llm_submit(ngx_http_llm_ctx_t *ctx);
static void          ngx_http_llm_submit_fill(ngx_http_llm_ctx_t *ctx,
                                              llm_submit_t       *sub);
static llm_rec_str_t ngx_http_llm_str(ngx_str_t *s);
static ngx_int_t     ngx_http_llm_feed_manifest(ngx_http_llm_engine_t *e);
static void          ngx_http_llm_feed_cancels(ngx_http_llm_engine_t *e);
static void          ngx_http_llm_feed_credits(ngx_http_llm_engine_t *e);
static void          ngx_http_llm_feed_waiting(ngx_http_llm_engine_t *e);
static ngx_int_t     ngx_http_llm_feed_bodies(ngx_http_llm_engine_t *e);
static ngx_int_t     ngx_http_llm_feed_piece(ngx_http_llm_ctx_t *ctx);
static ngx_int_t     ngx_http_llm_body_copy(ngx_http_llm_ctx_t *ctx, u_char *p,
                                            size_t len);
static ngx_int_t     ngx_http_llm_credit_write(ngx_http_llm_ctx_t *ctx);
static ngx_int_t     ngx_http_llm_ring_result(ngx_http_llm_engine_t *e, int rc);


ngx_int_t
ngx_http_llm_slots_create(ngx_http_llm_engine_t *e)
{
    uint32_t i;

    e->slots_n = ngx_min(e->ipc.slots, NGX_HTTP_LLM_SLOTS_MAX);

    e->slots = ngx_calloc(e->slots_n * sizeof(ngx_http_llm_slot_t), e->log);
    if (e->slots == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < e->slots_n; i++) {
        e->slots[i].next = i + 1 < e->slots_n ? i + 1 : LLM_SLOT_NONE;
    }

    e->free = 0;
    e->cancel = LLM_SLOT_NONE;

    return NGX_OK;
}


void
ngx_http_llm_slots_destroy(ngx_http_llm_engine_t *e)
{
    if (e->slots) {
        ngx_free(e->slots);
        e->slots = NULL;
    }

    e->slots_n = 0;
    e->free = LLM_SLOT_NONE;
    e->cancel = LLM_SLOT_NONE;
}


/* NULL: there is no such request, the record is broken. */

ngx_http_llm_slot_t *
ngx_http_llm_slot_find(ngx_http_llm_engine_t *e, uint32_t slot, uint32_t gen)
{
    ngx_http_llm_slot_t *s;

    if (slot >= e->slots_n) {
        return NULL;
    }

    s = &e->slots[slot];

    return s->busy && s->gen == gen ? s : NULL;
}


/* END came. */

void
ngx_http_llm_slot_free(ngx_http_llm_engine_t *e, uint32_t slot)
{
    uint32_t            *p;
    ngx_http_llm_slot_t *s;

    s = &e->slots[slot];

    if (s->ctx == NULL) {

        /* its CANCEL may still wait for space: nobody needs it any more */

        for (p = &e->cancel; *p != LLM_SLOT_NONE; p = &e->slots[*p].next) {
            if (*p == slot) {
                *p = s->next;
                break;
            }
        }
    }

    s->ctx = NULL;
    s->busy = 0;
    s->next = e->free;
    e->free = slot;
}


/*
 * Can the request be submitted just now, as far as the engine is concerned?
 * NULL, or what to say if that remains so.
 */

const ngx_http_llm_error_t *
ngx_http_llm_usable(ngx_http_llm_ctx_t *ctx)
{
    ngx_uint_t             i, loading;
    ngx_http_llm_engine_t *e;
    ngx_http_llm_model_t **m;

    e = ctx->engine;

    if (e->state != NGX_HTTP_LLM_UP || e->broken
        || e->manifest_sent < e->manifest.len) {
        return &ngx_http_llm_err_unavailable;
    }

    if (ctx->op == LLM_OP_METRICS || ctx->op == LLM_OP_MODELS) {
        return NULL;
    }

    if (!e->states) {
        return &ngx_http_llm_err_loading;
    }

    if (ctx->conf->model) {
        return !ctx->conf->model->serving
                       && ctx->conf->model->state == NGX_HTTP_LLM_STATE_LOADING
                   ? &ngx_http_llm_err_loading
                   : NULL;
    }

    /* which model the body names is the engine's to see: any will do */

    loading = 0;
    m = e->models.elts;

    for (i = 0; i < e->models.nelts; i++) {
        if (m[i]->serving) {
            return NULL;
        }

        loading |= (m[i]->state == NGX_HTTP_LLM_STATE_LOADING);
    }

    return loading ? &ngx_http_llm_err_loading : NULL;
}


/*
 * A new request: submits it, or lets it wait.  NULL, or why neither is
 * possible.
 */

const ngx_http_llm_error_t *
ngx_http_llm_enqueue(ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_http_llm_engine_t      *e;
    const ngx_http_llm_error_t *why;

    e = ctx->engine;

    why = ngx_http_llm_usable(ctx);

    if (why == NULL && ngx_queue_empty(&e->waiting)) {

        rc = ngx_http_llm_submit(ctx);

        if (rc == NGX_OK) {
            return NULL;
        }

        if (rc == NGX_ERROR) {
            why = &ngx_http_llm_err_unavailable;
        }
    }

    if (why && ctx->conf->connect_timeout == 0) {
        return why;
    }

    if (e->waiting_n >= e->queue_max) {
        return &ngx_http_llm_err_overloaded;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "llm waits: %s", why ? why->code : "no slot or space");

    ctx->request->connection->log->action = "waiting for engine";

    ngx_queue_insert_tail(&e->waiting, &ctx->queue);
    ctx->waiting = 1;
    e->waiting_n++;

    return NULL;
}


/* Back in front of the queue, whatever its length: it was let in before. */

void
ngx_http_llm_requeue(ngx_http_llm_ctx_t *ctx)
{
    ctx->submitted = 0;

    if (ctx->body_sending) {
        ngx_queue_remove(&ctx->sending);
        ctx->body_sending = 0;
    }

    ngx_queue_remove(&ctx->queue);
    ngx_queue_insert_head(&ctx->engine->waiting, &ctx->queue);

    ctx->waiting = 1;
    ctx->engine->waiting_n++;
}


/* SUBMIT.  NGX_OK, NGX_AGAIN: no slot or no space, NGX_ERROR: broken. */

static ngx_int_t
ngx_http_llm_submit(ngx_http_llm_ctx_t *ctx)
{
    int                    rc;
    uint32_t               slot;
    ngx_int_t              res;
    llm_submit_t           sub;
    llm_rec_str_t          str[LLM_REC_SUBMIT_STRINGS];
    ngx_http_llm_slot_t   *s;
    ngx_http_llm_engine_t *e;

    e = ctx->engine;
    slot = e->free;

    if (slot == LLM_SLOT_NONE) {
        ngx_http_llm_stat(NGX_HTTP_LLM_STAT_RING_FULL);
        return NGX_AGAIN;
    }

    ngx_http_llm_submit_fill(ctx, &sub);

    str[0] = ngx_http_llm_str(&ctx->model);
    str[1] = ngx_http_llm_str(&ctx->tenant);
    str[2] = ngx_http_llm_str(&ctx->salt);
    str[3] = ngx_http_llm_str(&ctx->request_id);

    rc = llm_rec_submit_write(&e->ipc.tx, slot, e->gen + 1, &sub, str);

    res = ngx_http_llm_ring_result(e, rc);
    if (res != NGX_OK) {
        return res;
    }

    e->gen++;

    s = &e->slots[slot];
    e->free = s->next;

    ngx_memzero(s, sizeof(ngx_http_llm_slot_t));
    s->ctx = ctx;
    s->gen = e->gen;
    s->credit = sub.credit;
    s->busy = 1;
    s->next = LLM_SLOT_NONE;

    ctx->slot = slot;
    ctx->gen = e->gen;
    ctx->submitted = 1;
    ctx->held = 0;
    ctx->give = 0;

    if (ctx->waiting) {
        ngx_queue_remove(&ctx->queue);
        ctx->waiting = 0;
        e->waiting_n--;
    }

    ngx_queue_insert_tail(&e->active, &ctx->queue);

    ctx->body = ctx->body_len ? ctx->request->request_body->bufs : NULL;
    ctx->body_off = 0;
    ctx->body_left = ctx->body_len;

    if (ctx->body_left) {
        ngx_queue_insert_tail(&e->sending, &ctx->sending);
        ctx->body_sending = 1;
    }

    ctx->request->connection->log->action = "reading from engine";

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "llm submit: slot %uD, gen %uD, body %O", slot, ctx->gen,
                   ctx->body_len);

    ngx_http_llm_engine_watch(e);
    ngx_http_llm_engine_wake(e);

    return NGX_OK;
}


static void
ngx_http_llm_submit_fill(ngx_http_llm_ctx_t *ctx, llm_submit_t *sub)
{
    ngx_msec_t passed, limit;

    ngx_memzero(sub, sizeof(llm_submit_t));

    sub->op = ctx->op;
    sub->dialect = LLM_DIALECT_OPENAI;
    sub->body_len = ctx->body_len;
    sub->created = ctx->created;
    sub->seed = ctx->seed;
    sub->credit = ctx->conf->buffer_size;

    if (ctx->conf->model && ctx->op != LLM_OP_MODELS) {
        sub->flags |= LLM_SUBMIT_FORCED;
    }

    ngx_memcpy(sub->id, ctx->id, sizeof(sub->id));

    /* what is left of the limits; the worker keeps them itself, too */

    passed = ngx_current_msec - ctx->start;

    limit = ctx->conf->queue_timeout;
    sub->queue_ms = limit == 0 ? 0 : limit > passed ? limit - passed : 1;

    limit = ctx->conf->first_token_timeout;
    sub->first_token_ms = limit == 0 ? 0 : limit > passed ? limit - passed : 1;

    limit = ctx->conf->request_timeout;
    sub->request_ms = limit == 0 ? 0 : limit > passed ? limit - passed : 1;
}


static llm_rec_str_t
ngx_http_llm_str(ngx_str_t *s)
{
    llm_rec_str_t str;

    str.data = (char *) s->data;
    str.len = s->len;

    return str;
}


/*
 * Writes what waits for the ring.  NGX_OK, or NGX_AGAIN if there is more to
 * write and space for it.
 */

ngx_int_t
ngx_http_llm_feed(ngx_http_llm_engine_t *e)
{
    if (e->manifest_sent < e->manifest.len
        && ngx_http_llm_feed_manifest(e) != NGX_OK) {
        return NGX_OK;
    }

    ngx_http_llm_feed_cancels(e);
    ngx_http_llm_feed_credits(e);
    ngx_http_llm_feed_waiting(e);

    return ngx_http_llm_feed_bodies(e);
}


static ngx_int_t
ngx_http_llm_feed_manifest(ngx_http_llm_engine_t *e)
{
    int    rc;
    size_t n, left;

    while (e->manifest_sent < e->manifest.len) {

        left = e->manifest.len - e->manifest_sent;
        n = ngx_min(left, llm_ring_payload_max(&e->ipc.tx));

        rc = llm_ring_write(&e->ipc.tx, LLM_REC_MANIFEST,
                            n < left ? LLM_REC_MORE : 0, LLM_SLOT_NONE, 0,
                            e->manifest.data + e->manifest_sent, n, NULL, 0);

        if (ngx_http_llm_ring_result(e, rc) != NGX_OK) {
            return NGX_AGAIN;
        }

        e->manifest_sent += n;
    }

    return NGX_OK;
}


static void
ngx_http_llm_feed_cancels(ngx_http_llm_engine_t *e)
{
    int                  rc;
    ngx_http_llm_slot_t *s;

    while (e->cancel != LLM_SLOT_NONE) {

        s = &e->slots[e->cancel];

        rc = llm_ring_write(&e->ipc.tx, LLM_REC_CANCEL, 0, e->cancel, s->gen,
                            NULL, 0, NULL, 0);

        if (ngx_http_llm_ring_result(e, rc) != NGX_OK) {
            return;
        }

        e->cancel = s->next;
        s->next = LLM_SLOT_NONE;
    }
}


static void
ngx_http_llm_feed_credits(ngx_http_llm_engine_t *e)
{
    ngx_queue_t        *q;
    ngx_http_llm_ctx_t *ctx;

    if (!e->credits) {
        return;
    }

    e->credits = 0;

    for (q = ngx_queue_head(&e->active); q != ngx_queue_sentinel(&e->active);
         q = ngx_queue_next(q)) {
        ctx = ngx_queue_data(q, ngx_http_llm_ctx_t, queue);

        if (ctx->give >= ctx->conf->buffer_size / 4
            && ngx_http_llm_credit_write(ctx) != NGX_OK) {
            return;
        }
    }
}


static void
ngx_http_llm_feed_waiting(ngx_http_llm_engine_t *e)
{
    ngx_queue_t        *q, *next;
    ngx_http_llm_ctx_t *ctx;

    for (q = ngx_queue_head(&e->waiting); q != ngx_queue_sentinel(&e->waiting);
         q = next) {
        next = ngx_queue_next(q);
        ctx = ngx_queue_data(q, ngx_http_llm_ctx_t, queue);

        /* one that waits for its model does not hold up the others */

        if (ngx_http_llm_usable(ctx) != NULL) {
            continue;
        }

        if (ngx_http_llm_submit(ctx) != NGX_OK) {
            return;
        }
    }
}


static ngx_int_t
ngx_http_llm_feed_bodies(ngx_http_llm_engine_t *e)
{
    ngx_int_t           rc;
    ngx_uint_t          n;
    ngx_queue_t        *q;
    ngx_http_llm_ctx_t *ctx;

    for (n = 0; n < NGX_HTTP_LLM_PIECES; n++) {

        if (ngx_queue_empty(&e->sending)) {
            return NGX_OK;
        }

        q = ngx_queue_head(&e->sending);
        ctx = ngx_queue_data(q, ngx_http_llm_ctx_t, sending);

        rc = ngx_http_llm_feed_piece(ctx);

        if (rc == NGX_AGAIN || e->broken) {
            return NGX_OK;
        }

        ngx_queue_remove(q);

        if (rc == NGX_ERROR || ctx->body_left == 0) {
            ctx->body_sending = 0;

        } else {
            ngx_queue_insert_tail(&e->sending, q);
        }

        if (rc == NGX_ERROR) {
            ctx->error = &ngx_http_llm_err_body;
            ngx_http_llm_dirty(ctx);
        }
    }

    return NGX_AGAIN;
}


/* One BODY.  NGX_AGAIN: no space, NGX_ERROR: the body cannot be read. */

static ngx_int_t
ngx_http_llm_feed_piece(ngx_http_llm_ctx_t *ctx)
{
    int                    rc;
    u_char                *p;
    size_t                 len, space;
    llm_ring_tx_t         *tx;
    ngx_http_llm_engine_t *e;

    e = ctx->engine;
    tx = &e->ipc.tx;

    len = llm_ring_payload_max(tx);
    len = ngx_min(len, LLM_BODY_MAX);
    len = (off_t) len < ctx->body_left ? len : (size_t) ctx->body_left;

    space = llm_ring_space(tx);
    space = ngx_max(space, NGX_HTTP_LLM_PIECE_MIN);
    len = ngx_min(len, space);

    rc = llm_ring_reserve(tx, LLM_REC_BODY, len, &p);

    if (rc == -EAGAIN) {
        ngx_http_llm_stat(NGX_HTTP_LLM_STAT_RING_FULL);
    }

    if (ngx_http_llm_ring_result(e, rc) != NGX_OK) {
        return NGX_AGAIN;
    }

    if (ngx_http_llm_body_copy(ctx, p, len) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->body_left -= len;

    llm_ring_commit(tx, LLM_REC_BODY, ctx->body_left ? LLM_REC_MORE : 0,
                    ctx->slot, ctx->gen, len);

    return NGX_OK;
}


/* The next `len` bytes of the body, which may lie in a temporary file. */

static ngx_int_t
ngx_http_llm_body_copy(ngx_http_llm_ctx_t *ctx, u_char *p, size_t len)
{
    off_t      size;
    size_t     n;
    ssize_t    got;
    ngx_buf_t *b;

    while (len) {

        if (ctx->body == NULL) {
            return NGX_ERROR;
        }

        b = ctx->body->buf;
        size = ngx_buf_size(b) - ctx->body_off;

        if (size <= 0) {
            ctx->body = ctx->body->next;
            ctx->body_off = 0;
            continue;
        }

        n = size < (off_t) len ? (size_t) size : len;

        if (ngx_buf_in_memory(b)) {
            ngx_memcpy(p, b->pos + ctx->body_off, n);

        } else {
            got = ngx_read_file(b->file, p, n, b->file_pos + ctx->body_off);

            if (got != (ssize_t) n) {
                if (got != NGX_ERROR) {
                    ngx_log_error(NGX_LOG_CRIT, ctx->request->connection->log,
                                  0, "\"%V\" is shorter than the body in it",
                                  &b->file->name);
                }

                return NGX_ERROR;
            }
        }

        ctx->body_off += n;
        p += n;
        len -= n;
    }

    return NGX_OK;
}


/* So many bytes of DATA have left: given back in larger pieces. */

void
ngx_http_llm_credit(ngx_http_llm_ctx_t *ctx, size_t bytes)
{
    ctx->give += bytes;

    if (!ctx->submitted || ctx->give < ctx->conf->buffer_size / 4
        || ctx->engine->broken) {
        return;
    }

    if (ngx_http_llm_credit_write(ctx) == NGX_OK) {
        ngx_http_llm_engine_wake(ctx->engine);
    }
}


static ngx_int_t
ngx_http_llm_credit_write(ngx_http_llm_ctx_t *ctx)
{
    int                    rc;
    ngx_int_t              res;
    ngx_http_llm_engine_t *e;

    e = ctx->engine;

    rc = llm_rec_credit_write(&e->ipc.tx, ctx->slot, ctx->gen, ctx->give);

    res = ngx_http_llm_ring_result(e, rc);

    if (res == NGX_OK) {
        e->slots[ctx->slot].credit += ctx->give;
        ctx->give = 0;

    } else if (res == NGX_AGAIN) {
        e->credits = 1;
    }

    return res;
}


/*
 * Nobody waits for the request any more.  Takes it out of all queues; where
 * the engine has it, CANCEL, once.
 */

void
ngx_http_llm_release(ngx_http_llm_ctx_t *ctx)
{
    ngx_http_llm_slot_t   *s;
    ngx_http_llm_engine_t *e;

    e = ctx->engine;

    if (ctx->is_dirty) {
        ngx_queue_remove(&ctx->dirty);
        ctx->is_dirty = 0;
    }

    if (ctx->body_sending) {
        ngx_queue_remove(&ctx->sending);
        ctx->body_sending = 0;
    }

    if (ctx->waiting) {
        ngx_queue_remove(&ctx->queue);
        ctx->waiting = 0;
        e->waiting_n--;
    }

    if (!ctx->submitted) {
        return;
    }

    ngx_queue_remove(&ctx->queue);
    ctx->submitted = 0;

    s = &e->slots[ctx->slot];
    s->ctx = NULL;

    s->next = e->cancel;
    e->cancel = ctx->slot;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, e->log, 0,
                   "llm cancel: slot %uD, gen %uD", ctx->slot, ctx->gen);

    if (!e->broken) {
        ngx_http_llm_feed_cancels(e);
    }

    ngx_http_llm_engine_wake(e);
}


/* NGX_OK, NGX_AGAIN or, after the connection was given up, NGX_ERROR. */

static ngx_int_t
ngx_http_llm_ring_result(ngx_http_llm_engine_t *e, int rc)
{
    if (rc == 0) {
        return NGX_OK;
    }

    if (rc == -EAGAIN) {
        return NGX_AGAIN;
    }

    ngx_http_llm_engine_broken(e, rc == -EPROTO
                                      ? "broken record: position of the ring"
                                      : "broken record: one of ours");

    return NGX_ERROR;
}
