/*
 * A TAP producer for tests in C: plan is printed at the end by tap_done().
 * One test program, one thread calls it.
 */

#ifndef LLM_TAP_H
#define LLM_TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count_;
static int tap_failed_;


/* One assertion: prints "ok N - name" or "not ok N - name" with its place. */
#define ok(cond, ...) tap_ok_(!!(cond), __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, want, ...)                                                 \
    do {                                                                       \
        long long g_ = (long long) (got), w_ = (long long) (want);             \
        if (!tap_ok_(g_ == w_, __FILE__, __LINE__, __VA_ARGS__)) {             \
            printf("#   got %lld, want %lld\n", g_, w_);                       \
        }                                                                      \
    } while (0)

#define is_str(got, want, ...)                                                 \
    do {                                                                       \
        const char *g_ = (got), *w_ = (want);                                  \
        if (!tap_ok_(g_ && w_ && strcmp(g_, w_) == 0, __FILE__, __LINE__,      \
                     __VA_ARGS__)) {                                           \
            printf("#   got  '%s'\n#   want '%s'\n", g_ ? g_ : "(null)",       \
                   w_ ? w_ : "(null)");                                        \
        }                                                                      \
    } while (0)


__attribute__((format(printf, 4, 5), unused)) static int
tap_ok_(int pass, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    printf("%sok %d - ", pass ? "" : "not ", ++tap_count_);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");

    if (!pass) {
        tap_failed_++;
        printf("#   at %s:%d\n", file, line);
    }

    fflush(stdout);
    return pass;
}


__attribute__((format(printf, 1, 2), unused)) static void
diag(const char *fmt, ...)
{
    va_list ap;

    printf("# ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
}


__attribute__((format(printf, 1, 2), unused, noreturn)) static void
skip_all(const char *fmt, ...)
{
    va_list ap;

    printf("1..0 # SKIP ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    exit(0);
}


__attribute__((unused)) static int
tap_done(void)
{
    printf("1..%d\n", tap_count_);
    return tap_failed_ ? 1 : 0;
}

#endif /* LLM_TAP_H */
