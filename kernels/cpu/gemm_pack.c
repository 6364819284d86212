/*
 * Into the packed form that gemm_kernel.h specifies, and back: packing of
 * rows at load, look-up of rows, and blocks for the scalar kernel.  Any
 * thread; no state; the memory is the caller's.
 */

#include <string.h>

#include "kernels/cpu/gemm_kernel.h"


static void k_pack_plain(const k_matrix_t *w, const k_format_t *f,
                         const uint8_t *src, uint32_t row, uint32_t n);
static void k_pack_group(const k_matrix_t *w, const k_format_t *f,
                         const uint8_t *src, uint32_t row, uint32_t n);
static void k_pack_unit(const k_matrix_t *w, const k_format_t *f, uint8_t *rec,
                        uint32_t b, uint32_t r, const k_unit_t *u);
static void k_planes_of(uint32_t bits, const uint32_t *v, uint32_t *p);
static void k_planes_odd(uint32_t bits, const uint32_t *v, uint32_t *p);
static void k_vectors_of(uint32_t bits, const uint32_t *p, uint32_t *v);
static void k_row_plain(const k_matrix_t *w, uint32_t row, float *out);


void
k_matrix_pack(k_matrix_t *w, const void *src, uint32_t from, uint32_t to)
{
    size_t            bytes;
    uint32_t          row, n;
    const uint8_t    *p;
    const k_format_t *f;

    f = k_format(w->type);
    bytes = k_matrix_source_row(w);
    p = src;

    for (row = from; row < to; row += n) {
        n = to - row < w->lanes ? to - row : w->lanes;

        if (f->blocks == 0) {
            k_pack_plain(w, f, p, row, n);
        } else {
            k_pack_group(w, f, p, row, n);
        }

        p += n * bytes;
    }
}


static void
k_pack_plain(const k_matrix_t *w, const k_format_t *f, const uint8_t *src,
             uint32_t row, uint32_t n)
{
    size_t         k, blocks;
    uint8_t       *dst;
    uint32_t       r, size;
    const uint8_t *p;

    dst = (uint8_t *) k_group(w, row);
    size = f->bytes;
    blocks = ((size_t) w->cols + K_BLOCK - 1) / K_BLOCK;

    if (n < w->lanes || w->cols % K_BLOCK != 0) {
        memset(dst, 0, blocks * w->record);
    }

    for (r = 0; r < n; r++) {
        p = src + (size_t) r * w->cols * size;

        for (k = 0; k < w->cols; k++) {
            if (size == 4) {
                memcpy(dst + (k * w->lanes + r) * 4, p + k * 4, 4);
            } else {
                memcpy(dst + (k * w->lanes + r) * 2, p + k * 2, 2);
            }
        }
    }
}


static void
k_pack_group(const k_matrix_t *w, const k_format_t *f, const uint8_t *src,
             uint32_t row, uint32_t n)
{
    size_t   i, records, bytes;
    uint8_t *rec;
    uint32_t r, b;
    k_unit_t u;

    records = w->cols / K_BLOCK / f->blocks;
    bytes = k_matrix_source_row(w);
    rec = (uint8_t *) k_group(w, row);

    memset(&u, 0, sizeof(u));

    for (i = 0; i < records; i++, rec += w->record) {
        if (n < w->lanes) {
            memset(rec, 0, w->record);
        }

        for (r = 0; r < n; r++) {
            for (b = 0; b < f->blocks; b++) {
                k_unit_read(f, src + r * bytes + i * f->bytes, b, &u);
                k_pack_unit(w, f, rec, b, r, &u);
            }
        }
    }
}


static void
k_pack_unit(const k_matrix_t *w, const k_format_t *f, uint8_t *rec, uint32_t b,
            uint32_t r, const k_unit_t *u)
{
    uint8_t *sub, *planes;
    uint32_t i, lanes, v[8], p[8];

    lanes = w->lanes;

    if (b == 0) {
        /* little-endian: the first byte alone for an exponent */
        memcpy(rec + r * f->d, &u->d, f->d);

        if (f->min) {
            memcpy(rec + k_record_min(f, lanes) + r * 2, &u->m, 2);
        }
    }

    sub = rec + k_record_sub(f, lanes, b);

    switch (f->sub) {

    case K_SUB_MIN:
        sub[r] = u->sub[0];
        sub[lanes + r] = u->sub[1];
        break;

    case K_SUB_ONE:
        sub[r] = u->sub[0];
        break;

    case K_SUB_TWO:
    case K_SUB_PAIR:
        sub[r * 2] = u->sub[0];
        sub[r * 2 + 1] = u->sub[1];
        break;

    default:
        break;
    }

    memcpy(v, u->v, sizeof(v));
    k_planes_of(f->bits, v, p);

    if (f->bits == 8 && lanes == 16) {
        for (i = 0; i < 8; i++) {
            p[i] ^= 0x80808080;
        }
    }

    planes = rec + k_record_planes(f, lanes, b);

    for (i = 0; i < f->bits; i++) {
        memcpy(planes + (i * lanes + r) * 4, &p[i], 4);
    }
}


/* Four bytes at once: none of the shifts crosses from one to the next. */

static void
k_planes_of(uint32_t bits, const uint32_t *v, uint32_t *p)
{
    uint32_t i;

    switch (bits) {

    case 2:
        for (i = 0; i < 2; i++, v += 4) {
            p[i] = v[0] | v[1] << 2 | v[2] << 4 | v[3] << 6;
        }
        return;

    case 4:
        for (i = 0; i < 4; i++) {
            p[i] = v[i] | v[4 + i] << 4;
        }
        return;

    case 8:
        memcpy(p, v, 32);
        return;

    default:
        k_planes_odd(bits, v, p);
        return;
    }
}


#define k_each(byte) ((byte) *0x01010101u)


static void
k_planes_odd(uint32_t bits, const uint32_t *v, uint32_t *p)
{
    uint32_t i;

    switch (bits) {

    case 3:
        p[0] = v[0] | v[1] << 3 | (v[6] & k_each(3)) << 6;
        p[1] = v[2] | v[3] << 3 | (v[7] & k_each(3)) << 6;
        p[2] = v[4] | v[5] << 3 | (v[6] & k_each(4)) << 4
               | (v[7] & k_each(4)) << 5;
        return;

    case 5:
        p[0] = v[0] | (v[5] & k_each(7)) << 5;
        p[1] = v[1] | (v[5] & k_each(24)) << 2 | (v[7] & k_each(8)) << 4;
        p[2] = v[2] | (v[6] & k_each(7)) << 5;
        p[3] = v[3] | (v[6] & k_each(24)) << 2 | (v[7] & k_each(16)) << 3;
        p[4] = v[4] | (v[7] & k_each(7)) << 5;
        return;

    case 6:
        for (i = 0; i < 6; i++) {
            /* two bits of vector 6 or 7 in each */
            p[i] = v[i] | (v[6 + i / 3] >> i % 3 * 2 & k_each(3)) << 6;
        }
        return;

    default:
        return;
    }
}


static void
k_vectors_of(uint32_t bits, const uint32_t *p, uint32_t *v)
{
    uint32_t i;

    switch (bits) {

    case 2:
        for (i = 0; i < 8; i++) {
            v[i] = p[i / 4] >> i % 4 * 2 & k_each(3);
        }
        return;

    case 3:
        for (i = 0; i < 6; i++) {
            v[i] = p[i / 2] >> i % 2 * 3 & k_each(7);
        }

        v[6] = (p[0] >> 6 & k_each(3)) | (p[2] >> 4 & k_each(4));
        v[7] = (p[1] >> 6 & k_each(3)) | (p[2] >> 5 & k_each(4));
        return;

    case 4:
        for (i = 0; i < 8; i++) {
            v[i] = p[i % 4] >> i / 4 * 4 & k_each(15);
        }
        return;

    case 5:
        for (i = 0; i < 5; i++) {
            v[i] = p[i] & k_each(31);
        }

        v[5] = (p[0] >> 5 & k_each(7)) | (p[1] >> 2 & k_each(24));
        v[6] = (p[2] >> 5 & k_each(7)) | (p[3] >> 2 & k_each(24));
        v[7] = (p[4] >> 5 & k_each(7)) | (p[1] >> 4 & k_each(8))
               | (p[3] >> 3 & k_each(16));
        return;

    case 6:
        v[6] = 0;
        v[7] = 0;

        for (i = 0; i < 6; i++) {
            v[i] = p[i] & k_each(63);
            v[6 + i / 3] |= (p[i] >> 6 & k_each(3)) << i % 3 * 2;
        }
        return;

    default:
        memcpy(v, p, 32);
        return;
    }
}


void
k_block_read(const k_format_t *f, uint32_t lanes, const uint8_t *rec,
             uint32_t b, uint32_t lane, k_block_t *out)
{
    uint8_t        s[2];
    uint16_t       h;
    uint32_t       i, v[8], p[8], flip;
    const uint8_t *sub, *planes;

    memcpy(&h, rec + lane * 2, 2);
    out->d = f->d == 1 ? k_e8m0(rec[lane]) : k_f16(h);
    out->m = 0;

    if (f->min) {
        memcpy(&h, rec + k_record_min(f, lanes) + lane * 2, 2);
        out->m = k_f16(h);
    }

    sub = rec + k_record_sub(f, lanes, b);

    for (i = 0; i < 2; i++) {
        out->sub[i] = 1;
        out->min[i] = 1;

        switch (f->sub) {

        case K_SUB_MIN:
            out->sub[i] = sub[lane];
            out->min[i] = sub[lanes + lane];
            break;

        case K_SUB_ONE:
            out->sub[i] = (int8_t) sub[lane];
            break;

        case K_SUB_TWO:
            out->sub[i] = (int8_t) sub[lane * 2 + i];
            break;

        case K_SUB_PAIR:
            s[i] = sub[lane * 2 + i];
            out->sub[i] = s[i] & 15;
            out->min[i] = s[i] >> 4;
            break;

        default:
            break;
        }
    }

    planes = rec + k_record_planes(f, lanes, b);
    flip = f->bits == 8 && lanes == 16 ? k_each(0x80) : 0;

    for (i = 0; i < f->bits; i++) {
        memcpy(&p[i], planes + (i * lanes + lane) * 4, 4);
        p[i] ^= flip;
    }

    k_vectors_of(f->bits, p, v);
    memcpy(out->q, v, 32);

    for (i = 0; i < K_BLOCK; i++) {
        switch (f->map) {
        case K_MAP_IQ4:
            out->q[i] = k_map_iq4[out->q[i]];
            break;
        case K_MAP_MXFP4:
            out->q[i] = k_map_mxfp4[out->q[i]];
            break;
        default:
            out->q[i] = (int8_t) (out->q[i] - f->off);
            break;
        }
    }
}


static void
k_row_plain(const k_matrix_t *w, uint32_t row, float *out)
{
    size_t         k;
    uint16_t       h;
    const uint8_t *p;

    p = k_group(w, row);
    row %= w->lanes;

    for (k = 0; k < w->cols; k++) {
        if (w->type == K_F32) {
            memcpy(&out[k], p + (k * w->lanes + row) * 4, 4);
            continue;
        }

        memcpy(&h, p + (k * w->lanes + row) * 2, 2);
        out[k] = w->type == K_F16 ? k_f16(h) : k_bf16(h);
    }
}


void
k_block_floats(const k_format_t *f, const k_block_t *u, float *out)
{
    float    scale, min;
    uint32_t i;

    for (i = 0; i < K_BLOCK; i++) {
        scale = u->d;
        min = u->m;

        if (f->sub != K_SUB_NONE) {
            scale *= (float) u->sub[i / 16];
            min *= (float) u->min[i / 16];
        }

        out[i] = scale * (float) u->q[i];

        if (f->min) {
            out[i] += min;
        }
    }
}


void
k_matrix_row(const k_matrix_t *w, uint32_t row, float *out)
{
    uint32_t          k, b;
    k_block_t         u;
    const uint8_t    *rec;
    const k_format_t *f;

    f = k_format(w->type);

    if (f->blocks == 0) {
        k_row_plain(w, row, out);
        return;
    }

    rec = k_group(w, row);

    for (k = 0; k < w->cols; rec += w->record) {
        for (b = 0; b < f->blocks; b++, k += K_BLOCK) {
            k_block_read(f, w->lanes, rec, b, row % w->lanes, &u);
            k_block_floats(f, &u, out + k);
        }
    }
}
