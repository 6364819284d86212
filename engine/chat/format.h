/*
 * Tool-call and reasoning formats of model families: how a model writes calls
 * and thoughts, told as data.
 *
 * A FORMAT is one entry of a table: which templates are of it, the strings
 * around calls, names and arguments, the tags of reasoning.  From the same
 * entry come the grammar that a model is held to (engine/serve makes it; this
 * room knows no grammars) and the parser that turns the model's text back
 * into parts.
 *
 * THE PARSER takes a choice's text in any pieces and gives parts: content,
 * reasoning, calls.  What it gives, put together, does not depend on how the
 * text was cut; it holds back what may yet become a tag, and no more.  A
 * control token is told apart from text that looks like it: its name comes
 * through chat_parser_control().  Any text is taken: what is no call in the
 * format is content.
 *
 * Formats are static and immutable; a parser belongs to one choice and one
 * thread at a time.
 */

#ifndef LLM_CHAT_FORMAT_H
#define LLM_CHAT_FORMAT_H

#include <jansson.h>
#include "engine/base.h"

typedef struct chat_format_s chat_format_t; /* format_table.h has the fields */
typedef struct chat_parser_s chat_parser_t;

/* By name (an operator's override), or NULL. */
const chat_format_t *chat_format_find(const char *name, size_t len);

/*
 * By what a chat template's source says: the first entry of the table that
 * fits; the generic one (a prompt of our own) where the template knows no
 * tools.  Never NULL.
 */
const chat_format_t *chat_format_detect(const char *source, size_t len);

const char *chat_format_name(const chat_format_t *format);

/* 1 if the template has reasoning of the format's kind at all. */
int chat_format_reasons(const chat_format_t *format, const char *source,
                        size_t len);

/* 1 if the template reads `tools`; 0: they need chat_format_prompt(). */
int chat_format_shows_tools(const char *source, size_t len);

/* 1 if a format names this token: text from outside must not become it. */
int chat_format_token(const char *s, size_t len);

/* Where a rendered prompt, ready for an answer, leaves off. */
enum {
    CHAT_AT_START = 0, /* before everything */
    CHAT_AT_THOUGHT,   /* within a thought that it opened */
    CHAT_AT_ANSWER,    /* a thought is over: it opened and closed one */
    CHAT_AT_CONTENT    /* within content that it opened */
};

int chat_format_at(const chat_format_t *format, const char *prompt, size_t len);

/* What the template wants in assistant messages of a conversation. */
typedef struct {
    const char *reasoning_key; /* "reasoning_content", "thinking", ... */
    int         args_string;   /* arguments as JSON text, not as an object */
    int         one_call;      /* it refuses more than one call a message */
    int         calls_lost;    /* calls must stand in content, as text */
} chat_history_t;

void chat_format_history(const chat_format_t *format, chat_history_t *history);

/*
 * A system text for templates that know no tools: lists them (an array as in
 * a request's `tools`) and says how they are called.
 */
void chat_format_prompt(const chat_format_t *format, const json_t *tools,
                        buf_t *out);

/* Calls (a message's `tool_calls`, arguments objects or JSON texts) as the
 * model would have written them; and a result. */
void chat_format_write_calls(const chat_format_t *format, const json_t *calls,
                             buf_t *out);
void chat_format_write_result(const char *text, size_t len, buf_t *out);

/*
 * What a value may be that the format writes untyped: bits of CHAT_TYPE_* that
 * the schema of the parameters (JSON; s NULL: none) allows for that name.
 */
enum {
    CHAT_TYPE_STRING = 1,
    CHAT_TYPE_NUMBER = 2, /* whole ones too */
    CHAT_TYPE_BOOLEAN = 4,
    CHAT_TYPE_NULL = 8,
    CHAT_TYPE_OBJECT = 16,
    CHAT_TYPE_ARRAY = 32,
    CHAT_TYPE_ANY = 63
};

unsigned chat_format_types(const json_t *schema, const char *name, size_t len);


enum {
    CHAT_PART_CONTENT = 0,
    CHAT_PART_REASONING,
    CHAT_PART_CALL, /* a call begins; text: its name, whole */
    CHAT_PART_INPUT /* a piece of its arguments: JSON, whatever the format
                     * writes; of a custom tool: its text */
};

typedef struct {
    int      kind;
    uint32_t call; /* CALL, INPUT: 0, 1, ... */
    str_t    text; /* valid in the call only */
    size_t   end;  /* bytes of the choice's text that are used up by now */
} chat_part_t;

typedef struct {
    const chat_format_t *format;
    int                  calls;     /* 0: calls are no matter, all is content */
    int                  thinking;  /* the prompt has opened a thought */
    int                  content;   /* the prompt has opened content */
    int                  reasoning; /* 0: tags of thoughts are content too */

    /* Names on offer and, for each, 1: a custom tool (its input is text);
     * their parameters' schemas as JSON for formats that write arguments
     * untyped, or s NULL.  Borrowed for the parser's life. */
    const str_t   *names;
    const uint8_t *custom;
    const str_t   *schemas;
    uint32_t       n_names;
} chat_parse_t;

typedef void (*chat_part_pt)(void *data, const chat_part_t *part);

/* NULL: no memory. */
chat_parser_t *chat_parser_new(const chat_parse_t *options, chat_part_pt part,
                               void *data);
void           chat_parser_free(chat_parser_t *p);

/* 0 or -ENOMEM. */
int chat_parser_text(chat_parser_t *p, const char *s, size_t len);
int chat_parser_control(chat_parser_t *p, const char *name, size_t len);

/* The text has ended: what was held back comes out. */
int chat_parser_end(chat_parser_t *p);

/* Calls that have begun. */
uint32_t chat_parser_calls(const chat_parser_t *p);

#endif /* LLM_CHAT_FORMAT_H */
