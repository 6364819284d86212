/*
 * The records' payloads: what is written is read back, each defect is found,
 * and no single byte of a record can be changed into something that reads
 * outside it (a table of defects, then every byte of every record).
 */

#include <errno.h>
#include "engine/ipc/record.h"
#include "t/lib/tap.h"

#define SIZE (256u << 10)

static llm_ring_ctl_t *ctl;
static uint8_t        *data;
static llm_ring_tx_t   tx;
static llm_ring_rx_t   rx;
static char            text[LLM_STRING_MAX + 2];

static void     fresh(void);
static int      take(llm_ring_rec_t *rec);
static uint8_t *payload(const llm_ring_rec_t *rec);
static void     submit_fill(llm_submit_t *s);
static int      read_any(const llm_ring_rec_t *rec);
static void     test_submit(void);
static void     test_admit(void);
static void     test_head(void);
static void     test_data(void);
static void     test_end(void);
static void     test_small(void);
static void     test_bytes(void);
static void     test_full(void);


int
main(void)
{
    ctl = aligned_alloc(128, sizeof(*ctl));
    data = aligned_alloc(LLM_PAGE, SIZE);
    if (ctl == NULL || data == NULL) {
        abort();
    }

    memset(text, 'x', sizeof(text));

    test_submit();
    test_admit();
    test_head();
    test_data();
    test_end();
    test_small();
    test_bytes();
    test_full();

    free(ctl);
    free(data);

    return tap_done();
}


static void
fresh(void)
{
    memset(ctl, 0, sizeof(*ctl));
    memset(data, 0xa5, SIZE);
    llm_ring_tx_init(&tx, ctl, data, SIZE);
    llm_ring_rx_init(&rx, ctl, data, SIZE);
}


static int
take(llm_ring_rec_t *rec)
{
    (void) llm_ring_flush(&tx);

    return llm_ring_peek(&rx, rec);
}


/* The shared bytes, for a test that spoils them. */

static uint8_t *
payload(const llm_ring_rec_t *rec)
{
    return data + (rec->payload - data);
}


static void
submit_fill(llm_submit_t *s)
{
    memset(s, 0, sizeof(*s));
    s->op = LLM_OP_CHAT;
    s->dialect = LLM_DIALECT_OPENAI;
    s->flags = LLM_SUBMIT_RESERVE;
    s->body_len = 1234567;
    s->created = 1700000000;
    s->seed = 42;
    memcpy(s->id, "0123456789abcdef0123456789abcdef", 32);
    s->credit = 65536;
    s->queue_ms = 1;
    s->first_token_ms = 2;
    s->request_ms = 3;
}


/* Reads a record of whatever type, as either end would. */

static int
read_any(const llm_ring_rec_t *rec)
{
    static char     buf[LLM_REC_SUBMIT_BUF];
    static int32_t  tokens[LLM_DATA_TOKENS];
    llm_end_t       end;
    llm_head_t      head;
    llm_admit_t     admit;
    llm_submit_t    submit;
    llm_credit_t    credit;
    llm_reject_t    reject;
    llm_rec_str_t   str[4];
    llm_rec_data_t  d;
    volatile size_t sum;
    size_t          i;
    int             rc;

    sum = 0;

    switch (rec->hdr.type) {
    case LLM_REC_SUBMIT:
        rc = llm_rec_submit_read(rec, &submit, str, buf);
        if (rc == 0) {
            sum += strlen(str[0].data) + strlen(str[3].data);
        }
        return rc;
    case LLM_REC_ADMIT:
        return llm_rec_admit_read(rec, &admit, str, buf);
    case LLM_REC_HEAD:
        return llm_rec_head_read(rec, &head);
    case LLM_REC_DATA:
        rc = llm_rec_data_read(rec, &d, tokens);
        for (i = 0; rc == 0 && i < d.fixed.n_bytes; i++) {
            sum += d.bytes[i];
        }
        return rc;
    case LLM_REC_END:
        return llm_rec_end_read(rec, &end, str, buf);
    case LLM_REC_CREDIT:
        return llm_rec_credit_read(rec, &credit);
    case LLM_REC_REJECT:
        return llm_rec_reject_read(rec, &reject);
    default:
        return 0;
    }
}


/* One field of the shared record spoilt: the reader must refuse it. */

#define SPOIL(type, field, value, what)                                        \
    do {                                                                       \
        type spoilt_, was_;                                                    \
        memcpy(&was_, rec.payload, sizeof(was_));                              \
        spoilt_ = was_;                                                        \
        spoilt_.field = (value);                                               \
        memcpy(payload(&rec), &spoilt_, sizeof(spoilt_));                      \
        is_int(read_any(&rec), -EPROTO, "%s", what);                           \
        memcpy(payload(&rec), &was_, sizeof(was_));                            \
    } while (0)


static void
test_submit(void)
{
    char           buf[LLM_REC_SUBMIT_BUF];
    llm_submit_t   s, back;
    llm_rec_str_t  str[4], got[4];
    llm_ring_rec_t rec;

    fresh();
    submit_fill(&s);
    str[0].data = "smollm2";
    str[0].len = 7;
    str[1].data = NULL;
    str[1].len = 0;
    str[2].data = text;
    str[2].len = LLM_STRING_MAX;
    str[3].data = "r\0q";
    str[3].len = 3;

    is_int(llm_rec_submit_write(&tx, 5, 6, &s, str), 0, "SUBMIT written");
    is_int(take(&rec), 1, "and there");
    ok(rec.hdr.slot == 5 && rec.hdr.gen == 6
           && rec.len == 96 + 7 + LLM_STRING_MAX + 3,
       "its header");
    is_int(llm_rec_submit_read(&rec, &back, got, buf), 0, "and read");
    s.model_len = 7;
    s.salt_len = LLM_STRING_MAX;
    s.request_id_len = 3;
    is_int(memcmp(&s, &back, sizeof(s)), 0, "the fixed part");
    is_str(got[0].data, "smollm2", "model");
    ok(got[1].len == 0 && got[1].data[0] == '\0', "an empty tenant");
    ok(got[2].len == LLM_STRING_MAX
           && memcmp(got[2].data, text, LLM_STRING_MAX) == 0
           && got[2].data[LLM_STRING_MAX] == '\0',
       "the longest salt");
    ok(got[3].len == 3 && memcmp(got[3].data, "r\0q", 4) == 0,
       "a request id with a 0 in it");

    SPOIL(llm_submit_t, op, 0, "SUBMIT: no op");
    SPOIL(llm_submit_t, op, LLM_OP_MAX, "SUBMIT: unknown op");
    SPOIL(llm_submit_t, dialect, 0, "SUBMIT: no dialect");
    SPOIL(llm_submit_t, dialect, LLM_DIALECT_MAX, "SUBMIT: unknown dialect");
    SPOIL(llm_submit_t, flags, 4, "SUBMIT: unknown flag");
    SPOIL(llm_submit_t, id[31], 'g', "SUBMIT: id is not hexadecimal");
    SPOIL(llm_submit_t, id[0], 'A', "SUBMIT: id is not lower case");
    SPOIL(llm_submit_t, organization_len, 1, "SUBMIT: organization");
    SPOIL(llm_submit_t, pad[5], 1, "SUBMIT: padding");
    SPOIL(llm_submit_t, model_len, 8, "SUBMIT: strings beyond the record");
    SPOIL(llm_submit_t, model_len, 6, "SUBMIT: a byte too many");
    SPOIL(llm_submit_t, salt_len, LLM_STRING_MAX + 1, "SUBMIT: long salt");
    SPOIL(llm_submit_t, tenant_len, 65535, "SUBMIT: 64 KiB of tenant");
    is_int(read_any(&rec), 0, "unspoilt it still reads");

    str[1].data = text;
    str[1].len = LLM_STRING_MAX + 1;
    is_int(llm_rec_submit_write(&tx, 5, 6, &s, str), -EINVAL,
           "a string too long is not written");

    rec.hdr.type = LLM_REC_BODY;
    is_int(llm_rec_submit_read(&rec, &back, got, buf), -EPROTO,
           "another type is not read");
}


static void
test_admit(void)
{
    char           buf[LLM_REC_ADMIT_BUF];
    llm_admit_t    a, back;
    llm_rec_str_t  str, got;
    llm_ring_rec_t rec;

    fresh();
    memset(&a, 0, sizeof(a));
    memset(a.fingerprint, 0xee, sizeof(a.fingerprint));
    a.prompt_tokens = 10;
    a.cached_tokens = 10;
    a.max_tokens = 3;
    a.choices = 1;
    a.stream = 1;
    str.data = "m";
    str.len = 1;

    is_int(llm_rec_admit_write(&tx, 1, 2, &a, &str), 0, "ADMIT written");
    (void) take(&rec);
    is_int(llm_rec_admit_read(&rec, &back, &got, buf), 0, "and read");
    a.model_len = 1;
    is_int(memcmp(&a, &back, sizeof(a)), 0, "the fixed part");
    is_str(got.data, "m", "model");

    SPOIL(llm_admit_t, stream, 2, "ADMIT: stream is 0 or 1");
    SPOIL(llm_admit_t, cached_tokens, 11, "ADMIT: more cached than there are");
    SPOIL(llm_admit_t, pad[0], 1, "ADMIT: padding");
    SPOIL(llm_admit_t, model_len, 2, "ADMIT: model beyond the record");
    SPOIL(llm_admit_t, model_len, 0, "ADMIT: model too short");
    SPOIL(llm_admit_t, model_len, 1025, "ADMIT: model too long");

    str.data = text;
    str.len = LLM_STRING_MAX + 1;
    is_int(llm_rec_admit_write(&tx, 1, 2, &a, &str), -EINVAL,
           "a name too long");
}


static void
test_head(void)
{
    llm_head_t     h, back;
    llm_ring_rec_t rec;

    fresh();
    memset(&h, 0, sizeof(h));
    h.status = 503;
    h.kind = LLM_KIND_JSON;
    h.no_retry = 1;
    h.retry_ms = 1000;
    h.pad[3] = 9; /* the writer's own matter */

    is_int(llm_rec_head_write(&tx, 1, 2, &h), 0, "HEAD written");
    (void) take(&rec);
    is_int(llm_rec_head_read(&rec, &back), 0, "and read");
    ok(back.status == 503 && back.kind == LLM_KIND_JSON && back.no_retry == 1
           && back.retry_ms == 1000,
       "as written");

    SPOIL(llm_head_t, status, 199, "HEAD: status 199");
    SPOIL(llm_head_t, status, 600, "HEAD: status 600");
    SPOIL(llm_head_t, kind, 0, "HEAD: no kind");
    SPOIL(llm_head_t, kind, LLM_KIND_MAX, "HEAD: unknown kind");
    SPOIL(llm_head_t, no_retry, 2, "HEAD: no_retry is 0 or 1");
    SPOIL(llm_head_t, pad[7], 1, "HEAD: padding");
}


static void
test_data(void)
{
    int32_t        tokens[LLM_DATA_TOKENS], got[LLM_DATA_TOKENS];
    uint32_t       i;
    llm_data_t     d;
    llm_rec_data_t back;
    llm_ring_rec_t rec;

    fresh();
    memset(&d, 0, sizeof(d));

    for (i = 0; i < LLM_DATA_TOKENS; i++) {
        tokens[i] = (int32_t) (i * 1000);
    }

    d.choice = 3;
    d.flags = LLM_DATA_BOUNDARY;
    d.token_first = 100;
    d.n_tokens = LLM_DATA_TOKENS;
    d.n_bytes = 7;

    is_int(llm_rec_data_write(&tx, 1, 2, &d, tokens, "data: x"), 0,
           "DATA written");
    (void) take(&rec);
    is_int(llm_rec_data_read(&rec, &back, got), 0, "and read");
    ok(memcmp(&d, &back.fixed, sizeof(d)) == 0
           && memcmp(tokens, got, sizeof(tokens)) == 0
           && memcmp(back.bytes, "data: x", 7) == 0,
       "as written");
    is_int(llm_rec_data_read(&rec, &back, NULL), 0, "without tokens");

    SPOIL(llm_data_t, flags, 2, "DATA: unknown flag");
    SPOIL(llm_data_t, n_tokens, LLM_DATA_TOKENS + 1, "DATA: too many tokens");
    SPOIL(llm_data_t, n_tokens, 1u << 30, "DATA: 4 * tokens wraps");
    SPOIL(llm_data_t, n_bytes, 8, "DATA: bytes beyond the record");
    SPOIL(llm_data_t, n_bytes, 6, "DATA: a byte too many");
    SPOIL(llm_data_t, n_bytes, UINT32_MAX, "DATA: 4 GiB");
    SPOIL(llm_data_t, token_first, UINT32_MAX, "DATA: token index wraps");

    memset(payload(&rec) + 16 + 4 * 17, 0xff, 4);
    is_int(llm_rec_data_read(&rec, &back, got), -EPROTO, "DATA: token -1");
    is_int(llm_rec_data_read(&rec, &back, NULL), -EPROTO,
           "DATA: token -1, of no interest");

    fresh();
    memset(&d, 0, sizeof(d));
    is_int(llm_rec_data_write(&tx, 1, 2, &d, NULL, NULL), 0, "an empty DATA");
    (void) take(&rec);
    is_int(llm_rec_data_read(&rec, &back, got), 0, "reads");

    d.n_tokens = LLM_DATA_TOKENS + 1;
    is_int(llm_rec_data_write(&tx, 1, 2, &d, tokens, NULL), -EINVAL,
           "too many tokens");
    d.n_tokens = 2;
    d.token_first = UINT32_MAX - 1;
    is_int(llm_rec_data_write(&tx, 1, 2, &d, tokens, NULL), -EINVAL,
           "a token index that wraps");
    d.n_bytes = UINT32_MAX;
    d.token_first = 0;
    is_int(llm_rec_data_write(&tx, 1, 2, &d, tokens, NULL), -EMSGSIZE,
           "4 GiB of bytes");
    d.n_bytes = SIZE / 8;
    is_int(llm_rec_data_write(&tx, 1, 2, &d, tokens, NULL), -EMSGSIZE,
           "more than a record of this ring holds");
}


static void
test_end(void)
{
    char           buf[LLM_REC_END_BUF];
    llm_end_t      e, back;
    llm_rec_str_t  str[3], got[3];
    llm_ring_rec_t rec;

    fresh();
    memset(&e, 0, sizeof(e));
    e.outcome = LLM_END_DONE;
    e.finish = LLM_FINISH_STOP;
    e.status = 200;
    e.prompt_tokens = 1;
    e.total_us = 1ULL << 40;
    str[0].data = "";
    str[0].len = 0;
    str[1].data = "user";
    str[1].len = 4;
    str[2].data = "gpt";
    str[2].len = 3;

    is_int(llm_rec_end_write(&tx, 1, 2, &e, str), 0, "END written");
    (void) take(&rec);
    is_int(llm_rec_end_read(&rec, &back, got, buf), 0, "and read");
    ok(back.status == 200 && back.finish == LLM_FINISH_STOP
           && back.total_us == 1ULL << 40 && back.user_len == 4,
       "as written");
    ok(got[0].len == 0 && strcmp(got[1].data, "user") == 0
           && strcmp(got[2].data, "gpt") == 0,
       "its strings");

    SPOIL(llm_end_t, outcome, LLM_END_MAX, "END: unknown outcome");
    SPOIL(llm_end_t, finish, LLM_FINISH_MAX, "END: unknown finish");
    SPOIL(llm_end_t, status, 100, "END: status 100");
    SPOIL(llm_end_t, status, 600, "END: status 600");
    SPOIL(llm_end_t, stream, 2, "END: stream is 0 or 1");
    SPOIL(llm_end_t, pad[47], 1, "END: padding");
    SPOIL(llm_end_t, error_len, 1, "END: error beyond the record");
    SPOIL(llm_end_t, asked_len, 2, "END: a byte too many");
    SPOIL(llm_end_t, user_len, 1025, "END: user too long");

    e.status = 0;
    e.outcome = LLM_END_CANCELLED;
    str[1].data = str[2].data = str[0].data = text;
    str[1].len = str[2].len = str[0].len = LLM_STRING_MAX;
    llm_ring_next(&rx, &rec);
    is_int(llm_rec_end_write(&tx, 1, 2, &e, str), 0, "END, the longest");
    (void) take(&rec);
    is_int(llm_rec_end_read(&rec, &back, got, buf), 0, "and read");
    str[2].len++;
    is_int(llm_rec_end_write(&tx, 1, 2, &e, str), -EINVAL, "one too long");
}


static void
test_small(void)
{
    llm_credit_t   credit;
    llm_reject_t   reject;
    llm_ring_rec_t rec;

    fresh();
    is_int(llm_rec_credit_write(&tx, 1, 2, 4096), 0, "CREDIT written");
    (void) take(&rec);
    is_int(llm_rec_credit_read(&rec, &credit), 0, "and read");
    is_int(credit.bytes, 4096, "as written");
    SPOIL(llm_credit_t, pad, 1, "CREDIT: padding");
    llm_ring_next(&rx, &rec);

    is_int(llm_rec_reject_write(&tx, 1, 2, 500), 0, "REJECT written");
    (void) take(&rec);
    is_int(llm_rec_reject_read(&rec, &reject), 0, "and read");
    is_int(reject.retry_ms, 500, "as written");
    is_int(llm_rec_credit_read(&rec, &credit), -EPROTO, "it is no CREDIT");
    SPOIL(llm_reject_t, pad, 1, "REJECT: padding");
}


/* Every byte of every record, all 256 values: refused, or read within. */

static void
test_bytes(void)
{
    int            i, v, n_ok, n_bad, n_out;
    int32_t        tokens[3] = {1, 2, 3};
    uint8_t        was;
    uint8_t       *p;
    llm_end_t      e;
    llm_data_t     d;
    llm_head_t     h;
    llm_admit_t    a;
    llm_submit_t   s;
    llm_rec_str_t  str[4];
    llm_ring_rec_t rec;

    fresh();
    memset(&e, 0, sizeof(e));
    memset(&d, 0, sizeof(d));
    memset(&h, 0, sizeof(h));
    memset(&a, 0, sizeof(a));
    submit_fill(&s);
    h.status = 200;
    h.kind = LLM_KIND_SSE;
    d.n_tokens = 3;
    d.n_bytes = 5;

    for (i = 0; i < 4; i++) {
        str[i].data = text;
        str[i].len = (uint32_t) i + 1;
    }

    (void) llm_rec_submit_write(&tx, 1, 1, &s, str);
    (void) llm_rec_admit_write(&tx, 1, 1, &a, str);
    (void) llm_rec_head_write(&tx, 1, 1, &h);
    (void) llm_rec_data_write(&tx, 1, 1, &d, tokens, text);
    (void) llm_rec_end_write(&tx, 1, 1, &e, str);
    (void) llm_rec_credit_write(&tx, 1, 1, 1);
    (void) llm_rec_reject_write(&tx, 1, 1, 1);

    n_ok = n_bad = n_out = 0;

    while (take(&rec) == 1) {
        p = payload(&rec);

        for (i = 0; i < (int) rec.len; i++) {
            was = p[i];

            for (v = 0; v < 256; v++) {
                p[i] = (uint8_t) v;

                switch (read_any(&rec)) {
                case 0:
                    n_ok++;
                    break;
                case -EPROTO:
                    n_bad++;
                    break;
                default:
                    n_out++;
                }
            }

            p[i] = was;
        }

        n_out += read_any(&rec) != 0;
        llm_ring_next(&rx, &rec);
    }

    ok(n_out == 0 && n_ok > 1000 && n_bad > 1000,
       "every value of every byte: %d read, %d refused", n_ok, n_bad);
}


/* The builders tell a full ring as llm_ring_reserve() does. */

static void
test_full(void)
{
    int           rc, n;
    llm_end_t     e;
    llm_data_t    d;
    llm_rec_str_t str[3];

    fresh();
    memset(&e, 0, sizeof(e));
    memset(&d, 0, sizeof(d));
    memset(str, 0, sizeof(str));
    d.n_bytes = 1000;

    for (n = 0; (rc = llm_rec_data_write(&tx, 1, 1, &d, NULL, text)) == 0;
         n++) {
        /* void */
    }

    is_int(rc, -EAGAIN, "DATA until the ring is full: %d", n);
    is_int(ctl->starving, 1, "starving");
    is_int(llm_rec_end_write(&tx, 1, 1, &e, str), 0, "END still passes");
    is_int(llm_rec_credit_write(&tx, 1, 1, 1), 0, "as does CREDIT");
}
