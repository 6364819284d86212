/*
 * A vector ISA's kernels held against the scalar reference, once, when the
 * backend opens: a CPU, a compiler or an intrinsic that is not what we think
 * must cost speed, never a wrong answer.  A few ms.
 */

#ifndef LLM_KERNELS_CPU_SELFTEST_H
#define LLM_KERNELS_CPU_SELFTEST_H

#include "kernels/backend.h"

/* NULL: all agree; else what does not, a static string. */
const char *k_selftest(k_isa_t isa);

#endif /* LLM_KERNELS_CPU_SELFTEST_H */
