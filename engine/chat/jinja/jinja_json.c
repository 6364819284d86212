/*
 * The filter tojson: Python's json.dumps(), whose defaults here are
 * ensure_ascii=False and no HTML escapes.  Structure is trusted only where
 * the template made the container.
 */

#include <math.h>
#include <stdio.h>

#include "jinja.h"

typedef struct {
    bool               ascii;
    bool               sort;
    const jinja_str_t *indent; /* NULL: on one line */
    const jinja_str_t *item;   /* separators */
    const jinja_str_t *key;
    uint32_t           level;
} dumps_t;

static void dump(jinja_t *j, jinja_buf_t *b, dumps_t *o, jinja_val_t v);


static void
dump_str(jinja_t *j, jinja_buf_t *b, const dumps_t *o, const jinja_str_t *s)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";

    bool        all = jinja_str_trusted(s);
    char        esc[16];
    size_t      i, n, start = 0;
    uint32_t    cp;
    const char *named;

    jinja_buf_add(j, b, "\"", 1, all);

    for (i = 0; i < s->len; i += n) {
        n = 1;
        cp = (uint8_t) s->text[i];

        if (cp >= 32 && cp < 127 && cp != '"' && cp != '\\') {
            continue;
        }

        if (cp >= 127 && !o->ascii) {
            continue;
        }

        n = jinja_utf8_get(s->text + i, s->text + s->len, &cp);
        named = cp && cp < 128 ? strchr(from, (int) cp) : NULL;

        if (named) {
            snprintf(esc, sizeof(esc), "\\%c", to[named - from]);
        } else if (cp < 0x10000) {
            snprintf(esc, sizeof(esc), "\\u%04x", (unsigned) cp);
        } else {
            snprintf(esc, sizeof(esc), "\\u%04x\\u%04x",
                     (unsigned) (0xd800 + ((cp - 0x10000) >> 10)),
                     (unsigned) (0xdc00 + ((cp - 0x10000) & 0x3ff)));
        }

        jinja_buf_sub(j, b, s, start, i);
        jinja_buf_add(j, b, esc, strlen(esc), jinja_str_trust(s, i));
        start = i + n;
    }

    jinja_buf_sub(j, b, s, start, s->len);
    jinja_buf_add(j, b, "\"", 1, all);
}


static void
dump_text(jinja_t *j, jinja_buf_t *b, const jinja_str_t *s, bool trusted)
{
    if (trusted) {
        jinja_buf_str(j, b, s);
    } else {
        jinja_buf_add(j, b, s->text, s->len, false);
    }
}


static void
newline(jinja_t *j, jinja_buf_t *b, const dumps_t *o, bool trusted)
{
    uint32_t i;

    if (o->indent == NULL) {
        return;
    }

    jinja_buf_add(j, b, "\n", 1, trusted);

    for (i = 0; i < o->level; i++) {
        dump_text(j, b, o->indent, trusted);
    }
}


static void
dump_scalar(jinja_t *j, jinja_buf_t *b, jinja_val_t v)
{
    char text[64];

    if (v.type == JINJA_NONE) {
        strcpy(text, "null");
    } else if (v.type == JINJA_BOOL) {
        strcpy(text, v.u.b ? "true" : "false");
    } else if (v.type == JINJA_INT) {
        snprintf(text, sizeof(text), "%lld", (long long) v.u.i);
    } else if (isnan(v.u.f)) {
        strcpy(text, "NaN");
    } else if (isinf(v.u.f)) {
        strcpy(text, v.u.f > 0 ? "Infinity" : "-Infinity");
    } else {
        jinja_float_repr(v.u.f, text);
    }

    jinja_buf_add(j, b, text, strlen(text), v.trusted);
}


static void
dump_key(jinja_t *j, jinja_buf_t *b, const dumps_t *o, jinja_val_t key)
{
    if (key.type == JINJA_STR) {
        dump_str(j, b, o, key.u.s);
        return;
    }

    if (key.type != JINJA_NONE && !jinja_is_num(key)) {
        jinja_fail(j, "keys must be str, int, float, bool or None, not %s",
                   jinja_type_name(key));
    }

    jinja_buf_add(j, b, "\"", 1, key.trusted);
    dump_scalar(j, b, key);
    jinja_buf_add(j, b, "\"", 1, key.trusted);
}


static void
dump_dict(jinja_t *j, jinja_buf_t *b, dumps_t *o, jinja_dict_t *d)
{
    bool         t = d->trusted;
    uint32_t     i;
    jinja_val_t *keys = d->keys, *vals = d->vals;

    if (d->n == 0) {
        jinja_buf_add(j, b, "{}", 2, t);
        return;
    }

    if (o->sort) {
        keys = jinja_dict_view(j, d, JINJA_KEYS)->v;
        vals = jinja_dict_view(j, d, JINJA_VALUES)->v;
        jinja_sort(j, keys, vals, d->n, false);
    }

    jinja_buf_add(j, b, "{", 1, t);
    o->level++;

    for (i = 0; i < d->n; i++) {
        if (i) {
            dump_text(j, b, o->item, t);
        }
        newline(j, b, o, t);
        dump_key(j, b, o, keys[i]);
        dump_text(j, b, o->key, t);
        dump(j, b, o, vals[i]);
    }

    o->level--;
    newline(j, b, o, t);
    jinja_buf_add(j, b, "}", 1, t);
}


static void
dump_seq(jinja_t *j, jinja_buf_t *b, dumps_t *o, jinja_seq_t *q)
{
    bool     t = q->trusted;
    uint32_t i;

    if (q->n == 0) {
        jinja_buf_add(j, b, "[]", 2, t);
        return;
    }

    jinja_buf_add(j, b, "[", 1, t);
    o->level++;

    for (i = 0; i < q->n; i++) {
        if (i) {
            dump_text(j, b, o->item, t);
        }
        newline(j, b, o, t);
        dump(j, b, o, q->v[i]);
    }

    o->level--;
    newline(j, b, o, t);
    jinja_buf_add(j, b, "]", 1, t);
}


static void
dump(jinja_t *j, jinja_buf_t *b, dumps_t *o, jinja_val_t v)
{
    jinja_enter(j);

    switch (v.type) {

    case JINJA_NONE:
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT:
        dump_scalar(j, b, v);
        break;

    case JINJA_STR:
        dump_str(j, b, o, v.u.s);
        break;

    case JINJA_DICT:
        dump_dict(j, b, o, v.u.d);
        break;

    case JINJA_SEQ:
        if (v.u.q->kind <= JINJA_TUPLE) {
            dump_seq(j, b, o, v.u.q);
            break;
        }
        /* fall through */

    default:
        jinja_fail(j, "Object of type %s is not JSON serializable",
                   jinja_type_name(v));
    }

    jinja_leave(j);
}


static void
indent(jinja_t *j, dumps_t *o, jinja_val_t v)
{
    int64_t     n;
    jinja_buf_t b = {0};

    if (v.type == JINJA_MISSING || v.type == JINJA_NONE) {
        return;
    }

    if (v.type == JINJA_STR) {
        o->indent = v.u.s;
        return;
    }

    n = jinja_need_int(j, v, "indent");
    jinja_buf_fill(j, &b, n > 0 ? (size_t) n : 0, " ", true);
    o->indent = jinja_buf_end(j, &b).u.s;
}


/* v: ensure_ascii, indent, separators, sort_keys */

jinja_val_t
jinja_tojson(jinja_t *j, jinja_val_t self, const jinja_val_t *v,
             const jinja_args_t *args)
{
    dumps_t      o = {0};
    jinja_buf_t  b = {0};
    jinja_seq_t *q;

    o.ascii = jinja_truth(j, v[0]);
    o.sort = jinja_truth(j, v[3]);
    indent(j, &o, v[1]);

    if (v[2].type != JINJA_MISSING && v[2].type != JINJA_NONE) {
        q = jinja_iter_list(j, v[2]);
        if (q->n != 2) {
            jinja_fail(j, "separators must be two strings");
        }
        o.item = jinja_need_str(j, q->v[0], "separators");
        o.key = jinja_need_str(j, q->v[1], "separators");
    } else {
        o.item = jinja_cstr(j, o.indent ? "," : ", ", true).u.s;
        o.key = jinja_cstr(j, ": ", true).u.s;
    }

    dump(j, &b, &o, self);

    return jinja_buf_end(j, &b);
}
