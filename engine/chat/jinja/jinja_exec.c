/*
 * Statements → text.  A body tells its loop how to go on (next, break,
 * continue); everything else leaves by an error.
 */

#include "jinja_ast.h"

static int for_run(jinja_t *j, jinja_env_t *env, jinja_env_t *outer,
                   const jinja_node_t *n, jinja_val_t items, int64_t depth0,
                   jinja_buf_t *out);


jinja_env_t *
jinja_env_new(jinja_t *j, const jinja_func_t *func, jinja_env_t *up)
{
    jinja_env_t *env = jinja_alloc(j, sizeof(jinja_env_t)
                                          + func->nslots * sizeof(jinja_val_t));

    env->up = up;

    return env;
}


static jinja_val_t
by_name(jinja_t *j, const jinja_str_t *name)
{
    const jinja_def_t *def;
    jinja_val_t       *v = jinja_dict_str(j, j->vars, name);

    if (v) {
        return *v;
    }

    def = jinja_global_find(name);
    if (def) {
        return (jinja_val_t){.type = JINJA_FUNC, .u.fn = def};
    }

    return (jinja_val_t){.type = JINJA_MISSING};
}


void
jinja_frame_enter(jinja_t *j, jinja_env_t *env, const jinja_frame_t *frame)
{
    unsigned            h;
    uint32_t            i;
    jinja_env_t        *from;
    const jinja_load_t *l;

    jinja_step(j, frame->nloads);

    for (i = 0; i < frame->nloads; i++) {
        l = &frame->loads[i];

        switch (l->kind) {
        case JINJA_BY_NAME:
            env->slots[l->slot] = by_name(j, l->name);
            break;
        case JINJA_BY_ALIAS:
            for (from = env, h = l->hops; h > 0; h--) {
                from = from->up;
            }
            env->slots[l->slot] = from->slots[l->from];
            break;
        default:
            env->slots[l->slot].type = JINJA_MISSING;
        }
    }
}


void
jinja_frame_leave(jinja_env_t *env, const jinja_frame_t *frame)
{
    uint32_t i;

    for (i = 0; i < frame->nclear; i++) {
        env->slots[frame->clear[i]].type = JINJA_MISSING;
    }
}


static void
assign_ns(jinja_t *j, jinja_env_t *env, const jinja_node_t *n, jinja_val_t v)
{
    jinja_val_t *ns = jinja_slot(env, n);

    if (ns->type != JINJA_NS) {
        jinja_fail(j, "cannot assign attribute on non-namespace object");
    }

    if (n->value.u.s->text[0] == '_') {
        jinja_fail(j, "Chat templates cannot store underscore-prefixed "
                      "attributes on a namespace");
    }

    jinja_dict_set(j, ns->u.d, n->value, v);
}


void
jinja_assign(jinja_t *j, jinja_env_t *env, const jinja_node_t *n, jinja_val_t v)
{
    uint32_t     i;
    jinja_seq_t *q;

    j->line = n->line;

    if (n->kind == JN_NAME) {
        *jinja_slot(env, n) = v;
        return;
    }

    if (n->kind == JN_NSREF) {
        assign_ns(j, env, n, v);
        return;
    }

    if (!jinja_iterable(v)) {
        jinja_fail(j, "cannot unpack non-iterable %s object",
                   jinja_type_name(v));
    }

    q = jinja_iter_list(j, v);

    if (q->n != n->list.n) {
        jinja_fail(j, "%s values to unpack (expected %u)",
                   q->n < n->list.n ? "not enough" : "too many",
                   (unsigned) n->list.n);
    }

    for (i = 0; i < q->n; i++) {
        jinja_assign(j, env, n->list.v[i], q->v[i]);
    }
}


/* jinja2 looks at all namespaces of a target before it assigns any. */

static void
check_ns(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    uint32_t i;

    if (n->kind == JN_NSREF && jinja_slot(env, n)->type != JINJA_NS) {
        j->line = n->line;
        jinja_fail(j, "cannot assign attribute on non-namespace object");
    }

    for (i = 0; n->kind == JN_TUPLE && i < n->list.n; i++) {
        check_ns(j, env, n->list.v[i]);
    }
}


/* Whether the loop's `if` takes the item. */

static bool
for_takes(jinja_t *j, jinja_loop_t *loop, jinja_val_t item)
{
    if (loop->test_env == NULL) {
        return true;
    }

    jinja_assign(j, loop->test_env, loop->node->test_target, item);

    return jinja_truth(j, jinja_eval(j, loop->test_env, loop->node->c));
}


static bool
for_pull(jinja_t *j, jinja_loop_t *loop, jinja_val_t *item)
{
    while (loop->items->pos < loop->items->n) {
        jinja_step(j, 1);
        *item = loop->items->v[loop->items->pos++];
        if (for_takes(j, loop, *item)) {
            return true;
        }
    }

    return false;
}


bool
jinja_loop_next(jinja_t *j, jinja_loop_t *loop, jinja_val_t *item)
{
    if (loop->after.type != JINJA_MISSING) {
        *item = loop->after;
        loop->after.type = JINJA_MISSING;
    } else if (!for_pull(j, loop, item)) {
        return false;
    }

    loop->index0++;
    loop->before = loop->current;
    loop->current = *item;

    return true;
}


static int64_t
loop_length(jinja_t *j, jinja_loop_t *loop)
{
    jinja_val_t  item;
    jinja_seq_t *rest;

    if (loop->length >= 0) {
        return loop->length;
    }

    rest = jinja_seq_new(j, JINJA_ITER, 0, false);

    while (for_pull(j, loop, &item)) {
        jinja_seq_add(j, rest, item);
    }

    loop->items = rest;
    loop->test_env = NULL;
    loop->length =
        rest->n + loop->index0 + 1 + (loop->after.type != JINJA_MISSING);

    return loop->length;
}


static bool
loop_peek(jinja_t *j, jinja_loop_t *loop)
{
    jinja_val_t item;

    if (loop->after.type != JINJA_MISSING) {
        return true;
    }

    if (!for_pull(j, loop, &item)) {
        return false;
    }

    loop->after = item;

    return true;
}


static jinja_val_t
loop_cycle(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
           const jinja_args_t *args)
{
    if (args->npos == 0) {
        jinja_fail(j, "no items for cycling given");
    }

    return args->pos[self.u.loop->index0 % args->npos];
}


static jinja_val_t
loop_changed(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
             const jinja_args_t *args)
{
    uint32_t      i;
    jinja_val_t   now;
    jinja_loop_t *loop = self.u.loop;
    jinja_seq_t  *q = jinja_seq_new(j, JINJA_TUPLE, args->npos, true);

    for (i = 0; i < args->npos; i++) {
        jinja_seq_add(j, q, args->pos[i]);
    }

    now = jinja_seq(q);

    if (jinja_eq(j, loop->changed, now)) {
        return jinja_bool(false);
    }

    loop->changed = now;

    return jinja_bool(true);
}


jinja_val_t
jinja_loop_attr(jinja_t *j, jinja_loop_t *loop, const jinja_str_t *name,
                bool *found)
{
    static const jinja_def_t defs[] = {
        {"cycle", NULL, loop_cycle},
        {"changed", NULL, loop_changed},
        {NULL, NULL, NULL},
    };

    int64_t            i = loop->index0;
    jinja_method_t    *m;
    const jinja_def_t *def;

    *found = true;

    if (jinja_str_is(name, "index")) {
        return jinja_int(i + 1, true);
    }

    if (jinja_str_is(name, "index0")) {
        return jinja_int(i, true);
    }

    if (jinja_str_is(name, "first")) {
        return jinja_bool(i == 0);
    }

    if (jinja_str_is(name, "last")) {
        return jinja_bool(!loop_peek(j, loop));
    }

    if (jinja_str_is(name, "length")) {
        return jinja_int(loop_length(j, loop), true);
    }

    if (jinja_str_is(name, "revindex")) {
        return jinja_int(loop_length(j, loop) - i, true);
    }

    if (jinja_str_is(name, "revindex0")) {
        return jinja_int(loop_length(j, loop) - i - 1, true);
    }

    if (jinja_str_is(name, "previtem")) {
        return i == 0 ? jinja_undef_hint(j, "there is no previous item")
                      : loop->before;
    }

    if (jinja_str_is(name, "nextitem")) {
        return loop_peek(j, loop)
                   ? loop->after
                   : jinja_undef_hint(j, "there is no next item");
    }

    if (jinja_str_is(name, "depth")) {
        return jinja_int(loop->depth0 + 1, true);
    }

    if (jinja_str_is(name, "depth0")) {
        return jinja_int(loop->depth0, true);
    }

    def = jinja_def_find(defs, name->text, name->len);
    if (def == NULL) {
        *found = false;
        return jinja_none();
    }

    m = jinja_alloc(j, sizeof(jinja_method_t));
    m->self = (jinja_val_t){.type = JINJA_LOOP, .u.loop = loop};
    m->def = def;

    return (jinja_val_t){.type = JINJA_METHOD, .u.m = m};
}


/* The text of a recursive loop over items. */

static jinja_val_t
for_recurse(jinja_t *j, jinja_env_t *outer, const jinja_node_t *n,
            jinja_val_t items, int64_t depth0)
{
    jinja_buf_t b = {0};

    jinja_enter(j);
    (void) for_run(j, jinja_env_new(j, n->func, outer), outer, n, items, depth0,
                   &b);
    jinja_leave(j);

    return jinja_buf_end(j, &b);
}


jinja_val_t
jinja_loop_call(jinja_t *j, jinja_loop_t *loop, jinja_val_t items)
{
    if (!loop->node->recursive) {
        jinja_fail(j, "The loop must have the 'recursive' marker to be called "
                      "recursively.");
    }

    return for_recurse(j, loop->env, loop->node, items, loop->depth0 + 1);
}


static int
for_run(jinja_t *j, jinja_env_t *env, jinja_env_t *outer, const jinja_node_t *n,
        jinja_val_t items, int64_t depth0, jinja_buf_t *out)
{
    int           flow;
    bool          trusted, done = false;
    jinja_val_t   item, self;
    jinja_loop_t *loop = jinja_alloc(j, sizeof(jinja_loop_t));

    loop->node = n;
    loop->env = outer;
    loop->index0 = -1;
    loop->depth0 = depth0;
    loop->items = jinja_iter(j, items);
    loop->length = n->c ? -1 : jinja_len(j, items, &trusted);
    self = (jinja_val_t){.type = JINJA_LOOP, .u.loop = loop};

    if (n->c) {
        loop->test_env = jinja_env_new(j, n->test_func, env);
        jinja_frame_enter(j, loop->test_env, &n->test_frame);
    }

    while (jinja_loop_next(j, loop, &item)) {
        env->slots[n->loop_slot] = self;
        jinja_assign(j, env, n->a, item);
        jinja_frame_enter(j, env, &n->frame);
        flow = jinja_exec(j, env, &n->list, out);

        /* as in jinja2, only a body that ran to its end forbids the else */
        done = done || flow == JINJA_FLOW_NEXT;
        if (flow == JINJA_FLOW_BREAK) {
            break;
        }
    }

    jinja_frame_leave(env, &n->frame);

    if (done || n->list2.n == 0) {
        return JINJA_FLOW_NEXT;
    }

    jinja_frame_enter(j, env, &n->else_frame);
    flow = jinja_exec(j, env, &n->list2, out);
    jinja_frame_leave(env, &n->else_frame);

    return flow;
}


static int
exec_for(jinja_t *j, jinja_env_t *env, const jinja_node_t *n, jinja_buf_t *out)
{
    jinja_val_t items = jinja_eval(j, env, n->b);

    j->line = n->line;

    if (!n->recursive) {
        return for_run(j, env, env, n, items, 0, out);
    }

    jinja_buf_str(j, out, for_recurse(j, env, n, items, 0).u.s);

    return JINJA_FLOW_NEXT;
}


static int
exec_if(jinja_t *j, jinja_env_t *env, const jinja_node_t *n, jinja_buf_t *out)
{
    const jinja_node_t *e;

    for (e = n; e; e = e->elif) {
        if (jinja_truth(j, jinja_eval(j, env, e->a))) {
            return jinja_exec(j, env, &e->list, out);
        }
    }

    return jinja_exec(j, env, &n->list2, out);
}


static jinja_val_t
macro_value(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    jinja_macro_t *macro = jinja_alloc(j, sizeof(jinja_macro_t));

    macro->node = n;
    macro->env = env;
    macro->name = n->name;

    return (jinja_val_t){.type = JINJA_MACRO, .u.macro = macro};
}


static void
exec_call_block(jinja_t *j, jinja_env_t *env, const jinja_node_t *n,
                jinja_buf_t *out)
{
    jinja_val_t  fn, caller = macro_value(j, env, n);
    jinja_args_t args = {0};

    if (n->a == NULL) {
        jinja_print(j, out, jinja_macro_call(j, caller.u.macro, &args));
        return;
    }

    fn = jinja_eval(j, env, n->a->a);
    jinja_eval_args(j, env, n->a->args, &caller, &args);
    j->line = n->line;
    jinja_print(j, out, jinja_call(j, fn, &args));
}


static int
exec_filter_block(jinja_t *j, jinja_env_t *env, const jinja_node_t *n,
                  jinja_buf_t *out)
{
    int         flow;
    jinja_buf_t b = {0};

    jinja_frame_enter(j, env, &n->frame);
    flow = jinja_exec(j, env, &n->list, &b);

    if (flow == JINJA_FLOW_NEXT) {
        jinja_print(j, out,
                    jinja_eval_filter(j, env, n->b, jinja_buf_end(j, &b)));
    }

    jinja_frame_leave(env, &n->frame);

    return flow;
}


static int
exec_set_block(jinja_t *j, jinja_env_t *env, const jinja_node_t *n)
{
    int         flow;
    jinja_val_t v;
    jinja_buf_t b = {0};

    jinja_frame_enter(j, env, &n->frame);
    flow = jinja_exec(j, env, &n->list, &b);

    if (flow == JINJA_FLOW_NEXT) {
        v = jinja_buf_end(j, &b);
        if (n->b) {
            v = jinja_eval_filter(j, env, n->b, v);
        }
        jinja_assign(j, env, n->a, v);
    }

    jinja_frame_leave(env, &n->frame);

    return flow;
}


static int
exec_with(jinja_t *j, jinja_env_t *env, const jinja_node_t *n, jinja_buf_t *out)
{
    int      flow;
    uint32_t i;

    jinja_frame_enter(j, env, &n->frame);

    for (i = 0; i < n->list2.n; i++) {
        jinja_assign(j, env, n->list2.v[i],
                     jinja_eval(j, env, n->args->pos.v[i]));
    }

    flow = jinja_exec(j, env, &n->list, out);
    jinja_frame_leave(env, &n->frame);

    return flow;
}


static int
exec_one(jinja_t *j, jinja_env_t *env, const jinja_node_t *n, jinja_buf_t *out)
{
    uint32_t    i;
    jinja_val_t v;

    j->line = n->line;

    switch (n->kind) {

    case JN_DATA:
        jinja_buf_str(j, out, n->value.u.s);
        break;

    case JN_OUTPUT:
        for (i = 0; i < n->list.n; i++) {
            jinja_print(j, out, jinja_eval(j, env, n->list.v[i]));
        }
        break;

    case JN_SET:
        check_ns(j, env, n->a);
        v = jinja_eval(j, env, n->b);
        jinja_assign(j, env, n->a, v);
        break;

    case JN_IF:
        return exec_if(j, env, n, out);

    case JN_FOR:
        return exec_for(j, env, n, out);

    case JN_MACRO:
        *jinja_slot(env, n) = macro_value(j, env, n);
        break;

    case JN_CALLBLOCK:
        exec_call_block(j, env, n, out);
        break;

    case JN_FILTERBLOCK:
        return exec_filter_block(j, env, n, out);

    case JN_SETBLOCK:
        return exec_set_block(j, env, n);

    case JN_WITH:
        return exec_with(j, env, n, out);

    case JN_BREAK:
        return JINJA_FLOW_BREAK;

    default:
        return JINJA_FLOW_CONT;
    }

    return JINJA_FLOW_NEXT;
}


int
jinja_exec(jinja_t *j, jinja_env_t *env, const jinja_nodes_t *body,
           jinja_buf_t *out)
{
    int      flow = JINJA_FLOW_NEXT;
    uint32_t i;

    jinja_enter(j);

    for (i = 0; flow == JINJA_FLOW_NEXT && i < body->n; i++) {
        flow = exec_one(j, env, body->v[i], out);
        jinja_step(j, 1);
    }

    jinja_leave(j);

    return flow;
}
