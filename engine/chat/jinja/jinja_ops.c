/*
 * Python's operators: truth, equality, order, membership, arithmetic.
 * Integers have 64 bits; where Python's would grow beyond, the render fails.
 */

#include <math.h>

#include "jinja.h"


bool
jinja_truth(jinja_t *j, jinja_val_t v)
{
    switch (v.type) {
    case JINJA_MISSING:
    case JINJA_UNDEF:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return v.u.b;
    case JINJA_INT:
        return v.u.i != 0;
    case JINJA_FLOAT:
        return v.u.f != 0;
    case JINJA_STR:
        return v.u.s->len != 0;
    case JINJA_SEQ:
        return v.u.q->kind == JINJA_ITER || v.u.q->n != 0;
    case JINJA_DICT:
        return v.u.d->n != 0;
    default:
        return true;
    }
}


bool
jinja_is_num(jinja_val_t v)
{
    return v.type == JINJA_INT || v.type == JINJA_FLOAT || v.type == JINJA_BOOL;
}


bool
jinja_as_int(jinja_val_t v, int64_t *i)
{
    if (v.type != JINJA_INT && v.type != JINJA_BOOL) {
        return false;
    }

    *i = v.type == JINJA_INT ? v.u.i : v.u.b;

    return true;
}


double
jinja_as_double(jinja_val_t v)
{
    int64_t i = 0;

    return jinja_as_int(v, &i) ? (double) i : v.u.f;
}


int64_t
jinja_need_int(jinja_t *j, jinja_val_t v, const char *what)
{
    int64_t i = 0;

    if (!jinja_as_int(v, &i)) {
        if (v.type == JINJA_UNDEF) {
            jinja_undef_throw(j, v);
        }
        jinja_fail(j, "%s: '%s' object cannot be interpreted as an integer",
                   what, jinja_type_name(v));
    }

    return i;
}


const jinja_str_t *
jinja_need_str(jinja_t *j, jinja_val_t v, const char *what)
{
    if (v.type != JINJA_STR) {
        jinja_fail(j, "%s: expected a string, not '%s'", what,
                   jinja_type_name(v));
    }

    return v.u.s;
}


static long double
wide(jinja_val_t v)
{
    int64_t i = 0;

    return jinja_as_int(v, &i) ? (long double) i : (long double) v.u.f;
}


static bool
seq_eq(jinja_t *j, jinja_seq_t *a, jinja_seq_t *b)
{
    bool     eq = true;
    uint32_t i;

    if (a == b) {
        return true;
    }

    if (a->kind != b->kind || a->n != b->n || a->kind == JINJA_ITER
        || a->kind == JINJA_VALUES) {
        return false;
    }

    jinja_enter(j);

    for (i = 0; eq && i < a->n; i++) {
        eq = jinja_eq(j, a->v[i], b->v[i]);
    }

    jinja_leave(j);

    return eq;
}


static bool
dict_eq(jinja_t *j, jinja_dict_t *a, jinja_dict_t *b)
{
    bool         eq = true;
    uint32_t     i;
    jinja_val_t *v;

    if (a == b) {
        return true;
    }

    if (a->n != b->n) {
        return false;
    }

    jinja_enter(j);

    for (i = 0; eq && i < a->n; i++) {
        v = jinja_dict_get(j, b, a->keys[i]);
        eq = v && jinja_eq(j, a->vals[i], *v);
    }

    jinja_leave(j);

    return eq;
}


/* The same object, as Python's `is` for what templates can compare. */

bool
jinja_same(jinja_val_t a, jinja_val_t b)
{
    if (a.type != b.type) {
        return false;
    }

    switch (a.type) {
    case JINJA_NONE:
        return true;
    case JINJA_BOOL:
        return a.u.b == b.u.b;
    case JINJA_INT:
        return a.u.i == b.u.i;
    case JINJA_FLOAT:
        return false;
    case JINJA_STR:
        return jinja_str_eq(a.u.s, b.u.s);
    default:
        return a.u.q == b.u.q;
    }
}


bool
jinja_eq(jinja_t *j, jinja_val_t a, jinja_val_t b)
{
    jinja_step(j, 1);

    if (jinja_is_num(a) && jinja_is_num(b)) {
        return wide(a) == wide(b);
    }

    if (a.type != b.type) {
        return false;
    }

    switch (a.type) {
    case JINJA_UNDEF:
        return true;
    case JINJA_STR:
        if (a.u.s->len == b.u.s->len) {
            jinja_step(j, a.u.s->len / 64);
        }
        return jinja_str_eq(a.u.s, b.u.s);
    case JINJA_SEQ:
        return seq_eq(j, a.u.q, b.u.q);
    case JINJA_DICT:
        return dict_eq(j, a.u.d, b.u.d);
    default:
        return jinja_same(a, b);
    }
}


static void
cmp_fail(jinja_t *j, jinja_val_t a, jinja_val_t b, const char *op)
{
    if (a.type == JINJA_UNDEF) {
        jinja_undef_throw(j, a);
    }

    if (b.type == JINJA_UNDEF) {
        jinja_undef_throw(j, b);
    }

    jinja_fail(j, "'%s' not supported between instances of '%s' and '%s'", op,
               jinja_type_name(a), jinja_type_name(b));
}


/* < 0, 0, > 0; 2 if a NaN is among them.  op is for the error's text. */

int
jinja_cmp(jinja_t *j, jinja_val_t a, jinja_val_t b, const char *op)
{
    int          c = 0;
    uint32_t     i;
    long double  x, y;
    jinja_seq_t *p, *q;

    jinja_step(j, 1);

    if (jinja_is_num(a) && jinja_is_num(b)) {
        x = wide(a), y = wide(b);
        return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
    }

    if (a.type != b.type || (a.type != JINJA_STR && a.type != JINJA_SEQ)) {
        cmp_fail(j, a, b, op);
    }

    if (a.type == JINJA_STR) {
        jinja_step(j, (a.u.s->len + b.u.s->len) / 128);
        return jinja_str_cmp(a.u.s, b.u.s);
    }

    p = a.u.q, q = b.u.q;

    if (p->kind != q->kind || p->kind > JINJA_TUPLE) {
        cmp_fail(j, a, b, op);
    }

    jinja_enter(j);

    for (i = 0; i < p->n && i < q->n; i++) {
        if (!jinja_eq(j, p->v[i], q->v[i])) {
            c = jinja_cmp(j, p->v[i], q->v[i], op);
            break;
        }
    }

    jinja_leave(j);

    if (i < p->n && i < q->n) {
        return c;
    }

    return p->n < q->n ? -1 : p->n > q->n;
}


bool
jinja_lt(jinja_t *j, jinja_val_t a, jinja_val_t b)
{
    return jinja_cmp(j, a, b, "<") == -1;
}


bool
jinja_in(jinja_t *j, jinja_val_t a, jinja_val_t b)
{
    jinja_seq_t *q;

    if (b.type == JINJA_STR) {
        if (a.type != JINJA_STR) {
            jinja_fail(j,
                       "'in <string>' requires string as left operand, not %s",
                       jinja_type_name(a));
        }
        return jinja_str_find(j, b.u.s, a.u.s, 0, b.u.s->len, false) >= 0;
    }

    if (b.type == JINJA_DICT) {
        if (!jinja_hashable(a)) {
            jinja_fail(j, "unhashable type: '%s'", jinja_type_name(a));
        }
        return jinja_dict_get(j, b.u.d, a) != NULL;
    }

    if (!jinja_iterable(b)) {
        jinja_fail(j, "argument of type '%s' is not iterable",
                   jinja_type_name(b));
    }

    q = jinja_iter(j, b);

    while (q->pos < q->n) {
        if (jinja_eq(j, q->v[q->pos++], a)) {
            return true;
        }
    }

    return false;
}


static jinja_val_t
repeat(jinja_t *j, jinja_val_t v, int64_t n)
{
    int64_t      i;
    uint32_t     k;
    jinja_buf_t  b = {0};
    jinja_seq_t *q;
    jinja_val_t  r;

    if (v.type == JINJA_STR) {
        if (n > 1 && v.u.s->len > j->max_output / (size_t) n) {
            jinja_throw(j, -E2BIG, "line %u: a repeated text is too long",
                        (unsigned) j->line);
        }

        for (i = 0; v.u.s->len && i < n; i++) {
            jinja_buf_str(j, &b, v.u.s);
            jinja_step(j, 1);
        }

        r = jinja_buf_end(j, &b);
        ((jinja_str_t *) r.u.s)->markup = v.u.s->markup;
        return r;
    }

    q = jinja_seq_new(j, v.u.q->kind, 0, v.u.q->trusted);

    for (i = 0; v.u.q->n && i < n; i++) {
        for (k = 0; k < v.u.q->n; k++) {
            jinja_seq_add(j, q, v.u.q->v[k]);
        }
    }

    return jinja_seq(q);
}


static bool
repeats(jinja_val_t v)
{
    return v.type == JINJA_STR
           || (v.type == JINJA_SEQ && v.u.q->kind <= JINJA_TUPLE);
}


static int64_t
floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;

    return q - (a % b != 0 && (a < 0) != (b < 0));
}


static jinja_val_t
power_int(jinja_t *j, int64_t a, int64_t b, bool trusted)
{
    int64_t r = 1;
    bool    over = false;

    if (b < 0) {
        if (a == 0) {
            jinja_fail(j, "0.0 cannot be raised to a negative power");
        }
        return jinja_float(pow((double) a, (double) b), trusted);
    }

    while (b > 0 && !over) {
        if (b & 1) {
            over = __builtin_mul_overflow(r, a, &r);
        }
        b >>= 1;
        if (b > 0) {
            over = over || __builtin_mul_overflow(a, a, &a);
        }
    }

    if (over) {
        jinja_fail(j, "the integer does not fit 64 bits");
    }

    return jinja_int(r, trusted);
}


static jinja_val_t
int_op(jinja_t *j, char op, int64_t a, int64_t b, bool t)
{
    int64_t r = 0;
    bool    over = false;

    switch (op) {
    case '+':
        over = __builtin_add_overflow(a, b, &r);
        break;
    case '-':
        over = __builtin_sub_overflow(a, b, &r);
        break;
    case '*':
        over = __builtin_mul_overflow(a, b, &r);
        break;
    case '^':
        return power_int(j, a, b, t);
    default:
        if (b == 0) {
            jinja_fail(j, "division by zero");
        }
        if (op == '/') {
            return jinja_float((double) ((long double) a / b), t);
        }
        over = a == INT64_MIN && b == -1;
        if (!over) {
            r = op == 'd' ? floor_div(a, b) : a - floor_div(a, b) * b;
        }
    }

    if (over) {
        jinja_fail(j, "the integer does not fit 64 bits");
    }

    return jinja_int(r, t);
}


static double
float_mod(double a, double b)
{
    double r = fmod(a, b);

    if (r != 0 && (r < 0) != (b < 0)) {
        return r + b;
    }

    return r != 0 ? r : copysign(0.0, b);
}


static jinja_val_t
float_op(jinja_t *j, char op, double a, double b, bool t)
{
    double r;

    switch (op) {
    case '+':
        return jinja_float(a + b, t);
    case '-':
        return jinja_float(a - b, t);
    case '*':
        return jinja_float(a * b, t);
    case '^':
        if (a == 0 && b < 0) {
            jinja_fail(j, "0.0 cannot be raised to a negative power");
        }
        if (a < 0 && isfinite(b) && b != floor(b)) {
            jinja_fail(j, "complex numbers are not supported");
        }
        r = pow(a, b);
        if (isinf(r) && isfinite(a) && isfinite(b)) {
            jinja_fail(j, "Numerical result out of range");
        }
        return jinja_float(r, t);
    }

    if (b == 0) {
        jinja_fail(j, "float division by zero");
    }

    if (op == '/') {
        return jinja_float(a / b, t);
    }

    r = float_mod(a, b);
    if (op == '%') {
        return jinja_float(r, t);
    }

    r = (a - r) / b;
    r = r != 0 ? floor(r + 0.5) : copysign(0.0, a / b);

    return jinja_float(r, t);
}


static jinja_val_t
add_seq(jinja_t *j, jinja_seq_t *a, jinja_seq_t *b)
{
    jinja_seq_t *q = jinja_seq_new(j, a->kind, (size_t) a->n + b->n,
                                   a->trusted && b->trusted);

    jinja_step(j, (uint64_t) a->n + b->n);

    if (a->n) {
        memcpy(q->v, a->v, a->n * sizeof(jinja_val_t));
    }

    if (b->n) {
        memcpy(q->v + a->n, b->v, b->n * sizeof(jinja_val_t));
    }

    q->n = a->n + b->n;

    return jinja_seq(q);
}


static _Noreturn void
op_fail(jinja_t *j, char op, jinja_val_t a, jinja_val_t b)
{
    if (a.type == JINJA_UNDEF) {
        jinja_undef_throw(j, a);
    }

    if (b.type == JINJA_UNDEF) {
        jinja_undef_throw(j, b);
    }

    if (op == '+' && a.type == JINJA_STR) {
        jinja_fail(j, "can only concatenate str (not \"%s\") to str",
                   jinja_type_name(b));
    }

    jinja_fail(j, "unsupported operand type(s) for %s: '%s' and '%s'",
               op == '^'   ? "**"
               : op == 'd' ? "//"
                           : (char[2]){op, 0},
               jinja_type_name(a), jinja_type_name(b));
}


/* op: + - * / % and d for //, ^ for ** */

jinja_val_t
jinja_binary(jinja_t *j, char op, jinja_val_t a, jinja_val_t b)
{
    int64_t x = 0, y = 0;

    if (op == '%' && a.type == JINJA_STR) {
        return jinja_percent(j, a.u.s, b);
    }

    if (jinja_is_num(a) && jinja_is_num(b)) {
        bool t = a.trusted && b.trusted;

        if (jinja_as_int(a, &x) && jinja_as_int(b, &y)) {
            return int_op(j, op, x, y, t);
        }
        return float_op(j, op, jinja_as_double(a), jinja_as_double(b), t);
    }

    if (op == '+' && a.type == JINJA_STR && b.type == JINJA_STR) {
        return jinja_val_str(jinja_str_concat(j, a.u.s, b.u.s));
    }

    if (op == '+' && a.type == JINJA_SEQ && b.type == JINJA_SEQ
        && a.u.q->kind == b.u.q->kind && a.u.q->kind <= JINJA_TUPLE) {
        return add_seq(j, a.u.q, b.u.q);
    }

    if (op == '*' && repeats(a) && jinja_as_int(b, &y)) {
        return repeat(j, a, y);
    }

    if (op == '*' && repeats(b) && jinja_as_int(a, &x)) {
        return repeat(j, b, x);
    }

    op_fail(j, op, a, b);
}


jinja_val_t
jinja_unary(jinja_t *j, char op, jinja_val_t a)
{
    int64_t i = 0;

    if (a.type == JINJA_FLOAT) {
        return jinja_float(op == '-' ? -a.u.f : a.u.f, a.trusted);
    }

    if (jinja_as_int(a, &i)) {
        return op == '-' ? int_op(j, '-', 0, i, a.trusted)
                         : jinja_int(i, a.trusted);
    }

    if (a.type == JINJA_UNDEF) {
        jinja_undef_throw(j, a);
    }

    jinja_fail(j, "bad operand type for unary %c: '%s'", op,
               jinja_type_name(a));
}
