/*
 * What the engine says: records of the completion ring, verified against the
 * worker's own tables and put down in the requests' contexts.  Nothing goes
 * to a client from here; requests that have something for theirs are marked
 * and served once the ring has been read.  A record that breaks the protocol
 * costs the connection.
 */

#include "ngx_module/ngx_http_llm_module.h"
#include "engine/ipc/record.h"


#define NGX_HTTP_LLM_RECORDS 1024 /* in one turn */


typedef ngx_int_t (*ngx_http_llm_record_pt)(ngx_http_llm_engine_t *e,
                                            ngx_http_llm_slot_t   *s,
                                            llm_ring_rec_t        *rec);


static ngx_int_t ngx_http_llm_record(ngx_http_llm_engine_t *e,
                                     llm_ring_rec_t        *rec);
static ngx_int_t ngx_http_llm_record_state(ngx_http_llm_engine_t *e,
                                           llm_ring_rec_t        *rec);
static void      ngx_http_llm_record_model(void                             *data,
                                           const ngx_http_llm_model_state_t *st);
static ngx_int_t ngx_http_llm_record_admit(ngx_http_llm_engine_t *e,
                                           ngx_http_llm_slot_t   *s,
                                           llm_ring_rec_t        *rec);
static ngx_int_t ngx_http_llm_record_head(ngx_http_llm_engine_t *e,
                                          ngx_http_llm_slot_t   *s,
                                          llm_ring_rec_t        *rec);
static ngx_int_t ngx_http_llm_record_data(ngx_http_llm_engine_t *e,
                                          ngx_http_llm_slot_t   *s,
                                          llm_ring_rec_t        *rec);
static ngx_int_t ngx_http_llm_record_end(ngx_http_llm_engine_t *e,
                                         ngx_http_llm_slot_t   *s,
                                         llm_ring_rec_t        *rec);
static void ngx_http_llm_record_keep(ngx_http_llm_ctx_t *ctx, ngx_str_t *dst,
                                     llm_rec_str_t *src);


static ngx_http_llm_record_pt ngx_http_llm_records[] = {
    [LLM_REC_ADMIT] = ngx_http_llm_record_admit,
    [LLM_REC_HEAD] = ngx_http_llm_record_head,
    [LLM_REC_DATA] = ngx_http_llm_record_data,
    [LLM_REC_END] = ngx_http_llm_record_end};


/* Reads the ring.  NGX_OK: it is empty, NGX_AGAIN: enough for this turn. */

ngx_int_t
ngx_http_llm_drain(ngx_http_llm_engine_t *e)
{
    int            rc;
    ngx_uint_t     n;
    llm_ring_rec_t rec;

    for (n = 0; n < NGX_HTTP_LLM_RECORDS; n++) {

        rc = llm_ring_peek(&e->ipc.rx, &rec);

        if (rc == 0) {
            return NGX_OK;
        }

        if (rc < 0) {
            ngx_http_llm_engine_broken(e, "broken record: header");
            return NGX_OK;
        }

        if (ngx_http_llm_record(e, &rec) != NGX_OK) {
            return NGX_OK;
        }

        llm_ring_next(&e->ipc.rx, &rec);
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_llm_record(ngx_http_llm_engine_t *e, llm_ring_rec_t *rec)
{
    ngx_http_llm_slot_t   *s;
    ngx_http_llm_record_pt handler;

    if (rec->hdr.type == LLM_REC_MODEL_STATE) {
        return ngx_http_llm_record_state(e, rec);
    }

    handler = rec->hdr.type < sizeof(ngx_http_llm_records)
                                  / sizeof(ngx_http_llm_records[0])
                  ? ngx_http_llm_records[rec->hdr.type]
                  : NULL;

    if (handler == NULL) {
        ngx_http_llm_engine_broken(e, "broken record: type");
        return NGX_ERROR;
    }

    s = ngx_http_llm_slot_find(e, rec->hdr.slot, rec->hdr.gen);

    if (s == NULL) {
        ngx_http_llm_engine_broken(e, "broken record: no such request");
        return NGX_ERROR;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, e->log, 0,
                   "llm record: type %ud, slot %uD, gen %uD, len %uD",
                   rec->hdr.type, rec->hdr.slot, rec->hdr.gen, rec->len);

    return handler(e, s, rec);
}


/* In pieces; parsed when the last is there. */

static ngx_int_t
ngx_http_llm_record_state(ngx_http_llm_engine_t *e, llm_ring_rec_t *rec)
{
    int     rc;
    u_char *p;

    if (rec->len > LLM_MANIFEST_MAX - e->state_len) {
        ngx_http_llm_engine_broken(e, "broken record: MODEL_STATE too long");
        return NGX_ERROR;
    }

    p = ngx_alloc(e->state_len + rec->len + 1, e->log);
    if (p == NULL) {
        ngx_http_llm_engine_broken(e, "no memory for MODEL_STATE");
        return NGX_ERROR;
    }

    if (e->state_buf) {
        ngx_memcpy(p, e->state_buf, e->state_len);
        ngx_free(e->state_buf);
    }

    ngx_memcpy(p + e->state_len, rec->payload, rec->len);

    e->state_buf = p;
    e->state_len += rec->len;

    if (rec->hdr.flags & LLM_REC_MORE) {
        return NGX_OK;
    }

    rc = ngx_http_llm_state_parse((char *) p, e->state_len,
                                  ngx_http_llm_record_model, e);

    ngx_free(p);
    e->state_buf = NULL;
    e->state_len = 0;

    if (rc != 0) {
        ngx_http_llm_engine_broken(e, "broken record: MODEL_STATE");
        return NGX_ERROR;
    }

    e->states = 1;

    return NGX_OK;
}


static void
ngx_http_llm_record_model(void *data, const ngx_http_llm_model_state_t *st)
{
    ngx_http_llm_engine_t *e = data;

    size_t                 len;
    ngx_uint_t             i;
    ngx_http_llm_model_t **m;

    m = e->models.elts;

    for (i = 0; i < e->models.nelts; i++) {

        if (m[i]->name.len != st->name_len
            || ngx_memcmp(m[i]->name.data, st->name, st->name_len) != 0) {
            continue;
        }

        m[i]->state = st->state;
        m[i]->serving = st->serving ? 1 : 0;
        m[i]->progress = st->progress;

        /* cut between characters, not within one */

        len = ngx_min(st->error_len, NGX_HTTP_LLM_STATE_ERROR_MAX);

        while (len && len < st->error_len
               && ((u_char) st->error[len] & 0xc0) == 0x80) {
            len--;
        }

        m[i]->error.data = m[i]->error_data;
        m[i]->error.len = len;

        if (len) {
            ngx_memcpy(m[i]->error_data, st->error, len);
        }

        ngx_log_debug4(NGX_LOG_DEBUG_HTTP, e->log, 0,
                       "llm model \"%V\": state %ui, serving %ui, %ui/1000",
                       &m[i]->name, m[i]->state, (ngx_uint_t) m[i]->serving,
                       m[i]->progress);
        return;
    }
}


static ngx_int_t
ngx_http_llm_record_admit(ngx_http_llm_engine_t *e, ngx_http_llm_slot_t *s,
                          llm_ring_rec_t *rec)
{
    char                buf[LLM_REC_ADMIT_BUF];
    llm_admit_t         admit;
    llm_rec_str_t       model;
    ngx_http_llm_ctx_t *ctx;

    if (llm_rec_admit_read(rec, &admit, &model, buf) != 0 || s->admitted
        || s->head) {
        ngx_http_llm_engine_broken(e, "broken record: ADMIT");
        return NGX_ERROR;
    }

    s->admitted = 1;

    ctx = s->ctx;
    if (ctx == NULL) {
        return NGX_OK;
    }

    ctx->admitted = 1;
    ctx->admit = admit;
    ctx->stream = admit.stream;

    ngx_http_llm_record_keep(ctx, &ctx->answering, &model);

    if (ctx->stream) {
        ctx->boundary = 1;
        ctx->last = ngx_current_msec;
        ngx_http_llm_timer_set(ctx);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_record_head(ngx_http_llm_engine_t *e, ngx_http_llm_slot_t *s,
                         llm_ring_rec_t *rec)
{
    llm_head_t          head;
    ngx_http_llm_ctx_t *ctx;

    if (llm_rec_head_read(rec, &head) != 0 || s->head
        || (head.kind == LLM_KIND_SSE && head.status != 200)) {
        ngx_http_llm_engine_broken(e, "broken record: HEAD");
        return NGX_ERROR;
    }

    s->head = 1;

    ctx = s->ctx;
    if (ctx == NULL) {
        return NGX_OK;
    }

    ctx->headed = 1;
    ctx->head = head;
    ctx->stream = (head.kind == LLM_KIND_SSE);
    ctx->boundary = 1;

    /*
     * A stream's header went out before its engine died, and now the answer
     * is another one: its text becomes an event.
     */

    if (ctx->request->header_sent && !ctx->stream) {
        ctx->late_error = 1;
    }

    if (ctx->stream) {
        ngx_http_llm_dirty(ctx);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_record_data(ngx_http_llm_engine_t *e, ngx_http_llm_slot_t *s,
                         llm_ring_rec_t *rec)
{
    size_t              n;
    llm_rec_data_t      data;
    ngx_http_llm_ctx_t *ctx;

    if (llm_rec_data_read(rec, &data, NULL) != 0 || !s->head
        || data.fixed.n_bytes > s->credit) {
        ngx_http_llm_engine_broken(e, "broken record: DATA");
        return NGX_ERROR;
    }

    n = data.fixed.n_bytes;
    s->credit -= n;

    ctx = s->ctx;
    if (ctx == NULL || n == 0) {
        return NGX_OK;
    }

    ctx->boundary = (data.fixed.flags & LLM_DATA_BOUNDARY) ? 1 : 0;

    if (ctx->first == 0) {
        ctx->first = ngx_current_msec - ctx->start;
        ctx->first += (ctx->first == 0);
    }

    if (ngx_http_llm_append(ctx, data.bytes, n) != NGX_OK) {
        ctx->error = &ngx_http_llm_err_too_large;
        ngx_http_llm_dirty(ctx);
        return NGX_OK;
    }

    if (ctx->stream) {
        ngx_http_llm_dirty(ctx);

    } else {
        ngx_http_llm_credit(ctx, n);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_record_end(ngx_http_llm_engine_t *e, ngx_http_llm_slot_t *s,
                        llm_ring_rec_t *rec)
{
    char                buf[LLM_REC_END_BUF];
    llm_end_t           end;
    llm_rec_str_t       str[LLM_REC_END_STRINGS];
    ngx_http_llm_ctx_t *ctx;

    if (llm_rec_end_read(rec, &end, str, buf) != 0) {
        ngx_http_llm_engine_broken(e, "broken record: END");
        return NGX_ERROR;
    }

    ctx = s->ctx;

    if (ctx) {
        ngx_http_llm_record_keep(ctx, &ctx->error_type, &str[0]);
        ngx_http_llm_record_keep(ctx, &ctx->user, &str[1]);
        ngx_http_llm_record_keep(ctx, &ctx->asked, &str[2]);

        ctx->end = end;
        ctx->ended = 1;
        ctx->submitted = 0;

        ngx_queue_remove(&ctx->queue);

        if (ctx->body_sending) {

            /* answered early: an error, the rest need not be sent */

            ngx_queue_remove(&ctx->sending);
            ctx->body_sending = 0;
        }

        ngx_http_llm_dirty(ctx);
    }

    ngx_http_llm_slot_free(e, rec->hdr.slot);

    return NGX_OK;
}


/* Kept for the log; without memory it is empty there. */

static void
ngx_http_llm_record_keep(ngx_http_llm_ctx_t *ctx, ngx_str_t *dst,
                         llm_rec_str_t *src)
{
    dst->len = 0;

    if (src->len == 0) {
        return;
    }

    dst->data = ngx_pnalloc(ctx->request->pool, src->len);
    if (dst->data == NULL) {
        return;
    }

    ngx_memcpy(dst->data, src->data, src->len);
    dst->len = src->len;
}
