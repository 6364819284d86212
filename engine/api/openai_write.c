/*
 * Events of an answer -> OpenAI's bytes: chat.completion(.chunk) and
 * text_completion, streamed or in one piece.
 *
 * Streams: every call appends whole events.  Neither `id:` nor `retry:` lines
 * and no named events: the SDKs' decoders stumble over them.  Otherwise each
 * choice's text is kept until api_writer_end().
 *
 * io thread; the writer belongs to its request.
 */

#include <stdio.h>
#include <stdlib.h>
#include "engine/api/api.h"

/* With obfuscation on, the length of an event is a multiple of this. */
#define WRITE_PAD 64

typedef struct {
    buf_t       text;     /* not streamed: all of it */
    buf_t       lp;       /* logprobs: items, or the tokens array */
    buf_t       lp_value; /* completions: token_logprobs, */
    buf_t       lp_top;   /* top_logprobs */
    buf_t       lp_off;   /* and text_offset */
    uint32_t    n_lp;
    size_t      chars; /* code points given out, for text_offset */
    uint64_t    pad;   /* obfuscation's generator */
    const char *finish;
} part_t;

struct api_writer_s {
    const gen_request_t  *req;
    const gen_identity_t *id;
    uint32_t              n_choices;
    part_t               *parts;
    buf_t                 head; /* what all chunks begin with */
};

static const char *const finishes[] = {[GEN_FINISH_STOP] = "stop",
                                       [GEN_FINISH_LENGTH] = "length",
                                       [GEN_FINISH_TOOL_CALLS] = "tool_calls",
                                       [GEN_FINISH_CONTENT_FILTER] =
                                           "content_filter"};

static void write_head(api_writer_t *w, buf_t *out, const char *object);
static void write_chunk(api_writer_t *w, buf_t *out, uint32_t choice,
                        const gen_text_t *text, int first, const char *finish);
static void write_tail(api_writer_t *w, buf_t *out, part_t *p, size_t from);
static void write_logprobs(api_writer_t *w, buf_t *out, part_t *p);
static void write_note(api_writer_t *w, part_t *p, const gen_text_t *text);
static void write_note_chat(part_t *p, const gen_token_t *t);
static void write_note_completion(part_t *p, const gen_token_t *t);
static void write_token(buf_t *out, str_t text);
static void write_alt(buf_t *out, str_t text, float logprob);
static void write_float(buf_t *out, float value);
static void write_usage(const gen_usage_t *u, buf_t *out);


api_writer_t *
api_writer_new(const gen_request_t *req, const gen_identity_t *identity,
               uint32_t n_choices)
{
    api_writer_t *w;
    uint32_t      i;

    w = calloc(1, sizeof(api_writer_t));
    if (w == NULL) {
        return NULL;
    }

    w->req = req;
    w->id = identity;
    w->n_choices = n_choices;
    w->parts = calloc(n_choices ? n_choices : 1, sizeof(part_t));

    write_head(w, &w->head,
               req->kind != GEN_CHAT ? "text_completion"
               : req->stream         ? "chat.completion.chunk"
                                     : "chat.completion");

    if (w->parts == NULL || w->head.failed) {
        api_writer_free(w);
        return NULL;
    }

    /* A choice's bytes depend on its own tokens, not on how choices mix. */
    for (i = 0; i < n_choices; i++) {
        w->parts[i].pad = (identity->seed ^ i * 0x9e3779b97f4a7c15ull) | 1;
    }

    return w;
}


void
api_writer_free(api_writer_t *w)
{
    uint32_t i;

    if (w == NULL) {
        return;
    }

    for (i = 0; w->parts && i < w->n_choices; i++) {
        buf_free(&w->parts[i].text);
        buf_free(&w->parts[i].lp);
        buf_free(&w->parts[i].lp_value);
        buf_free(&w->parts[i].lp_top);
        buf_free(&w->parts[i].lp_off);
    }

    free(w->parts);
    buf_free(&w->head);
    free(w);
}


static void
write_head(api_writer_t *w, buf_t *out, const char *object)
{
    if (w->req->stream) {
        buf_str(out, "data: ");
    }

    buf_fmt(out, "{\"id\":\"%s-%s\",\"object\":\"%s\",\"created\":%lld,",
            w->req->kind == GEN_CHAT ? "chatcmpl" : "cmpl", w->id->id, object,
            (long long) w->id->created);
    buf_str(out, "\"model\":");
    buf_json(out, w->id->model.s, w->id->model.len);
    buf_fmt(out, ",\"system_fingerprint\":\"%s\",\"choices\":[",
            w->id->fingerprint);
}


/* Streams: the role of each choice. */

void
api_writer_begin(api_writer_t *w, buf_t *out)
{
    static const gen_text_t empty = {0};
    uint32_t                i;

    if (!w->req->stream || w->req->kind != GEN_CHAT) {
        return;
    }

    for (i = 0; i < w->n_choices; i++) {
        write_chunk(w, out, i, &empty, 1, NULL);
    }
}


void
api_writer_text(api_writer_t *w, const gen_text_t *text, buf_t *out)
{
    part_t *p = &w->parts[text->choice];

    write_note(w, p, text);

    if (w->req->stream) {
        write_chunk(w, out, text->choice, text, 0, NULL);

    } else {
        buf_add(&p->text, text->text.s, text->text.len);
        out->failed |= p->text.failed | p->lp.failed;
    }
}


void
api_writer_finish(api_writer_t *w, uint32_t choice, int finish, buf_t *out)
{
    static const gen_text_t empty = {0};

    w->parts[choice].finish = finishes[finish];

    if (w->req->stream) {
        write_chunk(w, out, choice, &empty, 0, finishes[finish]);
    }
}


static void
write_chunk(api_writer_t *w, buf_t *out, uint32_t choice,
            const gen_text_t *text, int first, const char *finish)
{
    size_t from = out->len;

    buf_add(out, w->head.data, w->head.len);
    buf_fmt(out, "{\"index\":%u,", choice);

    if (w->req->kind == GEN_CHAT) {
        buf_str(out, "\"delta\":{");

        if (first) {
            buf_str(out, "\"role\":\"assistant\",\"content\":\"\","
                         "\"refusal\":null");

        } else if (finish == NULL) {
            buf_str(out, "\"content\":");
            buf_json(out, text->text.s, text->text.len);
        }

        buf_str(out, "},");

    } else {
        buf_str(out, "\"text\":");
        buf_json(out, text->text.s ? text->text.s : "", text->text.len);
        buf_str(out, ",");
    }

    write_logprobs(w, out, &w->parts[choice]);
    buf_fmt(out, ",\"finish_reason\":%s%s%s}]", finish ? "\"" : "",
            finish ? finish : "null", finish ? "\"" : "");

    if (w->req->include_usage) {
        buf_str(out, ",\"usage\":null");
    }

    write_tail(w, out, &w->parts[choice], from);
}


/* The end of an event, padded against observers of packet lengths. */

static void
write_tail(api_writer_t *w, buf_t *out, part_t *p, size_t from)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t            n;

    if (w->req->obfuscation) {
        buf_str(out, ",\"obfuscation\":\"");
        n = WRITE_PAD - (out->len - from + sizeof("\"}\n\n") - 1) % WRITE_PAD;

        while (n--) {
            /* xorshift64*: unlike the text, not secret. */
            p->pad ^= p->pad >> 12;
            p->pad ^= p->pad << 25;
            p->pad ^= p->pad >> 27;
            buf_add(out, &letters[(p->pad * 0x2545f4914f6cdd1dull) >> 58], 1);
        }

        buf_str(out, "\"");
    }

    buf_str(out, "}\n\n");
}


void
api_writer_end(api_writer_t *w, const gen_usage_t *usage, buf_t *out)
{
    uint32_t i;
    size_t   from = out->len;
    part_t  *p;

    if (w->req->stream) {
        if (w->req->include_usage) {
            buf_add(out, w->head.data, w->head.len);
            buf_str(out, "],");
            write_usage(usage, out);
            write_tail(w, out, &w->parts[0], from);
        }

        buf_str(out, "data: [DONE]\n\n");
        return;
    }

    buf_add(out, w->head.data, w->head.len);

    for (i = 0; i < w->n_choices; i++) {
        p = &w->parts[i];
        buf_fmt(out, "%s{\"index\":%u,", i ? "," : "", i);

        if (w->req->kind == GEN_CHAT) {
            buf_str(out, "\"message\":{\"role\":\"assistant\",\"content\":");
        } else {
            buf_str(out, "\"text\":");
        }

        buf_json(out, p->text.data ? p->text.data : "", p->text.len);

        if (w->req->kind == GEN_CHAT) {
            buf_str(out, ",\"refusal\":null,\"annotations\":[]}");
        }

        buf_str(out, ",");
        write_logprobs(w, out, p);
        buf_fmt(out, ",\"finish_reason\":\"%s\"}",
                p->finish ? p->finish : "stop");
    }

    buf_str(out, "],");
    write_usage(usage, out);
    buf_str(out, "}");
}


static void
write_usage(const gen_usage_t *u, buf_t *out)
{
    buf_fmt(out,
            "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,"
            "\"total_tokens\":%u,"
            "\"prompt_tokens_details\":{\"cached_tokens\":%u,"
            "\"audio_tokens\":0},"
            "\"completion_tokens_details\":{\"reasoning_tokens\":%u,"
            "\"audio_tokens\":0,\"accepted_prediction_tokens\":0,"
            "\"rejected_prediction_tokens\":0}}",
            u->prompt_tokens, u->completion_tokens,
            u->prompt_tokens + u->completion_tokens, u->cached_tokens,
            u->reasoning_tokens);
}


/* "logprobs": what was noted since the last time, or null. */

static void
write_logprobs(api_writer_t *w, buf_t *out, part_t *p)
{
    if (!w->req->logprobs || p->n_lp == 0) {
        buf_str(out, "\"logprobs\":null");
        return;
    }

    if (w->req->kind == GEN_CHAT) {
        buf_str(out, "\"logprobs\":{\"content\":[");
        buf_add(out, p->lp.data, p->lp.len);
        buf_str(out, "],\"refusal\":null}");

    } else {
        buf_str(out, "\"logprobs\":{\"tokens\":[");
        buf_add(out, p->lp.data, p->lp.len);
        buf_str(out, "],\"token_logprobs\":[");
        buf_add(out, p->lp_value.data, p->lp_value.len);
        buf_str(out, "],\"top_logprobs\":");

        if (w->req->n_top) {
            buf_str(out, "[");
            buf_add(out, p->lp_top.data, p->lp_top.len);
            buf_str(out, "]");
        } else {
            buf_str(out, "null");
        }

        buf_str(out, ",\"text_offset\":[");
        buf_add(out, p->lp_off.data, p->lp_off.len);
        buf_str(out, "]}");
    }

    out->failed |=
        p->lp.failed | p->lp_value.failed | p->lp_top.failed | p->lp_off.failed;

    buf_reset(&p->lp);
    buf_reset(&p->lp_value);
    buf_reset(&p->lp_top);
    buf_reset(&p->lp_off);
    p->n_lp = 0;
}


/* Code points of valid UTF-8; of a lone byte of a token, 0 or 1. */

static size_t
write_chars(str_t s)
{
    size_t i, n = 0;

    for (i = 0; i < s.len; i++) {
        n += ((unsigned char) s.s[i] & 0xc0) != 0x80;
    }

    return n;
}


static void
write_note(api_writer_t *w, part_t *p, const gen_text_t *text)
{
    size_t   offset = p->chars;
    uint32_t i;

    for (i = 0; i < text->n_tokens; i++) {
        if (p->n_lp++) {
            buf_str(&p->lp, ",");
            buf_str(&p->lp_value, ",");
            buf_str(&p->lp_top, ",");
            buf_str(&p->lp_off, ",");
        }

        if (w->req->kind == GEN_CHAT) {
            write_note_chat(p, &text->tokens[i]);

        } else {
            write_note_completion(p, &text->tokens[i]);
            buf_fmt(&p->lp_off, "%zu", offset);
            offset += write_chars(text->tokens[i].text);
        }
    }

    p->chars += write_chars(text->text);
}


static void
write_note_chat(part_t *p, const gen_token_t *t)
{
    uint32_t i;

    buf_str(&p->lp, "{");
    write_alt(&p->lp, t->text, t->logprob);
    buf_str(&p->lp, ",\"top_logprobs\":[");

    for (i = 0; i < t->n_top; i++) {
        buf_str(&p->lp, i ? ",{" : "{");
        write_alt(&p->lp, t->top[i].text, t->top[i].logprob);
        buf_str(&p->lp, "}");
    }

    buf_str(&p->lp, "]}");
}


/* "token", "logprob", "bytes" */

static void
write_alt(buf_t *out, str_t text, float logprob)
{
    size_t i;

    buf_str(out, "\"token\":");
    buf_json(out, text.s ? text.s : "", text.len);
    buf_str(out, ",\"logprob\":");
    write_float(out, logprob);
    buf_str(out, ",\"bytes\":[");

    for (i = 0; i < text.len; i++) {
        buf_fmt(out, i ? ",%u" : "%u", (unsigned char) text.s[i]);
    }

    buf_str(out, "]");
}


static void
write_note_completion(part_t *p, const gen_token_t *t)
{
    uint32_t i, j, n = 0;

    write_token(&p->lp, t->text);

    if (!t->has_logprob) {
        buf_str(&p->lp_value, "null");
        buf_str(&p->lp_top, "null");
        return;
    }

    write_float(&p->lp_value, t->logprob);
    buf_str(&p->lp_top, "{");

    for (i = 0; i < t->n_top; i++) {
        for (j = 0; j < i && !str_eq(t->top[j].text, t->top[i].text); j++) {
            /* void */
        }

        if (j < i) {
            continue; /* another token of the same text: no member twice */
        }

        buf_str(&p->lp_top, n++ ? "," : "");
        write_token(&p->lp_top, t->top[i].text);
        buf_str(&p->lp_top, ":");
        write_float(&p->lp_top, t->top[i].logprob);
    }

    buf_str(&p->lp_top, "}");
}


/* A token as a string; bytes that are no text as OpenAI spells them. */

static void
write_token(buf_t *out, str_t text)
{
    buf_t  b = {0};
    size_t i;

    buf_json(&b, text.s ? text.s : "", text.len);

    if (b.len >= 3 && memmem(b.data, b.len, "\xef\xbf\xbd", 3)
        && memmem(text.s, text.len, "\xef\xbf\xbd", 3) == NULL) {
        buf_str(out, "\"bytes:");

        for (i = 0; i < text.len; i++) {
            buf_fmt(out, "\\\\x%02x", (unsigned char) text.s[i]);
        }

        buf_str(out, "\"");

    } else {
        buf_add(out, b.data, b.len);
    }

    out->failed |= b.failed;
    buf_free(&b);
}


/*
 * JSON has no infinities: OpenAI's own floor is -9999.  The shortest form that
 * reads back as the same float.
 */

static void
write_float(buf_t *out, float value)
{
    char text[32];
    int  digits;

    if (!(value > -9999.0f)) {
        value = -9999.0f;
    }

    if (value > 9999.0f) {
        value = 9999.0f;
    }

    for (digits = 6; digits < 10; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double) value);
        if (strtof(text, NULL) == value) {
            break;
        }
    }

    buf_str(out, text);
    buf_str(out, strpbrk(text, ".e") ? "" : ".0");
}
