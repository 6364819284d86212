/*
 * Arenas, buffers, the log.  See base.h for who owns what.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "engine/base.h"

#define ARENA_BLOCK 16384 /* and less at first: many arenas stay small */
#define ARENA_FIRST 2048

struct arena_block_s {
    arena_block_t *prev;
    _Alignas(16) char data[];
};

static int log_limit = LLM_LOG_NOTICE;


void
arena_init(arena_t *arena, size_t limit)
{
    *arena = (arena_t){.limit = limit};
}


void *
arena_get(arena_t *arena, size_t size)
{
    arena_block_t *b;
    size_t         need, block = arena->total;
    void          *p;

    if (size > SIZE_MAX / 2) {
        return NULL;
    }

    size = (size + 15) & ~(size_t) 15;

    if (size > arena->left) {
        block = block < ARENA_FIRST ? ARENA_FIRST : block;
        block = block > ARENA_BLOCK ? ARENA_BLOCK : block;
        need = size > block / 4 ? size : block;

        if (arena->limit && arena->total + need > arena->limit) {
            return NULL;
        }

        b = malloc(sizeof(arena_block_t) + need);
        if (b == NULL) {
            return NULL;
        }

        b->prev = arena->blocks;
        arena->blocks = b;
        arena->total += need;

        if (need == size && arena->left > 0) {
            /* A large piece gets a block of its own; the old one goes on. */
            return memset(b->data, 0, size);
        }

        arena->next = b->data;
        arena->left = need;
    }

    p = arena->next;
    arena->next += size;
    arena->left -= size;

    return memset(p, 0, size);
}


char *
arena_str(arena_t *arena, const char *s, size_t len)
{
    char *p = arena_get(arena, len + 1);

    if (p && len) {
        memcpy(p, s, len);
    }

    return p;
}


void
arena_free(arena_t *arena)
{
    arena_block_t *b, *prev;

    for (b = arena->blocks; b; b = prev) {
        prev = b->prev;
        free(b);
    }

    arena_init(arena, arena->limit);
}


void
buf_free(buf_t *buf)
{
    free(buf->data);
    *buf = (buf_t){0};
}


void
buf_reset(buf_t *buf)
{
    buf->len = 0;
    buf->failed = 0;
}


char *
buf_room(buf_t *buf, size_t len)
{
    size_t cap;
    char  *data;

    if (buf->failed) {
        return NULL;
    }

    if (buf->data == NULL || len > buf->cap - buf->len) {
        cap = buf->cap ? buf->cap : 256;

        while (cap - buf->len < len) {
            if (cap > SIZE_MAX / 4) {
                buf->failed = 1;
                return NULL;
            }

            cap *= 2;
        }

        data = realloc(buf->data, cap);
        if (data == NULL) {
            buf->failed = 1;
            return NULL;
        }

        buf->data = data;
        buf->cap = cap;
    }

    return buf->data + buf->len;
}


void
buf_add(buf_t *buf, const void *data, size_t len)
{
    char *p;

    if (len == 0) {
        return;
    }

    p = buf_room(buf, len);
    if (p) {
        memcpy(p, data, len);
        buf->len += len;
    }
}


void
buf_str(buf_t *buf, const char *s)
{
    buf_add(buf, s, strlen(s));
}


void
buf_fmt(buf_t *buf, const char *fmt, ...)
{
    va_list ap;
    char   *p;
    int     n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);

    p = n < 0 ? NULL : buf_room(buf, (size_t) n + 1);
    if (p == NULL) {
        buf->failed = 1;
        return;
    }

    va_start(ap, fmt);
    vsnprintf(p, (size_t) n + 1, fmt, ap);
    va_end(ap);
    buf->len += (size_t) n;
}


/* Length of the valid UTF-8 sequence at s, or 0 (RFC 3629, section 4). */

static size_t
utf8_len(const unsigned char *s, size_t left)
{
    unsigned lo = 0x80, hi = 0xbf;
    size_t   n, i;

    if (s[0] < 0x80) {
        return 1;
    }

    if (s[0] < 0xc2 || s[0] > 0xf4) {
        return 0;
    }

    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (n > left) {
        return 0;
    }

    lo = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : lo;
    hi = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : hi;

    if (s[1] < lo || s[1] > hi) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    return n;
}


void
buf_json(buf_t *buf, const char *str, size_t len)
{
    static const char    names[] = "btn?fr"; /* from 0x08 on */
    const unsigned char *s = (const unsigned char *) str;
    size_t               i, from, n;

    buf_add(buf, "\"", 1);

    for (i = from = 0; i < len;) {
        if (s[i] >= 0x20 && s[i] < 0x80 && s[i] != '"' && s[i] != '\\') {
            i++;
            continue;
        }

        n = utf8_len(s + i, len - i);
        if (n > 1) {
            i += n;
            continue;
        }

        buf_add(buf, s + from, i - from);

        if (n == 0) {
            buf_str(buf, "\xef\xbf\xbd");

        } else if (s[i] == '"' || s[i] == '\\') {
            buf_add(buf, (char[]){'\\', (char) s[i]}, 2);

        } else if (s[i] >= 0x08 && s[i] <= 0x0d && s[i] != 0x0b) {
            buf_add(buf, (char[]){'\\', names[s[i] - 8]}, 2);

        } else {
            buf_fmt(buf, "\\u%04x", s[i]);
        }

        from = ++i;
    }

    buf_add(buf, s + from, len - from);
    buf_add(buf, "\"", 1);
}


void
buf_double(buf_t *buf, double value)
{
    char text[40];
    int  digits;

    for (digits = 6; digits < 18; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }

    if (strpbrk(text, ".einEIN") == NULL) {
        strcat(text, ".0");
    }

    buf_str(buf, text);
}


void
llm_log_level(int level)
{
    log_limit = level;
}


void
llm_log(int level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "notice", "info",
                                        "debug"};
    char                     line[1024];
    struct tm                tm;
    time_t                   now;
    va_list                  ap;
    size_t                   n, from;
    int                      m;

    if (level > log_limit) {
        return;
    }

    now = time(NULL);
    localtime_r(&now, &tm);

    n = strftime(line, sizeof(line), "%Y/%m/%d %H:%M:%S ", &tm);
    n += (size_t) snprintf(line + n, sizeof(line) - n,
                           "[%s] %d: ", names[level], (int) getpid());

    va_start(ap, fmt);
    m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
    va_end(ap);

    from = n;
    n += m < 0 ? 0 : (size_t) m;
    if (n > sizeof(line) - 2) {
        n = sizeof(line) - 2;
    }

    /* Names and paths come from outside: a line stays one line. */
    for (; from < n; from++) {
        if ((unsigned char) line[from] < 0x20 || line[from] == 0x7f) {
            line[from] = '?';
        }
    }

    line[n++] = '\n';

    /* One write a line, so that threads do not mix theirs. */
    if (write(STDERR_FILENO, line, n) < 0) {
        return;
    }
}


uint64_t
llm_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}
