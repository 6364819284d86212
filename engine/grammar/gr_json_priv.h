/*
 * The JSON machine: what its parts share.
 *
 * ONE machine writes every value of a document.  Its states (GJ_*) are keys
 * of this file's structs; what a state means hangs on the types (js_type.h)
 * that the key names.  Everything is expanded when the parser first comes
 * there: an object knows which members it has, not which it could have.
 *
 * LEXEMES are as long as they can be without costing shared work: the brace
 * or comma, the member's name and the colon are one; a string with its quotes
 * is one, and the same one wherever any text may stand, so that the lexer's
 * states and the masks kept for them are shared by all such places.
 *
 * Memory: the machine's data is freed with the program; what it learns of
 * types is in the program's arena.  The holder of the program's lock runs it.
 */

#ifndef LLM_GRAMMAR_GR_JSON_PRIV_H
#define LLM_GRAMMAR_GR_JSON_PRIV_H

#include "engine/grammar/gr_front.h"
#include "engine/grammar/js_type.h"

enum {
    GJ_END = 1,     /* a value is complete */
    GJ_PART,        /* the arrays and objects of a type */
    GJ_CHOICE,      /* values, each with the state that follows */
    GJ_OBJECT,      /* within an object, after a member */
    GJ_ARRAY_FIRST, /* after an array's bracket */
    GJ_ARRAY_NEXT,  /* after an item */
    GJ_ARRAY_ITEM   /* after a comma */
};

#define GJ_NO_LEXEME UINT32_MAX

/* How many conditions (jt_some_t, jt_contains_t) a shape may have: each
 * value is tried with every subset of those that wait for it. */
#define GJ_MAX_CONDITIONS 6u

/* Fewer names than this are lexemes of their own, more of them one lexeme
 * whose text is looked up. */
#define GJ_STATIC_NAMES 4u

#define GJ_OTHER       UINT32_MAX /* a member that is not declared */
#define GJ_MAX_REGIONS 256u

/* No more digits of a number that may not come again. */
#define GJ_UNIQUE_DIGITS 1000u

typedef struct {
    uint32_t  kind;
    jt_type_t type;
} gj_key_part_t;

/* One way on: a value of `type`, then the state `to`. */
typedef struct {
    jt_type_t  type;
    gr_state_t to;
} gj_way_t;

typedef struct {
    uint32_t kind, n;
    gj_way_t ways[1u << GJ_MAX_CONDITIONS];
} gj_key_choice_t;

typedef struct {
    uint32_t  kind;
    jt_type_t type;
    uint32_t  shape;
    uint32_t  pos;    /* declared order: members below it are over */
    uint32_t  count;  /* members so far, capped where it cannot matter */
    uint32_t  met;    /* somes that hold */
    uint32_t  taken;  /* set of names that are no declared members */
    uint8_t   seen[]; /* free order: bits of members */
} gj_key_object_t;

typedef struct {
    uint32_t  kind;
    jt_type_t type;
    uint32_t  shape;
    uint32_t  count; /* items so far, capped where it cannot matter */
    uint32_t  used;  /* unique: set of the items so far */
    uint32_t  met[GJ_MAX_CONDITIONS]; /* only as many as there are contains */
} gj_key_array_t;

/* A shape, with what is asked often. */
typedef struct {
    const jt_object_t *o;
    re_t               others;   /* RE_NONE where it has no string */
    uint32_t           min, max; /* 0, RE_INF where they always hold */
    uint8_t           *usable;   /* of each member: some value is in its type */
    uint64_t *usable_bits, *due_bits; /* the same, and the required ones */
    uint32_t *due;       /* the first required member from i on, or n */
    uint32_t *n_due;     /* required members from i on */
    uint32_t *n_left;    /* usable ones from i on */
    int       universal; /* members' names and others are all texts */
    re_t     *names;     /* of each member, once it was needed */
    uint32_t *slots;     /* member + 1 by name; NULL: not made yet */
    uint32_t  mask;
    size_t    key_len; /* of states */
    jt_type_t type;
    uint32_t  shape;
} gj_object_t;

typedef struct {
    const jt_array_t *a;
    uint32_t          min, max;
    uint32_t          cap;    /* counts from here on are all the same */
    uint32_t          needed; /* no more items have to come */
    jt_type_t         type;
    uint32_t          shape;
    size_t            key_len;
} gj_array_t;

typedef struct {
    const jt_form_t *form;
    uint32_t         string, other; /* lexemes of the scalars, or none */
    gj_object_t    **objects;       /* made when first needed */
    gj_array_t     **arrays;
    int              walked;
} gj_type_t;

/* Scalars: decoded strings, numbers in all their spellings, literals. */
typedef struct {
    re_t     strings, numbers;
    unsigned literals;
} gj_scalars_t;

/* A set of scalars, made of another one and one more value. */
typedef struct {
    uint32_t     parent;
    gj_scalars_t last;
    gj_scalars_t all;
} gj_set_t;

typedef struct {
    gr_t     *gr;
    re_set_t *re;
    jt_t     *jt;
    arena_t  *arena;
    uint32_t  machine;
    int       free_order;
    int       plain; /* GR_PLAIN_* */
    int       closed;

    /* Punctuation with its spaces. */
    re_t     open_name, next_name, after_name, quote;
    re_t     digits, parts;        /* plain_integers() */
    re_t     plain_from, plain_to; /* its last question and answer */
    re_t     plain_text;           /* spellings without needless escapes */
    re_t     unique_number;        /* spellings without exponents */
    uint32_t empty_object, close_object;
    uint32_t open_array, close_array, close_empty, comma;

    gr_state_t end;

    gj_type_t **types; /* by number */
    uint32_t    n_types;

    gj_set_t *sets; /* 0 is the empty one */
    uint32_t  n_sets, cap_sets;
    uint32_t *set_slots; /* number of a set, 0: none */
    uint32_t  set_mask;

    uint8_t *now, *next; /* keys while states are worked out */
    uint8_t *seen;       /* for jt_object_feasible() */
    size_t   cap_key, cap_seen;
    buf_t    text;  /* a decoded string */
    buf_t    names; /* re_t, a list */
    buf_t    order; /* uint32_t, members that may come */

    const char *error; /* why the last function failed, if jt does not know */
} gj_t;


typedef int (*gj_walk_t)(gj_t *gj, jt_type_t type, void *data);

/* gr_json.c */

int gj_type(gj_t *gj, jt_type_t type, gj_type_t **t);

/* Edges for a value of type and then `to`. */
int gj_value(gj_t *gj, jt_type_t type, gr_state_t to, gr_edges_t *out);

/* The state that reads a value in one of these ways. */
gr_state_t gj_choice(gj_t *gj, const gj_way_t *ways, uint32_t n);

/* 1: there is a value; 0; -errno. */
int gj_has_value(gj_t *gj, jt_type_t type);

/* The names of JT_NULL and so on. */
re_t gj_literals(gj_t *gj, unsigned literals);

/* Makes a language without a string RE_NONE.  0; -errno: cannot be told. */
int gj_some_string(gj_t *gj, re_t *re);

/* -errno if the program or its expressions have failed. */
int gj_failed(gj_t *gj);

/* gr_json_object.c */

int gj_object(gj_t *gj, jt_type_t type, uint32_t shape, gj_object_t **object);

/* Tells `each` the types of all values that the object may have. */
int gj_object_walk(gj_t *gj, gj_object_t *ob, gj_walk_t each, void *data);

/*
 * The shape of a key, and the key in gj->now.  shape UINT32_MAX: key is a
 * GJ_OBJECT; else that of a type's part, and nothing has begun.
 */
int gj_object_key(gj_t *gj, const void *key, size_t len, uint32_t shape,
                  gj_object_t **ob, gj_key_object_t **k);

/* Is member i there, or over? */
int gj_object_seen(const gj_t *gj, const gj_key_object_t *k, uint32_t i);

/* Members that are due; all that may come, the due ones among them. */
void gj_object_left(const gj_t *gj, const gj_object_t *ob,
                    const gj_key_object_t *k, uint32_t *due, uint32_t *some);

/* The state after member i, in gj->next; GJ_OTHER: taken is then set. */
gj_key_object_t *gj_object_after(gj_t *gj, const gj_object_t *ob,
                                 const gj_key_object_t *k, uint32_t i,
                                 uint32_t set, uint32_t met);

/* 1: an object with this key, and more among its names, can be finished. */
int gj_object_feasible(gj_t *gj, gj_object_t *ob, const gj_key_object_t *k,
                       re_t more);

/* The type and those of some conditions; JT_NOTHING where nothing is both. */
int gj_with_somes(gj_t *gj, const gj_object_t *ob, jt_type_t type,
                  uint32_t somes, jt_type_t *both);

/* gr_json_member.c */

/* The edges of an object that has not begun (its brace is in them). */
int gj_object_open(gj_t *gj, jt_type_t type, uint32_t shape, gr_edges_t *out);
int gj_object_expand(gj_t *gj, const void *key, size_t len, gr_edges_t *out);

/* shape as in gj_object_key(). */
int gj_object_capture(gj_t *gj, const void *key, size_t len, uint32_t shape,
                      const uint8_t *text, size_t n, gr_state_t *to);

/* gr_json_name.c */

/* Names that the same rules and conditions hold for. */
typedef struct {
    re_t      names;
    jt_type_t type;
    uint32_t  somes;
} gj_region_t;

/* Splits names by the rules and those of somes, into list[GJ_MAX_REGIONS];
 * regions without a name or a value are left out. */
int gj_regions(gj_t *gj, const gj_object_t *ob, re_t names, uint32_t somes,
               gj_region_t *list, uint32_t *n);

/* A declared member's name. */
re_t gj_name_re(gj_t *gj, gj_object_t *ob, uint32_t i);

/* The declared member of that name, or GJ_OTHER; 0 or -ENOMEM. */
int gj_name_find(gj_t *gj, gj_object_t *ob, str_t name, uint32_t *i);

/* gr_json_array.c */

int gj_array(gj_t *gj, jt_type_t type, uint32_t shape, gj_array_t **array);
gr_state_t gj_array_first(gj_t *gj, gj_array_t *array);
int gj_array_expand(gj_t *gj, const void *key, size_t len, gr_edges_t *out);
int gj_array_capture(gj_t *gj, const void *key, size_t len, uint32_t arg,
                     const uint8_t *text, size_t n, gr_state_t *to);
int gj_array_walk(gj_t *gj, gj_array_t *array, gj_walk_t each, void *data);

/* gr_json_set.c */

/* Room for one more set; makes the empty one.  -ENOMEM, -E2BIG. */
int gj_set_room(gj_t *gj);

/* The set with one more value; -ENOMEM. */
int gj_set_add(gj_t *gj, uint32_t set, gj_scalars_t last, uint32_t *more);

/* Decodes the first JSON string in text[n] into gj->text; 0 or -EINVAL. */
int gj_decode(gj_t *gj, const uint8_t *text, size_t n);

/*
 * The spellings of a string, without and with its quotes.  With gj->plain
 * strings of a language that is a list are spelt in one way.
 */
re_t gj_spell(gj_t *gj, re_t string);
re_t gj_quote(gj_t *gj, re_t string);

/* Every spelling of the number in text[n]; 0 or -errno. */
int gj_number(gj_t *gj, const uint8_t *text, size_t n, re_t *re);

#endif /* LLM_GRAMMAR_GR_JSON_PRIV_H */
