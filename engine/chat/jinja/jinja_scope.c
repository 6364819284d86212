/*
 * Names → slots, by the rules of jinja2's idtracking: which frame a name
 * belongs to is decided from the whole source of the frame, before anything
 * runs.  A name that a frame only reads comes from the nearest outer frame
 * that has it, else from the context; one that it sets is its own and starts
 * as an alias of the outer one.  Slots of sibling frames are shared.
 */

#include "jinja_scope.h"

static void resolve(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n,
                    bool soft);
static void resolve_list(jinja_scope_t *s, jinja_syms_t *y,
                         const jinja_nodes_t *list, bool soft);


static uint16_t
hops(const jinja_fn_scope_t *from, const jinja_fn_scope_t *to)
{
    uint16_t n = 0;

    for (; from && from != to; from = from->up) {
        n++;
    }

    return n;
}


/* The loads at the frame's start, from what was collected. */

static void
frame_make(jinja_scope_t *s, jinja_syms_t *y, jinja_frame_t *f)
{
    uint32_t      i;
    jinja_load_t *l;

    f->loads = jinja_alloc(s->j, y->n * sizeof(jinja_load_t) + 1);
    f->clear = jinja_alloc(s->j, y->n * sizeof(uint16_t) + 1);
    f->nloads = 0;
    f->nclear = 0;

    for (i = 0; i < y->n; i++) {
        f->clear[f->nclear++] = y->v[i].slot;

        if (y->v[i].kind == JINJA_BY_CALL) {
            continue;
        }

        l = &f->loads[f->nloads++];
        l->name = y->v[i].name;
        l->slot = y->v[i].slot;
        l->kind = y->v[i].kind;

        if (l->kind == JINJA_BY_ALIAS) {
            l->from = y->v[i].src;
            l->hops = hops(y->fn, y->v[i].src_fn);
        }
    }
}


static void
resolve_name(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n)
{
    jinja_fn_scope_t *fn = NULL;
    jinja_sym_t      *sym = jinja_sym_find(s, y, n->name, &fn);

    if (sym == NULL) {
        /* a name that jinja2's passes miss, too: in a set block's filter */
        jinja_syntax(s->j, n->line, "unsupported use of a name");
    }

    n->slot = sym->slot;
    n->hops = hops(y->fn, fn);
}


static void
resolve_args(jinja_scope_t *s, jinja_syms_t *y, const jinja_call_args_t *args,
             bool soft)
{
    if (args == NULL) {
        return;
    }

    resolve_list(s, y, &args->pos, soft);
    resolve_list(s, y, &args->kw, soft);
    resolve(s, y, args->dyn_pos, soft);
    resolve(s, y, args->dyn_kw, soft);
}


/* Whether a name is read below n before anything sets it. */

static bool
reads(jinja_scope_t *s, const jinja_node_t *n, const char *name, bool *set)
{
    uint32_t i;

    if (n == NULL || *set) {
        return false;
    }

    jinja_step(s->j, 1);

    if (n->kind == JN_NAME && jinja_str_is(n->name, name)) {
        *set = n->op != JINJA_LOAD;
        return !*set;
    }

    if (reads(s, n->a, name, set) || reads(s, n->b, name, set)
        || reads(s, n->c, name, set)) {
        return true;
    }

    for (i = 0; i < n->params.n; i++) {
        if (reads(s, n->params.v[i], name, set)) {
            return true;
        }
    }

    for (i = 0; i < n->defaults.n; i++) {
        if (reads(s, n->defaults.v[i], name, set)) {
            return true;
        }
    }

    for (i = 0; i < n->list.n; i++) {
        if (reads(s, n->list.v[i], name, set)) {
            return true;
        }
    }

    for (; n->elif && n->kind == JN_IF;) {
        return reads(s, n->elif, name, set);
    }

    for (i = 0; i < n->list2.n; i++) {
        if (reads(s, n->list2.v[i], name, set)) {
            return true;
        }
    }

    if (n->args == NULL) {
        return false;
    }

    for (i = 0; i < n->args->pos.n; i++) {
        if (reads(s, n->args->pos.v[i], name, set)) {
            return true;
        }
    }

    for (i = 0; i < n->args->kw.n; i++) {
        if (reads(s, n->args->kw.v[i], name, set)) {
            return true;
        }
    }

    return reads(s, n->args->dyn_pos, name, set)
           || reads(s, n->args->dyn_kw, name, set);
}


static bool
reads_body(jinja_scope_t *s, const jinja_nodes_t *body, const char *name)
{
    bool     set = false;
    uint32_t i;

    for (i = 0; i < body->n; i++) {
        if (reads(s, body->v[i], name, &set)) {
            return true;
        }
    }

    return false;
}


static const jinja_str_t *
intern(jinja_scope_t *s, const char *name)
{
    jinja_t     *j = s->j;
    jinja_val_t  v = jinja_cstr(j, name, true);
    jinja_val_t *known = jinja_dict_get(j, j->vars, v);

    if (known) {
        return known->u.s;
    }

    jinja_dict_set(j, j->vars, v, v);

    return v.u.s;
}


static void
special_param(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n,
              const char *name, bool *takes, uint16_t *at)
{
    uint32_t i;
    bool     given = false;

    for (i = 0; i < n->params.n; i++) {
        given = given || jinja_str_is(n->params.v[i]->name, name);
    }

    *takes = false;

    if (!reads_body(s, &n->list, name)) {
        return;
    }

    if (given) {
        if (strcmp(name, "caller") == 0
            && !jinja_str_is(n->params.v[n->params.n - 1]->name, name)) {
            jinja_syntax(s->j, n->line, "unsupported 'caller' argument");
        }
        return;
    }

    *takes = true;
    jinja_sym_param(s, y, intern(s, name));
    *at = jinja_sym_own(s, y, intern(s, name))->slot;
}


static void
resolve_function(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n)
{
    jinja_fn_scope_t *fn = jinja_fn_new(s, y->fn);
    jinja_syms_t     *inner = jinja_syms_new(s, y, fn);

    jinja_collect_list(s, inner, &n->params);
    jinja_collect_list(s, inner, &n->defaults);
    jinja_collect_list(s, inner, &n->list);
    special_param(s, inner, n, "caller", &n->takes_caller, &n->caller_slot);
    special_param(s, inner, n, "kwargs", &n->takes_kwargs, &n->kwargs_slot);
    special_param(s, inner, n, "varargs", &n->takes_varargs, &n->varargs_slot);
    frame_make(s, inner, &n->frame);
    n->func = fn->func;
    resolve_list(s, inner, &n->params, false);
    resolve_list(s, inner, &n->defaults, false);
    resolve_list(s, inner, &n->list, false);
}


/* Nothing in a loop may set `loop`. */

static bool
stores_loop(jinja_scope_t *s, const jinja_node_t *n)
{
    uint32_t i;

    if (n == NULL) {
        return false;
    }

    jinja_step(s->j, 1);

    if (n->kind == JN_NAME) {
        return n->op == JINJA_STORE && jinja_str_is(n->name, "loop");
    }

    if (stores_loop(s, n->a)) {
        return true;
    }

    for (i = 0; i < n->list.n; i++) {
        if (stores_loop(s, n->list.v[i])) {
            return true;
        }
    }

    if (n->elif) {
        return stores_loop(s, n->elif);
    }

    for (i = 0; i < n->list2.n; i++) {
        if (stores_loop(s, n->list2.v[i])) {
            return true;
        }
    }

    return false;
}


static void
resolve_for(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n, bool soft)
{
    jinja_fn_scope_t *fn = n->recursive ? jinja_fn_new(s, y->fn) : y->fn, *test;
    jinja_syms_t     *body = jinja_syms_new(s, y, fn), *other;

    if (stores_loop(s, n)) {
        jinja_syntax(s->j, n->line,
                     "can't assign to special loop variable in for-loop");
    }

    resolve(s, y, n->b, soft);
    n->func = n->recursive ? fn->func : NULL;

    jinja_sym_param(s, body, intern(s, "loop"));
    n->loop_slot = body->v[0].slot;
    jinja_collect(s, body, n->a, true);
    jinja_collect_list(s, body, &n->list);
    frame_make(s, body, &n->frame);
    resolve(s, body, n->a, false);
    resolve_list(s, body, &n->list, false);

    if (n->list2.n) {
        other = jinja_syms_new(s, y, fn);
        jinja_collect_list(s, other, &n->list2);
        frame_make(s, other, &n->else_frame);
        resolve_list(s, other, &n->list2, false);
    }

    if (n->c) {
        test = jinja_fn_new(s, fn);
        other = jinja_syms_new(s, y, test);
        jinja_collect(s, other, n->test_target, true);
        jinja_collect(s, other, n->c, false);
        frame_make(s, other, &n->test_frame);
        n->test_func = test->func;
        resolve(s, other, n->test_target, false);
        resolve(s, other, n->c, false);
    }
}


static void
resolve_block(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n, bool soft)
{
    uint32_t      i;
    jinja_syms_t *inner = jinja_syms_new(s, y, y->fn);

    if (n->kind == JN_WITH) {
        resolve_list(s, y, &n->args->pos, soft);
        for (i = 0; i < n->list2.n; i++) {
            jinja_collect(s, inner, n->list2.v[i], false);
        }
        jinja_collect_list(s, inner, &n->list);
    } else {
        jinja_collect_list(s, inner, &n->list);
        jinja_collect(s, inner, n->b, false);
    }

    frame_make(s, inner, &n->frame);

    if (n->kind == JN_SETBLOCK) {
        resolve(s, y, n->a, soft);
    }

    resolve_list(s, inner, &n->list2, false);
    resolve_list(s, inner, &n->list, false);
    resolve(s, inner, n->b, false);
}


static void
resolve_def(jinja_scope_t *s, jinja_node_t *n, bool soft)
{
    int len = n->name->len > 60 ? 60 : (int) n->name->len;

    n->def = n->kind == JN_FILTER ? jinja_filter_find(n->name)
                                  : jinja_test_find(n->name);

    if (n->def) {
        return;
    }

    if (n->kind == JN_FILTER && jinja_filter_known(n->name)) {
        jinja_syntax(s->j, n->line, "unsupported filter '%.*s'", len,
                     n->name->text);
    }

    if (!soft) {
        jinja_syntax(s->j, n->line, "No %s named '%.*s'",
                     n->kind == JN_FILTER ? "filter" : "test", len,
                     n->name->text);
    }
}


/* soft: in an `if`, where an unknown filter is an error only when it runs. */

static void
resolve(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n, bool soft)
{
    jinja_node_t *e;

    if (n == NULL) {
        return;
    }

    jinja_step(s->j, 1);

    switch (n->kind) {

    case JN_NAME:
    case JN_NSREF:
        resolve_name(s, y, n);
        return;

    case JN_FOR:
        resolve_for(s, y, n, soft);
        return;

    case JN_IF:
        for (e = n; e; e = e->elif) {
            resolve(s, y, e->a, true);
            resolve_list(s, y, &e->list, true);
        }
        resolve_list(s, y, &n->list2, true);
        return;

    case JN_MACRO:
        resolve_function(s, y, n);
        resolve_name(s, y, n);
        return;

    case JN_CALLBLOCK:
        resolve_function(s, y, n);
        resolve(s, y, n->a, soft);
        return;

    case JN_FILTERBLOCK:
    case JN_SETBLOCK:
    case JN_WITH:
        resolve_block(s, y, n, soft);
        return;

    case JN_FILTER:
    case JN_TEST:
        resolve_def(s, n, soft);
        break;

    case JN_COND:
        soft = true;
        break;
    }

    resolve(s, y, n->a, soft);
    resolve(s, y, n->kind == JN_OUTPUT ? NULL : n->b, soft);
    resolve(s, y, n->c, soft);
    resolve_list(s, y, &n->list, soft);
    resolve_list(s, y, &n->list2, soft);
    resolve_args(s, y, n->args, soft);
}


static void
resolve_list(jinja_scope_t *s, jinja_syms_t *y, const jinja_nodes_t *list,
             bool soft)
{
    for (uint32_t i = 0; i < list->n; i++) {
        resolve(s, y, list->v[i], soft);
    }
}


/* root: list is the template.  j->vars holds the interned names. */

void
jinja_scope(jinja_t *j, jinja_node_t *root)
{
    jinja_scope_t     s = {.j = j};
    jinja_fn_scope_t *fn;
    jinja_syms_t     *y;

    s.slots = jinja_alloc(j, JINJA_BUCKETS * sizeof(jinja_slots_t *));
    fn = jinja_fn_new(&s, NULL);
    y = jinja_syms_new(&s, NULL, fn);
    jinja_collect_list(&s, y, &root->list);
    frame_make(&s, y, &root->frame);
    root->func = fn->func;
    resolve_list(&s, y, &root->list, false);
}
