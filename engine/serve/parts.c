/*
 * A choice's text in parts: content, reasoning, calls.  io thread.
 *
 * Where the request has a format to be read (r->parse) its parser stands
 * between text and parts; else all text is content.  Content passes the stop
 * strings, nothing else does; where the content is bound to a format of its
 * own, only the end of the tokens cuts it.  Logprobs are the content's: a
 * token counts as content if the text it ends in is content.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/serve/serve.h"

enum { RELEASE_TEXT = 0, RELEASE_STOP, RELEASE_ALL };

static void parts_part(void *data, const chat_part_t *part);
static void parts_content(req_t *r, uint32_t choice, str_t text, size_t end);
static void parts_flush(req_t *r, uint32_t choice);
static void parts_place(choice_t *c, size_t begin, size_t end);
static void parts_count(req_t *r, choice_t *c, const chat_part_t *part);
static void parts_release(req_t *r, uint32_t choice, size_t n, int mode);


/* Before the first token. */

int
parts_begin(req_t *r)
{
    choice_t *c;
    uint32_t  i;

    for (i = 0; i < r->n_choices; i++) {
        c = &r->choices[i];
        c->req = r;

        if (r->parse.format == NULL) {
            continue;
        }

        c->parser = chat_parser_new(&r->parse, parts_part, c);
        if (c->parser == NULL) {
            return -ENOMEM;
        }
    }

    return 0;
}


void
parts_free(choice_t *c)
{
    chat_parser_free(c->parser);
    buf_free(&c->held);
    buf_free(&c->fresh);
    free(c->pending);
}


/* A token whose part the parser has yet to tell ends here. */

int
parts_pending(choice_t *c)
{
    uint32_t cap;
    size_t  *pending;

    if (c->n_pending == c->cap_pending) {
        cap = c->cap_pending ? c->cap_pending * 2 : 16;
        pending = realloc(c->pending, cap * sizeof(size_t));
        if (pending == NULL) {
            return -ENOMEM;
        }

        c->pending = pending;
        c->cap_pending = cap;
    }

    c->pending[c->n_pending++] = c->fed;

    return 0;
}


/* The text of one token: whole characters, perhaps none. */

int
parts_feed(req_t *r, uint32_t choice, const char *s, size_t len)
{
    choice_t *c = &r->choices[choice];

    c->fed += len;

    if (c->n_tokens > c->n_placed) {
        c->ends[c->n_tokens - 1] = c->fed;
    }

    if (c->parser == NULL) {
        parts_content(r, choice, (str_t){s, len}, c->fed);
        return 0;
    }

    LLM_TRY(parts_pending(c));

    return chat_parser_text(c->parser, s, len);
}


/*
 * The text has ended.  What was held back can no longer become a stop string,
 * a tag or a character; after a stop string, nothing is left here.
 */

int
parts_end(req_t *r, uint32_t choice)
{
    choice_t *c = &r->choices[choice];
    char      last[3];
    int       n;

    n = text_detok_flush(&c->detok, last);

    if (n && !c->stopped) {
        LLM_TRY(parts_feed(r, choice, last, (size_t) n));
    }

    if (c->parser && !c->stopped) {
        LLM_TRY(chat_parser_end(c->parser));
    }

    /* Of tokens without any text, or in tags, nobody hears. */
    if (c->parser) {
        c->n_tokens = c->n_placed;
    }

    if (c->held.len || c->n_tokens) {
        parts_release(r, choice, c->held.len, RELEASE_ALL);
    }

    return 0;
}


static void
parts_part(void *data, const chat_part_t *part)
{
    static const int kinds[] = {[CHAT_PART_CONTENT] = GEN_PART_CONTENT,
                                [CHAT_PART_REASONING] = GEN_PART_REASONING,
                                [CHAT_PART_CALL] = GEN_PART_CALL,
                                [CHAT_PART_INPUT] = GEN_PART_INPUT};
    choice_t        *c = data;
    req_t           *r = c->req;
    uint32_t         choice = (uint32_t) (c - r->choices);
    gen_text_t       text;

    parts_count(r, c, part);

    if (c->stopped || (part->text.len == 0 && part->kind != CHAT_PART_CALL)) {
        return;
    }

    if (part->kind == CHAT_PART_CONTENT) {
        parts_content(r, choice, part->text, part->end);
        return;
    }

    parts_flush(r, choice);

    text = (gen_text_t){.choice = choice,
                        .part = kinds[part->kind],
                        .call = part->call,
                        .text = part->text};
    api_writer_text(r->writer, &text, &r->out);
}


/* Reasoning's tokens: those that end in it, with the tag before it. */

static void
parts_count(req_t *r, choice_t *c, const chat_part_t *part)
{
    uint32_t n = 0;

    while (n < c->n_pending && c->pending[n] <= part->end) {
        n++;
    }

    if (part->kind == CHAT_PART_REASONING) {
        r->usage.reasoning_tokens += n;
    }

    c->n_pending -= n;
    memmove(c->pending, c->pending + n, c->n_pending * sizeof(size_t));
}


/* Content whose last byte is the text's end-th. */

static void
parts_content(req_t *r, uint32_t choice, str_t text, size_t end)
{
    choice_t *c = &r->choices[choice];
    size_t    was = c->held.len, at = 0, hold = 0;
    int       free_text = r->request.format == GEN_FORMAT_TEXT;

    parts_place(c, end - text.len, end);
    buf_add(&c->held, text.s, text.len);

    if (c->held.failed) {
        r->out.failed = 1;
        return;
    }

    /* An echoed prompt has no stop strings. */
    if (free_text && !c->echo) {
        if (stop_find(r, c, was, &at)) {
            parts_release(r, choice, at, RELEASE_STOP);
            buf_reset(&c->held);
            c->detok = (text_detok_t){0};
            c->n_tokens = c->n_placed = 0;
            c->stopped = 1;
            return;
        }

        hold = stop_hold(r, c);
    }

    parts_release(r, choice, c->held.len - hold, RELEASE_TEXT);
}


/* Something else follows: no stop string reaches over it. */

static void
parts_flush(req_t *r, uint32_t choice)
{
    choice_t *c = &r->choices[choice];

    if (c->held.len) {
        parts_release(r, choice, c->held.len, RELEASE_TEXT);
    }
}


/*
 * Tokens that end in the text's bytes [begin, end), which are content, have
 * their place at the held text's end; those before it were no content.  A
 * token of half a character goes with the one that completes it.
 */

static void
parts_place(choice_t *c, size_t begin, size_t end)
{
    uint32_t i, first = c->n_placed;
    size_t   base = c->released + c->held.len;

    while (first < c->n_tokens && c->ends[first] <= begin) {
        first++;
    }

    while (first > c->n_placed && c->parser && c->ends[first - 1] == begin
           && (first - 1 > c->n_placed ? c->ends[first - 2] == begin
                                       : c->last_end == begin)) {
        first--;
    }

    if (c->parser == NULL) {
        first = c->n_placed;
    }

    if (first > c->n_placed) {
        c->last_end = c->ends[first - 1];
        memmove(c->tokens + c->n_placed, c->tokens + first,
                (c->n_tokens - first) * sizeof(gen_token_t));
        memmove(c->ends + c->n_placed, c->ends + first,
                (c->n_tokens - first) * sizeof(size_t));
        c->n_tokens -= first - c->n_placed;
    }

    for (i = c->n_placed; i < c->n_tokens && c->ends[i] <= end; i++) {
        c->last_end = c->ends[i];
        c->ends[i] = base + c->ends[i] - begin;
    }

    c->n_placed = i;
}


/*
 * The first n bytes of the held text to the writer, with the tokens whose
 * text ends there; at a stop string also with the one that it cut, if any of
 * that one's text went out; RELEASE_ALL: with all of them.
 */

static void
parts_release(req_t *r, uint32_t choice, size_t n, int mode)
{
    choice_t  *c = &r->choices[choice];
    gen_text_t text;
    size_t     begin = c->noted;
    uint32_t   k = 0, most;

    most = mode == RELEASE_ALL ? c->n_tokens : c->n_placed;

    while (k < most
           && (mode == RELEASE_ALL || c->ends[k] <= c->released + n
               || (mode == RELEASE_STOP && begin < c->released + n))) {
        begin = c->ends[k++];
    }

    /* Tokens of half a character wait for the rest of it. */
    if (n == 0 && (k == 0 || mode == RELEASE_TEXT)) {
        return;
    }

    text = (gen_text_t){.choice = choice,
                        .text = {c->held.data, n},
                        .tokens = c->tokens,
                        .n_tokens = k};

    api_writer_text(r->writer, &text, &r->out);

    c->noted = begin;
    c->released += n;
    c->held.len -= n;
    memmove(c->held.data, c->held.data + n, c->held.len);

    c->n_tokens -= k;
    c->n_placed -= k < c->n_placed ? k : c->n_placed;
    if (k) {
        memmove(c->tokens, c->tokens + k, c->n_tokens * sizeof(gen_token_t));
        memmove(c->ends, c->ends + k, c->n_tokens * sizeof(size_t));
    }
}
