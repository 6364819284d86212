/*
 * JSON Schemas as grammars: opens and checks a schema, then leaves all to a
 * machine (gr_json_priv.h) that writes the values of its types.
 *
 * Everything that could be refused is refused here: each type that a value
 * can reach is brought into its form once.  The worker that compiles runs
 * this part, the holder of the program's lock the machine.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/gr_json_priv.h"

#define MOST_SPACES 20u

/* Expressions searched to find out whether a language has a string. */
#define EMPTY_SEARCH 50000u

/* Types that wait to be walked. */
typedef struct {
    jt_type_t *list;
    uint32_t   n, cap;
} work_t;

static int        open_schema(gj_t *gj, const char *text, size_t len,
                              const gr_json_options_t *options, jt_type_t *root,
                              char *err, size_t err_size);
static re_t       plain_integers(gj_t *gj, re_t number);
static void       explain(gj_t *gj, int rc, char *err, size_t err_size);
static int        punctuation(gj_t *gj, int space);
static int        walk(gj_t *gj, jt_type_t root);
static int        walk_type(gj_t *gj, jt_type_t type, work_t *work);
static int        walk_add(gj_t *gj, jt_type_t type, void *data);
static int        types_room(gj_t *gj, jt_type_t type);
static int        scalars(gj_t *gj, gj_type_t *t);
static gr_state_t part(gj_t *gj, jt_type_t type);

static int  expand(gr_t *gr, void *data, const void *key, size_t len,
                   gr_edges_t *out);
static int  expand_part(gj_t *gj, jt_type_t type, gr_edges_t *out);
static int  capture(gr_t *gr, void *data, const void *key, size_t len,
                    uint32_t arg, const uint8_t *text, size_t n, gr_state_t *to);
static void machine_free(void *data);

static const gr_machine_t machine = {expand, capture, machine_free};


int
gr_json_schema(gr_t *gr, const char *text, size_t len,
               const gr_json_options_t *options, gr_node_t *node, char *err,
               size_t err_size)
{
    static const gr_json_options_t defaults;
    gj_key_object_t                end = {.kind = GJ_END};
    jt_type_t                      root = JT_NOTHING;
    gj_t                          *gj;
    int                            rc;

    if (options == NULL) {
        options = &defaults;
    }

    gj = calloc(1, sizeof(gj_t));
    if (gj == NULL) {
        return -ENOMEM;
    }

    gj->gr = gr;
    gj->re = gr_re(gr);
    gj->arena = gr_arena(gr);
    gj->free_order = options->order == GR_ORDER_FREE;
    gj->plain = options->plain;
    gj->closed = options->closed;
    gj->machine = gr_machine_add(gr, &machine, gj);
    LLM_TRY(gr_failed(gr, NULL));
    LLM_TRY(gj_set_room(gj));

    LLM_TRY(open_schema(gj, text, len, options, &root, err, err_size));

    gj->end = gr_state(gr, gj->machine, &end.kind, sizeof(end.kind));
    rc = punctuation(gj, options->space);

    if (rc == 0) {
        rc = walk(gj, root);
    }

    if (rc == 0) {
        *node =
            gr_machine_node(gr, gj_choice(gj, &(gj_way_t){root, gj->end}, 1));
        rc = gj_failed(gj);
    }

    if (rc < 0) {
        explain(gj, rc, err, err_size);
    }

    return rc;
}


static int
open_schema(gj_t *gj, const char *text, size_t len,
            const gr_json_options_t *options, jt_type_t *root, char *err,
            size_t err_size)
{
    js_schema_options_t how = {.draft = options->draft,
                               .remotes = options->remotes,
                               .n_remotes = options->n_remotes};
    jt_options_t        types = {.formats_off = options->formats_off};
    js_schema_t        *schema;
    js_node_t          *node;
    int                 rc;

    LLM_TRY(js_schema_open(text, len, &how, &schema, err, err_size));

    node = js_schema_root(schema);
    rc = jt_new(gj->gr, schema, &types, &gj->jt);

    if (rc == 0) {
        *root = jt_of_node(gj->jt, node);
        rc = gj_has_value(gj, *root);
    }

    if (rc < 0) {
        explain(gj, rc, err, err_size);
        return rc;
    }

    if (rc == 0) {
        snprintf(err, err_size, "#: no value satisfies the schema");
        return -ENOENT;
    }

    return 0;
}


static void
explain(gj_t *gj, int rc, char *err, size_t err_size)
{
    const char *msg = NULL;

    if (gj->jt && jt_error(gj->jt)[0]) {
        msg = jt_error(gj->jt);

    } else if (gj->error) {
        msg = gj->error;

    } else if (gr_failed(gj->gr, &msg) == 0 || msg == NULL) {
        msg = rc == -ENOMEM ? "no memory for a grammar" : "too large a schema";
    }

    snprintf(err, err_size, "%s", msg);
}


int
gr_json_object(gr_t *gr, const gr_json_options_t *options, gr_node_t *node,
               char *err, size_t err_size)
{
    str_t text = str_lit("{\"type\":\"object\"}");

    return gr_json_schema(gr, text.s, text.len, options, node, err, err_size);
}


static int
punctuation(gj_t *gj, int space)
{
    static const uint64_t spaces[4] = {1ull << ' ' | 1ull << '\t' | 1ull << '\n'
                                       | 1ull << '\r'};
    re_set_t             *re = gj->re;
    re_t                  gap, after, no_exponent;
    re_t                  open, close, comma;

    gap = RE_EMPTY;

    if (space == GR_SPACE_ANY) {
        gap = re_repeat(re, re_class(re, spaces), 0, MOST_SPACES);
    }

    after = space == GR_SPACE_SINGLE ? re_str(re, " ") : gap;

    gj->quote = re_str(re, "\"");
    open = re_run(re, "{", 1, gap);
    close = re_concat(re, gap, re_str(re, "}"));
    comma = re_concat(re, gap, re_run(re, ",", 1, after));

    gj->open_name = re_concat(re, open, gj->quote);
    gj->next_name = re_concat(re, comma, gj->quote);
    gj->after_name =
        re_concat(re, gj->quote, re_concat(re, gap, re_run(re, ":", 1, after)));

    gj->close_object = gr_lexeme(gj->gr, close, 0);
    gj->empty_object = gr_lexeme(gj->gr, re_run(re, "{", 1, close), 0);
    gj->comma = gr_lexeme(gj->gr, comma, 0);
    gj->open_array = gr_lexeme(gj->gr, re_run(re, "[", 1, gap), 0);
    gj->close_empty = gr_lexeme(gj->gr, re_str(re, "]"), 0);
    gj->close_array = gr_lexeme(gj->gr, re_concat(re, gap, re_str(re, "]")), 0);

    no_exponent = re_or(re, re_byte_range(re, '0', '9'),
                        re_or(re, re_str(re, "-"), re_str(re, ".")));
    gj->unique_number = re_repeat(re, no_exponent, 1, GJ_UNIQUE_DIGITS);

    return gj_failed(gj);
}


int
gj_failed(gj_t *gj)
{
    return gr_failed(gj->gr, NULL);
}


int
gj_has_value(gj_t *gj, jt_type_t type)
{
    int rc;

    if (type == JT_NOTHING || type == JT_ANY) {
        return type == JT_ANY;
    }

    rc = jt_empty(gj->jt, type);

    return rc < 0 ? rc : !rc;
}


/*
 * COMPILATION
 */

static int
walk(gj_t *gj, jt_type_t root)
{
    work_t work = {0};
    int    rc;

    rc = walk_add(gj, root, &work);

    while (rc == 0 && work.n) {
        rc = gr_check_time(gj->gr);

        if (rc == 0) {
            rc = walk_type(gj, work.list[--work.n], &work);
        }
    }

    free(work.list);

    return rc;
}


static int
walk_type(gj_t *gj, jt_type_t type, work_t *work)
{
    gj_object_t *object;
    gj_array_t  *array;
    gj_type_t   *t;
    uint32_t     i;

    LLM_TRY(gj_type(gj, type, &t));

    for (i = 0; i < t->form->n_arrays; i++) {
        LLM_TRY(gj_array(gj, type, i, &array));
        LLM_TRY(gj_array_walk(gj, array, walk_add, work));
    }

    for (i = 0; i < t->form->n_objects; i++) {
        LLM_TRY(gj_object(gj, type, i, &object));
        LLM_TRY(gj_object_walk(gj, object, walk_add, work));
    }

    return gj_failed(gj);
}


static int
walk_add(gj_t *gj, jt_type_t type, void *data)
{
    work_t    *work = data;
    gj_type_t *t;
    jt_type_t *list;

    LLM_TRY(types_room(gj, type));

    t = gj->types[type];
    if (t->walked) {
        return 0;
    }

    if (work->n == work->cap) {
        work->cap = work->cap ? work->cap * 2 : 64;
        list = realloc(work->list, work->cap * sizeof(jt_type_t));

        if (list == NULL) {
            return -ENOMEM;
        }

        work->list = list;
    }

    t->walked = 1;
    work->list[work->n++] = type;

    return 0;
}


/* Makes gj->types[type]. */
static int
types_room(gj_t *gj, jt_type_t type)
{
    gj_type_t **types;
    uint32_t    n;

    if (type >= gj->n_types) {
        n = gj->n_types ? gj->n_types : 64;

        while (n <= type) {
            n *= 2;
        }

        types = realloc(gj->types, n * sizeof(gj_type_t *));
        if (types == NULL) {
            return -ENOMEM;
        }

        memset(types + gj->n_types, 0, (n - gj->n_types) * sizeof(gj_type_t *));
        gj->types = types;
        gj->n_types = n;
    }

    if (gj->types[type] == NULL) {
        gj->types[type] = arena_get(gj->arena, sizeof(gj_type_t));
    }

    return gj->types[type] ? 0 : -ENOMEM;
}


int
gj_type(gj_t *gj, jt_type_t type, gj_type_t **out)
{
    const jt_form_t *form;
    gj_type_t       *t;

    LLM_TRY(types_room(gj, type));
    t = *out = gj->types[type];

    if (t->form) {
        return 0;
    }

    LLM_TRY(jt_form(gj->jt, type, &form));
    t->form = form;
    t->objects =
        arena_get(gj->arena, (form->n_objects + 1) * sizeof(gj_object_t *));
    t->arrays =
        arena_get(gj->arena, (form->n_arrays + 1) * sizeof(gj_array_t *));

    if (t->objects == NULL || t->arrays == NULL) {
        t->form = NULL;
        return -ENOMEM;
    }

    return scalars(gj, t);
}


/* The lexemes of a type's scalars. */
static int
scalars(gj_t *gj, gj_type_t *t)
{
    re_t string = t->form->string, other = t->form->number;

    LLM_TRY(gj_some_string(gj, &string));
    LLM_TRY(gj_some_string(gj, &other));

    if (gj->plain & GR_PLAIN_INTEGERS) {
        other = plain_integers(gj, other);
    }

    other = re_or(gj->re, other, gj_literals(gj, t->form->literals));
    t->string = t->other = GJ_NO_LEXEME;

    if (string != RE_NONE) {
        t->string = gr_lexeme(gj->gr, gj_quote(gj, string), 0);
    }

    if (other != RE_NONE) {
        t->other = gr_lexeme(gj->gr, other, 0);
    }

    return gj_failed(gj);
}


/*
 * Numbers that are whole, spelt as digits; others as they are.  Whole is what
 * has no spelling with a digit behind the point that counts: what such a
 * language spells with an exponent is whole as well.
 */
static re_t
plain_integers(gj_t *gj, re_t number)
{
    static const char whole[] = "-?[0-9]+", part[] = "-?[0-9]+\\.[0-9]*[1-9]";
    char              err[64];
    re_t              digits;

    if (number == RE_NONE || number == gj->plain_from) {
        return number == RE_NONE ? number : gj->plain_to;
    }

    if (gj->digits == RE_NONE
        && (re_ecma_whole(gj->re, whole, sizeof(whole) - 1, &gj->digits, err,
                          sizeof(err))
                < 0
            || re_ecma_whole(gj->re, part, sizeof(part) - 1, &gj->parts, err,
                             sizeof(err))
                   < 0)) {
        return number;
    }

    gj->plain_from = gj->plain_to = number;

    if (re_disjoint(gj->re, number, gj->parts, 0) == RE_YES) {
        digits = re_and(gj->re, number, gj->digits);

        if (re_is_none(gj->re, digits, 0) == RE_NO) {
            gj->plain_to = digits;
        }
    }

    return gj->plain_to;
}


re_t
gj_literals(gj_t *gj, unsigned literals)
{
    re_t re = RE_NONE;

    if (literals & JT_NULL) {
        re = re_str(gj->re, "null");
    }

    if (literals & JT_TRUE) {
        re = re_or(gj->re, re, re_str(gj->re, "true"));
    }

    if (literals & JT_FALSE) {
        re = re_or(gj->re, re, re_str(gj->re, "false"));
    }

    return re;
}


int
gj_some_string(gj_t *gj, re_t *re)
{
    int none = re_is_none(gj->re, *re, EMPTY_SEARCH);

    if (none == RE_YES) {
        *re = RE_NONE;
    }

    if (none == RE_UNKNOWN) {
        LLM_TRY(gj_failed(gj));
        gj->error = "a language is too complex to tell whether it is empty";
        return -E2BIG;
    }

    return 0;
}


/*
 * THE MACHINE
 */

static gr_state_t
part(gj_t *gj, jt_type_t type)
{
    gj_key_part_t key = {GJ_PART, type};

    return gr_state(gj->gr, gj->machine, &key, sizeof(key));
}


gr_state_t
gj_choice(gj_t *gj, const gj_way_t *ways, uint32_t n)
{
    gj_key_choice_t key = {.kind = GJ_CHOICE, .n = n};

    memcpy(key.ways, ways, n * sizeof(gj_way_t));

    return gr_state(gj->gr, gj->machine, &key,
                    offsetof(gj_key_choice_t, ways) + n * sizeof(gj_way_t));
}


int
gj_value(gj_t *gj, jt_type_t type, gr_state_t to, gr_edges_t *out)
{
    gj_type_t *t;

    LLM_TRY(gj_type(gj, type, &t));

    if (t->string != GJ_NO_LEXEME) {
        gr_edge_lexeme(out, t->string, to);
    }

    if (t->other != GJ_NO_LEXEME) {
        gr_edge_lexeme(out, t->other, to);
    }

    if (t->form->n_arrays || t->form->n_objects) {
        gr_edge_call(out, part(gj, type), to);
    }

    return 0;
}


static int
expand(gr_t *gr, void *data, const void *key, size_t len, gr_edges_t *out)
{
    gj_key_choice_t choice;
    gj_key_part_t   p;
    gj_t           *gj = data;
    uint32_t        kind, i;

    (void) gr;
    memcpy(&kind, key, sizeof(kind));

    switch (kind) {
    case GJ_END:
        gr_accept(out);
        return 0;

    case GJ_PART:
        memcpy(&p, key, sizeof(p));
        return expand_part(gj, p.type, out);

    case GJ_CHOICE:
        memcpy(&choice, key, len);

        for (i = 0; i < choice.n; i++) {
            LLM_TRY(gj_value(gj, choice.ways[i].type, choice.ways[i].to, out));
        }

        return gj_failed(gj);

    case GJ_OBJECT:
        LLM_TRY(gj_object_expand(gj, key, len, out));
        return gj_failed(gj);

    default:
        LLM_TRY(gj_array_expand(gj, key, len, out));
        return gj_failed(gj);
    }
}


static int
expand_part(gj_t *gj, jt_type_t type, gr_edges_t *out)
{
    gj_array_t *array;
    gj_type_t  *t;
    uint32_t    i;

    LLM_TRY(gj_type(gj, type, &t));

    for (i = 0; i < t->form->n_arrays; i++) {
        LLM_TRY(gj_array(gj, type, i, &array));
        gr_edge_lexeme(out, gj->open_array, gj_array_first(gj, array));
    }

    for (i = 0; i < t->form->n_objects; i++) {
        LLM_TRY(gj_object_open(gj, type, i, out));
    }

    return gj_failed(gj);
}


static int
capture(gr_t *gr, void *data, const void *key, size_t len, uint32_t arg,
        const uint8_t *text, size_t n, gr_state_t *to)
{
    gj_t    *gj = data;
    uint32_t kind;

    (void) gr;
    memcpy(&kind, key, sizeof(kind));

    if (kind == GJ_PART || kind == GJ_OBJECT) {
        LLM_TRY(gj_object_capture(gj, key, len, arg, text, n, to));

    } else {
        LLM_TRY(gj_array_capture(gj, key, len, arg, text, n, to));
    }

    return gj_failed(gj);
}


static void
machine_free(void *data)
{
    gj_t *gj = data;

    if (gj->jt) {
        jt_free(gj->jt);
    }

    buf_free(&gj->text);
    buf_free(&gj->names);
    buf_free(&gj->order);
    free(gj->types);
    free(gj->sets);
    free(gj->set_slots);
    free(gj->now);
    free(gj->next);
    free(gj->seen);
    free(gj);
}
