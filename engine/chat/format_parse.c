/*
 * The format parser: a choice's text to parts.  One thread at a time; a
 * parser owns all but what its options lend it.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/chat/format_priv.h"

static void tags_fill(chat_parser_t *p);
static void tags_add(tags_t *tags, int what, const char *s);
static void tags_add_call(chat_parser_t *p, tags_t *tags);
static void parse_step(chat_parser_t *p, unsigned sym);
static void text_step(chat_parser_t *p, unsigned sym);
static int  text_match(chat_parser_t *p, size_t from, const tag_t **tag,
                       size_t *used);
static void text_again(chat_parser_t *p, size_t used, const tag_t *tag);
static int  tag_here(const chat_parser_t *p, const tag_t *tag);
static void text_tag(chat_parser_t *p, const tag_t *tag);
static void text_give(chat_parser_t *p, unsigned sym);
static void section_step(chat_parser_t *p, unsigned sym);
static int  section_match(chat_parser_t *p, const tag_t **tag);
static void call_begin(chat_parser_t *p, const char *rest);
static void call_step(chat_parser_t *p, unsigned sym);
static int  call_place(chat_parser_t *p, unsigned sym);
static int  call_literal(chat_parser_t *p, unsigned sym);
static int  call_name(chat_parser_t *p, unsigned sym);
static int  call_star(chat_parser_t *p, unsigned sym);
static void call_end(chat_parser_t *p);
static void parse_broken(chat_parser_t *p);
static void parse_flush(chat_parser_t *p);
static void syms_cut(syms_t *list, size_t n);
static void syms_move(chat_parser_t *p, syms_t *to, syms_t *from);
static int  parse_rc(const chat_parser_t *p);


chat_parser_t *
chat_parser_new(const chat_parse_t *options, chat_part_pt part, void *data)
{
    chat_parser_t *p = calloc(1, sizeof(*p));
    const char    *s;

    if (p == NULL) {
        return NULL;
    }

    p->f = options->format;
    p->opt = *options;
    p->part = part;
    p->data = data;
    p->start = 1;
    p->tool = UINT32_MAX;

    tags_fill(p);

    if (p->opt.thinking) {
        p->mode = MODE_THINK;
        p->skip = 1;

    } else if (p->f->prime && !p->opt.content) {
        for (s = p->f->prime; *s; s++) {
            parse_step(p, (uint8_t) *s | PARSE_CONTROL);
        }
    }

    if (p->failed) {
        chat_parser_free(p);
        return NULL;
    }

    return p;
}


void
chat_parser_free(chat_parser_t *p)
{
    if (p == NULL) {
        return;
    }

    free(p->hold.s);
    free(p->raw.s);
    buf_free(&p->out);
    buf_free(&p->name);
    buf_free(&p->value.word);
    buf_free(&p->key);
    buf_free(&p->type);
    buf_free(&p->text_value);
    buf_free(&p->json_args);
    json_decref(p->schema);
    free(p);
}


int
chat_parser_text(chat_parser_t *p, const char *s, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        p->seen++;
        parse_step(p, (uint8_t) s[i]);
    }

    parse_flush(p);

    return parse_rc(p);
}


int
chat_parser_control(chat_parser_t *p, const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        parse_step(p, (uint8_t) name[i] | PARSE_CONTROL);
    }

    parse_flush(p);

    return parse_rc(p);
}


int
chat_parser_end(chat_parser_t *p)
{
    size_t i;

    /* Before its name is certain a call is none. */
    while ((p->mode == MODE_CALL && !p->begun)
           || (p->mode == MODE_SECTION && p->in_section == 1)) {
        parse_broken(p);
    }

    if (p->mode == MODE_TEXT || p->mode == MODE_THINK) {
        for (i = 0; i < p->hold.n && parse_space(p->hold.s[i] & 0xff); i++) {
            /* void */
        }

        /* White space behind a call or a thought is the format's. */
        if (i < p->hold.n || (p->mode == MODE_TEXT && p->calls == 0)) {
            for (i = 0; i < p->hold.n; i++) {
                text_give(p, p->hold.s[i]);
            }
        }

        p->hold.n = 0;
    }

    parse_flush(p);

    return parse_rc(p);
}


uint32_t
chat_parser_calls(const chat_parser_t *p)
{
    return p->calls;
}


/* Which strings mean something where. */

static void
tags_fill(chat_parser_t *p)
{
    const chat_format_t *f = p->f;
    int                  i;

    if (p->opt.reasoning) {
        tags_add(&p->text, TAG_THINK, chat_format_think(f));
        tags_add(&p->think, TAG_THINK_END, chat_format_think_close(f));
    }

    if (f->content) {
        tags_add(&p->text, TAG_CONTENT, f->content);
    }

    for (i = 0; i < CHAT_OTHERS_MAX; i++) {
        if (f->others[i]) {
            tags_add(&p->text, TAG_CONTENT, f->others[i]);
        }

        if (f->drops[i]) {
            tags_add(&p->text, TAG_DROP, f->drops[i]);
        }
    }

    /* What the prompt closed may be closed once more. */
    if (p->opt.reasoning && f->rethink == 0) {
        tags_add(&p->text, TAG_CLOSED, chat_format_think_close(f));
    }

    if (!p->opt.calls) {
        return;
    }

    if (f->section) {
        tags_add(&p->text, TAG_SECTION, f->section);
        tags_add(&p->section, TAG_SECTION_END, f->section_end);
        tags_add_call(p, &p->section);

        if (f->in_think) {
            tags_add(&p->think, TAG_SECTION, f->section);
        }

    } else {
        tags_add_call(p, &p->text);
    }
}


static void
tags_add(tags_t *tags, int what, const char *s)
{
    size_t len = strlen(s);

    /* Tags stand between white space of any kind. */
    while (len && parse_space((uint8_t) *s)) {
        s++;
        len--;
    }

    while (len && parse_space((uint8_t) s[len - 1])) {
        len--;
    }

    if (len && tags->n < PARSE_TAGS_MAX) {
        tags->tags[tags->n++] = (tag_t){.what = what,
                                        .s = s,
                                        .len = len,
                                        .space = parse_space((uint8_t) s[len])};
    }
}


static void
tags_add_call(chat_parser_t *p, tags_t *tags)
{
    const char *call, *rest;
    int         i;

    for (i = 0; i < CHAT_READS_MAX; i++) {
        call = p->f->reads[i];
        if (call == NULL && i == 0) {
            call = p->f->call;
        }

        if (call == NULL || tags->n == PARSE_TAGS_MAX) {
            return;
        }

        while (parse_space((uint8_t) *call)) {
            call++;
        }

        rest = strchr(call, '%');
        tags->tags[tags->n++] =
            (tag_t){TAG_CALL, call, (size_t) (rest - call), rest, 0};
    }
}


static void
parse_step(chat_parser_t *p, unsigned sym)
{
    if (p->failed) {
        return;
    }

    switch (p->mode) {

    case MODE_SECTION:
        section_step(p, sym);
        break;

    case MODE_CALL:
        call_step(p, sym);
        break;

    default:
        text_step(p, sym);
    }
}


/*
 * TEXT AND THOUGHTS: held back is white space and what follows it as long as
 * it may become a tag.
 */

static void
text_step(chat_parser_t *p, unsigned sym)
{
    const tag_t *tag = NULL;
    size_t       spaces, used = 0, i;
    int          rc;

    if ((p->mode == MODE_THINK ? p->think.n : p->text.n) == 0) {
        text_give(p, sym);
        return;
    }

    syms_add(p, &p->hold, sym);

    while (p->hold.n) {
        for (spaces = 0;
             spaces < p->hold.n && parse_space(p->hold.s[spaces] & 0xff);
             spaces++) {
            /* void */
        }

        rc = text_match(p, spaces, &tag, &used);
        if (rc == 1) {
            text_again(p, used, tag);
            return;
        }

        if (rc == 0 && p->hold.n < PARSE_HOLD_MAX) {
            return;
        }

        if (spaces < p->hold.n) {
            spaces++;
        }

        for (i = 0; i < spaces; i++) {
            text_give(p, p->hold.s[i]);
        }

        syms_cut(&p->hold, spaces);
    }
}


/* A tag is there, and perhaps more behind it. */

static void
text_again(chat_parser_t *p, size_t used, const tag_t *tag)
{
    uint16_t rest[PARSE_HOLD_MAX];
    size_t   i, n = p->hold.n - used;

    memcpy(rest, p->hold.s + used, n * sizeof(*rest));
    p->hold.n = used;
    text_tag(p, tag);

    for (i = 0; i < n; i++) {
        parse_step(p, rest[i]);
    }
}


static int
text_match(chat_parser_t *p, size_t from, const tag_t **tag, size_t *used)
{
    const tags_t *tags = p->mode == MODE_THINK ? &p->think : &p->text;
    size_t        end;
    uint32_t      i;
    int           rc, full = 0, best = from == p->hold.n ? 0 : -1;

    for (i = 0; i < tags->n; i++) {
        if (!tag_here(p, &tags->tags[i])) {
            continue;
        }

        rc = syms_match(&p->hold, from, tags->tags[i].s, tags->tags[i].len,
                        &end);
        if (rc == 1 && (!full || end > *used)) {
            *tag = &tags->tags[i];
            *used = end;
            full = 1;
        }

        best = rc == 0 ? 0 : best;
    }

    /* One tag may begin another. */
    return best < 0 && full ? 1 : best;
}


static int
tag_here(const chat_parser_t *p, const tag_t *tag)
{
    switch (tag->what) {

    case TAG_THINK:
        return p->f->rethink || (p->start && !p->thought);

    case TAG_CALL:
        return !p->f->start || p->start;

    case TAG_CLOSED:
        return p->start;

    default:
        return 1;
    }
}


static void
text_tag(chat_parser_t *p, const tag_t *tag)
{
    switch (tag->what) {

    case TAG_THINK:
        p->mode = MODE_THINK;
        p->skip = 1;
        p->hold.n = 0;
        return;

    case TAG_THINK_END:
        p->mode = MODE_TEXT;
        p->thought = 1;
        p->skip = 1;
        p->hold.n = 0;
        return;

    case TAG_SECTION:
        p->raw.n = 0;
        syms_move(p, &p->raw, &p->hold);
        p->mode = MODE_SECTION;
        p->in_section = 1;
        return;

    case TAG_CALL:
        p->raw.n = 0;
        syms_move(p, &p->raw, &p->hold);
        call_begin(p, tag->rest);
        return;

    case TAG_CLOSED:
        p->skip = 1;
        p->thought = 1;
        p->hold.n = 0;
        return;

    default: /* TAG_CONTENT, TAG_DROP */
        p->skip = tag->space;
        p->mode = MODE_TEXT;
        p->hold.n = 0;
    }
}


static void
text_give(chat_parser_t *p, unsigned sym)
{
    uint8_t byte = (uint8_t) sym;

    if (sym & PARSE_CONTROL) {
        return;
    }

    if (p->skip && parse_space(byte)) {
        return;
    }

    p->skip = 0;

    if (p->mode == MODE_TEXT) {
        p->start = 0;
        parse_give(p, CHAT_PART_CONTENT, &byte, 1);
    } else {
        parse_give(p, CHAT_PART_REASONING, &byte, 1);
    }
}


/* SECTIONS: white space, commas, calls and an end. */

static void
section_step(chat_parser_t *p, unsigned sym)
{
    const tag_t *tag = NULL;
    int          rc;

    if (p->hold.n == 0
        && (parse_space(sym & 0xff) || (sym & 0xff) == ','
            || (sym & 0xff) == ';')) {
        syms_add(p, &p->raw, sym);
        if (p->raw.n > PARSE_RAW_MAX) {
            parse_broken(p);
        }
        return;
    }

    syms_add(p, &p->hold, sym);

    rc = section_match(p, &tag);
    if (rc == 0) {
        return;
    }

    if (rc < 0) {
        parse_broken(p);
        return;
    }

    if (tag->what == TAG_SECTION_END) {
        p->hold.n = 0;
        p->raw.n = 0;
        p->in_section = 0;
        p->mode = MODE_TEXT;
        p->start = 0;
        return;
    }

    /* A call that begins with a place: the symbol is the place's. */
    if (tag->len == 0) {
        p->hold.n = 0;
        call_begin(p, tag->rest);
        call_step(p, sym);
        return;
    }

    syms_move(p, &p->raw, &p->hold);
    call_begin(p, tag->rest);
}


static int
section_match(chat_parser_t *p, const tag_t **tag)
{
    const tag_t *t;
    size_t       used;
    uint32_t     i, c = p->hold.s[0] & 0xff;
    int          rc, best = -1;

    for (i = 0; i < p->section.n; i++) {
        t = &p->section.tags[i];

        if (t->len == 0) {
            rc = p->hold.n > 1        ? -1
                 : t->rest[1] == 'j'  ? (c == '{' ? 1 : -1)
                 : parse_name_char(c) ? 1
                                      : -1;
        } else {
            rc = syms_match(&p->hold, 0, t->s, t->len, &used);
        }

        if (rc == 1) {
            *tag = t;
            return 1;
        }

        best = rc == 0 ? 0 : best;
    }

    return best;
}


/* CALLS: one place after another. */

static void
call_begin(chat_parser_t *p, const char *rest)
{
    p->mode = MODE_CALL;
    p->at = rest;
    p->at_star = 0;
    p->begun = 0;
    p->given = 0;
    p->args = 0;
    p->json = 0;
    p->tool = UINT32_MAX;
    buf_reset(&p->name);
}


static void
call_step(chat_parser_t *p, unsigned sym)
{
    int rc = call_place(p, sym);

    if (p->mode != MODE_CALL) {
        return;
    }

    if (rc == STEP_BROKEN) {
        syms_add(p, &p->raw, sym);
        parse_broken(p);
        return;
    }

    if (!p->begun && p->raw.n > PARSE_RAW_MAX) {
        parse_broken(p);
        return;
    }

    /* Nothing but white space left: the call is whole. */
    while (p->at && parse_space((uint8_t) *p->at)) {
        if (strspn(p->at, " \n\r\t") != strlen(p->at)) {
            break;
        }

        p->at += strlen(p->at);
    }

    if (*p->at == '\0') {
        call_end(p);

        if (rc == STEP_AFTER) {
            parse_step(p, sym);
        }
    }
}


/* One symbol for the place at p->at, which goes on when it is done. */

static int
call_place(chat_parser_t *p, unsigned sym)
{
    int rc;

    for (;;) {
        if (*p->at == '\0') {
            return STEP_AFTER;
        }

        if (*p->at != '%') {
            return call_literal(p, sym);
        }

        switch (p->at[1]) {

        case 'n':
            rc = call_name(p, sym);
            break;

        case 'j':
            rc = json_step(p, sym);
            if (rc != STEP_BROKEN && !p->begun) {
                syms_add(p, &p->raw, sym);
            }
            break;

        case 'a':
            p->raw.n = 0;
            rc = args_step(p, sym);
            break;

        default: /* '*', 'N' */
            return call_star(p, sym);
        }

        if (rc == STEP_MORE || rc == STEP_BROKEN) {
            return rc;
        }

        p->at += 2;

        /* Tagged arguments end with the string behind them. */
        if (p->after) {
            p->at = p->after;
            p->after = NULL;
        }

        if (rc == STEP_DONE) {
            return STEP_MORE;
        }
    }
}


/* A string that must come; its white space is loose. */

static int
call_literal(chat_parser_t *p, unsigned sym)
{
    unsigned c = sym & 0xff;

    if (parse_space((uint8_t) *p->at)) {
        if (parse_space(c)) {
            syms_add(p, &p->raw, sym);
            return STEP_MORE;
        }

        while (parse_space((uint8_t) *p->at)) {
            p->at++;
        }

        if (*p->at == '%' || *p->at == '\0') {
            return call_place(p, sym);
        }
    }

    if (c != (uint8_t) *p->at) {
        return STEP_BROKEN;
    }

    syms_add(p, &p->raw, sym);
    p->at++;

    return STEP_MORE;
}


static int
call_name(chat_parser_t *p, unsigned sym)
{
    if (p->name.len == 0 && parse_space(sym)) {
        syms_add(p, &p->raw, sym);
        return STEP_MORE;
    }

    if (!(sym & PARSE_CONTROL) && parse_name_char(sym)
        && p->name.len < PARSE_NAME_MAX) {
        uint8_t byte = (uint8_t) sym;

        buf_add(&p->name, &byte, 1);
        syms_add(p, &p->raw, sym);
        return STEP_MORE;
    }

    return parse_call(p) == STEP_BROKEN ? STEP_BROKEN : STEP_AFTER;
}


/* Anything up to the string behind it. */

static int
call_star(chat_parser_t *p, unsigned sym)
{
    const char *s = p->at + 2;
    size_t      used, len = strcspn(s, "%");
    int         rc;

    syms_add(p, &p->hold, sym);

    for (;;) {
        rc = p->hold.n ? syms_match(&p->hold, 0, s, len, &used) : 0;

        if (rc == 1) {
            syms_move(p, &p->raw, &p->hold);
            p->at = s + len;
            p->at_star = 0;
            return STEP_MORE;
        }

        if (rc == 0) {
            return STEP_MORE;
        }

        syms_add(p, &p->raw, p->hold.s[0]);
        syms_cut(&p->hold, 1);

        if (++p->at_star > PARSE_STAR_MAX) {
            /* The symbol is in the hold, or went with it: not again. */
            p->at_star = 0;
            parse_broken(p);
            return STEP_MORE;
        }
    }
}


/* The name is known: the call begins, if it is one. */

int
parse_call(chat_parser_t *p)
{
    uint32_t i;

    for (i = 0; i < p->opt.n_names; i++) {
        if (str_eq(p->opt.names[i], (str_t){p->name.data, p->name.len})) {
            break;
        }
    }

    if (i == p->opt.n_names || p->name.len == 0) {
        return STEP_BROKEN;
    }

    p->tool = i;
    p->begun = 1;
    p->start = 0;
    p->raw.n = 0;
    parse_flush(p);
    p->calls++;
    parse_give(p, CHAT_PART_CALL, p->name.data, p->name.len);
    parse_flush(p);

    return STEP_MORE;
}


static void
call_end(chat_parser_t *p)
{
    if (p->begun && !p->given && !(p->opt.custom && p->opt.custom[p->tool])) {
        parse_give(p, CHAT_PART_INPUT, "{}", 2);
    }

    p->raw.n = 0;
    p->hold.n = 0;
    p->after = NULL;
    p->in_section = p->in_section ? 2 : 0;
    p->mode = p->in_section ? MODE_SECTION : MODE_TEXT;
}


/*
 * No call after all, or no longer one: what is not certain is content.  It is
 * looked through again but for its first character, so that a call within it
 * is found.
 */

static void
parse_broken(chat_parser_t *p)
{
    syms_t list = p->raw;
    size_t i;

    p->raw = (syms_t){0};

    for (i = 0; i < p->hold.n; i++) {
        syms_add(p, &list, p->hold.s[i]);
    }

    p->hold.n = 0;
    p->mode = MODE_TEXT;
    p->in_section = 0;
    p->after = NULL;

    /* The rest of a call that has begun is text of some kind. */
    for (i = 0; i < list.n && parse_space(list.s[i] & 0xff); i++) {
        text_give(p, list.s[i]);
    }

    if (i < list.n) {
        text_give(p, list.s[i++]);
    }

    p->nested++;

    for (; i < list.n && !p->failed; i++) {
        if (p->nested > PARSE_NESTED_MAX) {
            text_give(p, list.s[i]);
        } else {
            parse_step(p, list.s[i]);
        }
    }

    p->nested--;
    free(list.s);
}


void
parse_give(chat_parser_t *p, int kind, const void *s, size_t len)
{
    if (p->out.len && p->out_kind != kind) {
        parse_flush(p);
    }

    p->out_kind = kind;
    buf_add(&p->out, s, len);

    if (kind == CHAT_PART_INPUT) {
        p->given = 1;
    }
}


static void
parse_flush(chat_parser_t *p)
{
    chat_part_t part;
    size_t      i, held = 0;

    if (p->out.failed) {
        p->failed = 1;
    }

    if (p->out.len == 0) {
        return;
    }

    for (i = 0; i < p->hold.n; i++) {
        held += (p->hold.s[i] & PARSE_CONTROL) == 0;
    }

    for (i = 0; i < p->raw.n; i++) {
        held += (p->raw.s[i] & PARSE_CONTROL) == 0;
    }

    if (p->seen - held > p->end) {
        p->end = p->seen - held;
    }

    part = (chat_part_t){.kind = p->out_kind,
                         .call = p->calls ? p->calls - 1 : 0,
                         .text = {p->out.data, p->out.len},
                         .end = p->end};
    p->part(p->data, &part);
    buf_reset(&p->out);
}


static int
parse_rc(const chat_parser_t *p)
{
    return p->failed || p->name.failed || p->key.failed || p->type.failed
                   || p->text_value.failed || p->json_args.failed
                   || p->value.word.failed
               ? -ENOMEM
               : 0;
}


void
syms_add(chat_parser_t *p, syms_t *list, unsigned sym)
{
    uint16_t *s;
    size_t    cap;

    if (list->n == list->cap) {
        cap = list->cap ? list->cap * 2 : 64;
        s = realloc(list->s, cap * sizeof(*s));
        if (s == NULL) {
            p->failed = 1;
            return;
        }

        list->s = s;
        list->cap = cap;
    }

    list->s[list->n++] = (uint16_t) sym;
}


static void
syms_cut(syms_t *list, size_t n)
{
    list->n -= n;
    memmove(list->s, list->s + n, list->n * sizeof(*list->s));
}


static void
syms_move(chat_parser_t *p, syms_t *to, syms_t *from)
{
    size_t i;

    for (i = 0; i < from->n; i++) {
        syms_add(p, to, from->s[i]);
    }

    from->n = 0;
}


int
syms_match(const syms_t *list, size_t from, const char *s, size_t len,
           size_t *used)
{
    size_t i = from, j = 0;

    while (j < len) {
        if (parse_space((uint8_t) s[j])) {
            while (j < len && parse_space((uint8_t) s[j])) {
                j++;
            }

            while (i < list->n && parse_space(list->s[i] & 0xff)) {
                i++;
            }

            continue;
        }

        if (i == list->n) {
            return 0;
        }

        if ((list->s[i] & 0xff) != (uint8_t) s[j]) {
            return -1;
        }

        i++;
        j++;
    }

    *used = i;

    return 1;
}
