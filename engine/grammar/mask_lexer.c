/*
 * What a state of a lexer makes of the vocabulary (mask_priv.h): walks of the
 * trie.  Under the grammar's lock.
 *
 * A walk of 262,144 tokens takes a millisecond, so most is not walked:
 *
 *   - a state that characters of some groups do not leave (or only count)
 *     allows all tokens of these groups at once: the BASE.  What is left is a
 *     small trie, or the subtrees that have something else in them;
 *   - a state that nearly all characters lead to the same other state (the
 *     start of a name that must not be one of some) is that state with
 *     corrections: both walk together, down where they differ (the REFERENCE);
 *   - what another grammar found out about the same expressions is taken.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/mask_priv.h"

/* A reference pays while less of the trie than this must be looked at. */
#define REF_SHARE 16
#define REF_MOST  30000

/* Groups worth a base; fewer tokens are walked as fast. */
#define WORTH (MASK_G_HEX | MASK_G_LOW | MASK_G_UHEX | MASK_G_UP | MASK_G_CHAR)

typedef struct {
    unsigned groups; /* 0: no base */
    uint32_t chars;
    int      rest; /* all others are in the small trie */
} base_t;

/* what{..max} rest tail, the first two perhaps in JSON's spelling */
typedef struct {
    int      quoted;
    re_t     what, rest, tail;
    uint32_t max;
} counted_t;

/* Characters beyond ASCII, by their first two bytes and how many follow. */
static const struct {
    uint8_t  lo, hi, lo2, hi2;
    int      left;
    unsigned group;
} blocks[] = {
    {0xc3, 0xdf, 0x80, 0xbf, 0, MASK_G_CHAR},
    {0xe0, 0xe0, 0xa0, 0xbf, 1, MASK_G_CHAR},
    {0xe1, 0xe1, 0x80, 0x99, 1, MASK_G_CHAR},
    {0xe1, 0xe1, 0x9b, 0xbf, 1, MASK_G_CHAR},
    {0xe2, 0xe2, 0x82, 0xbf, 1, MASK_G_CHAR},
    {0xe3, 0xe3, 0x81, 0xbf, 1, MASK_G_CHAR},
    {0xe4, 0xec, 0x80, 0xbf, 1, MASK_G_CHAR},
    {0xed, 0xed, 0x80, 0x9f, 1, MASK_G_CHAR},
    {0xee, 0xee, 0x80, 0xbf, 1, MASK_G_CHAR},
    {0xef, 0xef, 0x80, 0xba, 1, MASK_G_CHAR},
    {0xef, 0xef, 0xbc, 0xbf, 1, MASK_G_CHAR},
    {0xf0, 0xf0, 0x90, 0xbf, 2, MASK_G_CHAR},
    {0xf1, 0xf3, 0x80, 0xbf, 2, MASK_G_CHAR},
    {0xf4, 0xf4, 0x80, 0x8f, 2, MASK_G_CHAR},
    {0xc2, 0xc2, 0x80, 0xbf, 0, MASK_G_ODD},
    {0xe1, 0xe1, 0x9a, 0x9a, 1, MASK_G_ODD},
    {0xe2, 0xe2, 0x80, 0x81, 1, MASK_G_ODD},
    {0xe3, 0xe3, 0x80, 0x80, 1, MASK_G_ODD},
    {0xef, 0xef, 0xbb, 0xbb, 1, MASK_G_ODD},
};

static int  entry_make(mask_lexer_t *lexer, int32_t state, int level,
                       mask_scratch_t *s, mask_entry_t *entry);
static int  entry_to(mask_lexer_t *lexer, int32_t state, mask_entry_t *entry);
static int  set_make(mask_lexer_t *lexer, int32_t state, int level,
                     mask_scratch_t *s, mask_set_t **set);
static int  set_ref(mask_lexer_t *lexer, int32_t state, mask_scratch_t *s,
                    mask_set_t **set);
static int  find_ref(mask_lexer_t *lexer, int32_t state, int32_t *ref);
static int  ref_ends(mask_lexer_t *lexer, int32_t state, int32_t ref,
                     const mask_set_t *set, mask_scratch_t *s);
static int  walk(mask_lexer_t *lexer, const mask_trie_t *trie, uint32_t node,
                 uint32_t end, int32_t state, const base_t *base,
                 mask_scratch_t *s);
static int  walk_both(mask_lexer_t *lexer, int32_t state, int32_t ref,
                      mask_scratch_t *s);
static int  take_ends(mask_scratch_t *s, const mask_trie_t *trie, uint32_t node,
                      uint32_t depth, uint32_t top);
static int  take_token(const mask_core_t *core, uint32_t token, uint32_t **list,
                       uint32_t *n, uint32_t *cap);
static int  find_base(mask_lexer_t *lexer, int32_t state, base_t *base);
static int  base_counts(mask_lexer_t *lexer, int32_t state, int32_t to,
                        uint32_t *max, re_t *tail);
static int  same_count(const re_set_t *set, re_t a, re_t b, uint32_t *max,
                       re_t *tail);
static int  base_chars(mask_lexer_t *lexer, int32_t state, int32_t to,
                       unsigned group);
static int  all_lead(mask_lexer_t *lexer, int32_t state, unsigned lo,
                     unsigned hi, int left, int32_t to);
static int  counted(const re_set_t *set, re_t re, counted_t *c);
static int  starts_with_quote(const re_set_t *set, re_t tail);
static int  same_ends(const re_dfa_state_t *a, const re_dfa_state_t *b);
static int  room_for_entry(mask_lexer_t *lexer, int32_t state);


int
mask_lexer_init(mask_lexer_t *lexer, mask_core_t *core, gr_t *gr)
{
    memset(lexer, 0, sizeof(mask_lexer_t));

    lexer->digests = mask_digests_new(core->seed);
    if (lexer->digests == NULL) {
        return -ENOMEM;
    }

    lexer->core = core;
    lexer->gr = gr;
    lexer->dfa = gr_dfa(gr);
    lexer->re = gr_re(gr);

    return 0;
}


void
mask_lexer_free(mask_lexer_t *lexer)
{
    uint32_t i;

    for (i = 0; i < lexer->n_entries; i++) {
        mask_set_release(lexer->entries[i].set);
        free(lexer->entries[i].to);
    }

    free(lexer->entries);
    mask_digests_free(lexer->digests);
}


int
mask_lexer_entry(mask_lexer_t *lexer, int32_t state, mask_scratch_t *s,
                 mask_entry_t *entry)
{
    int rc = entry_make(lexer, state, 0, s, entry);

    s->n_tokens = 0;
    s->n_dels = 0;
    s->n_ends = 0;

    return rc;
}


static int
entry_make(mask_lexer_t *lexer, int32_t state, int level, mask_scratch_t *s,
           mask_entry_t *entry)
{
    mask_digest_t digest = {0, 0};
    mask_entry_t *own;
    mask_set_t   *set = NULL;

    LLM_TRY(room_for_entry(lexer, state));
    own = &lexer->entries[state];

    if (own->set && (lexer->off & MASK_NO_ENTRY)) {
        mask_set_release(own->set);
        free(own->to);
        memset(own, 0, sizeof(mask_entry_t));
    }

    if (own->set) {
        lexer->n_found++;
        *entry = *own;
        return 0;
    }

    if (!(lexer->off & MASK_NO_SHARED)) {
        mask_digest_state(lexer->digests, lexer->re,
                          re_dfa_get(lexer->dfa, state), lexer->core->max_len,
                          &digest);

        if (digest.lo) {
            set = mask_shared_find(lexer->core, &digest);
        }
    }

    if (set) {
        lexer->n_shared++;

    } else {
        LLM_TRY(set_make(lexer, state, level, s, &set));
        lexer->n_made++;

        if (digest.lo) {
            mask_shared_add(lexer->core, &digest, set);
        }
    }

    /* Making it may have moved the entries. */

    own = &lexer->entries[state];
    own->set = set;
    lexer->bytes += set->bytes;

    if (entry_to(lexer, state, own) != 0) {
        own->set = NULL;
        mask_set_release(set);
        return -ENOMEM;
    }

    *entry = *own;

    return 0;
}


/* A state for each group: where the bytes of one of its nodes lead. */
static int
entry_to(mask_lexer_t *lexer, int32_t state, mask_entry_t *entry)
{
    const mask_set_t *set = entry->set;
    const uint8_t    *bytes;
    uint32_t          i, k, len, n;
    int32_t           to;

    if (set->n_groups == 0) {
        return 0;
    }

    entry->to = malloc(set->n_groups * sizeof(int32_t));
    if (entry->to == NULL) {
        return -ENOMEM;
    }

    for (i = 0; i < set->n_groups; i++) {
        n = set->cross[set->first[i]].end;
        bytes = mask_token_bytes(lexer->core, mask_trie_first(lexer->core, n),
                                 &len);
        len = lexer->core->trie.depth[n];

        for (k = 0, to = state; k < len && to > 0; k++) {
            to = re_dfa_next(lexer->dfa, to, bytes[k]);
        }

        if (to <= 0) {
            free(entry->to);
            entry->to = NULL;
            return to < 0 ? to : -EINVAL;
        }

        entry->to[i] = to;
    }

    return 0;
}


/* s's lists are used and end up empty from where they began. */
static int
set_make(mask_lexer_t *lexer, int32_t state, int level, mask_scratch_t *s,
         mask_set_t **set)
{
    const mask_trie_t *trie = &lexer->core->trie;
    mask_set_t        *parent = NULL;
    base_t             base = {0, 0, 0};
    uint32_t           n_groups;
    int                rc;

    *set = NULL;

    if (!(lexer->off & MASK_NO_BASE)) {
        LLM_TRY(find_base(lexer, state, &base));
    }

    if (base.groups == 0 && level == 0 && !(lexer->off & MASK_NO_REF)) {
        LLM_TRY(set_ref(lexer, state, s, set));

        if (*set) {
            return 0;
        }
    }

    s->n_tokens = 0;
    s->n_dels = 0;
    s->n_ends = 0;

    if (base.groups) {
        parent = mask_set_base(lexer->core, base.groups, base.chars);

        if (parent == NULL) {
            return -ENOMEM;
        }

        trie = base.rest ? &lexer->core->rest : trie;
    }

    rc = trie->n > 1 ? walk(lexer, trie, 1, trie->n, state,
                            base.groups ? &base : NULL, s)
                     : 0;
    rc = rc ? rc : mask_lexer_group(lexer, s, 0, &n_groups);

    if (rc != 0) {
        mask_set_release(parent);
        return rc;
    }

    *set = mask_set_new(lexer->core, parent, s, n_groups);

    return *set ? 0 : -ENOMEM;
}


/* Left NULL: no reference, or it would not pay. */
static int
set_ref(mask_lexer_t *lexer, int32_t state, mask_scratch_t *s, mask_set_t **set)
{
    mask_entry_t ref;
    uint32_t     n_groups;
    int32_t      to;
    int          rc;

    rc = find_ref(lexer, state, &to);
    if (rc <= 0) {
        return rc;
    }

    LLM_TRY(entry_make(lexer, to, 1, s, &ref));

    s->n_tokens = 0;
    s->n_dels = 0;
    s->n_ends = 0;

    rc = walk_both(lexer, state, to, s);
    if (rc <= 0) {
        return rc;
    }

    LLM_TRY(ref_ends(lexer, state, to, ref.set, s));
    LLM_TRY(mask_lexer_group(lexer, s, 0, &n_groups));

    mask_set_hold(ref.set);
    *set = mask_set_new(lexer->core, ref.set, s, n_groups);
    lexer->n_ref++;

    return *set ? 0 : -ENOMEM;
}


/* 1: most letters lead to *ref, which is worth it; 0. */
static int
find_ref(mask_lexer_t *lexer, int32_t state, int32_t *ref)
{
    static const char  letters[] = "eatsincdupmorlbfgTSAC";
    const mask_trie_t *trie = &lexer->core->trie;
    int32_t            to[sizeof(letters)], a, b;
    uint32_t           i, k, n, most, best, count;
    base_t             base;

    for (i = 0, most = 0, best = 0; i < sizeof(letters) - 1; i++) {
        to[i] = re_dfa_next(lexer->dfa, state, (uint8_t) letters[i]);
        LLM_TRY(to[i]);

        for (k = 0, n = 0; k <= i; k++) {
            n += to[k] == to[i];
        }

        if (to[i] != RE_DFA_DEAD && n > most) {
            most = n;
            best = i;
        }
    }

    if (most == 0 || to[best] == state) {
        return 0;
    }

    *ref = to[best];
    LLM_TRY(find_base(lexer, *ref, &base));

    if (base.groups == 0) {
        return 0;
    }

    /* What one allows and the other does not is gone through. */

    for (i = 1, count = 0; i < trie->n; i += trie->size[i]) {
        a = re_dfa_next(lexer->dfa, state, trie->byte[i]);
        b = re_dfa_next(lexer->dfa, *ref, trie->byte[i]);
        LLM_TRY(a);
        LLM_TRY(b);

        if (a != b && (a == RE_DFA_DEAD || b == RE_DFA_DEAD)) {
            count += trie->size[i];
        }
    }

    return count < trie->n / REF_SHARE;
}


/* The reference's crossings hold where both are in the same state. */
static int
ref_ends(mask_lexer_t *lexer, int32_t state, int32_t ref, const mask_set_t *set,
         mask_scratch_t *s)
{
    const mask_core_t *core = lexer->core;
    const uint8_t     *bytes;
    uint32_t           i, k, len, last = MASK_NONE;
    int32_t            a = 0, b = 0;

    for (i = 0; i < set->n_cross; i++) {
        if (set->cross[i].end != last) {
            last = set->cross[i].end;
            bytes = mask_token_bytes(core, mask_trie_first(core, last), &len);
            len = core->trie.depth[last];

            for (k = 0, a = state, b = ref; k < len && a != b; k++) {
                a = re_dfa_next(lexer->dfa, a, bytes[k]);
                LLM_TRY(a);
                b = re_dfa_next(lexer->dfa, b, bytes[k]);
                LLM_TRY(b);
            }

            for (; k < len; k++) {
                a = b = re_dfa_next(lexer->dfa, a, bytes[k]);
                LLM_TRY(a);
            }
        }

        if (a != b) {
            continue;
        }

        if (s->n_ends == s->cap_ends) {
            LLM_TRY(mask_grow(&s->ends, &s->cap_ends, s->n_ends,
                              sizeof(mask_end_t)));
        }

        s->ends[s->n_ends++] =
            (mask_end_t){set->cross[i].child, a, set->cross[i].end, 0, 0};
    }

    return 0;
}


int
mask_lexer_walk(mask_lexer_t *lexer, int32_t state, const uint32_t *forest,
                uint32_t n, mask_scratch_t *s)
{
    const mask_trie_t *trie = &lexer->core->trie;
    uint32_t           i;

    for (i = 0; i < n; i++) {
        LLM_TRY(walk(lexer, trie, forest[i], forest[i] + trie->size[forest[i]],
                     state, NULL, s));
    }

    return 0;
}


/*
 * The nodes from node to end, brothers and what is below them, their parent
 * being where the state is.
 */
static int
walk(mask_lexer_t *lexer, const mask_trie_t *trie, uint32_t node, uint32_t end,
     int32_t state, const base_t *base, mask_scratch_t *s)
{
    const re_dfa_state_t *const *table = re_dfa_table(lexer->dfa);
    const re_dfa_state_t        *at;
    unsigned                     beyond = base ? ~base->groups & 0xffff : 0;
    uint32_t                     i, depth, top = trie->depth[node] - 1u;
    uint32_t                     chars = base ? base->chars : 0;
    int32_t                      to;

    s->at[top] = table[state];
    s->at_id[top] = state;
    s->ends_above[top] = 0;

    for (i = node; i < end;) {
        if (base && !(trie->groups[i] & beyond) && trie->chars[i] <= chars) {
            i += trie->size[i];
            continue;
        }

        depth = trie->depth[i];
        at = s->at[depth - 1];
        to = at->next[at->map[trie->byte[i]]];
        lexer->n_nodes++;

        if (to < 0) {
            to = re_dfa_make(lexer->dfa, s->at_id[depth - 1], trie->byte[i]);
            LLM_TRY(to);
            table = re_dfa_table(lexer->dfa);
        }

        if (to == RE_DFA_DEAD) {
            if (s->ends_above[depth - 1]) {
                LLM_TRY(take_ends(s, trie, i, depth, top));
            }

            i += trie->size[i];
            continue;
        }

        if (trie->token[i] != MASK_NONE) {
            LLM_TRY(take_token(lexer->core, trie->token[i], &s->tokens,
                               &s->n_tokens, &s->cap_tokens));
        }

        if (trie->size[i] > 1) {
            s->at[depth] = table[to];
            s->at_id[depth] = to;
            s->path[depth] = i;
            s->told[depth] = MASK_NONE;
            s->is_end[depth] = table[to]->n_accepts > 0;
            s->ends_above[depth] =
                s->ends_above[depth - 1] + s->is_end[depth];
        }

        i++;
    }

    return 0;
}


/*
 * Node i cannot be reached within the lexeme: somebody must go on at each
 * node above it where one ended.
 */
static int
take_ends(mask_scratch_t *s, const mask_trie_t *trie, uint32_t node,
          uint32_t depth, uint32_t top)
{
    uint32_t a, child, end;

    for (a = depth - 1; a > top; a--) {
        if (!s->is_end[a]) {
            continue;
        }

        child = a + 1 == depth ? node : s->path[a + 1];

        if (s->told[a] == child) {
            break;
        }

        s->told[a] = child;

        if (s->n_ends == s->cap_ends) {
            LLM_TRY(mask_grow(&s->ends, &s->cap_ends, s->n_ends,
                              sizeof(mask_end_t)));
        }

        end = s->path[a];

        if (trie->full) {
            child = trie->full[child];
            end = trie->full[end];
        }

        s->ends[s->n_ends++] = (mask_end_t){child, s->at_id[a], end, top, 0};
    }

    return 0;
}


static int
take_token(const mask_core_t *core, uint32_t token, uint32_t **list,
           uint32_t *n, uint32_t *cap)
{
    uint32_t k;

    if (!(token & MASK_SAME)) {
        if (*n == *cap) {
            LLM_TRY(mask_grow(list, cap, *n, sizeof(uint32_t)));
        }

        (*list)[(*n)++] = token;

        return 0;
    }

    for (k = token & ~MASK_SAME; k != MASK_NONE; k = core->same[2 * k + 1]) {
        LLM_TRY(take_token(core, core->same[2 * k], list, n, cap));
    }

    return 0;
}


/*
 * Down where the states differ: s->tokens and s->dels are the differences,
 * s->ends the state's ends there.  1; 0: there is too much of it.
 */
static int
walk_both(mask_lexer_t *lexer, int32_t state, int32_t ref, mask_scratch_t *s)
{
    const mask_trie_t           *trie = &lexer->core->trie;
    const re_dfa_state_t *const *table;
    uint32_t                     i, depth, count = 0;
    int32_t                      a, b;

    s->at_id[0] = state;
    s->ref_id[0] = ref;
    s->ends_above[0] = 0;

    for (i = 1; i < trie->n;) {
        depth = trie->depth[i];
        a = re_dfa_next(lexer->dfa, s->at_id[depth - 1], trie->byte[i]);
        LLM_TRY(a);
        b = re_dfa_next(lexer->dfa, s->ref_id[depth - 1], trie->byte[i]);
        LLM_TRY(b);
        lexer->n_nodes++;

        if (++count > REF_MOST) {
            return 0;
        }

        if (a == b && !s->ends_above[depth - 1]) {
            i += trie->size[i];
            continue;
        }

        if (a == RE_DFA_DEAD && s->ends_above[depth - 1]) {
            LLM_TRY(take_ends(s, trie, i, depth, 0));
        }

        if (a == RE_DFA_DEAD && b == RE_DFA_DEAD) {
            i += trie->size[i];
            continue;
        }

        if (trie->token[i] != MASK_NONE) {
            if (a != RE_DFA_DEAD && b == RE_DFA_DEAD) {
                LLM_TRY(take_token(lexer->core, trie->token[i], &s->tokens,
                                   &s->n_tokens, &s->cap_tokens));
            } else if (a == RE_DFA_DEAD) {
                LLM_TRY(take_token(lexer->core, trie->token[i], &s->dels,
                                   &s->n_dels, &s->cap_dels));
            }
        }

        if (trie->size[i] > 1) {
            table = re_dfa_table(lexer->dfa);
            s->at_id[depth] = a;
            s->ref_id[depth] = b;
            s->path[depth] = i;
            s->told[depth] = MASK_NONE;

            /* Where both are the same, the reference's ends hold. */

            s->is_end[depth] = a != b && table[a]->n_accepts > 0;
            s->ends_above[depth] =
                s->ends_above[depth - 1] + s->is_end[depth];
        }

        i++;
    }

    return 1;
}


int
mask_lexer_group(mask_lexer_t *lexer, mask_scratch_t *s, uint32_t from,
                 uint32_t *n_groups)
{
    const re_dfa_state_t *const *table = re_dfa_table(lexer->dfa);
    int32_t                      known[64], last = RE_DFA_DEAD, to;
    uint32_t                     i, k, n = 0, group = 0;

    for (i = from; i < s->n_ends; i++) {
        to = s->ends[i].to;

        if (to != last || (lexer->off & MASK_NO_GROUP)) {
            last = to;

            for (k = 0; k < n && k < llm_countof(known)
                        && !same_ends(table[known[k]], table[to]);
                 k++) { /* void */
            }

            /* Where there are too many, some are told apart for nothing. */

            if (k == llm_countof(known) || (lexer->off & MASK_NO_GROUP)) {
                k = n;
            }

            if (k == n) {
                if (n < llm_countof(known)) {
                    known[n] = to;
                }

                n++;
            }

            group = k;
        }

        s->ends[i].group = group;
    }

    *n_groups = n;

    return 0;
}


static int
same_ends(const re_dfa_state_t *a, const re_dfa_state_t *b)
{
    return a == b
           || (a->n_accepts == b->n_accepts
               && memcmp(a->accepts, b->accepts,
                         a->n_accepts * sizeof(uint32_t))
                      == 0);
}


/*
 * Groups whose every character leads from the state back to it, or to one
 * that differs in a count of characters only.
 */
static int
find_base(mask_lexer_t *lexer, int32_t state, base_t *base)
{
    static const char samples[] = "eE5 ";
    unsigned          groups, bit;
    uint32_t          max = RE_INF;
    int32_t           to, next;
    re_t              tail = RE_NONE;
    size_t            i;
    uint8_t           b;
    unsigned          of[128];
    uint32_t          used;
    int               rc;

    *base = (base_t){0, 0, 0};

    for (i = 0, to = RE_DFA_DEAD; samples[i]; i++) {
        to = re_dfa_next(lexer->dfa, state, (uint8_t) samples[i]);
        LLM_TRY(to);

        if (to == state) {
            break;
        }

        if (to != RE_DFA_DEAD && base_counts(lexer, state, to, &max, &tail)) {
            break;
        }
    }

    if (samples[i] == '\0') {
        return 0;
    }

    groups = 0xffff & ~(unsigned) MASK_G_PART;

    for (b = 0; b < 128; b++) {
        of[b] = mask_group_of(&b, 1, &used);

        if (!(groups & of[b])) {
            continue;
        }

        next = re_dfa_next(lexer->dfa, state, b);
        LLM_TRY(next);

        if (next != to) {
            groups &= ~of[b];
        }
    }

    for (bit = MASK_G_CHAR; bit <= MASK_G_ODD; bit <<= 1) {
        rc = base_chars(lexer, state, to, bit);
        LLM_TRY(rc);

        if (rc == 0) {
            groups &= ~bit;
        }
    }

    if (!(groups & WORTH)) {
        return 0;
    }

    base->groups = groups;
    base->chars = max >= lexer->core->max_len ? MASK_CHARS
                  : max < MASK_CHARS          ? max
                                              : MASK_CHARS - 1;
    base->rest = (groups & MASK_G_PLAIN) == MASK_G_PLAIN
                 && (base->chars == MASK_CHARS
                     || (max < MASK_CHARS && starts_with_quote(lexer->re, tail)
                         && re_dfa_get(lexer->dfa, state)->n == 1));

    return 0;
}


/* 1: `to` is the state with one character less to come. */
static int
base_counts(mask_lexer_t *lexer, int32_t state, int32_t to, uint32_t *max,
            re_t *tail)
{
    const re_dfa_state_t *a = re_dfa_get(lexer->dfa, state);
    const re_dfa_state_t *b = re_dfa_get(lexer->dfa, to);
    uint32_t              i, k;

    for (i = 0, k = 0; i < a->n; i++) {
        while (k < b->n && b->items[k].tag < a->items[i].tag) {
            k++;
        }

        if (k < b->n && b->items[k].tag == a->items[i].tag
            && same_count(lexer->re, a->items[i].re, b->items[k].re, max,
                          tail)) {
            return 1;
        }
    }

    return 0;
}


static int
same_count(const re_set_t *set, re_t a, re_t b, uint32_t *max, re_t *tail)
{
    counted_t x, y;
    re_view_t v;

    if (!counted(set, a, &x)) {
        return 0;
    }

    *max = x.max;
    *tail = x.rest == RE_EMPTY ? x.tail : RE_NONE;

    /* One less, which may be one (the thing itself) or none. */

    if (counted(set, b, &y) && y.quoted == x.quoted && y.what == x.what
        && y.rest == x.rest && y.tail == x.tail
        && y.max == (x.max == RE_INF ? RE_INF : x.max - 1)) {
        return 1;
    }

    if (x.max == 1) {
        return x.rest == RE_EMPTY && b == x.tail;
    }

    if (x.max != 2 || x.rest != RE_EMPTY) {
        return 0;
    }

    re_view(set, b, &v);

    if (x.tail != RE_EMPTY) {
        if (v.kind != RE_KIND_CONCAT || v.b != x.tail) {
            return 0;
        }

        b = v.a;
        re_view(set, b, &v);
    }

    return x.quoted ? v.kind == RE_KIND_QUOTED && v.min == 0 && v.a == x.what
                    : b == x.what;
}


static int
counted(const re_set_t *set, re_t re, counted_t *c)
{
    re_view_t v;

    *c = (counted_t){0, RE_NONE, RE_EMPTY, RE_EMPTY, 0};
    re_view(set, re, &v);

    if (v.kind == RE_KIND_CONCAT) {
        c->tail = v.b;
        re = v.a;
        re_view(set, re, &v);
    }

    if (v.kind == RE_KIND_QUOTED && v.min == 0) {
        c->quoted = 1;
        re_view(set, v.a, &v);

        if (v.kind == RE_KIND_CONCAT) {
            c->rest = v.b;
            re_view(set, v.a, &v);
        }
    }

    c->what = v.a;
    c->max = v.max;

    return v.kind == RE_KIND_REPEAT;
}


/* 1: every character of the group leads from state to `to`. */
static int
base_chars(mask_lexer_t *lexer, int32_t state, int32_t to, unsigned group)
{
    size_t   i;
    unsigned lead;
    int32_t  next, last;
    int      rc;

    for (i = 0; i < llm_countof(blocks); i++) {
        if (blocks[i].group != group) {
            continue;
        }

        for (lead = blocks[i].lo, last = RE_DFA_DEAD; lead <= blocks[i].hi;
             lead++) {
            next = re_dfa_next(lexer->dfa, state, (uint8_t) lead);
            LLM_TRY(next);

            if (next == RE_DFA_DEAD) {
                return 0;
            }

            if (next == last) {
                continue;
            }

            rc = all_lead(lexer, next, blocks[i].lo2, blocks[i].hi2,
                          blocks[i].left, to);
            if (rc <= 0) {
                return rc;
            }

            last = next;
        }
    }

    return 1;
}


static int
all_lead(mask_lexer_t *lexer, int32_t state, unsigned lo, unsigned hi, int left,
         int32_t to)
{
    int32_t  next, last = RE_DFA_DEAD;
    unsigned b;
    int      rc;

    for (b = lo; b <= hi; b++) {
        next = re_dfa_next(lexer->dfa, state, (uint8_t) b);
        LLM_TRY(next);

        if (next == RE_DFA_DEAD || (left == 0 && next != to)) {
            return 0;
        }

        if (left > 0 && next != last) {
            rc = all_lead(lexer, next, 0x80, 0xbf, left - 1, to);
            if (rc <= 0) {
                return rc;
            }

            last = next;
        }
    }

    return 1;
}


static int
starts_with_quote(const re_set_t *set, re_t tail)
{
    re_view_t v;

    re_view(set, tail, &v);

    return v.kind == RE_KIND_RUN && v.bytes[0] == '"';
}


static int
room_for_entry(mask_lexer_t *lexer, int32_t state)
{
    uint32_t cap = lexer->n_entries, want = re_dfa_count(lexer->dfa);
    void    *p;

    if ((uint32_t) state < cap) {
        return 0;
    }

    want = want < cap * 2 ? cap * 2 : want < 64 ? 64 : want;

    p = realloc(lexer->entries, want * sizeof(mask_entry_t));
    if (p == NULL) {
        return -ENOMEM;
    }

    lexer->entries = p;
    memset(lexer->entries + cap, 0, (want - cap) * sizeof(mask_entry_t));
    lexer->bytes += (want - cap) * sizeof(mask_entry_t);
    lexer->n_entries = want;

    return 0;
}
