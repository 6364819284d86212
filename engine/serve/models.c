/*
 * The manifest made true: which names a connection has, which weight files
 * they mean, and which of their versions answers now.
 *
 * A version is a file's identity (device, inode, size, time), or that of a
 * folder's files, and its options.
 * A name's entry has the version that it wants and the one that serves it;
 * until the wanted one is ready, or if it fails, the previous one goes on.
 * Versions that nobody names stay for --model-linger.
 *
 * The io thread changes everything here; front threads look names up, under
 * models_lock.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "engine/serve/serve.h"

#define MODELS_STATE_MS 500

static version_t *models_previous(serve_t *s, const char *name);
static void       models_serve(conn_t *c, version_t *v);
static void       models_hold(version_t *v);
static void       models_unhold(serve_t *s, version_t *v);
static void       models_free_version(version_t *v);
static void       models_gone(void *data);
static void       models_due(serve_t *s);


void
models_init(serve_t *s)
{
    s->local.serve = s;
    s->local.out_tail = &s->local.out_head;
}


/* After the step loop's end: nothing uses a model any more. */

void
models_free(serve_t *s)
{
    version_t *v;

    models_forget(&s->local);

    while (atomic_load(&s->loading)) {
        usleep(10000);
    }

    while ((v = s->versions) != NULL) {
        s->versions = v->next;
        models_free_version(v);
    }
}


/* The next entry of a connection's: what it wants, and what answers now. */

void
models_enter(conn_t *c, entry_t *e, version_t *v)
{
    serve_t *s = c->serve;

    pthread_mutex_lock(&s->models_lock);

    e->wanted = v;

    if (v) {
        models_hold(v);
    }

    e->serving = v && atomic_load(&v->state) == VERSION_READY && v->handle
                     ? v
                     : models_previous(s, e->name);
    if (e->serving) {
        models_hold(e->serving);
    }

    c->n_entries++;

    pthread_mutex_unlock(&s->models_lock);
}


/* What served that name last, on another connection. */

static version_t *
models_previous(serve_t *s, const char *name)
{
    version_t *best = NULL;
    uint32_t   i;
    conn_t    *c;

    for (c = s->conns; c; c = c->next) {
        for (i = 0; i < c->n_entries; i++) {
            if (c->entries[i].serving && !c->entries[i].serving->removing
                && strcmp(c->entries[i].name, name) == 0) {
                best = c->entries[i].serving;
            }
        }
    }

    return best;
}


static void
models_hold(version_t *v)
{
    v->named++;
    v->linger_ns = 0;
}


static void
models_unhold(serve_t *s, version_t *v)
{
    if (v && --v->named == 0) {
        v->linger_ns = llm_now_ns() + s->opt.linger_ms * 1000000ull;
    }
}


void
models_entry_free(serve_t *s, entry_t *e)
{
    uint32_t i;

    models_unhold(s, e->wanted);
    models_unhold(s, e->serving);

    for (i = 0; i < e->n_names; i++) {
        free(e->names[i]);
    }

    free(e->name);
    *e = (entry_t){0};
}


/* The connection is gone, and its names with it. */

void
models_forget(conn_t *c)
{
    uint32_t i;

    pthread_mutex_lock(&c->serve->models_lock);

    for (i = 0; i < c->n_entries; i++) {
        models_entry_free(c->serve, &c->entries[i]);
    }

    free(c->entries);
    c->entries = NULL;
    c->n_entries = 0;

    pthread_mutex_unlock(&c->serve->models_lock);
}


entry_t *
models_lookup(conn_t *c, str_t name)
{
    uint32_t i, j;
    entry_t *e;

    for (i = 0; i < c->n_entries; i++) {
        e = &c->entries[i];

        if (str_eq(str_of(e->name), name)) {
            return e;
        }

        for (j = 0; j < e->n_names; j++) {
            if (str_eq(str_of(e->names[j]), name)) {
                return e;
            }
        }
    }

    return NULL;
}


/*
 * Front threads: the version that answers to a name on this connection, held
 * for the caller; it may be loading.  NULL and *known: the name exists, its
 * file could not be opened.  primary[MODEL_NAME_MAX] gets the model's own name.
 */

version_t *
models_find(serve_t *s, conn_t *c, str_t name, char *primary, int *known)
{
    version_t *v = NULL;
    entry_t   *e = NULL;

    *known = 0;

    pthread_mutex_lock(&s->models_lock);

    if (c) {
        e = models_lookup(c, name);
    }

    if (e == NULL) {
        e = models_lookup(&s->local, name);
    }

    if (e) {
        *known = 1;
        v = e->serving ? e->serving : e->wanted;
        snprintf(primary, MODEL_NAME_MAX, "%s", e->name);
    }

    if (v) {
        atomic_fetch_add(&v->refs, 1);
    }

    pthread_mutex_unlock(&s->models_lock);

    return v;
}


void
models_release(version_t *v)
{
    atomic_fetch_sub(&v->refs, 1);
}


/* The loader is done with it: its reference is ours now. */

void
models_loaded(version_t *v)
{
    serve_t *s = v->serve;
    conn_t  *c;
    int      rc;

    models_release(v);

    if (atomic_load(&s->stopping)) {
        return;
    }

    if (atomic_load(&v->state) == VERSION_LOADING) {
        rc = sched_model_add(s->sched, v->model, &v->handle);
        if (rc < 0) {
            snprintf(v->error, sizeof(v->error), "no memory");
        }

        atomic_store(&v->state, rc < 0 ? VERSION_FAILED : VERSION_READY);
    }

    models_due(s);

    if (atomic_load(&v->state) == VERSION_FAILED) {
        log_error("model %s: %s", v->weights, v->error);
        return;
    }

    pthread_mutex_lock(&s->models_lock);

    models_serve(&s->local, v);

    for (c = s->conns; c; c = c->next) {
        models_serve(c, v);
    }

    pthread_mutex_unlock(&s->models_lock);
}


/* It answers to the names that want it from now on. */

static void
models_serve(conn_t *c, version_t *v)
{
    entry_t *e;
    uint32_t i;

    for (i = 0; i < c->n_entries; i++) {
        e = &c->entries[i];

        if (e->wanted == v && e->serving != v) {
            models_hold(v);
            models_unhold(c->serve, e->serving);
            e->serving = v;
        }
    }
}


static void
models_due(serve_t *s)
{
    conn_t *c;

    for (c = s->conns; c; c = c->next) {
        c->state_due = c->has_manifest;
    }
}


/* Loading is told now and then; what nobody names any more goes. */

void
models_tick(serve_t *s, uint64_t now_ns)
{
    version_t **p, *v;
    int         loading = 0;

    for (p = &s->versions; (v = *p) != NULL;) {
        loading |= atomic_load(&v->state) == VERSION_LOADING;

        if (atomic_load(&v->gone)
            || (v->named == 0 && atomic_load(&v->refs) == 0
                && atomic_load(&v->state) == VERSION_FAILED)) {
            *p = v->next;

            if (v->handle) {
                log_notice("model %s is unloaded", v->weights);
            }

            models_free_version(v);
            continue;
        }

        if (v->linger_ns && now_ns >= v->linger_ns && !v->removing
            && atomic_load(&v->refs) == 0 && v->handle) {
            v->removing = 1;
            sched_model_remove(s->sched, v->handle, models_gone, v);
        }

        p = &v->next;
    }

    if (!loading) {
        s->state_ns = 0;

    } else if (now_ns - s->state_ns > MODELS_STATE_MS * 1000000ull) {
        s->state_ns = now_ns;
        models_due(s);
    }
}


/* On the step loop's thread. */

static void
models_gone(void *data)
{
    version_t *v = data;
    serve_t   *s = v->serve;

    atomic_store(&v->gone, 1); /* the io thread may free it from here on */
    serve_wake(s);
}


static void
models_free_version(version_t *v)
{
    model_free(v->model);
    grammar_vocab_release(v->grammars);
    vocab_close(&v->vocab);
    chat_template_free(v->dialog.template);
    chat_template_free(v->dialog_tools.template);

    if (v->fd >= 0) {
        close(v->fd);
    }

    if (v->root >= 0) {
        close(v->root);
    }

    free(v->path);
    free(v->weights);
    free(v);
}


/* A name that is served now, for the metrics' label; "" if there is none. */

const char *
models_name(serve_t *s)
{
    uint32_t i;
    conn_t  *c;

    for (c = s->conns; c; c = c->next) {
        for (i = 0; i < c->n_entries; i++) {
            if (c->entries[i].serving) {
                return c->entries[i].name;
            }
        }
    }

    for (i = 0; i < s->local.n_entries; i++) {
        if (s->local.entries[i].serving) {
            return s->local.entries[i].name;
        }
    }

    return "";
}


void
models_state(conn_t *c, buf_t *out)
{
    static const char *const states[] = {"loading", "ready", "failed"};
    const char              *error;
    version_t               *v;
    uint32_t                 i;
    entry_t                 *e;
    int                      state;

    buf_str(out, "{\"models\":[");

    for (i = 0; i < c->n_entries; i++) {
        e = &c->entries[i];
        v = e->wanted;
        state = v ? atomic_load(&v->state) : VERSION_FAILED;
        error = v ? v->error : e->error;

        buf_str(out, i ? ",{\"name\":" : "{\"name\":");
        buf_json(out, e->name, strlen(e->name));
        buf_fmt(out,
                ",\"state\":\"%s\",\"progress\":%.3f,\"error\":", states[state],
                state == VERSION_READY ? 1.0
                : v                    ? atomic_load(&v->progress) / 1000.0
                                       : 0.0);

        if (state == VERSION_FAILED) {
            buf_json(out, error, strlen(error));
        } else {
            buf_str(out, "null");
        }

        buf_fmt(out, ",\"serving\":%s", e->serving ? "true" : "false");

        if (e->serving) {
            buf_fmt(out, ",\"fingerprint\":\"%s\",\"context\":%u",
                    e->serving->fingerprint, e->serving->model->context);
        }

        buf_fmt(out, ",\"created\":%lld}", v ? (long long) v->created : 0ll);
    }

    buf_str(out, "]}");
}


/* Names that this connection's clients may use: fills cap, returns all. */

size_t
models_list(conn_t *c, api_model_t *list, size_t cap)
{
    conn_t  *from[] = {c, &c->serve->local};
    size_t   n = 0, k;
    uint32_t i, j;

    for (k = 0; k < 2; k++) {
        for (i = 0; i < from[k]->n_entries; i++) {
            entry_t   *e = &from[k]->entries[i];
            version_t *v = e->serving ? e->serving : e->wanted;

            for (j = 0; j <= e->n_names; j++) {
                str_t id = str_of(j ? e->names[j - 1] : e->name);

                if (k && models_lookup(c, id)) {
                    continue; /* the connection's own stands above it */
                }

                if (n < cap) {
                    list[n] = (api_model_t){
                        .id = id,
                        .created = v ? v->created : 0,
                        .context = e->serving ? e->serving->model->context : 0};
                }

                n++;
            }
        }
    }

    return n;
}
