/*
 * Inside of regular expressions (re.h): how nodes are kept.  Whoever owns
 * the set is the only thread here.
 *
 * A NODE is found by its contents in a hash table, so that equal contents
 * are equal handles.  Contents longer than three words lie in the blob, in
 * units of 8 bytes except for runs, whose suffixes share their bytes.
 *
 *              a              b            c
 *   CLASS      blob: 4 words
 *   RUN        blob: bytes    length       what follows
 *   CONCAT     head           tail
 *   OR, AND    blob: handles  how many
 *   NOT        the argument
 *   REPEAT     the argument   min          max
 *   REMAINDER  blob: re_rem_t
 *   QUOTED     the argument   place in an escape (re_quoted.c)
 *
 * Flags and depth follow from the contents, apart from those that a search
 * found out later; they speak of the language only, so adding one is safe.
 */

#ifndef LLM_GRAMMAR_RE_PRIV_H
#define LLM_GRAMMAR_RE_PRIV_H

#include "engine/grammar/re.h"

enum {
    RE_F_NULLABLE = 1,
    RE_F_SOME = 2,   /* known to have a string */
    RE_F_VOID = 4,   /* known to have none */
    RE_F_TEXT = 8,   /* well-formed UTF-8 only */
    RE_F_CHAR = 16,  /* whole single code points only */
    RE_F_UNSURE = 32 /* a search for a string gave up */
};

typedef struct {
    uint8_t  kind;
    uint8_t  flags;
    uint16_t depth; /* how deep one derivative walks */
    uint32_t a, b, c;
    uint32_t hash;
} re_node_t;

typedef struct {
    uint64_t divisor;
    uint64_t rest;  /* value of the digits so far, modulo divisor */
    uint32_t scale; /* digits of the fraction still to count */
    uint32_t phase; /* re_quoted.c */
} re_rem_t;

typedef struct {
    uint32_t node, byte, to; /* node 0: free */
} re_memo_t;

struct re_set_s {
    re_limits_t limits;
    int         rc;
    const char *msg;
    uint64_t    fuel;
    uint64_t    steps, derivs;
    size_t      bytes;
    uint32_t    level; /* of recursion in constructors */

    re_node_t *nodes;
    uint32_t   n_nodes, cap_nodes;
    uint32_t  *stamps; /* per node: when re_classes() last saw it */
    uint32_t   cap_stamps, stamp;

    uint8_t *blob;
    uint32_t n_blob, cap_blob;

    uint32_t *table; /* hash -> node */
    uint32_t  n_table;

    re_memo_t *memo;
    uint32_t   n_memo, cap_memo;

    re_t    *stack; /* scratch of constructors, used as one */
    uint32_t n_stack, cap_stack;

    re_t cont[3]; /* 1 to 3 continuation bytes */
};

#define RE_FLAGS(set, a) ((set)->nodes[a].flags)
#define RE_KIND(set, a)  ((set)->nodes[a].kind)
#define RE_IS(set, a, f) (((set)->nodes[a].flags & (f)) != 0)

/* Notes the first failure; RE_NONE. */
re_t re_fail(re_set_t *set, int rc, const char *msg);

/* One step of work; 0 when none are left or the set has failed. */
int re_step(re_set_t *set, uint64_t steps);

/* Room for need elements of size in *p; 0 on failure. */
int re_grow(re_set_t *set, void *p, uint32_t *cap, uint64_t need, size_t size);

void re_push(re_set_t *set, re_t a);

/* Recursion of a constructor; 0: too deep. */
int  re_enter(re_set_t *set);
void re_leave(re_set_t *set);

/*
 * The node of these contents.  data[size] is what the blob holds (NULL: a is
 * in the blob already, or there is none).
 */
re_t re_intern(re_set_t *set, const re_node_t *n, const void *data,
               size_t size);

/* Contents' flags and depth, but for what a search finds. */
void re_measure(const re_set_t *set, re_node_t *n, const void *data);

/* The union of what the stack holds from base, which it takes off. */
re_t re_or_stack(re_set_t *set, uint32_t base);

/*
 * re_bool.c, on what the stack holds from base: the union of it, which is
 * flat; a, or its members where it is of that kind, put there; each once and
 * in order; whether a is there; x and Not x; a taken out; JSON spellings
 * made one.
 */
re_t re_or_list(re_set_t *set, uint32_t base);
void re_gather(re_set_t *set, re_t a, int kind);
void re_sort_unique(re_set_t *set, uint32_t base);
int  re_has(const re_set_t *set, uint32_t base, re_t a);
int  re_has_opposites(const re_set_t *set, uint32_t base);
void re_drop(re_set_t *set, uint32_t base, re_t a);
void re_merge_quoted(re_set_t *set, uint32_t base, int kind);

/* re_repeat.c: members that differ in a count; 1: some are there twice. */
int re_or_counts(re_set_t *set, uint32_t base);

/* n bytes of the blob from off, then tail. */
re_t re_run_at(re_set_t *set, uint32_t off, uint32_t len, re_t tail);

/* head: no run, no concat. */
re_t re_link(re_set_t *set, re_t head, re_t tail);

/* Handles of an Or or And; moves with the blob. */
static inline const re_t *
re_list(const re_set_t *set, re_t a)
{
    return (const re_t *) (const void *) (set->blob + set->nodes[a].a);
}


static inline const uint64_t *
re_bits(const re_set_t *set, re_t a)
{
    return (const uint64_t *) (const void *) (set->blob + set->nodes[a].a);
}


static inline int
re_bit(const uint64_t *bits, unsigned byte)
{
    return (int) (bits[byte / 64] >> (byte % 64) & 1);
}


static inline void
re_bit_set(uint64_t *bits, unsigned byte)
{
    bits[byte / 64] |= (uint64_t) 1 << (byte % 64);
}


static inline int
re_is_void(const re_set_t *set, re_t a)
{
    return a == RE_NONE || RE_IS(set, a, RE_F_VOID);
}


/* What re_classes() gathers: disjoint sets, none empty, that hold all bytes,
 * and bytes that are classes of their own. */
typedef struct {
    uint64_t sets[256][4];
    uint32_t n;
    uint32_t quoted; /* split by what a string may hold as it is */
    uint64_t singles[4];
} re_part_t;

void re_part_split(re_part_t *part, const uint64_t bits[4]);

/* re_quoted.c: both kinds with a state of their own. */
re_t re_quoted_at(re_set_t *set, re_t a, uint32_t at);
re_t re_quoted_deriv(re_set_t *set, re_t a, uint8_t byte);
void re_quoted_classes(const re_set_t *set, re_t a, re_part_t *part);
re_t re_remainder_deriv(re_set_t *set, re_t a, uint8_t byte);
void re_remainder_classes(re_part_t *part);
int  re_remainder_nullable(const re_rem_t *r);

/* Writes a code point; its length. */
int re_utf8(uint32_t cp, uint8_t out[4]);

#endif /* LLM_GRAMMAR_RE_PRIV_H */
