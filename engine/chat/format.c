/*
 * Formats by name, by template and by prompt.  Pure functions; any thread.
 */

#include <string.h>
#include "engine/chat/format_table.h"

static int format_has(const char *s, size_t len, const char *what);
static int format_is(const chat_format_t *f, const char *s, size_t len);
static int format_ends(const char *s, size_t len, const char *tag);
static int format_letter(char c);


const chat_format_t *
chat_format_find(const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < chat_formats_n; i++) {
        if (str_eq(str_of(chat_formats[i].name), (str_t){name, len})) {
            return &chat_formats[i];
        }
    }

    return NULL;
}


const chat_format_t *
chat_format_detect(const char *source, size_t len)
{
    size_t i;

    for (i = 0; i + 1 < chat_formats_n; i++) {
        if (format_is(&chat_formats[i], source, len)) {
            break;
        }
    }

    return &chat_formats[i];
}


const char *
chat_format_name(const chat_format_t *format)
{
    return format->name;
}


int
chat_format_reasons(const chat_format_t *format, const char *source, size_t len)
{
    /* Tags may be put together from parts: harmony's from channel names. */
    if (format->think == NULL || format_has(source, len, format->think)
        || format_has(source, len, chat_format_think_close(format))) {
        return format->think != NULL || format_has(source, len, "<think>")
               || format_has(source, len, "</think>");
    }

    return format->prime != NULL || format_has(source, len, "think");
}


int
chat_format_token(const char *s, size_t len)
{
    const chat_format_t *f;
    size_t               i, k;

    /* Tags stand in brackets of some kind. */
    if (len < 3 || strchr("<[]", s[0]) == NULL
        || strchr(">][", s[len - 1]) == NULL) {
        return 0;
    }

    for (i = 0; i < chat_formats_n; i++) {
        f = &chat_formats[i];

        const char *strings[] = {
            f->section,     f->section_end, f->call,
            f->param,       f->quote,       f->content,
            f->content_end, f->preamble,    chat_format_think(f),
            f->separator,   f->prime,       chat_format_think_close(f)};

        for (k = 0; k < llm_countof(strings); k++) {
            if (strings[k]
                && memmem(strings[k], strlen(strings[k]), s, len) != NULL) {
                return 1;
            }
        }
    }

    return 0;
}


int
chat_format_shows_tools(const char *source, size_t len)
{
    static const char word[] = "tools";
    const char       *p = source, *end = source + len;

    for (; p && p < end; p++) {
        p = memmem(p, (size_t) (end - p), word, sizeof(word) - 1);
        if (p == NULL) {
            break;
        }

        if ((p == source || !format_letter(p[-1]))
            && (p + 5 == end || !format_letter(p[5]))) {
            return 1;
        }
    }

    return 0;
}


int
chat_format_at(const chat_format_t *format, const char *prompt, size_t len)
{
    if (format_ends(prompt, len, chat_format_think(format))) {
        return CHAT_AT_THOUGHT;
    }

    if (format_ends(prompt, len, chat_format_think_close(format))) {
        return CHAT_AT_ANSWER;
    }

    if (format->content && format->prime == NULL
        && format_ends(prompt, len, format->content)) {
        return CHAT_AT_CONTENT;
    }

    return CHAT_AT_START;
}


void
chat_format_history(const chat_format_t *format, chat_history_t *history)
{
    *history = (chat_history_t){.reasoning_key = format->reasoning_key
                                                     ? format->reasoning_key
                                                     : "reasoning_content",
                                .args_string = format->args_string,
                                .one_call = format->one_call,
                                .calls_lost = format->calls_lost};
}


static int
format_is(const chat_format_t *f, const char *s, size_t len)
{
    int i;

    for (i = 0; i < CHAT_HAS_MAX && f->has[i]; i++) {
        if (!format_has(s, len, f->has[i])) {
            return 0;
        }
    }

    for (i = 0; i < CHAT_LACKS_MAX && f->lacks[i]; i++) {
        if (format_has(s, len, f->lacks[i])) {
            return 0;
        }
    }

    return 1;
}


static int
format_has(const char *s, size_t len, const char *what)
{
    return s && memmem(s, len, what, strlen(what)) != NULL;
}


/* Does s end with the tag, white space at either's end apart? */

static int
format_ends(const char *s, size_t len, const char *tag)
{
    size_t n = strlen(tag);

    while (n && strchr(" \n\r\t", tag[n - 1])) {
        n--;
    }

    while (len && strchr(" \n\r\t", s[len - 1])) {
        len--;
    }

    return n && n <= len && memcmp(s + len - n, tag, n) == 0;
}


static int
format_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '_';
}
