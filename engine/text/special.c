/*
 * Control and user-defined tokens in text: a trie over their spellings.
 *
 * Built once with the tokenizer, immutable afterwards; any thread.  A match is
 * leftmost and longest among the tokens that may match there: a guarded one
 * (control, unknown, protected) only where every byte is trusted.  Spellings
 * are at most TEXT_MAX_SPECIAL bytes, which bounds the work at each byte.
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdlib.h>


/* Bounds the trie's memory: bytes of all special tokens together. */
#define TEXT_MAX_NODES (1 << 24)


/* A special token while the trie is built. */
typedef struct {
    const char *p;
    size_t      len;
    int32_t     id;
    bool        guarded;
} text_special_t;


/* A range of the sorted tokens, which share a prefix of depth bytes. */
typedef struct {
    uint32_t node;
    uint32_t lo;
    uint32_t hi;
    uint32_t depth;
} text_range_t;


static int  text_special_collect(text_tokenizer_t *tok, text_special_t **list,
                                 size_t *n, size_t *bytes);
static void text_special_trie(text_tokenizer_t *tok, const text_special_t *list,
                              size_t n, text_range_t *queue);
static bool text_special_is(uint8_t type);
static int  text_special_cmp(const void *a, const void *b);
static const text_node_t *text_special_child(const text_tokenizer_t *tok,
                                             const text_node_t      *node,
                                             uint8_t                 byte);


int
text_special_build(text_tokenizer_t *tok, char *err, size_t err_size)
{
    text_special_t *list;
    text_range_t   *queue;
    size_t          i, n, bytes;
    int             rc;

    rc = text_special_collect(tok, &list, &n, &bytes);

    if (rc == -E2BIG) {
        return text_fail(err, err_size, -EINVAL, "special tokens are too long");
    }

    if (rc != 0) {
        return text_fail(err, err_size, rc, "no memory");
    }

    qsort(list, n, sizeof(text_special_t), text_special_cmp);

    tok->nodes = calloc(bytes + 1, sizeof(text_node_t));
    queue = malloc((bytes + 1) * sizeof(text_range_t));

    if (tok->nodes == NULL || queue == NULL) {
        free(list);
        free(queue);
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    text_special_trie(tok, list, n, queue);

    for (i = 0; i < tok->nodes[0].n_children; i++) {
        tok->first[tok->nodes[1 + i].byte] = (uint16_t) (i + 1);
    }

    free(list);
    free(queue);

    return 0;
}


static int
text_special_collect(text_tokenizer_t *tok, text_special_t **list, size_t *n,
                     size_t *bytes)
{
    text_special_t *s;
    size_t          i, len, count;

    *n = 0;
    *bytes = 0;
    count = 0;

    for (i = 0; i < tok->n_tokens; i++) {
        len = tok->off[i + 1] - tok->off[i];

        if (!text_special_is(tok->types[i]) || len == 0) {
            continue;
        }

        count++;
        *bytes += len;

        if (len > TEXT_MAX_SPECIAL || *bytes > TEXT_MAX_NODES) {
            return -E2BIG;
        }
    }

    *list = s = calloc(count + 1, sizeof(text_special_t));
    if (s == NULL) {
        return -ENOMEM;
    }

    for (i = 0; i < tok->n_tokens; i++) {
        len = tok->off[i + 1] - tok->off[i];

        if (text_special_is(tok->types[i]) && len > 0) {
            s->p = tok->bytes + tok->off[i];
            s->len = len;
            s->id = (int32_t) i;
            s->guarded = tok->types[i] & TEXT_GUARDED;
            tok->unguarded |= !s->guarded;
            s++;
        }
    }

    *n = count;
    return 0;
}


/* Breadth first, so that the children of a node lie side by side. */
static void
text_special_trie(text_tokenizer_t *tok, const text_special_t *list, size_t n,
                  text_range_t *queue)
{
    text_node_t *node, *child;
    text_range_t r;
    size_t       head, tail;
    uint32_t     i, j;

    tok->n_nodes = 1;
    tok->nodes[0].id = -1;

    queue[0] = (text_range_t){0, 0, (uint32_t) n, 0};
    tail = 1;

    for (head = 0; head < tail; head++) {
        r = queue[head];
        node = &tok->nodes[r.node];
        node->child = (uint32_t) tok->n_nodes;

        /* The tokens that end here come first; of equal ones the lowest. */

        for (i = r.lo; i < r.hi && list[i].len == r.depth; i++) {
            if (node->id < 0) {
                node->id = list[i].id;
            }

            /* Equal spellings: guarded if any of them is. */
            node->guarded |= list[i].guarded;
        }

        for (; i < r.hi; i = j) {
            child = &tok->nodes[tok->n_nodes];
            child->byte = (uint8_t) list[i].p[r.depth];
            child->id = -1;

            for (j = i + 1; j < r.hi; j++) {
                if ((uint8_t) list[j].p[r.depth] != child->byte) {
                    break;
                }
            }

            queue[tail++] =
                (text_range_t){(uint32_t) tok->n_nodes, i, j, r.depth + 1};
            tok->n_nodes++;
            node->n_children++;
        }
    }
}


int32_t
text_special_match(const text_tokenizer_t *tok, const char *p, size_t len,
                   const uint8_t *trusted, size_t *matched)
{
    const text_node_t *node;
    int32_t            id;
    size_t             i;
    bool               all;

    if (tok->first[(uint8_t) p[0]] == 0) {
        return -1;
    }

    node = &tok->nodes[0];
    all = trusted != NULL;
    id = -1;

    for (i = 0; i < len; i++) {
        node = text_special_child(tok, node, (uint8_t) p[i]);
        if (node == NULL) {
            break;
        }

        all = all && trusted[i];

        if (node->id >= 0 && (all || !node->guarded)) {
            id = node->id;
            *matched = i + 1;
        }
    }

    return id;
}


int32_t
text_special_find(const text_tokenizer_t *tok, const char *p, size_t len)
{
    const text_node_t *node;
    size_t             i;

    node = &tok->nodes[0];

    for (i = 0; i < len; i++) {
        node = text_special_child(tok, node, (uint8_t) p[i]);
        if (node == NULL) {
            return -1;
        }
    }

    return node->id;
}


static const text_node_t *
text_special_child(const text_tokenizer_t *tok, const text_node_t *node,
                   uint8_t byte)
{
    const text_node_t *c;
    size_t             lo, hi, mid;

    c = &tok->nodes[node->child];
    lo = 0;
    hi = node->n_children;

    while (lo < hi) {
        mid = lo + (hi - lo) / 2;

        if (c[mid].byte == byte) {
            return &c[mid];
        }

        if (c[mid].byte < byte) {
            lo = mid + 1;

        } else {
            hi = mid;
        }
    }

    return NULL;
}


static bool
text_special_is(uint8_t type)
{
    type &= TEXT_TYPE;

    return type == TEXT_CONTROL || type == TEXT_USER_DEFINED
           || type == TEXT_UNKNOWN;
}


/* By bytes, a prefix first, then by id. */
static int
text_special_cmp(const void *a, const void *b)
{
    const text_special_t *x = a, *y = b;
    int                   rc;

    rc = memcmp(x->p, y->p, x->len < y->len ? x->len : y->len);

    if (rc != 0) {
        return rc;
    }

    if (x->len != y->len) {
        return x->len < y->len ? -1 : 1;
    }

    return (x->id > y->id) - (x->id < y->id);
}
