/*
 * Reading of t/text/goldens, see make_goldens.py.  For test programs that run
 * in the repository's root.
 */

#ifndef LLM_T_TEXT_GOLDENS_H
#define LLM_T_TEXT_GOLDENS_H

#include "t/lib/tap.h"

#define GOLDENS "t/text/goldens/"


/* A whole file, terminated; the caller frees it.  Bails out without it. */
__attribute__((unused)) static char *
golden_read(const char *path, size_t *len)
{
    FILE *f;
    char *p;
    long  n;

    f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (n = ftell(f)) < 0) {
        printf("Bail out! cannot read %s\n", path);
        exit(1);
    }

    rewind(f);
    p = malloc((size_t) n + 1);
    *len = fread(p, 1, (size_t) n, f);
    p[*len] = '\0';
    fclose(f);

    return p;
}


/* The next line, its end cut off; NULL at the end. */
__attribute__((unused)) static char *
golden_line(char **p)
{
    char *line, *end;

    line = *p;
    end = strchr(line, '\n');

    if (end == NULL) {
        return NULL;
    }

    *end = '\0';
    *p = end + 1;

    return line;
}


/* Takes the escapes out in place, returns the length. */
__attribute__((unused)) static size_t
golden_text(char *s)
{
    char *p, *w;

    for (p = w = s; *p != '\0'; p++) {
        if (*p != '\\') {
            *w++ = *p;
            continue;
        }

        p++;

        if (*p == 'x') {
            char hex[3] = {p[1], p[2], '\0'};

            *w++ = (char) strtol(hex, NULL, 16);
            p += 2;

        } else {
            *w++ = *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p;
        }
    }

    return (size_t) (w - s);
}


#endif /* LLM_T_TEXT_GOLDENS_H */
