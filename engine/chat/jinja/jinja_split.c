/*
 * The methods of Python's str that take it apart: split, rsplit, splitlines,
 * partition.  The pieces share the string's bytes.
 */

#include "jinja.h"


static bool
given(jinja_val_t v)
{
    return v.type != JINJA_MISSING && v.type != JINJA_NONE;
}


/* Splits at white space, at most max times (< 0: no limit). */

static jinja_val_t
split_space(jinja_t *j, const jinja_str_t *s, int64_t max)
{
    size_t       at = 0, from, n;
    uint32_t     cp;
    jinja_seq_t *q = jinja_seq_new(j, JINJA_LIST, 0, jinja_str_trusted(s));

    for (;;) {
        for (; at < s->len; at += n) {
            n = jinja_utf8_get(s->text + at, s->text + s->len, &cp);
            if (!jinja_is_space(cp)) {
                break;
            }
        }

        if (at >= s->len) {
            return jinja_seq(q);
        }

        from = at;

        if (max >= 0 && q->n >= max) {
            jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, from, s->len)));
            return jinja_seq(q);
        }

        for (; at < s->len; at += n) {
            n = jinja_utf8_get(s->text + at, s->text + s->len, &cp);
            if (jinja_is_space(cp)) {
                break;
            }
        }

        jinja_step(j, 1 + (at - from) / 32);
        jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, from, at)));
    }
}


/* From the end: the pieces come out in order all the same. */

static jinja_val_t
rsplit_space(jinja_t *j, const jinja_str_t *s, int64_t max)
{
    size_t       at = s->len, to, n;
    uint32_t     cp, i;
    jinja_val_t  t;
    jinja_seq_t *q = jinja_seq_new(j, JINJA_LIST, 0, jinja_str_trusted(s));

    for (;;) {
        for (; at > 0; at -= n) {
            n = jinja_utf8_prev(s->text, at, &cp);
            if (!jinja_is_space(cp)) {
                break;
            }
        }

        if (at == 0) {
            break;
        }

        to = at;

        if (max >= 0 && q->n >= max) {
            t = jinja_val_str(jinja_sub(j, s, 0, to));
            jinja_seq_add(j, q, t);
            break;
        }

        for (; at > 0; at -= n) {
            n = jinja_utf8_prev(s->text, at, &cp);
            if (jinja_is_space(cp)) {
                break;
            }
        }

        jinja_step(j, 1 + (to - at) / 32);
        jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, at, to)));
    }

    for (i = 0; i < q->n / 2; i++) {
        t = q->v[i];
        q->v[i] = q->v[q->n - 1 - i];
        q->v[q->n - 1 - i] = t;
    }

    return jinja_seq(q);
}


jinja_val_t
jinja_split(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
            const jinja_args_t *args)
{
    size_t             from = 0;
    int64_t            max = -1;
    ptrdiff_t          at;
    jinja_seq_t       *q;
    const jinja_str_t *s = self.u.s, *sep;

    if (v[1].type != JINJA_MISSING) {
        max = jinja_need_int(j, v[1], "split");
    }

    if (!given(v[0])) {
        return split_space(j, s, max);
    }

    sep = jinja_need_str(j, v[0], "split");
    if (sep->len == 0) {
        jinja_fail(j, "empty separator");
    }

    q = jinja_seq_new(j, JINJA_LIST, 0, jinja_str_trusted(s));

    while (max < 0 || q->n < max) {
        at = jinja_str_find(j, s, sep, from, s->len, false);
        if (at < 0) {
            break;
        }
        jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, from, (size_t) at)));
        from = (size_t) at + sep->len;
    }

    jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, from, s->len)));

    return jinja_seq(q);
}


jinja_val_t
jinja_rsplit(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
             const jinja_args_t *args)
{
    size_t             to = self.u.s->len;
    int64_t            max = -1;
    uint32_t           i;
    ptrdiff_t          at;
    jinja_seq_t       *q;
    jinja_val_t        t;
    const jinja_str_t *s = self.u.s, *sep;

    if (v[1].type != JINJA_MISSING) {
        max = jinja_need_int(j, v[1], "rsplit");
    }

    if (!given(v[0])) {
        return rsplit_space(j, s, max);
    }

    sep = jinja_need_str(j, v[0], "rsplit");
    if (sep->len == 0) {
        jinja_fail(j, "empty separator");
    }

    q = jinja_seq_new(j, JINJA_LIST, 0, jinja_str_trusted(s));

    while (max < 0 || q->n < max) {
        at = jinja_str_find(j, s, sep, 0, to, true);
        if (at < 0) {
            break;
        }
        jinja_seq_add(
            j, q, jinja_val_str(jinja_sub(j, s, (size_t) at + sep->len, to)));
        to = (size_t) at;
    }

    jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, 0, to)));

    for (i = 0; i < q->n / 2; i++) {
        t = q->v[i];
        q->v[i] = q->v[q->n - 1 - i];
        q->v[q->n - 1 - i] = t;
    }

    return jinja_seq(q);
}


jinja_val_t
jinja_splitlines(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                 const jinja_args_t *args)
{
    return jinja_seq(jinja_str_lines(j, self.u.s, jinja_truth(j, v[0])));
}


static jinja_val_t
partition(jinja_t *j, jinja_val_t self, jinja_val_t by, bool last)
{
    ptrdiff_t          at;
    jinja_seq_t       *q;
    const jinja_str_t *s = self.u.s, *sep = jinja_need_str(j, by, "partition");
    jinja_val_t        none;

    if (sep->len == 0) {
        jinja_fail(j, "empty separator");
    }

    q = jinja_seq_new(j, JINJA_TUPLE, 3, jinja_str_trusted(s));
    at = jinja_str_find(j, s, sep, 0, s->len, last);
    none = jinja_val_str(jinja_sub(j, s, 0, 0));

    if (at < 0) {
        jinja_seq_add(j, q, last ? none : self);
        jinja_seq_add(j, q, none);
        jinja_seq_add(j, q, last ? self : none);
        return jinja_seq(q);
    }

    /* the separator is the text's own, not the argument */
    jinja_seq_add(j, q, jinja_val_str(jinja_sub(j, s, 0, (size_t) at)));
    jinja_seq_add(j, q,
                  jinja_val_str(
                      jinja_sub(j, s, (size_t) at, (size_t) at + sep->len)));
    jinja_seq_add(
        j, q, jinja_val_str(jinja_sub(j, s, (size_t) at + sep->len, s->len)));

    return jinja_seq(q);
}


jinja_val_t
jinja_partition(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                const jinja_args_t *args)
{
    return partition(j, self, v[0], false);
}


jinja_val_t
jinja_rpartition(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                 const jinja_args_t *args)
{
    return partition(j, self, v[0], true);
}
