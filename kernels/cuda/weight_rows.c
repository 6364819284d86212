/*
 * Rows of weights through pinned memory to the device.
 *
 * A large tensor that lies in memory is taken apart by ROW_THREADS threads, as
 * one alone copies slower than the bus; each has two pinned buffers, one of
 * which it fills while the device reads the other.  A source that is read is
 * read by the caller's thread alone, in order, with two buffers too.  What the
 * device does is in the order of one stream: the pieces share `raw`, so a
 * piece's copy and what makes rows of it are enqueued together.
 *
 * The threads live as long as the call.  load_lock keeps other loaders out.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cuda/weight.h"

#define ROW_THREADS (CU_SLOTS / 2)
#define ROW_LARGE   (16u << 20) /* bytes that are worth more than one thread */
#define ROW_BLOCK   8u          /* rows that the host makes plain at a time */


/* One thread's part of it. */
typedef struct {
    cu_load_t *l;
    int        id; /* it has slots 2 id and 2 id + 1 */
    int        rc;
    char       err[K_ERR_MAX];
    uint8_t   *buf;    /* rows read, where they are not read in place */
    uint8_t   *packed; /* CU_LOAD_PLAIN: ROW_BLOCK rows as the CPU's backend has them */
    float     *floats; /* CU_LOAD_PLAIN: a row */
    pthread_t  thread;
} hand_t;


static int      hands_wanted(const cu_load_t *l);
static void    *load_hand(void *data);
static int      hand_buffers(hand_t *h);
static int      load_piece(hand_t *h, uint32_t row, uint32_t n, int slot);
static int      enqueue(cu_load_t *l, uint32_t row, uint32_t n, const void *from);
static int      fill(hand_t *h, uint32_t row, uint32_t n, uint8_t *to);
static int      make_plain(hand_t *h, const uint8_t *from, uint32_t n, uint16_t *to);
static void     widen(float *out, const uint8_t *src, k_type_t type, size_t n);
static float    half(uint16_t h);
static uint16_t bf16(float f);


int
cu_load_rows(cu_load_t *l)
{
    int          i, n, rc, end;
    hand_t       hands[ROW_THREADS];
    uint64_t     most;
    k_backend_t *be;

    be = l->be;
    most = CU_STAGING / (l->staged > l->row ? l->staged : l->row);
    l->most = most < l->src->rows ? (uint32_t) most : l->src->rows;

    pthread_mutex_init(&l->order, NULL);
    pthread_mutex_lock(&be->load_lock);

    n = hands_wanted(l);

    for (i = 0; i < n; i++) {
        hands[i] = (hand_t){.l = l, .id = i};
        if (i != 0 && pthread_create(&hands[i].thread, NULL, load_hand, &hands[i]) != 0) {
            break; /* with those that there are */
        }
    }
    n = i;

    (void) load_hand(&hands[0]);
    rc = 0;

    for (i = 0; i < n; i++) {
        if (i != 0) {
            (void) pthread_join(hands[i].thread, NULL);
        }
        if (rc == 0 && hands[i].rc != 0) {
            rc = hands[i].rc;
            memcpy(l->err, hands[i].err, K_ERR_MAX);
        }
    }

    /* Also after an error: what it wrote to is about to be another's. */
    end = cu_check(cudaStreamSynchronize(be->load_stream), "loading weights");

    pthread_mutex_unlock(&be->load_lock);
    pthread_mutex_destroy(&l->order);

    if (rc == 0 && end != 0) {
        snprintf(l->err, K_ERR_MAX, "%s: the device has failed", l->src->name);
    }

    return rc != 0 ? rc : end;
}


/* read() is for one thread; small tensors are not worth more. */
static int
hands_wanted(const cu_load_t *l)
{
    long cpus;

    if (l->src->data == NULL || l->src->rows * l->row < ROW_LARGE) {
        return 1;
    }

    cpus = sysconf(_SC_NPROCESSORS_ONLN);

    return cpus < 1 ? 1 : cpus < ROW_THREADS ? (int) cpus : ROW_THREADS;
}


/* A thread of its own but for hand 0: takes pieces until there are none. */
static void *
load_hand(void *data)
{
    int        i;
    hand_t    *h;
    cu_load_t *l;
    uint32_t   n, rows;
    uint64_t   row;

    h = data;
    l = h->l;
    rows = l->src->rows;
    h->rc = hand_buffers(h);

    for (i = 0; h->rc == 0 && !__atomic_load_n(&l->failed, __ATOMIC_RELAXED); i = 1 - i) {
        row = (uint64_t) l->most * __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
        if (row >= rows) {
            break;
        }
        n = rows - row < l->most ? (uint32_t) (rows - row) : l->most;
        h->rc = load_piece(h, (uint32_t) row, n, 2 * h->id + i);
    }

    if (h->rc != 0) {
        __atomic_store_n(&l->failed, 1, __ATOMIC_RELAXED);
    }

    free(h->buf);
    free(h->packed);
    free(h->floats);

    return NULL;
}


static int
hand_buffers(hand_t *h)
{
    int64_t           size;
    const cu_load_t  *l;
    const k_source_t *src;

    l = h->l;
    src = l->src;

    if (cu_bind(l->be) != 0) {
        snprintf(h->err, K_ERR_MAX, "%s: the device has failed", src->name);
        return -EIO;
    }

    if (l->way != CU_LOAD_WIDEN && l->way != CU_LOAD_PLAIN) {
        return 0;
    }

    if (src->data == NULL) {
        h->buf = malloc(l->most * l->row);
    }

    if (l->way == CU_LOAD_PLAIN) {
        size = k_matrix_size(src->type, K_ISA_SCALAR, ROW_BLOCK, src->cols);
        size = size < 0 ? 0 : (size + K_ALIGN - 1) / K_ALIGN * K_ALIGN;
        h->packed = aligned_alloc(K_ALIGN, (size_t) size);
        h->floats = malloc(src->cols * sizeof(float));
    }

    if ((src->data == NULL && h->buf == NULL)
        || (l->way == CU_LOAD_PLAIN && (h->packed == NULL || h->floats == NULL))) {
        snprintf(h->err, K_ERR_MAX, "%s: out of memory", src->name);
        return -ENOMEM;
    }

    return 0;
}


static int
load_piece(hand_t *h, uint32_t row, uint32_t n, int slot)
{
    int          rc;
    cu_load_t   *l;
    uint8_t     *buf;
    k_backend_t *be;

    l = h->l;
    be = l->be;
    buf = be->staging + (size_t) slot * CU_STAGING;

    rc = cu_check(cudaEventSynchronize(be->staged[slot]), "loading weights");

    if (rc == 0) {
        rc = fill(h, row, n, buf);
        if (rc != 0) {
            return rc;
        }

        pthread_mutex_lock(&l->order);

        rc = enqueue(l, row, n, buf);
        if (rc == 0) {
            rc = cu_check(cudaEventRecord(be->staged[slot], be->load_stream), "loading weights");
        }

        pthread_mutex_unlock(&l->order);
    }

    if (rc != 0) {
        snprintf(h->err, K_ERR_MAX, "%s: the device has failed", l->src->name);
    }

    return rc;
}


static int
enqueue(cu_load_t *l, uint32_t row, uint32_t n, const void *from)
{
    int          rc, raw;
    void        *to;
    uint32_t     cols;
    k_backend_t *be;

    be = l->be;
    cols = l->src->cols;
    raw = l->way == CU_LOAD_REPACK || l->way == CU_LOAD_TO_F8;
    to = raw ? be->raw : l->out + row * l->staged;

    rc = cu_check(cudaMemcpyAsync(to, from, n * l->staged, cudaMemcpyHostToDevice, be->load_stream),
                  "loading weights");

    if (rc == 0 && l->way == CU_LOAD_REPACK) {
        rc = cu_repack(&l->w->m, row, n, be->raw, be->load_stream);
    }

    if (rc == 0 && l->way == CU_LOAD_TO_F8) {
        rc = cu_to_f8(be->raw, l->type, n, cols, l->out + (uint64_t) row * cols,
                      (float *) l->w->mem_scales + row, be->load_stream);
    }

    return rc;
}


/* Rows [row, row + n), as they are sent, into pinned memory. */
static int
fill(hand_t *h, uint32_t row, uint32_t n, uint8_t *to)
{
    int               rc;
    uint8_t          *buf;
    const cu_load_t  *l;
    const uint8_t    *from;
    const k_source_t *src;

    l = h->l;
    src = l->src;

    if (src->data != NULL) {
        from = (const uint8_t *) src->data + row * l->row;

    } else {
        buf = h->buf != NULL ? h->buf : to;
        rc = src->read(src->ctx, row, n, buf);
        if (rc < 0) {
            snprintf(h->err, K_ERR_MAX, "%s: cannot read rows %u to %u: %s", src->name, row,
                     row + n - 1, strerror(-rc));
            return rc;
        }
        from = buf;
    }

    if (l->way == CU_LOAD_WIDEN) {
        widen((float *) to, from, src->type, (size_t) n * src->cols);
        return 0;
    }

    if (l->way == CU_LOAD_PLAIN) {
        return make_plain(h, from, n, (uint16_t *) to);
    }

    if (from != to) {
        memcpy(to, from, n * l->row);
    }

    return 0;
}


/* By way of the CPU backend's form, whose rows are GGUF's values exactly. */
static int
make_plain(hand_t *h, const uint8_t *from, uint32_t n, uint16_t *to)
{
    int               rc;
    uint32_t          i, j, row, rows;
    k_matrix_t        m;
    const k_source_t *src;

    src = h->l->src;

    for (row = 0; row < n; row += rows) {
        rows = n - row < ROW_BLOCK ? n - row : ROW_BLOCK;

        rc = k_matrix_init(&m, src->type, K_ISA_SCALAR, rows, src->cols, h->packed);
        if (rc != 0) {
            snprintf(h->err, K_ERR_MAX, "%s: type %d: %s", src->name, (int) src->type,
                     strerror(-rc));
            return -ENOTSUP;
        }

        k_matrix_pack(&m, from + row * h->l->row, 0, rows);

        for (i = 0; i < rows; i++) {
            k_matrix_row(&m, i, h->floats);
            for (j = 0; j < src->cols; j++) {
                *to++ = bf16(h->floats[j]);
            }
        }
    }

    return 0;
}


/* The source may lie at any address. */
static void
widen(float *out, const uint8_t *src, k_type_t type, size_t n)
{
    size_t   i;
    uint16_t h;
    uint32_t u;

    for (i = 0; i < n; i++) {
        memcpy(&h, src + 2 * i, 2);

        if (type == K_F16) {
            out[i] = half(h);
        } else {
            u = (uint32_t) h << 16;
            memcpy(&out[i], &u, 4);
        }
    }
}


static float
half(uint16_t h)
{
    float    f;
    uint32_t u;

    u = (uint32_t) (h & 0x7fff) << 13;

    if ((h & 0x7fff) >= 0x7c00) {
        u |= 0x7f800000;
        memcpy(&f, &u, 4);
    } else {
        /* The exponent's bias by a product: right for subnormals too. */
        memcpy(&f, &u, 4);
        f *= 0x1p112f;
    }

    return h & 0x8000 ? -f : f;
}


/* To nearest even; NaN stays NaN. */
static uint16_t
bf16(float f)
{
    uint32_t u;

    memcpy(&u, &f, 4);

    if ((u & 0x7fffffff) > 0x7f800000) {
        return (uint16_t) (u >> 16 | 0x40);
    }

    return (uint16_t) ((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
