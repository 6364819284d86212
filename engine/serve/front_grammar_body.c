/*
 * Schemas in a request's body, as it was written; and what becomes of those
 * that cannot be kept to.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/serve/front_grammar_priv.h"

static int    members_add(fg_t *g, str_t pointer);
static int    members_scan(fg_t *g);
static size_t skip_space(const char *s, size_t len, size_t at);
static size_t skip_string(const char *s, size_t len, size_t at);
static size_t skip_value(const char *s, size_t len, size_t at);


/*
 * THE BODY
 */

int
fg_members(fg_t *g)
{
    const gen_request_t *req = g->req;
    uint32_t             i;

    for (i = 0; req->calls != GEN_CALLS_NONE && i < req->n_offers; i++) {
        if (req->offers[i].offered && req->offers[i].schema.s) {
            LLM_TRY(members_add(g, req->offers[i].schema));
        }
    }

    if (req->format == GEN_FORMAT_JSON_SCHEMA && req->format_at.s) {
        LLM_TRY(members_add(g, req->format_at));
    }

    return g->n_members ? members_scan(g) : 0;
}


static int
members_add(fg_t *g, str_t pointer)
{
    str_t    name;
    uint32_t i;

    if (pointer.len < 2 || pointer.s[0] != '/') {
        return gen_error(&g->r->error, 500, NULL, NULL,
                         "A schema has no place in the body.");
    }

    name.s = pointer.s + 1;
    for (name.len = 0; name.len + 1 < pointer.len && name.s[name.len] != '/';
         name.len++) {
        /* void */
    }

    for (i = 0; i < g->n_members; i++) {
        if (str_eq(g->members[i].name, name)) {
            return 0;
        }
    }

    if (g->n_members == FG_MEMBERS_MAX) {
        return gen_error(&g->r->error, 500, NULL, NULL,
                         "Schemas are in too many places of the body.");
    }

    g->members[g->n_members++].name = name;

    return 0;
}


/* The body is an object, and valid: Jansson has read it. */

static int
members_scan(fg_t *g)
{
    const char *s = g->r->body.data;
    size_t      len = g->r->body.len, at = skip_space(s, len, 0), key, end;
    uint32_t    i, n = 0;
    int         escaped = 0;

    at = skip_space(s, len, at + 1);

    while (at < len && s[at] == '"') {
        key = at;
        end = skip_value(s, len, at);
        at = skip_space(s, len, end);
        at = skip_space(s, len, at + 1); /* the colon */
        escaped |= memchr(s + key, '\\', end - key) != NULL;

        for (i = 0; i < g->n_members; i++) {
            if (str_eq(g->members[i].name,
                       (str_t){s + key + 1, end - key - 2})) {
                n += g->members[i].text.s == NULL;
                g->members[i].text.s = s + at;
                g->members[i].text.len = skip_value(s, len, at) - at;
            }
        }

        at = skip_space(s, len, skip_value(s, len, at));
        at = skip_space(s, len, at + 1); /* the comma */
    }

    if (n == g->n_members) {
        return 0;
    }

    return gen_error(&g->r->error, 400, "invalid_value", NULL,
                     "The body spells the name of a parameter with %s.",
                     escaped ? "escapes" : "what is none");
}


static size_t
skip_space(const char *s, size_t len, size_t at)
{
    while (
        at < len
        && (s[at] == ' ' || s[at] == '\n' || s[at] == '\r' || s[at] == '\t')) {
        at++;
    }

    return at;
}


/* Behind the string whose quote is at `at`. */

static size_t
skip_string(const char *s, size_t len, size_t at)
{
    const char *end;
    size_t      i;

    for (;;) {
        at++;
        end = at < len ? memchr(s + at, '"', len - at) : NULL;
        if (end == NULL) {
            return len;
        }

        at = (size_t) (end - s);
        for (i = at; s[i - 1] == '\\'; i--) {
            /* void */
        }

        if ((at - i) % 2 == 0) {
            return at + 1;
        }
    }
}


/* Behind the value at `at` of a valid JSON text. */

static size_t
skip_value(const char *s, size_t len, size_t at)
{
    size_t depth = 0;

    while (at < len) {
        switch (s[at]) {

        case '"':
            at = skip_string(s, len, at);
            break;

        case '{':
        case '[':
            depth++;
            at++;
            continue;

        case '}':
        case ']':
            if (depth == 0) {
                return at;
            }
            depth--;
            at++;
            break;

        case ',':
        case ':':
        case ' ':
        case '\n':
        case '\r':
        case '\t':
            at++;
            continue;

        default:
            while (at < len && strchr(",}] \n\r\t", s[at]) == NULL) {
                at++;
            }
        }

        if (depth == 0) {
            return at < len ? at : len;
        }
    }

    return len;
}


int
fg_value(fg_t *g, str_t pointer, const js_value_t **value)
{
    js_limits_t limits = {.max_bytes = SERVE_BODY_MAX, .max_values = 4u << 20};
    const char *s = pointer.s + 1, *end = pointer.s + pointer.len;
    const js_value_t *at = NULL;
    fg_member_t      *m = NULL;
    char              name[256];
    size_t            n;
    uint32_t          i;
    int               rc;

    for (i = 0; i < g->n_members; i++) {
        n = g->members[i].name.len;
        if (n <= (size_t) (end - s) && (s + n == end || s[n] == '/')
            && memcmp(g->members[i].name.s, s, n) == 0) {
            m = &g->members[i];
        }
    }

    if (m && m->value == NULL) {
        rc = js_parse(&g->arena, m->text.s, m->text.len, &limits, &m->value,
                      NULL, g->err, sizeof(g->err));
        if (rc < 0) {
            return fg_refuse_at(g, rc, (str_t){pointer.s, m->name.len + 1},
                                "value");
        }
    }

    at = m ? m->value : NULL;
    s += m ? m->name.len : 0;

    while (at && s < end) {
        for (s++, n = 0; s < end && *s != '/' && n + 1 < sizeof(name); n++) {
            name[n] = *s++;
            if (name[n] == '~' && s < end) {
                name[n] = *s++ == '0' ? '~' : '/';
            }
        }

        name[n] = '\0';

        if (at->type == JS_ARRAY) {
            i = (uint32_t) strtoul(name, NULL, 10);
            at = i < at->n ? &at->items[i] : NULL;
        } else {
            at = at->type == JS_OBJECT ? js_member(at, name, n) : NULL;
        }
    }

    *value = at;

    return at ? 0
              : gen_error(&g->r->error, 500, NULL, NULL,
                          "A schema is not where it was in the body.");
}


/*
 * REFUSALS
 */

int
fg_refuse(fg_t *g, int rc, const char *param, const char *what)
{
    const char *msg = NULL;

    if (g->r->error.status) {
        return rc;
    }

    if (rc == -ENOMEM) {
        return front_no_memory(g->r);
    }

    if (g->err[0] == '\0') {
        gr_failed(g->gr, &msg);
        snprintf(g->err, sizeof(g->err), "%s",
                 msg ? msg : "it cannot be kept to");
    }

    gen_error(&g->r->error, 400,
              rc == -ENOTSUP ? "unsupported_value" : "invalid_value", param,
              "Invalid %s%s%s%s: %s", what, param ? " in '" : "",
              param ? param : "", param ? "'" : "", g->err);

    return rc;
}


int
fg_refuse_at(fg_t *g, int rc, str_t pointer, const char *what)
{
    gen_error_t *e = &g->r->error;
    char         param[sizeof(e->param_buf)];
    size_t       i, n = 0;
    int          number = 0;

    for (i = 0; i < pointer.len && n + 2 < sizeof(param); i++) {
        if (pointer.s[i] != '/') {
            param[n++] = pointer.s[i];
            continue;
        }

        if (number) {
            param[n++] = ']';
        }

        number = i + 1 < pointer.len && pointer.s[i + 1] >= '0'
                 && pointer.s[i + 1] <= '9';

        if (number || i) {
            param[n++] = number ? '[' : '.';
        }
    }

    if (number) {
        param[n++] = ']';
    }

    param[n] = '\0';

    rc = fg_refuse(g, rc, param, what);

    if (e->param == param) {
        memcpy(e->param_buf, param, n + 1);
        e->param = e->param_buf;
    }

    return rc;
}
