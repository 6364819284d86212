/*
 * The inside of the chat template renderer: values, strings with provenance,
 * the arena, errors, and the tables of filters, tests and methods.
 *
 * One jinja_t is one compilation or one render; one thread uses it.  All
 * memory comes from its arena and nothing else is held while code runs, so
 * an error may leave by longjmp() from any depth without a leak: functions
 * here do not return on errors.  Values are immutable but for namespaces,
 * cyclers, joiners, loops and the position of iterators; strings are valid
 * UTF-8 always.
 */

#ifndef LLM_CHAT_JINJA_H
#define LLM_CHAT_JINJA_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <jansson.h>

typedef struct jinja_s      jinja_t;
typedef struct jinja_node_s jinja_node_t;
typedef struct jinja_env_s  jinja_env_t;


/* Memory */

typedef struct jinja_chunk_s {
    struct jinja_chunk_s *next;
    size_t                size;
} jinja_chunk_t;

typedef struct {
    jinja_chunk_t *chunks;
    char          *pos;
    char          *end;
    size_t         left; /* bytes that may still be asked from malloc */
} jinja_arena_t;


/* Strings and values */

typedef struct {
    const char    *text;
    const uint8_t *mask; /* trust of each byte, or NULL: all as `trusted` */
    size_t         len;
    size_t         chars; /* code points; equals len if all is ASCII */
    bool           trusted;
    bool           markup; /* Python's Markup: `safe`, `escape` */
} jinja_str_t;

typedef enum {
    JINJA_MISSING = 0, /* no value: unset slot or argument */
    JINJA_UNDEF,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STR,
    JINJA_SEQ,
    JINJA_DICT,
    JINJA_NS,
    JINJA_FUNC,
    JINJA_METHOD,
    JINJA_MACRO,
    JINJA_LOOP,
    JINJA_CYCLER,
    JINJA_JOINER,
} jinja_type_t;

typedef struct jinja_seq_s    jinja_seq_t;
typedef struct jinja_dict_s   jinja_dict_t;
typedef struct jinja_undef_s  jinja_undef_t;
typedef struct jinja_def_s    jinja_def_t;
typedef struct jinja_method_s jinja_method_t;
typedef struct jinja_macro_s  jinja_macro_t;
typedef struct jinja_loop_s   jinja_loop_t;

typedef struct {
    uint8_t type;
    uint8_t trusted; /* of what a scalar prints */
    union {
        bool               b;
        int64_t            i;
        double             f;
        const jinja_str_t *s;
        jinja_seq_t       *q; /* SEQ, CYCLER, JOINER */
        jinja_dict_t      *d; /* DICT, NS */
        jinja_undef_t     *u;
        const jinja_def_t *fn;
        jinja_method_t    *m;
        jinja_macro_t     *macro;
        jinja_loop_t      *loop;
    } u;
} jinja_val_t;

typedef enum {
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_RANGE,
    JINJA_KEYS,
    JINJA_VALUES,
    JINJA_ITEMS,
    JINJA_ITER, /* a generator: read once, from pos on */
} jinja_kind_t;

struct jinja_seq_s {
    jinja_val_t *v;
    uint32_t     n;
    uint32_t     cap;
    uint32_t     pos;
    uint8_t      kind;
    bool         trusted; /* the template made it */
    bool         group;   /* a tuple of groupby: .grouper, .list */
    int64_t      range[3];
};

struct jinja_dict_s {
    jinja_val_t *keys;
    jinja_val_t *vals;
    uint32_t    *index; /* open addressing, key number + 1; from 9 keys on */
    uint32_t     n;
    uint32_t     cap;
    uint32_t     mask;
    bool         trusted;
};

struct jinja_undef_s {
    const char        *hint;
    const char        *owner; /* type of what had no such attribute */
    const jinja_str_t *name;
    jinja_val_t        key;
};

struct jinja_method_s {
    jinja_val_t        self;
    const jinja_def_t *def;
};

struct jinja_macro_s {
    const jinja_node_t *node;
    jinja_env_t        *env;
    const jinja_str_t  *name;
};

struct jinja_loop_s {
    const jinja_node_t *node;
    jinja_env_t        *env;      /* where the loop stands */
    jinja_env_t        *test_env; /* of the loop's `if` */
    jinja_seq_t        *items;
    uint32_t            next;
    int64_t             length; /* < 0: not known yet */
    int64_t             index0;
    int64_t             depth0;
    jinja_val_t         before;
    jinja_val_t         current;
    jinja_val_t         after;
    jinja_val_t         changed;
};

typedef struct {
    jinja_val_t        *pos;
    uint32_t            npos;
    uint32_t            nkw;
    const jinja_str_t **names;
    jinja_val_t        *kw;
} jinja_args_t;

#define JINJA_PARAMS 6

/*
 * A filter, test, method or function.  params names its arguments behind
 * self, by spaces; "?" before the first that may be left out; a leading "/"
 * forbids keywords.  NULL: fn reads args itself, v is NULL.
 */
typedef jinja_val_t (*jinja_fn_t)(jinja_t *j, jinja_val_t self,
                                  const jinja_val_t  *v,
                                  const jinja_args_t *args);

struct jinja_def_s {
    const char *name;
    const char *params;
    jinja_fn_t  fn;
};


/* Growing text */

typedef struct {
    char    *text;
    uint8_t *mask; /* allocated at the first change of trust */
    size_t   len;
    size_t   cap;
    bool     trusted;
} jinja_buf_t;


/* A run */

struct jinja_s {
    jmp_buf       jmp;
    int           code;
    char         *err;
    size_t        err_size;
    jinja_arena_t arena;
    uint64_t      steps;
    size_t        max_output;
    uint32_t      depth;
    uint32_t      max_depth;
    uint32_t      line;
    time_t        now;
    jinja_dict_t *vars;
    jinja_buf_t   tail; /* of the last a + b: the next may go on in it */
};


/* jinja_base.c: memory, errors, limits, constructors */

void          *jinja_alloc(jinja_t *j, size_t size); /* zeroes */
void          *jinja_alloc_raw(jinja_t *j, size_t size);
void           jinja_arena_free(jinja_arena_t *arena);
_Noreturn void jinja_throw(jinja_t *j, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void jinja_fail(jinja_t *j, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void           jinja_step(jinja_t *j, uint64_t n);
void           jinja_enter(jinja_t *j);
void           jinja_leave(jinja_t *j);
jinja_val_t    jinja_none(void);
jinja_val_t    jinja_bool(bool b);
jinja_val_t    jinja_int(int64_t i, bool trusted);
jinja_val_t    jinja_float(double f, bool trusted);
jinja_val_t    jinja_undef_name(jinja_t *j, const jinja_str_t *name);
jinja_val_t    jinja_undef_hint(jinja_t *j, const char *hint);
jinja_val_t    jinja_undef_attr(jinja_t *j, jinja_val_t obj, jinja_val_t key);
_Noreturn void jinja_undef_throw(jinja_t *j, jinja_val_t v);
const char    *jinja_type_name(jinja_val_t v);
jinja_val_t    jinja_from_json(jinja_t *j, const json_t *json, bool trusted,
                               const char *const *roles);

/* jinja_str.c: strings with provenance */

jinja_val_t jinja_str(jinja_t *j, const char *text, size_t len, bool trusted);
jinja_val_t jinja_cstr(jinja_t *j, const char *text, bool trusted);
const jinja_str_t *jinja_sub(jinja_t *j, const jinja_str_t *s, size_t from,
                             size_t to);
jinja_val_t        jinja_val_str(const jinja_str_t *s);
bool               jinja_str_is(const jinja_str_t *s, const char *text);
bool               jinja_str_eq(const jinja_str_t *a, const jinja_str_t *b);
int                jinja_str_cmp(const jinja_str_t *a, const jinja_str_t *b);
bool               jinja_str_trusted(const jinja_str_t *s);
size_t    jinja_str_offset(jinja_t *j, const jinja_str_t *s, size_t chars);
ptrdiff_t jinja_str_find(jinja_t *j, const jinja_str_t *s,
                         const jinja_str_t *what, size_t from, size_t to,
                         bool last);
const jinja_str_t *jinja_str_strip(jinja_t *j, const jinja_str_t *s,
                                   const jinja_str_t *chars, int sides);
const jinja_str_t *jinja_str_escape(jinja_t *j, const jinja_str_t *s);
const jinja_str_t *jinja_str_replace(jinja_t *j, const jinja_str_t *s,
                                     const jinja_str_t *old,
                                     const jinja_str_t *new, int64_t count);
jinja_seq_t       *jinja_str_lines(jinja_t *j, const jinja_str_t *s, bool keep);
const jinja_str_t *jinja_str_concat(jinja_t *j, const jinja_str_t *a,
                                    const jinja_str_t *b);
void jinja_buf_add(jinja_t *j, jinja_buf_t *b, const char *text, size_t len,
                   bool trusted);
void jinja_buf_char(jinja_t *j, jinja_buf_t *b, uint32_t cp, bool trusted);
void jinja_buf_fill(jinja_t *j, jinja_buf_t *b, size_t n, const char *text,
                    bool trusted);
void jinja_buf_str(jinja_t *j, jinja_buf_t *b, const jinja_str_t *s);
void jinja_buf_sub(jinja_t *j, jinja_buf_t *b, const jinja_str_t *s,
                   size_t from, size_t to);
jinja_val_t jinja_buf_end(jinja_t *j, jinja_buf_t *b);
size_t      jinja_utf8_get(const char *p, const char *end, uint32_t *cp);
size_t      jinja_utf8_put(char *p, uint32_t cp);
size_t      jinja_utf8_prev(const char *text, size_t at, uint32_t *cp);
bool        jinja_utf8_valid(const char *text, size_t len, size_t *chars);

#define JINJA_LEFT  1
#define JINJA_RIGHT 2

static inline bool
jinja_str_trust(const jinja_str_t *s, size_t at)
{
    return s->mask ? s->mask[at] : s->trusted;
}

/* jinja_case.c: upper, lower, title, and what characters are */

typedef enum { JINJA_UPPER, JINJA_LOWER, JINJA_TITLE } jinja_case_t;

bool jinja_is_space(uint32_t cp);
bool jinja_is_printable(uint32_t cp);
bool jinja_is_alpha(uint32_t cp);
bool jinja_is_decimal(uint32_t cp);
bool jinja_is_digit(uint32_t cp);
bool jinja_is_numeric(uint32_t cp);
bool jinja_is_lower(uint32_t cp);
bool jinja_is_upper(uint32_t cp);
void jinja_case_add(jinja_t *j, jinja_buf_t *b, const jinja_str_t *s,
                    size_t from, size_t to, jinja_case_t how);
const jinja_str_t *jinja_case(jinja_t *j, const jinja_str_t *s,
                              jinja_case_t how);

/* jinja_coll.c: sequences and dicts */

jinja_seq_t  *jinja_seq_new(jinja_t *j, jinja_kind_t kind, size_t cap,
                            bool trusted);
void          jinja_seq_add(jinja_t *j, jinja_seq_t *q, jinja_val_t v);
jinja_val_t   jinja_seq(jinja_seq_t *q);
jinja_val_t   jinja_pair(jinja_t *j, jinja_val_t a, jinja_val_t b);
jinja_dict_t *jinja_dict_new(jinja_t *j, size_t cap, bool trusted);
void          jinja_dict_set(jinja_t *j, jinja_dict_t *d, jinja_val_t key,
                             jinja_val_t v);
jinja_val_t  *jinja_dict_get(jinja_t *j, jinja_dict_t *d, jinja_val_t key);
jinja_val_t  *jinja_dict_str(jinja_t *j, jinja_dict_t *d,
                             const jinja_str_t *key);
jinja_val_t   jinja_dict(jinja_dict_t *d);
bool          jinja_hashable(jinja_val_t v);
jinja_seq_t  *jinja_dict_view(jinja_t *j, jinja_dict_t *d, jinja_kind_t kind);
jinja_seq_t  *jinja_iter(jinja_t *j, jinja_val_t v); /* from q->pos on */
jinja_seq_t  *jinja_iter_list(jinja_t *j, jinja_val_t v);
bool          jinja_iterable(jinja_val_t v);
int64_t       jinja_len(jinja_t *j, jinja_val_t v, bool *trusted);
jinja_val_t   jinja_slice(jinja_t *j, jinja_val_t v, jinja_val_t from,
                          jinja_val_t to, jinja_val_t step);
void jinja_sort(jinja_t *j, jinja_val_t *keys, jinja_val_t *v, size_t n,
                bool reverse);

/* jinja_ops.c: what Python's operators do */

bool        jinja_truth(jinja_t *j, jinja_val_t v);
bool        jinja_eq(jinja_t *j, jinja_val_t a, jinja_val_t b);
bool        jinja_same(jinja_val_t a, jinja_val_t b);
int         jinja_cmp(jinja_t *j, jinja_val_t a, jinja_val_t b,
                      const char *op); /* 2: unordered (NaN) */
bool        jinja_lt(jinja_t *j, jinja_val_t a, jinja_val_t b);
bool        jinja_in(jinja_t *j, jinja_val_t a, jinja_val_t b);
jinja_val_t jinja_binary(jinja_t *j, char op, jinja_val_t a, jinja_val_t b);
jinja_val_t jinja_unary(jinja_t *j, char op, jinja_val_t a);
bool        jinja_is_num(jinja_val_t v);
bool        jinja_as_int(jinja_val_t v, int64_t *i); /* int or bool */
double      jinja_as_double(jinja_val_t v);
int64_t     jinja_need_int(jinja_t *j, jinja_val_t v, const char *what);
const jinja_str_t *jinja_need_str(jinja_t *j, jinja_val_t v, const char *what);

/* jinja_repr.c, jinja_json.c: values as text */

void               jinja_float_repr(double f, char buf[40]);
void               jinja_repr_add(jinja_t *j, jinja_buf_t *b, jinja_val_t v);
void               jinja_print(jinja_t *j, jinja_buf_t *b, jinja_val_t v);
const jinja_str_t *jinja_to_str(jinja_t *j, jinja_val_t v);
const jinja_str_t *jinja_soft_str(jinja_t *j, jinja_val_t v);
jinja_val_t jinja_tojson(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                         const jinja_args_t *args);

/* jinja_format.c */

jinja_val_t jinja_percent(jinja_t *j, const jinja_str_t *fmt, jinja_val_t arg);
jinja_val_t jinja_format(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                         const jinja_args_t *args);

/* jinja_split.c: methods of strings */

jinja_val_t jinja_split(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                        const jinja_args_t *args);
jinja_val_t jinja_rsplit(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                         const jinja_args_t *args);
jinja_val_t jinja_splitlines(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                             const jinja_args_t *args);
jinja_val_t jinja_partition(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                            const jinja_args_t *args);
jinja_val_t jinja_rpartition(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
                             const jinja_args_t *args);

/* Tables: jinja_filters*.c, jinja_tests.c, jinja_methods.c, jinja_globals.c */

const jinja_def_t *jinja_def_find(const jinja_def_t *defs, const char *name,
                                  size_t len);
const jinja_def_t *jinja_filter_find(const jinja_str_t *name);
const jinja_def_t *jinja_test_find(const jinja_str_t *name);
const jinja_def_t *jinja_global_find(const jinja_str_t *name);
bool               jinja_filter_known(const jinja_str_t *name);
jinja_val_t jinja_attr(jinja_t *j, jinja_val_t obj, const jinja_str_t *name,
                       bool *found);

/* item's attribute as filters name it: "a.b", "a.0", 0; fallback: or NULL */
jinja_val_t jinja_attr_path(jinja_t *j, jinja_val_t item, jinja_val_t path,
                            const jinja_val_t *fallback);

extern const jinja_def_t jinja_filters_text[];
extern const jinja_def_t jinja_filters_seq[];
extern const jinja_def_t jinja_str_methods[];

/* jinja_eval.c, jinja_call.c */

jinja_val_t jinja_getattr(jinja_t *j, jinja_val_t obj, const jinja_str_t *name);
jinja_val_t jinja_getitem(jinja_t *j, jinja_val_t obj, jinja_val_t key);
jinja_val_t jinja_call(jinja_t *j, jinja_val_t fn, const jinja_args_t *args);
jinja_val_t jinja_def_call(jinja_t *j, const jinja_def_t *def, jinja_val_t self,
                           const jinja_args_t *args);
jinja_val_t jinja_loop_call(jinja_t *j, jinja_loop_t *loop, jinja_val_t items);
jinja_val_t jinja_loop_attr(jinja_t *j, jinja_loop_t *loop,
                            const jinja_str_t *name, bool *found);
bool        jinja_loop_next(jinja_t *j, jinja_loop_t *loop, jinja_val_t *item);

#endif /* LLM_CHAT_JINJA_H */
