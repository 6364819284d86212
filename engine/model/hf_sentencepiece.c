/*
 * tokenizer.model: SentencePiece's ModelProto, of which we read
 *
 *   1 pieces (repeated)   1 piece string, 2 score float, 3 type enum
 *   2 trainer_spec        3 model_type, 24 treat_whitespace_as_suffix,
 *                         35 byte_fallback
 *   3 normalizer_spec     1 name, 2 precompiled_charsmap, 3 add_dummy_prefix,
 *                         4 remove_extra_whitespaces, 5 escape_whitespaces
 *
 * The wire is protobuf's: a varint (field << 3 | kind) before each value; a
 * varint (kind 0), 8 bytes (1), a length and bytes (2), 4 bytes (5).  What is
 * not named above is skipped; groups are refused.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/model/hf_tokenizer.h"

#define SP_BPE 2 /* of model_type */

typedef struct {
    const uint8_t *p;
    const uint8_t *end;
} sp_t;

/* A field's value: number (bits of a float too), or bytes. */
typedef struct {
    uint32_t    number;
    int         kind;
    uint64_t    value;
    const char *data;
    size_t      len;
} sp_field_t;

typedef struct {
    uint32_t n_pieces;
    uint64_t model_type;
    int      suffix;
    int      byte_fallback;
    int      charsmap;
    int      dummy_prefix;
    int      collapse;
    int      escape;
} sp_spec_t;

static int sp_next(sp_t *s, sp_field_t *f);
static int sp_varint(sp_t *s, uint64_t *out);
static int sp_scan(hf_text_t *t, sp_spec_t *spec);
static int sp_trainer(sp_t s, sp_spec_t *spec);
static int sp_normalizer(sp_t s, sp_spec_t *spec);
static int sp_check(hf_text_t *t, const sp_spec_t *spec);
static int sp_pieces(hf_text_t *t);
static int sp_piece(hf_text_t *t, uint32_t id, sp_t s);
static int sp_utf8(const char *s, size_t len);


int
hf_sentencepiece_read(hf_text_t *t)
{
    sp_spec_t     spec;
    const json_t *legacy = json_object_get(t->settings, "legacy");
    const json_t *add = json_object_get(t->settings, "add_prefix_space");

    LLM_TRY(sp_scan(t, &spec));
    LLM_TRY(sp_check(t, &spec));

    /* As transformers: without "legacy": false, before each piece of text. */
    if (spec.dummy_prefix && !json_is_false(add)) {
        t->prefix = json_is_false(legacy) ? "first" : "each";
    }

    t->collapse = spec.collapse;

    LLM_TRY(hf_vocab_room(t, spec.n_pieces - 1));

    return sp_pieces(t);
}


/* 1: a field; 0: the end; -EINVAL. */

static int
sp_next(sp_t *s, sp_field_t *f)
{
    uint64_t tag, n;

    if (s->p == s->end) {
        return 0;
    }

    LLM_TRY(sp_varint(s, &tag));

    if (tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        return -EINVAL;
    }

    *f = (sp_field_t){.number = (uint32_t) (tag >> 3), .kind = (int) (tag & 7)};

    switch (f->kind) {
    case 0:
        LLM_TRY(sp_varint(s, &f->value));
        return 1;

    case 1:
    case 5:
        n = f->kind == 1 ? 8 : 4;
        if ((uint64_t) (s->end - s->p) < n) {
            return -EINVAL;
        }

        memcpy(&f->value, s->p, n);
        s->p += n;
        return 1;

    case 2:
        LLM_TRY(sp_varint(s, &n));
        if ((uint64_t) (s->end - s->p) < n) {
            return -EINVAL;
        }

        f->data = (const char *) s->p;
        f->len = (size_t) n;
        s->p += n;
        return 1;

    default:
        return -EINVAL;
    }
}


static int
sp_varint(sp_t *s, uint64_t *out)
{
    uint64_t v = 0;
    int      shift;

    for (shift = 0; shift < 64 && s->p < s->end; shift += 7) {
        v |= (uint64_t) (*s->p & 0x7f) << shift;

        if (!(*s->p++ & 0x80)) {
            *out = v;
            return 0;
        }
    }

    return -EINVAL;
}


static int
sp_scan(hf_text_t *t, sp_spec_t *spec)
{
    const uint8_t *data = (const uint8_t *) t->model;
    sp_t           s = {data, data + t->model_len}, sub;
    sp_field_t     f;
    int            rc;

    *spec = (sp_spec_t){
        .model_type = 1, .dummy_prefix = 1, .collapse = 1, .escape = 1};

    while ((rc = sp_next(&s, &f)) > 0) {
        sub.p = (const uint8_t *) f.data;
        sub.end = sub.p + f.len;

        if (f.number > 3 || f.kind != 2) {
            continue;
        }

        if (f.number == 1) {
            rc = spec->n_pieces++ < HF_TEXT_TOKENS ? 0 : -EINVAL;
        } else if (f.number == 2) {
            rc = sp_trainer(sub, spec);
        } else {
            rc = sp_normalizer(sub, spec);
        }

        if (rc < 0) {
            break;
        }
    }

    if (rc < 0 || spec->n_pieces == 0) {
        return hf_text_fail(t, -EINVAL,
                            "tokenizer.model: not a SentencePiece model, or "
                            "broken");
    }

    return 0;
}


static int
sp_trainer(sp_t s, sp_spec_t *spec)
{
    sp_field_t f;
    int        rc;

    while ((rc = sp_next(&s, &f)) > 0) {
        if (f.kind != 0) {
            continue;
        }

        switch (f.number) {
        case 3:
            spec->model_type = f.value;
            break;
        case 24:
            spec->suffix = f.value != 0;
            break;
        case 35:
            spec->byte_fallback = f.value != 0;
            break;
        }
    }

    return rc;
}


static int
sp_normalizer(sp_t s, sp_spec_t *spec)
{
    sp_field_t f;
    int        rc;

    while ((rc = sp_next(&s, &f)) > 0) {
        if (f.number == 2 && f.kind == 2) {
            spec->charsmap = f.len > 0;
        }

        if (f.kind != 0) {
            continue;
        }

        switch (f.number) {
        case 3:
            spec->dummy_prefix = f.value != 0;
            break;
        case 4:
            spec->collapse = f.value != 0;
            break;
        case 5:
            spec->escape = f.value != 0;
            break;
        }
    }

    return rc;
}


static int
sp_check(hf_text_t *t, const sp_spec_t *spec)
{
    static const char *const types[] = {"unigram", "BPE", "word", "char"};
    uint64_t                 type = spec->model_type;

    if (type != SP_BPE) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.model: a model of type '%s' is not "
                            "supported",
                            type >= 1 && type <= 4 ? types[type - 1]
                                                   : "unknown");
    }

    /* The identity has no map; nmt_nfkc and the like have one. */
    if (spec->charsmap) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.model: a normalizer that maps "
                            "characters is not supported");
    }

    if (spec->suffix || !spec->escape) {
        return hf_text_fail(t, -ENOTSUP, "tokenizer.model: %s is not supported",
                            spec->suffix ? "treat_whitespace_as_suffix"
                                         : "escape_whitespaces false");
    }

    if (!spec->byte_fallback) {
        return hf_text_fail(t, -ENOTSUP,
                            "tokenizer.model: a model without byte_fallback is "
                            "not supported");
    }

    return 0;
}


/* The wire is known to be whole, as far as the pieces' borders. */

static int
sp_pieces(hf_text_t *t)
{
    const uint8_t *data = (const uint8_t *) t->model;
    sp_t           s = {data, data + t->model_len}, sub;
    sp_field_t     f;
    uint32_t       id = 0;

    while (sp_next(&s, &f) > 0) {
        if (f.number == 1 && f.kind == 2) {
            sub.p = (const uint8_t *) f.data;
            sub.end = sub.p + f.len;
            LLM_TRY(sp_piece(t, id++, sub));
        }
    }

    return 0;
}


static int
sp_piece(hf_text_t *t, uint32_t id, sp_t s)
{
    hf_token_t *token = &t->tokens[id];
    gguf_str_t  name = {NULL, 0};
    uint64_t    type = HF_NORMAL;
    sp_field_t  f;
    uint32_t    bits;
    float       score = 0;
    int         rc;

    while ((rc = sp_next(&s, &f)) > 0) {
        if (f.number == 1 && f.kind == 2) {
            name = (gguf_str_t){f.data, f.len};

        } else if (f.number == 2 && f.kind == 5) {
            bits = (uint32_t) f.value;
            memcpy(&score, &bits, sizeof(score));

        } else if (f.number == 3 && f.kind == 0) {
            type = f.value;
        }
    }

    if (rc < 0 || name.len == 0 || type < HF_NORMAL || type > HF_BYTE
        || score != score || !sp_utf8(name.data, name.len)) {
        return hf_text_fail(t, -EINVAL, "tokenizer.model: piece %u is broken",
                            id);
    }

    if (type == HF_BYTE && !hf_vocab_is_byte(name)) {
        return hf_text_fail(t, -EINVAL,
                            "tokenizer.model: piece %u is no byte's", id);
    }

    LLM_TRY(hf_vocab_set(t, id, name.data, name.len, (int) type));
    token->score = score;

    if (type == HF_UNKNOWN && t->unk < 0) {
        t->unk = (int32_t) id;
    }

    return type == HF_USER_DEFINED ? hf_vocab_spaces(t, token) : 0;
}


static int
sp_utf8(const char *s, size_t len)
{
    json_t *v = json_stringn(s, len);

    json_decref(v);

    return v != NULL;
}
