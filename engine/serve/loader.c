/*
 * Loading a model: on a thread of its own, at nice 15, beside whatever serves.
 * It fills a version_t that nobody else reads until it is in the mailbox, but
 * for `progress`.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xxhash.h>
#include "engine/model/hf.h"
#include "engine/serve/serve.h"

#define LOADER_NICE 15

static void *loader_main(void *data);
static int   loader_run(version_t *v);
static int   loader_open(version_t *v, gguf_t **g);
static int   loader_templates(version_t *v, const gguf_t *g);
static int   loader_template(version_t *v, const gguf_t *g, const char *key,
                             dialog_t *out, char *err, size_t size);
static void  loader_fingerprint(version_t *v, const gguf_t *g);
static int   loader_progress(void *data, double done);


int
loader_start(version_t *v)
{
    pthread_attr_t attr;
    pthread_t      thread;
    int            rc;

    atomic_fetch_add(&v->refs, 1);
    atomic_fetch_add(&v->serve->loading, 1);

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, loader_main, v);
    pthread_attr_destroy(&attr);

    if (rc) {
        atomic_fetch_sub(&v->refs, 1);
        atomic_fetch_sub(&v->serve->loading, 1);
    }

    return -rc;
}


static void *
loader_main(void *data)
{
    version_t *v = data;
    serve_t   *s = v->serve;

    setpriority(PRIO_PROCESS, (id_t) gettid(), LOADER_NICE);

    if (loader_run(v) < 0) {
        atomic_store(&v->state, VERSION_FAILED);
    }

    if (v->fd >= 0) {
        close(v->fd);
        v->fd = -1;
    }

    if (v->root >= 0) {
        close(v->root);
        v->root = -1;
    }

    /* With the letter goes the reference: the version is not ours after. */
    pthread_mutex_lock(&s->mail_lock);
    v->mail_next = s->mail_loaded;
    s->mail_loaded = v;
    pthread_mutex_unlock(&s->mail_lock);

    serve_wake(s);
    atomic_fetch_sub(&s->loading, 1);

    return NULL;
}


static int
loader_run(version_t *v)
{
    model_params_t params;
    serve_t       *s = v->serve;
    gguf_t        *g;
    uint64_t       start = llm_now_ns();
    int            rc;

    log_notice("model %s: loading, %.1f MB", v->weights,
               (double) v->size / 1e6);

    rc = loader_open(v, &g);
    if (rc < 0) {
        return rc;
    }

    params = (model_params_t){.ops = s->ops,
                              .be = s->be,
                              .context = v->context,
                              .kv_bytes = s->opt.kv,
                              .limits = {.rows = s->opt.rows,
                                         .seqs = s->opt.batch,
                                         .logits = s->opt.logits},
                              .quant = v->quant,
                              .progress = loader_progress,
                              .data = v};

    rc = vocab_open(g, &v->vocab, v->error, sizeof(v->error));

    if (rc == 0) {
        defaults_read(g, v->weights, &v->defaults);
        rc = loader_templates(v, g);
    }

    if (rc == 0) {
        rc = s->opt.null_model ? model_load_null(
                 &params, (uint32_t) text_vocab_size(v->vocab.tokenizer),
                 &v->model, v->error)
                               : model_load(g, &params, &v->model, v->error);
    }

    if (rc == 0
        && text_vocab_size(v->vocab.tokenizer) > v->model->prog.n_vocab) {
        snprintf(v->error, sizeof(v->error),
                 "the tokenizer has %zu tokens, the model %u",
                 text_vocab_size(v->vocab.tokenizer), v->model->prog.n_vocab);
        rc = -EINVAL;
    }

    if (rc == 0) {
        rc = vocab_grammar(&v->vocab, &v->grammars);
        if (rc < 0) {
            snprintf(v->error, sizeof(v->error),
                     "no memory for the vocabulary of grammars");
        }
    }

    if (rc == 0) {
        loader_fingerprint(v, g);
        log_notice("model %s: ready in %.2f s: %s, %s, %.1f M parameters, "
                   "context %u, %u KV pages of %u tokens",
                   v->weights, (double) (llm_now_ns() - start) / 1e9,
                   v->model->arch, v->model->file_type,
                   (double) v->model->n_params / 1e6, v->model->context,
                   v->model->n_pages, K_PAGE_TOKENS);
        log_notice("backend %s: %s", s->ops->name, s->ops->describe(s->be));
    }

    gguf_close(g);

    return rc;
}


/* A GGUF file, or a Hugging Face folder that is told as one. */

static int
loader_open(version_t *v, gguf_t **g)
{
    hf_identity_t id;
    hf_dir_t      dir = {.root = v->root, .path = v->path};

    if (v->fd >= 0) {
        return gguf_open_fd(v->fd, g, v->error, sizeof(v->error));
    }

    LLM_TRY(hf_open(&dir, g, v->error, sizeof(v->error)));

    /* All its files are open or read: are they those that it was named by? */
    if (hf_identity(&dir, &id, v->error, sizeof(v->error)) == 0
        && memcmp(id.ident, v->ident, sizeof(id.ident)) == 0) {
        return 0;
    }

    snprintf(v->error, sizeof(v->error),
             "its files changed while it was opened: reload once they are "
             "whole");
    gguf_close(*g);

    return -EAGAIN;
}


/* The one for requests with tools is named so by GGUF and transformers. */

static int
loader_templates(version_t *v, const gguf_t *g)
{
    char err[sizeof(v->template_error)];

    LLM_TRY(loader_template(v, g, "tokenizer.chat_template", &v->dialog,
                            v->template_error, sizeof(v->template_error)));

    return loader_template(v, g, "tokenizer.chat_template.tool_use",
                           &v->dialog_tools, err, sizeof(err));
}


/* A template that we cannot compile leaves a model without chat. */

static int
loader_template(version_t *v, const gguf_t *g, const char *key, dialog_t *out,
                char *err, size_t size)
{
    static const char id_short[] = "alphanumeric strings with length 9";
    gguf_str_t        src;
    int               rc;

    if (gguf_get_str(g, key, &src) < 0) {
        return 0;
    }

    rc = chat_template_compile(src.data, src.len, &out->template, err, size);
    if (rc < 0) {
        log_error("model %s: %s: %s", v->weights, key, err);
        return rc == -ENOMEM ? rc : 0;
    }

    out->format = v->format ? v->format : chat_format_detect(src.data, src.len);
    out->shows_tools = chat_format_shows_tools(src.data, src.len);
    out->reasons = chat_format_reasons(out->format, src.data, src.len);
    out->effort = memmem(src.data, src.len, "reasoning_effort", 16) != NULL;

    /* Mistral's templates refuse any other id. */
    out->id_short =
        memmem(src.data, src.len, id_short, sizeof(id_short) - 1) != NULL;

    return 0;
}


/* Weights are in the model's; tokenizer and template join them. */

static void
loader_fingerprint(version_t *v, const gguf_t *g)
{
    XXH128_canonical_t canon;
    XXH3_state_t      *h;
    const char        *bytes;
    gguf_str_t         src;
    size_t             i, len;

    h = XXH3_createState();
    if (h == NULL) {
        return;
    }

    XXH3_128bits_reset(h);

    for (i = 0; i < text_vocab_size(v->vocab.tokenizer); i++) {
        bytes = text_token_bytes(v->vocab.tokenizer, (int32_t) i, &len);
        XXH3_128bits_update(h, &len, sizeof(len));
        XXH3_128bits_update(h, bytes, len);
    }

    if (gguf_get_str(g, "tokenizer.chat_template", &src) == 0) {
        XXH3_128bits_update(h, src.data, src.len);
    }

    if (gguf_get_str(g, "tokenizer.chat_template.tool_use", &src) == 0) {
        XXH3_128bits_update(h, src.data, src.len);
    }

    /* What a request that says nothing gets, and where its answer ends. */
    if (!defaults_are_plain(&v->defaults)) {
        XXH3_128bits_update(h, &v->defaults, sizeof(v->defaults));
    }

    XXH3_128bits_update(h, v->vocab.eog, v->vocab.n_eog * sizeof(int32_t));

    XXH128_canonicalFromHash(&canon, XXH3_128bits_digest(h));
    memcpy(v->model->fingerprint + 16, &canon, 16);
    XXH3_freeState(h);

    for (i = 0; i < 5; i++) {
        snprintf(v->fingerprint + (i ? 3 + 2 * i : 0),
                 sizeof(v->fingerprint) - 3 - 2 * i, i ? "%02x" : "fp_%02x",
                 v->model->fingerprint[i] ^ v->model->fingerprint[16 + i]);
    }
}


static int
loader_progress(void *data, double done)
{
    version_t *v = data;

    atomic_store(&v->progress, (unsigned) (done * 1000));

    return atomic_load(&v->serve->stopping);
}
