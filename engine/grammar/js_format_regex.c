/*
 * The format "regex" as a language.  Patterns of ECMA-262 nest, so theirs is
 * no regular language; this is the part of it (u-mode) with
 *
 *     groups and look-around no deeper than REGEX_DEPTH,
 *     ranges within classes between ASCII characters,
 *     counts {n} and {n,} of up to 4 digits, {n,m} with n below 100,
 *
 * and without back-references, named groups and \p{...}.  Each text of it is
 * a pattern.  Any thread; the set is the caller's.
 */

#include <stdio.h>
#include "engine/grammar/js_type.h"

#define REGEX_DEPTH 4

#define CONTROL "\\\\c[A-Za-z]"
#define HEX     "[0-9A-Fa-f]"
#define UNIT    "\\\\u(?:[0-9A-Ca-cE-Fe-f]" HEX "{3}|[Dd][0-7]" HEX "{2})"
#define LETTERS "\\\\[fnrtv]"
#define SYNTAX  "\\\\[\\^$\\\\.*+?()\\[\\]{}|/]"
#define ESCAPE                                                                 \
    "(?:" LETTERS "|" SYNTAX "|" CONTROL "|\\\\x" HEX "{2}|" UNIT              \
    "|\\\\[dDsSwW])"
#define PLAIN "[^\\^$\\\\.*+?()\\[\\]{}|]"

static re_t fre_of(re_set_t *set, const char *pattern);
static re_t fre_class(re_set_t *set);
static re_t fre_ranges(re_set_t *set);
static re_t fre_counts(re_set_t *set);


re_t
js_format_regex(re_set_t *set)
{
    re_t simple, count, inner = RE_EMPTY, list[4], ahead, group, close;
    int  depth;

    count = re_or(set, fre_of(set, "(?:[*+?]|\\{(?:0|[1-9][0-9]{0,3}),?\\})"),
                  fre_counts(set));
    count = re_concat(set, count, re_or(set, RE_EMPTY, re_str(set, "?")));
    count = re_or(set, RE_EMPTY, count);

    simple = re_or(set, fre_of(set, PLAIN "|\\.|" ESCAPE), fre_class(set));
    close = re_str(set, ")");

    for (depth = 0; depth <= REGEX_DEPTH; depth++) {
        list[0] = re_concat(set, simple, count);
        list[1] = fre_of(set, "\\^|\\$|\\||\\\\[bB]");
        list[2] = list[3] = RE_NONE;

        if (depth) {
            group = re_concat(set, fre_of(set, "\\((?:\\?:)?"), inner);
            group = re_concat(set, group, re_concat(set, close, count));
            ahead = re_concat(set, fre_of(set, "\\(\\?<?[=!]"), inner);

            list[2] = group;
            list[3] = re_concat(set, ahead, close);
        }

        inner = re_repeat(set, re_or_n(set, list, 4), 0, RE_INF);
    }

    return inner;
}


static re_t
fre_of(re_set_t *set, const char *pattern)
{
    char err[128];
    re_t re;

    return re_ecma_whole(set, pattern, strlen(pattern), &re, err, sizeof(err))
               ? RE_NONE
               : re;
}


/* A '-' that is no range's stands first or last. */
static re_t
fre_class(re_set_t *set)
{
    re_t item;

    item = re_or(set, fre_of(set, "[^\\\\\\]\\-\\^]|\\\\-|\\\\b|" ESCAPE),
                 fre_ranges(set));
    item = re_repeat(set, item, 0, RE_INF);
    item = re_concat(set, fre_of(set, "\\[\\^?-?"), item);

    return re_concat(set, item, fre_of(set, "-?\\]"));
}


/* From each character of ASCII that needs no escape to the same or later. */
static re_t
fre_ranges(re_set_t *set)
{
    static const char bare[] = "!\"#$%&'()*+,./0123456789:;<=>?@"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ[_`"
                               "abcdefghijklmnopqrstuvwxyz{|}~";
    char              text[2] = "?-";
    re_t              list[sizeof(bare) - 1], to;
    size_t            i, k;
    uint64_t          bytes[4];

    for (i = 0; i < sizeof(bare) - 1; i++) {
        memset(bytes, 0, sizeof(bytes));

        for (k = i; k < sizeof(bare) - 1; k++) {
            bytes[bare[k] / 64] |= 1ull << (bare[k] % 64);
        }

        to = re_class(set, bytes);
        text[0] = bare[i];
        list[i] = re_run(set, text, 2, to);
    }

    return re_or_n(set, list, sizeof(bare) - 1);
}


/* {n,m} with n <= m. */
static re_t
fre_counts(re_set_t *set)
{
    char text[128];
    re_t list[100];
    int  n;

    for (n = 0; n < 100; n++) {
        if (n < 10) {
            snprintf(text, sizeof(text), "\\{%d,(?:[%d-9]|[1-9][0-9]{1,3})\\}",
                     n, n);

        } else if (n % 10 == 9 && n < 90) {
            snprintf(text, sizeof(text),
                     "\\{%d,(?:%d|[%d-9][0-9]|[1-9][0-9]{2,3})\\}", n, n,
                     n / 10 + 1);

        } else if (n < 90) {
            snprintf(text, sizeof(text),
                     "\\{%d,(?:%d[%d-9]|[%d-9][0-9]|[1-9][0-9]{2,3})\\}", n,
                     n / 10, n % 10, n / 10 + 1);

        } else {
            snprintf(text, sizeof(text), "\\{%d,(?:9[%d-9]|[1-9][0-9]{2,3})\\}",
                     n, n % 10);
        }

        list[n] = fre_of(set, text);
    }

    return re_or_n(set, list, 100);
}
