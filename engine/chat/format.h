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
