/*
 * Opening a model that is a file or a folder, and a backend around it, for the
 * programs over the engine.  As tool.h: one thread, failures end the program.
 */

#ifndef LLM_UTIL_TOOL_MODEL_H
#define LLM_UTIL_TOOL_MODEL_H

#include <fcntl.h>
#include <sys/stat.h>

#include "engine/model/hf.h"
#include "util/tool.h"


TOOL_UNUSED static quant_t
tool_quant(const char *s)
{
    quant_t q;

    if (strcmp(s, "none") == 0) {
        return QUANT_NONE;
    }

    if (quant_of(s, strlen(s), &q) < 0) {
        tool_die(2, "--quant: \"%s\" is none of q8_0, q4_k, none", s);
    }

    return q;
}


/* A weight file, or a folder as Hugging Face's. */

TOOL_UNUSED static gguf_t *
tool_file(const char *path)
{
    struct stat st;
    hf_dir_t    dir = {.path = ""};
    gguf_t     *g;
    char        err[K_ERR_MAX] = "";
    int         rc;

    if (stat(path, &st) != 0) {
        tool_die(1, "%s: %s", path, strerror(errno));
    }

    if (S_ISDIR(st.st_mode)) {
        dir.root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir.root < 0) {
            tool_die(1, "%s: %s", path, strerror(errno));
        }

        rc = hf_open(&dir, &g, err, sizeof(err));
        close(dir.root);

    } else {
        rc = gguf_open(path, &g, err, sizeof(err));
    }

    if (rc < 0) {
        tool_die(1, "%s: %s", path, err[0] ? err : strerror(-rc));
    }

    return g;
}


TOOL_UNUSED static int
tool_progress(void *data, double done)
{
    int *last = data, percent = (int) (done * 100);

    if (percent != *last) {
        *last = percent;
        fprintf(stderr, "\r%s: loading: %3d %%", tool_name, percent);
        if (percent >= 100) {
            fputs("\r                                        \r", stderr);
        }
    }

    return 0;
}


/*
 * A model into a backend of its own, or the one that t->be is already.  The
 * arena is as large as the weights (which may grow when repacked), and `more`;
 * its pages are only taken when used.
 */

TOOL_UNUSED static void
tool_load(tool_model_t *t, const char *path, const k_backend_ops_t *ops,
          const k_config_t *conf, const model_params_t *params, uint64_t more)
{
    model_params_t p = *params;
    k_config_t     c = *conf;
    uint64_t       sum = 0;
    double         start = tool_now();
    size_t         i;
    char           err[K_ERR_MAX] = "";
    int            last = -1;

    t->file = tool_file(path);

    for (i = 0; i < gguf_tensor_n(t->file); i++) {
        sum += gguf_tensor_at(t->file, i)->size;
    }

    c.memory = sum * 2 + more;

    if (t->be == NULL && ops->open(&c, &t->be, err) < 0) {
        tool_die(1, "%s", err);
    }

    p.ops = ops;
    p.be = t->be;

    if (isatty(2)) {
        p.progress = tool_progress;
        p.data = &last;
    }

    if (model_load(t->file, &p, &t->m, err) < 0) {
        tool_die(1, "%s: %s", path, err);
    }

    t->seconds = tool_now() - start;
}


TOOL_UNUSED static void
tool_free(tool_model_t *t)
{
    const k_backend_ops_t *ops = t->m->ops;

    model_free(t->m);
    ops->close(t->be);
    gguf_close(t->file);
}

#endif /* LLM_UTIL_TOOL_MODEL_H */
