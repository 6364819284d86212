/*
 * ngx-llm-engine: options, then serve_run() until a signal says so.
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "engine/serve/serve.h"

#define MAIN_VERSION "0.1.0"

/* Sanitizers need system calls of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MAIN_SECCOMP 0
#else
#define MAIN_SECCOMP SERVE_SECCOMP_AUTO
#endif

typedef struct {
    const char *name;
    int         code;
    const char *arg; /* NULL: takes none */
    const char *help;
} option_t;

enum {
    OPT_SOCKET = 1,
    OPT_SOCKET_MODE,
    OPT_MODEL_ROOT,
    OPT_MANIFEST,
    OPT_BACKEND,
    OPT_DEVICE,
    OPT_MEMORY,
    OPT_KV,
    OPT_KV_TYPE,
    OPT_THREADS,
    OPT_KERNELS,
    OPT_ACT,
    OPT_NULL,
    OPT_LINGER,
    OPT_QUEUE,
    OPT_BATCH,
    OPT_ROWS,
    OPT_CHUNK,
    OPT_FRONTS,
    OPT_LOAD_WAIT,
    OPT_MASK_THREADS,
    OPT_MASK_WAIT,
    OPT_GRAMMAR_THREADS,
    OPT_GRAMMAR_TIME,
    OPT_GRAMMAR_MEMORY,
    OPT_SECCOMP,
    OPT_LOG,
    OPT_VERSION,
    OPT_HELP
};

static const option_t options[] = {
    {"socket", OPT_SOCKET, "PATH",
     "where workers connect (/run/ngx-llm/engine.sock)"},
    {"socket-mode", OPT_SOCKET_MODE, "MODE",
     "the socket's mode: who may use the engine (0660)"},
    {"model-root", OPT_MODEL_ROOT, "DIR",
     "weight files are opened below this folder only (.)"},
    {"manifest", OPT_MANIFEST, "FILE",
     "models to load without NGINX's asking, as JSON"},
    {"backend", OPT_BACKEND, "NAME",
     "auto, cuda, cpu; auto: a GPU where there is one (auto)"},
    {"device", OPT_DEVICE, "N", "the GPU's number (0)"},
    {"memory", OPT_MEMORY, "SIZE",
     "arena of weights and KV pages: 8g, 512m (half of the RAM; 90 % of a "
     "GPU's)"},
    {"kv", OPT_KV, "SIZE", "KV pages of each model (a share of --memory)"},
    {"kv-type", OPT_KV_TYPE, "TYPE",
     "auto, f8: KV pages in E4M3, on a GPU (auto)"},
    {"threads", OPT_THREADS, "N", "compute threads (one per physical core)"},
    {"kernels", OPT_KERNELS, "ISA", "auto, scalar, avx2, avx512 (auto)"},
    {"act", OPT_ACT, "MODE",
     "activations in matrix products: int8, f32 (int8)"},
    {"null-model", OPT_NULL, NULL,
     "tokens that cost nothing, to measure the path"},
    {"model-linger", OPT_LINGER, "SECONDS",
     "how long weights stay that nobody names (60)"},
    {"queue", OPT_QUEUE, "N", "requests that may wait (1024)"},
    {"batch", OPT_BATCH, "N", "sequences at once (64; on a GPU 256)"},
    {"rows", OPT_ROWS, "N", "tokens of a step at most (512; on a GPU 8192)"},
    {"chunk", OPT_CHUNK, "N",
     "prefill tokens of a step while others decode (128; on a GPU 1024)"},
    {"fronts", OPT_FRONTS, "N", "threads that parse requests (2)"},
    {"load-wait", OPT_LOAD_WAIT, "MS",
     "how long a request waits for a loading model (2000)"},
    {"mask-threads", OPT_MASK_THREADS, "N",
     "threads that make token masks (one per 4 cores)"},
    {"mask-wait", OPT_MASK_WAIT, "US",
     "microseconds that a step waits for late masks (1000)"},
    {"grammar-threads", OPT_GRAMMAR_THREADS, "N",
     "threads that compile grammars (2)"},
    {"grammar-time", OPT_GRAMMAR_TIME, "MS",
     "a grammar that takes longer to compile is refused (5000)"},
    {"grammar-memory", OPT_GRAMMAR_MEMORY, "SIZE",
     "a grammar that takes more memory is refused (256m)"},
    {"seccomp", OPT_SECCOMP, "on|off|auto",
     "a filter of system calls; auto: on, but with a GPU (auto)"},
    {"log-level", OPT_LOG, "LEVEL",
     "error, warn, notice, info, debug (notice)"},
    {"version", OPT_VERSION, NULL, "print the version"},
    {"help", OPT_HELP, NULL, "print this"},
};

static int  main_options(int argc, char **argv, serve_options_t *opt);
static int  main_option(int code, const char *arg, serve_options_t *opt);
static int  main_number(const char *arg, uint64_t min, uint64_t max,
                        uint32_t *value);
static int  main_size(const char *arg, uint64_t *value);
static int  main_word(const char *arg, const char *const *words, int *value);
static void main_help(void);


int
main(int argc, char **argv)
{
    serve_options_t opt = {.socket = "/run/ngx-llm/engine.sock",
                           .socket_mode = 0660,
                           .model_root = ".",
                           .linger_ms = 60000,
                           .queue = 1024,
                           .fronts = 2,
                           .load_wait_ms = 2000,
                           .mask_wait_us = 1000,
                           .grammar_threads = 2,
                           .grammar_ms = 5000,
                           .grammar_memory = 256ull << 20,
                           .seccomp = MAIN_SECCOMP};
    int             rc;

    rc = main_options(argc, argv, &opt);
    if (rc) {
        return rc < 0 ? 2 : 0;
    }

    if (opt.mask_threads == 0) {
        opt.mask_threads = (uint32_t) sysconf(_SC_NPROCESSORS_ONLN) / 4;
        opt.mask_threads += opt.mask_threads == 0;
    }

    return serve_run(&opt) < 0 ? 1 : 0;
}


/* 0: go on, 1: all is said, -EINVAL: wrong, and said so. */

static int
main_options(int argc, char **argv, serve_options_t *opt)
{
    struct option list[llm_countof(options) + 1] = {0};
    size_t        i;
    int           code, rc;

    for (i = 0; i < llm_countof(options); i++) {
        list[i] =
            (struct option){options[i].name,
                            options[i].arg ? required_argument : no_argument,
                            NULL, options[i].code};
    }

    while ((code = getopt_long(argc, argv, "", list, NULL)) != -1) {
        if (code == '?') {
            fprintf(stderr, "try --help\n");
            return -EINVAL;
        }

        rc = main_option(code, optarg, opt);
        if (rc == -EINVAL) {
            fprintf(stderr, "wrong value \"%s\" of --%s; try --help\n", optarg,
                    options[code - 1].name);
        }

        if (rc) {
            return rc;
        }
    }

    if (optind < argc) {
        fprintf(stderr, "unexpected argument \"%s\"; try --help\n",
                argv[optind]);
        return -EINVAL;
    }

    return 0;
}


static int
main_option(int code, const char *arg, serve_options_t *opt)
{
    static const char *const isas[] = {"auto", "scalar", "avx2", "avx512",
                                       NULL};
    static const char *const acts[] = {"int8", "f32", NULL};
    static const char *const backends[] = {"auto", "cuda", "cpu", NULL};
    static const char *const kv_types[] = {"auto", "f8", NULL};
    static const char *const switches[] = {"off", "on", "auto", NULL};
    static const char *const levels[] = {"error", "warn",  "notice",
                                         "info",  "debug", NULL};
    uint32_t                 n;
    char                    *end;
    int                      word = 0, rc;

    switch (code) {
    case OPT_SOCKET:
        opt->socket = arg;
        return strlen(arg) < 108 ? 0 : -EINVAL;
    case OPT_SOCKET_MODE:
        opt->socket_mode = (mode_t) strtoul(arg, &end, 8);
        return *end || end == arg || opt->socket_mode > 0777 ? -EINVAL : 0;
    case OPT_MODEL_ROOT:
        opt->model_root = arg;
        return *arg ? 0 : -EINVAL;
    case OPT_MANIFEST:
        opt->manifest = arg;
        return 0;
    case OPT_BACKEND:
        rc = main_word(arg, backends, &word);
        opt->backend = (serve_backend_t) word;
        return rc;
    case OPT_DEVICE:
        rc = main_number(arg, 0, 1023, &n);
        opt->device = (int) n;
        return rc;
    case OPT_KV_TYPE:
        rc = main_word(arg, kv_types, &opt->kv_f8);
        return rc;
    case OPT_MEMORY:
        return main_size(arg, &opt->memory);
    case OPT_KV:
        return main_size(arg, &opt->kv);
    case OPT_THREADS:
        return main_number(arg, 1, 1024, &opt->threads);
    case OPT_KERNELS:
        rc = main_word(arg, isas, &word);
        opt->isa = (k_isa_t) word;
        return rc;
    case OPT_ACT:
        rc = main_word(arg, acts, &word);
        opt->act = (k_act_mode_t) word;
        return rc;
    case OPT_NULL:
        opt->null_model = 1;
        return 0;
    case OPT_LINGER:
        rc = main_number(arg, 0, 4000000, &n);
        opt->linger_ms = n * 1000;
        return rc;
    case OPT_QUEUE:
        return main_number(arg, 1, 1000000, &opt->queue);
    case OPT_BATCH:
        return main_number(arg, 1, 4096, &opt->batch);
    case OPT_ROWS:
        return main_number(arg, 1, 65536, &opt->rows);
    case OPT_CHUNK:
        return main_number(arg, 1, 65536, &opt->chunk);
    case OPT_FRONTS:
        return main_number(arg, 1, SERVE_FRONTS_MAX, &opt->fronts);
    case OPT_LOAD_WAIT:
        return main_number(arg, 0, 3600000, &opt->load_wait_ms);
    case OPT_MASK_THREADS:
        return main_number(arg, 1, 64, &opt->mask_threads);
    case OPT_MASK_WAIT:
        return main_number(arg, 1, 1000000, &opt->mask_wait_us);
    case OPT_GRAMMAR_THREADS:
        return main_number(arg, 1, SERVE_GRAMMARS_MAX, &opt->grammar_threads);
    case OPT_GRAMMAR_TIME:
        return main_number(arg, 1, 600000, &opt->grammar_ms);
    case OPT_GRAMMAR_MEMORY:
        return main_size(arg, &opt->grammar_memory);
    case OPT_SECCOMP:
        rc = main_word(arg, switches, &word);
        opt->seccomp = word;
        return rc;
    case OPT_LOG:
        rc = main_word(arg, levels, &word);
        llm_log_level(word);
        return rc;
    case OPT_VERSION:
        printf("ngx-llm-engine %s\n", MAIN_VERSION);
        return 1;
    default:
        main_help();
        return 1;
    }
}


static int
main_number(const char *arg, uint64_t min, uint64_t max, uint32_t *value)
{
    unsigned long long v;
    char              *end;

    errno = 0;
    v = strtoull(arg, &end, 10);

    if (errno || end == arg || *end || *arg == '-' || v < min || v > max) {
        *value = (uint32_t) min;
        return -EINVAL;
    }

    *value = (uint32_t) v;

    return 0;
}


/* As NGINX writes sizes: bytes, or with k, m, g. */

static int
main_size(const char *arg, uint64_t *value)
{
    unsigned long long v;
    char              *end;
    int                shift;

    errno = 0;
    v = strtoull(arg, &end, 10);

    if (errno || end == arg || *arg == '-' || v == 0 || v > (1ull << 44)) {
        return -EINVAL;
    }

    shift = *end == 'k' || *end == 'K'   ? 10
            : *end == 'm' || *end == 'M' ? 20
            : *end == 'g' || *end == 'G' ? 30
                                         : 0;

    if (*end && (shift == 0 || end[1] || v > (1ull << 44) >> shift)) {
        return -EINVAL;
    }

    *value = v << shift;

    return 0;
}


static int
main_word(const char *arg, const char *const *words, int *value)
{
    int i;

    for (i = 0; words[i]; i++) {
        if (strcmp(arg, words[i]) == 0) {
            *value = i;
            return 0;
        }
    }

    return -EINVAL;
}


static void
main_help(void)
{
    char   left[40];
    size_t i;

    printf("ngx-llm-engine: serves language models to NGINX's workers\n\n");

    for (i = 0; i < llm_countof(options); i++) {
        snprintf(left, sizeof(left), "--%s%s%s", options[i].name,
                 options[i].arg ? " " : "",
                 options[i].arg ? options[i].arg : "");
        printf("  %-24s %s\n", left, options[i].help);
    }
}
