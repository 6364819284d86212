/*
 * Reads MODEL_STATE's JSON; see the header.  A recursive descent over one
 * text, of bounded depth, without memory of its own.  Any thread.
 */

#include <string.h>
#include "ngx_module/ngx_http_llm_state.h"


typedef struct {
    char    *p;
    char    *end;
    unsigned depth;
} ngx_http_llm_json_t;


static void  ngx_http_llm_json_space(ngx_http_llm_json_t *j);
static int   ngx_http_llm_json_char(ngx_http_llm_json_t *j, char c);
static int   ngx_http_llm_json_skip(ngx_http_llm_json_t *j);
static int   ngx_http_llm_json_text(ngx_http_llm_json_t *j, const char **s,
                                    size_t *len);
static int   ngx_http_llm_json_escape(ngx_http_llm_json_t *j, char **out);
static int   ngx_http_llm_json_hex(ngx_http_llm_json_t *j, unsigned *code);
static char *ngx_http_llm_json_utf8(char *p, unsigned code);
static int ngx_http_llm_json_literal(ngx_http_llm_json_t *j, const char *word);
static int ngx_http_llm_json_number(ngx_http_llm_json_t *j,
                                    unsigned            *thousandths);
static int ngx_http_llm_json_models(ngx_http_llm_json_t  *j,
                                    ngx_http_llm_state_pt fn, void *data);
static int ngx_http_llm_json_model(ngx_http_llm_json_t        *j,
                                   ngx_http_llm_model_state_t *st);
static int ngx_http_llm_json_member(ngx_http_llm_json_t        *j,
                                    ngx_http_llm_model_state_t *st,
                                    const char *key, size_t key_len);
static int ngx_http_llm_json_is(const char *s, size_t len, const char *word);


int
ngx_http_llm_state_parse(char *text, size_t len, ngx_http_llm_state_pt fn,
                         void *data)
{
    size_t              key_len;
    const char         *key;
    ngx_http_llm_json_t j;

    j.p = text;
    j.end = text + len;
    j.depth = 0;

    if (!ngx_http_llm_json_char(&j, '{')) {
        return -1;
    }

    if (!ngx_http_llm_json_char(&j, '}')) {

        do {
            if (ngx_http_llm_json_text(&j, &key, &key_len) != 0
                || !ngx_http_llm_json_char(&j, ':')) {
                return -1;
            }

            if (ngx_http_llm_json_is(key, key_len, "models")) {
                if (ngx_http_llm_json_models(&j, fn, data) != 0) {
                    return -1;
                }

            } else if (ngx_http_llm_json_skip(&j) != 0) {
                return -1;
            }

        } while (ngx_http_llm_json_char(&j, ','));

        if (!ngx_http_llm_json_char(&j, '}')) {
            return -1;
        }
    }

    ngx_http_llm_json_space(&j);

    return j.p == j.end ? 0 : -1;
}


static int
ngx_http_llm_json_models(ngx_http_llm_json_t *j, ngx_http_llm_state_pt fn,
                         void *data)
{
    ngx_http_llm_model_state_t st;

    if (!ngx_http_llm_json_char(j, '[')) {
        return -1;
    }

    if (ngx_http_llm_json_char(j, ']')) {
        return 0;
    }

    do {
        memset(&st, 0, sizeof(st));

        if (ngx_http_llm_json_model(j, &st) != 0) {
            return -1;
        }

        if (st.name_len) {
            fn(data, &st);
        }

    } while (ngx_http_llm_json_char(j, ','));

    return ngx_http_llm_json_char(j, ']') ? 0 : -1;
}


static int
ngx_http_llm_json_model(ngx_http_llm_json_t *j, ngx_http_llm_model_state_t *st)
{
    size_t      key_len;
    const char *key;

    if (!ngx_http_llm_json_char(j, '{')) {
        return -1;
    }

    if (ngx_http_llm_json_char(j, '}')) {
        return 0;
    }

    do {
        if (ngx_http_llm_json_text(j, &key, &key_len) != 0
            || !ngx_http_llm_json_char(j, ':')
            || ngx_http_llm_json_member(j, st, key, key_len) != 0) {
            return -1;
        }

    } while (ngx_http_llm_json_char(j, ','));

    return ngx_http_llm_json_char(j, '}') ? 0 : -1;
}


static int
ngx_http_llm_json_member(ngx_http_llm_json_t *j, ngx_http_llm_model_state_t *st,
                         const char *key, size_t key_len)
{
    size_t      len;
    const char *s;

    ngx_http_llm_json_space(j);

    if (ngx_http_llm_json_is(key, key_len, "name")) {
        return ngx_http_llm_json_text(j, &st->name, &st->name_len);
    }

    if (ngx_http_llm_json_is(key, key_len, "progress")) {
        return ngx_http_llm_json_number(j, &st->progress);
    }

    if (ngx_http_llm_json_is(key, key_len, "serving")) {

        if (ngx_http_llm_json_literal(j, "true") == 0) {
            st->serving = 1;
            return 0;
        }

        return ngx_http_llm_json_literal(j, "false");
    }

    if (ngx_http_llm_json_is(key, key_len, "error") && j->p < j->end
        && *j->p == '"') {
        return ngx_http_llm_json_text(j, &st->error, &st->error_len);
    }

    if (!ngx_http_llm_json_is(key, key_len, "state")) {
        return ngx_http_llm_json_skip(j);
    }

    if (ngx_http_llm_json_text(j, &s, &len) != 0) {
        return -1;
    }

    if (ngx_http_llm_json_is(s, len, "loading")) {
        st->state = NGX_HTTP_LLM_STATE_LOADING;

    } else if (ngx_http_llm_json_is(s, len, "ready")) {
        st->state = NGX_HTTP_LLM_STATE_READY;

    } else if (ngx_http_llm_json_is(s, len, "failed")) {
        st->state = NGX_HTTP_LLM_STATE_FAILED;

    } else {
        return -1;
    }

    return 0;
}


static int
ngx_http_llm_json_is(const char *s, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(s, word, len) == 0;
}


static void
ngx_http_llm_json_space(ngx_http_llm_json_t *j)
{
    while (
        j->p < j->end
        && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r')) {
        j->p++;
    }
}


/* 1 if that is the next character, which is then taken. */

static int
ngx_http_llm_json_char(ngx_http_llm_json_t *j, char c)
{
    ngx_http_llm_json_space(j);

    if (j->p == j->end || *j->p != c) {
        return 0;
    }

    j->p++;

    return 1;
}


/* Any value. */

static int
ngx_http_llm_json_skip(ngx_http_llm_json_t *j)
{
    int         rc;
    char        close;
    size_t      len;
    unsigned    number;
    const char *s;

    ngx_http_llm_json_space(j);

    if (j->p == j->end) {
        return -1;
    }

    switch (*j->p) {
    case '"':
        return ngx_http_llm_json_text(j, &s, &len);
    case 't':
        return ngx_http_llm_json_literal(j, "true");
    case 'f':
        return ngx_http_llm_json_literal(j, "false");
    case 'n':
        return ngx_http_llm_json_literal(j, "null");
    case '{':
        close = '}';
        break;
    case '[':
        close = ']';
        break;
    default:
        return ngx_http_llm_json_number(j, &number);
    }

    if (++j->depth > NGX_HTTP_LLM_STATE_DEPTH) {
        return -1;
    }

    j->p++;

    if (!ngx_http_llm_json_char(j, close)) {

        do {
            if (close == '}'
                && (ngx_http_llm_json_text(j, &s, &len) != 0
                    || !ngx_http_llm_json_char(j, ':'))) {
                return -1;
            }

            rc = ngx_http_llm_json_skip(j);
            if (rc != 0) {
                return rc;
            }

        } while (ngx_http_llm_json_char(j, ','));

        if (!ngx_http_llm_json_char(j, close)) {
            return -1;
        }
    }

    j->depth--;

    return 0;
}


static int
ngx_http_llm_json_literal(ngx_http_llm_json_t *j, const char *word)
{
    size_t len;

    len = strlen(word);

    if ((size_t) (j->end - j->p) < len || memcmp(j->p, word, len) != 0) {
        return -1;
    }

    j->p += len;

    return 0;
}


/* Decoded where it stands: what is written is never longer than what was. */

static int
ngx_http_llm_json_text(ngx_http_llm_json_t *j, const char **s, size_t *len)
{
    char *out;

    if (!ngx_http_llm_json_char(j, '"')) {
        return -1;
    }

    *s = j->p;
    out = j->p;

    while (j->p < j->end && *j->p != '"') {

        if ((unsigned char) *j->p < 0x20) {
            return -1;
        }

        if (*j->p != '\\') {
            *out++ = *j->p++;
            continue;
        }

        j->p++;

        if (ngx_http_llm_json_escape(j, &out) != 0) {
            return -1;
        }
    }

    if (j->p == j->end) {
        return -1;
    }

    j->p++;
    *len = (size_t) (out - *s);

    return 0;
}


/* What follows a backslash. */

static int
ngx_http_llm_json_escape(ngx_http_llm_json_t *j, char **out)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";

    unsigned    code, low;
    const char *f;

    if (j->p == j->end) {
        return -1;
    }

    if (*j->p != 'u') {

        f = *j->p ? strchr(from, *j->p) : NULL;
        if (f == NULL) {
            return -1;
        }

        *(*out)++ = to[f - from];
        j->p++;

        return 0;
    }

    j->p++;

    if (ngx_http_llm_json_hex(j, &code) != 0) {
        return -1;
    }

    if (code >= 0xd800 && code < 0xdc00) {

        if (j->end - j->p < 2 || j->p[0] != '\\' || j->p[1] != 'u') {
            return -1;
        }

        j->p += 2;

        if (ngx_http_llm_json_hex(j, &low) != 0 || low < 0xdc00
            || low > 0xdfff) {
            return -1;
        }

        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);

    } else if (code >= 0xdc00 && code < 0xe000) {
        return -1;
    }

    *out = ngx_http_llm_json_utf8(*out, code);

    return 0;
}


static int
ngx_http_llm_json_hex(ngx_http_llm_json_t *j, unsigned *code)
{
    int  i;
    char c;

    if (j->end - j->p < 4) {
        return -1;
    }

    *code = 0;

    for (i = 0; i < 4; i++) {
        c = *j->p++;

        if (c >= '0' && c <= '9') {
            c -= '0';

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            c = (char) ((c | 0x20) - 'a' + 10);

        } else {
            return -1;
        }

        *code = *code << 4 | (unsigned) c;
    }

    return 0;
}


static char *
ngx_http_llm_json_utf8(char *p, unsigned code)
{
    if (code < 0x80) {
        *p++ = (char) code;
        return p;
    }

    if (code < 0x800) {
        *p++ = (char) (0xc0 | code >> 6);
        *p++ = (char) (0x80 | (code & 0x3f));
        return p;
    }

    if (code < 0x10000) {
        *p++ = (char) (0xe0 | code >> 12);

    } else {
        *p++ = (char) (0xf0 | code >> 18);
        *p++ = (char) (0x80 | (code >> 12 & 0x3f));
    }

    *p++ = (char) (0x80 | (code >> 6 & 0x3f));
    *p++ = (char) (0x80 | (code & 0x3f));

    return p;
}


/* A number, clamped to 0..1, in thousandths. */

static int
ngx_http_llm_json_number(ngx_http_llm_json_t *j, unsigned *thousandths)
{
    int      negative, any, exponent;
    unsigned whole, scale, value;

    negative = (j->p < j->end && *j->p == '-');
    j->p += negative;

    whole = 0;
    value = 0;
    scale = 100;
    any = 0;
    exponent = 0;

    for (/* void */; j->p < j->end && *j->p >= '0' && *j->p <= '9'; j->p++) {
        whole |= (*j->p != '0');
        any = 1;
    }

    if (!any) {
        return -1;
    }

    if (j->p < j->end && *j->p == '.') {
        any = 0;

        for (j->p++; j->p < j->end && *j->p >= '0' && *j->p <= '9'; j->p++) {
            value += (unsigned) (*j->p - '0') * scale;
            scale /= 10;
            any = 1;
        }

        if (!any) {
            return -1;
        }
    }

    if (j->p < j->end && (*j->p | 0x20) == 'e') {
        j->p++;
        any = 0;

        if (j->p < j->end && (*j->p == '+' || *j->p == '-')) {
            exponent = (*j->p == '-') ? -1 : 1;
            j->p++;
        }

        for (/* void */; j->p < j->end && *j->p >= '0' && *j->p <= '9';
             j->p++) {
            any = 1;
        }

        if (!any) {
            return -1;
        }
    }

    /* a small number written with an exponent is as good as none */

    *thousandths = (negative || exponent < 0) ? 0 : whole ? 1000 : value;

    return 0;
}
