/*
 * The values in Lark's grammars (gr_lark.h): literals, ranges, regular
 * expressions, tokens, schemas, the library.  Whoever compiles is the only
 * thread here.
 */

#include <errno.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/gr_lark.h"
#include "engine/grammar/js_value.h"
#include "engine/grammar/re_ecma.h"

static int literal(lark_t *lark, gs_node_t **node);
static int text(lark_t *lark, buf_t *out);
static int character(lark_t *lark, uint32_t *cp);
static int low_surrogate(lark_t *lark, size_t at, uint32_t *cp);
static int caseless(lark_t *lark, size_t at, const buf_t *s, re_t *re);
static int range(lark_t *lark, size_t at, const buf_t *lo, gs_node_t **node);
static int regexp(lark_t *lark, gs_node_t **node);
static int special(lark_t *lark, gs_node_t **node);
static int percent(lark_t *lark, gs_node_t **node);
static int schema(lark_t *lark, size_t at, gs_node_t **node);
static int schema_end(const gs_t *gs, size_t *end);

/*
 * Lark's grammars/common.lark as expressions; those that are lazy there end
 * at the first end here.
 */
static const struct {
    const char *name, *pattern;
} common[] = {
    {"DIGIT", "[0-9]"},
    {"HEXDIGIT", "[a-fA-F0-9]"},
    {"INT", "[0-9]+"},
    {"SIGNED_INT", "[+-]?[0-9]+"},
    {"DECIMAL", "[0-9]+\\.[0-9]*|\\.[0-9]+"},
    {"_EXP", "[eE][+-]?[0-9]+"},
    {"FLOAT", "[0-9]+[eE][+-]?[0-9]+|(?:[0-9]+\\.[0-9]*|\\.[0-9]+)"
              "(?:[eE][+-]?[0-9]+)?"},
    {"SIGNED_FLOAT", "[+-]?(?:[0-9]+[eE][+-]?[0-9]+|"
                     "(?:[0-9]+\\.[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"},
    {"NUMBER", "(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?"},
    {"SIGNED_NUMBER",
     "[+-]?(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?"},
    {"ESCAPED_STRING", "\"(?:[^\"\\\\\\n]|\\\\.)*\""},
    {"LCASE_LETTER", "[a-z]"},
    {"UCASE_LETTER", "[A-Z]"},
    {"LETTER", "[A-Za-z]"},
    {"WORD", "[A-Za-z]+"},
    {"CNAME", "[_A-Za-z][_A-Za-z0-9]*"},
    {"WS_INLINE", "[ \\t]+"},
    {"WS", "[ \\t\\f\\r\\n]+"},
    {"CR", "\\r"},
    {"LF", "\\n"},
    {"NEWLINE", "(?:\\r?\\n)+"},
    {"SH_COMMENT", "#[^\\n]*"},
    {"CPP_COMMENT", "//[^\\n]*"},
    {"C_COMMENT", "/\\*[^*]*\\*+(?:[^/*][^*]*\\*+)*/"},
    {"SQL_COMMENT", "--[^\\n]*"},
};


int
lark_value(lark_t *lark, gs_node_t **node)
{
    gs_t *gs = &lark->gs;
    int   rc;

    switch (gs_peek(gs, 0)) {
    case '"':
        rc = literal(lark, node);
        break;

    case '/':
        rc = regexp(lark, node);
        break;

    case '<':
        rc = special(lark, node);
        break;

    case '%':
        rc = percent(lark, node);
        break;

    case '@':
        return gs_fail(gs, -ENOTSUP, gs->at, "references to other grammars");

    default:
        return 0;
    }

    return rc < 0 ? rc : 1;
}


static int
literal(lark_t *lark, gs_node_t **node)
{
    gs_t  *gs = &lark->gs;
    size_t at = gs->at;
    buf_t  s = {0};
    re_t   re;
    int    rc;

    rc = text(lark, &s);

    if (rc == 0 && gs_looking_at(gs, "..")) {
        rc = range(lark, at, &s, node);

    } else if (rc == 0 && gs_peek(gs, 0) == 'i') {
        gs->at++;
        rc = caseless(lark, at, &s, &re);
        rc = rc ? rc : gs_leaf(gs, re, node);

    } else if (rc == 0) {
        rc = gs_leaf(gs, re_run(gs->set, s.len ? s.data : "", s.len, RE_EMPTY),
                     node);
    }

    buf_free(&s);

    return rc;
}


/* "..." with its escapes undone. */
static int
text(lark_t *lark, buf_t *out)
{
    gs_t    *gs = &lark->gs;
    size_t   at = gs->at++, n;
    uint32_t cp;
    char     s[4];

    while (gs_peek(gs, 0) != '"') {
        if (gs_peek(gs, 0) < 0 || gs_peek(gs, 0) == '\n') {
            return gs_fail(gs, -EINVAL, at, "an unclosed literal");
        }

        LLM_TRY(character(lark, &cp));
        n = js_utf8_put(s, cp);
        buf_add(out, s, n);
    }

    gs->at++;

    return out->failed ? gs_fail(gs, -ENOMEM, at, "no memory") : 0;
}


static int
character(lark_t *lark, uint32_t *cp)
{
    static const char escapes[] = "n\nt\tr\rf\f\\\\\"\"";
    gs_t             *gs = &lark->gs;
    size_t            at = gs->at;
    int               c, i;

    if (gs_peek(gs, 0) != '\\') {
        return gs_code_point(gs, cp);
    }

    c = gs_peek(gs, 1);

    for (i = 0; escapes[i]; i += 2) {
        if (c == escapes[i]) {
            *cp = (uint8_t) escapes[i + 1];
            gs->at += 2;
            return 0;
        }
    }

    if (c == 'x' || c == 'u' || c == 'U') {
        gs->at += 2;
        LLM_TRY(gs_hex(gs, c == 'x' ? 2 : c == 'u' ? 4 : 8, cp));
        return low_surrogate(lark, at, cp);
    }

    /* To Lark a backslash and the letter, to llguidance what JSON says. */

    return gs_fail(gs, c == 'b' || c == '/' ? -ENOTSUP : -EINVAL, at,
                   c == 'b' || c == '/' ? "an escape of several meanings"
                                        : "unknown escape");
}


/* The second half of a pair, if there is a first. */
static int
low_surrogate(lark_t *lark, size_t at, uint32_t *cp)
{
    gs_t    *gs = &lark->gs;
    uint32_t low;

    if (*cp < 0xd800 || *cp > 0xdfff) {
        return 0;
    }

    if (*cp < 0xdc00 && gs_looking_at(gs, "\\u")) {
        gs->at += 2;
        LLM_TRY(gs_hex(gs, 4, &low));

        if (low >= 0xdc00 && low <= 0xdfff) {
            *cp = 0x10000 + ((*cp - 0xd800) << 10) + low - 0xdc00;
            return 0;
        }
    }

    return gs_fail(gs, -EINVAL, at, "half a surrogate pair");
}


static int
caseless(lark_t *lark, size_t at, const buf_t *s, re_t *re)
{
    gs_t    *gs = &lark->gs;
    buf_t    pattern = {0};
    uint32_t cp;
    size_t   i;
    int      rc;

    for (i = 0; i < s->len;) {
        i += js_utf8(s->data + i, s->data + s->len, &cp);
        buf_fmt(&pattern, "\\u{%x}", cp);
    }

    rc = pattern.failed
             ? gs_fail(gs, -ENOMEM, at, "no memory")
             : lark_pattern(lark, at, pattern.len ? pattern.data : "",
                            pattern.len, ECMA_I, re);
    buf_free(&pattern);

    return rc;
}


/* "a".."z", the first of which has been read. */
static int
range(lark_t *lark, size_t at, const buf_t *lo, gs_node_t **node)
{
    gs_t    *gs = &lark->gs;
    buf_t    hi = {0};
    uint32_t from = 0, to = 0;
    int      rc;

    gs->at += 2;
    rc = gs_peek(gs, 0) == '"'
             ? text(lark, &hi)
             : gs_fail(gs, -EINVAL, gs->at, "the end of a range is wanted");

    if (rc == 0
        && (lo->len == 0 || hi.len == 0
            || js_utf8(lo->data, lo->data + lo->len, &from) != lo->len
            || js_utf8(hi.data, hi.data + hi.len, &to) != hi.len)) {
        rc = gs_fail(gs, -EINVAL, at, "a range from or to no single character");
    }

    if (rc == 0 && from > to) {
        rc = gs_fail(gs, -EINVAL, at, "range out of order");
    }

    if (rc == 0) {
        rc = gs_leaf(gs, re_range(gs->set, from, to), node);
    }

    buf_free(&hi);

    return rc;
}


static int
regexp(lark_t *lark, gs_node_t **node)
{
    static const struct {
        char     letter;
        unsigned how;
    } flags[] = {
        {'i', ECMA_I}, {'m', ECMA_M}, {'s', ECMA_S}, {'x', ECMA_X}, {'u', 0}};
    gs_t    *gs = &lark->gs;
    size_t   at = gs->at++, end, i;
    unsigned how = 0, lines = 0;
    re_t     re;
    int      c;

    for (; (c = gs_peek(gs, 0)) != '/'; gs->at++) {
        if (c == '\\' && gs_peek(gs, 1) >= 0) {
            gs->at++;
        }

        if (c < 0) {
            return gs_fail(gs, -EINVAL, at, "an unclosed regular expression");
        }

        lines |= gs_peek(gs, 0) == '\n';
    }

    end = gs->at++;

    for (;; gs->at++) {
        c = gs_peek(gs, 0);

        for (i = 0; i < llm_countof(flags) && c != flags[i].letter; i++) {
            /* void */
        }

        if (i == llm_countof(flags)) {
            break;
        }

        how |= flags[i].how;
    }

    if (c == 'l') {
        return gs_fail(gs, -ENOTSUP, gs->at, "the flag \"l\"");
    }

    if (lines && !(how & ECMA_X)) {
        return gs_fail(gs, -EINVAL, at,
                       "a line's end in a regular expression without \"x\"");
    }

    LLM_TRY(lark_pattern(lark, at, gs->s + at + 1, end - at - 1, how, &re));

    return gs_leaf(gs, re, node);
}


int
lark_pattern(lark_t *lark, size_t at, const char *s, size_t len, unsigned how,
             re_t *re)
{
    char err[200] = "";
    int  rc;

    rc = re_ecma_as(lark->gs.set, s, len, how | ECMA_PYTHON, re, err,
                    sizeof(err));

    return rc ? gs_fail(&lark->gs, rc, at, "%s", err) : 0;
}


const char *
lark_common(str_t name)
{
    size_t i;

    for (i = 0; i < llm_countof(common); i++) {
        if (str_eq(name, str_of(common[i].name))) {
            return common[i].pattern;
        }
    }

    return NULL;
}


/* <name>: a control token by its text. */
static int
special(lark_t *lark, gs_node_t **node)
{
    gs_t  *gs = &lark->gs;
    size_t at = gs->at;
    int    c;

    if (lark->terminal) {
        return gs_fail(gs, -EINVAL, at, "a token in a terminal");
    }

    if (gs_peek(gs, 1) == '[') {
        return gs_fail(gs, -ENOTSUP, at, "a token by its number");
    }

    do {
        gs->at++;
        c = gs_peek(gs, 0);
    } while (c > ' ' && c != '>' && c != '<');

    if (c != '>' || gs->at == at + 1) {
        return gs_fail(gs, -EINVAL, at, "a token's name in \"<\" and \">\"");
    }

    gs->at++;
    LLM_TRY(gs_node(gs, GS_NODE, node));
    (*node)->node = gr_special(gs->gr, gs->s + at, gs->at - at);

    return 0;
}


static int
percent(lark_t *lark, gs_node_t **node)
{
    static const char *const refused[] = {"%regex", "%lark", "%if"};
    gs_t                    *gs = &lark->gs;
    size_t                   at = gs->at, i;

    for (i = 0; i < llm_countof(refused); i++) {
        if (gs_looking_at(gs, refused[i])) {
            return gs_fail(gs, -ENOTSUP, at, "%s", refused[i]);
        }
    }

    if (!gs_looking_at(gs, "%json")) {
        return gs_fail(gs, -EINVAL, at, "unexpected '%%'");
    }

    if (lark->terminal) {
        return gs_fail(gs, -EINVAL, at, "%%json in a terminal");
    }

    gs->at += strlen("%json");

    return schema(lark, at, node);
}


static int
schema(lark_t *lark, size_t at, gs_node_t **node)
{
    gs_t  *gs = &lark->gs;
    char   err[200] = "";
    size_t end;
    int    rc;

    lark_space(lark, 1);

    if (!schema_end(gs, &end)) {
        return gs_fail(gs, -EINVAL, at, "%%json without an object");
    }

    LLM_TRY(gs_node(gs, GS_NODE, node));
    rc = gr_json_schema(gs->gr, gs->s + gs->at, end - gs->at, NULL,
                        &(*node)->node, err, sizeof(err));
    gs->at = end;

    return rc ? gs_fail(gs, rc, at, "%%json: %s", err) : 0;
}


/* Where the braces close that open here; what is within is read later. */
static int
schema_end(const gs_t *gs, size_t *end)
{
    size_t at = gs->at;
    int    depth = 0, quoted = 0;

    for (; at < gs->len; at++) {
        if (quoted) {
            quoted = gs->s[at] != '"';
            at += gs->s[at] == '\\';
            continue;
        }

        quoted = gs->s[at] == '"';
        depth += (gs->s[at] == '{') - (gs->s[at] == '}');

        if (depth <= 0) {
            *end = at + 1;
            return gs->s[gs->at] == '{';
        }
    }

    return 0;
}


void
lark_space(lark_t *lark, int lines)
{
    gs_t *gs = &lark->gs;
    int   c;

    for (;; gs->at++) {
        c = gs_peek(gs, 0);

        if (c == '#' || gs_looking_at(gs, "//")) {
            for (; c >= 0 && c != '\n'; c = gs_peek(gs, 0)) {
                gs->at++;
            }
        }

        if (c == '\\' && gs_looking_at(gs, "\\\n")) {
            gs->at++;
            continue;
        }

        if (c != ' ' && c != '\t' && c != '\f'
            && !(lines && (c == '\n' || c == '\r'))) {
            return;
        }
    }
}
