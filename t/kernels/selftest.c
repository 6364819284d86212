/*
 * The start-up self-test agrees with every ISA that this CPU has, so that it
 * never costs a user his kernels without a reason.
 */

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/selftest.h"
#include "t/lib/tap.h"


int
main(void)
{
    static const k_isa_t all[] = {K_ISA_SCALAR, K_ISA_AVX2, K_ISA_AVX512};
    const char          *bad;
    k_isa_t              isa;
    size_t               i;

    for (i = 0; i < 3; i++) {
        if (k_isa_resolve(all[i], &isa) < 0) {
            ok(1, "%s # SKIP this CPU has none", k_isa_name(all[i]));
            continue;
        }

        bad = k_selftest(isa);
        ok(bad == NULL, "%s: %s", k_isa_name(isa), bad ? bad : "agrees");
    }

    return tap_done();
}
