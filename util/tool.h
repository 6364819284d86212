/*
 * What the programs over the engine share: options, opening a model that is
 * a file or a folder, a backend around it, numbers for JSON.
 *
 * One thread; every failure ends the program with a line and status 1, wrong
 * usage with 2.
 */

#ifndef LLM_UTIL_TOOL_H
#define LLM_UTIL_TOOL_H

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base.h"
#include "engine/model/hf.h"
#include "engine/model/model.h"

#define TOOL_UNUSED __attribute__((unused))

/* A model in a backend of its own. */
typedef struct {
    gguf_t      *file;
    k_backend_t *be;
    model_t     *m;
    double       seconds; /* that loading took */
} tool_model_t;

static const char *tool_name = "llm";


TOOL_UNUSED __attribute__((noreturn, format(printf, 2, 3))) static void
tool_die(int status, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", tool_name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(status);
}


TOOL_UNUSED static double
tool_now(void)
{
    return (double) llm_now_ns() / 1e9;
}


/* A whole number of min .. max, or the end. */

TOOL_UNUSED static uint32_t
tool_number(const char *option, const char *s, uint32_t min, uint32_t max)
{
    char              *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(s, &end, 10);

    if (*s < '0' || *s > '9' || *end != '\0' || errno || v < min || v > max) {
        tool_die(2, "--%s: \"%s\" is no number of %u to %u", option, s, min,
                 max);
    }

    return (uint32_t) v;
}


/* "1,4,16": at most max of them; returns how many. */

TOOL_UNUSED static uint32_t
tool_numbers(const char *option, const char *s, uint32_t min, uint32_t limit,
             uint32_t *out, uint32_t max)
{
    char     one[16];
    size_t   len;
    uint32_t n;

    for (n = 0; n < max; n++) {
        len = strcspn(s, ",");
        snprintf(one, sizeof(one), "%.*s", (int) (len > 15 ? 15 : len), s);
        out[n] = tool_number(option, one, min, limit);

        if (s[len] == '\0') {
            return n + 1;
        }

        s += len + 1;
    }

    tool_die(2, "--%s: more than %u numbers", option, max);
}


TOOL_UNUSED static k_isa_t
tool_isa(const char *s)
{
    static const char *const names[] = {"auto", "scalar", "avx2", "avx512"};
    int                      i;

    for (i = 0; i < 4; i++) {
        if (strcmp(s, names[i]) == 0) {
            return (k_isa_t) i;
        }
    }

    tool_die(2, "--kernels: \"%s\" is none of auto, scalar, avx2, avx512", s);
}


TOOL_UNUSED static k_act_mode_t
tool_act(const char *s)
{
    if (strcmp(s, "int8") != 0 && strcmp(s, "f32") != 0) {
        tool_die(2, "--act: \"%s\" is neither int8 nor f32", s);
    }

    return s[0] == 'i' ? K_ACT_INT8 : K_ACT_F32;
}


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


/* The arena is as large as the weights (which may grow when repacked), and
   `more`; its pages are only taken when used. */

TOOL_UNUSED static void
tool_load(tool_model_t *t, const char *path, const k_config_t *conf,
          const model_params_t *params, uint64_t more)
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

    if (k_backend_cpu.open(&c, &t->be, err) < 0) {
        tool_die(1, "%s", err);
    }

    p.ops = &k_backend_cpu;
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
    model_free(t->m);
    k_backend_cpu.close(t->be);
    gguf_close(t->file);
}


TOOL_UNUSED static void
tool_step(tool_model_t *t, const k_batch_t *batch)
{
    int rc;

    rc = t->m->ops->step_submit(t->m->exec, batch);
    rc = rc ? rc : t->m->ops->step_wait(t->m->exec);

    if (rc != 0) {
        tool_die(1, "a step failed: %s", strerror(-rc));
    }
}


TOOL_UNUSED static void
tool_json_str(const char *s)
{
    buf_t buf = {0};

    buf_json(&buf, s, strlen(s));
    printf("%.*s", (int) buf.len, buf.data);
    buf_free(&buf);
}

#endif /* LLM_UTIL_TOOL_H */
