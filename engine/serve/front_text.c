/*
 * Between text and tokens on front threads: chat templates, the tokenizer and
 * the two endpoints that show it.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/serve/front.h"


static void render_own(req_t *r, gen_request_t *req, int generation,
                       json_t *vars);
static int  render_messages(req_t *r, json_t *vars, json_t *messages,
                            chat_text_t *text);
static int  render_generic(req_t *r, gen_request_t *req, json_t *vars,
                           json_t *messages, chat_text_t *text);


int
front_render(req_t *r, gen_request_t *req, int generation, chat_text_t *text)
{
    const dialog_t *d = &r->version->dialog;
    json_t         *vars, *messages;
    int             rc;

    /* As transformers: a template named tool_use is for requests with tools,
       be they none. */
    if (req->tools && r->version->dialog_tools.template) {
        d = &r->version->dialog_tools;
    }

    if (d->template == NULL) {
        return gen_error(&r->error, 400, "unsupported_model", "model",
                         "The model '%.*s' has no chat template%s%.200s; use "
                         "/v1/completions",
                         (int) r->model_name.len, r->model_name.s,
                         r->version->template_error[0] ? " that works: " : "",
                         r->version->template_error);
    }

    r->dialog = d;
    vars = json_object();
    messages = front_messages(d, req->messages);

    if (vars == NULL || messages == NULL) {
        json_decref(vars);
        json_decref(messages);
        return front_no_memory(r);
    }

    rc = front_effort(r, req, d, vars);

    if (rc == 0) {
        /* The client's arguments: but for what is ours to say. */
        json_object_update(vars, req->template_args);
        render_own(r, req, generation, vars);

        rc = req->tools && !d->shows_tools
                 ? render_generic(r, req, vars, messages, text)
                 : render_messages(r, vars, messages, text);
    }

    if (rc == 0 && generation) {
        r->prompt_at = chat_format_at(d->format, text->text, text->len);
    }

    json_decref(messages);
    json_decref(vars);

    return rc;
}


/* The variables that every template has. */

static void
render_own(req_t *r, gen_request_t *req, int generation, json_t *vars)
{
    text_tokenizer_t *tok = r->version->vocab.tokenizer;
    struct {
        const char *name;
        int32_t     id;
    } specials[] = {{"bos_token", text_bos(tok)},
                    {"eos_token", text_eos(tok)},
                    {"unk_token", text_unk(tok)},
                    {"pad_token", text_pad(tok)}};
    const char *bytes;
    size_t      i, len;

    json_object_set_new(vars, "documents", json_null());
    json_object_set_new(vars, "add_generation_prompt",
                        json_boolean(generation));

    if (req->tools && r->dialog->shows_tools) {
        json_object_set(vars, "tools", req->tools);
    } else {
        json_object_set_new(vars, "tools", json_null());
    }

    for (i = 0; i < llm_countof(specials); i++) {
        json_object_del(vars, specials[i].name);
        bytes = text_token_bytes(tok, specials[i].id, &len);
        if (bytes) {
            json_object_set_new(vars, specials[i].name,
                                json_stringn_nocheck(bytes, len));
        }
    }
}


static int
render_messages(req_t *r, json_t *vars, json_t *messages, chat_text_t *text)
{
    static const char *const trusted[] = {"bos_token", "eos_token", "unk_token",
                                          "pad_token", NULL};
    static const char *const roles[] = {"system", "user",      "assistant",
                                        "tool",   "developer", NULL};
    chat_limits_t            limits = {.now = (time_t) r->submit.created,
                                       .trusted_vars = trusted,
                                       .trusted_roles = roles};
    char                     err[256];
    int                      rc;

    json_object_set(vars, "messages", messages);

    rc = chat_template_render(r->dialog->template, vars, &limits, text, err,
                              sizeof(err));
    if (rc == 0) {
        return 0;
    }

    gen_error(&r->error, rc == -ENOMEM ? 500 : 400,
              rc == -ENOMEM ? NULL : "invalid_value", "messages",
              "The model's chat template refuses the messages: %s", err);

    return rc;
}


/* Tools in a system text of ours; in the user's where there is no system. */

static int
render_generic(req_t *r, gen_request_t *req, json_t *vars, json_t *messages,
               chat_text_t *text)
{
    json_t *own;
    int     user, rc = -EINVAL;

    for (user = 0; user < 2 && rc == -EINVAL; user++) {
        own = front_generic(r->dialog, messages, req->tools, user);
        rc = own ? render_messages(r, vars, own, text) : front_no_memory(r);
        json_decref(own);
    }

    return rc;
}


/* Text -> f->ids, *n of them. */

int
front_encode(front_t *f, req_t *r, str_t text, const uint8_t *trusted, int bos,
             size_t *n)
{
    text_tokenizer_t *tok = r->version->vocab.tokenizer;
    model_t          *m = r->version->model;
    int32_t          *ids;
    ssize_t           got;
    size_t            need, most;

    /* Longer than the longest tokens could make it: not worth a look. */
    need = text.len / text_token_max(tok);
    if (need > m->context) {
        return gen_error(&r->error, 400, "context_length_exceeded",
                         r->submit.op == LLM_OP_CHAT ? "messages" : "prompt",
                         "This model's maximum context length is %u tokens, "
                         "but your request has at least %zu.",
                         m->context, need);
    }

    most = text_encode_max(tok, text.len);

    if (f->cap < most) {
        ids = realloc(f->ids, most * sizeof(int32_t));
        if (ids == NULL) {
            return front_no_memory(r);
        }

        f->ids = ids;
        f->cap = most;
    }

    got = text_encode(tok, text.s, text.len, trusted, bos ? TEXT_ADD_BOS : 0,
                      f->ids, f->cap, f->scratch);
    if (got == -EFBIG) {
        return gen_error(&r->error, 400, "context_length_exceeded",
                         r->submit.op == LLM_OP_CHAT ? "messages" : "prompt",
                         "This model's maximum context length is %u tokens, "
                         "your request has %zu bytes of text.",
                         m->context, text.len);
    }

    if (got < 0 || (size_t) got > f->cap) {
        return front_no_memory(r);
    }

    /* A template that writes its own bos has it once. */
    if (trusted && bos && got > 1 && text_adds_bos(tok)
        && f->ids[0] == text_bos(tok) && f->ids[1] == text_bos(tok)) {
        memmove(f->ids, f->ids + 1, (size_t) --got * sizeof(int32_t));
    }

    *n = (size_t) got;

    return 0;
}


int
front_ids(req_t *r, const int32_t *ids, size_t n, const char *param)
{
    uint32_t n_vocab = r->version->model->prog.n_vocab;
    size_t   i;

    for (i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t) ids[i] >= n_vocab) {
            return gen_error(&r->error, 400, "invalid_value", param,
                             "%d is not a token: the model has %u", ids[i],
                             n_vocab);
        }
    }

    return 0;
}


int
front_tokenize(front_t *f, req_t *r)
{
    api_tokenize_t t;
    chat_text_t    text;
    str_t         *strs = NULL;
    size_t         n = 0, i;
    int            rc;

    LLM_TRY(api_tokenize_parse(r->body.data, r->body.len, &t, &r->error));

    rc = front_model(r, t.req.model);

    if (rc == 0 && t.req.messages) {
        rc = front_render(r, &t.req, t.add_generation_prompt, &text);
        if (rc == 0) {
            rc = front_encode(f, r, (str_t){text.text, text.len}, text.trusted,
                              t.add_special, &n);
            chat_text_free(&text);
        }

    } else if (rc == 0) {
        rc = front_encode(f, r, t.req.prompts[0].text, NULL, t.add_special, &n);
    }

    if (rc == 0 && t.token_strs) {
        strs = calloc(n + 1, sizeof(str_t));
        for (i = 0; strs && i < n; i++) {
            strs[i].s = text_token_bytes(r->version->vocab.tokenizer, f->ids[i],
                                         &strs[i].len);
        }

        if (strs == NULL) {
            rc = front_no_memory(r);
        }
    }

    if (rc == 0) {
        api_tokenize_write(&t, f->ids, n, strs, r->version->model->context,
                           &r->reply);
    }

    free(strs);
    api_request_free(&t.req);

    return rc;
}


int
front_detokenize(req_t *r)
{
    text_tokenizer_t *tok;
    gen_request_t     req;
    text_detok_t      d = {0};
    const char       *bytes;
    buf_t             text = {0};
    size_t            i, len, skip, seen = 0;
    char             *p;
    int               rc;

    LLM_TRY(api_detokenize_parse(r->body.data, r->body.len, &req, &r->error));

    rc = front_model(r, req.model);
    if (rc == 0) {
        rc = front_ids(r, req.prompts[0].tokens, req.prompts[0].n_tokens,
                       "tokens");
    }

    if (rc == 0) {
        tok = r->version->vocab.tokenizer;

        for (i = 0; rc == 0 && i < req.prompts[0].n_tokens; i++) {
            bytes = text_token_bytes(tok, req.prompts[0].tokens[i], &len);

            /* Of the first that is text, the space that encoding added. */
            skip = 0;
            if (!text_token_is_control(tok, req.prompts[0].tokens[i])
                && seen++ == 0) {
                skip = text_prefix_len(tok, req.prompts[0].tokens[i]);
            }

            p = buf_room(&text, TEXT_DETOK_CAP(len));
            if (p) {
                text.len +=
                    (size_t) text_detok_feed(&d, bytes + skip, len - skip, p,
                                             TEXT_DETOK_CAP(len));
            }

            if (text.len > SERVE_BODY_MAX) {
                rc = gen_error(&r->error, 400, "invalid_value", "tokens",
                               "The text of these tokens is larger than %u "
                               "bytes.",
                               SERVE_BODY_MAX);
            }
        }

        p = buf_room(&text, 3);
        if (p) {
            text.len += text_detok_flush(&d, p);
        }

        if (rc == 0 && text.failed) {
            rc = front_no_memory(r);
        }

        if (rc == 0) {
            api_detokenize_write((str_t){text.data, text.len}, &r->reply);
        }
    }

    buf_free(&text);
    api_request_free(&req);

    return rc;
}


int
front_no_memory(req_t *r)
{
    gen_error(&r->error, 500, NULL, NULL, "The server ran out of memory.");

    return -ENOMEM;
}
