/*
 * The records' payloads: see record.h.
 *
 * No state: any thread, on its own ring end and its own buffers.  What holds
 * always: the shared payload is read once, by memcpy() into the caller's
 * memory, and only that copy is looked at.
 */

#include <errno.h>
#include <string.h>
#include "engine/ipc/barrier.h"
#include "engine/ipc/record.h"


static int  llm_rec_fixed(const llm_ring_rec_t *rec, uint8_t type, void *fixed,
                          uint32_t size);
static int  llm_rec_strings(const llm_ring_rec_t *rec, uint32_t off,
                            llm_rec_str_t *str, const uint16_t *lens, uint32_t n,
                            char *buf);
static int  llm_rec_strings_size(const llm_rec_str_t *str, uint32_t n,
                                 uint16_t *lens, uint32_t *size);
static void llm_rec_strings_copy(uint8_t *p, const llm_rec_str_t *str,
                                 uint32_t n);
static int  llm_rec_zero(const uint8_t *p, size_t n);
static int  llm_rec_hex(const uint8_t *p, size_t n);


int
llm_rec_submit_read(const llm_ring_rec_t *rec, llm_submit_t *fixed,
                    llm_rec_str_t str[LLM_REC_SUBMIT_STRINGS], char *buf)
{
    uint16_t lens[LLM_REC_SUBMIT_STRINGS];

    if (llm_rec_fixed(rec, LLM_REC_SUBMIT, fixed, sizeof(*fixed)) != 0) {
        return -EPROTO;
    }

    if (fixed->op == 0 || fixed->op >= LLM_OP_MAX || fixed->dialect == 0
        || fixed->dialect >= LLM_DIALECT_MAX
        || (fixed->flags & ~(uint32_t) (LLM_SUBMIT_RESERVE | LLM_SUBMIT_FORCED))
               != 0
        || !llm_rec_hex(fixed->id, sizeof(fixed->id))
        || fixed->organization_len != 0
        || !llm_rec_zero(fixed->pad, sizeof(fixed->pad))) {
        return -EPROTO;
    }

    lens[0] = fixed->model_len;
    lens[1] = fixed->tenant_len;
    lens[2] = fixed->salt_len;
    lens[3] = fixed->request_id_len;

    return llm_rec_strings(rec, sizeof(*fixed), str, lens,
                           LLM_REC_SUBMIT_STRINGS, buf);
}


int
llm_rec_submit_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                     const llm_submit_t *fixed,
                     const llm_rec_str_t str[LLM_REC_SUBMIT_STRINGS])
{
    int          rc;
    uint8_t     *p;
    uint16_t     lens[LLM_REC_SUBMIT_STRINGS];
    uint32_t     size;
    llm_submit_t copy;

    rc = llm_rec_strings_size(str, LLM_REC_SUBMIT_STRINGS, lens, &size);
    if (rc != 0) {
        return rc;
    }

    copy = *fixed;
    copy.model_len = lens[0];
    copy.tenant_len = lens[1];
    copy.salt_len = lens[2];
    copy.request_id_len = lens[3];
    copy.organization_len = 0;
    memset(copy.pad, 0, sizeof(copy.pad));

    size += (uint32_t) sizeof(copy);

    rc = llm_ring_reserve(tx, LLM_REC_SUBMIT, size, &p);
    if (rc != 0) {
        return rc;
    }

    memcpy(p, &copy, sizeof(copy));
    llm_rec_strings_copy(p + sizeof(copy), str, LLM_REC_SUBMIT_STRINGS);
    llm_ring_commit(tx, LLM_REC_SUBMIT, 0, slot, gen, size);

    return 0;
}


int
llm_rec_admit_read(const llm_ring_rec_t *rec, llm_admit_t *fixed,
                   llm_rec_str_t *model, char *buf)
{
    if (llm_rec_fixed(rec, LLM_REC_ADMIT, fixed, sizeof(*fixed)) != 0) {
        return -EPROTO;
    }

    if (fixed->stream > 1 || fixed->cached_tokens > fixed->prompt_tokens
        || !llm_rec_zero(fixed->pad, sizeof(fixed->pad))) {
        return -EPROTO;
    }

    return llm_rec_strings(rec, sizeof(*fixed), model, &fixed->model_len, 1,
                           buf);
}


int
llm_rec_admit_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                    const llm_admit_t *fixed, const llm_rec_str_t *model)
{
    int         rc;
    uint8_t    *p;
    uint16_t    len;
    uint32_t    size;
    llm_admit_t copy;

    rc = llm_rec_strings_size(model, 1, &len, &size);
    if (rc != 0) {
        return rc;
    }

    copy = *fixed;
    copy.model_len = len;
    memset(copy.pad, 0, sizeof(copy.pad));

    size += (uint32_t) sizeof(copy);

    rc = llm_ring_reserve(tx, LLM_REC_ADMIT, size, &p);
    if (rc != 0) {
        return rc;
    }

    memcpy(p, &copy, sizeof(copy));
    llm_rec_strings_copy(p + sizeof(copy), model, 1);
    llm_ring_commit(tx, LLM_REC_ADMIT, 0, slot, gen, size);

    return 0;
}


int
llm_rec_head_read(const llm_ring_rec_t *rec, llm_head_t *head)
{
    if (llm_rec_fixed(rec, LLM_REC_HEAD, head, sizeof(*head)) != 0
        || rec->len != sizeof(*head)) {
        return -EPROTO;
    }

    if (head->status < 200 || head->status > 599 || head->kind == 0
        || head->kind >= LLM_KIND_MAX || head->no_retry > 1
        || !llm_rec_zero(head->pad, sizeof(head->pad))) {
        return -EPROTO;
    }

    return 0;
}


int
llm_rec_head_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                   const llm_head_t *head)
{
    llm_head_t copy;

    copy = *head;
    memset(copy.pad, 0, sizeof(copy.pad));

    return llm_ring_write(tx, LLM_REC_HEAD, 0, slot, gen, &copy, sizeof(copy),
                          NULL, 0);
}


int
llm_rec_data_read(const llm_ring_rec_t *rec, llm_rec_data_t *data,
                  int32_t *tokens)
{
    int32_t         token;
    uint32_t        i;
    uint64_t        size;
    llm_data_t     *f;
    const uint32_t *p;

    f = &data->fixed;

    if (llm_rec_fixed(rec, LLM_REC_DATA, f, sizeof(*f)) != 0) {
        return -EPROTO;
    }

    size = sizeof(*f) + (uint64_t) f->n_tokens * 4 + f->n_bytes;

    if (size != rec->len || f->n_tokens > LLM_DATA_TOKENS
        || f->token_first > UINT32_MAX - f->n_tokens
        || (f->flags & ~LLM_DATA_BOUNDARY) != 0) {
        return -EPROTO;
    }

    p = (const uint32_t *) (const void *) (rec->payload + sizeof(*f));

    for (i = 0; i < f->n_tokens; i++) {
        token = (int32_t) llm_word32_load(p + i);

        if (token < 0) {
            return -EPROTO;
        }

        if (tokens != NULL) {
            tokens[i] = token;
        }
    }

    data->bytes = (const uint8_t *) (p + f->n_tokens);

    return 0;
}


int
llm_rec_data_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                   const llm_data_t *fixed, const int32_t *tokens,
                   const void *bytes)
{
    int      rc;
    uint8_t *p;
    uint32_t size;

    if (fixed->n_tokens > LLM_DATA_TOKENS
        || fixed->token_first > UINT32_MAX - fixed->n_tokens) {
        return -EINVAL;
    }

    size = (uint32_t) sizeof(*fixed) + fixed->n_tokens * 4;
    if (fixed->n_bytes > UINT32_MAX - size) {
        return -EMSGSIZE;
    }

    rc = llm_ring_reserve(tx, LLM_REC_DATA, size + fixed->n_bytes, &p);
    if (rc != 0) {
        return rc;
    }

    memcpy(p, fixed, sizeof(*fixed));

    if (fixed->n_tokens != 0) {
        memcpy(p + sizeof(*fixed), tokens, (size_t) fixed->n_tokens * 4);
    }

    if (fixed->n_bytes != 0) {
        memcpy(p + size, bytes, fixed->n_bytes);
    }

    llm_ring_commit(tx, LLM_REC_DATA, 0, slot, gen, size + fixed->n_bytes);

    return 0;
}


int
llm_rec_end_read(const llm_ring_rec_t *rec, llm_end_t *fixed,
                 llm_rec_str_t str[LLM_REC_END_STRINGS], char *buf)
{
    uint16_t lens[LLM_REC_END_STRINGS];

    if (llm_rec_fixed(rec, LLM_REC_END, fixed, sizeof(*fixed)) != 0) {
        return -EPROTO;
    }

    if (fixed->outcome >= LLM_END_MAX || fixed->finish >= LLM_FINISH_MAX
        || (fixed->status != 0 && (fixed->status < 200 || fixed->status > 599))
        || fixed->stream > 1 || !llm_rec_zero(fixed->pad, sizeof(fixed->pad))) {
        return -EPROTO;
    }

    lens[0] = fixed->error_len;
    lens[1] = fixed->user_len;
    lens[2] = fixed->asked_len;

    return llm_rec_strings(rec, sizeof(*fixed), str, lens, LLM_REC_END_STRINGS,
                           buf);
}


int
llm_rec_end_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                  const llm_end_t    *fixed,
                  const llm_rec_str_t str[LLM_REC_END_STRINGS])
{
    int       rc;
    uint8_t  *p;
    uint16_t  lens[LLM_REC_END_STRINGS];
    uint32_t  size;
    llm_end_t copy;

    rc = llm_rec_strings_size(str, LLM_REC_END_STRINGS, lens, &size);
    if (rc != 0) {
        return rc;
    }

    copy = *fixed;
    copy.error_len = lens[0];
    copy.user_len = lens[1];
    copy.asked_len = lens[2];
    memset(copy.pad, 0, sizeof(copy.pad));

    size += (uint32_t) sizeof(copy);

    rc = llm_ring_reserve(tx, LLM_REC_END, size, &p);
    if (rc != 0) {
        return rc;
    }

    memcpy(p, &copy, sizeof(copy));
    llm_rec_strings_copy(p + sizeof(copy), str, LLM_REC_END_STRINGS);
    llm_ring_commit(tx, LLM_REC_END, 0, slot, gen, size);

    return 0;
}


int
llm_rec_credit_read(const llm_ring_rec_t *rec, llm_credit_t *credit)
{
    if (llm_rec_fixed(rec, LLM_REC_CREDIT, credit, sizeof(*credit)) != 0
        || rec->len != sizeof(*credit) || credit->pad != 0) {
        return -EPROTO;
    }

    return 0;
}


int
llm_rec_credit_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                     uint32_t bytes)
{
    llm_credit_t credit;

    credit.bytes = bytes;
    credit.pad = 0;

    return llm_ring_write(tx, LLM_REC_CREDIT, 0, slot, gen, &credit,
                          sizeof(credit), NULL, 0);
}


int
llm_rec_reject_read(const llm_ring_rec_t *rec, llm_reject_t *reject)
{
    if (llm_rec_fixed(rec, LLM_REC_REJECT, reject, sizeof(*reject)) != 0
        || rec->len != sizeof(*reject) || reject->pad != 0) {
        return -EPROTO;
    }

    return 0;
}


int
llm_rec_reject_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                     uint32_t retry_ms)
{
    llm_reject_t reject;

    reject.retry_ms = retry_ms;
    reject.pad = 0;

    return llm_ring_write(tx, LLM_REC_REJECT, 0, slot, gen, &reject,
                          sizeof(reject), NULL, 0);
}


/* Copies the fixed part of a record of this type. */

static int
llm_rec_fixed(const llm_ring_rec_t *rec, uint8_t type, void *fixed,
              uint32_t size)
{
    if (rec->hdr.type != type || rec->len < size) {
        return -EPROTO;
    }

    llm_copy_once(fixed, rec->payload, size);

    return 0;
}


/* Copies n strings, which must fill the payload from `off` on exactly. */

static int
llm_rec_strings(const llm_ring_rec_t *rec, uint32_t off, llm_rec_str_t *str,
                const uint16_t *lens, uint32_t n, char *buf)
{
    uint32_t i, sum;

    sum = off;

    for (i = 0; i < n; i++) {
        if (lens[i] > LLM_STRING_MAX) {
            return -EPROTO;
        }

        sum += lens[i];
    }

    if (sum != rec->len) {
        return -EPROTO;
    }

    for (i = 0; i < n; i++) {
        memcpy(buf, rec->payload + off, lens[i]);
        buf[lens[i]] = '\0';

        str[i].data = buf;
        str[i].len = lens[i];

        buf += lens[i] + 1;
        off += lens[i];
    }

    return 0;
}


static int
llm_rec_strings_size(const llm_rec_str_t *str, uint32_t n, uint16_t *lens,
                     uint32_t *size)
{
    uint32_t i;

    *size = 0;

    for (i = 0; i < n; i++) {
        if (str[i].len > LLM_STRING_MAX) {
            return -EINVAL;
        }

        lens[i] = (uint16_t) str[i].len;
        *size += str[i].len;
    }

    return 0;
}


static void
llm_rec_strings_copy(uint8_t *p, const llm_rec_str_t *str, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        if (str[i].len != 0) {
            memcpy(p, str[i].data, str[i].len);
            p += str[i].len;
        }
    }
}


static int
llm_rec_zero(const uint8_t *p, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (p[i] != 0) {
            return 0;
        }
    }

    return 1;
}


static int
llm_rec_hex(const uint8_t *p, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f'))) {
            return 0;
        }
    }

    return 1;
}
