/*
 * The ground of a run: its arena, its limits, its errors, simple values, and
 * the way from Jansson's values to ours.
 *
 * Runs on whichever thread compiles or renders.  Memory of everything made
 * here is the arena's.
 */

#include <stdio.h>
#include <stdlib.h>

#include "jinja.h"

#define CHUNK_SIZE 32768


void *
jinja_alloc_raw(jinja_t *j, size_t size)
{
    size_t         want;
    jinja_arena_t *a = &j->arena;
    jinja_chunk_t *c;
    void          *p;

    if (size > SIZE_MAX / 2) {
        jinja_throw(j, -E2BIG, "out of the memory that a template may use");
    }

    size = (size + 15) & ~(size_t) 15;

    if (size > (size_t) (a->end - a->pos)) {
        want = sizeof(jinja_chunk_t) + size;
        if (want < CHUNK_SIZE) {
            want = CHUNK_SIZE;
        }

        if (want > a->left) {
            jinja_throw(j, -E2BIG, "out of the memory that a template may use");
        }

        c = malloc(want);
        if (c == NULL) {
            jinja_throw(j, -ENOMEM, "out of memory");
        }

        a->left -= want;
        c->next = a->chunks;
        c->size = want;
        a->chunks = c;

        if (want > CHUNK_SIZE) {
            /* a big piece of its own: go on with the current chunk */
            return c + 1;
        }

        a->pos = (char *) (c + 1);
        a->end = (char *) c + want;
    }

    p = a->pos;
    a->pos += size;

    return p;
}


void *
jinja_alloc(jinja_t *j, size_t size)
{
    return memset(jinja_alloc_raw(j, size), 0, size);
}


void
jinja_arena_free(jinja_arena_t *arena)
{
    jinja_chunk_t *c, *next;

    for (c = arena->chunks; c; c = next) {
        next = c->next;
        free(c);
    }

    memset(arena, 0, sizeof(*arena));
}


void
jinja_throw(jinja_t *j, int code, const char *fmt, ...)
{
    va_list ap;

    j->code = code;
    va_start(ap, fmt);
    vsnprintf(j->err, j->err_size, fmt, ap);
    va_end(ap);

    longjmp(j->jmp, 1);
}


/* What jinja2 would raise while it renders. */

void
jinja_fail(jinja_t *j, const char *fmt, ...)
{
    int     n;
    va_list ap;

    j->code = -EBADMSG;
    n = snprintf(j->err, j->err_size, "line %u: ", (unsigned) j->line);

    if (n >= 0 && (size_t) n < j->err_size) {
        va_start(ap, fmt);
        vsnprintf(j->err + n, j->err_size - (size_t) n, fmt, ap);
        va_end(ap);
    }

    longjmp(j->jmp, 1);
}


void
jinja_step(jinja_t *j, uint64_t n)
{
    if (n > j->steps) {
        jinja_throw(j, -ETIME, "the template takes too many steps");
    }

    j->steps -= n;
}


void
jinja_enter(jinja_t *j)
{
    if (j->depth >= j->max_depth) {
        jinja_throw(j, -E2BIG, "line %u: nested too deeply",
                    (unsigned) j->line);
    }

    j->depth++;
    jinja_step(j, 1);
}


void
jinja_leave(jinja_t *j)
{
    j->depth--;
}


jinja_val_t
jinja_none(void)
{
    return (jinja_val_t){.type = JINJA_NONE, .trusted = 1};
}


jinja_val_t
jinja_bool(bool b)
{
    return (jinja_val_t){.type = JINJA_BOOL, .trusted = 1, .u.b = b};
}


jinja_val_t
jinja_int(int64_t i, bool trusted)
{
    return (jinja_val_t){.type = JINJA_INT, .trusted = trusted, .u.i = i};
}


jinja_val_t
jinja_float(double f, bool trusted)
{
    return (jinja_val_t){.type = JINJA_FLOAT, .trusted = trusted, .u.f = f};
}


static jinja_undef_t *
undef_new(jinja_t *j, jinja_val_t *v)
{
    v->type = JINJA_UNDEF;
    v->trusted = 1;
    v->u.u = jinja_alloc(j, sizeof(jinja_undef_t));

    return v->u.u;
}


jinja_val_t
jinja_undef_name(jinja_t *j, const jinja_str_t *name)
{
    jinja_val_t v;

    undef_new(j, &v)->name = name;

    return v;
}


jinja_val_t
jinja_undef_hint(jinja_t *j, const char *hint)
{
    jinja_val_t v;

    undef_new(j, &v)->hint = hint;

    return v;
}


jinja_val_t
jinja_undef_attr(jinja_t *j, jinja_val_t obj, jinja_val_t key)
{
    jinja_val_t    v;
    jinja_undef_t *u = undef_new(j, &v);

    u->owner = jinja_type_name(obj);
    u->key = key;

    if (key.type == JINJA_STR) {
        u->name = key.u.s;
    }

    return v;
}


void
jinja_undef_throw(jinja_t *j, jinja_val_t v)
{
    const jinja_undef_t *u = v.u.u;
    int                  len;

    if (u->hint) {
        jinja_fail(j, "%s", u->hint);
    }

    if (u->name == NULL) {
        jinja_fail(j, "%s object has no such element", u->owner);
    }

    len = u->name->len > 100 ? 100 : (int) u->name->len;

    if (u->owner) {
        jinja_fail(j, "'%s object' has no attribute '%.*s'", u->owner, len,
                   u->name->text);
    }

    jinja_fail(j, "'%.*s' is undefined", len, u->name->text);
}


const char *
jinja_type_name(jinja_val_t v)
{
    static const char *const kinds[] = {
        [JINJA_LIST] = "list",          [JINJA_TUPLE] = "tuple",
        [JINJA_RANGE] = "range",        [JINJA_KEYS] = "dict_keys",
        [JINJA_VALUES] = "dict_values", [JINJA_ITEMS] = "dict_items",
        [JINJA_ITER] = "generator",
    };
    static const char *const types[] = {
        [JINJA_MISSING] = "missing", [JINJA_UNDEF] = "Undefined",
        [JINJA_NONE] = "NoneType",   [JINJA_BOOL] = "bool",
        [JINJA_INT] = "int",         [JINJA_FLOAT] = "float",
        [JINJA_STR] = "str",         [JINJA_SEQ] = "",
        [JINJA_DICT] = "dict",       [JINJA_NS] = "Namespace",
        [JINJA_FUNC] = "function",   [JINJA_METHOD] = "method",
        [JINJA_MACRO] = "Macro",     [JINJA_LOOP] = "LoopContext",
        [JINJA_CYCLER] = "Cycler",   [JINJA_JOINER] = "Joiner",
    };

    return v.type == JINJA_SEQ ? kinds[v.u.q->kind] : types[v.type];
}


static jinja_val_t
from_json_array(jinja_t *j, const json_t *json, bool trusted,
                const char *const *roles)
{
    size_t       i, n = json_array_size(json);
    jinja_seq_t *q = jinja_seq_new(j, JINJA_LIST, n, trusted);

    for (i = 0; i < n; i++) {
        jinja_seq_add(
            j, q, jinja_from_json(j, json_array_get(json, i), trusted, roles));
    }

    return jinja_seq(q);
}


static bool
role_trusted(const json_t *value, const char *const *roles)
{
    if (!json_is_string(value)) {
        return false;
    }

    for (; *roles; roles++) {
        if (json_string_length(value) == strlen(*roles)
            && strcmp(json_string_value(value), *roles) == 0) {
            return true;
        }
    }

    return false;
}


static jinja_val_t
from_json_object(jinja_t *j, const json_t *json, bool trusted,
                 const char *const *roles)
{
    void         *it;
    json_t       *o = (json_t *) json;
    bool          t;
    jinja_val_t   key;
    const char   *name;
    jinja_dict_t *d = jinja_dict_new(j, json_object_size(json), trusted);

    for (it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        name = json_object_iter_key(it);
        key = jinja_str(j, name, json_object_iter_key_len(it), trusted);
        t = trusted
            || (roles && strcmp(name, "role") == 0
                && role_trusted(json_object_iter_value(it), roles));
        jinja_dict_set(j, d, key,
                       jinja_from_json(j, json_object_iter_value(it), t, NULL));
    }

    return jinja_dict(d);
}


/*
 * Strings are checked and borrowed: json outlives the run.  roles, if not
 * NULL, is for the objects on this level or in this array.
 */

jinja_val_t
jinja_from_json(jinja_t *j, const json_t *json, bool trusted,
                const char *const *roles)
{
    jinja_val_t v;

    jinja_enter(j);

    switch (json_typeof(json)) {
    case JSON_OBJECT:
        v = from_json_object(j, json, trusted, roles);
        break;
    case JSON_ARRAY:
        v = from_json_array(j, json, trusted, roles);
        break;
    case JSON_STRING:
        v = jinja_str(j, json_string_value(json), json_string_length(json),
                      trusted);
        break;
    case JSON_INTEGER:
        v = jinja_int(json_integer_value(json), trusted);
        break;
    case JSON_REAL:
        v = jinja_float(json_real_value(json), trusted);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = jinja_bool(json_is_true(json));
        v.trusted = trusted;
        break;
    default:
        v = jinja_none();
        v.trusted = trusted;
    }

    jinja_leave(j);

    return v;
}
