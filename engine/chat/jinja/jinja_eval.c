/*
 * Expressions → values.  Runs on the thread that renders; nothing of the tree
 * is changed.
 */

#include "jinja_ast.h"


jinja_val_t
jinja_getattr(jinja_t *j, jinja_val_t obj, const jinja_str_t *name)
{
    bool        found = false;
    jinja_val_t v, *item;

    if (obj.type == JINJA_UNDEF) {
        jinja_undef_throw(j, obj);
    }

    v = jinja_attr(j, obj, name, &found);
    if (found) {
        return v;
    }

    if (obj.type == JINJA_DICT) {
        item = jinja_dict_str(j, obj.u.d, name);
        if (item) {
            return *item;
        }
    }

    return jinja_undef_attr(j, obj, jinja_val_str(name));
}


/* A character or an item by number; found is false where there is none. */

static jinja_val_t
item_at(jinja_t *j, jinja_val_t obj, int64_t i, bool *found)
{
    size_t  from, to;
    int64_t n =
        obj.type == JINJA_STR ? (int64_t) obj.u.s->chars : (int64_t) obj.u.q->n;
    uint32_t cp;

    i = i < 0 ? i + n : i;
    *found = i >= 0 && i < n;

    if (!*found) {
        return jinja_none();
    }

    if (obj.type == JINJA_SEQ) {
        return obj.u.q->v[i];
    }

    from = jinja_str_offset(j, obj.u.s, (size_t) i);
    to = from
         + jinja_utf8_get(obj.u.s->text + from, obj.u.s->text + obj.u.s->len,
                          &cp);

    return jinja_val_str(jinja_sub(j, obj.u.s, from, to));
}


jinja_val_t
jinja_getitem(jinja_t *j, jinja_val_t obj, jinja_val_t key)
{
    bool        found = false;
    int64_t     i = 0;
    jinja_val_t v, *item;

    switch (obj.type) {

    case JINJA_UNDEF:
        jinja_undef_throw(j, obj);

    case JINJA_DICT:
        item = jinja_dict_get(j, obj.u.d, key);
        if (item) {
            return *item;
        }
        break;

    case JINJA_SEQ:
        if (obj.u.q->kind > JINJA_RANGE) {
            break;
        }
        /* fall through */

    case JINJA_STR:
        if (jinja_as_int(key, &i)) {
            v = item_at(j, obj, i, &found);
            if (found) {
                return v;
            }
        }
        break;
    }

    if (key.type == JINJA_STR) {
        v = jinja_attr(j, obj, key.u.s, &found);
        if (found) {
            return v;
        }
    }

    return jinja_undef_attr(j, obj, key);
}


static void
args_grow(jinja_t *j, jinja_args_t *args, uint32_t pos, uint32_t kw)
{
    jinja_val_t        *v;
    const jinja_str_t **names;

    if (pos) {
        v = jinja_alloc(j, ((size_t) args->npos + pos) * sizeof(*v));
        if (args->npos) {
            memcpy(v, args->pos, args->npos * sizeof(*v));
        }
        args->pos = v;
    }

    if (kw) {
        v = jinja_alloc(j, ((size_t) args->nkw + kw) * sizeof(*v));
        names = jinja_alloc(j, ((size_t) args->nkw + kw) * sizeof(*names));
        if (args->nkw) {
            memcpy(v, args->kw, args->nkw * sizeof(*v));
            memcpy(names, args->names, args->nkw * sizeof(*names));
        }
        args->kw = v;
        args->names = names;
    }
}


static void
args_dyn_kw(jinja_t *j, jinja_args_t *args, jinja_val_t v)
{
    uint32_t i, k;

    if (v.type != JINJA_DICT) {
        jinja_fail(j, "argument after ** must be a mapping, not %s",
                   jinja_type_name(v));
    }

    args_grow(j, args, 0, v.u.d->n);

    for (i = 0; i < v.u.d->n; i++) {
        if (v.u.d->keys[i].type != JINJA_STR) {
            jinja_fail(j, "keywords must be strings");
        }

        for (k = 0; k < args->nkw; k++) {
            if (jinja_str_eq(args->names[k], v.u.d->keys[i].u.s)) {
                jinja_fail(j, "got multiple values for a keyword argument");
            }
        }

        args->names[args->nkw] = v.u.d->keys[i].u.s;
        args->kw[args->nkw++] = v.u.d->vals[i];
        jinja_step(j, 1 + args->nkw);
    }
}


/* caller: of a call block, or NULL. */

void
jinja_eval_args(jinja_t *j, jinja_env_t *env, const jinja_call_args_t *from,
                const jinja_val_t *caller, jinja_args_t *args)
{
    uint32_t     i;
    jinja_seq_t *q;
    jinja_str_t *name;

    memset(args, 0, sizeof(*args));

    if (from) {
        args_grow(j, args, from->pos.n, from->kw.n);

        for (i = 0; i < from->pos.n; i++) {
            args->pos[args->npos++] = jinja_eval(j, env, from->pos.v[i]);
        }

        for (i = 0; i < from->kw.n; i++) {
            args->names[args->nkw] = from->names[i];
            args->kw[args->nkw++] = jinja_eval(j, env, from->kw.v[i]);
        }
    }

    if (from && from->dyn_pos) {
        q = jinja_iter_list(j, jinja_eval(j, env, from->dyn_pos));
        args_grow(j, args, q->n, 0);
        for (i = 0; i < q->n; i++) {
            args->pos[args->npos++] = q->v[i];
        }
    }

    if (from && from->dyn_kw) {
        args_dyn_kw(j, args, jinja_eval(j, env, from->dyn_kw));
    }

    if (caller) {
        name = (jinja_str_t *) jinja_cstr(j, "caller", true).u.s;
        args_grow(j, args, 0, 1);
        args->names[args->nkw] = name;
        args->kw[args->nkw++] = *caller;
    }
}


/* self: what a filter without an operand works on. */

jinja_val_t
jinja_eval_filter(jinja_t *j, jinja_env_t *env, const jinja_node_t *n,
                  jinja_val_t self)
{
    jinja_args_t args;

    jinja_enter(j);

    if (n->a && n->a->kind == JN_FILTER) {
        self = jinja_eval_filter(j, env, n->a, self);
    } else if (n->a) {
        self = jinja_eval(j, env, n->a);
    }

    jinja_eval_args(j, env, n->args, NULL, &args);
    j->line = n->line;

    if (n->def == NULL) {
        jinja_fail(j, "No filter named '%.*s' found.",
                   n->name->len > 60 ? 60 : (int) n->name->len, n->name->text);
    }

    self = jinja_def_call(j, n->def, self, &args);
    jinja_leave(j);

    return self;
}


static jinja_val_t
eval_test(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    jinja_val_t  self = jinja_eval(j, env, n->a);
    jinja_args_t args;

    jinja_eval_args(j, env, n->args, NULL, &args);
    j->line = n->line;

    if (n->def == NULL) {
        jinja_fail(j, "No test named '%.*s' found.",
                   n->name->len > 60 ? 60 : (int) n->name->len, n->name->text);
    }

    return jinja_def_call(j, n->def, self, &args);
}


static jinja_val_t
eval_list(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    uint32_t     i;
    jinja_seq_t *q;

    q = jinja_seq_new(j, n->kind == JN_LIST ? JINJA_LIST : JINJA_TUPLE,
                      n->list.n, true);

    for (i = 0; i < n->list.n; i++) {
        jinja_seq_add(j, q, jinja_eval(j, env, n->list.v[i]));
    }

    return jinja_seq(q);
}


static jinja_val_t
eval_dict(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    uint32_t      i;
    jinja_val_t   key;
    jinja_dict_t *d = jinja_dict_new(j, n->list.n, true);

    for (i = 0; i < n->list.n; i++) {
        key = jinja_eval(j, env, n->list.v[i]);
        jinja_dict_set(j, d, key, jinja_eval(j, env, n->list2.v[i]));
    }

    return jinja_dict(d);
}


static jinja_val_t
eval_slice(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    const jinja_node_t *s = n->b;
    jinja_val_t         v = jinja_eval(j, env, n->a);
    jinja_val_t         a = jinja_none(), b = a, c = a;

    if (s->a) {
        a = jinja_eval(j, env, s->a);
    }

    if (s->b) {
        b = jinja_eval(j, env, s->b);
    }

    if (s->c) {
        c = jinja_eval(j, env, s->c);
    }

    j->line = n->line;

    return jinja_slice(j, v, a, b, c);
}


static bool
compare(jinja_t *j, uint8_t op, jinja_val_t a, jinja_val_t b)
{
    int c;

    switch (op) {
    case JINJA_OP_EQ:
        return jinja_eq(j, a, b);
    case JINJA_OP_NE:
        return !jinja_eq(j, a, b);
    case JINJA_OP_IN:
        return jinja_in(j, a, b);
    case JINJA_OP_NOTIN:
        return !jinja_in(j, a, b);
    case JINJA_OP_LT:
        return jinja_cmp(j, a, b, "<") == -1;
    case JINJA_OP_LE:
        c = jinja_cmp(j, a, b, "<=");
        return c == -1 || c == 0;
    case JINJA_OP_GT:
        return jinja_cmp(j, a, b, ">") == 1;
    default:
        c = jinja_cmp(j, a, b, ">=");
        return c == 1 || c == 0;
    }
}


static jinja_val_t
eval_compare(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    uint32_t    i;
    jinja_val_t a = jinja_eval(j, env, n->a), b;

    for (i = 0; i < n->list.n; i++) {
        b = jinja_eval(j, env, n->list.v[i]->a);
        j->line = n->line;
        if (!compare(j, n->list.v[i]->op, a, b)) {
            return jinja_bool(false);
        }
        a = b;
    }

    return jinja_bool(true);
}


static jinja_val_t
eval_concat(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    uint32_t           i;
    const jinja_str_t *s = jinja_to_str(j, jinja_eval(j, env, n->list.v[0]));

    for (i = 1; i < n->list.n; i++) {
        s = jinja_str_concat(j, s,
                             jinja_to_str(j, jinja_eval(j, env, n->list.v[i])));
    }

    return jinja_val_str(s);
}


static jinja_val_t
eval_call(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    jinja_val_t  fn = jinja_eval(j, env, n->a);
    jinja_args_t args;

    jinja_eval_args(j, env, n->args, NULL, &args);
    j->line = n->line;

    return jinja_call(j, fn, &args);
}


static jinja_val_t
eval_cond(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    if (jinja_truth(j, jinja_eval(j, env, n->b))) {
        return jinja_eval(j, env, n->a);
    }

    if (n->c) {
        return jinja_eval(j, env, n->c);
    }

    return jinja_undef_hint(j, "the inline if-expression evaluated to false "
                               "and no else section was defined.");
}


static jinja_val_t
eval(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    jinja_val_t v, w;

    switch (n->kind) {

    case JN_NAME:
        v = *jinja_slot(env, n);
        return v.type == JINJA_MISSING ? jinja_undef_name(j, n->name) : v;

    case JN_TUPLE:
    case JN_LIST:
        return eval_list(j, env, n);

    case JN_DICT:
        return eval_dict(j, env, n);

    case JN_ATTR:
        v = jinja_eval(j, env, n->a);
        j->line = n->line;
        return jinja_getattr(j, v, n->name);

    case JN_ITEM:
        if (n->b->kind == JN_SLICE) {
            return eval_slice(j, env, n);
        }
        v = jinja_eval(j, env, n->a);
        w = jinja_eval(j, env, n->b);
        j->line = n->line;
        return jinja_getitem(j, v, w);

    case JN_CALL:
        return eval_call(j, env, n);

    case JN_FILTER:
        return jinja_eval_filter(j, env, n, jinja_none());

    case JN_TEST:
        return eval_test(j, env, n);

    case JN_NOT:
        return jinja_bool(!jinja_truth(j, jinja_eval(j, env, n->a)));

    case JN_UNARY:
        v = jinja_eval(j, env, n->a);
        j->line = n->line;
        return jinja_unary(j, (char) n->op, v);

    case JN_AND:
        v = jinja_eval(j, env, n->a);
        return jinja_truth(j, v) ? jinja_eval(j, env, n->b) : v;

    case JN_OR:
        v = jinja_eval(j, env, n->a);
        return jinja_truth(j, v) ? v : jinja_eval(j, env, n->b);

    case JN_BINARY:
        v = jinja_eval(j, env, n->a);
        w = jinja_eval(j, env, n->b);
        j->line = n->line;
        return jinja_binary(j, (char) n->op, v, w);

    case JN_CONCAT:
        return eval_concat(j, env, n);

    case JN_COMPARE:
        return eval_compare(j, env, n);

    case JN_COND:
        return eval_cond(j, env, n);

    default:
        jinja_fail(j, "unsupported expression");
    }
}


jinja_val_t
jinja_eval(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    jinja_val_t v;

    if (n->kind == JN_CONST) {
        return n->value;
    }

    jinja_enter(j);
    v = eval(j, env, n);
    jinja_leave(j);

    return v;
}
