/*
 * Which backend serves: a GPU's, where there is one and nobody said otherwise,
 * else the CPU's; and what follows from it for a step's size.  Main thread,
 * before any other is there.
 */

#include <errno.h>
#include <unistd.h>
#include "engine/serve/serve.h"

/* Sizes of steps that nobody set. */
typedef struct {
    const k_backend_ops_t *ops;
    uint32_t               batch;
    uint32_t               rows;
    uint32_t               chunk;
} backend_sizes_t;

static const backend_sizes_t sizes[] = {{&k_backend_cuda, 256, 8192, 1024},
                                        {&k_backend_cpu, 64, 512, 128},
                                        {&k_backend_null, 64, 512, 128}};

static int  backend_open(serve_t *s, const k_backend_ops_t *ops, char *err);
static void backend_sizes(serve_t *s);


int
serve_backend(serve_t *s)
{
    char err[K_ERR_MAX];
    int  rc = -ENODEV, wanted = s->opt.backend == SERVE_BACKEND_CUDA;

    if (!s->opt.null_model && s->opt.backend != SERVE_BACKEND_CPU) {
        rc = backend_open(s, &k_backend_cuda, err);

        if (rc < 0 && wanted) {
            log_error("backend cuda: %s", err);
            return rc;
        }

        if (rc == -ENOTSUP) {
            log_info("%s; the CPU serves", err);
        } else if (rc == -ENODEV) {
            log_notice("no GPU: %s; the CPU serves", err);
        } else if (rc < 0) {
            log_warn("the GPU is of no use: %s; the CPU serves", err);
        }
    }

    if (rc < 0) {
        if (s->opt.kv_f8) {
            log_error("--kv-type f8 needs a GPU");
            return -EINVAL;
        }

        rc = backend_open(s,
                          s->opt.null_model ? &k_backend_null : &k_backend_cpu,
                          err);
    }

    if (rc < 0) {
        log_error("backend %s: %s", s->ops->name, err);
        return rc;
    }

    if (s->ops == &k_backend_cuda
        && (s->opt.threads || s->opt.isa != K_ISA_AUTO
            || s->opt.act != K_ACT_INT8)) {
        log_warn("--threads, --kernels and --act are for the CPU: the GPU "
                 "serves");
    }

    log_notice("backend %s: %s", s->ops->name, s->ops->describe(s->be));
    backend_sizes(s);

    return 0;
}


static int
backend_open(serve_t *s, const k_backend_ops_t *ops, char *err)
{
    k_config_t conf = {.threads = s->opt.threads,
                       .isa = s->opt.isa,
                       .act = s->opt.act,
                       .memory = s->opt.memory,
                       .nice = 10,
                       .device = s->opt.device,
                       .kv_f8 = s->opt.kv_f8};

    if (conf.memory == 0 && ops != &k_backend_cuda) {
        conf.memory = (uint64_t) sysconf(_SC_PHYS_PAGES)
                      * (uint64_t) sysconf(_SC_PAGESIZE) / 2;
    }

    s->ops = ops;

    return ops->open(&conf, &s->be, err);
}


static void
backend_sizes(serve_t *s)
{
    serve_options_t       *opt = &s->opt;
    const backend_sizes_t *z;

    for (z = sizes; z->ops != s->ops; z++) {
        /* void */
    }

    opt->batch = opt->batch ? opt->batch : z->batch;
    opt->rows = opt->rows ? opt->rows : z->rows;
    opt->rows = opt->rows > opt->batch ? opt->rows : opt->batch;
    opt->chunk = opt->chunk ? opt->chunk : z->chunk;

    /* Logits of a vocabulary of 128k are 0.5 MB a row. */
    opt->logits = opt->rows < 512 ? opt->rows : 512;
    opt->logits = opt->logits > opt->batch ? opt->logits : opt->batch;

    /* A driver makes system calls of its own. */
    if (opt->seccomp == SERVE_SECCOMP_AUTO) {
        opt->seccomp = s->ops != &k_backend_cuda;
    }
}
