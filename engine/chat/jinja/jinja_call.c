/*
 * Calls: how arguments meet the parameters of macros and of what is built in.
 */

#include "jinja_ast.h"


const jinja_def_t *
jinja_def_find(const jinja_def_t *defs, const char *name, size_t len)
{
    for (; defs->name; defs++) {
        if (len && defs->name[0] == name[0] && strlen(defs->name) == len
            && memcmp(defs->name, name, len) == 0) {
            return defs;
        }
    }

    return NULL;
}


static int64_t
kw_find(const jinja_args_t *args, const char *name, size_t len)
{
    uint32_t i;

    for (i = 0; i < args->nkw; i++) {
        if (args->names[i]->len == len
            && memcmp(args->names[i]->text, name, len) == 0) {
            return i;
        }
    }

    return -1;
}


/* Calls what is built in: places args by the names of its parameters. */

jinja_val_t
jinja_def_call(jinja_t *j, const jinja_def_t *def, jinja_val_t self,
               const jinja_args_t *args)
{
    bool        keywords, optional = false;
    size_t      len;
    int64_t     k;
    uint32_t    n = 0, used = 0;
    const char *p = def->params;
    jinja_val_t v[JINJA_PARAMS] = {0};

    jinja_step(j, 1 + args->npos + args->nkw);

    if (p == NULL) {
        return def->fn(j, self, NULL, args);
    }

    keywords = *p != '/';
    p += !keywords;

    while (*p) {
        optional = optional || *p == '?';
        p += *p == '?';
        len = strcspn(p, " ");
        k = keywords ? kw_find(args, p, len) : -1;

        if (n < args->npos) {
            v[n] = args->pos[n];
            if (k >= 0) {
                jinja_fail(j, "%s() got multiple values for argument '%.*s'",
                           def->name, (int) len, p);
            }
        } else if (k >= 0) {
            v[n] = args->kw[k];
            used++;
        } else if (!optional) {
            jinja_fail(j, "%s() missing argument '%.*s'", def->name, (int) len,
                       p);
        }

        n++;
        p += len;
        p += *p == ' ';
    }

    if (args->npos > n) {
        jinja_fail(j, "%s() takes at most %u arguments (%u given)", def->name,
                   (unsigned) n, (unsigned) args->npos);
    }

    if (used < args->nkw) {
        jinja_fail(j, "%s() got an unexpected keyword argument", def->name);
    }

    return def->fn(j, self, v, args);
}


static void
macro_extra(jinja_t *j, jinja_macro_t *macro, const jinja_args_t *args,
            const bool *taken, jinja_env_t *env)
{
    uint32_t            i;
    jinja_seq_t        *q;
    jinja_dict_t       *d = NULL;
    const jinja_node_t *n = macro->node;
    int                 len = macro->name ? (int) macro->name->len : 0;
    const char         *name = macro->name ? macro->name->text : "";

    if (n->takes_kwargs) {
        d = jinja_dict_new(j, 0, true);
        env->slots[n->kwargs_slot] = jinja_dict(d);
    }

    for (i = 0; i < args->nkw; i++) {
        if (taken[i]) {
            continue;
        }

        if (d == NULL) {
            jinja_fail(j, "macro '%.*s' takes no keyword argument '%.*s'",
                       len > 60 ? 60 : len, name,
                       args->names[i]->len > 60 ? 60
                                                : (int) args->names[i]->len,
                       args->names[i]->text);
        }

        jinja_dict_set(j, d, jinja_val_str(args->names[i]), args->kw[i]);
    }

    if (n->takes_varargs) {
        q = jinja_seq_new(j, JINJA_TUPLE, 0, true);
        for (i = n->params.n; i < args->npos; i++) {
            jinja_seq_add(j, q, args->pos[i]);
        }
        env->slots[n->varargs_slot] = jinja_seq(q);

    } else if (args->npos > n->params.n) {
        jinja_fail(j, "macro '%.*s' takes not more than %u argument(s)",
                   len > 60 ? 60 : len, name, (unsigned) n->params.n);
    }
}


jinja_val_t
jinja_macro_call(jinja_t *j, jinja_macro_t *macro, const jinja_args_t *args)
{
    bool               *taken;
    int64_t             k;
    uint32_t            i, first;
    jinja_buf_t         b = {0};
    jinja_env_t        *env;
    jinja_val_t        *slot;
    const jinja_node_t *n = macro->node;

    jinja_enter(j);
    env = jinja_env_new(j, n->func, macro->env);
    taken = jinja_alloc(j, args->nkw + 1);
    jinja_frame_enter(j, env, &n->frame);

    for (i = 0; i < n->params.n; i++) {
        slot = jinja_slot(env, n->params.v[i]);

        if (i < args->npos) {
            *slot = args->pos[i];
            continue;
        }

        k = kw_find(args, n->params.v[i]->name->text,
                    n->params.v[i]->name->len);
        if (k >= 0 && !taken[k]) {
            *slot = args->kw[k];
            taken[k] = true;
        }
    }

    if (n->takes_caller) {
        k = kw_find(args, "caller", 6);
        if (k >= 0) {
            taken[k] = true;
        }
        env->slots[n->caller_slot] =
            k >= 0 && args->kw[k].type != JINJA_NONE
                ? args->kw[k]
                : jinja_undef_hint(j, "No caller defined");
    }

    macro_extra(j, macro, args, taken, env);
    first = n->params.n - n->defaults.n;

    for (i = 0; i < n->params.n; i++) {
        slot = jinja_slot(env, n->params.v[i]);
        if (slot->type == JINJA_MISSING) {
            *slot = i >= first ? jinja_eval(j, env, n->defaults.v[i - first])
                               : jinja_undef_name(j, n->params.v[i]->name);
        }
    }

    (void) jinja_exec(j, env, &n->list, &b);
    jinja_leave(j);

    return jinja_buf_end(j, &b);
}


static jinja_val_t
joiner_call(jinja_val_t v)
{
    jinja_seq_t *q = v.u.q;
    jinja_val_t  r = q->v[q->pos];

    /* v[0] is what the first call gives, v[1] the separator */
    q->pos = 1;

    return r;
}


jinja_val_t
jinja_call(jinja_t *j, jinja_val_t fn, const jinja_args_t *args)
{
    jinja_step(j, 2);

    switch (fn.type) {

    case JINJA_UNDEF:
        jinja_undef_throw(j, fn);

    case JINJA_FUNC:
        return jinja_def_call(j, fn.u.fn, jinja_none(), args);

    case JINJA_METHOD:
        return jinja_def_call(j, fn.u.m->def, fn.u.m->self, args);

    case JINJA_MACRO:
        return jinja_macro_call(j, fn.u.macro, args);

    case JINJA_LOOP:
        if (args->npos != 1 || args->nkw) {
            jinja_fail(j, "loop() takes one argument");
        }
        return jinja_loop_call(j, fn.u.loop, args->pos[0]);

    case JINJA_JOINER:
        if (args->npos || args->nkw) {
            jinja_fail(j, "a joiner takes no arguments");
        }
        return joiner_call(fn);

    default:
        jinja_fail(j, "'%s' object is not callable", jinja_type_name(fn));
    }
}
