/*
 * GGUF reader: what it reads, and that no broken file gets past it.  All
 * files are written by the test.
 */

#include "engine/model/gguf.h"
#include "t/lib/tap.h"
#include "t/model/gguf_write.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>


static void sample(gguf_write_t *w);
static void test_metadata(const gguf_t *g);
static void test_arrays(const gguf_t *g);
static void test_tensors(const gguf_t *g, const gguf_write_t *w);
static void test_types(void);
static void test_truncated(void);
static void test_flipped(void);
static void test_head(void);
static void test_keys(void);
static void test_alignment(void);
static void test_infos(void);
static void test_files(void);
static void broken(const gguf_write_t *w, int rc, const char *err,
                   const char *name);
static int  try_file(const uint8_t *data, size_t len, char *err);


int
main(void)
{
    gguf_write_t w;
    gguf_t      *g;
    char         err[256];

    sample(&w);
    is_int(gguf_open_mem(w.data, w.len, &g, err, sizeof(err)), 0, "opens");
    test_metadata(g);
    test_arrays(g);
    test_tensors(g, &w);
    gguf_close(g);
    gguf_close(NULL);

    test_types();
    test_truncated();
    test_flipped();
    test_head();
    test_keys();
    test_alignment();
    test_infos();
    test_files();

    return tap_done();
}


/* A key of each type, three tensors, the second one first in the data. */
static void
sample(gguf_write_t *w)
{
    double  d = 0.5;
    float   f = 1e5f;
    int16_t s = -3;
    int32_t i = -70000;

    w_head(w, 3, 3, 18);

    w_key(w, "a.u8", W_U8);
    w_bytes(w, "\xc8", 1);
    w_key(w, "a.i8", W_I8);
    w_bytes(w, "\xff", 1);
    w_key(w, "a.u16", W_U16);
    w_bytes(w, "\x34\x12", 2);
    w_key(w, "a.i16", W_I16);
    w_bytes(w, &s, 2);
    w_key_u32(w, "a.u32", 4000000000u);
    w_key(w, "a.i32", W_I32);
    w_bytes(w, &i, 4);
    w_key(w, "a.f32", W_F32);
    w_bytes(w, &f, 4);
    w_key(w, "a.bool", W_BOOL);
    w_bytes(w, "\x01", 1);
    w_key(w, "a.str", W_STR);
    w_str(w, "llama");
    w_key(w, "a.u64", W_U64);
    w_u64(w, 1ull << 40);
    w_key(w, "a.big", W_U64);
    w_u64(w, UINT64_MAX);
    w_key(w, "a.i64", W_I64);
    w_u64(w, 8192);
    w_key(w, "a.f64", W_F64);
    w_bytes(w, &d, 8);
    w_key(w, "a.empty", W_STR);
    w_u64(w, 0);

    w_key(w, "l.str", W_ARR);
    w_u32(w, W_STR);
    w_u64(w, 3);
    w_str(w, "one");
    w_str(w, "");
    w_str(w, "three");
    w_key(w, "l.u16", W_ARR);
    w_u32(w, W_U16);
    w_u64(w, 2);
    w_bytes(w, "\x01\x00\xff\xff", 4);
    w_key(w, "l.f32", W_ARR);
    w_u32(w, W_F32);
    w_u64(w, 2);
    w_bytes(w, &f, 4);
    w_bytes(w, &f, 4);
    w_key(w, "l.none", W_ARR);
    w_u32(w, W_I32);
    w_u64(w, 0);

    w_tensor(w, "tok.weight", 4, 3, GGML_F32, 64);
    w_tensor(w, "blk.0.q", 64, 2, GGML_Q4_1, 128);
    w_tensor(w, "blk.0.norm", 8, 1, GGML_F16, 0);
    w_data(w, 32, 128 + 80);
}


static void
test_metadata(const gguf_t *g)
{
    gguf_str_t s;
    uint32_t   u;
    uint64_t   u64;
    int32_t    i;
    float      f;
    bool       b;

    u = 0;
    ok(gguf_get_u32(g, "a.u8", &u) == 0 && u == 200, "u8");
    ok(gguf_get_u32(g, "a.u16", &u) == 0 && u == 0x1234, "u16");
    ok(gguf_get_u32(g, "a.u32", &u) == 0 && u == 4000000000u, "u32");
    ok(gguf_get_u32(g, "a.i64", &u) == 0 && u == 8192, "i64 as u32");
    is_int(gguf_get_u32(g, "a.i8", &u), -EINVAL, "negative as u32");
    is_int(gguf_get_u32(g, "a.u64", &u), -EINVAL, "large as u32");
    is_int(gguf_get_u32(g, "a.big", &u), -EINVAL, "huge as u32");
    is_int(gguf_get_u32(g, "a.f32", &u), -EINVAL, "float as u32");
    is_int(gguf_get_u32(g, "a.str", &u), -EINVAL, "string as u32");
    is_int(gguf_get_u32(g, "a.bool", &u), -EINVAL, "bool as u32");
    is_int(gguf_get_u32(g, "l.u16", &u), -EINVAL, "array as u32");
    is_int(gguf_get_u32(g, "a.u", &u), -ENOENT, "a prefix of a key");
    is_int(gguf_get_u32(g, "a.u88", &u), -ENOENT, "longer than a key");
    is_int(u, 8192, "untouched on errors");

    ok(gguf_get_u64(g, "a.u64", &u64) == 0 && u64 == 1ull << 40, "u64");
    ok(gguf_get_u64(g, "a.big", &u64) == 0 && u64 == UINT64_MAX, "huge u64");
    is_int(gguf_get_u64(g, "a.i16", &u64), -EINVAL, "negative as u64");

    ok(gguf_get_i32(g, "a.i8", &i) == 0 && i == -1, "i8");
    ok(gguf_get_i32(g, "a.i16", &i) == 0 && i == -3, "i16");
    ok(gguf_get_i32(g, "a.i32", &i) == 0 && i == -70000, "i32");
    is_int(gguf_get_i32(g, "a.u32", &i), -EINVAL, "large as i32");
    is_int(gguf_get_i32(g, "a.big", &i), -EINVAL, "huge as i32");

    ok(gguf_get_f32(g, "a.f32", &f) == 0 && f == 1e5f, "f32");
    ok(gguf_get_f32(g, "a.f64", &f) == 0 && f == 0.5f, "f64 as f32");
    ok(gguf_get_f32(g, "a.u16", &f) == 0 && f == 4660.0f, "u16 as f32");
    is_int(gguf_get_f32(g, "a.str", &f), -EINVAL, "string as f32");
    is_int(gguf_get_f32(g, "a.none", &f), -ENOENT, "no f32");

    ok(gguf_get_bool(g, "a.bool", &b) == 0 && b, "bool");
    is_int(gguf_get_bool(g, "a.u8", &b), -EINVAL, "200 as bool");
    is_int(gguf_get_bool(g, "a.none", &b), -ENOENT, "no bool");

    ok(gguf_get_str(g, "a.str", &s) == 0 && s.len == 5
           && memcmp(s.data, "llama", 5) == 0,
       "string");
    ok(gguf_get_str(g, "a.empty", &s) == 0 && s.len == 0, "empty string");
    is_int(gguf_get_str(g, "a.u8", &s), -EINVAL, "u8 as string");
    is_int(gguf_get_str(g, "l.str", &s), -EINVAL, "array as string");
    is_int(gguf_get_str(g, "", &s), -ENOENT, "no key");
}


static void
test_arrays(const gguf_t *g)
{
    gguf_str_t s[3] = {{0}};
    int32_t    i[2] = {0};
    float      f[2] = {0};

    is_int(gguf_get_arr_str(g, "l.str", NULL, 0), 3, "length of strings");
    is_int(gguf_get_arr_str(g, "l.str", s, 3), 3, "strings");
    ok(s[0].len == 3 && s[1].len == 0 && s[2].len == 5
           && memcmp(s[2].data, "three", 5) == 0,
       "each of them");
    is_int(gguf_get_arr_str(g, "l.str", s, 1), 3, "strings, too many");
    is_int(gguf_get_arr_str(g, "l.u16", s, 3), -EINVAL, "u16 as strings");
    is_int(gguf_get_arr_str(g, "a.str", s, 3), -EINVAL, "no array");
    is_int(gguf_get_arr_str(g, "l.no", s, 3), -ENOENT, "no key");

    ok(gguf_get_arr_i32(g, "l.u16", i, 2) == 2 && i[0] == 1 && i[1] == 65535,
       "u16 as i32");
    is_int(gguf_get_arr_i32(g, "l.none", i, 2), 0, "empty array");
    is_int(gguf_get_arr_i32(g, "l.str", NULL, 0), -EINVAL, "strings as i32");
    is_int(gguf_get_arr_i32(g, "l.f32", NULL, 0), -EINVAL, "floats as i32");

    ok(gguf_get_arr_f32(g, "l.f32", f, 2) == 2 && f[1] == 1e5f, "f32");
    ok(gguf_get_arr_f32(g, "l.u16", f, 2) == 2 && f[0] == 1.0f, "u16 as f32");
    is_int(gguf_get_arr_f32(g, "l.str", f, 2), -EINVAL, "strings as f32");
}


static void
test_tensors(const gguf_t *g, const gguf_write_t *w)
{
    const gguf_tensor_t *t;

    is_int(gguf_tensor_n(g), 3, "tensors");
    is_str(gguf_tensor_at(g, 0)->name, "tok.weight", "in the file's order");

    t = gguf_tensor_find(g, "blk.0.q");
    ok(t == gguf_tensor_at(g, 1), "found");
    ok(t->n_dims == 2 && t->dims[0] == 64 && t->dims[1] == 2 && t->dims[2] == 1
           && t->dims[3] == 1,
       "dimensions");
    ok(t->type == GGML_Q4_1 && t->size == 80, "type and size");
    ok((const uint8_t *) t->data + 80 == w->data + w->len, "data");

    ok(gguf_tensor_find(g, "blk.0.norm") == gguf_tensor_at(g, 2)
           && gguf_tensor_find(g, "tok.weight") == gguf_tensor_at(g, 0),
       "others found");
    ok(gguf_tensor_find(g, "blk.0") == NULL && gguf_tensor_find(g, "") == NULL
           && gguf_tensor_find(g, "zzz") == NULL,
       "none found");
    is_int(gguf_file_size(g), w->len, "file size");
    gguf_tensor_drop(g, t);
}


/* ggml's block sizes are what their layouts add up to. */
static void
test_types(void)
{
    static const struct {
        uint32_t    type;
        const char *name;
        uint32_t    elems, bytes;
    } types[] = {
        {GGML_F32, "f32", 1, 4},
        {GGML_BF16, "bf16", 1, 2},
        {GGML_Q4_0, "q4_0", 32, 2 + 16},
        {GGML_Q4_1, "q4_1", 32, 4 + 16},
        {GGML_Q5_0, "q5_0", 32, 2 + 4 + 16},
        {GGML_Q5_1, "q5_1", 32, 4 + 4 + 16},
        {GGML_Q8_0, "q8_0", 32, 2 + 32},
        {GGML_Q2_K, "q2_K", 256, 4 + 16 + 64},
        {GGML_Q3_K, "q3_K", 256, 2 + 64 + 32 + 12},
        {GGML_Q4_K, "q4_K", 256, 4 + 12 + 128},
        {GGML_Q5_K, "q5_K", 256, 4 + 12 + 128 + 32},
        {GGML_Q6_K, "q6_K", 256, 2 + 16 + 192},
        {GGML_IQ4_XS, "iq4_xs", 256, 2 + 2 + 4 + 128},
        {GGML_IQ4_NL, "iq4_nl", 32, 2 + 16},
        {GGML_MXFP4, "mxfp4", 32, 1 + 16},
        {GGML_NVFP4, "nvfp4", 64, 4 + 32},
        {31, "q4_0_4_4", 0, 0},
    };
    const gguf_type_t *t;
    size_t             i;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        t = gguf_type(types[i].type);
        ok(t && strcmp(t->name, types[i].name) == 0
               && t->block_elems == types[i].elems
               && t->block_bytes == types[i].bytes,
           "type %s", types[i].name);
    }

    for (i = 0; i < GGML_TYPES; i++) {
        if (gguf_type((uint32_t) i) == NULL) {
            break;
        }
    }

    is_int(i, GGML_TYPES, "all types have names");
    ok(gguf_type(GGML_TYPES) == NULL && gguf_type(UINT32_MAX) == NULL,
       "no more");
    is_str(gguf_type_name(GGML_TYPES), "unknown", "name of none");
}


/* Reads a copy of its own size, so that ASan sees a byte too far. */
static int
try_file(const uint8_t *data, size_t len, char *err)
{
    uint8_t *copy;
    gguf_t  *g;
    int      rc;

    copy = malloc(len + !len);
    memcpy(copy, data, len);
    err[0] = '\0';
    rc = gguf_open_mem(copy, len, &g, err, 256);

    if (rc == 0) {
        gguf_close(g);
    }

    free(copy);
    return rc;
}


static void
broken(const gguf_write_t *w, int rc, const char *err, const char *name)
{
    char got[256];

    is_int(try_file(w->data, w->len, got), rc, "%s", name);

    if (err != NULL) {
        is_str(got, err, "%s: its message", name);
    }
}


static void
test_truncated(void)
{
    gguf_write_t w;
    char         err[256];
    size_t       i;
    int          bad;

    sample(&w);
    bad = 0;

    for (i = 0; i < w.len; i++) {
        bad += try_file(w.data, i, err) != -EINVAL || err[0] == '\0';
    }

    is_int(bad, 0, "cut at each of %zu places", w.len);
}


/* No crash, and only the known errors, whatever bit is wrong. */
static void
test_flipped(void)
{
    gguf_write_t         w;
    char                 err[256];
    uint8_t              keep;
    size_t               i, k;
    int                  rc, bad, opened;
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};

    sample(&w);
    bad = 0;
    opened = 0;

    for (i = 0; i < w.len; i++) {
        keep = w.data[i];

        for (k = 0; k < sizeof(values); k++) {
            w.data[i] = values[k];
            rc = try_file(w.data, w.len, err);
            opened += rc == 0;
            bad += rc != 0 && rc != -EINVAL && rc != -ENOTSUP;
        }

        w.data[i] = keep;
    }

    is_int(bad, 0, "each byte wrong");
    diag("%d of %zu such files are still right", opened,
         w.len * sizeof(values));
}


static void
test_head(void)
{
    gguf_write_t w;

    w_head(&w, 3, 0, 0);
    broken(&w, 0, NULL, "an empty file is one");
    w_head(&w, 2, 0, 0);
    broken(&w, 0, NULL, "version 2");
    w_head(&w, 1, 0, 0);
    broken(&w, -ENOTSUP, "GGUF version 1 is not supported", "version 1");
    w_head(&w, 4, 0, 0);
    broken(&w, -ENOTSUP, "GGUF version 4 is not supported", "version 4");
    w_head(&w, 3u << 24, 0, 0);
    broken(&w, -ENOTSUP, "big-endian GGUF is not supported", "big-endian");
    w_head(&w, 3, 0, 0);
    w.data[0] = 'g';
    broken(&w, -EINVAL, "not a GGUF file", "wrong magic");
    w_head(&w, 3, UINT64_MAX, 0);
    broken(&w, -EINVAL, "impossible number of tensors", "2^64-1 tensors");
    w_head(&w, 3, 0, UINT64_MAX);
    broken(&w, -EINVAL, "impossible number of keys", "2^64-1 keys");
    w_head(&w, 3, 1ull << 59, 1ull << 59);
    broken(&w, -EINVAL, NULL, "products overflow");
    w_head(&w, 3, 0, 1);
    broken(&w, -EINVAL, NULL, "one key, no bytes");
}


static void
test_keys(void)
{
    gguf_write_t w;

    w_head(&w, 3, 0, 2);
    w_key_u32(&w, "same", 1);
    w_key_u32(&w, "same", 2);
    broken(&w, -EINVAL, "duplicate key 'same'", "duplicate key");

    w_head(&w, 3, 0, 1);
    w_key_u32(&w, "", 1);
    w_data(&w, 64, 0);
    broken(&w, -EINVAL, "key 0: bad name", "empty key");

    w_head(&w, 3, 0, 1);
    w_key_u32(&w, "a\nb", 1);
    broken(&w, -EINVAL, "key 0: bad name", "line end in a key");

    w_head(&w, 3, 0, 1);
    w_u64(&w, UINT64_MAX);
    w_data(&w, 64, 64);
    broken(&w, -EINVAL, "key 0: truncated", "key of 2^64-1 bytes");

    w_head(&w, 3, 0, 1);
    w_key(&w, "k", 13);
    w_u64(&w, 0);
    broken(&w, -EINVAL, "key 'k': unknown type 13", "unknown value type");

    w_head(&w, 3, 0, 1);
    w_key(&w, "k", W_BOOL);
    w_bytes(&w, "\x02", 1);
    broken(&w, -EINVAL, "key 'k': bool is neither 0 nor 1", "bad bool");

    w_head(&w, 3, 0, 1);
    w_key(&w, "k", W_STR);
    w_u64(&w, UINT64_MAX - 7);
    broken(&w, -EINVAL, "key 'k': truncated", "string of 2^64-8 bytes");

    w_head(&w, 3, 0, 1);
    w_key(&w, "k", W_ARR);
    w_u32(&w, W_ARR);
    w_u64(&w, 1);
    w_data(&w, 64, 64);
    broken(&w, -EINVAL, "key 'k': array of type 9", "array of arrays");

    w_head(&w, 3, 0, 1);
    w_key(&w, "k", W_ARR);
    w_u32(&w, W_F64);
    w_u64(&w, (UINT64_MAX >> 3) + 2);
    w_data(&w, 64, 64);
    broken(&w, -EINVAL, "key 'k': array exceeds the file", "huge array");

    w_head(&w, 3, 0, 1);
    w_key(&w, "k", W_ARR);
    w_u32(&w, W_STR);
    w_u64(&w, 2);
    w_str(&w, "x");
    w_u64(&w, 1000);
    broken(&w, -EINVAL, "key 'k': string exceeds the file", "string in array");
}


static void
test_alignment(void)
{
    static const uint32_t bad[] = {0, 1, 4, 7, 24, 33, 1u << 17, 1u << 31};
    gguf_write_t          w;
    size_t                i;
    char                  name[64];

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        w_head(&w, 3, 0, 1);
        w_key_u32(&w, "general.alignment", bad[i]);
        snprintf(name, sizeof(name), "alignment %u", bad[i]);
        broken(&w, -EINVAL, "bad general.alignment", name);
    }

    w_head(&w, 3, 0, 1);
    w_key(&w, "general.alignment", W_STR);
    w_str(&w, "32");
    broken(&w, -EINVAL, "bad general.alignment", "alignment is a string");

    w_head(&w, 3, 1, 1);
    w_key_u32(&w, "general.alignment", 64);
    w_tensor(&w, "t", 8, 1, GGML_F32, 64);
    w_data(&w, 64, 96);
    broken(&w, 0, NULL, "alignment 64");

    w_head(&w, 3, 1, 1);
    w_key_u32(&w, "general.alignment", 64);
    w_tensor(&w, "t", 8, 1, GGML_F32, 32);
    w_data(&w, 64, 64);
    broken(&w, -EINVAL, "tensor 't': offset not aligned", "offset of 32 in 64");
}


static void
test_infos(void)
{
    static const struct {
        uint64_t    d0, d1;
        uint32_t    type;
        uint64_t    offset;
        int         rc;
        const char *err;
    } cases[] = {
        {32, 2, GGML_Q8_0, 0, 0, ""},
        {32, 3, GGML_Q8_0, 0, -EINVAL, "tensor 't': exceeds the file"},
        {32, 2, GGML_Q8_0, 32, -EINVAL, "tensor 't': exceeds the file"},
        {8, 1, GGML_F32, 1, -EINVAL, "tensor 't': offset not aligned"},
        {8, 1, GGML_F32, UINT64_MAX - 31, -EINVAL,
         "tensor 't': exceeds the file"},
        {8, 1, GGML_F32, 1ull << 63, -EINVAL, "tensor 't': exceeds the file"},
        {0, 1, GGML_F32, 0, -EINVAL,
         "tensor 't': rows are not whole blocks of f32"},
        {1, 0, GGML_F32, 0, -EINVAL, "tensor 't': exceeds the file"},
        {33, 1, GGML_Q8_0, 0, -EINVAL,
         "tensor 't': rows are not whole blocks of q8_0"},
        {32, 1, GGML_Q4_K, 0, -EINVAL,
         "tensor 't': rows are not whole blocks of q4_K"},
        {1ull << 32, 1ull << 32, GGML_F32, 0, -EINVAL,
         "tensor 't': exceeds the file"},
        {1ull << 62, 4, GGML_F32, 0, -EINVAL, "tensor 't': exceeds the file"},
        {1ull << 62, 1, GGML_F32, 0, -EINVAL, "tensor 't': exceeds the file"},
        {UINT64_MAX, UINT64_MAX, GGML_I8, 0, -EINVAL,
         "tensor 't': exceeds the file"},
        {32, 1, 4, 0, -ENOTSUP, "tensor 't': type q4_2 was removed"},
        {32, 1, 33, 0, -ENOTSUP, "tensor 't': type q4_0_8_8 was removed"},
        {32, 1, 43, 0, -ENOTSUP, "tensor 't': unknown type 43"},
        {32, 1, UINT32_MAX, 0, -ENOTSUP, "tensor 't': unknown type 4294967295"},
    };
    gguf_write_t w;
    size_t       i;
    char         name[300];

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        w_head(&w, 3, 1, 0);
        w_tensor(&w, "t", cases[i].d0, cases[i].d1, cases[i].type,
                 cases[i].offset);
        w_data(&w, 32, 68);
        snprintf(name, sizeof(name), "tensor case %zu", i);
        broken(&w, cases[i].rc, cases[i].err, name);
    }

    w_head(&w, 3, 2, 0);
    w_tensor(&w, "a", 8, 1, GGML_F32, 0);
    w_tensor(&w, "a", 8, 1, GGML_F32, 32);
    w_data(&w, 32, 64);
    broken(&w, -EINVAL, "duplicate tensor 'a'", "duplicate tensor");

    w_head(&w, 3, 2, 0);
    w_tensor(&w, "a", 9, 1, GGML_F32, 0);
    w_tensor(&w, "b", 8, 1, GGML_F32, 32);
    w_data(&w, 32, 64);
    broken(&w, -EINVAL, "tensors 'a' and 'b' overlap", "overlap");

    w_head(&w, 3, 2, 0);
    w_tensor(&w, "a", 8, 1, GGML_F32, 0);
    w_tensor(&w, "b", 8, 1, GGML_F32, 0);
    w_data(&w, 32, 64);
    broken(&w, -EINVAL, NULL, "the same place twice");

    w_head(&w, 3, 1, 0);
    w_str(&w, "t");
    w_u32(&w, 5);
    w_data(&w, 32, 128);
    broken(&w, -EINVAL, "tensor 't': 5 dimensions", "five dimensions");

    w_head(&w, 3, 1, 0);
    w_str(&w, "t");
    w_u32(&w, 0);
    w_data(&w, 32, 128);
    broken(&w, -EINVAL, "tensor 't': 0 dimensions", "no dimensions");

    memset(name, 'n', sizeof(name));
    name[GGUF_MAX_NAME + 1] = '\0';
    w_head(&w, 3, 1, 0);
    w_tensor(&w, name, 8, 1, GGML_F32, 0);
    w_data(&w, 32, 64);
    broken(&w, -EINVAL, "bad tensor name", "name too long");

    w_head(&w, 3, 1, 0);
    w_tensor(&w, name + 1, 8, 1, GGML_F32, 0);
    w_data(&w, 32, 64);
    broken(&w, 0, NULL, "name just short enough");

    w_head(&w, 3, 1, 0);
    w_tensor(&w, "t\x1b[2J", 8, 1, GGML_F32, 0);
    w_data(&w, 32, 64);
    broken(&w, -EINVAL, "bad tensor name", "control character in a name");

    w_head(&w, 3, 1, 0);
    w_tensor(&w, "tensor", 8, 1, GGML_F32, 0);
    broken(&w, -EINVAL, NULL, "no data section");
}


/* By path and by descriptor. */
static void
test_files(void)
{
    gguf_write_t         w;
    const gguf_tensor_t *t;
    gguf_t              *g;
    char                 path[32], err[256];
    int                  fd;

    sample(&w);
    fd = memfd_create("gguf", 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ok(fd >= 0 && write(fd, w.data, w.len) == (ssize_t) w.len, "file written");

    is_int(gguf_open_fd(fd, &g, err, sizeof(err)), 0, "opens a descriptor");
    t = gguf_tensor_find(g, "tok.weight");
    gguf_tensor_drop(g, t);
    ok(t->size == 48 && *(const uint8_t *) t->data == 0x5a
           && ((uintptr_t) t->data & 31) == 0,
       "reads it");
    gguf_close(g);

    is_int(gguf_open(path, &g, err, sizeof(err)), 0, "opens a path");
    gguf_close(g);

    is_int(ftruncate(fd, 20), 0, "cut");
    is_int(gguf_open(path, &g, err, sizeof(err)), -EINVAL, "short file");
    is_int(ftruncate(fd, 0), 0, "emptied");
    is_int(gguf_open(path, &g, err, sizeof(err)), -EINVAL, "empty file");
    close(fd);

    is_int(gguf_open(path, &g, err, sizeof(err)), -ENOENT, "no file");
    is_int(gguf_open("/", &g, err, sizeof(err)), -EINVAL, "a directory");
    is_int(gguf_open("/dev/null", &g, err, sizeof(err)), -EINVAL, "a device");
}
