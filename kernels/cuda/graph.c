/*
 * CUDA graphs of steps in which each sequence has one row: captured when a
 * shape comes up for the first time (a few ms), launched with one call from
 * then on.  All that differs between steps of a shape is in the step's
 * metadata, so a graph is never changed.  The step loop's thread only; graphs
 * belong to the exec.
 *
 * Where capturing fails, steps are launched kernel by kernel from then on:
 * slower, and the same otherwise.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/exec.h"


static cu_graph_t *cu_graph_find(k_exec_t *e, const cu_bucket_t *shape);
static cu_graph_t *cu_graph_new(k_exec_t *e, const cu_bucket_t *shape);
static int         cu_graph_capture(k_exec_t *e, const cu_bucket_t *shape, cudaStream_t stream,
                                    cu_mode_t mode, cudaGraph_t *graph);


int
cu_graph_run(k_exec_t *e, const cu_bucket_t *shape)
{
    cu_graph_t *g;

    if (!shape->fixed || !e->graphs) {
        return cu_run(e, shape, e->be->stream, CU_RUN);
    }

    g = cu_graph_find(e, shape);
    if (g == NULL && e->n_graphs < CU_GRAPHS) {
        g = cu_graph_new(e, shape);
    }
    if (g == NULL) {
        return cu_run(e, shape, e->be->stream, CU_RUN);
    }

    return cu_check(cudaGraphLaunch(g->graph, e->be->stream), "cudaGraphLaunch");
}


int
cu_graph_try(k_exec_t *e, const cu_bucket_t *shape)
{
    int         rc;
    cudaGraph_t graph;

    rc = cu_graph_capture(e, shape, e->copies, CU_DRY, &graph);
    if (graph != NULL) {
        (void) cudaGraphDestroy(graph);
    }

    return rc;
}


void
cu_graph_free(k_exec_t *e)
{
    uint32_t i;

    for (i = 0; i < e->n_graphs; i++) {
        (void) cudaGraphExecDestroy(e->graph[i].graph);
    }
    e->n_graphs = 0;
}


static cu_graph_t *
cu_graph_find(k_exec_t *e, const cu_bucket_t *shape)
{
    uint32_t i;

    for (i = 0; i < e->n_graphs; i++) {
        if (memcmp(&e->graph[i].shape, shape, sizeof(*shape)) == 0) {
            return &e->graph[i];
        }
    }

    return NULL;
}


/* NULL: from now on there are no new ones. */
static cu_graph_t *
cu_graph_new(k_exec_t *e, const cu_bucket_t *shape)
{
    int         rc;
    cu_graph_t *g;
    cudaGraph_t graph;

    g = &e->graph[e->n_graphs];
    g->shape = *shape;

    rc = cu_graph_capture(e, shape, e->be->stream, CU_RUN, &graph);
    if (rc == 0) {
        rc = cu_check(cudaGraphInstantiate(&g->graph, graph, 0), "cudaGraphInstantiate");
    }
    if (graph != NULL) {
        (void) cudaGraphDestroy(graph);
    }

    if (rc != 0) {
        fprintf(stderr, "cuda: no graph of %u rows: steps go on without\n", shape->rows);
        e->graphs = 0;
        return NULL;
    }

    e->n_graphs++;
    return g;
}


/* *graph: to be destroyed, or NULL. */
static int
cu_graph_capture(k_exec_t *e, const cu_bucket_t *shape, cudaStream_t stream, cu_mode_t mode,
                 cudaGraph_t *graph)
{
    int         rc, end;
    cudaError_t err;

    *graph = NULL;

    /* Loader threads' calls do not matter to this capture. */
    err = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (err != cudaSuccess) {
        return cu_check(err, "cudaStreamBeginCapture");
    }

    rc = cu_run(e, shape, stream, mode);
    end = cu_check(cudaStreamEndCapture(stream, graph), "cudaStreamEndCapture");

    return rc != 0 ? rc : end;
}
