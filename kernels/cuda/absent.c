/*
 * The CUDA backend of a build that has no CUDA: open() says so.  Linked in
 * place of all other files of this folder.
 */

#include <errno.h>
#include <stdio.h>

#include "kernels/backend.h"

static int absent_open(const k_config_t *conf, k_backend_t **be, char *err);


const k_backend_ops_t k_backend_cuda = {.name = "cuda", .open = absent_open};


static int
absent_open(const k_config_t *conf, k_backend_t **be, char *err)
{
    snprintf(err, K_ERR_MAX,
             "this build has no CUDA (make build, with nvcc "
             "12 or 13)");
    return -ENOTSUP;
}
