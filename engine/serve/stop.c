/*
 * Stop strings in a choice's held text.  io thread.
 *
 * What is found is what a search after every single byte would find: the
 * match that ends first, of those that end together the longest.  So the text
 * of an answer does not depend on how it is cut into tokens.
 */

#include "engine/serve/serve.h"


/*
 * A stop string that ends behind the first `from` bytes of the held text,
 * which were searched before: 1, and where it begins.
 */

int
stop_find(const req_t *r, const choice_t *c, size_t from, size_t *at)
{
    const str_t *stop;
    uint32_t     i;
    size_t       start, end, best = SIZE_MAX;
    char        *p;

    for (i = 0; i < r->request.n_stops; i++) {
        stop = &r->request.stops[i];
        start = from >= stop->len ? from - stop->len + 1 : 0;

        if (c->held.len < start + stop->len) {
            continue;
        }

        p = memmem(c->held.data + start, c->held.len - start, stop->s,
                   stop->len);
        if (p == NULL) {
            continue;
        }

        start = (size_t) (p - c->held.data);
        end = start + stop->len;

        if (end < best || (end == best && start < *at)) {
            best = end;
            *at = start;
        }
    }

    return best != SIZE_MAX;
}


/* Bytes at the end of the held text that a stop string could begin with. */

size_t
stop_hold(const req_t *r, const choice_t *c)
{
    const str_t *stop;
    uint32_t     i;
    size_t       n, hold = 0;

    for (i = 0; i < r->request.n_stops; i++) {
        stop = &r->request.stops[i];
        n = stop->len - 1 < c->held.len ? stop->len - 1 : c->held.len;

        for (; n > hold; n--) {
            if (memcmp(c->held.data + c->held.len - n, stop->s, n) == 0) {
                hold = n;
            }
        }
    }

    return hold;
}
