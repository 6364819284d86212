/*
 * The entries of the table of formats: what is known of a model family's way
 * to write calls and thoughts.  Data only; strings are UTF-8.
 *
 * A CALL is a string with places in it:
 *
 *     %n   the function's name
 *     %N   the same once more
 *     %a   its arguments, as `args` says
 *     %j   (in `reads` only) a JSON object with members for name and
 *          arguments, in any order, among others
 *     %*   anything: an index, an id.  A model that is held to the format
 *          writes what the pattern `star` says
 *
 * and PARAM, one argument of CHAT_ARGS_TAGGED:
 *
 *     %k   its name
 *     %t   whether it is text: "true" or "string" for yes
 *     %v   its value: text as it is, all else JSON; the schema says which
 *
 * Reading is more generous than writing: a run of white space in a string
 * stands for any run of it or none, but beside %v, where it counts.
 */

#ifndef LLM_CHAT_FORMAT_TABLE_H
#define LLM_CHAT_FORMAT_TABLE_H

#include "engine/chat/format.h"

#define CHAT_HAS_MAX    4
#define CHAT_LACKS_MAX  2
#define CHAT_READS_MAX  4
#define CHAT_OTHERS_MAX 4

enum {
    CHAT_ARGS_JSON = 0, /* a JSON object */
    CHAT_ARGS_TAGGED,   /* one `param` after another */
    CHAT_ARGS_PYTHON,   /* a=1, b='x', c=[True, None] */
    CHAT_ARGS_BRACE     /* {a:1,b:"x",c:[true,null]}, strings in `quote` */
};

enum {
    CHAT_SPACE_SINGLE = 0, /* {"a": 1, "b": 2}, as json.dumps() has it */
    CHAT_SPACE_COMPACT
};

struct chat_format_s {
    const char *name;

    /* A template is of the format if it has all of these and none of those. */
    const char *has[CHAT_HAS_MAX];
    const char *lacks[CHAT_LACKS_MAX];

    /* Calls: around all, each, between two. */
    const char *section; /* NULL: none */
    const char *section_end;
    const char *call; /* as a model writes it */
    const char *separator;
    const char *star;
    const char *reads[CHAT_READS_MAX]; /* forms to read; none: `call` */
    const char *name_key;              /* of %j; NULL: "name" */
    const char *args_key;              /* NULL: "arguments" */
    int         args;
    int         space;
    const char *param;
    const char *quote;
    const char *example_id; /* what `star` is in a call that we write */

    unsigned start : 1;    /* a call is all of an answer, or none of it */
    unsigned single : 1;   /* one call an answer */
    unsigned no_text : 1;  /* no content beside calls */
    unsigned rethink : 1;  /* thoughts may come between messages, often */
    unsigned in_think : 1; /* a call may end a thought */
    unsigned cdata : 1;    /* text in tags may stand in <![CDATA[ ]]> */

    /*
     * Content that stands in tags of its own (NULL: it does not), also
     * openings besides `content`, and tags that mean nothing.
     */
    const char *content;
    const char *content_end;
    const char *preamble;     /* opens content that comes before calls */
    const char *preamble_end; /* NULL: content_end */
    const char *others[CHAT_OTHERS_MAX];
    const char *drops[CHAT_OTHERS_MAX];

    /* What of the tags the prompt's end has written already. */
    const char *prime;

    /* Thoughts; NULL: <think>, </think>. */
    const char *think;
    const char *think_end;

    /* What the template wants of messages in a conversation. */
    const char *reasoning_key;   /* NULL: "reasoning_content" */
    unsigned    args_string : 1; /* arguments as a JSON text, not an object */
    unsigned    one_call : 1;    /* refuses a message with more than one */
    unsigned    calls_lost : 1;  /* writes no calls: put them into content */
};

/* The table, in the order in which templates are asked; ends with the
 * generic one. */
extern const chat_format_t chat_formats[];
extern const size_t        chat_formats_n;

static inline const char *
chat_format_think(const chat_format_t *f)
{
    return f->think ? f->think : "<think>";
}


static inline const char *
chat_format_think_close(const chat_format_t *f)
{
    return f->think_end ? f->think_end : "</think>";
}

#endif /* LLM_CHAT_FORMAT_TABLE_H */
