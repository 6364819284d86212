/*
 * What a frame's source says about its names, by the rules of jinja2's
 * idtracking: which are its own, which come from outside or the context.
 */

#include "jinja_scope.h"


jinja_syms_t *
jinja_syms_new(jinja_scope_t *s, jinja_syms_t *parent, jinja_fn_scope_t *fn)
{
    jinja_syms_t *y = jinja_alloc(s->j, sizeof(jinja_syms_t));

    y->parent = parent;
    y->fn = fn;
    y->level = parent ? parent->level + 1 : 0;

    return y;
}


jinja_fn_scope_t *
jinja_fn_new(jinja_scope_t *s, jinja_fn_scope_t *up)
{
    jinja_fn_scope_t *fn = jinja_alloc(s->j, sizeof(jinja_fn_scope_t));

    fn->up = up;
    fn->func = jinja_alloc(s->j, sizeof(jinja_func_t));

    return fn;
}


jinja_sym_t *
jinja_sym_own(jinja_scope_t *s, jinja_syms_t *y, const jinja_str_t *name)
{
    uint32_t i;

    jinja_step(s->j, 1 + y->n / 8);

    for (i = 0; i < y->n; i++) {
        if (y->v[i].name == name) {
            return &y->v[i];
        }
    }

    return NULL;
}


jinja_sym_t *
jinja_sym_find(jinja_scope_t *s, jinja_syms_t *y, const jinja_str_t *name,
               jinja_fn_scope_t **fn)
{
    jinja_sym_t *sym;

    for (; y; y = y->parent) {
        sym = jinja_sym_own(s, y, name);
        if (sym) {
            *fn = y->fn;
            return sym;
        }
    }

    return NULL;
}


/* One slot for a name on a level of a function, wherever it is asked for. */

static uint16_t
slot(jinja_scope_t *s, jinja_syms_t *y, const jinja_str_t *name)
{
    jinja_slots_t **head, *e;
    uintptr_t       h = (uintptr_t) name / 16 + y->level * 31;

    head = &s->slots[h % JINJA_BUCKETS];

    for (e = *head; e; e = e->next) {
        if (e->name == name && e->level == y->level && e->fn == y->fn) {
            return e->slot;
        }
        jinja_step(s->j, 1);
    }

    if (y->fn->func->nslots >= 4096) {
        jinja_throw(s->j, -E2BIG, "the template has too many variables");
    }

    e = jinja_alloc(s->j, sizeof(jinja_slots_t));
    e->name = name;
    e->level = y->level;
    e->fn = y->fn;
    e->slot = (uint16_t) y->fn->func->nslots++;
    e->next = *head;
    *head = e;

    return e->slot;
}


static jinja_sym_t *
define(jinja_scope_t *s, jinja_syms_t *y, const jinja_str_t *name, uint8_t kind)
{
    jinja_sym_t *sym = jinja_sym_own(s, y, name), *grown;

    if (sym == NULL) {
        if (y->n == y->cap) {
            y->cap = y->cap ? y->cap * 2 : 8;
            grown = jinja_alloc(s->j, y->cap * sizeof(jinja_sym_t));
            if (y->n) {
                memcpy(grown, y->v, y->n * sizeof(jinja_sym_t));
            }
            y->v = grown;
        }
        sym = &y->v[y->n++];
        sym->name = name;
        sym->slot = slot(s, y, name);
        sym->stored = false;
    }

    sym->kind = kind;

    return sym;
}


static void
alias(jinja_sym_t *sym, const jinja_sym_t *outer, jinja_fn_scope_t *fn)
{
    sym->kind = JINJA_BY_ALIAS;
    sym->src = outer->slot;
    sym->src_fn = fn;
}


static void
load(jinja_scope_t *s, jinja_syms_t *y, const jinja_str_t *name)
{
    jinja_fn_scope_t *fn;

    if (jinja_sym_find(s, y, name, &fn) == NULL) {
        (void) define(s, y, name, JINJA_BY_NAME);
    }
}


static void
store(jinja_scope_t *s, jinja_syms_t *y, const jinja_str_t *name)
{
    jinja_fn_scope_t *fn;
    jinja_sym_t      *sym = jinja_sym_own(s, y, name), *outer;

    if (sym == NULL) {
        outer = jinja_sym_find(s, y->parent, name, &fn);
        sym = define(s, y, name, JINJA_UNSET);
        if (outer) {
            alias(sym, outer, fn);
        }
    }

    sym->stored = true;
}


void
jinja_sym_param(jinja_scope_t *s, jinja_syms_t *y, const jinja_str_t *name)
{
    define(s, y, name, JINJA_BY_CALL)->stored = true;
}


static void
collect_args(jinja_scope_t *s, jinja_syms_t *y, const jinja_call_args_t *args)
{
    if (args == NULL) {
        return;
    }

    jinja_collect_list(s, y, &args->pos);
    jinja_collect_list(s, y, &args->kw);
    jinja_collect(s, y, args->dyn_pos, false);
    jinja_collect(s, y, args->dyn_kw, false);
}


static jinja_syms_t *
syms_copy(jinja_scope_t *s, const jinja_syms_t *from)
{
    jinja_syms_t *y = jinja_alloc(s->j, sizeof(jinja_syms_t));

    *y = *from;
    y->cap = y->n;
    y->v = jinja_alloc(s->j, y->n * sizeof(jinja_sym_t) + 1);

    if (y->n) {
        memcpy(y->v, from->v, y->n * sizeof(jinja_sym_t));
    }

    jinja_step(s->j, y->n);

    return y;
}


/* What the branches of an `if` set may come from outside after it. */

static void
branch_update(jinja_scope_t *s, jinja_syms_t *y, jinja_syms_t **branch,
              size_t n)
{
    jinja_fn_scope_t *fn;
    jinja_sym_t      *sym, *from, *outer;
    size_t            b;
    uint32_t          i;

    for (b = 0; b < n; b++) {
        for (i = 0; i < branch[b]->n; i++) {
            from = &branch[b]->v[i];
            sym = define(s, y, from->name, from->kind);
            sym->src = from->src;
            sym->src_fn = from->src_fn;
        }
    }

    for (b = 0; b < n; b++) {
        for (i = 0; i < branch[b]->n; i++) {
            from = &branch[b]->v[i];
            sym = jinja_sym_own(s, y, from->name);
            if (!from->stored || sym->stored) {
                continue;
            }
            outer = jinja_sym_find(s, y->parent, from->name, &fn);
            if (outer) {
                alias(sym, outer, fn);
            } else {
                sym->kind = JINJA_BY_NAME;
            }
        }
    }

    for (b = 0; b < n; b++) {
        for (i = 0; i < branch[b]->n; i++) {
            if (branch[b]->v[i].stored) {
                jinja_sym_own(s, y, branch[b]->v[i].name)->stored = true;
            }
        }
    }
}


static void
collect_if(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n)
{
    jinja_syms_t *branch[3];
    jinja_node_t *e;

    jinja_collect(s, y, n->a, false);
    branch[0] = syms_copy(s, y);
    branch[1] = syms_copy(s, y);
    branch[2] = syms_copy(s, y);
    jinja_collect_list(s, branch[0], &n->list);

    for (e = n->elif; e; e = e->elif) {
        /* each is an `if` of its own in one list of branches */
        jinja_node_t alone = *e;

        alone.elif = NULL;
        collect_if(s, branch[1], &alone);
    }

    jinja_collect_list(s, branch[2], &n->list2);
    branch_update(s, y, branch, 3);
}


/* What a frame's source says about its names; inner frames are left out. */

void
jinja_collect(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n, bool as_param)
{
    if (n == NULL) {
        return;
    }

    switch (n->kind) {

    case JN_NAME:
        if (as_param || n->op == JINJA_PARAM) {
            jinja_sym_param(s, y, n->name);
        } else if (n->op == JINJA_STORE) {
            store(s, y, n->name);
        } else {
            load(s, y, n->name);
        }
        return;

    case JN_NSREF:
        load(s, y, n->name);
        return;

    case JN_TUPLE:
        for (uint32_t i = 0; i < n->list.n; i++) {
            jinja_collect(s, y, n->list.v[i], as_param);
        }
        return;

    case JN_IF:
        collect_if(s, y, n);
        return;

    case JN_FOR:
        jinja_collect(s, y, n->b, false);
        return;

    case JN_MACRO:
        store(s, y, n->name);
        return;

    case JN_CALLBLOCK:
        jinja_collect(s, y, n->a, false);
        return;

    case JN_FILTERBLOCK:
        jinja_collect(s, y, n->b, false);
        return;

    case JN_SET:
        jinja_collect(s, y, n->b, false);
        jinja_collect(s, y, n->a, false);
        return;

    case JN_SETBLOCK:
        jinja_collect(s, y, n->a, false);
        return;

    case JN_WITH:
        jinja_collect_list(s, y, &n->args->pos);
        return;
    }

    /* OUTPUT's b is its list's first */
    jinja_collect(s, y, n->a, false);
    jinja_collect(s, y, n->kind == JN_OUTPUT ? NULL : n->b, false);
    jinja_collect(s, y, n->c, false);
    jinja_collect_list(s, y, &n->list);
    jinja_collect_list(s, y, &n->list2);
    collect_args(s, y, n->args);
}


void
jinja_collect_list(jinja_scope_t *s, jinja_syms_t *y, const jinja_nodes_t *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        jinja_collect(s, y, list->v[i], false);
    }
}
