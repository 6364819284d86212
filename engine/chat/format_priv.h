/*
 * What the files of the format parser share.
 *
 * The parser takes one SYMBOL after another, a byte of text or of a control
 * token's name, and nothing in it looks at where a piece ends: so what it
 * gives cannot depend on that.  Bytes of control tokens take part in tags and
 * are never given out.
 *
 *     TEXT, THINK  ->  a tag  ->  CALL: the places of a call in turn
 *                      ^             |
 *                      +--- SECTION -+   between the calls of a section
 *
 * Until a call's name is certain all of it is kept (raw): if it is no call
 * then, its text is content and looked through again from the second symbol
 * on.  What is kept is bounded, and so is the work for each byte.
 */

#ifndef LLM_CHAT_FORMAT_PRIV_H
#define LLM_CHAT_FORMAT_PRIV_H

#include "engine/chat/format_table.h"

#define PARSE_CONTROL    0x100u /* of a symbol: not text */
#define PARSE_TAGS_MAX   24
#define PARSE_HOLD_MAX   512
#define PARSE_RAW_MAX    8192
#define PARSE_NAME_MAX   128
#define PARSE_STAR_MAX   128
#define PARSE_DEPTH_MAX  64
#define PARSE_MIXED_MAX  (1u << 20)
#define PARSE_NESTED_MAX 256 /* broken calls within broken calls */

/* What a machine says to a symbol. */
enum {
    STEP_MORE = 0,
    STEP_DONE,  /* was the last one */
    STEP_AFTER, /* belongs to what comes after */
    STEP_BROKEN
};

typedef struct {
    uint16_t *s;
    size_t    n;
    size_t    cap;
} syms_t;

enum {
    TAG_THINK = 1,
    TAG_THINK_END,
    TAG_CONTENT,
    TAG_DROP,
    TAG_CLOSED, /* the end of a thought that the prompt ended already */
    TAG_SECTION,
    TAG_SECTION_END,
    TAG_CALL
};

typedef struct {
    int         what;
    const char *s;
    size_t      len;
    const char *rest;  /* of a call: what comes then */
    int         space; /* white space behind it is its own */
} tag_t;

typedef struct {
    tag_t    tags[PARSE_TAGS_MAX];
    uint32_t n;
} tags_t;

/* A string's escapes, JSON's and Python's. */
typedef struct {
    int      escape; /* after a backslash */
    int      hex;    /* digits to come */
    uint32_t code;
    uint32_t high; /* surrogate */
} unescape_t;

/* A value in JSON, Python or braces, turned into JSON: format_value.c. */
typedef struct {
    int         state;
    int         depth;
    uint8_t     stack[PARSE_DEPTH_MAX];
    int         key; /* the string or word is one */
    int         close;
    const char *quote;
    size_t      quote_at;
    int         quote_control; /* its first byte was a token's */
    int         extract;       /* give the first string in it, nothing else */
    int         found;
    unescape_t  un;
    buf_t       word;
} value_t;

enum { MODE_TEXT = 0, MODE_THINK, MODE_SECTION, MODE_CALL };

struct chat_parser_s {
    const chat_format_t *f;
    chat_parse_t         opt;
    chat_part_pt         part;
    void                *data;
    int                  failed;

    tags_t text;
    tags_t think;
    tags_t section;

    int      mode;
    int      start;      /* nothing of the answer has come yet */
    int      thought;    /* a thought is over */
    int      skip;       /* leading white space */
    int      in_section; /* 2: it has had a call */
    int      nested;
    uint32_t calls;

    syms_t hold; /* may become a tag */
    syms_t raw;  /* of a call that may be none */
    size_t seen; /* bytes of text, ever */
    size_t end;  /* ... and those told to be used up */

    buf_t out;
    int   out_kind;

    /* The call. */
    const char *at;      /* its next place */
    size_t      at_star; /* symbols that %* took */
    int         begun;   /* CALL was given */
    int         given;   /* ... and some of its arguments */
    uint32_t    tool;
    buf_t       name;

    /* Its arguments: format_args.c. */
    int         args;
    int         depth;
    int         in_string;
    unescape_t  un;
    value_t     value;
    buf_t       key;
    buf_t       type;
    buf_t       text_value;
    size_t      match; /* of the tag that ends a value */
    int         kind;  /* of the value */
    int         cdata; /* 1: perhaps, 2: it stands in <![CDATA[ ]]> */
    int         n_params;
    json_t     *schema;
    const char *param; /* where in the format's `param` */
    const char *after; /* where the call goes on behind tagged arguments */

    /* A JSON object with name and arguments. */
    int   json;
    int   json_depth;
    buf_t json_args; /* came before the name */
    int   json_done;
};

/* format_parse.c */
void parse_give(chat_parser_t *p, int kind, const void *s, size_t len);
int  parse_call(chat_parser_t *p); /* the name is whole: STEP_MORE, _BROKEN */
void syms_add(chat_parser_t *p, syms_t *list, unsigned sym);

/*
 * Do the list's symbols from `from` on spell s, white space being loose?
 * 1: all of it, up to *used; 0: its beginning; -1: no.
 */
int syms_match(const syms_t *list, size_t from, const char *s, size_t len,
               size_t *used);

/* format_args.c */
int args_step(chat_parser_t *p, unsigned sym);
int json_step(chat_parser_t *p, unsigned sym);

/* format_tagged.c */
int tagged_step(chat_parser_t *p, unsigned sym);

/* format_value.c */
void value_begin(value_t *v, const char *quote, int extract);
int  value_step(chat_parser_t *p, value_t *v, unsigned sym);
int  value_end(chat_parser_t *p, value_t *v); /* of text that ends here */
void value_string(chat_parser_t *p, const char *s, size_t len); /* escaped */
/* Bytes of a string's text in out[8]: how many, or -1: the quote. */
int unescape(unescape_t *u, uint8_t byte, uint8_t quote, uint8_t out[8]);

static inline int
parse_space(unsigned c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}


static inline int
parse_name_char(unsigned c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

#endif /* LLM_CHAT_FORMAT_PRIV_H */
