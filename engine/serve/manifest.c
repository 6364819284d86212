/*
 * What a connection's manifest says: names, weight files, options.
 *
 * JSON that is none costs the connection.  What is wrong with one entry is
 * that name's trouble only: it is failed, MODEL_STATE and the log say why,
 * and the others go on; otherwise a typo in one of many models would leave an
 * NGINX without any.
 *
 * io thread; the entries are its connection's, see models_forget().
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

#define MANIFEST_MODELS_MAX  256
#define MANIFEST_CONTEXT_MAX (1u << 24)

static int        manifest_names(conn_t *c, json_t *m, entry_t *e);
static version_t *manifest_entry(conn_t *c, json_t *m, entry_t *e);
static version_t *manifest_version(serve_t *s, const char *weights,
                                   uint32_t context, char *err);
static int        manifest_open(serve_t *s, const char *path, char *err);


/* 0; or -errno with a line in err[K_ERR_MAX]: no name is known then. */

int
manifest_read(conn_t *c, const char *text, size_t len, char *err)
{
    json_error_t je;
    version_t   *v;
    entry_t     *entries, *e;
    serve_t     *s = c->serve;
    json_t      *root, *list, *m;
    size_t       i, n;

    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (root == NULL) {
        snprintf(err, K_ERR_MAX, "line %d: %s", je.line, je.text);
        return -EINVAL;
    }

    list = json_object_get(root, "models");
    n = json_array_size(list);

    if (!json_is_array(list) || n > MANIFEST_MODELS_MAX) {
        snprintf(err, K_ERR_MAX, "\"models\" is not an array of at most %d",
                 MANIFEST_MODELS_MAX);
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
        e = &entries[c->n_entries];

        if (manifest_names(c, m, e) < 0) {
            log_error("manifest: model %zu: %s: left out", i, e->error);
            models_entry_free(s, e);
            continue;
        }

        v = manifest_entry(c, m, e);
        if (v == NULL) {
            log_error("model \"%s\": %s", e->name, e->error);
        }

        models_enter(c, e, v);
    }

    json_decref(root);

    c->has_manifest = 1;
    c->state_due = 1;

    return 0;
}


/* A name of its own it must have; aliases that cannot be are left out. */

static int
manifest_names(conn_t *c, json_t *m, entry_t *e)
{
    const char *name;
    json_t     *names, *n;
    size_t      i;

    name = json_string_value(json_object_get(m, "name"));
    names = json_object_get(m, "names");

    if (name == NULL || *name == '\0' || strlen(name) >= MODEL_NAME_MAX) {
        snprintf(e->error, K_ERR_MAX, "it has no name, or too long a one");
        return -EINVAL;
    }

    if (models_lookup(c, str_of(name))) {
        snprintf(e->error, K_ERR_MAX, "the name \"%s\" is given twice", name);
        return -EINVAL;
    }

    e->name = strdup(name);
    if (e->name == NULL) {
        snprintf(e->error, K_ERR_MAX, "no memory");
        return -ENOMEM;
    }

    if (names && !json_is_array(names)) {
        log_error("model \"%s\": \"names\" is not an array", e->name);
        return 0;
    }

    json_array_foreach(names, i, n)
    {
        name = json_string_value(n);

        if (name == NULL || *name == '\0' || strlen(name) >= MODEL_NAME_MAX
            || e->n_names == SERVE_NAMES_MAX
            || models_lookup(c, str_of(name)) != NULL) {
            log_error("model \"%s\": name %zu (%.128s) is left out: no string, "
                      "too long, given twice, or more than %d",
                      e->name, i, name ? name : "", SERVE_NAMES_MAX);
            continue;
        }

        e->names[e->n_names] = strdup(name);
        e->n_names += e->names[e->n_names] != NULL;
    }

    return 0;
}


/* The version that an entry wants; NULL: e->error says why not. */

static version_t *
manifest_entry(conn_t *c, json_t *m, entry_t *e)
{
    const char *weights;
    json_int_t  context = 0;
    json_t     *ctx, *options;

    weights = json_string_value(json_object_get(m, "weights"));
    ctx = json_object_get(m, "context");
    options = json_object_get(m, "options");

    if (weights == NULL || *weights == '\0') {
        snprintf(e->error, K_ERR_MAX, "it names no weights");
        return NULL;
    }

    if (ctx) {
        context = json_is_integer(ctx) ? json_integer_value(ctx) : -1;
    }

    if (context < 0 || context > MANIFEST_CONTEXT_MAX) {
        snprintf(e->error, K_ERR_MAX, "its context is not 0 to %u",
                 MANIFEST_CONTEXT_MAX);
        return NULL;
    }

    if (json_object_size(options)) {
        snprintf(e->error, K_ERR_MAX, "option \"%.64s\" is not known",
                 json_object_iter_key(json_object_iter(options)));
        return NULL;
    }

    return manifest_version(c->serve, weights, (uint32_t) context, e->error);
}


/* The version of that file with those options: a known one, or a new one. */

static version_t *
manifest_version(serve_t *s, const char *weights, uint32_t context, char *err)
{
    struct stat st;
    version_t  *v;
    int64_t     mtime;
    int         fd;

    fd = manifest_open(s, weights, err);
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
manifest_open(serve_t *s, const char *path, char *err)
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
