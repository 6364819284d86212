/*
 * What a state of a lexer makes of the vocabulary (mask_priv.h): walks of the
 * trie.  Under the grammar's lock.
 *
 * A walk of 262,144 tokens takes a millisecond, so most is not walked:
 *
 *   - a state that allows the characters of some groups in any order allows
 *     all tokens of these groups at once: the BASE (mask_base.c).  What is
 *     left is a small trie, or the subtrees that have something else in them;
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

/* What a grammar keeps: then it begins anew. */
#define ENTRIES_BYTES ((size_t) 32 << 20)

static int entry_make(mask_lexer_t *lexer, int32_t state, int level,
                      mask_scratch_t *s, mask_entry_t *entry);
static int entry_to(mask_lexer_t *lexer, int32_t state, mask_entry_t *entry);
static int set_make(mask_lexer_t *lexer, int32_t state, int level,
                    mask_scratch_t *s, mask_set_t **set);
static int set_ref(mask_lexer_t *lexer, int32_t state, mask_scratch_t *s,
                   mask_set_t **set);
static int find_ref(mask_lexer_t *lexer, int32_t state, int32_t *ref);
static int ref_ends(mask_lexer_t *lexer, int32_t state, int32_t ref,
                    const mask_set_t *set, mask_scratch_t *s);
static int walk(mask_lexer_t *lexer, const mask_trie_t *trie, uint32_t node,
                uint32_t end, int32_t state, const mask_base_t *base,
                mask_scratch_t *s);
static int walk_both(mask_lexer_t *lexer, int32_t state, int32_t ref,
                     mask_scratch_t *s);
static inline void step_to(mask_step_t *step, const re_dfa_state_t *at,
                           int32_t state, uint32_t node);
static int         room_for_tokens(const mask_core_t *core, uint32_t nodes,
                                   mask_scratch_t *s);
static int take_ends(mask_scratch_t *s, const mask_trie_t *trie, uint32_t node,
                     uint32_t depth, uint32_t top);
static int take_token(const mask_core_t *core, uint32_t token, uint32_t **list,
                      uint32_t *n, uint32_t *cap);
static int same_ends(const re_dfa_state_t *a, const re_dfa_state_t *b);
static int room_for_entry(mask_lexer_t *lexer, int32_t state);


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
    lexer->bytes = SIZE_MAX;
    mask_lexer_trim(lexer);
    free(lexer->entries);
    free(lexer->seen);
    mask_digests_free(lexer->digests);
}


void
mask_lexer_trim(mask_lexer_t *lexer)
{
    uint32_t i;

    if (lexer->bytes <= ENTRIES_BYTES) {
        return;
    }

    for (i = 0; i < lexer->n_entries; i++) {
        mask_set_release(lexer->entries[i].set);
        free(lexer->entries[i].to);
    }

    if (lexer->n_entries) {
        memset(lexer->entries, 0, lexer->n_entries * sizeof(mask_entry_t));
    }

    lexer->bytes = lexer->n_entries * sizeof(mask_entry_t);
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
    int           rc;

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

    rc = entry_to(lexer, state, own);

    if (rc != 0) {
        own->set = NULL;
        mask_set_release(set);
        return rc;
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
        len = lexer->core->trie.node[n].depth;

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
    mask_base_t        base = {0, 0, 0, 0}, other;
    uint32_t           n_groups;
    int                rc;

    *set = NULL;

    if (!(lexer->off & MASK_NO_BASE)) {
        LLM_TRY(mask_base_find(lexer, state, &base));
    }

    if (!base.whole && level == 0 && !(lexer->off & MASK_NO_REF)) {
        LLM_TRY(set_ref(lexer, state, s, set));

        if (*set) {
            return 0;
        }
    }

    if (!base.whole && !(lexer->off & MASK_NO_BASE)) {
        LLM_TRY(mask_base_search(lexer, state, &other));

        if (mask_base_worth(&other) > mask_base_worth(&base)) {
            base = other;
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
    mask_base_t        base;

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
    LLM_TRY(mask_base_find(lexer, *ref, &base));

    if (base.groups == 0) {
        return 0;
    }

    /* What one allows and the other does not is gone through. */

    for (i = 1, count = 0; i < trie->n; i += trie->node[i].size) {
        a = re_dfa_next(lexer->dfa, state, trie->node[i].byte);
        b = re_dfa_next(lexer->dfa, *ref, trie->node[i].byte);
        LLM_TRY(a);
        LLM_TRY(b);

        if (a != b && (a == RE_DFA_DEAD || b == RE_DFA_DEAD)) {
            count += trie->node[i].size;
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
            len = core->trie.node[last].depth;

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
        LLM_TRY(walk(lexer, trie, forest[i],
                     forest[i] + trie->node[forest[i]].size, state, NULL, s));
    }

    return 0;
}


/*
 * The nodes from node to end, brothers and what is below them, their parent
 * being where the state is.
 */
static int
walk(mask_lexer_t *lexer, const mask_trie_t *trie, uint32_t node, uint32_t end,
     int32_t state, const mask_base_t *base, mask_scratch_t *s)
{
    const mask_node_t    *n = trie->node + node, *last = trie->node + end;
    const re_dfa_state_t *at;
    unsigned              beyond = base ? ~base->groups & 0xffff : 0x10000;
    uint32_t              top = n->depth - 1u, chars = base ? base->chars : 0;
    mask_step_t          *step;
    int32_t               to;

    LLM_TRY(room_for_tokens(lexer->core, end - node, s));
    step_to(&s->path[top], re_dfa_get(lexer->dfa, state), state, 0);
    s->path[top].above = 0;

    for (; n < last; n++) {
        if (!(n->groups & beyond) && n->chars <= chars) {
            n += n->size - 1;
            continue;
        }

        step = &s->path[n->depth];
        to = step[-1].next[step[-1].map[n->byte]];
        lexer->n_nodes++;

        if (to <= RE_DFA_DEAD) {
            to = re_dfa_next(lexer->dfa, step[-1].state, n->byte);
            LLM_TRY(to);

            if (to == RE_DFA_DEAD) {
                if (step[-1].above) {
                    LLM_TRY(take_ends(s, trie, (uint32_t) (n - trie->node),
                                      n->depth, top));
                }

                n += n->size - 1;
                continue;
            }
        }

        if (!(n->token & MASK_SAME)) {
            s->tokens[s->n_tokens++] = n->token;
        } else if (n->token != MASK_NONE) {
            LLM_TRY(take_token(lexer->core, n->token, &s->tokens, &s->n_tokens,
                               &s->cap_tokens));
        }

        if (n->size > 1) {
            at = re_dfa_get(lexer->dfa, to);
            step_to(step, at, to, (uint32_t) (n - trie->node));
            step->is_end = at->n_accepts > 0;
            step->above = (uint16_t) (step[-1].above + step->is_end);
        }
    }

    return 0;
}


static inline void
step_to(mask_step_t *step, const re_dfa_state_t *at, int32_t state,
        uint32_t node)
{
    step->map = at->map;
    step->next = at->next;
    step->state = state;
    step->node = node;
    step->told = MASK_NONE;
}


static int
room_for_tokens(const mask_core_t *core, uint32_t nodes, mask_scratch_t *s)
{
    uint64_t most = (uint64_t) nodes + core->n_same;

    most = s->n_tokens + (most < core->n_tokens ? most : core->n_tokens);

    if (most < s->cap_tokens) {
        return 0;
    }

    return most < UINT32_MAX / 4 ? mask_grow(&s->tokens, &s->cap_tokens,
                                             (uint32_t) most, sizeof(uint32_t))
                                 : -ENOMEM;
}


/*
 * Node i cannot be reached within the lexeme: somebody must go on at each
 * node above it where one ended.
 */
static int
take_ends(mask_scratch_t *s, const mask_trie_t *trie, uint32_t node,
          uint32_t depth, uint32_t top)
{
    mask_step_t *step;
    uint32_t     a, child, end;

    for (a = depth - 1; a > top; a--) {
        step = &s->path[a];

        if (!step->is_end) {
            continue;
        }

        child = a + 1 == depth ? node : step[1].node;

        if (step->told == child) {
            break;
        }

        step->told = child;

        if (s->n_ends == s->cap_ends) {
            LLM_TRY(mask_grow(&s->ends, &s->cap_ends, s->n_ends,
                              sizeof(mask_end_t)));
        }

        end = step->node;

        if (trie->full) {
            child = trie->full[child];
            end = trie->full[end];
        }

        s->ends[s->n_ends++] = (mask_end_t){child, step->state, end, top, 0};
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
    const mask_trie_t *trie = &lexer->core->trie;
    const mask_node_t *n = trie->node + 1, *last = trie->node + trie->n;
    mask_step_t       *step;
    uint32_t           count = 0;
    int32_t            a, b;

    s->path[0].state = state;
    s->path[0].ref = ref;
    s->path[0].above = 0;

    for (; n < last; n++) {
        step = &s->path[n->depth];
        a = re_dfa_next(lexer->dfa, step[-1].state, n->byte);
        LLM_TRY(a);
        b = re_dfa_next(lexer->dfa, step[-1].ref, n->byte);
        LLM_TRY(b);
        lexer->n_nodes++;

        if (++count > REF_MOST) {
            return 0;
        }

        if (a == RE_DFA_DEAD && step[-1].above) {
            LLM_TRY(
                take_ends(s, trie, (uint32_t) (n - trie->node), n->depth, 0));
        }

        if (a == b && (a == RE_DFA_DEAD || !step[-1].above)) {
            n += n->size - 1;
            continue;
        }

        if (n->token != MASK_NONE && b == RE_DFA_DEAD) {
            LLM_TRY(take_token(lexer->core, n->token, &s->tokens, &s->n_tokens,
                               &s->cap_tokens));
        } else if (n->token != MASK_NONE && a == RE_DFA_DEAD) {
            LLM_TRY(take_token(lexer->core, n->token, &s->dels, &s->n_dels,
                               &s->cap_dels));
        }

        /* Where both are the same, the reference's ends hold. */

        step_to(step, re_dfa_get(lexer->dfa, a), a,
                (uint32_t) (n - trie->node));
        step->ref = b;
        step->is_end = a != b && re_dfa_get(lexer->dfa, a)->n_accepts > 0;
        step->above = (uint16_t) (step[-1].above + step->is_end);
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


int
mask_lexer_stamp(mask_lexer_t *lexer)
{
    if (++lexer->stamp == 0) {
        memset(lexer->seen, 0, lexer->cap_seen * sizeof(uint32_t));
        lexer->stamp = 1;
    }

    return 0;
}


int
mask_lexer_seen(mask_lexer_t *lexer, int32_t state)
{
    uint32_t cap = lexer->cap_seen;

    if ((uint32_t) state < cap) {
        return 0;
    }

    LLM_TRY(mask_grow(&lexer->seen, &lexer->cap_seen, (uint32_t) state,
                      sizeof(uint32_t)));
    memset(lexer->seen + cap, 0, (lexer->cap_seen - cap) * sizeof(uint32_t));

    return 0;
}
