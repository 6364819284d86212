/*
 * Types: JSON Schemas as sets of values, in a normal form that a generator
 * can walk.
 *
 * A TYPE is a hash-consed set of schema nodes, each with a sign: the values
 * that satisfy all of the positive ones and none of the negative ones.  That
 * is closed under everything that JSON Schema can say, and finite: allOf,
 * $ref and siblings add nodes, not turns a sign, anyOf, oneOf and if branch;
 * recursion comes back to a type that is there already.  (An alternating
 * tree automaton, made nondeterministic step by step: cf. TATA, ch. 7.)
 *
 * Its FORM says what is in it, type by type.  Scalars are languages, exact
 * whatever boolean combination they come from.  Arrays and objects are unions
 * of SHAPES; a shape is a conjunction, its children are types again.
 *
 * EMPTINESS is decided when asked: jt_empty(), least fixpoint over what a
 * value needs.  Shapes that no value has are left out of forms, alternatives
 * of oneOf that cannot both hold are not subtracted from each other.
 *
 * What cannot be decided exactly is an error of jt_form(), with keyword and
 * path: never an approximation.
 *
 * Memory: everything lives in the program's arena (gr_arena()), as the types
 * are expanded while tokens are generated as well; the js_schema_t must live
 * as long: jt_new() takes it.
 */

#ifndef LLM_GRAMMAR_JS_TYPE_H
#define LLM_GRAMMAR_JS_TYPE_H

#include "engine/grammar/gr.h"
#include "engine/grammar/js_schema.h"

typedef struct jt_s jt_t;
typedef uint32_t    jt_type_t;

#define JT_NOTHING 0u /* no value */
#define JT_ANY     1u /* every value */

#define JT_NULL  1u
#define JT_TRUE  2u
#define JT_FALSE 4u

typedef struct {
    jt_type_t type;
    uint32_t  from; /* items at this index and after it count */
    uint32_t  min;  /* items that are of `type`; RE_INF as max: no end */
    uint32_t  max;
} jt_contains_t;

typedef struct {
    const jt_type_t *prefix; /* types of the first items; none JT_NOTHING
                              * below min */
    uint32_t         n_prefix;
    jt_type_t        rest;     /* of all others; JT_NOTHING: there are none */
    uint32_t         min, max; /* items; RE_INF: no end */
    int              unique;   /* no two equal; all possible items scalars */

    const jt_contains_t *contains;
    uint32_t             n_contains;
} jt_array_t;

typedef struct {
    str_t     name; /* UTF-8, decoded */
    jt_type_t type; /* everything that this name's value must be, also by
                     * patterns; JT_NOTHING: there must be no such member */
    int       required;
} jt_member_t;

/* Every member whose name is in keys, and is none of members: of type. */
typedef struct {
    re_t      keys; /* over decoded names */
    jt_type_t type;
} jt_rule_t;

/* Some member whose name is in keys has a value of type. */
typedef struct {
    re_t      keys;
    jt_type_t type;
} jt_some_t;

typedef struct {
    const jt_member_t *members; /* in declared order: properties as they come
                                 * in the schema and its parts, then names
                                 * that are only required */
    uint32_t           n_members;
    re_t               others; /* names that other members may have at all:
                                * propertyNames holds, the rules leave a value;
                                * none of members' names */
    const jt_rule_t   *rules;
    uint32_t           n_rules;
    const jt_some_t   *somes; /* at most 32 */
    uint32_t           n_somes;
    uint32_t           min, max; /* members; RE_INF: no end */
    int said; /* a schema says which other members there may be */
} jt_object_t;

typedef struct {
    unsigned literals; /* JT_NULL ... */
    re_t     string;   /* decoded texts, UTF-8; RE_NONE: no strings */
    re_t     number;   /* spellings */

    const jt_array_t *arrays;
    uint32_t          n_arrays;

    const jt_object_t *objects;
    uint32_t           n_objects;
} jt_form_t;

typedef struct {
    int      formats_off; /* 1: format is no assertion */
    uint32_t max_types;   /* 200,000 */
    uint32_t max_shapes;  /* of one form; 512 */
} jt_options_t;

/*
 * Takes schema (also on failure); freed with jt_free(), which whoever owns
 * the machine calls before the program's arena goes.
 */
int  jt_new(gr_t *gr, js_schema_t *schema_take, const jt_options_t *options,
            jt_t **jt);
void jt_free(jt_t *jt);

/* Why the last call failed, with keyword and path; "" where it did not. */
const char *jt_error(const jt_t *jt);

jt_type_t jt_of_node(jt_t *jt, const js_node_t *node);

/* Values of both, of a and not of b.  Never fail by themselves. */
jt_type_t jt_and(jt_t *jt, jt_type_t a, jt_type_t b);
jt_type_t jt_minus(jt_t *jt, jt_type_t a, jt_type_t b);

/*
 * What is in a type.  0 and *form, which holds as long as jt; -ENOTSUP,
 * -E2BIG, -EINVAL (a reference that leads nowhere) and jt_error().
 */
int jt_form(jt_t *jt, jt_type_t type, const jt_form_t **form);

/* 1: no value; 0: some value; -errno as above. */
int jt_empty(jt_t *jt, jt_type_t type);

/* Values of the type: how many, capped at max (finite sets of scalars only;
 * UINT32_MAX where an array, an object or an endless language is in it). */
int jt_count(jt_t *jt, jt_type_t type, uint32_t max, uint32_t *count);

/* The value of the member of a shape by a name that is none of members: the
 * conjunction of the rules that hold for it. */
int jt_other(jt_t *jt, const jt_object_t *shape, str_t name, jt_type_t *type);


/*
 * FEASIBILITY: can an array or object that has begun still be finished?
 * Exact; the same answer for nothing begun is what keeps a shape in a form.
 */

typedef struct {
    const uint8_t *seen;  /* for each of members: 1 if it is there */
    uint32_t       count; /* members so far */
    uint32_t       met;   /* bit for each of somes that holds already */
    re_t           taken; /* names of members so far that are none of
                           * members' */
} jt_object_so_far_t;

/* 1, 0, -errno. */
int jt_object_feasible(jt_t *jt, const jt_object_t *shape,
                       const jt_object_so_far_t *so_far);

typedef struct {
    uint32_t        count;   /* items so far */
    const uint32_t *met;     /* for each of contains: items that were of it */
    re_t            strings; /* unique: decoded strings so far */
    re_t            numbers; /* ... every spelling of numbers so far */
    unsigned        literals;
} jt_array_so_far_t;

int jt_array_feasible(jt_t *jt, const jt_array_t *shape,
                      const jt_array_so_far_t *so_far);

/*
 * A format's texts as a language over decoded strings (js_format_re.c).
 * 0; -ENOTSUP: cannot be one; format as js_format_find() gives it.
 */
int js_format_re(re_set_t *set, int format, re_t *re, char *err,
                 size_t err_size);

/* Patterns of ECMA-262, those that do not nest deeper than some levels. */
re_t js_format_regex(re_set_t *set);

#endif /* LLM_GRAMMAR_JS_TYPE_H */
