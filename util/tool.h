/*
 * What the programs over the engine share: options, steps of a model, numbers
 * for JSON.  tool_model.h opens models.
 *
 * One thread; every failure ends the program with a line and status 1, wrong
 * usage with 2.
 */

#ifndef LLM_UTIL_TOOL_H
#define LLM_UTIL_TOOL_H

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base.h"
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
