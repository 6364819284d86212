/*
 * Names → slots, by the rules of jinja2's idtracking: which frame a name
 * belongs to is decided from the whole source of the frame, before anything
 * runs.  A name that a frame only reads comes from the nearest outer frame
 * that has it, else from the context; one that it sets is its own and starts
 * as an alias of the outer one.  Slots of sibling frames are shared.
 */

#include "jinja_ast.h"

typedef struct fn_s {
    struct fn_s  *up;
    jinja_func_t *func;
    uint32_t      base; /* level of its first frame */
} fn_t;

typedef struct {
    const jinja_str_t *name;
    fn_t              *src_fn; /* BY_ALIAS: where from */
    uint16_t           slot;
    uint16_t           src;
    uint8_t            kind; /* jinja_load_kind_t or PARAM */
    bool               stored;
} sym_t;

#define PARAM 255

typedef struct slots_s {
    struct slots_s    *next;
    fn_t              *fn;
    const jinja_str_t *name;
    uint32_t           level;
    uint16_t           slot;
} slots_t;

typedef struct syms_s {
    struct syms_s *parent;
    fn_t          *fn;
    uint32_t       level;
    uint32_t       n, cap;
    sym_t         *v;
} syms_t;

typedef struct {
    jinja_t  *j;
    slots_t **slots; /* by name, level, function */
} scope_t;

#define BUCKETS 256

static void collect(scope_t *s, syms_t *y, jinja_node_t *n, bool param);
static void collect_list(scope_t *s, syms_t *y, const jinja_nodes_t *list);
static void resolve(scope_t *s, syms_t *y, jinja_node_t *n, bool soft);
static void resolve_list(scope_t *s, syms_t *y, const jinja_nodes_t *list,
                         bool soft);


static syms_t *
syms_new(scope_t *s, syms_t *parent, fn_t *fn)
{
    syms_t *y = jinja_alloc(s->j, sizeof(syms_t));

    y->parent = parent;
    y->fn = fn;
    y->level = parent ? parent->level + 1 : 0;

    return y;
}


static fn_t *
fn_new(scope_t *s, fn_t *up)
{
    fn_t *fn = jinja_alloc(s->j, sizeof(fn_t));

    fn->up = up;
    fn->func = jinja_alloc(s->j, sizeof(jinja_func_t));

    return fn;
}


static sym_t *
own(scope_t *s, syms_t *y, const jinja_str_t *name)
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


static sym_t *
find(scope_t *s, syms_t *y, const jinja_str_t *name, fn_t **fn)
{
    sym_t *sym;

    for (; y; y = y->parent) {
        sym = own(s, y, name);
        if (sym) {
            *fn = y->fn;
            return sym;
        }
    }

    return NULL;
}


/* One slot for a name on a level of a function, wherever it is asked for. */

static uint16_t
slot(scope_t *s, syms_t *y, const jinja_str_t *name)
{
    slots_t **head, *e;
    uintptr_t h = (uintptr_t) name / 16 + y->level * 31;

    head = &s->slots[h % BUCKETS];

    for (e = *head; e; e = e->next) {
        if (e->name == name && e->level == y->level && e->fn == y->fn) {
            return e->slot;
        }
        jinja_step(s->j, 1);
    }

    if (y->fn->func->nslots >= 4096) {
        jinja_throw(s->j, -E2BIG, "the template has too many variables");
    }

    e = jinja_alloc(s->j, sizeof(slots_t));
    e->name = name;
    e->level = y->level;
    e->fn = y->fn;
    e->slot = (uint16_t) y->fn->func->nslots++;
    e->next = *head;
    *head = e;

    return e->slot;
}


static sym_t *
define(scope_t *s, syms_t *y, const jinja_str_t *name, uint8_t kind)
{
    sym_t *sym = own(s, y, name), *grown;

    if (sym == NULL) {
        if (y->n == y->cap) {
            y->cap = y->cap ? y->cap * 2 : 8;
            grown = jinja_alloc(s->j, y->cap * sizeof(sym_t));
            if (y->n) {
                memcpy(grown, y->v, y->n * sizeof(sym_t));
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
alias(sym_t *sym, const sym_t *outer, fn_t *fn)
{
    sym->kind = JINJA_BY_ALIAS;
    sym->src = outer->slot;
    sym->src_fn = fn;
}


static void
load(scope_t *s, syms_t *y, const jinja_str_t *name)
{
    fn_t *fn;

    if (find(s, y, name, &fn) == NULL) {
        (void) define(s, y, name, JINJA_BY_NAME);
    }
}


static void
store(scope_t *s, syms_t *y, const jinja_str_t *name)
{
    fn_t  *fn;
    sym_t *sym = own(s, y, name), *outer;

    if (sym == NULL) {
        outer = find(s, y->parent, name, &fn);
        sym = define(s, y, name, JINJA_UNSET);
        if (outer) {
            alias(sym, outer, fn);
        }
    }

    sym->stored = true;
}


static void
param(scope_t *s, syms_t *y, const jinja_str_t *name)
{
    define(s, y, name, PARAM)->stored = true;
}


static void
collect_args(scope_t *s, syms_t *y, const jinja_call_args_t *args)
{
    if (args == NULL) {
        return;
    }

    collect_list(s, y, &args->pos);
    collect_list(s, y, &args->kw);
    collect(s, y, args->dyn_pos, false);
    collect(s, y, args->dyn_kw, false);
}


static syms_t *
syms_copy(scope_t *s, const syms_t *from)
{
    syms_t *y = jinja_alloc(s->j, sizeof(syms_t));

    *y = *from;
    y->cap = y->n;
    y->v = jinja_alloc(s->j, y->n * sizeof(sym_t) + 1);

    if (y->n) {
        memcpy(y->v, from->v, y->n * sizeof(sym_t));
    }

    jinja_step(s->j, y->n);

    return y;
}


/* What the branches of an `if` set may come from outside after it. */

static void
branch_update(scope_t *s, syms_t *y, syms_t **branch, size_t n)
{
    fn_t    *fn;
    sym_t   *sym, *from, *outer;
    size_t   b;
    uint32_t i;

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
            sym = own(s, y, from->name);
            if (!from->stored || sym->stored) {
                continue;
            }
            outer = find(s, y->parent, from->name, &fn);
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
                own(s, y, branch[b]->v[i].name)->stored = true;
            }
        }
    }
}


static void
collect_if(scope_t *s, syms_t *y, jinja_node_t *n)
{
    syms_t       *branch[3];
    jinja_node_t *e;

    collect(s, y, n->a, false);
    branch[0] = syms_copy(s, y);
    branch[1] = syms_copy(s, y);
    branch[2] = syms_copy(s, y);
    collect_list(s, branch[0], &n->list);

    for (e = n->elif; e; e = e->elif) {
        /* each is an `if` of its own in one list of branches */
        jinja_node_t alone = *e;

        alone.elif = NULL;
        collect_if(s, branch[1], &alone);
    }

    collect_list(s, branch[2], &n->list2);
    branch_update(s, y, branch, 3);
}


/* What a frame's source says about its names; inner frames are left out. */

static void
collect(scope_t *s, syms_t *y, jinja_node_t *n, bool as_param)
{
    if (n == NULL) {
        return;
    }

    switch (n->kind) {

    case JN_NAME:
        if (as_param || n->op == JINJA_PARAM) {
            param(s, y, n->name);
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
            collect(s, y, n->list.v[i], as_param);
        }
        return;

    case JN_IF:
        collect_if(s, y, n);
        return;

    case JN_FOR:
        collect(s, y, n->b, false);
        return;

    case JN_MACRO:
        store(s, y, n->name);
        return;

    case JN_CALLBLOCK:
        collect(s, y, n->a, false);
        return;

    case JN_FILTERBLOCK:
        collect(s, y, n->b, false);
        return;

    case JN_SET:
        collect(s, y, n->b, false);
        collect(s, y, n->a, false);
        return;

    case JN_SETBLOCK:
        collect(s, y, n->a, false);
        return;

    case JN_WITH:
        collect_list(s, y, &n->args->pos);
        return;
    }

    /* OUTPUT's b is its list's first */
    collect(s, y, n->a, false);
    collect(s, y, n->kind == JN_OUTPUT ? NULL : n->b, false);
    collect(s, y, n->c, false);
    collect_list(s, y, &n->list);
    collect_list(s, y, &n->list2);
    collect_args(s, y, n->args);
}


static void
collect_list(scope_t *s, syms_t *y, const jinja_nodes_t *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        collect(s, y, list->v[i], false);
    }
}


static uint16_t
hops(const fn_t *from, const fn_t *to)
{
    uint16_t n = 0;

    for (; from && from != to; from = from->up) {
        n++;
    }

    return n;
}


/* The loads at the frame's start, from what was collected. */

static void
frame_make(scope_t *s, syms_t *y, jinja_frame_t *f)
{
    uint32_t      i;
    jinja_load_t *l;

    f->loads = jinja_alloc(s->j, y->n * sizeof(jinja_load_t) + 1);
    f->clear = jinja_alloc(s->j, y->n * sizeof(uint16_t) + 1);
    f->nloads = 0;
    f->nclear = 0;

    for (i = 0; i < y->n; i++) {
        f->clear[f->nclear++] = y->v[i].slot;

        if (y->v[i].kind == PARAM) {
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
resolve_name(scope_t *s, syms_t *y, jinja_node_t *n)
{
    fn_t  *fn = NULL;
    sym_t *sym = find(s, y, n->name, &fn);

    if (sym == NULL) {
        /* a name that jinja2's passes miss, too: in a set block's filter */
        jinja_syntax(s->j, n->line, "unsupported use of a name");
    }

    n->slot = sym->slot;
    n->hops = hops(y->fn, fn);
}


static void
resolve_args(scope_t *s, syms_t *y, const jinja_call_args_t *args, bool soft)
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
reads(scope_t *s, const jinja_node_t *n, const char *name, bool *set)
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
reads_body(scope_t *s, const jinja_nodes_t *body, const char *name)
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
intern(scope_t *s, const char *name)
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
special_param(scope_t *s, syms_t *y, jinja_node_t *n, const char *name,
              bool *takes, uint16_t *at)
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
    param(s, y, intern(s, name));
    *at = own(s, y, intern(s, name))->slot;
}


static void
resolve_function(scope_t *s, syms_t *y, jinja_node_t *n)
{
    fn_t   *fn = fn_new(s, y->fn);
    syms_t *inner = syms_new(s, y, fn);

    collect_list(s, inner, &n->params);
    collect_list(s, inner, &n->defaults);
    collect_list(s, inner, &n->list);
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
stores_loop(scope_t *s, const jinja_node_t *n)
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
resolve_for(scope_t *s, syms_t *y, jinja_node_t *n, bool soft)
{
    fn_t   *fn = n->recursive ? fn_new(s, y->fn) : y->fn, *test;
    syms_t *body = syms_new(s, y, fn), *other;

    if (stores_loop(s, n)) {
        jinja_syntax(s->j, n->line,
                     "can't assign to special loop variable in for-loop");
    }

    resolve(s, y, n->b, soft);
    n->func = n->recursive ? fn->func : NULL;

    param(s, body, intern(s, "loop"));
    n->loop_slot = body->v[0].slot;
    collect(s, body, n->a, true);
    collect_list(s, body, &n->list);
    frame_make(s, body, &n->frame);
    resolve(s, body, n->a, false);
    resolve_list(s, body, &n->list, false);

    if (n->list2.n) {
        other = syms_new(s, y, fn);
        collect_list(s, other, &n->list2);
        frame_make(s, other, &n->else_frame);
        resolve_list(s, other, &n->list2, false);
    }

    if (n->c) {
        test = fn_new(s, fn);
        other = syms_new(s, y, test);
        collect(s, other, n->test_target, true);
        collect(s, other, n->c, false);
        frame_make(s, other, &n->test_frame);
        n->test_func = test->func;
        resolve(s, other, n->test_target, false);
        resolve(s, other, n->c, false);
    }
}


static void
resolve_block(scope_t *s, syms_t *y, jinja_node_t *n, bool soft)
{
    uint32_t i;
    syms_t  *inner = syms_new(s, y, y->fn);

    if (n->kind == JN_WITH) {
        resolve_list(s, y, &n->args->pos, soft);
        for (i = 0; i < n->list2.n; i++) {
            collect(s, inner, n->list2.v[i], false);
        }
        collect_list(s, inner, &n->list);
    } else {
        collect_list(s, inner, &n->list);
        collect(s, inner, n->b, false);
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
resolve_def(scope_t *s, jinja_node_t *n, bool soft)
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
resolve(scope_t *s, syms_t *y, jinja_node_t *n, bool soft)
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
resolve_list(scope_t *s, syms_t *y, const jinja_nodes_t *list, bool soft)
{
    for (uint32_t i = 0; i < list->n; i++) {
        resolve(s, y, list->v[i], soft);
    }
}


/* root: list is the template.  j->vars holds the interned names. */

void
jinja_scope(jinja_t *j, jinja_node_t *root)
{
    scope_t s = {.j = j};
    fn_t   *fn;
    syms_t *y;

    s.slots = jinja_alloc(j, BUCKETS * sizeof(slots_t *));
    fn = fn_new(&s, NULL);
    y = syms_new(&s, NULL, fn);
    collect_list(&s, y, &root->list);
    frame_make(&s, y, &root->frame);
    root->func = fn->func;
    resolve_list(&s, y, &root->list, false);
}
