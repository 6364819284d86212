/*
 * The records' payloads, both ways: parsing a payload into private memory and
 * building one.  This is the only place where their contents are validated;
 * the header was by llm_ring_peek().  What depends on a request's state (order
 * of records, more BODY than announced, credit) remains with the callers.
 *
 * Each _read() takes a record of its type as llm_ring_peek() gave it, copies
 * its fixed part once, validates the copy, and copies the strings behind it
 * into the caller's buffer.  0, or -EPROTO on any defect: then the outputs
 * hold nothing of use and the connection is to be closed.  Nothing refers to
 * the ring afterwards, but for llm_rec_data_t's bytes.
 *
 * Each _write() reserves and commits one record: 0, -EAGAIN, -EMSGSIZE or
 * -EPROTO as llm_ring_reserve(), or -EINVAL if a string or count is beyond
 * what the ABI allows.  It sets lengths and padding itself.  Nothing is
 * visible before llm_ring_flush().
 *
 * GO, CANCEL, BODY, MANIFEST and MODEL_STATE have no structure of their own:
 * llm_ring_write() and the header tell all.
 */

#ifndef LLM_IPC_RECORD_H
#define LLM_IPC_RECORD_H

#include "engine/ipc/ring.h"

#define LLM_REC_SUBMIT_STRINGS 4 /* model, tenant, salt, request id */
#define LLM_REC_END_STRINGS    3 /* error, user, asked model */

#define LLM_REC_SUBMIT_BUF (LLM_REC_SUBMIT_STRINGS * (LLM_STRING_MAX + 1))
#define LLM_REC_ADMIT_BUF  (LLM_STRING_MAX + 1)
#define LLM_REC_END_BUF    (LLM_REC_END_STRINGS * (LLM_STRING_MAX + 1))

/* As read: ends with a 0 that len does not count, may hold others. */

typedef struct {
    const char *data;
    uint32_t    len;
} llm_rec_str_t;

/* DATA.  The bytes are still shared: copy them once, before anything else. */

typedef struct {
    llm_data_t     fixed;
    const uint8_t *bytes; /* fixed.n_bytes */
} llm_rec_data_t;


/* `buf`: LLM_REC_SUBMIT_BUF bytes, which the strings point into. */
int llm_rec_submit_read(const llm_ring_rec_t *rec, llm_submit_t *fixed,
                        llm_rec_str_t str[LLM_REC_SUBMIT_STRINGS], char *buf);
int llm_rec_submit_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                         const llm_submit_t *fixed,
                         const llm_rec_str_t str[LLM_REC_SUBMIT_STRINGS]);

/* `buf`: LLM_REC_ADMIT_BUF bytes. */
int llm_rec_admit_read(const llm_ring_rec_t *rec, llm_admit_t *fixed,
                       llm_rec_str_t *model, char *buf);
int llm_rec_admit_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                        const llm_admit_t *fixed, const llm_rec_str_t *model);

int llm_rec_head_read(const llm_ring_rec_t *rec, llm_head_t *head);
int llm_rec_head_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                       const llm_head_t *head);

/* `tokens`: LLM_DATA_TOKENS, or NULL if nobody wants them (checked anyway). */
int llm_rec_data_read(const llm_ring_rec_t *rec, llm_rec_data_t *data,
                      int32_t *tokens);
int llm_rec_data_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                       const llm_data_t *fixed, const int32_t *tokens,
                       const void *bytes);

/* `buf`: LLM_REC_END_BUF bytes. */
int llm_rec_end_read(const llm_ring_rec_t *rec, llm_end_t *fixed,
                     llm_rec_str_t str[LLM_REC_END_STRINGS], char *buf);
int llm_rec_end_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                      const llm_end_t    *fixed,
                      const llm_rec_str_t str[LLM_REC_END_STRINGS]);

int llm_rec_credit_read(const llm_ring_rec_t *rec, llm_credit_t *credit);
int llm_rec_credit_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                         uint32_t bytes);

int llm_rec_reject_read(const llm_ring_rec_t *rec, llm_reject_t *reject);
int llm_rec_reject_write(llm_ring_tx_t *tx, uint32_t slot, uint32_t gen,
                         uint32_t retry_ms);

#endif /* LLM_IPC_RECORD_H */
