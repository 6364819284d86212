/*
 * Fuzz target: ECMA-262 patterns and number bounds.
 *
 * The first byte chooses what to do with the rest: a pattern and, after a
 * line end, a text; or bounds.  What must hold: the limits end everything;
 * derivatives, the automaton and the complement agree about the text and its
 * beginnings; an example of a language is in it, and no text is in one that
 * is none; what is spelled is a text's spelling.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/re_dfa.h"

#define MUTATIONS 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pattern(re_set_t *set, int how, const char *s, size_t len);
static void number(re_set_t *set, const uint8_t *s, size_t len);
static void check(re_set_t *set, re_t re, const char *s, size_t len);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const re_limits_t limits = {.max_nodes = 20000,
                                       .max_bytes = 16u << 20,
                                       .max_steps = 50000,
                                       .max_depth = 300};
    re_set_t                *set;

    if (size < 3) {
        return 0;
    }

    set = re_new(&limits);
    if (set == NULL) {
        abort();
    }

    if (data[0] == 'n') {
        number(set, data + 1, size - 1);

    } else {
        pattern(set, data[0], (const char *) data + 1, size - 1);
    }

    re_free(set);

    return 0;
}


static void
pattern(re_set_t *set, int how, const char *s, size_t len)
{
    const char *end, *text;
    char        err[128];
    re_t        re;
    int         rc;

    end = memchr(s, '\n', len);
    text = end ? end + 1 : s + len;
    end = end ? end : text;
    err[0] = '\0';
    rc = how & 1
             ? re_ecma_whole(set, s, (size_t) (end - s), &re, err, sizeof(err))
             : re_ecma(set, s, (size_t) (end - s), &re, err, sizeof(err));

    if (rc != 0) {
        if (err[0] == '\0') {
            abort();
        }

        return;
    }

    check(set, re, text, len - (size_t) (text - s));
    check(set, re_quoted(set, re), text, len - (size_t) (text - s));
}


static void
number(re_set_t *set, const uint8_t *s, size_t len)
{
    re_number_t n = {.flags = s[0] & 7,
                     .min_open = s[0] >> 3 & 1,
                     .max_open = s[0] >> 4 & 1};
    const char *p = (const char *) s + 1, *end = (const char *) s + len, *next;
    str_t       parts[4] = {{0}};
    char        err[128];
    re_t        re;
    int         i;

    for (i = 0; i < 4 && p < end; i++, p = next + 1) {
        next = memchr(p, ' ', (size_t) (end - p));
        next = next ? next : end;
        parts[i] = (str_t){next > p ? p : NULL, (size_t) (next - p)};
    }

    n.min = parts[0];
    n.max = parts[1];
    n.multiple = parts[2];

    if (re_number(set, &n, &re, err, sizeof(err)) == 0) {
        check(set, re, parts[3].s ? parts[3].s : "", parts[3].len);
    }
}


static void
check(re_set_t *set, re_t re, const char *s, size_t len)
{
    re_dfa_item_t item = {1, re};
    re_dfa_t     *dfa;
    int32_t       at;
    size_t        i;
    buf_t         out = {0};
    re_t          d, not ;
    int           in, none, found;

    len = len > 200 ? 200 : len;
    none = re_is_none(set, re, 500);
    not = re_not(set, re);
    found = re_example(set, re, 500, &out);

    if (found == RE_NO) {
        in = re_match(set, re, out.data ? out.data : "", out.len);

        if (re_failed(set, NULL) == 0 && (!in || none == RE_YES)) {
            abort();
        }
    }

    buf_free(&out);
    dfa = re_dfa_new(set, 1000, 200);
    if (dfa == NULL) {
        if (re_failed(set, NULL) == 0) {
            abort();
        }

        return;
    }

    at = re_dfa_state(dfa, &item, 1);

    for (i = 0, d = re; i <= len && at >= 0; i++) {
        in = re_nullable(set, d);

        if (re_failed(set, NULL) != 0) {
            break;
        }

        if (in != !re_nullable(set, not )
            || in != (re_dfa_get(dfa, at)->n_accepts == 1)
            || (in && none == RE_YES)
            || (at == RE_DFA_DEAD && re_is_none(set, d, 200) == RE_NO)) {
            abort();
        }

        if (i < len) {
            d = re_deriv(set, d, (uint8_t) s[i]);
            not = re_deriv(set, not, (uint8_t) s[i]);
            at = re_dfa_next(dfa, at, (uint8_t) s[i]);

            if (re_failed(set, NULL) != 0) {
                break;
            }
        }
    }

    re_dfa_free(dfa);
}


#include "t/fuzz/replay.h"
