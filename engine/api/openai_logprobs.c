/*
 * Logprobs of an answer in OpenAI's two forms: noted with each piece of text,
 * written with the next chunk or with the whole choice.  io thread.
 */

#include <stdio.h>
#include <stdlib.h>
#include "engine/api/write_priv.h"

static size_t write_chars(str_t s);
static void   write_note_chat(write_choice_t *p, const gen_token_t *t);
static void   write_note_completion(write_choice_t *p, const gen_token_t *t);
static void   write_token(buf_t *out, str_t text);
static void   write_alt(buf_t *out, str_t text, float logprob);
static void   write_float(buf_t *out, float value);


/* "logprobs": what was noted since the last time, or null. */

void
write_logprobs(const gen_request_t *req, buf_t *out, write_choice_t *p)
{
    if (!req->logprobs || p->n_lp == 0) {
        buf_str(out, "\"logprobs\":null");
        return;
    }

    if (req->kind == GEN_CHAT) {
        buf_str(out, "\"logprobs\":{\"content\":[");
        buf_add(out, p->lp.data, p->lp.len);
        buf_str(out, "],\"refusal\":null}");

    } else {
        buf_str(out, "\"logprobs\":{\"tokens\":[");
        buf_add(out, p->lp.data, p->lp.len);
        buf_str(out, "],\"token_logprobs\":[");
        buf_add(out, p->lp_value.data, p->lp_value.len);
        buf_str(out, "],\"top_logprobs\":");

        if (req->n_top) {
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


void
write_note(const gen_request_t *req, write_choice_t *p, const gen_text_t *text)
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

        if (req->kind == GEN_CHAT) {
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
write_note_chat(write_choice_t *p, const gen_token_t *t)
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
write_note_completion(write_choice_t *p, const gen_token_t *t)
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
