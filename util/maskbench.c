/*
 * llm-maskbench: grammars of JSON Schemas against instances that are known to
 * be valid or not, token by token; and what masks cost.
 *
 *     llm-maskbench [--json] [--verbose] [--order free|declared] [--bytes]
 *                   [--limit N] [--dump FILE] --model FILE.gguf FILE.jsonl.gz...
 *     llm-maskbench [--json] [--verbose] --model FILE.gguf --suite DIR
 *
 * FILE.jsonl.gz is JSONSchemaBench's form: a line a schema, {"id", "group",
 * "schema", "tests": [{"valid", "data"}]}.  DIR is the JSON Schema Test Suite.
 *
 * A schema PASSES if it compiles, each valid instance (printed compactly,
 * tokenised as the model's tokenizer does) is taken token by token, each
 * token being in the mask before it is committed and the end being allowed
 * after the last, and each invalid one is refused somewhere on the way.  One
 * that is called unsatisfiable passes if it has no valid instance.
 *
 * Every mask is timed (grammar_state_mask() of one sequence on one thread, the
 * one after the last token too), and every compilation, from the schema's
 * text to the state before the first mask.  Nothing is warmed up: a schema's
 * lexer begins anew, only what the vocabulary's cache holds is shared.
 *
 * --dump writes what util/maskbench-peers gives to other engines, JSON lines:
 * {"vocab": [hexadecimal bytes of each token, null: none], "eos": [ids]}, then
 * {"id", "group", "schema": its text, "tests": [{"valid", "tokens": [ids]}]}.
 */

#include <dirent.h>
#include <zlib.h>
#include "engine/grammar/gr_front.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/js_schema.h"
#include "engine/serve/vocab.h"
#include "util/maskbench_report.h"
#include "util/tool_model.h"

#define MB_LINE    (64u << 20)
#define MB_GROUPS  256
#define MB_REMOTES 512

typedef struct {
    const char       *model;
    const char       *suite;
    FILE             *dump;
    int               json, verbose, bytes;
    uint32_t          limit;
    vocab_t           vocab;
    grammar_vocab_t  *tokens;
    text_scratch_t   *scratch;
    uint32_t         *mask;
    int32_t          *ids;
    size_t            cap_ids;
    mb_group_t        groups[MB_GROUPS];
    uint32_t          n_groups;
    uint32_t          done;
    gr_json_options_t options;
    js_remote_t       remotes[MB_REMOTES];
    uint32_t          n_remotes;
} mb_t;

/* What came of an instance, or of a schema. */
enum { MB_NO = 0, MB_YES, MB_FAILED };

static void        mb_options(mb_t *b, int argc, char **argv);
static void        mb_usage(void) __attribute__((noreturn));
static void        mb_vocab(mb_t *b);
static void        mb_file(mb_t *b, const char *path);
static void        mb_line(mb_t *b, const char *line, size_t len);
static mb_group_t *mb_group(mb_t *b, const char *name, size_t len);
static int mb_schema(mb_t *b, mb_group_t *g, str_t id, const js_value_t *schema,
                     const js_value_t *tests, int single);
static int mb_compile(mb_t *b, mb_group_t *g, const js_value_t *schema,
                      grammar_t **grammar, grammar_state_t **state, char *err,
                      size_t err_size);
static int mb_instance(mb_t *b, mb_group_t *g, grammar_state_t *state,
                       const js_value_t *data, char *why, size_t why_size);
static ssize_t mb_tokens(mb_t *b, const char *text, size_t len);
static void mb_forced(mb_t *b, mb_group_t *g, grammar_state_t *state, size_t at,
                      size_t n);
static void mb_dump_vocab(mb_t *b);
static void mb_dump(mb_t *b, str_t id, str_t group, const js_value_t *schema,
                    const js_value_t *tests);
static void mb_suite(mb_t *b);
static void mb_suite_folder(mb_t *b, const char *draft, const char *sub,
                            uint32_t number);
static void mb_suite_remotes(mb_t *b, const char *dir, const char *uri);
static char *mb_read(const char *path, size_t *len);
static void  mb_suite_file(mb_t *b, mb_group_t *g, const char *path,
                           const char *name);
static void  mb_total(mb_t *b, mb_group_t *sum);
static void  mb_report(mb_t *b);


int
main(int argc, char **argv)
{
    mb_t *b = calloc(1, sizeof(mb_t));
    int   i;

    tool_name = "llm-maskbench";

    if (b == NULL) {
        tool_die(1, "no memory");
    }

    mb_options(b, argc, argv);
    mb_vocab(b);

    if (b->suite) {
        mb_suite(b);
    }

    if (b->dump) {
        mb_dump_vocab(b);
    }

    for (i = optind; i < argc; i++) {
        mb_file(b, argv[i]);
    }

    mb_report(b);

    if (b->dump && fclose(b->dump) != 0) {
        tool_die(1, "--dump: %s", strerror(errno));
    }

    grammar_vocab_release(b->tokens);
    vocab_close(&b->vocab);
    text_scratch_free(b->scratch);

    while (b->n_remotes--) {
        free((char *) b->remotes[b->n_remotes].uri.s);
        free((char *) b->remotes[b->n_remotes].text.s);
    }

    free(b->mask);
    free(b->ids);
    free(b);

    return 0;
}


static void
mb_options(mb_t *b, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"verbose", no_argument, NULL, 'v'},
        {"order", required_argument, NULL, 'o'},
        {"bytes", no_argument, NULL, 'b'},
        {"limit", required_argument, NULL, 'l'},
        {"dump", required_argument, NULL, 'd'},
        {"model", required_argument, NULL, 'm'},
        {"suite", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    b->limit = UINT32_MAX;
    b->options.order = GR_ORDER_FREE;
    b->options.plain = GR_PLAIN_NAMES; /* as the engine serves */

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {

        case 'j':
            b->json = 1;
            break;

        case 'v':
            b->verbose = 1;
            break;

        case 'o':
            if (strcmp(optarg, "free") != 0
                && strcmp(optarg, "declared") != 0) {
                tool_die(2, "--order: \"%s\" is neither free nor declared",
                         optarg);
            }

            b->options.order =
                optarg[0] == 'f' ? GR_ORDER_FREE : GR_ORDER_DECLARED;
            break;

        case 'b':
            b->bytes = 1;
            break;

        case 'l':
            b->limit = tool_number("limit", optarg, 1, UINT32_MAX);
            break;

        case 'd':
            b->dump = fopen(optarg, "w");
            if (b->dump == NULL) {
                tool_die(1, "%s: %s", optarg, strerror(errno));
            }
            break;

        case 'm':
            b->model = optarg;
            break;

        case 's':
            b->suite = optarg;
            break;

        default:
            mb_usage();
        }
    }

    if ((b->model == NULL) == !b->bytes
        || (optind == argc && b->suite == NULL)) {
        mb_usage();
    }
}


static void
mb_usage(void)
{
    fputs("usage: llm-maskbench [options] --model FILE.gguf FILE.jsonl.gz...\n"
          "       llm-maskbench [options] --model FILE.gguf --suite DIR\n"
          "  --model FILE     whose tokens\n"
          "  --bytes          instead of --model: a token for each byte\n"
          "  --order O        of properties: free (default), declared\n"
          "  --suite DIR      the JSON Schema Test Suite\n"
          "  --limit N        schemas of each file, at most\n"
          "  --dump FILE      the same input for other engines\n"
          "  --verbose        each schema that does not pass, and why\n"
          "  --json           figures as JSON\n",
          stderr);
    exit(2);
}


static void
mb_vocab(mb_t *b)
{
    static char      bytes[256];
    static str_t     strs[256];
    static uint8_t   kinds[256];
    grammar_tokens_t t = {.n_tokens = 256, .bytes = strs, .kinds = kinds};
    gguf_t          *file;
    double           start = tool_now();
    char             err[K_ERR_MAX] = "";
    int              i;

    if (b->bytes) {
        for (i = 0; i < 256; i++) {
            bytes[i] = (char) i;
            strs[i] = (str_t){&bytes[i], 1};
        }

        if (grammar_vocab_new(&t, &b->tokens) < 0) {
            tool_die(1, "no memory");
        }

    } else {
        file = tool_file(b->model);

        if (vocab_open(file, &b->vocab, err, sizeof(err)) < 0) {
            tool_die(1, "%s: %s", b->model, err);
        }

        gguf_close(file);
        start = tool_now();

        if (vocab_grammar(&b->vocab, &b->tokens) < 0) {
            tool_die(1, "no memory");
        }

        b->scratch = text_scratch_new();
    }

    fprintf(stderr, "llm-maskbench: trie of %zu tokens in %.0f ms\n",
            b->bytes ? (size_t) 256 : text_vocab_size(b->vocab.tokenizer),
            (tool_now() - start) * 1e3);

    b->mask = calloc(grammar_vocab_words(b->tokens), sizeof(uint32_t));
    if (b->mask == NULL || (!b->bytes && b->scratch == NULL)) {
        tool_die(1, "no memory");
    }
}


static void
mb_file(mb_t *b, const char *path)
{
    gzFile   f = gzopen(path, "rb");
    char    *line;
    size_t   len;
    uint32_t n = 0;

    if (f == NULL) {
        tool_die(1, "%s: %s", path, strerror(errno));
    }

    gzbuffer(f, 1 << 18);
    line = malloc(MB_LINE);
    if (line == NULL) {
        tool_die(1, "no memory");
    }

    while (n < b->limit && gzgets(f, line, MB_LINE)) {
        len = strlen(line);

        if (len == MB_LINE - 1) {
            tool_die(1, "%s: a line is longer than %u bytes", path, MB_LINE);
        }

        while (len && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
            len--;
        }

        if (len) {
            mb_line(b, line, len);
            n++;
        }
    }

    if (!gzeof(f) && n < b->limit) {
        tool_die(1, "%s: cannot be read", path);
    }

    free(line);
    gzclose(f);
}


static void
mb_line(mb_t *b, const char *line, size_t len)
{
    js_limits_t       limits = {.max_bytes = MB_LINE, .max_values = 1u << 24};
    const js_value_t *v, *id, *group, *schema, *tests;
    mb_group_t       *g;
    arena_t           arena;
    uint32_t          n;
    char              err[256];

    arena_init(&arena, 0);

    if (js_parse(&arena, line, len, &limits, &v, &n, err, sizeof(err)) < 0) {
        tool_die(1, "a line is no JSON: %s", err);
    }

    id = js_get(v, "id");
    group = js_get(v, "group");
    schema = js_get(v, "schema");
    tests = js_get(v, "tests");

    if (schema == NULL || id == NULL || group == NULL || id->type != JS_STRING
        || group->type != JS_STRING) {
        tool_die(1, "a line has no id, group or schema");
    }

    tests = tests && tests->type == JS_ARRAY ? tests : NULL;

    if (b->dump) {
        mb_dump(b, js_str(id), js_str(group), schema, tests);
    }

    g = mb_group(b, group->s, group->n);
    mb_schema(b, g, js_str(id), schema, tests, 0);

    if (++b->done % 16 == 0 && isatty(2)) {
        fprintf(stderr, "\rllm-maskbench: %u schemas, %s        ", b->done,
                g->name);
    }

    arena_free(&arena);
}


static mb_group_t *
mb_group(mb_t *b, const char *name, size_t len)
{
    uint32_t i;

    for (i = 0; i < b->n_groups; i++) {
        if (str_eq(str_of(b->groups[i].name), (str_t){name, len})) {
            return &b->groups[i];
        }
    }

    if (i == MB_GROUPS || len >= sizeof(b->groups[0].name)) {
        tool_die(1, "too many groups, or a name is too long");
    }

    memcpy(b->groups[i].name, name, len);
    b->n_groups++;

    return &b->groups[i];
}


/*
 * A schema and its instances; single: each instance counts for itself (the
 * Test Suite).
 */
static int
mb_schema(mb_t *b, mb_group_t *g, str_t id, const js_value_t *schema,
          const js_value_t *tests, int single)
{
    const js_value_t *t, *v;
    grammar_state_t  *state = NULL;
    grammar_t        *grammar = NULL;
    uint32_t          i, n = tests ? tests->n : 0, good = 0, over = 0;
    uint32_t          under = 0, failed = 0;
    char              err[1024] = "", why[256];
    int               rc, got, want;

    rc = mb_compile(b, g, schema, &grammar, &state, err, sizeof(err));

    if (rc == 0) {
        g->compiled += single ? n : 1;

    } else if (rc != -ENOENT) {
        g->refused += single ? n : 1;
        g->schemas += single ? n : 1;

        if (b->verbose) {
            printf("refused %.*s: %s\n", (int) id.len, id.s, err);
        }

        return 0;
    }

    for (i = 0; i < n; i++) {
        t = &tests->items[i];
        v = js_get(t, "valid");
        want = v && v->type == JS_BOOLEAN && v->truth;
        v = js_get(t, "data");

        if (v == NULL) {
            tool_die(1, "%.*s: a test has no data", (int) id.len, id.s);
        }

        why[0] = '\0';
        got = rc == -ENOENT ? MB_NO
                            : mb_instance(b, g, state, v, why, sizeof(why));

        if (got == want) {
            good++;
            continue;
        }

        failed += got == MB_FAILED;
        over += got != MB_FAILED && want;
        under += got != MB_FAILED && !want;

        if (b->verbose) {
            v = js_get(t, "description");
            printf("%s %.*s test %u %.*s: %s%s\n",
                   got == MB_FAILED ? "failed"
                   : want           ? "over-constrained"
                                    : "under-constrained",
                   (int) id.len, id.s, i, v ? (int) v->n : 0, v ? v->s : "",
                   why, rc == -ENOENT ? err : "");
        }
    }

    if (single) {
        g->schemas += n;
        g->passing += good;
        g->over += over;
        g->under += under;
        g->failed += failed;

    } else {
        g->schemas++;
        g->passing += good == n;
        g->over += over > 0;
        g->under += under > 0;
        g->failed += failed > 0;
    }

    grammar_state_free(state);
    grammar_release(grammar);

    return 0;
}


static int
mb_compile(mb_t *b, mb_group_t *g, const js_value_t *schema,
           grammar_t **grammar, grammar_state_t **state, char *err,
           size_t err_size)
{
    const char *why;
    gr_node_t   node;
    uint64_t    start;
    gr_t       *gr;
    buf_t       text = {0};
    int         rc;

    js_print(&text, schema);
    start = llm_now_ns();

    rc = gr_new(NULL, &gr);
    if (rc < 0) {
        tool_die(1, "no memory");
    }

    rc = gr_json_schema(gr, text.data, text.len, &b->options, &node, err,
                        err_size);

    if (rc == 0) {
        rc = gr_finish(gr, node);

        if (rc < 0) {
            gr_failed(gr, &why);
            snprintf(err, err_size, "%s", why ? why : strerror(-rc));
        }
    }

    if (rc == 0) {
        rc = grammar_new(b->tokens, gr, grammar);
        rc = rc ? rc : grammar_state_new(*grammar, state);

        if (rc < 0) {
            snprintf(err, err_size, "grammar: %s", strerror(-rc));
        }

    } else {
        gr_free(gr);
    }

    mb_time(&g->compile, llm_now_ns() - start);
    buf_free(&text);

    return rc;
}


static int
mb_instance(mb_t *b, mb_group_t *g, grammar_state_t *state,
            const js_value_t *data, char *why, size_t why_size)
{
    uint64_t start;
    ssize_t  n, i;
    size_t   len;
    buf_t    text = {0};
    int      rc = 0, got = MB_NO;

    js_print(&text, data);
    n = mb_tokens(b, text.data, text.len);
    grammar_state_reset(state);

    for (i = 0; i < n; i++) {
        start = llm_now_ns();
        rc = grammar_state_mask(state, b->mask);
        mb_time(&g->mask, llm_now_ns() - start);

        if (rc < 0) {
            break;
        }

        if (!(b->mask[b->ids[i] / 32] >> (b->ids[i] % 32) & 1)) {
            len = text.len < 160 ? text.len : 160;
            snprintf(why, why_size, "token %zd of %zd of '%.*s'", i, n,
                     (int) len, text.data);

            if (grammar_state_accept(state, b->ids[i]) == 0) {
                tool_die(1, "a token that the mask forbids was accepted");
            }

            break;
        }

        g->tokens++;
        mb_forced(b, g, state, (size_t) i, (size_t) n);

        rc = grammar_state_accept(state, b->ids[i]);
        if (rc < 0) {
            break;
        }
    }

    if (rc == 0 && i == n) {
        start = llm_now_ns();
        rc = grammar_state_mask(state, b->mask);
        mb_time(&g->mask, llm_now_ns() - start);

        got = grammar_state_complete(state) > 0 ? MB_YES : MB_NO;

        if (got == MB_NO) {
            len = text.len < 160 ? text.len : 160;
            snprintf(why, why_size, "no end after '%.*s'", (int) len,
                     text.data);
        }
    }

    if (rc < 0) {
        snprintf(why, why_size, "%s at token %zd of %zd", strerror(-rc), i, n);
        got = MB_FAILED;
    }

    buf_free(&text);

    return got;
}


/* The tokens that the tokenizer gives, in b->ids. */
static ssize_t
mb_tokens(mb_t *b, const char *text, size_t len)
{
    size_t  cap = len * 2 + 16, i;
    ssize_t n;

    if (cap > b->cap_ids) {
        free(b->ids);
        b->ids = malloc(cap * sizeof(int32_t));
        b->cap_ids = cap;

        if (b->ids == NULL) {
            tool_die(1, "no memory");
        }
    }

    if (b->bytes) {
        for (i = 0; i < len; i++) {
            b->ids[i] = (uint8_t) text[i];
        }

        return (ssize_t) len;
    }

    n = text_encode(b->vocab.tokenizer, text, len, NULL, 0, b->ids, b->cap_ids,
                    b->scratch);

    if (n < 0 || (size_t) n > b->cap_ids) {
        tool_die(1, "an instance cannot be tokenised");
    }

    return n;
}


/* How many tokens an engine would not have had to sample. */
static void
mb_forced(mb_t *b, mb_group_t *g, grammar_state_t *state, size_t at, size_t n)
{
    static size_t until;
    int32_t       ids[64];
    int           k, i;

    if (at == 0) {
        until = 0;
    }

    if (at < until) {
        return;
    }

    k = grammar_state_forced(state, ids, 64);

    for (i = 0; i < k; i++) {
        if (at + (size_t) i >= n || ids[i] != b->ids[at + (size_t) i]) {
            g->forced_other++;
            break;
        }

        g->forced++;
    }

    until = at + (size_t) (i > 0 ? i : 0);
}


static void
mb_dump_vocab(mb_t *b)
{
    const char *bytes, *comma = "";
    size_t      i, k, len, n;

    n = b->bytes ? 0 : text_vocab_size(b->vocab.tokenizer);
    fputs("{\"vocab\":[", b->dump);

    for (i = 0; i < n; i++) {
        bytes = text_token_bytes(b->vocab.tokenizer, (int32_t) i, &len);
        fprintf(b->dump, "%s", i ? "," : "");

        if (text_token_is_control(b->vocab.tokenizer, (int32_t) i)) {
            fputs("null", b->dump);
            continue;
        }

        fputc('"', b->dump);
        for (k = 0; k < len; k++) {
            fprintf(b->dump, "%02x", (uint8_t) bytes[k]);
        }
        fputc('"', b->dump);
    }

    fputs("],\"eos\":[", b->dump);

    for (i = 0; i < b->vocab.n_eog; i++) {
        fprintf(b->dump, "%s%d", comma, b->vocab.eog[i]);
        comma = ",";
    }

    fputs("]}\n", b->dump);
}


static void
mb_dump(mb_t *b, str_t id, str_t group, const js_value_t *schema,
        const js_value_t *tests)
{
    const js_value_t *v;
    uint32_t          i;
    ssize_t           n, k;
    buf_t             line = {0}, text = {0};

    buf_str(&line, "{\"id\":");
    buf_json(&line, id.s, id.len);
    buf_str(&line, ",\"group\":");
    buf_json(&line, group.s, group.len);
    buf_str(&line, ",\"schema\":");
    js_print(&text, schema);
    buf_json(&line, text.data, text.len);
    buf_str(&line, ",\"tests\":[");

    for (i = 0; tests && i < tests->n; i++) {
        v = js_get(&tests->items[i], "valid");
        buf_fmt(&line, "%s{\"valid\":%s,\"tokens\":[", i ? "," : "",
                v && v->truth ? "true" : "false");

        buf_reset(&text);
        js_print(&text, js_get(&tests->items[i], "data"));
        n = mb_tokens(b, text.data, text.len);

        for (k = 0; k < n; k++) {
            buf_fmt(&line, "%s%d", k ? "," : "", b->ids[k]);
        }

        buf_str(&line, "]}");
    }

    buf_str(&line, "]}\n");

    if (fwrite(line.data, 1, line.len, b->dump) != line.len) {
        tool_die(1, "--dump: %s", strerror(errno));
    }

    buf_free(&line);
    buf_free(&text);
}


static void
mb_suite(mb_t *b)
{
    static const struct {
        const char *name;
        uint32_t    draft;
    } drafts[] = {{"draft4", JS_DRAFT_4},
                  {"draft6", JS_DRAFT_6},
                  {"draft7", JS_DRAFT_7},
                  {"draft2019-09", JS_DRAFT_2019},
                  {"draft2020-12", JS_DRAFT_2020}};
    size_t i;
    char   path[1024];

    snprintf(path, sizeof(path), "%s/remotes", b->suite);
    mb_suite_remotes(b, path, "http://localhost:1234");
    b->options.remotes = b->remotes;
    b->options.n_remotes = b->n_remotes;

    for (i = 0; i < llm_countof(drafts); i++) {
        b->options.formats_off = 1;
        mb_suite_folder(b, drafts[i].name, "", drafts[i].draft);

        b->options.formats_off = 0;
        mb_suite_folder(b, drafts[i].name, "/optional/format", drafts[i].draft);
    }
}


/* What the suite's schemas refer to: as if a server had it. */
static void
mb_suite_remotes(mb_t *b, const char *dir, const char *uri)
{
    struct dirent **list;
    size_t          len;
    char            path[1024], name[1024];
    int             i, n;

    n = scandir(dir, &list, NULL, alphasort);

    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
        snprintf(name, sizeof(name), "%s/%s", uri, list[i]->d_name);
        len = strlen(path);

        if (len > 5 && strcmp(path + len - 5, ".json") == 0) {
            if (b->n_remotes == MB_REMOTES) {
                tool_die(1, "%s: too many remotes", dir);
            }

            b->remotes[b->n_remotes].uri = str_of(strdup(name));
            b->remotes[b->n_remotes].text.s = mb_read(path, &len);
            b->remotes[b->n_remotes++].text.len = len;

        } else if (list[i]->d_name[0] != '.') {
            mb_suite_remotes(b, path, name);
        }

        free(list[i]);
    }

    if (n >= 0) {
        free(list);
    }
}


/* A whole file, to be freed. */
static char *
mb_read(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    long  size = -1;

    if (f && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0
        && (unsigned long) size < MB_LINE) {
        rewind(f);
        text = malloc((size_t) size + 1);
    }

    if (text == NULL || fread(text, 1, (size_t) size, f) != (size_t) size) {
        tool_die(1, "%s: cannot be read", path);
    }

    text[size] = '\0';
    *len = (size_t) size;
    fclose(f);

    return text;
}


static void
mb_suite_folder(mb_t *b, const char *draft, const char *sub, uint32_t number)
{
    struct dirent **list;
    mb_group_t     *g;
    char            path[1024], name[64];
    size_t          len;
    int             n, i;

    snprintf(path, sizeof(path), "%s/tests/%s%s", b->suite, draft, sub);
    n = scandir(path, &list, NULL, alphasort);

    if (n < 0) {
        return;
    }

    snprintf(name, sizeof(name), "%s%s", draft, sub[0] ? " formats" : "");
    g = mb_group(b, name, strlen(name));
    b->options.draft = number;

    for (i = 0; i < n; i++) {
        len = strlen(list[i]->d_name);

        if (len > 5 && strcmp(list[i]->d_name + len - 5, ".json") == 0) {
            snprintf(path, sizeof(path), "%s/tests/%s%s/%s", b->suite, draft,
                     sub, list[i]->d_name);
            mb_suite_file(b, g, path, list[i]->d_name);
        }

        free(list[i]);
    }

    free(list);
}


static void
mb_suite_file(mb_t *b, mb_group_t *g, const char *path, const char *name)
{
    const js_value_t *root, *group, *what;
    arena_t           arena;
    char             *text, err[256], id[512];
    size_t            len;
    uint32_t          n, i;

    text = mb_read(path, &len);
    arena_init(&arena, 0);

    if (js_parse(&arena, text, len, NULL, &root, &n, err, sizeof(err)) < 0
        || root->type != JS_ARRAY) {
        tool_die(1, "%s: %s", path, err);
    }

    for (i = 0; i < root->n; i++) {
        group = &root->items[i];
        what = js_get(group, "description");
        snprintf(id, sizeof(id), "%s %s '%s'", g->name, name,
                 what ? what->s : "");
        mb_schema(b, g, str_of(id), js_get(group, "schema"),
                  js_get(group, "tests"), 1);
    }

    arena_free(&arena);
    free(text);
}


static void
mb_total(mb_t *b, mb_group_t *sum)
{
    mb_group_t *g;
    uint32_t    i;
    size_t      k;

    memset(sum, 0, sizeof(mb_group_t));
    snprintf(sum->name, sizeof(sum->name), "total");

    for (i = 0; i < b->n_groups; i++) {
        g = &b->groups[i];

        sum->schemas += g->schemas;
        sum->compiled += g->compiled;
        sum->passing += g->passing;
        sum->over += g->over;
        sum->under += g->under;
        sum->refused += g->refused;
        sum->failed += g->failed;
        sum->tokens += g->tokens;
        sum->forced += g->forced;
        sum->forced_other += g->forced_other;

        for (k = 0; k < g->mask.n; k++) {
            mb_time(&sum->mask, g->mask.ns[k]);
        }

        for (k = 0; k < g->compile.n; k++) {
            mb_time(&sum->compile, g->compile.ns[k]);
        }
    }
}


static void
mb_report(mb_t *b)
{
    mb_group_t sum;
    uint32_t   i;

    if (isatty(2)) {
        fputs("\r                                                      \r",
              stderr);
    }

    mb_total(b, &sum);

    if (b->json) {
        printf("{\"total\":");
        mb_json(&sum);
        printf(",\"groups\":{");

        for (i = 0; i < b->n_groups; i++) {
            printf("%s", i ? "," : "");
            tool_json_str(b->groups[i].name);
            printf(":");
            mb_json(&b->groups[i]);
        }

        printf("}}\n");

    } else {
        printf("%-22s %7s %7s %6s %5s %5s %7s %6s | mask us %7s %7s %7s %8s"
               " %8s | compile us %6s %8s %8s | forced\n",
               "", "schemas", "passing", "%", "over", "under", "refused",
               "failed", "mean", "p50", "p90", "p99", "max", "p50", "p99",
               "max");

        for (i = 0; i < b->n_groups; i++) {
            mb_row(&b->groups[i]);
        }

        mb_row(&sum);
    }

    for (i = 0; i < b->n_groups; i++) {
        free(b->groups[i].mask.ns);
        free(b->groups[i].compile.ns);
    }

    free(sum.mask.ns);
    free(sum.compile.ns);
}
