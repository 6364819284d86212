/*
 * Regular expressions: which bytes they cannot tell apart, and which they
 * begin with.  The owner of the set is the only thread here.
 */

#include <errno.h>
#include "engine/grammar/re_priv.h"

static int  part_map(re_part_t *part, uint8_t map[256]);
static void part_paint(const uint64_t bits[4], uint8_t n, uint8_t map[256]);
static void classes_of(re_set_t *set, re_t a, re_part_t *part);
static int  stamps_new(re_set_t *set);


int
re_classes(re_set_t *set, re_t a, uint8_t map[256])
{
    return re_classes_n(set, &a, 1, sizeof(re_t), map);
}


int
re_classes_n(re_set_t *set, const re_t *list, size_t n_list, size_t stride,
             uint8_t map[256])
{
    const char *at = (const char *) list;
    re_part_t   part;

    part.n = 1;
    part.quoted = 0;
    memset(part.singles, 0, sizeof(part.singles));
    memset(part.sets[0], 0xff, sizeof(part.sets[0]));

    if (stamps_new(set)) {
        for (; n_list > 0; n_list--, at += stride) {
            classes_of(set, *(const re_t *) (const void *) at, &part);
        }
    }

    return part_map(&part, map);
}


/* Numbers classes by their first byte. */
static int
part_map(re_part_t *part, uint8_t map[256])
{
    uint64_t firsts[4] = {0}, word;
    uint8_t  at[256];
    uint32_t i, count, most;
    int      k, b, n, largest;

    memcpy(firsts, part->singles, sizeof(firsts));
    most = 0;
    largest = -1;

    for (i = 0; i < part->n; i++) {
        for (k = 3, b = -1, count = 0; k >= 0; k--) {
            part->sets[i][k] &= ~part->singles[k];
            word = part->sets[i][k];

            if (word) {
                b = k * 64 + __builtin_ctzll(word);
                count += (uint32_t) __builtin_popcountll(word);
            }
        }

        if (b < 0) {
            continue;
        }

        re_bit_set(firsts, (unsigned) b);
        at[b] = (uint8_t) i;

        if (count > most) {
            most = count;
            largest = b;
        }
    }

    /* The largest is painted first, the others over it. */

    for (k = 0, n = 0; k < 4; k++) {
        for (word = firsts[k]; word; word &= word - 1, n++) {
            b = k * 64 + __builtin_ctzll(word);

            if (b == largest) {
                memset(map, n, 256);
            }
        }
    }

    for (k = 0, n = 0; k < 4; k++) {
        for (word = firsts[k]; word; word &= word - 1, n++) {
            b = k * 64 + __builtin_ctzll(word);

            if (re_bit(part->singles, (unsigned) b)) {
                map[b] = (uint8_t) n;

            } else if (b != largest) {
                part_paint(part->sets[at[b]], (uint8_t) n, map);
            }
        }
    }

    return n;
}


static void
part_paint(const uint64_t bits[4], uint8_t n, uint8_t map[256])
{
    uint64_t word;
    int      k;

    for (k = 0; k < 4; k++) {
        for (word = bits[k]; word; word &= word - 1) {
            map[k * 64 + __builtin_ctzll(word)] = n;
        }
    }
}


static void
classes_of(re_set_t *set, re_t a, re_part_t *part)
{
    re_node_t n;
    uint32_t  base, i;

    base = set->n_stack;
    re_push(set, a);

    while (set->n_stack > base) {
        a = set->stack[--set->n_stack];
        n = set->nodes[a];

        if (set->stamps[a] == set->stamp) {
            continue;
        }

        set->stamps[a] = set->stamp;

        switch (n.kind) {
        case RE_KIND_CLASS:
            re_part_split(part, re_bits(set, a));
            re_step(set, 4);
            break;

        case RE_KIND_RUN:
            re_bit_set(part->singles, set->blob[n.a]);
            break;

        case RE_KIND_CONCAT:
            re_push(set, n.a);

            if (RE_IS(set, n.a, RE_F_NULLABLE)) {
                re_push(set, n.b);
            }

            break;

        case RE_KIND_OR:
        case RE_KIND_AND:
            for (i = 0; i < n.b; i++) {
                re_push(set, re_list(set, a)[i]);
            }

            re_step(set, n.b / 16);
            break;

        case RE_KIND_NOT:
        case RE_KIND_REPEAT:
            re_push(set, n.a);
            break;

        case RE_KIND_REMAINDER:
            re_remainder_classes(part);
            break;

        case RE_KIND_QUOTED:
            if (n.b == 0) {
                re_push(set, n.a);
            }

            re_quoted_classes(set, a, part);
            break;
        }
    }
}


/* No node has been seen yet. */
static int
stamps_new(re_set_t *set)
{
    uint32_t old = set->cap_stamps;

    if (!re_grow(set, &set->stamps, &set->cap_stamps, set->n_nodes,
                 sizeof(uint32_t))) {
        return 0;
    }

    memset(set->stamps + old, 0, (set->cap_stamps - old) * sizeof(uint32_t));

    if (++set->stamp == 0) {
        memset(set->stamps, 0, set->cap_stamps * sizeof(uint32_t));
        set->stamp = 1;
    }

    return 1;
}


void
re_part_split(re_part_t *part, const uint64_t bits[4])
{
    uint64_t *s, in[4];
    uint32_t  i, n;
    int       k;

    for (i = 0, n = part->n; i < n; i++) {
        s = part->sets[i];

        for (k = 0; k < 4; k++) {
            in[k] = s[k] & bits[k];
        }

        if ((in[0] | in[1] | in[2] | in[3]) == 0
            || memcmp(in, s, sizeof(in)) == 0) {
            continue;
        }

        for (k = 0; k < 4; k++) {
            s[k] &= ~bits[k];
        }

        memcpy(part->sets[part->n++], in, sizeof(in));
    }
}
