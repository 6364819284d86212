/*
 * A choice of texts as an expression of a program.  Whoever compiles is the
 * only thread here; nothing of the list is kept.
 */

#include <errno.h>
#include <stdio.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/js_value.h"

#define MAX_CHOICES 100000
#define MAX_BYTES   (4u << 20)

static int choice_fail(int rc, char *err, size_t err_size, const char *msg);


int
gr_choice(gr_t *gr, const str_t *list, size_t n, gr_node_t *node, char *err,
          size_t err_size)
{
    const char *msg;
    size_t      i, at, k, total;
    re_t       *all;
    uint32_t    cp;
    int         rc;

    if (n == 0) {
        return choice_fail(-EINVAL, err, err_size, "a choice of nothing");
    }

    for (i = 0, total = 0; i < n && i < MAX_CHOICES && total <= MAX_BYTES;
         i++) {
        total += list[i].len;
    }

    if (i < n || total > MAX_BYTES) {
        return choice_fail(-E2BIG, err, err_size, "too many choices");
    }

    all = arena_get(gr_arena(gr), n * sizeof(re_t));
    if (all == NULL) {
        return choice_fail(-ENOMEM, err, err_size, "no memory for choices");
    }

    for (i = 0; i < n; i++) {
        for (at = 0; at < list[i].len; at += k) {
            k = js_utf8(list[i].s + at, list[i].s + list[i].len, &cp);

            if (k == 0) {
                return choice_fail(-EINVAL, err, err_size,
                                   "a choice is not UTF-8");
            }
        }

        all[i] = re_run(gr_re(gr), list[i].s, list[i].len, RE_EMPTY);
    }

    *node = gr_text(gr, re_or_n(gr_re(gr), all, n));
    (void) gr_check_time(gr);
    rc = gr_failed(gr, &msg);

    return rc ? choice_fail(rc, err, err_size, msg) : 0;
}


static int
choice_fail(int rc, char *err, size_t err_size, const char *msg)
{
    if (err_size) {
        snprintf(err, err_size, "%s", msg);
    }

    return rc;
}
