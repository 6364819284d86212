/*
 * Loads a weight file: metadata -> dimensions -> a step program out of the
 * architecture's table -> tensors into the backend -> a pool of KV pages.
 *
 * Runs on a loader thread, once a model.  Everything taken is noted in the
 * model_t as it is taken, so that model_free() undoes a half-finished load.
 * A file must hold exactly the tensors that the table knows: one that is
 * missing, left over, or of another shape is refused by its name.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/base.h"
#include "engine/model/model_priv.h"

#define MODEL_PAGES_MIN 4
/* Without kv_bytes: pages for so many whole contexts, if the arena has them. */
#define MODEL_KV_CONTEXTS 16

static int  load_steps(load_t *l);
static int  load_kv(load_t *l);
static void load_file_type(load_t *l);


int
load_fail(load_t *l, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l->err, K_ERR_MAX, fmt, ap);
    va_end(ap);

    return rc;
}


int
model_load(const gguf_t *file, const model_params_t *params, model_t **model,
           char *err)
{
    gguf_str_t arch;
    model_t   *m;
    load_t     l;
    size_t     i;
    int        rc;

    l = (load_t){.file = file, .params = params, .err = err};

    if (gguf_get_str(file, "general.architecture", &arch) < 0) {
        return load_fail(&l, -EINVAL, "no general.architecture in the file");
    }

    l.arch = arch_find(arch.data, arch.len);
    if (l.arch == NULL) {
        return load_fail(&l, -ENOTSUP, "architecture \"%.*s\" is not supported",
                         (int) (arch.len > 64 ? 64 : arch.len), arch.data);
    }

    m = calloc(1, sizeof(model_t));
    l.m = m;
    l.used = calloc(gguf_tensor_n(file) + 1, 1);
    l.hash = XXH3_createState();

    if (m == NULL || l.used == NULL || l.hash == NULL) {
        rc = load_fail(&l, -ENOMEM, "no memory");
        goto done;
    }

    XXH3_128bits_reset(l.hash);

    m->ops = params->ops;
    m->be = params->be;
    m->limits = params->limits;
    snprintf(m->arch, sizeof(m->arch), "%s", l.arch->name);

    for (i = 0; i < gguf_tensor_n(file); i++) {
        l.bytes_all += gguf_tensor_at(file, i)->size;
    }

    rc = load_steps(&l);

done:

    if (rc == 0) {
        XXH128_canonical_t canon;

        XXH128_canonicalFromHash(&canon, XXH3_128bits_digest(l.hash));
        memcpy(m->fingerprint, &canon, sizeof(canon));
        load_file_type(&l);
        *model = m;

    } else {
        model_free(m);
    }

    free(l.used);
    free(l.local);
    XXH3_freeState(l.hash);

    return rc;
}


static int
load_steps(load_t *l)
{
    LLM_TRY(load_meta(l));
    LLM_TRY(load_rope(l));
    LLM_TRY(load_ops(l));
    LLM_TRY(load_leftovers(l));

    return load_kv(l);
}


int
model_load_null(const model_params_t *params, uint32_t n_vocab, model_t **model,
                char *err)
{
    model_t *m;
    load_t   l = {.params = params, .err = err};
    int      rc;

    m = calloc(1, sizeof(model_t));
    if (m == NULL) {
        return load_fail(&l, -ENOMEM, "no memory");
    }

    l.m = m;
    m->ops = params->ops;
    m->be = params->be;
    m->limits = params->limits;
    m->prog.n_vocab = n_vocab;
    m->trained = 8192;
    m->context = params->context ? params->context : m->trained;
    snprintf(m->arch, sizeof(m->arch), "null");
    snprintf(m->file_type, sizeof(m->file_type), "none");

    rc = load_kv(&l);
    if (rc < 0) {
        model_free(m);
        return rc;
    }

    *model = m;

    return 0;
}


void
model_free(model_t *m)
{
    uint32_t i;

    if (m == NULL) {
        return;
    }

    if (m->exec) {
        m->ops->program_free(m->exec);
    }

    if (m->kv) {
        m->ops->kv_free(m->be, m->kv);
    }

    for (i = 0; i < m->n_weights; i++) {
        m->ops->weights_free(m->be, m->weights[i]);
    }

    free(m->weights);
    free(m->ops_own);
    free(m->inv_freq);
    free(m);
}


static int
load_kv(load_t *l)
{
    uint64_t size, used, bytes, want;
    model_t *m = l->m;

    m->page_bytes = m->ops->kv_layout(m->be, &m->prog);
    m->ops->memory(m->be, &size, &used);

    want = (m->context + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS;
    want *= m->page_bytes * MODEL_KV_CONTEXTS;

    bytes = l->params->kv_bytes;
    if (bytes == 0) {
        /* Leave a share for models to come: half of what is left. */
        bytes = size > used ? (size - used) / 2 : 0;
        bytes = bytes > want ? want : bytes;
    }

    if (m->page_bytes) {
        m->n_pages = (uint32_t) (bytes / m->page_bytes);

    } else {
        /* The null backend's pages take nothing. */
        m->n_pages = MODEL_KV_CONTEXTS
                     * ((m->context + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS);
    }

    if (m->n_pages < MODEL_PAGES_MIN) {
        return load_fail(l, -ENOMEM,
                         "no memory for KV pages: %" PRIu64 " of %" PRIu64
                         " bytes are used, one page of %d tokens takes %" PRIu64
                         "; raise --memory",
                         used, size, K_PAGE_TOKENS, m->page_bytes);
    }

    LLM_TRY(m->ops->kv_new(m->be, &m->prog, m->n_pages, &m->kv, l->err));

    return m->ops->program_prepare(m->be, &m->prog, m->kv, &m->limits, &m->exec,
                                   l->err);
}


/* Names the type that most bytes of the layers' matrices have, as loaded. */

static void
load_file_type(load_t *l)
{
    uint32_t type, best = 0;

    for (type = 0; type < GGML_TYPES; type++) {
        if (l->type_bytes[type] > l->type_bytes[best]) {
            best = type;
        }
    }

    snprintf(l->m->file_type, sizeof(l->m->file_type), "%s",
             gguf_type_name(best));
}
