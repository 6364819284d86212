/*
 * Numbers as regular expressions, see re.h: bounds by recursion over their
 * digits, both sides met as an intersection.  The owner of the set is the
 * only thread here; digits are in an array on the stack.
 */

#include <errno.h>
#include <stdio.h>
#include "engine/grammar/re_priv.h"

#define MAX_DIGITS 1100

/* |value|: n digits, the first whole of them before the point. */
typedef struct {
    char digits[MAX_DIGITS + 1];
    int  n, whole; /* whole >= 1; no zeros in front but a single 0; none */
    int  negative; /* at the end of the fraction */
    int  zero;
} dec_t;

typedef struct {
    re_set_t          *set;
    const re_number_t *n;
    re_t               digit, digits; /* one; any number of them */
    re_t               frac;          /* what may follow whole digits */
    char              *err;
    size_t             err_size;
} num_t;

static int  dec_read(num_t *c, str_t s, dec_t *d);
static int  dec_place(num_t *c, dec_t *d, long exp);
static int  fails(num_t *c, int rc, const char *msg);
static re_t from(num_t *c, const dec_t *d, int open);
static re_t up_to(num_t *c, const dec_t *d, int open);
static re_t at_least(num_t *c, const dec_t *d, int open);
static re_t at_most(num_t *c, const dec_t *d, int open);
static re_t fraction(num_t *c, const dec_t *d, int open, int less);
static re_t digit_range(num_t *c, char lo, char hi, re_t tail);
static re_t minus(num_t *c, re_t a);
static re_t any(num_t *c, int zero, int exponent);
static int  multiple(num_t *c, re_t *r);


int
re_number(re_set_t *set, const re_number_t *n, re_t *re, char *err,
          size_t err_size)
{
    num_t c = {.set = set, .n = n, .err = err, .err_size = err_size};
    dec_t d;
    re_t  r, m, zeros;
    int   exponent, free_;

    c.digit = re_byte_range(set, '0', '9');
    c.digits = re_repeat(set, c.digit, 0, RE_INF);
    zeros = re_repeat(set, re_str(set, "0"), 1, RE_INF);
    c.frac = RE_EMPTY;

    if (!(n->flags & RE_NUMBER_INTEGER)) {
        c.frac = re_or(set, RE_EMPTY,
                       re_run(set, ".", 1, re_repeat(set, c.digit, 1, RE_INF)));

    } else if (n->flags & RE_NUMBER_FRACTION) {
        c.frac = re_or(set, RE_EMPTY, re_run(set, ".", 1, zeros));
    }

    exponent = n->flags & RE_NUMBER_EXPONENT && n->multiple.s == NULL;
    free_ = exponent;
    r = RE_ALL;

    if (n->min.s) {
        LLM_TRY(dec_read(&c, n->min, &d));
        free_ &= d.zero;
        r = from(&c, &d, n->min_open);
    }

    if (n->max.s) {
        LLM_TRY(dec_read(&c, n->max, &d));
        free_ &= d.zero;
        r = re_and(set, r, up_to(&c, &d, n->max_open));
    }

    if (free_) {

        /* Only the sign is bounded, and an exponent does not change it. */

        m = re_or(set, any(&c, 1, 1), minus(&c, any(&c, 1, 1)));

        if (n->min.s) {
            r = re_or(set, n->min_open ? any(&c, 0, 1) : any(&c, 1, 1),
                      n->min_open ? RE_NONE
                                  : minus(&c, re_minus(set, any(&c, 1, 1),
                                                       any(&c, 0, 1))));
            m = re_and(set, m, r);
        }

        if (n->max.s) {
            r = re_or(set,
                      minus(&c, n->max_open ? any(&c, 0, 1) : any(&c, 1, 1)),
                      n->max_open
                          ? RE_NONE
                          : re_minus(set, any(&c, 1, 1), any(&c, 0, 1)));
            m = re_and(set, m, r);
        }

        r = m;

    } else if (r == RE_ALL) {
        r = re_or(set, any(&c, 1, 0), minus(&c, any(&c, 1, 0)));
    }

    if (n->multiple.s) {
        LLM_TRY(multiple(&c, &m));
        r = re_and(set, r, m);
    }

    *re = r;

    if (re_failed(set, NULL) != 0) {
        return fails(&c, re_failed(set, NULL), "a number range is too large");
    }

    return 0;
}


static int
fails(num_t *c, int rc, const char *msg)
{
    if (c->err_size) {
        snprintf(c->err, c->err_size, "%s", msg);
    }

    return rc;
}


/* A JSON number, written out. */
static int
dec_read(num_t *c, str_t s, dec_t *d)
{
    size_t i = 0;
    long   exp, e;
    int    sign, point, digits;

    memset(d, 0, sizeof(*d));
    exp = 0;
    digits = 0;

    if (i < s.len && s.s[i] == '-') {
        d->negative = 1;
        i++;
    }

    for (point = 0; i < s.len; i++) {
        if (s.s[i] == '.' && !point && digits) {
            point = 1;
            continue;
        }

        if (s.s[i] < '0' || s.s[i] > '9') {
            break;
        }

        digits = 1;
        exp -= point;

        if (d->n == 0 && s.s[i] == '0') {
            continue;
        }

        if (d->n == MAX_DIGITS) {
            return fails(c, -E2BIG, "a number has too many digits");
        }

        d->digits[d->n++] = s.s[i];
    }

    if (!digits) {
        return fails(c, -EINVAL, "not a number");
    }

    if (i < s.len && (s.s[i] == 'e' || s.s[i] == 'E')) {
        sign = 1;

        if (++i < s.len && (s.s[i] == '+' || s.s[i] == '-')) {
            sign = s.s[i++] == '-' ? -1 : 1;
        }

        for (e = 0, digits = 0; i < s.len && s.s[i] >= '0' && s.s[i] <= '9';
             i++) {
            digits = 1;
            e = e < 100000 ? e * 10 + s.s[i] - '0' : e;
        }

        if (!digits) {
            return fails(c, -EINVAL, "not a number");
        }

        exp += sign * e;
    }

    if (i != s.len) {
        return fails(c, -EINVAL, "not a number");
    }

    return dec_place(c, d, exp);
}


/* digits[n] times 10^exp with a point in its place. */
static int
dec_place(num_t *c, dec_t *d, long exp)
{
    long pad;

    while (d->n > 0 && d->digits[d->n - 1] == '0') {
        d->n--;
        exp++;
    }

    if (d->n == 0) {
        d->zero = 1;
        d->digits[0] = '0';
        d->n = d->whole = 1;
        d->negative = 0;
        return 0;
    }

    /* Zeros in front so that there is a whole digit, or at the end. */

    pad = exp < 0 && -exp >= d->n ? -exp - d->n + 1 : exp > 0 ? exp : 0;

    if (d->n + pad > MAX_DIGITS) {
        return fails(c, -E2BIG, "a number has too many digits");
    }

    if (exp > 0) {
        memset(d->digits + d->n, '0', (size_t) pad);

    } else {
        memmove(d->digits + pad, d->digits, (size_t) d->n);
        memset(d->digits, '0', (size_t) pad);
    }

    d->n += (int) pad;
    d->whole = exp >= 0 ? d->n : d->n + (int) exp;

    return 0;
}


/* Values from d on (after it, if open). */
static re_t
from(num_t *c, const dec_t *d, int open)
{
    if (d->negative) {
        return re_or(c->set, any(c, 1, 0), minus(c, at_most(c, d, open)));
    }

    return re_or(c->set, at_least(c, d, open),
                 d->zero && !open ? minus(c, at_most(c, d, 0)) : RE_NONE);
}


static re_t
up_to(num_t *c, const dec_t *d, int open)
{
    if (d->negative) {
        return minus(c, at_least(c, d, open));
    }

    /* Below zero is all with a minus, but for -0. */

    return re_or(c->set, at_most(c, d, open),
                 minus(c, d->zero && open ? any(c, 0, 0) : any(c, 1, 0)));
}


/* Numbers without sign >= d. */
static re_t
at_least(num_t *c, const dec_t *d, int open)
{
    re_t r, rest;
    int  i;

    r = fraction(c, d, open, 0);

    for (i = d->whole - 1; i >= 0; i--) {
        rest =
            re_concat(c->set,
                      re_repeat(c->set, c->digit, (uint32_t) (d->whole - i) - 1,
                                (uint32_t) (d->whole - i) - 1),
                      c->frac);
        r = re_or(c->set, re_run(c->set, d->digits + i, 1, r),
                  digit_range(c, (char) (d->digits[i] + 1), '9', rest));
    }

    rest = re_concat(c->set,
                     re_repeat(c->set, c->digit, (uint32_t) d->whole, RE_INF),
                     c->frac);

    return re_or(c->set, r, digit_range(c, '1', '9', rest));
}


/* Numbers without sign <= d. */
static re_t
at_most(num_t *c, const dec_t *d, int open)
{
    re_t r, rest;
    int  i;

    r = fraction(c, d, open, 1);

    for (i = d->whole - 1; i >= 0; i--) {
        rest =
            re_concat(c->set,
                      re_repeat(c->set, c->digit, (uint32_t) (d->whole - i) - 1,
                                (uint32_t) (d->whole - i) - 1),
                      c->frac);
        r = re_or(c->set, re_run(c->set, d->digits + i, 1, r),
                  digit_range(c, i == 0 && d->whole > 1 ? '1' : '0',
                              (char) (d->digits[i] - 1), rest));
    }

    if (d->whole == 1) {
        return r;
    }

    rest = re_concat(c->set,
                     re_repeat(c->set, c->digit, 0, (uint32_t) d->whole - 2),
                     c->frac);
    r = re_or(c->set, r, digit_range(c, '1', '9', rest));

    return re_or(c->set, r, re_run(c->set, "0", 1, c->frac));
}


/* What may follow whole digits that are d's own. */
static re_t
fraction(num_t *c, const dec_t *d, int open, int less)
{
    re_t more, zeros, nonzero, r, end;
    int  i;

    if (c->n->flags & RE_NUMBER_INTEGER) {
        return d->n > d->whole ? (less ? c->frac : RE_NONE)
                               : (open ? RE_NONE : c->frac);
    }

    more = re_repeat(c->set, c->digit, 1, RE_INF);
    zeros = re_repeat(c->set, re_str(c->set, "0"), 0, RE_INF);
    nonzero = re_concat(c->set, zeros, digit_range(c, '1', '9', c->digits));

    /* After the last digit of d: the same value, or one above it. */

    r = less ? (open ? RE_NONE : zeros) : (open ? nonzero : c->digits);
    end = less ? (open ? RE_NONE : RE_EMPTY) : (open ? RE_NONE : RE_EMPTY);

    for (i = d->n - 1; i >= d->whole; i--) {
        r = re_or(
            c->set, re_run(c->set, d->digits + i, 1, r),
            less ? digit_range(c, '0', (char) (d->digits[i] - 1), c->digits)
                 : digit_range(c, (char) (d->digits[i] + 1), '9', c->digits));

        /* To end before it is to be less. */

        end = less ? RE_EMPTY : RE_NONE;
        r = re_or(c->set, r, i > d->whole ? end : RE_NONE);
    }

    /* A point is followed by a digit; without one the fraction is zero. */

    r = re_run(c->set, ".", 1, re_and(c->set, r, more));

    return re_or(c->set, r, end);
}


static re_t
digit_range(num_t *c, char lo, char hi, re_t tail)
{
    if (lo > hi || lo > '9' || hi < '0') {
        return RE_NONE;
    }

    return re_concat(c->set, re_byte_range(c->set, (uint8_t) lo, (uint8_t) hi),
                     tail);
}


static re_t
minus(num_t *c, re_t a)
{
    return re_run(c->set, "-", 1, a);
}


/* Numbers without sign; those above zero only unless zero. */
static re_t
any(num_t *c, int zero, int exponent)
{
    re_t whole, r, e, nonzero, point;

    whole =
        re_or(c->set, re_str(c->set, "0"), digit_range(c, '1', '9', c->digits));
    r = re_concat(c->set, whole, c->frac);

    if (exponent) {
        e = re_or(c->set, re_repeat(c->set, c->digit, 1, 2),
                  re_concat(c->set, digit_range(c, '0', '2', c->digit),
                            c->digit));
        point = c->n->flags & RE_NUMBER_INTEGER
                    ? re_str(c->set, "+")
                    : re_or(c->set, re_str(c->set, "+"), re_str(c->set, "-"));
        e = re_concat(c->set, re_repeat(c->set, point, 0, 1), e);
        e = re_concat(c->set,
                      re_or(c->set, re_str(c->set, "e"), re_str(c->set, "E")),
                      e);
        r = re_concat(c->set, r, re_or(c->set, RE_EMPTY, e));
    }

    if (zero) {
        return r;
    }

    /* A digit above zero before the exponent. */

    point = re_or(c->set, c->digit, re_str(c->set, "."));
    point = re_repeat(c->set, point, 0, RE_INF);
    nonzero = re_concat(c->set, point, digit_range(c, '1', '9', RE_ALL));

    return re_and(c->set, r, nonzero);
}


static int
multiple(num_t *c, re_t *r)
{
    uint64_t divisor;
    dec_t    d;
    int      i;

    LLM_TRY(dec_read(c, c->n->multiple, &d));

    if (d.zero || d.negative) {
        return fails(c, -EINVAL, "multipleOf must be above zero");
    }

    if (d.n - d.whole > 400) {
        return fails(c, -E2BIG, "multipleOf has too many digits");
    }

    for (i = 0, divisor = 0; i < d.n; i++) {
        if (divisor > 99999999999999999ull) {
            return fails(c, -E2BIG, "multipleOf has too many digits");
        }

        divisor = divisor * 10 + (uint64_t) (d.digits[i] - '0');
    }

    *r = re_remainder(c->set, divisor, (uint32_t) (d.n - d.whole));

    return 0;
}
