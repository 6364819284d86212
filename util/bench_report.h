/*
 * llm-bench: its results as lines for a person, as JSON, and drawn (SVG): a
 * bar a line, as a share of the roof where that is known.  One thread.
 */

#ifndef LLM_UTIL_BENCH_REPORT_H
#define LLM_UTIL_BENCH_REPORT_H

#include <stdbool.h>

#include "util/tool.h"

#define BR_LINES 256

typedef struct {
    const char *kind; /* "prefill", "decode", "serve" */
    uint32_t    batch;
    uint32_t    n;       /* tokens; serve: of an answer */
    uint32_t    context; /* serve: tokens of a prompt */
    double      rate;    /* tokens a second: median, least, most */
    double      least;
    double      most;
    double      roof;     /* share of it; < 0: unknown */
    double      host_us;  /* the host's work of a step; < 0: unknown */
    double      idle;     /* share of the time that the device idles; < 0 */
    double      first_ms; /* serve: to the first token; < 0: unknown */
} br_line_t;

typedef struct {
    br_line_t lines[BR_LINES];
    uint32_t  n;
    bool      json;
} br_t;


static void
br_value(bool json, const char *name, const char *format, double value,
         double unit)
{
    if (json && value >= 0) {
        printf(", \"%s\": ", name);
        printf(format, value);
    } else if (!json && value >= 0) {
        printf(format, value * unit);
    } else if (!json) {
        printf("%10s", "-");
    }
}


static void
br_head(br_t *r)
{
    if (r->json) {
        printf("\"results\": [");
        return;
    }

    printf("%-8s %6s %8s %8s %12s %10s %10s %9s %9s %9s %9s\n", "", "batch",
           "tokens", "context", "tokens/s", "least", "most", "of roof",
           "host us", "idle", "first ms");
}


static void
br_add(br_t *r, const br_line_t *l)
{
    if (r->n < BR_LINES) {
        r->lines[r->n] = *l;
    }

    if (r->json) {
        printf("%s{\"kind\": \"%s\", \"batch\": %u, \"tokens\": %u, "
               "\"context\": %u, \"tokens_per_s\": %.2f, \"least\": %.2f, "
               "\"most\": %.2f",
               r->n ? ", " : "", l->kind, l->batch, l->n, l->context, l->rate,
               l->least, l->most);
    } else {
        printf("%-8s %6u %8u %8u %12.1f %10.1f %10.1f", l->kind, l->batch, l->n,
               l->context, l->rate, l->least, l->most);
    }

    br_value(r->json, "roof", r->json ? "%.4f" : "%8.1f %%", l->roof, 100);
    br_value(r->json, "host_us", r->json ? "%.2f" : "%10.1f", l->host_us, 1);
    br_value(r->json, "idle", r->json ? "%.4f" : "%8.1f %%", l->idle, 100);
    br_value(r->json, "first_ms", r->json ? "%.2f" : "%10.1f", l->first_ms, 1);

    printf(r->json ? "}" : "\n");
    fflush(stdout);
    r->n++;
}


/* 0 or -errno. */

static int
br_chart(const br_t *r, const char *path, const char *title)
{
    const br_line_t *l;
    FILE            *f = fopen(path, "we");
    double           width;
    uint32_t         i, y, n = r->n < BR_LINES ? r->n : BR_LINES;

    if (f == NULL) {
        return -errno;
    }

    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" "
            "height=\"%u\" font-family=\"sans-serif\" font-size=\"13\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
            "<text x=\"10\" y=\"24\" font-size=\"15\">%s</text>\n"
            "<text x=\"10\" y=\"44\" fill=\"#666\">tokens a second; bars: "
            "share of what the device can do at most, measured in the same "
            "run</text>\n",
            n * 26 + 70, title);

    for (i = 0; i < n; i++) {
        l = &r->lines[i];
        y = 60 + i * 26;
        width = l->roof < 0 ? 0 : (l->roof > 1.2 ? 1.2 : l->roof) * 300;
        fprintf(
            f,
            "<text x=\"10\" y=\"%u\">%s %s%u, %u tokens, context %u</text>\n"
            "<rect x=\"330\" y=\"%u\" width=\"300\" height=\"18\" "
            "fill=\"#eee\"/>\n<rect x=\"330\" y=\"%u\" width=\"%.1f\" "
            "height=\"18\" fill=\"#4a7\"/>\n",
            y + 14, l->kind, l->batch > 1 ? "x " : "", l->batch, l->n,
            l->context, y, y, width);

        if (l->roof >= 0) {
            fprintf(f, "<text x=\"336\" y=\"%u\">%.0f %%</text>\n", y + 14,
                    l->roof * 100);
        }

        fprintf(f, "<text x=\"810\" y=\"%u\" text-anchor=\"end\">%.0f</text>\n",
                y + 14, l->rate);
    }

    fprintf(f, "</svg>\n");

    return fclose(f) == 0 ? 0 : -errno;
}

#endif /* LLM_UTIL_BENCH_REPORT_H */
