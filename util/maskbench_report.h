/*
 * What llm-maskbench counts of a group of schemas, its times, and how they
 * are shown.  For one program, one thread.
 */

#ifndef LLM_UTIL_MASKBENCH_REPORT_H
#define LLM_UTIL_MASKBENCH_REPORT_H

#include "util/tool.h"

/* Times in nanoseconds. */
typedef struct {
    uint64_t *ns;
    size_t    n, cap;
} mb_times_t;

typedef struct {
    char       name[64];
    uint32_t   schemas, compiled, passing, over, under, refused, failed;
    uint64_t   tokens, forced, forced_other;
    mb_times_t mask, compile;
} mb_group_t;


static void
mb_time(mb_times_t *t, uint64_t ns)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1024;
        t->ns = realloc(t->ns, t->cap * sizeof(uint64_t));

        if (t->ns == NULL) {
            tool_die(1, "no memory");
        }
    }

    t->ns[t->n++] = ns;
}


static int
mb_time_less(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return (x > y) - (x < y);
}


/* In microseconds; the times are in order. */
static double
mb_at(mb_times_t *t, double share)
{
    size_t i = (size_t) (share * (double) t->n);

    if (t->n == 0) {
        return 0;
    }

    return (double) t->ns[i < t->n ? i : t->n - 1] / 1e3;
}


static void
mb_json_times(const char *name, mb_times_t *t)
{
    double sum = 0;
    size_t i;

    qsort(t->ns, t->n, sizeof(uint64_t), mb_time_less);

    for (i = 0; i < t->n; i++) {
        sum += (double) t->ns[i] / 1e3;
    }

    printf("\"%s\":{\"n\":%zu,\"mean\":%.3f,\"p50\":%.3f,\"p90\":%.3f,"
           "\"p99\":%.3f,\"p99_9\":%.3f,\"max\":%.3f},",
           name, t->n, t->n ? sum / (double) t->n : 0.0, mb_at(t, 0.5),
           mb_at(t, 0.9), mb_at(t, 0.99), mb_at(t, 0.999), mb_at(t, 1));
}


static void
mb_json(mb_group_t *g)
{
    printf("{\"schemas\":%u,\"compiled\":%u,\"passing\":%u,"
           "\"over_constrained\":%u,\"under_constrained\":%u,\"refused\":%u,"
           "\"failed\":%u,\"tokens\":%llu,",
           g->schemas, g->compiled, g->passing, g->over, g->under, g->refused,
           g->failed, (unsigned long long) g->tokens);
    mb_json_times("mask_us", &g->mask);
    mb_json_times("compile_us", &g->compile);
    printf("\"forced_share\":%.4f}",
           g->tokens ? (double) g->forced / (double) g->tokens : 0.0);
}


static void
mb_row(mb_group_t *g)
{
    double sum = 0;
    size_t i;

    qsort(g->mask.ns, g->mask.n, sizeof(uint64_t), mb_time_less);
    qsort(g->compile.ns, g->compile.n, sizeof(uint64_t), mb_time_less);

    for (i = 0; i < g->mask.n; i++) {
        sum += (double) g->mask.ns[i] / 1e3;
    }

    printf("%-22s %7u %7u %6.2f %5u %5u %7u %6u | %15.1f %7.1f %7.1f %8.1f"
           " %8.1f | %17.0f %8.0f %8.0f | %.3f %llu\n",
           g->name, g->schemas, g->passing,
           g->schemas ? 100.0 * g->passing / g->schemas : 0.0, g->over,
           g->under, g->refused, g->failed,
           g->mask.n ? sum / (double) g->mask.n : 0.0, mb_at(&g->mask, 0.5),
           mb_at(&g->mask, 0.9), mb_at(&g->mask, 0.99), mb_at(&g->mask, 1),
           mb_at(&g->compile, 0.5), mb_at(&g->compile, 0.99),
           mb_at(&g->compile, 1),
           g->tokens ? (double) g->forced / (double) g->tokens : 0.0,
           (unsigned long long) g->forced_other);
}

#endif /* LLM_UTIL_MASKBENCH_REPORT_H */
