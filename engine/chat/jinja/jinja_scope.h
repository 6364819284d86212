/*
 * The symbols of a frame at compile time, shared by the pass that collects
 * them (jinja_symbols.c) and the one that resolves names (jinja_scope.c).
 */

#ifndef LLM_CHAT_JINJA_SCOPE_H
#define LLM_CHAT_JINJA_SCOPE_H

#include "jinja_ast.h"

typedef struct fn_s {
    struct fn_s  *up;
    jinja_func_t *func;
} jinja_fn_scope_t;

typedef struct {
    const jinja_str_t *name;
    jinja_fn_scope_t  *src_fn; /* BY_ALIAS: where from */
    uint16_t           slot;
    uint16_t           src;
    uint8_t            kind; /* jinja_load_kind_t or JINJA_BY_CALL */
    bool               stored;
} jinja_sym_t;

#define JINJA_BY_CALL 255

typedef struct slots_s {
    struct slots_s    *next;
    jinja_fn_scope_t  *fn;
    const jinja_str_t *name;
    uint32_t           level;
    uint16_t           slot;
} jinja_slots_t;

typedef struct syms_s {
    struct syms_s    *parent;
    jinja_fn_scope_t *fn;
    uint32_t          level;
    uint32_t          n, cap;
    jinja_sym_t      *v;
} jinja_syms_t;

typedef struct {
    jinja_t        *j;
    jinja_slots_t **slots; /* by name, level, function */
} jinja_scope_t;

#define JINJA_BUCKETS 256

jinja_syms_t     *jinja_syms_new(jinja_scope_t *s, jinja_syms_t *parent,
                                 jinja_fn_scope_t *fn);
jinja_fn_scope_t *jinja_fn_new(jinja_scope_t *s, jinja_fn_scope_t *up);
jinja_sym_t      *jinja_sym_own(jinja_scope_t *s, jinja_syms_t *y,
                                const jinja_str_t *name);
jinja_sym_t      *jinja_sym_find(jinja_scope_t *s, jinja_syms_t *y,
                                 const jinja_str_t *name, jinja_fn_scope_t **fn);
void              jinja_sym_param(jinja_scope_t *s, jinja_syms_t *y,
                                  const jinja_str_t *name);
void jinja_collect(jinja_scope_t *s, jinja_syms_t *y, jinja_node_t *n,
                   bool as_param);
void jinja_collect_list(jinja_scope_t *s, jinja_syms_t *y,
                        const jinja_nodes_t *list);

#endif /* LLM_CHAT_JINJA_SCOPE_H */
