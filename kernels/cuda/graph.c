/*
 * CUDA graphs of steps in which each sequence has one row: captured when a
 * shape comes up for the first time (a few ms), launched with one call from
 * then on.  All that differs between steps of a shape is in the step's
 * metadata, so a graph is never changed.  The step loop's thread only; graphs
 * belong to the exec.
 *
 * Where capturing fails, the step is launched kernel by kernel: slower, and
 * the same otherwise.  The next one tries again (a library may have had to
 * load something first), but not for ever.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/exec.h"

#define CU_REFUSALS 3


static cu_graph_t *cu_graph_find(k_exec_t *e, const cu_bucket_t *shape);
static cu_graph_t *cu_graph_new(k_exec_t *e, const cu_bucket_t *shape);
static int         cu_graph_capture(k_exec_t *e, const cu_bucket_t *shape, cudaGraph_t *graph);


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


/* NULL: there is none this time; after CU_REFUSALS of them, ever. */
static cu_graph_t *
cu_graph_new(k_exec_t *e, const cu_bucket_t *shape)
{
    int         rc;
    cu_graph_t *g;
    cudaGraph_t graph;

    g = &e->graph[e->n_graphs];
    g->shape = *shape;

    rc = cu_graph_capture(e, shape, &graph);
    if (rc == 0) {
        rc = cu_check(cudaGraphInstantiate(&g->graph, graph, 0), "cudaGraphInstantiate");
    }
    if (graph != NULL) {
        (void) cudaGraphDestroy(graph);
    }

    if (rc != 0) {
        fprintf(stderr, "cuda: no graph of %u rows: the step goes on without\n", shape->rows);
        e->graphs = ++e->n_refused < CU_REFUSALS;
        return NULL;
    }

    e->n_graphs++;
    return g;
}


/* *graph: to be destroyed, or NULL. */
static int
cu_graph_capture(k_exec_t *e, const cu_bucket_t *shape, cudaGraph_t *graph)
{
    int         rc, end;
    cudaError_t err;

    *graph = NULL;

    /* Loader threads' calls do not matter to this capture. */
    err = cudaStreamBeginCapture(e->be->stream, cudaStreamCaptureModeThreadLocal);
    if (err != cudaSuccess) {
        return cu_check(err, "cudaStreamBeginCapture");
    }

    rc = cu_run(e, shape, e->be->stream, CU_RUN);
    end = cu_check(cudaStreamEndCapture(e->be->stream, graph), "cudaStreamEndCapture");

    return rc != 0 ? rc : end;
}
