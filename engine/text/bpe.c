/*
 * Byte-level BPE: a word's bytes become tokens, the best merge first.
 *
 * The tables are built once with the tokenizer and immutable afterwards; any
 * thread may encode, with a scratch of its own.  A word that is a token, and
 * that its own merges lead to (checked when the tables are built), is one
 * look-up.  Others: up to BPE_SHORT symbols by scanning for the best pair,
 * above that with a heap, so that no word costs more than O(n log n).
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdlib.h>


#define BPE_SHORT 48

/* Longest run of slots: bounds what a vocabulary made to collide costs. */
#define BPE_PROBES 512


/*
 * A long word's symbols, arrays over one scratch: the id, its neighbours, the
 * rank of its pair with the next one and the id which that pair becomes.
 */
typedef struct {
    int32_t  *id;
    uint32_t *prev;
    uint32_t *next;
    uint32_t *rank;
    int32_t  *into;
    uint64_t *heap; /* rank << 32 | position: the leftmost of equal pairs */
    size_t    n_heap;
} bpe_long_t;


static int  bpe_bytes(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                      size_t err_size);
static int  bpe_words(text_tokenizer_t *tok, char *err, size_t err_size);
static int  bpe_merges(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                       size_t err_size);
static int  bpe_merge(text_tokenizer_t *tok, const text_str_t *m, uint32_t rank,
                      char *buf);
static int  bpe_merge_add(text_tokenizer_t *tok, uint64_t key, uint32_t rank,
                          int32_t id);
static bool bpe_is_known(const text_tokenizer_t *tok, const text_str_t *m,
                         char *buf);
static int  bpe_check_words(text_tokenizer_t *tok);
static int  bpe_slow(text_enc_t *e, const char *p, size_t len);
static void bpe_short(text_enc_t *e, const int32_t *ids, size_t n);
static int  bpe_long(text_enc_t *e, const char *p, size_t len);
static void bpe_long_pair(const text_tokenizer_t *tok, bpe_long_t *l,
                          uint32_t i, bool push);
static void bpe_long_merge(const text_tokenizer_t *tok, bpe_long_t *l,
                           uint32_t i);
static void bpe_heap_up(uint64_t *h, size_t i);
static void bpe_heap_down(uint64_t *h, size_t n, size_t i);
static int32_t bpe_byte_of(uint32_t cp);
static size_t  bpe_table_size(size_t n);


static inline uint32_t
bpe_pair_hash(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15;

    return (uint32_t) (key >> 32) ^ (uint32_t) (key >> 20);
}


/* The rank of a pair of ids, and what they become. */
static inline uint32_t
bpe_rank(const text_tokenizer_t *tok, int32_t left, int32_t right,
         int32_t *into)
{
    const text_merge_t *m;
    uint64_t            key;
    uint32_t            i;

    key = (uint64_t) (uint32_t) left << 32 | (uint32_t) right;
    i = bpe_pair_hash(key);

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
text_bpe_build(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
               size_t err_size)
{
    int rc;

    rc = bpe_bytes(tok, v, err, err_size);

    if (rc == 0) {
        rc = text_special_build(tok, err, err_size);
    }

    if (rc == 0) {
        rc = bpe_words(tok, err, err_size);
    }

    if (rc == 0) {
        rc = bpe_merges(tok, v, err, err_size);
    }

    if (rc == 0 && !text_pre_ignores_merges(tok->pre)) {
        rc = bpe_check_words(tok);
    }

    return rc;
}


/*
 * What each token stands for.  A normal token whose spelling is not in the
 * byte-to-unicode alphabet stands for its spelling, as in the original
 * decoder; no merge leads to it.
 */
static int
bpe_bytes(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
          size_t err_size)
{
    const text_str_t *s;
    size_t            i, total, at;
    ssize_t           n;

    total = 0;

    for (i = 0; i < v->n_tokens; i++) {
        total += v->tokens[i].len;

        if (v->tokens[i].len > UINT32_MAX / 2 || total > UINT32_MAX / 2) {
            return text_fail(err, err_size, -EINVAL, "tokens are too long");
        }
    }

    tok->bytes = malloc(total + 1);
    if (tok->bytes == NULL) {
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    at = 0;

    for (i = 0; i < v->n_tokens; i++) {
        s = &v->tokens[i];
        n = -EINVAL;

        if (tok->types[i] == TEXT_NORMAL) {
            n = text_bpe_decode(s->data, s->len, tok->bytes + at);
        }

        if (n < 0) {
            n = (ssize_t) s->len;
            memcpy(tok->bytes + at, s->data, s->len);

            if (tok->types[i] == TEXT_NORMAL) {
                tok->types[i] |= TEXT_RAW;
            }
        }

        tok->off[i] = (uint32_t) at;
        at += (size_t) n;

        if ((size_t) n > tok->max) {
            tok->max = (size_t) n;
        }
    }

    tok->off[i] = (uint32_t) at;
    return 0;
}


/* The table of normal tokens by their bytes. */
static int
bpe_words(text_tokenizer_t *tok, char *err, size_t err_size)
{
    text_word_t *w;
    const char  *p;
    uint32_t     h, k;
    size_t       i, len, size;

    size = bpe_table_size(tok->n_tokens);

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

        for (k = 0; k < BPE_PROBES; k++) {
            w = &tok->words[(h + k) & tok->words_mask];

            if (w->len == 0) {
                *w = (text_word_t){h, (int32_t) i, tok->off[i], (uint32_t) len};
                break;
            }
        }

        if (k == BPE_PROBES) {
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


static int
bpe_merges(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
           size_t err_size)
{
    size_t i, size, longest;
    char  *buf;
    int    rc;

    size = bpe_table_size(v->n_merges);
    longest = 0;

    for (i = 0; i < v->n_merges; i++) {
        if (v->merges[i].len > longest) {
            longest = v->merges[i].len;
        }
    }

    tok->merges = malloc(size * sizeof(text_merge_t));
    buf = malloc(longest + 1);

    if (tok->merges == NULL || buf == NULL) {
        free(buf);
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    memset(tok->merges, 0xff, size * sizeof(text_merge_t));
    tok->merges_mask = (uint32_t) (size - 1);

    for (i = 0; i < v->n_merges; i++) {
        rc = bpe_merge(tok, &v->merges[i], (uint32_t) i, buf);

        if (rc != 0 && !bpe_is_known(tok, &v->merges[i], buf)) {
            free(buf);
            return text_fail(err, err_size, -EINVAL,
                             "merge %zu is broken or makes no token", i);
        }
    }

    free(buf);
    return 0;
}


/* Adds one merge; of equal pairs the first counts. */
static int
bpe_merge(text_tokenizer_t *tok, const text_str_t *m, uint32_t rank, char *buf)
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

    a = text_bpe_decode(m->data, (size_t) (space - m->data), buf);
    if (a <= 0) {
        return -EINVAL;
    }

    b = text_bpe_decode(space + 1, (size_t) (m->data + m->len - space - 1),
                        buf + a);
    if (b <= 0) {
        return -EINVAL;
    }

    left = text_word_find(tok, buf, (size_t) a);
    right = text_word_find(tok, buf + a, (size_t) b);
    both = text_word_find(tok, buf, (size_t) (a + b));

    if (left == NULL || right == NULL || both == NULL) {
        return -ENOENT;
    }

    return bpe_merge_add(tok,
                         (uint64_t) (uint32_t) left->id << 32
                             | (uint32_t) right->id,
                         rank, both->id);
}


static int
bpe_merge_add(text_tokenizer_t *tok, uint64_t key, uint32_t rank, int32_t id)
{
    text_merge_t *slot;
    uint32_t      h, k;

    h = bpe_pair_hash(key);

    for (k = 0; k < BPE_PROBES; k++) {
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
bpe_is_known(const text_tokenizer_t *tok, const text_str_t *m, char *buf)
{
    const char *space;
    size_t      a, b;

    space = m->len < 3 ? NULL : memchr(m->data + 1, ' ', m->len - 1);
    if (space == NULL) {
        return false;
    }

    a = (size_t) (space - m->data);
    b = m->len - a - 1;
    memcpy(buf, m->data, a);
    memcpy(buf + a, space + 1, b);

    return text_special_find(tok, buf, a + b) >= 0
           || text_special_find(tok, buf, a) >= 0
           || text_special_find(tok, buf + a, b) >= 0;
}


/* Marks the tokens that the merges of their own bytes do not lead to. */
static int
bpe_check_words(text_tokenizer_t *tok)
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
        rc = bpe_slow(&e, tok->bytes + w->off, w->len);

        if (e.n != 1 || id[0] != w->id) {
            w->id |= TEXT_INDIRECT;
        }
    }

    free(scratch.buf);
    return rc;
}


int
text_bpe_word(text_enc_t *e, const char *p, size_t len)
{
    const text_word_t *w;

    if (len <= e->tok->max_word) {
        w = text_word_find(e->tok, p, len);

        if (w != NULL && (w->id & TEXT_INDIRECT) == 0) {
            text_emit(e, w->id);
            return 0;
        }
    }

    return bpe_slow(e, p, len);
}


/* By merging; a byte without a token is left out. */
static int
bpe_slow(text_enc_t *e, const char *p, size_t len)
{
    int32_t ids[BPE_SHORT], id;
    size_t  i, n;

    if (len > BPE_SHORT) {
        return bpe_long(e, p, len);
    }

    n = 0;

    for (i = 0; i < len; i++) {
        id = e->tok->byte_id[(uint8_t) p[i]];

        if (id >= 0) {
            ids[n++] = id;
        }
    }

    bpe_short(e, ids, n);
    return 0;
}


static void
bpe_short(text_enc_t *e, const int32_t *from, size_t n)
{
    const text_tokenizer_t *tok = e->tok;
    int32_t                 id[BPE_SHORT], into[BPE_SHORT];
    uint32_t                rank[BPE_SHORT], best;
    size_t                  i, at;

    if (n == 0) {
        return;
    }

    memcpy(id, from, n * sizeof(int32_t));

    for (i = 0; i + 1 < n; i++) {
        rank[i] = bpe_rank(tok, id[i], id[i + 1], &into[i]);
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
            rank[at - 1] = bpe_rank(tok, id[at - 1], id[at], &into[at - 1]);
        }

        if (at + 1 < n) {
            rank[at] = bpe_rank(tok, id[at], id[at + 1], &into[at]);
        }
    }

    for (i = 0; i < n; i++) {
        text_emit(e, id[i]);
    }
}


/*
 * Each symbol's pair has at most one live entry in the heap: the one equal to
 * its rank now.  A merge takes an entry out and puts at most two in, so 2 * n
 * entries are enough.
 */
static int
bpe_long(text_enc_t *e, const char *p, size_t len)
{
    const text_tokenizer_t *tok = e->tok;
    bpe_long_t              l;
    uint32_t                i, n;
    uint64_t                top;
    int32_t                 id;

    l.heap = text_scratch_get(e->scratch, len * (2 * 8 + 5 * 4));
    if (l.heap == NULL) {
        return -ENOMEM;
    }

    l.id = (int32_t *) (l.heap + 2 * len);
    l.into = l.id + len;
    l.prev = (uint32_t *) (l.into + len);
    l.next = l.prev + len;
    l.rank = l.next + len;
    l.n_heap = 0;
    n = 0;

    for (i = 0; i < len; i++) {
        id = tok->byte_id[(uint8_t) p[i]];

        if (id >= 0) {
            l.id[n] = id;
            l.prev[n] = n - 1;
            l.next[n] = n + 1;
            n++;
        }
    }

    if (n == 0) {
        return 0;
    }

    l.next[n - 1] = UINT32_MAX;

    for (i = 0; i < n; i++) {
        bpe_long_pair(tok, &l, i, false);
    }

    for (i = (uint32_t) (l.n_heap / 2); i-- > 0;) {
        bpe_heap_down(l.heap, l.n_heap, i);
    }

    while (l.n_heap > 0) {
        top = l.heap[0];
        l.heap[0] = l.heap[--l.n_heap];
        bpe_heap_down(l.heap, l.n_heap, 0);

        i = (uint32_t) top;

        if (l.rank[i] == (uint32_t) (top >> 32)) {
            bpe_long_merge(tok, &l, i);
        }
    }

    for (i = 0; i != UINT32_MAX; i = l.next[i]) {
        text_emit(e, l.id[i]);
    }

    return 0;
}


/* Looks up the pair of symbol i and the next, enters it into the heap. */
static void
bpe_long_pair(const text_tokenizer_t *tok, bpe_long_t *l, uint32_t i, bool push)
{
    l->rank[i] = TEXT_NO_RANK;

    if (l->next[i] == UINT32_MAX) {
        return;
    }

    l->rank[i] = bpe_rank(tok, l->id[i], l->id[l->next[i]], &l->into[i]);

    if (l->rank[i] == TEXT_NO_RANK) {
        return;
    }

    l->heap[l->n_heap++] = (uint64_t) l->rank[i] << 32 | i;

    if (push) {
        bpe_heap_up(l->heap, l->n_heap - 1);
    }
}


/* Symbol i and the next become one, at i. */
static void
bpe_long_merge(const text_tokenizer_t *tok, bpe_long_t *l, uint32_t i)
{
    uint32_t gone;

    gone = l->next[i];

    l->id[i] = l->into[i];
    l->next[i] = l->next[gone];
    l->rank[gone] = TEXT_NO_RANK;

    if (l->next[i] != UINT32_MAX) {
        l->prev[l->next[i]] = i;
    }

    bpe_long_pair(tok, l, i, true);

    if (l->prev[i] != UINT32_MAX) {
        bpe_long_pair(tok, l, l->prev[i], true);
    }
}


static void
bpe_heap_up(uint64_t *h, size_t i)
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
bpe_heap_down(uint64_t *h, size_t n, size_t i)
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


/*
 * The alphabet: bytes that are printable in Latin-1 stand for themselves as
 * code points, the others for U+0100 and up in their order.
 */
static int32_t
bpe_byte_of(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac)
        || (cp >= 0xae && cp <= 0xff)) {
        return (int32_t) cp;
    }

    if (cp >= 0x100 && cp <= 0x120) {
        return (int32_t) (cp - 0x100);
    }

    if (cp >= 0x121 && cp <= 0x142) {
        return (int32_t) (cp - 0x121 + 0x7f);
    }

    return cp == 0x143 ? 0xad : -1;
}


ssize_t
text_bpe_decode(const char *s, size_t len, char *out)
{
    const uint8_t *p = (const uint8_t *) s;
    uint32_t       cp;
    int32_t        byte;
    size_t         i, n;

    n = 0;

    for (i = 0; i < len; i++) {
        cp = p[i];

        /* The alphabet has one- and two-byte code points only. */

        if (cp >= 0x80) {
            if (cp < 0xc2 || cp > 0xdf || i + 1 == len
                || (p[i + 1] & 0xc0) != 0x80) {
                return -EINVAL;
            }

            cp = (cp & 0x1f) << 6 | (p[++i] & 0x3f);
        }

        byte = bpe_byte_of(cp);
        if (byte < 0) {
            return -EINVAL;
        }

        out[n++] = (char) byte;
    }

    return (ssize_t) n;
}


/* A power of two, at most half full. */
static size_t
bpe_table_size(size_t n)
{
    size_t size;

    for (size = 1024; size < 2 * n; size *= 2) {
        /* void */
    }

    return size;
}
