/*
 * Events of an answer -> OpenAI's bytes: chat.completion(.chunk) and
 * text_completion, streamed or in one piece.  Reasoning goes beside the
 * content (reasoning_content), calls go into tool_calls or, to who asked with
 * the legacy `functions`, into function_call.
 *
 * Streams: every call appends whole events.  Neither `id:` nor `retry:` lines
 * and no named events: the SDKs' decoders stumble over them.  Otherwise each
 * choice's text is kept until api_writer_end().
 *
 * io thread; the writer belongs to its request.
 */

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include "engine/api/write_priv.h"

/* With obfuscation on, the length of an event is a multiple of this. */
#define WRITE_PAD 64

struct api_writer_s {
    const gen_request_t  *req;
    const gen_identity_t *id;
    uint32_t              n_choices;
    write_choice_t       *choices;
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
static void write_tail(api_writer_t *w, buf_t *out, write_choice_t *p,
                       size_t from);
static int  write_is_custom(const gen_request_t *req, str_t name);
static void write_call_id(api_writer_t *w, buf_t *out, uint32_t choice,
                          uint32_t call);
static void write_call_begin(api_writer_t *w, buf_t *out,
                             const gen_text_t *text, const char *index);
static void write_call_end(api_writer_t *w, write_choice_t *c);
static void write_inner(buf_t *out, str_t text);
static void write_delta(api_writer_t *w, buf_t *out, const gen_text_t *text);
static void write_message(api_writer_t *w, buf_t *out, write_choice_t *c);
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
    w->choices = calloc(n_choices ? n_choices : 1, sizeof(write_choice_t));

    write_head(w, &w->head,
               req->kind != GEN_CHAT ? "text_completion"
               : req->stream         ? "chat.completion.chunk"
                                     : "chat.completion");

    if (w->choices == NULL || w->head.failed) {
        api_writer_free(w);
        return NULL;
    }

    /* A choice's bytes depend on its own tokens, not on how choices mix. */
    for (i = 0; i < n_choices; i++) {
        w->choices[i].pad = (identity->seed ^ i * 0x9e3779b97f4a7c15ull) | 1;
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

    for (i = 0; w->choices && i < w->n_choices; i++) {
        buf_free(&w->choices[i].text);
        buf_free(&w->choices[i].reasoning);
        buf_free(&w->choices[i].calls);
        buf_free(&w->choices[i].lp);
        buf_free(&w->choices[i].lp_value);
        buf_free(&w->choices[i].lp_top);
        buf_free(&w->choices[i].lp_off);
    }

    free(w->choices);
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
    write_choice_t *c = &w->choices[text->choice];

    /* function_call holds one: the grammar of such a request allows no more. */
    if (w->req->functions && text->call > 0) {
        return;
    }

    /* Logprobs are the content's. */
    if (text->part == GEN_PART_CONTENT) {
        write_note(w->req, c, text);
    }

    if (w->req->stream) {
        write_chunk(w, out, text->choice, text, 0, NULL);
        return;
    }

    switch (text->part) {

    case GEN_PART_CONTENT:
        buf_add(&c->text, text->text.s, text->text.len);
        break;

    case GEN_PART_REASONING:
        buf_add(&c->reasoning, text->text.s, text->text.len);
        break;

    case GEN_PART_CALL:
        write_call_end(w, c);
        write_call_begin(w, &c->calls, text, NULL);
        break;

    case GEN_PART_INPUT:
        write_inner(&c->calls, text->text);
        break;
    }

    if (text->part == GEN_PART_CALL) {
        c->n_calls++;
        c->custom = write_is_custom(w->req, text->text);
    }

    out->failed |=
        c->text.failed | c->lp.failed | c->reasoning.failed | c->calls.failed;
}


/* The tool of that name is a custom one. */

static int
write_is_custom(const gen_request_t *req, str_t name)
{
    uint32_t i;

    for (i = 0; i < req->n_offers; i++) {
        if (str_eq(req->offers[i].name, name)) {
            return req->offers[i].kind == GEN_TOOL_CUSTOM;
        }
    }

    return 0;
}


/* Of the request, the choice and the call only: a resumed answer has it too. */

static void
write_call_id(api_writer_t *w, buf_t *out, uint32_t choice, uint32_t call)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz";
    char              key[80], id[25];
    uint64_t          half[2];
    int               n, i;

    n = snprintf(key, sizeof(key), "%.40s/%u/%u", w->id->id, choice, call);

    for (i = 0; i < 2; i++) {
        half[i] = XXH3_64bits_withSeed(key, (size_t) n, (XXH64_hash_t) i);
    }

    for (i = 0; i < 24; i++) {
        id[i] = letters[half[i / 12] % 62];
        half[i / 12] /= 62;
    }

    id[24] = 0;
    buf_fmt(out, "\"id\":\"call_%s\",", id);
}


/*
 * A call up to the first byte of its arguments, inside their string.  Streams
 * say its number too.
 */

static void
write_call_begin(api_writer_t *w, buf_t *out, const gen_text_t *text,
                 const char *index)
{
    int         custom = write_is_custom(w->req, text->text);
    const char *kind = custom ? "custom" : "function";

    if (w->req->functions) {
        buf_str(out, "{\"name\":");

    } else {
        buf_fmt(out, "%s{%s", text->call && index == NULL ? "," : "",
                index ? index : "");
        write_call_id(w, out, text->choice, text->call);
        buf_fmt(out, "\"type\":\"%s\",\"%s\":{\"name\":", kind, kind);
    }

    buf_json(out, text->text.s, text->text.len);
    buf_fmt(out, ",\"%s\":\"", custom ? "input" : "arguments");
}


/* Not streamed: the last call's string and its objects end here. */

static void
write_call_end(api_writer_t *w, write_choice_t *c)
{
    if (c->n_calls) {
        buf_str(&c->calls, w->req->functions ? "\"}" : "\"}}");
    }
}


/* Whole characters within a JSON string. */

static void
write_inner(buf_t *out, str_t text)
{
    size_t at = out->len;

    buf_json(out, text.s, text.len);

    if (out->failed) {
        return;
    }

    memmove(out->data + at, out->data + at + 1, out->len - at - 2);
    out->len -= 2;
}


void
api_writer_finish(api_writer_t *w, uint32_t choice, int finish, buf_t *out)
{
    static const gen_text_t empty = {0};
    const char             *word = finishes[finish];

    if (finish == GEN_FINISH_TOOL_CALLS && w->req->functions) {
        word = "function_call";
    }

    w->choices[choice].finish = word;

    if (w->req->stream) {
        write_chunk(w, out, choice, &empty, 0, word);
    }
}


/* What a chunk says: the piece as a member of "delta". */

static void
write_delta(api_writer_t *w, buf_t *out, const gen_text_t *text)
{
    write_choice_t *c = &w->choices[text->choice];
    char            index[32];

    snprintf(index, sizeof(index), "\"index\":%u,", text->call);

    switch (text->part) {

    case GEN_PART_CONTENT:
        buf_str(out, "\"content\":");
        buf_json(out, text->text.s, text->text.len);
        return;

    case GEN_PART_REASONING:
        buf_str(out, "\"reasoning_content\":");
        buf_json(out, text->text.s, text->text.len);
        return;

    case GEN_PART_CALL:
        c->custom = write_is_custom(w->req, text->text);
        buf_str(out,
                w->req->functions ? "\"function_call\":" : "\"tool_calls\":[");
        write_call_begin(w, out, text, index);
        break;

    case GEN_PART_INPUT:
        if (w->req->functions) {
            buf_str(out, "\"function_call\":{\"arguments\":\"");
        } else {
            buf_fmt(out, "\"tool_calls\":[{%s\"%s\":{\"%s\":\"", index,
                    c->custom ? "custom" : "function",
                    c->custom ? "input" : "arguments");
        }

        write_inner(out, text->text);
        break;
    }

    buf_str(out, w->req->functions ? "\"}" : "\"}}]");
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
            write_delta(w, out, text);
        }

        buf_str(out, "},");

    } else {
        buf_str(out, "\"text\":");
        buf_json(out, text->text.s ? text->text.s : "", text->text.len);
        buf_str(out, ",");
    }

    write_logprobs(w->req, out, &w->choices[choice]);
    buf_fmt(out, ",\"finish_reason\":%s%s%s}]", finish ? "\"" : "",
            finish ? finish : "null", finish ? "\"" : "");

    if (w->req->include_usage) {
        buf_str(out, ",\"usage\":null");
    }

    write_tail(w, out, &w->choices[choice], from);
}


/* The end of an event, padded against observers of packet lengths. */

static void
write_tail(api_writer_t *w, buf_t *out, write_choice_t *p, size_t from)
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
    uint32_t        i;
    size_t          from = out->len;
    write_choice_t *p;

    if (w->req->stream) {
        if (w->req->include_usage) {
            buf_add(out, w->head.data, w->head.len);
            buf_str(out, "],");
            write_usage(usage, out);
            write_tail(w, out, &w->choices[0], from);
        }

        buf_str(out, "data: [DONE]\n\n");
        return;
    }

    buf_add(out, w->head.data, w->head.len);

    for (i = 0; i < w->n_choices; i++) {
        p = &w->choices[i];
        buf_fmt(out, "%s{\"index\":%u,", i ? "," : "", i);

        if (w->req->kind == GEN_CHAT) {
            write_message(w, out, p);
        } else {
            buf_str(out, "\"text\":");
            buf_json(out, p->text.data ? p->text.data : "", p->text.len);
        }

        buf_str(out, ",");
        write_logprobs(w->req, out, p);
        buf_fmt(out, ",\"finish_reason\":\"%s\"}",
                p->finish ? p->finish : "stop");
    }

    buf_str(out, "],");
    write_usage(usage, out);
    buf_str(out, "}");
}


static void
write_message(api_writer_t *w, buf_t *out, write_choice_t *c)
{
    buf_str(out, "\"message\":{\"role\":\"assistant\",");

    if (c->reasoning.len) {
        buf_str(out, "\"reasoning_content\":");
        buf_json(out, c->reasoning.data, c->reasoning.len);
        buf_str(out, ",");
    }

    buf_str(out, "\"content\":");

    if (c->text.len == 0 && c->n_calls) {
        buf_str(out, "null");
    } else {
        buf_json(out, c->text.data ? c->text.data : "", c->text.len);
    }

    if (c->n_calls) {
        write_call_end(w, c);
        buf_str(out, w->req->functions ? ",\"function_call\":"
                                       : ",\"tool_calls\":[");
        buf_add(out, c->calls.data, c->calls.len);
        buf_str(out, w->req->functions ? "" : "]");
        out->failed |= c->calls.failed;
    }

    buf_str(out, ",\"refusal\":null,\"annotations\":[]}");
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
