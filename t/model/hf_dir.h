/*
 * Folders for tests: made in a temporary one out of files that are there, and
 * removed again.
 */

#ifndef LLM_T_MODEL_HF_DIR_H
#define LLM_T_MODEL_HF_DIR_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


static char dir_path[64];


/* A file's bytes, malloc()ed; NULL where there is none. */
__attribute__((unused)) static char *
file_read(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *p;
    long  n;

    if (f == NULL) {
        return NULL;
    }

    fseek(f, 0, SEEK_END);
    n = ftell(f);
    rewind(f);

    p = malloc((size_t) n + 1);
    *len = fread(p, 1, (size_t) n, f);
    p[*len] = '\0';
    fclose(f);

    return p;
}


__attribute__((unused)) static void
dir_write(const char *name, const void *data, size_t len)
{
    char  path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir_path, name);
    f = fopen(path, "wb");

    if (f == NULL || fwrite(data, 1, len, f) != len) {
        printf("Bail out! cannot write %s\n", path);
        exit(1);
    }

    fclose(f);
}


__attribute__((unused)) static void
dir_remove(const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir_path, name);
    unlink(path);
}


/* All that was written goes. */
__attribute__((unused)) static void
dir_clear(void)
{
    struct dirent *e;
    DIR           *d = opendir(dir_path);

    while (d && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            dir_remove(e->d_name);
        }
    }

    if (d) {
        closedir(d);
    }
}


__attribute__((unused)) static void
dir_end(void)
{
    dir_clear();
    rmdir(dir_path);
}


/* A descriptor of a new, empty folder: a root. */
__attribute__((unused)) static int
dir_begin(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(dir_path, sizeof(dir_path), "%.40s/llm-hf-XXXXXX",
             tmp && strlen(tmp) <= 40 ? tmp : "/tmp");

    if (mkdtemp(dir_path) == NULL) {
        printf("Bail out! no temporary folder\n");
        exit(1);
    }

    return open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}


/* 0 where there is no such file. */
__attribute__((unused)) static int
dir_copy(const char *from, const char *file, const char *name)
{
    char   path[512], *p;
    size_t len;

    snprintf(path, sizeof(path), "%s/%s", from, file);

    p = file_read(path, &len);
    if (p == NULL) {
        return 0;
    }

    dir_write(name, p, len);
    free(p);

    return 1;
}


#endif /* LLM_T_MODEL_HF_DIR_H */
