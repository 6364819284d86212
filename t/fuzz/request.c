/*
 * Bodies of requests, and manifests, of any bytes: parsed, settled, written
 * about and freed.  The first byte says what the rest is.
 */

#include <stdint.h>
#include <stdlib.h>
#include "engine/api/api.h"
#include "engine/serve/serve.h"

#define MUTATIONS 1500

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const gen_identity_t identity = {.id =
                                            "0123456789abcdef0123456789abcdef",
                                        .created = 1,
                                        .model = {"m", 1},
                                        .fingerprint = "fp_0",
                                        .seed = 1};


/* What was written must be JSON, whatever came in. */

static void
check(const char *p, size_t len)
{
    json_t *root = json_loadb(p, len, JSON_ALLOW_NUL, NULL);

    if (root == NULL) {
        abort();
    }

    json_decref(root);
}


static void
fuzz_error(const gen_error_t *e)
{
    buf_t out = {0};

    if (e->status < 400 || e->type == NULL) {
        abort();
    }

    api_error_write(e, &out);
    check(out.data, out.len);
    buf_free(&out);
}


static void
fuzz_generate(int kind, const char *body, size_t len)
{
    gen_request_t req;
    gen_usage_t   usage = {0};
    gen_error_t   e = {0};
    gen_token_t   token = {.text = {body, len < 7 ? len : 7},
                           .has_logprob = 1,
                           .logprob = -1};
    gen_text_t    text = {.text = {body, len < 40 ? len : 40},
                          .tokens = &token,
                          .n_tokens = 1};
    int           part;
    api_writer_t *w;
    uint32_t      n;
    buf_t         out = {0};

    if (api_openai_parse(kind, body, len, &req, &e) < 0) {
        fuzz_error(&e);
        return;
    }

    if (api_request_settle(&req) < 0) {
        abort();
    }

    n = req.n * (req.n_prompts ? req.n_prompts : 1);
    w = api_writer_new(&req, &identity, n);
    api_writer_begin(w, &out);

    for (part = GEN_PART_CONTENT; part <= GEN_PART_INPUT; part++) {
        text.part = part;
        api_writer_text(w, &text, &out);
    }

    text.part = GEN_PART_CALL;
    text.call = 1;
    api_writer_text(w, &text, &out);
    api_writer_finish(w, n - 1, GEN_FINISH_TOOL_CALLS, &out);
    api_writer_end(w, &usage, &out);

    if (!req.stream) {
        check(out.data, out.len);
    }

    buf_free(&out);
    api_writer_free(w);
    api_request_free(&req);
}


static void
fuzz_manifest(const char *body, size_t len)
{
    static serve_t serve;
    conn_t         c = {.serve = &serve};
    buf_t          state = {0};
    char           err[K_ERR_MAX];

    /* No file is there: the versions are the engine's tests' */
    serve.opt.model_root = "t/fuzz/nowhere";
    serve.local.serve = &serve;

    if (manifest_read(&c, body, len, err) == 0) {
        models_state(&c, &state);
        check(state.data, state.len);
        models_list(&c, NULL, 0);
    }

    models_forget(&c);
    buf_free(&state);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    api_tokenize_t t;
    gen_request_t  req;
    gen_error_t    e = {0};
    const char    *body = (const char *) data + 1;

    if (size == 0) {
        return 0;
    }

    llm_log_level(-1);
    size--;

    switch ((uint8_t) (data[0] - '0') % 5) {

    case 0:
        fuzz_generate(GEN_CHAT, body, size);
        break;

    case 1:
        fuzz_generate(GEN_COMPLETION, body, size);
        break;

    case 2:
        if (api_tokenize_parse(body, size, &t, &e) < 0) {
            fuzz_error(&e);
        } else {
            api_request_free(&t.req);
        }
        break;

    case 3:
        if (api_detokenize_parse(body, size, &req, &e) < 0) {
            fuzz_error(&e);
        } else {
            api_request_free(&req);
        }
        break;

    default:
        fuzz_manifest(body, size);
        break;
    }

    return 0;
}


#include "t/fuzz/replay.h"
