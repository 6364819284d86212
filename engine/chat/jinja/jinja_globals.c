/*
 * Global functions, and the attributes of what is not a string: dicts, lists,
 * loops, macros, namespaces, cyclers.
 */

#include <stdio.h>

#include "jinja_ast.h"

#define FN(name)                                                               \
    static jinja_val_t name(jinja_t *j, jinja_val_t self,                      \
                            const jinja_val_t *v, const jinja_args_t *args)

#define MAX_RANGE 100000


FN(g_range)
{
    int64_t      from = 0, to, step = 1, i, n;
    jinja_seq_t *q;
    bool         t = true;

    if (args->nkw || args->npos < 1 || args->npos > 3) {
        jinja_fail(j, "range expected 1 to 3 arguments");
    }

    for (i = 0; i < args->npos; i++) {
        (void) jinja_need_int(j, args->pos[i], "range");
        t = t && args->pos[i].trusted;
    }

    to = jinja_need_int(j, args->pos[args->npos > 1], "range");

    if (args->npos > 1) {
        from = jinja_need_int(j, args->pos[0], "range");
    }

    if (args->npos > 2) {
        step = jinja_need_int(j, args->pos[2], "range");
    }

    if (step == 0) {
        jinja_fail(j, "range() arg 3 must not be zero");
    }

    /* numbers beyond these make ranges that are too big anyway */
    if (from > INT64_MAX / 4 || from < INT64_MIN / 4 || to > INT64_MAX / 4
        || to < INT64_MIN / 4 || step > INT64_MAX / 4 || step < INT64_MIN / 4) {
        jinja_fail(j, "Range too big.");
    }

    n = step > 0 ? (to - from + step - 1) / step
                 : (from - to - step - 1) / -step;
    n = (step > 0 ? to > from : from > to) ? n : 0;

    if (n > MAX_RANGE) {
        jinja_fail(j,
                   "Range too big. The sandbox blocks ranges larger than "
                   "MAX_RANGE (%d).",
                   MAX_RANGE);
    }

    q = jinja_seq_new(j, JINJA_RANGE, (size_t) n, t);
    q->range[0] = from;
    q->range[1] = to;
    q->range[2] = step;

    for (i = 0; i < n; i++) {
        jinja_seq_add(j, q, jinja_int(from + i * step, t));
    }

    return jinja_seq(q);
}


/* What Python's dict(*args, **kwargs) makes. */

static jinja_dict_t *
dict_make(jinja_t *j, const jinja_args_t *args)
{
    uint32_t      i;
    jinja_seq_t  *q, *pair;
    jinja_dict_t *d = jinja_dict_new(j, 0, true), *from;

    if (args->npos > 1) {
        jinja_fail(j, "dict expected at most 1 argument, got %u",
                   (unsigned) args->npos);
    }

    if (args->npos && args->pos[0].type == JINJA_DICT) {
        from = args->pos[0].u.d;
        d->trusted = from->trusted;
        for (i = 0; i < from->n; i++) {
            jinja_dict_set(j, d, from->keys[i], from->vals[i]);
        }

    } else if (args->npos) {
        q = jinja_iter_list(j, args->pos[0]);
        d->trusted = q->trusted;
        for (i = 0; i < q->n; i++) {
            pair = jinja_iter_list(j, q->v[i]);
            if (pair->n != 2) {
                jinja_fail(j,
                           "dictionary update sequence element #%u has "
                           "length %u; 2 is required",
                           (unsigned) i, (unsigned) pair->n);
            }
            jinja_dict_set(j, d, pair->v[0], pair->v[1]);
        }
    }

    for (i = 0; i < args->nkw; i++) {
        jinja_dict_set(j, d, jinja_val_str(args->names[i]), args->kw[i]);
    }

    return d;
}


FN(g_dict)
{
    return jinja_dict(dict_make(j, args));
}


FN(g_namespace)
{
    uint32_t      i;
    jinja_dict_t *d = dict_make(j, args);

    for (i = 0; i < d->n; i++) {
        if (d->keys[i].type == JINJA_STR && d->keys[i].u.s->len
            && d->keys[i].u.s->text[0] == '_') {
            jinja_fail(j, "Chat templates cannot store underscore-prefixed "
                          "attributes on a namespace");
        }
    }

    return (jinja_val_t){.type = JINJA_NS, .u.d = d};
}


FN(g_cycler)
{
    uint32_t     i;
    jinja_seq_t *q = jinja_seq_new(j, JINJA_LIST, args->npos, true);

    if (args->npos == 0 || args->nkw) {
        jinja_fail(j, "at least one item has to be provided");
    }

    for (i = 0; i < args->npos; i++) {
        jinja_seq_add(j, q, args->pos[i]);
    }

    return (jinja_val_t){.type = JINJA_CYCLER, .u.q = q};
}


FN(g_joiner)
{
    jinja_seq_t *q = jinja_seq_new(j, JINJA_LIST, 2, true);

    jinja_seq_add(j, q, jinja_cstr(j, "", true));
    jinja_seq_add(
        j, q, v[0].type == JINJA_MISSING ? jinja_cstr(j, ", ", true) : v[0]);

    return (jinja_val_t){.type = JINJA_JOINER, .u.q = q};
}


/* The message alone is the error: it is meant for whoever sent the request. */

FN(g_raise_exception)
{
    const jinja_str_t *s = jinja_to_str(j, v[0]);

    jinja_throw(j, -EINVAL, "%.*s", s->len > 4096 ? 4096 : (int) s->len,
                s->text);
}


FN(g_strftime_now)
{
    char               fmt[256], *text;
    size_t             n;
    struct tm          tm;
    const jinja_str_t *s = jinja_need_str(j, v[0], "strftime_now");

    if (s->len >= sizeof(fmt) - 1 || memchr(s->text, 0, s->len)
        || localtime_r(&j->now, &tm) == NULL) {
        jinja_fail(j, "strftime_now: the format is too long");
    }

    /* a byte more, for a result of no bytes is an error's, too */
    memcpy(fmt, s->text, s->len);
    strcpy(fmt + s->len, ".");
    text = jinja_alloc(j, 1024);
    n = strftime(text, 1024, fmt, &tm);

    if (n == 0) {
        jinja_fail(j, "strftime_now: the result is too long");
    }

    return jinja_str(j, text, n - 1, jinja_str_trusted(s));
}


static const jinja_def_t globals[] = {
    {"range", NULL, g_range},
    {"dict", NULL, g_dict},
    {"namespace", NULL, g_namespace},
    {"cycler", NULL, g_cycler},
    {"joiner", "?sep", g_joiner},
    {"raise_exception", "message", g_raise_exception},
    {"strftime_now", "format", g_strftime_now},
    {NULL, NULL, NULL},
};


const jinja_def_t *
jinja_global_find(const jinja_str_t *name)
{
    return jinja_def_find(globals, name->text, name->len);
}


FN(d_items)
{
    return jinja_seq(jinja_dict_view(j, self.u.d, JINJA_ITEMS));
}


FN(d_keys)
{
    return jinja_seq(jinja_dict_view(j, self.u.d, JINJA_KEYS));
}


FN(d_values)
{
    return jinja_seq(jinja_dict_view(j, self.u.d, JINJA_VALUES));
}


FN(d_get)
{
    jinja_val_t *r;

    if (!jinja_hashable(v[0])) {
        jinja_fail(j, "unhashable type: '%s'", jinja_type_name(v[0]));
    }

    r = jinja_dict_get(j, self.u.d, v[0]);
    if (r) {
        return *r;
    }

    return v[1].type == JINJA_MISSING ? jinja_none() : v[1];
}


FN(d_copy)
{
    return self;
}


static const jinja_def_t dict_methods[] = {
    {"items", "/", d_items},   {"keys", "/", d_keys},
    {"values", "/", d_values}, {"get", "/key ?default", d_get},
    {"copy", "/", d_copy},     {NULL, NULL, NULL},
};


/* What the immutable sandbox hides: undefined, even if there is such a key. */

static const char *const dict_unsafe[] = {
    "clear", "pop", "popitem", "setdefault", "update", NULL,
};

static const char *const list_unsafe[] = {
    "append", "clear",  "pop",    "reverse", "insert",
    "sort",   "extend", "remove", NULL,
};


FN(q_index)
{
    int64_t      i = 0, to = self.u.q->n;
    jinja_seq_t *q = self.u.q;

    if (v[1].type != JINJA_MISSING) {
        i = jinja_need_int(j, v[1], "index");
        i = i < 0 ? (i + q->n < 0 ? 0 : i + q->n) : i;
    }

    if (v[2].type != JINJA_MISSING) {
        to = jinja_need_int(j, v[2], "index");
        to = to < 0 ? to + q->n : to;
    }

    for (; i < to && i < q->n; i++) {
        if (jinja_eq(j, q->v[i], v[0])) {
            return jinja_int(i, q->trusted);
        }
    }

    jinja_fail(j, "value is not in list");
}


FN(q_count)
{
    int64_t  n = 0;
    uint32_t i;

    for (i = 0; i < self.u.q->n; i++) {
        n += jinja_eq(j, self.u.q->v[i], v[0]);
    }

    return jinja_int(n, self.u.q->trusted);
}


static const jinja_def_t list_methods[] = {
    {"index", "/value ?start stop", q_index},
    {"count", "/value", q_count},
    {"copy", "/", d_copy},
    {NULL, NULL, NULL},
};


FN(c_next)
{
    jinja_seq_t *q = self.u.q;
    jinja_val_t  r = q->v[q->pos];

    q->pos = (q->pos + 1) % q->n;

    return r;
}


FN(c_reset)
{
    self.u.q->pos = 0;

    return jinja_none();
}


static const jinja_def_t cycler_methods[] = {
    {"next", "", c_next},
    {"reset", "", c_reset},
    {NULL, NULL, NULL},
};


static bool
hidden(const jinja_str_t *name, const char *const *list)
{
    for (; *list; list++) {
        if (jinja_str_is(name, *list)) {
            return true;
        }
    }

    return false;
}


static jinja_val_t
unsafe(jinja_t *j, jinja_val_t obj, const jinja_str_t *name)
{
    char *hint = jinja_alloc(j, 128);

    snprintf(hint, 128, "access to attribute '%.*s' of '%s' object is unsafe.",
             name->len > 40 ? 40 : (int) name->len, name->text,
             jinja_type_name(obj));

    return jinja_undef_hint(j, hint);
}


static jinja_val_t
macro_attr(jinja_t *j, jinja_macro_t *macro, const jinja_str_t *name,
           bool *found)
{
    uint32_t     i;
    jinja_seq_t *q;

    *found = true;

    if (jinja_str_is(name, "name")) {
        return macro->name ? jinja_val_str(macro->name) : jinja_none();
    }

    if (jinja_str_is(name, "caller")) {
        return jinja_bool(macro->node->takes_caller);
    }

    if (jinja_str_is(name, "catch_kwargs")) {
        return jinja_bool(macro->node->takes_kwargs);
    }

    if (jinja_str_is(name, "catch_varargs")) {
        return jinja_bool(macro->node->takes_varargs);
    }

    if (jinja_str_is(name, "arguments")) {
        q = jinja_seq_new(j, JINJA_TUPLE, 0, true);
        for (i = 0; i < macro->node->params.n; i++) {
            jinja_seq_add(j, q, jinja_val_str(macro->node->params.v[i]->name));
        }
        return jinja_seq(q);
    }

    *found = false;

    return jinja_none();
}


/*
 * What Python's getattr() gives in the sandbox; found is false where there is
 * no such attribute.  Keys of dicts are not looked at here.
 */

jinja_val_t
jinja_attr(jinja_t *j, jinja_val_t obj, const jinja_str_t *name, bool *found)
{
    jinja_val_t       *item;
    jinja_method_t    *m;
    const jinja_def_t *defs = NULL, *def;

    *found = true;

    switch (obj.type) {

    case JINJA_NS:
        item = jinja_dict_str(j, obj.u.d, name);
        if (item) {
            return *item;
        }
        break;

    case JINJA_DICT:
        if (hidden(name, dict_unsafe)) {
            return unsafe(j, obj, name);
        }
        defs = dict_methods;
        break;

    case JINJA_SEQ:
        if (obj.u.q->group && jinja_str_is(name, "grouper")) {
            return obj.u.q->v[0];
        }
        if (obj.u.q->group && jinja_str_is(name, "list")) {
            return obj.u.q->v[1];
        }
        if (obj.u.q->kind == JINJA_LIST && hidden(name, list_unsafe)) {
            return unsafe(j, obj, name);
        }
        if (obj.u.q->kind == JINJA_LIST
            || (obj.u.q->kind <= JINJA_RANGE && !jinja_str_is(name, "copy"))) {
            defs = list_methods;
        }
        break;

    case JINJA_STR:
        defs = jinja_str_methods;
        break;

    case JINJA_LOOP:
        return jinja_loop_attr(j, obj.u.loop, name, found);

    case JINJA_MACRO:
        return macro_attr(j, obj.u.macro, name, found);

    case JINJA_CYCLER:
        if (jinja_str_is(name, "current")) {
            return obj.u.q->v[obj.u.q->pos];
        }
        defs = cycler_methods;
        break;
    }

    def = defs ? jinja_def_find(defs, name->text, name->len) : NULL;
    if (def == NULL) {
        *found = false;
        return jinja_none();
    }

    m = jinja_alloc(j, sizeof(jinja_method_t));
    m->self = obj;
    m->def = def;

    return (jinja_val_t){.type = JINJA_METHOD, .u.m = m};
}
