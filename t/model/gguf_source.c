/*
 * GGUF writer, and files whose tensors come from a source: what is written is
 * read back, rows come from where they should, and errors stick.
 */

#include "engine/model/gguf_write.h"
#include "t/lib/tap.h"

#include <errno.h>
#include <stdint.h>


typedef struct {
    int      closed;
    size_t   dropped;
    uint64_t asked;
} source_t;

static void test_written(void);
static void test_copied(void);
static void test_refused(void);
static void test_source(void);
static int  source_rows(void *ctx, size_t i, uint64_t row, uint64_t n,
                        void *out);
static void source_drop(void *ctx, size_t i);
static void source_close(void *ctx);


int
main(void)
{
    test_written();
    test_copied();
    test_refused();
    test_source();

    return tap_done();
}


/* Keys of each kind, one of them twice, and tensors of three types. */
static void
fill(gguf_writer_t *w)
{
    static const gguf_str_t names[] = {{"a", 1}, {"", 0}, {"b\0c", 3}};
    static const int32_t    ints[] = {-1, 7};
    static const float      floats[] = {0.5f, -2};
    static const uint8_t    bools[] = {1, 0, 1};
    static const uint64_t   one[] = {3}, two[] = {64, 2}, three[] = {256, 2, 3};

    gguf_put_str(w, "general.architecture", "old", 3);
    gguf_put_u32(w, "a.u32", 4000000000u);
    gguf_put_i32(w, "a.i32", -5);
    gguf_put_f32(w, "a.f32", 0.25f);
    gguf_put_bool(w, "a.bool", true);
    gguf_put_arr_str(w, "a.names", names, 3);
    gguf_put_arr_i32(w, "a.ints", ints, 2);
    gguf_put_arr_f32(w, "a.floats", floats, 2);
    gguf_put_arr_bool(w, "a.bools", bools, 3);
    gguf_put_str(w, "general.architecture", "llama", 5);
    gguf_put_arr_i32(w, "a.none", NULL, 0);

    gguf_put_tensor(w, "norm", GGML_F32, 1, one);
    gguf_put_tensor(w, "matrix", GGML_Q8_0, 2, two);
    gguf_put_tensor(w, "experts", GGML_Q4_K, 3, three);
}


static void
check(const gguf_t *g, const char *what)
{
    gguf_str_t s, names[3];
    int32_t    ints[2], bools[3], i32 = 0;
    uint32_t   u32 = 0;
    float      f32 = 0;
    bool       b = false;

    ok(gguf_get_str(g, "general.architecture", &s) == 0 && s.len == 5
           && memcmp(s.data, "llama", 5) == 0,
       "%s: of a key put twice, the last", what);
    ok(gguf_get_u32(g, "a.u32", &u32) == 0 && u32 == 4000000000u, "%s: u32",
       what);
    ok(gguf_get_i32(g, "a.i32", &i32) == 0 && i32 == -5, "%s: i32", what);
    ok(gguf_get_f32(g, "a.f32", &f32) == 0 && f32 == 0.25f, "%s: f32", what);
    ok(gguf_get_bool(g, "a.bool", &b) == 0 && b, "%s: bool", what);
    ok(gguf_get_arr_str(g, "a.names", names, 3) == 3 && names[1].len == 0
           && names[2].len == 3 && memcmp(names[2].data, "b\0c", 3) == 0,
       "%s: strings", what);
    ok(gguf_get_arr_i32(g, "a.ints", ints, 2) == 2 && ints[0] == -1, "%s: ints",
       what);
    is_int(gguf_get_arr_i32(g, "a.none", NULL, 0), 0, "%s: an empty array",
           what);
    is_int(gguf_get_arr_f32(g, "a.floats", NULL, 0), 2, "%s: floats", what);
    ok(gguf_get_arr_i32(g, "a.bools", bools, 3) == 3 && bools[0] == 1
           && bools[1] == 0 && bools[2] == 1,
       "%s: bools", what);
}


static void
test_written(void)
{
    const gguf_tensor_t *t;
    gguf_writer_t       *w = gguf_writer_new();
    ssize_t              n;
    gguf_t              *g;
    size_t               all, i;
    void                *head;
    char                *file, err[128];

    fill(w);
    n = gguf_writer_head(w, &head);
    ok(n > 0 && n % 32 == 0, "a head is padded");

    all = (size_t) n + gguf_writer_offset(w, 2) + 6 * 144;
    file = calloc(all, 1);
    memcpy(file, head, (size_t) n);

    is_int(gguf_open_mem(file, all, &g, err, sizeof(err)), 0, "it opens");
    check(g, "written");

    for (i = 0; i < 3; i++) {
        t = gguf_tensor_at(g, i);
        is_int((const char *) t->data - file - n, gguf_writer_offset(w, i),
               "tensor %s lies where the writer said", t->name);
    }

    gguf_close(g);
    is_int(gguf_open_mem(file, all - 1, &g, err, sizeof(err)), -EINVAL,
           "a byte less does not");

    gguf_writer_free(w);
    free(head);
    free(file);
}


static int
skip(const char *key, size_t len)
{
    return len == 5 && memcmp(key, "a.u32", 5) == 0;
}


static void
test_copied(void)
{
    gguf_writer_t *w = gguf_writer_new(), *v;
    uint64_t       dims[] = {1};
    ssize_t        n;
    gguf_t        *g;
    void          *head, *head2;
    char           err[128];

    gguf_put_str(w, "general.architecture", "old", 3);
    fill(w);
    gguf_put_u32(w, "general.alignment", 64);
    n = gguf_writer_head(w, &head);
    is_int(n % 64, 0, "padded as general.alignment says");
    is_int(gguf_open_source(head, (size_t) n,
                            &(gguf_source_t){.rows = source_rows}, &g, err,
                            sizeof(err)),
           0, "opens as a source");

    v = gguf_writer_new();
    gguf_put_all(v, g, NULL);
    gguf_put_tensor(v, "one", GGML_F32, 1, dims);
    gguf_put_tensor(v, "two", GGML_F32, 1, dims);
    gguf_close(g);

    n = gguf_writer_head(v, &head);
    is_int(gguf_writer_offset(v, 1), 64, "alignment is copied and heeded");
    is_int(gguf_open_source(head, (size_t) n,
                            &(gguf_source_t){.rows = source_rows}, &g, err,
                            sizeof(err)),
           0, "a copy opens");
    check(g, "copied");
    gguf_writer_free(v);

    v = gguf_writer_new();
    gguf_put_all(v, g, skip);
    n = gguf_writer_head(v, &head2);
    gguf_close(g);
    is_int(gguf_open_mem(head2, (size_t) n, &g, err, sizeof(err)), 0,
           "another opens");
    is_int(gguf_get_u32(g, "a.u32", &(uint32_t){0}), -ENOENT,
           "without what was skipped");
    gguf_close(g);
    free(head2);

    gguf_writer_free(v);
    gguf_writer_free(w);
}


static void
test_refused(void)
{
    static const uint64_t ok_dims[] = {32, 1}, odd[] = {33, 1},
                          none[] = {32, 0}, huge[] = {1ull << 40, 1ull << 40};
    static const struct {
        const char     *name;
        const char     *tensor;
        uint32_t        type;
        uint32_t        n_dims;
        const uint64_t *dims;
    } bad[] = {
        {"no name", "", GGML_F32, 1, ok_dims},
        {"a control character", "a\nb", GGML_F32, 1, ok_dims},
        {"a removed type", "t", 31, 1, ok_dims},
        {"an unknown type", "t", 99, 1, ok_dims},
        {"no dimensions", "t", GGML_F32, 0, ok_dims},
        {"five dimensions", "t", GGML_F32, 5, ok_dims},
        {"half a block", "t", GGML_Q8_0, 2, odd},
        {"an empty dimension", "t", GGML_F32, 2, none},
        {"too much", "t", GGML_F32, 2, huge},
    };
    gguf_writer_t *w;
    size_t         i;
    void          *head;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        w = gguf_writer_new();
        gguf_put_tensor(w, bad[i].tensor, bad[i].type, bad[i].n_dims,
                        bad[i].dims);
        is_int(gguf_writer_head(w, &head), -EINVAL, "refused: %s", bad[i].name);
        gguf_writer_free(w);
    }

    w = gguf_writer_new();
    gguf_put_u32(w, "a\tb", 1);
    gguf_put_u32(w, "c", 1);
    is_int(gguf_writer_head(w, &head), -EINVAL, "refused: a bad key");
    gguf_writer_free(w);

    w = gguf_writer_new();
    gguf_put_u32(w, "general.alignment", 48);
    is_int(gguf_writer_head(w, &head), -EINVAL, "refused: a bad alignment");
    gguf_writer_free(w);
}


static void
test_source(void)
{
    const gguf_tensor_t *t;
    gguf_writer_t       *w = gguf_writer_new();
    gguf_source_t        source;
    source_t             ctx = {0};
    uint8_t              out[4 * 144];
    ssize_t              n;
    gguf_t              *g;
    void                *head;
    char                 err[128];

    source = (gguf_source_t){.rows = source_rows,
                             .drop = source_drop,
                             .close = source_close,
                             .ctx = &ctx};
    fill(w);
    n = gguf_writer_head(w, &head);
    is_int(gguf_open_source(head, (size_t) n, &source, &g, err, sizeof(err)), 0,
           "a source opens");

    t = gguf_tensor_find(g, "experts");
    ok(t && t->data == NULL && t->size == 6 * 144, "its tensors have no data");
    is_int(gguf_file_size(g), (uint64_t) n + gguf_writer_offset(w, 2) + 6 * 144,
           "it has the size of the file that it stands for");
    is_int(gguf_tensor_rows(g, t, 2, 4, out), 0, "rows");
    ok(ctx.asked == 4 && out[0] == 2 * 16 + 2 && out[3 * 144] == 2 * 16 + 5,
       "come from it");
    is_int(gguf_tensor_rows(g, t, 3, 4, out), -EINVAL, "none beyond the end");
    is_int(gguf_tensor_rows(g, t, UINT64_MAX, 2, out), -EINVAL,
           "nor by an overflow");
    is_int(gguf_tensor_rows(g, t, 6, 0, out), 0, "no rows are no error");
    is_int(gguf_tensor_rows(g, gguf_tensor_at(g, 1), 1, 1, out), -EIO,
           "its errors are passed on");
    gguf_tensor_drop(g, gguf_tensor_at(g, 1));
    is_int(ctx.dropped, 1, "it hears of what is not needed any more");
    gguf_close(g);
    is_int(ctx.closed, 1, "and of the end");

    n = gguf_writer_head(w, &head);
    ((char *) head)[0] = 'X';
    is_int(gguf_open_source(head, (size_t) n, &source, &g, err, sizeof(err)),
           -EINVAL, "a broken head is refused");
    is_int(ctx.closed, 2, "and the source closed");

    gguf_writer_free(w);
}


/* Row r of tensor i: its first byte is i * 16 + r. */
static int
source_rows(void *ctx, size_t i, uint64_t row, uint64_t n, void *out)
{
    static const size_t bytes[] = {12, 68, 144};
    source_t           *s = ctx;
    uint64_t            k;

    if (i == 1) {
        return -EIO;
    }

    for (k = 0; k < n; k++) {
        memset((uint8_t *) out + k * bytes[i], (int) (i * 16 + row + k),
               bytes[i]);
    }

    if (s) {
        s->asked += n;
    }

    return 0;
}


static void
source_drop(void *ctx, size_t i)
{
    ((source_t *) ctx)->dropped = i;
}


static void
source_close(void *ctx)
{
    ((source_t *) ctx)->closed++;
}
