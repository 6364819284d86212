/*
 * A model's tokens as a trie (mask_priv.h): made on a loader thread, then
 * immutable; counted.
 *
 * Tokens are sorted by their bytes and put down depth first, so that a
 * subtree is a run of nodes.  No token of text has the byte 0xff, which leads
 * to the control tokens; those that end the output and are text have no
 * place in the trie.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include "engine/grammar/mask_priv.h"

typedef struct {
    uint64_t key; /* its first 8 bytes */
    uint32_t token;
} vocab_sort_t;

typedef struct {
    const mask_core_t *core;
    mask_trie_t       *trie;
    uint32_t           path[MASK_MAX_TOKEN + 2];
    uint32_t           depth;
} vocab_build_t;

static int copy_tokens(mask_core_t *core, const grammar_tokens_t *tokens);
static int has_place(const mask_core_t *core, const grammar_tokens_t *tokens,
                     uint32_t token);
static int sort_tokens(const mask_core_t *core, vocab_sort_t **list,
                       uint32_t *n);
static int radix_sort(vocab_sort_t *list, uint32_t n);
static int by_bytes(const void *a, const void *b, void *data);
static int make_groups(mask_core_t *core, uint16_t *groups, uint8_t *chars);
static uint32_t char_len(const uint8_t *s, uint32_t len);
static int      make_trie(mask_core_t *core, mask_trie_t *trie,
                          const vocab_sort_t *list, uint32_t n,
                          const uint16_t *groups, const uint8_t *chars,
                          unsigned skip);
static int      trie_room(mask_trie_t *trie, uint32_t n, int full);
static void     trie_add(vocab_build_t *b, uint32_t depth, uint8_t byte,
                         const mask_trie_t *full);
static void     trie_close(vocab_build_t *b, uint32_t depth);
static int      add_same(mask_core_t *core, uint32_t *slot, uint32_t token);
static uint32_t common(const uint8_t *a, uint32_t na, const uint8_t *b,
                       uint32_t nb);
static void     trie_free(mask_trie_t *trie);
static size_t   trie_bytes(const mask_trie_t *trie);


int
mask_core_new(const grammar_tokens_t *tokens, mask_core_t **out)
{
    mask_core_t  *core;
    vocab_sort_t *list = NULL;
    uint16_t     *groups;
    uint8_t      *chars;
    uint32_t      n;
    int           rc;

    if (tokens->n_tokens == 0 || tokens->n_tokens >= MASK_SAME) {
        return -EINVAL;
    }

    core = calloc(1, sizeof(mask_core_t));
    groups = calloc(tokens->n_tokens, sizeof(uint16_t));
    chars = calloc(tokens->n_tokens, 1);

    if (core == NULL || groups == NULL || chars == NULL) {
        free(core);
        free(groups);
        free(chars);
        return -ENOMEM;
    }

    atomic_init(&core->refs, 1);
    pthread_mutex_init(&core->lock, NULL);

    if (getrandom(&core->seed, sizeof(core->seed), 0)
        != (ssize_t) sizeof(core->seed)) {
        core->seed = llm_now_ns() ^ (uint64_t) (uintptr_t) core;
    }

    core->tokenize = tokens->tokenize;
    core->data = tokens->data;

    rc = copy_tokens(core, tokens);
    rc = rc ? rc : make_groups(core, groups, chars);
    rc = rc ? rc : sort_tokens(core, &list, &n);
    rc = rc ? rc : make_trie(core, &core->trie, list, n, groups, chars, 0);
    rc =
        rc ? rc
           : make_trie(core, &core->rest, list, n, groups, chars, MASK_G_PLAIN);

    free(list);
    free(groups);
    free(chars);

    if (rc == 0) {
        core->plain = mask_set_base(core, MASK_G_PLAIN, MASK_CHARS);
        rc = core->plain ? 0 : -ENOMEM;
    }

    if (rc != 0) {
        mask_core_release(core);
        return rc;
    }

    core->bytes += trie_bytes(&core->trie) + trie_bytes(&core->rest);
    *out = core;

    return 0;
}


void
mask_core_hold(mask_core_t *core)
{
    atomic_fetch_add_explicit(&core->refs, 1, memory_order_relaxed);
}


void
mask_core_release(mask_core_t *core)
{
    mask_scratch_t *s;
    size_t          i;

    if (atomic_fetch_sub_explicit(&core->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }

    mask_shared_free(core);
    mask_set_release(core->plain);

    for (i = 0; i < llm_countof(core->bases); i++) {
        mask_set_release(core->bases[i].set);
    }

    while (core->scratch) {
        s = core->scratch;
        core->scratch = s->next;
        free(s->tokens);
        free(s->dels);
        free(s->ends);
        free(s->forest);
        free(s->states);
        free(s->bits);
        free(s);
    }

    for (i = 0; i < MASK_GROUPS; i++) {
        free(core->has[i]);
    }

    for (i = 0; i <= MASK_CHARS; i++) {
        free(core->upto[i]);
    }

    trie_free(&core->trie);
    trie_free(&core->rest);
    free(core->kinds);
    free(core->eog);
    free(core->eog_list);
    free(core->text);
    free(core->offset);
    free(core->same);
    pthread_mutex_destroy(&core->lock);
    free(core);
}


uint32_t
mask_trie_find(const mask_trie_t *trie, uint32_t node, const void *bytes,
               size_t len)
{
    const uint8_t *s = bytes;
    uint32_t       i, end;
    size_t         k;

    for (k = 0; k < len; k++, node = i) {
        end = node + trie->node[node].size;

        for (i = node + 1; i < end && trie->node[i].byte < s[k];
             i += trie->node[i].size) { /* void */
        }

        if (i >= end || trie->node[i].byte != s[k]) {
            return MASK_NONE;
        }
    }

    return node;
}


uint32_t
mask_trie_first(const mask_core_t *core, uint32_t node)
{
    const mask_node_t *n = core->trie.node + node;

    /* Every leaf has one. */

    while (n->token == MASK_NONE) {
        n++;
    }

    return mask_token_first(core, n->token);
}


static int
copy_tokens(mask_core_t *core, const grammar_tokens_t *tokens)
{
    uint32_t i, n = tokens->n_tokens;
    uint64_t total = 0;
    char    *p;

    core->n_tokens = n;
    core->words = (n + 31) / 32;
    core->kinds = malloc(n);
    core->eog = calloc(n, 1);
    core->offset = malloc(((size_t) n + 1) * sizeof(uint32_t));
    core->eog_list = malloc((tokens->n_eog + 1) * sizeof(int32_t));

    if (!core->kinds || !core->eog || !core->offset || !core->eog_list) {
        return -ENOMEM;
    }

    memcpy(core->kinds, tokens->kinds, n);

    for (i = 0; i < tokens->n_eog; i++) {
        if (tokens->eog[i] >= 0 && (uint32_t) tokens->eog[i] < n
            && !core->eog[tokens->eog[i]]) {
            core->eog[tokens->eog[i]] = 1;
            core->eog_list[core->n_eog++] = tokens->eog[i];
        }
    }

    for (i = 0; i < n; i++) {
        if (has_place(core, tokens, i)) {
            total += tokens->bytes[i].len + 1;
        }
    }

    core->text = total < UINT32_MAX ? malloc(total + 1) : NULL;
    if (core->text == NULL) {
        return -ENOMEM;
    }

    p = core->text;

    for (i = 0; i < n; i++) {
        core->offset[i] = (uint32_t) (p - core->text);

        if (!has_place(core, tokens, i)) {
            continue;
        }

        if (core->kinds[i] == GRAMMAR_TOKEN_CONTROL) {
            *p++ = (char) 0xff;
        }

        memcpy(p, tokens->bytes[i].s, tokens->bytes[i].len);
        p += tokens->bytes[i].len;

        if ((uint32_t) (p - core->text) - core->offset[i] > core->max_len) {
            core->max_len = (uint32_t) (p - core->text) - core->offset[i];
        }
    }

    core->offset[n] = (uint32_t) (p - core->text);
    core->bytes += (size_t) n * 6 + total;

    return 0;
}


/* Whether a token can come as text or by its name. */
static int
has_place(const mask_core_t *core, const grammar_tokens_t *tokens,
          uint32_t token)
{
    const str_t *s = &tokens->bytes[token];

    if (s->len == 0 || s->len >= MASK_MAX_TOKEN) {
        return 0;
    }

    switch (tokens->kinds[token]) {
    case GRAMMAR_TOKEN_CONTROL:
        return 1;

    case GRAMMAR_TOKEN_TEXT:
        return !core->eog[token] && memchr(s->s, 0xff, s->len) == NULL;

    default:
        return 0;
    }
}


static int
sort_tokens(const mask_core_t *core, vocab_sort_t **out, uint32_t *out_n)
{
    vocab_sort_t  *list;
    const uint8_t *s;
    uint32_t       i, k, n, len;

    list = malloc((size_t) core->n_tokens * sizeof(vocab_sort_t));
    if (list == NULL) {
        return -ENOMEM;
    }

    *out = list;

    for (i = 0, n = 0; i < core->n_tokens; i++) {
        s = mask_token_bytes(core, i, &len);
        if (len == 0) {
            continue;
        }

        list[n].token = i;
        list[n].key = 0;

        for (k = 0; k < 8; k++) {
            list[n].key = list[n].key << 8 | (k < len ? s[k] : 0);
        }

        n++;
    }

    *out_n = n;
    LLM_TRY(radix_sort(list, n));

    /* What 8 bytes could not tell. */

    for (i = 0; i < n; i = k) {
        for (k = i + 1; k < n && list[k].key == list[i].key; k++) { /* void */
        }

        if (k - i > 1) {
            qsort_r(list + i, k - i, sizeof(vocab_sort_t), by_bytes,
                    (void *) (uintptr_t) core);
        }
    }

    return 0;
}


static int
radix_sort(vocab_sort_t *list, uint32_t n)
{
    vocab_sort_t *other, *from, *to, *swap;
    uint32_t     *count, i, k, sum;
    unsigned      shift;

    other = malloc(((size_t) n + 1) * sizeof(vocab_sort_t));
    count = malloc(65536 * sizeof(uint32_t));

    if (other == NULL || count == NULL) {
        free(other);
        free(count);
        return -ENOMEM;
    }

    from = list;
    to = other;

    for (shift = 0; shift < 64; shift += 16) {
        memset(count, 0, 65536 * sizeof(uint32_t));

        for (i = 0; i < n; i++) {
            count[from[i].key >> shift & 0xffff]++;
        }

        for (i = 0, sum = 0; i < 65536; i++) {
            k = count[i];
            count[i] = sum;
            sum += k;
        }

        for (i = 0; i < n; i++) {
            to[count[from[i].key >> shift & 0xffff]++] = from[i];
        }

        swap = from;
        from = to;
        to = swap;
    }

    /* Four passes: the result is in list again. */

    free(other);
    free(count);

    return 0;
}


static int
by_bytes(const void *a, const void *b, void *data)
{
    const vocab_sort_t *x = a, *y = b;
    const mask_core_t  *core = data;
    const uint8_t      *s, *t;
    uint32_t            n, m;
    int                 rc;

    s = mask_token_bytes(core, x->token, &n);
    t = mask_token_bytes(core, y->token, &m);
    rc = memcmp(s, t, n < m ? n : m);

    if (rc != 0 || n != m) {
        return rc ? rc : n < m ? -1 : 1;
    }

    return x->token < y->token ? -1 : 1;
}


static int
make_groups(mask_core_t *core, uint16_t *groups, uint8_t *chars)
{
    const uint8_t *s;
    uint32_t       i, k, n, len, used;
    size_t         size = core->words * sizeof(uint32_t);
    uint8_t        byte;

    for (i = 0; i < MASK_GROUPS; i++) {
        core->has[i] = calloc(1, size);
        if (core->has[i] == NULL) {
            return -ENOMEM;
        }
    }

    for (i = 1; i <= MASK_CHARS; i++) {
        core->upto[i] = calloc(1, size);
        if (core->upto[i] == NULL) {
            return -ENOMEM;
        }
    }

    for (byte = 0; byte < 128; byte++) {
        core->group[byte] = (uint16_t) mask_group_of(&byte, 1, &used);
    }

    for (i = 0; i < core->n_tokens; i++) {
        s = mask_token_bytes(core, i, &len);

        for (k = 0, n = 0; k < len; k += used, n++) {
            groups[i] |= (uint16_t) mask_group_of(s + k, len - k, &used);
        }

        chars[i] = (uint8_t) (n < MASK_CHARS ? n : MASK_CHARS);

        for (k = 0; k < MASK_GROUPS; k++) {
            if (groups[i] >> k & 1) {
                mask_bit(core->has[k], i);
            }
        }

        if (len) {
            mask_bit(core->upto[chars[i]], i);
        }
    }

    for (i = 2; i <= MASK_CHARS; i++) {
        for (k = 0; k < core->words; k++) {
            core->upto[i][k] |= core->upto[i - 1][k];
        }
    }

    core->bytes += (MASK_GROUPS + MASK_CHARS) * size;

    return 0;
}


unsigned
mask_group_of(const uint8_t *s, uint32_t len, uint32_t *used)
{
    uint8_t c = s[0];

    *used = 1;

    if (c >= 0x80) {
        *used = char_len(s, len);

        if (*used == 0) {
            *used = 1;
            return MASK_G_PART;
        }

        if (c == 0xc2 || (c == 0xe1 && s[1] == 0x9a)
            || (c == 0xe2 && s[1] <= 0x81) || (c == 0xe3 && s[1] == 0x80)
            || (c == 0xef && s[1] == 0xbb)) {
            return MASK_G_ODD;
        }

        return MASK_G_CHAR;
    }

    if (c < 0x20 || c == 0x7f) {
        return MASK_G_CTRL;
    }

    if (c >= 'a' && c <= 'z') {
        return c <= 'f' ? MASK_G_HEX : MASK_G_LOW;
    }

    if (c >= 'A' && c <= 'Z') {
        return c <= 'F' ? MASK_G_UHEX : MASK_G_UP;
    }

    if (c >= '0' && c <= '9') {
        return MASK_G_DIGIT;
    }

    switch (c) {
    case '_':
    case '-':
        return MASK_G_LINE;

    case '.':
        return MASK_G_DOT;

    case ' ':
        return MASK_G_SPACE;

    case '/':
    case ':':
        return MASK_G_SLASH;

    case '<':
        return MASK_G_ANGLE;

    case '"':
    case '\\':
        return MASK_G_QUOTE;

    default:
        return MASK_G_PUNCT;
    }
}


/* Bytes of the character that s begins with, which is beyond ASCII; 0: none */
static uint32_t
char_len(const uint8_t *s, uint32_t len)
{
    uint32_t n, i;
    uint8_t  lo = 0x80, hi = 0xbf;

    if (s[0] < 0xc2 || s[0] > 0xf4) {
        return 0;
    }

    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    lo = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : lo;
    hi = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : hi;

    if (len < n || s[1] < lo || s[1] > hi) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    return n;
}


/* The trie of the tokens that have a group which is not of `skip`. */
static int
make_trie(mask_core_t *core, mask_trie_t *trie, const vocab_sort_t *list,
          uint32_t n, const uint16_t *groups, const uint8_t *chars,
          unsigned skip)
{
    vocab_build_t  b = {.core = core, .trie = trie};
    const uint8_t *s, *last;
    uint32_t       i, t, len, n_last, k, node, count;
    int            pass;

    /* First how many nodes, then the nodes. */

    for (pass = 0, count = 1; pass < 2; pass++) {
        last = NULL;
        n_last = 0;

        if (pass == 1) {
            LLM_TRY(trie_room(trie, count, skip != 0));
            trie->n = 1;
            trie->node[0].token = MASK_NONE;
        }

        for (i = 0; i < n; i++) {
            t = list[i].token;

            if (skip && !(groups[t] & ~skip)) {
                continue;
            }

            s = mask_token_bytes(core, t, &len);
            k = common(s, len, last, n_last);
            last = s;
            n_last = len;

            if (pass == 0) {
                count += len - k;
                continue;
            }

            trie_close(&b, k);

            for (; k < len; k++) {
                trie_add(&b, k + 1, s[k], skip ? &core->trie : NULL);
            }

            node = b.path[len];

            if (trie->node[node].token == MASK_NONE) {
                trie->node[node].token = t;
            } else if (trie->full == NULL) {
                LLM_TRY(add_same(core, &trie->node[node].token, t));
            }

            if (trie->full) {
                trie->node[node].token =
                    core->trie.node[trie->full[node]].token;
            }

            trie->node[node].groups |= groups[t];
            trie->node[node].chars = chars[t];
        }
    }

    trie_close(&b, 0);
    trie->node[0].size = trie->n;

    return 0;
}


static int
trie_room(mask_trie_t *trie, uint32_t n, int full)
{
    trie->node = calloc(n, sizeof(mask_node_t));
    trie->full = full ? calloc(n, sizeof(uint32_t)) : NULL;

    if (trie->node == NULL || (full && trie->full == NULL)) {
        return -ENOMEM;
    }

    return 0;
}


static void
trie_add(vocab_build_t *b, uint32_t depth, uint8_t byte,
         const mask_trie_t *full)
{
    mask_trie_t *trie = b->trie;
    uint32_t     node = trie->n++;

    trie->node[node].byte = byte;
    trie->node[node].depth = (uint16_t) depth;
    trie->node[node].token = MASK_NONE;
    b->path[depth] = node;
    b->depth = depth;

    if (full) {
        trie->full[node] =
            mask_trie_find(full, trie->full[b->path[depth - 1]], &byte, 1);
    }
}


/* Nothing more comes below the nodes that are deeper. */
static void
trie_close(vocab_build_t *b, uint32_t depth)
{
    mask_trie_t *trie = b->trie;
    uint32_t     node, up;

    for (; b->depth > depth; b->depth--) {
        node = b->path[b->depth];
        up = b->path[b->depth - 1];
        trie->node[node].size = trie->n - node;
        trie->node[up].groups |= trie->node[node].groups;

        if (trie->node[up].chars < trie->node[node].chars) {
            trie->node[up].chars = trie->node[node].chars;
        }
    }
}


/* One more token of the same bytes. */
static int
add_same(mask_core_t *core, uint32_t *slot, uint32_t token)
{
    uint32_t n = core->n_same;
    void    *p;

    /* Rare: byte tokens that are also tokens of text. */

    p = realloc(core->same, (2 * (size_t) n + 4) * sizeof(uint32_t));
    if (p == NULL) {
        return -ENOMEM;
    }

    core->same = p;

    if (!(*slot & MASK_SAME)) {
        core->same[2 * n] = *slot;
        core->same[2 * n + 1] = MASK_NONE;
        *slot = MASK_SAME | n++;
    }

    core->same[2 * n] = token;
    core->same[2 * n + 1] = *slot & ~MASK_SAME;
    *slot = MASK_SAME | n++;
    core->n_same = n;

    return 0;
}


static uint32_t
common(const uint8_t *a, uint32_t na, const uint8_t *b, uint32_t nb)
{
    uint32_t n = na < nb ? na : nb, i;

    for (i = 0; i < n && a[i] == b[i]; i++) { /* void */
    }

    return i;
}


static void
trie_free(mask_trie_t *trie)
{
    free(trie->node);
    free(trie->full);
}


static size_t
trie_bytes(const mask_trie_t *trie)
{
    return (size_t) trie->n * (sizeof(mask_node_t) + (trie->full ? 4 : 0));
}
