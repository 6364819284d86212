/*
 * The manifest made true: which names a connection has, which weight files
 * they mean, and which of their versions answers now.
 *
 * A version is a file's identity (device, inode, size, time) and its options.
 * A name's entry has the version that it wants and the one that serves it;
 * until the wanted one is ready, or if it fails, the previous one goes on.
 * Versions that nobody names stay for --model-linger.
 *
 * The io thread changes everything here; front threads look names up, under
 * models_lock.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "engine/serve/serve.h"

#define MODELS_MAX      256
#define MODELS_CONTEXT  (1u << 24)
#define MODELS_STATE_MS 500

static int        models_entry(conn_t *c, json_t *m, entry_t *e, char *err);
static int        models_names(conn_t *c, json_t *m, entry_t *e, char *err);
static version_t *models_version(serve_t *s, const char *weights,
                                 uint32_t context, char *err);
static int        models_open(serve_t *s, const char *path, char *err);
static version_t *models_previous(serve_t *s, const char *name);
static void       models_name(version_t *v);
static void       models_unname(serve_t *s, version_t *v);
static void       models_free_version(version_t *v);
static void       models_gone(void *data);
static entry_t   *models_lookup(conn_t *c, str_t name);
static void       models_due(serve_t *s);
static void       entry_free(serve_t *s, entry_t *e);


int
models_init(serve_t *s)
{
    s->local.serve = s;
    s->local.out_tail = &s->local.out_head;

    return 0;
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


int
models_manifest(conn_t *c, const char *text, size_t len, char *err)
{
    json_error_t je;
    serve_t     *s = c->serve;
    entry_t     *entries;
    json_t      *root, *list, *m;
    size_t       i, n;
    int          rc = 0;

    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (root == NULL) {
        snprintf(err, K_ERR_MAX, "line %d: %s", je.line, je.text);
        return -EINVAL;
    }

    list = json_object_get(root, "models");
    n = json_array_size(list);

    if (!json_is_array(list) || n > MODELS_MAX) {
        snprintf(err, K_ERR_MAX, "\"models\" is not an array of at most %d",
                 MODELS_MAX);
        json_decref(root);
        return -EINVAL;
    }

    entries = calloc(n + 1, sizeof(entry_t));
    if (entries == NULL) {
        snprintf(err, K_ERR_MAX, "no memory");
        json_decref(root);
        return -ENOMEM;
    }

    pthread_mutex_lock(&s->models_lock);
    c->entries = entries;
    pthread_mutex_unlock(&s->models_lock);

    json_array_foreach(list, i, m)
    {
        rc = models_entry(c, m, &entries[i], err);
        if (rc < 0) {
            entry_free(s, &entries[i]);
            break;
        }

        pthread_mutex_lock(&s->models_lock);
        c->n_entries++;
        pthread_mutex_unlock(&s->models_lock);
    }

    json_decref(root);

    if (rc < 0) {
        models_forget(c);
        return rc;
    }

    c->has_manifest = 1;
    c->state_due = 1;

    return 0;
}


static int
models_entry(conn_t *c, json_t *m, entry_t *e, char *err)
{
    const char *weights;
    version_t  *v;
    json_t     *ctx;
    json_int_t  context = 0;

    LLM_TRY(models_names(c, m, e, err));

    weights = json_string_value(json_object_get(m, "weights"));
    ctx = json_object_get(m, "context");

    if (ctx && json_is_integer(ctx)) {
        context = json_integer_value(ctx);
    }

    if (weights == NULL || (ctx && !json_is_integer(ctx)) || context < 0
        || context > MODELS_CONTEXT) {
        snprintf(err, K_ERR_MAX, "model \"%s\" has %s", e->name,
                 weights ? "a wrong context" : "no weights");
        return -EINVAL;
    }

    /* A file that is not there is this name's trouble, not the manifest's. */
    v = models_version(c->serve, weights, (uint32_t) context, e->error);
    if (v == NULL) {
        log_error("model \"%s\": %s", e->name, e->error);
    }

    pthread_mutex_lock(&c->serve->models_lock);

    if (v) {
        models_name(v);
        e->wanted = v;

        if (atomic_load(&v->state) == VERSION_READY && v->handle) {
            models_name(v);
            e->serving = v;
        }
    }

    if (e->serving == NULL) {
        e->serving = models_previous(c->serve, e->name);
        if (e->serving) {
            models_name(e->serving);
        }
    }

    pthread_mutex_unlock(&c->serve->models_lock);

    return 0;
}


static int
models_names(conn_t *c, json_t *m, entry_t *e, char *err)
{
    const char *name;
    json_t     *names, *n;
    size_t      i;

    name = json_string_value(json_object_get(m, "name"));
    names = json_object_get(m, "names");

    if (name == NULL || *name == '\0' || strlen(name) >= MODEL_NAME_MAX) {
        snprintf(err, K_ERR_MAX, "a model has no name, or too long a one");
        return -EINVAL;
    }

    e->name = strdup(name);

    if ((names && !json_is_array(names))
        || json_array_size(names) > SERVE_NAMES_MAX) {
        snprintf(err, K_ERR_MAX, "model \"%s\" has a wrong list of names",
                 name);
        return -EINVAL;
    }

    json_array_foreach(names, i, n)
    {
        name = json_string_value(n);
        if (name == NULL || *name == '\0' || strlen(name) >= MODEL_NAME_MAX) {
            snprintf(err, K_ERR_MAX, "model \"%s\" has a wrong list of names",
                     e->name);
            return -EINVAL;
        }

        e->names[e->n_names++] = strdup(name);
    }

    for (i = 0; i <= e->n_names; i++) {
        name = i ? e->names[i - 1] : e->name;

        if (name == NULL) {
            snprintf(err, K_ERR_MAX, "no memory");
            return -ENOMEM;
        }

        if (models_lookup(c, str_of(name))) {
            snprintf(err, K_ERR_MAX, "the name \"%s\" is given twice", name);
            return -EINVAL;
        }
    }

    return 0;
}


/* The version of that file with those options: a known one, or a new one. */

static version_t *
models_version(serve_t *s, const char *weights, uint32_t context, char *err)
{
    struct stat st;
    version_t  *v;
    int64_t     mtime;
    int         fd;

    fd = models_open(s, weights, err);
    if (fd < 0) {
        return NULL;
    }

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        snprintf(err, K_ERR_MAX, "%s is not a regular file", weights);
        close(fd);
        return NULL;
    }

    mtime = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;

    for (v = s->versions; v; v = v->next) {
        if (v->dev == st.st_dev && v->ino == st.st_ino && v->size == st.st_size
            && v->mtime_ns == mtime && v->context == context && !v->removing
            && atomic_load(&v->state) != VERSION_FAILED) {
            close(fd);
            return v;
        }
    }

    v = calloc(1, sizeof(version_t));
    if (v == NULL || (v->weights = strdup(weights)) == NULL) {
        snprintf(err, K_ERR_MAX, "no memory");
        free(v);
        close(fd);
        return NULL;
    }

    v->serve = s;
    v->fd = fd;
    v->dev = st.st_dev;
    v->ino = st.st_ino;
    v->size = st.st_size;
    v->mtime_ns = mtime;
    v->created = st.st_mtim.tv_sec;
    v->context = context;

    v->next = s->versions;
    s->versions = v;

    if (loader_start(v) < 0) {
        snprintf(v->error, sizeof(v->error), "no thread to load it");
        atomic_store(&v->state, VERSION_FAILED);
    }

    s->state_ns = llm_now_ns();

    return v;
}


/* Below --model-root, whatever links and dots say. */

static int
models_open(serve_t *s, const char *path, char *err)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH};
    const char     *rel = path, *root = s->opt.model_root;
    size_t          n = strlen(root);
    int             dir, fd;

    while (n > 1 && root[n - 1] == '/') {
        n--;
    }

    /* An absolute path must be below the root too. */
    if (*path == '/' && strncmp(path, root, n) == 0 && path[n] == '/') {
        rel = path + n;
        while (*rel == '/') {
            rel++;
        }
    }

    dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        snprintf(err, K_ERR_MAX, "--model-root %s: %s", root, strerror(errno));
        return -errno;
    }

    fd = (int) syscall(SYS_openat2, dir, rel, &how, sizeof(how));
    if (fd < 0) {
        int rc = -errno;

        snprintf(err, K_ERR_MAX, "%s below %s: %s%s", path, root,
                 strerror(errno),
                 errno == EXDEV ? " (it must lie below --model-root)" : "");
        close(dir);
        return rc;
    }

    close(dir);

    return fd;
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
models_name(version_t *v)
{
    v->named++;
    v->linger_ns = 0;
}


static void
models_unname(serve_t *s, version_t *v)
{
    if (v && --v->named == 0) {
        v->linger_ns = llm_now_ns() + s->opt.linger_ms * 1000000ull;
    }
}


static void
entry_free(serve_t *s, entry_t *e)
{
    uint32_t i;

    models_unname(s, e->wanted);
    models_unname(s, e->serving);

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
        entry_free(c->serve, &c->entries[i]);
    }

    free(c->entries);
    c->entries = NULL;
    c->n_entries = 0;

    pthread_mutex_unlock(&c->serve->models_lock);
}


static entry_t *
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


/* The loader is done with it. */

void
models_loaded(version_t *v)
{
    serve_t *s = v->serve;
    entry_t *e;
    conn_t  *c;
    uint32_t i;
    int      rc;

    if (atomic_load(&v->state) == VERSION_LOADING) {
        rc = sched_model_add(s->sched, v->model, &v->handle);
        if (rc < 0) {
            snprintf(v->error, sizeof(v->error), "no memory");
        }

        atomic_store(&v->state, rc < 0 ? VERSION_FAILED : VERSION_READY);
    }

    if (atomic_load(&v->state) == VERSION_FAILED) {
        log_error("model %s: %s", v->weights, v->error);
        models_due(s);
        return;
    }

    pthread_mutex_lock(&s->models_lock);

    for (c = s->conns; c; c = c ? c->next : NULL) {
        for (i = 0; i < c->n_entries; i++) {
            e = &c->entries[i];

            if (e->wanted == v && e->serving != v) {
                models_unname(s, e->serving);
                models_name(v);
                e->serving = v;
            }
        }
    }

    for (i = 0; i < s->local.n_entries; i++) {
        e = &s->local.entries[i];

        if (e->wanted == v && e->serving != v) {
            models_name(v);
            e->serving = v;
        }
    }

    pthread_mutex_unlock(&s->models_lock);

    models_due(s);
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
            log_notice("model %s is unloaded", v->weights);
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

    atomic_store(&v->gone, 1);
    serve_wake(v->serve);
}


static void
models_free_version(version_t *v)
{
    model_free(v->model);
    vocab_close(&v->vocab);
    chat_template_free(v->template);

    if (v->fd >= 0) {
        close(v->fd);
    }

    free(v->weights);
    free(v);
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

            for (j = 0; j <= e->n_names; j++, n++) {
                if (n < cap) {
                    list[n] = (api_model_t){
                        .id = str_of(j ? e->names[j - 1] : e->name),
                        .created = v ? v->created : 0,
                        .context = e->serving ? e->serving->model->context : 0};
                }
            }
        }
    }

    return n;
}
