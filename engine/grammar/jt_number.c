/*
 * Types: languages of numbers, see jt_priv.h.  As long as there is nothing
 * but bounds, they are kept as bounds, which are compared as decimals.
 *
 * Spellings without an exponent are decided exactly.  With one they are not
 * regular in general: two languages hem them in, those that surely are in
 * the set and those that possibly are.
 */

#include <errno.h>
#include "engine/grammar/jt_priv.h"

static int jt_bounds_re(jt_t *jt, const jt_bounds_t *b, int exponent, re_t *re);
static int jt_bounds_open(const jt_bounds_t *b);
static int jt_bounds_void(const jt_bounds_t *b);
static const js_value_t *jt_bounds_spelling(const jt_bounds_t *b);
static int               jt_exponents(jt_t *jt);


/* What the keywords on numbers of a node say. */
int
jt_number_leaf(jt_t *jt, const jt_atom_t *atom, jt_lang_t *lang)
{
    const js_node_t    *node = atom->node;
    const js_keyword_t *k;
    jt_lang_t           one;
    uint32_t            i;

    k = js_node_get(node, JS_KW_TYPE);

    if (k && (k->count >> JS_NUMBER & 1) == 0) {
        if ((k->count & JS_TYPE_INTEGER) == 0) {
            *lang = (jt_lang_t){0};
            return 0;
        }

        lang->bounds.integer = node->resource->draft == JS_DRAFT_4 ? 2 : 1;
    }

    for (i = 0; i < node->n; i++) {
        k = &node->keywords[i];
        one = (jt_lang_t){.simple = 1};

        switch (k->kw) {
        case JS_KW_MINIMUM:
        case JS_KW_EXCLUSIVE_MINIMUM:
            one.bounds.min = k->value;
            one.bounds.min_open = k->kw == JS_KW_EXCLUSIVE_MINIMUM;
            break;

        case JS_KW_MAXIMUM:
        case JS_KW_EXCLUSIVE_MAXIMUM:
            one.bounds.max = k->value;
            one.bounds.max_open = k->kw == JS_KW_EXCLUSIVE_MAXIMUM;
            break;

        case JS_KW_MULTIPLE_OF:
            one.bounds.multiple = k->value;
            break;

        default:
            continue;
        }

        if (jt_lang_and(jt, JT_NUMBERS, lang, &one) < 0) {
            return jt->rc;
        }
    }

    return 0;
}


/* 1: a has become both; 0: cannot be said by bounds. */
int
jt_bounds_and(jt_lang_t *a, const jt_lang_t *b)
{
    jt_bounds_t       *x = &a->bounds;
    const jt_bounds_t *y = &b->bounds;
    int                order;

    if (x->multiple && y->multiple
        && js_decimal_compare(x->multiple->decimal, y->multiple->decimal)) {
        return 0;
    }

    if (y->multiple) {
        x->multiple = y->multiple;
    }

    if (y->integer > x->integer) {
        x->integer = y->integer;
    }

    if (y->min) {
        order =
            x->min ? js_decimal_compare(y->min->decimal, x->min->decimal) : 1;

        if (order > 0) {
            x->min = y->min;
            x->min_open = y->min_open;

        } else if (order == 0) {
            x->min_open |= y->min_open;
        }
    }

    if (y->max) {
        order =
            x->max ? js_decimal_compare(y->max->decimal, x->max->decimal) : -1;

        if (order < 0) {
            x->max = y->max;
            x->max_open = y->max_open;

        } else if (order == 0) {
            x->max_open |= y->max_open;
        }
    }

    if (jt_bounds_void(x)) {
        *a = (jt_lang_t){0};
    }

    return 1;
}


static int
jt_bounds_void(const jt_bounds_t *b)
{
    int order;

    if (b->min == NULL || b->max == NULL) {
        return 0;
    }

    order = js_decimal_compare(b->min->decimal, b->max->decimal);

    return order > 0 || (order == 0 && (b->min_open || b->max_open));
}


/* 1 if exponents are decided by them. */
static int
jt_bounds_open(const jt_bounds_t *b)
{
    return b->multiple == NULL && (b->min == NULL || b->min->decimal->n == 0)
           && (b->max == NULL || b->max->decimal->n == 0);
}


/* The one number that they leave, if it was spelt with an exponent. */
static const js_value_t *
jt_bounds_spelling(const jt_bounds_t *b)
{
    if (b->min == NULL || b->min != b->max || b->integer == 2
        || (b->integer && !js_decimal_integer(b->min->decimal))
        || (memchr(b->min->s, 'e', b->min->n) == NULL
            && memchr(b->min->s, 'E', b->min->n) == NULL)
        || (b->multiple
            && js_decimal_multiple(b->min->decimal, b->multiple->decimal)
                   != 1)) {
        return NULL;
    }

    return b->min;
}


static int
jt_bounds_re(jt_t *jt, const jt_bounds_t *b, int exponent, re_t *re)
{
    re_number_t n = {0};
    char        err[160] = "";
    re_t       *slot = NULL;
    int         rc;

    if (b->min == NULL && b->max == NULL && b->multiple == NULL) {
        slot = &jt->numbers[b->integer][exponent];

        if (*slot != RE_NONE) {
            *re = *slot;
            return 0;
        }
    }

    n.flags = (b->integer ? RE_NUMBER_INTEGER : 0)
              | (b->integer == 1 ? RE_NUMBER_FRACTION : 0)
              | (exponent && b->integer != 2 ? RE_NUMBER_EXPONENT : 0);

    if (b->min) {
        n.min = js_str(b->min);
        n.min_open = b->min_open;
    }

    if (b->max) {
        n.max = js_str(b->max);
        n.max_open = b->max_open;
    }

    if (b->multiple) {
        n.multiple = js_str(b->multiple);
    }

    rc = re_number(jt->re, &n, re, err, sizeof(err));

    if (rc < 0) {
        return jt_fail(jt, rc, NULL, NULL, "%s", err);
    }

    if (slot) {
        *slot = *re;
    }

    return 0;
}


static int
jt_exponents(jt_t *jt)
{
    jt_bounds_t b = {0};
    re_t        all, plain;

    if (jt->exponents == RE_NONE) {
        LLM_TRY(jt_bounds_re(jt, &b, 1, &all));
        LLM_TRY(jt_bounds_re(jt, &b, 0, &plain));
        jt->exponents = re_minus(jt->re, all, plain);
    }

    return 0;
}


int
jt_number_open(jt_t *jt, jt_lang_t *lang)
{
    jt_bounds_t       b = lang->bounds;
    const js_value_t *own;
    re_t              all;

    if (!lang->simple) {
        return 0;
    }

    LLM_TRY(jt_exponents(jt));
    *lang = (jt_lang_t){0};
    LLM_TRY(jt_bounds_re(jt, &b, 0, &lang->re));

    if (b.integer == 2) {
        return 0;
    }

    lang->possible = jt->exponents;

    if (jt_bounds_open(&b)) {
        LLM_TRY(jt_bounds_re(jt, &b, 1, &all));
        lang->sure = re_and(jt->re, all, jt->exponents);

        if (!b.integer) {
            lang->possible = lang->sure;
        }

        return 0;
    }

    own = jt_bounds_spelling(&b);

    if (own) {
        lang->sure = re_run(jt->re, own->s, own->n, RE_EMPTY);
    }

    return 0;
}


int
jt_number_re(jt_t *jt, const jt_lang_t *lang, re_t *re)
{
    const js_value_t *own;

    if (!lang->simple) {
        *re = re_or(jt->re, lang->re, lang->sure);
        return 0;
    }

    LLM_TRY(jt_bounds_re(jt, &lang->bounds, jt_bounds_open(&lang->bounds), re));
    own = jt_bounds_spelling(&lang->bounds);

    if (own && !jt_bounds_open(&lang->bounds)) {
        *re = re_or(jt->re, *re, re_run(jt->re, own->s, own->n, RE_EMPTY));
    }

    return 0;
}


/* One spelling of each value: no exponent, no zeros at the end, no -0. */
int
jt_number_values(jt_t *jt, re_t number, re_t *re)
{
    static const char shape[] =
        "-?[1-9][0-9]*(\\.[0-9]*[1-9])?|-?0\\.[0-9]*[1-9]|0";
    char err[80];

    *re = RE_NONE;

    if (number == RE_NONE) {
        return 0;
    }

    if (jt->canonical == RE_NONE) {
        LLM_TRY(re_ecma_whole(jt->re, shape, sizeof(shape) - 1, &jt->canonical,
                              err, sizeof(err)));
    }

    *re = re_and(jt->re, number, jt->canonical);

    return 0;
}
