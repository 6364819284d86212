/*
 * Selection of the front part of a list of tokens, see select.h.
 *
 * A radix selection over the bits of the logits, made comparable as integers:
 * four passes at most over what is still undecided, so the worst case is
 * bounded, however flat the logits are.
 */

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/select.h"


static uint32_t k_select(const k_list_t *list, double target, int by_weight,
                         float sure, uint32_t *order, uint32_t *equal);
static uint32_t k_key(float x);
static float    k_unkey(uint32_t key);


void
k_list_keys(k_list_t *list, const float *x)
{
    uint32_t i;

    for (i = 0; i < list->n; i++) {
        list->keys[i] = k_key(x[list->ids[i]]);
    }
}


/* Keeps the front part of the list that k_select() finds, in order of ids. */
void
k_list_cut(k_list_t *list, double target, int by_weight, float sure,
           uint32_t *order)
{
    uint32_t i, j, key, equal;

    if (list->n == 0) {
        return;
    }

    key = k_select(list, target, by_weight, sure, order, &equal);

    for (i = 0, j = 0; i < list->n; i++) {
        if (list->keys[i] < key) {
            continue;
        }
        if (list->keys[i] == key) {
            if (equal == 0) {
                continue;
            }
            equal--;
        }
        list->ids[j] = list->ids[i];
        list->keys[j] = list->keys[i];
        list->weights[j++] = list->weights[i];
    }

    list->n = j;
}


/*
 * The shortest front part, by falling key, that counts (or weighs) target or
 * more, never empty; all if none does.  Returns its smallest key and how many
 * of that key belong to it.  What weighs `sure` or more is known to belong to
 * it, and to be less than target.
 */
static uint32_t
k_select(const k_list_t *list, double target, int by_weight, float sure,
         uint32_t *order, uint32_t *equal)
{
    int      shift, d;
    double   sum, mass[256];
    uint32_t i, j, n, key, low, high, count[256];

    sum = 0;
    n = 0;

    for (i = 0; i < list->n; i++) {
        if (by_weight && list->weights[i] >= sure) {
            sum += (double) list->weights[i];
        } else {
            order[n++] = i;
        }
    }

    if (n == 0) {
        *equal = list->n;
        return 0;
    }

    for (shift = 24;; shift -= 8) {
        low = 0xffffffff;
        high = 0;
        for (i = 0; i < n; i++) {
            key = list->keys[order[i]];
            low = key < low ? key : low;
            high = key > high ? key : high;
        }
        if (low == high) {
            break;
        }
        if (low >> shift == high >> shift) {
            continue;
        }

        memset(mass, 0, sizeof(mass));
        memset(count, 0, sizeof(count));

        for (i = 0; i < n; i++) {
            d = (int) (list->keys[order[i]] >> shift & 255);
            count[d]++;
            if (by_weight) {
                mass[d] += (double) list->weights[order[i]];
            }
        }

        /* The last digit that there is ends the walk if none reaches it. */
        for (d = (int) (high >> shift & 255); d > (int) (low >> shift & 255);
             d--) {
            if (count[d] == 0) {
                continue;
            }
            if (!by_weight) {
                mass[d] = count[d];
            }
            if (sum + mass[d] >= target) {
                break;
            }
            sum += mass[d];
        }

        for (i = 0, j = 0; i < n; i++) {
            if ((list->keys[order[i]] >> shift & 255) == (uint32_t) d) {
                order[j++] = order[i];
            }
        }
        n = j;
    }

    for (i = 0; i < n; i++) {
        sum += by_weight ? (double) list->weights[order[i]] : 1.0;
        if (sum >= target) {
            i++;
            break;
        }
    }

    *equal = i;
    return low;
}


/*
 * A logit that no fewer than k tokens reach: the k-th largest maximum of the
 * slabs, of which each is a token of its own.
 */
float
k_bound(const float *maxima, uint32_t n, uint32_t k, uint32_t *keys,
        uint32_t *order)
{
    float    bound;
    uint32_t equal, i;
    k_list_t list;

    if (k > n) {
        return -FLT_MAX;
    }

    list.n = n;
    list.keys = keys;
    list.ids = NULL;
    list.weights = NULL;
    for (i = 0; i < n; i++) {
        list.keys[i] = k_key(maxima[i]);
    }

    bound = k_unkey(k_select(&list, k, 0, INFINITY, order, &equal));

    return bound > -FLT_MAX ? bound : -FLT_MAX;
}


/*
 * Raises *least while all probabilities from it on still weigh target, and
 * lowers *sure to where they do not: a few halvings of the floats between, by
 * their bits.  The margin is above the error of the sums.
 */
void
k_narrow(const k_simd_t *simd, const float *probs, uint32_t n, double target,
         float *least, float *sure)
{
    int      i;
    float    middle;
    double   sum;
    uint32_t low, high, mid;

    low = k_key(*least);
    high = k_key(1.0f) + 1;

    for (i = 0; i < 10 && high - low > 1; i++) {
        mid = low + (high - low) / 2;
        middle = k_unkey(mid);
        sum = simd->above(probs, n, middle);

        if (sum >= target * (1 + 1e-5)) {
            low = mid;
        } else if (sum < target * (1 - 1e-5)) {
            high = mid;
        } else {
            break;
        }
    }

    *least = k_unkey(low);
    *sure = k_unkey(high);
}


/* Keys compare as the floats do; both zeros are one. */
static uint32_t
k_key(float x)
{
    uint32_t u;

    x += 0.0f;
    memcpy(&u, &x, sizeof(u));

    return u & 0x80000000u ? ~u : u | 0x80000000u;
}


static float
k_unkey(uint32_t key)
{
    float    x;
    uint32_t u;

    u = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    memcpy(&x, &u, sizeof(x));

    return x;
}
