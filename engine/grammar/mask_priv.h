/*
 * Token masks: what grammar*.c, vocab_*.c and mask_*.c share.
 *
 *     TRIE     the tokens' bytes, depth first: a node, its subtree, what comes
 *              after.  Control tokens lie under the byte 0xff.
 *     GROUPS   each token has a set of groups of characters (small letters,
 *              digits, ..., bytes that are no whole character) and a length
 *              in characters; the tokens of some groups up to a length are a
 *              few operations on words: a BASE.
 *     SET      what a state of a lexer makes of the vocabulary as far as the
 *              lexeme goes: the tokens whose bytes keep it alive, and the
 *              nodes where a lexeme ended while something below is still to
 *              be decided (CROSSINGS: by the parser, at each position anew).
 *              A set is a list of differences to another set, or to nothing.
 *              Never changed once made; counted; shared by all grammars of
 *              the vocabulary under a digest of the expressions.
 *     ENTRY    a set in one grammar, by state of its lexer.
 *
 * The vocabulary is immutable but for its caches, which have a lock.  What
 * belongs to a grammar is used under that grammar's lock.
 */

#ifndef LLM_GRAMMAR_MASK_PRIV_H
#define LLM_GRAMMAR_MASK_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include "engine/grammar/gr_parse.h"
#include "engine/grammar/grammar.h"

/* Longer tokens cannot come under a grammar. */
#define MASK_MAX_TOKEN 1000

#define MASK_NONE UINT32_MAX

/* Groups of characters. */
enum {
    MASK_G_HEX = 1 << 0,  /* a-f */
    MASK_G_LOW = 1 << 1,  /* g-z */
    MASK_G_UHEX = 1 << 2, /* A-F */
    MASK_G_UP = 1 << 3,   /* G-Z */
    MASK_G_DIGIT = 1 << 4,
    MASK_G_LINE = 1 << 5, /* _ - */
    MASK_G_DOT = 1 << 6,
    MASK_G_SPACE = 1 << 7,
    MASK_G_SLASH = 1 << 8, /* / : */
    MASK_G_ANGLE = 1 << 9, /* < */
    MASK_G_PUNCT = 1 << 10,
    MASK_G_CHAR = 1 << 11,  /* beyond ASCII */
    MASK_G_ODD = 1 << 12,   /* blocks beyond ASCII with blanks in them */
    MASK_G_QUOTE = 1 << 13, /* " \ */
    MASK_G_CTRL = 1 << 14,
    MASK_G_PART = 1 << 15, /* no whole characters */

    /* What stands for itself in a JSON string. */
    MASK_G_PLAIN = 0x1fff
};

#define MASK_GROUPS 16

/* Lengths that have a bitset; tokens of more characters count as this. */
#define MASK_CHARS 40

typedef struct {
    uint32_t size;   /* nodes of the subtree, this one too */
    uint32_t token;  /* ends here: MASK_NONE, or the first of several */
    uint16_t groups; /* of all tokens here and below */
    uint16_t depth;  /* bytes from the root */
    uint8_t  byte;
    uint8_t  chars; /* most characters of a token here or below */
} mask_node_t;

typedef struct {
    uint32_t     n;
    mask_node_t *node; /* n, the first is the root */
    uint32_t    *full; /* the node in the trie of all tokens; NULL: the same */
} mask_trie_t;

typedef struct mask_core_s mask_core_t;
typedef struct mask_set_s  mask_set_t;

/* A node to go on at (child), of one where a lexeme ended. */
typedef struct {
    uint32_t child;
    int32_t  to;    /* lexer's state at its parent */
    uint32_t end;   /* the parent */
    uint32_t seg;   /* depth where the walk's state was */
    uint32_t group; /* of mask_lexer_group() */
} mask_end_t;

typedef struct {
    uint32_t child, end;
} mask_cross_t;

/* nodes[first] up to the next run's, of a byte each. */
typedef struct {
    uint32_t first;
    uint8_t  byte;
} mask_run_t;

struct mask_set_s {
    atomic_uint refs;
    size_t      bytes;
    mask_set_t *parent; /* counted, or NULL */
    uint32_t   *bits;   /* instead of a parent, or NULL */
    uint32_t    n_add, n_del;
    uint32_t   *add, *del; /* tokens; added after what was taken away */

    /* Crossings of one group end the same lexemes: cross[] by their ends. */
    uint32_t      n_cross, n_groups;
    mask_cross_t *cross;
    uint32_t     *first; /* n_groups + 1 */

    /* The children once more, by their bytes. */
    uint32_t   *nodes;
    mask_run_t *runs;
    uint32_t   *first_run; /* n_groups + 1 */
};

/* A digest of expressions; both words 0: there is none. */
typedef struct {
    uint64_t lo, hi;
} mask_digest_t;

typedef struct {
    mask_set_t *set;
    int32_t    *to; /* of each group: a state that ends its lexemes */
} mask_entry_t;

/* A node of a walk's path, and the lexer's state there. */
typedef struct {
    const uint8_t *map; /* the state's */
    const int32_t *next;
    int32_t        state, ref; /* ref: in walks of two */
    uint32_t       node;
    uint32_t       told;  /* the child that is an end's already */
    uint16_t       above; /* how many ends on the path, this one too */
    uint8_t        is_end;
} mask_step_t;

/* Growing memory of one call. */
typedef struct mask_scratch_s mask_scratch_t;

struct mask_scratch_s {
    mask_scratch_t *next;

    uint32_t *tokens; /* allowed by the walk in progress */
    uint32_t  n_tokens, cap_tokens;

    uint32_t *dels;
    uint32_t  n_dels, cap_dels;

    mask_end_t *ends;
    uint32_t    n_ends, cap_ends;

    /* Stacks of recursions' lists. */
    uint32_t *forest;
    uint32_t  n_forest, cap_forest;
    int32_t  *states;
    uint32_t  n_states, cap_states;

    mask_step_t path[MASK_MAX_TOKEN + 2]; /* of a walk, by depth */

    uint32_t *bits; /* words of a mask */
};

/* What a vocabulary is apart from its list of grammars. */
struct mask_core_s {
    atomic_uint refs;

    uint32_t n_tokens, words, max_len;
    uint16_t group[128]; /* of each character of ASCII */
    uint8_t *kinds;
    uint8_t *eog; /* 1: ends the output */
    int32_t *eog_list;
    uint32_t n_eog;

    char     *text;   /* all tokens' bytes; control tokens with their 0xff */
    uint32_t *offset; /* n_tokens + 1; nothing for those without a place */

    mask_trie_t trie, rest; /* rest: those not of MASK_G_PLAIN alone */

    uint32_t *same; /* pairs (token, next index or MASK_NONE), see token_bit */
    uint32_t  n_same;

    uint32_t   *has[MASK_GROUPS];     /* tokens with a character of the group */
    uint32_t   *upto[MASK_CHARS + 1]; /* of at most so many characters */
    mask_set_t *plain;

    int (*tokenize)(void *data, const char *text, size_t len, int32_t *tokens,
                    uint32_t cap);
    void *data;

    size_t   bytes; /* of all that above */
    uint64_t seed;  /* of digests: secret */

    /* Under the lock. */
    pthread_mutex_t lock;
    mask_scratch_t *scratch;
    struct {
        unsigned    groups;
        uint32_t    chars;
        uint64_t    used;
        mask_set_t *set;
    } bases[32];
    struct mask_shared_s *shared;
    uint64_t              clock;
};

/* Several tokens of equal bytes: an index into same[]. */
#define MASK_SAME 0x80000000u

/* Switches for tests: each off must give the same masks. */
enum {
    MASK_NO_SHARED = 1,
    MASK_NO_BASE = 2,
    MASK_NO_REF = 4,
    MASK_NO_ENTRY = 8,
    MASK_NO_GROUP = 16
};

/* vocab_trie.c */
int  mask_core_new(const grammar_tokens_t *tokens, mask_core_t **core);
void mask_core_hold(mask_core_t *core);
void mask_core_release(mask_core_t *core);

/* The node of the trie that bytes[len] lead to from `node`, or MASK_NONE. */
uint32_t mask_trie_find(const mask_trie_t *trie, uint32_t node,
                        const void *bytes, size_t len);

/* The group of the character that s[len > 0] begins with, and its length. */
unsigned mask_group_of(const uint8_t *s, uint32_t len, uint32_t *used);

/* The first token at a node or below it. */
uint32_t mask_trie_first(const mask_core_t *core, uint32_t node);

static inline uint32_t
mask_token_first(const mask_core_t *core, uint32_t token)
{
    return token & MASK_SAME ? core->same[2 * (token & ~MASK_SAME)] : token;
}


static inline const uint8_t *
mask_token_bytes(const mask_core_t *core, uint32_t token, uint32_t *len)
{
    *len = core->offset[token + 1] - core->offset[token];

    return (const uint8_t *) core->text + core->offset[token];
}


static inline void
mask_bit(uint32_t *bits, uint32_t token)
{
    bits[token / 32] |= 1u << (token % 32);
}


/* mask_set.c */

/* NULL: no memory. */
mask_set_t *mask_set_base(mask_core_t *core, unsigned groups, uint32_t chars);

/*
 * Of s->tokens, s->dels, s->ends (with their groups), which differ from parent
 * (taken; may be NULL).
 */
mask_set_t *mask_set_new(mask_core_t *core, mask_set_t *parent_take,
                         mask_scratch_t *s, uint32_t n_groups);
void        mask_set_hold(mask_set_t *set);
void        mask_set_release(mask_set_t *set);

/* bits |= set; first: bits = set. */
void mask_set_apply(const mask_core_t *core, const mask_set_t *set,
                    uint32_t *bits, int first, mask_scratch_t *s);

mask_scratch_t *mask_scratch_get(mask_core_t *core);
void            mask_scratch_put(mask_core_t *core, mask_scratch_t *s);

/* Room for one more; 0 or -ENOMEM. */
int mask_grow(void *list, uint32_t *cap, uint32_t n, size_t size);

/* Sets by digest: a counted one, or NULL. */
mask_set_t *mask_shared_find(mask_core_t *core, const mask_digest_t *digest);
void        mask_shared_add(mask_core_t *core, const mask_digest_t *digest,
                            mask_set_t *set);
void        mask_shared_free(mask_core_t *core);

/* mask_digest.c */
typedef struct mask_digests_s mask_digests_t;

mask_digests_t *mask_digests_new(uint64_t seed);
void            mask_digests_free(mask_digests_t *digests);

/*
 * Of all expressions of a lexer's state, tags apart.  Counts beyond max_len
 * are all the same, as no token can tell them apart.
 */
void mask_digest_state(mask_digests_t *digests, const re_set_t *set,
                       const re_dfa_state_t *state, uint32_t max_len,
                       mask_digest_t *out);

/* mask_lexer.c */
typedef struct {
    mask_core_t    *core;
    gr_t           *gr;
    re_dfa_t       *dfa;
    re_set_t       *re;
    mask_digests_t *digests;
    unsigned        off; /* MASK_NO_* */

    mask_entry_t *entries; /* by state of the lexer */
    uint32_t      n_entries;
    uint32_t     *seen; /* by state: by which search */
    uint32_t      cap_seen, stamp;
    size_t        bytes;

    /* What was done: for tests and benchmarks. */
    uint64_t n_found, n_made, n_shared, n_ref, n_nodes, n_jumps;
} mask_lexer_t;

int  mask_lexer_init(mask_lexer_t *lexer, mask_core_t *core, gr_t *gr);
void mask_lexer_free(mask_lexer_t *lexer);

/* Lets the entries go if they have become too many. */
void mask_lexer_trim(mask_lexer_t *lexer);

/* The entry of a state, which holds until the next call; 0 or -errno. */
int mask_lexer_entry(mask_lexer_t *lexer, int32_t state, mask_scratch_t *s,
                     mask_entry_t *entry);

/*
 * Walks the subtrees of forest[n] from a state: tokens to s->tokens, ends to
 * s->ends.  0 or -errno.
 */
int mask_lexer_walk(mask_lexer_t *lexer, int32_t state, const uint32_t *forest,
                    uint32_t n, mask_scratch_t *s);

/* Numbers the groups of s->ends from `from` on. */
int mask_lexer_group(mask_lexer_t *lexer, mask_scratch_t *s, uint32_t from,
                     uint32_t *n_groups);

/* A new search; room for a state's mark.  0 or -ENOMEM. */
int mask_lexer_stamp(mask_lexer_t *lexer);
int mask_lexer_seen(mask_lexer_t *lexer, int32_t state);

/* mask_base.c */
typedef struct {
    unsigned groups; /* 0: no base */
    uint32_t chars;
    int      rest;  /* all others are in the small trie */
    int      whole; /* nothing better is to be found */
} mask_base_t;

/* Cheap, and by a search: what a state allows.  0 or -errno. */
int mask_base_find(mask_lexer_t *lexer, int32_t state, mask_base_t *base);
int mask_base_search(mask_lexer_t *lexer, int32_t state, mask_base_t *base);

/* To compare two. */
uint32_t mask_base_worth(const mask_base_t *base);

/* mask_cross.c */

/* The mask at a parse's position, but for the tokens that end the output. */
int mask_position(mask_lexer_t *lexer, gr_parse_t *parse, mask_scratch_t *s,
                  uint32_t *bits);

/*
 * 1: some token below the node (whose bytes have been read) may come; 0: none;
 * -errno.
 */
int mask_below(mask_lexer_t *lexer, gr_parse_t *parse, mask_scratch_t *s,
               uint32_t node);

#endif /* LLM_GRAMMAR_MASK_PRIV_H */
