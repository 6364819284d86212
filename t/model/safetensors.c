/*
 * safetensors reader: what it reads, and that no broken header gets past it.
 */

#include "engine/model/safetensors.h"
#include "t/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>


#define DATA 64 /* bytes behind the header */

static void test_read(void);
static void test_broken(void);
static void test_cut(void);
static void test_files(void);
static int  try(const char *head, size_t data, char *err);


int
main(void)
{
    test_read();
    test_broken();
    test_cut();
    test_files();

    return tap_done();
}


static size_t
make(uint8_t *out, const char *head, size_t data)
{
    uint64_t n = strlen(head);

    memcpy(out, &n, 8);
    memcpy(out + 8, head, n);
    memset(out + 8 + n, 0x5a, data);

    return 8 + n + data;
}


static int
try(const char *head, size_t data, char *err)
{
    static uint8_t file[8192];
    uint8_t       *p;
    st_file_t     *f = NULL;
    size_t         n = make(file, head, data);
    int            rc;

    /* Of its own size, so that ASan sees a byte too far. */
    p = malloc(n);
    memcpy(p, file, n);

    err[0] = '\0';
    rc = st_open_mem(p, n, &f, err, 256);
    if (rc == 0) {
        st_close(f);
    }

    free(p);

    return rc;
}


static const char good[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3,4],\"data_offsets\":[16,64]},"
    "\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
    "\"none\":{\"dtype\":\"U8\",\"shape\":[7,0],\"data_offsets\":[16,16]}}   ";


static void
test_read(void)
{
    const st_tensor_t *t;
    st_file_t         *f;
    uint8_t            file[1024];
    size_t             n = make(file, good, DATA);
    char               err[256];

    is_int(st_open_mem(file, n, &f, err, sizeof(err)), 0, "opens");
    is_int(st_n(f), 3, "three tensors");

    t = st_at(f, 0);
    is_str(t->name, "a", "in the order of their data");
    ok(t->dtype == ST_F32 && t->n_dims == 1 && t->dims[0] == 4 && t->size == 16
           && t->data == file + n - DATA,
       "a vector");
    is_int(st_at(f, 1)->elems, 0, "an empty one");

    t = st_at(f, 2);
    ok(t->dtype == ST_BF16 && t->n_dims == 3 && t->dims[2] == 4
           && t->elems == 24 && t->size == 48 && t->data == file + n - 48,
       "one of three dimensions");
    is_str(st_dtype_name(t->dtype), "BF16", "its dtype's name");

    st_close(f);
    st_close(NULL);
}


static void
test_broken(void)
{
#define A(dtype, shape, offsets)                                               \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape                             \
    ",\"data_offsets\":" offsets "}}"

    static const struct {
        const char *name;
        const char *head;
        int         rc;
    } bad[] = {
        {"no JSON", "{\"a\":", -EINVAL},
        {"a list", "[1, 2, 3]", -EINVAL},
        {"blanks before it", "  {}", -EINVAL},
        {"data of nobody", "{}", -EINVAL},
        {"a name twice",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[0,64]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[0,64]}}",
         -EINVAL},
        {"an overlap",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[0,64]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[63,64]}}",
         -EINVAL},
        {"a gap",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[62],\"data_offsets\":[2,64]}}",
         -EINVAL},
        {"no name",
         "{\"\":{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[0,64]}}",
         -EINVAL},
        {"a control character",
         "{\"a\\n\":{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[0,64]}}",
         -EINVAL},
        {"no object", "{\"a\":7}", -EINVAL},
        {"no dtype", A("null", "[64]", "[0,64]"), -EINVAL},
        {"an unknown dtype", A("\"F4\"", "[64]", "[0,64]"), -ENOTSUP},
        {"a shape that is none", A("\"U8\"", "64", "[0,64]"), -EINVAL},
        {"a negative dimension", A("\"U8\"", "[-64]", "[0,64]"), -EINVAL},
        {"a broken dimension", A("\"U8\"", "[64.0]", "[0,64]"), -EINVAL},
        {"nine dimensions", A("\"U8\"", "[64,1,1,1,1,1,1,1,1]", "[0,64]"),
         -EINVAL},
        {"an overflow", A("\"U8\"", "[4294967296,4294967296,64]", "[0,64]"),
         -EINVAL},
        {"a huge dimension", A("\"U8\"", "[9223372036854775807]", "[0,64]"),
         -EINVAL},
        {"more than there is", A("\"U8\"", "[65]", "[0,65]"), -EINVAL},
        {"other bytes than its shape's", A("\"F32\"", "[4]", "[0,64]"),
         -EINVAL},
        {"an end before the begin", A("\"U8\"", "[64]", "[64,0]"), -EINVAL},
        {"a negative offset", A("\"U8\"", "[64]", "[-1,63]"), -EINVAL},
        {"one offset", A("\"U8\"", "[64]", "[0]"), -EINVAL},
        {"offsets that are none", A("\"U8\"", "[64]", "\"0,64\""), -EINVAL},
    };
    char   err[256];
    size_t i;

    is_int(try(A("\"U8\"", "[64]", "[0,64]"), DATA, err), 0, "a good one");
    is_int(try("{}", 0, err), 0, "an empty one");
    is_int(try(A("\"F32\"", "[]", "[0,4]"), 4, err), 0, "a single number");
    is_int(try(A("\"F32\"", "[]", "[0,0]"), 0, err), -EINVAL,
           "a single number that is not there");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(try(bad[i].head, DATA, err), bad[i].rc, "refused: %s (%s)",
               bad[i].name, err);
    }
}


static void
test_cut(void)
{
    uint8_t    file[1024], *p;
    st_file_t *f;
    uint64_t   huge = UINT64_MAX - 7;
    size_t     n = make(file, good, DATA), i, opened = 0;
    char       err[256];

    for (i = 0; i < n; i++) {
        p = malloc(i + 1);
        memcpy(p, file, i);
        opened += st_open_mem(p, i, &f, err, sizeof(err)) == 0;
        free(p);
    }

    is_int(opened, 0, "refused: cut at each byte");

    memcpy(file, &huge, 8);
    is_int(st_open_mem(file, n, &f, err, sizeof(err)), -EINVAL,
           "refused: a header of all memory");
}


static void
test_files(void)
{
    uint8_t    file[1024];
    size_t     n = make(file, good, DATA);
    st_file_t *f;
    char       err[256];
    int        fd = memfd_create("st", MFD_CLOEXEC);

    ok(fd >= 0 && write(fd, file, n) == (ssize_t) n, "a file");
    is_int(st_open_fd(fd, &f, err, sizeof(err)), 0, "opens");
    close(fd);
    ok(st_at(f, 2)->data[47] == 0x5a, "it needs no descriptor");
    st_drop(f, st_at(f, 2)->data, st_at(f, 2)->size);
    ok(st_at(f, 2)->data[47] == 0x5a, "what was dropped can be read again");
    st_close(f);

    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    is_int(st_open_fd(fd, &f, err, sizeof(err)), -EINVAL,
           "refused: not a regular file");
    close(fd);
}
