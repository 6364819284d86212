/*
 * What tests of CUDA kernels share: device memory with guard bytes, numbers
 * in the device's types, a step's metadata.  CUDA's runtime API only, so that
 * the same tests run on the emulated device and on a real one.
 *
 * One test program, one thread calls it.  Memory of dev_*() is owned by the
 * caller, who gives it back by dev_free(): that is where guards are checked.
 * A CUDA call that fails ends the test program.
 */

#ifndef LLM_CU_TEST_H
#define LLM_CU_TEST_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime_api.h>

#include "kernels/cuda/cu_kernels.h"
#include "t/lib/tap.h"

#define DEV_GUARD_BEFORE 256 /* keeps cudaMalloc's alignment */
#define DEV_GUARD_AFTER  64
#define DEV_GUARD_BYTE   0xa5
#define DEV_MAX          4096

#define DEV_UNUSED __attribute__((unused)) static

/* CUDA calls that must succeed. */
#define CU_OK(call)                                                            \
    do {                                                                       \
        cudaError_t rc_ = (call);                                              \
        if (rc_ != cudaSuccess) {                                              \
            printf("Bail out! %s:%d: %s: %s\n", __FILE__, __LINE__, #call,     \
                   cudaGetErrorString(rc_));                                   \
            exit(2);                                                           \
        }                                                                      \
    } while (0)

/* A step's metadata on the host; arrays may be NULL. */
typedef struct {
    uint32_t              n_rows;
    uint32_t              n_logits;
    uint32_t              n_decode;
    uint32_t              n_prefill;
    uint32_t              n_pages;
    const int32_t        *tokens;
    const uint32_t       *pos;
    const uint32_t       *slot;
    const uint32_t       *logit_rows;
    const cu_attn_work_t *decode;
    const cu_attn_work_t *prefill;
    const uint32_t       *pages;
    const int32_t        *drawn; /* as many as tokens < 0 speak of */
} dev_step_conf_t;

static struct {
    uint8_t *p;
    size_t   n;
} dev_mem_[DEV_MAX];


/* --- numbers --- */

DEV_UNUSED float
dev_bits_(uint32_t u)
{
    float f;

    memcpy(&f, &u, 4);
    return f;
}


DEV_UNUSED uint32_t
dev_word_(float f)
{
    uint32_t u;

    memcpy(&u, &f, 4);
    return u;
}


DEV_UNUSED float
bf16_of(uint16_t h)
{
    return dev_bits_((uint32_t) h << 16);
}


DEV_UNUSED uint16_t
to_bf16(float f)
{
    uint32_t u = dev_word_(f);

    if (isnan(f)) {
        return 0x7fff;
    }

    return (uint16_t) ((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}


DEV_UNUSED float
half_of(uint16_t h)
{
    int   e = (h >> 10) & 31, m = h & 1023;
    float v;

    if (e == 31) {
        v = m ? NAN : INFINITY;
    } else if (e == 0) {
        v = ldexpf((float) m, -24);
    } else {
        v = ldexpf((float) (m + 1024), e - 25);
    }

    return h & 0x8000 ? -v : v;
}


/* Round to nearest even; beyond the largest: infinity, as the hardware. */
DEV_UNUSED uint16_t
to_half(float f)
{
    uint16_t sign = (uint16_t) (dev_word_(f) >> 16 & 0x8000);
    float    a = fabsf(f);
    int      e;

    if (isnan(f)) {
        return 0x7fff;
    }

    if (a >= 65520.0f) {
        return sign | 0x7c00;
    }

    if (a < 0x1p-14f) {
        return sign | (uint16_t) rintf(ldexpf(a, 24));
    }

    /* The mantissa with its leading one, 1024 to 2048: 2048 carries. */
    frexpf(a, &e);
    return sign
           | (uint16_t) (((e + 13) << 10) + (int) rintf(ldexpf(a, 11 - e)));
}


DEV_UNUSED float
f8_of(uint8_t b)
{
    int   e = (b >> 3) & 15, m = b & 7;
    float v;

    if ((b & 0x7f) == 0x7f) {
        v = NAN;
    } else if (e == 0) {
        v = ldexpf((float) m, -9);
    } else {
        v = ldexpf((float) (m + 8), e - 10);
    }

    return b & 0x80 ? -v : v;
}


/* E4M3, round to nearest even; saturates at +-448, infinities too. */
DEV_UNUSED uint8_t
to_f8(float f)
{
    uint8_t sign = (uint8_t) (dev_word_(f) >> 24 & 0x80);
    float   a = fabsf(f);
    int     e;

    if (isnan(f)) {
        return sign | 0x7f;
    }

    if (a >= 448.0f) {
        return sign | 0x7e;
    }

    if (a < 0x1p-6f) {
        return sign | (uint8_t) rintf(ldexpf(a, 9));
    }

    frexpf(a, &e);
    return sign | (uint8_t) (((e + 5) << 3) + (int) rintf(ldexpf(a, 4 - e)));
}


DEV_UNUSED uint32_t
test_rand(uint32_t *state)
{
    uint32_t x = *state += 0x9e3779b9;

    x = (x ^ (x >> 16)) * 0x85ebca6b;
    x = (x ^ (x >> 13)) * 0xc2b2ae35;
    return x ^ (x >> 16);
}


/* Mean 0, variance 1. */
DEV_UNUSED double
test_normal(uint32_t *state)
{
    double u = (test_rand(state) + 0.5) / 4294967296.0;
    double v = (test_rand(state) + 0.5) / 4294967296.0;

    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}


/* --- device memory --- */

/* n bytes of device memory, 256-byte aligned, filled with 0xff. */
DEV_UNUSED void *
dev_new(size_t n)
{
    size_t   i = 0;
    uint8_t *p;

    while (i < DEV_MAX && dev_mem_[i].p != NULL) {
        i++;
    }

    if (i == DEV_MAX) {
        printf("Bail out! more than %d device buffers\n", DEV_MAX);
        exit(2);
    }

    CU_OK(cudaMalloc((void **) &p, DEV_GUARD_BEFORE + n + DEV_GUARD_AFTER));
    CU_OK(cudaMemset(p, DEV_GUARD_BYTE, DEV_GUARD_BEFORE));
    CU_OK(
        cudaMemset(p + DEV_GUARD_BEFORE + n, DEV_GUARD_BYTE, DEV_GUARD_AFTER));
    if (n > 0) {
        CU_OK(cudaMemset(p + DEV_GUARD_BEFORE, 0xff, n));
    }
    /* Streams other than the default do not wait for it. */
    CU_OK(cudaDeviceSynchronize());

    dev_mem_[i].p = p + DEV_GUARD_BEFORE;
    dev_mem_[i].n = n;
    return p + DEV_GUARD_BEFORE;
}


/* Copies to device memory once all work before is done. */
DEV_UNUSED void
dev_put(void *dev, const void *host, size_t n)
{
    CU_OK(cudaDeviceSynchronize());
    CU_OK(cudaMemcpy(dev, host, n, cudaMemcpyHostToDevice));
    CU_OK(cudaDeviceSynchronize());
}


/* Copies from device memory once all work before is done. */
DEV_UNUSED void
dev_get(void *host, const void *dev, size_t n)
{
    CU_OK(cudaDeviceSynchronize());
    CU_OK(cudaMemcpy(host, dev, n, cudaMemcpyDeviceToHost));
}


DEV_UNUSED void *
dev_of(const void *host, size_t n)
{
    void *p = dev_new(n);

    if (n > 0) {
        dev_put(p, host, n);
    }

    return p;
}


/* 1: the n bytes all are DEV_GUARD_BYTE. */
DEV_UNUSED int
dev_guard_(const uint8_t *dev, size_t n)
{
    uint8_t b[DEV_GUARD_BEFORE];
    size_t  i;

    dev_get(b, dev, n);
    for (i = 0; i < n && b[i] == DEV_GUARD_BYTE; i++) {
    }

    return i == n;
}


/* Checks the guard bytes: one that was written is a failed test. */
DEV_UNUSED void
dev_free(void *dev)
{
    size_t i;

    if (dev == NULL) {
        return;
    }

    for (i = 0; i < DEV_MAX && dev_mem_[i].p != dev; i++) {
    }

    if (i == DEV_MAX) {
        printf("Bail out! dev_free() of what dev_new() did not give\n");
        exit(2);
    }

    if (!dev_guard_(dev_mem_[i].p - DEV_GUARD_BEFORE, DEV_GUARD_BEFORE)) {
        ok(0, "no write before a device buffer of %zu bytes", dev_mem_[i].n);
    }

    if (!dev_guard_(dev_mem_[i].p + dev_mem_[i].n, DEV_GUARD_AFTER)) {
        ok(0, "no write beyond a device buffer of %zu bytes", dev_mem_[i].n);
    }

    CU_OK(cudaFree(dev_mem_[i].p - DEV_GUARD_BEFORE));
    dev_mem_[i].p = NULL;
}


DEV_UNUSED size_t
dev_type_size(cu_type_t t)
{
    static const size_t size[] = {
        [CU_F32] = 4, [CU_F16] = 2, [CU_BF16] = 2, [CU_F8] = 1};

    return size[t];
}


/* Rounds v in place to t, and makes a device copy in t. */
DEV_UNUSED void *
dev_typed(cu_type_t t, double *v, size_t n)
{
    size_t   size = dev_type_size(t), i;
    uint8_t *h = malloc(n * size + 1);
    float    f;
    uint16_t w;
    void    *dev;

    for (i = 0; i < n; i++) {
        f = (float) v[i];

        switch (t) {
        case CU_F32:
            memcpy(h + i * 4, &f, 4);
            v[i] = f;
            break;
        case CU_F16:
            w = to_half(f);
            memcpy(h + i * 2, &w, 2);
            v[i] = half_of(w);
            break;
        case CU_BF16:
            w = to_bf16(f);
            memcpy(h + i * 2, &w, 2);
            v[i] = bf16_of(w);
            break;
        case CU_F8:
            h[i] = to_f8(f);
            v[i] = f8_of(h[i]);
            break;
        }
    }

    dev = dev_of(h, n * size);
    free(h);
    return dev;
}


/* n elements of type t from device memory, once all work before is done. */
DEV_UNUSED void
dev_read(cu_type_t t, double *v, const void *dev, size_t n)
{
    size_t   size = dev_type_size(t), i;
    uint8_t *h = malloc(n * size + 1);
    float    f;
    uint16_t w;

    dev_get(h, dev, n * size);

    for (i = 0; i < n; i++) {
        switch (t) {
        case CU_F32:
            memcpy(&f, h + i * 4, 4);
            v[i] = f;
            break;
        case CU_F16:
            memcpy(&w, h + i * 2, 2);
            v[i] = half_of(w);
            break;
        case CU_BF16:
            memcpy(&w, h + i * 2, 2);
            v[i] = bf16_of(w);
            break;
        case CU_F8:
            v[i] = f8_of(h[i]);
            break;
        }
    }

    free(h);
}


/* --- a step's metadata --- */

DEV_UNUSED void *
dev_array_(const void *host, size_t n, size_t size)
{
    return host == NULL ? NULL : dev_of(host, n * size);
}


/* In device memory, each array with guards of its own. */
DEV_UNUSED cu_step_t *
dev_step(const dev_step_conf_t *c)
{
    uint32_t  n_drawn = 0, i;
    cu_step_t s;

    for (i = 0; c->tokens != NULL && i < c->n_rows; i++) {
        if (c->tokens[i] < 0 && (uint32_t) -c->tokens[i] > n_drawn) {
            n_drawn = (uint32_t) -c->tokens[i];
        }
    }

    s.n_rows = c->n_rows;
    s.n_logits = c->n_logits;
    s.n_decode = c->n_decode;
    s.n_prefill = c->n_prefill;
    s.tokens = dev_array_(c->tokens, c->n_rows, sizeof(*s.tokens));
    s.pos = dev_array_(c->pos, c->n_rows, sizeof(*s.pos));
    s.slot = dev_array_(c->slot, c->n_rows, sizeof(*s.slot));
    s.logit_rows =
        dev_array_(c->logit_rows, c->n_logits, sizeof(*s.logit_rows));
    s.decode = dev_array_(c->decode, c->n_decode, sizeof(*s.decode));
    s.prefill = dev_array_(c->prefill, c->n_prefill, sizeof(*s.prefill));
    s.pages = dev_array_(c->pages, c->n_pages, sizeof(*s.pages));
    s.drawn = dev_array_(c->drawn, n_drawn, sizeof(*s.drawn));

    return dev_of(&s, sizeof(s));
}


DEV_UNUSED void
dev_step_free(cu_step_t *step)
{
    cu_step_t s;

    dev_get(&s, step, sizeof(s));
    dev_free((void *) s.tokens);
    dev_free((void *) s.pos);
    dev_free((void *) s.slot);
    dev_free((void *) s.logit_rows);
    dev_free((void *) s.decode);
    dev_free((void *) s.prefill);
    dev_free((void *) s.pages);
    dev_free((void *) s.drawn);
    dev_free(step);
}

#endif /* LLM_CU_TEST_H */
