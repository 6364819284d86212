/*
 * The table of algorithms and its file, see blas.h.
 *
 *     ngx-llm cublaslt 1
 *     type y_type add align n k rows ns algorithm sum
 *
 * numbers decimal, the algorithm's bytes in hex, the sum FNV-1a of all before
 * it: noise on the disk never comes to the library.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/blas.h"

#define HEAD     "ngx-llm cublaslt 1\n"
#define HEX      (2 * sizeof(cublasLtMatmulAlgo_t))
#define SUM      16 /* digits */
#define LINE     512
#define FILE_MAX (4u << 20)
#define DIM_MAX  (1u << 26)


static int      parse(const char *line, cu_algo_t *a);
static int      digit(char c);
static uint64_t sum(const char *s, size_t n);
static int      power_of_two(unsigned v, unsigned most);
static void     folders(const char *path);
static void     print(FILE *f, const cu_algo_t *a);


uint32_t
cu_shape_hash(const cu_shape_t *s)
{
    uint64_t h;

    h = s->type | (uint64_t) s->y_type << 8 | (uint64_t) s->add << 16 | (uint64_t) s->align << 24;
    h = (h ^ s->n) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 29 ^ s->k) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 32 ^ s->rows) * 0x94d049bb133111ebu;

    return (uint32_t) (h >> 32);
}


int
cu_shape_same(const cu_shape_t *a, const cu_shape_t *b)
{
    return a->type == b->type && a->y_type == b->y_type && a->add == b->add && a->align == b->align
           && a->n == b->n && a->k == b->k && a->rows == b->rows;
}


cu_algo_t *
cu_algos_find(cu_algos_t *t, const cu_shape_t *s)
{
    uint32_t   i;
    cu_algo_t *a;

    for (i = cu_shape_hash(s);; i++) {
        a = &t->places[i % CU_ALGOS];

        if (a->shape.rows == 0) {
            return NULL;
        }
        if (cu_shape_same(&a->shape, s)) {
            return a;
        }
    }
}


cu_algo_t *
cu_algos_above(cu_algos_t *t, const cu_shape_t *s)
{
    uint32_t   i;
    cu_algo_t *a, *best;
    cu_shape_t as;

    best = NULL;

    for (i = 0; i < CU_ALGOS; i++) {
        a = &t->places[i];

        if (a->shape.rows <= s->rows || a->bad) {
            continue;
        }

        as = a->shape;
        as.rows = s->rows;

        if (cu_shape_same(&as, s) && (best == NULL || a->shape.rows < best->shape.rows)) {
            best = a;
        }
    }

    return best;
}


cu_algo_t *
cu_algos_put(cu_algos_t *t, const cu_shape_t *s)
{
    uint32_t   i;
    cu_algo_t *a;

    for (i = cu_shape_hash(s);; i++) {
        a = &t->places[i % CU_ALGOS];

        if (a->shape.rows != 0 && cu_shape_same(&a->shape, s)) {
            return a;
        }

        if (a->shape.rows == 0) {
            break;
        }
    }

    if (t->n >= CU_ALGOS / 2) {
        return NULL;
    }

    memset(a, 0, sizeof(cu_algo_t));
    a->shape = *s;
    t->n++;

    return a;
}


uint32_t
cu_algos_load(cu_algos_t *t, const char *path)
{
    int         fd;
    FILE       *f;
    char        line[LINE];
    uint32_t    n;
    cu_algo_t   a, *place;
    struct stat st;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return 0;
    }

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t) FILE_MAX
        || (f = fdopen(fd, "r")) == NULL) {
        close(fd);
        return 0;
    }

    n = 0;

    if (fgets(line, sizeof(line), f) != NULL && strcmp(line, HEAD) == 0) {

        /* A line that is too long comes in pieces, none of which parses. */
        while (fgets(line, sizeof(line), f) != NULL) {
            if (parse(line, &a) != 0) {
                continue;
            }
            place = cu_algos_put(t, &a.shape);
            if (place == NULL) {
                break;
            }
            *place = a;
            n++;
        }
    }

    fclose(f);

    return n;
}


static int
parse(const char *line, cu_algo_t *a)
{
    int         end;
    size_t      i;
    unsigned    v[8];
    const char *hex;
    uint8_t    *out;
    char        tail[SUM + 8];

    end = 0;

    if (sscanf(line, "%u %u %u %u %u %u %u %u %n", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6],
               &v[7], &end)
            != 8
        || end == 0) {
        return -EINVAL;
    }

    if (v[0] > CU_F8 || v[1] > CU_BF16 || v[2] > 1 || !power_of_two(v[3], 16) || v[4] == 0
        || v[4] > DIM_MAX || v[5] == 0 || v[5] > DIM_MAX || v[6] == 0 || v[6] > DIM_MAX) {
        return -EINVAL;
    }

    hex = line + end;
    if (strlen(hex) != HEX + 1 + SUM + 1) {
        return -EINVAL;
    }

    snprintf(tail, sizeof(tail), " %016llx\n", (unsigned long long) sum(line, (size_t) end + HEX));
    if (strcmp(hex + HEX, tail) != 0) {
        return -EINVAL;
    }

    memset(a, 0, sizeof(cu_algo_t));
    a->shape = (cu_shape_t){.type = (uint8_t) v[0],
                            .y_type = (uint8_t) v[1],
                            .add = (uint8_t) v[2],
                            .align = (uint8_t) v[3],
                            .n = v[4],
                            .k = v[5],
                            .rows = v[6]};
    a->ns = v[7];
    out = (uint8_t *) &a->algo;

    for (i = 0; i < HEX; i += 2) {
        if (digit(hex[i]) < 0 || digit(hex[i + 1]) < 0) {
            return -EINVAL;
        }
        out[i / 2] = (uint8_t) (digit(hex[i]) << 4 | digit(hex[i + 1]));
    }

    return 0;
}


static uint64_t
sum(const char *s, size_t n)
{
    size_t   i;
    uint64_t h;

    h = 0xcbf29ce484222325u;

    for (i = 0; i < n; i++) {
        h = (h ^ (uint8_t) s[i]) * 0x100000001b3u;
    }

    return h;
}


static int
digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}


static int
power_of_two(unsigned v, unsigned most)
{
    return v != 0 && v <= most && (v & (v - 1)) == 0;
}


int
cu_algos_save(cu_algos_t *t, const char *path)
{
    int      fd, rc;
    char     tmp[1024];
    FILE    *f;
    uint32_t i;

    if (!t->dirty) {
        return 0;
    }

    if (snprintf(tmp, sizeof(tmp), "%s.%d", path, (int) getpid()) >= (int) sizeof(tmp)) {
        return -ENAMETOOLONG;
    }

    folders(path);

    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return -errno;
    }

    f = fdopen(fd, "w");
    if (f == NULL) {
        rc = -errno;
        close(fd);
        unlink(tmp);
        return rc;
    }

    fputs(HEAD, f);

    for (i = 0; i < CU_ALGOS; i++) {
        if (t->places[i].shape.rows != 0 && !t->places[i].bad && !t->places[i].partial) {
            print(f, &t->places[i]);
        }
    }

    rc = ferror(f) ? -EIO : 0;
    rc = fclose(f) != 0 && rc == 0 ? -errno : rc;
    rc = rc == 0 && rename(tmp, path) != 0 ? -errno : rc;

    if (rc != 0) {
        unlink(tmp);
        return rc;
    }

    t->dirty = 0;

    return 0;
}


/* Those above a file, as far as they can be made; open() will say. */
static void
folders(const char *path)
{
    char dir[1024], *p;

    if (snprintf(dir, sizeof(dir), "%s", path) >= (int) sizeof(dir)) {
        return;
    }

    for (p = dir + 1; *p != '\0'; p++) {
        if (*p == '/') {
            *p = '\0';
            (void) mkdir(dir, 0755);
            *p = '/';
        }
    }
}


static void
print(FILE *f, const cu_algo_t *a)
{
    char           line[LINE];
    size_t         i, n;
    const uint8_t *p;

    n = (size_t) snprintf(line, sizeof(line), "%u %u %u %u %u %u %u %u ", a->shape.type,
                          a->shape.y_type, a->shape.add, a->shape.align, a->shape.n, a->shape.k,
                          a->shape.rows, a->ns);

    p = (const uint8_t *) &a->algo;
    for (i = 0; i < sizeof(a->algo); i++, n += 2) {
        snprintf(line + n, sizeof(line) - n, "%02x", p[i]);
    }

    fprintf(f, "%s %016llx\n", line, (unsigned long long) sum(line, n));
}
