/*
 * Fuzz target: what models write, by each format's parser.
 *
 * The first byte chooses the format, the second what the request was like,
 * the third how the text is cut; then the text, in which 0xff begins a
 * control token's name and 0xfe ends it.  What must hold: parts come in order
 * and none is empty; put together they are the same however the text was cut.
 */

#include <stdlib.h>
#include "engine/chat/format_table.h"

#define MUTATIONS 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    buf_t    all; /* kind, call, text: pieces of one part joined */
    int      kind;
    uint32_t call;
    uint32_t calls;
    size_t   end;
    size_t   fed;
} result_t;

static void take(void *data, const chat_part_t *part);
static void run(const chat_parse_t *parse, const uint8_t *s, size_t len,
                uint32_t cut, int end, result_t *r);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char schema[] =
        "{\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":"
        "\"integer\"},\"opts\":{\"type\":\"object\"},\"note\":{\"type\":["
        "\"string\",\"null\"]},\"a\":{\"type\":\"number\"}}}";
    static const str_t   names[] = {str_lit("get_weather"), str_lit("add"),
                                    str_lit("f")};
    static const uint8_t custom[] = {0, 0, 1};
    static const str_t   schemas[] = {{schema, sizeof(schema) - 1},
                                      {NULL, 0},
                                      {NULL, 0}};
    chat_parse_t         parse = {
                .names = names, .custom = custom, .schemas = schemas, .n_names = 3};
    result_t one, r;
    int      i;

    if (size < 3) {
        return 0;
    }

    parse.format = &chat_formats[data[0] % chat_formats_n];
    parse.calls = !(data[1] & 1);
    parse.reasoning = !(data[1] & 2);
    parse.thinking = (data[1] & 4) != 0;
    parse.content = (data[1] & 8) != 0;

    run(&parse, data + 3, size - 3, 0, !(data[1] & 16), &one);

    for (i = 0; i < 3; i++) {
        run(&parse, data + 3, size - 3, i ? data[2] + (uint32_t) i : 1,
            !(data[1] & 16), &r);

        if (r.calls != one.calls || r.all.len != one.all.len
            || (r.all.len && memcmp(r.all.data, one.all.data, r.all.len))) {
            abort();
        }

        buf_free(&r.all);
    }

    buf_free(&one.all);

    return 0;
}


/* cut 0: in one piece; 1: bytes; else lengths that follow from it. */

static void
run(const chat_parse_t *parse, const uint8_t *s, size_t len, uint32_t cut,
    int end, result_t *r)
{
    chat_parser_t *p;
    size_t         i = 0, n, most;
    uint32_t       state = cut;

    *r = (result_t){.kind = -1};
    p = chat_parser_new(parse, take, r);
    if (p == NULL) {
        abort();
    }

    while (i < len) {
        if (s[i] == 0xff) {
            for (n = 1; i + n < len && s[i + n] != 0xfe && n < 64; n++) {
                /* void */
            }

            if (chat_parser_control(p, (const char *) s + i + 1, n - 1) < 0) {
                abort();
            }

            i += n + (i + n < len && s[i + n] == 0xfe);
            continue;
        }

        state = state * 1664525 + 1013904223;
        most = cut == 0 ? len : cut == 1 ? 1 : 1 + (state >> 16) % 20;

        for (n = 1; i + n < len && n < most && s[i + n] != 0xff; n++) {
            /* void */
        }

        r->fed += n;
        if (chat_parser_text(p, (const char *) s + i, n) < 0) {
            abort();
        }

        i += n;
    }

    if (end && chat_parser_end(p) < 0) {
        abort();
    }

    if (r->calls != chat_parser_calls(p)) {
        abort();
    }

    chat_parser_free(p);
}


static void
take(void *data, const chat_part_t *part)
{
    result_t *r = data;
    char      head[8];

    if (part->text.len == 0 || part->end < r->end || part->end > r->fed) {
        abort();
    }

    r->end = part->end;

    if (part->kind == CHAT_PART_CALL) {
        if (part->call != r->calls) {
            abort();
        }
        r->calls++;
        r->kind = -1;
    }

    if (part->kind == CHAT_PART_INPUT && part->call + 1 != r->calls) {
        abort();
    }

    if (part->kind != r->kind) {
        head[0] = '\n';
        head[1] = (char) ('0' + part->kind);
        buf_add(&r->all, head, 2);
        r->kind = part->kind;
    }

    buf_add(&r->all, part->text.s, part->text.len);
}

#include "t/fuzz/replay.h"
