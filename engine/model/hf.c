/*
 * Hugging Face folders: their files, their shards, and how a folder becomes a
 * gguf_t; see hf.h.
 *
 * Runs on a loader thread.  A hf_model_t owns the mapped shards and all that
 * was made of config.json; it belongs to the gguf_t's source.
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
#include "engine/model/hf_priv.h"

#define HF_JSON_MAX  (64u << 20)
#define HF_PATH_MAX  4096
#define HF_ARENA_MAX (1ull << 30)

typedef struct {
    const hf_dir_t *dir;
    hf_identity_t  *id;
    XXH3_state_t   *hash;
} hf_ident_t;

static int  hf_ident_file(hf_ident_t *x, const char *name, int is_weights);
static int  hf_ident_shards(hf_ident_t *x, char *err, size_t err_size);
static int  hf_json_text(const char *name, const char *text, size_t len,
                         json_t **out, char *err, size_t err_size);
static int  hf_shards(const hf_dir_t *dir, hf_model_t *m, char *err,
                      size_t err_size);
static int  hf_shards_index(const hf_dir_t *dir, hf_model_t *m,
                            const json_t *index, char *err, size_t err_size);
static int  hf_shards_check(const hf_model_t *m, const json_t *map, char *err,
                            size_t err_size);
static int  hf_shard(const hf_dir_t *dir, hf_model_t *m, const char *name,
                     char *err, size_t err_size);
static int  hf_none(const hf_dir_t *dir, char *err, size_t err_size);
static int  hf_tell(const hf_dir_t *dir, hf_model_t *m, gguf_writer_t *w,
                    char *err, size_t err_size);
static bool hf_is_shard(const char *name);
static void hf_close(void *ctx);
static int  hf_error(char *err, size_t err_size, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));


int
hf_open(const hf_dir_t *dir, gguf_t **out_new, char *err, size_t err_size)
{
    gguf_source_t  source = {.rows = hf_rows_read,
                             .drop = hf_rows_drop,
                             .close = hf_close};
    gguf_writer_t *w;
    hf_model_t    *m;
    ssize_t        n = 0;
    void          *head = NULL;
    int            rc;

    m = calloc(1, sizeof(hf_model_t));
    w = gguf_writer_new();

    if (m == NULL || w == NULL) {
        free(m);
        gguf_writer_free(w);
        return hf_error(err, err_size, -ENOMEM, "no memory");
    }

    arena_init(&m->arena, HF_ARENA_MAX);

    rc = hf_tell(dir, m, w, err, err_size);
    if (rc == 0) {
        n = gguf_writer_head(w, &head);
        if (n < 0) {
            rc = hf_error(err, err_size, (int) n, "metadata: %s",
                          strerror((int) -n));
        }
    }

    gguf_writer_free(w);

    if (rc < 0) {
        hf_close(m);
        return rc;
    }

    source.ctx = m;

    return gguf_open_source(head, (size_t) n, &source, out_new, err, err_size);
}


/* Everything of the folder into the writer. */

static int
hf_tell(const hf_dir_t *dir, hf_model_t *m, gguf_writer_t *w, char *err,
        size_t err_size)
{
    json_t *root;
    int     rc;

    LLM_TRY(hf_json(dir, "config.json", &root, err, err_size));
    if (root == NULL) {
        return hf_error(
            err, err_size, -ENOENT,
            "no config.json: neither a GGUF file nor a Hugging Face "
            "folder");
    }

    LLM_TRY(hf_config_read(&m->config, root, w, err, err_size));
    LLM_TRY(hf_shards(dir, m, err, err_size));

    m->config.err = err;
    m->config.err_size = err_size;

    rc = hf_tensors_map(m, w);

    return rc < 0 ? rc : hf_tokenizer(dir, m->config.config, w, err, err_size);
}


int
hf_identity(const hf_dir_t *dir, hf_identity_t *id, char *err, size_t err_size)
{
    static const char *const files[] = {
        "config.json",        "generation_config.json",
        "tokenizer.json",     "tokenizer_config.json",
        "tokenizer.model",    "special_tokens_map.json",
        "added_tokens.json",  "chat_template.jinja",
        "chat_template.json", "model.safetensors.index.json"};
    XXH128_canonical_t canon;
    hf_ident_t         x = {.dir = dir, .id = id};
    size_t             i;
    int                rc, found = 0;

    *id = (hf_identity_t){0};

    x.hash = XXH3_createState();
    if (x.hash == NULL) {
        return hf_error(err, err_size, -ENOMEM, "no memory");
    }

    XXH3_128bits_reset(x.hash);

    for (i = 0; i < llm_countof(files); i++) {
        found |= hf_ident_file(&x, files[i], 0);
    }

    rc = 0;

    if (!hf_ident_file(&x, "model.safetensors", 1) && found) {
        rc = hf_ident_shards(&x, err, err_size);
    }

    if (!found) {
        rc = hf_error(err, err_size, -ENOENT, "no Hugging Face folder");
    }

    XXH128_canonicalFromHash(&canon, XXH3_128bits_digest(x.hash));
    memcpy(id->ident, &canon, sizeof(id->ident));
    XXH3_freeState(x.hash);

    return rc;
}


/* 1: it is there. */

static int
hf_ident_file(hf_ident_t *x, const char *name, int is_weights)
{
    struct stat st = {0};
    uint64_t    v[6];
    int         fd;

    fd = hf_file_open(x->dir, name);

    if (fd >= 0) {
        (void) fstat(fd, &st);
        close(fd);
    }

    v[0] = fd >= 0;
    v[1] = st.st_dev;
    v[2] = st.st_ino;
    v[3] = (uint64_t) st.st_size;
    v[4] = (uint64_t) st.st_mtim.tv_sec;
    v[5] = (uint64_t) st.st_mtim.tv_nsec;

    XXH3_128bits_update(x->hash, name, strlen(name) + 1);
    XXH3_128bits_update(x->hash, v, sizeof(v));

    x->id->weight_bytes += is_weights ? v[3] : 0;

    if (st.st_mtim.tv_sec > x->id->mtime) {
        x->id->mtime = st.st_mtim.tv_sec;
    }

    return fd >= 0;
}


/* Those that the index names; what is wrong with it is said at loading. */

static int
hf_ident_shards(hf_ident_t *x, char *err, size_t err_size)
{
    const char *name, *shard;
    json_t     *index, *file, *seen;
    int         rc;

    rc = hf_json(x->dir, "model.safetensors.index.json", &index, err, err_size);
    if (rc < 0 || index == NULL) {
        return rc;
    }

    seen = json_object();

    json_object_foreach(json_object_get(index, "weight_map"), name, file)
    {
        shard = json_string_value(file);

        if (shard && hf_is_shard(shard) && !json_object_get(seen, shard)
            && json_object_size(seen) < HF_SHARDS_MAX) {
            json_object_set(seen, shard, file);
            hf_ident_file(x, shard, 1);
        }
    }

    json_decref(seen);
    json_decref(index);

    return 0;
}


int
hf_file_open(const hf_dir_t *dir, const char *name)
{
    struct open_how how = {.flags =
                               O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH};
    struct stat     st;
    char            path[HF_PATH_MAX];
    int             fd, n;

    n = snprintf(path, sizeof(path), "%s%s%s", dir->path,
                 dir->path[0] ? "/" : "", name);
    if (n < 0 || (size_t) n >= sizeof(path)) {
        return -ENAMETOOLONG;
    }

    fd = (int) syscall(SYS_openat2, dir->root, path, &how, sizeof(how));
    if (fd < 0) {
        return -errno;
    }

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }

    return fd;
}


int
hf_file(const hf_dir_t *dir, const char *name, char **out, size_t *len,
        size_t max)
{
    struct stat st;
    ssize_t     n;
    size_t      at = 0, size;
    char       *p = NULL;
    int         fd, rc;

    fd = hf_file_open(dir, name);
    if (fd < 0 || out == NULL) {
        return fd;
    }

    rc = fstat(fd, &st) != 0 ? -errno : 0;
    size = rc == 0 ? (size_t) st.st_size : 0;

    if (rc == 0 && size > max) {
        rc = -EFBIG;
    }

    if (rc == 0 && (p = malloc(size + 1)) == NULL) {
        rc = -ENOMEM;
    }

    while (rc == 0 && at < size) {
        n = pread(fd, p + at, size - at, (off_t) at);

        if (n > 0) {
            at += (size_t) n;
        } else if (n == 0) {
            size = at; /* it became shorter */
        } else if (errno != EINTR) {
            rc = -errno;
        }
    }

    close(fd);

    if (rc < 0) {
        free(p);
        return rc;
    }

    p[size] = '\0';
    *out = p;
    *len = size;

    return 0;
}


int
hf_json(const hf_dir_t *dir, const char *name, json_t **out, char *err,
        size_t err_size)
{
    size_t len;
    char  *text;
    int    rc;

    *out = NULL;

    rc = hf_file(dir, name, &text, &len, HF_JSON_MAX);
    if (rc == -ENOENT) {
        return 0;
    }

    if (rc < 0) {
        return hf_error(err, err_size, rc, "%s: %s", name, strerror(-rc));
    }

    rc = hf_json_text(name, text, len, out, err, err_size);
    free(text);

    return rc;
}


static int
hf_json_text(const char *name, const char *text, size_t len, json_t **out,
             char *err, size_t err_size)
{
    json_error_t je;

    *out = json_loadb(text, len, 0, &je);
    if (*out == NULL) {
        return hf_error(err, err_size, -EINVAL, "%s: line %d: %s", name,
                        je.line, je.text);
    }

    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return hf_error(err, err_size, -EINVAL, "%s is no object", name);
    }

    return 0;
}


/* One file, or those that an index names. */

static int
hf_shards(const hf_dir_t *dir, hf_model_t *m, char *err, size_t err_size)
{
    json_t *index;
    int     rc;

    m->shards = calloc(HF_SHARDS_MAX, sizeof(st_file_t *));
    if (m->shards == NULL) {
        return hf_error(err, err_size, -ENOMEM, "no memory");
    }

    rc = hf_shard(dir, m, "model.safetensors", err, err_size);
    if (rc != -ENOENT) {
        return rc;
    }

    LLM_TRY(
        hf_json(dir, "model.safetensors.index.json", &index, err, err_size));
    if (index == NULL) {
        return hf_none(dir, err, err_size);
    }

    rc = hf_shards_index(dir, m, index, err, err_size);
    json_decref(index);

    return rc;
}


static int
hf_shards_index(const hf_dir_t *dir, hf_model_t *m, const json_t *index,
                char *err, size_t err_size)
{
    json_t     *map = json_object_get(index, "weight_map"), *seen, *file;
    const char *name, *shard;
    int         rc = 0;

    if (!json_is_object(map) || json_object_size(map) > ST_MAX_TENSORS) {
        return hf_error(err, err_size, -EINVAL,
                        "model.safetensors.index.json: no weight_map");
    }

    seen = json_object();
    if (seen == NULL) {
        return hf_error(err, err_size, -ENOMEM, "no memory");
    }

    json_object_foreach(map, name, file)
    {
        shard = json_string_value(file);

        if (shard == NULL || !hf_is_shard(shard)) {
            rc = hf_error(err, err_size, -EINVAL,
                          "model.safetensors.index.json: not the name of a "
                          "shard beside it");
            break;
        }

        if (json_object_get(seen, shard)) {
            continue;
        }

        json_object_set(seen, shard, file);

        rc = m->n_shards == HF_SHARDS_MAX
                 ? hf_error(err, err_size, -EINVAL, "more than %d shards",
                            HF_SHARDS_MAX)
                 : hf_shard(dir, m, shard, err, err_size);
        if (rc < 0) {
            break;
        }
    }

    json_decref(seen);

    return rc < 0 ? rc : hf_shards_check(m, map, err, err_size);
}


/* The index and the shards' headers must speak of the same tensors. */

static int
hf_shards_check(const hf_model_t *m, const json_t *map, char *err,
                size_t err_size)
{
    size_t s, i, n = 0;

    for (s = 0; s < m->n_shards; s++) {
        for (i = 0; i < st_n(m->shards[s]); i++) {
            if (json_object_get(map, st_at(m->shards[s], i)->name) == NULL) {
                return hf_error(
                    err, err_size, -EINVAL,
                    "tensor '%s' is in a shard but not in the index",
                    st_at(m->shards[s], i)->name);
            }
        }

        n += st_n(m->shards[s]);
    }

    if (n != json_object_size(map)) {
        return hf_error(err, err_size, -EINVAL,
                        "the index names %zu tensors, its shards hold %zu",
                        json_object_size(map), n);
    }

    return 0;
}


/* -ENOENT: there is no such file; err says so too. */

static int
hf_shard(const hf_dir_t *dir, hf_model_t *m, const char *name, char *err,
         size_t err_size)
{
    char why[256];
    int  fd, rc;

    fd = hf_file_open(dir, name);
    if (fd < 0) {
        return hf_error(err, err_size, fd, "%s: %s", name, strerror(-fd));
    }

    rc = st_open_fd(fd, &m->shards[m->n_shards], why, sizeof(why));
    close(fd);

    if (rc < 0) {
        return hf_error(err, err_size, rc == -ENOENT ? -EIO : rc, "%s: %s",
                        name, why);
    }

    m->n_shards++;

    return 0;
}


static int
hf_none(const hf_dir_t *dir, char *err, size_t err_size)
{
    static const char *const others[] = {"pytorch_model.bin",
                                         "pytorch_model.bin.index.json",
                                         "tf_model.h5", "flax_model.msgpack",
                                         "consolidated.00.pth"};
    size_t                   i;
    int                      fd;

    for (i = 0; i < llm_countof(others); i++) {
        fd = hf_file_open(dir, others[i]);

        if (fd >= 0) {
            close(fd);
            return hf_error(err, err_size, -ENOTSUP,
                            "%s is not read: save the model as safetensors",
                            others[i]);
        }
    }

    return hf_error(err, err_size, -ENOENT,
                    "no model.safetensors, no model.safetensors.index.json");
}


/* A file of the folder itself, and a name that may go into messages. */

static bool
hf_is_shard(const char *name)
{
    static const char end[] = ".safetensors";
    size_t            i, n = strlen(name);

    if (n <= sizeof(end) - 1 || n > 255 || name[0] == '.'
        || strcmp(name + n - (sizeof(end) - 1), end) != 0) {
        return false;
    }

    for (i = 0; i < n; i++) {
        if (name[i] == '/' || (unsigned char) name[i] < 0x20
            || name[i] == 0x7f) {
            return false;
        }
    }

    return true;
}


static void
hf_close(void *ctx)
{
    hf_model_t *m = ctx;
    size_t      i;

    for (i = 0; i < m->n_shards; i++) {
        st_close(m->shards[i]);
    }

    free(m->shards);
    free(m->tensors);
    arena_free(&m->arena);
    hf_config_free(&m->config);
    free(m);
}


static int
hf_error(char *err, size_t err_size, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    hf_say(err, err_size, fmt, ap);
    va_end(ap);

    return rc;
}
