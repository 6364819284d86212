/*
 * Chat templates: Jinja as `transformers` sets it up (trim_blocks,
 * lstrip_blocks, loop controls, the `generation` tag, an immutable sandbox),
 * compiled once when a model is loaded and rendered once a request.
 *
 * Threads: compile on any thread; a compiled template never changes and may
 * be rendered by any number of threads at once.  A render keeps everything in
 * an arena of its own, which is gone when it returns.
 *
 * Provenance: every byte of the output carries whether the template wrote it
 * (text, literals, variables named as trusted) or whether it came from
 * messages, tools or any other variable.  The tokenizer makes a control token
 * only of bytes that are all the template's.
 *
 * Neither a hostile template nor hostile variables may crash or block: steps,
 * output, memory and depth are bounded.  At the depth that limits allow
 * (max_depth 400) a render was seen to need up to 120 KiB of stack; give its
 * thread 512 KiB, and 4 MiB under sanitizers.
 */

#ifndef LLM_CHAT_TEMPLATE_H
#define LLM_CHAT_TEMPLATE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <jansson.h>

typedef struct chat_template_s chat_template_t;

/* A field of 0 or NULL means the default named beside it. */
typedef struct {
    uint64_t max_steps;  /* 10 million; about 20 ns each */
    size_t   max_output; /* bytes of the result and of any one string:
                               16 MiB */
    size_t   max_memory; /* bytes of the arena: 256 MiB */
    uint32_t max_depth;  /* nested calls, expressions, values: 400 */
    time_t   now;        /* for strftime_now, local time; 0 is 1970 */

    /* Top-level variables whose strings count as the template's own, e.g.
       bos_token; ends with NULL. */
    const char *const *trusted_vars;

    /* Values of messages[i].role that count as the template's own, for
       templates that write '<|' + role + '|>'; ends with NULL.  Only exact
       matches: any other role stays untrusted. */
    const char *const *trusted_roles;
} chat_limits_t;

typedef struct {
    char    *text;    /* UTF-8, with a NUL behind its last byte */
    uint8_t *trusted; /* one byte (0 or 1) for each byte of text */
    size_t   len;
} chat_text_t;


/*
 * Compiles UTF-8 source.  Returns 0 and the template in *tpl_new, or
 * -EINVAL (syntax error or unsupported syntax, "line 12: ..." in err),
 * -E2BIG (source over 1 MiB, nested too deeply), -ENOMEM.
 * err is always NUL-terminated; src is not kept.
 */
int chat_template_compile(const char *src, size_t len,
                          chat_template_t **tpl_new, char *err,
                          size_t err_size);

/*
 * Renders with vars (an object, not changed and not kept; integers must fit
 * 64 bits).  limits may be NULL.  Returns 0 and out, which the caller frees
 * with chat_text_free(); or, with a message in err and out empty:
 *   -EINVAL   the template called raise_exception(): err is its message
 *   -EBADMSG  any other error that jinja2 would raise ("line 3: 'x' is
 *             undefined"), or a number or a feature beyond what we have
 *   -ETIME    more than max_steps
 *   -E2BIG    more than max_output, max_memory or max_depth
 *   -ENOMEM   no memory
 * The first two mean that the conversation does not suit the template.
 */
int chat_template_render(const chat_template_t *tpl, json_t *vars_borrow,
                         const chat_limits_t *limits, chat_text_t *out,
                         char *err, size_t err_size);

void chat_template_free(chat_template_t *tpl_take);
void chat_text_free(chat_text_t *text);

#endif /* LLM_CHAT_TEMPLATE_H */
