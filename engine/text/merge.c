/*
 * Merging, of both kinds of BPE: symbols become tokens, the best pair first.
 *
 * The tables are built once with the tokenizer and immutable afterwards; any
 * thread may merge, with a scratch of its own.  Up to TEXT_SHORT symbols by
 * scanning for the best pair, above that with a heap, so that no word costs
 * more than O(n log n).  Of pairs of one rank the leftmost is merged first.
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdlib.h>


/* Longest run of slots: bounds what a vocabulary made to collide costs. */
#define MERGE_PROBES 512


static int  merge_add(text_tokenizer_t *tok, const text_str_t *m, uint32_t rank,
                      text_decode_pt decode, char *buf);
static bool merge_is_known(const text_tokenizer_t *tok, const text_str_t *m,
                           text_decode_pt decode, char *buf);
static void merge_pair(const text_tokenizer_t *tok, text_long_t *l, uint32_t i,
                       bool push);
static void merge_at(const text_tokenizer_t *tok, text_long_t *l, uint32_t i);
static void merge_heap_up(uint64_t *h, size_t i);
static void merge_heap_down(uint64_t *h, size_t n, size_t i);
static size_t merge_table_size(size_t n);


static inline uint32_t
merge_hash(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15;

    return (uint32_t) (key >> 32) ^ (uint32_t) (key >> 20);
}


/* The rank of a pair of ids, and what they become. */
static inline uint32_t
merge_rank(const text_tokenizer_t *tok, int32_t left, int32_t right,
           int32_t *into)
{
    const text_merge_t *m;
    uint64_t            key;
    uint32_t            i;

    key = (uint64_t) (uint32_t) left << 32 | (uint32_t) right;
    i = merge_hash(key);

    for (;; i++) {
        m = &tok->merges[i & tok->merges_mask];

        if (m->key == key) {
            *into = m->id;
            return m->rank;
        }

        if (m->key == UINT64_MAX) {
            return TEXT_NO_RANK;
        }
    }
}


int
text_words_build(text_tokenizer_t *tok, char *err, size_t err_size)
{
    text_word_t *w;
    const char  *p;
    uint32_t     h, k;
    size_t       i, len, size;

    size = merge_table_size(tok->n_tokens);

    tok->words = calloc(size, sizeof(text_word_t));
    if (tok->words == NULL) {
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    tok->words_mask = (uint32_t) (size - 1);

    for (i = 0; i < tok->n_tokens; i++) {
        p = tok->bytes + tok->off[i];
        len = tok->off[i + 1] - tok->off[i];

        if (tok->types[i] != TEXT_NORMAL || len == 0
            || text_word_find(tok, p, len) != NULL) {
            continue;
        }

        h = text_hash(p, len);

        for (k = 0; k < MERGE_PROBES; k++) {
            w = &tok->words[(h + k) & tok->words_mask];

            if (w->len == 0) {
                *w = (text_word_t){h, (int32_t) i, tok->off[i], (uint32_t) len};
                break;
            }
        }

        if (k == MERGE_PROBES) {
            return text_fail(err, err_size, -EINVAL, "tokens collide");
        }

        if (len > tok->max_word) {
            tok->max_word = len;
        }
    }

    for (i = 0; i < 256; i++) {
        char c = (char) i;

        w = (text_word_t *) text_word_find(tok, &c, 1);
        tok->byte_id[i] = w ? w->id : -1;
    }

    return 0;
}


int
text_merges_room(text_tokenizer_t *tok, size_t n)
{
    size_t size;

    size = merge_table_size(n);

    tok->merges = malloc(size * sizeof(text_merge_t));
    if (tok->merges == NULL) {
        return -ENOMEM;
    }

    memset(tok->merges, 0xff, size * sizeof(text_merge_t));
    tok->merges_mask = (uint32_t) (size - 1);

    return 0;
}


int
text_merges_build(text_tokenizer_t *tok, const text_vocab_t *v,
                  text_decode_pt decode, char *err, size_t err_size)
{
    size_t i, longest;
    char  *buf;
    int    rc;

    longest = 0;

    for (i = 0; i < v->n_merges; i++) {
        if (v->merges[i].len > longest) {
            longest = v->merges[i].len;
        }
    }

    buf = malloc(longest + 1);

    if (buf == NULL || text_merges_room(tok, v->n_merges) != 0) {
        free(buf);
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    for (i = 0; i < v->n_merges; i++) {
        rc = merge_add(tok, &v->merges[i], (uint32_t) i, decode, buf);

        if (rc != 0 && !merge_is_known(tok, &v->merges[i], decode, buf)) {
            free(buf);
            return text_fail(err, err_size, -EINVAL,
                             "merge %zu is broken or makes no token", i);
        }
    }

    free(buf);
    return 0;
}


static int
merge_add(text_tokenizer_t *tok, const text_str_t *m, uint32_t rank,
          text_decode_pt decode, char *buf)
{
    const text_word_t *left, *right, *both;
    const char        *space;
    ssize_t            a, b;

    if (m->len < 3) {
        return -EINVAL;
    }

    space = memchr(m->data + 1, ' ', m->len - 1);
    if (space == NULL) {
        return -EINVAL;
    }

    a = decode(m->data, (size_t) (space - m->data), buf);
    if (a <= 0) {
        return -EINVAL;
    }

    b = decode(space + 1, (size_t) (m->data + m->len - space - 1), buf + a);
    if (b <= 0) {
        return -EINVAL;
    }

    left = text_word_find(tok, buf, (size_t) a);
    right = text_word_find(tok, buf + a, (size_t) b);
    both = text_word_find(tok, buf, (size_t) (a + b));

    if (left == NULL || right == NULL || both == NULL) {
        return -ENOENT;
    }

    return text_merges_add(tok, left->id, right->id, rank, both->id);
}


int
text_merges_add(text_tokenizer_t *tok, int32_t left, int32_t right,
                uint32_t rank, int32_t id)
{
    text_merge_t *slot;
    uint64_t      key;
    uint32_t      h, k;

    key = (uint64_t) (uint32_t) left << 32 | (uint32_t) right;
    h = merge_hash(key);

    for (k = 0; k < MERGE_PROBES; k++) {
        slot = &tok->merges[(h + k) & tok->merges_mask];

        if (slot->key == key) {
            return 0;
        }

        if (slot->key == UINT64_MAX) {
            *slot = (text_merge_t){key, rank, id};
            return 0;
        }
    }

    return -EINVAL;
}


/*
 * Whether a merge that cannot be used names tokens which exist, but are not
 * normal: then it is left out, since no text may become these by merging.
 */
static bool
merge_is_known(const text_tokenizer_t *tok, const text_str_t *m,
               text_decode_pt decode, char *buf)
{
    const char *space, *half[2];
    size_t      i, n[2], at;
    ssize_t     got;

    space = m->len < 3 ? NULL : memchr(m->data + 1, ' ', m->len - 1);
    if (space == NULL) {
        return false;
    }

    half[0] = m->data;
    half[1] = space + 1;
    n[0] = (size_t) (space - m->data);
    n[1] = m->len - n[0] - 1;
    memcpy(buf, half[0], n[0]);
    memcpy(buf + n[0], half[1], n[1]);

    if (text_special_find(tok, half[0], n[0]) >= 0
        || text_special_find(tok, half[1], n[1]) >= 0
        || text_special_find(tok, buf, n[0] + n[1]) >= 0) {
        return true;
    }

    /* They may be spelled as the normal ones are. */

    at = 0;

    for (i = 0; i < 2; i++) {
        got = decode(half[i], n[i], buf + at);

        if (got <= 0) {
            return false;
        }

        if (text_special_find(tok, buf + at, (size_t) got) >= 0) {
            return true;
        }

        at += (size_t) got;
    }

    return text_special_find(tok, buf, at) >= 0;
}


int
text_words_check(text_tokenizer_t *tok,
                 int (*slow)(text_enc_t *e, const char *p, size_t len))
{
    text_scratch_t scratch = {0};
    text_enc_t     e = {.tok = tok, .scratch = &scratch};
    text_word_t   *w;
    int32_t        id[2];
    uint32_t       i;
    int            rc;

    rc = 0;
    e.out = id;
    e.cap = 2;

    for (i = 0; i <= tok->words_mask && rc == 0; i++) {
        w = &tok->words[i];

        if (w->len == 0) {
            continue;
        }

        e.n = 0;
        rc = slow(&e, tok->bytes + w->off, w->len);

        if (e.n != 1 || id[0] != w->id) {
            w->id |= TEXT_INDIRECT;
        }
    }

    free(scratch.room[TEXT_ROOM_MERGE].p);
    return rc;
}


void
text_merge_short(text_enc_t *e, const int32_t *from, size_t n)
{
    const text_tokenizer_t *tok = e->tok;
    int32_t                 id[TEXT_SHORT], into[TEXT_SHORT];
    uint32_t                rank[TEXT_SHORT], best;
    size_t                  i, at;

    if (n == 0) {
        return;
    }

    memcpy(id, from, n * sizeof(int32_t));

    for (i = 0; i + 1 < n; i++) {
        rank[i] = merge_rank(tok, id[i], id[i + 1], &into[i]);
    }

    for (;;) {
        best = TEXT_NO_RANK;
        at = 0;

        for (i = 0; i + 1 < n; i++) {
            if (rank[i] < best) {
                best = rank[i];
                at = i;
            }
        }

        if (best == TEXT_NO_RANK) {
            break;
        }

        /* The symbol behind at goes, and its pair with it. */

        id[at] = into[at];

        for (i = at + 1; i + 1 < n; i++) {
            id[i] = id[i + 1];
            rank[i] = rank[i + 1];
            into[i] = into[i + 1];
        }

        n--;

        if (at > 0) {
            rank[at - 1] = merge_rank(tok, id[at - 1], id[at], &into[at - 1]);
        }

        if (at + 1 < n) {
            rank[at] = merge_rank(tok, id[at], id[at + 1], &into[at]);
        }
    }

    for (i = 0; i < n; i++) {
        text_emit(e, id[i]);
    }
}


int
text_merge_room(text_enc_t *e, text_long_t *l, size_t n)
{
    l->heap =
        text_scratch_get(e->scratch, TEXT_ROOM_MERGE, n * (2 * 8 + 5 * 4));
    if (l->heap == NULL) {
        return -ENOMEM;
    }

    l->id = (int32_t *) (l->heap + 2 * n);
    l->into = l->id + n;
    l->prev = (uint32_t *) (l->into + n);
    l->next = l->prev + n;
    l->rank = l->next + n;
    l->n_heap = 0;

    return 0;
}


/*
 * Each symbol's pair has at most one live entry in the heap: the one equal to
 * its rank now.  A merge takes an entry out and puts at most two in, so 2 * n
 * entries are enough.
 */
void
text_merge_long(text_enc_t *e, text_long_t *l, size_t n)
{
    const text_tokenizer_t *tok = e->tok;
    uint32_t                i;
    uint64_t                top;

    if (n == 0) {
        return;
    }

    for (i = 0; i < n; i++) {
        l->prev[i] = i - 1;
        l->next[i] = i + 1;
    }

    l->next[n - 1] = UINT32_MAX;

    for (i = 0; i < n; i++) {
        merge_pair(tok, l, i, false);
    }

    for (i = (uint32_t) (l->n_heap / 2); i-- > 0;) {
        merge_heap_down(l->heap, l->n_heap, i);
    }

    while (l->n_heap > 0) {
        top = l->heap[0];
        l->heap[0] = l->heap[--l->n_heap];
        merge_heap_down(l->heap, l->n_heap, 0);

        i = (uint32_t) top;

        if (l->rank[i] == (uint32_t) (top >> 32)) {
            merge_at(tok, l, i);
        }
    }

    for (i = 0; i != UINT32_MAX; i = l->next[i]) {
        text_emit(e, l->id[i]);
    }
}


/* Looks up the pair of symbol i and the next, enters it into the heap. */
static void
merge_pair(const text_tokenizer_t *tok, text_long_t *l, uint32_t i, bool push)
{
    l->rank[i] = TEXT_NO_RANK;

    if (l->next[i] == UINT32_MAX) {
        return;
    }

    l->rank[i] = merge_rank(tok, l->id[i], l->id[l->next[i]], &l->into[i]);

    if (l->rank[i] == TEXT_NO_RANK) {
        return;
    }

    l->heap[l->n_heap++] = (uint64_t) l->rank[i] << 32 | i;

    if (push) {
        merge_heap_up(l->heap, l->n_heap - 1);
    }
}


/* Symbol i and the next become one, at i. */
static void
merge_at(const text_tokenizer_t *tok, text_long_t *l, uint32_t i)
{
    uint32_t gone;

    gone = l->next[i];

    l->id[i] = l->into[i];
    l->next[i] = l->next[gone];
    l->rank[gone] = TEXT_NO_RANK;

    if (l->next[i] != UINT32_MAX) {
        l->prev[l->next[i]] = i;
    }

    merge_pair(tok, l, i, true);

    if (l->prev[i] != UINT32_MAX) {
        merge_pair(tok, l, l->prev[i], true);
    }
}


static void
merge_heap_up(uint64_t *h, size_t i)
{
    uint64_t v;

    v = h[i];

    while (i > 0 && h[(i - 1) / 2] > v) {
        h[i] = h[(i - 1) / 2];
        i = (i - 1) / 2;
    }

    h[i] = v;
}


static void
merge_heap_down(uint64_t *h, size_t n, size_t i)
{
    uint64_t v;
    size_t   c;

    if (i >= n) {
        return;
    }

    v = h[i];

    for (;;) {
        c = 2 * i + 1;

        if (c >= n) {
            break;
        }

        if (c + 1 < n && h[c + 1] < h[c]) {
            c++;
        }

        if (h[c] >= v) {
            break;
        }

        h[i] = h[c];
        i = c;
    }

    h[i] = v;
}


/* A power of two, at most half full. */
static size_t
merge_table_size(size_t n)
{
    size_t size;

    for (size = 1024; size < 2 * n; size *= 2) {
        /* void */
    }

    return size;
}
