/*
 * Grammars by content, least recently used ones go.  Any thread; the list has
 * the vocabulary's lock, under which nothing is freed but what the list alone
 * held (a grammar's last reference goes outside of it).
 */

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>
#include "engine/grammar/grammar_priv.h"

#define CACHE_LISTS 1024
#define CACHE_MOST  4096
#define CACHE_BYTES ((size_t) 1 << 30)

/* A program that has grown beyond this begins anew with the next request. */
#define CACHE_OVERGROWN ((size_t) 64 << 20)

typedef struct cached_s cached_t;

struct cached_s {
    cached_t  *next; /* in its list */
    cached_t  *newer, *older;
    uint64_t   hash;
    size_t     len;
    grammar_t *grammar;
    char       key[];
};

struct grammar_list_s {
    cached_t *lists[CACHE_LISTS];
    cached_t *newest, *oldest;
    uint32_t  n;
};

static cached_t *list_find(grammar_list_t *list, const void *key, size_t len,
                           uint64_t hash);
static void      list_first(grammar_list_t *list, cached_t *e);
static void      list_unlink(grammar_list_t *list, cached_t *e);
static void      list_remove(grammar_list_t *list, cached_t *e);
static cached_t *list_trim(grammar_list_t *list);
static size_t    bytes_of(const cached_t *e);
static void      free_chain(cached_t *e);


grammar_list_t *
grammar_list_new(void)
{
    return calloc(1, sizeof(grammar_list_t));
}


void
grammar_list_free(grammar_list_t *list)
{
    cached_t *e;

    while (list->newest) {
        e = list->newest;
        list_remove(list, e);
        e->next = NULL;
        free_chain(e);
    }

    free(list);
}


grammar_t *
grammar_cache_find(grammar_vocab_t *vocab, const void *key, size_t len)
{
    uint64_t   hash = XXH3_64bits(key, len);
    grammar_t *grammar = NULL;
    cached_t  *e;

    pthread_mutex_lock(&vocab->lock);

    e = list_find(vocab->list, key, len, hash);

    if (e && bytes_of(e) > CACHE_OVERGROWN) {
        list_remove(vocab->list, e);
        e->next = NULL;

    } else if (e) {
        grammar = e->grammar;
        grammar_hold(grammar);
        list_unlink(vocab->list, e);
        list_first(vocab->list, e);
        e = NULL;
    }

    pthread_mutex_unlock(&vocab->lock);
    free_chain(e);

    return grammar;
}


void
grammar_cache_add(grammar_vocab_t *vocab, const void *key, size_t len,
                  grammar_t *grammar)
{
    uint64_t  hash = XXH3_64bits(key, len);
    cached_t *e, *old, *gone;

    e = malloc(sizeof(cached_t) + len);
    if (e == NULL) {
        return;
    }

    e->hash = hash;
    e->len = len;
    e->grammar = grammar;
    memcpy(e->key, key, len);
    grammar_hold(grammar);

    pthread_mutex_lock(&vocab->lock);

    old = list_find(vocab->list, key, len, hash);

    if (old) {
        list_remove(vocab->list, old);
        old->next = NULL;
    }

    e->next = vocab->list->lists[hash % CACHE_LISTS];
    vocab->list->lists[hash % CACHE_LISTS] = e;
    vocab->list->n++;
    list_first(vocab->list, e);
    gone = list_trim(vocab->list);

    pthread_mutex_unlock(&vocab->lock);
    free_chain(old);
    free_chain(gone);
}


static cached_t *
list_find(grammar_list_t *list, const void *key, size_t len, uint64_t hash)
{
    cached_t *e;

    for (e = list->lists[hash % CACHE_LISTS]; e; e = e->next) {
        if (e->hash == hash && e->len == len
            && (len == 0 || memcmp(e->key, key, len) == 0)) {
            return e;
        }
    }

    return NULL;
}


static void
list_first(grammar_list_t *list, cached_t *e)
{
    e->newer = NULL;
    e->older = list->newest;

    if (e->older) {
        e->older->newer = e;
    } else {
        list->oldest = e;
    }

    list->newest = e;
}


static void
list_unlink(grammar_list_t *list, cached_t *e)
{
    if (e->newer) {
        e->newer->older = e->older;
    } else {
        list->newest = e->older;
    }

    if (e->older) {
        e->older->newer = e->newer;
    } else {
        list->oldest = e->newer;
    }
}


static void
list_remove(grammar_list_t *list, cached_t *e)
{
    cached_t **at = &list->lists[e->hash % CACHE_LISTS];

    while (*at != e) {
        at = &(*at)->next;
    }

    *at = e->next;
    list_unlink(list, e);
    list->n--;
}


/* What is too much of it, oldest first; the newest stays. */
static cached_t *
list_trim(grammar_list_t *list)
{
    cached_t *e, *older, *gone = NULL;
    size_t    bytes = 0;

    for (e = list->newest; e; e = older) {
        older = e->older;
        bytes += bytes_of(e);

        if (e == list->newest
            || (bytes <= CACHE_BYTES && list->n <= CACHE_MOST)) {
            continue;
        }

        if (bytes > CACHE_BYTES || e == list->oldest) {
            bytes -= bytes_of(e);
            list_remove(list, e);
            e->next = gone;
            gone = e;
        }
    }

    return gone;
}


static size_t
bytes_of(const cached_t *e)
{
    return atomic_load_explicit(&e->grammar->bytes, memory_order_relaxed)
           + e->len + sizeof(cached_t);
}


static void
free_chain(cached_t *e)
{
    cached_t *next;

    for (; e; e = next) {
        next = e->next;
        grammar_release(e->grammar);
        free(e);
    }
}
