/*
 * Types: scalars as languages, see jt_priv.h.  What a schema says about
 * null, true and false, about strings, about numbers: a boolean combination
 * of what its keywords say, worked out once for each atom and kind.
 *
 * Strings of an enum are kept as words as long as they can be: what else is
 * said about them is asked of each one.
 */

#include <errno.h>
#include "engine/grammar/js_format.h"
#include "engine/grammar/jt_priv.h"

static void jt_lang_all(jt_t *jt, int kind, jt_lang_t *lang);
static void jt_lang_nothing(jt_lang_t *lang);
static int  jt_lang_atom(jt_t *jt, jt_atom_t *atom, int kind, jt_lang_t *lang);
static int  jt_lang_node(jt_t *jt, jt_atom_t *atom, int kind, jt_lang_t *lang);
static int  jt_lang_leaf(jt_t *jt, jt_atom_t *atom, int kind, jt_lang_t *lang);
static int  jt_lang_keyword(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k,
                            int kind, jt_lang_t *lang);
static int  jt_lang_any(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k,
                        int kind, jt_lang_t *lang);
static int  jt_lang_one(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k,
                        int kind, jt_lang_t *lang);
static int  jt_lang_if(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k,
                       int kind, jt_lang_t *lang);
static int  jt_lang_sub(jt_t *jt, const jt_atom_t *atom, const js_node_t *node,
                        int kind, const jt_lang_t **lang);
static int  jt_lang_value(jt_t *jt, const js_value_t *value, int kind,
                          jt_lang_t *lang);
static int  jt_lang_values(jt_t *jt, const js_value_t *list, int kind,
                           jt_lang_t *lang);
static int  jt_lang_apart(jt_t *jt, int kind, const jt_lang_t *a,
                          const jt_lang_t *b);
static int  jt_words_keep(jt_t *jt, jt_lang_t *lang, re_t re, int in);
static int  jt_words_re(jt_t *jt, jt_lang_t *lang);
static int  jt_string_leaf(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k,
                           jt_lang_t *lang);
static int  jt_format(jt_t *jt, const jt_atom_t *atom, const js_keyword_t *k,
                      re_t *re);
static int  jt_format_gap(jt_t *jt, const js_keyword_t *k, re_t *gap);

static const unsigned jt_lang_kinds[JT_LANGS] = {JT_K_NULL | JT_K_BOOL,
                                                 JT_K_STRING, JT_K_NUMBER};


static void
jt_lang_nothing(jt_lang_t *lang)
{
    *lang = (jt_lang_t){0};
}


static void
jt_lang_all(jt_t *jt, int kind, jt_lang_t *lang)
{
    jt_lang_nothing(lang);

    switch (kind) {
    case JT_LITERALS:
        lang->bits = JT_NULL | JT_TRUE | JT_FALSE;
        break;

    case JT_STRINGS:
        lang->re = lang->base = RE_TEXT;
        lang->max = RE_INF;
        break;

    default:
        lang->simple = 1;
    }
}


/* Trivially so. */
int
jt_lang_none(int kind, const jt_lang_t *a)
{
    if (kind == JT_LITERALS) {
        return a->bits == 0;
    }

    return !a->simple && a->re == RE_NONE && a->possible == RE_NONE
           && a->gap == RE_NONE;
}


int
jt_lang(jt_t *jt, uint32_t a, int kind, const jt_lang_t **out)
{
    jt_atom_t       *atom = jt->atoms[a];
    jt_lang_t       *lang;
    const js_node_t *at;
    int              rc;

    *out = atom->lang[kind];

    if (atom->state[kind] == 2) {
        return 0;
    }

    if (atom->state[kind] == 1) {
        return jt_fail(jt, -ELOOP,
                       atom->kind == JT_ATOM_NODE ? atom->node : NULL, NULL,
                       "a reference leads to itself");
    }

    if (jt->nesting > JT_NESTING) {
        return jt_fail(jt, -E2BIG, NULL, NULL, "schemas are nested too deeply");
    }

    lang = jt_get(jt, sizeof(jt_lang_t));
    if (lang == NULL) {
        return jt->rc;
    }

    at = jt->at;
    jt->at = atom->kind == JT_ATOM_NODE ? atom->node : at;
    jt->nesting++;
    atom->state[kind] = 1;
    rc = jt_lang_atom(jt, atom, kind, lang);
    jt->nesting--;
    jt->at = at;
    atom->state[kind] = 0;
    LLM_TRY(rc);
    LLM_TRY(jt->rc);
    atom->state[kind] = 2;
    atom->lang[kind] = *out = lang;

    return 0;
}


static int
jt_lang_atom(jt_t *jt, jt_atom_t *atom, int kind, jt_lang_t *lang)
{
    switch (atom->kind) {
    case JT_ATOM_VALUE:
        return jt_lang_value(jt, atom->value, kind, lang);

    case JT_ATOM_TYPE:
        return jt_lang_type(jt, atom->scope, kind, lang);

    default:
        return jt_lang_node(jt, atom, kind, lang);
    }
}


/* Positive ones first: what is taken off can then be asked of words. */
int
jt_lang_type(jt_t *jt, jt_type_t type, int kind, jt_lang_t *lang)
{
    const jt_def_t  *def = jt->types[type];
    const jt_lang_t *one;
    uint32_t         i, negative;

    if (type == JT_NOTHING) {
        jt_lang_nothing(lang);
        return 0;
    }

    jt_lang_all(jt, kind, lang);

    for (negative = 0; negative < 2; negative++) {
        for (i = 0; i < def->n && !jt_lang_none(kind, lang); i++) {
            if ((def->lits[i] & 1) != negative) {
                continue;
            }

            if (negative
                && (jt_mask(jt, def->lits[i] >> 1) & jt_lang_kinds[kind])
                       == 0) {
                continue;
            }

            LLM_TRY(jt_lang(jt, def->lits[i] >> 1, kind, &one));
            LLM_TRY(negative ? jt_lang_minus(jt, kind, lang, one)
                             : jt_lang_and(jt, kind, lang, one));
        }
    }

    return jt->rc;
}


static int
jt_lang_node(jt_t *jt, jt_atom_t *atom, int kind, jt_lang_t *lang)
{
    const js_node_t *node = atom->node;
    uint32_t         i;

    jt_lang_all(jt, kind, lang);

    if (node->boolean) {
        if (!node->truth) {
            jt_lang_nothing(lang);
        }

        return 0;
    }

    LLM_TRY(jt_lang_leaf(jt, atom, kind, lang));

    for (i = 0; i < node->n && !jt_lang_none(kind, lang); i++) {
        LLM_TRY(jt_lang_keyword(jt, atom, &node->keywords[i], kind, lang));
    }

    return jt->rc;
}


/* What the node says without other schemas. */
static int
jt_lang_leaf(jt_t *jt, jt_atom_t *atom, int kind, jt_lang_t *lang)
{
    const js_node_t    *node = atom->node;
    const js_keyword_t *k;
    jt_lang_t           one;
    unsigned            bits;
    uint32_t            i;

    k = js_node_get(node, JS_KW_TYPE);

    if (k && kind == JT_LITERALS) {
        bits = (k->count >> JS_NULL & 1 ? JT_NULL : 0)
               | (k->count >> JS_BOOLEAN & 1 ? JT_TRUE | JT_FALSE : 0);
        lang->bits &= bits;
    }

    if (k && kind == JT_STRINGS && (k->count >> JS_STRING & 1) == 0) {
        jt_lang_nothing(lang);
        return 0;
    }

    if (kind == JT_NUMBERS) {
        LLM_TRY(jt_number_leaf(jt, atom, lang));
    }

    for (i = 0; i < node->n && !jt_lang_none(kind, lang); i++) {
        k = &node->keywords[i];

        if (k->kw == JS_KW_CONST) {
            LLM_TRY(jt_lang_value(jt, k->value, kind, &one));
            LLM_TRY(jt_lang_and(jt, kind, lang, &one));

        } else if (k->kw == JS_KW_ENUM) {
            LLM_TRY(jt_lang_values(jt, k->value, kind, &one));
            LLM_TRY(jt_lang_and(jt, kind, lang, &one));

        } else if (kind == JT_STRINGS) {
            LLM_TRY(jt_string_leaf(jt, atom, k, lang));
        }
    }

    return 0;
}


static int
jt_string_leaf(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k,
               jt_lang_t *lang)
{
    jt_lang_t one = {.base = RE_TEXT, .max = RE_INF};
    uint32_t  n;

    n = k->count > RE_INF - 1 ? RE_INF - 1 : (uint32_t) k->count;

    switch (k->kw) {
    case JS_KW_MIN_LENGTH:
        one.min = n;
        one.re = re_length(jt->re, n, RE_INF);
        break;

    case JS_KW_MAX_LENGTH:
        if (k->count >= RE_INF) {
            return 0;
        }

        one.max = n;
        one.re = re_length(jt->re, 0, n);
        break;

    case JS_KW_PATTERN:
        LLM_TRY(jt_pattern(jt, atom, k, 0, &one.re));
        break;

    case JS_KW_FORMAT:
        if (jt->options.formats_off && !atom->node->resource->assert_format) {
            return 0;
        }

        LLM_TRY(jt_format(jt, atom, k, &one.re));
        LLM_TRY(jt_format_gap(jt, k, &one.gap));
        break;

    default:
        return 0;
    }

    if (k->kw == JS_KW_PATTERN || k->kw == JS_KW_FORMAT) {
        one.base = one.re;
    }

    return jt_lang_and(jt, JT_STRINGS, lang, &one);
}


int
jt_pattern(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k, uint32_t i,
           re_t *re)
{
    const js_value_t *v = k->value;
    char              err[160] = "";
    str_t             s;
    re_t             *slot = &atom->pattern;
    int               rc;

    s = js_str(v);

    if (k->kw != JS_KW_PATTERN) {
        if (atom->patterns == NULL) {
            atom->patterns = jt_get(jt, k->n * sizeof(re_t));

            if (atom->patterns == NULL) {
                return jt->rc;
            }
        }

        slot = &atom->patterns[i];
        s = (str_t){v->items[i].key, v->items[i].key_len};
        v = &v->items[i];
    }

    if (*slot == RE_NONE) {
        rc = re_ecma(jt->re, s.s, s.len, slot, err, sizeof(err));

        if (rc < 0) {
            return jt_fail(jt, rc, atom->node, k, "%s", err);
        }
    }

    *re = *slot;

    return 0;
}


static int
jt_format(jt_t *jt, const jt_atom_t *atom, const js_keyword_t *k, re_t *re)
{
    char err[160] = "";
    int  rc;

    if (k->count >= llm_countof(jt->formats)) {
        return jt_fail(jt, -ENOTSUP, atom->node, k, "not known");
    }

    if (jt->formats[k->count] == RE_NONE) {
        rc = js_format_re(jt->re, (int) k->count, &jt->formats[k->count], err,
                          sizeof(err));

        if (rc < 0) {
            return jt_fail(jt, rc, atom->node, k, "%s", err);
        }
    }

    *re = jt->formats[k->count];

    return 0;
}


/*
 * Formats that are no regular languages: what js_format_re() leaves out of
 * them lies in these.
 */
static int
jt_format_gap(jt_t *jt, const js_keyword_t *k, re_t *gap)
{
    static const struct {
        const char *name;
        const char *pattern;
    } gaps[] = {{"hostname",
                 "^(?:[0-9A-Za-z\\-.]*\\.)?[xX][nN]--[0-9A-Za-z\\-.]*$"},
                {"regex", ""}};
    char   err[80];
    size_t i;

    *gap = RE_NONE;

    for (i = 0; i < llm_countof(gaps); i++) {
        if (js_format_find(str_of(gaps[i].name)) == (int) k->count) {
            if (re_ecma(jt->re, gaps[i].pattern, strlen(gaps[i].pattern), gap,
                        err, sizeof(err))
                < 0) {
                return jt_fail(jt, -ENOTSUP, NULL, NULL, "%s", err);
            }

            /* Of the first js_format_re() has none of these anyway. */

            if (i >= 1) {
                *gap = re_minus(jt->re, *gap, jt->formats[k->count]);
            }
        }
    }

    return 0;
}


static int
jt_lang_value(jt_t *jt, const js_value_t *value, int kind, jt_lang_t *lang)
{
    jt_lang_nothing(lang);

    switch (value->type) {
    case JS_NULL:
        lang->bits = kind == JT_LITERALS ? JT_NULL : 0;
        return 0;

    case JS_BOOLEAN:
        if (kind == JT_LITERALS) {
            lang->bits = value->truth ? JT_TRUE : JT_FALSE;
        }

        return 0;

    case JS_NUMBER:
        if (kind == JT_NUMBERS) {
            lang->simple = 1;
            lang->bounds.min = lang->bounds.max = value;
        }

        return 0;

    case JS_STRING:
        if (kind == JT_STRINGS) {
            lang->words = jt_get(jt, sizeof(value));
            LLM_TRY(jt->rc);
            lang->words[0] = value;
            lang->n_words = 1;
            return jt_words_re(jt, lang);
        }
    }

    return 0;
}


static int
jt_lang_values(jt_t *jt, const js_value_t *list, int kind, jt_lang_t *lang)
{
    jt_lang_t one;
    uint32_t  i, n = 0;

    if (kind == JT_STRINGS) {
        jt_lang_nothing(lang);
        lang->words = jt_get(jt, list->n * sizeof(list));
        LLM_TRY(jt->rc);

        for (i = 0; i < list->n; i++) {
            if (list->items[i].type == JS_STRING) {
                lang->words[lang->n_words++] = &list->items[i];
            }
        }

        return jt_words_re(jt, lang);
    }

    jt_lang_nothing(lang);

    for (i = 0; i < list->n; i++) {
        if (kind == JT_NUMBERS && list->items[i].type != JS_NUMBER) {
            continue;
        }

        LLM_TRY(jt_lang_value(jt, &list->items[i], kind, &one));

        if (n++ == 0) {
            *lang = one;

        } else if (kind == JT_LITERALS) {
            lang->bits |= one.bits;

        } else {
            LLM_TRY(jt_lang_or(jt, kind, lang, &one));
        }
    }

    return 0;
}


static int
jt_words_re(jt_t *jt, jt_lang_t *lang)
{
    uint32_t i;
    re_t    *list;

    if (lang->n_words == 0) {
        lang->re = lang->base = RE_NONE;
        return 0;
    }

    list = jt_get(jt, lang->n_words * sizeof(re_t));
    if (list == NULL) {
        return jt->rc;
    }

    for (i = 0; i < lang->n_words; i++) {
        list[i] =
            re_run(jt->re, lang->words[i]->s, lang->words[i]->n, RE_EMPTY);
    }

    lang->re = lang->base = re_or_n(jt->re, list, lang->n_words);
    lang->min = 0;
    lang->max = RE_INF;

    return 0;
}


/* Only the words that are (not) in re. */
static int
jt_words_keep(jt_t *jt, jt_lang_t *lang, re_t re, int in)
{
    const js_value_t **words;
    uint32_t           i, n = 0;

    words = jt_get(jt, lang->n_words * sizeof(*words));
    if (words == NULL) {
        return jt->rc;
    }

    for (i = 0; i < lang->n_words; i++) {
        if (re_match(jt->re, re, lang->words[i]->s, lang->words[i]->n) == in) {
            words[n++] = lang->words[i];
        }
    }

    if (n == lang->n_words) {
        return 0;
    }

    lang->words = words;
    lang->n_words = n;

    return jt_words_re(jt, lang);
}


/* Of min to max characters, too. */
static void
jt_lang_length(jt_t *jt, jt_lang_t *lang, uint32_t min, uint32_t max)
{
    lang->min = min > lang->min ? min : lang->min;
    lang->max = max < lang->max ? max : lang->max;

    if (lang->min > lang->max || lang->base == RE_NONE) {
        *lang = (jt_lang_t){0};
        return;
    }

    lang->re = lang->base;

    if (lang->min > 0 || lang->max < RE_INF) {
        lang->re = re_length(jt->re, lang->min, lang->max);

        if (lang->base != RE_TEXT) {
            lang->re = re_and(jt->re, lang->base, lang->re);
        }
    }
}


int
jt_lang_and(jt_t *jt, int kind, jt_lang_t *a, const jt_lang_t *b)
{
    jt_lang_t other, own;
    re_t      gap;

    if (kind == JT_LITERALS) {
        a->bits &= b->bits;
        return 0;
    }

    if (kind == JT_STRINGS) {
        if (b->re == RE_TEXT || a->re == RE_NONE) {
            return 0;
        }

        if (a->re == RE_TEXT || b->re == RE_NONE) {
            *a = *b;
            return 0;
        }

        gap = RE_NONE;

        if (a->gap != RE_NONE || b->gap != RE_NONE) {
            gap = re_and(jt->re, re_or(jt->re, a->re, a->gap),
                         re_or(jt->re, b->re, b->gap));
            gap = re_minus(jt->re, gap, re_and(jt->re, a->re, b->re));
        }

        if (a->words || b->words) {
            own = a->words ? *a : *b;
            other = a->words ? *b : *a;
            *a = own;
            a->gap = gap;
            return jt_words_keep(jt, a, other.re, 1);
        }

        a->base = b->base == RE_TEXT   ? a->base
                  : a->base == RE_TEXT ? b->base
                                       : re_and(jt->re, a->base, b->base);
        a->gap = gap;
        jt_lang_length(jt, a, b->min, b->max);
        return 0;
    }

    if (a->simple && b->simple && jt_bounds_and(a, b)) {
        return 0;
    }

    other = *b;
    LLM_TRY(jt_number_open(jt, a));
    LLM_TRY(jt_number_open(jt, &other));
    a->re = re_and(jt->re, a->re, other.re);
    a->sure = re_and(jt->re, a->sure, other.sure);
    a->possible = re_and(jt->re, a->possible, other.possible);

    return 0;
}


int
jt_lang_minus(jt_t *jt, int kind, jt_lang_t *a, const jt_lang_t *b)
{
    jt_lang_t other;

    if (kind == JT_LITERALS) {
        a->bits &= ~b->bits;
        return 0;
    }

    if (jt_lang_none(kind, b) || jt_lang_none(kind, a)) {
        return 0;
    }

    if (kind == JT_STRINGS) {
        if (b->gap != RE_NONE
            && re_is_none(jt->re,
                          re_and(jt->re, re_or(jt->re, a->re, a->gap), b->gap),
                          JT_NONE_STEPS)
                   != RE_YES) {
            return jt_fail(jt, -ENOTSUP, NULL, NULL,
                           "format: hostname or regex cannot be negated here");
        }

        if (a->gap != RE_NONE) {
            a->gap = re_minus(jt->re, a->gap, b->re);
        }

        if (a->words) {
            return jt_words_keep(jt, a, b->re, 0);
        }

        /* Lengths are cut off as numbers where one side is left. */

        if (b->re == RE_TEXT) {
            jt_lang_nothing(a);

        } else if (b->base == RE_TEXT && b->min == 0) {
            jt_lang_length(jt, a, b->max + 1, RE_INF);

        } else if (b->base == RE_TEXT && b->max == RE_INF) {
            jt_lang_length(jt, a, 0, b->min - 1);

        } else {
            a->base = re_minus(jt->re, a->base, b->re);
            jt_lang_length(jt, a, 0, RE_INF);
        }

        return 0;
    }

    other = *b;
    LLM_TRY(jt_number_open(jt, a));
    LLM_TRY(jt_number_open(jt, &other));
    a->re = re_minus(jt->re, a->re, other.re);
    a->sure = re_minus(jt->re, a->sure, other.possible);
    a->possible = re_minus(jt->re, a->possible, other.sure);

    return 0;
}


int
jt_lang_or(jt_t *jt, int kind, jt_lang_t *a, const jt_lang_t *b)
{
    const js_value_t **words;
    jt_lang_t          other;

    if (kind == JT_LITERALS) {
        a->bits |= b->bits;
        return 0;
    }

    if (jt_lang_none(kind, b)) {
        return 0;
    }

    if (jt_lang_none(kind, a)) {
        *a = *b;
        return 0;
    }

    if (kind == JT_STRINGS) {
        words = NULL;

        if (a->words && b->words) {
            words = jt_get(jt, (a->n_words + b->n_words) * sizeof(*words));
            LLM_TRY(jt->rc);
            memcpy(words, a->words, a->n_words * sizeof(*words));
            memcpy(words + a->n_words, b->words, b->n_words * sizeof(*words));
        }

        a->words = words;
        a->n_words += b->n_words;
        a->re = a->base = re_or(jt->re, a->re, b->re);
        a->gap = re_or(jt->re, a->gap, b->gap);
        a->min = 0;
        a->max = RE_INF;
        return 0;
    }

    other = *b;
    LLM_TRY(jt_number_open(jt, a));
    LLM_TRY(jt_number_open(jt, &other));
    a->re = re_or(jt->re, a->re, other.re);
    a->sure = re_or(jt->re, a->sure, other.sure);
    a->possible = re_or(jt->re, a->possible, other.possible);

    return 0;
}


/* 1 if the two surely have no value in common. */
static int
jt_lang_apart(jt_t *jt, int kind, const jt_lang_t *a, const jt_lang_t *b)
{
    jt_lang_t x = *a, y = *b;

    if (kind == JT_LITERALS) {
        return (a->bits & b->bits) == 0;
    }

    if (kind == JT_NUMBERS
        && (jt_number_open(jt, &x) < 0 || jt_number_open(jt, &y) < 0)) {
        return 0;
    }

    if (kind == JT_STRINGS) {
        x.re = re_or(jt->re, x.re, x.gap);
        y.re = re_or(jt->re, y.re, y.gap);
    }

    return re_disjoint(jt->re, x.re, y.re, 500) == RE_YES;
}


static int
jt_lang_sub(jt_t *jt, const jt_atom_t *atom, const js_node_t *node, int kind,
            const jt_lang_t **lang)
{
    static const jt_lang_t nothing;
    uint32_t               a = jt_atom_node(jt, atom->scope, node);

    LLM_TRY(jt->rc);

    if ((jt_mask(jt, a) & jt_lang_kinds[kind]) == 0) {
        *lang = &nothing;
        return 0;
    }

    return jt_lang(jt, a, kind, lang);
}


static int
jt_lang_keyword(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k, int kind,
                jt_lang_t *lang)
{
    const jt_lang_t *one;
    uint32_t         i, target;

    switch (k->kw) {
    case JS_KW_REF:
    case JS_KW_RECURSIVE_REF:
    case JS_KW_DYNAMIC_REF:
        LLM_TRY(jt_target(jt, atom, k, &target));
        LLM_TRY(jt_lang(jt, target, kind, &one));

        return jt_lang_and(jt, kind, lang, one);

    case JS_KW_ALL_OF:
        for (i = 0; i < k->n && !jt_lang_none(kind, lang); i++) {
            LLM_TRY(jt_lang_sub(jt, atom, k->nodes[i], kind, &one));
            LLM_TRY(jt_lang_and(jt, kind, lang, one));
        }

        return 0;

    case JS_KW_ANY_OF:
        return jt_lang_any(jt, atom, k, kind, lang);

    case JS_KW_ONE_OF:
        return jt_lang_one(jt, atom, k, kind, lang);

    case JS_KW_NOT:
        LLM_TRY(jt_lang_sub(jt, atom, k->node, kind, &one));

        return jt_lang_minus(jt, kind, lang, one);

    case JS_KW_IF:
        return jt_lang_if(jt, atom, k, kind, lang);
    }

    return 0;
}


static int
jt_lang_any(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k, int kind,
            jt_lang_t *lang)
{
    const jt_lang_t *one;
    jt_lang_t        any;
    uint32_t         i;

    jt_lang_nothing(&any);

    for (i = 0; i < k->n; i++) {
        LLM_TRY(jt_lang_sub(jt, atom, k->nodes[i], kind, &one));
        LLM_TRY(jt_lang_or(jt, kind, &any, one));
    }

    return jt_lang_and(jt, kind, lang, &any);
}


/* Values of exactly one, and of any, of the schemas so far. */
static int
jt_lang_one(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k, int kind,
            jt_lang_t *lang)
{
    const jt_lang_t *next;
    jt_lang_t        one, any, more;
    uint32_t         i;

    jt_lang_nothing(&one);
    jt_lang_nothing(&any);

    for (i = 0; i < k->n; i++) {
        LLM_TRY(jt_lang_sub(jt, atom, k->nodes[i], kind, &next));

        if (jt_lang_none(kind, next)) {
            continue;
        }

        if (!jt_lang_none(kind, &any) && !jt_lang_apart(jt, kind, &any, next)) {
            more = *next;
            LLM_TRY(jt_lang_minus(jt, kind, &more, &any));
            LLM_TRY(jt_lang_minus(jt, kind, &one, next));
            LLM_TRY(jt_lang_or(jt, kind, &one, &more));

        } else {
            LLM_TRY(jt_lang_or(jt, kind, &one, next));
        }

        LLM_TRY(jt_lang_or(jt, kind, &any, next));
    }

    return jt_lang_and(jt, kind, lang, &one);
}


static int
jt_lang_if(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k, int kind,
           jt_lang_t *lang)
{
    const js_keyword_t *then, *other;
    const jt_lang_t    *test, *one;
    jt_lang_t           yes = *lang, no = *lang;

    then = js_node_get(atom->node, JS_KW_THEN);
    other = js_node_get(atom->node, JS_KW_ELSE);

    if (then == NULL && other == NULL) {
        return 0;
    }

    LLM_TRY(jt_lang_sub(jt, atom, k->node, kind, &test));
    LLM_TRY(jt_lang_and(jt, kind, &yes, test));
    LLM_TRY(jt_lang_minus(jt, kind, &no, test));

    if (then && !jt_lang_none(kind, &yes)) {
        LLM_TRY(jt_lang_sub(jt, atom, then->node, kind, &one));
        LLM_TRY(jt_lang_and(jt, kind, &yes, one));
    }

    if (other && !jt_lang_none(kind, &no)) {
        LLM_TRY(jt_lang_sub(jt, atom, other->node, kind, &one));
        LLM_TRY(jt_lang_and(jt, kind, &no, one));
    }

    *lang = yes;

    return jt_lang_or(jt, kind, lang, &no);
}


int
jt_names(jt_t *jt, uint32_t atom, int exact, re_t *re)
{
    const jt_lang_t *lang;

    LLM_TRY(jt_lang(jt, atom, JT_STRINGS, &lang));

    if (exact && lang->gap != RE_NONE) {
        return jt_fail(jt, -ENOTSUP, NULL, NULL,
                       "format: hostname or regex cannot be negated here");
    }

    *re = lang->re;

    return 0;
}
