/*
 * Types: forms, raw and whole, see js_type.h and jt_priv.h.  A raw form is
 * made of the languages of its scalars and of the walk's shapes; what is left
 * of these when emptiness is known is the form.
 */

#include <errno.h>
#include "engine/grammar/jt_priv.h"

/* Raw forms that are made to make others. */
#define JT_RAWS 200

static int jt_raw_settle(jt_t *jt, jt_raw_t *raw);
static int jt_raw_make(jt_t *jt, jt_type_t type, jt_raw_t *raw);
static int jt_form_make(jt_t *jt, const jt_raw_t *raw, jt_form_t *form);


int
jt_raw(jt_t *jt, jt_type_t type, jt_raw_t **out)
{
    const js_node_t *at;
    jt_def_t        *def = jt->types[type];
    jt_raw_t        *raw;
    int              rc;

    *out = def->raw;

    if (def->raw && def->raw->unsure && !jt->quick) {
        LLM_TRY(jt_raw_settle(jt, def->raw));
    }

    if (def->raw || def->expanding) {
        return jt->rc;
    }

    LLM_TRY(jt->rc);

    if (gr_check_time(jt->gr) < 0) {
        return jt_fail(jt, -E2BIG, jt_place(jt, type), NULL,
                       "the schema takes too long to compile");
    }

    if (jt->raws > JT_RAWS) {
        return jt_fail(jt, -E2BIG, NULL, NULL,
                       "combinations of schemas are nested too deeply");
    }

    raw = jt_get(jt, sizeof(jt_raw_t));
    if (raw == NULL) {
        return jt->rc;
    }

    def->expanding = 1;
    jt->raws++;
    at = jt->at;
    jt->at = jt_place(jt, type) ? jt_place(jt, type) : at;
    rc = jt_raw_make(jt, type, raw);
    jt->at = at;
    jt->raws--;
    def->expanding = 0;
    LLM_TRY(rc);

    if (re_failed(jt->re, NULL) < 0) {
        return jt_fail(jt, re_failed(jt->re, NULL), NULL, NULL,
                       "the schema's expressions take too much work");
    }

    def->raw = *out = raw;

    return 0;
}


/* Languages without a text become RE_NONE; a quick look may leave that. */
static int
jt_raw_settle(jt_t *jt, jt_raw_t *raw)
{
    re_t *list[2] = {&raw->string, &raw->number};
    int   i, rc;

    raw->unsure = 0;

    for (i = 0; i < 2; i++) {
        if (*list[i] == RE_NONE) {
            continue;
        }

        if (jt->quick) {
            rc = re_is_none(jt->re, *list[i], JT_VOID_STEPS);
            raw->unsure |= rc == RE_UNKNOWN;
            rc = rc == RE_YES;

        } else {
            rc = jt_re_none(jt, *list[i]);
            LLM_TRY(rc);
        }

        if (rc) {
            *list[i] = RE_NONE;
        }
    }

    return 0;
}


static int
jt_raw_make(jt_t *jt, jt_type_t type, jt_raw_t *raw)
{
    jt_lang_t lang;
    unsigned  mask = jt_mask_type(jt, type);

    LLM_TRY(jt->rc);

    if (mask & (JT_K_NULL | JT_K_BOOL)) {
        LLM_TRY(jt_lang_type(jt, type, JT_LITERALS, &lang));
        raw->literals = lang.bits;
    }

    if (mask & JT_K_STRING) {
        LLM_TRY(jt_lang_type(jt, type, JT_STRINGS, &lang));
        raw->string = lang.re;
    }

    if (mask & JT_K_NUMBER) {
        LLM_TRY(jt_lang_type(jt, type, JT_NUMBERS, &lang));
        LLM_TRY(jt_number_re(jt, &lang, &raw->number));
    }

    LLM_TRY(jt_raw_settle(jt, raw));

    if (mask & JT_K_ARRAY) {
        LLM_TRY(jt_walk(jt, type, JS_ARRAY, raw));
    }

    if (mask & JT_K_OBJECT) {
        LLM_TRY(jt_walk(jt, type, JS_OBJECT, raw));
    }

    return jt->rc;
}


int
jt_form(jt_t *jt, jt_type_t type, const jt_form_t **form)
{
    jt_raw_t  *raw;
    jt_form_t *made;

    LLM_TRY(jt->rc);

    if (jt->types[type]->form == NULL) {
        LLM_TRY(jt_raw(jt, type, &raw));
        made = jt_get(jt, sizeof(jt_form_t));

        if (made == NULL) {
            return jt->rc;
        }

        LLM_TRY(jt_form_make(jt, raw, made));
        LLM_TRY(jt->rc);
        jt->types[type]->form = made;
    }

    *form = jt->types[type]->form;

    return 0;
}


static int
jt_form_make(jt_t *jt, const jt_raw_t *raw, jt_form_t *form)
{
    jt_array_t  *arrays;
    jt_object_t *objects;
    uint32_t     i;
    int          rc;

    form->literals = raw->literals;
    form->string = raw->string;
    form->number = raw->number;

    arrays = jt_get(jt, raw->n_arrays * sizeof(jt_array_t));
    objects = jt_get(jt, raw->n_objects * sizeof(jt_object_t));

    if (arrays == NULL || objects == NULL) {
        return jt->rc;
    }

    for (i = 0; i < raw->n_arrays; i++) {
        rc = jt_array_trim(jt, &raw->arrays[i], &arrays[form->n_arrays]);
        LLM_TRY(rc);
        form->n_arrays += (uint32_t) rc;
    }

    for (i = 0; i < raw->n_objects; i++) {
        rc = jt_object_trim(jt, &raw->objects[i], &objects[form->n_objects]);
        LLM_TRY(rc);
        form->n_objects += (uint32_t) rc;
    }

    form->arrays = arrays;
    form->objects = objects;

    return 0;
}


int
jt_re_none(jt_t *jt, re_t re)
{
    int rc = re_is_none(jt->re, re, JT_NONE_STEPS);

    if (rc == RE_UNKNOWN) {
        rc = re_failed(jt->re, NULL);

        return jt_fail(jt, rc < 0 ? rc : -E2BIG, NULL, NULL,
                       "a combination of patterns is too complex");
    }

    return rc == RE_YES;
}


int
jt_re_void(jt_t *jt, re_t re)
{
    return re_is_none(jt->re, re, JT_VOID_STEPS) == RE_YES;
}
