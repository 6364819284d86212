/*
 * For tests of the way from tokens to bytes: a toy vocabulary of all pieces of
 * some texts, and requests in the step loop's hands with no connection.
 */

#ifndef LLM_T_SERVE_RIG_H
#define LLM_T_SERVE_RIG_H

#include "engine/sched/sched_priv.h"
#include "engine/serve/front.h"
#include "t/lib/tap.h"

#define CUT    4 /* longest token, in bytes */
#define TOKENS 64

typedef struct {
    text_tokenizer_t *tok;
    char             *bytes[4096];
    text_str_t        spelled[4096];
    uint32_t          n;
} toy_t;

static serve_t   serve;
static version_t version;
static toy_t     toy;
static int       finish_reason = SCHED_LENGTH; /* of all choices */


/* A byte in GPT-2's spelling. */

static void
toy_spell(buf_t *b, unsigned char byte)
{
    unsigned c = byte, k, next = 256;

    for (k = 0; k <= byte; k++) {
        if (k < 0x21 || (k > 0x7e && k < 0xa1) || k == 0xad) {
            c = next++;
        } else {
            c = k;
        }
    }

    if (c < 0x80) {
        buf_add(b, (char[]){(char) c}, 1);
    } else {
        buf_add(b, (char[]){(char) (0xc0 | c >> 6), (char) (0x80 | (c & 63))},
                2);
    }
}


static void
toy_add(const char *s, size_t len)
{
    buf_t    b = {0};
    size_t   i;
    uint32_t k;

    for (i = 0; i < len; i++) {
        toy_spell(&b, (unsigned char) s[i]);
    }

    for (k = 0; k < toy.n; k++) {
        if (toy.spelled[k].len == b.len
            && memcmp(toy.spelled[k].data, b.data, b.len) == 0) {
            buf_free(&b);
            return;
        }
    }

    toy.bytes[toy.n] = b.data;
    toy.spelled[toy.n++] = (text_str_t){b.data, b.len};
}


/* All bytes, and all pieces of these texts up to CUT bytes. */

static void
toy_make(const char *const *texts, size_t n)
{
    text_vocab_t v = {.model = {"gpt2", 4}, .pre = {"gpt-2", 5}};
    size_t       i, at, len;
    char         err[256], byte;
    int          c;

    for (c = 0; c < 256; c++) {
        byte = (char) c;
        toy_add(&byte, 1);
    }

    for (i = 0; i < n; i++) {
        for (at = 0; texts[i][at]; at++) {
            for (len = 2; len <= CUT && at + len <= strlen(texts[i]); len++) {
                toy_add(texts[i] + at, len);
            }
        }
    }

    v.n_tokens = toy.n;
    v.tokens = toy.spelled;
    v.bos = v.eos = v.eot = v.unk = v.pad = -1;

    if (text_tokenizer_new(&v, &toy.tok, err, sizeof(err)) < 0) {
        ok(0, "tokenizer: %s", err);
        exit(1);
    }
}


static int32_t
toy_id(const char *s, size_t len)
{
    return text_token_find_any(toy.tok, s, len);
}


/* A request in the step loop's hands, with no connection. */

static req_t *
req_make(int kind, const char *body, const int32_t *prompt, uint32_t n_prompt)
{
    req_t        *r = calloc(1, sizeof(req_t));
    gen_error_t   e = {0};
    sched_slot_t *slot = calloc(1, sizeof(sched_slot_t));

    r->serve = &serve;
    r->owner = NULL;
    r->phase = PHASE_RUN;
    r->version = &version;
    serve.live++;
    atomic_fetch_add(&version.refs, 1);

    if (api_openai_parse(kind, body, strlen(body), &r->request, &e) < 0) {
        ok(0, "%s: %s", body, e.message);
        exit(1);
    }

    r->has_request = 1;
    r->n_prompts = 1;
    r->n_choices = r->request.n;
    r->max_tokens = 1000;
    r->prompt_tokens = n_prompt;
    r->prompts = calloc(1, sizeof(prompt_t));
    r->prompts->req = r;
    r->prompts->tokens = calloc(n_prompt + 1, sizeof(int32_t));
    memcpy(r->prompts->tokens, prompt, n_prompt * sizeof(int32_t));
    r->prompts->group = (sched_group_t){.tokens = r->prompts->tokens,
                                        .n_tokens = n_prompt,
                                        .data = r->prompts,
                                        .priv = slot,
                                        .priv_gen = 99};
    memcpy(r->id, "0123456789abcdef0123456789abcdef", 33);
    r->identity = (gen_identity_t){.id = r->id,
                                   .created = 1,
                                   .model = {"m", 1},
                                   .fingerprint = "fp_0",
                                   .seed = 3};

    /* A chat: of the model's template. */
    r->dialog = kind == GEN_CHAT ? &version.dialog : NULL;
    if (front_reading(r) < 0 || api_request_settle(&r->request) < 0) {
        exit(1);
    }

    r->writer = api_writer_new(&r->request, &r->identity, r->n_choices);
    back_begin(r);

    return r;
}


static void
req_drop(req_t *r)
{
    free(r->prompts->group.priv);
    req_release(r);
}


static back_event_t
event(req_t *r, int kind, uint32_t choice, int32_t token, uint32_t index)
{
    back_event_t be = {.ev = {.kind = kind,
                              .group = &r->prompts->group,
                              .choice = choice,
                              .token = token,
                              .index = index,
                              .reason = finish_reason,
                              .now_ns = 5}};

    be.has_sampled =
        r->request.logprobs && (kind == SCHED_EV_TOKEN || index > 0);
    be.sampled.token = token;
    be.sampled.logprob = -1.5f;

    return be;
}


/* The tokens of a cut, to the end; `group`: events at a time. */

__attribute__((unused)) static void
req_run(req_t *r, const int32_t *ids, uint32_t n, uint32_t group)
{
    static back_event_t ev[TOKENS * 8];
    uint32_t            i, c, k = 0;

    for (i = 0; i <= n; i++) {
        for (c = 0; c < r->n_choices; c++) {
            ev[k++] = i < n ? event(r, SCHED_EV_TOKEN, c, ids[i], i)
                            : event(r, SCHED_EV_FINISH, c, 0, 0);
        }
    }

    for (i = 0; i < k; i += group) {
        back_take(&serve, ev + i, k - i < group ? k - i : group);
    }
}


/* Cut `cut`: bit i set ends a token behind byte i.  0: one is too long. */

__attribute__((unused)) static uint32_t
cut_make(const char *text, uint32_t cut, int32_t *ids)
{
    size_t   i, from = 0, len = strlen(text);
    uint32_t n = 0;

    for (i = 0; i < len; i++) {
        if (i + 1 == len || cut >> i & 1) {
            if (i + 1 - from > CUT) {
                return 0;
            }
            ids[n++] = toy_id(text + from, i + 1 - from);
            from = i + 1;
        }
    }

    return n;
}

#endif /* LLM_T_SERVE_RIG_H */
