/*
 * The parser over random machines (networks of states that read lexemes and
 * call each other, with empty strings and returns in all places), against a
 * naive recogniser of spans; and how much work it takes on lists, nesting
 * and ambiguous grammars, counted in rows and items.
 */

#include <errno.h>
#include "engine/grammar/gr_parse_priv.h"
#include "t/lib/tap.h"

#define STATES  6
#define EDGES   4
#define MAX_LEN 8

typedef struct {
    int  call; /* -1: reads re */
    re_t re;
    int  to, used;
} edge_t;

typedef struct {
    gr_t   *gr;
    int     slow, times;
    edge_t  edges[STATES][EDGES];
    int     accepts[STATES], some[STATES];
    uint8_t span[STATES][MAX_LEN + 1][MAX_LEN + 1];
    uint8_t open[STATES][MAX_LEN + 1];
} net_t;

static const char letters[] = "ab(";
static uint64_t   seed = 1;


static uint32_t
rnd(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) ((seed >> 33) % n);
}


static int
net_expand(gr_t *gr, void *data, const void *key, size_t len, gr_edges_t *out)
{
    net_t  *net = data;
    uint8_t q = *(const uint8_t *) key, k;
    edge_t *e;
    int     i;

    (void) len;

    for (i = 0; i < EDGES; i++) {
        e = &net->edges[q][i];

        if (!e->used) {
            continue;
        }

        k = (uint8_t) e->to;

        if (e->call >= 0) {
            uint8_t c = (uint8_t) e->call;

            gr_edge_call(out, gr_state(gr, 1, &c, 1), gr_state(gr, 1, &k, 1));

        } else if (e->to % 3 == 0) {
            gr_edge_capture(out, gr_lexeme(gr, e->re, 0), k);

        } else {
            gr_edge_lexeme(out, gr_lexeme(gr, e->re, 0),
                           gr_state(gr, 1, &k, 1));
        }
    }

    if (net->accepts[q]) {
        gr_accept(out);
    }

    return 0;
}


static int
net_capture(gr_t *gr, void *data, const void *key, size_t len, uint32_t arg,
            const uint8_t *text, size_t n, gr_state_t *to)
{
    uint8_t k = (uint8_t) arg;

    (void) data;
    (void) key;
    (void) len;
    (void) text;
    (void) n;

    *to = gr_state(gr, 1, &k, 1);

    return 0;
}


static const gr_machine_t net_ops = {net_expand, net_capture, NULL};


/* Random edges; those that lead nowhere are taken out. */
static void
net_random(net_t *net)
{
    static const char *const texts[] = {"a",  "b", "[(]",   "a*",       "ab",
                                        "b?", "",  "[ab]+", "(a|[(])b?"};
    char                     err[100];
    edge_t                  *e;
    int                      q, i, k;

    memset(net, 0, sizeof(*net));
    gr_new(NULL, &net->gr);
    gr_machine_add(net->gr, &net_ops, net);

    for (q = 0; q < STATES; q++) {
        net->accepts[q] = rnd(3) == 0;

        for (i = 0; i < EDGES && rnd(4); i++) {
            const char *t = texts[rnd(llm_countof(texts))];

            e = &net->edges[q][i];
            e->used = 1;
            e->call = rnd(2) ? (int) rnd(STATES) : -1;
            e->to = (int) rnd(STATES);
            re_ecma_whole(gr_re(net->gr), t, strlen(t), &e->re, err,
                          sizeof(err));
        }
    }

    for (k = 0; k < STATES; k++) {
        for (q = 0; q < STATES; q++) {
            net->some[q] |= net->accepts[q];

            for (i = 0; i < EDGES; i++) {
                e = &net->edges[q][i];
                net->some[q] |= e->used && net->some[e->to]
                                && (e->call < 0 || net->some[e->call]);
            }
        }
    }

    for (q = 0; q < STATES; q++) {
        for (i = 0; i < EDGES; i++) {
            e = &net->edges[q][i];
            e->used = e->used && net->some[e->to]
                      && (e->call < 0 || net->some[e->call]);
        }
    }
}


static int
net_look(net_t *net, int q, int i, const char *s, int len)
{
    uint8_t   all[MAX_LEN + 1] = {0};
    edge_t   *e;
    re_set_t *re = gr_re(net->gr);
    re_t      d;
    int       j, k, t, open, changed;

    all[i] = (uint8_t) net->accepts[q];
    open = net->some[q] && i == len;

    for (k = 0; k < EDGES; k++) {
        e = &net->edges[q][k];

        if (!e->used) {
            continue;
        }

        if (e->call >= 0) {
            open |= net->open[e->call][i];

        } else {
            d = re_deriv_str(re, e->re, s + i, (size_t) (len - i));
            open |= re_is_none(re, d, 0) == RE_NO;
        }

        for (t = i; t <= len; t++) {
            if (e->call >= 0 ? net->span[e->call][i][t]
                             : re_match(re, e->re, s + i, (size_t) (t - i))) {
                open |= net->open[e->to][t];

                for (j = t; j <= len; j++) {
                    all[j] |= net->span[e->to][t][j];
                }
            }
        }
    }

    for (j = i, changed = 0; j <= len; j++) {
        changed |= all[j] && !net->span[q][i][j];
        net->span[q][i][j] |= all[j];
    }

    changed |= open && !net->open[q][i];
    net->open[q][i] |= (uint8_t) (open != 0);

    return changed;
}


static int
net_naive(net_t *net, const char *s, int len)
{
    int q, i, changed;

    memset(net->span, 0, sizeof(net->span));
    memset(net->open, 0, sizeof(net->open));

    do {
        changed = 0;

        for (q = 0; q < STATES; q++) {
            for (i = len; i >= 0; i--) {
                changed |= net_look(net, q, i, s, len);
            }
        }
    } while (changed);

    return net->span[0][0][len] | net->open[0][0] << 1;
}


/* A push that runs out of fuel again and again. */
static int
push_slowly(gr_parse_t *p, uint8_t byte, int *times)
{
    uint64_t depth = gr_parse_depth(p), fuel;
    int      rc;

    for (fuel = 0; fuel < 1000000; fuel += 1 + fuel / 4) {
        gr_parse_fuel(p, fuel);
        rc = gr_parse_push(p, byte);

        if (rc != -ETIME) {
            gr_parse_fuel(p, UINT64_MAX);
            return rc;
        }

        if (gr_parse_depth(p) != depth) {
            break;
        }

        ++*times;
    }

    return -ETIME;
}


static int
net_compare(net_t *net, gr_parse_t *p, char *s, int len, int max)
{
    int i, got, want, bad;

    want = net_naive(net, s, len) & 1;
    bad = gr_parse_complete(p) != want;

    if (bad) {
        diag("'%.*s': complete %d, want %d", len, s, !want, want);
    }

    for (i = 0; letters[i] && len < max && bad < 3; i++) {
        s[len] = letters[i];
        got = net->slow ? push_slowly(p, (uint8_t) s[len], &net->times)
                        : gr_parse_push(p, (uint8_t) s[len]);
        want = net_naive(net, s, len + 1) >> 1;

        if (got != want) {
            diag("'%.*s': push %d, want %d", len + 1, s, got, want);
            bad++;
        }

        if (got == 1) {
            bad += want == 1 ? net_compare(net, p, s, len + 1, max) : 0;
            gr_parse_pop(p, 1);

            p->tidy_at = 0;
            gr_parse_fuel(p, UINT64_MAX);
        }
    }

    return bad;
}


static void
test_nets(int rounds, int max, int slow)
{
    static net_t net;
    gr_parse_t  *p;
    char         s[MAX_LEN + 1];
    uint8_t      q = 0;
    int          i, rc, bad, n, leo, times;
    uint32_t     k;

    bad = 0;
    n = 0;
    leo = 0;
    times = 0;

    for (i = 0; i < rounds && bad < 5; i++) {
        seed = (uint64_t) i * 1299709 + 11;
        net_random(&net);

        if (!net.some[0]) {
            gr_free(net.gr);
            continue;
        }

        rc = gr_finish(net.gr,
                       gr_machine_node(net.gr, gr_state(net.gr, 1, &q, 1)));

        if (rc < 0 || gr_parse_new(net.gr, NULL, &p) < 0) {
            diag("net %d: %d", i, rc);
            bad++;
            gr_free(net.gr);
            continue;
        }

        n++;
        net.slow = slow;

        if (net_compare(&net, p, s, 0, max)) {
            diag("net %d", i);
            bad++;
        }

        times += net.times;

        for (k = 0; k < p->n_called; k++) {
            leo += p->called[k].leo == GR_LEO_TOP;
        }

        gr_parse_free(p);
        gr_free(net.gr);
    }

    is_int(bad, 0, "%d random networks: exact for strings up to %d", n, max);

    if (slow) {
        ok(times > 0, "out of fuel %d times, and went on", times);
    }

    ok(leo > 0, "returns that went straight to the end of a chain: %d", leo);
}


/* One machine per shape; the key is a letter. */
static int
list_expand(gr_t *gr, void *data, const void *key, size_t len, gr_edges_t *out)
{
    uint32_t a = gr_lexeme(gr, re_str(gr_re(gr), "a"), 0);
    char     q = *(const char *) key;

    (void) data;
    (void) len;

#define AT(c) gr_state(gr, 1, &(char){c}, 1)

    switch (q) {

    case 'R': /* R -> a R | a */
        gr_edge_lexeme(out, a, AT('1'));
        gr_edge_lexeme(out, a, AT('.'));
        break;

    case '1':
        gr_edge_call(out, AT('R'), AT('.'));
        break;

    case 'L': /* L -> L a | a */
        gr_edge_call(out, AT('L'), AT('2'));
        gr_edge_lexeme(out, a, AT('.'));
        break;

    case '2':
        gr_edge_lexeme(out, a, AT('.'));
        break;

    case 'S': /* S -> S S | a */
        gr_edge_call(out, AT('S'), AT('3'));
        gr_edge_lexeme(out, a, AT('.'));
        break;

    case '3':
        gr_edge_call(out, AT('S'), AT('.'));
        break;

    case 'N': /* N -> ( N ) | a, with a spelled for the bracket too */
        gr_edge_lexeme(out, gr_lexeme(gr, re_str(gr_re(gr), "("), 0), AT('4'));
        gr_edge_lexeme(out, a, AT('.'));
        break;

    case '4':
        gr_edge_call(out, AT('N'), AT('5'));
        break;

    case '5':
        gr_edge_lexeme(out, gr_lexeme(gr, re_str(gr_re(gr), ")"), 0), AT('.'));
        break;

    default:
        gr_accept(out);
    }

    return 0;
}


static const gr_machine_t list_ops = {list_expand, NULL, NULL};


static gr_parse_t *
list_new(char shape, gr_t **gr, const gr_parse_limits_t *limits)
{
    gr_parse_t *p = NULL;

    gr_new(NULL, gr);
    gr_machine_add(*gr, &list_ops, NULL);
    gr_finish(*gr, gr_machine_node(*gr, gr_state(*gr, 1, &shape, 1)));
    gr_parse_new(*gr, limits, &p);

    return p;
}


static void
test_work(void)
{
    gr_parse_limits_t limits = {.max_items = 500};
    gr_parse_t       *p;
    gr_t             *gr;
    int               i, rc;

    p = list_new('R', &gr, NULL);

    for (i = 0, rc = 1; i < 10000 && rc == 1; i++) {
        rc = gr_parse_push(p, 'a');
    }

    is_int(i, 10000, "a list of 10,000, right recursive");
    ok(gr_parse_complete(p), "complete");
    ok(p->n_items < 80000, "%u items", p->n_items);
    gr_parse_free(p);
    gr_free(gr);

    p = list_new('L', &gr, NULL);

    for (i = 0, rc = 1; i < 10000 && rc == 1; i++) {
        rc = gr_parse_push(p, 'a');
    }

    is_int(i, 10000, "a list of 10,000, left recursive");
    ok(gr_parse_complete(p), "complete");
    ok(p->n_items < 100, "%u items: rows are used again", p->n_items);
    gr_parse_free(p);
    gr_free(gr);

    p = list_new('N', &gr, NULL);

    for (i = 0, rc = 1; i < 5000 && rc == 1; i++) {
        rc = gr_parse_push(p, '(');
    }

    rc = gr_parse_push(p, 'a');

    for (i = 0; i < 5000 && rc == 1; i++) {
        rc = gr_parse_push(p, ')');
    }

    is_int(i, 5000, "5,000 brackets");
    ok(gr_parse_complete(p), "complete");
    is_int(gr_parse_push(p, ')'), 0, "not one more");
    ok(p->n_items < 80000, "%u items", p->n_items);
    gr_parse_free(p);
    gr_free(gr);

    p = list_new('S', &gr, NULL);
    gr_parse_fuel(p, 10000000);

    for (i = 0, rc = 1; i < 300 && rc == 1; i++) {
        rc = gr_parse_push(p, 'a');
    }

    is_int(rc, 1, "S -> S S | a, 300 times");
    ok(gr_parse_complete(p), "complete");
    diag("%u items, %llu steps", p->n_items,
         (unsigned long long) (10000000 - p->fuel));

    gr_parse_fuel(p, 1000);
    is_int(gr_parse_push(p, 'a'), -ETIME, "out of fuel");
    is_int(gr_parse_depth(p), 300, "nothing changed");
    gr_parse_fuel(p, 10000000);
    is_int(gr_parse_push(p, 'a'), 1, "goes on when there is more");
    gr_parse_free(p);
    gr_free(gr);

    p = list_new('S', &gr, &limits);

    for (i = 0, rc = 1; i < 1000 && rc == 1; i++) {
        rc = gr_parse_push(p, 'a');
    }

    is_int(rc, -E2BIG, "a row past its limit, after %d", i);
    is_int(gr_parse_depth(p), i - 1, "nothing changed");
    gr_parse_free(p);
    gr_free(gr);
}


int
main(int argc, char **argv)
{
    test_nets(argc > 1 ? atoi(argv[1]) : 400, argc > 2 ? atoi(argv[2]) : 5, 0);
    test_nets(100, 4, 1);
    test_work();

    return tap_done();
}
