/*
 * A thread's working memory for text_encode(), see tokenizer.h.
 *
 * Belongs to whoever made it and to one call at a time.
 */

#include "engine/text/text_priv.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>


/* PCRE2's patterns here need little; this bounds what a surprise could take. */
#define SCRATCH_JIT_STACK (1024 * 1024)


text_scratch_t *
text_scratch_new(void)
{
    text_scratch_t *s;

    s = calloc(1, sizeof(text_scratch_t));
    if (s == NULL) {
        return NULL;
    }

    s->match = pcre2_match_data_create(1, NULL);
    s->mctx = pcre2_match_context_create(NULL);
    s->jstack = pcre2_jit_stack_create(32 * 1024, SCRATCH_JIT_STACK, NULL);

    if (s->match == NULL || s->mctx == NULL) {
        text_scratch_free(s);
        return NULL;
    }

    /*
     * No pattern of pre.c backtracks more than its text is long, so a limit
     * on steps would only fail long texts.
     */

    pcre2_set_match_limit(s->mctx, UINT32_MAX);

    /* Without a stack of its own, JIT code uses 32 KiB of the thread's. */

    if (s->jstack != NULL) {
        pcre2_jit_stack_assign(s->mctx, NULL, s->jstack);
    }

    return s;
}


void
text_scratch_free(text_scratch_t *scratch_take)
{
    size_t i;

    if (scratch_take == NULL) {
        return;
    }

    for (i = 0; i < TEXT_ROOMS; i++) {
        free(scratch_take->room[i].p);
    }

    pcre2_match_data_free(scratch_take->match);
    pcre2_match_context_free(scratch_take->mctx);
    pcre2_jit_stack_free(scratch_take->jstack);
    free(scratch_take);
}


void *
text_scratch_get(text_scratch_t *scratch, int room, size_t size)
{
    text_room_t *r;

    r = &scratch->room[room];

    if (size > r->size) {
        free(r->p);
        r->size = 0;

        /* Room to grow into, unless it will be let go anyway. */

        if (size < TEXT_KEEP / 2) {
            size += size / 2;
        }

        r->p = malloc(size);
        if (r->p == NULL) {
            return NULL;
        }

        r->size = size;
    }

    return r->p;
}


void
text_scratch_trim(text_scratch_t *scratch)
{
    text_room_t *r;
    size_t       i;

    for (i = 0; i < TEXT_ROOMS; i++) {
        r = &scratch->room[i];

        if (r->size > TEXT_KEEP) {
            free(r->p);
            r->p = NULL;
            r->size = 0;
        }
    }
}
