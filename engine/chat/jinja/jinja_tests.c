/*
 * Tests: `is defined`, `is string`, ... and their use by select().
 */

#include <math.h>

#include "jinja.h"

#define TEST(name)                                                             \
    static jinja_val_t name(jinja_t *j, jinja_val_t self,                      \
                            const jinja_val_t *v, const jinja_args_t *args)

#define TYPE_TEST(name, cond)                                                  \
    TEST(name)                                                                 \
    {                                                                          \
        return jinja_bool(cond);                                               \
    }

TYPE_TEST(t_defined, self.type != JINJA_UNDEF)
TYPE_TEST(t_undefined, self.type == JINJA_UNDEF)
TYPE_TEST(t_none, self.type == JINJA_NONE)
TYPE_TEST(t_boolean, self.type == JINJA_BOOL)
TYPE_TEST(t_true, self.type == JINJA_BOOL && self.u.b)
TYPE_TEST(t_false, self.type == JINJA_BOOL && !self.u.b)
TYPE_TEST(t_integer, self.type == JINJA_INT)
TYPE_TEST(t_float, self.type == JINJA_FLOAT)
TYPE_TEST(t_number, jinja_is_num(self))
TYPE_TEST(t_string, self.type == JINJA_STR)
TYPE_TEST(t_mapping, self.type == JINJA_DICT)
TYPE_TEST(t_iterable, jinja_iterable(self))
TYPE_TEST(t_escaped, self.type == JINJA_STR && self.u.s->markup)
TYPE_TEST(t_sameas, jinja_same(self, v[0]))
TYPE_TEST(t_in, jinja_in(j, self, v[0]))
TYPE_TEST(t_eq, jinja_eq(j, self, v[0]))
TYPE_TEST(t_ne, !jinja_eq(j, self, v[0]))
TYPE_TEST(t_gt, jinja_cmp(j, self, v[0], ">") == 1)
TYPE_TEST(t_lt, jinja_cmp(j, self, v[0], "<") == -1)


TEST(t_ge)
{
    int c = jinja_cmp(j, self, v[0], ">=");

    return jinja_bool(c == 1 || c == 0);
}


TEST(t_le)
{
    int c = jinja_cmp(j, self, v[0], "<=");

    return jinja_bool(c == -1 || c == 0);
}


/* What has a length and items by number or key. */

TEST(t_sequence)
{
    switch (self.type) {
    case JINJA_STR:
    case JINJA_DICT:
        return jinja_bool(true);
    case JINJA_SEQ:
        return jinja_bool(self.u.q->kind <= JINJA_RANGE);
    case JINJA_UNDEF:
        return jinja_bool(true);
    default:
        return jinja_bool(false);
    }
}


TEST(t_callable)
{
    return jinja_bool(self.type == JINJA_UNDEF || self.type == JINJA_FUNC
                      || self.type == JINJA_METHOD || self.type == JINJA_MACRO
                      || self.type == JINJA_LOOP || self.type == JINJA_JOINER);
}


static jinja_val_t
remainder_is(jinja_t *j, jinja_val_t self, jinja_val_t by, int64_t want)
{
    jinja_val_t r;

    if (self.type == JINJA_STR) {
        r = jinja_percent(j, self.u.s, by);
        return jinja_bool(jinja_eq(j, r, jinja_int(want, true)));
    }

    r = jinja_binary(j, '%', self, by);

    return jinja_bool(jinja_eq(j, r, jinja_int(want, true)));
}


TEST(t_odd)
{
    return remainder_is(j, self, jinja_int(2, true), 1);
}


TEST(t_even)
{
    return remainder_is(j, self, jinja_int(2, true), 0);
}


TEST(t_divisibleby)
{
    return remainder_is(j, self, v[0], 0);
}


static jinja_val_t
all_case(jinja_t *j, jinja_val_t self, bool upper)
{
    bool               any = false;
    size_t             i;
    uint32_t           cp;
    const jinja_str_t *s = jinja_to_str(j, self);

    for (i = 0; i < s->len;) {
        i += jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        if (upper ? jinja_is_lower(cp) : jinja_is_upper(cp)) {
            return jinja_bool(false);
        }
        any = any || (upper ? jinja_is_upper(cp) : jinja_is_lower(cp));
    }

    jinja_step(j, s->len / 16);

    return jinja_bool(any);
}


TEST(t_lower)
{
    return all_case(j, self, false);
}


TEST(t_upper)
{
    return all_case(j, self, true);
}


TEST(t_filter)
{
    return jinja_bool(
        self.type == JINJA_STR
        && (jinja_filter_find(self.u.s) || jinja_filter_known(self.u.s)));
}


TEST(t_test)
{
    return jinja_bool(self.type == JINJA_STR && jinja_test_find(self.u.s));
}


static const jinja_def_t tests[] = {
    {"odd", "", t_odd},
    {"even", "", t_even},
    {"divisibleby", "num", t_divisibleby},
    {"defined", "", t_defined},
    {"undefined", "", t_undefined},
    {"filter", "", t_filter},
    {"test", "", t_test},
    {"none", "", t_none},
    {"boolean", "", t_boolean},
    {"false", "", t_false},
    {"true", "", t_true},
    {"integer", "", t_integer},
    {"float", "", t_float},
    {"lower", "", t_lower},
    {"upper", "", t_upper},
    {"string", "", t_string},
    {"mapping", "", t_mapping},
    {"number", "", t_number},
    {"sequence", "", t_sequence},
    {"iterable", "", t_iterable},
    {"callable", "/", t_callable},
    {"sameas", "other", t_sameas},
    {"escaped", "", t_escaped},
    {"in", "seq", t_in},
    {"==", "/other", t_eq},
    {"eq", "/other", t_eq},
    {"equalto", "/other", t_eq},
    {"!=", "/other", t_ne},
    {"ne", "/other", t_ne},
    {">", "/other", t_gt},
    {"gt", "/other", t_gt},
    {"greaterthan", "/other", t_gt},
    {"ge", "/other", t_ge},
    {">=", "/other", t_ge},
    {"<", "/other", t_lt},
    {"lt", "/other", t_lt},
    {"lessthan", "/other", t_lt},
    {"<=", "/other", t_le},
    {"le", "/other", t_le},
    {NULL, NULL, NULL},
};


const jinja_def_t *
jinja_test_find(const jinja_str_t *name)
{
    return jinja_def_find(tests, name->text, name->len);
}
