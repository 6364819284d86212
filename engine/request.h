/*
 * The vocabulary between rooms: what a request asks for, and the events of
 * its answer.  A dialect (engine/api) makes a gen_request_t of a body and
 * bytes of events; engine/serve leads it through the rooms; neither chat
 * templates nor schedulers know where it came from.
 *
 * OWNERSHIP.  A gen_request_t and all it points to live in its arena (JSON
 * values: until gen_request's owner drops `body`).  One thread at a time.
 *
 * A WRITER turns events into the dialect's bytes.  Its output is a pure
 * function of (request, id, created, model, events in order): never of time,
 * nor of how events were grouped.
 */

#ifndef LLM_REQUEST_H
#define LLM_REQUEST_H

#include <jansson.h>
#include "engine/base.h"

#define GEN_STOPS_MAX   4
#define GEN_CHOICES_MAX 128
#define GEN_TOP_MAX     20
#define GEN_PROMPTS_MAX 128

enum {
    GEN_CHAT = 1,  /* messages through the chat template */
    GEN_COMPLETION /* prompts as they are */
};

typedef struct {
    int32_t token;
    float   value; /* -100..100 */
} gen_bias_t;

/* A prompt of a completion: text or token ids. */
typedef struct {
    str_t          text;
    const int32_t *tokens; /* NULL: text */
    size_t         n_tokens;
} gen_prompt_t;

/*
 * What a model may call.  `at` is where in the body it stands, as a JSON
 * pointer ("/tools/3"): schemas are read from the body's own text, as every
 * digit of a number counts there.
 */
enum { GEN_TOOL_FUNCTION = 1, GEN_TOOL_CUSTOM };

enum { GEN_SYNTAX_TEXT = 0, GEN_SYNTAX_LARK, GEN_SYNTAX_REGEX };

typedef struct {
    int   kind;
    str_t name;
    str_t at;
    str_t schema;     /* pointer to a function's parameters; s NULL: none */
    int   strict;     /* as asked; arguments are constrained in any case */
    int   offered;    /* by tool_choice: may be called in this answer */
    int   syntax;     /* of a custom tool's input */
    str_t definition; /* its grammar */
} gen_tool_t;

enum { GEN_CALLS_NONE = 0, GEN_CALLS_AUTO, GEN_CALLS_REQUIRED };

/* What the answer's content must be. */
enum {
    GEN_FORMAT_TEXT = 0,
    GEN_FORMAT_JSON_OBJECT,
    GEN_FORMAT_JSON_SCHEMA, /* format_at: where in the body the schema is;
                             * s NULL: format_text is its JSON */
    GEN_FORMAT_GBNF,        /* format_text */
    GEN_FORMAT_LARK,
    GEN_FORMAT_REGEX,
    GEN_FORMAT_CHOICE /* format_list */
};

enum {
    GEN_EFFORT_DEFAULT = 0, /* not said */
    GEN_EFFORT_NONE,
    GEN_EFFORT_MINIMAL,
    GEN_EFFORT_LOW,
    GEN_EFFORT_MEDIUM,
    GEN_EFFORT_HIGH,
    GEN_EFFORT_XHIGH,
    GEN_EFFORT_MAX
};

typedef struct {
    int     kind;
    arena_t arena;
    json_t *body; /* owned; parts of it are borrowed below */

    str_t model; /* as the client wrote it */
    str_t user;

    /* GEN_CHAT: the template's variables. */
    json_t *messages;      /* in the form that chat templates expect */
    json_t *tools;         /* owned; NULL: none are shown */
    json_t *template_args; /* chat_template_kwargs, or NULL */

    /* GEN_COMPLETION */
    gen_prompt_t *prompts;
    uint32_t      n_prompts;
    int           echo;

    uint32_t n;           /* choices for each prompt */
    uint32_t max_tokens;  /* for each choice; 0: what the context has left */
    int      has_max;     /* the request named max_tokens (0 is 0 then) */
    double   temperature; /* has_*: as asked; else the model's default */
    double   top_p;
    double   min_p;
    uint32_t top_k;
    double   repetition;
    double   frequency;
    double   presence;
    unsigned has_temperature : 1;
    unsigned has_top_p : 1;
    unsigned has_min_p : 1;
    unsigned has_top_k : 1;
    unsigned has_repetition : 1;
    unsigned has_seed : 1;

    uint64_t    seed;
    gen_bias_t *bias;
    uint32_t    n_bias;
    str_t       stops[GEN_STOPS_MAX];
    uint32_t    n_stops;
    int         ignore_eos;
    int         logprobs; /* wanted */
    uint32_t    n_top;

    /* Tools.  `tools` above is what the template shows; NULL: none. */
    gen_tool_t *offers;
    uint32_t    n_offers;
    int         calls;     /* GEN_CALLS_* */
    int         parallel;  /* more than one call in an answer */
    int         functions; /* legacy `functions`: answer as function_call */

    int          format;       /* GEN_FORMAT_* */
    const char  *format_param; /* which parameter to blame in a 400 */
    str_t        format_at;
    str_t        format_text;
    const str_t *format_list;
    uint32_t     n_format_list;
    int          order_free; /* of properties */
    int          space;      /* 0 compact, 1 single, 2 any: as gr_front.h */

    int      effort;       /* GEN_EFFORT_* */
    int      has_budget;   /* thinking_budget was given: */
    uint32_t think_budget; /* tokens of reasoning, at most */

    int stream;
    int include_usage;
    int obfuscation; /* pad chunks against observers of packet lengths */
} gen_request_t;

/*
 * Why a request was refused: becomes the dialect's error object.  Strings are static,
 * but param may be param_buf; param and code may be NULL.
 */
typedef struct {
    int         status; /* HTTP */
    const char *type;   /* "invalid_request_error" */
    const char *code;
    const char *param;
    char        message[512];
    char        param_buf[96]; /* for a param that is made up */
    uint32_t    retry_ms;
    int         no_retry;
} gen_error_t;

/* Fills *e and returns -EINVAL (or what the status stands for). */
int gen_error(gen_error_t *e, int status, const char *code, const char *param,
              const char *fmt, ...) __attribute__((format(printf, 5, 6)));


typedef struct {
    str_t text; /* the token's bytes; may be part of a character */
    float logprob;
} gen_alt_t;

typedef struct {
    int32_t   token;
    str_t     text;
    float     logprob;
    int       has_logprob; /* the first token of an echoed prompt has none */
    uint32_t  n_top;
    gen_alt_t top[GEN_TOP_MAX];
} gen_token_t;

enum {
    GEN_FINISH_STOP = 1,
    GEN_FINISH_LENGTH,
    GEN_FINISH_TOOL_CALLS,
    GEN_FINISH_CONTENT_FILTER
};

/*
 * A piece of a choice's text: whole characters.  `tokens` are those that the
 * piece uses up (0 or more: held-back text belongs to the piece that sets it
 * free); filled where logprobs are wanted.
 */
enum {
    GEN_PART_CONTENT = 0,
    GEN_PART_REASONING,
    GEN_PART_CALL, /* a call begins: text is the tool's whole name */
    GEN_PART_INPUT /* a piece of its arguments (or a custom tool's input) */
};

typedef struct {
    uint32_t           choice;
    int                part;
    uint32_t           call; /* of CALL and INPUT: 0, 1, ... in its choice */
    str_t              text;
    const gen_token_t *tokens;
    uint32_t           n_tokens;
} gen_text_t;

typedef struct {
    uint32_t prompt_tokens;
    uint32_t cached_tokens;
    uint32_t completion_tokens;
    uint32_t reasoning_tokens;
} gen_usage_t;

/* What a writer is told at its start; strings are borrowed for its life. */
typedef struct {
    const char *id; /* 32 hexadecimal digits */
    int64_t     created;
    str_t       model;       /* the name that answers */
    const char *fingerprint; /* "fp_..." */
    uint64_t    seed;        /* for obfuscation */
} gen_identity_t;

#endif /* LLM_REQUEST_H */
