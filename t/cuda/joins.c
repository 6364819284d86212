/*
 * Matrices of one product side by side: joined as they lie, or moved together;
 * their values, their memory, and what is refused.
 */

#include "t/cuda/weight_test.h"

static void test_join(const t_type_t *t, uint32_t cols);
static void test_merge(const t_type_t *t, uint32_t cols);
static void test_merge_f8(void);
static void test_merge_refused(void);


int
main(void)
{
    open_backend();

    test_join(&t_types[2], 128);
    test_join(&t_types[8], 512);
    test_merge(&t_types[1], 40);
    test_merge(&t_types[7], 96);
    test_merge(&t_types[10], 256);
    test_merge_f8();
    test_merge_refused();

    k_backend_cuda.close(be);

    return tap_done();
}


/* Three matrices loaded one after the other, as a model's q, k and v. */
static void
load_three(const t_type_t *t, const uint32_t *rows, uint32_t cols,
           uint8_t **data, k_weight_t **w)
{
    int        i;
    char       err[K_ERR_MAX] = "";
    k_source_t src;

    for (i = 0; i < 3; i++) {
        data[i] = make(t, rows[i], cols);
        src = source(t, K_ROLE_MATRIX, data[i] + 1, rows[i], cols);
        if (k_backend_cuda.weights_load(be, &src, &w[i], err) != 0) {
            printf("Bail out! %s\n", err);
            exit(2);
        }
    }
}


/* The joined matrix has all rows of the three. */
static int
joined_differs(const cu_matrix_t *all, const t_type_t *t, const uint32_t *rows,
               uint8_t **data)
{
    int      bad;
    double  *v, want, most;
    size_t   row;
    uint32_t i, j, k, at;

    v = values(all, 0, all->rows);
    row = all->cols / t->block * t->bytes;
    most = all->form != CU_W_PLAIN ? 0x1p-10 : 0;
    bad = 0;

    for (i = 0, at = 0; i < 3; at += rows[i], i++) {
        for (j = 0; j < rows[i]; j++) {
            for (k = 0; k < all->cols; k++) {
                want = t_element(t, data[i] + 1 + j * row, k);
                bad += !(fabs(v[(at + j) * all->cols + k] - want)
                         <= most * fabs(want) + (most ? 1e-6 : 0));
            }
        }
    }

    free(v);

    return bad;
}


static void
test_join(const t_type_t *t, uint32_t cols)
{
    int                i;
    uint8_t           *data[3];
    k_weight_t        *w[3];
    cu_matrix_t        all;
    const cu_matrix_t *m[3];

    static const uint32_t rows[] = {16, 8, 8};

    load_three(t, rows, cols, data, w);
    for (i = 0; i < 3; i++) {
        m[i] = &w[i]->m;
    }

    is_int(cu_weights_join(m, 3, &all), 1, "%s: joined as they lie", t->name);
    ok(all.rows == 32 && all.data == m[0]->data, "%s: all their rows", t->name);
    is_int(joined_differs(&all, t, rows, data), 0, "%s: their values", t->name);
    is_int(cu_weights_join(m, 1, &all), 1, "%s: one alone", t->name);
    is_int(cu_weights_join(m, 0, &all), 0, "%s: none", t->name);

    m[1] = &w[2]->m;
    is_int(cu_weights_join(m, 2, &all), 0, "%s: with a gap", t->name);
    is_int(cu_weights_merge(be, w, 3), 0, "%s: nothing to merge", t->name);
    ok(w[0]->shared == NULL, "%s: and nothing was moved", t->name);

    for (i = 0; i < 3; i++) {
        k_backend_cuda.weights_free(be, w[i]);
        free(data[i]);
    }
    is_int(used(), 0, "%s: freed", t->name);
}


/* Sizes that are no multiple of 256 leave gaps; they are moved. */
static void
test_merge(const t_type_t *t, uint32_t cols)
{
    int                i, bad;
    uint8_t           *data[3];
    k_weight_t        *w[3];
    cu_matrix_t        all;
    const cu_matrix_t *m[3];

    static const uint32_t rows[] = {17, 5, 3};

    load_three(t, rows, cols, data, w);
    for (i = 0; i < 3; i++) {
        m[i] = &w[i]->m;
    }

    is_int(cu_weights_join(m, 3, &all), 0, "%s: apart", t->name);
    is_int(cu_weights_merge(be, w, 3), 0, "%s: merged", t->name);
    is_int(cu_weights_join(m, 3, &all), 1, "%s: joined", t->name);
    is_int(joined_differs(&all, t, rows, data), 0, "%s: all values", t->name);

    bad = 0;
    for (i = 0; i < 3; i++) {
        bad += differ(m[i], t, data[i] + 1, 0);
    }
    is_int(bad, 0, "%s: each one's values", t->name);
    is_int(cu_weights_merge(be, w, 3), 0, "%s: merged again", t->name);

    /* The middle one goes first, then a new group with one of the old. */
    k_backend_cuda.weights_free(be, w[1]);
    w[1] = w[2];
    is_int(cu_weights_merge(be, w, 2), 0, "%s: those that are left", t->name);
    is_int(differ(&w[0]->m, t, data[0] + 1, 0)
               + differ(&w[1]->m, t, data[2] + 1, 0),
           0, "%s: are as they were", t->name);
    k_backend_cuda.weights_free(be, w[0]);
    is_int(differ(&w[1]->m, t, data[2] + 1, 0), 0, "%s: the last of all too",
           t->name);
    k_backend_cuda.weights_free(be, w[1]);
    ok(used() == 0 && be->used_weights == 0, "%s: freed", t->name);

    for (i = 0; i < 3; i++) {
        free(data[i]);
    }
}


static void
test_merge_f8(void)
{
    enum { ROWS = 8, COLS = 64 };

    int                i, bad;
    char               err[K_ERR_MAX];
    float              scales[2][ROWS], back[2 * ROWS];
    uint8_t            data[2][ROWS * COLS], got[2 * ROWS * COLS];
    uint32_t           j;
    k_source_t         src;
    k_weight_t        *w[2];
    cu_matrix_t        all;
    const cu_matrix_t *m[2];

    bad = 0;
    for (i = 0; i < 2; i++) {
        for (j = 0; j < ROWS * COLS; j++) {
            data[i][j] = (uint8_t) test_rand(&seed);
        }
        for (j = 0; j < ROWS; j++) {
            scales[i][j] = (float) test_normal(&seed);
        }
        src = (k_source_t){.type = K_F8_E4M3,
                           .role = K_ROLE_MATRIX,
                           .rows = ROWS,
                           .cols = COLS,
                           .data = data[i],
                           .scales = scales[i],
                           .n_scales = ROWS,
                           .name = "f8"};
        bad += k_backend_cuda.weights_load(be, &src, &w[i], err) != 0;
        m[i] = &w[i]->m;
    }

    bad += cu_weights_join(m, 2, &all) != 0;
    bad += cu_weights_merge(be, w, 2) != 0;
    bad += cu_weights_join(m, 2, &all) != 1;
    is_int(bad, 0, "E4M3: merged, with their scales");

    dev_get(got, all.data, sizeof(got));
    dev_get(back, all.scales, sizeof(back));
    ok(memcmp(got, data, sizeof(got)) == 0
           && memcmp(back, scales, sizeof(back)) == 0,
       "E4M3: both whole");

    k_backend_cuda.weights_free(be, w[0]);
    k_backend_cuda.weights_free(be, w[1]);
    is_int(used(), 0, "E4M3: freed");
}


static void
test_merge_refused(void)
{
    int         i;
    char        err[K_ERR_MAX];
    void       *rest;
    uint8_t    *data[3];
    uint64_t    size, all, most;
    k_source_t  src;
    k_weight_t *w[3], *other[2];

    static const uint32_t rows[] = {17, 5, 3};

    load_three(&t_types[2], rows, 40, data, w);
    other[0] = w[0];
    src = source(&t_types[1], K_ROLE_MATRIX, data[0], 3, 40);
    (void) k_backend_cuda.weights_load(be, &src, &other[1], err);
    is_int(cu_weights_merge(be, other, 2), -ENOTSUP, "types differ");
    k_backend_cuda.weights_free(be, other[1]);

    src = source(&t_types[2], K_ROLE_MATRIX, data[0], 3, 48);
    (void) k_backend_cuda.weights_load(be, &src, &other[1], err);
    is_int(cu_weights_merge(be, other, 2), -ENOTSUP, "columns differ");
    k_backend_cuda.weights_free(be, other[1]);

    src = source(&t_types[2], K_ROLE_EXPERTS, data[0], 4, 40);
    src.experts = 2;
    (void) k_backend_cuda.weights_load(be, &src, &other[1], err);
    is_int(cu_weights_merge(be, other, 2), -ENOTSUP, "experts");
    k_backend_cuda.weights_free(be, other[1]);

    cu_arena_stat(be->arena, &all, &size, &most);
    rest = cu_arena_alloc(be->arena, most, 0);
    is_int(cu_weights_merge(be, w, 3), -ENOMEM, "no room");
    is_int(differ(&w[0]->m, &t_types[2], data[0] + 1, 0), 0,
           "they are as they were");
    cu_arena_free(be->arena, rest, most);

    for (i = 0; i < 3; i++) {
        k_backend_cuda.weights_free(be, w[i]);
        free(data[i]);
    }
    is_int(used(), 0, "freed");
}
