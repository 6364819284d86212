/*
 * The region of a connection: memfd, eventfds, mapping.  Private to the set-up
 * in conn.c.
 */

#ifndef LLM_IPC_REGION_H
#define LLM_IPC_REGION_H

#include "engine/ipc/conn.h"

#define LLM_REGION_FDS 3 /* region, wakes the engine, wakes the worker */


/*
 * Worker: makes, seals and maps the region and makes the eventfds, into *ipc.
 * Sizes are powers of two as in abi.h, else -EINVAL.  0 or -errno; what was
 * made goes with llm_ipc_close() in either case.
 */
int llm_region_make(llm_ipc_t *ipc, uint64_t sub_size, uint64_t comp_size);

/*
 * Engine: verifies the descriptors that came with HELLO, and maps.  0: those
 * that *ipc keeps are -1 in `fds` now; -EBADMSG: all remain the caller's, as
 * do those that are not -1.
 */
int llm_region_take(llm_ipc_t *ipc, uint64_t region_size,
                    int fds[LLM_REGION_FDS]);

#endif /* LLM_IPC_REGION_H */
