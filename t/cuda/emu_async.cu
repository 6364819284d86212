/*
 * Memory as kernels on the emulated device reach it: shared memory, checks of
 * addresses, cp.async, whose copies a thread keeps until it waits for them.
 */

#include "t/cuda/emu_core.h"


void *
emu_dynamic_shared()
{
    return emu_g.dynamic;
}


EMU_CORE void
emu_grid_wait()
{
    emu_me()->grid_waited = 1;
}


EMU_CORE static int
emu_is_shared(const void *at, size_t n)
{
    const uint8_t      *p = (const uint8_t *) at;
    const emu_static_t *s;
    uint32_t            count;

    if (p >= emu_g.dynamic && p + n <= emu_g.dynamic + emu_g.dynamic_size) {
        return 1;
    }

    count = emu_statics(&s);
    for (uint32_t i = 0; i < count; i++) {
        if (p >= emu_g.statics + s[i].at && p + n <= emu_g.statics + s[i].at + s[i].size) {
            return 1;
        }
    }

    return 0;
}


EMU_CORE void
emu_check_shared(const void *p, size_t n, const char *file, int line)
{
    char what[256];

    if ((uintptr_t) p % n != 0) {
        emu_fail(file, line, "%zu bytes at a misaligned address, %p", n, p);
    }

    if (!emu_is_shared(p, n)) {
        emu_address(p, what, sizeof(what));
        emu_fail(file, line, "%zu bytes at %p, which is not shared memory: %s", n, p, what);
    }
}


EMU_CORE void
emu_check_global(const void *p, size_t n, const char *file, int line)
{
    const emu_mem_t *m;
    char             what[256];

    if ((uintptr_t) p % n != 0) {
        emu_fail(file, line, "%zu bytes at a misaligned address, %p", n, p);
    }

    m = emu_memory(p);
    if (m == NULL || (const uint8_t *) p + n > m->p + m->size) {
        emu_address(p, what, sizeof(what));
        emu_fail(file, line, "%zu bytes at %p, which is not the device's memory: %s", n, p, what);
    }
}


/* Instrumented, unlike what calls it: TSan sees who writes. */
__attribute__((noinline)) static void
emu_store16(void *dst, uint4 v)
{
    *(uint4 *) dst = v;
}


__attribute__((noinline)) static uint4
emu_load_part(const void *src, int n)
{
    uint4 v = make_uint4(0, 0, 0, 0);

    memcpy((void *) &v, src, (size_t) n);
    return v;
}


EMU_CORE void
emu_async16(void *smem, const void *global, int n, const char *file, int line)
{
    emu_thread_t *t = emu_me();
    emu_copy_t    c = {smem, global, (uint8_t) n, 0, t->group, make_uint4(0, 0, 0, 0)};

    emu_check_shared(smem, 16, file, line);
    if (n < 0 || n > 16) {
        emu_fail(file, line, "cp.async of %d bytes", n);
    }
    if ((uintptr_t) global % 16 != 0) {
        emu_fail(file, line, "cp.async from a misaligned address, %p", global);
    }
    if (n > 0) {
        emu_check_global(global, n == 16 ? 16 : 1, file, line);
    }

    c.read = n > 0 && emu_random(2);
    if (c.read) {
        c.value = emu_load_part(global, n);
    }

    emu_store16(smem, make_uint4(EMU_FULL, EMU_FULL, EMU_FULL, EMU_FULL));
    t->copies->push_back(c);
}


EMU_CORE void
emu_async_commit()
{
    emu_me()->group++;
}


EMU_CORE void
emu_async_finish(emu_thread_t *t, uint32_t below)
{
    std::vector<emu_copy_t> &v = *t->copies;
    size_t                   kept = 0;

    for (size_t i = 0; i < v.size(); i++) {
        emu_copy_t c = v[i];

        if (c.group >= below) {
            v[kept++] = c;
            continue;
        }
        if (!c.read && c.n > 0) {
            c.value = emu_load_part(c.src, c.n);
        }
        emu_store16(c.dst, c.value);
    }

    v.resize(kept);
}


EMU_CORE void
emu_async_wait(int n)
{
    emu_thread_t *t = emu_me();

    if (t->group > (uint32_t) n) {
        emu_async_finish(t, t->group - (uint32_t) n);
    }
}
