/*
 * What a connection's manifest says: names, weight files or folders, options.
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
#include <xxhash.h>
#include "engine/model/hf.h"
#include "engine/serve/serve.h"

#define MANIFEST_MODELS_MAX  256
#define MANIFEST_CONTEXT_MAX (1u << 24)

static int        manifest_names(conn_t *c, json_t *m, entry_t *e);
static version_t *manifest_entry(conn_t *c, json_t *m, entry_t *e);
static int        manifest_options(json_t *options, version_t *want, char *err);
static version_t *manifest_version(serve_t *s, const char *weights,
                                   version_t *want, char *err);
static void       manifest_drop(version_t *want);
static int  manifest_find(serve_t *s, const char *weights, version_t *want,
                          char *err);
static int  manifest_folder(const char *weights, version_t *want, char *err);
static void manifest_ident(const struct stat *st, uint8_t ident[16]);
static int  manifest_open(serve_t *s, const char *path, version_t *want,
                          char *err);


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
    version_t   want = {.fd = -1, .root = -1};
    json_t     *ctx;

    weights = json_string_value(json_object_get(m, "weights"));
    ctx = json_object_get(m, "context");

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

    want.context = (uint32_t) context;

    if (manifest_options(json_object_get(m, "options"), &want, e->error) < 0) {
        return NULL;
    }

    return manifest_version(c->serve, weights, &want, e->error);
}


static int
manifest_options(json_t *options, version_t *want, char *err)
{
    const char *key, *s;
    json_t     *value;

    json_object_foreach(options, key, value)
    {
        s = json_string_value(value);

        if (strcmp(key, "tool_format") == 0) {
            want->format = s ? chat_format_find(s, strlen(s)) : NULL;

            if (want->format == NULL) {
                snprintf(err, K_ERR_MAX, "tool_format \"%.32s\" is not known",
                         s ? s : "no string");
                return -EINVAL;
            }

            continue;
        }

        if (strcmp(key, "quant") != 0) {
            snprintf(err, K_ERR_MAX, "option \"%.64s\" is not known", key);
            return -EINVAL;
        }

        if (s == NULL || quant_of(s, strlen(s), &want->quant) < 0) {
            snprintf(err, K_ERR_MAX,
                     "option \"quant\" is %.32s, not q8_0, q4_k or fp8",
                     s ? s : "no string");
            return -EINVAL;
        }
    }

    return 0;
}


/*
 * The version of that file or folder with those options: a known one, or a
 * new one.
 */

static version_t *
manifest_version(serve_t *s, const char *weights, version_t *want, char *err)
{
    version_t *v;

    if (manifest_find(s, weights, want, err) < 0) {
        manifest_drop(want);
        return NULL;
    }

    for (v = s->versions; v; v = v->next) {
        if (memcmp(v->ident, want->ident, sizeof(v->ident)) == 0
            && v->context == want->context && v->quant == want->quant
            && v->format == want->format && !v->removing
            && atomic_load(&v->state) != VERSION_FAILED) {
            manifest_drop(want);
            return v;
        }
    }

    v = malloc(sizeof(version_t));
    if (v == NULL || (want->weights = strdup(weights)) == NULL) {
        snprintf(err, K_ERR_MAX, "no memory");
        free(v);
        manifest_drop(want);
        return NULL;
    }

    *v = *want;
    v->serve = s;
    v->next = s->versions;
    s->versions = v;

    if (loader_start(v) < 0) {
        snprintf(v->error, sizeof(v->error), "no thread to load it");
        atomic_store(&v->state, VERSION_FAILED);
    }

    s->state_ns = llm_now_ns();

    return v;
}


static void
manifest_drop(version_t *want)
{
    if (want->fd >= 0) {
        close(want->fd);
    }

    if (want->root >= 0) {
        close(want->root);
    }

    free(want->path);
}


/* Opens it, and fills what tells it from others. */

static int
manifest_find(serve_t *s, const char *weights, version_t *want, char *err)
{
    struct stat st;

    want->fd = manifest_open(s, weights, want, err);
    if (want->fd < 0) {
        return want->fd;
    }

    if (fstat(want->fd, &st) < 0) {
        snprintf(err, K_ERR_MAX, "%s: %s", weights, strerror(errno));
        return -EINVAL;
    }

    if (S_ISDIR(st.st_mode)) {
        return manifest_folder(weights, want, err);
    }

    if (!S_ISREG(st.st_mode)) {
        snprintf(err, K_ERR_MAX, "%s is neither a file nor a folder", weights);
        return -EINVAL;
    }

    close(want->root);
    want->root = -1;
    want->size = (uint64_t) st.st_size;
    want->created = st.st_mtim.tv_sec;
    manifest_ident(&st, want->ident);

    return 0;
}


static int
manifest_folder(const char *weights, version_t *want, char *err)
{
    hf_identity_t id;
    hf_dir_t      dir = {.root = want->root, .path = want->path};
    char          why[K_ERR_MAX / 2];
    int           rc;

    close(want->fd);
    want->fd = -1;

    rc = hf_identity(&dir, &id, why, sizeof(why));
    if (rc < 0) {
        snprintf(err, K_ERR_MAX, "%s: %s", weights, why);
        return rc;
    }

    memcpy(want->ident, id.ident, sizeof(want->ident));
    want->size = id.weight_bytes;
    want->created = id.mtime;

    return 0;
}


static void
manifest_ident(const struct stat *st, uint8_t ident[16])
{
    uint64_t v[] = {st->st_dev, st->st_ino, (uint64_t) st->st_size,
                    (uint64_t) st->st_mtim.tv_sec,
                    (uint64_t) st->st_mtim.tv_nsec};

    XXH128_canonical_t canon;

    XXH128_canonicalFromHash(&canon, XXH3_128bits(v, sizeof(v)));
    memcpy(ident, &canon, sizeof(canon));
}


/*
 * Below --model-root, whatever links and dots say: a descriptor.  want->root
 * and ->path are where it lies, for what lies beside or in it.
 */

static int
manifest_open(serve_t *s, const char *path, version_t *want, char *err)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH};
    const char     *rel = path, *root = s->opt.model_root;
    size_t          n = strlen(root);
    int             fd;

    while (n > 1 && root[n - 1] == '/') {
        n--;
    }

    /* An absolute path must be below the root too. */
    if (*path == '/' && strncmp(path, root, n) == 0 && path[n] == '/') {
        rel = path + n;
        while (*rel == '/') {
            rel++;
        }

    } else if (strcmp(path, root) == 0) {
        rel = ".";
    }

    rel = *rel ? rel : ".";

    want->path = strdup(rel);
    if (want->path == NULL) {
        snprintf(err, K_ERR_MAX, "no memory");
        return -ENOMEM;
    }

    want->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (want->root < 0) {
        snprintf(err, K_ERR_MAX, "--model-root %s: %s", root, strerror(errno));
        return -errno;
    }

    fd = (int) syscall(SYS_openat2, want->root, rel, &how, sizeof(how));
    if (fd < 0) {
        int rc = -errno;

        snprintf(err, K_ERR_MAX, "%s below %s: %s%s", path, root,
                 strerror(errno),
                 errno == EXDEV ? " (it must lie below --model-root)" : "");
        return rc;
    }

    return fd;
}
