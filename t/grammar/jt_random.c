/*
 * Types of JSON Schemas, small and at random, against the validator: values
 * at random are in a form exactly if they are valid; and values made from a
 * form, step by step as far as feasibility says that it can go on, are valid
 * and never get stuck.
 *
 * Arguments: seed, schemas.  JT_VERBOSE=1 shows refusals.
 */

#include "t/grammar/jt_model.h"

#define VALUES 60
#define MADE   6

static uint64_t state;


/* 1 and some text of it in out. */
static int
example(re_set_t *re, re_t a, buf_t *out)
{
    return re_example(re, a, 5000, out) == RE_NO;
}


static uint32_t
below(uint32_t n)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) ((state >> 33) % n);
}


static const char *const scalars[] = {
    "null",   "true",    "false", "0",  "1",    "2",     "3",     "-1",
    "1.0",    "1.5",     "4",     "10", "\"\"", "\"a\"", "\"b\"", "\"ab\"",
    "\"ba\"", "\"abc\"", "\"c\"", "-0", "2.50", "1e1"};

static const char *const names[] = {"a", "b", "c", "ab", "ba", "abc"};

static const char *const patterns[] = {"^a",     "b",      "^[ab]$",   "c$",
                                       "^.{2}$", "^(?!a)", "^(a|b|c)$"};


static void
value_make(buf_t *b, uint32_t depth)
{
    uint32_t i, j, n, used = 0;

    switch (depth ? below(4) : 0) {
    case 2:
        n = below(4);
        buf_str(b, "[");

        for (i = 0; i < n; i++) {
            buf_str(b, i ? "," : "");
            value_make(b, depth - 1);
        }

        buf_str(b, "]");
        return;

    case 3:
        n = below(4);
        buf_str(b, "{");

        for (i = 0; i < n; i++) {
            j = below(llm_countof(names));

            if (used >> j & 1) {
                continue;
            }

            buf_fmt(b, "%s\"%s\":", used ? "," : "", names[j]);
            used |= 1u << j;
            value_make(b, depth - 1);
        }

        buf_str(b, "}");
        return;

    default:
        buf_str(b, scalars[below(llm_countof(scalars))]);
    }
}


static void schema_make(buf_t *b, uint32_t depth);


static void
list_make(buf_t *b, uint32_t depth, uint32_t n)
{
    uint32_t i;

    buf_str(b, "[");

    for (i = 0; i < n; i++) {
        buf_str(b, i ? "," : "");
        schema_make(b, depth - 1);
    }

    buf_str(b, "]");
}


static void
map_make(buf_t *b, uint32_t depth, const char *const *keys, uint32_t n_keys)
{
    uint32_t i, n = 0;

    buf_str(b, "{");

    for (i = 0; i < n_keys; i++) {
        if (below(3) == 0) {
            buf_fmt(b, "%s\"%s\":", n++ ? "," : "", keys[i]);
            schema_make(b, depth - 1);
        }
    }

    buf_str(b, "}");
}


static void
names_make(buf_t *b)
{
    uint32_t i, n = 0;

    buf_str(b, "[");

    for (i = 0; i < 4; i++) {
        if (below(4) == 0) {
            buf_fmt(b, "%s\"%s\"", n++ ? "," : "", names[i]);
        }
    }

    buf_str(b, "]");
}


static void
keyword_make(buf_t *b, uint32_t depth, uint32_t which)
{
    static const char *const types[] = {"null",  "boolean", "number", "string",
                                        "array", "object",  "integer"};
    static const char *const numbers[] = {"-1", "0", "1", "1.5", "2", "3"};
    static const char *const bounds[] = {"minimum", "maximum",
                                         "exclusiveMinimum",
                                         "exclusiveMaximum"};
    static const char *const counts[] = {"minLength",     "maxLength",
                                         "minItems",      "maxItems",
                                         "minProperties", "maxProperties",
                                         "maxContains",   "minContains"};
    static const char *const one[] = {
        "additionalProperties", "items", "contains",
        "propertyNames",        "not",   "unevaluatedProperties",
        "unevaluatedItems"};
    static const char *const lists[] = {"anyOf", "oneOf", "allOf",
                                        "prefixItems"};
    uint32_t                 i, n;

    switch (which) {
    case 0:
    case 1:
        buf_fmt(b, "\"type\":\"%s\"", types[below(7)]);
        return;

    case 2:
        buf_str(b, "\"type\":[");
        buf_fmt(b, "\"%s\",\"%s\"]", types[below(3)], types[3 + below(3)]);
        return;

    case 3:
        buf_str(b, "\"enum\":[");
        n = 1 + below(4);

        for (i = 0; i < n; i++) {
            buf_str(b, i ? "," : "");
            value_make(b, below(4) == 0);
        }

        buf_str(b, "]");
        return;

    case 4:
        buf_str(b, "\"const\":");
        value_make(b, below(3) == 0);
        return;

    case 5:
        buf_fmt(b, "\"%s\":%s", bounds[below(4)], numbers[below(6)]);
        return;

    case 6:
        buf_fmt(b, "\"%s\":%u", counts[below(8)], below(4));
        return;

    case 7:
        buf_fmt(b, "\"pattern\":\"%s\"", patterns[below(7)]);
        return;

    case 8:
        buf_fmt(b, "\"multipleOf\":%s", numbers[2 + below(4)]);
        return;

    case 9:
        buf_str(b, "\"uniqueItems\":true");
        return;

    case 10:
        buf_str(b, "\"required\":");
        names_make(b);
        return;

    case 11:
        buf_fmt(b, "\"dependentRequired\":{\"%s\":", names[below(3)]);
        names_make(b);
        buf_str(b, "}");
        return;

    case 12:
        buf_fmt(b, "\"$ref\":\"#/$defs/%s\"", names[below(2)]);
        return;
    }

    if (depth == 0) {
        keyword_make(b, depth, below(13));
        return;
    }

    switch (which) {
    case 13:
    case 14:
    case 15:
        buf_str(b, "\"properties\":");
        map_make(b, depth, names, 4);
        return;

    case 16:
        buf_str(b, "\"patternProperties\":");
        map_make(b, depth, patterns, 5);
        return;

    case 17:
        buf_str(b, "\"dependentSchemas\":");
        map_make(b, depth, names, 2);
        return;

    case 18:
    case 19:
    case 20:
        buf_fmt(b, "\"%s\":", lists[below(4)]);
        list_make(b, depth, 1 + below(3));
        return;

    case 21:
        buf_str(b, "\"if\":");
        schema_make(b, depth - 1);
        buf_str(b, ",\"then\":");
        schema_make(b, depth - 1);

        if (below(2)) {
            buf_str(b, ",\"else\":");
            schema_make(b, depth - 1);
        }

        return;

    default:
        buf_fmt(b, "\"%s\":", one[below(7)]);
        schema_make(b, depth - 1);
    }
}


/* Members of one name twice: the last one counts. */
static void
schema_make(buf_t *b, uint32_t depth)
{
    uint32_t i, n;

    if (below(12) == 0 || (depth == 0 && below(4) == 0)) {
        buf_str(b, below(2) ? "true" : "false");
        return;
    }

    n = depth ? 1 + below(3) : 1;
    buf_str(b, "{");

    for (i = 0; i < n; i++) {
        buf_str(b, i ? "," : "");
        keyword_make(b, depth, below(25));
    }

    buf_str(b, "}");
}


/*
 * Values from a form.  1: made; 0: given up, too deep; -1: stuck, where
 * something should have been possible.
 */
static int make(model_t *m, jt_type_t type, uint32_t depth, buf_t *out);


static int
make_array(model_t *m, const jt_array_t *a, uint32_t depth, buf_t *out)
{
    jt_array_so_far_t so_far = {0}, next;
    re_set_t         *re = gr_re(m->gr);
    const jt_form_t  *form;
    re_number_t       number = {0};
    jt_type_t         type;
    uint32_t          met[8] = {0}, then[8], set, try, j, k, n_sets;
    size_t            start;
    int               rc, good;
    re_t              r;
    buf_t             text = {0};

    if (a->n_contains > 4) {
        return 0;
    }

    so_far.met = met;
    buf_str(out, "[");
    n_sets = 1u << a->n_contains;

    for (;;) {
        for (j = 0, good = so_far.count >= a->min; j < a->n_contains; j++) {
            good &= met[j] >= a->contains[j].min;
        }

        if (so_far.count > 30) {
            buf_free(&text);
            return 0;
        }

        if (good && (below(3) == 0 || so_far.count == a->max)) {
            break;
        }

        start = out->len;
        set = below(n_sets);

        for (try = 0; try < n_sets; try++, set = (set + 1) % n_sets) {
            type =
                so_far.count < a->n_prefix ? a->prefix[so_far.count] : a->rest;
            memcpy(then, met, sizeof(met));

            for (j = 0; j < a->n_contains; j++) {
                if (so_far.count < a->contains[j].from) {
                    type = set >> j & 1 ? JT_NOTHING : type;

                } else if (set >> j & 1) {
                    type = jt_and(m->jt, type, a->contains[j].type);
                    then[j]++;

                } else if (a->contains[j].max != RE_INF) {
                    type = jt_minus(m->jt, type, a->contains[j].type);
                }
            }

            if (so_far.count == a->max || jt_empty(m->jt, type) != 0) {
                continue;
            }

            next = so_far;
            next.met = then;
            next.count++;
            buf_reset(&text);

            if (a->unique) {
                if (jt_form(m->jt, type, &form) < 0) {
                    return -1;
                }

                for (k = 1; k < 8; k *= 2) {
                    if (form->literals & k & ~so_far.literals) {
                        break;
                    }
                }

                r = re_minus(re, form->string, so_far.strings);

                if (k < 8) {
                    next.literals |= k;
                    buf_str(&text, k == JT_NULL   ? "null"
                                   : k == JT_TRUE ? "true"
                                                  : "false");

                } else if (example(re, r, &text)) {
                    next.strings = re_or(re, next.strings,
                                         re_run(re, text.data ? text.data : "",
                                                text.len, RE_EMPTY));
                    buf_json(out, text.data ? text.data : "", text.len);
                    buf_reset(&text);

                } else {
                    /* Spellings with an exponent are no regular set. */

                    (void) re_ecma(re, "^[^eE]*$", 8, &r, err, sizeof(err));
                    r = re_and(re, r, form->number);
                    r = re_minus(re, r, so_far.numbers);

                    if (!example(re, r, &text)) {
                        continue;
                    }

                    number.min = number.max = (str_t){text.data, text.len};
                    (void) re_number(re, &number, &r, err, sizeof(err));
                    r = re_or(re, r, re_run(re, text.data, text.len, RE_EMPTY));
                    next.numbers = re_or(re, next.numbers, r);
                }

                buf_add(&text, "", 0);
            }

            if (jt_array_feasible(m->jt, a, &next) != 1) {
                out->len = start;
                continue;
            }

            if (!a->unique) {
                rc = make(m, type, depth - 1, &text);

                if (rc != 1) {
                    buf_free(&text);
                    return rc;
                }
            }

            break;
        }

        if (try == n_sets) {
            if (good) {
                out->len = start;
                break;
            }

            buf_free(&text);
            return -1;
        }

        if (out->len > start) {
            buf_reset(&text);
            buf_add(&text, out->data + start, out->len - start);
            out->len = start;
        }

        buf_str(out, so_far.count ? "," : "");
        buf_add(out, text.data, text.len);
        so_far = next;
        memcpy(met, then, sizeof(met));
        so_far.met = met;
    }

    buf_free(&text);
    buf_str(out, "]");

    return 1;
}


/* One more member, of that name and of somes in `set`: 1; 0: not possible. */
static int
make_member(model_t *m, const jt_object_t *o, jt_object_so_far_t *so_far,
            uint8_t *seen, int member, str_t name, jt_type_t type,
            uint32_t depth, buf_t *out)
{
    jt_object_so_far_t next = *so_far;
    re_set_t          *re = gr_re(m->gr);
    uint32_t           set, n_sets = 1u << o->n_somes, try, j;
    jt_type_t          t;
    size_t             start = out->len;
    int                rc;

    set = below(n_sets);

    for (try = 0; try < n_sets; try++, set = (set + 1) % n_sets) {
        next = *so_far;
        next.count++;

        for (j = 0, t = type; j < o->n_somes; j++) {
            if (set >> j & 1) {
                if (!re_match(re, o->somes[j].keys, name.s, name.len)) {
                    break;
                }

                t = jt_and(m->jt, t, o->somes[j].type);
                next.met |= 1u << j;
            }
        }

        if (j < o->n_somes || jt_empty(m->jt, t) != 0) {
            continue;
        }

        if (member >= 0) {
            seen[member] = 1;

        } else {
            next.taken =
                re_or(re, next.taken, re_run(re, name.s, name.len, RE_EMPTY));
        }

        if (jt_object_feasible(m->jt, o, &next) == 1) {
            buf_str(out, so_far->count ? "," : "");
            buf_json(out, name.s, name.len);
            buf_str(out, ":");
            rc = make(m, t, depth - 1, out);

            if (rc != 1) {
                return rc < 0 ? rc : -2;
            }

            *so_far = next;
            return 1;
        }

        if (member >= 0) {
            seen[member] = 0;
        }
    }

    out->len = start;

    return 0;
}


static int
make_object(model_t *m, const jt_object_t *o, uint32_t depth, buf_t *out)
{
    jt_object_so_far_t so_far = {.taken = RE_NONE};
    re_set_t          *re = gr_re(m->gr);
    uint8_t           *seen = calloc(1, o->n_members + 1);
    uint32_t           i, n, try, all, n_moves;
    buf_t              name = {0};
    jt_type_t          type;
    re_t               keys;
    int                good, rc = 0;

    if (o->n_somes > 4) {
        free(seen);
        return 0;
    }

    all = (1u << o->n_somes) - 1;
    so_far.seen = seen;
    buf_str(out, "{");
    n_moves = o->n_members + o->n_rules + o->n_somes + 1;

    for (;;) {
        good = so_far.count >= o->min && so_far.met == all;

        for (i = 0; i < o->n_members; i++) {
            good &= seen[i] || !o->members[i].required;
        }

        if (good && (below(3) == 0 || so_far.count == o->max)) {
            break;
        }

        if (so_far.count > 30) {
            rc = -2;
            break;
        }

        i = below(n_moves);

        for (try = 0, rc = 0; try < n_moves && rc == 0;
             try++, i = (i + 1) % n_moves) {
            if (i < o->n_members) {
                if (!seen[i] && o->members[i].type != JT_NOTHING) {
                    rc = make_member(m, o, &so_far, seen, (int) i,
                                     o->members[i].name, o->members[i].type,
                                     depth, out);
                }

                continue;
            }

            n = i - o->n_members;
            keys = n < o->n_rules                ? o->rules[n].keys
                   : n < o->n_rules + o->n_somes ? o->somes[n - o->n_rules].keys
                                                 : RE_TEXT;
            keys = re_and(re, keys, re_minus(re, o->others, so_far.taken));
            buf_reset(&name);

            if (example(re, keys, &name)) {
                buf_add(&name, "", 1);
                (void) jt_other(m->jt, o, (str_t){name.data, name.len - 1},
                                &type);
                rc = make_member(m, o, &so_far, seen, -1,
                                 (str_t){name.data, name.len - 1}, type, depth,
                                 out);
            }
        }

        if (rc < 0 || (rc == 0 && good)) {
            break;
        }

        if (rc == 0) {
            rc = -1;
            break;
        }
    }

    buf_str(out, "}");
    buf_free(&name);
    free(seen);

    return rc == -2 ? 0 : rc < 0 ? rc : 1;
}


static int
make(model_t *m, jt_type_t type, uint32_t depth, buf_t *out)
{
    const jt_form_t *form;
    uint32_t         n, i, k;
    buf_t            text = {0};

    if (depth == 0) {
        return 0;
    }

    if (jt_form(m->jt, type, &form) < 0) {
        return 0;
    }

    n = 5 + form->n_arrays + form->n_objects;
    i = depth < 4 ? 0 : below(n);

    for (k = 0; k < n; k++, i = (i + 1) % n) {
        if (i < 3) {
            if (form->literals >> i & 1) {
                buf_str(out, i == 0 ? "null" : i == 1 ? "true" : "false");
                return 1;
            }

        } else if (i < 5) {
            if (example(gr_re(m->gr), i == 3 ? form->string : form->number,
                        &text)) {
                if (i == 3) {
                    buf_json(out, text.data ? text.data : "", text.len);

                } else {
                    buf_add(out, text.data, text.len);
                }

                buf_free(&text);
                return 1;
            }

        } else if (i < 5 + form->n_arrays) {
            return make_array(m, &form->arrays[i - 5], depth, out);

        } else {
            return make_object(m, &form->objects[i - 5 - form->n_arrays], depth,
                               out);
        }
    }

    return -1;
}


static uint32_t made, given_up, empty;


static void
check_made(model_t *m, const char *where)
{
    js_validate_options_t how = {.formats = 1};
    const js_value_t     *v;
    arena_t               arena;
    buf_t                 text = {0};
    uint32_t              i;
    int                   rc;

    if (jt_empty(m->jt, m->type) != 0) {
        empty++;
        return;
    }

    for (i = 0; i < MADE; i++) {
        buf_reset(&text);
        rc = make(m, m->type, 8, &text);

        if (rc == 0) {
            given_up++;
            continue;
        }

        if (rc < 0) {
            tally.stuck++;
            diag("%s: stuck after %.*s", where, (int) text.len, text.data);
            continue;
        }

        arena_init(&arena, 0);
        made++;

        if (js_parse(&arena, text.data, text.len, NULL, &v, NULL, err,
                     sizeof(err))
                < 0
            || js_validate(m->schema, NULL, v, &how, NULL) == 0) {
            tally.disagree++;
            diag("%s: made, and not valid: %.*s", where, (int) text.len,
                 text.data);
        }

        arena_free(&arena);
    }

    buf_free(&text);
}


static void
check_schema(void)
{
    const js_value_t *v;
    model_t           m;
    arena_t           arena;
    buf_t             schema = {0}, text = {0};
    uint32_t          i;
    int               rc;

    buf_str(&schema, "{\"$defs\":{\"a\":");
    schema_make(&schema, 2);
    buf_str(&schema, ",\"b\":");
    schema_make(&schema, 2);
    buf_str(&schema, "}");

    for (i = 1 + below(4); i > 0; i--) {
        buf_str(&schema, ",");
        keyword_make(&schema, 2, below(25));
    }

    buf_str(&schema, "}");
    buf_add(&schema, "", 1);
    tally.schemas++;
    rc = model_open(&m, schema.data, schema.len - 1, NULL, 1);

    if (rc < 0) {
        tally.refused++;

        if (getenv("JT_VERBOSE")) {
            diag("%s: %s", schema.data, err);
        }

    } else {
        for (i = 0; i < VALUES; i++) {
            arena_init(&arena, 0);
            buf_reset(&text);
            value_make(&text, 3);
            rc = js_parse(&arena, text.data, text.len, NULL, &v, NULL, err,
                          sizeof(err));

            if (rc == 0) {
                model_check(&m, v, 1, schema.data);
            }

            arena_free(&arena);
        }

        check_made(&m, schema.data);
    }

    model_close(&m);
    buf_free(&schema);
    buf_free(&text);
}


int
main(int argc, char **argv)
{
    uint32_t i, n = argc > 2 ? (uint32_t) atoi(argv[2]) : 3000;

    state = argc > 1 ? (uint64_t) atoi(argv[1]) : 1;

    for (i = 0; i < n && tally.disagree + tally.stuck < 20; i++) {
        check_schema();
    }

    ok(tally.disagree == 0, "%u schemas: %u values agree, %u do not",
       tally.schemas, tally.agree, tally.disagree);
    ok(tally.stuck == 0 && made > tally.schemas / 2,
       "%u values made (%u given up), %u stuck; %u schemas empty", made,
       given_up, tally.stuck, empty);
    ok(tally.refused * 10 < tally.schemas * 3, "%u refused", tally.refused);

    return tap_done();
}
