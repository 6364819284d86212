/*
 * Filters over collections.  What is a generator in jinja2 is an iterator
 * here, already filled: it has no length, is always true, is read once.
 */

#include "jinja.h"

#define FILTER(name)                                                           \
    static jinja_val_t name(jinja_t *j, jinja_val_t self,                      \
                            const jinja_val_t *v, const jinja_args_t *args)

static jinja_val_t apply(jinja_t *j, const jinja_def_t *def, jinja_val_t item,
                         const jinja_args_t *args, uint32_t skip);


static bool
given(jinja_val_t v)
{
    return v.type != JINJA_MISSING && v.type != JINJA_NONE;
}


static jinja_seq_t *
iter_new(jinja_t *j, const jinja_seq_t *from)
{
    return jinja_seq_new(j, JINJA_ITER, 0, from->trusted);
}


jinja_val_t
jinja_attr_path(jinja_t *j, jinja_val_t item, jinja_val_t path,
                const jinja_val_t *fallback)
{
    bool               digits;
    size_t             at = 0, from, i;
    int64_t            n;
    jinja_val_t        key;
    const jinja_str_t *s;

    if (path.type != JINJA_STR) {
        item = jinja_getitem(j, item, path);
        return item.type == JINJA_UNDEF && fallback ? *fallback : item;
    }

    for (s = path.u.s; at <= s->len; at++) {
        from = at;
        while (at < s->len && s->text[at] != '.') {
            at++;
        }

        digits = at > from && at - from < 10;
        for (i = from, n = 0; i < at; i++) {
            digits = digits && s->text[i] >= '0' && s->text[i] <= '9';
            n = digits ? n * 10 + s->text[i] - '0' : 0;
        }

        key = digits ? jinja_int(n, true)
                     : jinja_val_str(jinja_sub(j, s, from, at));
        item = jinja_getitem(j, item, key);

        if (item.type == JINJA_UNDEF && fallback) {
            item = *fallback;
        }
    }

    return item;
}


/* The key that filters compare by: an attribute, letters all small. */

static jinja_val_t
sort_key(jinja_t *j, jinja_val_t item, jinja_val_t attr, bool cased,
         const jinja_val_t *fallback)
{
    if (given(attr)) {
        item = jinja_attr_path(j, item, attr, fallback);
    }

    if (!cased && item.type == JINJA_STR) {
        return jinja_val_str(jinja_case(j, item.u.s, JINJA_LOWER));
    }

    return item;
}


FILTER(f_length)
{
    bool    trusted;
    int64_t n = jinja_len(j, self, &trusted);

    if (n < 0) {
        jinja_fail(j, "object of type '%s' has no len()",
                   jinja_type_name(self));
    }

    return jinja_int(n, trusted);
}


FILTER(f_default)
{
    if (self.type == JINJA_UNDEF
        || (jinja_truth(j, v[1]) && !jinja_truth(j, self))) {
        return v[0].type == JINJA_MISSING ? jinja_cstr(j, "", true) : v[0];
    }

    return self;
}


FILTER(f_first)
{
    jinja_seq_t *q = jinja_iter(j, self);

    return q->pos < q->n
               ? q->v[q->pos++]
               : jinja_undef_hint(j, "No first item, sequence was empty.");
}


FILTER(f_last)
{
    jinja_seq_t *q;

    if (self.type == JINJA_SEQ && self.u.q->kind == JINJA_ITER) {
        jinja_fail(j, "'generator' object is not reversible");
    }

    q = jinja_iter(j, self);

    return q->n ? q->v[q->n - 1]
                : jinja_undef_hint(j, "No last item, sequence was empty.");
}


FILTER(f_list)
{
    return jinja_seq(jinja_iter_list(j, self));
}


FILTER(f_items)
{
    jinja_seq_t *q;

    if (self.type == JINJA_UNDEF) {
        return jinja_seq(jinja_seq_new(j, JINJA_ITER, 0, true));
    }

    if (self.type != JINJA_DICT) {
        jinja_fail(j, "Can only get item pairs from a mapping.");
    }

    q = jinja_dict_view(j, self.u.d, JINJA_ITEMS);
    q->kind = JINJA_ITER;

    return jinja_seq(q);
}


FILTER(f_reverse)
{
    uint32_t     i;
    jinja_seq_t *q;

    if (self.type == JINJA_STR) {
        jinja_val_t none = jinja_none();

        return jinja_slice(j, self, none, none, jinja_int(-1, true));
    }

    q = jinja_iter_list(j, self);
    for (i = 0; i < q->n / 2; i++) {
        jinja_val_t t = q->v[i];

        q->v[i] = q->v[q->n - 1 - i];
        q->v[q->n - 1 - i] = t;
    }

    /* reversed() of a generator is what fails; the list of it is a list */
    if (self.type != JINJA_SEQ || self.u.q->kind != JINJA_ITER) {
        q->kind = JINJA_ITER;
    }

    return jinja_seq(q);
}


FILTER(f_dictsort)
{
    bool          by_value = false, cased = jinja_truth(j, v[0]);
    uint32_t      i;
    jinja_seq_t  *q, *keys;
    jinja_dict_t *d;

    if (self.type != JINJA_DICT) {
        if (self.type == JINJA_UNDEF) {
            jinja_undef_throw(j, self);
        }
        jinja_fail(j, "'%s' object has no attribute 'items'",
                   jinja_type_name(self));
    }

    if (v[1].type == JINJA_STR && jinja_str_is(v[1].u.s, "value")) {
        by_value = true;
    } else if (v[1].type != JINJA_MISSING
               && (v[1].type != JINJA_STR || !jinja_str_is(v[1].u.s, "key"))) {
        jinja_fail(j, "You can only sort by either \"key\" or \"value\"");
    }

    d = self.u.d;
    q = jinja_dict_view(j, d, JINJA_ITEMS);
    q->kind = JINJA_LIST;
    keys = jinja_seq_new(j, JINJA_LIST, d->n, true);

    for (i = 0; i < d->n; i++) {
        jinja_seq_add(j, keys,
                      sort_key(j, by_value ? d->vals[i] : d->keys[i],
                               jinja_none(), cased, NULL));
    }

    jinja_sort(j, keys->v, q->v, q->n, jinja_truth(j, v[2]));

    return jinja_seq(q);
}


/* attribute may name several, by commas; they compare as a list. */

static jinja_val_t
multi_key(jinja_t *j, jinja_val_t item, jinja_val_t attr, bool cased)
{
    size_t             at, from;
    jinja_seq_t       *q = jinja_seq_new(j, JINJA_LIST, 1, true);
    const jinja_str_t *s;

    if (attr.type != JINJA_STR) {
        jinja_seq_add(j, q, sort_key(j, item, attr, cased, NULL));
        return jinja_seq(q);
    }

    for (s = attr.u.s, at = 0; at <= s->len; at++) {
        from = at;
        while (at < s->len && s->text[at] != ',') {
            at++;
        }
        jinja_seq_add(j, q,
                      sort_key(j, item,
                               jinja_val_str(jinja_sub(j, s, from, at)), cased,
                               NULL));
    }

    return jinja_seq(q);
}


FILTER(f_sort)
{
    bool         cased = jinja_truth(j, v[1]);
    uint32_t     i;
    jinja_seq_t *q = jinja_iter_list(j, self), *keys;

    keys = jinja_seq_new(j, JINJA_LIST, q->n, true);

    for (i = 0; i < q->n; i++) {
        jinja_seq_add(j, keys, multi_key(j, q->v[i], v[2], cased));
    }

    jinja_sort(j, keys->v, q->v, q->n, jinja_truth(j, v[0]));

    return jinja_seq(q);
}


FILTER(f_unique)
{
    uint32_t      before;
    jinja_seq_t  *q = jinja_iter(j, self), *r = iter_new(j, q);
    jinja_val_t   item;
    jinja_dict_t *seen = jinja_dict_new(j, 0, true);

    while (q->pos < q->n) {
        item = q->v[q->pos++];
        before = seen->n;
        jinja_dict_set(j, seen,
                       sort_key(j, item, v[1], jinja_truth(j, v[0]), NULL),
                       jinja_none());
        if (seen->n > before) {
            jinja_seq_add(j, r, item);
        }
    }

    return jinja_seq(r);
}


static jinja_val_t
extreme(jinja_t *j, jinja_val_t self, const jinja_val_t *v, bool max)
{
    bool         cased = jinja_truth(j, v[0]);
    jinja_seq_t *q = jinja_iter(j, self);
    jinja_val_t  best, best_key, key;

    if (q->pos >= q->n) {
        return jinja_undef_hint(j, "No aggregated item, sequence was empty.");
    }

    best = q->v[q->pos++];
    best_key = sort_key(j, best, v[1], cased, NULL);

    for (; q->pos < q->n; q->pos++) {
        key = sort_key(j, q->v[q->pos], v[1], cased, NULL);
        if (max ? jinja_cmp(j, key, best_key, ">") == 1
                : jinja_cmp(j, key, best_key, "<") == -1) {
            best = q->v[q->pos];
            best_key = key;
        }
    }

    return best;
}


FILTER(f_min)
{
    return extreme(j, self, v, false);
}


FILTER(f_max)
{
    return extreme(j, self, v, true);
}


FILTER(f_sum)
{
    jinja_seq_t *q = jinja_iter(j, self);
    jinja_val_t  r = v[1].type == JINJA_MISSING ? jinja_int(0, true) : v[1];
    jinja_val_t  item;

    if (r.type == JINJA_STR) {
        jinja_fail(j, "sum() can't sum strings [use ''.join(seq) instead]");
    }

    while (q->pos < q->n) {
        item = q->v[q->pos++];
        if (given(v[0])) {
            item = jinja_attr_path(j, item, v[0], NULL);
        }
        r = jinja_binary(j, '+', r, item);
    }

    return r;
}


static int64_t
positive(jinja_t *j, jinja_val_t v, const char *what)
{
    int64_t n = jinja_need_int(j, v, what);

    if (n <= 0 || n > 1000000) {
        jinja_fail(j, "%s: the number is out of range", what);
    }

    return n;
}


FILTER(f_batch)
{
    int64_t      size = positive(j, v[0], "batch");
    jinja_seq_t *q = jinja_iter(j, self), *r = iter_new(j, q), *part = NULL;

    while (q->pos < q->n) {
        if (part == NULL || part->n == size) {
            part = jinja_seq_new(j, JINJA_LIST, 0, q->trusted);
            jinja_seq_add(j, r, jinja_seq(part));
        }
        jinja_seq_add(j, part, q->v[q->pos++]);
    }

    while (part && given(v[1]) && part->n < size) {
        jinja_seq_add(j, part, v[1]);
    }

    return jinja_seq(r);
}


FILTER(f_slice)
{
    int64_t      i, k, n, from = 0, slices = positive(j, v[0], "slice");
    jinja_seq_t *q = jinja_iter_list(j, self), *r = iter_new(j, q), *part;

    for (i = 0; i < slices; i++) {
        n = q->n / slices + (i < q->n % slices);
        part = jinja_seq_new(j, JINJA_LIST, (size_t) n + 1, q->trusted);
        for (k = 0; k < n; k++) {
            jinja_seq_add(j, part, q->v[from + k]);
        }
        if (given(v[1]) && i >= q->n % slices) {
            jinja_seq_add(j, part, v[1]);
        }
        jinja_seq_add(j, r, jinja_seq(part));
        from += n;
    }

    return jinja_seq(r);
}


FILTER(f_groupby)
{
    bool               cased = jinja_truth(j, v[2]);
    uint32_t           i;
    jinja_seq_t       *q = jinja_iter_list(j, self), *keys, *r, *part = NULL;
    jinja_val_t        pair;
    const jinja_val_t *fallback = given(v[1]) ? &v[1] : NULL;

    keys = jinja_seq_new(j, JINJA_LIST, q->n, true);
    r = jinja_seq_new(j, JINJA_LIST, 0, q->trusted);

    for (i = 0; i < q->n; i++) {
        jinja_seq_add(j, keys, sort_key(j, q->v[i], v[0], cased, fallback));
    }

    jinja_sort(j, keys->v, q->v, q->n, false);

    for (i = 0; i < q->n; i++) {
        if (i == 0 || !jinja_eq(j, keys->v[i], keys->v[i - 1])) {
            part = jinja_seq_new(j, JINJA_LIST, 0, q->trusted);
            pair = jinja_pair(j, sort_key(j, q->v[i], v[0], true, fallback),
                              jinja_seq(part));
            pair.u.q->group = true;
            pair.u.q->trusted = q->trusted;
            jinja_seq_add(j, r, pair);
        }
        jinja_seq_add(j, part, q->v[i]);
    }

    return jinja_seq(r);
}


FILTER(f_attr)
{
    bool        found = false;
    jinja_val_t r;

    if (v[0].type != JINJA_STR) {
        jinja_fail(j, "attribute name must be string");
    }

    if (self.type == JINJA_UNDEF) {
        jinja_undef_throw(j, self);
    }

    r = jinja_attr(j, self, v[0].u.s, &found);

    return found ? r : jinja_undef_attr(j, self, v[0]);
}


static jinja_val_t
apply(jinja_t *j, const jinja_def_t *def, jinja_val_t item,
      const jinja_args_t *args, uint32_t skip)
{
    jinja_args_t rest = *args;

    rest.pos += skip;
    rest.npos -= skip;

    return jinja_def_call(j, def, item, &rest);
}


static jinja_val_t
kw(const jinja_args_t *args, const char *name)
{
    uint32_t i;

    for (i = 0; i < args->nkw; i++) {
        if (jinja_str_is(args->names[i], name)) {
            return args->kw[i];
        }
    }

    return (jinja_val_t){.type = JINJA_MISSING};
}


FILTER(f_map)
{
    uint32_t           known;
    jinja_seq_t       *q, *r;
    jinja_val_t        attr, fallback, item;
    const jinja_def_t *def = NULL;

    if (!jinja_truth(j, self)) {
        return jinja_seq(jinja_seq_new(j, JINJA_ITER, 0, true));
    }

    attr = kw(args, "attribute");
    fallback = kw(args, "default");

    if (args->npos == 0 && attr.type != JINJA_MISSING) {
        known = 1u + (fallback.type != JINJA_MISSING);
        if (args->nkw > known) {
            jinja_fail(j, "Unexpected keyword argument");
        }
    } else if (args->npos == 0) {
        jinja_fail(j, "map requires a filter argument");
    } else {
        def = args->pos[0].type == JINJA_STR
                  ? jinja_filter_find(args->pos[0].u.s)
                  : NULL;
        if (def == NULL) {
            jinja_fail(j, "No such filter for map, or one that is not "
                          "supported");
        }
    }

    q = jinja_iter(j, self);
    r = iter_new(j, q);

    while (q->pos < q->n) {
        item = q->v[q->pos++];
        if (def) {
            item = apply(j, def, item, args, 1);
        } else if (attr.type != JINJA_NONE) {
            item = jinja_attr_path(j, item, attr,
                                   given(fallback) ? &fallback : NULL);
        }
        jinja_seq_add(j, r, item);
    }

    return jinja_seq(r);
}


static jinja_val_t
select_items(jinja_t *j, jinja_val_t self, const jinja_args_t *args, bool attr,
             bool want)
{
    bool               take;
    jinja_seq_t       *q, *r;
    jinja_val_t        item, v;
    const jinja_def_t *def = NULL;

    if (!jinja_truth(j, self)) {
        return jinja_seq(jinja_seq_new(j, JINJA_ITER, 0, true));
    }

    if (attr && args->npos == 0) {
        jinja_fail(j, "Missing parameter for attribute name");
    }

    if (args->npos > attr) {
        def = args->pos[attr].type == JINJA_STR
                  ? jinja_test_find(args->pos[attr].u.s)
                  : NULL;
        if (def == NULL) {
            jinja_fail(j, "No such test");
        }
    }

    q = jinja_iter(j, self);
    r = iter_new(j, q);

    while (q->pos < q->n) {
        item = v = q->v[q->pos++];
        if (attr && args->pos[0].type != JINJA_NONE) {
            v = jinja_attr_path(j, item, args->pos[0], NULL);
        }
        if (def) {
            v = apply(j, def, v, args, 1u + attr);
        }
        take = jinja_truth(j, v);
        if (take == want) {
            jinja_seq_add(j, r, item);
        }
        jinja_step(j, 1);
    }

    return jinja_seq(r);
}


FILTER(f_select)
{
    return select_items(j, self, args, false, true);
}


FILTER(f_reject)
{
    return select_items(j, self, args, false, false);
}


FILTER(f_selectattr)
{
    return select_items(j, self, args, true, true);
}


FILTER(f_rejectattr)
{
    return select_items(j, self, args, true, false);
}


const jinja_def_t jinja_filters_seq[] = {
    {"length", "/", f_length},
    {"count", "/", f_length},
    {"default", "?default_value boolean", f_default},
    {"d", "?default_value boolean", f_default},
    {"first", "", f_first},
    {"last", "", f_last},
    {"list", "", f_list},
    {"items", "", f_items},
    {"reverse", "", f_reverse},
    {"dictsort", "?case_sensitive by reverse", f_dictsort},
    {"sort", "?reverse case_sensitive attribute", f_sort},
    {"unique", "?case_sensitive attribute", f_unique},
    {"min", "?case_sensitive attribute", f_min},
    {"max", "?case_sensitive attribute", f_max},
    {"sum", "?attribute start", f_sum},
    {"batch", "linecount ?fill_with", f_batch},
    {"slice", "slices ?fill_with", f_slice},
    {"groupby", "attribute ?default case_sensitive", f_groupby},
    {"attr", "name", f_attr},
    {"map", NULL, f_map},
    {"select", NULL, f_select},
    {"reject", NULL, f_reject},
    {"selectattr", NULL, f_selectattr},
    {"rejectattr", NULL, f_rejectattr},
    {NULL, NULL, NULL},
};


const jinja_def_t *
jinja_filter_find(const jinja_str_t *name)
{
    const jinja_def_t *def;

    def = jinja_def_find(jinja_filters_text, name->text, name->len);

    return def ? def : jinja_def_find(jinja_filters_seq, name->text, name->len);
}


/* jinja2 has it, we do not. */

bool
jinja_filter_known(const jinja_str_t *name)
{
    static const char *const names[] = {
        "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr",
    };

    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (jinja_str_is(name, names[i])) {
            return true;
        }
    }

    return false;
}
