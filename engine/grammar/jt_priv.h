/*
 * Inside the types: jt.c (atoms, types, forms), jt_lang.c (scalars as
 * languages), jt_number.c (numbers), jt_walk.c (arrays and objects: branches
 * of a disjunctive normal form), jt_object.c and jt_array.c (a branch as a
 * shape), jt_empty.c (emptiness, counts), jt_feasible.c.
 *
 * An ATOM is what a type is a signed set of: a schema node in a dynamic
 * scope, one JSON value, or (negative only) another type.  A LITERAL is
 * atom * 2 + negative.
 *
 * A type is expanded in two steps.  Its RAW form knows nothing of whether
 * its children are empty; emptiness is decided over raw forms; the form is
 * the raw one without what nothing can be of.
 */

#ifndef LLM_GRAMMAR_JT_PRIV_H
#define LLM_GRAMMAR_JT_PRIV_H

#include "engine/grammar/js_type.h"

/* Kinds of values, as bits. */
#define JT_K_NULL   (1u << JS_NULL)
#define JT_K_BOOL   (1u << JS_BOOLEAN)
#define JT_K_NUMBER (1u << JS_NUMBER)
#define JT_K_STRING (1u << JS_STRING)
#define JT_K_ARRAY  (1u << JS_ARRAY)
#define JT_K_OBJECT (1u << JS_OBJECT)
#define JT_K_ALL    63u

/* Types nested in types while emptiness is decided. */
#define JT_DEPTH 600

/* Schemas nested in schemas of one value. */
#define JT_NESTING 1000

/* What languages are asked to be proved empty within, in expressions. */
#define JT_NONE_STEPS 20000
#define JT_VOID_STEPS 500

/* Steps of walks that only look whether something is empty, together. */
#define JT_LOOKS 40000

enum { JT_ATOM_NODE = 0, JT_ATOM_VALUE, JT_ATOM_TYPE };

/* Scalars: what a language is of. */
enum { JT_LITERALS = 0, JT_STRINGS, JT_NUMBERS, JT_LANGS };

/* Bounds of numbers: all of a language where `simple`. */
typedef struct {
    const js_value_t *min, *max, *multiple; /* NULL: none */
    uint8_t           min_open, max_open;
    uint8_t           integer; /* 1: whole values; 2: spelt without a point */
} jt_bounds_t;

/*
 * Values of one kind: bits of JT_NULL...; or strings; or numbers as three
 * languages: plain spellings, and spellings with an exponent that surely
 * (possibly) are of it.
 */
typedef struct {
    unsigned           bits;
    re_t               re; /* strings, or plain numbers where not simple */
    re_t               sure, possible;
    uint8_t            simple;
    jt_bounds_t        bounds;
    const js_value_t **words; /* strings: all of them, or NULL */
    uint32_t           n_words;
    re_t               base;     /* strings: re without what follows */
    uint32_t           min, max; /* their lengths; RE_INF: no end */
    re_t               gap; /* strings that may be of it, and are not in re: of
                        * formats that re only comes near to */
} jt_lang_t;

typedef struct {
    uint8_t  kind;
    uint8_t  state[JT_LANGS]; /* 1: being worked out; 2: lang is there */
    uint8_t  masked;          /* 1: mask is known; 2: being worked out */
    uint8_t  mask;            /* kinds that values of it may be of */
    uint8_t  evaluates;       /* 0: not known; 1: no; 2: yes; 3: at it */
    uint32_t scope;           /* dynamic scope; of JT_ATOM_TYPE: the type */
    union {
        const js_node_t  *node;
        const js_value_t *value;
    };
    jt_type_t        type; /* of the positive atom alone, once asked for */
    const jt_lang_t *lang[JT_LANGS];
    re_t             pattern;  /* nodes: of the first pattern, once read */
    re_t            *patterns; /* of patternProperties */
} jt_atom_t;

typedef struct {
    re_t      keys;
    jt_type_t type;
} jt_region_t;

/* As jt_object_t, but others is the union of regions, disjoint sets of
 * names, each with what their values are of; members' names are in them. */
typedef struct {
    const jt_member_t *members;
    uint32_t           n_members;
    const jt_region_t *regions;
    uint32_t           n_regions;
    const jt_some_t   *somes;
    uint32_t           n_somes;
    uint32_t           min, max;
    int                said;
    re_t               names; /* of members */
} jt_raw_object_t;

typedef struct jt_raw_s {
    unsigned         literals;
    re_t             string, number;
    jt_array_t      *arrays;
    jt_raw_object_t *objects;
    uint32_t         n_arrays, n_objects;
    uint8_t          unsure; /* string or number may have no text at all */
} jt_raw_t;

enum { JT_UNKNOWN = 0, JT_IS_EMPTY, JT_HAS_VALUE };

typedef struct {
    const uint32_t *lits; /* ascending */
    uint32_t        n;
    uint32_t        hash;
    uint8_t         empty;     /* JT_UNKNOWN... */
    uint8_t         expanding; /* its raw form is being made */
    uint8_t         tried;     /* jt_quick(): not found empty, by kinds */
    uint32_t        visiting;  /* depth at which emptiness looks at it, + 1 */
    jt_raw_t       *raw;
    jt_form_t      *form;
} jt_def_t;

typedef struct {
    uint32_t             up;
    const js_resource_t *resource;
} jt_scope_t;

/* Words of a regular language counted. */
typedef struct {
    re_t     re;
    uint32_t cap, count;
} jt_words_t;

struct jt_s {
    gr_t            *gr;
    re_set_t        *re;
    arena_t         *arena;
    js_schema_t     *schema;
    jt_options_t     options;
    int              rc; /* of the first failure: it stays */
    char             err[512];
    const js_node_t *at; /* whose language is being worked out */
    jt_atom_t      **atoms;
    uint32_t         n_atoms, cap_atoms;
    uint32_t        *atom_slots, n_atom_slots;
    jt_def_t       **types;
    uint32_t         n_types, cap_types;
    uint32_t        *type_slots, n_type_slots;
    jt_scope_t      *scopes;
    uint32_t         n_scopes, cap_scopes;
    uint32_t         depth;   /* of emptiness */
    uint32_t         low;     /* the outermost type that was assumed empty */
    uint32_t         nesting; /* of languages and masks */
    uint32_t         raws;    /* raw forms being made */
    uint32_t         looked;  /* steps of all walks under jt_quick() */
    uint32_t         quick;   /* jt_quick() is at work: look less far */
    re_t             numbers[3][2]; /* without bounds, once made */
    re_t             exponents;     /* numbers that have one */
    re_t             canonical;     /* one spelling of every number */
    re_t             formats[64];   /* once made */
    buf_t            scratch;       /* literals of a type */
};

/* Says keyword (or NULL) of node, and why; returns rc, which stays. */
int jt_fail(jt_t *jt, int rc, const js_node_t *node, const js_keyword_t *k,
            const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* A schema that the type is made of, for messages; or NULL. */
const js_node_t *jt_place(const jt_t *jt, jt_type_t type);

/* Zeroed, of the program's arena; NULL and a failure. */
void *jt_get(jt_t *jt, size_t size);

/* Atoms: equal arguments, equal atom.  UINT32_MAX: a failure. */
uint32_t jt_atom_node(jt_t *jt, uint32_t scope, const js_node_t *node);
uint32_t jt_atom_value(jt_t *jt, const js_value_t *value);
uint32_t jt_atom_type(jt_t *jt, jt_type_t type);

/* The type of a list of literals, in any order, which it sorts. */
jt_type_t jt_type_make(jt_t *jt, uint32_t *lits, uint32_t n);

/* The type of a schema below an atom; of one value; of none of type. */
jt_type_t jt_child(jt_t *jt, const jt_atom_t *atom, const js_node_t *node);
jt_type_t jt_of_value(jt_t *jt, const js_value_t *value);
jt_type_t jt_not(jt_t *jt, jt_type_t type);
jt_type_t jt_or(jt_t *jt, jt_type_t a, jt_type_t b);

/* The atom that a reference of an atom's node leads to. */
int jt_target(jt_t *jt, const jt_atom_t *atom, const js_keyword_t *k,
              uint32_t *target);

/* Kinds that values may be of: never too few. */
unsigned jt_mask(jt_t *jt, uint32_t atom);
unsigned jt_mask_type(jt_t *jt, jt_type_t type);

/* 0 and *lang. */
int jt_lang(jt_t *jt, uint32_t atom, int kind, const jt_lang_t **lang);
int jt_lang_type(jt_t *jt, jt_type_t type, int kind, jt_lang_t *lang);

/* Operations on languages of one kind. */
int jt_lang_and(jt_t *jt, int kind, jt_lang_t *a, const jt_lang_t *b);
int jt_lang_minus(jt_t *jt, int kind, jt_lang_t *a, const jt_lang_t *b);
int jt_lang_or(jt_t *jt, int kind, jt_lang_t *a, const jt_lang_t *b);
int jt_lang_none(int kind, const jt_lang_t *a);

/* Numbers: from bounds to the three languages; the form's language. */
int jt_number_open(jt_t *jt, jt_lang_t *lang);
int jt_number_re(jt_t *jt, const jt_lang_t *lang, re_t *re);
int jt_number_leaf(jt_t *jt, const jt_atom_t *atom, jt_lang_t *lang);
int jt_bounds_and(jt_lang_t *a, const jt_lang_t *b);
int jt_number_values(jt_t *jt, re_t number, re_t *re);

/* The language of a pattern, of pattern i of patternProperties. */
int jt_pattern(jt_t *jt, jt_atom_t *atom, const js_keyword_t *k, uint32_t i,
               re_t *re);

/* 1: no string; 0; -E2BIG: cannot be told. */
int jt_re_none(jt_t *jt, re_t re);

/* 1: surely no string; 0. */
int jt_re_void(jt_t *jt, re_t re);

/* Raw forms; NULL in *raw: it is being made. */
int jt_raw(jt_t *jt, jt_type_t type, jt_raw_t **raw);

/* 1: surely no value of these kinds (bits), looking no deeper than depth. */
int jt_quick(jt_t *jt, jt_type_t type, unsigned kinds, int depth);
int jt_quick_object(jt_t *jt, const jt_raw_object_t *shape, int depth);
int jt_quick_array(jt_t *jt, const jt_array_t *shape, int depth);

/* The string language that propertyNames' schema says; exact: or refused. */
int jt_names(jt_t *jt, uint32_t atom, int exact, re_t *re);


/*
 * Branches of the walk: conjunctions of CELLS, lists that share tails.
 */
typedef struct jt_ctx_s jt_ctx_t;

/* A schema with unevaluated*; what is evaluated below it counts. */
struct jt_ctx_s {
    const jt_ctx_t *up;
};

enum {
    JT_CELL_SCOPE = 0, /* properties and beside it; or items and beside it */
    JT_CELL_NAMES,     /* propertyNames: atom */
    JT_CELL_REQUIRED,  /* name, or names of value */
    JT_CELL_FORBIDDEN, /* name */
    JT_CELL_MEMBER,    /* name is there, and its value is of type */
    JT_CELL_OPTION,    /* name's value is of type if it is there */
    JT_CELL_SOME,      /* keys, type */
    JT_CELL_COUNT,     /* min, max */
    JT_CELL_CLOSED,    /* no names but those of value, an object */
    JT_CELL_ITEM,      /* item number min is of type */
    JT_CELL_CONTAINS,  /* type, from, min, max */
    JT_CELL_UNIQUE,    /* negative: not */
    JT_CELL_UNSEEN,    /* unevaluated*, also negative */
    JT_CELL_GOAL       /* lit: was looked at */
};

typedef struct jt_cell_s jt_cell_t;

struct jt_cell_s {
    uint8_t             kind;
    uint8_t             negative;
    uint32_t            atom;
    const js_keyword_t *k;
    const jt_ctx_t     *ctx;
    const js_value_t   *value;
    str_t               name;
    re_t                keys;
    jt_type_t           type;
    uint32_t            from, min, max;
    const jt_cell_t    *next; /* what was there before */
};

/* The shapes of a type's arrays or objects: kind JS_ARRAY or JS_OBJECT. */
int jt_walk(jt_t *jt, jt_type_t type, int kind, jt_raw_t *raw);

/*
 * A branch as a shape, 1; 0: it has none.  brief: without the names that are
 * no members'.
 */
int jt_object_make(jt_t *jt, arena_t *tmp, const jt_cell_t *cells, int brief,
                   jt_raw_object_t *out);
int jt_array_make(jt_t *jt, arena_t *tmp, const jt_cell_t *cells,
                  jt_array_t *out);

/* 1 if ctx is `top` or below it. */
int jt_ctx_in(const jt_ctx_t *ctx, const jt_ctx_t *top);

/* Is a member of that name known to be there (1), or not to be (-1)? */
int jt_cells_name(const jt_cell_t *cells, str_t name);

/* The same, and what properties and cells say that its value is of. */
int jt_cells_says(jt_t *jt, const jt_cell_t *cells, str_t name,
                  jt_type_t *type);

/* Does a schema surely hold (1), surely not (-1), as far as is known? */
int jt_known(jt_t *jt, const jt_cell_t *cells, int kind, uint32_t atom);

/* The same, by what it says alone, not whether it was a goal. */
int jt_known_node(jt_t *jt, const jt_cell_t *cells, int kind, uint32_t atom);

/*
 * A raw shape without what is empty: 1; 0: it has no value.  Emptiness of
 * children as jt_hollow() finds it.
 */
int jt_object_trim(jt_t *jt, const jt_raw_object_t *raw, jt_object_t *out);
int jt_array_trim(jt_t *jt, const jt_array_t *raw, jt_array_t *out);

/* As jt_empty(), inside of it: an assumption may be behind a 1. */
int jt_hollow(jt_t *jt, jt_type_t type);

/* Words of a language, capped at cap. */
int jt_re_count(jt_t *jt, re_t re, uint32_t cap, uint32_t *count);

/* Words (at most max) of a finite language, one call each. */
typedef int (*jt_word_fn)(void *data, const uint8_t *s, size_t n);

int jt_re_words(jt_t *jt, re_t re, uint32_t max, jt_word_fn fn, void *data);

#endif /* LLM_GRAMMAR_JT_PRIV_H */
