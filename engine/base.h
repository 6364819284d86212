/*
 * What every room of the engine stands on: strings with a length, arenas,
 * growing buffers, the log, and how errors travel.
 *
 * ERRORS are -errno ints; 0 or more is success.  LLM_TRY() passes one on.
 * Whoever knows the cause logs it, once, with what to do.
 *
 * An ARENA belongs to one request or one model and to one thread at a time;
 * what it gave out lives until arena_free().  A BUFFER is a growing run of
 * bytes; after a failed allocation it stays empty and says so, so that a
 * writer checks once, at its end.
 */

#ifndef LLM_BASE_H
#define LLM_BASE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LLM_TRY(expr)                                                          \
    do {                                                                       \
        int rc_ = (expr);                                                      \
        if (rc_ < 0) {                                                         \
            return rc_;                                                        \
        }                                                                      \
    } while (0)

#define llm_countof(a) (sizeof(a) / sizeof((a)[0]))


typedef struct {
    const char *s;
    size_t      len;
} str_t;

#define str_lit(l) ((str_t){(l), sizeof(l) - 1})

static inline str_t
str_of(const char *s)
{
    return (str_t){s, s ? strlen(s) : 0};
}


static inline int
str_eq(str_t a, str_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.s, b.s, a.len) == 0);
}


typedef struct arena_block_s arena_block_t;

typedef struct {
    arena_block_t *blocks;
    size_t         left;
    char          *next;
    size_t         total; /* bytes taken from the system */
    size_t         limit; /* 0: none */
} arena_t;

void  arena_init(arena_t *arena, size_t limit);
void *arena_get(arena_t *arena, size_t size); /* zeroed; NULL: no memory */
char *arena_str(arena_t *arena, const char *s, size_t len); /* with a 0 */
void  arena_free(arena_t *arena);


typedef struct {
    char  *data;
    size_t len;
    size_t cap;
    int    failed; /* an allocation failed: contents are not whole */
} buf_t;

void buf_free(buf_t *buf);
void buf_reset(buf_t *buf); /* empty; keeps its memory */
void buf_add(buf_t *buf, const void *data, size_t len);
void buf_str(buf_t *buf, const char *s);
void buf_fmt(buf_t *buf, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
char *buf_room(buf_t *buf, size_t len); /* len bytes to write, or NULL */

/* A JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void buf_json(buf_t *buf, const char *s, size_t len);

/* A finite double in the shortest form that reads back the same. */
void buf_double(buf_t *buf, double value);


enum {
    LLM_LOG_ERROR = 0,
    LLM_LOG_WARN,
    LLM_LOG_NOTICE,
    LLM_LOG_INFO,
    LLM_LOG_DEBUG
};

/* One line to stderr, in NGINX's form.  Any thread. */
void llm_log(int level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void llm_log_level(int level);

#define log_error(...)  llm_log(LLM_LOG_ERROR, __VA_ARGS__)
#define log_warn(...)   llm_log(LLM_LOG_WARN, __VA_ARGS__)
#define log_notice(...) llm_log(LLM_LOG_NOTICE, __VA_ARGS__)
#define log_info(...)   llm_log(LLM_LOG_INFO, __VA_ARGS__)
#define log_debug(...)  llm_log(LLM_LOG_DEBUG, __VA_ARGS__)

/* CLOCK_MONOTONIC. */
uint64_t llm_now_ns(void);

#endif /* LLM_BASE_H */
