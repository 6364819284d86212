/*
 * A regular expression as an expression of a program: ECMA-262's (u-mode),
 * the whole text, with other spellings of the same (re_ecma.h: ECMA_EXTRA).
 * \d, \w and \s are ECMA-262's whoever wrote the pattern.  Whoever
 * compiles is the only thread here; nothing of the source is kept.
 */

#include <errno.h>
#include <stdio.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/re_ecma.h"


int
gr_regex(gr_t *gr, const char *text, size_t len, gr_node_t *node, char *err,
         size_t err_size)
{
    const char *msg;
    re_t        re;
    int         rc;

    LLM_TRY(re_ecma_as(gr_re(gr), text, len, ECMA_EXTRA, &re, err, err_size));
    *node = gr_text(gr, re);
    (void) gr_check_time(gr);
    rc = gr_failed(gr, &msg);

    if (rc != 0 && err_size) {
        snprintf(err, err_size, "%s", msg);
    }

    return rc;
}
