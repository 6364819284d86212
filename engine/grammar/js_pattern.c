/*
 * Patterns of schemas over the engine's own regular expressions: see
 * js_pattern.h and re.h.
 *
 * All patterns of a schema share a set of expressions, which grows as they
 * are matched.  When it is full it is thrown away, and each pattern is read
 * again when it is next wanted: hence generations.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/js_pattern.h"
#include "engine/grammar/re.h"

#define PATTERNS_BYTES (48u << 20)
#define PATTERNS_NODES 400000

/* Of one compilation, and of one match; of all compilations together. */
#define PATTERN_STEPS  2000000
#define PATTERNS_STEPS 20000000

struct js_patterns_s {
    pthread_mutex_t lock;
    arena_t         arena; /* of the patterns */
    re_set_t       *set;
    uint32_t        generation;
    int64_t         left; /* steps to compile patterns with */
};

struct js_pattern_s {
    js_patterns_t *patterns;
    str_t          source;
    re_t           re;
    uint32_t       generation;
};

static int js_patterns_renew(js_patterns_t *patterns);
static int js_pattern_read(js_pattern_t *pattern, int64_t *steps, char *err,
                           size_t err_size);
static int js_pattern_search(js_pattern_t *pattern, str_t s, int64_t *steps);


js_patterns_t *
js_patterns_new(void)
{
    js_patterns_t *patterns = calloc(1, sizeof(js_patterns_t));

    if (patterns == NULL) {
        return NULL;
    }

    pthread_mutex_init(&patterns->lock, NULL);
    arena_init(&patterns->arena, 0);
    patterns->left = PATTERNS_STEPS;

    if (js_patterns_renew(patterns) < 0) {
        js_patterns_free(patterns);
        return NULL;
    }

    return patterns;
}


void
js_patterns_free(js_patterns_t *patterns)
{
    if (patterns) {
        re_free(patterns->set);
        arena_free(&patterns->arena);
        pthread_mutex_destroy(&patterns->lock);
        free(patterns);
    }
}


/* An empty set: every pattern is to be read again. */
static int
js_patterns_renew(js_patterns_t *patterns)
{
    re_limits_t limits = {.max_nodes = PATTERNS_NODES,
                          .max_bytes = PATTERNS_BYTES,
                          .max_steps = PATTERN_STEPS};

    if (patterns->set) {
        re_free(patterns->set);
    }

    patterns->generation++;
    patterns->set = re_new(&limits);

    return patterns->set ? 0 : -ENOMEM;
}


/*
 * Reads the source into the set; again into an empty one, if the old one was
 * at its end.  *steps goes down by the work, and below 0 there is none.
 */
static int
js_pattern_read(js_pattern_t *pattern, int64_t *steps, char *err,
                size_t err_size)
{
    js_patterns_t *patterns = pattern->patterns;
    re_stats_t     before, after;
    int            rc, failed, fresh;

    for (fresh = 0; fresh < 2 && *steps > 0; fresh++) {
        if (patterns->set == NULL) {
            return -ENOMEM;
        }

        re_stats(patterns->set, &before);
        re_fuel(patterns->set, PATTERN_STEPS);
        rc = re_ecma(patterns->set, pattern->source.s, pattern->source.len,
                     &pattern->re, err, err_size);
        failed = re_failed(patterns->set, NULL);
        re_stats(patterns->set, &after);
        *steps -= (int64_t) (after.steps - before.steps)
                  + (int64_t) pattern->source.len;

        if (failed == 0) {
            pattern->generation = patterns->generation;
            return rc;
        }

        LLM_TRY(js_patterns_renew(patterns));
    }

    if (err_size > 0) {
        snprintf(err, err_size, "too much work for a pattern");
    }

    return -E2BIG;
}


int
js_pattern_new(js_patterns_t *patterns, str_t source, js_pattern_t **pattern,
               char *err, size_t err_size)
{
    js_pattern_t *p;
    int           rc;

    pthread_mutex_lock(&patterns->lock);

    p = arena_get(&patterns->arena, sizeof(js_pattern_t));
    rc = -ENOMEM;

    if (p) {
        p->patterns = patterns;
        p->source = source;
        p->source.s = arena_str(&patterns->arena, source.s, source.len);

        if (p->source.s) {
            rc = js_pattern_read(p, &patterns->left, err, err_size);
        }
    }

    pthread_mutex_unlock(&patterns->lock);
    *pattern = p;

    return rc;
}


int
js_pattern_match(js_pattern_t *pattern, str_t s, int64_t *steps)
{
    int rc;

    pthread_mutex_lock(&pattern->patterns->lock);
    rc = js_pattern_search(pattern, s, steps);

    if (rc == -E2BIG && pattern->generation == 0) {
        rc = js_pattern_search(pattern, s, steps);
    }

    pthread_mutex_unlock(&pattern->patterns->lock);

    return rc;
}


/* -E2BIG with a generation of 0: the set was full, and another try is due. */
static int
js_pattern_search(js_pattern_t *pattern, str_t s, int64_t *steps)
{
    js_patterns_t *patterns = pattern->patterns;
    re_stats_t     before, after;
    char           err[8];
    int            rc, found;

    if (pattern->generation != patterns->generation) {
        LLM_TRY(js_pattern_read(pattern, steps, err, sizeof(err)));
    }

    re_stats(patterns->set, &before);
    re_fuel(patterns->set, PATTERN_STEPS);
    found = re_match(patterns->set, pattern->re, s.s, s.len);
    rc = re_failed(patterns->set, NULL);
    re_stats(patterns->set, &after);
    *steps -= (int64_t) (after.steps - before.steps);

    if (rc == 0) {
        return found;
    }

    if (rc == -ETIME) {
        re_fuel(patterns->set, PATTERN_STEPS);
        return -E2BIG;
    }

    LLM_TRY(js_patterns_renew(patterns));
    pattern->generation = 0;

    return -E2BIG;
}


/* What cannot be done is a pattern all the same. */
int
js_pattern_check(str_t source)
{
    js_patterns_t *patterns = js_patterns_new();
    js_pattern_t  *pattern;
    char           err[8];
    int            rc = 0;

    if (patterns) {
        rc = js_pattern_new(patterns, source, &pattern, err, sizeof(err));
        js_patterns_free(patterns);
    }

    return rc == -EINVAL ? rc : 0;
}
