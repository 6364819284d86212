/*
 * Regular languages against brute force: random expressions over three
 * letters and every string of up to five of them, by derivatives and by the
 * automaton, beside sets of strings.
 */

#include <errno.h>

#include "engine/grammar/re_dfa.h"
#include "t/lib/tap.h"

#define LETTERS 3
#define MAX_LEN 5
#define STRINGS 364 /* 1 + 3 + 9 + ... + 243 */

typedef struct {
    re_t    re;
    uint8_t in[STRINGS];
} lang_t;

static uint64_t seed = 1;
static int      lens[STRINGS + 1];
static char     texts[STRINGS + 1][MAX_LEN + 1];


static uint32_t
rnd(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) ((seed >> 33) % n);
}


/* Strings are numbered by length, then by letters. */
static int
number_of(const char *s, int len)
{
    int i, n, at;

    for (i = 0, at = 0, n = 1; i < len; i++) {
        at += n;
        n *= LETTERS;
    }

    for (i = 0, n = 0; i < len; i++) {
        n = n * LETTERS + s[i] - 'a';
    }

    return at + n;
}


static void
make_strings(void)
{
    int  i, k, n, v, len;
    char s[MAX_LEN + 1];

    for (len = 0, n = 1; len <= MAX_LEN; len++, n *= LETTERS) {
        for (i = 0; i < n; i++) {
            for (k = len, v = i; k-- > 0; v /= LETTERS) {
                s[k] = (char) ('a' + v % LETTERS);
            }

            k = number_of(s, len);
            memcpy(texts[k], s, (size_t) len);
            lens[k] = len;
        }
    }
}


static void
naive_concat(const uint8_t *a, const uint8_t *b, uint8_t *out)
{
    uint8_t r[STRINGS] = {0};
    int     i, k;

    for (i = 0; i < STRINGS; i++) {
        for (k = 0; k <= lens[i] && !r[i]; k++) {
            r[i] = a[number_of(texts[i], k)]
                   && b[number_of(texts[i] + k, lens[i] - k)];
        }
    }

    memcpy(out, r, STRINGS);
}


static void
naive_repeat(const uint8_t *a, uint32_t min, uint32_t max, uint8_t *out)
{
    uint8_t  p[STRINGS] = {1}, r[STRINGS] = {0};
    uint32_t k, i;

    /* Past min, MAX_LEN more times cannot add anything. */

    for (k = 0; k <= max && k <= min + MAX_LEN + 1; k++) {
        for (i = 0; i < STRINGS; i++) {
            r[i] |= k >= min && p[i];
        }

        naive_concat(p, a, p);
    }

    memcpy(out, r, STRINGS);
}


static void
random_leaf(re_set_t *set, lang_t *l)
{
    uint64_t bits[4] = {0};
    char     s[4];
    int      i, k, n;

    memset(l->in, 0, STRINGS);

    switch (rnd(8)) {
    case 0:
        l->re = RE_EMPTY;
        l->in[0] = 1;
        break;

    case 6:
        l->re = RE_TEXT;
        memset(l->in, 1, STRINGS);
        break;

    case 7:
        i = (int) rnd(3);
        n = rnd(2) ? MAX_LEN : i + (int) rnd(3);
        l->re =
            re_length(set, (uint32_t) i, n == MAX_LEN ? RE_INF : (uint32_t) n);

        for (k = 0; k < STRINGS; k++) {
            l->in[k] = lens[k] >= i && lens[k] <= n;
        }

        break;

    case 1:
        for (i = 0; i < LETTERS; i++) {
            if (rnd(2)) {
                bits[1] |= 1ull << ('a' - 64 + i);
                l->in[1 + i] = 1;
            }
        }

        l->re = re_class(set, bits);
        break;

    default:
        n = 1 + (int) rnd(3);

        for (i = 0; i < n; i++) {
            s[i] = (char) ('a' + rnd(LETTERS));
        }

        l->re = re_run(set, s, (size_t) n, RE_EMPTY);
        l->in[number_of(s, n)] = 1;
    }
}


static void
random_node(re_set_t *set, const lang_t *a, const lang_t *b, lang_t *l)
{
    uint32_t min, max;
    int      i, kind;

    kind = (int) rnd(11);

    switch (kind) {
    case 0:
    case 1:
    case 2:
        l->re = re_concat(set, a->re, b->re);
        naive_concat(a->in, b->in, l->in);
        break;

    case 3:
    case 4:
    case 5:
    case 6:
        l->re = kind < 6 ? re_or(set, a->re, b->re) : re_and(set, a->re, b->re);

        for (i = 0; i < STRINGS; i++) {
            l->in[i] = kind < 6 ? a->in[i] | b->in[i] : a->in[i] & b->in[i];
        }

        break;

    case 7:
        l->re = re_not(set, a->re);

        for (i = 0; i < STRINGS; i++) {
            l->in[i] = !a->in[i];
        }

        break;

    case 9:
    case 10:
        l->re = re_minus(set, kind == 9 ? RE_TEXT : a->re, b->re);

        for (i = 0; i < STRINGS; i++) {
            l->in[i] = (kind == 9 || a->in[i]) && !b->in[i];
        }

        break;

    default:
        min = rnd(3);
        max = rnd(2) ? RE_INF : min + rnd(3);
        l->re = re_repeat(set, a->re, min, max);
        naive_repeat(a->in, min, max, l->in);
    }
}


/* Automaton and derivatives over every string; -1, or the first that fails. */
static int
compare(re_set_t *set, re_dfa_t *dfa, const lang_t *l)
{
    re_dfa_item_t item = {7, l->re};
    int32_t       s;
    int           i, k, got;

    for (i = 0; i < STRINGS; i++) {
        s = re_dfa_state(dfa, &item, 1);

        for (k = 0; k < lens[i] && s >= 0; k++) {
            s = re_dfa_next(dfa, s, (uint8_t) texts[i][k]);
        }

        got = s > 0 && re_dfa_get(dfa, s)->n_accepts == 1;

        if (s < 0 || got != l->in[i]
            || re_match(set, l->re, texts[i], (size_t) lens[i]) != got) {
            return i;
        }
    }

    return -1;
}


static int
check_none(re_set_t *set, const lang_t *l)
{
    buf_t out = {0};
    int   i, rc, any;

    for (i = 0, any = 0; i < STRINGS; i++) {
        any |= l->in[i];
    }

    rc = re_is_none(set, l->re, 0);

    if (rc == RE_YES) {
        return !any;
    }

    if (rc == RE_UNKNOWN) {
        return 0;
    }

    rc = re_example(set, l->re, 0, &out) == RE_NO
         && re_match(set, l->re, out.data ? out.data : "", out.len);
    buf_free(&out);

    return rc;
}


static void
test_random(int rounds)
{
    lang_t    pool[24], l;
    re_set_t *set;
    re_dfa_t *dfa;
    buf_t     out = {0};
    int       round, k, bad, none, i;

    bad = 0;
    none = 0;

    for (round = 0; round < rounds && bad + none == 0; round++) {
        set = re_new(NULL);
        dfa = re_dfa_new(set, 0, 0);

        for (k = 0; k < 8; k++) {
            random_leaf(set, &pool[k]);
        }

        for (; k < 24 && bad + none == 0; k++) {
            random_node(set, &pool[rnd((uint32_t) k)], &pool[rnd((uint32_t) k)],
                        &l);
            pool[k] = l;
            i = compare(set, dfa, &l);
            bad += i >= 0;
            none += !check_none(set, &l);

            if (bad + none) {
                re_print(set, l.re, &out);
                diag("round %d node %d '%s' %.*s", round, k,
                     i < 0 ? "-" : texts[i], (int) out.len, out.data);
            }
        }

        bad += re_failed(set, NULL) != 0;
        re_dfa_free(dfa);
        re_free(set);
    }

    buf_free(&out);
    is_int(bad, 0, "%d random expressions on 364 strings each", rounds * 16);
    is_int(none, 0, "emptiness, and an example of each");
}


int
main(int argc, char **argv)
{
    make_strings();
    test_random(argc > 1 ? atoi(argv[1]) : 60);

    return tap_done();
}
